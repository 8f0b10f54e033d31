"""What each teacher solved, and whether what all solved is easier, is not read off the samples that chose it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from mixdistill.chain import decide
from mixdistill.evidence.means import of_share
from mixdistill.evidence.solved import Solved, judged, shared, steps
from mixdistill.sections import Verify
from mixdistill.store import Store
from mixdistill.types import Complexity, Outcome, Problem, Verdict

C, W, E = Outcome.CORRECT, Outcome.INCORRECT, Outcome.ERROR


def teacher(name: str, rates: dict[str, float], solved: set[str] | None = None) -> Solved:
    """A teacher with these rates; what it solved is where its rate is above zero, unless said."""
    won = solved if solved is not None else {p for p, rate in rates.items() if rate > 0}
    return Solved(name, rates, {p: [10.0] for p in won})


def levels(problems: Any, level: str | None = None) -> dict[str, str | None]:
    return dict.fromkeys(problems, level)


# -- how the shared problems become fewer and easier ------------------------------------------------------------------


def test_problems_become_fewer_with_every_teacher_in_their_order():
    a, b, c = (teacher(n, {p: float(p in won) for p in "1234"}) for n, won in [("a", "123"), ("b", "234"), ("c", "3")])
    found = shared([a, b, c], levels("12345"))
    assert [(s.teachers, s.problems) for s in found] == [
        ([], 5), (["a"], 3), (["a", "b"], 2), (["a", "b", "c"], 1)
    ]  # fmt: skip
    assert shared([], levels("1")) == []


def test_equally_hard_problems_are_no_easier_where_all_solved_them_though_every_sample_there_is_right():
    problems = {f"{i}{a}{b}": (a, b) for i in range(25) for a in (0, 1) for b in (0, 1)}
    one, two = (teacher(n, {p: float(r[k]) for p, r in problems.items()}) for k, n in enumerate("ab"))
    last = shared([one, two], levels(problems))[-1]
    left = [p for p, r in problems.items() if r == (1, 1)]
    assert last.problems == len(left) == 25
    assert {t.rates[p] for t in (one, two) for p in left} == {1.0}, "the share that is right there says otherwise"
    assert (last.pass_rate, last.pass_rate_overall) == (0.5, 0.5)
    assert last.easier is not None
    assert last.easier.low < 0 < last.easier.high
    there = last.intervals["pass_rate"]
    assert (there.low + there.high) / 2 == pytest.approx(0.5)
    assert 0.08 < (there.high - there.low) / 2 < 0.15, "half of fifty problems, of two teachers"
    overall = last.intervals["pass_rate_overall"]
    assert overall.high - overall.low < there.high - there.low, "of all problems it is surer"
    assert set(last.intervals) == {"pass_rate", "pass_rate_overall", "tokens: a", "tokens: b"}


def test_problems_that_teachers_agree_on_are_easier_where_all_solved_them():
    rates = {f"easy{i}": 1.0 for i in range(30)} | {f"hard{i}": float(i % 5 == 0) for i in range(30)}
    other = {p: r if p.startswith("easy") else float(p.endswith("1")) for p, r in rates.items()}
    first, one, last = shared([teacher("a", rates), teacher("b", other)], levels(rates))
    assert (first.pass_rate, first.easier) == (None, None), "nobody is required, nobody is held against anybody"
    assert one.pass_rate == pytest.approx(30 / 36), "b, on what a solved"
    assert one.pass_rate_overall == pytest.approx(33 / 60)
    assert last.pass_rate == pytest.approx((30 / 36 + 30 / 33) / 2)
    assert last.pass_rate_overall == pytest.approx((36 / 60 + 33 / 60) / 2)
    assert last.easier is not None
    assert last.easier.low > 0.15


def test_teachers_that_find_other_things_hard_leave_harder_problems():
    problems = range(40)
    a = {f"{i}": float(i < 25) for i in problems}
    b = {f"{i}": float(i >= 15) for i in problems}
    last = shared([teacher("a", a), teacher("b", b)], levels(a))[-1]
    assert last.problems == 10
    assert last.pass_rate == pytest.approx(10 / 25)
    assert last.easier is not None and last.easier.high < 0


def test_the_interval_holds_the_truth_in_about_95_of_100_studies():
    rng = random.Random(7)
    hard, easy, studies, hits = 0.3, 0.9, 400, 0
    truth = (hard**2 + easy**2) / (hard + easy) - (hard + easy) / 2
    for _ in range(studies):
        rate = {f"{i}": easy if rng.random() < 0.5 else hard for i in range(150)}
        drawn = [teacher(n, {p: float(rng.random() < r) for p, r in rate.items()}) for n in "ab"]
        interval = shared(drawn, levels(rate))[-1].easier
        assert interval is not None
        hits += interval.low <= truth <= interval.high
    assert 0.92 <= hits / studies <= 0.98


def test_where_nothing_varies_one_more_problem_could_have_come_out_the_opposite_way():
    same = {f"{i}": 1.0 for i in range(20)}
    last = shared([teacher("a", same), teacher("b", same)], levels(same))[-1]
    assert (last.pass_rate, last.pass_rate_overall) == (1.0, 1.0)
    of_teachers = of_share(np.ones((1, 20)))
    assert last.intervals["pass_rate"] == last.intervals["pass_rate_overall"] == of_teachers
    assert last.easier is not None
    assert (last.easier.low, last.easier.high) == (pytest.approx(-0.2, abs=0.001), pytest.approx(0.2, abs=0.001))


def test_one_problem_has_no_interval():
    last = shared([teacher("a", {"1": 1.0}), teacher("b", {"1": 1.0})], levels("1"))[-1]
    assert (last.pass_rate, last.pass_rate_overall, last.easier) == (1.0, 1.0, None)
    assert last.intervals == {}


def test_one_teacher_is_held_against_nobody():
    (_, only) = shared([teacher("a", {"1": 1.0, "2": 0.0})], levels("12"))
    assert (only.problems, only.pass_rate, only.easier) == (1, None, None)


def test_teachers_without_a_problem_in_common_leave_none():
    last = shared([teacher("a", {"1": 1.0}), teacher("b", {"2": 1.0})], levels("12", "easy"))[-1]
    assert (last.problems, last.pass_rate, last.tokens, last.levels) == (0, None, {}, {})


def test_tokens_and_levels_are_those_of_the_problems_that_are_left():
    a = Solved("a", {"1": 1.0, "2": 1.0, "3": 1.0}, {"1": [10.0], "2": [20.0, 40.0], "3": [90.0]})
    b = Solved("b", {"1": 1.0, "2": 1.0}, {"1": [1.0], "2": [3.0]})
    first, _, last = shared([a, b], {"1": "easy", "2": "easy", "3": "hard", "4": None})
    assert first.tokens == {"a": pytest.approx(130 / 3), "b": 2.0}
    assert last.tokens == {"a": 20.0, "b": 2.0}
    assert first.levels == {"easy": 0.5, "hard": 0.25}
    assert last.levels == {"easy": 1.0, "hard": 0.0}


# -- from a run folder ------------------------------------------------------------------------------------------------

PROBLEMS = [tiny.problem(f"What is {n}?", level=str(n % 2)) for n in range(4)]


def mark(store: Store, folder: Path, rows: list[Any], table: str) -> None:
    store.mark(folder, {"tables": {table: store.seal(folder, type(rows[0]), rows, table)}})


def bought(store: Store, name: str, outcomes: dict[int, list[Outcome | str | None]]) -> None:
    """Traces of a teacher: problem -> what came of each sample; None: the request failed, `cut`: correct, not ended."""
    traces, decisions = [], []
    for n, row in outcomes.items():
        for i, outcome in enumerate(row):
            failed = {"error": "status 500"} if outcome is None else {}
            ended = {"finish_reason": "length"} if outcome == "cut" else {}
            trace = tiny.trace(PROBLEMS[n], author=f"teacher/{name}", sample=i, **failed, **ended)
            traces.append(trace)
            if outcome is not None:
                said = C if outcome == "cut" else outcome
                decisions.append(decide([Verdict(trace_id=trace.id, outcome=said)], "flexible"))
    mark(store, store.folder("generate", name), traces, "traces")
    mark(store, store.folder("verify", name), decisions, "decisions")
    rows = [Complexity(trace_id=t.id, tokenizer="t", metrics={"tokens": 10.0 * (t.sample + 1)}) for t in traces]
    mark(store, store.folder("analyze", name), rows, "complexity")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    mark(store, store.folder("problems"), PROBLEMS, "train")
    return store


def study(**teachers: dict[str, Any]):
    made = {name: {"backend": "scripted", "model": "long", **keys} for name, keys in teachers.items()}
    return tiny.study("lab:s", teachers=made, arms={n: {n: 1} for n in made}, contrasts={})


def test_right_is_correct_and_ended_and_what_is_missing_is_not_wrong(store: Store):
    bought(store, "a", {0: [C, W, E, None], 1: ["cut", C, W, W], 2: [W, W, W, W], 3: [None, E, None, None]})
    (a,) = judged(study(a={"samples": 4}), store)
    ids = [p.id for p in PROBLEMS]
    assert a.rates == {ids[0]: 0.5, ids[1]: 0.25, ids[2]: 0.0}
    assert a.tokens == {ids[0]: [10.0], ids[1]: [20.0]}
    assert a.pass_rate == pytest.approx(0.25)


def test_asking_until_enough_are_right_gets_the_estimate_that_this_needs(store: Store):
    bought(store, "a", {0: [C, W, C], 1: [C, C], 2: [W, W, W, C, C], 3: [W, C, W, W, W]})
    (a,) = judged(study(a={"samples": 1, "until_correct": 2, "max_samples": 5}), store)
    assert [a.rates[p.id] for p in PROBLEMS] == [1 / 2, 1.0, 1 / 4, 1 / 5]


def test_in_a_chain_the_first_verifier_stops_the_buying_and_gives_the_estimate(store: Store):
    traces = [tiny.trace(PROBLEMS[0], author="teacher/a", sample=i) for i in range(3)]
    mark(store, store.folder("generate", "a"), traces, "traces")
    said = [[W, C], [W, W], [C]]
    rows = [
        decide([Verdict(trace_id=t.id, outcome=o) for o in each], "judge") for t, each in zip(traces, said, strict=True)
    ]
    mark(store, store.folder("verify", "a"), rows, "decisions")
    until = {"samples": 1, "until_correct": 1, "max_samples": 5}
    chained = study(a=until).model_copy(update={"verify": Verify(verifier=["signs", "exact"])})
    (a,) = judged(chained, store)
    assert (a.rates, a.tokens) == ({PROBLEMS[0].id: 0.0}, {PROBLEMS[0].id: []}), (
        "the third sample was the first right one"
    )
    (a,) = judged(study(a={"samples": 3}).model_copy(update={"verify": chained.verify}), store)
    assert a.rates == {PROBLEMS[0].id: pytest.approx(2 / 3)}


def test_samples_beyond_those_asked_for_solve_nothing(store: Store):
    bought(store, "a", {0: [W, C], 1: [C, W]})
    (a,) = judged(study(a={"samples": 1}), store)
    assert set(a.tokens) == {PROBLEMS[1].id}


def test_the_steps_of_a_run_start_with_all_training_problems(store: Store):
    bought(store, "a", {0: [C], 1: [C], 2: [C], 3: [W]})
    bought(store, "b", {0: [C], 1: [W], 2: [C]})
    found = steps(study(a={}, b={}), store)
    assert [(s.teachers, s.problems) for s in found] == [([], 4), (["a"], 3), (["a", "b"], 2)]
    assert found[0].levels == {"0": 0.5, "1": 0.5}
    assert found[-1].levels == {"0": 1.0, "1": 0.0}
    assert [s.teachers for s in steps(study(b={}, a={}), store)][1:] == [["b"], ["b", "a"]]


@pytest.mark.parametrize("gone", ["verify/b/done.json", "generate/b/traces.parquet"])
def test_a_teacher_that_is_not_judged_yet_requires_nothing(store: Store, gone: str):
    for name in "ab":
        bought(store, name, {0: [C]})
    (store.root / gone).unlink()
    assert [s.teachers for s in steps(study(a={}, b={}), store)] == [[], ["a"]]


def test_lengths_are_not_known_before_they_are_measured(store: Store):
    bought(store, "a", {0: [C]})
    (store.root / "analyze/a/done.json").unlink()
    last = steps(study(a={}), store)[-1]
    assert (last.problems, last.tokens) == (1, {})


def test_what_the_problems_are_is_what_the_folder_holds(store: Store):
    bought(store, "a", {n: [C] for n in range(4)})
    store.seal(store.folder("problems"), Problem, PROBLEMS[:2], "train")
    (a,) = judged(study(a={}), store)
    assert set(a.tokens) == {p.id for p in PROBLEMS[:2]}
    assert [s.problems for s in steps(study(a={}), store)] == [2, 2]
