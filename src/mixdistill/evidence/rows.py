"""Everything the report shows, as rows, so that rendering is a pure function of one value.

An `Evidence` is gathered from a run folder, written beside the page as JSON, and drawn by
`mixdistill.page.render`. It holds numbers that were measured, never ones that were asked for: what a recipe
wants is `recipe`, what happened is everything else.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mixdistill.evidence.details import Details
from mixdistill.types import Gap, Interval, Row, Rule, Score


class Primary(Row):
    """The one comparison that was declared before the run."""

    contrast: str
    """Name of the contrast, as in `Gap.name`."""
    benchmark: str
    max_tokens: int | None
    """Token cap; None: the generation's own limit."""


class StudentFacts(Row):
    """One student. `Evidence.students` is in order of size."""

    name: str
    model: str
    """Folder or hub id of the untuned student."""
    parameters: int | None
    """Number of weights."""


class ArmFacts(Row):
    """One arm, under one budget, in one mode. `base` comes first, then the recipe's arms in its order, each before its
    further modes, then the same under every other budget."""

    name: str
    """See `arms.py`: `mix`, `mix+short`, `mix@loss_tokens`."""
    weights: dict[str, float]
    """Teacher -> weight in its budget's unit, adding up to 1; empty for `base`."""


class TeacherFacts(Row):
    """What one teacher gave. The five outcomes add up to `traces`; `errors` never got that far."""

    name: str
    model: str
    """Model name, file, or script it came from."""
    backend: str
    problems: int
    """Problems asked."""
    traces: int
    """Traces that were verified."""
    errors: int
    """Requests that failed; they have no verdict."""
    correct: int
    incorrect: int
    no_answer: int
    truncated: int
    error_verdicts: int
    """Traces the verifier failed on."""
    finished: int
    """Traces that ended by themselves."""
    accepted: int
    """Problems with at least one trace fit for training."""
    pass_rate: float | None
    """How often it solves a problem, 0..1: mean over problems of the estimate that its way of stopping needs."""
    tokens_mean: float | None
    """Tokens per trace, in the tokenizer of `analyze`."""
    tokens_median: float | None
    tokens_p90: float | None
    steps_mean: float | None
    """Reasoning steps per trace."""
    intervals: dict[str, Interval] = {}
    """Of `pass_rate`, the three of tokens, and `steps_mean`, by name: 95 %, problems resampled; none of one problem."""


class SharedStep(Row):
    """The problems that the first teachers of the recipe all solved. The first row requires nobody: all problems."""

    teachers: list[str]
    """Who must have solved them: at least one trace each that is correct and ended by itself."""
    problems: int
    """How many are left."""
    lacking: dict[str, int] = {}
    """Teacher -> of all problems, those that it has no such trace of."""
    pass_rate: float | None
    """How often a teacher is right on the problems that all *others* of `teachers` solved, 0..1: mean over these
    problems, then over the study's teachers that have others to be held against. The problems that are left were chosen
    by its own samples too; of these it would be right too often however hard they were."""
    pass_rate_overall: float | None
    """How often the same teachers are right over all problems."""
    easier: Interval | None
    """Of the difference of the two, problems resampled; None of one problem."""
    tokens: dict[str, float]
    """Teacher -> tokens of its accepted traces of these problems: mean over problems of the mean over traces."""
    levels: dict[str, float]
    """Level -> its share of these problems, 0..1; empty where none has a level."""
    intervals: dict[str, Interval] = {}
    """95 %, problems resampled: of `pass_rate`, of `pass_rate_overall`, and of the tokens of each teacher as
    `tokens: <teacher>`; one is not there of one problem."""


class SharedFacts(Row):
    """The problems one group of arms has in common, and what requiring that cost."""

    arms: list[str]
    problems: int
    """Problems every arm of the group trains on."""
    lost: dict[str, int]
    """Reason -> problems left out of all of them, e.g. `no accepted trace of long` -> 41."""


class CellFacts(Row):
    """What one training did, read from the trainer's state and the rows it was fed."""

    student: str
    arm: str
    seed: int
    updates: int
    """Optimizer steps taken."""
    examples: int
    """Rows seen, epochs included."""
    distinct_problems: int
    epochs: float
    """Rows seen over rows there were."""
    loss_tokens: int
    """Tokens that carried loss, over all updates."""
    share_examples: dict[str, float]
    """Teacher -> share of the rows seen, 0..1."""
    share_loss_tokens: dict[str, float]
    """Teacher -> share of the loss tokens, 0..1."""
    dropped: dict[str, int]
    """Reason -> rows dropped."""
    learning_rate: float
    """Peak over the updates."""
    final_loss: float | None
    """Training loss at the end, in nats per loss token."""
    seconds: float
    """Wall time of the training."""
    device: str


