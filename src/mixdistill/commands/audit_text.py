"""What `audit` says on a terminal: one trace to mark, how to go on, and the report."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from mixdistill.audits import Estimate, GapError, Rate, margin
from mixdistill.commands import sheets
from mixdistill.commands.audit import FOLDER, KEYS, SHEET, ArmReport, GapReport, Report
from mixdistill.page.wording import points, span
from mixdistill.types import Interval

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text

ARM = 18
"""Narrowest column of arms."""


def drawn_text(root: Path, new: int, rows: int) -> str:
    """What was drawn, and how to mark it."""
    sheet = root / FOLDER / SHEET
    if not new:
        return f"{sheet}: {rows:,} traces, none new."
    return "\n".join(
        [
            f"{sheet}: {rows:,} traces, {new:,} of them new, in an order that has to do with nothing.",
            "Nothing in it says whose a trace is, or what the verifier decided.",
            "",
            f"  mixdistill audit {root} --mark      mark them here, one after the other; stop at any time",
            "  or open the sheet in a spreadsheet, fill its column 'mark' and save it as CSV:",
            "      c  correct: the final answer is the reference answer, however it is written",
            "      i  incorrect: another answer, or none",
            "      u  unclear: nobody could say, or the reference itself is wrong",
            f"  mixdistill audit {root} --report    what the marks say, from the first one on",
        ]
    )


def trace_text(cells: sheets.Cells, far: str, width: int) -> Text:
    """One trace as a person sees it before marking it."""
    from rich.text import Text

    page = Text("\n" + f" {far} ".center(width, "\N{BOX DRAWINGS LIGHT HORIZONTAL}") + "\n", "dim")
    page.append("PROBLEM\n", "bold").append(_wrapped(sheets.shown(cells.get("problem", "")), width))
    page.append("\nEND OF THE ANSWER\n", "bold").append(_wrapped(sheets.shown(cells.get("answer", "")), width))
    page.append("\nREFERENCE ", "bold").append(sheets.shown(cells.get("reference", "")) + "\n", "cyan")
    keys = {**sheets.MARKS, **KEYS}
    page.append("\n" + "  ".join(f"{key} {word}" for key, word in keys.items()) + "  > ", "bold")
    return page


def _wrapped(text: str, width: int) -> str:
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, width - 2) or [""]]
    return "".join(f"  {line}\n" for line in lines)


def report_text(report: Report, width: int) -> Text:
    """The whole report."""
    from rich.text import Text

    page = Text()
    left = report.drawn - report.marked
    page.append(f"{report.marked:,} of {report.drawn:,} traces are marked", "bold")
    page.append(f", {report.unclear:,} of them unclear" if report.unclear else "").append(".\n")
    for note in _notes(report):
        page.append(textwrap.fill(note, width, subsequent_indent="  ") + "\n", "yellow")
    if not report.marked:
        return page.append(f"\nMark some: mixdistill audit {report.run} --mark")
    arms = max([ARM, *(len(_name(a)) for a in report.arms)])
    page.append("\nHOW OFTEN THE VERIFIER IS WRONG", "bold").append(
        "  (95 % intervals, among the traces of this run)\n"
    )
    page.append(f"{'':<{arms}}  {'accepted, but wrong':<27}  not accepted, but right\n", "dim")
    for a in report.arms:
        page.append(
            f"{_name(a):<{arms}}  {_rate(a.found.false_accepts):<27}  {_rate(a.found.false_rejects)}".rstrip() + "\n"
        )
    page.append("\nACCURACY, %\n", "bold")
    page.append(f"{'':<{arms}}  verifier  {'a person':<23}  verifier minus person\n", "dim")
    for a in report.arms:
        person, error = _percent(a.found.person), _points(a.found.error)
        page.append(f"{_name(a):<{arms}}  {100 * a.found.verifier:>8.1f}  {person:<23}  {error}\n")
    if report.gaps:
        _gaps(page, report, width)
    page.append("" if not left else f"\nGo on marking: mixdistill audit {report.run} --mark")
    page.rstrip()
    return page


def _notes(report: Report) -> list[str]:
    notes = []
    if report.void:
        notes.append(f"{report.void:,} marks are void: their trace is gone, or has another text now.")
    if report.redecided:
        notes.append(
            f"{report.redecided:,} marked traces are decided otherwise than when they were drawn; as now counts."
        )
    if report.undrawn:
        notes.append(
            f"A sample drawn now would hold {report.undrawn:,} further traces: the run has grown or was graded anew. "
            f"Draw them: mixdistill audit {report.run}"
        )
    if report.unclear:
        notes.append("Unclear marks are in no share; the intervals hold whichever way they are counted.")
    return notes


def _gaps(page: Text, report: Report, width: int) -> None:
    page.append("\nWHAT THE VERIFIER'S ERROR ADDS TO EACH GAP", "bold").append("  (points; each interval by itself)\n")
    names = max(len(_contrast(g)) for g in report.gaps)
    page.append(f"{'':<{names}}  verifier  {'a person':<23}  added by the verifier\n", "dim")
    for g in report.gaps:
        person, error = _points(g.found.person), _points(g.found.error)
        page.append(f"{_contrast(g):<{names}}  {points(g.found.verifier):>8}  {person:<23}  {error}\n")
    page.append("\n")
    for g in report.gaps:
        page.append(textwrap.fill(verdict(g, report.run), width, subsequent_indent="  ") + "\n")


def verdict(gap: GapReport, run: str) -> str:
    """In a sentence: does the verifier's error differ between the arms, and what marks are lacking to say so."""
    found = gap.found
    where = f"{gap.contrast}, {gap.student} on {gap.benchmark}: "
    if found.error.value is None:
        return f"{where}cannot be said before both arms have marks among the accepted and the other traces."
    interval = found.error.interval
    if interval.low > 0 or interval.high < 0:
        said = f"the verifier's error differs: it adds {_points(found.error)} to the gap of {points(found.verifier)}."
    else:
        said = (
            "the verifier's error does not differ between the arms beyond "
            f"\N{PLUS-MINUS SIGN}{100 * margin(interval):.1f} points; the gap is {points(found.verifier)}."
        )
    return where + said + _more(found, run)


