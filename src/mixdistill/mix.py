"""Stage 4: matched training sets. Arms that are compared get the same problems, order and number of updates.

What an arm may draw on is in pools.py, which trace each row takes in mixtures.py, which rows each update takes in
schedule.py, and the texts are joined last, in joining.py. Arms linked by contrasts form a group; with `shared` problems
the group keeps those that every one of its teachers has a usable trace of, so that a row dropped in one arm leaves all
of them. A seed then draws, the same way in every arm: which problems of a blend go to which teacher, which of a
teacher's traces is taken, and the order. No draw depends on the name of an arm or teacher.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mixdistill import prompts, resolve
from mixdistill.analyze import FITS
from mixdistill.arms import called
from mixdistill.collect import TABLE as TRACES
from mixdistill.errors import StageError
from mixdistill.mixing import joining, pools
from mixdistill.mixing.group import Group, function, read, read_by, sizes_of
from mixdistill.mixing.schedule import Schedule, schedule
from mixdistill.recipe import Recipe
from mixdistill.sections import Arm, Budget
from mixdistill.store import Store
from mixdistill.types import Drop, Example, Origin, Update, content_hash
from mixdistill.units import Done, Unit
from mixdistill.verify import DECISIONS

if TYPE_CHECKING:
    import polars as pl

VERSION = "4"
EXAMPLES, UPDATES, DROPPED, MANIFEST = "examples", "updates", "dropped", "manifest"
COUNTING = "count"
"""Names the draw by which a pass of an arm is measured: one of its own, so that every seed takes as many updates."""
READS = {
    "generate": (TRACES, ["id", "sample", "reasoning", "content"]),
    "analyze": (FITS, ["trace_id", "problem_id", "template", "prompt_tokens", "loss_tokens", "reason", "detail"]),
    "verify": (DECISIONS, ["trace_id", "outcome"]),
}
"""Stage -> table and columns that are read of each teacher."""


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per cell: student, arm, seed."""
    found = []
    mixtures = {arm: _mixture(recipe.arm(arm)) for arm in recipe.arms}
    groups: dict[tuple[str, ...], tuple[str, list[str]]] = {}
    problems = {"problems/train": store.content(store.folder("problems"), "train", ["id", "prompt", "level"])}
    for student, arm, seed in recipe.cells():
        group = recipe.group_of(arm)
        if (student, *group) not in groups:
            groups[(student, *group)] = _compared(recipe, group, student, mixtures), read_by(recipe, group, student)
        compared, teachers = groups[(student, *group)]
        budget, train = recipe.budget_of(arm), recipe.train_of(student, arm)
        options = {
            "stage": VERSION,
            "seed": seed,
            **_identity(recipe, arm, student, mixtures[called(arm).arm][0]),
            "compared": compared,
            "budget": budget.model_dump(exclude={"also"}),
            "declared": _declared(recipe, arm).unit,
            "template": [pools.template_of(store, t, student) for t in teachers],
            "train": train.model_dump(include={"max_length", "overlong", "num_train_epochs"}),
            **prompts.identity(recipe.problems.train.ask),
        }
        inputs = {f"{stage}/{t}": _content(store, stage, t) for t in teachers for stage in READS}
        given = mixtures[called(arm).arm][1]
        key = (student, arm, str(seed))
        found.append(Unit(stage="mix", key=key, options=options, inputs=problems | inputs, given=given))
    return found


def _content(store: Store, stage: str, teacher: str) -> str | None:
    """Hash of what is read of a teacher; None while it is not there, also where an earlier version did not make it."""
    table, columns = READS[stage]
    folder = store.folder(stage, teacher)
    marker = store.marker(folder)
    return None if marker is None or table not in marker["tables"] else store.content(folder, table, columns)


def _identity(recipe: Recipe, arm: str, student: str, mixture: Mapping[str, Any]) -> dict[str, Any]:
    """What an arm is, whatever it is called."""
    spec, weights = recipe.arm(arm), recipe.weights(arm, student)
    return {"weights": dict(sorted(weights.items())), "choose": spec.choose, "tags": spec.tags, **mixture}


def _compared(
    recipe: Recipe, group: Sequence[str], student: str, mixtures: Mapping[str, tuple[dict[str, Any], Any]]
) -> str:
    """Hash of what the arms of a group are, in an order that no name decides."""
    each = [_identity(recipe, arm, student, mixtures[called(arm).arm][0]) for arm in group]
    return content_hash(*sorted(json.dumps(one, sort_keys=True, default=str) for one in each))


def _mixture(arm: Arm) -> tuple[dict[str, Any], dict[str, str]]:
    """(what an arm's mixture adds to an identity, files among its options as they were given)."""
    options, given = resolve.by_content(arm.options, "mixture.")
    return {"mixture": {"name": arm.mixture, "version": resolve.version(function(arm))}, **options}, given


