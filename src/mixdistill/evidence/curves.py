"""The gap over training: what the trainings' snapshots answered on dev -> accuracies, gaps, and which still move.

A gap at the end alone may be that of arms that got unequally far. Every point is held against the same point of the
other arm, problem by problem and seed by seed, as benchmarks are (stats.py). Points are at equal distances, so that the
first of four is the same point however many updates a training has, though not to the last digit the same share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from mixdistill.collect import TABLE as TRACES
from mixdistill.dev import DEV
from mixdistill.evidence import stats
from mixdistill.evidence.details import GapUndertrained
from mixdistill.evidence.rows import DevGap, DevPoint, Moving
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Outcome
from mixdistill.verify import DECISIONS

Over = dict[float, dict[int | None, dict[str, float]]]
"""Of one arm: place among its points, as a share -> seed -> problem -> 1 where it was right, else 0."""


class Curves(NamedTuple):
    """What dev says of the trainings."""

    points: list[DevPoint]
    gaps: list[DevGap]
    moving: list[Moving]
    left_out: list[str]
    """Trainings that were not asked the dev problems that the recipe now names."""
    undertrained: list[GapUndertrained]
    """How each gap of the declared budget moved between the last two points."""


def over_training(recipe: Recipe, store: Store) -> Curves:
    """Every arm and every contrast at every point at which they were asked; nothing without dev problems."""
    problems = frozenset(store.problem_ids(DEV)) if recipe.problems.dev else frozenset[str]()
    asked: dict[tuple[str, str], Over] = {}
    left_out = []
    for student, arm, seed in recipe.cells() if problems else ():
        key = (student, arm, str(seed))
        marker = store.marker(store.folder("train", *key))
        if marker is None:
            continue
        found = _scores(store, key, marker["facts"], problems)
        if not found and recipe.train_of(student, arm).dev_checkpoints:
            left_out.append("/".join(key))
        for progress, scores in found.items():
            asked.setdefault((student, arm), defaultdict(dict))[progress][seed] = scores
    return Curves(
        points=[_point(*key, progress, over[progress]) for key, over in asked.items() for progress in sorted(over)],
        gaps=list(_gaps(recipe, asked)),
        moving=[m for key, over in asked.items() if (m := _moving(*key, over))],
        left_out=left_out,
        undertrained=list(_changes(recipe, asked)),
    )


def _scores(
    store: Store, key: tuple[str, ...], facts: dict[str, object], problems: frozenset[str]
) -> dict[float, dict[str, float]]:
    """Place among its points, as a share -> problem -> score, where all the problems were asked."""
    found = {}
    points = facts.get("dev", [])
    assert isinstance(points, list)
    for place, point in enumerate(points, 1):
        folder = store.folder("train", *key, DEV, str(point["update"]))
        asked = dict(store.frame(folder, TRACES, ["id", "problem_id"]).iter_rows())
        if problems <= set(asked.values()):
            decisions = store.frame(folder, DECISIONS, ["trace_id", "outcome"]).iter_rows()
            right = {asked[trace] for trace, outcome in decisions if outcome == Outcome.CORRECT}
            found[round(place / len(points), 3)] = {p: float(p in right) for p in problems}
    return found


def _point(student: str, arm: str, progress: float, by_seed: stats.Scores) -> DevPoint:
    mean = stats.mean_interval(stats.matrix(by_seed))
    return DevPoint(
        student=student,
        arm=arm,
        progress=progress,
        mean=mean.mean,
        checkpoints=mean.checkpoints,
        data=mean.data,
        seeds={s: sum(v.values()) / len(v) for s, v in by_seed.items() if s is not None},
        problems=len(next(iter(by_seed.values()))),
    )


def _gaps(recipe: Recipe, asked: dict[tuple[str, str], Over]) -> Iterator[DevGap]:
    """Contrasts between trained arms, at the points that all their arms have."""
    for name in recipe.contrasts:
        for variant in recipe.variants:
            for student, pairs, there in _comparable(recipe, name, variant, asked):
                yield from _gap(name, variant, student, pairs, there)


def _comparable(
    recipe: Recipe, name: str, variant: str, asked: dict[tuple[str, str], Over]
) -> Iterator[tuple[str, list[tuple[str, str]], dict[str, Over]]]:
    """(student, pairs of a contrast, what each of their arms was asked), where all of them were."""
    pairs = recipe.pairs(name, variant)
    for student in recipe.students:
        arms = {arm: asked.get((student, arm)) for pair in pairs for arm in pair}
        there = {arm: over for arm, over in arms.items() if over}
        if pairs and len(there) == len(arms):
            yield student, pairs, there


def _gap(
    name: str, variant: str, student: str, pairs: list[tuple[str, str]], asked: dict[str, Over]
) -> Iterator[DevGap]:
    arm = pairs[0][0]
    for progress in sorted(set.intersection(*(set(over) for over in asked.values()))):
        at = {a: over[progress] for a, over in asked.items()}
        if not all(set(at[arm]) & set(at[other]) for _, other in pairs):
            continue  # no seed in both
        found = {other: stats.gap(stats.paired(at[arm], at[other])) for _, other in pairs}
        other, e = stats.beats_each(found)
        yield DevGap(
            name=name,
            variant=variant,
            student=student,
            arms=(arm, other),
            progress=progress,
            delta=e.delta,
            checkpoints=e.checkpoints,
            data=e.data,
            problems=e.problems,
            seeds=e.seeds,
        )


def _changes(recipe: Recipe, asked: dict[tuple[str, str], Over]) -> Iterator[GapUndertrained]:
    """Each contrast at the last point that its arms have minus the same at the one before it, paired over problems and
    seeds; of a blend against the pure arm that decides at the end."""
    for name in recipe.contrasts:
        for student, pairs, there in _comparable(recipe, name, "", asked):
            points = sorted(set.intersection(*(set(over) for over in there.values())))
            changes = {arm: _change(over, points[-2:]) for arm, over in there.items()}
            arm = pairs[0][0]
            if len(points) < 2 or not all(set(changes[arm]) & set(changes[other]) for _, other in pairs):
                continue
            ends = {o: stats.gap(stats.paired(there[arm][points[-1]], there[o][points[-1]])) for _, o in pairs}
            other, _ = stats.beats_each(ends)
            e = stats.gap(stats.paired(changes[arm], changes[other]))
            yield GapUndertrained(
                name=name,
                student=student,
                arms=(arm, other),
                since=points[-2],
                delta=e.delta,
                checkpoints=e.checkpoints,
                data=e.data,
                seeds=e.seeds,
                problems=e.problems,
            )


def _change(over: Over, points: list[float]) -> dict[int | None, dict[str, float]]:
    """Seed -> problem -> score at the last of these points minus that at the first, of the seeds that both have."""
    before, last = over[points[0]], over[points[-1]]
    return {seed: {p: last[seed][p] - before[seed][p] for p in last[seed]} for seed in last if seed in before}


def _moving(student: str, arm: str, over: Over) -> Moving | None:
    """The last two points held against each other; None where there are none that have a seed in common."""
    if len(over) < 2:
        return None
    before, last = sorted(over)[-2:]
    if not set(over[before]) & set(over[last]):
        return None
    e = stats.gap(stats.paired(over[last], over[before]))
    interval = e.data or e.checkpoints
    moving = interval is not None and not interval.low <= 0 <= interval.high
    return Moving(student=student, arm=arm, since=before, delta=e.delta, interval=interval, moving=moving)
