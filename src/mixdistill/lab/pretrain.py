"""How a lab student comes to be: its vocabulary, its sizes, and one plain training loop.

The same loop pretrains the base students on the corpus and teaches the lab's own teachers. It runs on one thread and
draws nothing but from its seed: on one machine, the same call gives the same bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mixdistill.errors import MissingExtra
from mixdistill.lab import corpus, domain
from mixdistill.lab.teachers import Scripted

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Progress = Callable[[int, int], None]
"""Called now and then with the updates done and wanted."""

Row = tuple[list[int], int]
"""Token ids of one document, and how many of the first carry no loss."""


class Size(NamedTuple):
    """Shape of a student and the learning rate of its pretraining."""

    width: int
    layers: int
    heads: int
    ff: int
    learning_rate: float


SIZES = {
    "xs": Size(32, 2, 2, 96, 5e-3),
    "s": Size(64, 2, 4, 160, 3e-3),
    "sm": Size(80, 3, 4, 208, 2.5e-3),
    "m": Size(96, 4, 4, 256, 2e-3),
    "l": Size(160, 4, 5, 416, 1.2e-3),
}
BATCH = 16
"""Documents an update. Few, because at these sizes updates teach more than tokens do."""

STRETCH, STRETCH_EVERY = 256, 32
"""Tokens of a stretch of documents, and how many updates there are to one of stretches; see `course`."""

PAD, STOP, UNKNOWN = "<pad>", "<eos>", "<unk>"
WORDS = ["<think>", "</think>", "Q", "T", ":", "A", "+", "-", "ok", "x", *(str(n) for n in range(-60, 61))]
"""All words but the three special ones. The numbers reach beyond every running sum (-35 to 45)."""
IDS = {word: i for i, word in enumerate([PAD, STOP, UNKNOWN, *WORDS])}

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
)
"""Contents as they are, a line break after the user's, the stop token after the assistant's. No generation prompt."""

CONTEXT = 512
"""Positions. The longest long trace with its prompt takes 273."""


def parameters(size: Size, vocabulary: int = len(IDS)) -> int:
    """Weights of a student of this size (embeddings are tied)."""
    layer = 4 * size.width**2 + 3 * size.width * size.ff + 2 * size.width
    return vocabulary * size.width + size.layers * layer + size.width


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, words split at white space. The think tags are ordinary words, so decoding keeps them; the
    pad token is not the stop token, so the stop token carries loss."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(IDS, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=PAD,
        eos_token=STOP,
        unk_token=UNKNOWN,
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def fresh(size: Size, words: PreTrainedTokenizerFast | None = None, context: int = CONTEXT) -> LlamaForCausalLM:
    """An untrained student with the lab's vocabulary, or another; weights come from torch's global generator."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    words = words or tokenizer()
    pad, stop = words.pad_token_id, words.eos_token_id
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=size.width,
        intermediate_size=size.ff,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=0.08,  # about 1/sqrt(width); with the usual 0.02 a student this narrow learns no copying
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=stop,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=320, eos_token_id=stop, pad_token_id=pad, bos_token_id=None
    )
    return model


def pretrain(size: Size, *, seed: int, tokens: int, progress: Progress | None = None) -> LlamaForCausalLM:
    """A base student: `tokens` tokens of the corpus (stop tokens counted), each line seen once."""
    with one_thread(seed):
        model = fresh(size)
        batches = list(course(corpus_rows(seed, tokens)))
        train(model, batches, learning_rate=size.learning_rate, progress=progress)
    return model


def teach(
    model: LlamaForCausalLM, *, learning_rate: float, seed: int, problems: int, progress: Progress | None = None
) -> None:
    """Make a teacher of a base student: two short solutions each of `problems` problems of the split `corpus`, seen
    twice, 16 an update; loss on the completion alone."""
    import random

    rows = lesson_rows(problems, seed)
    rng = random.Random(f"teach {seed}")
    order = [row for _ in range(2) for row in rng.sample(rows, len(rows))]
    with one_thread(seed):
        batches = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        train(model, batches, learning_rate=learning_rate, progress=progress)


