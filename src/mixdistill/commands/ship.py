"""`ship`: retrain the chosen blend on everything verified, hold it against base at the gate, keep the better one."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill import gpu_needs, interrupt, pipeline, progress, ship
from mixdistill.commands import memory
from mixdistill.commands.complete import is_run
from mixdistill.commands.export import student_of, which
from mixdistill.commands.run import STOPPED
from mixdistill.commands.status import no_run
from mixdistill.errors import RecipeError, StageError, Stopped, said
from mixdistill.executor import Local, never
from mixdistill.handover.cards import difference
from mixdistill.handover.gate import MAY_FORGET, Level, Shipping
from mixdistill.printing import print_row
from mixdistill.recipe import BASE, Recipe, load
from mixdistill.refusals import RECIPE
from mixdistill.ship import Candidate, Supported
from mixdistill.store import Store
from mixdistill.types import Problem, prompt_text
from mixdistill.units import State, Unit, state

if TYPE_CHECKING:
    from rich.text import Text

LISTED = 5
"""Forgotten problems that are shown."""


def main(root: Path, *, as_json: bool, say: Callable[[str], None], **how: Any) -> int:
    """Carry it out and print what came of it; the exit code."""
    try:
        shipped = carry_out(root, say=say, **how)
    except KeyboardInterrupt:
        say("mixdistill: stopped; run the same command again to go on")
        return STOPPED
    problems = {p.id: p for p in Store(root).read(Store(root).folder("problems"), Problem, ship.GATE)}
    print_row(shipped, lambda row, width: text(row, root, problems, width), as_json)
    return 0


def carry_out(
    root: Path,
    *,
    student: str | None,
    arm: str | None,
    seed: int | None,
    max_tokens: int | None,
    may_forget: float | None,
    workers: int | None,
    say: Callable[[str], None],
) -> Shipping:
    """Do what is not done yet and say what came of it. Raises the user's mistakes."""
    if not is_run(root):
        raise no_run(root)
    recipe, store = load(root / RECIPE), Store(root)
    problems = ship.gate_problems(recipe, store)
    candidate = _candidate(recipe, store, root, student, arm, seed, max_tokens)
    train = ship.train_unit(recipe, store, candidate)
    if state(train, store) is not State.DONE and (lines := memory.stops_one(recipe, store, candidate.cell)):
        raise RecipeError(lines)
    say(_why_this_one(recipe, store, candidate, named=arm is not None))
    with store.lock(), progress.watcher() as watcher, Local(workers) as executor:
        store.sweep([ship.SHIP])
        make: list[Callable[[], list[Unit]]] = [
            lambda: [ship.data_unit(recipe, store, candidate)],
            lambda: [ship.train_unit(recipe, store, candidate), ship.gate_units(recipe, store, candidate)[0]],
            lambda: list(ship.gate_units(recipe, store, candidate)),
        ]
        for units in make:
            _do(units(), recipe, store, executor, watcher)
        forgets = MAY_FORGET if may_forget is None else may_forget
        shipped = ship.decide(recipe, store, candidate, problems, forgets)
        if shipped.passed:
            ship.write_best(recipe, store, candidate, shipped)
    return shipped


def _candidate(
    recipe: Recipe,
    store: Store,
    root: Path,
    student: str | None,
    arm: str | None,
    seed: int | None,
    max_tokens: int | None,
) -> Candidate:
    """What is shipped, with what goes without saying filled in."""
    name = student_of(recipe, root, student)
    primary = recipe.primary_or_first()
    cap = max_tokens if max_tokens is not None else primary.max_tokens if primary else None
    cap = None if cap == recipe.evaluate.sampling.max_tokens else cap  # the generation's own limit, said in numbers
    wanted = Candidate(name, arm or "", recipe.seeds_of(name)[0] if seed is None else seed, BASE, cap)
    found = ship.chosen(recipe, store, root, wanted)
    which(recipe, root, found.arm, name, seed)
    return found


def _do(units: list[Unit], recipe: Recipe, store: Store, executor: Local, watcher: Any) -> None:
    """Carry out those units that are not done, and anew those that were made otherwise. Raises StageError for the first
    that fails."""
    planned = [(unit, state(unit, store)) for unit in units]
    for unit, s in planned:
        if s is State.CHANGED:
            ship.open_again(store, unit)
    watcher.stage(ship.SHIP, planned)
    todo = [unit for unit, s in planned if s is not State.DONE]
    if todo:
        executor.spread(*gpu_needs.most(recipe, todo))
    jobs = [(ship.SHIP, unit, recipe, store) for unit in todo]
    store.clear_beat()
    store.go_on()

    def idle() -> None:
        watcher.beats(store.beats())
        if asked():
            watcher.stopping()

    asks = any(unit.key[-1] == ship.GATE for unit, _ in planned)
    with interrupt.gently(store.ask_to_stop) if asks else nullcontext(never) as asked:
        for job, result, error in executor.map(pipeline.work, jobs, idle=idle, enough=asked):
            seconds, counts = result or (0.0, {})
            store.clear_beat(job[1].label)
            watcher.unit(job[1], error, seconds, counts)
            if error is not None and not isinstance(error, Stopped):
                raise StageError(f"{job[1].label}: {said(error).removeprefix(f'{job[1].label}: ')}") from error
        if asked():
            raise KeyboardInterrupt


