"""Problems: load from the lab, a local file or the hub; map columns; drop duplicates and overlaps with evaluation."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mixdistill import resolve
from mixdistill.errors import DataError, MissingExtra, did_you_mean
from mixdistill.recipe import Problems, Source
from mixdistill.types import Message, Problem, Unused, problem_id, prompt_text

LAB = "lab:signs"
KINDS = (".jsonl", ".json", ".csv", ".parquet")
PROMPT_COLUMNS = ("prompt", "question", "problem", "instruction", "input", "query")
ANSWER_COLUMNS = ("answer", "final_answer", "solution", "target", "gold", "expected_answer", "output")


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
    # NFKC alone would make x\u00b2 and x2, or 2\u00bd and 21/2, the same prompt.
    marked = "".join(
        f" ^{c} " if unicodedata.decomposition(c).startswith(("<super", "<sub", "<frac")) else c for c in text
    )
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", marked.translate(_SAME)).translate(_SAME)).strip()


def load_all(
    spec: Problems, *, limit: int | None = None, error_rate: float = 0.05
) -> tuple[dict[str, list[Problem]], list[Unused]]:
    """(`train` and every benchmark -> its problems, the rows that are none).

    `limit` caps every list. A training problem whose normalised prompt stands in a benchmark is dropped from training.
    Raises DataError for unreadable files, missing columns and empty results.
    """
    unused: list[Unused] = []
    loaded = {name: _distinct(load(source, split=name), name, unused) for name, source in spec.eval.items()}
    train = _distinct(load(spec.train, split="train"), "train", unused)
    in_evaluation = {normalise(p.prompt): name for name, problems in loaded.items() for p in problems}
    clean = []
    for row, p in enumerate(train, 1):
        benchmark = in_evaluation.get(normalise(p.prompt))
        if benchmark is None:
            clean.append(p)
        else:
            unused.append(_unused(p, row, "in_evaluation", f"stands in {benchmark}"))
    if not clean:
        raise DataError(f"problems.train: every one of {len(train)} problems is also in an evaluation set; use others")
    loaded = {"train": clean, **loaded}
    return {name: problems[:limit] for name, problems in loaded.items()}, unused


def counted(unused: Iterable[Unused]) -> dict[str, int]:
    """How many rows are no problems: `train: duplicate` -> 3."""
    return dict(Counter(f"{u.split}: {u.reason}" for u in unused))


def _unused(problem: Problem, row: int, reason: str, detail: str) -> Unused:
    return Unused(
        split=problem.split,
        source=problem.source,
        row=row,
        reason=reason,
        detail=detail,
        prompt=prompt_text(problem.prompt)[:200],
    )


def load(source: Source, *, split: str) -> list[Problem]:
    """The problems of one source, in its order."""
    source = source.model_copy(update={"source": resolve.from_environment(source.source)})
    if source.source.startswith("lab:"):
        from mixdistill.lab import domain

        if source.source != LAB:
            raise DataError(f"problems: no lab domain '{source.source}'{did_you_mean(source.source, [LAB])}")

        count = source.skip + (source.limit or 5000)
        found = domain.problems(source.split, count=count)[source.skip :]
        return [p.model_copy(update={"split": split}) for p in found]
    file = Path(source.source).expanduser()
    rows = read_rows(source.source) if file.suffix.lower() in KINDS or file.is_file() else _hub_rows(source)
    stop = None if source.limit is None else source.skip + source.limit
    rows = rows[source.skip : stop]
    if not rows:
        raise DataError(f"{source.source}: no problems left after skip={source.skip}; check the file and skip/limit")
    prompt = _column(rows[0], source.prompt, PROMPT_COLUMNS, source.source, "prompt")
    answer = _column(rows[0], source.answer, ANSWER_COLUMNS, source.source, "answer")
    return [_problem(row, i, prompt, answer, source, split) for i, row in enumerate(rows, source.skip + 1)]


def read_rows(path: str) -> list[dict[str, Any]]:
    """Rows of a local .jsonl, .json, .csv or .parquet file. Raises DataError naming file and line."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(
            f"{path}: no such file; give a path from where mixdistill is run, or a hub id without an ending"
        )
    try:
        match file.suffix.lower():
            case ".jsonl":
                return [_json_line(path, n, line) for n, line in _lines(file) if line.strip()]
            case ".json":
                data = json.loads(file.read_text(encoding="utf-8-sig"))
                rows = data if isinstance(data, list) else data.get("data", []) if isinstance(data, dict) else []
                return [dict(r) for r in rows]
            case ".csv":
                return _polars("read_csv", file, infer_schema=False)
            case ".parquet":
                return _polars("read_parquet", file)
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 text (byte {e.start}); save it as UTF-8") from None
    except (ValueError, TypeError, OSError) as e:
        raise DataError(f"{path}: not readable as {file.suffix} ({str(e).splitlines()[0]}); check the file") from None
    raise DataError(f"{path}: unknown kind of file (got '{file.suffix}'); use .jsonl, .json, .csv or .parquet")


