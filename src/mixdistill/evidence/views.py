"""What one number is about: some problems of a benchmark, or all of several, at one token cap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mixdistill.evaluate import ALL
from mixdistill.evidence import averages, verdicts
from mixdistill.recipe import AVERAGE, Recipe

Levels = dict[str, dict[str, set[str]]]
"""Benchmark -> group (`all`, every level, every subject) -> problem ids."""


class Part(NamedTuple):
    """Some problems of one benchmark."""

    benchmark: str
    weight: float
    problems: set[str]


class View(NamedTuple):
    """Problems that are looked at together."""

    benchmark: str
    """`average` for several."""
    max_tokens: int | None
    """None: the generation's own limit."""
    group: str
    parts: list[Part]
    """Weights add up to 1."""

    @property
    def few(self) -> bool:
        """Whether there are too few problems to decide anything."""
        return min(len(part.problems) for part in self.parts) < verdicts.FEWEST


def sizes(levels: Levels) -> dict[str, int]:
    """Benchmark -> how many problems it has."""
    return {benchmark: len(groups[ALL]) for benchmark, groups in levels.items()}


def views(recipe: Recipe, levels: Levels) -> list[View]:
    """Everything that is looked at."""
    caps = {b: (None, *recipe.on(b).evaluate.caps) for b in levels}
    each = [View(b, cap, g, [Part(b, 1.0, ids)]) for b in levels for cap in caps[b] for g, ids in levels[b].items()]
    parts = averaged(recipe, levels)
    common = [cap for cap in (None, *recipe.evaluate.caps) if all(cap in caps[part.benchmark] for part in parts)]
    return each + [View(AVERAGE, cap, ALL, parts) for cap in common if parts]


def decided_on(recipe: Recipe, problems: Mapping[str, int]) -> tuple[str, dict[str, float]]:
    """What the primary comparison is on, a benchmark or `average`, and the benchmarks of that with their shares.
    `problems`: how many each benchmark has."""
    primary = recipe.primary_or_first()
    if primary is None or primary.benchmark != AVERAGE:
        return recipe.deciding_benchmark, {recipe.deciding_benchmark: 1.0}
    return AVERAGE, averages.shares(recipe.weights_of_benchmarks, problems)


def averaged(recipe: Recipe, levels: Levels) -> list[Part]:
    """The benchmarks that the average is over; none where the recipe has no two."""
    shares = averages.shares(recipe.weights_of_benchmarks, sizes(levels))
    return [Part(b, share, levels[b][ALL]) for b, share in shares.items()]
