"""What a student wrote, token by token, under its untuned self: how likely that would have been to write it.

The untuned student reads prompt and completion as they stand, and every token gets its rank among all that it could
have put there (arXiv 2502.12143, figure 8). Nothing is sampled and nothing graded: it is a forward pass over some
traces of an evaluation, and what is ranked already is not ranked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mixdistill import resolve
from mixdistill.arms import BASE
from mixdistill.backends.decoding import cache_name
from mixdistill.backends.engines import make_room
from mixdistill.backends.transformers import load
from mixdistill.errors import MixdistillError, StageError, Stopped, StoreError, said
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.students import Answered, Asked, backend_options
from mixdistill.tokens import Template
from mixdistill.types import Ranked, Trace, content_hash
from mixdistill.units import drawn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TABLE = "ranks"
OPTION = "style"
LOGITS = 2**28
"""Logits in memory at once: 1 GiB in float32. A long row is read in parts."""


class Row(NamedTuple):
    """Token ids of one trace."""

    prompt: list[int]
    completion: list[int]

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt) + len(self.completion)


class _Wanted(NamedTuple):
    trace: Trace
    row: Row
    follows: str
    """As in `Ranked`."""


def options(recipe: Recipe, cell: Sequence[str], benchmark: str) -> dict[str, int]:
    """What of `evaluate.style` is an evaluation's: of the primary benchmark, of the untuned student and of every arm's
    first seed. Others have no such option, and stay what they are whatever it says."""
    student, arm, *seed = cell
    wanted = benchmark == recipe.deciding_benchmark
    first = arm == BASE or (arm in recipe.arms and int(seed[0]) == recipe.seeds_of(student)[0])
    return {OPTION: recipe.evaluate.style} if wanted and first and recipe.evaluate.style else {}


def or_why_not(
    recipe: Recipe, store: Store, asked: Asked, answered: Answered, traces: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """(as `tables`, nothing) or (nothing, why not, as a fact): an evaluation that is sampled and graded is not lost to
    what is measured of it besides. Raises StoreError where it cannot be written, such as on a full disk: the next run
    goes on."""
    try:
        return tables(recipe, store, asked, answered, traces), {}
    except (Stopped, StoreError):
        raise
    except (MixdistillError, OSError, MemoryError, RuntimeError, ValueError) as e:
        if unwritable := store.unwritable(asked.folder, e):
            raise unwritable from e
        store.set_aside(asked.folder / f"{TABLE}.parquet")  # it may be of other answers
        return {}, {OPTION: said(e, 300)}


def tables(recipe: Recipe, store: Store, asked: Asked, answered: Answered, traces: int) -> dict[str, Any]:
    """Rank the tokens of so many of the traces, the first sample of problems drawn by their ids: the same ones in every
    arm. Seals them in the evaluation's folder; nothing where none are wanted."""
    if not traces:
        return {}
    wanted = list(_wanted(recipe, asked, answered, traces))
    follows = {w.trace.id: w.follows for w in wanted}
    kept = [*store.read(asked.folder, Ranked, TABLE), *store.journal(asked.folder, Ranked, TABLE)]
    known = {r.trace_id: r for r in kept if r.follows == follows.get(r.trace_id)}
    missing = [w for w in wanted if w.trace.id not in known]
    if missing:
        known |= {r.trace_id: r for r in _ranked(recipe, store, asked, answered.template, missing)}
    return {TABLE: store.seal(asked.folder, Ranked, [known[w.trace.id] for w in wanted], TABLE)}


def _wanted(recipe: Recipe, asked: Asked, answered: Answered, traces: int) -> Iterator[_Wanted]:
    problems = {p.id: p for p in asked.problems}
    chosen, template = frozenset(drawn(tuple(problems), traces)), answered.template
    model = resolve.model_fingerprint(recipe.students[asked.student].model)
    for trace in answered.traces:
        if trace.problem_id in chosen and trace.sample == 0 and trace.error is None:
            row = Row(template.prompt_ids(asked.prompt(problems[trace.problem_id])), _completion(trace, template))
            if row.completion:
                yield _Wanted(trace, row, content_hash(model, _dtype(recipe, asked), str(row)))


