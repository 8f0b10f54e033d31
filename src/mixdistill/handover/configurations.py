"""How other trainers reproduce a training from an exported data set: a script for TRL, and configurations for
LLaMA-Factory, ms-swift and axolotl.

Each reads the tokens in their order, so that neither a chat template nor a length limit nor a sampler of its own comes
between (ms-swift, which takes no ready-made tokens, gets the text). Where a trainer cannot do what was done, its file
says so. TRL's is checked against the training itself, token by token and label by label, by the tests. LLaMA-Factory
and ms-swift were run by hand, and axolotl's own schema has read its configuration (docs/export.md).
"""

from __future__ import annotations

import json
import math
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixdistill import dev, resolve
from mixdistill.errors import MissingExtra
from mixdistill.export import Exported, tokens_alone, write_text
from mixdistill.handover import trl_script
from mixdistill.recipe import Recipe
from mixdistill.sections import Train
from mixdistill.store import Store
from mixdistill.yaml_text import write_yaml


@dataclass(frozen=True)
class Training:
    """What a configuration says."""

    done: Exported
    settings: Train
    model: str
    """Folder or hub id."""
    unit: str
    """Of the budget."""
    eos: str
    """The stop token's text."""
    bos: str
    """What the tokenizer puts before every text by itself; "" for nothing."""

    @property
    def equal(self) -> bool:
        """Whether every update takes the same number of rows."""
        return len(set(self.done.sizes)) == 1

    @property
    def rows(self) -> int:
        """Rows of an update; their mean where they differ."""
        return max(1, round(self.done.seen / self.done.updates))

    @property
    def steps(self) -> int:
        """Updates of a trainer whose updates all have `rows` rows."""
        return self.done.updates if self.equal else math.ceil(self.done.seen / self.rows)

    @property
    def per_device(self) -> int:
        """Rows of a forward pass: the most that divide an update and fit into `micro_batch_tokens`."""
        fit = self.settings.micro_batch_tokens // max(1, self.done.longest)
        return max((d for d in range(1, self.rows + 1) if self.rows % d == 0 and d <= fit), default=1)

    @property
    def accumulation(self) -> int:
        return self.rows // self.per_device

    @property
    def checkpointing(self) -> bool:
        """Whether activations are computed again: as the recipe says, else as on a GPU."""
        return self.settings.gradient_checkpointing is not False

    @property
    def warmup(self) -> int:
        """Updates spent warming up."""
        return int(self.settings.warmup_ratio * self.done.updates)


def training(recipe: Recipe, store: Store, done: Exported) -> Training:
    """What is said of an exported cell."""
    from mixdistill.tokens import Template

    spec = recipe.students[done.cell.student]
    model = resolve.model_path(spec.model)
    tokenizer = Template.load(model, chat_template_kwargs=spec.chat_template_kwargs).tokenizer
    plain, own = (list(tokenizer("a", add_special_tokens=s)["input_ids"]) for s in (False, True))
    bos = tokenizer.bos_token if own != plain and own[:1] == [tokenizer.bos_token_id] else ""
    arm = done.cell.arm
    return Training(
        done=done,
        settings=_settings(recipe, store, done),
        model=model,
        unit=recipe.budget_of(arm).unit,
        eos=str(tokenizer.eos_token),
        bos=str(bos or ""),
    )


def _settings(recipe: Recipe, store: Store, done: Exported) -> Train:
    """The recipe's, with the learning rate that the trials of the arm came to."""
    student, arm, _ = done.cell
    settings, trials = recipe.train_of(student, arm), dev.trials(recipe, store, student, arm)
    if not trials or None in trials.values():
        return settings
    return settings.model_copy(update={"learning_rate": dev.chosen(trials)})


def trl(t: Training) -> None:
    """A script that trains with TRL's SFTTrainer."""
    write_text(t.done.out / "trl" / "train.py", trl_script.script(t, notes(t)))


