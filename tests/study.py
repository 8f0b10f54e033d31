"""A made-up study to draw: two students, four arms, two token caps, one training missing, one red confound."""

from __future__ import annotations

from mixdistill.evidence.rows import (
    AgreementFacts,
    ArmAccuracy,
    ArmFacts,
    CellFacts,
    Confound,
    ConfoundRow,
    ConfoundTable,
    Evidence,
    Primary,
    ReadingFacts,
    SharedFacts,
    SharedStep,
    StudentFacts,
    TeacherFacts,
)
from mixdistill.types import Gap, Interval, Rule, Score
from study_details import details

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
        rule="flexible",
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


def confound_tables() -> list[ConfoundTable]:
    """Of s nothing differs but tokens; of m updates do."""
    tokens = ConfoundRow(
        name="loss tokens",
        state="note",
        why="Traces differ in length.",
        values={"long": "668,214", "short": "171,020", "mix-20": "270,114"},
    )
    arms = ["long", "short", "mix-20"]
    same = ConfoundRow(name="updates", state="same", why="", values=dict.fromkeys(arms, "625"))
    red = ConfoundRow(
        name="updates",
        state="red",
        why="The arms took different numbers of updates.",
        values={"long": "560", "short": "625", "mix-20": "625"},
    )
    return [
        ConfoundTable(student="s", variant="", arms=arms, rows=[tokens, same]),
        ConfoundTable(student="m", variant="", arms=arms, rows=[red, tokens]),
    ]


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


def gaps_by_rule() -> list[Gap]:
    """Under strict, long loses 12 points, since loops follow its answers; the judge adds half a point everywhere."""
    return [under(each, rule) for rule in ("strict", "judge") for each in gaps()]


def under(counting: Gap, rule: Rule, by: float | None = None, verdict: str | None = None) -> Gap:
    """A gap as another reading has it."""
    if by is None:
        by = 0.005 if rule == "judge" else -0.12 * (counting.arms[0] == "long")
    return counting.model_copy(
        update={
            "rule": rule,
            "delta": counting.delta + by,
            "data": moved(counting.data, by),
            "checkpoints": moved(counting.checkpoints, by),
            "seed_deltas": [d + by for d in counting.seed_deltas],
            "verdict": verdict or counting.verdict,
        }
    )


def moved(interval: Interval | None, by: float) -> Interval | None:
    return Interval(low=interval.low + by, high=interval.high + by) if interval else None


def readings() -> list[ReadingFacts]:
    """Per student, arm and cap, of 1,000 answers: long's are often cut after a right answer, short's are unmarked."""
    return [
        ReadingFacts(
            student=student, arm=arm, benchmark="signs", max_tokens=cap, answers=1_000,
            correct={"strict": 300, "flexible": 300 + cut + bare, "judge": 305 + cut + bare},
            intervals={rule: Interval(low=0.25, high=0.45) for rule in ("strict", "flexible", "judge")},
            unmarked_right=bare, unmarked_wrong=7, cut_right=cut, cut_wrong=0, judge_only=5,
        )
        for cap in CAPS
        for student in SEEDS
        for arm, bare, cut in (("short", 31, 0), ("long", 2, 120), ("mix-20", 9, 40), ("base", 0, 0))
    ]  # fmt: skip


def agreement() -> list[AgreementFacts]:
    known = Interval(low=0.838, high=0.979)
    whose = {"teacher/long": (29, 3), "student/s/long/signs": (0, 0)}
    return [
        AgreementFacts(
            whose=name, verifier="judge", accepted=970, audited=50, confirmed=47, audited_interval=known,
            missed=missed, rescued=rescued, missed_interval=None, failed=1,
        )
        for name, (missed, rescued) in whose.items()
    ]  # fmt: skip


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
        intervals={
            "pass_rate": Interval(low=0.82, high=0.84),
            "tokens_mean": Interval(low=tokens - 0.4, high=tokens + 0.4),
            "tokens_median": Interval(low=tokens * 0.7, high=tokens * 0.9),
            "tokens_p90": Interval(low=tokens * 2, high=tokens * 2.2),
            "steps_mean": Interval(low=tokens / 18, high=tokens / 16),
        },
    )


def solved() -> list[SharedStep]:
    everyone = {"1": 0.4, "2": 0.6}
    known = {
        "pass_rate": Interval(low=0.9, high=0.99),
        "pass_rate_overall": Interval(low=0.8, high=0.86),
        "tokens: long": Interval(low=600.0, high=700.0),
        "tokens: short": Interval(low=110.0, high=130.0),
    }
    return [
        SharedStep(
            teachers=[], problems=250, pass_rate=None, pass_rate_overall=None, easier=None,
            tokens={"long": 912.4, "short": 190.0}, levels=everyone, intervals=known,
        ),
        SharedStep(
            teachers=["long"], problems=140, pass_rate=0.9, pass_rate_overall=0.85,
            easier=Interval(low=-0.01, high=0.11), tokens={"long": 912.4, "short": 171.0}, levels=everyone,
            intervals=known,
        ),
        SharedStep(
            teachers=["long", "short"], problems=53, pass_rate=0.97, pass_rate_overall=0.83,
            easier=Interval(low=0.1, high=0.18), tokens={"long": 640.0, "short": 120.0}, levels={"1": 0.75, "2": 0.25},
            intervals=known,
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
        rule="flexible",
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
        gaps_by_rule=gaps_by_rule(),
        gaps_by_variant=[],
        variants=[],
        alike={},
        readings=readings(),
        agreement=agreement(),
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
                field="loss tokens",
                values={"long": "668,214", "short": "171,020"},
            ),
        ],
        confound_tables=confound_tables(),
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


def full() -> Evidence:
    """The study with everything that can stand beside its gaps."""
    return changed(details=details())


def changed(**fields) -> Evidence:
    """The study with other facts."""
    return example().model_copy(update=fields)
