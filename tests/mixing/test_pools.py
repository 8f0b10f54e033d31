"""What an arm may draw on: every trace is usable or has a reason, and every level gets its share."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import made
from mixdistill.errors import StageError
from mixdistill.mixing import pools
from mixdistill.mixing.pools import Candidate, Pool
from mixdistill.sections import Train


def traced(store, teacher="long", room=0, **train):
    return pools.traced(store, teacher, "s", pools.problems(store), Train(**{"max_length": 100, **train}), room)


def test_pool_is_a_mapping_of_candidates_and_columns_at_once():
    plain = {"p": [Candidate("a", 3), Candidate("b", 5)], "q": [Candidate("c", 8)]}
    pool = Pool.of(plain)
    assert dict(pool) == plain and len(pool) == 2 and "q" in pool and "r" not in pool
    assert pool.tokens.tolist() == [3, 5, 8] and pool.counts.tolist() == [2, 1]
    assert pool.mean_tokens() == (4 + 8) / 2, "each problem counts once"
    assert Pool.of(pool) is pool


def test_every_correct_trace_is_usable_or_has_a_reason(tmp_path):
    died = [(40, "think_tag"), (9, "unfinished"), (9, "unfinished")]
    store = made.run(tmp_path, 5, {"long": {0: [20, (30, "duplicate"), 0], 1: [0], 2: died}})
    found = traced(store)
    assert found.usable.select("place", "sample", "prompt_tokens", "loss_tokens", "cut").rows() == [
        (0, 0, 10, 20, False)
    ]
    assert found.dropped.select("place", "reason", "detail").rows() == [
        (0, "duplicate", "found"), (2, "think_tag", "found"), (2, "unfinished", "found"), (2, "unfinished", "found"),
    ]  # fmt: skip
    assert found.lacks(5) == {1: "no_correct", 2: "unfinished", 3: "no_trace", 4: "no_trace"}
    assert pools.pass_rates([found]) == {0: 2 / 3, 1: 0, 2: 1}


def test_rows_that_are_too_long_leave_and_say_how_long_they_are(tmp_path):
    store = made.run(tmp_path, 2, {"long": {0: [90], 1: [91]}})
    found = traced(store, overlong="drop")
    assert found.usable["loss_tokens"].to_list() == [90]
    assert found.dropped.select("place", "reason", "detail").rows() == [(1, "overlong", "101 tokens")]
    assert (found.overlong, found.longest) == (1, 101)
    with pytest.raises(StageError, match=r"mix/s: 1 of 2 accepted traces exceed max_length=100 \(longest 101\); raise"):
        pools.refuse_overlong("s", {"long": found}, Train(max_length=100))


def test_room_for_a_tag_counts_as_length(tmp_path):
    store = made.run(tmp_path, 1, {"long": {0: [90]}})
    assert traced(store, room=1, overlong="drop").lacks(1) == {0: "overlong"}


def test_truncate_keeps_the_row_with_what_is_left_of_it(tmp_path):
    store = made.run(tmp_path, 2, {"long": {0: [90], 1: [500]}})
    assert traced(store, overlong="truncate").usable.select("loss_tokens", "cut").rows() == [(90, False), (90, True)]
    assert traced(store, overlong="truncate", max_length=10).lacks(2) == {0: "overlong", 1: "overlong"}, "no token left"


@pytest.mark.parametrize(("choose", "tokens"), [("random", [7, 9, 7, 4]), ("shortest", [7, 4]), ("longest", [9, 4])])
def test_choice_by_length_takes_the_first_of_equal_ones(tmp_path, choose, tokens):
    store = made.run(tmp_path, 3, {"long": {0: [7, 9, 7], 1: [3], 2: [4]}})
    found = pools.chosen(traced(store).usable, np.array([0, 2]), choose)
    assert found["loss_tokens"].to_list() == tokens
    assert choose == "random" or found["sample"][0] == {"shortest": 0, "longest": 1}[choose]


def test_problems_own_levels_count_where_every_one_has_one(tmp_path):
    store = made.run(tmp_path, 3, {"long": {0: [5, 0], 1: [5, 5]}}, levels=["a", "b", "a"])
    assert pools.levels(pools.problems(store), {}) == ["a", "b", "a"]
    known = pools.problems(made.run(tmp_path / "none", 3, {"long": {0: [5, 0], 1: [5, 5]}}))
    rates = pools.pass_rates([traced(store)])
    assert pools.levels(known, rates) == ["pass rate 0.4 to 0.6", "pass rate 0.8 to 1", "pass rate 0 to 0.2"]


def test_levels_get_the_shares_that_they_have_among_all_problems():
    level_of = ["easy"] * 8 + ["hard"] * 8 + ["never"] * 4
    places = [0, 1, 2, 3, 4, 5, 8, 9]  # six easy ones are left, and two hard ones
    times, facts = pools.reweighted(level_of, places, random.Random(0))
    assert times == [1] * 6 + [3, 3]
    assert facts == {
        "easy": {"problems": 8, "left": 6, "rows": 6},
        "hard": {"problems": 8, "left": 2, "rows": 6},
        "never": {"problems": 4, "left": 0, "rows": 0},
    }


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.data())
def test_reweighting_keeps_every_problem_and_misses_no_share_by_more_than_a_row(level_of, data):
    places = sorted(data.draw(st.sets(st.integers(0, len(level_of) - 1), min_size=1)))
    times, facts = pools.reweighted(level_of, places, random.Random(0))
    assert min(times) >= 1
    rows, left = sum(times), {level: of for level, of in facts.items() if of["left"]}
    everyone = sum(of["problems"] for of in left.values())
    for level, of in left.items():
        mine = [n for p, n in zip(places, times, strict=True) if level_of[p] == level]
        assert sum(mine) == of["rows"] and max(mine) - min(mine) <= 1
        assert abs(of["rows"] - rows * of["problems"] / everyone) <= 1 + len(left) / 2
