"""How many GPUs a unit of work takes, and the key of the recipe that says so.

A training takes one for each of its processes; a model that vLLM samples, as many as it is spread over. A worker that
does both, or asks a judge as well, has as many as the largest of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from mixdistill import asking, resolve
from mixdistill.errors import RecipeError
from mixdistill.recipe import Recipe
from mixdistill.sections import Serve
from mixdistill.units import Unit

PROCESSES = "train.num_processes"
TENSOR, LENGTH = "tensor_parallel_size", "max_model_len"
"""vLLM's names for how many GPUs a model is spread over, and for its context."""
ENGINE = "engine"
"""Option of the backend `vllm`: arguments that go to vLLM as they are, over those of the same name beside it."""


class Wanted(NamedTuple):
    """GPUs that are wanted, and the key that says so."""

    gpus: int
    key: str


def wanted(recipe: Recipe, stage: str, key: Sequence[str]) -> Wanted:
    """What a unit of a stage takes; `key` is its folder below the stage's, and of `ship` says what is done."""
    part = key[-1] if stage == "ship" else stage
    found = [Wanted(1, TENSOR)]
    if part == "generate":
        teacher = recipe.teachers[key[0]]
        found.append(_of_model(f"teachers.{key[0]}", teacher.serve, teacher.options))
    elif part == "verify":
        found += _judges(recipe)
    elif part in ("tune", "train"):
        settings = recipe.train_of(key[0], key[1])
        found.append(Wanted(settings.num_processes, PROCESSES))
        if recipe.problems.dev and (part == "tune" or settings.dev_checkpoints):
            found += [_student(recipe, key[0]), *_judges(recipe)]
    elif part == "evaluate":
        found += [_student(recipe, key[0]), *_judges(recipe.on(key[-1]))]
    elif part == "gate":
        found += [_student(recipe, key[0]), *_judges(recipe)]
    return max(found, key=lambda one: one.gpus)


def most(recipe: Recipe, units: Iterable[Unit]) -> Wanted:
    """What the unit among them takes that takes most."""
    return max((wanted(recipe, unit.stage, unit.key) for unit in units), key=lambda one: one.gpus)


def groups(recipe: Recipe, units: Sequence[Unit]) -> Iterator[tuple[Wanted, list[Unit]]]:
    """Units of one stage that take as many each, those that take most first. Teachers are not parted: they are few, and
    none behind an endpoint is to wait for those on GPUs."""
    if units and units[0].stage == "generate":
        yield most(recipe, units), list(units)
        return
    found: dict[int, tuple[Wanted, list[Unit]]] = {}
    for unit in units:
        takes = wanted(recipe, unit.stage, unit.key)
        found.setdefault(takes.gpus, (takes, []))[1].append(unit)
    yield from (found[gpus] for gpus in sorted(found, reverse=True))


def context(serve: Serve | None, options: dict[str, Any]) -> int | None:
    """Most tokens of prompt and completion together that a model's engine or server is started for; None where the
    recipe does not say."""
    if serve is not None:
        return serve.max_model_len
    return _whole(*_said(LENGTH, options))


def findings(where: str, backend: str, options: dict[str, Any]) -> list[str]:
    """Findings about the options that are read here; what comes out of a variable that is not set is not known yet."""
    lines = []
    for name in (TENSOR, LENGTH) if backend == "vllm" else (TENSOR,):
        key, given = _said(name, options)
        try:
            if not resolve.unset(given):
                _whole(key, given)
        except RecipeError as e:
            lines.append(f"{where}.{e}")
    return lines


def _student(recipe: Recipe, name: str) -> Wanted:
    student = recipe.students[name]
    below = "" if student.serve else ".backend_options"
    return _of_model(f"students.{name}{below}", student.serve, student.backend_options)


def _judges(recipe: Recipe) -> Iterator[Wanted]:
    """The verifiers of its chain that ask a model."""
    for link in recipe.verify.chain:
        if asking.asks(link.name):
            yield _of_model(asking.key_of(recipe, link), None, asking.made(link).options)


def _of_model(where: str, serve: Serve | None, options: dict[str, Any]) -> Wanted:
    """What a model takes while it is sampled."""
    if serve is not None:
        return Wanted(serve.tensor_parallel_size, f"{where}.serve.{TENSOR}")
    key, given = _said(TENSOR, options)
    return Wanted(_whole(key, given) or 1, f"{where}.{key}")


def _said(name: str, options: dict[str, Any]) -> tuple[str, Any]:
    """(key, value) of an option as vLLM is told it; None where it is not."""
    engine = options.get(ENGINE)
    if isinstance(engine, dict) and name in engine:
        return f"{ENGINE}.{name}", engine[name]
    return name, options.get(name)


def _whole(key: str, given: Any) -> int | None:
    """The number that stands there, or in the environment; None for nothing. Raises RecipeError, which names no value
    of the environment."""
    text = str(resolve.from_environment(given)).strip()
    if given is None:
        return None
    if isinstance(given, bool | float) or not (text.isascii() and text.isdigit() and int(text) > 0):
        raise RecipeError(f"{key}: must be a whole number from 1 on (got {given!r}); give one, or leave it out")
    return int(text)
