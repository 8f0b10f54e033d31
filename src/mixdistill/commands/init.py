"""`init`: a recipe of about ten lines from a student, problems and teachers, and what was seen in the files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mixdistill import resolve, tables
from mixdistill.arms import SELF
from mixdistill.backends import layouts
from mixdistill.backends.layouts import Layout
from mixdistill.backends.recorded import SEEN, Recorded
from mixdistill.columns import Columns, names
from mixdistill.commands import estimates, faults
from mixdistill.commands.answers import answer_format
from mixdistill.commands.recipes import next_steps, plain, study_name, write_new
from mixdistill.commands.status import wrapped
from mixdistill.errors import DataError, RecipeError, did_you_mean
from mixdistill.page.wording import rough_time
from mixdistill.problems import distinct, hub_rows, load
from mixdistill.recipe import build
from mixdistill.recipe_checks import OF_PROBLEMS
from mixdistill.sections import Source
from mixdistill.store import Store
from mixdistill.types import Message, Problem, Request, Unused
from mixdistill.yaml_text import inline, parse_yaml

REASONS = {
    "no_prompt": "rows without a prompt",
    "no_answer": "rows without an answer",
    "unreadable": "rows that cannot be read",
    "duplicate": "rows that repeat an earlier prompt",
    "conflicting_answers": "rows of prompts with two answers",
}
TRAIN_SHARE = 0.9
"""Share of the problems for training where no evaluation file is given."""
FEW = 400
"""Evaluation problems below which `init` says how little they can show."""
HEAD = "# Written by `mixdistill init`. The plan: mixdistill check {file}    All keys: docs/recipe.md\n"
LAB_STUDENT = {
    "train": {"learning_rate": 0.001, "max_length": 4096, "overlong": "drop", "micro_batch_tokens": 8192},
    "evaluate": {"sampling": {"temperature": 0, "max_tokens": 256}},
}
"""What suits a model of thousands of weights."""
STUDENT = {"evaluate": {"sampling": {"max_tokens": 4096}}}
SECOND, SECOND_AT_MOST = "loss_tokens", 0.5
"""The other budget, and how much more training it may be than the declared one for `init` to propose it."""
IN_A_BOX = ("math", "numeric", "choice")
"""Verifiers that read an answer in a box, which a teacher can be asked for."""
BOUGHT = ("openai", "transformers")
"""Backends that make the traces, and so must be told how to write the answer and how many."""


@dataclass(frozen=True)
class ProblemSet:
    """A source of problems with what was seen in it."""

    source: Source
    problems: list[Problem]
    """Those that the rows hold, each once."""
    unused: list[Unused]
    """The other rows."""
    columns: Columns

    @property
    def prompts(self) -> list[str | list[Message]]:
        """What is asked."""
        return [p.prompt for p in self.problems]

    @property
    def answers(self) -> list[str]:
        """Reference answers, without the worked solution before them."""
        return [p.answer for p in self.problems]

    @property
    def rows(self) -> int:
        """Rows of the source."""
        return len(self.problems) + len(self.unused)

    def keys(self) -> dict[str, Any]:
        """The source's section of a recipe."""
        told = {"source": self.source.source, "subset": self.source.subset}
        told |= {"split": self.source.split} if not _is_file(self.source.source) else {}
        told |= {key: getattr(self.columns, key) for key in ("prompt", "answer", "answer_after", "level", "subject")}
        return {k: v for k, v in told.items() if v is not None}


@dataclass(frozen=True)
class Teacher:
    """A teacher's section of the recipe, and what was seen."""

    name: str
    keys: dict[str, Any]
    seen: str


def write_recipe(
    *,
    student: str,
    problems: str,
    teachers: Sequence[str],
    evaluation: str | None,
    out: Path,
    force: bool,
    width: int,
    prompt: str | None = None,
    answer: str | None = None,
) -> str:
    """Write a recipe and return what was seen, in lines of `width`. `prompt` and `answer` name columns of the problems.

    Raises DataError and RecipeError, and writes nothing then.
    """
    said = [_teacher_words(t) for t in teachers]
    named = {"prompt": prompt, "answer": answer}
    train = load_set(problems, named=named)
    held_out = load_set(evaluation, split="test", named=named) if evaluation else None
    form = answer_format(train.answers, train.prompts)
    found = _told_apart([_teacher(name, backend, rest, train) for name, backend, rest in said])
    if form.verifier in IN_A_BOX:
        found = [_boxed(t) for t in found]
    name = study_name(out, Path(train.source.source).stem)
    sections, split = _split(train, held_out)
    raw: dict[str, Any] = {
        "problems": sections,
        "teachers": {t.name: t.keys for t in found},
        "verify": {"verifier": form.verifier, **form.options},
        "students": {plain(student.removeprefix("lab:").rpartition("/")[2]).lower(): {"model": student}},
        **_comparison([t.name for t in found]),
        **(LAB_STUDENT if student.startswith("lab:") else STUDENT),
    }
    raw, notes = _afforded(raw, name)
    text = HEAD.format(file=out) + _yaml(name, raw, notes)
    recipe = build(parse_yaml(text, str(out)), where=str(out))
    lines = [*_seen(train, form.kind, form.verifier, form.doubt), ("split", split)]
    if held_out is not None:
        lines += [("", line) for _, line in _seen(held_out, *_differs(held_out, form.verifier))]
    lines += [(f"{t.name}", t.seen) for t in found]
    lines.append(("arms", ", ".join(recipe.arms) + " and the untuned student"))
    lines.append(("contrasts", ", ".join(recipe.contrasts) or "none: give a second --teacher for a gap"))
    write_new(out, text, force)
    shown = "\n".join(wrapped(lines, width))
    return f"{shown}\n\nWrote {out}. Next:\n{next_steps(out)}"


