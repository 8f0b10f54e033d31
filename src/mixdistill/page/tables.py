"""One kind of table, and the forms it is written in: text for the page, Markdown, CSV, JSON and LaTeX.

A table holds values as they were measured. Each column knows how its values read; CSV and JSON keep the values.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mixdistill.page.wording import MINUS, cap, number, pct, pct_span, points, shares, span
from mixdistill.types import Interval

NONE = "\N{EN DASH}"


class Kind(NamedTuple):
    """What the values of a column are."""

    name: str
    text: Callable[[Any], str]
    """A value that is there, as it is read."""
    words: bool = False
    """Whether it is read from the left."""


WORDS = Kind("words", str, words=True)
CAP = Kind("cap", lambda value: cap(value).removeprefix("capped at "))
"""A token cap; None is one of its values: the generation's own limit."""
COUNT = Kind("count", lambda value: number(value))
"""How many there are: needs no interval."""
NUMBER = Kind("number", lambda value: number(value))
"""A measured mean, such as of tokens."""
P = Kind("p", lambda value: "<0.001" if value < 0.0005 else f"{value:.3f}")
"""A p: speaks of other numbers and has no interval."""
DF = Kind("df", lambda value: f"{value:,.1f}")
"""Degrees of freedom, likewise."""
DETECTABLE = Kind("detectable", lambda value: f"{100 * value:.1f}")
"""A difference that could have been found, in points."""
SHARE = Kind("share", pct)
"""A measured share, 0..1."""
POINTS = Kind("points", points)
"""A measured difference of shares, in 0..1, shown in points."""
NUMBER_SPAN = Kind("number_span", lambda i: f"{number(round(i.low, 1))}\N{EN DASH}{number(round(i.high, 1))}")
SHARE_SPAN = Kind("share_span", pct_span)
POINTS_SPAN = Kind("points_span", span)
HUNDREDTHS = Kind("hundredths", lambda value: f"{100 * value:.1f}".replace("-", MINUS))
"""A share or a difference in 0..1 as publications print them: 45.8."""
HUNDREDTHS_SPAN = Kind("hundredths_span", lambda i: f"{HUNDREDTHS.text(i.low)} to {HUNDREDTHS.text(i.high)}")
PRINTED = Kind("printed", HUNDREDTHS.text)
"""The same as somebody printed it: has no interval."""
THEN = Kind("then", points)
"""A difference as it stood before, of which no interval was kept."""
PARTS = Kind("parts", shares, words=True)
"""Parts of a whole by name, given beforehand and not measured."""

SPANS = {SHARE: SHARE_SPAN, POINTS: POINTS_SPAN, NUMBER: NUMBER_SPAN, HUNDREDTHS: HUNDREDTHS_SPAN}
"""What is measured -> what its interval is; it stands to the right of it."""


