"""Tables of rows: JSONL, JSON, CSV and Parquet files, and data sets of the hub, read row by row; a row that cannot be
read is a row with a reason."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mixdistill.errors import DataError, MissingExtra, one_line

LONGEST_ROW = 16 * 2**20
"""Bytes of a line, or characters of a CSV cell. A longer one is no row: a file without line ends, an open quote."""
SHOWN = 200
"""Characters of a row that are kept to recognise it by."""
SEPARATORS = ",;\t|"
SAID = re.compile(r'"?sep=([^\w\r\n" ])"?[ \t]*(?:[\r\n]|\Z)', re.IGNORECASE)
"""Excel's first line of a CSV file that says which separator it has; it is no row."""
SLICE = 10_000
"""Rows of a Parquet file that are held at once."""
SAMPLE = 1 << 16
"""Characters at a CSV file's beginning that tell its separator; bytes in which a line that is too long is skipped."""


class TableRow(NamedTuple):
    """A row of a file: its cells, or why there are none."""

    number: int
    """From 1; of a file with one row a line, the line."""
    cells: dict[str, Any] | None
    """Column -> value."""
    why: str = ""
    """What is wrong with it, when there are no cells."""
    text: str = ""
    """Its beginning, then."""


class BadRow(Exception):
    """A row that is not what it should be: no problem, no trace."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


def is_there(path: str) -> bool:
    """Whether something lies at a path: a file, a folder, a pipe, a link to nowhere."""
    return os.path.lexists(os.path.expanduser(path)) if "\0" not in path else False


def read(path: str) -> Iterator[TableRow]:
    """Rows of a local file, in its order. Blank lines are none.

    JSONL and CSV are read as they are asked for, Parquet by ten thousand rows; JSON is held whole. Raises DataError
    naming a file that cannot be read at all, and what to do.
    """
    file, path = Path(os.path.expanduser(path)), one_line(path)
    _check(path, file)
    kind = file.suffix.lower()
    if kind not in KINDS:
        raise DataError(f"{path}: unknown kind of file (got '{kind}'); use {_listed()}")
    try:
        yield from KINDS[kind](file)
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 text (byte {e.start}); save it as UTF-8") from None
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror or e}); check its permissions and its disk") from None
    except (ValueError, csv.Error) as e:
        raise DataError(f"{path}: not readable as {kind} ({one_line(str(e))}); mend the file") from None
    except RecursionError:
        raise DataError(f"{path}: not readable as {kind} (nested too deeply); mend the file") from None


def _listed() -> str:
    *most, last = KINDS
    return f"{', '.join(most)} or {last}"


def _check(path: str, file: Path) -> None:
    """Say what a path is that is no plain file."""
    if os.path.isfile(file):
        return
    if os.path.isdir(file):
        raise DataError(f"{path}: a folder; name a file in it")
    if os.path.exists(file):
        raise DataError(f"{path}: not a plain file, and it is read more than once; save what it gives in a file")
    if os.path.islink(file):
        raise DataError(f"{path}: a link to {os.readlink(file)}, which is not there; mend the link")
    raise DataError(f"{path}: no such file; give a path from where mixdistill is run, or a hub id without an ending")


def _jsonl(file: Path) -> Iterator[TableRow]:
    # Bytes, split at line feeds alone: U+2028 and form feeds are legal inside JSON strings, and one bad byte is one
    # bad line.
    with open(file, "rb") as f:
        number = 0
        while line := f.readline(LONGEST_ROW + 1):
            number += 1
            if len(line) > LONGEST_ROW:
                begin = line[:SHOWN]
                while line and not line.endswith(b"\n"):
                    line = f.readline(SAMPLE)
                yield _none(number, f"longer than {LONGEST_ROW:,} bytes", begin)
            elif (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip():
                yield _json_line(number, line)


def _json_line(number: int, line: bytes) -> TableRow:
    try:
        return _object(number, json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8")))
    except UnicodeDecodeError as e:
        return _none(number, f"not UTF-8 text (byte {e.start} of the line); save the file as UTF-8", line)
    except ValueError as e:
        return _none(number, f"not JSON ({one_line(str(e))})", line)
    except RecursionError:
        return _none(number, "not JSON (nested too deeply)", line)


def _none(number: int, why: str, value: Any) -> TableRow:
    return TableRow(number, None, why, brief(value))


def brief(value: Any) -> str:
    """The beginning of a text, of bytes or of what stands in their place."""
    if isinstance(value, bytes):
        value = value[: 4 * SHOWN].decode("utf-8", "replace")
    try:
        text = value if isinstance(value, str) else "" if value is None else str(value)
    except RecursionError:
        text = f"a {type(value).__name__}, nested deeply"
    return text[:SHOWN].strip().encode("utf-8", "replace").decode()


def _object(number: int, value: Any) -> TableRow:
    if isinstance(value, dict):
        return TableRow(number, value)
    return _none(number, f"not a JSON object (got {type(value).__name__})", value)


def _json(file: Path) -> Iterator[TableRow]:
    """A list of objects, `{"data": [...]}`, or one object of columns of the same length."""
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as e:
        hint = "; for one object a line, name it .jsonl" if e.msg == "Extra data" else ""
        raise ValueError(f"{e}{hint}") from None
    if isinstance(data, dict) and isinstance(data.get("data"), list):
        data = data["data"]
    if isinstance(data, dict) and data and all(isinstance(column, list) for column in data.values()):
        names, columns = list(data), list(data.values())
        if len({len(column) for column in columns}) > 1:
            raise ValueError("its columns differ in length")
        data = [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]
    if not isinstance(data, list):
        raise ValueError(f"it holds a {type(data).__name__}, not a list of rows")
    for number, value in enumerate(data, 1):
        yield _object(number, value)


def _csv(file: Path) -> Iterator[TableRow]:
    """Rows below a line of column names; the separator is found, quoted cells may hold line ends."""
    csv.field_size_limit(LONGEST_ROW)
    # A bad byte becomes half a character, which no UTF-8 text holds: one bad row, not the end of the file.
    with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as f:
        sample = f.read(SAMPLE)
        f.seek(0)
        said = SAID.match(sample)
        if said:
            f.readline()
        reader = csv.reader(f, delimiter=said[1] if said else _separator(sample, file.suffix.lower()), strict=True)
        names = [name.strip() for name in next(reader, [])]
        if any(_bad_bytes(name) for name in names):
            raise ValueError("its column names are not UTF-8 text; save it as UTF-8")
        twice = next((name for i, name in enumerate(names) if name and name in names[:i]), None)
        if twice is not None:
            raise ValueError(f"the column '{twice}' stands twice")
        number = 0
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as e:
                number += 1
                if "end of data" in str(e):  # what follows the quote may be any number of rows
                    raise ValueError(f"row {number} opens a quote that is never closed") from None
                yield _none(number, f"not CSV ({e})", "")
                continue
            if cells:
                number += 1
                yield _csv_row(number, names, cells)


def _csv_row(number: int, names: list[str], cells: list[str]) -> TableRow:
    if any(_bad_bytes(cell) for cell in cells):
        shown = " ".join(cells).encode("utf-8", "surrogateescape")
        return _none(number, "not UTF-8 text; save the file as UTF-8", shown)
    if len(cells) > len(names):
        return _none(number, f"{len(cells)} cells under {len(names)} column names", " ".join(cells))
    return TableRow(number, dict(zip(names, cells, strict=False)))


def _bad_bytes(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= c <= "\udcff" for c in text)


def _separator(sample: str, kind: str) -> str:
    """The separator that gives most of the first rows the header's number of cells, more of them where that ties."""
    if kind == ".tsv":
        return "\t"
    lines = sample.splitlines(keepends=True)
    lines = lines[:-1] if len(sample) == SAMPLE and len(lines) > 1 else lines  # the last one may be cut

    def fit(separator: str) -> tuple[float, int]:
        rows = [row for row in csv.reader(lines, delimiter=separator) if row]
        width = len(rows[0]) if rows else 0
        return (sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0, width)

    return max(SEPARATORS, key=fit)