# -- problems ---------------------------------------------------------------------------------------------------------


def load_set(text: str, split: str = "train", named: Mapping[str, str | None] | None = None) -> ProblemSet:
    """Problems from `FILE` or `HUB_ID[:SUBSET[:SPLIT]]`. Raises DataError when there are none."""
    if text.startswith("lab:"):
        raise DataError(f"{text}: the lab's problems come in a recipe of their own; use: mixdistill init --from demo")
    source = Source(source=text)
    if not _is_file(text):
        place, _, rest = text.partition(":")
        subset, _, part = rest.partition(":")
        source = Source(source=place, subset=subset or None, split=part or split)
    source = source.model_copy(update=dict(named or {}))
    try:
        loaded = load(source, split="train")
    except DataError as e:
        raise DataError(
            re.sub(r"set problems\.train\.(prompt|answer) to one of these", r"name it with --\1", str(e))
        ) from e
    if not loaded.problems:
        raise DataError(f"{text}: no row is a problem; the first is {loaded.bad[0].reason}: {loaded.bad[0].detail}")
    assert loaded.columns  # only the lab has none
    kept, left_out = distinct(loaded.problems)
    return ProblemSet(source, [p for _, p in kept], [*loaded.bad, *left_out], loaded.columns)


def _cells(source: Source) -> Iterator[dict[str, Any]]:
    """Rows of a file or data set that can be read."""
    rows = tables.read(source.source) if _is_file(source.source) else hub_rows(source)
    return (row.cells for row in rows if row.cells is not None)


def _is_file(text: str) -> bool:
    return Path(text).suffix.lower() in tables.KINDS or Path(text).expanduser().is_file()


def _seen(found: ProblemSet, kind: str, verifier: str, doubt: str) -> list[tuple[str, str]]:
    """What the file holds: columns, answers, duplicates, conflicts."""
    chosen = found.columns
    used = {chosen.prompt, chosen.answer, chosen.level}
    others = [c for c in names(islice(_cells(found.source), 100)) if c not in used]
    examples = ", ".join(_short(a) for a in list(dict.fromkeys(found.answers))[:3])
    after = f"what follows '{chosen.answer_after}': " if chosen.answer_after else ""
    level = f", level: {chosen.level}" if chosen.level else ""
    lines = [
        ("problems", f"{found.source.source}: {found.rows:,} rows"),
        ("columns", f"prompt: {chosen.prompt}, answer: {chosen.answer}{level}; others: {_list(others)}"),
        ("answers", f"{after}{kind}, such as {examples}; verifier: {verifier}"),
    ]
    if doubt:
        lines.append(("", f"unsure: {doubt}"))
    lines += [("", line) for line in _flaws(found)]
    return lines


def _differs(held_out: ProblemSet, verifier: str) -> tuple[str, str, str]:
    """Kind, verifier and doubt of the evaluation's answers, given the verifier chosen by the training problems."""
    form = answer_format(held_out.answers, held_out.prompts)
    doubt = f"these answers look like {form.verifier}'s; one verifier judges all" if form.verifier != verifier else ""
    return form.kind, verifier, doubt or form.doubt


def _flaws(found: ProblemSet) -> list[str]:
    """A line for every reason why rows are no problems, with the first of them."""
    by_reason: dict[str, list[Unused]] = {}
    for row in found.unused:
        by_reason.setdefault(row.reason, []).append(row)
    return [
        f"{REASONS.get(reason, reason)}: {len(rows):,}, the first: row {rows[0].row} ({_short(rows[0].detail, 60)})"
        for reason, rows in by_reason.items()
    ]


