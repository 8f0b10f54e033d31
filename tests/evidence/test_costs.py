"""What 1,000 answers of an arm take, from what its own answers took."""

from __future__ import annotations

from typing import Any

import pytest

import tiny
from mixdistill.evidence.costs import costs
from mixdistill.evidence.ratios import ratio
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Trace, Usage
from mixdistill.units import Extent, Unit

PROBLEM = [tiny.problem(f"What is {i}?") for i in range(4)]
HERE = {"device": "cpu", "batch size": 64}
SERVED = {"device": "gpu", "sampled by": "vllm"}


def evaluated(
    store: Store, cell: str, tokens: list[int | None], right: set[int], *, sampled: Any = (HERE,), samples: int = 1
) -> Unit:
    """A finished evaluation whose answers took so many tokens, None for a request that failed, and a second for 10."""
    key, author = ("t", *cell.split("/"), "signs"), f"student/t/{cell}"
    folder = store.folder("evaluate", *key)
    order = [(p, i) for p in PROBLEM[: len(tokens) // samples] for i in range(samples)]
    traces = [
        tiny.trace(
            p,
            author=author,
            sample=i,
            **({"error": "no answer"} if n is None else {"usage": Usage(completion_tokens=n), "seconds": n / 10}),
        )
        for (p, i), n in zip(order, tokens, strict=True)
    ]
    said = [Outcome.CORRECT if i in right else Outcome.INCORRECT for i in range(len(tokens))]
    rows = [
        Decision(trace_id=t.id, max_tokens=cap, outcome=o, strict=o, flexible=o, judge=o)
        for cap, outcomes in ((None, said), (8, [Outcome.TRUNCATED] * len(said)))
        for t, o in zip(traces, outcomes, strict=True)
        if t.error is None
    ]
    tables = {"traces": store.seal(folder, Trace, traces, "traces")}
    tables["decisions"] = store.seal(folder, Decision, rows, "decisions")
    store.mark(folder, {"tables": tables, "facts": {"sampled": list(sampled)}})
    wanted = Extent(author, tuple(p.id for p in PROBLEM[: len(tokens) // samples]), samples)
    return Unit(stage="evaluate", key=key, options={}, wanted=wanted)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def test_cost_is_over_all_seeds_of_an_arm_with_problems_resampled(store):
    done = [
        evaluated(store, "base", [10, 10, 20, 20], {0}),
        evaluated(store, "long/0", [100, 200, 300, 400], {0, 1}),
        evaluated(store, "long/1", [140, 160, 380, 320], {1, 2}),
    ]
    base, long = costs(store, done)
    assert (base.arm, base.seeds, base.answers, base.problems) == ("base", 0, 4, 4)
    assert (base.tokens, base.tokens_per_correct) == (15_000, 60)
    assert (long.student, long.arm, long.benchmark) == ("t", "long", "signs")
    assert (long.seeds, long.answers, long.problems) == (2, 8, 4)
    assert (long.tokens, long.interval) == ratio([240_000, 360_000, 680_000, 720_000], [2] * 4)
    assert long.tokens == 250_000
    assert (long.tokens_per_correct, long.correct_interval) == ratio([240, 360, 680, 720], [1, 2, 1, 0])
    assert long.tokens_per_correct == 500
    assert (long.seconds, long.seconds_interval) == ratio([24_000, 36_000, 68_000, 72_000], [2] * 4)


def test_failed_request_took_nothing_and_is_no_answer(store):
    (row,) = costs(store, [evaluated(store, "long/0", [100, None, 300, 400], {0})])
    assert (row.answers, row.problems, row.tokens) == (3, 3, pytest.approx(800_000 / 3))


@pytest.mark.parametrize("sampled", [(SERVED,), (HERE, SERVED), ()])
def test_seconds_of_requests_that_shared_their_time_are_not_added_up(store, sampled):
    (row,) = costs(store, [evaluated(store, "long/0", [100, 200], {0}, sampled=sampled)])
    assert (row.tokens, row.seconds, row.seconds_interval) == (150_000, None, None)


def test_where_none_is_right_no_right_answer_has_a_price(store):
    (row,) = costs(store, [evaluated(store, "long/0", [100, 200], set())])
    assert (row.tokens_per_correct, row.correct_interval) == (None, None)
    assert row.interval is not None


def test_samples_that_are_no_longer_wanted_cost_nothing(store):
    unit = evaluated(store, "long/0", [100, 900, 200, 900], {0}, samples=2)
    fewer = Unit(stage="evaluate", key=unit.key, options={}, wanted=Extent("", unit.wanted.problems, 1))
    (row,) = costs(store, [fewer])
    assert (row.answers, row.tokens) == (2, 150_000)


def test_evaluation_in_which_every_request_failed_has_no_row(store):
    assert costs(store, [evaluated(store, "long/0", [None, None], set())]) == []
