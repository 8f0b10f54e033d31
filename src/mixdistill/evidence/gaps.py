"""Which samples were correct -> every accuracy and every gap, with intervals and verdicts. Reads no run folder.

Gaps are computed under every reading of the answers, and under every budget that the arms were trained under. A verdict
of the reading and the budget that count is withdrawn where the sign turns under another reading, beyond noise, and
where it is not the same under another budget.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mixdistill.arms import called, of_variant
from mixdistill.evaluate import ALL
from mixdistill.evidence import averages, stats, verdicts
from mixdistill.evidence.details import AverageGap
from mixdistill.evidence.looks import Paid, next_price
from mixdistill.evidence.rows import ArmAccuracy
from mixdistill.evidence.verdicts import CANNOT_TELL
from mixdistill.evidence.views import Levels, View, averaged, views
from mixdistill.recipe import AVERAGE, BASE, EACH_PURE, OVER_BASE, Recipe
from mixdistill.types import Gap, Interval, Rule, Score, content_hash

Cells = dict[tuple[str, str, int | None, str], dict[int | None, dict[str, float]]]
"""(student, arm, seed, benchmark) -> token cap -> problem id -> share of its samples that are correct."""
Readings = Mapping[Rule, Cells]
"""How answers are read -> what is correct then. The reading that counts comes first."""
Key = tuple[str, str, str, int | None, str]
"""Contrast, student, benchmark, token cap, group."""
UNITS = ("examples", "loss_tokens")
"""Variants that hold the budget in another unit; the others take other problems."""


class Under(NamedTuple):
    """What gaps are computed under."""

    rule: Rule
    """How answers are read."""
    variant: str = ""
    """The budget of the arms: "" as declared, else an entry of `budget.also`."""


Against = Mapping[Under, Mapping[Key, Mapping[str, stats.Estimate]]]
"""Another reading or budget -> comparison -> its estimates, by the declared names of the arms it is held against."""


Pay = Callable[[str, str], Paid]
"""(student, hash of the scores) -> what looking at them costs."""
Absent = Collection[tuple[str, str, str]]
"""(student, arm, benchmark) of which an evaluation that is to come is not there."""


@dataclass(frozen=True)
class _Comparison:
    """A contrast of one student in one view, before a verdict is given."""

    name: str
    student: str
    view: View
    primary: bool
    variant: str
    arm: str
    each: bool
    """Whether the arm is held against every pure arm, as a blend is, and not against one that the contrast names."""
    scores: dict[str, list[stats.Scores]]
    """Of the arm, and of those it is held against: part by part of the view, with the seeds that all parts have."""
    estimates: dict[str, stats.Estimate]
    """Arm it is held against -> how far it is ahead."""
    unfinished: bool
    """Whether more of it is to come, so that nobody should have a verdict, or pay for a look, yet."""

    @property
    def key(self) -> Key:
        """What it has in common with the same comparison under another reading or budget."""
        return self.name, self.student, self.view.benchmark, self.view.max_tokens, self.view.group

    @property
    def looked_at(self) -> bool:
        """Whether a verdict is possible, so that looking at it has a price."""
        wanting = self.view.few or self.unfinished
        return self.primary and not wanting and all(e.p is not None for e in self.estimates.values())

    @property
    def hash(self) -> str:
        """Of the scores, whichever arm is named first."""
        rows = [[{str(seed): sorted(v.items()) for seed, v in s.items()} for s in of] for of in self.scores.values()]
        return content_hash(*sorted(json.dumps(of, sort_keys=True) for of in rows))


def gaps(
    recipe: Recipe, readings: Readings, levels: Levels, pay: Pay | None = None, absent: Absent = ()
) -> dict[Under, list[Gap]]:
    """Every contrast, and every arm against the untuned student, in every view that both arms were scored in, guards
    aside: under the reading and budget that count, then under every other reading, then under every other budget.

    The primary contrast of every student makes the family of Holm's adjustment, under each reading one; its verdicts
    need the adjusted p. Under another budget nothing is primary. With `pay`, p is first multiplied by what this look
    at the primary contrast costs. While some of what the primary contrast is about is `absent`, or a way of asking an
    untuned student that an arm is held against, there is no verdict, and no look.
    """
    counting = next(iter(readings))
    ways = [*map(Under, readings), *(Under(counting, variant) for variant in recipe.variants[1:])]
    found = {way: list(_comparisons(recipe, readings[way.rule], levels, way.variant, absent)) for way in ways}
    against = {way: {c.key: _by_declared_name(c.estimates) for c in found[way]} for way in ways[1:]}
    looks = {c.student: pay(c.student, c.hash) for c in found[ways[0]] if pay and c.looked_at}
    return {
        way: _of_reading(recipe, way, comparisons, looks, {} if way in against else against)
        for way, comparisons in found.items()
    }


def _by_declared_name(estimates: Mapping[str, stats.Estimate]) -> dict[str, stats.Estimate]:
    return {of_variant(arm, ""): e for arm, e in estimates.items()}


def _of_reading(
    recipe: Recipe, way: Under, comparisons: list[_Comparison], looks: Mapping[str, Paid], against: Against
) -> list[Gap]:
    family = [c for c in comparisons if c.primary]
    times = [looks[c.student].times if c.student in looks else 1.0 for c in family]
    paid = [stats.paid(stats.beats_each(c.estimates)[1].p, t) for c, t in zip(family, times, strict=True)]
    adjusted = iter(stats.holm(paid))
    return [
        _gap(
            recipe, way, c, next(adjusted) if c.primary else None, looks.get(c.student) if c.primary else None, against
        )
        for c in comparisons
    ]


class _Asked(NamedTuple):
    """A contrast whose arms are of one budget."""

    name: str
    variant: str
    arm: str
    others: list[str]
    """Those that it is held against, `base` in the place of every way in which the untuned student was asked."""
    each: bool


def _asked(recipe: Recipe, variant: str) -> Iterator[_Asked]:
    """The recipe's contrasts, then every arm, in every mode, against the untuned student where no contrast is that: a
    verdict that pays for looks must not stand beside the same one unpaid."""
    declared = set()
    for name, (_, b) in recipe.contrasts.items():
        if pairs := recipe.pairs(name, variant):
            declared |= {frozenset(pair) for pair in pairs}
            yield _Asked(name, variant, pairs[0][0], [other for _, other in pairs], b == EACH_PURE)
    for mode in (mode for arm in recipe.arms for mode in recipe.modes(arm)):
        arm = of_variant(mode, variant)
        if frozenset((arm, BASE)) not in declared:
            yield _Asked(f"{mode}{OVER_BASE}", variant, arm, [BASE], each=False)


def _comparisons(recipe: Recipe, correct: Cells, levels: Levels, variant: str, absent: Absent) -> Iterator[_Comparison]:
    looked_at = [view for view in views(recipe, levels) if view.benchmark not in recipe.problems.guards]
    for asked, student, view in itertools.product(_asked(recipe, variant), recipe.students, looked_at):
        if asked.name in recipe.contrasts or view.group == ALL:
            comparison = _compare(recipe, correct, asked, student, view, absent)
            if comparison is not None:
                yield comparison


def _compare(
    recipe: Recipe, correct: Cells, asked: _Asked, student: str, view: View, absent: Absent
) -> _Comparison | None:
    """None where an arm was not scored, or not on a seed of the other."""
    # In other words the untuned student was asked the primary benchmark alone.
    arm, there = asked.arm, {a for s, a, _, b in correct if (s, b) == (student, view.benchmark)}
    bases = [base for base in _bases(correct, student) if base in there or not called(base).wording]
    others = [b for other in asked.others for b in (bases if other == BASE else [other])]
    scores = {a: _scores(correct, student, a, view) for a in (arm, *others)}
    if not others or not all(scores.values()) or not all(_comparable(scores[arm][0], scores[o][0]) for o in others):
        return None
    primary = not asked.variant and _is_primary(recipe, asked.name, view)
    return _Comparison(
        name=asked.name,
        student=student,
        view=view,
        primary=primary,
        variant=asked.variant,
        arm=arm,
        each=asked.each,
        scores=scores,
        estimates={o: _estimate(view, scores[arm], scores[o]) for o in others},
        unfinished=_unfinished(asked, student, view, absent, primary=primary),
    )


def _unfinished(asked: _Asked, student: str, view: View, absent: Absent, *, primary: bool) -> bool:
    """Whether something is to come: a way of asking the untuned student that an arm is held against; of the primary
    contrast, any training of its arms too, under whatever budget, since each of them may turn its verdict."""
    sides, benchmarks = {_plain(arm) for arm in (asked.arm, *asked.others)}, {part.benchmark for part in view.parts}
    awaited = {_plain(arm) for s, arm, benchmark in absent if s == student and benchmark in benchmarks}
    return bool(awaited & (sides if primary else sides & {BASE}))


def _estimate(view: View, a: list[stats.Scores], b: list[stats.Scores]) -> stats.Estimate:
    weights = [part.weight for part in view.parts]
    return averages.gap([(w, stats.paired(x, y)) for w, x, y in zip(weights, a, b, strict=True)])


def _bases(correct: Cells, student: str) -> list[str]:
    """Every way in which an untuned student was asked: an arm is held against the best of them."""
    return list(dict.fromkeys(a for s, a, *_ in correct if s == student and called(a).arm == BASE))


def _is_primary(recipe: Recipe, contrast: str, view: View) -> bool:
    declared = recipe.primary_or_first()
    if declared is None or view.group != ALL:
        return False
    return (declared.contrast, declared.benchmark, declared.max_tokens) == (contrast, view.benchmark, view.max_tokens)


def _gap(recipe: Recipe, way: Under, c: _Comparison, p_holm: float | None, look: Paid | None, against: Against) -> Gap:
    other, e = stats.beats_each(c.estimates)  # of a single arm, its own estimate
    verdict = _verdict(recipe, c, p_holm)
    spent = look is not None and math.isinf(look.times)
    turned_by, depends_on = (
        ([], [])
        if spent or verdict.startswith(CANNOT_TELL)
        else _withdrawn_by(c, verdict, recipe.smallest_gap, against)
    )
    counts = way.rule == recipe.verify.counts and not way.variant
    needed = _needed(recipe, c, e, look) if counts and verdict == CANNOT_TELL else ""
    if turned_by or depends_on:
        verdict = f"{CANNOT_TELL} ({_why(verdict, turned_by, depends_on)})"
    elif look is not None and spent:
        verdict = f"{CANNOT_TELL} (one look was declared, this is look {look.look})"
    elif needed:
        verdict = f"{CANNOT_TELL} (would need {needed})"
    ours, theirs = _common_seeds(c.scores[c.arm], c.scores[other])
    parts = _detectable(recipe, c, e, look)
    return Gap(
        name=c.name,
        variant=c.variant,
        student=c.student,
        benchmark=c.view.benchmark,
        arms=(c.arm, other),
        verifier=recipe.verifier_on(*(part.benchmark for part in c.view.parts)),
        rule=way.rule,
        max_tokens=c.view.max_tokens,
        group=c.view.group,
        primary=c.primary,
        accuracies=(_mean(c.view, ours), _mean(c.view, theirs)),
        delta=e.delta,
        checkpoints=e.checkpoints,
        data=e.data,
        seed_deltas=list(e.seed_deltas),
        df=e.df,
        p=e.p,
        p_holm=p_holm,
        verdict=verdict,
        turned_by=turned_by,
        depends_on=depends_on,
        problems=e.problems,
        seeds=e.seeds,
        detectable=min(1.0, parts.here) if parts else None,
        detectable_endless_problems=min(1.0, parts.endless_problems) if parts else None,
        detectable_endless_seeds=min(1.0, parts.endless_seeds) if parts else None,
        needed=needed,
        scores=c.hash if c.primary else "",
        look=look.look if look else None,
        paid=0.0 if look and math.isinf(look.times) else look.times if look else 1.0,
    )


def _verdict(recipe: Recipe, c: _Comparison, p: float | None) -> str:
    """What the numbers of one comparison alone say, of enough problems."""
    other, e = stats.beats_each(c.estimates)
    smallest = recipe.smallest_gap
    if c.each:
        said = verdicts.verdict_each(_by_declared_name(c.estimates), p, smallest=smallest)
    else:
        # Where the untuned student was asked in several ways, the interval alone does not pay for there being several.
        joint = p if len(c.estimates) == 1 or p is not None else e.p
        said = verdicts.verdict(_plain(c.arm), _plain(other), e, joint, smallest=smallest)
    if c.view.few and e.data is not None:
        return verdicts.FEW
    return verdicts.UNFINISHED if c.unfinished else said


def _detectable(recipe: Recipe, c: _Comparison, e: stats.Estimate, look: Paid | None) -> stats.Detectable | None:
    """What would be found by a test that pays for this look and, as Holm's first step, for every student."""
    times = look.times if look else 1.0
    if e.detectable is None or e.spread is None or math.isinf(times):
        return None
    return stats.detectable(e.spread, stats.ALPHA / (len(recipe.students) * times)) if c.primary else e.detectable


