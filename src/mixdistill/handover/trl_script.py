"""The script by which TRL reproduces a training from an exported data set."""

from __future__ import annotations

from string import Template as Text
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixdistill.handover.configurations import Training


def script(t: Training, notes: list[str]) -> str:
    """A script that trains with TRL's SFTTrainer; `notes` are what it does not do as it was done."""
    s = t.settings
    options: dict[str, Any] = {
        "max_steps": t.done.updates,
        "per_device_train_batch_size": t.per_device if t.equal else 1,
        "gradient_accumulation_steps": t.accumulation if t.equal else 1,
        "train_sampling_strategy": "sequential",
        "learning_rate": s.learning_rate,
        "lr_scheduler_type": s.lr_scheduler_type,
        "warmup_steps": t.warmup,
        "weight_decay": s.weight_decay,
        "adam_beta1": s.adam_beta1,
        "adam_beta2": s.adam_beta2,
        "max_grad_norm": s.max_grad_norm,
        "loss_type": s.loss_type,
        "bf16": s.bf16,
        "max_length": None,
        "packing": False,
        "seed": t.done.cell.seed,
        "data_seed": t.done.cell.seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
    }
    quantized = s.method == "qlora"
    loading = ["dtype=torch.bfloat16", "quantization_config=four_bits()", 'device_map={"": 0}'] if quantized else []
    if s.attn_implementation:
        loading.append(f"attn_implementation={s.attn_implementation!r}")
    return _TRL.substitute(
        cell="/".join(t.done.cell.key),
        notes="\n".join(["", *(note.removeprefix("# ") for note in notes), ""]) if notes else "",
        model=repr(t.model),
        options="\n".join(f"        {k}={v!r}," for k, v in options.items()),
        sampler="" if t.equal else _SAMPLER.substitute(padded=f"{t.done.padded:,}"),
        trainer="SFTTrainer" if t.equal else "InUpdates",
        checkpointing=_checkpointing(t, "gpu"),
        loading=", ".join(loading if quantized else ["dtype=torch.float32", *loading]),
        adapters="" if s.method == "full" else _adapters(t),
        adapted="" if s.method == "full" else "\n    loaded = adapted(loaded)",
        four_bits=_FOUR_BITS if quantized else "",
    )


def _checkpointing(t: Training, gpu: str) -> str:
    """Whether activations are computed again; where the recipe leaves it open, on a GPU."""
    said = t.settings.gradient_checkpointing
    return gpu if said is None else repr(said)


def _adapters(t: Training) -> str:
    lora = {k: repr(v) for k, v in t.settings.lora.model_dump().items()}
    prepared = _PREPARED.format(checkpointing=_checkpointing(t, "torch.cuda.is_available()"))
    prepared = prepared if t.settings.method == "qlora" else ""
    return _ADAPTERS.substitute(seed=t.done.cell.seed, prepared=prepared, **lora)


_TRL = Text('''"""Trains the student of $cell as mixdistill did: the same tokens and labels, order and updates.

    pip install "trl>=1.13" "datasets>=4.8" "peft>=0.21"
    python train.py --out student
$notes"""

import argparse
from pathlib import Path

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

TOKENS = Path(__file__).resolve().parent.parent / "tokens" / "train.parquet"
MODEL = $model


def config(out):
    """Nothing is cut, packed, shuffled or rendered: the rows are tokens already."""
    gpu = torch.cuda.is_available()
    known = SFTConfig.__dataclass_fields__  # transformers 5.20 gave it another name
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return SFTConfig(
        output_dir=str(out),
$options
        **{checkpointing: $checkpointing},
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
    )

$sampler$adapters$four_bits
def trainer(out, model=MODEL):
    """The trainer, with its rows."""
    rows = load_dataset("parquet", data_files=str(TOKENS), split="train")
    loaded = AutoModelForCausalLM.from_pretrained(model, $loading)$adapted
    tokenizer = AutoTokenizer.from_pretrained(model)
    return $trainer(loaded, args=config(out), train_dataset=rows, processing_class=tokenizer)


if __name__ == "__main__":
    words = argparse.ArgumentParser()
    words.add_argument("--out", default="student")
    words.add_argument("--model", default=MODEL)
    given = words.parse_args()
    training = trainer(given.out, given.model)
    training.train()
    training.save_model(given.out)
''')

_SAMPLER = Text('''
class InUpdates(SFTTrainer):
    """One batch is one update, whatever the number of its rows. The largest is $padded tokens, padding included, in one
    forward pass; mixdistill cuts an update into several."""

    def __init__(self, *args, train_dataset, **kwargs):
        self.updates = {}
        for row, update in enumerate(train_dataset["update"]):
            self.updates.setdefault(update, []).append(row)
        super().__init__(*args, train_dataset=train_dataset, **kwargs)

    def get_train_dataloader(self):
        rows = self._remove_unused_columns(self.train_dataset)
        batches = torch.utils.data.DataLoader(
            rows, batch_sampler=list(self.updates.values()), collate_fn=self.data_collator
        )
        return self.accelerator.prepare(batches)

''')

_ADAPTERS = Text('''
def adapted(model):
    """The model with adapters on it, the rest of it frozen. What is saved in the end are the adapters; mixdistill keeps
    them too, and merges them into its student."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import set_seed

$prepared    set_seed($seed)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=$r,
        lora_alpha=$lora_alpha,
        lora_dropout=$lora_dropout,
        target_modules=$target_modules,
    )
    return get_peft_model(model, lora)

''')

_PREPARED = """\
    prepare_model_for_kbit_training(model, use_gradient_checkpointing={checkpointing})
"""

_FOUR_BITS = '''
def four_bits():
    """How the weights under the adapters are held."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )

'''
