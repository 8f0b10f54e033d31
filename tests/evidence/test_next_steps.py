"""What to do next says no more than the verdict it follows from."""

from __future__ import annotations

from typing import Any

import pytest

from mixdistill.evidence.details import AverageGap, Details
from mixdistill.evidence.next_steps import next_steps
from mixdistill.evidence.rows import Confound, Evidence, Primary
from mixdistill.types import Gap, Interval, Outcome
from study import accuracies, changed, gap, gaps
from study_details import ended

COMMAND = "mixdistill demo --out runs/demo"


def of(*found: Gap, **fields) -> Evidence:
    """The study with these gaps, nothing missing and nothing unfair."""
    return changed(gaps=list(found), **{"missing": [], "confounds": [], **fields})


def primary(student: str = "m", delta: float = 0.2, half: float = 0.05, **fields) -> Gap:
    return gap("long_cot_gap", student, ("long", "short"), None, verdict="long helps", half=half).model_copy(
        update={"delta": delta, "data": Interval(low=delta - half, high=delta + half), **fields}
    )


def over_base(arm: str, delta: float, student: str = "m") -> Gap:
    found = primary(student, delta, name=f"{arm}_over_base", verdict="x")
    return found.model_copy(update={"arms": (arm, "base"), "primary": False})


def test_the_better_arm_is_advised_where_it_beats_the_untuned_student_too() -> None:
    assert next_steps(of(primary(), over_base("long", 0.3))) == ["Train m on long."]
    assert next_steps(of(primary(delta=-0.2), over_base("short", 0.3))) == ["Train m on short."]


def test_an_arm_that_is_not_shown_to_beat_the_untuned_student_is_advised_with_that_said() -> None:
    unsure = "Of the two, train m on long; but it is not shown to beat the untuned m."
    assert next_steps(of(primary(), over_base("long", 0.01))) == [unsure]
    assert next_steps(of(primary())) == ["Of the two, train m on long; but it was not compared with the untuned m."]


def test_the_untuned_student_is_kept_where_the_better_arm_is_worse_than_it() -> None:
    kept = "Keep the untuned m: training it on long makes it worse."
    assert next_steps(of(primary(), over_base("long", -0.3))) == [kept]


def test_the_untuned_student_is_kept_where_every_arm_is_beaten_by_it() -> None:
    rows = [row.model_copy(update={"mean": 0.9}) if row.arm == "base" else row for row in accuracies()]
    beaten = [over_base(arm, -0.4) for arm in ("long", "short", "mix-20")]
    assert next_steps(of(primary(), *beaten, accuracies=rows)) == ["Keep the untuned m: every arm makes it worse."]


@pytest.mark.parametrize(
    ("needed", "step"),
    [
        ("9 seeds", f"add 6 seeds: `{COMMAND} --set seeds=9`."),
        ("4 seeds", f"add 1 seed: `{COMMAND} --set seeds=4`."),
        ("1,200 problems", "ask 1,200 problems of signs (500 now)."),
        (
            "9 seeds and 1,200 problems",
            f"add 6 seeds and ask 1,200 problems of signs (500 now): `{COMMAND} --set seeds=9`.",
        ),
    ],
)
def test_an_open_gap_asks_for_what_would_decide_it(needed: str, step: str) -> None:
    steps = next_steps(of(primary(verdict=f"can't tell (would need {needed})", needed=needed)))
    assert steps == [f"To decide m, if its gap is large enough to matter, {step}"]


def test_that_more_problems_cannot_help_is_said() -> None:
    steps = next_steps(of(primary(verdict="can't tell", needed="9 seeds; more problems cannot help")))
    assert steps[1:] == ["More problems cannot decide m: its 3 seeds alone leave it open."]


def test_seeds_of_a_student_that_has_its_own_are_set_there() -> None:
    recipe = "students: {m: {model: x, seeds: 3}}\n"
    (step,) = next_steps(of(primary(verdict="can't tell", needed="9 seeds"), recipe=recipe))
    assert step.endswith(f"`{COMMAND} --set students.m.seeds=9`.")


def test_seeds_that_were_listed_stay_and_a_name_with_a_blank_survives_the_shell() -> None:
    found = primary(verdict="can't tell", needed="5 seeds")
    (step,) = next_steps(of(found, recipe="seeds: [11, 12, 13]\n"))
    assert step.endswith(f"`{COMMAND} --set 'seeds=[11,12,13,14,15]'`.")
    (step,) = next_steps(of(found, recipe="students: {m: {model: x, seeds: [4, 2, 7]}}\n"))
    assert step.endswith(f"`{COMMAND} --set 'students.m.seeds=[4,2,7,8,9]'`.")
    own = found.model_copy(update={"student": "m 2"})
    (step,) = next_steps(of(own, recipe="students: {m 2: {model: x, seeds: 3}}\n"))
    assert step.endswith(f"`{COMMAND} --set 'students.m 2.seeds=5'`.")


