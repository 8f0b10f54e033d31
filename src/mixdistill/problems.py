"""Problems: load from the lab, a local file or the hub; drop duplicates, conflicts and overlaps with evaluation."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from mixdistill import resolve, tables
from mixdistill.columns import LONGEST_PROMPT, Columns, as_answer, as_level, as_prompt, detect, names
from mixdistill.errors import DataError, MissingExtra, did_you_mean, one_line
from mixdistill.recipe import Problems, Source
from mixdistill.tables import SHOWN, TableRow, brief
from mixdistill.types import Message, Problem, Unused, content_hash, problem_id, prompt_text

VERSION = "2"
"""Rises when the same sources would give other problems."""
LAB = "lab:signs"
LAB_PROBLEMS = 5000
"""Of a source in the lab that sets no limit."""
SEEN = 1000
"""Rows at a source's beginning that tell its columns."""
HUB_ID = re.compile(rf"(?!.*({'|'.join(map(re.escape, tables.KINDS))})\Z)\w[\w.-]*(/\w[\w.-]*)?\Z", re.IGNORECASE)
"""`name` or `owner/name`, without the ending of a file."""
BAD = ("unreadable", "no_prompt", "no_answer", "conflicting_answers")
"""Reasons that count towards `error_rate`; a problem that stands there twice is no fault."""

