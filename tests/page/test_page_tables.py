"""Every table says what its numbers are over and how sure they are, and means the same in every form."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from mixdistill.page import contents, render, tables
from mixdistill.page.tables import COUNT, DF, POINTS, POINTS_SPAN, SHARE, WORDS, Column, P, Table, table
from mixdistill.types import Interval
from study import changed, full

MEASURED = re.compile(r"\d+\.\d\N{NO-BREAK SPACE}%|[+\N{MINUS SIGN}]\d+\.\d")
"""A share or a signed difference that stands alone in a cell."""
SPAN = re.compile(r"\S+ to \S+|[\d,.]+\N{EN DASH}[\d,.]+|\N{EN DASH}|not available")
N = {"problems", "answers", "traces", "sizes", "of these audited", "n"}
"""Columns that say what a number is over."""
PRINTED = {"published", "gap then"}
"""Numbers as they were printed elsewhere, or stood before."""
TABLES = contents.tables(full())


class Cells(HTMLParser):
    """The tables of a page: (class, rows of the texts of cells)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[list[str]]]] = []
        self.open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.found.append((dict(attrs).get("class") or "", []))
        elif tag == "tr":
            self.found[-1][1].append([])
        elif tag in ("td", "th"):
            self.found[-1][1][-1].append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.open = False

    def handle_data(self, data: str) -> None:
        if self.open:
            self.found[-1][1][-1][-1] += data


def assert_sure(rows: list[list[str]]) -> int:
    """Every cell with a share or difference has its interval to the right, and the table has an n. Returns how many."""
    head, *body = rows
    found = 0
    for row in body:
        for i, cell in enumerate(row):
            if MEASURED.fullmatch(cell) and head[i] not in PRINTED:
                found += 1
                assert SPAN.fullmatch(row[i + 1]), f"{head[i]} of {row}"
    assert not found or N & set(head), head
    return found


def test_every_number_on_the_page_stands_beside_its_interval_and_its_n() -> None:
    cells = Cells()
    cells.feed(render.html(full()))
    drawn = [rows for kind, rows in cells.found if kind == "drawn"]
    assert {kind for kind, _ in cells.found} == {"drawn", "compared"}, "confound tables alone hold what was not sampled"
    assert len(drawn) == len(TABLES) - 2, (
        "all but the verdicts, which are the head, and the rows of the confound tables"
    )
    assert sum(map(assert_sure, drawn)) > 100


def test_every_number_in_the_markdown_stands_beside_its_interval_and_its_n() -> None:
    found = 0
    for block in re.findall(r"(?m)(?:^\|.*\n)+", render.markdown(full())):
        rows = [line.strip("|\n").strip().split(" | ") for line in block.splitlines() if "---" not in line]
        found += 0 if rows[0][-1] == "why" else assert_sure(rows)
    assert found > 100


@pytest.mark.parametrize("name", TABLES)
def test_measured_columns_are_followed_by_intervals_of_their_own_kind(name: str) -> None:
    columns = TABLES[name].columns
    for column, following in zip(columns, [*columns[1:], None], strict=True):
        if column.kind in tables.SPANS:
            assert following is not None and following.kind == tables.SPANS[column.kind], column.title
            assert N & {c.title for c in columns}, "what it is over"


WHICH = ("this data", "these checkpoints", "problems resampled", "traces resampled")
"""What an interval is of."""


@pytest.mark.parametrize("name", TABLES)
def test_every_interval_is_named_by_its_column_or_by_the_title(name: str) -> None:
    found = TABLES[name]
    spans = [c.title for c in found.columns if c.kind in tables.SPANS.values()]
    by_title = any(which in found.title for which in WHICH)
    assert all(title in WHICH or by_title for title in spans), spans


def test_of_a_published_number_both_measured_intervals_stand_in_columns_of_their_own() -> None:
    found = TABLES["published"]
    assert found.titles == ["number", "from", "published", "measured", "this data", "these checkpoints", "n"]
    assert found.texts == [
        ["long_cot_gap of Qwen2.5-3B", "Table 1", "−1.7", "1.2", "−1.8 to 4.2", "0.2 to 2.2", "5 seeds, 1,319 problems"]
    ]


@pytest.mark.parametrize("name", TABLES)
def test_titles_of_columns_are_told_apart(name: str) -> None:
    titles = TABLES[name].titles
    assert len(set(titles)) == len(titles)


