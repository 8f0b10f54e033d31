import pytest

from mixdistill.types import Outcome, Problem, Trace
from mixdistill.verifiers.math import VERSION, gold, quick, reference, verify


def judge(gold, content, *, reasoning="", finish_reason="stop", **options):
    problem = Problem(id="p", prompt="?", answer=gold)
    trace = Trace(
        id="t", problem_id="p", author="teacher/x", reasoning=reasoning, content=content, finish_reason=finish_reason
    )
    return verify(problem, trace, **options)


def test_amc_float_references_match_integers():
    assert judge("27.0", r"\boxed{27}").outcome is Outcome.CORRECT


def test_aime_references_keep_their_leading_zeros_without_harm():
    assert judge("025", r"\boxed{25}").outcome is Outcome.CORRECT
    assert judge("025", r"\boxed{250}").outcome is Outcome.INCORRECT


def test_a_whole_solution_may_be_the_reference():
    assert reference("3 * 6 = <<3*6=18>>18\n#### 18") == "18"
    assert reference(r"so it is $\boxed{\frac{1}{2}}$.") == r"\frac{1}{2}"
    assert judge("text\n#### 1,018", "so 1018").outcome is Outcome.CORRECT


def test_the_rule_says_how_the_answer_was_found_and_judged():
    verdict = judge("18", r"\boxed{18.0}")
    assert (verdict.outcome, verdict.answer, verdict.rule) == (Outcome.CORRECT, "18.0", "box/number")


def test_a_box_in_the_reasoning_does_not_beat_the_answer_part():
    assert judge("18", "It is 18.", reasoning=r"perhaps \boxed{17}").outcome is Outcome.CORRECT


def test_a_box_in_the_reasoning_alone_is_no_answer():
    assert judge("18", "", reasoning=r"\boxed{18}").outcome is Outcome.NO_ANSWER


def test_the_limit_without_an_answer_is_truncated():
    assert judge("18", "", reasoning=r"\boxed{18} wait", finish_reason="length").outcome is Outcome.TRUNCATED


def test_a_number_on_the_way_of_a_cut_trace_is_truncated_even_where_it_is_right():
    assert judge("13", "16 - 3 = 13, and then", finish_reason="length").outcome is Outcome.TRUNCATED


def test_an_answer_followed_by_a_loop_is_graded():
    assert judge("18", r"\boxed{18} " + "wait " * 50, finish_reason="length").outcome is Outcome.CORRECT


@pytest.mark.parametrize("gold", ["", "  ", "$$", "."])
def test_an_empty_reference_is_an_error_and_never_a_wrong_answer(gold):
    assert judge(gold, r"\boxed{1}").outcome is Outcome.ERROR


def test_what_exact_steps_leave_open_is_none_quickly_and_decided_in_the_end():
    problem = Problem(id="p", prompt="?", answer="55")
    trace = Trace(
        id="t", problem_id="p", author="teacher/x", content=r"\boxed{\sum_{k=1}^{10} k}", finish_reason="stop"
    )
    assert quick(problem, trace) is None
    assert (verify(problem, trace).outcome, verify(problem, trace).rule) == (Outcome.CORRECT, "box/math-verify")


def test_quick_gives_the_verdict_that_verify_gives():
    problem = Problem(id="p", prompt="?", answer=r"\frac{1}{2}")
    for content in (r"\boxed{0.5}", r"\boxed{0.6}", "", "no idea", r"\boxed{\text{half}}"):
        trace = Trace(id="t", problem_id="p", author="teacher/x", content=content, finish_reason="stop")
        assert quick(problem, trace) == verify(problem, trace)


@pytest.mark.parametrize(
    ("prompt", "answer", "outcome"),
    [
        ("Round to the nearest hundredth.", "2.333", Outcome.CORRECT),
        ("Give it to two decimal places.", r"\frac{7}{3}", Outcome.CORRECT),
        ("Give it to two decimal places.", "2.3", Outcome.INCORRECT),
        ("Give it to two decimal places.", "2.34", Outcome.INCORRECT),
        ("How much is it?", "2.333", Outcome.INCORRECT),
    ],
)
def test_decimals_that_the_problem_asks_for_are_a_tolerance(prompt, answer, outcome):
    problem = Problem(id="p", prompt=prompt, answer="2.33")
    trace = Trace(id="t", problem_id="p", author="a", content=f"\\boxed{{{answer}}}", finish_reason="stop")
    assert verify(problem, trace).outcome is outcome


def test_the_strict_reading_wants_a_mark_and_an_end():
    assert judge("18", "It is 18.").strict is Outcome.NO_ANSWER
    assert judge("18", r"\boxed{18}").strict is Outcome.CORRECT
    assert judge("18", r"\boxed{18} and then", finish_reason="length").strict is Outcome.TRUNCATED


def test_an_answer_that_is_far_too_long_is_no_answer_and_costs_nothing():
    assert judge("18", "\\boxed{" + "18+" * 100_000 + "18}").rule == "box/length"


@pytest.mark.parametrize(
    ("gold", "content", "outcome"),
    [
        ('["2"]', r"\boxed{2}", Outcome.CORRECT),
        ('["$\\\\frac{2}{3}$"]', r"\boxed{\frac23}", Outcome.CORRECT),
        ('["$-1$", "3"]', r"\boxed{3, -1}", Outcome.CORRECT),
        ('["$-1$", "3"]', r"\boxed{3}", Outcome.INCORRECT),
        ('["2"]', r"\boxed{[2]}", Outcome.CORRECT),
    ],
)
def test_a_reference_that_is_a_list_wants_all_of_its_answers(gold, content, outcome):
    assert judge(gold, content, lists=True).outcome is outcome


def test_a_list_is_read_where_that_is_asked_for_alone():
    """So that the verdicts, and whatever was chosen by them, of studies without lists stay what they were."""
    assert VERSION == "2"
    assert judge('["$-1$", "3"]', r"\boxed{3, -1}").outcome is Outcome.INCORRECT
    assert reference('["a", "b"]') == '["a", "b"]'
    assert gold(Problem(id="p", prompt="?", answer='["2", "3"]'), lists=True) == r"\boxed{2, 3}"


def test_what_only_looks_like_a_list_stays_as_it_is():
    assert reference('["a", 2]', lists=True) == '["a", 2]'
    assert reference('["a"', lists=True) == '["a"'
