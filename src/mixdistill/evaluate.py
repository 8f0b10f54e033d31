"""Stage 7: every trained student, and the untuned one, on every benchmark.

Evaluation is generation with the student in the teacher's chair: the same backend, rows and verifier. Sampling and
grading are separate: another verifier or token cap re-grades what was sampled. Token caps are read off one generation
as prefixes of its tokens.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from mixdistill import forcing, loops, paraphrases, prompts, ranks, resolve
from mixdistill.arms import Called, called
from mixdistill.backends import endpoint
from mixdistill.chain import grading_options
from mixdistill.collect import TABLE as TRACES
from mixdistill.errors import StageError, StoreError
from mixdistill.recipe import BASE, Recipe
from mixdistill.store import MARKER, Store
from mixdistill.students import Asked, answer, backend_options, base_modes, engine_name, sampled_with, samples, swaps
from mixdistill.template_checks import same_template
from mixdistill.tokens import WAYS, Template, switched
from mixdistill.training.finetune import MODEL
from mixdistill.types import Looped, Outcome, Problem, Score, Trace, content_hash
from mixdistill.units import Done, Extent, Unit

VERSION = "5"
SCORES = "scores"
ALL = "all"
"""The group that is every problem."""
SUBJECT = "subject "
"""How the group of a subject begins."""


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per cell and benchmark, the untuned students first."""
    benchmarks = {name: _benchmark(store, name) for name in recipe.problems.eval}
    grading = {name: grading_options(recipe.on(name)) for name in benchmarks}
    asked = cells(recipe, store)
    found = [_unit(recipe, store, cell, name, *b, grading[name]) for cell in asked for name, b in benchmarks.items()]
    other = recipe.deciding_benchmark
    worded = paraphrases.cells(recipe)
    return found + [_unit(recipe, store, cell, other, *benchmarks[other], grading[other]) for cell in worded]


