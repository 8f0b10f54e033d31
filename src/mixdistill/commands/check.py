"""`check`: what a recipe will do, or everything that would stop it, before it is done.

Runs, buys and writes nothing.
"""

from __future__ import annotations

import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mixdistill import evaluate, prompts, recipe, resolve
from mixdistill.commands import estimates, faults, judging, trainings
from mixdistill.commands.faults import Found
from mixdistill.commands.plans import (
    Amount,
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
    Time,
)
from mixdistill.errors import RecipeError
from mixdistill.page.wording import dollars, pct, recipe_words, rough_size, rough_time, short_number
from mixdistill.problems import shared, shared_line
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Unused

if TYPE_CHECKING:
    from rich.text import Text

EXAMPLES = 3
"""Rows shown of each kind."""
TURN = 300
"""Characters shown of a turn as a teacher is sent it: its beginning and its end."""
LIBRARIES = {"train": ("torch", "trl", "accelerate", "datasets"), "report": ("numpy", "scipy")}
"""What only some stages need: extra -> libraries."""


# -- making it --------------------------------------------------------------------------------------------------------


def load(path: str | Path, overrides: list[str] | None = None) -> tuple[Recipe, str]:
    """(the recipe, the name of its file). As `recipe.load`, but where the recipe is not valid its problem sources are
    tried all the same, and what is wrong with them stands in the same RecipeError."""
    raw, where = recipe.read(path, overrides)
    try:
        return recipe.build(raw, where=where), where
    except RecipeError as e:
        more = [f"{where}: {line}" for line in faults.in_raw_problems(raw.get("problems"))]
        raise RecipeError([*e.findings, *more]) from None


def plan(study: Recipe, *, out: Path | None = None, limit: int | None = None, where: str = "recipe") -> Plan:
    """The plan of a recipe. Raises RecipeError with all that would stop the run; `where` names the recipe's file."""
    store = Store(out or Path("runs") / study.name)
    found = faults.find(study, store, limit=limit)
    lines = [f"{where}: {line}" for line in found.of_recipe] + found.of_folder
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
        disk=disk,
        warnings=_warnings(str(store.root), disk)
        + faults.without_vllm(study)
        + faults.vague_limits(study)
        + faults.of_verifiers(study, "caveats")
        + [f"problems.eval.{shared_line(which, both)}" for which, both in shared(found.problems).items()]
        + _shown(study, found)
        + _overlong(study, found)
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
        seeds=len(study.seeds_of(name)),
        trained=sum(estimates.trained(store, cell) for cell in study.cells() if cell[0] == name),
        updates={arm: estimates.updates(study, name, arm, problems, known) for arm in study.arms},
        missing_model=_missing(model),
    )


def _arm(study: Recipe, name: str, known: dict[str, Amount]) -> PlannedArm:
    weights, other = study.arms[name].weights, estimates.other_unit(study, name, known)
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
    models = len(evaluate.cells(study, store))
    traces = {b: len(found.problems[b]) * study.evaluate.k for b in study.problems.eval}
    return PlannedEvaluation(
        models=models,
        traces=traces,
        total=models * sum(traces.values()),
        max_tokens=study.evaluate.sampling.max_tokens,
        caps=study.evaluate.caps,
    )


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


# -- writing it -------------------------------------------------------------------------------------------------------

HEAD = 12
"""Columns of a block's heading."""
Line = tuple[tuple[str, ...], list[str]]
"""Cells that are aligned with those of the other lines of a block, and notes below them."""


def text(plan: Plan, width: int = 100) -> Text:
    """The plan as a page for people, `width` columns wide."""
    problems = max(len(f"{p.problems:,}") for p in plan.problems)
    blocks: list[tuple[str, list[Line]]] = [
        ("study", [((), [f"{plan.name}: {plan.description}" if plan.description else plan.name])]),
        ("problems", [_problems_line(p, problems) for p in plan.problems]),
        ("unused", [_unused_line(u) for u in plan.unused]),
        ("teachers", [_teacher_line(t) for t in plan.teachers]),
        ("asked", [line for t in plan.teachers for line in _asked_lines(t)]),
        ("verifier", [((plan.verifier, plan.reference), []), *judging.lines(plan.judges)]),
        ("students", [_student_line(s, plan) for s in plan.students]),
        ("arms", _arm_lines(plan)),
        ("contrasts", [_contrast_line(c) for c in plan.contrasts]),
        ("evaluation", _evaluation_lines(plan.evaluation)),
        ("time", _time_lines(plan.time)),
        ("disk", _disk_lines(plan)),
        ("warning", [((), [w]) for w in plan.warnings]),
    ]
    return laid_out(blocks, width)


