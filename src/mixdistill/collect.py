"""Buying the traces of an author: what there is, what is still wanted, and no request that need not be made.

Requests are drawn one after another, the first sample of every problem before the second of any, so that whatever stops
the buying leaves the most problems with a trace. Every trace is journaled as it arrives. Whether a further sample is
wanted is asked of a rule when one has come back, so what is bought does not depend on how many are in flight.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from mixdistill import resolve
from mixdistill.errors import StageError, Stopped
from mixdistill.prompts import Prompt
from mixdistill.sections import Price
from mixdistill.spending import Amount, Purse, amount, price_of
from mixdistill.store import Store
from mixdistill.types import Completion, Problem, Request, Sampling, Trace, content_hash, trace_id
from mixdistill.wanted import Rule, Tally

TABLE = "traces"
LOOK_APART = 0.1
"""Seconds between looks whether somebody asked to stop."""
JUDGED_APART = 0.5
"""Seconds between traces that are judged for the display alone."""
STOPPED = "stopped; run again to go on"


@dataclass
class Buying:
    """Whose traces are bought, of which problems, how many, and on what terms."""

    author: str
    model: str
    """As the traces should name it."""
    problems: Sequence[Problem]
    rule: Rule
    label: str
    """Of the unit, for messages."""
    error_rate: float
    """Largest share of failed requests."""
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    ask: Callable[[Prompt], Prompt] = lambda prompt: prompt
    """What the author is asked for a problem's prompt."""
    judge: Callable[[Problem, Trace], bool] | None = None
    """Whether a trace is right."""
    begun: Mapping[str, tuple[str, list[int]]] = field(default_factory=dict)
    """Problem id -> how the assistant's turn begins, as text and as tokens, where the author is to go on from there."""
    price: Price | None = None
    purse: Purse = field(default_factory=Purse)


@dataclass(frozen=True)
class Collected:
    """What `collect` has of an author."""

    table: dict[str, Any]
    """Description of the sealed table: its traces lie in the order of the problems, failed ones included, and also
    those that were bought when more was wanted."""
    counts: dict[str, Any]
    """Traces by how they ended, tokens, cost."""
    absent: frozenset[str]
    """Ids of wanted traces that there are none of and never will be, as the backend says (a file of recorded ones)."""
    still_cut: int = 0
    """Traces that were cut at a lower limit and stayed, since the request for another failed."""


def collect(store: Store, folder: Path, backend: Any, buying: Buying) -> Collected:
    """Every wanted trace of an author: what is there already, and the rest from the backend.

    A trace with an error is asked for again, and one that was cut at a lower limit than now. Raises StageError when
    more than `error_rate` of the traces failed, when the backend left a request without an answer, when what may be
    spent is spent, and when somebody asked to stop; the rows are kept.
    """
    with store.appending(folder, TABLE) as append:
        desk = _Desk(store, folder, buying, append)
        live = getattr(backend, "LIVE", False)
        while desk.more():
            desk.drawn = 0  # positions count from here
            for position, completion in backend.generate(desk if live else desk.round()):
                desk.take(position, completion)
                if not live and desk.stopped():
                    break
            desk.check_answered()
    desk.check_end()
    counts = _Counts()
    table = store.seal(folder, Trace, counts.passing(desk.rows()), TABLE)
    absent = {"absent": len(desk.absent)} if desk.absent else {}
    return Collected(table, counts.all() | absent, frozenset(desk.absent), desk.still_cut())


@dataclass(slots=True)
class _Held:
    """A trace that is there."""

    order: tuple[int, str, int]
    """(number of its problem, problem id, sample): its place in the sealed table."""
    place: int | None
    """Its place in the journal; None: it is in the sealed table alone."""
    open: bool
    """To be asked for again."""
    failed: bool
    right: bool
    took: Amount


