"""Mathematical answers: exact steps first, symbolic comparison by math-verify only where they cannot decide.

Steps, named in the verdict's `rule` as `<how it was found>/<how it was judged>`:

    text          the same after normalising spaces, LaTeX spacing and wrappers
    number        both are integers, decimals or simple fractions: compared exactly (27.0 = 27, 025 = 25, 1,000 = 1000)
    math-verify   everything else

String equality comes first because symbolic graders reject some answers that are *identical* to the reference.
A time-out of math-verify is raised, never called wrong.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from mixdistill.types import Problem, Trace, Verdict
from mixdistill.verifiers.extract import clean, extract
from mixdistill.verifiers.verdicts import compared, is_cut, no_answer, no_reference

VERSION = "1"
MOST_WORDS = 8
"""Of a reference answer; of 7,974 answers of the MATH data set none has more than three."""


def verify(problem: Problem, trace: Trace, *, timeout: int = 5) -> Verdict:
    """Whether the answer part of `trace` gives the reference answer of `problem`.

    Only `trace.content` is read: a box in the reasoning is no answer. `timeout` is whole seconds for each parse and
    each comparison of math-verify. Runs in the main thread of its process (math-verify keeps time with SIGALRM).
    Raises TimeoutError when math-verify does not finish in time, and whatever it raises on answers it cannot handle.
    """
    gold = reference(problem.answer)
    if not gold:
        return no_reference(trace)
    found = extract(trace.content, guess=not is_cut(trace))
    if found is None:
        return no_answer(trace, gold)
    return compared(trace, found, gold, *equal(gold, found.answer, timeout=timeout))


def reference(answer: str) -> str:
    """The reference answer itself, also where the data give a whole solution that ends in a box or in `#### x`."""
    if "\\boxed" in answer or "####" in answer:
        found = extract(answer)
        if found and found.rule in ("box", "hash"):
            return found.answer
    text = clean(answer)
    return text if text.strip("$") else ""


def gold(problem: Problem) -> str:
    """A right answer as a trace would state it: the reference in a box.

    Raises ValueError on a reference in prose: it would be accepted in a box, and no trace will ever say just that.
    """
    words = len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", reference(problem.answer)))
    if words > MOST_WORDS:
        raise ValueError(
            f"the reference is a solution, not an answer ({words} words); set answer_after, or map a column"
        )
    return f"\\boxed{{{reference(problem.answer)}}}"


def equal(gold: str, answer: str, *, timeout: int = 5) -> tuple[bool, str]:
    """(whether `answer` is worth `gold`, the step that decided). Raises TimeoutError."""
    a, b = normal(gold), normal(answer)
    if a == b or (_is_words(a) and a.casefold() == b.casefold()):
        return True, "text"
    x, y = number(gold), number(answer)
    if x and y:
        if x.value == y.value:
            return True, "number"
        # 50 % may mean 0.5, and a rounded decimal may stand for a fraction: both are left to math-verify.
        if not (x.percent or y.percent) and abs(x.value - y.value) > Fraction(1, 10**5) * max(1, abs(x.value)):
            return False, "number"
    return _symbolic(gold, answer, timeout)


_DROP = re.compile(r"\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\[!,;: ]|\s|~|\\limits")
_SUBS = (
    ("\u2212", "-"),
    ("{,}", ","),
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\%", "%"),
    ("\\$", "$"),
    ("\\lbrace", "\\{"),
    ("\\rbrace", "\\}"),
)
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\{([^{}]*)\}")


def normal(text: str) -> str:
    """Text with what never carries meaning taken out; equal results mean the same answer as written."""
    text = clean(text)
    for old, new in _SUBS:
        text = text.replace(old, new)
    text = _WRAPPED.sub(r"\1", text)
    return clean(_DROP.sub("", text))


class Number(NamedTuple):
    """A number as written: its value, and whether a per cent sign followed."""

    value: Fraction
    percent: bool


_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_NOT_UNITS = {
    "pi",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "log",
    "ln",
    "exp",
    "or",
    "and",
    "to",
    "mod",
    "dozen",
    "trillion",
    "infinity",
}
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_PLAIN = re.compile(
    rf"(?P<sign>[-+]?)(?P<top>{_DIGITS}(?:\.\d*)?|\.\d+)(?:[eE](?P<exp>[-+]?\d{{1,3}}))?(?:/(?P<bottom>\d+))?"
)
_FRAC = re.compile(r"(?P<sign>[-+]?)\\frac(?:\{(?P<n>-?\d+)\}\{(?P<d>\d+)\}|(?P<n1>\d)(?P<d1>\d))")
_UNIT = re.compile(r"(?:\\(?:text|mathrm|mbox)\{(?P<boxed>[^{}]*)\}|\s(?P<words>[A-Za-z]{2,}(?:[ -][A-Za-z]+)*))\s*$")
_DEGREE = re.compile(r"\^?\{?(?:\\circ|\u00b0)\}?$")
_MAX_DIGITS = 1000
"""Longer texts are no plain numbers; Python itself refuses integers of more than 4,300 digits."""


def number(text: str) -> Number | None:
    """The value of an integer, decimal or simple fraction, with currency, per cent or a unit; None for all else."""
    text = clean(text).replace("\u2212", "-")
    if len(text) > _MAX_DIGITS:
        return None
    scale, percent = 1, False
    unit = _UNIT.search(text)
    if unit:
        words = (unit["boxed"] if unit["boxed"] is not None else unit["words"]).strip().lower()
        first = words.split(" ")[0]
        if first in _NOT_UNITS:
            return None
        scale, percent = _SCALES.get(first, 1), first == "percent"
        text = text[: unit.start()]
    text = re.sub(r"^([-+]?)[$\u20ac\u00a3\u00a5]", r"\1", _DEGREE.sub("", normal(text)))
    percent = percent or text.endswith("%")
    value = _value(text.removesuffix("%"))
    return None if value is None else Number(value * scale, percent)


def _value(text: str) -> Fraction | None:
    match = _FRAC.fullmatch(text)
    if match:
        top, bottom = Fraction(match["n"] or match["n1"]), Fraction(match["d"] or match["d1"])
    else:
        match = _PLAIN.fullmatch(text)
        if not match:
            return None
        top, bottom = Fraction(match["top"].replace(",", "").rstrip(".") or "0"), Fraction(match["bottom"] or 1)
        top *= Fraction(10) ** int(match["exp"] or 0)
    if bottom == 0:
        return None
    return (-top if match["sign"] == "-" else top) / bottom


def _is_words(text: str) -> bool:
    return len(text) > 2 and text.isalpha()


def _symbolic(gold: str, answer: str, timeout: int) -> tuple[bool, str]:
    """math-verify's opinion. Pairs are compared one by one: a failure on one must not hide a match on another."""
    from math_verify import verify as same
    from math_verify.errors import TimeoutException

    try:
        golds, answers = _parse_gold(gold, timeout), _parse(answer, timeout)
        failure: Exception | None = None
        for pair in product(golds, answers):
            try:
                if same(*pair, timeout_seconds=timeout, raise_on_error=True):
                    return True, "math-verify"
            except Exception as e:
                failure = e
    except TimeoutException as e:
        # It is a BaseException: neither callers nor pools would survive it as it is.
        raise TimeoutError(f"math-verify: no result within {timeout} s (answer {answer[:80]!r})") from e
    if failure:
        raise failure
    # What cannot be read as mathematics can only be compared as text, and that has been done.
    return False, "math-verify" if golds and answers else "text"


@lru_cache(maxsize=4096)
def _parse_gold(gold: str, timeout: int) -> list[Any]:
    """Parsed references are kept: parsing them is 43 % of the work on wrong answers, and each is met many times."""
    return _parse(gold, timeout)


def _parse(text: str, timeout: int) -> list[Any]:
    import logging

    from math_verify import parse

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it logs whole answers
    return parse(f"${text}$", parsing_timeout=timeout, raise_on_error=True)
