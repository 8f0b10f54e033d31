"""What a comparison of runs comes to, as rows; `mixdistill compare --json` prints one `Comparison`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mixdistill.evidence.rows import ConfoundTable
from mixdistill.types import Interval, Row, Rule


class RunFacts(Row):
    """One of the runs."""

    letter: str
    """`A`, `B`, ...: what it is called here."""
    path: str
    name: str
    """Of its recipe."""
    evaluated: int
    """Evaluations that are there."""
    wanted: int
    """Evaluations that its recipe asks for."""
    smoke: bool
    """A smoke run: models, data and traces are made up, and nothing is decided by it."""


class CommonProblems(Row):
    """The problems of one benchmark that both runs were asked."""

    benchmark: str
    common: int
    of: tuple[int, int]
    """How many either run has."""


class Across(Row):
    """A difference between two runs: the first's minus the second's, over the problems that both have."""

    kind: Literal["arm", "gap"]
    """Of what: the accuracy of an arm, or a gap of each run."""
    name: str
    """The arm, or the contrast."""
    of: tuple[str, str]
    """What it is in either run: `long`, or `long - short`."""
    student: str
    benchmark: str
    max_tokens: int | None
    """Token cap; None: the generation's own limit, which is the same in both runs or a red row of the table."""
    values: tuple[float, float]
    """The accuracies in 0..1, or the gaps, of both runs."""
    delta: float
    """Their difference."""
    checkpoints: Interval | None
    """These checkpoints: problems resampled, seeds fixed."""
    data: Interval | None
    """This data: problems and seeds both random. None where a run has a single seed."""
    p: float | None
    """Two-sided, under the model of `data`; adjusted for nothing."""
    trained: bool
    """False where either is an untuned student, which has no seed and is held against every seed of the other."""
    paired: bool
    """Whether seeds of one number were held against each other."""
    seeds: tuple[int, int]
    """How many of either run; 1 of an untuned student."""
    problems: int
    verdict: str
    """`higher in A`, `larger in B`, `can't tell`, ... By `data` alone: see what else differs."""


class BaseCheck(Row):
    """The untuned student in both runs: of the same weights, problems and settings, its answers must be the same."""

    student: str
    arm: str
    """`base`, or another way of asking it."""
    benchmark: str
    max_tokens: int | None
    values: tuple[float, float]
    """Accuracies."""
    problems: int
    differing: int
    """Problems on which the share of right answers is not the same."""
    unlike: list[str]
    """What of its weights and settings is not the same; where nothing is, no problem may differ."""


class Compared(Row):
    """The first run against another one."""

    runs: tuple[str, str]
    """Their letters."""
    rule: Rule
    """How answers are read in both: as the first run counts them."""
    problems: list[CommonProblems]
    differences: list[Across]
    base: list[BaseCheck]
    tables: list[ConfoundTable]
    """A confound table of each student and variant over the arms of both runs, called `A long`, `B long`. A row is the
    same where no two arms that are held against each other differ in it."""
    within: list[ConfoundTable]
    """What makes the gaps of either run be of more than the data, alike in both: the rows that are red between the arms
    of a gap and the same in `tables`, as the first run has them."""
    notes: list[str]
    """What else to know, a sentence each."""


class Comparison(Row):
    """Everything that `mixdistill compare` says."""

    runs: list[RunFacts] = Field(min_length=2)
    pairs: list[Compared]
    """The first run against each of the others."""
