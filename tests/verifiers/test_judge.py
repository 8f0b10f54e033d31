"""A model as a verifier: what it is asked, how it is read, and that nothing is asked twice."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import tiny
from mixdistill import evaluate, graded, pipeline, resolve, students
from mixdistill.errors import RecipeError
from mixdistill.fake.answers import Known, Manner
from mixdistill.fake.server import Pace, Provider, serving
from mixdistill.lab import domain
from mixdistill.prompts import JUDGE, shipped
from mixdistill.recipe import Recipe, build, render
from mixdistill.sections import Verify
from mixdistill.store import Store
from mixdistill.types import Completion, Decision, Outcome, Trace, Verdict
from mixdistill.verifiers.judge import Judge, vote

C, W, N, T, E = Outcome.CORRECT, Outcome.INCORRECT, Outcome.NO_ANSWER, Outcome.TRUNCATED, Outcome.ERROR
SILENT = "<think>a</think>"
BACKEND = """
from mixdistill.types import Completion, Usage

class Says:
    '''Says True where one of some words stands in the given answer; keeps what it was asked.'''
    asked = []
    NOT_IDENTITY = frozenset({"dies_after"})

    def __init__(self, model, *, right="", fails="", dies_after=None, says=("True", "False")):
        self.right, self.fails, self.dies_after, self.says = right.split(), fails, dies_after, list(says)

    def generate(self, requests):
        for position, request in enumerate(requests):
            if self.dies_after is not None and position >= self.dies_after:
                raise KeyboardInterrupt
            type(self).asked.append(request)
            given = request.prompt.partition("<given>")[2].partition("</given>")[0].split()
            if self.fails and self.fails in given:
                yield position, Completion(error="status 500")
                continue
            says = self.says[not any(word in given for word in self.right)]
            yield position, Completion(content=says, finish_reason="stop", usage=Usage(completion_tokens=10))
"""
FIRST = """
from mixdistill.types import Outcome, Verdict

def first(problem, trace, *, accepts="a"):
    right = trace.content in accepts.split()
    return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT if right else Outcome.INCORRECT)

def marked(problem, trace):
    guess = "guess" in trace.content
    return Verdict(trace_id=trace.id, outcome=Outcome.INCORRECT, strict=Outcome.NO_ANSWER if guess else None,
                   answer=trace.content.split()[-1])
