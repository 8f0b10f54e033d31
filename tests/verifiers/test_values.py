import pytest

from mixdistill.verifiers.expression import read
from mixdistill.verifiers.values import same, same_equation


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (r"2\sqrt{3}", r"\sqrt{12}", True),
        (r"\frac{1}{\sqrt2}", r"\frac{\sqrt{2}}{2}", True),
        ("(x+1)^2", "x^2+2x+1", True),
        (r"\sin 30^\circ", r"\frac12", True),
        (r"\log_2 8", "3", True),
        (r"e^{i\pi}", "-1", True),
        (r"\sqrt[3]{-8}", "-2", True),
        (r"\binom{5}{2}", "10", True),
        (r"\sin\pi", "0", True),
        ("2^{900}+1", "2^{900}", False),
        (r"e^{\pi\sqrt{163}}", "262537412640768744", False),
        (r"\sqrt{x^2}", "x", False),
        ("|x-3|", "3-x", False),
        ("a-b", "b-a", False),
        (r"\frac{1}{3}", "0.3333333333333333", False),
        (r"2.4 \cdot 10^{-11}", r"3.4 \cdot 10^{-11}", False),
    ],
)
def test_expressions_are_the_same_when_their_values_are(a, b, equal):
    assert same(read(a), read(b)) is equal


def test_equations_are_the_same_up_to_a_constant():
    line = (read("y"), read("2x+1"))
    assert same_equation(line, (read("4x - 2y + 2"), read("0"))) is True
    assert same_equation(line, (read("4x - 2y + 3"), read("0"))) is False
