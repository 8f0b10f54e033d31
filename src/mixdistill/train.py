"""Stage 5: train every cell. TRL's trainer on rows that we rendered, tokenised and masked.

The trainer's "batch" is one whole update: the rows that `mix` gave it, cut into micro-batches of similar length here.
The loss is the mean over the loss tokens of the whole update, whatever the micro-batches are. Nothing is truncated,
packed or shuffled behind our back, and what is reported (updates, tokens, learning rates) is counted while it happens.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill import resolve
from mixdistill.backends.transformers import generation_config
from mixdistill.errors import MissingExtra, StageError
from mixdistill.files import file_hash
from mixdistill.mix import EXAMPLES, UPDATES
from mixdistill.recipe import Recipe
from mixdistill.sections import Train
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.types import Example, Update, content_hash
from mixdistill.units import Done, Unit

if TYPE_CHECKING:
    import torch

VERSION = "1"
MODEL = "model"
STATE = "trainer_state.json"
IGNORED = -100
PASS = 150
"""What a forward and backward pass costs beyond its tokens, in tokens; measured on CPU with the lab's students."""
Tokenised = tuple[list[int], list[int]]
"""(prompt ids, completion ids); the loss is on the completion."""


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per cell."""
    found = []
    models = {name: resolve.model_fingerprint(spec.model) for name, spec in recipe.students.items()}
    weights = {name: _weights(spec.model) for name, spec in recipe.students.items()}
    for student, arm, seed in recipe.cells():
        folder = store.folder("mix", student, arm, str(seed))
        settings = recipe.train_of(student).model_dump(
            exclude={"save_steps", "micro_batch_tokens", "max_length", "overlong", "num_train_epochs"}
        )
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
    student, _, seed = unit.key
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
        recipe.train_of(student),
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
    return Done(counts={"updates": facts["updates"]}, tables={MODEL: table}, facts=facts)


def fine_tune(
    model: str,
    examples: Sequence[Example],
    updates: Sequence[Sequence[int]],
    settings: Train,
    *,
    seed: int,
    out: Path,
    chat_template_kwargs: dict[str, Any] | None = None,
    progress: Callable[[int, int, float], None] = lambda done, tokens, rate: None,
) -> dict[str, Any]:
    """Train `model` (folder or hub id) on `examples`, `updates[t]` naming the rows of optimizer step t.

    Saves the model, its tokenizer and generation_config under `out/model` and returns what happened: updates, examples,
    loss tokens, losses, learning rates, displacement of the weights, device, seconds. Goes on from the last checkpoint
    under `out` when there is one. Raises MissingExtra without torch and trl, StageError when the training diverges.
    """
    template = Template.load(model, chat_template_kwargs=chat_template_kwargs)
    rows = [template.render(e.prompt, e.reasoning, e.content) for e in examples]
    check_rows(rows, template, settings.max_length)
    trainer, seen = _trainer(model, rows, updates, settings, seed, out, template, progress)
    start = [p.detach().clone() for p in trainer.model.parameters()]
    seconds = _train(trainer, seen, out)
    displacement = _displacement(start, list(trainer.model.parameters()))
    if not math.isfinite(displacement):
        raise StageError("train: the weights are no longer finite numbers after the last update; lower learning_rate")
    _save(trainer, template, model, out / MODEL)
    for folder in out.glob("checkpoint-*"):
        remove_checkpoint(folder)
    return seen.facts() | {
        "updates": int(trainer.state.global_step),
        "seconds_training": round(seconds, 2),
        "device": device_name(),
        "precision": "bfloat16" if settings.bf16 else "float32",
        "displacement": displacement,
        "longest_row": max(len(rows[i][1]) for update in updates for i in update),
        "template": template.fingerprint,
        **_from_log(trainer.state.log_history),
    }


def check_rows(rows: Sequence[Tokenised], template: Template, max_length: int) -> None:
    """Raise StageError unless every row fits, has a prompt and a completion, and its stop token carries loss."""
    for i, (prompt, completion) in enumerate(rows):
        if not prompt or not completion or completion[-1] not in template.stop_ids:
            raise StageError(
                f"train: example {i} does not end in the stop token or is empty (prompt {len(prompt)}, completion "
                f"{len(completion)} tokens); the student would never learn to stop; check its chat template"
            )
        if len(prompt) + len(completion) > max_length:
            raise StageError(f"train: example {i} has {len(prompt) + len(completion)} tokens, max_length={max_length}")


def micro_batches(rows: Sequence[Tokenised], limit: int) -> list[list[Tokenised]]:
    """Cut an update's rows into batches of similar length with at most `limit` padded tokens (one row at least).

    Of all cuts of the rows in order of length, the one with the least padding, where each further batch counts like
    `PASS` padded tokens more.
    """
    rows = sorted(rows, key=lambda r: -(len(r[0]) + len(r[1])))
    lengths = [len(p) + len(c) for p, c in rows]
    best: list[tuple[float, int]] = [(0.0, 0)]  # cost of the first n rows, and where their last batch starts
    for end in range(1, len(rows) + 1):
        starts = [s for s in range(end) if s == end - 1 or lengths[s] * (end - s) <= limit]
        best.append(min((best[s][0] + PASS + lengths[s] * (end - s), s) for s in starts))
    batches: list[list[Tokenised]] = []
    end = len(rows)
    while end:
        start = best[end][1]
        batches.insert(0, rows[start:end])
        end = start
    return batches


def pad(rows: Sequence[Tokenised], pad_id: int) -> dict[str, torch.Tensor]:
    """input_ids, labels, attention_mask of shape [rows, longest], padded on the right; loss on completions only."""
    import torch

    longest = max(len(p) + len(c) for p, c in rows)
    ids = torch.full((len(rows), longest), pad_id)
    labels = torch.full((len(rows), longest), IGNORED)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, (prompt, completion) in enumerate(rows):
        n = len(prompt) + len(completion)
        ids[i, :n] = torch.tensor(prompt + completion)
        labels[i, len(prompt) : n] = torch.tensor(completion)
        mask[i, :n] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


class Seen:
    """Counts what passes through the trainer, while it happens."""

    def __init__(self) -> None:
        self.examples = self.loss_tokens = self.positions = 0

    def update(self, labels: Sequence[torch.Tensor]) -> None:
        """Add the micro-batches of one update."""
        self.examples += sum(len(m) for m in labels)
        self.loss_tokens += sum(int((m != IGNORED).sum()) for m in labels)
        self.positions += sum(m.numel() for m in labels)

    def facts(self) -> dict[str, Any]:
        return {"examples": self.examples, "loss_tokens": self.loss_tokens, "positions": self.positions}


def _trainer(
    model: str,
    rows: Sequence[Tokenised],
    updates: Sequence[Sequence[int]],
    settings: Train,
    seed: int,
    out: Path,
    template: Template,
    progress: Callable[[int, int, float], None],
) -> tuple[Any, Seen]:
    try:
        import datasets
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        from mixdistill.trainer import UpdateTrainer, arguments
    except ImportError as e:
        raise MissingExtra(e.name or "trl", "train") from None
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    seen = Seen()

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, Any]:
        update = [rows[i] for i in batch[0]["examples"]]
        return {"micro_batches": [pad(r, template.pad_id) for r in micro_batches(update, settings.micro_batch_tokens)]}

    trainer = UpdateTrainer(
        model=loaded,
        args=arguments(settings, seed=seed, out=out, updates=len(updates)),
        processing_class=template.tokenizer,
        train_dataset=datasets.Dataset.from_dict({"examples": [list(u) for u in updates]}),
        data_collator=collate,
        seen=seen,
        progress=progress,
    )
    return trainer, seen


def _train(trainer: Any, seen: Seen, out: Path) -> float:
    """From the last checkpoint under `out` where there is one; the seconds that this took."""
    checkpoint = newest_checkpoint(out)
    if checkpoint:
        _count_earlier(seen, trainer, checkpoint_step(checkpoint))
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return float(result.metrics["train_runtime"])


def _count_earlier(seen: Seen, trainer: Any, updates: int) -> None:
    """What passed through before the checkpoint: the trainer skips those updates, the counts must not."""
    for i in range(updates):
        batch = trainer.data_collator([trainer.train_dataset[i]])
        seen.update([m["labels"] for m in batch["micro_batches"]])


def newest_checkpoint(out: Path) -> Path | None:
    """The newest whole checkpoint below a folder. One whose trainer_state.json, which is written last, cannot be read
    was cut off while it was written.
    """
    return max(filter(_whole, out.glob("checkpoint-*")), key=checkpoint_step, default=None)


def checkpoint_step(folder: Path) -> int:
    """The update after which a checkpoint was made."""
    return int(folder.name.rpartition("-")[2])


def _whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint; half of it, after a kill, is none."""
    (folder / STATE).unlink(missing_ok=True)
    _remove(folder)


