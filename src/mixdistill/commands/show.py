"""`show`: one problem with all its traces and verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mixdistill import graded, prompts
from mixdistill.chain import DECISIONS, VERDICTS
from mixdistill.collect import TABLE as TRACES
from mixdistill.errors import DataError, StoreError
from mixdistill.printing import cut
from mixdistill.store import UNUSED, Store
from mixdistill.types import Decision, Message, Outcome, Problem, Row, Trace, Verdict, prompt_text

if TYPE_CHECKING:
    from rich.text import Text

STYLES = {Outcome.CORRECT: "green", Outcome.ERROR: "bold red"}
"""Of an outcome on a terminal; the others are yellow."""
ANSWER = 80
"""Characters of an answer that are shown beside a verdict."""


class ShownTrace(Row):
    """A trace and what was said of it."""

    trace: Trace
    verdicts: list[Verdict]
    decisions: list[Decision]
    """One, and one for every token cap; none of a failed request, and before the traces are verified."""


class Shown(Row):
    """One problem with all its traces."""

    problem: Problem
    matches: int
    """Problems that were meant by what was asked for; this is the first."""
    asked: dict[str, str | list[Message]] = {}
    """Teacher -> the problem as it was asked, where that is not the problem alone."""
    traces: list[ShownTrace]
    """Teachers first, then every student's arms in the recipe's order, the untuned student before them."""


def find(store: Store, wanted: str | None = None) -> Shown:
    """A problem by its id, the beginning of it, or text in its prompt; the first one where nothing is wanted.

    Raises StoreError when the folder is no run folder, DataError when nothing matches.
    """
    folder = store.folder("problems")
    if store.marker(folder) is None:
        raise StoreError(f"{store.root}: not a run folder (no problems in it); give the folder that --out named")
    tables = sorted((p.stem for p in folder.glob("*.parquet")), key=lambda name: (name != "train", name))
    found = [p for name in tables if name != UNUSED for p in store.read(folder, Problem, name)]
    hits = [p for p in found if wanted is None or p.id.startswith(wanted) or wanted in prompt_text(p.prompt)]
    if not hits:
        raise DataError(f"{store.root}: no problem matches (got {wanted!r}); give an id, its beginning, or prompt text")
    shown = [t for g in graded.tables(store) for t in _traces(store, g.verdicts, g.traces, hits[0].id)]
    matches = 1 if wanted is None else len(hits)
    return Shown(problem=hits[0], matches=matches, asked=_asked(store, hits[0], shown), traces=shown)


def _asked(store: Store, problem: Problem, shown: list[ShownTrace]) -> dict[str, prompts.Prompt]:
    """What those teachers were sent that have a trace of the problem, by what was kept beside their traces."""
    found = {}
    for name in dict.fromkeys(s.trace.author.removeprefix("teacher/") for s in shown if _taught(s.trace)):
        kept = prompts.kept(store.folder("generate", name))
        if kept is not None and (asked := kept(problem.prompt)) != problem.prompt:
            found[name] = asked
    return found


def _taught(trace: Trace) -> bool:
    return trace.author.startswith("teacher/")


def _traces(store: Store, verdicts: Path, folder: Path, problem: str) -> list[ShownTrace]:
    mine = store.read(folder, Trace, TRACES, where=("problem_id", [problem]))
    if not mine:
        return []
    these = ("trace_id", [t.id for t in mine])
    judged = store.read(verdicts, Verdict, VERDICTS, where=these)
    decided = store.read(verdicts, Decision, DECISIONS, where=these)
    return [
        ShownTrace(
            trace=t,
            verdicts=[v for v in judged if v.trace_id == t.id],
            decisions=[d for d in decided if d.trace_id == t.id],
        )
        for t in mine
    ]


# -- writing it -------------------------------------------------------------------------------------------------------


def text(shown: Shown, width: int = 100) -> Text:
    """The problem, a line for every trace with its outcome first, then the traces in full."""
    from rich.text import Text

    problem = shown.problem
    page = Text()
    page.append(problem.id, "bold").append(f"  {problem.split}  {problem.source}\n")
    page.append(_indented(prompt_text(problem.prompt)) + f"  reference answer: {problem.answer}\n")
    if shown.matches > 1:
        page.append(f"  (the first of {shown.matches:,} that match)\n")
    for teacher, asked in shown.asked.items():
        page.append(f"\nasked of {teacher}\n", "bold").append(_indented(prompt_text(asked)))
    if not shown.traces:
        page.append("  (no traces of it yet)")
        return page
    page.append("\n")
    authors = max(len(_author(s.trace)) for s in shown.traces)
    for s in shown.traces:
        _summary(page, s, authors)
    for s in shown.traces:
        page.append("\n")
        _summary(page, s, 0)
        _whole(page, s)
    page.rstrip()
    return page


def _author(trace: Trace) -> str:
    return f"{trace.author} #{trace.sample}"


def _summary(page: Text, shown: ShownTrace, authors: int) -> None:
    """Outcome, author, tokens, how it ended, answer."""
    trace = shown.trace
    verdict = next((v for v in shown.verdicts if v.max_tokens is None), None)
    counts = next((d.outcome for d in shown.decisions if d.max_tokens is None), None)
    outcome = "failed" if trace.error else counts.value if counts else "not judged"
    page.append(f"{outcome:<10}", _style(counts) if counts else "bold red" if trace.error else "dim")
    counted = trace.usage.completion_tokens
    tokens = (f"{counted} tokens, " if counted is not None else "") + trace.finish_reason
    page.append(f"  {_author(trace):<{authors}}", "bold")
    page.append("" if trace.error else f"  {tokens}" + (f", answer {_answer(verdict)}" if verdict else ""))
    page.append("\n")


def _answer(verdict: Verdict) -> str:
    """What was extracted; of a program, its beginning."""
    return "None" if verdict.answer is None else cut(verdict.answer, ANSWER)


def _style(outcome: Outcome) -> str:
    return STYLES.get(outcome, "yellow")


def _whole(page: Text, shown: ShownTrace) -> None:
    """Reasoning behind a bar, answer, and every verdict with how it was reached."""
    trace = shown.trace
    page.append(_indented(f"ERROR: {trace.error}" if trace.error else ""), "red")
    page.append(_indented(trace.reasoning, "  | "), "dim").append(_indented(trace.content))
    for v in shown.verdicts:
        cap = "" if v.max_tokens is None else f" at most {v.max_tokens} tokens"
        page.append("  -> ").append(v.outcome.value, _style(v.outcome))
        strict = f" (strict: {v.strict.value})" if v.strict not in (None, v.outcome) else ""
        page.append(f"{strict}{cap}  answer {_answer(v)}  [{v.verifier}: {v.rule}] {v.explanation}".rstrip() + "\n")


def _indented(lines: str, by: str = "  ") -> str:
    return "".join(f"{by}{line}\n" for line in lines.splitlines())
