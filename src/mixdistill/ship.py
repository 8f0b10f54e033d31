"""The student for use: the chosen blend on everything that was verified, held against the untuned student at the gate.

    ship/<student>/<arm>/<seed>/data/     what it is trained on, a training set as those of `mix`
    ship/<student>/<arm>/<seed>/train/    its training
    ship/<student>/<arm>/<seed>/gate/     its answers to the problems of `problems.gate`
    ship/<student>/base/gate/             those of the untuned student
    ship/looks.json                       every look at the gate
    best/                                 the student that passed, with its card and the evidence

The arms of a study are handicapped on purpose: they share problems and updates with all that they are compared with.
Here a blend takes every problem that any of its own teachers solved, and as many updates as these give. All else is as
in the study. Each folder has a marker of its own: killed anywhere, the same call goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mixdistill import dev, export, mix, prompts, train
from mixdistill.arms import BASE, called
from mixdistill.chain import grading_options
from mixdistill.errors import StoreError
from mixdistill.evaluate import ALL, SCORES, author
from mixdistill.evidence.views import decided_on
from mixdistill.files import file_hash, unwritable, write_atomically
from mixdistill.handover import cards, gate, serving
from mixdistill.handover.cards import Scored
from mixdistill.handover.gate import Answers, Shipping
from mixdistill.handover.serving import Use
from mixdistill.recipe import Recipe
from mixdistill.refusals import BEST, RECIPE, SHIP
from mixdistill.resolve import model_fingerprint, model_path, redacted
from mixdistill.store import MARKER, SET_ASIDE, Store
from mixdistill.students import Asked, answer, backend_options, here, sampled_with, samples
from mixdistill.tokens import switched
from mixdistill.training import snapshots
from mixdistill.training.snapshots import MODEL
from mixdistill.types import Problem, Score, content_hash
from mixdistill.units import STARTED, Done, State, Unit, plan

GATE, DATA, TRAIN = "gate", "data", "train"
"""Last part of the key of a unit, and its folder."""
EVIDENCE = "evidence.json"
VERSION = "2"


class Candidate(NamedTuple):
    """A blend that may take the place of the untuned student."""

    student: str
    arm: str
    """With its mode: how it is asked."""
    seed: int
    base: str
    """How the untuned student is asked."""
    max_tokens: int | None
    """Token cap that it will be served with; None: the generation's own limit."""

    @property
    def cell(self) -> export.Cell:
        """Its training."""
        return export.Cell(self.student, called(self.arm).trained, self.seed)

    def folder(self, store: Store, part: str) -> Path:
        """Where its data or its training is."""
        return store.folder(SHIP, *self.cell.key, part)


# -- which blend ------------------------------------------------------------------------------------------------------


def open_again(store: Store, unit: Unit) -> None:
    """Make room for what was made otherwise. Training data and weights are set aside; answers to the same problems stay
    beside their new grades, where only those changed."""
    folder = store.folder(unit.stage, *unit.key)
    if unit.key[-1] == GATE:
        (folder / MARKER).unlink(missing_ok=True)
        (folder / STARTED).unlink(missing_ok=True)
    else:
        store.set_aside(folder)


class Supported(NamedTuple):
    """What the study's benchmarks say of one arm, or mode of one, of a student."""

    name: str
    accuracy: float
    """Mean over seeds."""
    seeds: int


