import logging
import signal

import pytest

from mixdistill.types import Outcome, Problem, Trace
from mixdistill.verifiers import math as under_test
from mixdistill.verifiers.math import equal, normal, number, reference, verify


def judge(gold, content, *, reasoning="", finish_reason="stop", **options):
    problem = Problem(id="p", prompt="?", answer=gold)
    trace = Trace(
        id="t", problem_id="p", author="teacher/x", reasoning=reasoning, content=content, finish_reason=finish_reason
    )
    return verify(problem, trace, **options)


@pytest.mark.parametrize(
    ("gold", "answer", "step"),
    [
        (r"\frac43", r"\frac43", "text"),
        (r"11\sqrt2", r"11\sqrt2", "text"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\dfrac{\pi}{2})", "text"),
        (r"\text{Evelyn}", "evelyn", "text"),
        ("27.0", "27", "number"),
        ("025", "25", "number"),
        ("1,000", "1000", "number"),
        ("1000", r"1{,}000", "number"),
        ("18", r"\$18.00", "number"),
        ("18", "18 dollars", "number"),
        ("5", r"5\text{ cm}", "number"),
        ("90", r"90^\circ", "number"),
        (r"\frac{3}{4}", "0.75", "number"),
        ("3/4", r"\dfrac{6}{8}", "number"),
        ("-2", "\u22122", "text"),
        ("50", r"50\%", "number"),
        ("5000000", "5 million", "number"),
        ("1000000", "1e6", "number"),
        ("0.5", r"50\%", "math-verify"),
        (r"2\sqrt{3}", r"\sqrt{12}", "math-verify"),
        ("x^2 + 2x + 1", "(x+1)^2", "math-verify"),
    ],
)
def test_equal_answers_are_equal_by_the_cheapest_step(gold, answer, step):
    assert equal(gold, answer) == (True, step)


@pytest.mark.parametrize(
    ("gold", "answer", "step"),
    [
        ("18", "19", "number"),
        ("1,000", "1", "number"),
        ("27.0", "270", "number"),
        (r"\frac{1}{2}", r"\frac{1}{3}", "number"),
        ("5", "-5", "number"),
        (r"\sqrt{2}", r"\sqrt{3}", "math-verify"),
        ("12", "12!", "math-verify"),
    ],
)
def test_different_answers_are_different(gold, answer, step):
    assert equal(gold, answer) == (False, step)


def test_words_that_are_not_mathematics_are_compared_as_text():
    right, _ = equal(r"\text{east}", r"\text{west}")
    assert not right


@pytest.mark.parametrize(
    "text", ["1/0", r"\frac{1}{0}", "x", "", "1,00", "3 or 4", "5 pi", "1e999999999", "9" * 5000, "1.2.3", "11_2"]
)
def test_what_is_no_simple_number_is_left_alone(text):
    assert number(text) is None


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


def test_a_time_out_of_math_verify_is_raised_and_never_called_wrong(monkeypatch):
    import math_verify
    from math_verify.errors import TimeoutException

    def late(*args, **kwargs):
        assert kwargs["raise_on_error"]
        raise TimeoutException

    monkeypatch.setattr(math_verify, "verify", late)
    with pytest.raises(TimeoutError, match="within 5 s"):
        equal(r"\sqrt{2}", r"\sqrt{3}")


def test_a_hostile_answer_ends_in_a_time_out_and_gives_the_alarm_back():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError):
        equal("x + 1", r"9^{9^{9^{9}}} + \sum_{i=1}^{10000000} \frac{i!}{x^i}", timeout=1)
    assert signal.getsignal(signal.SIGALRM) == before


def test_a_failure_on_one_reading_does_not_hide_a_match_on_another(monkeypatch):
    import math_verify

    def fails_first(gold, answer, **kwargs):
        if answer == "bad":
            raise TypeError("no")
        return True

    monkeypatch.setattr(under_test, "_parse_gold", lambda text, timeout: ["x"])
    monkeypatch.setattr(under_test, "_parse", lambda text, timeout: ["bad", "good"])
    monkeypatch.setattr(math_verify, "verify", fails_first)
    assert equal("a+b", "b+a") == (True, "math-verify")


def test_references_are_parsed_once(monkeypatch):
    seen = []
    real = under_test._parse
    monkeypatch.setattr(under_test, "_parse", lambda text, timeout: seen.append(text) or real(text, timeout))
    under_test._parse_gold.cache_clear()
    for answer in (r"\sqrt{3}", r"\sqrt{5}", r"\sqrt{6}"):
        equal(r"\sqrt{7}", answer)
    assert seen.count(r"\sqrt{7}") == 1


def test_math_verify_logs_no_answers(caplog):
    with caplog.at_level(logging.DEBUG):
        equal(r"\sqrt{2}", r"\frac{")
    assert not [r for r in caplog.records if r.name.startswith("math_verify")]


def test_normal_keeps_arrows_and_drops_spacing():
    assert normal(r"x \leftarrow \left(1,\! 2\right)") == r"x\leftarrow(1,2)"
