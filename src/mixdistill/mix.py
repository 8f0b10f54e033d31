"""Stage 4: matched training sets. Arms that are compared get the same problems, order and number of updates.

For a student, the *pool* of a teacher is what it solved, minus what does not fit the student. Arms linked by contrasts
form a group; with `shared` problems the group keeps those that every one of its teachers has a trace for, so that a row
dropped in one arm leaves all of them. A seed then draws, the same way in every arm: which problems of a blend go to
which teacher, which of a teacher's traces is taken, and the order. No draw depends on the name of an arm or teacher.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mixdistill import resolve
from mixdistill.errors import StageError
from mixdistill.recipe import Recipe
from mixdistill.sections import Arm, Budget
from mixdistill.store import Store
from mixdistill.tokens import CLOSE, OPEN, Template
from mixdistill.types import Drop, Example, Outcome, Problem, Trace, Update
from mixdistill.units import Done, Unit
from mixdistill.verify import DECISIONS, READS, judged

VERSION = "2"
EXAMPLES, UPDATES, DROPPED = "examples", "updates", "dropped"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trace that may be used for its problem."""

    trace_id: str
    loss_tokens: int
    """Tokens of its completion as the student renders it, stop token included."""


Pool = Mapping[str, Sequence[Candidate]]
"""Problem id -> a teacher's traces of it, in sample order."""


def blend(
    pools: Mapping[str, Pool], weights: Mapping[str, float], *, rng: random.Random, unit: str = "examples"
) -> Iterator[str]:
    """Mixture: one trace per problem, teachers by weight, in the order of the pools' problems.

    Each problem draws one number that ranks it and one that picks among a teacher's traces. The lowest ranks go to the
    first teacher, up to its share, and so on; so a 20 % and a 50 % blend of the same seed are nested. For weights in
    `loss_tokens` the shares of examples are those that give these shares of tokens at the teachers' mean lengths.
    """
    problems = list(next(iter(pools.values())))
    draws = [(rng.random(), rng.random()) for _ in problems]
    shares = example_shares({t: _mean_tokens(pool, problems) for t, pool in pools.items()}, weights, unit)
    ranked = sorted(range(len(problems)), key=lambda i: draws[i][0])
    teacher_of: dict[int, str] = {}
    start, reached = 0, 0.0
    for teacher, share in shares.items():
        reached += share
        end = round(reached * len(problems))
        teacher_of |= dict.fromkeys(ranked[start:end], teacher)
        start = end
    for i, problem in enumerate(problems):
        candidates = pools[teacher_of[i]][problem]
        yield candidates[int(draws[i][1] * len(candidates))].trace_id


def example_shares(mean_tokens: Mapping[str, float], weights: Mapping[str, float], unit: str) -> dict[str, float]:
    """Teacher -> share of examples, for weights in `unit`; teachers in the order of `mean_tokens`."""
    raw = {t: weights.get(t, 0.0) / (mean if unit == "loss_tokens" else 1.0) for t, mean in mean_tokens.items()}
    total = sum(raw.values())
    return {t: share / total for t, share in raw.items() if share > 0}


