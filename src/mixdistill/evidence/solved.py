"""What each teacher solved, and how the problems that all of them solved become fewer and easier with each.

Whether these are easier must not be read off the samples that chose them: of one sample each, all that are left are
right by construction, however hard the problems. So every teacher is held against the problems that the *others*
solved. Where teachers find other things hard, that shows nothing; where they agree, it shows how much.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING

from mixdistill.chain import DECISIONS
from mixdistill.evidence import passrate
from mixdistill.evidence.means import of_mean
from mixdistill.evidence.rows import SharedStep
from mixdistill.evidence.stats import ALPHA, around, t_quantile, wilson
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Interval, Outcome

if TYPE_CHECKING:
    import polars as pl

_WIDTH = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Solved:
    """What one teacher made of the problems it was asked."""

    name: str
    rates: dict[str, float]
    """Problem -> estimated rate at which it is solved, 0..1; none where no sample was answered and judged."""
    tokens: dict[str, list[float]]
    """Problem -> tokens of its accepted traces, those that are correct and ended by themselves; one entry for each
    problem that was solved. Empty lists before `analyze`."""

    @property
    def pass_rate(self) -> float | None:
        """Mean of the rates over the problems asked."""
        return fmean(self.rates.values()) if self.rates else None


def judged(recipe: Recipe, store: Store) -> list[Solved]:
    """Of every teacher whose traces are judged, in the recipe's order, what it solved of the training problems."""
    asked = set(store.problem_ids("train"))
    return [
        _solved(recipe, store, name, asked)
        for name in recipe.teachers
        if store.marker(store.folder("verify", name)) and (store.folder("generate", name) / "traces.parquet").exists()
    ]


def steps(recipe: Recipe, store: Store) -> list[SharedStep]:
    """The problems that the recipe's teachers solved, adding one teacher after another; first all problems."""
    return shared(judged(recipe, store), levels_of(store))


def levels_of(store: Store) -> dict[str, str | None]:
    """Every training problem with its level."""
    return dict(store.frame(store.folder("problems"), "train", ["id", "level"]).iter_rows())


def _solved(recipe: Recipe, store: Store, name: str, asked: set[str]) -> Solved:
    import polars as pl

    teacher = recipe.teachers[name]
    right: dict[str, list[bool | None]] = defaultdict(lambda: [None] * teacher.most_samples)
    tokens: dict[str, list[float]] = {}
    lengths = _lengths(store, name)
    # The estimate of a teacher that was asked until enough were right needs what was right to whoever stopped it: the
    # first verifier alone.
    by_first = teacher.until_correct is not None and recipe.verify.counts == "judge"
    traces = _traces(store, name, asked).filter(pl.col("sample") < teacher.most_samples)
    for trace, problem, sample, finish, outcome, flexible in traces.iter_rows():
        stopping = flexible if by_first else outcome
        if stopping != Outcome.ERROR:
            right[problem][sample] = stopping == Outcome.CORRECT and finish == "stop"
        if outcome == Outcome.CORRECT and finish == "stop":
            tokens.setdefault(problem, []).extend(lengths.get(trace, ()))
    rates = {
        problem: passrate.estimate(
            each, samples=teacher.samples, until_correct=teacher.until_correct, max_samples=teacher.max_samples
        )
        for problem, each in right.items()
    }
    return Solved(name, {p: rate for p, rate in rates.items() if rate is not None}, tokens)


def _traces(store: Store, name: str, asked: set[str]) -> pl.DataFrame:
    """id, problem_id, sample, finish_reason, outcome and its flexible reading of a teacher's judged traces."""
    traces = store.frame(store.folder("generate", name), "traces", ["id", "problem_id", "sample", "finish_reason"])
    decisions = store.frame(store.folder("verify", name), DECISIONS, ["trace_id", "outcome", "flexible"])
    traces = traces.filter(traces["problem_id"].is_in(sorted(asked)))
    return traces.join(decisions, left_on="id", right_on="trace_id", how="inner")


def _lengths(store: Store, name: str) -> dict[str, tuple[float]]:
    """Trace -> its tokens, as `analyze` counted them; none before it did."""
    folder = store.folder("analyze", name)
    if store.marker(folder) is None:
        return {}
    rows = store.frame(folder, "complexity", ["trace_id", "metrics"]).iter_rows()
    return {trace: (json.loads(metrics)["tokens"],) for trace, metrics in rows}


def shared(teachers: Sequence[Solved], levels: Mapping[str, str | None]) -> list[SharedStep]:
    """All problems, then those that the first teacher solved, the first two, ...; `levels` holds every problem with
    its level. Nothing without teachers."""
    return [_step(teachers, n, levels) for n in range(len(teachers) + 1)] if teachers else []


