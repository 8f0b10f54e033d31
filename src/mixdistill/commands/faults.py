"""What would stop a run, found before it: nothing is bought, built or written, and nothing fetched but problems and
recorded traces.

Everything is looked at, whatever else is wrong: a broken source does not hide the next one. A fault is a line
*key: what (got value); what to do*.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mixdistill import asking, lock, prompts, resolve
from mixdistill.backends import adapters, endpoint
from mixdistill.collect import request_seed
from mixdistill.columns import Columns
from mixdistill.commands import trainings
from mixdistill.errors import DataError, MissingExtra, MixdistillError, said
from mixdistill.problems import key_of, load_all
from mixdistill.recipe import Recipe
from mixdistill.refusals import BOUGHT, refuse_early
from mixdistill.sections import Problems, Source, Student, Teacher
from mixdistill.store import Store
from mixdistill.template_checks import Subject, unfit
from mixdistill.tokens import Template
from mixdistill.types import Completion, Problem, Request, Unused, prompt_text

FREE = ("scripted", "recorded")
"""Backends whose traces cost nothing, so that a few may be looked at."""
LOADING = ("transformers", "vllm")
"""Backends that load their model on this machine."""
PEEK = 50
"""How many."""


@dataclass
class Found:
    """What there is of a study before it runs, and what would stop it."""

    problems: dict[str, list[Problem]] = field(default_factory=dict)
    """`train`, every benchmark, `dev` and `gate`; empty where a source cannot be loaded."""
    unused: list[Unused] = field(default_factory=list)
    columns: dict[str, Columns] = field(default_factory=dict)
    """`train` or benchmark -> the columns it was read from; none of the lab's."""
    joins: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Teacher of recorded traces -> how its file fits the problems, as its backend's `join_report` says."""
    asked: dict[str, list[prompts.Prompt]] = field(default_factory=dict)
    """Teacher -> every training problem as it is asked."""
    few: dict[str, list[tuple[Problem, Completion]]] = field(default_factory=dict)
    """Teacher whose traces cost nothing -> its first ones."""
    of_recipe: list[str] = field(default_factory=list)
    """Faults behind a key of the recipe."""
    of_folder: list[str] = field(default_factory=list)
    """Faults of the run folder."""


def find(recipe: Recipe, store: Store, *, limit: int | None = None) -> Found:
    """Look at the problem sources, teachers, models, environment and run folder of a valid recipe."""
    found = Found(of_recipe=variables(recipe.problems, recipe.teachers, judges(recipe), recipe.students))
    found.problems, found.unused, lines = read_problems(
        recipe.problems, limit=limit, error_rate=recipe.error_rate, chosen=found.columns.__setitem__
    )
    found.of_recipe += lines
    for name, teacher in recipe.teachers.items():
        found.of_recipe += _teacher(name, teacher, found)
    for key, judge in judges(recipe).items():
        found.of_recipe += _judge(key, judge)
    for name, student in recipe.students.items():
        found.of_recipe += _student(f"students.{name}.model", student, found.problems)
    found.of_recipe += trainings.lacking(recipe) + trainings.alike(recipe)
    if recipe.analyze.tokenizer:
        found.of_recipe += _model("analyze.tokenizer", recipe.analyze.tokenizer)
    found.of_recipe += of_verifiers(recipe)
    found.of_folder = _folder(recipe, store, compare=not found.of_recipe)
    return found


def of_models(recipe: Recipe) -> list[str]:
    """Faults of the models that a run will load: found before its first trace is bought. Asks the hub for each once."""
    named = {f"teachers.{n}.model": (t.model, {}) for n, t in recipe.teachers.items() if loaded_here(t)}
    named |= {f"{key}.model": (j.model, {}) for key, j in judges(recipe).items() if j.backend in LOADING}
    lines = without_vllm(recipe) + trainings.alike(recipe)
    for name, student in recipe.students.items():
        key = f"students.{name}.model"
        lines += _student(key, student, {}) or _unreachable(key, resolve.from_environment(student.model))
        lines += endpoint.unusable(name, student)
    for key, (model, template_kwargs) in named.items():
        given = resolve.from_environment(model)
        lines += _model(key, given, template_kwargs) or _unreachable(key, given)
    return lines


def of_verifiers(recipe: Recipe, companion: str = "unfit") -> list[str]:
    """What keeps the verifiers from their work: what a function `unfit(*, deadline, option=...)` beside one says. Or
    `caveats`: what should be known of it."""
    lines = []
    links = [
        (f"verify.{link.name}" if n else "verify", link, recipe.verify) for n, link in enumerate(recipe.verify.chain)
    ]
    for name, benchmark in recipe.problems.eval.items():
        if benchmark.verify:
            links.append((f"problems.eval.{name}.verify", benchmark.verify.chain[0], benchmark.verify))
    for where, link, verify in links:
        verifier = resolve.load(resolve.reference("verifier", link.name))
        tell = getattr(sys.modules[verifier.__module__], companion, None)
        if tell is not None:
            given = {"deadline": verify.deadline, **link.options}
            lines += [f"{where}.{line}" for line in tell(**{k: v for k, v in given.items() if resolve.takes(tell, k)})]
    return lines


