"""Every row type of the product, in one file.

Rows are the contract at the edges: they are what backends, verifiers and metrics take and give, and their
fields are the columns of the tables in a run folder. They are frozen and refuse unknown fields. A text
under each field gives its shape, unit and source.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Row(BaseModel):
    """Base of all rows: immutable, strict about its fields, documented field by field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Outcome(StrEnum):
    """What a verifier says of a trace. Five values that always add up; "not run" is absence, never a value."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    NO_ANSWER = "no_answer"
    TRUNCATED = "truncated"
    """Hit the token limit *and* no answer was found; an answer followed by a loop is graded."""
    ERROR = "error"
    """The verifier itself failed (deadline, crash, memory). Never counted as a wrong answer in silence."""


Rule = Literal["strict", "flexible", "judge"]
"""How an answer is read; see `Decision`."""

FinishReason = Literal["stop", "length", "content_filter", "unknown"]


class Message(Row):
    """One turn of a prompt that is a conversation."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: str
    """What is said."""


class Problem(Row):
    """A prompt with a reference answer."""

    id: str
    """Content hash of prompt and answer; see `problem_id`."""
    prompt: str | list[Message]
    """What the student and the teachers are asked: one user turn, or a whole conversation."""
    answer: str
    """The reference answer, as text."""
    source: str = ""
    """Where it came from (file name or data set)."""
    split: str = ""
    """`train`, `dev`, `gate`, or the name of the benchmark it belongs to."""
    level: str | None = None
    """Difficulty group, when the source has one."""
    subject: str | None = None
    """What it is about, when the source says so."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """The user's own; mixdistill never reads it."""


class Unused(Row):
    """A row of a problem source that is no problem of the study, and why."""

    split: str
    """`train`, `dev`, `gate`, or the benchmark it would belong to."""
    source: str
    """File, data set or lab domain it stands in."""
    row: int
    """Its number there, from 1; of a text file with one row a line, the line."""
    reason: str
    """`unreadable`, `no_prompt`, `no_answer`, `conflicting_answers` (the same prompt stands there with another answer):
    bad rows, which count towards `error_rate`. `duplicate` (of an earlier row, in every turn), `in_evaluation` (it
    stands in a benchmark, in `gate` or in `dev` too, be it in another spelling or under another system prompt),
    `numbers_changed` (it does so with other numbers), `words_in_evaluation` (it shares words in a row, and most words
    in all, with a problem there). `dev` yields to `gate` and the benchmarks, `gate` to the benchmarks, `train` to all.
    """
    detail: str
    """What was found: the parser's complaint, the other answer, the text of the other problem as it stands there, the
    words in a row that both have."""
    prompt: str
    """Its prompt, or as much of the row as could be read; at most 200 characters."""


class Sampling(Row):
    """How completions are drawn. None means: as the model's own generation settings say."""

    temperature: float | None = None
    """0 is greedy."""
    top_p: float | None = None
    """Nucleus."""
    top_k: int | None = None
    """Candidates kept."""
    max_tokens: int | None = None
    """Most tokens sampled per completion."""


class Request(Row):
    """One completion wanted of a backend."""

    prompt: str | list[Message]
    """What is asked, teacher prompt applied."""
    sample: int = 0
    """Which of the author's samples of this problem this is, from 0."""
    seed: int = 0
    """Seed of this completion alone, so that what is sampled does not depend on batching or order."""
    sampling: Sampling = Sampling()
    """How to draw it."""
    prefix: str = ""
    """How the assistant's turn begins. The completion goes on from there, and is what follows alone: as it stands, and
    all of it in `content`."""
    prefix_ids: list[int] = Field(default_factory=list)
    """The same as tokens of the model; backends that know its tokens continue these."""

    @property
    def begun(self) -> bool:
        """Whether the assistant's turn has a beginning."""
        return bool(self.prefix or self.prefix_ids)


class Usage(Row):
    """Tokens of one sampled completion, as counted by whoever sampled it."""

    prompt_tokens: int | None = None
    """Tokens of the prompt."""
    completion_tokens: int | None = None
    """Tokens sampled: reasoning, answer and the stop token when there was one."""
    reasoning_tokens: int | None = None
    """Of these, tokens of the reasoning, where a server says."""


