"""How one trained student did beside its untuned self, read off a run folder."""

from __future__ import annotations

from mixdistill import stats
from mixdistill.arms import called
from mixdistill.evaluate import ALL, SCORES
from mixdistill.export import Cell
from mixdistill.handover.cards import Scored
from mixdistill.readings import cell_of, read
from mixdistill.recipe import BASE, Recipe
from mixdistill.store import Store
from mixdistill.types import Score
from mixdistill.units import State, Unit, plan


def scored(recipe: Recipe, store: Store, cell: Cell) -> list[Scored]:
    """A row for every benchmark and token cap on which both were evaluated; base in its best form."""
    mine = (cell.student, cell.arm, cell.seed)
    planned = [u for u, s in plan(recipe, store, "evaluate") if s is State.DONE and u.key[0] == cell.student]
    done = [u for u in planned if cell_of(u.key)[:3] == mine or called(u.key[1]).arm == BASE]
    correct = read(recipe, store, done).correct[recipe.verify.counts]
    found = []
    for unit in done:
        if cell_of(unit.key)[:3] != mine:
            continue
        for cap, right in correct[cell_of(unit.key)].items():
            base = _best_base(done, correct, unit.key[-1], cap)
            if base is not None:
                ours, theirs = (_score(store, u, cap) for u in (unit, base))
                found.append(beside(ours, theirs, right, correct[cell_of(base.key)][cap]))
    return found


def _best_base(done: list[Unit], correct: dict, benchmark: str, cap: int | None) -> Unit | None:
    """The untuned student as it was asked with the best result at this cap."""
    bases = [u for u in done if called(u.key[1]).arm == BASE and u.key[-1] == benchmark]
    there = [u for u in bases if cap in correct[cell_of(u.key)]]
    return max(there, key=lambda u: sum(correct[cell_of(u.key)][cap].values()), default=None)


def _score(store: Store, unit: Unit, cap: int | None) -> Score:
    scores = store.read(store.folder("evaluate", *unit.key), Score, SCORES)
    return next(s for s in scores if s.group == ALL and s.max_tokens == cap)


def beside(ours: Score, base: Score, right: dict[str, float], base_right: dict[str, float]) -> Scored:
    """Two scores on the same problems; `right` is problem -> share of its samples that are correct."""
    both = stats.gap(stats.paired({0: right}, {None: base_right}))
    return Scored(
        benchmark=ours.benchmark,
        max_tokens=ours.max_tokens,
        problems=both.problems,
        base=base.accuracy,
        accuracy=ours.accuracy,
        delta=both.checkpoints,
        base_tokens=base.mean_completion_tokens,
        tokens=ours.mean_completion_tokens,
        base_finished=base.finished / base.examples,
        finished=ours.finished / ours.examples,
    )