def _unreachable(key: str, model: str) -> list[str]:
    """A model that is neither here nor to be had from the hub."""
    if resolve.folder_of(model) is not None or model.startswith("lab:"):
        return []
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(model, "config.json", etag_timeout=10)
    except Exception as e:  # no network, no such model, no permission
        return [
            f"{key}: not on this machine, and not to be had from the hub (got '{model}': {said(e)}); check the name"
        ]
    return []


# -- problems ---------------------------------------------------------------------------------------------------------


def read_problems(
    spec: Problems,
    *,
    limit: int | None,
    error_rate: float,
    chosen: Callable[[str, Columns], object] | None = None,
) -> tuple[dict[str, list[Problem]], list[Unused], list[str]]:
    """(problems, unused rows, faults) of all sources, those of which an environment variable is not set left out;
    `chosen` is told the columns of every list."""
    sources = _sources(spec)
    try:
        if not any(resolve.unset(s.source) for s in sources.values()):
            return *load_all(spec, limit=limit, error_rate=error_rate, chosen=chosen), []
    except MixdistillError as e:
        whole = str(e)
    else:
        whole = ""
    ready = {key: s for key, s in sources.items() if not resolve.unset(s.source)}
    lines = [line for key, source in ready.items() for line in _alone(key, source, error_rate)]
    return {}, [], lines or ([_keyed("problems", whole)] if whole else [])


def _sources(spec: Problems) -> dict[str, Source]:
    return {key_of(name): source for name, source in spec.lists.items()}


def _alone(key: str, source: Source, error_rate: float) -> list[str]:
    try:
        load_all(Problems.model_construct(train=source, eval={}), error_rate=error_rate)
    except MixdistillError as e:
        return [_keyed(key, str(e).replace("problems.train", key))]
    return []


def _keyed(key: str, line: str) -> str:
    """A fault with its key before it, once."""
    return line if line.startswith(key) else f"{key}: {line.removeprefix('problems: ')}"


def in_raw_problems(raw: Any) -> list[str]:
    """Faults of the problem sources of a recipe that is not valid, where at least that section is."""
    try:
        spec = Problems.model_validate(raw)
    except ValidationError:
        return []
    error_rate = Recipe.model_fields["error_rate"].default
    return variables(spec, {}) + read_problems(spec, limit=None, error_rate=error_rate)[2]


# -- teachers and models ----------------------------------------------------------------------------------------------


def _teacher(name: str, spec: Teacher, found: Found) -> list[str]:
    where = f"teachers.{name}"
    if resolve.unset(_substituted(spec)):
        return []  # said already, and nothing can be read
    if loaded_here(spec) or spec.model.startswith("lab:"):
        lines = _model(f"{where}.model", resolve.from_environment(spec.model))
        if lines:
            return lines
    if spec.serve is not None:
        return []  # its backend is made when the server is there
    train = found.problems.get("train", [])
    try:
        ask = prompts.of(spec)
        asked = [ask(p.prompt) for p in train]  # all of them: a template may fail for the last one alone
    except MixdistillError as e:
        return [f"{where}.prompt: {e}"]
    found.asked[name] = asked
    try:
        backend = _backend(spec)
        if hasattr(backend, "join_report"):
            join = backend.join_report(asked)
            if train and not join["matched"]:
                return [f"{where}: {_no_join(join, train)}"]
            found.joins[name] = join
        if spec.backend in FREE and train:
            return _peek(name, spec, backend, found)
    except MixdistillError as e:
        return [f"{where}: {e}"]
    except Exception as e:  # a user's backend may raise anything
        return [
            f"{where}: '{spec.backend}' cannot be used with these options ({said(e, 160)}); mend them, or the backend"
        ]
    return []


def _substituted(spec: Teacher) -> list[Any]:
    """What of a teacher may name environment variables."""
    return [spec.model, spec.prompt, spec.examples, spec.options]


def judges(recipe: Recipe) -> dict[str, Any]:
    """Key in the recipe -> verifier, of those that ask a model."""
    return {asking.key_of(recipe, link): asking.made(link) for link in recipe.verify.chain if asking.asks(link.name)}


