"""What besides the data was not the same in two runs: the confound table of a study, over the arms of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mixdistill.arms import called
from mixdistill.evidence.confound_table import (
    ABSENT,
    Places,
    State,
    Trained,
    common_budget,
    confound_table,
    differ_somewhere,
    own_settings,
)
from mixdistill.evidence.confounds import SAMPLING
from mixdistill.evidence.rows import ConfoundRow, ConfoundTable
from mixdistill.sections import Budget

if TYPE_CHECKING:
    from mixdistill.evidence.compare import Side
    from mixdistill.evidence.compared import Across

NOT_SETTINGS = ("verify.rule", "verify.deadline", "verify.audit")
"""What of the grading differs without a consequence here: both runs are read by one rule."""


def tables(first: Side, second: Side, found: list[Across]) -> list[ConfoundTable]:
    """One for every student and variant, of the arms that are compared, called `A long`; the untuned student is no
    training. A row is the same where no two arms that are held against each other differ in it."""
    return [_table(first, second, mine) for mine in _groups(found)]


def within(first: Side, found: list[Across], across: list[ConfoundTable]) -> list[ConfoundTable]:
    """What the arms of the compared gaps differ in besides their data, alike in both runs: the rows of the first run's
    own table that are red there and the same in `across`, the tables of these differences. No table without a row."""
    tables = [_own_table(first, mine, table) for mine, table in zip(_groups(found), across, strict=True)]
    return [table for table in tables if table.rows]


def _groups(found: list[Across]) -> list[list[Across]]:
    """The differences of one student whose arms are of one variant in either run."""
    groups: dict[tuple[str, ...], list[Across]] = defaultdict(list)
    for a in sorted(found, key=lambda a: [b.student for b in found].index(a.student)):
        groups[a.student, *(called(of.split(" - ")[0]).variant for of in a.of)].append(a)
    return list(groups.values())


def _table(first: Side, second: Side, mine: list[Across]) -> ConfoundTable:
    student = mine[0].student
    used = [list(dict.fromkeys(arm for a in mine for arm in a.of[n].split(" - "))) for n in (0, 1)]
    runs = list(zip((first, second), used, strict=True))
    pairs = list(dict.fromkeys(pair for a in mine for pair in _matched(first, second, a)))
    further = [*_evaluation(runs, student, _benchmarks(mine), pairs), _limit(first, second, student, mine)]
    trained, own = _trainings(runs, student)
    if not trained:  # untuned students alone
        return ConfoundTable(student=student, variant="", arms=_labels(runs), rows=further)
    budget = next(budget for budget in map(_budget, *zip(*runs, strict=True)) if budget)
    rows = confound_table(student, list(own), trained, budget=budget, own=own, by_seed=False).rows
    unlike: set[str] = set()
    for pair in {(_of_training(x), _of_training(y)) for x, y in pairs}:
        both = {cell: marker for cell, marker in trained.items() if cell[1] in pair}
        if {arm for _, arm, _ in both} == {*pair}:
            table = confound_table(student, list(pair), both, budget=budget, own=own, by_seed=False)
            unlike |= {row.name for row in table.rows if row.state != "same" and _differs(row, *pair)}
    further += [_budgets(runs), _teachers(runs, student, pairs)]
    rows = [row if row.name in unlike else row.model_copy(update={"state": "same", "why": ""}) for row in rows]
    rows = sorted([*rows, *further], key=lambda row: STATES.index(row.state))
    return ConfoundTable(student=student, variant=called(next(iter(own))).variant, arms=list(own), rows=rows)


STATES = ("red", "note", "same")


def _own_table(first: Side, mine: list[Across], across: ConfoundTable) -> ConfoundTable:
    """The red rows of one run's own table, over the arms of its compared gaps, that are the same in both runs."""
    gaps = [[f"{first.letter} {arm}" for arm in a.of[0].split(" - ")] for a in mine if a.kind == "gap"]
    arms = list(dict.fromkeys(label.partition(" ")[2] for pair in gaps for label in pair))
    student, runs = across.student, [(first, arms)]
    trained, own = _trainings(runs, student)
    rows = list(_evaluation(runs, student, _benchmarks(mine), [(x, y) for x, y in gaps]))
    if own and (budget := _budget(first, arms)):
        rows += confound_table(student, list(own), trained, budget=budget, own=own).rows
    alike = {row.name for row in across.rows if row.state == "same"}
    rows = [row for row in rows if row.state == "red" and row.name in alike]
    return ConfoundTable(student=student, variant=across.variant, arms=_labels(runs), rows=rows)


