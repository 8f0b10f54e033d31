"""What a task that mixdistill wrote for lm-evaluation-harness calls: its documents, and the study's verifier."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill import resolve
from mixdistill.handover.lm_eval import GRADING, PROBLEMS, READINGS
from mixdistill.tokens import Template
from mixdistill.types import FinishReason, Outcome, Problem, Trace, Verdict, trace_id
from mixdistill.verifiers.grading import grade as grade_in_workers

if TYPE_CHECKING:
    from datasets import Dataset

AUTHOR = "lm-eval"


def problems(folder: Path) -> dict[str, Dataset]:
    """The documents of a task's folder, as its split `test`."""
    from datasets import Dataset

    text = (folder / PROBLEMS).read_text(encoding="utf-8")
    return {"test": Dataset.from_list([json.loads(line) for line in text.splitlines()])}


def grade(folder: Path, doc: dict[str, Any], completion: str) -> dict[str, int]:
    """1 or 0 for each reading of a completion. An error of the verifier counts as not correct, as in a study."""
    verdict = verdict_of(folder, doc, completion)
    outcomes = {"strict": verdict.strict or verdict.outcome, "flexible": verdict.outcome}
    return {reading: int(outcomes[reading] is Outcome.CORRECT) for reading in READINGS}


def verdict_of(folder: Path, doc: dict[str, Any], completion: str) -> Verdict:
    """What the verifier says of a completion that the harness hands over as text."""
    said, template = _said(folder)
    completion, ended = as_limited(template, completion, said["max_tokens"])
    reasoning, content = template.split_text(completion)
    problem = Problem.model_validate(said["problems"][doc["id"]])
    trace = Trace(
        id=trace_id(AUTHOR, problem.id, 0),
        problem_id=problem.id,
        author=AUTHOR,
        reasoning=reasoning,
        content=content,
        finish_reason=ended,
    )
    verifier = resolve.reference("verifier", said["verifier"])
    items = [(problem, trace)]
    return grade_in_workers(items, verifier, said["options"], name=said["verifier"], deadline=said["deadline"])[0]


def as_limited(template: Template, completion: str, max_tokens: int) -> tuple[str, FinishReason]:
    """(a completion as it would be under our limit, how it ended).

    The harness does not say how, but a completion that was cut has as many tokens as it was given; it can have more,
    since a model's own `max_new_tokens` takes precedence there. Its text may be of fewer tokens than were sampled.
    """
    ids = template.encode(completion)
    if len(ids) < max_tokens:
        return completion, "stop"
    return template.decode(ids[:max_tokens]) if len(ids) > max_tokens else completion, "length"


@lru_cache(maxsize=8)
def _said(folder: Path) -> tuple[dict[str, Any], Template]:
    """What the task says of grading, and the student's template."""
    said = json.loads((folder / GRADING).read_text(encoding="utf-8"))
    return said, Template.load(said["model"], chat_template_kwargs=said["chat_template_kwargs"])
