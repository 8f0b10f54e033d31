"""Runs as they stand before `mix`, written by hand: no model, no tokenizer, tokens and verdicts as wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tiny
from mixdistill.recipe import Recipe, build
from mixdistill.store import Store
from mixdistill.types import Decision, Fit, Outcome, Problem, Row, Trace

PROMPT_TOKENS = 10
Solved = Mapping[int, Sequence[int | tuple[int, str]]]
"""Problem -> its traces: loss tokens, 0 for a wrong one; or with the reason why no arm may use it."""


def problems(count: int, levels: Sequence[str] | None = None) -> list[Problem]:
    return [tiny.problem(f"What is {i}?", str(i), levels[i] if levels else None) for i in range(count)]


def run(root: Path, count: int, teachers: Mapping[str, Solved], levels: Sequence[str] | None = None) -> Store:
    """A run folder with so many problems and what these teachers made of them, for a student `s`."""
    store, asked = Store(root), problems(count, levels)
    seal(store, store.folder("problems"), train=asked)
    for teacher, solved in teachers.items():
        traces, decisions, fits = list[Trace](), list[Decision](), list[Fit]()
        for i, given in solved.items():
            for k, one in enumerate(given):
                tokens, reason = one if isinstance(one, tuple) else (one, None)
                trace = tiny.trace(asked[i], author=f"teacher/{teacher}", sample=k, content=f"{teacher} {i} {k}")
                outcome = Outcome.CORRECT if tokens else Outcome.INCORRECT
                traces.append(trace)
                decisions.append(
                    Decision(trace_id=trace.id, **dict.fromkeys(("outcome", "strict", "flexible", "judge"), outcome))
                )
                fits.append(
                    Fit(
                        trace_id=trace.id, problem_id=asked[i].id, template="f", prompt_tokens=PROMPT_TOKENS,
                        loss_tokens=tokens or 5, reason=reason, detail="found" if reason else "",
                    )
                )  # fmt: skip
        seal(store, store.folder("generate", teacher), traces=traces)
        seal(store, store.folder("verify", teacher), decisions=decisions)
        seal(store, store.folder("analyze", teacher), fits=fits)
    return store


def seal(store: Store, folder: Path, **tables: Sequence[Row]) -> None:
    types: dict[str, type[Row]] = {
        "train": Problem, "traces": Trace, "decisions": Decision, "fits": Fit,
    }  # fmt: skip
    sealed = {name: store.seal(folder, types[name], rows, name) for name, rows in tables.items()}
    facts = {"templates": {"s": "f"}}
    store.mark(folder, {"identity": "", "options": {}, "inputs": {}, "tables": sealed, "facts": facts})


def recipe(arms: Mapping[str, Any], **sections: Any) -> Recipe:
    """A study of a student `s` with the teachers `long` and `short`, and `self` where an arm draws on it."""
    names = {t for arm in arms.values() for t in arm.get("weights", arm)} | set(sections.pop("further", ()))
    return build(
        {
            "name": "made",
            "problems": {"train": {"source": "train.jsonl"}, "eval": {"e": {"source": "eval.jsonl"}}},
            "teachers": {t: {} if t == "self" else {"backend": "scripted", "model": t} for t in sorted(names)},
            "verify": {"verifier": "math"},
            "students": {"s": {"model": "s"}},
            "arms": arms,
            "contrasts": {},
            "budget": {"unit": "examples", "per_update": 1, **sections.pop("budget", {})},
            "train": {"num_train_epochs": 1, **sections.pop("train", {})},
            **sections,
        }
    )
