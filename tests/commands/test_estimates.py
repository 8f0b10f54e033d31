"""Estimates say what they are based on, and nothing where nothing is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixdistill.commands import estimates
from mixdistill.commands.estimates import (
    answers_there,
    cost_at_most,
    disk,
    lengths,
    other_unit,
    parameters,
    template,
    time,
    traces_there,
    updates,
)
from mixdistill.commands.faults import Found, find
from mixdistill.commands.plans import Amount
from mixdistill.recipe import Recipe, build
from mixdistill.store import Store
from mixdistill.tokens import Template

KNOWN = {"long": Amount(value=100.0, basis="told"), "short": Amount(value=20.0, basis="told")}


@pytest.fixture
def study(raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One blend beside the pure arms; one core."""
    monkeypatch.setattr(estimates.executor, "gpus", list)
    monkeypatch.setattr(estimates.executor, "cores", lambda: 1)
    raw["arms"]["mix"] = {"long": 0.2, "short": 0.8}
    raw["contrasts"]["mix_gain"] = ["mix", "each_pure"]
    raw["evaluate"] = {"sampling": {"max_tokens": 64}}
    return raw


def looked(raw: dict[str, Any], tmp_path: Path) -> tuple[Recipe, Store, Found]:
    recipe, store = build(raw), Store(tmp_path / "run")
    return recipe, store, find(recipe, store)


def test_weights_in_the_other_unit_follow_from_the_lengths(study):
    assert other_unit(build(study), "mix", KNOWN) == pytest.approx({"long": 20 / 36, "short": 16 / 36})
    study["budget"] = {"unit": "loss_tokens", "per_update": 200}
    assert other_unit(build(study), "mix", KNOWN) == pytest.approx({"long": 0.002 / 0.042, "short": 0.04 / 0.042})
    assert other_unit(build(study), "mix", KNOWN | {"long": Amount(value=None, basis="")}) is None


def test_updates_by_loss_tokens_are_those_of_the_arm_with_the_fewest(study):
    study["train"] = {"num_train_epochs": 2}
    assert updates(build(study), "s", "long", 12, KNOWN) == 6
    study["budget"] = {"unit": "loss_tokens", "per_update": 120}
    assert {updates(build(study), "s", arm, 12, KNOWN) for arm in study["arms"]} == {2 * 12 * 20 // 120}
    assert updates(build(study), "s", "long", 12, KNOWN | {"short": Amount(value=None, basis="")}) is None


def test_training_time_is_operations_over_the_rate(study, tmp_path, monkeypatch):
    recipe, store, found = looked(study, tmp_path)
    monkeypatch.setattr(estimates, "prompt_tokens", lambda recipe, few: 10.0)
    took = time(recipe, store, found, KNOWN)
    weights = parameters("lab:s").value or 0
    tokens = 12 * 2 * (110 + 30 + 46)
    assert took.training.value == pytest.approx(6 * weights * tokens / estimates.TRAIN_RATE["core"])
    assert took.devices == "1 core"
    monkeypatch.setattr(estimates.executor, "gpus", lambda: ["0", "1"])
    took = time(recipe, store, found, KNOWN)
    assert took.training.value == pytest.approx(6 * weights * tokens / (2 * estimates.TRAIN_RATE["GPU"]))
    assert took.training.basis.endswith("a second and GPU, which was not measured")
    assert took.devices == "2 GPUs"


def test_evaluation_takes_as_long_as_the_teachers_wrote_and_at_most_the_limit(study, tmp_path):
    took = time(*looked(study, tmp_path), KNOWN)
    per_token = 2 * (parameters("lab:s").value or 0) * 4 / estimates.SAMPLE_RATE["core"]
    assert took.evaluation.value == pytest.approx(per_token * (64 + 64 + 20 + 36)), "base and long at the limit"
    assert took.evaluation_at_most.value == pytest.approx(per_token * 4 * 64)


def test_what_is_there_already_takes_no_time_and_no_space(study, tmp_path):
    recipe, store, found = looked(study, tmp_path)
    for arm in ("long", "mix"):
        store.mark(store.folder("train", "s", arm, "0"), {"tables": {}})
        store.mark(store.folder("evaluate", "s", arm, "0", "signs"), {"tables": {}})
    took, space = time(recipe, store, found, KNOWN), disk(recipe, store, found, KNOWN)
    weights = parameters("lab:s").value or 0
    assert took.evaluation_at_most.value == pytest.approx(2 * weights * 4 * 2 * 64 / estimates.SAMPLE_RATE["core"])
    assert space.models == Amount(value=4 * weights, basis="4 bytes a weight, 1 models")


def test_space_is_models_checkpoints_and_tables(study, tmp_path):
    study["students"]["xs"] = {"model": "lab:xs"}
    space = disk(*looked(study, tmp_path), KNOWN)
    s, xs = (parameters(f"lab:{name}").value or 0 for name in ("s", "xs"))
    assert space.models.value == 3 * 4 * (s + xs)
    assert space.checkpoints.value == 2 * 3 * 4 * s, "the largest, one worker"
    text, sampled = 12 * (100 + 20) + 6 * 12 * 100, 8 * 4 * 64
    assert space.tables.value == estimates.TEXT_BYTES * text + estimates.SAMPLED_BYTES * sampled
    assert space.needed == sum(a.value or 0 for a in (space.models, space.checkpoints, space.tables))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"evaluate": {}}, "not known without evaluate.sampling.max_tokens"),
        ({"students": {"s": {"model": "own/er"}}}, "not known before own/er is on this machine"),
    ],
)
def test_what_is_not_known_says_what_it_waits_for(study, tmp_path, monkeypatch, change, reason):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    took = time(*looked(study | change, tmp_path), KNOWN)
    assert took.evaluation_at_most == Amount(value=None, basis=reason)
    unknown = KNOWN | {"long": Amount(value=None, basis="")}
    took, space = time(*looked(study, tmp_path), unknown), disk(*looked(study, tmp_path), unknown)
    assert took.training.basis == took.evaluation.basis == space.tables.basis
    assert space.tables == Amount(value=None, basis="not known before the teachers' lengths are")
    assert space.needed == (space.models.value or 0) + (space.checkpoints.value or 0)


