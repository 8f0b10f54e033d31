"""The report says what the numbers say, shows hostile text as text, and asks nothing of the network."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from mixdistill.evidence.rows import Confound, Evidence, SharedFacts
from mixdistill.page import contents, figures, render, tables, wording
from mixdistill.types import Interval
from study import accuracies, changed, example, gap, gaps, scores, solved


def decided(evidence: Evidence, **verdicts: tuple[float, str]) -> Evidence:
    """The study with other primary gaps: student -> (delta, verdict), all known to 5 points either way."""
    gaps = [
        gap.model_copy(
            update={"delta": delta, "verdict": verdict, "data": Interval(low=delta - 0.05, high=delta + 0.05)}
        )
        for gap in evidence.gaps
        if gap.primary and gap.student in verdicts
        for delta, verdict in [verdicts[gap.student]]
    ]
    return evidence.model_copy(update={"gaps": gaps, "confounds": []})


def test_headline_names_the_better_arm_and_every_student_it_holds_for() -> None:
    line = render.headline(decided(example(), s=(0.1, "long helps"), m=(0.2, "long helps")))
    assert line == "On signs: long beats short for s (by 10.0 points) and m (by 20.0 points)."


def test_headline_names_the_second_arm_when_it_is_the_better() -> None:
    assert "short beats long for s (by 30.0 points)" in render.headline(decided(example(), s=(-0.3, "short helps")))


def test_headline_says_cannot_tell_first_where_the_smallest_student_is_undecided() -> None:
    line = render.headline(example())
    assert line.startswith(
        "On signs: can't tell long from short for s (anything from \N{MINUS SIGN}40.0 to +3.2 points)"
    )
    assert "long beats short for m" in line


def test_headline_says_what_keeps_a_gap_open_whose_interval_leaves_out_zero() -> None:
    evidence = example()
    first = evidence.gaps[0].model_copy(
        update={"delta": -0.142, "data": Interval(low=-0.266, high=-0.017), "p": 0.038, "p_holm": 0.076}
    )
    line = render.headline(evidence.model_copy(update={"gaps": [first, *evidence.gaps[1:]]}))
    minus = "\N{MINUS SIGN}"
    assert f"can't tell long from short for s ({minus}14.2 points, but Holm's p over all students is 0.076)" in line


@pytest.mark.parametrize(("delta", "half"), [(0.2, 0.05), (0.0, 0.01)])
@pytest.mark.parametrize(
    ("verdict", "look", "paid"),
    [("can't tell (one look was declared, this is look 2)", 2, 0.0), ("can't tell (unfinished)", None, 1.0)],
)
def test_headline_says_what_keeps_a_gap_open_where_that_is_not_its_interval(verdict, look, paid, delta, half) -> None:
    data = Interval(low=delta - half, high=delta + half)
    update = {"delta": delta, "data": data, "verdict": verdict, "look": look, "paid": paid, "p_holm": 1.0}
    found = example().gaps[0].model_copy(update=update)
    why = verdict.removeprefix("can't tell ")
    assert f"can't tell long from short for {found.student} {why}" in render.headline(changed(gaps=[found]))


def test_headline_says_too_few_problems_before_any_p_and_no_p_that_keeps_nothing_open() -> None:
    evidence, clear = example(), {"delta": 1.0, "data": Interval(low=0.9, high=1.0), "p_holm": 0.00038}
    few = evidence.gaps[0].model_copy(update=clear | {"verdict": "can't tell (fewer than 100 problems)"})
    line = render.headline(evidence.model_copy(update={"gaps": [few, *evidence.gaps[1:]]}))
    assert "for s (anything from +90.0 to +100.0 points; fewer than 100 problems)" in line
    few = few.model_copy(update={"p_holm": 0.4})
    assert "Holm" not in render.headline(evidence.model_copy(update={"gaps": [few, *evidence.gaps[1:]]}))


def test_headline_names_students_without_a_measurement() -> None:
    assert render.headline(decided(example(), s=(0.1, "long helps"))).endswith("; m was not measured.")


def test_headline_of_a_blend_says_every_pure_arm() -> None:
    evidence = decided(example(), m=(0.1, "mix-20 beats every pure arm"))
    gaps = [gap.model_copy(update={"arms": ("mix-20", "short")}) for gap in evidence.gaps]
    assert "mix-20 beats every pure arm for m" in render.headline(evidence.model_copy(update={"gaps": gaps}))


def test_headline_of_no_difference_keeps_its_bound() -> None:
    line = render.headline(decided(example(), m=(0.0, "no difference larger than 5 points")))
    assert "no difference larger than 5 points between long and short for m" in line


def test_headline_keeps_the_gap_and_remarks_where_only_the_means_are_below_base() -> None:
    rows = [row.model_copy(update={"mean": 0.9}) if row.arm == "base" else row for row in accuracies()]
    line = render.headline(changed(accuracies=rows, confounds=[]))
    assert line.startswith("On signs: can't tell long from short for s")
    assert "long beats short for m" in line
    assert "can't tell whether any training helps s: base scores 90.0\N{NO-BREAK SPACE}%" in line
    assert "keep the untuned" not in line


def test_headline_advises_the_base_model_only_where_every_arm_is_beaten_by_interval() -> None:
    rows = [row.model_copy(update={"mean": 0.9}) if row.arm == "base" else row for row in accuracies()]
    against = [
        gap("over_base", "s", (arm, "base"), None, verdict="base helps", half=0.0).model_copy(
            update={"delta": -0.4, "data": Interval(low=-0.5, high=-0.3)}
        )
        for arm in ("long", "short", "mix-20")
    ]
    only_s = [row for row in rows if row.student == "s"]
    sure = render.headline(changed(accuracies=only_s, gaps=[*gaps(), *against]))
    assert sure.startswith("On signs: keep the untuned s: base scores 90.0\N{NO-BREAK SPACE}%")
    assert "from short for s" not in sure
    one_open = render.headline(changed(accuracies=only_s, gaps=[*gaps(), *against[:2]]))
    assert "keep the untuned" not in one_open
    assert "from short for s" in one_open


def test_headline_without_the_primary_contrast_says_so() -> None:
    line = render.headline(changed(gaps=[gap for gap in gaps() if not gap.primary]))
    assert line.startswith("No verdict: long_cot_gap on signs was not measured (1 of 24 trainings missing).")
    assert "exploratory" in render.headline(changed(primary=None))


def test_the_page_says_what_is_missing_and_takes_no_evaluation_for_a_training() -> None:
    assert '<a href="#missing">1 of 24 trainings missing</a>' in render.html(example())
    page = render.html(changed(cells_wanted=23, missing=["m/long/0: not evaluated on ifeval; run the recipe again"]))
    assert '<a href="#missing">evaluations of 1 cell missing</a>' in page
    assert '<h3 id="missing">Missing: evaluations of 1 cell</h3>' in page


def test_headline_warns_of_a_red_confound_in_the_arms_compared_and_of_no_other() -> None:
    assert render.headline(example()).endswith("Not a fair comparison: the arms differ in more than their data.")
    stale = Confound(severity="red", text="x", field="recipe", values={"long": "seed 0"})
    assert render.headline(changed(confounds=[stale])).endswith("trained otherwise than it now says.")
    elsewhere = Confound(severity="red", text="x", values={"mix-20": "1", "mix-50": "2"})
    assert "fair" not in render.headline(changed(confounds=[elsewhere]))


@pytest.mark.parametrize("interval", [None, Interval(low=-0.01, high=0.3)])
def test_a_verdict_without_an_interval_on_its_side_is_shown_as_cannot_tell(interval: Interval | None) -> None:
    bold = gap("long_cot_gap", "m", ("long", "short"), None, verdict="long helps", half=0.1)
    bold = bold.model_copy(update={"data": interval})
    assert wording.verdict_word(bold) == "can't tell"
    assert "can't tell long from short for m" in render.headline(changed(gaps=[bold]))


def test_the_page_is_one_file_that_asks_for_nothing() -> None:
    page = render.html(example())
    targets = re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']?([^"'\s>]*)""", page)
    assert targets and all(target.startswith("#") for target in targets)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page and "<script" not in page and "default-src 'none'" in page
    assert len(page.encode()) < 1_000_000