def test_one_seed_asks_for_more_of_them() -> None:
    (step,) = next_steps(of(primary(verdict="can't tell (one seed)", data=None, seeds=1)))
    assert step == f"Train m with 3 seeds or more (`{COMMAND} --set seeds=3`): one decides nothing."


def test_too_few_problems_ask_for_enough_of_them() -> None:
    few = [primary(s, verdict="can't tell (fewer than 100 problems)", problems=40) for s in ("s", "m")]
    assert next_steps(of(*few)) == ["Ask 100 problems or more of signs (40 now): fewer decide nothing."]


WHOLE = "problems: {eval: {signs: {source: openai/gsm8k}, sums: {source: my.jsonl, limit: 40}}}\n"
"""All of signs is asked, and of sums there may be more."""


def test_where_all_of_a_small_benchmark_is_asked_another_one_has_to_decide() -> None:
    few = primary(verdict="can't tell (fewer than 100 problems)", problems=40)
    small = [row.model_copy(update={"problems": 40}) for row in accuracies()]
    start = "Declare the `primary` of the next run on"
    end = "fewer than 100 problems decide nothing, and signs (40, all asked) has no more."
    (step,) = next_steps(of(few, recipe=WHOLE, accuracies=small))
    assert step == f"{start} a benchmark of 100 problems or more: {end}"
    others = [primary(benchmark=name, primary=False) for name in ("gsm8k", "average")]
    (step,) = next_steps(of(few, *others, recipe=WHOLE, accuracies=small))
    assert step == f"{start} gsm8k or average: {end}"


def average(**fields) -> tuple[Gap, dict[str, Any]]:
    """A primary gap of the average over signs and sums, and what a study with it has."""
    of_two = {"name": "long_cot_gap", "student": "m", "arms": ("long", "short"), "delta": 0.0, "problems": 540}
    row = AverageGap(
        **of_two, weights={"signs": 0.5, "sums": 0.5}, left_out=[], checkpoints=None, data=None, p=None, verdict="x",
        seeds=3,
    )  # fmt: skip
    sums = [row.model_copy(update={"benchmark": "sums", "problems": 40}) for row in accuracies()]
    study = {
        "primary": Primary(contrast="long_cot_gap", benchmark="average", max_tokens=None),
        "accuracies": [*accuracies(), *sums],
        "details": Details(averages=[row], ended=fields.pop("ended", [])),
    }
    return primary(benchmark="average", problems=540, **fields), study


def test_of_an_average_the_benchmark_that_is_too_small_is_named() -> None:
    found, study = average(verdict="can't tell (fewer than 100 problems)")
    assert next_steps(of(found, **study)) == ["Ask 100 problems or more of sums (40 now): fewer decide nothing."]


def test_more_problems_are_asked_only_of_benchmarks_that_have_more() -> None:
    found, study = average(verdict="can't tell", needed="1,200 problems")
    (step,) = next_steps(of(found, **study, recipe=WHOLE))
    assert step.endswith("matter, ask 1,200 problems of signs and sums together (540 now).")
    found = primary(verdict="can't tell", needed="1,200 problems")
    (step,) = next_steps(of(found, recipe=WHOLE))
    assert step.endswith("matter, take benchmarks of 1,200 problems (signs has 500, all of them asked).")
    both = WHOLE.replace("my.jsonl, limit: 40", "openai/sums")
    found, study = average(verdict="can't tell", needed="1,200 problems")
    (step,) = next_steps(of(found, **study, recipe=both))
    assert step.endswith("take benchmarks of 1,200 problems (signs and sums together have 540, all of them asked).")


@pytest.mark.parametrize("part", ["part: [0, 0.5]", "skip: 400", "limit: 500"])
def test_of_a_part_of_a_data_set_there_is_more_to_ask(part: str) -> None:
    found = primary(verdict="can't tell", needed="1,200 problems")
    (step,) = next_steps(of(found, recipe=WHOLE.replace("openai/gsm8k", f"a.jsonl, {part}")))
    assert step.endswith("matter, ask 1,200 problems of signs (500 now).")


def test_cut_answers_of_an_average_are_found_on_each_of_its_benchmarks() -> None:
    rows = [e.model_copy(update={"benchmark": "sums"}) for e in ended() if (e.student, e.arm) == ("m", "long")]
    found, study = average(ended=rows)
    (*_, step) = next_steps(of(found, **study))
    told = "29.5\N{NO-BREAK SPACE}% of the answers of m, long on sums were cut before one was given."
    assert step == f"Raise `evaluate.sampling.max_tokens`: {told}"


