"""The plan of a study as a page for people; how blocks of lines are laid out."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from mixdistill.arms import BY
from mixdistill.commands import judging
from mixdistill.commands.estimates import SELF_SAMPLES
from mixdistill.commands.plans import (
    Amount,
    Cost,
    Memory,
    Plan,
    PlannedContrast,
    PlannedEvaluation,
    PlannedJoin,
    PlannedProblems,
    PlannedStudent,
    PlannedTeacher,
    PlannedUnused,
    Time,
    Variant,
)
from mixdistill.page.wording import dollars, pct, recipe_words, rough_size, rough_time, short_number

if TYPE_CHECKING:
    from rich.text import Text

TURN = 300
"""Characters shown of a turn as a teacher is sent it: its beginning and its end."""
LITTLE = 0.01
"""GPU-hours below which there is nothing to say."""
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
        ("time", _time_lines(plan.time, plan.evaluation.max_tokens)),
        ("cost", cost_lines(plan.cost)),
        ("memory", [_memory_line(m) for m in plan.memory]),
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
    budgets = f" x {s.budgets} budgets" if s.budgets > 1 else ""
    trainings = s.arms * s.budgets * s.seeds
    cells = f"{s.arms} arms{budgets} x {s.seeds} seed{'s' if s.seeds > 1 else ''} = {trainings} trainings"
    cells += f", {s.trained} there" if s.trained else ""
    cells += f", and {s.trials} trials" if s.trials else ""
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
    dev = [((f"{e.dev:,} traces of dev problems while it trains",), [])] if e.dev else []
    return [((f"{e.total:,} traces: {e.models} models x ({each}), {limit}{caps}",), e.own), *dev]


def _time_lines(t: Time, limit: int | None) -> list[Line]:
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
    if t.tuning is not None:
        found.append((("", f"of it for tune: {rough(t.tuning, 'about', '')}"), []))
    found += [(("evaluation" if n == 0 else "", said), []) for n, said in enumerate(dict.fromkeys(evaluation))]
    found += [((), [_variant_words(v)]) for v in t.variants if v.trainings]
    if t.own_answers is not None:
        how = f"teachers.self: {{samples: {SELF_SAMPLES}, sampling: {{max_tokens: {limit}}}}}"
        how += ", and self: {self: 1} among the arms where the recipe lists them"
        found.append(((), [f"an arm of the student's own right answers: at most {rough_time(t.own_answers)} ({how})"]))
    return [*found, *(((), [f"({b})"]) for b in bases)]


def cost_lines(c: Cost) -> list[Line]:
    """The whole study in tokens and GPU-hours, and what these rest on."""
    parts = {"teachers": c.teachers, "training": c.training, "evaluation": c.evaluation}
    unknown = next((a.basis for a in parts.values() if a.value is None), None)
    tokens = c.tokens.basis if not c.tokens.value else f"about {short_number(c.tokens.value)} ({c.tokens.basis})"
    lines: list[Line] = [(("tokens bought", tokens), [])]
    if unknown:
        return [*lines, (("GPU-hours", unknown), [])]
    total = sum(a.value or 0 for a in parts.values())
    said = ", ".join(f"{what} {hours(a.value)}" for what, a in parts.items() if a.value)
    most = f"; evaluation at most {hours(c.at_most.value)}" if c.at_most.value else ""
    if total < LITTLE:
        return [*lines, (("GPU-hours", hours(total)), [])]
    return [*lines, (("GPU-hours", f"{hours(total)}: {said}{most}"), [f"({a})" for a in c.assumed])]


def hours(value: float | None) -> str:
    """Hours in two digits: about 1,300, about 0.57, less than 0.01."""
    return f"less than {LITTLE}" if value is None or value < LITTLE else f"about {float(f'{value:.2g}'):,.10g}"


def _variant_words(v: Variant) -> str:
    cost = v.seconds.basis if v.seconds.value is None else f"about {rough_time(v.seconds.value)}"
    return f"every arm once more {BY[v.name]}: {v.trainings} trainings, {cost} (budget.also: [] leaves it out)"


def _memory_line(m: Memory) -> Line:
    """What a training takes, for what, and what there is."""
    if m.process.value is None:
        return (m.name, m.process.basis), []
    parts = ", ".join(f"{what} {rough_size(size)}" for what, size in m.parts.items())
    many = f", {m.at_once} at once" if m.at_once > 1 else ""
    there = "what there is is not known" if m.room is None else f"of {rough_size(m.room)}"
    measured = "" if m.measured else " (not measured on a GPU)"
    return (m.name, f"about {rough_size(m.process.value)} a training{measured}{many}, {there}"), [f"({parts})"]


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
