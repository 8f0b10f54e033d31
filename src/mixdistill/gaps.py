"""Which samples were correct -> every accuracy and every gap, with intervals and verdicts. Reads no run folder.

Gaps are computed under every reading of the answers. A verdict of the reading that counts is withdrawn where the sign
turns under another, beyond noise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mixdistill import stats
from mixdistill.evaluate import ALL
from mixdistill.evidence import ArmAccuracy
from mixdistill.recipe import BASE, EACH_PURE, OVER_BASE, Recipe
from mixdistill.types import Gap, Interval, Rule, Score

Cells = dict[tuple[str, str, int | None, str], dict[int | None, dict[str, float]]]
"""(student, arm, seed, benchmark) -> token cap -> problem id -> share of its samples that are correct."""
Readings = Mapping[Rule, Cells]
"""How answers are read -> what is correct then. The reading that counts comes first."""
Levels = dict[str, dict[str, set[str]]]
"""Benchmark -> group (`all`, and every level) -> problem ids."""
Key = tuple[str, str, str, int | None, str]
"""Contrast, student, benchmark, token cap, group."""
Against = Mapping[Rule, Mapping[Key, Mapping[str, stats.Estimate]]]
"""Another reading -> comparison -> its estimates."""


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
    arm: str
    each: bool
    """Whether the arm is held against every pure arm, as a blend is, and not against one that the contrast names."""
    scores: dict[str, stats.Scores]
    """Of the arm, and of those it is held against."""
    estimates: dict[str, stats.Estimate]
    """Arm it is held against -> how far it is ahead."""

    @property
    def key(self) -> Key:
        """What it has in common with the same comparison under another reading."""
        return self.name, self.student, self.view.benchmark, self.view.max_tokens, self.view.group


def gaps(recipe: Recipe, readings: Readings, levels: Levels) -> dict[Rule, list[Gap]]:
    """Every contrast, and every arm against the untuned student, in every view that both arms were scored in, under
    every reading; the one that counts first.

    The primary contrast of every student makes the family of Holm's adjustment, under each reading one; its verdicts
    need the adjusted p.
    """
    found = {rule: list(_comparisons(recipe, correct, levels)) for rule, correct in readings.items()}
    counting, *others = found
    against = {rule: {c.key: c.estimates for c in found[rule]} for rule in others}
    return {
        rule: _of_reading(recipe, rule, comparisons, against if rule == counting else {})
        for rule, comparisons in found.items()
    }


def _of_reading(recipe: Recipe, rule: Rule, comparisons: list[_Comparison], against: Against) -> list[Gap]:
    adjusted = iter(stats.holm([stats.beats_each(c.estimates)[1].p for c in comparisons if c.primary]))
    return [_gap(c, recipe.verify.name, rule, next(adjusted) if c.primary else None, against) for c in comparisons]


def _comparisons(recipe: Recipe, correct: Cells, levels: Levels) -> Iterator[_Comparison]:
    over_base = {f"{arm}{OVER_BASE}": (arm, BASE) for arm in recipe.arms}
    for (name, pair), student, view in itertools.product(
        {**recipe.contrasts, **over_base}.items(), recipe.students, _views(recipe, levels)
    ):
        if name in over_base and view.group != ALL:
            continue
        comparison = _compare(recipe, correct, name, pair, student, view)
        if comparison is not None:
            yield comparison


def _compare(
    recipe: Recipe, correct: Cells, name: str, pair: tuple[str, str], student: str, view: View
) -> _Comparison | None:
    """None where an arm was not scored, or not on a seed of the other."""
    arm, other = pair
    others = recipe.pure_arms(arm) if other == EACH_PURE else [other]
    scores = {a: _scores(correct, student, a, view) for a in (arm, *others)}
    if not all(scores.values()) or not all(_comparable(scores[arm], scores[o]) for o in others):
        return None
    return _Comparison(
        name=name,
        student=student,
        view=view,
        primary=_is_primary(recipe, name, view),
        arm=arm,
        each=other == EACH_PURE,
        scores=scores,
        estimates={o: stats.gap(stats.paired(scores[arm], scores[o])) for o in others},
    )


def _is_primary(recipe: Recipe, contrast: str, view: View) -> bool:
    declared = recipe.primary_or_first()
    if declared is None or view.group != ALL:
        return False
    return (declared.contrast, declared.benchmark, declared.max_tokens) == (contrast, view.benchmark, view.max_tokens)


def _gap(c: _Comparison, verifier: str, rule: Rule, p_holm: float | None, against: Against) -> Gap:
    other, e = stats.beats_each(c.estimates)  # of a single arm, its own estimate
    verdict = stats.verdict_each(c.estimates, p_holm) if c.each else stats.verdict(c.arm, other, e, p_holm)
    is_open = verdict.startswith(stats.CANNOT_TELL)
    turned_by = [r for r in against if not is_open and _turns(c, against[r].get(c.key, {}))]
    if turned_by:
        verdict = f"{stats.CANNOT_TELL} (turns under {' and '.join(turned_by)})"
    ours, theirs = _common_seeds(c.scores[c.arm], c.scores[other])
    return Gap(
        name=c.name,
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
        problems=e.problems,
        seeds=e.seeds,
        detectable=min(1.0, e.detectable.here) if e.detectable else None,
    )


def _turns(c: _Comparison, estimates: Mapping[str, stats.Estimate]) -> bool:
    """Whether what a verdict on `c` says does not hold under another reading: a lead over an arm that is behind there,
    beyond noise. A blend that is ahead must be so of every pure arm; one that is behind, of the arm that beats it.
    """
    other, e = stats.beats_each(c.estimates)
    ahead = e.data is not None and e.data.low > 0
    arms = c.estimates if ahead else [other]
    return any(stats.opposes(estimates[a], 1 if ahead else -1) for a in arms if a in estimates)


def accuracies(recipe: Recipe, correct: Cells, scores: list[Score], levels: Levels) -> list[ArmAccuracy]:
    """Of every arm that was scored, the untuned student's first, in every view."""
    found = []
    for student, arm, view in itertools.product(recipe.students, [BASE, *recipe.arms], _views(recipe, levels)):
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
    caps = (None, *recipe.evaluate.caps)
    return [View(b, cap, group, ids) for b in levels for cap in caps for group, ids in levels[b].items()]


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
