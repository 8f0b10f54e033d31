"""An arm as a data set that others can train on: its rows in several layouts, and the order in which they were taken.

    messages/train.parquet            conversations, as trainers that apply the chat template themselves want them
    prompt_completion/train.parquet   the text that the student saw, whole
    tokens/train.parquet              what the trainer saw, row after row in its order: input_ids, labels, update
    updates/train.parquet             which row each update took
    README.md                         the data set's card
    trl/, llamafactory/, ...          how other trainers reproduce the training (configurations.py)

The text and the tokens are those of the training itself: the same template renders them. In memory are a few thousand
rows at a time; the tokens lie in a file of their own until they are put in order.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from mixdistill import resolve
from mixdistill.errors import StoreError
from mixdistill.files import unwritable, write_atomically
from mixdistill.mix import EXAMPLES, UPDATES
from mixdistill.recipe import Recipe
from mixdistill.store import GROUP, Store
from mixdistill.tokens import CLOSE, OPEN, Template
from mixdistill.training.batches import IGNORED, Tokenised
from mixdistill.types import Example, Message, Update

if TYPE_CHECKING:
    import polars as pl

R = TypeVar("R")
LAYOUTS = ("messages", "prompt_completion", "tokens", "updates")
FIELD = "reasoning_content"
"""Of a message: its reasoning, for chat templates that read it there."""
TRIED = 200
"""Rows that decide how a message carries its reasoning."""


class Cell(NamedTuple):
    """One training of a study."""

    student: str
    arm: str
    """With its variant."""
    seed: int

    @property
    def key(self) -> tuple[str, str, str]:
        """Its folder below `mix` and `train`."""
        return self.student, self.arm, str(self.seed)


@dataclass
class Exported:
    """What was written, counted."""

    cell: Cell
    out: Path
    rows: int = 0
    """Of the training set."""
    seen: int = 0
    """Rows that the updates take, repeats included."""
    sizes: list[int] = field(default_factory=list)
    """Rows of every update."""
    padded: int = 0
    """Tokens of the largest update, were all its rows padded to its longest."""
    longest: int = 0
    """Tokens of the longest row, prompt included."""
    loss_tokens: int = 0
    by_teacher: dict[str, int] = field(default_factory=dict)
    """Rows that the updates take of each teacher."""
    in_field: bool = False
    """Whether the messages carry reasoning in a field of its own; else it stands in their content, within tags."""
    rendered_alike: int = 0
    """Rows whose messages give the text of the training when the student's chat template renders them."""
    tokenised_alike: int = 0
    """Rows whose prompt and completion give the same tokens when they are tokenised as one text."""
    cut: int = 0
    """Rows of which the training saw the beginning alone (`overlong: truncate`)."""

    @property
    def updates(self) -> int:
        return len(self.sizes)


def write(recipe: Recipe, store: Store, cell: Cell, out: Path) -> Exported:
    """Write every layout of a cell's training set under `out`. Raises StoreError where the cell was not mixed yet."""
    folder = store.folder("mix", *cell.key)
    if store.marker(folder) is None:
        raise StoreError(
            f"{store.root}: mix/{'/'.join(cell.key)} is not there, so there is nothing to export; carry out mixdistill "
            "mix first"
        )
    spec = recipe.students[cell.student]
    template = Template.load(resolve.model_path(spec.model), chat_template_kwargs=spec.chat_template_kwargs)
    done = Exported(cell, out)
    with tempfile.TemporaryDirectory(dir=_made(out), prefix=".tokens.") as beside, Tokens(Path(beside) / "ids") as ids:
        limit = recipe.train_of(cell.student, cell.arm).max_length
        layouts = Layouts(template, _in_field(template, store.rows(folder, Example, EXAMPLES)), limit, done)
        teachers = _write_rows(store.rows(folder, Example, EXAMPLES), layouts, ids, out, Path(beside))
        order = [(u.update, u.example) for u in store.rows(folder, Update, UPDATES)]
        _count(done, ids, order, teachers)
        _write_parquet(out / "tokens" / "train.parquet", _in_order(ids, order), Path(beside))
    _copy(folder / f"{UPDATES}.parquet", out / "updates" / "train.parquet")
    return done


