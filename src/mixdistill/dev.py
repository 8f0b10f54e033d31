"""Accuracy on `problems.dev`: the problems that choices are made on and no result is reported of.

Every training is asked them at several points (`train.dev_checkpoints`), so that the gap is known over the training and
not at its end alone; with `keep: best` they choose which point is the student.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from mixdistill import prompts
from mixdistill.backends.engines import make_room
from mixdistill.chain import grading_options
from mixdistill.files import file_hash
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.students import Asked, answer, backend_options, here, sampled_with, swaps
from mixdistill.training import snapshots
from mixdistill.types import Outcome, Problem

DEV = "dev"
"""The table among the problems, and the folder of the answers below a training's."""
Cell = tuple[str, str, int]
"""(student, arm, seed)."""
Point = dict[str, int]
"""{update, correct, examples}: how the model of an update did."""


class Trial(NamedTuple):
    """What one tuning training came to."""

    value: float
    correct: int
    """0 where it diverged."""
    examples: int
    diverged: bool = False


def wanted(recipe: Recipe, student: str, arm: str) -> int:
    """At how many points a training is looked at; none without dev problems."""
    return recipe.train_of(student, arm).dev_checkpoints if recipe.problems.dev else 0


def asked_on_dev(recipe: Recipe) -> int:
    """How often a study asks each dev problem: at every point of every cell, and once in every trial."""
    cells = sum(wanted(recipe, student, arm) for student, arm, _ in recipe.cells())
    trials = len(recipe.tune.learning_rate) if recipe.tune else 0
    return cells + trials * len(recipe.students) * len(recipe.trained)


def options(recipe: Recipe, student: str, arm: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(what an accuracy on dev follows from besides weights and problems; files among it as given)."""
    grading, given = grading_options(recipe)
    return {"sampling": _sampling(recipe, student, arm), **grading}, given


def _sampling(recipe: Recipe, student: str, arm: str) -> dict[str, Any]:
    recipe = here(recipe, student)
    return {
        "sampling": recipe.evaluate.sampling.model_dump(),
        **sampled_with(recipe.students[student], swapped=swaps(recipe, student)),
        **backend_options(recipe, student),
        "tag": recipe.tag_of(arm),
        **prompts.identity(_ask(recipe)),
    }


def _ask(recipe: Recipe) -> str | None:
    """The template around a dev problem."""
    return recipe.problems.dev.ask if recipe.problems.dev else None


def content(store: Store) -> str | None:
    """Hash of the dev problems; None where they are not in the folder yet."""
    marker = store.marker(store.folder("problems"))
    return store.content(store.folder("problems"), DEV, ["id"]) if marker and DEV in marker["tables"] else None


def over(recipe: Recipe, store: Store, cell: Cell, folder: Path, end: int, label: str) -> list[Point]:
    """Ask every model that a training left in its folder, the last update's (`end`) included."""
    there = snapshots.taken(folder, end)
    return [
        score(recipe, store, cell, u, model, folder / DEV / str(u), f"{label} {DEV} at {u}")
        for u, model in there.items()
    ]


def score(recipe: Recipe, store: Store, cell: Cell, update: int, model: Path, folder: Path, label: str) -> Point:
    """Ask the model of one update every dev problem once, as it would be evaluated, at the generation's own limit.

    Traces, verdicts and decisions stay in `folder`: what is there of the same weights
    is not sampled again. Raises StageError above the recipe's error rate.
    """
    student, arm, seed = cell
    recipe = here(recipe, student)
    make_room()
    asked = Asked(
        student=student,
        model=str(model),
        author="/".join(("student", *map(str, cell), DEV, str(update))),
        folder=folder,
        label=label,
        problems=store.read(store.folder("problems"), Problem, DEV),
        k=1,
        caps=(),
        seed=seed,
        stamp=[_sampling(recipe, student, arm), seed, file_hash(model)],
        chat_template_kwargs=recipe.students[student].chat_template_kwargs,
        tag=recipe.tag_of(arm),
        ask=_ask(recipe),
        swapped=swaps(recipe, student),
    )
    answered = answer(recipe, store, asked)
    answered.judged.check_errors(label)
    store.clear_beat(label)
    outcomes = answered.outcomes(None)
    correct = sum(outcomes.get(trace.id) is Outcome.CORRECT for trace in answered.traces)
    return {"update": update, "correct": correct, "examples": len(answered.traces)}


def best(found: list[Point]) -> int:
    """The update with the highest accuracy, of equal ones the earliest."""
    return max(found, key=lambda p: (p["correct"] / max(p["examples"], 1), -p["update"]))["update"]


def trials(recipe: Recipe, store: Store, student: str, arm: str) -> dict[str, Trial | None]:
    """Unit of each tuning training of an arm -> what it came to, in the order of the recipe; None where it is not there
    yet."""
    found: dict[str, Trial | None] = {}
    for value in recipe.tune.learning_rate if recipe.tune else ():
        key = ("tune", student, arm, repr(value))
        marker = store.marker(store.folder(*key))
        facts = marker["facts"] if marker else {}
        trial = Trial(value, facts["correct"], facts["examples"], "diverged" in facts) if marker else None
        found["/".join(key)] = trial
    return found


def chosen(found: dict[str, Trial | None]) -> float:
    """The value with the highest accuracy, of equal ones the first; one that diverged is the last choice.

    All trials must be there.
    """
    there = [t for t in found.values() if t]
    return max(there, key=lambda t: (not t.diverged, t.correct / max(t.examples, 1))).value
