"""What stands beside the accuracies and gaps of the made-up study: every list of `Details` with rows in it."""

from __future__ import annotations

from typing import Any

from mixdistill.evidence.details import (
    AnswerCost,
    AverageGap,
    BudgetPoint,
    Crossover,
    Details,
    Ended,
    FinishedGap,
    Forgotten,
    GapPart,
    GapUndertrained,
    Look,
    Loops,
    Paraphrased,
    PassAt,
    Published,
    ShiftedToken,
    StyleShift,
)
from mixdistill.types import Interval, Outcome

ARMS = ("short", "long", "mix-20")
PAIR = ("long", "short")


def about(value: float, half: float) -> Interval:
    return Interval(low=value - half, high=value + half)


def within(value: float, half: float) -> Interval:
    """The same, of what cannot leave 0..1."""
    return Interval(low=max(value - half, 0.0), high=min(value + half, 1.0))


def budget_points() -> list[BudgetPoint]:
    """Of s: long needs more tokens than short, and does not always stop."""
    level = {"short": 0.46, "long": 0.60, "mix-20": 0.55, "base": 0.05}
    need = {"short": 20.0, "long": 70.0, "mix-20": 40.0, "base": 30.0}
    rows = []
    for kind, places in (("cut", (16, 32, 64, 96, 160)), ("forced", (16, 32, 64, 160)), ("thinking", (0, 0.5, 1.0))):
        for arm, top in level.items():
            for at in places:
                share = min(1.0, (at if kind != "thinking" else 160 * at) / need[arm])
                mean = top * (share if kind == "cut" else 0.4 + 0.6 * share)
                finished = 0.97 * share if arm != "long" else 0.7 * share
                rows.append(
                    BudgetPoint(
                        student="s", arm=arm, benchmark="signs", kind=kind, at=at, mean=mean,
                        checkpoints=within(mean, 0.02), data=None if arm == "base" else within(mean, 0.05),
                        finished=finished, finished_interval=within(finished, 0.03), tokens=float(at),
                        seeds=1 if arm == "base" else 5, problems=500,
                    )
                )  # fmt: skip
    return rows


def parts() -> list[GapPart]:
    rows = []
    for student, made in (("s", (-0.02, -0.15, -0.014, 0.0)), ("m", (0.21, -0.01, 0.002, 0.0))):
        for part, delta in zip(("cannot solve", "does not stop", "not extracted", "error"), made, strict=True):
            rows.append(
                GapPart(
                    name="long_cot_gap", student=student, benchmark="signs", arms=PAIR, max_tokens=None, part=part,
                    delta=delta, rates=(0.3, 0.3 + delta), checkpoints=about(delta, 0.02), data=about(delta, 0.05),
                    most=(student, part) == ("m", "cannot solve"), seeds=5, problems=500,
                )
            )  # fmt: skip
    return rows


def ended() -> list[Ended]:
    counts = {
        Outcome.CORRECT: 685,
        Outcome.INCORRECT: 1_000,
        Outcome.NO_ANSWER: 73,
        Outcome.TRUNCATED: 737,
        Outcome.ERROR: 5,
    }
    return [
        Ended(
            student=student, arm=arm, benchmark="signs", max_tokens=cap, answers=2_500, counts=counts, finished=0.7,
            finished_interval=about(0.7, 0.04), tokens=tokens, tokens_interval=about(tokens, 3.1), problems=500,
            seeds=5,
        )
        for cap in (None, 64)
        for student in ("s", "m")
        for arm, tokens in (("short", 19.2), ("long", 71.5), ("mix-20", 29.8))
    ]  # fmt: skip


def costs() -> list[AnswerCost]:
    return [
        AnswerCost(
            student=student, arm=arm, benchmark="signs", answers=2_500, problems=500, seeds=5, tokens=tokens,
            interval=about(tokens, 1_200), tokens_per_correct=tokens / 458, correct_interval=about(tokens / 458, 7.0),
            seconds=91.0, seconds_interval=about(91.0, 4.0),
        )
        for student in ("s", "m")
        for arm, tokens in (("short", 19_200.0), ("long", 71_500.0))
    ]  # fmt: skip


def style() -> list[StyleShift]:
    token = ShiftedToken(token="Wait", count=213, rank=61.3, kind="style")
    return [
        StyleShift(
            student="s", arm=arm, benchmark="signs", seed=0, tokens=21_000, traces=300, top1=top1,
            top1_interval=about(top1, 0.01), mean_rank=rank, mean_rank_interval=about(rank, 0.4), style_share=0.41,
            style_interval=about(0.41, 0.06), shifted=[token] if arm == "long" else [],
        )
        for arm, top1, rank in (("base", 0.81, 1.9), ("long", 0.52, 9.7))
    ]  # fmt: skip


def known(value: float) -> dict[str, Any]:
    """Both intervals of a value, and what they are over."""
    return {"checkpoints": about(value, 0.02), "data": about(value, 0.05), "seeds": 5, "problems": 500}


def details() -> Details:
    """Every list has rows."""
    gap = {"name": "long_cot_gap", "student": "s", "arms": PAIR}
    arm = {"student": "s", "arm": "long", "benchmark": "signs"}
    return Details(
        ended=ended(),
        budget_points=budget_points(),
        finished_gaps=[FinishedGap(**gap, benchmark="signs", max_tokens=None, delta=0.03, of=500, **known(0.03))],
        parts=parts(),
        undertrained=[GapUndertrained(**gap, since=0.75, delta=0.03, **known(0.03))],
        loops=[
            Loops(**arm, answers=2_500, looped=310, share=0.124, interval=about(0.124, 0.03), seeds=5, problems=500)
        ],
        pass_at=[PassAt(**arm, samples=8, k=k, mean=mean, **known(mean)) for k, mean in ((1, 0.274), (8, 0.61))],
        paraphrased=[
            Paraphrased(**arm, wording=w, mean=m, **known(m)) for w, m in (("", 0.274), ("terse", 0.25))
        ],
        forgotten=[Forgotten(**arm | {"benchmark": "ifeval"}, before=0.41, after=0.38, delta=-0.03, **known(-0.03))],
        averages=[
            AverageGap(**gap, weights={"signs": 0.5, "sums": 0.5}, left_out=["aime"], delta=0.03, p=0.2,
                       verdict="can't tell", **known(0.03))
        ],
        looks=[
            Look(when="2026-11-20T10:00:00Z", contrast="long_cot_gap", student="s", benchmark="signs", look=1,
                 paid=1.25, scores="s3", seeds=3, problems=500, delta=-0.2, p=0.08, verdict="can't tell")
        ],
        crossovers=[
            Crossover(name="long_cot_gap", benchmark="signs", students=["xs", "s", "sm", "m"], slope=0.54,
                      slope_interval=about(0.54, 0.3), parameters=2.1e5, low=1.2e5, high=None)
        ],
        style=style(),
        costs=costs(),
        published=[
            Published(label="long_cot_gap of Qwen2.5-3B", source="Table 1", published=-0.017, measured=0.012,
                      checkpoints=about(0.012, 0.01), data=about(0.012, 0.03), n="5 seeds, 1,319 problems")
        ],
        next_steps=[
            "To decide s, add 4 seeds: `mixdistill run demo.yaml --set seeds=9`.",
            "Train m on long.",
        ],
    )  # fmt: skip