def cells(recipe: Recipe, store: Store) -> list[tuple[str, ...]]:
    """(student, name of an untuned one) or (student, arm or a mode of one, seed) of everything that is asked."""
    untuned: list[tuple[str, ...]] = [(s, base) for s in recipe.students for base in bases(recipe, store, s)]
    return untuned + [(s, mode, str(seed)) for s, arm, seed in recipe.cells() for mode in recipe.modes(arm)]


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Sample one student on one benchmark, grade the traces at every cap, count."""
    *cell, benchmark = unit.key
    ask, recipe = paraphrases.ask(recipe, cell[1], benchmark), recipe.on(benchmark)
    folder, evaluate = store.folder("evaluate", *unit.key), recipe.evaluate
    problems = store.read(store.folder("problems"), Problem, benchmark)
    weights = next(v for k, v in unit.inputs.items() if k.startswith("train/"))
    asked = Asked(
        student=cell[0],
        model=_model(recipe, store, cell),
        author=author(cell),
        folder=folder,
        label=unit.label,
        problems=problems,
        k=unit.wanted.samples,
        caps=tuple(evaluate.caps),
        seed=_seed(cell),
        stamp=[unit.options["sampling"], weights],
        chat_template_kwargs=_template_kwargs(recipe, cell),
        tag=recipe.tag_of(cell[1]),
        ask=ask,
        points=() if called(cell[1]).wording else forcing.points(evaluate),
        served_as=served_as(recipe, cell),
        swapped=swaps(recipe, cell[0]),
    )
    _refuse_other_template(store, asked, cell)
    answered = answer(recipe, store, asked)
    known = {p.id: p for p in problems}
    scores = []
    for cap in (None, *evaluate.caps):
        scores += _scores(cell, benchmark, recipe, known, answered.at(cap), answered.outcomes(cap), cap, asked.k)
    tables = {**answered.tables, SCORES: store.seal(folder, Score, scores, SCORES)}
    tables[loops.TABLE] = store.seal(folder, Looped, loops.looped(answered.traces), loops.TABLE)
    answered.judged.check_errors(unit.label)
    ranked, unranked = ranks.or_why_not(recipe, store, asked, answered, unit.options.get(ranks.OPTION, 0))
    counts = {o.value: getattr(scores[0], o.value) for o in Outcome}
    return Done(counts=counts, tables=tables | ranked, facts=answered.facts | unranked)


def author(cell: Iterable[str]) -> str:
    """A student as the author of its traces: `student/s/long/0`."""
    return "/".join(("student", *cell))


def _unit(
    recipe: Recipe,
    store: Store,
    cell: tuple[str, ...],
    benchmark: str,
    problems: tuple[str, ...],
    answers: str,
    graded: tuple[dict[str, Any], dict[str, str]],
) -> Unit:
    ask, recipe = paraphrases.ask(recipe, cell[1], benchmark), recipe.on(benchmark)
    k, early = _samples(recipe, cell), {} if called(cell[1]).wording else forcing.options(recipe)
    student, evaluate = recipe.students[cell[0]], recipe.evaluate
    untuned = _untuned(cell)
    if untuned:
        weights: str | None = resolve.model_fingerprint(student.model)
    else:
        weights = store.content(store.folder("train", *_training(cell)), MODEL, ["weights"])
    trained = "train/" + "/".join(_training(cell))
    grading, given = graded
    return Unit(
        stage="evaluate",
        key=(*cell, benchmark),
        options={
            "sampling": _sampling_options(recipe, cell) | prompts.identity(ask),
            **grading,
            "caps": list(evaluate.caps),
            **early,
            "k": k,
            "stage": VERSION,
            **ranks.options(recipe, cell, benchmark),
        },
        inputs={trained: weights, "problems": answers},
        wanted=Extent(author(cell), problems, k),
        table=TRACES,
        cost=2.0 if untuned else 1.0,
        together=engine_name(recipe, cell[0]) if swaps(recipe, cell[0]) else "",
        given=given | ({trained: student.model} if untuned else {}),
    )


def bases(recipe: Recipe, store: Store, student: str) -> list[str]:
    """Names under which an untuned student is scored: its own way, and with thinking turned the other way where its
    chat template knows that switch. Before its model is on this machine, as far as the run folder says."""
    ways = base_modes(recipe.students[student])
    if ways is None:
        names = [str(Called(BASE, mode=way)) for way in WAYS]
        return [BASE, *(name for name in names if store.folder("evaluate", student, name).is_dir())]
    return [BASE, *(str(Called(BASE, mode=way)) for way in ways)]


def _samples(recipe: Recipe, cell: Sequence[str]) -> int:
    """How often each problem is asked: in other words once."""
    return 1 if called(cell[1]).wording else samples(recipe, cell[0])


def _untuned(cell: Sequence[str]) -> bool:
    return called(cell[1]).arm == BASE


def _template_kwargs(recipe: Recipe, cell: Sequence[str]) -> dict[str, Any]:
    """What the chat template is given: the student's own, with the switch of another way of asking its base."""
    own = recipe.students[cell[0]].chat_template_kwargs
    mode = called(cell[1]).mode
    return switched(own, mode) if mode and _untuned(cell) else own


def _refuse_other_template(store: Store, asked: Asked, cell: Sequence[str]) -> None:
    """Raises StageError where a training's student would be asked with another template than it was trained with."""
    if called(cell[1]).wording:
        paraphrases.refuse_unknown(asked, Template.load(asked.model, chat_template_kwargs=asked.chat_template_kwargs))
    trained = None if _untuned(cell) else store.marker(store.folder("train", *_training(cell)))
    if trained is not None:
        now = Template.load(asked.model, chat_template_kwargs=asked.chat_template_kwargs).fingerprint
        if wrong := same_template(trained["facts"]["template"], now):
            raise StageError(f"{asked.label}: same_template: {wrong}")


def _benchmark(store: Store, name: str) -> tuple[tuple[str, ...], str]:
    """(ids of its problems, hash of what scores follow from). Ids stand for prompts and answers; scores are kept by
    level and subject too.
    """
    ids = store.problem_ids(name)
    levels = _column(store, name, "level") if ids else []
    subjects = _column(store, name, "subject") if ids else []
    follows = [part for p, level in zip(ids, levels, strict=True) for part in (p, level or "")]
    return ids, content_hash(*follows, *(s or "" for s in subjects if any(subjects)))


