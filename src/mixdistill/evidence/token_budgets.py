"""Accuracy by how much a student may write: the prefixes of its answers, and answers asked for early. And the gap among
the problems that both arms finished.

A cut is graded as it stands, so it shows what stopping costs; a forced answer shows what was known by then. All points
of an arm are over the same answers: a request that failed counts as wrong at each, and has no length.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mixdistill import forcing
from mixdistill.arms import called
from mixdistill.evaluate import ALL
from mixdistill.evidence import stats
from mixdistill.evidence.answers import answers
from mixdistill.evidence.details import BudgetPoint, FinishedGap
from mixdistill.evidence.gaps import Cells, seeds_of_both
from mixdistill.evidence.readings import cell_of
from mixdistill.recipe import BASE, OVER_BASE, Recipe
from mixdistill.store import Store
from mixdistill.types import Gap, Outcome
from mixdistill.units import Unit

CUT = "cut"


class Written(NamedTuple):
    """One sample of one problem, written up to one point."""

    problem: str
    right: bool
    finished: bool
    """It ended by itself before that."""
    tokens: int | None
    """None of a request that failed."""


class Ended(NamedTuple):
    """How a trace ended."""

    problem: str
    tokens: int | None
    """None of a request that failed: it wrote nothing, and did not end by itself."""
    by_itself: bool

    def within(self, cap: int | None) -> int | None:
        """Tokens written up to a cap."""
        return self.tokens if self.tokens is None or cap is None else min(self.tokens, cap)


Key = tuple[str, str, str, str, float]
"""Student, arm, benchmark, kind, at."""
Finished = dict[tuple[str, str, int | None, str], dict[int | None, set[str]]]
"""Cell -> token cap -> problems of which every sample ended by itself within it."""


def budget_points(recipe: Recipe, store: Store, done: list[Unit]) -> list[BudgetPoint]:
    """Every arm on every benchmark at every cap, at its own limit, and where its answers were asked for early."""
    found: dict[Key, dict[int | None, list[Written]]] = defaultdict(dict)
    units = [unit for unit in done if not called(unit.key[1]).wording]
    limits: dict[tuple[str, str, str], int] = defaultdict(int)
    for unit in units:  # One limit for all seeds: they are points of one place.
        student, arm, _, benchmark = cell_of(unit.key)
        known = _limit(recipe.on(benchmark), store, unit)
        limits[student, arm, benchmark] = max(limits[student, arm, benchmark], known)
    for unit in units:
        student, arm, seed, benchmark = cell_of(unit.key)
        for (kind, at), rows in _points(recipe.on(benchmark), store, unit, limits[student, arm, benchmark]).items():
            found[student, arm, benchmark, kind, at][seed] = rows
    return [_point(key, by_seed) for key, by_seed in found.items() if all(by_seed.values())]


def _points(recipe: Recipe, store: Store, unit: Unit, limit: int) -> dict[tuple[str, float], list[Written]]:
    ends = _ends(store, unit)
    folder = store.folder("evaluate", *unit.key)
    right: dict[int | None, set[str]] = defaultdict(set)
    for trace, cap, outcome in store.frame(folder, "decisions", ["trace_id", "max_tokens", "outcome"]).iter_rows():
        if outcome == Outcome.CORRECT:
            right[cap].add(trace)
    found: dict[tuple[str, float], list[Written]] = {
        (CUT, float(limit if cap is None else cap)): [
            Written(e.problem, trace in right[cap], _within(e, cap), e.within(cap)) for trace, e in ends.items()
        ]
        for cap in (*sorted(recipe.evaluate.caps), None)
    }
    for point, rows in _early(recipe, store, unit, ends).items():
        found[point] = rows
    return found


def _early(
    recipe: Recipe, store: Store, unit: Unit, ends: Mapping[str, Ended]
) -> dict[tuple[str, float], list[Written]]:
    """Where answers were asked for early; nothing where none were. Folders of before have no row of a trace whose
    request failed."""
    failed = [Written(e.problem, False, False, None) for e in ends.values() if e.tokens is None]
    found: dict[tuple[str, float], list[Written]] = {tuple(p): [*failed] for p in forcing.points(recipe.evaluate)}
    if not found:
        return {}
    folder, columns = store.folder("evaluate", *unit.key), ["trace_id", "kind", "at", "answer_id", "tokens", "outcome"]
    for trace, kind, at, answer, tokens, outcome in store.frame(folder, forcing.TABLE, columns).iter_rows():
        if (kind, at) in found and trace in ends and ends[trace].tokens is not None:
            written = Written(ends[trace].problem, outcome == Outcome.CORRECT, answer is None, tokens)
            found[kind, at].append(written)
    return found


def _ends(store: Store, unit: Unit) -> dict[str, Ended]:
    """Trace -> how it ended, of those that count."""
    rows = answers(store, unit, "finish_reason", "usage", "error").iter_rows()
    return {
        trace: Ended(problem, json.loads(usage)["completion_tokens"] or 0, reason == "stop")
        if error is None
        else Ended(problem, None, by_itself=False)
        for trace, problem, reason, usage, error in rows
    }


def _within(end: Ended, cap: int | None) -> bool:
    return end.by_itself and end.tokens == end.within(cap)


def _limit(recipe: Recipe, store: Store, unit: Unit) -> int:
    """The generation's own limit; where nothing says, the longest answer."""
    decoding = ((store.marker(store.folder("evaluate", *unit.key)) or {}).get("facts") or {}).get("decoding") or {}
    known = recipe.evaluate.sampling.max_tokens or decoding.get("max_tokens")
    return known or max((e.tokens or 0 for e in _ends(store, unit).values()), default=0)