def _step(teachers: Sequence[Solved], required: int, levels: Mapping[str, str | None]) -> SharedStep:
    left = _all_solved(levels, teachers[:required])
    there, overall, intervals = _ease(teachers, required, levels)
    counts = Counter(level for p in left if (level := levels[p]) is not None)
    known = sorted({level for level in levels.values() if level is not None})
    return SharedStep(
        teachers=[t.name for t in teachers[:required]],
        problems=len(left),
        lacking={t.name: sum(p not in t.tokens for p in levels) for t in teachers[:required]},
        pass_rate=there,
        pass_rate_overall=overall,
        easier=intervals.pop("easier", None),
        tokens={t.name: mean for t in teachers if (mean := _tokens(t, left)) is not None},
        levels={level: counts[level] / len(left) for level in known} if left else {},
        intervals=intervals | _token_intervals(teachers, left),
    )


def _token_intervals(teachers: Sequence[Solved], left: Collection[str]) -> dict[str, Interval]:
    means = {t.name: {p: [fmean(lengths)] for p in left if (lengths := t.tokens.get(p))} for t in teachers}
    return {f"tokens: {name}": found for name, each in means.items() if (found := of_mean(each))}


def _all_solved(problems: Iterable[str], teachers: Sequence[Solved]) -> set[str]:
    return {p for p in problems if all(p in t.tokens for t in teachers)}


def _tokens(teacher: Solved, problems: Collection[str]) -> float | None:
    """Mean over problems of the mean over a teacher's accepted traces."""
    means = [fmean(lengths) for p in problems if (lengths := teacher.tokens.get(p))]
    return fmean(means) if means else None


def _ease(
    teachers: Sequence[Solved], required: int, problems: Collection[str]
) -> tuple[float | None, float | None, dict[str, Interval]]:
    """(mean pass rate of a teacher on the problems that the others of the first `required` solved, that over all
    problems, 95 % intervals: of `pass_rate`, of `pass_rate_overall`, and of the difference as `easier`).

    The intervals are the normal ones of means and of a difference of ratios, problems resampled; where nothing varies
    those of unanimous problems, and none of one problem.
    """
    there, overall, counts = [], [], []
    pull_there: dict[str, float] = defaultdict(float)
    """Problem -> by how much it draws the sum of the rates off their expectation."""
    pull_overall: dict[str, float] = defaultdict(float)
    for i, t in enumerate(teachers):
        others = [u for j, u in enumerate(teachers[:required]) if j != i]
        chosen = [p for p in _all_solved(problems, others) if p in t.rates]
        if not others or not chosen:
            continue
        there.append(fmean(t.rates[p] for p in chosen))
        overall.append(fmean(t.rates.values()))
        counts.append((len(chosen), len(t.rates)))
        for p in chosen:
            pull_there[p] += (t.rates[p] - there[-1]) / len(chosen)
        for p, rate in t.rates.items():
            pull_overall[p] += (rate - overall[-1]) / len(t.rates)
    if not there:
        return None, None, {}
    means = {"pass_rate": fmean(there), "pass_rate_overall": fmean(overall), "easier": fmean(there) - fmean(overall)}
    apart = {p: pull_there[p] - pull_overall[p] for p in {**pull_overall, **pull_there}}
    pulls = {"pass_rate": pull_there, "pass_rate_overall": pull_overall, "easier": apart}
    here, asked = (min(each) for each in zip(*counts, strict=True))
    fewest = {"pass_rate": here, "pass_rate_overall": asked, "easier": here}
    intervals = {
        name: _interval(means[name], _half(pull.values(), len(there)), fewest[name], share=name != "easier")
        for name, pull in pulls.items()
        if fewest[name] > 1
    }
    return means["pass_rate"], means["pass_rate_overall"], intervals


def _interval(mean: float, half: float, problems: int, *, share: bool) -> Interval:
    """Of a share, or of a difference of shares. Where nothing varied, `half` is 0, one more problem could still have
    come out the opposite way (method.md, section 2)."""
    if half > 1e-9:
        low, high = mean - half, mean + half
        return Interval(low=max(low, 0.0), high=min(high, 1.0)) if share else Interval(low=low, high=high)
    t = t_quantile(ALPHA, problems - 1)
    return wilson(mean, 0.0, t, problems) if share else around(mean, t * 2 / (problems + 1))


def _half(pulls: Collection[float], teachers: int) -> float:
    """Half the width of the interval of a mean over so many teachers."""
    variance = sum(v * v for v in pulls) / teachers**2 * len(pulls) / max(len(pulls) - 1, 1)
    return _WIDTH * math.sqrt(variance)
