"""What was correct becomes gaps: over which seeds, against which arm, in which views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

import tiny
from mixdistill.arms import of_variant
from mixdistill.evidence import verdicts
from mixdistill.evidence.gaps import Cells, Paid, Under, gaps
from mixdistill.evidence.views import averaged
from mixdistill.types import Gap, Rule

ARMS = {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.2, "short": 0.8}}
CONTRASTS = {"long_cot_gap": ["long", "short"], "mix_gain": ["mix", "each_pure"]}
PROBLEMS = 20
IDS = [f"p{i:02}" for i in range(PROBLEMS)]
LEVELS = {"all": set(IDS), "k=3": set(IDS[:4]), "k=4": set(IDS[4:11]), "k=5": set(IDS[11:])}
RIGHT = {
    ("base", None): 1, ("long", 0): 16, ("long", 1): 14, ("short", 0): 5, ("short", 1): 7, ("mix", 0): 12,
    ("mix", 1): 12,
}  # fmt: skip
"""(arm, seed) -> how many problems, from the first, it solves at every cap."""


@pytest.fixture(autouse=True)
def _twenty_problems_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested is who wins what, on sets small enough to count."""
    monkeypatch.setattr(verdicts, "FEWEST", 2)


Right = dict[tuple[str, int | None], int]


def _gaps(right: Right = RIGHT, *, students: Sequence[str] = ("t",), **sections: Any) -> list[Gap]:
    (found,) = _readings({"flexible": right}, students=students, **sections).values()
    return found


def _readings(right: dict[Rule, Right], *, students: Sequence[str] = ("t",), **sections: Any) -> dict[Rule, list[Gap]]:
    """Reading, the one that counts first -> gaps."""
    found = _under(right, students=students, **sections)
    return {way.rule: gaps_of for way, gaps_of in found.items() if not way.variant}


def _under(right: dict[Rule, Right], *, students: Sequence[str] = ("t",), **sections: Any) -> dict[Under, list[Gap]]:
    """Reading and budget, those that count first -> gaps."""
    sections = {"arms": ARMS, "contrasts": CONTRASTS, "evaluate": {"caps": [8]}, **sections}
    study = tiny.study("some/model", students={s: {"model": "some/model"} for s in students}, **sections)
    correct: dict[Rule, Cells] = {
        rule: {
            (student, arm, seed, "signs"): {cap: {p: float(i < n) for i, p in enumerate(IDS)} for cap in (None, 8)}
            for student in students
            for (arm, seed), n in counts.items()
        }
        for rule, counts in right.items()
    }
    return gaps(study, correct, {"signs": LEVELS})


def _gap(found: list[Gap], name: str, cap: int | None = None, group: str = "all") -> Gap:
    (one,) = [g for g in found if (g.name, g.max_tokens, g.group) == (name, cap, group)]
    return one


def test_gap_is_the_mean_difference_over_common_seeds():
    gap = _gap(_gaps(), "long_cot_gap")
    assert gap.arms == ("long", "short")
    assert gap.seed_deltas == pytest.approx([11 / 20, 7 / 20])
    assert gap.delta == pytest.approx(9 / 20)
    assert gap.accuracies == pytest.approx((15 / 20, 6 / 20))
    assert (gap.problems, gap.seeds, gap.primary) == (PROBLEMS, 2, True)


def test_gap_over_base_uses_every_seed():
    gap = _gap(_gaps(), "long_over_base")
    assert gap.seeds == 2
    assert gap.seed_deltas == pytest.approx([15 / 20, 13 / 20])


def test_blend_is_held_against_the_pure_arm_hardest_to_beat():
    gap = _gap(_gaps(), "mix_gain")
    assert gap.arms == ("mix", "long")
    assert gap.delta == pytest.approx(-3 / 20)
    assert "blend beats" not in gap.verdict


def test_every_contrast_is_shown_at_every_cap_and_level():
    found = _gaps()
    levels = ("all", "k=3", "k=4", "k=5")
    for name in CONTRASTS:
        assert {(g.max_tokens, g.group) for g in found if g.name == name} == {
            (cap, level) for cap in (None, 8) for level in levels
        }
    per_level = [_gap(found, "long_cot_gap", None, level) for level in levels[1:]]
    assert sum(g.problems for g in per_level) == PROBLEMS
    whole = sum(g.delta * g.problems for g in per_level) / PROBLEMS
    assert whole == pytest.approx(_gap(found, "long_cot_gap").delta)


