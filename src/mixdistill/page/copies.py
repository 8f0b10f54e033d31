"""For papers, the charts that the page draws in rows of its own: accuracy by arm, the parts of a gap, the gap over the
training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixdistill.arms import spoken
from mixdistill.page.charts import UNTUNED, Chart, Mark, Reference, Series, Tick, gap_ticks, place, share_ticks, spread
from mixdistill.page.figures import Panel, accuracy_figures, part_figures
from mixdistill.page.training import curve_figures, progress_word
from mixdistill.page.wording import cap, pct, pct_span, points, span

if TYPE_CHECKING:
    from mixdistill.evidence.rows import Evidence
    from mixdistill.page.training import CurveFigure


def copies(evidence: Evidence) -> list[Chart]:
    """Of the primary contrast, or of the first view there is."""
    return [
        *(_accuracy(panel) for figure in accuracy_figures(evidence) for panel in _primary(evidence, figure.panels)),
        *(_parts(figure.title, panel) for figure in part_figures(evidence) for panel in figure.panels),
        *map(_training, curve_figures(evidence)[:1]),
    ]


def _primary(evidence: Evidence, panels: Sequence[Panel]) -> list[Panel]:
    """The panel of the declared view; without one, the first."""
    wanted = evidence.primary
    found = [p for p in panels if wanted and (p.benchmark, p.max_tokens) == (wanted.benchmark, wanted.max_tokens)]
    return (found or list(panels))[:1]


def _columns(count: int) -> list[float]:
    """Places of so many columns beside each other."""
    return [round(100 * (i + 0.5) / count, 3) for i in range(count)]


def _accuracy(panel: Panel) -> Chart:
    """A column per arm of one student."""
    at, axis = _columns(len(panel.rows)), panel.axis
    base = panel.reference
    marks = [
        Mark(
            x, place(axis, row.mean), spread(axis, row.data), spread(axis, row.checkpoints),
            f"{row.arm} {pct(row.mean)} correct, this data {pct_span(row.data)}, these checkpoints "
            f"{pct_span(row.checkpoints)}",
        )
        for x, row in zip(at, panel.rows, strict=True)
    ]  # fmt: skip
    return Chart(
        name=f"accuracy-{panel.title}",
        title=f"Accuracy of {panel.title} by arm",
        subtitle=f"{panel.benchmark}, {cap(panel.max_tokens)}",
        x_title="",
        y_title="correct, %",
        x_ticks=[Tick(x, spoken(row.arm)) for x, row in zip(at, panel.rows, strict=True)],
        y_ticks=share_ticks(axis),
        series=[Series(panel.title, 0, marks)],
        references=[Reference(place(axis, base.mean), f"{base.arm}, untuned {pct(base.mean)}")] if base else [],
    )


def _parts(contrast: str, panel: Panel) -> Chart:
    """A column per part of the gap of one student."""
    at, axis, first = _columns(len(panel.rows)), panel.axis, panel.rows[0]
    marks = [
        Mark(
            x, place(axis, part.delta), spread(axis, part.data), spread(axis, part.checkpoints),
            f"{part.part} {points(part.delta)} points, this data {span(part.data)}, these checkpoints "
            f"{span(part.checkpoints)}",
        )
        for x, part in zip(at, panel.rows, strict=True)
    ]  # fmt: skip
    return Chart(
        name=f"parts-{panel.title}-{contrast}",
        title=f"{contrast} of {panel.title} taken apart",
        subtitle=f"{panel.benchmark}, {cap(panel.max_tokens)}",
        x_title="the parts add up to the gap",
        y_title=f"part of accuracy of {first.arms[0]} minus {first.arms[1]}, points",
        x_ticks=[Tick(x, part.part) for x, part in zip(at, panel.rows, strict=True)],
        y_ticks=gap_ticks(axis),
        series=[Series(panel.title, 0, marks)],
        references=[],
        zero=place(axis, 0),
    )


def _training(figure: CurveFigure) -> Chart:
    """A curve per student, over the share of the updates that were done."""
    axis = figure.curves[0].axis
    series = [
        Series(
            curve.student,
            i % UNTUNED,
            [
                Mark(
                    curve.x(gap), place(axis, gap.delta), spread(axis, gap.data), spread(axis, gap.checkpoints),
                    f"{progress_word(gap.progress)} {points(gap.delta)} points ({span(gap.data or gap.checkpoints)})",
                )
                for gap in curve.gaps
            ],
        )
        for i, curve in enumerate(figure.curves)
    ]  # fmt: skip
    places = sorted({gap.progress for curve in figure.curves for gap in curve.gaps})
    return Chart(
        name=f"training-{figure.title}",
        title=f"{figure.title} over the training",
        subtitle="on dev, which choices are made on: no result",
        x_title="share of the updates, %",
        y_title="gap, points",
        x_ticks=[Tick(round(100 * p, 3), f"{100 * p:.0f}") for p in places],
        y_ticks=gap_ticks(axis),
        series=series,
        references=[],
        joined=True,
        zero=place(axis, 0),
    )