_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u2032\u00b4`", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u2033\u00ab\u00bb", '"'),
    }
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", None)
)


def normalise(prompt: str | list[Message]) -> str:
    """The text by which prompts are joined and compared, whatever their spelling.

    Unicode NFKC, one kind of quote and dash, white space collapsed, and the user's turn alone where a prompt is a
    conversation with a single one.
    """
    if isinstance(prompt, str):
        return _normal(prompt)
    users = [m.content for m in prompt if m.role == "user"]
    if len(users) == 1 and not any(m.role == "assistant" for m in prompt):
        return _normal(users[0])
    return _normal("\n".join(f"{m.role}: {m.content}" for m in prompt))


def _normal(text: str) -> str:
    if not text.isascii():
        # NFKC alone would make x\u00b2 and x2, or 2\u00bd and 21/2, the same prompt.
        marked = re.sub(r"[^\x00-\x7f]", _marked, text)
        text = unicodedata.normalize("NFKC", marked.translate(_SAME))
    return re.sub(r"\s+", " ", text.translate(_SAME)).strip()


def _marked(match: re.Match[str]) -> str:
    c = match[0]
    return f" ^{c} " if unicodedata.decomposition(c).startswith(("<super", "<sub", "<frac")) else c


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
    """(`train` and every benchmark -> its problems, the rows that are none).

    `limit` caps every list. A training problem whose normalised prompt stands in a benchmark is dropped from training.
    `chosen` is told the columns of every list, named in the recipe or detected. Raises DataError for sources that
    cannot be read, missing columns, more than `error_rate` bad rows, and where nothing is left.
    """
    unused: list[Unused] = []
    found: dict[str, list[tuple[int, Problem]]] = {}
    for name, source in {**spec.eval, "train": spec.train}.items():
        loaded = load(source, split=name)
        if chosen and loaded.columns:
            chosen(name, loaded.columns)
        found[name], left_out = distinct(loaded.problems)
        left_out = [*loaded.bad, *left_out]
        _check_rate(source, name, loaded, left_out, error_rate)
        unused += sorted(left_out, key=lambda u: u.row)
    train = found.pop("train")
    clean, overlapping = _clean(train, found)
    if not clean:
        raise DataError(
            f"problems.train: every one of {len(train)} problems is also in an evaluation set; "
            "use others, or cut a file in two with part"
        )
    found = {"train": clean, **found}
    return {name: [p for _, p in problems[:limit]] for name, problems in found.items()}, [*unused, *overlapping]


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
        f"or answer_after in {_key(split)}{read}, or raise error_rate"
    )


def _key(split: str) -> str:
    """Where a list stands in the recipe."""
    return "problems.train" if split == "train" else f"problems.eval.{split}"


def load(source: Source, *, split: str) -> Loaded:
    """The problems of one source, in its order, and its rows that are none."""
    source = source.model_copy(update={"source": resolve.from_environment(source.source)})
    if source.source.startswith("lab:"):
        return _from_lab(source, split)
    local = not HUB_ID.match(source.source) or tables.is_there(source.source)
    rows = tables.read(source.source) if local else hub_rows(source)
    head = list(islice(rows, SEEN))
    cells = [row.cells for row in head if row.cells is not None]
    columns = detect(cells, source)
    if cells:
        _check_columns(names(cells), columns, source, split)
    loaded = _take(chain(head, rows), columns, source, split)
    if not loaded.problems and not loaded.bad:
        raise DataError(_nothing_left(source, split, any_row=bool(head)))
    return loaded


def _take(rows: Iterable[TableRow], columns: Columns, source: Source, split: str) -> Loaded:
    """Sort rows into problems and bad ones: those of the source's part, then from `skip` on, `limit` problems."""
    stop = None if source.limit is None else source.skip + source.limit
    loaded, taken = Loaded([], [], columns), 0
    for row in rows:
        try:
            prompt = _prompt(row, columns)
            if source.part and not _within(prompt, source.part):
                continue
            problem = _problem(prompt, row, columns, source, split)
        except _Bad as e:
            if taken >= source.skip:
                text = row.text if row.cells is None else brief(row.cells.get(columns.prompt))
                loaded.bad.append(_unused(split, source.source, row.number, e.reason, str(e), text))
            continue
        taken += 1
        if taken > source.skip:
            loaded.problems.append((row.number, problem))
        if taken == stop:
            break
    return loaded


class _Bad(Exception):
    """A row that is no problem."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


def _prompt(row: TableRow, columns: Columns) -> str | list[Message]:
    if row.cells is None:
        raise _Bad("unreadable", row.why)
    try:
        prompt = as_prompt(row.cells.get(columns.prompt))
    except ValueError as e:
        raise _Bad("no_prompt", f"no prompt in column '{columns.prompt}': {e}") from None
    if len(prompt_text(prompt)) > LONGEST_PROMPT:
        raise _Bad("unreadable", f"a prompt of more than {LONGEST_PROMPT:,} characters")
    return prompt


def _problem(prompt: str | list[Message], row: TableRow, columns: Columns, source: Source, split: str) -> Problem:
    assert row.cells is not None
    try:
        answer = as_answer(row.cells.get(columns.answer), columns.answer_after)
    except ValueError as e:
        raise _Bad("no_answer", f"no answer in column '{columns.answer}': {e}") from None
    return Problem(
        id=problem_id(prompt, answer),
        prompt=prompt,
        answer=answer,
        source=Path(source.source).name,
        split=split,
        level=as_level(row.cells.get(columns.level)) if columns.level else None,
    )


def _within(prompt: str | list[Message], part: tuple[float, float]) -> bool:
    """Whether a problem belongs to this part of its source, by its normalised prompt alone."""
    place = int(_same(prompt)[:13], 16) / 16**13  # 52 bits: a float holds them all, and never rounds to 1
    return part[0] <= place < part[1]


def _same(prompt: str | list[Message]) -> str:
    """What two spellings of one prompt have in common, in 16 characters."""
    return content_hash(normalise(prompt))


def _unused(split: str, source: str, row: int, reason: str, detail: str, prompt: str) -> Unused:
    detail = one_line(detail)
    return Unused(
        split=split,
        source=Path(source).name,
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
    return f"{source.source}: no problems left after {keys}; change it in {_key(split)}"


def _from_lab(source: Source, split: str) -> Loaded:
    from mixdistill.lab import domain

    if source.source != LAB:
        raise DataError(f"problems: no lab domain '{source.source}'{did_you_mean(source.source, [LAB])}")
    if source.part:
        raise DataError(f"{_key(split)}.part: the lab's splits are apart already; leave it out and set split")
    found = domain.problems(source.split, count=source.skip + (source.limit or LAB_PROBLEMS))
    rows = enumerate(found[source.skip :], source.skip + 1)
    return Loaded([(row, p.model_copy(update={"split": split})) for row, p in rows])


def hub_rows(source: Source) -> Iterator[TableRow]:
    """Rows of a data set on the hub. Raises DataError where it cannot be had."""
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    try:
        data = datasets.load_dataset(source.source, source.subset, split=source.split)
    except (OSError, ValueError, RuntimeError, DatasetsError) as e:
        why = one_line(str(e).partition("\n")[0])
        raise DataError(
            f"{source.source}: not a local file and not loadable from the hub ({why}); check the name, subset and split"
        ) from None
    for number, cells in enumerate(data, 1):
        yield TableRow(number, cells)


def _check_columns(there: list[str], columns: Columns, source: Source, split: str) -> None:
    """Raise DataError where a column is not there, or none has a usual name."""
    shown = [one_line(c if len(c) <= 40 else f"{c[:37]}...") for c in there]
    listed = ", ".join(shown if len(shown) <= 12 else [*shown[:12], f"{len(shown) - 12:,} more"])
    for what, named in (("prompt", source.prompt), ("answer", source.answer), ("level", source.level)):
        if named is not None and named not in there:
            hint = did_you_mean(named, shown) if len(shown) <= 12 else f"; known: {listed}"
            raise DataError(one_line(f"{source.source}: no column '{named}' ({_key(split)}.{what}){hint}"))
    for what, found in (("prompt", columns.prompt), ("answer", columns.answer)):
        if found is None:
            raise DataError(
                f"{source.source}: no {what} column (got {listed}); set {_key(split)}.{what} to one of these"
            )


def distinct(problems: list[tuple[int, Problem]]) -> tuple[list[tuple[int, Problem]], list[Unused]]:
    """(problems with different prompts, the rest). Where two rows answer one prompt differently nobody can say which is
    right, and all rows of that prompt leave."""
    groups: dict[str, list[tuple[int, Problem]]] = {}
    for row, p in problems:
        groups.setdefault(_same(p.prompt), []).append((row, p))
    kept: list[tuple[int, Problem]] = []
    left_out: list[Unused] = []
    for group in groups.values():
        row, _ = group[0]
        answers = {normalise(p.answer): (n, p.answer) for n, p in reversed(group)}
        if len(answers) == 1:
            kept.append(group[0])
            left_out += [_left_out(n, p, "duplicate", f"of row {row}") for n, p in group[1:]]
            continue
        for n, p in group:
            at, other = min(found for said, found in answers.items() if said != normalise(p.answer))
            detail = f"the answer is {_brief(p.answer)}, and {_brief(other)} in row {at}"
            left_out.append(_left_out(n, p, "conflicting_answers", detail))
    return kept, left_out


def _brief(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _clean(
    train: list[tuple[int, Problem]], benchmarks: dict[str, list[tuple[int, Problem]]]
) -> tuple[list[tuple[int, Problem]], list[Unused]]:
    """(training problems that stand in no benchmark, those that do)."""
    known = {_same(p.prompt): (name, row, p) for name, problems in benchmarks.items() for row, p in problems}
    clean: list[tuple[int, Problem]] = []
    left_out: list[Unused] = []
    for row, p in train:
        if (found := known.get(_same(p.prompt))) is None:
            clean.append((row, p))
            continue
        benchmark, there, same = found
        text = normalise(same.prompt)
        detail = f"stands in {benchmark}, row {there}: {text[:SHOWN]}"
        left_out.append(_left_out(row, p, "in_evaluation", detail))
    return clean, left_out