def _declared(recipe: Recipe, arm: str) -> Budget:
    """The budget of an arm under no variant."""
    return recipe.budget_of(called(arm).arm)


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Draw one cell's training set and which of its rows each update takes."""
    student, arm, seed = unit.key
    drawn = draw(recipe, store, student, arm, int(seed))
    return Done(counts=drawn.counts, tables=drawn.write(store, store.folder("mix", *unit.key)), facts=drawn.facts)


@dataclass(frozen=True)
class Drawn:
    """A training set, without its texts."""

    rows: pl.DataFrame
    """Its examples, in the order of the problems: problem_id, place (of the problem), teacher, trace_id, number
    (of the row in the teacher's table), sample, prompt_tokens, loss_tokens, cut, stage, tag."""
    schedule: Schedule
    """Which of them each update takes."""
    dropped: pl.DataFrame
    """Traces and problems that could have been used and are not, with the columns of `Drop`."""
    facts: dict[str, Any]
    counts: dict[str, int]
    ask: str | None = None
    """The template around every prompt."""

    @property
    def ids(self) -> list[str]:
        """Trace of every example."""
        return self.rows["trace_id"].to_list()

    def examples(self, store: Store) -> Iterator[pl.DataFrame]:
        """The examples with their texts, as tables with the columns of `Example`; few rows are in memory."""
        return joining.examples(self.rows, store, self.ask)

    def write(self, store: Store, folder: Path) -> dict[str, Any]:
        """Seal the four tables in a folder. Returns what a marker says of them."""
        return {
            EXAMPLES: store.seal_frames(folder, Example, self.examples(store), EXAMPLES),
            UPDATES: store.seal_frames(folder, Update, [self.schedule.frame], UPDATES),
            DROPPED: store.seal_frames(folder, Drop, [self.dropped], DROPPED),
            MANIFEST: store.seal_frames(folder, Origin, [self._manifest()], MANIFEST),
        }

    def _manifest(self) -> pl.DataFrame:
        import polars as pl

        return self.rows.with_columns(
            pl.int_range(pl.len()).alias("example"), pl.Series("updates", self.schedule.takes(len(self.rows)))
        ).select(*Origin.model_fields)


def draw(recipe: Recipe, store: Store, student: str, arm: str, seed: int, *, alone: bool = False) -> Drawn:
    """The training set of a cell.

    `alone`: of all problems that any of the arm's own teachers solved, and as many updates as these give, whatever arms
    it is compared with. Raises StageError where there is nothing to draw, or too little for one update.
    """
    label = f"mix/{student}/{arm}/{seed}"
    group = read(recipe, store, student, arm, [arm] if alone else recipe.group_of(arm), label, everything=alone)
    places = group.places(arm)
    if not len(places):
        raise StageError(pools.nothing_left(label, group.needed(arm), group.traced, len(group.known)))
    rows, times = group.a_pass(arm, group.budget.unit, str(seed))
    amount = _amount(recipe, group, arm)
    taken = schedule(
        sizes_of(rows, group.budget.unit),
        updates=amount.updates,
        per_update=amount.per_update,
        rng=random.Random(f"order {seed}"),
        stages=rows["stage"].to_numpy() if rows["stage"].max() != rows["stage"].min() else None,
        times=times,
        problems=rows["place"].to_numpy(),
        of=len(group.known),
    )
    dropped = _dropped(group, arm)
    if alone:  # a problem that one teacher lacks has a row of another
        dropped = dropped.filter(
            ~(dropped["trace_id"].is_null() & dropped["problem_id"].is_in(rows["problem_id"].implode()))
        )
    facts = {
        "problems": rows["place"].n_unique() if alone else len(places),
        "unit": group.budget.unit,
        "variant": called(arm).variant,
        "per_update": amount.per_update,
        "weights": recipe.weights(arm, student),
        **_facts(rows, taken),
        **({"updates_declared": amount.declared} if amount.declared is not None else {}),
        **({"levels": group.levels(places)} if group.budget.problems == "reweighted" and not alone else {}),
    }
    # Traces and problems are counted apart: the two add up to nothing.
    reasons = dropped.select("reason", dropped["trace_id"].is_null().alias("problem")).iter_rows()
    counts = Counter(f"problems_{reason}" if problem else reason for reason, problem in reasons)
    return Drawn(
        rows, taken, dropped, facts, {"problems_left": facts["problems"], **counts}, ask=recipe.problems.train.ask
    )


class _Amount(NamedTuple):
    """How much an arm is trained on."""

    updates: int
    per_update: int
    declared: int | None = None
    """Updates that the declared budget gives, where this one follows from it."""


