"""A run folder -> `Details`: everything that the page shows beside accuracies and gaps. One line for each list."""

from __future__ import annotations

from mixdistill.evidence import looks
from mixdistill.evidence.costs import costs
from mixdistill.evidence.crossover import crossovers
from mixdistill.evidence.curves import Curves
from mixdistill.evidence.details import Details
from mixdistill.evidence.ended import ended
from mixdistill.evidence.forgotten import forgotten
from mixdistill.evidence.gaps import Cells, average_gaps
from mixdistill.evidence.parts import parts
from mixdistill.evidence.published import published
from mixdistill.evidence.rows import StudentFacts
from mixdistill.evidence.samples import looped, pass_at
from mixdistill.evidence.style import style
from mixdistill.evidence.token_budgets import budget_points, finished_gaps
from mixdistill.evidence.views import Levels
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Gap
from mixdistill.units import Unit


def details(
    recipe: Recipe,
    store: Store,
    done: list[Unit],
    correct: Cells,
    gaps: list[Gap],
    curves: Curves,
    levels: Levels,
    students: list[StudentFacts],
) -> Details:
    """`done`: the evaluations that count; `correct` and `gaps`: those of the reading and the budget that count.
    Without `paraphrased`, which has evaluations of its own, and `next_steps`, which follow from everything."""
    return Details(
        ended=ended(store, done),
        budget_points=budget_points(recipe, store, done),
        finished_gaps=finished_gaps(recipe, store, done, correct, gaps),
        loops=looped(store, done),
        pass_at=pass_at(done, correct),
        parts=parts(store, done, gaps),
        undertrained=curves.undertrained,
        costs=costs(store, done),
        style=style(store, done),
        forgotten=forgotten(recipe, correct),
        published=published(recipe, correct),
        averages=average_gaps(recipe, gaps, levels),
        looks=looks.together(looks.read(store), gaps),
        crossovers=crossovers(gaps, students),
    )