class ArmAccuracy(Row):
    """Accuracy of one arm of one student, over its seeds."""

    student: str
    arm: str
    benchmark: str
    max_tokens: int | None
    group: str = "all"
    """As in `Score`."""
    mean: float
    """Correct over all five outcomes, 0..1, mean over seeds."""
    bounds: Interval | None = None
    """Mean if every `error` were wrong, and if every one were right; None without errors."""
    checkpoints: Interval | None
    """These checkpoints: problems resampled, seeds fixed."""
    data: Interval | None
    """This data: problems and seeds both random; None with a single seed, and for `base`."""
    seeds: dict[int, float]
    """Seed -> accuracy; empty for `base`."""
    problems: int


class ReadingFacts(Row):
    """How the answers of one arm of one student are read, over its seeds, at one token cap. What the readings decide
    differently is verifier error that can be seen; where it differs by arm, it moves the gap."""

    student: str
    arm: str
    benchmark: str
    max_tokens: int | None
    answers: int
    """All of them; a failed request is one that is correct under no reading."""
    correct: dict[Rule, int]
    """Reading -> answers that are correct under it."""
    intervals: dict[Rule, Interval] = {}
    """Reading -> interval of the share that is correct under it: this data, with a single seed these checkpoints."""
    unmarked_right: int
    """Right, but not marked as final: `correct` under the flexible reading, `no_answer` under the strict one."""
    unmarked_wrong: int
    """Wrong and not marked as final, such as the last number of the text: `incorrect` and `no_answer`."""
    cut_right: int
    """Right, in a trace that went on until it was cut: `correct` under the flexible reading, `truncated` under the
    strict one."""
    cut_wrong: int
    """Wrong, in a trace that went on until it was cut."""
    judge_only: int
    """Accepted by a later verifier of the chain and not by the first."""


class AgreementFacts(Row):
    """What a later verifier of the chain said of one author's whole traces, those of a student over its seeds."""

    whose: str
    """`teacher/<name>`, or `student/<student>/<arm>/<benchmark>`."""
    verifier: str
    """The later verifier."""
    accepted: int
    """Traces that one before it accepted."""
    audited: int
    """Of these, those that it judged as well: the audit sample."""
    confirmed: int
    """Of the audited, those that it accepts too."""
    audited_interval: Interval | None
    """95 % interval of their share, traces resampled; None with fewer than two."""
    missed: int
    """Traces that none before it accepted, and that it judged."""
    rescued: int
    """Of these, those that it accepts."""
    missed_interval: Interval | None
    """95 % interval of their share."""
    failed: int
    """Traces on which it failed itself; neither audited nor missed."""


class Confound(Row):
    """Something besides the data that was not the same in all arms."""

    severity: Literal["red", "note"]
    """`red`: no consequence of the data, the comparison is not fair; `note`: a consequence worth knowing."""
    text: str
    """One sentence, for people."""
    field: str = ""
    """The row of the confound table that it is; `recipe`: trained otherwise than the recipe now says; `undertrained`:
    the alarm of one arm, with every sign of it; empty of evaluations."""
    student: str | None = None
    """None: every student."""
    values: dict[str, str] = Field(default_factory=dict)
    """Arm -> its value."""


class DevPoint(Row):
    """Accuracy of one arm of one student on `problems.dev` at one point of its trainings, over its seeds. Choices are
    made on these problems: no number here is a result of the study."""

    student: str
    arm: str
    progress: float
    """Share of the updates that were done then, above 0; 1 is the end. As points are set: the first of four
    is 0.25, though it may come less than one update later."""
    mean: float
    """Correct over all answers, 0..1, mean over seeds."""
    checkpoints: Interval | None
    """These checkpoints: problems resampled, seeds fixed."""
    data: Interval | None
    """This data: problems and seeds both random; None with a single seed."""
    seeds: dict[int, float]
    """Seed -> accuracy."""
    problems: int


