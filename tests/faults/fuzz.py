"""A million hostile answers through extraction and the verifiers, as the product runs them.

    python tests/faults/fuzz.py --inputs 1000000 --seed 0
    python tests/faults/fuzz.py --seconds 60 --verifiers math choice

Every input goes through `extract` in this process, and through `grading.grade` with its killable workers and its
deadline. Exit 1 where an extraction is slow or raises; where a verifier raises anything but a time-out or a lack of
memory, takes longer than its deadline allows, or gives something other than one of the five outcomes for the trace it
was given; where a verdict depends on what was judged before; where this process needs more memory late than early. The
same seed draws the same inputs; what is said of a batch is found again with `--first`.
"""

from __future__ import annotations

import argparse
import faulthandler
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostile import Input, inputs, suited

from mixdistill import resolve
from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers.extract import extract
from mixdistill.verifiers.grading import grade

BATCH = 512
DEADLINE = 8.0
"""Seconds an input may take before its worker is killed."""
OPTIONS: dict[str, dict[str, Any]] = {"math": {"timeout": 1}}
EXTRACT_SECONDS = 2.0
"""Of one core. An extraction of up to a megabyte that takes longer than this has a loop that is not linear."""
HUNG_SECONDS = 900.0
"""After this long within one batch all stacks are shown and the process ends."""
EACH_SECONDS = 0.25
"""What a batch may take per input, on a busy machine, beside its inputs that were late."""
AGAIN = 40
"""Of every so many batches one is judged a second time, in another order."""
MARGIN_MB = 32
SETTLED = 0.1
"""Share of the run after which memory counts: until then caches fill."""
ALLOWED = ("deadline of", "TimeoutError", "MemoryError", "the verifier's process died")
"""Beginnings of what an `error` may say: the rest are exceptions that a verifier has to expect."""
LATE = ("deadline of", "TimeoutError")


@dataclass
class Fuzz:
    """One verifier under fire, and what was seen."""

    verifier: str
    seed: int
    workers: int
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    slow: list[tuple[float, int]] = field(default_factory=list)
    """(seconds, batch) of every batch."""
    extractions: list[tuple[float, int, int]] = field(default_factory=list)
    """(seconds, batch, place) of the slowest extractions."""
    memory: list[float] = field(default_factory=list)
    """MB of this process after each batch."""
    faults: list[str] = field(default_factory=list)

    def batch(self, number: int, size: int) -> None:
        """Draw one batch, judge it, and look at the verdicts."""
        drawn = inputs(self.seed, number, size)
        self.extract(number, drawn)
        items = [item(i, suited(self.verifier, x)) for i, x in enumerate(drawn)]
        began = time.monotonic()
        verdicts = self.judge(items)
        seconds = time.monotonic() - began
        late = sum(v.explanation.startswith(LATE) for v in verdicts)
        self.faults += [f"batch {number}, {fault}" for fault in verdict_faults(items, verdicts)]
        if seconds > allowed_seconds(size, late):
            self.faults.append(f"batch {number}: {seconds:.0f} s for {size} inputs, {late} of them late")
        if number % AGAIN == 0:
            again = self.judge(items[::-1])[::-1]
            self.faults += [f"batch {number}, {fault}" for fault in differences(verdicts, again)]
        self.inputs += size
        self.outcomes.update(v.outcome.value for v in verdicts)
        self.errors.update(v.explanation[:60] for v in verdicts if v.outcome is Outcome.ERROR and v.rule == "grading")
        self.slow.append((seconds, number))
        self.memory.append(resident_mb())

    def extract(self, number: int, drawn: list[Input]) -> None:
        """Extraction alone, in this process: linear in the text, never an empty answer, never an exception."""
        for place, x in enumerate(drawn):
            began = time.thread_time()
            try:
                with alarm(30 * EXTRACT_SECONDS):
                    found = extract(x.text)
            except Exception as e:
                self.faults.append(f"batch {number}, input {place}: extract raised {e!r} on {x.text[:200]!r}")
                continue
            seconds = time.thread_time() - began
            self.extractions = sorted([*self.extractions, (seconds, number, place)], reverse=True)[:5]
            if seconds > EXTRACT_SECONDS:
                self.faults.append(f"batch {number}, input {place}: extraction took {seconds:.1f} s")
            if found is not None and not found.answer.strip():
                self.faults.append(f"batch {number}, input {place}: an empty answer by rule {found.rule}")

    def judge(self, items: list[tuple[Problem, Trace]]) -> list[Verdict]:
        """As the stage `verify` does it."""
        reference, options = resolve.reference("verifier", self.verifier), OPTIONS.get(self.verifier, {})
        return grade(items, reference, options, name=self.verifier, deadline=DEADLINE, workers=self.workers)

    def slowest(self, size: int) -> list[tuple[float, int, int]]:
        """(seconds, batch, place) of the slowest inputs of the three slowest batches, each judged alone."""
        seen = []
        for _, number in sorted(self.slow, reverse=True)[:3]:
            for place, x in enumerate(inputs(self.seed, number, size)):
                began = time.monotonic()
                self.judge([item(place, suited(self.verifier, x))])
                seen.append((time.monotonic() - began, number, place))
        return sorted(seen, reverse=True)[:5]