def test_only_the_declared_view_is_primary():
    primary = [g for g in _gaps(primary={"contrast": "mix_gain", "benchmark": "signs", "max_tokens": 8}) if g.primary]
    assert [(g.name, g.max_tokens, g.group) for g in primary] == [("mix_gain", 8, "all")]
    assert primary[0].p_holm == primary[0].p


def test_arms_without_a_common_seed_have_no_gap():
    assert _gaps({("long", 0): 16, ("short", 1): 7}) == []


def test_verdict_of_the_primary_contrast_needs_the_adjusted_p():
    scores = {("long", 0): 14, ("long", 1): 14, ("short", 0): 7, ("short", 1): 7}
    alone = _gap(_gaps(scores), "long_cot_gap")
    assert alone.p is not None and alone.p_holm == alone.p < 0.05
    assert alone.verdict == "long helps"
    students = [f"t{i}" for i in range(int(0.05 / alone.p) + 1)]
    found = [g for g in _gaps(scores, students=students) if g.name == "long_cot_gap"]
    family = [g for g in found if g.primary]
    assert [g.student for g in family] == students
    assert [g.p_holm for g in family] == pytest.approx([alone.p * len(students)] * len(students))
    assert {g.verdict.partition(" (")[0] for g in family} == {"can't tell"}
    at_cap = [g for g in found if (g.max_tokens, g.group) == (8, "all")]
    assert {g.verdict for g in at_cap} == {"long helps"}, "what is exploratory is not adjusted"


def _twice(by: str = "", **right: int) -> Right:
    """Arm -> how many problems, from the first, it solves with both seeds; of this variant."""
    return {(of_variant(arm, by), seed): n for arm, n in right.items() for seed in (0, 1)}


def test_verdict_is_withdrawn_where_another_reading_turns_the_sign():
    found = _readings({"flexible": _twice(long=14, short=7), "strict": _twice(long=2, short=9)})
    counting, strict = (_gap(found[rule], "long_cot_gap") for rule in ("flexible", "strict"))
    assert (counting.delta, strict.delta) == pytest.approx((7 / 20, -7 / 20))
    assert (counting.rule, counting.verdict, counting.turned_by) == (
        "flexible", "can't tell (turns under strict)", ["strict"],
    )  # fmt: skip
    assert (strict.rule, strict.verdict, strict.turned_by) == ("strict", "short helps", []), "what it alone says"


@pytest.mark.parametrize("counts", ["strict", "flexible", "judge"])
@pytest.mark.parametrize("other", ["strict", "flexible", "judge"])
def test_verdict_of_each_reading_is_withdrawn_where_any_other_turns_the_sign(counts, other):
    if counts != other:
        found = _readings({counts: _twice(long=14, short=7), other: _twice(long=2, short=9)})
        gap = _gap(found[counts], "long_cot_gap")
        assert (gap.rule, gap.verdict, gap.turned_by) == (counts, f"can't tell (turns under {other})", [other])


def test_verdict_names_every_reading_that_turns_it():
    turned = _twice(long=2, short=9)
    found = _readings({"flexible": _twice(long=14, short=7), "strict": turned, "judge": turned})
    assert _gap(found["flexible"], "long_cot_gap").verdict == "can't tell (turns under strict and judge)"


def test_verdict_of_any_reading_that_counts_can_be_withdrawn():
    found = _readings({"strict": _twice(long=2, short=9), "flexible": _twice(long=14, short=7)})
    assert _gap(found["strict"], "long_cot_gap").verdict == "can't tell (turns under flexible)"


@pytest.mark.parametrize(
    ("long", "verdict"),
    [(10, "long helps"), (9, "long helps"), (8, "long helps"), (7, "can't tell (turns under strict)")],
)
def test_verdict_stands_where_the_sign_turns_within_its_noise(long, verdict):
    """One problem of 20 is less than a standard error away from none; two are more."""
    found = _readings({"flexible": _twice(long=14, short=7), "strict": _twice(long=long, short=9)})
    assert _gap(found["flexible"], "long_cot_gap").verdict == verdict


def test_there_is_nothing_to_withdraw_without_a_verdict():
    found = _readings({"flexible": _twice(long=10, short=9), "strict": _twice(long=2, short=9)})
    gap = _gap(found["flexible"], "long_cot_gap")
    assert (gap.verdict, gap.turned_by) == ("can't tell (would need 440 problems)", [])


