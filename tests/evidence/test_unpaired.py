"""Two sets of trainings whose seeds are their own: the formula, and what its interval covers."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mixdistill.evidence import stats
from mixdistill.evidence.unpaired import LEAST_P, difference
from mixdistill.types import Interval


def _scores(seeds: int, effects: list[float], problems: int = 60, seed: int = 0):
    """Scores [seeds, problems] whose seeds lie so far apart, around problems that differ a little."""
    rng = np.random.default_rng(seed)
    return np.array(effects)[:, None] + rng.normal(0, 0.05, (seeds, problems))


def test_interval_is_the_formula_of_the_page():
    a, b = _scores(3, [0.5, 0.6, 0.7]), _scores(4, [0.3, 0.35, 0.4, 0.45], seed=1)
    found = difference(a, b)
    by_seed = [x.mean(1).var(ddof=1) / len(x) for x in (a, b)]
    welch = sum(by_seed) ** 2 / (by_seed[0] ** 2 / 2 + by_seed[1] ** 2 / 3)
    noise = sum(
        ((x - x.mean(0) - x.mean(1)[:, None] + x.mean()) ** 2).sum() / ((len(x) - 1) * 59) / (len(x) * 60)
        for x in (a, b)
    )
    fixed = (a.mean(0) - b.mean(0)).var(ddof=1) / 60
    t_seeds, t_problems = (scipy_stats.t.ppf(0.975, df) for df in (min(welch, 4), 59))
    half = math.sqrt(t_seeds**2 * sum(by_seed) + t_problems**2 * max(fixed - noise, 0))
    assert found.data is not None
    assert found.delta == pytest.approx(a.mean() - b.mean())
    assert (found.data.low, found.data.high) == pytest.approx((found.delta - half, found.delta + half))
    assert (found.seeds, found.problems) == (3, 60)
    checkpoints = stats.gap((a.mean(0) - b.mean(0))[None, :]).checkpoints
    assert found.checkpoints == checkpoints


def test_two_seeds_on_a_side_give_each_side_the_quantile_of_its_own():
    a, b = _scores(2, [0.5, 0.6]), _scores(5, [0.3, 0.35, 0.4, 0.45, 0.5], seed=1)
    found = difference(a, b)
    parts = [(x.mean(1).var(ddof=1) / len(x), len(x) - 1) for x in (a, b)]
    seeds = sum(scipy_stats.t.ppf(0.975, df) ** 2 * part for part, df in parts)
    assert found.data is not None
    assert found.data.low == pytest.approx(found.delta - math.sqrt(seeds), abs=0.01)


def test_p_is_below_five_per_cent_exactly_where_the_interval_leaves_out_zero():
    noisy, rng = np.random.default_rng(3), np.random.default_rng(4)
    seen = set()
    for shift in rng.uniform(0, 0.1, 60):
        found = difference(noisy.normal(shift, 0.1, (3, 40)), noisy.normal(0, 0.1, (4, 40)))
        assert found.data is not None and found.p is not None
        outside = not found.data.low <= 0 <= found.data.high
        assert (found.p < 0.05) == outside
        seen.add(outside)
    assert seen == {True, False}


def test_one_seed_on_a_side_says_nothing_of_new_data():
    found = difference(_scores(1, [0.5]), _scores(3, [0.1, 0.2, 0.3]))
    assert (found.data, found.p, found.seeds) == (None, None, 1)
    assert found.checkpoints is not None


def test_equal_scores_are_no_difference_and_no_proof():
    found = difference(np.ones((3, 20)), np.ones((4, 20)))
    assert (found.delta, found.p) == (0, 1.0)
    assert found.data == found.checkpoints
    assert found.data is not None and found.data.low < -0.1
    assert difference(np.ones((3, 2000)), np.zeros((4, 2000))).p == LEAST_P


def test_an_interval_cannot_leave_minus_one_to_one():
    found = difference(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert found.data == Interval(low=-1.0, high=1.0)


@pytest.mark.parametrize(("seeds", "effects"), [((3, 3), (0.15, 0.15)), ((3, 8), (0.15, 0.03)), ((2, 5), (0.15, 0.03))])
def test_new_data_lands_within_the_interval_in_93_of_100_studies(seeds, effects):
    """The full table is in docs/compare.md (benchmarks/unpaired_seeds.py); three standard errors are left."""
    rng, hits, studies = np.random.default_rng(0), 0, 400
    for _ in range(studies):
        common = rng.normal(0, 0.2, 100)
        a, b = (rng.normal(0, sd, (n, 1)) + rng.normal(0, 0.5, (n, 100)) + common
                for n, sd in zip(seeds, effects, strict=True))  # fmt: skip
        data = difference(0.1 * a, 0.1 * b).data
        assert data is not None
        hits += data.low <= 0 <= data.high
    assert hits / studies > 0.93 - 3 * math.sqrt(0.07 * 0.93 / studies)