def _made(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise unwritable(out, e) from e
    return out


@dataclass
class Layouts:
    """One row in every layout."""

    template: Template
    in_field: bool
    max_length: int
    done: Exported

    def __post_init__(self) -> None:
        self.done.in_field = self.in_field

    def message_row(self, number: int, e: Example) -> dict[str, Any]:
        """As a conversation."""
        turns = messages(e, in_field=self.in_field)
        self.done.rendered_alike += rendered_alike(self.template, e, turns)
        kwargs = self.template.chat_template_kwargs
        return {"messages": turns} | ({"chat_template_kwargs": kwargs} if kwargs else {}) | _origin(number, e)

    def text_row(self, number: int, e: Example) -> dict[str, Any]:
        """As the text of the training."""
        prompt = self.template.prompt_text(e.prompt)
        return {"prompt": prompt, "completion": self.template.completion_text(e.reasoning, e.content)} | _origin(
            number, e
        )

    def tokens(self, e: Example, text: dict[str, Any]) -> Tokenised:
        """As the trainer got them: a row that is too long is there only where the study cuts such."""
        row = Tokenised(*self.template.render(e.prompt, e.reasoning, e.content))
        joint = self.template.encode(text["prompt"] + text["completion"])
        self.done.tokenised_alike += joint == row.prompt + row.completion
        self.done.cut += row.length > self.max_length
        return row.cut(self.max_length)


def _origin(number: int, e: Example) -> dict[str, Any]:
    return {"example": number, "problem_id": e.problem_id, "trace_id": e.trace_id, "teacher": e.teacher}


def messages(e: Example, *, in_field: bool) -> list[dict[str, Any]]:
    """A row as turns; the last one is the assistant's. Its reasoning is in a field of its own or within think tags."""
    asked = [Message(role="user", content=e.prompt)] if isinstance(e.prompt, str) else e.prompt
    turns: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in asked]
    reasoning = e.reasoning.strip()
    if in_field:
        turns = [t | {FIELD: None} for t in turns]
        return [*turns, {"role": "assistant", "content": e.content, FIELD: reasoning or None}]
    return [*turns, {"role": "assistant", "content": (f"{OPEN}{reasoning}{CLOSE}" if reasoning else "") + e.content}]


def rendered_alike(template: Template, e: Example, turns: list[dict[str, Any]]) -> bool:
    """Whether the chat template makes of the messages what the student was trained on, but for white space that it
    writes after the stop token."""
    wanted = template.prompt_text(e.prompt) + template.completion_text(e.reasoning, e.content)
    turns = [{k: v for k, v in t.items() if v is not None} for t in turns]
    try:
        text = template.tokenizer.apply_chat_template(turns, tokenize=False, **template.chat_template_kwargs)
    except Exception:  # a template refuses what it does not know in its own words
        return False
    return isinstance(text, str) and text.startswith(wanted) and not text[len(wanted) :].strip()


def _in_field(template: Template, examples: Iterable[Example]) -> bool:
    """Whether as many of the first rows with reasoning come out right with it in a field of its own as within tags."""
    with_reasoning = (e for e in examples if e.reasoning.strip())
    first = list(islice(with_reasoning, TRIED))
    alike = [sum(rendered_alike(template, e, messages(e, in_field=f)) for e in first) for f in (False, True)]
    return bool(alike[True]) and alike[True] >= alike[False]


class Tokens:
    """Rows of tokens in a file, read back by number. In memory are their places alone."""

    def __init__(self, path: Path):
        self.path, self.places, self.prompts = path, array("q", [0]), array("l")
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Tokens:
        self._file = open(self.path, "w+b")
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._file
        self._file.close()

    def __len__(self) -> int:
        return len(self.prompts)

    def add(self, prompt: Sequence[int], completion: Sequence[int]) -> None:
        """One more row."""
        assert self._file
        array("i", [*prompt, *completion]).tofile(self._file)
        self.places.append(self.places[-1] + len(prompt) + len(completion))
        self.prompts.append(len(prompt))

    def length(self, number: int) -> int:
        """Tokens of a row."""
        return self.places[number + 1] - self.places[number]

    def row(self, number: int) -> tuple[list[int], list[int]]:
        """(input_ids, labels) of a row."""
        assert self._file
        ids = array("i")
        self._file.seek(self.places[number] * ids.itemsize)
        ids.fromfile(self._file, self.length(number))
        start = self.prompts[number]
        return list(ids), [IGNORED] * start + list(ids[start:])


def _write_rows(examples: Iterable[Example], layouts: Layouts, ids: Tokens, out: Path, beside: Path) -> list[str]:
    """Both layouts of text, and the tokens; the teacher of every row."""
    teachers: list[str] = []
    parts: dict[str, list[Path]] = {"messages": [], "prompt_completion": []}
    for some in _groups(examples):
        numbered = list(enumerate(some, len(teachers)))
        texts = [layouts.text_row(n, e) for n, e in numbered]
        for (_, e), text in zip(numbered, texts, strict=True):
            ids.add(*layouts.tokens(e, text))
        talks = [layouts.message_row(n, e) for n, e in numbered]
        for name, rows in (("messages", talks), ("prompt_completion", texts)):
            parts[name].append(_part(beside, rows))
        teachers += [e.teacher for e in some]
    for name, files in parts.items():
        _join(files, out / name / "train.parquet")
    return teachers


