"""How often a study that is repeated says the same: whole studies with fresh seeds and fresh problems, held in pairs.

    OMP_NUM_THREADS=1 nice -n 10 python benchmarks/replication.py [--studies 22] [--workers 1]

All studies ask one question of one student; no two share a training seed, a training problem or an evaluation problem.
Each goes through the product's own stages, from problems of its own to the verdicts of all its gaps. Printed of every
gap: its mean, its standard deviation over studies, the verdicts, and of the pairs of studies in which both have one,
how many agree in sign. Pairs overlap; the interval (Clopper-Pearson) is of those that do not: study 0 with 1, 2 with 3.
"""

import argparse
import json
import multiprocessing
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import combinations
from pathlib import Path
from typing import Any

from null_studies import clopper_pearson, gaps_of

Rows = list[dict[str, Any]]


def recipe(study: int, args: argparse.Namespace) -> dict[str, Any]:
    """One study; only the student is another one's too."""
    n, evaluate = args.problems, args.evaluate
    return {
        "name": f"replication-{study}",
        "problems": {
            "train": {"source": "lab:signs", "split": "train", "skip": study * n, "limit": n},
            # The first 500 were looked at while the untuned students were built.
            "eval": {"signs": {"source": "lab:signs", "split": "eval", "skip": 500 + study * evaluate,
                               "limit": evaluate}},
        },
        "teachers": {name: {"backend": "scripted", "model": name, "samples": 4} for name in ("long", "short")},
        "verify": {"verifier": "signs"},
        "students": {"s": {"model": args.student}},
        "arms": {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.2, "short": 0.8}},
        "contrasts": {"long_cot_gap": ["long", "short"], "mix_less_long": ["mix", "long"],
                      "mix_less_short": ["mix", "short"]},
        "budget": {"unit": "examples", "per_update": 16},
        "train": {"learning_rate": args.learning_rate, "num_train_epochs": args.epochs, "max_length": 1024,
                  "adam_beta2": 0.98, "micro_batch_tokens": 4096},
        "evaluate": {"sampling": {"temperature": 0, "max_tokens": 160}, "batch_size": 256},
        "seeds": [study * args.seeds + i for i in range(args.seeds)],
    }  # fmt: skip


def carry_out(job: tuple[int, argparse.Namespace]) -> Rows:
    """All gaps of one study over all its problems."""
    study, _ = job
    keep = {"name", "delta", "data", "p", "verdict"}
    return [
        {"study": study, **g.model_dump(mode="json", include=keep)} for g in gaps_of(recipe(*job)) if g.group == "all"
    ]


def side(row: dict[str, Any]) -> int:
    """The sign of a verdict; 0: none."""
    data = row["data"]
    if data is None or row["verdict"].startswith(("can't tell", "no difference")):
        return 0
    return (data["low"] > 0) - (data["high"] < 0)


def agreement(sides: list[tuple[int, int]]) -> tuple[int, int]:
    """(pairs that agree in sign, pairs in which both have a verdict)."""
    both = [(a, b) for a, b in sides if a and b]
    return sum(a == b for a, b in both), len(both)


def report(rows: Rows) -> None:
    """Print the shares."""
    by_gap: dict[str, Rows] = defaultdict(list)
    for row in sorted(rows, key=lambda r: r["study"]):
        by_gap[row["name"]].append(row)
    everything: list[tuple[int, int]] = []
    apart: list[tuple[int, int]] = []
    for name, found in by_gap.items():
        sides, deltas = [side(r) for r in found], [r["delta"] for r in found]
        mean = sum(deltas) / len(deltas)
        sd = (sum((d - mean) ** 2 for d in deltas) / max(1, len(deltas) - 1)) ** 0.5
        pairs = list(combinations(sides, 2))
        everything += pairs
        apart += list(zip(sides[::2], sides[1::2], strict=False))
        same, both = agreement(pairs)
        print(
            f"{name:<16} mean {100 * mean:+.1f}, sd {100 * sd:.1f} points; verdicts {sides.count(1)} +, "
            f"{sides.count(-1)} -, {sides.count(0)} none; {same} of {both} pairs with two agree"
        )
    for words, pairs in (("all pairs", everything), ("pairs that share no study", apart)):
        same, both = agreement(pairs)
        low, high = clopper_pearson(same, both) if both else (0.0, 1.0)
        interval = f" [{low:.1%} to {high:.1%}]" if pairs is apart else ""
        share = f"{same / both:.1%}" if both else "none"
        print(f"{words}: {both} of {len(pairs)} have two verdicts, {same} of them agree in sign: {share}{interval}")
    print("promised: at least 95 %")


def main() -> None:
    """Carry out the studies and print how far they agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=22)
    parser.add_argument("--student", default="lab:xs")
    parser.add_argument("--learning-rate", type=float, default=2.5e-3)
    parser.add_argument("--problems", type=int, default=320, help="training problems of a study")
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--evaluate", type=int, default=110)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rows", type=Path, help="write every gap to this file, one JSON object a line")
    args = parser.parse_args()
    rows: Rows = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=context) as pool:
        for done in as_completed([pool.submit(carry_out, (study, args)) for study in range(args.studies)]):
            rows += done.result()
            if args.rows:
                with open(args.rows, "a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in done.result())
    report(rows)


if __name__ == "__main__":
    main()