def llamafactory(t: Training) -> None:
    """A configuration, the tokens as LLaMA-Factory keeps them, and the entry without which it does not start."""
    s, folder = t.settings, t.done.out / "llamafactory"
    _save_to_disk(t.done.out, folder / "tokenized")
    config: dict[str, Any] = {
        "model_name_or_path": t.model,
        "stage": "sft",
        "do_train": True,
        "dataset": "mixdistill",
        "dataset_dir": ".",
        "tokenized_path": "tokenized",
        "template": "empty",
        "cutoff_len": s.max_length,
        "packing": False,
        "disable_shuffling": True,
        **_trainers(t),
        "disable_gradient_checkpointing": not t.checkpointing,  # it looks at no other key
        "use_dft_loss": s.loss_type == "dft",
        "finetuning_type": "full" if s.method == "full" else "lora",
    }
    if s.method != "full":
        config |= {"lora_rank": s.lora.r, **_adapters(s), "lora_target": _modules(s, "all")}
    if s.method == "qlora":
        config |= {"quantization_bit": 4, "quantization_type": "nf4", "double_quantization": True}
    config |= {"output_dir": "student", "logging_steps": 1, "save_strategy": "no", "report_to": "none"}
    head = [
        "# cd here, then: llamafactory-cli train train.yaml",
        "# `tokenized` holds the tokens and labels of the training, in its order; template, dataset and cutoff_len are",
        "# asked for and change nothing of it.",
        *_borders(t),
    ]
    write_text(folder / "train.yaml", "\n".join([*head, write_yaml(config)]))
    columns = {"prompt": "prompt", "response": "completion"}
    entry = {"mixdistill": {"file_name": "../prompt_completion/train.parquet", "columns": columns}}
    write_text(folder / "dataset_info.json", json.dumps(entry, indent=2) + "\n")


def _modules(s: Train, every: str) -> str:
    modules = s.lora.target_modules
    return every if modules == "all-linear" else modules if isinstance(modules, str) else ",".join(modules)


def _save_to_disk(out: Path, to: Path) -> None:
    """The tokens in the layout of `datasets`' own folders."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(dir=out, prefix=".tokens.") as beside:
        alone = Path(beside) / "train.parquet"
        tokens_alone(out, alone)
        rows = datasets.Dataset.from_parquet(str(alone), cache_dir=beside)
        datasets.DatasetDict({"train": rows}).save_to_disk(str(to))


def axolotl(t: Training) -> None:
    """A configuration, and the tokens with the columns that axolotl wants."""
    s, folder = t.settings, t.done.out / "axolotl"
    tokens_alone(t.done.out, folder / "train.parquet")
    config: dict[str, Any] = {
        "base_model": t.model,
        "datasets": [{"path": "train.parquet", "ds_type": "parquet", "split": "train"}],
        "sequence_len": s.max_length,
        "excess_length_strategy": "raise",
        "sample_packing": False,
        "pad_to_sequence_len": False,
        "shuffle_merged_datasets": False,
        "curriculum_sampling": True,
        "val_set_size": 0,
        "micro_batch_size": t.per_device,
        "num_epochs": 1,
        **_common(t),
        "gradient_checkpointing": t.checkpointing,
        "lr_scheduler": s.lr_scheduler_type,
        "optimizer": "adamw_torch",
    }
    if s.method != "full":
        config |= {
            "adapter": s.method,
            "load_in_4bit": s.method == "qlora",
            "lora_r": s.lora.r,
            **_adapters(s),
            **(
                {"lora_target_linear": True}
                if s.lora.target_modules == "all-linear"
                else {"lora_target_modules": s.lora.target_modules}
            ),
        }
    config |= {"output_dir": "student", "dataset_prepared_path": "prepared", "logging_steps": 1}
    head = [
        "# cd here, then: axolotl train train.yaml",
        "# The rows are tokens and labels already, in their order (curriculum_sampling: one after the other).",
        *_borders(t),
    ]
    if s.bf16:
        head.append("# axolotl holds the weights in bfloat16 then; mixdistill holds float32 and computes in bfloat16.")
    if s.loss_type == "dft":
        head.append("# The training weighted each token's loss with its own probability (DFT); this one does not.")
    write_text(folder / "train.yaml", "\n".join([*head, write_yaml(config)]))


def ms_swift(t: Training) -> None:
    """A shell script and the text in order: the template `dummy` adds nothing but the stop token."""
    s, folder = t.settings, t.done.out / "ms-swift"
    flags: dict[str, Any] = {
        "model": t.model,
        "tuner_type": "full" if s.method == "full" else "lora",
        "template": "dummy",
        "dataset": "train.jsonl",
        "dataset_shuffle": False,
        "train_dataloader_shuffle": False,
        "max_length": s.max_length,
        "truncation_strategy": "right" if t.done.cut else "delete",
        "strict": True,
        "packing": False,
        "loss_scale": "default",
        **_trainers(t),
        "gradient_checkpointing": t.checkpointing,
        "torch_dtype": "float32",
    }
    if s.method != "full":
        target = _modules(s, "all-linear").replace(",", " ")
        flags |= {"lora_rank": s.lora.r, **_adapters(s), "target_modules": target}
    if s.method == "qlora":
        flags |= {"quant_method": "bnb", "quant_bits": 4}
    if s.loss_type == "dft":
        flags |= {"enable_dft_loss": True}
    # Without a checkpoint at the end nothing of the student would be left.
    flags |= {"save_strategy": "steps", "save_steps": t.steps, "save_only_model": True}
    flags |= {"output_dir": "student", "add_version": False, "report_to": "none"}
    head = [
        "#!/bin/sh",
        "# The text of the training, tokenised anew: the prompt as the student sees it is the user's turn, and the",
        "# template `dummy` adds the stop token alone. ms-swift 3 calls tuner_type train_type. Of a model in a folder",
        "# it may ask what that is: sh train.sh --model_type llama",
        *_borders(t),
    ]
    lines = [f"  --{k} {_word(v)}" for k, v in flags.items()]
    command = " \\\n".join(["USE_HF=1 swift sft", *lines, '  "$@"'])
    write_text(folder / "train.sh", "\n".join([*head, 'cd "$(dirname "$0")" || exit 1', command, ""]))
    _turns(t, folder / "train.jsonl")


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else " ".join(shlex.quote(w) for w in str(value).split(" "))


def _turns(t: Training, path: Path) -> None:
    """The rows in their order as two turns, without what ms-swift adds by itself."""
    import polars as pl

    rows = pl.scan_parquet(t.done.out / "prompt_completion" / "train.parquet", glob=False).select(
        "example",
        user=pl.col("prompt").str.strip_prefix(t.bos),
        assistant=pl.col("completion").str.strip_suffix(t.eos),
    )
    order = pl.scan_parquet(t.done.out / "updates" / "train.parquet", glob=False)
    turns = order.join(rows, on="example", how="left", maintain_order="left").select(
        messages=pl.concat_list(
            pl.struct(role=pl.lit("user"), content=pl.col("user")),
            pl.struct(role=pl.lit("assistant"), content=pl.col("assistant")),
        )
    )
    turns.sink_ndjson(path)


def _trainers(t: Training) -> dict[str, Any]:
    """What Hugging Face's trainer, and those that hand its arguments on, call by the same names."""
    return {
        "per_device_train_batch_size": t.per_device,
        **_common(t),
        "lr_scheduler_type": t.settings.lr_scheduler_type,
        "optim": "adamw_torch",
        "data_seed": t.done.cell.seed,
    }