def _count(done: Exported, ids: Tokens, order: Sequence[tuple[int, int]], teachers: Sequence[str]) -> None:
    longest_of: dict[int, int] = {}
    done.rows, done.seen = len(ids), len(order)
    for update, example in order:
        if update == len(done.sizes):
            done.sizes.append(0)
        done.sizes[update] += 1
        longest_of[update] = max(longest_of.get(update, 0), ids.length(example))
        done.loss_tokens += ids.length(example) - ids.prompts[example]
        done.by_teacher[teachers[example]] = done.by_teacher.get(teachers[example], 0) + 1
    done.longest = max(longest_of.values(), default=0)
    done.padded = max((n * longest_of[u] for u, n in enumerate(done.sizes)), default=0)


def _in_order(ids: Tokens, order: Sequence[tuple[int, int]]) -> Iterator[list[dict[str, Any]]]:
    for some in _groups(order):
        rows = [(update, example, *ids.row(example)) for update, example in some]
        yield [{"update": u, "example": e, "input_ids": i, "labels": labels} for u, e, i, labels in rows]


def _groups(rows: Iterable[R]) -> Iterator[list[R]]:
    left = iter(rows)
    while some := list(islice(left, GROUP)):
        yield some


def tokens_alone(out: Path, to: Path) -> None:
    """The tokens in their order once more, with the columns that trainers of ready-made tokens insist on, and no
    others."""
    import polars as pl

    tokens = pl.scan_parquet(out / "tokens" / "train.parquet", glob=False)
    mask = pl.col("input_ids").list.eval(pl.element() * 0 + 1).alias("attention_mask")
    _sink(tokens.select("input_ids", mask, "labels"), to)


# -- Parquet ----------------------------------------------------------------------------------------------------------


def _write_parquet(path: Path, parts: Iterable[list[dict[str, Any]]], beside: Path) -> None:
    _join([_part(beside, rows) for rows in parts], path)


def _part(beside: Path, rows: list[dict[str, Any]]) -> Path:
    """Some rows as a table of their own."""
    import polars as pl

    path = beside / f"{len(list(beside.iterdir()))}.parquet"
    frame = pl.DataFrame(rows, infer_schema_length=None, schema_overrides=_types(rows[0]))
    try:
        frame.write_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as e:  # polars words a full disk as an error of the format
        raise unwritable(path.parent.parent, e) from e
    return path


def _types(row: dict[str, Any]) -> dict[str, Any]:
    """Columns whose type the values alone do not tell."""
    import polars as pl

    found: dict[str, Any] = {name: pl.List(pl.Int32) for name in ("input_ids", "labels") if name in row}
    if "messages" in row:
        found["messages"] = pl.List(pl.Struct(dict.fromkeys(row["messages"][0], pl.String)))
    return found


def _join(parts: Sequence[Path], path: Path) -> None:
    import polars as pl

    _sink(pl.scan_parquet(list(parts), glob=False), path)
    for part in parts:
        part.unlink()


def _sink(table: pl.LazyFrame, path: Path) -> None:
    import polars as pl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.sink_parquet(path, compression="zstd", row_group_size=GROUP)
    except (OSError, pl.exceptions.PolarsError) as e:
        raise unwritable(path, e) from e


def _copy(source: Path, to: Path) -> None:
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to)
    except OSError as e:
        raise unwritable(to, e) from e


def write_text(path: Path, text: str) -> None:
    """A text of ours in the export, without anything that came out of the environment."""
    write_atomically(path, resolve.redacted(text).encode())


# -- to the hub -------------------------------------------------------------------------------------------------------


def push(out: Path, repo: str) -> str:
    """Upload an exported folder as a private data set; its address. The token is the environment's, or of an earlier
    login on this machine. Raises StoreError where the hub does not take it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        address = api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(folder_path=out, repo_id=repo, repo_type="dataset", commit_message="Export by mixdistill")
    except (HfHubHTTPError, OSError, ValueError) as e:
        why = resolve.redacted(str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__)
        raise StoreError(
            f"{repo}: not uploaded ({_without_token(why)}); it is in {out}; set HF_TOKEN to a token that may write "
            "there, and check the network"
        ) from None
    return str(address)


def _without_token(text: str) -> str:
    token = os.environ.get("HF_TOKEN")
    return text.replace(token, "${HF_TOKEN}") if token else text


def facts(done: Exported) -> dict[str, Any]:
    """What was written, for programs."""
    plain = {k: v for k, v in vars(done).items() if k not in ("cell", "out", "sizes", "padded")}
    return {**done.cell._asdict(), "out": str(done.out), "updates": done.updates, **json.loads(json.dumps(plain))}
