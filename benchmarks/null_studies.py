"""How often a study of nothing says "helps": whole studies whose two arms are disjoint draws from one source.

    OMP_NUM_THREADS=1 python benchmarks/null_studies.py [--studies 100] [--workers 2]

Each study goes through the product's own stages, from problems of its own to the verdict of `long_cot_gap`. Its two
teachers are one and the same lab teacher, whose traces of a problem are dealt out between them: `--draw traces` gives
both the same problems and disjoint traces of them, `--draw problems` gives them problems of their own too
(`budget.problems: each`). Student xs, training seeds that no other study uses. Prints the share of verdicts other than
"can't tell" with its Clopper-Pearson interval: 5 % is what the verdicts promise. Also the share of 95 % intervals that
hold 0, of both kinds.
"""

import argparse
import json
import multiprocessing
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from mixdistill import pipeline, units
from mixdistill.evidence.gather import gather
from mixdistill.evidence.verdicts import CANNOT_TELL
from mixdistill.lab.teachers import VERSION, Scripted  # noqa: F401 -- a backend's module says its version
from mixdistill.recipe import build
from mixdistill.store import Store
from mixdistill.types import Gap

SAMPLES = 4
HERE = Path(__file__).resolve()


class Dealt:
    """The scripted teacher's traces from number `start` on: two of them share none. With `parity`, it solves only
    the problems whose prompt has that parity."""

    def __init__(self, model: str, *, start: int, parity: int | None = None):
        self.teacher, self.start, self.parity = Scripted(model), start, parity

    def generate(self, requests: Any) -> Any:
        """As the scripted teacher, of other samples; problems that are the other one's get no answer."""
        moved = [r.model_copy(update={"sample": r.sample + self.start}) for r in requests]
        for position, completion in self.teacher.generate(moved):
            mine = self.parity is None or sum(map(ord, str(moved[position].prompt))) % 2 == self.parity
            yield position, completion if mine else completion.model_copy(update={"content": "none"})


def recipe(study: int, args: argparse.Namespace) -> dict[str, Any]:
    """The study's recipe: nothing of it, but the student and the evaluation problems, is shared with another study."""
    apart = args.draw == "problems"
    teacher = {"backend": f"{HERE}:Dealt", "model": args.style, "samples": SAMPLES}
    problems = args.problems * (2 if apart else 1)
    return {
        "name": f"null-{study}",
        "problems": {
            "train": {"source": "lab:signs", "split": "train", "skip": study * problems, "limit": problems},
            "eval": {"signs": {"source": "lab:signs", "split": "eval", "skip": 500, "limit": args.evaluate}},
        },
        "teachers": {
            "long": {**teacher, "start": 0, **({"parity": 0} if apart else {})},
            "short": {**teacher, "start": SAMPLES, **({"parity": 1} if apart else {})},
        },
        "verify": {"verifier": "signs"},
        "students": {"s": {"model": args.student}},
        "arms": {"long": {"long": 1}, "short": {"short": 1}},
        "contrasts": {"long_cot_gap": ["long", "short"]},
        "budget": {"unit": "examples", "per_update": 16, "problems": "each" if apart else "shared"},
        "train": {"learning_rate": 2.5e-3, "num_train_epochs": 2, "max_length": 512, "adam_beta2": 0.98,
                  "micro_batch_tokens": 4096},
        "evaluate": {"sampling": {"temperature": 0, "max_tokens": 128}, "batch_size": 256},
        "seeds": [study * args.seeds + i for i in range(args.seeds)],
    }  # fmt: skip


def gaps_of(raw: dict[str, Any]) -> list[Gap]:
    """All gaps of one study, carried out in this process and in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        plan, store = build(raw), Store(Path(folder) / "run")
        pipeline.prepare(plan, store)
        for stage in pipeline.STAGES[:-1]:
            for unit in units.units_of(stage, plan, store):
                pipeline.work(stage, unit, plan, store)
        return gather(plan, store).gaps


def carry_out(job: tuple[int, argparse.Namespace]) -> dict[str, Any]:
    """The primary gap of one study."""
    return gaps_of(recipe(*job))[0].model_dump(mode="json")


def clopper_pearson(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of a share."""
    from scipy.stats import beta

    low = beta.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    return float(low), float(beta.ppf(0.975, hits + 1, of - hits)) if hits < of else 1.0


def main() -> None:
    """Carry out the studies and print what they said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first study, to go on where a run ended")
    parser.add_argument("--draw", choices=["traces", "problems"], default="traces")
    parser.add_argument("--style", choices=["long", "short"], default="short")
    parser.add_argument("--student", default="lab:xs")
    parser.add_argument("--problems", type=int, default=1500, help="training problems of an arm")
    parser.add_argument("--evaluate", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="write every study's gap to this file, one JSON object a line")
    args = parser.parse_args()
    jobs = [(study, args) for study in range(args.first, args.first + args.studies)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=context) as pool:
        gaps = []
        for gap in (done.result() for done in as_completed([pool.submit(carry_out, job) for job in jobs])):
            gaps.append(gap)
            if args.rows:
                with open(args.rows, "a") as file:
                    file.write(json.dumps(gap) + "\n")
    report(gaps, args)


def report(gaps: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Print the shares."""
    verdicts = Counter("can't tell" if g["verdict"].startswith(CANNOT_TELL) else g["verdict"] for g in gaps)
    helps, of = len(gaps) - verdicts["can't tell"], len(gaps)
    low, high = clopper_pearson(helps, of)
    print(
        f"{of} studies of {args.seeds} seeds, disjoint {args.draw} of one {args.style} source, {args.problems} problems"
    )
    print(f"verdicts: {', '.join(f'{v} {n}' for v, n in verdicts.most_common())}")
    print(f"'helps' in {helps / of:.1%} [{low:.1%} to {high:.1%}]; promised: at most 5 %")
    for kind in ("checkpoints", "data"):
        held = sum(g[kind]["low"] <= 0 <= g[kind]["high"] for g in gaps)
        low, high = clopper_pearson(held, of)
        print(f"0 lies in {held / of:.1%} [{low:.1%} to {high:.1%}] of the intervals for {kind}")
    mean = sum(g["accuracies"][0] for g in gaps) / of
    spread = (sum(g["delta"] ** 2 for g in gaps) / of) ** 0.5
    print(f"mean accuracy {mean:.1%}; the gap's standard deviation {100 * spread:.2f} points")


if __name__ == "__main__":
    main()