def example(*names: str) -> Table:
    """A row per name, each with a share, its interval, and a count."""
    return table(
        "t", "Shares & more",
        names,
        Column("name", WORDS, lambda n: n),
        Column("gap", POINTS, lambda n: -0.125),
        Column("gap: interval", POINTS_SPAN, lambda n: Interval(low=-0.2, high=0.05)),
        Column("problems", COUNT, lambda n: 1_319),
        Column("empty", SHARE, lambda n: None),
    )  # fmt: skip


def test_markdown_is_a_table_whose_cells_mean_themselves() -> None:
    assert tables.markdown(example("a|b", "<i>")) == (
        "| name | gap | gap: interval | problems |\n"
        "| --- | --: | --: | --: |\n"
        "| a\\|b | −12.5 | −20.0 to +5.0 | 1,319 |\n"
        "| &lt;i&gt; | −12.5 | −20.0 to +5.0 | 1,319 |\n"
    )


def test_markdown_marks_of_names_from_models_and_data_stay_words() -> None:
    said = {
        "_a_ ~~b~~ $c$": "\\_a\\_ \\~\\~b\\~\\~ \\$c\\$",
        "__init__ and a__b": "\\_\\_init\\_\\_ and a\\_\\_b",
        "ask @someone": "ask @<!-- -->someone",
        "long_cot_gap of mix@loss_tokens": "long_cot_gap of mix@loss_tokens",
    }
    assert {text: tables.plain(text) for text in said} == said


def test_csv_gives_a_spreadsheet_no_formula_and_numbers_their_sign() -> None:
    rows = list(csv.reader(io.StringIO(tables.csv_text(example("=1+1", "+a", "-a", "@a", "a=b")))))
    assert [row[0] for row in rows[1:]] == ["'=1+1", "'+a", "'-a", "'@a", "a=b"]
    assert rows[1][1:3] == ["-0.125", "-0.2"]


def test_csv_keeps_what_was_measured_and_both_ends_of_an_interval() -> None:
    rows = list(csv.reader(io.StringIO(tables.csv_text(example('a,"b"\n')))))
    assert rows == [
        ["name", "gap", "gap: interval low", "gap: interval high", "problems"],
        ['a,"b"\n', "-0.125", "-0.2", "0.05", "1319"],
    ]


def test_json_keeps_what_was_measured() -> None:
    assert json.loads(tables.json_text(example("é"))) == {
        "title": "Shares & more",
        "rows": [
            {"name": "é", "gap": -0.125, "gap: interval": {"low": -0.2, "high": 0.05}, "problems": 1319},
        ],
    }


SPECIAL = re.compile(r"(?<!\\)[&%$#_{}~^]")


def read_latex(text: str) -> list[list[str]]:
    """Cells of the one tabular of a text, as strictly as LaTeX would: columns as declared, groups closed, nothing
    special that is not escaped."""
    body = text.partition(r"\begin{tabular}")[2].partition(r"\end{tabular}")[0]
    columns = len(re.match(r"\{([lr]+)\}", body)[1])  # ty: ignore[not-subscriptable]
    lines = [line for line in body.splitlines()[1:] if line and line not in (r"\toprule", r"\midrule", r"\bottomrule")]
    rows = [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in lines]
    assert all(line.endswith(r" \\") for line in lines) and {len(row) for row in rows} == {columns}
    for cell in (cell for row in rows for cell in row):
        bare = cell.replace("$-$", "").replace(r"$\bullet$", "").replace(r"$\triangle$", "").replace("~", "")
        bare = re.sub(r"\\text[a-z]+\{\}", "", bare)
        assert not SPECIAL.search(bare) and "\n" not in cell, cell
        assert not re.search(r"\\(?![&%$#_{}])", bare), cell
    return rows


