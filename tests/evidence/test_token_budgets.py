"""Accuracy by how much may be written, and the gap among what both arms finished: exact on planted answers."""

import pytest

import tiny
from mixdistill import evaluate
from mixdistill.evidence.gaps import gaps
from mixdistill.evidence.token_budgets import budget_points, finished_gaps
from mixdistill.store import Store
from mixdistill.types import Decision, Forced, Outcome, Problem, Trace, Usage
from mixdistill.units import Extent, Unit

PROBLEMS = [tiny.problem(f"Q {i} T 5 :") for i in range(10)]
STUDY = tiny.study("m", evaluate={"forced": True, "thinking": [0], "sampling": {"temperature": 0, "max_tokens": 24}})
"""One cap, 8, and the limit, 24."""


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path)
    folder = store.folder("problems")
    store.mark(folder, {"tables": {"signs": store.seal(folder, Problem, PROBLEMS, "signs")}})
    return store


def answer(
    store: Store,
    cell: str,
    right: set[int],
    *,
    ended: set[int],
    short: set[int],
    early: set[int],
    k: int = 1,
    failed: frozenset[int] = frozenset(),
    told: bool = True,
) -> Unit:
    """An evaluation: which problems it got right in full, which answers ended by themselves, which of them within the
    cap of 8 tokens, and which answers were right when asked for early. `k` samples, all the same. The requests of
    `failed` failed; not `told`: they have no row of an answer asked for early."""
    author, folder = f"student/t/{cell}", store.folder("evaluate", "t", *cell.split("/"), "signs")
    traces, decisions, forced = [], [], []
    for i, p in enumerate(PROBLEMS):
        for sample in range(k):
            tokens = 5 if i in short else 20
            fields = {"usage": Usage(completion_tokens=tokens), "finish_reason": "stop" if i in ended else "length"}
            if i in failed:
                trace = tiny.trace(p, author=author, sample=sample, finish_reason="unknown", error="boom")
                traces.append(trace)
                row = {"trace_id": trace.id, "problem_id": p.id, "sample": sample, "answer_id": None, "tokens": 0}
                at_points = (("forced", 8.0), ("thinking", 0.0)) if told else ()
                forced += [Forced(**row, kind=kind, at=at, outcome=Outcome.ERROR) for kind, at in at_points]
                continue
            trace = tiny.trace(p, author=author, sample=sample, **fields)
            traces.append(trace)
            for cap in (None, 8):
                good = i in right and (cap is None or i in short)
                o = Outcome.CORRECT if good else Outcome.TRUNCATED
                decisions.append(Decision(trace_id=trace.id, max_tokens=cap, outcome=o, strict=o, flexible=o, judge=o))
            for kind, at in (("forced", 8.0), ("thinking", 0.0)):
                stands = kind == "forced" and i in short and i in ended
                outcome = Outcome.CORRECT if (i in right if stands else i in early) else Outcome.INCORRECT
                row = {"trace_id": trace.id, "problem_id": p.id, "sample": sample, "kind": kind, "at": at}
                extra = {"answer_id": None if stands else "x", "tokens": 5 if stands else 10}
                forced.append(Forced(**row, **extra, outcome=outcome))
    for name, kind, rows in (("traces", Trace, traces), ("decisions", Decision, decisions), ("forced", Forced, forced)):
        store.seal(folder, kind, rows, name)
    store.mark(folder, {"tables": {}, "facts": {}})
    wanted = Extent(author, tuple(p.id for p in PROBLEMS), k)
    return Unit(stage="evaluate", key=("t", *cell.split("/"), "signs"), options={}, wanted=wanted, table="traces")


