"""Numbers within a tolerance: the table of hand-checked cases, what holds of every number, and hostile text."""

from __future__ import annotations

import json
import random
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers import numeric
from mixdistill.verifiers.numeric import gold, reference, verify

CASES = [json.loads(line) for line in (Path(__file__).parents[1] / "cases" / "numeric.jsonl").read_text().splitlines()]


def judge(reference: str, content: str, *, reasoning="", finish_reason="stop", **options) -> Verdict:
    trace = Trace(id="t", problem_id="p", author="a", reasoning=reasoning, content=content, finish_reason=finish_reason)
    return verify(Problem(id="p", prompt="?", answer=reference), trace, **options)


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_hand_checked_case(case):
    verdict = judge(
        case["reference"],
        case["content"],
        finish_reason=case.get("finish_reason", "stop"),
        **case.get("options", {}),
    )
    expected = {key: case[key] for key in ("outcome", "strict", "rule") if key in case}
    assert {key: getattr(verdict, key) for key in expected} == expected


def test_the_table_is_large_and_goes_in_both_directions():
    outcomes = [case["outcome"] for case in CASES]
    assert len(CASES) >= 80
    assert min(outcomes.count("correct"), outcomes.count("incorrect")) >= 35


NUMBERS = st.decimals(min_value=-(10**9), max_value=10**9, places=3).map(lambda d: f"{d:f}")
FORMS = ["{}", "${}$", "{} km", r"{}\text{{ km}}", "x = {}", r"x \approx {}", "+{}", "**{}**", "{}0", "({})", "{} ± 1"]
FRAMES = [r"\boxed{{{}}}", "The answer is {}.", "Final Answer: {}\n", "work\n#### {}"]


@settings(deadline=None)
@given(NUMBERS, st.sampled_from(FORMS))
def test_a_number_equals_itself_in_any_form(number, form):
    answer = form.format(number).replace("+-", "-")
    assert judge(number, f"\\boxed{{{answer}}}").outcome is Outcome.CORRECT


@settings(deadline=None)
@given(NUMBERS, st.sampled_from(FRAMES))
def test_a_number_is_found_in_any_frame(number, frame):
    assert judge(number, frame.format(number)).outcome is Outcome.CORRECT


@settings(deadline=None)
@given(NUMBERS, st.sampled_from(FORMS), st.data())
def test_a_changed_digit_never_does(number, form, data):
    places = [i for i, c in enumerate(number) if c.isdigit()]
    place = data.draw(st.sampled_from(places))
    digit = data.draw(st.sampled_from("0123456789"))
    changed = number[:place] + digit + number[place + 1 :]
    right = judge(number, f"\\boxed{{{form.format(changed).replace('+-', '-')}}}").outcome is Outcome.CORRECT
    assert right == (Fraction(changed) == Fraction(number))


@settings(deadline=None)
@given(NUMBERS, NUMBERS, st.decimals(min_value=0, max_value=10, places=2))
def test_a_tolerance_is_exact(number, answer, tolerance):
    near = abs(Fraction(number) - Fraction(answer)) <= Fraction(str(tolerance))
    assert (judge(number, f"\\boxed{{{answer}}}", abs_tol=float(tolerance)).outcome is Outcome.CORRECT) == near
    edge = Fraction(number) + Fraction(str(tolerance))
    assert judge(number, f"\\boxed{{{edge.numerator}/{edge.denominator}}}", abs_tol=float(tolerance)).outcome is (
        Outcome.CORRECT
    )


@pytest.mark.parametrize("option", [{"abs_tol": -0.1}, {"rel_tol": float("nan")}, {"abs_tol": float("inf")}])
def test_an_option_that_is_no_tolerance_is_refused(option):
    with pytest.raises(ValueError, match=r"_tol: not a tolerance \(got .+\); give a number from 0"):
        judge("5", r"\boxed{5}", **option)


def test_what_is_wrong_with_a_reference_is_said():
    assert judge("about a dozen", "12").explanation == "the reference is no number: 'about a dozen'"


def test_a_wrong_answer_is_explained_by_the_reference():
    verdict = judge("3.14 ± 0.01", r"\boxed{3}")
    assert (verdict.answer, verdict.explanation) == ("3", "reference: 3.14 ± 0.01")


@pytest.mark.parametrize("case", [c for c in CASES if c["outcome"] == "correct"][::3], ids=lambda c: c["reference"])
def test_gold_is_accepted_under_both_readings(case):
    verdict = judge(case["reference"], gold(Problem(id="p", prompt="?", answer=case["reference"])))
    assert (verdict.outcome, verdict.strict) == (Outcome.CORRECT, Outcome.CORRECT)


def test_only_the_answer_part_is_read():
    assert judge("5", "", reasoning=r"\boxed{5}").outcome is Outcome.NO_ANSWER


def test_it_decides_at_once():
    assert numeric.quick is verify


@pytest.mark.parametrize(
    ("text", "digit"), [("3.14", "0.01"), ("1.2e3", "100"), ("27", "1"), ("27.0", "0.1"), ("1/3", "0"), ("$1,000", "1")]
)
def test_the_last_digit_is_worth_what_it_stands_for(text, digit):
    found = reference(text)
    assert found and found.digit == Fraction(digit)


PIECES = [
    *"0123456789.,-+/%$e^{}()= \n~x±−٣⁵\ud800",
    *("\\boxed{", "\\frac{1}{2}", "\\times 10^", "\\pm", "\\text{", "answer is ", "#### ", " km", "inf", "million"),
]


def test_random_text_raises_nothing():
    draw = random.Random(7)
    for _ in range(2000):
        content = "".join(draw.choices(PIECES, k=draw.randrange(25)))
        assert judge("5 km ± 1", content, finish_reason=draw.choice(["stop", "length"])).outcome is not Outcome.ERROR
        assert judge(content, content).outcome is not Outcome.TRUNCATED


@pytest.mark.parametrize("piece", [*PIECES, "1 ", "1,", "x = ", "\\boxed{1", "answer is 1\n"])
def test_hostile_text_takes_time_in_proportion_to_its_length(piece):
    start = time.monotonic()
    judge("5", piece * (40_000 // len(piece)))
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("reference", "content", "outcome"),
    [
        ("27.0", r"\boxed{27}", Outcome.CORRECT),
        ("27", "The answer is 27.0.", Outcome.CORRECT),
        ("27.0", r"\boxed{27.5}", Outcome.INCORRECT),
        ("025", r"\boxed{25}", Outcome.CORRECT),
        ("25", r"\boxed{025}", Outcome.CORRECT),
        ("000", "Final Answer: 0", Outcome.CORRECT),
        ("3159.0", r"\boxed{3{,}159}", Outcome.CORRECT),
        ("025", r"\boxed{250}", Outcome.INCORRECT),
    ],
)
def test_the_spellings_of_amc_and_aime_are_one_number(reference, content, outcome):
    assert judge(reference, content).outcome is outcome
