"""A run folder -> its `Evidence`: what was scored, what really happened in every cell, and what is missing.

Only evaluations whose identity still matches the recipe count; everything else is reported as missing. A training that
no longer matches is shown with what it was made with, and said to be a confound.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mixdistill import evaluate
from mixdistill.arms import BY, called
from mixdistill.errors import Diverged
from mixdistill.evidence import looks, means, paraphrased
from mixdistill.evidence.confound_table import Cell, Trained, confound_tables
from mixdistill.evidence.confounds import OTHERWISE, confounds
from mixdistill.evidence.curves import over_training
from mixdistill.evidence.gaps import accuracies, gaps
from mixdistill.evidence.gather_details import details
from mixdistill.evidence.next_steps import next_steps
from mixdistill.evidence.readings import agreement, cell_of, read
from mixdistill.evidence.rows import (
    ArmFacts,
    CellFacts,
    Confound,
    Evidence,
    Primary,
    SharedFacts,
    StudentFacts,
    TeacherFacts,
)
from mixdistill.evidence.solved import Solved, judged, levels_of, shared
from mixdistill.evidence.verdicts import CANNOT_TELL
from mixdistill.evidence.views import decided_on, sizes
from mixdistill.files import parameters, versions
from mixdistill.pipeline import sessions_seconds
from mixdistill.problems import Shared, shared_line
from mixdistill.recipe import BASE, Recipe, render
from mixdistill.refusals import other_problems
from mixdistill.store import Store
from mixdistill.training.snapshots import MODEL
from mixdistill.types import Interval, Outcome, Problem, Score
from mixdistill.units import STARTED, State, Unit, changed_keys, plan
from mixdistill.verify import DECISIONS, accepted

NO_VERDICT = f"{CANNOT_TELL} (smoke run)"
SMOKE = Confound(
    severity="red",
    text="Smoke run: models, data and traces are made up, so no number here is a result.",
    field="smoke",
    values={},
)


def gather(recipe: Recipe, store: Store) -> Evidence:
    """Everything the report shows."""
    levels = {b: _levels(store, b) for b in recipe.problems.eval}
    states, diverged = plan(recipe, store, "evaluate"), _diverged(recipe, store)
    done, worded = paraphrased.parted([unit for unit, s in states if s is State.DONE])
    absent = _absent([unit for unit, s in states if s is not State.DONE], diverged)
    answers = read(recipe, store, done)
    words = paraphrased.read_all(recipe, store, [*done, *worded])
    pay = partial(looks.pay, looks.read(store), once=recipe.looks == "once")
    found = gaps(recipe, answers.correct, levels, pay, {(student, arm, b) for student, arm, _, b in absent})
    if recipe.smoke:
        found = {way: [gap.model_copy(update={"verdict": NO_VERDICT}) for gap in rows] for way, rows in found.items()}
    declared, *others = found
    scores = [s for unit in done for s in store.read(store.folder("evaluate", *unit.key), Score, evaluate.SCORES)]
    trained, curves = trainings(recipe, store), over_training(recipe, store)
    differences, changed = confound_tables(recipe, trained), _changed(recipe, store, trained)
    cells = [_cell_facts(store, cell, marker) for cell, marker in trained.items()]
    cells_done = {cell_of(unit.key) for unit in done}
    evaluated = [(u, _marker(store, u)) for u in done]
    primary = recipe.primary_or_first()
    teachers, students = judged(recipe, store), _students(recipe, store)
    evidence = Evidence(
        name=recipe.name,
        question=recipe.description,
        smoke=recipe.smoke,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        primary=Primary(**primary.model_dump()) if primary else None,
        verifier=recipe.verifier_on(*decided_on(recipe, sizes(levels))[1]),
        rule=recipe.verify.counts,
        budget=recipe.budget.unit,
        variants=recipe.variants[1:],
        students=students,
        arms=_arms(recipe, cells_done),
        teachers=[_teacher(recipe, store, t) for t in teachers],
        solved=shared(teachers, levels_of(store)),
        shared=_shared(recipe, store),
        cells=cells,
        scores=scores,
        accuracies=accuracies(recipe, answers.correct[recipe.verify.counts], scores, levels),
        gaps=found[declared],
        gaps_by_rule=[gap for way in others if not way.variant for gap in found[way]],
        gaps_by_variant=[gap for way in others if way.variant for gap in found[way]],
        alike=answers.alike,
        readings=answers.facts,
        agreement=agreement(recipe, store, done),
        confounds=[
            *([SMOKE] if recipe.smoke else []),
            *_made_otherwise(recipe, store),
            *confounds(recipe, differences, trained, evaluated, changed, curves.moving, diverged),
        ],
        confound_tables=differences,
        dev_points=curves.points,
        dev_gaps=curves.gaps,
        moving=curves.moving,
        details=details(
            recipe, store, done, answers.correct[recipe.verify.counts], found[declared], curves, levels, students
        ).model_copy(update={"paraphrased": words.rows, "turned_wordings": words.notes}),
        cells_wanted=len(recipe.cells()),
        missing=_missing(recipe, cells_done, set(trained), diverged) + _unasked(absent),
        diverged=["/".join(map(str, cell)) for cell in diverged if cell not in trained],
        notes=_failed_requests(store, done) + _without_dev(curves.left_out) + _notes(recipe, store),
        command=_command(store),
        recipe=render(recipe),
        versions=versions() | _commit(),
        seconds=sessions_seconds(store),
    )
    return _with_next_steps(evidence)


def _with_next_steps(evidence: Evidence) -> Evidence:
    """What to do now follows from everything else."""
    details = evidence.details.model_copy(update={"next_steps": next_steps(evidence)})
    return evidence.model_copy(update={"details": details})


def _arms(recipe: Recipe, done: set[tuple[str, str, int | None, str]]) -> list[ArmFacts]:
    """Every name that a student is scored under."""
    bases = [BASE, *sorted({arm for _, arm, *_ in done if called(arm).arm == BASE and arm != BASE})]
    names = [mode for arm in recipe.trained for mode in recipe.modes(arm)]
    return [
        *(ArmFacts(name=name, weights={}) for name in bases),
        *(ArmFacts(name=name, weights=recipe.arm(name).weights) for name in names),
    ]


def _levels(store: Store, benchmark: str) -> dict[str, set[str]]:
    """Group -> problem ids: `all`, every level and every subject."""
    groups: dict[str, set[str]] = defaultdict(set)
    for p in store.read(store.folder("problems"), Problem, benchmark):
        for group in evaluate.groups_of(p):
            groups[group].add(p.id)
    return dict(sorted(groups.items(), key=lambda g: (g[0] != evaluate.ALL, g[0])))


def _teacher(recipe: Recipe, store: Store, solved: Solved) -> TeacherFacts:
    name, rates = solved.name, solved.rates
    columns = ["id", "problem_id", "sample", "finish_reason", "error"]
    traces = store.frame(store.folder("generate", name), "traces", columns)
    asked, samples = store.ids(store.folder("problems"), "train"), recipe.teachers[name].most_samples
    traces = traces.filter(traces["problem_id"].is_in(sorted(asked)) & (traces["sample"] < samples))
    judged = traces.filter(traces["error"].is_null())
    decisions = store.frame(store.folder("verify", name), DECISIONS, ["trace_id", "outcome"])
    # They may stem from a recipe that asked for more; only those on the traces counted here count.
    decisions = decisions.filter(decisions["trace_id"].is_in(judged["id"].to_list()))
    outcomes = Counter(decisions["outcome"].to_list())
    rows = store.frame(store.folder("analyze", name), "complexity") if _has(store, "analyze", name) else None
    measured = rows.filter(rows["trace_id"].is_in(judged["id"].to_list())) if rows is not None else None
    metrics = _metrics(measured, judged) if measured is not None else {}
    tokens = sorted(v for each in metrics.values() for m in each if (v := m["tokens"]) is not None)
    step_counts = [v for each in metrics.values() for m in each if (v := m.get("steps")) is not None]
    return TeacherFacts(
        name=name,
        model=recipe.teachers[name].model,
        backend=recipe.teachers[name].backend,
        problems=traces["problem_id"].n_unique(),
        traces=len(judged),
        errors=len(traces) - len(judged),
        correct=outcomes[Outcome.CORRECT],
        incorrect=outcomes[Outcome.INCORRECT],
        no_answer=outcomes[Outcome.NO_ANSWER],
        truncated=outcomes[Outcome.TRUNCATED],
        error_verdicts=outcomes[Outcome.ERROR],
        finished=int((judged["finish_reason"] == "stop").sum()),
        pass_rate=solved.pass_rate,
        accepted=accepted(store, name).join(traces, on="id", how="semi")["problem_id"].n_unique(),
        tokens_mean=sum(tokens) / len(tokens) if tokens else None,
        tokens_median=means.quantile(tokens, 0.5) if tokens else None,
        tokens_p90=means.quantile(tokens, 0.9) if tokens else None,
        steps_mean=sum(step_counts) / len(step_counts) if step_counts else None,
        intervals=_teacher_intervals(rates, metrics),
    )


def _metrics(measured: Any, judged: Any) -> dict[str, list[dict[str, float | None]]]:
    """Problem -> the metrics of each trace of it."""
    problem_of = dict(judged.select("id", "problem_id").iter_rows())
    found: dict[str, list[dict[str, float | None]]] = defaultdict(list)
    for trace, metrics in measured.select("trace_id", "metrics").iter_rows():
        found[problem_of[trace]].append(json.loads(metrics))
    return found


def _teacher_intervals(
    rates: dict[str, float], metrics: dict[str, list[dict[str, float | None]]]
) -> dict[str, Interval]:
    """As `TeacherFacts.intervals` has them."""
    import numpy as np

    def samples(name: str) -> means.Samples:
        kept = {p: [v for m in each if (v := m.get(name)) is not None] for p, each in metrics.items()}
        return {p: values for p, values in kept.items() if values}

    found = {
        "pass_rate": means.of_share(np.array([list(rates.values())])) if len(rates) > 1 else None,
        "tokens_mean": means.of_mean(samples("tokens")),
        "tokens_median": means.of_quantile(samples("tokens"), 0.5),
        "tokens_p90": means.of_quantile(samples("tokens"), 0.9),
        "steps_mean": means.of_mean(samples("steps")),
    }
    return {name: interval for name, interval in found.items() if interval is not None}


def _shared(recipe: Recipe, store: Store) -> list[SharedFacts]:
    """One row per group of compared arms and student, equal ones once."""
    found: list[SharedFacts] = []
    for student, arm, seed in recipe.cells():
        folder = store.folder("mix", student, arm, str(seed))
        marker = store.marker(folder)
        if marker is None:
            continue
        drops = store.frame(folder, "dropped")
        lacking = drops.filter(drops["trace_id"].is_null())["teacher"].to_list()
        row = SharedFacts(
            arms=recipe.group_of(arm),
            problems=marker["facts"]["problems"],
            lost={f"no usable trace of {t}": n for t, n in sorted(Counter(lacking).items())},
        )
        if row not in found:
            found.append(row)
    return found


def _cell_facts(store: Store, cell: Cell, train: dict[str, Any]) -> CellFacts:
    """What a training did, and the mix that it was fed then: its own copy, since a mix may have been drawn anew."""
    student, arm, seed = cell
    facts, mix = train["facts"], train["facts"]["mix"]
    drawn = mix["facts"]
    return CellFacts(
        student=student,
        arm=arm,
        seed=seed,
        updates=facts["updates"],
        examples=facts["examples"],
        distinct_problems=drawn["distinct_problems"],
        epochs=drawn["epochs"],
        loss_tokens=facts["loss_tokens"],
        share_examples=drawn["share_examples"],
        share_loss_tokens=drawn["share_loss_tokens"],
        # Traces that were dropped; problems that left are counted beside them.
        dropped={k: v for k, v in mix["counts"].items() if not k.startswith("problems_")},
        learning_rate=facts["peak_learning_rate"],
        final_loss=facts["final_loss"],
        seconds=train["seconds"],
        device=facts["device"],
    )


def trainings(recipe: Recipe, store: Store) -> Trained:
    """The markers of the trainings that there are; one without a copy of its mix gets that of the mix that is there."""
    found: Trained = {}
    for student, arm, seed in recipe.cells():
        marker = store.marker(store.folder("train", student, arm, str(seed)))
        if marker is not None:
            mix = marker["facts"].get("mix") or store.marker(store.folder("mix", student, arm, str(seed)))
            if mix is not None:
                found[(student, arm, seed)] = {**marker, "facts": {**marker["facts"], "mix": mix}}
    return found


def _command(store: Store) -> str:
    """What carries this run on as it was made: in its own folder, with its own limit."""
    limit = ((store.marker(store.folder("problems")) or {}).get("options") or {}).get("limit")
    words = ["mixdistill", "run", str(store.root / "recipe.yaml"), "--out", str(store.root)]
    return shlex.join([*words, *(["--limit", str(limit)] if limit else [])])


def _made_otherwise(recipe: Recipe, store: Store) -> list[Confound]:
    """Where problems, traces or verdicts in the folder are another recipe's than the one that is reported."""
    lines = ["the training problems"] if other_problems(recipe, store) else []
    for stage in ("generate", "verify"):
        changed = [u for u, s in plan(recipe, store, stage) if s is State.CHANGED]
        lines += [f"{u.label}: {'; '.join(changed_keys(u, store))}" for u in changed]
    text = "Not made as the recipe now says: {}."
    return [Confound(severity="red", text=text.format(line), field=OTHERWISE, values={}) for line in lines]


