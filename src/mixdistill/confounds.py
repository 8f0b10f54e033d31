"""What besides the data was not the same in all arms, from what happened and not from the recipe.

`red`: no consequence of the data itself, so the comparison is not fair. `note`: a consequence of the data, or a sign
that the training was too short to show what the data can do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

from mixdistill.evidence import CellFacts, Confound
from mixdistill.pipeline import Unit
from mixdistill.recipe import Recipe

FEW_UPDATES = 100
LITTLE_MOVED = 1e-3
TOLERANCE = 0.01
"""Relative difference below which two measured amounts count as equal."""

Trained = dict[tuple[str, str, int], dict[str, Any]]
"""(student, arm, seed) -> the training's marker."""


def confounds(
    recipe: Recipe, cells: list[CellFacts], trained: Trained, evaluated: list[tuple[Unit, dict[str, Any]]]
) -> list[Confound]:
    """Everything found, student by student, within each group of arms that are compared."""
    found: list[Confound] = []
    for student in recipe.students:
        for group in _groups(recipe):
            mine = [c for c in cells if c.student == student and c.arm in group]
            if mine:
                found += _amounts(recipe, student, mine)
                markers = {k: m for k, m in trained.items() if k[0] == student and k[1] in group}
                found += _settings(student, markers, shared=recipe.budget.problems == "shared")
        found += _decoding(student, evaluated)
        found += _undertrained(student, [c for c in cells if c.student == student], trained)
    return found


def _groups(recipe: Recipe) -> list[list[str]]:
    groups: list[list[str]] = []
    for arm in recipe.arms:
        group = recipe.group_of(arm)
        if group not in groups:
            groups.append(group)
    return groups


def _amounts(recipe: Recipe, student: str, cells: list[CellFacts]) -> list[Confound]:
    """Amounts of training that the budget promises to be equal, and those that follow from the data."""
    by_tokens = recipe.budget.unit == "loss_tokens"
    shared = recipe.budget.problems == "shared"
    rules: list[tuple[str, Literal["red", "note"], str]] = [
        ("updates", "red", "The arms took different numbers of updates."),
        ("learning_rate", "red", "The arms were trained at different peak learning rates."),
        (
            "loss_tokens",
            "red" if by_tokens else "note",
            "The arms saw different numbers of loss tokens"
            + ("." if by_tokens else ": the budget holds examples equal, traces differ in length."),
        ),
        (
            "examples",
            "note" if by_tokens else "red",
            "The arms saw different numbers of examples"
            + (": the budget holds loss tokens equal, and traces differ in length." if by_tokens else "."),
        ),
        (
            "distinct_problems",
            "note" if by_tokens or not shared else "red",
            "The arms were trained on different numbers of distinct problems.",
        ),
    ]
    found = []
    for field, severity, text in rules:
        values = _by_arm(cells, lambda c, field=field: getattr(c, field))
        # Updates end with a whole row, so equal token budgets are equal to within one.
        rounding = recipe.budget.per_update if by_tokens and field == "loss_tokens" else 0
        if _differ(values, rounding):
            shown = {arm: _amount(field, v) for arm, v in values.items()}
            found.append(Confound(severity=severity, text=text, field=field, student=student, values=shown))
    seeds = _by_arm(cells, lambda c: c.seed, every=True)
    if len(set(map(tuple, seeds.values()))) > 1:
        shown = {arm: ", ".join(map(str, s)) for arm, s in seeds.items()}
        text = "The arms have different seeds; gaps use the common ones only."
        found.append(Confound(severity="note", text=text, student=student, values=shown))
    return found


def _settings(student: str, trained: Trained, *, shared: bool) -> list[Confound]:
    """Settings of the trainings as they were carried out, and the problems they shared: every one must be the same."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for (_, arm, _), marker in trained.items():
        facts, options = marker["facts"], marker["options"]
        seen = {
            "device": facts["device"],
            "precision": facts["precision"],
            "template": facts["template"],
            "untuned weights": options["model"],
            **({"problems": facts["problems"]} if shared else {}),
            **{f"train.{k}": v for k, v in options["train"].items()},
            **{f"version of {k}": v for k, v in marker["versions"].items()},
        }
        for key, value in seen.items():
            values[key][arm].add(str(value))
    return [
        Confound(
            severity="red",
            text=f"The arms were not trained with the same {key}.",
            student=student,
            values={arm: " and ".join(sorted(v)) for arm, v in by_arm.items()},
        )
        for key, by_arm in values.items()
        if len(set.union(*by_arm.values())) > 1
    ]


def _decoding(student: str, evaluated: list[tuple[Unit, dict[str, Any]]]) -> list[Confound]:
    """Every student and its base must be decoded with the same settings and template."""
    found = []
    for key in ("decoding", "template"):
        values: dict[str, set[str]] = defaultdict(set)
        for unit, marker in evaluated:
            if unit.key[0] == student:
                values[unit.key[1]].add(str(marker["facts"][key]))
        if values and len(set.union(*values.values())) > 1:
            shown = {arm: " and ".join(sorted(v)) for arm, v in values.items()}
            text = f"The arms were not evaluated with the same {key}."
            found.append(Confound(severity="red", text=text, student=student, values=shown))
    return found


def _undertrained(student: str, cells: list[CellFacts], trained: Trained) -> list[Confound]:
    """Signs that a training was too short to show what its data can do."""
    found = []
    few = {c.arm: str(c.updates) for c in cells if c.updates < FEW_UPDATES}
    if few:
        text = f"Fewer than {FEW_UPDATES} updates: arms may differ in how far they got, not in what they can teach."
        found.append(Confound(severity="note", text=text, field="updates", student=student, values=few))
    moved = {(s, a): m["facts"]["displacement"] for (s, a, _), m in trained.items() if s == student}
    still = {a: f"{d:.2%}" for (_, a), d in moved.items() if d < LITTLE_MOVED}
    if still:
        text = "The weights hardly moved: these students are still the untuned one."
        found.append(Confound(severity="note", text=text, student=student, values=still))
    return found


def _by_arm(cells: list[CellFacts], value: Callable[[CellFacts], Any], *, every: bool = False) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for cell in cells:
        if every or value(cell) not in found[cell.arm]:
            found[cell.arm].append(value(cell))
    return dict(found)


def _differ(values: dict[str, list[float]], rounding: float) -> bool:
    flat = [v for vs in values.values() for v in vs]
    return max(flat) - min(flat) > max(rounding, TOLERANCE * max(abs(v) for v in flat))


def _amount(field: str, values: list[float]) -> str:
    show = (lambda v: f"{v:g}") if field == "learning_rate" else (lambda v: f"{v:,.0f}")
    low, high = min(values), max(values)
    return show(low) if low == high else f"{show(low)} to {show(high)}"
