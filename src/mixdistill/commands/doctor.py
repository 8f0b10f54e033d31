"""`doctor`: what a student will see, before it is trained: a row of every arm as its tokens, and every check's result.

Trains, buys and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixdistill import prompts, row_checks, template_checks
from mixdistill.arms import SELF
from mixdistill.collect import TABLE as TRACES
from mixdistill.commands import estimates, faults, trainings
from mixdistill.errors import DataError, RecipeError, did_you_mean
from mixdistill.mix import EXAMPLES
from mixdistill.recipe import Recipe
from mixdistill.row_checks import Reader, Rendered, of_rows, rendered
from mixdistill.store import Store
from mixdistill.template_checks import Finding, Subject, of_template
from mixdistill.tokens import Template
from mixdistill.types import Example, Problem, Row, Trace

if TYPE_CHECKING:
    from rich.text import Text

FEW = 50
"""Traces of a teacher that are looked at where there is no training set yet."""
MADE_UP = ("What is 2 + 2?", "2 and 2 is 4.", "4")
"""Prompt, reasoning and answer of a row where no trace can be had for nothing."""

Kind = Literal["prompt", "loss", "special", "stop"]


class Piece(Row):
    """Tokens of a row that stand one after the other and are of one kind."""

    kind: Kind
    """`prompt`: carries no loss; `loss`: carries loss; `special`: special tokens of either; `stop`: the last one."""
    text: str
    """As it reads back."""
    tokens: int


class ShownRow(Row):
    """One row of an arm as the student sees it."""

    arm: str
    source: str
    """Where the row comes from, in words."""
    problem_id: str
    teacher: str
    prompt_tokens: int
    loss_tokens: int
    prompt: list[Piece]
    completion: list[Piece]

    def same_as(self, other: ShownRow) -> bool:
        """Whether both are the same tokens."""
        return (self.prompt, self.completion) == (other.prompt, other.completion)


class Examined(Row):
    """A student: its template, a row of every arm, and what the checks say."""

    student: str
    model: str
    template: str | None
    """Fingerprint; None where its tokenizer cannot be loaded, or is not on this machine."""
    like: str | None
    """An earlier student with the same template, whose rows are shown."""
    stop: str
    thinking: str | None
    """How a hybrid student is asked; None where its template knows no such switch."""
    rows: list[ShownRow]
    """One of every arm: of median length, of the teacher with the most rows."""
    checked: int
    """Rows that were checked, of all arms."""
    of_template: list[Finding]
    of_rows: list[Finding]

    @property
    def checks(self) -> list[Finding]:
        """All of them."""
        return self.of_template + self.of_rows


class Report(Row):
    """What `doctor` says of a recipe."""

    name: str
    students: list[Examined]

    @property
    def failed(self) -> bool:
        """Whether a check failed: nothing should be trained then."""
        return any(f.state == "failed" for s in self.students for f in s.checks)


# -- making it --------------------------------------------------------------------------------------------------------


def examine(recipe: Recipe, *, out: Path | None = None, student: str | None = None, arm: str | None = None) -> Report:
    """Look at a recipe's students and arms, or at one of each. Raises RecipeError for a name that is none."""
    for kind, name, known in (("student", student, recipe.students), ("arm", arm, recipe.arms)):
        if name is not None and name not in known:
            raise RecipeError(f"--{kind} {name}: the recipe has no such {kind}{did_you_mean(name, known)}")
    store = Store(out or Path("runs") / recipe.name)
    rows = _Source(recipe, store)
    seen: dict[str, str] = {}
    found = []
    for name in [student] if student else recipe.students:
        examined = _student(recipe, rows, name, [arm] if arm else list(recipe.arms), seen)
        if examined.template:
            seen.setdefault(examined.template, name)
        found.append(examined)
    return Report(name=recipe.name, students=found)