def _polars(reader: str, file: Path, **options: Any) -> list[dict[str, Any]]:
    import polars as pl

    try:
        return getattr(pl, reader)(file, **options).to_dicts()
    except pl.exceptions.NoDataError:
        return []
    except pl.exceptions.PolarsError as e:
        raise ValueError(str(e)) from None


def _lines(file: Path) -> Iterable[tuple[int, str]]:
    # Not str.splitlines(): it also breaks at U+2028 and form feeds, which are legal inside JSON strings.
    with open(file, encoding="utf-8-sig", newline="\n") as f:
        yield from enumerate(f, 1)


def _json_line(path: str, n: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as e:
        raise DataError(f"{path}:{n}: not JSON ({e}); each line must be one JSON object") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}:{n}: not a JSON object (got {type(row).__name__}); each line must be one")
    return row


def _hub_rows(source: Source) -> list[dict[str, Any]]:
    try:
        import datasets
        from datasets.exceptions import DatasetNotFoundError
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    try:
        return list(datasets.load_dataset(source.source, source.subset, split=source.split))
    except (OSError, ValueError, DatasetNotFoundError) as e:
        why = str(e).splitlines()[0]
        raise DataError(f"{source.source}: not a local file and not loadable from the hub ({why})") from None


def _column(row: dict[str, Any], chosen: str | None, known: tuple[str, ...], where: str, what: str) -> str:
    """The column the user chose, else the first with a usual name."""
    if chosen is not None:
        if chosen not in row:
            raise DataError(f"{where}: no column '{chosen}' (problems.*.{what}){did_you_mean(chosen, row)}")
        return chosen
    found = next((c for c in known if c in row), None)
    if found is None:
        raise DataError(f"{where}: no {what} column (got {', '.join(row)}); set problems.*.{what} to one of these")
    return found


def _problem(row: dict[str, Any], number: int, prompt: str, answer: str, source: Source, split: str) -> Problem:
    where = f"{source.source}: row {number}"
    for column in (prompt, answer):
        value = row.get(column)
        if value is None or value == [] or (isinstance(value, str) and not value.strip()):
            raise DataError(f"{where}: no value in column '{column}'; remove the row or map another column")
    asked = row[prompt]
    reference = str(row[answer])
    if source.answer_after is not None:
        _, mark, tail = reference.rpartition(source.answer_after)
        if not mark:
            raise DataError(f"{where}: '{source.answer_after}' is not in the answer; fix answer_after")
        reference = tail.strip()
    level = row.get(source.level) if source.level else None
    try:
        if isinstance(asked, list):
            asked = [Message.model_validate(m) for m in asked]
        elif not isinstance(asked, str):
            raise TypeError(f"it is a {type(asked).__name__}")
        prompt_text(asked).encode()  # half a surrogate pair is no text: no table can hold it
        return Problem(
            id=problem_id(asked, reference),
            prompt=asked,
            answer=reference,
            source=Path(source.source).name,
            split=split,
            level=None if level is None else str(level),
        )
    except (ValidationError, TypeError, UnicodeEncodeError) as e:
        why = e.errors()[0]["msg"] if isinstance(e, ValidationError) else e
        raise DataError(
            f"{where}: no prompt in column '{prompt}' (got {str(asked)[:60]!r}: {why}); "
            "a prompt is text or a list of {role, content}"
        ) from None


def _distinct(problems: list[Problem], name: str, unused: list[Unused]) -> list[Problem]:
    """Problems with different prompts; conflicting answers to one prompt are an error."""
    seen: dict[str, Problem] = {}
    for row, p in enumerate(problems, 1):
        first = seen.setdefault(normalise(p.prompt), p)
        if first.answer != p.answer:
            raise DataError(
                f"problems.{name}: two answers for one prompt (got {first.answer!r} and {p.answer!r} for "
                f"{prompt_text(p.prompt)[:60]!r}); keep one"
            )
        if first is not p:
            unused.append(_unused(p, row, "duplicate", "of an earlier row"))
    return list(seen.values())
