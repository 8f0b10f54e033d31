"""A gap taken apart: how much of it comes from answers that are wrong, do not stop, are not extracted, went wrong.

Every answer is correct or failed in one way, so a gap, the difference of the shares that are correct, is the sum of the
differences of the shares that failed in each. Each is paired over problems and seeds, as the gap itself.
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING

from mixdistill.evaluate import ALL
from mixdistill.evidence import stats, verdicts
from mixdistill.evidence.answers import answers
from mixdistill.evidence.details import GapPart, Part
from mixdistill.evidence.readings import RULES, cell_of
from mixdistill.recipe import AVERAGE
from mixdistill.store import Store
from mixdistill.types import Gap, Outcome
from mixdistill.units import Unit
from mixdistill.verify import DECISIONS

if TYPE_CHECKING:
    import polars as pl

PARTS: tuple[Part, ...] = typing.get_args(Part)
SOLVED = "solved"
"""An answer that is in no part."""
Failures = dict[tuple[str, str, str, int | None], dict[Part, dict[int | None, dict[str, float]]]]
"""(student, arm, benchmark, token cap) -> part -> seed -> problem -> share of its samples that failed so."""


def parts(store: Store, done: list[Unit], gaps: list[Gap]) -> list[GapPart]:
    """The parts of every gap over all problems between arms of the declared budget, read as the reading that counts
    does; those of one gap add up to it. A gap of the average is taken apart on each of its benchmarks."""
    failed = failures(store, done)
    whole = [gap for gap in gaps if gap.group == ALL and not gap.variant and gap.benchmark != AVERAGE]
    return [row for gap in whole for row in _taken_apart(gap, failed)]


def failures(store: Store, done: list[Unit]) -> Failures:
    """How the answers of every evaluation failed, at every cap."""
    found: Failures = {}
    for unit in done:
        student, arm, seed, benchmark = cell_of(unit.key)
        for cap, kinds in _kinds(store, unit).items():
            into = found.setdefault((student, arm, benchmark, cap), {part: {} for part in PARTS})
            for part in PARTS:
                into[part][seed] = dict(kinds.select("problem_id", part).iter_rows())
    return found


def _kinds(store: Store, unit: Unit) -> dict[int | None, pl.DataFrame]:
    """Token cap -> a row per problem: the share of its samples in each part. What has no decision is an error."""
    import polars as pl

    traces = answers(store, unit)
    columns = ["trace_id", "max_tokens", "outcome", *RULES]
    decisions = store.frame(store.folder("evaluate", *unit.key), DECISIONS, columns)
    found = {}
    for cap in {None, *decisions["max_tokens"].to_list()}:
        at = decisions.filter(pl.col("max_tokens").eq_missing(cap))
        rows = traces.join(at, left_on="id", right_on="trace_id", how="left")
        shares = ((pl.col("kind") == part).mean().alias(part) for part in PARTS)
        found[cap] = rows.with_columns(_kind().alias("kind")).group_by("problem_id").agg(*shares)
    return found


def _kind() -> pl.Expr:
    """The part that a decision falls into. A right answer that only another reading accepts is there, and so is not
    extracted; but where the limit came first, what is missing under the reading that counts is the end."""
    import polars as pl

    outcome = pl.col("outcome")
    right_elsewhere = pl.any_horizontal(pl.col(rule) == Outcome.CORRECT.value for rule in RULES)
    kinds: list[tuple[pl.Expr, str]] = [
        (outcome.is_null() | (outcome == Outcome.ERROR.value), "error"),
        (outcome == Outcome.CORRECT.value, SOLVED),
        (outcome == Outcome.TRUNCATED.value, "does not stop"),
        ((outcome == Outcome.NO_ANSWER.value) | right_elsewhere, "not extracted"),
    ]
    found = pl.lit("cannot solve")
    for condition, kind in reversed(kinds):
        found = pl.when(condition).then(pl.lit(kind)).otherwise(found)
    return found


def _taken_apart(gap: Gap, failed: Failures) -> list[GapPart]:
    import numpy as np

    a, b = (failed[gap.student, arm, gap.benchmark, gap.max_tokens] for arm in gap.arms)
    differences = {part: stats.paired(b[part], a[part]) for part in PARTS}
    whole = np.sum([*differences.values()], axis=0)
    side = _side(stats.gap(whole)) if whole.shape[1] >= verdicts.FEWEST else 0
    found = []
    for part, d in differences.items():
        e = stats.gap(d)
        found.append(
            GapPart(
                name=gap.name,
                student=gap.student,
                benchmark=gap.benchmark,
                arms=gap.arms,
                max_tokens=gap.max_tokens,
                part=part,
                delta=e.delta,
                rates=(_rate(a[part], b[part]), _rate(b[part], a[part])),
                checkpoints=e.checkpoints,
                data=e.data,
                most=side != 0 and _side(stats.gap(2 * d - whole)) == side,
                seeds=e.seeds,
                problems=e.problems,
            )
        )
    return found


def _side(estimate: stats.Estimate) -> int:
    """1 or -1 where the interval lies on one side of zero: this data, with a single seed these checkpoints; else 0."""
    interval = estimate.data or estimate.checkpoints
    return 0 if interval is None or interval.low <= 0 <= interval.high else 1 if interval.low > 0 else -1


def _rate(mine: stats.Scores, other: stats.Scores) -> float:
    """Mean over the seeds that both arms have; the untuned student is held against every one."""
    seeds = set(mine) if None in mine or None in other else set(mine) & set(other)
    values = [v for seed in seeds for v in mine[seed].values()]
    return sum(values) / len(values)
