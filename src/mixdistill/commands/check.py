"""`check`: what a recipe will do, or everything that would stop it, before it is done.

Runs, buys and writes nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from mixdistill import evaluate, paraphrases, prompts, recipe, resolve
from mixdistill.commands import costs, estimates, faults, judging, memory, trainings
from mixdistill.commands import smoke as smoke_run
from mixdistill.commands.faults import Found
from mixdistill.commands.plans import (
    Amount,
    Cost,
    Disk,
    Plan,
    PlannedArm,
    PlannedContrast,
    PlannedEvaluation,
    PlannedJoin,
    PlannedProblems,
    PlannedStudent,
    PlannedTeacher,
    PlannedUnused,
)
from mixdistill.errors import RecipeError
from mixdistill.evidence.verdicts import FEWEST
from mixdistill.page.wording import rough_size
from mixdistill.pipeline import STAGES
from mixdistill.problems import shared, shared_line
from mixdistill.recipe import Recipe
from mixdistill.refusals import too_small
from mixdistill.sections import Verify
from mixdistill.store import Store
from mixdistill.students import samples
from mixdistill.types import Unused

EXAMPLES = 3
"""Rows shown of each kind."""
LIBRARIES = {"train": ("torch", "trl", "accelerate", "datasets"), "report": ("numpy", "scipy")}
"""What only some stages need: extra -> libraries."""


def load(path: str | Path, overrides: list[str] | None = None) -> tuple[Recipe, str]:
    """(the recipe, the name of its file). As `recipe.load`, but where the recipe is not valid its problem sources are
    tried all the same, and what is wrong with them stands in the same RecipeError."""
    raw, where = recipe.read(path, overrides)
    try:
        return recipe.build(raw, where=where), where
    except RecipeError as e:
        more = [f"{where}: {line}" for line in faults.in_raw_problems(raw.get("problems"))]
        raise RecipeError([*e.findings, *more]) from None


@contextmanager
def loaded(
    path: str | Path, overrides: list[str] | None = None, *, smoke: bool = False
) -> Generator[tuple[Recipe, str]]:
    """As `load`; with `smoke` the recipe that a smoke run has, and what it makes up for as long as this lasts."""
    study, where = load(path, overrides)
    if not smoke:
        yield study, where
        return
    with TemporaryDirectory(prefix="mixdistill-") as folder:
        yield smoke_run.smoked(study, Path(folder)), where


def real_cost(path: str | Path, overrides: list[str] | None = None) -> Cost:
    """What a recipe costs where nothing of it is here: for the plan of its smoke run."""
    study, _ = load(path, overrides)
    return costs.cost(study, costs.known_rows(study), {}, Store(Path("runs") / study.name))


def plan(study: Recipe, *, out: Path | None = None, limit: int | None = None, where: str = "recipe") -> Plan:
    """The plan of a recipe. Raises RecipeError with all that would stop the run; `where` names the recipe's file."""
    store = Store(out or Path("runs") / study.name)
    found = faults.find(study, store, limit=limit)
    lines = [f"{where}: {line}" for line in found.of_recipe] + found.of_folder
    if lines:
        raise RecipeError(lines)
    needs = memory.planned(study, store, {name: memory.rows(study, found, name) for name in study.students})
    too_much = too_small(study, len(found.problems["train"]))
    too_much += [line for need in needs if (line := memory.refused(need))]
    lacking = memory.lacking(study, store, STAGES)
    lines = [f"{where}: {line}" for line in lacking + too_much] + memory.without_space(study, store)
    if lines:
        raise RecipeError(lines)
    known = estimates.lengths(study, store, found)
    disk = estimates.disk(study, store, found, known)
    return Plan(
        name=study.name,
        description=study.description,
        folder=str(store.root),
        exists=store.root.exists(),
        problems=_problems(study, found),
        unused=_unused(found.unused),
        teachers=[_teacher(study, store, found, name, known[name]) for name in study.teachers],
        verifier=study.verify.name,
        reference=resolve.reference("verifier", study.verify.chain[0].name),
        judges=judging.planned(study, found),
        budget=study.budget.unit,
        per_update=study.budget.per_update,
        students=[_student(study, store, found, name, known) for name in study.students],
        arms=[_arm(study, name, known) for name in study.arms],
        contrasts=[
            PlannedContrast(name=n, a=a, b=b, primary=_primary(study, n)) for n, (a, b) in study.contrasts.items()
        ],
        evaluation=_evaluation(study, store, found),
        time=estimates.time(study, store, found, known),
        cost=costs.cost(study, {name: len(ps) for name, ps in found.problems.items()}, known, store),
        memory=needs,
        disk=disk,
        warnings=_warnings(str(store.root), disk)
        + faults.without_vllm(study)
        + faults.vague_limits(study)
        + faults.of_verifiers(study, "caveats")
        + [f"problems.eval.{shared_line(which, both)}" for which, both in shared(found.problems).items()]
        + _asked_otherwise(study)
        + _shown(study, found)
        + _overlong(study, found)
        + _over_budget(study, found)
        + trainings.remarks(study)
        + _unfinished(found),
    )


