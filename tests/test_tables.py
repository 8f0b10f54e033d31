"""Files of rows: what stands in them is what is read, and what cannot be read is a row with a reason."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixdistill import tables
from mixdistill.errors import DataError
from mixdistill.tables import LONGEST_ROW, read


def file(tmp_path: Path, name: str, data: bytes | str) -> str:
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(tmp_path / name)


def cells(path: str) -> list[dict[str, Any]]:
    """Rows of a file without a bad one."""
    rows = list(read(path))
    assert all(row.cells is not None for row in rows), rows
    return [row.cells for row in rows if row.cells is not None]


def bad(path: str) -> list[tuple[int, str]]:
    return [(row.number, row.why) for row in read(path) if row.cells is None]


def refusal(path: str) -> str:
    with pytest.raises(DataError) as e:
        list(read(path))
    assert "\n" not in str(e.value)
    return str(e.value).replace(path, Path(path).name)


# -- JSONL ------------------------------------------------------------------------------------------------------------


def test_lines_that_are_no_rows_are_listed_with_their_number_and_the_rest_is_read(tmp_path: Path):
    path = file(tmp_path, "a.jsonl", b'{"a": 1}\n\n{"a": 2\n[3]\n{"a": "caf\xe9"}\n{"a": 6}')
    assert [(row.number, row.cells, row.why, row.text) for row in read(path)] == [
        (1, {"a": 1}, "", ""),
        (3, None, "not JSON (Expecting ',' delimiter: line 2 column 1 (char 8))", '{"a": 2'),
        (4, None, "not a JSON object (got list)", "[3]"),
        (
            5,
            None,
            "not UTF-8 text (byte 10 of the line); save the file as UTF-8",
            '{"a": "caf\N{REPLACEMENT CHARACTER}"}',
        ),
        (6, {"a": 6}, "", ""),
    ]


def test_a_line_nested_100_000_deep_is_a_bad_row(tmp_path: Path):
    path = file(tmp_path, "a.jsonl", '{"a": ' + "[" * 100_000 + "]" * 100_000 + '}\n{"a": 2}\n')
    assert [(row.number, row.why) for row in read(path)] == [(1, "not JSON (nested too deeply)"), (2, "")]


def test_a_50_mb_line_is_a_bad_row_and_is_never_held(tmp_path: Path):
    path = file(tmp_path, "a.jsonl", b'{"a": 1}\n{"a": "' + b"x" * 50_000_000 + b'"}\n{"a": 3}\n')
    tracemalloc.start()
    rows = list(read(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(row.number, row.why) for row in rows] == [(1, ""), (2, f"longer than {LONGEST_ROW:,} bytes"), (3, "")]
    assert rows[1].text == '{"a": "' + "x" * 193
    assert peak < 2.5 * LONGEST_ROW < 50_000_000


def test_the_longest_row_is_still_read(tmp_path: Path):
    line = b'{"a": "' + b"x" * (LONGEST_ROW - 10) + b'"}\n'
    assert len(line) == LONGEST_ROW
    assert bad(file(tmp_path, "a.jsonl", line)) == []
    assert len(bad(file(tmp_path, "a.jsonl", b" " + line))) == 1


def test_rows_of_a_large_file_are_not_held_beside_each_other(tmp_path: Path):
    path = file(tmp_path, "a.jsonl", (json.dumps({"a": "x" * 1000}) + "\n") * 20_000)
    tracemalloc.start()
    assert sum(1 for _ in read(path)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


# -- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [[{"a": 1}, {"a": 2}], {"data": [{"a": 1}, {"a": 2}]}, {"a": [1, 2]}])
def test_a_json_file_holds_a_list_or_data_or_columns(tmp_path: Path, data: Any):
    assert cells(file(tmp_path, "a.json", json.dumps(data))) == [{"a": 1}, {"a": 2}]


def test_what_is_no_object_in_a_list_is_a_bad_row(tmp_path: Path):
    assert bad(file(tmp_path, "a.json", '[{"a": 1}, 2, "x"]')) == [
        (2, "not a JSON object (got int)"),
        (3, "not a JSON object (got str)"),
    ]


# -- CSV --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_of_a_csv_file_is_found(tmp_path: Path, separator: str):
    rows = [["question", "answer"], ['"a, b; c | d\te"', "1"], ["plain", "2"]]
    path = file(tmp_path, "a.csv", "".join(separator.join(row) + "\n" for row in rows))
    assert cells(path) == [{"question": "a, b; c | d\te", "answer": "1"}, {"question": "plain", "answer": "2"}]


@pytest.mark.parametrize("kind", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n', "\ufeffsep=;\n"])
def test_the_separator_that_excel_wrote_into_the_first_line_is_obeyed_and_no_row(tmp_path: Path, kind: str, first: str):
    path = file(tmp_path, kind, f"{first}question, long;answer, short\na, b, c;1, 2\n")
    assert cells(path) == [{"question, long": "a, b, c", "answer, short": "1, 2"}]


def test_a_column_that_only_begins_like_a_separator_stays_a_column(tmp_path: Path):
    assert cells(file(tmp_path, "a.csv", "sep=x,answer\n1,2\n")) == [{"sep=x": "1", "answer": "2"}]


def test_commas_in_the_texts_do_not_hide_the_separator(tmp_path: Path):
    path = file(tmp_path, "a.csv", "question;answer, short;level\none, two, three;1;x\nfour;2, 3;y\n")
    assert [row["answer, short"] for row in cells(path)] == ["1", "2, 3"]


def test_one_column_needs_no_separator(tmp_path: Path):
    assert cells(file(tmp_path, "a.csv", "question\none\ntwo\n")) == [{"question": "one"}, {"question": "two"}]


def test_a_tsv_file_is_cut_at_tabs_alone(tmp_path: Path):
    assert cells(file(tmp_path, "a.tsv", "a,b\tc\n1,2\t3\n")) == [{"a,b": "1,2", "c": "3"}]


def test_quoted_cells_hold_line_ends_quotes_and_separators(tmp_path: Path):
    path = file(tmp_path, "a.csv", 'q,a\r\n"one\ntwo, ""three""",4\r\n\r\n"five\r\nsix",7\r\n')
    assert [(row.number, row.cells) for row in read(path)] == [
        (1, {"q": 'one\ntwo, "three"', "a": "4"}),
        (2, {"q": "five\r\nsix", "a": "7"}),
    ]


