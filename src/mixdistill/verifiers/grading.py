"""Runs any verifier in worker processes that can be killed: one bad trace never stops or falsifies the others.

Symbolic algebra and users' code can hang, crash or eat all memory, in ways no exception handler catches. So a verifier
runs in processes of its own with a limit on memory and a deadline per item. Items travel in chunks; when a chunk
dies or is late, its items are run again one by one, and only the guilty ones become `error`.

Most answers need none of that. Where the verifier's module has `quick(problem, trace, *, same options) -> Verdict |
None`, it is asked first, in this process, and only items without its verdict go to the workers; where it decides
everything, none are started. The contract of `quick`: time linear in the texts, no side effects, a new row each time,
and no other verdict than the verifier's own.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mixdistill import resolve
from mixdistill.errors import said
from mixdistill.types import Outcome, Problem, Trace, Verdict

if TYPE_CHECKING:
    from pebble import ProcessFuture, ProcessPool

Item = tuple[Problem, Trace]

CHUNK = 64
"""Most items sent to a worker at once: enough to hide the cost of a message (about 1 ms)."""
SHOWN = 200
"""Most characters of what a verifier raised that are kept."""
POOLS = 4
"""Most idle pools that are kept: a chain of verifiers takes turns, and starting workers takes seconds."""
CLOCK_JUMP = 1.0
"""Seconds by which the wall clock and the monotonic one part when somebody sets the time."""


def grade(
    items: Sequence[Item],
    verifier: str,
    options: dict[str, Any],
    *,
    name: str,
    deadline: float = 20.0,
    workers: int = 1,
    memory_gib: float = 4.0,
) -> list[Verdict]:
    """Verdicts of all items, in their order, stamped with `name` and the verifier's version.

    `verifier` is a full reference (`package.module:name` or `path/file.py:name`), `options` its keyword arguments.
    `deadline` is seconds per item, loading of the verifier not counted. `memory_gib` bounds a worker's address space.
    An item whose verifier raises, crashes or is late gets outcome `error`. Workers are started when an item needs one,
    and stay for the next call.
    Scripts that call this need the usual `if __name__ == "__main__":` guard, since workers are spawned.
    Raises RecipeError when the reference leads nowhere.
    """
    failed = [trace.id for _, trace in items if trace.error is not None]
    if failed:
        raise ValueError(f"grade: {len(failed)} traces are failed requests (first {failed[0]}); errors have no verdict")
    verifier = _absolute(verifier)
    function = resolve.load(verifier)
    stamp = {"verifier": name, "version": resolve.version(function)}
    quick = getattr(sys.modules.get(function.__module__), "quick", None)
    decided = [_quickly(quick, problem, trace, options) for problem, trace in items] if quick else [None] * len(items)
    rest = [item for item, verdict in zip(items, decided, strict=True) if verdict is None]
    judged = iter(_by_workers(rest, _Plan(verifier, workers, memory_gib), options, deadline) if rest else [])
    return [_stamped(verdict or next(judged), stamp) for verdict in decided]


def _quickly(quick: Any, problem: Problem, trace: Trace, options: dict[str, Any]) -> Verdict | None:
    """The verdict of the companion `quick`. Whatever else it does is no error yet: the verifier itself is asked."""
    try:
        verdict = quick(problem, trace, **options)
    except Exception:
        return None
    return verdict if isinstance(verdict, Verdict) and verdict.trace_id == trace.id else None


def _stamped(verdict: Verdict, stamp: dict[str, str]) -> Verdict:
    """The same row, stamped. It is still being made, out of a worker's message or by `quick`, and nobody else holds it;
    a copy would take as long as most comparisons.
    """
    vars(verdict).update(stamp)
    verdict.model_fields_set.update(stamp)
    return verdict


def _by_workers(items: Sequence[Item], plan: _Plan, options: dict[str, Any], deadline: float) -> list[Verdict]:
    with _borrowed(plan) as pool:
        return _Round(pool, items, plan.verifier, options, deadline).run(plan.workers)


class _Round:
    """One call of `grade`: what is out, what has come back."""

    def __init__(
        self, pool: ProcessPool, items: Sequence[Item], verifier: str, options: dict[str, Any], deadline: float
    ) -> None:
        self.pool, self.items, self.verifier, self.options, self.deadline = pool, items, verifier, options, deadline
        self.out: deque[tuple[list[int], float, ProcessFuture]] = deque()
        self.done: dict[int, Verdict] = {}

    def run(self, workers: int) -> list[Verdict]:
        size = max(1, min(CHUNK, -(-len(self.items) // (2 * workers))))
        try:
            for start in range(0, len(self.items), size):
                self.send(list(range(start, min(start + size, len(self.items)))))
            while self.out:
                self.collect(*self.out.popleft())
        except BaseException:
            for *_, future in self.out:
                future.cancel()
            raise
        return [self.done[i] for i in range(len(self.items))]

    def send(self, positions: list[int]) -> None:
        # A chunk hands back what it has after half a deadline, so a slow but healthy verifier never looks like a hang.
        limit = self.deadline if len(positions) == 1 else 1.5 * self.deadline
        args = (self.verifier, self.options, [self.items[i] for i in positions], self.deadline / 2, limit)
        self.out.append((positions, _wall_offset(), self.pool.schedule(_grade_chunk, args=args, timeout=limit)))

    def collect(self, positions: list[int], offset: float, future: ProcessFuture) -> None:
        try:
            verdicts: list[Verdict] = future.result()
        except (Exception, CancelledError) as e:
            # The pool reads deadlines off the wall clock; when that was set forward, nothing was late.
            jumped = isinstance(e, TimeoutError) and _wall_offset() - offset > CLOCK_JUMP
            if len(positions) == 1 and not jumped:
                self.done[positions[0]] = _error(self.items[positions[0]][1], self.reason(e))
                return
            for position in positions:
                self.send([position])
            return
        self.done.update(zip(positions, verdicts, strict=False))
        if len(verdicts) < len(positions):
            self.send(positions[len(verdicts) :])

    def reason(self, failure: BaseException) -> str:
        from pebble import ProcessExpired

        if isinstance(failure, TimeoutError):
            return f"deadline of {self.deadline:g} s"
        if isinstance(failure, ProcessExpired):
            return f"the verifier's process died (exit code {failure.exitcode})"
        return said(failure, SHOWN)


def _wall_offset() -> float:
    return time.time() - time.monotonic()


def _grade_chunk(
    verifier: str, options: dict[str, Any], items: list[Item], budget: float, limit: float
) -> list[Verdict]:
    """In a worker: verdicts of the first items, at least one, stopping once `budget` seconds are spent."""
    import faulthandler

    function = resolve.load(verifier)
    start, verdicts = time.monotonic(), []
    with Path(os.devnull).open("w") as silent:
        # Normally the parent kills a late worker. If the parent itself was killed, `_leave_with` does; and this timer,
        # a C thread that needs no interpreter lock, where the worker is stuck inside an extension.
        faulthandler.dump_traceback_later(limit + 10, exit=True, file=silent)
        try:
            for problem, trace in items:
                verdicts.append(_grade_one(function, options, problem, trace))
                if time.monotonic() - start > budget:
                    break
        finally:
            faulthandler.cancel_dump_traceback_later()
    return verdicts


def _grade_one(function: Any, options: dict[str, Any], problem: Problem, trace: Trace) -> Verdict:
    try:
        verdict = function(problem, trace, **options)
    except BaseException as e:  # SystemExit, and libraries whose time-outs are BaseExceptions
        return _error(trace, said(e, SHOWN))
    if not isinstance(verdict, Verdict):
        return _error(trace, f"the verifier returned {type(verdict).__name__}, not a Verdict")
    if verdict.trace_id != trace.id:
        return _error(trace, f"the verifier returned a verdict on another trace ({verdict.trace_id[:40]})")
    return verdict


def _error(trace: Trace, explanation: str) -> Verdict:
    return Verdict(trace_id=trace.id, outcome=Outcome.ERROR, rule="grading", explanation=explanation)


def _absolute(reference: str) -> str:
    """Workers may have been started in another folder: file references are made absolute."""
    place, _, name = reference.rpartition(":")
    return f"{Path(place).expanduser().resolve()}:{name}" if place.endswith(".py") else reference


class _Plan(NamedTuple):
    """What a pool's workers were started for."""

    verifier: str
    workers: int
    memory_gib: float


