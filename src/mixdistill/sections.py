"""The sections of a recipe, each with its keys, their defaults and what they mean. recipe.py puts them together."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from mixdistill.errors import did_you_mean
from mixdistill.fragments import shipped
from mixdistill.types import Rule, Sampling

Schedule = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
]
"""Those of `transformers.SchedulerType` that need no settings of their own."""


class Section(BaseModel):
    """Base of the recipe's models."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class OpenSection(BaseModel):
    """A section whose further keys are the options of the backend, verifier or mixture it names."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True, allow_inf_nan=False)

    @property
    def options(self) -> dict[str, Any]:
        """The further keys."""
        return dict(self.model_extra or {})


class Source(Section):
    """Where problems come from and which columns hold what."""

    source: str = Field(min_length=1)
    """A local .jsonl, .json, .csv, .tsv or .parquet file, a Hugging Face hub id, or `lab:signs`."""
    subset: str | None = None
    """Configuration name of a hub data set."""
    split: str = "train"
    """Split of a hub data set or of the lab's domain (`train`, `search`, `eval`)."""
    prompt: str | None = None
    """Column with the prompt; detected when it has a usual name. A prompt is text or a list of {role, content}."""
    answer: str | list[str] | None = None
    """Column with the reference answer; detected when it has a usual name. What is no text is taken as JSON text. Of
    several columns the answer is a JSON object."""
    answer_after: str | None = None
    """The answer is what follows the last occurrence of this text in its column. `####` is detected where 95 % of the
    answers hold it; "" takes the whole column."""
    options: str | list[str] | None = None
    """Column with the list of options that a problem offers, or several columns with one option each. They stand below
    the prompt as `A) ...`, those of several columns in an order that follows from their texts alone. The reference
    answer is a letter; where it is the text of an option, that option's letter."""
    level: str | None = None
    """Column with a difficulty level; detected when it has a usual name and at most 20 different values in all."""
    subject: str | None = None
    """Column with a subject; detected when it is called `subject`, `type` or `category` and has at most 60 different
    values in all."""
    part: tuple[float, float] | None = None
    """[a, b], with 0 <= a < b <= 1: only the problems whose place, a hash of the prompt without its typography, is
    in [a, b). So one file gives training and evaluation parts that never meet, and no problem moves when others are
    added."""
    skip: int = Field(default=0, ge=0)
    """Leave out this many problems at the start (of the part)."""
    limit: int | None = Field(default=None, ge=1)
    """Take at most this many problems."""
    ask: str | None = None
    """What a student is asked: a shipped prompt by name (`boxed`, `choice`, `paper`) or a file of your own, as for
    teachers; the problem as it stands when not given. Students are trained on what `problems.train` asks."""

    @property
    def drawn(self) -> dict[str, Any]:
        """What decides which problems there are. Keys that came later count where they are set."""
        plain = self.model_dump(mode="json", include=set(Source.model_fields) - {"ask"})
        return {k: v for k, v in plain.items() if v is not None or k not in ("options", "subject")}

    @field_validator("part")
    @classmethod
    def _part(cls, part: tuple[float, float] | None) -> tuple[float, float] | None:
        if part is not None and not 0 <= part[0] < part[1] <= 1:
            raise PydanticCustomError("part", "must be [a, b] with 0 <= a < b <= 1")
        return part


class Decontaminate(Section):
    """How close a training row may come to a problem of `dev`, `gate` or a benchmark. Each removed row is listed with
    the text it matched; docs/decontamination.md has the rules and what they catch."""

    ngram: int | None = Field(default=13, ge=5)
    """A prompt or trace that shares this many words in a row with such a problem's prompt, and six tenths of its words
    in all, leaves; null: not looked at. A shorter prompt counts where it stands in the row as a whole."""
    numbers: bool = True
    """A prompt that differs from such a problem's in its numbers alone, and has eight other words, leaves. Turn it off
    where all problems are made from the same sentences."""


class Price(Section):
    """What a model's tokens cost."""

    prompt: float = Field(default=0.0, ge=0)
    """US dollars per million tokens of the prompt."""
    completion: float = Field(ge=0)
    """US dollars per million sampled tokens, reasoning included."""


class Spend(Section):
    """How much may be spent on traces. No request is sent that could go over it, by `sampling.max_tokens` or, without
    that, by the largest so far; raise it to go on. Teachers that are asked at the same time do not see what the others
    have in flight: together they may go over by as much."""

    cost: float | None = Field(default=None, gt=0)
    """US dollars. Needs a price, or a server that says what a request cost."""
    tokens: int | None = Field(default=None, ge=1)
    """Sampled tokens."""


