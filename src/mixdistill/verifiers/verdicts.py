"""The verdicts that verifiers of answers have in common: no reference, no answer, and a comparison."""

from __future__ import annotations

from typing import NamedTuple

from mixdistill.types import Outcome, Trace, Verdict


class Found(NamedTuple):
    """An answer and the rule that found it."""

    answer: str
    rule: str
    marked: bool = True
    """Whether the text says that this is the answer, by a box or a phrase, and it was not merely the last number."""
    said: str = ""
    """The line behind the phrase, of which `answer` was taken for the answer."""


def is_cut(trace: Trace) -> bool:
    """Whether the trace was stopped at its token limit."""
    return trace.finish_reason == "length"


def no_reference(trace: Trace, why: str = "the problem has no reference answer") -> Verdict:
    """The problem cannot be judged: `error`, never a wrong answer."""
    return Verdict(trace_id=trace.id, outcome=Outcome.ERROR, rule="reference", explanation=why)


def no_answer(trace: Trace, gold: str, *, rule: str = "", score: float | None = None) -> Verdict:
    """Nothing to compare: `truncated` where the trace was cut at its token limit, else `no_answer`."""
    outcome = Outcome.TRUNCATED if is_cut(trace) else Outcome.NO_ANSWER
    explanation = f"no answer found; reference: {gold}"
    return Verdict(trace_id=trace.id, outcome=outcome, rule=rule, score=score, explanation=explanation)


def compared(trace: Trace, found: Found, gold: str, right: bool, step: str, *, score: float | None = None) -> Verdict:
    """An answer was found and compared by `step`, under both readings.

    The strict reading of an answer that is not marked is `no_answer`; of one in a trace that was cut, `truncated`: what
    would have come after it is not known.
    """
    outcome = Outcome.CORRECT if right else Outcome.INCORRECT
    strict = Outcome.TRUNCATED if is_cut(trace) else outcome if found.marked else Outcome.NO_ANSWER
    return Verdict(
        trace_id=trace.id,
        outcome=outcome,
        strict=strict,
        score=score,
        answer=found.answer,
        rule=f"{found.rule}/{step}",
        explanation="" if right else f"reference: {gold}",
    )
