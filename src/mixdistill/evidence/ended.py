"""How the answers of every arm ended: run folder -> counts that add up, and intervals of what is a share or a mean."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mixdistill.evaluate import ALL, SCORES
from mixdistill.evidence.answers import answers
from mixdistill.evidence.details import Ended
from mixdistill.evidence.means import of_share, over_cells
from mixdistill.evidence.readings import cell_of
from mixdistill.types import Outcome, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixdistill.store import Store
    from mixdistill.units import Unit


class _Answer(NamedTuple):
    """One answer, whole."""

    stopped: bool
    tokens: int | None
    """None of a request that failed: it did not end by itself, and has no length."""


Answers = dict[str, list[_Answer]]
"""Problem -> its answers."""


def ended(store: Store, done: Sequence[Unit]) -> list[Ended]:
    """A row per student, arm, benchmark and token cap over all problems, in the order of the evaluations."""
    scores = [s for u in done for s in store.read(store.folder(u.stage, *u.key), Score, SCORES)]
    there = {cell_of(unit.key): _answers(store, unit) for unit in done}
    found: dict[tuple[str, str, str, int | None], list[Score]] = defaultdict(list)
    for score in scores:
        if score.group == ALL:
            found[score.student, score.arm, score.benchmark, score.max_tokens].append(score)
    return [_ended(rows, [there[s.student, s.arm, s.seed, s.benchmark] for s in rows]) for rows in found.values()]


def _answers(store: Store, unit: Unit) -> Answers:
    found: Answers = defaultdict(list)
    rows = answers(store, unit, "finish_reason", "usage", "error")
    for problem, finish, usage, error in rows.select("problem_id", "finish_reason", "usage", "error").iter_rows():
        tokens = json.loads(usage)["completion_tokens"] or 0 if error is None else None
        found[problem].append(_Answer(error is None and finish == "stop", tokens))
    return found


def _ended(scores: list[Score], there: list[Answers]) -> Ended:
    """Of the seeds of one arm in one view."""
    first, total = scores[0], sum(score.examples for score in scores)
    problems = sorted(set.intersection(*(set(each) for each in there)))
    lengths = [{p: kept for p, a in each.items() if (kept := [x for x in a if x.tokens is not None])} for each in there]
    measured = sorted(set.intersection(*(set(each) for each in lengths)))
    cap = first.max_tokens
    tokens = sum(score.mean_completion_tokens * score.examples for score in scores) / max(total, 1)
    return Ended(
        student=first.student,
        arm=first.arm,
        benchmark=first.benchmark,
        max_tokens=cap,
        answers=total,
        counts={outcome: sum(getattr(score, outcome.value) for score in scores) for outcome in Outcome},
        finished=sum(score.finished for score in scores) / max(total, 1),
        finished_interval=of_share(_grid(there, problems, cap, finished=True)) if problems else None,
        tokens=tokens,
        tokens_interval=over_cells(_grid(lengths, measured, cap, finished=False)) if measured else None,
        problems=first.examples // first.k,
        seeds=len(scores),
    )


def _grid(there: list[Answers], problems: list[str], cap: int | None, *, finished: bool) -> NDArray:
    """Mean over the samples of a problem, [seeds, problems]: whether it ended within the cap, or its tokens."""
    import numpy as np

    def value(answer: _Answer) -> float:
        tokens = answer.tokens or 0
        if finished:
            return float(answer.stopped and (cap is None or tokens <= cap))
        return float(tokens if cap is None else min(tokens, cap))

    return np.array([[sum(map(value, each[p])) / len(each[p]) for p in problems] for each in there])
