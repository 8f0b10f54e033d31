"""A file of ready traces as a teacher: bought elsewhere, published by others, or written by humans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mixdistill import spelling, tables
from mixdistill.backends.reasoning import Parts, looks_finished, split
from mixdistill.columns import row_prompt
from mixdistill.errors import DataError, did_you_mean, one_line
from mixdistill.tables import BadRow
from mixdistill.types import Completion, FinishReason, Message, Request, prompt_text

VERSION = "3"
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


class Forms:
    """Prompts by each of their forms. Where two share a loose form, it can only say that it means one of them."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], set[str]] = {}

    def add(self, prompt: str | list[Message]) -> None:
        """Know this prompt."""
        keys = spelling.keys(prompt)
        for key in keys:
            self._of.setdefault(key, set()).add(keys[0][1])

    def __getitem__(self, key: tuple[str, str]) -> set[str]:
        """The strict forms of the prompts that have this form."""
        return self._of.get(key, set())


class Recordings(NamedTuple):
    """What a file holds."""

    traces: dict[str, list[Recording]]
    """Prompt, in the strict form -> its rows, in file order."""
    prompts: dict[str, str]
    """Prompt, in the strict form -> the prompt as it first stands there, shortened."""
    forms: Forms
    """The prompts by each of their forms."""
    bad: list[dict[str, Any]]
    """Rows that are no trace: {row, reason, detail}."""


class Recorded:
    """Gives each request the recorded trace of the same prompt; its `sample`-th, in the order of the file.

    Prompts are joined by their text: as it stands, else by a looser form of it, without typography, and at last by the
    user's turn without the system prompt. A looser form that two prompts of the file share, or two that are asked,
    joins neither. A row without a prompt or a completion is no trace. `join_report` counts all of these.

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
        self._asked = Forms()
        """Every prompt that anybody asked for: which loose forms are shared must not depend on what is left to ask."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion | None]]:
        """The recorded completion of every request, in order; None where the file holds none.

        Raises DataError on a file that cannot be used.
        """
        for request in requests:
            self._asked.add(request.prompt)
        for position, request in enumerate(requests):
            traces = self._file.traces.get(self._joined(request.prompt) or "", [])
            if request.sample < len(traces):
                yield position, self._completion(traces[request.sample])
            else:
                yield position, None

    def _joined(self, prompt: str | list[Message]) -> str | None:
        """The file's prompt that this one is, in the strict form; "" where it may be one of several, else None."""
        for key in spelling.keys(prompt):
            if there := self._file.forms[key]:
                return next(iter(there)) if len(there) == len(self._asked[key]) == 1 else ""
        return None

    def join_report(self, prompts: Iterable[str | list[Message]]) -> dict[str, Any]:
        """How well the file fits the prompts that are asked, both distinct in the strict form.

        `prompts` asked: `matched`, `ambiguous` (in a loose form that several share: they get no trace) and `unmatched`
        ones, `rate` of the matched; `rows` that are traces, `rows_unused` that nobody gets, `rows_bad` by reason; and
        of each kind a few `examples`. Raises DataError where not one prompt is in the file.
        """
        file = self._file
        wanted = {spelling.strict(p): p for p in prompts}
        for prompt in wanted.values():
            self._asked.add(prompt)
        joined = {key: self._joined(p) for key, p in wanted.items()}
        unmatched = [p for key, p in wanted.items() if joined[key] is None]
        ambiguous = [p for key, p in wanted.items() if joined[key] == ""]
        unused = [key for key in file.traces if key not in joined.values()]
        matched = len(wanted) - len(unmatched) - len(ambiguous)
        if wanted and not matched:
            raise DataError(self._nothing_joins(len(wanted), unmatched, ambiguous))
        return {
            "prompts": len(wanted),
            "matched": matched,
            "ambiguous": len(ambiguous),
            "unmatched": len(unmatched),
            "rate": matched / max(len(wanted), 1),
            "rows": sum(len(traces) for traces in file.traces.values()),
            "rows_unused": sum(len(file.traces[key]) for key in unused),
            "rows_bad": dict(Counter(row["reason"] for row in file.bad)),
            "examples": {
                "ambiguous": [_brief(p) for p in ambiguous[:EXAMPLES]],
                "unmatched": [_brief(p) for p in unmatched[:EXAMPLES]],
                "rows_unused": [file.prompts[key] for key in unused[:EXAMPLES]],
                "rows_bad": file.bad[:EXAMPLES],
            },
        }

    def _nothing_joins(self, wanted: int, unmatched: list[Any], ambiguous: list[Any]) -> str:
        first = next(iter(self._file.prompts.values()))
        if not unmatched:
            return (
                f"{self.path}: none of {wanted:,} prompts stands in it as it is asked, and in a looser form each may "
                f"be one of several; the first is {_brief(ambiguous[0])!r}; write the prompts of both files alike"
            )
        return (
            f"{self.path}: none of {wanted:,} prompts is in it; the first asked is {_brief(unmatched[0])!r}, its own "
            f"first is {first!r}; set prompt_column, and leave the teacher's prompt plain"
        )

    @cached_property
    def _file(self) -> Recordings:
        """What the file holds. Read once, at the first request."""
        found = Recordings({}, {}, Forms(), [])
        columns: dict[str, None] = {}
        for row in tables.read(str(self.path)):
            columns |= dict.fromkeys(row.cells or {})
            try:
                prompt, recording = self._recording(row)
            except BadRow as e:
                found.bad.append({"row": row.number, "reason": e.reason, "detail": one_line(str(e))})
                continue
            key = spelling.strict(prompt)
            found.traces.setdefault(key, []).append(recording)
            found.prompts.setdefault(key, _brief(prompt))
            found.forms.add(prompt)
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
        prompt = row_prompt(row, self.prompt)
        assert row.cells is not None
        text = row.cells.get(self.completion)
        if text is None or (isinstance(text, str) and not text.strip()):
            raise BadRow("no_completion", f"no completion in column '{self.completion}': it is empty")
        if not isinstance(text, str | int | float):
            kind = type(text).__name__
            raise BadRow(
                "no_completion", f"no completion in column '{self.completion}': it is of type {kind}, not text"
            )
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


def _brief(prompt: str | list[Message]) -> str:
    text = one_line(prompt_text(prompt)[:BRIEF])
    return text if len(text) < BRIEF else f"{text[: BRIEF - 3]}..."
