"""Trainings that were too short to show what their data can do: one alarm per student and arm, with every sign.

The signs are read from what the trainer logged:

- few updates: fewer than 100;
- no warm-up: the first update had the peak learning rate. It counts beside other signs alone;
- the loss was still falling: over the last quarter of the logged losses a straight line falls by more than two standard
  errors of its slope, and over that quarter by more than 2 % of the loss;
- the weights hardly moved: by less than 0.1 % of their length;
- the accuracy on dev was still moving: between the last two points it changed by more than two standard errors of the
  change.

An alarm is red where it can explain a gap by itself: few updates, in an arm whose learning rates add up to less than
half of what another arm of the comparison got. Where all arms are as short, it is a note.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from mixdistill.confound_table import Trained
from mixdistill.evidence import Confound
from mixdistill.page.wording import points
from mixdistill.recipe import Recipe

FIELD = "undertrained"
"""`Confound.field` of an alarm."""
FEW_UPDATES = 100
LITTLE_MOVED = 1e-3
FALL = 0.02
"""Share of the loss that a fall over the last quarter must exceed."""
FEWEST_LOSSES = 5
"""In the last quarter; of fewer nothing is said."""
SURE = 2.0
"""Standard errors."""


def alarms(recipe: Recipe, trained: Trained) -> list[Confound]:
    """One per student and arm that shows a sign, in the recipe's order."""
    found = []
    for student in recipe.students:
        for arm in recipe.trained:
            facts = _facts(trained, student, arm)
            signs = _signs(facts)
            if signs:
                others = [_facts(trained, student, a) for a in recipe.group_of(arm) if a != arm]
                severity: Literal["red", "note"] = "red" if _explains(facts, others) else "note"
                text = "Undertrained: " + (
                    "so much less than another arm that this alone can explain a gap."
                    if severity == "red"
                    else "arms may differ in how far they got, not in what they can teach."
                )
                values = {arm: "; ".join(signs)}
                found.append(Confound(severity=severity, text=text, field=FIELD, student=student, values=values))
    return found


def _facts(trained: Trained, student: str, arm: str) -> list[dict[str, Any]]:
    return [m["facts"] for (s, a, _), m in trained.items() if (s, a) == (student, arm)]


def _signs(facts: list[dict[str, Any]]) -> list[str]:
    """What of an arm's trainings says that they were too short; one seed is enough."""
    if not facts:
        return []
    signs = []
    if (updates := min(f["updates"] for f in facts)) < FEW_UPDATES:
        signs.append(f"{updates} update{'s' * (updates != 1)}")
    if (moved := min(f["displacement"] for f in facts)) < LITTLE_MOVED:
        signs.append(f"the weights moved by {moved:.2%}")
    if falls := [fall for f in facts if (fall := still_falling(f.get("losses") or []))]:
        signs.append(f"the loss still fell by {max(falls):.0%} in the last quarter")
    if moves := [move for f in facts if (move := still_moving(f.get("dev") or []))]:
        signs.append(f"dev accuracy still moved by {points(max(moves, key=abs))} points")
    if signs and any(f.get("warmup_updates") == 0 for f in facts):
        signs.append("no warm-up")
    return signs


def _explains(facts: list[dict[str, Any]], others: list[list[dict[str, Any]]]) -> bool:
    """Whether an arm got so much less training than another that this alone can explain a gap."""
    if min(f["updates"] for f in facts) >= FEW_UPDATES:
        return False
    most = max((_amount(f) for of_arm in others for f in of_arm), default=0.0)
    return min(map(_amount, facts)) < most / 2


def _amount(facts: dict[str, Any]) -> float:
    """How much training there was: the sum of the learning rates."""
    return facts.get("learning_rate_integral") or 0.0


def still_falling(losses: Sequence[Sequence[float]]) -> float | None:
    """By which share of itself the loss fell over the last quarter of its points (update, mean loss); None where a
    straight line through them does not fall beyond noise, by least squares, or by 2 % or less."""
    last = losses[-(max(len(losses), 1) // 4 or 1) :]
    if len(last) < FEWEST_LOSSES:
        return None
    xs, ys = zip(*last, strict=True)
    x, y, n = sum(xs) / len(xs), sum(ys) / len(ys), len(xs)
    spread = sum((a - x) ** 2 for a in xs)
    slope = sum((a - x) * (b - y) for a, b in last) / spread
    rest = sum((b - y - slope * (a - x)) ** 2 for a, b in last)
    error = math.sqrt(rest / (n - 2) / spread)
    fall = -slope * (xs[-1] - xs[0])
    return fall / y if -slope > SURE * error and fall > FALL * y else None


def still_moving(dev: Sequence[dict[str, int]]) -> float | None:
    """By how much the accuracy on dev changed between the last two points; None where that is within its noise."""
    if len(dev) < 2:
        return None
    (a, n), (b, m) = ((p["correct"] / p["examples"], p["examples"]) for p in dev[-2:])
    pooled = (a * n + b * m) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return b - a if abs(b - a) > SURE * error else None