def test_what_was_written_by_then_and_what_was_known(store):
    unit = answer(store, "base", set(range(6)), ended=set(range(8)), short={0, 1, 2}, early={5, 6, 7, 8})
    points = {(p.kind, p.at): p for p in budget_points(STUDY, store, [unit])}
    assert list(points) == [("cut", 8.0), ("cut", 24.0), ("forced", 8.0), ("thinking", 0.0)]
    assert {k: round(p.mean, 6) for k, p in points.items()} == {
        ("cut", 8.0): 0.3,
        ("cut", 24.0): 0.6,
        ("forced", 8.0): 0.7,  # three stand and are right; 5, 6, 7 and 8 knew it
        ("thinking", 0.0): 0.4,
    }
    assert {k: round(p.finished, 6) for k, p in points.items()} == {
        ("cut", 8.0): 0.3,
        ("cut", 24.0): 0.8,
        ("forced", 8.0): 0.3,
        ("thinking", 0.0): 0.0,
    }
    assert points["cut", 8.0].tokens == (3 * 5 + 7 * 8) / 10
    assert points["forced", 8.0].tokens == (3 * 5 + 7 * 10) / 10
    for point in points.values():
        assert (point.seeds, point.problems, point.data) == (1, 10, None)
        assert point.checkpoints.low <= point.mean <= point.checkpoints.high
        assert point.finished_interval.low <= point.finished <= point.finished_interval.high


def test_seeds_give_the_interval_for_this_data_and_samples_none(store):
    some = {"ended": set(range(8)), "short": {0, 1}, "early": set()}
    units = [answer(store, f"long/{s}", set(range(4 + s)), **some, k=3) for s in (0, 1)]
    point = next(p for p in budget_points(STUDY, store, units) if (p.kind, p.at) == ("cut", 24.0))
    assert (point.mean, point.seeds, point.problems) == (pytest.approx(0.45), 2, 10)
    assert point.data.low < 0.45 < point.data.high


@pytest.mark.parametrize("told", [True, False])
def test_a_request_that_failed_is_wrong_at_every_point_unfinished_and_without_a_length(store, told):
    everything = set(range(10))
    some = {"ended": everything, "short": {0, 1, 2, 3}, "early": everything, "failed": frozenset({0, 9}), "told": told}
    found = budget_points(STUDY, store, [answer(store, "base", everything, **some)])
    assert {(p.kind, p.at): (p.mean, p.finished, p.tokens, p.problems) for p in found} == {
        ("cut", 8.0): (0.3, 0.3, (3 * 5 + 5 * 8) / 8, 10),
        ("cut", 24.0): (0.8, 0.8, (3 * 5 + 5 * 20) / 8, 10),
        ("forced", 8.0): (0.8, 0.3, (3 * 5 + 5 * 10) / 8, 10),
        ("thinking", 0.0): (0.8, 0.0, 10, 10),
    }


def test_without_early_answers_there_are_prefixes_alone(store):
    unit = answer(store, "base", {1}, ended={1}, short={1}, early=set())
    plain = tiny.study("m")
    assert [(p.kind, p.at) for p in budget_points(plain, store, [unit])] == [("cut", 8.0), ("cut", 24.0)]


def test_seeds_are_one_point_where_nothing_says_the_limit_and_their_longest_answers_differ(store):
    everything = set(range(10))
    units = [
        answer(store, "long/0", {1}, ended=everything, short=everything, early=set()),
        answer(store, "long/1", {1}, ended=everything, short={1}, early=set()),
    ]
    plain = tiny.study("m", evaluate={"sampling": {"max_tokens": None}})
    points = [(p.kind, p.at, p.seeds) for p in budget_points(plain, store, units)]
    assert points == [("cut", 8.0, 2), ("cut", 20.0, 2)]


def _correct(*cells: tuple[str, int | None, set[int]]) -> dict:
    shares = {(arm, seed): {p.id: float(i in right) for i, p in enumerate(PROBLEMS)} for arm, seed, right in cells}
    return {("t", arm, seed, "signs"): {None: by, 8: by} for (arm, seed), by in shares.items()}


