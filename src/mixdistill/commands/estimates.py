"""What a study will take: tokens, hours and bytes, before it is run. Rough, and each says what it is based on.

An amount that nothing is known of is None, never a guess; what it waits for stands in its basis.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import NamedTuple

from mixdistill import executor, gpu_needs, prompts, resolve
from mixdistill.arms import BASE, called
from mixdistill.collect import TABLE as TRACES
from mixdistill.commands.faults import PEEK, Found, standing
from mixdistill.commands.plans import Amount, Disk, Time, Variant
from mixdistill.commands.shapes import shape
from mixdistill.errors import StageError
from mixdistill.generate import author
from mixdistill.recipe import Recipe, self_of
from mixdistill.sections import Teacher
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.types import Problem, prompt_text, trace_id

TRAIN_RATE = {"core": 2e10, "GPU": 1e14}
"""Operations a second in training, 6 a weight and token. Measured on a core with the lab's students; no GPU was."""
SAMPLE_RATE = {"core": 4e9, "GPU": 4e12}
"""Operations a second in sampling, 2 a weight and token: reading the weights, not arithmetic, sets the pace."""
UNKNOWN_LENGTHS = "not known before the teachers' lengths are"
NO_LIMIT = "not known without evaluate.sampling.max_tokens"
SELF_SAMPLES, SELF_AT_MOST = 4, 0.25
"""Traces of a problem by a student itself; how long sampling them may take, of the trainings' time, to be proposed."""
WEIGHT_BYTES = 4
"""Float32, as trained students are kept."""
CHECKPOINT_BYTES = 2 * 3 * WEIGHT_BYTES
"""A weight and its two moments; the old checkpoint goes when the new one is whole."""
TEXT_BYTES, SAMPLED_BYTES = 4, 10
"""A token as text; a student's, whose number is kept beside it. Before compression, as journals lie on disk."""
_NAMED_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BM])(?![A-Za-z0-9])", re.IGNORECASE)


# -- what is known ----------------------------------------------------------------------------------------------------


def template(model: str, chat_template_kwargs: dict[str, object]) -> Template | None:
    """The template of a model without building or fetching it; None where its tokenizer is not on this machine."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # a trace longer than the model's context is counted, not read
    folder = resolve.folder_of(model)
    if folder is None and model.startswith("lab:"):
        from mixdistill.lab import models, pretrain, untrained

        if models.describe(model.removeprefix("lab:")).name.partition("@")[0] == models.BYTES:
            return Template(untrained.tokenizer(), chat_template_kwargs)
        return Template(pretrain.tokenizer(), chat_template_kwargs)
    if folder is None or not (folder / "tokenizer_config.json").is_file():
        return None
    return Template.load(str(folder), chat_template_kwargs=chat_template_kwargs)


def parameters(model: str) -> Amount:
    """Weights of a model, without building or fetching it."""
    from mixdistill.files import parameters as in_folder
    from mixdistill.lab import models

    if model.startswith("lab:"):
        return Amount(value=models.describe(model.removeprefix("lab:")).parameters, basis="its description")
    folder = resolve.folder_of(model)
    if folder and (count := in_folder(folder)):
        return Amount(value=count, basis="its files")
    if named := _NAMED_SIZE.findall(model):
        number, unit = named[-1]
        return Amount(value=float(number) * (1e9 if unit in "Bb" else 1e6), basis="its name")
    return Amount(value=None, basis=f"not known before {model} is on this machine")


def lengths(recipe: Recipe, store: Store, found: Found) -> dict[str, Amount]:
    """Teacher -> tokens of one of its traces, counted by the first student's template."""
    student = next(iter(recipe.students.values()))
    counting = template(student.model, student.chat_template_kwargs)
    return {name: _length(recipe, store, found, name, counting) for name in recipe.teachers}


def _length(recipe: Recipe, store: Store, found: Found, teacher: str, counting: Template | None) -> Amount:
    marker = store.marker(store.folder("analyze", teacher))
    if marker and marker["facts"]["median_tokens"] is not None:
        return Amount(value=float(marker["facts"]["median_tokens"]), basis="their median")
    few = found.few.get(teacher)
    if not few:
        return Amount(value=None, basis="not known before its first traces")
    if counting is None:
        model = next(iter(recipe.students.values())).model
        return Amount(value=None, basis=f"not known before {model} is on this machine")
    counts = [counting.count(c.reasoning, c.content) for _, c in few]
    return Amount(value=sum(counts) / len(counts), basis=f"mean of {len(counts)}")


