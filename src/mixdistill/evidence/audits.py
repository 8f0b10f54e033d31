"""A person's marks on a sample of traces -> the verifier's error by arm, and what it does to every gap.

Of each arm two samples are marked, one of the traces that the verifier accepted and one of those that it did not:

    false accept    accepted, and a person says incorrect       e = W_a * fa - W_r * fr
    false reject    not accepted, and a person says correct     verifier's accuracy - a person's accuracy

W_a and W_r are the shares of accepted and other traces, known of all; fa and fr are shares among the marks. What the
verifier's error adds to a gap of arms a and b is e_a - e_b. The intervals speak of the traces that there are: these are
all traces of the run, not a sample of more. Formulae and measured coverage: docs/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from mixdistill.types import Interval, Row

ALPHA = 0.05
Mark = Literal["correct", "incorrect", "unclear"]


class Marked(NamedTuple):
    """A trace that a person marked."""

    mark: Mark
    rate: float = 1.0
    """Chance that it had to be drawn; equal within a stratum unless verdicts changed after the draw."""


class Stratum(NamedTuple):
    """The accepted traces of an arm, or the others."""

    accepted: bool
    traces: int
    """All there are."""
    marks: Sequence[Marked] = ()


class Rate(Row):
    """How often the verifier was wrong in one stratum, as far as a person says."""

    traces: int
    """All in the stratum."""
    marked: int
    """Marked correct or incorrect."""
    wrong: int
    """Of these: marked otherwise than the verifier decided."""
    unclear: int
    """Marked unclear: in no share, but the interval holds whichever way they are counted."""
    share: float | None
    """Of wrong decisions; None without marks."""
    interval: Interval
    """Of the share; 0 to 1 without marks."""


class Estimate(Row):
    """A number from the marks; `value` is None where a stratum that has traces has no marks."""

    value: float | None
    interval: Interval


class ArmError(Row):
    """The verifier's error on one arm."""

    traces: int
    verifier: float
    """Share of all traces that the verifier accepted: its accuracy of the arm."""
    false_accepts: Rate
    false_rejects: Rate
    person: Estimate
    """Accuracy of the arm by the person's marks."""
    error: Estimate
    """The verifier's accuracy minus the person's."""


class GapError(Row):
    """What the verifier's error adds to the gap between two arms."""

    verifier: float
    """The gap by the verifier, over all traces."""
    person: Estimate
    """The gap by the person's marks."""
    error: Estimate
    """The first minus the second."""
    marks: int
    """In the smaller of the two samples."""
    wanted: int | None
    """Marks per arm with which the interval of `error` would be about `within` on both sides; None where it is."""
    within: float
    """Half of the gap, but at least 1 and at most 5 points: an error this small does not make the gap."""


Weighted = Sequence[tuple[Stratum, float]]
"""Strata, and the weights of their shares in a sum."""


class _Share(NamedTuple):
    value: float | None
    low: float
    high: float


def allotted(per_arm: int, accepted: int, others: int) -> tuple[int, int]:
    """How many to draw of an arm's accepted traces and of its others: half of each, or what there is of one."""
    half = per_arm // 2
    first = min(accepted, max(per_arm - half, per_arm - others))
    return first, min(others, per_arm - first)


def arm_error(accepted: Stratum, others: Stratum) -> ArmError:
    """The verifier's error on an arm from its two strata, which have at least one trace together."""
    error = _sum(_error(accepted, others))
    verifier = _accuracy(accepted, others)
    return ArmError(
        traces=accepted.traces + others.traces,
        verifier=verifier,
        false_accepts=rate(accepted),
        false_rejects=rate(others),
        person=_taken_from(verifier, error, 0.0),
        error=error,
    )


def gap_error(a: tuple[Stratum, Stratum], b: tuple[Stratum, Stratum]) -> GapError:
    """What the verifier's error adds to P(a) - P(b); each arm as its accepted traces and its others."""
    gap = _accuracy(*a) - _accuracy(*b)
    weighted = [*_error(*a), *((s, -w) for s, w in _error(*b))]
    error = _sum(weighted)
    within = min(max(abs(gap) / 2, 0.01), 0.05)
    return GapError(
        verifier=gap,
        person=_taken_from(gap, error, -1.0),
        error=error,
        marks=min(sum(m.mark != "unclear" for s in arm for m in s.marks) for arm in (a, b)),
        wanted=_wanted((a, b), within) if _half(error) > within else None,
        within=within,
    )


def rate(stratum: Stratum) -> Rate:
    """How often the verifier was wrong in a stratum."""
    shares = [_share(stratum, unclear, exact=True) for unclear in (None, False, True)]
    decided = [m for m in stratum.marks if m.mark != "unclear"]
    return Rate(
        traces=stratum.traces,
        marked=len(decided),
        wrong=sum(_is_wrong(stratum, m) for m in decided),
        unclear=len(stratum.marks) - len(decided),
        share=shares[0].value,
        interval=Interval(low=min(s.low for s in shares), high=max(s.high for s in shares)),
    )


def margin(interval: Interval) -> float:
    """How far from zero an interval reaches."""
    return max(abs(interval.low), abs(interval.high))


def _half(estimate: Estimate) -> float:
    return (estimate.interval.high - estimate.interval.low) / 2


def _accuracy(accepted: Stratum, others: Stratum) -> float:
    return accepted.traces / (accepted.traces + others.traces)


def _error(accepted: Stratum, others: Stratum) -> Weighted:
    """The verifier's accuracy of an arm minus the person's."""
    total = accepted.traces + others.traces
    return [(accepted, accepted.traces / total), (others, -others.traces / total)]


