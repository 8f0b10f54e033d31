"""The sentence at the top of a report: the result in words, and no more than its intervals say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mixdistill.arms import BASE, BY, called
from mixdistill.evidence.stats import ALPHA
from mixdistill.evidence.verdicts import FEW, UNFINISHED
from mixdistill.page.measured import missing_words
from mixdistill.page.wording import (
    UNITS,
    by_size,
    cap,
    caution,
    decision,
    gap_key,
    is_primary,
    listed,
    pct,
    points,
    span,
    under,
)

if TYPE_CHECKING:
    from mixdistill.evidence.rows import Evidence
    from mixdistill.types import Gap

__all__ = ["headline", "result"]


def headline(evidence: Evidence) -> str:
    """The result in words, from the primary contrast, with the caution where the comparison was not fair."""
    return f"{result(evidence)} {caution(evidence)}".strip()


def result(evidence: Evidence) -> str:
    """The primary contrast in one sentence: students who had better stay untuned first, then a clause per verdict.

    To stay untuned is advised only where an interval says so of every arm; else a higher mean is a remark at the end.
    """
    wanted = evidence.primary
    if evidence.smoke:
        return "No verdict."
    if wanted is None:
        return "No verdict: no primary contrast was declared, so every number here is exploratory."
    where = f"{wanted.benchmark}{'' if wanted.max_tokens is None else ', ' + cap(wanted.max_tokens)}"
    gaps = [gap for gap in evidence.gaps if is_primary(evidence, gap)]
    if not gaps:
        lost = f" ({missing} missing)" if (missing := missing_words(evidence)) else ""
        return f"No verdict: {wanted.contrast} on {where} was not measured{lost}."
    higher = {student.name: found for student in evidence.students if (found := base_is_higher(evidence, student.name))}
    kept = {name: f"keep the untuned {name}: {scores}" for name, (scores, sure) in higher.items() if sure}
    clauses = [*kept.values(), *_gap_clauses(evidence, [gap for gap in gaps if gap.student not in kept])]
    absent = [s.name for s in evidence.students if s.name not in kept and all(g.student != s.name for g in gaps)]
    if absent:
        clauses.append(f"{listed(absent)} {'was' if len(absent) == 1 else 'were'} not measured")
    clauses += [
        f"can't tell whether any training helps {name}: {scores}" for name, (scores, sure) in higher.items() if not sure
    ]
    return f"On {where}: {'; '.join(clauses)}."


def _gap_clauses(evidence: Evidence, gaps: Sequence[Gap]) -> list[str]:
    """One clause per outcome, naming the students it holds for in order of size."""
    order = [student.name for student in evidence.students]
    groups: dict[str, list[str]] = {}
    for gap in sorted(gaps, key=lambda g: order.index(g.student) if g.student in order else len(order)):
        (a, b), size = gap.arms, f"{abs(100 * gap.delta):.1f} points{_beside(evidence, gap)}"
        match decision(gap):
            case "first":
                every = "every pure arm" in gap.verdict
                text, detail = f"{a} beats {'every pure arm' if every else b}", f"by {size}"
            case "second":
                text, detail = f"{b} beats {a}", f"by {size}"
            case "equal":
                text, detail = f"{gap.verdict} between {a} and {b}", ""
            case _:
                text, detail = f"can't tell {a} from {b}", _reach(evidence, gap)
        groups.setdefault(text, []).append(f"{gap.student}{f' ({detail})' if detail else ''}")
    return [f"{text} for {listed(students)}" for text, students in groups.items()]


def _beside(evidence: Evidence, gap: Gap) -> str:
    """The same gap under the other unit of the budget, or that it is not there; nothing where none was asked for."""
    said = []
    for variant in UNITS:
        if variant in evidence.variants:
            other = (g for g in evidence.gaps_by_variant if g.variant == variant and gap_key(g) == gap_key(gap))
            found = [f"{abs(100 * g.delta):.1f}" for g in other]  # of another sign there would be no verdict
            said.append(f"; {BY[variant]} {''.join(found) or 'not measured'}")
    return "".join(said)


def _reach(evidence: Evidence, gap: Gap) -> str:
    """How far a gap that is open may reach; where that is not what keeps it open, what does."""
    if gap.verdict == UNFINISHED or (gap.look and not gap.paid):
        return _reason(gap)
    if gap.data is None:
        return "one seed"
    if gap.turned_by or gap.depends_on:
        there = [(f"under {rule}", under(evidence, gap, rule)) for rule in gap.turned_by]
        others = {g.variant: g for g in evidence.gaps_by_variant if gap_key(g) == gap_key(gap)}
        there += [(BY[variant], others.get(variant)) for variant in gap.depends_on]
        told = [f"{points(o.delta) if o and by_size(gap, o) else 'not'} {how}" for how, o in there]
        return f"{points(gap.delta)} points, but {listed(told)}"
    clear = not gap.data.low <= 0 <= gap.data.high
    if clear and gap.p_holm is not None and gap.p_holm >= ALPHA and not _few(gap):
        if gap.look is None:
            return f"{points(gap.delta)} points, but Holm's p over all students is {gap.p_holm:.2g}"
        return f"{points(gap.delta)} points, but p is {gap.p_holm:.2g} when this look and all students are paid for"
    why = f"; would need {gap.needed}" if gap.needed else f"; {few}" if (few := _few(gap)) else ""
    return f"anything from {span(gap.data)} points{why}"


def _few(gap: Gap) -> str:
    """That there are too few problems for any verdict, in the verdict's own words."""
    return _reason(gap) if gap.verdict == FEW else ""


def _reason(gap: Gap) -> str:
    """What stands in a verdict's parentheses."""
    return gap.verdict.partition("(")[2].rstrip(")")


class Higher(NamedTuple):
    """An untuned student whose mean lies above that of every arm."""

    scores: str
    """Its accuracy and the best arm's, in words."""
    sure: bool
    """Whether an interval has every arm below."""


def base_is_higher(evidence: Evidence, student: str) -> Higher | None:
    """The untuned student where every trained arm's mean is below its own."""
    wanted = evidence.primary
    rows = [
        row
        for row in evidence.accuracies
        if wanted is not None
        and (row.student, row.group) == (student, "all")
        and (row.benchmark, row.max_tokens) == (wanted.benchmark, wanted.max_tokens)
    ]
    bases = [row for row in rows if called(row.arm).arm == BASE]
    trained = [row for row in rows if row not in bases]
    base = max(bases, key=lambda row: row.mean, default=None)
    if base is None or not trained or any(row.mean >= base.mean for row in trained):
        return None
    best = max(trained, key=lambda row: row.mean)
    text = f"{base.arm} scores {pct(base.mean)}, the best trained arm ({best.arm}) {pct(best.mean)}"
    beaten = {
        arm
        for gap in (*evidence.gaps, *evidence.gaps_by_variant)
        if gap.student == student and gap.group == "all"
        if (gap.benchmark, gap.max_tokens) == (base.benchmark, base.max_tokens)
        for arm, other, side in ((*gap.arms, "second"), (*gap.arms[::-1], "first"))
        if called(other).arm == BASE and decision(gap) == side
    }
    return Higher(text, {row.arm for row in trained} <= beaten)
