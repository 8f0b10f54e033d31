"""What a recipe's verifiers say of the traces of one unit, link by link of the chain, and what it comes to.

The first verifier judges every trace. Each further one judges those that none before it accepted, and of the accepted
ones an audit sample; never a trace without an answer part. Nothing is judged twice: a verdict is kept under a hash of
everything it follows from, and where that is the same again, after an extension, under another cap, by another rule, so
is the verdict. Verdicts are journaled as they are made.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mixdistill import resolve
from mixdistill.errors import StageError
from mixdistill.recipe import Recipe
from mixdistill.sections import Link, Rule
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Problem, Trace, Verdict, content_hash

VERDICTS, DECISIONS = "verdicts", "decisions"
AT_ONCE = 4096
"""Traces that are in memory together."""
READS = ["id", "problem_id", "reasoning", "content", "finish_reason", "error"]
"""Columns of a trace that a verdict follows from."""


class Seen(NamedTuple):
    """A trace to be judged, as far as a token cap lets one see it."""

    problem: Problem
    trace: Trace
    max_tokens: int | None = None


class Mark(NamedTuple):
    """What is kept in memory of a verdict."""

    outcome: Outcome
    strict: Outcome | None
    place: int
    """Where the journal has the whole of it."""


Row = list[Mark | None]
"""One trace's marks by the links of the chain; None where a link did not see it."""


@dataclass
class Judged:
    """The verdicts and decisions of a unit."""

    recipe: Recipe
    rows: dict[tuple[str, int | None], Row] = field(default_factory=dict)
    """(trace id, cap) -> marks."""
    tables: dict[str, Any] = field(default_factory=dict)
    """Sealed tables: name -> {rows, columns}."""
    failed: dict[int, Verdict] = field(default_factory=dict)
    """Link -> the first of its verdicts on whole traces that is an error."""

    def outcomes(self, max_tokens: int | None = None) -> dict[str, Outcome]:
        """Trace -> what counts, at a cap."""
        rule = self.recipe.verify.counts
        return {trace: _readings(row)[rule] for (trace, cap), row in self.rows.items() if cap == max_tokens}

    def decisions(self) -> Iterator[Decision]:
        """One of each trace and cap, in their order."""
        for (trace, cap), row in self.rows.items():
            yield _decision(trace, cap, row, self.recipe.verify.counts)

    def check_errors(self, label: str) -> None:
        """Raise StageError when a verifier itself failed on more than `error_rate` of the whole traces it was given."""
        links, rate = self.recipe.verify.chain, self.recipe.error_rate
        for n, link in enumerate(links):
            marks = [mark for (_, cap), row in self.rows.items() if cap is None and (mark := row[n])]
            failed = sum(mark.outcome is Outcome.ERROR for mark in marks)
            if failed > rate * len(marks):
                first, whose = self.failed[n], f" of {link.name}" if len(links) > 1 else ""
                raise StageError(
                    f"{label}: {failed:,} of {len(marks):,} verdicts{whose} are errors, more than error_rate={rate:g}; "
                    f"the first, of trace {first.trace_id}: {first.explanation}; mend the verifier, or raise "
                    "verify.deadline or error_rate"
                )


def judge(recipe: Recipe, store: Store, folder: Path, seen: Callable[[], Iterable[Seen]]) -> Judged:
    """Every verdict on the traces that `seen` gives, and what they come to, sealed in a unit's folder.

    `seen` is called once for every link of the chain, and must give the same each time; no failed requests.
    """
    judged = Judged(recipe)
    with store.appending(folder, VERDICTS) as append:
        known = _known(store, folder, append)
        for n, link in enumerate(recipe.verify.chain):
            _Round(recipe, n, link, judged, known, append).run(seen())
    places = [(key, mark, n) for key, row in judged.rows.items() for n, mark in enumerate(row) if mark]
    judged.tables[VERDICTS] = store.seal(folder, Verdict, _rows(recipe, store, folder, places), VERDICTS)
    judged.tables[DECISIONS] = store.seal(folder, Decision, judged.decisions(), DECISIONS)
    return judged


def _known(store: Store, folder: Path, append: Callable[[Verdict], int]) -> dict[str, Mark]:
    """`judged` -> what was said of it before, all of it in the journal now. A verifier that failed is asked again."""
    known = {}
    for place, verdict in store.journaled(folder, Verdict, VERDICTS):
        if verdict.outcome is not Outcome.ERROR:
            known[verdict.judged] = Mark(verdict.outcome, verdict.strict, place)
    for verdict in store.rows(folder, Verdict, VERDICTS):
        if verdict.judged and verdict.judged not in known and verdict.outcome is not Outcome.ERROR:
            known[verdict.judged] = Mark(verdict.outcome, verdict.strict, append(verdict))
    return known


def _rows(recipe: Recipe, store: Store, folder: Path, places: Sequence[tuple[Any, Mark, int]]) -> Iterator[Verdict]:
    """The verdicts at these places of the journal, under the caps at which they hold."""
    verdicts = store.at(folder, Verdict, VERDICTS, (mark.place for _, mark, _ in places))
    for verdict, ((_, cap), _, n) in zip(verdicts, places, strict=True):
        yield verdict.model_copy(update={"max_tokens": cap, "verifier": recipe.verify.chain[n].name})


