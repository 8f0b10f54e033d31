"""`check`: what a recipe will do, before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mixdistill import executor, prompts, resolve
from mixdistill.columns import Columns
from mixdistill.generate import make_backend
from mixdistill.lab import models
from mixdistill.problems import counted, load_all
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.types import Problem, Request

FREE = ("scripted", "recorded")
"""Backends whose traces cost nothing, so that a plan may look at a few."""
PEEK = 50
STAND_IN = "s"
"""The shipped lab student whose tokenizer counts for those that are not built yet."""
FLOPS = {"cpu": 2e10, "gpu": 1e14}
"""What one core, or one GPU, does in a second of training, roughly; a plan is no promise."""


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a teacher's traces as a student renders them, and how that is known."""

    mean: float | None
    why: str


def describe_plan(recipe: Recipe, out: Path | None, limit: int | None) -> str:
    """The plan of a recipe: problems, traces, cells, examples, tokens, rough time. Loads problems and tokenizers.

    Raises the errors that a run would raise before its first stage.
    """
    columns: dict[str, Columns] = {}
    problems, unused = load_all(recipe.problems, limit=limit, error_rate=recipe.error_rate, chosen=columns.__setitem__)
    store = Store(out or Path("runs") / recipe.name)
    train = problems["train"]
    lengths = {t: _lengths(recipe, store, t, train) for t in recipe.teachers}
    cells = recipe.cells()
    lines = [
        f"study      {recipe.name}: {recipe.description}".rstrip(": "),
        f"folder     {store.root} ({'exists: it will be extended' if store.root.exists() else 'new'})",
        "problems   " + ", ".join(f"{name} {len(rows):,}" for name, rows in problems.items()),
        *(f"           {name}: {found}" for name, found in columns.items()),
        *(f"           {n:,} dropped: {why}" for why, n in counted(unused).items()),
    ]
    lines += _table(
        "teachers",
        [
            (
                name,
                t.backend,
                t.model,
                f"{len(train) * t.samples:,} traces",
                _tokens(lengths[name]),
                *_to_build(t.model),
            )
            for name, t in recipe.teachers.items()
        ],
    )
    lines.append(f"verifier   {recipe.verify.verifier} -> {resolve.reference('verifier', recipe.verify.verifier)}")
    lines += _table("cells", [_cells_row(recipe, s, len(train)) for s in recipe.students])
    lines += _table("arms", [_arm_row(recipe, a, lengths) for a in recipe.arms])
    lines += _table("contrasts", [(n, f"{a} - {b}", _primary(recipe, n)) for n, (a, b) in recipe.contrasts.items()])
    samples = {b: len(rows) * recipe.evaluate.k for b, rows in problems.items() if b != "train"}
    evaluations = (len(cells) + len(recipe.students)) * sum(samples.values())
    lines.append(f"evaluate   {evaluations:,} traces: {len(cells) + len(recipe.students)} models x {samples}")
    lines.append(f"time       {_time(recipe, len(train), lengths)}")
    return "\n".join(lines)


def _lengths(recipe: Recipe, store: Store, teacher: str, problems: Sequence[Problem]) -> Lengths:
    marker = store.marker(store.folder("analyze", teacher))
    if marker and marker["facts"]["median_tokens"] is not None:
        return Lengths(float(marker["facts"]["median_tokens"]), "median of the traces there")
    spec = recipe.teachers[teacher]
    if spec.backend not in FREE:
        return Lengths(None, "not known before its first traces")
    student = next(iter(recipe.students.values()))
    model = _ready(student.model)
    if model is None:
        return Lengths(None, f"not known before {student.model} is built")
    template = Template.load(model, chat_template_kwargs=student.chat_template_kwargs)
    backend = make_backend(spec.backend, spec.model, spec.options)
    asked = [prompts.apply(prompts.load(spec.prompt), p.prompt) for p in problems]
    if hasattr(backend, "join_report"):
        backend.join_report(asked)  # raises where the file fits none of them
    answers = [c for _, c in backend.generate([Request(prompt=p, sampling=spec.sampling) for p in asked[:PEEK]])]
    counts = [template.count(c.reasoning, c.content) for c in answers if c and c.error is None]
    if not counts:
        return Lengths(None, f"not known, the first {len(asked[:PEEK])} problems have no trace")
    return Lengths(sum(counts) / len(counts), f"from {len(counts)} of them")


