"""What every evaluated answer comes to under each reading, strict, flexible and judge: run folder -> shares and counts.

A verifier that errs more often on one arm than on another moves the gap between them. The readings are the errors that
can be seen without a person: answers that are not marked as final, answers in traces that were cut after them, and
answers that only a later verifier of the chain accepts.
"""

from __future__ import annotations

import typing
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from mixdistill.evidence import stats
from mixdistill.evidence.answers import answers
from mixdistill.evidence.gaps import Cells, Readings
from mixdistill.evidence.rows import AgreementFacts, ReadingFacts
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Interval, Outcome, Rule
from mixdistill.units import Unit
from mixdistill.verify import DECISIONS

RULES: tuple[Rule, ...] = typing.get_args(Rule)


class Outcomes(NamedTuple):
    """One answer under every reading."""

    strict: str
    flexible: str
    judge: str


FAILED = Outcomes(Outcome.ERROR, Outcome.ERROR, Outcome.ERROR)
"""Of a request that failed: it has no decision, and is correct under no reading."""


class Read(NamedTuple):
    """All evaluations of a study, read in every way."""

    correct: Readings
    """Without the readings that are like another."""
    alike: dict[Rule, Rule]
    """Reading -> an earlier one under which the same answers are correct."""
    facts: list[ReadingFacts]


def read(recipe: Recipe, store: Store, done: list[Unit]) -> Read:
    """Every evaluation in `done` under every reading; the one that counts comes first."""
    rules = sorted(RULES, key=lambda rule: rule != recipe.verify.counts)
    correct: dict[Rule, Cells] = {rule: {} for rule in rules}
    counts: dict[tuple[str, str, str, int | None], Counter[Outcomes]] = defaultdict(Counter)
    for unit in done:
        student, arm, _, benchmark = cell = cell_of(unit.key)
        problem_of = dict(answers(store, unit).iter_rows())
        for rule in rules:
            correct[rule][cell] = {}
        for cap, decisions in _decisions(store, unit.key).items():
            for rule in rules:
                right = {trace for trace, o in decisions.items() if getattr(o, rule) == Outcome.CORRECT}
                correct[rule][cell][cap] = _shares(problem_of, right)
            counts[student, arm, benchmark, cap].update(decisions.get(t, FAILED) for t in problem_of)
    first = {rule: next(r for r in rules if correct[r] == correct[rule]) for rule in rules}
    return Read(
        correct={rule: correct[rule] for rule in rules if first[rule] == rule},
        alike={rule: like for rule, like in first.items() if like != rule},
        facts=[_facts(*key, outcomes, _intervals(correct, first, *key)) for key, outcomes in counts.items()],
    )


def _intervals(
    correct: Readings, first: Mapping[Rule, Rule], student: str, arm: str, benchmark: str, cap: int | None
) -> dict[Rule, Interval]:
    """Of the share that is correct under each reading; those that are alike once."""
    found = {}
    for rule in dict.fromkeys(first.values()):
        cells = correct[rule].items()
        by_seed = {s: by[cap] for (st, a, s, b), by in cells if (st, a, b) == (student, arm, benchmark) and cap in by}
        mean = stats.mean_interval(stats.matrix(by_seed))
        if interval := mean.data or mean.checkpoints:
            found[rule] = interval
    return found


def cell_of(key: tuple[str, ...]) -> tuple[str, str, int | None, str]:
    """(student, arm, seed, benchmark) of the key of an evaluation."""
    student, arm, *seed, benchmark = key
    return student, arm, int(seed[0]) if seed else None, benchmark


def _decisions(store: Store, key: tuple[str, ...]) -> dict[int | None, dict[str, Outcomes]]:
    """Token cap -> trace -> its outcomes."""
    found: dict[int | None, dict[str, Outcomes]] = defaultdict(dict)
    columns = ["trace_id", "max_tokens", *Outcomes._fields]
    for trace, cap, *outcomes in store.frame(store.folder("evaluate", *key), DECISIONS, columns).iter_rows():
        found[cap][trace] = Outcomes(*outcomes)
    return found


def _shares(problem_of: Mapping[str, str], right: set[str]) -> dict[str, float]:
    """Problem -> share of its samples that are right. A trace without a verdict is not."""
    samples = Counter(problem_of.values())
    found = dict.fromkeys(samples, 0.0)
    for trace, problem in problem_of.items():
        if trace in right:
            found[problem] += 1 / samples[problem]
    return found


def _facts(
    student: str,
    arm: str,
    benchmark: str,
    max_tokens: int | None,
    counts: Mapping[Outcomes, int],
    intervals: dict[Rule, Interval],
) -> ReadingFacts:
    def many(*, strict: Outcome, flexible: Outcome) -> int:
        return sum(n for o, n in counts.items() if (o.strict, o.flexible) == (strict, flexible))

    return ReadingFacts(
        student=student,
        arm=arm,
        benchmark=benchmark,
        max_tokens=max_tokens,
        answers=sum(counts.values()),
        correct={r: sum(n for o, n in counts.items() if getattr(o, r) == Outcome.CORRECT) for r in RULES},
        intervals=intervals,
        unmarked_right=many(strict=Outcome.NO_ANSWER, flexible=Outcome.CORRECT),
        unmarked_wrong=many(strict=Outcome.NO_ANSWER, flexible=Outcome.INCORRECT),
        cut_right=many(strict=Outcome.TRUNCATED, flexible=Outcome.CORRECT),
        cut_wrong=many(strict=Outcome.TRUNCATED, flexible=Outcome.INCORRECT),
        judge_only=sum(n for o, n in counts.items() if o.judge == Outcome.CORRECT and o.flexible != Outcome.CORRECT),
    )


COUNTS = ("accepted", "audited", "confirmed", "missed", "rescued", "failed")
"""What a marker's facts say of a later verifier; see `AgreementFacts`."""


def agreement(recipe: Recipe, store: Store, done: list[Unit]) -> list[AgreementFacts]:
    """What every later verifier of the chain says of whole traces, by teacher, then by student, arm and benchmark."""
    markers = {f"teacher/{name}": [store.marker(store.folder("verify", name))] for name in recipe.teachers}
    for unit in done:
        student, arm, _, benchmark = cell_of(unit.key)
        mine = markers.setdefault(f"student/{student}/{arm}/{benchmark}", [])
        mine.append(store.marker(store.folder("evaluate", *unit.key)))
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    chains = [recipe.verify.chain, *(recipe.on(benchmark).verify.chain for benchmark in recipe.problems.eval)]
    for later in dict.fromkeys(link.name for chain in chains for link in chain[1:]):
        for whose, mine in markers.items():
            rows = [row for m in mine if m for row in m["facts"].get("agreement", []) if row["verifier"] == later]
            for row in rows:
                counts[whose, later].update({name: row[name] for name in COUNTS})
    return [
        AgreementFacts(
            whose=whose,
            verifier=verifier,
            **{name: found[name] for name in COUNTS},
            audited_interval=_interval(found["confirmed"], found["audited"]),
            missed_interval=_interval(found["rescued"], found["missed"]),
        )
        for (whose, verifier), found in counts.items()
    ]


def _interval(part: int, whole: int) -> Interval | None:
    """95 % interval of a share of so many traces, each drawn by itself; None of fewer than two."""
    import numpy as np

    if whole < 2:
        return None
    return stats.mean_interval(np.repeat([1.0, 0.0], [part, whole - part])[None, :]).checkpoints