def test_a_gap_that_depends_on_the_reading_or_the_budget_asks_for_that() -> None:
    (read,) = next_steps(of(primary(verdict="can't tell (turns under strict)", turned_by=["strict"])))
    assert "`mixdistill disagreements RUN --between flexible strict`" in read
    (budget,) = next_steps(of(primary(verdict="can't tell (depends on the budget)", depends_on=["loss_tokens"])))
    assert budget == "Decide for m by the budget that you will train under: the verdict depends on it."
    (both,) = next_steps(of(primary(verdict="can't tell (depends on x)", depends_on=["each", "loss_tokens"])))
    assert both == (
        "Decide for m by the problems that you will train on and the budget that you will train under: the verdict "
        "depends on them."
    )


def test_an_open_gap_of_which_nothing_is_known_to_decide_it_is_left_open() -> None:
    step = "Choose between long and short for m on other grounds: these numbers do not."
    assert next_steps(of(primary(verdict="can't tell"))) == [step]


def test_who_declared_one_look_is_not_told_to_take_another() -> None:
    open_one = primary(verdict="can't tell (would need 6 seeds)", needed="6 seeds", look=1, paid=1.0)
    (step,) = next_steps(of(open_one))
    assert step == (
        "To decide m, if its gap is large enough to matter, plan a new study of 6 seeds: the one look at this one that "
        "was declared has been taken."
    )
    spent = primary(verdict="can't tell (one look was declared, this is look 2)", look=2, paid=0.0)
    assert next_steps(of(spent)) == [
        "Decide for m by a new study: the one look at this one that was declared has been taken."
    ]


def test_an_unfinished_comparison_asks_for_its_rest_alone() -> None:
    unfinished = primary(verdict="can't tell (unfinished)")
    steps = next_steps(of(unfinished, missing=["m/base+thinking: not evaluated"], cells_wanted=23))
    assert steps == [f"Run the recipe again: evaluations of 1 cell are missing (`{COMMAND}`)."]


def test_an_untuned_student_that_is_named_first_is_found_too() -> None:
    reverse = over_base("long", 0.3).model_copy(
        update={"name": "worth_it", "arms": ("base", "long"), "delta": -0.3, "data": Interval(low=-0.4, high=-0.2)}
    )
    assert next_steps(of(primary(), reverse)) == ["Train m on long."]


@pytest.mark.parametrize(
    ("recipe", "keys"),
    [
        ("train: {learning_rate: 1.0e-3}\n", "`train.learning_rate`"),
        ("tune: {learning_rate: [1.0e-3, 2.0e-3]}\n", "the values of `tune.learning_rate`"),
        (
            "students: {m: {model: x, train: {learning_rate: 1.0e-3}}, s: {model: y}}\n",
            "`train.learning_rate` and `students.m.train.learning_rate`",
        ),
    ],
)
def test_the_learning_rate_that_decides_is_the_one_to_lower(recipe: str, keys: str) -> None:
    steps = next_steps(
        of(primary(), over_base("long", 0.3), diverged=["s/long/4"], missing=["s/long/4: nan"], recipe=recipe)
    )
    assert steps[0] == f"Lower {keys}, in every arm alike: s/long/4 diverged, and would again."


def test_of_two_arms_that_do_not_differ_the_shorter_one_is_named_where_it_is_shorter() -> None:
    equal = primary(delta=0.0, verdict="no difference larger than 5.0 points")
    start = "Take the cheaper of long and short for m: no difference larger than 5.0 points"
    better = [over_base(arm, 0.3) for arm in ("long", "short")]
    assert next_steps(of(equal, *better)) == [f"{start}."]
    rows = [e.model_copy(update={"counts": e.counts | {Outcome.TRUNCATED: 0}}) for e in ended()]
    (step,) = next_steps(of(equal, *better, details=Details(ended=rows)))
    assert step == f"{start}; answers of short take 19 tokens, those of long 72."


@pytest.mark.parametrize(
    ("long", "short", "step"),
    [
        (None, None, "{start}; neither was compared with the untuned m."),
        (0.01, 0.01, "{start}; neither is shown to beat the untuned m."),
        (0.3, 0.01, "{start}; short is not shown to beat the untuned m."),
        (-0.3, -0.3, "Keep the untuned m: training it on long or short makes it worse."),
    ],
)
def test_of_two_arms_that_do_not_differ_none_is_advised_over_a_student_that_is_as_good_untuned(
    long: float | None, short: float | None, step: str
) -> None:
    over = [over_base(arm, delta) for arm, delta in (("long", long), ("short", short)) if delta is not None]
    equal = primary(delta=0.0, verdict="no difference larger than 5.0 points")
    start = "Take the cheaper of long and short for m: no difference larger than 5.0 points"
    assert next_steps(of(equal, *over)) == [step.format(start=start)]


