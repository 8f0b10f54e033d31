r"""Verdicts per second: `grading.grade` with the verifier `math` against math-verify as TRL's rewards call it.

    python benchmarks/verifying.py [--data FOLDER] [--parts 5] [--workers 2] [--only numeric long wrong]

Three kinds of work; both sides get the same texts and references, and are timed from texts in to verdicts out:

    numeric   worked solutions of GSM8K's kind that end in `\boxed{18}` (TRL reads nothing but LaTeX), half of them
              against the answer of the next problem
    long      whole outputs with long reasoning; our side also splits the reasoning off, as the backend `recorded` does
    wrong     answers of MATH's kind in a box, against the references of other problems

Peers, serial, since math-verify keeps time with a signal: `trl.rewards.accuracy_reward`, and bare
`verify(parse(reference), parse(text))`; on long outputs also `reasoning_accuracy_reward`, told where answers begin.
References are put between dollars for the peers: bare LaTeX they cannot read. Ours are `Problem` and `Trace` rows
to `Verdict` rows. The work is cut into parts that have no pair in common: an earlier part leaves nothing but the
references that it met; the sides take turns, and medians over parts are printed with their spread. Every pair on which
the verdict differs from TRL's is printed, grouped by the step that decided.

FOLDER holds `gsm8k_test.jsonl`, `gsm8k_train.jsonl`, `math500.jsonl` in `problems/`, and `traces/s1_*.jsonl`; without
it texts of the same kinds are made up. Exits 1 where a mark is missed (50, 10 and 3 times the faster of TRL's rewards).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import gc
import json
import logging
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mixdistill.backends.reasoning import split
from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers import grading

MARKS = {"numeric": 50.0, "long": 10.0, "wrong": 3.0}
"""Kind of work -> how many times the verdicts/s of the faster of TRL's rewards."""
OTHERS = 4
"""References of other problems that each is held against; of the few that are made up, twice as many."""
SHOWN = 40
"""Most characters of an answer that are printed."""
ANSWER_TAG = "<|im_start|>answer"


class Pair(NamedTuple):
    """A problem's prompt, its reference answer, and a completion."""

    prompt: str
    reference: str
    text: str


# -- the work ---------------------------------------------------------------------------------------------------------


def numeric(data: Path | None) -> list[Pair]:
    """Right and wrong in turn. `#### 18` becomes a box."""
    rows: list[tuple[str, ...]] = list(_made_solutions(3000))
    if data:
        names = ("gsm8k_test.jsonl", "gsm8k_train.jsonl")
        rows = [row for name in names for row in _read(data / "problems" / name, "question", "answer")]
    pairs = []
    for (asked, solution), (other, following) in zip(rows, rows[1:] + rows[:1], strict=True):
        text, gold = solution.split("####")
        boxed = f"{text}The answer is \\boxed{{{gold.strip()}}}."
        pairs += [Pair(asked, gold.strip(), boxed), Pair(other, following.split("####")[1].strip(), boxed)]
    return pairs


def long(data: Path | None) -> list[Pair]:
    """Whole outputs; of two teachers where there are data."""
    if data is None:
        return list(_made_outputs(500))
    pairs = []
    for path in sorted((data / "traces").glob("s1_*.jsonl")):
        pairs += [Pair(*row) for row in _read(path, "prompt", "gold_answer", "output")]
    return pairs


def wrong(data: Path | None) -> list[Pair]:
    """Each reference against `OTHERS` that are written otherwise."""
    asked, count = [("Find the answer.", answer) for answer in ANSWERS], 2 * OTHERS
    if data:
        asked, count = list(_read(data / "problems" / "math500.jsonl", "problem", "answer")), OTHERS
    rng, pairs = random.Random(0), []
    for prompt, gold in asked:
        others = rng.sample([other for _, other in asked if other != gold], count)
        pairs += [Pair(prompt, gold, f"Therefore the answer is $\\boxed{{{other}}}$.") for other in others]
    return pairs


def _read(path: Path, *columns: str) -> Iterator[tuple[str, ...]]:
    for line in path.read_text().splitlines():
        row = json.loads(line)
        yield tuple(str(row[column]) for column in columns)


