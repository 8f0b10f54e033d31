"""Charts place what was measured, with both intervals, and say in words what they show."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from mixdistill.evidence.rows import ArmFacts, StudentFacts
from mixdistill.page import charts, contents, render
from study import changed, example, full, gaps
from study_details import details

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"


def test_the_gap_is_drawn_over_the_logarithm_of_size_with_both_intervals_and_open_ones_hollow() -> None:
    chart = charts.size_charts(example())[0]
    assert chart.name == "size-long_cot_gap"
    s, m = chart.series[0].marks
    assert [tick.text for tick in chart.x_ticks] == ["103k", "456k"]
    assert s.x < m.x and (s.open, m.open) == (True, False)
    assert s.data and s.checkpoints and s.data.top < s.checkpoints.top < s.y < s.checkpoints.bottom < s.data.bottom
    assert m.text == (
        "m (456k parameters) +20.2 points, this data +13.8 to +26.6, these checkpoints +17.5 to +22.9, long helps"
    )


def test_contrasts_follow_the_primary_one_and_those_against_base_are_not_among_them() -> None:
    assert [c.name for c in charts.size_charts(example())] == ["size-long_cot_gap", "size-mix_gain"]
    over = [g.model_copy(update={"name": "x", "arms": ("long", "base")}) for g in gaps()]
    assert charts.size_charts(changed(gaps=over)) == []


def test_no_size_is_drawn_of_one_student_or_of_students_of_unknown_size() -> None:
    unknown = [s.model_copy(update={"parameters": None}) for s in example().students]
    assert charts.size_charts(changed(students=unknown)) == []
    assert charts.size_charts(changed(students=example().students[:1])) == []


def test_a_crossover_is_told_and_drawn_with_an_end_that_may_have_no_bound() -> None:
    chart = charts.size_charts(full())[0]
    assert chart.crossing and chart.crossing[1] and chart.crossing[0] < chart.crossing[1] < chart.crossing[2] == 100
    assert chart.fit and chart.fit[1] > chart.fit[3], "the fitted gap grows with size"
    assert charts.crossover_words(full()) == (
        "Over 4 sizes the gap changes by +54.0 points for a student ten times as large (+24.0 to +84.0); the fitted "
        "line crosses zero at 210k parameters (95 %: 120k to beyond 4.56M)."
    )


def test_a_crossing_beyond_the_plot_is_told_and_nothing_of_it_is_drawn_outside() -> None:
    def drawn(**where: float | None) -> tuple[charts.Chart, str]:
        found = details().crossovers[0].model_copy(update=where)
        evidence = changed(details=details().model_copy(update={"crossovers": [found]}))
        return charts.size_charts(evidence)[0], charts.crossover_words(evidence)

    chart, words = drawn(parameters=3e6, low=2e6, high=4e6)
    assert chart.crossing is None and "crosses zero at 3M parameters (95 %: 2M to 4M)" in words
    chart, _ = drawn(parameters=3e6, low=3e5, high=None)
    assert chart.crossing and chart.crossing[1:] == (None, 100)
    picture = render.chart_svg(chart)
    assert 'class="crossing"' in picture and 'class="crossing-at"' not in picture
    chart, words = drawn(parameters=4e4, low=None, high=6e4)
    assert chart.crossing is None and "40k parameters (95 %: below 10.3k to 60k)" in words


def test_no_crossover_is_told_with_its_reason() -> None:
    few = "No crossover is fitted: that takes four sizes of one family, and here are 2."
    assert charts.crossover_words(example()) == few
    lost = [s.model_copy(update={"parameters": None}) for s in example().students]
    assert charts.crossover_words(changed(students=lost)) == few.replace("2.", "0 that are known.")
    one = few.replace("are 2.", "is one that is known.")
    assert charts.crossover_words(changed(students=[*lost[1:], *example().students[:1]])) == one
    four = [StudentFacts(name=f"s{i}", model="m", parameters=i) for i in range(1, 5)]
    assert charts.crossover_words(changed(students=four)) == (
        "No crossover is fitted: it takes four sizes of one family, each with two seeds and 100 problems."
    )
    primary = example().primary
    assert primary is not None
    capped = changed(primary=primary.model_copy(update={"max_tokens": 64}), details=details())
    assert charts.crossover_words(capped) == "No crossover is fitted: the declared comparison has a token cap."
    assert charts.size_charts(capped)[0].crossing is None
    far = details().crossovers[0].model_copy(update={"parameters": None, "low": None, "high": None})
    evidence = changed(details=details().model_copy(update={"crossovers": [far]}))
    assert charts.crossover_words(evidence).endswith("; the fitted line does not cross zero near these sizes.")
    assert charts.size_charts(evidence)[0].crossing is None


def test_accuracy_by_blend_goes_from_one_pure_arm_to_the_other_and_says_both_units() -> None:
    s, m = charts.blend_charts(example())
    assert (s.name, m.name) == ("blend-s-long-short", "blend-m-long-short")
    assert [mark.label for mark in s.series[0].marks] == ["short", "mix-20", "long"]
    assert [tick.text for tick in s.x_ticks] == ["0", "20", "100"]
    assert s.x_title == "share of long by examples, %; the rest is short"
    assert "mix-20 (20 % long by examples, 49 % by loss tokens) 47.1" in s.text
    assert [r.text for r in s.references] == [f"base, untuned 1.2{SPACE}%"]


def test_a_blend_of_three_teachers_and_arms_under_another_budget_are_in_no_pair() -> None:
    arms = [*example().arms, ArmFacts(name="all", weights={"long": 0.3, "short": 0.3, "self": 0.4})]
    arms.append(ArmFacts(name="mix-20@loss_tokens", weights={"long": 0.2, "short": 0.8}))
    assert charts.blend_charts(changed(arms=arms)) == charts.blend_charts(example())


def test_a_pair_without_a_blend_that_was_scored_has_no_chart() -> None:
    rows = [row for row in example().accuracies if row.arm != "mix-20"]
    assert charts.blend_charts(changed(accuracies=rows)) == []


def test_token_budgets_are_curves_by_arm_with_the_untuned_student_last_and_bands() -> None:
    found = charts.budget_charts(full())
    assert [c.name.removeprefix("budget-s-signs-") for c in found] == ["cut", "finished", "forced", "thinking"]
    cut = found[0]
    assert [(s.name, s.mark) for s in cut.series] == [
        ("long", "circle"), ("short", "square"), ("mix-20", "diamond"), ("base", "ring"),
    ]  # fmt: skip
    assert all(s.band and len(s.steps) == 4 for s in cut.series)
    assert "160 tokens 60.0" in cut.text and [t.text for t in found[3].x_ticks] == ["0", "50", "100"]


def test_a_band_is_drawn_only_where_every_point_has_an_interval() -> None:
    series = charts.budget_charts(full())[0].series[0]
    bare = charts.Mark(1, 2, None, None, "")
    assert charts.Series("a", 0, [*series.marks, bare]).band == ""


@pytest.mark.parametrize("kind", ["size", "blend", "budget"])
def test_every_chart_is_on_the_page_with_its_words_and_stands_alone_as_a_picture(kind: str) -> None:
    page = render.html(full())
    for chart in contents.plots(full())[kind]:
        assert chart.text.replace("'", "&#39;") in page
        root = ET.fromstring(render.chart_svg(chart))
        assert root.find("{http://www.w3.org/2000/svg}desc").text == chart.text  # ty: ignore[possibly-missing-attribute]


def test_positions_lie_inside_of_the_plot() -> None:
    for chart in (c for found in contents.plots(full()).values() for c in found):
        for mark in (m for s in chart.series for m in s.marks):
            ends = [end for e in (mark.data, mark.checkpoints) if e for end in e]
            assert all(0 <= place <= 100 for place in (mark.x, mark.y, *ends))
