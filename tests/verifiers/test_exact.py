"""Text answers: what is the same text, where it stands, and what of a cut trace counts."""

from __future__ import annotations

import pytest

from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers.exact import verify

MARK = {"answer_after": "Department:"}


def judge(gold: str, content: str, *, reasoning: str = "", finish: str = "stop", **options) -> Verdict:
    trace = Trace(id="t", problem_id="p", author="a", reasoning=reasoning, content=content, finish_reason=finish)
    return verify(Problem(id="p", prompt="?", answer=gold), trace, **options)


@pytest.mark.parametrize(
    ("gold", "content", "options"),
    [
        ("billing", "billing", {}),
        ("billing", "  Billing\n", {}),
        ("New York", "new \n york", {}),
        ("New York", "New\u00a0York", {}),
        ("Stra\u00dfe", "STRASSE", {}),
        ("caf\u00e9", "cafe\u0301", {"ignore_case": False, "ignore_space": False}),
        ("billing", "billing \n", {"ignore_case": False, "ignore_space": False}),
        ("billing", "It is about money.\nDepartment: billing", MARK),
        ("billing", "Department: returns\nNo, wait.\nDepartment:\n\n  billing  \nThanks", MARK),
        ("a: b", "Department: a: b", MARK),
    ],
)
def test_the_same_text_is_correct(gold, content, options):
    assert judge(gold, content, **options).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("gold", "content", "options"),
    [
        ("billing", "returns", {}),
        ("billing", "billing or returns", {}),
        ("billing", "Department: billing", {}),
        ("billing", "Billing", {"ignore_case": False}),
        ("New York", "New  York", {"ignore_space": False}),
        ("New York", "NewYork", {}),
        ("x2", "x\u00b2", {}),
        ("billing", "Department: billing\nDepartment: returns", MARK),
        ("billing", "Department: billing or returns", MARK),
    ],
)
def test_another_text_is_incorrect(gold, content, options):
    verdict = judge(gold, content, **options)
    assert verdict.outcome is Outcome.INCORRECT
    assert verdict.explanation.startswith("reference: ")


@pytest.mark.parametrize(
    ("content", "options"),
    [("", {}), (" \n", {}), ("billing", MARK), ("Department:", MARK), ("Department: \n ", MARK)],
)
def test_without_an_answer_it_is_no_answer_or_truncated(content, options):
    assert judge("billing", content, reasoning="billing", **options).outcome is Outcome.NO_ANSWER
    assert judge("billing", content, reasoning="billing", finish="length", **options).outcome is Outcome.TRUNCATED


@pytest.mark.parametrize(
    ("content", "options", "outcome"),
    [
        ("yes", {}, Outcome.TRUNCATED),  # it may have gone on with ", but"
        ("Department: billing", MARK, Outcome.TRUNCATED),
        ("Department: billing\n", MARK, Outcome.CORRECT),
        ("Department: billing\nDepartment: billing\nDepartment: bil", MARK, Outcome.CORRECT),
        ("Department: returns\nand on and on", MARK, Outcome.INCORRECT),
    ],
)
def test_of_a_cut_trace_only_a_line_that_ended_is_an_answer(content, options, outcome):
    gold = "yes" if content == "yes" else "billing"
    assert judge(gold, content, finish="length", **options).outcome is outcome


@pytest.mark.parametrize("gold", ["", " \n"])
def test_an_empty_reference_is_an_error_and_never_a_wrong_answer(gold):
    assert judge(gold, "x").outcome is Outcome.ERROR


def test_the_verdict_says_what_was_found_and_by_which_rule():
    found = judge("billing", "so\nDepartment: Billing", **MARK)
    assert (found.trace_id, found.answer, found.rule, found.score) == ("t", "Billing", "answer_after/text", None)
    assert judge("billing", "Billing").rule == "content/text"
