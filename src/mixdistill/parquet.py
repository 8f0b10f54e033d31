"""Rows as columns of a Parquet table: which type each field has there, and back."""

from __future__ import annotations

import hashlib
import json
import typing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from mixdistill.types import Row

if TYPE_CHECKING:
    import polars as pl

R = TypeVar("R", bound=Row)


def columns_of(row_type: type[Row]) -> dict[str, tuple[Any, bool]]:
    """Column name -> (polars type, kept as JSON text). Nested and mixed values are JSON; token ids are a list."""
    import polars as pl

    plain: dict[Any, Any] = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}
    hints = typing.get_type_hints(row_type)
    found: dict[str, tuple[Any, bool]] = {}
    for name in row_type.model_fields:
        options = [a for a in (get_args(hints[name]) or (hints[name],)) if a is not type(None)]
        kind = options[0] if get_origin(hints[name]) is not list else hints[name]
        if get_origin(hints[name]) is typing.Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
            found[name] = (pl.String, False)
        elif kind == list[int]:
            found[name] = (pl.List(pl.Int64), False)
        elif len(options) == 1 and kind in plain:
            found[name] = (plain[kind], False)
        else:
            found[name] = (pl.String, True)
    return found


def flatten(row: Row, schema: dict[str, tuple[Any, bool]]) -> list[Any]:
    data = row.model_dump(mode="json")
    return [
        json.dumps(data[name], ensure_ascii=False, sort_keys=True) if is_json and data[name] is not None else data[name]
        for name, (_, is_json) in schema.items()
    ]


def unflatten(row_type: type[R], record: dict[str, Any], parse: Sequence[str]) -> R:
    for name in parse:
        if record[name] is not None:
            record[name] = json.loads(record[name])
    return row_type.model_validate(record)


def frames(row_type: type[Row], rows: Iterable[Row], size: int, hashes: ColumnHashes) -> Iterator[pl.DataFrame]:
    """The rows as tables of at most `size` rows, at least one table; `hashes` is told of each."""
    import polars as pl

    schema = columns_of(row_type)
    types = {name: dtype for name, (dtype, _) in schema.items()}
    left, first = iter(rows), True
    while (flat := [flatten(row, schema) for row in islice(left, size)]) or first:
        hashes.add(flat)
        first = False
        yield pl.DataFrame(flat, schema=types, orient="row")


def streamed(row_type: type[Row], tables: Iterable[pl.DataFrame], hashes: BulkHashes) -> pl.LazyFrame:
    """Tables with the row type's columns as one that is made while it is written; `hashes` is told of each."""
    import polars as pl
    from polars.io.plugins import register_io_source

    schema = pl.Schema({name: dtype for name, (dtype, _) in columns_of(row_type).items()})

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        for table in _ahead(tables):
            part = table.select(*schema).cast(schema)
            hashes.add(part)
            yield part

    return register_io_source(source, schema=schema)


def _ahead(tables: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The tables, two of them made in a thread while another is used."""
    left = iter(tables)

    def following() -> pl.DataFrame | None:
        return next(left, None)

    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(following) for _ in range(2))
        while (table := coming.popleft().result()) is not None:
            coming.append(thread.submit(following))
            yield table


class ColumnHashes:
    """A content hash of every column, from all its rows in order."""

    def __init__(self, row_type: type[Row]) -> None:
        self._of = {name: hashlib.sha256() for name in row_type.model_fields}

    def add(self, flat: list[list[Any]]) -> None:
        """Rows, each with its columns in the order of the fields."""
        for i, digest in enumerate(self._of.values()):
            for row in flat:
                data = repr(row[i]).encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(8, "little"))
                digest.update(data)

    def digests(self) -> dict[str, str]:
        """Column -> hash of what was added so far."""
        return {name: digest.hexdigest()[:16] for name, digest in self._of.items()}


class BulkHashes:
    """A content hash of every column of tables that are never rows: of its texts and their lengths, or its numbers."""

    def __init__(self, row_type: type[Row]) -> None:
        self.rows = 0
        self._of = {name: (hashlib.sha256(), hashlib.sha256()) for name in row_type.model_fields}

    def add(self, table: pl.DataFrame) -> None:
        """Further rows. It makes no difference how they are cut into tables."""
        import polars as pl

        self.rows += len(table)
        for name, (shape, values) in self._of.items():
            column = table[name]
            if column.dtype.is_numeric():
                shape.update(column.is_null().to_numpy().tobytes())
                values.update(column.fill_null(0).to_numpy().tobytes())
            else:
                column = column.cast(pl.String)
                shape.update(column.str.len_bytes().cast(pl.Int64).fill_null(-1).to_numpy().tobytes())
                values.update(b"".join(column.drop_nulls().cast(pl.Binary).to_list()))

    def digests(self) -> dict[str, str]:
        """Column -> hash of what was added so far."""
        return {
            name: hashlib.sha256(shape.digest() + values.digest()).hexdigest()[:16]
            for name, (shape, values) in self._of.items()
        }
