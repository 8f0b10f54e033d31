"""A sheet shows in any spreadsheet what was written, and comes back as it was."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from mixdistill.commands import sheets
from mixdistill.errors import DataError

HOSTILE = [
    "=1+1",
    "+3",
    "-x",
    "@SUM(A1)",
    "\tx",
    "1/2",
    "027",
    "27.0",
    "3.14",
    "1,000",
    "1e5",
    "12:30",
    "50 %",
    "12345678901",
]
PLAIN = ["18", "-5", "0", "x = 3", "\\frac{1}{2}", "Bergen", "(1, 2)", "1/2 of it"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_spreadsheet_would_read_otherwise_is_kept_a_text(text: str):
    cells = sheets.row("m1", "p", text, "a")
    assert cells["reference"] == f"'{text}"
    assert sheets.shown(cells["reference"]) == text


@pytest.mark.parametrize("text", PLAIN)
def test_what_it_reads_rightly_is_left_alone(text: str):
    cells = sheets.row("m1", "p", text, "a")
    assert cells["reference"] == sheets.shown(cells["reference"]) == text


def test_a_quote_at_the_beginning_comes_back(tmp_path: Path):
    assert sheets.shown(sheets.row("m1", "p", "'tis", "a")["reference"]) == "'tis"


def test_long_texts_keep_what_matters_and_say_what_is_left_out():
    answer = "x" * 5000 + "THE END"
    cells = sheets.row("m1", "Q" + "y" * 4010, "r", answer)
    assert cells["answer"].startswith("[1,007 characters before this are left out]\nxxx")
    assert cells["answer"].endswith("THE END")
    assert cells["problem"].endswith("y\n[11 characters after this are left out]")
    assert sheets.row("m1", "p", "r", " \n")["answer"] == "(there is no answer: the text ended before one)"


def test_any_text_survives_the_file(tmp_path: Path):
    hostile = 'a "quoted", cell;\nwith\ttabs \u2028 lines\r\nand \x1b[31m \x00 \ud800 ٣ 𝔸 می\u200cشود'
    sheets.write(tmp_path / "s.csv", [sheets.row("m1", hostile, "1/2", hostile)])
    ((cells),) = sheets.read(tmp_path / "s.csv")
    assert cells["answer"] == 'a "quoted", cell;\nwith\ttabs \n lines\nand \ufffd[31m \ufffd \ufffd ٣ 𝔸 می\u200cشود'
    data = (tmp_path / "s.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbfid,problem,reference,answer,mark,note\r\n")
    assert sheets.read(tmp_path / "none.csv") == []


def test_what_is_read_and_written_again_is_the_same(tmp_path: Path):
    path = tmp_path / "s.csv"
    sheets.write(path, [sheets.row(f"m{i}", "p\nq", "1/2", "=3") for i in range(3)])
    before = path.read_bytes()
    sheets.write(path, sheets.read(path))
    assert path.read_bytes() == before


def test_rows_of_any_length_are_read(tmp_path: Path):
    path = tmp_path / "s.csv"
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["id", "mark"], ["m1", "c", "more"], ["m2"], []])
    path.write_text(text.getvalue(), newline="")
    rows = sheets.read(path)
    assert sheets.marks(path, rows, ["m1", "m2"]) == {"m1": "correct"}


def test_of_many_wrong_marks_some_are_named_and_the_rest_counted(tmp_path: Path):
    rows = [{"id": f"m{i}", "mark": "?"} for i in range(12)]
    with pytest.raises(DataError) as e:
        sheets.marks(Path("s.csv"), rows, [f"m{i}" for i in range(12)])
    assert str(e.value).splitlines()[-1] == "s.csv: and 2 more"
    assert str(e.value).count("\n") == 10
