"""What an arm may draw on: a student's usable traces of every teacher, and the problems that are left.

Everything here is columns; a row is made where somebody asks for one. A problem is known by its *place*, its number
among the training problems.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from mixdistill.analyze import FITS
from mixdistill.collect import TABLE as TRACES
from mixdistill.errors import StageError
from mixdistill.sections import Train
from mixdistill.store import Store
from mixdistill.types import Outcome
from mixdistill.verify import DECISIONS

if TYPE_CHECKING:
    import random

    import numpy as np
    import polars as pl

BINS = 5
"""Levels of difficulty that pass rates are cut into where the problems have none of their own."""


class Candidate(NamedTuple):
    """A trace that may be used for its problem."""

    trace_id: str
    loss_tokens: int
    """Tokens of its completion as the student renders it, stop token included."""


class Pool(Mapping[str, Sequence[Candidate]]):
    """Problem id -> a teacher's usable traces of it, in sample order; at least one each.

    Columns inside: `tokens` [traces] are loss tokens, and the traces of problem i are those from `starts[i]` up to
    `starts[i + 1]`.
    """

    def __init__(self, problems: Any, counts: Any, ids: Any, tokens: Any) -> None:
        import numpy as np
        import polars as pl

        self.problems = pl.Series(problems, dtype=pl.String)
        self.ids = pl.Series(ids, dtype=pl.String)
        self.tokens: np.ndarray = np.asarray(tokens, dtype=np.int64)
        self.starts: np.ndarray = np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))])

    @classmethod
    def of(cls, pool: Mapping[str, Sequence[Candidate]]) -> Pool:
        """Any mapping of that form as columns."""
        if isinstance(pool, Pool):
            return pool
        flat = [c for candidates in pool.values() for c in candidates]
        counts = [len(candidates) for candidates in pool.values()]
        return cls(list(pool), counts, [c.trace_id for c in flat], [c.loss_tokens for c in flat])

    def __getitem__(self, problem: str) -> list[Candidate]:
        start, end = (int(n) for n in self.starts[self._number[problem] :][:2])
        return [*map(Candidate, self.ids[start:end].to_list(), self.tokens[start:end].tolist())]

    def __iter__(self) -> Iterator[str]:
        return iter(self.problems.to_list())

    def __len__(self) -> int:
        return len(self.problems)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {problem: i for i, problem in enumerate(self)}

    @property
    def counts(self) -> np.ndarray:
        """[problems] Traces of each."""
        return self.starts[1:] - self.starts[:-1]

    def mean_tokens(self, times: np.ndarray | None = None) -> float:
        """Mean loss tokens, each problem counting once, or so many times."""
        import numpy as np

        means = np.add.reduceat(self.tokens, self.starts[:-1]) / self.counts if len(self) else np.zeros(1)
        return float(np.average(means, weights=times))


@dataclass(frozen=True)
class Problems:
    """The training problems, in their order."""

    ids: pl.Series
    levels: pl.Series
    """Of each, as the source has it; null where it has none."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Traced:
    """What one teacher's judged traces of the training problems are to a student."""

    usable: pl.DataFrame
    """place, number (of the row in the teacher's table of traces), trace_id, sample, prompt_tokens, loss_tokens and cut
    (the row is longer than is trained on), of the correct traces that an arm may use, by place and sample."""
    dropped: pl.DataFrame
    """place, trace_id, reason and detail of the other correct ones."""
    judged: pl.DataFrame
    """place, right and judged (numbers of traces) of every problem with a judged one."""
    overlong: int
    """Correct traces that are longer than is trained on."""
    longest: int
    """Tokens of the longest row that is otherwise usable, prompt included."""

    def has(self, count: int) -> np.ndarray:
        """[count] Whether there is a usable trace of each problem."""
        import numpy as np

        found = np.zeros(count, dtype=bool)
        found[self.usable["place"].to_numpy()] = True
        return found

    def lacks(self, count: int) -> dict[int, str]:
        """Place -> why there is no usable trace of that problem, of `count`: what most of the correct ones died of,
        else what came before."""
        import numpy as np

        died = self.dropped.group_by("place", "reason", maintain_order=True).len()
        died = died.sort("len", descending=True, maintain_order=True).unique("place", keep="first", maintain_order=True)
        reasons = dict.fromkeys(self.judged["place"].to_list(), "no_correct")
        reasons |= dict(died.select("place", "reason").iter_rows())
        missing = np.flatnonzero(~self.has(count)).tolist()
        return {place: reasons.get(place, "no_trace") for place in missing}


def problems(store: Store) -> Problems:
    """Of a run."""
    frame = store.frame(store.folder("problems"), "train", ["id", "level"])
    return Problems(frame["id"], frame["level"])


