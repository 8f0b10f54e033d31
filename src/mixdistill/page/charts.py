"""Charts of points over two axes: the gap against size, accuracy by blend, accuracy by token budget.

A chart holds positions in percent of its plot, from its upper left, so that one drawing fits a page, a phone and a
paper. Series differ in mark and dash as well as in colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mixdistill.arms import BASE, called
from mixdistill.evidence.crossover import FAR
from mixdistill.evidence.verdicts import FEWEST
from mixdistill.page.figures import Axis
from mixdistill.page.wording import cap, pct, pct_span, points, short_number, span, verdict_word

if TYPE_CHECKING:
    from mixdistill.evidence.details import BudgetPoint, Crossover
    from mixdistill.evidence.rows import ArmAccuracy, Evidence
    from mixdistill.types import Gap, Interval

__all__ = ["crossover_words"]

MARKS = ("circle", "square", "diamond", "triangle", "cross", "ring")
"""The mark of each look. The last one is the untuned student's; more arms than there are others begin again."""
UNTUNED = len(MARKS) - 1


class Tick(NamedTuple):
    """A place on an axis, in percent, and what stands there."""

    at: float
    text: str


class Ends(NamedTuple):
    """An interval of the vertical axis: positions of its upper and lower end."""

    top: float
    bottom: float


@dataclass(frozen=True)
class Mark:
    """One point."""

    x: float
    y: float
    data: Ends | None
    checkpoints: Ends | None
    text: str
    """What it says, in words and numbers."""
    label: str = ""
    """Stands beside it; empty for none."""
    open: bool = False
    """Drawn hollow: nothing is decided."""


@dataclass(frozen=True)
class Series:
    """Points of one kind, in order from the left."""

    name: str
    look: int
    """Which colour, mark and dash."""
    marks: list[Mark]

    @property
    def mark(self) -> str:
        return MARKS[self.look]

    @property
    def steps(self) -> list[tuple[Mark, Mark]]:
        """Each point with the next one."""
        return list(zip(self.marks, self.marks[1:], strict=False))

    @property
    def band(self) -> str:
        """Around the intervals, as the points of an SVG polygon; empty where a point has none."""
        ends = [mark.data or mark.checkpoints for mark in self.marks]
        known = [e for e in ends if e]
        if len(known) < len(ends) or len(ends) < 2:
            return ""
        above = [f"{m.x:g},{e.top:g}" for m, e in zip(self.marks, known, strict=True)]
        below = [f"{m.x:g},{e.bottom:g}" for m, e in zip(self.marks, known, strict=True)]
        return " ".join([*above, *reversed(below)])


class Reference(NamedTuple):
    """A dashed line over the whole width."""

    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    """One plot."""

    name: str
    """Of its files."""
    title: str
    subtitle: str
    x_title: str
    y_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    series: list[Series]
    references: list[Reference]
    joined: bool = False
    """Whether points of a series are joined, with a band for their intervals instead of a line each."""
    fit: tuple[float, float, float, float] | None = None
    """A straight line x1, y1, x2, y2."""
    crossing: tuple[float, float | None, float] | None = None
    """Where the fit is zero: from, at, to."""
    zero: float | None = None
    """Where the vertical axis is zero, if differences are drawn."""

    @property
    def text(self) -> str:
        """All that is drawn, in words."""
        said = [f"{s.name}: {'; '.join(mark.text for mark in s.marks)}" for s in self.series]
        return ". ".join([*said, *(r.text for r in self.references)]) + "."


def spread(axis: Axis, interval: Interval | None) -> Ends | None:
    """Where an interval begins and ends."""
    return Ends(place(axis, interval.high), place(axis, interval.low)) if interval else None


def place(axis: Axis, value: float) -> float:
    """Where a value stands; larger ones are further up."""
    return round(100 - axis.at(value), 3)


def gap_ticks(axis: Axis) -> list[Tick]:
    """Of differences, in points."""
    return [Tick(place(axis, t), "0" if t == 0 else points(t).replace(".0", "")) for t in axis.ticks]


def share_ticks(axis: Axis) -> list[Tick]:
    """Of shares, in percent."""
    return [Tick(place(axis, t), f"{100 * t:.3g}") for t in axis.ticks]


# -- the gap against size ----------------------------------------------------------------------------------------------


def size_charts(evidence: Evidence) -> list[Chart]:
    """A chart per contrast between trained arms where the primary one was measured, the primary first; none of students
    whose size is not known, and none of a single one."""
    wanted = evidence.primary
    gaps = [
        gap
        for gap in evidence.gaps
        if gap.group == "all" and called(gap.arms[1]).arm != BASE
        if wanted is None or (gap.benchmark, gap.max_tokens) == (wanted.benchmark, wanted.max_tokens)
    ]
    names = sorted(dict.fromkeys(g.name for g in gaps), key=lambda n: wanted is None or n != wanted.contrast)
    found = [_size_chart(evidence, [g for g in gaps if g.name == name]) for name in names]
    return [chart for chart in found if chart]


