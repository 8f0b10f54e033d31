"""How reliable the verifier `math` is on real data: counts, every doubtful verdict, and exit 1 where a must is broken.

    python benchmarks/answers.py --data FOLDER [--sections gsm8k math500 ...] [--others 20] [--dump FILE]

FOLDER holds `problems/` (gsm8k_train.jsonl, gsm8k_test.jsonl, math500.jsonl, math_train.json, amc23.jsonl,
aime24.jsonl) and `traces/s1_*.jsonl` (`prompt`, `output`). Problems, references and traces go the way that they go in
a run: `problems.load`, the backend `recorded`, `grading.grade`. What must hold is in the lines that begin with `must`;
every pair of different references that is accepted as equal is printed, for a person to judge. `--dump` writes 50
graded traces of each outcome and file, to be read by hand.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mixdistill import problems
from mixdistill.backends.recorded import Recorded
from mixdistill.sections import Source
from mixdistill.types import Outcome, Problem, Request, Trace, Verdict, trace_id
from mixdistill.verifiers import grading, math

VERIFIER = "mixdistill.verifiers.math:verify"
SEED = 0
DUMPED = 50
"""Traces of each outcome and file that are written for reading."""
_INTEGER = re.compile(r"-?\d{1,15}")


class Pair(NamedTuple):
    """A problem and a text that answers it, with the verdict."""

    problem: Problem
    text: str
    verdict: Verdict

    @property
    def reference(self) -> str:
        return self.problem.answer


class Must:
    """What has to hold, and whether all of it did."""

    def __init__(self) -> None:
        self.broken = 0

    def __call__(self, what: str, got: int, *, least: int | None = None, exactly: int | None = None) -> None:
        held = got >= least if least is not None else got == exactly
        self.broken += not held
        wanted = f"at least {least:,}" if least is not None else f"{exactly:,}"
        print(f"  must {'hold' if held else 'FAIL'}: {what}: {got:,} ({wanted})")


def graded(pairs: Iterable[tuple[Problem, str]], workers: int) -> list[Pair]:
    """(problem, answer text) pairs with the verdict on each, as of traces that ended by themselves."""
    pairs = list(pairs)
    items = [(problem, _trace(problem.id, text)) for problem, text in pairs]
    verdicts = grading.grade(items, VERIFIER, {}, name="math", workers=workers)
    return [Pair(*pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True)]


def _trace(problem: str, text: str) -> Trace:
    return Trace(
        id=trace_id("reference", problem, 0), problem_id=problem, author="reference", content=text, finish_reason="stop"
    )


def load(path: Path, **named: str) -> list[Problem]:
    return [problem for _, problem in problems.load(Source(source=str(path), **named), split="train").problems]


def column(path: Path, name: str) -> list[str]:
    return [str(json.loads(line)[name]) for line in path.read_text().splitlines()]


def outcomes(pairs: Iterable[Pair]) -> Counter[str]:
    return Counter(pair.verdict.outcome.value for pair in pairs)


def correct(pairs: Iterable[Pair]) -> list[Pair]:
    return [pair for pair in pairs if pair.verdict.outcome is Outcome.CORRECT]


def show(pairs: Iterable[Pair], most: int = 1000) -> None:
    for pair in list(pairs)[:most]:
        v = pair.verdict
        print(f"    {v.outcome:10} {v.rule:26} reference {pair.reference!r}  answer {v.answer!r}  {_brief(v)}")


def _brief(verdict: Verdict) -> str:
    return verdict.explanation[:120] if verdict.outcome is Outcome.ERROR else ""


def wrong_pairs(asked: list[Problem], others: int) -> list[tuple[Problem, str]]:
    """Each problem with a box of the references of `others` other problems, drawn by seed."""
    rng = random.Random(SEED)
    found = []
    for i, problem in enumerate(asked):
        drawn = rng.sample([j for j in range(len(asked)) if j != i], others)
        found += [(problem, box(asked[j])) for j in drawn]
    return found


def boxed(asked: list[Problem]) -> list[tuple[Problem, str]]:
    return [(problem, box(problem)) for problem in asked]


def box(problem: Problem) -> str:
    return f"\\boxed{{{math.reference(problem.answer)}}}"


def accepted_wrong(pairs: list[Pair], must: Must) -> None:
    """Accepted pairs of different problems: same texts counted, all others listed. Integers are checked here too."""
    found = correct(pairs)
    same = [p for p in found if box(p.problem) == p.text]
    print(f"  outcomes {dict(outcomes(pairs))}; of {len(found)} accepted {len(same)} are the same text, the others:")
    show(p for p in found if box(p.problem) != p.text)
    errors = [p for p in pairs if p.verdict.outcome is Outcome.ERROR]
    print(f"  errors: {len(errors)}")
    show(errors, most=20)
    integers = [p for p in pairs if _INTEGER.fullmatch(p.reference) and _INTEGER.fullmatch(p.text[7:-1])]
    differ = [p for p in integers if (int(p.reference) == int(p.text[7:-1])) != (p.verdict.outcome is Outcome.CORRECT)]
    show(differ)
    must(f"of {len(integers):,} pairs of integers, misjudged", len(differ), exactly=0)


def gsm8k(folder: Path, must: Must, workers: int) -> None:
    """Human solutions that end in `#### 18`, against their own answer and against the next problem's."""
    for name in ("gsm8k_train", "gsm8k_test"):
        path = folder / "problems" / f"{name}.jsonl"
        asked, texts = load(path), column(path, "answer")
        own = graded(zip(asked, texts, strict=True), workers)
        must(f"{name}: solutions correct", len(correct(own)), exactly=len(texts))
        strict = sum(p.verdict.strict is Outcome.CORRECT for p in own)
        must(f"{name}: under the strict reading", strict, exactly=len(texts))
        show(p for p in own if p.verdict.outcome is not Outcome.CORRECT)
        following = [
            (other, text)
            for problem, other, text in zip(asked, asked[1:] + asked[:1], texts, strict=True)
            if problem.answer.replace(",", "") != other.answer.replace(",", "")
        ]
        wrong = graded(following, workers)
        must(f"{name}: of {len(wrong):,} next answers, correct", len(correct(wrong)), exactly=0)
        must(f"{name}: of these, incorrect", outcomes(wrong)["incorrect"], exactly=len(wrong))
        show(p for p in wrong if p.verdict.outcome is not Outcome.INCORRECT)


