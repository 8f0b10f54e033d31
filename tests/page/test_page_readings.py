"""The gap under each reading of the answers: on the page, in Markdown, in the picture and in the headline."""

from __future__ import annotations

import re

import study_details
from mixdistill.evidence.rows import Evidence
from mixdistill.page import figures, render, wording
from mixdistill.types import Rule
from study import changed, example, gaps, readings, under

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"


def turned(by: float = -0.30) -> Evidence:
    """The study in which the strict reading moves m's primary gap by `by`, and the verdict was withdrawn for it."""
    s, m, *rest = gaps()
    m = m.model_copy(update={"verdict": "can't tell (turns under strict)", "turned_by": ["strict"]})
    others = [under(g, rule) for rule in ("strict", "judge") for g in (s, m, *rest)]
    others[1] = under(m, "strict", by, verdict="short helps")
    return changed(gaps=[s, m, *rest], gaps_by_rule=others, confounds=[])


def alike() -> Evidence:
    """The study in which every reading decides every answer alike."""
    same = [row.model_copy(update=dict.fromkeys(figures.DIFFERENCES, 0)) for row in readings()]
    return changed(gaps_by_rule=[], alike={"strict": "flexible", "judge": "flexible"}, readings=same, agreement=[])


def test_one_sentence_says_that_the_sign_does_not_depend_on_the_reading() -> None:
    line = "The sign does not depend on how answers are read."
    assert wording.readings_words(example()) == [line]
    assert line in render.html(example()) and line in render.markdown(example())
    assert wording.readings_words(alike()) == [
        "The sign does not depend on how answers are read: every reading finds the same answers correct."
    ]


def test_a_withdrawn_verdict_is_explained_with_both_numbers_in_every_form() -> None:
    line = (
        f"Under strict the gap of m turns from +20.2 to {MINUS}9.8, so there is no verdict: "
        "read what 'mixdistill disagreements RUN --between flexible strict' lists."
    )
    assert wording.readings_words(turned()) == [line]
    assert line.replace("'", "&#39;") in render.html(turned())
    assert line in render.markdown(turned())
    headline = render.headline(turned())
    assert f"and m (+20.2 points, but {MINUS}9.8 under strict)." in headline
    assert "beats" not in headline


def test_the_picture_is_wide_enough_for_the_reason_of_a_withdrawn_verdict() -> None:
    assert 'viewBox="0 0 800 ' in render.gap_svg(example())
    picture = render.gap_svg(turned())
    assert 'viewBox="0 0 900 ' in picture and "can&#39;t tell (turns under strict)" in picture


def test_a_sign_that_turns_within_its_noise_or_without_a_verdict_is_told_as_such() -> None:
    s, m, *rest = gaps()

    def words(by: float, first: str) -> list[str]:
        m_then = m.model_copy(update={"verdict": first})
        return wording.readings_words(changed(gaps=[s, m_then, *rest], gaps_by_rule=[under(m_then, "strict", by)]))

    start = f"Under strict the gap of m turns from +20.2 to {MINUS}"
    assert words(-0.21, "long helps") == [f"{start}0.8, within its noise."]
    assert words(-0.30, "can't tell") == [f"{start}9.8; there was no verdict to withdraw."]


def test_a_blend_that_another_arm_beats_under_another_reading_is_told_by_the_arms() -> None:
    gap = gaps()[5].model_copy(update={"turned_by": ["strict"], "verdict": "can't tell (turns under strict)"})
    strict = under(gap, "strict").model_copy(update={"arms": ("mix-20", "short")})
    primary = example().primary
    assert primary is not None
    study = changed(
        gaps=[gap], gaps_by_rule=[strict], primary=primary.model_copy(update={"contrast": "mix_gain"}), confounds=[]
    )
    assert wording.readings_words(study) == [
        "Under strict it is short, not long, that m learns most from, so there is no verdict: "
        "read what 'mixdistill disagreements RUN --between flexible strict' lists."
    ]
    assert f"m ({MINUS}14.0 points, but not under strict)" in render.headline(study)


def test_a_larger_gap_under_another_reading_is_told_by_its_size() -> None:
    s, m, *rest = gaps()
    gap = m.model_copy(update={"verdict": "can't tell (larger under strict)", "turned_by": ["strict"]})
    study = changed(gaps=[s, gap, *rest], gaps_by_rule=[under(gap, "strict", 0.1)], confounds=[])
    assert wording.readings_words(study) == [
        "Under strict the gap of m is +30.2 points, not +20.2, so there is no verdict: "
        "read what 'mixdistill disagreements RUN --between flexible strict' lists."
    ]
    assert "m (+20.2 points, but +30.2 under strict)" in render.headline(study)


