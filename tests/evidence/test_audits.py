"""Marks become errors with intervals that hold: known values, and thousands of drawn audits with planted errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from mixdistill.evidence.audits import (
    Marked,
    Stratum,
    allotted,
    arm_error,
    gap_error,
    interval,
    margin,
    rate,
    weighted_interval,
)
from mixdistill.types import Interval


def stratum(accepted: bool, traces: int, wrong: int, right: int, unclear: int = 0, rate: float = 1.0) -> Stratum:
    """So many marks by which the verifier was wrong, or right."""
    words = ("incorrect", "correct") if accepted else ("correct", "incorrect")
    marks = [Marked(words[0], rate)] * wrong + [Marked(words[1], rate)] * right + [Marked("unclear", rate)] * unclear  # ty: ignore
    return Stratum(accepted, traces, marks)


def ends(found: Interval) -> tuple[float, float]:
    return found.low, found.high


def test_the_interval_of_a_share_among_many_is_clopper_and_pearsons():
    for wrong, marked in ((0, 20), (1, 20), (7, 40), (20, 20)):
        low, high = interval(wrong, marked, 10_000_000)
        assert low == pytest.approx(beta.ppf(0.025, wrong, marked - wrong + 1) if wrong else 0.0, abs=2e-6)
        assert high == pytest.approx(beta.ppf(0.975, wrong + 1, marked - wrong) if wrong < marked else 1.0, abs=2e-6)


def test_where_all_are_marked_the_share_is_known():
    assert interval(3, 12, 12) == (0.25, 0.25)
    assert interval(0, 11, 12) == (0.0, 1 / 12), "the one that is left may be wrong"
    assert interval(0, 1, 2, exact=False) == (0.0, 0.5)


def test_the_interval_of_weighted_marks_is_that_of_fewer():
    assert weighted_interval(0.25, 20.0) == pytest.approx((beta.ppf(0.025, 5, 16), beta.ppf(0.975, 6, 15)))
    assert weighted_interval(0.0, 9.5)[0] == 0.0
    assert weighted_interval(1.0, 9.5)[1] == 1.0


def test_both_strata_get_half_or_what_there_is():
    assert allotted(40, 100, 100) == (20, 20)
    assert allotted(41, 100, 100) == (21, 20)
    assert allotted(40, 5, 100) == (5, 35)
    assert allotted(40, 100, 0) == (40, 0)
    assert allotted(40, 3, 4) == (3, 4)


def test_of_an_arm_the_shares_are_weighted_with_what_there_is():
    found = arm_error(stratum(True, 600, 2, 18), stratum(False, 400, 5, 15))
    assert (found.traces, found.verifier) == (1000, 0.6)
    assert (found.false_accepts.wrong, found.false_accepts.marked, found.false_accepts.share) == (2, 20, 0.1)
    assert (found.false_rejects.wrong, found.false_rejects.marked, found.false_rejects.share) == (5, 20, 0.25)
    assert found.person.value == pytest.approx(0.6 * 0.9 + 0.4 * 0.25)
    assert found.error.value == pytest.approx(0.6 * 0.1 - 0.4 * 0.25)
    assert found.person.interval.low == pytest.approx(0.6 - found.error.interval.high)
    assert found.person.interval.high == pytest.approx(0.6 - found.error.interval.low)


def test_a_gap_is_the_verifiers_minus_what_its_errors_differ_by():
    a = stratum(True, 600, 0, 20), stratum(False, 400, 10, 10)
    b = stratum(True, 500, 2, 18), stratum(False, 500, 0, 20)
    found = gap_error(a, b)
    assert found.verifier == pytest.approx(0.1)
    assert found.error.value == pytest.approx(-0.4 * 0.5 - 0.5 * 0.1)
    assert found.person.value == pytest.approx(0.1 + 0.25)
    assert (found.marks, found.within) == (40, pytest.approx(0.05))
    assert ends(gap_error(b, a).error.interval) == pytest.approx(
        (-found.error.interval.high, -found.error.interval.low)
    )


def test_without_marks_nothing_is_said():
    assert rate(Stratum(True, 50)).share is None
    assert rate(Stratum(True, 50)).interval == Interval(low=0, high=1)
    found = arm_error(Stratum(True, 50), stratum(False, 50, 0, 20))
    assert (found.person.value, found.error.value) == (None, None)
    assert found.error.interval.high - found.error.interval.low > 0.5
    empty = arm_error(stratum(True, 50, 0, 50), Stratum(False, 0))
    assert (empty.error.value, empty.error.interval) == (0.0, Interval(low=0, high=0)), "there is nothing to mark"


def test_unclear_marks_are_in_no_share_and_widen_the_interval_both_ways():
    without, with_some = rate(stratum(True, 900, 4, 16)), rate(stratum(True, 900, 4, 16, unclear=5))
    assert (with_some.share, with_some.marked, with_some.unclear) == (0.2, 20, 5)
    assert with_some.interval.low == rate(stratum(True, 900, 4, 21)).interval.low
    assert with_some.interval.high == rate(stratum(True, 900, 9, 16)).interval.high
    assert with_some.interval.high > without.interval.high
    arm = stratum(True, 900, 0, 900), stratum(False, 100, 0, 90, unclear=10)
    assert ends(arm_error(*arm).error.interval) == pytest.approx((-0.01, 0.0))
    assert ends(gap_error(arm, arm).error.interval) == pytest.approx((-0.01, 0.01))


def test_rows_that_were_drawn_more_readily_count_less():
    marks = [*stratum(False, 1000, 10, 0, rate=0.5).marks, *stratum(False, 1000, 0, 10, rate=0.1).marks]
    found = rate(Stratum(False, 1000, marks))
    assert found.share == pytest.approx(20 / (20 + 100))
    assert found.interval.low < 20 / 120 < found.interval.high


def test_how_many_marks_are_lacking_is_about_right():
    def half(per_arm: int, wanted: bool = False) -> Any:
        n = per_arm // 2
        found = gap_error(*[(stratum(True, 2000, 0, n), stratum(False, 2000, round(n * 0.1), n - round(n * 0.1)))] * 2)
        return found.wanted if wanted else margin(found.error.interval)

    wanted = half(40, wanted=True)
    assert wanted is not None and 1000 < wanted < 4000, "a gap of nothing is wanted to a point"
    assert half(wanted) == pytest.approx(0.01, abs=0.002)
    all_marked = stratum(True, 30, 0, 30), stratum(False, 10, 1, 9)
    assert gap_error(all_marked, all_marked).wanted is None


# -- planted errors ---------------------------------------------------------------------------------------------------

DRAWS = 4000


def audits(traces: int, accepted: Any, false_accepts: Any, false_rejects: Any, per_arm: int) -> tuple[float, float]:
    """(share of audits whose interval covers the true error of the gap, share that say the errors differ)."""
    rng, covered, differs = np.random.default_rng(0), 0, 0
    for _ in range(DRAWS):
        arms, truth = [], 0.0
        for sign, a, fa, fr in zip((1, -1), accepted, false_accepts, false_rejects, strict=True):
            sizes = (round(traces * a), traces - round(traces * a))
            wrong = (round(sizes[0] * fa), round(sizes[1] * fr))
            truth += sign * (wrong[0] - wrong[1]) / traces
            drawn = allotted(per_arm, *sizes)
            found = [int(rng.hypergeometric(w, s - w, d)) for w, s, d in zip(wrong, sizes, drawn, strict=True)]
            marked = [
                stratum(which, s, f, d - f) for which, s, f, d in zip((True, False), sizes, found, drawn, strict=True)
            ]
            arms.append(tuple(marked))
        error = gap_error(*arms).error.interval
        covered += error.low - 1e-12 <= truth <= error.high + 1e-12
        differs += not error.low <= 0 <= error.high
    return covered / DRAWS, differs / DRAWS


@pytest.mark.parametrize(
    ("accepted", "false_accepts", "false_rejects", "per_arm", "least", "most"),
    [
        ((0.60, 0.55), (0.02, 0.02), (0.40, 0.05), 200, 0.94, 0.97),
        ((0.45, 0.62), (0.10, 0.02), (0.15, 0.03), 200, 0.94, 0.97),
        ((0.60, 0.55), (0.05, 0.05), (0.10, 0.10), 200, 0.94, 0.97),
        ((0.60, 0.30), (0.00, 0.00), (0.20, 0.02), 40, 0.97, 1.0),
    ],
)
def test_the_planted_difference_is_covered(monkeypatch, accepted, false_accepts, false_rejects, per_arm, least, most):
    monkeypatch.setattr(
        "mixdistill.evidence.audits._wanted", lambda arms, within: 0
    )  # dear, and not what is asked here
    covered, _ = audits(2000, accepted, false_accepts, false_rejects, per_arm)
    assert least <= covered <= most


def test_a_planted_difference_is_found_and_none_is_not(monkeypatch):
    monkeypatch.setattr("mixdistill.evidence.audits._wanted", lambda arms, within: 0)
    _, found = audits(2000, (0.60, 0.55), (0.02, 0.02), (0.40, 0.05), 200)
    assert found > 0.98
    _, found = audits(2000, (0.60, 0.55), (0.05, 0.05), (0.10, 0.10), 200)
    assert found < 0.08
    covered, found = audits(2000, (0.2, 0.4), (0.0, 0.0), (0.0, 0.0), 40)
    assert (covered, found) == (1.0, 0.0), "a verifier without errors"


def test_verdicts_that_changed_after_the_draw_do_not_bias_a_share():
    """Few of many accepted traces are drawn and more of the others; then the verifier accepts 200 more, all rightly."""
    rng, shares, plain, covered = np.random.default_rng(0), [], [], 0
    for _ in range(DRAWS):
        wrong = int(rng.hypergeometric(180, 1620, 20))
        early = stratum(True, 2000, wrong, 20 - wrong, rate=20 / 1800)
        late = stratum(True, 2000, 0, int(rng.hypergeometric(200, 200, 20)), rate=20 / 400)
        found = rate(Stratum(True, 2000, [*early.marks, *late.marks]))
        shares.append(found.share)
        plain.append(found.wrong / found.marked)
        covered += found.interval.low <= 180 / 2000 <= found.interval.high
    assert np.mean(shares) == pytest.approx(180 / 2000, abs=0.004)
    assert np.mean(plain) < 0.07
    assert covered / DRAWS >= 0.95
