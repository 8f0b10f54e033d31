"""What passed through a training, counted while it happens, and what its log says: the facts of its marker."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from mixdistill.types import Example

if TYPE_CHECKING:
    from mixdistill.training.batches import MicroBatch

POINTS = 50
"""About as many losses are kept, each the mean of a span of updates."""


class Seen:
    """Counts the rows of every update: how many, how long, whose, and of which problems."""

    def __init__(self, examples: Sequence[Example], cut: frozenset[int] = frozenset()) -> None:
        """`cut`: the rows that were longer than `max_length` and lost their end."""
        self._examples, self._cut = examples, cut
        self._problems: set[str] = set()
        self._by_update: list[Counter[str]] = []
        self.examples = self.loss_tokens = self.positions = self.truncated = self.longest = 0

    def update(self, micro_batches: Sequence[MicroBatch]) -> None:
        """Add the micro-batches of one update."""
        tokens: Counter[str] = Counter()
        for batch in micro_batches:
            self.positions += batch.inputs["input_ids"].numel()
            for i, n in zip(batch.rows, batch.loss_tokens, strict=True):
                self.examples += 1
                self.truncated += i in self._cut
                self.longest = max(self.longest, n)
                self._problems.add(self._examples[i].problem_id)
                tokens[self._examples[i].teacher] += n
        self.loss_tokens += tokens.total()
        self._by_update.append(tokens)

    def facts(self) -> dict[str, Any]:
        """Counts; of each teacher its loss tokens, and mean and standard deviation over the updates of its share of an
        update's loss tokens."""
        teachers = sorted({t for tokens in self._by_update for t in tokens})
        shares = {t: [u[t] / (u.total() or 1) for u in self._by_update] for t in teachers}
        return {
            "examples": self.examples,
            "distinct_problems": len(self._problems),
            "epochs": round(self.examples / len(self._examples), 4),
            "loss_tokens": self.loss_tokens,
            "positions": self.positions,
            "truncated": self.truncated,
            "longest_row": self.longest,
            "teacher_tokens": {t: sum(u[t] for u in self._by_update) for t in teachers},
            "teacher_share_mean": {t: round(fmean(s), 6) for t, s in shares.items()},
            "teacher_share_sd": {t: round(pstdev(s), 6) for t, s in shares.items()},
        }


def from_log(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Losses and learning rates as the trainer logged them at every update, those before a resumption included."""
    steps = [h for h in history if "loss" in h]
    size = max(1, len(steps) // POINTS)
    spans = [steps[i : i + size] for i in range(0, len(steps), size)]
    tenth = max(1, len(steps) // 10)
    rates = [h["learning_rate"] for h in steps]
    return {
        "first_loss": mean_loss(steps[:tenth]),
        "final_loss": mean_loss(steps[-tenth:]),
        "losses": [[span[-1]["step"], mean_loss(span)] for span in spans],
        "peak_learning_rate": max(rates, default=None),
        "learning_rate_integral": math.fsum(rates),
        "warmup_updates": rates.index(max(rates)) if rates else 0,
    }


def mean_loss(steps: Sequence[dict[str, Any]]) -> float:
    """Mean loss of some updates of a log."""
    return round(fmean(h["loss"] for h in steps), 5) if steps else math.nan


BEGAN, SPAN = 5, 20
"""Updates whose mean loss says where a training began, and where it is."""


def risen(history: Sequence[dict[str, Any]], warmup: int) -> bool:
    """Whether the loss went up and stays there: the mean of the last 20 updates, all of them after the warm-up, is more
    than twice that of the first 5 and 1 more.
    """
    last = history[-SPAN:]
    if len(history) < BEGAN + SPAN or last[0].get("step", 0) <= warmup:
        return False
    began, now = (fmean(h["loss"] for h in part if "loss" in h) for part in (history[:BEGAN], last))
    return now > 2 * began + 1
