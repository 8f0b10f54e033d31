"""Completions of a causal language model on this machine: any Hugging Face folder or hub id.

Here a request is made ready (template, settings in force, limits), batches are formed, and what was sampled becomes a
completion; the loop itself is `decoding.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mixdistill.backends import adapters
from mixdistill.backends.decoding import Prepared, decode
from mixdistill.errors import DataError, MissingExtra
from mixdistill.types import Completion, Request, Sampling, Usage

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

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
    """Temperature, top_k, top_p, the limits on tokens and all stop tokens; without those that do nothing."""
    ignored: dict[str, Any]
    """Generation settings that the model brings and that are not applied."""


def in_force(model: str, sampling: Sampling, template: Template) -> InForce:
    """What `Transformers` does with a model (folder or hub id; of an adapter, its base) and this sampling.

    `template` is the model's. Does not load its weights.
    """
    from transformers import AutoConfig

    adapter = adapters.read(model)
    base = model if adapter is None else adapter.base
    own, config = generation_config(base), AutoConfig.from_pretrained(base).get_text_config(decoder=True)
    temperature, top_k, top_p = decoding_of(sampling, own)
    new = _first(sampling.max_tokens, own.max_new_tokens, 0)
    settings = {
        "temperature": temperature,
        "top_k": top_k if temperature else 0,
        "top_p": top_p if temperature and top_p < 1 else 0,
        "max_tokens": new,
        "max_length": 0 if new else own.max_length,
        "context": getattr(config, "max_position_embeddings", None),
        "stop_tokens": sorted(template.stop_ids.union(own_stop_ids(own))),
    }
    return InForce({k: v for k, v in settings.items() if v or k == "temperature"}, ignored_of(own))


def generation_config(model: str) -> Any:
    """A model's own generation settings, or those its configuration implies where it brings none."""
    from transformers import AutoConfig, GenerationConfig

    try:
        return GenerationConfig.from_pretrained(model)
    except OSError:
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(model))


def own_stop_ids(settings: GenerationConfig) -> list[int]:
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
        model cannot be loaded, `MissingExtra` without torch, `StageError` when it gives numbers that are not numbers.
        """
        pending = []
        for position, request in enumerate(requests):
            row = self._row(position, request)
            if isinstance(row, Completion):
                yield position, row
            else:
                pending.append(row)
        if not pending:
            return
        import torch  # not before the model is loaded, which says what to install where it is missing

        # Longest first: when memory runs out it does so at the start, and neighbours need little padding.
        pending.sort(key=lambda row: -len(row.prompt))
        size = max(1, self.batch_size)
        while pending:
            batch = pending[:size]
            finished: set[int] = set()
            try:
                for row, tokens, seconds in decode(self._loaded, batch, self._template.pad_id, self._stop_ids):
                    finished.add(row.position)
                    yield (
                        row.position,
                        completion_of(
                            tokens,
                            self._template,
                            self._stop_ids,
                            prompt_tokens=len(row.prompt),
                            seconds=seconds,
                            begun=requests[row.position].begun,
                        ),
                    )
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
        """The model; loaded on first use."""
        model = load(self.model, self.dtype, self.device)
        for name, value in ignored_of(model.generation_config).items():
            warnings.warn(
                f"{self.model}: generation_config sets {name}={value}, which is not applied here", stacklevel=2
            )
        return model

    @cached_property
    def _template(self) -> Template:
        from mixdistill.tokens import Template

        return Template.load(self.model, chat_template_kwargs=self.chat_template_kwargs)

    @cached_property
    def _stop_ids(self) -> frozenset[int]:
        """Tokens that end a completion: the template's and the model's own."""
        return self._template.stop_ids.union(own_stop_ids(self._loaded.generation_config))

    def _row(self, position: int, request: Request) -> Prepared | Completion:
        """A request made ready for decoding, or the completion that says why it cannot be."""
        settings, config = self._loaded.generation_config, self._loaded.config.get_text_config(decoder=True)
        prompt = begun_ids(request, self._template)
        context = getattr(config, "max_position_embeddings", None)
        if context is not None and len(prompt) >= context:
            return Completion(error=f"prompt has {len(prompt)} tokens, context is {context}")
        limit = token_limit(request.sampling, settings, len(prompt), context)
        if limit is None or limit < 1:
            return Completion(error=f"no token may be sampled after {len(prompt)} (got limit {limit}); set max_tokens")
        temperature, top_k, top_p = decoding_of(request.sampling, settings)
        return Prepared(position, prompt, limit, temperature, top_k, top_p, request.seed)


def load(model: str, dtype: str, device: str | None = None) -> PreTrainedModel:
    """A causal language model in eval mode on a device, the GPU when there is one and none is named.

    Raises `DataError` when it cannot be loaded, `MissingExtra` without torch.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "train") from None
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{model}: cannot be loaded ({reason}); give a folder or hub id") from error
    return loaded.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def begun_ids(request: Request, template: Template) -> list[int]:
    """Token ids of a request's prompt, and of what the assistant's turn begins with."""
    return template.prompt_ids(request.prompt) + (request.prefix_ids or template.encode(request.prefix))


def completion_of(
    sampled: list[int],
    template: Template,
    stop_ids: frozenset[int],
    *,
    prompt_tokens: int,
    seconds: float,
    begun: bool = False,
) -> Completion:
    """What was sampled, its stop token included where there is one, as a completion; what goes on from a beginning is
    not split."""
    stopped = bool(sampled) and sampled[-1] in stop_ids
    written = sampled[:-1] if stopped else sampled
    reasoning, content = ("", template.decode(written)) if begun else template.split(written)
    return Completion(
        reasoning=reasoning,
        content=content,
        finish_reason="stop" if stopped else "length",
        usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=len(sampled)),
        token_ids=sampled,
        seconds=seconds,
    )


def token_limit(sampling: Sampling, settings: GenerationConfig, prompt: int, context: int | None) -> int | None:
    """Tokens that may be sampled after a prompt of `prompt` tokens; None when nothing says."""
    limits = [] if context is None else [context - prompt]
    if sampling.max_tokens is not None:
        limits.append(sampling.max_tokens)
    elif settings.max_new_tokens is not None:
        limits.append(settings.max_new_tokens)
    elif settings.max_length is not None:
        limits.append(settings.max_length - prompt)
    return min(limits, default=None)


def decoding_of(sampling: Sampling, settings: GenerationConfig) -> tuple[float, int, float]:
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


def ignored_of(settings: GenerationConfig) -> dict[str, Any]:
    """The model's generation settings that are not applied: they change what it would say elsewhere."""
    found = {name: getattr(settings, name, None) for name in IGNORED_SETTINGS}
    return {name: value for name, value in found.items() if value is not None and value != IGNORED_SETTINGS[name]}


def _no_memory(row: Prepared) -> str:
    return f"out of memory with a single row (prompt {len(row.prompt)} tokens, up to {row.limit} more)"
