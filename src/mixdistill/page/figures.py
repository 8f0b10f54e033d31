"""What the report's figures and tables hold: rows in order, panels, axes, positions in percent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from mixdistill.arms import BASE, called
from mixdistill.page.budgets import gap_budgets
from mixdistill.page.measured import deciding_benchmarks
from mixdistill.page.wording import gap_key, is_primary
from mixdistill.types import Outcome, Rule, Score

if TYPE_CHECKING:
    from mixdistill.evidence.rows import ArmAccuracy, Evidence, ReadingFacts
    from mixdistill.types import Gap

__all__ = [
    "DIFFERENCES", "OUTCOMES", "Axis", "accuracy_figures", "budget_figure", "differences", "gap_figures",
    "gap_readings", "outcome_figures", "part_figures", "reading_figure", "rules",
]  # fmt: skip

OUTCOMES = tuple(Outcome)
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Axis:
    """A horizontal axis; positions are percentages of its width."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Iterable[float], *, floor: float, ceiling: float, wanted: int = 6) -> Axis:
        """The smallest axis with round ticks that holds zero and the values, kept between floor and ceiling."""
        known = [min(max(value, floor), ceiling) for value in values] + [0.0]
        low, high = min(known), max(known)
        room = max(high - low, 0.02)
        step = min((m * 10**e for e in (-3, -2, -1) for m in (1, 2, 5)), key=lambda s: (room / s > wanted, s))
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if first == last:
            last += 1
        return cls(first * step, last * step, tuple(round(i * step, 6) for i in range(first, last + 1)))

    def at(self, value: float) -> float:
        """Position of a value; values beyond the axis sit on its edge."""
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 3)


@dataclass(frozen=True)
class Panel:
    """Rows drawn over one axis: the gaps of a contrast, or the arms of a student, at one cap."""

    title: str
    benchmark: str
    max_tokens: int | None
    axis: Axis
    rows: list[Any]
    """Gaps, arm accuracies, or (arm, outcome counts)."""
    primary: bool = False
    reference: ArmAccuracy | None = None
    """The untuned student in its best prompt, drawn as a line through all rows."""


@dataclass(frozen=True)
class Figure:
    """Panels that belong together and share one axis."""

    title: str
    panels: list[Panel]
    arms: tuple[str, str] = ("", "")
    """Gaps only: first and second arm, where all rows have the same."""
    over_base: bool = False
    """Gaps only: whether every row holds an arm against the untuned student."""


def gap_figures(evidence: Evidence) -> list[Figure]:
    """One figure per contrast, one panel per benchmark and cap; the primary first, students in order of size."""
    order = {student.name: i for i, student in enumerate(evidence.students)}
    shown = [gap for gap in evidence.gaps if gap.group == "all"]
    shown.sort(key=lambda gap: not is_primary(evidence, gap))
    figures = []
    for name in dict.fromkeys(gap.name for gap in shown):
        rows = [gap for gap in shown if gap.name == name]
        axis = _gap_axis(rows)
        panels = []
        for benchmark, tokens in dict.fromkeys((gap.benchmark, gap.max_tokens) for gap in rows):
            part = [gap for gap in rows if (gap.benchmark, gap.max_tokens) == (benchmark, tokens)]
            part.sort(key=lambda gap: order.get(gap.student, len(order)))
            panels.append(Panel(name, benchmark, tokens, axis, part, any(is_primary(evidence, gap) for gap in part)))
        first, second = {gap.arms[0] for gap in rows}, {gap.arms[1] for gap in rows}
        arms = (first.pop() if len(first) == 1 else "", second.pop() if len(second) == 1 else "")
        figures.append(Figure(name, panels, arms, all(called(gap.arms[1]).arm == BASE for gap in rows)))
    return figures


def _gap_axis(gaps: Sequence[Gap]) -> Axis:
    ends = [end for gap in gaps for i in (gap.data, gap.checkpoints) if i for end in (i.low, i.high)]
    return Axis.over([*ends, *(gap.delta for gap in gaps)], floor=-1, ceiling=1)


