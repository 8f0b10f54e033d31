"""Answers that are a number: right when they are close enough to the reference, as options or the reference itself say.

All comparisons are exact, in fractions: a tolerance of 0.1 is one tenth, and 0.3 is within 0.1 of 0.2. Infinity and
"not a number" equal nothing. Rules:

    tolerance   the largest of `abs_tol`, `rel_tol` times the reference and, with `rounded`, half a unit of the last
                digit of the reference; one that the reference states (`3.14 ± 0.01`, `9.8 ± 2%`) takes their place
    units       two units that are known are converted (5000 m is 5 km) and unlike ones are wrong (5 kg is not 5 km);
                a unit that is unknown, or missing on one side, is not held against an answer
    per cent    50 % is 50 % on both sides; where one side alone has the sign, it may mean 50 or 0.5
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from mixdistill.types import Problem, Trace, Verdict
from mixdistill.verifiers import units
from mixdistill.verifiers.extract import clean, extract
from mixdistill.verifiers.math import number
from mixdistill.verifiers.verdicts import Found, compared, complete, is_cut, no_answer, no_reference

VERSION = "1"
LONGEST = 200
"""Characters of the longest text that is read as a number."""


class Quantity(NamedTuple):
    """A number as written."""

    value: Fraction
    percent: bool
    """Whether a per cent sign followed; 50 % has value 50."""
    unit: str
    """What stood behind or before it; empty where nothing did."""
    digit: Fraction
    """What one more in the last digit is worth: 0.01 for 3.14, 100 for 1.2e3; 0 for a fraction, which is exact."""


class Reference(NamedTuple):
    """A reference answer: the number, and how far off an answer may be where the reference says so."""

    quantity: Quantity
    tolerance: Fraction | None


def verify(
    problem: Problem, trace: Trace, *, abs_tol: float = 0.0, rel_tol: float = 0.0, rounded: bool = False
) -> Verdict:
    """Whether the answer part of `trace` gives the number of `problem`'s reference, within a tolerance.

    Only `trace.content` is read, by the rules of `math`: a box, "final answer", `####`, "the answer is", the last
    number. An answer may be off by `abs_tol`, in the unit of the reference, or by `rel_tol` as a share of it.
    With `rounded` it may also be any number that rounds to the reference: 3.14159 for 3.14, but not 3.1. A tolerance in
    the reference (`3.14 ± 0.01`) is used instead of these. Known units are converted; others are not compared. A
    reference without a number is `error`.
    """
    gold = reference(problem.answer)
    if gold is None:
        return no_reference(trace, f"the reference is no number: {problem.answer[:120]!r}")
    found = find(trace.content, cut=is_cut(trace))
    if found is None:
        return no_answer(trace, problem.answer.strip())
    answer = quantity(found.answer)
    if answer is None:
        return compared(trace, found, problem.answer.strip(), False, "no_number")
    off = _tolerance(gold, abs_tol, rel_tol, rounded)
    right, step = within(gold.quantity, answer, off)
    return compared(trace, found, problem.answer.strip(), right, step)


quick = verify
"""Decided at once: no text takes more than time in proportion to its length."""


def gold(problem: Problem) -> str:
    """A right answer as a trace would state it: the reference number in a box, without its tolerance."""
    return f"\\boxed{{{_PLUS_MINUS.split(_stated(problem.answer))[0].strip(' ($')}}}"


def find(content: str, *, cut: bool) -> Found | None:
    """The answer in an answer part. Of one that was cut, the sentence that broke off is read for boxes alone."""
    found = extract(content, guess=not cut)
    if cut and found is not None and found.rule != "box":
        return extract(complete(content), guess=False)
    return found


# -- reading numbers --------------------------------------------------------------------------------------------------

_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z])|\u00b1|\+/-|\+-")
_TIMES_TEN = re.compile(r"\s?(?:\\times|\\cdot|[\u00d7\u00b7*x])\s?10\s?(?:\^|\*\*)\s?\{?([-+]?\d{1,3})\}?(?![\d.])")
_SPACING = re.compile(r"\\[ ,;:!]|~|\\(?:q?quad|left|right|displaystyle)(?![a-zA-Z])|[\u00a0\u2009\u202f]")
_LETTERS = r"(?:[A-Za-zµμΩ\u00b0\u2103\u2109%\u00a2\u20ac\u00a3$]|\\circ|\\%|\\\$)"
_UNIT = re.compile(
    rf"(?<=[\d\s)}}%])(?![eE][-+]?\d)(?:\^\{{?\\circ\}}?|{_LETTERS}{{1,40}})"
    rf"(?:\^?\{{?-?\d\}}?|[\u00b2\u00b3])?(?:[\s./\u00b7-]{{1,3}}{_LETTERS}{{1,40}}(?:\^?\{{?-?\d\}}?|[\u00b2\u00b3])?){{0,6}}\.?$"
)
_TEXT = re.compile(r"\\(?:text|textrm|mathrm|mbox|rm|operatorname)\s?\{([^{}]*)\}")
_LEAD = re.compile(
    r"(?:(?:approximately|approx\.?|about|around|roughly|exactly|nearly|\\approx|\\sim|\\simeq|\u2248|~|=)\s*)+", re.I
)
_CURRENCY = re.compile(r"([-+\u2212]?)\s?(\\?\$|[\u20ac\u00a3\u00a5])\s?(?=[\d.])")
_EQUALS = re.compile(r"=|\\approx|\u2248")
_SUPPOSED = re.compile(r"\s*(?:let|if|suppose|when|for)\b", re.IGNORECASE)
_MIXED = re.compile(r"([-+]?)(\d+)\s*(?:\s([1-9]\d*)/(\d+)|\\[dt]?frac\{(\d+)\}\{(\d+)\})(?=\s*[^\d\s]|\Z)")
_POWER = re.compile(r"([-+]?)10\s?\^\s?\{?([-+]?\d{1,3})\}?(?=\s|\Z)")
_APART = re.compile(r"\d\s+\d")
_THOUSANDS = re.compile(r"(?<=\d) (?=\d{3}(?: \d{3})*(?![\d/]))")
_LETTER_UNITS = frozenset("mgshltLJNWVAKCFΩ\u00b0$%\u00a2\u20ac\u00a3")
_NO_UNITS = frozenset(
    {"pi", "ln", "log", "sin", "cos", "tan", "sqrt", "exp", "or", "and", "to", "mod", "dozen", "trillion"}
)
_SCALES = ("hundred", "thousand", "million", "billion")
_DECIMALS = re.compile(r"[-+]?[\d,]*(?:\.(\d*))?(?:[eE]([-+]?\d{1,3}))?%?\Z")
_ASCII = str.maketrans(
    "\u2212\u2010\u2011\u2012\u2013\uff0d\uff0e\uff05\u066a\u066b\u066c\uff0c",
    "------.%%.,,",
    "\u200b\u200e\u200f\ufeff\u2060",
) | {ord(s): f"^{i}" for i, s in enumerate("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")}


@lru_cache(maxsize=4096)
def quantity(text: str) -> Quantity | None:
    """The number that a text states, with its unit; None where it states none, or more than a number and a unit.

    Of `x = 3.14` and `x \\approx 3.14` it is what stands behind the sign, of `3.14 ± 0.01` what stands before it.
    """
    if len(text) > LONGEST:
        return None
    text = _spelled(text)
    head, unit = _split(text)
    read = None if _APART.search(head) or _is_no_unit(unit) else number(head)
    if read is None:
        return None
    scale = next((word for word in _SCALES if unit.lower().startswith(word)), "")
    if scale:
        read, unit = number(f"{head} {scale}"), unit[len(scale) :].strip()
        if read is None:
            return None
    percent = read.percent or unit.lower() in ("%", "\\%", "percent", "per cent", "percents")
    return Quantity(read.value, percent, "" if percent else unit, Fraction(0) if scale else _last_digit(head))


def _spelled(text: str) -> str:
    """A number in the spelling that `number` reads: ASCII digits and signs, `e` for powers of ten, no words first."""
    text = "".join(str(int(c)) if c.isdecimal() else c for c in text.translate(_ASCII))
    text = _TEXT.sub(r" \1", _SPACING.sub(" ", clean(text)))
    text = _PLUS_MINUS.split(text)[0]
    text = _behind_sign(text)
    text = _LEAD.sub("", clean(text), count=1) if _LEAD.match(clean(text)) else clean(text)
    text = _POWER.sub(r"\g<1>1e\2", _TIMES_TEN.sub(r"e\1", clean(text)), count=1)
    return _MIXED.sub(_improper, _THOUSANDS.sub("", text), count=1).strip("() ")


def _behind_sign(text: str) -> str:
    """Of `x = 3` and `the speed \\approx 3` what stands behind the sign; a whole sentence is left as it is."""
    left, sign, right = _EQUALS.split(text)[0], _EQUALS.search(text), _EQUALS.split(text)[-1]
    return right if sign and len(left.split()) <= 3 and not _SUPPOSED.match(left) else text


def _improper(match: re.Match[str]) -> str:
    """A mixed number as a fraction: 1 1/2 is 3/2."""
    top, bottom = int(match[3] or match[5]), int(match[4] or match[6])
    return f"{match[1]}{int(match[2]) * bottom + top}/{bottom}"


def _is_no_unit(unit: str) -> bool:
    """Whether what stands behind a number is part of an expression, such as `x` or `pi`."""
    return (len(unit) == 1 and unit not in _LETTER_UNITS) or unit.lower().split(" ")[0] in _NO_UNITS


def _split(text: str) -> tuple[str, str]:
    """(the number, its unit) of a text; a currency sign before the number is its unit."""
    money = _CURRENCY.match(text)
    if money:
        sign = money[2].removeprefix("\\")
        rest, behind = _split(money[1] + text[money.end() :])
        word = behind if behind.lower().startswith(_SCALES) else ""
        return rest, f"{word} {sign}".strip()
    if number(text) is not None and not re.search(r"[A-Za-z\u00b0]\W*$", text):
        return text, ""
    unit = _UNIT.search(text)
    if not unit:
        return text, ""
    return text[: unit.start()].strip(), unit.group().strip().removesuffix(".").replace("\\%", "%")


def _last_digit(text: str) -> Fraction:
    match = _DECIMALS.fullmatch(text.replace("\\%", "%").replace("{,}", ",").strip())
    if not match:
        return Fraction(0)
    return Fraction(10) ** (int(match[2] or 0) - len(match[1] or ""))


# -- references and comparison ----------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def reference(answer: str) -> Reference | None:
    """The number of a reference answer and the tolerance it states; None where it is no number."""
    text = _stated(answer)
    parts = _PLUS_MINUS.split(text, maxsplit=1)
    value = quantity(parts[0].strip().lstrip("(")) if len(parts) > 1 else quantity(text)
    if value is None or len(parts) == 1:
        return Reference(value, None) if value else None
    off = quantity(parts[1].strip().replace(")", ""))
    if off is None or off.value < 0:
        return None
    if off.percent and not value.percent:
        return Reference(value, abs(value.value) * off.value / 100)
    unit = value.unit or off.unit
    a, b = units.known(unit), units.known(off.unit)
    if a and b and a.kind != b.kind:
        return None
    return Reference(value._replace(unit=unit), off.value * b.factor / a.factor if a and b else off.value)


def _stated(answer: str) -> str:
    """The reference itself, also where the data give a whole solution that ends in a box or in `#### x`."""
    if "\\boxed" in answer or "####" in answer:
        found = extract(answer)
        if found and found.rule in ("box", "hash"):
            return found.answer
    return clean(answer)


def _tolerance(gold: Reference, abs_tol: float, rel_tol: float, rounded: bool) -> Fraction:
    """How far off an answer may be. Raises ValueError for an option that is no tolerance."""
    for name, value in (("abs_tol", abs_tol), ("rel_tol", rel_tol)):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name}: not a tolerance (got {value!r}); give a number from 0")
    if gold.tolerance is not None:
        return gold.tolerance
    # By their decimal spelling: what is written 0.1 is one tenth, and not the float next to it.
    share = Fraction(str(rel_tol)) * abs(gold.quantity.value)
    return max(Fraction(str(abs_tol)), share, gold.quantity.digit / 2 if rounded else Fraction(0))


def within(gold: Quantity, answer: Quantity, tolerance: Fraction = Fraction(0)) -> tuple[bool, str]:
    """(whether an answer is within `tolerance` of the reference, the step that decided)."""
    a, b = units.known(gold.unit), units.known(answer.unit)
    if a and b:
        if a.kind != b.kind:
            return False, "unlike_units"
        return abs(answer.value * b.factor / a.factor - gold.value) <= tolerance, "number"
    values = [answer.value]
    if gold.percent != answer.percent:
        values.append(answer.value * 100 if gold.percent else answer.value / 100)
    return any(abs(value - gold.value) <= tolerance for value in values), "number"
