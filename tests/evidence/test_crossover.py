"""A gap against the size of the student: four sizes or nothing, and no end of an interval that is not there."""

from __future__ import annotations

import numpy as np
import pytest

from mixdistill.evidence.crossover import Line, crossovers, family
from mixdistill.evidence.rows import StudentFacts
from mixdistill.evidence.verdicts import FEW
from mixdistill.types import Gap, Interval

SIZES = {"a": 10**8, "b": 10**9, "c": 10**10, "d": 10**11}
MODELS = {name: f"org/Model-{size}B-Instruct" for name, size in zip(SIZES, ("0.1", "1", "10", "100"), strict=True)}


def students(models: dict[str, str] = MODELS, **sizes: int | None) -> list[StudentFacts]:
    of = {**SIZES, **sizes}
    return [StudentFacts(name=name, model=models[name], parameters=of[name]) for name in SIZES]


def gap_of(student: str, delta: float, half: float = 0.02, problems: int = 100, verdict: str = "can't tell") -> Gap:
    return Gap(
        name="long_cot_gap", student=student, benchmark="signs", arms=("long", "short"), verifier="signs",
        rule="flexible", max_tokens=None, primary=True, accuracies=(0.5, 0.5), delta=delta, checkpoints=None,
        data=Interval(low=delta - half, high=delta + half), seed_deltas=[], df=10, p=0.1, p_holm=None,
        verdict=verdict, problems=problems, seeds=3, detectable=None,
    )  # fmt: skip


def test_the_line_crosses_zero_where_it_was_planted():
    gaps = [gap_of(name, 0.1 * i - 0.15) for i, name in enumerate(SIZES)]
    (found,) = crossovers(gaps, students())
    assert found.students == list(SIZES)
    assert found.slope == pytest.approx(0.1)
    assert found.parameters == pytest.approx(10**9.5)
    assert found.low is not None and found.high is not None
    assert found.low < found.parameters < found.high


def test_three_sizes_or_four_of_two_families_draw_no_line():
    gaps = [gap_of(name, 0.1) for name in SIZES]
    assert crossovers(gaps[:3], students()) == []
    assert crossovers(gaps, students({**MODELS, "d": "other/Model-100B"})) == []
    assert crossovers(gaps, students(d=None)) == []
    assert crossovers(gaps, students(d=SIZES["a"])) == []


@pytest.mark.parametrize("few", [{"problems": 99}, {"verdict": FEW}])
def test_a_gap_of_too_few_problems_to_decide_anything_is_in_no_line(few):
    """An average may have 100 problems, and none of its benchmarks so many."""
    gaps = [gap_of(name, 0.1 * i - 0.15) for i, name in enumerate(SIZES)]
    assert len(crossovers(gaps, students())) == 1
    assert crossovers([*gaps[:3], gap_of("d", 0.15, **few)], students()) == []


def test_a_line_that_may_be_flat_crosses_anywhere():
    (found,) = crossovers([gap_of(n, x, 0.2) for n, x in zip(SIZES, (0.0, 0.1, 0.0, 0.1), strict=True)], students())
    assert (found.low, found.high) == (None, None)
    assert found.slope_interval is not None and found.slope_interval.low < 0 < found.slope_interval.high


def test_a_crossing_far_from_the_sizes_is_not_told():
    (found,) = crossovers([gap_of(n, 0.5 + 0.1 * i, 0.001) for i, n in enumerate(SIZES)], students())
    assert (found.parameters, found.low, found.high) == (None, None, None)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-Instruct"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-Instruct"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3"),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2"),
        ("lab:xs", "lab"),
    ],
)
def test_a_family_is_a_name_without_its_size(model, words):
    assert family(model) == words


def test_the_interval_of_the_crossing_covers():
    rng, x, held = np.random.default_rng(0), np.array([8.0, 8.7, 9.2, 9.5]), 0
    for _ in range(400):
        sd = rng.uniform(0.02, 0.06, 4)
        y = 0.15 * (x - 9) + 0.02 * rng.standard_normal(4) + sd * rng.standard_normal(4)
        low, high = Line.through(x, y, sd**2 * rng.chisquare(3, 4) / 3).crossing_interval()
        held += low is None or high is None or low <= 9 <= high
    assert held / 400 >= 0.93