@pytest.mark.parametrize(
    ("strict", "verdict"),
    [
        ({"mix": 12, "long": 5, "short": 4}, "blend beats every pure arm"),
        ({"mix": 12, "long": 5, "short": 17}, "can't tell (turns under strict)"),
    ],
)
def test_blend_that_beats_every_pure_arm_must_not_be_behind_one_under_another_reading(strict, verdict):
    found = _readings({"flexible": _twice(mix=18, long=8, short=7), "strict": _twice(**strict)})
    assert _gap(found["flexible"], "mix_gain").verdict == verdict


@pytest.mark.parametrize(
    ("strict", "verdict"),
    [
        ({"mix": 10, "long": 17, "short": 18}, "short beats the blend"),
        ({"mix": 10, "long": 17, "short": 3}, "can't tell (turns under strict)"),
    ],
)
def test_pure_arm_that_beats_the_blend_must_be_the_same_under_another_reading(strict, verdict):
    found = _readings({"flexible": _twice(mix=8, long=9, short=18), "strict": _twice(**strict)})
    assert _gap(found["flexible"], "mix_gain").verdict == verdict


def test_every_reading_has_every_gap_and_a_family_of_its_own():
    found = _readings({"flexible": _twice(long=14, short=7), "strict": _twice(long=4, short=9)}, students=("t", "u"))
    views = {rule: [(g.name, g.student, g.max_tokens, g.group) for g in gaps] for rule, gaps in found.items()}
    assert list(views) == ["flexible", "strict"]
    assert views["flexible"] == views["strict"]
    for gaps_of in found.values():
        (p,) = {g.p for g in gaps_of if g.primary}
        assert p is not None
        assert {g.p_holm for g in gaps_of if g.primary} == {min(1.0, 2 * p)}


def _budgets(declared: dict[str, int], also: list[str], **other: dict[str, int]) -> dict[str, list[Gap]]:
    """Budget -> gaps, where so many problems are solved under the declared one and under each other."""
    right = _twice(**declared) | {k: n for by, counts in other.items() for k, n in _twice(by, **counts).items()}
    found = _under({"flexible": right}, budget={"also": also})
    return {way.variant: gaps_of for way, gaps_of in found.items()}


def test_every_contrast_is_computed_under_every_budget_and_primary_under_the_declared_one_alone():
    found = _budgets(
        {"long": 14, "short": 7, "mix": 9}, ["loss_tokens"], loss_tokens={"long": 15, "short": 6, "mix": 9}
    )
    assert list(found) == ["", "loss_tokens"]
    views = {by: [(g.name, g.student, g.max_tokens, g.group) for g in gaps_of] for by, gaps_of in found.items()}
    assert views[""] == views["loss_tokens"]
    declared, other = (_gap(found[by], "long_cot_gap") for by in ("", "loss_tokens"))
    assert (declared.variant, declared.arms, declared.delta) == ("", ("long", "short"), pytest.approx(7 / 20))
    assert (other.variant, other.arms, other.delta) == (
        "loss_tokens", ("long@loss_tokens", "short@loss_tokens"), pytest.approx(9 / 20),
    )  # fmt: skip
    assert [g.primary for g in (declared, other)] == [True, False]
    assert (declared.p_holm, other.p_holm) == (declared.p, None)
    assert [g.verdict for g in (declared, other)] == ["long helps", "long helps"]
    assert [g.depends_on for g in (declared, other)] == [[], []]


@pytest.mark.parametrize(
    ("long", "verdict"),
    [(9, "long helps"), (8, "can't tell (depends on the budget)"), (7, "can't tell (depends on the budget)")],
)
def test_verdict_needs_the_same_sign_under_the_other_unit(long, verdict):
    """None is not the same sign."""
    found = _budgets({"long": 14, "short": 7}, ["loss_tokens"], loss_tokens={"long": long, "short": 8})
    gap = _gap(found[""], "long_cot_gap")
    assert (gap.verdict, gap.depends_on) == (verdict, [] if long == 9 else ["loss_tokens"])


def test_verdict_that_other_problems_turn_says_so():
    turned = {"long": 6, "short": 8}
    gap = _gap(_budgets({"long": 14, "short": 7}, ["each"], each=turned)[""], "long_cot_gap")
    assert (gap.verdict, gap.depends_on) == ("can't tell (depends on the problems)", ["each"])
    both = _budgets({"long": 14, "short": 7}, ["loss_tokens", "each"], each=turned, loss_tokens=turned)
    gap = _gap(both[""], "long_cot_gap")
    assert (gap.verdict, gap.depends_on) == (
        "can't tell (depends on the budget and the problems)", ["loss_tokens", "each"],
    )  # fmt: skip


