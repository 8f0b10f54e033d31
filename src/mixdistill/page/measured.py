"""What the declared comparison was measured on, and what of the study is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixdistill.recipe import AVERAGE

if TYPE_CHECKING:
    from mixdistill.evidence.rows import Evidence

__all__ = ["deciding_benchmarks", "missing_words"]


def missing_words(evidence: Evidence, *, diverged: bool = True) -> str:
    """What is not there: `1 of 24 trainings`, `evaluations of 2 cells`, or both; empty where nothing is missing.
    `diverged`: with the trainings that went wrong for good."""
    lost = max(0, min(evidence.cells_wanted - len(evidence.cells), len(evidence.missing)))
    unasked, lost = len(evidence.missing) - lost, lost - (0 if diverged else len(evidence.diverged))
    trainings = f"{lost} of {evidence.cells_wanted} trainings" if lost > 0 else ""
    evaluations = f"evaluations of {unasked} cell{'s' * (unasked > 1)}" if unasked > 0 else ""
    return " and ".join(filter(None, [trainings, evaluations]))


def deciding_benchmarks(evidence: Evidence) -> list[str]:
    """The benchmarks that the primary comparison is measured on: of an average, those that are in it."""
    if evidence.primary is None:
        return []
    weights = next((row.weights for row in evidence.details.averages), {})
    return list(weights) if evidence.primary.benchmark == AVERAGE else [evidence.primary.benchmark]
