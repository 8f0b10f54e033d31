"""What a run refuses, before anything is bought or redone: whatever would lose what money or training made."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mixdistill.errors import RecipeError, Refused, StoreError
from mixdistill.lock import CLAIM, LOCK
from mixdistill.prompts import KEPT
from mixdistill.recipe import Recipe
from mixdistill.spending import SPENT
from mixdistill.store import Store
from mixdistill.units import STARTED, State, Unit, changed_keys, grown, lacking, made, plan, units_of
from mixdistill.yaml_text import parse_yaml

BOUGHT = ("generate", "tune", "train")
"""Stages whose rows cost money or training: a changed identity refuses instead of redoing."""

TRAINING = ("tune", "train")
"""Stages that train on the traces."""

MAKING = ("generate", "verify", "analyze", "mix", "tune", "train")
"""Stages after which the folder's recipe is the one given: what only evaluates or reports did not make the folder."""

ONE_ROW = ("blend", "curriculum", "route")
"""Mixtures with one row of each problem."""

OF_TRACES = ("training data", "order of rows")
"""Inputs of a training that follow from the traces."""
OTHER_DATA = (
    "other problems or samples change the training data, and the traces are kept; "
    "use --fresh to set the old trainings aside and train on them, or --out for a new run"
)

TRACEBACK = "traceback.txt"
SERVER_LOG = "serve.log"
"""What the server said that a unit started, where it started one."""
RECIPE = "recipe.yaml"
SESSIONS = "sessions.json"
FIXTURES = "fixtures"
"""What `run --smoke` made up."""
SHIP, BEST = "ship", "best"
"""Folders of `mixdistill ship`."""
PILOT, PILOTED = "pilot.json", ("generate", "verify", "analyze")
"""What a pilot said of the whole study; its stages."""


def refuse_foreign(store: Store) -> None:
    """A folder with somebody's files in it is no place for a run, nor ever for its deletion."""
    there = os.listdir(store.root) if store.root.is_dir() else []
    if there and not {"problems", RECIPE, SESSIONS, LOCK, CLAIM, FIXTURES} & set(there):
        raise StoreError(f"{store.root}: holds something else than a run ('{sorted(there)[0]}'); choose another --out")


def refuse_other_kind(store: Store, *, smoke: bool) -> None:
    """A smoke run never goes on in a real one's folder, whose report it would write over, nor the other way round."""
    was = _was_smoke(store.root / RECIPE)
    if was is not None and was is not smoke:
        what = "a run that is no smoke run" if smoke else "a smoke run"
        raise StoreError(f"{store.root}: holds {what}; choose another --out")


def _was_smoke(recipe: Path) -> bool | None:
    """Of the run that wrote it, maybe with another version of mixdistill; None where nobody can tell any more. Nothing
    else of it is read."""
    try:
        said = parse_yaml(recipe.read_text(encoding="utf-8"), str(recipe))
    except (OSError, ValueError, RecipeError):
        return None
    return said.get("smoke", False) is True if isinstance(said, dict) else None


def refuse_other_data(stages: tuple[str, ...], recipe: Recipe, store: Store, limit: int | None) -> None:
    """Trainings of this recipe would not match other problems or more samples: said before anything is bought."""
    cells = [c for c in recipe.cells() if _trained_on(store, *c)]
    if not set(stages) & set(TRAINING) or not cells:
        return
    made = (store.marker(store.folder("problems")) or {}).get("options")
    lines = ["the training problems"] if other_problems(recipe, store) else []
    if made and made["limit"] != limit:
        lines.append(f"--limit ({made['limit'] or 'none'}, now {limit or 'none'})")
    used = {t for student, arm, _ in cells for t in recipe.teachers_of([arm], student)}
    planned = [(u, s) for u, s in plan(recipe, store, "generate") if u.key[0] in used]
    # One that was being extended when it failed or was stopped has no marker.
    extended = [u for u, s in planned if s is State.EXTEND or (s is State.RESUME and _sealed_lacks(u, store))]
    lines += [f"teachers.{u.key[0]}.{_what_grew(u, store)}" for u in extended if not lines]
    if lines:
        raise Refused(f"{store.root}: {', '.join(lines)} changed, and trainings were made before; {OTHER_DATA}")


def _trained_on(store: Store, student: str, arm: str, seed: int) -> bool:
    """Whether a model was trained on the arm's traces: the cell's own, or a trial."""
    folders = [store.folder("train", student, arm, str(seed)), *store.folder("tune", student, arm).glob("*")]
    return any(store.marker(folder) for folder in folders)


def _sealed_lacks(unit: Unit, store: Store) -> bool:
    """Whether there is a sealed table in which wanted traces are missing."""
    there = (store.folder(unit.stage, *unit.key) / f"{unit.table}.parquet").exists()
    return there and bool(lacking(unit, store))


def _what_grew(unit: Unit, store: Store) -> str:
    """The key of a teacher that asks for more of its traces than were wanted before."""
    if changed_keys(unit, store):
        return "sampling.max_tokens"
    return "until_correct" if unit.wanted.rule else "samples"


