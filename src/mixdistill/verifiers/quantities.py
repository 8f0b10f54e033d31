"""Numbers as people write them, with sign, separators, currency, per cent and unit -> an exact value.

Units decide only where both sides name one that is known: 100 cm is 1 m, and 5 cm is not 5 m; apples are not asked for.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from mixdistill.verifiers.plain import WRAPPED, spelling

LONGEST = 2000
"""Characters; longer texts are no plain numbers, and Python itself refuses integers of more than 4,300 digits."""
EXPONENT = 400
"""Largest power of ten that is written out."""
FINE = 6
"""Decimals from which a rounded decimal stands for an exact value, as in math-verify: 0.333333 for 1/3."""

Unit = tuple[Fraction, tuple[tuple[str, int], ...]]
"""(factor, dimensions with their powers): km/h is (5/18, ((length, 1), (time, -1)))."""


class Number(NamedTuple):
    """A number as written."""

    value: Fraction
    percent: bool = False
    """Whether a per cent sign followed."""
    unit: Unit | None = None
    """None where there is none, or one that is not known."""
    decimals: int = 0
    """Digits behind the point; 0 of whole numbers and fractions."""
    named: bool = False
    """Whether it is an amount of something, be the unit known or not."""


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
_PLAIN = rf"{_DIGITS}(?:\.\d*)?|\.\d+"
_CORE = re.compile(
    r"(?P<sign>[-+]?) ?(?:(?:(?P<whole>\d+) ?)?\\frac ?"
    rf"(?:\{{ ?(?P<n>-?(?:{_PLAIN})) ?\}} ?\{{ ?(?P<d>(?:{_PLAIN})) ?\}}"
    r"|(?P<n1>\d)\{?(?P<d1>\d)(?!\d)\}?|\{(?P<n2>\d)\}(?P<d2>\d))"
    r"|(?P<mixed>\d+) (?P<mn>\d+) ?/ ?(?P<md>\d+)"
    r"|(?P<lead>\d*)\.(?P<fixed>\d*)\\(?:overline|bar|dot) ?\{(?P<rep>\d+)\}"
    rf"|(?P<top>{_PLAIN})(?: ?/ ?(?P<bottom>{_PLAIN}))?"
    r"(?: ?(?:\\times|\\cdot|\*|x) ?10 ?\^ ?(?:\{ ?(?P<e1>[-+]?\d{1,3}) ?\}|(?P<e2>[-+]?\d{1,3}))"
    r"|[eE](?P<e3>[-+]?\d{1,3})(?!\w))?)"
)
_AMOUNT = re.compile(r"\d+(?:\.\d+)? ?[A-Za-z]+")
COMPOUND = re.compile(rf"{_AMOUNT.pattern}(?:(?:, | and |, and | ){_AMOUNT.pattern}){{1,3}}")
_ABOUT = re.compile(r"(?:\\approx|\\sim(?:eq)?|about|approximately|approx\.?|roughly|~)(?![a-z]) ?", re.IGNORECASE)
_MONEY = re.compile(r"([-+]?) ?(?:(?:USD?|[ACN]) ?(?=[$]))?(USD|EUR|Rs\.?|[$\u20ac\u00a3\u00a5\u20b9]) ?")
_SCALES: dict[str, int | Fraction] = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15,
    "dozen": 12, "score": 20, "lakh": 10**5, "crore": 10**7, "pairs": 2,
} | {
    word: Fraction(1, n)
    for word, n in {"halves": 2, "thirds": 3, "quarters": 4, "fourths": 4, "fifths": 5, "sixths": 6,
                    "sevenths": 7, "eighths": 8, "ninths": 9,
                    "tenths": 10, "hundredths": 100, "thousandths": 1000}.items()
}  # fmt: skip
_DONE_TO = {"squared": 2, "cubed": 3}
_ONES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_UNIT = re.compile(r"(?:[^\W\d_]|[$\u20ac\u00a3\u00a5\u20b9'\"])(?:[^\W\d_]|\^ ?\{?-?\d\}?|[ /.'\"()*-])*")
_DEGREES = {"": "degrees", "C": "celsius", "F": "fahrenheit"}
_POWER_SIGN = re.compile(r" ?\^ ?")
_NO_UNITS = {
    "pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "or", "and", "to", "mod", "infinity", "choose", "of", "if",
    "for", "where", "with", "base", "x", "y", "z", "n", "a", "b", "i", "e", "k", "plus", "minus", "times", "over", "is",
    "divided",
}  # fmt: skip
"""First words that make something else of a number than an amount."""


@lru_cache(maxsize=8192)
def number(text: str, *, glued: bool = False) -> Number | None:
    """The value of an integer, decimal, fraction, mixed number or power of ten, with what may stand around it.

    A letter right behind it is algebra (5m is five times m), or with `glued` a unit where it is a known one.
    """
    if len(text) > LONGEST:
        return None
    text = spelling(text)
    upright = "\\text" in text or "\\math" in text
    if "\\" in text:
        text = " ".join(WRAPPED.sub(r" \1 ", text).split())
    if not text[:1].isdigit():
        text = _ABOUT.sub("", text, count=1)
    if text[:1].isalpha():
        if found := _NEGATIVE.match(text):
            positive = number(text[found.end() :], glued=glued)
            return positive and positive._replace(value=-positive.value)
        if (words := _in_words(text.lower())) is not None:
            return Number(words)
    text = _other_separators(text)
    if text[:1].isdigit() and COMPOUND.fullmatch(text):
        return _added(text)
    money = _MONEY.match(text)
    sign, rest = (money[1], text[money.end() :]) if money else ("", text)
    core = _CORE.match(rest)
    if core is None:
        return None
    value = _value(core)
    if value is None:
        return None
    unit = _CURRENCIES.get(money[2].rstrip(".")) if money else None
    rest = rest[core.end() :]
    spaced = rest.startswith((" ", "\\"))
    if not upright and " " in rest.strip() and all(len(w.partition("^")[0]) == 1 for w in rest.split()):
        return None  # half m v squared
    letter = rest[:1].isalpha() and rest[0].isascii()
    if letter and not glued and (len(rest) == 1 or not rest[1].isalpha()):
        return None
    return _with_unit(-value if sign == "-" else value, _decimals(core), rest, unit, spaced=spaced)


_NEGATIVE = re.compile(r"(?:minus|negative) ", re.IGNORECASE)


def _in_words(text: str) -> Fraction | None:
    """thirty-six, two hundred and five, one half, two and a half; None for anything else."""
    total, below, known = 0, 0, False
    text = text.rstrip(".")
    for tail, part in (("and a half", Fraction(1, 2)), ("and one half", Fraction(1, 2))):
        if text.endswith(tail):
            whole = _in_words(text.removesuffix(tail).strip())
            return None if whole is None else whole + part
    if text in ("half", "one half", "a half", "one-half"):
        return Fraction(1, 2)
    for word in text.replace("-", " ").split():
        if word in _ONES or word in _TENS:
            room = 1 if not below % 100 else 10 if below % 100 >= 20 and not below % 10 else 0
            part = _ONES.get(word, 0) + _TENS.get(word, 0)
            if not room or (room == 10 and not 0 < part < 10):
                return None  # one two three is no number
            below += part
        elif word == "hundred" and known:
            below *= 100
        elif word in ("thousand", "million") and known:
            total, below = total + below * int(_SCALES[word]), 0
        elif word != "and" or not known:
            return None
        known = True
    return Fraction(total + below) if known else None


_EUROPEAN = re.compile(r"(\d{1,3}(?:[. ]\d{3})+),(\d+)(?!\d)|(\d{1,3}(?:\.\d{3}){2,})(?![\d.])")
_POINTS_OF_THOUSAND = re.compile(
    r"(\d{1,3}(?:\.\d{3})+)"
    r"(?= ?(?:\u20ac|\u20ab|\u0111|[Ee]uros?\b|TL\b|VND\b|Dollar\b|d[o\u00f3]lares\b|dolar|z\u0142|kr\b))"
)
_LAKHS = re.compile(r"(?<!\d)\d{1,2}(?:,\d{2})+,\d{3}(?![\d,])")


def _other_separators(text: str) -> str:
    """1.234,50 and 1 234,50; 1.234.567; 70.000 of a currency that is written so; 1,50,000."""
    if "," in text or "." in text:
        text = _EUROPEAN.sub(lambda m: re.sub(r"[. ]", "", m[1] or m[3]) + (f".{m[2]}" if m[2] else ""), text)
        text = _POINTS_OF_THOUSAND.sub(lambda m: m[1].replace(".", ""), text)
        text = _LAKHS.sub(lambda m: m.group().replace(",", ""), text)
    return text


def _added(text: str) -> Number | None:
    """5 hours 30 minutes, 6 feet 2 inches: amounts of one kind, added up in the first one's unit."""
    found = [number(part[0]) for part in _AMOUNT.finditer(text)]
    units = [n.unit for n in found if n and n.unit]
    sizes = [unit[0] for unit in units]
    if len(units) != len(found) or len({unit[1] for unit in units}) != 1 or sizes != sorted(set(sizes), reverse=True):
        return None  # 5 km, 7 km are two answers
    total = sum(n.value * n.unit[0] for n in found if n and n.unit)
    return Number(total / units[0][0], False, units[0], named=True)


