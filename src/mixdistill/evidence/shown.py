"""The students' traces for people to read: all of them as one table, and as much of it as a page may hold.

The table is written from the sealed traces a few thousand rows at a time. For the page, whole problems are chosen, with
the traces of all arms side by side, those first on which arms disagree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill.arms import called
from mixdistill.chain import DECISIONS, VERDICTS
from mixdistill.collect import TABLE as TRACES
from mixdistill.evidence.answers import answers
from mixdistill.evidence.readings import cell_of
from mixdistill.recipe import BASE, Recipe
from mixdistill.store import GROUP, Store, readable
from mixdistill.types import FinishReason, Outcome, Problem, Row, prompt_text
from mixdistill.units import Unit

if TYPE_CHECKING:
    import polars as pl

TABLE = "traces"
RAW_BYTES = 32 * 2**20
"""Most text that is offered to a page; packed it is a third to a tenth of that."""
LONGEST = 200_000
"""Characters of one text that a page holds; of a longer one its two ends."""


class ReportedTrace(Row):
    """A student's trace on a problem of a benchmark and what was said of it: a row of `report/traces.parquet`. Only
    evaluations that are whole and match the recipe; whole traces, no token cap."""

    place: int
    """Of its problem among all problems, from 1: those first on which arms disagree, as on the page."""
    benchmark: str
    problem_id: str
    level: str | None
    subject: str | None
    """Both of the problem."""
    prompt: str
    """What was asked, turns of a conversation one after the other."""
    reference: str
    """The reference answer."""
    student: str
    arm: str
    seed: int | None
    """None for `base`."""
    sample: int
    outcome: Outcome
    """What counts; `error` too where the request failed."""
    strict: Outcome | None
    """Under the strict reading."""
    answer: str | None
    """The answer that was extracted, by the verifier whose outcome counts."""
    rule: str | None
    """How it was found or judged."""
    explanation: str | None
    """One line, for people."""
    finish_reason: FinishReason
    tokens: int | None
    """Completion tokens."""
    reasoning: str
    content: str
    error: str | None
    """Why the request failed."""


@dataclass(frozen=True)
class Shown:
    """What a page may hold of the traces."""

    students: list[str]
    arms: list[str]
    """In the recipe's order, the untuned student first, under every name that it is scored under."""
    benchmarks: list[str]
    pair: tuple[str, str] | None
    """The arms of the primary contrast, (a, b); the first two where there is none."""
    problems: int
    """All that were asked, on every benchmark."""
    traces: int
    """All there are in the table."""
    lines: list[str]
    """Problems with their traces as JSON, by place; no more than `RAW_BYTES` in all."""


def write(recipe: Recipe, store: Store, folder: Path, done: list[Unit]) -> tuple[dict[str, Any], Shown]:
    """Seal the table of these evaluations in a folder. Returns (its entry for a marker, what a page may hold of it)."""
    problems = _problems(recipe, store, done)
    sealed = store.seal_frames(folder, ReportedTrace, _rows(store, done, problems), TABLE)
    arms = _arms(recipe, done)
    return sealed, Shown(
        students=list(dict.fromkeys(unit.key[0] for unit in done)),
        arms=arms,
        benchmarks=list(dict.fromkeys(unit.key[-1] for unit in done)),
        pair=_pair(recipe, arms),
        problems=len(problems),
        traces=sealed["rows"],
        lines=lines(folder / f"{TABLE}.parquet", arms),
    )


def _arms(recipe: Recipe, done: list[Unit]) -> list[str]:
    """Names of everything that was asked: ways of asking the untuned student, then the recipe's arms, then any other
    way of asking these."""
    found = dict.fromkeys(unit.key[1] for unit in done)
    bases = [name for name in found if called(name).arm == BASE]
    arms = [mode for arm in recipe.trained for mode in recipe.modes(arm) if mode in found]
    return [*dict.fromkeys([*bases, *arms, *found])]


def _pairs(recipe: Recipe) -> list[tuple[str, str]]:
    """The arms of the primary contrast."""
    primary = recipe.primary_or_first()
    return recipe.pairs(primary.contrast) if primary else []


def _pair(recipe: Recipe, arms: list[str]) -> tuple[str, str] | None:
    here = [(a, b) for a, b in _pairs(recipe) if a in arms and b in arms]
    trained = [name for name in arms if called(name).arm != BASE]
    first = (trained + arms)[:2]
    return here[0] if here else (first[0], first[1]) if len(set(first)) == 2 else None


