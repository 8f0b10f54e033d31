"""Stage 5: train every cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixdistill import cards, resolve
from mixdistill.export import Cell
from mixdistill.files import file_hash
from mixdistill.finetune import MODEL, fine_tune
from mixdistill.mix import EXAMPLES, UPDATES
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Example, Update, content_hash
from mixdistill.units import Done, Unit

VERSION = "1"
NOT_IDENTITY = {"save_steps", "micro_batch_tokens", "max_length", "overlong", "num_train_epochs", "report_to"}
"""Settings that change no weights beyond rounding, and those whose effect is in the rows and updates already."""


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per cell."""
    found = []
    models = {name: resolve.model_fingerprint(spec.model) for name, spec in recipe.students.items()}
    weights = {name: _weights(spec.model) for name, spec in recipe.students.items()}
    for student, arm, seed in recipe.cells():
        folder = store.folder("mix", student, arm, str(seed))
        settings = recipe.train_of(student, arm).model_dump(exclude=NOT_IDENTITY)
        marker = store.marker(folder)
        found.append(
            Unit(
                stage="train",
                key=(student, arm, str(seed)),
                options={
                    "stage": VERSION,
                    "train": settings,
                    "seed": seed,
                    "model": models[student],
                    "chat_template_kwargs": recipe.students[student].chat_template_kwargs,
                },
                inputs={
                    "training data": store.content(folder, EXAMPLES, ["prompt", "reasoning", "content"]),
                    "order of rows": store.content(folder, UPDATES, ["update", "example"]),
                },
                cost=_cost(weights[student], marker),
                given={"model": recipe.students[student].model},
            )
        )
    return found


def _weights(model: str) -> int:
    """Bytes of a model's weights, where it is a folder."""
    return sum(p.stat().st_size for p in Path(resolve.model_path(model)).glob("*.safetensors"))


def _cost(weights: int, mix: dict[str, Any] | None) -> float:
    """Loss tokens times bytes of weights and what a tiny model costs beyond them: to start the longest first."""
    return float(mix["facts"]["loss_tokens"]) * (weights + 250_000) if mix else 1.0


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Train one cell and save its model."""
    student, arm, seed = unit.key
    source, folder = store.folder("mix", *unit.key), store.folder("train", *unit.key)
    examples = store.read(source, Example, EXAMPLES)
    updates: list[list[int]] = []
    for row in store.read(source, Update, UPDATES):
        if row.update == len(updates):
            updates.append([])
        updates[-1].append(row.example)
    spec = recipe.students[student]
    facts = fine_tune(
        resolve.model_path(spec.model),
        examples,
        updates,
        recipe.train_of(student, arm),
        seed=int(seed),
        out=folder,
        chat_template_kwargs=spec.chat_template_kwargs,
        progress=lambda done, tokens, rate: store.beat(
            unit.label, done=done, total=len(updates), tokens=tokens, rate=rate
        ),
    )
    facts["problems"] = content_hash(*sorted({e.problem_id for e in examples}))
    # A mix may be drawn anew later; what this training was fed stays with it.
    mix = store.marker(source) or {}
    facts["mix"] = {part: mix.get(part, {}) for part in ("facts", "counts")}
    table = {"rows": 1, "columns": {"weights": file_hash(folder / MODEL)}}
    cards.write_model_card(recipe, store, Cell(student, arm, int(seed)), folder / MODEL, facts)  # no part of the hash
    return Done(counts={"updates": facts["updates"]}, tables={MODEL: table}, facts=facts)
