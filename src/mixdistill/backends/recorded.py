"""A file of ready traces as a teacher: bought elsewhere, published by others, or written by humans."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mixdistill.backends.reasoning import Parts, looks_finished, split
from mixdistill.errors import DataError, did_you_mean
from mixdistill.types import Completion, FinishReason, Message, Request

NO_TRACE = "no recorded trace"
"""The error of a completion whose prompt and sample number the file does not hold."""

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

    1. the column `finish_reason`, where it is named and filled;
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
        prompt: str = "prompt",
        completion: str = "completion",
        reasoning: str | None = None,
        finish_reason: str | None = None,
        complete: bool | Literal["answered"] = False,
    ) -> None:
        """`model` names the source, and is its path where `path` is not given: .jsonl, .json, .csv or .parquet.

        `prompt` and `completion` are column names. One completion text is split into reasoning and answer by its
        tags; with a `reasoning` column it is the answer as it stands. Raises DataError.
        """
        if complete not in (True, False, "answered"):
            raise DataError(f"{model}: complete must be true, false or 'answered' (got {complete!r})")
        self.path = Path(path or model).expanduser()
        self.prompt, self.completion, self.reasoning, self.finish_reason = prompt, completion, reasoning, finish_reason
        self.complete = complete

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """The recorded completion of every request, in order. Raises DataError on a file that cannot be used."""
        for position, request in enumerate(requests):
            rows = self._rows.get(key(request.prompt), [])
            if request.sample < len(rows):
                yield position, self._completion(rows[request.sample])
            else:
                yield position, Completion(error=NO_TRACE)

    def join_report(self, prompts: Iterable[str | list[Message]]) -> dict[str, int]:
        """How well the file fits: distinct prompts asked, with and without a row; rows, and rows nobody asked for."""
        wanted = {key(p) for p in prompts}
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
        table = read_rows(self.path)
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


_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u2032\u00b4`", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u2033\u00ab\u00bb", '"'),
    }
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", None)
)


def key(prompt: str | list[Message]) -> str:
    """The text by which two spellings of one prompt are joined."""
    if isinstance(prompt, str):
        return _normal(prompt)
    users = [m.content for m in prompt if m.role == "user"]
    if len(users) == 1 and not any(m.role == "assistant" for m in prompt):
        return _normal(users[0])
    return _normal("\n".join(f"{m.role}: {m.content}" for m in prompt))


def _key_of_cell(prompt: Any) -> str:
    if isinstance(prompt, str):
        return key(prompt)
    if isinstance(prompt, list):
        turns = [(t.get("role", t.get("from")), t.get("content", t.get("value"))) for t in prompt]
        return key([Message(role=_ROLES.get(role, role), content=content) for role, content in turns])
    return key(str(prompt))


_ROLES = {"human": "user", "gpt": "assistant"}


def _normal(text: str) -> str:
    # NFKC alone would make x\u00b2 and x2, or 2\u00bd and 21/2, the same prompt.
    marked = "".join(
        f" ^{c} " if unicodedata.decomposition(c).startswith(("<super", "<sub", "<frac")) else c for c in text
    )
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", marked.translate(_SAME)).translate(_SAME)).strip()


def read_rows(path: Path) -> list[Row]:
    """All rows of a .jsonl, .json (a list of objects), .csv or .parquet file. Raises DataError."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path from the folder where mixdistill is run")
    try:
        if path.suffix == ".jsonl":
            rows = _read_jsonl(path)
        elif path.suffix == ".json":
            rows = json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix in (".csv", ".parquet"):
            import polars

            read = polars.read_parquet(path) if path.suffix == ".parquet" else polars.read_csv(path, infer_schema=False)
            rows = read.to_dicts()
        else:
            raise DataError(f"{path}: unknown kind of file (got '{path.suffix}'); use .jsonl, .json, .csv or .parquet")
    except DataError:
        raise
    except Exception as e:
        raise DataError(f"{path}: cannot be read ({type(e).__name__}: {e}); mend or replace the file") from e
    if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
        raise DataError(f"{path}: holds no rows; it must be a non-empty list of objects")
    return rows


def _read_jsonl(path: Path) -> list[Row]:
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except ValueError as e:
                raise DataError(f"{path}: line {number} is not JSON ({e}); mend or remove the line") from None
    return rows