def test_the_page_links_only_to_what_is_in_it() -> None:
    page = render.html(example())
    assert {f'id="{target}"' for target in re.findall(r'href="#([^"]*)"', page)} <= set(re.findall(r'id="[^"]*"', page))


HOSTILE = (
    "</script></style></code><script>alert(1)</script><img src=x onerror=alert(2)> | `x` ```\n![a](http://b) \u202eabc"
)


def hostile() -> Evidence:
    evidence = example()
    return evidence.model_copy(
        update={
            "name": HOSTILE,
            "question": HOSTILE,
            "recipe": HOSTILE,
            "command": HOSTILE,
            "notes": [HOSTILE],
            "missing": [HOSTILE],
            "versions": {HOSTILE: HOSTILE},
            "confounds": [Confound(severity="red", text=HOSTILE, values={HOSTILE: HOSTILE})],
            "students": [s.model_copy(update={"name": HOSTILE, "model": HOSTILE}) for s in evidence.students],
            "teachers": [t.model_copy(update={"name": HOSTILE, "model": HOSTILE}) for t in evidence.teachers],
            "solved": [s.model_copy(update={"teachers": [HOSTILE], "levels": {HOSTILE: 1.0}}) for s in evidence.solved],
            "gaps": [g.model_copy(update={"student": HOSTILE, "arms": (HOSTILE, HOSTILE)}) for g in evidence.gaps],
            "gaps_by_rule": [
                g.model_copy(update={"student": HOSTILE, "arms": (HOSTILE, HOSTILE)}) for g in evidence.gaps_by_rule
            ],
            "readings": [r.model_copy(update={"student": HOSTILE, "arm": HOSTILE}) for r in evidence.readings],
            "agreement": [a.model_copy(update={"whose": HOSTILE, "verifier": HOSTILE}) for a in evidence.agreement],
            "shared": [SharedFacts(arms=[HOSTILE], problems=1, lost={HOSTILE: 1})],
        }
    )