def row_tokens(recipe: Recipe, found: Found, student: str, teacher: str) -> list[int]:
    """Tokens of prompt and trace together, of the traces that were looked at; none where its tokenizer is not here."""
    spec = recipe.students[student]
    counting = template(spec.model, spec.chat_template_kwargs)
    if counting is None:
        return []
    ask = prompts.asking(recipe.problems.train.ask)
    return [
        len(counting.prompt_ids(ask(p.prompt))) + counting.count(c.reasoning, c.content) for p, c in found.few[teacher]
    ]


def prompt_tokens(recipe: Recipe, few: list[Problem]) -> float:
    """Mean tokens of a prompt as the first student sees it; 0 where its tokenizer is not here."""
    student = next(iter(recipe.students.values()))
    counting = template(student.model, student.chat_template_kwargs)
    ask = prompts.asking(recipe.problems.train.ask)
    return sum(len(counting.prompt_ids(ask(p.prompt))) for p in few) / len(few) if counting and few else 0.0


def traces_there(store: Store, teacher: str, problems: list[Problem], samples: int) -> int:
    """How many of a teacher's wanted traces are there already, sealed or in its journal. Writes nothing."""
    there = _answers(store, teacher)
    return len(there.keys() & {trace_id(author(teacher), p.id, i) for p in problems for i in range(samples)})


def answers_there(store: Store, teacher: str) -> Counter[str]:
    """Problem -> how many of a teacher's traces of it are there already. Writes nothing."""
    return Counter(_answers(store, teacher).values())


def _answers(store: Store, teacher: str) -> dict[str, str]:
    """Trace -> its problem, of a teacher's traces that did not fail."""
    folder = store.folder("generate", teacher)
    there: dict[str, str] = {}
    if (folder / f"{TRACES}.parquet").exists():
        rows = store.frame(folder, TRACES, ["id", "problem_id", "error"]).iter_rows()
        there = {trace: problem for trace, problem, error in rows if error is None}
    journal = folder / f"{TRACES}.jsonl"
    with open(journal, "rb") if journal.exists() else nullcontext([]) as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue  # the line that is being written
            if row["error"] is None:
                there[row["id"]] = row["problem_id"]
    return there


def cost_at_most(teacher: Teacher, problems: list[Problem]) -> Amount:
    """US dollars of all of a teacher's traces, were every one of them as long as it may be. A byte of a prompt counts
    as a token: no tokenizer makes more of it."""
    limit, price = teacher.sampling.max_tokens, teacher.price
    if price is None:
        return Amount(value=None, basis="no price")
    if limit is None and price.completion > 0:
        return Amount(value=None, basis="not known without max_tokens")
    ask, samples = prompts.of(teacher), teacher.most_samples
    asked = sum(len(prompt_text(ask(p.prompt)).encode()) for p in problems)
    each = asked * price.prompt + len(problems) * (limit or 0) * price.completion
    return Amount(value=samples * each / 1e6, basis="every trace at the limit of tokens")


def trained(store: Store, cell: tuple[str, str, int]) -> bool:
    """Whether a cell's training is there."""
    student, arm, seed = cell
    return store.marker(store.folder("train", student, arm, str(seed))) is not None


# -- arms -------------------------------------------------------------------------------------------------------------


def example_tokens(recipe: Recipe, arm: str, known: dict[str, Amount]) -> float | None:
    """Mean loss tokens of an arm's examples; None where a teacher's are not known."""
    used = {t: w for t, w in recipe.arm(arm).weights.items() if w > 0}
    means = {t: known[t].value for t in used}
    if any(not m for m in means.values()):
        return None
    if recipe.budget_of(arm).unit == "examples":
        return sum(w * (means[t] or 0) for t, w in used.items())
    return 1 / sum(w / (means[t] or 1) for t, w in used.items())