def course(rows: list[Row]) -> Iterator[list[Row]]:
    """The updates of a pretraining: 16 documents each, but every 32nd takes 16 stretches of 256 tokens instead.

    A document has at most 28 tokens and a long trace ten times that. Without the stretches, which are documents one
    after the other, no student knows the distances of a long trace before it is taught one; with stretches alone,
    there are too few updates for the small students to learn copying.
    """
    start, update = 0, 1
    while start < len(rows):
        if update % STRETCH_EVERY:
            yield rows[start : start + BATCH]
            start += BATCH
        else:
            flat: list[int] = []
            while start < len(rows) and len(flat) < BATCH * STRETCH:
                flat += rows[start][0]
                start += 1
            yield [(flat[i : i + STRETCH], 0) for i in range(0, min(len(flat), BATCH * STRETCH), STRETCH)]
        update += 1


def corpus_rows(seed: int, tokens: int) -> list[Row]:
    """Documents of the corpus, stop token last, until they hold `tokens` tokens; every token carries loss."""
    rows: list[Row] = []
    for line in corpus.lines(seed):
        if tokens <= 0:
            break
        rows.append(([*(IDS[word] for word in line.split()), IDS[STOP]], 0))
        tokens -= len(rows[-1][0])
    return rows


def lesson_rows(problems: int, seed: int) -> list[Row]:
    """What a teacher learns from: two short solutions each of problems of the split `corpus`, no loss on prompts."""
    from mixdistill.types import Request

    asked = domain.problems("corpus", count=problems, seed=seed)
    requests = [Request(prompt=p.prompt, sample=sample, seed=seed) for p in asked for sample in (0, 1)]
    rows: list[Row] = []
    for position, done in Scripted("short").generate(requests):
        prompt = str(requests[position].prompt).split()
        words = [*prompt, "<think>", *done.reasoning.split(), "</think>", *done.content.split(), STOP]
        rows.append(([IDS[word] for word in words], len(prompt)))
    return rows


def train(
    model: LlamaForCausalLM, batches: Sequence[Sequence[Row]], *, learning_rate: float, progress: Progress | None = None
) -> float:
    """AdamW over the batches in their order, 5 % warm-up, cosine to a tenth; mean loss of the last tenth of them."""
    import torch

    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True)
    model.train()
    losses: list[float] = []
    for update, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _schedule(update, len(batches))
        ids, labels = _padded(batch)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if progress is not None and (update % 20 == 0 or update == len(batches) - 1):
            progress(update + 1, len(batches))
    model.eval()
    last = losses[-max(len(losses) // 10, 1) :]
    return sum(last) / len(last)


def _schedule(update: int, updates: int) -> float:
    """Share of the learning rate at an update."""
    warm = max(1, math.ceil(0.05 * updates))
    if update < warm:
        return (update + 1) / warm
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (update - warm) / max(1, updates - warm)))


def _padded(batch: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Ids and labels, both (documents, longest), padded on the right: a causal model needs no mask for that."""
    import torch

    longest = max(len(ids) for ids, _ in batch)
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    labels = torch.full((len(batch), longest), -100)
    for i, (row, silent) in enumerate(batch):
        ids[i, : len(row)] = torch.tensor(row)
        labels[i, silent : len(row)] = ids[i, silent : len(row)]
    return ids, labels


@contextmanager
def one_thread(seed: int) -> Generator[None]:
    """torch on one thread with this seed; the caller's threads and random state come back afterwards."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("torch", "train") from error
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def save(model: LlamaForCausalLM, out: Path, origin: dict, words: PreTrainedTokenizerFast | None = None) -> None:
    """Write the Hugging Face folder, with `lab.json` saying how it was made."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    model.save_pretrained(out)
    (words or tokenizer()).save_pretrained(out)
    (out / "lab.json").write_text(json.dumps(origin, indent=2) + "\n")