def _decimals(core: re.Match[str]) -> int:
    plain = core["top"] is not None and not (core["bottom"] or core["e1"] or core["e2"] or core["e3"])
    return len(core["top"].partition(".")[2]) if plain else 0


def _value(core: re.Match[str]) -> Fraction | None:
    part = core.groupdict()
    whole = Fraction(part["whole"] or part["mixed"] or 0)
    if part["rep"]:
        fixed = part["fixed"] or ""
        value = Fraction(int((part["lead"] or "0") + fixed + part["rep"]) - int((part["lead"] or "0") + fixed))
        value /= (10 ** len(part["rep"]) - 1) * 10 ** len(fixed)
    else:
        top = _plain(part["n"] or part["n1"] or part["n2"] or part["mn"] or part["top"])
        bottom = _plain(part["d"] or part["d1"] or part["d2"] or part["md"] or part["bottom"] or "1")
        if bottom == 0:
            return None
        value = whole + top / bottom
    exponent = int(part["e1"] or part["e2"] or part["e3"] or 0)
    if abs(exponent) > EXPONENT:
        return None
    value *= Fraction(10) ** exponent
    return -value if part["sign"] == "-" else value


def _plain(text: str) -> Fraction:
    text = text.replace(",", "").replace(" ", "")
    return Fraction(text.rstrip(".") or "0")


