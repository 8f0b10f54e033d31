"""Chains of verifiers: who judges what, what it comes to, and that nothing is judged twice."""

import itertools
import json
import os
import sys
from pathlib import Path

import pytest

import tiny
from mixdistill import chain
from mixdistill.chain import decide, fingerprint, is_audited
from mixdistill.errors import RecipeError
from mixdistill.lab import domain
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Trace, Verdict
from mixdistill.verifiers import grading

C, W, N, T, E = Outcome.CORRECT, Outcome.INCORRECT, Outcome.NO_ANSWER, Outcome.TRUNCATED, Outcome.ERROR
SAYS = """
from mixdistill.types import Outcome, Verdict
VERSION = "1"

def {name}(problem, trace, *, accepts="", fails=""):
    if fails and fails in trace.content:
        raise ValueError("cannot read this")
    right = any(word in trace.content.split() for word in accepts.split())
    return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT if right else Outcome.INCORRECT, strict=Outcome.NO_ANSWER)
"""
"""A verifier that accepts what holds one of some words, and fails on another."""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.fixture
def asked(monkeypatch) -> list[tuple[int, str]]:
    """(link, content) of everything that a verifier was really asked."""
    found: list[tuple[int, str]] = []
    grade = chain.grade

    def watched(recipe, items, link=0):
        found.extend((link, t.content) for _, t in items)
        return grade(recipe, items, link)

    monkeypatch.setattr(chain, "grade", watched)
    return found


