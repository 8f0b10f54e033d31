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
    confound_table,
    differ_somewhere,
    own_settings,
)
from mixdistill.evidence.confounds import SAMPLING
from mixdistill.evidence.rows import ConfoundRow, ConfoundTable

if TYPE_CHECKING:
    from mixdistill.evidence.compare import Side
    from mixdistill.evidence.compared import Across

NOT_SETTINGS = ("verify.rule", "verify.deadline", "verify.audit")
"""What of the grading differs without a consequence here: both runs are read by one rule."""


def tables(first: Side, second: Side, found: list[Across]) -> list[ConfoundTable]:
    """One for every student, of the arms that are compared, called `A long`; the untuned student is no training."""
    return [_table(first, second, student, found) for student in dict.fromkeys(a.student for a in found)]


def _table(first: Side, second: Side, student: str, found: list[Across]) -> ConfoundTable:
    mine = [a for a in found if a.student == student]
    used = [list(dict.fromkeys(arm for a in mine for arm in a.of[n].split(" - "))) for n in (0, 1)]
    runs = list(zip((first, second), used, strict=True))
    trained: Trained = {}
    own: dict[str, str] = {}
    for run, arms in runs:
        for (s, arm, seed), marker in run.trained.items():
            if s == student and arm in {called(a).trained for a in arms}:
                trained[s, f"{run.letter} {arm}", seed] = marker
                own[f"{run.letter} {arm}"] = own_settings(run.recipe, arm)
    benchmarks = list(dict.fromkeys(a.benchmark for a in mine))
    further = [*_evaluation(runs, student, benchmarks), _limit(first, second, student, mine)]
    if not trained:  # untuned students alone
        return ConfoundTable(student=student, variant="", arms=_labels(runs), rows=further)
    budget = first.recipe.budget
    further += [_budgets(runs), _teachers(runs, student)]
    table = confound_table(student, list(own), trained, budget=budget, own=own, by_seed=False, further=further)
    pairs = [(f"{first.letter} {x}", f"{second.letter} {y}") for a in mine for x, y in _matched(a)]
    rows = [_same_in_both(row, pairs) for row in table.rows]
    return table.model_copy(update={"rows": sorted(rows, key=lambda row: row.state == "same")})


def _matched(found: Across) -> list[tuple[str, str]]:
    """The arms that are held against each other, the first run's first."""
    ours, theirs = ([called(arm).trained for arm in of.split(" - ")] for of in found.of)
    return list(zip(ours, theirs, strict=True))


def _same_in_both(row: ConfoundRow, pairs: list[tuple[str, str]]) -> ConfoundRow:
    """A note of what the arms of either run differ in alike says nothing of the runs."""
    if row.state != "note" or any(row.values.get(x) != row.values.get(y) for x, y in pairs):
        return row
    return row.model_copy(update={"state": "same", "why": ""})


def _labels(runs: list[tuple[Side, list[str]]]) -> list[str]:
    return [f"{run.letter} {arm}" for run, arms in runs for arm in arms]


def _evaluation(runs: list[tuple[Side, list[str]]], student: str, benchmarks: list[str]) -> Iterator[ConfoundRow]:
    """How the arms were asked and graded, on the benchmarks that are compared."""
    seen: dict[str, Places] = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
    for run, arms in runs:
        for key, marker in run.evaluated.items():
            if key[0] == student and key[1] in arms and key[-1] in benchmarks:
                for name, value in _settings(marker):
                    seen[name][f"{run.letter} {key[1]}"][None, key[-1]].add(value)
    for name, by_arm in seen.items():
        state: State = "same" if not differ_somewhere(by_arm) else "note" if name in NOTED else "red"
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
    values = {}
    for run, _ in runs:
        budget = run.recipe.budget
        values[run.letter] = f"{budget.unit}, {budget.problems} problems"
    unlike = len(set(values.values())) > 1
    why = "The runs hold other things equal in every update." if unlike else ""
    return ConfoundRow(name="budget", state="red" if unlike else "same", why=why, values=values)


def _teachers(runs: list[tuple[Side, list[str]]], student: str) -> ConfoundRow:
    """What each arm is made of, and whose traces these are: the data itself."""
    values, unlike = {}, False
    for run, arms in runs:
        for arm in arms:
            if called(arm).arm in run.recipe.arms:
                weights = run.recipe.weights(arm, student)
                whose = {t: run.recipe.teachers[t] for t in weights}
                parts = [f"{w:g} {t} ({whose[t].backend} {whose[t].model})" for t, w in weights.items()]
                values[f"{run.letter} {arm}"] = ", ".join(parts)
    for arm in {label.partition(" ")[2] for label in values}:
        unlike |= len({v for label, v in values.items() if label.partition(" ")[2] == arm}) > 1
    why = "What the runs call by one name is made of other traces: this is the data itself." if unlike else ""
    return ConfoundRow(name="teachers", state="note" if unlike else "same", why=why, values=values)