def _ready(model: str) -> str | None:
    """A model whose tokenizer is the given one's, without building any: another lab student stands in for one that
    is not built yet. None where there is none."""
    if not model.startswith("lab:"):
        return model
    known = models.describe(model.removeprefix("lab:"))
    if not known.built and known.name.partition("@")[0] != models.BYTES:  # the others share the lab's vocabulary
        known = models.describe(STAND_IN)
    return str(known.path) if known.built else None


def _to_build(model: str) -> tuple[str, ...]:
    """A cell for the plan where a lab model is not there yet."""
    built = not model.startswith("lab:") or models.describe(model.removeprefix("lab:")).built
    return () if built else (f"{model} is built on first use",)


def _tokens(lengths: Lengths) -> str:
    return f"{lengths.mean:,.0f} tokens each ({lengths.why})" if lengths.mean else f"tokens {lengths.why}"


def _cells_row(recipe: Recipe, student: str, problems: int) -> tuple[str, ...]:
    train, seeds = recipe.train_of(student), recipe.seeds_of(student)
    budget = recipe.budget
    unit = budget.unit.replace("_", " ")
    row = f"{len(recipe.arms)} arms x {len(seeds)} seeds = {len(recipe.arms) * len(seeds)}"
    first = _to_build(recipe.students[student].model)
    if budget.unit == "examples":
        updates = max(1, int(problems * train.num_train_epochs / budget.per_update))
        return (student, row, f"at most {updates:,} updates of {budget.per_update} {unit} each", *first)
    return (student, row, f"updates of {budget.per_update:,} {unit} each; how many follows from the traces", *first)


def _arm_row(recipe: Recipe, arm: str, lengths: dict[str, Lengths]) -> tuple[str, ...]:
    weights = recipe.arms[arm].weights
    shown = ", ".join(f"{w:.0%} {t}" for t, w in weights.items())
    known = {t: lengths[t].mean for t in weights}
    means = {t: m for t, m in known.items() if m}
    if len(weights) < 2 or len(means) < len(known):
        return (arm, f"{shown} by {recipe.budget.unit.replace('_', ' ')}")
    by_tokens = recipe.budget.unit == "loss_tokens"
    raw = {t: w / means[t] if by_tokens else w * means[t] for t, w in weights.items()}
    other = ", ".join(f"{v / sum(raw.values()):.0%} {t}" for t, v in raw.items())
    units = ("loss tokens", "examples") if by_tokens else ("examples", "loss tokens")
    return (arm, f"{shown} by {units[0]} = {other} by {units[1]}")


def _primary(recipe: Recipe, name: str) -> str:
    primary = recipe.primary_or_first()
    if primary is None or primary.contrast != name:
        return ""
    cap = f", at most {primary.max_tokens} tokens" if primary.max_tokens else ""
    return f"primary, on {primary.benchmark}{cap}"


def _time(recipe: Recipe, problems: int, lengths: dict[str, Lengths]) -> str:
    """Training time alone, from 6 floating point operations per weight and token."""
    if any(lengths[t].mean is None for t in recipe.teachers_of(list(recipe.arms))):
        return "not known before the teachers' lengths are"
    total = 0.0
    for student, arm, _ in recipe.cells():
        weights = _parameters(recipe.students[student].model)
        if weights is None:
            return "not known before the student is on this machine"
        mean = sum(w * (lengths[t].mean or 0) for t, w in recipe.arms[arm].weights.items())
        total += 6 * weights * problems * recipe.train_of(student).num_train_epochs * mean
    devices = executor.gpus()
    local = executor.Local()
    rate = FLOPS["gpu" if devices else "cpu"] * local.workers
    minutes = total / rate / 60
    what = f"{local.workers} {'GPUs' if devices else 'cores'}"
    each = rate / local.workers
    return f"training about {minutes:,.0f} min on {what} at {each:.0e} operations/s each; evaluation beside it"


def _parameters(model: str) -> int | None:
    """Weights of a model, without building or fetching it; None for one that is not on this machine."""
    from mixdistill.gather import parameters

    if model.startswith("lab:"):
        return models.describe(model.removeprefix("lab:")).parameters
    return parameters(Path(model)) if Path(model).is_dir() else None


def _table(head: str, rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(r[i]) if i < len(r) else 0 for r in rows) for i in range(max(map(len, rows)))] if rows else []
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=False)).rstrip() for r in rows]
    return [f"{head if i == 0 else '':<10} {line}" for i, line in enumerate(lines)]
