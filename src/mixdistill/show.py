"""`show`: one problem with all its traces and verdicts."""

from __future__ import annotations

from pathlib import Path

from mixdistill.errors import DataError, StoreError
from mixdistill.evaluate import VERDICTS
from mixdistill.generate import TABLE as TRACES
from mixdistill.pipeline import UNUSED
from mixdistill.store import Store
from mixdistill.types import Problem, Trace, Verdict, prompt_text


def describe_problem(store: Store, wanted: str | None) -> str:
    """One problem with every teacher's and student's traces and verdicts. Raises DataError when none matches."""
    folder = store.folder("problems")
    if store.marker(folder) is None:
        raise StoreError(f"{store.root}: not a run folder (no problems in it); give the folder that --out named")
    tables = sorted((p.stem for p in folder.glob("*.parquet")), key=lambda name: (name != "train", name))
    tables = [name for name in tables if name != UNUSED]
    found = [p for name in tables for p in store.read(folder, Problem, name)]
    hits = [p for p in found if wanted is None or p.id.startswith(wanted) or wanted in prompt_text(p.prompt)]
    if not hits:
        raise DataError(f"{store.root}: no problem matches (got {wanted!r}); give an id, its beginning, or prompt text")
    problem = hits[0]
    lines = [f"{problem.id}  {problem.split}  {problem.source}", *_indent(prompt_text(problem.prompt))]
    lines.append(f"  reference answer: {problem.answer}")
    if len(hits) > 1 and wanted is not None:
        lines.append(f"  (the first of {len(hits):,} that match)")
    told: list[str] = []
    for verdicts, traces in _tables(store):
        told += _traces(store, traces, verdicts, problem.id)
    return "\n".join([*lines, *(told or ["  (no traces of it yet)"])])


def _tables(store: Store) -> list[tuple[Path, Path]]:
    """(folder of verdicts, folder of traces), teachers first."""
    teachers = [
        (store.folder("verify", p.parent.name), p.parent) for p in store.root.glob(f"generate/*/{TRACES}.parquet")
    ]
    students = [(p.parent, p.parent) for p in store.root.glob(f"evaluate/**/{TRACES}.parquet")]
    return [*sorted(teachers), *sorted(students)]


def _traces(store: Store, folder: Path, verdicts: Path, problem: str) -> list[str]:
    ids = store.frame(folder, TRACES, ["problem_id"])["problem_id"].to_list()
    if problem not in ids:
        return []
    mine = [t for t in store.read(folder, Trace, TRACES) if t.problem_id == problem]
    judged = [v for v in store.read(verdicts, Verdict, VERDICTS) if v.trace_id in {t.id for t in mine}]
    lines = []
    for trace in mine:
        lines += [
            "",
            f"{trace.author} #{trace.sample}  {trace.usage.completion_tokens or '?'} tokens, {trace.finish_reason}",
        ]
        lines += _indent(f"ERROR: {trace.error}" if trace.error else "")
        lines += _indent(trace.reasoning, "  | ") + _indent(trace.content)
        for v in (v for v in judged if v.trace_id == trace.id):
            cap = "" if v.max_tokens is None else f" at most {v.max_tokens} tokens"
            lines.append(
                f"  -> {v.outcome.value}{cap}  answer {v.answer!r}  [{v.verifier}: {v.rule}] {v.explanation}".rstrip()
            )
    return lines


def _indent(text: str, by: str = "  ") -> list[str]:
    return [f"{by}{line}" for line in text.splitlines()]
