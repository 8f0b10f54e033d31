"""How often a study was looked at, and what that costs.

Whoever adds seeds until a gap is told will tell one some day, whatever the truth. So every report on other scores of
the primary contrast than before is a look, kept in the run folder for good, and p is multiplied for it. The prices are
such that all looks together falsely say that an arm helps in at most 5 % of studies; figures: docs/method.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

from mixdistill.evidence.details import Look
from mixdistill.store import Store
from mixdistill.types import Gap

LOOKS = "looks"
"""Journal at the top of a run folder."""
FIRST = 1.25
"""What p of a first look is multiplied by: of the 5 % one fifth is kept for those to come."""
SECOND = 5.0
"""Of the second; doubled with every further one."""


class Paid(NamedTuple):
    """What a look at the primary contrast costs."""

    look: int
    times: float
    """p is multiplied by it; infinite: nothing is left to be spent."""


def read(store: Store) -> list[Look]:
    """All looks there were."""
    return store.journal(store.root, Look, LOOKS)


def record(store: Store, looks: Sequence[Look]) -> None:
    """Keep those that are new, whole and flushed: before a page with their verdicts is written."""
    new = looks[len(read(store)) :]
    if new:
        with store.appending(store.root, LOOKS) as append:
            for look in new:
                append(look)


def price(number: int, *, once: bool = False) -> float:
    """What p is multiplied by at a student's first, second, ... look."""
    if once:
        return 1.0 if number == 1 else math.inf
    return FIRST if number == 1 else SECOND * 2.0 ** (number - 2)


def next_price(number: int) -> float:
    """What the look after this one will cost."""
    return price(number + 1)


def pay(seen: Sequence[Look], student: str, scores: str, *, once: bool = False) -> Paid:
    """Which look at a student it is, and what it costs. The same scores again are no new look; another primary contrast
    is. A look that was taken at the full 5 % leaves nothing to be spent."""
    mine = [look for look in seen if look.student == student]
    for look in mine:
        if look.scores == scores:
            return Paid(look.look, look.paid or math.inf)
    number = len(mine) + 1
    spent = any(look.paid == 1 for look in mine)
    return Paid(number, math.inf if spent else price(number, once=once))


def together(seen: Sequence[Look], gaps: Sequence[Gap]) -> list[Look]:
    """All looks, those that are taken with these gaps last."""
    known = {(look.student, look.scores) for look in seen}
    new = [g for g in gaps if g.look is not None and (g.student, g.scores) not in known]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return [*seen, *(_look(gap, now) for gap in new)]


def _look(gap: Gap, when: str) -> Look:
    assert gap.look is not None
    return Look(
        when=when,
        contrast=gap.name,
        student=gap.student,
        benchmark=gap.benchmark,
        seeds=gap.seeds,
        problems=gap.problems,
        delta=gap.delta,
        p=gap.p,
        verdict=gap.verdict,
        look=gap.look,
        paid=gap.paid,
        scores=gap.scores,
    )
