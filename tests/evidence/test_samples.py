"""Loops, avg@k and pass@k on planted answers."""

import pytest

import tiny
from mixdistill.evidence.samples import looped, pass_at
from mixdistill.store import Store
from mixdistill.types import Looped, Trace
from mixdistill.units import Extent, Unit

PROBLEMS = [tiny.problem(f"Q {i} T 5 :") for i in range(8)]


def unit(cell: str, k: int) -> Unit:
    author, key = f"student/t/{cell}", ("t", *cell.split("/"), "signs")
    return Unit("evaluate", key, {}, wanted=Extent(author, tuple(p.id for p in PROBLEMS), k), table="traces")


def answered(store: Store, cell: str, loops: set[tuple[int, int]], k: int = 2) -> Unit:
    """An evaluation in which these (problem, sample) end in a loop."""
    found = unit(cell, k)
    folder = store.folder("evaluate", *found.key)
    traces = [tiny.trace(p, author=found.wanted.author, sample=s) for p in PROBLEMS for s in range(k)]
    rows = [
        Looped(trace_id=t.id, problem_id=t.problem_id, sample=t.sample, unit="x", times=9)
        for i, t in enumerate(traces)
        if (i // k, i % k) in loops
    ]
    store.seal(folder, Trace, traces, "traces")
    store.seal(folder, Looped, rows, "loops")
    return found


def test_loops_are_counted_over_seeds_with_an_interval(tmp_path):
    store = Store(tmp_path)
    units = [
        answered(store, "long/0", {(0, 0), (0, 1), (3, 1)}),
        answered(store, "long/1", {(0, 0)}),
        answered(store, "base", set()),
    ]
    long, base = looped(store, units)
    assert (long.arm, long.answers, long.looped, long.share) == ("long", 32, 4, pytest.approx(4 / 32))
    assert (long.seeds, long.problems) == (2, 8)
    assert long.interval.low < 4 / 32 < long.interval.high
    assert (base.looped, base.share, base.interval.low, base.seeds) == (0, 0.0, 0.0, 1)
    assert base.interval.high > 0.2, "none of eight problems is no proof of never"


def test_traces_beyond_those_that_count_are_not_counted(tmp_path):
    store = Store(tmp_path)
    answered(store, "base", {(0, 0), (0, 1), (0, 3)}, k=4)
    (row,) = looped(store, [unit("base", 2)])
    assert (row.answers, row.looped) == (16, 2)


def shares(*right: int, k: int) -> dict[str, float]:
    return {p.id: c / k for p, c in zip(PROBLEMS, right, strict=True)}


def test_pass_at_k_is_unbiased_in_each_problem(tmp_path):
    right = shares(0, 1, 2, 3, 4, 5, 0, 5, k=5)
    rows = {r.k: r for r in pass_at([unit("base", 5)], {("t", "base", None, "signs"): {None: right, 8: {}}})}
    assert list(rows) == [1, 2, 4, 5]
    assert rows[1].mean == pytest.approx(20 / 40)  # avg@5
    # 1 - C(5 - c, 2) / C(5, 2), by c: 0, .4, .7, .9, 1, 1, 0, 1
    assert rows[2].mean == pytest.approx(5.0 / 8)
    assert rows[4].mean == pytest.approx((0.8 + 5) / 8)
    assert rows[5].mean == pytest.approx(6 / 8)
    assert {(r.samples, r.seeds, r.problems, r.data) for r in rows.values()} == {(5, 1, 8, None)}
    assert rows[2].checkpoints.low < 5.0 / 8 < rows[2].checkpoints.high


def test_seeds_are_averaged_and_one_sample_gives_no_row(tmp_path):
    cells = {("t", "long", s, "signs"): {None: shares(*([s + 1] * 8), k=2)} for s in (0, 1)}
    first, second = pass_at([unit("long/0", 2), unit("long/1", 2)], cells)
    assert (first.k, first.mean, second.k, second.mean, second.seeds) == (1, 0.75, 2, 1.0, 2)
    assert first.data.low < 0.75 < first.data.high
    assert pass_at([unit("long/0", 1)], cells) == []