def laid_out(blocks: list[tuple[str, list[Line]]], width: int) -> Text:
    """Blocks of lines, each with its heading beside it."""
    from rich.text import Text

    page = Text()
    for head, lines in blocks:
        for n, line in enumerate(_aligned(lines, width - HEAD)):
            shown = head if n == 0 else ""
            style = "bold yellow" if head == "warning" else "bold"
            page.append(shown, style).append(" " * (HEAD - len(shown)) + line + "\n")
    page.rstrip()
    return page


def _aligned(lines: list[Line], width: int) -> list[str]:
    """Lines of text: cells in columns, those that do not fit on lines of their own; notes below and set in."""
    columns = max((len(cells) for cells, _ in lines), default=0)
    widths = [max(len(c[i]) if i < len(c) else 0 for c, _ in lines) for i in range(columns)]
    found = []
    for cells, notes in lines:
        row = ""
        for cell, w in zip(cells, widths, strict=False):
            if row and len(row) + len(cell) > width:
                found.append(row.rstrip())
                row = "    "
            row += f"{cell:<{w}}  "
        found += textwrap.wrap(row.rstrip(), width, subsequent_indent="    ", replace_whitespace=False)
        indent = "  " if cells else ""
        for note in notes:
            found += textwrap.wrap(note, width, initial_indent=indent, subsequent_indent=indent + "  ")
    return found


def _problems_line(p: PlannedProblems, width: int) -> Line:
    return (p.name, f"{p.problems:>{width},}", p.source), [p.columns] if p.columns else []


def _unused_line(unused: PlannedUnused) -> Line:
    shown = [
        f"{u.source}:{u.row}: {_short(u.prompt)}" + (f" ({u.detail})" if u.detail else "") for u in unused.examples
    ]
    more = unused.rows - len(shown)
    return (unused.name, unused.reason, f"{unused.rows:,}"), shown + ([f"and {more:,} more"] if more else [])


def _short(prompt: str, most: int = 60) -> str:
    line = " ".join(prompt.split())
    return repr(line if len(line) <= most else line[: most - 3] + "...")


def _ends(text: str, most: int = TURN) -> str:
    """A text as it stands, line ends as \\n; of a long one its beginning and its end, where templates write."""
    return repr(text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}")


def _end(name: str, most: int = 24) -> str:
    """A name, or the end of a long one: of a path that is what tells it from others."""
    return name if len(name) <= most else f"...{name[3 - most :]}"


def _teacher_line(t: PlannedTeacher) -> Line:
    traces = f"{t.traces:,} traces" + (f", {t.there:,} there" if t.there else "")
    tokens = f"{t.tokens.value:,.0f} tokens each ({t.tokens.basis})" if t.tokens.value else f"tokens {t.tokens.basis}"
    notes = [f"{t.model} is {t.missing_model}"] if t.missing_model else []
    if t.cost_at_most.value is not None:
        notes.append(f"at most {dollars(t.cost_at_most.value)} ({t.cost_at_most.basis})")
    return (t.name, _end(t.backend), _end(t.model), traces, tokens), notes + (_join_lines(t.join) if t.join else [])


def _join_lines(j: PlannedJoin) -> list[str]:
    """What a file of traces was read from, what of it is asked for, and what of it is no trace."""
    share = "all" if j.joined == j.problems else f"{j.joined:,} of"
    rate = "" if j.joined == j.problems else f" ({pct(j.joined / j.problems)})"
    unused = f"; {j.rows_unused:,} of its {j.rows:,} rows are for none" if j.rows_unused else ""
    lines = [f"reads {j.columns}"] if j.columns else []
    lines.append(f"joins {share} {j.problems:,} problems{rate}{unused}".replace("\N{NO-BREAK SPACE}", " "))
    if j.ambiguous:
        lines.append(f"{j.ambiguous:,} may be one of several prompts that only their spelling tells apart: no trace")
    if j.traces != j.rows:
        again = f", of which {j.repeated:,} stand twice in a row" if j.repeated else ""
        lines.append(f"{j.traces:,} traces in its {j.rows:,} rows{again}")
    for what, counted in (("generations", j.dropped), ("rows", j.rows_bad)):
        if counted:
            reasons = ", ".join(f"{n:,} {why}" for why, n in counted.items())
            lines.append(f"{sum(counted.values()):,} {what} are no trace ({reasons})")
    return [*lines, *(f"not joined: {_short(p)}" for p in j.examples)]


