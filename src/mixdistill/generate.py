"""Stage 1: traces of every teacher. Also how students are sampled: the same `collect` with the student as author."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixdistill import prompts, resolve
from mixdistill.errors import StageError
from mixdistill.recipe import Recipe, Teacher
from mixdistill.store import Store
from mixdistill.types import Completion, Problem, Request, Sampling, Trace, content_hash, trace_id
from mixdistill.units import Done, Extent, Unit

VERSION = "1"
TABLE = "traces"
Wanted = list[tuple[Problem, int]]
"""(problem, sample index) of every trace there should be."""


@dataclass(frozen=True)
class Collected:
    """What `collect` has of an author."""

    traces: list[Trace]
    """In problem order, failed ones included; also those bought when more was wanted."""
    table: dict[str, Any]
    """Description of the sealed table."""
    absent: frozenset[str]
    """Ids of wanted traces that there are none of and never will be, as the backend says (a file of recorded ones)."""


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per teacher."""
    problems = store.problem_ids("train")
    found = []
    for name, teacher in recipe.teachers.items():
        options, given = _options(teacher)
        found.append(
            Unit(
                stage="generate",
                key=(name,),
                options=options,
                wanted=Extent(author(name), problems, teacher.samples),
                table=TABLE,
                cost=teacher.samples,
                given=given,
            )
        )
    return found


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Ask one teacher for every trace it does not have yet."""
    with backend_of(recipe.teachers[unit.key[0]], store.folder("generate", *unit.key)) as backend:
        return _ask(unit, recipe, store, backend)


def _ask(unit: Unit, recipe: Recipe, store: Store, backend: Any) -> Done:
    name = unit.key[0]
    teacher = recipe.teachers[name]
    asked = set(unit.wanted.problems)
    problems = [p for p in store.read(store.folder("problems"), Problem, "train") if p.id in asked]
    ask = prompts.of(teacher)
    facts = {}
    if hasattr(backend, "join_report"):
        facts["join"] = backend.join_report(ask(p.prompt) for p in problems)
    collected = collect(
        store,
        store.folder(*("generate", name)),
        author=author(name),
        model=teacher.model,
        backend=backend,
        wanted=[(p, i) for p in problems for i in range(teacher.samples)],
        sampling=teacher.sampling,
        seed=0,
        ask=ask,
        label=unit.label,
        error_rate=recipe.error_rate,
    )
    counts = _counts(collected.traces) | ({"absent": len(collected.absent)} if collected.absent else {})
    return Done(counts=counts, tables={TABLE: collected.table}, facts=facts, absent=collected.absent)


def author(teacher: str) -> str:
    """A teacher as the author of its traces."""
    return f"teacher/{teacher}"


def make_backend(name: str, model: str, options: dict[str, Any]) -> Any:
    """The backend a recipe names, with its options; `lab:` models become folders, `${NAME}` the environment's."""
    backend = resolve.load(resolve.reference("backend", name))
    return backend(resolve.model_path(resolve.from_environment(model)), **resolve.from_environment(options))


@contextmanager
def backend_of(teacher: Teacher, folder: Path) -> Generator[Any]:
    """A teacher's backend; where it is served, with a server for as long as this lasts, which logs to `folder`."""
    if teacher.serve is None:
        yield make_backend(teacher.backend, teacher.model, teacher.options)
        return
    from mixdistill.backends import serve

    model = resolve.model_path(resolve.from_environment(teacher.model))
    options = resolve.from_environment(teacher.options)
    with serve.backend(model, teacher.serve, sampling=teacher.sampling, folder=folder, options=options) as backend:
        yield backend


