import pytest

from mixdistill.verifiers.phrases import answer_in, at_the_end


@pytest.mark.parametrize(
    ("phrase", "answer"),
    [
        ("18 dollars.", "18 dollars"),
        ("$x = 5$ and $y = 3$.", "x = 5 and y = 3"),
        ("x = 3 or x = -2.", "x = 3 or x = -2"),
        ("(1, 2) and (3, 4).", "(1, 2) and (3, 4)"),
        ("2\u221a3 cm.", r"2\sqrt{3} cm"),
        ("minus 36", "minus 36"),
        ("less than 36", "less than 36"),
        ("36 or 38, I am not sure.", "36 or 38"),
        ("36. Actually, it is 38.", "38"),
        ("Janet makes $18 every day by selling 9 eggs.", "$18"),
        ("It takes 3 bolts to make 1 robe.", "3"),
        ("9 eggs \u00d7 $2/egg = $18", "$18"),
        ("2 hours 15 minutes", "2 hours 15 minutes"),
        ("5:30 pm.", "5:30 pm"),
        ("No, it is not.", "No"),
        ('"Monday", said he', "Monday"),
        ("Tuesday.", "Tuesday"),
    ],
)
def test_a_sentence_states_one_answer(phrase, answer):
    assert answer_in(phrase) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The volume is $12\\pi$.", "12\\pi"),
        ("Therefore $x \\in [-2, 7]$.", "x \\in [-2, 7]"),
        ("So x = 3 and y = 4.", "x = 3 and y = 4"),
        ("The maximum is 2, attained when (x,y) = (1,1).", "2"),
        ("So 20 is **25 percent** of 80.", "25 percent"),
        ("She has $16 left, not $20.", "$16"),
        ("The cost goes from $12 to $18.", "$18"),
        ("20 - 5", "5"),
        ("we have\n\\begin{align*}\n(x+1)^2 - 6 &= x^2 + 2x - 5\\\\\n&= 3x - 5.\n\\end{align*}", "= 3x - 5"),
        ("I cannot determine how many of the 36 apples are left.", None),
    ],
)
def test_a_text_without_a_mark_ends_with_its_answer(text, answer):
    assert at_the_end(text) == answer