def _save(trainer: Any, template: Template, model: str, out: Path) -> None:
    """Write beside, then rename: a model folder is whole or not there."""
    beside = out.with_name(f".{out.name}.tmp")
    _remove(beside)
    trainer.model.config.use_cache = True
    # The trainer wrote the tokenizer's special tokens into it, and a student must be decoded like its untuned self.
    trainer.model.generation_config = generation_config(model)
    trainer.model.save_pretrained(beside, safe_serialization=True)
    template.tokenizer.save_pretrained(beside)
    for file in beside.iterdir():
        with open(file, "rb") as f:
            os.fsync(f.fileno())
    _remove(out)
    beside.rename(out)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _from_log(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Losses and learning rates as the trainer logged them at every update; of the losses about 50 means are kept."""
    steps = [h for h in history if "loss" in h]
    size = max(1, len(steps) // 50)
    spans = [steps[i : i + size] for i in range(0, len(steps), size)]
    tenth = max(1, len(steps) // 10)
    mean = lambda hs: sum(h["loss"] for h in hs) / len(hs) if hs else math.nan  # noqa: E731
    return {
        "first_loss": round(mean(steps[:tenth]), 5),
        "final_loss": round(mean(steps[-tenth:]), 5),
        "peak_learning_rate": max((h["learning_rate"] for h in steps), default=None),
        "losses": [[span[-1]["step"], round(mean(span), 5)] for span in spans],
    }


def _displacement(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> float:
    """How far the weights moved, relative to their length: |after - before| / |before|."""
    moved = sum(float((a.detach() - b).float().pow(2).sum()) for a, b in zip(after, before, strict=True))
    size = sum(float(b.float().pow(2).sum()) for b in before)
    return round(math.sqrt(moved / size), 5)


def device_name() -> str:
    """The device that trainings and evaluations of this process run on: the GPU's name, or `cpu`."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