def schedule(sizes: Sequence[int], *, updates: int, per_update: int, rng: random.Random) -> list[list[int]]:
    """Which rows each update takes: the next ones of the common order until the update holds its budget.

    `sizes` are the rows' sizes in the budget's unit. The order is a new shuffle of all rows for every pass. Update t
    ends with the row by which the running total reaches (t + 1) * per_update, so rounding never adds up.
    """
    taken: list[list[int]] = []
    total, current = 0, list[int]()
    while len(taken) < updates:
        order = list(range(len(sizes)))
        rng.shuffle(order)
        for row in order:
            current.append(row)
            total += sizes[row]
            if total >= (len(taken) + 1) * per_update:
                taken.append(current)
                current = []
                if len(taken) == updates:
                    break
    return taken


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per cell: student, arm, seed."""
    found = []
    models = {name: resolve.model_fingerprint(spec.model) for name, spec in recipe.students.items()}
    mixtures = {arm: _mixture(recipe.arm(arm)) for arm in recipe.trained}
    for student, arm, seed in recipe.cells():
        teachers = recipe.teachers_of(recipe.group_of(arm), student)
        train = recipe.train_of(student, arm)
        weights = recipe.weights(arm, student)
        inputs = {"problems/train": store.content(store.folder("problems"), "train", ["id", "prompt"])}
        for t in teachers:
            inputs[f"generate/{t}"] = store.content(store.folder("generate", t), "traces", READS)
            inputs[f"verify/{t}"] = store.content(store.folder("verify", t), DECISIONS, ["trace_id", "outcome"])
        mixture, given = mixtures[arm]
        options = {
            "stage": VERSION,
            "seed": seed,
            "weights": {t: weights[t] for t in teachers if t in weights},
            **mixture,
            "teachers": sorted(teachers),
            "budget": recipe.budget_of(arm).model_dump(exclude={"also"}),
            "student": models[student],
            "chat_template_kwargs": recipe.students[student].chat_template_kwargs,
            "train": train.model_dump(include={"max_length", "overlong", "num_train_epochs"}),
        }
        given = given | {"student": recipe.students[student].model}
        found.append(Unit(stage="mix", key=(student, arm, str(seed)), options=options, inputs=inputs, given=given))
    return found


def _mixture(arm: Arm) -> tuple[dict[str, Any], dict[str, str]]:
    """(what an arm's mixture adds to an identity, files among its options as they were given)."""
    version = resolve.version(resolve.load(resolve.reference("mixture", arm.mixture)))
    options, given = resolve.by_content(arm.options, "mixture.")
    return {"mixture": {"name": arm.mixture, "version": version}, **options}, given


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Draw one cell's training set and which of its rows each update takes."""
    student, arm, seed = unit.key[0], unit.key[1], int(unit.key[2])
    spec, budget, weights = recipe.arm(arm), recipe.budget_of(arm), recipe.weights(arm, student)
    fits = _fits(recipe, store, student, recipe.teachers_of(recipe.group_of(arm), student))
    wanted = list(fits) if budget.problems == "shared" else recipe.teachers_of([arm], student)
    problems, dropped = _problems(recipe, store, {t: fits[t] for t in wanted})
    if not problems:
        raise StageError(_nothing_shared(unit.label, fits, dropped, budget.problems))
    # Per teacher, what an arm of the group may draw from it.
    group = {
        t: {p: fit.pool[p] for p in (problems if budget.problems == "shared" else fit.pool)} for t, fit in fits.items()
    }
    count = _updates(unit.label, group, recipe.train_of(student).num_train_epochs, budget)
    pools = {t: {p: fits[t].pool[p] for p in problems} for t in fits if t in weights}
    # Longest traces first, so that a blend does not depend on the order in which the recipe names its teachers.
    pools = dict(sorted(pools.items(), key=lambda pool: -_mean_tokens(pool[1], problems)))
    candidates = {c.trace_id: (t, c) for t, pool in pools.items() for cs in pool.values() for c in cs}
    ids = _mixed(unit.label, spec, weights, pools, set(candidates), random.Random(f"blend {seed}"), budget.unit)
    sizes = [1 if budget.unit == "examples" else candidates[i][1].loss_tokens for i in ids]
    taken = schedule(sizes, updates=count, per_update=budget.per_update, rng=random.Random(f"order {seed}"))
    dropped += [d for t in fits for d in fits[t].dropped]

    folder = store.folder(*("mix", *unit.key))
    tables = {
        EXAMPLES: store.seal(folder, Example, _examples(recipe, store, ids, candidates), EXAMPLES),
        UPDATES: store.seal(
            folder, Update, (Update(update=u, example=e) for u, rows in enumerate(taken) for e in rows), UPDATES
        ),
        DROPPED: store.seal(folder, Drop, dropped, DROPPED),
    }
    problem_of = {c.trace_id: p for pool in pools.values() for p, cs in pool.items() for c in cs}
    seen = {problem_of[ids[i]] for update in taken for i in update}
    facts = _facts(ids, taken, candidates) | {
        "problems": len(problems),
        "distinct_problems": len(seen),
        "unit": budget.unit,
    }
    # Traces and problems are counted apart: the two add up to nothing.
    counts = Counter(d.reason if d.trace_id else f"problems_{d.reason}" for d in dropped)
    return Done(counts={"problems_left": len(problems), **counts}, tables=tables, facts=facts)


def _mixed(
    label: str,
    arm: Arm,
    weights: Mapping[str, float],
    pools: Mapping[str, Pool],
    known: set[str],
    rng: random.Random,
    unit: str,
) -> list[str]:
    """The trace ids that the arm's mixture yields, all of them in the pools.

    They are put into the order of the problems, whatever order they came in: the seed's order of rows is then the same
    order of problems in every arm.
    """
    mixture = resolve.load(resolve.reference("mixture", arm.mixture))
    supplied = {"unit": unit} if resolve.takes(mixture, "unit") else {}
    ids = list(mixture(pools, weights, rng=rng, **supplied, **arm.options))
    strange = [i for i in ids if i not in known]
    if strange or not ids:
        got = f"{strange[0]!r}, which is in no pool" if strange else "nothing"
        raise StageError(f"{label}: the mixture '{arm.mixture}' must yield trace ids of the pools (got {got})")
    place = {c.trace_id: n for pool in pools.values() for n, cs in enumerate(pool.values()) for c in cs}
    return sorted(ids, key=place.__getitem__)


@dataclass
class _Fit:
    """A teacher's correct traces, for one student."""

    pool: dict[str, list[Candidate]] = field(default_factory=dict)
    dropped: list[Drop] = field(default_factory=list)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    """Problem that it has a judged trace of -> what its correct traces were dropped for."""
    longest: int = 0
    """Tokens of the longest row, prompt included."""

    def lack(self, problem: str) -> str:
        """Why it has no trace of a problem: what most of the correct ones died of, else what came before."""
        reasons = self.reasons.get(problem)
        if reasons is None:
            return "no_trace"
        return reasons.most_common(1)[0][0] if reasons else "no_correct"


def _fits(recipe: Recipe, store: Store, student: str, teachers: list[str]) -> dict[str, _Fit]:
    spec, train = recipe.students[student], recipe.train_of(student)
    template = Template.load(resolve.model_path(spec.model), chat_template_kwargs=spec.chat_template_kwargs)
    found = {}
    for t in teachers:
        key = tuple(
            str(store.content(store.folder(stage, t), table, ["trace_id" if stage == "verify" else "id", *extra]))
            for stage, table, extra in (("generate", "traces", READS[1:]), ("verify", DECISIONS, ["outcome"]))
        )
        who = json.dumps([resolve.model_fingerprint(spec.model), spec.chat_template_kwargs], sort_keys=True)
        found[t] = _fit(str(store.root), t, train.max_length, key, _Keyed(who, template))
    overlong = [d for fit in found.values() for d in fit.dropped if d.reason == "overlong"]
    if overlong and train.overlong == "refuse":
        total = sum(len(cs) for fit in found.values() for cs in fit.pool.values()) + len(overlong)
        raise StageError(
            f"mix/{student}: {len(overlong):,} of {total:,} accepted traces exceed max_length={train.max_length:,} "
            f"(longest {max(fit.longest for fit in found.values()):,}); "
            "raise train.max_length or set train.overlong: drop"
        )
    return found


@dataclass(frozen=True)
class _Keyed:
    """A template that counts as equal to another of the same model with the same arguments."""

    who: str
    template: Template

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and other.who == self.who

    def __hash__(self) -> int:
        return hash(self.who)


@lru_cache(maxsize=16)
def _fit(root: str, teacher: str, max_length: int, content: tuple[str, ...], keyed: _Keyed) -> _Fit:
    """Sort a teacher's correct traces into those that fit the student and those that do not.

    Cached within a worker: every arm and seed of a student asks for the same. `content` is part of the key only.
    """
    from pathlib import Path

    store, template = Store(Path(root)), keyed.template
    prompts = {p.id: len(template.prompt_ids(p.prompt)) for p in store.read(store.folder("problems"), Problem, "train")}
    fit = _Fit()
    for trace, outcome in judged(store, teacher):
        if trace.problem_id not in prompts:
            continue  # bought when the study asked for more problems
        reasons = fit.reasons.setdefault(trace.problem_id, Counter())
        if outcome is not Outcome.CORRECT:
            continue
        tokens = template.count(trace.reasoning, trace.content)
        length = prompts[trace.problem_id] + tokens
        if trace.finish_reason == "stop":
            fit.longest = max(fit.longest, length)
        reason = _misfit(trace, template, length, max_length)
        if reason:
            reasons[reason] += 1
            fit.dropped.append(Drop(problem_id=trace.problem_id, trace_id=trace.id, teacher=teacher, reason=reason))
        else:
            fit.pool.setdefault(trace.problem_id, []).append(Candidate(trace.id, tokens))
    return fit


def _misfit(trace: Trace, template: Template, length: int, max_length: int) -> str | None:
    if trace.finish_reason != "stop":
        return "unfinished"  # it would teach the student not to stop
    if template.special_in(trace.reasoning) or template.special_in(trace.content):
        return "special_token"
    if any(tag.strip() in text for tag in (OPEN, CLOSE) for text in (trace.reasoning, trace.content)):
        return "think_tag"  # it would be split at the wrong place when the student writes it
    return "overlong" if length > max_length else None


def _problems(recipe: Recipe, store: Store, fits: Mapping[str, _Fit]) -> tuple[list[str], list[Drop]]:
    """(problems that every one of these teachers has a trace for, the rest with who lacks one)."""
    kept: list[str] = []
    dropped: list[Drop] = []
    for problem in store.frame(store.folder("problems"), "train", ["id"])["id"].to_list():
        lacking = [t for t, fit in fits.items() if problem not in fit.pool]
        dropped += [Drop(problem_id=problem, trace_id=None, teacher=t, reason=fits[t].lack(problem)) for t in lacking]
        if not lacking:
            kept.append(problem)
    return kept, dropped


_ADVICE = {
    "no_trace": "its requests failed or its file holds none of these problems; look at its marker under generate",
    "no_correct": "look at its traces with mixdistill show, and check verify and the reference answers "
    "(problems.*.answer, answer_after)",
    "unfinished": "its correct traces did not end by themselves; raise its sampling.max_tokens, or set complete for a "
    "file of finished ones",
    "overlong": "raise train.max_length",
    "special_token": "its traces hold the student's special tokens; take them out",
    "unknown": "its traces hold what the student's tokenizer does not know; take another student, or mend them",
    "think_tag": "its traces hold think tags; take them out",
}
"""What to do about a teacher without a single trace, by what its problems lack."""


def _nothing_shared(label: str, fits: Mapping[str, _Fit], dropped: Sequence[Drop], problems: str) -> str:
    """Which teacher has nothing to teach, or that no problem has a trace of every teacher; with what to do."""
    lacking = {t: Counter(d.reason for d in dropped if d.teacher == t) for t in fits}
    why = ", ".join(f"{t} {reason} {n:,}" for t, found in lacking.items() for reason, n in found.most_common())
    for teacher, found in lacking.items():
        if found and not fits[teacher].pool:
            advice = _ADVICE.get(found.most_common(1)[0][0], _ADVICE["no_correct"])
            return f"{label}: no accepted trace of '{teacher}' (problems without one: {why}); {advice}"
    solved = ", ".join(f"{t} {len(fit.pool):,}" for t, fit in fits.items())
    each = "" if problems == "each" else ", or set budget.problems: each"
    return (
        f"{label}: no problem is left with an accepted trace of every teacher (problems with one: {solved}; without: "
        f"{why}); raise teachers.*.samples, or give the teachers the same problems{each}"
    )


def _updates(label: str, group: Mapping[str, Pool], passes: float, budget: Budget) -> int:
    """Updates of every arm of the group: `passes` over the teacher with the fewest units.

    It depends on the group alone, never on the arm: arms with problems of their own still get the same number. Raises
    StageError where an update could not hold a single row.
    """
    per_pass = [float(len(pool)) for pool in group.values()]
    if budget.unit == "loss_tokens":
        longest = max((c.loss_tokens for pool in group.values() for cs in pool.values() for c in cs), default=0)
        if longest > budget.per_update:
            raise StageError(
                f"{label}: per_update={budget.per_update:,}, longest row {longest:,}; raise budget.per_update"
            )
        per_pass = [len(pool) * _mean_tokens(pool, pool) for pool in group.values()]
    return max(1, int(min(per_pass) * passes / budget.per_update))


def _mean_tokens(pool: Pool, problems: Iterable[str]) -> float:
    """Mean loss tokens per problem, each problem counting once."""
    means = [sum(c.loss_tokens for c in pool[p]) / len(pool[p]) for p in problems]
    return sum(means) / max(len(means), 1)


def _examples(
    recipe: Recipe, store: Store, ids: Sequence[str], candidates: Mapping[str, tuple[str, Candidate]]
) -> Iterator[Example]:
    """Join the texts last, by id."""
    problems = {p.id: p for p in store.read(store.folder("problems"), Problem, "train")}
    wanted = set(ids)
    traces: dict[str, Trace] = {}
    for teacher in {candidates[i][0] for i in wanted}:
        mine = [i for i in wanted if candidates[i][0] == teacher]
        found = store.rows(store.folder("generate", teacher), Trace, "traces", where=("id", mine))
        traces |= {trace.id: trace for trace in found}
    for i in ids:
        trace = traces[i]
        yield Example(
            prompt=problems[trace.problem_id].prompt,
            reasoning=trace.reasoning,
            content=trace.content,
            problem_id=trace.problem_id,
            trace_id=i,
            teacher=candidates[i][0],
        )


def _facts(
    ids: Sequence[str], taken: Sequence[Sequence[int]], candidates: Mapping[str, tuple[str, Candidate]]
) -> dict[str, Any]:
    """What an arm is made of, over the rows that the updates really take, in both units."""
    rows = [ids[i] for update in taken for i in update]

    def share(size: Callable[[str], int]) -> dict[str, float]:
        by_teacher: Counter[str] = Counter()
        for i in rows:
            by_teacher[candidates[i][0]] += size(i)
        total = sum(by_teacher.values())
        return {t: n / total for t, n in sorted(by_teacher.items())}

    return {
        "updates": len(taken),
        "examples": len(rows),
        "epochs": len(rows) / len(ids),
        "loss_tokens": sum(candidates[i][1].loss_tokens for i in rows),
        "share_examples": share(lambda i: 1),
        "share_loss_tokens": share(lambda i: candidates[i][1].loss_tokens),
    }
