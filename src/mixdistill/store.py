"""The run folder: append a row, read a table, seal, mark, lock.

    runs/<name>/recipe.yaml              the whole recipe, implied parts included
    runs/<name>/problems/*.parquet       training problems and benchmarks
    runs/<name>/<stage>/<key...>/        one folder per unit
        <table>.jsonl                    journal while the unit runs: a whole row a line, flushed
        <table>.parquet                  sealed: fixed schema, zstd, written beside, fsynced, renamed
        absent.txt                       ids that were wanted and will never be there, where there are any
        done.json                        the marker, written last: identity, inputs, counts, versions, seconds

A folder without its marker is unfinished work, whatever else lies in it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import typing
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mixdistill.errors import StoreError, said
from mixdistill.files import PROBE_BYTES, no_room, unwritable, write_atomically
from mixdistill.parquet import BulkHashes, ColumnHashes, columns_of, frames, streamed, unflatten
from mixdistill.types import Row

if TYPE_CHECKING:
    import polars as pl

R = TypeVar("R", bound=Row)
MARKER = "done.json"
ABSENT = "absent.txt"
"""Ids that are wanted and will never be there, one a line; written before the marker."""
UNUSED = "unused"
"""Beside the problems: rows of their sources that are none."""
GROUP = 4096
"""Rows of a sealed table that are compressed and read together."""
BEAT_SECONDS = 0.25
STOP = "stop"
"""Among the signs of life: asks the running units to stop."""
SET_ASIDE = "set-aside"
"""Folder of what `--fresh` moved out of the way."""


@dataclass
class Store:
    """A run folder. Cheap to make and to pickle: it holds nothing but the path."""

    root: Path

    def folder(self, *key: str) -> Path:
        """Folder of a unit; key = (stage, part, ...)."""
        return self.root.joinpath(*key)

    # -- journals ---------------------------------------------------------------------------------------------

    def journal(self, folder: Path, row_type: type[R], table: str) -> list[R]:
        """Rows journaled so far."""
        return [row for _, row in self.journaled(folder, row_type, table)]

    def journaled(self, folder: Path, row_type: type[R], table: str) -> Iterator[tuple[int, R]]:
        """(place in the file, row) of the rows journaled so far. A torn last line (the process was killed while
        writing) is cut off at the end."""
        path, place = folder / f"{table}.jsonl", 0
        if not path.exists():
            return
        with open(path, "rb") as f:
            for line in f:
                if not line.endswith(b"\n"):
                    break
                yield place, _row(path, row_type, line)
                place += len(line)
            else:
                return
        os.truncate(path, place)

    @contextmanager
    def appending(self, folder: Path, table: str) -> Generator[typing.Callable[[Row], int]]:
        """A function that appends one row to the journal, whole and flushed, and gives its place in the file."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            f = open(folder / f"{table}.jsonl", "ab", buffering=0)  # noqa: SIM115 -- closed below
        except OSError as e:
            raise unwritable(folder, e) from e
        with f:
            yield lambda row: _append(f, folder, row.model_dump_json().encode() + b"\n")

    def at(self, folder: Path, row_type: type[R], table: str, places: Iterable[int]) -> Iterator[R]:
        """The rows of a journal at these places, in this order; one at a time is in memory."""
        path = folder / f"{table}.jsonl"
        with open(path, "rb") if path.exists() else nullcontext() as f:
            for place in places:
                assert f is not None
                f.seek(place)
                yield _row(path, row_type, f.readline())

    # -- sealed tables ----------------------------------------------------------------------------------------

    def seal(self, folder: Path, row_type: type[Row], rows: Iterable[Row], table: str) -> dict[str, Any]:
        """Write a table for good and drop its journal. Returns {rows, columns: {name: content hash}}.

        Of many rows never more than `GROUP` are in memory.
        """
        import polars as pl

        hashes, count, parts = ColumnHashes(row_type), 0, list[Path]()
        try:
            with self._placing(folder, table) as beside:
                for frame in frames(row_type, rows, GROUP, hashes):
                    parts.append(folder / f".{table}_{len(parts)}.parquet.tmp")
                    frame.write_parquet(parts[-1], compression="zstd", row_group_size=GROUP)
                    count += len(frame)
                if len(parts) == 1:
                    os.replace(parts[0], beside)
                else:
                    pl.scan_parquet(parts, glob=False).sink_parquet(beside, compression="zstd", row_group_size=GROUP)
        finally:
            for part in parts:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
        return {"rows": count, "columns": hashes.digests()}

    def seal_frames(
        self, folder: Path, row_type: type[Row], tables: Iterable[pl.DataFrame], table: str
    ) -> dict[str, Any]:
        """As `seal`, of rows that are columns already; nested values are JSON text there. Its hashes are others."""
        hashes = BulkHashes(row_type)
        with self._placing(folder, table) as beside:
            whole = streamed(row_type, tables, hashes)
            whole.sink_parquet(beside, compression="zstd", compression_level=1, row_group_size=GROUP)
        return {"rows": hashes.rows, "columns": hashes.digests()}

    @contextmanager
    def _placing(self, folder: Path, table: str) -> Generator[Path]:
        """A file to write, which then takes the place of the table and its journal."""
        import polars as pl

        beside = folder / f".{table}.parquet.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            yield beside
            with open(beside, "rb") as f:
                os.fsync(f.fileno())
            (folder / MARKER).unlink(missing_ok=True)  # a new table and the marker of an old one never stand together
            os.replace(beside, folder / f"{table}.parquet")
        except (OSError, pl.exceptions.PolarsError) as e:  # polars words a full disk as an error of the format
            raise self.unwritable(folder, e) or unwritable(folder, e) from e
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
        (folder / f"{table}.jsonl").unlink(missing_ok=True)

    def read(
        self, folder: Path, row_type: type[R], table: str, *, where: tuple[str, Iterable[str]] | None = None
    ) -> list[R]:
        """Rows of a sealed table; empty when there is none. Raises StoreError when the marker says there should be.

        `where` is a column and the values wanted of it: the other rows are never made.
        """
        return list(self.rows(folder, row_type, table, where=where))

    def rows(
        self, folder: Path, row_type: type[R], table: str, *, where: tuple[str, Iterable[str]] | None = None
    ) -> Iterator[R]:
        """As `read`, one after the other: of a large table never more than `GROUP` rows are in memory."""
        if not self._there(folder, table):
            return
        path = folder / f"{table}.parquet"
        parse = [name for name, (_, is_json) in columns_of(row_type).items() if is_json]
        for part in _parts(path, where):
            with readable(path):
                rows = [unflatten(row_type, record, parse) for record in part.iter_rows(named=True)]
            yield from rows

    def frame(self, folder: Path, table: str, columns: list[str] | None = None) -> pl.DataFrame:
        """Columns of a sealed table, for bulk work."""
        import polars as pl

        path = folder / f"{table}.parquet"
        with readable(path):
            return pl.read_parquet(path, columns=columns)

    def ids(self, folder: Path, table: str, *, without_error: bool = False) -> set[str]:
        """Ids in a sealed table; `without_error` leaves out failed requests, which are still to be asked again."""
        if not (folder / f"{table}.parquet").exists():
            return set()
        frame = self.frame(folder, table, ["id", "error"] if without_error else ["id"])
        return {row[0] for row in frame.iter_rows() if not without_error or row[1] is None}

    def problem_ids(self, name: str) -> tuple[str, ...]:
        """Ids of `train` or a benchmark, in order; none where it is not in the folder yet."""
        folder = self.folder("problems")
        return tuple(self.frame(folder, name, ["id"])["id"].to_list()) if self._there(folder, name) else ()

    def _there(self, folder: Path, table: str) -> bool:
        """Whether a sealed table is there. Raises StoreError where the marker says that it should be."""
        path = folder / f"{table}.parquet"
        if path.exists():
            return True
        marker = self.marker(folder)
        if marker and table in marker["tables"]:
            raise StoreError(f"{path}: gone, though the unit is marked done; delete {folder / MARKER} to redo it")
        return False

    # -- markers ----------------------------------------------------------------------------------------------

    def mark(self, folder: Path, marker: dict[str, Any]) -> None:
        """Say that a unit is complete. The last thing a unit does."""
        text = json.dumps(marker, indent=2, sort_keys=True, ensure_ascii=False)
        write_atomically(folder / MARKER, text.encode())

    def marker(self, folder: Path) -> dict[str, Any] | None:
        """The unit's marker, or None while it is unfinished. Raises StoreError for what is no marker."""
        return read_described(folder / MARKER, "tables")

    def glance(self) -> Store:
        """This folder, with every marker read once: for a single plan, since other processes write there."""
        return _Glance(self.root)

    def content(self, folder: Path, table: str, columns: list[str]) -> str | None:
        """Hash of some columns of a sealed table, from its marker; None while it is unfinished."""
        marker = self.marker(folder)
        if marker is None:
            return None
        try:
            hashes = marker["tables"][table]["columns"]
            return hashlib.sha256("".join(hashes[c] for c in columns).encode()).hexdigest()[:16]
        except (KeyError, TypeError):
            raise StoreError(
                f"{folder / MARKER}: holds no hashes of {table} ({', '.join(columns)}); delete it to redo this unit"
            ) from None

    def set_aside(self, folder: Path) -> Path | None:
        """Move a folder out of the way, never delete it. Returns where it went."""
        if not folder.exists():
            return None
        base = self.root / SET_ASIDE / folder.relative_to(self.root)
        target, n = base, 1
        while target.exists():
            n += 1
            target = base.with_name(f"{base.name}.{n}")
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
        return target

    def bring_back(self, folder: Path, identity: str) -> None:
        """Move back what was set aside earlier and is what is wanted again: nothing is bought twice."""
        base = self.root / SET_ASIDE / folder.relative_to(self.root)
        for old in sorted(base.parent.glob(f"{base.name}*")):
            if old.name.removeprefix(base.name).lstrip(".").isdigit() or old == base:
                marker = self.marker(old)
                if marker and marker.get("identity") == identity and not folder.exists():
                    old.rename(folder)

    def absent(self, folder: Path) -> list[str]:
        """Ids of a unit's rows that there are none of and never will be."""
        path = folder / ABSENT
        return path.read_text(encoding="utf-8").split() if path.exists() else []

    def failed(self, folder: Path, table: str) -> int:
        """How many requests of a sealed table failed for good."""
        if not (folder / f"{table}.parquet").exists():
            return 0
        return self.frame(folder, table, ["error"])["error"].count()

    def sweep(self, parts: Iterable[str]) -> None:
        """Remove what killed processes left half written in these folders. Only for who holds the lock.

        Only names that are ours, and nothing behind a link.
        """
        for part in (".progress", *parts):
            for place, folders, files in os.walk(self.root / part):
                for name in filter(_HALF.fullmatch, files):
                    (Path(place) / name).unlink(missing_ok=True)
                for name in filter(_HALF.fullmatch, folders):
                    shutil.rmtree(Path(place) / name, ignore_errors=True)
        for path in self.root.glob(".*.*.tmp"):
            if _HALF.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)

    def unwritable(self, folder: Path, error: BaseException) -> StoreError | None:
        """The clear line behind an error of a library that could not write: a full disk has many names.

        None where the error says nothing of the kind and a small file can still be written to `folder`.
        """
        probe = folder / f".probe.{os.getpid()}.tmp"
        try:
            write_atomically(probe, bytes(PROBE_BYTES))
            probe.unlink()
        except StoreError as e:
            return e
        return unwritable(folder, error) if no_room(error) else None

    # -- progress and lock ------------------------------------------------------------------------------------

    def beat(self, label: str, **facts: Any) -> None:
        """Leave a sign of life for the progress display. At most four a second reach the disk."""
        now = time.monotonic()
        if now - _last_beat.get(label, -1.0) < BEAT_SECONDS:
            return
        _last_beat[label] = now
        path = self.root / ".progress" / f"{label.replace('/', '--')}.json"
        beside = path.with_suffix(f".{os.getpid()}.tmp")
        with suppress(OSError):  # a display that is behind is no reason to stop
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps({"label": label, **facts}))
            os.replace(beside, path)

    def beats(self) -> list[dict[str, Any]]:
        """What the running units said last."""
        found = []
        for path in sorted((self.root / ".progress").glob("*.json")):
            try:
                found.append(json.loads(path.read_text()))
            except (OSError, ValueError):
                continue  # replaced or removed while we looked
        return found

    def clear_beat(self, label: str | None = None) -> None:
        """Forget a unit's sign of life, or all of them."""
        pattern = f"{label.replace('/', '--')}.json" if label else "*"
        for path in (self.root / ".progress").glob(pattern):
            path.unlink(missing_ok=True)

    def ask_to_stop(self) -> None:
        """Let the running units finish what is in flight, and then stop."""
        with suppress(OSError):
            (self.root / ".progress").mkdir(parents=True, exist_ok=True)
            (self.root / ".progress" / STOP).touch()

    def stopping(self) -> bool:
        """Whether somebody asked to stop."""
        return (self.root / ".progress" / STOP).exists()

    def go_on(self) -> None:
        """Forget that somebody asked to stop."""
        (self.root / ".progress" / STOP).unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Generator[None]:
        """Hold the run folder. Raises StoreError naming the holder when another process has it."""
        from mixdistill.lock import hold

        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise unwritable(self.root, e) from e
        with hold(self.root):
            yield


