"""The layouts in which traces are published: which columns hold what, and the traces of a row.

Nothing is asked of the names of data sets: a layout is its columns, and what their cells hold.

    problem, solution                                       one text
    question, thinking_trajectories, attempt                reasoning apart from the answer
    problem, generations [text, ...], finish_reasons        several traces a row
    messages [{role, content, reasoning_content}, ...]      the last assistant turn answers what stands before it
    system, conversations [{from, value}, ...]              the same
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mixdistill import spelling
from mixdistill.backends import cells
from mixdistill.backends.cells import CHATS, GENERATIONS
from mixdistill.columns import PROMPT, names, nothing, row_prompt
from mixdistill.errors import DataError, one_line
from mixdistill.tables import BadRow, TableRow
from mixdistill.types import Message

PROMPTS = (tuple(name for name in PROMPT if name not in CHATS), CHATS)
"""Names of columns that hold the prompt, the surest first."""
COMPLETIONS = (
    GENERATIONS,
    (
        "completion", "response", "output", "generation", "attempt", "deepseek_attempt", "gemini_attempt",
        "deepseek_solution", "generated_solution", "model_output", *CHATS,
    ),
    ("solution",),
    ("text", "content"),
    ("answer",),
)  # fmt: skip
"""Names of columns that hold the completion. Those of one line are equally good, and better than those after it: what
a model said is looked for before the solution that the problem came with. An `answer` is one where it shows work, or
where its reasoning stands in a column of its own."""
REASONINGS = (
    "reasoning", "reasoning_content", "thinking", "thoughts", "thinking_trajectories", "thinking_trajectory",
    "deepseek_thinking_trajectory", "gemini_thinking_trajectory", "deepseek_reasoning",
)  # fmt: skip
FINISHES = ("finish_reason", "finish_reasons", "stop_reason", "stop_reasons", "finish")
FAMILIES = ("deepseek_", "gemini_")
"""Beginnings of names of columns that belong together: the reasoning of one model is not that of another's answer."""
WORK = 8
"""Words of an answer, the median's, from which on it is more than a result."""
MARKS = {
    **dict.fromkeys(("true", "1", "1.0", "yes", "correct"), True),
    **dict.fromkeys(("false", "0", "0.0", "no", "incorrect"), False),
}
"""What a column of correctness says, in lower case."""


class Recording(NamedTuple):
    """The cells of a row that make a completion."""

    completion: str
    """Empty where the thinking never ended."""
    reasoning: str | None
    finish_reason: str | None


class Traces(NamedTuple):
    """What a row holds."""

    prompt: str | list[Message]
    recordings: list[Recording]
    """In the order of the row."""
    dropped: dict[str, int]
    """Generations that are left out, by reason: `empty`, `marked_incorrect`, `not_marked`."""


@dataclass(frozen=True)
class Layout:
    """Which columns hold what; None where there is none."""

    prompt: str | None = None
    completion: str | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    correct: str | None = None
    """Only generations that it marks as correct are kept."""
    system: str | None = None
    """Holds the system prompt of conversations that have none."""
    unused: tuple[str, ...] = ()
    """Columns that might hold the completion too, and were not chosen."""

    def __str__(self) -> str:
        if self.prompt == self.completion:
            said = f"prompt and completion from '{self.prompt}'"
        else:
            said = f"prompt from '{self.prompt}', completion from '{self.completion}'"
        for what, column in (
            ("system prompt", self.system),
            ("reasoning", self.reasoning),
            ("finish reason", self.finish_reason),
        ):
            said += f", {what} from '{column}'" if column else ""
        said += f", only what '{self.correct}' marks as correct" if self.correct else ""
        others = " nor ".join(f"'{c}'" for c in self.unused)
        return one_line(f"{said}; not {others}" if others else said)


# -- which columns ----------------------------------------------------------------------------------------------------


