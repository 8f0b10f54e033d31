"""Answers that are a JSON object: the fields of the reference against those of the last object in the answer part.

The object may stand bare, in a fence, or in the midst of prose. `correct` means that all fields are equal and none is
there besides; `score` is F1 over fields, so that four fields of five are told from none. The two readings:

    flexible    the last object, wherever it stands; of a field that it names twice, the last value
    strict      only an object that is marked as the answer: it ends the answer part, or stands in a fence or a box, and
                names no field twice

What is not JSON is no object: single or typographic quotes, a comma before the closing brace, comments, `NaN`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from mixdistill.types import Problem, Trace, Verdict
from mixdistill.verifiers.exact import normal
from mixdistill.verifiers.verdicts import Found, compared, no_answer, no_reference

VERSION = "2"

_OPENING = re.compile(r'\{\s*["}]')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\]"]', re.DOTALL)
_CLOSING = re.compile(r"[\s.`$*}\]]*\Z")
_INT_DIGITS = 4000
"""Python refuses to read integers of more than 4,300 digits."""


class Object(NamedTuple):
    """A JSON object and the text it was read from."""

    fields: dict[str, Any]
    text: str
    marked: bool
    """Whether it is put as the answer: at the end, in a fence, or in a box, and without a field named twice."""


def verify(problem: Problem, trace: Trace, *, ignore_space: bool = True, ignore_case: bool = True) -> Verdict:
    """Whether the last JSON object in the answer part of `trace` has the fields of the reference of `problem`.

    Only `trace.content` is read. The reference is JSON text of one object with at least one field, none named twice;
    anything else is `error`. Texts, nested ones too, are compared as `ignore_space` and `ignore_case` say; numbers by
    their exact value, so that 3 equals 3.0; a number never equals the text `"3"`, nor `true` the number 1, nor `null` a
    field that is not there. Names of fields are compared letter by letter, in any order. Without an object `score`
    is 0.
    """
    gold = reference(problem.answer)
    if gold is None:
        return no_reference(trace, f"the reference is no JSON object with a field: {_short(problem.answer)}")
    found = last_object(trace.content)
    if found is None:
        return no_answer(trace, _short(gold), score=0.0)

    def fold(text: str) -> str:
        return normal(text, ignore_space=ignore_space, ignore_case=ignore_case)

    equal = {k for k in gold if k in found.fields and _same(gold[k], found.fields[k], fold)}
    score = 2 * len(equal) / (len(gold) + len(found.fields))
    right = len(equal) == len(gold) == len(found.fields)
    verdict = compared(
        trace, Found(found.text, "last_object", found.marked), _short(gold), right, "fields", score=score
    )
    return verdict if right else verdict.model_copy(update={"explanation": _differences(gold, found.fields, equal)})


quick = verify
"""Decided at once: no text takes more than time in proportion to its length."""


class _Text(str):
    """A text in which an error costs nothing: `json` counts the lines before each, which nobody reads here."""

    def count(self, *_: Any) -> int:
        return 0

    def rfind(self, *_: Any) -> int:
        return 0


class _Reader:
    """Reads JSON text as the standard has it, numbers exactly, and notes what Python would let pass."""

    def __init__(self) -> None:
        self.invalid = self.twice = False
        self.decoder = json.JSONDecoder(
            parse_constant=self._no_number,
            parse_float=self._decimal,
            parse_int=_integer,
            object_pairs_hook=self._fields,
        )

    def read(self, text: str, start: int) -> tuple[Any, int]:
        """(value, where it ends). Raises what `JSONDecoder.raw_decode` raises."""
        self.invalid = self.twice = False
        return self.decoder.raw_decode(text, start)

    def _no_number(self, _: str) -> None:
        self.invalid = True

    def _decimal(self, text: str) -> Decimal:
        try:
            return Decimal(text)
        except InvalidOperation:  # an exponent of twenty digits
            self.invalid = True
            return Decimal(0)

    def _fields(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        self.twice = self.twice or len(fields) < len(pairs)
        return fields


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < _INT_DIGITS else Decimal(text)


def reference(answer: str) -> dict[str, Any] | None:
    """The fields of a reference answer; None where it is not one JSON object with a field."""
    reader, text = _Reader(), answer.strip()
    try:
        value, end = reader.read(text, 0)
    except (ValueError, RecursionError):
        return None
    whole = end == len(text) and not reader.invalid and not reader.twice
    return value if whole and isinstance(value, dict) and value else None


def last_object(text: str) -> Object | None:
    """The last JSON object of `text` that is complete and stands in no other; None where there is none.

    One pass: where the text stops being JSON, the search goes on from there. So what lies inside an object that breaks
    off, or that was cut, never counts as an answer of its own.
    """
    reader, text, place = _Reader(), _Text(text), 0
    last: tuple[dict[str, Any], int, int, bool] | None = None
    while opening := _OPENING.search(text, place):
        start = opening.start()
        try:
            fields, place = reader.read(text, start)
            last = last if reader.invalid else (fields, start, place, not reader.twice)
        except json.JSONDecodeError as e:
            place = max(e.pos, start + 1)
        except RecursionError:  # nested without end
            place = _after(text, start)
    if last is None:
        return None
    fields, start, end, once = last
    return Object(fields, text[start:end], once and _is_marked(text, start, end))


def _after(text: str, start: int) -> int:
    """Where the brackets that open at `start` are all closed; the end of the text where they never are."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token.group(), 0)
        if depth == 0:
            return token.end()
    return len(text)


def _is_marked(text: str, start: int, end: int) -> bool:
    """Whether an object ends the text, or stands in a fence or a box; not as one of an array's items."""
    before, behind = text[max(0, start - 40) : start].rstrip(), text[end : end + 40].lstrip()
    if before.endswith(("[", ",")):
        return False
    fenced = re.search(r"```\w*\Z|\\boxed\s*\{\Z", before) is not None and behind.startswith(("```", "}"))
    return fenced or _CLOSING.match(text, end) is not None


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
    return json.dumps(value, default=float)[:120]
