"""All the tables and charts of a study, by the name of their files; those with nothing in them are left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from mixdistill.page import charts, details_tables, study_tables
from mixdistill.page.budgets import gap_budgets
from mixdistill.page.figures import gap_readings

if TYPE_CHECKING:
    from mixdistill.evidence.rows import Evidence
    from mixdistill.page.charts import Chart
    from mixdistill.page.tables import Table


def tables(evidence: Evidence) -> dict[str, Table]:
    """In the order of the page."""
    readings = [gaps for primary in (True, False) for gaps in gap_readings(evidence, primary=primary)]
    budgets = [gaps for primary in (True, False) for gaps in gap_budgets(evidence, primary=primary)]
    of = (study_tables, details_tables)
    found = [
        of[1].verdicts(evidence), of[1].costs(evidence), of[0].gaps(evidence), of[1].crossovers(evidence),
        of[1].averages(evidence), of[0].gaps_under(evidence, "reading", readings, "gaps-by-reading"),
        of[0].gaps_under(evidence, "budget", budgets, "gaps-by-budget"), of[0].accuracies(evidence),
        of[0].blends(evidence), of[1].budget_points(evidence), of[1].pass_at(evidence), of[1].paraphrased(evidence),
        of[1].parts(evidence), of[1].finished_gaps(evidence), of[1].undertrained(evidence), of[1].loops(evidence),
        of[0].outcomes(evidence), of[0].read(evidence), of[0].agreement(evidence), of[1].forgotten(evidence),
        of[1].style(evidence), of[1].shifted(evidence), of[1].published(evidence), of[0].dev_gaps(evidence),
        of[0].dev_accuracies(evidence), of[0].confounds(evidence), of[1].looks(evidence), of[0].teachers(evidence),
        of[0].lengths(evidence), of[0].solved(evidence), of[0].arms(evidence),
    ]  # fmt: skip
    return {table.name: table for table in found if table.rows}


class Section(NamedTuple):
    """A part of the page."""

    name: str
    """Of its anchor, and of its template in `sections/`."""
    title: str
    """In the table of contents."""


def sections(
    evidence: Evidence, tables: Mapping[str, Table], charts: Mapping[str, list[Chart]], *, traces: bool
) -> list[Section]:
    """Those that have something to show, in the order of the page. `traces`: whether there is a browser of them."""
    shown = {
        "gap": ("Gap by student", True),
        "size": ("Gap by size", bool(charts["size"])),
        "robust": ("Does it hold?", bool(evidence.gaps)),
        "blend": ("Blends", bool(charts["blend"]) or "blends" in tables),
        "accuracy": ("Accuracy", "accuracies" in tables),
        "budgets": ("Token budgets", "token-budgets" in tables),
        "parts": ("The gap taken apart", not {"parts", "undertrained", "finished-gaps"}.isdisjoint(tables)),
        "outcomes": ("Outcomes", "outcomes" in tables or bool(evidence.scores)),
        "read": ("Readings", bool(evidence.readings)),
        "training": ("Over the training", bool(evidence.dev_points)),
        "forgotten": ("Forgotten", "forgotten" in tables),
        "style": ("Style shift", "style" in tables),
        "published": ("Published numbers", "published" in tables),
        "differed": ("What differed", True),
        "teachers": ("Teachers", True),
        "limits": ("Limits", True),
        "gaps": ("All gaps", "gaps" in tables),
        "looks": ("Looks", "looks" in tables),
        "traces": ("Read the answers", traces),
        "reproduce": ("Make it again", True),
    }
    return [Section(name, title) for name, (title, there) in shown.items() if there]


def plots(evidence: Evidence) -> dict[str, list[Chart]]:
    """By what they show."""
    return {
        "size": charts.size_charts(evidence),
        "blend": charts.blend_charts(evidence),
        "budget": charts.budget_charts(evidence),
    }