def _split(train: ProblemSet, held_out: ProblemSet | None) -> tuple[dict[str, Any], str]:
    """The recipe's `problems`, and how they were divided, in words."""
    if held_out is not None:
        benchmark = _benchmark(held_out.source.source)
        words = f"train on {train.source.source}, evaluate on {held_out.source.source}"
        return {"train": train.keys(), "eval": {benchmark: held_out.keys()}}, words + _little(len(held_out.problems))
    count = len(train.problems)
    kept = min(count - 1, round(count * TRAIN_SHARE))
    if kept < 1:
        raise DataError(f"{train.source.source}: holds one problem; give more, or an evaluation file with --eval")
    words = f"no --eval: {TRAIN_SHARE:.0%} for training, the rest to evaluate, chosen by a hash of the prompt"
    sections = {
        "train": train.keys() | {"part": [0, TRAIN_SHARE]},
        "eval": {_benchmark(train.source.source): train.keys() | {"part": [TRAIN_SHARE, 1]}},
    }
    return sections, words + _little(count - kept, "about ")


def _little(problems: int, about: str = "") -> str:
    """How coarse an evaluation on so few problems is: 95 % of the difference of two accuracies near one half."""
    if problems >= FEW:
        return ""
    points = 196 * (0.5 / problems) ** 0.5
    return f"; {about}{problems:,} problems cannot tell gaps below about {min(points, 100):.0f} points from chance"


def _benchmark(source: str) -> str:
    name = plain(Path(source).stem)
    return f"{name}-eval" if name in OF_PROBLEMS else name


# -- teachers ---------------------------------------------------------------------------------------------------------


def _teacher_words(text: str) -> tuple[str, str, str]:
    """(name, backend, the rest) of `NAME=FILE` or `NAME=BACKEND:MODEL[@URL]`."""
    match = re.match(r"([A-Za-z0-9_-][A-Za-z0-9._-]*)=(.+)\Z", text)
    if match is None:
        raise RecipeError(
            f"--teacher {text}: which teacher is it (got no name)? Write long={text} for long traces, short={text} for "
            "short ones; large= and small= for teachers of two sizes, or any other name"
        )
    name, rest = match.groups()
    if Path(rest).suffix.lower() in tables.KINDS:
        return name, "recorded", rest
    backend, colon, model = rest.partition(":")
    if not colon or backend not in resolve.BUILTIN["backend"] or not model:
        hint = did_you_mean(backend, resolve.BUILTIN["backend"]) if colon else ""
        raise RecipeError(
            f"--teacher {text}: neither a file of traces ({' '.join(tables.KINDS)}) nor backend:model{hint}; write "
            f"{name}=traces.jsonl, {name}=openai:MODEL@http://localhost:8000/v1 or {name}=transformers:MODEL"
        )
    return name, backend, model


def _teacher(name: str, backend: str, rest: str, problems: ProblemSet) -> Teacher:
    if backend == "recorded":
        return _recorded(name, rest, problems)
    model, at, url = rest.partition("@http")
    keys: dict[str, Any] = {"backend": backend, "model": model}
    if at:
        keys["base_url"] = f"http{url}"
    if backend in BOUGHT:
        keys["samples"] = 4
    where = f" at {keys['base_url']}" if at else ""
    return Teacher(name, keys, f"{model} by {backend}{where}: {keys.get('samples', 1)} traces a problem")


def _boxed(teacher: Teacher) -> Teacher:
    if teacher.keys["backend"] not in BOUGHT:
        return teacher
    return Teacher(teacher.name, teacher.keys | {"prompt": "boxed"}, f"{teacher.seen}, answer asked for in a box")


def _told_apart(teachers: list[Teacher]) -> list[Teacher]:
    """`long` and `short` that are one model: thinking on and off, as Qwen3's and most servers' templates call it."""
    pair = {t.name: t for t in teachers if t.name in ("long", "short")}
    if len(pair) < 2 or pair["long"].keys != pair["short"].keys or pair["long"].keys["backend"] not in BOUGHT:
        return teachers
    switch = {name: {"chat_template_kwargs": {"enable_thinking": name == "long"}} for name in pair}
    said = {"long": ", thinking on", "short": ", thinking off"}
    return [Teacher(t.name, t.keys | switch.get(t.name, {}), t.seen + said.get(t.name, "")) for t in teachers]


def _recorded(name: str, path: str, problems: ProblemSet) -> Teacher:
    """Ready traces: their columns, how they end, and how well they fit the problems."""
    named = _prompt_column(path, problems)
    backend = Recorded(path, **named)
    try:
        fit = backend.join_report(problems.prompts)
    except DataError as e:
        hint = "; init has no flag for it: rename the column, or write the recipe by hand"
        raise DataError(f"{e}{hint if '_column to ' in str(e) else ''}") from e
    keys: dict[str, Any] = {"backend": "recorded", "model": path} | named
    samples = fit["samples"]
    keys |= {"samples": samples} if samples > 1 else {}
    asked = [Request(prompt=p, sample=i) for p in problems.prompts for i in range(samples)]
    keys["complete"], ends = _ends(backend, asked)
    seen = (
        f"{path}: {fit['traces']:,} traces ({fit['columns']}) for {fit['matched']:,} of "
        f"{fit['prompts']:,} problems{f', {samples} each' if samples > 1 else ''}; {ends}"
    )
    return Teacher(name, {k: v for k, v in keys.items() if v is not False}, seen)


