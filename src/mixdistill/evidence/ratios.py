"""Ratios of two totals over problems, problems resampled: tokens a correct answer, the share of tokens that are style.

Neither total is known beforehand, so the noise of both counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixdistill.evidence import stats
from mixdistill.types import Interval


def ratio(top: Sequence[float], bottom: Sequence[float]) -> tuple[float, Interval | None] | tuple[None, None]:
    """(sum of `top` over sum of `bottom`, its 95 % interval by Fieller 1954), a number of each for every problem.

    Both are at least 0. No ratio where `bottom` adds up to 0; no interval of a single problem, nor where it has no
    upper end because `bottom` may be 0. Where `bottom` is the same throughout it is the t interval of a mean.
    """
    import numpy as np

    x, y = np.asarray(top, dtype=float), np.asarray(bottom, dtype=float)
    if not y.sum():
        return None, None
    found, n = float(x.sum() / y.sum()), len(x)
    if n < 2:
        return found, None
    noise = stats.t_quantile(stats.ALPHA, n - 1) ** 2 / n * np.cov(x, y)
    a, b, c = y.mean() ** 2 - noise[1, 1], x.mean() * y.mean() - noise[0, 1], x.mean() ** 2 - noise[0, 0]
    if a <= 0:
        return found, None
    half = max(b * b - a * c, 0.0) ** 0.5
    return found, Interval(low=max(float((b - half) / a), 0.0), high=float((b + half) / a))


def share(part: Sequence[float], whole: Sequence[float]) -> tuple[float, Interval | None] | tuple[None, None]:
    """(share of `part` in `whole`, its 95 % interval), a count of each for every problem. Wilson's, so that 100 % of
    what was seen is not 100 % for sure."""
    import numpy as np

    x, y = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    if not y.sum():
        return None, None
    found = float(x.sum() / y.sum())
    # Each problem's pull on the share, around it: their mean is the share, their spread its noise.
    return found, stats.mean_interval((found + (x - found * y) / y.mean())[None, :]).checkpoints