def template_of(store: Store, teacher: str, student: str) -> str | None:
    """Fingerprint of a student's template, by which its rows are found in the teacher's table of fits; None where that
    is not there yet."""
    marker = store.marker(store.folder("analyze", teacher)) or {}
    return marker.get("facts", {}).get("templates", {}).get(student)


def traced(store: Store, teacher: str, student: str, known: Problems, train: Train, room: int = 0) -> Traced:
    """A teacher's judged traces through a student's eyes. `room` tokens are kept free for what a prompt is given
    besides, such as a tag."""
    import polars as pl

    frame = _joined(store, teacher, student, known)
    limit = train.max_length - room
    length = pl.col("prompt_tokens") + pl.col("loss_tokens")
    free = pl.col("correct") & pl.col("reason").is_null()
    # Of a row that is cut, the loss needs at least one token to stand on.
    out = (length > limit) if train.overlong != "truncate" else (pl.col("prompt_tokens") >= limit)
    frame = frame.with_columns(over=free & (length > limit), out=free & out).with_columns(
        reason=pl.when("out").then(pl.lit("overlong")).otherwise("reason"),
        detail=pl.when("out").then(pl.format("{} tokens", length)).otherwise("detail"),
    )
    usable = frame.filter(pl.col("correct") & pl.col("reason").is_null()).select(
        "place", "number", "trace_id", "sample", "prompt_tokens",
        pl.when("over").then(limit - pl.col("prompt_tokens")).otherwise("loss_tokens").alias("loss_tokens"),
        pl.col("over").alias("cut"),
    )  # fmt: skip
    return Traced(
        usable=usable,
        dropped=frame.filter("correct", pl.col("reason").is_not_null()).select("place", "trace_id", "reason", "detail"),
        judged=frame.group_by("place", maintain_order=True).agg(
            pl.col("correct").sum().alias("right"), pl.col("judgeable").sum().alias("judged")
        ),
        overlong=int(frame["over"].sum()),
        longest=int(frame.filter(free | pl.col("over")).select(length.max()).item() or 0),
    )


def _joined(store: Store, teacher: str, student: str, known: Problems) -> pl.DataFrame:
    """Fits, outcomes and samples of a teacher's judged traces, by problem and sample."""
    import polars as pl

    fits = store.frame(store.folder("analyze", teacher), FITS).filter(
        pl.col("template") == template_of(store, teacher, student)
    )
    outcomes = store.frame(store.folder("verify", teacher), DECISIONS, ["trace_id", "outcome"])
    samples = store.frame(store.folder("generate", teacher), TRACES, ["id", "sample"]).with_row_index("number")
    places = pl.DataFrame({"problem_id": known.ids, "place": pl.int_range(len(known), eager=True, dtype=pl.UInt32)})
    return (
        fits.join(outcomes, on="trace_id")
        .join(samples, left_on="trace_id", right_on="id")
        .join(places, on="problem_id")
        .with_columns(
            correct=pl.col("outcome") == Outcome.CORRECT.value, judgeable=pl.col("outcome") != Outcome.ERROR.value
        )
        .drop("problem_id", "outcome", "template")
        .sort("place", "sample")
    )


def chosen(usable: pl.DataFrame, places: np.ndarray, choose: str) -> pl.DataFrame:
    """Of the usable traces those of some problems; of each problem all of them, or the shortest or longest one (of
    equal ones the first)."""
    import numpy as np

    mine = usable["place"].to_numpy()
    wanted = np.zeros(max(mine.max(initial=0), places.max(initial=0)) + 1, dtype=bool)
    wanted[places] = True
    kept = usable.filter(wanted[mine])
    if choose == "random":
        return kept
    ranked = kept.sort(["place", "loss_tokens", "sample"], descending=[False, choose == "longest", False])
    return ranked.unique("place", keep="first", maintain_order=True)


def pool(frame: pl.DataFrame, known: Problems) -> Pool:
    """Traces by place as what a mixture draws on."""
    counts = frame.group_by("place", maintain_order=True).len()
    return Pool(known.ids.gather(counts["place"]), counts["len"], frame["trace_id"], frame["loss_tokens"])


def together(teachers: Iterable[Traced], count: int) -> np.ndarray:
    """Places of the problems that every one of these teachers has a usable trace of."""
    import numpy as np

    return np.flatnonzero(np.logical_and.reduce([t.has(count) for t in teachers]))


# -- levels of difficulty ------------------------------------------------------------------------------------------