def _taken_from(number: float, error: Estimate, least: float) -> Estimate:
    """A number by the verifier without its error, which cannot leave `least` to 1."""
    low, high = number - error.interval.high, number - error.interval.low
    value = None if error.value is None else number - error.value
    return Estimate(value=value, interval=Interval(low=max(low, least), high=min(high, 1.0)))


def _sum(weighted: Weighted) -> Estimate:
    """A weighted sum of shares of wrong decisions, with the interval of Zou and Donner (2008).

    Its ends come from the intervals of the single shares, so that none found is not none at all. They hold whichever
    way unclear marks are counted.
    """
    shares = [_share(s, None).value for s, _ in weighted]
    value = sum(w * share for (_, w), share in zip(weighted, shares, strict=True) if share is not None)
    high = _end([(w, _share(s, w > 0)) for s, w in weighted])
    low = 0.0 - _end([(-w, _share(s, w < 0)) for s, w in weighted])
    return Estimate(value=None if None in shares else value, interval=Interval(low=max(low, -1.0), high=min(high, 1.0)))


def _end(parts: Sequence[tuple[float, _Share]]) -> float:
    """Upper end of the interval of a weighted sum of shares."""
    centre, squares = 0.0, 0.0
    for weight, share in parts:
        middle = (share.low + share.high) / 2 if share.value is None else share.value
        centre += weight * middle
        squares += (weight * ((share.high if weight > 0 else share.low) - middle)) ** 2
    return centre + squares**0.5


def _share(stratum: Stratum, unclear_wrong: bool | None, *, exact: bool = False) -> _Share:
    """The share of wrong decisions; unclear marks are left out (None), or are right or wrong decisions.

    `exact` intervals cover at least 95 % of the time, the others about 95 %: sums of exact ones are far too wide.
    """
    if not stratum.traces:
        return _Share(0.0, 0.0, 0.0)
    counted = [
        (bool(unclear_wrong) if m.mark == "unclear" else _is_wrong(stratum, m), 1 / m.rate)
        for m in stratum.marks
        if m.mark != "unclear" or unclear_wrong is not None
    ]
    if not counted:
        return _Share(None, 0.0, 1.0)
    weights = [w for _, w in counted]
    share = sum(w for wrong, w in counted if wrong) / sum(weights)
    if max(weights) == min(weights):
        return _Share(share, *interval(sum(wrong for wrong, _ in counted), len(counted), stratum.traces, exact=exact))
    return _Share(share, *weighted_interval(share, sum(weights) ** 2 / sum(w * w for w in weights)))


def _is_wrong(stratum: Stratum, marked: Marked) -> bool:
    return marked.mark == ("incorrect" if stratum.accepted else "correct")


@lru_cache(maxsize=4096)
def interval(wrong: int, marked: int, traces: int, *, exact: bool = True) -> tuple[float, float]:
    """The 95 % interval of a share among `traces`, of which `marked` were drawn, and `wrong` among them found.

    Clopper and Pearson's, of the hypergeometric distribution: where all are marked the share is known, and of many
    more it is the usual one. When not `exact`, what was found itself counts half in each tail (mid-P).
    """
    from scipy.stats import hypergeom

    def tail(k: int, *, above: bool) -> float:
        """Chance to find so many or more (`above`), or so many or fewer, where `k` are wrong."""
        at = float(hypergeom.pmf(wrong, traces, k, marked)) * (1.0 if exact else 0.5)
        beyond = hypergeom.sf(wrong, traces, k, marked) if above else hypergeom.cdf(wrong - 1, traces, k, marked)
        return float(beyond) + at

    least, most = wrong, traces - (marked - wrong)
    low = _first(least, most, lambda k: tail(k, above=True) > ALPHA / 2)
    high = _first(least, most, lambda k: tail(k + 1, above=False) <= ALPHA / 2)
    return low / traces, high / traces


def weighted_interval(share: float, effective: float) -> tuple[float, float]:
    """Clopper and Pearson's interval with the effective number of marks (Korn and Graubard 1998)."""
    from scipy.stats import beta

    x = share * effective
    low = 0.0 if share <= 0 else float(beta.ppf(ALPHA / 2, x, effective - x + 1))
    high = 1.0 if share >= 1 else float(beta.ppf(1 - ALPHA / 2, x + 1, effective - x))
    return low, high


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Smallest number from `low` on for which `holds`, which then holds for all larger ones; else `high`."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _wanted(arms: Sequence[tuple[Stratum, Stratum]], within: float) -> int:
    """Marks per arm with which the error of the gap would be known to `within` if the shares stay as they are."""

    def enough(per_arm: int) -> bool:
        error = _sum([part for arm, sign in zip(arms, (1, -1), strict=True) for part in _foreseen(arm, sign, per_arm)])
        return _half(error) <= within

    most = max(a.traces + b.traces for a, b in arms)
    return min(-(-_first(2, most, enough) // 10) * 10, most)


def _foreseen(arm: tuple[Stratum, Stratum], sign: int, per_arm: int) -> Weighted:
    """An arm's error with so many marks, and the shares found so far."""
    found = []
    for stratum, n in zip(arm, allotted(per_arm, *(s.traces for s in arm)), strict=True):
        wrong = round(n * (_share(stratum, None).value or 0.0))
        marks = [Marked("incorrect" if stratum.accepted else "correct")] * wrong
        marks += [Marked("correct" if stratum.accepted else "incorrect")] * (n - wrong)
        found.append(stratum._replace(marks=marks))
    return [(s, sign * w) for s, w in _error(*found)]
