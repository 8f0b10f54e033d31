"""Problems: load from the lab, a local file or the hub; drop duplicates, conflicts and overlaps with evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from mixdistill import resolve, spelling, tables
from mixdistill.columns import LEVELS, SUBJECTS, Columns, as_group, detect, names, row_answer, row_prompt, with_options
from mixdistill.contamination import Index, said
from mixdistill.errors import DataError, did_you_mean, one_line
from mixdistill.sections import HELD_OUT, Decontaminate, Problems, Source
from mixdistill.tables import SHOWN, BadRow, TableRow, brief
from mixdistill.types import Problem, Unused, content_hash, problem_id, prompt_text

VERSION = "5"
"""Rises when the same sources would give other problems."""
LAB = "lab:signs"
LAB_PROBLEMS = 5000
"""Of a source in the lab that sets no limit."""
SEEN = 1000
"""Rows at a source's beginning that tell its columns."""
BAD = ("unreadable", "no_prompt", "no_answer", "conflicting_answers")
"""Reasons that count towards `error_rate`; a problem that stands there twice is no fault."""


@dataclass(frozen=True)
class Loaded:
    """What one source gives."""

    problems: list[tuple[int, Problem]]
    """(row in the source, problem), in its order."""
    bad: list[Unused] = field(default_factory=list)
    """Rows that are no problem, each with its reason."""
    columns: Columns | None = None
    """The columns it was read from, named or detected; None in the lab."""


def load_all(
    spec: Problems,
    *,
    limit: int | None = None,
    error_rate: float = 0.05,
    chosen: Callable[[str, Columns], object] | None = None,
) -> tuple[dict[str, list[Problem]], list[Unused]]:
    """(`train`, every benchmark, `dev` and `gate` where they are given -> its problems, the rows that are none).

    `limit` caps every list. No problem stands in two lists, be it in another spelling, under another system prompt,
    among other words or with other numbers, unless both are benchmarks: it leaves `gate` where it stands in a
    benchmark, `dev` where it stands in one of these, and `train` where it stands in any. So no choice is made on what
    `gate` holds.
    `chosen` is told the columns of every list, named in the recipe or detected. Raises DataError for sources that
    cannot be read, missing columns, more than `error_rate` bad rows, and where nothing is left.
    """
    unused: list[Unused] = []
    found: dict[str, list[tuple[int, Problem]]] = {}
    given = spec.lists
    for name in sorted(given, key=_rank):
        source = given[name]
        try:
            loaded = load(source, split=name)
        except DataError as e:
            line = str(e).removeprefix("problems: ")
            raise DataError(line if key_of(name) in line else f"{key_of(name)}: {line}") from e
        if chosen and loaded.columns:
            chosen(name, loaded.columns)
        found[name], left_out = distinct(loaded.problems)
        left_out = [*loaded.bad, *left_out]
        _check_rate(source, name, loaded, left_out, error_rate)
        unused += sorted(left_out, key=lambda u: u.row)
    found, overlapping = _apart(found, spec.decontaminate)
    return {name: [p for _, p in found[name][:limit]] for name in given}, [*unused, *overlapping]


def _rank(name: str) -> int:
    """A list's place in the order in which a problem that stands in several is kept: benchmarks first."""
    order = ("gate", "dev", "train")
    return order.index(name) + 1 if name in order else 0


def counted(unused: Iterable[Unused]) -> dict[str, int]:
    """How many rows are no problems: `train: duplicate` -> 3."""
    return dict(Counter(f"{u.split}: {u.reason}" for u in unused))


def _check_rate(source: Source, split: str, loaded: Loaded, left_out: list[Unused], error_rate: float) -> None:
    """Raise DataError where more than `error_rate` of a source's rows are bad."""
    bad = sorted((u for u in left_out if u.reason in BAD), key=lambda u: u.row)
    rows = len(loaded.problems) + len(loaded.bad)
    if len(bad) <= error_rate * rows:
        return
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in Counter(u.reason for u in bad).most_common())
    read = f" (read: {loaded.columns})" if loaded.columns and loaded.columns.prompt else ""
    raise DataError(
        f"{source.source}: {len(bad):,} of {rows:,} rows are no problems ({reasons}), more than "
        f"error_rate={error_rate:g}; the first is row {bad[0].row}: {bad[0].detail}; mend the rows, set prompt, answer "
        f"or answer_after in {key_of(split)}{read}, or raise error_rate"
    )


