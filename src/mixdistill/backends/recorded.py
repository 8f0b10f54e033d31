"""A file of ready traces as a teacher: bought elsewhere, published by others, or written by humans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mixdistill.backends.reasoning import Parts, looks_finished, split
from mixdistill.errors import DataError, did_you_mean
from mixdistill.problems import normalise, read_rows
from mixdistill.types import Completion, FinishReason, Message, Request

VERSION = "1"
"""Rises when the same request would give another completion."""

_FINISH: dict[str, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_length"), "length"),
    "content_filter": "content_filter",
}
Row = dict[str, Any]


class Recorded:
    """Gives each request the recorded trace of the same prompt; its `sample`-th, in the order of the file.

    Prompts are joined by their text: Unicode NFKC, one kind of quote and dash, white space collapsed, and the user's
    turn alone where a prompt is a conversation.

    How a trace ended decides whether anybody may be trained on it, so it is never guessed upward:

    1. the column `finish_reason_column`, where it is named and filled;
    2. `complete: true`, the user's word that every row ended by itself, as human solutions do;
    3. what the text shows: `stop` at an end token or at the closing tag of the answer; `length` where thinking was cut
       (left open in mid-sentence, or interrupted in mid-sentence by a harness that then asked for the answer);
    4. with `complete: answered`, for files whose end tokens were removed: `stop` where the answer part's last paragraph
       states an answer (closed box, `#### x`, "final answer") and ends like a sentence or formula;
    5. else `unknown`: graded, but never trained on.
    """

    def __init__(
        self,
        model: str,
        *,
        path: str | None = None,
        prompt_column: str = "prompt",
        completion_column: str = "completion",
        reasoning_column: str | None = None,
        finish_reason_column: str | None = None,
        complete: bool | Literal["answered"] = False,
    ) -> None:
        """`model` names the source, and is its path where `path` is not given: .jsonl, .json, .csv or .parquet.

        `*_column` name the file's columns. One completion text is split into reasoning and answer by its
        tags; with a `reasoning_column` it is the answer as it stands. Raises DataError.
        """
        if complete not in (True, False, "answered"):
            raise DataError(f"{model}: complete must be true, false or 'answered' (got {complete!r})")
        self.path = Path(path or model).expanduser()
        self.prompt, self.completion, self.reasoning, self.finish_reason = (
            prompt_column,
            completion_column,
            reasoning_column,
            finish_reason_column,
        )
        self.complete = complete

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion | None]]:
        """The recorded completion of every request, in order; None where the file holds none.

        Raises DataError on a file that cannot be used.
        """
        for position, request in enumerate(requests):
            rows = self._rows.get(normalise(request.prompt), [])
            if request.sample < len(rows):
                yield position, self._completion(rows[request.sample])
            else:
                yield position, None

    def join_report(self, prompts: Iterable[str | list[Message]]) -> dict[str, int]:
        """How well the file fits: distinct prompts asked, with and without a row; rows, and rows nobody asked for."""
        wanted = {normalise(p) for p in prompts}
        used = [k for k in self._rows if k in wanted]
        rows = sum(len(r) for r in self._rows.values())
        return {
            "prompts": len(wanted),
            "matched": len(used),
            "unmatched": len(wanted) - len(used),
            "rows": rows,
            "rows_unused": rows - sum(len(self._rows[k]) for k in used),
        }

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        """Rows by the key of their prompt, in file order. Read once, at the first request."""
        table = read_rows(str(self.path))
        if not table:
            raise DataError(f"{self.path}: holds no rows; it must hold one recorded trace a row")
        named = [c for c in (self.prompt, self.completion, self.reasoning, self.finish_reason) if c]
        columns = {name for row in table for name in row}
        for column in named:
            if column not in columns:
                raise DataError(f"{self.path}: no column '{column}'{did_you_mean(column, columns)}")
        rows: dict[str, list[Row]] = {}
        for number, row in enumerate(table, 1):
            prompt = row.get(self.prompt)
            if not prompt:
                raise DataError(
                    f"{self.path}: row {number} has no '{self.prompt}'; remove the row or name another column"
                )
            rows.setdefault(_key_of_cell(prompt), []).append(row)
        return rows

    def _completion(self, row: Row) -> Completion:
        text = row.get(self.completion)
        if text is None or not str(text).strip():
            return Completion(error=f"recorded row has no '{self.completion}'")
        parts = split(str(text))
        thinking = row.get(self.reasoning) if self.reasoning else None
        if thinking:
            parts = parts._replace(reasoning=str(thinking).strip())
        return Completion(reasoning=parts.reasoning, content=parts.content, finish_reason=self._finish(row, parts))

    def _finish(self, row: Row, parts: Parts) -> FinishReason:
        said = row.get(self.finish_reason) if self.finish_reason else None
        if said:
            return _FINISH.get(str(said).lower(), "unknown")
        if self.complete is True or (self.complete == "answered" and looks_finished(parts)):
            return "stop"
        return parts.finish


def _key_of_cell(prompt: Any) -> str:
    if isinstance(prompt, str):
        return normalise(prompt)
    if isinstance(prompt, list):
        turns = [(t.get("role", t.get("from")), t.get("content", t.get("value"))) for t in prompt]
        return normalise([Message(role=_ROLES.get(role, role), content=content) for role, content in turns])
    return normalise(str(prompt))


_ROLES = {"human": "user", "gpt": "assistant"}
