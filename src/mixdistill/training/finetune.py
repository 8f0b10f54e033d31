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
from typing import Any

from mixdistill import row_checks
from mixdistill.backends.transformers import generation_config, own_stop_ids
from mixdistill.errors import Diverged, MissingExtra, StageError
from mixdistill.files import parameters
from mixdistill.sections import Train
from mixdistill.tokens import Template
from mixdistill.training.batches import Collate, Tokenised, check_rows
from mixdistill.training.checkpoints import checkpoint_step, newest_checkpoint, remove_checkpoint, room
from mixdistill.training.distributed import Share, spread
from mixdistill.training.methods import ADAPTER, adapted, load, merged, packs
from mixdistill.training.seen import Seen, from_log
from mixdistill.training.snapshots import MODEL, snapshot
from mixdistill.types import Example

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
    save = partial(_save, trainer, template, model, examples)
    if snapshots:
        _take(snapshots, trainer, lambda update: save(snapshot(out, update)))
    seconds = _train(trainer, seen, out)
    displacement = save(out / MODEL)
    if not share.first:
        return {}
    _remove_checkpoints(out)
    return {
        "updates": int(trainer.state.global_step),
        **seen.facts(),
        **from_log(trainer.state.log_history),
        "displacement": displacement,
        "parameters": parameters(out / MODEL),
        **_how(trainer, settings, seed),
        "template": template.fingerprint,
        "template_notes": checks,
        "seconds_training": round(seconds, 2),
    }


def _how(trainer: Any, settings: Train, seed: int) -> dict[str, Any]:
    """What a training was carried out with, as it was in force."""
    from mixdistill.training.trainer import checkpointing_name

    return {
        "method": settings.method,
        "loss_type": settings.loss_type,
        "packing": packs(settings),
        "attn_implementation": trainer.model.config._attn_implementation,
        "gradient_checkpointing": bool(getattr(trainer.args, checkpointing_name())),
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
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
        from transformers.utils import logging

        from mixdistill.training.trainer import UpdateTrainer, arguments
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
        data_collator=Collate(rows, template.pad_id, settings.micro_batch_tokens, Share.here(), packs(settings)),
        seen=seen,
        loss_type=settings.loss_type,
        progress=progress,
    )


def _take(updates: Sequence[int], trainer: Any, save: Callable[[int], Any]) -> None:
    from mixdistill.training.trainer import Snapshots

    trainer.add_callback(Snapshots(updates, save))


def _train(trainer: Any, seen: Seen, out: Path) -> float:
    """From the last checkpoint under `out` where there is one; the seconds that this took."""
    checkpoint = newest_checkpoint(out, trainer.layout)
    if checkpoint:
        _count_earlier(seen, trainer, checkpoint_step(checkpoint))
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
        seen.update(batch["whole"])


def _save(trainer: Any, template: Template, model: str, examples: Sequence[Example], out: Path) -> float:
    """Save the student as it is now; how far its weights have moved. Write beside, then rename: a model folder is whole
    or not there. The first process writes, all take part. Raises Diverged for weights that are no finite numbers."""
    beside = out.with_name(f".{out.name}.tmp")
    with trainer.whole():
        if not trainer.share.first:
            return 0.0
        shutil.rmtree(beside, ignore_errors=True)
        with room(beside, "the model"):
            student = _student(trainer, model, beside)
            moved = _displacement(model, student)
            if not math.isfinite(moved):
                raise Diverged("train: the weights are no longer finite numbers; lower train.learning_rate")
            _write(student, template, model, beside)
    _check_tokenizer(beside, template, examples)
    _put(beside, out)
    return moved


def _student(trainer: Any, model: str, folder: Path) -> Any:
    """What was trained, as an ordinary model. An adapter is saved in `folder/adapter` and merged into the untuned
    model: the one in training stays as it is."""
    if not hasattr(trainer.model, "peft_config"):
        return trainer.model
    trainer.model.save_pretrained(folder / ADAPTER)
    (folder / ADAPTER / "README.md").unlink(missing_ok=True)  # PEFT's card, which has nothing in it
    return merged(model, folder / ADAPTER)


def _write(student: Any, template: Template, model: str, folder: Path) -> None:
    cache, settings = student.config.use_cache, student.generation_config
    student.config.use_cache = True
    # The trainer wrote the tokenizer's special tokens into it, and a student must be decoded like its untuned self.
    # Here both stop at what the template ends a turn in, and the student must wherever else it is served.
    student.generation_config = own = generation_config(model)
    if missing := template.stop_ids.difference(own_stop_ids(own)):
        own.eos_token_id = [*own_stop_ids(own), *sorted(missing)]
    student.save_pretrained(folder, safe_serialization=True)
    student.config.use_cache, student.generation_config = cache, settings
    template.tokenizer.save_pretrained(folder)


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
    for file in (p for p in beside.rglob("*") if p.is_file()):
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
