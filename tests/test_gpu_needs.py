"""A unit has as many GPUs as the largest model or training in it takes, and the key that says so is named."""

from __future__ import annotations

from typing import Any

import pytest

from mixdistill import gpu_needs
from mixdistill.errors import RecipeError
from mixdistill.gpu_needs import PROCESSES, TENSOR, wanted
from mixdistill.pipeline import STAGES
from mixdistill.recipe import Recipe, build
from mixdistill.sections import Serve
from mixdistill.units import Unit

KEYS = {
    "generate": ("long",), "verify": ("long",), "analyze": ("long",), "mix": ("s", "long", "0"),
    "tune": ("s", "long", "0.001"), "train": ("s", "long", "0"), "evaluate": ("s", "long", "0", "signs"), "report": (),
}  # fmt: skip
"""A unit of every stage."""
SHIP = {part: ("ship", ("s", "long", "0", part)) for part in ("data", "train", "gate")}
DEV = {"source": "lab:signs", "split": "train", "skip": 100, "limit": 4}
JUDGE = {"verifier": ["signs", "judge"], "judge": {"model": "m", "backend": "vllm", "tensor_parallel_size": 2}}


def takes(recipe: Recipe) -> dict[str, int]:
    """Stage -> GPUs of its unit, of those that take several."""
    there = {stage: wanted(recipe, stage, KEYS[stage]).gpus for stage in STAGES}
    there |= {f"ship {part}": wanted(recipe, *unit).gpus for part, unit in SHIP.items()}
    return {stage: n for stage, n in there.items() if n > 1}


@pytest.mark.parametrize("where", ["backend_options", "serve"])
def test_a_student_that_vllm_spreads_is_evaluated_on_as_many_and_where_dev_is_asked_trained_beside_them(raw, where):
    raw["students"]["s"] |= {where: {TENSOR: 4}} | ({} if where == "serve" else {"backend": "vllm"})
    assert takes(build(raw)) == {"evaluate": 4, "ship gate": 4}
    assert wanted(build(raw), "evaluate", KEYS["evaluate"]).key == f"students.s.{where}.{TENSOR}"
    raw["problems"]["dev"] = DEV
    asked = {"evaluate": 4, "tune": 4, "train": 4, "ship train": 4, "ship gate": 4}
    assert takes(build(raw)) == asked
    assert wanted(build(raw), "train", KEYS["train"]).key == f"students.s.{where}.{TENSOR}"
    raw["train"] = {"dev_checkpoints": 0}
    assert takes(build(raw)) == {"evaluate": 4, "tune": 4, "ship gate": 4}, "trials are always asked"


def test_a_judge_that_vllm_spreads_is_asked_wherever_answers_are_judged(raw):
    raw["verify"] = JUDGE
    assert takes(build(raw)) == {"verify": 2, "evaluate": 2, "ship gate": 2}
    assert wanted(build(raw), "verify", ("long",)).key == f"verify.judge.{TENSOR}"
    raw["problems"]["dev"] = DEV
    assert takes(build(raw)) == dict.fromkeys(("verify", "tune", "train", "evaluate", "ship train", "ship gate"), 2)


def test_a_benchmark_that_the_judge_never_sees_takes_no_gpu_for_it(raw):
    raw["verify"] = JUDGE
    raw["problems"]["eval"]["signs"]["verify"] = {"verifier": "exact"}
    assert takes(build(raw)) == {"verify": 2, "ship gate": 2}


def test_a_served_teacher_takes_as_many_as_its_server(raw):
    raw["teachers"]["long"] = {"backend": "openai", "model": "m", "serve": {TENSOR: 2}}
    assert takes(build(raw)) == {"generate": 2}
    assert wanted(build(raw), "generate", ("long",)).key == f"teachers.long.serve.{TENSOR}"
    assert wanted(build(raw), "generate", ("short",)).gpus == 1


def test_a_training_takes_one_for_each_process_of_its_arm(raw):
    raw["arms"]["long"] = {"weights": {"long": 1}, "train": {"num_processes": 3}}
    recipe = build(raw)
    assert takes(recipe) == {"tune": 3, "train": 3, "ship train": 3}
    assert wanted(recipe, "train", KEYS["train"]) == (3, PROCESSES)
    assert wanted(recipe, "train", ("s", "long@loss_tokens", "0")).gpus == 3
    assert wanted(recipe, "train", ("s", "short", "0")).gpus == 1


