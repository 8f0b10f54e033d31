"""The primary benchmark in other words: which, who is asked, and what is refused."""

import pytest

import tiny
from mixdistill import paraphrases, prompts, recipe
from mixdistill.arms import Called, called
from mixdistill.errors import RecipeError
from mixdistill.evaluate import units
from mixdistill.types import Problem, Trace

ONE = {"seeds": 1, "arms": {"short": {"short": 1}}, "contrasts": {"over": ["short", "base"]}, "budget": {"also": []}}
OWN = ["{problem} T", "T {problem}"]
"""Wordings that the lab's vocabulary has words for."""


def _real(**evaluate):
    """A study whose benchmark is a table of the user's; nothing is read."""
    study = tiny.study("m")
    raw = study.model_dump(mode="json", exclude_unset=True)
    raw["evaluate"] |= evaluate
    raw["problems"]["eval"] = {"own": {"source": "own.jsonl", "ask": "boxed"}}
    return recipe.build(raw, resolved=False)


@pytest.fixture
def files(tmp_path) -> list[str]:
    for n, text in enumerate(OWN):
        (tmp_path / f"way {n}.txt").write_text(text)
    return [str(tmp_path / f"way {n}.txt") for n in range(len(OWN))]


@pytest.mark.parametrize("ask", sorted({"plain", *prompts.shipped()}))
def test_three_wordings_of_a_shipped_ask_are_shipped_and_each_is_a_prompt(ask):
    found = paraphrases.shipped(ask)
    texts = [prompts.template(str(file))[0] for file in found.values()]
    assert len(set(texts)) == 3 and all("{problem}" in text for text in texts)
    assert all(("\\boxed{" in text) == (ask != "plain") for text in texts), "the same form of answer is asked for"


def test_a_number_takes_as_many_of_those_for_the_benchmarks_own_ask():
    assert list(paraphrases.wordings(_real(paraphrases=2))) == ["explain", "first"]
    assert paraphrases.wordings(_real()) == {}


def test_what_has_no_other_words_is_refused(files):
    with pytest.raises(
        RecipeError, match=r"evaluate\.paraphrases: the problems of lab:signs have no other words \(got 3\)"
    ):
        tiny.study("m", evaluate={"paraphrases": 3})
    with pytest.raises(RecipeError, match=r"evaluate\.paraphrases: no prompt 'nowhere.txt'"):
        tiny.study("m", evaluate={"paraphrases": ["nowhere.txt"]})
    with pytest.raises(RecipeError, match=r"evaluate\.paraphrases: two files are called 'way-0'; rename one"):
        tiny.study("m", evaluate={"paraphrases": [files[0], files[0]]})
    study = _real(paraphrases=1)
    named = study.problems.eval["own"].model_copy(update={"ask": "mine"})
    study = study.model_copy(update={"problems": study.problems.model_copy(update={"eval": {"own": named}})})
    assert paraphrases.findings(study) == [
        "evaluate.paraphrases: 0 are shipped of what 'mine' asks (got 1); name files of your own"
    ]


def test_a_wording_is_a_part_of_an_arms_name():
    assert called("mix@loss_tokens+short~way-0") == Called("mix", "loss_tokens", "short", "way-0")
    for name in ("mix", "base~way-0", "mix+short~way-0", "mix@each"):
        assert str(called(name)) == name
    assert called("mix@each+short~way-0").trained == "mix@each"
    assert paraphrases.in_words("mix~a", "") == "mix"


def test_everybody_is_asked_once_in_every_wording_on_the_primary_benchmark_alone(tmp_path, files, monkeypatch):
    student = tiny.student(tmp_path / "student")
    sets = tiny.problem_sets(24)
    sets["eval"]["more"] = {"source": "lab:signs", "split": "eval", "skip": 10, "limit": 10}
    study = tiny.study(student, **ONE, problems=sets, evaluate={"paraphrases": files, "k": 2})
    root = tmp_path / "run"
    store, _ = tiny.run(study, root, "generate", "verify", "analyze", "mix", "train", "evaluate")
    found = {u.label.removeprefix("evaluate/t/"): u for u in units(study, store)}
    assert list(found)[-4:] == ["base~way-0/signs", "short~way-0/0/signs", "base~way-1/signs", "short~way-1/0/signs"]
    assert [u.wanted.samples for u in found.values()] == [2, 2, 2, 2, 1, 1, 1, 1]
    folder = store.folder("evaluate", "t", "short~way-0", "0", "signs")
    assert len(store.read(folder, Trace, "traces")) == len(store.read(store.folder("problems"), Problem, "signs"))
    calls = tiny.Calls(monkeypatch)
    tiny.run(tiny.study(student, **ONE, problems=sets, evaluate={"k": 2}), root, "evaluate")
    assert calls.take() == 0, "what was asked in the study's own words does not change"
    tiny.run(study, root, "evaluate")
    assert calls.take() == 0


def test_a_student_that_does_not_know_the_words_is_not_asked(tmp_path):
    (tmp_path / "polite.txt").write_text("Please: {problem}")
    student = tiny.student(tmp_path / "student")
    study = tiny.study(student, **ONE, evaluate={"paraphrases": [str(tmp_path / "polite.txt")]})
    lines = tiny.failures(study, tmp_path / "run", "evaluate")
    assert (
        "evaluate/t/base~polite/signs: its tokenizer does not know 'Please:' in polite.txt; leave evaluate.paraphrases "
        "out, or name wordings of its own vocabulary"
    ) in lines
