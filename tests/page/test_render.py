"""The report says what the numbers say, shows hostile text as text, and asks nothing of the network.

The study drawn here is made up: two students, four arms, two token caps, one training missing, one red confound.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from mixdistill.evidence import (
    ArmAccuracy,
    ArmFacts,
    CellFacts,
    Confound,
    Evidence,
    Primary,
    SharedFacts,
    SharedStep,
    StudentFacts,
    TeacherFacts,
)
from mixdistill.page import figures, render, wording
from mixdistill.types import Gap, Interval, Score

CAPS = (None, 64)
SEEDS = {"s": 5, "m": 3}
PROBLEMS = 500
LEVELS = {
    None: {
        "s": {"short": 0.458, "long": 0.274, "mix-20": 0.471},
        "m": {"short": 0.633, "long": 0.835, "mix-20": 0.695},
    },
    64: {
        "s": {"short": 0.458, "long": 0.212, "mix-20": 0.462},
        "m": {"short": 0.633, "long": 0.604, "mix-20": 0.688},
    },
}
WOBBLE = {"s": (-0.11, 0.05, 0.01, -0.02, 0.07), "m": (-0.022, 0.008, 0.014)}
SPREAD = {"s": 0.094, "m": 0.052}
RECIPE = """name: demo
teachers:
  long: {backend: recorded, model: lab:long}
  short: {backend: recorded, model: lab:short}
