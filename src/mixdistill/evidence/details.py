"""Rows of the page beside accuracies and gaps: token budgets, the parts of a gap, looks, costs, what was forgotten.

They depend on `types` alone, so that whatever computes them and whatever draws them may import them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mixdistill.types import Interval, Outcome, Row


class Ended(Row):
    """How the answers of one arm ended at one token cap, over its seeds; the counts add up to `answers`."""

    student: str
    arm: str
    benchmark: str
    max_tokens: int | None
    """As in `Gap`."""
    answers: int
    counts: dict[Outcome, int]
    finished: float
    """Share that ended by itself within the cap, 0..1."""
    finished_interval: Interval | None
    """This data, with a single seed these checkpoints."""
    tokens: float
    """Mean tokens of an answer, cut at the cap; a request that failed has no length."""
    tokens_interval: Interval | None
    problems: int
    seeds: int


class BudgetPoint(Row):
    """Accuracy of one arm of one student when it may write so much, over its seeds."""

    student: str
    arm: str
    benchmark: str
    kind: Literal["cut", "forced", "thinking"]
    """`cut`: the prefix of one generation, graded as it stands. `forced`: the prefix, and then the answer asked for
    at once. `thinking`: the same after a share of its own reasoning; 0 is thinking off, 1 all of it."""
    at: float
    """Tokens (`cut`, `forced`), or the share of the reasoning (`thinking`)."""
    mean: float
    """Correct over all answers, 0..1, mean over seeds."""
    checkpoints: Interval | None
    data: Interval | None
    """None with a single seed, and for `base`."""
    finished: float
    """Share of the answers that ended by themselves within that, 0..1; of forced ones, before they were forced."""
    finished_interval: Interval | None
    """Of `finished`: this data, with a single seed these checkpoints."""
    tokens: float
    """Mean tokens written, those of a forced answer included; a request that failed has none and is not in it."""
    seeds: int
    problems: int


class FinishedGap(Row):
    """A contrast among the problems that both arms finished, in every seed: selected by what the arms did, so it
    explains a gap and decides none."""

    name: str
    """Name of the contrast."""
    student: str
    benchmark: str
    arms: tuple[str, str]
    """As in `Gap`; a blend has a row for each pure arm. The untuned student is asked as in the arm's gap."""
    max_tokens: int | None
    delta: float
    checkpoints: Interval | None
    data: Interval | None
    problems: int
    """Commonly finished ones."""
    of: int
    """All problems."""
    seeds: int


Part = Literal["cannot solve", "does not stop", "not extracted", "error"]
"""How an answer failed; see `GapPart.part`."""


class GapPart(Row):
    """One part of a gap: how much of it comes from answers that failed so. The parts of a gap add up to it."""

    name: str
    """Name of the contrast."""
    student: str
    benchmark: str
    arms: tuple[str, str]
    max_tokens: int | None
    part: Part
    """`cannot solve`: an answer was found, and is wrong. `does not stop`: the token limit came before an answer that
    counts. `not extracted`: it ended, and no answer was found, or one that only another reading accepts. `error`: the
    verifier or the request failed."""
    delta: float
    """What this part makes of the gap: failures of that kind of arms[1] minus those of arms[0], in 0..1."""
    rates: tuple[float, float]
    """Share of the answers of both arms that failed so, 0..1, mean over seeds."""
    checkpoints: Interval | None
    data: Interval | None
    most: bool
    """Whether the gap leaves out zero and this part makes more of it than all others together, beyond noise. Of fewer
    than 100 problems this is never said."""
    seeds: int
    problems: int


class GapUndertrained(Row):
    """How the gap moved over the end of the trainings: what of it more training might change."""

    name: str
    student: str
    arms: tuple[str, str]
    since: float
    """Share of the updates at the earlier point."""
    delta: float
    """Gap at the end minus gap then, on `problems.dev`."""
    checkpoints: Interval | None
    data: Interval | None
    seeds: int
    problems: int


class Loops(Row):
    """How often the answers of one arm end in a loop: a text that repeats itself to the end."""

    student: str
    arm: str
    benchmark: str
    answers: int
    looped: int
    share: float
    interval: Interval | None
    """Of `share`: this data, with a single seed these checkpoints."""
    seeds: int
    problems: int


class PassAt(Row):
    """avg@k and pass@k of one arm on one benchmark, mean over seeds, unbiased (Chen et al. 2021)."""

    student: str
    arm: str
    benchmark: str
    samples: int
    """Samples of a problem."""
    k: int
    """1: avg@k, the mean accuracy of one sample."""
    mean: float
    checkpoints: Interval | None
    data: Interval | None
    seeds: int
    problems: int


class Paraphrased(Row):
    """Accuracy of one arm when the primary benchmark is asked in other words."""

    student: str
    arm: str
    benchmark: str
    wording: str
    """Name of the wording; "" for the study's own."""
    mean: float
    checkpoints: Interval | None
    data: Interval | None
    seeds: int
    problems: int


class Forgotten(Row):
    """An arm against the untuned student on a benchmark that guards what the student could before."""

    student: str
    arm: str
    benchmark: str
    before: float
    """Accuracy of the untuned student."""
    after: float
    delta: float
    checkpoints: Interval | None
    data: Interval | None
    seeds: int
    problems: int


