"""Markers of trainings that never were, as the trainer would have left them."""

from typing import Any

import tiny
from mixdistill.recipe import Recipe

FACTS = {
    "updates": 200, "examples": 1600, "distinct_problems": 800, "epochs": 2.0, "loss_tokens": 40_000,
    "positions": 60_000, "truncated": 0, "longest_row": 70, "teacher_share_mean": {"short": 1.0},
    "teacher_share_sd": {"short": 0.0}, "learning_rate_integral": 0.1, "peak_learning_rate": 1e-3, "warmup_updates": 10,
    "losses": [], "displacement": 0.1, "method": "full", "loss_type": "nll", "packing": False,
    "attn_implementation": "sdpa", "gradient_checkpointing": False, "precision": "float32", "num_processes": 1,
    "distributed": None, "device": "cpu", "template": "abc", "max_length": 512, "overlong": "refuse",
    "problems": "p", "seed": 0,
}  # fmt: skip
OPTIONS = {"model": "folder:1", "train": {"learning_rate": 1e-3, "weight_decay": 0.0}}


def study(unit: str = "examples", problems: str = "shared", **sections) -> Recipe:
    budget = {"unit": unit, "problems": problems, "per_update": 200 if unit == "loss_tokens" else 8}
    return tiny.study("some/model", budget=budget, **sections)


def marker(*, versions: dict[str, str] | None = None, options: dict[str, Any] | None = None, **facts: Any) -> dict:
    return {
        "facts": {**FACTS, **facts},
        "options": {**OPTIONS, **(options or {})},
        "versions": versions or {"torch": "2.13"},
    }
