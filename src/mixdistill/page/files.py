"""The files beside the page: charts as SVG and PNG, every table as CSV, JSON, Markdown and LaTeX. Of
accuracies, outcomes and parts it is one view each: the declared one, where there is one.

The pictures are for papers: light, of a fixed size, with every colour written out, so that any program draws them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mixdistill.page import contents, copies, figures, render, tables

if TYPE_CHECKING:
    from mixdistill.evidence.rows import Evidence
    from mixdistill.types import Gap

SCALE = 2
"""Pixels of a PNG for one of its SVG: 640 become 1,280, enough for a column in print."""


def svgs(evidence: Evidence, declared: Sequence[Gap]) -> dict[str, str]:
    """File name without its ending -> picture. That of the gaps shows the declared ones."""
    picture = evidence.model_copy(update={"gaps": list(declared)})
    found = {"gap": render.flat(render.gap_svg(picture))} if declared else {}
    for charts in (*contents.plots(evidence).values(), copies.copies(evidence)):
        found |= {_named(chart.name): render.flat(render.chart_svg(chart)) for chart in charts}
    for figure in figures.outcome_figures(evidence):
        for panel in figure.panels[:1]:
            found[_named(f"outcomes-{panel.title}")] = render.flat(render.outcomes_svg(panel))
    return found


def beside(evidence: Evidence, declared: Sequence[Gap]) -> Iterator[tuple[str, bytes]]:
    """(path in the folder of the report, content) of every file; needs vl-convert-python for the PNGs."""
    import vl_convert

    for name, svg in svgs(evidence, declared).items():
        yield f"figures/{name}.svg", svg.encode()
        yield f"figures/{name}.png", vl_convert.svg_to_png(svg, scale=SCALE)
    for name, table in contents.tables(evidence).items():
        for ending, written in tables.FORMS.items():
            yield f"tables/{name}.{ending}", written(table).encode()


def _named(name: str) -> str:
    """A name that is a file's on every system."""
    return re.sub(r"[^\w.+-]+", "-", name)
