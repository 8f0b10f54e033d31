"""LoRA adapters in PEFT's layout: a folder with adapter_config.json beside the weights, which names its base model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from mixdistill.errors import DataError

CONFIG = "adapter_config.json"


class Adapter(NamedTuple):
    """What is loaded for a folder that holds an adapter alone."""

    base: str
    """Folder or hub id of the model it was trained on."""
    rank: int
    """The largest rank of its matrices."""


def read(model: str) -> Adapter | None:
    """The adapter in a folder; None where it is a whole model, or no folder. Raises DataError when it is damaged."""
    file = Path(model) / CONFIG
    if not file.is_file() or (Path(model) / "config.json").is_file():
        return None
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        ranks = [said["r"], *(said.get("rank_pattern") or {}).values()]
        return Adapter(str(said["base_model_name_or_path"]), max(int(r) for r in ranks))
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{file}: no LoRA adapter's settings ({type(e).__name__}: {e}); save it again") from None


def tokenizer_of(model: str, adapter: Adapter | None) -> str:
    """Where the tokenizer is: beside the adapter where it was saved there, else with the base."""
    own = adapter is None or (Path(model) / "tokenizer_config.json").is_file()
    return model if own else adapter.base
