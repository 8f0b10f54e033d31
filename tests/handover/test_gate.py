"""The rule by which a student takes the place of its untuned self, with figures worked out by hand."""

from __future__ import annotations

import pytest

from mixdistill.evidence import stats
from mixdistill.handover import gate
from mixdistill.handover.gate import Answers, Level
from mixdistill.store import Store


def answers(right: str, *, finished: float = 1.0, tokens: float = 10.0) -> Answers:
    """`+` solved, `-` not, one problem each."""
    return Answers(
        right={f"p{i}": float(c == "+") for i, c in enumerate(right)}, tokens=tokens, finished=finished, errors=0
    )


BASE, NEW = answers("++++------", tokens=20), answers("+++-++++++")


def test_what_is_forgotten_and_learnt_is_counted_by_level():
    groups = {"easy": {"p0", "p1", "p2", "p3"}, "hard": {f"p{i}" for i in range(4, 10)}}
    assert gate.levels_of(BASE, NEW, groups) == [
        Level(level="all", problems=10, base=0.4, accuracy=0.9, solved=4, forgotten=1, learnt=6),
        Level(level="easy", problems=4, base=1.0, accuracy=0.75, solved=4, forgotten=1, learnt=0),
        Level(level="hard", problems=6, base=0.0, accuracy=1.0, solved=0, forgotten=0, learnt=6),
    ]


def test_of_several_samples_half_must_be_right():
    shares = BASE.model_copy(update={"right": {"a": 0.25, "b": 0.5, "c": 0.75}})
    assert gate.solved(shares) == {"b", "c"}
    assert shares.accuracy == 0.5


def test_the_interval_is_that_of_these_two_checkpoints():
    scored = gate.beside(BASE, NEW, 64)
    paired = stats.gap(stats.paired({0: NEW.right}, {None: BASE.right}))
    assert scored.delta == paired.checkpoints
    assert (scored.problems, scored.base, scored.accuracy) == (10, 0.4, 0.9)
    assert (scored.base_tokens, scored.tokens, scored.max_tokens) == (20, 10, 64)


def test_one_look_leaves_the_interval_as_it_is_and_more_widen_it():
    scored = gate.beside(BASE, NEW, None)
    assert scored.delta
    once, twice = gate.widened(scored, 1), gate.widened(scored, 2)
    assert (once.low, once.high) == pytest.approx((scored.delta.low, scored.delta.high))
    ratio = stats.t_quantile(0.025, 9) / stats.t_quantile(0.05, 9)
    assert 0.5 - twice.low == pytest.approx((0.5 - once.low) * ratio)


def test_of_one_problem_nothing_is_known():
    interval = gate.widened(gate.beside(answers("-"), answers("+"), None), 1)
    assert (interval.low, interval.high) == (-1.0, 1.0)


def test_the_parts_of_the_rule_fail_one_by_one():
    """Each alone, with what is said of it."""
    base = answers("+" * 4 + "-" * 36)
    good, same = answers("+" * 40), answers("+" * 4 + "-" * 36)
    cut, forgetful = answers("+" * 40, finished=0.49), answers("--++" + "+" * 36)

    def holds(new: Answers) -> list[bool]:
        scored = gate.beside(base, new, None)
        whole = gate.levels_of(base, new, {})[0]
        return [h for h, _ in gate.rule(scored, gate.widened(scored, 1), whole, gate.MAY_FORGET)]

    assert holds(good) == [True, True, True]
    assert holds(same) == [False, True, True]
    assert holds(cut) == [True, False, True]
    assert holds(forgetful) == [True, True, False]
    assert holds(answers("+" * 40, tokens=1e6)) == [True, True, True], "length is shown, and not judged"


def test_the_rule_is_said_in_figures():
    scored = gate.beside(BASE, NEW, None)
    whole = gate.levels_of(BASE, NEW, {})[0]
    interval = gate.widened(scored, 1)
    assert gate.rule(scored, interval, whole, 0.25) == [
        (interval.low > 0, f"{'surely' if interval.low > 0 else 'not surely'} better: "
         f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f} points"),
        (True, "100% of its answers end by themselves within the cap (at least 50%)"),
        (True, "forgot 1 of 4 problems that base solves, 25% (at most 25%)"),
    ]  # fmt: skip


def test_every_further_candidate_is_a_look_and_the_same_one_is_not(tmp_path):
    store, look = Store(tmp_path), {"student": "s", "arm": "mix", "weights": "w", "max_tokens": None, "gate": "g"}
    assert [gate.looked(store, look), gate.looked(store, {**look, "when": "later"})] == [1, 1]
    assert gate.looked(store, {**look, "arm": "long", "weights": "v"}) == 2
    assert gate.looked(store, {**look, "max_tokens": 64}) == 3
    assert gate.looked(store, {**look, "student": "other"}) == 1
    assert gate.looked(store, {**look, "gate": "new problems"}) == 1
    assert gate.looked(store, look) == 3


def test_luck_passes_no_more_often_than_it_may():
    """Of students that are no better than base, the share that passes is at most 2.5 % (the interval's upper half)."""
    import numpy as np

    rng, passed, rounds = np.random.default_rng(0), 0, 2000
    for _ in range(rounds):
        right = rng.random((2, 200)) < 0.5
        base, new = (
            Answers(right=dict(zip(map(str, range(200)), map(float, r), strict=True)), tokens=1, finished=1, errors=0)
            for r in right
        )
        passed += gate.widened(gate.beside(base, new, None), 1).low > 0
    assert passed / rounds < 0.025 + 3 * (0.025 * 0.975 / rounds) ** 0.5
