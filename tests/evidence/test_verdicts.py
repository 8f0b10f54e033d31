"""What may be said of a gap, and what would be needed to say more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mixdistill.errors import DataError
from mixdistill.evidence import stats, verdicts
from mixdistill.evidence.stats import Components, Estimate, foreseen, gap
from mixdistill.evidence.verdicts import needed
from mixdistill.types import Interval


def estimate_of(low: float, high: float, p: float = 0.01) -> Estimate:
    d = 0.1 + np.random.default_rng(3).normal(0, 0.4, (3, 50))
    return replace(gap(d), delta=(low + high) / 2, data=Interval(low=low, high=high), p=p)


@pytest.mark.parametrize(
    ("a", "b", "low", "high", "p_holm", "words"),
    [
        ("long", "short", 0.01, 0.2, None, "long helps"),
        ("long", "short", -0.2, -0.01, None, "short helps"),
        ("long", "short", -0.01, 0.4, None, "can't tell"),
        ("long", "short", 0.01, 0.2, 0.06, "can't tell"),
        ("long", "short", 0.01, 0.2, 0.04, "long helps"),
        ("mix", "base", 0.01, 0.2, None, "mix beats base"),
        ("mix", "base", -0.2, -0.01, None, "base beats mix"),
        ("base", "mix", 0.01, 0.2, None, "base beats mix"),
    ],
)
def test_a_verdict_follows_the_interval_and_holm(a, b, low, high, p_holm, words):
    assert verdicts.verdict(a, b, estimate_of(low, high), p_holm) == words


def test_a_blend_must_beat_the_hardest_pure_arm():
    gaps = {"long": estimate_of(0.2, 0.4, 0.001), "short": estimate_of(0.01, 0.1, 0.04)}
    hardest, joint = stats.beats_each(gaps)
    assert (hardest, joint.p, joint.delta) == ("short", 0.04, pytest.approx(0.055))
    assert joint.data == Interval(low=0.01, high=0.1)
    assert verdicts.verdict_each(gaps) == "blend beats every pure arm"
    assert verdicts.verdict_each(gaps, p=0.08) == "can't tell"
    assert verdicts.verdict_each(gaps | {"short": estimate_of(-0.01, 0.1, 0.12)}) == "can't tell"
    assert verdicts.verdict_each(gaps | {"short": estimate_of(-0.2, -0.1, 0.001)}) == "short beats the blend"


def test_with_no_pure_arm_a_blend_has_nothing_to_beat():
    with pytest.raises(DataError, match="no pure arm"):
        stats.beats_each({})


def test_the_arm_that_decides_is_the_one_surely_ahead_whatever_the_means():
    """The mean of `long` is further ahead of the blend, and its interval holds zero."""
    gaps = {"long": estimate_of(-0.25, 0.05, 0.2), "short": estimate_of(-0.10, -0.06, 0.0001)}
    assert gaps["long"].delta < gaps["short"].delta
    decides, joint = stats.beats_each(gaps)
    assert (decides, joint.delta) == ("short", gaps["short"].delta)
    assert verdicts.verdict_each(gaps) == "short beats the blend"


def test_of_several_arms_that_are_surely_ahead_the_one_that_p_is_of_is_named():
    """`long` is further ahead by its whole interval, but less surely: looks that are paid for by the p of `short` must
    not give the verdict to `long`."""
    gaps = {"long": estimate_of(-0.155, -0.043, 0.016), "short": estimate_of(-0.06, -0.033, 0.0004)}
    decides, joint = stats.beats_each(gaps)
    assert (decides, joint.p, joint.delta) == ("short", 0.0004, gaps["short"].delta)
    assert joint.data == Interval(low=-0.155, high=-0.033)
    assert verdicts.verdict_each(gaps, p=10 * 0.0004) == "short beats the blend"


@pytest.mark.parametrize(
    ("low", "high", "p", "words"),
    [
        (-0.021, 0.012, None, "no difference larger than 2.1 points"),
        (-0.012, 0.02101, None, "no difference larger than 2.2 points"),
        (-0.03, 0.03, None, "no difference larger than 3.0 points"),
        (-0.0301, 0.01, None, "can't tell"),
        (0.001, 0.02, None, "long helps"),
        (0.001, 0.02, 0.06, "no difference larger than 2.0 points"),
    ],
)
def test_no_difference_is_said_where_the_whole_interval_is_too_small_to_matter(low, high, p, words):
    assert verdicts.verdict("long", "short", estimate_of(low, high), p, smallest=0.03) == words
    gaps = {"long": estimate_of(low, high), "short": estimate_of(0.2, 0.3)}
    blend = words.replace("long helps", "blend beats every pure arm")
    assert verdicts.verdict_each(gaps, p, smallest=0.03) == blend


SEEDS_VARY = Components(seeds=0.0009, problems=0.0, noise=0.02)
PROBLEMS_VARY = Components(seeds=0.0, problems=0.05, noise=0.02)
BOTH_VARY = Components(seeds=0.0004, problems=0.125, noise=0.25)


@pytest.mark.parametrize(
    ("components", "seeds", "problems", "words"),
    [
        (SEEDS_VARY, 3, 1000, "11 seeds; more problems cannot help"),
        (PROBLEMS_VARY, 5, 200, "510 problems"),
        (BOTH_VARY, 3, 500, "11 seeds and 2,200 problems"),
        (Components(0.01, 0.0, 0.02), 3, 1000, "more than 50 seeds"),
        (PROBLEMS_VARY, 5, 600, ""),
    ],
)
def test_what_is_needed_is_the_cheapest_study_that_finds_a_difference_worth_knowing_of(
    components, seeds, problems, words
):
    assert needed(components, seeds, problems, 0.03) == words


def test_one_seed_or_one_step_of_problems_less_than_needed_is_not_enough():
    assert foreseen(SEEDS_VARY, 11, 1000) <= 0.03 < foreseen(SEEDS_VARY, 10, 1000)
    assert foreseen(SEEDS_VARY, 3, 10**7) > 0.03
    assert foreseen(PROBLEMS_VARY, 5, 510) <= 0.03 < foreseen(PROBLEMS_VARY, 5, 500)
    assert foreseen(BOTH_VARY, 11, 2200) <= 0.03


def test_who_pays_for_another_look_needs_more():
    assert needed(PROBLEMS_VARY, 5, 200, 0.03, stats.ALPHA / 5) == "810 problems"


def test_a_study_as_large_as_was_needed_finds_the_difference_in_four_of_five():
    rng = np.random.default_rng(1)
    a = rng.normal(0, SEEDS_VARY.seeds**0.5, (2000, 11, 1))
    spread = stats.Spread.of(0.03 + a + rng.normal(0, SEEDS_VARY.noise**0.5, (2000, 11, 1000)))
    assert 0.76 <= np.mean(spread.delta > spread.half()) <= 0.88
