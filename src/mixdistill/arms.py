"""What an arm is called: `mix`; trained once more under another budget `mix@loss_tokens`; asked otherwise `mix+short`;
asked in other words `mix~carefully`.

A *variant* is the same arm under a budget that differs in one thing; a *mode* is a way of asking one and the same
model.
Names in a recipe hold neither `@`, `+` nor `~`, so the parts of a name are always told apart.
"""

from __future__ import annotations

from typing import NamedTuple

BASE = "base"
"""The untuned student."""
SELF = "self"
"""The teacher that is the student itself; of each student another one, `self@<student>`."""


class Called(NamedTuple):
    """The parts of an arm's name."""

    arm: str
    """As the recipe has it, or `base`."""
    variant: str = ""
    """An entry of `budget.also`; "" for the arm as it was declared."""
    mode: str = ""
    """The teacher whose tag the prompts carry, or how an untuned student is asked; "" for the arm's own way."""
    wording: str = ""
    """A paraphrase of what is asked; "" for the study's own words."""

    def __str__(self) -> str:
        parts = (("@", self.variant), ("+", self.mode), ("~", self.wording))
        return self.arm + "".join(sign + part for sign, part in parts if part)

    @property
    def trained(self) -> str:
        """The name of its training: every mode asks the same model."""
        return str(self._replace(mode="", wording=""))


def called(name: str) -> Called:
    """The parts of a name."""
    rest, _, wording = name.partition("~")
    rest, _, mode = rest.partition("+")
    arm, _, variant = rest.partition("@")
    return Called(arm, variant, mode, wording)


def of_variant(name: str, variant: str) -> str:
    """The same arm, in the same mode, under another budget. There is one untuned student."""
    parts = called(name)
    return name if parts.arm == BASE else str(parts._replace(variant=variant))


BY = {
    "examples": "by examples",
    "loss_tokens": "by loss tokens",
    "shared": "on shared problems",
    "each": "on each arm's own problems",
    "reweighted": "reweighted by difficulty",
}
"""Variant -> how its arms were trained, in words."""


def spoken(name: str) -> str:
    """A name in words: `mix (by loss tokens)`; a mode as it stands."""
    parts = called(name)
    return f"{parts._replace(variant='')}" + (f" ({BY[parts.variant]})" if parts.variant else "")
