"""How answers are judged, and what is measured of traces."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import Field

from mixdistill.sections.base import OpenSection, Section
from mixdistill.types import Rule


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


class Analyze(Section):
    """What is measured of every teacher's traces besides tokens."""

    tokenizer: str | None = None
    """Model whose tokenizer counts; the first student's when not given."""
    metrics: list[str] = ["steps"]
    """Metric names or references."""
