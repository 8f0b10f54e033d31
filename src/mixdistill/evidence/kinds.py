"""Style against content: whether a token says how is said, or what.

A rule of thumb for English and mathematics. Style is what stands on a list: function words, words that steer a text
("wait", "so", "let") or speak of the work and not of the matter ("step", "check", "answer"), and punctuation, white
space, Markdown and tags. Everything else is content: digits, operators, LaTeX, names of variables, all other words; and
so is a word that steers or speaks of the work where it stands in the problem itself. docs/anatomy.md says how often
people see it otherwise.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Literal

Kind = Literal["style", "content"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION = _words(
    """
    a about above after again against all also am an and any are as at be because been before being below between
    both but by can cannot could did do does doing down during each either else even ever every few for from further
    had has have having he her here hers him his how i if in into is it its itself just least less like many may me
    might more most much must my neither no nor not of off on once one only or other our ours out over own quite
    rather same shall she should so some such than that the their theirs them themselves then there these they this
    those though through thus to too under unless until up upon us very was we were what when where whether which
    while who whom whose why will with within without would yet you your yours aren't can't couldn't didn't doesn't
    don't hadn't hasn't haven't he's i'd i'll i'm i've isn't it's let's she's shouldn't that's there's they're
    wasn't we'd we'll we're we've weren't what's won't wouldn't you're
    """
)
"""Words that hold a sentence together, whatever it is about."""
STEERING = _words(
    """
    actually ah anything alright alternatively although anyway apparently assume assuming basically besides
    certainly clearly consequently consider considering correct correctly couple double-check easily especially
    essentially eventually exactly example fact fair fairly finally fine first firstly following follows generally
    given good great hence hmm hold however huh i.e indeed initially instead interesting last lastly later let
    likewise look makes maybe means meanwhile mistake moment moreover namely need needed needs next nice now
    obviously oh ok okay oops otherwise perhaps please possible possibly precisely presumably pretty previous
    previously probably really recall regarding remember respectively right second secondly seem seems sense
    similarly simple simply since somehow something sorry still straightforward suppose supposed sure therefore
    third thirdly together well wait whereas wrong yeah yes answer answers approach ask asked asking asks attempt
    based boxed break breaking calculate calculated calculating calculation calculations case check checking clarify
    compute computed computing conclude conclusion confirm confusing convert detail details determine equation
    expression figure final find finding formula get gets getting give gives go goes going got help hint idea
    information know known knows method note noting part parts plug problem process question read reading realize
    reason reasoning represent represents result results say saying says see set setting show shows solution solve
    solved solving start starting state stated statement states step steps substitute summarize summary tell tells
    thing things think thinking thought thoughts try trying understand use used using value values verify want way
    work works write writing written
    """
)
"""Words that steer a text or speak of the work; content where the problem has them."""
OPERATORS = frozenset("+-*/=<>^_%${}\N{POUND SIGN}\N{EURO SIGN}\N{MULTIPLICATION SIGN}\N{MINUS SIGN}\N{DEGREE SIGN}&~")
BRACKETS = frozenset("()[]")
_UNIT = re.compile(
    r"""\\(?:[A-Za-z]+|.)              # LaTeX
    | <[|/]{0,2}[A-Za-z_]\w*[|]?>      # a tag, or a special token
    | \d+(?:[.,]\d+)*
    | [^\W\d_]+(?:['\u2019-][^\W\d_]+)*  # a word, with what is joined to it
    | \s+ | .""",
    re.VERBOSE | re.DOTALL,
)


def kinds(tokens: Sequence[str], which: Iterable[int], prompt: str) -> list[Kind]:
    """The kind of these tokens, by their numbers, of a text that all tokens together are, about this problem.

    A token is what the word or sign is that its first character which is no white space belongs to.
    """
    text, starts = "".join(tokens), [0, *accumulate(map(len, tokens))]
    units = list(_UNIT.finditer(text))
    begins = [unit.start() for unit in units]
    asked = {word.lower() for word in re.findall(r"[^\W\d_]+", prompt)}
    found: list[Kind] = []
    for i in which:
        blank = len(tokens[i]) - len(tokens[i].lstrip())
        if not tokens[i].strip():
            found.append("style")
        else:
            unit = units[bisect_right(begins, starts[i] + blank) - 1]
            found.append("style" if _is_style(text, unit.start(), unit.end(), asked) else "content")
    return found


def _is_style(text: str, start: int, end: int, asked: set[str]) -> bool:
    unit = text[start:end]
    if unit[0] == "\\" or unit[0].isdigit():
        return False
    if unit[0] == "<" and len(unit) > 1:
        return True
    if unit[0].isalpha():
        word = unit.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        return word in FUNCTION or (word in STEERING and word not in asked)
    around = text[max(start - 1, 0) : start], text[end : end + 1]
    if unit in BRACKETS:
        return not any(c.isdigit() or c == "\\" or _operates(c) for c in around if c)
    if unit in "*-":
        return _marks_up(text, start, end)
    return not _operates(unit)


def _operates(character: str) -> bool:
    return character in OPERATORS or unicodedata.category(character) == "Sm"


def _marks_up(text: str, start: int, end: int) -> bool:
    """Whether an asterisk or hyphen is Markdown, a bullet or a dash and not an operator."""
    before, after = text[:start].rpartition("\n")[2], text[end : end + 1]
    same = text[start] in (text[start - 1 : start], after)
    bullet = not before.strip() and after in (" ", "")
    return same or bullet or (text[start] == "-" and before[-1:].isalpha() and after.isalpha())
