"""Texts that hold an evaluation prompt are found, whatever stands around it, and other texts are not."""

from __future__ import annotations

import random

import pytest

from mixdistill import contamination
from mixdistill.contamination import Index, Match, words
from mixdistill.sections import Decontaminate
from mixdistill.types import Message

TRAIN = (
    "A baker sells seven kinds of bread on weekdays and eleven kinds on the first Saturday of every month. "
    "How many kinds does she sell in the second week of June if the month began on a Friday?"
)
SHORT = "How many prime numbers are there between forty and ninety?"
TINY = "What is 2 + 2?"
OTHER = [
    "A gardener plants tulips in rows of nine along a wall of four hundred metres, with a gap after each row.",
    "Three friends share the price of a tent so that nobody pays more than half of what the other two pay together.",
    "The clock in the hall loses six minutes a day and was right when the clocks went back at the end of October.",
]
AROUND = "Please read this with care, and then answer in one line. {} Do not show your work to anybody else."


def index(*prompts: str | list[Message], **options: object) -> Index:
    return Index(((f"test, row {n}", p) for n, p in enumerate(prompts, 1)), Decontaminate(**options))


@pytest.fixture(scope="module")
def known() -> Index:
    return index(TRAIN, SHORT, TINY, *OTHER)


# -- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        TRAIN,
        TRAIN.upper(),
        TRAIN.replace(" ", "\n\n"),
        TRAIN.replace(" bread", " \u201c*bread*\u201d").replace(".", " \u2014"),
        TRAIN.replace("weekdays", "week\u00addays"),
        AROUND.format(TRAIN),
        "x " * 3000 + TRAIN + " y" * 3000,
        TRAIN.partition("if the")[0] + "when school is out?",
    ],
    ids=[
        "itself",
        "capitals",
        "lines",
        "signs",
        "soft hyphen",
        "in a longer text",
        "in a very long text",
        "another end",
    ],
)
def test_a_prompt_is_found_in_another_spelling_and_among_other_words(known: Index, text: str):
    found = known.find(text)
    assert found is not None
    assert (found.how, found.where) == ("words", "test, row 1")
    assert found.text.startswith("a baker sells seven kinds of bread on weekdays and eleven kinds")


def test_the_words_that_both_have_are_told_from_first_to_last(known: Index):
    half = "if a baker sells seven kinds of bread on weekdays and eleven kinds on the first Saturday of every month how"
    text = f"{half} would you count in the second week of June if the month began on a Friday?"
    assert known.find(text) == Match(
        "words",
        "test, row 1",
        "a baker sells seven kinds of bread on weekdays and eleven kinds on the first saturday of every month how",
    )


@pytest.mark.parametrize("before", range(12))
def test_it_does_not_matter_where_in_the_text_the_words_begin(known: Index, before: int):
    for prompt, row in ((TRAIN, 1), (SHORT, 2)):
        found = known.find("so " * before + prompt + " and so on")
        assert found is not None
        assert found.where == f"test, row {row}"


@pytest.mark.parametrize("ngram", [5, 6, 7, 8, 9, 13, 20])
def test_any_length_of_run_is_found_at_any_place(ngram: int):
    known = index(TRAIN, ngram=ngram)
    assert all(known.find("so " * before + TRAIN) for before in range(20))


def test_a_shorter_prompt_must_stand_there_as_a_whole(known: Index):
    assert known.find(AROUND.format(SHORT)) == Match(
        "words", "test, row 2", "how many prime numbers are there between forty and ninety"
    )
    assert known.find(AROUND.format(SHORT.replace("ninety", "eighty"))) is None


def test_chinese_characters_are_words():
    prompt = "一个农夫有十七只羊除了九只以外都死了他还剩下多少只羊"
    assert index(prompt).find(f"请回答{prompt}谢谢") is not None
    assert words("羊 x羊") == ["羊".encode(), b"x", "羊".encode()]


def test_every_turn_of_a_conversation_counts():
    turns = [Message(role="system", content=OTHER[0]), Message(role="user", content=TRAIN)]
    assert index(turns).find(f"{OTHER[0]} {TRAIN}") is not None