def test_verdict_may_fall_by_reading_and_budget_at_once():
    strict = {"strict": _twice(long=2, short=9)}
    right = _twice(long=14, short=7) | _twice("loss_tokens", long=5, short=9)
    found = _under({"flexible": right, **strict}, budget={"also": ["loss_tokens"]})
    assert [(way.rule, way.variant) for way in found] == [
        ("flexible", ""), ("strict", ""), ("flexible", "loss_tokens"),
    ]  # fmt: skip
    gap = _gap(found[Under("flexible")], "long_cot_gap")
    assert gap.verdict == "can't tell (turns under strict; depends on the budget)"


def test_other_budget_that_was_not_scored_withdraws_nothing():
    gap = _gap(_budgets({"long": 14, "short": 7}, ["loss_tokens"], loss_tokens={"long": 5})[""], "long_cot_gap")
    assert (gap.verdict, gap.depends_on) == ("long helps", [])


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ({"mix": 12, "long": 5, "short": 4}, "blend beats every pure arm"),
        ({"mix": 12, "long": 5, "short": 13}, "can't tell (depends on the budget)"),
    ],
)
def test_blend_that_beats_every_pure_arm_must_do_so_under_the_other_unit(other, verdict):
    found = _budgets({"mix": 18, "long": 8, "short": 7}, ["loss_tokens"], loss_tokens=other)
    assert _gap(found[""], "mix_gain").verdict == verdict


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ({"mix": 10, "long": 3, "short": 11}, "short beats the blend"),
        ({"mix": 10, "long": 17, "short": 9}, "can't tell (depends on the budget)"),
    ],
)
def test_pure_arm_that_beats_the_blend_must_be_the_same_under_the_other_unit(other, verdict):
    found = _budgets({"mix": 8, "long": 9, "short": 18}, ["loss_tokens"], loss_tokens=other)
    assert _gap(found[""], "mix_gain").verdict == verdict
    assert _gap(found["loss_tokens"], "mix_gain").arms[0] == "mix@loss_tokens"


def test_arm_is_held_against_the_untuned_student_in_its_best_prompt():
    right = _twice(long=14, short=9) | {("base", None): 1, ("base+on", None): 12}
    found = _gaps(right)
    (ahead, behind) = (_gap(found, f"{arm}_over_base") for arm in ("long", "short"))
    assert (ahead.arms, ahead.delta) == (("long", "base+on"), pytest.approx(2 / 20))
    assert (behind.arms, behind.delta) == (("short", "base+on"), pytest.approx(-3 / 20))
    sure = _gap(_gaps(_twice(long=3, short=9) | {("base", None): 1, ("base+on", None): 14}), "long_over_base")
    assert (sure.arms, sure.verdict) == (("long", "base+on"), "base beats long")


def test_several_ways_of_asking_the_untuned_student_are_paid_for_where_one_of_them_beats_an_arm():
    one = _twice(long=1, short=1) | {("base", None): 5}
    alone = _gap(_gaps(one), "long_over_base")
    assert (alone.verdict, alone.p) == ("base beats long", pytest.approx(0.042, abs=1e-3))
    four = _gap(_gaps(one | {(f"base+{way}", None): 1 for way in "abc"}), "long_over_base")
    assert (four.arms, four.data, four.delta) == (("long", "base"), alone.data, alone.delta)
    assert (four.verdict.partition(" (")[0], four.p) == ("can't tell", pytest.approx(2 * alone.p))
    ahead = _twice(long=9, short=9) | {(f"base{way}", None): 1 for way in ("", "+a", "+b", "+c")}
    assert _gap(_gaps(ahead), "long_over_base").verdict == "long beats base"


def _absent(*absent: tuple[str, str, str], **sections: Any) -> tuple[list[Gap], list[str]]:
    """(gaps while these evaluations are still to come, of which students a look was paid for)."""
    study = tiny.study("some/model", arms=ARMS, contrasts=CONTRASTS, evaluate={"caps": []}, **sections)
    right = _twice(long=18, short=5) | {("base", None): 1, ("base+on", None): 2}
    cells: Cells = {
        ("t", arm, seed, "signs"): {None: {p: float(i < n) for i, p in enumerate(IDS)}}
        for (arm, seed), n in right.items()
    }
    looked: list[str] = []

    def pay(student: str, scores: str) -> Paid:
        looked.append(student)
        return Paid(1, 1.25)

    return gaps(study, {"flexible": cells}, {"signs": LEVELS}, pay, absent)[Under("flexible")], looked


