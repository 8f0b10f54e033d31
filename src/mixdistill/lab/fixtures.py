"""Made-up problems and traces in the place of a data set that is not here: with its columns, and with answers that its
verifier can check. They are sums, and say nothing of any model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from mixdistill.sections import Source
from mixdistill.types import Problem, prompt_text

LONG, SHORT = 320, 40
"""Bytes of reasoning, at least."""
LEVELS = 5
SUBJECTS = ("algebra", "geometry")
STEPS = (
    "First I write down what is given.",
    "Then I put this into the line before.",
    "Wait, let me check that again.",
    "The two ways agree, which is a good sign.",
    "Now only the last step is left.",
)


class Task(NamedTuple):
    """What is asked and what is right."""

    prompt: str
    answer: str


def problem_rows(source: Source, verifier: str, *, count: int, first: int) -> list[dict[str, Any]]:
    """Rows with the columns of a source, for problems number `first` on: none of them has another's prompt."""
    task = _sum if source.options else TASKS.get(verifier, _sum)
    rows = []
    for number in range(first, first + count):
        prompt, answer = task(number)
        if source.answer_after:
            answer = f"I count on from {number}.\n{source.answer_after} {answer}"
        row: dict[str, Any] = {source.prompt or "problem": prompt, **_answer(source, answer)}
        if source.level:
            row[source.level] = 1 + number % LEVELS
        if source.subject:
            row[source.subject] = SUBJECTS[number % len(SUBJECTS)]
        rows.append(row)
    return rows


def trace_rows(
    problems: list[Problem], right: Callable[[Problem], str], *, samples: int, long: bool, seed: str, **columns: str
) -> list[dict[str, Any]]:
    """Rows of recorded traces, `samples` of each problem, right and ended. `columns`: names for `prompt`, `completion`
    and, where they are to be there, `reasoning` and `finish_reason`."""
    draw = random.Random(seed)
    rows = []
    for problem in problems:
        for _ in range(samples):
            thought, content = _reasoning(problem, draw, LONG if long else SHORT), right(problem)
            row = {columns["prompt"]: prompt_text(problem.prompt)}
            if "reasoning" in columns:
                row |= {columns["reasoning"]: thought, columns["completion"]: content}
            else:
                row |= {columns["completion"]: f"<think>\n{thought}\n</think>\n\n{content}"}
            rows.append(row | ({columns["finish_reason"]: "stop"} if "finish_reason" in columns else {}))
    return rows


def _reasoning(problem: Problem, draw: random.Random, size: int) -> str:
    words = [f"It comes to {problem.answer[:40]}."]
    while len(" ".join(words)) < size:
        words.append(draw.choice(STEPS))
    return " ".join(words)


def _answer(source: Source, answer: str) -> dict[str, Any]:
    """The columns of a reference answer, with the options that it is one of where a source has options."""
    if isinstance(source.answer, list):
        return {column: json.loads(answer)[column] for column in source.answer}
    if not source.options:
        return {source.answer or "answer": answer}
    wrong = [str(int(answer) + more) for more in (1, 2, 3)]
    if isinstance(source.options, str):
        return {source.answer or "answer": answer, source.options: [wrong[0], answer, *wrong[1:]]}
    others = [column for column in source.options if column != source.answer]
    return {source.answer or "answer": answer, **dict(zip(others, wrong, strict=False))}


def _sum(number: int) -> Task:
    return Task(f"What is {number} and {number % 7 + 2} together?", str(number + number % 7 + 2))


def _choice(number: int) -> Task:
    asked, right = _sum(number)
    at = number % 4
    offered = [f"{letter}) {int(right) + place - at}" for place, letter in enumerate("ABCD")]
    return Task("\n".join([asked, *offered]), "ABCD"[at])


def _object(number: int) -> Task:
    asked, right = _sum(number)
    return Task(f"{asked} Answer as a JSON object.", json.dumps({"sum": int(right)}))


def _program(number: int) -> Task:
    solution = f"def add(x):\n    return x + {number}\n"
    tests = {"fn_name": "add", "inputs": [[1], [5]], "outputs": [number + 1, number + 5], "solution": solution}
    return Task(f"Write a Python function add(x) that adds {number} to x.", json.dumps(tests))


def _instruction(number: int) -> Task:
    asked = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    return Task(f"Praise the number {number} without a comma.", json.dumps(asked))


TASKS: dict[str, Callable[[int], Task]] = {
    "choice": _choice, "json": _object, "code": _program, "ifeval": _instruction
}  # fmt: skip
"""Verifier -> what it can check, where that is no sum."""
