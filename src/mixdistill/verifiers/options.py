"""The options that a prompt lists: their labels, in order, and their texts.

Read are lines (`A) 5 km`, `(A) ...`, `A. ...`, `A: ...`, `- **A)** ...`), LaTeX as in AMC problems
(`\\textbf{(A)}\\ 5 \\qquad \\textbf{(B)}\\ 6`) and lists in running text (`(A) 5 (B) 6`, `A) 5 B) 6`), with letters of
many scripts, or digits. Of several lists the longest counts, and of those written alike the last: what stands before it
is an example.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from mixdistill.verifiers.equality import decide
from mixdistill.verifiers.numeric import quantity, within
from mixdistill.verifiers.plain import normal

ALPHABETS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "АБВГДЕЖЗИК",
    "ΑΒΓΔΕΖΗΘΙΚ",
    "אבגדהוזחטי",
    "ابجدهوزحطي",
    "ابتثجحخد",
    "甲乙丙丁戊己庚辛",
    "アイウエオカキク",
    "あいうえおかきく",
    "가나다라마바사아",
    "कखगघङ",
    "কখগঘঙ",
    "กขคงจ",
    "123456789",
)
"""The order of labels, script by script."""
UNLISTED = 10
"""Letters of an alphabet that are labels where a prompt lists no options."""
LONGEST = 400
"""Characters of the longest text that is compared with the texts of options."""
SHORT = 120
"""Characters of the longest text that is compared as mathematics."""

_ALIKE = dict(zip("АВСЕНІКОРТХМ", "ABCEHIKOPTXM", strict=True)) | dict(zip("ΑΒΕΗΙΚΜΟΡΤΧΖ", "ABEHIKMOPTXZ", strict=True))
_ALIKE["A"] = "А"  # the one Latin letter that has the same place in the Cyrillic order
_NARROW = (
    {c: c - 0xFEE0 for c in range(0xFF01, 0xFF5F)}
    | {0x24B6 + i: f"({chr(65 + i)})" for i in range(26)}
    | {0x2460 + i: f"({i + 1})" for i in range(9)}
    | dict.fromkeys(map(ord, "\u200b\u200e\u200f\u2060\ufeff"), None)
    | {ord("\u3000"): " ", ord("\u00a0"): " ", ord("أ"): "ا", ord("إ"): "ا"}
)
_BOLD = r"\\(?:textbf|textrm|textit|text|mathrm|mathbf|mbox|bf|rm)"
_LINE = re.compile(
    r"^[ \t>]*(?:[-*\u2022][ \t]+)?(?:\*\*)?(?:[(\[](?P<a>[^\W_])[)\]][.:]?|"
    r"(?P<b>[^\W_])(?:[).:\u3001]|[ \t][-\u2013\u2014](?=[ \t])))"
    r"(?:\*\*)?(?!\S*\\q?quad)",
    re.MULTILINE,
)
_LATEX = re.compile(rf"(?:{_BOLD}\s?\{{?\s?|\{{\s?\\(?:bf|rm)\s?)+[(\[]?(?P<a>[^\W_])[)\].:]")
_BRACKET = re.compile(r"(?<![\w\\])[(\[](?P<a>[^\W_])[)\]]")
_HALF = re.compile(r"(?:(?<=\s)|^)(?P<a>[^\W_])[).:](?=\s)")
_BLANK = r"[\s,;~&$]|\\[ ,;:!\\]|\\q?quad\b|\\indent\b|\*\*"
_EDGES = re.compile(rf"^(?:{_BLANK})+|(?:{_BLANK}|\\hspace\{{\w*\}}|\b(?:or|and)\s*|\\?[A-Za-z]+\s?\{{)+$")
_DRAWING = re.compile(r"\[asy\](?:[^\[]|\[(?!/?asy\]))*\[/asy\]")
"""Code for a picture; `(A)` is a point there."""
_SENTENCE = re.compile(r"[.?!]\s+(?=[A-Z])")
_ARTICLE = re.compile(r"^(?:the|an|a)\s+(?=\w)", re.IGNORECASE)


class Options(NamedTuple):
    """The options of a problem."""

    labels: str
    """A label is one character; in their order."""
    texts: dict[str, str]
    """Label -> text as listed; empty where the prompt lists none."""

    def label(self, letter: str) -> str | None:
        """The label that a letter stands for, in either case and in letters that look the same; None for none."""
        for spelled in (letter, letter.upper(), _ALIKE.get(letter.upper(), "")):
            if spelled and spelled in self.labels:
                return spelled
        return None

    def named(self, text: str) -> str | None:
        """The label of the one option that has this text, or this number; None for none, and for several."""
        if not self.texts or not text or len(text) > LONGEST:
            return None
        key, folded = fold(text), _folded(tuple(self.texts.values()))
        same = [label for label, other in zip(self.texts, folded, strict=True) if key and key == other]
        same = same or self._worth(text)
        return same[0] if len(same) == 1 else None

    def _worth(self, text: str) -> list[str]:
        if len(text) > SHORT or not any(c.isdecimal() or c == "\\" for c in text):
            return []
        return [label for label, option in self.texts.items() if len(option) <= SHORT and _same_value(option, text)]


def _same_value(option: str, text: str) -> bool:
    """Whether two texts are the same number with the same unit, or expressions that are plainly equal."""
    a, b = quantity(option), quantity(text)
    if a or b:
        return bool(a and b) and within(a, b)[0]
    if not any(c.isdecimal() or c in "\\^+=" for c in option):
        return False
    decided = decide(option, text)
    return decided is not None and decided.right


def narrow(text: str) -> str:
    """A text with full-width letters and letters in circles as ordinary ones, without marks that cannot be seen."""
    return text.translate(_NARROW)


def fold(text: str) -> str:
    """What is compared of an option's text: not its case, spaces, LaTeX wrappers, quotes or leading article."""
    return normal(_ARTICLE.sub("", text.strip().strip("\"'\u201c\u201d\u2018\u2019\u00ab\u00bb"))).casefold()


