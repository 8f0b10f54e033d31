"""How sure a difference is: two named intervals, tests, what could have been found.

Scores of a comparison form a matrix D[seeds, problems]: score of arm a minus score of arm b, same seed number,
same problem. Problems and seeds are crossed, D_sp = mu + a_s + b_p + e_sp, and two questions are kept apart:

    these checkpoints   seeds fixed, problems resampled     "is the model I hold better?"
    this data           problems *and* seeds resampled      "would this data help again?"

`Spread` holds the arithmetic and works on any number of matrices at once; `gap` and `mean_interval` put it in words.
Formulae, sources and measured coverage: docs/method.md. Scores are in 0..1, intervals are 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from mixdistill.errors import DataError
from mixdistill.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Scores = Mapping[int | None, Mapping[str, float]]
"""Scores of one arm: seed -> problem id -> mean score over its samples, 0..1. The one seed of `base` is None."""

ALPHA = 0.05
POWER = 0.8


def matrix(scores: Scores) -> Array:
    """One arm as an array [seeds, problems]: seeds in order, the problems that every seed has, sorted by id."""
    return _array(scores, _in_order(scores), _common(list(scores.values())))


def paired(a: Scores, b: Scores) -> Array:
    """Differences a minus b, an array [seeds, problems], over the seeds and problems that both arms have.

    An arm whose only seed is None (the untuned student) is held against every seed of the other. Its own sampling
    noise then sits in the problem effect, where it belongs: it does not shrink with the other arm's seeds.
    Raises DataError when no seed or no problem is common.
    """
    if set(a) == {None}:
        a = dict.fromkeys(b, a[None])
    elif set(b) == {None}:
        b = dict.fromkeys(a, b[None])
    seeds = _in_order(set(a) & set(b))
    if not seeds:
        raise DataError(f"comparison: no seed in both arms (got {list(a)} and {list(b)}); train both on the same seeds")
    problems = _common([arm[seed] for arm in (a, b) for seed in seeds])
    if not problems:
        raise DataError("comparison: no problem was scored in both arms; evaluate both on the same benchmark")
    return _array(a, seeds, problems) - _array(b, seeds, problems)


@dataclass(frozen=True)
class Components:
    """Variance components of D_sp = mu + a_s + b_p + e_sp; estimates below zero are given as zero."""

    seeds: float
    """Variance of a_s: how much the difference moves when everything is trained again."""
    problems: float
    """Variance of b_p: how much it moves from problem to problem, whatever the seed."""
    noise: float
    """Variance of e_sp: interaction and the sampling noise of the evaluation."""


@dataclass(frozen=True)
class Spread:
    """Mean of D[..., seeds, problems] and the parts of its variance; every field has the leading shape of D."""

    delta: Array
    seed_part: Array
    """MS_seeds / (S P): variance of the seeds' means over S. Noise is inside."""
    problem_part: Array
    """s_b^2 / P: what problems add to that."""
    checkpoint_part: Array
    """MS_problems / (S P): variance of the mean with seeds fixed."""
    components: tuple[Array, Array, Array]
    """Variances of seeds, problems, noise as the mean squares give them; may be negative."""
    seeds: int
    problems: int

    @classmethod
    def of(cls, d: Array) -> Spread:
        """Two-way analysis of variance without replication; at least two seeds and two problems."""
        import numpy as np

        s, p = d.shape[-2:]
        delta = d.mean((-2, -1))
        by_seed = d.mean(-1) - delta[..., None]
        by_problem = d.mean(-2) - delta[..., None]
        rest = d - delta[..., None, None] - by_seed[..., :, None] - by_problem[..., None, :]
        ms_seeds = p * (by_seed**2).sum(-1) / (s - 1)
        ms_problems = s * (by_problem**2).sum(-1) / (p - 1)
        ms_noise = (rest**2).sum((-2, -1)) / ((s - 1) * (p - 1))
        return cls(
            delta=delta,
            seed_part=ms_seeds / (s * p),
            problem_part=np.maximum(ms_problems - ms_noise, 0) / (s * p),
            checkpoint_part=checkpoint_variance(d),
            components=((ms_seeds - ms_noise) / p, (ms_problems - ms_noise) / s, ms_noise),
            seeds=s,
            problems=p,
        )

    @property
    def variance(self) -> Array:
        """Variance of the mean, problems and seeds random: s_a^2/S + s_b^2/P + s_e^2/(SP), no component below zero."""
        import numpy as np

        return np.maximum(self.seed_part + self.problem_part, self.checkpoint_part)

    def half(self, alpha: float = ALPHA) -> Array:
        """Half width of the *this data* interval at level 1 - alpha.

        Each part gets the t quantile of its own degrees of freedom (Banerjee 1960), because the single Satterthwaite
        quantile covers down to 87 % with two seeds and 92 % with three; never narrower than *these checkpoints*.
        """
        import numpy as np

        t_seeds, t_problems = t_quantile(alpha, self.seeds - 1), t_quantile(alpha, self.problems - 1)
        crossed = t_seeds**2 * self.seed_part + t_problems**2 * self.problem_part
        return np.sqrt(np.maximum(crossed, t_problems**2 * self.checkpoint_part))

    def p(self) -> float:
        """Two-sided p: the level at which the interval of one matrix just touches zero, down to 1e-12."""
        from scipy.optimize import brentq

        size = abs(float(self.delta))
        if size <= 0:
            return 1.0
        if size >= float(self.half(1e-12)):
            return 1e-12
        return 10 ** brentq(lambda exponent: float(self.half(10**exponent)) - size, -12, 0)

    def df(self, alpha: float = ALPHA) -> float:
        """Degrees of freedom with which one plain t interval of one matrix would be as wide as `half`."""
        from scipy.optimize import brentq

        low, high = sorted((self.seeds - 1, self.problems - 1))
        se = float(self.variance) ** 0.5
        ratio = float(self.half(alpha)) / se if se > 0 else t_quantile(alpha, self.problems - 1)
        if ratio >= t_quantile(alpha, low):
            return float(low)
        if ratio <= t_quantile(alpha, high):
            return float(high)
        return float(brentq(lambda df: t_quantile(alpha, df) - ratio, low, high))


