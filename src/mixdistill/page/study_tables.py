"""The tables of a study: what was compared, how accurate every arm was, how answers ended, where traces came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mixdistill.arms import BASE, called, spoken
from mixdistill.page.budgets import budget_name, spoken_pair
from mixdistill.page.figures import DIFFERENCES, differences, rules
from mixdistill.page.tables import (
    CAP,
    COUNT,
    DETECTABLE,
    DF,
    NUMBER,
    PARTS,
    POINTS,
    POINTS_SPAN,
    SHARE,
    SHARE_SPAN,
    SPANS,
    WORDS,
    Column,
    Kind,
    P,
    Table,
    table,
)
from mixdistill.page.training import progress_word
from mixdistill.page.wording import is_primary, reading_name, recipe_words, required, verdict_word
from mixdistill.types import Outcome

if TYPE_CHECKING:
    from mixdistill.evidence.rows import ConfoundTable, Evidence
    from mixdistill.types import Gap, Interval, Rule

STUDENT = Column("student", WORDS, lambda row: row.student)
ARM = Column("arm", WORDS, lambda row: spoken(row.arm))
BENCHMARK = Column("benchmark", WORDS, lambda row: row.benchmark)
CAPPED = Column("token cap", CAP, lambda row: row.max_tokens)
PROBLEMS = Column("problems", COUNT, lambda row: row.problems)
SEEDS = Column("seeds", COUNT, lambda row: row.seeds)
ARM_SEEDS = Column("seeds", COUNT, lambda row: _arm_seeds(row))
PAIR = Column("arms", WORDS, lambda row: " \N{MINUS SIGN} ".join(map(spoken, row.arms)))
VERDICT = Column("verdict", WORDS, lambda row: verdict_word(row))


def _arm_seeds(row: Any) -> int | None:
    """Of a row about one arm; the untuned student was trained from none."""
    seeds = row.seeds if isinstance(row.seeds, int) else len(row.seeds)
    return None if called(row.arm).arm == BASE else seeds


def differed(title: str = "gap") -> tuple[Column, Column, Column]:
    """A difference with both its intervals."""
    return (
        Column(title, POINTS, lambda row: row.delta),
        Column("this data", POINTS_SPAN, lambda row: row.data),
        Column("these checkpoints", POINTS_SPAN, lambda row: row.checkpoints),
    )


def correct(title: str = "accuracy") -> tuple[Column, Column, Column]:
    """An accuracy with both its intervals."""
    return (
        Column(title, SHARE, lambda row: row.mean),
        Column("this data", SHARE_SPAN, lambda row: row.data),
        Column("these checkpoints", SHARE_SPAN, lambda row: row.checkpoints),
    )


def measured(
    title: str, kind: Kind, of: Callable[[Any], Any], interval: Callable[[Any], Interval | None]
) -> tuple[Column, Column]:
    """What was measured, and the one interval that it has."""
    return Column(title, kind, of), Column(f"{title}: interval", SPANS[kind], interval)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def gaps(evidence: Evidence) -> Table:
    """Every difference, the primary ones marked."""
    return table(
        "gaps",
        "Every difference measured, in percentage points with 95 % intervals; ● marks the primary comparison",
        evidence.gaps,
        Column("contrast", WORDS, lambda g: f"{'● ' if is_primary(evidence, g) else ''}{g.name}"),
        STUDENT, PAIR, BENCHMARK, CAPPED,
        Column("group", WORDS, lambda g: g.group),
        *differed(), VERDICT, PROBLEMS, SEEDS,
        Column("df", DF, lambda g: g.df),
        Column("p", P, lambda g: g.p),
        Column("p (Holm)", P, lambda g: g.p_holm),
        Column("detectable", DETECTABLE, lambda g: g.detectable),
        Column("with endless problems", DETECTABLE, lambda g: g.detectable_endless_problems),
        Column("with endless seeds", DETECTABLE, lambda g: g.detectable_endless_seeds),
    )  # fmt: skip


def gaps_under(evidence: Evidence, by: str, found: Sequence[Sequence[Gap]], name: str) -> Table:
    """The same gaps under every reading of the answers, or under every budget, one after the other."""

    def under(gap: Gap) -> str:
        said = reading_name(evidence, gap.rule) if by == "reading" else budget_name(evidence, gap.variant)
        return f"{said}{' (counts)' * (gap.rule == evidence.rule and not gap.variant)}"

    return table(
        name,
        f"Gaps under each {by}, in percentage points with 95 % intervals; all problems",
        [gap for gaps in found for gap in gaps],
        Column("contrast", WORDS, lambda g: f"{'● ' if not g.variant and is_primary(evidence, g) else ''}{g.name}"),
        STUDENT, BENCHMARK, CAPPED,
        Column(by, WORDS, under),
        Column("arms", WORDS, lambda g: " \N{MINUS SIGN} ".join(spoken_pair(g))),
        *differed(), VERDICT, PROBLEMS, SEEDS,
    )  # fmt: skip


def accuracies(evidence: Evidence) -> Table:
    """Of every arm in every view."""
    return table(
        "accuracies",
        "Share of answers that are correct, of all answers, with 95 % intervals",
        evidence.accuracies,
        STUDENT, ARM, BENCHMARK, CAPPED,
        Column("group", WORDS, lambda a: a.group),
        *correct(), PROBLEMS, ARM_SEEDS,
        heads=2,
    )  # fmt: skip


def outcomes(evidence: Evidence) -> Table:
    """How the answers of every arm ended, in counts that add up; what is a share has its interval."""
    return table(
        "outcomes",
        "How answers ended, all seeds of an arm together: the five outcomes add up to the answers. 95 % intervals: "
        "this data, with one seed these checkpoints",
        evidence.details.ended,
        STUDENT, ARM, BENCHMARK, CAPPED,
        Column("answers", COUNT, lambda e: e.answers),
        *(Column(OUTCOME_WORDS[o], COUNT, lambda e, o=o: e.counts[o]) for o in Outcome),
        *measured("finished", SHARE, lambda e: e.finished, lambda e: e.finished_interval),
        *measured("tokens each", NUMBER, lambda e: e.tokens, lambda e: e.tokens_interval),
        PROBLEMS, ARM_SEEDS,
        heads=2,
    )  # fmt: skip


OUTCOME_WORDS = {
    Outcome.CORRECT: "correct",
    Outcome.INCORRECT: "incorrect",
    Outcome.NO_ANSWER: "no answer",
    Outcome.TRUNCATED: "truncated",
    Outcome.ERROR: "verifier failed",
}


def read(evidence: Evidence) -> Table:
    """What is correct under every reading, and how many answers each two of them decide differently."""
    return table(
        "readings",
        "How answers were read: correct under each reading with its 95 % interval (this data, with one seed these "
        "checkpoints), and how many of the answers the readings decide differently",
        [row for shown in differences(evidence) for row in shown],
        STUDENT, ARM, BENCHMARK, CAPPED,
        Column("answers", COUNT, lambda r: r.answers),
        *(column for rule in rules(evidence) for column in _under(evidence, rule)),
        *(Column(title, COUNT, lambda r, f=field: getattr(r, f)) for field, title in DIFFERENCES.items()),
        heads=2,
    )  # fmt: skip


def _under(evidence: Evidence, rule: Rule) -> tuple[Column, Column]:
    name = reading_name(evidence, rule)
    return measured(
        name, SHARE, lambda r: r.correct[rule] / r.answers if r.answers else None, lambda r: r.intervals.get(rule)
    )


def agreement(evidence: Evidence) -> Table:
    """What later verifiers of the chain say."""
    return table(
        "agreement",
        "What later verifiers of the chain say of whole traces, all seeds, with 95 % intervals, traces resampled",
        evidence.agreement,
        Column("whose traces", WORDS, lambda a: "/".join(map(spoken, a.whose.split("/")))),
        Column("verifier", WORDS, lambda a: a.verifier),
        Column("accepted before it", COUNT, lambda a: a.accepted),
        Column("of these audited", COUNT, lambda a: a.audited),
        Column("confirmed", COUNT, lambda a: a.confirmed),
        *measured("share confirmed", SHARE, lambda a: _ratio(a.confirmed, a.audited), lambda a: a.audited_interval),
        Column("misses", COUNT, lambda a: a.missed),
        Column("rescued", COUNT, lambda a: a.rescued),
        *measured("share rescued", SHARE, lambda a: _ratio(a.rescued, a.missed), lambda a: a.missed_interval),
        Column("failed", COUNT, lambda a: a.failed),
    )


def dev_gaps(evidence: Evidence) -> Table:
    """Contrasts on dev at every point of the training."""
    return table(
        "dev-gaps",
        "Gaps on dev over the training, in percentage points with 95 % intervals; choices are made on dev",
        evidence.dev_gaps,
        Column("contrast", WORDS, lambda g: g.name),
        STUDENT, PAIR,
        Column("at", WORDS, lambda g: progress_word(g.progress)),
        *differed(), PROBLEMS, SEEDS,
    )  # fmt: skip


def dev_accuracies(evidence: Evidence) -> Table:
    """Accuracy on dev at every point of the training."""
    return table(
        "dev-accuracies",
        "Accuracy on dev at each point of the training, with 95 % intervals; choices are made on dev",
        evidence.dev_points,
        STUDENT, ARM,
        Column("at", WORDS, lambda p: progress_word(p.progress)),
        *correct(), PROBLEMS,
        ARM_SEEDS,
        heads=2,
    )  # fmt: skip


def teachers(evidence: Evidence) -> Table:
    """Teachers and what their traces came to."""
    return table(
        "teachers",
        "Teachers and their traces by outcome; 95 % interval of the pass rate, problems resampled",
        evidence.teachers,
        Column("teacher", WORDS, lambda t: t.name),
        Column("source", WORDS, lambda t: f"{t.model} ({t.backend})"),
        PROBLEMS,
        Column("traces", COUNT, lambda t: t.traces),
        *(Column(OUTCOME_WORDS[o], COUNT, lambda t, o=o: getattr(t, TEACHER_FIELD.get(o, o.value))) for o in Outcome),
        Column("failed requests", COUNT, lambda t: t.errors),
        Column("finished", COUNT, lambda t: t.finished),
        Column("problems usable", COUNT, lambda t: t.accepted),
        *measured("pass rate", SHARE, lambda t: t.pass_rate, lambda t: t.intervals.get("pass_rate")),
    )


TEACHER_FIELD = {Outcome.ERROR: "error_verdicts"}


def lengths(evidence: Evidence) -> Table:
    """How long teachers' traces are."""
    columns = [
        measured(title, NUMBER, lambda t, f=field: getattr(t, f), lambda t, f=field: t.intervals.get(f))
        for field, title in LENGTHS.items()
    ]
    return table(
        "lengths",
        "How long teachers' traces are, with 95 % intervals, problems resampled",
        evidence.teachers,
        Column("teacher", WORDS, lambda t: t.name),
        PROBLEMS,
        Column("traces", COUNT, lambda t: t.traces),
        *(column for pair in columns for column in pair),
    )


