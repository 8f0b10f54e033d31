"""Which tries go wrong."""

from __future__ import annotations

from collections import Counter

import pytest

from mixdistill.errors import RecipeError
from mixdistill.fake.faults import KINDS, TRIES, drawn, parse


def test_one_rate_is_spread_over_every_kind():
    rates = parse("0.11")
    assert tuple(rates) == KINDS
    assert sum(rates.values()) == pytest.approx(0.11)
    assert parse("500=0.1, reset=0.02") == {"500": 0.1, "reset": 0.02}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("five", "--faults five: a rate is between 0 and 1 (got 'five'); write 0.05 or 500=0.1,503=0.1"),
        ("500=2", "--faults 500=2: a rate is between 0 and 1 (got '2'); write 0.05 or 500=0.1,503=0.1"),
        ("nan", "--faults nan: a rate is between 0 and 1 (got 'nan'); write 0.05 or 500=0.1,503=0.1"),
        ("rest=0.1", "--faults rest=0.1: no fault 'rest'; did you mean 'reset'?"),
        ("500=0.7,503=0.7", "--faults 500=0.7,503=0.7: the rates add up to more than 1 (got 1.4); lower them"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, line: str):
    with pytest.raises(RecipeError) as e:
        parse(text)
    assert str(e.value) == line


def test_every_kind_meets_its_share_of_first_and_second_tries_and_no_later_one():
    rates = parse("0.55")
    for nth in range(TRIES):
        met = Counter(drawn(rates, f"request {n}", nth, 0) for n in range(4000))
        assert all(140 < met[kind] < 260 for kind in KINDS)
    assert {drawn({"500": 1.0}, f"request {n}", TRIES, 0) for n in range(100)} == {None}


def test_the_same_try_meets_the_same_fault_and_another_seed_draws_again():
    rates = parse("0.5")
    one, again, other = ([drawn(rates, f"request {n}", 0, seed) for n in range(200)] for seed in (0, 0, 1))
    assert one == again != other
