"""What the trained students forgot: every arm against the untuned student on the benchmarks that are guards.

A guard says what training cost elsewhere. It is in no family of tests and gives no verdict; both intervals are those of
a gap. Of several ways of asking the untuned student, the best is held against.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from mixdistill.arms import BASE, called
from mixdistill.evidence import stats
from mixdistill.evidence.details import Forgotten
from mixdistill.evidence.gaps import Cells
from mixdistill.recipe import Recipe


def forgotten(recipe: Recipe, correct: Cells) -> list[Forgotten]:
    """A row for every guard, student and arm of the declared budget that was scored there, in the recipe's order.

    `correct` is the reading that counts. Only the generation's own limit is looked at, and all problems.
    """
    arms = [mode for arm in recipe.arms for mode in recipe.modes(arm)]
    guards = [name for name in recipe.problems.eval if name in recipe.problems.guards]
    places = itertools.product(guards, recipe.students, arms)
    return [row for benchmark, student, arm in places for row in _row(correct, benchmark, student, arm)]


def _row(correct: Cells, benchmark: str, student: str, arm: str) -> Iterator[Forgotten]:
    """One row; none where the arm or the untuned student was not scored."""
    after = _scores(correct, benchmark, student, arm)
    bases = dict.fromkeys(a for s, a, _, b in correct if (s, b) == (student, benchmark) and called(a).arm == BASE)
    before = {base: _scores(correct, benchmark, student, base) for base in bases}
    if not after or not before:
        return
    estimates = {base: stats.gap(stats.paired(after, scores)) for base, scores in before.items()}
    base, e = min(estimates.items(), key=lambda found: found[1].delta)
    yield Forgotten(
        student=student,
        arm=arm,
        benchmark=benchmark,
        before=_mean(before[base]),
        after=_mean(after),
        delta=e.delta,
        checkpoints=e.checkpoints,
        data=e.data,
        seeds=e.seeds,
        problems=e.problems,
    )


def _scores(correct: Cells, benchmark: str, student: str, arm: str) -> stats.Scores:
    """Seed -> problem -> share of its samples that are correct, whole answers."""
    return {
        seed: by_cap[None]
        for (s, a, seed, b), by_cap in correct.items()
        if (s, a, b) == (student, arm, benchmark) and None in by_cap
    }


def _mean(scores: stats.Scores) -> float:
    values = [v for by_problem in scores.values() for v in by_problem.values()]
    return sum(values) / len(values)
