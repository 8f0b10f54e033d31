"""Which samples were correct -> every accuracy and every gap, with intervals and verdicts. Reads no run folder.

Gaps are computed under every reading of the answers, and under every budget that the arms were trained under. A verdict
of the reading and the budget that count is withdrawn where the sign turns under another reading, beyond noise, and
where it is not the same under another budget.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mixdistill.arms import called, of_variant
from mixdistill.evaluate import ALL
from mixdistill.evidence import stats
from mixdistill.evidence.rows import ArmAccuracy
from mixdistill.recipe import BASE, EACH_PURE, OVER_BASE, Recipe
from mixdistill.types import Gap, Interval, Rule, Score

Cells = dict[tuple[str, str, int | None, str], dict[int | None, dict[str, float]]]
"""(student, arm, seed, benchmark) -> token cap -> problem id -> share of its samples that are correct."""
Readings = Mapping[Rule, Cells]
"""How answers are read -> what is correct then. The reading that counts comes first."""
Levels = dict[str, dict[str, set[str]]]
"""Benchmark -> group (`all`, every level, every subject) -> problem ids."""
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


class View(NamedTuple):
    """What one number is about: some problems of a benchmark, at one token cap."""

    benchmark: str
    max_tokens: int | None
    """None: the generation's own limit."""
    group: str
    problems: set[str]


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
    scores: dict[str, stats.Scores]
    """Of the arm, and of those it is held against."""
    estimates: dict[str, stats.Estimate]
    """Arm it is held against -> how far it is ahead."""

    @property
    def key(self) -> Key:
        """What it has in common with the same comparison under another reading or budget."""
        return self.name, self.student, self.view.benchmark, self.view.max_tokens, self.view.group


def gaps(recipe: Recipe, readings: Readings, levels: Levels) -> dict[Under, list[Gap]]:
    """Every contrast, and every arm against the untuned student, in every view that both arms were scored in, guards
    aside: under the reading and budget that count, then under every other reading, then under every other budget.

    The primary contrast of every student makes the family of Holm's adjustment, under each reading one; its verdicts
    need the adjusted p. Under another budget nothing is primary.
    """
    counting = next(iter(readings))
    ways = [*map(Under, readings), *(Under(counting, variant) for variant in recipe.variants[1:])]
    found = {way: list(_comparisons(recipe, readings[way.rule], levels, way.variant)) for way in ways}
    against = {way: {c.key: _by_declared_name(c.estimates) for c in found[way]} for way in ways[1:]}
    return {
        way: _of_reading(recipe, way.rule, comparisons, {} if way in against else against)
        for way, comparisons in found.items()
    }


def _by_declared_name(estimates: Mapping[str, stats.Estimate]) -> dict[str, stats.Estimate]:
    return {of_variant(arm, ""): e for arm, e in estimates.items()}


def _of_reading(recipe: Recipe, rule: Rule, comparisons: list[_Comparison], against: Against) -> list[Gap]:
    adjusted = iter(stats.holm([stats.beats_each(c.estimates)[1].p for c in comparisons if c.primary]))
    names = {benchmark: recipe.on(benchmark).verify.name for benchmark in recipe.problems.eval}
    return [_gap(c, names[c.view.benchmark], rule, next(adjusted) if c.primary else None, against) for c in comparisons]


class _Asked(NamedTuple):
    """A contrast whose arms are of one budget."""

    name: str
    variant: str
    arm: str
    others: list[str]
    """Those that it is held against, `base` in the place of every way in which the untuned student was asked."""
    each: bool


def _asked(recipe: Recipe, variant: str) -> Iterator[_Asked]:
    """The recipe's contrasts, then every arm, in every mode, against the untuned student."""
    for name, (_, b) in recipe.contrasts.items():
        if pairs := recipe.pairs(name, variant):
            yield _Asked(name, variant, pairs[0][0], [other for _, other in pairs], b == EACH_PURE)
    for mode in (mode for arm in recipe.arms for mode in recipe.modes(arm)):
        yield _Asked(f"{mode}{OVER_BASE}", variant, of_variant(mode, variant), [BASE], each=False)


