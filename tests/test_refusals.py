"""What another version left in a run folder is no reason to refuse it; of another kind of run it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixdistill.errors import StoreError
from mixdistill.refusals import refuse_other_kind
from mixdistill.store import Store


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


@pytest.mark.parametrize("text", ["name: old\nsomething_old: 1\n", "name: [", "", "- a list", "\x00", "smoke: null"])
@pytest.mark.parametrize("smoke", [False, True])
def test_a_recipe_that_cannot_be_read_any_more_refuses_nothing(recipe: Path, text: str, smoke: bool):
    recipe.write_text(text)
    if smoke and text.startswith(("name: old", "smoke")):  # it says that it is no smoke run
        with pytest.raises(StoreError, match="holds a run that is no smoke run; choose another --out"):
            refuse_other_kind(Store(recipe.parent), smoke=True)
    else:
        refuse_other_kind(Store(recipe.parent), smoke=smoke)


def test_bytes_that_are_no_text_refuse_nothing(recipe: Path):
    recipe.write_bytes(b"\xff\xfe smoke: true")
    refuse_other_kind(Store(recipe.parent), smoke=False)


def test_a_smoke_run_of_another_version_is_one(recipe: Path):
    recipe.write_text("something_old: 1\nsmoke: true\n")
    with pytest.raises(StoreError, match="holds a smoke run; choose another --out"):
        refuse_other_kind(Store(recipe.parent), smoke=False)