class Column(NamedTuple):
    """One column, and where its values come from."""

    title: str
    kind: Kind
    of: Callable[[Any], Any]
    """Row -> value; None where there is none."""


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    name: str
    """Of its files."""
    title: str
    """What it shows, in one sentence."""
    columns: tuple[Column, ...]
    rows: tuple[Any, ...]
    """What the columns read."""
    heads: int = 1
    """So many columns at the left say what a row is about."""

    @property
    def titles(self) -> list[str]:
        return [column.title for column in self.columns]

    @property
    def values(self) -> list[list[Any]]:
        """Row by row, as measured."""
        return [[column.of(row) for column in self.columns] for row in self.rows]

    @property
    def texts(self) -> list[list[str]]:
        """Row by row, as read."""
        kinds = [column.kind for column in self.columns]
        return [[_text(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in self.values]

    def where(self, keep: Callable[[Any], bool]) -> Table:
        """The same with some of its rows."""
        return Table(self.name, self.title, self.columns, tuple(row for row in self.rows if keep(row)), self.heads)


def _text(kind: Kind, value: Any) -> str:
    return NONE if value is None and kind is not CAP else kind.text(value)


def table(name: str, title: str, rows: Iterable[Any], *columns: Column, heads: int = 1) -> Table:
    """A table of any rows; a column in which no row has a value is left out, an interval only with its number."""
    rows, there = tuple(rows), []
    for column in columns:
        of_last = bool(there) and SPANS.get(there[-1].kind) == column.kind
        if of_last or column.kind is CAP or any(column.of(row) not in (None, "") for row in rows):
            there.append(column)
    return Table(name, title, tuple(there), rows, heads)


def plain(value: object) -> str:
    """A value as inline Markdown that means itself: no markup, no HTML, one line."""
    text = " ".join(str(value).splitlines())
    for mark in "\\`*[]|~$":
        text = text.replace(mark, f"\\{mark}")
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Inside of a word an underscore is one, and `a@b` names nobody.
    return re.sub(r"(?<!\w)@(?=\w)", "@<!-- -->", re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text))


def markdown(table: Table) -> str:
    """GitHub's Markdown, without the title."""
    lines = [table.titles, ["---" if c.kind.words else "--:" for c in table.columns]]
    lines += [[plain(cell) for cell in row] for row in table.texts]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def csv_text(table: Table) -> str:
    """Comma-separated values as measured; an interval is two columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([title for c in table.columns for title in _csv_titles(c)])
    for row in table.values:
        cells = (_csv_cells(c, value) for c, value in zip(table.columns, row, strict=True))
        writer.writerow([cell for each in cells for cell in each])
    return out.getvalue()


def _csv_titles(column: Column) -> list[str]:
    if column.kind in SPANS.values():
        return [f"{column.title} low", f"{column.title} high"]
    return [column.title]


def _csv_cells(column: Column, value: Any) -> list[Any]:
    if column.kind in SPANS.values():
        return [value.low, value.high] if value else ["", ""]
    if isinstance(value, dict):
        return [column.kind.text(value)]
    return ["" if value is None else _no_formula(value) if column.kind is WORDS else value]


def _no_formula(text: str) -> str:
    """Words that a spreadsheet takes for words: names and tokens come from models and data."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def json_text(table: Table) -> str:
    """The title, and a row as an object of its values; an interval is an object of low and high."""
    rows = [dict(zip(table.titles, map(_jsonable, row), strict=True)) for row in table.values]
    return json.dumps({"title": table.title, "rows": rows}, indent=1, ensure_ascii=False) + "\n"


def _jsonable(value: Any) -> Any:
    return value.model_dump() if isinstance(value, Interval) else value


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--", "\N{NO-BREAK SPACE}": "~",
    "\N{BLACK CIRCLE}": r"$\bullet$", "\N{BLACK UP-POINTING TRIANGLE}": r"$\triangle$",
}  # fmt: skip
CONTROL = re.compile("[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


def latex_escaped(text: str) -> str:
    """Text that LaTeX sets as it stands; marks that steer a line or its direction are left out."""
    return "".join(LATEX.get(mark, mark) for mark in CONTROL.sub(" ", text))


def latex(table: Table) -> str:
    """A `table` with its caption, ruled by the package booktabs."""
    align = "".join("l" if c.kind.words or i < table.heads else "r" for i, c in enumerate(table.columns))
    lines = [_latex_row(table.titles), r"\midrule", *(_latex_row(row) for row in table.texts)]
    body = "\n".join([rf"\begin{{tabular}}{{{align}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])
    caption = rf"\caption{{{latex_escaped(table.title)}}}"
    return (
        "% \\usepackage{booktabs}\n\\begin{table}\n\\centering\n\\small\n"
        f"{caption}\n{body}\n\\end{{table}}\n"
    )  # fmt: skip


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_escaped, cells)) + r" \\"


FORMS: dict[str, Callable[[Table], str]] = {"csv": csv_text, "json": json_text, "md": markdown, "tex": latex}
"""Ending of a file -> how a table is written in it."""