class _Desk:
    """The state of one `collect`. As an iterator it gives the requests that are still to be made: None where there is
    none before an answer comes, and an end where no more may come.
    """

    def __init__(self, store: Store, folder: Path, buying: Buying, append: Callable[[Trace], int]) -> None:
        self.store, self.folder, self.buying, self.append = store, folder, buying, append
        self.numbers = {p.id: n for n, p in enumerate(buying.problems)}
        self.tallies = [Tally() for _ in buying.problems]
        self.held: dict[str, _Held] = {}
        self.failed: dict[str, str] = {}
        """Trace whose last request failed -> why."""
        self.absent = set(store.absent(folder))
        self.ready: deque[tuple[int, int]] = deque()
        """(number of the problem, sample) to be asked for."""
        self.flying: dict[int, tuple[int, int, Request]] = {}
        """Position -> what was asked and has no answer yet."""
        self.drawn = 0
        self.why: str | None = None
        """Why no more is asked for."""
        self.meter = _Meter(store, buying.label)
        self._looked = 0.0
        self._know_what_is_there()
        for n in range(len(buying.problems)):
            self._want(n)
        self.ready = deque(sorted(self.ready, key=lambda todo: todo[1]))  # stable: problems stay in their order

    # -- what is there ----------------------------------------------------------------------------------------

    def _know_what_is_there(self) -> None:
        sealed = ((None, trace) for trace in self.store.rows(self.folder, Trace, TABLE))
        for place, trace in chain(sealed, self.store.journaled(self.folder, Trace, TABLE)):
            self._keep(trace, place)
        for trace in self.store.rows(self.folder, Trace, TABLE):
            held = self.held[trace.id]
            if held.place is None:
                held.place = self.append(trace)
        self.buying.purse.begin(sum((held.took for held in self.held.values()), Amount()))
        for held in self.held.values():
            if held.order[0] < len(self.tallies) and not held.open:
                tally = self.tallies[held.order[0]]
                tally.answered += 1
                tally.right += held.right

    def _keep(self, trace: Trace, place: int | None) -> bool:
        """Hold a trace, unless it is a failure in the place of one that is there; whether it is right."""
        if trace.error:
            self.failed[trace.id] = trace.error
        else:
            self.failed.pop(trace.id, None)
        before = self.held.get(trace.id)
        if trace.error and before and not before.failed:
            return before.right
        number = self.numbers.get(trace.problem_id, len(self.numbers))
        held = _Held(
            order=(number, trace.problem_id, trace.sample),
            place=place,
            open=trace.error is not None or self._was_cut_earlier(trace),
            failed=trace.error is not None,
            right=self.buying.rule.judges and number < len(self.numbers) and self._is_right(trace, number),
            took=amount(trace),
        )
        self.held[trace.id] = held
        return held.right

    def _was_cut_earlier(self, trace: Trace) -> bool:
        """Whether a higher limit than its own is now in force for a trace that was cut."""
        now, then = self.buying.sampling.max_tokens, trace.sampling.get("max_tokens")
        return trace.finish_reason == "length" and then is not None and (now is None or now > then)

    def _is_right(self, trace: Trace, number: int) -> bool:
        judge = self.buying.judge
        right = judge is not None and trace.error is None and judge(self.buying.problems[number], trace)
        self.meter.judged(right, trace)
        return right

    # -- what is wanted ---------------------------------------------------------------------------------------

    def _want(self, number: int) -> None:
        """Make ready what the rule wants of a problem and nobody has asked for."""
        problem, tally = self.buying.problems[number], self.tallies[number]
        while tally.asked < self.buying.rule.wanted(problem, tally):
            sample, tally.asked = tally.asked, tally.asked + 1
            wanted = trace_id(self.buying.author, problem.id, sample)
            if wanted in self.absent:
                tally.answered += 1
            elif (held := self.held.get(wanted)) is None or (held.open and not self._is_spared(held, tally)):
                self.ready.append((number, sample))
            else:
                self.meter.done += 1
            self.meter.total += 1

    def _is_spared(self, held: _Held, tally: Tally) -> bool:
        if self.buying.rule.spares(held.order[2], tally):
            held.open = False  # and nobody holds it against the author
        return not held.open

    def more(self) -> bool:
        """Whether anything is to be asked for."""
        return bool(self.ready) and not self.stopped()

    def stopped(self) -> bool:
        """Whether no more may be asked for: spent, or somebody asked to stop."""
        if self.why is None and time.monotonic() - self._looked > LOOK_APART:
            self._looked = time.monotonic()
            if self.store.stopping():
                self.why = STOPPED
        if self.why is None and self.ready and (refusal := self.buying.purse.refusal(len(self.flying))):
            self.why = refusal if not self.flying else None
        return self.why is not None

    def __iter__(self) -> _Desk:
        return self

    def __next__(self) -> Request | None:
        if self.stopped() or not (self.ready or (self.flying and self.buying.rule.judges)):
            raise StopIteration
        if self.flying and (not self.ready or self.buying.purse.refusal(len(self.flying))):
            return None
        number, sample = self.ready.popleft()
        problem = self.buying.problems[number]
        prefix, prefix_ids = self.buying.begun.get(problem.id, ("", []))
        request = Request(
            prompt=self.buying.ask(problem.prompt),
            prefix=prefix,
            prefix_ids=prefix_ids,
            sample=sample,
            seed=request_seed(self.buying.seed, problem.id, sample),
            sampling=self.buying.sampling,
        )
        self.flying[self.drawn] = (number, sample, request)
        self.drawn += 1
        return request

    def round(self) -> list[Request]:
        """All that may be asked for now, for a backend that wants to see it together."""
        found = []
        while self.ready and (request := next(self, None)) is not None:
            found.append(request)
        return found

    # -- what comes back --------------------------------------------------------------------------------------

    def take(self, position: int, completion: Completion | None) -> None:
        """Journal an answer, and see what is wanted now."""
        if position not in self.flying:
            raise StageError(
                f"{self.buying.label}: the backend answered request {position}, which is not open; it must yield one "
                "completion for each request"
            )
        number, sample, request = self.flying.pop(position)
        self.tallies[number].answered += 1
        if completion is None:
            self.absent.add(trace_id(self.buying.author, self.buying.problems[number].id, sample))
        else:
            trace = self._trace(number, sample, completion, request.seed)
            self.tallies[number].right += self._keep(trace, self.append(trace))
            self.buying.purse.add(trace)
            if not self.buying.rule.judges and self.buying.judge and self.meter.may_judge():
                self._is_right(trace, number)
            self.meter.took(amount(trace))
        if self.buying.rule.judges:
            self._want(number)
        self.meter.beat(len(self.flying))

    def _trace(self, number: int, sample: int, completion: Completion, seed: int) -> Trace:
        buying, problem = self.buying, self.buying.problems[number]
        said = {key: whole(value) if isinstance(value, str) else value for key, value in dict(completion).items()}
        said["error"] = said["error"] and resolve.redacted(said["error"])
        if said["cost"] is None:
            said["cost"] = price_of(completion.usage, buying.price)
        return Trace(
            id=trace_id(buying.author, problem.id, sample),
            problem_id=problem.id,
            author=buying.author,
            model=whole(buying.model),
            sample=sample,
            sampling=buying.sampling.model_dump(exclude_none=True) | {"seed": seed},
            **said,  # ty: ignore[invalid-argument-type]
        )

    def check_answered(self) -> None:
        """Raises StageError where a backend is through and requests have no answer, unless it was stopped."""
        if self.flying and self.why is None:
            raise StageError(
                f"{self.buying.label}: the backend gave no answer to {len(self.flying):,} of {self.drawn:,} requests; "
                "it must yield one for each, None where there is none"
            )
        self.flying.clear()

    # -- the end ----------------------------------------------------------------------------------------------

    def check_end(self) -> None:
        """Raises StageError where no more may be asked for and more is wanted, and where too many requests failed."""
        label, wanted = self.buying.label, self.meter.total
        self.buying.purse.note(now=True)
        if self.why is not None and self.ready:  # what was in flight may have been the last
            kind = Stopped if self.why == STOPPED else StageError
            raise kind(f"{label}: {self.meter.done:,} of {wanted:,} traces are there; {self.why}")
        ours = {i: why for i, why in self.failed.items() if self._is_wanted(self.held[i])}
        if ours and len(ours) > self.buying.error_rate * wanted:
            raise StageError(
                f"{label}: {len(ours):,} of {wanted:,} requests failed, more than "
                f"error_rate={self.buying.error_rate:g}; the first said: {next(iter(ours.values()))}; run again to ask "
                "for these again, or raise error_rate"
            )

    def _is_wanted(self, held: _Held) -> bool:
        number, _, sample = held.order
        return held.open and number < len(self.tallies) and sample < self.tallies[number].asked

    def still_cut(self) -> int:
        """How many traces stayed as they were cut, since the request for another failed."""
        return sum(self._is_wanted(held) and not held.failed for held in map(self.held.__getitem__, self.failed))

    def rows(self) -> Iterator[Trace]:
        """The traces, in the order of the table; one at a time is in memory."""
        places = [held.place for held in sorted(self.held.values(), key=lambda held: held.order)]
        return self.store.at(self.folder, Trace, TABLE, (place for place in places if place is not None))


