"""Which columns of a table hold prompt and answer, and what of their cells can be one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixdistill.errors import one_line
from mixdistill.tables import BadRow, TableRow
from mixdistill.types import Message, content_hash, prompt_text

if TYPE_CHECKING:
    from mixdistill.sections import Source

PROMPT = (
    "prompt", "question", "problem", "instruction", "input", "query", "messages", "conversations", "conversation",
)  # fmt: skip
ANSWER = (
    "answer", "final_answer", "expected_answer", "reference_answer", "correct_answer", "ground_truth", "gold_answer",
    "gold", "target", "label", "reference",
)  # fmt: skip
WORKED = ("solution", "response", "output", "completion")
"""Names under which the way to the answer usually stands: taken only where no column is called an answer."""
LEVEL = ("level", "difficulty")
SUBJECT = ("subject", "type", "category")
MARK = "####"
"""What stands before the answer in GSM8K and its kin."""
MARKED = 0.95
"""Share of answers that must hold the mark."""
LEVELS = 20
"""A column with more different values is no difficulty group."""
SUBJECTS = 60
"""The same of a subject."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LONGEST_PROMPT = 1_000_000
"""Characters. Longer than any model reads: a file in a cell, an open quote."""
ROLES = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; None where there is none."""

    prompt: str | None = None
    answer: str | tuple[str, ...] | None = None
    """Of several, the answer is a JSON object."""
    answer_after: str | None = None
    """The answer is what follows the last of these in its column."""
    level: str | None = None
    no_level: tuple[str, int] | None = None
    """(column, different values): found by its name, and no difficulty group since it holds so many."""
    subject: str | None = None
    options: str | tuple[str, ...] | None = None
    """With a list of options, or several with one each."""

    def __str__(self) -> str:
        after = f" after '{self.answer_after}'" if self.answer_after else ""
        options = f", options from {_quoted(self.options)}" if self.options else ""
        level = f", level from '{self.level}'" if self.level else ""
        if self.no_level:
            level = ", no level: '{}' has {:,} different values".format(*self.no_level)
        subject = f", subject from '{self.subject}'" if self.subject else ""
        answer = _quoted(self.answer)
        return one_line(f"prompt from '{self.prompt}', answer from {answer}{after}{options}{level}{subject}")


def _quoted(columns: str | tuple[str, ...] | None) -> str:
    return ", ".join(f"'{c}'" for c in columns) if isinstance(columns, tuple) else f"'{columns}'"


def detect(rows: Sequence[Mapping[str, Any]], source: Source) -> Columns:
    """The columns of a table, from some of its rows: those the source names, else those with a usual name.

    Case, spaces and hyphens in a name do not matter. `answer_after` is `####` where nearly all answers hold it, and
    `""` in the source says that it is not to be looked for. Never raises: what is not found is None.
    """
    prompt = source.prompt or _first(rows, PROMPT, as_prompt)
    answer = _several(source.answer) or _first(rows, ANSWER, as_answer) or _first(rows, WORKED, as_answer)
    after = source.answer_after
    if after is None and isinstance(answer, str):
        texts = [row[answer] for row in rows if isinstance(row.get(answer), str) and row[answer].strip()]
        marked = sum(MARK in text for text in texts)
        after = MARK if texts and marked >= MARKED * len(texts) else None
    level = source.level or next((c for c in _named(rows, LEVEL) if _few(rows, c, LEVELS)), None)
    subject = source.subject or next((c for c in _named(rows, SUBJECT) if _few(rows, c, SUBJECTS)), None)
    return Columns(prompt, answer, after or None, level, subject=subject, options=_several(source.options))


def _several(given: str | list[str] | None) -> str | tuple[str, ...] | None:
    return tuple(given) if isinstance(given, list) else given


def names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every column that some row has, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _named(rows: Sequence[Mapping[str, Any]], usual: tuple[str, ...]) -> list[str]:
    """Columns with one of these names, in the order of the names."""
    plain = {c: str(c).strip().casefold().replace(" ", "_").replace("-", "_") for c in names(rows)}
    return [c for name in usual for c, called in plain.items() if called == name]


def _first(rows: Sequence[Mapping[str, Any]], usual: tuple[str, ...], meaning: Callable[[Any], object]) -> str | None:
    """The first of these columns that has a value in at least half as many rows as the fullest of them."""
    full = {c: sum(_means(meaning, row.get(c)) for row in rows) for c in _named(rows, usual)}
    return next((c for c, n in full.items() if n and 2 * n >= max(full.values())), next(iter(full), None))


def _means(meaning: Callable[[Any], object], value: Any) -> bool:
    try:
        meaning(value)
    except ValueError:
        return False
    return True


def _few(rows: Sequence[Mapping[str, Any]], column: str, most: int) -> bool:
    found = {as_group(row.get(column)) for row in rows} - {None}
    return 0 < len(found) <= most


def row_prompt(row: TableRow, column: str | None) -> str | list[Message]:
    """The prompt of a row. Raises BadRow where the row has none."""
    if row.cells is None:
        raise BadRow("unreadable", row.why)
    try:
        prompt = as_prompt(row.cells.get(column))
    except ValueError as e:
        raise BadRow("no_prompt", f"no prompt in column '{column}': {e}") from None
    if len(prompt_text(prompt)) > LONGEST_PROMPT:
        raise BadRow("unreadable", f"a prompt of more than {LONGEST_PROMPT:,} characters")
    return prompt


def as_prompt(value: Any) -> str | list[Message]:
    """A cell as a prompt: text, or turns as {role, content} or {from, value}. Raises ValueError saying why it is none.

    Of a turn nothing else is read. The last turn must not be the assistant's: there would be nothing to answer.
    """
    if nothing(value):
        raise ValueError("it is empty")
    if isinstance(value, str):
        prompt: str | list[Message] = value
    elif isinstance(value, list):
        prompt = [_turn(turn) for turn in value]
        if prompt[-1].role == "assistant":
            raise ValueError("its last turn is the assistant's")
    else:
        raise ValueError(f"it is of type {type(value).__name__}, neither text nor a list of {{role, content}}")
    if _half(prompt_text(prompt)):
        raise ValueError("it holds half a character")
    return prompt


def _turn(turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise ValueError(f"a turn is of type {type(turn).__name__}, not {{role, content}}")
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = ROLES.get(role, role) if isinstance(role, str) else role
    if role not in ("system", "user", "assistant"):
        got = repr(role) if isinstance(role, str) else f"of type {type(role).__name__}"
        raise ValueError(f"a turn's role is {got}, not system, user or assistant")
    if not isinstance(content, str):
        raise ValueError(f"a turn's content is of type {type(content).__name__}, not text")
    return Message(role=role, content=content)


def as_answer(value: Any, after: str | None = None) -> str:
    """A cell as a reference answer: text as it stands, what follows the last `after` in it, all else as JSON text.

    Raises ValueError saying why it is none.
    """
    if nothing(value):
        raise ValueError("it is empty")
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool | int | float | list | dict):
        try:
            text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"its {type(value).__name__} cannot be written as JSON") from None
    elif isinstance(value, bytes):
        raise ValueError("it is of type bytes")
    else:
        text = str(value)  # a date or a decimal number of a Parquet file
    if after:
        _, mark, tail = text.rpartition(after)
        if not mark:
            raise ValueError(f"'{after}' is not in it")
        text = tail.strip()
        if not text:
            raise ValueError(f"nothing follows '{after}'")
    if _half(text):
        raise ValueError("it holds half a character")
    return text


def row_answer(row: TableRow, columns: Columns) -> str:
    """The reference answer of a row. Raises BadRow where it has none."""
    assert row.cells is not None
    try:
        if isinstance(columns.answer, tuple):
            cells = {c: row.cells.get(c) for c in columns.answer}
            return as_answer(None if all(map(nothing, cells.values())) else cells)
        return as_answer(row.cells.get(columns.answer), columns.answer_after)
    except ValueError as e:
        raise BadRow("no_answer", f"no answer in column {_quoted(columns.answer)}: {e}") from None


def with_options(
    prompt: str | list[Message], answer: str, row: TableRow, columns: Columns
) -> tuple[str | list[Message], str]:
    """(the prompt with the row's options below it, the letter of the right one). Raises BadRow where it has none.

    The options of several columns are put in an order that follows from their texts: the right one would always stand
    at the same place.
    """
    assert row.cells is not None and columns.options is not None
    of_columns = isinstance(columns.options, tuple)
    given = [row.cells.get(c) for c in columns.options] if of_columns else row.cells.get(columns.options)
    texts = [str(o).strip() for o in given if not nothing(o)] if isinstance(given, list) else []
    if of_columns:
        texts = sorted(set(texts), key=lambda text: content_hash(prompt_text(prompt), text))
    if not 2 <= len(texts) <= len(LETTERS) or any(map(_half, texts)):
        raise BadRow("no_prompt", f"no options in column {_quoted(columns.options)}: {len(texts)} texts in it")
    listed = "\n".join(f"{letter}) {text}" for letter, text in zip(LETTERS, texts, strict=False))
    letter = _letter(answer.strip(), texts, of_columns)
    if letter is None:
        raise BadRow("no_answer", f"the answer is none of its options: {answer[:80]!r}")
    if isinstance(prompt, str):
        return f"{prompt.rstrip()}\n\n{listed}", letter
    *earlier, last = prompt
    return [*earlier, last.model_copy(update={"content": f"{last.content.rstrip()}\n\n{listed}"})], letter


def _letter(answer: str, texts: list[str], of_columns: bool) -> str | None:
    """What the right option is called. A list of options keeps its order, so an answer may be a letter already, or
    whatever else the verifier reads as one."""
    if not of_columns and answer in LETTERS[: len(texts)]:
        return answer
    if answer in texts:
        return LETTERS[texts.index(answer)]
    return None if of_columns else answer


def as_group(value: Any) -> str | None:
    """A cell as a level or subject; 5.0 is 5. None where it can be none."""
    if nothing(value) or isinstance(value, bytes | list | dict):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return None if _half(text) else text


def _half(text: str) -> bool:
    """Whether a text holds half a character, which no table can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def nothing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or value == [] or value == {} or value != value  # the last is NaN
