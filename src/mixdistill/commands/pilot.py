"""`run --pilot`: a few random problems first, what they say of the whole study, and whether to go on.

The pilot is the beginning of the run and nothing else: the ordinary stages, asked for fewer problems. What it bought is
kept, and a run that goes on buys the rest.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import inf
from typing import TYPE_CHECKING

from mixdistill import projection as foresight
from mixdistill.analyze import TABLE as COMPLEXITY
from mixdistill.collect import TABLE as TRACES
from mixdistill.commands import estimates, faults
from mixdistill.commands.faults import Found
from mixdistill.commands.plan_text import Line, laid_out
from mixdistill.commands.plans import Amount
from mixdistill.errors import MissingExtra
from mixdistill.files import write_atomically
from mixdistill.page.wording import dollars, rough_time, short_number
from mixdistill.projection import PilotTeacher, Projected, Projection
from mixdistill.recipe import AVERAGE, Recipe
from mixdistill.refusals import PILOT
from mixdistill.sections import Teacher
from mixdistill.spending import price_of
from mixdistill.store import Store
from mixdistill.students import samples
from mixdistill.types import Complexity, Interval, Outcome, Problem, Trace
from mixdistill.units import State, drawn, plan, read_json
from mixdistill.verify import DECISIONS

if TYPE_CHECKING:
    from rich.text import Text

SIZE = 50
"""Problems of a pilot that nobody asked for."""
SMALL_COST = 5.0
"""US dollars up to which no pilot is made unasked."""
MANY_TRACES = 2000
"""Traces of teachers behind a server and without a price up to which none is made either."""
MUCH_CUT = 0.2
"""Share of cut traces that is worth a warning."""


# -- whether there is one ---------------------------------------------------------------------------------------------


def size(recipe: Recipe, store: Store, asked: int | None, *, limit: int | None = None) -> int:
    """Problems of the pilot that a run begins with; 0: none. Raises MissingExtra without numpy and scipy.

    Unasked, one is made where teachers that have answered no more than a pilot could cost more than `SMALL_COST`, by
    their price and `max_tokens`, or write more than `MANY_TRACES` traces at an unknown price; and where it is at most
    half of the problems.
    """
    found = _unasked(recipe, store, limit) if asked is None else asked
    for library in ("numpy", "scipy") if found else ():
        if find_spec(library) is None:
            raise MissingExtra(library, "report")
    return found


def _unasked(recipe: Recipe, store: Store, limit: int | None) -> int:
    teachers = {name: t for name, t in recipe.teachers.items() if _may_cost(t)}
    if not teachers:
        return 0
    sets, _, _ = faults.read_problems(recipe.problems, limit=limit, error_rate=recipe.error_rate)
    train = sets.get("train", [])
    if len(train) < 2 * SIZE:
        return 0
    seen = max(SIZE, (read_json(store.root / PILOT) or {}).get("pilot", 0))
    begun = store.folder("generate").exists()
    anew = {u.key[0] for u, s in plan(recipe, store, "generate") if s is State.CHANGED} if begun else set()
    asked = [t for n, t in teachers.items() if n in anew or len(estimates.answers_there(store, n)) <= seen]
    cost = _least(sum(_at_most_of(t, train) for t in asked if t.price is not None), recipe.spend.cost)
    traces = sum(len(train) * t.most_samples for t in asked if t.price is None)
    return SIZE if cost > SMALL_COST or traces > MANY_TRACES else 0


def _at_most_of(teacher: Teacher, train: list[Problem]) -> float:
    """US dollars that a teacher with a price may cost; endless where nothing bounds them."""
    most = estimates.cost_at_most(teacher, train).value
    return _least(inf if most is None else most, teacher.spend.cost)


def _least(cost: float, limit: float | None) -> float:
    return cost if limit is None else min(cost, limit)


def _may_cost(teacher: Teacher) -> bool:
    """Whether money may be asked for its traces: they have a price, or somebody else's server writes them."""
    free = teacher.backend in faults.FREE or teacher.model.startswith("lab:")
    return not free and (teacher.price is not None or teacher.backend == "openai")


