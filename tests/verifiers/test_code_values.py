"""When an output or a value is the expected one."""

from __future__ import annotations

import pytest

from mixdistill.verifiers.code_values import Opaque, same_output, same_value


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ("3\n", "3"),
        ("a b\nc\n", "\na b  \nc\t\n\n\n"),
        ("a\r\nb", "a\nb\n"),
        ("1 2", "1  2"),
        ("0.333333", "0.3333333333"),
        ("1.0", "1"),
        ("1e-9", "0"),
        ("x 2.50 y", "x 2.5 y"),
        ("100000000.0", "100000001"),
        ("", "\n"),
    ],
)
def test_outputs_are_the_same_but_for_space_and_rounding(expected, got):
    assert same_output(expected, got, 1e-6)
    assert same_output(got, expected, 1e-6)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ("3", "4"),
        ("1 2", "1\n2"),
        ("1 2", "12"),
        ("YES", "Yes"),
        ("1000000000", "1000000001"),
        ("0.5", "0.51"),
        ("1.5", "1.5 2"),
        ("a\n\nb", "a\nb"),
        ("1.0", "one"),
        ("nan", "1.0"),
        ("1_000.0", "1000.0"),
        ("3", ""),
    ],
)
def test_outputs_differ_in_everything_else(expected, got):
    assert not same_output(expected, got, 1e-6)
    assert not same_output(got, expected, 1e-6)


def test_the_tolerance_can_be_set_and_taken_away():
    assert same_output("0.5", "0.52", 0.1)
    assert not same_output("0.333333", "0.3333333", 0)
    assert same_output("0.50", "0.5", 0)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (3, 3),
        ([3], 3),
        ([[1, 2]], [(1, 2)]),
        ([1, [2, 3]], (1, (2, 3))),
        ({"1": [2]}, {1: (2,)}),
        (0.3, 0.1 + 0.2),
        (2, 2.0000000001),
        (True, 1),
        (None, None),
        (float("inf"), float("inf")),
        ([], ()),
    ],
)
def test_values_are_the_same_where_json_cannot_tell_them_apart_or_by_rounding(expected, got):
    assert same_value(expected, got, 1e-6)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (3, "3"),
        (3, [3]),
        ([1, 2], [2, 1]),
        ([1, 2], [1, 2, 3]),
        ([1], frozenset({1})),
        (10**9, 10**9 + 1),
        (0.5, 0.51),
        (None, 0),
        (1.0, None),
        ([], None),
        ({"a": 1}, {"a": 1, "b": 2}),
        (1, Opaque("One")),
        ([1], [Opaque("One")]),
    ],
)
def test_values_differ_in_everything_else(expected, got):
    assert not same_value(expected, got, 1e-6)


def test_what_is_opaque_equals_not_even_itself():
    one = Opaque("One")
    assert (one == one, one != one, one in {Opaque("One")}) == (False, True, False)
