"""What the arms of a group draw on for one student, and what their mixtures yield of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mixdistill import resolve
from mixdistill.arms import SELF, called
from mixdistill.errors import StageError
from mixdistill.mixing import pools
from mixdistill.mixing.mixtures import SUPPLIED
from mixdistill.mixing.pools import Problems, Traced
from mixdistill.recipe import Recipe, self_of
from mixdistill.sections import Arm, Budget
from mixdistill.store import Store

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


def read_by(recipe: Recipe, group: Sequence[str], student: str) -> list[str]:
    """Teachers that a group of arms draws on, or goes by."""
    teachers = recipe.teachers_of(list(group), student)
    own = self_of(student)
    goes_by = any(resolve.takes(function(recipe.arm(a)), "pass_rate") for a in group)
    return [*teachers, own] if goes_by and own not in teachers else teachers


def function(arm: Arm) -> Any:
    return resolve.load(resolve.reference("mixture", arm.mixture))


@dataclass(frozen=True)
class Group:
    """What the arms of a group draw on for one student, under the budget and training settings of one of them."""

    label: str
    recipe: Recipe
    student: str
    budget: Budget
    arms: list[str]
    known: Problems
    traced: dict[str, Traced]
    """Teacher -> its traces, of all the group's in the recipe's order."""
    own: Traced | None
    """The student's own traces, where a mixture goes by them."""
    everything: bool = False
    """Problems that some of an arm's teachers solved, and not all, are used as well."""

    def needed(self, arm: str) -> dict[str, Traced]:
        """Teachers that a problem of an arm must have a usable trace of."""
        each = self.budget.problems == "each"
        mine = self.recipe.teachers_of([arm], self.student) if each else list(self.traced)
        return {t: self.traced[t] for t in mine}

    def places(self, arm: str) -> np.ndarray:
        """Places of the problems that an arm has rows of."""
        return pools.together(self.needed(arm).values(), len(self.known))

    def candidates(self, arm: str) -> dict[str, pl.DataFrame]:
        """Teacher -> the traces that an arm may take."""
        places, choose = self.places(arm), self.recipe.arm(arm).choose
        mine = self.recipe.teachers_of([arm], self.student)
        return {t: pools.chosen(self.traced[t].usable, places, choose) for t in mine}

    def a_pass(self, arm: str, unit: str, seed: str) -> tuple[pl.DataFrame, np.ndarray | None]:
        """(an arm's rows, how often each stands in one pass; None for once)."""
        times = self._times(arm, seed)
        rows = mixed(self, arm, unit, random.Random(f"blend {seed}"), times)
        if self.everything:
            rows = _with_the_rest(self, arm, rows, unit, random.Random(f"rest {seed}"))
        if times is None:
            return rows, None
        import numpy as np

        return rows, times[np.searchsorted(self.places(arm), rows["place"].to_numpy())]

    def _times(self, arm: str, seed: str) -> np.ndarray | None:
        """[problems of the arm] How often each stands in one pass; None for once."""
        import numpy as np

        if self.budget.problems != "reweighted" or self.everything:  # who takes everything makes up for nothing
            return None
        return np.asarray(pools.reweighted(self.level_of, self.places(arm), random.Random(f"times {seed}")).times)

    def units_in_a_pass(self, arm: str, unit: str, seed: str) -> float:
        """How much a pass of an arm is, in examples or loss tokens."""
        if unit == "examples" and self.budget.problems != "reweighted" and not self.everything:
            return float(len(_yielded(self, arm, self.candidates(arm), unit, random.Random(f"blend {seed}"), None)))
        rows, times = self.a_pass(arm, unit, seed)
        sizes = sizes_of(rows, unit)
        return float(sizes.sum() if times is None else (sizes * times).sum())

    def levels(self, places: np.ndarray) -> dict[str, Any]:
        """Level -> its problems, among all and among those at `places`, and its rows in a pass."""
        return pools.reweighted(self.level_of, places, random.Random(0)).facts

    @cached_property
    def rates(self) -> dict[int, float]:
        return pools.pass_rates(self.traced.values())

    @cached_property
    def level_of(self) -> list[str]:
        return pools.levels(self.known, self.rates)

    def supplied(self, name: str, unit: str, times: np.ndarray | None) -> Any:
        """What a mixture is given where it asks for it by keyword."""
        if name == "unit":
            return unit
        if name == "times":
            return times
        wrong = name == "difficulty"
        rates = self.rates if wrong else pools.pass_rates([self.own] if self.own else [])
        problems = self.known.ids.gather(list(rates)).to_list()
        return {p: 1 - rate if wrong else rate for p, rate in zip(problems, rates.values(), strict=True)}


def read(
    recipe: Recipe, store: Store, student: str, arm: str, group: list[str], label: str, *, everything: bool = False
) -> Group:
    """Read what a group of arms draws on.

    Raises StageError where rows are too long and the recipe says to stop, and where the arm draws on a student that
    solved nothing; the other arms of its group then go on without those that do.
    """
    train, known, own = recipe.train_of(student, arm), pools.problems(store), self_of(student)
    tags = [tag for a in group for tag in recipe.arm(a).tags.values()]
    room = max((len(f"\n{tag}".encode()) for tag in tags), default=0)  # no tokenizer makes more tokens of it
    teachers = read_by(recipe, group, student)
    traced = {t: pools.traced(store, t, student, known, train, room) for t in teachers}
    if own in traced and traced[own].usable.is_empty():
        if own in recipe.weights(arm, student):
            raise StageError(
                f"{label}: no problem that '{student}' solved itself, so there is no arm '{called(arm).arm}' of it; "
                "raise teachers.self.samples, or leave the arm out"
            )
        group = [a for a in group if own not in recipe.weights(a, student)]
    drawn_on = {t: traced[t] for t in recipe.teachers_of(group, student)}
    pools.refuse_overlong(student, drawn_on, train)
    budget = recipe.budget_of(arm)
    return Group(label, recipe, student, budget, group, known, drawn_on, traced.get(own), everything)


