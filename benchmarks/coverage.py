"""Whether the intervals hold the truth and the verdicts keep their promises: studies whose truth is planted.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py [studies] [intervals looks power averages crossings ...]

A simulated study is a matrix of differences [seeds, problems]. `gaussian`: seeds, problems and noise are normal.
`answers`: right or wrong by a latent logistic model, difficulty shared by both arms. Seed effects `none`, `small`,
`large`: standard deviation 0, .03, .15 of the difference, in `answers` 0, .2, .8 logits of each arm. Lowest and highest
of each row's designs in per cent, with the Monte-Carlo standard error of a share of 95 % (5 %) in so many studies.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np

from mixdistill.evidence import averages, stats
from mixdistill.evidence.crossover import Line
from mixdistill.evidence.looks import price
from mixdistill.evidence.stats import Spread

EFFECTS = {"none": (0.0, 0.0), "small": (0.03, 0.2), "large": (0.15, 0.8)}
"""Name -> standard deviation of the seeds: of a difference, and of an arm in logits."""
SIZES = (40, 100, 300, 1300)
ABILITY, DIFFICULTY, TASTE = (0.3, -0.2), 1.2, 0.6
CELLS = 2_000_000
"""Differences that are in memory at once."""


def gaussian(rng, studies, seeds, problems, sd_seed, sd=(0.3, 0.5)):
    """Differences [studies, seeds, problems] around zero."""
    a = sd_seed * rng.standard_normal((studies, seeds, 1))
    b = sd[0] * rng.standard_normal((studies, 1, problems))
    return a + b + sd[1] * rng.standard_normal((studies, seeds, problems))


def answers(rng, studies, seeds, problems, sd_seed, ability=ABILITY):
    """Differences of two arms' right and wrong answers."""
    shared = DIFFICULTY * rng.standard_normal((studies, 1, problems))
    right = []
    for arm in ability:
        logit = arm + shared + TASTE * rng.standard_normal((studies, 1, problems))
        logit = logit + sd_seed * rng.standard_normal((studies, seeds, 1))
        right.append(rng.random((studies, seeds, problems)) < 1 / (1 + np.exp(-logit)))
    return right[0].astype(float) - right[1]


def expected(sd_seed, ability=ABILITY):
    """The true difference of `answers`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    sd = np.hypot(np.hypot(DIFFICULTY, TASTE), sd_seed)
    means = [(weights / weights.sum() / (1 + np.exp(-(arm + sd * nodes)))).sum() for arm in ability]
    return means[0] - means[1]


def in_parts(studies: int, cells: int, one: Callable[[int], np.ndarray]) -> np.ndarray:
    """What `one` says of so many studies, some at a time."""
    step = max(1, min(studies, CELLS // cells))
    return np.concatenate([one(min(step, studies - i)) for i in range(0, studies, step)])


def both(effect: str) -> Iterator[tuple[str, Callable, float]]:
    """(name, differences of (rng, studies, seeds, problems), truth) of both models."""
    of_gap, of_arm = EFFECTS[effect]
    yield "gaussian", lambda r, n, s, p: gaussian(r, n, s, p, of_gap), 0.0
    yield "answers", lambda r, n, s, p: answers(r, n, s, p, of_arm), expected(of_arm)


def intervals(studies: int) -> None:
    """Coverage of the interval for this data, 95 % nominal; at least 93 % is promised."""
    for seeds in (2, 3, 5, 8):
        for effect in EFFECTS:
            shares = []
            for problems in SIZES:
                for _, draw, truth in both(effect):
                    rng = np.random.default_rng([seeds, problems, len(shares)])

                    def held(n, rng=rng, draw=draw, truth=truth, seeds=seeds, problems=problems):
                        spread = Spread.of(draw(rng, n, seeds, problems))
                        return np.abs(spread.delta - truth) <= spread.half()

                    shares.append(in_parts(studies, seeds * problems, held).mean())
            print(f"intervals  {seeds} seeds, effect {effect:<5}  {span(shares)}", flush=True)


PLANS = ((3, 5, 8), (2, 3, 5, 8), (3, 9), (5, 8, 12), (3, 4, 5, 6, 7, 8))


def looks(studies: int) -> None:
    """How often some look says that an arm helps where none does: unpaid, and as it is paid for."""
    for plan in PLANS:
        for name, sd in {"none": 0.0, "small": 0.03, "large": 0.15, "nothing else": 0.5}.items():
            rng = np.random.default_rng([*plan, int(100 * sd)])

            def said(n, rng=rng, plan=plan, sd=sd):
                d = gaussian(rng, n, max(plan), 100, sd, (0.2, 0.3))
                spreads = [Spread.of(d[:, :seeds]) for seeds in plan]
                paid = [stats.ALPHA / price(i + 1) for i in range(len(plan))]
                return np.array(
                    [
                        np.any([np.abs(s.delta) > s.half(a) for s, a in zip(spreads, levels, strict=True)], axis=0)
                        for levels in ([stats.ALPHA] * len(plan), paid)
                    ]
                ).T

            free, paid = in_parts(studies, max(plan) * 100, said).mean(0)
            print(
                f"looks      at {plan}, effect {name:<12}  unpaid {100 * free:.1f}, paid {100 * paid:.1f}", flush=True
            )


def power(studies: int) -> None:
    """Verdicts on a difference twice as large as the study's typical `detectable`, and how many have its sign."""
    for seeds in (2, 3, 5, 8):
        for effect, (sd, _) in EFFECTS.items():
            found, right = [], []
            for problems in (100, 300):
                rng = np.random.default_rng([seeds, problems])
                some = [stats.gap(d) for d in gaussian(rng, 200, seeds, problems, sd)]
                planted = 2 * float(np.median([e.detectable.here for e in some if e.detectable]))

                def told(n, rng=rng, seeds=seeds, problems=problems, sd=sd, planted=planted):
                    spread = Spread.of(planted + gaussian(rng, n, seeds, problems, sd))
                    return np.sign(spread.delta) * (np.abs(spread.delta) > spread.half(stats.ALPHA / price(1)))

                signs = in_parts(studies, seeds * problems, told)
                found.append(np.mean(signs != 0))
                right.append(np.mean(signs[signs != 0] > 0))
            print(
                f"power      {seeds} seeds, effect {effect:<5}  verdict {span(found)}, right {span(right)}", flush=True
            )


