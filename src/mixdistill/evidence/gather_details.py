"""A run folder -> `Details`: everything that the page shows beside accuracies and gaps. One line for each list."""

from __future__ import annotations

from mixdistill.evidence.costs import costs
from mixdistill.evidence.curves import Curves
from mixdistill.evidence.details import Details
from mixdistill.evidence.parts import parts
from mixdistill.evidence.style import style
from mixdistill.store import Store
from mixdistill.types import Gap
from mixdistill.units import Unit


def details(store: Store, done: list[Unit], gaps: list[Gap], curves: Curves) -> Details:
    """`done`: the evaluations that count; `gaps`: those of the reading and the budget that count."""
    return Details(
        parts=parts(store, done, gaps),
        undertrained=curves.undertrained,
        costs=costs(store, done),
        style=style(store, done),
    )
