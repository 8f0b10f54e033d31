import pytest

from mixdistill.verifiers.expression import read


@pytest.mark.parametrize("text", ["", "1/2x", "Evelyn", r"\sum_{k=1}^{10} k", "1,2", "x =", "2 +", "(1", "1 2", "yes"])
def test_what_is_ambiguous_or_no_expression_is_not_read(text):
    assert read(text) is None


def test_a_text_of_thousands_of_brackets_is_not_read():
    assert read("(" * 300) is None
    assert read("(" * 150 + "1" + ")" * 150) is None


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        (r"\frac12", ("/", ("num", "1"), ("num", "2"))),
        ("2x", ("*", ("num", "2"), ("name", "x"))),
        ("x_{1}", ("name", "x_1")),
        ("-5^2", ("neg", ("^", ("num", "5"), ("num", "2")))),
        ("2^-3", ("^", ("num", "2"), ("neg", ("num", "3")))),
        ("5!", ("!", ("num", "5"))),
    ],
)
def test_trees_are_read_by_the_rules_of_precedence(text, tree):
    assert read(text) == tree
