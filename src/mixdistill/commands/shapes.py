"""What a student is made of, from its config.json or the lab's description; nothing is loaded."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass

from mixdistill import resolve
from mixdistill.sections import Lora


@dataclass(frozen=True)
class Shape:
    """What a decoder is made of."""

    width: int
    layers: int
    heads: int
    key_value_heads: int
    head: int
    """Width of a head."""
    ff: int
    vocabulary: int
    tied: bool
    """Input and output embeddings are one."""

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """The linear layers of one layer: name -> (in, out)."""
        query, key = self.heads * self.head, self.key_value_heads * self.head
        return {
            "q_proj": (self.width, query),
            "k_proj": (self.width, key),
            "v_proj": (self.width, key),
            "o_proj": (query, self.width),
            "gate_proj": (self.width, self.ff),
            "up_proj": (self.width, self.ff),
            "down_proj": (self.ff, self.width),
        }

    @property
    def layer(self) -> int:
        """Weights of one layer."""
        return sum(a * b for a, b in self.linear.values()) + 2 * self.width

    @property
    def embeddings(self) -> int:
        """Weights of the embeddings."""
        return self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def weights(self) -> int:
        return self.layers * self.layer + self.embeddings + self.width

    def adapters(self, lora: Lora) -> int:
        """Weights of the adapters. Names of modules that are not known here count as all of them."""
        named = lora.target_modules
        chosen = list(self.linear) if isinstance(named, str) or not set(named) <= self.linear.keys() else named
        return self.layers * sum(lora.r * sum(self.linear[name]) for name in chosen)


def shape(model: str) -> Shape | None:
    """A model's, from its config.json or the lab's description; None where neither is here, or it is no decoder of the
    usual kind."""
    folder = resolve.folder_of(model)
    if folder is None and model.startswith("lab:"):
        return _of_lab(model.removeprefix("lab:"))
    if folder is None:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if any("expert" in key for key in config):
            return None
        heads = int(config["num_attention_heads"])
        return Shape(
            width=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            key_value_heads=int(config.get("num_key_value_heads") or heads),
            head=int(config.get("head_dim") or config["hidden_size"] // heads),
            ff=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    return None


def _of_lab(name: str) -> Shape:
    from mixdistill.lab import models, pretrain, untrained

    base = models.describe(name).name.partition("@")[0]
    size = untrained.SIZE if base == models.BYTES else pretrain.SIZES[models.TEACHERS.get(base, base)]
    return Shape(
        width=size.width,
        layers=size.layers,
        heads=size.heads,
        key_value_heads=size.heads,
        head=size.width // size.heads,
        ff=size.ff,
        vocabulary=untrained.VOCABULARY if base == models.BYTES else len(pretrain.IDS),
        tied=True,
    )
