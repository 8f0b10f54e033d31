"""How one trained student did beside its untuned self, read off a run folder."""

from __future__ import annotations

from mixdistill.arms import called
from mixdistill.evaluate import ALL, SCORES
from mixdistill.evidence.readings import cell_of, read
from mixdistill.export import Cell
from mixdistill.handover.cards import Scored
from mixdistill.handover.gate import Answers, beside
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
                theirs = _answers(store, base, cap, correct[cell_of(base.key)][cap])
                found.append(beside(theirs, _answers(store, unit, cap, right), cap, unit.key[-1]))
    return found


def _best_base(done: list[Unit], correct: dict, benchmark: str, cap: int | None) -> Unit | None:
    """The untuned student as it was asked with the best result at this cap."""
    bases = [u for u in done if called(u.key[1]).arm == BASE and u.key[-1] == benchmark]
    there = [u for u in bases if cap in correct[cell_of(u.key)]]
    return max(there, key=lambda u: sum(correct[cell_of(u.key)][cap].values()), default=None)


def _answers(store: Store, unit: Unit, cap: int | None, right: dict[str, float]) -> Answers:
    """How an evaluation went at a cap; `right` is problem -> share of its samples that are correct."""
    scores = store.read(store.folder("evaluate", *unit.key), Score, SCORES)
    score = next(s for s in scores if s.group == ALL and s.max_tokens == cap)
    finished = score.finished / score.examples
    return Answers(right=right, tokens=score.mean_completion_tokens, finished=finished, errors=score.error)
