"""`check` says what a training lacks before anything is spent, once and by its key."""

import pytest
import torch

import tiny
from mixdistill.commands import trainings
from mixdistill.commands.check import plan
from mixdistill.errors import RecipeError


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