def test_a_primary_contrast_of_which_something_is_to_come_has_no_verdict_and_costs_no_look():
    found, looked = _absent()
    assert (_gap(found, "long_cot_gap").verdict, looked) == ("long helps", ["t"])
    for arm in ("long", "short", "long@loss_tokens"):
        found, looked = _absent(("t", arm, "signs"))
        gap = _gap(found, "long_cot_gap")
        assert (gap.verdict, gap.look, gap.scores != "", looked) == ("can't tell (unfinished)", None, True, [])
        assert _gap(found, "long_over_base").verdict == "long beats base", "exploratory, over the seeds there are"
    for student, arm, benchmark in (("t", "mix", "signs"), ("u", "long", "signs"), ("t", "long", "other")):
        assert _absent((student, arm, benchmark))[1] == ["t"]
    assert _absent(("t", "long~nice", "signs"))[1] == ["t"], "other words decide nothing"


def test_no_verdict_is_given_against_an_untuned_student_that_was_not_asked_in_every_way():
    for way in ("base", "base+on", "base~nice"):
        found, looked = _absent(("t", way, "signs"))
        assert _gap(found, "long_over_base").verdict == "can't tell (unfinished)"
        assert (_gap(found, "long_cot_gap").verdict, looked) == ("long helps", ["t"])


def test_a_declared_contrast_with_the_untuned_student_does_not_stand_beside_itself_unpaid():
    for pair in (["long", "base"], ["base", "long"]):
        found = _gaps(contrasts={"worth_it": pair})
        names = {g.name for g in found}
        assert names == {"worth_it", "short_over_base", "mix_over_base"}
        assert next(g.primary for g in found if set(g.arms) == {"long", "base"} and g.group == "all")


def test_a_contrast_written_the_other_way_round_is_no_other_look():
    hashes = {_gap(_gaps(contrasts={"gap": pair}), "gap").scores for pair in (["long", "short"], ["short", "long"])}
    assert len(hashes) == 1 and hashes != {""}


TWO = {
    "train": {"source": "lab:signs"},
    "eval": {"easy": {"source": "lab:signs", "weight": 3}, "hard": {"source": "lab:signs"}},
}


def _two_benchmarks(
    easy: Right, hard: Right, pay: Any = None, problems: dict[str, Any] = TWO, **sections: Any
) -> list[Gap]:
    """Gaps of two benchmarks of 20 problems each, where so many are solved."""
    study = tiny.study(
        "some/model", problems=problems, arms=ARMS, contrasts=CONTRASTS, evaluate={"caps": []}, **sections
    )
    cells: Cells = {
        ("t", arm, seed, b): {None: {p: float(i < n) for i, p in enumerate(IDS)}}
        for b, right in (("easy", easy), ("hard", hard))
        for (arm, seed), n in right.items()
    }
    levels = {b: {"all": set(IDS)} for b in ("easy", "hard")}
    return gaps(study, {"flexible": cells}, levels, pay)[Under("flexible")]


def test_the_average_over_benchmarks_is_a_benchmark_and_the_primary_one_unless_another_is_declared():
    found = _two_benchmarks(_twice(long=14, short=7), _twice(long=5, short=8))
    (gap,) = [g for g in found if g.primary]
    assert (gap.name, gap.benchmark, gap.arms) == ("long_cot_gap", "average", ("long", "short"))
    assert gap.delta == pytest.approx(0.75 * 7 / 20 - 0.25 * 3 / 20)
    assert gap.accuracies == pytest.approx((0.75 * 14 / 20 + 0.25 * 5 / 20, 0.75 * 7 / 20 + 0.25 * 8 / 20))
    assert (gap.problems, gap.seeds) == (40, 2)
    declared = _two_benchmarks(
        _twice(long=14, short=7), _twice(long=5, short=8), primary={"contrast": "mix_gain", "benchmark": "hard"}
    )
    assert {g.benchmark for g in declared if g.primary} <= {"hard"}


def test_a_gap_names_who_graded_its_benchmark_and_the_average_all_that_did():
    own = {**TWO["eval"], "hard": {"source": "lab:signs", "verify": {"verifier": "choice"}}}
    found = _two_benchmarks(_twice(long=14, short=7), _twice(long=5, short=8), problems={**TWO, "eval": own})
    study = tiny.study("some/model", problems=TWO)
    name = study.verify.name
    assert {g.benchmark: g.verifier for g in found} == {"easy": name, "hard": "choice", "average": f"{name}, choice"}


