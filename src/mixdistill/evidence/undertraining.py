"""Trainings that were too short to show what their data can do: one alarm per student and arm, with every sign.

The signs are read from what the trainer logged:

- few updates: fewer than 100;
- no warm-up: the first update had the peak learning rate. It counts beside other signs alone;
- the loss was still falling: over the last quarter of the logged losses a straight line falls by more than two standard
  errors of its slope, and over that quarter by more than 2 % of what the loss fell in all;
- the weights hardly moved: by less than 0.1 % of their length;
- the accuracy on dev was still moving between the last two points, as curves.py has it.

An alarm is red where it can explain a gap by itself: few updates, in an arm whose learning rates add up to less than
half of what another arm of the comparison got; with `tune` in units of the peak that each arm chose. Where all arms are
as short, it is a note.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from mixdistill.evidence.confound_table import Trained
from mixdistill.evidence.rows import Confound, Moving
from mixdistill.page.wording import points
from mixdistill.recipe import Recipe

FIELD = "undertrained"
"""`Confound.field` of an alarm."""
FEW_UPDATES = 100
LITTLE_MOVED = 1e-3
FALL = 0.02
"""Share of the loss's whole fall that must come in the last quarter. Where a training has hardly begun, the loss falls
in proportion to the learning rates: a cosine has 5 % of them in its last quarter, a straight line to zero 6 %."""
FEWEST_LOSSES = 5
"""In the last quarter; of fewer nothing is said."""
SURE = 2.0
"""Standard errors."""


def alarms(recipe: Recipe, trained: Trained, moving: Iterable[Moving] = ()) -> list[Confound]:
    """One per student and arm that shows a sign, in the recipe's order. `moving` is what dev says."""
    moved = {(m.student, m.arm): f"dev accuracy still moved by {points(m.delta)} points" for m in moving if m.moving}
    found = []
    for student in recipe.students:
        for arm in recipe.trained:
            facts = _facts(trained, student, arm)
            signs = _signs(facts, moved.get((student, arm)))
            if signs:
                others = [_facts(trained, student, a) for a in recipe.group_of(arm) if a != arm]
                severity: Literal["red", "note"] = "red" if _explains(facts, others) else "note"
                text = "Undertrained: " + (
                    "so much less than another arm that this alone can explain a gap."
                    if severity == "red"
                    else "arms may differ in how far they got, not in what they can teach."
                )
                values = {arm: ", ".join(signs)}
                found.append(Confound(severity=severity, text=text, field=FIELD, student=student, values=values))
    return found


def _facts(trained: Trained, student: str, arm: str) -> list[dict[str, Any]]:
    return [m["facts"] for (s, a, _), m in trained.items() if (s, a) == (student, arm)]


def _signs(facts: list[dict[str, Any]], on_dev: str | None) -> list[str]:
    """What of an arm's trainings says that they were too short; one seed is enough."""
    if not facts:
        return []
    signs = []
    if (updates := min(f["updates"] for f in facts)) < FEW_UPDATES:
        signs.append(f"{updates} update{'s' * (updates != 1)}")
    if (moved := min(f["displacement"] for f in facts)) < LITTLE_MOVED:
        signs.append(f"the weights moved by {moved:.2%}")
    if falls := [fall for f in facts if (fall := still_falling(f.get("losses") or []))]:
        signs.append(f"{max(falls):.0%} of the loss's fall came in the last quarter")
    signs += [on_dev] if on_dev else []
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
    """How much training there was: the sum of the learning rates. Of one that was tuned in units of its peak, which
    dev chose: a lower rate that did best is not less training."""
    amount = facts.get("learning_rate_integral") or 0.0
    return amount / facts["peak_learning_rate"] if facts.get("tuned") else amount


def still_falling(losses: Sequence[Sequence[float]]) -> float | None:
    """The share of its whole fall by which the loss fell over the last quarter of its points (update, mean loss); None
    where a straight line through them, by least squares, does not fall beyond noise, or by 2 % or less."""
    last = losses[-(len(losses) // 4) :]
    if len(losses) // 4 < FEWEST_LOSSES:
        return None
    xs, ys = zip(*last, strict=True)
    n, x, y = len(xs), sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((a - x) ** 2 for a in xs)
    slope = sum((a - x) * (b - y) for a, b in last) / spread
    rest = sum((b - y - slope * (a - x)) ** 2 for a, b in last)
    fall, whole = -slope * (xs[-1] - xs[0]), losses[0][1] - y
    beyond_noise = -slope > SURE * math.sqrt(rest / (n - 2) / spread)
    return fall / whole if beyond_noise and fall > FALL * whole > 0 else None
