"""The decode loop of a causal language model that is loaded already: token ids in, sampled token ids out.

It is our own, since most of the time of a study of small models is spent in it: prompts of like length are decoded
together, a row leaves the batch the moment it ends, and the cache is written in place.
`benchmarks/generation.py` compares it with `model.generate`. What changes its completions raises the `VERSION` of
`backends/transformers.py`.
"""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from mixdistill.errors import StageError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache, PreTrainedModel
    from transformers.cache_utils import DynamicLayer


@dataclass(frozen=True)
class Prepared:
    """A request ready for decoding: every setting filled in."""

    position: int
    prompt: list[int]
    limit: int  # tokens sampled at most
    temperature: float  # 0: greedy
    top_k: int  # 0: off
    top_p: float  # 1: off
    seed: int


def decode(
    model: PreTrainedModel, rows: list[Prepared], pad_id: int, stop_ids: frozenset[int]
) -> Iterator[tuple[Prepared, list[int], float]]:
    """Decode rows together; yields (row, sampled tokens, seconds) as each ends, the stop token included.

    Raises StageError when the model gives numbers that are not numbers.
    """
    mark = time.perf_counter()
    batch = _Batch(model, rows, pad_id)
    draws = [random.Random(row.seed) for row in rows]
    sampled: list[list[int]] = [[] for _ in rows]
    seconds = 0.0
    logits = batch.prefill()
    while True:
        tokens = pick(logits, batch.rows, draws)
        ended = []
        for place, token in enumerate(tokens.tolist()):
            sampled[place].append(token)
            if token in stop_ids or len(sampled[place]) == batch.rows[place].limit:
                ended.append(place)
        # Every row bears an equal share of each step it took part in, so the shares add up to the wall time.
        seconds += (time.perf_counter() - mark) / len(sampled)
        for place in ended:
            yield batch.rows[place], sampled[place], seconds
        mark = time.perf_counter()
        if ended:
            keep = without(len(sampled), ended)
            if not keep:
                return
            batch.keep(keep)
            draws, sampled = [draws[i] for i in keep], [sampled[i] for i in keep]
            tokens = tokens[keep]
        logits = batch.step(tokens)


class _Batch:
    """Rows that are decoded together: padded on the left, so that every row's next token is in the same column."""

    def __init__(self, model: PreTrainedModel, rows: list[Prepared], pad_id: int):
        import torch

        self.model = model
        self.rows = rows
        lengths = [len(row.prompt) for row in rows]
        self.width = max(lengths)
        padded = [[pad_id] * (self.width - len(row.prompt)) + row.prompt for row in rows]
        self.prompts = torch.tensor(padded, device=model.device)
        columns = torch.arange(self.width + max(row.limit for row in rows), device=model.device)
        pads = self.width - torch.tensor(lengths, device=model.device)[:, None]
        self.positions = (columns - pads).clamp(min=0)
        # Without padding no mask is needed, and attention is faster without one.
        self.mask = (columns >= pads).long() if min(lengths) < self.width else None
        self.takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self.takes_cache = cache_name(model)
        self.cache = _reserved_cache(model)

    def prefill(self) -> Tensor:
        """Logits [rows, vocabulary] after the prompts. Raises `StageError` when they are not numbers."""
        logits = self._forward(self.prompts, 0)
        if logits.isnan().any():
            raise StageError(f"{self.model.name_or_path}: the model's logits are NaN; its training diverged")
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token per row, [rows]; logits [rows, vocabulary] after it."""
        self.width += 1
        return self._forward(tokens[:, None], self.width - 1)

    def _forward(self, ids: Tensor, start: int) -> Tensor:
        import torch

        extra: dict[str, Any] = {self.takes_cache: self.cache}
        if self.takes_positions:
            extra["position_ids"] = self.positions[:, start : self.width]
        if self.mask is not None:
            extra["attention_mask"] = self.mask[:, : self.width]
        # Entered per step: a generator that yields inside would leave its caller in inference mode.
        with torch.inference_mode():
            output = self.model(
                input_ids=ids,
                use_cache=True,
                logits_to_keep=1,
                **extra,
            )
            return output.logits[:, -1].float()

    def keep(self, places: list[int]) -> None:
        """Go on with the rows at these places only, in this order."""
        import torch

        with torch.inference_mode():
            self.cache.batch_select_indices(torch.tensor(places, device=self.positions.device))
            self.positions = self.positions[places]
            self.mask = None if self.mask is None else self.mask[places]
        self.rows = [self.rows[place] for place in places]


def cache_name(model: PreTrainedModel) -> str:
    """What a model calls its cache when it is read on with."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"  # before 5.24


