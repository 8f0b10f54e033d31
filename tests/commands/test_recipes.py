"""The shelf of shipped recipes: listed, read, copied; nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixdistill.commands import recipes
from mixdistill.errors import RecipeError, StoreError
from mixdistill.recipe import load, shipped


def test_every_shipped_recipe_is_listed_with_its_size():
    found = {r["name"]: r for r in recipes.facts()}
    assert set(found) == set(shipped())
    hours = found["demo-quick"].pop("gpu_hours")
    assert 0 < hours < 1e-3
    assert found["demo-quick"] == {
        "name": "demo-quick",
        "description": "Does the pipeline run? Nothing else can be read off a study this small.",
        "students": 2,
        "teachers": 2,
        "arms": 3,
        "cells": 12,
    }


def test_the_listing_fits_the_terminal():
    for width in (60, 100):
        lines = recipes.listing(width).splitlines()
        assert all(len(line) <= width for line in lines[:-1])
        words = " ".join(" ".join(lines).split())
        assert "demo-quick Does the pipeline run?" in words
        assert "(12 cells: 2 students, 3 arms)" in words


def test_a_recipe_is_printed_as_it_stands():
    assert recipes.text("demo") == shipped()["demo"].read_text(encoding="utf-8")
    with pytest.raises(RecipeError) as e:
        recipes.text("dmo")
    assert str(e.value) == "dmo: no shipped recipe of that name; did you mean 'demo'?"


def test_a_copy_is_the_same_study_under_the_name_of_its_file(tmp_path: Path):
    to = tmp_path / "mine.yaml"
    said = recipes.copy("demo", to, force=False)
    assert said.splitlines() == [
        f"Wrote {to}: a copy of demo, named 'mine'. Edit it; then:",
        f"  mixdistill check {to}",
        f"  mixdistill run {to}",
    ]
    assert load(to) == load("demo").model_copy(update={"name": "mine"})
    assert to.read_text().splitlines()[0] == shipped()["demo"].read_text().splitlines()[0]


def test_a_copy_called_recipe_and_a_copy_of_a_file(tmp_path: Path):
    recipes.copy("demo", tmp_path / "recipe.yaml", force=False)
    assert load(tmp_path / "recipe.yaml").name == "my-demo"
    recipes.copy(str(tmp_path / "recipe.yaml"), tmp_path / "b.yaml", force=False)
    assert load(tmp_path / "b.yaml").name == "b"


def test_nothing_is_overwritten_unless_it_is_said(tmp_path: Path):
    to = tmp_path / "mine.yaml"
    to.write_text("mine")
    with pytest.raises(StoreError) as e:
        recipes.copy("demo", to, force=False)
    assert str(e.value) == f"{to}: is there already; choose another file, or --force to overwrite it"
    assert to.read_text() == "mine"
    recipes.copy("demo", to, force=True)
    assert load(to).name == "mine"