def other_unit(recipe: Recipe, arm: str, known: dict[str, Amount]) -> dict[str, float] | None:
    """An arm's weights in the unit that its budget is not in; None where a teacher's lengths are not known."""
    weights = recipe.arm(arm).weights
    if example_tokens(recipe, arm, known) is None:
        return None
    by_tokens = recipe.budget.unit == "loss_tokens"
    raw = {t: w and (w / (known[t].value or 1) if by_tokens else w * (known[t].value or 0)) for t, w in weights.items()}
    return {t: v / sum(raw.values()) for t, v in raw.items()}


def updates(recipe: Recipe, student: str, arm: str, problems: int, known: dict[str, Amount]) -> int | None:
    """Updates of a cell where every problem is solved; None where they follow from lengths not known yet."""
    epochs, budget = recipe.train_of(student).num_train_epochs, recipe.budget
    if budget.unit == "examples":
        return max(1, int(problems * epochs / budget.per_update))
    means = [example_tokens(recipe, a, known) for a in recipe.group_of(arm)]
    if any(m is None for m in means):
        return None
    return max(1, int(problems * epochs * min(m for m in means if m) / budget.per_update))


# -- time and disk ----------------------------------------------------------------------------------------------------


def time(recipe: Recipe, store: Store, found: Found, known: dict[str, Amount], workers: int | None = None) -> Time:
    """Wall time of the trainings and evaluations that are not there yet."""
    processes = max(recipe.train_of(s, a).num_processes for s in recipe.students for a in (BASE, *recipe.arms))
    local, spread = executor.Local(workers), _spread(processes, workers)
    kind = "GPU" if local.devices else "core"
    train = found.problems["train"]
    work = Work(recipe, len(train), prompt_tokens(recipe, train[:PEEK]), known)
    todo = untrained(recipe, store)
    trials = _untried(recipe, store)
    asked = _unevaluated(recipe, store, found) + dev_asked(recipe, store, found)
    usual = [_sampling(recipe, a, known) for a in asked]
    most = [_sampling(recipe, a, None) for a in asked]

    def seconds(work: list[float | str], operations: int, rate: float, at_once: int = local.workers) -> Amount:
        unknown = [w for w in work if isinstance(w, str)]
        if unknown:
            return Amount(value=None, basis=unknown[0])
        how = f"{operations} operations a weight and token, {rate:.0e} a second and {kind}"
        how += ", which was not measured" if kind == "GPU" else ""
        return Amount(value=sum(w for w in work if not isinstance(w, str)) / (rate * at_once), basis=how)

    def training(cells: list[tuple[str, str, int]]) -> Amount:
        return seconds([work.training(c) for c in cells], 6, TRAIN_RATE[kind], spread.workers * spread.processes)

    whole = training([*todo, *trials])
    return Time(
        training=whole,
        tuning=training(trials) if trials else None,
        variants=[
            Variant(
                name=v,
                trainings=len(cells := [c for c in todo if called(c[1]).variant == v]),
                seconds=training(cells),
            )
            for v in recipe.budget.variants
        ],
        evaluation=seconds(usual, 2, SAMPLE_RATE[kind]),
        evaluation_at_most=seconds(most, 2, SAMPLE_RATE[kind]),
        own_answers=own_answers(recipe, len(found.problems["train"]), whole.value),
        devices=f"{local.workers} {kind}{'s' if local.workers > 1 else ''}",
    )


def _untried(recipe: Recipe, store: Store) -> list[tuple[str, str, int]]:
    """The trainings that try a value of `tune` and are not there yet, as the cell whose rows each has."""
    return [
        (s, arm, recipe.seeds_of(s)[0])
        for s in recipe.students
        for arm in recipe.trained
        for value in (recipe.tune.learning_rate if recipe.tune else ())
        if store.marker(store.folder("tune", s, arm, repr(value))) is None
    ]


