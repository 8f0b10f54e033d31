"""How far a student's text is from its untuned self's, and the words that are furthest from it."""

from __future__ import annotations

import pytest

import tiny
from mixdistill.evidence.ratios import ratio, share
from mixdistill.evidence.style import style
from mixdistill.store import Store
from mixdistill.types import Problem, Ranked
from mixdistill.units import Unit

PROBLEMS = [tiny.problem(f"What is {i} apples?") for i in range(3)]
TEXT = ["Wait", ",", " 3", " apples", "."]


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path)
    store.seal(store.folder("problems"), Problem, PROBLEMS, "signs")
    return store


def ranked(store: Store, cell: str, *ranks: list[int], tokens: list[str] = TEXT) -> Unit:
    """An evaluation of which one trace of each problem was ranked."""
    key = ("t", *cell.split("/"), "signs")
    rows = [
        Ranked(trace_id=f"{cell}-{i}", problem_id=PROBLEMS[i].id, follows="", tokens=tokens[: len(r)], ranks=r)
        for i, r in enumerate(ranks)
    ]
    store.seal(store.folder("evaluate", *key), Ranked, rows, "ranks")
    return Unit(stage="evaluate", key=key, options={"style": 3})


def test_shift_is_over_the_tokens_of_all_traces_with_problems_resampled(store):
    (row,) = style(store, [ranked(store, "long/4", [9, 1, 1, 3, 2], [5, 2, 1, 1, 1], [1, 1])])
    assert (row.student, row.arm, row.benchmark, row.seed) == ("t", "long", "signs", 4)
    assert (row.tokens, row.traces) == (12, 3)
    assert (row.top1, row.top1_interval) == share([2, 3, 2], [5, 5, 2])
    assert row.top1 == 7 / 12
    assert (row.mean_rank, row.mean_rank_interval) == ratio([16, 10, 2], [5, 5, 2])
    assert (row.style_share, row.style_interval) == share([2, 2, 0], [3, 2, 0])
    assert row.style_share == 4 / 5, "of Wait, apples, the full stop, Wait, the comma"


def test_ranks_beyond_100_count_as_100(store):
    (row,) = style(store, [ranked(store, "long/0", [100, 90_000], [1, 1])])
    assert row.mean_rank == 202 / 4


def test_the_most_shifted_tokens_are_those_most_places_off_over_all_that_they_were_written(store):
    unit = ranked(store, "long/0", [9, 1, 1, 60, 1], [5, 2, 1, 3, 1], [1, 2, 1, 3, 1])
    (row,) = style(store, [unit])
    assert [(t.token, t.count, t.rank, t.kind) for t in row.shifted] == [
        ("apples", 3, 22, "content"), ("Wait", 3, 5, "style"), (",", 3, 5 / 3, "style"),
    ]  # fmt: skip
    assert row.shifted[0].rank - 1 > row.shifted[1].rank - 1


def test_kind_of_a_token_is_what_it_was_more_often_where_it_was_not_the_first_choice(store):
    asked = tiny.problem("Rooms to let?")
    store.seal(store.folder("problems"), Problem, [*PROBLEMS[:2], asked], "signs")
    rows = [
        Ranked(trace_id=str(i), problem_id=p.id, follows="", tokens=["Let"], ranks=[4])
        for i, p in enumerate([*PROBLEMS[:2], asked])
    ]
    store.seal(store.folder("evaluate", "t", "long", "0", "signs"), Ranked, rows, "ranks")
    unit = Unit(stage="evaluate", key=("t", "long", "0", "signs"), options={"style": 3})
    assert style(store, [unit])[0].shifted[0].kind == "style", "twice of three times"
    twice = [row.model_copy(update={"problem_id": asked.id}) for row in rows[1:]]
    store.seal(store.folder("evaluate", "t", "long", "0", "signs"), Ranked, [rows[0], *twice], "ranks")
    assert style(store, [unit])[0].shifted[0].kind == "content"


def test_token_that_was_written_less_than_three_times_is_not_among_them(store):
    (row,) = style(store, [ranked(store, "long/0", [9, 1, 1, 60, 1], [9, 1, 1, 60, 1])])
    assert row.shifted == []


def test_white_space_around_a_token_does_not_tell_two_apart_but_white_space_alone_is_one(store):
    tokens = ["So", " so", "so", " So", "\n\n"]
    (row,) = style(store, [ranked(store, "long/0", *[[2, 3, 4, 5, 6]] * 3, tokens=tokens)])
    assert [(t.token, t.count) for t in row.shifted] == [("\n\n", 3), ("So", 6), ("so", 6)]


def test_untuned_student_has_a_row_of_its_own_text(store):
    (row,) = style(store, [ranked(store, "base", [1, 1, 1, 1, 1])])
    assert (row.arm, row.seed, row.top1, row.mean_rank) == ("base", None, 1, 1)
    assert (row.style_share, row.style_interval, row.shifted) == (None, None, [])


def test_evaluation_that_was_not_ranked_or_wrote_nothing_has_no_row(store):
    unit = ranked(store, "long/0", [1])
    off = Unit(stage="evaluate", key=unit.key, options={})
    assert style(store, [off, ranked(store, "short/0")]) == []
