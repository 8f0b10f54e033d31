"""Ratios of totals over problems have intervals that cover, and none where none can be given."""

import numpy as np
import pytest

from mixdistill.evidence import stats
from mixdistill.evidence.ratios import ratio, share


def test_ratio_to_a_constant_is_a_mean_with_its_t_interval():
    found, interval = ratio([10, 20, 30, 40], [2, 2, 2, 2])
    half = stats.t_quantile(0.05, 3) * np.std([5, 10, 15, 20], ddof=1) / 2
    assert found == 12.5
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((12.5 - half, 12.5 + half))


def test_ends_of_the_interval_are_where_the_ratio_could_just_be():
    """Fieller: R is an end where the mean of top - R bottom is just as far from 0 as the t quantile allows."""
    rng = np.random.default_rng(0)
    bottom = rng.integers(0, 3, 60).astype(float)
    top = 100 * bottom + rng.normal(200, 50, 60)
    _, interval = ratio(list(top), list(bottom))
    assert interval is not None
    for end in (interval.low, interval.high):
        rest = top - end * bottom
        assert abs(rest.mean()) / (rest.std(ddof=1) / 60**0.5) == pytest.approx(stats.t_quantile(0.05, 59))


def test_ratio_without_an_upper_end_has_no_interval():
    found, interval = ratio([100.0] * 40, [1.0] + [0.0] * 39)
    assert (found, interval) == (4000, None)


@pytest.mark.parametrize(("top", "bottom", "expected"), [([1], [2], (0.5, None)), ([1, 2], [0, 0], (None, None))])
def test_one_problem_has_no_interval_and_nothing_no_ratio(top, bottom, expected):
    assert ratio(top, bottom) == expected


def test_interval_of_a_ratio_covers_in_95_per_cent_of_samples():
    """400 samples of 80 problems; two standard errors of the count are 8.7."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        right = rng.random(80) < 0.4
        tokens = np.where(right, rng.exponential(100, 80), rng.exponential(300, 80))
        _, interval = ratio(list(tokens), list(right.astype(float)))
        covered += interval is not None and interval.low <= (0.4 * 100 + 0.6 * 300) / 0.4 <= interval.high
    assert 362 <= covered <= 398


def test_share_of_equal_wholes_is_the_interval_of_an_accuracy():
    part = [1.0, 0, 1, 1, 0, 1, 1, 0]
    found, interval = share(part, [1] * 8)
    assert (found, interval) == (0.625, stats.mean_interval(np.array([part])).checkpoints)


def test_all_of_what_was_seen_is_not_all_for_sure():
    found, interval = share([3, 5, 7, 2], [3, 5, 7, 2])
    assert found == 1
    assert interval is not None
    assert interval.low < 0.7
    assert interval.high == pytest.approx(1)


def test_problems_with_more_of_the_whole_count_for_more():
    found, interval = share([0, 90], [10, 90])
    assert found == pytest.approx(0.9)
    assert interval is not None
    assert interval.low < 0.9 < interval.high


def test_share_of_nothing_is_none():
    assert share([0, 0], [0, 0]) == (None, None)
