"""What stands beside accuracies and gaps: a line per list of `Details`, each from a module of its own."""

from __future__ import annotations

from collections.abc import Sequence

from mixdistill.evidence.curves import Curves
from mixdistill.evidence.details import Details
from mixdistill.evidence.ended import ended
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Gap
from mixdistill.units import Unit


def details(recipe: Recipe, store: Store, done: Sequence[Unit], gaps: Sequence[Gap], curves: Curves) -> Details:
    """Of the evaluations in `done` and the gaps that count; without `next_steps`, which follow from everything."""
    return Details(
        ended=ended(recipe, store, done),
    )
