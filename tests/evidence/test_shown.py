"""Every trace that counts is in one table with what was said of it; a page gets whole problems, disagreements first."""

from __future__ import annotations

import json
from typing import Any

import polars
import pytest

import tiny
from mixdistill.evidence import shown
from mixdistill.evidence.shown import ReportedTrace
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Problem, Trace, Usage, Verdict
from mixdistill.units import Extent, Unit

RIGHT, WRONG, NONE = Outcome.CORRECT, Outcome.INCORRECT, Outcome.NO_ANSWER
PROBLEMS = [
    tiny.problem(f"What is {i}?", str(i), level="hard" if i > 1 else None).model_copy(update={"subject": "sums"})
    for i in range(4)
]
ARMS = {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.5, "short": 0.5}}


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path)
    store.seal(store.folder("problems"), Problem, PROBLEMS, "signs")
    return store


def _study(**sections: Any) -> Recipe:
    return tiny.study("some/model", arms=ARMS, **sections)


def _evaluated(store: Store, cell: str, *outcomes: Outcome | None, student: str = "t", **fields: Any) -> Unit:
    """A finished evaluation: of every problem one sample, or as many as outcomes suffice for; None is a failure."""
    key = (student, *cell.split("/"), "signs")
    folder, k = store.folder("evaluate", *key), len(outcomes) // len(PROBLEMS)
    author = f"student/{student}/{cell}"
    asked = [(p, i) for p in PROBLEMS for i in range(k)]
    traces = [
        tiny.trace(p, author=author, sample=i, **(fields if o else {"error": "status 500"}))
        for (p, i), o in zip(asked, outcomes, strict=True)
    ]
    judged = [(t, o) for t, o in zip(traces, outcomes, strict=True) if o]
    decisions = [
        Decision(trace_id=t.id, max_tokens=cap, outcome=o, strict=o, flexible=o, judge=o)
        for cap in (None, 8)
        for t, o in judged
    ]
    verdicts = [
        Verdict(trace_id=t.id, verifier="signs", max_tokens=cap, outcome=o, answer=f"{o.value} {cap}", rule="r")
        for cap in (8, None)
        for t, o in judged
    ]
    for row_type, rows, table in (
        (Trace, traces, "traces"),
        (Decision, decisions, "decisions"),
        (Verdict, verdicts, "verdicts"),
    ):
        store.seal(folder, row_type, rows, table)
    return Unit(stage="evaluate", key=key, options={}, wanted=Extent(author, tuple(p.id for p in PROBLEMS), k))


def _write(store: Store, *done: Unit, **sections: Any) -> tuple[list[ReportedTrace], shown.Shown]:
    folder = store.folder("report")
    _, found = shown.write(_study(**sections), store, folder, list(done))
    return store.read(folder, ReportedTrace, shown.TABLE), found


def test_every_trace_is_a_row_with_its_problem_and_its_whole_verdict(store):
    base = _evaluated(store, "base", *[WRONG] * 4)
    long = _evaluated(
        store, "long/3", *[NONE, RIGHT] * 4, reasoning="so", content="1", usage=Usage(completion_tokens=7)
    )
    rows, found = _write(store, base, long)
    assert (found.problems, found.traces, len(rows)) == (4, 12, 12)
    assert [(r.student, r.arm, r.seed, r.sample, r.outcome) for r in rows[:6]] == [
        *(("t", "base", None, 0, WRONG) for _ in range(4)), ("t", "long", 3, 0, NONE), ("t", "long", 3, 1, RIGHT),
    ]  # fmt: skip
    assert [r.problem_id for r in rows[4:]] == [p.id for p in PROBLEMS for _ in range(2)]
    row = rows[-1]
    assert (row.prompt, row.reference, row.benchmark) == ("What is 3?", "3", "signs")
    assert (row.level, row.subject) == ("hard", "sums")
    assert (row.answer, row.rule, row.strict) == ("correct None", "r", RIGHT)
    assert (row.reasoning, row.content, row.tokens, row.finish_reason) == ("so", "1", 7, "stop")


def test_failed_request_is_an_error_with_its_reason(store):
    rows, _ = _write(store, _evaluated(store, "long/0", RIGHT, None, RIGHT, RIGHT))
    assert [(r.outcome, r.error) for r in rows[:2]] == [(RIGHT, None), (Outcome.ERROR, "status 500")]
    assert rows[1].answer is None and rows[1].strict is None


def test_answer_is_that_of_the_verifier_whose_outcome_counts(store):
    unit = _evaluated(store, "long/0", *[RIGHT] * 4)
    folder = store.folder("evaluate", *unit.key)
    verdicts = store.read(folder, Verdict, "verdicts")
    first = [v.model_copy(update={"outcome": WRONG, "answer": "misread"}) for v in verdicts]
    judge = [v.model_copy(update={"verifier": "judge", "answer": "seen by the judge"}) for v in verdicts]
    store.seal(folder, Verdict, [*first, *judge], "verdicts")
    assert {r.answer for r in _write(store, unit)[0]} == {"seen by the judge"}


def test_samples_that_are_no_longer_wanted_are_left_out(store):
    unit = _evaluated(store, "long/0", *[RIGHT, WRONG] * 4)
    fewer = Unit(stage="evaluate", key=unit.key, options={}, wanted=Extent("a", unit.wanted.problems, 1))
    rows, found = _write(store, fewer)
    assert [(r.sample, r.outcome) for r in rows] == [(0, RIGHT)] * 4 and found.traces == 4


