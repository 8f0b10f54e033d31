"""Stage 8: the page, its Markdown, its JSON, charts and tables as files, and the students' traces as a table."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from mixdistill.arms import BY, called, of_variant
from mixdistill.errors import MissingExtra
from mixdistill.evidence import looks
from mixdistill.evidence.rows import Evidence
from mixdistill.files import versions, write_atomically
from mixdistill.page import budgets, costs, differences, figures, files, render, training, wording
from mixdistill.page.tables import NONE
from mixdistill.pipeline import STAGES
from mixdistill.recipe import OVER_BASE, Recipe
from mixdistill.recipe import render as render_recipe
from mixdistill.store import MARKER, Store
from mixdistill.types import Gap, content_hash
from mixdistill.units import Done, State, Unit, plan

VERSION = "8"
SUMMARY = "summary.txt"


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
    """Gather the evidence and write it down in every form. Raises MissingExtra without the extra `report`."""
    from mixdistill.evidence import shown
    from mixdistill.evidence.gather import gather

    for library in ("numpy", "scipy", "vl_convert"):
        if find_spec(library) is None:
            raise MissingExtra(library, "report")

    evidence = gather(recipe, store)
    looks.record(store, evidence.details.looks)
    folder, declared = store.folder("report"), _declared(recipe, evidence)
    done = [evaluation for evaluation, state in plan(recipe, store, "evaluate") if state is State.DONE]
    traces, readable = shown.write(recipe, store, folder, done)
    texts = {
        "index.html": render.html(evidence, readable),
        "report.md": render.markdown(evidence),
        "report.json": evidence.model_dump_json(indent=2),
        "gap.svg": render.gap_svg(evidence.model_copy(update={"gaps": declared})),
        SUMMARY: summary(evidence),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    files.write(folder, evidence, declared)
    rows = {name: getattr(evidence, name) for name in ("gaps", "gaps_by_rule", "gaps_by_variant")}
    tables: dict[str, Any] = {name: store.seal(folder, Gap, gaps, name) for name, gaps in rows.items()}
    tables[shown.TABLE] = traces
    counts = {"gaps": len(evidence.gaps), "cells": len(evidence.cells), "missing": len(evidence.missing)}
    return Done(counts=counts, tables=tables)


def _markers(store: Store) -> str:
    """Hash of every marker but the report's own."""
    found = [p for stage in ("problems", *STAGES[:-1]) for p in sorted(store.folder(stage).rglob(MARKER))]
    return content_hash(*(part for p in found for part in (str(p.relative_to(store.root)), p.read_text("utf-8"))))


def summary(evidence: Evidence, width: int = 120) -> str:
    """The result for a terminal of so many columns: the verdict, the declared contrasts, how accurate every arm was."""
    contrasts = [g for g in evidence.gaps if not g.name.endswith(OVER_BASE) and g.group == "all"]
    paragraphs = [
        [render.headline(evidence)],
        _gaps_table(evidence, contrasts, width),
        [*budgets.budgets_words(evidence), *(_under_readings(evidence, width))],
        _accuracies(evidence),
        budgets.blend_words(evidence),
        [wording.solved_words(evidence.solved)] if _fewer(evidence) else [],
        [line] if (line := training.moving_line(evidence)) else [],
        _differences(evidence),
        [f"missing: {line}" for line in evidence.missing],
        [f"next: {step}" for step in evidence.details.next_steps[:1]],
        [f"1,000 answers of {line}" for line in costs.costs_words(evidence)],
        _footnote(evidence, contrasts),
    ]
    return "".join("\n" + "".join(f"{_fit(line, width)}\n" for line in lines) for lines in paragraphs if lines)


def _footnote(evidence: Evidence, gaps: list[Gap]) -> list[str]:
    """What the numbers of the table are, how many of what they are over where all rows agree, and its star; nothing
    without a table."""
    if not gaps:
        return []
    counts = {what: getattr(gaps[0], what) for what in COUNTS if not _differs(gaps, what)}
    alike = [f"{n:,} {what if n != 1 else what[:-1]}" for what, n in counts.items()]
    family = sum(g.primary for g in gaps)
    holm = f", of {family} students: Holm's p decides its verdict" if family > 1 else ""
    star = f"* the declared contrast{holm}; no star: exploratory."
    if not family:
        lost = "Nothing was declared" if evidence.primary is None else "The declared contrast was not measured"
        star = f"{lost}: exploratory."
    return [f"{', '.join(['Points of accuracy', *alike])}; 95 % intervals. {star}"]


COUNTS = ("seeds", "problems")


def _differs(gaps: list[Gap], what: str) -> bool:
    return len({getattr(g, what) for g in gaps}) > 1


def _fit(line: str, width: int) -> str:
    """A line of prose in as many lines as it needs; one of a table stands as it is."""
    if len(line) <= width:
        return line
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _fewer(evidence: Evidence) -> bool:
    """Whether some teacher did not solve all problems."""
    return bool(evidence.solved) and evidence.solved[-1].problems < evidence.solved[0].problems


