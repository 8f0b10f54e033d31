"""The primary benchmark in other words: accuracy of every arm under each wording, and whether the gap turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mixdistill import paraphrases
from mixdistill.arms import BASE, called
from mixdistill.evidence import stats, verdicts
from mixdistill.evidence.details import Paraphrased
from mixdistill.evidence.gaps import Cells
from mixdistill.evidence.readings import cell_of, read
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.units import Unit

Arms = Mapping[str, stats.Scores]
"""Arm -> its scores on the primary benchmark, at the primary cap."""


class Words(NamedTuple):
    """What the wordings say."""

    rows: list[Paraphrased]
    notes: list[str]
    """Where the primary gap turns, beyond its noise or within."""


def parted(units: list[Unit]) -> tuple[list[Unit], list[Unit]]:
    """(evaluations that gaps are made of: in the study's own words, and of the untuned students in any; the others)."""
    names = [called(unit.key[1]) for unit in units]
    other = [bool(name.wording) and name.arm != BASE for name in names]
    done = [unit for unit, is_other in zip(units, other, strict=True) if not is_other]
    return done, [unit for unit, is_other in zip(units, other, strict=True) if is_other]


def read_all(recipe: Recipe, store: Store, units: list[Unit]) -> Words:
    """Every arm of the declared budget under every wording, the study's own first; nothing without others."""
    if not recipe.evaluate.paraphrases:
        return Words([], [])
    benchmark, names = recipe.deciding_benchmark, ["", *paraphrases.wordings(recipe)]
    there = [unit for unit in units if cell_of(unit.key)[3] == benchmark]
    correct = read(recipe, store, there).correct[recipe.verify.counts]
    found: dict[str, dict[str, stats.Scores]] = {s: _arms(recipe, correct, s) for s in recipe.students}
    rows = [
        _row(student, arm, benchmark, name, scores)
        for student, arms in found.items()
        for arm in (BASE, *recipe.arms)
        for name in names
        if (scores := arms.get(paraphrases.in_words(arm, name)))
    ]
    notes = [
        note for student, arms in found.items() for name in names[1:] if (note := _turn(recipe, student, name, arms))
    ]
    return Words(rows, notes)


def _arms(recipe: Recipe, correct: Cells, student: str) -> dict[str, stats.Scores]:
    primary = recipe.primary_or_first()
    cap = primary.max_tokens if primary else None
    found: dict[str, dict[int | None, dict[str, float]]] = {}
    for (whose, arm, seed, _), by_cap in correct.items():
        if whose == student and cap in by_cap:
            found.setdefault(arm, {})[seed] = by_cap[cap]
    return dict(found)


def _row(student: str, arm: str, benchmark: str, wording: str, scores: stats.Scores) -> Paraphrased:
    mean = stats.mean_interval(stats.matrix(scores))
    return Paraphrased(
        student=student,
        arm=arm,
        benchmark=benchmark,
        wording=wording,
        mean=mean.mean,
        checkpoints=mean.checkpoints,
        data=mean.data,
        seeds=len(scores),
        problems=len(next(iter(scores.values()))),
    )


def _turn(recipe: Recipe, student: str, wording: str, arms: Arms) -> str | None:
    """The sentence about a wording under which the primary gap has another sign than in the study's own words."""
    primary = recipe.primary_or_first()
    own, other = (_gap(recipe, name, arms) for name in ("", wording))
    if primary is None or own is None or other is None or own.delta * other.delta >= 0:
        return None
    text = (
        f"{primary.contrast} of {student} turns with the wording: {_said(own)} in the study's own words, "
        f"{_said(other)} asked as '{wording}'"
    )
    if not stats.opposes(other, 1 if own.delta > 0 else -1):
        return f"{text}, within its noise."
    if other.problems < verdicts.FEWEST:
        return f"{text}. Fewer than {verdicts.FEWEST} problems decide nothing."
    return f"{text}. What it says then hangs on how {recipe.deciding_benchmark} is asked."


def _gap(recipe: Recipe, wording: str, arms: Arms) -> stats.Estimate | None:
    """The primary gap, both arms asked in the same words; None where one was not."""
    primary = recipe.primary_or_first()
    found = {}
    for pair in recipe.pairs(primary.contrast) if primary else ():
        scores = [arms.get(paraphrases.in_words(arm, wording)) for arm in pair]
        if scores[0] is None or scores[1] is None or not (None in scores[1] or set(scores[0]) & set(scores[1])):
            return None
        found[pair[1]] = stats.gap(stats.paired(scores[0], scores[1]))
    return stats.beats_each(found)[1] if found else None


def _said(e: stats.Estimate) -> str:
    """`+2.1 points (-0.4 to 4.6, 3 seeds, 500 problems)`."""
    interval = e.data or e.checkpoints
    shown = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}, " if interval else ""
    seeds = "1 seed" if e.seeds == 1 else f"{e.seeds} seeds"
    return f"{100 * e.delta:+.1f} points ({shown}{seeds}, {e.problems:,} problems)"