"""


# -- reading votes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ("True", True), ("False", False), (" true.\n", True), ("**False**", False), ('"True"', True), ("`true`", True),
        ("Yes, the same value.", True), ("No", False), ("no, it is 4", False), ("Correct!", True), ("INCORRECT", False),
        ("Answer: True", True), ("Final verdict: **False**", False), ("The answer is correct.", True),
        ("Judgement = false", False), ("True\\n\\nThe given answer is not false but 4.", True),
        ("False. The correct answer is 5, and the given answer is incorrect.", False),
        ("The given answer matches the correct answer: True", True),
        ("4 does not match the correct answer 5, so False", False),
        ("The given answer is incorrect.", False), ("It says 1/2, which is correct.", True),
        ("There is no doubt that it is correct.", True),
        ("", None), ("   ", None), ("42", None), ("I cannot say.", None), ("True or False", None),
        ("Yes/No", None), ("True | False", None), ("It is not true.", None), ("It isn't correct", None),
        ("It is neither true nor false", None), ("One may call it true, another false.", None),
        ("The correct answer is 5.", None), ("Correct answer: 5", None), ("truest", None), ("notably", None),
    ],
)  # fmt: skip
def test_a_vote_is_read_where_it_says_one_thing_alone(content, read):
    assert vote(content) is read


def said(*contents: str | None) -> list[Completion]:
    return [Completion(error="status 500") if c is None else Completion(content=c) for c in contents]


@pytest.mark.parametrize(
    ("votes", "outcome", "rule", "explanation"),
    [
        (["True"], C, "judge/1 of 1", "1 true, 0 false"),
        (["False"], W, "judge/1 of 1", "0 true, 1 false"),
        (["True", "False", "True"], C, "judge/2 of 3", "2 true, 1 false"),
        (["False", "hm", "False"], W, "judge/2 of 3", "0 true, 2 false, 1 unreadable"),
        (["True", "hm", "hm"], E, "judge", "no majority: 1 true, 0 false, 2 unreadable (it said 'hm')"),
        (["True", None, "True"], C, "judge/2 of 3", "2 true, 0 false, 1 without an answer"),
        (["True", "False"], E, "judge", "no majority: 1 true, 1 false"),
        (["so so"], E, "judge", "no majority: 0 true, 0 false, 1 unreadable (it said 'so so')"),
        ([""], E, "judge", "no majority: 0 true, 0 false, 1 unreadable (it said nothing; finish_reason unknown)"),
        ([None], E, "judge", "no majority: 0 true, 0 false, 1 without an answer (status 500)"),
        (
            ["True", None, "hm"],
            E,
            "judge",
            "no majority: 1 true, 0 false, 1 unreadable, 1 without an answer (status 500)",
        ),
        ([], E, "judge", "no majority: 0 true, 0 false, 1 without an answer"),
    ],
)
def test_the_majority_of_votes_decides_and_what_failed_must_not_be_able_to_turn_it(votes, outcome, rule, explanation):
    judge = Judge(model="m", votes=max(1, len(votes)), sampling={"temperature": 1.0})  # ty: ignore[invalid-argument-type]
    found = judge.verdict(tiny.trace(tiny.problem("Q")), "42", said(*votes))
    assert (found.outcome, found.rule, found.explanation, found.answer) == (outcome, rule, explanation, "42")


def test_a_no_to_a_trace_that_was_cut_does_not_make_it_wrong():
    cut = tiny.trace(tiny.problem("Q"), finish_reason="length")
    assert Judge(model="m").verdict(cut, None, said("False")).outcome is T
    assert Judge(model="m").verdict(cut, None, said("True")).outcome is C


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_the_shipped_prompt_shows_problem_reference_and_the_answer_that_was_found():
    problem = tiny.problem("What is {answer} and {reference}?", "x = 3")
    asked = Judge(model="m").question(problem, tiny.trace(problem, content="so it is 3"), "3")
    text = shipped(JUDGE)["judge"].read_text(encoding="utf-8")
    for name, value in {"answer": "3", "reference": "x = 3"}.items():
        text = text.replace(f"{{{name}}}", value)
    assert asked == text.replace("{problem}", problem.prompt), "what a problem says is never filled in"


def test_without_an_answer_found_the_end_of_the_answer_part_is_shown():
    problem = tiny.problem("Q", "A")
    asked = Judge(model="m").question(problem, tiny.trace(problem, content="b" * 3000 + "e" * 1000), None)
    assert isinstance(asked, str)
    assert f"<given>\n{'b' * 1000}{'e' * 1000}\n</given>" in asked
    asked = Judge(model="m").question(problem, tiny.trace(problem, content="long"), "9" * 10**6)
    assert f"<given>\n{'9' * 2000}\n</given>" in str(asked), "nor is more of an answer that was found"


def test_where_there_is_nothing_to_ask_nobody_is_asked():
    problem, judge = tiny.problem("Q", "A"), Judge(model="m")

    def outcome(of, **fields: Any) -> Outcome:
        found = judge.question(of, tiny.trace(problem, **fields), None)
        assert isinstance(found, Verdict)
        return found.outcome

    assert outcome(problem, content=" ") is N
    assert outcome(problem, reasoning="A", finish_reason="length") is T
    assert outcome(problem.model_copy(update={"answer": " "}), content="A") is E


def test_a_prompt_of_ones_own_may_be_text_or_jinja(tmp_path):
    problem = tiny.problem("Q", "A")
    trace = tiny.trace(problem, content="long talk: B")
    for name, text in {
        "own.txt": "{answer}|{content}|{reference}|{problem}|{other}",
        "own.jinja": "{{ answer }}|{{ content }}|{{ reference }}|{{ problem }}|{% raw %}{other}{% endraw %}",
    }.items():
        (tmp_path / name).write_text(text)
        asked = Judge(model="m", prompt=str(tmp_path / name)).question(problem, trace, "B")
        assert asked == "B|long talk: B|A|Q|{other}"


# -- in a chain -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


class Studies:
    """Studies in a folder over recorded traces with these contents, judged by `first` and a scripted judge."""

    def __init__(self, model: str, folder: Path) -> None:
        self.model, self.folder, self.contents = model, folder, ["a", "b", "c", "d"]
        self.finish, self.limit = ["stop"] * 40, 0
        (folder / "judges.py").write_text(BACKEND)
        (folder / "own.py").write_text(FIRST)
        self.asked = resolve.load(f"{folder / 'judges.py'}:Says").asked

    def __call__(self, *, first: str = "first", error_rate: float = 0.0, rule: str | None = None, audit: float = 0.0,
                 alone: bool = False, **judge: Any):  # fmt: skip
        file = self.folder / "traces.jsonl"
        if not file.exists():
            prompts = [str(p.prompt) for p in domain.problems("train", count=len(self.contents))]
            rows = zip(prompts, self.contents, self.finish, strict=False)
            keys = ("prompt", "completion", "finish_reason")
            file.write_text("".join(json.dumps(dict(zip(keys, r, strict=True))) + "\n" for r in rows))
        teacher = {"backend": "recorded", "model": "old", "path": str(file), "finish_reason_column": "finish_reason"}
        judge = {"model": "some/judge", "backend": f"{self.folder / 'judges.py'}:Says", **judge}
        verify = {"verifier": "judge", **judge} if alone else {
            "verifier": [f"{self.folder / 'own.py'}:{first}", "judge"], "audit": audit, "judge": judge,
        }  # fmt: skip
        return tiny.study(
            self.model, teachers={"old": teacher}, arms={"old": {"old": 1}}, contrasts={}, error_rate=error_rate,
            verify=verify | ({"rule": rule} if rule else {}),
            problems=tiny.problem_sets(self.limit or len(self.contents), 5),
        )  # fmt: skip

    def run(self, **keys: Any) -> Store:
        return tiny.run(self(**keys), self.folder / "run", "generate", "verify")[0]

    def taken(self) -> list[str]:
        """The answers that the judge was shown since the last look."""
        found = [r.prompt.partition("<given>\n")[2].partition("\n</given>")[0] for r in self.asked]
        self.asked.clear()
        return found


@pytest.fixture
def studies(model, tmp_path) -> Studies:
    return Studies(model, tmp_path)


def outcomes(store: Store) -> list[str]:
    return [d.outcome.value for d in store.read(store.folder("verify", "old"), Decision, "decisions")]


def of_judge(store: Store) -> list[Verdict]:
    rows = store.read(store.folder("verify", "old"), Verdict, "verdicts")
    return [v for v in rows if v.verifier == "judge"]


def facts(store: Store) -> dict[str, Any]:
    marker = store.marker(store.folder("verify", "old"))
    assert marker is not None
    return marker["facts"]


def test_the_judge_sees_what_the_first_did_not_accept(studies):
    store = studies.run(right="b")
    assert outcomes(store) == ["correct", "correct", "incorrect", "incorrect"]
    assert studies.taken() == ["b", "c", "d"]
    assert [(v.outcome.value, v.rule, v.version) for v in of_judge(store)] == [
        ("correct", "judge/1 of 1", "1"), ("incorrect", "judge/1 of 1", "1"), ("incorrect", "judge/1 of 1", "1")
    ]  # fmt: skip
    decisions = store.read(store.folder("verify", "old"), Decision, "decisions")
    assert [d.flexible.value for d in decisions] == ["correct", "incorrect", "incorrect", "incorrect"]


def test_it_is_asked_greedily_for_at_most_20_tokens_unless_set(studies):
    studies.run()
    assert {(r.sampling.temperature, r.sampling.max_tokens) for r in studies.asked} == {(0.0, 20)}
    studies.taken()
    studies.run(sampling={"temperature": 0.7}, votes=2)
    assert {(r.sampling.temperature, r.sampling.max_tokens) for r in studies.asked} == {(0.7, 20)}
    assert len({r.seed for r in studies.asked}) == len(studies.asked) == 6


def test_an_answer_that_was_only_guessed_is_shown_with_its_text(studies):
    studies.contents = ["it is 7", "a guess 8"]
    studies.run(first="marked")
    assert studies.taken() == ["7", "a guess 8"]


def test_agreement_in_the_audit_and_the_misses_is_in_the_marker(studies):
    studies.contents, studies.finish = ["a", "b", "c", "d", SILENT], ["stop"] * 4 + ["length"]
    store = studies.run(audit=1, right="b", fails="d", error_rate=0.5)
    assert facts(store)["agreement"] == [
        {"verifier": "judge", "accepted": 1, "audited": 1, "confirmed": 0, "missed": 2, "rescued": 1, "failed": 1}
    ]
    assert facts(store)["asked"] == {"judge": {"traces": 4, "stop": 3, "error": 1, "completion_tokens": 30}}
    assert outcomes(store) == ["correct", "correct", "incorrect", "incorrect", "incorrect"]
    assert [v.explanation for v in of_judge(store) if v.outcome is E] == [
        "no majority: 0 true, 0 false, 1 without an answer (status 500)"
    ]


def test_the_same_question_is_asked_once_whichever_traces_it_is_about(studies):
    studies.contents = ["b", "b", "b"]
    prompts = [p.prompt for p in domain.problems("train", count=3)]
    studies.run(right="b")
    assert len(set(prompts)) == len(studies.taken()) == 3
    (studies.folder / "same.txt").write_text("<given>{answer}</given>{reference}"[:25])
    studies.run(right="b", prompt=str(studies.folder / "same.txt"))
    assert len(studies.asked) == 1


def test_nothing_that_was_answered_is_asked_again(studies):
    studies.contents, studies.limit = ["a", "b", "c", "d", "e"], 4
    studies.run(right="b")
    assert studies.taken() == ["b", "c", "d"]
    studies.limit = 5
    assert outcomes(studies.run(right="b"))[-1] == "incorrect"
    assert studies.taken() == ["e"], "an extension"
    assert outcomes(studies.run(right="b", rule="flexible")) == ["correct"] + ["incorrect"] * 4
    assert studies.taken() == [], "another rule"
    assert facts(studies.run(right="b"))["asked"] == {"judge": {"traces": 4, "stop": 4, "completion_tokens": 40}}
    studies.run(right="c")
    assert studies.taken() == ["b", "c", "d", "e"], "another option of the backend"
    assert outcomes(studies.run(right="b"))[:2] == ["correct", "correct"]
    assert studies.taken() == [], "changed back"


def test_more_votes_ask_only_for_those_that_are_missing(studies):
    studies.contents = ["b", "c"]
    studies.run(right="b", sampling={"temperature": 1.0}, votes=1)
    assert studies.taken() == ["b", "c"]
    store = studies.run(right="b", sampling={"temperature": 1.0}, votes=3)
    assert studies.taken() == ["b", "c", "b", "c"]
    assert [v.rule for v in of_judge(store)] == ["judge/3 of 3", "judge/3 of 3"]


def test_what_failed_is_asked_again_and_nothing_else(studies):
    studies.run(right="b", fails="c", error_rate=0.5)
    studies.taken()
    tiny.run(studies(right="b", fails="c", error_rate=0.5), studies.folder / "run", "verify")
    assert studies.taken() == [], "the unit is done"
    (studies.folder / "run" / "verify" / "old" / "done.json").unlink()
    studies.run(right="b", fails="c", error_rate=0.5)
    assert studies.taken() == ["c"]


def test_retry_asks_again_for_what_failed_and_nothing_else(studies):
    study, root = studies(right="b", fails="c", error_rate=0.5), studies.folder / "run"
    tiny.run(study, root, "generate", "verify")
    assert studies.taken() == ["b", "c", "d"]
    with mock.patch.object(pipeline, "Local", tiny.Inline):
        assert pipeline.run(study, Store(root), stages=("verify",), watcher=tiny.Silent(), retry=True) == []
    assert studies.taken() == ["c"]


def test_too_many_failures_end_the_stage_and_keep_what_was_answered(studies):
    study = studies(right="b", fails="c")
    tiny.run(study, studies.folder / "run", "generate")
    (line,) = tiny.failures(study, studies.folder / "run", "verify")
    assert line.startswith("verify/old: 1 of 3 verdicts of judge are errors, more than error_rate=0; the first, of ")
    assert "no majority: 0 true, 0 false, 1 without an answer (status 500); run again to ask again, " in line
    assert studies.taken() == ["b", "c", "d"]
    tiny.failures(study, studies.folder / "run", "verify")
    assert studies.taken() == ["c"]


def test_answers_that_cannot_be_read_end_the_stage_with_what_was_said(studies):
    studies.contents = ["b"]
    study = studies(right="b", says=["Let me see: the", "False"], sampling={"max_tokens": 4})
    root = studies.folder / "run"
    tiny.run(study, root, "generate")
    trace = tiny.Store(root).read(root / "generate" / "old", Trace, "traces")[0]
    assert tiny.failures(study, root, "verify") == [
        f"verify/old: 1 of 1 verdicts of judge are errors, more than error_rate=0; the first, of trace {trace.id}: no "
        "majority: 0 true, 0 false, 1 unreadable (it said 'Let me see: the'); run again to ask again, look at its "
        "prompt and sampling.max_tokens, or raise error_rate"
    ]


def test_a_killed_judge_goes_on_with_the_answers_it_has(studies):
    with pytest.raises(KeyboardInterrupt):
        studies.run(right="b", dies_after=2)
    assert studies.taken() == ["b", "c"]
    store = studies.run(right="b")
    assert studies.taken() == ["d"]
    assert outcomes(store) == ["correct", "correct", "incorrect", "incorrect"]


def test_a_judge_alone_judges_every_trace_with_an_answer_part(studies):
    studies.contents, studies.finish = ["a", "b", SILENT, SILENT], ["stop"] * 3 + ["length"]
    store = studies.run(alone=True, right="b")
    assert studies.taken() == ["a", "b"]
    assert outcomes(store) == ["incorrect", "correct", "no_answer", "truncated"]
    assert "agreement" not in facts(store)


def test_no_request_is_sent_that_could_go_over_the_limit(studies):
    study = studies(right="b", price={"completion": 1_000_000}, spend={"cost": 19})
    tiny.run(study, studies.folder / "run", "generate")
    assert tiny.failures(study, studies.folder / "run", "verify") == [
        "verify/old: 0 of 3 traces are there; $0.00 spent by judge, and the next request could go over spend.cost=19; "
        "raise it to go on, or give a --limit"
    ]
    assert studies.taken() == []


def test_a_limit_holds_for_the_judge_over_all_units(studies):
    study = studies(right="b", spend={"tokens": 50})
    old = study.teachers["old"]
    study = study.model_copy(update={"teachers": {"old": old, "other": old}})
    tiny.run(study, studies.folder / "run", "generate")
    assert tiny.failures(study, studies.folder / "run", "verify") == [
        "verify/other: 1 of 3 traces are there; 40 tokens sampled by judge, and the next request could go over "
        "spend.tokens=50; raise it to go on, or give a --limit"
    ]
    assert studies.taken() == ["b", "c", "d", "b"]


def test_answers_of_a_judge_may_stand_in_a_file(studies):
    study = studies()
    problems, rows = domain.problems("train", count=4), []
    for problem, content, says in zip(problems, "abcd", ("", "Yes", "No", None), strict=True):
        asked = Judge(model="m").question(problem, tiny.trace(problem, content=content), None)
        rows += [{"prompt": asked, "completion": says, "finish_reason": "stop"}] if says else []
    (studies.folder / "answers.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    judge = {"model": "j", "backend": "recorded", "path": str(studies.folder / "answers.jsonl"), "complete": True}
    verify = {"verifier": study.verify.verifier, "audit": 0, "judge": judge}
    study = study.model_copy(update={"verify": Verify.model_validate(verify), "error_rate": 0.5})
    store, _ = tiny.run(study, studies.folder / "run", "generate", "verify")
    assert [(v.outcome, v.explanation) for v in of_judge(store)] == [
        (C, "1 true, 0 false"),
        (W, "0 true, 1 false"),
        (E, "no majority: 0 true, 0 false, 1 without an answer"),
    ]


def test_a_model_on_this_machine_may_judge(studies, tmp_path):
    study = studies()
    local = {"model": tiny.byte_student(tmp_path / "judge"), "backend": "transformers", "sampling": {"max_tokens": 3}}
    verify = {"verifier": study.verify.verifier, "audit": 0, "judge": local}
    study = study.model_copy(update={"verify": Verify.model_validate(verify), "error_rate": 0.99})
    store, _ = tiny.run(study, studies.folder / "run", "generate")
    tiny.failures(study, store.root, "verify")
    answers = store.read(store.folder("verify", "old") / "judge", Trace, "traces")
    assert [t.usage.completion_tokens for t in answers] == [3, 3, 3]
    assert {t.error for t in answers} == {None}


OWN = """
from mixdistill.types import Outcome, Verdict
from mixdistill.verifiers.judge import Judge