class _Counts:
    """Traces by how they ended; tokens and cost where anybody says."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self.tokens: int | None = None
        self.cost: float | None = None

    def passing(self, traces: Iterable[Trace]) -> Iterator[Trace]:
        """The traces, each counted on its way."""
        for trace in traces:
            self.ended["error" if trace.error else trace.finish_reason] += 1
            if trace.usage.completion_tokens is not None:
                self.tokens = (self.tokens or 0) + trace.usage.completion_tokens
            if trace.cost is not None:
                self.cost = (self.cost or 0.0) + trace.cost
            yield trace

    def all(self) -> dict[str, Any]:
        """As they stand in a marker. A file of traces says nothing of tokens."""
        counts: dict[str, Any] = {"traces": self.ended.total(), **self.ended}
        counts |= {} if self.tokens is None else {"completion_tokens": self.tokens}
        return counts | ({} if self.cost is None else {"cost": round(self.cost, 6)})


class _Meter:
    """What the display is told."""

    def __init__(self, store: Store, label: str) -> None:
        self.store, self.label = store, label
        self.done = self.total = 0
        self.new, self.cost, self.tokens = 0, 0.0, 0
        self.looked_at: set[str] = set()
        self.right = 0
        self.started = time.monotonic()
        self._judged_at = 0.0

    def took(self, amount: Amount) -> None:
        """A trace came."""
        self.done += 1
        self.tokens += amount.tokens
        self.cost += amount.cost

    def judged(self, right: bool, trace: Trace) -> None:
        """A trace was judged."""
        if trace.id not in self.looked_at:
            self.looked_at.add(trace.id)
            self.right += right

    def may_judge(self) -> bool:
        """Whether it is time to judge one more for the display."""
        due = time.monotonic() - self._judged_at > JUDGED_APART
        self._judged_at = time.monotonic() if due else self._judged_at
        return due

    def beat(self, flying: int) -> None:
        """Leave word of how far it is."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        facts: dict[str, Any] = {"done": self.done, "total": self.total, "flying": flying, "tokens": self.tokens}
        facts |= {"rate": self.tokens / seconds}
        facts |= {"right": self.right, "judged": len(self.looked_at)} if self.looked_at else {}
        self.store.beat(self.label, **facts, **({"cost": self.cost} if self.cost else {}))


def whole(text: str) -> str:
    """The text with half characters (a token cut in the middle of an emoji) replaced, so that it can be written."""
    return text.encode("utf-8", "replace").decode()


def request_seed(seed: int, problem: str, sample: int) -> int:
    """Seed of one completion; from the problem and the sample alone, never from a name."""
    return int(content_hash(str(seed), problem, str(sample)), 16) % 2**31