class Serve(Section):
    """A server of one's own for a model: started when the model is needed, ended when it no longer is. `serve: vllm` is
    `serve: {engine: vllm}`."""

    engine: Literal["vllm"] = "vllm"
    """What serves: vLLM, in an environment that has it."""
    dtype: str = "auto"
    """Precision of the weights; `auto`: as they were saved, and for a student as it was trained."""
    quantization: str | None = None
    """As vLLM names it, where the model does not say."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Most tokens of prompt and completion together; the model's context when not given."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that the model is spread over."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of the GPU's memory that the server may take; vLLM's own when not given."""
    enforce_eager: bool = False
    """Start at once, without compiling and recording the model; it is slower then."""
    start_seconds: float = Field(default=900.0, gt=0)
    """How long the server may take to start."""
    args: list[str] = []
    """Further arguments of the server, as on its command line."""

    @property
    def of_rows(self) -> dict[str, Any]:
        """The settings that change what is sampled; the others change how fast."""
        return self.model_dump(include={"engine", "dtype", "quantization", "max_model_len", "args"}, exclude_none=True)


def _serve(value: Any) -> Any:
    return {"engine": value} if isinstance(value, str) else value


Served = Annotated[Serve, BeforeValidator(_serve)]


class Teacher(OpenSection):
    """A named source of traces. Further keys are options of the backend."""

    backend: str
    """`openai`, `transformers`, `recorded`, `scripted`, or your own `package.module:Class`."""
    model: str
    """Model name, hub id, folder, or file of recorded traces."""
    samples: int = Field(default=1, ge=1)
    """Traces per problem that are asked for in any case."""
    until_correct: int | None = Field(default=None, ge=1)
    """Ask on, sample after sample, until this many traces of a problem are correct and ended by themselves."""
    max_samples: int | None = Field(default=None, ge=1)
    """Most traces per problem; `until_correct` needs it."""
    sampling: Sampling = Sampling()
    """How they are drawn. A higher `max_tokens` asks again for the traces that were cut, and for no others."""
    prompt: str = "plain"
    """What the teacher is asked: a shipped prompt by name (`boxed`, `paper`), a file of your own (text with
    `{problem}`, or `.jinja` with `{{ problem }}`), or `plain` for the problem alone."""
    system: str | None = Field(default=None, min_length=1)
    """Its system prompt: this text as it stands, never a path. A problem's own follows it in the same turn."""
    examples: str | None = Field(default=None, min_length=1)
    """A file of worked examples with the columns `prompt` and `completion`, all of which are shown before the problem
    as earlier turns."""
    price: Price | None = None
    """Where it is left out, and the server does not say either, only tokens are counted."""
    spend: Spend = Spend()
    """Limits for this teacher alone."""
    serve: Served | None = None
    """`vllm`: the backend `openai` talks to a server that is started for this teacher; `model` is a hub id, a folder or
    `lab:<name>`."""

    @property
    def most_samples(self) -> int:
        """Most traces of a problem that may be there."""
        return self.samples if self.until_correct is None else self.max_samples or self.samples


class Link(NamedTuple):
    """One verifier of a chain."""

    name: str
    """As the recipe has it."""
    options: dict[str, Any]


class Verify(OpenSection):
    """How answers are judged. Further keys are options of the verifier; of a chain's first. A later one's stand under
    its name (`judge: {model: ...}`; of your own, `path/file.py:function`, under `function`)."""

    verifier: str | Annotated[list[str], Field(min_length=1)]
    """`math`, `numeric`, `choice`, `exact`, `json`, `code`, `ifeval`, `judge`, `signs`, or your own
    `path/file.py:function`. A list is a chain, such as `[math, judge]`: each further verifier sees what none before it
    accepted."""
    rule: Rule | None = None
    """Which reading of the answers counts: `strict`, `flexible`, or `judge`, the whole chain. When not given: `judge`
    where there is a chain, else `flexible`. Every gap is shown under each all the same."""
    audit: float = Field(default=0.05, ge=0, le=1)
    """Share of the accepted traces that a chain's later verifiers see as well, so that their agreement is known."""
    deadline: float = Field(default=20.0, gt=0)
    """Seconds after which a verifier is killed and the outcome is `error`."""

    @property
    def chain(self) -> list[Link]:
        """The verifiers in order, each with its options."""
        names = [self.verifier] if isinstance(self.verifier, str) else self.verifier
        own = {name.rpartition(":")[2] for name in names[1:]}
        flat = {k: v for k, v in self.options.items() if k not in own}
        return [Link(n, self.options.get(n.rpartition(":")[2], {}) if i else flat) for i, n in enumerate(names)]

    @property
    def name(self) -> str:
        """The chain in one word: `math+judge`."""
        return "+".join(link.name for link in self.chain)

    @property
    def counts(self) -> Rule:
        """The rule whose outcomes count."""
        return self.rule or ("judge" if len(self.chain) > 1 else "flexible")