def _asked_lines(t: PlannedTeacher) -> list[Line]:
    """The first problem as a teacher is asked it, turn by turn."""
    if t.asked is None:
        return []
    turns = [("user", t.asked)] if isinstance(t.asked, str) else [(m.role, m.content) for m in t.asked]
    return [((t.name,), [f"{role}: {_ends(text)}" for role, text in turns])]


def _student_line(s: PlannedStudent, plan: Plan) -> Line:
    count = f"{short_number(s.weights.value)} weights" if s.weights.value else "weights not known yet"
    cells = f"{s.arms} arms x {s.seeds} seed{'s' if s.seeds > 1 else ''} = {s.arms * s.seeds} trainings"
    cells += f", {s.trained} there" if s.trained else ""
    known = {u for u in s.updates.values() if u is not None}
    unit = plan.budget.replace("_", " ")
    if len(known) == 1 and None not in s.updates.values():
        most = known.pop()
        updates = f"at most {most:,} update{'s' if most > 1 else ''} of {plan.per_update:,} {unit} each"
    else:
        updates = f"updates of {plan.per_update:,} {unit} each; how many follows from the traces"
    notes = [updates, *([f"{s.model} is {s.missing_model}"] if s.missing_model else [])]
    return (s.name, _end(s.model), count, cells), notes


def _contrast_line(c: PlannedContrast) -> Line:
    return (c.name, f"{c.a} - {c.b}", f"primary, on {c.primary}" if c.primary else ""), []


def _arm_lines(plan: Plan) -> list[Line]:
    found: list[Line] = [(("", "by examples", "by loss tokens"), [])]
    for arm in plan.arms:
        shares = [recipe_words(w) if w else "not known yet" for w in (arm.examples, arm.loss_tokens)]
        found.append(((arm.name, *shares), []))
    return found


def _evaluation_lines(e: PlannedEvaluation) -> list[Line]:
    each = " + ".join(f"{n:,} of {b}" for b, n in e.traces.items())
    limit = f"at most {e.max_tokens:,} tokens each" if e.max_tokens else "as long as the student's own settings allow"
    caps = f", also cut at {', '.join(f'{c:,}' for c in e.caps)}" if e.caps else ""
    return [((f"{e.total:,} traces: {e.models} models x ({each}), {limit}{caps}",), [])]


def _time_lines(t: Time) -> list[Line]:
    def rough(amount: Amount, about: str, more: str) -> str:
        return amount.basis if amount.value is None else f"{about} {rough_time(amount.value)}{more}"

    training = rough(t.training, "about", f" on {t.devices}")
    if t.training.value == 0:
        training = "none left"
    usual = rough(t.evaluation, "about", " where students write as long as their teachers")
    most = rough(t.evaluation_at_most, "at most", " at the limit of tokens")
    evaluation = [most] if t.evaluation.value == t.evaluation_at_most.value else [usual, most]
    if t.evaluation_at_most.value == 0:
        evaluation = ["none left"]
    bases = dict.fromkeys(a.basis for a in (t.training, t.evaluation, t.evaluation_at_most) if a.value)
    found: list[Line] = [(("training", training), [])]
    found += [(("evaluation" if n == 0 else "", said), []) for n, said in enumerate(dict.fromkeys(evaluation))]
    return [*found, *(((), [f"({b})"]) for b in bases)]


def _disk_lines(plan: Plan) -> list[Line]:
    d = plan.disk
    names = {"models kept": d.models, "while training": d.checkpoints, "tables": d.tables}
    there = "there: the run goes on in it" if plan.exists else "new"
    lines: list[Line] = [((), [f"{plan.folder} ({there}), {rough_size(d.free)} free"])]
    return lines + [
        ((name, a.basis if a.value is None else f"about {rough_size(a.value)} ({a.basis})"), [])
        for name, a in names.items()
        if a.value != 0
    ]
