"""What is seen while a run goes on: a live table on a terminal, plain log lines anywhere else, both on stderr; and
JSON lines on stdout for a program that asks for them."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from mixdistill.errors import MixdistillError, Stopped
from mixdistill.store import UNUSED, Store
from mixdistill.units import State, Unit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mixdistill.projection import Projection


WIDE = 24
"""Characters of a bar; half as many on a terminal of less than 100 columns."""
LOGGED_APART = 60.0
"""Seconds between lines of a log about a unit that goes on."""
STOPPING = "finishing what is in flight; Ctrl-C again abandons it"


def watcher(*, as_json: bool = False) -> Log | Live | Json:
    """The display that fits where the output goes; with `as_json`, JSON lines on stdout beside it."""
    display = Live() if _redraws(sys.stderr) else Log()
    return Json(None if sys.stdout.isatty() else display) if as_json else display


def _redraws(stream: Any) -> bool:
    """Whether lines there can be drawn again. A dumb terminal knows no escape codes."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


class Json:
    """One JSON object per line on stdout, the last one the result. `left` counts the stage's units still to end.

    {"event": "problems", "problems": {list: n}, "unused": {reason: n}}             what is solved, what was left out
    {"event": "stage", "stage", "todo", "done", "blocked"}                          a stage begins
    {"event": "unit", "unit", "state": "done" | "failed", "seconds", "counts", "error", "left"}    a unit ended
    {"event": "projection", "goes_on": bool, ...}     after a pilot, a Projection; without goes_on it is the end
    {"event": "result", "failures": [line], "report": path | null, "gaps": [Gap]}   the end, also of a refused run
    """

    def __init__(self, beside: Log | Live | None) -> None:
        """`beside`: the display for a person on stderr; none where stdout is the same terminal."""
        self.beside = beside
        self.out = sys.stdout  # before a live display puts its own in this place
        self.left = 0

    def __enter__(self) -> Json:
        if self.beside:
            self.beside.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, *more: object) -> None:
        if self.beside:
            self.beside.__exit__(kind, error, *more)
        if isinstance(error, MixdistillError):
            self._say(event="result", failures=str(error).splitlines(), report=None, gaps=[])
        elif isinstance(error, KeyboardInterrupt):
            self._say(event="result", failures=["stopped"], report=None, gaps=[])

    def problems(self, marker: dict[str, Any]) -> None:
        """How many there are of each list."""
        rows = {name: table["rows"] for name, table in marker["tables"].items() if name != UNUSED}
        self._say(event="problems", problems=rows, unused=marker["counts"])
        if self.beside:
            self.beside.problems(marker)

    def stage(self, name: str, units: list[tuple[Unit, State]]) -> None:
        """What the stage has to do."""
        self.left = _todo(units)
        states = [s for _, s in units]
        done, blocked = states.count(State.DONE), states.count(State.BLOCKED)
        self._say(event="stage", stage=name, todo=self.left, done=done, blocked=blocked)
        if self.beside:
            self.beside.stage(name, units)

    def beats(self, beats: list[dict[str, Any]]) -> None:
        """Ticking numbers are for a person."""
        if self.beside:
            self.beside.beats(beats)

    def unit(self, unit: Unit, error: BaseException | None, seconds: float, counts: dict[str, Any]) -> None:
        """How a unit ended."""
        self.left -= 1
        said = None if error is None else str(error) or type(error).__name__
        self._say(
            event="unit",
            unit=unit.label,
            state="failed" if error else "done",
            seconds=round(seconds, 3),
            counts=counts,
            error=said,
            left=self.left,
        )
        if self.beside:
            self.beside.unit(unit, error, seconds, counts)

    def projection(self, found: Projection, *, goes_on: bool) -> None:
        """What a pilot says of the whole study, and whether the run goes on to carry it out."""
        self._say(event="projection", goes_on=goes_on, **found.model_dump(mode="json"))

    def stopping(self) -> None:
        """For a person."""
        if self.beside:
            self.beside.stopping()

    def result(self, failures: list[str], store: Store, *, reported: bool) -> None:
        """The end: what failed, and with `reported` where the page is and what it says."""
        from mixdistill.types import Gap

        folder = store.folder("report")
        made = reported and store.marker(folder) is not None
        gaps = [json.loads(g.model_dump_json()) for g in store.read(folder, Gap, "gaps")] if made else []
        page = str(folder / "index.html") if made else None
        self._say(event="result", failures=failures, report=page, gaps=gaps)

    def _say(self, **facts: Any) -> None:
        self.out.write(json.dumps(facts, ensure_ascii=False, default=str) + "\n")
        self.out.flush()


