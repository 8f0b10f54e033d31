"""What a person sees while a run goes on."""

from __future__ import annotations

import io

import pytest

from mixdistill import progress
from mixdistill.errors import MissingExtra, StageError
from mixdistill.pipeline import State, Unit

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
