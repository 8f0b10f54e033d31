"""What the page draws in rows of its own can be had as pictures too, with the same numbers."""

from __future__ import annotations

from mixdistill.evidence.rows import DevGap
from mixdistill.page.copies import copies
from mixdistill.types import Interval
from study import changed, full, gaps

SPACE = "\N{NO-BREAK SPACE}"


def test_accuracy_is_a_column_per_arm_of_the_declared_view_with_the_untuned_student_as_a_line() -> None:
    chart = next(c for c in copies(full()) if c.name == "accuracy-s")
    assert [tick.text for tick in chart.x_ticks] == ["base", "long", "short", "mix-20"]
    assert chart.subtitle == "signs, uncapped"
    assert f"long 27.4{SPACE}% correct" in chart.text and f"base, untuned 1.2{SPACE}%" in chart.text
    assert [mark.data is None for mark in chart.series[0].marks] == [True, False, False, False]


def test_without_a_declared_comparison_the_first_view_is_drawn() -> None:
    assert [c.name for c in copies(full().model_copy(update={"primary": None}))] == ["accuracy-s", "accuracy-m"]


def test_parts_are_columns_about_zero() -> None:
    chart = next(c for c in copies(full()) if c.name == "parts-s-long_cot_gap")
    assert [tick.text for tick in chart.x_ticks] == ["cannot solve", "does not stop", "not extracted", "error"]
    stops = chart.series[0].marks[1]
    assert chart.zero is not None and stops.data and chart.zero < stops.data.top < stops.y < stops.data.bottom


def test_the_gap_over_the_training_is_a_curve_per_student() -> None:
    points = [
        DevGap(
            name="long_cot_gap", variant="", student=student, arms=("long", "short"), progress=progress, delta=0.1,
            checkpoints=None, data=Interval(low=0.0, high=0.2), problems=100, seeds=3,
        )
        for student in ("s", "m")
        for progress in (0.5, 1.0)
    ]  # fmt: skip
    chart = copies(changed(dev_gaps=points, gaps=gaps()))[-1]
    assert (chart.name, [s.name for s in chart.series]) == ("training-long_cot_gap", ["s", "m"])
    assert [tick.text for tick in chart.x_ticks] == ["50", "100"] and all(s.band for s in chart.series)