def test_a_gap_among_the_finished_is_over_what_both_arms_finished_in_every_seed(store):
    none = {"short": set(), "early": set()}
    units = [
        answer(store, "long/0", {0, 1, 2}, ended={0, 1, 2, 3, 4}, **none),
        answer(store, "long/1", {0, 1, 2}, ended={0, 1, 2, 3, 9}, **none),
        answer(store, "short/0", {0, 8}, ended=set(range(10)), **none),
        answer(store, "short/1", {0, 8}, ended=set(range(1, 10)), **none),
    ]
    correct = _correct(*(("long", s, {0, 1, 2}) for s in (0, 1)), *(("short", s, {0, 8}) for s in (0, 1)))
    (row,) = finished_gaps(STUDY, store, units, correct, [])
    assert (row.name, row.arms, row.max_tokens) == ("long_cot_gap", ("long", "short"), None)
    assert (row.problems, row.of, row.seeds) == (3, 10, 2)  # 1, 2 and 3
    assert row.delta == pytest.approx(2 / 3)
    assert row.data.low <= row.delta <= row.data.high


def test_a_base_is_held_against_every_seed_and_a_cap_at_which_nothing_is_common_has_no_row(store):
    units = [
        answer(store, "base", {0}, ended={0, 1, 2}, short={0}, early=set()),
        answer(store, "long/0", {0, 1}, ended={0, 1}, short={1}, early=set()),
        answer(store, "long/1", {0, 1}, ended={0, 1, 2}, short={1}, early=set()),
    ]
    correct = _correct(("base", None, {0}), ("long", 0, {0, 1}), ("long", 1, {0, 1}))
    (row,) = finished_gaps(STUDY, store, units, correct, [])
    assert (row.name, row.arms, row.max_tokens, row.problems, row.seeds) == (
        "long_over_base", ("long", "base"), None, 2, 2,
    )  # fmt: skip
    assert row.delta == 0.5


def test_an_arm_is_held_against_the_untuned_student_as_it_is_asked_in_the_gap_of_that_arm(store):
    """The best of its ways, which may be another one at a cap, for contrasts with it by name as well."""
    study = STUDY.model_copy(update={"contrasts": {"over": ("long", "base")}})
    everything = {"ended": set(range(10)), "short": set(range(10)), "early": set()}
    units = [answer(store, cell, set(), **everything) for cell in ("base", "base+thinking", "long/0", "long/1")]
    correct = _correct(("base", None, {0}), ("base+thinking", None, {0, 1, 2}), *(("long", s, {0, 1}) for s in (0, 1)))
    correct["t", "base", None, "signs"][8] = {p.id: 1.0 for p in PROBLEMS}
    levels = {"signs": {"all": {p.id for p in PROBLEMS}}}
    found = next(iter(gaps(study, {"flexible": correct}, levels).values()))
    rows = finished_gaps(study, store, units, correct, found)
    assert {(r.name, r.max_tokens): (r.arms, round(r.delta, 6)) for r in rows} == {
        (name, cap): (("long", base), delta)
        for name in ("over", "long_over_base")
        for cap, base, delta in ((None, "base+thinking", -0.1), (8, "base", -0.8))
    }
    assert {(g.name, g.max_tokens, g.arms) for g in found} <= {(r.name, r.max_tokens, r.arms) for r in rows}


def test_all_of_it_stands_in_the_evidence_of_a_run(tmp_path):
    from mixdistill.evidence.gather import gather

    study = tiny.study(
        tiny.student(tmp_path / "student"),
        seeds=1,
        arms={"short": {"short": 1}},
        contrasts={"over": ["short", "base"]},
        budget={"also": []},
        evaluate={"forced": True, "thinking": [0, 1], "force_tokens": 4},
    )
    root = tmp_path / "run"
    store, _ = tiny.run(study, root, "generate", "verify", "analyze", "mix", "train", "evaluate")
    assert evaluate.units(study, store)
    points = gather(study, store).details.budget_points
    assert {(p.arm, p.kind, p.at) for p in points} == {
        (arm, kind, at)
        for arm in ("base", "short")
        for kind, at in (("cut", 8.0), ("cut", 24.0), ("forced", 8.0), ("thinking", 0.0), ("thinking", 1.0))
    }
    assert {(p.problems, p.seeds) for p in points} == {(10, 1)}
