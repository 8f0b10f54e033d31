"""`check` says what a run would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import Notes, Watching
from mixdistill import pipeline
from mixdistill.check import describe_plan
from mixdistill.errors import DataError
from mixdistill.recipe import build
from mixdistill.store import Store


def plan(raw: dict[str, Any], tmp_path: Path, limit: int | None = None) -> str:
    return describe_plan(build(raw), tmp_path / "run", limit)


def test_the_plan_names_problems_traces_cells_arms_and_time(raw, tmp_path):
    raw["arms"]["mix"] = {"long": 0.2, "short": 0.8}
    raw["contrasts"]["mix_gain"] = ["mix", "each_pure"]
    raw["students"]["s"]["seeds"] = 5
    text = plan(raw, tmp_path)
    assert f"folder     {tmp_path}/run (new)" in text
    assert "problems   train 12, signs 4" in text
    assert "12 traces" in text
    assert "3 arms x 5 seeds = 15" in text
    assert "at most 6 updates of 4 examples each" in text
    assert "verifier   signs -> mixdistill.lab.domain:verify" in text
    assert "long - short     primary, on signs" in text
    assert "evaluate   64 traces: 16 models" in text
    line = next(x for x in text.splitlines() if "20% long, 80% short by examples = " in x)
    assert int(line.partition(" = ")[2].partition("%")[0]) > 20, "long traces hold more than their share of tokens"
    assert "training about " in text
    assert not (tmp_path / "run").exists(), "a plan leaves nothing behind"


def test_the_plan_obeys_the_limit_and_names_what_is_dropped(raw, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("prompt,answer\n" + "Q 8 4 7 9 T 10 :,A + + -\n" * 3 + "Q 1 2 3 T 6 :,A + +\n")
    raw["problems"]["train"] = {"source": str(file)}
    text = plan(raw, tmp_path)
    assert "problems   train 2, signs 4" in text
    assert "           2 dropped: train: duplicate" in text
    assert "problems   train 1, signs 1" in plan(raw, tmp_path, limit=1)


def test_the_plan_asks_no_teacher_that_costs_money(raw, tmp_path, notes: Notes):
    assert "tokens not known before its first traces" in plan(raw, tmp_path)
    assert notes.calls() == 0


def test_the_plan_knows_lengths_from_the_traces_there_are(raw, tmp_path, notes: Notes, inline):
    pipeline.run(build(raw), Store(tmp_path / "run"), stages=("generate", "analyze"), watcher=Watching())
    text = plan(raw, tmp_path)
    assert "(exists: it will be extended)" in text
    assert text.count("median of the traces there") == 2


def test_the_plan_builds_no_model(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("MIXDISTILL_CACHE", str(tmp_path / "cache"))
    raw["students"] = {"l": {"model": "lab:l"}, "s": {"model": "lab:s"}}
    raw["teachers"]["large"] = {"backend": "transformers", "model": "lab:teacher-large"}
    text = plan(raw, tmp_path)
    assert not (tmp_path / "cache").exists()
    assert text.count("lab:l is built on first use") == 1
    assert text.count("lab:teacher-large is built on first use") == 1
    assert "lab:s is built" not in text
    assert text.count("tokens each (from 12 of them)") == 2, "another lab student's tokenizer is the same"
    assert "training about " in text


def test_the_plan_knows_no_lengths_where_no_tokenizer_is_there(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("MIXDISTILL_CACHE", str(tmp_path / "cache"))
    raw["students"] = {"b": {"model": "lab:bytes"}}
    text = plan(raw, tmp_path)
    assert not (tmp_path / "cache").exists()
    assert text.count("tokens not known before lab:bytes is built") == 2


def test_the_plan_fails_as_the_run_would(raw, tmp_path):
    raw["problems"]["train"] = {"source": "nowhere.jsonl"}
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
        plan(raw, tmp_path)
