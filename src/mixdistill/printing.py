"""How verbs write their results to stdout."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from typing import Any


def print_row(row: Any, text: Callable[[Any, int], Any], json_: bool) -> None:
    """A row as JSON, or as text that fits the terminal; in colour on a terminal alone."""
    if json_:
        sys.stdout.write(row.model_dump_json(indent=2) + "\n")
        return
    _print(row, text)


def print_text(facts: dict[str, Any], text: Callable[[Any, int], Any], json_: bool) -> None:
    """As `print_row`, of plain values."""
    if json_:
        sys.stdout.write(as_json(facts))
        return
    _print(facts, text)


def _print(value: Any, text: Callable[[Any, int], Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(text(value, console.width if console.is_terminal else 100), soft_wrap=True)


def as_json(value: Any) -> str:
    """A plain value as a JSON document."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def width() -> int:
    """Columns of the terminal, 100 where there is none, at most 120."""
    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def cut(value: str, width: int) -> str:
    """The beginning of a text, in one line of at most `width` characters, quoted."""
    line = " ".join(value.split())
    return repr(line) if len(line) <= width - 2 else repr(line[: width - 5] + "...")


def say(text: str) -> None:
    """A line for who is watching: on stderr, so that stdout holds the result alone."""
    sys.stderr.write(text + "\n")


def tell(text: str) -> None:
    """A line of the result, at once: who reads it through a pipe waits for it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
