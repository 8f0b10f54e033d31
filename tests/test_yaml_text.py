"""YAML text: plain values or one line that says where it is none, whatever the text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixdistill.errors import RecipeError
from mixdistill.recipe import shipped
from mixdistill.yaml_text import MOST_VALUES, parse_yaml, write_yaml

BITS = [
    "a", "b", ": ", "- ", "\n", "  ", "{", "}", "[", "]", ", ", "&x ", "*x", "<<: ", "? ", "| ", "> ", "# ", "'", '"',
    "!!int ", "!!float ", "!!bool ", "!!set ", "!!binary ", "!!timestamp ", "!!python/name:os.system ", "%TAG ",
    "---\n", "1e-5", "0x", "2020-13-45", "12:99:99", "\\", "\t", "\0", "\ud800", "é",
]  # fmt: skip


@given(st.lists(st.sampled_from(BITS), max_size=12).map("".join) | st.text(max_size=30))
@settings(max_examples=600, deadline=None, derandomize=True)
def test_any_text_is_plain_values_or_one_line(text: str):
    try:
        parse_yaml(text, "a.yaml")
    except RecipeError as e:
        assert str(e).startswith("a.yaml") and str(e).isprintable()


@given(data=st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_recipe_with_something_in_the_wrong_place_is_plain_values_or_one_line(data: st.DataObject):
    text = shipped()["demo"].read_text(encoding="utf-8")
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 20))
    try:
        parse_yaml(text[:at] + data.draw(st.sampled_from(BITS)) + text[at + cut :], "a.yaml")
    except RecipeError as e:
        assert str(e).startswith("a.yaml") and str(e).isprintable()


def test_aliases_may_stand_for_many_values_but_not_for_any_number():
    text = "a: &a [" + "x, " * 999 + "]\nb: [" + "*a, " * (MOST_VALUES // 1000 - 2) + "]\n"
    assert parse_yaml(text, "a.yaml")
    with pytest.raises(RecipeError, match=r"a\.yaml: its aliases stand for more than 100,000 values; write it plainly"):
        parse_yaml(text + "c: [*a]\n", "a.yaml")


def test_what_is_written_is_read_again():
    value = {"a": [1, 2.5, None, True, "1e-5", "yes", "ü"], "b": {"c": "x: y"}}
    assert parse_yaml(write_yaml(value), "a.yaml") == value
