import signal
import time

import pytest

from mixdistill.verifiers import equality
from mixdistill.verifiers.equality import decide, equal


@pytest.mark.parametrize(
    ("gold", "answer", "step"),
    [
        (r"\frac43", r"\frac43", "text"),
        (r"11\sqrt2", r"11\sqrt2", "text"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\dfrac{\pi}{2})", "text"),
        (r"\text{Evelyn}", "evelyn", "words"),
        ("27.0", "27", "number"),
        ("025", "25", "number"),
        ("1,000", "1000", "number"),
        ("1000", r"1{,}000", "text"),
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
        ("0.5", r"50\%", "number"),
        (r"2\sqrt{3}", r"\sqrt{12}", "value"),
        ("x^2 + 2x + 1", "(x+1)^2", "value"),
        ("55", r"\sum_{k=1}^{10} k", "math-verify"),
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
        (r"\sqrt{2}", r"\sqrt{3}", "value"),
        ("12", "12!", "value"),
        ("56", r"\sum_{k=1}^{10} k", "math-verify"),
    ],
)
def test_different_answers_are_different(gold, answer, step):
    assert equal(gold, answer) == (False, step)


def test_words_that_are_not_mathematics_are_compared_as_text():
    right, _ = equal(r"\text{east}", r"\text{west}")
    assert not right


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        ("(1,2)", "(2,1)", False),
        ("1,2", "2, 1", True),
        (r"\{1,2\}", "2,1", True),
        ("1,2", "1", False),
        ("[0,1)", "(0,1)", False),
        ("(3,\\infty)", "x > 3", True),
        (r"(-\infty,0)\cup(0,\infty)", r"x \ne 0", True),
        (r"x = 1 \text{ or } x = 2", "2, 1", True),
        ("x = 1, y = 2", "(1, 2)", True),
        ("x = 1, y = 2", "2, 1", False),
        (r"3 \pm \sqrt{2}", r"3+\sqrt2, 3-\sqrt2", True),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", True),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}", False),
        ("y = 2x + 1", "2x - y + 1 = 0", True),
        ("y = 2x + 1", "2x + y + 1 = 0", False),
        ("0", "2x + 3y = 0", False),
        ("18", r"x = 2 \cdot 9 = 18", True),
        ("x = 2", "y = 2", False),
        ("1011_2", "1011", True),
        ("1011_2", "11", False),
        ("3:4", "6 : 8", True),
        ("5:30", "5:30 pm", True),
        (r"90^\circ", r"\frac{\pi}{2}", True),
        (r"\text{5 cm}", "5 m", False),
        ("1 m", r"100 \text{ cm}", True),
        ("5 hours 30 minutes", "5.5 hours", True),
        ("12 km", "5 km, 7 km", False),
        (r"8\text{ cm}", r"8\%", False),
        (r"\sqrt{2}", "1.414214", True),
        (r"\sqrt{2}", "1.414", False),
        ("3.5", "3,5", True),
        (r"\text{(B)}", "B) 12", True),
        ("12", r"\textbf{(B)}\ 12", True),
        ("1 1/2", "11/2", False),
        (r"\emptyset", "no solution", True),
        ("BAC", "ABC", False),
        ("8", "8 millions", False),
        ("8", "8 sevenths", False),
        ("16", "ten six", False),
        ("18", r"\text{The square root of }18", False),
        (r"f(x) = 1.5x \text{ for all } x", r"f(x) = 15x \text{ for all } x", False),
        (r"\text{Anna and Bob}", r"\text{Anna or Bob}", False),
        ("17", r"17 \bmod 5", False),
        ("3", "(A)+3", False),
        ("y=2x", "x=2y", False),
        ("x+y+z=0", "x+y-z=0", False),
    ],
)
def test_answers_of_several_parts_with_units_and_names(gold, answer, same):
    assert equal(gold, answer).right is same


@pytest.mark.parametrize(
    "answer", ["9^{9^{9^{9}}}", r"(10^6)!", r"\binom{10^9}{5 \cdot 10^8}", "(x+1)^{100000}", "1" * 1500]
)
def test_numbers_beyond_floating_point_are_decided_at_once(answer):
    assert decide("5", answer).right is False


def test_a_tower_in_a_long_sum_costs_no_more_than_a_short_one():
    start = time.monotonic()
    assert decide("7^{7^{7}}", "9^{9^{9}}" + "+1" * 60) is None
    assert time.monotonic() - start < 2


def test_long_answers_are_not_kept_in_memory():
    before = equality._decide.cache_info().currsize
    for n in range(20):
        decide("5", f"{n}" * 5000)
    assert equality._decide.cache_info().currsize == before


def test_towers_of_one_base_differ_as_their_exponents():
    assert decide("10^{10^{10}}", "10^{10^{11}}").right is False
    assert decide("10^{10^{10}}", "10^{10^{5+5}}").right is True


def test_a_hostile_answer_ends_in_a_time_out_and_gives_the_alarm_back():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError):
        equal("x + 1", r"9^{9^{9^{9}}} + \sum_{i=1}^{10000000} \frac{i!}{x^i}", timeout=1)
    assert signal.getsignal(signal.SIGALRM) == before
