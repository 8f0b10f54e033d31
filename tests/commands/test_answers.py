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


TREES = "Which tree?\nA) oak\nB) elm\nC) ash\nD) fir"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["A", "(B)", "c.", "D"], Format("options of the prompts", "choice")),
        (["oak", "elm", "B", "Fir"], Format("options of the prompts", "choice")),
        (["A, C", "B", '["A", "D"]'], Format("options of the prompts", "choice")),
        (["0", "3", "1"], Format("numbers of options", "choice", "", {"first_index": 0})),
        (
            ["1", "4", "2"],
            Format("numbers of options", "choice", "none is 0, so 1 is taken for the first option", {"first_index": 1}),
        ),
    ],
)
def test_answers_that_name_the_options_of_their_prompts_are_choices(answers: list[str], expected: Format):
    assert answer_format(answers, [TREES] * len(answers)) == expected


@pytest.mark.parametrize(
    ("answers", "prompts", "verifier"),
    [
        (["5", "12", "31"], [TREES] * 3, "math"),  # no option's number
        (["A", "B", "A", "C", "B", "A", "C", "A", "B"], ["Which?"] * 9, "exact"),
        (["A", "B"] * 5, [TREES] * 5 + ["Which?"] * 5, "exact"),
        (["larch", "pine", "birch"], [TREES] * 3, "exact"),
    ],
)
def test_other_answers_are_no_choices_even_where_options_are_listed(answers, prompts, verifier):
    assert answer_format(answers, prompts).verifier == verifier


def test_numbers_are_maths_unless_one_states_a_tolerance():
    assert answer_format(["3.14", "2.72"]).verifier == "math"
    assert answer_format(["3.14 ± 0.01", "2.72", r"9.8 \pm 2\%"]) == Format("numbers with a tolerance", "numeric")
    assert answer_format([r"3 \pm \sqrt{2}", r"1 \pm \sqrt{3}"]).verifier == "math"