def _prompt_column(path: str, problems: ProblemSet) -> dict[str, Any]:
    """The problems' own column, where the traces have it too and it is not the one that would be detected."""
    head = list(islice(tables.rows(path), SEEN))
    column = problems.columns.prompt
    if column not in names(row.cells for row in head if row.cells is not None):
        return {}
    try:
        found = layouts.detect(head, Layout(), path).prompt
    except DataError:
        found = None  # two that might be it, or a fault that is said when the file is read
    return {} if found == column else {"prompt_column": column}


def _ends(backend: Recorded, asked: list[Request]) -> tuple[bool | str, str]:
    """The rule for how traces end, in the recipe and in words: only what ended by itself may be trained on.

    The looser rule is proposed only where it finds more.
    """
    ended = {}
    for rule in (False, "answered"):
        backend.complete = rule
        ended[rule] = sum(c.finish_reason == "stop" for _, c in backend.generate(asked) if c)
    if not ended["answered"]:
        return False, "NONE shows that it ended by itself; add `complete: true` if all of them did"
    if ended["answered"] > ended[False]:
        return "answered", f"{ended['answered']:,} end by stating an answer (complete: answered)"
    return False, f"{ended[False]:,} ended by themselves"


# -- the text ---------------------------------------------------------------------------------------------------------


def _comparison(names: list[str]) -> dict[str, Any]:
    """Contrasts, where the teachers' names imply none."""
    if len(names) != len(set(names)):
        twice = next(n for n, count in Counter(names).items() if count > 1)
        raise RecipeError(f"--teacher {twice}=: given twice; give each teacher a name of its own")
    pairs = ({"long", "short"}, {"large", "small"})
    if len(names) < 2 or any(pair <= set(names) for pair in pairs):
        return {}
    return {"contrasts": {f"{names[0]}_over_{other}": [names[0], other] for other in names[1:]}}


def _afforded(raw: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(the sections with a second budget and the student's own answers where the estimates say that they are cheap,
    section -> why). Without estimates, as with teachers that have not written yet, nothing is added."""
    both = {**raw, "budget": {"also": [SECOND]}}
    recipe = build({"name": name, **both})
    if any(teacher.backend not in faults.FREE for teacher in recipe.teachers.values()):
        return raw, {}  # nothing is known of their lengths
    store = Store(Path("runs") / name)
    found = faults.find(recipe, store)
    if found.of_recipe or not found.problems.get("train"):
        return raw, {}
    known = estimates.lengths(recipe, store, found)
    spent = estimates.time(recipe, store, found, known)
    (second,) = spent.variants
    if spent.training.value is None or second.seconds.value is None:
        return raw, {}
    first = spent.training.value - second.seconds.value
    about = f"about {rough_time(second.seconds.value)} of training to {rough_time(first)}"
    if second.seconds.value <= SECOND_AT_MOST * first:
        raw, notes = both, {"budget": f"every arm once more by loss tokens, which adds {about}"}
    else:
        raw = {**raw, "budget": {"also": []}}
        notes = {"budget": f"by examples alone: also: [{SECOND}] would add {about}"}
    own = estimates.own_answers(recipe, len(found.problems["train"]), first)
    if own is not None:
        limit = recipe.evaluate.sampling.max_tokens
        teacher = {"samples": estimates.SELF_SAMPLES, "sampling": {"max_tokens": limit}}
        raw = {**raw, "teachers": {**raw["teachers"], SELF: teacher}}
        notes[SELF] = f"the student's own right answers: at most {rough_time(own)} to sample"
    return raw, notes


def _yaml(name: str, raw: dict[str, Any], notes: Mapping[str, str]) -> str:
    """Sections on a line each; problems, teachers and students with a line for each of theirs. `notes` are comments."""
    lines = [f"name: {name}"]
    for section, value in raw.items():
        if section not in ("problems", "teachers", "students"):
            lines.append(f"{section}: {inline(value)}{_comment(notes, section)}")
            continue
        lines += [f"{section}:", *(f"  {key}: {inline(inner)}{_comment(notes, key)}" for key, inner in value.items())]
    return "\n".join(lines) + "\n"


def _comment(notes: Mapping[str, str], key: str) -> str:
    return f"  # {notes[key]}" if key in notes else ""


def _short(text: str, width: int = 24) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _list(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