# -- what is not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "A baker sells seven kinds of bread on weekdays and eleven kinds on Sundays.",
        "Eleven kinds on the first Saturday of every month. A butcher closes at noon when the river is high and the "
        "mill stands still, so how many loaves are left for the ferryman and his four sons?",
        TINY,
        f"Well. {TINY} That is 4.",
        "How many prime numbers are there between forty and fifty?",
        "",
    ],
    ids=["fewer words in a row", "fewer still", "tiny", "tiny inside", "short with another end", "nothing"],
)
def test_near_misses_stay(known: Index, text: str):
    assert known.find(text) is None


def test_thirteen_words_out_of_a_long_prompt_are_not_the_prompt():
    ending = "as a fraction m over n where m and n are relatively prime positive integers"
    known = index(f"{' '.join(OTHER)} Write the share of the days on which it is dry {ending}.")
    assert known.find(f"{TRAIN} Write it {ending}.") is None


def test_what_stands_in_three_prompts_is_an_instruction_and_tells_none_of_them():
    form = "Which department is this message for: account, billing, returns, shipping or technical?"
    asked = [
        "My lamp is broken.",
        "The parcel never came.",
        "I was billed twice for one order in March and in May.",
    ]
    known = index(*(f"{form} {own}" for own in asked))
    assert known.find(f"{form} My kettle is broken.") is None
    assert known.find(f"{form} {asked[2]}") == Match(
        "words", "test, row 3", f"{form} {asked[2]}".lower().translate({ord(c): None for c in ".:,?"})
    )
    assert known.find(f"It says: {asked[2]}") is not None
    two = index(*(f"{form} {own}" for own in asked[:2]))
    assert two.find(f"{form} My kettle is broken.") is not None


def test_without_a_length_of_run_no_words_are_looked_at():
    assert index(TRAIN, ngram=None).find(TRAIN) is None
    assert index().find(TRAIN) is None


def test_random_texts_give_what_comparing_every_run_gives():
    rng, told = random.Random(0), []
    some = ["aa", "bb", "cc", "dd", "ee", "ff"]
    for _ in range(400):
        mine = rng.choices(some, k=rng.randint(8, 20))
        there = rng.choices(some, k=40) + mine[: rng.randint(0, 20)] + rng.choices(some, k=rng.randint(0, 9))

        def runs(split: list[str], n: int) -> set[tuple[str, ...]]:
            return {tuple(split[i : i + n]) for i in range(len(split) - n + 1)}

        alike = [tuple(mine[i : i + 5]) in runs(there, 5) for i in range(len(mine) - 4)]
        covered = sum(any(alike[max(i - 4, 0) : i + 1]) for i in range(len(mine)))
        long = min(9, len(mine))
        wanted = bool(runs(mine, long) & runs(there, long)) and covered / len(mine) >= contamination.SHARE
        found = index(" ".join(mine), ngram=9).find(" ".join(there))
        told.append(found is not None)
        assert told[-1] == wanted
    assert 100 < sum(told) < 300


# -- other numbers ----------------------------------------------------------------------------------------------------

COST = "A pen costs $3.50 and a book costs 12 dollars. What do 7 pens and 1,200 books cost together?"


@pytest.mark.parametrize(
    "text",
    [
        "A pen costs $4 and a book costs 13.25 dollars. What do 8 pens and 9 books cost together?",
        "a pen costs $4, and a book costs 13 dollars! What do 8 pens and 9,000,000 books cost together?",
    ],
)
def test_other_numbers_in_the_same_words_are_the_same_problem(text: str):
    assert index(COST, ngram=None).find_same(text) == Match("numbers", "test, row 1", COST)


@pytest.mark.parametrize(
    "text",
    [
        COST.replace("book", "cup"),
        COST.replace("7 pens", "seven pens"),
        COST + " Round up.",
        "A pen costs 3.50.",
    ],
    ids=["another word", "a number in words", "more words", "less"],
)
def test_other_words_are_another_problem(text: str):
    assert index(COST).find_same(text) is None


def test_few_words_beside_the_numbers_tell_nothing():
    assert index("Compute 3 + 4 - 5.").find_same("Compute 1 + 1 - 1.") is None
    assert index("Q 8 4 7 9 T 10 :").find_same("Q 1 2 3 4 T 10 :") is None


def test_the_same_numbers_are_no_other_ones():
    assert index(COST).find_same(COST.replace("?", "!")) == Match("words", "test, row 1", COST)
    assert index(TRAIN).find_same(TRAIN) is None, "there are none"


def test_numbers_need_not_be_looked_at():
    assert index(COST, numbers=False).find_same(COST.replace("12", "13")) is None
