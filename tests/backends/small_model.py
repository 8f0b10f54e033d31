"""A tiny random causal language model with a word-level tokenizer, and completions of it."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from mixdistill.backends.transformers import Transformers
from mixdistill.types import Completion, Request, Sampling

WORDS = [
    "<pad>",
    "<end>",
    "<unk>",
    ":",
    "<think>",
    "</think>",
    *[f"w{i}" for i in range(26)],
]
END, CONTEXT = 1, 96
TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %} <end>{% endif %} {% endfor %}"
    "{% if add_generation_prompt %}: {% endif %}"
)
SHAPE = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SHAPE |= {
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": CONTEXT,
}
# Large weights make a random model decided enough for its greedy path to wander and to end now and then.
SHAPE |= {
    "initializer_range": 0.4,
    "eos_token_id": END,
    "bos_token_id": None,
    "pad_token_id": 0,
}


def write_model(folder: Path, config: object = None, **generation: object) -> str:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<pad>", unk_token="<unk>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config or LlamaConfig(**SHAPE))
    model.generation_config.update(eos_token_id=END, pad_token_id=0, **generation)
    model.save_pretrained(folder)
    return str(folder)


def requests(count: int, **sampling: float | None) -> list[Request]:
    """Prompts of 1 to 12 words, each with its own seed."""
    rng = random.Random(0)
    prompts = [" ".join(rng.choices(WORDS[6:], k=1 + i % 12)) for i in range(count)]
    return [Request(prompt=text, seed=i, sampling=Sampling(**sampling)) for i, text in enumerate(prompts)]


def sample(model: str, wanted: list[Request], **options: int) -> list[Completion]:
    """Completions in the order of the requests."""
    found = list(Transformers(model, **options).generate(wanted))
    assert sorted(position for position, _ in found) == list(range(len(wanted)))
    return [completion for _, completion in sorted(found, key=lambda item: item[0])]
