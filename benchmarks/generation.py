"""Decoding speed: our loop against `model.generate` in static batches, both greedy, same prompts, same lengths.

    python benchmarks/generation.py [--prompts 500] [--batch-size 64] [--students s m l]

Random Llama models of the lab's shapes. How long each completion gets is drawn beforehand, like the lengths of long
traces (mean about 70 tokens, at most 320); `generate` gets them as a stopping criterion, so both do the same work.
Prints tokens/s of both, their ratio, and the share of completions that are the same to the last token.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import random
import tempfile
import time

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.utils.logging import disable_progress_bar

from mixdistill.backends.transformers import Transformers
from mixdistill.tokens import Template
from mixdistill.types import Request, Sampling

SHAPES = {
    "xs": (32, 2, 2, 96),
    "s": (64, 2, 4, 160),
    "sm": (80, 3, 4, 208),
    "m": (96, 4, 4, 256),
    "l": (160, 5, 5, 416),
}
VOCABULARY = 132


def write_model(folder: str, student: str) -> None:
    """A random model of the student's shape. Its stop token is one it cannot write, so lengths are ours to set."""
    width, layers, heads, ff = SHAPES[student]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=ff,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {f"w{i}": i for i in range(VOCABULARY - 1)} | {
        "<pad>": VOCABULARY - 1,
        "<end>": VOCABULARY,
    }
    tokens = Tokenizer(WordLevel(words, unk_token="<pad>"))
    tokens.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(folder)


def draw_requests(count: int) -> list[Request]:
    """Prompts of 7 to 9 words, as in the lab, each with its own length to reach."""
    rng = random.Random(0)
    found = []
    for _ in range(count):
        prompt = " ".join(f"w{rng.randrange(VOCABULARY - 1)}" for _ in range(rng.choice([7, 8, 9])))
        length = min(320, 12 + int(rng.expovariate(1 / 60)))
        found.append(Request(prompt=prompt, sampling=Sampling(temperature=0, max_tokens=length)))
    return found


class Lengths(StoppingCriteria):
    """Ends each row at its own length."""

    def __init__(self, prompt: int, lengths: list[int]):
        self.ends = torch.tensor(lengths) + prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return input_ids.shape[1] >= self.ends


def ours(folder: str, requests: list[Request], batch_size: int) -> tuple[list[list[int]], float]:
    """(completions in order, seconds), loading not counted."""
    backend = Transformers(folder, batch_size=batch_size, device="cpu")
    list(backend.generate([Request(prompt="w0", sampling=Sampling(temperature=0, max_tokens=2))]))
    start = time.perf_counter()
    found = dict(backend.generate(requests))
    return [found[i].token_ids or [] for i in range(len(requests))], time.perf_counter() - start


def theirs(folder: str, requests: list[Request], batch_size: int) -> tuple[list[list[int]], float]:
    """The same with `model.generate`, prompts sorted by length too."""
    model, template = (
        LlamaForCausalLM.from_pretrained(folder).eval(),
        Template.load(folder),
    )
    start = time.perf_counter()
    prompts = [template.prompt_ids(request.prompt) for request in requests]
    lengths = [request.sampling.max_tokens or 0 for request in requests]
    order = sorted(range(len(requests)), key=lambda i: -len(prompts[i]))
    found: dict[int, list[int]] = {}
    for at in range(0, len(order), batch_size):
        batch = order[at : at + batch_size]
        width = max(len(prompts[i]) for i in batch)
        pads = [width - len(prompts[i]) for i in batch]
        ids = torch.tensor([[template.pad_id] * pad + prompts[i] for i, pad in zip(batch, pads, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
        stop = StoppingCriteriaList([Lengths(width, [lengths[i] for i in batch])])
        with torch.inference_mode():
            full = model.generate(
                ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=max(lengths[i] for i in batch),
                stopping_criteria=stop,
                pad_token_id=template.pad_id,
            )
        for i, row in zip(batch, full[:, width:].tolist(), strict=True):
            found[i] = row[: lengths[i]]
    return [found[i] for i in range(len(requests))], time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--students", nargs="+", choices=SHAPES, default=["s", "m", "l"])
    options = parser.parse_args()
    disable_progress_bar()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    requests = draw_requests(options.prompts)
    total = sum(request.sampling.max_tokens or 0 for request in requests)
    print(f"{options.prompts} prompts, {total} tokens, batch {options.batch_size}, {torch.get_num_threads()} thread")
    print(f"{'student':8}{'ours tok/s':>12}{'generate':>12}{'ratio':>8}{'same':>8}")
    for student in options.students:
        with tempfile.TemporaryDirectory() as folder:
            write_model(folder, student)
            mine, my_seconds = ours(folder, requests, options.batch_size)
            peer, peer_seconds = theirs(folder, requests, options.batch_size)
        same = sum(a == b for a, b in zip(mine, peer, strict=True)) / len(mine)
        rates = total / my_seconds, total / peer_seconds
        print(
            f"{student:8}{rates[0]:12.0f}{rates[1]:12.0f}{rates[0] / rates[1]:8.2f}{same:8.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