def _student(recipe: Recipe, rows: _Source, name: str, arms: list[str], seen: dict[str, str]) -> Examined:
    spec = recipe.students[name]
    try:
        template = estimates.template(spec.model, spec.chat_template_kwargs)
        if template is None:
            why = "its tokenizer is not on this machine yet; run doctor again when it is"
            return _unread(name, spec.model, Finding(check="loads", state="note", text=why))
        subject = _subject(template, spec.model)
        checks = of_template(subject) + _tags(recipe, name)
        shown, texts = _arms(recipe, rows, name, arms, template)
    except DataError as e:
        return _unread(name, spec.model, Finding(check="loads", state="failed", text=str(e)))
    like = seen.get(template.fingerprint)
    return Examined(
        student=name,
        model=spec.model,
        template=template.fingerprint,
        like=like,
        stop=template.stop_text,
        thinking=template.thinking,
        rows=[] if like else shown,
        checked=len(texts),
        of_template=checks,
        of_rows=of_rows(texts.values(), Reader(template)),
    )


def _tags(recipe: Recipe, student: str) -> list[Finding]:
    """Tags that are the same tokens to a student; nothing where there are none."""
    alone = recipe.model_copy(update={"students": {student: recipe.students[student]}})
    return [Finding(check="tags_differ", state="failed", text=line) for line in trainings.alike(alone)]


def _unread(name: str, model: str, why: Finding) -> Examined:
    """A student whose template cannot be looked at."""
    empty: dict[str, Any] = {"template": None, "like": None, "stop": "", "thinking": None}
    return Examined(student=name, model=model, rows=[], checked=0, of_template=[why], of_rows=[], **empty)


def _subject(template: Template, model: str) -> Subject:
    """With what is known of its model; a lab model that is not built yet is as large as its tokenizer."""
    from mixdistill.resolve import folder_of

    folder = folder_of(model)
    return Subject(template, len(template.tokenizer)) if folder is None else Subject.of(template, str(folder))


def _arms(
    recipe: Recipe, rows: _Source, student: str, arms: list[str], template: Template
) -> tuple[list[ShownRow], dict[tuple[str, str], Rendered]]:
    """(a row of every arm, every row that there is of any of them, each once)."""
    shown: list[ShownRow] = []
    every: dict[tuple[str, str], Rendered] = {}
    for arm in arms:
        examples, source = rows.of(student, arm)
        tokens = [template.render(e.prompt, e.reasoning, e.content) for e in examples]
        read = list(rendered(examples, tokens, template))
        every |= {(r.example.trace_id, str(r.example.prompt)): r for r in read}
        shown.append(_shown(arm, source, _typical(read), template))
    return shown, every


