"""A run folder with graded traces in it, written without carrying anything out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

import tiny
from mixdistill import recipe
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Problem, Trace, Verdict

RIGHT, WRONG = Outcome.CORRECT, Outcome.INCORRECT
Says = dict[str, Outcome]
"""What the verifiers say of one trace, by their names; `strict` is the strict reading of the first."""


def run(root: Path, raw: dict[str, Any], problems: dict[str, list[Problem]]) -> Store:
    """A run folder of this recipe with these problems, by the names of their tables."""
    store = Store(root)
    root.mkdir(parents=True)
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe.build(raw).model_dump(mode="json", exclude_unset=True)))
    folder = store.folder("problems")
    for name, rows in problems.items():
        store.seal(folder, Problem, [p.model_copy(update={"split": name}) for p in rows], name)
    store.mark(folder, {"tables": {}, "counts": {}})
    return store


def fill(
    store: Store,
    author: str,
    problems: Iterable[Problem],
    says: Callable[[int], Says],
    *,
    answer: Callable[[int], str] = lambda i: f"so it is {i}",
    benchmark: str = "signs",
    caps: tuple[int, ...] = (),
    rule: str = "",
) -> list[Trace]:
    """One trace of `author` for every problem, with what `says` of its number, and the same at every cap.

    `rule` is the verifier whose word counts besides the first's, as in a chain.
    """
    kind, _, name = author.partition("/")
    own = store.folder("evaluate", *name.split("/"), benchmark)
    at, verdicts_at = (
        (store.folder("generate", name), store.folder("verify", name)) if kind == "teacher" else (own, own)
    )
    traces, verdicts, decisions = [], [], []
    for i, problem in enumerate(problems):
        trace = tiny.trace(problem, author=author, content=answer(i), reasoning="Well.", model="m")
        traces.append(trace)
        said = dict(says(i))
        strict = said.pop("strict", None)
        first = next(iter(said.values()))
        judge = RIGHT if RIGHT in said.values() else first
        for cap in (None, *caps):
            for n, (name_of, outcome) in enumerate(said.items()):
                common = {"trace_id": trace.id, "verifier": name_of, "max_tokens": cap, "outcome": outcome}
                verdicts.append(Verdict(**common, strict=None if n else strict, rule="box"))
            readings = {"strict": strict or first, "flexible": first, "judge": judge}
            decisions.append(Decision(trace_id=trace.id, max_tokens=cap, outcome=judge if rule else first, **readings))
    store.seal(at, Trace, traces, "traces")
    store.seal(verdicts_at, Verdict, verdicts, "verdicts")
    store.seal(verdicts_at, Decision, decisions, "decisions")
    return traces


def problems(count: int, start: int = 0) -> list[Problem]:
    """So many problems whose answer is their number."""
    return [tiny.problem(f"What is {i}?", str(i)) for i in range(start, start + count)]
