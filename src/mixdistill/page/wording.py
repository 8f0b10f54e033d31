"""Verdicts in words, and numbers as text.

Numbers become text in this module and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from mixdistill.arms import BASE, of_variant
from mixdistill.evidence.verdicts import FEW

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


def by_size(gap: Gap, other: Gap) -> bool:
    """Whether the two numbers say how the same gap differs under another reading or budget: it has another sign there,
    or is against the same arm. Else it is against another arm, which is what matters."""
    return other.delta * gap.delta <= 0 or of_variant(other.arms[1], "") == of_variant(gap.arms[1], "")


def look_words(gap: Gap) -> str:
    """How often a study was looked at, and what that cost; nothing of what has no price."""
    if gap.look is None:
        return ""
    times = f"p × {gap.paid:g}" if gap.paid else "nothing is left, so that there is no verdict"
    if (gap.look, gap.paid) == (1, 1):
        return "The only look at this study, as declared: nothing is paid for others."
    return f"Look {gap.look} at this study, paid for: {times}."


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
        elif gap.detectable is not None and gap.verdict != FEW:
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
