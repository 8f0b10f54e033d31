"""What a whole study will take, from a random part of its problems: numbers in, rows with 95 % intervals out.

The pilot's problems are drawn at random from all of them, so the rest is foreseen by sampling theory alone: the design
makes the intervals, not a model of the problems. Formulae and measured coverage: docs/method.md. Pure arithmetic; what
gathers the numbers and asks whether to go on is `commands/pilot.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import comb, inf

from mixdistill.evidence import stats
from mixdistill.types import Interval, Row

SEED_POINTS = (2.0, 1.0, 4.0)
"""Standard deviation between seeds of a gap, in points: assumed, and the range in which it is tried."""
PROBLEM_SHARE, COMMON_SHARE = 0.5, 0.5
"""Of the variance of an answer, what lies between problems; of that, what both arms have in common."""
PERCENTILES = (10, 50, 90, 99)


class Projected(Row):
    """A number that is foreseen, with its 95 % interval."""

    value: float | None
    """In the unit of the field that holds it; None: not known."""
    interval: Interval | None
    """None where the pilot is too small for one."""
    basis: str
    """What it is based on, or why it is not known."""


class PilotTeacher(Row):
    """What the pilot's problems showed of a teacher, and what the others will take."""

    name: str
    model: str
    problems: int
    """Of the pilot's problems, those with an answer."""
    traces: int
    """Their traces without those that failed."""
    failed: int
    solved: int
    """Problems with a trace that is correct and ended by itself."""
    pass_rate: float | None
    """Mean over problems of the share of correct traces, 0..1, among those that are asked for in any case: what is
    bought until one is right says nothing of the rate."""
    pass_interval: Interval | None
    truncated: float | None
    """Share of traces that were cut at the token limit, 0..1."""
    percentiles: dict[str, float]
    """`10`, `50`, `90`, `99` -> tokens of a trace, as the tokenizer of `analyze` counts."""
    price: str | None
    """Of a million tokens, as the recipe says; None where it does not."""
    spent: float | None
    """US dollars of the pilot's traces; None where nobody knows."""
    tokens: int | None
    """Sampled tokens of the pilot's traces; None where nobody counts, as in a file."""
    rest: int
    """Problems that have no trace yet."""
    traces_to_come: Projected
    cost_to_come: Projected
    """US dollars."""
    tokens_to_come: Projected
    """Sampled."""


class Projection(Row):
    """What a study will take, foreseen from its pilot."""

    folder: str
    """The run folder, in which the pilot's traces are kept."""
    problems: int
    """Training problems."""
    pilot: int
    """Of these, asked in the pilot."""
    teachers: list[PilotTeacher]
    cost: Projected
    """US dollars still to be paid, of all teachers whose price is known."""
    cost_at_most: float | None
    """US dollars, were every trace that is to come as long as it may be; None where a price or limit is not known. Few
    very long traces may not show in a pilot, nor in its intervals."""
    tokens: Projected
    """Still to be sampled, of all teachers who count them."""
    shared: Projected
    """Training problems solved by every teacher of the primary contrast."""
    shared_teachers: list[str]
    """These teachers."""
    training: Projected
    """Seconds of all trainings."""
    detectable: Projected
    """Smallest gap, in points, that the study would find in 4 of 5 repetitions. Its interval is not one of sampling:
    it is what other spreads between seeds would make of it."""
    warnings: list[str]


def unknown(why: str) -> Projected:
    """Nothing is known of it."""
    return Projected(value=None, interval=None, basis=why)


def total_of_rest(values: Sequence[float], rest: int, basis: str = "") -> Projected:
    """Sum of something over `rest` problems that were not drawn, from its values of the problems that were.

    A t interval for the mean of the rest, which counts the spread of both parts, corrected for skewness (Hall 1992):
    lengths and costs have long tails, and the plain one would miss too often on the high side.
    """
    n = len(values)
    if rest == 0:
        return Projected(value=0.0, interval=Interval(low=0.0, high=0.0), basis=basis)
    if n == 0:
        return unknown("no trace to go by")
    mean = sum(values) / n
    if n < 2:
        return Projected(value=rest * mean, interval=None, basis=basis)
    low, high = _mean_of_rest(values, mean, rest)
    interval = Interval(low=rest * max(low, 0.0), high=rest * high)
    return Projected(value=rest * mean, interval=interval, basis=basis)


def _mean_of_rest(values: Sequence[float], mean: float, rest: float) -> tuple[float, float]:
    n = len(values)
    variance = sum((v - mean) ** 2 for v in values) / (n - 1)
    if variance <= 0:
        return mean, mean
    skewness = sum((v - mean) ** 3 for v in values) / n / (variance * (n - 1) / n) ** 1.5
    wide = (1 / n + 1 / rest) ** 0.5
    # Of T = (mean - mean of the rest) / (s * wide): the skewness of its top, and how it leans on the sample's own s.
    top, lean = skewness * (n**-2 - rest**-2) / wide**3, skewness / (n * wide)
    bend = (3 * lean - top) / 6
    t, se = stats.t_quantile(stats.ALPHA, n - 1), wide * variance**0.5
    high, low = (_unbent(side * t, bend, lean / 2 - bend) for side in (-1, 1))
    return mean - low * se, mean - high * se


