from fractions import Fraction

import pytest

from mixdistill.verifiers.quantities import number, same_number, unit_of


@pytest.mark.parametrize(
    "text", ["1/0", r"\frac{1}{0}", "x", "", "1,00", "3 or 4", "5 pi", "1e999999999", "9" * 5000, "1.2.3", "11_2"]
)
def test_what_is_no_simple_number_is_left_alone(text):
    assert number(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.5", Fraction(2469, 2)),
        ("1 234", Fraction(1234)),
        (r"1\frac{1}{2}", Fraction(3, 2)),
        ("1 1/2", Fraction(3, 2)),
        (r"\frac43", Fraction(4, 3)),
        (r"0.1\overline{6}", Fraction(1, 6)),
        (r"2.4 \times 10^{-3}", Fraction(24, 10000)),
        ("\u0661\u0668", Fraction(18)),
        ("\uff11\uff18", Fraction(18)),
        ("\u096b\u2044\u0968", Fraction(5, 2)),
        ("2\u00bd", Fraction(5, 2)),
        ("-$5", Fraction(-5)),
        ("USD 18", Fraction(18)),
        ("three", Fraction(3)),
        (r"\approx 3.14", Fraction(314, 100)),
        ("5 million", Fraction(5_000_000)),
        ("18\u4e2a", Fraction(18)),
    ],
)
def test_numbers_are_read_as_people_write_them(text, value):
    assert number(text).value == value


def test_a_letter_right_behind_a_number_is_algebra_in_a_reference_and_may_be_a_unit_in_an_answer():
    assert number("5m") is None
    assert number("5m", glued=True).value == 5
    assert number("5x", glued=True) is None


def test_units_decide_where_both_are_known():
    assert same_number(number("1 m"), number("100 cm"))
    assert not same_number(number("5 cm"), number("5 m"))
    assert not same_number(number("5 cm"), number("5 cm^2"))
    assert same_number(number("5 apples"), number("5 eggs"))
    assert same_number(number("$18"), number("18 dollars per day"))


def test_units_of_several_words_multiply():
    assert unit_of("km/h") == (Fraction(5, 18), (("length", 1), ("time", -1)))
    assert unit_of("square meters") == unit_of("m^2") == (Fraction(1), (("length", 2),))
    assert unit_of("apples") is None


def test_fifty_per_cent_is_fifty_and_a_half_and_nothing_else():
    fifty = number(r"50\%")
    assert [same_number(fifty, number(t)) for t in ("50", "0.5", "50%", "5")] == [True, True, True, False]


def test_a_decimal_stands_for_a_fraction_from_six_places_on():
    third = number(r"\frac{1}{3}")
    assert same_number(third, number("0.333333"))
    assert not same_number(third, number("0.33333"))
    assert not same_number(third, number("0.333334"))
    assert not same_number(number("0.000001"), number("0.000002"))