def _gaps_table(evidence: Evidence, gaps: list[Gap], width: int) -> list[str]:
    """A row per gap, with the same gap under every other budget; columns that say the same throughout are left out."""
    others = {(g.variant, wording.gap_key(g)): wording.points(g.delta) for g in evidence.gaps_by_variant}
    columns: list[tuple[str, Callable[[Gap], str]]] = [
        ("contrast", lambda g: f"{g.name}{' *' if g.primary else ''}"),
        ("student", lambda g: g.student),
        *([("benchmark", lambda g: g.benchmark)] if len({g.benchmark for g in gaps}) > 1 else []),
        *([("at most", _cap)] if any(g.max_tokens for g in gaps) else []),
        ("gap", lambda g: wording.points(g.delta)),
        *((BY[v], lambda g, v=v: others.get((v, wording.gap_key(g)), "-")) for v in evidence.variants),
        *((what, lambda g, w=what: f"{getattr(g, w):,}") for what in COUNTS if _differs(gaps, what)),
        ("verdict", lambda g: wording.verdict_word(g)),
    ]
    rows = [tuple(of(g) for _, of in columns) for g in gaps]
    return _table(tuple(name for name, _ in columns), rows, [_intervals(g) for g in gaps], width)


def _cap(gap: Gap) -> str:
    return "" if gap.max_tokens is None else f"{gap.max_tokens} tokens"


def _intervals(gap: Gap) -> tuple[str, str]:
    """Both intervals of a gap."""
    checkpoints, data = ("-" if i is None else f"[{wording.span(i)}]" for i in (gap.checkpoints, gap.data))
    return checkpoints, data


def _table(
    head: tuple[str, ...], rows: list[tuple[str, ...]], intervals: list[tuple[str, str]], width: int
) -> list[str]:
    """Rows under a head, in columns, the last of them behind both intervals; nothing without rows. Where that is too
    wide, the intervals of a row stand below it."""
    if not rows:
        return []
    wide = [(*row[:-1], *both, row[-1]) for row, both in zip(rows, intervals, strict=True)]
    lines = _aligned([(*head[:-1], "these checkpoints", "this data", head[-1]), *wide])
    if max(map(len, lines)) <= width:
        return lines
    lines = _aligned([head, *rows])
    verdicts = [f"    {row[-1]}" for row in rows] if max(map(len, lines)) > width else []
    first, *others = _aligned([head[:-1], *(row[:-1] for row in rows)]) if verdicts else lines
    below = [f"    these checkpoints {a}, this data {b}" for a, b in intervals]
    stacked = zip(others, verdicts, below, strict=True) if verdicts else zip(others, below, strict=True)
    return [first, *(line for row in stacked for line in row)]


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows]


def _under_readings(evidence: Evidence, width: int) -> list[str]:
    """The declared contrast under each reading of the answers, where they find different ones correct."""
    found = [gap for gaps in figures.reading_figure(evidence).panels for gap in gaps.rows]
    if not found:
        return []
    name = {gap.rule: wording.reading_name(evidence, gap.rule) for gap in found}
    rows: list[tuple[str, ...]] = [
        (name[g.rule] + " (counts)" * (g.rule == evidence.rule), g.student, wording.points(g.delta), g.verdict)
        for g in found
    ]
    table = _table(("reading", "student", "gap", "verdict"), rows, [_intervals(g) for g in found], width)
    return [*table, *wording.readings_words(evidence)]


def _accuracies(evidence: Evidence) -> list[str]:
    """A line per student and benchmark, uncapped; and where most answers were cut, that they were."""
    rows = [a for a in evidence.accuracies if a.max_tokens is None and a.group == "all"]
    lines = []
    for student, benchmark in dict.fromkeys((a.student, a.benchmark) for a in rows):
        mine = [a for a in rows if (a.student, a.benchmark) == (student, benchmark)]
        for variant in dict.fromkeys(called(a.arm).variant for a in mine):
            by = f", {BY[variant]}" if variant else ""
            said = [f"{of_variant(a.arm, '')} {100 * a.mean:.1f}" for a in mine if called(a.arm).variant == variant]
            lines.append(f"accuracy of {student} on {benchmark}{by}, %: {', '.join(said)}")
    seeds = wording.between(len(a.seeds) for a in rows if a.seeds)
    if lines and seeds != NONE:
        lines.append(
            f"  means over {seeds} seed{'s' * (seeds != '1')}, {wording.between(a.problems for a in rows)} problems; "
            "intervals on the page"
        )
    whole = [s for s in evidence.scores if s.max_tokens is None and s.group == "all"]
    cut, all_of_them = sum(s.truncated for s in whole), sum(s.examples for s in whole)
    if 2 * cut > all_of_them:
        lines.append(
            f"{cut / all_of_them:.0%} of the answers were cut before one was given; raise evaluate.sampling.max_tokens"
        )
    return lines


def _differences(evidence: Evidence) -> list[str]:
    """How much differed besides the data: red confounds one by one, the others as a count; then the alarms."""
    findings = [c for c in differences.findings(evidence) if c.severity == "red"]
    red = dict.fromkeys(f"{c.student}: {c.text}" if c.student else c.text for c in findings)
    return [
        f"confounds: {differences.confounds_count(evidence)}",
        *(f"confound: {text}" for text in red),
        *(f"undertrained{' (red)' if a.severity == 'red' else ''}: {a.who}" for a in differences.alarms(evidence)),
    ]


def _declared(recipe: Recipe, evidence: Evidence) -> list[Gap]:
    """Declared contrasts over all problems."""
    return [g for g in evidence.gaps if g.name in recipe.contrasts and g.group == "all"]