def _comparisons(recipe: Recipe, correct: Cells, levels: Levels, variant: str) -> Iterator[_Comparison]:
    views = [view for view in _views(recipe, levels) if view.benchmark not in recipe.problems.guards]
    for asked, student, view in itertools.product(_asked(recipe, variant), recipe.students, views):
        if asked.name in recipe.contrasts or view.group == ALL:
            comparison = _compare(recipe, correct, asked, student, view)
            if comparison is not None:
                yield comparison


def _compare(recipe: Recipe, correct: Cells, asked: _Asked, student: str, view: View) -> _Comparison | None:
    """None where an arm was not scored, or not on a seed of the other."""
    arm, bases = asked.arm, _bases(correct, student)
    others = [b for other in asked.others for b in (bases if other == BASE else [other])]
    scores = {a: _scores(correct, student, a, view) for a in (arm, *others)}
    if not others or not all(scores.values()) or not all(_comparable(scores[arm], scores[o]) for o in others):
        return None
    return _Comparison(
        name=asked.name,
        student=student,
        view=view,
        primary=not asked.variant and _is_primary(recipe, asked.name, view),
        variant=asked.variant,
        arm=arm,
        each=asked.each,
        scores=scores,
        estimates={o: stats.gap(stats.paired(scores[arm], scores[o])) for o in others},
    )


def _bases(correct: Cells, student: str) -> list[str]:
    """Every way in which an untuned student was asked: an arm is held against the best of them."""
    return list(dict.fromkeys(a for s, a, *_ in correct if s == student and called(a).arm == BASE))


def _is_primary(recipe: Recipe, contrast: str, view: View) -> bool:
    declared = recipe.primary_or_first()
    if declared is None or view.group != ALL:
        return False
    return (declared.contrast, declared.benchmark, declared.max_tokens) == (contrast, view.benchmark, view.max_tokens)


def _gap(c: _Comparison, verifier: str, rule: Rule, p_holm: float | None, against: Against) -> Gap:
    other, e = stats.beats_each(c.estimates)  # of a single arm, its own estimate
    if c.each:
        verdict = stats.verdict_each(_by_declared_name(c.estimates), p_holm)
    else:
        verdict = stats.verdict(_plain(c.arm), _plain(other), e, p_holm)
    turned_by, depends_on = ([], []) if verdict.startswith(stats.CANNOT_TELL) else _withdrawn_by(c, against)
    if turned_by or depends_on:
        verdict = f"{stats.CANNOT_TELL} ({_why(turned_by, depends_on)})"
    ours, theirs = _common_seeds(c.scores[c.arm], c.scores[other])
    return Gap(
        name=c.name,
        variant=c.variant,
        student=c.student,
        benchmark=c.view.benchmark,
        arms=(c.arm, other),
        verifier=verifier,
        rule=rule,
        max_tokens=c.view.max_tokens,
        group=c.view.group,
        primary=c.primary,
        accuracies=(_mean(ours), _mean(theirs)),
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
        detectable=min(1.0, e.detectable.here) if e.detectable else None,
    )


def _plain(arm: str) -> str:
    """An arm's name in a verdict: of whatever budget, and the untuned student however it was asked."""
    return BASE if called(arm).arm == BASE else of_variant(arm, "")


def _withdrawn_by(c: _Comparison, against: Against) -> tuple[list[Rule], list[str]]:
    """(readings under which the sign of a comparison turns, budgets under which it is not the same)."""
    turns = [way for way in against if _turns(c, against[way].get(c.key, {}), beyond_noise=not way.variant)]
    return [way.rule for way in turns if not way.variant], [way.variant for way in turns if way.variant]


