"""A model as a verifier: it is shown the problem, the reference answer and the answer that was given, and says whether
they agree. Meant to stand behind another verifier, `[math, judge]`, where it sees what that one did not accept.

A verifier that asks a model is a class instead of a function: its fields are the options, `question` says what is
asked about a trace, and `verdict` reads the answers. The asking itself, with its prices, limits, retries and resuming,
is that of teachers (asking.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from mixdistill import prompts, resolve
from mixdistill.sections import OpenSection, Price, Spend
from mixdistill.types import Completion, Outcome, Problem, Sampling, Trace, Verdict, prompt_text
from mixdistill.verifiers.verdicts import is_cut, no_answer, no_reference

VERSION = "1"
SHOWN = 2000
"""Most characters of an answer part that a judge is shown: its end."""
SAID = 60
"""Characters of an unreadable vote that its verdict quotes."""


def _sampled(value: Any) -> Any:
    """What was set, beside what is usual for a judge."""
    return {"temperature": 0.0, "max_tokens": 20} | value if isinstance(value, dict) else value


class Judge(OpenSection):
    """A model that says True or False of an answer. Further keys are options of its backend."""

    model: str
    """Model name, hub id or folder."""
    backend: str = "openai"
    """`openai`, `vllm`, `transformers`, `recorded`, or your own `package.module:Class`."""
    prompt: str = "judge"
    """What it is asked: the shipped prompt `judge`, or a file of your own, text with `{answer}` and, as wanted,
    `{problem}`, `{reference}` and `{content}`, or `.jinja` with these names. `{answer}` is the answer that a verifier
    before it found marked as such, else the same as `{content}`: the last 2,000 characters of the answer part."""
    votes: int = Field(default=1, ge=1)
    """How often it is asked about an answer; the majority counts. More than one needs a temperature."""
    sampling: Annotated[Sampling, BeforeValidator(_sampled)] = Sampling(temperature=0.0, max_tokens=20)
    """How its answers are drawn: greedily and at most 20 tokens, unless set. A model that reasons first needs more
    `max_tokens`."""
    price: Price | None = None
    """What its tokens cost. Where it is left out, and the server does not say either, only tokens are counted."""
    spend: Spend = Spend()
    """Limits for this judge in the whole study; the study's own limits are for teachers."""

    @cached_property
    def template(self) -> tuple[str, bool]:
        """(text, whether it is Jinja) of its prompt. Raises RecipeError."""
        return prompts.template(self.prompt, prompts.JUDGE)

    def question(self, problem: Problem, trace: Trace, answer: str | None) -> str | Verdict:
        """What is asked about a trace; the verdict where there is nothing to ask. `answer`: what a verifier before
        this one found marked as the answer."""
        if not problem.answer.strip():
            return no_reference(trace)
        if not trace.content.strip():
            return no_answer(trace, problem.answer)
        text, jinja = self.template
        content = trace.content.strip()[-SHOWN:]
        values = {
            "problem": prompt_text(problem.prompt), "reference": problem.answer,
            "answer": (answer or content)[-SHOWN:], "content": content,
        }  # fmt: skip
        return prompts.filled(text, values, jinja=jinja, where=self.prompt)

    def verdict(self, trace: Trace, answer: str | None, votes: Sequence[Completion]) -> Verdict:
        """What the answers to a question come to; of `trace` only its id and how it ended are read.

        The majority counts. It is `error` where votes are even, or where those that are missing or cannot be read could
        turn it.
        """
        read = [vote(v.content) for v in votes if v.error is None]
        yes, no, failed = read.count(True), read.count(False), self.votes - len(read)
        void = failed + read.count(None)
        said = f"{yes} true, {no} false"
        said += f", {read.count(None)} unreadable" if None in read else ""
        said += f", {failed} without an answer" if failed else ""
        decided = abs(yes - no) > void
        outcome = Outcome.ERROR if not decided else Outcome.CORRECT if yes > no else _wrong(trace)
        return Verdict(
            trace_id=trace.id,
            outcome=outcome,
            answer=answer,
            rule=f"judge/{max(yes, no)} of {self.votes}" if decided else "judge",
            explanation=said if decided else f"no majority: {said}{_why(votes)}",
        )


def _wrong(trace: Trace) -> Outcome:
    """Of a trace that was cut nobody knows what would have come."""
    return Outcome.TRUNCATED if is_cut(trace) else Outcome.INCORRECT


def _why(votes: Sequence[Completion]) -> str:
    """The first failure, or else the first answer that cannot be read."""
    for v in votes:
        if v.error is not None:
            return f" ({resolve.redacted(v.error)})"
    for v in votes:
        if vote(v.content) is None:
            line = " ".join(v.content.split())
            return f" (it said {line[:SAID]!r})" if line else f" (it said nothing; finish_reason {v.finish_reason})"
    return ""


_WORDS = {"true": True, "yes": True, "correct": True, "false": False, "no": False, "incorrect": False}
_WORD = r"(true|false|yes|no(?![ \t]+\w)|correct|incorrect)\b"
_LABEL = r"(?:(?:the|final|answer|verdict|judge?ment|result|output|is)\b[\s:=*\"'`]*)*"
_FIRST = re.compile(_LABEL + _WORD)
_ELSE = re.compile(r"\s*(?:/|,?\s+or\b|\||,?\s+and\b)\s*\W*(?:true|false|yes|no|correct|incorrect)\b")
"""Behind a word: another to choose from."""
_NOUN = re.compile(r"\s+(?:answer|answers|solution|result|value|response|option|choice)\b")
"""Behind `correct`: it is said of something else."""
_NOT = re.compile(r"(?:\b(?:not|never|neither|nor|cannot)|n['\u2019]t)(?:\s+\w+)?\s+\W*\Z")
"""Before a word: it is denied."""
_MARKS = " \t\r\n*_`\"'#>([{\u201c\u2018-:.$"


def vote(content: str) -> bool | None:
    """True or False, as a judge's answer says; None where it says neither, or both.

    The word that the answer begins with decides, labels such as `Verdict:` aside. Where it begins otherwise, every
    `true` and `false` in it must agree; where there is none, every `correct` and `incorrect`, in the sense of a
    predicate. A denied word (`not true`) is not read.
    """
    text = content.lower().lstrip(_MARKS)
    first = _FIRST.match(text)
    if first and not _NOUN.match(text, first.end()):
        return None if _ELSE.match(text, first.end()) else _WORDS[first[1]]
    for pair in ("true|false", "correct|incorrect"):
        found = set()
        for word in re.finditer(rf"\b(?:{pair})\b", text):
            if _NOUN.match(text, word.end()):
                continue
            found.add(None if _NOT.search(text, 0, word.start()) else _WORDS[word[0]])
        if found:
            return found.pop() if len(found) == 1 else None
    return None
