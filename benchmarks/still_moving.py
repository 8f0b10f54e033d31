"""How often an arm is said to be still moving on dev: where nothing changed, and where its accuracy rose.

    python benchmarks/still_moving.py [STUDIES]

Right/wrong answers of a logistic model. Prints a row per design: seeds, problems, share of the studies that say so
without a change, share with one, and how large that one is in accuracy.
"""

from __future__ import annotations

import sys

import numpy as np

from mixdistill.evidence import stats

WOBBLE = 0.1
"""Standard deviation of a training at a point, in logits: it is the same for all problems."""
RISE = 0.65
"""In logits."""


def study(rng: np.random.Generator, seeds: int, problems: int, rise: float) -> tuple[bool, float]:
    """(whether it says so, the change of accuracy that it saw)."""
    difficulty = np.log(1 / rng.beta(1, 1, problems) - 1)

    def answers(shift: float) -> np.ndarray:
        logits = difficulty + shift + rng.normal(0, WOBBLE, (seeds, 1))
        return (rng.random((seeds, problems)) < 1 / (1 + np.exp(-logits))).astype(float)

    estimate = stats.gap(answers(rise) - answers(0.0))
    interval = estimate.data or estimate.checkpoints
    assert interval is not None
    return not interval.low <= 0 <= interval.high, estimate.delta


def main() -> None:
    """All designs."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    rng = np.random.default_rng(1)
    for seeds in (1, 2, 3, 5):
        for problems in (50, 200):
            still = [study(rng, seeds, problems, 0.0)[0] for _ in range(studies)]
            moved = [study(rng, seeds, problems, RISE) for _ in range(studies)]
            share, size = np.mean([m for m, _ in moved]), np.mean([d for _, d in moved])
            print(
                f"{seeds} seeds  {problems:>3} problems  {np.mean(still):.3f}  {share:.3f} at {100 * size:+.1f} points"
            )


if __name__ == "__main__":
    main()