def taken(asked: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """What was asked since the last look."""
    found = asked.copy()
    asked.clear()
    return found


class Studies:
    """Studies in a folder, over recorded traces with these contents; verifiers `one` and `two` in a file."""

    def __init__(self, model: str, folder: Path) -> None:
        self.model, self.folder, self.contents = model, folder, ["a", "b", "c", "d"]
        self.limit: int | None = None
        for name in ("one", "two"):
            (folder / f"{name}.py").write_text(SAYS.format(name=name))

    def __call__(self, **verify):
        file = self.folder / "traces.jsonl"
        prompts = [str(p.prompt) for p in domain.problems("train", count=len(self.contents))]
        rows = [
            {"prompt": p, "completion": c, "finish_reason": "stop"} for p, c in zip(prompts, self.contents, strict=True)
        ]
        file.write_text("".join(json.dumps(r) + "\n" for r in rows))
        teacher = {"backend": "recorded", "model": "old", "path": str(file), "finish_reason_column": "finish_reason"}
        one, two = (f"{self.folder / name}.py:{name}" for name in ("one", "two"))
        if "verifier" not in verify:
            verify["verifier"] = [one, two] if "two" in verify else one
        return tiny.study(
            self.model, teachers={"old": teacher}, arms={"old": {"old": 1}}, contrasts={}, verify=verify,
            problems=tiny.problem_sets(self.limit or len(self.contents), 5), error_rate=0.5,
        )  # fmt: skip

    def run(self, **verify) -> Store:
        return tiny.run(self(**verify), self.folder / "run", "generate", "verify")[0]


@pytest.fixture
def studies(model, tmp_path) -> Studies:
    return Studies(model, tmp_path)


def decisions(store: Store) -> list[str]:
    return [d.outcome.value for d in store.read(store.folder("verify", "old"), Decision, "decisions")]


def verdicts(store: Store) -> list[Verdict]:
    return store.read(store.folder("verify", "old"), Verdict, "verdicts")


# -- what verdicts come to --------------------------------------------------------------------------------------------


def said(*outcomes: Outcome, strict: Outcome | None = None) -> list[Verdict]:
    first, *later = [Verdict(trace_id="t", max_tokens=8, outcome=o) for o in outcomes]
    return [first.model_copy(update={"strict": strict}), *later]


@pytest.mark.parametrize(
    ("outcomes", "judge"),
    [
        ((C,), C), ((W,), W), ((E,), E),
        ((W, C), C), ((N, C), C), ((T, C), C), ((E, C), C),
        ((C, W), C), ((C, E), C),
        ((W, W), W), ((N, W), N), ((T, W), T), ((W, E), W),
        ((E, W), W), ((E, E, W), W), ((E, E), E), ((W, W, C), C),
    ],
)  # fmt: skip
def test_the_chain_accepts_what_anybody_accepts_and_a_verifier_that_failed_gives_way(outcomes, judge):
    found = decide(said(*outcomes), "judge")
    assert (found.judge, found.outcome, found.flexible) == (judge, judge, outcomes[0])


def test_the_first_verifier_alone_has_two_readings():
    found = decide(said(W, C, strict=N), "strict")
    assert found == Decision(trace_id="t", max_tokens=8, outcome=N, strict=N, flexible=W, judge=C)
    assert decide(said(W, C, strict=N), "flexible").outcome is W
    assert decide(said(C), "strict").strict is C, "a verifier with one reading"


# -- who judges what --------------------------------------------------------------------------------------------------


def test_a_later_verifier_judges_what_none_before_accepted(studies, asked):
    store = studies.run(accepts="a", two={"accepts": "b"}, audit=0)
    assert asked == [(0, "a"), (0, "b"), (0, "c"), (0, "d"), (1, "b"), (1, "c"), (1, "d")]
    assert decisions(store) == ["correct", "correct", "incorrect", "incorrect"]
    names = [Path(v.verifier).name for v in verdicts(store)]
    assert names == ["one.py:one", *["one.py:one", "two.py:two"] * 3]
    assert all(v.judged for v in verdicts(store))


def test_a_trace_without_an_answer_part_goes_to_no_later_verifier(studies, asked):
    studies.contents = ["a", "<think>b</think>", "c"]
    studies.run(accepts="a", two={}, audit=0)
    assert asked == [(0, "a"), (0, ""), (0, "c"), (1, "c")]


def test_the_audit_takes_accepted_traces_by_their_ids_alone(studies, asked):
    studies.contents = ["a"] * 40
    store = studies.run(accepts="a", two={}, audit=0.3)
    chosen = {t.id for t in store.read(store.folder("generate", "old"), Trace, "traces") if is_audited(t.id, 0.3)}
    assert 0 < len(chosen) < 40
    assert {v.trace_id for v in verdicts(store) if v.verifier.endswith("two")} == chosen
    assert decisions(store) == ["correct"] * 40, "an audit takes nothing away"


def test_an_audit_sample_lies_in_every_larger_one():
    ids = [str(n) for n in range(2000)]
    small, large = ({i for i in ids if is_audited(i, share)} for share in (0.05, 0.2))
    assert small < large
    assert (60 < len(small) < 140) and (330 < len(large) < 470)
    assert not any(is_audited(i, 0.0) for i in ids)
    assert all(is_audited(i, 1.0) for i in ids)


# -- nothing is judged twice ------------------------------------------------------------------------------------------


def test_an_extension_judges_only_what_is_new(studies, asked):
    studies.contents, studies.limit = ["a", "b", "c", "d", "e"], 4
    studies.run(accepts="a", two={"accepts": "b"})
    taken(asked)
    studies.limit = 5
    store = studies.run(accepts="a", two={"accepts": "b"})
    assert asked == [(0, "e"), (1, "e")]
    assert decisions(store) == ["correct", "correct", "incorrect", "incorrect", "incorrect"]


def test_another_rule_judges_nothing_again(studies, asked):
    store = studies.run(accepts="a", two={"accepts": "b"})
    before = verdicts(store)
    taken(asked)
    assert decisions(studies.run(accepts="a", two={"accepts": "b"}, rule="flexible"))[:2] == ["correct", "incorrect"]
    assert set(decisions(studies.run(accepts="a", two={"accepts": "b"}, rule="strict"))) == {"no_answer"}
    assert asked == []
    assert verdicts(store) == before


def test_a_larger_audit_judges_only_what_it_adds(studies, asked):
    studies.contents = ["a"] * 40
    first = studies.run(accepts="a", two={}, audit=0.2)
    seen = sum(v.verifier.endswith("two") for v in verdicts(first))
    taken(asked)
    studies.run(accepts="a", two={}, audit=1)
    assert [link for link, _ in asked] == [1] * (40 - seen)


def test_other_options_of_one_verifier_ask_that_one_alone(studies, asked):
    studies.run(accepts="a", two={"accepts": "b"}, audit=0)
    taken(asked)
    store = studies.run(accepts="a", two={"accepts": "c"}, audit=0)
    assert asked == [(1, "b"), (1, "c"), (1, "d")]
    assert decisions(store) == ["correct", "incorrect", "correct", "incorrect"]


def test_a_raised_version_asks_that_verifier_alone(studies, asked):
    studies.run(accepts="a", two={}, audit=0)
    taken(asked)
    file = studies.folder / "one.py"
    file.write_text(file.read_text().replace('VERSION = "1"', 'VERSION = "2"'))
    later = file.stat().st_mtime + 2  # compiled code is told apart by whole seconds and size
    os.utime(file, (later, later))
    for name in [n for n, m in sys.modules.items() if getattr(m, "__file__", None) == str(file)]:
        del sys.modules[name]
    grading.stop()
    store = studies.run(accepts="a", two={}, audit=0)
    assert asked == [(0, "a"), (0, "b"), (0, "c"), (0, "d")]
    assert {(Path(v.verifier).stem, v.version) for v in verdicts(store)} == {("one", "2"), ("two", "1")}


def test_a_verifier_put_behind_another_leaves_what_was_judged(studies, asked):
    studies.run(accepts="a")
    taken(asked)
    studies.run(accepts="a", two={}, audit=0)
    assert asked == [(1, "b"), (1, "c"), (1, "d")]


def test_a_verifier_that_failed_is_asked_again(studies, asked):
    store = studies.run(accepts="a", fails="b")
    assert decisions(store) == ["correct", "error", "incorrect", "incorrect"]
    taken(asked)
    studies.run(accepts="a", fails="b", deadline=7)
    assert asked == [(0, "b")]


def test_grading_that_was_killed_goes_on_where_it_was(studies, asked, monkeypatch):
    monkeypatch.setattr(chain, "AT_ONCE", 2)
    grade, calls = chain.grade, itertools.count()

    def killed(recipe, items, link=0):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return grade(recipe, items, link)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(chain, "grade", killed)
        studies.run(accepts="a")
    taken(asked)
    store = studies.run(accepts="a")
    assert asked == [(0, "c"), (0, "d")]
    assert decisions(store) == ["correct", "incorrect", "incorrect", "incorrect"]
    assert not (store.folder("verify", "old") / "verdicts.jsonl").exists()


def test_who_asks_to_stop_waits_for_one_part_alone(studies, asked, monkeypatch):
    monkeypatch.setattr(chain, "AT_ONCE", 2)
    study = studies(accepts="a")
    tiny.run(study, studies.folder / "run", "generate")
    monkeypatch.setattr(Store, "stopping", lambda store: True)
    assert tiny.failures(study, studies.folder / "run", "verify") == ["verify/old: stopped; run again to go on"]
    assert asked == [(0, "a"), (0, "b")]


def test_a_verdict_follows_from_everything_that_a_verifier_is_given():
    problem = tiny.problem("Q", "A")
    trace = tiny.trace(problem, reasoning="r", content="c")
    seen = {fingerprint("v", problem, trace), fingerprint("w", problem, trace)}
    for change in ({"id": "x"}, {"reasoning": "s"}, {"content": "d"}, {"finish_reason": "length"}):
        seen.add(fingerprint("v", problem, trace.model_copy(update=change)))
    for change in ({"id": "x"}, {"answer": "B"}):
        seen.add(fingerprint("v", problem.model_copy(update=change), trace))
    assert len(seen) == 8
    assert fingerprint("v", problem, trace.model_copy(update={"seconds": 3.0})) in seen


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verify", "line"),
    [
        ({"accepst": "a"}, "verify.accepst: not an option of one (got 'a'); did you mean 'accepts'?"),
        ({"two": {"accepst": "a"}}, "verify.two.accepst: not an option of two (got 'a'); did you mean 'accepts'?"),
        ({"two": 3}, "verify.two: must be the options of that verifier (got 3); write {...}"),
        (
            {"verifier": ["signs", "exact", "signs"]},
            "verify.verifier: names 'signs' 2 times; a chain holds each verifier once",
        ),
        (
            {"verifier": "signs", "rule": "judge"},
            "verify.rule: judge counts a whole chain, and there is 'signs' alone; name another verifier behind it, or "
            "leave the rule out",
        ),
        (
            {"verifier": ["signs", "exakt"]},
            "verify.exakt: 'exakt' is not a verifier; did you mean 'exact'? (your own: package.module:name or "
            "path/file.py:name)",
        ),
    ],
)
def test_what_is_wrong_with_a_chain_is_said_before_anything_runs(studies, verify, line):
    with pytest.raises(RecipeError) as e:
        studies(**verify)
    assert line in str(e.value)
