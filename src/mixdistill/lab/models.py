"""The lab's models by name: where their Hugging Face folders are, and how they are built again.

    xs s sm m l                   base students, pretrained on the lab's corpus
    s@1                           the same size from another draw of weights and corpus (s@0 is s); a claim about
                                  *size* needs several
    bytes                         an untrained student that reads any text, one byte a token
    teacher-small teacher-large   `s` and `l` taught the same short solutions, so that they differ in size alone

Small folders are shipped with the package. The others are built on first use and kept in `$MIXDISTILL_CACHE`, else
`$XDG_CACHE_HOME/mixdistill`, else `~/.cache/mixdistill`.

**What the teachers learned from.** Their lessons are problems of the split `corpus`. No study trains, searches or
evaluates on those, so on a study's training problems the teachers have nothing to remember: their mistakes are those
of a model that meets the problem for the first time. That the base met corpus problems in single attempts does no
harm: it keeps knowledge out of the other splits, which is what matters.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from mixdistill.errors import DataError, did_you_mean
from mixdistill.lab import corpus, pretrain, untrained

VERSION = "2"
"""Rises whenever the same name would give other weights; part of the cache's path."""

TOKENS = 1_000_000
"""Tokens of corpus a base student is pretrained on."""
TOKENS_PER_LESSON = 400
"""A teacher gets one problem for so many tokens of its base: 2,500, two solutions each, seen twice."""

TEACHERS = {"teacher-small": "s", "teacher-large": "l"}
"""Teachers and the base student each is made from."""

BYTES = "bytes"

SHIPPED = ("xs", "s", "sm", "m", "teacher-small")
_FOLDER = Path(__file__).parent / "students"


class Description(NamedTuple):
    """A lab model at a glance."""

    name: str
    parameters: int
    shipped: bool
    """Comes with the package."""
    built: bool
    """Its folder is there."""
    path: Path
    """Where the folder is, or will be built on first use."""


def names() -> list[str]:
    """All model names, without the further draws `name@1`, `name@2`, ..."""
    return [*pretrain.SIZES, BYTES, *TEACHERS]


def describe(name: str) -> Description:
    """Parameters and whereabouts of a model; builds nothing. DataError when there is none of that name."""
    model, seed = _parsed(name)
    folder = _folder(model, seed)
    shipped = folder.parent == _FOLDER
    return Description(folder.name, _parameters(model), shipped, folder.is_dir(), folder)


def path(name: str, *, progress: pretrain.Progress | None = None) -> Path:
    """The model's Hugging Face folder, built now if it is not there yet (`l` takes minutes).

    Two processes that ask at once build once: the second waits. A folder appears under its name only when it is whole.
    """
    model, seed = _parsed(name)
    folder = _folder(model, seed)
    if folder.is_dir():
        return folder
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        if not folder.is_dir():
            build(model, folder, seed=seed, tokens=TOKENS, progress=progress)
    return folder


def ensure(wanted: list[str], *, say: Callable[[str], None]) -> None:
    """Build those that are not there yet, one line each through `say`."""
    for name in dict.fromkeys(wanted):
        model = describe(name)
        if not model.built:
            say(f"building lab:{model.name} ({model.parameters:,} weights; once, into {model.path.parent})")
            path(name)


def build(
    name: str, out: str | Path, *, seed: int = 0, tokens: int = TOKENS, progress: pretrain.Progress | None = None
) -> None:
    """Build a model from nothing into the folder `out`, which must not exist yet.

    `seed` draws weights and corpus; a name like `s@1` brings its own. `tokens` is the length of the base's
    pretraining. `progress` is called with updates done and wanted of the training under way. On one machine the same
    call gives the same bits. The folder is built beside and renamed.
    """
    model, named = _parsed(name)
    seed = named if "@" in name else seed
    out = Path(out)
    if out.exists():
        raise DataError(f"lab: {out} is there already; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _build(model, beside, seed, tokens, progress)
        beside.chmod(0o755)
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _build(model: str, out: Path, seed: int, tokens: int, progress: pretrain.Progress | None) -> None:
    if model == BYTES:
        origin = {"model": model, "version": VERSION, "seed": seed}
        pretrain.save(untrained.student(seed), out, origin, untrained.tokenizer())
        return
    base = TEACHERS.get(model, model)
    size = pretrain.SIZES[base]
    origin = {"model": model, "version": VERSION, "seed": seed, "tokens": tokens, "corpus": corpus.VERSION}
    if model == base:
        student = pretrain.pretrain(size, seed=seed, tokens=tokens, progress=progress)
    else:
        student = _pretrained(base, seed, tokens, progress)
        lessons = tokens // TOKENS_PER_LESSON
        pretrain.teach(student, learning_rate=size.learning_rate / 2, seed=seed, problems=lessons, progress=progress)
        origin |= {"base": base, "lessons": lessons}
    pretrain.save(student, out, origin)


def _parameters(model: str) -> int:
    if model == BYTES:
        return pretrain.parameters(untrained.SIZE, vocabulary=untrained.VOCABULARY)
    return pretrain.parameters(pretrain.SIZES[TEACHERS.get(model, model)])


def _pretrained(base: str, seed: int, tokens: int, progress: pretrain.Progress | None):
    """A base student to teach: the ready one of that name where its pretraining has the usual length."""
    if tokens != TOKENS:
        return pretrain.pretrain(pretrain.SIZES[base], seed=seed, tokens=tokens, progress=progress)
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(path(f"{base}@{seed}", progress=progress))


def _parsed(name: str) -> tuple[str, int]:
    """Model and seed of a name such as `s` or `s@1`."""
    model, at, draw = name.partition("@")
    if model not in names():
        raise DataError(f"lab: no model of that name (got {name!r}){did_you_mean(model, names())}")
    if at and not (draw.isascii() and draw.isdigit()):
        raise DataError(f"lab: the draw after @ is a number from 0 (got {name!r}); write it like '{model}@1'")
    return model, int(draw or 0)


def _folder(model: str, seed: int) -> Path:
    name = f"{model}@{seed}" if seed else model
    if name in SHIPPED and (_FOLDER / name).is_dir():
        return _FOLDER / name
    return _cache() / "lab" / f"v{VERSION}" / name


def _cache() -> Path:
    if own := os.environ.get("MIXDISTILL_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "mixdistill"
    return Path.home() / ".cache" / "mixdistill"
