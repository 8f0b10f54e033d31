"""The estimate of a pass rate is unbiased under the stopping rule it is meant for, to the last digit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest
from scipy import stats

from mixdistill.evidence.passrate import estimate, pass_at_k

RULES = [(1, 1, 4), (1, 2, 6), (2, 1, 5), (2, 2, 2), (3, 2, 7), (4, 1, 8), (4, 3, 9), (2, 5, 8), (5, 4, 5)]
"""(samples, until_correct, max_samples)."""
RATES = [Fraction(0), Fraction(1, 7), Fraction(1, 2), Fraction(9, 10), Fraction(1)]


def paths(samples: int, until: int, most: int, failed: frozenset[int] = frozenset()) -> Iterator[list[bool | None]]:
    """Every way in which buying by the rule can go, sample by sample; `failed` ones are bought and missing."""

    def on(path: list[bool | None]) -> Iterator[list[bool | None]]:
        enough = len(path) >= samples and sum(r is True for r in path) >= until
        if enough or len(path) == most:
            yield path
            return
        for r in (None,) if len(path) in failed else (False, True):
            yield from on([*path, r])

    yield from on([])


def mean(
    rate: Fraction, ways: Iterator[list[bool | None]], value: Callable[[list[bool | None]], Fraction | None]
) -> Fraction:
    """Expected value over the ways of buying, exactly."""
    total = weight = Fraction(0)
    for path in ways:
        chance = Fraction(1)
        for r in path:
            chance *= 1 if r is None else rate if r else 1 - rate
        if chance:
            found = value(path)
            assert found is not None
            total, weight = total + chance * found, weight + chance
    assert weight == 1
    return total


def exactly(samples: int, until: int, most: int) -> Callable[[list[bool | None]], Fraction | None]:
    def value(path: list[bool | None]) -> Fraction | None:
        found = estimate(path, samples=samples, until_correct=until, max_samples=most)
        return None if found is None else Fraction(found).limit_denominator(1000)

    return value


def naive(path: list[bool | None]) -> Fraction:
    return Fraction(sum(r is True for r in path), len(path))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("samples", "until", "most"), RULES)
def test_the_mean_over_all_ways_of_buying_is_the_rate_itself(samples: int, until: int, most: int, rate: Fraction):
    assert mean(rate, paths(samples, until, most), exactly(samples, until, most)) == rate


@pytest.mark.parametrize("failed", [{0}, {1}, {0, 1}, {2, 3}, {6}], ids=str)
@pytest.mark.parametrize("rate", RATES)
def test_it_stays_unbiased_whichever_requests_fail(failed: set[int], rate: Fraction):
    assert mean(rate, paths(2, 2, 7, frozenset(failed)), exactly(2, 2, 7)) == rate


@pytest.mark.parametrize(("samples", "until", "most"), [(1, 1, 4), (1, 2, 6), (2, 1, 5), (4, 3, 9)])
def test_the_share_that_was_right_is_too_high(samples: int, until: int, most: int):
    for rate in (Fraction(1, 7), Fraction(1, 2), Fraction(9, 10)):
        assert mean(rate, paths(samples, until, most), naive) > rate
    assert mean(Fraction(1, 2), paths(1, 1, 4), naive) > Fraction(2, 3), "and not by a little"


def test_without_a_stopping_rule_it_is_the_share_that_was_right():
    assert estimate([True, False, None, True], samples=4) == pytest.approx(2 / 3)
    assert estimate([True, False, False, True], samples=2) == 1 / 2, "samples beyond those asked for do not count"


@pytest.mark.parametrize("right", [[], [None], [None, None]])
def test_nothing_is_known_where_nothing_was_answered(right: list[bool | None]):
    assert estimate(right, samples=2) is None
    assert estimate(right, samples=1, until_correct=1, max_samples=4) is None


def test_what_was_bought_beyond_the_stop_is_left_out():
    rule = {"samples": 1, "until_correct": 2, "max_samples": 6}
    for right in itertools.product((True, False, None), repeat=3):
        assert estimate([False, True, True, *right], **rule) == estimate([False, True, True], **rule) == 1 / 2


def test_until_one_is_right_says_something_of_many_problems_and_nothing_of_one():
    rule = {"samples": 1, "until_correct": 1, "max_samples": 8}
    assert [estimate(r, **rule) for r in ([True], [False, True], [False] * 8)] == [1.0, 0.0, 0.0]


def test_buying_that_was_cut_short_counts_with_what_there_is():
    assert estimate([False, True], samples=4, until_correct=2, max_samples=8) == 1 / 2
    assert estimate([False] * 4 + [True], samples=4, until_correct=2, max_samples=8) == 1 / 5


def test_the_first_answer_of_all_may_end_it():
    assert estimate([None, True], samples=1, until_correct=1, max_samples=4) == 1.0
    for path in itertools.product((True, False), repeat=2):
        found = estimate([None, *path], samples=1, until_correct=1, max_samples=3)
        assert found == (1.0 if path[0] else 0.0)


@pytest.mark.parametrize(("n", "c", "k", "value"), [(4, 1, 1, 0.25), (4, 2, 2, 5 / 6), (4, 0, 4, 0), (5, 3, 3, 1)])
def test_pass_at_k_of_worked_examples(n, c, k, value):
    assert pass_at_k(n, c, k) == pytest.approx(value)


def test_pass_at_k_is_unbiased():
    n, k, q = 6, 3, 0.3
    mean = sum(stats.binom.pmf(c, n, q) * pass_at_k(n, c, k) for c in range(n + 1))
    assert mean == pytest.approx(1 - (1 - q) ** k)


def test_pass_at_k_refuses_impossible_counts():
    with pytest.raises(ValueError, match="n=4, c=5"):
        pass_at_k(4, 5, 1)
