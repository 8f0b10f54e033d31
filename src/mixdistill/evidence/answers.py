"""The answers of one evaluation that a recipe still asks for, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixdistill.collect import TABLE as TRACES
from mixdistill.store import Store
from mixdistill.units import Unit

if TYPE_CHECKING:
    import polars as pl


def answers(store: Store, unit: Unit, *columns: str) -> pl.DataFrame:
    """id, problem_id and these columns of the traces that an evaluation wants. Those of an earlier, larger recipe are
    kept in its folder, and count no longer."""
    import polars as pl

    folder = store.folder("evaluate", *unit.key)
    traces = store.frame(folder, TRACES, ["id", "problem_id", "sample", *columns])
    wanted = (pl.col("sample") < unit.wanted.samples) & pl.col("problem_id").is_in(unit.wanted.problems)
    return traces.filter(wanted).drop("sample")