def _size_chart(evidence: Evidence, gaps: Sequence[Gap]) -> Chart | None:
    sizes = {s.name: s.parameters for s in evidence.students if s.parameters}
    gaps = sorted((g for g in gaps if g.student in sizes), key=lambda g: sizes[g.student])
    if len({sizes[g.student] for g in gaps}) < 2:
        return None
    first = gaps[0]
    low, high = (math.log10(end) for end in (sizes[first.student], sizes[gaps[-1].student]))
    room = 0.12 * (high - low)

    def x(size: float) -> float:
        return round(100 * (math.log10(size) - low + room) / (high - low + 2 * room), 3)

    ends = [end for g in gaps for i in (g.data, g.checkpoints) if i for end in (i.low, i.high)]
    axis = Axis.over([*ends, *(g.delta for g in gaps)], floor=-1, ceiling=1, wanted=5)
    marks = [
        Mark(
            x(sizes[g.student]), place(axis, g.delta), spread(axis, g.data), spread(axis, g.checkpoints),
            f"{g.student} ({short_number(sizes[g.student])} parameters) {points(g.delta)} points, this data "
            f"{span(g.data)}, these checkpoints {span(g.checkpoints)}, {verdict_word(g)}",
            label=g.student, open=verdict_word(g).startswith("can't tell"),
        )
        for g in gaps
    ]  # fmt: skip
    crossover = _crossover(evidence, first.name, first.benchmark, first.max_tokens)
    arms = {g.arms for g in gaps}
    a, b = arms.pop() if len(arms) == 1 else ("first", "second arm")
    return Chart(
        name=f"size-{first.name}",
        title=f"{first.name} against student size",
        subtitle=f"{first.benchmark}, {cap(first.max_tokens)}",
        x_title="parameters (logarithmic)",
        y_title=f"accuracy of {a} minus {b}, points",
        x_ticks=[Tick(x(sizes[g.student]), short_number(sizes[g.student])) for g in gaps],
        y_ticks=gap_ticks(axis),
        series=[Series(first.name, 0, marks)],
        references=[],
        fit=_fit(crossover, axis, x, [sizes[s] for s in crossover.students if s in sizes]) if crossover else None,
        crossing=_crossing(crossover, x) if crossover else None,
        zero=place(axis, 0),
    )


def _crossover(evidence: Evidence, name: str, benchmark: str, max_tokens: int | None) -> Crossover | None:
    """Of a contrast; there is none under a token cap, and the first family's where there are several."""
    found = (c for c in evidence.details.crossovers if (c.name, c.benchmark) == (name, benchmark))
    return next(found, None) if max_tokens is None else None


def _fit(
    crossover: Crossover, axis: Axis, x: Callable[[float], float], sizes: Sequence[float]
) -> tuple[float, float, float, float] | None:
    """The fitted line over the sizes of its students; None where its crossing lies far outside of them."""
    if crossover.parameters is None or not sizes:
        return None
    zero = math.log10(crossover.parameters)
    (x1, y1), (x2, y2) = (
        (x(s), place(axis, crossover.slope * (math.log10(s) - zero))) for s in (min(sizes), max(sizes))
    )
    return x1, y1, x2, y2


def _crossing(crossover: Crossover, x: Callable[[float], float]) -> tuple[float, float | None, float] | None:
    """From, at and to in percent of the plot; an end without a bound is the plot's. What lies outside is not drawn: the
    crossing itself, or all of it."""
    if crossover.parameters is None:
        return None
    low = 0.0 if crossover.low is None else max(0.0, x(crossover.low))
    high = 100.0 if crossover.high is None else min(100.0, x(crossover.high))
    at = x(crossover.parameters)
    return (low, at if 0 <= at <= 100 else None, high) if low < high else None


