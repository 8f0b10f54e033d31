"""A token is style where it stands on a list, or is punctuation; all else is content."""

from __future__ import annotations

import pytest

from mixdistill.evidence.kinds import FUNCTION, STEERING, kinds

ASKED = "What is the area of a triangle with sides 3, 4 and 5? Use the first formula."


def styled(*tokens: str) -> list[str]:
    """The tokens of a text that are style."""
    found = kinds(tokens, range(len(tokens)), ASKED)
    assert len(found) == len(tokens)
    return [token for token, kind in zip(tokens, found, strict=True) if kind == "style"]


@pytest.mark.parametrize(
    ("tokens", "style"),
    [
        (["Wait", ",", " the", " side", " is", " 3", "."], ["Wait", ",", " the", " is", "."]),
        (["Let", "'s", " check", ":", "\n\n"], ["Let", "'s", " check", ":", "\n\n"]),
        (["Altern", "atively"], ["Altern", "atively"]),  # in two tokens, one word
        (["Let", "\N{RIGHT SINGLE QUOTATION MARK}", "s"], ["Let", "\N{RIGHT SINGLE QUOTATION MARK}", "s"]),
        (["hyp", "otenuse"], []),
        ([" first", " formula", " second"], [" second"]),  # the problem has the first two
        (["\\", "frac", "{", "1", "}{", "x", "}"], []),
        (["\\[", " x", " \\]"], []),
        (["3", ".", "5", ".", " So"], [".", " So"]),
        (["(", "Kelly", ")", " f", "(", "3", ")"], ["(", ")"]),
        (["**", "Final", "**"], ["**", "Final", "**"]),
        (["3", " *", " 4", " -", " x"], []),
        (["\n", "- ", "one", "\n", "* ", "two"], ["\n", "- ", "one", "\n", "* "]),
        (["self", "-", "made"], []),  # one word, which is on no list
        (["double", "-check"], ["double", "-check"]),
        (["<think>", "\n", "</think>", "<|im_end|>", "<eos>"], ["<think>", "\n", "</think>", "<|im_end|>", "<eos>"]),
        (["1", " <", " x"], []),
        (["x", " \N{LESS-THAN OR EQUAL TO}", " \N{MULTIPLICATION SIGN}"], []),
        (["# ", "Answer"], ["# ", "Answer"]),
        (["\N{CROSS MARK}", "\N{CJK UNIFIED IDEOGRAPH-4E2D}"], ["\N{CROSS MARK}"]),
    ],
)
def test_kind_of_tokens(tokens, style):
    assert styled(*tokens) == style


def test_only_what_is_asked_for_is_told():
    assert kinds(["So", " 3", " is", " it"], [1, 3], ASKED) == ["content", "style"]
    assert kinds([], [], ASKED) == []


def test_lists_hold_no_word_twice_and_none_that_no_text_could_match():
    assert not FUNCTION & STEERING
    assert all(word == word.lower() and word.strip(".-'") == word for word in FUNCTION | STEERING)
