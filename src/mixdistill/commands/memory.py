"""What memory one training takes, against what its device has; and where it does not fit, what would.

Bytes of one process: weights, their gradients, the optimizer's two moments, on CPU a copy of the weights from before
(how far they moved is a fact), activations of the largest forward pass, its logits, and what the libraries themselves
take. A size that is not known is None, never a guess, and refuses nothing. Measured against trainings on CPU:
docs/LOG.md; on a GPU never, which the plan says.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mixdistill import executor, gpu_needs, resolve
from mixdistill.arms import called
from mixdistill.commands import faults
from mixdistill.commands.estimates import free_space, kept, row_tokens, untrained
from mixdistill.commands.faults import Found
from mixdistill.commands.plans import Amount, Memory
from mixdistill.commands.shapes import Shape, shape
from mixdistill.commands.status import keys_of
from mixdistill.errors import StageError
from mixdistill.mix import UPDATES
from mixdistill.page.wording import rough_size
from mixdistill.recipe import Recipe
from mixdistill.refusals import TRAINING
from mixdistill.sections import Train
from mixdistill.ship import GATE, SHIP, TRAIN
from mixdistill.store import Store
from mixdistill.training import methods

Cell = tuple[str, str, int]
"""A training: student, arm, seed."""

FLOAT = 4
QUANTIZED = 0.57
"""Bytes of a weight of four bits, with the scales of its block."""
LIBRARIES = {"core": 0.6e9, "GPU": 0.8e9}
"""What a process takes before there is a model in it: Python with torch, transformers and trl; a GPU's context."""
SLACK = 1.1
"""What allocators keep besides."""
LEAST_TOKENS = 256
"""No smaller `micro_batch_tokens` is proposed."""


def of_training(shape: Shape, train: Train, tokens: int, *, gpu: bool) -> dict[str, float]:
    """Bytes that one process of a training takes at most, by what they are for. `tokens`: of the largest forward pass,
    padding included."""
    trainable = shape.weights if train.method == "full" else shape.adapters(train.lora)
    held = FLOAT * shape.weights
    if train.method == "qlora":
        held = QUANTIZED * shape.layers * shape.layer + FLOAT * shape.embeddings
    frozen = 0.0 if train.method == "full" else held
    parts = {
        "weights": FLOAT * trainable + frozen,
        "gradients": FLOAT * trainable,
        "optimizer": 2 * FLOAT * trainable,
        "copy": 0.0 if gpu else FLOAT * shape.weights,  # in RAM, where a GPU is not short of it
    }
    if train.num_processes > 1 and train.distributed == "fsdp":
        together = 2 * FLOAT * max(shape.layer, shape.embeddings)  # a layer at a time, and its gradients
        parts = {k: v / (1 if k == "copy" else train.num_processes) for k, v in parts.items()}
        parts["weights"] += together
    elif train.num_processes > 1:
        parts["gradients"] *= 2  # those that are put together have buffers of their own
    parts["activations"] = _activations(shape, train, tokens, gpu=gpu)
    # The logits where there is loss, at most everywhere; their softmax, and the gradient of it. With bf16, both kinds.
    parts["logits"] = (4 if train.bf16 else 3) * FLOAT * tokens * shape.vocabulary
    return {k: SLACK * v for k, v in parts.items() if v} | {"libraries": LIBRARIES["GPU" if gpu else "core"]}


def _activations(shape: Shape, train: Train, tokens: int, *, gpu: bool) -> float:
    """What is kept of a forward pass for the backward one: inputs of norms (float32), of linear layers, of attention
    and of the gate; with checkpointing, one input a layer, and all of a single layer. What PEFT's layers keep besides
    was measured: their outputs and a bit."""
    attention = shape.heads * shape.head
    numbers = 6 * shape.width + 6 * attention + 4 * shape.ff
    if train.method != "full":
        numbers += 1.4 * sum(out for _, out in shape.linear.values())
    each = 2 if train.bf16 else FLOAT
    one = tokens * (each * numbers + (2 * FLOAT * shape.width if train.bf16 else 0))
    checkpointing = gpu if train.gradient_checkpointing is None else train.gradient_checkpointing
    if checkpointing:
        return FLOAT * tokens * shape.width * shape.layers + 2 * one
    cast = 2 * shape.weights if train.bf16 else 0  # autocast's own copies of the weights
    return one * (shape.layers + 1) + cast


