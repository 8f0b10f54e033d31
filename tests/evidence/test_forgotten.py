"""What was forgotten: arms against the untuned student on guards, which no gap is about."""

from __future__ import annotations

from typing import Any

import pytest

import tiny
from mixdistill.evidence.details import Forgotten
from mixdistill.evidence.forgotten import forgotten
from mixdistill.evidence.gaps import Cells, accuracies, gaps
from mixdistill.recipe import Recipe

IDS = [f"p{i:03}" for i in range(40)]
RIGHT = {("base", None): 30, ("long", 0): 20, ("long", 1): 22, ("short", 0): 30, ("short", 1): 29}
"""(arm, seed) -> how many problems of the guard, from the first, it solves."""


def study(**sections: Any) -> Recipe:
    evaluation = {"source": "lab:signs", "split": "eval", "limit": 10}
    problems = {
        "train": {"source": "lab:signs", "split": "train", "limit": 24},
        "eval": {"guarded": {**evaluation, "guard": True}, "signs": evaluation},
    }
    return tiny.study("some/model", problems=problems, **sections)


def cells(right: dict[tuple[str, int | None], int] = RIGHT, benchmark: str = "guarded") -> Cells:
    return {
        ("t", arm, seed, benchmark): {cap: {p: float(i < n) for i, p in enumerate(IDS)} for cap in (None, 8)}
        for (arm, seed), n in right.items()
    }


def test_every_arm_is_held_against_the_untuned_student():
    long, short = forgotten(study(), cells())
    assert (long.student, long.arm, long.benchmark) == ("t", "long", "guarded")
    assert (long.before, long.after) == pytest.approx((30 / 40, 21 / 40))
    assert long.delta == pytest.approx(-9 / 40)
    assert (long.seeds, long.problems) == (2, 40)
    assert long.data is not None and long.checkpoints is not None
    assert long.checkpoints.high < 0
    assert long.data.low <= long.checkpoints.low, "training again may forget more"
    assert short.arm == "short" and short.delta == pytest.approx(-1 / 80)


def test_a_single_seed_gives_the_first_interval_alone():
    one = {k: n for k, n in RIGHT.items() if k[1] in (None, 0)}
    (long, _) = forgotten(study(seeds=1), cells(one))
    assert long.checkpoints is not None and long.data is None


def test_the_best_way_of_asking_the_untuned_student_is_held_against():
    (long, _) = forgotten(study(), cells({**RIGHT, ("base+thinking", None): 36}))
    assert long.before == pytest.approx(36 / 40)
    (long, _) = forgotten(study(), cells({**RIGHT, ("base+thinking", None): 10}))
    assert long.before == pytest.approx(30 / 40)


@pytest.mark.parametrize("gone", [("base", None), ("long", 0)])
def test_what_was_not_scored_has_no_row(gone):
    right = {k: n for k, n in RIGHT.items() if k != gone and (gone[0] == "base" or k[0] != "long")}
    rows: list[Forgotten] = forgotten(study(), cells(right))
    assert [row.arm for row in rows] == ([] if gone[0] == "base" else ["short"])


def test_only_guards_are_looked_at():
    assert forgotten(study(), cells(benchmark="signs")) == []


def test_no_gap_is_about_a_guard_and_its_accuracies_are_there():
    of, correct = study(), {**cells(), **cells(benchmark="signs")}
    levels = {name: {"all": set(IDS)} for name in ("guarded", "signs")}
    found = gaps(of, {"flexible": correct}, levels)
    assert {gap.benchmark for rows in found.values() for gap in rows} == {"signs"}
    assert {a.benchmark for a in accuracies(of, correct, [], levels)} == {"guarded", "signs"}
    primary = of.primary_or_first()
    assert primary is not None and primary.benchmark == "signs", "the first that is no guard"
