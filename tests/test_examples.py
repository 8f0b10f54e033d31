"""Examples are run, and say what the package says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mixdistill import pipeline
from mixdistill.progress import Log
from mixdistill.recipe import load
from mixdistill.store import Store
from mixdistill.types import Score

ROOT = Path(__file__).parent.parent


def example(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("arm", "long"), [("long", 1.0), ("mix-long", 0.2)])
def test_the_flat_loop_gives_the_pipelines_number_for_the_same_cell(tmp_path, arm, long):
    pytest.importorskip("trl")
    small = [
        "problems.train.limit=160", "problems.eval.signs.limit=40", "problems.eval.signs.skip=500",
        "evaluate.sampling.max_tokens=320", "seeds=[0]",
        "students={xs: {model: 'lab:xs', train: {learning_rate: 2.5e-3}}}",
    ]  # fmt: skip
    recipe = load("demo-quick", small)
    pipeline.run(recipe, Store(tmp_path / "run"), watcher=Log(), workers=1)
    folder = tmp_path / "run" / "evaluate" / "xs" / arm / "0" / "signs"
    whole = next(
        s for s in Store(tmp_path / "run").read(folder, Score, "scores") if s.max_tokens is None and s.group == "all"
    )
    assert example("flat_loop").run("xs", long, 0, 160, 40, 500) == whole.accuracy