class Brief(Judge):
    greeting: str = "Hello"

    def question(self, problem, trace, answer):
        return f"{self.greeting}, <given>{trace.content}</given>?"

    def verdict(self, trace, answer, votes):
        return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT, rule=votes[0].content)

class Plain:
    pass
"""


def test_a_judge_of_ones_own_asks_and_reads_in_its_own_way(studies):
    (studies.folder / "mine.py").write_text(OWN)
    study = studies(right="b")
    judge = study.verify.options["judge"] | {"greeting": "Hi"}
    verify = {"verifier": [study.verify.chain[0].name, f"{studies.folder / 'mine.py'}:Brief"], "Brief": judge}
    study = study.model_copy(update={"verify": Verify.model_validate(verify)})
    store, _ = tiny.run(study, studies.folder / "run", "generate", "verify")
    assert [r.prompt for r in studies.asked] == [f"Hi, <given>{c}</given>?" for c in "bcd"]
    assert outcomes(store) == ["correct"] * 4
    rows = store.read(store.folder("verify", "old"), Verdict, "verdicts")
    assert [v.rule for v in rows if v.verifier.endswith("Brief")] == ["True", "False", "False"]
    assert len(store.read(store.folder("verify", "old") / "Brief", Trace, "traces")) == 3


def test_a_class_that_cannot_ask_is_refused(studies):
    (studies.folder / "mine.py").write_text(OWN)
    with pytest.raises(RecipeError) as e:
        tiny.study(studies.model, verify={"verifier": f"{studies.folder / 'mine.py'}:Plain"})
    assert "verify: Plain is a class; one that asks a model is made of verifiers.judge:Judge" in str(e.value)


# -- in evaluation ----------------------------------------------------------------------------------------------------


def test_students_are_judged_as_teachers_are_at_every_cap(model, tmp_path, monkeypatch):
    (tmp_path / "judges.py").write_text(BACKEND)
    (tmp_path / "own.py").write_text(FIRST)
    judge = {"model": "j", "backend": f"{tmp_path / 'judges.py'}:Says", "right": "ok"}
    verify = {"verifier": [f"{tmp_path / 'own.py'}:first", "judge"], "judge": judge}
    one = {"seeds": 1, "arms": {"short": {"short": 1}}, "contrasts": {"over": ["short", "base"]}}

    class Actor:
        def generate(self, requests):
            for position, _ in enumerate(requests):
                content = ["a", "x ok", "x x"][position % 3]
                ids = [position] * len(content.split())
                yield position, Completion(content=content, finish_reason="stop", token_ids=ids)

    monkeypatch.setattr(students, "make_backend", lambda *_: Actor())
    monkeypatch.setattr(students, "cut", lambda trace, cap, template: trace if cap is None else trace.model_copy(
        update={"content": trace.content.split()[0], "finish_reason": "length"} if " " in trace.content else {}
    ))  # fmt: skip
    study = tiny.study(model, verify=verify, problems=tiny.problem_sets(2, 3), **one, evaluate={"caps": [1]})
    folder = Store(tmp_path / "run").folder("evaluate", "t", "base", "signs")
    store, _ = tiny.run(study, tmp_path / "run", "generate")
    unit = next(u for u in evaluate.units(study, store) if u.key == ("t", "base", "signs"))
    done = evaluate.run(unit, study, store)
    counts = [(d.max_tokens, d.outcome) for d in store.read(folder, Decision, "decisions")]
    assert counts == [(None, C), (None, C), (None, W), (1, C), (1, W), (1, W)]
    assert done.counts["correct"] == 2
    assert done.facts["agreement"][0]["missed"] == 2
    assert len(store.read(folder / "judge", Trace, "traces")) == 4
    authors = [g.author for g in graded.tables(store)]
    assert authors == ["teacher/long", "teacher/short", "student/t/base"], "a judge's answers are nobody's traces"


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verify", "line"),
    [
        ({"verifier": "judge"}, "verify.model: missing; Judge needs it"),
        ({"verifier": ["signs", "judge"]}, "verify.judge.model: missing; Judge needs it"),
        (
            {"verifier": ["signs", "judge"], "judge": {"model": "m", "base_ulr": "http://x/v1"}},
            "verify.judge.base_ulr: not an option of OpenAI (got 'http://x/v1'); did you mean 'base_url'?",
        ),
        (
            {"verifier": ["signs", "judge"], "judge": {"model": "m", "vots": 3}},
            "verify.judge.vots: not an option of OpenAI (got 3); did you mean 'votes'?",
        ),
        (
            {"verifier": ["signs", "judge"], "judge": {"model": "m", "votes": 3}},
            "verify.judge.votes: at temperature 0 they are all the same (got 3); set sampling.temperature, or leave "
            "votes out",
        ),
        (
            {"verifier": ["signs", "judge"], "judge": {"model": "m", "votes": 0}},
            "verify.judge.votes: input should be greater than or equal to 1 (got 0)",
        ),
        (
            {"verifier": ["signs", "judge"], "judge": {"model": "m", "sampling": {"top_p": 2}}},
            "verify.judge.sampling.top_p: must be above 0, at most 1 (got 2)",
        ),
        (
            {"verifier": ["signs", "judge"], "judge": {"model": "m", "prompt": "jugde"}},
            "verify.judge.prompt: no prompt 'jugde'; did you mean 'judge'?",
        ),
        (
            {"verifier": ["signs", "judge"], "judge": {"model": "m", "backend": "opneai"}},
            "verify.judge: 'opneai' is not a backend; did you mean 'openai'? (your own: package.module:name or "
            "path/file.py:name)",
        ),
    ],
)
def test_what_is_wrong_with_a_judge_is_said_before_anything_runs(model, verify, line):
    with pytest.raises(RecipeError) as e:
        tiny.study(model, verify=verify)
    assert line in str(e.value)


def test_a_judge_that_comes_first_cannot_say_when_to_stop_buying(model):
    teacher = {"backend": "scripted", "model": "long", "until_correct": 1, "max_samples": 4}
    with pytest.raises(RecipeError) as e:
        tiny.study(
            model, teachers={"long": teacher}, arms={"long": {"long": 1}}, contrasts={},
            verify={"verifier": "judge", "model": "m"},
        )  # fmt: skip
    assert (
        "teachers.long.until_correct: 'judge' asks a model about every trace; put a verifier that does not before it, "
        "or set samples"
    ) in str(e.value)


def test_a_recipe_with_a_judge_is_written_and_read_again(model):
    study = tiny.study(model, verify={"verifier": ["signs", "judge"], "judge": {"model": "m"}})
    assert build(study.model_dump(mode="json", exclude_none=True, exclude_unset=True)).verify == study.verify


# -- over HTTP --------------------------------------------------------------------------------------------------------


class Served(Studies):
    """The same with a judge behind a server on this machine."""

    def provider(self, **how: Any) -> Provider:
        return Provider(Known(domain.problems("train", count=1), lambda p: p.answer), {"j": Manner(judges=True)}, **how)

    def study(self, url: str) -> Recipe:
        judge = {"model": "j", "base_url": url, "concurrency": 1}
        return self().model_copy(update={"verify": Verify.model_validate({**self.first, "judge": judge})})

    @property
    def first(self) -> dict[str, Any]:
        return {"verifier": [f"{self.folder / 'own.py'}:first", "judge"], "audit": 1}


@pytest.fixture
def served(model, tmp_path) -> Served:
    found = Served(model, tmp_path)
    found.contents = ["a"] * 12 + ["b"] * 12
    return found


def test_a_killed_process_has_asked_nothing_in_vain(served):
    """Beyond what was in flight. What it comes to is what an uninterrupted run comes to."""
    root = served.folder / "run"
    provider = served.provider(pace=Pace(base=0.04))
    with serving(provider) as url:
        file = served.folder / "study.yaml"
        file.write_text(render(served.study(url)))
        tiny.run(served.study(url), root, "generate")
        command = [sys.executable, "-m", "mixdistill", "verify", str(file), "--out", str(root)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while provider.ended["whole"] < 6:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert provider.ended["whole"] < 24
        assert subprocess.run(command, capture_output=True).returncode == 0
        assert 24 <= provider.ended["whole"] <= 25
        again = tiny.run(served.study(url), served.folder / "other", "generate", "verify")[0]
    assert of_judge(Store(root)) == of_judge(again)
    assert len(of_judge(again)) == 24
    assert Counter(v.outcome for v in of_judge(again)).keys() == {C, W}
