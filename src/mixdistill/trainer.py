"""TRL's SFTTrainer, made to take one whole update per step. Imports torch: import it where it is used."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253
from transformers import PrinterCallback, TrainerCallback  # noqa: TID253
from trl import SFTConfig  # noqa: TID253

from mixdistill import distributed
from mixdistill.checkpoints import checkpoint_step, remove_checkpoint
from mixdistill.errors import Diverged
from mixdistill.sections import Train
from mixdistill.shared_trainer import SharedTrainer

if TYPE_CHECKING:
    from mixdistill.batches import MicroBatch
    from mixdistill.seen import Seen


def checkpointing_name() -> str:
    """What the trainer's switch for gradient checkpointing is called; the older name is that of transformers before
    5.20, which is what vLLM goes with."""
    known = SFTConfig.__dataclass_fields__
    return "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"


def arguments(settings: Train, *, seed: int, out: Path, updates: int) -> SFTConfig:
    """The trainer's settings: one update a step, in the order given, nothing cut, nothing reported anywhere."""
    cpu = not torch.cuda.is_available()
    wanted = settings.gradient_checkpointing
    checkpointing: dict[str, Any] = {checkpointing_name(): not cpu if wanted is None else wanted}
    return SFTConfig(
        output_dir=str(out),
        max_steps=updates,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        train_sampling_strategy="sequential",
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=int(settings.warmup_ratio * updates),
        weight_decay=settings.weight_decay,
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.bf16,
        fp16=False,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        **checkpointing,
        use_cpu=cpu,
        dataloader_pin_memory=not cpu,
        seed=seed,
        data_seed=seed,
        # Without it gradients are put together in another order after the first update than before, and so in another
        # order where a training is resumed.
        ddp_find_unused_parameters=settings.num_processes > 1,
        **distributed.fsdp(settings),
        save_strategy="steps",
        save_steps=settings.save_steps,
        logging_steps=1,  # also what the peak learning rate is read from, whatever a training was resumed from
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        log_level="error",
        report_to="none",
    )


class Snapshots(TrainerCallback):
    """Calls `save` after some updates, before the trainer's own checkpoint of the same update."""

    def __init__(self, updates: Sequence[int], save: Callable[[int], None]) -> None:
        self.updates, self.save = frozenset(updates), save

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        if state.global_step in self.updates:
            self.save(state.global_step)


class UpdateTrainer(SharedTrainer):
    """An SFTTrainer whose batch is a whole update, already cut into micro-batches by the collator."""

    def __init__(self, *, seen: Seen, progress: Callable[[int, int, float], None], **kwargs: Any):
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)
        self.seen = seen
        self.progress = progress
        self.started = time.monotonic()

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The next update, and the number of its tokens that carry loss."""
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        tokens = sum(sum(m.loss_tokens) for b in batches for m in b["whole"])
        return batches, torch.tensor(tokens, device=device)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of every micro-batch; gradients add up to the mean over the update's loss tokens.

        Returns the update's loss. Raises Diverged when that is not a finite number.
        """
        parts: list[MicroBatch] = inputs["micro_batches"]
        losses = []
        for n, part in enumerate(parts, 1):
            with self.adding_up(model, last=n == len(parts)):
                losses.append(super().training_step(model, part.inputs, num_items_in_batch))
        loss = self.mean_of_all(torch.stack(losses).sum())
        if not torch.isfinite(loss):
            raise Diverged(
                f"train: the loss of update {self.state.global_step + 1} is {loss.item()}; the training diverged; "
                "lower train.learning_rate or train.max_grad_norm"
            )
        self.seen.update(inputs["whole"])
        rate = self.seen.loss_tokens / (time.monotonic() - self.started)
        self.progress(self.state.global_step + 1, self.seen.loss_tokens, rate)
        return loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Cross-entropy summed over the micro-batch's loss tokens, over the loss tokens of the whole update."""
        labels = inputs["labels"][:, 1:]
        output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        kept = labels != -100
        logits = output.logits[:, :-1][kept].float()
        loss = torch.nn.functional.cross_entropy(logits, labels[kept], reduction="sum")
        return loss * self.share.processes / num_items_in_batch  # the mean over the processes is taken of it

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Keep the newest only, by its number: the trainer's own rotation goes by file times, not by that."""
        super()._save_checkpoint(*args, **kwargs)
        if not self.share.first:
            return
        for folder in Path(str(self.args.output_dir)).glob("checkpoint-*"):
            if checkpoint_step(folder) < self.state.global_step:
                remove_checkpoint(folder)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: an update is no single batch."""
        return 0

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: TRL's card has broken links for local models."""
