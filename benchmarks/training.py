"""How fast cells are trained: mixdistill's updates against TRL's SFTTrainer as it comes, on the same rows.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--student s]

Both train the same lab student on the same tokenised rows, 20 % long and 80 % short, 16 rows an update, for the same
number of updates, one after the other in one run. Prints loss tokens per second of each and their ratio.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForCausalLM, PrinterCallback
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from mixdistill.batches import IGNORED
from mixdistill.finetune import fine_tune
from mixdistill.lab import domain, models
from mixdistill.lab.teachers import Scripted
from mixdistill.sections import Train
from mixdistill.tokens import Template
from mixdistill.types import Example, Request

BATCH = 16


def examples(count: int) -> list[Example]:
    """Every fifth problem with its long trace, the others with their short one."""
    problems = domain.problems("train", count=count)
    found: dict[int, Example] = {}
    for style, wanted in (("long", lambda i: i % 5 == 0), ("short", lambda i: i % 5)):
        requests = [Request(prompt=p.prompt, seed=i) for i, p in enumerate(problems)]
        for i, c in Scripted(style).generate(requests):
            if wanted(i):
                found[i] = Example(
                    prompt=problems[i].prompt, reasoning=c.reasoning, content=c.content,
                    problem_id=problems[i].id, trace_id=str(i), teacher=style,
                )  # fmt: skip
    return [found[i] for i in range(count)]


def ours(model: str, rows: list[Example], updates: list[list[int]]) -> float:
    """Seconds of mixdistill's training loop."""
    settings = Train(learning_rate=1e-3, micro_batch_tokens=4096)
    with tempfile.TemporaryDirectory() as folder:
        return fine_tune(model, rows, updates, settings, seed=0, out=Path(folder))["seconds_training"]


def trl(model: str, rows: list[Example], updates: list[list[int]], **settings: object) -> float:
    """Seconds of TRL's training loop on the same tokens, in its own order."""
    template = Template.load(model)
    tokenised = [template.render(e.prompt, e.reasoning, e.content) for e in rows]
    table = Dataset.from_dict(
        {"input_ids": [p + c for p, c in tokenised], "labels": [[IGNORED] * len(p) + c for p, c in tokenised]}
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(model),
            args=SFTConfig(
                output_dir=folder, max_steps=len(updates), per_device_train_batch_size=BATCH, learning_rate=1e-3,
                max_length=None, use_cpu=True, bf16=False, save_strategy="no", report_to="none", disable_tqdm=True,
                dataloader_pin_memory=False, activation_checkpointing=False, log_level="error", **settings,
            ),
            train_dataset=table,
            processing_class=template.tokenizer,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start


def main() -> None:
    """Print one line per loop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--student", default="s")
    parser.add_argument("--updates", type=int, default=150)
    args = parser.parse_args()
    logging.disable_progress_bar()
    disable_progress_bars()
    model = str(models.path(args.student))
    rows = examples(args.updates * BATCH)
    order = random.Random(0).sample(range(len(rows)), len(rows))
    updates = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
    template = Template.load(model)
    tokens = sum(template.count(e.reasoning, e.content) for e in rows)
    seconds = {
        "mixdistill": ours(model, rows, updates),
        "TRL, defaults": trl(model, rows, updates),
        "TRL, group_by_length": trl(model, rows, updates, train_sampling_strategy="group_by_length"),
    }
    for name, spent in seconds.items():
        ratio = spent / seconds["mixdistill"]
        print(f"{name:<22} {tokens / spent:9,.0f} loss tokens/s   mixdistill is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
