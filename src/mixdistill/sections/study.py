"""Who is trained on what, what is compared, and how students are asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mixdistill.sections.base import OpenSection, Section
from mixdistill.sections.teachers import Served
from mixdistill.types import Sampling


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
    backend: Literal["transformers", "vllm", "openai"] = "transformers"
    """What it is sampled with when it is evaluated, untuned and trained alike. `openai`: an endpoint of yours that
    serves it and its trainings by name."""
    backend_options: dict[str, Any] = {}
    """Options of that backend; its precision is that of the training, or the endpoint's."""
    served_as: dict[str, str] = {}
    """Names of models at the endpoint: of the untuned student under `base`, else its `model`; of a training under
    `<arm>/<seed>`, else `<student>-<arm>-<seed>`."""
    serve: Served | None = None
    """`vllm`: a server is started for each of its evaluations instead."""
    adapters: bool = True
    """Of a student that `backend: vllm` samples and that is trained with adapters in all its arms: its base is loaded
    once, and the adapters are swapped on it. False: the merged weights of each training are loaded."""


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
    (`plain`, `boxed`, `choice` and `paper` have three each), or templates of your own. The untuned student counts in
    the best of all its prompts then."""
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
