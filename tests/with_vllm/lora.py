"""Tiny LoRA adapters in PEFT's layout, written by hand, and the same merged into the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

RANK, ALPHA = 4, 8
TARGETS = ("q_proj", "v_proj", "down_proj")


def adapter(base: str, out: Path, *, seed: int, scale: float = 0.15) -> str:
    """A random adapter on the model in the folder `base`."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    draw = torch.Generator().manual_seed(seed)
    weights = {}
    for name, weight in AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).state_dict().items():
        if name.split(".")[-2] in TARGETS:
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            rows, columns = weight.shape
            weights[f"{stem}.lora_A.weight"] = torch.randn(RANK, columns, generator=draw) * scale
            weights[f"{stem}.lora_B.weight"] = torch.randn(rows, RANK, generator=draw) * scale
    out.mkdir()
    save_file(weights, out / "adapter_model.safetensors")
    said = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": RANK, "lora_alpha": ALPHA,
        "target_modules": list(TARGETS), "bias": "none", "lora_dropout": 0.0, "inference_mode": True,
    }  # fmt: skip
    (out / "adapter_config.json").write_text(json.dumps(said))
    return str(out)


def merged(base: str, adapter: str, out: Path) -> str:
    """The whole model that the adapter makes of its base."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    weights, low = model.state_dict(), load_file(Path(adapter) / "adapter_model.safetensors")
    for name in (n for n in low if n.endswith("lora_A.weight")):
        whole = name.removeprefix("base_model.model.").replace(".lora_A", "")
        with torch.no_grad():
            weights[whole] += low[name.replace("lora_A", "lora_B")] @ low[name] * (ALPHA / RANK)
    shutil.copytree(base, out)
    model.save_pretrained(out)
    return str(out)
