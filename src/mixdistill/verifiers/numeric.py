"""Answers that are a number: right when they are close enough to the reference, as options or the reference itself say.

Numbers and units are read as `math` reads them (`quantities`); all comparisons are exact, in fractions: a tolerance of
0.1 is one tenth, and 0.3 is within 0.1 of 0.2. Infinity and "not a number" equal nothing. Rules:

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
from mixdistill.verifiers.extract import extract
from mixdistill.verifiers.math import reference as stated
from mixdistill.verifiers.plain import clean, spelling
from mixdistill.verifiers.quantities import Number, number
from mixdistill.verifiers.verdicts import compared, is_cut, no_answer, no_reference

VERSION = "1"
LONGEST = 400
"""Characters of the longest text that is read as a number."""


class Reference(NamedTuple):
    """A reference answer."""

    number: Number
    tolerance: Fraction | None
    """How far off an answer may be, where the reference says so."""
    digit: Fraction
    """What one more in its last digit is worth: 0.01 for 3.14, 100 for 1.2e3; 0 for a fraction, which is exact."""


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
    shown = " ".join(problem.answer.split())[:120]
    if gold is None:
        return no_reference(trace, f"the reference is no number: {shown!r}")
    found = extract(trace.content, guess=not is_cut(trace))
    if found is None:
        return no_answer(trace, shown)
    answer = quantity(found.answer)
    if answer is None:
        return compared(trace, found, shown, False, "no_number")
    right, step = within(gold.number, answer, _tolerance(gold, abs_tol, rel_tol, rounded))
    return compared(trace, found, shown, right, step)


quick = verify
"""Decided at once: no text takes more than time in proportion to its length."""


def gold(problem: Problem) -> str:
    """A right answer as a trace would state it: the reference number in a box, without its tolerance."""
    return f"\\boxed{{{_parts(stated(problem.answer))[0]}}}"


# -- reading ----------------------------------------------------------------------------------------------------------

_PLUS_MINUS = re.compile(r"(?<=.)(?:\\pm(?![a-zA-Z])|\+/?-)")
_POWER = re.compile(r"^([-+]?)10 ?\^ ?(?:\{ ?)?([-+]?\d{1,3})(?: ?\})?(?=\s|\Z)")
_EQUALS = re.compile(r"=|\\(?:approx|simeq)(?![a-zA-Z])")
_SUPPOSED = re.compile(r"\s*(?:let|if|suppose|when|for)\b", re.IGNORECASE)
_LAST_DIGIT = re.compile(
    r"[^\d.\\]{0,8}[\d, ]*(?:\.(?P<decimals>\d*))?"
    r"(?:[eE](?P<e1>[-+]?\d{1,3})| ?(?:\\times|\\cdot|\*|x) ?10 ?\^ ?\{? ?(?P<e2>[-+]?\d{1,3}) ?\}?)?(?! ?/|\\frac|\d)"
)


@lru_cache(maxsize=8192)
def quantity(text: str) -> Number | None:
    """The number that a text states, with its unit; None where it states none, or more than a number and a unit.

    Of `x = 3.14` and `the speed \\approx 3.14` it is what stands behind the sign, of `3.14 ± 0.01` what stands before.
    """
    return number(_behind_sign(_parts(text)[0]), glued=True) if len(text) <= LONGEST else None


def _parts(text: str) -> list[str]:
    """(the number, its tolerance) of a text; one part where no tolerance is stated. Brackets around both go."""
    text = _POWER.sub(r"\g<1>1e\2", spelling(text))
    inside, closing, behind = text[1:].partition(")")
    if text.startswith("(") and closing and "(" not in inside:
        text = f"{inside} {behind}"  # the unit of `(3.14 ± 0.01) m` goes to the tolerance, and from it to the number
    return [clean(part) for part in _PLUS_MINUS.split(text, maxsplit=1)]


def _behind_sign(text: str) -> str:
    """Of `x = 3` what stands behind the sign; a whole sentence is left as it is."""
    first = _EQUALS.search(text)
    if first is None or len(text[: first.start()].split()) > 3 or _SUPPOSED.match(text):
        return text
    return _EQUALS.split(text)[-1]


@lru_cache(maxsize=8192)
def reference(answer: str) -> Reference | None:
    """The number of a reference answer and the tolerance it states; None where it is no number."""
    answer = stated(answer)
    parts = _parts(answer) if len(answer) <= LONGEST else [""]
    value = number(_behind_sign(parts[0]), glued=True)
    if value is None or len(parts) == 1:
        return Reference(value, None, _last_digit(parts[0])) if value else None
    off = number(parts[1], glued=True)
    if off is None or off.value < 0:
        return None
    if off.percent and not value.percent:
        return Reference(value, abs(value.value) * off.value / 100, Fraction(0))
    value = value._replace(unit=value.unit or off.unit, named=value.named or off.named)
    if value.unit and off.unit and value.unit[1] != off.unit[1]:
        return None
    factor = off.unit[0] / value.unit[0] if value.unit and off.unit else 1
    return Reference(value, off.value * factor, Fraction(0))


def _last_digit(text: str) -> Fraction:
    match = _LAST_DIGIT.match(spelling(_behind_sign(text)))
    if match is None or not any(c.isdigit() for c in match.group()):
        return Fraction(0)
    return Fraction(10) ** (int(match["e1"] or match["e2"] or 0) - len(match["decimals"] or ""))


# -- comparison -------------------------------------------------------------------------------------------------------


def _tolerance(gold: Reference, abs_tol: float, rel_tol: float, rounded: bool) -> Fraction:
    """How far off an answer may be. Raises ValueError for an option that is no tolerance."""
    for name, value in (("abs_tol", abs_tol), ("rel_tol", rel_tol)):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name}: not a tolerance (got {value!r}); give a number from 0")
    if gold.tolerance is not None:
        return gold.tolerance
    # By their decimal spelling: what is written 0.1 is one tenth, and not the float next to it.
    share = Fraction(str(rel_tol)) * abs(gold.number.value)
    return max(Fraction(str(abs_tol)), share, gold.digit / 2 if rounded else Fraction(0))


def within(gold: Number, answer: Number, tolerance: Fraction = Fraction(0)) -> tuple[bool, str]:
    """(whether an answer is within `tolerance` of the reference, the step that decided)."""
    if gold.unit and answer.unit and gold.unit != answer.unit:
        a, b = set(gold.unit[1]), set(answer.unit[1])
        if a == b:
            return abs(answer.value * answer.unit[0] / gold.unit[0] - gold.value) <= tolerance, "number"
        if not (a <= b or b <= a):  # dollars and dollars per day may be the same amount
            return False, "unlike_units"
    if (gold.percent and answer.named) or (answer.percent and gold.named):
        return False, "unlike_units"  # 8 % is not 8 cm
    values = [answer.value]
    if gold.percent != answer.percent:
        values.append(answer.value * 100 if gold.percent else answer.value / 100)
    return any(abs(value - gold.value) <= tolerance for value in values), "number"
