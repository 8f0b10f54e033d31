"""How fast a server may be asked: how many requests at once, how many and how many tokens a minute, when again.

Nothing here sleeps, sends or looks at a clock: times are given, in seconds of any monotonic clock.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

START = 16
"""Requests in flight to begin with."""
QUIET = 2.0
"""Seconds without trouble after which a doubling needs no completions to go on: long traces take minutes."""
CUT = 0.8
"""What trouble leaves of the limit."""
TROUBLE = 0.1
"""Share of the latest replies from which on it is trouble. A server that fails now and then is not a server that is
full, and a cut for each failure would end at one request in flight."""
REPLIES = 64
"""How many are the latest, at least; else as many as the limit."""
PATIENCE = (2, 32)
"""Rounds that a limit is held before more is tried: at first, and at most, after trial upon trial brought nothing."""


@dataclass(slots=True)
class _Round:
    """What was completed at one limit, counted from the first answer to a request that was sent under it."""

    began: float
    first: float | None = None
    count: int = 0
    weight: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class _Measured:
    limit: int
    rate: float
    """Completed a second: tokens, where the server counts them, else requests."""
    latency: float


class Pace:
    """How many requests may be in flight, found out from the server.

    Begins low and doubles, round by round, until there is trouble (a tenth of the latest replies was 429, 503 or a
    time-out) or until more in flight brings no more completed tokens a second and only takes longer. Trouble cuts the
    limit, once for all requests that were sent before the cut; what brought nothing is taken back. The limit is then
    held for some rounds before a quarter more is tried, so a server that grows is found out too. A round is as many
    completions as the limit, and twice as many where a small step is judged.
    """

    def __init__(self, most: int, start: int = START) -> None:
        self.most = most
        self.limit = min(start, most)
        """Requests that may be in flight now."""
        self.bound = False
        """Set by whoever sends, when the limit held it back. A limit that binds nobody is not raised."""
        self._doubling = True
        self._cut_at, self._share = -math.inf, 0.0
        self._ceiling = math.inf
        self._patience, self._hold = PATIENCE[0], 0
        self._before: _Measured | None = None
        self._round = _Round(-math.inf)

    def done(self, now: float, sent: float, weight: float) -> None:
        """A request that was sent at `sent` is answered; `weight` is its completion tokens, or 1."""
        self._replied(0.0)
        current = self._round
        if current.first is None:
            if sent >= current.began:
                current.first = now
            return
        current.count += 1
        current.weight += weight
        current.seconds += now - sent
        enough = self.limit if self._doubling or self._ceiling < math.inf else max(32, 2 * self.limit)
        if current.count >= enough and now > current.first:
            latency = current.seconds / current.count
            self._judge(_Measured(self.limit, current.weight / (now - current.first), latency), now)

    def trouble(self, now: float, sent: float) -> None:
        """The server was too busy for a request that was sent at `sent`."""
        if sent < self._cut_at:
            return  # it was on its way before the cut: nothing new
        self._replied(1.0)
        if self._share < TROUBLE:
            return
        self._ceiling, self._cut_at, self._share = self.limit, now, 0.0
        self._doubling, self._hold = False, 0
        self._set(max(1, int(self.limit * CUT)), now)

    def quiet(self, now: float) -> None:
        """Time went by: in the beginning, a server that has neither answered nor refused may be asked for more."""
        if self._round.began == -math.inf:
            self._round.began = now
        if self._doubling and self.bound and self._round.first is None and now - self._round.began >= QUIET:
            self._set(min(self.most, 2 * self.limit), now)

    def _replied(self, trouble: float) -> None:
        """Keep the share of trouble among the latest replies."""
        self._share += (trouble - self._share) / max(REPLIES, self.limit)

    def _judge(self, here: _Measured, now: float) -> None:
        """A round is over."""
        before = self._before
        if before and _brought_nothing(before, here):
            self._doubling = False
            self._lengthen()
            self._set(before.limit, now)
        elif self._hold or not self.bound or self.limit >= self.most:
            self._hold = max(0, self._hold - 1)
            self._set(self.limit, now)
        elif self._near_ceiling():
            self._ceiling = math.inf
            self._lengthen()
            self._set(self.limit, now)
        else:
            if before and not self._doubling:
                self._patience = PATIENCE[0]  # the last step was worth it
            self._set(self._higher(), now, here if self._ceiling == math.inf else None)

    def _lengthen(self) -> None:
        self._hold, self._patience = self._patience, min(PATIENCE[1], 2 * self._patience)

    def _near_ceiling(self) -> bool:
        """Whether the next step would meet the trouble of last time again."""
        return self.limit >= int(0.9 * self._ceiling) if self._ceiling < math.inf else False

    def _higher(self) -> int:
        step = 2 * self.limit if self._doubling else self.limit + max(1, self.limit // 4)
        if self._ceiling < math.inf:
            step = min(step, max(self.limit + 1, int(0.9 * self._ceiling)))
        return min(self.most, step)

    def _set(self, limit: int, now: float, before: _Measured | None = None) -> None:
        self.limit, self._before, self.bound = limit, before, False
        self._round = _Round(now)


def _brought_nothing(before: _Measured, here: _Measured) -> bool:
    """Whether a higher limit only made everybody wait: it gave less than half of what it should have, and latency
    took up more than half of it."""
    more = here.limit / before.limit - 1
    return here.rate < before.rate * (1 + 0.5 * more) and here.latency > before.latency * (1 + 0.4 * more)


class Bucket:
    """An amount a minute. It fills steadily, holds `seconds` of it, and may be overdrawn by one large request."""

    def __init__(self, a_minute: float, seconds: float = 1.0) -> None:
        self.rate = a_minute / 60
        self.size = max(1.0, self.rate * seconds)
        self.level, self._at = self.size, -math.inf

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` may be taken; of more than the bucket holds, until it is full."""
        self._fill(now)
        return max(0.0, (min(amount, self.size) - self.level) / self.rate)

    def take(self, now: float, amount: float) -> None:
        """Take it, there or not."""
        self._fill(now)
        self.level -= amount

    def put(self, amount: float) -> None:
        """Give back what an estimate took too much; negative where it took too little."""
        self.level = min(self.size, self.level + amount)

    def _fill(self, now: float) -> None:
        if self._at > -math.inf:
            self.level = min(self.size, self.level + (now - self._at) * self.rate)
        self._at = now