def test_an_arm_that_does_not_differ_from_the_untuned_student_is_not_worth_its_training() -> None:
    equal = primary(delta=0.0, verdict="no difference larger than 5.0 points", arms=("long", "base"))
    assert next_steps(of(equal)) == ["Keep the untuned m: no difference larger than 5.0 points between it and long."]


def test_what_is_missing_or_unfair_comes_first() -> None:
    red = Confound(severity="red", text="x", field="updates", student="m", values={"long": "1", "short": "2"})
    steps = next_steps(of(primary(), over_base("long", 0.3), missing=["m/long/0: gone"], confounds=[red]))
    assert steps == [
        f"Run the recipe again: 1 of 24 trainings are missing (`{COMMAND}`).",
        "Make the arms alike before you act on a gap between them: they differ in more than data (updates).",
        "Train m on long.",
    ]


def test_a_training_that_diverged_asks_for_another_learning_rate_and_not_for_the_same_run_again() -> None:
    gone = ["s/mix-20/4: train: loss is nan"]
    lower = "Lower `train.learning_rate`, in every arm alike: s/mix-20/4 diverged, and would again."
    steps = next_steps(of(primary(), over_base("long", 0.3), missing=gone, diverged=["s/mix-20/4"]))
    assert steps == [lower, "Train m on long."]
    both = changed().cells[1:]
    steps = next_steps(of(missing=[*gone, "s/long/0: gone"], diverged=["s/mix-20/4"], cells=both))
    assert steps == [lower, f"Run the recipe again: 1 of 24 trainings are missing (`{COMMAND}`)."]


def test_what_was_trained_and_not_evaluated_is_no_missing_training() -> None:
    lines = ["s/mix-20/4: gone", "m/long/0: not evaluated on ifeval", "m/long/1: not evaluated on ifeval"]
    found = [primary(), over_base("long", 0.3)]
    again, last = "Run the recipe again:", f"are missing (`{COMMAND}`)."
    assert next_steps(of(*found, missing=lines))[0] == f"{again} 1 of 24 trainings and evaluations of 2 cells {last}"
    assert next_steps(of(*found, missing=lines[1:], cells_wanted=23))[0] == f"{again} evaluations of 2 cells {last}"


def test_a_confound_of_arms_that_are_not_compared_asks_for_nothing() -> None:
    red = Confound(severity="red", text="x", field="updates", student="m", values={"mix-20": "1"})
    assert next_steps(of(primary(), over_base("long", 0.3), confounds=[red])) == ["Train m on long."]


def test_without_a_declared_comparison_the_step_is_to_declare_one() -> None:
    (step,) = next_steps(of(*gaps(), primary=None))
    assert step.startswith("Declare the comparison that decides")
    (run,) = next_steps(of())
    assert run == f"Run the recipe: long_cot_gap was not measured (`{COMMAND}`)."


def test_a_smoke_run_asks_for_a_real_one_alone() -> None:
    smoke = "Run the recipe without `--smoke`: nothing here is a result."
    assert next_steps(of(primary(), missing=["m/long/0: gone"], smoke=True)) == [smoke]


def test_undertrained_arms_ask_for_longer_training_after_everything_else() -> None:
    short = [
        Confound(severity="note", text="x", field="undertrained", student="m", values={arm: "40 updates"})
        for arm in ("long", "short", "mix-20")
    ]
    longer = "Train longer (`train.num_train_epochs`) before you take a gap for what the data can do: m "
    assert next_steps(of(primary(), over_base("long", 0.3), confounds=short))[1:] == [f"{longer}(every arm)."]
    assert next_steps(of(primary(), confounds=short[:2]))[1:] == [f"{longer}(long and short)."]


def test_undertraining_that_alone_can_explain_the_gap_comes_before_any_advice_on_it() -> None:
    red = Confound(severity="red", text="x", field="undertrained", student="m", values={"long": "40 updates"})
    steps = next_steps(of(primary(), over_base("long", 0.3), confounds=[red]))
    longer = "Train longer (`train.num_train_epochs`) before you take a gap for what the data can do: m (long)."
    assert steps == [longer, "Train m on long."]


def test_answers_that_are_cut_by_the_study_s_own_limit_ask_for_a_higher_one() -> None:
    (_, step) = next_steps(of(primary(), details=Details(ended=ended())))
    told = "29.5\N{NO-BREAK SPACE}% of the answers of s, short were cut before one was given."
    assert step == f"Raise `evaluate.sampling.max_tokens`: {told}"