# -- which problems come first ----------------------------------------------------------------------------------------


def _problems(recipe: Recipe, store: Store, done: list[Unit]) -> pl.DataFrame:
    """Every problem that was asked, with its place."""
    import polars as pl

    names = ("benchmark", "problem_id", "level", "subject", "prompt", "reference")
    columns = dict.fromkeys(names, pl.String)
    if not done:
        return pl.DataFrame(schema={"place": pl.Int64, **columns})
    rows = [
        (name, p.id, p.level, p.subject, prompt_text(p.prompt), p.answer)
        for name in dict.fromkeys(unit.key[-1] for unit in done)
        for p in store.rows(store.folder("problems"), Problem, name)
    ]
    asked = pl.DataFrame(rows, schema=columns, orient="row")
    apart = _apart(pl.concat(_shares(store, unit) for unit in done), _pairs(recipe))
    ranked = asked.join(apart, on=["benchmark", "problem_id"], how="inner", maintain_order="left")
    by = [pl.col("apart").round(9), pl.col("spread").round(9)]  # sums of floats depend on their order
    ranked = ranked.sort(by, descending=True, nulls_last=True, maintain_order=True)
    return ranked.drop("apart", "spread").with_row_index("place", 1).with_columns(pl.col("place").cast(pl.Int64))


def _shares(store: Store, unit: Unit) -> pl.DataFrame:
    """Problem -> share of its samples that are right, in one evaluation."""
    import polars as pl

    student, arm, _, benchmark = cell_of(unit.key)
    outcomes = _decisions(store, unit).select("id", right=(pl.col("outcome") == Outcome.CORRECT).cast(pl.Float64))
    # A request that failed has no decision; it is not right.
    right = answers(store, unit).join(outcomes, on="id", how="left").with_columns(pl.col("right").fill_null(0.0))
    return (
        right.group_by("problem_id", maintain_order=True)
        .agg(pl.col("right").mean())
        .with_columns(student=pl.lit(student), arm=pl.lit(arm), benchmark=pl.lit(benchmark))
    )


def _apart(shares: pl.DataFrame, pairs: list[tuple[str, str]]) -> pl.DataFrame:
    """Problem -> how far apart the arms of the primary contrast are on it, and all trained arms, mean over students."""
    import polars as pl

    problem = ["benchmark", "problem_id"]
    by_arm = shares.group_by("student", "arm", *problem, maintain_order=True).agg(pl.col("right").mean())
    asked = by_arm.select(problem).unique(maintain_order=True)
    trained = by_arm.filter(pl.col("arm").is_in([a for a in by_arm["arm"].unique() if called(a).arm != BASE]))
    spread = trained.group_by("student", *problem).agg(spread=pl.col("right").max() - pl.col("right").min())
    found = asked.join(spread.group_by(problem).agg(pl.col("spread").mean()), on=problem, how="left")
    apart = [_difference(by_arm, pair) for pair in pairs]
    none = pl.DataFrame(schema={**dict.fromkeys(problem, pl.String), "apart": pl.Float64})
    both = pl.concat([none, *apart])
    return found.join(both.group_by(problem).agg(pl.col("apart").max()), on=problem, how="left")


def _difference(by_arm: pl.DataFrame, pair: tuple[str, str]) -> pl.DataFrame:
    """Problem -> how far apart two arms are, whichever is ahead, mean over students."""
    import polars as pl

    key = ["student", "benchmark", "problem_id"]
    one, other = (by_arm.filter(pl.col("arm") == name).drop("arm") for name in pair)
    both = one.join(other, on=key, suffix="_other")
    apart = both.with_columns(apart=(pl.col("right") - pl.col("right_other")).abs())
    return apart.group_by(key[1:]).agg(pl.col("apart").mean())


# -- the table --------------------------------------------------------------------------------------------------------


def _decisions(store: Store, unit: Unit) -> pl.DataFrame:
    """Trace -> what counts of it, whole."""
    import polars as pl

    columns = ["trace_id", "max_tokens", "outcome", "strict"]
    rows = store.frame(store.folder(unit.stage, *unit.key), DECISIONS, columns)
    return rows.filter(pl.col("max_tokens").is_null()).select("outcome", "strict", id="trace_id")


