"""A recipe rehearsed for nothing: its bought teachers played on this machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, get_args

import pytest

import tiny
from mixdistill import cli, pipeline
from mixdistill.commands import fake
from mixdistill.errors import RecipeError, Refused
from mixdistill.fake.answers import STYLES, Manner
from mixdistill.recipe import Recipe, build, load, render
from mixdistill.sections import Teacher
from mixdistill.store import Store
from mixdistill.types import Outcome, Trace, Verdict

FEW = 8


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with local problems for the shipped recipe; no key, no server."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name, count in (("train", FEW), ("eval", 2)):
        rows = [{"question": f"{name}: what is {n} and 1?", "answer": f"It is\n#### {n + 1}"} for n in range(count)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


ENDS = "Without this server: mixdistill generate long-vs-short --rehearse\n"
LOCAL = ["problems.train.source=train.jsonl", "problems.eval.gsm8k.source=eval.jsonl"]
PRICES = ["teachers.long.price={completion: 2000}"]


def rehearse(*stages: str, overrides: list[str] | None = None, out: Path | None = None) -> tuple[int, list[str]]:
    """(exit code, what was said) of the shipped recipe."""
    said: list[str] = []
    recipe = Path("long-vs-short")
    code = fake.carry_out(recipe, [*LOCAL, *(overrides or [])], out, stages, say=said.append)
    return code, said


def test_the_shipped_recipe_is_rehearsed_without_key_network_or_student(folder: Path, inline: None):
    code, said = rehearse(*pipeline.STAGES)
    assert code == 0
    assert said[:2] == [
        "mixdistill: rehearsal in runs/long-vs-short-rehearsal: the fake provider plays long, short; nothing is bought",
        "mixdistill: rehearsal as far as analyze, tokens counted as words: students.qwen-1.5b.model: not on this "
        "machine, and HF_HUB_OFFLINE is set (got 'Qwen/Qwen2.5-1.5B-Instruct'); give a folder, or fetch it first",
    ]
    store = Store(folder / "runs" / "long-vs-short-rehearsal")
    traces = {t: store.read(store.folder("generate", t), Trace, "traces") for t in ("long", "short")}
    assert {t: len(rows) for t, rows in traces.items()} == {"long": 4 * FEW, "short": 4 * FEW}
    assert {t.model for rows in traces.values() for t in rows} == {"fake/Qwen/Qwen3-32B"}
    assert not any(t.error for rows in traces.values() for t in rows)
    assert [sum(len(t.reasoning) for t in traces[n]) > 0 for n in ("long", "short")] == [True, False]
    for name in ("long", "short"):
        verdicts = store.read(store.folder("verify", name), Verdict, "verdicts")
        assert sum(v.outcome is Outcome.CORRECT for v in verdicts) > FEW
        assert (store.marker(store.folder("analyze", name)) or {})["facts"]["tokenizer"] == "lab:s"
    assert not store.folder("mix").exists()


def test_a_rehearsal_says_so_in_its_name_its_description_and_what_it_would_have_cost(folder: Path, inline: None):
    _, said = rehearse("generate", overrides=PRICES)
    kept = load(folder / "runs" / "long-vs-short-rehearsal" / "recipe.yaml")
    assert kept.name == "long-vs-short-rehearsal"
    assert kept.description.startswith("A rehearsal: the fake provider made the traces up, and no number here says")
    store = Store(folder / "runs" / kept.name)
    sampled = {
        name: sum(t.usage.completion_tokens or 0 for t in store.read(store.folder("generate", name), Trace, "traces"))
        for name in ("long", "short")
    }
    tokens, cost = sum(sampled.values()), sampled["long"] * 2000 / 1e6
    assert said[-1] == (
        f"mixdistill: rehearsal: {8 * FEW} traces with {tokens:,} sampled tokens (words) would have cost ${cost:,.2f}; "
        "no price in the recipe for short"
    )


def test_a_second_rehearsal_buys_nothing_again_and_its_recipe_rehearses_too(folder: Path, inline: None):
    rehearse("generate")
    marker = folder / "runs" / "long-vs-short-rehearsal" / "generate" / "long" / "done.json"
    before = marker.read_text()
    rehearse("generate")
    assert marker.read_text() == before
    again = fake.carry_out(marker.parents[2] / "recipe.yaml", None, None, ["generate"], say=lambda line: None)
    assert (again, marker.read_text()) == (0, before)
    assert [p.name for p in (folder / "runs").iterdir()] == ["long-vs-short-rehearsal"]


def test_a_stage_that_needs_a_student_that_is_not_to_be_had_is_refused(folder: Path):
    with pytest.raises(RecipeError) as e:
        rehearse("train")
    assert e.value.findings[0].startswith("students.qwen-1.5b.model: not on this machine")
    assert not Path("runs").exists()


def test_the_later_stages_go_on_from_the_recipe_in_the_run_folder(folder: Path, inline: None):
    rehearse("generate")
    kept = load(folder / "runs" / "long-vs-short-rehearsal" / "recipe.yaml")
    _, ran = tiny.run(kept, folder / "runs" / kept.name, "verify")
    assert ran == ["verify/long", "verify/short"]


def test_what_was_rehearsed_is_never_taken_for_bought(folder: Path, inline: None):
    rehearse("generate", out=folder / "run")
    real = load("long-vs-short", [*LOCAL, "teachers.long.base_url=http://127.0.0.1:1/v1"])
    with pytest.raises(Refused) as e:
        pipeline.run(real, Store(folder / "run"), stages=["generate"], watcher=tiny.Silent())
    assert "generate/long was made otherwise: model was fake/Qwen/Qwen3-32B, is now Qwen/Qwen3-32B" in str(e.value)


def test_the_environment_is_as_it_was(folder: Path, inline: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens there
    before = dict(os.environ)
    code, _ = rehearse("generate")
    assert (code, dict(os.environ)) == (0, before)


def test_only_what_is_bought_is_played(raw: dict[str, Any]):
    engine = {"backend": "vllm", "model": "m", "max_model_len": 64}
    own = {"backend": "openai", "model": "m", "serve": "vllm"}
    bought = {"backend": "openai", "model": "m"}
    recipe = build({**raw, "teachers": {**raw["teachers"], "api": bought, "own": own}})
    recipe = recipe.model_copy(update={"teachers": {**recipe.teachers, "engine": Teacher(**engine)}})
    assert fake.played(recipe) == ["api", "own", "engine"]
    study = fake.rehearsed(recipe, models_there=True)
    assert {n: (t.backend, t.model) for n, t in study.teachers.items()} == {
        "long": ("scripted", "long"), "short": ("scripted", "short"),
        "api": ("openai", "fake/m"), "own": ("openai", "fake/m"), "engine": ("openai", "fake/m"),
    }  # fmt: skip
    assert not any(t.serve for t in study.teachers.values()), "no server is started"
    assert study.teachers["engine"].options == {
        "base_url": "${MIXDISTILL_FAKE_URL}", "api_key_env": "MIXDISTILL_FAKE_KEY",
    }  # fmt: skip


def test_everything_else_is_as_in_the_recipe(folder: Path):
    real = load("long-vs-short", LOCAL)
    before, after = real.model_dump(), fake.rehearsed(real, models_there=True).model_dump()
    assert {k for k in before if before[k] != after[k]} == {"name", "description", "teachers"}
    for teacher in ("long", "short"):
        was, now = before["teachers"][teacher], after["teachers"][teacher]
        assert {k for k in was | now if was.get(k) != now.get(k)} == {"model", "base_url", "api_key_env"}


def test_a_rehearsed_recipe_is_a_recipe_whatever_its_name(raw: dict[str, Any], tmp_path: Path):
    raw["teachers"]["long"] = {"backend": "openai", "model": "m"}
    study = fake.rehearsed(build({**raw, "name": "n" * 64}), models_there=False)
    assert study.name == "n" * 54 + "-rehearsal"
    (tmp_path / "r.yaml").write_text(render(study))
    assert load(tmp_path / "r.yaml") == study
    assert fake.rehearsed(study, models_there=False) == study


def test_there_is_nothing_to_rehearse_where_nothing_is_bought(raw: dict[str, Any]):
    with pytest.raises(RecipeError) as e:
        fake.played(build(raw))
    line = "tiny: no teacher is bought (got long: scripted, short: scripted); run it as it is"
    assert str(e.value) == line


@pytest.mark.parametrize(("verifier", "working"), [("math", True), ("exact", False)])
def test_working_stands_before_answers_if_the_verifier_takes_them(folder: Path, verifier: str, working: bool):
    recipe: Recipe = load("long-vs-short", [*LOCAL, f"verify.verifier={verifier}"])
    assert fake.provider(recipe).known.working is working


def test_manner_and_pace_reach_the_provider(folder: Path):
    made = fake.provider(load("long-vs-short", LOCAL), manner=Manner(pass_rate=0.1), faults={"500": 0.5}, seed=3)
    assert made.models == {"fake/Qwen/Qwen3-32B": Manner(pass_rate=0.1)}
    assert (made.faults, made.seed, len(made.known)) == ({"500": 0.5}, 3, FEW)


def test_the_verb_serves_until_ctrl_c_and_the_command_it_prints_works(folder: Path):
    keys = [*LOCAL, "students.qwen-1.5b.model=lab:s", "teachers.long.price={completion: 2}"]
    mixdistill = [sys.executable, "-m", "mixdistill"]
    command = [*mixdistill, "fake", "long-vs-short", *(word for key in keys for word in ("--set", key))]
    # A shell has what it runs in the background ignore Ctrl-C, and that is inherited.
    heeding = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeding)
    try:
        assert server.stdout
        first = server.stdout.readline()
        url = first.split()[3].rstrip(":")
        assert first == f"Fake provider on {url}: {FEW} problems, models fake/Qwen/Qwen3-32B. Ctrl-C ends it.\n"
        with urllib.request.urlopen(f"{url.removesuffix('/v1')}/health") as reply:
            assert reply.status == 200
        rest = "".join(iter(server.stdout.readline, ENDS))
        words = shlex.split(rest.replace("\\\n", ""))
        assert words[:3] == ["mixdistill", "generate", "long-vs-short"]
        done = subprocess.run([*mixdistill, *words[1:], "--limit", "2"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    finally:
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
    assert (server.returncode, out, err) == (0, "requests: 16 whole\n", "")
    store = Store(folder / "runs" / "long-vs-short-fake")
    assert len(store.read(store.folder("generate", "short"), Trace, "traces")) == 8


def test_the_verb_knows_every_style():
    assert get_args(cli.Style) == STYLES


JUDGED = ["verify={verifier: [math, judge], audit: 1, judge: {model: Qwen/Qwen3-32B, concurrency: 8}}"]


def test_a_judge_is_played_too_under_a_name_of_its_own(folder: Path, inline: None):
    code, said = rehearse("generate", "verify", overrides=JUDGED)
    assert code == 0
    assert said[0].endswith("the fake provider plays long, short, judge; nothing is bought")
    store = Store(folder / "runs" / "long-vs-short-rehearsal")
    asked = 0
    for name in ("long", "short"):
        answers = store.read(store.folder("verify", name) / "judge", Trace, "traces")
        asked += len(answers)
        assert {t.model for t in answers} == {"fake/judge/Qwen/Qwen3-32B"}
        assert {t.content for t in answers} == {"True", "False"}
        agreement = (store.marker(store.folder("verify", name)) or {})["facts"]["agreement"][0]
        assert agreement["audited"] == agreement["accepted"] > 0
        assert 0 < agreement["rescued"] < agreement["missed"]
    assert f" and {asked:,} answers of judges" in said[-1]
    assert said[-1].endswith("no price in the recipe for long, short, judge")


def test_a_recipe_in_which_only_the_judge_is_bought_can_be_rehearsed(raw: dict[str, Any]):
    recipe = build({**raw, "verify": {"verifier": "judge", "model": "m", "api_key_env": "MINE", "votes": 1}})
    assert fake.played(recipe) == []
    study = fake.rehearsed(recipe, models_there=True)
    assert study.teachers == recipe.teachers
    assert study.verify.options == {
        "model": "fake/judge/m", "votes": 1, "backend": "openai", "base_url": "${MIXDISTILL_FAKE_URL}",
        "api_key_env": "MIXDISTILL_FAKE_KEY",
    }  # fmt: skip
    assert fake.rehearsed(study, models_there=True).verify == study.verify