@dataclass
class _Glance(Store):
    """A store that reads every marker once."""

    def __post_init__(self) -> None:
        self._markers: dict[Path, dict[str, Any] | None] = {}

    def marker(self, folder: Path) -> dict[str, Any] | None:
        if folder not in self._markers:
            self._markers[folder] = super().marker(folder)
        return self._markers[folder]

    def glance(self) -> Store:
        return self


_HALF = re.compile(r"\.?.+\.\d+\.tmp|\.\w+\.parquet\.tmp|\.model\.tmp")
"""Names under which something of ours is half written."""
_last_beat: dict[str, float] = {}


def _row(path: Path, row_type: type[R], line: bytes) -> R:
    try:
        return row_type.model_validate_json(line)
    except ValueError as e:
        raise StoreError(f"{path}: not readable ({str(e).splitlines()[0]}); delete it to redo this unit") from None


def _append(f: Any, folder: Path, line: bytes) -> int:
    # An unbuffered file may write part of a line when the disk is full; the next append must not glue onto it.
    start = f.seek(0, os.SEEK_END)  # a torn line may have been cut off since the file was opened
    try:
        if f.write(line) != len(line):
            f.truncate(start)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as e:
        raise unwritable(folder, e) from e
    return start


def read_described(path: Path, *keys: str) -> dict[str, Any] | None:
    """What a JSON file of ours that describes a unit holds; None where there is none.

    Raises StoreError where it cannot be read or lacks one of `keys`.
    """
    try:
        return shaped(path, json.loads(path.read_text(encoding="utf-8")), *keys)
    except FileNotFoundError:
        return None
    except ValueError:
        raise StoreError(f"{path}: not readable as JSON; delete it to redo this unit") from None


