"""What a whole study costs in tokens and GPU-hours, whether or not its models and data are here.

Sizes of models that are not here are read off their names, sizes of known data sets off a table, and lengths of traces
that nobody has seen are assumed; each of these is said. No rate was measured on a GPU.
"""

from __future__ import annotations

from mixdistill import dev, fragments
from mixdistill.arms import BASE, called
from mixdistill.commands import estimates
from mixdistill.commands.plans import Amount, Cost
from mixdistill.page.wording import short_number
from mixdistill.recipe import Recipe
from mixdistill.sections import Teacher
from mixdistill.store import Store

TRACES = {
    "UWNSL/MATH_training_split_long_cot": (5383, 1300),
    "UWNSL/MATH_training_split_short_cot": (5383, 400),
    "UWNSL/MATH_training_split_distill_large_teacher": (4539, 400),
    "UWNSL/MATH_training_split_distill_small_teacher": (4539, 400),
}
"""Published traces -> (how many, tokens of one, worked out from the size of the file)."""
ASSUMED_LENGTH = 1000
"""Tokens of a trace that nobody has seen, of a teacher without a limit."""
ASSUMED_SHARE = 4
"""A trace that nobody has seen takes one part in so many of its teacher's limit."""
ASSUMED_PROMPT = 100
NOT_ASKED = ("recorded", "scripted")
RATES = (
    "an A100 or better, not measured: 1e14 operations a second in training (6 a weight and token), 4e12 in sampling (2)"
)


def known_rows(study: Recipe) -> dict[str, int | None]:
    """List of problems -> how many it has by the table; None where that is not known."""
    return {name: fragments.known_rows(source) for name, source in study.problems.lists.items()}


def cost(study: Recipe, rows: dict[str, int | None], known: dict[str, Amount], store: Store) -> Cost:
    """Of all teachers, trainings and evaluations, none of them taken to be there. `rows`: problems of every list;
    `known`: tokens of a trace of every teacher, as far as they are."""
    lengths = {name: _length(teacher, known.get(name)) for name, teacher in study.teachers.items()}
    unknown = next((name for name, n in rows.items() if n is None), None)
    if unknown:
        nothing = Amount(value=None, basis=f"not known before the problems of {unknown} are read")
        return Cost(tokens=nothing, teachers=nothing, training=nothing, evaluation=nothing, at_most=nothing, assumed=[])
    counts = {name: n or 0 for name, n in rows.items()}
    asked = {name: teacher for name, teacher in study.teachers.items() if teacher.backend not in NOT_ASKED}
    tokens = {name: counts["train"] * t.samples * (lengths[name].value or 0) for name, t in asked.items()}
    most = {name: n * asked[name].most_samples / asked[name].samples for name, n in tokens.items()}
    more = [name for name, t in asked.items() if t.most_samples != t.samples]
    basis = ", ".join(tokens) or "no teacher is asked"
    if more:
        basis += f"; at most {short_number(sum(most.values()))}, were every problem asked max_samples times"
    assumed = [RATES, *dict.fromkeys(f"{name}: {a.basis}" for name, a in lengths.items() if "assumed" in a.basis)]
    assumed += [f"{name}: GPU-hours of max_samples={asked[name].max_samples} a problem" for name in more]
    return Cost(
        tokens=Amount(value=sum(tokens.values()), basis=basis),
        teachers=_hours([_asking(asked[name].model, n) for name, n in most.items()], "were they served here"),
        training=_training(study, counts["train"], lengths),
        evaluation=_evaluation(study, store, counts, lengths),
        at_most=_evaluation(study, store, counts, None),
        assumed=assumed,
    )


def _length(teacher: Teacher, known: Amount | None) -> Amount:
    """Tokens of one trace, assumed where nobody knows."""
    if known is not None and known.value:
        return known
    if (path := teacher.options.get("path")) in TRACES:
        return Amount(
            value=TRACES[path][1], basis=f"{TRACES[path][1]:,} tokens a trace, assumed by the size of its file"
        )
    limit = teacher.sampling.max_tokens
    if limit is None:
        return Amount(value=ASSUMED_LENGTH, basis=f"{ASSUMED_LENGTH:,} tokens a trace, assumed")
    mean = limit / ASSUMED_SHARE
    return Amount(value=mean, basis=f"{mean:,.0f} tokens a trace, assumed: a quarter of its limit")


def _asking(model: str, tokens: float) -> float | str:
    """Seconds of sampling so many tokens, or why they are not known."""
    weights = estimates.parameters(model)
    return weights.basis if weights.value is None else 2 * weights.value * tokens / estimates.SAMPLE_RATE["GPU"]


def _hours(seconds: list[float | str], basis: str) -> Amount:
    unknown = next((s for s in seconds if isinstance(s, str)), None)
    if unknown is not None:
        return Amount(value=None, basis=unknown)
    return Amount(value=sum(s for s in seconds if not isinstance(s, str)) / 3600, basis=basis)


def _training(study: Recipe, problems: int, lengths: dict[str, Amount]) -> Amount:
    tries = study.tune.learning_rate if study.tune else ()
    trials = [(student, arm, 0) for student in study.students for arm in study.trained for _ in tries]
    done = []
    for cell in [*study.cells(), *trials]:
        rows = min([problems, *(_recorded(study.teachers[t], problems) for t in study.weights(cell[1], cell[0]))])
        done.append(estimates.Work(study, rows, ASSUMED_PROMPT, lengths).training(cell))
    rate = estimates.TRAIN_RATE["GPU"]
    return _hours(
        [w if isinstance(w, str) else w / rate for w in done], f"{len(done):,} trainings, every problem solved"
    )


def _recorded(teacher: Teacher, problems: int) -> int:
    """Problems that a teacher has a trace of, as far as that is known."""
    return TRACES.get(str(teacher.options.get("path")), (problems, 0))[0]


def _evaluation(study: Recipe, store: Store, counts: dict[str, int], lengths: dict[str, Amount] | None) -> Amount:
    """Every answer as long as its arm's traces, those of an untuned student as the mean of all; without `lengths`, as
    long as it may be."""
    evaluations = estimates.evaluations(study, store)
    asked = [a for s, arm, *_, b in evaluations for a in estimates.asked(study, s, arm, b, counts[b])]
    tries = len(study.tune.learning_rate) if study.tune else 0
    looks = [(s, arm, dev.wanted(study, s, arm)) for s, arm, _ in study.cells()]
    looks += [(s, arm, tries) for s in study.students for arm in study.trained]
    limit = study.evaluate.sampling.max_tokens
    asked += [estimates.Asking(s, arm, n * counts["dev"], limit) for s, arm, n in looks if n]
    seconds = []
    for student, arm, traces, limit in asked:
        if limit is None and lengths is None:
            return Amount(value=None, basis=estimates.NO_LIMIT)
        mean = float(limit or 0) if lengths is None else _answer(study, arm, lengths)
        seconds.append(_asking(study.students[student].model, traces * min(mean, limit or mean)))
    what = f"{len(evaluations):,} evaluations" + ", dev problems while students train" * any(n for *_, n in looks)
    return _hours(seconds, what)


def _answer(study: Recipe, arm: str, lengths: dict[str, Amount]) -> float:
    if called(arm).arm == BASE:
        return sum(a.value or 0 for a in lengths.values()) / len(lengths)
    return estimates.example_tokens(study, arm, lengths) or 0.0
