"""The built-in mixtures: shares are reached, blends are nested, and a row is the same one in every arm."""

import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixdistill.mixing.mixtures import blend, curriculum, findings, repeat, route
from mixdistill.mixing.pools import Candidate

TOKENS = {"a": 50, "b": 5, "c": 20}


def pools(problems: int, *teachers: str, traces: int = 1):
    return {
        t: {f"p{i}": [Candidate(f"{t}{i}.{k}", TOKENS[t] + i % 7) for k in range(traces)] for i in range(problems)}
        for t in teachers
    }


@pytest.mark.parametrize("n", [1, 2, 3, 7, 101, 1000])
def test_blend_gives_the_rounded_share_for_any_number_of_problems(n):
    ids = list(blend(pools(n, "a", "b"), {"a": 0.2, "b": 0.8}, rng=random.Random(3)))
    assert sum(i.startswith("a") for i in ids) == round(0.2 * n)
    assert [i[1:] for i in ids] == [f"{i}.0" for i in range(n)], "one row per problem, in their order"


@given(
    st.lists(st.integers(1, 9), min_size=5, max_size=60), st.floats(0.05, 0.95), st.integers(0, 5), st.integers(1, 3)
)
def test_a_share_is_one_of_the_rows_of_a_pass_where_problems_stand_in_it_more_than_once(times, share, seed, traces):
    each, weights = np.array(times), {"a": share, "b": 1 - share}
    drawn = pools(len(times), "a", "b", traces=3)
    ids = list(repeat(drawn, weights, rng=random.Random(seed), times=each, traces=traces))
    ours = sum(times[n // traces] for n, i in enumerate(ids) if i[0] == "a")
    assert abs(ours - share * traces * each.sum()) <= max(times) / 2 + 0.5, "nearer than any other cut could promise"


def test_stages_of_a_curriculum_are_parts_of_a_pass_with_its_repeats():
    times = np.array([1, 1, 1, 1, 2, 2, 4, 4])
    hard = {p: n / 8 for n, p in enumerate(pools(8, "a")["a"])}
    rows = curriculum(
        pools(8, "a"), {"a": 1}, rng=random.Random(0), difficulty=hard, times=times, by="difficulty", stages=2
    )
    assert [stage for _, stage in rows] == [0, 0, 0, 0, 0, 0, 1, 1], "8 of 16 rows each"


def test_problems_that_all_stand_in_a_pass_as_often_are_blended_as_if_once():
    once, thrice = (
        list(blend(pools(31, "a", "b"), {"a": 0.3, "b": 0.7}, rng=random.Random(2), times=times))
        for times in (None, np.full(31, 3))
    )
    assert once == thrice


def test_three_teachers_add_up(n=97):
    third = dict.fromkeys("abc", 1 / 3)
    counts = Counter(i[0] for i in blend(pools(n, "a", "b", "c"), third, rng=random.Random(0)))
    assert counts.total() == n
    assert max(counts.values()) - min(counts.values()) <= 1


@given(st.integers(2, 80), st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(0, 5), st.integers(1, 4))
def test_blends_of_a_seed_are_nested(n, one, other, seed, traces):
    few, many = (
        set(repeat(pools(n, "a", "b", traces=3), {"a": w, "b": 1 - w}, rng=random.Random(seed), traces=traces))
        for w in sorted((one, other))
    )
    assert {i for i in few if i[0] == "a"} <= {i for i in many if i[0] == "a"}


@given(st.integers(30, 200), st.floats(0.05, 0.95), st.integers(0, 5))
def test_weights_by_tokens_give_the_share_of_loss_tokens(n, share, seed):
    drawn = pools(n, "a", "b")
    size = {c.trace_id: c.loss_tokens for pool in drawn.values() for cs in pool.values() for c in cs}
    ids = list(blend(drawn, {"a": share, "b": 1 - share}, rng=random.Random(seed), unit="loss_tokens"))
    total = sum(size[i] for i in ids)
    # One row more or less of the first teacher, and its rows are up to three tokens off its mean.
    slack = (max(size.values()) + 3 * n) / total
    assert abs(sum(size[i] for i in ids if i[0] == "a") / total - share) <= slack


def test_trace_of_a_teacher_is_the_same_one_in_every_blend():
    pure = {t: list(blend(pools(40, t, traces=3), {t: 1}, rng=random.Random(1))) for t in "ab"}
    assert len({i.rpartition(".")[2] for i in pure["a"]}) == 3
    mixed = blend(pools(40, "a", "b", traces=3), {"a": 0.5, "b": 0.5}, rng=random.Random(1))
    assert all(i in pure[i[0]] for i in mixed)


def test_repeat_takes_several_traces_of_a_problem_all_different():
    ids = list(repeat(pools(50, "a", "b", traces=4), {"a": 0.25, "b": 0.75}, rng=random.Random(0), traces=4))
    assert len(ids) == len(set(ids)) == 200
    assert Counter(i[0] for i in ids) == {"a": 50, "b": 150}
    of = defaultdict(list)
    for i in ids:
        of[i[1:].partition(".")[0]].append(i[0])
    assert all(Counter(teachers) == {"a": 1, "b": 3} for teachers in of.values()), "every problem has its long trace"


def test_repeat_takes_a_trace_again_where_there_are_no_others():
    ids = list(repeat(pools(10, "a", traces=2), {"a": 1}, rng=random.Random(0), traces=3))
    assert Counter(Counter(ids).values()) == {1: 10, 2: 10}


def test_repeat_once_is_the_blend():
    one, other = (
        list(f(pools(30, "a", "b", traces=2), {"a": 0.3, "b": 0.7}, rng=random.Random(2), **options))
        for f, options in ((blend, {}), (repeat, {"traces": 1}))
    )
    assert one == other


@pytest.mark.parametrize("by", ["length", "difficulty"])
def test_curriculum_has_the_rows_of_the_blend_in_stages_of_rising_key(by):
    drawn, weights = pools(40, "a", "b"), {"a": 0.5, "b": 0.5}
    difficulty = {f"p{i}": (i % 5) / 5 for i in range(40)}
    rows = list(curriculum(drawn, weights, rng=random.Random(4), difficulty=difficulty, by=by, stages=2))
    assert [i for i, _ in rows] == list(blend(drawn, weights, rng=random.Random(4)))
    size = {c.trace_id: c.loss_tokens for pool in drawn.values() for cs in pool.values() for c in cs}
    key = size if by == "length" else {i: difficulty[f"p{i[1:-2]}"] for i, _ in rows}
    low, high = ([key[i] for i, stage in rows if stage == n] for n in (0, 1))
    assert low and high and max(low) < min(high)
    if by == "length":
        assert {i[0] for i, stage in rows if stage} == {"a"}


def test_route_gives_what_the_student_seldom_solves_to_the_longest():
    rates = {"p0": 0.0, "p1": 0.49, "p2": 0.5, "p3": 1.0}  # p4 was never answered
    drawn = pools(5, "a", "c", "b")
    weights = dict.fromkeys("abc", 1 / 3)
    ids = list(route(drawn, weights, rng=random.Random(0), pass_rate=rates, thresholds=[0.4, 0.9]))
    assert [i[0] for i in ids] == ["a", "c", "c", "b", "a"]
    turned = route(drawn, weights, rng=random.Random(0), pass_rate=rates, thresholds=[0.4, 0.9], hardest="shortest")
    assert [i[0] for i in turned] == ["b", "c", "c", "a", "b"]


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("curriculum", {"by": "size"}, "by: must be length or difficulty (got 'size')"),
        ("curriculum", {"stages": 1}, "stages: must be a whole number from 2 on (got 1)"),
        ("repeat", {"traces": 0}, "traces: must be a whole number from 1 on (got 0)"),
        ("route", {"hardest": "long"}, "hardest: must be longest or shortest (got 'long')"),
        (
            "route",
            {"thresholds": [0.8, 0.2]},
            "thresholds: must rise within 0 to 1, one fewer than the teachers (got [0.8, 0.2])",
        ),
    ],
)
def test_options_out_of_range_are_found(name, options, line):
    assert list(findings(name, options, teachers=2)) == [line]


def test_options_in_range_are_fine():
    fine = {"curriculum": {"by": "difficulty", "stages": 3}, "repeat": {"traces": 4}, "route": {"thresholds": [0.3]}}
    for name, options in {**fine, "blend": {}}.items():
        assert list(findings(name, options, teachers=2)) == list(findings(name, {}, teachers=2)) == []
