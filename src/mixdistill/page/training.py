"""The gap over the training: what dev said at several points, as curves with their bands, and what was not over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixdistill.arms import called, spoken
from mixdistill.page.figures import Axis
from mixdistill.page.wording import points, span

if TYPE_CHECKING:
    from mixdistill.evidence.rows import DevGap, DevPoint, Evidence, Moving
    from mixdistill.types import Interval

__all__ = ["curve_figures", "dev_arms", "moving_line", "moving_words", "progress_word"]


@dataclass(frozen=True)
class CurveFigure:
    """One contrast, a curve per student; all share one axis."""

    title: str
    arms: tuple[str, str]
    """Empty where they are not the same everywhere."""
    curves: list[Curve]


@dataclass(frozen=True)
class Curve:
    """The gap of one student over its training. Positions are percentages of the plot, from its upper left."""

    student: str
    gaps: list[DevGap]
    axis: Axis

    def x(self, gap: DevGap) -> float:
        """A share of the training."""
        return round(100 * gap.progress, 3)

    def y(self, value: float) -> float:
        """A gap; larger ones are further up."""
        return round(100 - self.axis.at(value), 3)

    @property
    def line(self) -> str:
        """Through the means, as the points of an SVG polyline."""
        return " ".join(f"{self.x(gap):g},{self.y(gap.delta):g}" for gap in self.gaps)

    @property
    def band(self) -> str:
        """Around the intervals, as the points of an SVG polygon; empty where a point has none."""
        intervals = [shown(gap) for gap in self.gaps]
        known = [i for i in intervals if i]
        if len(known) < len(intervals):
            return ""
        above = [f"{self.x(gap):g},{self.y(i.high):g}" for gap, i in zip(self.gaps, known, strict=True)]
        below = [f"{self.x(gap):g},{self.y(i.low):g}" for gap, i in zip(self.gaps, known, strict=True)]
        return " ".join([*above, *reversed(below)])

    @property
    def kind(self) -> str:
        """Which interval the band is: `data`, or `checkpoints` with a single seed."""
        return "data" if all(gap.data for gap in self.gaps) else "checkpoints"


def shown(gap: DevGap) -> Interval | None:
    """The interval that a point is drawn with: this data; with a single seed, these checkpoints."""
    return gap.data or gap.checkpoints


def curve_figures(evidence: Evidence) -> list[CurveFigure]:
    """A figure per contrast under the declared budget, the primary one first; students in order of size."""
    order = {student.name: i for i, student in enumerate(evidence.students)}
    declared = [gap for gap in evidence.dev_gaps if not gap.variant]
    wanted = evidence.primary.contrast if evidence.primary else ""
    figures = []
    for name in sorted(dict.fromkeys(gap.name for gap in declared), key=lambda name: name != wanted):
        mine = [gap for gap in declared if gap.name == name]
        ends = [end for gap in mine if (i := shown(gap)) for end in (i.low, i.high)]
        axis = Axis.over([*ends, *(gap.delta for gap in mine)], floor=-1, ceiling=1, wanted=4)
        students = sorted({gap.student for gap in mine}, key=lambda student: order.get(student, len(order)))
        curves = [Curve(student, [gap for gap in mine if gap.student == student], axis) for student in students]
        arms = {gap.arms for gap in mine}
        figures.append(CurveFigure(name, arms.pop() if len(arms) == 1 else ("", ""), curves))
    return figures


def dev_arms(evidence: Evidence) -> list[list[DevPoint]]:
    """Accuracy on dev, a row per student and arm with a point each, in the order of the evidence."""
    keys = dict.fromkeys((point.student, point.arm) for point in evidence.dev_points)
    return [[point for point in evidence.dev_points if (point.student, point.arm) == key] for key in keys]


def progress_word(progress: float) -> str:
    """0.755 -> 76 %; the last point is the end."""
    return "the end" if progress == 1 else f"{100 * progress:.0f}\N{NO-BREAK SPACE}%"


def moving_words(evidence: Evidence) -> list[str]:
    """Which arms were still moving on dev when their training ended, a sentence each; one where none was; nothing where
    nobody was asked twice."""
    found = [_sentence(row) for row in evidence.moving if row.moving]
    if found:
        return [*found, "More updates may change these gaps."]
    return ["No arm's accuracy on dev was still moving at the end, beyond noise."] if evidence.moving else []


def _sentence(row: Moving) -> str:
    way = "rising" if row.delta > 0 else "falling"
    return (
        f"{row.student}: {spoken(row.arm)} was still {way}: {points(row.delta)} points between "
        f"{progress_word(row.since)} of the training and the end ({span(row.interval)})."
    )


def moving_line(evidence: Evidence) -> str:
    """The same for a terminal, in one line; empty where nothing was moving."""
    found: dict[str, list[str]] = {}
    for row in evidence.moving:
        if row.moving and not called(row.arm).variant:
            found.setdefault(row.student, []).append(f"{row.arm} {points(row.delta)}")
    told = "; ".join(f"{student}: {', '.join(arms)}" for student, arms in found.items())
    return f"still moving on dev when the training ended, points: {told}" if told else ""