def shaped(path: Path, found: Any, *keys: str) -> dict[str, Any]:
    """What was found in a file, if it is an object in which each of `keys` holds an object or a text.

    Raises StoreError where it is not.
    """
    for key in keys:
        if not isinstance(found, dict) or not isinstance(found.get(key), dict | str):
            raise StoreError(f"{path}: holds no '{key}'; delete it to redo this unit")
    return found


@contextmanager
def readable(path: Path) -> Generator[None]:
    """Raises StoreError, with what to delete, where a sealed table is gone or is none."""
    import polars as pl

    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException, KeyError, ValueError) as e:
        raise StoreError(
            f"{path}: not readable ({said(e, 160)}); delete it, and {MARKER} beside it, to redo this unit"
        ) from None


def _parts(path: Path, where: tuple[str, Iterable[str]] | None) -> Iterator[pl.DataFrame]:
    """A sealed table in frames of at most `GROUP` rows, in order."""
    import polars as pl

    with readable(path):
        table = pl.scan_parquet(path, glob=False)
        count = table.select(pl.len()).collect().item()
    wanted = None if where is None else pl.col(where[0]).is_in(list(where[1]))
    for start in range(0, count, GROUP):
        with readable(path):
            part = table.slice(start, GROUP)
            frame = (part if wanted is None else part.filter(wanted)).collect()
        yield frame
