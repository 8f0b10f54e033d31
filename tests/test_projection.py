"""Claims about what a pilot foresees, checked against whole studies of which a random part is looked at."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import hypergeom

from mixdistill import projection
from mixdistill.evidence.stats import Components, Spread, foreseen
from mixdistill.projection import Projected, number_of_all, smallest_gap, together, total_of_rest
from mixdistill.types import Interval
from mixdistill.units import drawn

STUDIES = 1000
MARGIN = 3 * math.sqrt(0.05 * 0.95 / STUDIES)


def lognormal(rng, problems, sd):
    """Tokens of problems with a long tail, cut at eight times their median."""
    return np.minimum(np.exp(rng.normal(0, sd, problems)), 8.0)


def until_right(rng, problems, sd):
    """Tokens of problems that are sampled until one of at most eight traces is right: hard ones are dear."""
    chance = rng.beta(1.2, 1.2, problems)
    samples = np.minimum(rng.geometric(np.maximum(chance, 0.01)), 8)
    return np.array([np.exp(rng.normal(0, sd, n)).sum() for n in samples])


def holds(found: Projected, truth: float) -> bool:
    assert found.interval
    return found.interval.low <= truth <= found.interval.high


# -- what is still to be bought ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", [lognormal, until_right])
@pytest.mark.parametrize("sd", [0.4, 1.0])
@pytest.mark.parametrize("problems", [100, 500, 4000])
def test_the_true_cost_of_the_rest_lies_in_the_interval_of_a_pilot_of_50(study, sd, problems):
    rng = np.random.default_rng([int(10 * sd), problems])
    covered = 0
    for _ in range(STUDIES):
        cost = study(rng, problems, sd)
        covered += holds(total_of_rest(cost[:50].tolist(), problems - 50), cost[50:].sum())
    # Down to 93.5 % where tails are long: see docs/method.md.
    assert 0.935 - MARGIN <= covered / STUDIES <= 0.97 + MARGIN


def test_an_interval_without_the_correction_for_long_tails_would_miss_more_often(monkeypatch):
    def misses(seed: int) -> int:
        rng, missed = np.random.default_rng(seed), 0
        for _ in range(STUDIES):
            cost = np.exp(rng.normal(0, 1, 400))
            missed += not holds(total_of_rest(cost[:30].tolist(), 370), cost[30:].sum())
        return missed

    corrected = misses(1)
    monkeypatch.setattr(projection, "_unbent", lambda y, bend, shift: y)
    assert misses(1) > 1.3 * corrected


def test_costs_of_several_teachers_are_added_problem_by_problem():
    rng, covered, apart = np.random.default_rng(5), 0, 0
    for _ in range(STUDIES):
        hard = rng.normal(0, 0.6, 300)
        both = {name: np.exp(hard + rng.normal(0, 0.2, 300)) for name in ("a", "b")}
        parts = {n: ({str(i): float(c[i]) for i in range(50)}, 250) for n, c in both.items()}
        truth = sum(c[50:].sum() for c in both.values())
        covered += holds(together(parts), truth)
        each = [total_of_rest(list(values.values()), rest).interval for values, rest in parts.values()]
        assert all(each)
        half = math.hypot(*(i.high - i.low for i in each if i)) / 2
        middle = sum(i.high + i.low for i in each if i) / 2
        apart += middle - half <= truth <= middle + half
    assert covered / STUDIES >= 0.95 - MARGIN
    assert apart / STUDIES < 0.90, "as if what is hard for one were not hard for the other"


def test_a_teacher_of_whom_less_is_left_weighs_less():
    values = {"p": 1.0, "q": 3.0}
    found = together({"a": (values, 10), "b": (values, 40), "through": (values, 0)})
    assert found.value == pytest.approx(2.0 * 50)
    assert together({"through": (values, 0)}).value == 0


def test_corners_of_a_total():
    assert total_of_rest([5.0, 7.0], 0).interval == Interval(low=0, high=0)
    assert total_of_rest([], 3) == Projected(value=None, interval=None, basis="no trace to go by")
    assert total_of_rest([5.0], 3) == Projected(value=15.0, interval=None, basis="")
    assert total_of_rest([5.0] * 9, 3).interval == Interval(low=15, high=15)
    low = total_of_rest([0.0] * 19 + [100.0], 400).interval
    assert low and low.low == 0.0


# -- how many problems ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "problems"), [(10, 30), (50, 100), (50, 500), (30, 1000)])
def test_the_number_of_shared_problems_is_covered_whatever_it_is(asked, problems):
    intervals = [number_of_all(k, asked, problems).interval for k in range(asked + 1)]
    coverage = []
    for shared in range(problems + 1):
        chances = hypergeom(problems, shared, asked).pmf(np.arange(asked + 1))
        coverage.append(sum(c for c, i in zip(chances, intervals, strict=True) if i and i.low <= shared <= i.high))
    assert min(coverage) >= 0.95
    # As narrow as it can be: one problem less at either end, and what was found would be a chance of 2.5 % or less.
    for found, i in enumerate(intervals):
        assert i
        if i.low > found:
            assert hypergeom(problems, int(i.low) - 1, asked).sf(found - 1) <= 0.025
        if i.high < problems - asked + found:
            assert hypergeom(problems, int(i.high) + 1, asked).cdf(found) <= 0.025 + 1e-12


def test_corners_of_a_number():
    assert number_of_all(7, 10, 10).interval == Interval(low=7, high=7), "all were asked"
    none = number_of_all(0, 50, 500)
    assert none.interval and none.value == none.interval.low == 0
    assert 20 < none.interval.high < 40
    full = number_of_all(50, 50, 500).interval
    assert full and full.high == 500 and 460 < full.low < 480
    assert number_of_all(0, 0, 5) == Projected(value=None, interval=None, basis="no problem was asked")


# -- the draw ---------------------------------------------------------------------------------------------------------


def test_the_draw_depends_on_ids_alone_and_a_smaller_one_lies_in_a_larger():
    problems = tuple(f"id{i}" for i in range(300))
    fifty = drawn(problems, 50)
    assert len(fifty) == 50
    assert list(fifty) == sorted(fifty, key=problems.index), "in their order"
    assert set(drawn(problems[::-1], 50)) == set(fifty)
    assert set(drawn(problems, 20)) < set(fifty)
    assert drawn(problems, 300) == drawn(problems, 999) == problems
    more = set(drawn((*problems, *(f"new{i}" for i in range(300))), 50))
    assert 10 < len(more & set(fifty)) < 40
    assert 100 < np.mean([problems.index(p) for p in fifty]) < 200, "not the first"


# -- the smallest gap -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "problems", "sd"), [(3, 200, 0.02), (2, 500, 0.02), (5, 300, 0.04), (8, 100, 0.01)])
def test_a_gap_as_small_as_was_foreseen_is_found_in_four_studies_of_five(seeds, problems, sd):
    parts = Components(seeds=sd**2, problems=0.125, noise=0.25)
    rng, least = np.random.default_rng(seeds), foreseen(parts, seeds, problems)
    d = least + sd * rng.standard_normal((STUDIES, seeds, 1))
    d = d + 0.125**0.5 * rng.standard_normal((STUDIES, 1, problems))
    spread = Spread.of(d + 0.5 * rng.standard_normal((STUDIES, seeds, problems)))
    assert 0.76 <= np.mean(spread.delta > spread.half()) <= 0.86


def test_the_assumed_spread_is_that_of_right_and_wrong_answers():
    rng, problems = np.random.default_rng(0), 40_000
    easy = rng.choice([-1, 1], (3, 1, problems))
    of_arms = np.where(rng.random((2, 1, problems)) < 0.5**0.5, easy[2], easy[:2])  # correlated by 0.5
    chance = 0.5 + 0.125**0.5 * of_arms  # half of the variance of an answer, 0.25, lies between problems
    answers = (rng.random((2, 4, problems)) < chance).astype(float)
    _, between, noise = Spread.of(answers[0] - answers[1]).components
    assert between == pytest.approx(0.125, abs=0.005)
    assert noise == pytest.approx(0.25, abs=0.005)


def test_the_smallest_gap_says_what_it_assumes():
    found = smallest_gap(3, 1319, 1, "gsm8k")
    assert found.value and found.interval
    assert 6 < found.interval.low < found.value < found.interval.high < 15
    assert found.basis == (
        "3 seeds, 1,319 problems of gsm8k; assumed: accuracies near 50 %, gaps that differ by 2 points (1 to 4) from "
        "seed to seed"
    )
    more = smallest_gap(3, 1319, 4, "gsm8k")
    assert more.value and more.value < found.value
    assert "1,319 problems of gsm8k x 4 samples; assumed" in more.basis
    assert smallest_gap(1, 500, 1, "b").basis == "one seed gives no verdict; set seeds to 2 or more"
