"""How fast a blend of a million rows is made, beside `datasets.interleave_datasets`, and in how much memory.

    python benchmarks/mixing.py                 # 1,000,000 short and 250,000 long rows into 1,000,000, 20:80
    python benchmarks/mixing.py --rows 20000    # smaller

A teacher `short` with four traces of each of 250,000 problems and a teacher `long` with one, already generated, judged
and measured, lie in a run folder (mixdistill) and as two Parquet files of the same rows (datasets). Both make a million
rows of them, one long in five, about 680 MB of text, as Parquet. Each runs in a process of its own, which says how long
it took from the first read to the last byte, and the most memory it ever had (VmHWM); starting Python and importing the
libraries is on neither side, but in the seconds of CPU, which say more on a machine that does other things besides.

mixdistill: `mix.draw` and `Drawn.write`: reads fits, verdicts and ids; checks what may be used and fits; measures a
pass of the arm; draws the rows (`repeat`, four of each problem); shuffles them and says which update takes which; joins
the texts; writes examples, updates, drops and manifest with a hash of every column, synced to the disk. The examples
stand in the order of the problems, and the table of updates holds the shuffled order in which they are trained on.
datasets: `load_dataset` of both files (its conversion to Arrow is included, as it happens once per file; its part is
said), `interleave_datasets` with probabilities 0.2 and 0.8, `select` of a million rows, `shuffle` and `to_parquet`, so
that the shuffled order is the order of the file. The same without `shuffle` is a third run. No row is checked.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PER_PROBLEM = 4
SHORT, LONG = 380, 1700
"""Characters of a trace's text."""


