"""Stage 3: how long and involved each teacher's traces are."""

from __future__ import annotations

from typing import Any

from mixdistill import resolve
from mixdistill.collect import TABLE as TRACES
from mixdistill.errors import DataError
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.types import Complexity, Trace
from mixdistill.units import Done, Unit

VERSION = "1"
TABLE = "complexity"


def steps(trace: Trace) -> float:
    """Reasoning steps: lines that are not blank, of the reasoning, or of the answer where nothing was thought aloud."""
    return float(sum(1 for line in (trace.reasoning or trace.content).splitlines() if line.strip()))


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per teacher."""
    columns = ["id", "reasoning", "content", "error"]
    metrics = {m: resolve.version(resolve.load(resolve.reference("metric", m))) for m in recipe.analyze.metrics}
    return [
        Unit(
            stage="analyze",
            key=(teacher,),
            options={
                "stage": VERSION,
                "tokenizer": resolve.model_fingerprint(tokenizer(recipe)),
                "chat_template_kwargs": _template_kwargs(recipe),
                "metrics": metrics,
            },
            inputs={f"generate/{teacher}": store.content(store.folder("generate", teacher), TRACES, columns)},
            given={"tokenizer": tokenizer(recipe)},
        )
        for teacher in recipe.teachers
    ]


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Measure one teacher's traces."""
    model = tokenizer(recipe)
    template = _template(recipe)
    metrics = {m: resolve.load(resolve.reference("metric", m)) for m in recipe.analyze.metrics}
    traces = store.rows(store.folder("generate", *unit.key), Trace, TRACES)
    rows = [_measure(t, model, template, metrics) for t in traces if t.error is None]
    table = store.seal(store.folder("analyze", *unit.key), Complexity, rows, TABLE)
    tokens = sorted(r.metrics["tokens"] or 0 for r in rows)
    facts = {"median_tokens": tokens[len(tokens) // 2] if tokens else None, "tokenizer": model}
    return Done(counts={"traces": len(rows)}, tables={TABLE: table}, facts=facts)


def tokenizer(recipe: Recipe) -> str:
    """The model whose tokenizer counts: the recipe's, else the first student's."""
    return recipe.analyze.tokenizer or next(iter(recipe.students.values())).model


def _template_kwargs(recipe: Recipe) -> dict[str, Any]:
    """Those of the student whose tokenizer counts; none for another model's."""
    model = tokenizer(recipe)
    return next((s.chat_template_kwargs for s in recipe.students.values() if s.model == model), {})


def _template(recipe: Recipe) -> Template:
    model = tokenizer(recipe)
    try:
        return Template.load(resolve.model_path(model), chat_template_kwargs=_template_kwargs(recipe))
    except DataError as e:
        if any(s.model == model for s in recipe.students.values()):
            raise
        what = str(e).partition("; ")[0]
        raise DataError(f"analyze.tokenizer: {what}; name a chat model, or leave it out for the first student's") from e


def _measure(trace: Trace, model: str, template: Template, metrics: dict[str, Any]) -> Complexity:
    values: dict[str, float | None] = {"tokens": float(template.count(trace.reasoning, trace.content))}
    values |= {name.rpartition(":")[2]: metric(trace) for name, metric in metrics.items()}
    return Complexity(trace_id=trace.id, tokenizer=model, metrics=values)
