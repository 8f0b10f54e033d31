"""Stage 6: train every cell, and say how its student did on dev over the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from mixdistill import dev, export, resolve
from mixdistill.dev import Cell
from mixdistill.files import file_hash
from mixdistill.handover import cards
from mixdistill.mix import EXAMPLES, UPDATES
from mixdistill.recipe import Recipe
from mixdistill.sections import Train
from mixdistill.store import Store
from mixdistill.training import snapshots
from mixdistill.training.finetune import fine_tune
from mixdistill.training.snapshots import MODEL
from mixdistill.types import Example, Update, content_hash
from mixdistill.units import Done, Unit

VERSION = "3"
NOT_IDENTITY = {
    "save_steps", "micro_batch_tokens", "packing", "attn_implementation", "gradient_checkpointing", "num_processes",
    "distributed", "num_train_epochs", "report_to",
}  # fmt: skip
"""Settings that change no weights beyond rounding, and those whose effect is in the rows and updates already."""
POINTS = {"dev_checkpoints", "keep"}
"""Settings that say which point of a training is the student: no part of its identity where that is the last."""
RATE = "tuned learning_rate"
"""Input of a training: what the trials of its arm came to."""


class Untuned(NamedTuple):
    """What the units of a student ask of the model it starts from."""

    fingerprint: str
    size: int
    """Bytes of its weights, where it is a folder."""

    @classmethod
    def of(cls, model: str) -> Untuned:
        """Reads no more than the folder's files."""
        size = sum(p.stat().st_size for p in Path(resolve.model_path(model)).glob("*.safetensors"))
        return cls(resolve.model_fingerprint(model), size)


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per cell."""
    untuned = {name: Untuned.of(spec.model) for name, spec in recipe.students.items()}
    found = []
    for cell in recipe.cells():
        student, arm, seed = cell
        settings = recipe.train_of(student, arm)
        options = {"train": identity(settings), "seed": seed}
        inputs: dict[str, str | None] = {}
        given: dict[str, str] = {}
        if settings.keep == "best":
            asked, given = dev.options(recipe, student, arm)
            options["keep"] = {"points": settings.dev_checkpoints, **asked}
            inputs["dev problems"] = dev.content(store)
        if recipe.tune:
            del options["train"]["learning_rate"]
            inputs |= _rate(recipe, store, student, arm)
        key = (student, arm, str(seed))
        found.append(described(recipe, store, "train", key, cell, untuned[student], options, inputs, given))
    return found


def described(
    recipe: Recipe,
    store: Store,
    stage: str,
    key: tuple[str, ...],
    cell: Cell,
    untuned: Untuned,
    options: dict[str, Any],
    inputs: dict[str, str | None],
    given: dict[str, str],
    *,
    rows: Path | None = None,
) -> Unit:
    """The unit of a training on the rows of a cell's mix, or on those in another folder."""
    spec, mix = recipe.students[cell[0]], rows or store.folder("mix", *map(str, cell))
    marker = store.marker(mix)
    return Unit(
        stage=stage,
        key=key,
        options={
            "stage": VERSION,
            "model": untuned.fingerprint,
            "chat_template_kwargs": spec.chat_template_kwargs,
            **options,
        },
        inputs={
            "training data": store.content(mix, EXAMPLES, ["prompt", "reasoning", "content"]),
            "order of rows": store.content(mix, UPDATES, ["update", "example"]),
            **inputs,
        },
        cost=_cost(untuned.size, marker),
        given={"model": spec.model, **given},
    )


def _rate(recipe: Recipe, store: Store, student: str, arm: str) -> dict[str, str | None]:
    """What the trials chose, or those that are not there yet."""
    trials = dev.trials(recipe, store, student, arm)
    missing: dict[str, str | None] = {label: None for label, trial in trials.items() if trial is None}
    return missing or {RATE: repr(dev.chosen(trials))}


