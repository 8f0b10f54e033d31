"""What kind of answers a set of problems has, and which verifier fits them. Guesses are said with what they rest on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NEARLY_ALL = 0.95
"""Share of the answers that must have a form before it is called theirs."""
LABELS = 12
"""Most distinct answers that are called labels."""
WORDS = 6
"""Most words of an answer that a whole-text comparison can be hoped to meet."""

_INTEGER = re.compile(r"[-+\u2212]?\$?\d{1,3}(,\d{3})+\Z|[-+\u2212]?\$?\d+\Z")
_NUMBER = re.compile(r"[-+\u2212]?\$?(\d[\d,]*)?(\.\d+)?\s?\\?%?\Z")
_FRACTION = re.compile(r"[-+\u2212]?\d+\s*/\s*\d+\Z")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")


@dataclass(frozen=True)
class Format:
    """The form of the answers and the verifier that reads it."""

    kind: str
    """`integers`, `JSON objects`, ..."""
    verifier: str
    doubt: str = ""
    """Why the choice may be wrong; empty where nothing speaks against it."""


def answer_format(answers: Sequence[str]) -> Format:
    """The form that nearly all answers have; free text where they have none in common."""
    texts = [a.strip() for a in answers]
    distinct = set(texts)
    for kind, verifier, fits in (
        ("tests of programs", "code", _is_tests),
        ("JSON objects", "json", _is_json),
        ("integers", "math", _INTEGER.match),
        ("numbers", "math", lambda t: t and _NUMBER.match(t)),
        ("fractions and numbers", "math", lambda t: _FRACTION.match(t) or (t and _NUMBER.match(t))),
    ):
        if _share(texts, fits) >= NEARLY_ALL:
            return Format(kind, verifier)
    if len(distinct) <= min(LABELS, len(texts) // 3):
        return Format(f"{len(distinct)} labels ({', '.join(sorted(distinct))})", "exact")
    if _share(texts, lambda t: not _WORD.search(re.sub(r"\\text\w*\{[^}]*\}|\\[A-Za-z]+", "", t))) >= 0.8:
        return Format("LaTeX and numbers", "math")
    if _share(texts, lambda t: len(t.split()) <= WORDS) >= NEARLY_ALL:
        return Format("short texts", "exact", "`exact` wants the same words; other wordings count as wrong")
    doubt = "no whole text is met word for word; write a verifier of your own (path/file.py:function)"
    return Format("free texts", "exact", doubt)


def _is_tests(text: str) -> bool:
    """Whether a reference is tests, in a form that `code` reads."""
    from mixdistill.verifiers.code_tests import read

    if "assert" not in text and '"inputs"' not in text:
        return False
    try:
        read(text, "def f():")
    except ValueError:
        return False
    return True


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _share(texts: Sequence[str], fits: Callable[[str], object]) -> float:
    return sum(bool(fits(t)) for t in texts) / len(texts) if texts else 0.0