def _point(key: Key, by_seed: Mapping[int | None, list[Written]]) -> BudgetPoint:
    student, arm, benchmark, kind, at = key
    right = stats.mean_interval(stats.matrix(_by_problem(by_seed, "right")))
    ended = stats.mean_interval(stats.matrix(_by_problem(by_seed, "finished")))
    rows = [row for rows in by_seed.values() for row in rows]
    tokens = [row.tokens for row in rows if row.tokens is not None]
    return BudgetPoint(
        student=student,
        arm=arm,
        benchmark=benchmark,
        kind=kind,  # ty: ignore[invalid-argument-type]
        at=at,
        mean=right.mean,
        checkpoints=right.checkpoints,
        data=right.data,
        finished=ended.mean,
        finished_interval=ended.data or ended.checkpoints,
        tokens=sum(tokens) / max(len(tokens), 1),
        seeds=len(by_seed),
        problems=len({row.problem for row in rows}),
    )


def _by_problem(by_seed: Mapping[int | None, list[Written]], what: str) -> stats.Scores:
    """Seed -> problem -> share of its samples of which that is so."""
    found: dict[int | None, dict[str, float]] = {}
    for seed, rows in by_seed.items():
        values: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            values[row.problem].append(float(getattr(row, what)))
        found[seed] = {problem: sum(v) / len(v) for problem, v in values.items()}
    return found


# -- among the finished -----------------------------------------------------------------------------------------------


def finished_gaps(recipe: Recipe, store: Store, done: list[Unit], correct: Cells, gaps: list[Gap]) -> list[FinishedGap]:
    """Every contrast of the declared budget among the problems that both arms finished in every seed. These are chosen
    by what the arms did: it tells how much of a gap is not finishing, and says nothing of another sample of problems.
    `correct`: under the reading that counts; so are `gaps`, which have the way of asking the untuned student that an
    arm is held against."""
    finished = {cell_of(unit.key): _finished(recipe.on(unit.key[-1]), store, unit) for unit in done}
    best = {
        (g.arms[0], g.student, g.benchmark, g.max_tokens): g.arms[1]
        for g in gaps
        if g.group == ALL and not g.variant and called(g.arms[1]).arm == BASE
    }
    asked = [(name, pair) for name in recipe.contrasts for pair in recipe.pairs(name)]
    over = [(f"{arm}{OVER_BASE}", (arm, BASE)) for arm in recipe.arms]
    return [
        row
        for name, pair in [*asked, *over]
        for student in recipe.students
        for benchmark in recipe.problems.eval
        if benchmark not in recipe.problems.guards
        for cap in (None, *recipe.on(benchmark).evaluate.caps)
        for against in [best.get((pair[0], student, benchmark, cap), BASE) if pair[1] == BASE else pair[1]]
        for row in _finished_gap(name, student, benchmark, (pair[0], against), cap, finished, correct)
    ]


def _finished(recipe: Recipe, store: Store, unit: Unit) -> dict[int | None, set[str]]:
    ends = _ends(store, unit).values()
    problems = {e.problem for e in ends}
    caps = (None, *recipe.evaluate.caps)
    return {cap: problems - {e.problem for e in ends if not _within(e, cap)} for cap in caps}


def _finished_gap(
    name: str,
    student: str,
    benchmark: str,
    arms: tuple[str, str],
    cap: int | None,
    finished: Finished,
    correct: Cells,
) -> Iterator[FinishedGap]:
    """One row; none where the arms have no seed in common, or finished no problem in common."""
    seeds = [{s for t, a, s, b in correct if (t, a, b) == (student, arm, benchmark)} for arm in arms]
    common = seeds_of_both(*seeds)
    cells = [
        [(student, arm, s, benchmark) for s in sorted(own & common, key=str)]
        for arm, own in zip(arms, seeds, strict=True)
    ]
    if not all(cells) or not all(cap in correct[c] and cap in finished[c] for row in cells for c in row):
        return
    both = set.intersection(*(finished[c][cap] for row in cells for c in row))
    if not both:
        return
    scores = [{c[2]: {p: v for p, v in correct[c][cap].items() if p in both} for c in row} for row in cells]
    e = stats.gap(stats.paired(*scores))
    yield FinishedGap(
        name=name,
        student=student,
        benchmark=benchmark,
        arms=arms,
        max_tokens=cap,
        delta=e.delta,
        checkpoints=e.checkpoints,
        data=e.data,
        problems=e.problems,
        of=len(correct[cells[0][0]][cap]),
        seeds=e.seeds,
    )
