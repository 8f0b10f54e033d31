"""What traces cost, and what may still be spent on them: by one teacher, and by all teachers of a study together."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mixdistill.files import write_atomically
from mixdistill.sections import Price, Spend
from mixdistill.store import SET_ASIDE
from mixdistill.types import Trace, Usage

SPENT = "spent.json"
"""In a teacher's folder: what was spent on it so far, rows that were bought anew included."""
NOTED_APART = 0.5
"""Seconds between looks at what the others spent, and notes of one's own."""
BLIND = 4
"""Requests in flight before anybody knows what one takes."""


def price_of(usage: Usage, price: Price | None) -> float | None:
    """US dollars of a request; None where the price or the tokens are not known."""
    if price is None or usage.completion_tokens is None:
        return None
    return ((usage.prompt_tokens or 0) * price.prompt + usage.completion_tokens * price.completion) / 1e6


@dataclass(frozen=True)
class Amount:
    """Money and sampled tokens."""

    cost: float = 0.0
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.cost + other.cost, self.tokens + other.tokens)

    def times(self, n: int) -> Amount:
        """Of `n` such requests."""
        return Amount(self.cost * n, self.tokens * n)


def amount(trace: Trace) -> Amount:
    """What a trace took."""
    return Amount(trace.cost or 0.0, trace.usage.completion_tokens or 0)


@dataclass
class Purse:
    """Says whether one more request may be sent. Without limits, and without a folder, it always may."""

    own: Spend = field(default_factory=Spend)
    """Limits of this teacher."""
    study: Spend = field(default_factory=Spend)
    """Limits of all teachers together."""
    folder: Path | None = None
    """This teacher's, beside those of the others."""
    at_most: Amount | None = None
    """Most that a request may take, where `max_tokens` says; else the largest so far stands for it."""
    free: bool = False
    """Whether its traces cost nothing where nobody says what they cost: from a file, or made on this machine."""
    others: Callable[[], Iterable[Path]] | None = None
    """Folders of those who share the limits of `study`; when not given, those of the other teachers."""
    whose: str = " on all teachers"
    """Who shares them, for the message."""
    spent: Amount = field(default_factory=Amount)
    largest: Amount | None = None
    """Most that a request took so far."""
    unpriced: bool = False
    """Whether a trace came that nobody knows the cost of."""

    def __post_init__(self) -> None:
        self._others, self._looked, self._noted = Amount(), -NOTED_APART, -NOTED_APART

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.own != Spend() or self.study != Spend()

    def begin(self, there: Amount) -> None:
        """Start from the rows that are there, or from what was noted where that is more: some were bought anew."""
        noted = _noted(self.folder) if self.folder else Amount()
        self.spent = Amount(max(there.cost, noted.cost), max(there.tokens, noted.tokens))

    def add(self, trace: Trace) -> None:
        """A request was answered."""
        took = amount(trace)
        self.spent += took
        if trace.error is None:
            self.unpriced |= trace.cost is None
            self.largest = _larger(self.largest or Amount(), took)
        self.note()

    def refusal(self, flying: int) -> str | None:
        """Why one more request, beside those in flight, must not be sent; None where it may."""
        if not self.limited:
            return None
        if self.unpriced and (self.own.cost or (self.study.cost and not self.free)):
            return "spend.cost is set, and neither a price nor the server says what a request costs; set the price"
        if self.largest is None and self.at_most is None:
            return None if flying < BLIND else "waiting"
        each = _larger(self.largest or Amount(), self.at_most or Amount())
        ahead = each.times(flying + 1)
        found = _over(self.own, self.spent, ahead)
        if found is None and self.study != Spend():
            found = _over(self.study, self.spent + self._of_others(), ahead, self.whose)
        return found and (found if flying == 0 else "waiting")

    def note(self, *, now: bool = False) -> None:
        """Leave word of what was spent, for the other teachers and for the next session, which may have limits."""
        if self.folder and (now or time.monotonic() - self._noted > NOTED_APART):
            self._noted = time.monotonic()
            text = json.dumps({"cost": self.spent.cost, "tokens": self.spent.tokens})
            write_atomically(self.folder / SPENT, text.encode())

    def _of_others(self) -> Amount:
        if self.folder and time.monotonic() - self._looked > NOTED_APART:
            self._looked = time.monotonic()
            others = self.others() if self.others else _other_teachers(self.folder)
            self._others = sum((_noted(folder) for folder in others), Amount())
        return self._others


def _other_teachers(folder: Path) -> list[Path]:
    generate = folder.parent
    others = [p.parent for p in generate.glob(f"*/{SPENT}") if p.parent != folder]
    return others + [p.parent for p in (generate.parent / SET_ASIDE / generate.name).glob(f"*/{SPENT}")]


def _larger(a: Amount, b: Amount) -> Amount:
    return Amount(max(a.cost, b.cost), max(a.tokens, b.tokens))


def _over(limit: Spend, spent: Amount, ahead: Amount, whose: str = "") -> str | None:
    from mixdistill.page.wording import dollars

    if limit.cost is not None and spent.cost + ahead.cost > limit.cost:
        said = f"{dollars(spent.cost)} spent{whose}, and the next request could go over spend.cost={limit.cost:g}"
    elif limit.tokens is not None and spent.tokens + ahead.tokens > limit.tokens:
        said = f"{spent.tokens:,} tokens sampled{whose}, and the next request could go over spend.tokens={limit.tokens}"
    else:
        return None
    return f"{said}; raise it to go on, or give a --limit"


def _noted(folder: Path) -> Amount:
    try:
        said = json.loads((folder / SPENT).read_text(encoding="utf-8"))
        return Amount(float(said["cost"]), int(said["tokens"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Amount()
