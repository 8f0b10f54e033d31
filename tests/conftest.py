"""A tiny study on the lab's problems, and what carries it out without starting processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mixdistill import pipeline, resolve, units

with suppress(ImportError):  # not in the environment with real vLLM
    from hypothesis import settings

    settings.register_profile("untimed", deadline=None)  # machines are busy
    settings.load_profile("untimed")

DATA_STAGES = ("generate", "verify", "analyze", "mix")


class Inline:
    """The executor's interface in this process: no workers to start."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = 1

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *exc: Any) -> None:
        pass

    def spread(self, processes: int, key: str = "") -> None:
        pass

    def map(
        self, fn: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], *, idle: Callable[[], None], enough: Any = None
    ) -> Iterator[tuple[tuple[Any, ...], Any, BaseException | None]]:
        for job in jobs:
            idle()
            try:
                result = fn(*job)
            except Exception as e:
                yield job, None, e
            else:
                yield job, result, None


class Watching:
    """A watcher that remembers: stage -> {unit label: state}, and the labels of the units that ended."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, str]] = {}
        self.ended: list[str] = []

    def problems(self, marker: dict[str, Any]) -> None:
        pass

    def stage(self, name: str, units: list[tuple[units.Unit, units.State]]) -> None:
        self.states[name] = {unit.label: state.value for unit, state in units}

    def beats(self, beats: list[dict[str, Any]]) -> None:
        pass

    def stopping(self) -> None:
        pass

    def unit(self, unit: units.Unit, error: BaseException | None, seconds: float, counts: dict[str, Any]) -> None:
        self.ended.append(unit.label)


@pytest.fixture(autouse=True)
def _nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test took from a variable is no secret here."""
    monkeypatch.setattr(resolve, "_substituted", {})


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units run in this process."""
    monkeypatch.setattr(pipeline, "Local", Inline)


@pytest.fixture
def raw() -> dict[str, Any]:
    """A small valid recipe as plain objects; change it at will."""
    return {
        "name": "tiny",
        "problems": {
            "train": {"source": "lab:signs", "split": "train", "limit": 12},
            "eval": {"signs": {"source": "lab:signs", "split": "eval", "limit": 4}},
        },
        "teachers": {
            "long": {"backend": "scripted", "model": "long"},
            "short": {"backend": "scripted", "model": "short"},
        },
        "verify": {"verifier": "signs"},
        "students": {"s": {"model": "lab:s"}},
        "arms": {"long": {"long": 1}, "short": {"short": 1}},
        "contrasts": {"long_cot_gap": ["long", "short"]},
        "budget": {"unit": "examples", "per_update": 4},
        "seeds": 1,
    }


BACKEND = '''
import os, signal, time
from pathlib import Path

from mixdistill.lab.teachers import Scripted
from mixdistill.types import Completion

VERSION = "1"


class Counting(Scripted):
    """Scripted, counting its answers in notes/calls. Acts on the first of these files it finds before answer 5:
    notes/die_once (the worker dies), notes/die (it dies every time), notes/kill_parent, notes/wait,
    notes/raise."""

    def __init__(self, model, *, notes):
        super().__init__(model)
        self.notes = Path(notes)

    def generate(self, requests):
        for n, item in enumerate(super().generate(requests), 1):
            if n == 5:
                self.act()
            with open(self.notes / "calls", "a") as f:
                f.write(requests[item[0]].prompt + "\\n")
            if (self.notes / "failing_all").exists() or ((self.notes / "failing").exists() and n % 3 == 0):
                item = item[0], Completion(error="status 500")
            yield item

    def act(self):
        if (self.notes / "raise").exists():
            raise ConnectionError("the server hung up")
        if (self.notes / "die").exists():
            os._exit(9)
        if (self.notes / "die_once").exists():
            (self.notes / "die_once").unlink()
            os._exit(9)
        if (self.notes / "wait").exists():
            (self.notes / "worker").write_text(str(os.getpid()))
            time.sleep(60)
        if (self.notes / "kill_parent").exists():
            (self.notes / "kill_parent").unlink()
            (self.notes / "worker").write_text(str(os.getpid()))
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
'''


class Notes:
    """What the counting backend wrote down, and where to tell it what to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def do(self, action: str) -> None:
        (self.folder / action).touch()

    def stop(self, action: str) -> None:
        (self.folder / action).unlink()

    def calls(self) -> int:
        """Answers given since the last call of this."""
        path = self.folder / "calls"
        count = len(path.read_text().splitlines()) if path.exists() else 0
        path.unlink(missing_ok=True)
        return count


@pytest.fixture
def notes(tmp_path: Path, raw: dict[str, Any]) -> Notes:
    """Teacher `short` becomes a user's own backend, given as a file, that counts its answers."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (tmp_path / "own.py").write_text(BACKEND)
    raw["teachers"]["short"] = {"backend": f"{tmp_path}/own.py:Counting", "model": "short", "notes": str(folder)}
    return Notes(folder)