def test_hostile_text_is_shown_and_never_markup() -> None:
    for text in (render.html(hostile()), render.gap_svg(hostile())):
        assert "<script" not in text and "<img" not in text and "&lt;script&gt;alert(1)" in text


def test_hostile_text_in_markdown_stays_in_its_cell_and_its_fence() -> None:
    text = render.markdown(hostile())
    outside = re.sub(r"(?ms)^(`{4,})\w+$.*?^\1$", "", text)
    assert outside != text
    assert "<script" not in outside and "<img" not in outside and "![" not in outside
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    columns = {len(re.findall(r"(?<!\\)\|", row)) for row in rows if "_gap |" in row or "_gain |" in row}
    assert columns == {16, 13}, "of all gaps, and of those under each reading"


def test_cannot_tell_is_on_the_page_in_words_in_every_form() -> None:
    for text in (render.html(example()), render.gap_svg(example())):
        assert "can&#39;t tell" in text
    assert "can't tell" in render.markdown(example())


def test_every_gap_is_a_row_of_the_markdown_and_of_the_page() -> None:
    text, page = render.markdown(example()), render.html(example())
    for each in gaps():
        cap = wording.cap(each.max_tokens).removeprefix("capped at ")
        row = f"{each.student} | {each.arms[0]} \N{MINUS SIGN} {each.arms[1]} | signs | {cap} |"
        line = next(line for line in text.splitlines() if f"{each.name} | {row}" in line)
        assert wording.points(each.delta) in line and wording.span(each.data) in line and each.verdict in line
        assert f"<td>{wording.span(each.data)}</td>" in page


