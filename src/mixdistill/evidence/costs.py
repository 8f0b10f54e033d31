"""What the answers of every evaluated arm took: tokens, and time where it was measured, for 1,000 answers."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from mixdistill.evidence.answers import answers
from mixdistill.evidence.details import AnswerCost
from mixdistill.evidence.ratios import ratio
from mixdistill.evidence.readings import cell_of
from mixdistill.store import Store
from mixdistill.types import Outcome
from mixdistill.units import Unit
from mixdistill.verify import DECISIONS

if TYPE_CHECKING:
    import polars as pl

ANSWERS = 1000


def costs(store: Store, done: list[Unit]) -> list[AnswerCost]:
    """A row for every student, arm and benchmark, over its seeds, at the generation's own limit."""
    import polars as pl

    found: dict[tuple[str, str, str], list[pl.DataFrame]] = defaultdict(list)
    seeds: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for unit in done:
        student, arm, seed, benchmark = cell_of(unit.key)
        found[student, arm, benchmark].append(_measured(store, unit))
        seeds[student, arm, benchmark].update([] if seed is None else [seed])
    rows = ((key, pl.concat(tables)) for key, tables in found.items())
    return [_cost(key, measured, len(seeds[key])) for key, measured in rows if len(measured)]


def _measured(store: Store, unit: Unit) -> pl.DataFrame:
    """problem_id, tokens, correct, seconds of every answer of one evaluation; a failed request is none."""
    import polars as pl

    decisions = store.frame(store.folder("evaluate", *unit.key), DECISIONS, ["trace_id", "max_tokens", "outcome"])
    whole = decisions.filter(pl.col("max_tokens").is_null())
    traces = answers(store, unit, "usage", "seconds", "error").filter(pl.col("error").is_null())
    return (
        traces.join(whole, left_on="id", right_on="trace_id", how="left")
        .select(
            "problem_id",
            tokens=pl.col("usage").str.json_path_match("$.completion_tokens").cast(pl.Float64),
            correct=(pl.col("outcome") == Outcome.CORRECT.value).fill_null(value=False).cast(pl.Float64),
            seconds=pl.col("seconds") if _alone(store, unit) else pl.lit(None, pl.Float64),
        )
        .drop_nulls("tokens")
    )


def _alone(store: Store, unit: Unit) -> bool:
    """Whether the seconds of answers add up: a batch's are shared out among its rows, but of a server or vLLM each
    request has all of the time that it was among others."""
    facts = (store.marker(store.folder("evaluate", *unit.key)) or {}).get("facts", {})
    sampled = facts.get("sampled", [])
    return bool(sampled) and not any("sampled by" in how for how in sampled)


def _cost(key: tuple[str, str, str], measured: pl.DataFrame, seeds: int) -> AnswerCost:
    import polars as pl

    student, arm, benchmark = key
    timed = measured["seconds"].null_count() == 0
    totals = measured.group_by("problem_id", maintain_order=True).agg(
        pl.sum("tokens", "correct", "seconds"), n=pl.len()
    )
    n, correct, tokens, seconds = (totals[name].to_list() for name in ("n", "correct", "tokens", "seconds"))
    mean, interval = ratio([ANSWERS * t for t in tokens], n)
    per_correct, correct_interval = ratio(tokens, correct)
    took, took_interval = ratio([ANSWERS * s for s in seconds], n) if timed else (None, None)
    assert mean is not None
    return AnswerCost(
        student=student,
        arm=arm,
        benchmark=benchmark,
        answers=len(measured),
        problems=len(n),
        seeds=seeds,
        tokens=mean,
        interval=interval,
        tokens_per_correct=per_correct,
        correct_interval=correct_interval,
        seconds=took,
        seconds_interval=took_interval,
    )