def _problems(study: Recipe, found: Found) -> list[PlannedProblems]:
    sources, columns = study.problems.lists, found.columns
    return [
        PlannedProblems(
            name=name,
            source=sources[name].source,
            problems=len(problems),
            columns=str(columns[name]) if name in columns else None,
        )
        for name, problems in found.problems.items()
    ]


def _over_budget(study: Recipe, found: Found) -> list[str]:
    """Of the traces that were looked at, those with more loss tokens than an update may hold."""
    if study.budget.unit != "loss_tokens":
        return []
    lines, most = [], study.budget.per_update
    for name, student in study.students.items():
        counting = estimates.template(student.model, student.chat_template_kwargs)
        for teacher, few in found.few.items() if counting else ():
            counts = counting.counts([(c.reasoning, c.content) for _, c in few]) if counting else []
            if longer := sum(n > most for n in counts):
                lines.append(
                    f"students.{name}: {longer} of the first {len(counts)} traces of {teacher} have more loss tokens "
                    f"than an update, budget.per_update={most:,} (longest {max(counts):,}); the run would stop there"
                )
    return lines


def _unused(rows: list[Unused]) -> list[PlannedUnused]:
    kinds: dict[tuple[str, str], list[Unused]] = {}
    for row in rows:
        kinds.setdefault((row.split, row.reason), []).append(row)
    return [PlannedUnused(name=n, reason=why, rows=len(r), examples=r[:EXAMPLES]) for (n, why), r in kinds.items()]


def _teacher(study: Recipe, store: Store, found: Found, name: str, tokens: Amount) -> PlannedTeacher:
    spec, train = study.teachers[name], found.problems["train"]
    join = found.joins.get(name)
    local = faults.loaded_here(spec) or spec.model.startswith("lab:")
    asked = next(iter(found.asked.get(name, [])), None)
    return PlannedTeacher(
        name=name,
        backend=spec.backend,
        model=spec.model,
        traces=len(train) * spec.samples,
        there=estimates.traces_there(store, name, train, spec.samples),
        tokens=tokens,
        asked=None if not train or asked == train[0].prompt else asked,
        cost_at_most=estimates.cost_at_most(spec, train),
        join=join
        and PlannedJoin(
            columns=join.get("columns"),
            problems=join["prompts"],
            joined=join["matched"],
            ambiguous=join.get("ambiguous", 0),
            rows=join["rows"],
            rows_unused=join["rows_unused"],
            rows_bad=dict(join.get("rows_bad", {})),
            traces=join.get("traces", join["rows"]),
            repeated=join.get("repeated", 0),
            dropped=dict(join.get("dropped", {})),
            examples=faults.not_joined(join)[:EXAMPLES],
        ),
        missing_model=_missing(resolve.from_environment(spec.model)) if local else None,
    )


def _missing(model: str) -> str | None:
    if resolve.folder_of(model) is not None:
        return None
    return "built on first use" if model.startswith("lab:") else "fetched on first use"


def _student(study: Recipe, store: Store, found: Found, name: str, known: dict[str, Amount]) -> PlannedStudent:
    model, problems = study.students[name].model, len(found.problems["train"])
    return PlannedStudent(
        name=name,
        model=model,
        weights=estimates.parameters(model),
        arms=len(study.arms),
        budgets=len(study.variants),
        seeds=len(study.seeds_of(name)),
        trials=len(study.trained) * len(study.tune.learning_rate) if study.tune else 0,
        trained=sum(estimates.trained(store, cell) for cell in study.cells() if cell[0] == name),
        updates={arm: estimates.updates(study, name, arm, problems, known) for arm in study.arms},
        missing_model=_missing(model),
    )


def _arm(study: Recipe, name: str, known: dict[str, Amount]) -> PlannedArm:
    weights, other = study.arms[name].weights, estimates.other_unit(study, name, known)
    if study.arms[name].mixture == "route":  # its weights say which teachers, and the student's answers how much
        return PlannedArm(name=name, examples=None, loss_tokens=None)
    if len([w for w in weights.values() if w]) == 1:
        other = dict(weights)
    by_tokens = study.budget.unit == "loss_tokens"
    return PlannedArm(name=name, examples=other if by_tokens else weights, loss_tokens=weights if by_tokens else other)


def _primary(study: Recipe, contrast: str) -> str | None:
    primary = study.primary_or_first()
    if primary is None or primary.contrast != contrast:
        return None
    return primary.benchmark + (f", at most {primary.max_tokens:,} tokens" if primary.max_tokens else "")


def _evaluation(study: Recipe, store: Store, found: Found) -> PlannedEvaluation:
    asked = evaluate.cells(study, store)
    problems = {b: len(found.problems[b]) for b in study.problems.eval}
    k = {b: {s: samples(study.on(b), s) for s in study.students} for b in problems}
    return PlannedEvaluation(
        models=len(asked),
        traces={b: n * max(k[b].values()) for b, n in problems.items()},
        total=sum(n * k[b][cell[0]] for b, n in problems.items() for cell in asked) + _worded(study, problems),
        dev=sum(a.traces for a in estimates.dev_asked(study, store, found)),
        max_tokens=study.evaluate.sampling.max_tokens,
        caps=study.evaluate.caps,
        own=[line for name in study.problems.eval if (line := _own(study, name, len(found.problems[name])))],
    )