LENGTHS = {
    "tokens_mean": "tokens, mean",
    "tokens_median": "tokens, median",
    "tokens_p90": "tokens, 90th percentile",
    "steps_mean": "steps, mean",
}


def solved(evidence: Evidence) -> Table:
    """The problems that are left as every further teacher must have solved them."""
    lengths = [
        measured(
            f"tokens: {t.name}",
            NUMBER,
            lambda s, n=t.name: s.tokens.get(n),
            lambda s, n=t.name: s.intervals.get(f"tokens: {n}"),
        )
        for t in evidence.teachers
    ]
    return table(
        "solved",
        "Problems that are left as each further teacher must have solved them; a teacher's rate there is taken where "
        "the others solved them, since its own samples chose the rest. Tokens are those of accepted traces. 95 % "
        "intervals, problems resampled",
        evidence.solved,
        Column("solved by", WORDS, lambda s: required(s)),
        PROBLEMS,
        *measured("right there", SHARE, lambda s: s.pass_rate, lambda s: s.intervals.get("pass_rate")),
        *measured(
            "right over all", SHARE, lambda s: s.pass_rate_overall, lambda s: s.intervals.get("pass_rate_overall")
        ),
        *measured("difference", POINTS, _easier, lambda s: s.easier),
        *(column for pair in lengths for column in pair),
        Column("problems by level", WORDS, _by_level),
    )