class AverageGap(Row):
    """A contrast averaged over benchmarks with weights that were fixed before the run."""

    name: str
    student: str
    arms: tuple[str, str]
    weights: dict[str, float]
    """Benchmark -> weight, adding up to 1; those with fewer than 100 problems are not in it."""
    left_out: list[str]
    """Benchmarks with too few problems to decide anything."""
    delta: float
    checkpoints: Interval | None
    data: Interval | None
    p: float | None
    verdict: str
    seeds: int
    problems: int
    """Of all benchmarks together."""


class Look(Row):
    """One time that this study was looked at, with so many seeds."""

    when: str
    """ISO date and time, UTC."""
    contrast: str
    student: str
    benchmark: str
    seeds: int
    problems: int
    delta: float
    p: float | None
    """As it stood then, before it was paid for."""
    verdict: str
    look: int
    """Of this student, from 1. The same scores again are no new look."""
    paid: float
    """What p was multiplied by; 0: nothing was left to be spent."""
    scores: str
    """As in `Gap`."""


class Crossover(Row):
    """A gap against the logarithm of the student's size, over the students of one family (four sizes or more, on
    100 problems or more)."""

    name: str
    """Name of the contrast."""
    benchmark: str
    students: list[str]
    slope: float
    """Change of the gap, in 0..1, for a student ten times as large."""
    slope_interval: Interval | None
    parameters: float | None
    """Number of weights at which the fitted gap is zero; None where it lies far outside the sizes."""
    low: float | None
    """Lower end of its 95 % interval in weights (Fieller); None: more than ten times below the sizes, or nowhere."""
    high: float | None
    """Upper end; None: more than ten times above the sizes, or nowhere."""


class ShiftedToken(Row):
    """A token that a student writes where its untuned self would have ranked it low."""

    token: str
    """Without the white space around it, unless it is nothing else."""
    count: int
    """How often it was written."""
    rank: float
    """Mean rank under the untuned student; 1 is its own first choice, and what is beyond 100 counts as 100."""
    kind: Literal["style", "content"]
    """What it was more often, where it was not the first choice."""


class StyleShift(Row):
    """How far the text of a student is from what its untuned self would have written (the paper's figure 8). The row of
    `base` says it of the untuned student's own text: what sampling alone does."""

    student: str
    arm: str
    benchmark: str
    seed: int | None
    """The one training that was looked at; None for `base`."""
    tokens: int
    """Tokens looked at."""
    traces: int
    """One of each problem."""
    top1: float
    """Share of tokens that are the untuned student's own first choice, 0..1."""
    top1_interval: Interval | None
    """These checkpoints: problems resampled."""
    mean_rank: float
    """1 is the first choice; what is beyond 100 counts as 100."""
    mean_rank_interval: Interval | None
    style_share: float | None
    """Of the tokens it would not have chosen first, the share that is style and not content; None without such."""
    style_interval: Interval | None
    shifted: list[ShiftedToken]
    """The most shifted ones first: by places off the first choice, over all their occurrences."""


class AnswerCost(Row):
    """What 1,000 answers of one arm take."""

    student: str
    arm: str
    benchmark: str
    answers: int
    """That were measured; a failed request is none."""
    problems: int
    seeds: int
    """0 for `base`."""
    tokens: float
    """Completion tokens of 1,000 answers, at the generation's own limit."""
    interval: Interval | None
    """Of `tokens`; as all here, these checkpoints: problems resampled, seeds fixed."""
    tokens_per_correct: float | None
    """Completion tokens for one correct answer; None where none was."""
    correct_interval: Interval | None
    """None also where so few are correct that it has no upper end."""
    seconds: float | None
    """Of the machine that evaluated, for 1,000 answers, in batches as they were; None where a server or vLLM answered:
    there, requests share their time."""
    seconds_interval: Interval | None


class Published(Row):
    """A number of a publication beside the measured one."""

    label: str
    """What it is: `long_cot_gap of Qwen2.5-3B`."""
    source: str
    """Where it stands: `Table 1`."""
    published: float
    """In 0..1."""
    measured: float | None
    """In 0..1; None where the study has no such number."""
    checkpoints: Interval | None
    data: Interval | None
    """Of the measured one; None with a single seed."""
    n: str
    """What it was measured on: `5 seeds, 1,319 problems`; of the untuned student no seeds."""


class Details(Row):
    """All of them; a list is empty where nothing of its kind was measured."""

    ended: list[Ended] = []
    budget_points: list[BudgetPoint] = []
    finished_gaps: list[FinishedGap] = []
    parts: list[GapPart] = []
    undertrained: list[GapUndertrained] = []
    loops: list[Loops] = []
    pass_at: list[PassAt] = []
    paraphrased: list[Paraphrased] = []
    turned_wordings: list[str] = Field(default_factory=list)
    """Where the primary gap has another sign in other words, a sentence each."""
    forgotten: list[Forgotten] = []
    averages: list[AverageGap] = []
    looks: list[Look] = []
    crossovers: list[Crossover] = []
    style: list[StyleShift] = []
    costs: list[AnswerCost] = []
    published: list[Published] = []
    next_steps: list[str] = Field(default_factory=list)
    """What to do now, one sentence each, the first the most useful."""