def rules(evidence: Evidence) -> list[Rule]:
    """The readings that find different answers correct, the strictest first."""
    return [rule for rule in RULES if rule not in evidence.alike]


def gap_readings(evidence: Evidence, *, primary: bool) -> list[list[Gap]]:
    """Gaps over all problems under every reading, the strictest first: the primary contrast's, or all others'."""
    shown = [gap for gap in evidence.gaps if gap.group == "all" and is_primary(evidence, gap) == primary]
    others = {(gap.rule, gap_key(gap)): gap for gap in evidence.gaps_by_rule}
    found = [
        [g for r in rules(evidence) if (g := gap if r == gap.rule else others.get((r, gap_key(gap))))] for gap in shown
    ]
    return [readings for readings in found if len(readings) > 1]


def reading_figure(evidence: Evidence) -> Figure:
    """The primary contrast: a panel per student in order of size, a row per reading."""
    found = gap_readings(evidence, primary=True)
    return _by_student(evidence, "The gap under each reading of the answers", found)


def budget_figure(evidence: Evidence) -> Figure:
    """The primary contrast: a panel per student in order of size, a row per budget."""
    return _by_student(evidence, "The gap under each budget", gap_budgets(evidence, primary=True))


def part_figures(evidence: Evidence) -> list[Figure]:
    """The parts of the primary contrast, a panel per student in order of size, a row per part; of an average one figure
    for each of its benchmarks."""
    return [figure for b in deciding_benchmarks(evidence) if (figure := _part_figure(evidence, b))]


def _part_figure(evidence: Evidence, benchmark: str) -> Figure | None:
    wanted = evidence.primary
    shown = [
        part
        for part in evidence.details.parts
        if wanted and (part.name, part.benchmark, part.max_tokens) == (wanted.contrast, benchmark, wanted.max_tokens)
    ]
    ends = [end for p in shown for i in (p.data, p.checkpoints) if i for end in (i.low, i.high)]
    axis = Axis.over([*ends, *(p.delta for p in shown)], floor=-1, ceiling=1)
    mine = {s.name: [p for p in shown if p.student == s.name] for s in evidence.students}
    panels = [Panel(name, rows[0].benchmark, rows[0].max_tokens, axis, rows) for name, rows in mine.items() if rows]
    arms = {panel.rows[0].arms for panel in panels}
    if not panels:
        return None
    title = shown[0].name if wanted and wanted.benchmark == benchmark else f"{shown[0].name} on {benchmark}"
    return Figure(title, panels, arms.pop() if len(arms) == 1 else ("first", "second"))


def _by_student(evidence: Evidence, title: str, found: Sequence[list[Gap]]) -> Figure:
    order = {student.name: i for i, student in enumerate(evidence.students)}
    found = sorted(found, key=lambda gaps: order.get(gaps[0].student, len(order)))
    axis = _gap_axis([gap for gaps in found for gap in gaps])
    panels = [Panel(gaps[0].student, gaps[0].benchmark, gaps[0].max_tokens, axis, gaps) for gaps in found]
    return Figure(title, panels, found[0][0].arms if found else ("", ""))


DIFFERENCES = {
    "unmarked_right": "right, not marked as final",
    "unmarked_wrong": "wrong, not marked as final",
    "cut_right": "right, then cut",
    "cut_wrong": "wrong, then cut",
    "judge_only": "accepted by a later verifier alone",
}