def _column(store: Store, name: str, column: str) -> list[str | None]:
    """A column of a benchmark's problems; empty where an earlier version did not make it."""
    folder = store.folder("problems")
    known = (store.marker(folder) or {"tables": {}})["tables"].get(name, {}).get("columns", {column: ""})
    return store.frame(folder, name, [column])[column].to_list() if column in known else []


def _sampling_options(recipe: Recipe, cell: Sequence[str]) -> dict[str, Any]:
    return {
        "sampling": recipe.evaluate.sampling.model_dump(),
        **sampled_with(recipe.students[cell[0]], swapped=swaps(recipe, cell[0])),
        **backend_options(recipe, cell[0]),
        "chat_template_kwargs": _template_kwargs(recipe, cell),
        "seed": _seed(cell),
        **({"tag": tag} if (tag := recipe.tag_of(cell[1])) else {}),
    }


def _training(cell: Iterable[str]) -> list[str]:
    """The training that a cell's model comes from."""
    student, arm, *seed = cell
    return [student, called(arm).trained, *seed]


def served_as(recipe: Recipe, cell: Sequence[str]) -> str:
    """The name of a cell's model at the endpoint that serves it; empty where none does."""
    spec = recipe.students[cell[0]]
    if spec.backend != endpoint.BACKEND:
        return ""
    student, *trained = _training(cell)
    if _untuned(cell):
        return str(resolve.from_environment(spec.served_as.get(BASE, spec.model)))
    return spec.served_as.get("/".join(trained)) or "-".join((student, *trained))


def _seed(cell: Sequence[str]) -> int:
    return 0 if _untuned(cell) else int(cell[-1])


def _model(recipe: Recipe, store: Store, cell: list[str]) -> str:
    if _untuned(cell):
        return resolve.model_path(recipe.students[cell[0]].model)
    folder = store.folder("train", *_training(cell))
    if not (folder / MODEL).is_dir():
        where = "/".join(("train", *_training(cell)))
        raise StoreError(f"{where}: its model is gone ({folder / MODEL}); delete {folder / MARKER} to train it again")
    return str(folder / MODEL)


def _scores(
    cell: list[str],
    benchmark: str,
    recipe: Recipe,
    problems: dict[str, Problem],
    traces: list[Trace],
    outcomes: dict[str, Outcome],
    cap: int | None,
    k: int,
) -> list[Score]:
    """One score over all problems, and one per level and subject where the problems have any."""
    groups: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        for group in groups_of(problems[trace.problem_id]):
            groups[group].append(trace)
    return [
        Score(
            student=cell[0],
            arm=cell[1],
            seed=None if _untuned(cell) else int(cell[2]),
            benchmark=benchmark,
            group=group,
            verifier=recipe.verify.name,
            k=k,
            max_tokens=cap,
            examples=len(members),
            finished=sum(t.finish_reason == "stop" for t in members),
            looped=sum(map(loops.is_looped, members)),
            mean_completion_tokens=_mean_tokens(members),
            # A request that failed has no verdict; it counts as an error, never as wrong.
            **_tally(outcomes.get(t.id, Outcome.ERROR) for t in members),
        )
        for group, members in sorted(groups.items(), key=lambda g: (g[0] != ALL, g[0]))
    ]


def groups_of(problem: Problem) -> list[str]:
    """Every group that a problem is in: all problems, its level, its subject."""
    level = [] if problem.level is None else [group_of(problem.level)]
    return [ALL, *level, *([] if problem.subject is None else [f"{SUBJECT}{problem.subject}"])]


def group_of(level: str) -> str:
    """The group of a level: its name, and `level all` where that is the name of another group (`level level all` where
    that is taken, and so on, so that no two share a group)."""
    return f"level {level}" if re.fullmatch(rf"(level )*({ALL}|{SUBJECT}.*)", level, re.DOTALL) else level


def _mean_tokens(traces: list[Trace]) -> float:
    """Of those that there are: a request that failed has no length."""
    there = [t.usage.completion_tokens or 0 for t in traces if t.error is None]
    return sum(there) / len(there) if there else 0.0


def _tally(outcomes: Iterable[Outcome]) -> dict[str, int]:
    counts = Counter(outcomes)
    return {o.value: counts[o] for o in Outcome}
