"""`lm-eval`: a student's evaluation for lm-evaluation-harness, and what the harness made of it against our own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill.arms import BASE, called
from mixdistill.commands.export import opened, student_of
from mixdistill.errors import DataError, StoreError, did_you_mean
from mixdistill.evaluate import bases
from mixdistill.handover import lm_eval
from mixdistill.handover.lm_eval import Evaluated, Key
from mixdistill.handover.lm_eval_check import ALIKE, REASONS, CrossCheck, check

if TYPE_CHECKING:
    from rich.text import Text

MOST = 10
"""Differences that are shown; --json has all."""


def export(root: Path, arm: str, out: Path, **which: Any) -> dict[str, Any]:
    """Write the task, our samples and the command. Raises the user's mistakes."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out}: holds something already; name a folder that is new or empty with --out")
    found = evaluated(root, arm, **which)
    words = [
        str(root),
        arm,
        *(w for name, value in which.items() if value is not None for w in (f"--{name}", str(value))),
    ]
    return lm_eval.write(found, out) | {"check": f"{shlex.join(words)} --check {out}/results/*/samples_*.jsonl"}


def crosscheck(root: Path, arm: str, file: Path, **which: Any) -> CrossCheck:
    """The harness's samples against ours. Raises the user's mistakes."""
    return check(evaluated(root, arm, **which), file)


def evaluated(
    root: Path, arm: str, *, student: str | None = None, seed: int | None = None, benchmark: str | None = None
) -> Evaluated:
    """The evaluation that is meant: of the only student, the first seed and the first benchmark, unless said."""
    recipe, store = opened(root)
    name = student_of(recipe, root, student)
    untuned = called(arm).arm == BASE
    known = [*bases(recipe, store, name), *(mode for trained in recipe.trained for mode in recipe.modes(trained))]
    if arm not in known:
        raise DataError(f"{root}: no arm '{arm}'{did_you_mean(arm, known)}")
    if untuned and seed is not None:
        raise DataError(f"{root}: {arm} has no seed (got --seed {seed}); leave it out")
    seeds = recipe.seeds_of(name)
    if seed is not None and seed not in seeds:
        raise DataError(f"{root}: no seed {seed} of {name}; known: {', '.join(map(str, seeds))}")
    if benchmark is not None and benchmark not in recipe.problems.eval:
        raise DataError(f"{root}: no benchmark '{benchmark}'{did_you_mean(benchmark, recipe.problems.eval)}")
    first = seeds[0] if seed is None else seed
    key = Key(name, arm, None if untuned else first, benchmark or next(iter(recipe.problems.eval)))
    return lm_eval.read(recipe, store, key)


# -- writing it -------------------------------------------------------------------------------------------------------


def written(facts: dict[str, Any], width: int) -> Text:
    """What was written, and how to go on."""
    from rich.text import Text

    page = Text()
    page.append(f"{facts['task']}", "bold").append(f", {facts['problems']:,} problems, is in ")
    page.append(f"{facts['out']}\n", "bold")
    for name, said in zip(facts["files"], SAID, strict=True):
        page.append(f"  {name:<{max(map(len, facts['files']))}}", "cyan").append(f"  {said}\n")
    page.append(f"\nRun the harness, then hold its samples against ours:\n  {facts['start']}\n")
    page.append(f"  mixdistill lm-eval {facts['check']}")
    return page


SAID = (
    "the task, decoded greedily",
    "its documents: the problems as the student was asked them",
    "how it grades: with the verifier of the study",
    "the verifier's options, for that",
    "our completions and verdicts, as the harness writes them",
    "the command",
)


def checked(found: CrossCheck, width: int) -> Text:
    """How many completions and verdicts are the same, why the others are not, and some of them."""
    from rich.text import Text

    seed = "" if found.seed is None else f"/{found.seed}"
    page = Text()
    page.append(f"{found.student}/{found.arm}{seed} on {found.benchmark}: {found.compared:,} completions\n", "bold")
    for reason, n in found.reasons.items():
        style = "" if reason in ALIKE else "bold red" if reason == "unexplained" else "yellow"
        page.append(f"  {n:>6,}  ", style).append(f"{REASONS[reason]}\n")
    for verdict in found.verdicts:
        page.append(f"  {verdict.reading} verdicts: the same on {verdict.agree:,} of {verdict.compared:,} completions ")
        page.append(f"that are alike ({verdict.correct[0]:,} correct here, {verdict.correct[1]:,} there)\n")
    for note in [*_alone(found), *found.notes]:
        page.append(f"  {note}\n", "yellow")
    differing = [d for d in found.differences if d.reason not in ALIKE]
    for d in differing[:MOST]:
        page.append(f"\n{d.problem_id}", "bold").append(f"  {d.reason}{f': {d.detail}' if d.detail else ''}\n")
        page.append(f"  here   {d.ours!r}\n  there  {d.theirs!r}\n")
    if len(differing) > MOST:
        page.append(f"\n... and {len(differing) - MOST:,} more (--json)")
    if alone := found.ours_alone + found.theirs_alone:
        page.append(
            f"\nNot a check of all: {alone:,} of {found.compared + alone:,} completions are not there.\n", "bold red"
        )
    page.append("" if found.explained else "\nNot everything is explained.", "bold red")
    page.rstrip()
    return page


def _alone(found: CrossCheck) -> list[str]:
    """Completions without a counterpart."""
    parts = ((found.ours_alone, "here"), (found.theirs_alone, "there"))
    return [f"{n:,} completions are {where} alone" for n, where in parts if n]
