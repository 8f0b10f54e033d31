"""What is guessed of answers, and what is not."""

from __future__ import annotations

import pytest

from mixdistill.commands.answers import Format, answer_format


@pytest.mark.parametrize(
    ("answers", "kind", "verifier"),
    [
        (["72", "-5", "1,024", "$18"], "integers", "math"),
        (["27.0", "36", ".5", "12%"], "numbers", "math"),
        (["1/2", "-3 / 4", "7"], "fractions and numbers", "math"),
        ([r"\frac{14}{3}", "p - q", r"\left( 3, \frac{\pi}{2} \right)", r"\text{Evelyn}"], "LaTeX and numbers", "math"),
        (['{"city": "Rome"}', '{"city": "Oslo"}'], "JSON objects", "json"),
        (['["assert f(1) == 2"]', '{"inputs": ["1"], "outputs": ["2"]}'], "tests of programs", "code"),
        (["def check(f):\n    assert f(1)", "assert g() == 1"], "tests of programs", "code"),
        (['{"inputs": "beans"}', '{"inputs": "peas"}'], "JSON objects", "json"),
        (["A", "B", "A", "C", "B", "A", "C", "A", "B"], "3 labels (A, B, C)", "exact"),
    ],
)
def test_a_form_that_the_answers_share_names_its_verifier(answers: list[str], kind: str, verifier: str):
    assert answer_format(answers) == Format(kind, verifier)


def test_one_answer_in_twenty_may_differ_and_no_more():
    assert answer_format(["7"] * 19 + ["seven apples"]) == Format("integers", "math")
    assert answer_format(["7"] * 8 + ["seven apples", "a pear"]).kind != "integers"


def test_many_different_words_are_no_labels_and_the_doubt_is_said():
    short = answer_format([f"city number {word}" for word in ["one", "two", "three", "four", "five", "six"]])
    assert short == Format("short texts", "exact", "`exact` wants the same words; other wordings count as wrong")
    long = answer_format([f"because the {word} is larger than all of the others" for word in ["cat", "dog", "cow"]])
    assert long == Format(
        "free texts",
        "exact",
        "no whole text is met word for word; write a verifier of your own (path/file.py:function)",
    )
