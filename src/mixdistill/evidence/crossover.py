"""A gap against the logarithm of the student's size: how fast it changes, and at which size it would be zero.

A line through the gaps of four or more students of one family, weighted by how sure each gap is and how far sizes
scatter about the line besides (a random-effects regression; Knapp & Hartung 2003). The size at which the line crosses
zero has Fieller's (1954) interval, which has no end where the slope is not sure. Measured coverage: docs/method.md.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixdistill.evidence import verdicts
from mixdistill.evidence.details import Crossover
from mixdistill.evidence.rows import StudentFacts
from mixdistill.evidence.stats import ALPHA, t_quantile
from mixdistill.types import Gap, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FEWEST = 4
"""Sizes that a line is drawn through."""
FAR = 10.0
"""A crossing is told where it lies within this factor of the sizes that were trained."""
COMMON = 0.15
"""Share of a gap's variance that is added to the line's height, for what all sizes have in common since they answer the
same problems: it moves the whole line and no point about it, so that the points do not show it."""
_SIZE = re.compile(r"[-_.]?\d+(\.\d+)?[bm](?![a-z])", re.IGNORECASE)


def family(model: str) -> str:
    """What models of one family have in common: the name without the size. Of the lab's students, the lab."""
    return "lab" if model.startswith("lab:") else _SIZE.sub("", model)


def crossovers(gaps: Sequence[Gap], students: Sequence[StudentFacts]) -> list[Crossover]:
    """One for every contrast, benchmark and family with enough sizes. Gaps over all problems at the generation's own
    limit; those of too few problems to decide anything are in no line."""
    sizes = {s.name: s.parameters for s in students}
    families = {s.name: family(s.model) for s in students}
    groups: dict[tuple[str, str, str], list[Gap]] = defaultdict(list)
    for gap in gaps:
        whole = gap.group == "all" and gap.max_tokens is None and gap.data is not None
        few = gap.problems < verdicts.FEWEST or gap.verdict == verdicts.FEW  # the latter of an average's benchmarks
        if whole and not few and sizes.get(gap.student):
            groups[gap.name, gap.benchmark, families[gap.student]].append(gap)
    found = []
    for (name, benchmark, _), of in groups.items():
        at = [float(sizes[g.student] or 0) for g in of]
        if len(set(at)) >= FEWEST:
            found.append(_crossover(name, benchmark, of, at))
    return found


def _crossover(name: str, benchmark: str, gaps: Sequence[Gap], sizes: Sequence[float]) -> Crossover:
    import numpy as np

    line = Line.through(np.log10(sizes), np.array([g.delta for g in gaps]), np.array([_variance(g) for g in gaps]))
    half = line.t * line.cov[1][1] ** 0.5
    low, high = line.crossing_interval()
    here, inside = line.crossing, (min(sizes) / FAR, max(sizes) * FAR)
    return Crossover(
        name=name,
        benchmark=benchmark,
        students=[g.student for g in gaps],
        slope=line.slope,
        slope_interval=Interval(low=line.slope - half, high=line.slope + half),
        parameters=_within(here, inside),
        low=_within(low, inside),
        high=_within(high, inside),
    )


def _variance(gap: Gap) -> float:
    """Of a gap, new seeds and problems, from its interval and the degrees of freedom that go with it."""
    assert gap.data is not None
    half = max(gap.data.high - gap.delta, gap.delta - gap.data.low)
    return (half / t_quantile(ALPHA, gap.df or 1.0)) ** 2


def _within(exponent: float | None, inside: tuple[float, float]) -> float | None:
    """A size from its logarithm, where it is not far from those that were trained."""
    if exponent is None or not math.log10(inside[0]) <= exponent <= math.log10(inside[1]):
        return None
    return 10**exponent


@dataclass(frozen=True)
class Line:
    """y = height + slope (x - centre), fitted."""

    centre: float
    height: float
    slope: float
    cov: list[list[float]]
    """Covariance of (height, slope)."""
    t: float
    """Quantile of its intervals."""

    @classmethod
    def through(cls, x: Array, y: Array, v: Array) -> Line:
        """Through (x, y), y with variances v and a further scatter about the line that is estimated."""
        import numpy as np

        v, df = np.maximum(v, 1e-12), len(x) - 2
        extra = _scatter(x, y, v)
        weight = 1 / (v + extra)
        centre = float((weight * x).sum() / weight.sum())
        beta, cov = _fit(x - centre, y, weight)
        rest = y - beta[0] - beta[1] * (x - centre)
        # Where points lie closer to the line than their own noise allows, that is luck: never narrower for it.
        scale = max(1.0, float((weight * rest**2).sum()) / df)
        cov = scale * cov
        cov[0, 0] += COMMON * float(v.mean())
        return cls(centre, float(beta[0]), float(beta[1]), cov.tolist(), t_quantile(ALPHA, df))

    @property
    def crossing(self) -> float | None:
        """Where it is zero."""
        return self.centre - self.height / self.slope if self.slope else None

    def crossing_interval(self) -> tuple[float | None, float | None]:
        """All x at which the line's own interval holds zero (Fieller); without ends where the slope is not sure."""
        (vh, c), (_, vs) = self.cov
        a = self.slope**2 - self.t**2 * vs
        b = self.height * self.slope - self.t**2 * c
        root = b**2 - a * (self.height**2 - self.t**2 * vh)
        if a <= 0 or root < 0:
            return None, None
        return self.centre + (-b - root**0.5) / a, self.centre + (-b + root**0.5) / a


def _fit(x: Array, y: Array, weight: Array) -> tuple[Array, Array]:
    """Weighted least squares: (height and slope, their covariance)."""
    import numpy as np

    design = np.stack([np.ones_like(x), x], axis=1)
    cov = np.linalg.inv(design.T @ (weight[:, None] * design))
    return cov @ design.T @ (weight * y), cov


def _scatter(x: Array, y: Array, v: Array) -> float:
    """Variance of sizes about the line besides their own, by moments (DerSimonian & Laird 1986); not below zero."""
    import numpy as np

    weight = 1 / v
    beta, cov = _fit(x - x.mean(), y, weight)
    design = np.stack([np.ones_like(x), x - x.mean()], axis=1)
    q = float((weight * (y - design @ beta) ** 2).sum())
    trace = float(weight.sum() - np.trace(cov @ design.T @ (weight[:, None] ** 2 * design)))
    return max(0.0, (q - (len(x) - 2)) / trace)
