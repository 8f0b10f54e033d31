"""What answers of each arm cost, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixdistill.arms import called
from mixdistill.page.wording import number, rough_time

if TYPE_CHECKING:
    from mixdistill.evidence.details import AnswerCost
    from mixdistill.evidence.rows import Evidence
    from mixdistill.types import Interval

__all__ = ["costs_words"]


def costs_words(evidence: Evidence) -> list[str]:
    """Tokens of 1,000 answers of each arm on the primary benchmark, a line per student; nothing where none was
    measured."""
    wanted = evidence.primary.benchmark if evidence.primary else None
    rows = [c for c in evidence.details.costs if wanted in (None, c.benchmark) and not called(c.arm).variant]
    students = [s.name for s in evidence.students]
    lines = []
    for student in students:
        mine = [row for row in rows if row.student == student]
        if mine:
            lines.append(f"{student}: {', '.join(map(_said, mine))}.")
    return lines


def _said(row: AnswerCost) -> str:
    time = "" if row.seconds is None else f" in {rough_time(row.seconds)}"
    return f"{row.arm} {number(round(row.tokens))} tokens{_between(row.interval)}{time}"


def _between(interval: Interval | None) -> str:
    return f" ({number(round(interval.low))}\N{EN DASH}{number(round(interval.high))})" if interval else ""