def differences(evidence: Evidence) -> list[list[ReadingFacts]]:
    """Benchmark by benchmark and cap by cap, what the readings decide differently, a row per student and arm; the
    primary view first. Views in which nothing is are left out."""
    students, arms = ({facts.name: i for i, facts in enumerate(named)} for named in (evidence.students, evidence.arms))
    views = list(dict.fromkeys((row.benchmark, row.max_tokens) for row in evidence.readings))
    wanted = evidence.primary
    views.sort(key=lambda view: wanted is None or view != (wanted.benchmark, wanted.max_tokens))
    tables = [[row for row in evidence.readings if (row.benchmark, row.max_tokens) == view] for view in views]
    return [
        sorted(table, key=lambda row: (students.get(row.student, len(students)), arms.get(row.arm, len(arms))))
        for table in tables
        if any(getattr(row, field) for row in table for field in DIFFERENCES)
    ]


def accuracy_figures(evidence: Evidence) -> list[Figure]:
    """One figure per student, one panel per benchmark and cap, arms of the declared budget in the recipe's order."""
    shown = [row for row in evidence.accuracies if row.group == "all" and not called(row.arm).variant]
    ends = [i.high for row in shown for i in (row.data, row.checkpoints) if i] + [row.mean for row in shown]
    axis = Axis.over([*ends, *(value for row in shown for value in row.seeds.values())], floor=0, ceiling=1)
    arms = {arm.name: i for i, arm in enumerate(evidence.arms)}
    figures = []
    for student in evidence.students:
        mine = [row for row in shown if row.student == student.name]
        panels = []
        for benchmark, tokens in dict.fromkeys((row.benchmark, row.max_tokens) for row in mine):
            part = [row for row in mine if (row.benchmark, row.max_tokens) == (benchmark, tokens)]
            part.sort(key=lambda row: arms.get(row.arm, len(arms)))
            bases = [row for row in part if called(row.arm).arm == BASE]
            base = max(bases, key=lambda row: row.mean, default=None)
            panels.append(Panel(student.name, benchmark, tokens, axis, part, reference=base))
        figures.append(Figure(student.name, panels))
    return figures


@dataclass(frozen=True)
class OutcomeBar:
    """The outcomes of one arm, added up over its seeds."""

    arm: str
    counts: dict[Outcome, int]
    examples: int
    finished: int
    tokens: float
    """Mean completion tokens."""
    seeds: int

    @classmethod
    def of(cls, arm: str, scores: Sequence[Score]) -> OutcomeBar:
        """Add up the scores of an arm's seeds."""
        counts = {outcome: sum(getattr(score, outcome.value) for score in scores) for outcome in Outcome}
        examples = sum(score.examples for score in scores)
        tokens = sum(score.mean_completion_tokens * score.examples for score in scores) / max(examples, 1)
        return cls(arm, counts, examples, sum(score.finished for score in scores), tokens, len(scores))

    @property
    def finished_share(self) -> float:
        """Share of the answers that ended by themselves, 0..1."""
        return self.finished / max(self.examples, 1)

    def segments(self) -> list[tuple[Outcome, float, float, int]]:
        """(outcome, start %, width %, count) from left to right, empty ones left out."""
        out, start = [], 0.0
        for outcome, count in self.counts.items():
            width = 100 * count / max(self.examples, 1)
            if count:
                out.append((outcome, round(start, 3), round(width, 3), count))
            start += width
        return out


def outcome_figures(evidence: Evidence) -> list[Figure]:
    """One figure per student, one panel per benchmark and cap, a bar per arm of the declared budget."""
    shown = [score for score in evidence.scores if score.group == "all"]
    axis = Axis(0, 1, (0, 0.25, 0.5, 0.75, 1))
    figures = []
    for student in evidence.students:
        mine = [score for score in shown if score.student == student.name]
        panels = []
        for benchmark, tokens in dict.fromkeys((score.benchmark, score.max_tokens) for score in mine):
            part = [score for score in mine if (score.benchmark, score.max_tokens) == (benchmark, tokens)]
            bars = [
                OutcomeBar.of(arm.name, same)
                for arm in evidence.arms
                if not called(arm.name).variant and (same := [score for score in part if score.arm == arm.name])
            ]
            panels.append(Panel(student.name, benchmark, tokens, axis, bars))
        figures.append(Figure(student.name, panels))
    return figures