def pass_rates(teachers: Iterable[Traced]) -> dict[int, float]:
    """Place -> share of right ones among all judged traces of these teachers, 0..1; none where nothing was judged."""
    import polars as pl

    pooled = pl.concat([t.judged for t in teachers]).group_by("place", maintain_order=True).sum()
    return {place: right / judged for place, right, judged in pooled.iter_rows() if judged}


def levels(known: Problems, rates: Mapping[int, float]) -> list[str]:
    """Of every training problem its level, else which fifth of the pass rates it is in (one never judged: the lowest).

    The problems' own levels count where every problem has one.
    """
    if len(known) and not known.levels.null_count():
        return known.levels.to_list()
    fifths = [min(int(rates.get(place, 0.0) * BINS), BINS - 1) for place in range(len(known))]
    return [f"pass rate {n / BINS:g} to {(n + 1) / BINS:g}" for n in fifths]


class Reweighted(NamedTuple):
    """How often the problems that are left stand in a pass."""

    times: list[int]
    """[problems left]"""
    facts: dict[str, Any]
    """Level -> its problems among all, among those left, and its rows in a pass."""


def reweighted(level_of: Sequence[str], places: Iterable[int], rng: random.Random) -> Reweighted:
    """Repeat the problems at `places` such that every level has the share of a pass that it has among all problems.

    The level that is repeated least stands there once. Where a level's rows are no multiple of its problems, the draw
    says which stand there once more. A level without any problem left cannot be reached; the others share its part.
    """
    mine_of = [level_of[p] for p in places]
    everyone, left = Counter(level_of), Counter(mine_of)
    least = min(everyone[level] / n for level, n in left.items())
    rows = {level: round(everyone[level] / least) for level in left}
    times = [rows[level] // left[level] for level in mine_of]
    for level in sorted(left):
        mine = [i for i, of in enumerate(mine_of) if of == level]
        for i in rng.sample(mine, rows[level] % left[level]):
            times[i] += 1
    facts = {
        level: {"problems": n, "left": left[level], "rows": rows.get(level, 0)} for level, n in sorted(everyone.items())
    }
    return Reweighted(times, facts)


def refuse_overlong(student: str, teachers: Mapping[str, Traced], train: Train) -> None:
    """Raises StageError where rows are too long and the recipe says to stop then."""
    found = sum(t.overlong for t in teachers.values())
    if found and train.overlong == "refuse":
        total = found + sum(len(t.usable) for t in teachers.values())
        raise StageError(
            f"mix/{student}: {found:,} of {total:,} accepted traces exceed max_length={train.max_length:,} "
            f"(longest {max(t.longest for t in teachers.values()):,}); "
            "raise train.max_length or set train.overlong: drop"
        )


# -- nothing is left -----------------------------------------------------------------------------------------------

_ADVICE = {
    "no_trace": "its requests failed or its file holds none of these problems; look at its marker under generate",
    "no_correct": "look at its traces with mixdistill show, and check verify and the reference answers "
    "(problems.*.answer, answer_after)",
    "unfinished": "its correct traces did not end by themselves; raise its sampling.max_tokens, or set complete for a "
    "file of finished ones",
    "overlong": "raise train.max_length",
    "special_token": "its traces hold the student's special tokens; take them out",
    "unknown": "its traces hold what the student's tokenizer does not know; take another student, or mend them",
    "think_tag": "its traces hold think tags; take them out",
    "in_evaluation": "its traces hold text of the evaluation problems; look at problems.decontaminate",
}
"""What to do about a teacher without a single trace, by what its problems lack."""


def nothing_left(label: str, needed: Mapping[str, Traced], group: Mapping[str, Traced], count: int) -> str:
    """Which of the teachers `needed` by an arm has nothing to teach, or that no problem of `count` has a usable trace
    of every one, and what to do. `group` are all teachers of the arms that it is compared with."""
    lacking = {t: Counter(traces.lacks(count).values()) for t, traces in needed.items()}
    why = ", ".join(f"{t} {reason} {n:,}" for t, found in lacking.items() for reason, n in found.most_common())
    for teacher, found in lacking.items():
        if found and needed[teacher].usable.is_empty():
            advice = _ADVICE.get(found.most_common(1)[0][0], _ADVICE["no_correct"])
            return f"{label}: no accepted trace of '{teacher}' (problems without one: {why}); {advice}"
    solved = ", ".join(f"{t} {traces.usable['place'].n_unique():,}" for t, traces in needed.items())
    return (
        f"{label}: no problem is left with an accepted trace of every teacher (problems with one: {solved}; without: "
        f"{why}); raise teachers.*.samples, or give the teachers the same problems"
        + (", or set budget.problems: each" if len(needed) == len(group) else "")
    )