@dataclass(frozen=True)
class Detectable:
    """Smallest true differences found in 4 of 5 repetitions (power 0.8), in 0..1."""

    here: float
    """With these seeds and problems."""
    endless_problems: float
    """With these seeds and any number of problems: where this is the larger part, more seeds help."""
    endless_seeds: float
    """With these problems and any number of seeds: where this is the larger part, more problems help."""


@dataclass(frozen=True)
class Estimate:
    """A difference and how sure it is. What comes after `checkpoints` is None with one seed."""

    delta: float
    seed_deltas: tuple[float, ...]
    seeds: int
    problems: int
    checkpoints: Interval | None
    """These checkpoints: problems resampled, seeds fixed. None with one problem."""
    data: Interval | None = None
    """This data: problems and seeds both random."""
    p: float | None = None
    """Two-sided, under the model of `data`: below 0.05 exactly where `data` leaves out zero."""
    df: float | None = None
    detectable: Detectable | None = None
    """At alpha 0.05. None also where both arms score the same everywhere."""
    spread: Spread | None = None
    """What `detectable` follows from."""
    components: Components | None = None
    """Median-unbiased, so that a study planned from them is too small as often as too large."""


def gap(d: Array) -> Estimate:
    """Both intervals, p and what could have been found, for one matrix of differences [seeds, problems]."""
    seeds, problems = d.shape
    delta, seed_deltas = float(d.mean()), tuple(float(x) for x in d.mean(1))
    estimate = Estimate(delta, seed_deltas, seeds, problems, checkpoints=None)
    if problems < 2:
        return estimate
    half = t_quantile(ALPHA, problems - 1) * float(checkpoint_variance(d)) ** 0.5
    estimate = replace(estimate, checkpoints=around(delta, half))
    if seeds < 2:
        return estimate
    return estimated(estimate, Spread.of(d))


def estimated(estimate: Estimate, spread: Spread) -> Estimate:
    """An estimate with all that follows from how much one matrix spreads."""
    return replace(
        estimate,
        data=around(estimate.delta, float(spread.half())),
        p=spread.p(),
        df=spread.df(),
        detectable=detectable(spread) if spread.variance > 0 else None,
        spread=spread,
        components=_probable(spread),
    )


def detectable(spread: Spread, alpha: float = ALPHA) -> Detectable:
    """Smallest true differences that a test at this level would find, by the standard errors found. These are made
    median-unbiased first: with three seeds one is estimated 17 % too small half of the time."""

    def least(variance: float, df: float) -> float:
        return _least((max(variance, 0.0) / _median_ratio(df)) ** 0.5, df, alpha)

    of_seeds, of_problems, _ = (float(c) for c in spread.components)
    return Detectable(
        here=least(float(spread.variance), spread.df(alpha)),
        endless_problems=least(of_seeds / spread.seeds, spread.seeds - 1),
        endless_seeds=least(of_problems / spread.problems, spread.problems - 1),
    )


