"""A difference, or an accuracy, averaged over benchmarks with weights that were fixed before the run.

Every seed meets every benchmark, and a problem belongs to one: seeds are crossed with everything, problems are strata.
So what seeds move is measured on the averaged differences, where what a seed does to one benchmark may be undone by
another; what problems move is added up over the benchmarks. Formulae and measured coverage: docs/method.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from mixdistill.evidence import stats, verdicts
from mixdistill.evidence.stats import ALPHA, Components, Estimate, Mean, Spread, t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Part = tuple[float, "Array"]
"""Of one benchmark: (its weight, differences or scores [seeds, problems]). All parts have the same seeds in the same
order; weights add up to 1."""


def shares(weights: Mapping[str, float], problems: Mapping[str, int]) -> dict[str, float]:
    """Benchmark -> its share of the average, of those that have enough problems. Where none has, all of them, so that
    there is a number; it decides nothing."""
    there = {name: weight for name, weight in weights.items() if name in problems}
    kept = {name: weight for name, weight in there.items() if problems[name] >= verdicts.FEWEST} or there
    return {name: weight / sum(kept.values()) for name, weight in kept.items()}


def gap(parts: Sequence[Part]) -> Estimate:
    """As `stats.gap`, of the weighted average of the parts; `problems` are those of all parts together."""
    if len(parts) == 1:
        return stats.gap(parts[0][1])
    by_seed = sum(weight * d.mean(1) for weight, d in parts)
    seeds, problems = len(by_seed), sum(d.shape[1] for _, d in parts)
    delta = float(by_seed.mean())
    estimate = Estimate(delta, tuple(float(x) for x in by_seed), seeds, problems, checkpoints=None)
    if min(d.shape[1] for _, d in parts) < 2:
        return replace(estimate, problems=1)  # in one benchmark at least, and no interval comes of that
    fixed = [weight**2 * float(stats.checkpoint_variance(d)) for weight, d in parts]
    half = t_quantile(ALPHA, _df(fixed, parts)) * sum(fixed) ** 0.5
    estimate = replace(estimate, checkpoints=stats.around(delta, half))
    if seeds < 2:
        return estimate
    one = spread(parts)
    estimate = stats.estimated(estimate, one)
    c, scale = cast("Components", estimate.components), problems / one.problems
    return replace(estimate, components=Components(c.seeds, scale * c.problems, scale * c.noise))


def mean_interval(parts: Sequence[Part]) -> Mean:
    """As `stats.mean_interval`, of the weighted average of the parts."""
    if len(parts) == 1:
        return stats.mean_interval(parts[0][1])
    mean = sum(weight * float(scores.mean()) for weight, scores in parts)
    if min(scores.shape[1] for _, scores in parts) < 2:
        return Mean(mean, None, None)
    problems = sum(scores.shape[1] for _, scores in parts)
    variances = [w**2 * float(scores.mean(0).var(ddof=1)) / scores.shape[1] for w, scores in parts]
    checkpoints = stats.wilson(mean, sum(variances), t_quantile(ALPHA, _df(variances, parts)), problems)
    data = None
    if parts[0][1].shape[0] > 1:
        centred = spread([(w, scores - scores.mean()) for w, scores in parts])
        data = stats.wilson(mean, float(centred.variance), t_quantile(ALPHA, centred.df()), problems)
        data = max(data, checkpoints, key=lambda i: i.high - i.low)  # as stats.mean_interval
    return Mean(mean, checkpoints, data)


def spread(parts: Sequence[Part]) -> Spread:
    """How much the average spreads. Its `problems` are such that `problems - 1` are the degrees of freedom
    (Satterthwaite's) of what problems add, and its components are of a study of that many."""
    each = [(weight, Spread.of(d)) for weight, d in parts]
    by_seed = sum(weight * d.mean(1) for weight, d in parts)
    seeds = each[0][1].seeds
    of_seeds = float(by_seed.var(ddof=1)) / seeds
    of_problems = [w**2 * float(s.problem_part) for w, s in each]
    fixed = [w**2 * float(s.checkpoint_part) for w, s in each]
    noise = sum(w**2 * float(s.components[2]) / s.problems for w, s in each)
    problems = int(_df(fixed, parts)) + 1
    between = sum(w**2 * float(s.components[1]) / s.problems for w, s in each)
    return Spread(
        delta=cast("Array", float(by_seed.mean())),
        seed_part=cast("Array", of_seeds),
        problem_part=cast("Array", sum(of_problems)),
        checkpoint_part=cast("Array", sum(fixed)),
        components=cast("tuple[Array, Array, Array]", (seeds * of_seeds - noise, problems * between, problems * noise)),
        seeds=seeds,
        problems=problems,
    )


def _df(variances: Sequence[float], parts: Sequence[Part]) -> float:
    """Degrees of freedom of a sum of independent estimates, one of each part's problems (Satterthwaite 1946)."""
    below = sum(v**2 / (d.shape[1] - 1) for v, (_, d) in zip(variances, parts, strict=True))
    return sum(variances) ** 2 / below if below > 0 else float(min(d.shape[1] for _, d in parts) - 1)
