"""Answers that are a text: a label, a name, a phrase. Right when it is the reference, letter by letter.

The answer is the whole answer part of the trace, or what stands behind a mark such as `Department:`. Unicode's two
spellings of one letter (NFC) and white space around a text never count.
"""

from __future__ import annotations

import unicodedata

from mixdistill.types import Problem, Trace, Verdict
from mixdistill.verifiers.verdicts import Found, compared, is_cut, no_answer, no_reference

VERSION = "1"


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
    occurrence of that text. `ignore_space` makes every run of white space one space, `ignore_case` folds case.
    """
    gold = normal(problem.answer, ignore_space=ignore_space, ignore_case=ignore_case)
    if not gold:
        return no_reference(trace)
    found = find(trace.content, answer_after, cut=is_cut(trace))
    if found is None:
        return no_answer(trace, gold)
    right = normal(found.answer, ignore_space=ignore_space, ignore_case=ignore_case) == gold
    return compared(trace, found, gold, right, "text")


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
    text = unicodedata.normalize("NFC", text).strip()
    if ignore_space:
        text = " ".join(text.split())
    return unicodedata.normalize("NFC", text.casefold()) if ignore_case else text
