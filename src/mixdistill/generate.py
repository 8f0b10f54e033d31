"""Stage 1: traces of every teacher. Students are sampled in the same way: `collect` with the student as author."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixdistill import prompts, resolve
from mixdistill.collect import TABLE, Buying, collect
from mixdistill.recipe import Recipe
from mixdistill.sections import Teacher
from mixdistill.spending import Amount, Purse
from mixdistill.store import Store
from mixdistill.types import Outcome, Problem, Trace, Verdict, content_hash
from mixdistill.units import STILL_CUT, Done, Extent, Unit
from mixdistill.wanted import Rule, fixed, until_correct

VERSION = "2"
LIMIT = "sampling.max_tokens"
FREE = ("scripted", "recorded", "transformers", "vllm")
"""Backends whose traces cost no money."""
HOW_MANY = frozenset({"samples", "until_correct", "max_samples", "price", "spend"})
"""Keys of a teacher that say how many of its traces are wanted, and what they may cost; never what they are."""


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per teacher."""
    problems = store.problem_ids("train")
    found = []
    for name, teacher in recipe.teachers.items():
        options, given = _options(teacher)
        found.append(
            Unit(
                stage="generate",
                key=(name,),
                options=options,
                grows=frozenset({LIMIT}),
                wanted=Extent(author(name), problems, teacher.samples, rule=_rule_hash(recipe, teacher)),
                table=TABLE,
                cost=teacher.samples,
                given=given,
            )
        )
    return found


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Ask one teacher for every trace that is wanted of it and not there yet."""
    with backend_of(recipe.teachers[unit.key[0]], store.folder("generate", *unit.key)) as backend:
        return _ask(unit, recipe, store, backend)


def _ask(unit: Unit, recipe: Recipe, store: Store, backend: Any) -> Done:
    from mixdistill.asking import asks

    name = unit.key[0]
    teacher, folder = recipe.teachers[name], store.folder("generate", name)
    asked = set(unit.wanted.problems)
    problems = [p for p in store.read(store.folder("problems"), Problem, "train") if p.id in asked]
    ask = prompts.of(teacher)
    prompts.keep(teacher, folder)
    facts: dict[str, Any] = {}
    if hasattr(backend, "join_report"):
        facts["join"] = backend.join_report(ask(p.prompt) for p in problems)
    buying = Buying(
        author=author(name),
        model=teacher.model,
        problems=problems,
        rule=rule_of(teacher),
        label=unit.label,
        error_rate=recipe.error_rate,
        sampling=teacher.sampling,
        ask=ask,
        price=teacher.price,
        purse=Purse(teacher.spend, recipe.spend, folder, _at_most(teacher), free=_free(teacher)),
    )
    if buying.rule.judges:
        table = f"judged-{_rule_hash(recipe, teacher)}"
        known = {v.trace_id: _accepts(recipe, v) for v in store.journal(folder, Verdict, table)}
        with store.appending(folder, table) as note:
            buying.judge = _judge(recipe, known, note)
            collected = collect(store, folder, backend, buying)
    else:
        if getattr(backend, "LIVE", False) and not asks(recipe.verify.chain[0].name):  # for the display
            buying.judge = _judge(recipe, {}, lambda _: None)
        collected = collect(store, folder, backend, buying)
    if isinstance(notes := getattr(backend, "notes", None), dict) and notes:
        facts["notes"] = notes
    facts |= {STILL_CUT: collected.still_cut} if collected.still_cut else {}
    return Done(counts=collected.counts, tables={TABLE: collected.table}, facts=facts, absent=collected.absent)


def rule_of(teacher: Teacher) -> Rule:
    """How many samples of a problem a teacher is asked for."""
    if teacher.until_correct is None:
        return fixed(teacher.samples)
    return until_correct(teacher.until_correct, samples=teacher.samples, max_samples=teacher.most_samples)


def _rule_hash(recipe: Recipe, teacher: Teacher) -> str:
    """What decides how many samples are wanted besides their least number: with another verifier others are right."""
    if teacher.until_correct is None:
        return ""
    from mixdistill.chain import link_options

    grading = json.dumps([link_options(recipe.verify.chain[0])[0], recipe.verify.counts], sort_keys=True, default=str)
    return content_hash(str(teacher.until_correct), str(teacher.max_samples), grading)


def author(teacher: str) -> str:
    """A teacher as the author of its traces."""
    return f"teacher/{teacher}"


def make_backend(name: str, model: str, options: dict[str, Any]) -> Any:
    """The backend a recipe names, with its options; `lab:` models become folders, `${NAME}` the environment's."""
    backend = resolve.load(resolve.reference("backend", name))
    return backend(resolve.model_path(resolve.from_environment(model)), **resolve.from_environment(options))


