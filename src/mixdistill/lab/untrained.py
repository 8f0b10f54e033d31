"""`lab:bytes`: an untrained student that can read any text, one byte a token.

It knows nothing and learns next to nothing; it is there to carry real problems and real traces through every stage on
a machine that has no pretrained model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixdistill.lab.pretrain import CHAT_TEMPLATE, Size, fresh, one_thread

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SIZE = Size(width=64, layers=2, heads=4, ff=160, learning_rate=1e-3)
PAD, STOP = "<|pad|>", "<|end|>"
VOCABULARY = 258
"""256 bytes, pad and stop."""
CONTEXT = 8192
"""Positions."""


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a UTF-8 byte, and a pad and a stop token that no text contains."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {symbol: i for i, symbol in enumerate([PAD, STOP, *alphabet])}
    words = Tokenizer(models.BPE(ids, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=PAD,
        eos_token=STOP,
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def student(seed: int) -> LlamaForCausalLM:
    """The untrained model; `seed` draws its weights."""
    with one_thread(seed):
        return fresh(SIZE, tokenizer(), CONTEXT)