def _reserved_cache(model: PreTrainedModel) -> Cache:
    """The cache transformers gives this architecture, with its plain full-attention layers written in place."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layered = DynamicCache(config=model.config)
    layered.layers = [_reserved_layer()() if type(layer) is DynamicLayer else layer for layer in layered.layers]
    return layered


@cache
def _reserved_layer() -> type[DynamicLayer]:
    """The class is made on first use, since its parent's module imports torch."""
    from transformers.cache_utils import DynamicLayer

    class ReservedLayer(DynamicLayer):
        """Keys and values [rows, heads, columns, head size] as views of a buffer with columns to spare.

        `DynamicLayer` copies the whole cache at every token, and again when rows leave.
        """

        def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                self.buffers = [key_states[:, :, :0], value_states[:, :, :0]]
            start = self.get_seq_length()
            end = start + key_states.shape[2]
            for i, states in enumerate((key_states, value_states)):
                if end > self.buffers[i].shape[2]:
                    rows, heads, _, size = states.shape
                    grown = states.new_empty(rows, heads, max(2 * start, end + 64), size)
                    grown[:, :, :start] = self.buffers[i][:, :, :start]
                    self.buffers[i] = grown
                self.buffers[i][:, :, start:end] = states
            self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
            return self.keys, self.values

        def batch_select_indices(self, indices: Tensor) -> None:
            """Only rows that change place are copied."""
            if not self.is_initialized:
                return
            end = self.get_seq_length()
            moved = (indices != indices.new_tensor(range(len(indices)))).nonzero()[:, 0]
            for i, buffer in enumerate(self.buffers):
                buffer[moved, :, :end] = buffer[indices[moved], :, :end]
                self.buffers[i] = buffer[: len(indices)]
            self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)

    return ReservedLayer


def pick(logits: Tensor, rows: list[Prepared], draws: list[random.Random]) -> Tensor:
    """The next token of every row, [rows]: the likeliest, or one drawn with the row's own generator."""
    greedy = logits.argmax(-1)
    if all(row.temperature == 0 for row in rows):
        return greedy
    temperature = logits.new_tensor([[row.temperature or 1.0] for row in rows])
    probabilities = (logits / temperature).softmax(-1)
    # In (0, 1], so that a token of probability zero is never met.
    uniforms = logits.new_tensor([[1.0 - draw.random()] for draw in draws])
    if any(row.top_k or row.top_p < 1 for row in rows):
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        drawn = order.gather(1, _invert(_filtered(probabilities, rows), uniforms))
    else:
        drawn = _invert(probabilities, uniforms)
    return greedy.where(logits.new_tensor([row.temperature == 0 for row in rows]).bool(), drawn[:, 0])


def _filtered(descending: Tensor, rows: list[Prepared]) -> Tensor:
    """Probabilities [rows, vocabulary], sorted downwards, with what top_k and then top_p cut off set to zero."""
    import torch

    vocabulary = descending.shape[1]
    top_k = descending.new_tensor([[row.top_k or vocabulary] for row in rows])
    top_p = descending.new_tensor([[row.top_p] for row in rows])
    kept = descending * (torch.arange(vocabulary, device=descending.device) < top_k)
    before = kept.cumsum(-1) - kept
    # The likeliest token always stays. At top_p = 1 rounding must not cut the tail.
    return kept * ((before < top_p * kept.sum(-1, keepdim=True)) | (top_p >= 1))


def _invert(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Where the uniforms [rows, 1] fall in the running sums of probabilities [rows, vocabulary], not summing to 1."""
    import torch

    sums = probabilities.cumsum(-1)
    return torch.searchsorted(sums, uniforms * sums[:, -1:])


def without(count: int, ended: list[int]) -> list[int]:
    """Places of the rows that go on, with holes filled from the end, so that as few rows as possible move."""
    left = count - len(ended)
    gone = set(ended)
    movers = [place for place in range(left, count) if place not in gone]
    return [movers.pop() if place in gone else place for place in range(left)]
