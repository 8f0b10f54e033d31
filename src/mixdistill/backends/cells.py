"""What a cell of a table of traces holds: completions, a conversation, or a value for each completion."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mixdistill.columns import ROLES, as_prompt, nothing
from mixdistill.types import Message

GENERATIONS = ("generations", "completions", "responses", "outputs")
"""Names of columns with several completions a cell."""
CHATS = ("messages", "conversations", "conversation")
"""Names of columns with a conversation a cell."""
LISTS = frozenset((*GENERATIONS, *CHATS, "thinking_trajectories", "finish_reasons", "stop_reasons"))
"""Columns whose cells are lists, also where a CSV file made texts of them."""
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Keys of an assistant's turn that hold its reasoning."""


def asked(cell: Any) -> str | list[Message]:
    """What a cell asks, whether or not the answer stands there too. Raises ValueError."""
    return as_prompt(cell[:-1] if ends_in_answer(cell) else cell)


def completions(cell: Any) -> list[tuple[str, str | None]]:
    """(text, reasoning beside it) of every completion in a cell. Raises ValueError saying why it holds none."""
    if nothing(cell):
        raise ValueError("it is empty")
    if isinstance(cell, NoList):
        raise ValueError(f"it {cell.WHY}")
    if isinstance(cell, str | int | float):
        return [(str(cell), None)]
    if not isinstance(cell, list):
        raise ValueError(f"it is of type {type(cell).__name__}, neither text nor a list")
    if any(isinstance(one, Mapping) for one in cell):
        return [_turn(cell[last_answer(cell)])]
    for one in cell:
        if not isinstance(one, str | None):
            raise ValueError(f"it is a list that holds {type(one).__name__}, neither texts nor turns")
    return [(one or "", None) for one in cell]


def texts(cell: Any) -> list[str]:
    """The completions of a cell, to compare them. Raises ValueError where it holds none."""
    return [text.strip() for text, _ in completions(cell)]


def _turn(turn: Mapping[str, Any]) -> tuple[str, str | None]:
    content = turn.get("content", turn.get("value"))
    thought = next((t for key in THOUGHTS if isinstance(t := turn.get(key), str) and t.strip()), None)
    if content is None and thought:
        content = ""
    if not isinstance(content, str):
        raise ValueError(f"its last assistant turn is of type {type(content).__name__}, not text")
    return content, thought


def is_chat(cell: Any) -> bool:
    """Whether a cell is a list of turns."""
    return isinstance(cell, list) and bool(cell) and all(isinstance(turn, Mapping) for turn in cell)


def _role(turn: Any) -> Any:
    role = turn.get("role", turn.get("from")) if isinstance(turn, Mapping) else None
    return ROLES.get(role, role) if isinstance(role, str) else None


def ends_in_answer(cell: Any) -> bool:
    """Whether a cell is a conversation that the assistant has ended."""
    return is_chat(cell) and _role(cell[-1]) == "assistant"


def last_answer(turns: Sequence[Any]) -> int:
    """Where the last assistant turn stands."""
    found = next((n for n in reversed(range(len(turns))) if _role(turns[n]) == "assistant"), None)
    if found is None:
        raise ValueError("it holds no assistant turn")
    return found


def lines(cell: Any) -> list[str]:
    """A cell beside the completion as texts. Raises ValueError where it says nothing."""
    values = [str(one) for one in (cell if isinstance(cell, list) else [cell]) if not nothing(one)]
    if not values:
        raise ValueError("it is empty")
    return values


def plain(column: str) -> str:
    """A column's name without case, spaces and hyphens."""
    return str(column).strip().casefold().replace(" ", "_").replace("-", "_")


class NoList(str):
    """A text that looks like a list and cannot be read as one."""

    WHY = "looks like a list, and is none as JSON or Python writes it"


def read(value: Any, column: str, *, listed: bool = False) -> Any:
    """A cell, and of a column of lists the list that a CSV file made a text of: as JSON, or as Python prints it.

    Arrays as numpy prints them, without commas, are neither: where one element ends cannot be told.
    """
    if not isinstance(value, str) or not (listed or plain(column) in LISTS) or not _bracketed(value):
        return value
    found = _json(value) or _python(value)
    return found if isinstance(found, list) else NoList(value)


def _bracketed(text: str) -> bool:
    return text.lstrip()[:1] == "[" and text.rstrip()[-1:] == "]"


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _python(text: str) -> Any:
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return found if repr(found) == text.strip() else None