@lru_cache(maxsize=1024)
def _folded(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(fold, texts))


def unlisted(letters: str) -> Options | None:
    """Labels for a prompt that lists none: the first of the alphabet that has `letters`; None where none does."""
    alphabet = next((a for a in ALPHABETS if letters and set(letters) <= set(a)), "")
    last = max((alphabet.index(letter) for letter in letters), default=0) if alphabet else 0
    return Options(alphabet[: max(UNLISTED, last + 1)], {}) if alphabet else None


@lru_cache(maxsize=1024)
def listed(prompt: str) -> Options | None:
    """The options listed in a prompt; None where there are none, or one alone."""
    text = _DRAWING.sub(" ", narrow(prompt))
    best: list[tuple[str, str]] = []
    for style in (_LINE, _LATEX, _BRACKET, _HALF):
        run = _last_run(text, style)
        if len(run) > len(best):
            best = run
    return Options("".join(label for label, _ in best), dict(best)) if best else None


def _last_run(text: str, style: re.Pattern[str]) -> list[tuple[str, str]]:
    """The last list in one style: (label, text) of two options or more, none of them empty."""
    marks = [(_mark(m).upper(), m.start(), m.end()) for m in style.finditer(text)]
    best: tuple[int, list[tuple[str, str]]] = (-1, [])
    for alphabet in ALPHABETS:
        for run in reversed(_runs(marks, alphabet)):
            read = [(label, _text(text[end:until])) for (label, _, end), until in _bounds(run, text)]
            if style is not _LINE:  # on one line with what follows the list
                read[-1] = (read[-1][0], _SENTENCE.split(read[-1][1], maxsplit=1)[0])
            if len(read) > 1 and all(any(c.isalnum() for c in part) for _, part in read) and run[0][1] > best[0]:
                best = (run[0][1], read)
                break
    return best[1]


def _mark(match: re.Match[str]) -> str:
    return match["a"] or match["b"] if "b" in match.re.groupindex else match["a"]


def _runs(marks: list[tuple[str, int, int]], alphabet: str) -> list[list[tuple[str, int, int]]]:
    """Marks that follow one another as the alphabet does, from its first letter on. Others between them are text."""
    runs: list[list[tuple[str, int, int]]] = []
    for mark in marks:
        if mark[0] == alphabet[0]:
            runs.append([mark])
        elif runs and len(runs[-1]) < len(alphabet) and mark[0] == alphabet[len(runs[-1])]:
            runs[-1].append(mark)
    return [run for run in runs if len(run) > 1]


def _bounds(run: list[tuple[str, int, int]], text: str) -> list[tuple[tuple[str, int, int], int]]:
    """Each mark with where its text ends: at the next mark; that of the last, with its line."""
    rest = text[run[-1][2] : run[-1][2] + LONGEST]
    end = run[-1][2] + len(rest.partition("\n")[0])
    return [*((mark, following[1]) for mark, following in pairwise(run)), (run[-1], end)]


def _text(text: str) -> str:
    """An option's text without what LaTeX leaves at its ends: spacing, and braces that open or close elsewhere."""
    before = None
    while before != text:
        before, text = text, _EDGES.sub("", text.strip()) if text.count("$") % 2 or "$" not in text else text.strip()
        if text.count("}") > text.count("{"):
            text = text.removeprefix("}") if text.startswith("}") else text.removesuffix("}")
    return " ".join(text.split())