def _completion(trace: Trace, template: Template) -> list[int]:
    """The very tokens of a trace where they are known, else as the template would write them."""
    if trace.token_ids is not None:
        return trace.token_ids
    text = template.completion_text(trace.reasoning, trace.content)
    return template.encode(text if trace.finish_reason == "stop" else text.removesuffix(template.stop_text))


def _dtype(recipe: Recipe, asked: Asked) -> str:
    """As the untuned student is sampled."""
    return backend_options(recipe, asked.student)["dtype"]


def _ranked(
    recipe: Recipe, store: Store, asked: Asked, template: Template, wanted: Sequence[_Wanted]
) -> Iterator[Ranked]:
    """Of each, journaled as they are found. Raises StageError when memory runs out."""
    folder = resolve.model_path(recipe.students[asked.student].model)
    make_room(3 * sum(p.stat().st_size for p in Path(folder).glob("*.safetensors")) + 4 * LOGITS)
    model = load(folder, _dtype(recipe, asked))
    import torch  # not before the model is loaded, which says what to install where it is missing

    together = recipe.train_of(asked.student).micro_batch_tokens
    rows = [w.row for w in wanted]
    try:
        with store.appending(asked.folder, TABLE) as append:
            for i, ranks in rank(model, rows, tokens=together, pad_id=template.pad_id):
                trace, row, follows = wanted[i]
                pieces = template.pieces(row.completion)
                found = Ranked(
                    trace_id=trace.id, problem_id=trace.problem_id, follows=follows, tokens=pieces, ranks=ranks
                )
                append(found)
                yield found
    except torch.OutOfMemoryError as e:
        raise StageError(
            f"{asked.label}: out of memory while its tokens are ranked under the untuned student; lower "
            "train.micro_batch_tokens, or set evaluate.style to 0"
        ) from e


def rank(model: PreTrainedModel, rows: Sequence[Row], *, tokens: int, pad_id: int) -> Iterator[tuple[int, list[int]]]:
    """(number of a row, rank of each token of its completion), the longest rows first.

    `tokens` are in a forward pass at most, padding included, but for a row that is longer. A token's rank is one more
    than there are tokens with a higher logit: of equal ones all have the best. Raises StageError for logits that are no
    numbers.
    """
    order = sorted(range(len(rows)), key=lambda i: (-rows[i].length, i))
    while order:
        size = max(1, tokens // rows[order[0]].length)
        batch, order = order[:size], order[size:]
        yield from zip(batch, _ranks(model, [rows[i] for i in batch], pad_id), strict=True)


def _ranks(model: PreTrainedModel, rows: Sequence[Row], pad_id: int) -> list[list[int]]:
    """Of rows read together. They are padded behind their end, where no token of theirs looks."""
    import torch

    longest = max(row.length for row in rows)
    padded = [[*row.prompt, *row.completion, *[pad_id] * (longest - row.length)] for row in rows]
    ids, found = torch.tensor(padded, device=model.device), torch.ones(len(rows), longest, dtype=torch.long)
    at_once = max(1, LOGITS // (len(rows) * model.config.get_text_config(decoder=True).vocab_size))
    name, cache = cache_name(model), None
    with torch.inference_mode():
        for start in range(0, longest - 1, at_once):
            end = min(start + at_once, longest - 1)
            out = model(input_ids=ids[:, start:end], use_cache=True, **{name: cache})
            cache = out[name]
            own = out.logits.gather(-1, ids[:, start + 1 : end + 1, None])
            if own.isnan().any():
                raise StageError("ranks: the untuned student gives numbers that are not numbers; load it in float32")
            found[:, start + 1 : end + 1] = 1 + (out.logits > own).sum(-1)
    return [found[i, len(row.prompt) : row.length].tolist() for i, row in enumerate(rows)]
