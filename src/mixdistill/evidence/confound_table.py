"""The confound table: what the trainings of compared arms came to, row by row, and what of it is not the same.

Every row is there whether it differs or not. `red`: no consequence of the data itself. `note`: a consequence of the
data, or of a rule that is the same for every arm.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mixdistill.arms import called, spoken
from mixdistill.evidence.rows import ConfoundRow, ConfoundTable
from mixdistill.recipe import Recipe
from mixdistill.sections import Budget

Cell = tuple[str, str, int]
"""(student, arm, seed)."""
Trained = dict[Cell, dict[str, Any]]
"""The trainings' markers."""
Place = tuple[int | None, str]
"""(seed, benchmark) at which arms are compared; no benchmark of a training."""
Places = dict[str, dict[Place, set[str]]]
"""Arm -> place -> the values that a setting had there."""
State = Literal["same", "note", "red"]

TOLERANCE = 0.01
"""Relative difference below which two amounts count as equal that only follow from the data."""
ROUNDING = 1e-6
"""The same of learning rates, which are to be equal: what the order of a sum can make of them."""
ABSENT = "not recorded"
MEASURED = {
    "learning_rate", "warmup_ratio", "method", "loss_type", "packing", "attn_implementation", "gradient_checkpointing",
    "bf16", "num_processes", "distributed", "max_length", "overlong", "keep", "num_train_epochs",
}  # fmt: skip
"""Settings whose effect stands in a row of its own, as it was in force."""


def confound_tables(recipe: Recipe, trained: Trained) -> list[ConfoundTable]:
    """One per student and group of compared arms, of those that were trained."""
    found = []
    for student, group in itertools.product(recipe.students, _groups(recipe)):
        mine = {k: m for k, m in trained.items() if k[0] == student and k[1] in group}
        arms = [arm for arm in group if any(k[1] == arm for k in mine)]
        if arms:
            own = {a: own_settings(recipe, a) for a in arms}
            found.append(confound_table(student, arms, mine, budget=common_budget(recipe, arms), own=own))
    return found


def confound_table(
    student: str,
    arms: list[str],
    trained: Trained,
    *,
    budget: Budget,
    own: Mapping[str, str],
    by_seed: bool = True,
    further: Iterable[ConfoundRow] = (),
) -> ConfoundTable:
    """The table of one student's trainings, all of them on these arms; `further` rows are sorted among its own.

    `budget`: what the arms were to have in common. `own`: arm -> the settings that it alone was given, "" for none.
    Without `by_seed`, seeds of the same number have nothing in common, and every training is held against every other.
    """
    rows = [*_Table(student, arms, trained, budget, own, by_seed).rows(), *further]
    rows = sorted(rows, key=lambda row: ("red", "note", "same").index(row.state))
    return ConfoundTable(student=student, variant=called(arms[0]).variant, arms=arms, rows=rows)


def common_budget(recipe: Recipe, arms: list[str]) -> Budget:
    """What arms of one variant were to have in common, without what one of them overrides."""
    plain = next((arm for arm in arms if not recipe.arm(arm).budget), arms[0])
    return recipe.budget_of(plain)


def own_settings(recipe: Recipe, arm: str) -> str:
    """What a recipe gives to one arm alone, as text; "" for nothing."""
    spec = recipe.arm(arm)
    return ", ".join(f"{k} {v}" for part in (spec.train, spec.budget) for k, v in part.items())


def _groups(recipe: Recipe) -> list[list[str]]:
    groups: list[list[str]] = []
    for arm in recipe.trained:
        group = recipe.group_of(arm)
        if group not in groups:
            groups.append(group)
    return groups


