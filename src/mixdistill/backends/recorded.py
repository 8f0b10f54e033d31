"""Ready traces as a teacher, from a file or the hub: bought elsewhere, published by others, or written by humans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Literal

from mixdistill import spelling, tables
from mixdistill.backends import layouts
from mixdistill.backends.layouts import Layout, Recording
from mixdistill.backends.reasoning import Parts, looks_finished, split
from mixdistill.errors import DataError, did_you_mean, one_line
from mixdistill.tables import BadRow
from mixdistill.types import Completion, FinishReason, Message, Request, prompt_text

VERSION = "4"
"""Rises when the same request would give another completion."""

_FINISH: dict[str, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_length"), "length"),
    "content_filter": "content_filter",
}
SEEN = 1000
"""Rows at the beginning that tell the columns."""
EXAMPLES = 5
"""Prompts and rows that a report names of each kind."""
BRIEF = 80
"""Characters of a prompt in a report."""


class Forms:
    """Prompts by each of their forms. Where two share a loose form, it can only say that it means one of them."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], set[str]] = {}

    def add(self, keys: list[tuple[str, str]]) -> bool:
        """Know the prompt with these forms; whether it is new."""
        new = keys[0] not in self._of
        for key in keys:
            self._of.setdefault(key, set()).add(keys[0][1])
        return new

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._of

    def __getitem__(self, key: tuple[str, str]) -> set[str]:
        """The strict forms of the prompts that have this form."""
        return self._of.get(key, set())


@dataclass
class Recordings:
    """What a file holds for the prompts that are asked, and how much for others."""

    layout: Layout
    traces: dict[str, list[Recording]] = field(default_factory=dict)
    """Prompt that somebody may mean, in the strict form -> its traces, in file order."""
    rows: Counter[str] = field(default_factory=Counter)
    """The same prompts -> their rows."""
    forms: Forms = field(default_factory=Forms)
    """The same prompts by each of their forms."""
    names: dict[str, str] = field(default_factory=dict)
    """The same prompts, and the first others -> the prompt as it first stands there, shortened."""
    others: int = 0
    """Rows with a trace for a prompt that nobody asks."""
    others_traces: int = 0
    """Their traces."""
    bad: list[dict[str, Any]] = field(default_factory=list)
    """The first rows that are no trace: {row, reason, detail}."""
    bad_by_reason: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    """Generations that are no trace, by reason."""
    repeated: int = 0
    """Traces that stand in their row already."""


