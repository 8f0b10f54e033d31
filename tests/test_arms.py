"""What an arm is called: its parts, and how they are said."""

import pytest

from mixdistill.arms import called, of_variant, spoken


@pytest.mark.parametrize(
    ("name", "parts", "words"),
    [
        ("mix", ("mix", "", ""), "mix"),
        ("mix@loss_tokens", ("mix", "loss_tokens", ""), "mix (by loss tokens)"),
        ("mix+short", ("mix", "", "short"), "mix+short"),
        ("mix@each+short", ("mix", "each", "short"), "mix+short (on each arm's own problems)"),
        ("base+thinking", ("base", "", "thinking"), "base+thinking"),
    ],
)
def test_name_is_taken_apart_put_together_and_said(name, parts, words):
    assert called(name) == (*parts, "")
    assert str(called(name)) == name
    assert called(name).trained == name.partition("+")[0]
    assert spoken(name) == words


def test_variant_is_put_in_the_place_of_another_and_an_untuned_student_has_none():
    assert of_variant("mix@each+short", "loss_tokens") == "mix@loss_tokens+short"
    assert of_variant("mix@each", "") == "mix"
    assert of_variant("base+thinking", "each") == "base+thinking"
