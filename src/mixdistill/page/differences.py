"""What differed between arms, in words and in the order in which it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mixdistill.arms import spoken
from mixdistill.page.wording import listed

if TYPE_CHECKING:
    from mixdistill.evidence.rows import Confound, ConfoundTable, Evidence

__all__ = ["alarms", "confound_tables", "confounds_count", "findings"]

UNDERTRAINED = "undertrained"


def confounds_count(evidence: Evidence) -> str:
    """`none red, 3 follow from the data (epochs, loss tokens, share of long)`; each counted once, whatever student."""
    there = [c for c in evidence.confounds if c.field != UNDERTRAINED]
    red = {c.field or c.text for c in there if c.severity == "red"}
    notes = dict.fromkeys(c.field or c.text for c in there if c.severity == "note" and (c.field or c.text) not in red)
    data = [name for name in notes if name in _rows(evidence)]
    others = len(notes) - len(data)
    parts = [f"{len(red) or 'none'} red"]
    if data:
        parts.append(f"{len(data)} follow{'s' * (len(data) == 1)} from the data ({', '.join(data)})")
    if others:
        parts.append(f"{others} other note{'s' * (others != 1)}")
    return ", ".join(parts) if red or notes else "none: the arms differ in nothing that was recorded"


def _rows(evidence: Evidence) -> set[str]:
    """What the tables compare."""
    return {row.name for table in evidence.confound_tables for row in table.rows}


def findings(evidence: Evidence) -> list[Confound]:
    """What stands above the tables: red confounds first, then notes on what no table holds. Same ones of several
    students are told once each."""
    rows = _rows(evidence)
    shown = [c for c in evidence.confounds if c.severity == "red" or c.field not in rows]
    return sorted((c for c in shown if c.field != UNDERTRAINED), key=lambda c: c.severity != "red")


class Alarm(NamedTuple):
    """Trainings that were too short in the same way."""

    severity: str
    text: str
    who: str
    """Student by student, the arms and their signs."""


def alarms(evidence: Evidence) -> list[Alarm]:
    """The undertraining alarms, those with the same words together; red ones first."""
    found: dict[tuple[str, str], dict[tuple[str, str], list[str]]] = {}
    for c in evidence.confounds:
        if c.field == UNDERTRAINED:
            for arm, signs in c.values.items():
                words = c.text.removeprefix("Undertrained: ").capitalize()
                found.setdefault((c.severity, words), {}).setdefault((c.student or "", signs), []).append(arm)
    return sorted((Alarm(*key, _who(evidence, by)) for key, by in found.items()), key=lambda a: a.severity != "red")


def _who(evidence: Evidence, by: dict[tuple[str, str], list[str]]) -> str:
    """`t: every arm, 6 updates. u: long and short, 40 updates; mix, 20 updates`."""
    parts: dict[str, list[str]] = {}
    for (student, signs), arms in by.items():
        every = {cell.arm for cell in evidence.cells if cell.student == student} == set(arms) and len(arms) > 1
        said = f"{'every arm' if every else listed(list(map(spoken, arms)))}, {signs}"
        parts.setdefault(student, []).append(said)
    return ". ".join(f"{student}: {'; '.join(said)}" for student, said in parts.items())


def confound_tables(evidence: Evidence) -> list[ConfoundTable]:
    """Tables of arms that are compared; those with red rows first, else in their order."""
    tables = [t for t in evidence.confound_tables if len(t.arms) > 1] or list(evidence.confound_tables)
    return sorted(tables, key=lambda t: all(row.state != "red" for row in t.rows))
