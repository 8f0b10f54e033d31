"""What a study costs, where nothing of it is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixdistill.commands import costs, plan_text
from mixdistill.commands.plans import Amount, Cost
from mixdistill.recipe import Recipe, build, load
from mixdistill.store import Store

Raw = dict[str, Any]


@pytest.fixture
def far(raw: Raw) -> Recipe:
    """One student of 7e9 weights, two arms of two seeds, a teacher that is asked and a recorded one."""
    raw["problems"] = {
        "train": {"source": "openai/gsm8k", "subset": "main", "split": "train", "limit": 1000},
        "eval": {"gsm8k": {"source": "openai/gsm8k", "subset": "main", "split": "test"}},
    }
    raw["teachers"] = {
        "long": {"backend": "openai", "model": "org/Big-32B", "samples": 4, "sampling": {"max_tokens": 8000}},
        "short": {"backend": "recorded", "model": "m", "path": "org/traces"},
    }
    raw["verify"] = {"verifier": "math"}
    raw["students"] = {"s": {"model": "org/Small2.5-7B-Instruct"}}
    raw["arms"] = {"long": {"long": 1}, "short": {"short": 1}}
    raw["contrasts"] = {"long_cot_gap": ["long", "short"]}
    raw["primary"] = None
    raw["budget"] = {"unit": "examples", "per_update": 8}
    raw["train"] = {"num_train_epochs": 2}
    raw["evaluate"] = {"sampling": {"max_tokens": 4000}, "k": 2}
    return build({**raw, "seeds": 2})


def total(recipe: Recipe, tmp_path: Path, **known: Amount) -> Cost:
    return costs.cost(recipe, costs.known_rows(recipe), known, Store(tmp_path / "run"))


def test_sizes_are_read_off_names_and_rows_off_a_table(far: Recipe, tmp_path: Path):
    assert costs.known_rows(far) == {"train": 1000, "gsm8k": 1319}
    found = total(far, tmp_path)
    assert (found.tokens.value, found.tokens.basis) == (1000 * 4 * 2000, "long")
    assert found.teachers.value == pytest.approx(2 * 32e9 * 8e6 / 4e12 / 3600)
    updates = 2 * 1000 * 2  # rows of two seeds, two epochs each
    assert found.training.value == pytest.approx(6 * 7e9 * updates * (2000 + 100 + 1000 + 100) / 1e14 / 3600)
    answers = 1319 * 2
    assert found.evaluation.value == pytest.approx(2 * 7e9 * answers * (1500 + 2 * 2000 + 2 * 1000) / 4e12 / 3600)
    assert found.at_most.value == pytest.approx(2 * 7e9 * answers * 5 * 4000 / 4e12 / 3600)
    assert found.assumed == [
        costs.RATES,
        "long: 2,000 tokens a trace, assumed: a quarter of its limit",
        "short: 1,000 tokens a trace, assumed",
    ]


def test_dev_problems_trials_and_forced_answers_count(raw: Raw, far: Recipe, tmp_path: Path):
    plain = total(far, tmp_path).evaluation.value or 0
    a_token = 2 * 7e9 / 4e12 / 3600
    cut = far.evaluate.model_copy(update={"caps": [500, 900], "forced": True, "thinking": [0.5], "force_tokens": 32})
    forced = total(far.model_copy(update={"evaluate": cut}), tmp_path)
    assert forced.evaluation.value == pytest.approx(plain + a_token * 5 * 1319 * 2 * 3 * 32), "5 models, 3 cuts"
    dev = {"source": "openai/gsm8k", "subset": "main", "split": "train", "skip": 1000, "limit": 100}
    looked = build(
        raw | {"seeds": 2, "problems": raw["problems"] | {"dev": dev}, "tune": {"learning_rate": [1e-5, 2e-5]}}
    )
    points = 2 * looked.train.dev_checkpoints + 2
    found = total(looked, tmp_path).evaluation
    assert found.value == pytest.approx(plain + a_token * points * 100 * (2000 + 1000))
    assert found.basis == "5 evaluations, dev problems while students train"


def test_traces_until_some_are_right_cost_between_samples_and_max_samples(far: Recipe, tmp_path: Path):
    until = far.teachers["long"].model_copy(update={"until_correct": 1, "samples": 1, "max_samples": 16})
    found = total(far.model_copy(update={"teachers": {**far.teachers, "long": until}}), tmp_path)
    assert (found.tokens.value, found.tokens.basis) == (
        1000 * 2000,
        "long; at most 32M, were every problem asked max_samples times",
    )
    assert found.teachers.value == pytest.approx(2 * 32e9 * 16 * 2e6 / 4e12 / 3600)
    assert found.assumed[-1] == "long: GPU-hours of max_samples=16 a problem"


def test_a_fixed_number_of_samples_is_no_range_whatever_a_mean_is_rounded_to(far: Recipe, tmp_path: Path):
    three = far.teachers["long"].model_copy(update={"samples": 3})
    mean = Amount(value=304 / 7, basis="mean of 7")
    assert 1000 * 3 * (304 / 7) * 3 / 3 != 1000 * 3 * (304 / 7)
    found = total(far.model_copy(update={"teachers": {**far.teachers, "long": three}}), tmp_path, long=mean)
    assert found.tokens.basis == "long"
    assert not [line for line in found.assumed if "max_samples" in line]


def test_lengths_that_are_known_are_not_assumed(far: Recipe, tmp_path: Path):
    found = total(far, tmp_path, long=Amount(value=500, basis="mean of 50"), short=Amount(value=50, basis="mean of 50"))
    assert found.tokens.value == 1000 * 4 * 500
    assert found.assumed == [costs.RATES]


def test_what_is_not_known_is_no_number(raw: Raw, far: Recipe, tmp_path: Path):
    problems = far.problems.model_copy(update={"train": far.problems.train.model_copy(update={"source": "my/set"})})
    assert costs.known_rows(far.model_copy(update={"problems": problems}))["train"] == 1000, "its own limit"
    endless = problems.train.model_copy(update={"limit": None})
    unknown = far.model_copy(update={"problems": problems.model_copy(update={"train": endless})})
    found = total(unknown, tmp_path)
    assert found.training == Amount(value=None, basis="not known before the problems of train are read")
    nameless = far.model_copy(update={"students": {"s": far.students["s"].model_copy(update={"model": "org/small"})}})
    assert total(nameless, tmp_path).training.basis == "not known before org/small is on this machine"


def test_a_part_and_a_skip_leave_fewer_rows(raw: Raw):
    source = {"source": "openai/gsm8k", "split": "test", "part": [0, 0.5], "skip": 60}
    raw["problems"] = {"train": source, "eval": {"b": {**source, "limit": 100}}}
    recipe = build(raw | {"verify": {"verifier": "math"}})
    assert costs.known_rows(recipe) == {"train": 600, "b": 100}


def test_the_plan_says_what_a_study_costs_and_what_that_rests_on(far: Recipe, tmp_path: Path):
    parts = {"teachers": 42, "training": 1.234, "evaluation": 5}
    amounts = {part: Amount(value=value, basis="") for part, value in parts.items()}
    tokens, most = Amount(value=8e6, basis="long"), Amount(value=1234, basis="")
    cost = Cost(**amounts, tokens=tokens, at_most=most, assumed=["rates", "lengths"])
    assert plan_text.laid_out([("cost", plan_text.cost_lines(cost))], 140).plain.splitlines() == [
        "cost        tokens bought  about 8M (long)",
        "            GPU-hours      about 48: teachers about 42, training about 1.2, evaluation about 5; evaluation "
        "at most about 1,200",
        "              (rates)",
        "              (lengths)",
    ]


@pytest.mark.parametrize(("value", "said"), [(1314, "about 1,300"), (0.574, "about 0.57"), (0.001, "less than 0.01")])
def test_hours_have_two_digits(value: float, said: str):
    assert plan_text.hours(value) == said


def test_the_lab_costs_nothing_and_a_real_study_does(tmp_path: Path):
    assert (total(load("demo"), tmp_path).training.value or 1) < 0.01
    real = total(load("long-vs-short"), tmp_path)
    assert 500 < (real.teachers.value or 0) < 1000 and 10 < (real.training.value or 0) < 50


def test_published_traces_are_as_many_and_as_long_as_their_files_say(tmp_path: Path):
    found = total(load("paper/figure-8-as-published"), tmp_path)
    rows = 5383 * 2
    tokens = (1300 + 100) + (400 + 100) + (0.2 * 1300 + 0.8 * 400 + 100)
    assert found.training.value == pytest.approx(6 * 3e9 * rows * tokens / 1e14 / 3600)
    assert found.assumed[1:] == [
        "long: 1,300 tokens a trace, assumed by the size of its file",
        "short: 400 tokens a trace, assumed by the size of its file",
    ]
