"""Two single answers that are no formulas: numbers, numerals in a base, times and ratios, words and option letters.

Each function decides, or says None: it is of another kind.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from mixdistill.verifiers import expression, shapes
from mixdistill.verifiers.phrases import NUMBER
from mixdistill.verifiers.plain import WRAPPED, normal, spelling
from mixdistill.verifiers.quantities import Number, number, same_number, unit_of


class Decided(NamedTuple):
    """Whether two answers are the same, and the step that says so."""

    right: bool
    step: str


def is_read(part: str) -> bool:
    """Whether a part is understood here, so that nobody else need be asked."""
    return number(part, glued=True) is not None or expression.read(part) is not None or part in _INFINITE


_INFINITE = {"\\infty": 1, "+\\infty": 1, "infinity": 1, "-\\infty": -1, "- \\infty": -1, "-infinity": -1}

_COMMA = re.compile(r"-?\d+,\d+(?![\d,])(?!.*[,\d])")
_BASE = re.compile(r"\(?([\dA-Fa-f]+)\)? ?_ ?\{? ?(\d+|[a-z]+) ?\}?")


def as_numbers(gold: str, answer: str) -> Decided | None:
    a, b = number(gold), number(answer, glued=True)
    if a and b is None and _COMMA.match(answer):
        b = number(answer.replace(",", ".", 1))  # 3,5 as half of the world writes it
    if a and b:
        return Decided(same_number(a, b), "number")
    if a and b is None and (inside := _in_sentence(answer)):
        return Decided(same_number(a, inside), "number")
    if gold in _INFINITE or answer in _INFINITE:
        known = is_read(gold) and is_read(answer)
        return Decided(_INFINITE.get(gold) == _INFINITE.get(answer), "number") if known else None
    return _as_digits(gold, answer)


def _in_sentence(answer: str) -> Number | None:
    """The number of `Janet makes 18 dollars`: the only one in a text that begins with words."""
    words = unwrapped(answer)
    if not _SENTENCE.match(words) or _CLAIM.search(words):
        return None
    found = NUMBER.findall(words)
    return number(words[words.index(found[0]) :], glued=True) if len(found) == 1 else None


_CLAIM = re.compile(
    r"\b(?:less|more|fewer|greater|most|least|up to|above|below|over|under|exceeds?|twice|half|double|thrice|times"
    r"|minus|negative|not|never|cannot|no|nor|impossible|between|either|neither|root|square|cube|except|without|unless)\b|n't\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[A-Za-z]{2,} [A-Za-z]{2,}")


def _as_digits(gold: str, answer: str) -> Decided | None:
    """Numerals in a base: 1011_2 may be answered as 1011, never as 11, and in no other base."""
    a, b = _BASE.fullmatch(unwrapped(gold)), _BASE.fullmatch(unwrapped(answer))
    if a and b:
        return Decided(_digits(a) == _digits(b), "number")
    if a:
        return Decided(normal(answer).casefold() == _digits(a)[0], "number")
    if b:
        plain, (digits, base) = number(gold), _digits(b)
        same = plain is not None and _worth(digits, base) == plain.value
        return Decided(same or normal(gold).casefold() == digits, "number")
    return None


def _worth(digits: str, base: str) -> int | None:
    try:
        return int(digits, int(base))
    except ValueError:
        return None


def _digits(based: re.Match[str]) -> tuple[str, str]:
    base = number(based[2])  # `two` too
    return based[1].casefold(), str(base.value) if base else based[2]


LETTER = re.compile(r"\(?([A-J])\)?")
_LETTERS = re.compile(r"[A-Z]{3,}|[a-z]{3}")
_OPTION = re.compile(r"(?:(?:option|choice|answer) )?(?:\(([A-J])\)|([A-J])(?:[).:]|$))(?: .*)?", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:the|an?) ")
ORDINARY = re.compile(r"[^\W\d_]+(?:[ '\u2019.-]+[^\W\d_]+)*[.!]?")


_CLOCK = re.compile(r"(\d{1,2}) ?: ?(\d\d)(?: ?([ap])\.? ?m\.?)?", re.IGNORECASE)
_RATIO = re.compile(r"\d+(?:\.\d+)?(?:(?: ?: ?| to )\d+(?:\.\d+)?)+")


def as_ratio(gold: str, answer: str) -> Decided | None:
    """Times of day, and ratios: 3:4 is 3 to 4, and 6:8."""
    a, b = unwrapped(gold), unwrapped(answer)
    time, other = _CLOCK.fullmatch(a), _CLOCK.fullmatch(b)
    if time and other:
        half = {(t[3] or "").lower() for t in (time, other)} - {""}
        return Decided(len(half) < 2 and all(int(time[i]) == int(other[i]) for i in (1, 2)), "number")
    if not (_RATIO.fullmatch(a) or _RATIO.fullmatch(b) or time or other):
        return None
    one, two = _proportion(gold), _proportion(answer)
    if one is None or two is None:
        known = one or two or is_read(gold) or is_read(answer)
        return Decided(False, "number") if known else None
    same = len(one) == len(two) and [p * two[0] for p in one] == [q * one[0] for q in two]
    return Decided(same, "number")


def _proportion(text: str) -> list[Fraction] | None:
    """The numbers of a ratio; of a single number, itself to one."""
    if _RATIO.fullmatch(unwrapped(text)):
        return [Fraction(p) for p in re.split(r" ?: ?| to ", unwrapped(text))]
    single = number(text, glued=True)
    return [single.value, Fraction(1)] if single else None


def as_words(gold: str, answer: str) -> Decided | None:
    a, b = unwrapped(gold), unwrapped(answer)
    letter = LETTER.fullmatch(a)
    if letter:
        option = LETTER.fullmatch(b) or _OPTION.fullmatch(b)
        if option:
            return Decided(letter[1] in {g and g.upper() for g in option.groups()}, "words")
        if "(" in a:
            return Decided(False, "words") if is_read(answer) else None
    if _LETTERS.fullmatch(a) and _LETTERS.fullmatch(b) and a != b and sorted(a) == sorted(b):
        return Decided(False, "words")  # BAC is an order, and ABC another
    if not is_word(gold, a):
        return Decided(False, "words") if is_read(gold) and is_word(answer, b) else None
    if ORDINARY.fullmatch(b):
        return Decided(folded(a) == folded(b), "words")
    return Decided(False, "words") if is_read(answer) else None


def is_word(text: str, words: str) -> bool:
    """Whether a text is words, and not what only looks like them: x, xy, pi, `1 or 2`."""
    return ORDINARY.fullmatch(words) is not None and shapes.read(text).kind == "one" and not is_read(text)


def unwrapped(text: str) -> str:
    return " ".join(WRAPPED.sub(r"\1", WRAPPED.sub(r"\1", text)).replace("\\", "").split())


def folded(words: str) -> str:
    return _ARTICLE.sub("", " ".join(words.casefold().replace("-", " ").rstrip(".!").split()))


_FILLING = re.compile(r"\b(?:all|any|every|the|for|integers?|numbers?|values?|that|are|is|where|with)\b")
_ENGLISH = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_CONDITIONS = {"for", "where", "when", "with", "all", "any", "every", "unless", "except"}
_NAMES = {"sin", "cos", "tan", "log", "exp", "sqrt", "mod", "max", "min", "arcsin", "arccos", "arctan", "lim"}


def as_prose(gold: str, answer: str) -> Decided | None:
    """Sentences with formulas in them: the same when they say the same words and signs, small words aside.

    Symbolic algebra would pick a formula out of each and compare these: `all primes p = 1 mod 4` and `... = 3 mod 4`.
    """
    a, b = _bare_words(gold), _bare_words(answer)
    if not _is_prose(a) and not (_is_prose(b) and not _SENTENCE.match(b)):
        return None
    return Decided(_squeezed(a) == _squeezed(b), "words")


def _bare_words(text: str) -> str:
    return WRAPPED.sub(r"\1", spelling(text).replace("$", ""))


def _is_prose(text: str) -> bool:
    """Whether a text has words that are no unit behind a number and no names of functions."""
    words = [w for w in _ENGLISH.findall(text) if w.lower() not in _NAMES]
    conditional = any(w.lower() in _CONDITIONS for w in words)
    return (len(words) >= 2 or conditional) and unit_of(" ".join(words)) is None


def _squeezed(text: str) -> str:
    return re.sub(r"\s|(?<!\d)[,.]|[,.](?!\d)", "", _FILLING.sub("", text.casefold()))
