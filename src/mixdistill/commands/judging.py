"""What `check` says of verifiers that ask a model: how much that may be, and what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixdistill.asking import asks, made
from mixdistill.commands.faults import Found
from mixdistill.commands.plans import Amount, PlannedJudge
from mixdistill.dev import DEV, asked_on_dev
from mixdistill.page.wording import dollars, pct
from mixdistill.recipe import Recipe
from mixdistill.sections import Link
from mixdistill.students import samples
from mixdistill.types import Problem, Trace
from mixdistill.verifiers.judge import SHOWN


def planned(study: Recipe, found: Found) -> list[PlannedJudge]:
    """The verifiers that ask a model."""
    return [_judge(study, found, link) for link in study.verify.chain if asks(link.name)]


def _judge(study: Recipe, found: Found, link: Link) -> PlannedJudge:
    judge = made(link)
    of_teachers = sum(t.most_samples for t in study.teachers.values())
    models = {s: 1 + sum(t == s for t, *_ in study.cells()) for s in study.students}
    asked = {"train": of_teachers}
    for name, benchmark in study.problems.eval.items():
        how = study.on(name)
        of_students = sum(samples(how, s) * n for s, n in models.items())
        asked[name] = 0 if benchmark.verify else of_students * (1 + len(how.evaluate.caps))
    if study.problems.dev:
        asked[DEV] = asked_on_dev(study)
    problems = {name: found.problems[name] for name in asked}
    return PlannedJudge(
        name=link.name,
        backend=judge.backend,
        model=judge.model,
        votes=judge.votes,
        audit=None if link == study.verify.chain[0] else study.verify.audit,
        requests_at_most=judge.votes * sum(len(problems[name]) * n for name, n in asked.items()),
        cost_at_most=_cost_at_most(judge, problems, asked),
    )


def _cost_at_most(judge: Any, problems: Mapping[str, list[Problem]], asked: Mapping[str, int]) -> Amount:
    """US dollars of a judge that is asked about so many traces of each problem of a list, were every answer shown as
    long as it may be."""
    limit, price = judge.sampling.max_tokens, judge.price
    if price is None:
        return Amount(value=None, basis="no price")
    if limit is None and price.completion > 0:
        return Amount(value=None, basis="not known without max_tokens")
    total = 0.0
    for name, found in problems.items():
        for problem in found:
            trace = Trace(id="", problem_id=problem.id, author="", content="x" * SHOWN)
            question = judge.question(problem, trace, None)
            size = len(question.encode()) if isinstance(question, str) else 0
            total += asked[name] * (size * price.prompt + (limit or 0) * price.completion)
    return Amount(value=judge.votes * total / 1e6, basis="every trace asked about, and every answer at full length")


def lines(judges: list[PlannedJudge]) -> list[tuple[tuple[str, ...], list[str]]]:
    """For the plan: who they are, what they are asked and what that may cost."""
    return [((j.name, f"{j.backend} {j.model}"), _notes(j)) for j in judges]


def _notes(j: PlannedJudge) -> list[str]:
    what = "every trace" if j.audit is None else f"what none before it accepts, and {pct(j.audit)} of what they do"
    votes = f", {j.votes} times each" if j.votes > 1 else ""
    found = [f"asked about {what}{votes}: at most {j.requests_at_most:,} requests, how many follows from the grading"]
    if j.cost_at_most.value is not None:
        found.append(f"at most {dollars(j.cost_at_most.value)} ({j.cost_at_most.basis})")
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in found]