class Completion(Row):
    """What a backend gives for one request: a trace that does not know yet whose it is."""

    reasoning: str = ""
    """Text inside the thinking part; empty when the model did not think aloud."""
    content: str = ""
    """Text after it: the answer."""
    finish_reason: FinishReason = "unknown"
    """`stop`: ended by itself; `length`: cut at the token limit; `unknown`: a file that does not say."""
    usage: Usage = Usage()
    """Tokens."""
    token_ids: list[int] | None = None
    """The sampled tokens, stop token included, where the backend knows them; prefixes at a token cap are exact then."""
    cost: float | None = None
    """US dollars, where a price is known."""
    seconds: float | None = None
    """Wall time of the request, or of its batch divided by the batch's rows."""
    error: str | None = None
    """Why the request failed. A completion with an error has no verdict and is asked for again."""


class Trace(Completion):
    """One sampled solution, by a teacher or a student."""

    id: str
    """Hash of author, problem id and sample; see `trace_id`."""
    problem_id: str
    """The problem it answers."""
    author: str
    """`teacher/<name>` or `student/<student>/<arm>/<seed>`."""
    model: str = ""
    """Model name or file it came from."""
    sample: int = 0
    """Index among the author's samples of this problem, from 0."""
    sampling: dict[str, Any] = Field(default_factory=dict)
    """Sampling settings asked for (temperature, top_p, max_tokens, seed); what was left open is the model's own."""


class Verdict(Row):
    """What one verifier says of one trace, or of its first `max_tokens` tokens."""

    trace_id: str
    """The trace judged."""
    verifier: str = ""
    """Name of the verifier in the recipe; stamped by mixdistill."""
    version: str = ""
    """The verifier module's `VERSION`, else a hash of its file; stamped by mixdistill."""
    max_tokens: int | None = None
    """Only the trace's first this many completion tokens were judged; None: the whole trace."""
    judged: str = ""
    """Hash of everything the verdict follows from: the problem, the text judged, the verifier, its version and options.
    Where it is the same again, so is the verdict, and nobody is asked; stamped by mixdistill."""
    outcome: Outcome
    """One of five. Where the verifier reads an answer in two ways, this is the `flexible` reading."""
    strict: Outcome | None = None
    """The `strict` reading: only an answer counts that is marked as such, in a trace that ended by itself. None: this
    verifier has one reading."""
    score: float | None = None
    """Partial credit in 0..1, for verifiers that give it."""
    answer: str | None = None
    """The answer that was extracted."""
    rule: str = ""
    """Which rule found or judged the answer."""
    explanation: str = ""
    """One line, for people."""


class Decision(Row):
    """What all verdicts on one trace, or on its first `max_tokens` tokens, come to."""

    trace_id: str
    """The trace."""
    max_tokens: int | None = None
    """As in `Verdict`."""
    outcome: Outcome
    """What counts in training sets, scores and gaps: that of the three below which the recipe's `verify.rule` names."""
    strict: Outcome
    """Under the strict reading of the first verifier."""
    flexible: Outcome
    """Under its flexible reading."""
    judge: Outcome
    """After every verifier of the chain: what the first did not accept, and a later one did, is correct. `flexible`
    where there is one verifier alone."""


class Forced(Row):
    """An answer that a student was asked for early, after a part of one of its traces."""

    trace_id: str
    """The whole trace, of which it had written a part."""
    problem_id: str
    sample: int
    """Index of that trace among the student's samples of the problem."""
    kind: Literal["forced", "thinking"]
    """`forced`: after so many tokens; `thinking`: after a share of its own reasoning."""
    at: float
    """Tokens, or the share; 0 is thinking off."""
    answer_id: str | None
    """Of what it wrote then, among the traces in the folder `forced`; None: the trace had ended before, and stands, or
    its request failed."""
    tokens: int
    """Tokens written in all, without those that asked for the answer."""
    outcome: Outcome
    """What counts, as in `Decision`; `error` too where the request failed, that of the trace or of the answer."""


class Looped(Row):
    """An answer of a student that ends in a loop: one unit, written over and over to its end. loops.py has the rule."""

    trace_id: str
    """The trace."""
    problem_id: str
    sample: int
    unit: str
    """What is repeated, at most 200 characters of it."""
    times: float
    """How often it was written, the last time perhaps in part."""


