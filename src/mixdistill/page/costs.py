"""What answers of each arm cost, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixdistill.arms import called
from mixdistill.page.measured import deciding_benchmarks
from mixdistill.page.wording import short_number

if TYPE_CHECKING:
    from mixdistill.evidence.details import AnswerCost
    from mixdistill.evidence.rows import Evidence

__all__ = ["costs_words"]


def costs_words(evidence: Evidence) -> list[str]:
    """Tokens of 1,000 answers of each arm on the primary benchmark, of an average on each that is in it, a line per
    student; where nothing is declared, on the first that was measured. Their intervals are in the table."""
    rows = [c for c in evidence.details.costs if not called(c.arm).variant]
    measured = list(dict.fromkeys(c.benchmark for c in rows))
    over = [b for b in deciding_benchmarks(evidence) if b in measured] or measured[:1]
    found = [
        (f"{s.name}{f' on {b}' * (len(measured) > 1)}", [r for r in rows if (r.student, r.benchmark) == (s.name, b)])
        for b in over
        for s in evidence.students
    ]
    return [f"{who}: {', '.join(map(_said, mine))} tokens" for who, mine in found if mine]


def _said(row: AnswerCost) -> str:
    return f"{row.arm} {short_number(row.tokens)}"
