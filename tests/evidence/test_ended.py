"""How answers ended is counted once per answer, and its shares and means carry intervals."""

from __future__ import annotations

import pytest

import tiny
from mixdistill.evidence.ended import ended
from mixdistill.types import Outcome
from mixdistill.units import plan


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
