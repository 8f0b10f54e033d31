"""The engine that a worker keeps from one unit to the next, so that a model is loaded once; and room on the device.

A worker keeps at most one. Units that share an engine carry its name; whoever else wants the device ends it first.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from typing import Any

_held: dict[str, tuple[Any, Callable[[Any], None]]] = {}
"""Name -> (engine, what ends it); one at most."""


def kept(name: str, start: Callable[[], Any], stop: Callable[[Any], None]) -> Any:
    """The engine of this name: the one that is kept, or a new one in its place."""
    if name not in _held:
        end()
        _held[name] = start(), stop
        # vLLM's engine is a process of its own on a GPU, and Python would wait for it for ever when the worker ends.
        Finalize(None, end, exitpriority=100)
    return _held[name][0]


def end() -> None:
    """End the engine that is kept, if any."""
    while _held:
        _, (engine, stop) = _held.popitem()
        stop(engine)
        del engine
        gc.collect()


@contextmanager
def shared(name: str) -> Generator[None]:
    """A unit of work, which shares the engine of this name with the units around it; none where it is empty. An engine
    of another name is ended before, and this one where the unit fails: it may be to blame."""
    if name not in _held:
        end()
    try:
        yield
    except BaseException:
        end()
        raise
    if not name:
        end()


def make_room(wanted: int | None = None) -> None:
    """Give back what this process still holds of the GPU and no longer uses: another model, or a server, wants it.

    `wanted`: bytes of the GPU. The engine that is kept is ended where so many are not free; it stays without it.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return
    gc.collect()
    torch.cuda.empty_cache()
    if wanted is not None and _held and torch.cuda.mem_get_info()[0] < wanted:
        end()


def stop_vllm(llm: Any) -> None:
    """End an engine of vLLM; its memory comes back when the caller lets go of it too."""
    with contextlib.suppress(Exception):
        llm.llm_engine.engine_core.shutdown()
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    with contextlib.suppress(Exception):
        cleanup_dist_env_and_memory()
