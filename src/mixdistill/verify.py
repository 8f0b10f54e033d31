"""Stage 2: verdicts over teachers' traces. Failed requests are not judged: no verifier ever sees an error.

A verifier is a function `(problem, trace, *, option=...) -> Verdict`; its keyword-only parameters are the options that
the recipe may set. Its module may have `VERSION` (a change of it grades again; else a hash of the file is compared) and
`gold(problem, *, option=...) -> str`, the text of a right answer, by which `check --gold` finds what it rejects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill import resolve
from mixdistill.collect import TABLE as TRACES
from mixdistill.errors import StageError
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.units import Done, Unit

if TYPE_CHECKING:
    import polars as pl

VERSION = "1"
TABLE = "verdicts"
DECISIONS = "decisions"
AT_ONCE = 4096
"""Traces that are in memory together."""
READS = ["id", "problem_id", "reasoning", "content", "finish_reason", "error"]


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per teacher."""
    problems = store.content(store.folder("problems"), "train", ["id", "answer"])
    options, given = grading_options(recipe)
    return [
        Unit(
            stage="verify",
            key=(teacher,),
            options={**options, "samples": recipe.teachers[teacher].most_samples},
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
    traces = store.rows(store.folder("generate", *unit.key), Trace, TRACES)
    asked = (t for t in traces if t.error is None and t.problem_id in problems and t.sample < samples)
    verdicts: list[Verdict] = []
    while part := list(islice(asked, AT_ONCE)):
        verdicts += grade(recipe, [(problems[t.problem_id], t) for t in part])
    table = store.seal(store.folder("verify", *unit.key), Verdict, verdicts, TABLE)
    check_errors(unit.label, verdicts, recipe.error_rate)
    return Done(counts=dict(Counter(v.outcome.value for v in verdicts)), tables={TABLE: table})


def grade(recipe: Recipe, items: list[tuple[Problem, Trace]]) -> list[Verdict]:
    """One verdict per (problem, trace), in order, by the recipe's verifier in killable worker processes."""
    from mixdistill.verifiers.grading import grade as grade_in_workers

    name = recipe.verify.chain[0].name
    return grade_in_workers(
        items,
        resolve.reference("verifier", name),
        recipe.verify.chain[0].options,
        name=name,
        deadline=recipe.verify.deadline,
    )


def check_errors(label: str, verdicts: Sequence[Verdict], error_rate: float) -> None:
    """Raise StageError when the verifier itself failed on more than `error_rate` of the traces it was given."""
    failed = [v for v in verdicts if v.outcome is Outcome.ERROR]
    if len(failed) > error_rate * len(verdicts):
        raise StageError(
            f"{label}: {len(failed):,} of {len(verdicts):,} verdicts are errors, more than error_rate={error_rate:g}; "
            f"the first, of trace {failed[0].trace_id}: {failed[0].explanation}; mend the verifier, or raise "
            "verify.deadline or error_rate"
        )


def grading_options(recipe: Recipe) -> tuple[dict[str, Any], dict[str, str]]:
    """(what changes a verdict: the verifier, its version, its options, files among them by content; these as given)."""
    verifier = resolve.load(resolve.reference("verifier", recipe.verify.chain[0].name))
    said = recipe.verify.model_dump(mode="json", exclude_none=True)
    name = said.pop("verifier")
    options, given = resolve.by_content(said, "verify.")
    if name.rpartition(":")[0].endswith(".py"):
        name = Path(name).name  # the version tells files of one name apart
    return {**options, "verify.verifier": name, "verifier_version": resolve.version(verifier), "stage": VERSION}, given


def judged(store: Store, teacher: str) -> Iterator[tuple[Trace, Outcome]]:
    """A teacher's traces that have a verdict, with it, in the order of its traces."""
    verdicts = store.frame(store.folder("verify", teacher), TABLE, ["trace_id", "outcome"])
    outcomes = {trace: Outcome(outcome) for trace, outcome in verdicts.iter_rows()}
    traces = store.rows(store.folder("generate", teacher), Trace, TRACES)
    return ((t, outcomes[t.id]) for t in traces if t.id in outcomes)


def accepted(store: Store, teacher: str) -> pl.DataFrame:
    """id, problem_id, sample and finish_reason of the traces that training may use: judged correct, and ended by
    themselves.
    """
    import polars as pl

    verdicts = store.frame(store.folder("verify", teacher), TABLE, ["trace_id", "outcome"])
    correct = verdicts.filter(pl.col("outcome") == Outcome.CORRECT.value)["trace_id"].to_list()
    traces = store.frame(store.folder("generate", teacher), TRACES, ["id", "problem_id", "sample", "finish_reason"])
    return traces.filter(pl.col("id").is_in(correct) & (pl.col("finish_reason") == "stop"))