class Benchmark(Source):
    """Problems that students are scored on, with what is this benchmark's own. `benchmark` fills in what the field
    uses; keys given beside it win, and so does what the study's `evaluate` sets."""

    benchmark: str | None = None
    """A shipped benchmark whose keys are the defaults here: `mixdistill recipes --benchmarks` lists them. Another
    `source`, such as a local file, takes the place of its data set, `subset` and `split` included."""
    verify: Verify | None = None
    """How its answers are judged; as the study's `verify` says when not given. Which reading counts is the study's."""
    sampling: Sampling = Sampling()
    """Decoding; what is not set is as in `evaluate.sampling`."""
    k: int | None = Field(default=None, ge=1)
    """Samples per problem; `evaluate.k` when not given."""
    guard: bool = False
    """What the student could do before: every arm is held against the untuned student, and nothing is decided here."""
    weight: float = Field(default=1.0, ge=0)
    """Its share in the average over benchmarks, relative to the others'."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, raw: Any) -> Any:
        if isinstance(raw, Source) and not isinstance(raw, Benchmark):
            return raw.model_dump(exclude_unset=True)
        name = raw.get("benchmark") if isinstance(raw, dict) else None
        if isinstance(name, str) and name not in shipped():
            why = f"no benchmark '{name}' is shipped{did_you_mean(name, shipped())}"
            raise PydanticCustomError("benchmark", "{why}", {"why": why})
        return raw

    @property
    def own(self) -> dict[str, Any]:
        """The decoding that is this benchmark's alone."""
        return self.sampling.model_dump(exclude_none=True)


HELD_OUT = ("dev", "gate")
"""Lists of problems beside the training problems and the benchmarks."""


class Problems(Section):
    """Training problems and the benchmarks."""

    train: Source
    """Problems the teachers solve."""
    eval: dict[str, Benchmark] = Field(min_length=1)
    """Benchmark name -> its problems; or a list of shipped benchmarks, `[gsm8k, math500]`. They never overlap with the
    training problems: what does is dropped there."""
    dev: Source | None = None
    """Problems that choices are made on: checkpoints of a training, learning rates. Never reported as a score."""
    gate: Source | None = None
    """Problems that nothing was chosen on, for `mixdistill ship` alone."""
    decontaminate: Decontaminate = Decontaminate()

    @property
    def lists(self) -> dict[str, Source]:
        """Name of a list and of its table -> where it comes from: `train`, the benchmarks, `dev` and `gate` where they
        are given."""
        held_out = {name: getattr(self, name) for name in HELD_OUT}
        return {"train": self.train, **self.eval, **{name: source for name, source in held_out.items() if source}}

    @property
    def guards(self) -> frozenset[str]:
        """The benchmarks that no gap is about."""
        return frozenset(name for name, benchmark in self.eval.items() if benchmark.guard)

    @property
    def drawn(self) -> dict[str, Any]:
        """What decides which problems there are, besides the content of files."""
        plain = self.model_dump(mode="json", include={"decontaminate"})
        held_out = {name: source and source.drawn for name in HELD_OUT for source in [getattr(self, name)]}
        benchmarks = {name: benchmark.drawn for name, benchmark in self.eval.items()}
        return {"train": self.train.drawn, "eval": benchmarks, **held_out, **plain}


class Analyze(Section):
    """What is measured of every teacher's traces besides tokens."""

    tokenizer: str | None = None
    """Model whose tokenizer counts; the first student's when not given."""
    metrics: list[str] = ["steps"]
    """Metric names or references."""


