"""`recipes`: the shipped studies, to look at and to copy."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any

from mixdistill import fragments
from mixdistill.commands import costs, plan_text
from mixdistill.errors import RecipeError, StoreError, did_you_mean
from mixdistill.files import write_atomically
from mixdistill.fragments import fragment
from mixdistill.recipe import Recipe, load, shipped
from mixdistill.store import Store


def facts() -> list[dict[str, Any]]:
    """Every shipped recipe: name, description, students, teachers, arms, cells (trainings), gpu_hours (roughly, of its
    teachers, trainings and evaluations; None where that is not known)."""
    found = []
    for name in shipped():
        recipe = load(name)
        found.append(
            {
                "name": name,
                "description": recipe.description,
                "students": len(recipe.students),
                "teachers": len(recipe.teachers),
                "arms": len(recipe.arms),
                "cells": len(recipe.cells()),
                "gpu_hours": _gpu_hours(recipe),
            }
        )
    return found


def listing(width: int) -> str:
    """The shipped recipes as a table for a person, at most `width` characters wide."""
    known = facts()
    indent = max(len(r["name"]) for r in known) + 2
    lines = []
    for r in known:
        words = f"{r['description']} ({r['cells']} cells: {_of(r)})"
        wrapped = textwrap.wrap(words, max(width - indent, 20))
        lines += [f"{r['name'] if i == 0 else '':<{indent}}{line}" for i, line in enumerate(wrapped)]
    return "\n".join([*lines, "", "Read one: mixdistill recipes NAME    Copy it: mixdistill recipes NAME --to my.yaml"])


def benchmarks() -> list[dict[str, Any]]:
    """Every shipped benchmark: name, what it is, and its keys."""
    return [{"name": name, "description": _about(file), **fragment(name)} for name, file in fragments.shipped().items()]


def _about(file: Path) -> str:
    """The first sentences of a fragment's header, up to its licence."""
    head = file.read_text(encoding="utf-8").partition("\n#\n")[0]
    return " ".join(line.removeprefix("#").strip() for line in head.splitlines())


def benchmark_listing(width: int) -> str:
    """The shipped benchmarks as a table for a person, at most `width` characters wide."""
    known = benchmarks()
    indent = max(len(b["name"]) for b in known) + 2
    lines = []
    for b in known:
        wrapped = textwrap.wrap(
            f"{b['description']} ({b['source']}, verified by {b['verify']['verifier']})", width - indent
        )
        lines += [f"{b['name'] if i == 0 else '':<{indent}}{line}" for i, line in enumerate(wrapped)]
    return "\n".join([*lines, "", "Use them: problems: {eval: [gsm8k, math500]}    Read one: mixdistill recipes NAME"])


def _of(r: dict[str, Any]) -> str:
    hours = r["gpu_hours"]
    cost = f"; {plan_text.hours(hours)} GPU-hours" if hours is not None and hours >= plan_text.LITTLE else ""
    return f"{r['students']} student{'s' * (r['students'] > 1)}, {r['arms']} arms{cost}"


def _gpu_hours(recipe: Recipe) -> float | None:
    found = costs.cost(recipe, costs.known_rows(recipe), {}, Store(Path("runs") / recipe.name))
    parts = [found.teachers.value, found.training.value, found.evaluation.value]
    return None if None in parts else sum(hours or 0 for hours in parts)


def text(name: str) -> str:
    """A shipped recipe or benchmark as it stands in its file. Raises RecipeError."""
    file = fragments.shipped()[name] if name in fragments.shipped() else _file(name)
    return file.read_text(encoding="utf-8")


def copy(name: str, to: Path, force: bool) -> str:
    """Copy a recipe (shipped, or a file) to edit, named like its new file. Returns what was done."""
    source = Path(name) if Path(name).is_file() else _file(name)
    whole = source.read_text(encoding="utf-8")
    new = study_name(to, f"my-{load(source).name}")
    # Under its old name the copy would go on with the original's run folder.
    write_new(to, re.sub(r"^name:.*$", lambda _: f"name: {new}", whole, count=1, flags=re.MULTILINE), force)
    return f"Wrote {to}: a copy of {name}, named '{new}'. Edit it; then:\n{next_steps(to)}"


def next_steps(recipe: Path) -> str:
    """What to do with a recipe that was just written."""
    return f"  mixdistill check {recipe}\n  mixdistill run {recipe}"


def study_name(file: Path, otherwise: str) -> str:
    """A recipe is named like its file, which names its run folder, unless the file is just `recipe.yaml`."""
    return plain(file.stem if file.stem != "recipe" else otherwise)


def plain(text: str) -> str:
    """A text as a name in a recipe."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-_")[:64] or "study"


def write_new(path: Path, content: str, force: bool) -> None:
    """Write a file that was not there, or replace it with `force`. Raises StoreError."""
    if os.path.lexists(path) and not force:
        raise StoreError(f"{path}: is there already; choose another file, or --force to overwrite it")
    write_atomically(path, content.encode())


def _file(name: str) -> Path:
    if name not in shipped():
        raise RecipeError(f"{name}: no shipped recipe of that name{did_you_mean(name, shipped())}")
    return shipped()[name]
