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

from mixdistill import asking, resolve
from mixdistill.asking import Questions, asks
from mixdistill.collect import STOPPED
from mixdistill.errors import StageError, Stopped
from mixdistill.recipe import Recipe
from mixdistill.sections import Link
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Problem, Row, Rule, Trace, Verdict, content_hash

VERDICTS, DECISIONS = "verdicts", "decisions"
AT_ONCE = 64
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


Marks = list[Mark | None]
"""Of one trace, by the links of the chain; None where a link did not see it."""


class Agreement(Row):
    """How far a later verifier of a chain agrees with those before it, in whole traces."""

    verifier: str
    accepted: int = 0
    """Accepted by a verifier before it."""
    audited: int = 0
    """Of these, judged by this one too: the audit sample."""
    confirmed: int = 0
    """Of the audited, accepted by this one too."""
    missed: int = 0
    """Accepted by none before it, and judged by this one."""
    rescued: int = 0
    """Of the missed, accepted by this one."""
    failed: int = 0
    """Given to this one, which failed; neither among the audited nor among the missed."""


@dataclass
class Judged:
    """The verdicts and decisions of a unit."""

    recipe: Recipe
    rows: dict[tuple[str, int | None], Marks] = field(default_factory=dict)
    """(trace id, cap) -> marks."""
    tables: dict[str, Any] = field(default_factory=dict)
    """Sealed tables: name -> {rows, columns}."""
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Verifier that asked a model -> its answers by how they ended, their tokens and cost."""
    failed: dict[int, Verdict] = field(default_factory=dict)
    """Link -> the first of its verdicts that is an error."""

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
                asked = "run again to ask again, look at its prompt and sampling.max_tokens, or raise error_rate"
                advice = asked if asks(link.name) else "mend the verifier, or raise verify.deadline or error_rate"
                raise StageError(
                    f"{label}: {failed:,} of {len(marks):,} verdicts{whose} are errors, more than error_rate={rate:g}; "
                    f"the first, of trace {first.trace_id}: {first.explanation}; {advice}"
                )

    def facts(self) -> dict[str, Any]:
        """For the marker: how far later verifiers agree with those before them, and what asking took."""
        later = range(1, len(self.recipe.verify.chain))
        found: dict[str, Any] = {"agreement": [self.agreement(n).model_dump() for n in later]} if later else {}
        return found | ({"asked": self.asked} if self.asked else {})

    def agreement(self, n: int) -> Agreement:
        """Of a later link, by its number."""
        counts: Counter[str] = Counter()
        for (_, cap), row in self.rows.items():
            accepted, mark = _is_accepted(row[:n]), row[n]
            if cap is not None:
                continue
            counts["accepted"] += accepted
            if mark and mark.outcome is Outcome.ERROR:
                counts["failed"] += 1
            elif mark:
                counts["audited" if accepted else "missed"] += 1
                counts["confirmed" if accepted else "rescued"] += mark.outcome is Outcome.CORRECT
        return Agreement(verifier=self.recipe.verify.chain[n].name, **counts)


def judge(recipe: Recipe, store: Store, folder: Path, label: str, seen: Callable[[], Iterable[Seen]]) -> Judged:
    """Every verdict on the traces that `seen` gives, and what they come to, sealed in a unit's folder.

    `seen` is called once for every link of the chain, and must give the same each time; no failed requests. `label` is
    the unit's. Raises what `collect` raises where a verifier asks a model.
    """
    judged = Judged(recipe)
    with store.appending(folder, VERDICTS) as append:
        book = _Book(store, folder, append)
        for n, link in enumerate(recipe.verify.chain):
            if asks(link.name):
                questions = Questions(recipe, link, store, folder, label)
                _AskingRound(n, judged, book, questions).run(seen())
            else:
                _Round(n, judged, book).run(seen())
        judged.tables[VERDICTS] = store.seal(folder, Verdict, _rows(judged, book), VERDICTS)
    judged.tables[DECISIONS] = store.seal(folder, Decision, judged.decisions(), DECISIONS)
    return judged


def _rows(judged: Judged, book: _Book) -> Iterator[Verdict]:
    """The verdicts as the table has them, under the caps at which they hold."""
    names = [link.name for link in judged.recipe.verify.chain]
    at = [(key, mark, n) for key, row in judged.rows.items() for n, mark in enumerate(row) if mark]
    for verdict, ((_, cap), _, n) in zip(book.read(mark.place for _, mark, _ in at), at, strict=True):
        yield verdict.model_copy(update={"max_tokens": cap, "verifier": names[n]})


class _Book:
    """The journal of a unit's verdicts, and what is known from it."""

    def __init__(self, store: Store, folder: Path, append: Callable[[Verdict], int]) -> None:
        self.store, self.folder, self.append = store, folder, append
        self.known: dict[str, Mark] = {}
        """Fingerprint -> what was said. A verifier that failed is asked again."""
        for place, verdict in store.journaled(folder, Verdict, VERDICTS):
            if verdict.outcome is not Outcome.ERROR:
                self.known[verdict.judged] = Mark(verdict.outcome, verdict.strict, place)
        for verdict in store.rows(folder, Verdict, VERDICTS):
            if verdict.judged and verdict.judged not in self.known and verdict.outcome is not Outcome.ERROR:
                self.write(verdict)

    def write(self, verdict: Verdict) -> None:
        self.known[verdict.judged] = Mark(verdict.outcome, verdict.strict, self.append(verdict))

    def read(self, places: Iterable[int]) -> Iterator[Verdict]:
        return self.store.at(self.folder, Verdict, VERDICTS, places)


