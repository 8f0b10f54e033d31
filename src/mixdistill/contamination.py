"""Whether a text holds a problem that students are examined on, be it among other words or with other numbers.

Texts are compared word by word: runs of letters and digits, in lower case. A text holds an evaluation prompt that it
shares `ngram` words in a row with, and at least `SHARE` of its words in all: most of what has 13 words of one is
another problem that ends in "where m and n are relatively prime positive integers" (the share is that of Qwen2.5-Math,
arXiv 2409.12122). `ENOUGH` words in a row that stand in `COMMON` of these prompts, as instructions do, are no prompt's
own and are left out of account. A prompt without `ngram` words of its own in a row must stand in the text as a whole,
from its first own word to its last.

Prompts with less than `ENOUGH` own words of two letters or more are found by none of this: "What is 2 + 2?" would be
everywhere. Such a problem is known by its exact form alone (spelling.py).
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mixdistill.sections import Decontaminate
from mixdistill.tables import brief
from mixdistill.types import Message

SHARE = 0.6
"""Of a prompt's own words, at least so many stand in a text that holds it."""
RUN = 5
"""Words in a row that are no coincidence, once the text is under suspicion."""
ENOUGH = 8
"""Words of two letters or more that tell a prompt from others."""
COMMON = 3
"""Prompts that have `ENOUGH` words in a row in common have them from a form, where they are so many."""

_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_FOREIGN = re.compile(r"[^\w\x00-\x7f]+")
"""Punctuation and signs that ASCII does not have."""
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
"""Chinese and Japanese characters: each counts as a word."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_ALNUM = bytes(ord(chr(b).lower()) if b < 128 and chr(b).isalnum() else (b if b >= 128 else 32) for b in range(256))
"""Bytes of UTF-8 text -> themselves in lower case, or a space for what is no letter or digit."""


def words(text: str) -> list[bytes]:
    """The words of a text, as UTF-8. Bytes, since a million traces of a thousand words are split this way."""
    if not text.isascii():
        for sign in _INVISIBLE:
            if sign in text:
                text = text.replace(sign, "")
        text = _FOREIGN.sub(" ", unicodedata.normalize("NFC", text).lower())
        if _UNSPACED.search(text):
            text = _UNSPACED.sub(r" \g<0> ", text)
    return text.encode("utf-8", "replace").translate(_ALNUM).split()


def said(prompt: str | list[Message]) -> str:
    """A prompt as one text: its turns without their roles."""
    return prompt if isinstance(prompt, str) else "\n".join(m.content for m in prompt)


class Match(NamedTuple):
    """An evaluation prompt that a text holds."""

    how: Literal["words", "numbers"]
    """`words`: enough of it stands there; `numbers`: all of it, with other numbers."""
    where: str
    """Which one it is, as the index was told."""
    text: str
    """The words in a row that both have; of `numbers`, the prompt's beginning."""


@dataclass
class _Entry:
    """One evaluation prompt."""

    where: str
    words: list[bytes]
    own: list[bool]
    """Of each word, whether it is the prompt's own: in no run that others have too."""