class Log:
    """One line per unit, for logs and pipes."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.left = 0
        self.said_at: dict[str, float] = {}
        self.asked_to_stop = False

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def problems(self, marker: dict[str, Any]) -> None:
        """Say how many there are, and what was left out."""
        for line in _problems(marker):
            self._say(line)

    def stage(self, name: str, units: list[tuple[Unit, State]]) -> None:
        """Say what the stage has to do."""
        self.left = _todo(units)
        done = sum(s is State.DONE for _, s in units)
        self._say(f"{name}: {self.left} to do" + (f", {done} done before" if done else ""))

    def beats(self, beats: list[dict[str, Any]]) -> None:
        """A line a minute of every running unit: a log is not a place for ticking numbers."""
        now = time.monotonic()
        for beat in beats:
            label = beat["label"]
            if now - self.said_at.setdefault(label, now) > LOGGED_APART:
                self.said_at[label] = now
                done = f"{beat.get('done', 0):,}/{beat.get('total', 0):,}"
                self._say(f"  {label}: {done}  {_pace(beat)}")

    def unit(self, unit: Unit, error: BaseException | None, seconds: float, counts: dict[str, Any]) -> None:
        """One line per ended unit."""
        self.left -= 1
        what = f"{seconds:.1f} s  {_counts(counts)}"
        if error:
            what = ("" if isinstance(error, Stopped) else "FAILED: ") + str(error).removeprefix(f"{unit.label}: ")
        self._say(f"  {unit.label}: {what}  ({self.left} left)")

    def stopping(self) -> None:
        """Say so once."""
        if not self.asked_to_stop:
            self.asked_to_stop = True
            self._say(STOPPING)

    def _say(self, text: str) -> None:
        sys.stderr.write(f"[{_clock(time.monotonic() - self.started)}] {text}\n")
        sys.stderr.flush()


class Live:
    """Stages with a bar each, the running units with tokens per second and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self.console = Console(stderr=True)
        self.started = time.monotonic()
        self.stage_started = self.started
        self.name = ""
        self.total = self.ended = 0
        self.costs: dict[str, float] = {}
        self.spent_cost = 0.0
        self.running: list[dict[str, Any]] = []
        self.asked_to_stop = False
        self.live = RichLive(console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Live:
        self.live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.live.stop()

    def problems(self, marker: dict[str, Any]) -> None:
        """They stay on the screen."""
        for line in _problems(marker):
            self.console.print(line, highlight=False, markup=False)

    def stage(self, name: str, units: list[tuple[Unit, State]]) -> None:
        """Begin a stage's bar."""
        self._close()
        self.name, self.total, self.ended = name, _todo(units), 0
        self.costs = {u.label: u.cost for u, s in units if s not in (State.DONE, State.BLOCKED)}
        self.spent_cost = 0.0
        self.stage_started, self.running = time.monotonic(), []
        skipped = len(units) - self.total
        if not self.total and skipped:
            self.console.print(f"[green]✓[/] {name:<9} [dim]{skipped} done before[/]")
        self.live.update(self._draw())

    def beats(self, beats: list[dict[str, Any]]) -> None:
        """Redraw with the running units' last words."""
        self.running = beats
        self.live.update(self._draw())

    def unit(self, unit: Unit, error: BaseException | None, seconds: float, counts: dict[str, Any]) -> None:
        """Count it; failures stay on the screen."""
        from rich.markup import escape

        self.ended += 1
        self.spent_cost += self.costs.get(unit.label, 0.0)
        if error:
            # Not markup: a message may hold brackets of its own, as in pip install 'mixdistill[train]'.
            said = str(error).removeprefix(f"{unit.label}: ")
            mark = "[yellow]■[/]" if isinstance(error, Stopped) else "[red]✗[/]"
            self.console.print(mark, escape(f"{unit.label}: {said}"), highlight=False)
        if self.ended == self.total:
            self._close()
        self.live.update(self._draw())

    def stopping(self) -> None:
        """Say so once; the bars go on."""
        if not self.asked_to_stop:
            self.asked_to_stop = True
            self.console.print(f"[yellow]■[/] {STOPPING}", highlight=False)

    def _close(self) -> None:
        if self.total:
            spent = _clock(time.monotonic() - self.stage_started)
            units = f"{self.ended} unit{'s' * (self.ended != 1)}"
            self.console.print(f"[green]✓[/] {self.name:<9} [dim]{units} in {spent}[/]", highlight=False)
            self.total = 0

    def _draw(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        if not self.total:
            return Text("")
        grid = Table.grid(padding=(0, 2))
        wide = WIDE if self.console.width >= 100 else WIDE // 2  # else long labels would wrap
        spent = time.monotonic() - self.stage_started
        # By cost, not by count: the largest units start first, and each is many times a small one.
        under_way = sum(_fraction(b) * self.costs.get(b["label"], 0.0) for b in self.running)
        fraction = (self.spent_cost + under_way) / max(sum(self.costs.values()), 1e-9)
        left = _clock(spent / fraction - spent) if fraction > 0.02 else "…"
        grid.add_row(
            f"[bold]{self.name}[/]",
            f"{self.ended}/{self.total}",
            _bar(fraction, wide),
            f"[dim]{left} left in this stage[/]",
        )
        for beat in self.running:
            label = beat["label"].removeprefix(f"{self.name}/")
            done = f"{beat.get('done', 0):,}/{beat.get('total', 0):,}"
            grid.add_row(f"  {label}", done, _bar(_fraction(beat), wide), _pace(beat))
        return grid


def _pace(beat: dict[str, Any]) -> str:
    """What a running unit says besides how far it is: tokens a second, requests in flight, share right, money."""
    said = [f"{beat.get('rate', 0):,.0f} tok/s"]
    said += [f"{beat['flying']:,} in flight"] if beat.get("flying") else []
    said += [f"{100 * beat['right'] / beat['judged']:.0f} % right of {beat['judged']:,}"] if beat.get("judged") else []
    said += [f"${beat['cost']:,.2f}"] if beat.get("cost") else []
    return "  ".join(said)


def _problems(marker: dict[str, Any]) -> list[str]:
    """Nothing is left out in silence: a line of what there is, one of what is not."""
    lists = sorted(marker["tables"].items(), key=lambda table: table[0] != "train")
    there = ", ".join(f"{name} {table['rows']:,}" for name, table in lists if name != UNUSED)
    left_out = ", ".join(f"{reason} {n:,}" for reason, n in marker["counts"].items())
    return [f"problems: {there}"] + ([f"rows left out: {left_out} (problems/{UNUSED}.parquet)"] if left_out else [])


def _todo(units: list[tuple[Unit, State]]) -> int:
    return sum(s not in (State.DONE, State.BLOCKED) for _, s in units)


def _fraction(beat: dict[str, Any]) -> float:
    return min(1.0, beat.get("done", 0) / max(beat.get("total", 0), 1))


def _bar(fraction: float, width: int) -> str:
    full = round(fraction * width)
    return f"[cyan]{'━' * full}[/][dim]{'━' * (width - full)}[/]"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _counts(counts: dict[str, Any]) -> str:
    return "  ".join(f"{k}={v:,}" if isinstance(v, int | float) else f"{k}={v}" for k, v in counts.items())