def math500(folder: Path, must: Must, workers: int, others: int = 20) -> None:
    """Whole solutions, references in a box, and each reference against others."""
    path = folder / "problems" / "math500.jsonl"
    asked, texts = load(path, answer="answer"), column(path, "solution")
    own = graded(zip(asked, texts, strict=True), workers)
    must("math500: solutions correct", len(correct(own)), least=499)
    show(p for p in own if p.verdict.outcome is not Outcome.CORRECT)
    against_others("math500", asked, others, must, workers)


def math_train(folder: Path, must: Must, workers: int, others: int = 5) -> None:
    """References in a box, and each against others."""
    asked = load(folder / "problems" / "math_train.json", answer="answer")
    against_others("math_train", asked, others, must, workers)


def against_others(name: str, asked: list[Problem], others: int, must: Must, workers: int) -> None:
    own = graded(boxed(asked), workers)
    must(f"{name}: references correct in a box", len(correct(own)), exactly=len(asked))
    show(p for p in own if p.verdict.outcome is not Outcome.CORRECT)
    print(f"{name}: each reference against {others} others")
    accepted_wrong(graded(wrong_pairs(asked, others), workers), must)


def contests(folder: Path, must: Must, workers: int) -> None:
    """AMC's floats and AIME's leading zeros, in a box and as a person writes them; AIME's own solutions."""
    for name in ("amc23", "aime24"):
        path = folder / "problems" / f"{name}.jsonl"
        asked, written = load(path), column(path, "answer")
        whole = [str(int(float(text))) for text in written]
        loaded = [problem.answer for problem in asked]
        for kind, texts in {"as loaded": loaded, "as integers": whole, "as in the file": written}.items():
            pairs = graded(zip(asked, (f"\\boxed{{{text}}}" for text in texts), strict=True), workers)
            must(f"{name}: {kind}, correct", len(correct(pairs)), exactly=len(written))
            show(p for p in pairs if p.verdict.outcome is not Outcome.CORRECT)
        near = graded(zip(asked, (f"\\boxed{{{int(text) + 1}}}" for text in whole), strict=True), workers)
        must(f"{name}: one more, correct", len(correct(near)), exactly=0)
    solutions = graded(zip(asked, column(path, "solution"), strict=True), workers)
    must("aime24: own solutions correct", len(correct(solutions)), exactly=len(solutions))
    show(p for p in solutions if p.verdict.outcome is not Outcome.CORRECT)