def crossover_words(evidence: Evidence) -> str:
    """Where the gap of the primary contrast crosses zero, or why that is not said."""
    wanted = evidence.primary
    found = _crossover(evidence, wanted.contrast, wanted.benchmark, wanted.max_tokens) if wanted else None
    if found is None:
        sizes = len({s.parameters for s in evidence.students if s.parameters})
        if wanted and wanted.max_tokens is not None:
            return "No crossover is fitted: the declared comparison has a token cap."
        if sizes >= 4:
            of_each = f"each with two seeds and {FEWEST} problems"
            return f"No crossover is fitted: it takes four sizes of one family, {of_each}."
        here = "is one" if sizes == 1 else f"are {sizes}"
        if any(s.parameters is None for s in evidence.students):
            here += " that is known" if sizes == 1 else " that are known"
        return f"No crossover is fitted: that takes four sizes of one family, and here {here}."
    slope = f"Over {len(found.students)} sizes the gap changes by {points(found.slope)} points for a student ten times "
    slope += f"as large ({span(found.slope_interval)})"
    if found.parameters is None:
        return f"{slope}; the fitted line does not cross zero near these sizes."
    at, between = short_number(found.parameters), crossing_span(evidence, found)
    return f"{slope}; the fitted line crosses zero at {at} parameters (95 %: {between})."


def crossing_span(evidence: Evidence, found: Crossover) -> str:
    """Between which sizes a gap crosses zero; an end that lies far outside of the students' sizes, or nowhere, is not
    told: `120k to beyond 4.56M`."""
    sizes = [s.parameters for s in evidence.students if s.name in found.students and s.parameters] or [0]
    low = f"below {short_number(min(sizes) / FAR)}" if found.low is None else short_number(found.low)
    high = f"beyond {short_number(max(sizes) * FAR)}" if found.high is None else short_number(found.high)
    return f"{low} to {high}"


# -- accuracy by blend -------------------------------------------------------------------------------------------------


def blend_charts(evidence: Evidence) -> list[Chart]:
    """A chart per pair of teachers that a blend is made of and student, where the primary contrast was measured."""
    wanted = evidence.primary
    weights = {a.name: a.weights for a in evidence.arms if a.weights and not called(a.name).variant}
    weights = {name: {t: w for t, w in parts.items() if w > 0} for name, parts in weights.items()}
    pairs = dict.fromkeys(tuple(parts) for parts in weights.values() if len(parts) == 2)
    pairs = list({frozenset(pair): pair for pair in reversed(pairs)}.values())[::-1]
    charts = []
    for a, b in pairs:
        inside = {name: parts.get(a, 0.0) for name, parts in weights.items() if parts.keys() <= {a, b}}
        for student in evidence.students:
            rows = [
                row
                for row in evidence.accuracies
                if (row.student, row.group) == (student.name, "all")
                if wanted is None or (row.benchmark, row.max_tokens) == (wanted.benchmark, wanted.max_tokens)
            ]
            if wanted is None:
                rows = [r for r in rows if (r.benchmark, r.max_tokens) == (rows[0].benchmark, rows[0].max_tokens)]
            if chart := _blend_chart(evidence, (a, b), inside, rows):
                charts.append(chart)
    return charts


def _blend_chart(
    evidence: Evidence, pair: tuple[str, str], inside: dict[str, float], rows: Sequence[ArmAccuracy]
) -> Chart | None:
    """Of one student; None where fewer than three of the arms were scored."""
    arms = sorted((row for row in rows if row.arm in inside), key=lambda row: inside[row.arm])
    if len(arms) < 3:
        return None
    bases = [row for row in rows if called(row.arm).arm == BASE]
    base = max(bases, key=lambda row: row.mean, default=None)
    ends = [end for row in (*arms, *bases) for i in (row.data, row.checkpoints) if i for end in (i.low, i.high)]
    axis = Axis.over([*ends, *(row.mean for row in (*arms, *bases))], floor=0, ceiling=1, wanted=5)
    first, (a, b) = arms[0], pair
    marks = [
        Mark(
            round(6 + 88 * inside[row.arm], 3), place(axis, row.mean), spread(axis, row.data),
            spread(axis, row.checkpoints),
            f"{row.arm} ({_both_units(evidence, row, a)}) {pct(row.mean)} correct, this data {pct_span(row.data)}, "
            f"these checkpoints {pct_span(row.checkpoints)}",
            label=row.arm,
        )
        for row in arms
    ]  # fmt: skip
    unit = "examples" if evidence.budget == "examples" else "loss tokens"
    ticks = dict.fromkeys(inside[row.arm] for row in arms)
    return Chart(
        name=f"blend-{first.student}-{a}-{b}",
        title=f"Accuracy of {first.student} by blend",
        subtitle=f"{first.benchmark}, {cap(first.max_tokens)}",
        x_title=f"share of {a} by {unit}, %; the rest is {b}",
        y_title="correct, %",
        x_ticks=[Tick(round(6 + 88 * share, 3), f"{100 * share:.3g}") for share in ticks],
        y_ticks=share_ticks(axis),
        series=[Series(f"{first.student}, {len(first.seeds)} seed{'s' * (len(first.seeds) != 1)}", 0, marks)],
        references=[Reference(place(axis, base.mean), f"{base.arm}, untuned {pct(base.mean)}")] if base else [],
    )


