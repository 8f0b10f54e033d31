"""`check --gold`: does the verifier accept the problems' own reference answers?

A verifier that rejects a reference rejects every right trace of that problem, in all arms alike: fewer problems, and
lower accuracies than there are. Each reference is graded as the content of a trace that ended by itself. How it is
phrased is the verifier's own affair: where its module has a function

    gold(problem, *, option=...) -> str        the text of a right answer to the problem

that is what is graded, else `problem.answer` as it stands. It is given those of the verifier's options that it names.
Where it gives None, no right answer can be made of the reference (tests, without a program that passes them): such are
counted, and nothing is graded.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mixdistill import resolve, verify
from mixdistill.asking import asks
from mixdistill.commands import faults
from mixdistill.errors import RecipeError
from mixdistill.printing import cut
from mixdistill.problems import counted
from mixdistill.recipe import Recipe
from mixdistill.types import Outcome, Problem, Row, Trace, Verdict, prompt_text, trace_id

if TYPE_CHECKING:
    from rich.text import Text

AUTHOR = "reference"
SHOWN = 20
"""Rejected references that the text lists; JSON has all."""


class Rejected(Row):
    """A reference answer that the verifier does not accept."""

    problem_id: str
    name: str
    """`train`, or the benchmark."""
    prompt: str
    """Its beginning, at most 200 characters."""
    reference: str
    """The reference answer, as the problem has it."""
    content: str
    """What was graded."""
    outcome: Outcome
    answer: str | None
    """What the verifier extracted."""
    explanation: str


class Gold(Row):
    """What a verifier says of the reference answers."""

    verifier: str
    own: dict[str, str] = {}
    """Benchmark -> its verifier, of those that have one of their own."""
    problems: dict[str, int]
    """`train` and every benchmark -> problems."""
    accepted: dict[str, int]
    """Of these, with a reference that is accepted."""
    no_answer: dict[str, int]
    """Of these, with a reference of which no right answer can be made; they were not graded."""
    rejected: list[Rejected]
    unused: dict[str, int]
    """Rows that are no problem and were not graded: `train: no_answer` -> how many."""


def grade(recipe: Recipe, *, limit: int | None = None, where: str = "recipe") -> Gold:
    """Grade every problem's reference answer. Raises RecipeError where problems cannot be loaded."""
    if asks(first := recipe.verify.chain[0].name):
        raise RecipeError(
            f"{where}: verify.verifier: '{first}' asks a model, and a check asks nobody; put another verifier before it"
        )
    sets, unused, lines = faults.read_problems(recipe.problems, limit=limit, error_rate=recipe.error_rate)
    lines = faults.variables(recipe.problems, {}) + lines
    if lines:
        raise RecipeError([f"{where}: {line}" for line in lines])
    items, failed, none = [], [], Counter[str]()
    studies = {name: recipe.on(name) if name in recipe.problems.eval else recipe for name in sets}
    for name, problems in sets.items():
        phrase = phrasing(studies[name])
        for problem in problems:
            try:
                content = phrase(problem)
                if content is None:
                    none[name] += 1
                else:
                    items.append((name, problem, _trace(problem, content)))
            except Exception as e:  # a user's function may raise anything
                said = " ".join(f"gold: {e}".split())
                failed.append(
                    _rejected(name, problem, "", Verdict(trace_id="", outcome=Outcome.ERROR, explanation=said))
                )
    judged = []
    for name, study in studies.items():
        mine = [item for item in items if item[0] == name]
        judged += zip(mine, verify.grade(study, [item[1:] for item in mine]), strict=True)
    return Gold(
        verifier=first,
        own={n: b.verify.name for n, b in recipe.problems.eval.items() if b.verify and b.verify.name != first},
        unused=counted(unused),
        problems={name: len(problems) for name, problems in sets.items()},
        no_answer=dict.fromkeys(sets, 0) | none,
        accepted=dict.fromkeys(sets, 0) | Counter(i[0] for i, v in judged if v.outcome is Outcome.CORRECT),
        rejected=failed + [_rejected(*i[:2], i[2].content, v) for i, v in judged if v.outcome is not Outcome.CORRECT],
    )


def phrasing(recipe: Recipe) -> Callable[[Problem], str | None]:
    """How a right answer is put: the verifier module's `gold`, else the bare reference."""
    verifier = resolve.load(resolve.reference("verifier", recipe.verify.chain[0].name))
    phrase = getattr(sys.modules[verifier.__module__], "gold", None)
    if phrase is None:
        return lambda problem: problem.answer
    return partial(phrase, **{k: v for k, v in recipe.verify.chain[0].options.items() if resolve.takes(phrase, k)})


def _trace(problem: Problem, content: str) -> Trace:
    return Trace(
        id=trace_id(AUTHOR, problem.id, 0),
        problem_id=problem.id,
        author=AUTHOR,
        content=content,
        finish_reason="stop",
    )


def _rejected(name: str, problem: Problem, content: str, verdict: Verdict) -> Rejected:
    return Rejected(
        problem_id=problem.id,
        name=name,
        prompt=prompt_text(problem.prompt)[:200],
        reference=problem.answer,
        content=content,
        outcome=verdict.outcome,
        answer=verdict.answer,
        explanation=verdict.explanation,
    )


def text(gold: Gold, width: int = 100) -> Text:
    """Counts, and the references that are not accepted."""
    from rich.text import Text

    page = Text()
    for name, rows in gold.problems.items():
        problems, verifier = rows - gold.no_answer[name], gold.own.get(name, gold.verifier)
        if rows and not problems:
            page.append(f"{verifier}: none of {rows:,} references of {name} holds an answer that could be graded\n")
            continue
        said = f"{verifier} accepts {gold.accepted[name]:,} of {problems:,} reference answers of {name}\n"
        page.append(said, "" if gold.accepted[name] == problems else "bold yellow")
        if problems < rows:
            page.append(f"not graded, since no answer is in the reference: {rows - problems:,} of {name}\n")
    for why, rows in gold.unused.items():
        page.append(f"not graded, since they are no problems: {rows:,} rows, {why}\n")
    for r in gold.rejected[:SHOWN]:
        page.append(f"\n{r.problem_id}", "bold").append(f"  {r.name}  {cut(r.prompt, width - 22 - len(r.name))}\n")
        page.append(f"  reference {cut(r.reference, width - 12)}\n  graded    {cut(r.content, width - 12)}\n")
        found = "no answer found" if r.answer is None else f"found {cut(r.answer, width - 30)}"
        page.append(f"  {r.outcome.value}, {found}\n")
        if r.explanation:
            page.append(f"  {r.explanation[: width - 2]}\n")
    if len(gold.rejected) > SHOWN:
        page.append(f"\nand {len(gold.rejected) - SHOWN:,} more; --json lists all\n")
    page.rstrip()
    return page