def item(place: int, x: Input) -> tuple[Problem, Trace]:
    problem = Problem(id=f"p{place}", prompt=x.prompt, answer=x.reference)
    trace: dict[str, Any] = {"content": x.text, "finish_reason": x.finish_reason}
    return problem, Trace(id=f"t{place}", problem_id=problem.id, author="teacher/fuzz", **trace)


def allowed_seconds(size: int, late: int) -> float:
    """Most that a batch may take. A late input costs its chunk 1.5 deadlines, and one more when it is tried alone."""
    return size * EACH_SECONDS + late * 2.5 * DEADLINE + 30


def verdict_faults(items: list[tuple[Problem, Trace]], verdicts: list[Verdict]) -> list[str]:
    """What is wrong with the verdicts of a batch."""
    if [v.trace_id for v in verdicts] != [trace.id for _, trace in items]:
        return ["verdicts of other traces, or in another order"]
    faults = []
    for place, (verdict, (problem, trace)) in enumerate(zip(verdicts, items, strict=True)):
        shown = f"input {place} ({problem.answer[:80]!r} ~ {trace.content[:200]!r})"
        if verdict.outcome not in Outcome or verdict.strict not in (*Outcome, None):
            faults.append(f"{shown}: outcome {verdict.outcome!r}, strict {verdict.strict!r}")
        elif verdict.rule == "grading" and not verdict.explanation.startswith(ALLOWED):
            faults.append(f"{shown}: {verdict.explanation}")
    return faults


def differences(first: list[Verdict], second: list[Verdict]) -> list[str]:
    """Verdicts that came out otherwise the second time; one that was late or short of memory may."""
    return [
        f"input {place}: {a.outcome.value} ({a.rule}), and {b.outcome.value} ({b.rule}) the second time"
        for place, (a, b) in enumerate(zip(first, second, strict=True))
        if Outcome.ERROR not in (a.outcome, b.outcome) and (a.outcome, a.strict) != (b.outcome, b.strict)
    ]


def memory_faults(memory: list[float]) -> list[str]:
    """MB after each batch may not grow once things have settled."""
    settled = memory[int(len(memory) * SETTLED) :]
    third = max(1, len(settled) // 3)
    first, last = max(settled[:third]), max(settled[-third:])
    return [f"memory: {last:.0f} MB in the last third, {first:.0f} in the first"] if last > first + MARGIN_MB else []


def resident_mb() -> float:
    status = Path("/proc/self/status")
    if not status.exists():  # macOS: the most so far, which cannot hide growth either
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raises TimeoutError after so long; Python's regular expressions look at signals as they go."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"not through after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attack(fuzz: Fuzz, count: int, seconds: float, first: int) -> None:
    """Batches until there were `count` inputs or `seconds` are over, or ten faults are enough."""
    began = said = time.monotonic()
    number = first
    while fuzz.inputs < count and time.monotonic() - began < seconds and len(fuzz.faults) < 10:
        faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
        fuzz.batch(number, min(BATCH, count - fuzz.inputs))
        number += 1
        if time.monotonic() - said > 30:
            said = time.monotonic()
            rate = fuzz.inputs / (said - began)
            print(f"{fuzz.verifier}: {fuzz.inputs:,} inputs, {rate:.0f}/s, {fuzz.memory[-1]:.0f} MB", flush=True)
    faulthandler.cancel_dump_traceback_later()
    fuzz.faults += memory_faults(fuzz.memory)
    spent = time.monotonic() - began
    print(f"{fuzz.verifier}: {fuzz.inputs:,} inputs in {spent:.0f} s, {fuzz.inputs / spent:.0f}/s")
    print(f"  outcomes: {dict(fuzz.outcomes.most_common())}")
    print(f"  errors: {dict(fuzz.errors.most_common(12))}")
    print(f"  memory, MB: {fuzz.memory[0]:.0f} at first, {max(fuzz.memory):.0f} at most, {fuzz.memory[-1]:.0f} at last")


def tell_slowest(fuzz: Fuzz) -> None:
    """Show the slowest inputs, so that somebody can look at them."""
    for what, slowest in (("extract", fuzz.extractions), (fuzz.verifier, fuzz.slowest(BATCH))):
        for seconds, number, place in slowest:
            x = inputs(fuzz.seed, number, BATCH)[place]
            shown = f"batch {number}, input {place}: {x.reference[:40]!r} ~ {x.text[:80]!r}"
            print(f"  slow in {what}: {seconds:.3f} s, {shown}")


def main() -> None:
    """Attack each verifier with its share of the inputs; say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all, shared by the verifiers")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="in all, shared by the verifiers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first batch")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--verifiers", nargs="+", default=["math"])
    args = parser.parse_args()
    share = len(args.verifiers)
    faults = []
    for name in args.verifiers:
        fuzz = Fuzz(name, args.seed, args.workers)
        attack(fuzz, args.inputs // share, args.seconds / share, args.first)
        tell_slowest(fuzz)
        faults += [f"{name}: {fault}" for fault in fuzz.faults]
    print("\n".join([f"{len(faults)} faults", *faults]))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
