"""What a gap is made of, in a sentence that says no more than its intervals do."""

from __future__ import annotations

from mixdistill.evidence.details import AverageGap, Details, GapPart, GapUndertrained, Part
from mixdistill.evidence.rows import Confound, Evidence, Primary
from mixdistill.page.anatomy import anatomy_words, parts_of
from mixdistill.page.costs import costs_words
from mixdistill.page.figures import part_figures
from mixdistill.types import Interval
from study import changed, gaps
from study_details import costs

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"
S, M = (gap for gap in gaps() if gap.primary)


def part(kind: Part, delta: float, *, most: bool = False, half: float = 0.02, one_seed: bool = False) -> GapPart:
    interval = Interval(low=delta - half, high=delta + half)
    return GapPart(
        name=S.name, student="s", benchmark="signs", arms=S.arms, max_tokens=None, part=kind, delta=delta,
        rates=(0.1, 0.1 + delta), checkpoints=interval, data=None if one_seed else interval, most=most, seeds=5,
        problems=500,
    )  # fmt: skip


def nothing(kind: Part) -> GapPart:
    return part(kind, 0.0).model_copy(update={"rates": (0.0, 0.0)})


def moved(delta: float) -> GapUndertrained:
    interval = Interval(low=delta - 0.05, high=delta + 0.05)
    return GapUndertrained(
        name=S.name, student="s", arms=S.arms, since=0.75, delta=delta, checkpoints=interval, data=interval, seeds=5,
        problems=200,
    )  # fmt: skip


def words(*parts: GapPart, low: float = -0.278, high: float = -0.09, **details: object) -> str:
    gap = S.model_copy(update={"data": Interval(low=low, high=high)})
    evidence: Evidence = changed(
        gaps=[gap, M, *gaps()[2:]], details=Details.model_validate({"parts": list(parts), **details}), confounds=[]
    )
    assert parts_of(evidence, gap) == list(parts)
    return anatomy_words(evidence)["s"]


def test_parts_are_named_with_their_intervals_and_the_one_that_makes_most_of_the_gap() -> None:
    assert words(
        part("cannot solve", -0.161, most=True), part("does not stop", -0.024), nothing("not extracted"),
        nothing("error"),
    ) == (
        f"Of the {MINUS}18.4 points of long_cot_gap: {MINUS}16.1 [{MINUS}18.1 to {MINUS}14.1] cannot solve, "
        f"{MINUS}2.4 [{MINUS}4.4 to {MINUS}0.4] does not stop. Most of it is 'cannot solve'."
    )  # fmt: skip


def test_where_no_part_is_surely_more_than_the_others_nothing_is_said_to_be_most() -> None:
    said = words(part("cannot solve", -0.10), part("does not stop", -0.084))
    assert said.endswith(" Can't tell which of them makes most of it.")


def test_gap_that_may_be_zero_is_made_of_nothing_but_parts_may_be_clear() -> None:
    both = words(part("cannot solve", 0.12), part("does not stop", -0.13), low=-0.2, high=0.1)
    assert both.endswith(
        " Can't tell what makes it: it may be zero. "
        f"Beyond noise the arms differ in 'cannot solve' (+12.0) and 'does not stop' ({MINUS}13.0)."
    )
    neither = words(part("cannot solve", 0.01), part("does not stop", -0.01), low=-0.2, high=0.1)
    assert neither.endswith(" Can't tell what makes it: it may be zero.")


def test_one_seed_speaks_of_these_checkpoints() -> None:
    gap = S.model_copy(update={"data": None, "seeds": 1})
    details = Details(parts=[part("cannot solve", -0.184, one_seed=True)])
    said = anatomy_words(changed(gaps=[gap, M], details=details, confounds=[]))["s"]
    assert said == (
        f"Of the {MINUS}18.4 points of long_cot_gap: {MINUS}18.4 [{MINUS}20.4 to {MINUS}16.4] cannot solve "
        "(these checkpoints)."
    )


def test_whether_more_training_would_change_it_is_said_where_dev_was_asked() -> None:
    assert words(undertrained=[moved(0.08)]) == (
        f"Over the last 25{SPACE}% of the updates it moved by +8.0 points on dev [+3.0 to +13.0]: more training may "
        "change it."
    )
    assert words(undertrained=[moved(0.02)]).endswith(": can't tell whether more training would change it.")


def test_alarms_of_the_arms_of_the_gap_are_told() -> None:
    def alarm(student: str, arm: str, said: str) -> Confound:
        return Confound(
            severity="note", text="Undertrained: ...", field="undertrained", student=student, values={arm: said}
        )

    alarms = [alarm("s", "long", "12 updates, no warm-up"), alarm("s", "mix-20", "9 updates"), alarm("m", "long", "x")]
    said = anatomy_words(changed(confounds=alarms, details=Details()))
    assert said == {"s": "Undertrained: long (12 updates, no warm-up).", "m": "Undertrained: long (x)."}


def test_an_average_is_taken_apart_and_costed_on_each_benchmark_that_is_in_it_by_name() -> None:
    average = S.model_copy(update={"benchmark": "average"})
    sums = S.model_copy(update={"benchmark": "sums", "primary": False, "delta": 0.1})
    signs = part("cannot solve", -0.1)
    over = AverageGap(
        name=S.name, student="s", arms=S.arms, weights={"signs": 0.5, "sums": 0.5}, left_out=[], delta=0.0,
        checkpoints=None, data=None, p=None, verdict="x", seeds=5, problems=1_000,
    )  # fmt: skip
    answers = [c for c in costs() if c.student == "s"]
    guard = [c.model_copy(update={"benchmark": "ifeval", "tokens": 5.0}) for c in answers]
    evidence: Evidence = changed(
        primary=Primary(contrast=S.name, benchmark="average", max_tokens=None),
        gaps=[average, S.model_copy(update={"primary": False}), sums],
        confounds=[],
        details=Details(
            parts=[signs, signs.model_copy(update={"benchmark": "sums", "delta": 0.1})],
            averages=[over],
            costs=[*guard, *answers, *(c.model_copy(update={"benchmark": "sums"}) for c in answers)],
        ),
    )
    said = anatomy_words(evidence)["s"]
    assert f"Of the {MINUS}18.4 points of long_cot_gap on signs: {MINUS}10.0 [" in said
    assert "Of the +10.0 points of long_cot_gap on sums: +10.0 [" in said
    assert [(f.title, [p.benchmark for p in f.panels]) for f in part_figures(evidence)] == [
        ("long_cot_gap on signs", ["signs"]),
        ("long_cot_gap on sums", ["sums"]),
    ]
    assert costs_words(evidence) == [
        "s on signs: short 19.2k, long 71.5k tokens",
        "s on sums: short 19.2k, long 71.5k tokens",
    ]