def test_weights_are_read_from_files_else_from_the_name(tmp_path):
    import tiny

    folder = tiny.student(tmp_path / "own-7B")
    of_files = parameters(folder)
    assert of_files.basis == "its files"
    assert 0 < (of_files.value or 0) < 1e6
    assert parameters("Qwen/Qwen2.5-1.5B-Instruct") == Amount(value=1.5e9, basis="its name")
    assert parameters("own/er-350M") == Amount(value=350e6, basis="its name")
    assert parameters("own/er").value is None
    assert parameters("lab:l").basis == "its description"


def test_a_lab_model_that_is_not_built_counts_with_its_own_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXDISTILL_CACHE", str(tmp_path))
    counts = {name: template(f"lab:{name}", {}) for name in ("bytes", "l", "s@7")}
    assert all(isinstance(t, Template) for t in counts.values())
    assert [t.count("", "A + +") for t in counts.values() if t] == [6, 4, 4]
    assert list(tmp_path.iterdir()) == []
    assert template("own/er", {}) is None


def test_lengths_wait_for_a_tokenizer_that_is_not_here(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    raw["students"] = {"q": {"model": "own/er"}}
    known = lengths(*looked(raw, tmp_path))
    assert set(known.values()) == {Amount(value=None, basis="not known before own/er is on this machine")}


def test_traces_in_a_journal_count_and_a_torn_line_stays_as_it_is(raw, tmp_path):
    from mixdistill.types import Trace, trace_id

    recipe, store, found = looked(raw, tmp_path)
    train = found.problems["train"]
    rows = [Trace(id=trace_id("teacher/long", p.id, 0), problem_id=p.id, author="teacher/long") for p in train[:3]]
    rows[2] = rows[2].model_copy(update={"error": "status 500"})
    with store.appending(store.folder("generate", "long"), "traces") as append:
        for row in rows:
            append(row)
    journal = store.folder("generate", "long") / "traces.jsonl"
    with open(journal, "a") as f:
        f.write('{"id": "half')
    before = journal.read_bytes()
    assert answers_there(store, "long") == {p.id: 1 for p in train[:2]}
    assert traces_there(store, "long", train, recipe.teachers["long"].samples) == 2
    assert journal.read_bytes() == before


def test_the_most_that_traces_can_cost_is_every_one_at_the_limit(raw, tmp_path):
    price = {"prompt": 2, "completion": 50}
    raw["teachers"]["long"] |= {"price": price, "samples": 3, "sampling": {"max_tokens": 1000}}
    recipe, _, found = looked(raw, tmp_path)
    train = found.problems["train"]
    prompts = sum(len(str(p.prompt)) for p in train)
    most = cost_at_most(recipe.teachers["long"], train)
    assert most.value == pytest.approx(3 * (2 * prompts + 50 * 12 * 1000) / 1e6)
    assert most.basis == "every trace at the limit of tokens"
    raw["teachers"]["long"] |= {"until_correct": 1, "max_samples": 8}
    assert cost_at_most(build(raw).teachers["long"], train).value == pytest.approx((most.value or 0) * 8 / 3)
    raw["teachers"]["long"]["sampling"] = {}
    assert cost_at_most(build(raw).teachers["long"], train) == Amount(value=None, basis="not known without max_tokens")
    assert cost_at_most(recipe.teachers["short"], train) == Amount(value=None, basis="no price")


def test_disk_is_for_the_trainings_that_are_under_way_together_those_that_take_as_many_gpus(raw, tmp_path, monkeypatch):
    """Of eight GPUs two trainings take four each, or eight one each; never eight of those that take four."""
    monkeypatch.setattr(estimates.executor, "gpus", lambda: [str(n) for n in range(8)])
    sizes = {"large": 70e9, "small": 1e9}
    monkeypatch.setattr(estimates, "parameters", lambda model: Amount(value=sizes[model], basis="told"))
    raw["students"] = {name: {"model": name} for name in sizes}
    raw["students"]["large"]["train"] = {"num_processes": 4}
    raw |= {"seeds": 9, "budget": {"per_update": 4, "also": []}}
    found = estimates.kept(build(raw), Store(tmp_path / "run"))[1]
    assert found == Amount(value=2 * 24 * 70e9, basis="two a training with the optimizer's state, 2 at once")
    sizes["large"] = 2e9
    found = estimates.kept(build(raw), Store(tmp_path / "run"))[1]
    assert found == Amount(value=8 * 24 * 1e9, basis="two a training with the optimizer's state, 8 at once")