class Lora(Section):
    """Low-rank adapters. Names are those of PEFT's `LoraConfig`."""

    r: int = Field(default=16, ge=1)
    """Rank."""
    lora_alpha: float = Field(default=32.0, gt=0)
    """Scale: the update is multiplied by `lora_alpha / r`."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """Names of the modules that get one; `all-linear`: every linear layer but the output."""


LEARNING_RATES = {"full": 1e-5, "lora": 1e-4, "qlora": 1e-4}
"""Training method -> learning rate when none is given."""


class Train(Section):
    """One training, the same for all arms. Names are those of Hugging Face `TrainingArguments`, PEFT and TRL."""

    method: Literal["full", "lora", "qlora"] = "full"
    """What is trained: all weights, adapters, or adapters on weights of four bits (needs bitsandbytes and a GPU). The
    student that comes out is an ordinary model in each case: adapters are merged into it, and kept beside it."""
    lora: Lora = Lora()
    """For `lora` and `qlora`."""
    learning_rate: float = Field(default=LEARNING_RATES["full"], gt=0)
    """Peak learning rate. When not given, 1e-5 for `full`, which suits models of billions of weights, and 1e-4 for
    adapters."""
    loss_type: Literal["nll", "dft"] = "nll"
    """`nll`: cross-entropy. `dft`: each token's is weighted with its own probability, as TRL has it (arXiv 2508.05629).
    """
    num_train_epochs: float = Field(default=2.0, gt=0)
    """Passes over the problems; in `loss_tokens`, passes of the arm with the fewest tokens."""
    lr_scheduler_type: Schedule = "cosine"
    """Schedule of the learning rate."""
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    """Share of the updates spent warming up."""
    weight_decay: float = Field(default=0.0, ge=0)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=16384, ge=1)
    """Most tokens of prompt and completion together."""
    overlong: Literal["refuse", "drop", "truncate"] = "refuse"
    """What happens when traces exceed `max_length`: stop with a message, or drop them from every arm and list them.
    `truncate` cuts them, stop token and all, as other trainers do in silence: to reproduce what was trained so. A study
    with a row that was cut is marked red."""
    micro_batch_tokens: int = Field(default=16384, ge=1)
    """Tokens per forward pass, padding included; an update is cut into as many as it needs. Changes memory and rounding
    only."""
    packing: bool | None = None
    """Rows of a forward pass stand one after the other, without padding, and do not see each other. When not given: on
    a GPU with flash attention. On a CPU it is slower."""
    attn_implementation: str | None = None
    """As transformers names it. When not given: `flash_attention_2` on a GPU that has it, else the model's own."""
    gradient_checkpointing: bool | None = None
    """Compute activations again in the backward pass instead of keeping them. When not given: on a GPU."""
    bf16: bool = False
    """Compute in bfloat16. Weights and optimizer stay float32: in bfloat16, updates at 1e-5 round to nothing."""
    save_steps: int = Field(default=500, ge=1)
    """Updates between checkpoints; a killed training goes on from the last."""
    num_processes: int = Field(default=1, ge=1)
    """Processes that share one training, one GPU each where there are GPUs. The updates stay what they are: each
    process takes its share of every one."""
    distributed: Literal["ddp", "fsdp"] = "ddp"
    """How they share it: each holds the whole model, or a part of its weights, gradients and optimizer."""
    dev_checkpoints: int = Field(default=4, ge=0)
    """Points of the training, at equal distances and the end among them, at which the student is scored on
    `problems.dev`; without that, none."""
    keep: Literal["last", "best"] = "last"
    """Which of these points becomes the student, by one rule in every arm: the last, or the one with the highest
    accuracy on `problems.dev` (of equal ones the earliest)."""
    report_to: list[str] = []
    """Trackers that every training is reported to, as transformers names them (`wandb`, `tensorboard`, ...)."""

    @model_validator(mode="after")
    def _rate(self) -> Self:
        if "learning_rate" not in self.model_fields_set:
            # Not through the model's own door, so that it stays a default: another method has another one.
            self.__dict__["learning_rate"] = LEARNING_RATES[self.method]
        return self


class Tune(Section):
    """Values that are tried on every arm alike before the study's trainings, one training each with the first seed. The
    one with the highest accuracy on `problems.dev` is taken, arm by arm (of equal ones the first)."""

    learning_rate: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2)]
    """Peak learning rates, in place of `train.learning_rate`."""


class Student(Section):
    """A model to be trained."""

    model: str
    """Hub id, folder, or `lab:<name>`."""
    chat_template_kwargs: dict[str, Any] = {}
    """Passed to its chat template, in training and in evaluation alike. Of a hybrid, whose template has the switch
    `enable_thinking`, the untuned student is scored the other way too: `base+thinking` or `base+no-thinking`."""
    train: dict[str, Any] = {}
    """Training keys that this student overrides, for all its arms."""
    seeds: int | list[int] | None = None
    """Overrides the study's `seeds`."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """What it is sampled with when it is evaluated, untuned and trained alike."""
    backend_options: dict[str, Any] = {}
    """Options of that backend; its precision is that of the training."""
    serve: Served | None = None
    """`vllm`: a server is started for each of its evaluations instead."""


class Arm(OpenSection):
    """A named training set. Further keys are options of the mixture."""

    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(min_length=1)
    """Teacher -> share, in the budget's unit; they add up to 1."""
    mixture: str = "blend"
    """How traces are put together: `blend`, `tagged`, `curriculum`, `route`, `repeat`, or your own
    `path/file.py:function`."""
    choose: Literal["random", "shortest", "longest"] = "random"
    """Which of a teacher's traces of a problem may be taken: any, by the seed; or the one with the fewest or the most
    loss tokens. Longest against shortest of one teacher differ in length alone."""
    tags: dict[str, str] = {}
    """Teacher -> text that its rows carry on a last line of their prompt, so that the trained student can be asked for
    either form. It is scored with the tag of the teacher of the largest weight, and with each other one as
    `<arm>+<teacher>`. `mixture: tagged` is a blend with the tags `/<teacher>`."""
    train: dict[str, Any] = {}
    """Training keys that this arm alone overrides, to reproduce studies that did so. It is always marked red."""
    budget: dict[str, Any] = {}
    """The same of the budget."""


