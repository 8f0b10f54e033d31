"""Stage 8: the page, its Markdown, its JSON, the picture and the gaps as a table."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from mixdistill.errors import MissingExtra
from mixdistill.evidence import Evidence
from mixdistill.files import versions, write_atomically
from mixdistill.page import figures, render, wording
from mixdistill.pipeline import STAGES
from mixdistill.recipe import OVER_BASE, Recipe
from mixdistill.recipe import render as render_recipe
from mixdistill.store import MARKER, Store
from mixdistill.types import Gap, content_hash
from mixdistill.units import Done, Unit, plan

VERSION = "5"
SUMMARY = "summary.txt"
HEAD = ("contrast", "student", "at most", "gap", "these checkpoints", "this data", "verdict")


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One: the run. It is made from whatever is there; missing cells are named in it.

    It reads nearly everything, so any other unit's new marker makes it again.
    """
    states = [(u.label, u.identity, s.value) for u, s in plan(recipe, store, "evaluate")]
    return [
        Unit(
            stage="report",
            key=(),
            options={"stage": VERSION, "recipe": content_hash(render_recipe(recipe)), "versions": versions()},
            inputs={"evaluate": content_hash(str(states)), "run folder": _markers(store)},
        )
    ]


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Gather the evidence and write it down in every form. Raises MissingExtra without numpy and scipy."""
    from mixdistill.gather import gather

    for library in ("numpy", "scipy"):
        if find_spec(library) is None:
            raise MissingExtra(library, "report")

    evidence = gather(recipe, store)
    folder = store.folder("report")
    files = {
        "index.html": render.html(evidence),
        "report.md": render.markdown(evidence),
        "report.json": evidence.model_dump_json(indent=2),
        "gap.svg": render.gap_svg(evidence.model_copy(update={"gaps": _for_picture(recipe, evidence)})),
        SUMMARY: summary(evidence),
    }
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
    rows = {name: getattr(evidence, name) for name in ("gaps", "gaps_by_rule", "gaps_by_variant")}
    tables: dict[str, Any] = {name: store.seal(folder, Gap, gaps, name) for name, gaps in rows.items()}
    counts = {"gaps": len(evidence.gaps), "cells": len(evidence.cells), "missing": len(evidence.missing)}
    return Done(counts=counts, tables=tables)


def _markers(store: Store) -> str:
    """Hash of every marker but the report's own."""
    found = [p for stage in ("problems", *STAGES[:-1]) for p in sorted(store.folder(stage).rglob(MARKER))]
    return content_hash(*(part for p in found for part in (str(p.relative_to(store.root)), p.read_text("utf-8"))))


def summary(evidence: Evidence) -> str:
    """The result for a terminal: the verdict, the declared contrasts, how accurate every arm was."""
    contrasts = [g for g in evidence.gaps if not g.name.endswith(OVER_BASE) and g.group == "all"]
    red = [f"{c.student}: {c.text}" if c.student else c.text for c in evidence.confounds if c.severity == "red"]
    parts = ["", render.headline(evidence), "", *_table(HEAD, map(_summary_row, contrasts)), ""]
    parts += [*_readings(evidence), *_accuracies(evidence), ""]
    if evidence.solved and evidence.solved[-1].problems < evidence.solved[0].problems:
        parts += [wording.solved_words(evidence.solved), ""]
    parts += [f"confound: {text}" for text in red]
    parts += [f"missing: {line}" for line in evidence.missing]
    family = sum(g.primary for g in contrasts)
    holm = f" * the declared contrast, of {family} students: Holm's p decides its verdict." if family > 1 else ""
    return "\n".join([*parts, f"Points of accuracy; 95 % intervals.{holm}", ""])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows under a head, in columns; nothing without rows."""
    all_of_them = [head, *rows]
    if len(all_of_them) == 1:
        return []
    widths = [max(len(r[i]) for r in all_of_them) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in all_of_them]


def _readings(evidence: Evidence) -> list[str]:
    """The declared contrast under each reading of the answers, where they find different ones correct."""
    found = [gap for gaps in figures.reading_figure(evidence).panels for gap in gaps.rows]
    if not found:
        return []
    name = {gap.rule: wording.reading_name(evidence, gap.rule) for gap in found}
    rows = [(name[g.rule] + " (counts)" * (g.rule == evidence.rule), g.student, *_summary_row(g)[3:]) for g in found]
    return [*_table(("reading", "student", *HEAD[3:]), rows), "", *wording.readings_words(evidence), ""]


def _accuracies(evidence: Evidence) -> list[str]:
    """A line per student and benchmark, uncapped; and where most answers were cut, that they were."""
    rows = [a for a in evidence.accuracies if a.max_tokens is None and a.group == "all"]
    lines = []
    for student, benchmark in dict.fromkeys((a.student, a.benchmark) for a in rows):
        mine = [f"{a.arm} {100 * a.mean:.1f}" for a in rows if (a.student, a.benchmark) == (student, benchmark)]
        lines.append(f"accuracy of {student} on {benchmark}, %: {', '.join(mine)}")
    whole = [s for s in evidence.scores if s.max_tokens is None and s.group == "all"]
    cut, all_of_them = sum(s.truncated for s in whole), sum(s.examples for s in whole)
    if 2 * cut > all_of_them:
        lines.append(
            f"{cut / all_of_them:.0%} of the answers were cut before one was given; raise evaluate.sampling.max_tokens"
        )
    return lines


def _summary_row(gap: Gap) -> tuple[str, ...]:
    cap = "" if gap.max_tokens is None else f"{gap.max_tokens} tokens"
    return (
        f"{gap.name}{' *' if gap.primary else ''}",
        gap.student,
        cap,
        wording.points(gap.delta),
        "-" if gap.checkpoints is None else f"[{wording.span(gap.checkpoints)}]",
        "-" if gap.data is None else f"[{wording.span(gap.data)}]",
        gap.verdict,
    )


def _for_picture(recipe: Recipe, evidence: Evidence) -> list[Gap]:
    """Declared contrasts over all problems."""
    return [g for g in evidence.gaps if g.name in recipe.contrasts and g.group == "all"]
