"""Coverage of the *this data* interval between two runs whose seeds have nothing in common.

python benchmarks/unpaired_seeds.py [STUDIES]     prints the table of docs/compare.md (Monte-Carlo error: 0.5 points)

Scores are Gaussian, or right and wrong answers of a latent logistic model; the seed effect is none, small, large, or
large on the side with fewer seeds and a fifth of it on the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from mixdistill.evidence.unpaired import difference

SEEDS = ((2, 2), (2, 5), (3, 3), (3, 5), (3, 8), (5, 5), (8, 8))
EFFECTS = {"none": (0.0, 0.0, 0.0), "small": (0.03, 0.03, 0.2), "large": (0.15, 0.15, 0.8), "unequal": (0.15, 0.03, 0)}
"""Standard deviations of the seed effect: of either side, and of both in logits (0: not simulated with `unequal`)."""
PROBLEMS = (100, 500)


def main() -> None:
    """Print lowest and highest coverage of every design."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("| seeds | none | small | large | unequal |\n|---|---|---|---|---|")
    for seeds in SEEDS:
        cells = []
        for name, (of_a, of_b, logits) in EFFECTS.items():
            found = [coverage(gaussian(seeds, p, (of_a, of_b)), studies) for p in PROBLEMS]
            if name != "unequal":
                found += [coverage(logistic(seeds, p, logits), studies) for p in PROBLEMS]
            cells.append(f"{100 * min(found):.1f}-{100 * max(found):.1f}")
        print(f"| {seeds[0]} and {seeds[1]} | {' | '.join(cells)} |", flush=True)


def coverage(draw: Callable[[Any], tuple[Any, Any]], studies: int, seed: int = 0) -> float:
    """Share of the studies whose interval holds zero, which is the truth."""
    rng, hits = np.random.default_rng(seed), 0
    for _ in range(studies):
        data = difference(*draw(rng)).data
        assert data is not None
        hits += data.low <= 0 <= data.high
    return hits / studies


def gaussian(seeds: tuple[int, int], problems: int, effect: tuple[float, float]) -> Callable[[Any], tuple[Any, Any]]:
    """Problems in common of standard deviation 0.2, 0.1 between the sides, noise 0.5; on the scale of accuracies."""

    def draw(rng: Any) -> tuple[Any, Any]:
        common, apart = rng.normal(0, 0.2, problems), rng.normal(0, 0.1, problems)
        a, b = (
            rng.normal(0, sd, (n, 1)) + rng.normal(0, 0.5, (n, problems)) for n, sd in zip(seeds, effect, strict=True)
        )
        return 0.1 * (a + common), 0.1 * (b + common + apart)

    return draw


def logistic(seeds: tuple[int, int], problems: int, effect: float) -> Callable[[Any], tuple[Any, Any]]:
    """Right or wrong; problems of standard deviation 1.5 in logits, 0.5 between the sides."""

    def draw(rng: Any) -> tuple[Any, Any]:
        common, apart = rng.normal(0, 1.5, problems), rng.normal(0, 0.25, problems)
        sides = []
        for n, sign in zip(seeds, (1, -1), strict=True):
            logits = common + sign * apart + rng.normal(0, effect, (n, 1))
            sides.append((rng.random((n, problems)) < 1 / (1 + np.exp(-logits))).astype(float))
        return sides[0], sides[1]

    return draw


if __name__ == "__main__":
    main()
