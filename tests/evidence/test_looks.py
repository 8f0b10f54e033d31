"""Every look at other scores is kept and paid for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mixdistill.evidence import looks, stats
from mixdistill.evidence.details import Look
from mixdistill.evidence.looks import Paid, pay, price
from mixdistill.evidence.stats import Spread
from mixdistill.store import Store


def look(number: int, scores: str, *, student: str = "s", paid: float = 1.25) -> Look:
    return Look(
        when="2026-01-01T00:00:00Z", contrast="long_cot_gap", student=student, benchmark="signs", seeds=3, problems=100,
        delta=0.1, p=0.03, verdict="long helps", look=number, paid=paid, scores=scores,
    )  # fmt: skip


def test_the_price_rises_with_every_look():
    assert [price(n) for n in (1, 2, 3, 4)] == [1.25, 5, 10, 20]


def test_the_same_scores_are_no_new_look_and_other_ones_are():
    seen = [look(1, "three seeds"), look(2, "five seeds", paid=5), look(1, "x", student="other")]
    assert pay([], "s", "three seeds") == Paid(1, 1.25)
    assert pay(seen, "s", "three seeds") == Paid(1, 1.25)
    assert pay(seen, "s", "five seeds") == Paid(2, 5)
    assert pay(seen, "s", "eight seeds") == Paid(3, 10)
    assert pay(seen, "other", "eight seeds") == Paid(2, 5)


def test_who_declares_one_look_pays_nothing_and_has_nothing_left_for_another():
    assert pay([], "s", "a", once=True) == Paid(1, 1.0)
    assert pay([look(1, "a", paid=1)], "s", "a", once=True) == Paid(1, 1.0)
    assert pay([look(1, "a", paid=1)], "s", "b", once=True) == Paid(2, math.inf)
    assert pay([look(1, "a", paid=1)], "s", "b") == Paid(2, math.inf), "also where the recipe says so no longer"
    assert pay([look(1, "a")], "s", "b", once=True) == Paid(2, math.inf)


def test_looks_are_appended_once_and_a_torn_line_is_cut_off(tmp_path: Path):
    store = Store(tmp_path)
    looks.record(store, [])
    assert not (tmp_path / "looks.jsonl").exists()
    looks.record(store, [look(1, "a")])
    looks.record(store, [look(1, "a"), look(2, "b", paid=5)])
    assert [row.scores for row in looks.read(store)] == ["a", "b"]
    with open(tmp_path / "looks.jsonl", "a") as f:
        f.write('{"when": "2026')
    looks.record(store, [*looks.read(store), look(3, "c", paid=10)])
    assert [row.scores for row in looks.read(store)] == ["a", "b", "c"]


@pytest.mark.parametrize("sd_seed", [0.0, 0.03, 0.15])
def test_looking_at_three_five_and_eight_seeds_says_something_false_in_at_most_one_study_of_twenty(sd_seed: float):
    rng, studies = np.random.default_rng(int(100 * sd_seed)), 2000
    d = sd_seed * rng.standard_normal((studies, 8, 1)) + 0.2 * rng.standard_normal((studies, 1, 100))
    d = d + 0.3 * rng.standard_normal((studies, 8, 100))
    spreads = [Spread.of(d[:, :seeds]) for seeds in (3, 5, 8)]
    unpaid = np.any([np.abs(s.delta) > s.half() for s in spreads], axis=0).mean()
    levels = [stats.ALPHA / price(n) for n in (1, 2, 3)]
    paid = np.any([np.abs(s.delta) > s.half(a) for s, a in zip(spreads, levels, strict=True)], axis=0).mean()
    assert paid <= 0.05 < unpaid or sd_seed == 0
    assert paid < unpaid
