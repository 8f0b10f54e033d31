"""Two copies of one finished run, for what is said of two runs."""

import shutil
from pathlib import Path

import pytest

import tiny
from mixdistill.recipe import render
from mixdistill.store import Store

PROBLEMS = 10


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny study of two seeds with everything done but for its page."""
    model = tiny.student(tmp_path_factory.mktemp("student"))
    study = tiny.study(model, seeds=2, problems=tiny.problem_sets(24, PROBLEMS))
    store, _ = tiny.run(
        study, tmp_path_factory.mktemp("run"), "generate", "verify", "analyze", "mix", "train", "evaluate"
    )
    (store.root / "recipe.yaml").write_text(render(study))
    return store.root


@pytest.fixture
def runs(finished_run: Path, tmp_path: Path) -> tuple[Store, Store]:
    """Two copies of it: their trainings are the very same."""
    first, second = (Store(Path(shutil.copytree(finished_run, tmp_path / name))) for name in ("one", "two"))
    return first, second