@dataclass(frozen=True)
class _Table:
    """Trainings of one student on the arms of one group."""

    student: str
    arms: list[str]
    trained: Trained
    budget: Budget
    """What the arms were to have in common, without what one of them overrides."""
    own: Mapping[str, str]
    """Arm -> the settings that it alone was given."""
    by_seed: bool
    """Whether two trainings are held against each other at the same seed only."""

    @property
    def tuned(self) -> bool:
        """Whether every arm has learning rates of its own by one and the same rule."""
        return all(m["facts"].get("tuned") for m in self.trained.values())

    def rows(self) -> Iterator[ConfoundRow]:
        """Every row, amounts first."""
        yield from self._promised()
        yield from self._followed()
        yield from self._rates()
        yield self._seeds()
        yield from self._settings()
        yield from self._tuning()
        yield self._own_settings()

    # -- amounts ------------------------------------------------------------------------------------------------

    def _promised(self) -> Iterator[ConfoundRow]:
        """Amounts that one budget or the other holds equal."""
        tokens = self.budget.unit == "loss_tokens"
        each = self.budget.problems == "each"
        yield self._amount("updates", "updates", "red", "The arms took different numbers of updates.")
        why = ": the budget holds loss tokens equal, and traces differ in length." if tokens else "."
        text = f"The arms saw different numbers of examples{why}"
        yield self._amount("examples", "examples", "note" if tokens else "red", text)
        why = "." if tokens else ": the budget holds examples equal, and traces differ in length."
        text = f"The arms saw different numbers of loss tokens{why}"
        # The last update ends with the row that reaches the budget, so a total exceeds it by less than the longest row.
        rows = [m["facts"].get("longest_row", self.budget.per_update) for m in self.trained.values()]
        yield self._amount("loss tokens", "loss_tokens", "red" if tokens else "note", text, max(rows, default=0))
        text = "The arms were trained on different numbers of distinct problems."
        yield self._amount("distinct problems", "distinct_problems", "note" if tokens or each else "red", text)

    def _followed(self) -> Iterator[ConfoundRow]:
        """Amounts that follow from the data; and rows that were cut, which never do."""
        text = "The arms went over their rows a different number of times."
        yield self._amount("epochs", "epochs", "note", text, digits=2)
        cut = self._values("truncated")
        red = any(v for vs in cut.values() for v in vs)
        text = "Rows lost their end to the length limit: answer and stop token are gone."
        yield self._row("truncated rows", "red" if red else "same", text, _ranges(cut))
        text = "Tokens that went through the model, prompts and padding included: rows differ in length."
        yield self._amount("positions", "positions", "note", text)
        for teacher in sorted({t for m in self.trained.values() for t in m["facts"].get("teacher_share_mean", {})}):
            yield self._share(teacher)

    def _share(self, teacher: str) -> ConfoundRow:
        """A teacher's share of the loss tokens of an update: its mean and standard deviation over the updates."""
        values = {}
        for arm, facts in self._facts().items():
            mean, sd = ([f.get(name, {}).get(teacher, 0.0) for f in facts] for name in SHARES)
            values[arm] = f"{_range([100 * v for v in mean], 1)} % (sd {_range([100 * v for v in sd], 1)})"
        text = f"What the arms are made of: the share of {teacher} in an update's loss tokens."
        return self._row(f"share of {teacher}", "note" if len(set(values.values())) > 1 else "same", text, values)

    def _rates(self) -> Iterator[ConfoundRow]:
        """Learning rates as the trainer logged them."""
        many = max((len(r) for m in self.trained.values() for r in _tried(m).values()), default=0)
        chosen = f"Each arm has the best of the same {many} learning rates, chosen on dev." if self.tuned else ""
        state: State = "note" if self.tuned else "red"
        text = chosen or "The arms were trained at different peak learning rates."
        yield self._amount("peak learning rate", "peak_learning_rate", state, text, digits=-3)
        text = chosen or "The learning rates of all updates add up to different sums."
        yield self._amount("learning-rate integral", "learning_rate_integral", state, text, digits=-3)
        text = "The arms had different numbers of updates before the peak learning rate."
        yield self._amount("warm-up updates", "warmup_updates", "red", text)

    def _amount(
        self, name: str, fact: str, state: State, text: str, allowed: float | None = None, digits: int = 0
    ) -> ConfoundRow:
        """A number per training; it differs where two of the group do by more than is allowed."""
        values = self._values(fact)
        flat = [v for vs in values.values() for v in vs]
        largest = max((abs(v) for v in flat), default=0)
        if state == "note":
            allowed = TOLERANCE * largest
        elif allowed is None:
            allowed = 0 if digits >= 0 else ROUNDING * largest
        differ = bool(flat) and max(flat) - min(flat) > allowed
        if differ and state == "red" and digits < 0:
            digits = -8  # or two that are called different could look the same
        return self._row(name, state if differ else "same", text, _ranges(values, digits))

    # -- settings -----------------------------------------------------------------------------------------------

    def _seeds(self) -> ConfoundRow:
        seeds = {arm: ", ".join(str(s) for _, a, s in self.trained if a == arm) for arm in self.arms}
        text = "The arms have different seeds; gaps use the common ones only."
        return self._row("seeds", "note" if len(set(seeds.values())) > 1 else "same", text, seeds)

    def _settings(self) -> Iterator[ConfoundRow]:
        """What a training was carried out with: every one must be the same at a seed."""
        for name, of in SETTINGS.items():
            if self.by_seed or name != SEED:
                yield self._same(name, of)
        text = "Every arm has problems of its own." if self.budget.problems == "each" else None
        yield self._same("problems", lambda m: m["facts"].get("problems", ABSENT)[:8], text)
        yield from self._many("train", "other settings", lambda m: m["options"]["train"], MEASURED)
        yield from self._many("version of", "versions", lambda m: m["versions"], set())

    def _many(
        self, prefix: str, rest: str, of: Callable[[dict[str, Any]], dict[str, Any]], known: set[str]
    ) -> Iterator[ConfoundRow]:
        """A row for every setting that differs, and one for all others together."""
        names = sorted({k for m in self.trained.values() for k in of(m)} - known)
        sep = "." if prefix == "train" else " "
        rows = [self._same(f"{prefix}{sep}{name}", lambda m, n=name: of(m).get(n, ABSENT)) for name in names]
        yield from (row for row in rows if row.state != "same")
        same = [n for n, row in zip(names, rows, strict=True) if row.state == "same"]
        shown = dict.fromkeys(self.arms, ", ".join(f"{n} {self._first(of, n)}" for n in same))
        yield self._row(rest, "same", "", shown)

    def _first(self, of: Callable[[dict[str, Any]], dict[str, Any]], name: str) -> Any:
        return of(next(iter(self.trained.values()))).get(name, ABSENT)

    def _same(self, name: str, of: Callable[[dict[str, Any]], Any], note: str | None = None) -> ConfoundRow:
        places: Places = defaultdict(lambda: defaultdict(set))
        for (_, arm, seed), marker in self.trained.items():
            places[arm][(seed if self.by_seed else None, "")].add(_text(of(marker)))
        values = {arm: " and ".join(sorted(set.union(*at.values()))) for arm, at in places.items()}
        state: State = ("note" if note else "red") if differ_somewhere(places) else "same"
        return self._row(name, state, note or f"The arms were not trained with the same {name}.", values)

    def _tuning(self) -> Iterator[ConfoundRow]:
        """Which point of a training is the student, and among which values settings were chosen."""
        rules = {m["options"]["train"].get("keep", "last") for m in self.trained.values()}
        kept = {a: [f.get("kept") for f in facts] for a, facts in self._facts().items()}
        if rules == {"best"}:
            shown, text = _ranges(kept), "The student is another point of the training in each arm: the best on dev."
            yield self._row("kept update", "note" if len(set(shown.values())) > 1 else "same", text, shown)
        else:
            yield self._same("kept update", lambda m: m["options"]["train"].get("keep", "last"))
        yield self._same("tuned values", lambda m: "; ".join(f"{k}: {', '.join(v)}" for k, v in _tried(m).items()))

    def _own_settings(self) -> ConfoundRow:
        """Settings that the recipe gives to one arm alone."""
        own = [arm for arm in self.arms if self.own[arm]]
        text = f"The recipe gives settings of their own to {' and '.join(map(spoken, own))}."
        values = {arm: self.own[arm] or "none" for arm in self.arms}
        return self._row("settings of one arm", "red" if own else "same", text, values)

    # -- values -------------------------------------------------------------------------------------------------

    def _facts(self) -> dict[str, list[dict[str, Any]]]:
        return {arm: [m["facts"] for (_, a, _), m in self.trained.items() if a == arm] for arm in self.arms}

    def _values(self, fact: str) -> dict[str, list[float]]:
        """Arm -> a fact of each of its trainings; without those that do not have it."""
        return {arm: [f[fact] for f in facts if f.get(fact) is not None] for arm, facts in self._facts().items()}

    def _row(self, name: str, state: State, why: str, values: dict[str, str]) -> ConfoundRow:
        return ConfoundRow(name=name, state=state, why="" if state == "same" else why, values=values)


