import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixdistill.verifiers.extract import extract, last_box


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        (r"Thus \(\boxed{18}\) dollars.", "18", "box"),
        (r"\[\boxed{\frac{1}{2}}\]", r"\frac{1}{2}", "box"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}", "box"),
        (r"\boxed{1} no, \boxed{2}.", "2", "box"),
        (r"\boxed{\text{Evelyn}}", r"\text{Evelyn}", "box"),
        (r"so \boxed 5 it is", "5", "box"),
        (r"so \framebox{204} minutes", "204", "box"),
        (r"\boxed{1} and $\boxed{2}$", "1, 2", "box"),
        (r"\boxed{5}, no wait, \boxed{6}", "6", "box"),
        ("the final answer is 15 * 8 = 120 pints\n#### 120", "120", "hash"),
        ("A: 18", "18", "a"),
        ("The answer is 1 and 2.", "1 and 2", "answer_is"),
        ("The answer is between 17 and 18.", "between 17 and 18", "answer_is"),
        ("The answer is 18!", "18", "answer_is"),
        ("\u041e\u0442\u0432\u0435\u0442: 18", "18", "answer_is"),
        ("\u7b54\u6848\u662f 18\u3002", "18", "answer_is"),
        ("Jibu ni 18.", "18", "answer_is"),
        ("The area is 20 cm^2.", "20 cm^2", "last_number"),
        ("They walk 2 1/2 miles.", "2 1/2 miles", "last_number"),
        ("Final Answer: 12", "12", "final_answer"),
        ("**Final Answer**\n\n42\n", "42", "final_answer"),
        ("Final Answer: Jean can fill 14 bags.", "14", "final_answer"),
        ("The final answer is $x + 3$. I hope it is correct.", "x + 3", "final_answer"),
        ("Step one.\n#### 1,000", "1,000", "hash"),
        ("#### 18 dollars", "18 dollars", "hash"),
        ("so the answer is 18 (since 20 - 2 is that)", "18", "answer_is"),
        ("The answer is (3, 4).", "(3, 4)", "answer_is"),
        ("The answer is Tuesday.", "Tuesday", "answer_is"),
        ("the answer is: **7**", "7", "answer_is"),
        ("She pays $1,250.50 in all.", "$1,250.50", "last_number"),
        ("3 apples, then 5 more, 8 in all.", "8", "last_number"),
        ("it is -3 now", "-3", "last_number"),
        ("from 3-5", "5", "last_number"),
        ("20 - 5", "5", "last_number"),
        (r"that leaves \frac{3}{4} of it", r"\frac{3}{4}", "last_number"),
        (r"about 12{,}000 people", r"12{,}000", "last_number"),
        ("half of it, .5", ".5", "last_number"),
    ],
)
def test_ordinary_answers_are_found_by_the_expected_rule(text, answer, rule):
    assert extract(text)[:2] == (answer, rule)


@pytest.mark.parametrize(
    "text", ["", "   \n", "I do not know.", r"\boxed{}", "####", "Final Answer:", r"\boxed{", "the answer is ..."]
)
def test_no_answer_is_none_and_never_an_empty_text(text):
    assert extract(text) is None


def test_a_box_beats_every_later_weaker_rule():
    assert extract("\\boxed{3}\nThe answer is 4.\n#### 5\n6").answer == "3"


def test_an_unclosed_box_is_skipped_for_the_last_complete_one():
    assert last_box(r"\boxed{7} wait, \boxed{8 + \frac{1}{2}") == "7"
    assert extract(r"The total is 12. \boxed{12").rule == "last_number"


def test_an_unclosed_box_does_not_hide_a_later_one():
    assert last_box(r"\boxed{7 wait \boxed{9}") == "9"


def test_an_empty_box_is_no_box():
    assert extract(r"It is 4. \boxed{ }").answer == "4"


def test_a_heading_of_level_four_is_no_answer():
    assert extract("#### Step 3\nIt is 8.")[:2] == ("8", "last_number")
    assert extract("#### 2. Compute\nIt is 8.")[:2] == ("8", "last_number")


def test_a_later_answer_is_beats_an_earlier_one():
    assert extract("At first the answer is 3. But now the answer is 4.").answer == "4"


def test_without_guessing_a_number_on_the_way_is_no_answer():
    assert extract("16 - 3 = 13, and then", guess=False) is None
    assert extract("so the answer is 1", guess=False) is None
    assert extract("so the answer is 5 mill", guess=False) is None
    assert extract("so the answer is 5 or ", guess=False) is None
    assert extract("so the answer is 13, and then", guess=False)[:2] == ("13", "answer_is")


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 50_000,
        "{" * 200_000,
        "}" * 200_000,
        "answer is " * 30_000,
        "final answer" + "\n" * 200_000,
        "1," * 100_000,
        "9" * 200_000,
        r"answer is \(" + r"\(" * 100_000,
        "$" * 100_000,
        "####" * 50_000,
        "-" * 100_000,
        "#### \n" * 50_000,
        "\\boxed{" * 8_000 + "5" + "}" * 8_000,
        "#### 5 apples " + "$a. b$ " * 20_000,
        "x = 1 and " * 20_000,
        "final answer" + ". $a$ " * 30_000,
    ],
    ids=range(16),
)
def test_hostile_text_costs_less_than_two_seconds(text):
    start = time.monotonic()
    extract(text)
    assert time.monotonic() - start < 2


PIECES = [
    "\\boxed{",
    "{",
    "}",
    "\\",
    "$",
    "1",
    "1,000",
    "-",
    "/",
    "%",
    " ",
    "\n",
    "x",
    "answer is ",
    "Final Answer:",
    "####",
    "\\frac{1}{2}",
    ".",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_an_answer_is_never_empty_and_never_wrapped_in_spaces(text):
    found = extract(text)
    assert found is None or (found.answer and found.answer == found.answer.strip())
