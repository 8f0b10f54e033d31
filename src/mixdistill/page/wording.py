"""A study's result in words, and its numbers as text.

Numbers become text in this module and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from mixdistill.arms import BASE, BY, called, of_variant
from mixdistill.evidence.stats import ALPHA
from mixdistill.evidence.verdicts import FEW, UNFINISHED
from mixdistill.page.measured import missing_words

if TYPE_CHECKING:
    from mixdistill.evidence.rows import Evidence, SharedStep
    from mixdistill.types import Gap, Interval, Rule

__all__ = [
    "BASE",
    "between",
    "cap",
    "caution",
    "decision",
    "duration",
    "headline",
    "is_primary",
    "listed",
    "look_words",
    "number",
    "pct",
    "pct_span",
    "points",
    "reach",
    "reading_name",
    "readings_words",
    "recipe_words",
    "required",
    "result",
    "rough_size",
    "rough_time",
    "share_of",
    "shares",
    "short_number",
    "solved_words",
    "span",
    "verdict_word",
]

UNITS = ("examples", "loss_tokens")
MINUS = "\N{MINUS SIGN}"


def decision(gap: Gap) -> Literal["first", "second", "equal", "open"]:
    """Which arm a gap speaks for. `open` is "can't tell", also where a verdict has no interval behind it.

    The sign of a mean decides nothing: a verdict for an arm counts only with a this-data interval on its side.
    """
    if gap.data is None or gap.verdict.lower().startswith("can't tell"):
        return "open"
    if gap.verdict.lower().startswith("no difference"):
        return "equal"
    if gap.data.low > 0:
        return "first"
    return "second" if gap.data.high < 0 else "open"


def verdict_word(gap: Gap) -> str:
    """The verdict as the page prints it."""
    if decision(gap) == "open" and not gap.verdict.lower().startswith("can't tell"):
        return "can't tell"
    return gap.verdict


def is_primary(evidence: Evidence, gap: Gap) -> bool:
    """Whether a gap is (one student's part of) the comparison declared before the run."""
    wanted = evidence.primary
    return (
        wanted is not None
        and (gap.name, gap.benchmark, gap.max_tokens) == (wanted.contrast, wanted.benchmark, wanted.max_tokens)
        and gap.group == "all"
    )


SMOKE = "SMOKE: not a result. Models, data and traces are made up; this shows that the recipe runs, and nothing else."


def headline(evidence: Evidence) -> str:
    """The result in words, from the primary contrast, with the caution where the comparison was not fair."""
    return f"{result(evidence)} {caution(evidence)}".strip()


def result(evidence: Evidence) -> str:
    """The primary contrast in one sentence: students who had better stay untuned first, then a clause per verdict.

    To stay untuned is advised only where an interval says so of every arm; else a higher mean is a remark at the end.
    """
    wanted = evidence.primary
    if evidence.smoke:
        return "No verdict."
    if wanted is None:
        return "No verdict: no primary contrast was declared, so every number here is exploratory."
    where = f"{wanted.benchmark}{'' if wanted.max_tokens is None else ', ' + cap(wanted.max_tokens)}"
    gaps = [gap for gap in evidence.gaps if is_primary(evidence, gap)]
    if not gaps:
        lost = f" ({missing} missing)" if (missing := missing_words(evidence)) else ""
        return f"No verdict: {wanted.contrast} on {where} was not measured{lost}."
    higher = {student.name: found for student in evidence.students if (found := base_is_higher(evidence, student.name))}
    kept = {name: f"keep the untuned {name}: {scores}" for name, (scores, sure) in higher.items() if sure}
    clauses = [*kept.values(), *_gap_clauses(evidence, [gap for gap in gaps if gap.student not in kept])]
    absent = [s.name for s in evidence.students if s.name not in kept and all(g.student != s.name for g in gaps)]
    if absent:
        clauses.append(f"{listed(absent)} {'was' if len(absent) == 1 else 'were'} not measured")
    clauses += [
        f"can't tell whether any training helps {name}: {scores}" for name, (scores, sure) in higher.items() if not sure
    ]
    return f"On {where}: {'; '.join(clauses)}."


def _gap_clauses(evidence: Evidence, gaps: Sequence[Gap]) -> list[str]:
    """One clause per outcome, naming the students it holds for in order of size."""
    order = [student.name for student in evidence.students]
    groups: dict[str, list[str]] = {}
    for gap in sorted(gaps, key=lambda g: order.index(g.student) if g.student in order else len(order)):
        (a, b), size = gap.arms, f"{abs(100 * gap.delta):.1f} points{_beside(evidence, gap)}"
        match decision(gap):
            case "first":
                every = "every pure arm" in gap.verdict
                text, detail = f"{a} beats {'every pure arm' if every else b}", f"by {size}"
            case "second":
                text, detail = f"{b} beats {a}", f"by {size}"
            case "equal":
                text, detail = f"{gap.verdict} between {a} and {b}", ""
            case _:
                text, detail = f"can't tell {a} from {b}", _reach(evidence, gap)
        groups.setdefault(text, []).append(f"{gap.student}{f' ({detail})' if detail else ''}")
    return [f"{text} for {listed(students)}" for text, students in groups.items()]


def _beside(evidence: Evidence, gap: Gap) -> str:
    """The same gap under the other unit of the budget, or that it is not there; nothing where none was asked for."""
    said = []
    for variant in UNITS:
        if variant in evidence.variants:
            other = (g for g in evidence.gaps_by_variant if g.variant == variant and gap_key(g) == gap_key(gap))
            found = [f"{abs(100 * g.delta):.1f}" for g in other]  # of another sign there would be no verdict
            said.append(f"; {BY[variant]} {''.join(found) or 'not measured'}")
    return "".join(said)


def _reach(evidence: Evidence, gap: Gap) -> str:
    """How far a gap that is open may reach; where that is not what keeps it open, what does."""
    if gap.verdict == UNFINISHED or (gap.look and not gap.paid):
        return _reason(gap)
    if gap.data is None:
        return "one seed"
    if gap.turned_by or gap.depends_on:
        there = [(f"under {rule}", under(evidence, gap, rule)) for rule in gap.turned_by]
        others = {g.variant: g for g in evidence.gaps_by_variant if gap_key(g) == gap_key(gap)}
        there += [(BY[variant], others.get(variant)) for variant in gap.depends_on]
        told = [f"{points(o.delta) if o and by_size(gap, o) else 'not'} {how}" for how, o in there]
        return f"{points(gap.delta)} points, but {listed(told)}"
    clear = not gap.data.low <= 0 <= gap.data.high
    if clear and gap.p_holm is not None and gap.p_holm >= ALPHA and not _few(gap):
        if gap.look is None:
            return f"{points(gap.delta)} points, but Holm's p over all students is {gap.p_holm:.2g}"
        return f"{points(gap.delta)} points, but p is {gap.p_holm:.2g} when this look and all students are paid for"
    why = f"; would need {gap.needed}" if gap.needed else f"; {few}" if (few := _few(gap)) else ""
    return f"anything from {span(gap.data)} points{why}"


def by_size(gap: Gap, other: Gap) -> bool:
    """Whether the two numbers say how the same gap differs under another reading or budget: it has another sign there,
    or is against the same arm. Else it is against another arm, which is what matters."""
    return other.delta * gap.delta <= 0 or of_variant(other.arms[1], "") == of_variant(gap.arms[1], "")


def _few(gap: Gap) -> str:
    """That there are too few problems for any verdict, in the verdict's own words."""
    return _reason(gap) if gap.verdict == FEW else ""


def _reason(gap: Gap) -> str:
    """What stands in a verdict's parentheses."""
    return gap.verdict.partition("(")[2].rstrip(")")


def look_words(gap: Gap) -> str:
    """How often a study was looked at, and what that cost; nothing of what has no price."""
    if gap.look is None:
        return ""
    times = f"p × {gap.paid:g}" if gap.paid else "nothing is left, so that there is no verdict"
    if (gap.look, gap.paid) == (1, 1):
        return "The only look at this study, as declared: nothing is paid for others."
    return f"Look {gap.look} at this study, paid for: {times}."


class Higher(NamedTuple):
    """An untuned student whose mean lies above that of every arm."""

    scores: str
    """Its accuracy and the best arm's, in words."""
    sure: bool
    """Whether an interval has every arm below."""


def base_is_higher(evidence: Evidence, student: str) -> Higher | None:
    """The untuned student where every trained arm's mean is below its own."""
    wanted = evidence.primary
    rows = [
        row
        for row in evidence.accuracies
        if wanted is not None
        and (row.student, row.group) == (student, "all")
        and (row.benchmark, row.max_tokens) == (wanted.benchmark, wanted.max_tokens)
    ]
    bases = [row for row in rows if called(row.arm).arm == BASE]
    trained = [row for row in rows if row not in bases]
    base = max(bases, key=lambda row: row.mean, default=None)
    if base is None or not trained or any(row.mean >= base.mean for row in trained):
        return None
    best = max(trained, key=lambda row: row.mean)
    text = f"{base.arm} scores {pct(base.mean)}, the best trained arm ({best.arm}) {pct(best.mean)}"
    beaten = {
        arm
        for gap in (*evidence.gaps, *evidence.gaps_by_variant)
        if gap.student == student and gap.group == "all"
        if (gap.benchmark, gap.max_tokens) == (base.benchmark, base.max_tokens)
        for arm, other, side in ((*gap.arms, "second"), (*gap.arms[::-1], "first"))
        if called(other).arm == BASE and decision(gap) == side
    }
    return Higher(text, {row.arm for row in trained} <= beaten)


def under(evidence: Evidence, gap: Gap, rule: Rule) -> Gap | None:
    """The same gap under another reading; None where the same answers are correct as under one that is shown."""
    return next((g for g in evidence.gaps_by_rule if g.rule == rule and gap_key(g) == gap_key(gap)), None)


def gap_key(gap: Gap) -> tuple[str, str, str, int | None, str]:
    """What a gap is about, however answers are read."""
    return gap.name, gap.student, gap.benchmark, gap.max_tokens, gap.group


def reading_name(evidence: Evidence, rule: Rule) -> str:
    """A reading, and those under which the same answers are correct."""
    return listed([rule, *(other for other, first in evidence.alike.items() if first == rule)])


def readings_words(evidence: Evidence) -> list[str]:
    """Whether the sign of the primary contrast depends on how answers are read, a sentence per student and reading
    where it does."""
    if not evidence.gaps_by_rule:
        return ["The sign does not depend on how answers are read: every reading finds the same answers correct."]
    found = [
        _turn(gap, other)
        for gap in evidence.gaps
        if is_primary(evidence, gap)
        for other in evidence.gaps_by_rule
        if gap_key(other) == gap_key(gap) and (other.rule in gap.turned_by or other.delta * gap.delta < 0)
    ]
    return found or ["The sign does not depend on how answers are read."]


def _turn(gap: Gap, other: Gap) -> str:
    """A gap and the same one under a reading that turns it."""
    if other.delta * gap.delta < 0:
        text = f"Under {other.rule} the gap of {gap.student} turns from {points(gap.delta)} to {points(other.delta)}"
    elif by_size(gap, other):
        text = f"Under {other.rule} the gap of {gap.student} is {points(other.delta)} points, not {points(gap.delta)}"
    else:
        text = f"Under {other.rule} it is {other.arms[1]}, not {gap.arms[1]}, that {gap.student} learns most from"
    if other.rule in gap.turned_by:
        verb = f"mixdistill disagreements RUN --between {gap.rule} {other.rule}"
        return f"{text}, so there is no verdict: read what '{verb}' lists."
    return f"{text}; there was no verdict to withdraw." if decision(gap) == "open" else f"{text}, within its noise."


def caution(evidence: Evidence) -> str:
    """A second sentence where a red confound touches the arms the primary contrast compares, or nothing is real; else
    nothing."""
    if evidence.smoke:
        return SMOKE
    gaps = [gap for gap in evidence.gaps if is_primary(evidence, gap)]
    arms, students = {arm for gap in gaps for arm in gap.arms}, {gap.student for gap in gaps}
    red = [
        confound
        for confound in evidence.confounds
        if confound.severity == "red"
        and (confound.student is None or confound.student in students)
        and (not confound.values or arms & confound.values.keys())
    ]
    if not red or not gaps:
        return ""
    if all(confound.field == "recipe" for confound in red):
        return "Not this recipe's comparison: the arms were trained otherwise than it now says."
    return "Not a fair comparison: the arms differ in more than their data."


def listed(items: Sequence[str], last: str = "and") -> str:
    """Items in one phrase: a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def reach(evidence: Evidence) -> list[str]:
    """What the seeds of the primary contrast can and cannot show, a sentence or two per student."""
    lines = []
    for gap in (gap for gap in evidence.gaps if is_primary(evidence, gap)):
        text = f"{gap.student}: {gap.seeds} seed{'s' * (gap.seeds != 1)}, {gap.problems:,} problems. "
        if gap.data is None:
            text += "One seed says nothing of what this data would do again; only these checkpoints are compared."
        elif gap.detectable is not None and not _few(gap):
            text += (
                f"A true gap of {100 * gap.detectable:.1f} points or more would be found in 4 of 5 repetitions; "
                "a smaller one would often be missed."
            )
        text += f" {look_words(gap)}"
        if decision(gap) == "open":
            text += " To be unable to tell is not to find no difference."
        lines.append(text.strip())
    return lines


def solved_words(steps: Sequence[SharedStep]) -> str:
    """How many problems are left where every teacher must have solved them, and whether these are easier: said only
    where an interval says so. Nothing without teachers."""
    if not steps:
        return ""
    first, last = steps[0], steps[-1]
    if len(steps) == 2:
        return f"{last.teachers[0]} solved {last.problems:,} of {first.problems:,} problems."
    who = "both teachers" if len(steps) == 3 else f"all {len(steps) - 1} teachers"
    if last.problems == first.problems:
        return f"{who.capitalize()} solved all {first.problems:,} problems."
    text = f"Requiring {who} leaves {last.problems:,} of {first.problems:,} problems."
    if not last.problems:
        without = ", ".join(f"{teacher} {n:,}" for teacher, n in last.lacking.items() if n)
        return f"{text} Problems without a correct trace that ended by itself: {without}." if without else text
    there, overall, interval = last.pass_rate, last.pass_rate_overall, last.easier
    if there is None or overall is None or interval is None:
        return text
    found = "they are easier" if interval.low > 0 else "they are harder" if interval.high < 0 else ""
    return (
        f"{text} {found.capitalize() or 'It cannot be told whether they are easier'}: of a teacher's samples "
        f"{pct(there)} are right on what the others solved, {pct(overall)} over all "
        f"({points(there - overall)} points, 95 % interval {span(interval)})."
    )


def required(step: SharedStep) -> str:
    """Who must have solved the problems of a step."""
    return listed(step.teachers) if step.teachers else "nobody: all problems"


def shares(parts: dict[str, float]) -> str:
    """Parts of a whole in words: 1: 40 %, 2: 60 %."""
    return ", ".join(f"{name}: {100 * share:.0f}\N{NO-BREAK SPACE}%" for name, share in parts.items())


def share_of(part: int, whole: int, interval: Interval | None) -> str:
    """Part of a whole in percent with its interval: 94.0 %, 83.8-97.9."""
    if not whole:
        return "\N{EN DASH}"
    return pct(part / whole) + (f", {pct_span(interval)}" if interval else "")


def points(value: float) -> str:
    """A difference of accuracies in points, signed: 0.2013 -> +20.1."""
    return f"{100 * value:+.1f}".replace("-", MINUS)


def span(interval: Interval | None) -> str:
    """An interval of a difference, in points."""
    return "not available" if interval is None else f"{points(interval.low)} to {points(interval.high)}"


def pct(value: float | None) -> str:
    """A share in percent: 0.4583 -> 45.8 %."""
    return "\N{EN DASH}" if value is None else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def pct_span(interval: Interval | None) -> str:
    """An interval of a share, in percent."""
    if interval is None:
        return "not available"
    return f"{100 * interval.low:.1f}\N{EN DASH}{100 * interval.high:.1f}".replace("-", MINUS)


def cap(max_tokens: int | None) -> str:
    """A token cap in words."""
    return "uncapped" if max_tokens is None else f"capped at {max_tokens:,} tokens"


def short_number(value: float | None) -> str:
    """103000 -> 103k."""
    if value is None:
        return "\N{EN DASH}"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def number(value: float | None, digits: int = 1) -> str:
    """A plain number with thousands separators; whole numbers without decimals."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.{digits}f}"


def between(values: Iterable[float | None], digits: int = 1) -> str:
    """The value all seeds agree on, or the lowest and the highest."""
    known = [value for value in values if value is not None]
    if not known:
        return "\N{EN DASH}"
    low, high = number(min(known), digits), number(max(known), digits)
    return low if low == high else f"{low}\N{EN DASH}{high}"


def duration(seconds: float) -> str:
    """421.7 -> 0:07:02."""
    return str(timedelta(seconds=round(seconds)))


def rough_time(seconds: float) -> str:
    """421.7 -> 7 min; 10000 -> 2.8 h."""
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return (
                f"{seconds / size:.0f} {unit}"
                if unit == "min" or seconds >= 10 * size
                else f"{seconds / size:.1f} {unit}"
            )
    return f"{max(1, round(seconds))} s"


def dollars(value: float) -> str:
    """1234.5 -> $1,234; 12.3 -> $12.30; 0.0123 -> $0.012."""
    if value >= 100:
        return f"${value:,.0f}"
    return f"${value:.2f}" if value >= 0.1 or value == 0 else f"${value:.2g}"


def rough_size(count: float) -> str:
    """3400000 bytes -> 3.2 MiB."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB")):
        if count >= 2**power:
            return f"{count / 2**power:.3g} {unit}" if count < 1000 * 2**power else f"{count / 2**power:,.0f} {unit}"
    return f"{count / 2**10:.0f} KiB"


def recipe_words(weights: dict[str, float]) -> str:
    """The weights of an arm in words."""
    if not weights:
        return "untuned"
    return " + ".join(f"{100 * weight:.3g} % {teacher}" for teacher, weight in weights.items())
