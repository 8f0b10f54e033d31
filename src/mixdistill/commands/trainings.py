"""What `check` says of the trainings: what this machine or a model lacks for them, and unusual learning rates."""

from __future__ import annotations

from mixdistill import executor, prompts, resolve, students
from mixdistill.backends.vllm import LORA_RANKS
from mixdistill.errors import DataError, MissingExtra
from mixdistill.recipe import Recipe
from mixdistill.sections import Student, Train
from mixdistill.training import methods


def lacking(recipe: Recipe) -> list[str]:
    """What keeps the students from being trained as the recipe says, one line each."""
    lines = []
    for name, student in recipe.students.items():
        settings = recipe.train_of(name)
        if students.swaps(recipe, name) and (rank := students.rank(recipe, name)) > LORA_RANKS[-1]:
            lines.append(
                f"students.{name}: vLLM swaps adapters up to rank {LORA_RANKS[-1]} (got {rank}); set "
                f"students.{name}.adapters: false, or lower train.lora.r"
            )
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


def alike(recipe: Recipe) -> list[str]:
    """Tags that are the same tokens to a student: it could not be asked for either form."""
    from mixdistill.commands import estimates  # which imports what imports this

    lines = []
    for arm, spec in recipe.arms.items():
        for name, student in recipe.students.items() if spec.tags else ():
            if resolve.unset(student.model):
                continue
            model = resolve.from_environment(student.model)
            try:
                template = estimates.template(model, student.chat_template_kwargs)
            except (MissingExtra, DataError, OSError, ValueError):
                continue  # as above
            seen: dict[tuple[int, ...], str] = {}
            for tag in spec.tags.values() if template else ():
                ids = tuple(template.prompt_ids(prompts.tagged("?", tag))) if template else ()
                if (other := seen.setdefault(ids, tag)) != tag:
                    lines.append(
                        f"arms.{arm}.tags: to students.{name} '{other}' and '{tag}' are the same tokens, and it could "
                        "not tell them apart; give texts that its tokenizer knows"
                    )
    return lines


def remarks(recipe: Recipe) -> list[str]:
    """Learning rates that belong to another way of training, one line each."""
    from mixdistill.commands import estimates  # which imports what imports this

    found = []
    for name, student in recipe.students.items():
        weights = estimates.parameters(student.model).value
        settings = recipe.train_of(name)
        found += methods.remarks(settings, int(weights) if weights else None)
        if settings.num_processes > executor.cores() and not executor.gpus():
            found.append(
                f"train.num_processes: {settings.num_processes} processes on {executor.cores()} cores take turns and "
                f"are slower for it; set {executor.cores()} or less"
            )
    return list(dict.fromkeys(found))
