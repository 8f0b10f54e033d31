"""Whether a text ends in a loop: one unit, a word, a sentence or a page, that is written over and over to the end.

The rule. The text ends in a loop where its last words repeat with a period of at most 600 words, exactly, in at least
four units that make 24 words or more; or its last characters do with a period of at most 40, in at least 8 units that
make 160 characters or more, for what has no spaces. A last word, or unit, that was cut short counts as far as it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mixdistill.types import Looped, Trace

TABLE = "loops"
"""In the folder of an evaluation: the answers that end in one."""

WORDS, UNITS, LEAST_WORDS = 600, 4, 24
"""Longest period, fewest units, fewest words of a loop of words."""
SHOWN = 200
"""Characters of a unit that are kept."""
CHARACTERS, CHARACTER_UNITS, LEAST_CHARACTERS = 40, 8, 160
"""The same of a loop of characters."""


class Loop(NamedTuple):
    """What a text ends in."""

    unit: str
    """What is repeated, as it was last written in full."""
    times: float
    """How often it was written, the last time perhaps in part."""


def is_looped(trace: Trace) -> bool:
    """Whether all that was written, reasoning and answer, ends in a loop."""
    return ends_in(f"{trace.reasoning} {trace.content}") is not None


def looped(traces: Sequence[Trace]) -> Iterator[Looped]:
    """A row for each of the traces that end in a loop."""
    for trace in traces:
        if loop := ends_in(f"{trace.reasoning} {trace.content}"):
            yield Looped(
                trace_id=trace.id,
                problem_id=trace.problem_id,
                sample=trace.sample,
                unit=loop.unit[:SHOWN],
                times=loop.times,
            )


def ends_in(text: str) -> Loop | None:
    """The loop that a text ends in; None where there is none."""
    words = text.split()
    if found := _loop(words[-WORDS * (UNITS + 1) :], WORDS, UNITS, LEAST_WORDS):
        length, period = found
        return Loop(" ".join(words[len(words) - period :]), length / period)
    # Without its last word, which the limit may have cut in the middle.
    if found := _loop(words[-WORDS * (UNITS + 1) : -1], WORDS, UNITS, LEAST_WORDS):
        length, period = found
        return Loop(" ".join(words[len(words) - 1 - period : -1]), length / period)
    tail = text.rstrip()[-CHARACTERS * LEAST_CHARACTERS :]
    if found := _loop(tail, CHARACTERS, CHARACTER_UNITS, LEAST_CHARACTERS):
        length, period = found
        return Loop(tail[len(tail) - period :], length / period)
    return None


def _loop(items: Sequence[str], longest: int, units: int, least: int) -> tuple[int, int] | None:
    """(length of the end that repeats, its period), of the shortest period that makes a loop."""
    n = len(items)
    for period in range(1, min(longest, n // units) + 1):
        if items[n - 1] != items[n - 1 - period]:
            continue
        length = period
        while length < n and items[n - 1 - length] == items[n - 1 - length + period]:
            length += 1
        if length >= max(units * period, least):
            return length, period
    return None
