"""What the budgets that arms were trained under come to: the gap under each, and what blends are made of, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixdistill.arms import BY, called, of_variant, spoken
from mixdistill.page.wording import between, by_size, decision, gap_key, is_primary, listed, points

if TYPE_CHECKING:
    from mixdistill.evidence.rows import CellFacts, Evidence
    from mixdistill.types import Gap

__all__ = ["blend_words", "budget_name", "budgets_words", "gap_budgets", "spoken", "spoken_pair"]


def budget_name(evidence: Evidence, variant: str) -> str:
    """`by examples`, `by loss tokens`, `on each arm's own problems`."""
    return BY[variant or evidence.budget]


def spoken_pair(gap: Gap) -> tuple[str, str]:
    """The arms of a gap, where its budget is said beside."""
    first, second = (of_variant(arm, "") for arm in gap.arms)
    return first, second


def gap_budgets(evidence: Evidence, *, primary: bool) -> list[list[Gap]]:
    """Gaps over all problems under every budget, the declared one first: the primary contrast's, or all others'. Those
    that no other budget has are left out."""
    shown = [gap for gap in evidence.gaps if gap.group == "all" and is_primary(evidence, gap) == primary]
    found = [[gap, *(g for g in evidence.gaps_by_variant if gap_key(g) == gap_key(gap))] for gap in shown]
    return [gaps for gaps in found if len(gaps) > 1]


def budgets_words(evidence: Evidence) -> list[str]:
    """Whether the sign of the primary contrast depends on the budget, and under which it was not measured; nothing
    where no other one was asked for."""
    if not evidence.variants:
        return []
    gaps = [gap for gap in evidence.gaps if is_primary(evidence, gap)]
    said, measured = [], []
    for variant in evidence.variants:
        found = [(gap, _under(evidence, gap, variant)) for gap in gaps]
        said += [_turn(gap, o) for gap, o in found if o and (variant in gap.depends_on or o.delta * gap.delta < 0)]
        lost = [gap.student for gap, o in found if o is None]
        if lost:
            said.append(f"Not measured {BY[variant]}: {listed(lost)}; a verdict there rests on one budget alone.")
        measured += [BY[variant]] if any(o for _, o in found) else []
    if not said and measured:
        return [f"The sign is the same {listed([budget_name(evidence, ''), *measured])}."]
    return said


def _under(evidence: Evidence, gap: Gap, variant: str) -> Gap | None:
    same = (g for g in evidence.gaps_by_variant if g.variant == variant and gap_key(g) == gap_key(gap))
    return next(same, None)


def _turn(gap: Gap, other: Gap) -> str:
    """A gap and the same one under a budget that has another sign, or a larger gap."""
    by = BY[other.variant]
    if by_size(gap, other):
        text = f"The gap of {gap.student} is {points(gap.delta)} points, and {points(other.delta)} {by}"
    else:
        pure = of_variant(other.arms[1], "")
        text = f"{by.capitalize()} it is {pure}, not {gap.arms[1]}, that {gap.student} learns most from"
    if other.variant in gap.depends_on:
        return f"{text}, so there is no verdict."
    return f"{text}; there was no verdict to withdraw." if decision(gap) == "open" else f"{text}, within its noise."


def blend_words(evidence: Evidence) -> list[str]:
    """What each blend is made of in both units, over students and seeds: a line per arm and budget."""
    lines = []
    for arm in evidence.arms:
        cells = [cell for cell in evidence.cells if cell.arm == arm.name]
        teachers = [t for t, weight in arm.weights.items() if weight > 0]
        if len(teachers) > 1 and cells and not called(arm.name).mode:
            parts = [
                f"{_share(cells, 'share_examples', t)} {t} by examples = "
                f"{_share(cells, 'share_loss_tokens', t)} by loss tokens"
                for t in teachers[: max(1, len(teachers) - 1)]
            ]
            problems, epochs = (between([getattr(c, f) for c in cells]) for f in ("distinct_problems", "epochs"))
            lines.append(
                f"{spoken(arm.name)}: {', '.join(parts)}; {problems} distinct problems, {epochs} "
                f"epoch{'s' * (epochs != '1')}"
            )
    return lines


def _share(cells: list[CellFacts], field: str, teacher: str) -> str:
    """A teacher's share of rows or tokens, in percent; `self` is each student's own."""
    shares = [{t.partition("@")[0]: s for t, s in getattr(c, field).items()}.get(teacher, 0.0) for c in cells]
    return f"{between([round(100 * share) for share in shares])}\N{NO-BREAK SPACE}%"
