import pytest

from mixdistill.verifiers.singles import as_numbers, as_prose, as_ratio, as_words


def test_what_is_of_another_kind_is_left_to_others():
    assert as_numbers("x", "18") is None
    assert as_ratio("18", "18") is None
    assert as_words("x", "y") is None
    assert as_prose("18", "19") is None


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        ("18", "Janet makes 18 dollars", True),
        ("18", "It is less than 18", False),
        ("1011_2", "1011_{two}", True),
        ("1011_2", "1011_3", False),
        ("\\infty", "infinity", True),
        ("3.5", "3,5", True),
    ],
)
def test_numbers_are_compared_by_what_they_are_worth(gold, answer, same):
    decided = as_numbers(gold, answer)
    assert (decided is not None and decided.right) is same


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [("3:4", "3 to 4", True), ("3:4", "4:3", False), ("5:30 pm", "5:30 PM", True), ("5:30 pm", "5", False)],
)
def test_times_and_ratios_are_more_than_one_number(gold, answer, same):
    assert as_ratio(gold, answer).right is same


def test_sentences_are_the_same_when_they_say_the_same_words_and_signs():
    gold = r"all primes $p \equiv 1 \pmod 4$"
    assert as_prose(gold, r"\text{all primes } p \equiv 1 \pmod{4}").right
    assert not as_prose(gold, r"all primes $p \equiv 3 \pmod 4$").right
    assert not as_prose("f(x) = 1.5x for all x", "f(x) = 15x for all x").right
