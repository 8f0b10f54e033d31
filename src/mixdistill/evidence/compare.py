"""Two runs held against each other: an arm of one against an arm of the other, and a gap of one against that gap there.

Only problems that both runs have count. Seeds of one number are a pair where they stand for the same draw in both runs,
as in a study; else each run's seeds are its own (unpaired.py). Nothing across runs was declared before they were made,
so all of it is exploratory.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mixdistill import evaluate
from mixdistill.arms import BASE, called
from mixdistill.errors import DataError, StoreError
from mixdistill.evidence import stats, verdicts
from mixdistill.evidence.compared import Across, BaseCheck, CommonProblems, Compared, RunFacts
from mixdistill.evidence.confound_table import Trained
from mixdistill.evidence.gaps import Cells
from mixdistill.evidence.gather import NO_VERDICT, trainings
from mixdistill.evidence.readings import read
from mixdistill.evidence.unpaired import difference
from mixdistill.evidence.verdicts import CANNOT_TELL
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Rule
from mixdistill.units import Extent, Unit

Key = tuple[str, ...]
"""Of an evaluation: student, arm, its seed where it has one, benchmark."""


@dataclass(frozen=True)
class Side:
    """What one run brings into a comparison, read from what lies in its folder: also of a run that goes on."""

    letter: str
    root: Path
    recipe: Recipe
    correct: dict[Rule, Cells]
    """Every reading -> what is correct."""
    problems: dict[str, frozenset[str]]
    """Benchmark -> ids."""
    trained: Trained
    evaluated: dict[Key, dict[str, Any]]
    """The evaluations' markers."""
    wanted: int

    @property
    def facts(self) -> RunFacts:
        """It in a row."""
        done, name = len(self.evaluated), self.recipe.name
        where, smoke = str(self.root), self.recipe.smoke
        return RunFacts(letter=self.letter, path=where, name=name, evaluated=done, wanted=self.wanted, smoke=smoke)

    def arms(self, student: str) -> list[str]:
        """Arms of a student that were scored on some benchmark, in the recipe's order, its untuned self first."""
        return list(dict.fromkeys(arm for s, arm, *_ in self.evaluated if s == student))

    def scores(self, rule: Rule, student: str, arm: str, benchmark: str, cap: int | None) -> stats.Scores:
        """Seed -> problem -> score; empty where it was not scored so."""
        found = {}
        for (s, a, seed, b), by_cap in self.correct[rule].items():
            if (s, a, b) == (student, arm, benchmark) and cap in by_cap:
                found[seed] = {p: v for p, v in by_cap[cap].items() if p in self.problems[benchmark]}
        return found

    def limit(self, student: str, benchmark: str) -> int | None:
        """Most tokens of an answer, as it was decoded."""
        limits = [m["facts"]["decoding"].get("max_tokens") for k, m in self.evaluated.items()
                  if (k[0], k[-1]) == (student, benchmark)]  # fmt: skip
        return max((n for n in limits if n), default=None)


def side(letter: str, root: Path, recipe: Recipe) -> Side:
    """Read a run folder. Raises StoreError where nothing is evaluated yet."""
    store = Store(root)
    keys: list[Key] = [(*c, b) for c in evaluate.cells(recipe, store) for b in recipe.problems.eval]
    markers = {key: store.marker(store.folder("evaluate", *key)) for key in keys}
    evaluated = {key: marker for key, marker in markers.items() if marker is not None}
    if not evaluated:
        raise StoreError(f"{root}: nothing is evaluated yet; carry it out first: mixdistill run {root / 'recipe.yaml'}")
    asked = {b: store.problem_ids(b) for b in recipe.problems.eval}
    wanted = {key: Extent("", asked[key[-1]], marker["options"]["k"]) for key, marker in evaluated.items()}
    answers = read(recipe, store, [Unit("evaluate", key, {}, wanted=extent) for key, extent in wanted.items()])
    correct = {**answers.correct, **{rule: answers.correct[like] for rule, like in answers.alike.items()}}
    ids = {b: frozenset(of) for b, of in asked.items()}
    return Side(letter, root, recipe, correct, ids, trainings(recipe, store), evaluated, len(keys))