def supported(recipe: Recipe, store: Store, student: str, max_tokens: int | None) -> tuple[str, list[Supported]]:
    """(benchmark of the primary comparison, or `average`, the arms by their mean accuracy on it, the best first; of
    equal ones the simpler). Base is among them. At the cap where it was scored there, else at the generation's own
    limit.
    """
    where, shares = decided_on(recipe, {name: len(store.problem_ids(name)) for name in recipe.problems.eval})
    cap = max_tokens if all(max_tokens in recipe.on(name).evaluate.caps for name in shares) else None
    # Arm -> seed -> benchmark -> accuracy. What was asked in other words is no way in which a student is served.
    found: dict[str, dict[tuple[str, ...], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for unit, state in plan(recipe, store, "evaluate"):
        of, arm, *seed, benchmark = unit.key
        if state is State.DONE and of == student and benchmark in shares and not called(arm).wording:
            scores = store.read(store.folder("evaluate", *unit.key), Score, SCORES)
            for score in scores:
                if (score.group, score.max_tokens) == (ALL, cap):
                    found[arm][tuple(seed)][benchmark] = score.accuracy
    ranked = []
    for arm, seeds in found.items():
        whole = [sum(shares[b] * a for b, a in of.items()) for of in seeds.values() if of.keys() == shares.keys()]
        ranked += [Supported(arm, sum(whole) / len(whole), len(whole))] if whole else []
    return where, sorted(ranked, key=lambda s: (-round(s.accuracy, 9), _simplicity(recipe, s.name)))


def _simplicity(recipe: Recipe, name: str) -> tuple[int, int]:
    """Fewer teachers first, then the recipe's order."""
    arm = called(name).arm
    return (0, 0) if arm == BASE else (len(recipe.arms[arm].weights), list(recipe.arms).index(arm))


def chosen(recipe: Recipe, store: Store, root: Path, candidate: Candidate) -> Candidate:
    """The candidate, with the arm and the way of asking base that the benchmarks support where it names none."""
    _, ranked = supported(recipe, store, candidate.student, candidate.max_tokens)
    bases = [s.name for s in ranked if called(s.name).arm == BASE]
    arms = [s.name for s in ranked if called(s.name).arm != BASE and not called(s.name).variant]
    if not candidate.arm and not arms:
        raise StoreError(
            f"{root}: no arm of {candidate.student} was evaluated, so none can be chosen; carry out mixdistill run "
            f"{root / RECIPE} --out {root}, or name one with --arm"
        )
    return candidate._replace(arm=candidate.arm or arms[0], base=bases[0] if bases else BASE)


# -- the gate's problems ----------------------------------------------------------------------------------------------


def gate_problems(recipe: Recipe, store: Store) -> list[Problem]:
    """The problems of the gate. Raises StoreError where there are none, or where one was ever used in this run."""
    root, marker = store.root, store.marker(store.folder("problems")) or {"tables": {}}
    if recipe.problems.gate is None or GATE not in marker["tables"]:
        raise StoreError(
            f"{root}: no problems.gate, so nothing is left to judge a student on; add `gate: {{source: ...}}` under "
            f"problems in your recipe, with problems that are nowhere else in it, and carry out mixdistill run with "
            f"--out {root} again: nothing is bought or trained anew"
        )
    problems = store.read(store.folder("problems"), Problem, GATE)
    if len(problems) < 2:
        raise StoreError(f"{root}: problems.gate has {len(problems)} problems; give it some hundred")
    if used := _used(store, {p.id for p in problems}):
        listed = ", ".join(f"{n:,} in {where}" for where, n in used.most_common(3))
        raise StoreError(
            f"{root}: problems.gate was used before ({listed}), so it judges nothing; give it problems that this run "
            "has never seen"
        )
    return problems


def _used(store: Store, ids: set[str]) -> Counter[str]:
    """Where in a run problems of the gate occur: in traces, training sets or answers, set aside ones too."""
    import polars as pl

    found: Counter[str] = Counter()
    for path in store.root.rglob("*.parquet"):
        parts = path.relative_to(store.root).parts
        inside = parts[1:] if parts[0] == SET_ASIDE else parts
        if inside[0] in (SHIP, BEST, "problems", "report") or "problem_id" not in pl.read_parquet_schema(path):
            continue
        seen = set(pl.read_parquet(path, columns=["problem_id"])["problem_id"].to_list())
        if both := len(seen & ids):
            found["/".join(parts[:-1])] = both
    return found


# -- the work ---------------------------------------------------------------------------------------------------------


def data_unit(recipe: Recipe, store: Store, candidate: Candidate) -> Unit:
    """The training set: that of the study's cell, but of all that its teachers solved."""
    unit = next(u for u in mix.units(recipe, store) if u.key == candidate.cell.key)
    return replace(unit, stage=SHIP, key=(*candidate.cell.key, DATA), options={**unit.options, "alone": True})


def train_unit(recipe: Recipe, store: Store, candidate: Candidate) -> Unit:
    """The training on it, with the study's settings."""
    student, arm, seed = candidate.cell
    settings = _settings(recipe, store, candidate)
    options: dict[str, Any] = {"train": train.identity(settings), "seed": seed, "ship": VERSION}
    inputs: dict[str, str | None] = {}
    given: dict[str, str] = {}
    if settings.keep == "best":
        asked, given = dev.options(recipe, student, arm)
        options["keep"] = {"points": settings.dev_checkpoints, **asked}
        inputs["dev problems"] = dev.content(store)
    untuned = train.Untuned.of(recipe.students[student].model)
    key = (*candidate.cell.key, TRAIN)
    rows = candidate.folder(store, DATA)
    return train.described(recipe, store, SHIP, key, candidate.cell, untuned, options, inputs, given, rows=rows)


def _settings(recipe: Recipe, store: Store, candidate: Candidate) -> Any:
    """The study's, with the learning rate that the trials of the arm came to."""
    student, arm, _ = candidate.cell
    settings, trials = recipe.train_of(student, arm), dev.trials(recipe, store, student, arm)
    if not trials or None in trials.values():
        return settings
    return settings.model_copy(update={"learning_rate": dev.chosen(trials)})


def gate_units(recipe: Recipe, store: Store, candidate: Candidate) -> tuple[Unit, Unit]:
    """(of the untuned student, of the candidate)."""
    grading, given = grading_options(recipe)
    problems = content_hash(*store.problem_ids(GATE))
    weights = store.content(candidate.folder(store, TRAIN), MODEL, ["weights"])
    found = []
    for name, seed, made in (
        (candidate.base, 0, model_fingerprint(recipe.students[candidate.student].model)),
        (candidate.arm, candidate.seed, weights),
    ):
        untuned = called(name).arm == BASE
        options = {
            "sampling": _sampling(recipe, candidate.student, name, seed),
            **grading,
            "max_tokens": candidate.max_tokens,
            "k": samples(recipe, candidate.student),
            "stage": VERSION,
        }
        key = (candidate.student, name, *(() if untuned else (str(seed),)), GATE)
        found.append(
            Unit(stage=SHIP, key=key, options=options, inputs={"weights": made, "gate": problems}, given=given)
        )
    return found[0], found[1]


def _sampling(recipe: Recipe, student: str, name: str, seed: int) -> dict[str, Any]:
    recipe = here(recipe, student)
    return {
        "sampling": recipe.evaluate.sampling.model_dump(),
        **sampled_with(recipe.students[student]),
        **backend_options(recipe, student),
        "chat_template_kwargs": _template_kwargs(recipe, student, name),
        "seed": seed,
        "tag": recipe.tag_of(name),
        **prompts.identity(_template(recipe)),
    }


def _template(recipe: Recipe) -> str | None:
    """The template around a problem of the gate."""
    return recipe.problems.gate.ask if recipe.problems.gate else None


def _template_kwargs(recipe: Recipe, student: str, name: str) -> dict[str, Any]:
    """The student's own, with the switch of another way of asking its base."""
    own, parts = recipe.students[student].chat_template_kwargs, called(name)
    return switched(own, parts.mode) if parts.arm == BASE and parts.mode else own


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Draw, train or ask, by the unit's last key."""
    return {DATA: _draw, TRAIN: _train, GATE: _ask}[unit.key[-1]](unit, recipe, store)


def _draw(unit: Unit, recipe: Recipe, store: Store) -> Done:
    student, arm, seed, _ = unit.key
    drawn = mix.draw(recipe, store, student, arm, int(seed), alone=True)
    tables = drawn.write(store, store.folder(unit.stage, *unit.key))
    return Done(counts=drawn.counts, tables=tables, facts=drawn.facts)


def _train(unit: Unit, recipe: Recipe, store: Store) -> Done:
    student, arm, seed, _ = unit.key
    candidate = Candidate(student, arm, int(seed), BASE, None)
    folder, cell = candidate.folder(store, TRAIN), candidate.cell
    facts = train.training(
        unit,
        recipe,
        store,
        cell,
        _settings(recipe, store, candidate),
        seed=cell.seed,
        points=dev.wanted(recipe, student, arm),
        rows=candidate.folder(store, DATA),
    )
    if "kept" in facts:
        snapshots.keep(folder, facts["kept"], facts["updates"])
    table = {"rows": 1, "columns": {"weights": file_hash(folder / MODEL)}}
    return Done(counts={"updates": facts["updates"]}, tables={MODEL: table}, facts=facts)


def _ask(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Ask one model the problems of the gate, at the cap that it will be served with."""
    student, name, *rest = unit.key
    recipe = here(recipe, student)
    spec, cap, seed = recipe.students[student], unit.options["max_tokens"], int(rest[0]) if len(rest) > 1 else 0
    untuned = called(name).arm == BASE
    trained = store.folder(SHIP, student, called(name).trained, str(seed), TRAIN) / MODEL
    limit = recipe.evaluate.sampling.max_tokens
    if cap is not None and limit is not None and cap > limit:  # longer than the study ever let it write
        sampling = recipe.evaluate.sampling.model_copy(update={"max_tokens": cap})
        recipe = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"sampling": sampling})})
    asked = Asked(
        student=student,
        model=model_path(spec.model) if untuned else str(trained),
        author=f"{author(unit.key[:-1])}/{GATE}",
        folder=store.folder(unit.stage, *unit.key),
        label=unit.label,
        problems=store.read(store.folder("problems"), Problem, GATE),
        k=unit.options["k"],
        caps=() if cap is None else (cap,),
        seed=seed,
        stamp=[_sampling(recipe, student, name, seed), unit.inputs["weights"]],
        chat_template_kwargs=_template_kwargs(recipe, student, name),
        tag=recipe.tag_of(name),
        ask=_template(recipe),
    )
    answered = answer(recipe, store, asked)
    answered.judged.check_errors(unit.label)
    counted = gate.counts(answered, cap)
    return Done(
        counts={"problems": len(counted.right), "errors": counted.errors},
        tables=answered.tables,
        facts={**answered.facts, "answers": counted.model_dump(mode="json")},
    )


# -- what follows -----------------------------------------------------------------------------------------------------


def decide(recipe: Recipe, store: Store, candidate: Candidate, problems: list[Problem], may_forget: float) -> Shipping:
    """Hold the candidate against base, note the look, and say whether it passed."""
    base, new = (
        Answers.model_validate(_facts(store, store.folder(SHIP, *u.key))["answers"])
        for u in gate_units(recipe, store, candidate)
    )
    drawn = _facts(store, candidate.folder(store, DATA))
    weights = str(store.content(candidate.folder(store, TRAIN), MODEL, ["weights"]))
    scored = gate.beside(base, new, candidate.max_tokens or recipe.evaluate.sampling.max_tokens)
    looks = gate.looked(store, _look(store, candidate, weights, scored))
    levels, interval = gate.levels_of(base, new, gate.by_level(problems)), gate.widened(scored, looks)
    parts = gate.rule(scored, interval, levels[0], may_forget)
    before, after = gate.solved(base), gate.solved(new)
    passed = all(holds for holds, _ in parts)
    return Shipping(
        student=candidate.student,
        arm=candidate.arm,
        seed=candidate.seed,
        base=candidate.base,
        weights=weights,
        rows=drawn["distinct_traces"],
        distinct_problems=drawn["distinct_problems"],
        updates=drawn["updates"],
        scored=scored,
        looks=looks,
        interval=interval,
        levels=levels,
        forgotten=[p.id for p in problems if p.id in before - after],
        learnt=[p.id for p in problems if p.id in after - before],
        errors=base.errors + new.errors,
        may_forget=may_forget,
        passed=passed,
        holds=[holds for holds, _ in parts],
        why=[said for _, said in parts],
        best=str(store.folder(BEST)) if passed else None,
    )


def _facts(store: Store, folder: Path) -> dict[str, Any]:
    return (store.marker(folder) or {})["facts"]


def _look(store: Store, candidate: Candidate, weights: str, scored: Scored) -> dict[str, Any]:
    """This look at the gate, as it is noted."""
    return {
        "student": candidate.student,
        "arm": candidate.arm,
        "max_tokens": candidate.max_tokens,
        "weights": weights,
        "gate": content_hash(*store.problem_ids(GATE)),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "delta": round(scored.accuracy - scored.base, 6),
    }


def write_best(recipe: Recipe, store: Store, candidate: Candidate, shipped: Shipping) -> None:
    """Make the candidate `best/`: the model, its card, the evidence and how to serve it. One that is there is set
    aside, unless it is this one."""
    best, evidence = store.folder(BEST), shipped.model_dump_json(indent=2).encode()
    old = json.loads((best / EVIDENCE).read_text()) if (best / EVIDENCE).is_file() else {}
    beside = store.folder(SHIP) / f"{BEST}.{os.getpid()}.tmp"
    if old.get("weights") != shipped.weights:
        try:
            shutil.copytree(candidate.folder(store, TRAIN) / MODEL, beside)
        except (OSError, shutil.Error) as e:
            shutil.rmtree(beside, ignore_errors=True)
            raise unwritable(best, e) from e
    else:
        best.rename(beside)
    facts = _facts(store, candidate.folder(store, TRAIN)) | {"drawn_from": "all that its teachers solved"}
    use = use_of(recipe, store, candidate, shipped)
    text = cards.model_card(recipe, store, candidate.cell, facts, [shipped.scored], note=_note(shipped), use=use)
    write_atomically(beside / cards.CARD, redacted(text).encode())
    write_atomically(beside / EVIDENCE, evidence)
    write_atomically(beside / serving.SCRIPT, serving.script(use).encode())
    store.set_aside(best)
    beside.rename(best)


def use_of(recipe: Recipe, store: Store, candidate: Candidate, shipped: Shipping) -> Use:
    """How the candidate was asked at the gate, and so is to be asked in use."""
    student, spec = candidate.student, recipe.students[candidate.student]
    _, unit = gate_units(recipe, store, candidate)
    decoding = _facts(store, store.folder(SHIP, *unit.key))["decoding"]
    packed = spec.serve.quantization if spec.serve else spec.backend_options.get("quantization")
    return Use(
        student=student,
        name=candidate.arm,
        tag=recipe.tag_of(candidate.arm),
        ask=_template(recipe),
        chat_template_kwargs=_template_kwargs(recipe, student, candidate.arm),
        max_tokens=shipped.scored.max_tokens or decoding.get("max_tokens"),
        decoding={k: v for k, v in decoding.items() if k in serving.DECODING},
        engine={"dtype": backend_options(recipe, student)["dtype"], **({"quantization": packed} if packed else {})},
    )


def _note(shipped: Shipping) -> str:
    """What the evidence is."""
    of = "one look" if shipped.looks == 1 else f"{shipped.looks} looks, for which the interval is widened"
    whole = shipped.levels[0]
    return (
        f"It was trained on all that its teachers had verified, and, asked as `{shipped.arm}`, took the place of the "
        f"untuned student (`{shipped.base}`) at a gate of {whole.problems:,} problems that nothing was chosen on, "
        f"after {of}: {'; '.join(shipped.why)}. It solves {whole.learnt:,} of them that the untuned student does not. "
        f"All figures: `{EVIDENCE}`."
    )