def _turns(c: _Comparison, estimates: Mapping[str, stats.Estimate], *, beyond_noise: bool) -> bool:
    """Whether what a verdict on `c` says does not hold under another reading or budget: a lead over an arm that is
    behind there, beyond noise. A blend that is ahead must be so of every pure arm; one that is behind, of the arm that
    beats it. Under another budget, which is a training of its own, the bare sign decides, and none is another one.
    """
    other, e = stats.beats_each(c.estimates)
    side = 1 if e.data is not None and e.data.low > 0 else -1
    found = [estimates[a] for a in (c.estimates if side > 0 else [other]) if a in estimates]
    return any(stats.opposes(e, side) if beyond_noise else side * e.delta <= 0 for e in found)


def _why(turned_by: list[Rule], depends_on: list[str]) -> str:
    """What keeps a verdict from being given."""
    parts = [f"turns under {' and '.join(turned_by)}"] if turned_by else []
    what = dict.fromkeys("budget" if variant in UNITS else "problems" for variant in depends_on)
    return "; ".join([*parts, *([f"depends on the {' and the '.join(what)}"] if what else [])])


def accuracies(recipe: Recipe, correct: Cells, scores: list[Score], levels: Levels) -> list[ArmAccuracy]:
    """Of every arm that was scored, under every budget and in every mode, in every view; the untuned student first."""
    found = []
    modes = [mode for arm in recipe.trained for mode in recipe.modes(arm)]
    arms = {s: dict.fromkeys([*_bases(correct, s), *modes]) for s in recipe.students}
    rows = [(s, arm, view) for s in recipe.students for arm in arms[s] for view in _views(recipe, levels)]
    for student, arm, view in rows:
        by_seed = _scores(correct, student, arm, view)
        if not by_seed:
            continue
        mean = stats.mean_interval(stats.matrix(by_seed))
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
                seeds={seed: _mean({seed: v}) for seed, v in by_seed.items() if seed is not None},
                problems=len(view.problems),
            )
        )
    return found


def _bounds(scores: list[Score], student: str, arm: str, view: View) -> Interval | None:
    """Accuracy if every `error` were wrong, and if every one were right; None without errors."""
    which = (student, arm, view.benchmark, view.max_tokens, view.group)
    mine = [s for s in scores if (s.student, s.arm, s.benchmark, s.max_tokens, s.group) == which]
    errors = sum(s.error for s in mine)
    if not errors:
        return None
    return stats.accuracy_bounds(sum(s.correct for s in mine), errors, sum(s.examples for s in mine))


def _views(recipe: Recipe, levels: Levels) -> list[View]:
    """Everything that is looked at."""
    caps = {b: (None, *recipe.on(b).evaluate.caps) for b in levels}
    return [View(b, cap, group, ids) for b in levels for cap in caps[b] for group, ids in levels[b].items()]


def _scores(correct: Cells, student: str, arm: str, view: View) -> stats.Scores:
    """Seed -> problem -> score of one arm."""
    return {
        seed: {p: v for p, v in by_cap[view.max_tokens].items() if p in view.problems}
        for (s, a, seed, b), by_cap in correct.items()
        if (s, a, b) == (student, arm, view.benchmark) and view.max_tokens in by_cap
    }


def _comparable(a: stats.Scores, b: stats.Scores) -> bool:
    return None in a or None in b or bool(set(a) & set(b))


def _common_seeds(a: stats.Scores, b: stats.Scores) -> tuple[stats.Scores, stats.Scores]:
    """Both with the seeds that the gap is over, so that their means differ by it; base is held against every seed."""
    seeds = set(a) | set(b) if None in a or None in b else set(a) & set(b)
    return {s: v for s, v in a.items() if s in seeds}, {s: v for s, v in b.items() if s in seeds}


def _mean(scores: stats.Scores) -> float:
    values = [v for by_problem in scores.values() for v in by_problem.values()]
    return sum(values) / len(values)
