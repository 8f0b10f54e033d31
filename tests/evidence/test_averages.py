"""The average over benchmarks: seeds move all of them, problems each its own."""

from __future__ import annotations

import numpy as np
import pytest

from mixdistill.evidence import averages, stats


def parts(rng, seeds, signs=(1, 1, 1), sd=0.1, sizes=(100, 200, 300), weights=(0.5, 0.25, 0.25)):
    """Three benchmarks without a difference, which a seed moves by so much, in these directions."""
    a = sd * rng.standard_normal((seeds, 1))
    return [
        (w, sign * a + 0.3 * rng.standard_normal((1, p)) + 0.4 * rng.standard_normal((seeds, p)))
        for w, sign, p in zip(weights, signs, sizes, strict=True)
    ]


def test_one_benchmark_is_its_own_average():
    ((_, d), *_) = parts(np.random.default_rng(0), 3)
    assert averages.gap([(1.0, d)]) == stats.gap(d)
    assert averages.mean_interval([(1.0, abs(d))]) == stats.mean_interval(abs(d))


def test_the_average_weighs_benchmarks_and_not_problems():
    d = [np.full((2, 10), 0.4), np.full((2, 90), -0.1)]
    estimate = averages.gap([(0.75, d[0]), (0.25, d[1])])
    assert estimate.delta == pytest.approx(0.75 * 0.4 - 0.25 * 0.1)
    assert estimate.seed_deltas == pytest.approx((0.275, 0.275))
    assert (estimate.seeds, estimate.problems) == (2, 100)


def test_two_halves_of_one_benchmark_are_about_as_sure_as_the_whole():
    d = 0.3 * np.random.default_rng(1).standard_normal((4, 400)) + 0.1 * np.random.default_rng(2).standard_normal(
        (4, 1)
    )
    whole, halves = stats.gap(d), averages.gap([(0.5, d[:, :200]), (0.5, d[:, 200:])])
    assert halves.delta == pytest.approx(whole.delta)
    assert halves.data.low == pytest.approx(whole.data.low, abs=0.003)
    assert halves.checkpoints.low == pytest.approx(whole.checkpoints.low, abs=0.003)
    assert halves.components.seeds == pytest.approx(whole.components.seeds, rel=0.1)
    assert halves.detectable.here == pytest.approx(whole.detectable.here, rel=0.05)


def test_what_a_seed_does_to_one_benchmark_and_undoes_on_another_does_not_move_the_average():
    rng = np.random.default_rng(3)
    width = {
        signs: np.mean([g.data.high - g.data.low for g in (averages.gap(parts(rng, 4, signs)) for _ in range(50))])
        for signs in ((1, 1, 1), (-1, 1, 1))
    }
    assert width[-1, 1, 1] < 0.5 * width[1, 1, 1]


@pytest.mark.parametrize(("seeds", "signs"), [(3, (1, 1, 1)), (5, (1, 1, 1)), (3, (-1, 1, 1))])
def test_the_interval_of_an_average_covers(seeds, signs):
    rng = np.random.default_rng(seeds)
    spreads = [averages.spread(parts(rng, seeds, signs)) for _ in range(500)]
    assert np.mean([abs(float(s.delta)) <= float(s.half()) for s in spreads]) >= 0.93 - 2 * (0.05 * 0.95 / 500) ** 0.5


def test_one_seed_and_one_problem_leave_what_they_leave():
    d = np.zeros((1, 50))
    assert averages.gap([(0.5, d), (0.5, d)]).data is None
    assert averages.gap([(0.5, d), (0.5, d)]).checkpoints is not None
    assert averages.gap([(0.5, d), (0.5, d[:, :1])]).checkpoints is None
    assert averages.mean_interval([(0.5, d), (0.5, d[:, :1])]).checkpoints is None


def test_this_data_is_never_narrower_than_these_checkpoints_though_no_score_varies():
    mean = averages.mean_interval([(0.5, np.full((3, 100), 0.5)), (0.5, np.zeros((3, 100)))])
    assert (mean.checkpoints.low, mean.checkpoints.high) == pytest.approx((0.1945, 0.3152), abs=1e-4)
    assert mean.data == mean.checkpoints