def test_latex_sets_every_mark_of_a_hostile_name_as_text() -> None:
    rows = read_latex(tables.latex(example("a_b & 50 % of $x$ {~^#} \\end{tabular} <|>", "q\n\u202eb")))
    assert rows[1][0] == (
        r"a\_b \& 50 \% of \$x\$ \{\textasciitilde{}\textasciicircum{}\#\} \textbackslash{}end\{tabular\} "
        r"\textless{}\textbar{}\textgreater{}"
    )
    assert rows[2][0] == "q b"
    assert rows[1][1:] == ["$-$12.5", "$-$20.0 to +5.0", "1,319"]


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_sound_latex_with_as_many_rows(name: str) -> None:
    text = tables.latex(TABLES[name])
    assert len(read_latex(text)) == len(TABLES[name].rows) + 1
    assert [text.count(mark) for mark in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def test_a_p_near_zero_reads_as_below_a_thousandth_and_keeps_its_number_in_csv_and_json() -> None:
    found = table(
        "t", "p", (4.9e-4, 5e-4, 0.021, 1.0), Column("p", P, lambda p: p), Column("df", DF, lambda p: 39 * p)
    )  # fmt: skip
    assert found.texts == [["<0.001", "0.0"], ["0.001", "0.0"], ["0.021", "0.8"], ["1.000", "39.0"]]
    assert "| &lt;0.001 | 0.0 |" in tables.markdown(found)
    assert read_latex(tables.latex(found))[1] == [r"\textless{}0.001", "0.0"]
    assert tables.csv_text(found).splitlines()[1].startswith("0.00049,")
    assert json.loads(tables.json_text(found))["rows"][0]["p"] == 4.9e-4


def test_gap_of_an_earlier_look_has_its_sign() -> None:
    (look,) = full().details.looks
    for delta, said in ((0.2, "+20.0"), (-0.2, "−20.0")):
        details = full().details.model_copy(update={"looks": [look.model_copy(update={"delta": delta})]})
        found = contents.tables(changed(details=details))["looks"]
        assert found.texts[0][found.titles.index("gap then")] == said


def test_shifted_tokens_are_listed_with_what_they_were_chosen_for() -> None:
    found = TABLES["shifted-tokens"]
    assert found.titles == ["student", "arm", "token", "kind", "written", "places off"]
    assert found.texts == [["s", "long", "Wait", "style", "213", "12,844"]]


def test_p_and_degrees_of_freedom_of_the_study_are_read_so() -> None:
    tiny = full().gaps[0].model_copy(update={"p": 1e-6, "p_holm": 2e-6, "df": 32.06})
    (row,) = contents.tables(changed(gaps=[tiny]))["gaps"].texts
    titles = contents.tables(changed(gaps=[tiny]))["gaps"].titles
    assert [row[titles.index(t)] for t in ("df", "p", "p (Holm)")] == ["32.1", "<0.001", "<0.001"]


def one_arm(name: str) -> dict[str, Table]:
    """The tables of a study in which every row about an arm is about this one."""
    evidence = full()
    update = {
        field: [row.model_copy(update={"arm": name}) for row in rows]
        for field, rows in evidence.details
        if isinstance(rows, list) and rows and hasattr(rows[0], "arm")
    }
    accuracies = [row.model_copy(update={"arm": name}) for row in evidence.accuracies]
    readings = [row.model_copy(update={"arm": name}) for row in evidence.readings]
    details = evidence.details.model_copy(update=update)
    return contents.tables(changed(details=details, accuracies=accuracies, readings=readings))


ABOUT_ARMS = {
    "costs", "token-budgets", "loops", "pass-at-k", "wordings", "forgotten", "style", "shifted-tokens", "outcomes",
    "accuracies", "readings",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ABOUT_ARMS))
def test_arms_are_named_in_words(name: str) -> None:
    found = one_arm("mix@loss_tokens")[name]
    place = found.titles.index("arm")
    assert {row[place] for row in found.texts} == {"mix (by loss tokens)"}


def test_arms_of_a_pair_and_of_audited_traces_are_named_in_words() -> None:
    pair = full().gaps[0].model_copy(update={"arms": ("long@loss_tokens", "short@loss_tokens")})
    whose = full().agreement[0].model_copy(update={"whose": "student/s/long@loss_tokens/signs"})
    found = contents.tables(changed(gaps=[pair], agreement=[whose]))
    assert "long (by loss tokens) − short (by loss tokens)" in found["gaps"].texts[0]
    assert found["agreement"].texts[0][0] == "student/s/long (by loss tokens)/signs"


@pytest.mark.parametrize("name", sorted(ABOUT_ARMS))
def test_seeds_of_the_untuned_student_are_an_empty_cell(name: str) -> None:
    rows = list(csv.DictReader(io.StringIO(tables.csv_text(one_arm("base")[name]))))
    assert rows and {row.get("seeds", "") for row in rows} == {""}
    assert "seeds" in one_arm("mix")[name].titles or name in ("style", "shifted-tokens", "readings")


def test_columns_in_which_nothing_stands_are_left_out() -> None:
    assert example("a").titles == ["name", "gap", "gap: interval", "problems"]
    assert example().titles == []
