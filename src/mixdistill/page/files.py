"""The files beside the page: charts as SVG and PNG, every table as CSV, JSON, Markdown and LaTeX. Of
accuracies, outcomes and parts it is one view each: the declared one, where there is one.

The pictures are for papers: light, of a fixed size, with every colour written out, so that any program draws them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixdistill.files import write_atomically
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


def write(folder: Path, evidence: Evidence, declared: Sequence[Gap]) -> None:
    """Every file into the folder of the report; those of an earlier report that are no longer made go away. There are
    many, so what is there already stays: a report that was killed among them goes on. Needs vl-convert-python."""
    made = {*_figures(folder / "figures", evidence, declared), *_tables(folder / "tables", evidence)}
    for path in (*folder.glob("figures/*"), *folder.glob("tables/*")):
        if path not in made:
            path.unlink()


def _figures(folder: Path, evidence: Evidence, declared: Sequence[Gap]) -> Iterator[Path]:
    import vl_convert

    for name, svg in svgs(evidence, declared).items():
        picture, path = folder / f"{name}.png", folder / f"{name}.svg"
        # A PNG is written before its SVG: where that is the same, so is the PNG, and drawing takes longest.
        if not (picture.is_file() and _has(path, svg.encode())):
            write_atomically(picture, vl_convert.svg_to_png(svg, scale=SCALE))
            write_atomically(path, svg.encode())
        yield from (picture, path)


def _tables(folder: Path, evidence: Evidence) -> Iterator[Path]:
    for name, table in contents.tables(evidence).items():
        for ending, written in tables.FORMS.items():
            path, content = folder / f"{name}.{ending}", written(table).encode()
            if not _has(path, content):
                write_atomically(path, content)
            yield path


def _has(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _named(name: str) -> str:
    """A name that is a file's on every system."""
    return re.sub(r"[^\w.+-]+", "-", name)
