"""Two copies of one finished run, and ways to make one of them another run, behind the back of its markers."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

import tiny
from mixdistill.evidence import stats
from mixdistill.evidence.compare import Side, compare, side
from mixdistill.evidence.compared import Across, Compared
from mixdistill.pipeline import STAGES
from mixdistill.recipe import load, render
from mixdistill.store import Store

PROBLEMS = 10


def finished(folder: Path, **sections: Any) -> Path:
    """A tiny study of two seeds with everything done but for its page."""
    sections = {"seeds": 2, "problems": tiny.problem_sets(24, PROBLEMS), **sections}
    study = tiny.study(tiny.student(folder / "student"), **sections)
    store, _ = tiny.run(study, folder / "run", *STAGES[:-1])
    (store.root / "recipe.yaml").write_text(render(study))
    return store.root


def copies(run: Path, folder: Path) -> tuple[Store, Store]:
    """Two copies of a run: their trainings are the very same."""
    first, second = (Store(Path(shutil.copytree(run, folder / name))) for name in ("one", "two"))
    return first, second


def sides(runs: tuple[Store, Store]) -> tuple[Side, Side]:
    first, second = (opened(letter, store) for letter, store in zip("AB", runs, strict=True))
    return first, second


def opened(letter: str, store: Store) -> Side:
    return side(letter, store.root, load(store.root / "recipe.yaml", resolved=False))


def against(runs: tuple[Store, Store], *arms: str) -> Compared:
    return compare(*sides(runs), (arms[0], arms[1]) if arms else None)


def row(found: Compared, name: str, max_tokens: int | None = None) -> Across:
    (one,) = [d for d in found.differences if (d.name, d.max_tokens) == (name, max_tokens)]
    return one


def edit(store: Store, *key: str, **parts: Any) -> None:
    """Other options or facts in the markers below a folder, as if it had been made so."""
    for path in store.folder(*key).rglob("done.json"):
        marker = json.loads(path.read_text())
        for part, values in parts.items():
            marker[part] = {**marker[part], **values}
        path.write_text(json.dumps(marker))


def recipe(store: Store, **sections: Any) -> None:
    """Another recipe in a run folder; a section is merged into the one that is there."""
    path = store.root / "recipe.yaml"
    raw = yaml.safe_load(path.read_text())
    for name, section in sections.items():
        raw[name] = {**raw[name], **section} if isinstance(raw[name], dict) else section
    path.write_text(yaml.safe_dump(raw))


def otherwise_trained(store: Store) -> None:
    edit(store, "train", facts={"peak_learning_rate": 5e-3}, options={"train": {"learning_rate": 5e-3}})


def scores(store: Store, arm: str) -> Any:
    return stats.matrix(opened("A", store).scores("flexible", "t", arm, "signs", None))
