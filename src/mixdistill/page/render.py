"""Draw an `Evidence`: one sentence, Markdown, one self-contained HTML page, one SVG.

Every function here is pure. The templates in `page/` only place what `wording` and `figures` give. Text that
came from a recipe, a model or a file is escaped wherever it is put.
"""

from __future__ import annotations

import re
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixdistill.page import (
    anatomy,
    browser,
    budgets,
    charts,
    contents,
    costs,
    differences,
    figures,
    headlines,
    measured,
    tables,
    training,
    wording,
)
from mixdistill.page.headlines import headline
from mixdistill.page.tables import Table, plain

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from mixdistill.evidence.rows import Evidence
    from mixdistill.evidence.shown import Shown
    from mixdistill.page.charts import Chart
    from mixdistill.page.figures import Panel

__all__ = ["chart_svg", "flat", "gap_svg", "headline", "html", "markdown", "outcomes_svg"]

PAGE = Path(__file__).parent
MOST_ROWS = 100
"""Of a table on the page, which has to stay under 4 MB; the files beside it hold all of them."""
BROWSER = "<!-- traces -->"
"""Where the trace browser is put, once it is known how large the rest of the page is."""


@cache
def _environment(kind: Literal["markup", "markdown"]) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=kind == "markup",
        finalize=_plain if kind == "markdown" else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    modules = (wording, headlines, measured, budgets, differences, figures, training, costs, charts)
    words: dict[str, Any] = {name: getattr(module, name) for module in modules for name in module.__all__}
    words["anatomy_words"], words["MOST_ROWS"] = anatomy.anatomy_words, MOST_ROWS
    environment.globals.update(words)
    environment.filters["spoken"] = budgets.spoken
    return environment


class _Block(str):
    """Text that goes into Markdown as it is."""


def _plain(value: object) -> str:
    """A value as inline Markdown that means itself; blocks stand as they are."""
    return str(value) if isinstance(value, _Block) else plain(value)


def _fenced(text: str, language: str) -> _Block:
    """A code block whose fence is longer than any run of backticks in the text."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return _Block(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def html(evidence: Evidence, shown: Shown | None = None) -> str:
    """The whole page in one file, under 4 MB and without a request to anywhere; with the traces that still fit."""
    from markupsafe import Markup

    shown = shown if shown and shown.problems else None
    names = ("page.css", "chart.css", *(("browser.css",) if shown else ()))
    template = _environment("markup").get_template("template.html.j2")
    page = template.render(
        style=Markup("").join(map(_read, names)),
        policy=Markup(browser.policy()) if shown else "",
        browser=Markup(BROWSER) if shown else "",
        **_shown(evidence, traces=shown is not None),
    )
    if not shown:
        return page
    return page.replace(BROWSER, _browser(shown, browser.PAGE_BYTES - len(page.encode())), 1)


class _Named(dict[str, Any]):
    """What is not there is None, so that a template may ask."""

    def __missing__(self, name: str) -> None:
        return None


def _shown(evidence: Evidence, *, traces: bool = False) -> dict[str, Any]:
    """What templates are given. `traces`: whether there is a browser of them."""
    found, charts = contents.tables(evidence), contents.plots(evidence)
    sections = contents.sections(evidence, found, charts, traces=traces)
    return {"evidence": evidence, "tables": _Named(found), "charts": charts, "sections": sections}


def _browser(shown: Shown, room: int) -> str:
    """The section with the traces, in at most `room` bytes."""
    from markupsafe import Markup

    template = _environment("markup").get_template("browser.html.j2")
    script = Markup(browser.script())  # ours
    frame = template.render(shown=shown, packed=browser.Packed("", shown.problems), script=script)
    packed = browser.pack(shown, max(room - len(frame.encode()), 0))
    return template.render(shown=shown, packed=packed, script=script)


def _read(name: str) -> Markup:
    """A file of ours, which is no text of the evidence."""
    from markupsafe import Markup

    return Markup((PAGE / name).read_text("utf-8"))


def markdown(evidence: Evidence) -> str:
    """The same in GitHub's Markdown: tables for figures."""
    template = _environment("markdown").get_template("report.md.j2")
    text = template.render(
        **_shown(evidence),
        shown=_section,
        with_code=_with_code,
        command=_fenced(evidence.command, "sh"),
        recipe=_fenced(evidence.recipe, "yaml"),
    )
    head, again, rest = text.partition("\n## Make it again\n")
    return re.sub("\n{3,}", "\n\n", head) + again + rest


def _section(table: Table | None, title: str = "") -> _Block:
    """A table below its heading and what it shows; nothing where it is not there."""
    if table is None:
        return _Block("")
    head = f"## {title}\n\n" if title else ""
    return _Block(f"{head}{plain(table.title)}.\n\n{tables.markdown(table)}\n")


def _with_code(text: str) -> _Block:
    """Text in which what stands between backticks is code."""
    parts = text.split("`")
    return _Block("".join(f"`{' '.join(part.split())}`" if i % 2 else plain(part) for i, part in enumerate(parts)))


def gap_svg(evidence: Evidence) -> str:
    """The gap by student as one SVG file, light or dark as its viewer prefers."""
    template = _environment("markup").get_template("gap.svg.j2")
    return template.render(evidence=evidence, lines=textwrap.wrap(headline(evidence), 78))


def chart_svg(chart: Chart) -> str:
    """One chart as an SVG of its own, its colours by name; see `flat`."""
    return _environment("markup").get_template("chart.svg.j2").render(chart=chart, style=_read("chart.css"))


def outcomes_svg(panel: Panel) -> str:
    """How the answers of one student's arms ended, likewise."""
    return _environment("markup").get_template("outcomes.svg.j2").render(panel=panel, style=_read("chart.css"))


@cache
def _light() -> dict[str, str]:
    """The colours of the light page by name."""
    root = (PAGE / "page.css").read_text("utf-8").partition("}")[0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", root))


def flat(svg: str) -> str:
    """A picture with every colour written out, in light: programs that draw for print know neither names of colours
    nor what their reader prefers."""
    head, style, rest = re.split(r"(<style>.*?</style>)", svg, maxsplit=1, flags=re.DOTALL)
    style = re.sub(r"(?m)^(:root|@media).*\n", "", style)
    return head + re.sub(r"var\(--([\w-]+)\)", lambda found: _light()[found[1]], style) + rest
