"""Lab models by name: shipped folders, the cache, and building."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixdistill.errors import DataError
from mixdistill.lab import corpus, domain, models, pretrain, untrained
from mixdistill.tokens import Template
from mixdistill.types import Outcome, Trace

pytest.importorskip("torch")
SHORT = 3000
"""Tokens of pretraining: some ten updates."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and models that are built in no time."""
    monkeypatch.setenv("MIXDISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "TOKENS", SHORT)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "xs"
    models.build("xs", out, tokens=SHORT)
    return out


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_two_builds_are_bit_identical_and_another_seed_is_not(tiny: Path, tmp_path: Path):
    models.build("xs", tmp_path / "again", tokens=SHORT)
    models.build("xs@1", tmp_path / "other", tokens=SHORT)
    models.build("xs", tmp_path / "same-other", seed=1, tokens=SHORT)
    files = sorted(p.name for p in tiny.iterdir())
    assert files == sorted(p.name for p in (tmp_path / "again").iterdir())
    assert all((tiny / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files)
    assert weights(tiny) != weights(tmp_path / "other")
    assert weights(tmp_path / "other") == weights(tmp_path / "same-other")


def test_building_leaves_the_callers_threads_and_random_state_alone(tmp_path: Path):
    import torch

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    models.build("xs", tmp_path / "xs", tokens=500)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_progress_reaches_its_end(tmp_path: Path):
    seen: list[tuple[int, int]] = []
    models.build("xs", tmp_path / "xs", tokens=500, progress=lambda done, wanted: seen.append((done, wanted)))
    assert seen[-1][0] == seen[-1][1] > 0


def test_a_folder_that_is_there_is_not_overwritten(tiny: Path):
    with pytest.raises(DataError, match="is there already"):
        models.build("xs", tiny, tokens=SHORT)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path):
    def fail(done: int, wanted: int) -> None:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        models.build("xs", tmp_path / "new" / "xs", tokens=500, progress=fail)
    assert list((tmp_path / "new").iterdir()) == []


def test_the_first_use_builds_into_the_cache_and_the_second_reads_it(cache: Path):
    before = models.describe("xs@1")
    assert (before.name, before.shipped, before.built) == ("xs@1", False, False)
    folder = models.path("xs@1")
    assert folder == before.path and folder.is_relative_to(cache)
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert models.path("xs@1") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert models.describe("xs@1").built


def test_two_processes_that_ask_at_once_build_once(cache: Path):
    code = (
        "from mixdistill.lab import models; models.TOKENS = 3000; build = models.build\n"
        "models.build = lambda *a, **k: (print('built'), build(*a, **k))\n"
        "print(models.path('xs@2'))"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=env, text=True, stdout=subprocess.PIPE) for _ in range(2)
    ]
    shown = [process.communicate(timeout=120)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(words.count("built") for words in shown) == 1
    assert shown[0][-1] == shown[1][-1] == str(models.describe("xs@2").path)
    assert not [p for p in (cache / "lab" / f"v{models.VERSION}").iterdir() if p.name.startswith(".")]


def test_draw_zero_is_the_model_itself():
    assert models.describe("s@0") == models.describe("s")


@pytest.mark.parametrize("name", ["", "sx@", "S", "s@one", "s@-1", "s@", "../s", "s/../m", "s@1/../m"])
def test_what_is_no_model_is_refused(name: str):
    with pytest.raises(DataError, match="lab:"):
        models.path(name)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(DataError, match="did you mean 'teacher-small'"):
        models.describe("teacher-smal")


@pytest.mark.parametrize("name", models.SHIPPED)
def test_shipped_folders_are_of_this_version_and_of_their_size(name: str):
    from transformers import AutoModelForCausalLM

    about = models.describe(name)
    assert about.shipped and about.built
    origin = json.loads((about.path / "lab.json").read_text())
    assert (origin["model"], origin["seed"], origin["tokens"]) == (name, 0, 1_000_000)
    assert (origin["version"], origin["corpus"]) == (models.VERSION, corpus.VERSION)
    model = AutoModelForCausalLM.from_pretrained(about.path)
    assert model.num_parameters() == about.parameters


def test_shipped_folders_stay_under_five_megabytes():
    folders = [models.describe(name).path for name in models.SHIPPED]
    assert sum(f.stat().st_size for folder in folders for f in folder.rglob("*")) < 5_000_000


def test_the_template_keeps_think_tags_and_supervises_a_stop_token_that_is_not_the_pad_token(tiny: Path):
    template = Template.load(str(tiny))
    chain = domain.Chain((8, 4, 7, 9), 10)
    reasoning, content = domain.short_trace(chain, 0)
    prompt, completion = template.render(chain.prompt, reasoning, content)
    words = template.tokenizer.convert_ids_to_tokens(completion)
    assert " ".join(words) == "<think> 8 + 4 12 + 7 19 - 9 10 T 10 ok </think> A + + - <eos>"
    assert template.tokenizer.convert_ids_to_tokens(prompt) == chain.prompt.split()
    assert template.split(completion) == (reasoning, content)
    assert template.pad_id not in template.stop_ids


def test_the_reloaded_tokenizer_gives_the_ids_it_was_built_with(tiny: Path):
    from transformers import AutoTokenizer

    text = " ".join(pretrain.IDS)
    assert AutoTokenizer.from_pretrained(tiny)(text)["input_ids"] == list(pretrain.IDS.values())
    assert pretrain.tokenizer()("A banana")["input_ids"] == [pretrain.IDS["A"], pretrain.IDS[pretrain.UNKNOWN]]


def test_a_conversation_is_rendered_turn_by_turn_with_a_stop_token_after_the_students():
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    shown = pretrain.tokenizer().apply_chat_template(turns, tokenize=False)
    prompt = pretrain.tokenizer().apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert isinstance(shown, str) and isinstance(prompt, str)
    assert shown == "Q\nA<eos>" and shown.startswith(prompt)


@pytest.mark.parametrize("name", ["s", "m"])
def test_an_untuned_student_thinks_and_stops_but_gives_no_answer(name: str):
    """It writes one attempt at the problem it was asked about."""
    told = completions(name)
    opened = [words for words in told if words[0] == "<think>" and words[-1] == pretrain.STOP]
    assert len(opened) == len(told)
    assert not any({"A", "</think>"} & set(words) for words in told)


def test_a_taught_teacher_answers_and_makes_mistakes():
    """So that rejection sampling has something to reject."""
    told = completions("teacher-small")
    answered = [words for words in told if "A" in words and words[-1] == pretrain.STOP]
    assert len(answered) > 15
    problems = [p for p in domain.problems("train", count=50) if p.level == "k=4"]
    outcomes = set()
    for problem, words in zip(problems, told, strict=True):
        content = " ".join(words).partition("</think>")[2].removesuffix(pretrain.STOP)
        trace = Trace(id="t", problem_id=problem.id, author="teacher/small", content=content, finish_reason="stop")
        outcomes.add(domain.verify(problem, trace).outcome)
    assert {Outcome.CORRECT, Outcome.INCORRECT} <= outcomes


def completions(name: str) -> list[list[str]]:
    """Greedy completions of 20 training problems with four numbers, as words."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = models.path(name)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    asked = [p.prompt for p in domain.problems("train", count=50) if p.level == "k=4"]
    ids = torch.tensor(tokenizer(asked)["input_ids"])
    told = model.generate(ids, attention_mask=torch.ones_like(ids))[:, ids.shape[1] :].tolist()
    words = [tokenizer.convert_ids_to_tokens(row) for row in told]
    return [[word for word in row if word != pretrain.PAD] for row in words]


def test_a_teacher_is_made_from_its_base(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(models.TEACHERS, "teacher-large", "xs")
    folder = models.path("teacher-large@1")
    origin = json.loads((folder / "lab.json").read_text())
    assert (origin["base"], origin["lessons"], origin["seed"]) == ("xs", SHORT // 400, 1)
    assert weights(folder) != weights(models.path("xs@1"))


def test_the_byte_student_reads_any_text_and_gives_it_back(tmp_path):
    models.build("bytes", tmp_path / "bytes")
    template = Template.load(str(tmp_path / "bytes"))
    prompt, completion = template.render("Was kostet 1 Ei? ½ €", "naïve → 字 <|end|>x", "#### 18")
    assert len(prompt) == len("Was kostet 1 Ei? ½ €\n".encode())
    assert completion[-1] in template.stop_ids
    assert template.split(template.encode("<think>\nnaïve → 字\n</think>\n\n#### 18")) == ("naïve → 字", "#### 18")
    assert models.describe("bytes").parameters == sum(p.numel() for p in untrained.student(0).parameters())


def test_missing_models_are_built_with_a_word_and_those_that_are_there_in_silence(cache, monkeypatch):
    said: list[str] = []
    models.ensure(["xs", "bytes", "bytes"], say=said.append)
    models.ensure(["bytes"], say=said.append)
    assert len(said) == 1 and said[0].startswith("building lab:bytes (") and str(cache) in said[0]
