"""What to do now, from everything that was found: one sentence each, the most useful first.

A step says no more than its verdict. Where a comparison was not fair, or is not there, mending it comes before what it
says; where nothing is decided, the step is what would decide it.
"""

from __future__ import annotations

import re
import shlex
from typing import Any, Literal

from mixdistill.arms import BASE, called, spoken
from mixdistill.evidence.rows import Evidence
from mixdistill.evidence.undertraining import FIELD as UNDERTRAINED
from mixdistill.evidence.verdicts import UNFINISHED
from mixdistill.page.headlines import base_is_higher
from mixdistill.page.measured import deciding_benchmarks, missing_words
from mixdistill.page.wording import (
    UNITS,
    decision,
    is_primary,
    listed,
    pct,
)
from mixdistill.recipe import AVERAGE
from mixdistill.types import Gap, Outcome
from mixdistill.yaml_text import parse_yaml

FEWER = "fewer than "
"""In a verdict that is not given for want of problems."""
MANY_CUT = 0.2
"""Share of an arm's answers."""
MOST_NAMED = 3
WITH = {"budget": "under", "problems": "on"}
"""What a verdict may depend on -> what one says of training with it."""


def next_steps(evidence: Evidence) -> list[str]:
    """Sentences for people; a command in them stands between backticks."""
    if evidence.smoke:
        return ["Run the recipe without `--smoke`: nothing here is a result."]
    gaps = [gap for gap in evidence.gaps if is_primary(evidence, gap)]
    return [
        *_not_there(evidence, gaps),
        *_unfair(evidence, gaps),
        *_undertrained(evidence, "red"),
        *_too_few(evidence, gaps),
        *(step for gap in gaps for step in _of_student(evidence, gap)),
        *_undertrained(evidence, "note"),
        *_cut(evidence),
    ]


def _not_there(evidence: Evidence, gaps: list[Gap]) -> list[str]:
    """What has to be run, or declared, before there is anything to read."""
    if evidence.primary is None:
        return ["Declare the comparison that decides (`primary:` in the recipe) before more is trained."]
    steps = []
    if evidence.diverged:
        first, more = evidence.diverged[:MOST_NAMED], len(evidence.diverged) - MOST_NAMED
        who = listed([*first, *([f"{more} other{'s' * (more > 1)}"] if more > 0 else [])])
        steps.append(f"Lower {_learning_rates(evidence)}, in every arm alike: {who} diverged, and would again.")
    if missing := missing_words(evidence, diverged=False):
        steps.append(f"Run the recipe again: {missing} are missing (`{evidence.command}`).")
    if not steps and not gaps:
        steps = [f"Run the recipe: {evidence.primary.contrast} was not measured (`{evidence.command}`)."]
    return steps


def _learning_rates(evidence: Evidence) -> str:
    """The keys of the recipe that say how fast trainings learn."""
    recipe: Any = parse_yaml(evidence.recipe, "recipe")
    if (recipe.get("tune") or {}).get("learning_rate"):
        return "the values of `tune.learning_rate`"
    owners = {
        f"{kind}.{name}": entry for kind in ("students", "arms") for name, entry in (recipe.get(kind) or {}).items()
    }
    own = [where for where, entry in owners.items() if "learning_rate" in ((entry or {}).get("train") or {})]
    return listed([f"`{where}train.learning_rate`" for where in ("", *(f"{name}." for name in own))])


def _unfair(evidence: Evidence, gaps: list[Gap]) -> list[str]:
    """What differed besides the data in the arms that the primary contrast compares."""
    arms, students = {arm for gap in gaps for arm in gap.arms}, {gap.student for gap in gaps}
    red = [
        c.field or c.text
        for c in evidence.confounds
        if c.severity == "red" and c.field != UNDERTRAINED
        if (c.student is None or c.student in students) and (not c.values or arms & c.values.keys())
    ]
    if not red or not gaps:
        return []
    what = listed(list(dict.fromkeys(red)))
    return [f"Make the arms alike before you act on a gap between them: they differ in more than data ({what})."]


def _too_few(evidence: Evidence, gaps: list[Gap]) -> list[str]:
    """Where nothing can be decided for want of problems, that of all students in one."""
    few = [gap for gap in gaps if FEWER in gap.verdict]
    if not few:
        return []
    least, first = few[0].verdict.partition(FEWER)[2].rstrip(")"), few[0]
    asked = {a.benchmark: a.problems for a in evidence.accuracies if a.group == "all"}
    asked[first.benchmark] = first.problems
    enough = int(least.split()[0])
    small = [b for b in deciding_benchmarks(evidence) if asked.get(b, enough) < enough] or [first.benchmark]
    told = listed([f"{name} ({asked[name]:,} now)" for name in small])
    if not all(_all_asked(evidence, name) for name in small):
        return [f"Ask {least} or more of {told}: fewer decide nothing."]
    others = [g.benchmark for g in evidence.gaps if g.group == "all" and FEWER not in g.verdict]
    where = listed(list(dict.fromkeys(others)), "or") if others else f"a benchmark of {least} or more"
    told, has = told.replace(" now)", ", all asked)"), "has" if len(small) == 1 else "have"
    end = f"fewer than {least} decide nothing, and {told} {has} no more"
    return [f"Declare the `primary` of the next run on {where}: {end}."]


