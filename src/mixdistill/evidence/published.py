"""The numbers of a publication beside the measured ones, as the recipe's `published` lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixdistill.errors import did_you_mean
from mixdistill.evidence.details import Published
from mixdistill.sections import Published as Given
from mixdistill.types import Interval

if TYPE_CHECKING:
    from mixdistill.evidence.gaps import Cells
    from mixdistill.evidence.stats import Scores
    from mixdistill.recipe import Recipe


def published(recipe: Recipe, correct: Cells) -> list[Published]:
    """A row for every number, in the recipe's order. `correct`: as the reading that counts has it; answers are those at
    the generation's own limit, arms those of the declared budget."""
    return [_row(recipe, correct, given) for given in recipe.published]


def _row(recipe: Recipe, correct: Cells, given: Given) -> Published:
    measured, checkpoints, data, n = _measured(recipe, correct, given) or (None, None, None, "")
    return Published(
        label=f"{given.arm or given.contrast} of {given.student}, {given.benchmark or 'mean over benchmarks'}",
        source=given.source,
        published=given.points / 100,
        measured=measured,
        checkpoints=checkpoints,
        data=data,
        n=n,
    )


def _measured(
    recipe: Recipe, correct: Cells, given: Given
) -> tuple[float, Interval | None, Interval | None, str] | None:
    """(what was measured, its interval of these checkpoints, that of this data, what on); None where an arm was not
    scored on every benchmark."""
    from mixdistill.evidence import averages, stats

    benchmarks = [given.benchmark] if given.benchmark else [b for b in recipe.problems.eval if not _guards(recipe, b)]
    pairs = [(given.arm, "")] if given.arm else recipe.pairs(given.contrast or "")
    arms = list(dict.fromkeys(arm for pair in pairs for arm in pair if arm))
    scores = {(arm, b): _scores(correct, given.student, arm, b) for arm in arms for b in benchmarks}
    seeds = _common(list(scores.values()))
    if not all(scores.values()) or not seeds:
        return None
    kept = {key: {s: v for s, v in by_seed.items() if s in seeds or s is None} for key, by_seed in scores.items()}
    weight = 1 / len(benchmarks)
    problems = sum(len(next(iter(kept[arms[0], b].values()))) for b in benchmarks)
    trained = "" if seeds == {None} else f"{len(seeds)} seed{'s' * (len(seeds) > 1)}, "
    n = f"{trained}{problems:,} problems"
    if given.arm:
        mean = averages.mean_interval([(weight, stats.matrix(kept[given.arm, b])) for b in benchmarks])
        return mean.mean, mean.checkpoints, mean.data, n
    estimates = {
        other: averages.gap([(weight, stats.paired(kept[arm, b], kept[other, b])) for b in benchmarks])
        for arm, other in pairs
    }
    _, gap = stats.beats_each(estimates)
    return gap.delta, gap.checkpoints, gap.data, n


def _guards(recipe: Recipe, benchmark: str) -> bool:
    return benchmark in recipe.problems.guards


def _scores(correct: Cells, student: str, arm: str, benchmark: str) -> Scores:
    """Seed -> problem -> score of one arm, at the generation's own limit."""
    return {
        seed: by_cap[None]
        for (s, a, seed, b), by_cap in correct.items()
        if (s, a, b) == (student, arm, benchmark) and None in by_cap
    }


def _common(scores: list[Scores]) -> set[int | None]:
    """Seeds that all have; the untuned student's only one, None, goes with every seed of the others."""
    trained = [set(by_seed) for by_seed in scores if set(by_seed) != {None}]
    return set.intersection(*trained) if trained else {None}


def findings(recipe: Recipe) -> list[str]:
    """What is wrong with the names in `published`, one line each."""
    found = []
    for at, given in enumerate(recipe.published):
        where = f"published.{at}"
        if (given.arm is None) == (given.contrast is None):
            found.append(
                f"{where}: is either an arm's or a contrast's (got arm={given.arm}, contrast={given.contrast})"
            )
        known = {
            "student": recipe.students,
            "arm": [*recipe.arms, "base"],
            "contrast": recipe.contrasts,
            "benchmark": recipe.problems.eval,
        }
        for key, names in known.items():
            name = getattr(given, key)
            if name is not None and name not in names:
                found.append(f"{where}.{key}: '{name}' is no {key}{did_you_mean(name, names)}")
    return found
