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

from mixdistill.page import browser, budgets, differences, figures, training, wording
from mixdistill.page.wording import headline

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from mixdistill.evidence.rows import Evidence
    from mixdistill.evidence.shown import Shown

__all__ = ["gap_svg", "headline", "html", "markdown"]

PAGE = Path(__file__).parent
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
    modules = (wording, budgets, differences, figures, training)
    words: dict[str, Any] = {name: getattr(module, name) for module in modules for name in module.__all__}
    environment.globals.update(words)
    environment.filters["spoken"] = budgets.spoken
    return environment


class _Block(str):
    """Text that goes into Markdown as it is."""


def _plain(value: object) -> str:
    """A value as inline Markdown that means itself: no markup, no HTML, one line."""
    if isinstance(value, _Block):
        return str(value)
    text = " ".join(str(value).splitlines())
    for mark in "\\`*[]|":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fenced(text: str, language: str) -> _Block:
    """A code block whose fence is longer than any run of backticks in the text."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return _Block(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def html(evidence: Evidence, shown: Shown | None = None) -> str:
    """The whole page in one file, under 4 MB and without a request to anywhere; with the traces that still fit."""
    from markupsafe import Markup

    style, policy, place = _read("page.css"), Markup(""), Markup("")
    shown = shown if shown and shown.problems else None
    if shown:
        style, policy, place = style + _read("browser.css"), Markup(browser.policy()), Markup(BROWSER)
    template = _environment("markup").get_template("template.html.j2")
    page = template.render(evidence=evidence, style=style, policy=policy, browser=place)
    if not shown:
        return page
    return page.replace(BROWSER, _browser(shown, browser.PAGE_BYTES - len(page.encode())), 1)


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
    return template.render(
        evidence=evidence,
        command=_fenced(evidence.command, "sh"),
        recipe=_fenced(evidence.recipe, "yaml"),
    )


def gap_svg(evidence: Evidence) -> str:
    """The gap by student as one SVG file, light or dark as its viewer prefers."""
    template = _environment("markup").get_template("gap.svg.j2")
    return template.render(evidence=evidence, lines=textwrap.wrap(headline(evidence), 78))
