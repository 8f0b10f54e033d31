"""A run folder with graded traces in it, written without carrying anything out."""

from __future__ import annotations

import random
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
    more: Callable[[int, str], dict[str, Any]] = lambda i, verifier: {"rule": "box"},
) -> list[Trace]:
    """One trace of `author` for every problem, with what `says` of its number, and the same at every cap.

    `rule` is the verifier whose word counts besides the first's, as in a chain; `more` gives further fields of the
    verdict of a verifier on a number.
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
                verdicts.append(Verdict(**common, **more(i, name_of), strict=None if n else strict))
            readings = {"strict": strict or first, "flexible": first, "judge": judge}
            decisions.append(Decision(trace_id=trace.id, max_tokens=cap, outcome=judge if rule else first, **readings))
    store.seal(at, Trace, traces, "traces")
    store.seal(verdicts_at, Verdict, verdicts, "verdicts")
    store.seal(verdicts_at, Decision, decisions, "decisions")
    return traces


def problems(count: int, start: int = 0) -> list[Problem]:
    """So many problems whose answer is their number."""
    return [tiny.problem(f"What is {i}?", str(i)) for i in range(start, start + count)]


EXAMPLE = {
    "name": "long-vs-short",
    "problems": {"train": {"source": "lab:signs"}, "eval": {"gsm8k": {"source": "lab:signs", "split": "eval"}}},
    "teachers": {name: {"backend": "scripted", "model": name} for name in ("long", "short")},
    "verify": {"verifier": "math"},
    "students": {"qwen-1.5b": {"model": "lab:s"}},
    "arms": {"long": {"long": 1}, "short": {"short": 1}},
    "contrasts": {"long_cot_gap": ["long", "short"]},
    "seeds": 2,
}


def example(root: Path) -> Store:
    """The run of docs/verdicts.md: what the arm `long` writes is often not marked as the answer, and of these the
    verifier misses some. A judge saw what it did not accept."""
    asked = "Ada picks {} apples a day, and Ben {}. How many do they pick in 4 days?"
    sums = [tiny.problem(asked.format(n, n + 3), str(8 * n + 12)) for n in range(700)]
    train, gsm8k = sums[:200], sums[200:]
    store = run(root, EXAMPLE, {"train": train, "gsm8k": gsm8k})

    rng = random.Random(0)

    def grade(problems: list[Problem], right_: float, unmarked_: float, missed: float) -> dict[str, Any]:
        right, marked = ([rng.random() < p for _ in problems] for p in (right_, 1 - unmarked_))
        seen = [not r or m or rng.random() > missed for r, m in zip(right, marked, strict=True)]
        said = [p.answer if r else str(int(p.answer) - 6) for p, r in zip(problems, right, strict=True)]

        def answer(i: int) -> str:
            end = f"So it is \\boxed{{{said[i]}}}." if marked[i] else f"That makes {said[i]} in all, if none are eaten"
            return f"Together they pick some apples every day.\nFour days give four times as many.\n{end}"

        def says(i: int) -> Says:
            math = RIGHT if right[i] and seen[i] else WRONG
            judge = {} if math is RIGHT else {"judge": RIGHT if right[i] else WRONG}
            return {"math": math, "strict": math if marked[i] else Outcome.NO_ANSWER, **judge}

        def more(i: int, verifier: str) -> dict[str, Any]:
            if verifier == "judge":
                return {"rule": "judge"}
            found = said[i] if seen[i] else "4"
            return {"rule": "box/number" if marked[i] else "last_number/number", "answer": found}

        return {"says": says, "answer": answer, "more": more}

    fill(store, "teacher/long", train, **grade(train, 0.85, 0.15, 0.2))
    fill(store, "teacher/short", train, **grade(train, 0.80, 0.02, 0.2))
    student = {"problems": gsm8k, "benchmark": "gsm8k"}
    fill(store, "student/qwen-1.5b/base", **student, **grade(gsm8k, 0.45, 0.30, 0.2))
    for seed in (0, 1):
        fill(store, f"student/qwen-1.5b/long/{seed}", **student, **grade(gsm8k, 0.65, 0.40, 0.3))
        fill(store, f"student/qwen-1.5b/short/{seed}", **student, **grade(gsm8k, 0.62, 0.02, 0.3))
    return store