def _with_unit(value: Fraction, decimals: int, rest: str, unit: Unit | None, *, spaced: bool) -> Number | None:
    """The number with what follows it; None where that makes something else of it."""
    rest = _POWER_SIGN.sub("^", rest).strip()
    if rest[:1] == "/" and unit_of(f"per {rest[1:]}"):  # $18/day
        rest, spaced = f"per {rest[1:]}", True
    first = rest.partition(" ")[0].lower().rstrip(".")
    scale = _SCALES.get(first) or _SCALES.get(first.removesuffix("s"))
    if scale:
        value, rest, spaced = value * scale, rest[len(first) :].strip(), True
    if rest in _DONE_TO:
        return Number(value ** _DONE_TO[rest])
    if rest in ("and a half", "and one half"):
        return Number(value + Fraction(1, 2))
    if not rest:
        return Number(value, False, unit, decimals, unit is not None)
    if rest in ("%", "percent", "per cent", "percentage points") or _OF_SOMETHING.match(rest):
        return Number(value, True, unit, decimals)
    rest = re.sub(r"^degrees? (?=celsius|fahrenheit|kelvin)", "", rest, flags=re.IGNORECASE)
    if rest.startswith("^\\circ"):
        rest, spaced = _DEGREES.get(rest[6:].strip(), rest), True
    if not _UNIT.fullmatch(rest) or is_no_unit(rest):
        return None
    known = unit_of(rest)
    if known is None and not spaced and rest[0].isascii():  # 5x, 2ab; but 18 and a measure word of Chinese
        return None
    return Number(value, False, known or unit, decimals, named=True)


