"""Answers that are a JSON object: the fields of the reference against those of the last object in the answer part.

The object may stand bare, in a fence, or in the midst of prose. `correct` means that all fields are equal and none is
there besides; `score` is F1 over fields, so that four fields of five are told from none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers.exact import normal

VERSION = "1"

_OPENING = re.compile(r'\{\s*["}]')
_DECODER = json.JSONDecoder()


class Object(NamedTuple):
    """A JSON object and the text it was read from."""

    fields: dict[str, Any]
    text: str


def verify(problem: Problem, trace: Trace, *, ignore_space: bool = True, ignore_case: bool = True) -> Verdict:
    """Whether the last JSON object in the answer part of `trace` has the fields of the reference of `problem`.

    Only `trace.content` is read. The reference is JSON text of one object with at least one field; anything else is
    `error`. Texts, nested ones too, are compared as `ignore_space` and `ignore_case` say; numbers by their value, so
    that 3 equals 3.0; a number never equals the text `"3"`, nor `true` the number 1, nor `null` a field that is not
    there. Without an object `score` is 0.
    """
    gold = reference(problem.answer)
    if gold is None:
        return Verdict(
            trace_id=trace.id,
            outcome=Outcome.ERROR,
            rule="reference",
            explanation=f"the reference is no JSON object with a field: {_short(problem.answer)}",
        )
    found = last_object(trace.content)
    if found is None:
        outcome = Outcome.TRUNCATED if trace.finish_reason == "length" else Outcome.NO_ANSWER
        return Verdict(
            trace_id=trace.id,
            outcome=outcome,
            score=0.0,
            explanation=f"no JSON object found; reference: {_short(gold)}",
        )

    def fold(text: str) -> str:
        return normal(text, ignore_space=ignore_space, ignore_case=ignore_case)

    equal = {k for k in gold if k in found.fields and _same(gold[k], found.fields[k], fold)}
    score = 2 * len(equal) / (len(gold) + len(found.fields))
    right = len(equal) == len(gold) == len(found.fields)
    return Verdict(
        trace_id=trace.id,
        outcome=Outcome.CORRECT if right else Outcome.INCORRECT,
        score=score,
        answer=found.text,
        rule="last_object/fields",
        explanation="" if right else _differences(gold, found.fields, equal),
    )


def reference(answer: str) -> dict[str, Any] | None:
    """The fields of a reference answer; None where it is not one JSON object with a field."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value else None


def last_object(text: str) -> Object | None:
    """The last JSON object of `text` that is complete and stands in no other; None where there is none.

    One pass: where the text stops being JSON, the search goes on from there. So what lies inside an object that breaks
    off, or that was cut, never counts as an answer of its own.
    """
    found, place = None, 0
    while start := _OPENING.search(text, place):
        try:
            fields, place = _DECODER.raw_decode(text, start.start())
            found = Object(fields, text[start.start() : place])
        except json.JSONDecodeError as e:
            place = max(e.pos, start.start() + 1)
        except (ValueError, RecursionError):  # a number of thousands of digits; nesting without end
            place = start.start() + 1
    return found


def _same(gold: Any, got: Any, fold: Callable[[str], str]) -> bool:
    """Whether two JSON values are equal, texts after `fold`. Goes no deeper than the reference does."""
    if isinstance(gold, str) and isinstance(got, str):
        return fold(gold) == fold(got)
    if isinstance(gold, dict) and isinstance(got, dict):
        return gold.keys() == got.keys() and all(_same(gold[k], got[k], fold) for k in gold)
    if isinstance(gold, list) and isinstance(got, list):
        return len(gold) == len(got) and all(_same(a, b, fold) for a, b in zip(gold, got, strict=True))
    return isinstance(gold, bool) == isinstance(got, bool) and gold == got  # Python holds True and 1 to be equal


def _differences(gold: dict[str, Any], got: dict[str, Any], equal: set[str]) -> str:
    """One line that names every field that is not right."""
    parts = {
        "wrong": [k for k in gold if k in got and k not in equal],
        "missing": [k for k in gold if k not in got],
        "not asked for": [k for k in got if k not in gold],
    }
    told = [f"{what}: {', '.join(map(_short, fields))}" for what, fields in parts.items() if fields]
    return "; ".join([*told, f"reference: {_short(gold)}"])[:300]


def _short(value: Any) -> str:
    """A value on one line, as JSON: with escapes, it is a text that any table can hold."""
    return json.dumps(value)[:120]