def s1(folder: Path, must: Must, workers: int, dump: Path | None = None) -> None:
    """Real outputs: outcomes a file under both readings, of the shorter and the longer half apart."""
    asked = load(folder / "problems" / "gsm8k_test.jsonl")
    written = []
    for path in sorted((folder / "traces").glob("s1_*.jsonl")):
        whole = dict(zip(column(path, "prompt"), column(path, "output"), strict=True))
        items = traces(path, asked, whole)
        verdicts = grading.grade(items, VERIFIER, {}, name="math", workers=workers)
        middle = statistics.median(len(whole[str(p.prompt)]) for p, _ in items)
        halves = {
            "all": lambda n: True,
            f"up to {middle:,.0f} characters": lambda n, m=middle: n <= m,
            "longer": lambda n, m=middle: n > m,
        }
        print(f"{path.name}: {len(items)} traces, {dict(Counter(t.finish_reason for _, t in items))}")
        for half, inside in halves.items():
            chosen = [v for (p, _), v in zip(items, verdicts, strict=True) if inside(len(whole[str(p.prompt)]))]
            print(f"  {half}: flexible {_counts(chosen, lambda v: v.outcome)}")
            print(f"  {' ' * len(half)}  strict   {_counts(chosen, lambda v: v.strict or v.outcome)}")
        print(f"  rules {dict(Counter(v.rule for v in verdicts).most_common())}")
        must(f"{path.name}: errors", sum(v.outcome is Outcome.ERROR for v in verdicts), exactly=0)
        written += sampled(path.name, items, verdicts, whole)
    if dump:
        dump.write_text("\n".join(written))
        print(f"  {len(written)} traces to read in {dump}")


def traces(path: Path, asked: list[Problem], whole: dict[str, str]) -> list[grading.Item]:
    """The file's traces of the problems that it holds, as the backend `recorded` gives them."""
    asked = [p for p in asked if p.prompt in whole]
    backend = Recorded(str(path), complete="answered")
    found = backend.generate([Request(prompt=p.prompt) for p in asked])
    return [
        (
            asked[i],
            Trace(
                id=trace_id(path.name, asked[i].id, 0),
                problem_id=asked[i].id,
                author=path.name,
                **completion.model_dump(),
            ),
        )
        for i, completion in found
        if completion
    ]


def _counts(verdicts: Iterable[Verdict], of: Callable[[Verdict], Outcome]) -> dict[str, int]:
    return dict(Counter(of(v).value for v in verdicts).most_common())


def sampled(name: str, items: list[grading.Item], verdicts: list[Verdict], whole: dict[str, str]) -> list[str]:
    """For reading: traces of each outcome, drawn by seed, with the problem and the end of the output."""
    groups: dict[str, list[str]] = defaultdict(list)
    for (problem, trace), v in zip(items, verdicts, strict=True):
        output = whole[str(problem.prompt)]
        groups[v.outcome.value].append(
            f"=== {name} | {v.outcome} | strict {v.strict} | finish {trace.finish_reason} | {len(output)} characters\n"
            f"PROBLEM   {problem.prompt}\nREFERENCE {problem.answer}\nANSWER    {v.answer!r} by {v.rule}"
            f" {v.explanation}\nANSWER PART ({len(trace.content):,} characters) ... {trace.content[-400:]!r}\n"
            f"OUTPUT ... {output[-700:]}\n"
        )
    rng = random.Random(SEED)
    return [text for group in groups.values() for text in rng.sample(group, min(DUMPED, len(group)))]


SECTIONS = ("gsm8k", "math500", "math_train", "contests", "s1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--dump", type=Path, help="write 50 traces of each outcome and file here")
    parser.add_argument("--others", type=int, help="references that each of MATH is held against (20, 5 of the many)")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    must = Must()
    more = {} if options.others is None else {"others": options.others}
    sections = {
        "gsm8k": gsm8k,
        "math500": partial(math500, **more),
        "math_train": partial(math_train, **more),
        "contests": contests,
        "s1": partial(s1, dump=options.dump),
    }
    for name in options.sections:
        start = time.perf_counter()
        print(f"-- {name}", flush=True)
        sections[name](options.data, must, options.workers)
        print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    sys.exit(1 if must.broken else 0)


if __name__ == "__main__":
    main()