def _easier(step: Any) -> float | None:
    known = step.pass_rate is not None and step.pass_rate_overall is not None
    return step.pass_rate - step.pass_rate_overall if known else None


def _by_level(step: Any) -> str:
    return ", ".join(f"{name}: {round(share * step.problems):,}" for name, share in step.levels.items())


def arms(evidence: Evidence) -> Table:
    """What every arm is made of."""
    unit = "examples" if evidence.budget == "examples" else "loss tokens"
    return table(
        "arms",
        f"Arms, weights by {unit}{' unless said otherwise' if evidence.variants else ''}",
        evidence.arms,
        Column("arm", WORDS, lambda a: spoken(a.name)),
        Column("blend", WORDS, lambda a: recipe_words(a.weights)),
    )


def blends(evidence: Evidence) -> Table:
    """What the arms turned out to be made of, in both units, per student."""
    rows = [
        (student.name, arm, cells)
        for student in evidence.students
        for arm in evidence.arms
        if arm.weights
        and not called(arm.name).mode
        and (cells := [c for c in evidence.cells if (c.student, c.arm) == (student.name, arm.name)])
    ]
    return table(
        "blends",
        "What each arm was made of: mean over its seeds",
        rows,
        Column("student", WORDS, lambda r: r[0]),
        Column("arm", WORDS, lambda r: spoken(r[1].name)),
        Column("by examples", PARTS, lambda r: _mean_parts([c.share_examples for c in r[2]])),
        Column("by loss tokens", PARTS, lambda r: _mean_parts([c.share_loss_tokens for c in r[2]])),
        Column("distinct problems", COUNT, lambda r: round(sum(c.distinct_problems for c in r[2]) / len(r[2]))),
        Column("updates", COUNT, lambda r: round(sum(c.updates for c in r[2]) / len(r[2]))),
        Column("seeds", COUNT, lambda r: len(r[2])),
        heads=2,
    )


def _mean_parts(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    return {
        name: sum(p.get(name, 0) for p in parts) / len(parts) for name in dict.fromkeys(n for p in parts for n in p)
    }


def confounds(evidence: Evidence) -> Table:
    """Every row of every confound table, one line per arm."""
    rows = [
        (found, row, arm)
        for found in evidence.confound_tables
        for row in found.rows
        for arm in found.arms
        if arm in row.values
    ]
    return table(
        "confounds",
        "What the trainings came to, from what the trainer recorded: red, a note, or the same in all arms",
        rows,
        Column("student", WORDS, lambda r: r[0].student),
        Column("budget", WORDS, lambda r: _budget(evidence, r[0])),
        Column("what", WORDS, lambda r: r[1].name),
        Column("state", WORDS, lambda r: r[1].state),
        Column("arm", WORDS, lambda r: spoken(r[2])),
        Column("value", WORDS, lambda r: r[1].values[r[2]]),
        Column("why", WORDS, lambda r: r[1].why or "same"),
    )


def _budget(evidence: Evidence, found: ConfoundTable) -> str:
    return budget_name(evidence, found.variant)