def _amount(recipe: Recipe, group: Group, arm: str) -> _Amount:
    """Updates of every arm of the group: passes over the arm with the fewest units.

    It depends on the group alone, never on the arm: arms with problems of their own still get the same number. Of a
    variant in the other unit, `per_update` is such that there are as many updates as the declared budget gives, and at
    least the longest row. Raises StageError where an update could not hold a row, or there are too few rows for one.
    """
    budget, passes = group.budget, recipe.train_of(group.student, arm).num_train_epochs
    declared = _declared(recipe, arm).unit
    units, per_update, wanted = _leanest(group, budget.unit) * passes, budget.per_update, None
    if declared != budget.unit:
        wanted = _enough(group, _leanest(group, declared) * passes, per_update, declared)
        per_update = max(1, int(units / wanted))
    if budget.unit == "loss_tokens":
        longest = _longest(group)
        if longest > per_update and wanted is None:
            raise StageError(
                f"{group.label}: a row has more loss tokens than an update (got {longest:,}, "
                f"budget.per_update={per_update:,}); raise budget.per_update"
            )
        if longest > units and wanted is not None:
            raise StageError(
                f"{group.label}: too small for one update (got {units:,.0f} loss tokens in all passes, and the longest "
                f"row has {longest:,}); raise teachers.*.samples or train.num_train_epochs, or leave loss_tokens out "
                "of budget.also"
            )
        per_update = max(per_update, longest)
    updates = _enough(group, units, per_update, budget.unit)
    return _Amount(updates if wanted is None else min(updates, wanted), per_update, wanted)


def _enough(group: Group, units: float, per_update: int, unit: str) -> int:
    if units < per_update:
        raise StageError(
            f"{group.label}: too small for one update (got {units:,.0f} {unit.replace('_', ' ')} in all passes, "
            f"budget.per_update={per_update:,}); lower budget.per_update, or raise teachers.*.samples or "
            "train.num_train_epochs"
        )
    return int(units / per_update)


def _leanest(group: Group, unit: str) -> float:
    """Units in a pass of the arm of the group that has the fewest. One without any problem fails by itself."""
    return min(group.units_in_a_pass(arm, unit, COUNTING) for arm in group.arms if len(group.places(arm)))


def _longest(group: Group) -> int:
    """Loss tokens of the longest row that an arm of the group could have."""
    longest = (frame["loss_tokens"].max() for arm in group.arms for frame in group.candidates(arm).values())
    return max(int(n) for n in longest if isinstance(n, int))


def _dropped(group: Group, arm: str) -> pl.DataFrame:
    """Problems that left, with who lacks a trace, and then the correct traces that nobody may use."""
    import polars as pl

    lacking = [
        (place, n, None, teacher, reason, "")
        for n, (teacher, traces) in enumerate(group.needed(arm).items())
        for place, reason in traces.lacks(len(group.known)).items()
    ]
    texts = dict.fromkeys(("trace_id", "teacher", "reason", "detail"), pl.String)
    schema = {"place": pl.UInt32, "n": pl.Int64, **texts}
    left = pl.DataFrame(lacking, schema=schema, orient="row").sort("place", "n").drop("n")
    traces = [t.dropped.with_columns(teacher=pl.lit(name)) for name, t in group.traced.items()]
    whole = pl.concat([left, *(t.select(left.columns) for t in traces)])
    return whole.with_columns(problem_id=group.known.ids.gather(whole["place"])).select(*Drop.model_fields)


def _facts(rows: pl.DataFrame, taken: Schedule) -> dict[str, Any]:
    """What an arm is made of, over the rows that the updates really take, in both units."""
    import polars as pl

    seen = rows.with_columns(times=pl.Series(taken.takes(len(rows)))).filter(pl.col("times") > 0)
    tokens = pl.col("times") * pl.col("loss_tokens")
    by_teacher = seen.group_by("teacher").agg(pl.col("times").sum().alias("n"), tokens.sum().alias("tokens"))
    by_teacher = by_teacher.with_columns(pl.col("teacher").cast(pl.String)).sort("teacher")
    examples, loss_tokens = int(by_teacher["n"].sum()), int(by_teacher["tokens"].sum())
    return {
        "updates": len(taken.ends),
        "examples": examples,
        "epochs": examples / len(rows),
        "loss_tokens": loss_tokens,
        "distinct_problems": seen["place"].n_unique(),
        "distinct_traces": seen["trace_id"].n_unique(),
        "truncated_rows": int(seen["cut"].sum()),
        "share_examples": {t: n / examples for t, n, _ in by_teacher.iter_rows()},
        "share_loss_tokens": {t: n / loss_tokens for t, _, n in by_teacher.iter_rows()},
    }
