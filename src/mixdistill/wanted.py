"""How many samples of a problem are wanted, given those that are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mixdistill.types import Problem


@dataclass(slots=True)
class Tally:
    """How far a problem has come."""

    asked: int = 0
    """Samples asked for, those in flight included."""
    answered: int = 0
    """Samples that are there, failed ones included."""
    right: int = 0
    """Of these, those that are correct and ended by themselves; counted only where the rule judges."""


@dataclass(frozen=True)
class Rule:
    """How many samples of a problem there should be."""

    wanted: Callable[[Problem, Tally], int]
    judges: bool = False
    """Whether it wants to know which are right."""
    spares: Callable[[int, Tally], bool] = lambda sample, tally: False
    """Whether a sample that failed, or was cut at a lower limit, need not be asked for again."""


def fixed(samples: int) -> Rule:
    """As many for every problem."""
    return Rule(lambda _, tally: samples)


def until_correct(right: int, *, samples: int, max_samples: int) -> Rule:
    """`samples` in any case, then as many as are still missing to `right`, up to `max_samples`.

    As many are in flight as would all be needed if every one of them were right: none that asking one after another
    would have spared.
    """

    def wanted(_: Problem, tally: Tally) -> int:
        return max(samples, min(max_samples, tally.answered + max(0, right - tally.right)))

    return Rule(wanted, judges=True, spares=lambda sample, tally: sample >= samples and tally.right >= right)