def _typical(rows: list[Rendered]) -> Rendered:
    """The row of median length, of the teacher with the most rows."""
    teacher, _ = Counter(r.example.teacher for r in rows).most_common(1)[0]
    theirs = sorted((r for r in rows if r.example.teacher == teacher), key=lambda r: len(r.completion))
    return theirs[len(theirs) // 2]


def _shown(arm: str, source: str, row: Rendered, template: Template) -> ShownRow:
    return ShownRow(
        arm=arm,
        source=source,
        problem_id=row.example.problem_id,
        teacher=row.example.teacher,
        prompt_tokens=len(row.prompt),
        loss_tokens=len(row.completion),
        prompt=list(_pieces(row.prompt, "prompt", template)),
        completion=list(_pieces(row.completion, "loss", template)),
    )


def _pieces(ids: list[int], kind: Kind, template: Template) -> Iterator[Piece]:
    """Tokens in runs of one kind."""
    start = 0
    kinds: list[Kind] = ["special" if i in template.special_ids else kind for i in ids]
    if kind == "loss" and ids and ids[-1] in template.stop_ids:
        kinds[-1] = "stop"
    for end in range(1, len(ids) + 1):
        if end == len(ids) or kinds[end] != kinds[start]:
            yield Piece(kind=kinds[start], text=template.decode(ids[start:end]), tokens=end - start)
            start = end


class _Source:
    """Rows of arms: of the run folder as far as there is one, else traces that cost nothing, else one made up."""

    def __init__(self, recipe: Recipe, store: Store):
        self.recipe, self.store = recipe, store
        self._found: faults.Found | None = None

    def of(self, student: str, arm: str) -> tuple[list[Example], str]:
        """(rows, where they come from); at least one row."""
        for seed in self.recipe.seeds_of(student):
            folder = self.store.folder("mix", student, arm, str(seed))
            if self.store.marker(folder) is not None and (rows := self.store.read(folder, Example, EXAMPLES)):
                return rows, f"median of the {len(rows):,} of its training set, seed {seed}"
        weights = self.recipe.weights(arm, student)
        teachers = sorted(weights, key=lambda t: -weights[t])
        found = {t: list(self._rows(arm, t)) for t in teachers}
        if rows := [row for few in found.values() for row in few]:
            there = " and ".join(t for t in teachers if found[t])
            first = "the first trace" if len(rows) == 1 else f"the first {len(rows):,} traces"
            return rows, f"median of {first} of {there}"
        return [self._row(arm, teachers[0], self._problem, *MADE_UP[1:], "made up")], "made up: no trace is there yet"

    def _rows(self, arm: str, teacher: str) -> Iterator[Example]:
        folder = self.store.folder("generate", teacher)
        if self.store.marker(folder) is not None:
            problems = {p.id: p for p in self.store.read(self.store.folder("problems"), Problem, "train")}
            whole = (t for t in self.store.rows(folder, Trace, TRACES) if t.error is None and t.finish_reason == "stop")
            for t in islice((t for t in whole if t.problem_id in problems), FEW):
                yield self._row(arm, teacher, problems[t.problem_id], t.reasoning, t.content, t.id)
            return
        for problem, c in self.free.few.get(teacher, []):
            yield self._row(arm, teacher, problem, c.reasoning, c.content, f"{teacher} {problem.id}")

    def _row(self, arm: str, teacher: str, problem: Problem, reasoning: str, content: str, trace: str) -> Example:
        tags = self.recipe.arm(arm).tags
        tag = tags.get(teacher) or tags.get(teacher.partition("@")[0] if teacher.startswith(SELF) else "", "")
        return Example(
            prompt=prompts.tagged(prompts.asking(self.recipe.problems.train.ask)(problem.prompt), tag),
            reasoning=reasoning,
            content=content,
            problem_id=problem.id,
            trace_id=trace,
            teacher=teacher,
        )

    @property
    def _problem(self) -> Problem:
        """The first training problem that can be read, else one that is made up."""
        train = self.free.problems.get("train")
        return train[0] if train else Problem(id="made-up", prompt=MADE_UP[0], answer=MADE_UP[2])

    @property
    def free(self) -> faults.Found:
        """The first problems, and the first traces of teachers who cost nothing."""
        if self._found is None:
            self._found = faults.find(self.recipe, self.store, limit=FEW)
        return self._found


# -- writing it -------------------------------------------------------------------------------------------------------

GUTTER = 11
"""Columns before a row's text."""
FIRST, LAST = 8, 4
"""Lines of a prompt or completion that are shown at its beginning and end."""
STYLES = {"prompt": "dim", "loss": "green", "special": "magenta", "stop": "bold reverse green"}
NAMES = max(len(name) for name in (*template_checks.CHECKS, *row_checks.CHECKS))
MARKS: dict[Literal["ok", "note", "failed"], tuple[str, str]] = {
    "ok": ("ok", "green"),
    "note": ("note", "yellow"),
    "failed": ("failed", "bold red"),
}
LEGEND = "dim: no loss · green: loss · ⟨special token⟩ · ↵ line break"


def text(report: Report, width: int = 100) -> Text:
    """The page for people, `width` columns wide."""
    from rich.text import Text

    page = Text()
    known = {s.student: s for s in report.students}
    for student in report.students:
        _head(page, student)
        for n, row in enumerate(student.rows):
            same = next((r.arm for r in student.rows[:n] if r.same_as(row)), None)
            _row(page, row, same, width)
        earlier = known[student.like].checks if student.like else []
        if student.like:
            but = "" if all(f in earlier for f in student.checks) else " but these"
            page.append(f"\n  rows and checks are those of {student.like}{but}\n", "dim")
        for about, checks in (("template", student.of_template), (_rows(student.checked), student.of_rows)):
            if new := [f for f in checks if f not in earlier]:
                _checks(page, about, new, student.checked, width)
        page.append("\n")
    if any(s.rows for s in report.students):
        page.append(LEGEND + "\n", "dim")
    page.append(*_summary(report))
    return page


def _head(page: Text, student: Examined) -> None:
    page.append(student.student, "bold").append(f"  {student.model}\n")
    if student.template:
        asked = f"{student.thinking.replace('-', ' ')} · " if student.thinking else ""
        page.append(f"stop token {student.stop.strip()} · {asked}template {student.template}\n", "dim")


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _row(page: Text, row: ShownRow, same: str | None, width: int) -> None:
    page.append(f"\n  {row.arm}", "bold cyan")
    page.append(f"  {row.prompt_tokens:,} tokens of prompt, {row.loss_tokens:,} with loss\n")
    page.append(f"  {row.teacher}, problem {row.problem_id[:8]}, {row.source}\n", "dim")
    if same:
        page.append(f"  the row of {same}\n")
        return
    for label, pieces in (("prompt", row.prompt), ("loss", row.completion)):
        lines = _lines(pieces, width - GUTTER)
        hidden = len(lines) - FIRST - LAST
        shown = lines if hidden <= 1 else [*lines[:FIRST], None, *lines[-LAST:]]
        for n, line in enumerate(shown):
            page.append(f"  {label if n == 0 else '':<{GUTTER - 4}}", STYLES[label]).append("│ ", "dim")
            if line is None:
                page.append(f"… {hidden:,} lines more …\n", "dim italic")
            else:
                page.append_text(line).append("\n")


def _lines(pieces: list[Piece], width: int) -> list[Text]:
    """Pieces as lines of the terminal: special tokens in brackets, line breaks visible."""
    from rich.console import Console
    from rich.text import Text

    logical, line = [], Text()
    for piece in pieces:
        style = STYLES[piece.kind]
        if piece.kind in ("special", "stop"):
            line.append(f"⟨{piece.text}⟩", style)
            line.append("\N{NO-BREAK SPACE}←\N{NO-BREAK SPACE}stop" if piece.kind == "stop" else "", "dim")
            continue
        for n, part in enumerate(piece.text.split("\n")):
            if n:
                line.append("↵", "dim blue")
                logical.append(line)
                line = Text()
            line.append(part, style)
    if line:
        logical.append(line)
    console = Console(width=width)
    found = [wrapped for whole in logical for wrapped in whole.wrap(console, width, overflow="fold")]
    for wrapped in found:
        wrapped.rstrip()
    return found


def _checks(page: Text, about: str, checks: list[Finding], checked: int, width: int) -> None:
    import textwrap

    page.append(f"\n  {about}\n", "bold")
    indent = 2 + 8 + NAMES + 2
    for f in checks:
        mark, style = MARKS[f.state]
        page.append(f"  {mark:<8}", style).append(f"{f.check:<{NAMES}}  ")
        many = f" (in {f.rows:,} of {_rows(checked)})" if f.rows and f.state != "ok" else ""
        lines = textwrap.wrap(f.text + many, max(width - indent, 30))
        page.append(f"\n{'':<{indent}}".join(lines) + "\n", "dim" if f.state == "ok" else "")


def _summary(report: Report) -> tuple[str, str]:
    states = [f.state for s in report.students for f in s.checks]
    ok, noted, failed = (states.count(state) for state in MARKS)
    counts = f"{ok:,} ok, {noted:,} note{'' if noted == 1 else 's'}, {failed:,} failed"
    if failed:
        return f"{counts}: mend what failed; nothing is trained before", "bold red"
    return f"{counts}: these rows can be trained on", "bold green"
