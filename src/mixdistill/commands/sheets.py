"""The sheet of an audit: a CSV file that a spreadsheet opens, with texts to judge and an empty column for the marks.

It is the one place where marks are kept, whoever writes them. What a person adds (notes, columns, another order) stays.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from mixdistill.errors import DataError, StoreError
from mixdistill.evidence.audits import Mark
from mixdistill.files import write_atomically

COLUMNS = ("id", "problem", "reference", "answer", "mark", "note")
MARKS = {name[0]: name for name in get_args(Mark)}
"""c, i, u; the whole words are taken too."""
ALLOWED = "c (correct), i (incorrect) or u (unclear), or nothing"
LONGEST = 4000
"""Characters of a text that a cell takes; spreadsheets cut cells at 32,767."""
MOST_FINDINGS = 10
_READ_AS_ELSE = re.compile(r"[=+@'\t-].*|[\d\s.,:/%$\u20ac\u00a3eE+-]*\d[\d\s.,:/%$\u20ac\u00a3eE+-]*", re.DOTALL)
"""What a spreadsheet would make a formula, a date or another number of: `=3`, `1/2`, `027`, `27.0`."""
_WHOLE = re.compile(r"-?[1-9]\d{0,9}|0")
"""What it leaves as it is."""

Cells = dict[str, str]
"""Column -> text, of one row."""


def row(id_: str, problem: str, reference: str, answer: str) -> Cells:
    """A row without a mark; long texts are cut, and say so."""
    texts = (id_, _start(problem), _start(reference), end(answer), "", "")
    return dict(zip(COLUMNS, map(_guarded, map(_plain, texts)), strict=True))


def end(answer: str) -> str:
    """An answer part as a person is to see it: its end where it is long."""
    if not answer.strip():
        return "(there is no answer: the text ended before one)"
    left_out = len(answer) - LONGEST
    return answer if left_out <= 0 else f"[{left_out:,} characters before this are left out]\n{answer[left_out:]}"


def shown(cell: str) -> str:
    """A cell as a person is to read it, without what guards it from spreadsheets."""
    return cell[1:] if cell.startswith("'") else cell


def write(path: Path, rows: Iterable[Cells]) -> None:
    """The whole file at once, in a form that spreadsheets know: UTF-8 with a mark, CRLF. Raises StoreError where it is
    open in one, which would write over it.
    """
    check_closed(path)
    rows = list(rows)
    names = list(dict.fromkeys([*COLUMNS, *(name for cells in rows for name in cells)]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8-sig"))


def check_closed(path: Path) -> None:
    """Raise StoreError where LibreOffice has the sheet open."""
    if path.with_name(f".~lock.{path.name}#").exists():
        raise StoreError(f"{path}: open in a spreadsheet; save and close it there first")


def read(path: Path) -> list[Cells]:
    """The rows of a sheet as they are, whatever separates its columns; none where there is no sheet.

    Raises DataError where it is no sheet of ours any more.
    """
    if not path.exists():
        return []
    text = _text(path.read_bytes())
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator)) or [[]]
    except csv.Error as e:
        raise DataError(f"{path}: not readable as CSV ({e}); save it as CSV again") from None
    names = [name.strip() for name in header]
    for name in ("id", "mark"):
        if names.count(name) != 1:
            raise DataError(f"{path}: needs one column '{name}' (got {', '.join(names) or 'nothing'}); put it back")
    return [dict(zip(names, [*cells, *[""] * len(names)], strict=False)) for cells in lines]


def marks(path: Path, rows: list[Cells], known: Iterable[str]) -> dict[str, Mark]:
    """Id -> mark of the rows that have one.

    Raises DataError with a line for every mark that is none, every id that is not in the audit, and every second mark
    of one trace. Rows are counted as a spreadsheet does: the first below the header is row 2.
    """
    found: dict[str, Mark] = {}
    findings: list[str] = []
    ids = set(known)
    for number, cells in enumerate(rows, 2):
        id_, said = cells["id"].strip(), cells["mark"].strip()
        mark = MARKS.get(said.lower()) or next((m for m in MARKS.values() if m == said.lower()), None)
        if not said:
            continue
        if id_ not in ids:
            findings.append(f"{path}: row {number}: no such id in this audit (got {id_!r}); leave the ids as they were")
        elif mark is None:
            findings.append(f"{path}: row {number}: no such mark (got {said!r}); write {ALLOWED}")
        elif found.setdefault(id_, mark) != mark:
            findings.append(
                f"{path}: row {number}: {id_} is marked {found[id_]} in another row (got {mark!r}); keep one"
            )
    if findings:
        left = len(findings) - MOST_FINDINGS
        raise DataError("\n".join([*findings[:MOST_FINDINGS], *([f"{path}: and {left:,} more"] if left > 0 else [])]))
    return found


def _text(data: bytes) -> str:
    """As spreadsheets save it: UTF-8, UTF-16, or an old Windows page."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _start(text: str) -> str:
    left_out = len(text) - LONGEST
    return text if left_out <= 0 else f"{text[:LONGEST]}\n[{left_out:,} characters after this are left out]"


def _plain(text: str) -> str:
    """Without what no spreadsheet or terminal should get: control characters, halves of letters."""
    lines = "\n".join(text.splitlines())
    bad = {c for c in set(lines) if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cs")}
    return lines.translate({ord(c): "\N{REPLACEMENT CHARACTER}" for c in bad})


def _guarded(text: str) -> str:
    return f"'{text}" if _READ_AS_ELSE.fullmatch(text) and not _WHOLE.fullmatch(text) else text
