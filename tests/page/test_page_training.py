"""The gap over the training as the page has it: positions, bands, and the sentence on what was not over."""

import re

import study
from mixdistill import report
from mixdistill.evidence.rows import DevGap, DevPoint, Evidence, Moving
from mixdistill.page import render, training
from mixdistill.types import Interval

MINUS = "\N{MINUS SIGN}"
HALF = "50\N{NO-BREAK SPACE}% of the training and the end"
POINTS = (0.25, 0.5, 1.0)


def gap(student: str, progress: float, delta: float, *, name: str = "long_cot_gap", **fields) -> DevGap:
    known = {
        "variant": "",
        "arms": ("long", "short"),
        "checkpoints": Interval(low=delta - 0.05, high=delta + 0.05),
        "data": Interval(low=delta - 0.1, high=delta + 0.1),
        "problems": 200,
        "seeds": 3,
    }
    return DevGap(name=name, student=student, progress=progress, delta=delta, **{**known, **fields})


def point(arm: str, progress: float, mean: float) -> DevPoint:
    return DevPoint(
        student="s", arm=arm, progress=progress, mean=mean, checkpoints=None, data=None, seeds={0: mean}, problems=200
    )


def moving(arm: str, delta: float, *, moves: bool = True, student: str = "s") -> Moving:
    interval = Interval(low=delta - 0.02, high=delta + 0.02)
    return Moving(student=student, arm=arm, since=0.5, delta=delta, interval=interval, moving=moves)


def evidence(**fields) -> Evidence:
    gaps = [
        gap(s, p, d)
        for s, ds in {"m": (0.0, 0.1, 0.2), "s": (-0.1, -0.1, -0.3)}.items()
        for p, d in zip(POINTS, ds, strict=True)
    ]
    points = [point(arm, p, 0.4 * p) for arm in ("long", "short") for p in POINTS]
    return study.changed(**{"dev_gaps": gaps, "dev_points": points, **fields})


def test_curves_are_in_order_of_size_over_one_axis():
    (figure,) = training.curve_figures(evidence())
    assert (figure.title, figure.arms, [c.student for c in figure.curves]) == (
        "long_cot_gap", ("long", "short"), ["s", "m"],
    )  # fmt: skip
    assert len({curve.axis for curve in figure.curves}) == 1
    assert (figure.curves[0].axis.low, figure.curves[0].axis.high) == (-0.4, 0.4)


def test_line_and_band_run_through_the_points_and_their_intervals():
    (curve,) = training.curve_figures(evidence(dev_gaps=[gap("s", p, d) for p, d in ((0.5, 0.1), (1.0, 0.3))]))[
        0
    ].curves
    assert (curve.axis.low, curve.axis.high) == (0.0, 0.4)
    assert curve.line == "50,75 100,25"
    assert curve.band == "50,50 100,0 100,50 50,100"
    assert curve.kind == "data"


def test_one_seed_draws_the_interval_of_these_checkpoints():
    (curve,) = training.curve_figures(evidence(dev_gaps=[gap("s", 1.0, 0.1, data=None)]))[0].curves
    assert curve.kind == "checkpoints"
    assert curve.band != ""


def test_point_without_an_interval_has_no_band():
    (curve,) = training.curve_figures(evidence(dev_gaps=[gap("s", 1.0, 0.1, data=None, checkpoints=None)]))[0].curves
    assert curve.band == ""


def test_primary_contrast_comes_first_and_other_budgets_are_not_drawn():
    gaps = [gap("s", 1.0, 0.1, name="mix_gain"), gap("s", 1.0, 0.1), gap("s", 1.0, 0.5, variant="loss_tokens")]
    figures = training.curve_figures(evidence(dev_gaps=gaps))
    assert [f.title for f in figures] == ["long_cot_gap", "mix_gain"]
    assert [len(c.gaps) for f in figures for c in f.curves] == [1, 1]


def test_blend_against_more_than_one_arm_names_none():
    gaps = [gap("s", 0.5, 0.1, arms=("mix", "long")), gap("s", 1.0, 0.1, arms=("mix", "short"))]
    assert training.curve_figures(evidence(dev_gaps=gaps))[0].arms == ("", "")


def test_sentences_say_which_arm_was_moving_which_way_and_how_sure():
    rows = [
        moving("long", 0.075),
        moving("short", -0.1),
        moving("mix-20@loss_tokens", 0.3),
        moving("long", 0.01, moves=False, student="m"),
    ]
    assert training.moving_words(evidence(moving=rows)) == [
        f"s: long was still rising: +7.5 points between {HALF} (+5.5 to +9.5).",
        f"s: short was still falling: {MINUS}10.0 points between {HALF} ({MINUS}12.0 to {MINUS}8.0).",
        f"s: mix-20 (by loss tokens) was still rising: +30.0 points between {HALF} (+28.0 to +32.0).",
        "More updates may change these gaps.",
    ]


def test_where_nothing_moves_that_is_said_and_where_nobody_was_asked_twice_nothing_is():
    assert training.moving_words(evidence(moving=[moving("long", 0.01, moves=False)])) == [
        "No arm's accuracy on dev was still moving at the end, beyond noise."
    ]
    assert training.moving_words(evidence()) == []


def test_terminal_gets_one_line_where_something_moves():
    rows = [
        moving("long", 0.075),
        moving("short", -0.1),
        moving("long@loss_tokens", 0.3),
        moving("long", 0.2, student="m"),
    ]
    assert training.moving_line(evidence(moving=rows)) == (
        f"still moving on dev when the training ended, points: s: long +7.5, short {MINUS}10.0; m: long +20.0"
    )
    assert training.moving_line(evidence(moving=rows)) in report.summary(evidence(moving=rows)).splitlines()
    assert "still moving" not in report.summary(evidence(moving=[moving("long", 0.1, moves=False)]))


def test_page_and_markdown_hold_the_figure_and_the_sentence():
    shown = evidence(moving=[moving("long", 0.075)])
    page, text = render.html(shown), render.markdown(shown)
    assert re.search(r'<polygon class="band" points="[\d. ,]+"/>', page)
    assert page.count('class="plot curve"') == 2
    for said in (page, text):
        assert "The gap over the training" in said
        assert "s: long was still rising: +7.5 points" in said
    assert f"| long_cot_gap | s | long {MINUS} short | the end | {MINUS}30.0 |" in text


def test_without_dev_problems_the_page_says_nothing_of_it():
    plain = study.changed()
    assert "The gap over the training" not in render.html(plain) + render.markdown(plain)
