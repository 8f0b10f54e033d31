"""The stage table, and what to do with each unit: skip, resume, extend, redo or refuse.

A stage is a module with two functions:

    units(recipe, store) -> list[Unit]                        what there is to do, given what is already sealed
    run(unit, recipe, store) -> Done                          do one unit; safe to kill at any time and call again

Where a unit stands follows from its identity and extent (units.py). Same identity and all ids there: skip. Some there:
go on. Another identity: refuse where money or training would be lost, else redo. The pipeline itself is the loop over
the rows in `STAGES`; of `tune` there are units only where the recipe has a section of that name.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

from mixdistill import gpu_needs, interrupt, resolve
from mixdistill.asking import asks
from mixdistill.backends import engines
from mixdistill.errors import MixdistillError, Refused, StageError, Stopped, StoreError, said
from mixdistill.executor import Local, never
from mixdistill.files import file_hash, versions, write_atomically
from mixdistill.recipe import Recipe, render
from mixdistill.refusals import (
    BOUGHT,
    MAKING,
    PILOTED,
    RECIPE,
    SESSIONS,
    TRACEBACK,
    TRAINING,
    holds_rows,
    refuse,
    refuse_early,
    refuse_foreign,
    refuse_other_data,
    refuse_other_kind,
    refuse_other_problems,
    refuse_stale,
    refuse_too_small,
)
from mixdistill.store import ABSENT, MARKER, UNUSED, Store
from mixdistill.types import content_hash
from mixdistill.units import (
    STARTED,
    STILL_CUT,
    Done,
    State,
    Unit,
    held,
    module,
    plan,
    read_json,
    state,
)

STAGES = ("generate", "verify", "analyze", "mix", "tune", "train", "evaluate", "report")
ASKING = ("generate", "evaluate")
"""Stages with requests in flight, which the first Ctrl-C lets finish; so has verify, where a verifier asks a model."""
SEEN_SECONDS = 5.0
"""A killed session is known to have lasted to within this."""


class Watcher(Protocol):
    """Who is told about progress."""

    def problems(self, marker: dict[str, Any]) -> None:
        """The problems are in the folder: how many of each list, and how many rows of their sources are none."""

    def stage(self, name: str, units: list[tuple[Unit, State]]) -> None:
        """A stage begins."""

    def beats(self, beats: list[dict[str, Any]]) -> None:
        """What the running units said last; called a few times a second."""

    def unit(self, unit: Unit, error: BaseException | None, seconds: float, counts: dict[str, Any]) -> None:
        """A unit ended, well or not."""

    def stopping(self) -> None:
        """Somebody asked to stop, and what is in flight is being finished."""


def run(
    recipe: Recipe,
    store: Store,
    *,
    stages: Iterable[str] = STAGES,
    watcher: Watcher,
    fresh: bool = False,
    retry: bool = False,
    limit: int | None = None,
    workers: int | None = None,
    pilot: int | None = None,
) -> list[str]:
    """Carry out stages of a recipe in its run folder. Returns one line per failed or blocked unit.

    `retry`: requests that failed for good are asked again. `pilot`: only so many problems, drawn at random, and only as
    far as their traces are judged and measured; the same call without it goes on. Raises Refused when a bought unit was
    made with other settings and `fresh` is not set, and where a stage would work on what another recipe made. A failed
    unit does not stop the others; what depends on it is blocked and said to be missing.
    """
    failures: list[str] = []
    stages = tuple(stages)
    refuse_foreign(store)
    refuse_other_kind(store, smoke=recipe.smoke)
    with store.lock(), _session(store) as seen:
        store.sweep([*STAGES, "problems"])
        if not fresh:
            refuse_early(stages, recipe, store)
            refuse_other_data(stages, recipe, store, limit)
        if stages != ("report",) or store.marker(store.folder("problems")) is None:  # a report draws nothing anew
            if not set(stages) & set(MAKING):
                refuse_other_problems(recipe, store, limit)
            prepared = prepare(recipe, store, limit=limit)
            watcher.problems(prepared)
            if pilot is None:
                refuse_too_small(stages, recipe, prepared["tables"]["train"]["rows"])
        refuse_stale(stages, recipe, store)
        with Local(workers) as executor, _recipe_kept_if_refused(store):
            if set(stages) & set(MAKING):
                write_atomically(store.root / RECIPE, render(recipe).encode())
            for stage in stages if pilot is None else [s for s in stages if s in PILOTED]:
                seen(0.0)
                planned = plan(recipe, store, stage, pilot=pilot)
                if retry:
                    planned = _to_be_retried(planned, store, fresh)
                if planned:
                    failures += _run_stage(stage, planned, recipe, store, executor, watcher, fresh, seen)
    return failures


def prepare(recipe: Recipe, store: Store, *, limit: int | None = None) -> dict[str, Any]:
    """Write the problems into the run folder; their marker."""
    from mixdistill.problems import VERSION, counted, load_all, shared
    from mixdistill.types import Problem, Unused

    folder = store.folder("problems")
    options = problem_options(recipe, limit) | {"version": VERSION}
    marker, files = store.marker(folder), _file_hashes(recipe)
    # A file that is gone is no reason to lose the problems that were read from it.
    if marker and marker["options"] == options and files.items() <= marker.get("files", {}).items():
        return marker
    columns: dict[str, str] = {}
    loaded, unused = load_all(
        recipe.problems,
        limit=limit,
        error_rate=recipe.error_rate,
        chosen=lambda name, found: columns.update({name: str(found)}),
    )
    (folder / MARKER).unlink(missing_ok=True)  # killed in between, the old marker would describe the new tables
    tables = {name: store.seal(folder, Problem, rows, name) for name, rows in loaded.items()}
    tables[UNUSED] = store.seal(folder, Unused, unused, UNUSED)
    both = {which: s._asdict() for which, s in shared(loaded).items()}
    described = {"options": options, "files": files, "columns": columns, "shared": both}
    marker = described | {"tables": tables, "counts": counted(unused)}
    store.mark(folder, marker)
    return marker


def problem_options(recipe: Recipe, limit: int | None) -> dict[str, Any]:
    """What decides which problems there are, besides the content of their files."""
    return {"problems": recipe.problems.drawn, "limit": limit}


def _file_hashes(recipe: Recipe) -> dict[str, str]:
    """Local files that problems come from -> content hash, of those that are there."""
    sources = {s.source for s in recipe.problems.lists.values()}
    files = {s: os.path.expanduser(resolve.from_environment(s)) for s in sorted(sources)}
    readable = {s: Path(f) for s, f in files.items() if os.path.isfile(f) and os.access(f, os.R_OK)}
    hashes = {s: file_hash(file) for s, file in readable.items()}
    # A name out of the environment is no secret here, and another name is another data set.
    return hashes | {s: content_hash(f) for s, f in files.items() if "${" in s and s not in hashes}


def _to_be_retried(planned: list[tuple[Unit, State]], store: Store, fresh: bool) -> list[tuple[Unit, State]]:
    """Finished units of which requests failed are open again."""
    found = []
    for unit, s in planned:
        failed = _failed(unit, store) if s is State.DONE and (unit.wanted or unit.stage == "verify") else 0
        if (
            failed
            and unit.stage == "generate"
            and not fresh
            and any(m for s in TRAINING for m in store.folder(s).rglob(MARKER))
        ):
            raise Refused(
                f"{store.root}: {unit.label}: {failed:,} failed requests would be asked again, and trainings were made "
                "without them; use --fresh to set those trainings aside, or --out for a new run"
            )
        found.append((unit, State.EXTEND if failed else s))
    return found


def _failed(unit: Unit, store: Store) -> int:
    """Requests of a finished unit that failed for good, those for another trace in the place of a cut one and those of
    its verifiers included."""
    folder = store.folder(unit.stage, *unit.key)
    facts = (store.marker(folder) or {}).get("facts", {})
    of_verifiers = sum(answers.get("error", 0) for answers in facts.get("asked", {}).values())
    return store.failed(folder, unit.table) + facts.get(STILL_CUT, 0) + of_verifiers


def _run_stage(
    stage: str,
    planned: list[tuple[Unit, State]],
    recipe: Recipe,
    store: Store,
    executor: Local,
    watcher: Watcher,
    fresh: bool,
    seen: Callable[..., None],
) -> list[str]:
    _settle_changed([u for u, s in planned if s is State.CHANGED], store, fresh)
    watcher.stage(stage, planned)
    planned = [(u, state(u, store) if s is State.CHANGED else s) for u, s in planned]  # some may have been brought back
    store.clear_beat()
    failures = []
    for unit, s in planned:
        if s is State.BLOCKED:
            missing = ", ".join(k for k, v in unit.inputs.items() if v is None)
            failures.append(f"{unit.label}: not run; {missing} is missing")
        elif s is State.DONE:  # killed after the marker
            (store.folder(unit.stage, *unit.key) / STARTED).unlink(missing_ok=True)
    todo = in_order(u for u, s in planned if s not in (State.DONE, State.BLOCKED))

    def idle() -> None:
        seen()
        watcher.beats(store.beats())
        if asked():
            watcher.stopping()

    store.go_on()
    with interrupt.gently(store.ask_to_stop) if _asks(stage, recipe) else nullcontext(never) as asked:
        for takes, units in gpu_needs.groups(recipe, todo):
            executor.spread(*takes)
            jobs = [(stage, unit, recipe, store) for unit in units]
            for job, result, error in executor.map(work, jobs, idle=idle, enough=asked):
                unit = job[1]
                store.clear_beat(unit.label)
                seconds, counts = result or (0.0, {})
                watcher.unit(unit, error, seconds, counts)
                if error is not None:
                    failures.append(_failure(unit, error, store))
            if asked():
                raise KeyboardInterrupt
    return failures


def in_order(units: Iterable[Unit]) -> list[Unit]:
    """The largest first, and after it those that share its engine."""
    units, cost, place = list(units), dict[str, float](), dict[str, int]()
    names = [unit.together or unit.label for unit in units]
    for i, (name, unit) in enumerate(zip(names, units, strict=True)):
        cost[name] = max(cost.get(name, 0.0), unit.cost)
        place.setdefault(name, i)
    order = sorted(zip(names, units, strict=True), key=lambda pair: (-cost[pair[0]], place[pair[0]], -pair[1].cost))
    return [unit for _, unit in order]


def _asks(stage: str, recipe: Recipe) -> bool:
    return stage in ASKING or (stage == "verify" and any(asks(link.name) for link in recipe.verify.chain))


def _failure(unit: Unit, error: BaseException, store: Store) -> str:
    kept = store.folder(unit.stage, *unit.key) / TRACEBACK
    line = f"{unit.label}: {said(error).removeprefix(f'{unit.label}: ')}"
    return line + (f"; traceback in {kept}" if kept.exists() else "")


def _settle_changed(units: list[Unit], store: Store, fresh: bool) -> None:
    """Refuse, set aside (`fresh`) or open for redoing what was made with other settings."""
    bought = [u for u in units if u.stage in BOUGHT and holds_rows(store.folder(u.stage, *u.key))]
    if not fresh:
        refuse(bought, store)
    for unit in units:
        folder = store.folder(unit.stage, *unit.key)
        if unit in bought:
            store.set_aside(folder)
            store.bring_back(folder, unit.identity)
        else:
            (folder / MARKER).unlink(missing_ok=True)
            (folder / STARTED).unlink(missing_ok=True)


def work(stage: str, unit: Unit, recipe: Recipe, store: Store) -> tuple[float, dict[str, Any]]:
    """Do one unit and mark it. Runs in a worker process; everything it needs is in its arguments."""
    folder = store.folder(unit.stage, *unit.key)
    described = {"identity": unit.identity, "options": unit.options, "inputs": unit.inputs, "given": unit.given}
    write_atomically(folder / STARTED, json.dumps(described, default=str).encode())
    _open_again(unit, store)
    start = time.monotonic()
    (folder / TRACEBACK).unlink(missing_ok=True)
    try:
        with engines.shared(unit.together):
            done: Done = module(stage).run(unit, recipe, store)
    except Exception as caught:
        if isinstance(caught, Stopped):  # no failure: the next run goes on
            raise
        e = _without_secrets(caught)
        ours = isinstance(e, MixdistillError)
        unwritable = None if ours else store.unwritable(folder, e)
        # For `status`: it was not killed, and why. The report says which trainings diverged.
        failed = described | {"failed": said(unwritable or e), "error": type(e).__name__}
        with suppress(StoreError):  # on a full disk the first error says more
            write_atomically(folder / STARTED, json.dumps(failed, default=str).encode())
        if unwritable:
            raise unwritable from e
        if not ours:
            write_atomically(folder / TRACEBACK, resolve.redacted(traceback.format_exc()).encode())
        if e is caught:
            raise
        raise e from None
    seconds = time.monotonic() - start
    if done.absent:
        write_atomically(folder / ABSENT, "\n".join(sorted(done.absent)).encode())
    whole = bool(unit.wanted) and unit.wanted <= held(unit, store)
    store.mark(
        folder,
        {
            **json.loads(json.dumps(described, default=str)),
            "whole": unit.wanted.digest if whole else None,
            "tables": done.tables,
            "counts": done.counts,
            "facts": done.facts,
            "versions": versions(),
            "seconds": round(seconds, 3),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    )
    (folder / STARTED).unlink(missing_ok=True)
    return seconds, done.counts


def _open_again(unit: Unit, store: Store) -> None:
    """What is being extended is unfinished: should that fail, nobody must take what there is, such as the traces of a
    pilot, for the whole. Where only failed requests are asked again, nothing was missing."""
    folder = store.folder(unit.stage, *unit.key)
    marker = store.marker(folder)
    if marker and (marker.get("identity") != unit.identity or marker.get("whole") != unit.wanted.digest):
        (folder / MARKER).unlink()


def _without_secrets(error: Exception) -> Exception:
    """The error, or one that says the same without what came out of the environment."""
    said = resolve.redacted(str(error))
    if said == str(error):
        return error
    return StageError(said) if isinstance(error, MixdistillError) else RuntimeError(f"{type(error).__name__}: {said}")


@contextmanager
def _recipe_kept_if_refused(store: Store) -> Generator[None]:
    """The folder's recipe is what it was made with, not what was refused."""
    path = store.root / RECIPE
    before = path.read_bytes() if path.exists() else None
    try:
        yield
    except Refused:
        if before is not None:
            write_atomically(path, before)
        raise


@contextmanager
def _session(store: Store) -> Generator[Callable[..., None]]:
    """Keep the wall time of every call, so that a run of several sessions knows what it cost.

    Gives a function to be called now and then: a session that is killed has lasted until its last call. It writes at
    most every `apart` seconds.
    """
    earlier, start, kept = sessions_seconds(store), time.monotonic(), 0.0

    def seen(apart: float = SEEN_SECONDS) -> None:
        nonlocal kept
        if (lasted := time.monotonic() - start) - kept >= apart:
            keep(lasted)
            kept = lasted

    def keep(lasted: float) -> None:
        with suppress(StoreError):  # what it cost is no reason to stop, or to hide what did
            write_atomically(store.root / SESSIONS, json.dumps({"seconds": round(earlier + lasted, 1)}).encode())

    try:
        yield seen
    finally:
        keep(time.monotonic() - start)


def sessions_seconds(store: Store) -> float:
    """Wall seconds spent on this run so far; this session's to within `SEEN_SECONDS`."""
    return float((read_json(store.root / SESSIONS) or {}).get("seconds", 0.0))
