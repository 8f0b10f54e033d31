"""Intervals of means and quantiles cover what they are for, and keep samples of one problem together."""

from __future__ import annotations

import numpy as np
import pytest

from mixdistill.evidence import means
from mixdistill.types import Interval


def test_mean_of_one_sample_per_problem_has_the_t_interval_of_a_sample() -> None:
    found = means.of_mean({str(i): [v] for i, v in enumerate((1.0, 2.0, 3.0, 4.0))})
    half = 3.182446 * (1.666667 / 4) ** 0.5
    assert found is not None and (found.low, found.high) == pytest.approx((2.5 - half, 2.5 + half), abs=1e-5)


def test_samples_of_a_problem_that_agree_count_as_one() -> None:
    once = means.of_mean({str(i): [float(i)] for i in range(10)})
    often = means.of_mean({str(i): [float(i)] * 7 for i in range(10)})
    assert once is not None and often is not None
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_one_problem_has_no_interval() -> None:
    assert means.of_mean({"a": [1.0, 2.0]}) is None and means.of_mean({}) is None
    assert means.of_quantile({"a": [1.0, 2.0]}, 0.5) is None
    assert means.over_cells(np.ones((3, 1))) is None and means.of_share(np.ones((3, 1))) is None


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_interval_of_a_quantile_covers_it_in_about_95_of_100_draws_with_samples_that_hang_together(
    share: float,
) -> None:
    rng = np.random.default_rng(0)
    truth = float(np.quantile(rng.lognormal(0, 0.8, 200_000) * rng.lognormal(0, 0.3, 200_000), share))
    hits = 0
    for _ in range(300):
        of_problem = rng.lognormal(0, 0.8, 80)
        samples = {str(i): list(v * rng.lognormal(0, 0.3, 4)) for i, v in enumerate(of_problem)}
        found = means.of_quantile(samples, share)
        assert found is not None
        hits += found.low <= truth <= found.high
    assert 0.90 <= hits / 300 <= 0.99


def test_quantile_is_a_value_that_is_there() -> None:
    assert [means.quantile([1, 2, 3, 4], share) for share in (0, 0.5, 0.9, 1)] == [1, 3, 4, 4]


def test_several_seeds_widen_the_interval_by_what_they_differ() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(50, 5, (4, 100))
    same = means.over_cells(values)
    apart = means.over_cells(values + np.array([[-20], [0], [0], [20]]))
    assert same is not None and apart is not None
    assert apart.high - apart.low > 5 * (same.high - same.low)
    assert (same.low + same.high) / 2 == pytest.approx(values.mean())


def test_share_of_which_all_are_one_stays_below_one() -> None:
    found = means.of_share(np.ones((1, 50)))
    assert found is not None and 0.9 < found.low < 1 and found == Interval(low=found.low, high=1.0)
