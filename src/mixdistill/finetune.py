"""One training: TRL's trainer on rows that we rendered, tokenised and masked.

The trainer's "batch" is one whole update: the rows that `mix` gave it, cut into micro-batches of similar length.
The loss is the mean over the loss tokens of the whole update, whatever the micro-batches are. Nothing is truncated,
packed or shuffled behind our back, and what is reported (updates, tokens, learning rates) is counted while it happens.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill import row_checks
from mixdistill.backends.transformers import generation_config
from mixdistill.batches import Collate, Tokenised, check_rows
from mixdistill.checkpoints import checkpoint_step, newest_checkpoint, remove_checkpoint
from mixdistill.distributed import Share, spread
from mixdistill.errors import Diverged, MissingExtra
from mixdistill.sections import Train
from mixdistill.seen import Seen, from_log
from mixdistill.snapshots import MODEL, snapshot
from mixdistill.tokens import Template
from mixdistill.types import Example

if TYPE_CHECKING:
    import torch


def fine_tune(
    model: str,
    examples: Sequence[Example],
    updates: Sequence[Sequence[int]],
    settings: Train,
    *,
    seed: int,
    out: Path,
    chat_template_kwargs: dict[str, Any] | None = None,
    snapshots: Sequence[int] = (),
    progress: Callable[[int, int, float], None] = lambda done, tokens, rate: None,
) -> dict[str, Any]:
    """Train `model` (folder or hub id) on `examples`, `updates[t]` naming the rows of optimizer step t.

    Saves the model, its tokenizer and generation_config under `out/model` and returns what happened: updates, examples,
    loss tokens, losses, learning rates, displacement of the weights, device, seconds. Goes on from the last checkpoint
    under `out` when there is one. After the updates in `snapshots` the model is saved beside (see snapshots.py). Raises
    MissingExtra without torch and trl, Diverged when the training does.
    """
    share = Share.here()
    if settings.num_processes > share.processes:
        return spread(
            partial(fine_tune, model, examples, updates, settings, seed=seed, out=out),
            chat_template_kwargs=chat_template_kwargs,
            snapshots=snapshots,
            processes=settings.num_processes,
            folder=out,
            progress=progress,
        )
    template = Template.load(model, chat_template_kwargs=chat_template_kwargs)
    rows = [Tokenised(*template.render(e.prompt, e.reasoning, e.content)) for e in examples]
    checks = row_checks.check_rows(examples, rows, template, model)
    check_rows(rows, template, settings.max_length, settings.overlong)
    cut = frozenset(i for i, row in enumerate(rows) if row.length > settings.max_length)
    seen = Seen(examples, cut)
    rows = [row.cut(settings.max_length) for row in rows]
    trainer = _trainer(model, rows, updates, settings, seed, out, template, seen, progress)
    if snapshots:
        _take(snapshots, trainer, lambda update: _save(trainer, template, model, snapshot(out, update)))
    start = [p.detach().clone() for p in trainer.model.parameters()]
    seconds = _train(trainer, seen, out)
    with trainer.whole():
        displacement = _displacement(start, list(trainer.model.parameters())) if share.first else 0.0
    if not math.isfinite(displacement):
        raise Diverged("train: the weights are no longer finite numbers after the last update; lower learning_rate")
    _save(trainer, template, model, out / MODEL)
    if not share.first:
        return {}
    for folder in out.glob("checkpoint-*"):
        remove_checkpoint(folder)
    return {
        "updates": int(trainer.state.global_step),
        **seen.facts(),
        **from_log(trainer.state.log_history),
        "displacement": displacement,
        **_how(trainer, settings, seed),
        "template": template.fingerprint,
        "template_notes": checks,
        "seconds_training": round(seconds, 2),
    }


def _how(trainer: Any, settings: Train, seed: int) -> dict[str, Any]:
    """What a training was carried out with, as it was in force."""
    from mixdistill.trainer import checkpointing_name

    return {
        "method": settings.method,
        "loss_type": settings.loss_type,
        "packing": False,
        "attn_implementation": trainer.model.config._attn_implementation,
        "gradient_checkpointing": bool(getattr(trainer.args, checkpointing_name())),
        "precision": "bfloat16" if settings.bf16 else "float32",
        **trainer.share.layout(settings.distributed),
        "device": device_name(),
        "seed": seed,
        "max_length": settings.max_length,
        "overlong": settings.overlong,
    }


def _trainer(
    model: str,
    rows: Sequence[Tokenised],
    updates: Sequence[Sequence[int]],
    settings: Train,
    seed: int,
    out: Path,
    template: Template,
    seen: Seen,
    progress: Callable[[int, int, float], None],
) -> Any:
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
    return UpdateTrainer(
        model=loaded,
        args=arguments(settings, seed=seed, out=out, updates=len(updates)),
        processing_class=template.tokenizer,
        train_dataset=datasets.Dataset.from_dict({"examples": [list(u) for u in updates]}),
        data_collator=Collate(rows, template.pad_id, settings.micro_batch_tokens, Share.here()),
        seen=seen,
        progress=progress,
    )


def _take(updates: Sequence[int], trainer: Any, save: Callable[[int], None]) -> None:
    from mixdistill.trainer import Snapshots

    trainer.add_callback(Snapshots(updates, save))


def _train(trainer: Any, seen: Seen, out: Path) -> float:
    """From the last checkpoint under `out` where there is one; the seconds that this took."""
    checkpoint = newest_checkpoint(out, trainer.layout)
    if checkpoint:
        _count_earlier(seen, trainer, checkpoint_step(checkpoint))
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return float(result.metrics["train_runtime"])


def _count_earlier(seen: Seen, trainer: Any, updates: int) -> None:
    """What passed through before the checkpoint: the trainer skips those updates, the counts must not."""
    for i in range(updates):
        batch = trainer.data_collator([trainer.train_dataset[i]])
        seen.update(batch["whole"])


def _save(trainer: Any, template: Template, model: str, out: Path) -> None:
    """Write beside, then rename: a model folder is whole or not there. The first process writes, all take part."""
    with trainer.whole():
        if trainer.share.first:
            _write(trainer, template, model, out)


def _write(trainer: Any, template: Template, model: str, out: Path) -> None:
    beside = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    trainer.model.config.use_cache = True
    # The trainer wrote the tokenizer's special tokens into it, and a student must be decoded like its untuned self.
    trainer.model.generation_config = generation_config(model)
    trainer.model.save_pretrained(beside, safe_serialization=True)
    template.tokenizer.save_pretrained(beside)
    for file in beside.iterdir():
        with open(file, "rb") as f:
            os.fsync(f.fileno())
    shutil.rmtree(out, ignore_errors=True)
    beside.rename(out)


def _displacement(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> float:
    """How far the weights moved, relative to their length: |after - before| / |before|."""
    moved = sum(float((a.detach() - b).float().pow(2).sum()) for a, b in zip(after, before, strict=True))
    size = sum(float(b.float().pow(2).sum()) for b in before)
    return round(math.sqrt(moved / size), 5)


def device_name() -> str:
    """The device that trainings and evaluations of this process run on: the GPU's name, or `cpu`."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
