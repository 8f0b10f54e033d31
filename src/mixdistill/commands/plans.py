"""The rows of `check --json`: what a recipe will do, as data."""

from __future__ import annotations

from mixdistill.types import Message, Row, Unused


class Amount(Row):
    """A number that may not be known yet."""

    value: float | None
    """In the unit of the field that holds it; None: not known."""
    basis: str
    """What it is based on, or what it waits for."""


class Variant(Row):
    """What one further budget of `budget.also` costs in trainings; it is scored like the others besides."""

    name: str
    """As `budget.also` has it."""
    trainings: int
    """That are not there yet."""
    seconds: Amount


class Time(Row):
    """Wall time of what is still to be done, in seconds. The teachers' own time is not in it."""

    training: Amount
    """All of it: every arm under every budget, and the trials of `tune`."""
    tuning: Amount | None
    """Of these, the trials; None without any."""
    variants: list[Variant]
    """Of these, the trainings under each further budget."""
    evaluation: Amount
    """Where students write as long as their teachers, and the untuned ones up to the limit."""
    evaluation_at_most: Amount
    """Where every trace runs to the limit."""
    own_answers: float | None
    """Seconds at most that the students' own answers would take, where an arm of them is missing and they are cheap."""
    devices: str
    """What works at once."""


class Cost(Row):
    """What the whole study takes, with all that may be there already."""

    tokens: Amount
    """Sampled by the teachers that are asked."""
    teachers: Amount
    """GPU-hours of these tokens, were all teachers served on GPUs of one's own."""
    training: Amount
    """GPU-hours."""
    evaluation: Amount
    """GPU-hours."""
    at_most: Amount
    """The same where every answer runs to the limit of tokens."""
    assumed: list[str]
    """What these rest on."""


class Memory(Row):
    """What a training of a student takes at most, of the arm that takes most, against what there is."""

    name: str
    """The student."""
    parts: dict[str, float]
    """Bytes of one process by what they are for; empty where they are not known."""
    process: Amount
    """Bytes of one process."""
    measured: bool
    """Whether predictions like it were held against trainings: on CPU they were, on a GPU never."""
    at_once: int
    """Processes that share what there is: one on a GPU; on CPU all that train at once."""
    room: float | None
    """Bytes of the smallest GPU, or of RAM that can be had; None where nobody says."""
    would: list[str]
    """Where it does not fit, settings with which it would."""


class Disk(Row):
    """Bytes of what is still to be written."""

    models: Amount
    """Trained students, kept."""
    checkpoints: Amount
    """At most at once, while training; removed after it."""
    tables: Amount
    """Traces and training sets, before compression."""
    needed: float
    """All of it that is known."""
    free: int
    """Free where the run folder lies or will lie."""


class PlannedProblems(Row):
    """One set of problems."""

    name: str
    """`train`, or a benchmark."""
    source: str
    """As the recipe names it."""
    problems: int
    columns: str | None
    """Which columns its prompts and answers were read from; None in the lab."""


class PlannedUnused(Row):
    """Rows of one set that are no problems, for one reason."""

    name: str
    """`train`, or a benchmark."""
    reason: str
    rows: int
    examples: list[Unused]
    """The first of them, at most three."""


class PlannedJoin(Row):
    """How a file of recorded traces fits the training problems."""

    columns: str | None
    """Which columns its prompts and traces are read from."""
    problems: int
    """Distinct prompts asked for."""
    joined: int
    """Of these, with a row."""
    ambiguous: int
    """Of the others, those in a spelling that several prompts share, of the file or of those asked for."""
    rows: int
    """Rows of the file."""
    rows_unused: int
    """Of these, with a prompt that nobody asks for."""
    rows_bad: dict[str, int]
    """Rows that are no trace, by reason."""
    traces: int
    """Traces in its rows."""
    repeated: int
    """Of these, the ones that stand in their row already."""
    dropped: dict[str, int]
    """Generations in its rows that are no trace, by reason."""
    examples: list[str]
    """Prompts without a row, at most three; the ambiguous ones first."""


class PlannedTeacher(Row):
    """A teacher and what it will be asked for."""

    name: str
    backend: str
    model: str
    traces: int
    """Wanted: problems times samples."""
    there: int
    """Of these, in the run folder already."""
    tokens: Amount
    """Tokens of one of its traces, as the first student counts."""
    asked: str | list[Message] | None
    """The first training problem as this teacher is asked it; None where it is the problem as it stands."""
    cost_at_most: Amount
    """US dollars of all its traces, were each as long as it may be."""
    join: PlannedJoin | None
    """Of recorded traces."""
    missing_model: str | None
    """What happens to a model that is not on this machine: `built on first use`, `fetched on first use`."""


class PlannedJudge(Row):
    """A verifier that asks a model."""

    name: str
    backend: str
    model: str
    votes: int
    audit: float | None
    """Share of the accepted traces that it sees besides what no verifier before it accepts; None where it is first."""
    requests_at_most: int
    """Were it asked about every trace at every token cap. How many it will be follows from the grading."""
    cost_at_most: Amount
    """US dollars of as many."""


class PlannedStudent(Row):
    """A student's trainings."""

    name: str
    model: str
    weights: Amount
    """How many it has."""
    arms: int
    budgets: int
    """That every arm is trained under: the declared one, and those of `budget.also`."""
    seeds: int
    trials: int
    """Trainings that try the values of `tune`."""
    trained: int
    """Of its arms times budgets times seeds trainings, those that are there."""
    updates: dict[str, int | None]
    """Arm -> updates where every problem is solved; None: follows from lengths that are not known yet."""
    missing_model: str | None
    """What happens to a model that is not on this machine."""


class PlannedArm(Row):
    """An arm's weights in both units; the one that is not the budget's follows from the teachers' lengths."""

    name: str
    examples: dict[str, float] | None
    """Teacher -> share of the examples."""
    loss_tokens: dict[str, float] | None
    """Teacher -> share of the loss tokens."""


class PlannedContrast(Row):
    """A gap that will be reported: P(a) - P(b)."""

    name: str
    a: str
    b: str
    primary: str | None
    """Where it decides: benchmark and token cap; None where it is exploratory."""


class PlannedEvaluation(Row):
    """What the students are asked."""

    models: int
    """Trained students and the untuned ones."""
    traces: dict[str, int]
    """Benchmark -> traces of one model: problems times samples."""
    total: int
    dev: int
    """Traces of dev problems while it trains; no part of the total."""
    max_tokens: int | None
    caps: list[int]
    own: list[str] = []
    """What single benchmarks have otherwise, a line each."""


class Plan(Row):
    """What a recipe will do."""

    name: str
    description: str
    folder: str
    """The run folder."""
    exists: bool
    """It is there, and will be gone on with."""
    problems: list[PlannedProblems]
    unused: list[PlannedUnused]
    teachers: list[PlannedTeacher]
    verifier: str
    reference: str
    """The function behind the first verifier's name."""
    judges: list[PlannedJudge]
    """Of the verifiers, those that ask a model."""
    budget: str
    """Unit of the budget."""
    per_update: int
    students: list[PlannedStudent]
    arms: list[PlannedArm]
    contrasts: list[PlannedContrast]
    evaluation: PlannedEvaluation
    time: Time
    cost: Cost
    memory: list[Memory]
    """One a student."""
    disk: Disk
    warnings: list[str]
    """What does not stop the run, and may spoil it."""