def _needed(recipe: Recipe, c: _Comparison, e: stats.Estimate, look: Paid | None) -> str:
    """What would find a difference worth knowing of: of a whole benchmark, since no other one is planned for. Who looks
    again pays for that look; where one look was declared, it is that of a new study."""
    if c.view.group != ALL or e.components is None or (look and math.isinf(look.times)):
        return ""
    again = next_price(look.look) if look and recipe.looks != "once" else 1
    tests = (len(recipe.students) if c.primary else 1) * again
    return verdicts.needed(e.components, e.seeds, e.problems, recipe.smallest_gap, stats.ALPHA / tests)


def _plain(arm: str) -> str:
    """An arm's name in a verdict: of whatever budget, and the untuned student however it was asked."""
    return BASE if called(arm).arm == BASE else of_variant(arm, "")


def _withdrawn_by(c: _Comparison, verdict: str, smallest: float, against: Against) -> tuple[list[Rule], list[str]]:
    """(readings under which a verdict does not hold, budgets under which it does not)."""
    equal = smallest if verdict.startswith(verdicts.NO_DIFFERENCE) else None
    turns = [way for way in against if _turns(c, against[way].get(c.key, {}), equal, beyond_noise=not way.variant)]
    return [way.rule for way in turns if not way.variant], [way.variant for way in turns if way.variant]