def refuse_other_problems(recipe: Recipe, store: Store, limit: int | None) -> None:
    """What only evaluates or reports may add a benchmark, and never draw other training problems."""
    made = (store.marker(store.folder("problems")) or {}).get("options")
    if made and (other_problems(recipe, store) or made["limit"] != limit):
        was = "" if made["limit"] is None else f" with --limit {made['limit']}"
        raise Refused(
            f"{store.root}: its training problems were drawn by another recipe or limit{was}; give that one, or carry "
            "out the whole of this one with mixdistill run"
        )


def other_problems(recipe: Recipe, store: Store) -> bool:
    """Whether the training problems in the folder are another recipe's; their number aside."""
    made = (store.marker(store.folder("problems")) or {}).get("options")
    if made is None:
        return False
    was, now = made["problems"], recipe.problems.drawn
    return was["train"] != now["train"] or was.get("decontaminate", now["decontaminate"]) != now["decontaminate"]


def too_small(recipe: Recipe, problems: int) -> list[str]:
    """Budgets of examples that so many training problems cannot fill once, were every one of them solved."""
    lines = []
    for arm, spec in recipe.arms.items() if problems else ():
        budget, once = recipe.budget_of(arm), any(recipe.arm(a).mixture in ONE_ROW for a in recipe.group_of(arm))
        if budget.unit != "examples" or budget.problems == "reweighted" or not once:
            continue
        key = f"arms.{arm}.budget.per_update" if "per_update" in spec.budget else "budget.per_update"
        for student in recipe.students:
            passes = recipe.train_of(student, arm).num_train_epochs
            if problems * passes < budget.per_update:
                lines.append(
                    f"{key}: too much for one update (got {budget.per_update:,}, and {problems:,} training problems in "
                    f"{passes:g} pass{'es' * (passes != 1)}); lower it, or raise train.num_train_epochs"
                )
    return list(dict.fromkeys(lines))


def refuse_too_small(stages: tuple[str, ...], recipe: Recipe, problems: int) -> None:
    """Raise RecipeError where trainings are asked for that no traces of these problems could be enough for."""
    if set(stages) & set(TRAINING) and (lines := too_small(recipe, problems)):
        raise RecipeError(lines)


def refuse_stale(stages: tuple[str, ...], recipe: Recipe, store: Store) -> None:
    """Nothing is trained or mixed from what an earlier stage made otherwise and is not asked to make again."""
    making = [s for s in stages if s in MAKING]
    for stage in MAKING[: MAKING.index(making[0])] if making else ():
        for unit, s in plan(recipe, store, stage):
            if s is State.EXTEND and stage == "generate" and (store.root / PILOT).exists():
                more = f"{unit.label} holds a pilot, and {len(lacking(unit, store)):,} more traces are wanted"
                raise Refused(f"{store.root}: {more}; go on with mixdistill run, or carry out generate first")
            if s is State.CHANGED and unit.stage == stage:
                raise Refused(
                    f"{store.root}: {unit.label} was made otherwise: {'; '.join(changed_keys(unit, store))}; carry out "
                    f"{stage} first, or the whole recipe with mixdistill run"
                )


def refuse_early(stages: tuple[str, ...], recipe: Recipe, store: Store) -> None:
    """Refuse what other options made before anything is bought or redone. Changed inputs show when their turn comes."""
    store = store.glance()
    begun = [stage for stage in BOUGHT if stage in stages and store.folder(stage).exists()]
    there = [u for stage in begun for u in units_of(stage, recipe, store)]
    refuse([u for u in there if holds_rows(store.folder(u.stage, *u.key)) and _options_changed(u, store)], store)


def _options_changed(unit: Unit, store: Store) -> bool:
    begun = made(unit, store)
    if begun is None or grown(unit, begun):
        return False
    return begun["options"] != json.loads(json.dumps(unit.options, default=str))


def refuse(units: list[Unit], store: Store) -> None:
    """Raise Refused when there are any, with what differs and what to do."""
    lines = []
    for unit in units[:5]:
        keys = changed_keys(unit, store)
        advice = "use --out for a new run or --fresh to set the old aside"
        if unit.stage in TRAINING and any(k.removesuffix(" changed") in OF_TRACES for k in keys):
            advice = OTHER_DATA
        lines.append(f"{store.root}: {unit.label} was made otherwise: {'; '.join(keys)}; {advice}")
    if len(units) > 5:
        lines.append(f"{store.root}: and {len(units) - 5} more units")
    if lines:
        raise Refused("\n".join(lines))


def holds_rows(folder: Path) -> bool:
    """Whether anything was made there: a unit of which no request succeeded has nothing to lose."""

    def counts(path: Path) -> bool:
        if path.suffix == ".jsonl":
            with open(path, "rb") as rows:  # quotes inside a text are escaped, so this is the field
                return any(b'"error":null' in row for row in rows)
        return path.name not in (STARTED, TRACEBACK, KEPT, SERVER_LOG, SPENT)

    return any(p.is_file() and counts(p) for p in folder.rglob("*"))
