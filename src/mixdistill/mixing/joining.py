"""The texts of a training set, joined to its rows at the end: however many there are, few are in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixdistill.collect import TABLE as TRACES
from mixdistill.parquet import columns_of, unflatten
from mixdistill.prompts import Prompt, asking, tagged
from mixdistill.store import GROUP, Store, readable
from mixdistill.types import Example, Problem

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

SHORT = 1000
"""Bytes of a row on the disk, below which it is short."""
FEW, MANY = 1, 8
"""Groups of a table's rows that are read together: of long rows, and of short ones."""


def examples(rows: pl.DataFrame, store: Store, ask: str | None = None) -> Iterator[pl.DataFrame]:
    """Tables with the columns of `Example`, in the order of the rows: place, number, problem_id, teacher, trace_id and
    tag of each. `ask` is the template around every prompt.

    Where the rows are in the order of the problems, as the sealed tables are, each of these is read once, from its
    beginning to its end; in any other order parts of them are read more than once.
    """
    import polars as pl

    prompts = _Reader(store.folder("problems") / "train.parquet", ["prompt"])
    texts = {t: store.folder("generate", t) / f"{TRACES}.parquet" for t in rows["teacher"].unique().to_list()}
    readers = {t: _Reader(path, ["reasoning", "content"]) for t, path in texts.items()}
    size = min(reader.size for reader in readers.values())
    for start in range(0, len(rows), size):
        part = rows[start : start + size].with_row_index("row")
        found = []
        for teacher in texts:
            mine = part.filter(pl.col("teacher") == teacher)
            if len(mine):
                text = readers[teacher].take(mine["number"].to_numpy())
                found.append(pl.concat([mine, text], how="horizontal"))
        whole = pl.concat(found).sort("row")
        whole = whole.with_columns(prompts.take(whole["place"].to_numpy())["prompt"])
        yield _as_asked(whole, ask).select(*columns_of(Example)).cast({"teacher": pl.String})


class _Reader:
    """Rows of a sealed table by their numbers. What was read last is kept, since the next are mostly beside it.

    `size` rows are read together, fewer where they are long.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        import polars as pl

        self._path, self._columns = path, columns
        self._block = -1
        self._frame: pl.DataFrame | None = None
        with readable(path):
            rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
        # Opening the file costs more than reading short texts.
        self.size = GROUP * (FEW if path.stat().st_size > SHORT * rows else MANY)

    def take(self, numbers: np.ndarray) -> pl.DataFrame:
        """The rows of these numbers, in this order."""
        import numpy as np
        import polars as pl

        blocks = numbers // self.size
        found, places = [], []
        for block in np.unique(blocks).tolist():
            mine = np.flatnonzero(blocks == block)
            found.append(self._read(block)[numbers[mine] - block * self.size])
            places.append(mine)
        order = np.argsort(np.concatenate(places), kind="stable")
        return pl.concat(found)[order]

    def _read(self, block: int) -> pl.DataFrame:
        import polars as pl

        if self._frame is None or block != self._block:
            with readable(self._path):
                table = pl.scan_parquet(self._path, glob=False).select(self._columns)
                self._frame, self._block = table.slice(block * self.size, self.size).collect(), block
        return self._frame


def _as_asked(part: pl.DataFrame, ask: str | None) -> pl.DataFrame:
    """Prompts in their template, with the tags of their rows on a last line."""
    import polars as pl

    if ask is None and not (part["tag"] != "").any():
        return part
    put = asking(ask)
    prompts = [_changed(prompt, tag, put) for prompt, tag in part.select("prompt", "tag").iter_rows()]
    return part.with_columns(prompt=pl.Series(prompts, dtype=pl.String))


def _changed(prompt: str, tag: str, put: Callable[[Prompt], Prompt]) -> str:
    """The JSON text of a prompt, with a template and a tag."""
    problem = unflatten(Problem, {"id": "", "prompt": prompt, "answer": ""}, ["prompt"])
    changed = problem.model_copy(update={"prompt": tagged(put(problem.prompt), tag)})
    return json.dumps(changed.model_dump(mode="json")["prompt"], ensure_ascii=False, sort_keys=True)
