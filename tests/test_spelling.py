"""Two spellings of one problem meet, and two problems do not."""

from __future__ import annotations

import pytest

from mixdistill.spelling import keys, loose, same_answer, strict, turn
from mixdistill.types import Message

DIFFERENT = [
    ("f:\n    a\n    b", "f:\n    a\nb"),
    ("\u211d", "R"),
    ("\U0001d431", "x"),
    ("\u2460", "1"),
    ("10\u2469", "1010"),
    ("`x`", "'x'"),
    ("5\u20143", "5-3"),
    ("5 \u2014 3", "5 - 3"),
    ("x \u2014 3", "x - 3"),
    ("\u33a1", "m2"),
    ("\u2163", "IV"),
    ("x\u00b2", "x2"),
    ("2\u00bd", "21/2"),
    ("H\u2082", "H2"),
    ("a", "A"),
]
"""Texts that say different things."""


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_may_mean_something_else_is_another_problem(one: str, other: str):
    assert strict(one) != strict(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT[1:])
def test_no_form_takes_other_mathematics_for_typography(one: str, other: str):
    assert loose(one) != loose(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Janet\u2019s \u201cducks\u201d", 'Janet\'s "ducks"'),
        ("  a\n\n b\t", "a b"),
        ("\uff12 + 2 \u2212 1", "2 + 2 - 1"),
        ("\uff12\u3000\uff0b\u30002", "2 + 2"),
        ("\uff76\uff9e", "\u30ac"),
        ("a \u2014 b \u2013 c", "a - b - c"),
        ("1, 2, \u2026", "1, 2, ..."),
        ("a\u200bb", "ab"),
        ("a\u00a0b", "a b"),
        ("\ufb01x", "fix"),
    ],
)
def test_typography_hides_no_problem_from_the_loose_form_and_joins_none_in_the_strict(one: str, other: str):
    assert loose(one) == loose(other)
    assert strict(one) != strict(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\nb"),
        ("a \t\nb\n\n", "a\nb"),
        ("\n a\nb", " a\nb"),
        (" a ", "a"),
    ],
)
def test_line_ends_and_white_space_at_ends_make_no_other_problem(one: str, other: str):
    assert strict(one) == strict(other)
    assert loose(one) == loose(other)


def chat(*said: tuple[str, str]) -> list[Message]:
    return [Message(role=role, content=content) for role, content in said]  # ty: ignore[invalid-argument-type]


def test_a_conversation_counts_with_every_turn_and_by_the_users_alone_in_the_last_form_only():
    plain, kind = chat(("user", "2 + 2?")), chat(("system", "Be kind."), ("user", "2 + 2?"))
    assert strict(plain) == strict("2 + 2?") != strict(kind)
    assert loose(plain) == loose("2 + 2?") != loose(kind)
    assert turn(plain) == turn("2 + 2?") == turn(kind)
    assert turn(chat(("user", "2?"), ("assistant", "2."), ("user", "2 + 2?"))) != turn("2 + 2?")
    assert [kind for kind, _ in keys("x")] == ["strict", "loose", "turn"]


def test_where_a_turn_ends_counts():
    assert strict(chat(("user", "a\nb"))) != strict(chat(("user", "a"), ("user", "b")))


def test_answers_of_one_line_are_compared_without_typography_and_code_with_its_indentation():
    assert same_answer("-1") == same_answer("\u22121 ")
    assert same_answer("a:\n  b\n  c") != same_answer("a:\n  b\nc")