def test_a_long_table_is_cut_on_the_page_and_whole_in_its_files() -> None:
    rows = [accuracies()[0].model_copy(update={"group": f"level-{i:03}"}) for i in range(130)]
    study = changed(accuracies=rows)
    page = render.html(study)
    assert '<td class="words">level-099</td>' in page and "level-100" not in page
    assert '<p class="rest">100 of 130 rows; the rest is in <code>tables/accuracies.csv</code>.</p>' in page
    assert "level-129" in tables.csv_text(contents.tables(study)["accuracies"]) and "level-129" in render.markdown(
        study
    )


def test_both_intervals_of_every_gap_are_in_the_text_alternative_of_its_figure() -> None:
    page = render.html(example())
    for each in gaps():
        assert f"this data {wording.span(each.data)}; these checkpoints {wording.span(each.checkpoints)};" in page


def test_the_primary_comparison_is_drawn_first() -> None:
    shuffled = changed(gaps=list(reversed(gaps())))
    first = figures.gap_figures(shuffled)[0]
    assert first.title == "long_cot_gap" and first.panels[0].primary and not first.panels[1].primary
    assert [gap.student for gap in first.panels[0].rows] == ["s", "m"]


def test_a_benchmark_with_a_verifier_of_its_own_is_drawn_like_the_others() -> None:
    own = {"benchmark": "gpqa", "verifier": "choice"}
    study = changed(
        scores=[*scores(), *(score.model_copy(update=own) for score in scores())],
        gaps=[*gaps(), *(gap.model_copy(update=own | {"primary": False}) for gap in gaps())],
    )
    panels = figures.outcome_figures(study)[0].panels
    assert [panel.benchmark for panel in panels] == ["signs", "signs", "gpqa", "gpqa"]
    assert [len(panel.rows) for panel in panels] == [4, 4, 4, 4]
    assert [p.benchmark for p in figures.gap_figures(study)[0].panels] == ["signs", "signs", "gpqa", "gpqa"]


def test_the_declared_comparison_is_so_whoever_grades_its_benchmark() -> None:
    study = changed(verifier="choice", gaps=[gap.model_copy(update={"verifier": "choice"}) for gap in gaps()])
    assert [wording.is_primary(study, gap) for gap in study.gaps[:3]] == [True, True, False]
    assert "verifier <b>choice</b>" in render.html(study)


def test_an_untuned_student_asked_otherwise_has_no_seeds_to_count() -> None:
    base = next(row for row in accuracies() if row.arm == "base").model_copy(update={"arm": "base+thinking"})
    page = render.html(changed(accuracies=[base, *accuracies()]))
    assert "<b>base+thinking</b> <small>untuned</small>" in page and "0 seed" not in page


def test_outcome_bars_add_up_to_every_answer() -> None:
    for figure in figures.outcome_figures(example()):
        for panel in figure.panels:
            for bar in panel.rows:
                assert sum(bar.counts.values()) == bar.examples
                assert sum(width for _, _, width, _ in bar.segments()) == pytest.approx(100, abs=0.01)


def test_axis_holds_zero_and_every_value_between_its_limits() -> None:
    axis = figures.Axis.over([-0.4, 0.07, 3.0], floor=-1, ceiling=1)
    assert axis.low <= -0.4 and axis.high == 1 and 0 in axis.ticks
    assert axis.at(3.0) == 100 and axis.at(axis.low) == 0
    assert figures.Axis.over([], floor=-1, ceiling=1).high > 0


def test_evidence_survives_json() -> None:
    evidence = example()
    assert Evidence.model_validate_json(evidence.model_dump_json()) == evidence
    assert json.loads(evidence.model_dump_json())["gaps"][0]["verdict"] == "can't tell"