def test_csv_rows_that_do_not_fit_are_listed(tmp_path: Path):
    path = file(tmp_path, "a.csv", b'q,a\n1,2,3\n4\n"5"x,6\ncaf\xe9,7\n8,9\n')
    assert [(row.number, row.cells, row.why) for row in read(path)] == [
        (1, None, "3 cells under 2 column names"),
        (2, {"q": "4"}, ""),
        (3, None, "not CSV (',' expected after '\"')"),
        (4, None, "not UTF-8 text; save the file as UTF-8"),
        (5, {"q": "8", "a": "9"}, ""),
    ]


def test_a_csv_cell_that_is_too_long_is_a_bad_row(tmp_path: Path):
    path = file(tmp_path, "a.csv", "q,a\n1,2\n" + "x" * (LONGEST_ROW + 1) + ",4\n5,6\n")
    assert bad(path) == [(2, f"not CSV (field larger than field limit ({LONGEST_ROW}))")]


# -- Parquet ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [100, 1250, 2499, 2500, 10_000])
def test_parquet_rows_are_numbered_across_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int):
    monkeypatch.setattr(tables, "SLICE", held)
    pl.DataFrame({"a": range(2500)}).write_parquet(tmp_path / "a[1].parquet")
    rows = list(read(str(tmp_path / "a[1].parquet")))
    assert [row.number for row in rows] == list(range(1, 2501))
    assert [row.cells for row in rows] == [{"a": n} for n in range(2500)]


