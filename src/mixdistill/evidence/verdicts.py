"""What may be said of a gap, in words: a verdict, that there is none worth knowing of, or what would be needed for one.

Numbers come from `stats`; when a verdict is withdrawn is decided in `gaps`. Rules and figures: docs/method.md.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping

from mixdistill.evidence.stats import ALPHA, Components, Estimate, beats_each, foreseen
from mixdistill.types import Interval

CANNOT_TELL = "can't tell"
NO_DIFFERENCE = "no difference"
FEWEST = 100
"""Sets with fewer problems are shown and decide nothing."""
FEW = f"{CANNOT_TELL} (fewer than {FEWEST} problems)"
UNFINISHED = f"{CANNOT_TELL} (unfinished)"
"""Trainings or evaluations that the verdict would be of are not there yet."""
MOST_SEEDS = 50
MOST_PROBLEMS = 10_000
"""What is foreseen goes no further than to here."""


def verdict(a: str, b: str, estimate: Estimate, p: float | None = None, *, smallest: float = 0.0) -> str:
    """What may be said of arm a against arm b: by the *this data* interval (and by p where several gaps or looks have
    to be paid for), never by the mean's sign. Differences of `smallest` or less are not worth knowing of."""
    unsure = _unsure(estimate)
    if unsure or estimate.data is None:
        return unsure
    if (p is None or p < ALPHA) and not estimate.data.low <= 0 <= estimate.data.high:
        winner, loser = (a, b) if estimate.data.low > 0 else (b, a)
        return f"{winner} beats {loser}" if "base" in (a, b) else f"{winner} helps"
    return _no_difference(estimate.data, smallest)


def verdict_each(gaps: Mapping[str, Estimate], p: float | None = None, *, smallest: float = 0.0) -> str:
    """What may be said of a blend against every pure arm (name -> blend minus that arm)."""
    decides, joint = beats_each(gaps)
    unsure = _unsure(joint)
    if unsure or joint.data is None or joint.p is None:
        return unsure
    if (joint.p if p is None else p) < ALPHA:
        own = gaps[decides].data
        if joint.data.low > 0:
            return "blend beats every pure arm"
        if own is not None and own.high < 0:
            return f"{decides} beats the blend"
    return _no_difference(joint.data, smallest)


def _unsure(estimate: Estimate) -> str:
    """Why no verdict is possible, or an empty text."""
    if estimate.problems < 2:
        return f"{CANNOT_TELL} (one problem)"
    return f"{CANNOT_TELL} (one seed)" if estimate.data is None else ""


def _no_difference(data: Interval, smallest: float) -> str:
    """How large a difference may still be where that is too small to matter; else that it cannot be told."""
    reach = max(abs(data.low), abs(data.high))
    if reach > smallest:
        return CANNOT_TELL
    return f"{NO_DIFFERENCE} larger than {math.ceil(1000 * reach - 1e-9) / 10:.1f} points"


def needed(components: Components, seeds: int, problems: int, smallest: float, alpha: float = ALPHA) -> str:
    """The cheapest study that finds a true difference of `smallest` in 4 of 5 repetitions, with variances as these:
    more seeds, more problems, or both, whichever takes the fewest answers. Empty where this one does already.

    "more problems cannot help": with these seeds, no number of them is enough.
    """

    def enough(s: int, p: int) -> bool:
        return foreseen(components, s, p, alpha) <= smallest

    if enough(seeds, problems):
        return ""
    plans = []
    for s in range(seeds, max(MOST_SEEDS, seeds) + 1):
        p = _fewest(problems, lambda p, s=s: enough(s, p))
        if p:
            # One thing to change is easier than two, unless it takes twice as many answers.
            plans.append((s * p * (2 if s > seeds and p > problems else 1), s, p))
        if p == problems:
            break
    if not plans:
        return f"more than {max(MOST_SEEDS, seeds)} seeds"
    _, s, p = min(plans)
    parts = ([f"{s} seeds"] if s > seeds else []) + ([f"{p:,} problems"] if p > problems else [])
    useless = p == problems and not enough(seeds, 1000 * MOST_PROBLEMS)
    return " and ".join(parts) + ("; more problems cannot help" if useless else "")


def _fewest(problems: int, enough: Callable[[int], bool]) -> int | None:
    """The fewest problems, in two digits unless these here, that are enough; None: more than `MOST_PROBLEMS`."""
    if enough(problems):
        return problems
    digits = [n * 10**power for power in range(4) for n in range(10, 100)]
    more = [n for n in digits if problems < n <= MOST_PROBLEMS]
    at = bisect_left(more, True, key=enough)
    return more[at] if at < len(more) else None