_THAN = re.compile(r"(?:less|more|fewer) than\b", re.IGNORECASE)
_OF_SOMETHING = re.compile(r"(?:%|percent) (?!of \d)")


def is_no_unit(text: str) -> bool:
    """Whether the words behind a number make something else of it: 8 tenths, 5 x, 3 or 4."""
    head = re.split(r"[^A-Za-z]", text, maxsplit=1)[0]
    return (head if len(head) == 1 else head.lower()) in _NO_UNITS or _THAN.match(text) is not None


def same_number(gold: Number, answer: Number) -> bool:
    """Whether two numbers are worth the same; see `FINE` and the head of this module for what is let pass."""
    if gold.unit and answer.unit and gold.unit != answer.unit:
        if gold.unit[1] == answer.unit[1]:
            return gold.value * gold.unit[0] == answer.value * answer.unit[0]
        # Dollars and dollars per day may be the same amount; metres and square metres are not.
        kinds = [set(n.unit[1]) for n in (gold, answer) if n.unit]
        if not any(
            len(kind) == 1 and kind <= _MONEYS and kind <= other for kind, other in zip(kinds, kinds[::-1], strict=True)
        ):
            return False
    if (answer.percent and gold.named) or (gold.percent and answer.named):
        return False  # 8 % is not 8 cm
    if _close(gold, answer.value, answer.decimals):
        return True
    if gold.percent != answer.percent:  # 50 % may be asked for as 50 or as 0.5
        written, other = (gold, answer) if gold.percent else (answer, gold)
        return written.value == 100 * other.value
    return False


def _close(gold: Number, value: Fraction, decimals: int) -> bool:
    """Equal, or one is the other's decimal, rounded or cut behind at least `FINE` digits."""
    if gold.value == value:
        return True
    fine = [(d, x, exact) for d, x, exact in ((gold.decimals, gold.value, value), (decimals, value, gold.value)) if d]
    return any(stands_for(x, exact, d) for d, x, exact in fine)


def stands_for(decimal: Fraction, exact: Fraction, decimals: int) -> bool:
    """Whether a number of so many decimals is an exact one, rounded or cut: 0.333333 is 1/3, 0.333334 is not."""
    last = Fraction(1, 10**decimals)
    if decimals < FINE or abs(exact) < 1000 * last or (decimal < 0) != (exact < 0):
        return False
    return abs(decimal - exact) <= last / 2 or 0 <= abs(exact) - abs(decimal) < last


# -- units ------------------------------------------------------------------------------------------------------------