def _trainings(runs: list[tuple[Side, list[str]]], student: str) -> tuple[Trained, dict[str, str]]:
    """The trainings of these arms of either run; label -> what its recipe gives to that arm alone."""
    trained: Trained = {}
    own: dict[str, str] = {}
    for run, arms in runs:
        for (s, arm, seed), marker in run.trained.items():
            if s == student and arm in {called(a).trained for a in arms}:
                trained[s, f"{run.letter} {arm}", seed] = marker
                own[f"{run.letter} {arm}"] = own_settings(run.recipe, arm)
    return trained, own


def _budget(run: Side, arms: list[str]) -> Budget | None:
    """What arms of one variant have in common; None of the untuned student alone."""
    trained = [called(arm).trained for arm in arms if called(arm).arm in run.recipe.arms]
    return common_budget(run.recipe, trained) if trained else None


def _matched(first: Side, second: Side, found: Across) -> list[tuple[str, str]]:
    """The labels of the arms that are held against each other, the first run's first."""
    ours, theirs = ([f"{run.letter} {arm}" for arm in of.split(" - ")]
                    for run, of in zip((first, second), found.of, strict=True))  # fmt: skip
    return list(zip(ours, theirs, strict=True))


def _of_training(label: str) -> str:
    """Of an arm in one of its modes, the label of its training."""
    letter, _, arm = label.partition(" ")
    return f"{letter} {called(arm).trained}"


def _differs(row: ConfoundRow, x: str, y: str) -> bool:
    return row.values.get(x) != row.values.get(y)


def _benchmarks(found: list[Across]) -> list[str]:
    return list(dict.fromkeys(a.benchmark for a in found))


def _labels(runs: list[tuple[Side, list[str]]]) -> list[str]:
    return [f"{run.letter} {arm}" for run, arms in runs for arm in arms]


def _evaluation(
    runs: list[tuple[Side, list[str]]], student: str, benchmarks: list[str], pairs: list[tuple[str, str]]
) -> Iterator[ConfoundRow]:
    """How the arms were asked and graded, on the benchmarks that are compared; the same where no pair differs."""
    seen: dict[str, Places] = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
    for run, arms in runs:
        for key, marker in run.evaluated.items():
            if key[0] == student and key[1] in arms and key[-1] in benchmarks:
                for name, value in _settings(marker):
                    seen[name][f"{run.letter} {key[1]}"][None, key[-1]].add(value)
    everywhere = {(arm, place) for by_arm in seen.values() for arm, places in by_arm.items() for place in places}
    for name, by_arm in seen.items():
        for arm, place in everywhere:
            by_arm[arm].setdefault(place, {ABSENT})
        differ = any(differ_somewhere({x: by_arm[x], y: by_arm[y]}) for x, y in pairs if {x, y} <= by_arm.keys())
        state: State = "same" if not differ else "note" if name in NOTED else "red"
        text = f"The answers were not sampled or graded with the same {name.removeprefix(ASKED)}."
        if name == SAMPLES:
            text = "The arms were asked each problem a different number of times: one of them is measured less exactly."
        if name == STAGE:
            text = "The stage evaluated them in another version; how they were sampled and graded has rows of its own."
        values = {arm: " and ".join(sorted(set.union(*places.values()))) for arm, places in by_arm.items()}
        yield ConfoundRow(name=name, state=state, why="" if state == "same" else text, values=values)


