"""What a model is made of is read from its config alone, and its weights are as many as it really has."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from mixdistill.commands.estimates import parameters
from mixdistill.commands.shapes import shape
from mixdistill.sections import Lora


@pytest.mark.parametrize("name", ["xs", "s", "m", "bytes", "teacher-small", "s@1"])
def test_lab_models_have_as_many_weights_as_they_say(name, monkeypatch, tmp_path):
    monkeypatch.setenv("MIXDISTILL_CACHE", str(tmp_path))
    found = shape(f"lab:{name}")
    assert found
    assert found.weights == parameters(f"lab:{name}").value


@pytest.mark.parametrize("options", [{}, {"tie_word_embeddings": False}, {"num_key_value_heads": 1, "head_dim": 12}])
def test_a_folder_has_as_many_weights_as_its_files(options, tmp_path: Path):
    folder = tiny.student(tmp_path / "m", num_hidden_layers=3, **options)
    found = shape(folder)
    assert found
    assert found.weights == parameters(folder).value


def test_adapters_are_as_many_weights_as_peft_makes(tmp_path: Path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tiny.student(tmp_path / "m", num_hidden_layers=2)
    found = shape(folder)
    assert found
    for modules in ("all-linear", ["q_proj", "v_proj"]):
        config = LoraConfig(r=4, target_modules=modules, task_type="CAUSAL_LM")
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
        trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        assert found.adapters(Lora(r=4, target_modules=modules)) == trainable
    assert found.adapters(Lora(r=4, target_modules=["own"])) == found.adapters(Lora(r=4)), "rather too many"