class Complexity(Row):
    """How long and involved a trace is."""

    trace_id: str
    """The trace measured."""
    tokenizer: str
    """The tokenizer that counted."""
    metrics: dict[str, float | None]
    """Metric name -> value."""


class Example(Row):
    """One row of a training set, before it is rendered for a student."""

    prompt: str | list[Message]
    """The problem's prompt."""
    reasoning: str
    """Thinking part of the trace."""
    content: str
    """Answer part of the trace."""
    problem_id: str
    """The problem."""
    trace_id: str
    """The trace it was made from."""
    teacher: str
    """The teacher whose trace it is."""


class Score(Row):
    """Outcomes of one cell on one benchmark at one token cap; the five counts add up to `examples`."""

    student: str
    arm: str
    """`base` is the untuned student."""
    seed: int | None
    """None for `base`."""
    benchmark: str
    group: str
    """`all`, a level of the problems (one of that name is `level all`), or `subject` and the name of one."""
    verifier: str
    k: int
    """Samples per problem."""
    max_tokens: int | None
    """Token cap, read off one generation as a prefix; None: the generation's own limit."""
    correct: int
    incorrect: int
    no_answer: int
    truncated: int
    error: int
    examples: int
    """Problems times samples."""
    finished: int
    """Traces that ended by themselves within the cap."""
    looped: int = 0
    """Traces that, as far as the cap lets them go, end in a loop; see `Looped`."""
    mean_completion_tokens: float
    """Mean tokens per trace, cut at the cap."""

    @property
    def accuracy(self) -> float:
        """Correct over all five outcomes, in 0..1."""
        return self.correct / self.examples


class Ranked(Row):
    """What an untuned student would have made of a trace: the rank of every token, given the prompt and all before."""

    trace_id: str
    problem_id: str
    follows: str
    """Hash of what the ranks follow from: the untuned model, its precision, the tokens of prompt and completion."""
    tokens: list[str]
    """Text of each token of the completion, its stop token included; one after the other they are the text."""
    ranks: list[int]
    """Of each: 1 is what the untuned student thinks most likely."""


class Interval(Row):
    """A 95 % interval, in the unit of what it is about."""

    low: float
    high: float


class Gap(Row):
    """A difference of accuracy between two arms of one student: P(arms[0]) - P(arms[1])."""

    name: str
    """Name of the contrast, e.g. `long_cot_gap`."""
    variant: str = ""
    """The budget that both arms were trained under: "" as declared, else an entry of `budget.also`."""
    student: str
    benchmark: str
    arms: tuple[str, str]
    """(a, b): the gap is a minus b. For a blend against each pure arm, b is the pure arm
    that decides: the one most surely ahead of the blend, else the one hardest to beat."""
    verifier: str
    rule: Rule
    """How the answers are read."""
    max_tokens: int | None
    """Token cap; None: the generation's own limit."""
    group: str = "all"
    """As in `Score`."""
    primary: bool
    """Declared before the run; everything else is exploratory."""
    accuracies: tuple[float, float]
    """Mean accuracy of both arms, 0..1."""
    delta: float
    """Difference, in 0..1 (0.05 is 5 points)."""
    checkpoints: Interval | None
    """These checkpoints: problems resampled, seeds fixed. "Is the model I hold better?" """
    data: Interval | None
    """This data: problems and seeds both random. "Would this data help again?" None with a single seed."""
    seed_deltas: list[float]
    """The difference seed by seed."""
    df: float | None
    """Degrees of freedom at which a single t interval would be as wide as `data`."""
    p: float | None
    """Two-sided p of "no difference" under the second interval's model."""
    p_holm: float | None
    """Holm-adjusted over the primary family, after looks were paid for; None outside it."""
    verdict: str
    """In words: `long helps`, `blend beats every pure arm`, `no difference larger than 2.1 points`, `can't tell (would
    need 9 seeds)`, ... Under a reading that does not count: what it alone says."""
    turned_by: list[Rule] = Field(default_factory=list)
    """Readings under which the sign turns, or of "no difference" the gap is larger, beyond noise, so that no verdict is
    given. Only of the reading that counts,
    and where its interval alone would have given one."""
    depends_on: list[str] = Field(default_factory=list)
    """Variants of the budget under which the sign is another one, or of "no difference" the gap is larger, so that no
    verdict is given. Only of the declared budget, and where its interval alone would have given one."""
    problems: int
    seeds: int
    detectable: float | None
    """Smallest true difference this study would find in 4 of 5 repetitions (power 0.8, alpha 0.05; of a primary gap
    after this look and all students are paid for). None also where nothing is left to be spent."""
    detectable_endless_problems: float | None = None
    """The same with these seeds and any number of problems: where it is the larger part, more seeds help."""
    detectable_endless_seeds: float | None = None
    """The same with these problems and any number of seeds: where it is the larger part, more problems help."""
    needed: str = ""
    """What would find a difference of `smallest_gap` in 4 of 5 repetitions: `9 seeds`, `1,200 problems`, both, `9
    seeds; more problems cannot help`. Empty where this study would, and where a verdict was given."""
    scores: str = ""
    """Hash of the scores of both arms. Where it is the same, so is the gap; of the primary contrast alone."""
    look: int | None = None
    """Which look at this study it is, from 1. None outside the primary contrast, and where no verdict was possible."""
    paid: float = 1.0
    """What p was multiplied by for that look before Holm's adjustment. 0: nothing is left to be spent, so that no
    verdict is given."""