def _changed(recipe: Recipe, store: Store, trained: Trained) -> dict[Cell, list[str]]:
    """What the recipe now says otherwise than trainings that there are, and their mixes, were made with."""
    found: dict[Cell, list[str]] = defaultdict(list)
    for stage in ("mix", "train"):
        for unit, s in plan(recipe, store, stage):
            student, arm, seed = unit.key
            cell = (student, arm, int(seed))
            # A training whose mix is being drawn anew is blocked, not changed.
            if cell in trained and (s is State.CHANGED or (s is State.BLOCKED and stage == "train")):
                found[cell] += [line for line in changed_keys(unit, store) if line not in found[cell]]
    return dict(found)


def _marker(store: Store, unit: Any) -> dict[str, Any]:
    return store.marker(store.folder(unit.stage, *unit.key)) or {}


def _has(store: Store, stage: str, name: str) -> bool:
    return store.marker(store.folder(stage, name)) is not None


def _students(recipe: Recipe, store: Store) -> list[StudentFacts]:
    found = []
    for name, spec in recipe.students.items():
        found.append(StudentFacts(name=name, model=spec.model, parameters=_parameters(store, name)))
    return sorted(found, key=lambda s: s.parameters or 0)


def _parameters(store: Store, student: str) -> int | None:
    """Weights of a student, as its trainings noted them, whose models may be gone; of those of before, from a model."""
    cells = sorted(store.folder("train", student).glob("*/*"))
    noted = ((store.marker(cell) or {}).get("facts", {}).get("parameters") for cell in cells)
    return next(filter(None, noted), None) or next(filter(None, (parameters(cell / MODEL) for cell in cells)), None)