arms: {long: {long: 1}, short: {short: 1}, mix-20: {long: 0.2, short: 0.8}}
primary: {contrast: long_cot_gap, benchmark: signs, max_tokens: null}
"""


def accuracies() -> list[ArmAccuracy]:
    rows = []
    for cap in CAPS:
        for student, levels in LEVELS[cap].items():
            rows.append(
                ArmAccuracy(
                    student=student,
                    arm="base",
                    benchmark="signs",
                    max_tokens=cap,
                    mean=0.012,
                    checkpoints=Interval(low=0.004, high=0.026),
                    data=None,
                    seeds={},
                    problems=PROBLEMS,
                )
            )
            for arm, mean in levels.items():
                wobble = WOBBLE[student][: -1 if (student, arm) == ("s", "mix-20") else None]
                centre = sum(wobble) / len(wobble)
                seeds = {
                    i: round(mean + (w - centre) * (1.6 if arm == "long" else 0.6), 3) for i, w in enumerate(wobble)
                }
                half = SPREAD[student] * (1.3 if arm == "long" else 0.6)
                rows.append(
                    ArmAccuracy(
                        student=student,
                        arm=arm,
                        benchmark="signs",
                        max_tokens=cap,
                        mean=mean,
                        checkpoints=Interval(low=mean - 0.019, high=mean + 0.019),
                        data=Interval(low=mean - half, high=mean + half),
                        seeds=seeds,
                        problems=PROBLEMS,
                    )
                )
    return rows


def scores() -> list[Score]:
    rows = []
    for row in accuracies():
        for seed, accuracy in (row.seeds or {None: row.mean}).items():
            correct = round(accuracy * PROBLEMS)
            rest = PROBLEMS - correct
            cut = {"long": 0.45, "mix-20": 0.18, "short": 0.02, "base": 0.3}[row.arm]
            truncated = round(rest * cut * (1.6 if row.max_tokens else 1))
            silent = round(rest * (0.6 if row.arm == "base" else 0.04))
            error = 1 if row.arm == "long" else 0
            truncated = min(truncated, rest - silent - error)
            rows.append(
                Score(
                    student=row.student,
                    arm=row.arm,
                    seed=seed,
                    benchmark="signs",
                    group="all",
                    verifier="signs",
                    k=1,
                    max_tokens=row.max_tokens,
                    correct=correct,
                    truncated=truncated,
                    no_answer=silent,
                    error=error,
                    incorrect=rest - truncated - silent - error,
                    examples=PROBLEMS,
                    finished=PROBLEMS - truncated,
                    mean_completion_tokens={"long": 71.5}.get(row.arm, 19.2),
                )
            )
    return rows


def gap(name: str, student: str, arms: tuple[str, str], cap: int | None, *, verdict: str, half: float) -> Gap:
    """A gap whose delta comes from the table of levels."""
    a, b = (LEVELS[cap][student].get(arm, 0.012) for arm in arms)
    delta, seeds = a - b, SEEDS[student] - (student == "s" and "mix-20" in arms)
    return Gap(
        name=name,
        student=student,
        benchmark="signs",
        arms=arms,
        verifier="signs",
        max_tokens=cap,
        primary=(name, cap) == ("long_cot_gap", None),
        accuracies=(a, b),
        delta=delta,
        checkpoints=Interval(low=delta - 0.027, high=delta + 0.027),
        data=Interval(low=delta - half, high=delta + half),
        seed_deltas=[delta + w for w in WOBBLE[student][:seeds]],
        df=float(seeds - 1),
        p=0.021,
        p_holm=None,
        verdict=verdict,
        problems=PROBLEMS,
        seeds=seeds,
        detectable=half * 1.4,
    )


def gaps() -> list[Gap]:
    pair, blend = ("long", "short"), ("mix-20", "short")
    return [
        gap("long_cot_gap", "s", pair, None, verdict="can't tell", half=0.216),
        gap("long_cot_gap", "m", pair, None, verdict="long helps", half=0.064),
        gap("long_cot_gap", "s", pair, 64, verdict="short helps", half=0.171),
        gap("long_cot_gap", "m", pair, 64, verdict="can't tell", half=0.083),
        gap("mix_gain", "s", blend, None, verdict="can't tell", half=0.104),
        gap("mix_gain", "m", ("mix-20", "long"), None, verdict="long helps", half=0.071),
        gap("mix_gain", "s", blend, 64, verdict="can't tell", half=0.112),
        gap("mix_gain", "m", blend, 64, verdict="mix-20 helps", half=0.049),
    ]


def cells() -> list[CellFacts]:
    tokens = {"long": 668_214, "short": 171_020, "mix-20": 270_611}
    share = {"long": {"long": 1.0}, "short": {"short": 1.0}, "mix-20": {"long": 0.2, "short": 0.8}}
    by_token = {"long": {"long": 1.0}, "short": {"short": 1.0}, "mix-20": {"long": 0.494, "short": 0.506}}
    return [
        CellFacts(
            student=student,
            arm=arm,
            seed=seed,
            updates=560 if (student, arm) == ("m", "long") else 625,
            examples=10_000,
            distinct_problems=5_000,
            epochs=2.0,
            loss_tokens=tokens[arm] + 37 * seed,
            share_examples=share[arm],
            share_loss_tokens=by_token[arm],
            dropped={"longer than 256 tokens": 12} if arm != "short" else {},
            learning_rate=1.5e-3,
            final_loss={"long": 0.41, "short": 0.22, "mix-20": 0.30}[arm],
            seconds=21.5,
            device="cpu",
        )
        for student, count in SEEDS.items()
        for arm in share
        for seed in range(count)
        if (student, arm, seed) != ("s", "mix-20", 4)
    ]


def teacher(name: str, *, wrong: int, tokens: float) -> TeacherFacts:
    return TeacherFacts(
        name=name,
        model=f"lab:{name}",
        backend="recorded",
        problems=5_041,
        traces=5_041,
        errors=3,
        correct=5_041 - wrong - 12,
        incorrect=wrong,
        no_answer=4,
        truncated=8,
        error_verdicts=0,
        finished=5_033,
        accepted=5_029 - wrong,
        pass_rate=0.83,
        tokens_mean=tokens,
        tokens_median=tokens * 0.8,
        tokens_p90=tokens * 2.1,
        steps_mean=tokens / 17,
    )


def solved() -> list[SharedStep]:
    everyone = {"1": 0.4, "2": 0.6}
    return [
        SharedStep(
            teachers=[], problems=250, pass_rate=None, pass_rate_overall=None, easier=None,
            tokens={"long": 912.4, "short": 190.0}, levels=everyone,
        ),
        SharedStep(
            teachers=["long"], problems=140, pass_rate=0.9, pass_rate_overall=0.85,
            easier=Interval(low=-0.01, high=0.11), tokens={"long": 912.4, "short": 171.0}, levels=everyone,
        ),
        SharedStep(
            teachers=["long", "short"], problems=53, pass_rate=0.97, pass_rate_overall=0.83,
            easier=Interval(low=0.1, high=0.18), tokens={"long": 640.0, "short": 120.0}, levels={"1": 0.75, "2": 0.25},
        ),
    ]  # fmt: skip


def example() -> Evidence:
    """The study."""
    return Evidence(
        name="demo",
        question="Does a small student learn more from long reasoning or from short?",
        created="2026-11-23T18:20:00Z",
        primary=Primary(contrast="long_cot_gap", benchmark="signs", max_tokens=None),
        verifier="signs",
        budget="examples",
        students=[
            StudentFacts(name="s", model="lab:s", parameters=103_000),
            StudentFacts(name="m", model="lab:m", parameters=456_000),
        ],
        arms=[
            ArmFacts(name="base", weights={}),
            ArmFacts(name="long", weights={"long": 1}),
            ArmFacts(name="short", weights={"short": 1}),
            ArmFacts(name="mix-20", weights={"long": 0.2, "short": 0.8}),
        ],
        teachers=[teacher("long", wrong=0, tokens=67.0), teacher("short", wrong=29, tokens=17.0)],
        solved=solved(),
        shared=[
            SharedFacts(
                arms=["long", "short", "mix-20"],
                problems=5_000,
                lost={"no accepted trace of short": 29, "longer than 256 tokens": 12},
            )
        ],
        cells=cells(),
        scores=scores(),
        accuracies=accuracies(),
        gaps=gaps(),
        confounds=[
            Confound(
                severity="red",
                field="updates",
                student="m",
                text="m: arms took different numbers of updates.",
                values={"long": "560", "short": "625"},
            ),
            Confound(
                severity="note",
                text="Long traces put 3.9 times as many loss tokens into an update.",
                field="loss_tokens",
                values={"long": "668,214", "short": "171,020"},
            ),
        ],
        cells_wanted=24,
        missing=["s/mix-20/4: worker was killed (out of memory)"],
        notes=[
            "Each size is one pretrained base: nothing here says what another base of that size would do.",
            "Problems are generated puzzles; they stand for no school mathematics.",
        ],
        command="mixdistill demo --out runs/demo",
        recipe=RECIPE,
        versions={"mixdistill": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "transformers": "5.16.1"},
        seconds=421.7,
    )


def changed(**fields) -> Evidence:
    return example().model_copy(update=fields)


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
    assert line.startswith("No verdict: long_cot_gap on signs was not measured (1 of 24 cells missing).")
    assert "exploratory" in render.headline(changed(primary=None))


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
    assert columns == {19}


def test_cannot_tell_is_on_the_page_in_words_in_every_form() -> None:
    for text in (render.html(example()), render.gap_svg(example())):
        assert "can&#39;t tell" in text
    assert "can't tell" in render.markdown(example())


def test_every_gap_is_a_row_of_the_markdown_and_of_the_page() -> None:
    text, page = render.markdown(example()), render.html(example())
    for each in gaps():
        row = (
            f"{each.student} | {each.arms[0]} \N{MINUS SIGN} {each.arms[1]} | signs | {wording.cap(each.max_tokens)} |"
        )
        line = next(line for line in text.splitlines() if f"{each.name} | {row}" in line)
        assert wording.points(each.delta) in line and wording.span(each.data) in line and each.verdict in line
        assert f"<td>{wording.span(each.data)}</td>" in page


def test_both_intervals_of_every_gap_are_in_the_text_alternative_of_its_figure() -> None:
    page = render.html(example())
    for each in gaps():
        assert f"this data {wording.span(each.data)}; these checkpoints {wording.span(each.checkpoints)};" in page


def test_the_primary_comparison_is_drawn_first() -> None:
    shuffled = changed(gaps=list(reversed(gaps())))
    first = figures.gap_figures(shuffled)[0]
    assert first.title == "long_cot_gap" and first.panels[0].primary and not first.panels[1].primary
    assert [gap.student for gap in first.panels[0].rows] == ["s", "m"]


def test_scores_under_another_rule_never_enter_the_figures() -> None:
    other = [score.model_copy(update={"verifier": "flexible"}) for score in scores()]
    assert figures.outcome_figures(changed(scores=[*scores(), *other])) == figures.outcome_figures(example())


def test_outcome_bars_add_up_to_every_answer() -> None:
    for figure in figures.outcome_figures(example()):
        for panel in figure.panels:
            for bar in panel.rows:
                assert sum(bar.counts.values()) == bar.examples
                assert sum(width for _, _, width, _ in bar.segments()) == pytest.approx(100, abs=0.01)


def test_a_red_confound_marks_its_field_in_the_arms_it_names() -> None:
    red = {(row.student, row.arm): row.red for row in figures.trainings(example())}
    assert red["m", "long"] == red["m", "short"] == {"updates"}
    assert not red["m", "mix-20"] and not red["s", "long"]


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
    row = ["53", f"21.2{space}%", f"97.0{space}%", f"83.0{space}%", "+10.0 to +18.0", "640", "120"]
    cells = "".join(f"<td>{cell}</td>" for cell in row)
    assert f'<th scope="row">long and short</th>{cells}<td class="words">1: 75{space}%, 2: 25{space}%</td>' in page
    rest = f"| 53 | 97.0{space}% | 83.0{space}% | +10.0 to +18.0 | 640 | 120 | 1: 75{space}%, 2: 25{space}% |"
    assert f"| long and short {rest}" in text.splitlines()
    head = "| solved by | problems | right there | right over all | difference, 95 % interval | tokens: long |"
    table = text[text.index(head) :].partition("\n\n")[0].splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| nobody: all problems", "| long", "| long and short"]
    assert {line.count("|") for line in table} == {9}
    assert wording.solved_words(solved()).replace("'", "&#39;") in page
    bare = changed(solved=[step.model_copy(update={"levels": {}}) for step in solved()])
    assert '<th scope="col" class="words">levels</th>' in page
    assert '<th scope="col" class="words">levels</th>' not in render.html(bare)


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
        confounds=[],
        missing=[],
        notes=[],
        versions={},
        primary=None,
    )
    assert "No verdict" in render.html(empty) and "No verdict" in render.markdown(empty)
    ET.fromstring(render.gap_svg(empty))