def key_of(split: str) -> str:
    """Where a list stands in the recipe."""
    return f"problems.{split}" if split in ("train", *HELD_OUT) else f"problems.eval.{split}"


def load(source: Source, *, split: str) -> Loaded:
    """The problems of one source, in its order, and its rows that are none."""
    source = source.model_copy(update={"source": resolve.from_environment(source.source)})
    if source.source.startswith("lab:"):
        return _from_lab(source, split)
    rows = hub_rows(source) if tables.on_hub(source.source) else tables.read(source.source)
    head = list(islice(rows, SEEN))
    cells = [row.cells for row in head if row.cells is not None]
    columns = detect(cells, source)
    if cells:
        _check_columns(names(cells), columns, source, split)
    loaded = _take(chain(head, rows), columns, source, split)
    if not loaded.problems and not loaded.bad:
        raise DataError(_nothing_left(source, split, any_row=bool(head)))
    loaded = loaded if source.level else _without_many_levels(loaded)
    return loaded if source.subject else _without_many_subjects(loaded)


def _without_many_levels(loaded: Loaded) -> Loaded:
    """The first rows showed few levels; where all rows show many, the column that was found is no difficulty group."""
    levels = {p.level for _, p in loaded.problems} - {None}
    if loaded.columns is None or len(levels) <= LEVELS:
        return loaded
    columns = replace(loaded.columns, level=None, no_level=(str(loaded.columns.level), len(levels)))
    return replace(
        loaded, problems=[(row, p.model_copy(update={"level": None})) for row, p in loaded.problems], columns=columns
    )


def _without_many_subjects(loaded: Loaded) -> Loaded:
    """The same of subjects."""
    subjects = {p.subject for _, p in loaded.problems} - {None}
    if loaded.columns is None or len(subjects) <= SUBJECTS:
        return loaded
    without = [(row, p.model_copy(update={"subject": None})) for row, p in loaded.problems]
    return replace(loaded, problems=without, columns=replace(loaded.columns, subject=None))


def _take(rows: Iterable[TableRow], columns: Columns, source: Source, split: str) -> Loaded:
    """Sort rows into problems and bad ones: those of the source's part, then from `skip` on, `limit` problems."""
    stop = None if source.limit is None else source.skip + source.limit
    loaded, taken = Loaded([], [], columns), 0
    for row in rows:
        if source.part and not source.part[0] <= _place(row, columns) < source.part[1]:
            continue
        found = _problem(row, columns, source, split)
        if isinstance(found, BadRow):
            if taken >= source.skip:
                text = row.text if row.cells is None else brief(row.cells.get(columns.prompt))
                loaded.bad.append(_unused(split, source.source, row.number, found.reason, str(found), text))
            continue
        taken += 1
        if taken > source.skip:
            loaded.problems.append((row.number, found))
        if taken == stop:
            break
    return loaded


def _problem(row: TableRow, columns: Columns, source: Source, split: str) -> Problem | BadRow:
    """The problem in a row, or why there is none."""
    try:
        prompt, answer = row_prompt(row, columns.prompt), row_answer(row, columns)
        if columns.options:
            prompt, answer = with_options(prompt, answer, row, columns)
    except BadRow as e:
        return e
    assert row.cells is not None
    return Problem(
        id=problem_id(prompt, answer),
        prompt=prompt,
        answer=answer,
        source=_file_name(source.source),
        split=split,
        level=as_group(row.cells.get(columns.level)) if columns.level else None,
        subject=as_group(row.cells.get(columns.subject)) if columns.subject else None,
    )


def _place(row: TableRow, columns: Columns) -> float:
    """Where in [0, 1) a row stands, by the loose form of its prompt, so that the spellings of one stay together.

    A row without a prompt has nothing but its number: by their text a hundred empty rows would all fall into one part.
    """
    try:
        told = spelling.loose(row_prompt(row, columns.prompt))
    except BadRow:
        told = f"row {row.number}"
    return int(content_hash(told)[:13], 16) / 16**13  # 52 bits: a float holds them all, and never rounds to 1


def _file_name(source: str) -> str:
    """The end of a source's path, without bytes that no table can hold."""
    return Path(source).name.encode("utf-8", "replace").decode()


def _unused(split: str, source: str, row: int, reason: str, detail: str, prompt: str) -> Unused:
    detail = one_line(detail)
    return Unused(
        split=split,
        source=_file_name(source),
        row=row,
        reason=reason,
        detail=detail if len(detail) <= 2 * SHOWN else f"{detail[: 2 * SHOWN]}...",
        prompt=prompt,
    )