class Index:
    """Evaluation prompts, to look for them in other texts."""

    def __init__(self, prompts: Iterable[tuple[str, str | list[Message]]], options: Decontaminate) -> None:
        """`prompts`: (what to call it, prompt) of each."""
        self.ngram = options.ngram or 0
        self.masked: dict[bytes, tuple[str, str]] = {}
        entries: dict[bytes, _Entry] = {}
        for where, prompt in prompts:
            text = said(prompt)
            if options.numbers and (form := _masked(text)):
                self.masked.setdefault(form, (where, text))
            if self.ngram:
                split = words(text)
                entries.setdefault(b" ".join(split), _Entry(where, split, [True] * len(split)))
        self._index(list(entries.values()), self.ngram)

    def find(self, text: str) -> Match | None:
        """The evaluation prompt whose words stand in a text."""
        if not self.probes:
            return None
        there, looked, runs = words(text), set[int](), set[int]()
        for number, at, start in self._suspects(there):
            if number in looked:
                continue
            looked.add(number)
            runs = runs or set(_runs(there, RUN))
            if self._share(number, runs) >= SHARE:
                entry = self.entries[number]
                return Match("words", entry.where, _both(entry.words, at, there, start))
        return None

    def find_same(self, prompt: str | list[Message]) -> Match | None:
        """The evaluation prompt that a prompt is, word for word, be it with other numbers."""
        form = _masked(said(prompt)) if self.masked else None
        if form not in self.masked:
            return None
        where, text = self.masked[form]
        same = words(text) == words(said(prompt))
        return Match("words" if same else "numbers", where, brief(text))

    def _index(self, entries: list[_Entry], n: int) -> None:
        """Runs of words by their hashes.

        A match begins with `least` words that both have, and of these some `probe` begin at a multiple of `step` in the
        text that is looked at: so only every `step`-th place of a text is looked up at all.
        """
        self.least = min(n, ENOUGH)
        self.probe = (self.least + 1) // 2
        self.step = self.least - self.probe + 1
        self.entries = entries
        self.probes, self.beginnings = set[int](), set[int]()
        self.runs: dict[int, list[tuple[int, int]]] = {}
        """Hash of `ngram` words -> (number of the prompt, place in it)."""
        self.wholes: dict[int, list[tuple[int, int, int]]] = {}
        """Hash of the first words that must stand there -> (number of the prompt, from where in it, to where)."""
        counts = Counter(h for entry in entries for h in {*_runs(entry.words, self.least)})
        for number, entry in enumerate(entries):
            for at, h in enumerate(_runs(entry.words, self.least)):
                if counts[h] >= COMMON:
                    entry.own[at : at + self.least] = [False] * self.least
            if _telling(itertools.compress(entry.words, entry.own)) >= ENOUGH:
                self._enter(number, entry, n)

    def _enter(self, number: int, entry: _Entry, n: int) -> None:
        """Note the runs of a prompt's own words; where there is none, all that must stand in a text."""
        found = False
        for at, h in enumerate(_runs(entry.words, n)):
            if all(entry.own[at : at + n]):
                self.runs.setdefault(h, []).append((number, at))
                found = True
        own = entry.words
        if not found:
            at, end = entry.own.index(True), len(entry.own) - entry.own[::-1].index(True)
            own = entry.words[at:end]
            self.wholes.setdefault(next(_runs(own, self.least)), []).append((number, at, end))
        self.probes.update(_runs(own, self.probe))
        self.beginnings.update(_runs(own, self.least))

    def _suspects(self, there: list[bytes]) -> Iterator[tuple[int, int, int]]:
        """(number of a prompt, place in it, place in the text) of words in a row that both have."""
        for place in range(0, len(there) - self.probe + 1, self.step):
            if hash(b" ".join(there[place : place + self.probe])) not in self.probes:
                continue
            for start in range(max(place - self.step + 1, 0), min(place, len(there) - self.least) + 1):
                beginning = hash(b" ".join(there[start : start + self.least]))
                if beginning not in self.beginnings:
                    continue
                for number, at, end in self.wholes.get(beginning, ()):
                    if there[start : start + end - at] == self.entries[number].words[at:end]:
                        yield number, at, start
                run = there[start : start + self.ngram]
                for number, at in self.runs.get(hash(b" ".join(run)), ()):
                    yield number, at, start

    def _share(self, number: int, runs: set[int]) -> float:
        """How much of a prompt's own words stand in a text with these runs of `RUN` words."""
        entry = self.entries[number]
        found = [False] * len(entry.words)
        for at, h in enumerate(_runs(entry.words, RUN)):
            if h in runs:
                found[at : at + RUN] = [True] * RUN
        return sum(itertools.compress(found, entry.own)) / sum(entry.own)


def _runs(split: list[bytes], n: int) -> Iterator[int]:
    """Hashes of every `n` words in a row; none of nothing."""
    return (hash(b" ".join(split[i : i + n])) for i in range(len(split) - n + 1)) if n else iter(())


def _telling(split: Iterable[bytes]) -> int:
    """How many words tell a text from others: two letters or more."""
    return sum(len(w) > 1 and not any(48 <= b <= 57 for b in w) for w in split)


def _masked(text: str) -> bytes | None:
    """A text's words with every number the same; None where there is no number, or too little beside them."""
    text, count = _NUMBER.subn("0", text)
    split = words(text)
    return b" ".join(split) if count and _telling(split) >= ENOUGH else None


def _both(mine: list[bytes], at: int, there: list[bytes], start: int) -> str:
    """The words in a row around a place that a prompt and a text have in common."""
    while at and start and mine[at - 1] == there[start - 1]:
        at, start = at - 1, start - 1
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(mine[at:], there[start:], strict=False))
    return b" ".join(word for word, _ in alike).decode("utf-8", "replace")