def test_the_svg_is_well_formed_and_stands_alone() -> None:
    text = render.gap_svg(example())
    root = ET.fromstring(text)
    assert root.tag.endswith("svg") and "prefers-color-scheme: dark" in text
    assert "href" not in text and "url(" not in text


def words(**last: object) -> str:
    """What is said of the shared problems where the last step is another."""
    *first, step = solved()
    return wording.solved_words([*first, step.model_copy(update=last)]).replace("\N{NO-BREAK SPACE}", " ")


def test_what_all_teachers_solved_is_called_easier_only_where_an_interval_says_so() -> None:
    rates = "of a teacher's samples 97.0 % are right on what the others solved, 83.0 % over all (+14.0 points, "
    first = "Requiring both teachers leaves 53 of 250 problems. "
    assert words() == f"{first}They are easier: {rates}95 % interval +10.0 to +18.0)."
    assert words(easier=Interval(low=-0.02, high=0.3)).startswith(f"{first}It cannot be told whether they are easier: ")
    assert words(easier=Interval(low=-0.3, high=-0.02)).startswith(f"{first}They are harder: ")
    assert words(easier=None) == first.strip()
    assert words(problems=250) == "Both teachers solved all 250 problems."


def test_where_no_problem_is_left_it_is_said_whose_traces_are_lacking() -> None:
    assert words(problems=0, lacking={"long": 250, "short": 12}) == (
        "Requiring both teachers leaves 0 of 250 problems. Problems without a correct trace that ended by itself: "
        "long 250, short 12."
    )


def test_one_teacher_and_three_and_none_are_spoken_of_as_such() -> None:
    *first, last = solved()
    assert wording.solved_words([]) == ""
    assert wording.solved_words(first) == "long solved 140 of 250 problems."
    assert wording.solved_words([*first, last, last]).startswith("Requiring all 3 teachers leaves 53 of 250 problems.")


def test_every_step_of_what_was_solved_is_a_row_of_the_page_and_of_the_markdown() -> None:
    page, text = render.html(example()), render.markdown(example())
    space = "\N{NO-BREAK SPACE}"
    dash = "\N{EN DASH}"
    rates = [f"97.0{space}%", f"90.0{dash}99.0", f"83.0{space}%", f"80.0{dash}86.0", "+14.0", "+10.0 to +18.0"]
    row = ["53", *rates, "640", f"600{dash}700", "120", f"110{dash}130"]
    cells = "".join(f"<td>{cell}</td>" for cell in row)
    assert f'<th scope="row"><span>long and short</span></th>{cells}<td class="words">1: 40, 2: 13</td>' in page
    assert f"| long and short | {' | '.join(row)} | 1: 40, 2: 13 |" in text.splitlines()
    table = text[text.index("| solved by | problems | right there |") :].partition("\n\n")[0].splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| nobody: all problems", "| long", "| long and short"]
    assert {line.count("|") for line in table} == {14}
    assert wording.solved_words(solved()).replace("'", "&#39;") in page
    bare = changed(solved=[step.model_copy(update={"levels": {}}) for step in solved()])
    assert '<th scope="col" class="words">problems by level</th>' in page
    assert '<th scope="col" class="words">problems by level</th>' not in render.html(bare)


def test_a_study_with_nothing_in_it_still_renders() -> None:
    empty = changed(
        students=[],
        arms=[],
        teachers=[],
        solved=[],
        shared=[],
        cells=[],
        scores=[],
        accuracies=[],
        gaps=[],
        gaps_by_rule=[],
        confound_tables=[],
        readings=[],
        agreement=[],
        confounds=[],
        missing=[],
        notes=[],
        versions={},
        primary=None,
    )
    assert "No verdict" in render.html(empty) and "No verdict" in render.markdown(empty)
    ET.fromstring(render.gap_svg(empty))
