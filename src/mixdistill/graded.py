"""Where the graded traces of a run are: of every teacher, and of every student on every benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mixdistill import recipe
from mixdistill.collect import TABLE as TRACES
from mixdistill.errors import RecipeError
from mixdistill.recipe import BASE, Recipe
from mixdistill.refusals import RECIPE
from mixdistill.store import Store

TRAIN = "train"


class Graded(NamedTuple):
    """The traces of one author on one set of problems."""

    author: str
    """As in `Trace`: `teacher/<name>`, `student/<student>/<arm>/<seed>`, or `student/<student>/base`."""
    arm: str
    """The author without its seed."""
    benchmark: str
    """The table of problems: of a teacher, `train`."""
    traces: Path
    """Folder with the traces."""
    verdicts: Path
    """Folder with the verdicts and decisions on them; there may be none yet."""


def tables(store: Store) -> list[Graded]:
    """All that there are: teachers, then every student's arms, the untuned student before them, in the recipe's order;
    what the recipe does not name comes last."""
    study = study_of(store)
    teachers, students, arms = (
        ([*study.teachers], [*study.students], [BASE, *study.arms]) if study else ([], [], [BASE])
    )
    taught = [p.parent for p in store.root.glob(f"generate/*/{TRACES}.parquet")]
    sampled = [p.parent for p in store.root.glob(f"evaluate/**/{TRACES}.parquet")]
    sampled = [f for f in sampled if f.parent not in sampled]  # below a student's traces lie a judge's answers

    def place(folder: Path) -> tuple[tuple[int, str], ...]:
        student, arm, *rest = folder.relative_to(store.folder("evaluate")).parts
        seed = [(int(part), "") if part.isdigit() else (0, part) for part in rest]
        return (_place(student, students), _place(arm, arms), *seed)

    found = [_taught(store, f) for f in sorted(taught, key=lambda f: _place(f.name, teachers))]
    return found + [_sampled(store, f) for f in sorted(sampled, key=place)]


def study_of(store: Store) -> Recipe | None:
    """The folder's recipe; None where it is of another version, or gone: the traces can be looked at all the same."""
    try:
        return recipe.load(store.root / RECIPE)
    except RecipeError:
        return None


def _taught(store: Store, folder: Path) -> Graded:
    author = f"teacher/{folder.name}"
    return Graded(author, author, TRAIN, folder, store.folder("verify", folder.name))


def _sampled(store: Store, folder: Path) -> Graded:
    *cell, benchmark = folder.relative_to(store.folder("evaluate")).parts
    arm = "/".join(("student", *cell[:2]))
    return Graded("/".join(("student", *cell)), arm, benchmark, folder, folder)


def _place(name: str, names: list[str]) -> tuple[int, str]:
    return (names.index(name) if name in names else len(names), name)
