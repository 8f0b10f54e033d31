"""The tables of what stands beside accuracies and gaps: costs, sizes, token budgets, parts, what was forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixdistill.arms import spoken
from mixdistill.page.charts import crossing_span
from mixdistill.page.study_tables import (
    ARM,
    ARM_SEEDS,
    BENCHMARK,
    CAPPED,
    PAIR,
    PROBLEMS,
    SEEDS,
    STUDENT,
    VERDICT,
    correct,
    differed,
    measured,
)
from mixdistill.page.tables import (
    COUNT,
    HUNDREDTHS,
    HUNDREDTHS_SPAN,
    NUMBER,
    PARTS,
    POINTS,
    PRINTED,
    SHARE,
    THEN,
    WORDS,
    Column,
    P,
    Table,
    table,
)
from mixdistill.page.training import progress_word
from mixdistill.page.wording import is_primary, number, short_number

if TYPE_CHECKING:
    from mixdistill.evidence.rows import Evidence

NAME = Column("contrast", WORDS, lambda row: row.name)


def verdicts(evidence: Evidence) -> Table:
    """The primary contrast, student by student."""
    sizes = {student.name: student.parameters for student in evidence.students}
    order = list(sizes)
    rows = [gap for gap in evidence.gaps if is_primary(evidence, gap)]
    rows.sort(key=lambda gap: order.index(gap.student) if gap.student in order else len(order))
    return table(
        "verdicts",
        "The declared comparison, student by student, in percentage points with 95 % intervals",
        rows,
        STUDENT,
        Column("parameters", COUNT, lambda g: sizes.get(g.student)),
        VERDICT, PAIR, *differed(), SEEDS, PROBLEMS,
        Column("would decide it", WORDS, lambda g: g.needed),
    )  # fmt: skip


def costs(evidence: Evidence) -> Table:
    """What answers take."""
    return table(
        "costs",
        "What 1,000 answers take, with 95 % intervals (these checkpoints: problems resampled)",
        evidence.details.costs,
        STUDENT, ARM, BENCHMARK,
        *measured("tokens", NUMBER, lambda c: c.tokens, lambda c: c.interval),
        *measured("tokens per correct answer", NUMBER, lambda c: c.tokens_per_correct, lambda c: c.correct_interval),
        *measured("seconds", NUMBER, lambda c: c.seconds, lambda c: c.seconds_interval),
        Column("answers", COUNT, lambda c: c.answers),
        PROBLEMS, ARM_SEEDS,
        heads=2,
    )  # fmt: skip


def crossovers(evidence: Evidence) -> Table:
    """Where a gap turns with size."""
    return table(
        "crossovers",
        "The gap against the logarithm of size: slope in points for a student ten times as large, and the size at "
        "which the fitted gap is zero, with 95 % intervals (this data)",
        evidence.details.crossovers,
        NAME, BENCHMARK,
        Column("students", WORDS, lambda c: ", ".join(c.students)),
        *measured("slope", POINTS, lambda c: c.slope, lambda c: c.slope_interval),
        Column("crosses zero at", WORDS, lambda c: _crossing(evidence, c)),
        Column("sizes", COUNT, lambda c: len(c.students)),
    )  # fmt: skip


def _crossing(evidence: Evidence, row: Any) -> str:
    if row.parameters is None:
        return "outside these sizes"
    return f"{short_number(row.parameters)} parameters ({crossing_span(evidence, row)})"


def budget_points(evidence: Evidence) -> Table:
    """Accuracy and share finished at every token budget."""
    return table(
        "token-budgets",
        "Accuracy by token budget, with 95 % intervals (of finished: this data, with one seed these checkpoints). Cut: "
        "the first so many tokens of one answer. Forced: the same, then the answer asked for at once. Thinking: after "
        "a share of its own reasoning",
        evidence.details.budget_points,
        STUDENT, ARM, BENCHMARK,
        Column("kind", WORDS, lambda b: b.kind),
        Column("at", WORDS, lambda b: f"{100 * b.at:.0f} %" if b.kind == "thinking" else number(b.at)),
        *correct(),
        *measured("finished", SHARE, lambda b: b.finished, lambda b: b.finished_interval),
        PROBLEMS, ARM_SEEDS,
        heads=2,
    )  # fmt: skip


def finished_gaps(evidence: Evidence) -> Table:
    """Gaps among problems that both arms finished: selected."""
    return table(
        "finished-gaps",
        "Selected, decides nothing: gaps among the problems that both arms finished in every seed, in percentage "
        "points with 95 % intervals",
        evidence.details.finished_gaps,
        NAME, STUDENT, PAIR, BENCHMARK, CAPPED, *differed(), PROBLEMS,
        Column("of all problems", COUNT, lambda g: g.of),
        SEEDS,
    )  # fmt: skip


def parts(evidence: Evidence) -> Table:
    """What gaps are made of."""
    return table(
        "parts",
        "The parts of each gap, which add up to it, in percentage points with 95 % intervals",
        evidence.details.parts,
        NAME, STUDENT, PAIR, BENCHMARK, CAPPED,
        Column("part", WORDS, lambda p: p.part + (" (most of it)" if p.most else "")),
        *differed("part of the gap"), PROBLEMS, SEEDS,
    )  # fmt: skip


def undertrained(evidence: Evidence) -> Table:
    """What more training might change."""
    return table(
        "undertrained",
        "How gaps moved on dev over the end of the training, in percentage points with 95 % intervals",
        evidence.details.undertrained,
        NAME, STUDENT, PAIR,
        Column("since", WORDS, lambda u: progress_word(u.since)),
        *differed("moved by"), PROBLEMS, SEEDS,
    )  # fmt: skip


def loops(evidence: Evidence) -> Table:
    """Answers that repeat themselves to the end."""
    return table(
        "loops",
        "Answers that end in a loop, with 95 % intervals (this data, with one seed these checkpoints)",
        evidence.details.loops,
        STUDENT, ARM, BENCHMARK,
        Column("answers", COUNT, lambda r: r.answers),
        Column("looped", COUNT, lambda r: r.looped),
        *measured("share", SHARE, lambda r: r.share, lambda r: r.interval),
        PROBLEMS,
        ARM_SEEDS,
        heads=2,
    )  # fmt: skip


def pass_at(evidence: Evidence) -> Table:
    """avg@k and pass@k."""
    return table(
        "pass-at-k",
        "How often one of k answers is correct (unbiased; k = 1 is the mean accuracy of one), with 95 % intervals",
        evidence.details.pass_at,
        STUDENT, ARM, BENCHMARK,
        Column("samples", COUNT, lambda p: p.samples),
        Column("k", COUNT, lambda p: p.k),
        *correct("correct"), PROBLEMS, ARM_SEEDS,
        heads=2,
    )  # fmt: skip


def paraphrased(evidence: Evidence) -> Table:
    """Accuracy when asked in other words."""
    return table(
        "wordings",
        "Accuracy when the same problems are asked in other words, with 95 % intervals",
        evidence.details.paraphrased,
        STUDENT, ARM, BENCHMARK,
        Column("wording", WORDS, lambda p: p.wording or "the study's own"),
        *correct(), PROBLEMS, ARM_SEEDS,
        heads=2,
    )  # fmt: skip


def forgotten(evidence: Evidence) -> Table:
    """What students could before."""
    return table(
        "forgotten",
        "Every arm minus the untuned student on benchmarks that guard what it could before, in percentage points with "
        "95 % intervals",
        evidence.details.forgotten,
        STUDENT, ARM, BENCHMARK, *differed("change"), PROBLEMS, ARM_SEEDS,
        heads=2,
    )  # fmt: skip


def style(evidence: Evidence) -> Table:
    """How far a student's text is from its untuned self."""
    return table(
        "style",
        "How far the text of a student is from what its untuned self would have written, with 95 % intervals "
        "(these checkpoints). Ranks beyond 100 count as 100",
        evidence.details.style,
        STUDENT, ARM, BENCHMARK,
        *measured("its first choice", SHARE, lambda s: s.top1, lambda s: s.top1_interval),
        *measured("mean rank", NUMBER, lambda s: s.mean_rank, lambda s: s.mean_rank_interval),
        *measured("style among the rest", SHARE, lambda s: s.style_share, lambda s: s.style_interval),
        Column("tokens", COUNT, lambda s: s.tokens),
        Column("traces", COUNT, lambda s: s.traces),
        heads=2,
    )  # fmt: skip