def test_a_gap_that_turns_with_the_wording_is_said_where_the_wordings_are() -> None:
    details = study_details.details().model_copy(update={"turned_wordings": ["It turns when asked as way."]})
    page, text = render.html(changed(details=details)), render.markdown(changed(details=details))
    for shown in (page, text):
        assert shown.index("In other words") < shown.index("It turns when asked as way.")
    robust = page[page.index('<section id="robust"') :].partition('<section id="limits"')[0]
    assert "It turns when asked as way." in robust


def test_what_could_be_found_is_said_of_enough_problems_alone() -> None:
    found = "would be found in 4 of 5 repetitions"
    assert [found in line for line in wording.reach(example())] == [True, True]
    s, m, *rest = gaps()
    few = s.model_copy(update={"verdict": "can't tell (fewer than 100 problems)"})
    assert [found in line for line in wording.reach(changed(gaps=[few, m, *rest]))] == [False, True]


def test_the_primary_contrast_is_drawn_by_student_and_reading_the_strictest_first() -> None:
    figure = figures.reading_figure(example())
    assert [panel.title for panel in figure.panels] == ["s", "m"]
    assert [[gap.rule for gap in panel.rows] for panel in figure.panels] == [["strict", "flexible", "judge"]] * 2
    assert {gap.name for panel in figure.panels for gap in panel.rows} == {"long_cot_gap"}
    page = render.html(example())
    drawn = page.index("The gap under each reading of the answers")
    assert page.index("primary, declared before the run") < drawn < page.index("<h2>Accuracy by arm")


def test_every_contrast_is_folded_away_with_every_reading() -> None:
    page = render.html(example())
    folded = page[page.index("All contrasts under each reading") :].partition("</details>")[0]
    rows = re.findall(r"<tr[ >].*", folded)[1:]
    assert len(rows) == 3 * len(gaps())
    strict = under(gaps()[2], "strict")
    assert f"<td>{wording.points(strict.delta)}</td><td>{wording.span(strict.data)}</td>" in folded


def test_a_reading_is_named_with_those_that_are_like_it() -> None:
    both: dict[Rule, Rule] = {"judge": "flexible"}
    study = changed(alike=both, gaps_by_rule=[g for g in example().gaps_by_rule if g.rule == "strict"])
    assert figures.rules(study) == ["strict", "flexible"]
    assert wording.reading_name(study, "flexible") == "flexible and judge"
    assert "<b>flexible and judge</b> <small>counts</small>" in render.html(study)
    assert "| flexible and judge (counts) |" in render.markdown(study)


def test_nothing_is_drawn_by_reading_where_all_are_alike() -> None:
    page, text = render.html(alike()), render.markdown(alike())
    assert "They decide every answer alike." in page and "They decide every answer alike." in text
    assert "All contrasts under each reading" not in page and "<small>counts</small>" not in page
    assert figures.reading_figure(alike()).panels == [] and figures.differences(alike()) == []


def test_what_the_readings_decide_differently_is_a_row_by_arm_with_the_primary_view_first() -> None:
    tables = figures.differences(changed(readings=list(reversed(readings()))))
    assert [{row.max_tokens for row in table} for table in tables] == [{None}, {64}]
    assert [(row.student, row.arm) for row in tables[0]] == [
        (student, arm) for student in "sm" for arm in ("base", "long", "short", "mix-20")
    ]
    shares = [cell for share in ("30.0", "42.2", "42.7") for cell in (f"{share}{SPACE}%", "25.0\N{EN DASH}45.0")]
    counts = ["2", "7", "120", "0", "5"]
    cells = "".join(f"<td>{cell}</td>" for cell in ["uncapped", "1,000", *shares, *counts])
    assert f'<th scope="row">long</th><td class="words">signs</td>{cells}</tr>' in render.html(example())
    row = " | ".join(["s", "long", "signs", "uncapped", "1,000", *shares, *counts])
    assert f"| {row} |" in render.markdown(example()).splitlines()


def test_what_a_later_verifier_says_is_told_of_the_audited_and_of_the_misses_with_intervals() -> None:
    page, text = render.html(example()), render.markdown(example())
    none, share = "\N{EN DASH}", [f"94.0{SPACE}%", "83.8\N{EN DASH}97.9"]
    first = ["970", "50", "47", *share, "29", "3", f"10.3{SPACE}%", none, "1"]
    cells = "".join(f"<td>{cell}</td>" for cell in first)
    assert f'<th scope="row"><span>teacher/long</span></th><td class="words">judge</td>{cells}</tr>' in page
    assert f"| teacher/long | judge | {' | '.join(first)} |" in text.splitlines()
    row = f"| student/s/long/signs | judge | 970 | 50 | 47 | {' | '.join(share)} | 0 | 0 | {none} | {none} | 1 |"
    assert row in text.splitlines()
    assert "What later verifiers of the chain say" not in render.html(alike())
