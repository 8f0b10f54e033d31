"""`run` and the verbs of single stages: load, look at the models, carry out, say what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mixdistill import pipeline, printing, progress, resolve
from mixdistill.commands import faults, memory
from mixdistill.commands import pilot as pilots
from mixdistill.errors import RecipeError, StoreError
from mixdistill.evidence import solved
from mixdistill.evidence.rows import Evidence
from mixdistill.page import wording
from mixdistill.projection import Projection
from mixdistill.recipe import Recipe, load
from mixdistill.refusals import TRAINING
from mixdistill.report import summary
from mixdistill.store import Store

STOPPED = 130
"""Exit code after Ctrl-C, as a shell gives it."""


def carry_out(
    recipe: Path | Recipe,
    overrides: list[str] | None,
    out: Path | None,
    stages: Sequence[str],
    *,
    say: Callable[[str], None],
    fresh: bool = False,
    retry: bool = False,
    limit: int | None = None,
    workers: int | None = None,
    as_json: bool = False,
    models_looked_at: bool = False,
    pilot: int | None = 0,
    yes: bool = False,
) -> int:
    """Carry out stages of a recipe; the exit code. Raises the user's mistakes as MixdistillError.

    `models_looked_at`: the caller knows which models can be loaded, and asks for no stage that needs another.
    `pilot`: problems of a pilot before it; None: where the costs are not small. `yes`: nobody is asked after it.
    """
    loaded = recipe if isinstance(recipe, Recipe) else load(recipe, overrides)
    if tuple(stages) == ("tune",) and loaded.tune is None:
        raise RecipeError("tune: the recipe has no such section, so there is nothing to try; add one")
    store = Store(out or Path("runs") / loaded.name)
    _ensure_models(loaded, say, bought=models_looked_at or store.folder("generate").exists())
    if set(TRAINING) & set(stages) and (lines := memory.stops(loaded, store, stages, limit=limit, workers=workers)):
        raise RecipeError(lines)
    size = pilots.size(loaded, store, pilot, limit=limit)
    watcher = progress.watcher(as_json=as_json)
    how: dict[str, Any] = {"fresh": fresh, "retry": retry, "limit": limit, "workers": workers}

    def go(pilot: int | None = None) -> list[str]:
        with watcher:
            return pipeline.run(loaded, store, stages=stages, watcher=watcher, pilot=pilot, **how)

    try:
        failures, goes_on = (go(size), False) if size else ([], True)
        if size and not failures:
            goes_on = _goes_on(pilots.project(loaded, store, size, workers=workers), watcher, yes, say)
        if goes_on:
            failures = go()
        if isinstance(watcher, progress.Json):
            watcher.result(failures, store, reported=goes_on and "report" in stages)
    except KeyboardInterrupt:  # here, since typer would make "Aborted" of it
        say("mixdistill: stopped; run the same command again to go on")
        return STOPPED
    for line in failures:
        say(f"mixdistill: {line}")
    folder, reported = store.folder("report"), goes_on and "report" in stages
    if reported and not as_json and store.marker(folder):  # where it failed, an older one would mislead
        evidence = Evidence.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
        sys.stdout.write(summary(evidence, printing.width()) + f"The page: {folder / 'index.html'}\n")
    elif goes_on and "verify" in stages and not as_json and not failures:
        sys.stdout.write(wording.solved_words(solved.steps(loaded, store)) + "\n")
    return 1 if failures else 0


def _goes_on(
    found: Projection, watcher: progress.Log | progress.Live | progress.Json, yes: bool, say: Callable[[str], None]
) -> bool:
    """Say what a pilot showed, and whether the run goes on: by `--yes`, or as the person at the terminal says."""
    if isinstance(watcher, progress.Json):
        watcher.projection(found, goes_on=yes)
        return yes
    pilots.show(found)
    if yes:
        return True
    if not pilots.can_ask():
        say("mixdistill: stopped after the pilot, since nobody can be asked here; --yes goes on")
        return False
    if pilots.agreed():
        return True
    say("mixdistill: stopped after the pilot; its traces are kept, and mixdistill run goes on from there")
    return False


def _ensure_models(recipe: Recipe, say: Callable[[str], None], *, bought: bool) -> None:
    """Build the lab models a recipe names before any stage waits for them in silence; and before the first trace is
    bought, find those that cannot be loaded, and verifiers that cannot work here."""
    given = [m.model for m in (*recipe.students.values(), *recipe.teachers.values())]
    named = [resolve.from_environment(m) for m in given if not resolve.unset(m)]
    wanted = [m.removeprefix("lab:") for m in named if m.startswith("lab:")]
    if wanted:
        from mixdistill.lab import models

        try:
            models.ensure(wanted, say=say)
        except OSError as e:
            raise StoreError(
                f"{e.filename}: cannot be written ({e.strerror}); set MIXDISTILL_CACHE to a folder"
            ) from None
    if not bought and (lines := faults.of_models(recipe) + faults.of_verifiers(recipe)):
        raise RecipeError(lines)
