"""What is trained, how, and how much of it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mixdistill.sections.base import Section

Schedule = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
]
"""Those of `transformers.SchedulerType` that need no settings of their own."""


class Lora(Section):
    """Low-rank adapters. Names are those of PEFT's `LoraConfig`."""

    r: int = Field(default=16, ge=1)
    """Rank."""
    lora_alpha: float = Field(default=32.0, gt=0)
    """Scale: the update is multiplied by `lora_alpha / r`."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """Names of the modules that get one; `all-linear`: every linear layer but the output."""


LEARNING_RATES = {"full": 1e-5, "lora": 1e-4, "qlora": 1e-4}
"""Training method -> learning rate when none is given."""


class Train(Section):
    """One training, the same for all arms. Names are those of Hugging Face `TrainingArguments`, PEFT and TRL."""

    method: Literal["full", "lora", "qlora"] = "full"
    """What is trained: all weights, adapters, or adapters on weights of four bits (needs bitsandbytes and a GPU). The
    student that comes out is an ordinary model in each case: adapters are merged into it, and kept beside it."""
    lora: Lora = Lora()
    """For `lora` and `qlora`."""
    learning_rate: float = Field(default=LEARNING_RATES["full"], gt=0)
    """Peak learning rate. When not given, 1e-5 for `full`, which suits models of billions of weights, and 1e-4 for
    adapters."""
    loss_type: Literal["nll", "dft"] = "nll"
    """`nll`: cross-entropy. `dft`: each token's is weighted with its own probability, as TRL has it (arXiv 2508.05629).
    """
    num_train_epochs: float = Field(default=2.0, gt=0)
    """Passes over the problems; in `loss_tokens`, passes of the arm with the fewest tokens."""
    lr_scheduler_type: Schedule = "cosine"
    """Schedule of the learning rate."""
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    """Share of the updates spent warming up."""
    weight_decay: float = Field(default=0.0, ge=0)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=16384, ge=1)
    """Most tokens of prompt and completion together."""
    overlong: Literal["refuse", "drop", "truncate"] = "refuse"
    """What happens when traces exceed `max_length`: stop with a message, or drop them from every arm and list them.
    `truncate` cuts them, stop token and all, as other trainers do in silence: to reproduce what was trained so. A study
    with a row that was cut is marked red."""
    micro_batch_tokens: int = Field(default=16384, ge=1)
    """Tokens per forward pass, padding included; an update is cut into as many as it needs. Changes memory and rounding
    only."""
    packing: bool | None = None
    """Rows of a forward pass stand one after the other, without padding, and do not see each other. When not given: on
    a GPU with flash attention. On a CPU it is slower."""
    attn_implementation: str | None = None
    """As transformers names it. When not given: `flash_attention_2` on a GPU that has it, else the model's own."""
    gradient_checkpointing: bool | None = None
    """Compute activations again in the backward pass instead of keeping them. When not given: on a GPU."""
    bf16: bool = False
    """Compute in bfloat16. Weights and optimizer stay float32: in bfloat16, updates at 1e-5 round to nothing."""
    save_steps: int = Field(default=500, ge=1)
    """Updates between checkpoints; a killed training goes on from the last."""
    num_processes: int = Field(default=1, ge=1)
    """Processes that share one training, one GPU each where there are GPUs. The updates stay what they are: each
    process takes its share of every one."""
    distributed: Literal["ddp", "fsdp"] = "ddp"
    """How they share it: each holds the whole model, or a part of its weights, gradients and optimizer."""
    dev_checkpoints: int = Field(default=4, ge=0)
    """Points of the training, at equal distances and the end among them, at which the student is scored on
    `problems.dev`; without that, none."""
    keep: Literal["last", "best"] = "last"
    """Which of these points becomes the student, by one rule in every arm: the last, or the one with the highest
    accuracy on `problems.dev` (of equal ones the earliest)."""
    report_to: list[str] = []
    """Trackers that every training is reported to, as transformers names them (`wandb`, `tensorboard`, ...)."""

    @model_validator(mode="after")
    def _rate(self) -> Self:
        if "learning_rate" not in self.model_fields_set:
            # Not through the model's own door, so that it stays a default: another method has another one.
            self.__dict__["learning_rate"] = LEARNING_RATES[self.method]
        return self


class Tune(Section):
    """Values that are tried on every arm alike before the study's trainings, one training each with the first seed. The
    one with the highest accuracy on `problems.dev` is taken, arm by arm (of equal ones the first)."""

    learning_rate: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2)]
    """Peak learning rates, in place of `train.learning_rate`."""


Variant = Literal["examples", "loss_tokens", "shared", "each", "reweighted"]
"""A value of `budget.unit` or `budget.problems` other than the study's."""


class Budget(Section):
    """What every update holds equally, in every arm."""

    unit: Literal["examples", "loss_tokens"] = "examples"
    """The unit of `per_update` and of the arms' weights. The other unit is always printed."""
    per_update: int = Field(default=16, ge=1)
    """Examples, or loss tokens, per optimizer step. Must be given for `loss_tokens`."""
    problems: Literal["shared", "each", "reweighted"] = "shared"
    """`shared`: problems that every teacher of the compared arms solved; `each`: every arm its own; `reweighted`: the
    shared ones, repeated such that levels of difficulty have the shares that they have among all problems."""
    also: list[Variant] | None = None
    """Train and score every arm once more under a budget that differs in this one thing, and hold the gaps against
    those. A verdict needs the same sign under both units of the budget. In the other unit `per_update` follows from the
    data, such that there are as many updates. When neither this nor `unit` is given: the other unit."""

    @property
    def variants(self) -> list[Variant]:
        """What `also` comes to."""
        if self.also is not None:
            return list(dict.fromkeys(self.also))
        return [] if "unit" in self.model_fields_set else ["loss_tokens"]
