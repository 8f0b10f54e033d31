"""`compare`: contrasts across runs, and what besides the data was not the same in them."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixdistill.arms import BY, spoken
from mixdistill.commands.export import opened
from mixdistill.errors import DataError, StoreError, did_you_mean
from mixdistill.evidence import compare as across
from mixdistill.evidence.compare import Side
from mixdistill.evidence.compared import Across, BaseCheck, Compared, Comparison, RunFacts
from mixdistill.page.wording import points, span

if TYPE_CHECKING:
    from rich.text import Text

    from mixdistill.evidence.rows import ConfoundRow, ConfoundTable
    from mixdistill.types import Interval

LETTERS = string.ascii_uppercase
NOTE = (
    "Points; 95 % intervals. Nothing across runs was declared before they were made: all of this is exploratory, "
    "and p is adjusted for nothing."
)


def compare(roots: list[Path], arm: str | None = None, against: str | None = None) -> Comparison:
    """The first run against each of the others; `arm` of it against `against` of them, else what bears the same name.

    Raises DataError and StoreError for what cannot be compared.
    """
    if len(roots) < 2:
        raise DataError("compare: takes two runs or more (got 1); name the other one too")
    if len(roots) > len(LETTERS):
        raise DataError(f"compare: takes at most {len(LETTERS)} runs (got {len(roots)}); name fewer")
    places = [root.resolve() for root in roots]
    for n, place in enumerate(places):
        if place in places[:n]:
            raise StoreError(f"{roots[n]}: named twice, and a run is no evidence about itself; name another one")
    sides = [across.side(letter, root, opened(root)[0]) for letter, root in zip(LETTERS, roots, strict=False)]
    first, *others = sides
    arms = None if arm is None else (arm, against or arm)
    if arms is not None:
        _know(first, arms[0])
        for other in others:
            _know(other, arms[1])
    pairs = [across.compare(first, other, arms) for other in others]
    return Comparison(runs=[side.facts for side in sides], pairs=pairs)


def _know(run: Side, arm: str) -> None:
    """Raises DataError where no student was scored under that name."""
    known = list(dict.fromkeys(key[1] for key in run.evaluated))
    if arm not in known:
        raise DataError(f"{run.root}: no arm '{arm}' was evaluated{did_you_mean(arm, known)}")


# -- writing it -------------------------------------------------------------------------------------------------------


def text(found: Comparison, width: int) -> Text:
    """The differences, whether the untuned students agree, and what else is not the same."""
    from rich.text import Text

    page = Text()
    rows = [(run.letter, run.path, run.name, _far(run)) for run in found.runs]
    for line in _aligned(rows):
        page.append(line + "\n")
    for run in found.runs:
        if run.smoke:
            said = (
                f"{run.letter} is a smoke run: its models, data and traces are made up, so no number here is a result."
            )
            page.append(_filled(said, width) + "\n", "bold red")
    for pair in found.pairs:
        _pair(page, pair, width)
    page.append("\n" + _filled(NOTE, width), "dim")
    return page


def _far(run: RunFacts) -> str:
    left = run.wanted - run.evaluated
    return f"{left:,} of {run.wanted:,} evaluations are not there yet" if left else ""


def _pair(page: Text, pair: Compared, width: int) -> None:
    a, b = pair.runs
    page.append(f"\n{a} minus {b}, read by the {pair.rule} rule\n", "bold")
    _differences(page, pair, width)
    for row in pair.base:
        said, style = _base(row, a, b)
        page.append(_filled(said, width) + "\n", style)
    for line in [*_problems(pair), *_seeds(pair.differences), *pair.notes]:
        page.append(_filled(line, width) + "\n")
    for table in pair.tables:
        _confounds(page, table, width)
    for table in pair.within:
        page.append(f"\nMore than the data in the gaps of either run by itself{_of(table)}: ", "bold")
        page.append(f"{len(table.rows)} red, alike in {a} and {b}\n")
        _rows(page, table.rows, width)


def _differences(page: Text, pair: Compared, width: int) -> None:
    """A row for each; where that is too wide, the intervals and the verdict stand below it."""
    head = (
        "",
        "student",
        "benchmark",
        "at most",
        *pair.runs,
        "A - B".replace("A", pair.runs[0]).replace("B", pair.runs[1]),
    )
    rows = [
        (_name(d), d.student, d.benchmark, _cap(d), *map(_value(d), d.values), points(d.delta))
        for d in pair.differences
    ]
    shown = [n for n in range(len(head)) if head[n] not in ("benchmark", "at most") or len({r[n] for r in rows}) > 1]
    lines = [tuple(row[n] for n in shown) for row in (head, *rows)]
    behind = [("these checkpoints", "this data", "verdict")]
    behind += [(_interval(d.checkpoints), _interval(d.data), d.verdict) for d in pair.differences]
    table = _aligned([(*line, *more) for line, more in zip(lines, behind, strict=True)])
    if max(map(len, table)) > width:
        top, *others = _aligned(lines)
        said = [f"these checkpoints {x}, this data {y}: {verdict}" for x, y, verdict in behind[1:]]
        below = [_filled(one, width, "    ") for one in said]
        table = [top, *(line for two in zip(others, below, strict=True) for line in two)]
    for n, line in enumerate(table):
        page.append(line + "\n", "" if n else "dim")


def _name(d: Across) -> str:
    ours, theirs = (" - ".join(map(spoken, of.split(" - "))) for of in d.of)
    if d.kind == "gap":
        return f"{d.name} ({ours})" if ours == theirs else f"{d.name} ({ours}; {theirs})"
    return ours if ours == theirs else f"{ours}, {theirs}"


def _value(d: Across) -> Callable[[float], str]:
    return points if d.kind == "gap" else lambda share: f"{100 * share:.1f}"


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"[{span(interval)}]"


def _cap(d: Across) -> str:
    return "" if d.max_tokens is None else f"{d.max_tokens:,} tokens"


def _base(row: BaseCheck, a: str, b: str) -> tuple[str, str]:
    """(what the untuned student shows, how loudly)."""
    one, other = (f"{100 * v:.1f}" for v in row.values)
    who = f"{spoken(row.arm)} of {row.student} on {row.benchmark}: {one} % in {a}, {other} % in {b}"
    if row.unlike:
        return f"{who}; not the same in both: {', '.join(row.unlike)}.", ""
    if row.differing:
        return (
            f"{who}, and {row.differing:,} of {row.problems:,} problems differ, though weights, settings and problems "
            "are the same: device, versions or rounding move scores by themselves."
        ), "red"
    return f"{who}, the same on all {row.problems:,} problems, as it must be.", ""


def _problems(pair: Compared) -> list[str]:
    """Where not all problems are common."""
    return [
        f"{p.benchmark}: the {p.common:,} problems that both have, of {p.of[0]:,} and {p.of[1]:,}."
        for p in pair.problems
        if p.of != (p.common, p.common)
    ]


def _seeds(found: list[Across]) -> list[str]:
    """How seeds were held against each other; nothing of untuned students alone."""
    sizes = {d.seeds for d in found if not d.paired and d.trained}
    if not sizes:
        paired = any(d.paired for d in found)
        return (
            ["Seeds of one number are a pair: the same problems, updates and settings in both runs."] if paired else []
        )
    counts = "; ".join(f"{a} and {b}" for a, b in sorted(sizes))
    some = " in some of the rows" if any(d.paired for d in found) else ""
    return [f"Seeds are each run's own ({counts}){some}: a number stands for no common draw."]


def _confounds(page: Text, table: ConfoundTable, width: int) -> None:
    """The rows that are not the same, red ones first."""
    unlike = [row for row in table.rows if row.state != "same"]
    red = sum(row.state == "red" for row in unlike)
    page.append(f"\nWhat else is not the same{_of(table)}: ", "bold")
    page.append(
        f"{red} red, {len(unlike) - red} notes, of {len(table.rows)} things compared\n" if unlike else "nothing\n"
    )
    _rows(page, unlike, width)


def _of(table: ConfoundTable) -> str:
    return f" for {table.student}" + (f", {BY[table.variant]}" if table.variant else "")


def _rows(page: Text, rows: list[ConfoundRow], width: int) -> None:
    for row in rows:
        page.append(f"  {row.state:<5}", "bold red" if row.state == "red" else "yellow")
        page.append(_filled(f"{row.name}: {_values(row)}. {row.why}", width - 7, " " * 7).lstrip() + "\n")


def _values(row: ConfoundRow) -> str:
    """`A 200, B 400`: one value of a run whose arms all have it, else one of each arm."""
    by_run: dict[str, dict[str, str]] = {}
    for label, value in row.values.items():
        by_run.setdefault(label.partition(" ")[0], {})[label] = value
    parts = []
    for letter, values in by_run.items():
        alike = len(set(values.values())) == 1
        parts += (
            [f"{letter} {next(iter(values.values()))}"] if alike else [f"{spoken(k)} {v}" for k, v in values.items()]
        )
    return ", ".join(parts)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows]


def _filled(said: str, width: int, indent: str = "") -> str:
    import textwrap

    return textwrap.fill(said, width, initial_indent=indent, subsequent_indent=indent or "  ", break_on_hyphens=False)