def _unbent(y: float, bend: float, shift: float) -> float:
    """Inverse of Hall's monotone cubic, T + bend T^2 + bend^2 T^3 / 3 + shift."""
    if abs(bend) < 1e-9:
        return y - shift
    inside = 1 + 3 * bend * (y - shift)
    return ((abs(inside) ** (1 / 3)) * (1 if inside > 0 else -1) - 1) / bend


def mean_of_all(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """(low, mean, high) of all that these were drawn from; all None without values, the outer ones of a single one."""
    if not values:
        return None, None, None
    mean = sum(values) / len(values)
    if len(values) == 1:
        return None, mean, None
    low, high = _mean_of_rest(values, mean, inf)
    return max(low, 0.0), mean, high


def together(parts: Mapping[str, tuple[Mapping[str, float], int]], basis: str = "") -> Projected:
    """Sum over several teachers, name -> (problem -> value, problems that are left).

    They were asked the same problems, so each problem's values are added before anything is said of their spread: hard
    problems are long for all. Where not all have as many left, the spread is that of the fewest: a little too wide.
    """
    left = {name: (values, rest) for name, (values, rest) in parts.items() if rest}
    if not left:
        return total_of_rest([], 0, basis)
    common = set.intersection(*(set(values) for values, _ in left.values()))
    fewest = min(rest for _, rest in left.values())
    weighted = [sum(values[p] * rest / fewest for values, rest in left.values()) for p in sorted(common)]
    return total_of_rest(weighted, fewest, basis)


def number_of_all(found: int, asked: int, problems: int, basis: str = "") -> Projected:
    """How many of all problems have a property that `found` of the `asked` ones have.

    Clopper and Pearson's interval for a finite set: all numbers under which as few, or as many, are found in more than
    2.5 % of draws without replacement.
    """
    if asked == 0:
        return unknown("no problem was asked")
    low, high = found, problems - (asked - found)
    tail = stats.ALPHA / 2
    least = _first(low, high, lambda k: _at_least(found, asked, k, problems) > tail)
    most = _first(low, high, lambda k: _at_least(found + 1, asked, k, problems) >= 1 - tail, default=high + 1) - 1
    interval = Interval(low=float(least), high=float(max(most, least)))
    return Projected(value=problems * found / asked, interval=interval, basis=basis)


def _first(low: int, high: int, holds: Callable[[int], bool], default: int | None = None) -> int:
    """Smallest number in low..high for which something holds that holds for all greater ones."""
    if default is not None and not holds(high):
        return default
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _at_least(found: int, asked: int, having: int, problems: int) -> float:
    """Chance that `asked` problems drawn without replacement hold `found` or more of the `having` ones."""
    whole = comb(problems, asked)
    ways = sum(comb(having, k) * comb(problems - having, asked - k) for k in range(found, min(asked, having) + 1))
    return ways / whole


def pass_rate(shares: Sequence[float]) -> tuple[float | None, Interval | None]:
    """Mean of the problems' shares of correct traces, and its interval (Wilson's, see `stats.mean_interval`)."""
    import numpy as np

    if not shares:
        return None, None
    found = stats.mean_interval(np.array([shares]))
    return found.mean, found.checkpoints


def percentiles(lengths: Sequence[float]) -> dict[str, float]:
    """The percentiles of some lengths; none of none."""
    import numpy as np

    return {str(p): float(np.percentile(lengths, p)) for p in PERCENTILES} if len(lengths) else {}


def smallest_gap(seeds: int, problems: int, k: int, benchmark: str) -> Projected:
    """Smallest gap, in points, that is found in 4 of 5 studies, were both arms right about half of the time."""
    if seeds < 2 or problems < 2:
        return unknown("one seed gives no verdict; set seeds to 2 or more" if seeds < 2 else "one problem")
    one = 2 * 0.25  # variance of the difference of two answers, at an accuracy of 50 %

    def found(points: float) -> float:
        parts = stats.Components(
            seeds=(points / 100) ** 2,
            problems=one * PROBLEM_SHARE * (1 - COMMON_SHARE),
            noise=one * (1 - PROBLEM_SHARE) / k,
        )
        return min(100.0, 100 * stats.foreseen(parts, seeds, problems))

    usual, calm, wild = (found(points) for points in SEED_POINTS)
    samples = f" x {k} samples" if k > 1 else ""
    return Projected(
        value=usual,
        interval=Interval(low=calm, high=wild),
        basis=f"{seeds} seeds, {problems:,} problems of {benchmark}{samples}; assumed: accuracies near 50 %, gaps that "
        f"differ by {SEED_POINTS[0]:g} points ({SEED_POINTS[1]:g} to {SEED_POINTS[2]:g}) from seed to seed",
    )


def between(low: float | None, middle: float | None, high: float | None, basis: str) -> Projected:
    """A value with its ends; without an interval where one of these is not known."""
    if low is None or middle is None or high is None:
        return Projected(value=middle, interval=None, basis=basis)
    return Projected(value=middle, interval=Interval(low=min(low, middle), high=max(high, middle)), basis=basis)
