"""Every wanted trace of an author: bought once, journaled as it arrives, drawn by nothing but problem and sample."""

from functools import partial

import pytest

import tiny
from mixdistill import resolve
from mixdistill.collect import TABLE
from mixdistill.errors import Refused
from mixdistill.generate import author, units
from mixdistill.lab import domain
from mixdistill.lab.teachers import Scripted
from mixdistill.store import Store
from mixdistill.types import Trace


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


def test_teachers_answer_every_training_problem_and_no_other(model, tmp_path):
    store, _ = tiny.run(tiny.study(model), tmp_path, "generate")
    for teacher in ("long", "short"):
        traces = store.read(store.folder("generate", teacher), Trace, TABLE)
        assert {t.author for t in traces} == {author(teacher)}
        assert [t.problem_id for t in traces] == [p.id for p in domain.problems("train", count=24)]
        marker = store.marker(store.folder("generate", teacher))
        assert marker is not None
        assert (marker["counts"]["traces"], marker["counts"]["stop"]) == (24, 24)
        assert marker["counts"]["completion_tokens"] == sum(t.usage.completion_tokens or 0 for t in traces)


def test_more_problems_buy_only_the_new_ones(model, tmp_path, monkeypatch):
    asked = []
    generate = Scripted.generate
    monkeypatch.setattr(Scripted, "generate", lambda self, requests: generate(self, asked.append(requests) or requests))
    tiny.run(tiny.study(model), tmp_path, "generate")
    assert [len(r) for r in asked] == [24, 24]
    asked.clear()
    tiny.run(tiny.study(model, problems=tiny.problem_sets(30)), tmp_path, "generate")
    assert [len(r) for r in asked] == [6, 6]


def _identity(student: str, tmp_path, **teacher) -> str:
    study = tiny.study(student, teachers={"t": teacher}, arms={"t": {"t": 1}}, contrasts={})
    (unit,) = units(study, Store(tmp_path / "run"))
    return unit.identity


def test_model_folder_counts_by_its_content_not_by_its_place(model, tmp_path):
    identity = partial(_identity, model, tmp_path, backend="transformers")
    one, other = tiny.student(tmp_path / "one", seed=1), tiny.student(tmp_path / "other", seed=1)
    first = identity(model=one)
    assert identity(model=other) == first
    tiny.student(tmp_path / "other", seed=2)
    assert identity(model=other) != first
    assert identity(model="lab:s") == identity(model=resolve.model_path("lab:s")) != first


def test_folder_that_is_no_model_does_not_stand_for_a_name(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = _identity(model, tmp_path, backend="scripted", model="long")
    (tmp_path / "long").mkdir()
    (tmp_path / "long" / "notes.txt").write_text("mine")
    assert _identity(model, tmp_path, backend="scripted", model="long") == before


def test_how_completions_are_fetched_is_no_part_of_what_they_are(model, tmp_path):
    identity = partial(_identity, model, tmp_path, backend="openai", model="m")
    first = identity()
    fetching = {"base_url": "http://x/v1", "api_key_env": "OTHER", "concurrency": 2, "timeout": 9.0, "max_retries": 0}
    assert identity(**fetching) == first
    assert identity(chat_template_kwargs={"enable_thinking": False}) != first
    assert identity(extra_body={"x": 1}) != first


def test_recorded_file_counts_by_its_content_not_by_its_place(model, tmp_path):
    problem = domain.problems("train", count=1)[0]
    text = f'{{"prompt": "{problem.prompt}", "completion": "{problem.answer}"}}\n'

    def study(name: str, text: str):
        (tmp_path / name).write_text(text)
        teachers = {"old": {"backend": "recorded", "model": "old", "path": str(tmp_path / name), "complete": True}}
        arms = {"old": {"old": 1}}
        return tiny.study(model, teachers=teachers, arms=arms, contrasts={}, problems=tiny.problem_sets(1, 2))

    tiny.run(study("a.jsonl", text), tmp_path / "run", "generate")
    assert tiny.run(study("moved.jsonl", text), tmp_path / "run", "generate")[1] == []
    with pytest.raises(Refused, match="generate/old was made otherwise"):
        tiny.run(study("b.jsonl", text + text), tmp_path / "run", "generate")