def _left_out(row: int, problem: Problem, reason: str, detail: str) -> Unused:
    return _unused(problem.split, problem.source, row, reason, detail, brief(prompt_text(problem.prompt)))


def _nothing_left(source: Source, split: str, *, any_row: bool) -> str:
    if not any_row:
        return f"{source.source}: holds no rows; it must hold one problem a row"
    given = {"part": list(source.part) if source.part else None, "skip": source.skip or None}
    keys = " and ".join(f"{key}={value}" for key, value in given.items() if value is not None)
    return f"{source.source}: no problems left after {keys}; change it in {key_of(split)}"


def _from_lab(source: Source, split: str) -> Loaded:
    from mixdistill.lab import domain

    if source.source != LAB:
        raise DataError(f"problems: no lab domain '{source.source}'{did_you_mean(source.source, [LAB])}")
    if source.part:
        raise DataError(f"{key_of(split)}.part: the lab's splits are apart already; leave it out and set split")
    found = domain.problems(source.split, count=source.skip + (source.limit or LAB_PROBLEMS))
    rows = enumerate(found[source.skip :], source.skip + 1)
    return Loaded([(row, p.model_copy(update={"split": split})) for row, p in rows])


def hub_rows(source: Source) -> Iterator[TableRow]:
    """Rows of a source on the hub. Raises DataError where it cannot be had."""
    return tables.hub(source.source, source.subset, source.split)


def _check_columns(there: list[str], columns: Columns, source: Source, split: str) -> None:
    """Raise DataError where a column is not there, or none has a usual name."""
    shown = [one_line(c if len(c) <= 40 else f"{c[:37]}...") for c in there]
    listed = ", ".join(shown if len(shown) <= 12 else [*shown[:12], f"{len(shown) - 12:,} more"])
    for what in ("prompt", "answer", "options", "level", "subject"):
        given = getattr(source, what)
        for named in given if isinstance(given, list) else [given]:
            if named is not None and named not in there:
                hint = did_you_mean(named, shown) if len(shown) <= 12 else f"; known: {listed}"
                raise DataError(one_line(f"{source.source}: no column '{named}' ({key_of(split)}.{what}){hint}"))
    for what, found in (("prompt", columns.prompt), ("answer", columns.answer)):
        if found is None:
            raise DataError(
                f"{source.source}: no {what} column (got {listed}); set {key_of(split)}.{what} to one of these"
            )


def distinct(problems: list[tuple[int, Problem]]) -> tuple[list[tuple[int, Problem]], list[Unused]]:
    """(problems with different prompts, the rest). Where two rows answer one prompt differently nobody can say which is
    right, and all rows of that prompt leave. Prompts are compared strictly, every turn of them."""
    groups: dict[str, list[tuple[int, Problem]]] = {}
    for row, p in problems:
        groups.setdefault(spelling.strict(p.prompt), []).append((row, p))
    kept: list[tuple[int, Problem]] = []
    left_out: list[Unused] = []
    for group in groups.values():
        row, _ = group[0]
        answers = {spelling.same_answer(p.answer): (n, p.answer) for n, p in reversed(group)}
        if len(answers) == 1:
            kept.append(group[0])
            left_out += [_left_out(n, p, "duplicate", f"of row {row}") for n, p in group[1:]]
            continue
        for n, p in group:
            at, other = min(found for said, found in answers.items() if said != spelling.same_answer(p.answer))
            detail = f"the answer is {_brief(p.answer)}, and {_brief(other)} in row {at}"
            left_out.append(_left_out(n, p, "conflicting_answers", detail))
    return kept, left_out


