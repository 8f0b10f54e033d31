"""Completions of a causal language model on this machine: any Hugging Face folder or hub id.

The decode loop is our own, since most of the time of a study of small models is spent in it: prompts of like
length are decoded together, a row leaves the batch the moment it ends, and the cache is written in place.
`benchmarks/generation.py` compares it with `model.generate`.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from mixdistill.errors import DataError, MissingExtra, StageError
from mixdistill.types import Completion, Request, Sampling, Usage

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache, GenerationConfig, PreTrainedModel
    from transformers.cache_utils import DynamicLayer

    from mixdistill.tokens import Template

VERSION = "1"
"""Rises when the same request would give another completion."""

IGNORED_SETTINGS = {
    "repetition_penalty": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
}
"""Generation settings of a model that are not applied here, with the value at which that makes no difference."""


@dataclass(frozen=True)
class InForce:
    """How a model is really decoded here."""

    settings: dict[str, Any]
    """Temperature, top_k, top_p, the limits on tokens and the model's own stop tokens; without those that do nothing.
    """
    ignored: dict[str, Any]
    """Generation settings that the model brings and that are not applied."""


def in_force(model: str, sampling: Sampling) -> InForce:
    """What `Transformers` does with a model (folder or hub id) and this sampling. Does not load its weights."""
    from transformers import AutoConfig

    own, config = generation_config(model), AutoConfig.from_pretrained(model).get_text_config(decoder=True)
    temperature, top_k, top_p = _decoding(sampling, own)
    new = _first(sampling.max_tokens, own.max_new_tokens, 0)
    settings = {
        "temperature": temperature,
        "top_k": top_k if temperature else 0,
        "top_p": top_p if temperature and top_p < 1 else 0,
        "max_tokens": new,
        "max_length": 0 if new else own.max_length,
        "context": getattr(config, "max_position_embeddings", None),
        "stop_tokens": _own_stop_ids(own),
    }
    return InForce({k: v for k, v in settings.items() if v or k == "temperature"}, _ignored(own))


def generation_config(model: str) -> Any:
    """A model's own generation settings, or those its configuration implies where it brings none."""
    from transformers import AutoConfig, GenerationConfig

    try:
        return GenerationConfig.from_pretrained(model)
    except OSError:
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(model))


def _own_stop_ids(settings: GenerationConfig) -> list[int]:
    eos = settings.eos_token_id
    return [] if eos is None else [eos] if isinstance(eos, int) else sorted(eos)