def test_problems_on_which_the_primary_arms_differ_come_first_then_those_on_which_any_trained_arms_do(store):
    done = [
        _evaluated(store, "base", RIGHT, WRONG, WRONG, WRONG),  # of no weight: it was not trained
        _evaluated(store, "long/0", WRONG, WRONG, RIGHT, RIGHT),
        _evaluated(store, "long/1", WRONG, WRONG, WRONG, RIGHT),
        _evaluated(store, "short/0", WRONG, WRONG, WRONG, WRONG),
        _evaluated(store, "short/1", WRONG, WRONG, WRONG, WRONG),
        _evaluated(store, "mix/0", WRONG, RIGHT, WRONG, WRONG),
    ]
    rows, found = _write(store, *done)
    place = {r.problem_id: r.place for r in rows}
    assert [place[p.id] for p in PROBLEMS] == [4, 3, 2, 1]
    assert [json.loads(line)["id"] for line in found.lines] == [p.id for p in reversed(PROBLEMS)]
    assert found.pair == ("long", "short") and found.arms == ["base", "long", "short", "mix"]


def test_differences_of_opposite_sign_in_two_students_do_not_cancel(store):
    done = [
        _evaluated(store, f"{arm}/0", *outcomes, student=student)
        for student, arm, outcomes in (
            ("s", "long", [RIGHT, RIGHT, WRONG, WRONG]), ("s", "short", [RIGHT, WRONG, WRONG, WRONG]),
            ("t", "long", [RIGHT, WRONG, WRONG, WRONG]), ("t", "short", [RIGHT, RIGHT, WRONG, WRONG]),
        )
    ]  # fmt: skip
    rows, found = _write(store, *done)
    assert {r.problem_id for r in rows if r.place == 1} == {PROBLEMS[1].id}
    assert found.students == ["s", "t"]


def test_a_problem_on_the_page_has_the_traces_of_every_arm_in_the_recipe_s_order(store):
    done = [_evaluated(store, cell, *[RIGHT] * 4) for cell in ("mix/0", "short/0", "long/1", "long/0", "base")]
    _, found = _write(store, *done)
    problem = json.loads(found.lines[0])
    assert [(t["arm"], t["seed"]) for t in problem["traces"]] == [
        ("base", None), ("long", 0), ("long", 1), ("short", 0), ("mix", 0),
    ]  # fmt: skip
    assert {"place", "benchmark", "level", "subject", "id", "prompt", "reference", "traces"} == problem.keys()
    assert "error" not in problem["traces"][0] and "strict" not in problem["traces"][0], "nothing that says nothing"


def test_arms_that_the_recipe_does_not_name_come_last(store):
    done = [_evaluated(store, f"{arm}/0", *[RIGHT] * 4) for arm in ("short~careful", "short", "long")]
    _, found = _write(store, *done)
    assert found.arms == ["long", "short", "short~careful"]
    assert [t["arm"] for t in json.loads(found.lines[0])["traces"]] == found.arms


def test_of_a_text_that_is_too_long_the_page_gets_both_ends_and_the_table_all(store):
    half = shown.LONGEST // 2
    whole = "a" * half + "b" * 41 + "c" * half
    rows, found = _write(store, _evaluated(store, "long/0", *[RIGHT] * 4, content=whole, reasoning="r" * 2 * half))
    trace = json.loads(found.lines[0])["traces"][0]
    assert trace["content"] == ["a" * half, 41, "c" * half] and trace["reasoning"] == "r" * 2 * half
    assert rows[0].content == whole


def test_a_page_is_offered_no_more_than_a_bound_and_no_problem_that_alone_takes_a_quarter_of_it(store, monkeypatch):
    monkeypatch.setattr(shown, "RAW_BYTES", 100)
    _, found = _write(store, _evaluated(store, "long/0", *[RIGHT] * 4, content="x" * 25))
    assert [len(found.lines), found.problems] == [4, 4]
    _, found = _write(store, _evaluated(store, "long/0", *[RIGHT] * 4, content="x" * 26))
    assert [len(found.lines), found.problems, found.traces] == [0, 4, 4]


def test_table_is_written_in_parts(store, monkeypatch):
    monkeypatch.setattr(shown, "GROUP", 3)
    rows, _ = _write(store, _evaluated(store, "long/0", *[RIGHT, WRONG, NONE] * 4))
    assert [r.outcome for r in rows] == [RIGHT, WRONG, NONE] * 4
    assert [r.sample for r in rows] == [0, 1, 2] * 4


def test_without_evaluations_there_is_an_empty_table(store):
    rows, found = _write(store)
    assert (rows, found.lines, found.problems, found.traces, found.pair) == ([], [], 0, 0, None)
    table = polars.read_parquet(store.folder("report") / "traces.parquet")
    assert table.columns == list(ReportedTrace.model_fields)


def test_without_the_arms_of_a_primary_contrast_the_first_two_trained_ones_are_held_against_each_other(
    store,
):
    done = [_evaluated(store, cell, *[RIGHT] * 4) for cell in ("base", "short/0", "mix/0")]
    assert _write(store, *done)[1].pair == ("short", "mix")
    assert _write(store, *done[:2])[1].pair == ("short", "base")
    assert _write(store, done[0])[1].pair is None
    assert _write(store, *done, contrasts={})[1].pair == ("short", "mix")
