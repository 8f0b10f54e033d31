"""Every wanted trace of an author: bought once, journaled as it arrives, drawn by nothing but problem and sample."""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest

import tiny
from mixdistill import resolve
from mixdistill.collect import TABLE
from mixdistill.errors import Refused
from mixdistill.generate import author, units
from mixdistill.lab import domain
from mixdistill.lab.teachers import Scripted
from mixdistill.recipe import Recipe, build
from mixdistill.store import Store
from mixdistill.types import Outcome, Trace, Verdict
from mixdistill.units import State, plan


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
    fetching |= {"requests_per_minute": 60, "tokens_per_minute": 6000, "deadline": 99.0}
    assert identity(**fetching) == first
    assert identity(chat_template_kwargs={"enable_thinking": False}) != first
    assert identity(extra_body={"x": 1}) != first
    assert identity(reasoning_tags=["[THINK]", "[/THINK]"]) != first


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


# -- until enough are right, in a study -------------------------------------------------------------------------------

SOMETIMES = """
from mixdistill.lab.teachers import Scripted
from mixdistill.types import Completion, Usage

VERSION = "1"
asked = []


class Sometimes(Scripted):
    def generate(self, requests):
        for position, completion in super().generate(requests):
            request = requests[position]
            asked.append((request.prompt, request.sample))
            right = (len(request.prompt) + request.sample) % 3 == 0
            yield position, completion if right else completion.model_copy(update={"content": "wrong"})
"""


def _sometimes(model: str, tmp_path: Path, **teacher) -> Recipe:
    (tmp_path / "sometimes.py").write_text(SOMETIMES)
    raw = tiny.study(model).model_dump(exclude_none=True)
    raw["teachers"]["long"] |= {"backend": f"{tmp_path}/sometimes.py:Sometimes"} | teacher
    return build(raw)


def test_a_study_buys_until_enough_are_right_and_judges_all_that_it_bought(model, tmp_path):
    recipe = _sometimes(model, tmp_path, until_correct=1, max_samples=4)
    store, _ = tiny.run(recipe, tmp_path / "run", "generate", "verify")
    traces = store.read(store.folder("generate", "long"), Trace, TABLE)
    verdicts = {v.trace_id: v.outcome for v in store.read(store.folder("verify", "long"), Verdict, "verdicts")}
    samples = Counter(t.problem_id for t in traces)
    assert len(verdicts) == len(traces)
    assert set(samples.values()) == {1, 2, 3}
    right = [t for t in traces if verdicts[t.id] is Outcome.CORRECT]
    assert Counter(t.problem_id for t in right) == dict.fromkeys(samples, 1)
    assert all(t.sample == samples[t.problem_id] - 1 for t in right), "the one that is right was bought last"


def test_a_finished_unit_is_gone_on_with_when_more_shall_be_right(model, tmp_path):
    one = _sometimes(model, tmp_path, until_correct=1, max_samples=4)
    store, _ = tiny.run(one, tmp_path / "run", "generate")
    assert {s for _, s in plan(one, store, "generate")} == {State.DONE}
    two = _sometimes(model, tmp_path, until_correct=2, max_samples=6)
    assert {u.key[0]: s for u, s in plan(two, store, "generate")} == {"long": State.EXTEND, "short": State.DONE}
    before = store.read(store.folder("generate", "long"), Trace, TABLE)
    tiny.run(two, tmp_path / "run", "generate")
    after = store.read(store.folder("generate", "long"), Trace, TABLE)
    assert [t for t in after if t in before] == before
    assert set(Counter(t.problem_id for t in after).values()) == {4, 5, 6}


def test_a_higher_limit_extends_a_finished_unit_and_a_lower_one_is_refused(model, tmp_path):
    def limited(tokens: int | None) -> Recipe:
        return _sometimes(model, tmp_path, sampling={"max_tokens": tokens})

    store, _ = tiny.run(limited(60), tmp_path / "run", "generate")
    before = store.read(store.folder("generate", "long"), Trace, TABLE)
    cut = {t.id for t in before if t.finish_reason == "length"}
    assert 0 < len(cut) < len(before)
    tiny.run(limited(None), tmp_path / "run", "generate")
    after = store.read(store.folder("generate", "long"), Trace, TABLE)
    assert {t.finish_reason for t in after} == {"stop"}
    assert [t for t in after if t.id not in cut] == [t for t in before if t.id not in cut]
    with pytest.raises(Refused, match=r"generate/long was made otherwise: sampling\.max_tokens was None, is now 60"):
        tiny.run(limited(60), tmp_path / "run", "generate")
