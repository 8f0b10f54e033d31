"""`check` says what a training lacks before anything is spent, once and by its key."""

import pytest
import torch

import tiny
from mixdistill.commands import doctor, trainings
from mixdistill.commands.check import plan
from mixdistill.errors import RecipeError
from mixdistill.refusals import too_small


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


def _study(model: str, train: dict):
    return tiny.study(model, train=train)


def test_usual_training_lacks_nothing(model):
    for train in ({"learning_rate": 1e-2}, {"method": "lora", "learning_rate": 1e-2}):
        study = _study(model, train)
        assert (trainings.lacking(study), trainings.remarks(study)) == ([], [])


def test_misspelt_module_stops_check(model, tmp_path):
    train = {"method": "lora", "learning_rate": 1e-3, "lora": {"target_modules": ["qproj"]}}
    with pytest.raises(RecipeError) as caught:
        plan(_study(model, train), out=tmp_path / "run")
    assert caught.value.findings == [
        "recipe: train.lora.target_modules: no linear layer is called 'qproj' (got ['qproj']); name some of "
        "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_four_bits_without_a_gpu_stop_check(model):
    (line,) = trainings.lacking(_study(model, {"method": "qlora"}))
    assert line.startswith("train.method: qlora needs a GPU")


def test_learning_rate_of_a_full_training_with_adapters_is_a_warning_of_the_plan(model, tmp_path):
    shown = plan(_study(model, {"method": "lora", "learning_rate": 1e-5}), out=tmp_path / "run").warnings
    assert (
        "train.learning_rate: 1e-05 suits a full training, and adapters want about ten times that; leave it out for "
        "0.0001" in shown
    )


def test_tags_that_a_student_cannot_tell_apart_stop_check(model, tmp_path):
    both = {"weights": {"long": 0.5, "short": 0.5}, "mixture": "tagged"}
    arms = {"long": {"long": 1}, "short": {"short": 1}, "switch": both}
    with pytest.raises(RecipeError) as caught:
        plan(tiny.study(model, arms=arms), out=tmp_path / "run")
    assert caught.value.findings == [
        "recipe: arms.switch.tags: to students.t '/long' and '/short' are the same tokens, and it could not tell them "
        "apart; give texts that its tokenizer knows"
    ]
    (examined,) = doctor.examine(tiny.study(model, arms=arms), out=tmp_path / "run").students
    assert [f.check for f in examined.of_template if f.state == "failed"] == ["tags_differ"]
    known = {**both, "tags": {"long": "ok", "short": "x"}}
    assert trainings.alike(tiny.study(model, arms={**arms, "switch": known})) == []
    assert trainings.alike(tiny.study(tiny.byte_student(tmp_path / "bytes"), arms=arms)) == []


def test_budget_that_all_problems_cannot_fill_once_stops_check(model, tmp_path):
    with pytest.raises(RecipeError) as caught:
        plan(tiny.study(model, budget={"per_update": 49}), out=tmp_path / "run")
    assert caught.value.findings == [
        "recipe: budget.per_update: too much for one update (got 49, and 24 training problems in 2 passes); lower it, "
        "or raise train.num_train_epochs"
    ]
    assert too_small(tiny.study(model, budget={"per_update": 48}), 24) == []
    four = {"weights": {"long": 1}, "mixture": "repeat", "traces": 4}
    alone = tiny.study(model, arms={"four": four}, contrasts={}, budget={"per_update": 49})
    assert too_small(alone, 24) == [], "how many rows a problem has is the mixture's to say"


def test_budget_that_all_problems_cannot_fill_once_stops_a_run_before_a_trace_is_bought(model, tmp_path):
    with pytest.raises(RecipeError, match=r"budget.per_update: too much for one update \(got 49, and 24 training"):
        tiny.run(tiny.study(model, budget={"per_update": 49}), tmp_path / "run")
    assert not (tmp_path / "run/generate").exists()


def test_more_processes_than_cores_are_a_warning_of_the_plan(model, monkeypatch):
    monkeypatch.setattr(trainings.executor, "gpus", list)
    monkeypatch.setattr(trainings.executor, "cores", lambda: 2)
    assert trainings.remarks(_study(model, {"num_processes": 3})) == [
        "train.num_processes: 3 processes on 2 cores take turns and are slower for it; set 2 or less"
    ]
    assert trainings.remarks(_study(model, {"num_processes": 2})) == []
