"""The shipped benchmarks: fragments of a recipe, each with its source, prompt, verifier and decoding.

A benchmark is a problem source plus a verifier. `problems.eval: [gsm8k, math500]` names two shipped ones; an entry with
`benchmark: math500` takes that one's keys as defaults. They stand in `benchmarks/`, one file each, whose header says
what the benchmark is, how the field reports it, and where that stands.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill.yaml_text import parse_yaml

if TYPE_CHECKING:
    from mixdistill.sections import Source

ROWS = {
    "openai/gsm8k": {"train": 7473, "test": 1319},
    "HuggingFaceH4/MATH-500": {"test": 500},
    "nlile/hendrycks-MATH-benchmark": {"train": 12000, "test": 500},
    "open-r1/OpenR1-Math-220k": {"train": 93733},
    "math-ai/amc23": {"test": 40},
    "math-ai/aime24": {"test": 30},
    "math-ai/aime25": {"test": 30},
    "HuggingFaceH4/aime_2024": {"train": 30},
    "Hothan/OlympiadBench": {"train": 674},
    "DigitalLearningGmbH/MATH-lighteval": {"train": 7500, "test": 5000},
    "Idavidrein/gpqa": {"train": 198},
    "TIGER-Lab/MMLU-Pro": {"test": 12032},
    "google/IFEval": {"train": 541},
}
"""Rows of well-known data sets on the hub: id -> split -> how many, in the subset that is usually taken."""
OF_SOURCE = ("subset", "split")
"""Keys that speak about a fragment's own data set, and go with it."""


def shipped() -> dict[str, Path]:
    """Benchmarks that come with the package: name -> file."""
    return {p.stem: p for p in sorted((Path(__file__).parent / "benchmarks").glob("*.yaml"))}


def known_rows(source: Source) -> int | None:
    """How many problems a list has, before it is read; None where that is not known."""
    rows = ROWS.get(source.source, {}).get(source.split)
    if rows is None:
        return source.limit
    low, high = source.part or (0.0, 1.0)
    left = max(0, round(rows * (high - low)) - source.skip)
    return left if source.limit is None else min(left, source.limit)


@cache
def fragment(name: str) -> dict[str, Any]:
    """A shipped benchmark's keys, as they stand in its file."""
    file = shipped()[name]
    return parse_yaml(file.read_text(encoding="utf-8"), file.name)


def listed(given: Any) -> Any:
    """`problems.eval` as a mapping: a list names shipped benchmarks."""
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        return given
    return {name: {"benchmark": name} for name in given}


def expanded(given: Any, evaluate: Any) -> Any:
    """`problems.eval` with the keys of shipped benchmarks put in, but for what an entry or the study's `evaluate` sets.

    What is no benchmark's name, or no entry at all, is left to whoever validates it.
    """
    given, evaluate = listed(given), evaluate if isinstance(evaluate, dict) else {}
    if not isinstance(given, dict):
        return given
    return {name: _whole(entry, evaluate) for name, entry in given.items()}


def _whole(entry: Any, evaluate: dict[str, Any]) -> Any:
    name = entry.get("benchmark") if isinstance(entry, dict) else None
    if not isinstance(name, str) or name not in shipped():
        return entry
    found = {k: v for k, v in fragment(name).items() if not ("source" in entry and k in OF_SOURCE)}
    if "k" in evaluate:
        found.pop("k", None)
    own = [part for part in (evaluate.get("sampling"), entry.get("sampling")) if isinstance(part, dict)]
    sampling = {k: v for k, v in found.pop("sampling", {}).items() if not any(k in part for part in own)}
    greedy = {**sampling, **{k: v for part in own for k, v in part.items()}}.get("temperature") == 0
    if greedy:  # every sample of a problem would be the same
        found.pop("k", None)
        sampling.pop("top_p", None)
    if isinstance(entry.get("sampling", {}), dict) and (sampling or "sampling" in entry):
        found["sampling"] = {**sampling, **entry.get("sampling", {})}
        return {**found, **{k: v for k, v in entry.items() if k != "sampling"}}
    return {**found, **entry}