def compare(first: Side, second: Side, arms: tuple[str, str] | None = None) -> Compared:
    """The first run minus the second: every arm and contrast that both have, or one arm against another one.

    Raises DataError where they have nothing in common.
    """
    from mixdistill.evidence.compare_confounds import tables, within

    students = [s for s in _students(first) if s in _students(second)]
    if not students:
        raise _nothing(first, second, "student", _students(first), _students(second))
    shared = _problems(first, second)
    rule = first.recipe.verify.counts
    found = list(_differences(first, second, students, [p.benchmark for p in shared], rule, arms))
    if not found:
        ours, theirs = ([a for s in students for a in x.arms(s)] for x in (first, second))
        raise _nothing(first, second, "arm", ours, theirs)
    across = tables(first, second, found)
    return Compared(
        runs=(first.letter, second.letter),
        rule=rule,
        problems=shared,
        differences=found,
        base=list(_base(first, second, students, [p.benchmark for p in shared], rule)),
        tables=across,
        within=within(first, found, across),
        notes=[*_rules(first, second), *_same_trainings(first, second, students)],
    )


def _students(run: Side) -> list[str]:
    return list(dict.fromkeys(key[0] for key in run.evaluated))


def _nothing(first: Side, second: Side, what: str, ours: list[str], theirs: list[str]) -> DataError:
    names = "; ".join(
        f"{r.root}: {', '.join(dict.fromkeys(n)) or 'none'}" for r, n in ((first, ours), (second, theirs))
    )
    return DataError(f"compare: no {what} in common ({names}); compare runs that share one")


def _problems(first: Side, second: Side) -> list[CommonProblems]:
    """Of every benchmark of both. Raises DataError where no problem is common."""
    guards = {*first.recipe.problems.guards, *second.recipe.problems.guards}  # of which there are no gaps
    names = [b for b in first.problems if b in second.problems and b not in guards]
    if not names:
        raise _nothing(first, second, "benchmark", [*first.problems], [*second.problems])
    found = []
    for name in names:
        ours, theirs = first.problems[name], second.problems[name]
        found.append(CommonProblems(benchmark=name, common=len(ours & theirs), of=(len(ours), len(theirs))))
    if not any(p.common for p in found):
        raise DataError(
            f"compare: no problem in common ({first.root} and {second.root} were asked other problems of "
            f"{', '.join(names)}); evaluate both on the same ones"
        )
    return [p for p in found if p.common]


# -- differences ------------------------------------------------------------------------------------------------------


class _What(NamedTuple):
    """One thing to compare: an arm of either run, or a pair of arms whose gap it is."""

    kind: Literal["arm", "gap"]
    name: str
    arms: tuple[tuple[str, ...], tuple[str, ...]]
    """Of either run: (arm,) or (arm, the arm it is held against)."""


def _whats(first: Side, second: Side, student: str, arms: tuple[str, str] | None) -> list[_What]:
    if arms is not None:
        return [_What("arm", arms[0], ((arms[0],), (arms[1],)))]
    theirs = second.arms(student)
    both = [a for a in first.arms(student) if a in theirs and called(a).arm != BASE]
    gaps = [
        _What("gap", name, pairs)
        for name in first.recipe.contrasts
        if name in second.recipe.contrasts
        for pairs in _common_pairs(first.recipe.pairs(name), second.recipe.pairs(name))
    ]
    return [*(_What("arm", a, ((a,), (a,))) for a in both), *gaps]


def _common_pairs(
    ours: list[tuple[str, str]], theirs: list[tuple[str, str]]
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """The same pair in both; one contrast of one pair is the same by its name, whatever its arms are called."""
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]
    return [(pair, pair) for pair in ours if pair in theirs]