class Lengths:
    """Tokens that a request will take, guessed from those that were taken."""

    def __init__(self) -> None:
        self._count, self._tokens = 0, 0

    def estimate(self, characters: int, max_tokens: int | None) -> float:
        """Of a prompt of so many characters and its completion."""
        completion = self._tokens / self._count if self._count else 1024
        return characters / 4 + min(completion, max_tokens or math.inf)

    def add(self, completion_tokens: int) -> None:
        """A completion had so many."""
        self._count += 1
        self._tokens += completion_tokens


def back_off(tries: int, rng: random.Random, *, first: float = 0.5, most: float = 30.0) -> float:
    """Seconds before the next try after `tries` failed ones: anything up to a bound that doubles, so that a crowd of
    requests that failed together does not come back together."""
    return rng.uniform(0, min(most, first * 2 ** (tries - 1)))


def retry_after(headers: Mapping[str, str], clock: float | None = None) -> float | None:
    """Seconds that a server asks to wait: `retry-after-ms`, or `retry-after` in seconds or as an HTTP date.

    `clock` is the time of day in seconds since 1970; the machine's own when None. None where nothing sensible is asked.
    """
    try:
        if (ms := headers.get("retry-after-ms")) is not None:
            seconds = float(ms) / 1000
        elif (text := headers.get("retry-after")) is None:
            return None
        elif text[:1].isalpha():
            seconds = parsedate_to_datetime(text).timestamp() - (time.time() if clock is None else clock)
        else:
            seconds = float(text)
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
