"""A run folder -> `Details`: everything that the page shows beside accuracies and gaps. One line for each list."""

from __future__ import annotations

from mixdistill.evidence.costs import costs
from mixdistill.evidence.curves import Curves
from mixdistill.evidence.details import Details
from mixdistill.evidence.gaps import Cells
from mixdistill.evidence.parts import parts
from mixdistill.evidence.samples import looped, pass_at
from mixdistill.evidence.token_budgets import budget_points, finished_gaps
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Gap
from mixdistill.units import Unit


def details(recipe: Recipe, store: Store, done: list[Unit], gaps: list[Gap], curves: Curves, correct: Cells) -> Details:
    """`done`: the evaluations that count; `gaps`: those of the reading and budget that count; `correct`: what is right,
    under that reading."""
    return Details(
        budget_points=budget_points(recipe, store, done),
        finished_gaps=finished_gaps(recipe, store, done, correct),
        loops=looped(store, done),
        pass_at=pass_at(done, correct),
        parts=parts(store, done, gaps),
        undertrained=curves.undertrained,
        costs=costs(store, done),
    )
