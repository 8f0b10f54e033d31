"""What going on with a killed purchase takes: a journal of 100,000 traces read until the first request is drawn.

    python benchmarks/resume.py [--rows 100000]

Peer: json.loads of every line of the same file. Mark: 3 seconds, on the machine of docs/LOG.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from mixdistill.collect import TABLE, Buying, collect
from mixdistill.store import Store
from mixdistill.types import Problem, Trace, Usage, problem_id, trace_id
from mixdistill.wanted import fixed

REASONING = "First the sum of both sides, then the difference, and so on. " * 15


class Stop(Exception):
    """The first request was drawn."""


class First:
    """A backend that only wants to see the first request."""

    LIVE = True

    def generate(self, requests):
        next(requests)
        raise Stop
        yield


def trace(problem: Problem) -> Trace:
    return Trace(
        id=trace_id("teacher/t", problem.id, 0),
        problem_id=problem.id,
        author="teacher/t",
        model="m",
        reasoning=REASONING,
        content="The answer is 44.",
        finish_reason="stop",
        usage=Usage(prompt_tokens=50, completion_tokens=300),
        sampling={"temperature": 0.6, "seed": 1},
        seconds=1.5,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    texts = (f"What is {n} + {n}?" for n in range(rows + 1))
    problems = [Problem(id=problem_id(text, "44"), prompt=text, answer="44") for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        store, unit = Store(Path(folder)), Path(folder) / "generate" / "t"
        with store.appending(unit, TABLE) as append:
            for problem in problems[:-1]:
                append(trace(problem))
        path = unit / f"{TABLE}.jsonl"
        start = time.perf_counter()
        with path.open("rb") as f:
            assert sum(1 for line in f if json.loads(line)["error"] is None) == rows
        peer = time.perf_counter() - start
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.perf_counter()
        try:
            collect(store, unit, First(), Buying("teacher/t", "m", problems, fixed(1), "generate/t", 0.05))
        except Stop:
            seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        size = path.stat().st_size / 1e6
    print(f"journal of {rows:,} rows, {size:.0f} MB: first request after {seconds:.2f} s (mark 3 s)")
    print(f"{seconds / peer:.2f} times json.loads of its lines ({peer:.2f} s); {after - before:.0f} MB more memory")


if __name__ == "__main__":
    main()