def test_teachers_are_one_group_and_other_units_one_for_each_number(raw):
    raw["teachers"]["long"] = {"backend": "vllm", "model": "m", TENSOR: 2}
    raw["arms"]["short"] = {"weights": {"short": 1}, "train": {"num_processes": 2}}
    recipe = build(raw)

    def grouped(stage: str, *keys: tuple[str, ...]) -> list[tuple[int, list[str]]]:
        units = [Unit(stage=stage, key=key, options={}) for key in keys]
        return [(takes.gpus, [u.label for u in group]) for takes, group in gpu_needs.groups(recipe, units)]

    assert grouped("generate", ("short",), ("long",)) == [(2, ["generate/short", "generate/long"])]
    arms = [("s", "long", "0"), ("s", "short", "0"), ("s", "long", "1")]
    assert grouped("train", *arms) == [(2, ["train/s/short/0"]), (1, ["train/s/long/0", "train/s/long/1"])]
    assert grouped("train") == []


def teacher(raw: dict[str, Any], **options: Any) -> Recipe:
    raw["teachers"]["long"] = {"backend": "vllm", "model": "m", **options}
    return build(raw)


def test_what_goes_to_the_engine_as_it_is_counts_as_it_does_there(raw):
    engine = {TENSOR: 4, "max_model_len": 2048}
    recipe = teacher(raw, tensor_parallel_size=2, engine=engine)
    assert wanted(recipe, "generate", ("long",)) == (4, f"teachers.long.engine.{TENSOR}")
    assert gpu_needs.context(None, {"max_model_len": 4096, "engine": engine}) == 2048
    assert gpu_needs.context(None, {"max_model_len": 4096, "engine": {}}) == 4096
    assert gpu_needs.context(Serve(max_model_len=512), {}) == 512
    assert gpu_needs.context(None, {"max_model_len": None}) is None


def test_a_number_may_come_out_of_the_environment_and_nothing_is_one(raw, monkeypatch):
    monkeypatch.setenv("GPUS", "2")
    assert wanted(teacher(raw, tensor_parallel_size="${GPUS}"), "generate", ("long",)).gpus == 2
    assert wanted(teacher(raw, tensor_parallel_size="2"), "generate", ("long",)).gpus == 2
    assert wanted(teacher(raw, tensor_parallel_size=None), "generate", ("long",)).gpus == 1
    monkeypatch.delenv("GPUS")
    with pytest.raises(RecipeError, match=r"^\$\{GPUS\}: the recipe names this environment variable"):
        wanted(teacher(raw, tensor_parallel_size="${GPUS}"), "generate", ("long",))


@pytest.mark.parametrize("given", ["auto", 0, -1, 1.5, 2.0, True, [2], "${GPUS}", ""])
def test_what_is_no_number_of_gpus_is_a_finding_that_tells_nothing_of_the_environment(raw, monkeypatch, given):
    monkeypatch.setenv("GPUS", "secret")
    line = f"tensor_parallel_size: must be a whole number from 1 on (got {given!r}); give one, or leave it out"
    with pytest.raises(RecipeError) as e:
        teacher(raw, tensor_parallel_size=given)
    assert e.value.findings == [f"recipe: teachers.long.{line}"]


def test_students_judges_and_engines_are_looked_at_too(raw):
    raw["students"]["s"] |= {"backend": "vllm", "backend_options": {"engine": {TENSOR: "two"}, "max_model_len": "4k"}}
    raw["verify"] = {**JUDGE, "judge": {**JUDGE["judge"], TENSOR: 0}}
    with pytest.raises(RecipeError) as e:
        build(raw)
    what = "must be a whole number from 1 on (got {}); give one, or leave it out"
    assert e.value.findings == [
        f"recipe: verify.judge.{TENSOR}: {what.format(0)}",
        f"recipe: students.s.backend_options.engine.{TENSOR}: {what.format(repr('two'))}",
        f"recipe: students.s.backend_options.max_model_len: {what.format(repr('4k'))}",
    ]