# -- devices ----------------------------------------------------------------------------------------------------------


def room(devices: list[str]) -> float | None:
    """Bytes of the smallest of these GPUs, else of RAM that can be had; None where nobody says.

    Of a GPU all of it: what fills it while a study is planned, a teacher's server, may be gone when it trains.
    """
    return _gpu_memory(devices) if devices else _available()


def _gpu_memory(devices: list[str]) -> float | None:
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits", f"--id={','.join(devices)}"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        return min(float(line) for line in said.split()) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _available() -> float | None:
    """RAM that can be had without swapping, by the system and by the limit of a container."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        stat = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text()) - int(stat["inactive_file"])
        found.append(float(limit - used))
    return min(found, default=None)


# -- a study ----------------------------------------------------------------------------------------------------------


class Rows(NamedTuple):
    """How long the rows of a student are, as far as that is known."""

    update: int | None = None
    """Tokens of an update; None where a teacher's lengths are not known: then a forward pass is as large as it may
    be."""
    longest: int = 0
    """Tokens of the longest row that was seen."""

    def largest_pass(self, train: Train) -> int:
        """Tokens of the largest forward pass: as many as it may have, or the update has; a single row may be longer."""
        most = train.micro_batch_tokens
        return max(most if self.update is None else min(most, self.update), min(self.longest, train.max_length))


def rows(recipe: Recipe, found: Found, student: str) -> Rows:
    """From the traces that were looked at. An update of so many examples is taken to hold the longest ones."""
    lengths = [n for teacher in found.few for n in row_tokens(recipe, found, student, teacher)]
    longest = max(lengths, default=0)
    if not lengths or found.few.keys() != recipe.teachers.keys():
        return Rows(longest=longest)
    budgets = [recipe.budget_of(arm) for arm in recipe.arms]  # prompts carry no loss, and stand in the pass as well
    tokens = [b.per_update * longest if b.unit == "examples" else 2 * b.per_update + longest for b in budgets]
    return Rows(max(tokens), longest)


def rows_seen(store: Store, cell: Cell) -> Rows | None:
    """From a training that there is; None where there is none."""
    folders = [store.folder(stage, *map(str, cell)) for stage in ("train", "mix")]
    made, mixed = map(store.marker, folders)
    if not made or not mixed:
        return None
    longest = made["facts"]["longest_row"]
    sizes = store.frame(folders[1], UPDATES, ["update"])["update"].value_counts()["count"].to_list()
    return Rows(max(sizes) * longest, longest)


def stops(
    recipe: Recipe, store: Store, stages: Sequence[str], *, limit: int | None = None, workers: int | None = None
) -> list[str]:
    """Why the trainings of a run of these stages cannot be carried out here, or what it samples before and after them:
    found before anything is bought."""
    lines = lacking(recipe, store, stages) + without_space(recipe, store, workers)
    if any(refused(m) for m in planned(recipe, store, {}, workers)):  # the problems are read only where it matters
        found = faults.find(recipe, store, limit=limit)
        known = {name: rows(recipe, found, name) for name in recipe.students}
        lines += [line for m in planned(recipe, store, known, workers) if (line := refused(m))]
    return lines


def stops_one(recipe: Recipe, store: Store, cell: Cell) -> list[str]:
    """Why one more training of a cell cannot be carried out here, alone and on rows such as it has in the study; its
    model is kept twice."""

    def too_much(known: Mapping[str, Rows]) -> list[str]:
        return [line for m in planned(recipe, store, known, 1, [cell]) if (line := refused(m))]

    models, checkpoints = (amount.value or 0 for amount in kept(recipe, store, 1, [cell]))
    parts = [(SHIP, (*map(str, cell), part)) for part in (TRAIN, GATE)]
    lines = without_gpus(recipe, [cell]) + _unspread(recipe, parts)
    lines += _space(store, 2 * models, checkpoints, "free space")
    if too_much({}):
        lines += too_much({cell[0]: rows_seen(store, cell) or rows(recipe, faults.find(recipe, store), cell[0])})
    return lines


def lacking(recipe: Recipe, store: Store, stages: Sequence[str]) -> list[str]:
    """What is not here for the units of these stages that are not there yet: GPUs, a library, a method. What is there
    and would be made anew is not looked at: its stage says so when its turn comes."""
    open_ones = [
        (stage, key)
        for stage in stages
        for key in keys_of(recipe, store, stage)
        if store.marker(store.folder(stage, *key)) is None
    ]
    trained = [(key[0], key[1], 0) for stage, key in open_ones if stage in TRAINING]
    return without_gpus(recipe, trained) + _unspread(recipe, open_ones)


def without_gpus(recipe: Recipe, cells: Sequence[Cell]) -> list[str]:
    """Trainings that want more GPUs than there are, or a library or method that is not here; a line once a student."""
    lines = []
    for student, arm in dict.fromkeys(cell[:2] for cell in cells):
        train = recipe.train_of(student, arm)
        lines += [f"students.{student}: {line}" for line in methods.lacking(train)]
        try:
            executor.enough_gpus(executor.gpus(), train.num_processes)
        except StageError as e:
            lines.append(f"students.{student}: {e}")
    return list(dict.fromkeys(lines))


def _unspread(recipe: Recipe, units: Iterable[tuple[str, tuple[str, ...]]]) -> list[str]:
    """Models that these (stage, folder) sample on more GPUs than there are; a line once a key."""
    lines = []
    for takes in dict.fromkeys(gpu_needs.wanted(recipe, stage, key) for stage, key in units):
        try:
            executor.enough_gpus(executor.gpus(), *takes)
        except StageError as e:
            if takes.key != gpu_needs.PROCESSES:  # said of its student
                lines.append(str(e))
    return lines


def without_space(recipe: Recipe, store: Store, workers: int | None = None) -> list[str]:
    """The line on models and checkpoints that the disk cannot hold."""
    models, checkpoints = (amount.value or 0 for amount in kept(recipe, store, workers))
    return _space(store, models, checkpoints, "free space, choose another --out, or fewer seeds or arms")


def _space(store: Store, models: float, checkpoints: float, what_to_do: str) -> list[str]:
    free = free_space(store)
    if models + checkpoints / 2 <= free:  # of two checkpoints one is there in any case
        return []
    return [
        f"{store.root}: about {rough_size(models)} of trained models will be written, and at least "
        f"{rough_size(checkpoints / 2)} while they are trained, and {rough_size(free)} are free; {what_to_do}"
    ]


def planned(
    recipe: Recipe,
    store: Store,
    known: Mapping[str, Rows],
    workers: int | None = None,
    cells: Sequence[Cell] | None = None,
) -> list[Memory]:
    """Of every student that is still to be trained, the training that takes most. `known`: how long its rows are;
    `cells`: the trainings it is about, else all that are not there."""
    local = executor.Local(workers)
    there = room(local.devices)
    arms: dict[str, list[str]] = {}
    for student, arm, _ in untrained(recipe, store) if cells is None else cells:
        arms.setdefault(student, []).append(arm)
    return [_student(recipe, s, arms[s], known.get(s, Rows()), local, there) for s in recipe.students if s in arms]


def _student(
    recipe: Recipe, name: str, arms: Sequence[str], rows: Rows, local: executor.Local, there: float | None
) -> Memory:
    """The largest training of these arms: an arm may have settings of its own."""
    model, gpu = recipe.students[name].model, bool(local.devices)
    found = shape(resolve.from_environment(model))
    if found is None:
        unknown = f"not known before {model} is on this machine, as a decoder of the usual kind"
        process = Amount(value=None, basis=unknown)
        return Memory(name=name, parts={}, process=process, measured=not gpu, at_once=1, room=there, would=[])

    def parts(train: Train) -> dict[str, float]:
        return of_training(found, train, rows.largest_pass(train), gpu=gpu)

    def needed(train: Train) -> float:
        return sum(parts(train).values())

    def together(arm: str) -> float:
        return needed(recipe.train_of(name, arm)) * _at_once(local, recipe.train_of(name, arm))

    arm = max(dict.fromkeys(arms), key=together)
    train, own = recipe.train_of(name, arm), recipe.arm(arm).train
    basis = f"a forward pass of {rows.largest_pass(train):,} tokens" + (f" in the arm {called(arm).arm}" if own else "")
    lacks = there is not None and together(arm) > there
    where = partial(_key, recipe, name, arm)
    return Memory(
        name=name,
        parts=parts(train),
        process=Amount(value=needed(train), basis=basis),
        measured=not gpu,
        at_once=_at_once(local, train),
        room=there,
        would=list(_would_fit(train, local, there, needed, where)) if lacks and there else [],
    )


def _key(recipe: Recipe, student: str, arm: str, name: str) -> str:
    """Where a setting of a training stands, or would stand."""
    if name in recipe.arm(arm).train:
        return f"arms.{called(arm).arm}.train.{name}"
    return f"students.{student}.train.{name}" if name in recipe.students[student].train else f"train.{name}"


def _at_once(local: executor.Local, train: Train) -> int:
    """Processes that share what there is: one on a GPU; on CPU those of all trainings under way."""
    if local.devices:
        return 1
    spread = executor.Local(local.most).spread(train.num_processes)
    return spread.workers * spread.processes


def _would_fit(
    train: Train,
    local: executor.Local,
    there: float,
    needed: Callable[[Train], float],
    key: Callable[[str], str],
) -> Iterator[str]:
    """Settings that make it fit by the same formula, the least intrusive first; of several at once only where none
    does alone. `key`: where one stands."""

    def fits(**keys: Any) -> bool:
        changed = Train(**{**train.model_dump(exclude_unset=True), **keys})
        return needed(changed) * _at_once(local, changed) <= there

    smaller = [n for n in _halves(train.micro_batch_tokens) if fits(micro_batch_tokens=n)]
    singles: list[dict[str, Any]] = [{"micro_batch_tokens": n} for n in smaller[:1]]
    singles += [{"gradient_checkpointing": True}, {"num_processes": len(local.devices), "distributed": "fsdp"}]
    singles += [{"method": "lora"}, {"method": "qlora"}]
    if not local.devices and train.num_processes > (cores := executor.cores()) and fits(num_processes=cores):
        yield f"{key('num_processes')}: {cores}"
    if not local.devices and local.most > 1 and needed(train) * train.num_processes <= there:
        yield "--workers 1"
    found = [keys for keys in singles if _open(keys, train, local) and fits(**keys)]
    if not found:
        small = {"micro_batch_tokens": LEAST_TOKENS, "gradient_checkpointing": True}
        both = [small, {**small, "method": "lora"}, {**small, "method": "qlora"}]
        found = [keys for keys in both if _open(keys, train, local) and fits(**keys)][:1]
    for keys in found:
        yield ", ".join(f"{key(k)}: {str(v).lower() if v is True else v}" for k, v in keys.items())


def _open(keys: dict[str, Any], train: Train, local: executor.Local) -> bool:
    """Whether these are other settings than the recipe's, and such as work here."""
    if keys.get("method") == "qlora" and (not local.devices or train.method == "qlora"):
        return False
    if keys.get("method") == "lora" and train.method != "full":
        return False
    shared = "num_processes" in keys or (train.num_processes > 1 and train.distributed == "fsdp")
    if shared and keys.get("method", train.method) != "full":  # adapters are not shared so
        return False
    if "num_processes" in keys and keys["num_processes"] <= train.num_processes:
        return False
    return any(getattr(train, k) != v for k, v in keys.items())


def _halves(tokens: int) -> list[int]:
    found = []
    while (tokens := tokens // 2) >= LEAST_TOKENS:
        found.append(tokens)
    return found


def refused(memory: Memory) -> str | None:
    """The line on a training that cannot fit; None where it can, or nobody knows."""
    if memory.process.value is None or memory.room is None or memory.process.value * memory.at_once <= memory.room:
        return None
    parts = ", ".join(f"{k} {rough_size(v)}" for k, v in memory.parts.items() if v >= 0.05 * memory.process.value)
    many = f" and {memory.at_once} run at once" if memory.at_once > 1 else ""
    basis = memory.process.basis + ("" if memory.measured else ", not measured on a GPU")
    would = "; or ".join(memory.would) or "a smaller student: no setting of this training makes it fit"
    return (
        f"students.{memory.name}: a training takes about {rough_size(memory.process.value)} of memory ({parts}; "
        f"{basis}){many}, and there are {rough_size(memory.room)}; what would fit: {would}"
    )
