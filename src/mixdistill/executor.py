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
from collections import deque
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


def enough_gpus(devices: Sequence[str], processes: int, key: str = "train.num_processes") -> None:
    """Raise StageError where there are GPUs, and fewer than processes of one unit: two cannot share one. `key`: what
    asks for so many."""
    if 0 < len(devices) < processes:
        raise StageError(f"{key}: needs a GPU for each process (got {processes}, and {len(devices)} here); lower it")


def never() -> bool:
    """It is never enough."""
    return False


class Local:
    """Spawned worker processes on this machine: one GPU each where there are any, else one thread each.

    Units that are spread over several processes of their own get as many GPUs or cores each, and fewer of them run at
    once. Workers live as long as the executor, so that heavy imports are paid once; where units need another number of
    GPUs than the ones before, new workers are started. A worker that dies (killed, out of
    memory) takes its pool with it. No more units are handed out than there are workers, so only those that were
    running then may be to blame: they are run again last, one at a time, and only one that dies alone is reported as
    failed. The others go on in a new pool.
    """

    def __init__(self, workers: int | None = None):
        self.devices = gpus()
        self.most = workers or len(self.devices) or cores()
        self.processes = 1
        """Of each unit."""
        self._pool: ProcessPoolExecutor | None = None

    @property
    def workers(self) -> int:
        """How many units run at once."""
        if self.processes == 1:
            return self.most
        return max(1, min(self.most, (len(self.devices) or cores()) // self.processes))

    def spread(self, processes: int, key: str = "train.num_processes") -> Local:
        """Units are spread over so many processes from now on, not counting the worker. StageError where a unit would
        lack GPUs."""
        enough_gpus(self.devices, processes, key)
        if processes != self.processes:
            self._forget()
        self.processes = processes
        return self

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
        self,
        fn: Callable[..., Any],
        jobs: Sequence[tuple[Any, ...]],
        *,
        idle: Callable[[], None],
        enough: Callable[[], bool] = never,
    ) -> Iterator[tuple[tuple[Any, ...], Any, BaseException | None]]:
        """(job, result, error) as each ends. `idle` is called a few times a second meanwhile. Once `enough` says so, no
        further job is begun."""
        suspects: list[tuple[Any, ...]] = []
        for job, result, error in self._round(fn, jobs, idle, enough):
            if isinstance(error, BrokenProcessPool):
                suspects.append(job)
            else:
                yield job, result, error
        for job in suspects:
            for _, result, error in self._round(fn, [job], idle, enough):
                if isinstance(error, BrokenProcessPool):
                    error = StageError("its worker process died (killed, or out of memory); run again to go on")
                yield job, result, error

    def _round(
        self,
        fn: Callable[..., Any],
        jobs: Sequence[tuple[Any, ...]],
        idle: Callable[[], None],
        enough: Callable[[], bool],
    ) -> Iterator[tuple[tuple[Any, ...], Any, BaseException | None]]:
        """Every job once; those that were running when a worker died end in BrokenProcessPool."""
        queued = deque(jobs)
        running: dict[Future[Any], tuple[Any, ...]] = {}
        while queued or running:
            if enough():
                queued.clear()
            self._hand_out(fn, queued, running)
            finished, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            if not finished:
                self._notice_deaths()
            ended = [(running.pop(future), future) for future in finished]
            if any(isinstance(future.exception(), BrokenProcessPool) for _, future in ended):
                self._forget()
                ended += [(running.pop(future), future) for future in list(running)]  # it ended them all
            self._hand_out(fn, queued, running)  # before anybody looks at the results
            idle()
            for job, future in ended:
                error = future.exception()
                yield job, None if error else future.result(), error

    def _hand_out(
        self, fn: Callable[..., Any], queued: deque[tuple[Any, ...]], running: dict[Future[Any], tuple[Any, ...]]
    ) -> None:
        """Give the workers that are free a job each. What a broken pool was running has to come back first."""
        while queued and len(running) < self.workers:
            pool = self._pool = self._pool or self._start()
            try:
                running[pool.submit(_carry, fn, queued[0])] = queued[0]
            except BrokenProcessPool:
                if running:
                    return
                self._forget()  # a worker died between two units
                continue
            queued.popleft()

    def _notice_deaths(self) -> None:
        """Have the pool look again where a worker is dead: one that was started while the pool's thread was about to
        wait is not among those that it waits for, and nobody would ever hear of its death.
        """
        pool = self._pool
        if pool and any(not process.is_alive() for process in list((pool._processes or {}).values())):
            with contextlib.suppress(AttributeError, OSError):  # private, and closed once the pool is broken
                pool._executor_manager_thread_wakeup.wakeup()

    def _forget(self) -> None:
        """Let a broken pool go once its workers are gone: none of them writes when its unit is begun again."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def _start(self) -> ProcessPoolExecutor:
        # Workers that are ended early leave semaphores; Python's tracker removes them, and need not say so.
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
        context = multiprocessing.get_context("spawn")
        slots = context.Queue()
        for i in range(self.workers):
            slots.put(",".join(self._devices(i)) or None)
        return ProcessPoolExecutor(
            self.workers, mp_context=context, initializer=_initialise, initargs=(slots, os.getpid())
        )

    def _devices(self, worker: int) -> list[str]:
        """The GPUs of one worker; more workers than there are GPUs, where somebody asked for them, share."""
        first = worker * self.processes
        return [self.devices[(first + i) % len(self.devices)] for i in range(self.processes) if self.devices]


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _carry(fn: Callable[..., Any], job: tuple[Any, ...]) -> Any:
    """Call `fn` in a worker. An exception that cannot travel between processes would take the whole pool with it."""
    try:
        return fn(*job)
    except Exception as e:
        if (error := sendable(e)) is not e:
            raise error from e
        raise


def sendable(e: Exception) -> Exception:
    """The error, or one that says the same and can travel between processes."""
    try:
        pickle.loads(pickle.dumps(e))  # noqa: S301 -- our own bytes
    except Exception:
        return MixdistillError(str(e)) if isinstance(e, MixdistillError) else RuntimeError(f"{type(e).__name__}: {e}")
    return e


def end_with_parent(parent: int) -> None:
    """In a process that was started by another: end when that one does, however it does. `parent`: its own word for
    who it is, since it may have died before this process could ask."""
    _die_with_parent()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _die_with_parent() -> None:
    """Linux kills a worker in the moment its parent dies, so that the next run never meets it still writing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with(parent: int) -> None:
    """In a worker: end when the parent is gone, where the system does not see to it."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def _initialise(slots: Any, parent: int) -> None:
    """Give a worker its device or its one thread, before anything heavy is imported in it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # what a backend prints is no output of ours: stdout is for --json
    end_with_parent(parent)
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