class Recorded:
    """Gives each request the recorded trace of the same prompt; its `sample`-th, in the order of the file.

    Prompts are joined by their text: as it stands, else by a looser form of it, without typography, and at last by the
    user's turn without the system prompt. A looser form that two prompts of the file share, or two that are asked,
    joins neither. A row without a prompt or a completion is no trace. `join_report` counts all of these.

    Columns with usual names are found by themselves; `join_report` and `check` say which. Several rows of a prompt, and
    several generations in a row, are its samples. Who judged a trace before is not asked, but with `correct_column`.

    How a trace ended decides whether anybody may be trained on it, so it is never guessed upward:

    1. the file's finish reason, where it is filled;
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
        subset: str | None = None,
        split: str = "train",
        prompt_column: str | None = None,
        completion_column: str | None = None,
        reasoning_column: str | None = None,
        finish_reason_column: str | None = None,
        correct_column: str | None = None,
        complete: bool | Literal["answered"] = False,
    ) -> None:
        """`model` names the source, and is its path where `path` is not given: .jsonl, .json, .csv, .tsv, .parquet, or
        a hub id with its `subset` and `split`.

        `*_column` name columns; without a name they are detected, and `""` says that there is none. One completion
        text is split into reasoning and answer by its tags; with a reasoning column it is the answer as it stands. Of
        `correct_column` only what it marks as correct is a trace; it is never detected. Raises DataError.
        """
        if complete not in (True, False, "answered"):
            raise DataError(f"{model}: complete must be true, false or 'answered' (got {complete!r})")
        self.path, self.subset, self.part = path or model, subset, split
        self.named = Layout(
            prompt_column, completion_column, reasoning_column, finish_reason_column, correct_column or None
        )
        self.complete = complete
        self._asked = Forms()
        """Every prompt that anybody asked for: which loose forms are shared must not depend on what is left to ask."""
        self._read: Recordings | None = None

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion | None]]:
        """The recorded completion of every request, in order; None where the file holds none.

        Raises DataError on a file that cannot be used.
        """
        self._ask(request.prompt for request in requests)
        for position, request in enumerate(requests):
            traces = self._file.traces.get(self._joined(request.prompt) or "", [])
            if request.sample < len(traces):
                yield position, self._completion(traces[request.sample])
            else:
                yield position, None

    def _ask(self, prompts: Iterable[str | list[Message]]) -> None:
        """Know these prompts. The file is read for those that are known then, and again for others."""
        if sum(self._asked.add(spelling.keys(prompt)) for prompt in prompts):
            self._read = None

    def _joined(self, prompt: str | list[Message]) -> str | None:
        """The file's prompt that this one is, in the strict form; "" where it may be one of several, else None."""
        for key in spelling.keys(prompt):
            if there := self._file.forms[key]:
                return next(iter(there)) if len(there) == len(self._asked[key]) == 1 else ""
        return None

    def join_report(self, prompts: Iterable[str | list[Message]]) -> dict[str, Any]:
        """How well the file fits the prompts that are asked, both distinct in the strict form.

        `columns` it was read from, in words; `prompts` asked: `matched`, `ambiguous` (in a loose form that several
        share: they get no trace) and `unmatched` ones, `rate` of the matched; `rows` that hold a trace, `rows_unused`
        that nobody gets, `rows_bad` by reason; `traces` in these rows, `repeated` ones that stand twice in a row, and
        `dropped` generations by reason; `samples` of a matched prompt, the median; and of each kind a few `examples`.
        Raises DataError where not one prompt is in the file.
        """
        wanted = {spelling.strict(p): p for p in prompts}
        self._ask(wanted.values())
        file = self._file
        joined = {key: self._joined(p) for key, p in wanted.items()}
        got = set(joined.values())
        each = sorted(len(file.traces[key]) for key in joined.values() if key)
        unmatched = [p for key, p in wanted.items() if joined[key] is None]
        ambiguous = [p for key, p in wanted.items() if joined[key] == ""]
        matched = len(wanted) - len(unmatched) - len(ambiguous)
        if wanted and not matched:
            raise DataError(self._nothing_joins(len(wanted), unmatched, ambiguous))
        return {
            "columns": str(file.layout),
            "prompts": len(wanted),
            "matched": matched,
            "ambiguous": len(ambiguous),
            "unmatched": len(unmatched),
            "rate": matched / max(len(wanted), 1),
            "rows": file.rows.total() + file.others,
            "rows_unused": sum(n for key, n in file.rows.items() if key not in got) + file.others,
            "rows_bad": dict(file.bad_by_reason),
            "traces": sum(map(len, file.traces.values())) + file.others_traces,
            "repeated": file.repeated,
            "dropped": dict(file.dropped),
            "samples": each[len(each) // 2] if each else 0,
            "examples": {
                "ambiguous": [_brief(p) for p in ambiguous[:EXAMPLES]],
                "unmatched": [_brief(p) for p in unmatched[:EXAMPLES]],
                "rows_unused": [name for key, name in file.names.items() if key not in got][:EXAMPLES],
                "rows_bad": file.bad,
            },
        }

    def _nothing_joins(self, wanted: int, unmatched: list[Any], ambiguous: list[Any]) -> str:
        first = next(iter(self._file.names.values()))
        if not unmatched:
            return (
                f"{self.path}: none of {wanted:,} prompts stands in it as it is asked, and in a looser form each may "
                f"be one of several; the first is {_brief(ambiguous[0])!r}; write the prompts of both files alike"
            )
        return (
            f"{self.path}: none of {wanted:,} prompts is in it; the first asked is {_brief(unmatched[0])!r}, its own "
            f"first is {first!r}; set prompt_column, and leave the teacher's prompt plain"
        )

    @property
    def _file(self) -> Recordings:
        """What the file holds for the prompts that were asked. Read at the first request."""
        if self._read is None:
            self._read = self._recordings()
        return self._read

    def _recordings(self) -> Recordings:
        rows = tables.rows(self.path, self.subset, self.part)
        head = list(islice(rows, SEEN))
        columns = dict.fromkeys(c for row in head for c in row.cells or {})
        found = Recordings(layouts.detect(head, self.named, self.path) if columns else self.named)
        for row in chain(head, rows):
            columns |= dict.fromkeys(row.cells or {})
            self._take(row, found)
        if columns:
            self._check_columns(list(columns))
        if not found.names:
            raise DataError(self._no_trace(found))
        return found

    def _take(self, row: tables.TableRow, found: Recordings) -> None:
        """Count a row, and keep its traces where somebody may ask for them: of a large file only what is wanted."""
        try:
            prompt, traces, dropped = layouts.traces(row, found.layout)
        except BadRow as e:
            found.bad_by_reason[e.reason] += 1
            if len(found.bad) < EXAMPLES:
                found.bad.append({"row": row.number, "reason": e.reason, "detail": one_line(str(e))})
            return
        found.dropped.update(dropped)
        if not traces:
            return
        found.repeated += len(traces) - len(set(traces))
        keys = spelling.keys(prompt)
        (_, strict), *_ = keys
        if any(key in self._asked for key in keys):
            found.traces.setdefault(strict, []).extend(traces)
            found.rows[strict] += 1
            found.names.setdefault(strict, _brief(prompt))
            found.forms.add(keys)
            return
        found.others += 1
        found.others_traces += len(traces)
        if len(found.names) - len(found.traces) < EXAMPLES:
            found.names.setdefault(strict, _brief(prompt))

    def _no_trace(self, found: Recordings) -> str:
        if found.dropped:
            why = ", ".join(f"{n:,} {reason}" for reason, n in found.dropped.items())
            return f"{self.path}: holds no trace that '{found.layout.correct}' marks as correct ({why}); leave it out"
        first = "".join(f" (row {bad['row']}: {bad['detail']})" for bad in found.bad[:1])
        return f"{self.path}: holds no trace{first}; it must hold one recorded trace a row"

    def _check_columns(self, there: list[str]) -> None:
        named = self.named
        for column in (named.prompt, named.completion, named.reasoning, named.finish_reason, named.correct):
            if column and column not in there:
                raise DataError(f"{self.path}: no column '{column}'{did_you_mean(column, there)}")

    def _completion(self, trace: Recording) -> Completion:
        parts = split(trace.completion if trace.completion.strip() else f"<think>{trace.reasoning}")
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
