"""How answers ended is counted once per answer, and its shares and means carry intervals."""

from __future__ import annotations

import pytest

import tiny
from mixdistill.evidence.ended import ended
from mixdistill.store import Store
from mixdistill.types import Outcome, Score, Trace, Usage
from mixdistill.units import Extent, Unit, plan


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    model = tiny.student(tmp_path_factory.mktemp("student"))
    study = tiny.study(model, evaluate={"caps": [8], "k": 2, "sampling": {"temperature": 1.0, "max_tokens": 12}})
    store, _ = tiny.run(study, tmp_path_factory.mktemp("run"), *STAGES)
    return ended(store, [unit for unit, _ in plan(study, store, "evaluate")])


STAGES = ("generate", "verify", "analyze", "mix", "train", "evaluate")


def test_counts_add_up_to_every_answer_of_every_seed(rows) -> None:
    assert {(r.arm, r.max_tokens): (r.answers, r.seeds, r.problems) for r in rows} == {
        (arm, cap): (20 * seeds, seeds, 10)
        for arm, seeds in (("base", 1), ("long", 2), ("short", 2))
        for cap in (None, 8)
    }
    assert all(sum(r.counts.values()) == r.answers and set(r.counts) == set(Outcome) for r in rows)


def test_shares_and_means_lie_inside_of_their_intervals(rows) -> None:
    for row in rows:
        assert row.finished_interval.low <= row.finished <= row.finished_interval.high
        assert row.tokens_interval.low <= row.tokens <= row.tokens_interval.high


def test_a_cap_shortens_answers_and_finishes_no_more_of_them(rows) -> None:
    at = {(r.arm, r.max_tokens): r for r in rows}
    for arm in ("base", "long", "short"):
        assert at[arm, 8].tokens <= min(8, at[arm, None].tokens)
        assert at[arm, 8].finished <= at[arm, None].finished


def test_a_request_that_failed_did_not_finish_and_has_no_length(tmp_path) -> None:
    """Half of the requests failed, the other half ended by themselves after 7 tokens."""
    store, problems, key = Store(tmp_path), [tiny.problem(f"Q {i}") for i in range(40)], ("t", "base", "signs")
    lost = {"error": "status 500", "finish_reason": "unknown"}
    traces = [
        tiny.trace(p, author="student/t/base", **(lost if i % 2 else {"usage": Usage(completion_tokens=7)}))
        for i, p in enumerate(problems)
    ]
    score = Score(
        student="t", arm="base", seed=None, benchmark="signs", group="all", verifier="signs", k=1, max_tokens=None,
        correct=20, incorrect=0, no_answer=0, truncated=0, error=20, examples=40, finished=20, mean_completion_tokens=7,
    )  # fmt: skip
    store.seal(store.folder("evaluate", *key), Trace, traces, "traces")
    store.seal(store.folder("evaluate", *key), Score, [score], "scores")
    wanted = Extent("student/t/base", tuple(p.id for p in problems), 1)
    (row,) = ended(store, [Unit("evaluate", key, {}, wanted=wanted)])
    assert row.finished == 0.5
    assert (row.finished_interval.low, row.finished_interval.high) == pytest.approx((0.34, 0.66), abs=0.01)
    assert (row.tokens, row.tokens_interval.low, row.tokens_interval.high) == (7, 7, 7)
