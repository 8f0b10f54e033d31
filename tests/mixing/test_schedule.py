"""Which rows each update takes: the budget is held, every pass is whole, and stages move rows without changing any."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mixdistill.mixing.schedule import schedule

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=40)


def test_schedule_covers_every_row_once_per_pass():
    taken = schedule([1] * 23, updates=14, per_update=5, rng=random.Random(0)).updates
    order = [row for rows in taken for row in rows]
    assert [len(rows) for rows in taken] == [5] * 14
    for start in range(0, len(order), 23):
        assert len(set(order[start : start + 23])) == len(order[start : start + 23])
    assert sorted(order[:23]) == list(range(23))
    assert order[:23] != order[23:46], "each pass is a new shuffle"


def test_schedule_never_gives_an_empty_update():
    sizes = [300, 1, 2, 3, 250, 4]
    taken = schedule(sizes, updates=40, per_update=20, rng=random.Random(1)).updates
    assert len(taken) == 40
    assert all(taken)


@given(SIZES, st.integers(1, 30), st.integers(60, 300), st.integers(0, 9))
def test_every_update_ends_with_the_row_that_reaches_its_budget(sizes, updates, per_update, seed):
    taken = schedule(sizes, updates=updates, per_update=per_update, rng=random.Random(seed)).updates
    assert len(taken) == updates
    total = 0
    for n, rows in enumerate(taken, 1):
        total += sum(sizes[i] for i in rows)
        assert 0 <= total - n * per_update < sizes[rows[-1]]


@given(SIZES, st.integers(1, 30), st.integers(60, 300), st.data())
def test_stages_take_the_very_rows_in_another_order(sizes, updates, per_update, data):
    stages = data.draw(st.lists(st.integers(0, 3), min_size=len(sizes), max_size=len(sizes)))
    plain, staged = (
        schedule(sizes, updates=updates, per_update=per_update, rng=random.Random(0), stages=given)
        for given in (None, stages)
    )
    assert Counter(staged.rows.tolist()) == Counter(plain.rows.tolist())
    assert len(staged.updates) == updates and all(staged.updates)
    order = [row for rows in staged.updates for row in rows]
    assert [stages[row] for row in order] == sorted(stages[row] for row in order), "lower stages first, over all passes"
    for stage in set(stages):
        mine = [row for row in plain.rows.tolist() if stages[row] == stage]
        assert [row for row in order if stages[row] == stage] == mine, "in their own order"


def test_rows_stand_in_a_pass_as_often_as_is_said():
    taken = schedule([1] * 4, updates=10, per_update=1, rng=random.Random(0), times=[1, 3, 1, 5])
    assert Counter(taken.rows.tolist()) == {0: 1, 1: 3, 2: 1, 3: 5}
    assert taken.takes(5).tolist() == [1, 3, 1, 5, 0]


def test_rows_of_one_problem_are_taken_in_turn_in_the_common_order_of_problems():
    plain = schedule([1] * 5, updates=15, per_update=1, rng=random.Random(0))
    twice = schedule([1] * 10, updates=15, per_update=1, rng=random.Random(0), problems=[i // 2 for i in range(10)])
    assert (twice.rows // 2).tolist() == plain.rows.tolist()
    assert (twice.rows % 2).tolist() == [0] * 5 + [1] * 5 + [0] * 5


def test_arms_with_other_problems_meet_those_they_share_in_the_same_order():
    def order(problems: list[int]) -> list[int]:
        rows = [1] * len(problems)
        taken = schedule(rows, updates=2 * len(rows), per_update=1, rng=random.Random(0), problems=problems, of=12)
        return [problems[row] for row in taken.rows.tolist()]

    everyone = order(list(range(12)))
    for mine in ([1, 2, 5, 7, 11], [0, 2, 3, 5, 11]):
        assert order(mine) == [p for p in everyone if p in mine], "over both passes"


def test_pass_holds_every_row_once_where_problems_have_different_numbers_of_rows():
    given = {"updates": 8, "per_update": 1, "problems": [0, 0, 0, 1, 2, 2]}
    rows = schedule([1] * 6, rng=random.Random(0), **given).rows.tolist()
    assert sorted(rows[:3]) == [0, 3, 4], "one row of every problem"
    assert sorted(rows[3:5]) == [1, 5], "then the second of those that have one"
    assert rows[5] == 2
    assert set(rows[6:]) < {0, 3, 4}, "and from the beginning"


def test_table_names_the_update_of_every_row():
    taken = schedule([1] * 6, updates=3, per_update=2, rng=random.Random(0))
    assert taken.frame["update"].to_list() == [0, 0, 1, 1, 2, 2]
    assert taken.frame["example"].to_list() == [row for rows in taken.updates for row in rows]