def identity(train: Train) -> dict[str, Any]:
    """The settings that a training follows from. Of lengths, only where rows are cut: else the rows say it all."""
    without = NOT_IDENTITY | POINTS
    if train.method == "full":
        without |= {"lora"}
    if train.overlong != "truncate":
        without |= {"max_length", "overlong"}
    return train.model_dump(exclude=without)


def _cost(weights: int, mix: dict[str, Any] | None) -> float:
    """Loss tokens times bytes of weights and what a tiny model costs beyond them: to start the longest first."""
    return float(mix["facts"]["loss_tokens"]) * (weights + 250_000) if mix else 1.0


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Train one cell, ask its snapshots the dev problems, and keep one of them: its model."""
    student, arm, seed = unit.key
    cell, folder = (student, arm, int(seed)), store.folder("train", *unit.key)
    settings = recipe.train_of(student, arm)
    tuned = dev.trials(recipe, store, student, arm) if recipe.tune else {}
    if tuned:
        settings = settings.model_copy(update={"learning_rate": dev.chosen(tuned)})
    snapshots.forget(folder)
    facts = training(unit, recipe, store, cell, settings, seed=int(seed), points=dev.wanted(recipe, student, arm))
    if "kept" in facts:
        snapshots.keep(folder, facts["kept"], facts["updates"])
    if tuned:
        facts["tuned"] = {"learning_rate": [[t.value, t.correct, t.examples] for t in tuned.values() if t]}
    table = {"rows": 1, "columns": {"weights": file_hash(folder / MODEL)}}
    cards.write_model_card(recipe, store, export.Cell(*cell), folder / MODEL, facts)  # no part of the hash
    return Done(counts={"updates": facts["updates"]}, tables={MODEL: table}, facts=facts)


def training(
    unit: Unit,
    recipe: Recipe,
    store: Store,
    cell: Cell,
    settings: Train,
    *,
    seed: int,
    points: int,
    rows: Path | None = None,
) -> dict[str, Any]:
    """Train on a cell's mix, or the rows in another folder, in the unit's folder, and ask the model of each of the
    `points` the dev problems.

    What happened; with points `dev` and `kept` too. Killed anywhere, the next call goes on: nothing is trained again
    that was over, nothing asked again that was answered.
    """
    folder = store.folder(unit.stage, *unit.key)
    facts = snapshots.noted(folder)
    if facts is None:
        facts = _fine_tuned(unit, recipe, store, cell, settings, seed, points, rows)
        if points:
            snapshots.note(folder, facts)
    if points and "kept" not in facts:
        found = dev.over(recipe, store, cell, folder, facts["updates"], unit.label)
        kept = dev.best(found) if settings.keep == "best" else facts["updates"]
        facts |= {"dev": found, "kept": kept}
        snapshots.note(folder, facts)
    return facts


def _fine_tuned(
    unit: Unit, recipe: Recipe, store: Store, cell: Cell, settings: Train, seed: int, points: int, rows: Path | None
) -> dict[str, Any]:
    source, spec = rows or store.folder("mix", *map(str, cell)), recipe.students[cell[0]]
    examples = store.read(source, Example, EXAMPLES)
    updates: list[list[int]] = []
    for row in store.read(source, Update, UPDATES):
        if row.update == len(updates):
            updates.append([])
        updates[-1].append(row.example)
    facts = fine_tune(
        resolve.model_path(spec.model),
        examples,
        updates,
        settings,
        seed=seed,
        out=store.folder(unit.stage, *unit.key),
        chat_template_kwargs=spec.chat_template_kwargs,
        snapshots=snapshots.points(len(updates), points)[:-1],
        progress=lambda done, tokens, rate: store.beat(
            unit.label, done=done, total=len(updates), tokens=tokens, rate=rate
        ),
    )
    facts["problems"] = content_hash(*sorted({e.problem_id for e in examples}))
    # A mix may be drawn anew later; what this training was fed stays with it.
    mix = store.marker(source) or {}
    facts["mix"] = {part: mix.get(part, {}) for part in ("facts", "counts")}
    return facts