def agreed() -> bool:
    """Ask the person at the terminal."""
    sys.stdout.write("Go on? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def can_ask() -> bool:
    """Whether a person sees the question and can answer it."""
    return sys.stdin.isatty() and sys.stdout.isatty()


# -- what it showed ---------------------------------------------------------------------------------------------------


@dataclass
class _Seen:
    """A teacher's answers to the pilot's problems."""

    traces: list[Trace] = field(default_factory=list)
    """Failed ones are not among them."""
    failed: int = 0
    outcomes: Mapping[str, str] = field(default_factory=dict)
    """Trace -> what counts."""
    tokens: Mapping[str, float] = field(default_factory=dict)
    """Trace -> tokens as the student counts."""

    def correct(self, trace: Trace) -> bool:
        return self.outcomes.get(trace.id) == Outcome.CORRECT.value

    def solving(self) -> list[Trace]:
        """Traces that may be trained on: correct, and ended by themselves."""
        return [t for t in self.traces if self.correct(t) and t.finish_reason == "stop"]

    @property
    def solved(self) -> set[str]:
        return {t.problem_id for t in self.solving()}

    def lengths(self) -> list[float]:
        """Mean tokens of the traces that may be trained on, problem by problem."""
        found = defaultdict(list)
        for trace in self.solving():
            if trace.id in self.tokens:
                found[trace.problem_id].append(self.tokens[trace.id])
        return [sum(each) / len(each) for each in found.values()]


def project(recipe: Recipe, store: Store, size: int, *, workers: int | None = None) -> Projection:
    """What the pilot in a run folder says of the whole study; kept there as well."""
    folder = store.folder("problems")
    names = ["train", *recipe.problems.eval]
    found = Found(problems={name: store.read(folder, Problem, name) for name in names})
    train = tuple(p.id for p in found.problems["train"])
    pilot = drawn(train, size)
    seen = {name: _seen(store, name, pilot) for name in recipe.teachers}
    paid = {name: _paid(seen[name].traces, t) for name, t in recipe.teachers.items()}
    sampled = {name: _sampled(seen[name].traces) for name in recipe.teachers}
    rest = {name: _rest(store, name, train, pilot, seen[name]) for name in recipe.teachers}
    primary = recipe.primary_or_first()
    student = next(iter(recipe.students))
    group = recipe.teachers_of(recipe.group_of(recipe.contrasts[primary.contrast][0]), student) if primary else []
    shared = _solved_by_all(seen, group, pilot, len(train))
    # Where every arm has problems of its own, the teacher with the fewest decides how long all are trained.
    fewest = min(group, key=lambda name: len(seen[name].solved), default=None)
    each = recipe.budget.problems == "each" and fewest
    trained_on = _solved_by_all(seen, [fewest], pilot, len(train)) if each else shared
    made = Projection(
        folder=str(store.root),
        problems=len(train),
        pilot=len(pilot),
        teachers=[
            _teacher(name, spec, seen[name], paid[name], sampled[name], rest[name])
            for name, spec in recipe.teachers.items()
        ],
        cost=foresight.together({n: (v, rest[n]) for n, v in paid.items() if v}) if any(paid.values()) else NO_PRICE,
        cost_at_most=_at_most(recipe, found.problems["train"], rest),
        tokens=foresight.together({n: (v, rest[n]) for n, v in sampled.items() if v})
        if any(sampled.values())
        else foresight.unknown("no teacher counts them"),
        shared=shared,
        shared_teachers=group,
        training=_training(recipe, store, found, seen, trained_on, workers),
        detectable=_detectable(recipe, found),
        warnings=_warnings(recipe, seen, group, shared),
    )
    write_atomically(store.root / PILOT, made.model_dump_json(indent=2).encode())
    return made


NO_PRICE = foresight.unknown("no teacher has a price in the recipe (teachers.NAME.price), and none states a cost")


def _seen(store: Store, teacher: str, pilot: Sequence[str]) -> _Seen:
    rows = store.read(store.folder("generate", teacher), Trace, TRACES, where=("problem_id", pilot))
    traces = [t for t in rows if t.error is None]
    ids = {t.id for t in traces}
    decisions = store.frame(store.folder("verify", teacher), DECISIONS, ["trace_id", "outcome"])
    measured = store.rows(store.folder("analyze", teacher), Complexity, COMPLEXITY, where=("trace_id", ids))
    return _Seen(
        traces=traces,
        failed=len(rows) - len(traces),
        outcomes={trace: outcome for trace, outcome in decisions.iter_rows() if trace in ids},
        tokens={c.trace_id: c.metrics["tokens"] or 0.0 for c in measured},
    )


def _at_most(recipe: Recipe, train: list[Problem], rest: Mapping[str, int]) -> float | None:
    most = {n: estimates.cost_at_most(t, train).value for n, t in recipe.teachers.items() if _may_cost(t) or t.price}
    if not most or any(m is None for m in most.values()):
        return None
    return sum((m or 0.0) * rest[n] / len(train) for n, m in most.items())


def _paid(traces: Sequence[Trace], teacher: Teacher) -> dict[str, float]:
    """Problem -> US dollars; empty where nobody knows."""
    found: dict[str, float] = defaultdict(float)
    known = teacher.price is None and not _may_cost(teacher)
    for t in traces:
        cost = price_of(t.usage, teacher.price) if t.cost is None else t.cost
        known |= cost is not None
        found[t.problem_id] += cost or 0.0
    return dict(found) if known else {}


def _sampled(traces: Sequence[Trace]) -> dict[str, float]:
    """Problem -> sampled tokens; empty where nobody counts."""
    found: dict[str, float] = defaultdict(float)
    for t in traces:
        found[t.problem_id] += t.usage.completion_tokens or 0
    return dict(found) if any(found.values()) else {}


def _rest(store: Store, teacher: str, train: Sequence[str], pilot: Sequence[str], seen: _Seen) -> int:
    """Problems that are still to be asked. Traces that are there beyond the pilot count as the problems they fill."""
    others = set(train) - set(pilot)
    each = max(1.0, len(seen.traces) / max(1, len({t.problem_id for t in seen.traces})))
    there = sum(n for p, n in estimates.answers_there(store, teacher).items() if p in others)
    return max(0, len(others) - int(there / each))


def _teacher(
    name: str, spec: Teacher, seen: _Seen, paid: Mapping[str, float], sampled: Mapping[str, float], rest: int
) -> PilotTeacher:
    counts = Counter(t.problem_id for t in seen.traces)
    first: dict[str, list[bool]] = defaultdict(list)
    for t in seen.traces:
        if t.sample < spec.samples:
            first[t.problem_id].append(seen.correct(t))
    rate, interval = foresight.pass_rate([sum(right) / len(right) for right in first.values()])
    nobody = foresight.unknown("no price")
    return PilotTeacher(
        name=name,
        model=spec.model,
        problems=len(counts),
        traces=len(seen.traces),
        failed=seen.failed,
        solved=len(seen.solved),
        pass_rate=rate,
        pass_interval=interval,
        truncated=sum(t.finish_reason == "length" for t in seen.traces) / len(seen.traces) if seen.traces else None,
        percentiles=foresight.percentiles([seen.tokens[t.id] for t in seen.traces if t.id in seen.tokens]),
        price=f"${spec.price.prompt:g} / ${spec.price.completion:g}" if spec.price else None,
        spent=sum(paid.values()) if paid else None,
        tokens=int(sum(sampled.values())) if sampled else None,
        rest=rest,
        traces_to_come=foresight.total_of_rest(list(counts.values()), rest),
        cost_to_come=foresight.total_of_rest(list(paid.values()), rest) if paid else nobody,
        tokens_to_come=foresight.total_of_rest(list(sampled.values()), rest)
        if sampled
        else foresight.unknown("nobody counts them"),
    )


def _solved_by_all(seen: Mapping[str, _Seen], group: Sequence[str], pilot: Sequence[str], problems: int) -> Projected:
    if not group:
        return foresight.unknown("the recipe has no contrast")
    solved = set(pilot).intersection(*(seen[name].solved for name in group))
    basis = f"{len(solved)} of the {len(pilot)}"
    return foresight.number_of_all(len(solved), len(pilot), problems, basis)


def _training(
    recipe: Recipe, store: Store, found: Found, seen: Mapping[str, _Seen], shared: Projected, workers: int | None
) -> Projected:
    """Seconds of all trainings: at the lower ends of problems and lengths, in the middle, and at the upper ends."""
    if shared.value is None or shared.interval is None:
        return foresight.unknown(shared.basis)
    train = found.problems["train"]
    sizes = (shared.interval.low, shared.value, shared.interval.high)
    lengths = {name: foresight.mean_of_all(s.lengths()) for name, s in seen.items()}
    times = [
        estimates.time(
            recipe,
            store,
            Found(problems=found.problems | {"train": train[: round(sizes[i])]}),
            {name: Amount(value=each[i], basis="") for name, each in lengths.items()},
            workers,
        ).training
        for i in range(3)
    ]
    return foresight.between(*(t.value for t in times), times[1].basis)


def _detectable(recipe: Recipe, found: Found) -> Projected:
    primary = recipe.primary_or_first()
    if primary is None:
        return foresight.unknown("the recipe has no contrast")
    seeds = min(len(recipe.seeds_of(student)) for student in recipe.students)
    benchmarks = [primary.benchmark] if primary.benchmark != AVERAGE else list(recipe.weights_of_benchmarks)
    problems = sum(len(found.problems[b]) for b in benchmarks)
    k = min(samples(recipe.on(b), s) for b in benchmarks for s in recipe.students)
    return foresight.smallest_gap(seeds, problems, k, primary.benchmark)


def _warnings(recipe: Recipe, seen: Mapping[str, _Seen], group: Sequence[str], shared: Projected) -> list[str]:
    lines = []
    for name, s in seen.items():
        cut = sum(t.finish_reason == "length" for t in s.traces)
        if s.traces and cut / len(s.traces) > MUCH_CUT:
            lines.append(
                f"{name}: {cut:,} of {len(s.traces):,} traces were cut at the limit; raise "
                f"teachers.{name}.sampling.max_tokens"
            )
        for student in recipe.students:
            train = recipe.train_of(student)
            longer = [n for t in s.solving() if (n := s.tokens.get(t.id, 0)) > train.max_length]
            if longer:
                what = "they will be dropped from every arm" if train.overlong == "drop" else "the run would stop there"
                lines.append(
                    f"{name}: {len(longer):,} of {len(s.solving()):,} traces are longer than max_length="
                    f"{train.max_length:,} of {student} (longest {max(longer):,.0f}); {what}"
                )
    if group and shared.value == 0:
        lines.append(f"none of the pilot's problems was solved by all of {', '.join(group)}: nothing could be trained")
    return lines


# -- writing it -------------------------------------------------------------------------------------------------------


def show(found: Projection) -> None:
    """Print it, as wide as the terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(text(found, console.width if console.is_terminal else 100), soft_wrap=True)


def text(found: Projection, width: int = 100) -> Text:
    """The projection for people."""
    left = f"{found.problems - found.pilot:,}"
    asked = f"{found.pilot:,} of {found.problems:,} problems, drawn at random; kept in {found.folder}"
    training = _amount(found.training, rough_time)
    most = f"; {dollars(found.cost_at_most)} if no trace ends by itself" if found.cost_at_most else ""
    blocks: list[tuple[str, list[Line]]] = [
        ("pilot", [((), [asked])]),
        ("teachers", _teacher_lines(found.teachers)),
        ("to come", [((), [f"for the other {left} problems and the students, with 95 % intervals"])]),
        ("cost", [((), [_amount(found.cost, dollars) + most, *_parts(found)])]),
        ("tokens", [((), [_amount(found.tokens, count) + (" sampled" if found.tokens.value else "")])]),
        ("shared set", [((), [_shared_words(found)])]),
        (
            "training",
            [((), [f"about {training}", f"({found.training.basis})"] if found.training.value else [training])],
        ),
        ("gap", [((), _gap_words(found.detectable))]),
        ("warning", [((), [w]) for w in found.warnings]),
    ]
    return laid_out(blocks, width)


def _amount(found: Projected, words: Callable[[float], str]) -> str:
    if found.value is None:
        return found.basis
    value = words(found.value)
    ends = [words(end) for end in (found.interval.low, found.interval.high)] if found.interval else [value]
    return value if set(ends) == {value} else f"{value} ({' to '.join(ends)})"


def _parts(found: Projection) -> list[str]:
    """Whose the cost is, and at what price."""
    if found.cost.value is None:
        return []
    each = [(t, t.cost_to_come) for t in found.teachers]
    said = [f"{t.name} {p.basis if p.value is None else dollars(p.value)}" for t, p in each]
    prices = [f" at {t.price} a million tokens" if t.price else "" for t, _ in each]
    return [f"({', '.join(name + price for name, price in zip(said, prices, strict=True))})"]


def _teacher_lines(teachers: Sequence[PilotTeacher]) -> list[Line]:
    head = ("", "correct", "solved", "length: 10 %", "50 %", "90 %", "99 %", "cut", "tokens", "spent")
    rows = [head, *map(_cells, teachers)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return [((name, *(f"{c:>{w}}" for c, w in zip(cells, widths[1:], strict=True))), []) for name, *cells in rows]


def _cells(t: PilotTeacher) -> tuple[str, ...]:
    lengths = [f"{t.percentiles[str(p)]:,.0f}" if t.percentiles else "-" for p in foresight.PERCENTILES]
    return (
        t.name,
        _share(t.pass_rate, t.pass_interval),
        f"{t.solved:,} of {t.problems:,}" + (f", {t.failed:,} failed" if t.failed else ""),
        *lengths,
        _share(t.truncated),
        "-" if t.tokens is None else count(t.tokens),
        "-" if t.spent is None else dollars(t.spent),
    )


def _share(value: float | None, interval: Interval | None = None) -> str:
    if value is None:
        return "-"
    around = f" ({100 * interval.low:.0f} to {100 * interval.high:.0f})" if interval else ""
    return f"{100 * value:.0f} %{around}"


def _shared_words(found: Projection) -> str:
    if found.shared.value is None:
        return found.shared.basis
    whose = " and ".join(found.shared_teachers)
    return f"{_amount(found.shared, count)} of {found.problems:,} problems solved by {whose}"


def count(value: float) -> str:
    """12,345; 123k; 1.23M."""
    return f"{value:,.0f}" if value < 1e5 else short_number(value)


def _gap_words(gap: Projected) -> list[str]:
    if gap.value is None or gap.interval is None:
        return [gap.basis]
    ends = f"{gap.interval.low:.1f} to {gap.interval.high:.1f}"
    return [f"one of {gap.value:.1f} points ({ends}) or more would be found in 4 of 5 such studies", f"({gap.basis})"]