class _Round:
    """One link of the chain over all traces."""

    def __init__(
        self, recipe: Recipe, n: int, link: Link, judged: Judged, known: dict[str, Mark],
        append: Callable[[Verdict], int],
    ) -> None:  # fmt: skip
        self.recipe, self.n, self.link, self.judged, self.known, self.append = recipe, n, link, judged, known, append
        self.stamp = content_hash(json.dumps(link_options(link)[0], sort_keys=True, default=str))

    def run(self, seen: Iterable[Seen]) -> None:
        left = iter(seen)
        while part := list(islice(left, AT_ONCE)):
            wanted = [(fingerprint(self.stamp, s.problem, s.trace), s) for s in part if self.is_wanted(s)]
            # A trace that a cap does not cut is there twice, and is one.
            todo = {judged: s for judged, s in wanted if judged not in self.known}
            verdicts = grade(self.recipe, [(s.problem, s.trace) for s in todo.values()], self.n)
            for judged, verdict in zip(todo, verdicts, strict=True):
                self.keep(verdict.model_copy(update={"judged": judged}))
            for judged, s in wanted:
                self.judged.rows[s.trace.id, s.max_tokens][self.n] = self.known[judged]

    def is_wanted(self, seen: Seen) -> bool:
        """Whether this link judges a trace; a trace that was never met gets its row."""
        row = self.judged.rows.setdefault((seen.trace.id, seen.max_tokens), [None] * len(self.recipe.verify.chain))
        if self.n == 0:
            return True
        is_accepted = any(mark and mark.outcome is Outcome.CORRECT for mark in row[: self.n])
        return bool(seen.trace.content.strip()) and (
            not is_accepted or is_audited(seen.trace.id, self.recipe.verify.audit)
        )

    def keep(self, verdict: Verdict) -> None:
        self.known[verdict.judged] = Mark(verdict.outcome, verdict.strict, self.append(verdict))
        if verdict.outcome is Outcome.ERROR:
            self.judged.failed.setdefault(self.n, verdict)


def grade(recipe: Recipe, items: Sequence[tuple[Problem, Trace]], link: int = 0) -> list[Verdict]:
    """One verdict per (problem, trace), in order, by one verifier of the chain in killable worker processes."""
    from mixdistill.verifiers.grading import grade as grade_in_workers

    name, options = recipe.verify.chain[link]
    return grade_in_workers(
        items, resolve.reference("verifier", name), options, name=name, deadline=recipe.verify.deadline
    )


def fingerprint(stamp: str, problem: Problem, trace: Trace) -> str:
    """Hash of everything that a verdict follows from; `stamp` stands for the verifier."""
    of_trace = (trace.id, trace.reasoning, trace.content, trace.finish_reason)
    return content_hash(stamp, problem.id, problem.answer, *of_trace)


def is_audited(trace: str, share: float) -> bool:
    """Whether a trace is in the audit sample: by its id alone, so that a sample lies in every larger one."""
    return int(content_hash("audit", trace), 16) < share * 16**16


# -- what the verdicts on one trace come to ---------------------------------------------------------------------------


def decide(verdicts: Sequence[Verdict], counts: Rule) -> Decision:
    """What the verdicts on one trace, in the order of the chain, come to; `counts` says which reading counts."""
    row: Row = [Mark(v.outcome, v.strict, 0) for v in verdicts]
    return _decision(verdicts[0].trace_id, verdicts[0].max_tokens, row, counts)


def _decision(trace: str, cap: int | None, row: Row, counts: Rule) -> Decision:
    readings = _readings(row)
    return Decision(trace_id=trace, max_tokens=cap, outcome=readings[counts], **readings)


def _readings(row: Row) -> dict[Rule, Outcome]:
    first, *later = [mark for mark in row if mark]
    return {
        "strict": first.strict or first.outcome,
        "flexible": first.outcome,
        "judge": _of_chain(first.outcome, [mark.outcome for mark in later]),
    }


def _of_chain(first: Outcome, later: list[Outcome]) -> Outcome:
    """A trace that anybody accepts is correct; else the first verifier's word counts, unless it failed."""
    if Outcome.CORRECT in (first, *later):
        return Outcome.CORRECT
    if first is not Outcome.ERROR:
        return first
    return next((outcome for outcome in later if outcome is not Outcome.ERROR), first)


# -- what makes a verifier another one --------------------------------------------------------------------------------


def grading_options(recipe: Recipe) -> tuple[dict[str, Any], dict[str, str]]:
    """(what changes a verdict or what it comes to: verifiers, their versions and options, files among them by content;
    these as given)."""
    verify = recipe.verify
    first, *later = [link_options(link) for link in verify.chain]
    options, given = {"verify.deadline": verify.deadline, "verify.rule": verify.counts, **first[0]}, dict(first[1])
    if later:
        options["verify.audit"] = verify.audit
    for link, (mine, files) in zip(verify.chain[1:], later, strict=True):
        options |= {f"{link.name}: {key}": value for key, value in mine.items()}
        given |= {f"{link.name}: {key}": value for key, value in files.items()}
    return options, given


def link_options(link: Link) -> tuple[dict[str, Any], dict[str, str]]:
    """(what changes a verifier's verdicts: which it is, its version and options, files by content; these as given)."""
    verifier = resolve.load(resolve.reference("verifier", link.name))
    options, given = resolve.by_content(link.options, "verify.")
    # Of a file its name; the version tells files of one name apart.
    name = Path(link.name).name if link.name.rpartition(":")[0].endswith(".py") else link.name
    return {**options, "verify.verifier": name, "verifier_version": resolve.version(verifier)}, given


def counts_of(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How often each outcome stands there, of those that do."""
    return dict(Counter(outcome.value for outcome in outcomes))