def _diverged(recipe: Recipe, store: Store) -> dict[Cell, str]:
    """Trainings that ended because they went wrong, and how."""
    found: dict[Cell, str] = {}
    for student, arm, seed in recipe.cells():
        begun = store.folder("train", student, arm, str(seed)) / STARTED
        told = json.loads(begun.read_text(encoding="utf-8")) if begun.exists() else {}
        if told.get("error") == Diverged.__name__:
            found[student, arm, seed] = told["failed"]
    return found


def _missing(
    recipe: Recipe, done: set[tuple[str, str, int | None, str]], there: set[Cell], diverged: dict[Cell, str]
) -> list[str]:
    """Trainings that are not there, and those without an evaluation on every benchmark, in every mode."""
    found = []
    for student, trained, seed in recipe.cells():
        modes, is_there = recipe.modes(trained), (student, trained, seed) in there
        for arm in modes if is_there else modes[:1]:
            lost = [b for b in recipe.problems.eval if (student, arm, seed, b) not in done]
            if lost:
                words = f" ({BY[called(arm).variant]})" if called(arm).variant else ""
                what = f"not evaluated on {', '.join(lost)}" if is_there else "not trained"
                why = diverged.get((student, trained, seed), f"{what}; run the recipe again")
                found.append(f"{student}/{arm}/{seed}{words}: {why}")
    return found


