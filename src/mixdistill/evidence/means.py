"""95 % intervals of means and quantiles of anything that is counted per problem: tokens, steps, rates.

Problems are what is resampled; what one problem gives, several samples or several seeds, belongs together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mixdistill.evidence.stats import ALPHA, Spread, mean_interval, t_quantile
from mixdistill.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

Samples = Mapping[str, Sequence[float]]
"""Problem -> a value per sample of it."""


def over_cells(values: NDArray[Any]) -> Interval | None:
    """Of the mean of values [seeds, problems]: this data, with a single seed these checkpoints; None of one problem."""
    seeds, problems = values.shape
    if problems < 2:
        return None
    mean = float(values.mean())
    centred = values - mean  # the floor under a difference's variance is not meant for values
    if seeds > 1:
        half = float(Spread.of(centred).half())
    else:
        half = t_quantile(ALPHA, problems - 1) * float(values.mean(0).var(ddof=1) / problems) ** 0.5
    return Interval(low=mean - half, high=mean + half)


def of_share(values: NDArray[Any]) -> Interval | None:
    """The same of shares in 0..1, which it cannot leave."""
    found = mean_interval(values)
    return found.data or found.checkpoints


def of_mean(samples: Samples) -> Interval | None:
    """Of the mean over all samples, problems resampled (ratio estimator); None of one problem."""
    values = [value for each in samples.values() for value in each]
    if len(samples) < 2:
        return None
    mean = math.fsum(values) / len(values)
    half = _half([[value - mean for value in each] for each in samples.values()])
    return Interval(low=mean - half, high=mean + half)


def of_quantile(samples: Samples, share: float) -> Interval | None:
    """Of the value below which so large a share of all samples lies, problems resampled (Woodruff 1952): the samples at
    both ends of the interval of that share; None of one problem."""
    values = sorted(value for each in samples.values() for value in each)
    if len(samples) < 2:
        return None
    found = quantile(values, share)
    below = sum(value <= found for value in values) / len(values)
    half = _half([[(value <= found) - below for value in each] for each in samples.values()])
    return Interval(low=quantile(values, max(share - half, 0.0)), high=quantile(values, share + half))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value at so large a share of values in order; no value lies between two."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _half(residuals: Sequence[Sequence[float]]) -> float:
    """Half the width of a mean's interval, from what each problem's samples differ by from it."""
    problems, total = len(residuals), sum(map(len, residuals))
    variance = problems / (problems - 1) * math.fsum(math.fsum(each) ** 2 for each in residuals) / total**2
    return t_quantile(ALPHA, problems - 1) * variance**0.5
