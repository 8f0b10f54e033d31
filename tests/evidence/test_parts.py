"""A gap is the sum of what its parts make of it, each held against the other arm problem by problem, seed by seed."""

from __future__ import annotations

import random
from typing import Any

import pytest

import tiny
from mixdistill.evidence import stats
from mixdistill.evidence.details import GapPart
from mixdistill.evidence.gaps import gaps
from mixdistill.evidence.parts import PARTS, failures, parts
from mixdistill.evidence.readings import read
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Trace, trace_id
from mixdistill.units import Extent, Unit

PROBLEM = [tiny.problem(f"What is {i}?") for i in range(100)]
RIGHT, WRONG, NONE, CUT, ERROR = (
    Outcome.CORRECT, Outcome.INCORRECT, Outcome.NO_ANSWER, Outcome.TRUNCATED, Outcome.ERROR,
)  # fmt: skip
Read = tuple[Outcome, Outcome, Outcome]
"""Of one answer: strict, flexible, judge."""
SOLVED: Read = (RIGHT, RIGHT, RIGHT)


def all_read(outcome: Outcome) -> Read:
    return outcome, outcome, outcome


def evaluated(
    store: Store, cell: str, answers: list[Read], *, rule: str = "flexible", samples: int = 1, cap: int | None = None
) -> Unit:
    """A finished evaluation: `samples` answers of each problem, one problem after the other."""
    key, author = ("t", *cell.split("/"), "signs"), f"student/t/{cell}"
    folder = store.folder("evaluate", *key)
    order = [(p, i) for p in PROBLEM[: len(answers) // samples] for i in range(samples)]
    traces = [tiny.trace(p, author=author, sample=i) for p, i in order]
    counts = ("strict", "flexible", "judge").index(rule)
    rows = [
        Decision(trace_id=t.id, max_tokens=at, outcome=o[counts], strict=o[0], flexible=o[1], judge=o[2])
        for at in dict.fromkeys([None, cap])
        for t, o in zip(traces, answers, strict=True)
    ]
    store.seal(folder, Trace, traces, "traces")
    store.seal(folder, Decision, rows, "decisions")
    wanted = Extent(author, tuple(p.id for p in PROBLEM[: len(answers) // samples]), samples)
    return Unit(stage="evaluate", key=key, options={}, inputs={}, wanted=wanted)


def study(rule: str | None = None, **evaluate: Any) -> Recipe:
    chain = {"verifier": ["signs", "exact"]} if rule == "judge" else {"verifier": "signs"}
    return tiny.study(
        "some/model",
        verify={**chain, "rule": rule},
        evaluate={"caps": [], **evaluate},
        budget={"unit": "examples", "per_update": 8},
    )


def taken_apart(recipe: Recipe, store: Store, done: list[Unit]) -> list[GapPart]:
    levels = {"signs": {"all": {p.id for p in PROBLEM}}}
    correct = {u.key: 1 for u in done}
    assert len(correct) == len(done)
    found, *_ = gaps(recipe, read(recipe, store, done).correct, levels).values()
    return parts(store, done, found)


def one(rows: list[GapPart], part: str, name: str = "long_cot_gap", cap: int | None = None) -> GapPart:
    (row,) = [r for r in rows if (r.name, r.part, r.max_tokens) == (name, part, cap)]
    return row


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


@pytest.mark.parametrize(
    ("rule", "answer", "part"),
    [
        ("flexible", (NONE, WRONG, WRONG), "cannot solve"),
        ("flexible", (CUT, WRONG, WRONG), "cannot solve"),  # cut, and then what was found is wrong
        ("flexible", (NONE, NONE, NONE), "not extracted"),
        ("flexible", (CUT, CUT, CUT), "does not stop"),
        ("flexible", (WRONG, WRONG, RIGHT), "not extracted"),  # only the judge sees that it is right
        ("flexible", (NONE, NONE, RIGHT), "not extracted"),
        ("flexible", (ERROR, ERROR, ERROR), "error"),
        ("flexible", (ERROR, ERROR, RIGHT), "error"),
        ("strict", (NONE, RIGHT, RIGHT), "not extracted"),
        ("strict", (NONE, WRONG, WRONG), "not extracted"),  # no answer is marked, whatever stands there
        ("strict", (CUT, RIGHT, RIGHT), "does not stop"),
        ("judge", (WRONG, WRONG, WRONG), "cannot solve"),
        ("judge", (RIGHT, RIGHT, ERROR), "error"),
    ],
)
def test_an_answer_that_does_not_count_is_in_one_part(store, rule, answer, part):
    done = [
        evaluated(store, "long/0", [answer] * 4 + [SOLVED] * 4, rule=rule),
        evaluated(store, "short/0", [SOLVED] * 8, rule=rule),
    ]
    rows = taken_apart(study(rule), store, done)
    assert {r.part: r.delta for r in rows} == {**dict.fromkeys(PARTS, 0), part: -0.5}
    assert one(rows, part).rates == (0.5, 0)


def some(rng: random.Random, n: int) -> list[Read]:
    """Answers of every kind, as a verifier could read them."""
    kinds = [SOLVED, (NONE, RIGHT, RIGHT), (CUT, RIGHT, RIGHT), (NONE, WRONG, RIGHT), *map(all_read, Outcome)]
    return [rng.choice(kinds) for _ in range(n)]


@pytest.mark.parametrize("rule", ["strict", "flexible", "judge"])
def test_the_parts_of_every_gap_add_up_to_it_at_every_cap(store, rule):
    rng, recipe = random.Random(rule), study(rule, k=3, caps=[8])
    cells = ["base", "long/0", "long/1", "long/2", "short/0", "short/1", "short/2"]
    done = [evaluated(store, cell, some(rng, 120), rule=rule, samples=3, cap=8) for cell in cells]
    levels = {"signs": {"all": {p.id for p in PROBLEM}}}
    found, *_ = gaps(recipe, read(recipe, store, done).correct, levels).values()
    rows = parts(store, done, found)
    assert len(found) == 2 * 3
    assert len(rows) == 4 * len(found)
    for gap in found:
        mine = [r for r in rows if (r.name, r.max_tokens, r.arms) == (gap.name, gap.max_tokens, gap.arms)]
        assert [r.part for r in mine] == list(PARTS)
        assert sum(r.delta for r in mine) == pytest.approx(gap.delta, abs=1e-12)
        for r in mine:
            assert r.rates[1] - r.rates[0] == pytest.approx(r.delta, abs=1e-12)
            assert (r.seeds, r.problems) == (gap.seeds, gap.problems)
        for i, accuracy in enumerate(gap.accuracies):
            assert sum(r.rates[i] for r in mine) == pytest.approx(1 - accuracy, abs=1e-12)


def test_the_parts_of_a_blend_are_against_the_pure_arm_that_decides(store):
    arms = {"arms": {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.5, "short": 0.5}}}
    recipe = tiny.study("some/model", **arms, contrasts={"mix_gain": ["mix", "each_pure"]}, evaluate={"caps": []})
    right = {"mix": 6, "long": 3, "short": 5}
    done = [
        evaluated(store, f"{arm}/{seed}", [SOLVED] * n + [all_read(CUT)] * (8 - n))
        for arm, n in right.items()
        for seed in (0, 1)
    ]
    row = one(taken_apart(recipe, store, done), "does not stop", "mix_gain")
    assert (row.arms, row.delta) == (("mix", "short"), 1 / 8)


def test_intervals_are_those_of_paired_differences_over_problems_and_seeds(store):
    rng = random.Random(1)
    answers = {c: some(rng, 100) for c in ("long/0", "long/1", "short/0", "short/1")}
    rows = taken_apart(study(), store, [evaluated(store, c, a) for c, a in answers.items()])
    cut = {
        arm: {
            s: {p.id: float(a[1] is CUT) for p, a in zip(PROBLEM, answers[f"{arm}/{s}"], strict=True)} for s in (0, 1)
        }
        for arm in ("long", "short")
    }
    expected = stats.gap(stats.paired(cut["short"], cut["long"]))
    row = one(rows, "does not stop")
    assert (row.delta, row.checkpoints, row.data) == (expected.delta, expected.checkpoints, expected.data)


def test_one_seed_gives_these_checkpoints_alone(store):
    done = [
        evaluated(store, "long/0", [all_read(CUT)] * 8 + [SOLVED] * 4),
        evaluated(store, "short/0", [SOLVED] * 12),
    ]
    row = one(taken_apart(study(), store, done), "does not stop")
    assert (row.delta, row.seeds, row.data) == (pytest.approx(-8 / 12), 1, None)
    assert row.checkpoints is not None
    assert row.checkpoints.high < 0


def test_a_part_is_most_of_a_gap_only_where_it_is_more_than_the_others_together_beyond_noise(store):
    def most(cut: int, wrong: int, of: int = 100) -> set[str]:
        failed = [all_read(CUT)] * cut + [all_read(WRONG)] * wrong
        done = [evaluated(store, f"long/{s}", [*failed, *[SOLVED] * (of - len(failed))]) for s in (0, 1)]
        done += [evaluated(store, f"short/{s}", [SOLVED] * of) for s in (0, 1)]
        return {r.part for r in taken_apart(study(), store, done) if r.most}

    assert most(cut=50, wrong=5) == {"does not stop"}
    assert not most(cut=30, wrong=25), "more of it, but not surely"
    assert not most(cut=0, wrong=1), "the gap itself may be zero"
    assert not most(cut=50, wrong=5, of=99), "too few problems to decide anything"


def test_parts_that_cancel_out_are_clear_though_the_gap_is_not(store):
    long = [all_read(CUT)] * 20 + [SOLVED] * 20
    short = [SOLVED] * 20 + [all_read(WRONG)] * 20
    done = [evaluated(store, f"long/{s}", long) for s in (0, 1)] + [
        evaluated(store, f"short/{s}", short) for s in (0, 1)
    ]
    rows = taken_apart(study(), store, done)
    found = {r.part: r for r in rows if any(r.rates)}
    assert {part: r.delta for part, r in found.items()} == {"cannot solve": 0.5, "does not stop": -0.5}
    for row in found.values():
        assert row.data is not None
        assert not row.data.low <= 0 <= row.data.high
    assert not any(r.most for r in rows)


def test_a_trace_without_a_decision_is_an_error(store):
    done = [evaluated(store, "long/0", [SOLVED] * 4), evaluated(store, "short/0", [SOLVED] * 4)]
    folder = store.folder("evaluate", "t", "long", "0", "signs")
    lost = trace_id("student/t/long/0", PROBLEM[2].id, 0)
    decisions = [d for d in store.read(folder, Decision, "decisions") if d.trace_id != lost]
    store.seal(folder, Decision, decisions, "decisions")
    row = one(taken_apart(study(), store, done), "error")
    assert (row.delta, row.rates) == (-0.25, (0.25, 0))


def test_answers_that_are_no_longer_wanted_are_in_no_part(store):
    long = evaluated(store, "long/0", [SOLVED, all_read(CUT)] * 4, samples=2)
    done = [
        Unit(stage="evaluate", key=long.key, options={}, wanted=Extent(long.wanted.author, long.wanted.problems, 1)),
        evaluated(store, "short/0", [SOLVED] * 4),
    ]
    rows = taken_apart(study(), store, done)
    assert {r.rates for r in rows} == {(0, 0)}


def test_problems_that_are_no_longer_wanted_are_in_no_part(store):
    long = evaluated(store, "long/0", [SOLVED] * 4 + [all_read(CUT)] * 4)
    fewer = Extent(long.wanted.author, long.wanted.problems[:4], 1)
    done = [Unit(stage="evaluate", key=long.key, options={}, wanted=fewer), evaluated(store, "short/0", [SOLVED] * 4)]
    found = failures(store, done)
    assert found["t", "long", "signs", None]["does not stop"][0] == {p.id: 0 for p in PROBLEM[:4]}


def test_rates_are_over_the_seeds_that_the_gap_is_over(store):
    done = [
        evaluated(store, "base", [all_read(CUT)] * 2 + [SOLVED] * 6),
        evaluated(store, "long/0", [all_read(CUT)] * 4 + [SOLVED] * 4),
        evaluated(store, "long/1", [SOLVED] * 8),
        evaluated(store, "short/0", [SOLVED] * 8),
    ]
    rows = taken_apart(study(), store, done)
    assert one(rows, "does not stop").rates == (0.5, 0)
    assert one(rows, "does not stop", "long_over_base").rates == (0.25, 0.25)
