"""Where problems come from, and which of them decide."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from mixdistill.errors import did_you_mean
from mixdistill.fragments import shipped
from mixdistill.sections.base import Section
from mixdistill.sections.verify import Verify
from mixdistill.types import Sampling


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


class Benchmark(Source):
    """Problems that students are scored on, with what is this benchmark's own. `benchmark` fills in what the field
    uses; keys given beside it win, and so does what the study's `evaluate` sets."""

    benchmark: str | None = None
    """A shipped benchmark whose keys are the defaults here: `mixdistill recipes --benchmarks` lists them. Another
    `source`, such as a local file, takes the place of its data set, `subset` and `split` included."""
    verify: Verify | None = None
    """How its answers are judged; as the study's `verify` says when not given. Where its verifier is the first of
    the study's chain, the rest of that chain follows. Which reading counts is the study's."""
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