class DevGap(Row):
    """A contrast on `problems.dev` at one point of the trainings: P(arms[0]) - P(arms[1])."""

    name: str
    """Name of the contrast."""
    variant: str
    """As in `Gap`."""
    student: str
    arms: tuple[str, str]
    """As in `Gap`; for a blend, the pure arm that decides at this point."""
    progress: float
    """As in `DevPoint`."""
    delta: float
    """Difference, in 0..1."""
    checkpoints: Interval | None
    data: Interval | None
    problems: int
    seeds: int


class Moving(Row):
    """How the accuracy of one arm of one student on `problems.dev` changed between the last two points of training."""

    student: str
    arm: str
    since: float
    """Share of the updates done at the point before the last."""
    delta: float
    """Accuracy at the end minus accuracy then."""
    interval: Interval | None
    """Of the change, paired over problems: this data, with a single seed these checkpoints; None of one problem."""
    moving: bool
    """Whether the interval leaves out zero: the training was not over."""


class ConfoundRow(Row):
    """One thing that trainings are compared by, whether it differs or not."""

    name: str
    """`updates`, `packing`, `version of torch`, ..."""
    state: Literal["same", "note", "red"]
    """As `Confound.severity`, else the same in all arms."""
    why: str
    """One sentence; empty where it is the same."""
    values: dict[str, str]
    """Arm -> its value, from what the trainer recorded; over seeds a range, or all of them."""


class ConfoundTable(Row):
    """What the trainings of one student on compared arms came to: red rows first, then notes, then what is the same."""

    student: str
    variant: str
    """The budget of the arms; see `Gap.variant`."""
    arms: list[str]
    rows: list[ConfoundRow]


class Evidence(Row):
    """One study's results."""

    name: str
    question: str = ""
    """The question, in one line."""
    created: str
    """ISO date and time, UTC."""
    smoke: bool = False
    """Models, data and traces were made up: nothing of it is a result."""
    primary: Primary | None
    """None: nothing was declared, so everything is exploratory."""
    verifier: str
    """The verifier, or the chain, of the benchmark that decides."""
    rule: Rule
    """The reading of the answers that counts."""
    budget: Literal["examples", "loss_tokens"]
    """What every update holds equally; also the unit of the arms' weights."""
    variants: list[str]
    """Budgets that every arm was to be trained under besides: another unit of the updates, or other problems."""
    students: list[StudentFacts]
    arms: list[ArmFacts]
    teachers: list[TeacherFacts]
    solved: list[SharedStep]
    """The shared problems as they become fewer with every further teacher, in the recipe's order."""
    shared: list[SharedFacts]
    cells: list[CellFacts]
    scores: list[Score]
    accuracies: list[ArmAccuracy]
    gaps: list[Gap]
    """In the recipe's order of contrasts, then every arm against the untuned student."""
    gaps_by_rule: list[Gap]
    """The same under every other reading, one reading after the other."""
    gaps_by_variant: list[Gap]
    """The same, as the reading that counts has it, between the arms that were trained under another budget, one budget
    after the other."""
    alike: dict[Rule, Rule]
    """Reading -> another, under which the same answers are correct; of the first there are no gaps."""
    readings: list[ReadingFacts]
    agreement: list[AgreementFacts]
    """Teachers first, a row for every later verifier of the chain; empty without a chain."""
    confounds: list[Confound]
    """Rows of the confound tables that are not the same, what differed in evaluation, and what was undertrained."""
    confound_tables: list[ConfoundTable]
    """Of each student, one for every group of compared arms and budget."""
    dev_points: list[DevPoint] = []
    """By student, arm and progress; empty without `problems.dev`."""
    dev_gaps: list[DevGap] = []
    """By contrast, budget, student and progress."""
    moving: list[Moving] = []
    """A row per student and arm that was asked at two points or more."""
    details: Details = Details()
    """Token budgets, the parts of gaps, looks, costs and what else stands beside them."""
    cells_wanted: int
    """Cells the recipe asks for."""
    missing: list[str]
    """A line for every training that is not there, and for every one that is and was not evaluated on each benchmark,
    mode by mode; with the reason."""
    diverged: list[str] = []
    """Of the trainings that are not there, those that went wrong and would again: `student/arm/seed`."""
    notes: list[str]
    """What these numbers do and do not show, one sentence or two each."""
    command: str
    """Shell command that makes this again."""
    recipe: str
    """The recipe in force, as YAML, defaults filled in."""
    versions: dict[str, str]
    """Library -> version; also the interpreter and the git commit."""
    seconds: float
    """Wall time of the whole run."""