@contextmanager
def backend_of(teacher: Teacher, folder: Path) -> Generator[Any]:
    """A teacher's backend; where it is served, with a server for as long as this lasts, which logs to `folder`."""
    if teacher.serve is None:
        yield make_backend(teacher.backend, teacher.model, teacher.options)
        return
    from mixdistill.backends import serve

    model = resolve.model_path(resolve.from_environment(teacher.model))
    options = resolve.from_environment(teacher.options)
    with serve.backend(model, teacher.serve, sampling=teacher.sampling, folder=folder, options=options) as backend:
        yield backend


def _options(teacher: Teacher) -> tuple[dict[str, Any], dict[str, str]]:
    """(what changes a teacher's rows, files and models among it by content; these as they were given).

    A backend class names the options that only change how its rows are fetched in `NOT_IDENTITY`. The limit of tokens
    stands apart: where it is raised, only the traces that were cut are other ones.
    """
    backend = resolve.load(resolve.reference("backend", teacher.backend))
    left_out: set[str] = {*HOW_MANY, "system", "examples", "serve", *getattr(backend, "NOT_IDENTITY", frozenset())}
    plain = teacher.model_dump(mode="json", exclude_none=True, exclude=left_out)
    max_tokens = plain["sampling"].pop("max_tokens", None)
    options, given = resolve.by_content(plain)
    options["prompt"] = prompts.fingerprint(teacher)
    options |= {"serve": teacher.serve.of_rows} if teacher.serve else {}
    if teacher.backend.rpartition(":")[0].endswith(".py"):
        options["backend"] = Path(teacher.backend).name  # the version tells files of one name apart
    version = resolve.version(backend)
    return options | {LIMIT: max_tokens, "stage": VERSION, "backend_version": version}, given


def _free(teacher: Teacher) -> bool:
    """Whether nobody asks money for its traces: they stand in a file, or are made on this machine."""
    return teacher.backend in FREE or teacher.serve is not None


def _at_most(teacher: Teacher) -> Amount | None:
    """What one request may take, as far as the recipe says; None where it may take anything."""
    tokens = teacher.sampling.max_tokens
    if tokens is None:
        return None
    return Amount(cost=tokens * teacher.price.completion / 1e6 if teacher.price else 0.0, tokens=tokens)


def _judge(
    recipe: Recipe, known: dict[str, bool], note: Callable[[Verdict], object]
) -> Callable[[Problem, Trace], bool]:
    """Whether a trace is correct and ended by itself, as only such a one may be trained on; what is known is not judged
    again."""
    from mixdistill.chain import grade

    def judge(problem: Problem, trace: Trace) -> bool:
        if trace.finish_reason != "stop":
            return False
        if trace.id not in known:
            verdict = grade(recipe, [(problem, trace)])[0]
            if verdict.outcome is Outcome.ERROR:  # a verifier that failed may do better next time
                return False
            note(verdict)
            known[trace.id] = _accepts(recipe, verdict)
        return known[trace.id]

    return judge


def _accepts(recipe: Recipe, verdict: Verdict) -> bool:
    """Whether a trace is correct as far as the first verifier goes: it alone says when to stop buying."""
    from mixdistill.chain import decide

    return decide([verdict], recipe.verify.counts).outcome is Outcome.CORRECT
