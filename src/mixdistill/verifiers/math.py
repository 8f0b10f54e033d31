"""Mathematical answers: the answer of a trace against the reference, by extract.py and equality.py.

The verdict's `rule` is `<how it was found>/<how it was judged>`. A time-out of math-verify is raised, never called
wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache, partial
from math import floor, log10

from mixdistill.types import Problem, Trace, Verdict, prompt_text
from mixdistill.verifiers.equality import LONGEST, decide, equal, value_of
from mixdistill.verifiers.extract import extract
from mixdistill.verifiers.phrases import WORD
from mixdistill.verifiers.plain import clean, normal
from mixdistill.verifiers.quantities import number
from mixdistill.verifiers.singles import Decided, as_prose
from mixdistill.verifiers.verdicts import compared, is_cut, no_answer, no_reference

VERSION = "2"
MOST_WORDS = 8
"""Of a reference answer; of 7,974 answers of the MATH data set none has more than three."""


def verify(problem: Problem, trace: Trace, *, timeout: int = 5, lists: bool = False) -> Verdict:
    """Whether the answer part of `trace` gives the reference answer of `problem`.

    Only `trace.content` is read: a box in the reasoning is no answer. Where the problem asks for so many decimals, an
    answer that rounds to the reference is right. `timeout` is whole seconds for each parse and each comparison of
    math-verify. With `lists`, a reference that is a JSON list of texts wants all of them. Runs in the main thread of
    its process (math-verify keeps time with SIGALRM).
    Raises TimeoutError when math-verify does not finish in time, MemoryError or RecursionError where it needs more.
    """
    verdict = _judge(problem, trace, lists, partial(equal, timeout=timeout))
    assert verdict is not None
    return verdict


def quick(problem: Problem, trace: Trace, *, timeout: int = 5, lists: bool = False) -> Verdict | None:
    """The same verdict where exact steps decide, in time linear in the text; None where math-verify is needed."""
    return _judge(problem, trace, lists, decide)


def _judge(
    problem: Problem, trace: Trace, lists: bool, compare: Callable[[str, str], Decided | None]
) -> Verdict | None:
    gold = reference(problem.answer, lists)
    if not gold:
        return no_reference(trace)
    found = extract(trace.content, guess=not is_cut(trace))
    if found is None:
        return no_answer(trace, gold)
    decided = compare(gold, found.answer)
    if decided is None or not decided.right:
        decided = _as_asked(problem, gold, found.answer) or _as_said(gold, found.said) or decided
    return decided and compared(trace, found, gold, *decided)


@lru_cache(maxsize=65536)
def reference(answer: str, lists: bool = False) -> str:
    """The reference answer itself, also where the data give a whole solution that ends in a box or in `#### x`, or,
    with `lists`, a JSON list of texts."""
    if lists and answer.startswith('["'):
        answer = ", ".join(_texts(answer)) or answer
    if any(mark in answer for mark in ("\\boxed", "\\fbox", "\\framebox", "####")):
        found = extract(answer)
        if found and found.rule in ("box", "hash"):
            return found.answer
    text = clean(answer)
    return text if normal(text).strip("$") else ""


def _texts(answer: str) -> list[str]:
    """A JSON list of texts, without the dollar signs around each; empty where it is none."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return []
    return [text.strip().strip("$") for text in found] if all(isinstance(text, str) for text in found) else []


def gold(problem: Problem, *, lists: bool = False) -> str:
    """A right answer as a trace would state it: the reference in a box.

    Raises ValueError on a reference in prose: it would be accepted in a box, and no trace will ever say just that.
    """
    words = len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", reference(problem.answer, lists)))
    if words > MOST_WORDS:
        raise ValueError(
            f"the reference is a solution, not an answer ({words} words); set answer_after, or map a column"
        )
    return f"\\boxed{{{reference(problem.answer, lists)}}}"


# -- tolerance that the problem states --------------------------------------------------------------------------------

_PLACES = {"tenth": 1, "hundredth": 2, "thousandth": 3, "cent": 2, "one": 1, "two": 2, "three": 3, "four": 4,
           "five": 5, "whole": 0, "integer": 0, "dollar": 0, "ten": -1, "hundred": -2, "thousand": -3}  # fmt: skip
_ASKED = re.compile(
    r"(?:nearest|closest) (tenth|hundredth|thousandth|cent|whole|integer|dollar|ten|hundred|thousand)\b"
    r"|\b(one|two|three|four|five|[1-9]) (?:decimal (?:place|digit|point)s?|digits after the decimal)"
    r"|\b(one|two|three|four|five|[1-9]) significant (?:figure|digit)s?",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def asked_unit(prompt: str) -> tuple[int, bool] | None:
    """(decimals, whether they are significant figures) that a problem asks for: "to the nearest hundredth", "to 3
    decimal places"; None where it asks none."""
    if not any(word in prompt for word in ("earest", "losest", "decimal", "ignificant")):
        return None
    found = list(_ASKED.finditer(prompt))
    if not found:
        return None
    word = next(group for group in found[-1].groups() if group).lower()
    return (int(word) if word.isdigit() else _PLACES[word]), found[-1][3] is not None


def _as_asked(problem: Problem, gold: str, answer: str) -> Decided | None:
    """Right where the reference is the answer rounded as the problem asks; None says nothing."""
    asked = asked_unit(prompt_text(problem.prompt))
    if asked is None or len(answer) > LONGEST:
        return None
    given = number(answer, glued=True)
    exact, value = _fraction(gold), given.value if given else _fraction(answer)
    if not exact or value is None or exact == value:
        return None
    places = asked[0] - floor(log10(abs(exact))) - 1 if asked[1] else asked[0]
    if _stands_in(answer, prompt_text(problem.prompt)):
        return None  # what is to be rounded is no answer
    if given and given.decimals < places and given.decimals:
        return None  # fewer decimals than were asked for
    if given and not given.decimals and given.value.denominator == 1 and places >= 0:
        return None
    return Decided(True, "as asked") if abs(exact - value) <= Fraction(10) ** -places / 2 else None


def _stands_in(answer: str, prompt: str) -> bool:
    """Whether a number is copied from the problem."""
    return re.search(rf"(?<![\d.]){re.escape(answer.strip())}(?![\d]|\.\d)", prompt) is not None


def _as_said(gold: str, said: str) -> Decided | None:
    """Right where a whole line is the reference: `all $n$ not divisible by 3` is more than its formula."""
    if not said or not WORD.search(gold):
        return None
    same = normal(said.replace("$", "")) == normal(gold.replace("$", "")) or as_prose(gold, said) == (True, "words")
    return Decided(True, "text") if same else None


def _fraction(text: str) -> Fraction | None:
    plain = number(text)
    if plain:
        return plain.value
    found = value_of(text)
    return None if found is None else Fraction(found)
