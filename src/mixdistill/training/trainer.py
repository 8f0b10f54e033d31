"""TRL's SFTTrainer, made to take one whole update per step. Imports torch: import it where it is used."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253
from transformers import PrinterCallback, TrainerCallback  # noqa: TID253
from trl import SFTConfig  # noqa: TID253

from mixdistill.errors import Diverged
from mixdistill.sections import Train
from mixdistill.training import distributed
from mixdistill.training.batches import IGNORED
from mixdistill.training.checkpoints import checkpoint_step, remove_checkpoint, room
from mixdistill.training.methods import recomputes
from mixdistill.training.seen import SPAN, risen
from mixdistill.training.shared_trainer import SharedTrainer

if TYPE_CHECKING:
    from mixdistill.training.batches import MicroBatch
    from mixdistill.training.seen import Seen


def checkpointing_name() -> str:
    """What the trainer's switch for gradient checkpointing is called; the older name is that of transformers before
    5.20, which is what vLLM goes with."""
    known = SFTConfig.__dataclass_fields__
    return "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"


def arguments(settings: Train, *, seed: int, out: Path, updates: int) -> SFTConfig:
    """The trainer's settings: one update a step, in the order given, nothing cut."""
    cpu = not torch.cuda.is_available()
    checkpointing: dict[str, Any] = {checkpointing_name(): recomputes(settings)}
    made = SFTConfig(
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
        bf16=settings.bf16 or settings.method == "qlora",
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
        report_to=settings.report_to or "none",
        run_name="/".join(out.parts[-3:]),
    )
    # A process trains on one GPU. Further ones that it sees are for models that are sampled on several, and the trainer
    # would copy the model onto them (DataParallel).
    made._n_gpu = min(made.n_gpu, 1)
    return made


class Snapshots(TrainerCallback):
    """Calls `save` after some updates, before the trainer's own checkpoint of the same update."""

    def __init__(self, updates: Sequence[int], save: Callable[[int], Any]) -> None:
        self.updates, self.save = frozenset(updates), save

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        if state.global_step in self.updates:
            self.save(state.global_step)


def diverged(why: str) -> Diverged:
    """What ends a training that went wrong beyond repair."""
    return Diverged(f"train: {why}; the training diverged; lower train.learning_rate or train.max_grad_norm")


def token_losses(logits: torch.Tensor, targets: torch.Tensor, loss_type: str) -> torch.Tensor:
    """Loss of each token, from logits of shape [tokens, vocabulary] and targets of shape [tokens].

    `nll`: minus the log of its probability. `dft`: that, times the probability as a weight without gradient.
    """
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return losses * torch.exp(-losses.detach()) if loss_type == "dft" else losses


@contextmanager
def only(model: Any, kept: torch.Tensor) -> Generator[None]:
    """Meanwhile the model's logits are computed where `kept` ([rows, length]) is true alone: [kept positions,
    vocabulary]. They are a large part of the work, and those of prompts and padding carry no loss."""
    handle = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0][kept],))
    try:
        yield
    finally:
        handle.remove()


class UpdateTrainer(SharedTrainer):
    """An SFTTrainer whose batch is a whole update, already cut into micro-batches by the collator."""

    def __init__(self, *, seen: Seen, loss_type: str, progress: Callable[[int, int, float], None], **kwargs: Any):
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)
        self.seen = seen
        self.loss_type = loss_type
        self.progress = progress
        self.started = time.monotonic()

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The next update, and the number of its tokens that carry loss."""
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        tokens = sum(sum(m.loss_tokens) for b in batches for m in b["whole"])
        return batches, torch.tensor(max(1, tokens), device=device)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of every micro-batch; gradients add up to the mean over the update's loss tokens.

        Returns the update's loss. Raises Diverged when that is not a finite number.
        """
        parts: list[MicroBatch] = inputs["micro_batches"]
        losses = []
        for n, part in enumerate(parts, 1):
            with self.adding_up(model, last=n == len(parts)):
                losses.append(super().training_step(model, {**part.inputs, "labels": part.labels}, num_items_in_batch))
        loss = self.mean_of_all(torch.stack(losses).sum())
        if not torch.isfinite(loss):
            raise diverged(f"the loss of update {self.state.global_step + 1} is {loss.item()}")
        self.seen.update(inputs["whole"])
        rate = self.seen.loss_tokens / (time.monotonic() - self.started)
        self.progress(self.state.global_step + 1, self.seen.loss_tokens, rate)
        return loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Loss summed over the micro-batch's loss tokens, over the loss tokens of the whole update."""
        labels = inputs.pop("labels")
        kept = torch.nn.functional.pad(labels[:, 1:] != IGNORED, (0, 1))
        with only(self.accelerator.unwrap_model(model), kept):
            logits = model(**inputs, use_cache=False).logits
        targets = labels[:, 1:][kept[:, :-1]]
        loss = token_losses(logits.float(), targets, self.loss_type).sum()
        return loss * self.share.processes / num_items_in_batch  # the mean over the processes is taken of it

    def _clip_grad_norm(self, model: Any) -> Any:
        """Before the optimizer's step, so that weights are never changed by what is no number."""
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(float(norm)):
            raise diverged(f"the norm of the gradients of update {self.state.global_step + 1} is {float(norm)}")
        return norm

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """What is logged at every update; ends a training whose loss went up and stays there."""
        super().log(logs, *args, **kwargs)
        warmup = self.args.get_warmup_steps(self.args.max_steps)
        if "loss" in logs and risen(self.state.log_history, warmup):
            raise diverged(
                f"the loss of update {self.state.global_step} is {logs['loss']:.3g}, and it has been far above where "
                f"it began for {SPAN} updates"
            )

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Keep the newest only, by its number: the trainer's own rotation goes by file times, not by that."""
        out, step = Path(str(self.args.output_dir)), self.state.global_step
        with room(out / f"checkpoint-{step}", f"the checkpoint of update {step}"):
            super()._save_checkpoint(*args, **kwargs)
        for folder in out.glob("checkpoint-*") if self.share.first else ():
            if checkpoint_step(folder) < step:
                remove_checkpoint(folder)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: an update is no single batch."""
        return 0

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: TRL's card has broken links for local models."""
