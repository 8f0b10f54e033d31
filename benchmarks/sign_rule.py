"""How often a verdict is withdrawn since the gap under the other budget has another sign, and by a milder rule.

    python benchmarks/sign_rule.py [STUDIES]

Simulated studies of 3 seeds and 300 problems: right/wrong answers of a logistic model in which problems differ in
difficulty, and in what each arm makes of them, and every training moves its arm by 0.15 logits. The declared budget's
gap is +10 points in truth; under the other budget, with trainings of their own on the same problems, it is what the row
says. Prints of the studies with a verdict, in per cent, how many lose it by the bare sign (what the verdicts do) and
where the other gap must be more than one standard error below zero.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.optimize import brentq

from mixdistill.evidence.stats import Spread

SEEDS, PROBLEMS = 3, 300
DIFFICULTY, TASTE, WOBBLE = 1.2, 0.6, 0.15
"""Standard deviations in logits: of problems, of what an arm makes of each, of a training."""
DECLARED = 0.10
OTHERS = (0.10, 0.05, 0.02, 0.0, -0.05, -0.10)
"""True gaps under the declared budget and under the other one, in accuracy."""


def accuracy(ability: float) -> float:
    """Mean of a logistic over normal logits, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    logits = ability + np.sqrt(DIFFICULTY**2 + TASTE**2 + WOBBLE**2) * nodes
    return float((weights / weights.sum() / (1 + np.exp(-logits))).sum())


def ability(gap: float) -> float:
    """Of an arm that is ahead of one with ability 0 by so much."""
    return brentq(lambda x: accuracy(x) - accuracy(0.0) - gap, -3, 3)


def studies(rng: np.random.Generator, other: float, count: int) -> tuple[Spread, Spread]:
    """The gap under either budget, `count` studies at once."""
    problems = DIFFICULTY * rng.standard_normal((count, 1, PROBLEMS))
    tastes = TASTE * rng.standard_normal((2, count, 1, PROBLEMS))

    def answers(arm: int, shift: float) -> np.ndarray:
        logits = shift + problems + tastes[arm] + WOBBLE * rng.standard_normal((count, SEEDS, 1))
        return (rng.random((count, SEEDS, PROBLEMS)) < 1 / (1 + np.exp(-logits))).astype(float)

    declared, further = (Spread.of(answers(0, ability(gap)) - answers(1, 0.0)) for gap in (DECLARED, other))
    return declared, further


def main() -> None:
    """A row for every true gap under the other budget."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    rng = np.random.default_rng(1)
    print("true gap under the other budget; verdicts; withdrawn by the bare sign; by one standard error")
    for other in OTHERS:
        declared, further = studies(rng, other, count)
        verdict = np.abs(declared.delta) > declared.half()
        opposed = further.delta * np.sign(declared.delta)
        bare, mild = (100 * np.mean(rule[verdict]) for rule in (opposed <= 0, opposed < -np.sqrt(further.variance)))
        print(f"{100 * other:+4.0f} points  {verdict.sum():>5} of {count:,}  {bare:5.1f} %  {mild:5.1f} %")


if __name__ == "__main__":
    main()