def _both_units(evidence: Evidence, row: ArmAccuracy, teacher: str) -> str:
    """The share of a teacher in an arm, as it came out in both units."""
    cells = [c for c in evidence.cells if (c.student, c.arm) == (row.student, called(row.arm).trained)]
    if not cells:
        return f"no training of {teacher} on record"
    by_example, by_token = (
        sum(getattr(c, field).get(teacher, 0.0) for c in cells) / len(cells)
        for field in ("share_examples", "share_loss_tokens")
    )
    return f"{100 * by_example:.0f} % {teacher} by examples, {100 * by_token:.0f} % by loss tokens"


# -- accuracy by token budget ------------------------------------------------------------------------------------------

KINDS = {
    "cut": ("cut at the budget", "tokens"),
    "forced": ("answer forced at the budget", "tokens"),
    "thinking": ("answer forced after a share of the reasoning", "share of its reasoning, %"),
}


def budget_charts(evidence: Evidence) -> list[Chart]:
    """Per student and benchmark, a chart for each kind of budget and one for the share that finished."""
    shown = [p for p in evidence.details.budget_points if not called(p.arm).variant]
    keys = dict.fromkeys((p.student, p.benchmark, p.kind) for p in shown)
    charts = []
    for student, benchmark, kind in keys:
        found = [p for p in shown if (p.student, p.benchmark, p.kind) == (student, benchmark, kind)]
        charts.append(_budget_chart(evidence, found, kind, finished=False))
        if kind == "cut":
            charts.append(_budget_chart(evidence, found, kind, finished=True))
    return charts


def _budget_chart(evidence: Evidence, found: Sequence[BudgetPoint], kind: str, *, finished: bool) -> Chart:
    """Accuracy, or the share finished, of every arm of one student on one benchmark."""
    first, (what, x_title) = found[0], KINDS[kind]
    highest = max(p.at for p in found) or 1
    every = [i for p in found for i in _shown(p, finished) if i]
    means = [p.finished if finished else p.mean for p in found]
    axis = Axis.over([*means, *(end for i in every for end in (i.low, i.high))], floor=0, ceiling=1, wanted=5)
    order = [arm.name for arm in evidence.arms if not called(arm.name).variant]
    arms = sorted(
        {p.arm for p in found}, key=lambda arm: (called(arm).arm == BASE, order.index(arm) if arm in order else 0)
    )
    ticks = sorted({p.at for p in found})
    return Chart(
        name=f"budget-{first.student}-{first.benchmark}-{'finished' if finished else kind}",
        title=f"{'Share finished' if finished else 'Accuracy'} of {first.student}, {what}",
        subtitle=first.benchmark,
        x_title=x_title,
        y_title="finished, %" if finished else "correct, %",
        x_ticks=_apart([Tick(_across(at, highest), _at(at, kind)) for at in ticks]),
        y_ticks=share_ticks(axis),
        series=[
            Series(
                arm,
                UNTUNED if called(arm).arm == BASE else i % UNTUNED,
                [
                    _budget_mark(p, axis, highest, finished=finished)
                    for p in sorted(found, key=lambda p: p.at)
                    if p.arm == arm
                ],
            )
            for i, arm in enumerate(arms)
        ],
        references=[],
        joined=True,
    )  # fmt: skip


def _at(at: float, kind: str) -> str:
    return f"{100 * at:.0f}" if kind == "thinking" else f"{at:,.0f}"


def _shown(point: BudgetPoint, finished: bool) -> tuple[Interval | None, Interval | None]:
    """(this data, these checkpoints) of what is drawn."""
    return (point.finished_interval, None) if finished else (point.data, point.checkpoints)


def _across(at: float, highest: float) -> float:
    return round(4 + 92 * at / highest, 3)


def _apart(ticks: list[Tick]) -> list[Tick]:
    """Without those too close to the next one to be read; the last one stays."""
    kept: list[Tick] = []
    for tick in reversed(ticks):
        if not kept or kept[-1].at - tick.at >= 9:
            kept.append(tick)
    return kept[::-1]


def _budget_mark(point: BudgetPoint, axis: Axis, highest: float, *, finished: bool) -> Mark:
    data, checkpoints = _shown(point, finished)
    value = point.finished if finished else point.mean
    at = f"{100 * point.at:.0f} %" if point.kind == "thinking" else f"{point.at:,.0f} tokens"
    interval = pct_span(data or checkpoints)
    return Mark(
        _across(point.at, highest),
        place(axis, value),
        spread(axis, data),
        spread(axis, checkpoints),
        f"{at} {pct(value)} ({interval})",
    )