def _made_solutions(count: int) -> Iterator[tuple[str, str]]:
    """Questions, and solutions that end in `#### 18`."""
    rng = random.Random(0)
    for _ in range(count):
        boxes, each, given = rng.randint(3, 90), rng.randint(2, 60), rng.randint(1, 5)
        total = boxes * each
        yield (
            f"A shop has {boxes} boxes with {each} pens each and gives {given} pens away. How many are left?",
            f"There are {boxes} boxes with {each} pens each, so {boxes} * {each} = <<{boxes}*{each}={total}>>{total} "
            f"pens.\nThen {given} pens are given away, which leaves {total} - {given} = "
            f"<<{total}-{given}={total - given}>>{total - given} pens.\nThey cost ${given} each, and nothing more has "
            f"to be counted.\n#### {total - given}",
        )


def _made_outputs(count: int) -> Iterator[Pair]:
    """Thinking of 2,500 to 30,000 characters in the manner of s1; every tenth is cut before an answer."""
    rng = random.Random(0)
    for i, (asked, solution) in enumerate(_made_solutions(count)):
        text, gold = solution.split("\n#### ")
        doubts = [f"Wait, let me check that again. {text} So is it {rng.randint(1, 9000)}? No." for _ in range(5, 60)]
        thinking = "\n\n".join(doubts[: 5 + int(rng.expovariate(1 / 10))])
        answer = "" if i % 10 == 0 else f"\n{ANSWER_TAG}\n{text}\nThe answer is \\(\\boxed{{{gold}}}\\)."
        chat = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n<|im_start|>think\n{thinking}{answer}"
        yield Pair(asked, gold, chat)


ANSWERS = [
    *map(str, (2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 20, 24, 25, 28, 36, 41, 48, 54, 72, 90, 96, 105, 120, 144)),
    "256", "331", "-7", "-1", "1023", "4800", "10080",
    "1{,}024", "2.5", "0.125", r"\frac{3}{8}", r"\frac17", r"-\frac{5}{12}",
    r"3\sqrt{5}", r"\frac{\sqrt{3}}{2}", r"2+\sqrt{7}", r"\frac{\pi}{4}", r"45^\circ", r"x^2+3x-1", r"\frac{x+1}{x-1}",
    "y=2x+1", "(3,-2)", r"\left(\frac12,4\right)", r"(-\infty,2]", r"(-1,3)\cup(5,\infty)", "1,-2", "3+4i",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\text{Tuesday}", r"\text{(C)}", r"17\text{ cm}", r"30\%", r"110_2",
]  # fmt: skip
"""60 answers of MATH's kinds, about as often as in MATH-500: two thirds are plain numbers."""


# -- the sides --------------------------------------------------------------------------------------------------------


def rows(pairs: list[Pair]) -> list[grading.Item]:
    """Problems, and traces that have their answer part apart already."""
    return [
        (
            Problem(id=f"p{i}", prompt=pair.prompt, answer=pair.reference),
            Trace(id=f"t{i}", problem_id=f"p{i}", author="a", content=pair.text, finish_reason="stop"),
        )
        for i, pair in enumerate(pairs)
    ]


def split_rows(pairs: list[Pair]) -> list[grading.Item]:
    """Rows out of whole outputs."""
    found = []
    for i, pair in enumerate(pairs):
        parts = split(pair.text)
        trace = Trace(
            id=f"t{i}",
            problem_id=f"p{i}",
            author="a",
            reasoning=parts.reasoning,
            content=parts.content,
            finish_reason=parts.finish,
        )
        found.append((Problem(id=f"p{i}", prompt=pair.prompt, answer=pair.reference), trace))
    return found


def graded(items: list[grading.Item], workers: int) -> list[Verdict]:
    return grading.grade(items, "mixdistill.verifiers.math:verify", {}, name="math", workers=workers)


def rewarded(pairs: list[Pair], **told: Any) -> list[float | None]:
    """TRL's reward, as its trainers call it."""
    from trl.rewards import accuracy_reward, reasoning_accuracy_reward

    reward = reasoning_accuracy_reward if told else accuracy_reward
    completions = [[{"role": "assistant", "content": pair.text}] for pair in pairs]
    return reward(completions, [f"${pair.reference}$" for pair in pairs], **told)


def bare(pairs: list[Pair]) -> list[bool]:
    from math_verify import parse, verify

    return [verify(parse(f"${pair.reference}$"), parse(pair.text)) for pair in pairs]


# -- the comparison ---------------------------------------------------------------------------------------------------