def _absent(units: list[Unit], diverged: Mapping[Cell, str]) -> list[tuple[str, str, int | None, str]]:
    """(student, arm, seed, benchmark) of the evaluations that are still to come: not those of a training that went
    wrong for good."""
    found = [cell_of(unit.key) for unit in units]
    return [e for e in found if e[2] is None or (e[0], called(e[1]).trained, e[2]) not in diverged]


def _unasked(absent: list[tuple[str, str, int | None, str]]) -> list[str]:
    """Untuned students that were not asked in every way, and everything that was not asked in other words."""
    found: dict[str, list[str]] = defaultdict(list)
    for student, arm, seed, benchmark in absent:
        if called(arm).arm == BASE or called(arm).wording:
            found["/".join(map(str, filter(lambda part: part is not None, (student, arm, seed))))].append(benchmark)
    return [f"{who}: not evaluated on {', '.join(where)}; run the recipe again" for who, where in found.items()]


def _failed_requests(store: Store, done: list[Unit]) -> list[str]:
    """Of which evaluations requests failed for good."""
    failed = {}
    for unit in done:
        folder = store.folder(unit.stage, *unit.key)
        lost = store.ids(folder, unit.table) - store.ids(folder, unit.table, without_error=True)
        if lost and (n := len(lost.intersection(unit.wanted))):
            failed["/".join(unit.key)] = n
    where = ", ".join(f"{cell} {n:,}" for cell, n in failed.items())
    if not failed:
        return []
    return [
        f"{sum(failed.values()):,} requests of the evaluation failed ({where}). They count as errors: as not correct, "
        "with bounds beside the accuracies."
    ]


