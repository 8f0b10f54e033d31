"""Rows as tokens, checked; an update's rows as micro-batches.

Sorting by length happens inside an update alone: which rows an update takes is decided by `mix`, the same way in every
arm, and how they are cut into forward passes changes memory and rounding, never the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mixdistill.errors import StageError
from mixdistill.tokens import Template
from mixdistill.training.distributed import ALL, Share

if TYPE_CHECKING:
    import torch

IGNORED = -100
PASS = 150
"""What a forward and backward pass costs beyond its tokens, in tokens; measured on CPU with the lab's students."""


class Tokenised(NamedTuple):
    """A row as the student sees it. The loss is on the completion."""

    prompt: list[int]
    completion: list[int]
    """Its stop token is the last, unless the row was cut."""

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.completion)

    def cut(self, max_length: int) -> Tokenised:
        """Its first `max_length` tokens. Of a longer prompt nothing is left that carries loss."""
        return Tokenised(self.prompt[:max_length], self.completion[: max(0, max_length - len(self.prompt))])


def check_rows(rows: Sequence[Tokenised], template: Template, max_length: int, overlong: str = "refuse") -> None:
    """Raise StageError unless every row fits, has a prompt and a completion, and its stop token carries loss.

    With `overlong: truncate` rows may be longer than `max_length`: they are cut there, after this check.
    """
    for i, row in enumerate(rows):
        if not row.prompt or not row.completion or row.completion[-1] not in template.stop_ids:
            raise StageError(
                f"train: example {i} does not end in the stop token or is empty (prompt {len(row.prompt)}, completion "
                f"{len(row.completion)} tokens); the student would never learn to stop; check its chat template"
            )
        if row.length > max_length and overlong != "truncate":
            raise StageError(f"train: example {i} has {row.length} tokens, max_length={max_length}")


class MicroBatch(NamedTuple):
    """Rows that go through the model together."""

    rows: list[int]
    """Which rows of the training set these are."""
    loss_tokens: list[int]
    """Of each, the tokens that carry loss."""
    labels: torch.Tensor
    """Shape of `input_ids`; `IGNORED` where there is no loss."""
    inputs: dict[str, Any]
    """What the model is called with: `input_ids`, and of packed rows where each begins."""


@dataclass(frozen=True)
class Collate:
    """Makes micro-batches of an update: what the trainer's dataloader calls."""

    rows: Sequence[Tokenised]
    pad_id: int
    limit: int
    """Most tokens of a micro-batch, padding included."""
    share: Share = ALL
    """What this process takes of every update."""
    packed: bool = False
    """Rows of a micro-batch stand one after the other in one, and do not see each other."""

    def __call__(self, batch: Sequence[dict[str, list[int]]]) -> dict[str, list[MicroBatch]]:
        """Of the one update that a batch is: `micro_batches` of this process, and the `whole` update's.

        All processes have equally many. Where one has too few, passes without loss stand in.
        """
        (update,) = batch
        lengths = {i: self.rows[i].length for i in update["examples"]}
        hands = self.share.deal(update["examples"], lengths)
        parts = packs if self.packed else micro_batches
        cut = [[self._one(part) for part in parts(hand, lengths, self.limit)] for hand in hands]
        mine = cut[self.share.rank]
        lacking = max(map(len, cut)) - len(mine)
        idle = [self._idle(min(lengths, key=lambda i: lengths[i]))] * lacking if lacking else []
        return {"micro_batches": idle + mine, "whole": [batch for hand in cut for batch in hand]}

    def _idle(self, row: int) -> MicroBatch:
        """A pass that every process has to take part in, without anything to learn from."""
        batch = self._one([row])
        return MicroBatch([], [], batch.labels.new_full(batch.labels.shape, IGNORED), batch.inputs)

    def _one(self, part: list[int]) -> MicroBatch:
        rows = [self.rows[i] for i in part]
        if self.packed:
            labels, inputs = pack(rows)
            by_row = labels[0].split([row.length for row in rows])
        else:
            labels, inputs = pad(rows, self.pad_id)
            by_row = labels.unbind()
        return MicroBatch(part, [int((row != IGNORED).sum()) for row in by_row], labels, inputs)


def micro_batches(update: Sequence[int], lengths: Any, limit: int) -> list[list[int]]:
    """Cut an update's rows into batches of similar length with at most `limit` padded tokens (one row at least).

    `lengths[i]` are the tokens of row i. Of all cuts of the rows in order of length, the one with the least padding,
    where each further batch counts like `PASS` padded tokens more.
    """
    rows = sorted(update, key=lambda i: -lengths[i])
    best: list[tuple[float, int]] = [(0.0, 0)]  # cost of the first n rows, and where their last batch starts
    for end in range(1, len(rows) + 1):
        starts = [s for s in range(end) if s == end - 1 or lengths[rows[s]] * (end - s) <= limit]
        best.append(min((best[s][0] + PASS + lengths[rows[s]] * (end - s), s) for s in starts))
    batches: list[list[int]] = []
    end = len(rows)
    while end:
        start = best[end][1]
        batches.insert(0, rows[start:end])
        end = start
    return batches


def packs(update: Sequence[int], lengths: Any, limit: int) -> list[list[int]]:
    """Cut an update's rows into as few parts of at most `limit` tokens as taking the longest first gives (one row at
    least)."""
    parts: list[list[int]] = []
    sizes: list[int] = []
    for i in sorted(update, key=lambda i: -lengths[i]):
        n = next((n for n, size in enumerate(sizes) if size + lengths[i] <= limit), len(parts))
        if n == len(parts):
            parts.append([])
            sizes.append(0)
        parts[n].append(i)
        sizes[n] += lengths[i]
    return parts


def pad(rows: Sequence[Tokenised], pad_id: int) -> tuple[torch.Tensor, dict[str, Any]]:
    """(labels, inputs) of shape [rows, longest], padded on the right; loss on completions only.

    No mask: what stands on the right of a token is not seen by it, and padding carries no loss.
    """
    import torch

    longest = max(row.length for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    labels = torch.full((len(rows), longest), IGNORED)
    for i, row in enumerate(rows):
        ids[i, : row.length] = torch.tensor(row.prompt + row.completion)
        labels[i, len(row.prompt) : row.length] = torch.tensor(row.completion, dtype=torch.long)
    return labels, {"input_ids": ids}


def pack(rows: Sequence[Tokenised]) -> tuple[torch.Tensor, dict[str, Any]]:
    """(labels, inputs) of shape [1, all tokens]; positions start anew in every row.

    Rows do not see each other: flash attention is told where they begin, and for other kinds transformers makes a mask
    of the positions, provided that the model is called with `use_cache=False`.
    """
    import torch

    lengths = torch.tensor([row.length for row in rows], dtype=torch.int32)
    ids = torch.tensor([[t for row in rows for t in row.prompt + row.completion]])
    labels = torch.tensor([[t for row in rows for t in [IGNORED] * len(row.prompt) + row.completion]])
    positions = torch.cat([torch.arange(row.length) for row in rows])[None]
    bounds = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    longest = int(lengths.max())
    flash = {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}
    return labels, {"input_ids": ids, "position_ids": positions, **flash}
