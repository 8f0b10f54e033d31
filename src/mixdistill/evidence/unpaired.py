"""How sure a difference is between two sets of trainings whose seeds have nothing in common.

Scores of either side form a matrix, A[seeds of a, problems] and B[seeds of b, problems], over the same problems. A seed
number stands for another draw on either side, so rows are not subtracted from each other; columns are:

    A_sp = mu_a + a_s + u_p + e_sp      B_sp = mu_b + b_s + v_p + f_sp      D = mean of A - mean of B
    Var(D) = s_a^2/S_a + s_b^2/S_b + Var(u_p - v_p)/P + s_e^2/(S_a P) + s_f^2/(S_b P)

The formula and its measured coverage: docs/compare.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixdistill.evidence.stats import ALPHA, Estimate, Spread, gap, t_quantile
from mixdistill.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

LEAST_P = 1e-12


def difference(a: Array, b: Array) -> Estimate:
    """Mean of a minus mean of b, [seeds, problems] each: the same problems in the same order, seeds of its own in each.

    `data` and `p` are None where either side has a single seed. `seeds` is the smaller number of the two; what a study
    could detect is not said.
    """
    fixed = gap((a.mean(0) - b.mean(0))[None, :])  # seeds fixed: a difference per problem, as between two checkpoints
    estimate = Estimate(fixed.delta, (), min(len(a), len(b)), fixed.problems, fixed.checkpoints)
    if estimate.seeds < 2 or estimate.problems < 2:
        return estimate
    parts = _Parts(a, b)
    half = parts.half(ALPHA)
    data = Interval(low=max(fixed.delta - half, -1.0), high=min(fixed.delta + half, 1.0))
    return Estimate(
        fixed.delta, (), estimate.seeds, fixed.problems, fixed.checkpoints, data=data, p=parts.p(abs(fixed.delta))
    )


class _Parts:
    """The parts of the variance of the difference, each with its degrees of freedom."""

    def __init__(self, a: Array, b: Array):
        sides = [Spread.of(a - a.mean()), Spread.of(b - b.mean())]
        noise = sum(float(side.components[2]) / (side.seeds * side.problems) for side in sides)
        by_problem = a.mean(0) - b.mean(0)
        # Its spread is as if every seed were there twice; of these, only the floor under it is wanted.
        self.checkpoints = float(Spread.of(by_problem[None, :].repeat(2, 0)).checkpoint_part)
        """Variance of the mean over problems with seeds fixed: problems, and both sides' noise."""
        self.problems = max(float(by_problem.var(ddof=1)) / len(by_problem) - noise, 0.0), len(by_problem) - 1
        self.seeds = [(float(side.seed_part), side.seeds - 1) for side in sides]

    def half(self, alpha: float) -> float:
        """Half width at level 1 - alpha: seeds and problems with a t quantile each, never below these checkpoints'."""
        part, df = self.problems
        t_problems = t_quantile(alpha, df) ** 2
        return float(max(self._of_seeds(alpha) + t_problems * part, t_problems * self.checkpoints) ** 0.5)

    def _of_seeds(self, alpha: float) -> float:
        """What both sides' seeds add to the squared half width.

        With Welch's degrees of freedom, at most twice the smaller side's. Where a side has two seeds these cover down
        to 89 %: an estimate from two seeds that came out small by chance also buys degrees of freedom. So there, each
        side has the quantile of its own (Banerjee 1960).
        """
        fewest = min(df for _, df in self.seeds)
        total = sum(part for part, _ in self.seeds)
        if fewest < 2 or not total:
            return sum(t_quantile(alpha, df) ** 2 * part for part, df in self.seeds)
        welch = total**2 / sum(part**2 / df for part, df in self.seeds)
        return t_quantile(alpha, min(welch, 2 * fewest)) ** 2 * total

    def p(self, size: float) -> float:
        """Two-sided p: the level at which the interval just touches zero, down to `LEAST_P`."""
        from scipy.optimize import brentq

        if size <= 0:
            return 1.0
        if size >= self.half(LEAST_P):
            return LEAST_P
        return float(10 ** brentq(lambda exponent: self.half(10**exponent) - size, -12, 0))