ASKED = "evaluation: "
SAMPLES = f"{ASKED}samples per problem"
STAGE = f"{ASKED}version of the stage"
NOTED = (SAMPLES, STAGE)
"""What of an evaluation differs without making the comparison unfair by itself."""


def _settings(marker: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(name of a row, its value) of everything that an evaluation was carried out with."""
    facts, options = marker["facts"], marker["options"]
    decoding = {k: v for k, v in facts.get("decoding", {}).items() if k != "max_tokens"}
    yield f"{ASKED}decoding", ", ".join(f"{k} {v}" for k, v in decoding.items())
    yield f"{ASKED}template", str(facts.get("template", ABSENT))
    yield f"{ASKED}prompt", str(options.get("sampling", {}).get("ask", "the problem alone"))
    yield SAMPLES, str(options.get("k", ABSENT))
    yield STAGE, str(options.get("stage", ABSENT))
    for name, value in options.items():
        if (name.startswith("verif") or ": " in name) and name not in NOT_SETTINGS:
            yield f"{ASKED}{name.removeprefix('verify.').replace('_', ' ')}", str(value)
    for name, version in marker.get("versions", {}).items():
        if name not in SAMPLING:
            yield f"{ASKED}version of {name}", version
    for sampled in facts.get("sampled", []):
        for name, value in sampled.items():
            yield f"{ASKED}{name}", str(value)


def _limit(first: Side, second: Side, student: str, found: list[Across]) -> ConfoundRow:
    """Red where no token cap is common, so that answers of unlike limits had to be compared."""
    places = {a.benchmark for a in found if a.max_tokens is None}
    a, b = ({name: run.limit(student, name) for name in places} for run in (first, second))
    unlike = sorted({f"{a[name]} and {b[name]}" for name in places if a[name] != b[name]})
    values = {run.letter: ", ".join(sorted({str(n) for n in of.values()})) for run, of in ((first, a), (second, b))}
    text = f"Answers of unlike token limits ({'; '.join(unlike)}) are compared: no token cap is common."
    return _row("token limit", "red" if unlike else "same", text, values)


def _row(name: str, state: State, why: str, values: dict[str, str]) -> ConfoundRow:
    return ConfoundRow(name=f"{ASKED}{name}", state=state, why="" if state == "same" else why, values=values)


def _budgets(runs: list[tuple[Side, list[str]]]) -> ConfoundRow:
    """What every update was to hold, of each run."""
    budgets = {run.letter: _budget(run, arms) for run, arms in runs}
    values = {letter: f"{of.unit}, {of.problems} problems" for letter, of in budgets.items() if of}
    unlike = len(set(values.values())) > 1
    why = "The runs hold other things equal in every update." if unlike else ""
    return ConfoundRow(name="budget", state="red" if unlike else "same", why=why, values=values)


def _teachers(runs: list[tuple[Side, list[str]]], student: str, pairs: list[tuple[str, str]]) -> ConfoundRow:
    """What each arm is made of, and whose traces these are: the data itself."""
    values = {}
    for run, arms in runs:
        for arm in arms:
            if called(arm).arm in run.recipe.arms:
                weights = run.recipe.weights(arm, student)
                whose = {t: run.recipe.teachers[t] for t in weights}
                parts = [f"{w:g} {t} ({whose[t].backend} {whose[t].model})" for t, w in weights.items()]
                values[f"{run.letter} {arm}"] = ", ".join(parts)
    unlike = any(values[x] != values[y] for x, y in pairs if {x, y} <= values.keys())
    why = "What is held against each other is made of other traces: this is the data itself." if unlike else ""
    return ConfoundRow(name="teachers", state="note" if unlike else "same", why=why, values=values)