def detect(head: Sequence[TableRow], named: Layout, where: str) -> Layout:
    """The layout of a table, from its first rows.

    What `named` names stays, and `""` there says that there is none. Raises DataError, beginning with `where`, where a
    prompt or completion is not to be found, or where two columns might be it with equal right and differ.
    """
    choose = _Choice(head, where)
    rows = choose.rows
    asides = _asides(named)
    ranks = [[c for c in _called(rows, usual) if c not in asides] for usual in COMPLETIONS]
    thoughts = [c for c in _called(rows, REASONINGS) if choose.filled(c, cells.lines)]
    if not (thoughts or named.reasoning) and not _shows_work(rows, ranks[-1]):
        ranks.pop()
    full = [c for rank in ranks for c in rank if choose.filled(c, cells.completions)]
    completion = named.completion or choose.one("completion", ranks, cells.completions, cells.texts)
    if completion is None:
        raise DataError(_none(where, "completion", rows, "that holds the trace"))
    prompt = named.prompt or _prompt(choose, completion)
    best = next((rank for rank in ranks if set(rank) & set(full)), [])
    own = not best or completion in best
    return Layout(
        prompt=prompt,
        completion=completion,
        reasoning=_one_of(choose, "reasoning", REASONINGS, named.reasoning, completion if own else None),
        finish_reason=_one_of(choose, "finish_reason", FINISHES, named.finish_reason, completion if own else None),
        correct=named.correct,
        system=next(iter(_called(rows, ("system",))), None),
        unused=tuple(c for c in full if c not in (completion, prompt)),
    )


def _asides(named: Layout) -> set[str | None]:
    """Columns that a recipe gives another meaning."""
    return {named.prompt, named.reasoning, named.finish_reason, named.correct}


def _prompt(choose: _Choice, completion: str) -> str:
    """The column of the prompt: the conversation that the completion ends, else one with a usual name."""
    if any(cells.is_chat(row.get(completion)) and len(row[completion]) > 1 for row in choose.rows):
        return completion
    ranks = [[c for c in _called(choose.rows, usual) if c != completion] for usual in PROMPTS]
    found = choose.one("prompt", ranks, cells.asked, lambda cell: spelling.strict(cells.asked(cell)))
    if found is None and any(cells.is_chat(row.get(completion)) for row in choose.rows):
        return completion
    if found is None:
        raise DataError(_none(choose.where, "prompt", choose.rows, "that holds the problem as it stands"))
    return found


def _one_of(
    choose: _Choice, what: str, usual: tuple[str, ...], named: str | None, completion: str | None
) -> str | None:
    """The column beside `completion` with one of these names; None where the completion has no claim to it."""
    if named is not None or completion is None:
        return named or None
    there = [c for c in _called(choose.rows, usual) if _family(c) == _family(completion)]
    return choose.one(what, [there], cells.lines, cells.lines)


class _Choice:
    """Chooses columns by what some rows hold."""

    def __init__(self, head: Sequence[TableRow], where: str) -> None:
        there = [(row.number, row.cells) for row in head if row.cells is not None]
        self.rows = [{c: cells.read(value, c) for c, value in row.items()} for _, row in there]
        self.numbers = [number for number, _ in there]
        self.where = where

    def filled(self, column: str, meaning: Callable[[Any], object]) -> bool:
        """Whether some row has there what it should."""
        return any(_meant(meaning, row.get(column)) is not None for row in self.rows)

    def one(
        self,
        what: str,
        ranks: Sequence[Sequence[str]],
        meaning: Callable[[Any], object],
        compared: Callable[[Any], object],
    ) -> str | None:
        """A column of the first rank that has any: the first that is half as full as the fullest of them. One that is
        there but empty, rather than none.

        Raises DataError where another of that rank differs from it in some row.
        """
        for rank in ranks:
            full = {c: sum(_meant(meaning, row.get(c)) is not None for row in self.rows) for c in rank}
            there = [c for c, n in full.items() if n]
            if not there:
                continue
            chosen = next(c for c in there if 2 * full[c] >= max(full.values()))
            for other in there:
                if number := self._differ(chosen, other, compared):
                    raise DataError(
                        f"{self.where}: the {what} may stand in '{chosen}' or in '{other}' (they differ in row "
                        f"{number}); set {what}_column to one of them"
                    )
            return chosen
        return next((c for rank in ranks for c in rank), None)

    def _differ(self, one: str, other: str, compared: Callable[[Any], object]) -> int | None:
        """The first row, from 1, in which two columns say different things."""
        for number, row in zip(self.numbers, self.rows, strict=True):
            said, also = _meant(compared, row.get(one)), _meant(compared, row.get(other))
            if said is not None and also is not None and said != also:
                return number
        return None


def _meant(meaning: Callable[[Any], object], value: Any) -> object | None:
    try:
        return meaning(value)
    except ValueError:
        return None


def _called(rows: Sequence[Mapping[str, Any]], usual: Sequence[str]) -> list[str]:
    """Columns with one of these names, in the order of the names."""
    plain = {c: cells.plain(c) for c in names(rows)}
    return [c for name in usual for c, called in plain.items() if called == name]


def _family(column: str) -> str:
    return next((begin for begin in FAMILIES if cells.plain(column).startswith(begin)), "")