class Work:
    """What trainings come to in operations."""

    def __init__(self, recipe: Recipe, problems: int, prompt: float, known: dict[str, Amount]) -> None:
        """`problems` to train on, tokens of a `prompt`, and tokens of a trace of every teacher."""
        self.recipe, self.problems, self.prompt, self.known = recipe, problems, prompt, known

    def training(self, cell: tuple[str, str, int]) -> float | str:
        """Operations of one training, or why they are not known."""
        student, arm, _ = cell
        weights, mean = parameters(self.recipe.students[student].model), example_tokens(self.recipe, arm, self.known)
        if weights.value is None:
            return weights.basis
        if mean is None:
            return UNKNOWN_LENGTHS
        examples = self.problems * self.recipe.train_of(student).num_train_epochs
        if self.recipe.budget_of(arm).unit == "loss_tokens":  # all arms get the tokens of the one with the fewest
            means = [example_tokens(self.recipe, a, self.known) for a in self.recipe.group_of(arm)]
            if any(m is None for m in means):
                return UNKNOWN_LENGTHS
            examples *= min(m for m in means if m) / mean
        return 6 * weights.value * examples * (mean + self.prompt)


def own_answers(recipe: Recipe, problems: int, training: float | None) -> float | None:
    """Wall time of the students' own answers to so many training problems, all at the limit of tokens, where that is
    little beside the trainings' time; None where it is not, is not known, or the recipe asks for them already."""
    if training is None or any(self_of(s) in recipe.teachers for s in recipe.students):
        return None
    local = executor.Local()
    limit = recipe.evaluate.sampling.max_tokens
    work = [_sampling(recipe, Asking(s, BASE, SELF_SAMPLES * problems, limit), None) for s in recipe.students]
    if any(isinstance(w, str) for w in work):
        return None
    rate = SAMPLE_RATE["GPU" if local.devices else "core"] * local.workers
    seconds = sum(w for w in work if not isinstance(w, str)) / rate
    return seconds if 0 < seconds <= SELF_AT_MOST * training else None


class Asking(NamedTuple):
    """Traces that are wanted of one model."""

    student: str
    arm: str
    traces: int
    max_tokens: int | None
    """Of one trace; None: not known."""


def _unevaluated(recipe: Recipe, store: Store, found: Found) -> list[Asking]:
    """Of every evaluation that is not there."""
    return [
        asking
        for *cell, benchmark in evaluations(recipe, store)
        if store.marker(store.folder("evaluate", *cell, benchmark)) is None
        for asking in asked(recipe, cell[0], cell[1], benchmark, len(found.problems[benchmark]))
    ]


def evaluations(recipe: Recipe, store: Store) -> list[tuple[str, ...]]:
    """(student, arm, seed of a trained one, benchmark) of all, other wordings among them."""
    from mixdistill import evaluate, paraphrases

    usual = [(*cell, benchmark) for cell in evaluate.cells(recipe, store) for benchmark in recipe.problems.eval]
    return usual + [(*cell, recipe.deciding_benchmark) for cell in paraphrases.cells(recipe)]


def asked(recipe: Recipe, student: str, arm: str, benchmark: str, problems: int) -> list[Asking]:
    """What one evaluation asks a model: its traces and, where answers are forced, one at every cut of each."""
    from mixdistill import forcing
    from mixdistill.students import samples

    its = recipe.on(benchmark)
    wording = called(arm).wording
    whole = Asking(student, arm, problems * (1 if wording else samples(its, student)), its.evaluate.sampling.max_tokens)
    cuts = 0 if wording else len(forcing.points(its.evaluate))
    forced = whole._replace(traces=cuts * whole.traces, max_tokens=its.evaluate.force_tokens)
    return [whole, *([forced] if cuts else [])]


def dev_asked(recipe: Recipe, store: Store, found: Found) -> list[Asking]:
    """Traces of dev problems of every training that is not there yet, trials included."""
    problems = len(found.problems.get("dev", []))
    open_ones = [(s, arm, recipe.train_of(s, arm).dev_checkpoints) for s, arm, _ in untrained(recipe, store)]
    tried = [(s, arm, 1) for s, arm, _ in _untried(recipe, store)]
    limit = recipe.evaluate.sampling.max_tokens
    return [Asking(s, arm, points * problems, limit) for s, arm, points in [*open_ones, *tried] if points * problems]


def untrained(recipe: Recipe, store: Store) -> list[tuple[str, str, int]]:
    """Every training that is not there: (student, arm, seed)."""
    return [cell for cell in recipe.cells() if not trained(store, cell)]


