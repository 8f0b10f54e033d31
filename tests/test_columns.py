"""Which columns hold what: the user's word first, then usual names, never a guess that shows nowhere."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from mixdistill.columns import LEVELS, Columns, as_answer, as_group, as_prompt, detect
from mixdistill.sections import Source
from mixdistill.types import Message


def found(*rows: dict[str, Any], **named: str) -> Columns:
    return detect(rows, Source(source="x", **named))


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({"question": "q", "answer": "1"}, "question", "answer"),
        ({"Problem": "q", "Final Answer": "1"}, "Problem", "Final Answer"),
        ({"PROMPT": "q", "ground-truth": "1"}, "PROMPT", "ground-truth"),
        ({"problem": "q", "solution": "long", "answer": "1"}, "problem", "answer"),
        ({"answer": "1", "solution": "long", "problem": "q"}, "problem", "answer"),
        ({"problem": "q", "solution": "so it is 1"}, "problem", "solution"),
        ({"instruction": "q", "input": "", "output": "1"}, "instruction", "output"),
        ({"messages": [{"role": "user", "content": "q"}], "label": 1}, "messages", "label"),
        ({"text": "q", "y": "1"}, None, None),
    ],
)
def test_usual_names_are_found_in_any_spelling(row: dict[str, Any], prompt: str | None, answer: str | None):
    columns = found(row)
    assert (columns.prompt, columns.answer) == (prompt, answer)


def test_a_first_row_that_lacks_a_column_does_not_hide_it():
    assert found({"id": 1}, {"id": 2, "question": "q", "answer": 3}) == Columns("question", "answer")


def test_a_column_that_is_mostly_empty_gives_way_to_a_fuller_one():
    rows = [{"prompt": "x" if n == 0 else None, "question": "q", "answer": "1"} for n in range(5)]
    assert found(*rows).prompt == "question"
    assert found(*rows[:2]).prompt == "prompt"


def test_a_half_empty_answer_column_is_still_no_reason_to_take_the_solution():
    rows = [{"problem": "q", "answer": "1" if n == 0 else None, "solution": "long"} for n in range(9)]
    assert found(*rows).answer == "answer"


def test_values_of_mixed_types_count_where_they_can_be_one():
    assert found({"question": 1, "problem": "q", "answer": "1"}, {"question": 2, "problem": "r"}).prompt == "problem"


def test_the_mark_is_found_where_nearly_all_answers_hold_it():
    rows = [{"question": "q", "answer": f"so #### {n}"} for n in range(19)]
    assert found(*rows, {"question": "q", "answer": "5"}).answer_after == "####"
    assert found(*rows, *[{"question": "q", "answer": "5"}] * 2).answer_after is None
    assert found(*rows, *[{"question": "q", "answer": None}] * 9).answer_after == "####"


def test_the_users_word_wins():
    row = {"question": "q", "answer": "x #### 1", "level": 1, "q2": "q", "a2": "b :: c", "hard": 2}
    named = {"prompt": "q2", "answer": "a2", "answer_after": "::", "level": "hard"}
    assert found(row, **named) == Columns("q2", "a2", "::", "hard")
    assert found(row, answer_after="").answer_after is None
    assert found(row, prompt="nowhere").prompt == "nowhere"


@pytest.mark.parametrize("name", ["level", "Level", "difficulty"])
def test_a_level_is_found_where_it_makes_groups(name: str):
    rows = [{"prompt": "q", "answer": "1", name: n % LEVELS} for n in range(100)]
    assert found(*rows).level == name
    assert found(*rows, {name: "another"}).level is None
    assert found({"prompt": "q", name: None}).level is None


def test_what_was_found_can_be_read():
    assert str(Columns("q", "a", "####", "hard")) == "prompt from 'q', answer from 'a' after '####', level from 'hard'"


def test_share_gpt_turns_are_messages_and_further_keys_are_no_obstacle():
    turns = [{"from": "system", "value": "s", "weight": 0}, {"from": "human", "value": "q"}]
    turns += [{"from": "gpt", "value": "a"}, {"role": "user", "content": "r", "tool_calls": None}]
    assert as_prompt(turns) == [
        Message(role="system", content="s"),
        Message(role="user", content="q"),
        Message(role="assistant", content="a"),
        Message(role="user", content="r"),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (27, "27"),
        (27.0, "27.0"),
        (2.5, "2.5"),
        (0, "0"),
        (False, "false"),
        (" as it stands ", " as it stands "),
        ("\\frac{4}{3}", "\\frac{4}{3}"),
        (["b", 1, None], '["b",1,null]'),
        ({"y": 2, "x": "é"}, '{"x":"é","y":2}'),
        (date(2024, 2, 3), "2024-02-03"),
        (Decimal("1.50"), "1.50"),
    ],
)
def test_an_answer_is_its_text_or_canonical_json(value: Any, text: str):
    assert as_answer(value) == text


def test_an_answer_after_a_mark_is_what_follows_the_last_one():
    assert as_answer("1 #### no, wait #### 1,234 ", "####") == "1,234"
    for text, why in (("1", "'####' is not in it"), ("1 #### ", "nothing follows '####'")):
        with pytest.raises(ValueError, match=why):
            as_answer(text, "####")


@pytest.mark.parametrize(("value", "why"), [(b"1", "it is of type bytes"), ([b"x"], "its list cannot be written as")])
def test_what_has_no_text_is_no_answer(value: Any, why: str):
    with pytest.raises(ValueError, match=why):
        as_answer(value)


@pytest.mark.parametrize(
    ("value", "level"), [(5.0, "5"), (2.5, "2.5"), (" hard ", "hard"), ("", None), ([1], None), ("\ud800", None)]
)
def test_levels_are_short_texts(value: Any, level: str | None):
    assert as_group(value) == level