def _shows_work(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bool:
    """Whether answers are more than results."""
    lengths = sorted(len(text.split()) for row in rows for c in columns if isinstance(text := row.get(c), str))
    return bool(lengths) and lengths[len(lengths) // 2] >= WORK


def _none(where: str, what: str, rows: Sequence[Mapping[str, Any]], holds: str) -> str:
    there = [c if len(c) <= 40 else f"{c[:37]}..." for c in map(str, names(rows))]
    listed = ", ".join(there if len(there) <= 12 else [*there[:12], f"{len(there) - 12:,} more"])
    return one_line(f"{where}: no {what} column (got {listed}); set {what}_column to the one {holds}")


# -- what a row holds -------------------------------------------------------------------------------------------------


def traces(row: TableRow, layout: Layout) -> Traces:
    """The prompt of a row and its traces. Raises BadRow where it has none."""
    if row.cells is None:
        raise BadRow("unreadable", row.why)
    asked, answered = (cells.read(row.cells.get(c), str(c)) for c in (layout.prompt, layout.completion))
    prompt = _row_prompt(row, layout, asked)
    aside = _list(row, layout.reasoning)
    try:
        said = cells.completions(answered)
    except ValueError as e:
        thought = aside[0] if len(aside) == 1 else None
        if not nothing(answered) or nothing(thought):
            raise BadRow("no_completion", f"no completion in column '{layout.completion}': {e}") from None
        said = [("", None)]  # cut while it thought: a trace all the same
    columns = {layout.reasoning: aside, layout.finish_reason: _list(row, layout.finish_reason)}
    if layout.correct:
        columns[layout.correct] = _list(row, layout.correct, listed=True)
    for column, values in columns.items():
        if values and len(values) != len(said):
            detail = f"{len(said)} in column '{layout.completion}' and {len(values)} in '{column}'"
            raise BadRow("lengths_differ", detail)
    return _kept(prompt, said, layout, columns)


def _kept(
    prompt: str | list[Message],
    said: list[tuple[str, str | None]],
    layout: Layout,
    columns: Mapping[str | None, list[Any]],
) -> Traces:
    """The generations of a row that are traces, and the number of the others by reason."""
    found: list[Recording] = []
    dropped: Counter[str] = Counter()
    for n, (text, thought) in enumerate(said):
        reasoning, finish, mark = (
            values[n] if (values := columns.get(column) if column else None) else None
            for column in (layout.reasoning, layout.finish_reason, layout.correct)
        )
        reasoning = thought if nothing(reasoning) else str(reasoning)
        right = MARKS.get(str(mark).strip().lower()) if layout.correct else True
        if not text.strip() and not reasoning:
            dropped["empty"] += 1
        elif right:
            found.append(Recording(text, reasoning, None if nothing(finish) else str(finish)))
        else:
            dropped["not_marked" if right is None else "marked_incorrect"] += 1
    if not found and set(dropped) == {"empty"}:
        raise BadRow("no_completion", f"no completion in column '{layout.completion}': it is empty")
    return Traces(prompt, found, dict(dropped))


def _row_prompt(row: TableRow, layout: Layout, cell: Any) -> str | list[Message]:
    """What was asked in a row, by its prompt's cell, under its system prompt."""
    assert row.cells is not None
    before: Any = cell
    if layout.prompt == layout.completion and cells.is_chat(cell):
        try:
            before = cell[: cells.last_answer(cell)]
        except ValueError as e:
            raise BadRow("no_completion", f"no completion in column '{layout.completion}': {e}") from None
    elif cells.ends_in_answer(cell):
        before = cell[:-1]
    if nothing(before) and not nothing(cell):
        why = "nothing stands before its last assistant turn"
        raise BadRow("no_prompt", f"no prompt in column '{layout.prompt}': {why}")
    prompt = row_prompt(TableRow(row.number, {str(layout.prompt): before}), str(layout.prompt))
    system = row.cells.get(layout.system) if layout.system else None
    if not isinstance(system, str) or nothing(system):
        return prompt
    turns = [Message(role="user", content=prompt)] if isinstance(prompt, str) else prompt
    return turns if turns[0].role == "system" else [Message(role="system", content=system), *turns]


def _list(row: TableRow, column: str | None, *, listed: bool = False) -> list[Any]:
    """A cell beside the completion, a value for each of them; empty where it says nothing."""
    assert row.cells is not None
    if not column:
        return []
    cell = cells.read(row.cells.get(column), column, listed=listed)
    if isinstance(cell, cells.NoList):
        raise BadRow("lengths_differ", f"column '{column}' {cell.WHY}")
    if isinstance(cell, list):
        return cell
    return [] if nothing(cell) else [cell]