def test_a_parquet_file_cut_anywhere_is_refused_in_one_line(tmp_path: Path):
    pl.DataFrame({"a": ["x" * 100] * 50}).write_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for length in range(0, len(whole), 37):
        line = refusal(file(tmp_path, "b.parquet", whole[:length]))
        assert line.startswith("b.parquet: not readable as .parquet (") and line.endswith("); mend the file")


# -- files that cannot be read at all ---------------------------------------------------------------------------------

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("a.json", "", "a.json: not readable as .json (Expecting value: line 1 column 1 (char 0)); mend the file"),
        ("a.json", DEEP, "a.json: not readable as .json (nested too deeply); mend the file"),
        ("a.json", '{"a": 1}', "a.json: not readable as .json (it holds a dict, not a list of rows); mend the file"),
        (
            "a.json",
            '{"a": [1], "b": []}',
            "a.json: not readable as .json (its columns differ in length); mend the file",
        ),
        (
            "a.json",
            '{"a": 1}\n{"a": 2}\n',
            "a.json: not readable as .json (Extra data: line 2 column 1 (char 9); for one object a line, name it "
            ".jsonl); mend the file",
        ),
        ("a.json", b'[{"a": "\xe9"}]', "a.json: not UTF-8 text (byte 8); save it as UTF-8"),
        (
            "a.csv",
            b"\xff\xfeq\0,\0a\0\n\0",
            "a.csv: not readable as .csv (its column names are not UTF-8 text; save it as UTF-8); mend the file",
        ),
        ("a.csv", "q,q\n1,2\n", "a.csv: not readable as .csv (the column 'q' stands twice); mend the file"),
        (
            "a.csv",
            'q,a\n1,2\n"3,4\n5,6\n',
            "a.csv: not readable as .csv (row 2 opens a quote that is never closed); mend the file",
        ),
        ("a.txt", "q", "a.txt: unknown kind of file (got '.txt'); use .jsonl, .json, .csv, .tsv or .parquet"),
        ("a", "q", "a: unknown kind of file (got ''); use .jsonl, .json, .csv, .tsv or .parquet"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_that_cannot_be_read_says_why_and_what_to_do(tmp_path: Path, name: str, data: bytes | str, line: str):
    assert refusal(file(tmp_path, name, data)) == line


def test_what_is_no_file_is_named_as_what_it_is(tmp_path: Path):
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "link.csv").symlink_to("nowhere")
    assert refusal(str(tmp_path / "folder.json")) == "folder.json: a folder; name a file in it"
    assert refusal(str(tmp_path / "pipe.jsonl")) == (
        "pipe.jsonl: not a plain file, and it is read more than once; save what it gives in a file"
    )
    assert refusal(str(tmp_path / "link.csv")) == "link.csv: a link to nowhere, which is not there; mend the link"
    missing = "no such file; give a path from where mixdistill is run, or a hub id without an ending"
    for strange in (str(tmp_path / "no.csv"), "x" * 5000 + ".csv", "nul\0.csv", "two\nlines.csv", "~nobody-here/a.csv"):
        assert refusal(strange).endswith(f".csv: {missing}")


@pytest.mark.parametrize("kind", [kind for kind in tables.KINDS if kind != ".parquet"])
@given(data=st.data())
@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_lies_in_a_file_is_rows_bad_rows_or_one_line(tmp_path: Path, kind: str, data: st.DataObject):
    bits = [
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b";",
        b"\t",
        b"\r",
        b"\n",
        b"\\",
        b"a",
        b"1",
        b"\0",
        b"\xff",
        b"\xef",
    ]
    path = file(tmp_path, f"a{kind}", data.draw(st.lists(st.sampled_from(bits), max_size=40).map(b"".join)))
    try:
        rows = list(read(path))
    except DataError as e:
        assert str(e).isprintable()
    else:
        assert all(row.why and row.why.isprintable() for row in rows if row.cells is None)
        assert [row.number for row in rows] == sorted({row.number for row in rows})


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = file(tmp_path, "a.jsonl", "{}")

    def denied(file: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(tables.KINDS, ".jsonl", denied)
    assert refusal(path) == "a.jsonl: cannot be read (Permission denied); check its permissions and its disk"