class _Round:
    """One link of the chain over all traces."""

    def __init__(self, n: int, judged: Judged, book: _Book) -> None:
        self.n, self.judged, self.book = n, judged, book
        self.verify = judged.recipe.verify
        self.link = self.verify.chain[n]
        # A verdict that is there stands, whatever a longer answer of a model might have said.
        options = {k: v for k, v in link_options(self.link)[0].items() if not k.endswith(asking.MAX_TOKENS)}
        self.stamp = content_hash(json.dumps(options, sort_keys=True, default=str))

    def run(self, seen: Iterable[Seen]) -> None:
        left = iter(seen)
        while part := list(islice(left, AT_ONCE)):
            self.take([s for s in part if self.is_wanted(s)])
            if len(part) == AT_ONCE and self.book.store.stopping():
                raise Stopped(STOPPED)

    def take(self, part: list[Seen]) -> None:
        """Judge these, but for what is known."""
        wanted = [(fingerprint(self.stamp, s.problem, s.trace), s) for s in part]
        # A trace that a cap does not cut is there twice, and is one.
        todo = {judged: s for judged, s in wanted if judged not in self.book.known}
        verdicts = grade(self.judged.recipe, [(s.problem, s.trace) for s in todo.values()], self.n)
        for judged, verdict in zip(todo, verdicts, strict=True):
            self.keep(judged, verdict)
        for judged, s in wanted:
            self.row(s)[self.n] = self.book.known[judged]

    def is_wanted(self, seen: Seen) -> bool:
        """Whether this link judges a trace; a trace that was never met gets its row."""
        row = self.row(seen)
        if self.n == 0:
            return True
        is_open = not _is_accepted(row[: self.n]) or is_audited(seen.trace.id, self.verify.audit)
        return is_open and bool(seen.trace.content.strip())

    def row(self, seen: Seen) -> Marks:
        return self.judged.rows.setdefault((seen.trace.id, seen.max_tokens), [None] * len(self.verify.chain))

    def keep(self, judged: str, verdict: Verdict) -> None:
        verdict = verdict.model_copy(update={"judged": judged})
        self.book.write(verdict)
        if verdict.outcome is Outcome.ERROR:
            self.judged.failed.setdefault(self.n, verdict)


class _AskingRound(_Round):
    """The same for a link that asks a model: all questions first, then the answers."""

    def __init__(self, n: int, judged: Judged, book: _Book, questions: Questions) -> None:
        super().__init__(n, judged, book)
        self.questions = questions
        self.waiting: list[tuple[Marks, str]] = []

    def run(self, seen: Iterable[Seen]) -> None:
        super().run(seen)
        version = resolve.version(resolve.load(resolve.reference("verifier", self.link.name)))
        for judged, verdict in self.questions.verdicts():
            self.keep(judged, verdict.model_copy(update={"verifier": self.link.name, "version": version}))
        for row, judged in self.waiting:
            row[self.n] = self.book.known[judged]
        if self.questions.counts:
            self.judged.asked[self.link.name] = self.questions.counts

    def take(self, part: list[Seen]) -> None:
        for (problem, trace, _), row, answer in zip(part, map(self.row, part), self.answers(part), strict=True):
            question = self.questions.of(problem, trace, answer)
            asked = question if isinstance(question, str) else question.rule
            judged = content_hash(fingerprint(self.stamp, problem, trace), asked)
            if judged not in self.book.known:
                self.questions.put(judged, trace, answer, question)
            self.waiting.append((row, judged))

    def answers(self, part: list[Seen]) -> list[str | None]:
        """What a verifier before this one found marked as the answer; where that only guessed, the text says more."""
        marks = [[mark for mark in self.row(s)[: self.n] if mark] for s in part]
        verdicts = self.book.read(mark.place for row in marks for mark in row)
        found = [[next(verdicts) for _ in row] for row in marks]
        return [next((v.answer for v in row if v.answer and v.strict is not Outcome.NO_ANSWER), None) for row in found]


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
    row: Marks = [Mark(v.outcome, v.strict, 0) for v in verdicts]
    return _decision(verdicts[0].trace_id, verdicts[0].max_tokens, row, counts)


def _decision(trace: str, cap: int | None, row: Marks, counts: Rule) -> Decision:
    readings = _readings(row)
    return Decision(trace_id=trace, max_tokens=cap, outcome=readings[counts], **readings)


def _readings(row: Marks) -> dict[Rule, Outcome]:
    first, *later = [mark for mark in row if mark]
    return {
        "strict": first.strict or first.outcome,
        "flexible": first.outcome,
        "judge": _of_chain(first.outcome, [mark.outcome for mark in later]),
    }


def _is_accepted(row: Marks) -> bool:
    return any(mark and mark.outcome is Outcome.CORRECT for mark in row)


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
    if asks(link.name):
        options, given = asking.options(link)
    else:
        options, given = resolve.by_content(link.options, "verify.")
    # Of a file its name; the version tells files of one name apart.
    name = Path(link.name).name if link.name.rpartition(":")[0].endswith(".py") else link.name
    return {**options, "verify.verifier": name, "verifier_version": resolve.version(verifier)}, given


def counts_of(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How often each outcome stands there, of those that do."""
    return dict(Counter(outcome.value for outcome in outcomes))
