"""A card says what was recorded, in a form that the hub, transformers and a person can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from mixdistill.export import Cell
from mixdistill.handover import cards
from mixdistill.handover.cards import Scored
from mixdistill.handover.scored import scored
from mixdistill.store import Store
from mixdistill.types import Interval

SCORED = Scored(
    benchmark="signs", max_tokens=None, problems=1200, base=0.5, accuracy=0.542, delta=Interval(low=0.01, high=0.074),
    base_tokens=900.4, tokens=1234.6, base_finished=0.9, finished=1.0,
)  # fmt: skip
CELL = Cell("t", "long", 0)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Any, Store]:
    root = tmp_path_factory.mktemp("cards")
    recipe = tiny.study(tiny.student(root / "model"), seeds=1, budget={"also": []})
    store, _ = tiny.run(recipe, root / "run", "generate", "verify", "analyze", "mix", "train", "evaluate")
    return recipe, store


def facts(store: Store) -> dict[str, Any]:
    marker = store.marker(store.folder("train", *CELL.key))
    assert marker
    return marker["facts"]


def front(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---\n")[1])


def test_every_trained_model_has_a_card(study):
    recipe, store = study
    for arm in ("long", "short"):
        text = (store.folder("train", "t", arm, "0") / "model" / "README.md").read_text()
        assert text == cards.model_card(recipe, store, Cell("t", arm, 0), facts_of(store, arm))
        assert "## How it scored\n\nNot evaluated." in text


def facts_of(store: Store, arm: str) -> dict[str, Any]:
    return (store.marker(store.folder("train", "t", arm, "0")) or {})["facts"]


def test_the_folder_with_its_card_loads_and_answers(study):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, store = study
    folder = store.folder("train", *CELL.key) / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    turns = [{"role": "user", "content": "Q 3 :"}]
    inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    with torch.no_grad():
        output = model.generate(**inputs, max_new_tokens=3)
    assert output.shape[1] > inputs["input_ids"].shape[1]


def test_the_front_matter_is_what_the_hub_reads(study, tmp_path):
    from huggingface_hub import ModelCard

    recipe, store = study
    cards.write_model_card(recipe, store, CELL, tmp_path, facts(store))
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-generation")
    assert card.data.tags == ["mixdistill", "distillation", "reasoning", "sft"]
    assert (card.data.base_model, card.data.license, card.data.datasets) == (None, None, None)


@pytest.mark.parametrize(
    ("model", "said"), [("Qwen/Qwen2.5-1.5B-Instruct", True), ("lab:xs", False), ("/models/m", False)]
)
def test_only_what_the_hub_knows_is_named_as_a_base_model(study, model, said):
    recipe, store = study
    named = recipe.model_copy(update={"students": {"t": recipe.students["t"].model_copy(update={"model": model})}})
    text = cards.model_card(named, store, CELL, facts(store))
    assert front(text).get("base_model") == (model if said else None)
    assert f"`{model}`, trained on verified reasoning traces" in text


def test_scores_stand_beside_base_with_their_interval(study):
    recipe, store = study
    alone = SCORED.model_copy(update={"benchmark": "one", "max_tokens": 64, "delta": None})
    text = cards.model_card(recipe, store, CELL, facts(store), [SCORED, alone])
    assert (
        "| signs | none | 1,200 | 50.0% | 54.2% | +4.2 points (+1.0 to +7.4) | 900 → 1,235 | 90% → 100% |\n"
        "| one | 64 | 1,200 | 50.0% | 54.2% | +4.2 points | 900 → 1,235 | 90% → 100% |\n"
    ) in text
    assert "Not evaluated." not in text


def test_scores_are_read_off_the_run(study):
    recipe, store = study
    tiny.plant(store, "long/0", 6)
    tiny.plant(store, "base", 2)
    found = {s.max_tokens: s for s in scored(recipe, store, CELL)}
    assert list(found) == [None, 8]
    whole = found[None]
    assert whole.delta and (whole.problems, round((whole.delta.low + whole.delta.high) / 2, 3)) == (10, 0.4)


def test_what_was_set_and_what_happened_are_told_apart(study):
    recipe, store = study
    text = cards.model_card(recipe, store, CELL, facts(store))
    assert "| learning_rate | 0.01 |" in text and "| budget | examples, 8 an update |" in text
    assert f"| updates | {facts(store)['updates']} |" in text
    assert f"| final_loss | {facts(store)['final_loss']:.6g} |" in text
    assert "lora" not in text


def test_what_is_not_recorded_is_not_said(study):
    recipe, _ = study
    text = cards.model_card(recipe, Store(Path("/nowhere")), CELL, {"updates": 3})
    assert "| updates | 3 |" in text
    assert "| `long` | `long` | scripted | - | - |" in text
    assert "Its rows:" not in text and "rows were seen" not in text


def test_arguments_of_the_chat_template_and_tags_are_part_of_how_it_is_used(study):
    recipe, store = study
    spec = recipe.students["t"].model_copy(update={"chat_template_kwargs": {"enable_thinking": True}})
    arm = recipe.arms["long"].model_copy(update={"tags": {"long": "/long", "short": "/short"}})
    tagged = recipe.model_copy(update={"students": {"t": spec}, "arms": {**recipe.arms, "long": arm}})
    text = cards.model_card(tagged, store, CELL, facts(store))
    assert 'return_tensors="pt", enable_thinking=True' in text
    assert '"chat_template_kwargs": {"enable_thinking": true}' in text
    assert "`/long` for answers like those of `long`, `/short` for answers like those of `short`" in text


def test_the_blend_is_said_in_both_units(study):
    recipe, store = study
    mix = {"share_examples": {"long": 0.2, "short": 0.8}, "share_loss_tokens": {"long": 0.49, "short": 0.51}}
    text = cards.model_card(recipe, store, CELL, {"mix": {"facts": mix}})
    assert "Its rows: 80% `short`, 20% `long` by examples; that is 51% `short`, 49% `long` by loss tokens." in text


def test_a_new_card_does_not_change_what_the_model_is(study):
    recipe, store = study
    before = store.marker(store.folder("train", *CELL.key))
    cards.write_model_card(recipe, store, CELL, store.folder("train", *CELL.key) / "model", facts(store), [SCORED])
    assert store.marker(store.folder("train", *CELL.key)) == before
    from mixdistill.units import State, plan

    assert {s for _, s in plan(recipe, store, "train")} == {State.DONE}


def test_what_was_removed_for_the_evaluation_sets_is_counted(study, tmp_path):
    recipe, _ = study
    store = Store(tmp_path)
    counts = {
        "train: in_evaluation": 3,
        "train: words_in_evaluation": 2,
        "train: numbers_changed": 1,
        "train: duplicate": 9,
    }
    store.mark(store.folder("problems"), {"tables": {}, "counts": counts})
    said = cards.decontamination(recipe, store, {"in_evaluation": 4, "overlong": 7})
    assert said.endswith("Removed: 6 problems, and of the teachers' traces 4.")
