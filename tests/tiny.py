"""Tiny students and studies for tests: untrained Hugging Face folders, and stages run in-process."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

from mixdistill import pipeline, recipe
from mixdistill.backends.transformers import Transformers
from mixdistill.lab import domain
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Decision, Example, Outcome, Problem, Trace, problem_id, trace_id

WORDS = ["<think>", "</think>", "Q", "T", ":", "A", "+", "-", "ok", "x", *(str(n) for n in range(-60, 61))]
SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}"
    "{% else %}{{ '\n' }}{% endif %}{% endfor %}"
)
"""Contents as they are, the stop token after the assistant's."""
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""As Qwen2.5: a line break after the stop token, and no eye for `reasoning_content`."""


def word_tokenizer(chat_template: str = PLAIN_TEMPLATE) -> Any:
    """One token a word, pad unlike stop."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {w: i for i, w in enumerate([*SPECIAL.values(), *WORDS])}
    words = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, chat_template=chat_template, clean_up_tokenization_spaces=False, **SPECIAL
    )


def byte_tokenizer(chat_template: str = CHATML, *, extra: Iterable[str] = (), **special: str) -> Any:
    """One token a byte; `special` as of a tokenizer (eos_token, ...), `extra` further special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = special or {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tok = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tok.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tok,
        chat_template=chat_template,
        additional_special_tokens=[*extra],
        clean_up_tokenization_spaces=False,
        **special,
    )


def save_student(folder: Path, tokenizer: Any, *, seed: int = 0, generation_config: bool = True, **config: Any) -> str:
    """A Llama of some thousand random weights with this tokenizer, as a Hugging Face folder; returns its path."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    shape = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "max_position_embeddings": 1024, "initializer_range": 0.2,
    }  # fmt: skip
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    settings = {**shape, **ids, "tie_word_embeddings": True, **config}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **settings))
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=24, **ids)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if not generation_config:
        (folder / "generation_config.json").unlink()
    return str(folder)


def student(folder: Path, **options: Any) -> str:
    """A tiny student with the lab's vocabulary."""
    return save_student(folder, word_tokenizer(), **options)


def byte_student(folder: Path, **options: Any) -> str:
    """A tiny student that reads any text."""
    return save_student(folder, byte_tokenizer(), **options)


def study(model: str, **sections: Any) -> Recipe:
    """A study in the lab's domain with scripted teachers; sections are merged into it, None removes one."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "problems": {
            "train": {"source": "lab:signs", "split": "train", "limit": 24},
            "eval": {"signs": {"source": "lab:signs", "split": "eval", "limit": 10}},
        },
        "teachers": {
            "long": {"backend": "scripted", "model": "long"},
            "short": {"backend": "scripted", "model": "short"},
        },
        "verify": {"verifier": "signs"},
        "students": {"t": {"model": model}},
        "arms": {"long": {"long": 1}, "short": {"short": 1}},
        "contrasts": {"long_cot_gap": ["long", "short"]},
        "budget": {"unit": "examples", "per_update": 8},
        "train": {"learning_rate": 1e-2, "num_train_epochs": 2, "max_length": 512},
        "evaluate": {"sampling": {"temperature": 0, "max_tokens": 24}, "caps": [8], "style": 0},
        "seeds": 2,
    }
    for name, section in sections.items():
        if section is None:
            del raw[name]
        elif name in ("train", "budget", "evaluate"):
            raw[name] = {**raw[name], **section}
        else:
            raw[name] = section
    return recipe.build(raw)


def problem_sets(train: int, evaluation: int = 10) -> dict[str, Any]:
    """The `problems` section with so many problems."""
    return {
        "train": {"source": "lab:signs", "split": "train", "limit": train},
        "eval": {"signs": {"source": "lab:signs", "split": "eval", "limit": evaluation}},
    }


class Inline:
    """An executor without processes: units one after the other, here."""

    def __init__(self, workers: int | None = None):
        pass

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def spread(self, processes: int, key: str = "") -> None:
        pass

    def map(self, fn: Any, jobs: Any, *, idle: Any, enough: Any = None) -> Any:
        for job in jobs:
            try:
                yield job, fn(*job), None
            except Exception as e:
                yield job, None, e


class Silent:
    """A watcher that remembers which units ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def problems(self, marker: Any) -> None:
        pass

    def stage(self, name: str, units: Any) -> None:
        pass

    def beats(self, beats: Any) -> None:
        pass

    def stopping(self) -> None:
        pass

    def unit(self, unit: Any, error: BaseException | None, seconds: float, counts: Any) -> None:
        self.ran.append(unit.label)


