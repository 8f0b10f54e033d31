"""What a person sees while a run goes on."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest

from mixdistill import progress
from mixdistill.errors import MissingExtra, StageError
from mixdistill.store import Store
from mixdistill.units import State, Unit

LONG, SHORT, OLD = (Unit("train", ("s", arm, "0"), {}) for arm in ("long", "short", "old"))
PLANNED = [(LONG, State.NEW), (SHORT, State.RESUME), (OLD, State.DONE), (OLD, State.BLOCKED)]


def test_a_log_says_what_is_to_do_what_ended_and_what_is_left(capsys: pytest.CaptureFixture[str]):
    with progress.Log() as log:
        log.stage("train", PLANNED)
        log.beats([{"label": "train/s/long/0"}])
        log.unit(LONG, None, 1.23, {"updates": 1250, "cost": 0.5, "device": "cpu"})
        log.unit(SHORT, StageError("train: too long; shorten it"), 0.0, {})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "[0:00] train: 2 to do, 1 done before",
        "[0:00]   train/s/long/0: 1.2 s  updates=1,250  cost=0.5  device=cpu  (1 left)",
        "[0:00]   train/s/short/0: FAILED: train: too long; shorten it  (0 left)",
    ]


def test_where_nobody_watches_there_is_a_log(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(progress.watcher(), progress.Log)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("term", "kind"), [("xterm", progress.Live), ("dumb", progress.Log), ("unknown", progress.Log)]
)
def test_a_dumb_terminal_gets_a_log(monkeypatch: pytest.MonkeyPatch, term: str, kind: type):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stderr", Terminal())
    assert type(progress.watcher()) is kind


def test_without_a_terminal_there_are_no_escape_codes(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.watcher() as shown:
        shown.stage("train", PLANNED)
        shown.unit(LONG, StageError("too long"), 0.0, {})
    assert "\x1b" not in capsys.readouterr().err


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("sys.stderr", out := Terminal())
    with progress.watcher() as shown:
        shown.stage("train", PLANNED)
        shown.unit(LONG, StageError("too long"), 0.0, {})
    assert "train/s/long/0: too long" in out.getvalue()
    codes = {code for found in re.findall(r"\[([0-9;]*)m", out.getvalue()) for code in found.split(";")}
    assert codes <= {"", "0", "1", "2"}, "bold and dim are no colours"


# -- JSON lines -------------------------------------------------------------------------------------------------------


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_program_gets_a_line_per_stage_and_unit_and_a_person_the_log_beside(capsys, tmp_path):
    with progress.watcher(as_json=True) as shown:
        assert isinstance(shown, progress.Json)
        shown.stage("train", PLANNED)
        shown.beats([{"label": "train/s/long/0"}])
        shown.unit(LONG, None, 1.23456, {"updates": 1250})
        shown.unit(SHORT, StageError("train: too long\nshorten it"), 0.0, {})
        shown.result(["train/s/short/0: shorten it"], Store(tmp_path), reported=True)
    out, err = capsys.readouterr()
    unit = {"event": "unit", "unit": "train/s/long/0", "seconds": 1.235, "counts": {"updates": 1250}}
    assert events(out) == [
        {"event": "stage", "stage": "train", "todo": 2, "done": 1, "blocked": 1},
        unit | {"state": "done", "error": None, "left": 1},
        unit
        | {"unit": "train/s/short/0", "seconds": 0.0, "counts": {}}
        | {"state": "failed", "error": "train: too long\nshorten it", "left": 0},
        {"event": "result", "failures": ["train/s/short/0: shorten it"], "report": None, "gaps": []},
    ]
    assert "train: 2 to do, 1 done before" in err


@pytest.mark.parametrize(
    ("error", "failures"),
    [(StageError("a: wrong\nb: wrong"), ["a: wrong", "b: wrong"]), (KeyboardInterrupt(), ["stopped"])],
)
def test_an_end_before_the_end_is_a_result_too(capsys, error: BaseException, failures: list[str]):
    with pytest.raises(type(error)), progress.watcher(as_json=True):
        raise error
    assert events(capsys.readouterr().out) == [{"event": "result", "failures": failures, "report": None, "gaps": []}]


def test_the_lines_do_not_fall_into_the_live_table(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("sys.stdout", out := io.StringIO())
    with progress.watcher(as_json=True) as shown:
        assert isinstance(shown, progress.Json) and isinstance(shown.beside, progress.Live)
        shown.stage("train", PLANNED)
        shown.unit(LONG, None, 0.0, {})
    assert [e["event"] for e in events(out.getvalue())] == ["stage", "unit"]


def test_on_one_terminal_the_lines_are_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stderr", err := Terminal())
    monkeypatch.setattr("sys.stdout", Terminal())
    with progress.watcher(as_json=True) as shown:
        shown.stage("train", PLANNED)
    assert err.getvalue() == ""


@pytest.fixture
def live() -> progress.Live:
    from rich.console import Console
    from rich.live import Live

    shown = progress.Live()
    shown.console = Console(file=io.StringIO(), width=100)
    shown.live = Live(console=shown.console, auto_refresh=False, transient=True)
    return shown


def text(live: progress.Live) -> str:
    assert isinstance(live.console.file, io.StringIO)
    return live.console.file.getvalue()


def drawn(live: progress.Live) -> str:
    with live.console.capture() as capture:
        live.console.print(live._draw())
    return capture.get()


def test_a_terminal_shows_stage_cell_rate_and_time_left(live: progress.Live):
    with live:
        live.stage("train", PLANNED)
        live.stage_started -= 30
        live.beats([{"label": "train/s/long/0", "done": 500, "total": 1000, "rate": 12345.6}])
        table = drawn(live)
        live.unit(LONG, None, 1.0, {})
        live.unit(SHORT, None, 1.0, {})
        assert drawn(live).strip() == ""
    assert "train" in table and "0/2" in table
    assert "s/long/0" in table and "500/1,000" in table and "12,346 tok/s" in table
    assert "1:30 left in this stage" in table
    assert "✓ train     2 units in 0:3" in text(live)


def test_names_of_what_runs_are_one_line_each_on_a_terminal_of_80_columns(live: progress.Live):
    live.console.width = 80
    labels = ["train/qwen/short/0", "train/qwen/short/0 dev at 390"]
    with live:
        live.stage("train", PLANNED)
        live.beats([{"label": n, "done": 40, "total": 40, "rate": 168, "flying": 39} for n in labels])
        table = drawn(live).splitlines()
    assert [line.partition("40/40")[0].strip() for line in table[1:]] == ["qwen/short/0", "qwen/short/0 dev at 390"]


def test_a_stage_that_is_all_done_is_one_line(live: progress.Live):
    with live:
        live.stage("generate", [(OLD, State.DONE)])
    assert "✓ generate  1 done before" in text(live)


@pytest.mark.parametrize(
    "error", [MissingExtra("torch", "train"), StageError("[/red] and [bold] are no markup"), StageError("[/]")]
)
def test_messages_with_brackets_arrive_whole(live: progress.Live, error: Exception):
    with live:
        live.stage("train", PLANNED)
        live.unit(LONG, error, 0.0, {})
    assert f"✗ train/s/long/0: {error}" in text(live)


def test_nothing_known_yet_divides_by_nothing(live: progress.Live):
    with live:
        live.stage("train", PLANNED)
        live.beats([{"label": "train/s/long/0"}, {"label": "train/s/short/0", "done": 0, "total": 0}])
        assert "…" in drawn(live)
        live.stage("evaluate", [])
        assert drawn(live).strip() == ""
