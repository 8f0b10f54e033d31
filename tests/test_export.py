"""What is exported is what was trained on: the same text, tokens, labels, order and updates."""

from __future__ import annotations

import json
import runpy
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

import tiny
from mixdistill import export
from mixdistill.errors import StoreError
from mixdistill.export import Cell
from mixdistill.handover import configurations
from mixdistill.recipe import Recipe
from mixdistill.sections import Train
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.training.batches import IGNORED
from mixdistill.training.finetune import fine_tune
from mixdistill.types import Drop, Example, Message, Update

THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m.reasoning_content %}{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Reads reasoning from a field of its own."""
FORGETFUL = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'].split('</think>')[-1] }}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""As DeepSeek's: drops everything up to `</think>`."""
OPENING = tiny.CHATML.replace("assistant\n'", "assistant\n<think>\n'")
"""The generation prompt opens the thinking."""
TEMPLATES = {"chatml": tiny.CHATML, "thinking": THINKING, "forgetful": FORGETFUL, "opening": OPENING}
TALK = [
    Message(role="system", content="Be brief."),
    Message(role="user", content="2 + 2?"),
    Message(role="assistant", content="4"),
    Message(role="user", content="Add 1.\n/short"),
]
ROWS = [
    tiny.example("What is 1 + 1?", "One and one.", "2"),
    tiny.example("What is 2 + 3?\n/long", "Two.\n\nThen three.", "It is 5."),
    tiny.example("Say yes.", "", "yes"),
    Example(prompt=TALK, reasoning="Four, then five.", content="5", problem_id="q", trace_id="u", teacher="short"),
    tiny.example("Four?", " \n ", "\n\n4 "),
]


def planted(root: Path, model: str, updates: list[list[int]], **sections: Any) -> tuple[Recipe, Store, Cell]:
    """A study with one cell that was mixed from `ROWS`, its updates taking these."""
    recipe = tiny.study(model, **{"budget": {"also": []}, **sections})
    store, cell = Store(root), Cell("t", "long", 0)
    folder = store.folder("mix", *cell.key)
    order = [Update(update=u, example=e) for u, rows in enumerate(updates) for e in rows]
    tables = {
        "examples": store.seal(folder, Example, ROWS, "examples"),
        "updates": store.seal(folder, Update, order, "updates"),
        "dropped": store.seal(folder, Drop, [], "dropped"),
    }
    store.mark(folder, {"tables": tables, "facts": {}, "counts": {}})
    return recipe, store, cell


def seen(template: Template, updates: list[list[int]]) -> list[list[tuple[list[int], list[int]]]]:
    """Update -> (input_ids, labels) of its rows, as a training gets them."""
    rows = [template.render(e.prompt, e.reasoning, e.content) for e in ROWS]
    return [[(p + c, [IGNORED] * len(p) + c) for p, c in (rows[i] for i in update)] for update in updates]


def script(out: Path) -> dict[str, Any]:
    """The exported script, as a module's names."""
    return runpy.run_path(str(out / "trl" / "train.py"), run_name="exported")


def steps(trainer: Any) -> list[list[tuple[list[int], list[int]]]]:
    """Update -> (input_ids, labels) of the rows that TRL's trainer feeds the model, padding taken off."""
    found, batches = [], list(trainer.get_train_dataloader())
    size = trainer.args.gradient_accumulation_steps
    for start in range(0, len(batches), size):
        rows = []
        for batch in batches[start : start + size]:
            for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
                kept = mask.bool()
                assert not (labels[~kept] != IGNORED).any()
                rows.append((ids[kept].tolist(), labels[kept].tolist()))
        found.append(rows)
    return found


EQUAL = [[0, 3], [1, 2], [4, 0], [2, 1]]
UNEQUAL = [[0, 3, 1], [2], [4, 0], [1, 3, 2, 4]]


SETTINGS = {"train": {"learning_rate": 3e-3, "warmup_ratio": 0.5, "weight_decay": 0.01, "micro_batch_tokens": 128}}


@pytest.mark.parametrize("updates", [EQUAL, UNEQUAL], ids=["examples", "loss_tokens"])
@pytest.mark.parametrize("kind", TEMPLATES)
def test_trl_sees_the_same_tokens_labels_order_and_updates(kind, updates, tmp_path):
    model = tiny.save_student(tmp_path / "model", tiny.byte_tokenizer(TEMPLATES[kind]))
    recipe, store, cell = planted(tmp_path / "run", model, updates)
    done = export.write(recipe, store, cell, tmp_path / "out")
    configurations.trl(configurations.training(recipe, store, done))
    trainer = script(tmp_path / "out")["trainer"](tmp_path / "trained")
    assert steps(trainer) == seen(Template.load(model), updates)
    assert trainer.args.max_steps == len(updates)


@pytest.mark.parametrize("updates", [EQUAL, UNEQUAL], ids=["examples", "loss_tokens"])
def test_trl_makes_the_same_student_of_it(updates, tmp_path):
    from safetensors.torch import load_file

    model = tiny.byte_student(tmp_path / "model")
    recipe, store, cell = planted(tmp_path / "run", model, updates, **SETTINGS)
    fine_tune(model, ROWS, updates, recipe.train_of("t"), seed=0, out=tmp_path / "ours")
    done = export.write(recipe, store, cell, tmp_path / "out")
    configurations.trl(configurations.training(recipe, store, done))
    trainer = script(tmp_path / "out")["trainer"](tmp_path / "theirs")
    trainer.train()
    trainer.save_model(tmp_path / "theirs")
    start, ours, theirs = (
        load_file(tmp_path / name / "model.safetensors") for name in ("model", "ours/model", "theirs")
    )
    assert max(float((ours[k] - start[k]).abs().max()) for k in ours) > 1e-3
    assert max(float((ours[k] - theirs[k]).abs().max()) for k in ours) < 2e-6


def test_the_script_has_every_setting_of_the_training(tmp_path):
    from mixdistill.training.trainer import arguments

    model = tiny.byte_student(tmp_path / "model")
    recipe, store, cell = planted(tmp_path / "run", model, EQUAL, **SETTINGS)
    done = export.write(recipe, store, cell, tmp_path / "out")
    configurations.trl(configurations.training(recipe, store, done))
    theirs = script(tmp_path / "out")["config"](tmp_path / "t").to_dict()
    ours = arguments(recipe.train_of("t"), seed=0, out=tmp_path / "t", updates=4).to_dict()
    own = {
        "per_device_train_batch_size", "gradient_accumulation_steps", "dataset_kwargs", "remove_unused_columns",
        "save_strategy", "save_steps", "logging_nan_inf_filter", "disable_tqdm", "log_level",
        "ddp_find_unused_parameters", "run_name",
    }  # fmt: skip
    assert {k for k in ours if ours[k] != theirs.get(k)} <= own


def test_micro_batches_are_the_largest_that_divide_an_update_and_fit(tmp_path):
    done = export.Exported(Cell("t", "long", 0), tmp_path, seen=24, sizes=[12, 12], longest=100)
    for limit, rows in ((99, 1), (100, 1), (399, 3), (599, 4), (600, 6), (5000, 12)):
        settings = Train(micro_batch_tokens=limit)
        t = configurations.Training(done, settings, model="m", unit="examples", eos="", bos="")
        assert (t.per_device, t.accumulation, t.steps) == (rows, 12 // rows, 2)


@pytest.mark.parametrize(
    ("kind", "in_field", "alike"),
    [("chatml", False, 5), ("thinking", True, 5), ("forgetful", False, 2), ("opening", False, 3)],
)
def test_messages_carry_reasoning_as_the_chat_template_wants_it(kind, in_field, alike, tmp_path):
    model = tiny.save_student(tmp_path / "model", tiny.byte_tokenizer(TEMPLATES[kind]))
    done = export.write(*planted(tmp_path / "run", model, EQUAL), tmp_path / "out")
    assert (done.in_field, done.rendered_alike, done.tokenised_alike) == (in_field, alike, 5)
    turns = pl.read_parquet(tmp_path / "out" / "messages" / "train.parquet")["messages"].to_list()
    assert [t["role"] for t in turns[3]] == ["system", "user", "assistant", "user", "assistant"]
    last = {"content": "5", "reasoning_content": "Four, then five."}
    assert turns[3][-1] == {"role": "assistant"} | (
        last if in_field else {"content": "<think>\nFour, then five.\n</think>\n\n5"}
    )
    assert turns[2][-1]["content"] == "yes"


def test_text_tokens_and_order_are_those_of_the_training(tmp_path):
    model = tiny.byte_student(tmp_path / "model")
    done = export.write(*planted(tmp_path / "run", model, UNEQUAL), tmp_path / "out")
    template = Template.load(model)
    text = pl.read_parquet(tmp_path / "out" / "prompt_completion" / "train.parquet")
    assert text["prompt"].to_list() == [template.prompt_text(e.prompt) for e in ROWS]
    assert text["completion"].to_list() == [template.completion_text(e.reasoning, e.content) for e in ROWS]
    assert text.row(3)[2:] == (3, "q", "u", "short")
    order = [(u, e) for u, rows in enumerate(UNEQUAL) for e in rows]
    assert pl.read_parquet(tmp_path / "out" / "updates" / "train.parquet").rows() == order
    tokens = pl.read_parquet(tmp_path / "out" / "tokens" / "train.parquet")
    assert tokens.select("update", "example").rows() == order
    assert tokens.select("input_ids", "labels").rows() == [row for rows in seen(template, UNEQUAL) for row in rows]
    assert (done.rows, done.seen, done.sizes, done.by_teacher) == (5, 10, [3, 1, 2, 4], {"teacher": 8, "short": 2})
    longest = max(len(ids) for ids, _ in seen(template, UNEQUAL)[0])
    assert (done.longest, done.padded) == (longest, 4 * longest)
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == []


def test_rows_of_many_groups_are_the_same_rows(tmp_path, monkeypatch):
    planted_ = planted(tmp_path / "run", tiny.byte_student(tmp_path / "model"), UNEQUAL)
    export.write(*planted_, tmp_path / "whole")
    monkeypatch.setattr(export, "GROUP", 2)
    export.write(*planted_, tmp_path / "parts")
    for name in export.LAYOUTS:
        whole, parts = (pl.read_parquet(tmp_path / n / name / "train.parquet") for n in ("whole", "parts"))
        assert whole.equals(parts)


def test_rows_are_cut_where_the_training_cut_them(tmp_path):
    train = {"overlong": "truncate", "max_length": 70}
    recipe, store, cell = planted(tmp_path / "run", tiny.byte_student(tmp_path / "model"), EQUAL, train=train)
    done = export.write(recipe, store, cell, tmp_path / "out")
    rows = pl.read_parquet(tmp_path / "out" / "tokens" / "train.parquet")
    whole = [row for rows in seen(Template.load(str(tmp_path / "model")), EQUAL) for row in rows]
    assert rows.select("input_ids", "labels").rows() == [(ids[:70], labels[:70]) for ids, labels in whole]
    assert done.cut == sum(len(ids) > 70 for ids in {tuple(ids) for ids, _ in whole}) > 0
    assert (
        f"{done.cut} rows are the beginnings of longer ones"
        in configurations.notes(configurations.training(recipe, store, done))[0]
    )


def test_a_learning_rate_that_was_tuned_is_the_one_that_is_exported(tmp_path):
    problems = {**tiny.problem_sets(24), "dev": {"source": "lab:signs", "split": "search", "limit": 4}}
    sections = {"tune": {"learning_rate": [1e-3, 2e-3]}, "problems": problems}
    recipe, store, cell = planted(tmp_path / "run", tiny.byte_student(tmp_path / "model"), EQUAL, **sections)
    done = export.write(recipe, store, cell, tmp_path / "out")
    assert configurations.training(recipe, store, done).settings.learning_rate == 1e-2
    for value, correct in ((1e-3, 1), (2e-3, 3)):
        store.mark(
            store.folder("tune", "t", "long", repr(value)), {"tables": {}, "facts": {"correct": correct, "examples": 4}}
        )
    assert configurations.training(recipe, store, done).settings.learning_rate == 2e-3


def test_chat_template_arguments_stand_beside_the_messages(tmp_path):
    kwargs = {"enable_thinking": True}
    students = {"t": {"model": tiny.byte_student(tmp_path / "model"), "chat_template_kwargs": kwargs}}
    export.write(*planted(tmp_path / "run", "", EQUAL, students=students), tmp_path / "out")
    rows = pl.read_parquet(tmp_path / "out" / "messages" / "train.parquet")
    assert rows["chat_template_kwargs"].to_list() == [kwargs] * 5


def test_what_was_not_mixed_cannot_be_exported(tmp_path):
    recipe, store, _ = planted(tmp_path / "run", tiny.byte_student(tmp_path / "model"), EQUAL)
    with pytest.raises(StoreError) as e:
        export.write(recipe, store, Cell("t", "short", 1), tmp_path / "out")
    assert str(e.value) == (
        f"{tmp_path}/run: mix/t/short/1 is not there, so there is nothing to export; carry out mixdistill mix first"
    )


# -- other trainers ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory) -> Path:
    """An export for every trainer, with updates of unequal size."""
    root = tmp_path_factory.mktemp("everywhere")
    recipe, store, cell = planted(root / "run", tiny.byte_student(root / "model"), UNEQUAL, **SETTINGS)
    said = configurations.training(recipe, store, export.write(recipe, store, cell, root / "out"))
    for write in configurations.TRAINERS.values():
        write(said)
    return root


def flat(root: Path) -> list[tuple[list[int], list[int]]]:
    return [row for rows in seen(Template.load(str(root / "model")), UNEQUAL) for row in rows]


def test_llamafactory_loads_the_tokens_in_their_order(everywhere):
    import datasets

    folder = everywhere / "out" / "llamafactory"
    rows = datasets.load_from_disk(str(folder / "tokenized"))["train"]
    assert rows.column_names == ["input_ids", "attention_mask", "labels"]
    assert [(r["input_ids"], r["labels"]) for r in rows] == flat(everywhere)
    assert all(r["attention_mask"] == [1] * len(r["input_ids"]) for r in rows)
    config = yaml.safe_load((folder / "train.yaml").read_text())
    assert config["dataset"] in json.loads((folder / "dataset_info.json").read_text())
    assert (config["tokenized_path"], config["disable_shuffling"], config["packing"]) == ("tokenized", True, False)
    assert (config["cutoff_len"], config["learning_rate"]) == (512, 0.003)


def test_axolotl_gets_the_tokens_with_its_columns_and_no_others(everywhere):
    folder = everywhere / "out" / "axolotl"
    config = yaml.safe_load((folder / "train.yaml").read_text())
    (source,) = config["datasets"]
    assert source == {"path": "train.parquet", "ds_type": "parquet", "split": "train"}
    rows = pl.read_parquet(folder / "train.parquet")
    assert rows.columns == ["input_ids", "attention_mask", "labels"]
    assert rows.select("input_ids", "labels").rows() == flat(everywhere)
    assert (config["curriculum_sampling"], config["shuffle_merged_datasets"], config["sample_packing"]) == (
        True,
        False,
        False,
    )
    assert (config["excess_length_strategy"], config["sequence_len"]) == ("raise", 512)


def test_ms_swift_gets_the_text_without_what_it_adds(everywhere):
    template = Template.load(str(everywhere / "model"))
    rows = [json.loads(line) for line in (everywhere / "out" / "ms-swift" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 10
    for row, number in zip(rows, [e for rows in UNEQUAL for e in rows], strict=True):
        user, assistant = row["messages"]
        e = ROWS[number]
        assert user == {"role": "user", "content": template.prompt_text(e.prompt)}
        assert assistant["content"] + "<|im_end|>" == template.completion_text(e.reasoning, e.content)
    command = (everywhere / "out" / "ms-swift" / "train.sh").read_text()
    for flag in (
        "--template dummy",
        "--dataset_shuffle false",
        "--train_dataloader_shuffle false",
        "--tuner_type full",
        "--save_strategy steps",
        "--save_steps 5",
    ):
        assert f"  {flag} " in command
    assert command.endswith('  "$@"\n'), "its own options go last"
    assert subprocess.run(["sh", "-n", everywhere / "out" / "ms-swift" / "train.sh"], check=False).returncode == 0


def test_what_a_trainer_cannot_do_is_said_in_its_file(everywhere):
    said = (
        "# mixdistill's updates hold equally many examples, in 1 to 4 rows. Here every one has\n"
        "# 2 rows, the mean: the rows come in the same order, and the borders between updates lie elsewhere.\n"
        "# So there are 5 updates in place of 4.\n"
    )
    for file in ("llamafactory/train.yaml", "axolotl/train.yaml", "ms-swift/train.sh"):
        assert said in (everywhere / "out" / file).read_text()
    assert "mixdistill's updates" not in (everywhere / "out" / "trl" / "train.py").read_text()


ADAPTED = {
    "method": "qlora",
    "lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    "loss_type": "dft",
    "bf16": True,
}


def test_adapters_go_to_every_trainer(tmp_path):
    train = {**ADAPTED, "keep": "best", "num_processes": 2, "learning_rate": 2e-4}
    problems = {**tiny.problem_sets(24), "dev": {"source": "lab:signs", "split": "search", "limit": 4}}
    sections = {"train": train, "problems": problems}
    recipe, store, cell = planted(tmp_path / "run", tiny.byte_student(tmp_path / "model"), EQUAL, **sections)
    said = configurations.training(recipe, store, export.write(recipe, store, cell, tmp_path / "out"))
    for write in configurations.TRAINERS.values():
        write(said)
    swift = (tmp_path / "out" / "ms-swift" / "train.sh").read_text()
    for flag in ("--tuner_type lora", "--lora_rank 4", "--target_modules q_proj v_proj", "--quant_bits 4"):
        assert f"  {flag} " in swift
    factory, axolotl = (
        yaml.safe_load((tmp_path / "out" / name / "train.yaml").read_text()) for name in ("llamafactory", "axolotl")
    )
    keys = ("finetuning_type", "lora_rank", "lora_target", "quantization_bit", "use_dft_loss")
    assert [factory[k] for k in keys] == ["lora", 4, "q_proj,v_proj", 4, True]
    assert [axolotl[k] for k in ("adapter", "load_in_4bit", "lora_r", "lora_target_modules")] == [
        "qlora", True, 4, ["q_proj", "v_proj"],
    ]  # fmt: skip
    text = (tmp_path / "out" / "trl" / "train.py").read_text()
    assert "mixdistill kept the best of several points" in text and "among 2 processes" in text
    assert 'dtype=torch.bfloat16, quantization_config=four_bits(), device_map={"": 0})' in text
    assert "prepare_model_for_kbit_training(model" in text
    compile(text, "train.py", "exec")


@pytest.mark.parametrize(
    ("said", "wanted", "script"), [(None, True, "gpu"), (False, False, "False"), (True, True, "True")]
)
def test_activations_are_kept_or_computed_again_as_the_recipe_says(said, wanted, script, tmp_path):
    """Where it says nothing: as on a GPU."""
    train = {"gradient_checkpointing": said, "method": "qlora"}
    recipe, store, cell = planted(tmp_path / "run", tiny.byte_student(tmp_path / "model"), EQUAL, train=train)
    exported = configurations.training(recipe, store, export.write(recipe, store, cell, tmp_path / "out"))
    for write in configurations.TRAINERS.values():
        write(exported)
    out = tmp_path / "out"
    factory, axolotl = (yaml.safe_load((out / name / "train.yaml").read_text()) for name in ("llamafactory", "axolotl"))
    assert factory["disable_gradient_checkpointing"] is not wanted
    assert axolotl["gradient_checkpointing"] is wanted
    assert f"  --gradient_checkpointing {str(wanted).lower()} " in (out / "ms-swift" / "train.sh").read_text()
    text = (out / "trl" / "train.py").read_text()
    assert f"        **{{checkpointing: {script}}},\n" in text
    prepared = script.replace("gpu", "torch.cuda.is_available()")
    assert f"use_gradient_checkpointing={prepared})" in text


def test_adapters_start_as_the_seed_says_and_the_rest_is_frozen(tmp_path):
    train = {**ADAPTED, "method": "lora", "bf16": False, "attn_implementation": "eager"}
    recipe, store, cell = planted(tmp_path / "run", tiny.byte_student(tmp_path / "model"), EQUAL, train=train)
    configurations.trl(configurations.training(recipe, store, export.write(recipe, store, cell, tmp_path / "out")))
    models = [script(tmp_path / "out")["trainer"](tmp_path / "t").model for _ in range(2)]
    trained = [{n: p for n, p in m.named_parameters() if p.requires_grad} for m in models]
    assert sorted({n.split(".")[-3] for n in trained[0]}) == ["lora_A", "lora_B"]
    assert {n.split(".")[-4] for n in trained[0]} == {"q_proj", "v_proj"}
    assert all((p == trained[1][n]).all() for n, p in trained[0].items())
    assert models[0].config._attn_implementation == "eager"


# -- to the hub --------------------------------------------------------------------------------------------------------


class Hub:
    """What is asked of the hub."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

        def create(api: Any, repo_id: str, **options: Any) -> str:
            if error:
                raise error
            self.asked.append((repo_id, options))
            return f"https://hub/datasets/{repo_id}"

        def upload(api: Any, **options: Any) -> None:
            self.asked.append(("upload", options))

        monkeypatch.setattr("huggingface_hub.HfApi.create_repo", create)
        monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", upload)


def test_an_upload_is_private_and_takes_the_whole_folder(tmp_path, monkeypatch):
    hub = Hub(monkeypatch)
    assert export.push(tmp_path, "me/rows") == "https://hub/datasets/me/rows"
    (repo, made), (_, sent) = hub.asked
    assert (repo, made) == ("me/rows", {"repo_type": "dataset", "private": True, "exist_ok": True})
    assert (sent["folder_path"], sent["repo_id"], sent["repo_type"]) == (tmp_path, "me/rows", "dataset")


def test_an_upload_that_fails_says_so_without_the_token(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    Hub(monkeypatch, OSError("401 for hf_secret"))
    with pytest.raises(StoreError) as e:
        export.push(tmp_path, "me/rows")
    assert str(e.value) == (
        f"me/rows: not uploaded (401 for ${{HF_TOKEN}}); it is in {tmp_path}; set HF_TOKEN to a token that may write "
        "there, and check the network"
    )