def _brief(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


# -- between lists ----------------------------------------------------------------------------------------------------


class _Known:
    """The problems of some lists, to look others up among them."""

    def __init__(self, lists: dict[str, list[tuple[int, Problem]]], vague: set[str]):
        """`vague`: see `_vague`."""
        self.vague = vague
        self.first: dict[tuple[str, str], tuple[str, int, Problem]] = {}
        for name, problems in lists.items():
            for row, p in problems:
                for key in spelling.keys(p.prompt):
                    self.first.setdefault(key, (name, row, p))

    def find(self, problem: Problem) -> tuple[str, int, Problem] | None:
        """(list, row, problem) of the same problem, an exact one before others."""
        for kind, form in spelling.keys(problem.prompt):
            if (found := self.first.get((kind, form))) and not (kind == "turn" and form in self.vague):
                return found
        return None


def _vague(lists: Iterable[list[tuple[int, Problem]]]) -> set[str]:
    """User's turns that are no problem by themselves: in one list, other system prompts give them other answers."""
    found: set[str] = set()
    for problems in lists:
        answers: dict[str, str] = {}
        for _, p in problems:
            asked, said = spelling.turn(p.prompt), spelling.same_answer(p.answer)
            if answers.setdefault(asked, said) != said:
                found.add(asked)
    return found


def _apart(
    lists: dict[str, list[tuple[int, Problem]]], options: Decontaminate
) -> tuple[dict[str, list[tuple[int, Problem]]], list[Unused]]:
    """(the lists, each without what stands in one before it, what left). Benchmarks lose nothing to one another."""
    kept = {name: problems for name, problems in lists.items() if _rank(name) == 0}
    left_out: list[Unused] = []
    for name, problems in lists.items():
        if name in kept:
            continue
        kept[name], overlapping = _clean(problems, kept, options)
        left_out += overlapping
        if not kept[name]:
            raise DataError(_none_apart(name, overlapping))
    return kept, left_out


def _none_apart(name: str, left_out: list[Unused]) -> str:
    """That a list has nothing of its own, with what to do."""
    line = f"{key_of(name)}: every one of {len(left_out)} problems is also in an evaluation set"
    if all(u.reason == "in_evaluation" for u in left_out):
        return f"{line}; use others, or cut a file in two with part"
    why = ", ".join(f"{n:,} {reason}" for reason, n in Counter(u.reason for u in left_out).most_common())
    return (
        f"{line} ({why}); use others, or set problems.decontaminate.numbers: false, or .ngram: null, where all "
        "problems are made from the same sentences"
    )


def _clean(
    problems: list[tuple[int, Problem]], others: dict[str, list[tuple[int, Problem]]], options: Decontaminate
) -> tuple[list[tuple[int, Problem]], list[Unused]]:
    """(problems that stand in no other list, those that do)."""
    known = _Known(others, _vague([problems, *others.values()]))
    index = Index(((f"{name}, row {n}", p.prompt) for name, rows in others.items() for n, p in rows), options)
    clean: list[tuple[int, Problem]] = []
    left_out: list[Unused] = []
    for row, p in problems:
        if found := _elsewhere(p, known, index):
            left_out.append(_left_out(row, p, *found))
        else:
            clean.append((row, p))
    return clean, left_out


def _elsewhere(problem: Problem, known: _Known, index: Index) -> tuple[str, str] | None:
    """(reason, what was found where) of a problem that another list has."""
    if found := known.find(problem):
        where, there, same = found
        written = "" if spelling.strict(same.prompt) == spelling.strict(problem.prompt) else ", written otherwise"
        return "in_evaluation", f"stands in {where}, row {there}{written}: {brief(prompt_text(same.prompt))}"
    if match := index.find_same(problem.prompt):
        how = "with other numbers" if match.how == "numbers" else "written otherwise"
        reason = "numbers_changed" if match.how == "numbers" else "in_evaluation"
        return reason, f"stands in {match.where}, {how}: {match.text}"
    match = index.find(said(problem.prompt))
    return match and ("words_in_evaluation", f"shares with {match.where}: {match.text}")


class Shared(NamedTuple):
    """Problems that two benchmarks have in common. They stay in both: each is measured as its makers cut it."""

    problems: int
    """How many of the one stand in the other."""
    example: str
    """The prompt of the first, shortened."""


def shared(problems: dict[str, list[Problem]]) -> dict[str, Shared]:
    """`gsm8k: also in math500` -> what the two have in common, of every two benchmarks that have something."""
    lists = {name: list(enumerate(ps, 1)) for name, ps in problems.items() if name not in ("train", *HELD_OUT)}
    vague = _vague(lists.values())
    known: dict[str, _Known] = {}
    found: dict[str, Shared] = {}
    for name, rows in lists.items():
        for other, there in known.items():
            both = [p for _, p in rows if there.find(p)]
            if both:
                found[f"{name}: also in {other}"] = Shared(len(both), brief(prompt_text(both[0].prompt)))
        known[name] = _Known({name: rows}, vague)
    return found


def shared_line(which: str, both: Shared) -> str:
    """What to think of two benchmarks that overlap, for people."""
    line = " ".join(both.example.split())
    return f"{which}: {both.problems:,} problems, such as {_brief(line)}; kept in both, so the two are not independent"