def test_the_average_is_over_the_seeds_that_every_benchmark_has():
    easy = _twice(long=14, short=7)
    (gap,) = [g for g in _two_benchmarks(easy, {k: n for k, n in easy.items() if k[1] == 0}) if g.primary]
    assert (gap.seeds, gap.verdict) == (1, "can't tell (one seed)")


def test_benchmarks_with_too_few_problems_decide_nothing_and_are_left_out_of_the_average(monkeypatch):
    monkeypatch.setattr(verdicts, "FEWEST", 100)
    found = _two_benchmarks(_twice(long=18, short=2), _twice(long=18, short=2))
    assert {g.verdict for g in found} == {"can't tell (fewer than 100 problems)"}
    monkeypatch.setattr(verdicts, "FEWEST", 20)
    levels = {"easy": {"all": set(IDS)}, "hard": {"all": set(IDS[:19])}}
    study = tiny.study("some/model", problems=TWO)
    assert [(part.benchmark, part.weight) for part in averaged(study, levels)] == [("easy", 1.0)]


def test_a_look_is_paid_for_before_holm_and_a_verdict_that_cannot_be_paid_is_none():
    scores = _twice(long=14, short=7)
    free, paid, none = (
        next(g for g in _two_benchmarks(scores, scores, pay) if g.primary)
        for pay in (None, lambda student, hash: Paid(2, 5.0), lambda student, hash: Paid(2, math.inf))
    )
    assert (free.look, free.paid, free.p_holm) == (None, 1.0, free.p)
    assert (paid.look, paid.paid, paid.p_holm) == (2, 5.0, pytest.approx(5 * free.p))
    assert (none.look, none.paid, none.verdict) == (
        2, 0.0, "can't tell (one look was declared, this is look 2)",
    )  # fmt: skip
    assert free.scores == paid.scores != ""


def test_what_could_be_found_pays_for_the_look_and_for_every_student():
    scores = {("long", 0): 14, ("long", 1): 12, ("long", 2): 13} | {("short", seed): 7 for seed in range(3)}
    alone = _gap(_gaps(scores), "long_cot_gap")
    found = _gaps(scores, students=["a", "b"])
    of_two = next(g for g in found if g.primary)
    at_cap = next(g for g in found if (g.name, g.max_tokens, g.group) == ("long_cot_gap", 8, "all"))
    assert alone.detectable is not None and of_two.detectable is not None
    assert of_two.detectable > 1.1 * alone.detectable
    assert at_cap.detectable == alone.detectable, "what is exploratory pays for nothing"
    first, second, spent = (
        next(g for g in _two_benchmarks(scores, scores, lambda student, hash, t=t: Paid(1, t)) if g.primary).detectable
        for t in (1.0, 2.0, math.inf)
    )
    assert first is not None and second is not None and second > 1.1 * first
    assert spent is None
    same = next(g for g in _two_benchmarks(scores, scores, None, students=TWINS) if g.primary).detectable
    assert same == second, "two students cost what doubling p does"


TWINS = {name: {"model": "some/model"} for name in ("t", "u")}


def test_a_spent_look_gives_no_verdict_not_even_that_there_is_no_difference():
    same = _twice(long=10, short=10)
    free, spent = (
        next(g for g in _two_benchmarks(same, same, pay, smallest_gap=0.3) if g.primary)
        for pay in (None, lambda student, hash: Paid(2, math.inf))
    )
    assert free.verdict.startswith("no difference larger than")
    assert spent.verdict == "can't tell (one look was declared, this is look 2)"


def test_no_difference_does_not_stand_where_another_budget_shows_one():
    same = {"long": 10, "short": 10, "mix": 10}
    other = {"long": 14, "short": 7, "mix": 10}
    for found, verdict in ((same, "no difference larger than"), (other, "can't tell (depends on the budget)")):
        budgets = _twice(**same) | _twice("loss_tokens", **found)
        gaps_of = _under({"flexible": budgets}, budget={"also": ["loss_tokens"]}, smallest_gap=0.3)
        assert _gap(gaps_of[Under("flexible")], "long_cot_gap").verdict.startswith(verdict)


def test_no_difference_that_another_reading_withdraws_is_larger_there():
    found = _readings({"flexible": _twice(long=10, short=10), "strict": _twice(long=19, short=2)}, smallest_gap=0.3)
    assert _gap(found["flexible"], "long_cot_gap").verdict == "can't tell (larger under strict)"