def _more(found: GapError, run: str) -> str:
    """How many marks are lacking."""
    if found.wanted is None:
        return ""
    much = f"\N{PLUS-MINUS SIGN}{100 * found.within:.1f}"
    if found.marks >= found.wanted:
        return f" More marks than about {found.wanted:,} per arm will not bring this to {much}."
    return f" For {much} it takes about {found.wanted:,} marks per arm (now {found.marks:,}): --per-arm {found.wanted}."


def _name(a: ArmReport) -> str:
    return f"{a.arm.partition('/')[2]} ({'teacher' if a.arm.startswith('teacher/') else a.benchmark})"


def _contrast(g: GapReport) -> str:
    against = "" if g.contrast.endswith("_over_base") else f" ({g.arms[0]} - {g.arms[1]})"
    return f"{g.contrast}{against} {g.student} {g.benchmark}"


def _rate(rate: Rate) -> str:
    """1 of 20: 5.0 [0.1 to 24.9]."""
    if not rate.traces:
        return "no such traces"
    if rate.share is None:
        return f"none of {rate.traces:,} marked"
    return f"{rate.wrong} of {rate.marked}: {100 * rate.share:.1f} {_percents(rate.interval)} %"


def _percent(estimate: Estimate) -> str:
    value = "?" if estimate.value is None else f"{100 * estimate.value:.1f}"
    return f"{value} {_percents(estimate.interval)}"


def _percents(interval: Interval) -> str:
    return f"[{100 * interval.low:.1f} to {100 * interval.high:.1f}]"


def _points(estimate: Estimate) -> str:
    value = "?" if estimate.value is None else points(estimate.value)
    return f"{value} [{span(estimate.interval)}]"