def foreseen(components: Components, seeds: int, problems: int, alpha: float = ALPHA) -> float:
    """Smallest true difference, in 0..1, that a study with these components of variance finds in 4 of 5 repetitions,
    when its verdict needs p < alpha.

    For a plan: at least two seeds and two problems.
    """
    noise = components.noise / (seeds * problems)
    spread = Spread(
        delta=cast("Array", 0.0),
        seed_part=cast("Array", components.seeds / seeds + noise),
        problem_part=cast("Array", components.problems / problems),
        checkpoint_part=cast("Array", components.problems / problems + noise),
        components=cast("tuple[Array, Array, Array]", (components.seeds, components.problems, components.noise)),
        seeds=seeds,
        problems=problems,
    )
    return _least(float(spread.variance) ** 0.5, spread.df(alpha), alpha)


def beats_each(gaps: Mapping[str, Estimate]) -> tuple[str, Estimate]:
    """A blend against every pure arm (name -> blend minus that arm): the arm that decides, and the joint estimate.

    That arm is the one most surely ahead of the blend, by p, else the one hardest to beat by the mean.

    Intersection-union (Berger 1982): to beat all it must beat each, so the largest p and the smallest bounds count
    and nothing is paid for there being several. Where the blend lies behind, p speaks of the arms ahead of it: their
    smallest, times m/2 for m > 2 arms, so that no sign of the result is claimed falsely in more than 5 % of studies.
    """
    if not gaps:
        raise DataError("blend: no pure arm to compare with; give the recipe an arm for each teacher")
    ahead = {name: g.p for name, g in gaps.items() if g.p is not None and g.data is not None and g.data.high < 0}
    rank = ahead or {name: g.delta for name, g in gaps.items()}
    decides, all_gaps = min(rank, key=lambda name: (rank[name], name)), list(gaps.values())
    above = [gaps[decides]] if ahead else all_gaps
    ps = [g.p for g in all_gaps if g.p is not None]
    p = None
    if len(ps) == len(all_gaps):
        behind = [g.p for g in all_gaps if g.p is not None and g.delta <= 0]
        p = min(1.0, min(behind) * max(1.0, len(ps) / 2)) if behind else max(ps)
    hardest = max(all_gaps, key=lambda g: g.detectable.here if g.detectable else 0.0)
    return decides, replace(
        gaps[decides],
        checkpoints=_lowest([g.checkpoints for g in all_gaps], [g.checkpoints for g in above]),
        data=_lowest([g.data for g in all_gaps], [g.data for g in above]),
        p=p,
        seeds=min(g.seeds for g in all_gaps),
        problems=min(g.problems for g in all_gaps),
        detectable=hardest.detectable if all(g.detectable for g in all_gaps) else None,
        spread=hardest.spread,
        components=hardest.components,
    )


def opposes(estimate: Estimate, side: int) -> bool:
    """Whether a difference lies on the other side of zero than `side` (1 or -1), beyond its noise: by more than a
    quarter of the width of *these checkpoints*, which is about one standard error over problems."""
    return estimate.checkpoints is not None and -side * estimate.delta > standard_error(estimate)


def standard_error(estimate: Estimate) -> float:
    """Over problems, roughly: a quarter of the width of *these checkpoints*; endless where there is none."""
    own = estimate.checkpoints
    return math.inf if own is None else (own.high - own.low) / 4


def paid(p: float | None, times: float) -> float | None:
    """p where it is multiplied for what else was, or could have been, looked at."""
    return None if p is None else min(1.0, p * times)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) step-down adjusted p, in the order given; None (no test could be made) stays None."""
    order = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = largest
    return adjusted


@dataclass(frozen=True)
class Mean:
    """Accuracy of one arm with both intervals, in 0..1."""

    mean: float
    checkpoints: Interval | None
    data: Interval | None
    """None with one seed."""


def mean_interval(scores: Array) -> Mean:
    """Accuracy of one arm from its scores [seeds, problems].

    Wilson's interval with the number of trials that would give the variance found, so that 0 of 200 is not 0 +- 0.
    """
    seeds, problems = scores.shape
    mean = float(scores.mean())
    if problems < 2:
        return Mean(mean, None, None)
    variance, t = float(scores.mean(0).var(ddof=1)) / problems, t_quantile(ALPHA, problems - 1)
    checkpoints = wilson(mean, variance, t, problems)
    if seeds < 2:
        return Mean(mean, checkpoints, None)
    spread = Spread.of(scores - mean)  # centred: the floor under a difference's variance is not meant for scores
    data = wilson(mean, float(spread.variance), t_quantile(ALPHA, spread.df()), problems)
    # One holds the other; with scores that do not vary, checkpoints are those of so many trials.
    return Mean(mean, checkpoints, max(data, checkpoints, key=lambda i: i.high - i.low))


def accuracy_bounds(correct: int, error: int, examples: int) -> Interval:
    """Accuracy with every error counted as wrong, and with every error counted as right."""
    return Interval(low=correct / examples, high=(correct + error) / examples)


def bootstrap(d: Array, *, seeds: bool = False, draws: int = 2000) -> Interval:
    """Check: percentile bootstrap of the mean over problems, with `seeds` over seeds as well.

    Over seeds it is a demonstration, not an interval to use: three seeds drawn from three cannot show their spread.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    s, p = d.shape
    rows = rng.multinomial(s, np.full(s, 1 / s), draws) / s if seeds else np.full((draws, s), 1 / s)
    columns = rng.multinomial(p, np.full(p, 1 / p), draws) / p
    low, high = np.quantile(((rows @ d) * columns).sum(1), [ALPHA / 2, 1 - ALPHA / 2])
    return Interval(low=float(low), high=float(high))