def _judge(key: str, judge: Any) -> list[str]:
    """Faults of a verifier's model and backend."""
    if resolve.unset([judge.model, judge.options]):
        return []  # said already
    lines = _model(f"{key}.model", resolve.from_environment(judge.model)) if judge.backend in LOADING else []
    try:
        return lines or (_backend(judge) and [])
    except MixdistillError as e:
        return [f"{key}: {e}"]
    except Exception as e:  # a user's backend may raise anything
        return [
            f"{key}: '{judge.backend}' cannot be used with these options ({said(e, 160)}); mend them, or the backend"
        ]


def _backend(spec: Any) -> Any:
    """As `generate.make_backend`, but a lab model that is not there is not built."""
    model = resolve.from_environment(spec.model)
    folder = resolve.folder_of(model) if model.startswith("lab:") else None
    made = resolve.load(resolve.reference("backend", spec.backend))
    return made(str(folder or model), **resolve.from_environment(spec.options))


def vague_limits(study: Recipe) -> list[str]:
    """Limits of spending that cannot be kept to the letter: nobody knows what the next request takes."""
    lines = []
    limited = [
        (f"teachers.{n}", t, t.spend.cost or study.spend.cost, t.spend.tokens or study.spend.tokens)
        for n, t in study.teachers.items()
        if not t.serve
    ]
    limited += [(key, j, j.spend.cost, j.spend.tokens) for key, j in judges(study).items()]
    for where, asked, cost, tokens in limited:
        if asked.backend != "openai" or not (cost or tokens):
            continue
        if cost and asked.price is None:
            lines.append(
                f"{where}.price: missing, and spend.cost is set; the run stops after its first requests, "
                "unless the server says what they cost"
            )
        if asked.sampling.max_tokens is None:
            lines.append(
                f"{where}.sampling.max_tokens: missing, and spend is set; what a request may take is only "
                "guessed from those before it"
            )
    return lines


def without_vllm(recipe: Recipe) -> list[str]:
    """One line where something is sampled with vLLM and it is not installed."""
    uses = [f"teachers.{n}" for n, t in recipe.teachers.items() if t.serve or t.backend == "vllm"]
    uses += [key for key, judge in judges(recipe).items() if judge.backend == "vllm"]
    uses += [f"students.{n}" for n, s in recipe.students.items() if s.serve or s.backend == "vllm"]
    if not uses or find_spec("vllm") is not None:
        return []
    need = "needs" if len(uses) == 1 else "need"
    return [f"vllm: not installed, and {', '.join(uses)} {need} it; run: pip install 'mixdistill[vllm]'"]


def loaded_here(spec: Teacher) -> bool:
    """Whether a teacher's model is loaded on this machine."""
    return spec.backend in LOADING or spec.serve is not None


def not_joined(join: dict[str, Any]) -> list[str]:
    """Prompts that a join report names as not joined: its `examples`, or those of them."""
    examples = join.get("examples", [])
    return [*examples.get("ambiguous", []), *examples["unmatched"]] if isinstance(examples, dict) else list(examples)


def _no_join(join: dict[str, Any], train: list[Problem]) -> str:
    example = [*not_joined(join), prompt_text(train[0].prompt)][0]
    return (
        f"none of its {join['rows']:,} rows has the prompt of a problem (none for {example[:60]!r}); "
        "name the column that holds the problem as it stands, or other problems"
    )


def _peek(name: str, spec: Teacher, backend: Any, found: Found) -> list[str]:
    """Keep the first traces of a teacher whose traces cost nothing; a fault where there are none."""
    train = found.problems["train"]
    requests = [
        Request(prompt=prompt, seed=request_seed(0, p.id, 0), sampling=spec.sampling)
        for p, prompt in zip(train, found.asked[name], strict=True)
    ]
    failed: list[str] = []

    def usable() -> Iterable[tuple[Problem, Completion]]:
        for position, completion in backend.generate(requests):
            if completion is not None and completion.error is None:
                yield train[position], completion
            elif completion is not None:
                failed.append(completion.error or "")

    found.few[name] = list(islice(usable(), PEEK))
    if found.few[name]:
        return []
    why = failed[0] if failed else "it holds none"
    return [f"teachers.{name}: no trace for any of {len(train):,} problems ({why}); check its columns and the problems"]