def shifted(evidence: Evidence) -> Table:
    """The tokens that make the shift: a list of examples, most shifted first."""
    rows = [(s, token) for s in evidence.details.style for token in s.shifted]
    return table(
        "shifted-tokens",
        "The most shifted tokens, by places off the untuned student's first choice over all their occurrences: "
        "examples, chosen for it",
        rows,
        Column("student", WORDS, lambda r: r[0].student),
        Column("arm", WORDS, lambda r: spoken(r[0].arm)),
        Column("token", WORDS, lambda r: r[1].token),
        Column("kind", WORDS, lambda r: r[1].kind),
        Column("written", COUNT, lambda r: r[1].count),
        Column("places off", COUNT, lambda r: round(r[1].count * (r[1].rank - 1))),
        heads=2,
    )


def averages(evidence: Evidence) -> Table:
    """Contrasts averaged over benchmarks."""
    return table(
        "averages",
        "Contrasts averaged over benchmarks, weights fixed before the run, in percentage points with 95 % intervals",
        evidence.details.averages,
        NAME, STUDENT, PAIR,
        Column("weights", PARTS, lambda a: a.weights),
        Column("too few problems to decide", WORDS, lambda a: ", ".join(a.left_out)),
        *differed("average gap"),
        Column("p", P, lambda a: a.p),
        Column("verdict", WORDS, lambda a: a.verdict), PROBLEMS, SEEDS,
    )  # fmt: skip


def published(evidence: Evidence) -> Table:
    """A publication's numbers beside the measured ones."""
    return table(
        "published",
        "Published numbers, as printed and without intervals, beside the measured ones with 95 % intervals",
        evidence.details.published,
        Column("number", WORDS, lambda p: p.label),
        Column("from", WORDS, lambda p: p.source),
        Column("published", PRINTED, lambda p: p.published),
        Column("measured", HUNDREDTHS, lambda p: p.measured),
        Column("this data", HUNDREDTHS_SPAN, lambda p: p.data),
        Column("these checkpoints", HUNDREDTHS_SPAN, lambda p: p.checkpoints),
        Column("n", WORDS, lambda p: p.n),
    )


def looks(evidence: Evidence) -> Table:
    """Every time that the study was looked at."""
    return table(
        "looks",
        "Every look at the declared comparison, with the p it had then and what that was multiplied by for the looks",
        evidence.details.looks,
        Column("when", WORDS, lambda row: row.when),
        Column("contrast", WORDS, lambda row: row.contrast),
        STUDENT, BENCHMARK,
        Column("look", COUNT, lambda row: row.look),
        SEEDS, PROBLEMS,
        Column("gap then", THEN, lambda row: row.delta),
        Column("p then", P, lambda row: row.p),
        Column("p was paid for", WORDS, lambda row: f"× {row.paid:g}" if row.paid else "nothing left"),
        Column("verdict then", WORDS, lambda row: row.verdict),
    )  # fmt: skip
