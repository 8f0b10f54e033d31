"""Text answers: what is the same text, where it stands, and what of a cut trace counts."""

from __future__ import annotations

import random
import time

import pytest

from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers import exact
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
        ("\u0634\u0645\u0627\u0644", "\u200f\u0634\u0645\u0627\u0644\u200f", {}),
        ("billing", "\ufeffbil\u00adling", {}),
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


@pytest.mark.parametrize(
    ("gold", "content", "options"),
    [
        ("billing", "**Billing**", {}),
        ("billing", "billing.", {}),
        ("billing", '"billing".', {}),
        ("billing", "`billing`", {}),
        ("billing", r"\boxed{\text{billing}}", {}),
        ("billing", r"$\boxed{billing}$", {}),
        ("billing", "<answer>billing</answer>", {}),
        ("Alzheimer's", "Alzheimer\u2019s", {}),
        ("1990-1995", "1990\u20131995", {}),
        ("'yes'", "yes", {}),
        ("billing", "**Department:** billing", MARK),
        ("billing", "Department: **billing**.", MARK),
    ],
)
def test_what_is_put_around_the_same_text_counts_under_the_strict_reading_alone(gold, content, options):
    verdict = judge(gold, content, **options)
    assert (verdict.outcome, verdict.strict) == (Outcome.CORRECT, Outcome.INCORRECT)
    assert verdict.rule.endswith("/unwrapped")


@pytest.mark.parametrize(
    ("gold", "content"),
    [
        ("billing", "**billing** or returns"),
        ("billing", '"billing" is the one'),
        ("billing", r"\boxed{returns}"),
        ("...", "."),
        ("C++", "C"),
        ("*", "**"),
        ("\u0645\u06cc\u200c\u0631\u0648\u0645", "\u0645\u06cc\u0631\u0648\u0645"),
    ],
)
def test_another_text_is_another_in_any_wrapper(gold, content):
    assert judge(gold, content).outcome is Outcome.INCORRECT


def test_letter_by_letter_both_readings_agree():
    right, wrong = judge("billing", "Billing"), judge("billing", "returns")
    assert (right.outcome, right.strict) == (Outcome.CORRECT, Outcome.CORRECT)
    assert (wrong.outcome, wrong.strict) == (Outcome.INCORRECT, Outcome.INCORRECT)


def test_of_a_cut_trace_the_strict_reading_is_truncated():
    verdict = judge("billing", "Department: **billing**\nand", finish="length", **MARK)
    assert (verdict.outcome, verdict.strict) == (Outcome.CORRECT, Outcome.TRUNCATED)


@pytest.mark.parametrize("mark", ["", "  "])
def test_a_mark_without_text_is_refused(mark):
    with pytest.raises(ValueError, match=r"answer_after: holds no text \(got '\s*'\); leave it out"):
        judge("billing", "billing", answer_after=mark)


@pytest.mark.parametrize("piece", ["*", "$", "\\text{", "'", '"', "Department:", "a\n", "\u00e9", "(", "** "])
def test_hostile_text_takes_time_in_proportion_to_its_length(piece):
    start = time.monotonic()
    judge("billing", piece * 50_000)
    judge("billing", piece * 50_000, **MARK)
    assert time.monotonic() - start < 2


PIECES = [
    *"ab *`$\"'.{}\n",
    "\\boxed{",
    "\\text{",
    "Department:",
    "\ud800",
    "\u200b",
    "<answer>",
    "</answer>",
    "billing",
]


def test_random_text_raises_nothing_and_equals_itself():
    draw = random.Random(3)
    for _ in range(3000):
        content = "".join(draw.choices(PIECES, k=draw.randrange(20)))
        assert judge("billing", content).outcome is not Outcome.ERROR
        if judge(content, content).outcome is not Outcome.ERROR:
            assert judge(content, content).strict is Outcome.CORRECT


def test_it_decides_at_once():
    assert exact.quick is verify


def test_the_verdict_says_what_was_found_and_by_which_rule():
    found = judge("billing", "so\nDepartment: Billing", **MARK)
    assert (found.trace_id, found.answer, found.rule, found.score) == ("t", "Billing", "answer_after/text", None)
    assert judge("billing", "Billing").rule == "content/text"
