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


SMALL = [
    "problems.train.limit=640",
    "problems.eval.signs.limit=100",
    "problems.eval.signs.skip=500",
    "evaluate.sampling.max_tokens=320",
    "seeds=[0]",
    "students={s: {model: 'lab:s', train: {learning_rate: 1.5e-3}}}",
    "arms={short: {short: 1}, mix-long: {long: 0.2, short: 0.8}}",
    "contrasts={mix_or_short: [mix-long, short]}",
    "primary={contrast: mix_or_short, benchmark: signs}",
]


def test_the_flat_loop_gives_the_pipelines_number_for_the_same_cell(tmp_path):
    pytest.importorskip("trl")
    recipe, store = load("demo-quick", SMALL), Store(tmp_path / "run")
    assert not pipeline.run(recipe, store, watcher=Log(), workers=1)
    loop = example("flat_loop")
    for arm, long in (("short", 0.0), ("mix-long", 0.2)):
        scores = store.read(store.folder("evaluate", "s", arm, "0", "signs"), Score, "scores")
        whole = next(s for s in scores if s.max_tokens is None and s.group == "all")
        assert whole.correct > 0  # a student that learned nothing would agree with anything
        assert loop.run("s", long, 0, 640, 100, 500) == whole.accuracy