SHARES = ("teacher_share_mean", "teacher_share_sd")


def _processes(marker: dict[str, Any]) -> str:
    how = marker["facts"].get("distributed")
    return f"{_text(marker['facts'].get('num_processes'))}{f' ({how})' if how else ''}"


def _fact(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda marker: marker["facts"].get(name)


SEED = "seed of the trainer"
SETTINGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    SEED: _fact("seed"),
    "method": _fact("method"),
    "loss": _fact("loss_type"),
    "template": _fact("template"),
    "length limit": _fact("max_length"),
    "treatment of long rows": _fact("overlong"),
    "packing": _fact("packing"),
    "attention": _fact("attn_implementation"),
    "gradient checkpointing": _fact("gradient_checkpointing"),
    "precision": _fact("precision"),
    "processes": _processes,
    "device": _fact("device"),
    "untuned weights": lambda marker: marker["options"]["model"],
}
"""Name of a row -> what it holds of a training's marker."""


def differ_somewhere(by_arm: Places) -> bool:
    """Whether two arms differ where they are compared: at one seed, on one benchmark. The untuned student, which has no
    seed, is held against every seed."""
    return any(
        left != right
        for a, b in itertools.combinations(by_arm.values(), 2)
        for (seed_a, benchmark_a), left in a.items()
        for (seed_b, benchmark_b), right in b.items()
        if benchmark_a == benchmark_b and (seed_a == seed_b or None in (seed_a, seed_b))
    )


def _tried(marker: dict[str, Any]) -> dict[str, list[str]]:
    """Setting -> the values that were tried for it."""
    tuned = marker["facts"].get("tuned") or {}
    return {name: [f"{value:g}" for value, *_ in trials] for name, trials in tuned.items()}


def _text(value: Any) -> str:
    if value is None or value == "":
        return ABSENT if value is None else "none"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _ranges(values: dict[str, list[Any]], digits: int = 0) -> dict[str, str]:
    return {arm: _range(vs, digits) for arm, vs in values.items()}


def _range(values: Iterable[float | None], digits: int = 0) -> str:
    """The value that all trainings have, or the lowest and the highest; of so many decimals, or below
    zero of so many digits that count."""
    known = [v for v in values if v is not None]
    if not known:
        return ABSENT
    low, high = (f"{v:.{-digits}g}" if digits < 0 else f"{v:,.{digits}f}" for v in (min(known), max(known)))
    return low if low == high else f"{low} to {high}"
