"""Texts that end in a loop, and texts that only look like it."""

import pytest

import tiny
from mixdistill.loops import Loop, ends_in, is_looped, looped

BEGIN = "First we add the eggs that are left and then we sell them at the market for two dollars each . "


def test_a_sentence_that_is_written_over_and_over_is_a_loop():
    sentence = "Wait, let me check that again, since it cannot be right."
    found = ends_in(BEGIN + f"{sentence} " * 7)
    assert found == Loop(sentence, 7.0)


@pytest.mark.parametrize("period", [6, 60, 600])
def test_four_units_make_a_loop_up_to_the_longest_period_and_three_do_not(period):
    unit = " ".join(f"w{i}" for i in range(period))
    assert ends_in(f"{BEGIN} {unit} {unit} {unit} {unit}") == Loop(unit, 4.0)
    assert ends_in(f"{BEGIN} {unit} {unit} {unit}") is None


def test_a_period_beyond_the_longest_is_none():
    unit = " ".join(f"w{i}" for i in range(601))
    assert ends_in(f"{unit} " * 6) is None


def test_a_short_unit_must_come_often():
    assert ends_in(BEGIN + "no " * 23) is None
    assert ends_in(BEGIN + "no " * 24) == Loop("no", 24.0)


def test_the_end_may_have_been_cut_in_the_middle_of_a_unit_and_of_a_word():
    unit = "so the answer is twelve and not fifteen"
    assert ends_in(BEGIN + f"{unit} " * 5 + "so the answer") == Loop("is twelve and not fifteen so the answer", 5.375)
    found = ends_in(BEGIN + f"{unit} " * 5 + "so the ans")
    assert found and found.unit == "answer is twelve and not fifteen so the" and found.times == 5.25


def test_what_has_no_spaces_loops_by_its_characters():
    assert ends_in("1/3 = 0." + "3" * 160) == Loop("3", 160.0)
    assert ends_in("1/3 = 0." + "3" * 150) is None
    assert ends_in("so " + "はい、" * 60) == Loop("はい、", 60.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one",
        BEGIN * 3,
        "\n".join(f"{i}. The number {i} is divided by {i + 1}." for i in range(200)),  # counts, and so goes on
        "Final Answer: 42\nFinal Answer: 42\nFinal Answer: 42",
        "| 0 | 0 | 0 | 0 | 0 |",
        "def f():\n    return 0\n" + "-" * 80,
        "no " * 100 + "and so the answer is 12, which we write as \\boxed{12}.",  # a loop that was left
    ],
)
def test_what_ends_otherwise_is_none(text):
    assert ends_in(text) is None


def test_reasoning_and_answer_are_one_text_and_a_row_says_what_was_repeated():
    problem = tiny.problem("Q")
    loop = tiny.trace(problem, reasoning="well then " * 300, content="", finish_reason="length")
    fine = tiny.trace(problem, sample=1, reasoning="well then " * 300, content="A + + since 8 + 4 12 - 2 10")
    assert [is_looped(t) for t in (loop, fine)] == [True, False]
    (row,) = looped([loop, fine])
    assert (row.trace_id, row.unit, row.times) == (loop.id, "well then", 300.0)
    (row,) = looped([loop.model_copy(update={"reasoning": f"{'y' * 300} {'z' * 9} " * 20})])
    assert len(row.unit) == 200
