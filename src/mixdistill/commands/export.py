"""`export`: an arm of a run as a data set with its card, and how other trainers reproduce its training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill import export as exports
from mixdistill.arms import BASE, called
from mixdistill.commands.complete import is_run
from mixdistill.commands.status import no_run
from mixdistill.errors import DataError, StoreError, did_you_mean
from mixdistill.export import Cell
from mixdistill.handover import cards, configurations
from mixdistill.handover.scored import scored
from mixdistill.recipe import Recipe, load
from mixdistill.refusals import RECIPE
from mixdistill.store import Store
from mixdistill.training.snapshots import MODEL

if TYPE_CHECKING:
    from rich.text import Text

ALL = "all"
REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def export(
    root: Path,
    arm: str,
    *,
    student: str | None,
    seed: int | None,
    out: Path,
    repo: str | None,
    trainers: list[str],
) -> dict[str, Any]:
    """Write it, upload it where a name on the hub is given, and say what was written. Raises the user's mistakes."""
    recipe, store = opened(root)
    cell = which(recipe, root, arm, student, seed)
    wanted = list(configurations.TRAINERS) if ALL in trainers else list(dict.fromkeys(trainers))
    for name in wanted:
        if name not in configurations.TRAINERS:
            raise DataError(f"--for {name}: no such trainer{did_you_mean(name, [*configurations.TRAINERS, ALL])}")
    if repo is not None and not REPO.fullmatch(repo):
        raise DataError(f"--push-to-hub: not the name of a data set (got '{repo}'); write owner/name")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out}: holds something already; name a folder that is new or empty with --out")
    done = exports.write(recipe, store, cell, out)
    if wanted:
        said = configurations.training(recipe, store, done)
        for name in wanted:
            configurations.TRAINERS[name](said)
    cards.write_dataset_card(recipe, store, done, wanted)
    _refresh(recipe, store, cell)
    address = exports.push(out, repo) if repo else None
    return exports.facts(done) | {"trainers": wanted, "pushed_to": address}


def opened(root: Path) -> tuple[Recipe, Store]:
    """The recipe of a run folder, and the folder. Raises StoreError for what is none."""
    if not is_run(root):
        raise no_run(root)
    return load(root / RECIPE, resolved=False), Store(root)


def which(recipe: Recipe, root: Path, arm: str, student: str | None, seed: int | None) -> Cell:
    """The training that is meant. Raises DataError where there is none of that name, or more than one."""
    name = student_of(recipe, root, student)
    trained = called(arm).trained
    if trained == BASE:
        raise DataError(f"{root}: base is not trained, so it has no data; name an arm ({', '.join(recipe.trained)})")
    if trained not in recipe.trained:
        raise DataError(f"{root}: no arm '{arm}'{did_you_mean(arm, recipe.trained)}")
    seeds = recipe.seeds_of(name)
    if seed is not None and seed not in seeds:
        raise DataError(f"{root}: no seed {seed} of {name}; known: {', '.join(map(str, seeds))}")
    return Cell(name, trained, seeds[0] if seed is None else seed)


def student_of(recipe: Recipe, root: Path, student: str | None) -> str:
    """The student that is meant, which goes without saying where there is one."""
    if student is None and len(recipe.students) > 1:
        raise DataError(f"{root}: has several students; say which with --student ({', '.join(recipe.students)})")
    if student is not None and student not in recipe.students:
        raise DataError(f"{root}: no student '{student}'{did_you_mean(student, recipe.students)}")
    return student or next(iter(recipe.students))


def _refresh(recipe: Recipe, store: Store, cell: Cell) -> None:
    """The card of the model that was trained on it, with the scores that there are by now."""
    folder = store.folder("train", *cell.key)
    marker = store.marker(folder)
    if marker and (folder / MODEL).is_dir():
        cards.write_model_card(recipe, store, cell, folder / MODEL, marker["facts"], scored(recipe, store, cell))


def text(facts: dict[str, Any], width: int) -> Text:
    """What was written, and how to go on."""
    from rich.text import Text

    page = Text()
    page.append(f"{facts['arm']}", "bold").append(f" for {facts['student']}, seed {facts['seed']}, is in ")
    page.append(f"{facts['out']}\n", "bold")
    teachers = ", ".join(f"{n:,} of {t}" for t, n in facts["by_teacher"].items())
    rows = f"{facts['rows']:,}, seen {facts['seen']:,} times in {facts['updates']:,} updates ({teachers})"
    alike, of = facts["rendered_alike"], facts["rows"]
    place = "in a field of its own" if facts["in_field"] else "within tags"
    drops = "" if alike == of else f"; the chat template changes {of - alike:,} rows, so train on the next two"
    lines = {
        "rows": rows,
        "messages": f"conversations, reasoning {place}{drops}",
        "prompt_completion": "the text that the student was trained on",
        "tokens": f"what the trainer saw, in its order: {facts['loss_tokens']:,} tokens carry loss",
        "updates": "which row each update took",
        "README.md": "the card",
    }
    for name, said in lines.items():
        page.append(f"  {name:<19}", "cyan").append(said + "\n")
    if facts["trainers"]:
        page.append("\nTrain on it again:\n")
    for name in facts["trainers"]:
        page.append(f"  {name:<19}", "cyan").append(START[name].format(out=facts["out"]) + "\n")
    if facts["pushed_to"]:
        page.append("\nOn the hub, private: ").append(facts["pushed_to"], "bold")
    page.rstrip()
    return page


START = {
    "trl": "python {out}/trl/train.py --out student",
    "llamafactory": "cd {out}/llamafactory && llamafactory-cli train train.yaml",
    "ms-swift": "sh {out}/ms-swift/train.sh",
    "axolotl": "cd {out}/axolotl && axolotl train train.yaml",
}