def _differences(
    first: Side,
    second: Side,
    students: list[str],
    benchmarks: list[str],
    rule: Rule,
    arms: tuple[str, str] | None,
) -> Iterator[Across]:
    for student, benchmark in itertools.product(students, benchmarks):
        for caps in _caps(first, second, student, benchmark):
            for what in _whats(first, second, student, arms):
                ours, theirs = (
                    _of(x, rule, student, of, benchmark, cap)
                    for x, of, cap in zip((first, second), what.arms, caps, strict=True)
                )
                if ours and theirs:
                    pair = paired(first, second, student, what.arms)
                    yield _across(first, second, what, student, benchmark, _shown(caps), ours, theirs, pair)


def _caps(first: Side, second: Side, student: str, benchmark: str) -> list[tuple[int | None, int | None]]:
    """Token caps that both runs have: a generation's own limit in one may be a cap in the other. Whole answers where
    there is no common one; that is red then."""
    sides = []
    for x in (first, second):
        limit = x.limit(student, benchmark)
        sides.append({limit: None} | {cap: cap for cap in x.recipe.on(benchmark).evaluate.caps})
    ours, theirs = sides
    return [(ours[n], theirs[n]) for n in ours if n in theirs] or [(None, None)]


def _shown(caps: tuple[int | None, int | None]) -> int | None:
    return next((cap for cap in caps if cap is not None), None)


def _of(run: Side, rule: Rule, student: str, arms: tuple[str, ...], benchmark: str, cap: int | None) -> stats.Scores:
    """Scores of an arm, or seed by seed the gap of two; empty where there are none."""
    found = [run.scores(rule, student, arm, benchmark, cap) for arm in arms]
    if len(found) == 1 or not all(found):
        return found[0] if all(found) else {}
    a, b = found
    seeds = set(a) - {None} if None in b else set(b) - {None} if None in a else set(a) & set(b)
    one = {seed: (a.get(seed, a.get(None, {})), b.get(seed, b.get(None, {}))) for seed in seeds}
    return {s: {p: x[p] - y[p] for p in x.keys() & y.keys()} for s, (x, y) in one.items()}


def paired(first: Side, second: Side, student: str, arms: tuple[tuple[str, ...], tuple[str, ...]]) -> bool:
    """Whether seeds of one number stand for the same draw in both runs: at two seeds or more, and at every common one,
    the same problems, updates, settings, untuned weights and seed of the trainer."""
    ours, theirs = (_draws(x, student, of) for x, of in zip((first, second), arms, strict=True))
    both = ours.keys() & theirs.keys()
    return len(both) > 1 and all(ours[seed] == theirs[seed] for seed in both)


def _draws(run: Side, student: str, arms: tuple[str, ...]) -> dict[int, set[str]]:
    """Seed -> what decided the draw of its trainings."""
    found: dict[int, set[str]] = {}
    for (s, arm, seed), marker in run.trained.items():
        if s == student and arm in {called(a).trained for a in arms}:
            facts, options = marker["facts"], marker["options"]
            said = [facts.get("problems"), facts.get("updates"), facts.get("seed"), options["model"], options["train"]]
            found.setdefault(seed, set()).add(json.dumps(said, sort_keys=True, default=str))
    return found


def _across(
    first: Side,
    second: Side,
    what: _What,
    student: str,
    benchmark: str,
    cap: int | None,
    ours: stats.Scores,
    theirs: stats.Scores,
    pair: bool,
) -> Across:
    common = set.intersection(*(set(row) for row in (*ours.values(), *theirs.values())))
    ours, theirs = ({s: {p: row[p] for p in common} for s, row in x.items()} for x in (ours, theirs))
    if pair and None not in {*ours, *theirs}:
        seeds = ours.keys() & theirs.keys()
        ours, theirs = ({s: x[s] for s in seeds} for x in (ours, theirs))
    if pair or None in {*ours, *theirs}:
        found = stats.gap(stats.paired(ours, theirs))
    else:
        found = difference(stats.matrix(ours), stats.matrix(theirs))
    return Across(
        kind=what.kind,
        name=what.name,
        of=(" - ".join(what.arms[0]), " - ".join(what.arms[1])),
        student=student,
        benchmark=benchmark,
        max_tokens=cap,
        values=(float(stats.matrix(ours).mean()), float(stats.matrix(theirs).mean())),
        delta=found.delta,
        checkpoints=found.checkpoints,
        data=found.data,
        p=found.p,
        trained=None not in {*ours, *theirs},
        paired=pair,
        seeds=(len(ours), len(theirs)),
        problems=found.problems,
        verdict=_verdict("higher" if what.kind == "arm" else "larger", first, second, found),
    )


