"""Mathematical answers: the answer of a trace against the reference, by extract.py and equality.py.

The verdict's `rule` is `<how it was found>/<how it was judged>`. A time-out of math-verify is raised, never called
wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache, partial

from mixdistill.types import Problem, Trace, Verdict, prompt_text
from mixdistill.verifiers.equality import LONGEST, Decided, decide, equal, value_of
from mixdistill.verifiers.extract import extract
from mixdistill.verifiers.plain import clean, normal
from mixdistill.verifiers.quantities import number
from mixdistill.verifiers.verdicts import compared, is_cut, no_answer, no_reference

VERSION = "2"
MOST_WORDS = 8
"""Of a reference answer; of 7,974 answers of the MATH data set none has more than three."""


def verify(problem: Problem, trace: Trace, *, timeout: int = 5) -> Verdict:
    """Whether the answer part of `trace` gives the reference answer of `problem`.

    Only `trace.content` is read: a box in the reasoning is no answer. Where the problem asks for so many decimals, an
    answer that rounds to the reference is right. `timeout` is whole seconds for each parse and each comparison of
    math-verify. Runs in the main thread of its process (math-verify keeps time with SIGALRM).
    Raises TimeoutError when math-verify does not finish in time, and whatever it raises on answers it cannot handle.
    """
    verdict = _judge(problem, trace, partial(equal, timeout=timeout))
    assert verdict is not None
    return verdict


def quick(problem: Problem, trace: Trace, *, timeout: int = 5) -> Verdict | None:
    """The same verdict where exact steps decide, in time linear in the text; None where math-verify is needed."""
    return _judge(problem, trace, decide)


def _judge(problem: Problem, trace: Trace, compare: Callable[[str, str], Decided | None]) -> Verdict | None:
    gold = reference(problem.answer)
    if not gold:
        return no_reference(trace)
    found = extract(trace.content, guess=not is_cut(trace))
    if found is None:
        return no_answer(trace, gold)
    decided = compare(gold, found.answer)
    if decided is None or not decided.right:
        decided = _as_asked(problem, gold, found.answer) or decided
    return decided and compared(trace, found, gold, *decided)


@lru_cache(maxsize=65536)
def reference(answer: str) -> str:
    """The reference answer itself, also where the data give a whole solution that ends in a box or in `#### x`."""
    if any(mark in answer for mark in ("\\boxed", "\\fbox", "\\framebox", "####")):
        found = extract(answer)
        if found and found.rule in ("box", "hash"):
            return found.answer
    text = clean(answer)
    return text if normal(text).strip("$") else ""


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


# -- tolerance that the problem states --------------------------------------------------------------------------------

_PLACES = {"tenth": 1, "hundredth": 2, "thousandth": 3, "cent": 2, "one": 1, "two": 2, "three": 3, "four": 4}
_ASKED = re.compile(
    r"(?:nearest|closest) (tenth|hundredth|thousandth|cent)\b"
    r"|\b(one|two|three|four|[1-9]) (?:decimal (?:place|digit|point)s?|digits after the decimal)",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def asked_places(prompt: str) -> int | None:
    """Decimals that a problem asks for ("to the nearest hundredth", "to 3 decimal places"); None where it asks none."""
    found = list(_ASKED.finditer(prompt))
    if not found:
        return None
    word = (found[-1][1] or found[-1][2]).lower()
    return int(word) if word.isdigit() else _PLACES[word]


def _as_asked(problem: Problem, gold: str, answer: str) -> Decided | None:
    """Right where the reference is the answer rounded as the problem asks; None says nothing."""
    places = asked_places(prompt_text(problem.prompt))
    if places is None or len(answer) > LONGEST:
        return None
    given = number(answer, glued=True)
    exact, value = _fraction(gold), given.value if given else _fraction(answer)
    if exact is None or value is None or exact == value or (given and 0 < given.decimals < places):
        return None
    return Decided(True, "as asked") if abs(exact - value) <= Fraction(1, 2 * 10**places) else None


def _fraction(text: str) -> Fraction | None:
    plain = number(text)
    if plain:
        return plain.value
    found = value_of(text)
    return None if found is None else Fraction(found)
