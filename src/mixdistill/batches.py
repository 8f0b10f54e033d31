"""Rows as tokens, checked; an update's rows as micro-batches.

Sorting by length happens inside an update alone: which rows an update takes is decided by `mix`, the same way in every
arm, and how they are cut into forward passes changes memory and rounding, never the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixdistill.errors import StageError
from mixdistill.tokens import Template

if TYPE_CHECKING:
    import torch

IGNORED = -100
PASS = 150
"""What a forward and backward pass costs beyond its tokens, in tokens; measured on CPU with the lab's students."""
Tokenised = tuple[list[int], list[int]]
"""(prompt ids, completion ids); the loss is on the completion."""


def check_rows(rows: Sequence[Tokenised], template: Template, max_length: int) -> None:
    """Raise StageError unless every row fits, has a prompt and a completion, and its stop token carries loss."""
    for i, (prompt, completion) in enumerate(rows):
        if not prompt or not completion or completion[-1] not in template.stop_ids:
            raise StageError(
                f"train: example {i} does not end in the stop token or is empty (prompt {len(prompt)}, completion "
                f"{len(completion)} tokens); the student would never learn to stop; check its chat template"
            )
        if len(prompt) + len(completion) > max_length:
            raise StageError(f"train: example {i} has {len(prompt) + len(completion)} tokens, max_length={max_length}")


def micro_batches(rows: Sequence[Tokenised], limit: int) -> list[list[Tokenised]]:
    """Cut an update's rows into batches of similar length with at most `limit` padded tokens (one row at least).

    Of all cuts of the rows in order of length, the one with the least padding, where each further batch counts like
    `PASS` padded tokens more.
    """
    rows = sorted(rows, key=lambda r: -(len(r[0]) + len(r[1])))
    lengths = [len(p) + len(c) for p, c in rows]
    best: list[tuple[float, int]] = [(0.0, 0)]  # cost of the first n rows, and where their last batch starts
    for end in range(1, len(rows) + 1):
        starts = [s for s in range(end) if s == end - 1 or lengths[s] * (end - s) <= limit]
        best.append(min((best[s][0] + PASS + lengths[s] * (end - s), s) for s in starts))
    batches: list[list[Tokenised]] = []
    end = len(rows)
    while end:
        start = best[end][1]
        batches.insert(0, rows[start:end])
        end = start
    return batches


def pad(rows: Sequence[Tokenised], pad_id: int) -> dict[str, torch.Tensor]:
    """input_ids, labels, attention_mask of shape [rows, longest], padded on the right; loss on completions only."""
    import torch

    longest = max(len(p) + len(c) for p, c in rows)
    ids = torch.full((len(rows), longest), pad_id)
    labels = torch.full((len(rows), longest), IGNORED)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, (prompt, completion) in enumerate(rows):
        n = len(prompt) + len(completion)
        ids[i, :n] = torch.tensor(prompt + completion)
        labels[i, len(prompt) : n] = torch.tensor(completion)
        mask[i, :n] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}
