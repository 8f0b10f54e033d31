"""What one number is about: some problems of a benchmark, or all of several, at one token cap."""

from __future__ import annotations

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


def views(recipe: Recipe, levels: Levels) -> list[View]:
    """Everything that is looked at."""
    caps = {b: (None, *recipe.on(b).evaluate.caps) for b in levels}
    each = [View(b, cap, g, [Part(b, 1.0, ids)]) for b in levels for cap in caps[b] for g, ids in levels[b].items()]
    parts = averaged(recipe, levels)
    common = [cap for cap in (None, *recipe.evaluate.caps) if all(cap in caps[part.benchmark] for part in parts)]
    return each + [View(AVERAGE, cap, ALL, parts) for cap in common if parts]


def averaged(recipe: Recipe, levels: Levels) -> list[Part]:
    """The benchmarks that the average is over; none where the recipe has no two."""
    shares = averages.shares(recipe.weights_of_benchmarks, {b: len(groups[ALL]) for b, groups in levels.items()})
    return [Part(b, share, levels[b][ALL]) for b, share in shares.items()]