_TABLE = {
    "length": {
        "1": "m meter metre", "1/1000": "mm millimeter millimetre", "1/100": "cm centimeter centimetre",
        "1/10": "dm decimeter", "1000": "km kilometer kilometre", "1/1000000000": "nm nanometer",
        "1/1000000": "um \u00b5m \u03bcm micrometer micron",
        "127/5000": "in inch inches", "381/1250": "ft foot feet", "1143/1250": "yd yard",
        "201168/125": "mi mile", "1852": "nautical",
    },
    "mass": {
        "1": "kg kilogram", "1/1000": "g gram", "1/1000000": "mg milligram", "1000": "tonne ton",
        "45359237/100000000": "lb lbs pound", "45359237/1600000000": "oz ounce",
    },
    "time": {
        "1": "s sec second", "1/1000": "ms millisecond", "60": "min minute", "3600": "h hr hour", "86400": "day",
        "604800": "week", "31557600": "yr year", "2629800": "month",
    },
    "money": {"1": "$ dollar usd", "1/100": "cent \u00a2"},
    "euro": {"1": "\u20ac euro eur"},
    "sterling": {"1": "\u00a3 gbp"},
    "yen": {"1": "\u00a5 yen yuan"},
    "rupee": {"1": "\u20b9 rupee"},
    "angle": {"1": "degree deg"},
    "radian": {"1": "rad radian"},
    "celsius": {"1": "c celsius"},
    "kelvin": {"1": "k kelvin"},
    "fahrenheit": {"1": "f fahrenheit"},
    "volume": {"1": "l liter litre", "1/1000": "ml milliliter millilitre", "3785411784/1000000000": "gallon gal"},
    "force": {"1": "n newton", "1000": "kn"},
    "energy": {"1": "j joule", "1000": "kj kilojoule"},
    "power": {"1": "w watt", "1000": "kw kilowatt"},
    "voltage": {"1": "v volt"},
    "current": {"1": "a ampere amp"},
    "pressure": {"1": "pa pascal", "1000": "kpa"},
    "frequency": {"1": "hz hertz"},
    "amount": {"1": "mol mole"},
}  # fmt: skip
_UNITS: dict[str, Unit] = {
    name: (Fraction(factor), ((dimension, 1),))
    for dimension, by_factor in _TABLE.items()
    for factor, names in by_factor.items()
    for name in names.split()
}
_CURRENCIES = {sign: _UNITS[sign] for sign in "$\u20ac\u00a3\u00a5\u20b9"}
_MONEYS = {unit[1][0] for unit in _CURRENCIES.values()}
_CURRENCIES |= {"USD": _UNITS["$"], "EUR": _UNITS["\u20ac"], "Rs": _UNITS["\u20b9"]}
_UNITS["mph"] = (Fraction(201168, 125) / 3600, (("length", 1), ("time", -1)))
_UNITS["kmh"] = _UNITS["kph"] = (Fraction(5, 18), (("length", 1), ("time", -1)))
_POWER_WORDS = {"square": 2, "sq": 2, "cubic": 3, "squared": 2, "cubed": 3}
_PIECE = re.compile(r"(?P<name>[^\W\d_]+|[$\u20ac\u00a3\u00a5\u20b9'\"])\.?(?:\^?\{?(?P<power>-?\d)\}?)?")


@lru_cache(maxsize=1024)
def unit_of(text: str) -> Unit | None:
    """What a unit is worth: `cm^2`, `miles per hour`, `m/s`; None where any word of it is not known."""
    factor, powers, below, squared = Fraction(1), {}, 1, 1
    for word in re.findall(r"/|\S[^\s/*]*", text.replace("(", " ").replace(")", " ").replace("*", " ")):
        if word == "/" or word.lower() == "per":
            below = -1
            continue
        if word.lower() in _POWER_WORDS:
            squared = _POWER_WORDS[word.lower()]
            if word.lower() in ("squared", "cubed") and powers:
                last = list(powers)[-1]
                factor, powers[last], squared = factor**squared, powers[last] * squared, 1
            continue
        piece = _PIECE.fullmatch(word.rstrip(".,"))
        known = _look_up(piece["name"]) if piece else None
        if piece is None or known is None:
            return None
        power = below * squared * int(piece["power"] or 1)
        factor *= known[0] ** power
        for name, n in known[1]:
            powers[name] = powers.get(name, 0) + n * power
        below = squared = 1
    return (factor, tuple(sorted((d, n) for d, n in powers.items() if n))) if powers else None


def _look_up(name: str) -> Unit | None:
    """Symbols as they are written, words in any case and in the plural; M, G, H and S are no m, g, h and s."""
    if len(name) == 1 and name.isupper() and name.lower() in "mghs":
        return None
    low = name.lower()
    singular = low[:-1] if low.endswith("s") and len(low) > 3 else low
    return _UNITS.get(low) or _UNITS.get(singular)
