"""`disagreements`: traces on which two readings of the answer, or two verifiers, differ; for a person to read."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mixdistill import graded
from mixdistill.chain import DECISIONS, VERDICTS
from mixdistill.collect import TABLE as TRACES
from mixdistill.commands.complete import is_run
from mixdistill.commands.show import STYLES
from mixdistill.commands.status import no_run
from mixdistill.errors import DataError, StoreError, did_you_mean, one_line
from mixdistill.graded import Graded
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Problem, Row, Trace, Verdict, prompt_text

if TYPE_CHECKING:
    import polars as pl
    from rich.text import Text

V = TypeVar("V", Verdict, Decision)
READINGS = ("strict", "flexible", "judge")
VERIFIER = "verifier "
"""Before the name of a verifier where it is a column beside the readings; one may be called `judge` too."""
LAST_LINES, LAST_CHARACTERS = 6, 600
"""What is shown of the end of an answer."""


class Count(Row):
    """How often two voices differ in one way on the traces of one arm."""

    kind: str
    """Both voices and what they say, e.g. `strict no_answer, flexible correct`."""
    arm: str
    """`teacher/<name>` or `student/<student>/<arm>`, all seeds together."""
    benchmark: str
    """The table of problems; of teachers, `train`."""
    traces: int
    """On which they differ so. A trace may be of several kinds."""
    judged: int
    """All that have verdicts."""


class Case(Row):
    """A trace on which two voices differ."""

    kinds: list[str]
    """How, as in `Count`."""
    benchmark: str
    problem: Problem
    trace: Trace
    """Whole, where the verdicts may be on its first `max_tokens` tokens."""
    decision: Decision
    """All readings, and what counts."""
    verdicts: list[Verdict]
    """Of every verifier that saw it."""


class Which(NamedTuple):
    """Which disagreements are wanted."""

    between: tuple[str, str] | None = None
    """Two readings or two verifiers; None: every pair."""
    of: str | None = None
    """Only of this author, or of those whose names go on so: `teacher`, `long`, `s/long`."""
    max_tokens: int | None = None
    """At this token cap; None: whole traces."""


class Found(NamedTuple):
    """All disagreements of a run, without their texts."""

    counts: list[Count]
    """Of every kind that there is, for every arm: first those by which an accuracy moves, the frequent ones first."""
    kinds: list[tuple[Graded, dict[str, list[str]]]]
    """Of every graded table: trace id -> its kinds."""
    judged: int
    """Traces with verdicts."""
    max_tokens: int | None


def find(store: Store, which: Which) -> Found:
    """Where voices differ. Raises StoreError for what is no run or not verified, DataError for what matches nothing."""
    if not is_run(store.root):
        raise no_run(store.root)
    graded_tables = [g for g in graded.tables(store) if (g.verdicts / f"{DECISIONS}.parquet").exists()]
    if not graded_tables:
        raise StoreError(f"{store.root}: no verdicts in it yet; run: mixdistill run {store.root / 'recipe.yaml'}")
    chosen = [g for g in graded_tables if which.of is None or _is_of(g.author, which.of)]
    if not chosen:
        known = {g.arm for g in graded_tables}
        raise DataError(f"--of: no traces of that author (got {which.of!r}){did_you_mean(which.of or '', known)}")
    differing, judged = [], defaultdict[tuple[str, str], int](int)
    tables = [(g, _voices(store, g, which.max_tokens)) for g in chosen]
    pairs = _pairs(tables, which.between)
    _check_cap(store, chosen, tables, which.max_tokens)
    for g, voices in tables:
        judged[g.arm, g.benchmark] += len(voices)
        differing.append((g, _kinds(voices, pairs)))
    return Found(_counts(differing, judged), differing, sum(judged.values()), which.max_tokens)


def _is_of(author: str, of: str) -> bool:
    wanted = of.strip("/")
    names = (author, author.partition("/")[2])
    return any(f"{name}/".startswith(f"{wanted}/") for name in names)


def _voices(store: Store, g: Graded, cap: int | None) -> pl.DataFrame:
    """One row a trace: its id, the outcome of every reading, and of every verifier (None where it was not asked)."""
    import polars as pl

    here = pl.col("max_tokens").is_null() if cap is None else pl.col("max_tokens") == cap
    voices = store.frame(g.verdicts, DECISIONS, ["trace_id", "max_tokens", *READINGS])
    voices = voices.filter(here).drop("max_tokens")
    verdicts = store.frame(g.verdicts, VERDICTS, ["trace_id", "verifier", "max_tokens", "outcome"]).filter(here)
    for name in verdicts["verifier"].value_counts(sort=True)["verifier"]:
        said = verdicts.filter(pl.col("verifier") == name).select("trace_id", outcome=pl.col("outcome"))
        voices = voices.join(said.rename({"outcome": VERIFIER + name}), on="trace_id", how="left")
    return voices


def _check_cap(store: Store, chosen: list[Graded], tables: list[tuple[Graded, pl.DataFrame]], cap: int | None) -> None:
    if cap is None or any(len(voices) for _, voices in tables):
        return
    found = {c for g in chosen for c in store.frame(g.verdicts, DECISIONS, ["max_tokens"])["max_tokens"].unique()}
    known = ", ".join(str(c) for c in sorted(found - {None})) or "whole traces only"
    raise DataError(f"--max-tokens: nothing was judged at that cap (got {cap}); known: {known}")


def _pairs(tables: list[tuple[Graded, pl.DataFrame]], between: tuple[str, str] | None) -> list[tuple[str, str]]:
    """The columns that are held against each other.

    Where no two are named: the strict reading against the flexible one, and the verifiers. The reading `judge` follows
    from these. `judge` beside a reading is the reading, beside a verifier the verifier.
    """
    verifiers = list(dict.fromkeys(c for _, v in tables for c in v.columns if c.startswith(VERIFIER)))
    if between is None:
        return [("strict", "flexible"), *combinations(verifiers, 2)]
    if all(VERIFIER + name in verifiers for name in between):
        return [(VERIFIER + between[0], VERIFIER + between[1])]
    columns = [name if name in READINGS else VERIFIER + name for name in between]
    for name, column in zip(between, columns, strict=True):
        if column not in (*READINGS, *verifiers):
            known = {*READINGS, *(v.removeprefix(VERIFIER) for v in verifiers)}
            raise DataError(f"--between: neither a reading nor a verifier (got {name!r}){did_you_mean(name, known)}")
    return [(columns[0], columns[1])]


def _kinds(voices: pl.DataFrame, pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Trace id -> how its voices differ."""
    import polars as pl

    found: dict[str, list[str]] = defaultdict(list)
    for a, b in pairs:
        if a in voices.columns and b in voices.columns:
            rows = voices.filter(pl.col(a) != pl.col(b)).select("trace_id", pl.col(a).alias("a"), pl.col(b).alias("b"))
            for trace, one, other in rows.iter_rows():
                found[trace].append(f"{a.removeprefix(VERIFIER)} {one}, {b.removeprefix(VERIFIER)} {other}")
    return dict(found)


