"""Stage 2: verdicts over teachers' traces. Failed requests are not judged: no verifier ever sees an error.

A verifier is a function `(problem, trace, *, option=...) -> Verdict`; its keyword-only parameters are the options that
the recipe may set. Its module may have `VERSION` (a change of it grades again; else a hash of the file is compared) and
`gold(problem, *, option=...) -> str`, the text of a right answer, by which `check --gold` finds what it rejects. A
verifier that asks a model is a class instead, with `question` and `verdict` (verifiers/judge.py, asking.py).

Verifiers may stand in a chain (chain.py). Table `verdicts` holds what each says of a trace, table `decisions` what it
comes to; whoever wants to know what is right reads the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mixdistill import chain
from mixdistill.chain import DECISIONS, READS, Seen, decide, grade, grading_options
from mixdistill.chain import VERDICTS as TABLE
from mixdistill.collect import TABLE as TRACES
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Outcome, Problem, Trace
from mixdistill.units import Done, Unit

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DECISIONS", "READS", "TABLE", "accepted", "decide", "grade", "grading_options", "judged", "run", "units"]

VERSION = "2"


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per teacher."""
    problems = store.content(store.folder("problems"), "train", ["id", "answer"])
    options, given = grading_options(recipe)
    return [
        Unit(
            stage="verify",
            key=(teacher,),
            options={**options, "samples": recipe.teachers[teacher].most_samples, "stage": VERSION},
            inputs={
                "problems/train": problems,
                f"generate/{teacher}": store.content(store.folder("generate", teacher), TRACES, READS),
            },
            given=given,
        )
        for teacher in recipe.teachers
    ]


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Judge one teacher's traces; what was bought beyond the problems and samples now asked for is left alone."""
    samples = recipe.teachers[unit.key[0]].most_samples
    problems = {p.id: p for p in store.read(store.folder("problems"), Problem, "train")}

    def seen() -> Iterator[Seen]:
        for t in store.rows(store.folder("generate", *unit.key), Trace, TRACES):
            if t.error is None and t.problem_id in problems and t.sample < samples:
                yield Seen(problems[t.problem_id], t)

    found = chain.judge(recipe, store, store.folder("verify", *unit.key), unit.label, seen)
    found.check_errors(unit.label)
    return Done(counts=chain.counts_of(found.outcomes().values()), tables=found.tables, facts=found.facts())


def judged(store: Store, teacher: str) -> Iterator[tuple[Trace, Outcome]]:
    """A teacher's traces that have a verdict, with what counts, in the order of its traces."""
    decisions = store.frame(store.folder("verify", teacher), DECISIONS, ["trace_id", "outcome"])
    outcomes = {trace: Outcome(outcome) for trace, outcome in decisions.iter_rows()}
    traces = store.rows(store.folder("generate", teacher), Trace, TRACES)
    return ((t, outcomes[t.id]) for t in traces if t.id in outcomes)


def accepted(store: Store, teacher: str) -> pl.DataFrame:
    """id, problem_id, sample and finish_reason of the traces that training may use: judged correct, and ended by
    themselves.
    """
    import polars as pl

    decisions = store.frame(store.folder("verify", teacher), DECISIONS, ["trace_id", "outcome"])
    correct = decisions.filter(pl.col("outcome") == Outcome.CORRECT.value)["trace_id"].to_list()
    traces = store.frame(store.folder("generate", teacher), TRACES, ["id", "problem_id", "sample", "finish_reason"])
    return traces.filter(pl.col("id").is_in(correct) & (pl.col("finish_reason") == "stop"))