def _own(study: Recipe, name: str, problems: int) -> str:
    """What one benchmark has otherwise than the study, and whether it is too small for a verdict."""
    own = study.problems.eval[name]
    how = _judged_otherwise(study.verify, study.on(name).verify)
    how += [f"asked as '{own.ask}'"] if own.ask else []
    how += [f"{own.k} samples a problem"] if own.k else []
    how += [f"{key} {value:,}" for key, value in own.own.items()]
    how += ["a guard: nothing is decided on it"] if own.guard else []
    if problems < FEWEST and not own.guard:
        how.append(f"{problems} problems are fewer than {FEWEST}: it is shown and decides nothing")
    return f"{name}: {', '.join(how)}" if how else ""


def _judged_otherwise(study: Verify, own: Verify) -> list[str]:
    """By what verifiers, or with what options of the same, a benchmark is judged."""
    if own.name == study.name:
        usual = study.chain[0].options
        changed = {k: v for k, v in own.chain[0].options.items() if k not in usual or usual[k] != v}
        how = [f"verified with {', '.join(f'{k}={v}' for k, v in changed.items())}"] if changed else []
    else:
        how = [f"verified by {own.name}"]
        if unseen := [link.name for link in study.chain[1:] if link not in own.chain]:
            how[-1] += f" alone, never seen by {', '.join(unseen)}"
    return how + [f"verify.deadline {own.deadline:g}"] * (own.deadline != study.deadline)


def _asked_otherwise(study: Recipe) -> list[str]:
    """Lists whose problems a student is asked in another way than the one that it is trained on."""
    train, others = study.problems.train.ask, {n: s for n, s in study.problems.lists.items() if n != "train"}
    alone = (None, prompts.PLAIN)
    named = [
        n
        for n, s in others.items()
        if s.ask != train and not (s.ask in alone and train in alone) and n not in study.problems.guards
    ]
    if not named:
        return []
    how = f"asks '{train}'" if train else "sets no ask"
    ways = ", ".join(dict.fromkeys(f"'{others[n].ask}'" if others[n].ask else "the problem alone" for n in named))
    return [
        f"problems.train: {how}, and {', '.join(named)} ask{'s' * (len(named) == 1)} {ways}: students are examined in "
        "other words than they were trained on; set problems.train.ask to the same, where that is meant"
    ]


def _worded(study: Recipe, problems: dict[str, int]) -> int:
    """Traces of the primary benchmark in other words."""
    return problems[study.deciding_benchmark] * len(paraphrases.cells(study))


def _warnings(folder: str, disk: Disk) -> list[str]:
    found = []
    if disk.needed > disk.free:
        found.append(
            f"{folder}: about {rough_size(disk.needed)} will be written and {rough_size(disk.free)} are free; "
            "free space, choose another --out, or fewer seeds or arms"
        )
    for extra, libraries in LIBRARIES.items():
        lacking = [name for name in libraries if find_spec(name) is None]
        if lacking:
            what = "training and evaluation need" if extra == "train" else "the report needs"
            names = ", ".join(lacking)
            found.append(f"{names}: not installed, and {what} it; run: pip install 'mixdistill[{extra}]'")
    return found


def _unfinished(found: Found) -> list[str]:
    """A teacher of whose traces none shows that it ended by itself: nothing of it may be trained on."""
    return [
        f"teachers.{name}: none of its first {len(few)} traces shows that it ended by itself, and only what did is "
        "trained on; set finish_reason_column, or complete (answered, or true if all of them did)"
        for name, few in found.few.items()
        if all(c.finish_reason != "stop" for _, c in few)
    ]


def _shown(study: Recipe, found: Found) -> list[str]:
    """Teachers who are shown the answers of problems that they are asked, or that students are examined on."""
    lines = []
    for name, teacher in study.teachers.items():
        if teacher.examples is None:
            continue
        asked = prompts.read(teacher)
        counts = {
            which: prompts.shown_as_examples(asked, [p.prompt for p in ps]) for which, ps in found.problems.items()
        }
        lines += [
            f"teachers.{name}.examples: {n:,} of its {len(asked.examples):,} examples are problems of {which}, whose "
            "answers it is so shown; take others"
            for which, n in counts.items()
            if n
        ]
    return lines


def _overlong(study: Recipe, found: Found) -> list[str]:
    """Of the traces that were looked at, those longer than a student may be trained on."""
    lines = []
    for name in study.students:
        train = study.train_of(name)
        for teacher in found.few:
            lengths = estimates.row_tokens(study, found, name, teacher)
            longer = sum(n > train.max_length for n in lengths)
            if longer:
                what = {"drop": "they will be dropped from every arm", "truncate": "they will be cut there"}.get(
                    train.overlong, "the run would stop there"
                )
                lines.append(
                    f"students.{name}: {longer} of the first {len(lengths)} traces of {teacher} are longer than "
                    f"max_length={train.max_length:,} (longest {max(lengths):,}); {what}"
                )
    return lines
