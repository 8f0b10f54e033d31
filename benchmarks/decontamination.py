"""What decontamination removes from real data, and how fast it reads.

    python benchmarks/decontamination.py --data FOLDER [--show]

FOLDER holds `problems/` (gsm8k_train.jsonl, gsm8k_test.jsonl, math500.jsonl, math_train.json, amc23.jsonl,
aime24.jsonl) and `traces/s1_*.jsonl` (`prompt`, `output`: traces of the first 250 problems of gsm8k_test.jsonl).
Prints how many problems and traces leave by each rule (with `--show` each of them, for a person to judge), how many of
the evaluation prompts are found where they were planted, and words a second on one core, beside a plain set of all
runs of 13 words that is asked about every run of the text.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from mixdistill.contamination import Index, words
from mixdistill.problems import load
from mixdistill.sections import Decontaminate, Source

FILES = ("gsm8k_test.jsonl", "math500.jsonl", "amc23.jsonl", "aime24.jsonl", "math_train.json", "gsm8k_train.jsonl")
TRACED = 250
"""Problems at the beginning of gsm8k_test.jsonl that the traces are of."""
N = 13


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--show", action="store_true", help="every match with both texts")
    args = parser.parse_args()
    prompts = {name: _prompts(args.data / "problems" / name) for name in FILES}
    files = sorted(args.data.glob("traces/*.jsonl"))
    traces = [json.loads(line)["output"] for f in files for line in f.read_text("utf-8").splitlines()]
    tests = FILES[:4]
    for train in FILES[4:]:
        for test in tests:
            _between(train, test, prompts[train], prompts[test], args.show)
    others = [p for name, ps in prompts.items() for p in (ps[TRACED:] if name == FILES[0] else ps)]
    known = _index(others)
    found = sum(known.find(t) is not None for t in traces)
    print(f"{found} of {len(traces)} traces hold one of {len(others):,} problems that are not their own")
    _planted(prompts["math500.jsonl"], prompts["gsm8k_train.jsonl"])
    _speed([*prompts["math_train.json"], *prompts["gsm8k_train.jsonl"]][:10_000], traces)


def _prompts(path: Path) -> list[str]:
    return [str(p.prompt) for _, p in load(Source(source=str(path)), split="train").problems]


def _index(prompts: Iterable[str]) -> Index:
    return Index(((str(n), p) for n, p in enumerate(prompts)), Decontaminate(ngram=N))


def _between(train: str, test: str, mine: list[str], theirs: list[str], show: bool) -> None:
    known = _index(theirs)
    found = {"numbers": 0, "words": 0}
    for prompt in mine:
        match = known.find_same(prompt) or known.find(prompt)
        if match is None:
            continue
        found[match.how] += 1
        if show:
            print(f"  {match.how}: {prompt}\n    {theirs[int(match.where)]}")
    print(f"{train} against {test}: {found['numbers']} by numbers and {found['words']} by words, of {len(mine):,}")


def _planted(theirs: list[str], around: list[str]) -> None:
    known, rng = _index(theirs), random.Random(0)
    told = [p for p in theirs if known.find(p)]
    print(f"{len(told)} of {len(theirs)} prompts are looked for by their words; found inside a longer text:")
    for share in (0.0, 0.02, 0.05, 0.1, 0.2):
        changed = [" ".join("another" if rng.random() < share else w for w in p.split()) for p in told]
        found = sum(known.find(f"{a} {p} {a}") is not None for p, a in zip(changed, around, strict=False))
        print(f"  {share:4.0%} of the words replaced: {found / len(told):.0%}")
    other = [re.sub(r"\d+", lambda m: str(int(m[0]) + 7), p) for p in theirs]
    changed = [o for o, p in zip(other, theirs, strict=True) if o != p]
    print(f"  all numbers changed: {sum(known.find_same(o) is not None for o in changed)} of {len(changed)}")


def _speed(prompts: list[str], traces: list[str]) -> None:
    start = time.process_time()
    known = _index(prompts)
    print(f"index of {len(prompts):,} prompts: {time.process_time() - start:.1f} s")
    plain = {tuple(w[i : i + N]) for w in map(words, prompts) for i in range(len(w) - N + 1)}

    def every_run(text: str) -> bool:
        split = words(text)
        return any(tuple(split[i : i + N]) in plain for i in range(len(split) - N + 1))

    count = sum(len(words(t)) for t in traces)
    ours, theirs = (_rate(f, traces, count) for f in (known.find, every_run))
    print(f"one core: {ours / 1e6:.1f}M words/s, every run in a plain set {theirs / 1e6:.1f}M: {ours / theirs:.1f}x")


def _rate(look: Callable[[str], object], traces: list[str], count: int) -> float:
    start = time.process_time()
    for trace in traces:
        look(trace)
    return count / (time.process_time() - start)


if __name__ == "__main__":
    main()
