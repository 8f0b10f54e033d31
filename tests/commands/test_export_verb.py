"""`export` says what it wrote, and refuses in one line what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from mixdistill import cli, resolve
from mixdistill.commands import export as verb
from mixdistill.errors import DataError, StoreError
from mixdistill.store import Store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was mixed, one of its cells trained and evaluated."""
    root = tmp_path_factory.mktemp("exports")
    recipe = tiny.study(tiny.student(root / "model"), seeds=1, budget={"also": []})
    tiny.run(recipe, root / "run")
    return root / "run"


def export(root: Path, arm: str, out: Path, **options: Any) -> dict[str, Any]:
    known = {"student": None, "seed": None, "repo": None, "trainers": []}
    return verb.export(root, arm, out=out, **{**known, **options})


def test_everything_is_written_and_said(run: Path, tmp_path: Path):
    facts = export(run, "long", tmp_path / "out", trainers=["all"])
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {p for p in written if "tokenized" not in p} == {
        "README.md", "messages/train.parquet", "prompt_completion/train.parquet", "tokens/train.parquet",
        "updates/train.parquet", "trl/train.py", "axolotl/train.yaml", "axolotl/train.parquet", "ms-swift/train.sh",
        "ms-swift/train.jsonl", "llamafactory/train.yaml", "llamafactory/dataset_info.json",
    }  # fmt: skip
    marker = Store(run).marker(run / "mix" / "t" / "long" / "0")
    assert marker
    assert facts["rows"] == marker["tables"]["examples"]["rows"]
    assert (facts["loss_tokens"], facts["updates"]) == (marker["facts"]["loss_tokens"], marker["facts"]["updates"])
    assert json.loads(json.dumps(facts)) == facts
    said = verb.text(facts, 80).plain.splitlines()
    assert said[0] == f"long for t, seed 0, is in {tmp_path / 'out'}"
    assert [line.split()[0] for line in said[1:7]] == [
        "rows", "messages", "prompt_completion", "tokens", "updates", "README.md",
    ]  # fmt: skip
    assert said[-4] == f"  trl                python {tmp_path / 'out'}/trl/train.py --out student"


def test_the_card_of_the_model_gets_the_scores(run: Path, tmp_path: Path):
    card = run / "train" / "t" / "long" / "0" / "model" / "README.md"
    card.write_text("old")
    export(run, "long", tmp_path / "out")
    text = card.read_text()
    assert "Not evaluated." not in text
    assert "| signs | none | 10 | " in text and "| signs | 8 | 10 | " in text


@pytest.mark.parametrize(
    ("arm", "options", "said"),
    [
        ("lang", {}, "no arm 'lang'; did you mean 'long'?"),
        ("base", {}, "base is not trained, so it has no data; name an arm (long, short)"),
        ("long", {"student": "u"}, "no student 'u'; known: t"),
        ("long", {"seed": 7}, "no seed 7 of t; known: 0"),
        ("long", {"trainers": ["trl", "axolotle"]}, "--for axolotle: no such trainer; did you mean 'axolotl'?"),
        ("long", {"repo": "rows"}, "--push-to-hub: not the name of a data set (got 'rows'); write owner/name"),
        ("long", {"repo": "a b/rows"}, "--push-to-hub: not the name of a data set (got 'a b/rows'); write owner/name"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(arm, options, said, run: Path, tmp_path: Path):
    with pytest.raises(DataError) as e:
        export(run, arm, tmp_path / "out", **options)
    assert str(e.value).removeprefix(f"{run}: ") == said
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(run: Path, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError) as e:
        export(run, "long", tmp_path)
    assert str(e.value) == f"{tmp_path}: holds something already; name a folder that is new or empty with --out"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path):
    with pytest.raises(StoreError, match="not a run folder"):
        export(tmp_path, "long", tmp_path / "out")


def test_of_several_students_one_is_named(run: Path, tmp_path: Path):
    recipe, _ = verb.opened(run)
    two = recipe.model_copy(update={"students": {**recipe.students, "u": recipe.students["t"]}})
    with pytest.raises(DataError) as e:
        verb.which(two, run, "long", None, None)
    assert str(e.value) == f"{run}: has several students; say which with --student (t, u)"
    assert verb.which(two, run, "long", "u", None) == ("u", "long", 0)


def test_the_verb_prints_text_and_json(run: Path, tmp_path: Path, monkeypatch, capfd):
    for words in (["--out", str(tmp_path / "a")], ["--out", str(tmp_path / "b"), "--json"]):
        monkeypatch.setattr("sys.argv", ["mixdistill", "export", str(run), "short", *words])
        with pytest.raises(SystemExit) as e:
            cli.main()
        assert not e.value.code
        out = capfd.readouterr().out
        assert out.startswith("short for t, seed 0, is in") or json.loads(out)["arm"] == "short"


def test_what_came_out_of_the_environment_is_not_exported(run: Path, tmp_path: Path, monkeypatch):
    """A value that the process has put in for a `${NAME}` stands nowhere in what is written."""
    model = str(run.parent / "model")
    monkeypatch.setenv("PLACE", model)
    monkeypatch.setattr(resolve, "_substituted", {})
    assert resolve.from_environment("${PLACE}") == model
    export(run, "long", tmp_path / "out", trainers=["all"])
    files = ["README.md", "trl/train.py", "axolotl/train.yaml", "ms-swift/train.sh", "llamafactory/train.yaml"]
    texts = [(tmp_path / "out" / name).read_text() for name in files]
    assert all(model not in text and "${PLACE}" in text for text in texts)


def test_the_front_matter_is_what_the_hub_reads(run: Path, tmp_path: Path):
    from huggingface_hub import DatasetCard

    export(run, "long", tmp_path / "out", trainers=["trl"])
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data.task_categories == ["text-generation"]
    assert card.data.size_categories == ["n<1K"]
    text = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert [c["config_name"] for c in front["configs"]] == ["messages", "prompt_completion", "tokens", "updates"]
    assert [c["config_name"] for c in front["configs"] if c.get("default")] == ["messages"]
    for config in front["configs"]:
        assert all((tmp_path / "out" / f["path"]).is_file() for f in config["data_files"])