def average(studies: int) -> None:
    """Coverage of the average over three benchmarks of 100, 300 and 600 problems with weights .5, .25, .25. What a seed
    does to one benchmark it does to all (`shared`), or the opposite to the first (`opposed`)."""
    weights, sizes = (0.5, 0.25, 0.25), (100, 300, 600)
    for seeds in (2, 3, 5, 8):
        for effect, (sd, _) in EFFECTS.items():
            for name, signs in (("shared", (1, 1, 1)), ("opposed", (-1, 1, 1))):
                rng, held = np.random.default_rng([seeds, int(100 * sd)]), []
                for _ in range(studies):
                    a = sd * rng.standard_normal((1, seeds, 1))
                    parts = [
                        (w, (sign * a + gaussian(rng, 1, seeds, p, 0.0))[0])
                        for w, sign, p in zip(weights, signs, sizes, strict=True)
                    ]
                    spread = averages.spread(parts)
                    held.append(abs(float(spread.delta)) <= float(spread.half()))
                print(f"averages   {seeds} seeds, effect {effect:<5} {name:<7}  {100 * np.mean(held):.1f}", flush=True)


def crossings(studies: int) -> None:
    """Coverage of Fieller's interval for the size at which the gap is zero. `common`: share of a gap's variance that
    all sizes have in common, since they answer the same problems."""
    for sizes in ([0.1, 0.5, 1.5, 3], [0.1, 0.3, 1, 3, 8], [0.5, 1.5, 3, 7, 14, 32]):
        x = np.log10(np.array(sizes) * 1e9)
        for common in (0.0, 0.3):
            held, ends = [], []
            for scatter in (0.0, 0.02, 0.05):
                for slope in (0.05, 0.15):
                    rng, zero = np.random.default_rng([len(x), int(100 * scatter)]), x.mean() + 0.1
                    for _ in range(studies):
                        sd = rng.uniform(0.02, 0.06, len(x))
                        noise = common**0.5 * rng.standard_normal() + (1 - common) ** 0.5 * rng.standard_normal(len(x))
                        y = slope * (x - zero) + scatter * rng.standard_normal(len(x)) + sd * noise
                        low, high = Line.through(x, y, sd**2 * rng.chisquare(3, len(x)) / 3).crossing_interval()
                        ends.append(low is not None)
                        held.append(low is None or high is None or low <= zero <= high)
            print(
                f"crossings  {len(x)} sizes, common {common:.1f}  {100 * np.mean(held):.1f}, "
                f"with ends {100 * np.mean(ends):.0f}",
                flush=True,
            )


def span(shares: list[float]) -> str:
    """Lowest and highest, in per cent."""
    return f"{100 * min(shares):.1f}-{100 * max(shares):.1f}"


PARTS = {"intervals": intervals, "looks": looks, "power": power, "averages": average, "crossings": crossings}


def main() -> None:
    """Simulate what is named, or everything."""
    words = sys.argv[1:]
    studies = int(words.pop(0)) if words and words[0].isdigit() else 2000
    error = 100 * (0.05 * 0.95 / studies) ** 0.5
    print(f"{studies:,} studies of each design; Monte-Carlo standard error of a share of 5 or 95 %: {error:.2f} points")
    for name in words or PARTS:
        PARTS[name](studies)


if __name__ == "__main__":
    main()
