"""Every evaluated answer is read in three ways; where they differ, and where the chain agrees, is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import tiny
from mixdistill.chain import Agreement
from mixdistill.evidence.readings import COUNTS, agreement, read
from mixdistill.evidence.rows import AgreementFacts
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Trace
from mixdistill.units import Extent, Unit

PROBLEM = [tiny.problem(f"What is {i}?") for i in range(4)]
RIGHT, WRONG, NONE, CUT = Outcome.CORRECT, Outcome.INCORRECT, Outcome.NO_ANSWER, Outcome.TRUNCATED
ALIKE = [(RIGHT, RIGHT, RIGHT), (WRONG, WRONG, WRONG), (NONE, NONE, NONE), (CUT, CUT, CUT)]
"""(strict, flexible, judge) of four answers that every reading decides alike."""


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def _study(**verify: Any) -> Recipe:
    return tiny.study("some/model", verify={"verifier": "signs", **verify})


def _evaluated(store: Store, cell: str, *caps: tuple[int | None, list[tuple[Outcome, ...]]]) -> Unit:
    """A finished evaluation of one sample of each problem, with its decisions at each cap."""
    key = ("t", *cell.split("/"), "signs")
    folder = store.folder("evaluate", *key)
    traces = [tiny.trace(p, author=f"student/t/{cell}") for p in PROBLEM]
    rows = [
        Decision(trace_id=t.id, max_tokens=cap, outcome=o[1], strict=o[0], flexible=o[1], judge=o[2])
        for cap, outcomes in caps
        for t, o in zip(traces, outcomes, strict=True)
    ]
    store.seal(folder, Trace, traces, "traces")
    store.seal(folder, Decision, rows, "decisions")
    wanted = Extent("", tuple(p.id for p in PROBLEM), 1)
    return Unit(stage="evaluate", key=key, options={}, inputs={}, wanted=wanted)


def _shares(*right: int) -> dict[str, float]:
    return {p.id: float(i in right) for i, p in enumerate(PROBLEM)}


def test_readings_under_which_the_same_answers_are_correct_are_given_once(store):
    found = read(_study(), store, [_evaluated(store, "long/0", (None, ALIKE))])
    assert found.correct == {"flexible": {("t", "long", 0, "signs"): {None: _shares(0)}}}
    assert found.alike == {"strict": "flexible", "judge": "flexible"}


def test_every_reading_has_its_own_correct_answers_and_the_one_that_counts_comes_first(store):
    outcomes = [(NONE, RIGHT, RIGHT), (WRONG, WRONG, RIGHT), *ALIKE[2:]]
    found = read(_study(verifier=["signs", "exact"]), store, [_evaluated(store, "base", (None, outcomes), (8, ALIKE))])
    cell = ("t", "base", None, "signs")
    assert list(found.correct) == ["judge", "strict", "flexible"]
    assert {rule: cells[cell] for rule, cells in found.correct.items()} == {
        "strict": {None: _shares(), 8: _shares(0)},
        "flexible": {None: _shares(0), 8: _shares(0)},
        "judge": {None: _shares(0, 1), 8: _shares(0)},
    }
    assert found.alike == {}


def test_two_readings_that_do_not_count_may_be_alike(store):
    outcomes = [(NONE, RIGHT, RIGHT), *ALIKE[1:]]
    found = read(_study(rule="strict"), store, [_evaluated(store, "long/0", (None, outcomes))])
    assert (list(found.correct), found.alike) == (["strict", "flexible"], {"judge": "flexible"})


def test_what_the_readings_decide_differently_is_counted_over_seeds(store):
    one = [(NONE, RIGHT, RIGHT), (NONE, WRONG, RIGHT), (CUT, RIGHT, RIGHT), (CUT, WRONG, WRONG)]
    done = [_evaluated(store, "long/0", (None, one), (8, ALIKE)), _evaluated(store, "long/1", (None, one), (8, ALIKE))]
    whole, capped = read(_study(), store, done).facts
    assert (whole.student, whole.arm, whole.benchmark, whole.max_tokens) == ("t", "long", "signs", None)
    assert whole.answers == 8
    assert whole.correct == {"strict": 0, "flexible": 4, "judge": 6}
    assert (whole.unmarked_right, whole.unmarked_wrong, whole.cut_right, whole.cut_wrong) == (2, 2, 2, 2)
    assert whole.judge_only == 2
    assert (capped.max_tokens, capped.answers, capped.correct["strict"]) == (8, 8, 2)
    assert capped.unmarked_right + capped.unmarked_wrong + capped.cut_right + capped.cut_wrong + capped.judge_only == 0


def test_a_failed_request_is_an_answer_that_no_reading_finds_correct(store):
    unit = _evaluated(store, "long/0", (None, [(RIGHT, RIGHT, RIGHT)] * 4))
    folder = store.folder("evaluate", "t", "long", "0", "signs")
    store.seal(folder, Decision, store.read(folder, Decision, "decisions")[1:], "decisions")
    (facts,) = read(_study(), store, [unit]).facts
    assert (facts.answers, facts.correct) == (4, {"strict": 3, "flexible": 3, "judge": 3})
    interval = facts.intervals["flexible"]
    assert interval.low < facts.correct["flexible"] / facts.answers < interval.high
    assert facts.unmarked_right + facts.unmarked_wrong + facts.cut_right + facts.cut_wrong + facts.judge_only == 0


def test_samples_beyond_k_are_read_by_nobody(store):
    unit = _evaluated(store, "long/0", (None, ALIKE))
    folder = store.folder("evaluate", *unit.key)
    more = [tiny.trace(p, author="student/t/long/0", sample=1) for p in PROBLEM]
    decisions = [Decision(trace_id=t.id, outcome=RIGHT, strict=NONE, flexible=RIGHT, judge=RIGHT) for t in more]
    store.seal(folder, Trace, [*store.read(folder, Trace, "traces"), *more], "traces")
    store.seal(folder, Decision, [*store.read(folder, Decision, "decisions"), *decisions], "decisions")
    found = read(_study(), store, [unit])
    assert found.correct["flexible"]["t", "long", 0, "signs"] == {None: _shares(0)}
    assert found.facts[0].answers == 4
    assert found.facts[0].unmarked_right == 0


def test_problems_that_are_asked_no_longer_are_read_by_nobody(store):
    unit = _evaluated(store, "long/0", (None, [(NONE, RIGHT, RIGHT), *ALIKE[1:]]))
    half = replace(unit, wanted=Extent("", tuple(p.id for p in PROBLEM[:2]), 1))
    found = read(_study(), store, [half])
    cell = "t", "long", 0, "signs"
    assert found.correct["flexible"][cell] == {None: {PROBLEM[0].id: 1.0, PROBLEM[1].id: 0.0}}
    assert (found.facts[0].answers, found.facts[0].unmarked_right) == (2, 1)


def test_markers_and_evidence_count_the_same_things():
    assert set(COUNTS) == set(Agreement.model_fields) - {"verifier"}
    assert set(COUNTS) < set(AgreementFacts.model_fields)


def _mark(store: Store, *key: str, **counts: int) -> None:
    """A finished unit whose later verifier said so much."""
    row = {"verifier": "exact", **dict.fromkeys(COUNTS, 0), **counts}
    store.mark(store.folder(*key), {"tables": {}, "facts": {"agreement": [row]}})


def test_what_a_later_verifier_said_is_told_by_teacher_and_of_students_over_seeds(store):
    _mark(store, "verify", "long", accepted=90, audited=10, confirmed=9, missed=6, rescued=2, failed=1)
    done = [_evaluated(store, f"long/{seed}", (None, ALIKE)) for seed in (0, 1)]
    for unit in done:
        _mark(store, "evaluate", *unit.key, accepted=2, audited=1, confirmed=1)
    teacher, student = agreement(_study(verifier=["signs", "exact"]), store, done)
    assert (teacher.whose, teacher.verifier) == ("teacher/long", "exact")
    assert [getattr(teacher, name) for name in COUNTS] == [90, 10, 9, 6, 2, 1]
    assert teacher.audited_interval is not None
    assert teacher.missed_interval is not None
    assert (teacher.audited_interval.low, teacher.audited_interval.high) == pytest.approx((0.5234, 0.9866), abs=1e-4)
    assert 0 < teacher.missed_interval.low < 1 / 3 < teacher.missed_interval.high < 1
    assert student.whose == "student/t/long/signs"
    assert [getattr(student, name) for name in COUNTS] == [4, 2, 2, 0, 0, 0]
    assert student.missed_interval is None, "of nothing"


def test_marker_that_says_nothing_of_agreement_has_no_row(store):
    store.mark(store.folder("verify", "long"), {"tables": {}, "facts": {}})
    assert agreement(_study(verifier=["signs", "exact"]), store, []) == []


def test_one_verifier_alone_agrees_with_nobody(store):
    assert agreement(_study(), store, [_evaluated(store, "long/0", (None, ALIKE))]) == []
