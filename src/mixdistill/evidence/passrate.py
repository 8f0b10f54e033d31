"""How likely a teacher is to solve a problem, where it was asked until enough traces were right.

Whoever stops at success ends on a right sample, so that the share of right samples is too high. The estimator here is
the unbiased one of Girshick, Mosteller & Savage (1946, *Annals of Mathematical Statistics* 17); where the stop is at
the n-th right sample it is Haldane's (1945) of inverse sampling. And how likely one of k samples is right.
"""

from __future__ import annotations

from collections.abc import Sequence


def estimate(
    right: Sequence[bool | None], *, samples: int, until_correct: int | None = None, max_samples: int | None = None
) -> float | None:
    """Unbiased estimate, in 0..1, of the rate at which one problem is solved; None where nothing was answered.

    `right` says of each sample, in order from 0, whether it was right; None where it is missing: the request failed,
    nobody could judge it, it was never asked for. A missing sample is not a wrong one, and counts neither way; the
    estimate is unbiased whichever are missing, as long as that has nothing to do with who was right.

    The rule: `samples` are asked in any case, then one after the other until `until_correct` n are right, or
    `max_samples` were asked. With c right of the S answered among the first `samples`, it is

        c / S              where n or more of these are right, and where there is no `until_correct`
        (n - 1) / (m - 1)  where the n-th right sample is the m-th answered, and m > S
        s / k              where k were answered, s of them right, and s < n

    What was bought beyond the rule's stop, by a recipe that wanted more, is left out. With n = 1 the second line is 0:
    right in the mean over problems, and useless for one.
    """
    first = [r for r in right[:samples] if r is not None]
    if until_correct is None or sum(first) >= until_correct:
        return sum(first) / len(first) if first else None
    answered, found = len(first), sum(first)
    for r in right[samples:max_samples]:
        if r is None:
            continue
        answered, found = answered + 1, found + r
        if found == until_correct:
            return (until_correct - 1) / (answered - 1) if answered > 1 else 1.0
    return found / answered if answered else None


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one of k samples is right, unbiased, from c right ones among n (Chen et al. 2021, eq. 1)."""
    from math import comb

    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass_at_k: needs 0 <= c <= n and 1 <= k <= n (got n={n}, c={c}, k={k})")
    return 1 - comb(n - c, k) / comb(n, k)