def collect(
    store: Store,
    folder: Path,
    *,
    author: str,
    model: str,
    backend: Any,
    wanted: Wanted,
    sampling: Sampling,
    seed: int,
    label: str,
    error_rate: float,
    ask: Callable[[prompts.Prompt], prompts.Prompt] = lambda prompt: prompt,
) -> Collected:
    """Every wanted trace of an author: what is there already, and the rest from the backend.

    Each trace is journaled as it arrives; a trace with an error is asked for again. Raises StageError when more than
    `error_rate` of the wanted traces failed, and when the backend left a request without an answer; the rows are kept.
    """
    have = {t.id: t for t in store.read(folder, Trace, TABLE)}
    have |= {t.id: t for t in store.journal(folder, Trace, TABLE)}
    absent = set(store.absent(folder))
    todo = [(p, i) for p, i in wanted if (t := trace_id(author, p.id, i)) not in absent and _open(have.get(t))]
    requests = [
        Request(prompt=ask(p.prompt), sample=i, seed=request_seed(seed, p.id, i), sampling=sampling) for p, i in todo
    ]
    used = sampling.model_dump(exclude_none=True)
    unanswered = set(range(len(requests)))
    with store.appending(folder, TABLE) as append:
        for n, (index, completion, tokens, rate) in enumerate(_metered(backend.generate(requests)), 1):
            problem, sample = todo[index]
            unanswered.discard(index)
            if completion is None:
                absent.add(trace_id(author, problem.id, sample))
                continue
            trace = _trace(problem, sample, completion, author, model, used | {"seed": requests[index].seed})
            append(trace)
            have[trace.id] = trace
            store.beat(label, done=len(wanted) - len(todo) + n, total=len(wanted), tokens=tokens, rate=rate)
    if unanswered:
        raise StageError(
            f"{label}: the backend gave no answer to {len(unanswered):,} of {len(requests):,} requests; "
            "it must yield one for each, None where there is none"
        )
    _check_errors(label, [t for p, i in wanted if (t := have.get(trace_id(author, p.id, i)))], len(wanted), error_rate)
    order = {p.id: n for n, (p, _) in enumerate(wanted)}
    traces = sorted(have.values(), key=lambda t: (order.get(t.problem_id, len(order)), t.sample))
    return Collected(traces, store.seal(folder, Trace, traces, TABLE), frozenset(absent))


def _check_errors(label: str, traces: list[Trace], wanted: int, error_rate: float) -> None:
    failed = [t for t in traces if t.error]
    if failed and len(failed) > error_rate * wanted:
        raise StageError(
            f"{label}: {len(failed):,} of {wanted:,} requests failed, more than error_rate={error_rate:g}; the "
            f"first said: {failed[0].error}; run again to ask for these again, or raise error_rate"
        )


def _options(teacher: Teacher) -> tuple[dict[str, Any], dict[str, str]]:
    """(what changes a teacher's rows, files and models among it by content; these as they were given).

    A backend class names the options that only change how its rows are fetched in `NOT_IDENTITY`.
    """
    backend = resolve.load(resolve.reference("backend", teacher.backend))
    left_out = {
        "samples",
        "until_correct",
        "max_samples",
        "price",
        "spend",
        "serve",
        *getattr(backend, "NOT_IDENTITY", frozenset()),
    }
    plain = teacher.model_dump(mode="json", exclude_none=True, exclude=left_out)
    options, given = resolve.by_content(plain)
    options["prompt"] = prompts.fingerprint(teacher)
    options |= {"serve": teacher.serve.of_rows} if teacher.serve else {}
    if teacher.backend.rpartition(":")[0].endswith(".py"):
        options["backend"] = Path(teacher.backend).name  # the version tells files of one name apart
    return options | {"stage": VERSION, "backend_version": resolve.version(backend)}, given


def _open(trace: Trace | None) -> bool:
    return trace is None or trace.error is not None


def _trace(
    problem: Problem, sample: int, completion: Completion, author: str, model: str, sampling: dict[str, Any]
) -> Trace:
    said = {key: _whole(value) if isinstance(value, str) else value for key, value in dict(completion).items()}
    said["error"] = said["error"] and resolve.redacted(said["error"])
    return Trace(
        id=trace_id(author, problem.id, sample),
        problem_id=problem.id,
        author=author,
        model=_whole(model),
        sample=sample,
        sampling=sampling,
        **said,  # ty: ignore[invalid-argument-type]
    )


def _whole(text: str) -> str:
    """The text with half characters (a token cut in the middle of an emoji) replaced, so that it can be written."""
    return text.encode("utf-8", "replace").decode()


def request_seed(seed: int, problem: str, sample: int) -> int:
    """Seed of one completion; from the problem and the sample alone, never from a name."""
    return int(content_hash(str(seed), problem, str(sample)), 16) % 2**31


def _metered(answers: Iterator[tuple[int, Completion | None]]) -> Iterator[tuple[int, Completion | None, int, float]]:
    tokens, start = 0, time.monotonic()
    for index, completion in answers:
        tokens += (completion.usage.completion_tokens or 0) if completion else 0
        yield index, completion, tokens, tokens / max(time.monotonic() - start, 1e-9)


def _counts(traces: list[Trace]) -> dict[str, Any]:
    ended = Counter("error" if t.error else t.finish_reason for t in traces)
    costs = [t.cost for t in traces if t.cost is not None]
    tokens = [t.usage.completion_tokens for t in traces if t.usage.completion_tokens is not None]
    counts = {"traces": len(traces), **ended}
    counts |= {"completion_tokens": sum(tokens)} if tokens else {}  # a file does not say
    return counts | ({"cost": sum(costs)} if costs else {})