def _parquet(file: Path) -> Iterator[TableRow]:
    import polars as pl

    frame = pl.scan_parquet(file, glob=False)
    number = 0
    while True:
        try:
            part = frame.slice(number, SLICE).collect()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as e:
            raise ValueError(str(e).partition("\n")[0]) from None
        for some in part.iter_slices(1000):
            for cells in some.to_dicts():
                number += 1
                yield TableRow(number, cells)
        if part.height < SLICE:
            return


KINDS = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
"""Ending of a file -> its reader."""
HUB_ID = re.compile(rf"(?!.*({'|'.join(map(re.escape, KINDS))})\Z)\w[\w.-]*(/\w[\w.-]*)?\Z", re.IGNORECASE)
"""`name` or `owner/name`, without the ending of a file."""


def on_hub(name: str) -> bool:
    """Whether a name means a data set of the hub: it looks like one, and nothing lies there."""
    return bool(HUB_ID.match(name)) and not is_there(name)


def rows(name: str, subset: str | None = None, split: str = "train") -> Iterator[TableRow]:
    """Rows of a local file, or of a data set on the hub. Raises DataError where they cannot be had."""
    return hub(name, subset, split) if on_hub(name) else read(name)


def hub(name: str, subset: str | None, split: str) -> Iterator[TableRow]:
    """Rows of a data set on the hub. Raises DataError where it cannot be had."""
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    try:
        data = datasets.load_dataset(name, subset, split=split)
    except (OSError, ValueError, RuntimeError, DatasetsError) as e:
        why = one_line(str(e).partition("\n")[0])
        raise DataError(
            f"{name}: not a local file and not loadable from the hub ({why}); check the name, subset and split"
        ) from None
    for number, cells in enumerate(data, 1):
        yield TableRow(number, cells)
