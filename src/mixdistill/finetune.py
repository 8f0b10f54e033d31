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
from pathlib import Path
from typing import Any

from mixdistill.backends.transformers import generation_config
from mixdistill.batches import Collate, Tokenised, check_rows
from mixdistill.checkpoints import checkpoint_step, newest_checkpoint, remove_checkpoint, room
from mixdistill.errors import MissingExtra, StageError
from mixdistill.methods import ADAPTER, adapted, load, merged, packs
from mixdistill.sections import Train
from mixdistill.seen import Seen, from_log
from mixdistill.tokens import Template
from mixdistill.types import Example

MODEL = "model"
"""Below a training's folder: the student that came out."""
CHECKED = 100
"""Examples whose tokens are compared after the tokenizer was saved."""


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
    rows = [Tokenised(*template.render(e.prompt, e.reasoning, e.content)) for e in examples]
    check_rows(rows, template, settings.max_length, settings.overlong)
    cut = frozenset(i for i, row in enumerate(rows) if row.length > settings.max_length)
    seen = Seen(examples, cut)
    rows = [row.cut(settings.max_length) for row in rows]
    trainer = _trainer(model, rows, updates, settings, seed, out, template, seen, progress)
    seconds = _train(trainer, seen, out)
    student = _student(trainer, model, settings, out)
    displacement = _displacement(model, student)
    if not math.isfinite(displacement):
        raise StageError("train: the weights are no longer finite numbers after the last update; lower learning_rate")
    with room(out / f".{MODEL}.tmp", "the model"):
        _save(student, template, model, examples, out / MODEL)
    _remove_checkpoints(out)
    return {
        "updates": int(trainer.state.global_step),
        **seen.facts(),
        **from_log(trainer.state.log_history),
        "displacement": displacement,
        **_how(trainer, settings, seed),
        "template": template.fingerprint,
        "seconds_training": round(seconds, 2),
    }


def _how(trainer: Any, settings: Train, seed: int) -> dict[str, Any]:
    """What a training was carried out with, as it was in force."""
    from mixdistill.trainer import checkpointing_name

    processes = int(trainer.args.world_size)
    return {
        "method": settings.method,
        "loss_type": settings.loss_type,
        "packing": packs(settings),
        "attn_implementation": trainer.model.config._attn_implementation,
        "gradient_checkpointing": bool(getattr(trainer.args, checkpointing_name())),
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
        "num_processes": processes,
        "distributed": settings.distributed if processes > 1 else None,
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
        from transformers.utils import logging

        from mixdistill.trainer import UpdateTrainer, arguments
    except ImportError as e:
        raise MissingExtra(e.name or "trl", "train") from None
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    loaded: Any = load(model, settings)
    if settings.method != "full":
        loaded = adapted(loaded, settings, seed=seed)
    return UpdateTrainer(
        model=loaded,
        args=arguments(settings, seed=seed, out=out, updates=len(updates)),
        processing_class=template.tokenizer,
        train_dataset=datasets.Dataset.from_dict({"examples": [list(u) for u in updates]}),
        data_collator=Collate(rows, template.pad_id, settings.micro_batch_tokens, packs(settings)),
        seen=seen,
        loss_type=settings.loss_type,
        progress=progress,
    )


def _train(trainer: Any, seen: Seen, out: Path) -> float:
    """From the last checkpoint under `out` where there is one; the seconds that this took."""
    checkpoint = newest_checkpoint(out)
    if checkpoint:
        _count_earlier(seen, trainer, checkpoint_step(checkpoint))
    from mixdistill.trainer import Diverged

    try:
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except Diverged:
        # Who runs it again must not go on from weights that may be broken already.
        _remove_checkpoints(out)
        raise
    return float(result.metrics["train_runtime"])


def _remove_checkpoints(out: Path) -> None:
    for folder in out.glob("checkpoint-*"):
        remove_checkpoint(folder)


def _count_earlier(seen: Seen, trainer: Any, updates: int) -> None:
    """What passed through before the checkpoint: the trainer skips those updates, the counts must not."""
    for i in range(updates):
        batch = trainer.data_collator([trainer.train_dataset[i]])
        seen.update(batch["micro_batches"])


def _student(trainer: Any, model: str, settings: Train, out: Path) -> Any:
    """What was trained, as an ordinary model. Adapters are saved in `out/adapter` and merged into the untuned model."""
    if settings.method == "full":
        return trainer.model
    beside = out / f".{ADAPTER}.tmp"
    with room(beside, "the adapter"):
        shutil.rmtree(beside, ignore_errors=True)
        trainer.model.save_pretrained(beside)
    (beside / "README.md").unlink(missing_ok=True)  # PEFT's card, which has nothing in it
    _put(beside, out / ADAPTER)
    return merged(model, out / ADAPTER)


def _save(student: Any, template: Template, model: str, examples: Sequence[Example], out: Path) -> None:
    """Write beside, then rename: a model folder is whole or not there."""
    beside = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    student.config.use_cache = True
    # The trainer wrote the tokenizer's special tokens into it, and a student must be decoded like its untuned self.
    student.generation_config = generation_config(model)
    student.save_pretrained(beside, safe_serialization=True)
    template.tokenizer.save_pretrained(beside)
    _check_tokenizer(beside, template, examples)
    _put(beside, out)


def _check_tokenizer(folder: Path, template: Template, examples: Sequence[Example]) -> None:
    """Raise StageError unless the saved tokenizer gives the ids that were trained on: both as transformers loads it,
    and as its file stands there, which is what other programs read."""
    from tokenizers import Tokenizer

    texts = [template.completion_text(e.reasoning, e.content) for e in examples[:CHECKED]]
    ids = [template.encode(text) for text in texts]
    again = Template.load(str(folder), chat_template_kwargs=template.chat_template_kwargs)
    readers = {"AutoTokenizer": again.encode}
    file = folder / "tokenizer.json"
    if file.exists():
        plain = Tokenizer.from_file(str(file))
        readers["tokenizers"] = lambda text: plain.encode(text, add_special_tokens=False).ids
    for name, encode in readers.items():
        different = next((t for t, known in zip(texts, ids, strict=True) if encode(t) != known), None)
        if different is not None or again.fingerprint != template.fingerprint:
            raise StageError(
                f"train: the saved tokenizer, read by {name}, gives other tokens than were trained on (as of "
                f"{(different or 'the chat template')[:60]!r}); transformers splits text in its own way for some model "
                "types, qwen2 among them: give the student a tokenizer that is saved as it is used"
            )


def _put(beside: Path, folder: Path) -> None:
    """A finished folder takes its place, whole on the disk."""
    for file in beside.iterdir():
        with open(file, "rb") as f:
            os.fsync(f.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def _displacement(model: str, student: Any) -> float:
    """How far the weights moved, relative to their length: |after - before| / |before|."""
    import torch
    from transformers import AutoModelForCausalLM

    after = dict(student.named_parameters())
    before = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).named_parameters()
    moved = size = 0.0
    with torch.no_grad():
        for name, b in before:
            moved += float((after[name].to(b.device, b.dtype) - b).pow(2).sum())
            size += float(b.pow(2).sum())
    return round(math.sqrt(moved / size), 5)


def device_name() -> str:
    """The device that trainings and evaluations of this process run on: the GPU's name, or `cpu`."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
