"""How much of a GPU a training uses: model FLOPs utilisation of mixdistill's updates, and of TRL's on the same rows.

    python benchmarks/mfu.py [--size 100M | 1B] [--updates 20] [--peak 989e12]
    python benchmarks/mfu.py --tiny        on a CPU, to see that it runs; prints no utilisation

A Llama of random weights, bfloat16, packed rows, flash attention where it is installed and else PyTorch's own. The
FLOPs are those of the model (6 per weight and token, and 12 x layers x width x length / 2 of causal attention),
whatever is computed again. `--peak` is the GPU's bfloat16 peak without sparsity, known for some.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForCausalLM
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

import training  # the benchmark beside this one
from mixdistill.sections import Train
from mixdistill.tokens import Template
from mixdistill.training.batches import IGNORED
from mixdistill.training.finetune import fine_tune
from mixdistill.training.methods import attention_of

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "A10": 125e12, "4090": 165e12}
"""Part of a GPU's name -> dense bfloat16 FLOP/s, as its maker gives them."""
SIZES = {
    "100M": {"vocab_size": 32000, "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 11, "heads": 12},
    "1B": {"vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 18, "heads": 16},
}
training.SIZES.update(SIZES)


class Timed(training.Clock):
    """Wall time, once the GPU has done what it was given."""

    def tick(self, updates: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ended = time.perf_counter()
        if updates == 1:
            self.started = self.ended


def settings(tiny: bool) -> Train:
    """Packed; in bfloat16 and in passes that fill a GPU where there is one."""
    return Train(
        learning_rate=1e-4, bf16=not tiny, packing=True, gradient_checkpointing=False,
        micro_batch_tokens=2048 if tiny else 32768,
    )  # fmt: skip


def ours(model: str, rows: list[Any], updates: list[list[int]], tiny: bool) -> float:
    """Seconds of all updates but the first."""
    clock = Timed()
    with tempfile.TemporaryDirectory() as folder:
        fine_tune(
            model, rows, updates, settings(tiny), seed=0, out=Path(folder),
            progress=lambda done, tokens, rate: clock.tick(done),
        )  # fmt: skip
    return clock.ended - clock.started


def trl(model: str, table: Dataset, updates: int, rows: int, tiny: bool) -> float:
    """The same of TRL, padding-free: its exact way on a GPU for updates of as many rows."""
    clock = Timed()
    known = SFTConfig.__dataclass_fields__
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    attention = attention_of(settings(tiny))
    with tempfile.TemporaryDirectory() as folder:
        loaded = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.float32, **({"attn_implementation": attention} if attention else {})
        )
        SFTTrainer(
            model=loaded,
            args=SFTConfig(
                output_dir=folder, max_steps=updates, per_device_train_batch_size=rows, learning_rate=1e-4,
                max_length=None, padding_free=True, bf16=not tiny, use_cpu=not torch.cuda.is_available(),
                save_strategy="no", report_to="none", disable_tqdm=True, log_level="error",
                dataloader_pin_memory=torch.cuda.is_available(), **{name: False},
            ),
            train_dataset=table,
            processing_class=Template.load(model).tokenizer,
            callbacks=[clock],
        ).train()  # fmt: skip
    return clock.ended - clock.started


def flops(model: str, lengths: list[int]) -> float:
    """Of a forward and backward pass over rows of these lengths."""
    loaded = AutoModelForCausalLM.from_pretrained(model)
    config, weights = loaded.config, sum(p.numel() for p in loaded.parameters())
    attention = 12 * config.num_hidden_layers * config.hidden_size / 2
    return float(sum(6 * weights * n + attention * n * n for n in lengths))


def main() -> None:
    """Print one line for each trainer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="100M", choices=SIZES)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--rows", type=int, default=64, help="rows of an update")
    parser.add_argument("--peak", type=float, help="FLOP/s of the GPU in bfloat16; known for some")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on whatever there is, to see that it runs")
    args = parser.parse_args()
    if args.tiny:
        args.size, args.updates, args.rows = "tiny", 3, 4
    elif not torch.cuda.is_available():
        parser.error("needs a GPU; --tiny runs on a CPU")
    logging.disable_progress_bar()
    disable_progress_bars()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = args.peak or next((p for name, p in PEAKS.items() if name in gpu), None)
    with tempfile.TemporaryDirectory() as folder:
        model = training.student(Path(folder), args.size)
        rows = training.examples(args.updates * args.rows, training.SIZES[args.size]["vocab_size"])
        template = Template.load(model)
        tokenised = [template.render(e.prompt, e.reasoning, e.content) for e in rows]
        order = random.Random(0).sample(range(len(rows)), len(rows))
        updates = [order[i : i + args.rows] for i in range(0, len(order), args.rows)]
        ids, labels = [p + c for p, c in tokenised], [[IGNORED] * len(p) + c for p, c in tokenised]
        lengths = [len(ids[i]) for update in updates[1:] for i in update]
        work = flops(model, lengths)
        table = Dataset.from_dict({"input_ids": [ids[i] for i in order], "labels": [labels[i] for i in order]})
        spent = {
            "mixdistill": ours(model, rows, updates, args.tiny),
            "TRL, padding-free": trl(model, table, args.updates, args.rows, args.tiny),
        }
    for name, seconds in spent.items():
        used = f"   {work / seconds / peak:.1%} of the GPU's FLOPs" if peak and not args.tiny else ""
        print(f"{name:<18} {sum(lengths) / seconds:12,.0f} tokens/s{used}")


if __name__ == "__main__":
    main()
