"""Requests in the lab's domain, what a backend gives for them, and when two rows count as equal."""

from __future__ import annotations

from typing import Any

from mixdistill.lab import domain
from mixdistill.types import Completion, Request, Sampling

NEAR = 1e-4
"""Two tokens whose logits are closer than this may change places between two ways of computing them."""


def requests(count: int, **sampling: Any) -> list[Request]:
    """The lab's first training problems, each with its own seed."""
    drawn = Sampling(**{"temperature": 0, "max_tokens": 128, **sampling})
    return [
        Request(prompt=p.prompt, seed=i, sampling=drawn) for i, p in enumerate(domain.problems("train", count=count))
    ]


def answers(backend: Any, wanted: list[Request]) -> list[Completion]:
    """Completions in the order of the requests, without how long they took."""
    found = list(backend.generate(wanted))
    assert sorted(position for position, _ in found) == list(range(len(wanted)))
    return [c.model_copy(update={"seconds": None}) for _, c in sorted(found, key=lambda item: item[0])]


def ids(completions: list[Completion]) -> list[list[int]]:
    return [c.token_ids or [] for c in completions]


def unequal(model: str, wanted: list[Request], a: list[Completion], b: list[Completion]) -> list[int]:
    """Positions of greedy rows that differ in anything, but for those that part where two tokens all but tie."""
    return [i for i in range(len(wanted)) if a[i] != b[i] and not _tie(model, wanted[i], a[i], b[i])]


def _tie(model: str, request: Request, a: Completion, b: Completion) -> bool:
    import torch
    from transformers import AutoModelForCausalLM

    from mixdistill.tokens import Template

    one, other = a.token_ids or [], b.token_ids or []
    parted = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if parted is None:
        return False
    prompt = Template.load(model).prompt_ids(request.prompt)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.inference_mode():
        logits = loaded(input_ids=torch.tensor([prompt + one[:parted]])).logits[0, -1]
    return bool((logits[one[parted]] - logits[other[parted]]).abs() < NEAR)