def _why_this_one(recipe: Recipe, store: Store, candidate: Candidate, *, named: bool) -> str:
    """Which blend it is, and what the study said of the others."""
    if named:
        return f"{candidate.arm}: as you said"
    benchmark, ranked = ship.supported(recipe, store, candidate.student, candidate.max_tokens)
    return f"{candidate.arm}: the best arm of {candidate.student} on {benchmark} ({', '.join(map(_ranked, ranked))})"


def _ranked(s: Supported) -> str:
    return f"{s.name} {s.accuracy:.1%}"


# -- writing it -------------------------------------------------------------------------------------------------------


def text(shipped: Shipping, root: Path, problems: dict[str, Problem], width: int) -> Text:
    """The verdict first, then its figures, the rule part by part, and what to do."""
    from rich.text import Text

    page, s = Text(), shipped.scored
    cap = f"at most {s.max_tokens:,} tokens an answer" if s.max_tokens else "no token cap"
    if shipped.passed:
        page.append("Ship it: ", "bold green").append(f"{shipped.arm} for {shipped.student}", "bold")
    else:
        page.append("Keep the base model: ", "bold yellow").append(
            f"{shipped.arm} for {shipped.student} did not pass", "bold"
        )
    page.append(f"\n\nTrained on {shipped.rows:,} verified traces of {shipped.distinct_problems:,} problems, ")
    page.append(f"{shipped.updates:,} updates.\n")
    page.append(f"The gate: {s.problems:,} problems, {cap}.\n\n")
    rows = [
        ("", shipped.base, shipped.arm, ""),
        ("correct", f"{s.base:.1%}", f"{s.accuracy:.1%}", difference(s)),
        ("tokens an answer", f"{s.base_tokens:,.0f}", f"{s.tokens:,.0f}", _times(s.base_tokens, s.tokens)),
        ("ended by itself", f"{s.base_finished:.0%}", f"{s.finished:.0%}", ""),
    ]
    _columns(page, rows)
    _levels(page, shipped.levels)
    _rule(page, shipped)
    _forgotten(page, shipped, problems, width)
    _end(page, shipped, root)
    page.rstrip()
    return page


def _times(base: float, new: float) -> str:
    return f"{new / base:.1f} times" if base else ""


def _columns(page: Text, rows: Sequence[tuple[str, ...]]) -> None:
    """A table: the first column to the left, figures to the right, remarks to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for n, row in enumerate(rows):
        first, *figures, last = row
        line = f"  {first:<{widths[0]}}" + "".join(f"  {f:>{w}}" for f, w in zip(figures, widths[1:-1], strict=True))
        page.append(f"{line}  {last}".rstrip() + "\n", "dim" if n == 0 else "")


def _levels(page: Text, levels: list[Level]) -> None:
    rows = [("", "problems", "base", "now", "forgotten", "learnt", "")]
    for level in levels:
        counts = (f"{level.problems:,}", f"{level.base:.0%}", f"{level.accuracy:.0%}")
        rows.append((level.level, *counts, f"{level.forgotten:,}", f"{level.learnt:,}", ""))
    page.append("\n")
    _columns(page, rows)


def _rule(page: Text, shipped: Shipping) -> None:
    page.append("\n")
    for part, holds in zip(shipped.why, shipped.holds, strict=True):
        page.append("  yes  " if holds else "  no   ", "green" if holds else "bold red").append(part + "\n")
    if shipped.looks > 1:
        said = f"look {shipped.looks} at this gate, so the interval is one of {1 - 0.05 / shipped.looks:.1%}"
        page.append(f"       {said}\n", "dim")
    if shipped.errors:
        page.append(f"       {shipped.errors:,} answers could not be had or judged; they count as wrong\n", "yellow")


def _forgotten(page: Text, shipped: Shipping, problems: dict[str, Problem], width: int) -> None:
    """Some problems that base solves and the candidate does not."""
    if not shipped.forgotten:
        return
    page.append(f"\nForgotten, {min(LISTED, len(shipped.forgotten))} of {len(shipped.forgotten):,}:\n")
    for one in shipped.forgotten[:LISTED]:
        line = " ".join(prompt_text(problems[one].prompt).split()) if one in problems else ""
        most = max(20, min(width, 120) - len(one) - 6)
        page.append(f"  {one}  ", "dim").append((line if len(line) <= most else line[: most - 3] + "...") + "\n")


def _end(page: Text, shipped: Shipping, root: Path) -> None:
    page.append("\n")
    if shipped.best:
        page.append("The student, its card and this evidence: ").append(f"{shipped.best}/\n", "bold")
        page.append("Serve it: ").append(f"sh {shlex.quote(shipped.best)}/serve.sh", "bold")
    else:
        page.append("Nothing was written to best/. Its data, model and answers are in ")
        page.append(f"{root / ship.SHIP}/", "bold")
