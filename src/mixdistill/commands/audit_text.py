"""What `audit` says on a terminal: one trace to mark, how to go on, and the report."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixdistill.commands import sheets
from mixdistill.commands.audit import FOLDER, KEYS, SHEET, ArmReport, GapReport, Report
from mixdistill.evidence.audits import Estimate, GapError, Rate, margin
from mixdistill.page.wording import pct_span, points, span
from mixdistill.recipe import OVER_BASE

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text

PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


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

    before = sheets.MARKS.get(cells["mark"].strip().lower()[:1])
    page, line = Text("\n"), f" {far}{f'; this one: {before}' if before else ''} "
    page.append(line.center(width, "\N{BOX DRAWINGS LIGHT HORIZONTAL}") + "\n", "dim")
    page.append("PROBLEM\n", "bold").append(_wrapped(sheets.shown(cells.get("problem", "")), width))
    page.append("\nANSWER\n", "bold").append(_wrapped(sheets.shown(cells.get("answer", "")), width))
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

    page, left = Text(), report.drawn - report.marked
    page.append(f"{report.marked:,} of {report.drawn:,} traces are marked", "bold")
    page.append(f", {report.unclear:,} of them unclear" if report.unclear else "").append(".\n")
    for note in _notes(report):
        page.append(_filled(note, width, "") + "\n", "yellow")
    if report.marked:
        _rates(page, report)
        _accuracies(page, report)
        for gap in report.gaps:
            _gap(page, gap, width)
    page.append(f"\nGo on marking: mixdistill audit {report.run} --mark" if left else "")
    page.rstrip()
    return page


def _notes(report: Report) -> list[str]:
    notes = []
    if report.void:
        notes.append(f"{report.void:,} marks are void: their trace is gone, or has another text now.")
    if report.redecided:
        notes.append(
            f"{report.redecided:,} marked traces are decided otherwise than when they were drawn; "
            "what is decided now counts."
        )
    if report.undrawn:
        notes.append(
            f"A sample drawn now would hold {report.undrawn:,} further traces: the run has grown or was graded anew. "
            f"Draw them: mixdistill audit {report.run}"
        )
    if report.unclear:
        notes.append("Unclear marks are in no share; the intervals hold whichever way they are counted.")
    return notes


def _rates(page: Text, report: Report) -> None:
    rows = [(_name(a, report), _rate(a.found.false_accepts), _rate(a.found.false_rejects)) for a in report.arms]
    page.append("\nHow often the verifier is wrong", "bold").append(", %, of the traces that are marked\n")
    _table(page, ("", "accepted, but wrong", "not accepted, but right"), rows)


def _accuracies(page: Text, report: Report) -> None:
    rows = [
        (_name(a, report), f"{100 * a.found.verifier:.1f}", _percent(a.found.person), _points(a.found.error))
        for a in report.arms
    ]
    page.append("\nAccuracy", "bold").append(", %, of all traces of this run\n")
    _table(page, ("", "verifier", "a person", "verifier minus person"), rows)


def _table(page: Text, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for i, row in enumerate([head, *rows]):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        page.append(("  " + "  ".join(cells)).rstrip() + "\n", "" if i else "dim")


def _gap(page: Text, gap: GapReport, width: int) -> None:
    found, against = gap.found, "" if gap.contrast.endswith(OVER_BASE) else f" ({gap.arms[0]} - {gap.arms[1]})"
    page.append(f"\n{gap.contrast}{against}", "bold").append(f", {gap.student} on {gap.benchmark}, points\n")
    parts = [f"verifier {points(found.verifier)}", f"a person {_points(found.person)}"]
    line = "  " + "   ".join([*parts, added := f"added by the verifier {_points(found.error)}"])
    page.append((line if len(line) <= width else "  " + "   ".join(parts) + f"\n  {added}") + "\n")
    page.append(_filled(verdict(found), width, "  ") + "\n", "yellow" if found.wanted else "")


def _filled(text: str, width: int, indent: str) -> str:
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def verdict(found: GapError) -> str:
    """In a sentence: does the verifier's error differ between the arms, and how many marks are lacking to say so."""
    low, high = found.error.interval.low, found.error.interval.high
    if found.error.value is None:
        return "Cannot be said before both arms have marks, of traces that were accepted and of others."
    if low > 0 or high < 0:
        said = f"The verifier's error differs between the arms: it adds {_from_to(low, high)} points."
    elif (most := margin(found.error.interval)) <= found.within:
        said = f"The verifier's error does not differ between the arms beyond {PLUS_MINUS}{100 * most:.1f} points."
    else:
        said = f"Can't tell: the verifier's error adds anything from {_from_to(low, high)} points."
    return said + _more(found)


def _more(found: GapError) -> str:
    """How many marks are lacking."""
    if found.wanted is None:
        return ""
    if found.marks >= found.wanted:
        return " What keeps it open are the unclear marks."
    return (
        f" To know it to {PLUS_MINUS}{100 * found.within:.1f} takes about {found.wanted:,} marks per arm "
        f"(now {found.marks:,}; --per-arm {found.wanted})."
    )


def _from_to(low: float, high: float) -> str:
    return " to ".join(dict.fromkeys((points(low), points(high))))


def _name(a: ArmReport, report: Report) -> str:
    """An arm, with its benchmark where there are several."""
    author, _, name = a.arm.partition("/")
    benchmarks = {other.benchmark for other in report.arms if other.arm.startswith("student/")}
    where = f"teacher {name}" if author == "teacher" else name
    return f"{where} {a.benchmark}" if author == "student" and len(benchmarks) > 1 else where


def _rate(rate: Rate) -> str:
    """1 of 20: 5.0 [0.1 to 24.9]."""
    if not rate.traces:
        return "no such traces"
    if rate.share is None:
        return f"0 of {rate.traces:,} are marked"
    return f"{rate.wrong} of {rate.marked}: {100 * rate.share:.1f} [{pct_span(rate.interval)}]"


def _percent(estimate: Estimate) -> str:
    value = "?" if estimate.value is None else f"{100 * estimate.value:.1f}"
    return f"{value} [{pct_span(estimate.interval)}]"


def _points(estimate: Estimate) -> str:
    value = "?" if estimate.value is None else points(estimate.value)
    return f"{value} [{span(estimate.interval)}]"