def _turns(c: _Comparison, estimates: Mapping[str, stats.Estimate], equal: float | None, *, beyond_noise: bool) -> bool:
    """Whether what a verdict on `c` says does not hold under another reading or budget: a lead over an arm that is
    behind there, beyond noise. A blend that is ahead must be so of every pure arm; one that is behind, of the arm that
    beats it. Under another budget, which is a training of its own, the bare sign decides, and none is another one.

    Where there is no difference larger than `equal`, there must be none there, with the same allowance for noise.
    """
    other, e = stats.beats_each(c.estimates)
    if equal is not None:
        found = [estimates[other]] if other in estimates else []
        return any(abs(o.delta) - (stats.standard_error(o) if beyond_noise else 0) > equal for o in found)
    side = 1 if e.data is not None and e.data.low > 0 else -1
    found = [estimates[a] for a in (c.estimates if side > 0 else [other]) if a in estimates]
    return any(stats.opposes(o, side) if beyond_noise else side * o.delta <= 0 for o in found)


def _why(verdict: str, turned_by: list[Rule], depends_on: list[str]) -> str:
    """What keeps a verdict from being given: another sign, or, of "no difference", a larger gap."""
    how = "larger" if verdict.startswith(verdicts.NO_DIFFERENCE) else "turns"
    parts = [f"{how} under {' and '.join(turned_by)}"] if turned_by else []
    what = dict.fromkeys("budget" if variant in UNITS else "problems" for variant in depends_on)
    return "; ".join([*parts, *([f"depends on the {' and the '.join(what)}"] if what else [])])