class Update(Row):
    """One optimizer step's share of a training set: which example is seen in which update."""

    update: int
    """Optimizer step, from 0."""
    example: int
    """Row number in the cell's examples table."""


class Drop(Row):
    """A trace or problem that an arm could have used and does not, with the reason."""

    problem_id: str
    """The problem."""
    trace_id: str | None
    """The trace; None when the problem itself left."""
    teacher: str
    """The teacher whose trace it is, or who lacks one."""
    reason: str
    """Of a correct trace: `unfinished`, it did not end by itself; `overlong`; `special_token` or `think_tag`, one is in
    its text; `unknown`, so is something that the student's tokenizer does not know. Of a problem that left every arm
    for want of a trace by this teacher: what most of its correct traces died of, else `no_correct`, none was judged
    correct, or `no_trace`, the requests failed or nothing is recorded."""
    detail: str = ""
    """What was found: the text of the problem or trace that it matched, and where that stands."""


class Fit(Row):
    """How one teacher's trace looks to the students of one template, before any arm draws on it."""

    trace_id: str
    """The trace. Its problem is a training problem of the study."""
    problem_id: str
    template: str
    """Fingerprint of the template and tokenizer that counted; students may share one."""
    prompt_tokens: int
    """Tokens of the problem's prompt as the student sees it."""
    loss_tokens: int
    """Tokens of the trace as the student would write it, stop token included."""
    reason: str | None
    """Why no arm may use it, whatever its verdict; None where it may. `unfinished`: it did not end by itself;
    `special_token`, `think_tag`: one is in its text; `unknown`: the tokenizer does not know all of it; `duplicate`: an
    earlier one of the problem says the same, white space aside; `in_evaluation`: the prompt of a problem of `dev`,
    `gate` or a benchmark stands in it."""
    detail: str = ""
    """What was found: how it ended, the token, the id of the earlier trace, the words and where else they stand."""


class Origin(Row):
    """Where one row of an arm's training set comes from: the manifest."""

    example: int
    """Row number in the cell's examples table."""
    problem_id: str
    trace_id: str
    teacher: str
    sample: int
    """Index among the teacher's traces of the problem."""
    tag: str
    """What its prompt carries on a last line; "" for nothing."""
    prompt_tokens: int
    """Of the prompt as the student's template renders it, without a tag."""
    loss_tokens: int
    """Tokens, as the student writes it."""
    stage: int
    """Rows of a lower stage come before those of a higher one; 0 where the order is the seed's alone."""
    updates: int
    """How many updates take it, over all epochs."""


def content_hash(*parts: str) -> str:
    """16 hex digits that depend on the parts and their borders alone."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:16]


def prompt_text(prompt: str | list[Message]) -> str:
    """A prompt as one text: itself, or its turns one after the other with their roles."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{m.role}: {m.content}" for m in prompt)


def problem_id(prompt: str | list[Message], answer: str) -> str:
    """Content hash of a problem."""
    return content_hash(prompt_text(prompt), answer)


def trace_id(author: str, problem: str, sample: int) -> str:
    """Id of an author's `sample`-th trace of a problem."""
    return content_hash(author, problem, str(sample))