def sizes_of(rows: pl.DataFrame, unit: str) -> np.ndarray:
    """[rows] Their sizes in a unit of the budget."""
    import numpy as np

    return np.ones(len(rows), dtype=np.int64) if unit == "examples" else rows["loss_tokens"].to_numpy()


def _yielded(
    group: Group,
    arm: str,
    candidates: dict[str, pl.DataFrame],
    unit: str,
    rng: random.Random,
    times: np.ndarray | None,
) -> list[Any]:
    """What an arm's mixture yields: trace ids, or pairs of them and stages."""
    spec = group.recipe.arm(arm)
    drawn_on = {t: pools.pool(frame, group.known) for t, frame in candidates.items()}
    # Longest traces first, so that a blend does not depend on the order in which the recipe names its teachers.
    drawn_on = dict(sorted(drawn_on.items(), key=lambda pool: -pool[1].mean_tokens()))
    mixture = function(spec)
    asked = {name: group.supplied(name, unit, times) for name in SUPPLIED[1:] if resolve.takes(mixture, name)}
    weights = group.recipe.weights(arm, group.student)
    return list(mixture(drawn_on, weights, rng=rng, **asked, **spec.options))


def mixed(group: Group, arm: str, unit: str, rng: random.Random, times: np.ndarray | None) -> pl.DataFrame:
    """The rows that an arm's mixture yields, all of them in the pools.

    They are put into the order of the problems, whatever order they came in: the seed's order of rows is then the same
    order of problems in every arm.
    """
    import polars as pl

    spec, candidates = group.recipe.arm(arm), group.candidates(arm)
    yielded = _yielded(group, arm, candidates, unit, rng, times)
    staged = bool(yielded) and not isinstance(yielded[0], str)
    ids, stages = zip(*yielded, strict=True) if staged else (yielded, None)
    named = [frame.with_columns(teacher=pl.lit(t, dtype=pl.Enum(list(candidates)))) for t, frame in candidates.items()]
    rows = pl.DataFrame({"trace_id": pl.Series(ids, dtype=pl.String)})
    rows = rows.with_columns(stage=pl.lit(0) if stages is None else pl.Series(stages, dtype=pl.Int64))
    rows = rows.join(pl.concat(named), on="trace_id", how="left", maintain_order="left")
    strange = rows.filter(pl.col("place").is_null())["trace_id"]
    if len(strange) or not ids:
        got = f"{strange[0]!r}, which is in no pool" if len(strange) else "nothing"
        raise StageError(f"{group.label}: the mixture '{spec.mixture}' must yield trace ids of the pools (got {got})")
    return _named(group, spec, rows.sort("place", maintain_order=True))


def _named(group: Group, spec: Arm, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the problem and the tag that follow from place and teacher."""
    import polars as pl

    tags = {self_of(group.student) if t == SELF else t: tag for t, tag in spec.tags.items()}
    return rows.with_columns(
        problem_id=group.known.ids.gather(rows["place"]),
        tag=pl.col("teacher").cast(pl.String).replace_strict(tags, default="", return_dtype=pl.String),
    )


def _with_the_rest(group: Group, arm: str, rows: pl.DataFrame, unit: str, rng: random.Random) -> pl.DataFrame:
    """The rows, and one of every problem that lacks a trace of some teacher: of the teacher, among those that have one,
    that is furthest below its share so far."""
    import numpy as np
    import polars as pl

    spec, weights = group.recipe.arm(arm), group.recipe.weights(arm, group.student)
    taken = set(group.places(arm).tolist())
    there: dict[int, dict[str, list[int]]] = {}
    frames = {}
    for teacher in sorted(weights, key=lambda t: (-weights[t], t)):
        usable = group.traced[teacher].usable
        places = sorted(set(usable["place"].to_list()) - taken)
        frames[teacher] = pools.chosen(usable, np.asarray(places, dtype=np.int64), spec.choose)
        for row, place in enumerate(frames[teacher]["place"].to_list()):
            there.setdefault(place, {}).setdefault(teacher, []).append(row)
    size = "loss_tokens" if unit == "loss_tokens" else None
    sums = rows.group_by("teacher").agg(pl.col(size).sum() if size else pl.len().alias("n"))
    so_far = dict.fromkeys(weights, 0.0) | {str(t): float(n) for t, n in sums.iter_rows()}
    picked: dict[str, list[int]] = {t: [] for t in weights}
    for _, by_teacher in sorted(there.items()):
        teacher = min(by_teacher, key=lambda t: so_far[t] / weights[t])
        row = rng.choice(by_teacher[teacher])
        so_far[teacher] += frames[teacher]["loss_tokens"][row] if size else 1
        picked[teacher].append(row)
    dtype = rows.schema["teacher"]
    more = [frames[t][picked[t]].with_columns(teacher=pl.lit(t, dtype=dtype), stage=pl.lit(0)) for t in weights]
    whole = pl.concat([rows, *(_named(group, spec, frame).select(rows.columns) for frame in more if len(frame))])
    return whole.sort("place", maintain_order=True)
