"""Published numbers beside the measured ones."""

from __future__ import annotations

from typing import Any

import pytest

from mixdistill.errors import RecipeError
from mixdistill.evidence import averages, stats
from mixdistill.evidence.gaps import Cells
from mixdistill.evidence.published import published
from mixdistill.recipe import Recipe, build

Raw = dict[str, Any]
ROWS = [
    {"source": "Table 1", "student": "s", "contrast": "long_cot_gap", "points": -3.1},
    {"source": "Table 1", "student": "s", "arm": "long", "benchmark": "b", "points": 40.3},
    {"source": "Table 3", "student": "s", "contrast": "mix_gain", "benchmark": "a", "points": 2.5},
    {"source": "a fork", "student": "s", "arm": "base", "points": 42.5},
]


@pytest.fixture
def study(raw: Raw) -> Recipe:
    problems = raw["problems"]["train"]
    raw["problems"] = {"train": problems, "eval": {"a": problems, "b": problems}}
    raw["students"] = {"s": {"model": "lab:xs"}}
    raw["arms"] = {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.2, "short": 0.8}}
    raw["contrasts"] = {"long_cot_gap": ["long", "short"], "mix_gain": ["mix", "each_pure"]}
    return build({**raw, "primary": None, "published": ROWS})


def scored(seeds: int = 2, times: int = 1) -> Cells:
    """Two problems of `a`, four of `b`, or so many times more; base has no seed. Of many, each seed solves two more."""
    right = {"long": (0.5, 0.75), "short": (0.0, 1.0), "mix": (1.0, 0.5)}
    cells: Cells = {}
    for benchmark, place, n in (("a", 0, 2 * times), ("b", 1, 4 * times)):
        for arm, shares in right.items():
            for seed in range(seeds):
                values = {f"{benchmark}{i}": float(i < shares[place] * n + 2 * seed * (times > 1)) for i in range(n)}
                cells["s", arm, seed, benchmark] = {None: values, 64: dict.fromkeys(values, 0.0)}
        cells["s", "base", None, benchmark] = {None: {f"{benchmark}{i}": 0.25 for i in range(n)}}
    return cells


def test_a_mean_over_benchmarks_is_plain_and_a_benchmark_is_its_own(study: Recipe):
    rows = published(study, scored())
    assert [(row.label, row.source, row.published) for row in rows] == [
        ("long_cot_gap of s, mean over benchmarks", "Table 1", pytest.approx(-0.031)),
        ("long of s, b", "Table 1", pytest.approx(0.403)),
        ("mix_gain of s, a", "Table 3", pytest.approx(0.025)),
        ("base of s, mean over benchmarks", "a fork", pytest.approx(0.425)),
    ]
    assert [row.measured for row in rows] == [pytest.approx(x) for x in (0.125, 0.75, 0.5, 0.25)]
    assert [row.n for row in rows] == [
        "2 seeds, 6 problems",
        "2 seeds, 4 problems",
        "2 seeds, 2 problems",
        "6 problems",
    ]


def test_both_intervals_are_told_apart_and_a_single_seed_has_none_of_this_data(study: Recipe):
    cells = scored(times=50)
    parts = [
        (0.5, stats.paired(*({s: cells["s", arm, s, b][None] for s in (0, 1)} for arm in ("long", "short"))))
        for b in ("a", "b")
    ]
    (row, arm, *_) = published(study, cells)
    gap = averages.gap(parts)
    assert (row.data, row.checkpoints) == (gap.data, gap.checkpoints) and gap.data != gap.checkpoints
    mean = averages.mean_interval([(1.0, stats.matrix({s: cells["s", "long", s, "b"][None] for s in (0, 1)}))])
    assert (arm.data, arm.checkpoints) == (mean.data, mean.checkpoints)
    (row, *_) = published(study, scored(seeds=1, times=50))
    assert (row.data, row.checkpoints) == (None, averages.gap([(w, d[:1]) for w, d in parts]).checkpoints)


def test_what_was_not_measured_is_no_number(study: Recipe):
    cells = {
        key: value for key, value in scored().items() if key[1:] != ("short", 0, "b") and key[1:] != ("short", 1, "b")
    }
    assert [row.measured is None for row in published(study, cells)] == [True, False, False, False]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"student": "t", "arm": "long"}, "published.0.student: 't' is no student; known: s"),
        ({"student": "s", "arm": "lang"}, "published.0.arm: 'lang' is no arm; did you mean 'long'?"),
        ({"student": "s", "contrast": "gap"}, "published.0.contrast: 'gap' is no contrast"),
        ({"student": "s", "arm": "long", "benchmark": "c"}, "published.0.benchmark: 'c' is no benchmark"),
        ({"student": "s"}, "published.0: is either an arm's or a contrast's (got arm=None, contrast=None)"),
    ],
)
def test_names_are_those_of_the_recipe(row: Raw, said: str, study: Recipe):
    raw = study.model_dump(mode="json", exclude_unset=True)
    with pytest.raises(RecipeError) as e:
        build({**raw, "published": [{"source": "Table 1", "points": 1, **row}]})
    assert str(e.value).startswith(f"recipe: {said}")