class Transformers:
    """Samples completions of a local causal language model, in batches.

    The same request (prompt, seed, sampling) gives the same completion in any batch and order, up to the rounding
    of the matrix products. Settings a request leaves open come from the model's `generation_config`; what that
    leaves open too is off: temperature 1 when it samples, no top_k, no top_p.
    """

    NOT_IDENTITY: frozenset[str] = frozenset({"batch_size", "device"})
    """Options that change how fast completions come, not which."""

    def __init__(
        self,
        model: str,
        *,
        batch_size: int = 64,
        dtype: str = "auto",
        device: str | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
    ):
        """`model`: folder or hub id. `batch_size`: rows decoded together at most; halved when memory runs out.
        `device`: as torch names it; None: the GPU when there is one."""
        self.model = model
        self.batch_size = batch_size
        self.dtype = dtype
        self.device = device
        self.chat_template_kwargs = chat_template_kwargs

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Yield (position in `requests`, completion) as rows finish, longest prompts first.

        A prompt that does not fit the model's context is a completion with `error`. Raises `DataError` when the
        model cannot be loaded, `StageError` when it gives numbers that are not numbers.
        """
        import torch

        pending = []
        for position, request in enumerate(requests):
            row = self._row(position, request)
            if isinstance(row, Completion):
                yield position, row
            else:
                pending.append(row)
        # Longest first: when memory runs out it does so at the start, and neighbours need little padding.
        pending.sort(key=lambda row: -len(row.prompt))
        size = max(1, self.batch_size)
        while pending:
            batch = pending[:size]
            finished: set[int] = set()
            try:
                for row, completion in self._decode(batch):
                    finished.add(row.position)
                    yield row.position, completion
                exhausted = False
            except torch.OutOfMemoryError:
                exhausted = True
            pending = [row for row in pending if row.position not in finished]
            # Outside the handler: the exception holds on to the tensors of the failed step.
            if exhausted:
                torch.cuda.empty_cache()
                if len(batch) == 1:
                    yield pending.pop(0).position, Completion(error=_no_memory(batch[0]))
                size = max(1, len(batch) // 2)

    @cached_property
    def _loaded(self) -> PreTrainedModel:
        """The model in eval mode on its device; loaded on first use."""
        try:
            import torch
        except ImportError:
            raise MissingExtra("torch", "train") from None
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            model = AutoModelForCausalLM.from_pretrained(self.model, dtype=self.dtype)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"{self.model}: cannot be loaded ({reason}); give a folder or hub id") from error
        for name, value in _ignored(model.generation_config).items():
            warnings.warn(
                f"{self.model}: generation_config sets {name}={value}, which is not applied here", stacklevel=2
            )
        return model.eval().to(device)

    @cached_property
    def _template(self) -> Template:
        from mixdistill.tokens import Template

        return Template.load(self.model, chat_template_kwargs=self.chat_template_kwargs)

    @cached_property
    def _stop_ids(self) -> frozenset[int]:
        """Tokens that end a completion: the template's and the model's own."""
        return self._template.stop_ids.union(_own_stop_ids(self._loaded.generation_config))

    def _row(self, position: int, request: Request) -> _Row | Completion:
        """A request made ready for decoding, or the completion that says why it cannot be."""
        settings, config = self._loaded.generation_config, self._loaded.config.get_text_config(decoder=True)
        prompt = self._template.prompt_ids(request.prompt)
        context = getattr(config, "max_position_embeddings", None)
        if context is not None and len(prompt) >= context:
            return Completion(error=f"prompt has {len(prompt)} tokens, context is {context}")
        limit = _token_limit(request.sampling, settings, len(prompt), context)
        if limit is None or limit < 1:
            return Completion(error=f"no token may be sampled after {len(prompt)} (got limit {limit}); set max_tokens")
        temperature, top_k, top_p = _decoding(request.sampling, settings)
        return _Row(position, prompt, limit, temperature, top_k, top_p, request.seed)

    def _decode(self, rows: list[_Row]) -> Iterator[tuple[_Row, Completion]]:
        """Decode rows together; yields each as it ends."""
        mark = time.perf_counter()
        batch = _Batch(self._loaded, rows, self._template.pad_id)
        draws = [random.Random(row.seed) for row in rows]
        sampled: list[list[int]] = [[] for _ in rows]
        seconds = 0.0
        logits = batch.prefill()
        while True:
            tokens = _pick(logits, batch.rows, draws)
            ended = []
            for place, token in enumerate(tokens.tolist()):
                sampled[place].append(token)
                if token in self._stop_ids or len(sampled[place]) == batch.rows[place].limit:
                    ended.append(place)
            # Every row bears an equal share of each step it took part in, so the shares add up to the wall time.
            seconds += (time.perf_counter() - mark) / len(sampled)
            for place in ended:
                yield (
                    batch.rows[place],
                    self._completion(batch.rows[place], sampled[place], seconds),
                )
            mark = time.perf_counter()
            if ended:
                keep = _without(len(sampled), ended)
                if not keep:
                    return
                batch.keep(keep)
                draws, sampled = [draws[i] for i in keep], [sampled[i] for i in keep]
                tokens = tokens[keep]
            logits = batch.step(tokens)

    def _completion(self, row: _Row, sampled: list[int], seconds: float) -> Completion:
        stopped = sampled[-1] in self._stop_ids
        reasoning, content = self._template.split(sampled[:-1] if stopped else sampled)
        return Completion(
            reasoning=reasoning,
            content=content,
            finish_reason="stop" if stopped else "length",
            usage=Usage(prompt_tokens=len(row.prompt), completion_tokens=len(sampled)),
            token_ids=sampled,
            seconds=seconds,
        )


@dataclass(frozen=True)
class _Row:
    """A request ready for decoding: every setting filled in."""

    position: int
    prompt: list[int]
    limit: int  # tokens sampled at most
    temperature: float  # 0: greedy
    top_k: int  # 0: off
    top_p: float  # 1: off
    seed: int


class _Batch:
    """Rows that are decoded together: padded on the left, so that every row's next token is in the same column."""

    def __init__(self, model: PreTrainedModel, rows: list[_Row], pad_id: int):
        import inspect

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

        extra: dict[str, Tensor] = {}
        if self.takes_positions:
            extra["position_ids"] = self.positions[:, start : self.width]
        if self.mask is not None:
            extra["attention_mask"] = self.mask[:, : self.width]
        # Entered per step: a generator that yields inside would leave its caller in inference mode.
        with torch.inference_mode():
            output = self.model(
                input_ids=ids,
                past_key_values=self.cache,
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


def _pick(logits: Tensor, rows: list[_Row], draws: list[random.Random]) -> Tensor:
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


def _filtered(descending: Tensor, rows: list[_Row]) -> Tensor:
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


def _without(count: int, ended: list[int]) -> list[int]:
    """Places of the rows that go on, with holes filled from the end, so that as few rows as possible move."""
    left = count - len(ended)
    gone = set(ended)
    movers = [place for place in range(left, count) if place not in gone]
    return [movers.pop() if place in gone else place for place in range(left)]


def _token_limit(sampling: Sampling, settings: GenerationConfig, prompt: int, context: int | None) -> int | None:
    """Tokens that may be sampled after a prompt of `prompt` tokens; None when nothing says."""
    limits = [] if context is None else [context - prompt]
    if sampling.max_tokens is not None:
        limits.append(sampling.max_tokens)
    elif settings.max_new_tokens is not None:
        limits.append(settings.max_new_tokens)
    elif settings.max_length is not None:
        limits.append(settings.max_length - prompt)
    return min(limits, default=None)


def _decoding(sampling: Sampling, settings: GenerationConfig) -> tuple[float, int, float]:
    """(temperature, top_k, top_p) in force; 0 is greedy, top_k 0 and top_p 1 are off."""
    temperature = sampling.temperature
    if temperature is None:
        temperature = _first(settings.temperature, 1.0) if settings.do_sample else 0.0
    top_k = _first(sampling.top_k, settings.top_k, 0)
    top_p = _first(sampling.top_p, settings.top_p, 1.0)
    return temperature, max(0, top_k), top_p


def _first(*values: Any) -> Any:
    """The first that is not None."""
    return next(value for value in values if value is not None)


def _ignored(settings: GenerationConfig) -> dict[str, Any]:
    """The model's generation settings that are not applied: they change what it would say elsewhere."""
    found = {name: getattr(settings, name, None) for name in IGNORED_SETTINGS}
    return {name: value for name, value in found.items() if value is not None and value != IGNORED_SETTINGS[name]}


def _no_memory(row: _Row) -> str:
    return f"out of memory with a single row (prompt {len(row.prompt)} tokens, up to {row.limit} more)"
