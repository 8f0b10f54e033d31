"""Answers that are a text: a label, a name, a phrase. Right when it is the reference.

The answer is the whole answer part of the trace, or what stands behind a mark such as `Department:`. Unicode's two
spellings of one letter (NFC), white space around a text and marks that cannot be seen never count. The two readings:

    strict      the reference, letter by letter
    flexible    also in bold, in quotes, in a box or in `\\text{}`, with a full stop behind it, with typographic quotes
                and dashes for plain ones; `**Billing**.` is `billing`
"""

from __future__ import annotations

import re
import unicodedata

from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers.verdicts import Found, compared, is_cut, no_answer, no_reference

VERSION = "2"

_UNSEEN = dict.fromkeys(
    [0xAD, 0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF]
)
"""Soft hyphens, zero-width spaces, marks of direction. The joiners of Persian and Hindi carry meaning and stay."""
_PLAIN = str.maketrans(
    "\u2018\u2019\u201b\u201c\u201d\u201e\u00ab\u00bb\u2010\u2011\u2012\u2013\u2014\u2212", '\'\'\'"""""------'
)
_LONGEST = 1000
"""Characters of an answer that is looked at for what is put around it."""
_WRAPPERS = (
    ("**", "**"),
    ("__", "__"),
    ("*", "*"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
    ("$", "$"),
    ("<answer>", "</answer>"),
)
_CALLED = re.compile(r"\\(?:boxed|text|textbf|mathrm)\s*\{([^{}]*)\}", re.IGNORECASE)


def verify(
    problem: Problem,
    trace: Trace,
    *,
    answer_after: str | None = None,
    ignore_space: bool = True,
    ignore_case: bool = True,
) -> Verdict:
    """Whether the answer part of `trace` is the reference answer of `problem`.

    Only `trace.content` is read. With `answer_after`, the answer is the first line that is not blank behind the last
    occurrence of that text. `ignore_space` makes every run of white space one space, `ignore_case` folds case. The
    strict reading compares letter by letter; the flexible one also takes the reference in bold, quotes or a box, or
    with a full stop behind it.
    """
    if answer_after is not None and not answer_after.strip():
        raise ValueError(
            f"answer_after: holds no text (got {answer_after!r}); leave it out to compare the whole answer"
        )
    gold = normal(problem.answer, ignore_space=ignore_space, ignore_case=ignore_case)
    if not gold:
        return no_reference(trace)
    found = find(trace.content, answer_after, cut=is_cut(trace))
    if found is None:
        return no_answer(trace, gold)
    answer = normal(found.answer, ignore_space=ignore_space, ignore_case=ignore_case)
    if answer == gold or unwrapped(answer) != unwrapped(gold):
        return compared(trace, found, gold, answer == gold, "text")
    verdict = compared(trace, found, gold, True, "unwrapped")
    return verdict if is_cut(trace) else verdict.model_copy(update={"strict": Outcome.INCORRECT})


quick = verify
"""Decided at once: no text takes more than time in proportion to its length."""


def gold(problem: Problem, *, answer_after: str | None = None) -> str:
    """The text of a right answer."""
    return problem.answer if answer_after is None else f"{answer_after} {problem.answer}"


def find(content: str, answer_after: str | None, *, cut: bool) -> Found | None:
    """The answer in an answer part, None where there is none.

    Of a trace that was `cut` at the token limit, only a line that is followed by another is known to be whole: the
    beginning of an answer is no answer, even where it happens to be the right one.
    """
    if answer_after is None:
        text = content.strip()
        return Found(text, "content") if text and not cut else None
    for part in reversed(content.split(answer_after)[1:]):
        line, ended, _ = part.lstrip().partition("\n")
        if line.strip() and (ended or not cut):
            return Found(line.strip(), "answer_after")
    return None


def normal(text: str, *, ignore_space: bool = True, ignore_case: bool = True) -> str:
    """A text with what does not count taken out; equal results are the same text."""
    text = unicodedata.normalize("NFC", text.translate(_UNSEEN)).strip()
    if ignore_space:
        text = " ".join(text.split())
    return unicodedata.normalize("NFC", text.casefold()) if ignore_case else text


def unwrapped(text: str) -> str:
    """A text that is `normal` without what is put around an answer; itself where nothing would be left."""
    if len(text) > _LONGEST:
        return text
    before, left = None, text.translate(_PLAIN)
    while before != left:
        before = left
        left = left.strip()
        if left.endswith(".") and not left.endswith(".."):
            left = left[:-1]
        left = _CALLED.sub(r"\1", left)
        for opening, closing in _WRAPPERS:
            if len(left) > len(opening + closing) and left.startswith(opening) and left.endswith(closing):
                left = left[len(opening) : -len(closing)]
        left = left.removeprefix("** ")  # what `**Department:** billing` leaves behind the mark
    return left or text
