"""Every recipe that comes with the package loads, and none is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

import mixdistill
from mixdistill.recipe import load, render, shipped

FOLDER = Path(mixdistill.__file__).parent / "recipes"
FILES = sorted(p for p in FOLDER.iterdir() if p.is_file())
COUNT = 5
"""Raise this when a recipe is added, after reading what the tests say of it."""


def test_the_number_of_shipped_recipes_is_what_the_tests_think_it_is():
    assert len(FILES) == COUNT, [p.name for p in FILES]
    assert all(p.suffix == ".yaml" for p in FILES)
    assert set(shipped()) == {p.stem for p in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_it_loads_is_named_like_its_file_and_describes_itself(file: Path):
    recipe = load(file.stem)
    assert recipe.name == file.stem
    assert recipe.description
    assert file.read_text().startswith("# "), "its header is its manual"
    assert recipe.primary is not None, "a shipped study declares what decides"


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_it_reads_back_from_its_whole_form(file: Path, tmp_path: Path):
    recipe = load(file)
    (tmp_path / file.name).write_text(render(recipe), encoding="utf-8")
    assert load(tmp_path / file.name) == recipe


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_every_arm_is_compared_with_something(file: Path):
    recipe = load(file)
    assert all(len(recipe.group_of(arm)) > 1 for arm in recipe.arms)