def _all_asked(evidence: Evidence, benchmark: str) -> bool:
    """Whether there are no more problems of a benchmark: all of a data set were asked."""
    recipe: Any = parse_yaml(evidence.recipe, "recipe")
    entry = ((recipe.get("problems") or {}).get("eval") or {}).get(benchmark)
    cut = entry is None or any(entry.get(key) for key in ("limit", "part", "skip"))
    cut |= "--limit" in shlex.split(evidence.command)
    return not cut and not str((entry or {}).get("source")).startswith("lab:")


def _of_student(evidence: Evidence, gap: Gap) -> list[str]:
    """What a verdict on one student asks for."""
    kept = base_is_higher(evidence, gap.student)
    if kept and kept.sure:
        return [f"Keep the untuned {gap.student}: every arm makes it worse."]
    side = decision(gap)
    if side == "open":
        return _decide(evidence, gap)
    if side == "equal":
        return [_either(evidence, gap)]
    best = gap.arms[0] if side == "first" else gap.arms[1]
    against = _against_base(evidence, gap, best)
    if called(best).arm == BASE or against == "second":
        return [f"Keep the untuned {gap.student}: training it on {_other_than(gap, best)} makes it worse."]
    if against == "first":
        return [f"Train {gap.student} on {best}."]
    shown = "was not compared with" if against == "absent" else "is not shown to beat"
    return [f"Of the two, train {gap.student} on {best}; but it {shown} the untuned {gap.student}."]


def _other_than(gap: Gap, best: str) -> str:
    """The arm of a gap that training would be on."""
    return best if called(best).arm != BASE else next(arm for arm in gap.arms if arm != best)


def _against_base(evidence: Evidence, gap: Gap, arm: str) -> str:
    """What was decided between an arm and the untuned student where the primary gap was: `first`, `second`, `open`,
    `equal`, or `absent`."""
    turned = {"first": "second", "second": "first"}
    for other in evidence.gaps:
        if (other.student, other.benchmark, other.max_tokens, other.group) != (
            gap.student, gap.benchmark, gap.max_tokens, gap.group,
        ):  # fmt: skip
            continue
        a, b = other.arms
        if a == arm and called(b).arm == BASE:
            return decision(other)
        if b == arm and called(a).arm == BASE:
            return turned.get(decision(other), decision(other))
    return "absent"


def _either(evidence: Evidence, gap: Gap) -> str:
    """Two arms that differ by less than matters: the one whose answers are shorter costs less, unless neither is better
    than no training at all."""
    student, (a, b) = gap.student, gap.arms
    if BASE in (called(a).arm, called(b).arm):
        return f"Keep the untuned {student}: {gap.verdict} between it and {a if called(b).arm == BASE else b}."
    against = {arm: _against_base(evidence, gap, arm) for arm in gap.arms}
    if all(found in ("second", "equal") for found in against.values()):
        worse = "makes it worse" if "equal" not in against.values() else "makes it no better"
        return f"Keep the untuned {student}: training it on {a} or {b} {worse}."
    if all(found == "absent" for found in against.values()):
        return f"{_cheaper(evidence, gap)}; neither was compared with the untuned {student}."
    unsure = [arm for arm, found in against.items() if found != "first"]
    if len(unsure) == 2:
        return f"{_cheaper(evidence, gap)}; neither is shown to beat the untuned {student}."
    return _cheaper(evidence, gap) + (f"; {unsure[0]} is not shown to beat the untuned {student}." if unsure else ".")


def _cheaper(evidence: Evidence, gap: Gap) -> str:
    """Which of two arms writes less, where that is sure."""
    said = f"Take the cheaper of {gap.arms[0]} and {gap.arms[1]} for {gap.student}: {gap.verdict}"
    rows = {
        e.arm: e
        for e in evidence.details.ended
        if (e.student, e.benchmark, e.max_tokens) == (gap.student, gap.benchmark, gap.max_tokens) and e.arm in gap.arms
    }
    if len(rows) < 2:
        return said
    short, long = sorted(rows.values(), key=lambda e: e.tokens)
    a, b = short.tokens_interval, long.tokens_interval
    if not a or not b or a.high >= b.low:
        return said
    return f"{said}; answers of {short.arm} take {short.tokens:,.0f} tokens, those of {long.arm} {long.tokens:,.0f}"


