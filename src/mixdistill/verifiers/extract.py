"""Finds the answer in the answer part of a trace. Pure functions, one pass each, safe on hostile text.

Rules in order of trust, the last match of a rule winning (models correct themselves):

    box            the last complete `\\boxed{...}`; an unclosed or empty box is none
    final_answer   `Final Answer: x`, also with the answer on the next line
    hash           `#### x` on a line of its own
    answer_is      `the answer is x`
    last_number    the last number in the text
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mixdistill.verifiers.verdicts import Found

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s+([^\s{}$\\.,;]+)")
_FINAL = re.compile(
    r"final answer\b[*_`\s]{0,8}(?:is\b)?[*_`\s]{0,8}:?[*_`\s]{0,8}(?=(?P<x>[^\n]{1,500}))", re.IGNORECASE
)
_HASH = re.compile(r"^[ \t]*####[ \t]*(?P<x>[^\n]+)$", re.MULTILINE)
_ANSWER_IS = re.compile(r"\banswer\s*(?:is|=|:)[*_`\s]{0,8}:?[*_`\s]{0,8}(?=(?P<x>[^\n]{1,500}))", re.IGNORECASE)
_NUMBERED_HEADING = re.compile(r"\d+[.)]\s+[A-Za-z]")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_MATHS = re.compile(r"\$\$?([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_SENTENCE_END = re.compile(r"[.!?;](?=\s)")

NUMBER = re.compile(
    r"(?:(?<![\w)}\]])[-\u2212])?"
    r"(?:(?:\d+\s?)?\\[dt]?frac\{-?\d+\}\{\d+\}"
    r"|(?:\\?\$|[\u20ac\u00a3\u00a5])?"
    r"(?:(?:\d{1,3}(?:(?:,|\{,\}|\\,)\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)(?:/\d+)?(?:\s?\\?%)?)"
)
"""One number in running text: sign, currency, thousands separators, decimals, a/b, per cent."""


def extract(text: str, *, guess: bool = True) -> Found | None:
    """The answer in `text` and the rule that found it; None where no rule finds one.

    `text` must be the answer part alone: a box left in the reasoning would beat a plain answer after it. Without
    `guess` the last number does not count: in a text that was cut it is a number on the way, not an answer.
    """
    rules: list[tuple[str, Callable[[str], str | None]]] = [
        ("box", last_box),
        ("final_answer", lambda t: _last_phrase(_FINAL, t)),
        ("hash", _last_hash),
        ("answer_is", lambda t: _last_phrase(_ANSWER_IS, t)),
        ("last_number", _last_number),
    ]
    for rule, find in rules if guess else rules[:-1]:
        answer = find(text)
        if answer:
            return Found(answer, rule, marked=rule != "last_number")
    return None


def last_box(text: str) -> str | None:
    """Content of the last complete, non-empty box; nested braces kept. A box never spans a blank line."""
    stack: list[int | None] = []  # start of the content for a box, None for any other brace
    best: tuple[int, str] | None = None
    for token in _BOX_TOKEN.finditer(text):
        mark = token.group()
        if mark == "}":
            start = stack.pop() if stack else None
            if start is not None and (best is None or start > best[0]):
                content = text[start : token.start()]
                if clean(content) and "\n\n" not in content:
                    best = (start, clean(content))
        elif mark[-1] == "{" and mark != "\\{":
            stack.append(None if mark == "{" else token.end())
    if best:
        return best[1]
    bare = _BARE_BOX.findall(text)
    return clean(bare[-1]) if bare else None


def clean(text: str) -> str:
    """An answer without wrappers that carry no meaning: markdown, math delimiters, closing punctuation."""
    before = None
    while before != text:
        before = text
        text = text.strip().strip("*`").rstrip(".,;:").strip()
        for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
            inside = text[len(left) : -len(right)]
            if len(text) > len(left + right) and text.startswith(left) and text.endswith(right) and left not in inside:
                # `\$` closes nothing: it is a currency sign.
                text = inside if not inside.endswith("\\") or left[0] != "$" else text
    return text


def _last_phrase(pattern: re.Pattern[str], text: str) -> str | None:
    matches = list(pattern.finditer(text))
    for match in reversed(matches):
        answer = _of_phrase(match["x"])
        if answer:
            return answer
    return None


def _of_phrase(phrase: str) -> str | None:
    """The answer inside what follows "answer is": maths, else a number among words, else the phrase itself."""
    phrase = _SENTENCE_END.split(phrase, maxsplit=1)[0]
    maths = _MATHS.findall(phrase)
    if maths:
        return clean(next(part for part in maths[-1] if part)) or None
    text = clean(phrase)
    if not _WORD.search(text):
        return text if re.search(r"[\w\\]", text) else None
    numbers = list(NUMBER.finditer(text))
    if numbers:
        chosen = numbers[0] if numbers[0].start() == 0 else numbers[-1]
        return clean(chosen.group())
    return text or None


def _last_hash(text: str) -> str | None:
    """`#### 18`. Headings of the fourth level look alike: a line that begins with words is one of them."""
    for match in reversed(list(_HASH.finditer(text))):
        line = clean(match["x"])
        if not line or _NUMBERED_HEADING.match(line):
            continue
        word = _WORD.search(line)
        if not word:
            return line
        number = NUMBER.match(line)
        if number:
            return clean(number.group())
    return None


def _last_number(text: str) -> str | None:
    last = None
    for match in NUMBER.finditer(text):
        last = match
    return clean(last.group()) if last else None
