"""A file of ready traces as a teacher: bought elsewhere, published by others, or written by humans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mixdistill import tables
from mixdistill.backends.reasoning import Parts, looks_finished, split
from mixdistill.columns import as_prompt
from mixdistill.errors import DataError, did_you_mean, one_line
from mixdistill.problems import normalise
from mixdistill.types import Completion, FinishReason, Message, Request, prompt_text

VERSION = "2"
"""Rises when the same request would give another completion."""

_FINISH: dict[str, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_length"), "length"),
    "content_filter": "content_filter",
}
EXAMPLES = 5
"""Prompts and rows that a report names of each kind."""
BRIEF = 80
"""Characters of a prompt in a report."""


class Recording(NamedTuple):
    """The cells of a row that make a completion."""

    completion: str
    reasoning: str | None
    finish_reason: str | None


class Recordings(NamedTuple):
    """What a file holds."""

    traces: dict[str, list[Recording]]
    """Normalised prompt -> its rows, in file order."""
    prompts: dict[str, str]
    """Normalised prompt -> the prompt as it first stands there, shortened."""
    bad: list[dict[str, Any]]
    """Rows that are no trace: {row, reason, detail}."""


class Recorded:
    """Gives each request the recorded trace of the same prompt; its `sample`-th, in the order of the file.

    Prompts are joined by their text: Unicode NFKC, one kind of quote and dash, white space collapsed, and the user's
    turn alone where a prompt is a conversation. A row without a prompt or a completion is no trace, and counted by
    `join_report`.

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
        """`model` names the source, and is its path where `path` is not given: .jsonl, .json, .csv, .tsv or .parquet.

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
            traces = self._file.traces.get(normalise(request.prompt), [])
            if request.sample < len(traces):
                yield position, self._completion(traces[request.sample])
            else:
                yield position, None

    def join_report(self, prompts: Iterable[str | list[Message]]) -> dict[str, Any]:
        """How well the file fits the prompts that are asked, both distinct after normalising.

        `prompts` asked, `matched` and `unmatched` ones, `rate` of the matched; `rows` that are traces, `rows_unused`
        that nobody asked for, `rows_bad` by reason; and of each kind a few `examples`. Raises DataError where not one
        prompt is in the file.
        """
        file = self._file
        wanted = {normalise(p): p for p in prompts}
        unmatched = [p for key, p in wanted.items() if key not in file.traces]
        unused = [key for key in file.traces if key not in wanted]
        if wanted and len(unmatched) == len(wanted):
            raise DataError(
                f"{self.path}: none of {len(wanted):,} prompts is in it; the first asked is {_brief(unmatched[0])!r}, "
                f"its own first is {next(iter(file.prompts.values()))!r}; set prompt_column, and leave the teacher's "
                "prompt plain"
            )
        return {
            "prompts": len(wanted),
            "matched": len(wanted) - len(unmatched),
            "unmatched": len(unmatched),
            "rate": (len(wanted) - len(unmatched)) / max(len(wanted), 1),
            "rows": sum(len(traces) for traces in file.traces.values()),
            "rows_unused": sum(len(file.traces[key]) for key in unused),
            "rows_bad": dict(Counter(row["reason"] for row in file.bad)),
            "examples": {
                "unmatched": [_brief(p) for p in unmatched[:EXAMPLES]],
                "rows_unused": [file.prompts[key] for key in unused[:EXAMPLES]],
                "rows_bad": file.bad[:EXAMPLES],
            },
        }

    @cached_property
    def _file(self) -> Recordings:
        """What the file holds. Read once, at the first request."""
        found = Recordings({}, {}, [])
        columns: dict[str, None] = {}
        for row in tables.read(str(self.path)):
            columns |= dict.fromkeys(row.cells or {})
            try:
                prompt, recording = self._recording(row)
            except _Bad as e:
                found.bad.append({"row": row.number, "reason": e.reason, "detail": one_line(str(e))})
                continue
            key = normalise(prompt)
            found.traces.setdefault(key, []).append(recording)
            found.prompts.setdefault(key, _brief(prompt))
        if columns:
            self._check_columns(list(columns))
        if not found.traces:
            first = "".join(f" (row {bad['row']}: {bad['detail']})" for bad in found.bad[:1])
            raise DataError(f"{self.path}: holds no trace{first}; it must hold one recorded trace a row")
        return found

    def _check_columns(self, there: list[str]) -> None:
        for column in (self.prompt, self.completion, self.reasoning, self.finish_reason):
            if column and column not in there:
                raise DataError(f"{self.path}: no column '{column}'{did_you_mean(column, there)}")

    def _recording(self, row: tables.TableRow) -> tuple[str | list[Message], Recording]:
        if row.cells is None:
            raise _Bad("unreadable", row.why)
        try:
            prompt = as_prompt(row.cells.get(self.prompt))
        except ValueError as e:
            raise _Bad("no_prompt", f"no prompt in column '{self.prompt}': {e}") from None
        text = row.cells.get(self.completion)
        if text is None or (isinstance(text, str) and not text.strip()):
            raise _Bad("no_completion", f"no completion in column '{self.completion}': it is empty")
        if not isinstance(text, str | int | float):
            kind = type(text).__name__
            raise _Bad("no_completion", f"no completion in column '{self.completion}': it is of type {kind}, not text")
        thinking = row.cells.get(self.reasoning) if self.reasoning else None
        said = row.cells.get(self.finish_reason) if self.finish_reason else None
        return prompt, Recording(str(text), str(thinking) if thinking else None, str(said) if said else None)

    def _completion(self, trace: Recording) -> Completion:
        parts = split(trace.completion)
        if trace.reasoning:
            parts = parts._replace(reasoning=trace.reasoning.strip())
        return Completion(reasoning=parts.reasoning, content=parts.content, finish_reason=self._finish(trace, parts))

    def _finish(self, trace: Recording, parts: Parts) -> FinishReason:
        if trace.finish_reason:
            return _FINISH.get(trace.finish_reason.lower(), "unknown")
        if self.complete is True or (self.complete == "answered" and looks_finished(parts)):
            return "stop"
        return parts.finish


class _Bad(Exception):
    """A row that is no trace."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


def _brief(prompt: str | list[Message]) -> str:
    text = one_line(prompt_text(prompt)[:BRIEF])
    return text if len(text) < BRIEF else f"{text[: BRIEF - 3]}..."
