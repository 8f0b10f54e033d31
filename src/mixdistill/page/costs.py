"""What answers of each arm cost, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixdistill.arms import called
from mixdistill.page.wording import short_number

if TYPE_CHECKING:
    from mixdistill.evidence.details import AnswerCost
    from mixdistill.evidence.rows import Evidence

__all__ = ["costs_words"]


def costs_words(evidence: Evidence) -> list[str]:
    """Tokens of 1,000 answers of each arm on the primary benchmark (of an average, the first), a line per student;
    nothing where none was measured. Their intervals are in the table."""
    measured = [c.benchmark for c in evidence.details.costs]
    primary = evidence.primary.benchmark if evidence.primary else None
    wanted = primary if primary in measured else next(iter(measured), None)
    rows = [c for c in evidence.details.costs if c.benchmark == wanted and not called(c.arm).variant]
    of = {s.name: [row for row in rows if row.student == s.name] for s in evidence.students}
    return [f"{student}: {', '.join(map(_said, mine))} tokens" for student, mine in of.items() if mine]


def _said(row: AnswerCost) -> str:
    return f"{row.arm} {short_number(row.tokens)}"
