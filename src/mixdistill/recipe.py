"""The recipe: one YAML file that says everything about a study. Typed; unknown keys are refused with a suggestion.

`load` reads a file, applies `--set a.b=value`, fills in what the teachers' names imply, checks every cross-reference
and raises one RecipeError with *all* findings. Nothing here imports torch or touches the network.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from mixdistill.errors import RecipeError, did_you_mean
from mixdistill.types import Sampling
from mixdistill.yaml_text import parse_yaml, write_yaml

BASE = "base"
EACH_PURE = "each_pure"
OVER_BASE = "_over_base"
"""How the contrasts end that every arm has with the untuned student by itself."""
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
    answer: str | None = None
    """Column with the reference answer; detected when it has a usual name. What is no text is taken as JSON text."""
    answer_after: str | None = None
    """The answer is what follows the last occurrence of this text in its column. `####` is detected where 95 % of the
    answers hold it; "" takes the whole column."""
    level: str | None = None
    """Column with a difficulty level; detected when it has a usual name and at most 20 different values in all."""
    part: tuple[float, float] | None = None
    """[a, b], with 0 <= a < b <= 1: only the problems whose place, a hash of the prompt without its typography, is
    in [a, b). So one file gives training and evaluation parts that never meet, and no problem moves when others are
    added."""
    skip: int = Field(default=0, ge=0)
    """Leave out this many problems at the start (of the part)."""
    limit: int | None = Field(default=None, ge=1)
    """Take at most this many problems."""

    @field_validator("part")
    @classmethod
    def _part(cls, part: tuple[float, float] | None) -> tuple[float, float] | None:
        if part is not None and not 0 <= part[0] < part[1] <= 1:
            raise PydanticCustomError("part", "must be [a, b] with 0 <= a < b <= 1")
        return part


class Problems(Section):
    """Training problems and the benchmarks."""

    train: Source
    """Problems the teachers solve."""
    eval: dict[str, Source] = Field(min_length=1)
    """Benchmark name -> its problems. They never overlap with the training problems: what does is dropped there."""


class Price(Section):
    """What a model's tokens cost."""

    prompt: float = Field(default=0.0, ge=0)
    """US dollars per million tokens of the prompt."""
    completion: float = Field(ge=0)
    """US dollars per million sampled tokens, reasoning included."""


class Spend(Section):
    """How much may be spent on traces. No request is sent that could go over it; raise it to go on."""

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


class Verify(OpenSection):
    """How answers are judged. Further keys are options of the verifier."""

    verifier: str
    """`math`, `exact`, `json`, `signs`, or your own `path/file.py:function`."""
    deadline: float = Field(default=20.0, gt=0)
    """Seconds after which a verifier is killed and the outcome is `error`."""


class Analyze(Section):
    """What is measured of every teacher's traces besides tokens."""

    tokenizer: str | None = None
    """Model whose tokenizer counts; the first student's when not given."""
    metrics: list[str] = ["steps"]
    """Metric names or references."""


class Train(Section):
    """One training, the same for all arms. Names are those of Hugging Face `TrainingArguments`."""

    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate. 1e-5 is for full fine-tuning of billion-parameter models."""
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
    overlong: Literal["refuse", "drop"] = "refuse"
    """What happens when traces exceed `max_length`: stop with a message, or drop them from every arm and list them."""
    micro_batch_tokens: int = Field(default=16384, ge=1)
    """Padded tokens per forward pass; an update is cut into as many as it needs. Changes memory and rounding only."""
    bf16: bool = False
    """Compute in bfloat16. Weights and optimizer stay float32: in bfloat16, updates at 1e-5 round to nothing."""
    save_steps: int = Field(default=500, ge=1)
    """Updates between checkpoints; a killed training goes on from the last."""


class Student(Section):
    """A model to be trained."""

    model: str
    """Hub id, folder, or `lab:<name>`."""
    chat_template_kwargs: dict[str, Any] = {}
    """Passed to its chat template, in training and in evaluation alike."""
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
    """How traces are put together."""


class Primary(Section):
    """The one comparison that decides, declared before the run. Everything else is exploratory."""

    contrast: str
    benchmark: str
    max_tokens: int | None = None
    """Token cap; none: the generation's own limit."""


class Budget(Section):
    """What every update holds equally, in every arm."""

    unit: Literal["examples", "loss_tokens"] = "examples"
    """The unit of `per_update` and of the arms' weights. The other unit is always printed."""
    per_update: int = Field(default=16, ge=1)
    """Examples, or loss tokens, per optimizer step. Must be given for `loss_tokens`."""
    problems: Literal["shared", "each"] = "shared"
    """`shared`: problems that every teacher of the compared arms solved; `each`: every arm its own."""


