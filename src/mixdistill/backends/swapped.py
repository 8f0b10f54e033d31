"""A base that vLLM loads once, and the LoRA adapters of its trained students, swapped on it from unit to unit.

Base and adapters are sampled by one engine with the same kernels, so that nothing but the adapter differs between them.
"""

from __future__ import annotations

from functools import cached_property
from itertools import count
from typing import Any

from mixdistill.backends import engines
from mixdistill.backends.vllm import VLLM, lora_rank

_numbers = count(1)


class Swapped(VLLM):
    """The backend `vllm` for a base with one adapter on it, or none. Its engine outlives it: see `engines.py`."""

    def __init__(self, base: str, adapter: str | None, *, rank: int, engine_name: str, **options: Any):
        """`base`: folder or hub id, also of tokenizer and settings. `adapter`: folder in PEFT's layout. `rank`: the
        largest of any adapter. `engine_name`: all with the same one share base, rank and options; what the chat
        template is given may differ."""
        super().__init__(base, **options)
        self.engine_options = {"enable_lora": True, "max_lora_rank": lora_rank(rank), **self.engine_options}
        self.engine_name = engine_name
        self._folder = adapter

    @cached_property
    def _llm(self) -> Any:
        return engines.kept(self.engine_name, self._start, engines.stop_vllm)

    @cached_property
    def _lora(self) -> Any:
        """The adapter under a name of its own: vLLM keeps adapters, and what it computed with them, by their names, and
        another training may have put other weights into the same folder."""
        if self._folder is None:
            return None
        from vllm.lora.request import LoRARequest

        number = next(_numbers)
        return LoRARequest(f"adapter {number}", number, self._folder)

    def _close(self) -> None:
        self.__dict__.pop("_llm", None)  # the worker keeps it
