"""Which rows each update takes: the next ones of an order that all arms have in common."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Schedule:
    """Rows of a training set, update by update."""

    rows: np.ndarray
    """Row numbers in the order in which they are taken."""
    ends: np.ndarray
    """[updates] Update u takes `rows[ends[u - 1]:ends[u]]`."""

    @property
    def updates(self) -> list[list[int]]:
        """The rows of every update."""
        flat, ends = self.rows.tolist(), self.ends.tolist()
        return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    @property
    def frame(self) -> pl.DataFrame:
        """The same as a table with the columns of `Update`."""
        import numpy as np
        import polars as pl

        sizes = np.diff(self.ends, prepend=0)
        return pl.DataFrame({"update": np.repeat(np.arange(len(sizes)), sizes), "example": self.rows})

    def takes(self, rows: int) -> np.ndarray:
        """[rows] How many updates take each of so many rows."""
        import numpy as np

        return np.bincount(self.rows, minlength=rows)


def schedule(
    sizes: ArrayLike,
    *,
    updates: int,
    per_update: int,
    rng: random.Random,
    stages: ArrayLike | None = None,
    times: ArrayLike | None = None,
    problems: ArrayLike | None = None,
    of: int = 0,
) -> Schedule:
    """The next rows of the common order, until an update holds its budget.

    `sizes` are the rows' sizes in the budget's unit, each at least 1, and `problems` what each row is of, rising (each
    its own), among `of` that an arm may have rows of. The order is a new shuffle of all these again and again. One
    without a row is passed over, and one that has several gives them in turn: so arms with other problems, or with more
    rows of them, meet those that they share in the same order. In a pass a row stands as often as `times` says (once).
    Update t ends with the row by which the running total reaches (t + 1) * per_update, so rounding never adds up; it
    holds at least one row. With `stages`, the very rows that are taken without them are taken in another order: those
    of a lower stage first, over all passes.
    """
    import numpy as np

    size = np.asarray(sizes, dtype=np.int64)
    rounds = _rounds(np.arange(len(size)) if problems is None else np.asarray(problems), times, of, rng)
    parts, total = [], 0
    while total < updates * per_update:
        parts.append(next(rounds))
        total += int(size[parts[-1]].sum())
    order = np.concatenate(parts)
    while (ends := _ends(size[order], updates, per_update))[-1] > len(order):
        order = np.concatenate([order, next(rounds)])
    order = order[: ends[-1]]
    if stages is not None:
        order = order[np.argsort(np.asarray(stages)[order], kind="stable")]
        # What was the last row may now stand further up, and another one behind the last that is needed.
        latest = len(order) - np.arange(updates)[::-1]
        ends = np.minimum(_ends(size[order], updates, per_update), latest)
        ends[-1] = len(order)
    return Schedule(order, ends)


def _rounds(problems: np.ndarray, times: ArrayLike | None, of: int, rng: random.Random) -> Iterator[np.ndarray]:
    """Rows in rounds without end, each in an order of its own: of every problem its first row, then the second of those
    that have one, and so on, and from the beginning again."""
    import numpy as np

    counts = np.bincount(problems, minlength=of)
    first = np.cumsum(counts) - counts
    often = np.ones(len(counts), dtype=np.int64)
    if times is not None:
        often[problems] = times
    one = np.repeat(np.arange(len(counts)), often).tolist()
    for turn in itertools.cycle(range(int(counts.max()))):
        shuffled = list(one)
        rng.shuffle(shuffled)
        order = np.asarray(shuffled, dtype=np.int64)
        order = order[counts[order] > turn]
        yield first[order] + turn


def _ends(sizes: np.ndarray, updates: int, per_update: int) -> np.ndarray:
    """Where every update ends; beyond the rows where they are too few."""
    import numpy as np

    number = np.arange(updates)
    reached = np.searchsorted(np.cumsum(sizes), (number + 1) * per_update) + 1
    return np.maximum.accumulate(reached - number) + number
