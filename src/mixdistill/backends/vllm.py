"""Completions by vLLM's engine on this machine: any Hugging Face folder or hub id, or a LoRA adapter on one.

A request is made ready exactly as for `transformers.py`: the same prompt ids, settings in force, stop tokens and split.
The engine alone is another, and draws with generators of its own: sampled rows differ between the two, greedy ones only
where two tokens are all but equally likely.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from mixdistill.backends import adapters, engines
from mixdistill.backends.transformers import (
    begun_ids,
    completion_of,
    decoding_of,
    generation_config,
    ignored_of,
    own_stop_ids,
    token_limit,
)
from mixdistill.errors import DataError, MissingExtra, MixdistillError, StageError, said
from mixdistill.types import Completion, Request

if TYPE_CHECKING:
    from mixdistill.tokens import Template

VERSION = "1"
"""Rises when the same request would give another completion."""

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM can be told as the largest rank."""
_END = object()


class _Asked(NamedTuple):
    """A request that the engine works on."""

    position: int
    start: float
    begun: bool
    """Whether it goes on from a beginning."""


class VLLM:
    """Samples completions with vLLM, many at once; a row is given the moment it ends, and the next takes its place.

    Settings a request leaves open come from the model's `generation_config`; what that leaves open too is off. The
    same request gives the same completion in any order up to the rounding of the matrix products, which depends on
    what else is in the batch.
    """

    LIVE = True
    NOT_IDENTITY: frozenset[str] = frozenset(
        {"concurrency", "tensor_parallel_size", "gpu_memory_utilization", "enforce_eager"}
    )
    """Options that change how fast completions come, not which."""

    def __init__(
        self,
        model: str,
        *,
        dtype: str = "auto",
        quantization: str | None = None,
        max_model_len: int | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        concurrency: int = 256,
        tensor_parallel_size: int | None = 1,
        gpu_memory_utilization: float | None = None,
        enforce_eager: bool = False,
        engine: dict[str, Any] | None = None,
    ):
        """`model`: folder or hub id, or the folder of a LoRA adapter, whose base is loaded beneath it. `max_model_len`:
        most tokens of prompt and completion together; None: the model's context. `concurrency`: rows in the engine at
        once. `engine`: further arguments of `vllm.LLM`. The others are vLLM's own, by their names there."""
        self.model = model
        self.chat_template_kwargs = chat_template_kwargs
        self.concurrency = max(1, concurrency)
        given: dict[str, Any] = {
            "dtype": dtype,
            "quantization": quantization,
            "max_model_len": max_model_len,
            "gpu_memory_utilization": gpu_memory_utilization,
            "tensor_parallel_size": tensor_parallel_size,
            "enforce_eager": enforce_eager,
            "max_num_seqs": self.concurrency,
            **(engine or {}),
        }
        for key in ("max_model_len", "tensor_parallel_size"):
            if isinstance(value := given[key], str) and value.isdigit():  # out of the environment
                given[key] = int(value)
        self.engine_options = {k: v for k, v in given.items() if v is not None}
        self._adapter = adapters.read(model)
        self._kept = False

    def generate(self, requests: Iterable[Request | None]) -> Iterator[tuple[int, Completion]]:
        """Yield (draws before it, completion) as rows finish; draws a request whenever the engine has room for one.

        A prompt that does not fit the context is a completion with `error`. Raises `DataError` when the model cannot
        be loaded, `MissingExtra` without vLLM, `StageError` when the engine fails.
        """
        draws, drawn = iter(requests), 0
        asked: dict[str, _Asked] = {}
        more = True
        try:
            while more or asked:
                while more and len(asked) < self.concurrency:
                    request = next(draws, _END)
                    if request is _END:
                        more = False
                    if not isinstance(request, Request):
                        break
                    drawn += 1
                    failed = self._add(drawn - 1, request, asked)
                    if failed is not None:
                        yield drawn - 1, failed
                for output in self._step() if asked else ():
                    row = asked.pop(output.request_id)
                    yield row.position, self._completion(output, row)
        finally:
            self._drop(asked)
            if not self._kept:
                self._close()

    def __enter__(self) -> VLLM:
        """Keep the engine from one `generate` to the next, until this is left."""
        self._kept = True
        return self

    def __exit__(self, *error: object) -> None:
        self._kept = False
        self._close()

    def _add(self, position: int, request: Request, asked: dict[str, _Asked]) -> Completion | None:
        """Hand a request to the engine; else the completion that says why it cannot be."""
        prompt = begun_ids(request, self._template)
        context = self._engine.model_config.max_model_len
        if len(prompt) >= context:
            return Completion(error=f"prompt has {len(prompt)} tokens, context is {context}")
        limit = token_limit(request.sampling, self._settings, len(prompt), context)
        if limit is None or limit < 1:
            return Completion(error=f"no token may be sampled after {len(prompt)} (got limit {limit}); set max_tokens")
        temperature, top_k, top_p = decoding_of(request.sampling, self._settings)
        from vllm import SamplingParams  # the engine is up, so its environment is prepared

        params = SamplingParams(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            max_tokens=limit,
            seed=request.seed if temperature else None,
            # The stop tokens are the template's and the model's own, as everywhere here, and no others.
            ignore_eos=True,
            stop_token_ids=sorted(self._stop_ids),
            detokenize=False,
            output_kind=_final_only(),
        )
        name = str(position)
        asked[name] = _Asked(position, time.perf_counter(), request.begun)
        self._engine.add_request(name, {"prompt_token_ids": prompt}, params, lora_request=self._lora)
        return None

    def _step(self) -> list[Any]:
        """What ended in one step of the engine."""
        try:
            return [output for output in self._engine.step() if output.finished]
        except Exception as e:
            raise StageError(f"{self.model}: vLLM's engine failed ({said(e, 300)}); run again to go on") from e

    def _completion(self, output: Any, row: _Asked) -> Completion:
        return completion_of(
            list(output.outputs[0].token_ids),
            self._template,
            self._stop_ids,
            prompt_tokens=len(output.prompt_token_ids),
            seconds=time.perf_counter() - row.start,
            begun=row.begun,
        )

    @property
    def _engine(self) -> Any:
        return self._llm.llm_engine

    @cached_property
    def _llm(self) -> Any:
        """The engine with the model in it; started on first use."""
        return self._start()

    def _start(self) -> Any:
        """A new engine. Raises as `generate` does."""
        _prepare()
        engines.make_room()
        try:
            import vllm
        except ImportError:
            raise MissingExtra("vllm", "vllm") from None
        lora = {} if self._adapter is None else {"enable_lora": True, "max_lora_rank": lora_rank(self._adapter.rank)}
        for name, value in ignored_of(self._settings).items():
            warnings.warn(
                f"{self.model}: generation_config sets {name}={value}, which is not applied here", stacklevel=2
            )
        try:
            return vllm.LLM(
                self._base,
                tokenizer=self._tokenizer,
                generation_config="vllm",  # its settings are filled in per request, as everywhere here
                use_tqdm_on_load=False,
                **{**lora, **self.engine_options},
            )
        except MixdistillError:
            raise
        except OSError as e:
            raise DataError(f"{self._base}: cannot be loaded ({said(e, 200)}); give a folder or hub id") from e
        except Exception as e:
            raise StageError(
                f"{self._base}: vLLM cannot start with it ({said(e, 300)}); mend its options, or use transformers"
            ) from e

    @property
    def _base(self) -> str:
        return self.model if self._adapter is None else self._adapter.base

    @property
    def _tokenizer(self) -> str:
        return adapters.tokenizer_of(self.model, self._adapter)

    @cached_property
    def _lora(self) -> Any:
        """The adapter as the engine is told of it with every request."""
        if self._adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        return LoRARequest("adapter", 1, self.model)

    @cached_property
    def _settings(self) -> Any:
        """The model's own generation settings; of an adapter, those of its base."""
        return generation_config(self._base)

    @cached_property
    def _template(self) -> Template:
        from mixdistill.tokens import Template

        return Template.load(self._tokenizer, chat_template_kwargs=self.chat_template_kwargs)

    @cached_property
    def _stop_ids(self) -> frozenset[int]:
        """Tokens that end a completion: the template's and the model's own."""
        return self._template.stop_ids.union(own_stop_ids(self._settings))

    def _drop(self, asked: dict[str, _Asked]) -> None:
        """Abandon what is unfinished."""
        if asked and (llm := self.__dict__.get("_llm")) is not None:
            with contextlib.suppress(Exception):  # it may be dead, and what went wrong has been said
                llm.llm_engine.abort_request(list(asked))

    def _close(self) -> None:
        """End the engine and give its memory back: the worker goes on to another unit."""
        llm = self.__dict__.pop("_llm", None)
        if llm is not None:
            engines.stop_vllm(llm)
            del llm
            gc.collect()


def environment() -> dict[str, str]:
    """The environment that vLLM is to be imported in: no usage statistics, and on a machine without a GPU a cache that
    leaves room for others. What the user has set stays, but for the statistics."""
    from mixdistill.executor import gpus

    own = {} if gpus() else {"VLLM_CPU_KVCACHE_SPACE": "1"}  # GiB; by itself it takes nearly all memory, or fails
    return {**own, **os.environ, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def _prepare() -> None:
    """The same for this process. Errors alone are logged, and the engine gets no process of its own where it needs
    none; on a GPU it does, since the end of that process gives back all memory, which the next model needs."""
    from mixdistill.executor import gpus

    os.environ.update(environment())
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "1" if gpus() else "0")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")


def lora_rank(rank: int) -> int:
    """The smallest largest rank vLLM takes that holds `rank`."""
    return next((r for r in LORA_RANKS if r >= rank), rank)


def _final_only() -> Any:
    from vllm.sampling_params import RequestOutputKind

    return RequestOutputKind.FINAL_ONLY