def _verdict(word: str, first: Side, second: Side, found: stats.Estimate) -> str:
    """What *this data* says of enough problems, whatever else differs; nothing of what a smoke run made up."""
    if first.recipe.smoke or second.recipe.smoke:
        return NO_VERDICT
    if found.problems < 2:
        return f"{CANNOT_TELL} (one problem)"
    if found.data is None:
        return f"{CANNOT_TELL} (one seed)"
    if found.problems < verdicts.FEWEST:
        return verdicts.FEW
    if found.data.low <= 0 <= found.data.high:
        return CANNOT_TELL
    return f"{word} in {first.letter if found.delta > 0 else second.letter}"


# -- checks -----------------------------------------------------------------------------------------------------------


def _base(first: Side, second: Side, students: list[str], benchmarks: list[str], rule: Rule) -> Iterator[BaseCheck]:
    """The untuned students that both runs asked, in every way in which both did, without a cap."""
    for student, benchmark in itertools.product(students, benchmarks):
        caps = _caps(first, second, student, benchmark)[0]
        for arm in [a for a in first.arms(student) if called(a).arm == BASE]:
            ours, theirs = (
                x.scores(rule, student, arm, benchmark, cap).get(None, {})
                for x, cap in zip((first, second), caps, strict=True)
            )
            common = ours.keys() & theirs.keys()
            if common:
                one, other = ({p: row[p] for p in common} for row in (ours, theirs))
                yield BaseCheck(
                    student=student,
                    arm=arm,
                    benchmark=benchmark,
                    max_tokens=_shown(caps),
                    values=(sum(one.values()) / len(one), sum(other.values()) / len(other)),
                    problems=len(common),
                    differing=sum(one[p] != other[p] for p in common),
                    unlike=_unlike(first.evaluated[student, arm, benchmark], second.evaluated[student, arm, benchmark]),
                )


def _unlike(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What an untuned student's answers follow from and is not the same in two evaluations of it."""
    a, b = (_followed(m) for m in (ours, theirs))
    return [name for name in {**a, **b} if a.get(name) != b.get(name)]


def _followed(marker: dict[str, Any]) -> dict[str, Any]:
    """Everything but the token limit: answers are compared at one that both have."""
    options = marker["options"]
    sampling = {k: v for k, v in options.get("sampling", {}).items() if k != "sampling"}
    drawn = {k: v for k, v in options.get("sampling", {}).get("sampling", {}).items() if k != "max_tokens"}
    graded = {k: v for k, v in options.items() if k.startswith("verif") or ": " in k}
    weights = [v for k, v in marker["inputs"].items() if k.startswith("train/")]
    rest = {k: v for k, v in graded.items() if k not in ("verify.rule", "verify.deadline", "verify.audit")}
    return {"untuned weights": weights, **sampling, **drawn, "samples per problem": options.get("k"), **rest}


def _rules(first: Side, second: Side) -> list[str]:
    ours, theirs = first.recipe.verify.counts, second.recipe.verify.counts
    if ours == theirs:
        return []
    return [f"{first.letter} counts the {ours} reading of the answers, {second.letter} the {theirs} one: "
            f"both are read by the {ours} one here."]  # fmt: skip


def _same_trainings(first: Side, second: Side, students: list[str]) -> list[str]:
    """Trainings whose weights are the very same: not two draws but one."""
    cells = [c for c in first.trained if c in second.trained and c[0] in students]
    same = [c for c in cells if (w := _weights(first, c)) is not None and w == _weights(second, c)]
    if not same:
        return []
    what = "training has" if len(same) == 1 else "trainings have"
    return [f"{len(same)} {what} the very same weights in both runs: between these, only the evaluation can differ."]


def _weights(run: Side, cell: tuple[str, str, int]) -> str | None:
    return run.trained[cell].get("tables", {}).get("model", {}).get("columns", {}).get("weights")
