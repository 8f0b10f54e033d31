"""Planning and `status` over thousands of cells: seconds and peak memory, on a run folder that is made up.

    python benchmarks/planning.py [--cells 2000] [--train 100000] [--eval 1300] [--made]

Two teachers with a trace of every problem, judged; four students, and as many arms and seeds as the cells need. Nothing
after that is there, or with `--made` all of it up to the evaluations: markers, without tables. A plan has no peer; the
numbers are to be held against 3 s for the plan of a stage and 8 s for `status`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mixdistill import mix
from mixdistill import recipe as recipes
from mixdistill.analyze import FITS
from mixdistill.commands import status
from mixdistill.pipeline import RECIPE, STAGES
from mixdistill.recipe import Recipe, render
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Problem, Trace, Verdict
from mixdistill.units import Extent, module, plan
from mixdistill.verify import DECISIONS, decide

STUDENTS, SEEDS = 4, 10
COLUMNS = {
    "analyze": {FITS: mix.READS["analyze"][1]},
    "mix": {"examples": ["prompt", "reasoning", "content"], "updates": ["update", "example"]},
    "train": {"model": ["weights"]},
}
"""Tables of a cell, with those of their columns that somebody reads."""


def study(root: Path, cells: int) -> Recipe:
    """A recipe of at least so many cells; the students are folders that hold nothing worth mentioning."""
    for n in range(STUDENTS):
        (root / f"student{n}").mkdir()
        (root / f"student{n}" / "config.json").write_text(json.dumps({"n": n}))
    blends = range(1, -(-cells // (STUDENTS * SEEDS)) + 1)
    return recipes.build(
        {
            "name": "planning",
            "problems": {"train": {"source": "t.jsonl"}, "eval": {"bench": {"source": "e.jsonl"}}},
            "teachers": {t: {"backend": "scripted", "model": t} for t in ("long", "short")},
            "verify": {"verifier": "exact"},
            "students": {f"s{n}": {"model": str(root / f"student{n}")} for n in range(STUDENTS)},
            "arms": {f"a{i}": {"long": i / len(blends), "short": 1 - i / len(blends)} for i in blends},
            "contrasts": {f"gap{i}": [f"a{i}", "a1"] for i in blends if i > 1},
            "budget": {"unit": "examples", "per_update": 32},
            "seeds": SEEDS,
        }
    )


def bought(recipe: Recipe, store: Store, train: int, evaluation: int) -> None:
    """Problems, and a judged trace of each training problem by both teachers."""
    folder = store.folder("problems")
    lists = {"train": train, "bench": evaluation}
    problems = {
        name: [Problem(id=f"{name}{i:011d}", prompt=f"{name} {i}", answer=str(i)) for i in range(n)]
        for name, n in lists.items()
    }
    tables = {name: store.seal(folder, Problem, rows, name) for name, rows in problems.items()}
    store.mark(folder, {"options": {}, "files": {}, "tables": tables, "counts": {}})
    for teacher in recipe.teachers:
        wanted = Extent(f"teacher/{teacher}", store.problem_ids("train"), 1)
        ids = list(zip(wanted, wanted.problems, strict=True))
        traces = (Trace(id=i, problem_id=p, author=wanted.author, finish_reason="stop") for i, p in ids)
        right = (decide([Verdict(trace_id=i, outcome=Outcome.CORRECT)], "flexible") for i, _ in ids)
        for stage, row, rows, table in (("generate", Trace, traces, "traces"), ("verify", Decision, right, DECISIONS)):
            folder = store.folder(stage, teacher)
            store.mark(folder, {"tables": {table: store.seal(folder, row, rows, table)}})
    for stage in ("generate", "verify", "analyze"):
        mark(stage, recipe, store)


def mark(stage: str, recipe: Recipe, store: Store) -> None:
    """Say of a stage's units that they are done; tables that are not there are described as if they were."""
    for unit in module(stage).units(recipe, store):
        folder = store.folder(stage, *unit.key)
        cell = {
            name: {"rows": 1, "columns": {column: f"{unit.identity}{column}" for column in columns}}
            for name, columns in COLUMNS.get(stage, {}).items()
        }
        there = (store.marker(folder) or {"tables": cell})["tables"]
        store.mark(
            folder,
            {
                "identity": unit.identity,
                "options": unit.options,
                "inputs": unit.inputs,
                "given": unit.given,
                "whole": unit.wanted.digest if unit.wanted else None,
                "tables": there,
                "counts": {"rows": 1},
                "facts": {"loss_tokens": 1, "losses": [[i, 0.5] for i in range(50)]},
                "seconds": 1.0,
            },
        )


def timed(what: str, call: Callable[[], object]) -> None:
    """Print the seconds that a call takes, and the most memory that this process has held until then."""
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(f"{what:<18} {seconds:6.2f} s   peak {peak:5.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--train", type=int, default=100_000, help="training problems")
    parser.add_argument("--eval", type=int, default=1300, help="evaluation problems")
    parser.add_argument("--made", action="store_true", help="everything is there, up to the evaluations")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)  # where the second process finds it
    args = parser.parse_args()
    if args.root:
        measure(args.root)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        recipe, store = study(root, args.cells), Store(root / "run")
        bought(recipe, store, args.train, args.eval)
        (store.root / RECIPE).write_text(render(recipe))
        for stage in ("mix", "train", "evaluate") if args.made else ():
            mark(stage, recipe, store)
        made = "all made" if args.made else "nothing made"
        print(f"{len(recipe.cells()):,} cells, {args.train:,} training and {args.eval:,} evaluation problems, {made}")
        measure_apart(root)


def measure_apart(root: Path) -> None:
    """In a process of its own, whose memory is that of planning alone."""
    import subprocess

    subprocess.run([sys.executable, __file__, "--root", str(root)], check=True)


def measure(root: Path) -> None:
    """Every stage's plan, then `status`."""
    store = Store(root / "run")
    recipe = recipes.load(store.root / RECIPE)
    for stage in STAGES:
        timed(f"plan {stage}", lambda stage=stage: plan(recipe, store, stage))
    timed("status", lambda: status.describe(store.root))


if __name__ == "__main__":
    main()
