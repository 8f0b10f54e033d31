"""`--smoke`: any recipe, made so small that it runs here in seconds, offline: does it come through every stage?

Models become untrained tiny ones, data of the hub and data that are not here become made-up rows with the same columns,
teachers become made-up recordings, and what needs a GPU is left out. What a recipe compares stays:
arms, weights, contrasts, budgets in their order of size, length limits in proportion, packing, methods. Nothing that
comes out is a result: the run's name ends in `-smoke`, its recipe says `smoke: true`, and its page gives no verdict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from mixdistill import prompts, resolve, tables
from mixdistill.arms import SELF
from mixdistill.commands import fake, gold
from mixdistill.commands.run import carry_out as carry_out_recipe
from mixdistill.lab import fixtures
from mixdistill.problems import LAB, load_all
from mixdistill.recipe import Recipe, build, load
from mixdistill.refusals import FIXTURES, refuse_foreign, refuse_other_kind
from mixdistill.sections import Source
from mixdistill.store import Store
from mixdistill.types import Problem, prompt_text

STUDENTS, PROBLEMS, UPDATES = 2, 16, 2
"""At most so many."""
MODEL = "lab:bytes"
"""In the place of every student."""
EPOCHS = 2
TOKENS = 16
"""Of an answer, at most."""
STYLE = 4
"""Traces of an arm whose tokens are ranked, at most."""
SAMPLES = 2
"""Of a problem, at most."""
ENDING = "-smoke"
MARGIN = 160
"""Bytes of a row beside prompt and reasoning: tags, answer, stop."""
NEEDS_GPU = ("bf16", "attn_implementation", "gradient_checkpointing", "num_processes", "distributed", "report_to")
"""Keys of `train` that are left out."""
COLUMNS = {f"{what}_column": what for what in ("prompt", "completion", "reasoning", "finish_reason")}
"""Options of recorded traces that name columns."""


class Scale(NamedTuple):
    """What the settings of trainings are multiplied by."""

    length: float
    epochs: float


def smoked(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe as it is run, with what is made up written into a folder. Raises DataError where problems that are
    here cannot be read."""
    raw = recipe.model_dump(mode="json", exclude_unset=True)
    kept = list(recipe.students)[:STUDENTS]
    raw |= {"name": _name(recipe.name), "smoke": True, "seeds": [recipe.seeds_of(kept[0])[0]]}
    raw["problems"] = _problems(recipe, raw["problems"], folder)
    raw["students"] = {name: _student(raw["students"][name]) for name in kept}
    raw["published"] = [row for row in raw.get("published", []) if row["student"] in kept]
    raw["evaluate"], raw["primary"] = _evaluate(raw.get("evaluate", {}), PROBLEMS), _primary(recipe)
    raw["analyze"] = {k: v for k, v in raw.get("analyze", {}).items() if k != "tokenizer"}
    if recipe.tune:
        raw["tune"] = {"learning_rate": recipe.tune.learning_rate[:2]}
    study = build({k: v for k, v in raw.items() if v is not None}, resolved=False)
    train = load_all(study.problems)[0]["train"]
    raw["teachers"], tokens = _teachers(recipe, kept, train, study, folder)
    ask = prompts.asking(recipe.problems.train.ask)
    _shorten(recipe, raw, max((len(prompt_text(ask(p.prompt)).encode()) for p in train), default=0), tokens)
    return build({k: v for k, v in raw.items() if v is not None})


def _name(name: str) -> str:
    return name.removesuffix(ENDING)[: fake.LONGEST_NAME - len(ENDING)] + ENDING


# -- problems and traces ----------------------------------------------------------------------------------------------


