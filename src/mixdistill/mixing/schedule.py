"""Which rows each update takes: the next ones of an order that all arms have in common."""

from __future__ import annotations

import random
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
) -> Schedule:
    """The next rows of the common order, until an update holds its budget.

    `sizes` are the rows' sizes in the budget's unit, each at least 1. The order is a new shuffle of all rows for every
    pass, in which a row stands as often as `times` says (once). Update t ends with the row by which the running total
    reaches (t + 1) * per_update, so rounding never adds up; it holds at least one row. With `stages`, the very rows
    that are taken without them are taken in another order: those of a lower stage first, over all passes.
    """
    import numpy as np

    size = np.asarray(sizes, dtype=np.int64)
    one_pass = np.repeat(np.arange(len(size)), 1 if times is None else np.asarray(times)).tolist()
    passes = -(-updates * per_update // int(size[one_pass].sum()))
    order = _shuffled(one_pass, passes, rng)
    while (ends := _ends(size[order], updates, per_update))[-1] > len(order):
        order = np.concatenate([order, _shuffled(one_pass, 1, rng)])
    order = order[: ends[-1]]
    if stages is not None:
        order = order[np.argsort(np.asarray(stages)[order], kind="stable")]
        # What was the last row may now stand further up, and another one behind the last that is needed.
        latest = len(order) - np.arange(updates)[::-1]
        ends = np.minimum(_ends(size[order], updates, per_update), latest)
        ends[-1] = len(order)
    return Schedule(order, ends)


def _shuffled(rows: list[int], passes: int, rng: random.Random) -> np.ndarray:
    """The rows in so many passes, each in an order of its own."""
    import numpy as np

    order = []
    for _ in range(passes):
        one = list(rows)
        rng.shuffle(one)
        order.append(np.asarray(one, dtype=np.int64))
    return np.concatenate(order)


def _ends(sizes: np.ndarray, updates: int, per_update: int) -> np.ndarray:
    """Where every update ends; beyond the rows where they are too few."""
    import numpy as np

    number = np.arange(updates)
    reached = np.searchsorted(np.cumsum(sizes), (number + 1) * per_update) + 1
    return np.maximum.accumulate(reached - number) + number