class Evaluate(Section):
    """How students are sampled and where their answers are cut."""

    sampling: Sampling = Sampling()
    """Decoding; what is not set comes from the student's generation_config."""
    k: int = Field(default=1, ge=1)
    """Samples per problem."""
    caps: list[Annotated[int, Field(ge=1)]] = []
    """Further token caps below the generation's own limit, read off the same generation as prefixes."""
    batch_size: int = Field(default=64, ge=1)
    """Prompts decoded together."""


def _arm(value: Any) -> Any:
    if isinstance(value, dict) and "weights" not in value:
        return {"weights": value}
    return value


class Recipe(Section):
    """A study."""

    name: str
    """Names the run folder."""
    description: str = ""
    """One sentence for the report."""
    problems: Problems
    teachers: dict[str, Teacher] = Field(min_length=1)
    verify: Verify
    analyze: Analyze = Analyze()
    students: dict[str, Student] = Field(min_length=1)
    arms: dict[str, Annotated[Arm, BeforeValidator(_arm)]] = {}
    """Implied by the teachers' names when left out."""
    contrasts: dict[str, tuple[str, str]] = {}
    """Name -> [a, b]: the gap is P(a) - P(b). `each_pure` as b: against every pure arm of the blend."""
    primary: Primary | None = None
    """The first contrast on the first benchmark, uncapped, when left out."""
    budget: Budget = Budget()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    seeds: int | list[int] = 3
    """How many trainings of each student and arm (0, 1, ...), or their seeds."""
    spend: Spend = Spend()
    """Limits for all teachers together."""
    error_rate: float = Field(default=0.05, ge=0, lt=1)
    """Largest share of rows that may go wrong before a stage fails: problems that cannot be read, requests that fail,
    verdicts that are errors. What went wrong is listed either way."""

    def train_of(self, student: str) -> Train:
        """Training settings of a student: the study's, with the student's own on top."""
        return Train(**{**self.train.model_dump(), **self.students[student].train})

    def seeds_of(self, student: str) -> list[int]:
        """Seeds of a student."""
        own = self.students[student].seeds
        seeds = self.seeds if own is None else own
        return list(range(seeds)) if isinstance(seeds, int) else list(seeds)

    def cells(self) -> list[tuple[str, str, int]]:
        """Every training: (student, arm, seed)."""
        return [(s, a, seed) for s in self.students for seed in self.seeds_of(s) for a in self.arms]

    def pure_arms(self, arm: str) -> list[str]:
        """The pure arms of the teachers that `arm` blends."""
        teachers = {t for t, w in self.arms[arm].weights.items() if w > 0}
        return [a for a, spec in self.arms.items() if a != arm and _pure(spec) in teachers]

    def pairs(self, contrast: str) -> list[tuple[str, str]]:
        """The (a, b) pairs of a contrast; more than one for `each_pure`."""
        a, b = self.contrasts[contrast]
        return [(a, pure) for pure in self.pure_arms(a)] if b == EACH_PURE else [(a, b)]

    def group_of(self, arm: str) -> list[str]:
        """Arms that are compared with `arm`, directly or through others: they share problems and update counts."""
        group, todo = {arm}, [arm]
        edges = [pair for c in self.contrasts for pair in self.pairs(c)]
        while todo:
            here = todo.pop()
            for a, b in edges:
                if here in (a, b):
                    new = ({a, b} - group) & set(self.arms)
                    group |= new
                    todo += new
        return [a for a in self.arms if a in group]

    def teachers_of(self, arms: list[str]) -> list[str]:
        """Teachers that the arms draw on, in the recipe's order."""
        used = {t for a in arms for t, w in self.arms[a].weights.items() if w > 0}
        return [t for t in self.teachers if t in used]

    def primary_or_first(self) -> Primary | None:
        """The declared primary comparison, or the first there is."""
        if self.primary and self.primary.max_tokens == self.evaluate.sampling.max_tokens:
            return self.primary.model_copy(update={"max_tokens": None})  # the generation's own limit, said in numbers
        if self.primary or not self.contrasts:
            return self.primary
        return Primary(contrast=next(iter(self.contrasts)), benchmark=next(iter(self.problems.eval)))


def _pure(arm: Arm) -> str | None:
    used = [t for t, w in arm.weights.items() if w > 0]
    return used[0] if len(used) == 1 else None


def shipped() -> dict[str, Path]:
    """Recipes that come with the package: name -> file."""
    return {p.stem: p for p in sorted((Path(__file__).parent / "recipes").glob("*.yaml"))}


