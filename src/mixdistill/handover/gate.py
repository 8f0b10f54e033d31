"""Whether a trained student should take the place of its untuned self: the rule, and every look at the gate.

The gate is a list of problems that nothing was chosen on. A candidate passes where all of this holds, at the token cap
that it will be served with:

1. It is surely better: the lower end of the interval of the difference, for these two checkpoints, is above zero.
2. It stops: at least half of its answers end by themselves within the cap.
3. It forgets little: of the problems that the untuned student solves, at most `may_forget` are no longer solved.

Every further candidate that is held against the same gate is one more chance to be lucky. Looks are counted, and with n
of them the interval is one of 1 - 0.05 / n (Bonferroni).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mixdistill.evidence import stats
from mixdistill.files import write_atomically
from mixdistill.handover.cards import Scored
from mixdistill.store import Store
from mixdistill.types import Interval, Outcome, Problem, Row
from mixdistill.units import read_json

if TYPE_CHECKING:
    from mixdistill.students import Answered

LOOKS = "looks.json"
"""Below `ship/`: every look at the gate, in their order."""
MAY_FORGET = 0.25
"""Unless something else is said."""
STOPS = 0.5
"""Least share of the answers that end by themselves."""
ALL = "all"


class Answers(Row):
    """How one model did on some problems, at one token cap."""

    right: dict[str, float]
    """Problem -> share of its samples that are correct."""
    tokens: float
    """Mean tokens of an answer, cut at the cap."""
    finished: float
    """Share of answers that ended by themselves within the cap."""
    errors: int
    """Answers that could not be had or judged; they count as not correct."""

    @property
    def accuracy(self) -> float:
        return sum(self.right.values()) / len(self.right)


class Level(Row):
    """What changed on the problems of one level; on `all` of them first."""

    level: str
    problems: int
    base: float
    """Accuracy of the untuned student, 0..1."""
    accuracy: float
    solved: int
    """Problems that the untuned student solves: at least half of its samples are correct."""
    forgotten: int
    """Of these, problems that the trained one does not."""
    learnt: int
    """Problems that the trained one solves and the untuned one does not."""


class Shipping(Row):
    """A candidate beside its untuned self at the gate, and what follows from it."""

    student: str
    arm: str
    """Its blend; with a mode, how it is asked."""
    seed: int
    base: str
    """How the untuned student was asked: in its best way on the benchmarks."""
    weights: str
    """Hash of the candidate."""
    rows: int
    """Verified traces that it was trained on."""
    distinct_problems: int
    updates: int
    scored: Scored
    """Both, with the plain 95 % interval."""
    looks: int
    """Candidates of this student that were held against this gate so far, this one included."""
    interval: Interval
    """Of the difference, for that many looks. This one decides."""
    levels: list[Level]
    forgotten: list[str]
    """Ids of the problems."""
    learnt: list[str]
    errors: int
    """Answers of either that could not be had or judged."""
    may_forget: float
    passed: bool
    holds: list[bool]
    """Of each part of the rule, in order."""
    why: list[str]
    """The same in words."""
    best: str | None = None
    """Folder of the student, where it passed."""


def counts(answered: Answered, cap: int | None) -> Answers:
    """What the traces come to at a cap."""
    traces, outcomes = answered.at(cap), answered.outcomes(cap)
    samples = Counter(t.problem_id for t in traces)
    right = dict.fromkeys(samples, 0.0)
    for t in traces:
        right[t.problem_id] += (outcomes.get(t.id) is Outcome.CORRECT) / samples[t.problem_id]
    lengths = [t.usage.completion_tokens or 0 for t in traces if t.error is None]
    return Answers(
        right=right,
        tokens=sum(lengths) / max(len(lengths), 1),
        finished=sum(t.finish_reason == "stop" for t in traces) / len(traces),
        errors=sum(outcomes.get(t.id, Outcome.ERROR) is Outcome.ERROR for t in traces),
    )


def solved(answers: Answers) -> set[str]:
    """Problems of which at least half of the samples are correct."""
    return {problem for problem, share in answers.right.items() if share >= 0.5}


def by_level(problems: list[Problem]) -> dict[str, set[str]]:
    """Level -> its problems; those without one are in none."""
    found: dict[str, set[str]] = defaultdict(set)
    for p in problems:
        if p.level is not None:
            found[p.level].add(p.id)
    return dict(sorted(found.items()))


def levels_of(base: Answers, new: Answers, groups: Mapping[str, set[str]]) -> list[Level]:
    """One row for all problems, and one for each level."""
    before, after = solved(base), solved(new)
    mean = lambda answers, ids: sum(answers.right[i] for i in ids) / len(ids)  # noqa: E731
    return [
        Level(
            level=name,
            problems=len(ids),
            base=mean(base, ids),
            accuracy=mean(new, ids),
            solved=len(before & ids),
            forgotten=len((before - after) & ids),
            learnt=len((after - before) & ids),
        )
        for name, ids in {ALL: set(base.right), **groups}.items()
    ]


def beside(base: Answers, new: Answers, max_tokens: int | None, benchmark: str = "gate") -> Scored:
    """Both on the same problems, with the plain interval."""
    both = stats.gap(stats.paired({0: new.right}, {None: base.right}))
    return Scored(
        benchmark=benchmark,
        max_tokens=max_tokens,
        problems=both.problems,
        base=base.accuracy,
        accuracy=new.accuracy,
        delta=both.checkpoints,
        base_tokens=base.tokens,
        tokens=new.tokens,
        base_finished=base.finished,
        finished=new.finished,
    )


def widened(scored: Scored, looks: int) -> Interval:
    """The interval for that many looks; from -1 to 1 with a single problem."""
    if scored.delta is None:
        return Interval(low=-1.0, high=1.0)
    centre, df = scored.accuracy - scored.base, scored.problems - 1
    half = max(centre - scored.delta.low, scored.delta.high - centre)  # the other side may be cut at -1 or 1
    half *= stats.t_quantile(stats.ALPHA / looks, df) / stats.t_quantile(stats.ALPHA, df)
    return Interval(low=max(centre - half, -1.0), high=min(centre + half, 1.0))


def rule(scored: Scored, interval: Interval, whole: Level, may_forget: float) -> list[tuple[bool, str]]:
    """(whether it holds, in words) of each part."""
    points = f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f} points"
    forgot = whole.forgotten / whole.solved if whole.solved else 0.0
    return [
        (interval.low > 0, f"{'surely' if interval.low > 0 else 'not surely'} better: {points}"),
        (
            scored.finished >= STOPS,
            f"{scored.finished:.0%} of its answers end by themselves within the cap (at least {STOPS:.0%})",
        ),
        (
            forgot <= may_forget,
            f"forgot {whole.forgotten:,} of {whole.solved:,} problems that base solves, {forgot:.0%} (at most "
            f"{may_forget:.0%})",
        ),
    ]


def looked(store: Store, look: dict[str, Any]) -> int:
    """Note a look, unless it is an earlier one over again. How many there are of its student on its gate."""
    path = store.folder("ship") / LOOKS
    known = (read_json(path) or {"looks": []})["looks"]
    same = ("student", "arm", "weights", "max_tokens", "gate")
    if not any(all(k.get(name) == look[name] for name in same) for k in known):
        known.append(look)
        write_atomically(path, json.dumps({"looks": known}, indent=2).encode())
    return sum(k["student"] == look["student"] and k["gate"] == look["gate"] for k in known)
