"""A lab model with wider attention heads: the same function, in a shape that vLLM has kernels for on a CPU.

vLLM's kernels there know heads of 32, 64, 80, 96, ... elements; the shipped lab models have 16, 20 or 24. A head of d
elements becomes one of f*d with zeros between. Rotary positions turn the pair (i, i + d/2) by theta^(-2i/d), so in the
wider head it stands at (f*i, f*i + f*d/2), which is turned by the same. Scores are divided by the root of the head's
width, so queries are multiplied by the root of f.
"""

from __future__ import annotations

import shutil
from pathlib import Path

KNOWN = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256)


def widened(source: str | Path, out: Path) -> str:
    """Write the model in the folder `source` to `out` with heads that vLLM knows; its tokenizer beside it."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    old, config = model.config.head_dim, model.config
    new = next(known for known in KNOWN if known % old == 0)
    factor, weights = new // old, model.state_dict()
    places = torch.tensor([factor * i + (new // 2 if half else 0) for half in (0, 1) for i in range(old // 2)])
    for name, weight in list(weights.items()):
        kind = name.split(".")[-2]
        if kind in ("q_proj", "k_proj", "v_proj"):
            weights[name] = _rows(weight, old, new, places) * (factor**0.5 if kind == "q_proj" else 1)
        elif kind == "o_proj":
            weights[name] = _rows(weight.T, old, new, places).T
    config.head_dim = new
    wide = type(model)(config)
    wide.load_state_dict(weights)
    wide.generation_config = model.generation_config
    wide.save_pretrained(out)
    for file in Path(source).glob("token*"):
        shutil.copy(file, out)
    for file in Path(source).glob("*.jinja"):
        shutil.copy(file, out)
    return str(out)


def _rows(weight, old: int, new: int, places):
    """[heads * old, n] -> [heads * new, n], element i of a head at `places[i]`, zeros between."""
    heads = weight.shape[0] // old
    wide = weight.new_zeros(heads, new, weight.shape[1])
    wide[:, places] = weight.reshape(heads, old, -1)
    return wide.reshape(heads * new, -1).contiguous()