def _decide(evidence: Evidence, gap: Gap) -> list[str]:
    """What would decide an open gap."""
    student = gap.student
    if gap.turned_by:
        verb = f"mixdistill disagreements RUN --between {gap.rule} {gap.turned_by[0]}"
        return [f"Read the answers of {student} that `{verb}` lists: its verdict depends on how they are read."]
    if gap.depends_on:
        what = dict.fromkeys("budget" if variant in UNITS else "problems" for variant in gap.depends_on)
        by = listed([f"the {name} that you will train {WITH[name]}" for name in what])
        return [f"Decide for {student} by {by}: the verdict depends on {'it' if list(what) == ['budget'] else 'them'}."]
    if FEWER in gap.verdict or gap.verdict == UNFINISHED:
        return []
    if gap.look and not gap.paid:
        return [f"Decide for {student} by a new study: the one look at this one that was declared has been taken."]
    if gap.data is None and gap.problems > 1:
        return [f"Train {student} with 3 seeds or more (`{_more_seeds(evidence, student, 3)}`): one decides nothing."]
    seeds, problems = (_wanted(gap.needed, what) for what in ("seeds", "problems"))
    wanted = [f"add {seeds - gap.seeds} seed{'s' * (seeds - gap.seeds != 1)}"] if seeds > gap.seeds else []
    if problems > gap.problems:
        wanted.append(_more_problems(evidence, gap, problems))
    steps = []
    if wanted and gap.look and gap.paid == 1:
        size = listed([f"{n:,} {what}" for n, what in ((seeds, "seeds"), (problems, "problems")) if n])
        steps.append(
            f"To decide {student}, if its gap is large enough to matter, plan a new study of {size}: the one look at "
            "this one that was declared has been taken."
        )
    elif wanted:
        command = f": `{_more_seeds(evidence, student, seeds)}`" if seeds > gap.seeds else ""
        steps.append(f"To decide {student}, if its gap is large enough to matter, {' and '.join(wanted)}{command}.")
    if "more problems cannot help" in gap.needed:
        steps.append(f"More problems cannot decide {student}: its {gap.seeds} seeds alone leave it open.")
    a, b = gap.arms
    return steps or [f"Choose between {a} and {b} for {student} on other grounds: these numbers do not."]


def _more_problems(evidence: Evidence, gap: Gap, problems: int) -> str:
    """Where so many problems could come from."""
    over = (gap.benchmark == AVERAGE and deciding_benchmarks(evidence)) or [gap.benchmark]
    name = listed(over) + " together" * (gap.benchmark == AVERAGE)
    if all(_all_asked(evidence, benchmark) for benchmark in over):
        has = "has" if len(over) == 1 else "have"
        return f"take benchmarks of {problems:,} problems ({name} {has} {gap.problems:,}, all of them asked)"
    return f"ask {problems:,} problems of {name} ({gap.problems:,} now)"


def _wanted(needed: str, what: str) -> int:
    """So many seeds or problems; 0 where none are named."""
    found = re.search(rf"(?<!more than )\b([\d,]+) {what}", needed)
    return int(found[1].replace(",", "")) if found else 0


def _more_seeds(evidence: Evidence, student: str, seeds: int) -> str:
    """The command that trains so many seeds of a student, those that it has among them."""
    recipe: Any = parse_yaml(evidence.recipe, "recipe")
    own = ((recipe.get("students") or {}).get(student) or {}).get("seeds")
    key, there = ("seeds", recipe.get("seeds")) if own is None else (f"students.{student}.seeds", own)
    value = str(seeds)
    if isinstance(there, list):
        more = range(max(there) + 1, max(there) + 1 + seeds - len(there))
        value = f"[{','.join(map(str, [*there, *more]))}]"
    return f"{evidence.command} --set {shlex.quote(f'{key}={value}')}"


def _undertrained(evidence: Evidence, severity: Literal["red", "note"]) -> list[str]:
    """Trainings that were too short to show what their data can do."""
    found: dict[str, list[str]] = {}
    for c in evidence.confounds:
        if c.field == UNDERTRAINED and c.student is not None and c.severity == severity:
            found.setdefault(c.student, []).extend(c.values)
    if not found:
        return []
    every = {s: {c.arm for c in evidence.cells if c.student == s} for s in found}
    told = [
        f"{s} ({'every arm' if every[s] <= set(arms) else listed(list(map(spoken, arms)))})"
        for s, arms in found.items()
    ]
    return [f"Train longer (`train.num_train_epochs`) before you take a gap for what the data can do: {listed(told)}."]


def _cut(evidence: Evidence) -> list[str]:
    """The arm with the most answers that were cut before one was given, where these are many."""
    wanted, over = evidence.primary, deciding_benchmarks(evidence)
    shares = {
        f"{e.student}, {spoken(e.arm)}{f' on {e.benchmark}' * (len(over) > 1)}": e.counts[Outcome.TRUNCATED] / e.answers
        for e in evidence.details.ended
        if wanted is not None and wanted.max_tokens is None and e.max_tokens is None
        if e.benchmark in over and called(e.arm).arm != BASE
    }
    worst = max(shares, key=lambda who: shares[who], default="")
    if not worst or shares[worst] <= MANY_CUT:
        return []
    told = f"{pct(shares[worst])} of the answers of {worst} were cut before one was given"
    return [f"Raise `evaluate.sampling.max_tokens`: {told}."]
