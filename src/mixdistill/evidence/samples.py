"""What the several samples of a problem say: how often answers end in a loop, avg@k and pass@k."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from mixdistill import loops
from mixdistill.evidence import stats
from mixdistill.evidence.answers import answers
from mixdistill.evidence.details import Loops, PassAt
from mixdistill.evidence.gaps import Cells
from mixdistill.evidence.passrate import pass_at_k
from mixdistill.evidence.readings import cell_of
from mixdistill.store import Store
from mixdistill.units import Unit

Key = tuple[str, str, str]
"""Student, arm, benchmark."""
BySeed = dict[int | None, dict[str, float]]
"""Seed -> problem -> a share of its samples."""


def looped(store: Store, done: list[Unit]) -> list[Loops]:
    """Of every arm on every benchmark, how many of its whole answers end in a loop."""
    found: dict[Key, BySeed] = defaultdict(dict)
    counts: dict[Key, Counter[str]] = defaultdict(Counter)
    for unit in done:
        student, arm, seed, benchmark = cell_of(unit.key)
        problem_of = dict(answers(store, unit).iter_rows())
        rows = store.frame(store.folder("evaluate", *unit.key), loops.TABLE, ["trace_id"])["trace_id"]
        there = {trace for trace in rows.to_list() if trace in problem_of}
        samples, at = Counter(problem_of.values()), Counter(problem_of[trace] for trace in there)
        found[student, arm, benchmark][seed] = {p: at[p] / n for p, n in samples.items()}
        counts[student, arm, benchmark].update(answers=len(problem_of), looped=len(there))
    return [_loops(key, by_seed, counts[key]) for key, by_seed in found.items() if counts[key]["answers"]]


def _loops(key: Key, by_seed: BySeed, counts: Mapping[str, int]) -> Loops:
    student, arm, benchmark = key
    mean = stats.mean_interval(stats.matrix(by_seed))
    return Loops(
        student=student,
        arm=arm,
        benchmark=benchmark,
        answers=counts["answers"],
        looped=counts["looped"],
        share=mean.mean,
        interval=mean.data or mean.checkpoints,
        seeds=len(by_seed),
        problems=len(next(iter(by_seed.values()))),
    )


def pass_at(done: list[Unit], correct: Cells) -> list[PassAt]:
    """avg@k (k = 1) and pass@k at 1, 2, 4, ... and all samples, of every arm that was asked more than once.

    Unbiased in each problem (Chen et al. 2021), and a mean over problems and seeds. `correct`: under the reading that
    counts; a sample without a verdict is not.
    """
    found: dict[Key, BySeed] = defaultdict(dict)
    samples: dict[Key, int] = {}
    for unit in done:
        student, arm, seed, benchmark = cell = cell_of(unit.key)
        if unit.wanted.samples > 1 and None in correct.get(cell, {}):
            found[student, arm, benchmark][seed] = correct[cell][None]
            samples[student, arm, benchmark] = unit.wanted.samples
    return [_pass_at(key, by_seed, samples[key], k) for key, by_seed in found.items() for k in _ks(samples[key])]


def _ks(n: int) -> list[int]:
    """1, 2, 4, ... and n."""
    return sorted({n, *(2**i for i in range(n.bit_length()) if 2**i <= n)})


def _pass_at(key: Key, by_seed: BySeed, n: int, k: int) -> PassAt:
    student, arm, benchmark = key
    chances = {seed: {p: pass_at_k(n, round(n * v), k) for p, v in values.items()} for seed, values in by_seed.items()}
    mean = stats.mean_interval(stats.matrix(chances))
    return PassAt(
        student=student,
        arm=arm,
        benchmark=benchmark,
        samples=n,
        k=k,
        mean=mean.mean,
        checkpoints=mean.checkpoints,
        data=mean.data,
        seeds=len(by_seed),
        problems=len(next(iter(by_seed.values()))),
    )