def prepare(root: Path, rows: int) -> None:
    """A run folder as it is before `mix`, and the same rows as two files."""
    import polars as pl

    from mixdistill.store import Store
    from mixdistill.types import Decision, Fit, Problem, Trace, trace_id

    problems = rows // PER_PROBLEM
    store, rng = Store(root / "run"), random.Random(0)
    ids = [f"{rng.getrandbits(64):016x}" for _ in range(problems)]
    prompts = [f"Problem {n}: how many are {rng.randrange(10**6)} and {rng.randrange(10**6)}?" for n in range(problems)]
    words = [f"{rng.getrandbits(24):x}" for _ in range(4000)]
    pieces = [" ".join(rng.choices(words, k=400)) for _ in range(20_000)]

    def text(length: int) -> str:
        start = rng.randrange(800)
        return rng.choice(pieces)[start : start + length]

    def seal(folder: Path, row_type: type, frame: pl.DataFrame, table: str, **facts: object) -> None:
        missing = [pl.lit(None).alias(name) for name in row_type.model_fields if name not in frame.columns]
        step = 50_000
        parts = (frame[n : n + step].with_columns(missing) for n in range(0, len(frame), step))
        tables = {table: store.seal_frames(folder, row_type, parts, table)}
        store.mark(folder, {"identity": "", "options": {}, "inputs": {}, "tables": tables, "facts": facts})

    frame = pl.DataFrame({"id": ids, "prompt": [json.dumps(p) for p in prompts], "answer": ["1"] * problems})
    seal(store.folder("problems"), Problem, frame, "train")
    for teacher, samples, length in (("short", PER_PROBLEM, SHORT), ("long", 1, LONG)):
        of = [(problem, sample) for problem in ids for sample in range(samples)]
        traces = pl.DataFrame(
            {
                "id": [trace_id(f"teacher/{teacher}", *of_one) for of_one in ((p, s) for p, s in of)],
                "problem_id": [p for p, _ in of],
                "sample": [s for _, s in of],
                "reasoning": [text(length) for _ in of],
                "content": [f"The answer is {n}." for n in range(len(of))],
            }
        )
        seal(store.folder("generate", teacher), Trace, traces, "traces")
        decisions = traces.select(trace_id="id", **{k: pl.lit("correct") for k in ("outcome", "strict")})
        seal(store.folder("verify", teacher), Decision, decisions, "decisions")
        fits = traces.select(
            "problem_id", trace_id="id", template=pl.lit("t"), prompt_tokens=pl.lit(20), detail=pl.lit(""),
            loss_tokens=pl.lit(length // 4),
        )  # fmt: skip
        seal(store.folder("analyze", teacher), Fit, fits, "fits", templates={"s": "t"})
        asked = pl.DataFrame({"problem_id": ids, "prompt": prompts})
        flat = traces.join(asked, on="problem_id", maintain_order="left").rename({"id": "trace_id"})
        flat = flat.select("prompt", "reasoning", "content", "problem_id", "trace_id", teacher=pl.lit(teacher))
        flat.write_parquet(root / f"{teacher}.parquet", row_group_size=50_000)


def ours(root: Path, rows: int) -> dict[str, float]:
    """Draw and write the arm's set."""
    from mixdistill import mix
    from mixdistill.recipe import build
    from mixdistill.store import Store

    recipe = build(
        {
            "name": "mixing",
            "problems": {"train": {"source": "train.jsonl"}, "eval": {"e": {"source": "eval.jsonl"}}},
            "teachers": {t: {"backend": "scripted", "model": t} for t in ("long", "short")},
            "verify": {"verifier": "math"},
            "students": {"s": {"model": "s"}},
            "arms": {"mix": {"weights": {"long": 0.2, "short": 0.8}, "mixture": "repeat", "traces": PER_PROBLEM}},
            "budget": {"unit": "examples", "per_update": 16},
            "train": {"num_train_epochs": 1},
        }
    )
    import numpy
    import polars

    assert numpy and polars
    store = Store(root / "run")
    start = time.perf_counter()
    drawn = mix.draw(recipe, store, "s", "mix", 0)
    drawn.write(store, root / "out")
    seconds = time.perf_counter() - start
    assert len(drawn.ids) == rows // PER_PROBLEM * PER_PROBLEM and drawn.facts["share_examples"]["long"] == 0.2
    return {"seconds": seconds}


def theirs(root: Path, rows: int, *, shuffle: bool) -> dict[str, float]:
    """The same by `datasets`."""
    import datasets

    datasets.disable_progress_bars()
    start = time.perf_counter()
    cache = str(root / f"cache-{shuffle}")
    parts = [
        datasets.load_dataset("parquet", data_files=str(root / f"{t}.parquet"), split="train", cache_dir=cache)
        for t in ("long", "short")
    ]
    loading = time.perf_counter() - start
    found = datasets.interleave_datasets(
        parts, probabilities=[0.2, 0.8], seed=0, stopping_strategy="all_exhausted"
    ).select(range(rows))
    if shuffle:
        found = found.shuffle(seed=0)
    found.to_parquet(str(root / f"theirs-{shuffle}.parquet"))
    return {"seconds": time.perf_counter() - start, "loading": loading}


WHO = {
    "mixdistill": ours,
    "datasets, shuffled": lambda root, rows: theirs(root, rows, shuffle=True),
    "datasets, not shuffled": lambda root, rows: theirs(root, rows, shuffle=False),
    "prepare": prepare,
}


def peak() -> float:
    """Most memory that this process ever had, in GB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e6


def apart(who: str, root: Path, rows: int) -> dict[str, float]:
    """One of them in a process of its own."""
    command = [sys.executable, __file__, "--rows", str(rows), "--only", who, "--root", str(root)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Print a line for each and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=WHO, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        said = WHO[args.only](args.root, args.rows) or {}
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({**said, "cpu": used.ru_utime + used.ru_stime, "peak": peak()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        apart("prepare", root, args.rows)
        os.sync()  # what is still to be written of it would slow the first
        found = {who: apart(who, root, args.rows) for who in WHO if who != "prepare"}
        mine = found["mixdistill"]
        for who, one in found.items():
            loading = f", {one['loading']:.1f} of them loading" if "loading" in one else ""
            ratio = f"; mixdistill is {one['seconds'] / mine['seconds']:.1f} times as fast" if loading else ""
            print(f"{who:<24} {one['seconds']:7.2f} s{loading}, {one['cpu']:.0f} s of CPU, {one['peak']:.2f} GB{ratio}")
        written = sum(p.stat().st_size for p in (root / "out").glob("*.parquet")) / 1e6
        print(f"{args.rows:,} rows; mixdistill wrote {written:,.0f} MB of Parquet")


if __name__ == "__main__":
    main()