def _sampling(recipe: Recipe, asking: Asking, known: dict[str, Amount] | None) -> float | str:
    """Operations of one model's evaluation, or why they are not known. `known` None: every trace runs to the limit, as
    the untuned student's are taken to do in any case."""
    student, arm, traces, limit = asking
    weights = parameters(recipe.students[student].model)
    if weights.value is None:
        return weights.basis
    if known is None or called(arm).arm == BASE:
        return NO_LIMIT if limit is None else 2 * weights.value * traces * limit
    mean = example_tokens(recipe, arm, known)
    if mean is None:
        return UNKNOWN_LENGTHS
    return 2 * weights.value * traces * min(mean, limit or mean)


def disk(recipe: Recipe, store: Store, found: Found, known: dict[str, Amount], workers: int | None = None) -> Disk:
    """Bytes of what is not there yet, and what is free."""
    todo = untrained(recipe, store)
    models, checkpoints = kept(recipe, store, workers)
    tables = _tables(recipe, store, found, known, len(todo))
    return Disk(
        models=models,
        checkpoints=checkpoints,
        tables=tables,
        needed=sum(a.value or 0 for a in (models, checkpoints, tables)),
        free=free_space(store),
    )


def free_space(store: Store) -> int:
    """Bytes that are free where the run folder lies or will lie."""
    return shutil.disk_usage(standing(store.root)).free


def kept(
    recipe: Recipe, store: Store, workers: int | None = None, cells: Sequence[tuple[str, str, int]] | None = None
) -> tuple[Amount, Amount]:
    """(bytes of the trained students that are not there yet, bytes that trainings need at once besides); of these cells
    alone where there are any."""
    todo = untrained(recipe, store) if cells is None else cells
    sizes = {s: parameters(recipe.students[s].model) for s in recipe.students}
    unknown = next((a.basis for a in sizes.values() if a.value is None), None)
    if unknown:
        return Amount(value=None, basis=unknown), Amount(value=None, basis=unknown)
    each = [sizes[s].value or 0 for s, _, _ in todo]
    models = Amount(value=WEIGHT_BYTES * sum(each), basis=f"4 bytes a weight, {len(todo)} models")
    groups: dict[int, list[float]] = {}
    for s, a, _ in todo:  # those that take as many GPUs are under way together
        takes = gpu_needs.wanted(recipe, "train", (s, a)).gpus
        groups.setdefault(takes, []).append(_besides(recipe, s, a, sizes[s].value or 0))
    most = max((sorted(g)[-_spread(n, workers).workers :] for n, g in groups.items()), key=sum, default=[])
    what = f"two a training with the optimizer's state, {len(most)} at once"
    what += ", and the students of points before the end" if recipe.problems.dev and todo else ""
    return models, Amount(value=sum(most), basis=what)


def _besides(recipe: Recipe, student: str, arm: str, weights: float) -> float:
    """Bytes that one training needs besides its model: checkpoints, and the models of its points but the last."""
    train = recipe.train_of(student, arm)
    saved = weights
    if train.method != "full":
        found = shape(resolve.from_environment(recipe.students[student].model))
        saved = found.adapters(train.lora) if found else weights
    points = max(0, train.dev_checkpoints - 1) if recipe.problems.dev else 0
    return CHECKPOINT_BYTES * saved + points * WEIGHT_BYTES * weights


def _spread(processes: int, workers: int | None) -> executor.Local:
    """What works at once where each takes so many."""
    local = executor.Local(workers)
    with suppress(StageError):  # said by itself
        local.spread(processes)
    return local


def _tables(recipe: Recipe, store: Store, found: Found, known: dict[str, Amount], cells: int) -> Amount:
    train, wanted = found.problems["train"], _unevaluated(recipe, store, found)
    if any(not a.value for a in known.values()):
        return Amount(value=None, basis=UNKNOWN_LENGTHS)
    if any(a.max_tokens is None for a in wanted):
        return Amount(value=None, basis=NO_LIMIT)
    taught = 0.0
    for name, teacher in recipe.teachers.items():
        left = len(train) * teacher.samples - traces_there(store, name, train, teacher.samples)
        taught += left * (known[name].value or 0)
    sets = cells * len(train) * max(a.value or 0 for a in known.values())
    sampled = sum(a.traces * (a.max_tokens or 0) for a in wanted)
    return Amount(
        value=TEXT_BYTES * (taught + sets) + SAMPLED_BYTES * sampled,
        basis="before compression, every student's trace at the limit",
    )
