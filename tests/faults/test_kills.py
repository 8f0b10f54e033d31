"""Killed anywhere, run again: the run folder is that of an uninterrupted run.

Every durable operation of a whole study (each file opened for writing, renamed or removed, each folder removed) is a
moment at which a process may die. `make soak` kills at every one of them; here it is every tenth.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from kills import Zygote, differences, outcome

import tiny
from mixdistill.pipeline import STAGES
from mixdistill.recipe import render

pytest.importorskip("trl")
EVERY = int(os.environ.get("KILL_EVERY", "10"))
KILLED = -9


@pytest.fixture(scope="module")
def zygote():
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """Two teachers, two arms, a benchmark, a checkpoint every second update of six, two points asked on dev."""
    folder = tmp_path_factory.mktemp("study")
    study = tiny.study(
        tiny.student(folder / "model"),
        seeds=1,
        problems=tiny.problem_sets(24) | {"dev": {"source": "lab:signs", "split": "search", "limit": 3}},
        train={"save_steps": 2, "dev_checkpoints": 2, "keep": "best"},
    )
    (folder / "tiny.yaml").write_text(render(study))
    return folder / "tiny.yaml"


@pytest.fixture(scope="module")
def reference(zygote, recipe, tmp_path_factory) -> tuple[dict, list[str]]:
    """(the outcome of an uninterrupted run, its durable operations)."""
    root = tmp_path_factory.mktemp("reference") / "run"
    status, events = zygote.run(recipe, root)
    assert status == 0
    assert not [e for e in events if e.startswith("FAILED")]
    return outcome(root), events


def go_on(zygote: Zygote, recipe: Path, root: Path, reference: dict) -> list[str]:
    """What differs from the uninterrupted run after the next one has gone on; the folder is removed."""
    status, events = zygote.run(recipe, root)
    wrong = [e for e in events if e.startswith("FAILED")] if status == 0 else [f"exit status {status}"]
    wrong += differences(outcome(root), reference)
    shutil.rmtree(root)
    return wrong


def test_two_uninterrupted_runs_are_the_same(zygote, recipe, reference, tmp_path):
    assert zygote.run(recipe, tmp_path / "run")[0] == 0
    assert differences(outcome(tmp_path / "run"), reference[0]) == []
    tables = [name for name in reference[0] if name.endswith((".parquet", ".safetensors"))]
    assert len(tables) > 25, "else nothing is compared"


@pytest.mark.parametrize("stage", ["problems", ".recipe", *(s for s in STAGES if s != "tune")])
def test_killed_before_any_durable_operation_of_a_stage(zygote, recipe, reference, tmp_path, stage):
    whole, events = reference
    moments = [n for n, e in enumerate(events, 1) if e.split(" ")[1].startswith(stage)]
    assert len(moments) >= 2
    found = {}
    for at in moments[::EVERY]:
        status, _ = zygote.run(recipe, tmp_path / "run", {"at": at})
        assert status == KILLED, f"{at} {events[at - 1]}"
        if wrong := go_on(zygote, recipe, tmp_path / "run", whole):
            found[f"{at} {events[at - 1]}"] = wrong
    assert found == {}


def test_killed_in_a_trial(zygote, tmp_path):
    study = tiny.study(
        tiny.student(tmp_path / "model"),
        seeds=1,
        problems=tiny.problem_sets(12, 2) | {"dev": {"source": "lab:signs", "split": "search", "limit": 2}},
        arms={"short": {"short": 1}},
        contrasts={},
        train={"num_train_epochs": 1},
        tune={"learning_rate": [1e-2, 3e-2]},
    )
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(render(study))
    status, events = zygote.run(recipe, tmp_path / "whole")
    assert status == 0
    whole = outcome(tmp_path / "whole")
    here = "tune/t/short/0.01"
    moments = [
        f"rename {here}/.trained.json", f"open {here}/dev/1/traces.jsonl", f"rmdir {here}/model",
        f"rename {here}/.done",
    ]  # fmt: skip
    for moment in moments:
        at = next(n for n, e in enumerate(events, 1) if moment in e)
        assert zygote.run(recipe, tmp_path / "run", {"at": at})[0] == KILLED
        assert go_on(zygote, recipe, tmp_path / "run", whole) == []


@pytest.mark.parametrize(
    "torn",
    ["traces.jsonl", "traces.parquet", "verdicts.parquet", "complexity.parquet", "fits.parquet", "scores.parquet",
     "gaps.parquet", "train.parquet", "unused.parquet"],
)  # fmt: skip
def test_killed_in_the_middle_of_a_row_or_a_table(zygote, recipe, reference, tmp_path, torn):
    times = (1, 30, 50, 70) if torn.endswith(".jsonl") else (1,)
    for at in times:
        assert zygote.run(recipe, tmp_path / "run", {"torn": torn, "at": at})[0] == KILLED
        assert go_on(zygote, recipe, tmp_path / "run", reference[0]) == []


def test_killed_again_and_again_at_random(zygote, recipe, reference, tmp_path):
    draw, kills = random.Random(7), 0
    while zygote.run(recipe, tmp_path / "run", {"at": draw.randrange(20, 80)})[0] == KILLED:
        kills += 1
    assert kills >= 4
    assert differences(outcome(tmp_path / "run"), reference[0]) == []