def accuracies(recipe: Recipe, correct: Cells, scores: list[Score], levels: Levels) -> list[ArmAccuracy]:
    """Of every arm that was scored, under every budget and in every mode, in every view; the untuned student first."""
    found = []
    modes = [mode for arm in recipe.trained for mode in recipe.modes(arm)]
    arms = {s: dict.fromkeys([*_bases(correct, s), *modes]) for s in recipe.students}
    rows = [(s, arm, view) for s in recipe.students for arm in arms[s] for view in views(recipe, levels)]
    for student, arm, view in rows:
        by_seed = _scores(correct, student, arm, view)
        if not by_seed:
            continue
        mean = averages.mean_interval([(p.weight, stats.matrix(s)) for p, s in zip(view.parts, by_seed, strict=True)])
        found.append(
            ArmAccuracy(
                student=student,
                arm=arm,
                benchmark=view.benchmark,
                max_tokens=view.max_tokens,
                group=view.group,
                mean=mean.mean,
                bounds=_bounds(scores, student, arm, view),
                checkpoints=mean.checkpoints,
                data=mean.data,
                seeds={n: _mean(view, [{n: s[n]} for s in by_seed]) for n in by_seed[0] if n is not None},
                problems=sum(len(part.problems) for part in view.parts),
            )
        )
    return found


