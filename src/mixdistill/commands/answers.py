"""What kind of answers a set of problems has, and which verifier fits them. Guesses are said with what they rest on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mixdistill.types import Message, Problem, prompt_text
from mixdistill.verifiers import choice, numeric
from mixdistill.verifiers.options import listed

T = TypeVar("T")

SEEN = 1000
"""Problems whose prompts are searched for lists of options, the first ones."""
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
    options: dict[str, Any] = field(default_factory=dict)
    """Options that the verifier needs."""


def answer_format(answers: Sequence[str], prompts: Sequence[str | list[Message]] = ()) -> Format:
    """The form that nearly all answers have; free text where they have none in common.

    `prompts` are those of the answers, in their order: where they list options, the answers may name them.
    """
    texts = [a.strip() for a in answers]
    distinct = set(texts)
    if chosen := _chosen(texts, prompts):
        return chosen
    if any(_has_tolerance(t) for t in texts) and _share(texts, numeric.reference) >= NEARLY_ALL:
        return Format("numbers with a tolerance", "numeric")
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


def _chosen(answers: Sequence[str], prompts: Sequence[str | list[Message]]) -> Format | None:
    """`choice`, where nearly all prompts list options and the answers name them, by letter, text or number."""
    seen = list(zip(prompts, answers, strict=False))[:SEEN]
    problems = [Problem(id="", prompt=prompt, answer=answer) for prompt, answer in seen]
    if _share(problems, lambda p: listed(prompt_text(p.prompt))) < NEARLY_ALL:
        return None
    if _share(problems, choice.reference) >= NEARLY_ALL:
        return Format("options of the prompts", "choice")
    first = min((int(answer) for _, answer in seen if re.fullmatch(r"\d{1,2}", answer)), default=2)
    if first > 1 or _share(problems, lambda p: choice.reference(p, first_index=first)) < NEARLY_ALL:
        return None
    doubt = "none is 0, so 1 is taken for the first option" if first else ""
    return Format("numbers of options", "choice", doubt, {"first_index": first})


def _has_tolerance(answer: str) -> bool:
    if not re.search(r"\u00b1|\\pm|\+/?-", answer):
        return False
    found = numeric.reference(answer)
    return found is not None and found.tolerance is not None


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _share(things: Sequence[T], fits: Callable[[T], object]) -> float:
    return sum(bool(fits(t)) for t in things) / len(things) if things else 0.0