def _common(t: Training) -> dict[str, Any]:
    """What all of them call by the same names."""
    s = t.settings
    return {
        "gradient_accumulation_steps": t.accumulation,
        "max_steps": t.steps,
        "learning_rate": s.learning_rate,
        "warmup_steps": t.warmup,
        "weight_decay": s.weight_decay,
        "adam_beta1": s.adam_beta1,
        "adam_beta2": s.adam_beta2,
        "max_grad_norm": s.max_grad_norm,
        "bf16": s.bf16,
        "seed": t.done.cell.seed,
    }


def _adapters(s: Train) -> dict[str, Any]:
    """The same of adapters."""
    return {"lora_alpha": round(s.lora.lora_alpha), "lora_dropout": s.lora.lora_dropout}


def notes(t: Training) -> list[str]:
    """Where this trainer, or any other, does not do as mixdistill did."""
    found = []
    if t.done.cut:
        found.append(f"# {t.done.cut:,} rows are the beginnings of longer ones, as the training saw them.")
    if t.settings.keep == "best":
        found.append("# mixdistill kept the best of several points of the training; here the last one is kept.")
    if t.settings.num_processes > 1:
        found.append(f"# mixdistill shared each update among {t.settings.num_processes} processes; this is for one.")
    return found


def _borders(t: Training) -> list[str]:
    """Where updates of a fixed number of rows are not those of the training."""
    if t.equal:
        return notes(t)
    sizes, unit = t.done.sizes, t.unit.replace("_", " ")
    return [
        f"# mixdistill's updates hold equally many {unit}, in {min(sizes)} to {max(sizes)} rows. Here every one has",
        f"# {t.rows} rows, the mean: the rows come in the same order, and the borders between updates lie elsewhere.",
        f"# So there are {t.steps:,} updates in place of {t.done.updates:,}.",
        *notes(t),
    ]


TRAINERS: dict[str, Callable[[Training], None]] = {
    "trl": trl,
    "llamafactory": llamafactory,
    "ms-swift": ms_swift,
    "axolotl": axolotl,
}
"""Name -> what writes its files into an exported folder."""