def _problems(recipe: Recipe, raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The section with few problems, made up where they are on the hub or not here."""
    made, lists = False, {}
    for number, (name, source) in enumerate(recipe.problems.lists.items()):
        of = recipe.on(name) if name in recipe.problems.eval else recipe
        given = _benchmark(raw["eval"][name]) if name in recipe.problems.eval else raw[name]
        if away(source):
            made = True
            verifier = of.verify.chain[0].name
            rows = fixtures.problem_rows(source, verifier, count=PROBLEMS, first=1 + number * PROBLEMS)
            dropped = ("subset", "split", "part", "skip", "limit")
            given = {k: v for k, v in given.items() if k not in dropped}
            given["source"] = _write(folder / f"{name}.jsonl", rows)
        else:
            given = {**given, "limit": min(source.limit or PROBLEMS, PROBLEMS)}
        lists[name] = given
    found = {name: given for name, given in lists.items() if name not in recipe.problems.eval}
    found["eval"] = {name: lists[name] for name in recipe.problems.eval}
    # Sums differ in their numbers alone.
    return found | ({"decontaminate": {"ngram": None, "numbers": False}} if made else _apart(raw))


def _benchmark(raw: dict[str, Any]) -> dict[str, Any]:
    """A benchmark's entry that writes as few and as short answers as the others."""
    sampling = {k: v for k, v in raw.get("sampling", {}).items() if k != "max_tokens"}
    return {**{k: v for k, v in raw.items() if k != "k"}, "sampling": sampling}


def _apart(raw: dict[str, Any]) -> dict[str, Any]:
    return {k: raw[k] for k in ("decontaminate",) if k in raw}


def away(source: Source) -> bool:
    """Whether problems are on the hub, or behind an environment variable that is not set."""
    if source.source == LAB:
        return False
    return bool(resolve.unset(source.source)) or tables.on_hub(resolve.from_environment(source.source))


def _teachers(
    recipe: Recipe, students: list[str], train: list[Problem], study: Recipe, folder: Path
) -> tuple[dict[str, Any], int]:
    """(the section, tokens of all traces of the teacher that has the fewest)."""
    phrase = gold.phrasing(study)
    found: dict[str, Any] = {}
    fewest = []
    for name, teacher in recipe.teachers.items():
        owner = name.removeprefix(f"{SELF}@")
        if owner != name and owner not in students:
            continue
        samples = min(teacher.samples, SAMPLES)
        named = teacher.options if teacher.backend == "recorded" else {}
        columns = {"prompt": "problem", "completion": "solution"}
        columns |= {what: named[key] for key, what in COLUMNS.items() if named.get(key)}
        rows = fixtures.trace_rows(
            train, lambda p: phrase(p) or p.answer, samples=samples, long="long" in name, seed=name, **columns
        )
        path = _write(folder / "traces" / f"{name}.jsonl", rows)
        written = [row.get(columns.get(what, ""), "") for row in rows for what in ("reasoning", "completion")]
        fewest.append(sum(len(text.encode()) for text in written) // samples)
        given = {f"{what}_column": column for what, column in columns.items()}
        found[name] = {"backend": "recorded", "model": f"smoke/{name}", "path": path, "complete": True, **given}
        found[name] |= {"samples": samples}
    return found, min(fewest, default=0)


def _write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file.absolute())


# -- everything else --------------------------------------------------------------------------------------------------


def _student(raw: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in raw.items() if k in ("chat_template_kwargs", "train")}
    return {**kept, "model": MODEL}


def _evaluate(raw: dict[str, Any], batch: int) -> dict[str, Any]:
    found = {**raw, "sampling": {**raw.get("sampling", {}), "max_tokens": TOKENS}, "batch_size": batch}
    found |= {"k": min(raw.get("k") or 1, SAMPLES), "style": min(raw.get("style", STYLE), STYLE)}
    return found | ({"caps": [TOKENS // 2]} if raw.get("caps") else {})


def _primary(recipe: Recipe) -> dict[str, Any] | None:
    primary = recipe.primary_or_first()
    if primary is None:
        return None
    cap = None if primary.max_tokens is None else TOKENS // 2
    return primary.model_copy(update={"max_tokens": cap}).model_dump(exclude_none=True)


def _shorten(recipe: Recipe, raw: dict[str, Any], prompt: int, tokens: int) -> None:
    """Trainings of two updates at most, with limits of length in proportion to those of the recipe. `prompt`: bytes of
    the longest; `tokens`: of all traces of the teacher that has the fewest."""
    lengths = [recipe.train_of(s, a).max_length for s in raw["students"] for a in recipe.arms]
    cuts = recipe.train.overlong == "truncate"
    room = prompt + fixtures.LONG + (0 if cuts else MARGIN)  # rows are cut where the recipe has them cut
    epochs = min(recipe.train.num_train_epochs, EPOCHS)
    by_tokens = recipe.budget.unit == "loss_tokens"
    per_update = max(room, int(tokens * epochs / UPDATES)) if by_tokens else math.ceil(PROBLEMS * epochs / UPDATES)
    scale = Scale(room / (max if cuts else min)(lengths), epochs / recipe.train.num_train_epochs)
    longest = {"max_length": recipe.train.max_length, "num_train_epochs": recipe.train.num_train_epochs}
    raw["train"] = _train({**longest, **raw.get("train", {})}, scale)
    raw["budget"] = {**raw.get("budget", {}), "per_update": per_update}
    for section in (*raw["students"].values(), *raw["arms"].values()):
        section["train"] = _train(section.get("train", {}), scale)
    for arm in raw["arms"].values():
        if (own := arm.get("budget", {}).get("per_update")) is not None:
            halves = 3 if own > recipe.budget.per_update else 1
            arm["budget"] = {**arm["budget"], "per_update": per_update * halves // 2}


def _train(raw: dict[str, Any], scale: Scale) -> dict[str, Any]:
    """Keys of `train`, of the study, a student or an arm, as they can be here."""
    found = {k: v for k, v in raw.items() if k not in NEEDS_GPU}
    if found.get("method") == "qlora":
        found["method"] = "lora"
    if "max_length" in found:
        found["max_length"] = int(found["max_length"] * scale.length)
    if "num_train_epochs" in found:
        found["num_train_epochs"] *= scale.epochs
    if "dev_checkpoints" in found:
        found["dev_checkpoints"] = min(found["dev_checkpoints"], UPDATES)
    return found


# -- carried out ------------------------------------------------------------------------------------------------------


def carry_out(
    recipe: Path, overrides: list[str] | None, out: Path | None, stages: Sequence[str], *,
    say: Callable[[str], None], **how: Any,
) -> int:  # fmt: skip
    """Carry out stages of a recipe made small; the exit code. A verifier that asks a model asks the fake provider."""
    loaded = load(recipe, overrides)
    store = Store(out or Path("runs") / _name(loaded.name))
    refuse_foreign(store)
    refuse_other_kind(store, smoke=True)
    study = smoked(loaded, store.root / FIXTURES)
    say(f"mixdistill: smoke run in {store.root}: models, data and traces are made up; nothing of it is a result")
    playing = fake.judges_played(study) if fake.judges(study) else nullcontext(study)
    with playing as played:
        return carry_out_recipe(played, None, store.root, stages, say=say, **how)