def _without_dev(cells: list[str]) -> list[str]:
    """Which trainings say nothing of the way there."""
    if not cells:
        return []
    what = "1 training was" if len(cells) == 1 else f"{len(cells)} trainings were"
    return [f"{what} not asked the dev problems that there are now; the gap over training is without them."]


def _notes(recipe: Recipe, store: Store) -> list[str]:
    problems = store.marker(store.folder("problems")) or {"counts": {}}
    notes = [f"Problems: {why}: {n:,} dropped." for why, n in problems["counts"].items()]
    notes += [f"Benchmarks: {shared_line(which, Shared(**s))}." for which, s in problems.get("shared", {}).items()]
    if recipe.problems.train.source.startswith("lab:"):
        notes.append(
            "The lab's students are tiny and its problems are puzzles: this shows that the instrument works and what "
            "such students do, not what a language model of billions of weights would."
        )
        notes.append(
            "There is one pretrained base per size here, so a difference between sizes is one draw of each: the "
            "intervals speak about training seeds and problems, not about other pretrainings."
        )
    return notes


def _commit() -> dict[str, str]:
    """The git commit of this package, where it is run from a checkout of its own and not only lies inside another."""
    try:
        _git("ls-files", "--error-unmatch", __file__)
        return {"git commit": _git("rev-parse", "--short", "HEAD")}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(*words: str) -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=5, check=True, cwd=here)
    return done.stdout.strip()