def _said(store: Store, unit: Unit) -> pl.DataFrame:
    """Trace -> what counts of it, and how that verifier came to it whose outcome it is."""
    import polars as pl

    columns = ["trace_id", "max_tokens", "outcome", "answer", "rule", "explanation"]
    verdicts = store.frame(store.folder(unit.stage, *unit.key), VERDICTS, columns)
    verdicts = verdicts.filter(pl.col("max_tokens").is_null())
    decided = _decisions(store, unit)
    both = verdicts.join(decided, left_on="trace_id", right_on="id", suffix="_counts", maintain_order="left")
    agree = both.with_columns(other=pl.col("outcome") != pl.col("outcome_counts")).sort("other", maintain_order=True)
    reasons = agree.unique("trace_id", keep="first").select("answer", "rule", "explanation", id="trace_id")
    return decided.join(reasons, on="id", how="left")


def _rows(store: Store, done: list[Unit], problems: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The table, one evaluation after the other, in parts."""
    import polars as pl

    columns = ["id", "problem_id", "sample", "reasoning", "content", "finish_reason", "usage", "error"]
    for unit in done:
        student, arm, seed, benchmark = cell_of(unit.key)
        said, mine = _said(store, unit), problems.filter(pl.col("benchmark") == benchmark)
        for part in _parts(store.folder(unit.stage, *unit.key) / f"{TRACES}.parquet", columns):
            rows = part.filter(pl.col("sample") < unit.wanted.samples)
            rows = rows.join(mine, on="problem_id", maintain_order="left")
            rows = rows.join(said, on="id", how="left", maintain_order="left")
            yield rows.with_columns(
                student=pl.lit(student),
                arm=pl.lit(arm),
                seed=pl.lit(seed, pl.Int64),
                outcome=pl.col("outcome").fill_null(Outcome.ERROR.value),
                tokens=pl.col("usage").str.json_path_match("$.completion_tokens").cast(pl.Int64, strict=False),
            ).select(*ReportedTrace.model_fields)


def _parts(path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Columns of a sealed table, never more than `GROUP` rows at once."""
    import polars as pl

    with readable(path):
        table = pl.scan_parquet(path, glob=False).select(columns)
        count = table.select(pl.len()).collect().item()
    for start in range(0, count, GROUP):
        with readable(path):
            part = table.slice(start, GROUP).collect()
        yield part


# -- for the page -----------------------------------------------------------------------------------------------------


def lines(table: Path, arms: Sequence[str]) -> list[str]:
    """The first problems as JSON, one a line, as many as `RAW_BYTES` hold. One that alone is larger than a quarter of
    that is passed over."""
    import polars as pl

    size = pl.sum_horizontal(pl.col("reasoning", "content").str.len_bytes().clip(upper_bound=LONGEST))
    rows = pl.scan_parquet(table, glob=False)
    sizes = rows.group_by("place").agg(size.sum().alias("size")).collect(engine="streaming").sort("place")
    sizes = sizes.filter(pl.col("size") <= RAW_BYTES // 4).filter(pl.col("size").cum_sum() <= RAW_BYTES)
    chosen = rows.filter(pl.col("place").is_in(sizes["place"].to_list())).collect(engine="streaming")
    order = pl.col("arm").replace_strict(list(arms), list(range(len(arms))), return_dtype=pl.Int64)
    chosen = chosen.sort("place", "student", order, "seed", "sample", maintain_order=True)
    return [_line(part.to_dicts()) for part in chosen.partition_by("place", maintain_order=True)]


def _line(rows: list[dict[str, Any]]) -> str:
    """A problem with its traces; what is empty is left out."""
    first = rows[0]
    found = {
        **{name: first[name] for name in ("place", "benchmark", "level", "subject")},
        "id": first["problem_id"],
        "prompt": ends(first["prompt"]),
        "reference": ends(first["reference"]),
        "traces": [_trace(row) for row in rows],
    }
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _trace(row: dict[str, Any]) -> dict[str, Any]:
    plain = ("student", "arm", "seed", "sample", "outcome", "finish_reason", "tokens")
    texts = ("answer", "rule", "explanation", "reasoning", "content", "error")
    found = {name: row[name] for name in plain} | {name: ends(row[name]) for name in texts if row[name]}
    return found | ({"strict": row["strict"]} if row["strict"] not in (None, row["outcome"]) else {})


def ends(text: str) -> str | list[Any]:
    """A text; of one that is too long [its first half, how many characters were left out, its last half]."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return [text[:half], len(text) - LONGEST, text[-half:]]
