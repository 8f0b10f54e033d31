"""Units of measurement: which are the same, which can be converted, and which are unlike. Exact factors alone.

A small table, not a system of units: what is not in it (`m/s`, `apples`, `N`) is unknown, and unknown units are never
held against an answer. Temperatures are in it so that 20 °C is not taken for 20 °F; they have no common factor.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
    """A unit that is known: what it measures, and how many of that quantity's base unit it is worth."""

    kind: str
    factor: Fraction


_TABLE = """
length    nm 1e-9 nanometer nanometre | um 1e-6 µm μm micrometer micrometre micron | mm 1e-3 millimeter millimetre
length    cm 1e-2 centimeter centimetre | dm 1e-1 decimeter decimetre | m 1 meter metre | km 1000 kilometer kilometre
length    in 0.0254 inch inche | ft 0.3048 foot feet | yd 0.9144 yard | mi 1609.344 mile
mass      mg 1e-6 milligram | g 1e-3 gram gramme | kg 1 kilogram kilo | t 1000 tonne
mass      oz 0.028349523125 ounce | lb 0.45359237 pound
time      ms 1e-3 millisecond | s 1 sec second | min 60 minute | h 3600 hr hour | day 86400 | week 604800
months    month 1 | year 12 yr
volume    ml 1e-3 milliliter millilitre | l 1 liter litre | gal 3.785411784 gallon
energy    j 1 joule | kj 1000 kilojoule | cal 4.184 calorie | kcal 4184 kilocalorie
dollars   $ 1 dollar usd | ¢ 0.01 cent
euros     € 1 euro eur
pounds    £ 1 gbp
celsius   °c 1 ℃
fahrenheit °f 1 ℉
kelvin    k 1 kelvin
"""


def _read(table: str) -> dict[str, Unit]:
    units = {}
    for line in table.strip().splitlines():
        kind, _, rest = line.partition(" ")
        for group in rest.split("|"):
            name, factor, *others = group.split()
            for alias in (name, *others):
                units[alias] = Unit(kind, Fraction(factor))
    return units


_UNITS = _read(_TABLE)
_NO_UNITS = {"M", "S", "G", "T", "H"}
"""Large letters whose small ones are units: 5 M is no length and 5 S no time."""


def known(text: str) -> Unit | None:
    """The unit that `text` names, in any usual spelling; None where it is not in the table or there is none."""
    text = text.strip().rstrip(".")
    if text in _NO_UNITS:
        return None
    word = text.lower().replace("\\circ", "°").replace("^", "").replace("{", "").replace("}", "").replace(" ", "")
    return _UNITS.get(word) or (_UNITS.get(word[:-1]) if len(word) > 2 and word.endswith("s") else None)
