"""Worker processes for units. One method, `map`; nothing is shared in memory."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from mixdistill.errors import MixdistillError, StageError

POLL_SECONDS = 0.25
PR_SET_PDEATHSIG = 1


def gpus() -> list[str]:
    """Ids of the NVIDIA devices this process may use, found without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [v for v in visible.split(",") if v and v != "-1"]
    return sorted(p.name.removeprefix("nvidia") for p in Path("/dev").glob("nvidia[0-9]*"))


class Local:
    """Spawned worker processes on this machine: one GPU each where there are any, else one thread each.

    Workers live as long as the executor, so that heavy imports are paid once. A worker that dies (killed, out of
    memory) takes its pool with it; the units it may have taken along are run again one at a time, and only one that
    dies alone is reported as failed.
    """

    def __init__(self, workers: int | None = None):
        self.devices = gpus()
        self.workers = workers or len(self.devices) or _cores()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._pool is not None:
            if exc[0] is not None:
                for process in list((self._pool._processes or {}).values()):
                    process.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def map(
        self, fn: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], *, idle: Callable[[], None]
    ) -> Iterator[tuple[tuple[Any, ...], Any, BaseException | None]]:
        """(job, result, error) as each ends. `idle` is called a few times a second meanwhile."""
        lost: list[tuple[Any, ...]] = []
        for job, result, error in self._round(fn, jobs, idle):
            if isinstance(error, BrokenProcessPool):
                lost.append(job)
            else:
                yield job, result, error
        for job in lost:
            for _, result, error in self._round(fn, [job], idle):
                if isinstance(error, BrokenProcessPool):
                    error = StageError("its worker process died (killed, or out of memory); run again to go on")
                yield job, result, error

    def _round(
        self, fn: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], idle: Callable[[], None]
    ) -> Iterator[tuple[tuple[Any, ...], Any, BaseException | None]]:
        if not jobs:
            return
        pool = self._pool = self._pool or self._start()
        running: dict[Future[Any], tuple[Any, ...]] = {}
        try:
            for job in jobs:
                running[pool.submit(_carry, fn, job)] = job
        except BrokenProcessPool as e:
            self._pool = None
            for job in jobs[len(running) :]:
                yield job, None, e
        while running:
            finished, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            idle()
            for future in finished:
                job, error = running.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    self._pool = None
                yield job, None if error else future.result(), error

    def _start(self) -> ProcessPoolExecutor:
        # Workers that are ended early leave semaphores; Python's tracker removes them, and need not say so.
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
        context = multiprocessing.get_context("spawn")
        slots = context.Queue()
        for i in range(self.workers):
            slots.put(self.devices[i % len(self.devices)] if self.devices else None)
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=_initialise, initargs=(slots,))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _carry(fn: Callable[..., Any], job: tuple[Any, ...]) -> Any:
    """Call `fn` in a worker. An exception that cannot travel between processes would take the whole pool with it."""
    try:
        return fn(*job)
    except Exception as e:
        try:
            pickle.loads(pickle.dumps(e))  # noqa: S301 -- our own bytes
        except Exception:
            ours = isinstance(e, MixdistillError)
            raise (MixdistillError(str(e)) if ours else RuntimeError(f"{type(e).__name__}: {e}")) from e
        raise


def _die_with_parent() -> None:
    """Linux kills a worker in the moment its parent dies, so that the next run never meets it still writing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with(parent: int) -> None:
    """In a worker: end when the parent is gone, where the system does not see to it."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def _initialise(slots: Any) -> None:
    """Give a worker its device or its one thread, before anything heavy is imported in it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    _die_with_parent()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    device = slots.get()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    else:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
            os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
