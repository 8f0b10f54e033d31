"""Where traces come from, and what they may cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mixdistill.sections.base import OpenSection, Section
from mixdistill.types import Sampling


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