def _model(key: str, model: str, chat_template_kwargs: dict[str, Any] | None = None) -> list[str]:
    """Faults of a model that is, or should be, on this machine. One of the hub that is not yet is none."""
    try:
        folder = resolve.folder_of(model)
        if folder is None:
            from huggingface_hub.constants import HF_HUB_OFFLINE

            lost = HF_HUB_OFFLINE and not model.startswith("lab:")
            why = f"not on this machine, and HF_HUB_OFFLINE is set (got '{model}'); give a folder, or fetch it first"
            return [f"{key}: {why}"] if lost else []
        if not Path(model).is_dir() and not (folder / "tokenizer_config.json").is_file():
            return []  # the hub's cache holds a part of it
        for what, patterns in (("config.json", ["config.json"]), ("weights", ["*.safetensors", "*.bin"])):
            if Path(model).is_dir() and not any(file for pattern in patterns for file in folder.glob(pattern)):
                return [f"{key}: no {what} in this folder (got '{model}'); give the folder of a Hugging Face model"]
        Template.load(str(folder), chat_template_kwargs=chat_template_kwargs).fingerprint  # noqa: B018 -- renders a row
    except MissingExtra:
        return []  # a warning of the plan
    except MixdistillError as e:
        return [f"{key}: {e}"]
    except Exception as e:  # tokenizers and templates fail in many ways
        return [
            f"{key}: its tokenizer or chat template cannot be used ({said(e, 160)}); give the folder of a chat model"
        ]
    return []


def _student(key: str, student: Student, problems: dict[str, list[Problem]]) -> list[str]:
    """Faults of a student's model, its tokenizer and its chat template."""
    if resolve.unset(student.model):
        return []  # said already
    model = resolve.from_environment(student.model)
    if (adapter := adapters.read(model)) is not None:
        return [
            f"{key}: a LoRA adapter and no whole model (got '{model}'); merge it into '{adapter.base}' "
            "(merge_and_unload of PEFT) and give that folder"
        ]
    lines = _model(key, model, student.chat_template_kwargs)
    folder = None if lines else resolve.folder_of(model)
    if folder is None or not (folder / "tokenizer_config.json").is_file() or find_spec("transformers") is None:
        return lines
    template = Template.load(str(folder), chat_template_kwargs=student.chat_template_kwargs)
    everywhere = (p.prompt for listed in problems.values() for p in listed)
    return [f"{key}: {line}" for line in unfit(Subject.of(template, str(folder)), everywhere)]


# -- environment and run folder ---------------------------------------------------------------------------------------


def variables(
    problems: Problems,
    teachers: dict[str, Teacher],
    judges: dict[str, Any] | None = None,
    students: dict[str, Student] | None = None,
) -> list[str]:
    """One fault for every environment variable that these name and that is not set."""
    values: dict[str, Any] = {f"{key}.source": source.source for key, source in _sources(problems).items()}
    for name, teacher in teachers.items():
        named = {"model": teacher.model, "prompt": teacher.prompt, "examples": teacher.examples, **teacher.options}
        values |= {f"teachers.{name}.{k}": v for k, v in named.items()}
    for key, judge in (judges or {}).items():
        values |= {f"{key}.{k}": v for k, v in {"model": judge.model, "prompt": judge.prompt, **judge.options}.items()}
    for name, student in (students or {}).items():
        values[f"students.{name}.model"] = student.model
        values |= {f"students.{name}.backend_options.{k}": v for k, v in student.backend_options.items()}
    keys: dict[str, list[str]] = {}
    for key, value in values.items():
        for variable in resolve.unset(value):
            keys.setdefault(variable, []).append(key)
    return [_variable(variable, found, values[found[0]]) for variable, found in keys.items()]


def _variable(name: str, keys: list[str], got: Any) -> str:
    others = len(keys) - 1
    more = f"; {others} other key{'s name' if others > 1 else ' names'} it too" if others else ""
    return f"{keys[0]}: environment variable {name} is not set (got {got!r}{more}); export {name}=..."


def standing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.exists())


def _folder(recipe: Recipe, store: Store, *, compare: bool) -> list[str]:
    """Faults of the run folder: not writable, in use, or, with `compare`, made with other settings than the recipe's;
    what was made differs from a mistake, and that would say nothing."""
    place = standing(store.root)
    if not place.is_dir():
        return [f"{store.root}: cannot be written ({place} is a file); choose another --out"]
    if not os.access(place, os.W_OK | os.X_OK):
        return [f"{store.root}: cannot be written (no permission in {place}); choose another --out"]
    if holder := lock.holder(store.root):
        return [f"{store.root}: in use by {holder}; wait for it or use --out"]
    try:
        if compare and not _needs_building(recipe):
            refuse_early(BOUGHT, recipe, store)
    except DataError:
        return []  # a file or model that is named elsewhere
    except MixdistillError as e:
        return str(e).splitlines()
    return []


def _needs_building(recipe: Recipe) -> bool:
    """Whether comparing with what was made would build a lab model, or ask for a variable that is not set."""
    named = [m.model for m in (*recipe.students.values(), *recipe.teachers.values())]
    unset = resolve.unset([*named, *(_substituted(t) for t in recipe.teachers.values())])
    return bool(unset) or any(
        resolve.from_environment(m).startswith("lab:") and resolve.folder_of(m) is None for m in named
    )