def _bounds(scores: list[Score], student: str, arm: str, view: View) -> Interval | None:
    """Accuracy if every `error` were wrong, and if every one were right; None without errors."""
    low = high = 0.0
    for part in view.parts:
        which = (student, arm, part.benchmark, view.max_tokens, view.group)
        mine = [s for s in scores if (s.student, s.arm, s.benchmark, s.max_tokens, s.group) == which]
        if not mine:
            return None
        errors, examples = sum(s.error for s in mine), sum(s.examples for s in mine)
        bounds = stats.accuracy_bounds(sum(s.correct for s in mine), errors, examples)
        low, high = low + part.weight * bounds.low, high + part.weight * bounds.high
    return Interval(low=low, high=high) if high - low > 1e-12 else None


def average_gaps(recipe: Recipe, gaps: list[Gap], levels: Levels) -> list[AverageGap]:
    """The gaps of the average over benchmarks, uncapped, with what they are an average of."""
    weights = {part.benchmark: part.weight for part in averaged(recipe, levels)}
    left_out = [b for b in recipe.weights_of_benchmarks if b not in weights]
    shared = set(AverageGap.model_fields)
    return [
        AverageGap(weights=weights, left_out=left_out, **g.model_dump(include=shared))
        for g in gaps
        if (g.benchmark, g.max_tokens) == (AVERAGE, None)
    ]


def _scores(correct: Cells, student: str, arm: str, view: View) -> list[stats.Scores]:
    """Of one arm, part by part of the view: seed -> problem -> score. The seeds that all parts have; empty where a part
    was not scored."""
    found = [
        {
            seed: {p: v for p, v in by_cap[view.max_tokens].items() if p in part.problems}
            for (s, a, seed, b), by_cap in correct.items()
            if (s, a, b) == (student, arm, part.benchmark) and view.max_tokens in by_cap
        }
        for part in view.parts
    ]
    common = set.intersection(*(set(scores) for scores in found))
    return [{seed: v for seed, v in scores.items() if seed in common} for scores in found] if common else []


def _comparable(a: stats.Scores, b: stats.Scores) -> bool:
    return None in a or None in b or bool(set(a) & set(b))


def seeds_of_both(ours: set[int | None], theirs: set[int | None]) -> set[int | None]:
    """The seeds that a difference of two arms is over; base, whose one seed is None, is held against every seed."""
    return ours | theirs if None in ours or None in theirs else ours & theirs


def _common_seeds(a: list[stats.Scores], b: list[stats.Scores]) -> tuple[list[stats.Scores], list[stats.Scores]]:
    """Both with the seeds that the gap is over, so that their means differ by it."""
    seeds = seeds_of_both(set(a[0]), set(b[0]))
    return [{s: v for s, v in x.items() if s in seeds} for x in a], [
        {s: v for s, v in x.items() if s in seeds} for x in b
    ]


def _mean(view: View, scores: list[stats.Scores]) -> float:
    """Accuracy over the parts of a view."""
    mean = 0.0
    for part, by_seed in zip(view.parts, scores, strict=True):
        values = [v for by_problem in by_seed.values() for v in by_problem.values()]
        mean += part.weight * sum(values) / len(values)
    return mean