def load(path: str | Path, overrides: list[str] | None = None, *, resolved: bool = True) -> Recipe:
    """The recipe in a file (or a shipped one by name), with `a.b=value` overrides; every finding in one RecipeError.

    With `resolved=False`, what it refers to need not be on this machine.
    """
    raw, where = read(path, overrides)
    return build(raw, where=where, resolved=resolved)


def read(path: str | Path, overrides: list[str] | None = None) -> tuple[dict[str, Any], str]:
    """(a recipe's plain objects with the overrides applied, the name of its file). Raises RecipeError."""
    file = Path(path)
    if not os.path.isfile(file) and str(path) in shipped():
        file = shipped()[str(path)]
    if not os.path.isfile(file):
        hint = did_you_mean(str(path), shipped())
        raise RecipeError(f"{path}: no such recipe file{hint}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise RecipeError(f"{path}: not UTF-8 text (byte {e.start}); save it as UTF-8") from None
    except OSError as e:
        raise RecipeError(f"{path}: cannot be read ({e.strerror}); check its permissions") from None
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of sections (got {type(raw).__name__})")
    for override in overrides or []:
        _override(raw, override)
    return raw, file.name


def build(raw: dict[str, Any], *, where: str = "recipe", resolved: bool = True) -> Recipe:
    """A Recipe from plain objects: validate, fill in what is implied, check the cross-references."""
    from mixdistill import recipe_checks

    try:
        recipe = Recipe.model_validate(_implied(raw))
    except ValidationError as e:
        raise RecipeError([f"{where}: {line}" for line in recipe_checks.findings(e, Recipe)]) from None
    findings = recipe_checks.cross_check(recipe) if resolved else []
    if findings:
        raise RecipeError([f"{where}: {line}" for line in findings])
    return recipe


def render(recipe: Recipe) -> str:
    """The whole recipe as YAML, implied parts included."""
    plain = recipe.model_dump(mode="json", exclude_none=True)
    return write_yaml(plain)


def _override(raw: dict[str, Any], override: str) -> None:
    key, eq, value = override.partition("=")
    if not eq or not key:
        raise RecipeError(f"--set {override}: write it as key.subkey=value")
    here = raw
    part, rest = _first_key(here, key)
    while rest:
        section = here.get(part, {})
        if not isinstance(section, dict):
            raise RecipeError(f"--set {override}: '{part}' is not a section (got {section!r})")
        here[part] = dict(section)  # a copy: YAML aliases make one object of two sections
        here = here[part]
        part, rest = _first_key(here, rest)
    here[part] = parse_yaml(value, f"--set {override}")


def _first_key(section: dict[str, Any], path: str) -> tuple[str, str]:
    """A dotted path's first key and what follows it. A name with dots in it (`qwen-1.5b`) wins when it is there."""
    parts = path.split(".")
    for n in range(len(parts), 1, -1):
        if ".".join(parts[:n]) in section:
            return ".".join(parts[:n]), ".".join(parts[n:])
    return parts[0], ".".join(parts[1:])


def _implied(raw: dict[str, Any]) -> dict[str, Any]:
    """Arms and contrasts that follow from teachers named long and short, or large and small."""
    raw = dict(raw)
    teachers = raw.get("teachers") if isinstance(raw.get("teachers"), dict) else {}
    assert isinstance(teachers, dict)
    pairs = [(a, b) for a, b in (("long", "short"), ("large", "small")) if a in teachers and b in teachers]
    if not raw.get("arms"):
        arms: dict[str, Any] = {t: {t: 1} for t in teachers}
        for a, b in pairs:
            arms[f"mix-{a}"] = {a: 0.2, b: 0.8}
            arms[f"mix-{a}-50"] = {a: 0.5, b: 0.5}
        raw["arms"] = arms
    arms = raw["arms"]
    if raw.get("contrasts") is None and isinstance(arms, dict):  # an empty section asks for none
        contrasts: dict[str, Any] = {}
        pure = {t for arm in arms.values() if len(_used(arm)) == 1 for t in _used(arm)}
        for a, b in pairs:
            if a in arms and b in arms:
                contrasts["long_cot_gap" if a == "long" else "large_teacher_gap"] = [a, b]
        for name, arm in arms.items():
            used = _used(arm)
            if len(used) > 1 and used <= pure:
                taken = any(c.startswith("mix_gain") for c in contrasts)
                contrasts[f"mix_gain_{name}" if taken else "mix_gain"] = [name, EACH_PURE]
        raw["contrasts"] = contrasts
    return raw


def _used(arm: Any) -> set[Any]:
    """Teachers that an arm draws on, as it stands in the file."""
    weights = _arm(arm).get("weights") if isinstance(arm, dict) else None
    return {t for t, w in weights.items() if w} if isinstance(weights, dict) else set()
