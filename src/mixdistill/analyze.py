"""Stage 3: how long and involved each teacher's traces are, and which of them a student may learn from.

Table `complexity` measures every trace. Table `fits` looks at the traces of training problems through the template of
each student: how many tokens a row has there, and why no arm may use it. Students of one template share its rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from mixdistill import prompts, resolve
from mixdistill.collect import TABLE as TRACES
from mixdistill.contamination import Index
from mixdistill.errors import DataError
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.tables import brief
from mixdistill.template_checks import Subject, unfit
from mixdistill.tokens import CLOSE, OPEN, Template
from mixdistill.types import Complexity, Fit, Problem, Trace, content_hash
from mixdistill.units import Done, Unit

VERSION = "3"
TABLE = "complexity"
FITS = "fits"
READS = ("id", "problem_id", "reasoning", "content", "finish_reason", "error")
"""Columns of traces that both tables follow from."""
BATCH = 256
"""Traces that are tokenised together."""


def steps(trace: Trace) -> float:
    """Reasoning steps: lines that are not blank, of the reasoning, or of the answer where nothing was thought aloud."""
    return float(sum(1 for line in (trace.reasoning or trace.content).splitlines() if line.strip()))


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per teacher."""
    metrics = {m: resolve.version(resolve.load(resolve.reference("metric", m))) for m in recipe.analyze.metrics}
    problems = {
        f"problems/{name}": store.content(store.folder("problems"), name, ["id", "prompt"])
        for name in recipe.problems.lists
    }
    models = {f"students.{name}.model": spec.model for name, spec in recipe.students.items()}
    students: dict[str, Any] = {key: resolve.model_fingerprint(model) for key, model in models.items()}
    students |= {f"students.{n}.chat_template_kwargs": s.chat_template_kwargs for n, s in recipe.students.items()}
    return [
        Unit(
            stage="analyze",
            key=(teacher,),
            options={
                "stage": VERSION,
                "tokenizer": resolve.model_fingerprint(tokenizer(recipe)),
                "chat_template_kwargs": _template_kwargs(recipe),
                "metrics": metrics,
                **students,
                "ngram": recipe.problems.decontaminate.ngram,
                **prompts.identity(recipe.problems.train.ask),
            },
            inputs={
                f"generate/{teacher}": store.content(store.folder("generate", teacher), TRACES, [*READS]),
                **problems,
            },
            given={"tokenizer": tokenizer(recipe), **models},
        )
        for teacher in recipe.teachers
    ]


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Measure one teacher's traces, and say of each what its students see of it."""
    model, folder = tokenizer(recipe), store.folder("analyze", *unit.key)
    counting, of_students = _template(recipe), templates(recipe)
    problems = store.read(store.folder("problems"), Problem, "train")
    _refuse_unfit(recipe, of_students, problems)
    distinct = {t.fingerprint: t for t in of_students.values()}
    ask = prompts.asking(recipe.problems.train.ask)
    asked = [p.model_copy(update={"prompt": ask(p.prompt)}) for p in problems]

    def traces() -> Iterator[Trace]:
        return (t for t in store.rows(store.folder("generate", *unit.key), Trace, TRACES) if t.error is None)

    seen = _read(traces(), {counting.fingerprint: counting, **distinct})
    metrics = {m: resolve.load(resolve.reference("metric", m)) for m in recipe.analyze.metrics}
    lengths = seen.tokens[counting.fingerprint]
    tables = {
        FITS: store.seal(folder, Fit, _fits(traces(), seen, asked, distinct, _evaluation(recipe, store)), FITS),
        TABLE: store.seal(
            folder, Complexity, (_measure(t, model, n, metrics) for t, n in zip(traces(), lengths, strict=True)), TABLE
        ),
    }
    facts = {
        "median_tokens": sorted(lengths)[len(lengths) // 2] if lengths else None,
        "tokenizer": model,
        "templates": {student: t.fingerprint for student, t in of_students.items()},
    }
    return Done(counts={"traces": len(lengths)}, tables=tables, facts=facts)


def _refuse_unfit(recipe: Recipe, of_students: dict[str, Template], problems: list[Problem]) -> None:
    """Raises DataError where a student's tokenizer or template cannot be used: before anything is trained."""
    for name, template in of_students.items():
        subject = Subject.of(template, resolve.model_path(recipe.students[name].model))
        if lines := unfit(subject, (p.prompt for p in problems)):
            raise DataError(f"students.{name}.model: {lines[0]}")


def tokenizer(recipe: Recipe) -> str:
    """The model whose tokenizer counts: the recipe's, else the first student's."""
    return recipe.analyze.tokenizer or next(iter(recipe.students.values())).model


def templates(recipe: Recipe) -> dict[str, Template]:
    """Student -> its template."""
    return {
        name: Template.load(resolve.model_path(s.model), chat_template_kwargs=s.chat_template_kwargs)
        for name, s in recipe.students.items()
    }


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


def _measure(trace: Trace, model: str, tokens: int, metrics: dict[str, Any]) -> Complexity:
    values: dict[str, float | None] = {"tokens": float(tokens)}
    values |= {name.rpartition(":")[2]: metric(trace) for name, metric in metrics.items()}
    return Complexity(trace_id=trace.id, tokenizer=model, metrics=values)


# -- what the students see --------------------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """What one pass over the traces leaves: numbers alone, however long the texts are."""

    tokens: dict[str, array[int]]
    """Fingerprint of a template -> tokens of every trace as it writes it, stop token included."""
    first: array[int]
    """Number of the first trace that says the same of the same problem; of most its own."""
    ids: list[str]
    """Of the traces, in order."""


def _read(traces: Iterable[Trace], distinct: dict[str, Template]) -> _Seen:
    seen = _Seen({name: array("q") for name in distinct}, array("q"), [])
    known: dict[int, int] = {}
    traces = iter(traces)
    while batch := list(islice(traces, BATCH)):
        for name, template in distinct.items():
            seen.tokens[name].extend(template.counts([(t.reasoning, t.content) for t in batch]))
        for trace in batch:
            seen.first.append(known.setdefault(_said(trace), len(seen.ids)))
            seen.ids.append(trace.id)
    return seen


def _said(trace: Trace) -> int:
    """Hash of what a trace says, white space aside, and whether it came to an end."""
    texts = (" ".join(text.split()) for text in (trace.reasoning, trace.content))
    return int(content_hash(trace.problem_id, *texts, str(trace.finish_reason == "stop")), 16)


def _fits(
    traces: Iterable[Trace], seen: _Seen, problems: list[Problem], distinct: dict[str, Template], evaluation: Index
) -> Iterator[Fit]:
    """A row per trace of one of the problems and per template."""
    sizes = {name: {p.id: len(template.prompt_ids(p.prompt)) for p in problems} for name, template in distinct.items()}
    asked = {p.id for p in problems}
    for n, trace in enumerate(traces):
        if trace.problem_id not in asked:
            continue  # bought when the study asked for more problems
        left_out = _in_evaluation(trace, evaluation) or _repeated(seen, n) or (None, "")
        for name, template in distinct.items():
            reason, detail = _misfit(trace, template) or left_out
            yield Fit(
                trace_id=trace.id,
                problem_id=trace.problem_id,
                template=name,
                prompt_tokens=sizes[name][trace.problem_id],
                loss_tokens=seen.tokens[name][n],
                reason=reason,
                detail=detail,
            )


def _misfit(trace: Trace, template: Template) -> tuple[str, str] | None:
    """(reason, what was found) of a trace that a student of this template must not learn from."""
    if trace.finish_reason != "stop":
        return "unfinished", trace.finish_reason  # it would teach the student not to stop
    for text in (trace.reasoning, trace.content):
        if special := template.special_in(text):
            return "special_token", special
        if unknown := template.unknown_in(text):
            return "unknown", unknown
    for tag in (OPEN.strip(), CLOSE.strip()):
        if tag in trace.reasoning or tag in trace.content:
            return "think_tag", tag  # it would be split at the wrong place when the student writes it
    return None


def _evaluation(recipe: Recipe, store: Store) -> Index:
    """The prompts of every list that students are examined on."""
    lists = {n: store.rows(store.folder("problems"), Problem, n) for n in recipe.problems.lists if n != "train"}
    texts = ((f"{name}, problem {p.id}", p.prompt) for name, rows in lists.items() for p in rows)
    return Index(texts, recipe.problems.decontaminate)


def _in_evaluation(trace: Trace, evaluation: Index) -> tuple[str, str] | None:
    match = evaluation.find(f"{trace.reasoning}\n{trace.content}")
    return match and ("in_evaluation", f"shares with {match.where}: {brief(match.text)}")


def _repeated(seen: _Seen, n: int) -> tuple[str, str] | None:
    first = seen.first[n]
    return None if first == n else ("duplicate", f"of trace {seen.ids[first]}")
