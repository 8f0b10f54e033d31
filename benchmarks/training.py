"""How fast cells are trained on a CPU: mixdistill's updates against TRL's SFTTrainer, on the same rows.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--sizes 1M 10M] [--updates 12] [--repeats 3] [--vocabulary N]
        [--quick]

Four rows of five have 150 tokens, the fifth 1,000; an update takes 16 rows; the models are Llamas of random weights.
TRL is run as it comes (which computes activations again in the backward pass), and without that in four ways; its best
is the best of those. All run one after the other on one thread, in another order each time; the first update is left
out. Prints medians of real tokens (no padding) per second of the thread's own time, so that what else runs on the
machine counts less, and the ratios.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from mixdistill.sections import Train
from mixdistill.tokens import Template
from mixdistill.training.batches import IGNORED
from mixdistill.training.finetune import fine_tune
from mixdistill.types import Example

ROWS = 16
SHORT, LONG, PROMPT = 150, 1000, 30
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "heads": 2},
    "1M": {"vocab_size": 2048, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "heads": 4},
    "10M": {"vocab_size": 4096, "hidden_size": 320, "intermediate_size": 896, "num_hidden_layers": 7, "heads": 5},
}
"""Shapes of the students; `tiny` is for a quick look whether it runs."""
TRL: dict[str, dict[str, Any]] = {
    "TRL, defaults": {},
    "TRL, no recomputation": {"recompute": False},
    "TRL, group_by_length": {"recompute": False, "train_sampling_strategy": "group_by_length"},
    "TRL, packing bfd": {"recompute": False, "packing": True, "packing_strategy": "bfd"},
    "TRL, padding-free": {"recompute": False, "padding_free": True, "max_length": None},
}
"""The ways TRL is run, each with its settings."""


def student(folder: Path, size: str, words: int | None = None) -> str:
    """A Llama of random weights whose tokens are the words w4, w5, ..."""
    shape = dict(SIZES[size])
    heads = shape.pop("heads")
    words = shape["vocab_size"] = words or shape["vocab_size"]
    vocabulary = {w: i for i, w in enumerate(["<pad>", "<eos>", "<unk>", "A:", *(f"w{i}" for i in range(4, words))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    template = (
        "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ ' A:' }}{% endif %}"
    )
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **special).save_pretrained(folder)
    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    config = LlamaConfig(
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=2048, tie_word_embeddings=True,
        **shape, **ids,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def examples(count: int, words: int) -> list[Example]:
    """Rows of exactly `SHORT` or, every fifth, `LONG` tokens, prompt and stop token included, of random words."""
    rng = random.Random(0)
    text = lambda n: " ".join(f"w{rng.randrange(4, words)}" for _ in range(n))  # noqa: E731
    return [
        Example(
            prompt=text(PROMPT - 1), reasoning="", content=text((SHORT if i % 5 else LONG) - PROMPT - 1),
            problem_id=str(i), trace_id=str(i), teacher="short" if i % 5 else "long",
        )
        for i in range(count)
    ]  # fmt: skip


class Clock(TrainerCallback):
    """Seconds of this thread from the end of the first update on."""

    def __init__(self) -> None:
        self.started = self.ended = 0.0

    def tick(self, updates: int) -> None:
        self.ended = time.process_time()
        if updates == 1:
            self.started = self.ended

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.tick(state.global_step)


def ours(model: str, rows: list[Example], updates: list[list[int]], lengths: list[int]) -> float:
    """Real tokens per second of mixdistill's training."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        fine_tune(
            model, rows, updates, Train(learning_rate=1e-3), seed=0, out=Path(folder),
            progress=lambda done, tokens, rate: clock.tick(done),
        )  # fmt: skip
    return sum(lengths[i] for update in updates[1:] for i in update) / (clock.ended - clock.started)


def trl(model: str, table: Dataset, updates: int, *, recompute: bool = True, **settings: Any) -> float:
    """Real tokens per second of TRL's training on the same rows, in its own order."""
    known = SFTConfig.__dataclass_fields__
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    # Packs of about as many tokens as a row can have, as many of them as an update's rows fill.
    batch = round(ROWS * (4 * SHORT + LONG) / 5 / 1024) if settings.get("packing") else ROWS
    clock, real = Clock(), list[int]()
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
            args=SFTConfig(
                output_dir=folder, max_steps=updates, per_device_train_batch_size=batch, learning_rate=1e-3,
                use_cpu=True, bf16=False, save_strategy="no", report_to="none", disable_tqdm=True,
                dataloader_pin_memory=False, log_level="error", **{"max_length": 1024, name: recompute, **settings},
            ),
            train_dataset=table,
            processing_class=Template.load(model).tokenizer,
            callbacks=[clock],
        )  # fmt: skip
        collate = trainer.data_collator

        def counted(batch: Any) -> Any:
            inputs = collate(batch)
            mask = inputs.get("attention_mask")
            real.append(inputs["input_ids"].numel() if mask is None else int(mask.sum()))
            return inputs

        trainer.data_collator = counted
        trainer.train()
    return sum(real[1:updates]) / (clock.ended - clock.started)


def compare(size: str, updates: int, repeats: int, words: int) -> dict[str, float]:
    """Loop -> median of its real tokens per second."""
    with tempfile.TemporaryDirectory() as folder:
        model = student(Path(folder), size, words)
        rows = examples(updates * ROWS, words)
        template = Template.load(model)
        tokenised = [template.render(e.prompt, e.reasoning, e.content) for e in rows]
        lengths = [len(p) + len(c) for p, c in tokenised]
        assert set(lengths) == {SHORT, LONG}
        table = Dataset.from_dict(
            {"input_ids": [p + c for p, c in tokenised], "labels": [[IGNORED] * len(p) + c for p, c in tokenised]}
        )
        order = random.Random(0).sample(range(len(rows)), len(rows))
        taken = [order[i : i + ROWS] for i in range(0, len(order), ROWS)]
        loops: dict[str, Callable[[], float]] = {"mixdistill": lambda: ours(model, rows, taken, lengths)}
        for name, settings in TRL.items():
            loops[name] = lambda settings=settings: trl(model, table, updates, **settings)
        speeds: dict[str, list[float]] = {name: [] for name in loops}
        for repeat in range(repeats):
            for name in sorted(loops, reverse=bool(repeat % 2)):
                speeds[name].append(loops[name]())
    return {name: median(found) for name, found in speeds.items()}


def main() -> None:
    """Print one line per loop and the two ratios of each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["1M", "10M"], choices=SIZES)
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, help="words that the models know; else 2,048 and 4,096")
    parser.add_argument("--quick", action="store_true", help="a tiny model and three updates, to see that it runs")
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.updates, args.repeats = ["tiny"], 3, 1
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    disable_progress_bars()
    for size in args.sizes:
        words = args.vocabulary or SIZES[size]["vocab_size"]
        speeds = compare(size, args.updates, args.repeats, words)
        print(f"{size}, {words:,} words:")
        for name, speed in speeds.items():
            print(f"  {name:<22} {speed:9,.0f} real tokens/s   mixdistill is {speeds['mixdistill'] / speed:.2f}x")
        best = max(speed for name, speed in speeds.items() if name != "mixdistill")
        defaults = speeds["mixdistill"] / speeds["TRL, defaults"]
        print(f"  {defaults:.2f}x TRL's defaults, {speeds['mixdistill'] / best:.2f}x TRL's best setting", flush=True)


if __name__ == "__main__":
    main()