def run(study: Recipe, root: Path, *stages: str, fresh: bool = False) -> tuple[Store, list[str]]:
    """Carry out stages (all when none is named) in this process. Returns (store, labels of the units that ran).

    A failed unit fails the test, with its message.
    """
    watcher, store = Silent(), Store(root)
    with mock.patch.object(pipeline, "Local", Inline):
        failures = pipeline.run(study, store, stages=stages or pipeline.STAGES, watcher=watcher, fresh=fresh)
    assert not failures, failures
    return store, watcher.ran


def failures(study: Recipe, root: Path, *stages: str) -> list[str]:
    """What goes wrong when these stages are carried out."""
    with mock.patch.object(pipeline, "Local", Inline):
        return pipeline.run(study, Store(root), stages=stages or pipeline.STAGES, watcher=Silent())


def weights(store: Store, *cell: str) -> str:
    """Hash of a trained cell's safetensors."""
    files = sorted(store.folder("train", *cell, "model").glob("*.safetensors"))
    assert files
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def example(prompt: str, reasoning: str, content: str) -> Example:
    """A row of a training set."""
    return Example(prompt=prompt, reasoning=reasoning, content=content, problem_id="p", trace_id="t", teacher="teacher")


def recorded_rows(count: int) -> str:
    """JSONL of right short traces of the lab's first training problems."""
    rows = []
    for p in domain.problems("train", count=count):
        chain = domain.parse(str(p.prompt))
        assert chain is not None
        thought, answer = domain.short_trace(chain, 0)
        rows.append(json.dumps({"prompt": p.prompt, "completion": f"{thought} {answer}"}) + "\n")
    return "".join(rows)


def problem(prompt: str, answer: str = "A + +", level: str | None = None) -> Problem:
    """A problem with its id."""
    return Problem(id=problem_id(prompt, answer), prompt=prompt, answer=answer, level=level)


def trace(of: Problem, *, author: str = "teacher/t", sample: int = 0, **fields: Any) -> Trace:
    """A trace of a problem, ended by itself unless said otherwise."""
    known = {"finish_reason": "stop", **fields}
    return Trace(id=trace_id(author, of.id, sample), problem_id=of.id, author=author, sample=sample, **known)


def plant(
    store: Store,
    cell: str,
    right: int | set[int],
    *,
    rule: str | None = None,
    student: str = "t",
    benchmark: str = "signs",
) -> None:
    """Write decisions over an evaluated cell such as `long/0`, at every cap: the first `right` problems, or these, are
    correct, under every reading or under this one alone (not the one that counts)."""
    folder = store.folder("evaluate", student, *cell.split("/"), benchmark)
    order = {p.id: i for i, p in enumerate(store.read(store.folder("problems"), Problem, benchmark))}
    place = {t.id: order[t.problem_id] for t in store.read(folder, Trace, "traces")}
    chosen = set(range(right)) if isinstance(right, int) else right
    outcome = {i: Outcome.CORRECT if n in chosen else Outcome.INCORRECT for i, n in place.items()}
    fields = [rule] if rule else ["outcome", "strict", "flexible", "judge"]
    decisions = store.read(folder, Decision, "decisions")
    rows = [d.model_copy(update=dict.fromkeys(fields, outcome[d.trace_id])) for d in decisions]
    reseal(store, folder, rows, "decisions")


def add_dev(store: Store, count: int = 6, *, skip: int = 0) -> None:
    """Put dev problems among the problems of a folder, in the place of those that are there."""
    folder = store.folder("problems")
    marker = store.marker(folder)
    assert marker
    table = store.seal(folder, Problem, domain.problems("search", count=count + skip)[skip:], "dev")
    store.mark(folder, {**marker, "tables": {**marker["tables"], "dev": table}})


def reseal(store: Store, folder: Path, rows: list[Any], table: str) -> None:
    """Other rows in a finished unit's table, behind the back of its marker."""
    marker = store.marker(folder)
    assert marker
    store.seal(folder, type(rows[0]), rows, table)
    store.mark(folder, marker)


class Calls:
    """Counts the completions that are really sampled by students."""

    def __init__(self, monkeypatch: Any) -> None:
        self.requests: list[Any] = []
        generate = Transformers.generate

        def counted(backend: Transformers, requests: Any) -> Any:
            self.requests += requests
            return generate(backend, requests)

        monkeypatch.setattr(Transformers, "generate", counted)

    def take(self) -> int:
        """Completions since the last call."""
        n = len(self.requests)
        self.requests.clear()
        return n


class Killed(Exception):
    """Stands for the end of the process in the middle of a training."""


def kill_at(update: int) -> Any:
    """A training's `progress` that ends it in this update."""

    def progress(done: int, tokens: int, rate: float) -> None:
        if done == update:
            raise Killed

    return progress