def _counts(differing: list[tuple[Graded, dict[str, list[str]]]], judged: dict[tuple[str, str], int]) -> list[Count]:
    """Every kind for every arm, the arms without any as well: what matters is whether they differ."""
    tally: dict[str, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    for g, kinds in differing:
        for kind in chain.from_iterable(kinds.values()):
            tally[kind][g.arm, g.benchmark] += 1
    return [
        Count(kind=kind, arm=arm, benchmark=benchmark, traces=tally[kind][arm, benchmark], judged=n)
        for kind in sorted(tally, key=lambda k: (f" {Outcome.CORRECT.value}" not in k, -sum(tally[k].values()), k))
        for (arm, benchmark), n in judged.items()
        if n
    ]


# -- the traces themselves --------------------------------------------------------------------------------------------


def spread(found: Found, limit: int) -> Found:
    """At most `limit` traces, every kind and within it every arm in turn: a short list shows of each what there is."""
    heaps: dict[str, dict[str, list[tuple[int, str]]]] = defaultdict(lambda: defaultdict(list))
    for i, (g, kinds) in enumerate(found.kinds):
        for trace in sorted(kinds):  # ids are hashes: their order has to do with nothing
            heaps[kinds[trace][0]][g.arm].append((i, trace))
    turns = []
    for n, kind in enumerate(dict.fromkeys(c.kind for c in found.counts)):
        arms = list(heaps[kind].values())
        first = n % max(len(arms), 1)  # not the same arm first in every kind
        turns.append(_in_turn([*arms[first:], *arms[:first]]))
    chosen = set(_in_turn(turns)[:limit])
    kept = [(g, {t: k for t, k in kinds.items() if (i, t) in chosen}) for i, (g, kinds) in enumerate(found.kinds)]
    return found._replace(kinds=kept)


def _in_turn(lists: Sequence[Sequence[tuple[int, str]]]) -> list[tuple[int, str]]:
    return [item for turn in zip_longest(*lists) for item in turn if item is not None]


def cases(store: Store, found: Found) -> Iterator[Case]:
    """The traces on which voices differ, with all that was said of them; one after the other."""
    for g, kinds in found.kinds:
        if not kinds:
            continue
        said: dict[str, list[Verdict]] = defaultdict(list)
        for v in _at(store.rows(g.verdicts, Verdict, VERDICTS, where=("trace_id", kinds)), found.max_tokens):
            said[v.trace_id].append(v)
        rows = store.rows(g.verdicts, Decision, DECISIONS, where=("trace_id", kinds))
        decisions = {d.trace_id: d for d in _at(rows, found.max_tokens)}
        problems = {p.id: p for p in store.rows(store.folder("problems"), Problem, g.benchmark)}
        for trace in store.rows(g.traces, Trace, TRACES, where=("id", kinds)):
            if trace.problem_id in problems:
                yield Case(
                    kinds=kinds[trace.id],
                    benchmark=g.benchmark,
                    problem=problems[trace.problem_id],
                    trace=trace,
                    decision=decisions[trace.id],
                    verdicts=said[trace.id],
                )


def _at(rows: Iterable[V], cap: int | None) -> Iterator[V]:
    return (row for row in rows if row.max_tokens == cap)


def json_parts(store: Store, found: Found) -> Iterator[str]:
    """One JSON document, a case at a time: {"max_tokens": ..., "counts": [...], "traces": [...]}."""
    counts = ",\n    ".join(c.model_dump_json() for c in found.counts)
    cap = "null" if found.max_tokens is None else found.max_tokens
    yield f'{{\n  "max_tokens": {cap},\n  "counts": [\n    {counts}\n  ],\n  "traces": ['
    for i, case in enumerate(cases(store, found)):
        yield ("," if i else "") + "\n    " + case.model_dump_json()
    yield "\n  ]\n}\n"


def counts_text(found: Found) -> Text:
    """A table for every kind, with all arms."""
    from rich.text import Text

    page, cap = Text(), "" if found.max_tokens is None else f", judged by the first {found.max_tokens:,} tokens"
    if not found.counts:
        return Text(f"No two readings or verifiers differ on any of {found.judged:,} traces{cap}.\n")
    total = sum(len(kinds) for _, kinds in found.kinds)
    page.append(f"Two readings or verifiers differ on {total:,} of {found.judged:,} traces{cap}.\n")
    arms = max(len(c.arm) for c in found.counts)
    where = max(len(c.benchmark) for c in found.counts)
    last = None
    for c in found.counts:
        if c.kind != last:
            page.append(f"\n{c.kind}\n", "bold")
            last = c.kind
        line = f"  {c.arm:<{arms}}  {c.benchmark:<{where}}  {c.traces:>7,} of {c.judged:>9,}"
        page.append(f"{line}  {c.traces / c.judged:>6.1%}\n", "" if c.traces else "dim")
    return page


def case_text(case: Case, width: int) -> Text:
    """Whose trace, what was asked, what each says, and the end of the answer."""
    from rich.text import Text

    page, trace = Text(), case.trace
    page.append(f"\n{trace.author} #{trace.sample}", "bold").append(f"  {case.benchmark}  problem {case.problem.id}\n")
    page.append("  " + "; ".join(case.kinds) + "\n", "yellow")
    page.append(f"  problem    {_short(prompt_text(case.problem.prompt), width - 13)}\n")
    page.append(f"  reference  {_short(case.problem.answer, width - 13)}\n")
    names = max((len(v.verifier) for v in case.verdicts), default=0)
    for v in case.verdicts:
        page.append(f"  {v.verifier:<{max(names, 9)}}  ").append(f"{v.outcome.value}", STYLES.get(v.outcome, "yellow"))
        page.append("" if v.strict in (None, v.outcome) else f" (strict: {v.strict.value})")
        page.append("" if v.answer is None else f"  answer {_short(v.answer, 60)!r}")
        page.append(f"  [{v.rule}]" if v.rule else "")
        page.append(f"  {one_line(v.explanation)}".rstrip() + "\n")
    page.append(f"  counts as  {case.decision.outcome.value}; ended: {trace.finish_reason}\n")
    end = _end(trace.content, width - 4)
    for place in dict.fromkeys(_place(trace.content, v.answer) for v in case.verdicts if v.answer):
        if place and place not in "\n".join(end):
            page.append(f"  found in   {_short(place, width - 13)}\n")
    for line in end:
        page.append("  | ", "dim").append(line + "\n")
    return page


def closing(found: Found, shown: Found, root: Path) -> Text:
    """How many there are besides, and how to see a whole trace."""
    from rich.text import Text

    there, here = (sum(len(kinds) for _, kinds in f.kinds) for f in (found, shown))
    if not there:
        return Text()
    left = f"{there - here:,} more are not shown (--limit {there}).  " if there > here else ""
    return Text(f"\n{left}A whole trace: mixdistill show {root} PROBLEM\n")


def _place(content: str, answer: str) -> str:
    """The last line in which an answer stands; empty where it stands in none as it was extracted."""
    return next((line.strip() for line in reversed(content.splitlines()) if answer in line), "")


def _short(text: str, width: int) -> str:
    """A text on one line of at most so many characters."""
    flat = one_line(" ".join(text.split()))
    return flat if len(flat) <= width else flat[: max(width - 3, 1)] + "..."


def _end(content: str, width: int) -> list[str]:
    """The last lines of an answer, wrapped."""
    if not content.strip():
        return ["(no answer part)"]
    text = content.rstrip()
    end = "\n".join(text.splitlines()[-LAST_LINES:])[-LAST_CHARACTERS:]
    lines = [w for line in end.splitlines() for w in textwrap.wrap(one_line(line), width) or [""]]
    return lines if len(end) == len(text) else ["...", *lines]