def sign_flip(d: Array, *, draws: int = 5000) -> float:
    """Check: permutation p of "these checkpoints do not differ"; per problem, the two arms swap names at random."""
    import numpy as np

    by_problem = d.mean(0)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(draws, len(by_problem)))
    # The margin lets ties count as ties although sums differ in the last bit.
    extreme = np.abs(signs @ by_problem) >= abs(by_problem.sum()) - 1e-9
    return float((extreme.sum() + 1) / (draws + 1))


def _in_order(seeds: Iterable[int | None]) -> list[int | None]:
    return sorted(seeds, key=lambda seed: (seed is not None, seed or 0))


def _common(rows: Sequence[Mapping[str, float]]) -> list[str]:
    return sorted(set.intersection(*(set(row) for row in rows))) if rows else []


def _array(scores: Scores, seeds: Sequence[int | None], problems: Sequence[str]) -> Array:
    import numpy as np

    return np.array([[scores[seed][problem] for problem in problems] for seed in seeds], dtype=float)


def t_quantile(alpha: float, df: float) -> float:
    """Student's t quantile, two-sided."""
    from scipy.special import stdtrit

    return float(-stdtrit(df, alpha / 2))


def checkpoint_variance(d: Array) -> Array:
    """Variance of the mean over problems with seeds fixed: that of per-problem means over their number.

    Not below what one more problem with the opposite difference would show: five problems that all say +1 are no proof,
    and where both arms score the same everywhere, one more could still say +1 or -1.
    """
    import numpy as np

    problems = d.shape[-1]
    size = np.where(np.any(d, axis=(-2, -1)), abs(d.mean((-2, -1))), 1.0)
    floor = (2 * size / (problems + 1)) ** 2
    return np.maximum(d.mean(-2).var(-1, ddof=1) / problems, floor)


def around(centre: float, half: float) -> Interval:
    """An interval for a difference, which cannot leave -1..1."""
    return Interval(low=max(centre - half, -1.0), high=min(centre + half, 1.0))


def _median_ratio(df: float) -> float:
    """Median of an estimated variance over the true one."""
    from scipy.special import chdtri

    return float(chdtri(df, 0.5)) / df


def _probable(spread: Spread) -> Components:
    """Components from mean squares that are as often too large as too small; none below zero."""
    s, p = spread.seeds, spread.problems
    noise = float(spread.components[2])
    ms_seeds = s * p * float(spread.seed_part) / _median_ratio(s - 1)
    return Components(
        seeds=max(0.0, ms_seeds - noise) / p, problems=max(0.0, float(spread.components[1])), noise=max(0.0, noise)
    )


def _least(se: float, df: float, alpha: float = ALPHA) -> float:
    """Shift of a noncentral t that its two-sided test at this level finds with power 0.8, times the standard error."""
    from scipy.special import nctdtrinc

    return float(nctdtrinc(df, 1 - POWER, t_quantile(alpha, df))) * se


def _lowest(intervals: Sequence[Interval | None], above: Sequence[Interval | None]) -> Interval | None:
    """Smallest lower bound of the first, smallest upper bound of the second; None where one is missing."""
    low, high = ([i for i in found if i is not None] for found in (intervals, above))
    if len(low) < len(intervals) or len(high) < len(above):
        return None
    return Interval(low=min(i.low for i in low), high=min(i.high for i in high))


def wilson(mean: float, variance: float, t: float, problems: int) -> Interval:
    """All pi with (mean - pi)^2 <= t^2 pi (1 - pi) / n, where n trials would have the variance found."""
    trials = mean * (1 - mean) / variance if variance > 0 and 0 < mean < 1 else problems
    shrink = t * t / trials
    centre = (mean + shrink / 2) / (1 + shrink)
    half = (mean * (1 - mean) * shrink + shrink**2 / 4) ** 0.5 / (1 + shrink)
    return Interval(low=max(centre - half, 0.0), high=min(centre + half, 1.0))
