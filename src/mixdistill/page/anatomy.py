"""The gap taken apart, and what else explains it, in sentences. One says what an interval supports and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixdistill.page.measured import deciding_benchmarks
from mixdistill.page.wording import gap_key, is_primary, points, span

if TYPE_CHECKING:
    from mixdistill.evidence.details import GapPart, GapUndertrained
    from mixdistill.evidence.rows import Evidence
    from mixdistill.types import Gap, Interval

ALARM = "undertrained"
"""`Confound.field` of the alarm."""


def anatomy_words(evidence: Evidence) -> dict[str, str]:
    """Student -> what its primary gap is made of, and what more training might change."""
    gaps = [gap for gap in evidence.gaps if is_primary(evidence, gap)]
    said = {gap.student: " ".join(filter(None, [*_parts(evidence, gap), *_training(evidence, gap)])) for gap in gaps}
    return {student: text for student, text in said.items() if text}


def _parts(evidence: Evidence, gap: Gap) -> list[str]:
    """What a primary gap is made of; one of an average on each of its benchmarks, which is named."""
    over = deciding_benchmarks(evidence)
    if over == [gap.benchmark]:
        return [parts_words(gap, parts_of(evidence, gap))]
    each = (
        other
        for benchmark in over
        for other in evidence.gaps
        if gap_key(other) == gap_key(gap.model_copy(update={"benchmark": benchmark}))
    )
    return [parts_words(other, parts_of(evidence, other), f" on {other.benchmark}") for other in each]


def parts_of(evidence: Evidence, gap: Gap) -> list[GapPart]:
    """The parts of a gap, in the order of `Part`."""
    return [p for p in evidence.details.parts if (p.name, p.student, p.benchmark, p.max_tokens, "all") == gap_key(gap)]


def parts_words(gap: Gap, parts: Sequence[GapPart], where: str = "") -> str:
    """What a gap is made of, and which part makes most of it where an interval says so; nothing without parts.
    `where`: its benchmark, where that has to be said."""
    there = [part for part in parts if any(part.rates)]
    if not there:
        return ""
    named = [f"{points(p.delta)} [{span(_interval(p))}] {p.part}" for p in there]
    which = "" if gap.data else " (these checkpoints)"
    text = f"Of the {points(gap.delta)} points of {gap.name}{where}: {', '.join(named)}{which}."
    return f"{text} {_most(gap, there)}".strip()


def _most(gap: Gap, there: list[GapPart]) -> str:
    """Which part makes most of a gap. Where the gap may be zero, parts may be clear all the same, and cancel out."""
    most = next((part.part for part in there if part.most), None)
    if most:
        return f"Most of it is '{most}'."
    if _clear(gap):
        return "Can't tell which of them makes most of it." if len(there) > 1 else ""
    clear = [f"'{part.part}' ({points(part.delta)})" for part in there if _clear(part)]
    return "Can't tell what makes it: it may be zero." + (
        f" Beyond noise the arms differ in {' and '.join(clear)}." if clear else ""
    )


def _training(evidence: Evidence, gap: Gap) -> list[str]:
    """What the end of the trainings says of a gap, and the alarms of its arms."""
    key = (gap.name, gap.student)
    changes = [c for c in evidence.details.undertrained if (c.name, c.student) == key]
    alarms = [c for c in evidence.confounds if c.field == ALARM and c.student == gap.student]
    signs = [f"{arm} ({said})" for c in alarms for arm, said in c.values.items() if arm in gap.arms]
    return [*map(_moved, changes), *([f"Undertrained: {'; '.join(signs)}."] if signs else [])]


def _moved(change: GapUndertrained) -> str:
    text = (
        f"Over the last {100 * (1 - change.since):.0f}\N{NO-BREAK SPACE}% of the updates it moved by "
        f"{points(change.delta)} points on dev [{span(_interval(change))}]"
    )
    end = "more training may change it" if _clear(change) else "can't tell whether more training would change it"
    return f"{text}: {end}."


def _interval(row: Gap | GapPart | GapUndertrained) -> Interval | None:
    """This data; with a single seed these checkpoints."""
    return row.data or row.checkpoints


def _clear(row: Gap | GapPart | GapUndertrained) -> bool:
    interval = _interval(row)
    return interval is not None and not interval.low <= 0 <= interval.high