def sides(kind: str, pairs: list[Pair], workers: int) -> dict[str, Callable[[], list[Any]]]:
    """Name -> what one side does with these pairs. Rows that a run holds already are made before."""
    ready = rows(pairs) if kind != "long" else []
    found: dict[str, Callable[[], list[Any]]] = {
        "mixdistill": lambda: graded(ready or split_rows(pairs), workers),
        "accuracy_reward": lambda: rewarded(pairs),
        "parse + verify": lambda: bare(pairs),
    }
    if kind == "long":
        found["reasoning_accuracy_reward"] = lambda: rewarded(pairs, reasoning_delimiters=[ANSWER_TAG])
    return found


def compare(kind: str, pairs: list[Pair], parts: int, workers: int) -> bool:
    """Print rates and differences; whether the mark was reached."""
    rates: dict[str, list[float]] = defaultdict(list)
    results: dict[str, list[Any]] = defaultdict(list)
    pairs = random.Random(0).sample(pairs, len(pairs))
    chunks = [pairs[i::parts] for i in range(parts)]
    for i, chunk in enumerate(chunks):
        turn = list(sides(kind, chunk, workers).items())
        for name, run in turn if i % 2 else reversed(turn):
            start = time.perf_counter()
            found = run()
            rates[name].append(len(chunk) / (time.perf_counter() - start))
            results[name] += found
    characters = statistics.mean(len(pair.text) for pair in pairs)
    print(f"\n{kind}: {len(pairs):,} pairs in {parts} parts, {characters:,.0f} characters a text, {workers} workers")
    print(f"{'':28}{'verdicts/s':>12}{'lowest':>10}{'highest':>10}{'ours is':>10}{'lowest':>9}{'highest':>9}")
    ratios = {}
    for name, of in rates.items():
        times = [ours / theirs for ours, theirs in zip(rates["mixdistill"], of, strict=True)]
        ratios[name] = statistics.median(times)
        print(
            f"{name:28}{statistics.median(of):12,.0f}{min(of):10,.0f}{max(of):10,.0f}"
            f"{ratios[name]:9.1f}x{min(times):8.1f}x{max(times):8.1f}x"
        )
    ordered = [pair for chunk in chunks for pair in chunk]
    for name in [name for name in results if name.endswith("reward")]:
        differences(name, ordered, results["mixdistill"], results[name])
    reached = min(ratio for name, ratio in ratios.items() if name.endswith("reward"))
    good = reached >= MARKS[kind]
    print(f"{kind}: {reached:.1f}x (mark {MARKS[kind]:g}x): {'ok' if good else 'MISSED'}", flush=True)
    return good


def differences(peer: str, pairs: list[Pair], ours: list[Verdict], theirs: list[float | None]) -> None:
    """Pairs that only one side accepts, or on which one gives no verdict, by the step that decided ours."""
    groups: dict[str, list[str]] = defaultdict(list)
    for pair, verdict, reward in zip(pairs, ours, theirs, strict=True):
        right = verdict.outcome is Outcome.CORRECT
        if reward is not None and right == bool(reward) and verdict.outcome is not Outcome.ERROR:
            continue
        answer = verdict.answer or verdict.explanation if verdict.outcome is not Outcome.ERROR else verdict.explanation
        said = f"reference {_short(pair.reference)}  ours {_short(answer)}  text ... {_short(pair.text[-SHOWN:])}"
        groups[f"{verdict.outcome} by {verdict.rule or 'no rule'}, {peer} {reward}"].append(said)
    same = len(pairs) - sum(map(len, groups.values()))
    print(f"same verdict as {peer}: {same:,} of {len(pairs):,}")
    for group, members in sorted(groups.items()):
        print(f"  {group}: {len(members)}")
        for member in members:
            print(f"    {member}")


def _short(text: str | None) -> str:
    return repr(text if text is None or len(text) <= SHOWN else f"{text[:SHOWN]}...")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--parts", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=MARKS, default=list(MARKS))
    options = parser.parse_args()
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it logs whole texts; printing them is no part of this
    work = {"numeric": numeric, "long": long, "wrong": wrong}
    warm = [Pair("", "x+1", f"\\boxed{{{n}+x}}") for n in range(2 * options.workers)]
    for run in (*sides("numeric", warm, options.workers).values(), *sides("long", warm, options.workers).values()):
        run()  # imports, worker processes, first parses
    gc.collect()
    gc.freeze()  # what TRL imports (400,000 objects) is not gone through again whenever somebody makes many rows
    reached = [compare(kind, work[kind](options.data), options.parts, options.workers) for kind in options.only]
    sys.exit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