@dataclass
class _Workers:
    """A running pool, and how many calls are using it."""

    pool: ProcessPool
    users: int = 0


_lock = threading.Lock()
_pools: dict[_Plan, _Workers] = {}
"""Pools of this process, the one used last at the end."""
_owner: int | None = None
"""The process whose pools these are: a forked child must leave its parent's alone."""


@contextlib.contextmanager
def _borrowed(plan: _Plan) -> Generator[ProcessPool]:
    """A pool for `plan` for the time of one call. It is kept afterwards, as long as it is among the last few."""
    with _lock:
        workers = _own_pools().pop(plan, None)
        if workers and not workers.pool.active:
            _end(workers.pool)
            workers = None
        workers = _pools[plan] = workers or _Workers(_start(plan))
        workers.users += 1
    try:
        yield workers.pool
    finally:
        with _lock:
            workers.users -= 1
            idle = [kept for kept, w in _pools.items() if not w.users]
            for kept in idle[: max(0, len(_pools) - POOLS)]:
                _end(_pools.pop(kept).pool)


def _own_pools() -> dict[_Plan, _Workers]:
    """The pools of this process. The first time, sees to it that they end with it."""
    global _owner
    from multiprocessing.util import Finalize

    if _owner != os.getpid():
        _owner = os.getpid()
        _pools.clear()
        # Runs at exit of the main process and of multiprocessing's children alike, where atexit does not.
        Finalize(None, stop, exitpriority=100)
    return _pools


def _start(plan: _Plan) -> ProcessPool:
    import multiprocessing

    from pebble import ProcessPool

    return ProcessPool(
        max_workers=plan.workers,
        initializer=_start_worker,
        initargs=(plan.verifier, int(plan.memory_gib * 2**30), os.getpid()),
        context=multiprocessing.get_context("spawn"),
    )


def stop() -> None:
    """Ends this process's workers, if any; the next `grade` starts new ones. Called at exit."""
    with _lock:
        ended = list(_pools.values()) if _owner == os.getpid() else []
        _pools.clear()
    for workers in ended:
        _end(workers.pool)


def _end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def _start_worker(verifier: str, memory: int, parent: int) -> None:
    """In a worker, before its first task and outside any deadline: limit memory, load the verifier."""
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # what a verifier prints is no output of ours
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limit on this system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(BaseException):  # the first task meets the same failure and reports it
        resolve.load(verifier)


def _leave_with(parent: int) -> None:
    """In a worker: end when the parent is gone. An idle worker sees its pipe close; a busy one would never look."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
