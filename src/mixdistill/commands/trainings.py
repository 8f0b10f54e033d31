"""What `check` says of the trainings: what this machine or a model lacks for them, and unusual learning rates."""

from __future__ import annotations

from mixdistill import resolve
from mixdistill.errors import MissingExtra
from mixdistill.recipe import Recipe
from mixdistill.sections import Student, Train
from mixdistill.training import methods


def lacking(recipe: Recipe) -> list[str]:
    """What keeps the students from being trained as the recipe says, one line each."""
    lines = []
    for name, student in recipe.students.items():
        settings = recipe.train_of(name)
        try:
            lines += methods.lacking(settings) or _modules(student, settings)
        except (ImportError, MissingExtra, OSError, ValueError):
            continue  # what is not installed is a warning of the plan, and a broken model is a fault of its own
    return list(dict.fromkeys(lines))


def _modules(student: Student, settings: Train) -> list[str]:
    """Modules that are to get an adapter and are not there."""
    if settings.method == "full" or isinstance(settings.lora.target_modules, str) or resolve.unset(student.model):
        return []
    folder = resolve.folder_of(resolve.from_environment(student.model))
    missing = methods.missing_modules(methods.skeleton(str(folder)), settings.lora) if folder else None
    return [missing] if missing else []


def remarks(recipe: Recipe) -> list[str]:
    """Learning rates that belong to another way of training, one line each."""
    from mixdistill.commands import estimates  # which imports what imports this

    found = []
    for name, student in recipe.students.items():
        weights = estimates.parameters(student.model).value
        found += methods.remarks(recipe.train_of(name), int(weights) if weights else None)
    return list(dict.fromkeys(found))