class Primary(Section):
    """The one comparison that decides, declared before the run. Everything else is exploratory."""

    contrast: str
    benchmark: str
    max_tokens: int | None = None
    """Token cap; none: the generation's own limit."""


Variant = Literal["examples", "loss_tokens", "shared", "each", "reweighted"]
"""A value of `budget.unit` or `budget.problems` other than the study's."""


class Budget(Section):
    """What every update holds equally, in every arm."""

    unit: Literal["examples", "loss_tokens"] = "examples"
    """The unit of `per_update` and of the arms' weights. The other unit is always printed."""
    per_update: int = Field(default=16, ge=1)
    """Examples, or loss tokens, per optimizer step. Must be given for `loss_tokens`."""
    problems: Literal["shared", "each", "reweighted"] = "shared"
    """`shared`: problems that every teacher of the compared arms solved; `each`: every arm its own; `reweighted`: the
    shared ones, repeated such that levels of difficulty have the shares that they have among all problems."""
    also: list[Variant] | None = None
    """Train and score every arm once more under a budget that differs in this one thing, and hold the gaps against
    those. A verdict needs the same sign under both units of the budget. In the other unit `per_update` follows from the
    data, such that there are as many updates. When neither this nor `unit` is given: the other unit."""

    @property
    def variants(self) -> list[Variant]:
        """What `also` comes to."""
        if self.also is not None:
            return list(dict.fromkeys(self.also))
        return [] if "unit" in self.model_fields_set else ["loss_tokens"]


class Evaluate(Section):
    """How students are sampled and where their answers are cut."""

    sampling: Sampling = Sampling()
    """Decoding; what is not set comes from the student's generation_config."""
    k: int | None = Field(default=None, ge=1)
    """Samples per problem. When not given: 4 where a student is decoded with chance, 1 where greedily, by `sampling` or
    else by its own generation_config."""
    caps: list[Annotated[int, Field(ge=1)]] = []
    """Further token caps below the generation's own limit, read off the same generation as prefixes."""
    paraphrases: Annotated[int, Field(ge=0, le=3)] | list[str] = 0
    """Ask the primary benchmark in other words besides, once a problem and model: so many of those that are shipped
    (`plain`, `boxed` and `choice` have three each), or templates of your own. The untuned student counts in the best of
    all its prompts then."""
    forced: bool = False
    """At each of the caps, ask for the answer at once besides: the student goes on from what it had written. What had
    ended before stands as it is."""
    thinking: list[Annotated[float, Field(ge=0, le=1)]] = []
    """Shares of its own reasoning after which a student is asked for the answer at once: 0 is thinking off, 1 all of
    it."""
    force_text: str | None = None
    """What asks for it, after the end of the reasoning. When not given: `Final Answer:` for `math`, `numeric` and
    `choice`, `A` for `signs`, nothing for the others."""
    force_tokens: int = Field(default=64, ge=1)
    """Most tokens of an answer that was asked for so."""
    batch_size: int = Field(default=64, ge=1)
    """Prompts decoded together."""
    style: int = Field(default=64, ge=0)
    """Traces of the primary benchmark, of every arm's first seed and of the untuned student, whose tokens are ranked
    under the untuned student: how far what a student writes is from what it would have written. 0: none."""


class Published(Section):
    """A number of a publication, to stand beside the measured one."""

    source: str = Field(min_length=1)
    """Where it stands: `Table 1`."""
    student: str
    arm: str | None = None
    """Whose accuracy it is; either this or `contrast`."""
    contrast: str | None = None
    """Whose gap it is. Of `each_pure`: over the best of the pure arms."""
    benchmark: str | None = None
    """None: the plain mean over all benchmarks."""
    points: float = Field(ge=-100, le=100)
    """Accuracy in percent, or gap in points."""
