"""What is read off files without loading them."""

import tiny
from mixdistill.files import parameters


def test_parameters_are_counted_from_the_safetensors(tmp_path):
    from transformers import AutoModelForCausalLM

    model = tiny.student(tmp_path / "student")
    loaded = AutoModelForCausalLM.from_pretrained(model)
    assert parameters(tmp_path / "student") == sum(p.numel() for p in loaded.parameters())
    assert parameters(tmp_path) == 0
