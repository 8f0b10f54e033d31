"""`audit`: a blinded sample of every arm's traces, a person's marks on it, and the verifier's error by arm.

    RUN/audit/sheet.csv      what a person reads and marks; nothing in it says whose a trace is or what was decided
    RUN/audit/key.parquet    whose they are, and with what chance each was drawn
    RUN/audit/drawn.json     the seed and the sizes asked for

Traces are taken in the order of a hash of the seed and their id, the accepted ones and the others of an arm apart: a
larger sample holds every smaller one. What decides between accepted and not is looked up anew for every report.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mixdistill import graded, lock
from mixdistill.chain import DECISIONS
from mixdistill.collect import TABLE as TRACES
from mixdistill.commands import sheets
from mixdistill.commands.complete import is_run
from mixdistill.commands.status import no_run
from mixdistill.errors import DataError, StoreError, did_you_mean
from mixdistill.evidence.audits import ArmError, GapError, Mark, Marked, Stratum, allotted, arm_error, gap_error
from mixdistill.files import write_atomically
from mixdistill.graded import Graded
from mixdistill.recipe import BASE, OVER_BASE, Recipe
from mixdistill.store import Store, read_described
from mixdistill.types import Outcome, Problem, Row, Trace, content_hash, prompt_text

if TYPE_CHECKING:
    import polars as pl

FOLDER, KEY, SHEET, DRAWN = "audit", "key", "sheet.csv", "drawn.json"
PER_ARM = 40
KEYS = {"s": "skip", "b": "back", "q": "quit"}
"""What may be said of a trace besides a mark."""


class Drawn(Row):
    """A trace of the sample, and whose it is: a row of the key."""

    id: str
    """In the sheet; says nothing of the trace."""
    trace_id: str
    arm: str
    """`teacher/<name>` or `student/<student>/<arm>`."""
    benchmark: str
    text: str
    """Hash of what is shown of it: a mark speaks of this text alone."""
    accepted: bool
    """Whether the verifier had accepted it when it was drawn."""
    rate: float
    """Chance with which it was drawn, in 0..1."""


class Design(Row):
    """What was asked for."""

    seed: int = 0
    per_arm: dict[str, int] = {}
    """Traces per arm of every set of problems."""


class ArmReport(Row):
    """The verifier's error on one arm."""

    arm: str
    benchmark: str
    found: ArmError


class GapReport(Row):
    """What the verifier's error adds to a contrast of one student."""

    contrast: str
    student: str
    benchmark: str
    arms: tuple[str, str]
    found: GapError


class Report(Row):
    """All that the marks say."""

    run: str
    drawn: int
    """Rows in the sheet that still stand for a trace."""
    marked: int
    """Of these: marked correct, incorrect or unclear."""
    unclear: int
    void: int
    """Marks that count no more, since the trace is gone or its text is another."""
    redecided: int
    """Marked traces on which the verifier decides otherwise than when they were drawn; the new decision counts."""
    undrawn: int
    """Traces that a sample drawn now would have, and this one lacks: the run has grown or was graded anew."""
    arms: list[ArmReport]
    gaps: list[GapReport]


class _Arm(NamedTuple):
    """An arm on one set of problems, with its graded traces."""

    arm: str
    benchmark: str
    tables: list[Graded]
    traces: pl.DataFrame
    """trace_id, accepted, table (its number in `tables`), order (a hash in 0..1)."""


class _Item(NamedTuple):
    """A trace that is to be in the sample."""

    trace_id: str
    accepted: bool
    rate: float
    table: Graded


class Text(NamedTuple):
    """What a person judges."""

    problem: str
    reference: str
    answer: str

    @property
    def hash(self) -> str:
        """Of all of it."""
        return content_hash(*self)


# -- the sample -------------------------------------------------------------------------------------------------------


def draw(store: Store, *, per_arm: int | None = None, seed: int | None = None, benchmark: str | None = None) -> int:
    """Draw the sample, or extend the one there is; returns how many traces are new in the sheet. No mark is lost.

    Without `benchmark` it is that of the primary contrast. Raises StoreError for what is no run, has no verdicts or was
    drawn with another seed, DataError for an unknown benchmark or a sheet that cannot be read.
    """
    check_run(store)
    with _held(store):
        design, there = _design(store), _key(store)
        if seed is not None and there and seed != design.seed:
            raise StoreError(
                f"{store.folder(FOLDER)}: drawn with seed {design.seed} (got {seed}); leave --seed out, or move that "
                "folder away to begin anew"
            )
        design = design.model_copy(update={"seed": design.seed if there or seed is None else seed})
        arms = _arms(store, design.seed)
        chosen = _chosen(store, arms, benchmark)
        sizes = {b: per_arm or design.per_arm.get(b, PER_ARM) for b in (graded.TRAIN, chosen) if b}
        key, texts = _joined(store, arms, {**design.per_arm, **sizes}, design.seed, there)
        sheet = store.folder(FOLDER) / SHEET
        rows = sheets.read(sheet)
        sheets.marks(sheet, rows, key)  # a sheet with mistakes is not touched
        known = {cells["id"].strip() for cells in rows}
        new = sorted(id_ for id_ in texts if id_ not in known)  # in an order that has to do with nothing
        if not new and list(key.values()) == list(there.values()):
            return 0
        sheets.check_closed(sheet)
        store.seal(store.folder(FOLDER), Drawn, key.values(), KEY)
        text = design.model_copy(update={"per_arm": {**design.per_arm, **sizes}}).model_dump_json(indent=2)
        write_atomically(store.folder(FOLDER) / DRAWN, text.encode())
        sheets.write(sheet, [*rows, *(sheets.row(id_, *texts[id_]) for id_ in new)])
        return len(new)


def size(store: Store) -> int:
    """Rows of the sheet."""
    return len(sheets.read(store.folder(FOLDER) / SHEET))


def check_run(store: Store) -> None:
    """Raise StoreError for what is no run."""
    if not is_run(store.root):
        raise no_run(store.root)


@contextmanager
def _held(store: Store) -> Generator[None]:
    """Only one process at a time writes the sheet; the run itself may go on."""
    folder = store.folder(FOLDER)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as e:
        raise StoreError(f"{folder}: cannot be made ({e.strerror}); mend that and say the same again") from e
    with lock.hold(folder, "finish the audit there first"):
        yield


def _design(store: Store) -> Design:
    found = read_described(store.folder(FOLDER) / DRAWN, "per_arm")
    return Design.model_validate(found) if found else Design()


def _key(store: Store) -> dict[str, Drawn]:
    return {d.id: d for d in store.read(store.folder(FOLDER), Drawn, KEY)}


def _arms(store: Store, seed: int) -> dict[tuple[str, str], _Arm]:
    """Every arm on every set of problems, all seeds together. Raises StoreError where nothing is graded."""
    import polars as pl

    groups: dict[tuple[str, str], list[Graded]] = defaultdict(list)
    for g in graded.tables(store):
        if (g.verdicts / f"{DECISIONS}.parquet").exists():
            groups[g.arm, g.benchmark].append(g)
    found = {}
    for (arm, benchmark), tables in groups.items():
        frames = [_decided(store, g, seed).with_columns(table=pl.lit(i)) for i, g in enumerate(tables)]
        traces = pl.concat(frames)
        if len(traces):
            found[arm, benchmark] = _Arm(arm, benchmark, tables, traces)
    if not found:
        raise StoreError(f"{store.root}: no verdicts in it yet; run: mixdistill run {store.root / 'recipe.yaml'}")
    return found


def _decided(store: Store, g: Graded, seed: int) -> pl.DataFrame:
    """trace_id, accepted, order: of the whole traces."""
    import polars as pl

    rows = store.frame(g.verdicts, DECISIONS, ["trace_id", "max_tokens", "outcome"])
    rows = rows.filter(pl.col("max_tokens").is_null())
    order = [_order(seed, trace) for trace in rows["trace_id"]]
    return rows.select(
        "trace_id", accepted=pl.col("outcome") == Outcome.CORRECT.value, order=pl.Series(order, dtype=pl.Float64)
    )


def _order(seed: int, trace: str) -> float:
    """A number in 0..1 that depends on the seed and the trace alone."""
    digest = hashlib.sha256(f"{seed} {trace}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _chosen(store: Store, arms: dict[tuple[str, str], _Arm], benchmark: str | None) -> str | None:
    """The benchmark to draw from; None while no student is evaluated."""
    known = list(dict.fromkeys(b for arm, b in arms if arm.startswith("student/")))
    if benchmark is not None:
        if benchmark not in known:
            raise DataError(f"--benchmark: nothing is graded on it (got {benchmark!r}){did_you_mean(benchmark, known)}")
        return benchmark
    study = graded.study_of(store)
    primary = study.primary_or_first() if study else None
    return primary.benchmark if primary and primary.benchmark in known else next(iter(known), None)


def _joined(
    store: Store, arms: dict[tuple[str, str], _Arm], sizes: dict[str, int], seed: int, there: dict[str, Drawn]
) -> tuple[dict[str, Drawn], dict[str, Text]]:
    """The key with what is to be in the sample now, and the texts of that, by their ids in the sheet."""
    key, texts = dict(there), dict[str, Text]()
    for arm in arms.values():
        items = _items(arm, sizes.get(arm.benchmark, 0))
        for trace, text in _texts(store, [(i.table, i.trace_id) for i in items.values()]).items():
            item = items[trace]
            id_ = "m" + content_hash(str(seed), trace, text.hash)[:10]  # never read as a number
            old = there.get(id_)
            # Drawn twice from strata that changed in between: it had the better of two chances.
            rate = max(item.rate, old.rate if old else 0.0)
            first = old.accepted if old else item.accepted
            key[id_] = Drawn(
                id=id_, trace_id=trace, arm=arm.arm, benchmark=arm.benchmark, text=text.hash, accepted=first, rate=rate
            )
            texts[id_] = text
    return key, texts


def _items(arm: _Arm, per_arm: int) -> dict[str, _Item]:
    """The first traces of an arm in the order of the hash, from the accepted ones and from the others.

    The place of the first that is left out is the chance of each to be in: so hashes spread over 0..1.
    """
    import polars as pl

    found: dict[str, _Item] = {}
    strata = [arm.traces.filter(pl.col("accepted") == which).sort("order", "trace_id") for which in (True, False)]
    for rows, count in zip(strata, allotted(per_arm, *map(len, strata)), strict=True):
        rate = float(rows["order"][count]) if len(rows) > count else 1.0
        for trace, accepted, table in rows.head(count).select("trace_id", "accepted", "table").iter_rows():
            found[trace] = _Item(trace, accepted, rate, arm.tables[table])
    return found


def _texts(store: Store, wanted: list[tuple[Graded, str]]) -> dict[str, Text]:
    """What is judged of these traces; of one that is gone, nothing."""
    by_table: dict[Graded, list[str]] = defaultdict(list)
    for g, trace in wanted:
        by_table[g].append(trace)
    found = {}
    for g, ids in by_table.items():
        traces = [(t.id, t.problem_id, t.content) for t in store.rows(g.traces, Trace, TRACES, where=("id", ids))]
        asked = ("id", {problem for _, problem, _ in traces})
        problems = {p.id: p for p in store.rows(store.folder("problems"), Problem, g.benchmark, where=asked)}
        for trace, problem, content in traces:
            if p := problems.get(problem):
                found[trace] = Text(prompt_text(p.prompt), p.answer, content)
    return found


# -- marking ----------------------------------------------------------------------------------------------------------


def mark(store: Store, ask: Callable[[], str], show: Callable[[sheets.Cells, str], None]) -> tuple[int, int]:
    """Ask for a mark of one trace after the other, and write each down before the next is shown.

    `show` gets a row and how far it is, `ask` gives a key: c, i, u, s (skip, for this time), b (back to the last one)
    or q. Returns (marked in all, rows).
    """
    sheet = store.folder(FOLDER) / SHEET
    with _held(store):
        rows, key = sheets.read(sheet), _key(store)
        sheets.marks(sheet, rows, key)
        todo = [n for n, cells in enumerate(rows) if cells["id"].strip() in key and not cells["mark"].strip()]
        place = 0
        while place < len(todo):
            cells = rows[todo[place]]
            show(cells, f"{_marked(rows):,} of {len(rows):,} marked")
            said = ask().lower()
            while said not in (*sheets.MARKS, *KEYS):
                said = ask().lower()
            if said == "q":
                break
            if said in sheets.MARKS:
                cells["mark"] = said
                sheets.write(sheet, rows)
            place = max(place - 1, 0) if said == "b" else place + 1
        return _marked(rows), len(rows)


def _marked(rows: list[sheets.Cells]) -> int:
    return sum(bool(cells["mark"].strip()) for cells in rows)


# -- the report -------------------------------------------------------------------------------------------------------


def report(store: Store) -> Report:
    """What the marks say of the verifier now. Raises StoreError where nothing is drawn, DataError for a wrong mark."""
    check_run(store)
    key, design = _key(store), _design(store)
    if not key:
        raise StoreError(f"{store.folder(FOLDER)}: nothing is drawn yet; run: mixdistill audit {store.root}")
    sheet = store.folder(FOLDER) / SHEET
    marks = sheets.marks(sheet, sheets.read(sheet), key)
    arms = _arms(store, design.seed)
    valid = _valid(store, arms, key)
    strata = {name: _strata(arm, valid, marks) for name, arm in arms.items() if name in {d[0] for d in valid.values()}}
    counted = [id_ for id_ in marks if id_ in valid]
    wanted, _ = _joined(store, arms, design.per_arm, design.seed, key)
    return Report(
        run=str(store.root),
        drawn=len(valid),
        marked=len(counted),
        unclear=sum(marks[id_] == "unclear" for id_ in counted),
        void=len(marks) - len(counted),
        redecided=sum(valid[id_].accepted != key[id_].accepted for id_ in counted),
        undrawn=len(wanted) - len(key),
        arms=[ArmReport(arm=a, benchmark=b, found=arm_error(*s)) for (a, b), s in strata.items()],
        gaps=_gaps(graded.study_of(store), strata),
    )


class _Valid(NamedTuple):
    """A trace of the key that is still there, with its arm and what is decided of it now."""

    arm: tuple[str, str]
    accepted: bool
    rate: float


def _valid(store: Store, arms: dict[tuple[str, str], _Arm], key: dict[str, Drawn]) -> dict[str, _Valid]:
    """Of the key's rows, by id, those whose text is still the one that was shown."""
    import polars as pl

    found = {}
    by_arm: dict[tuple[str, str], list[Drawn]] = defaultdict(list)
    for d in key.values():
        by_arm[d.arm, d.benchmark].append(d)
    for name, drawn in by_arm.items():
        if name not in arms:
            continue
        rows = arms[name].traces.filter(pl.col("trace_id").is_in([d.trace_id for d in drawn]))
        now = {t: (a, arms[name].tables[i]) for t, a, i in rows.select("trace_id", "accepted", "table").iter_rows()}
        texts = _texts(store, [(g, trace) for trace, (_, g) in now.items()])
        for d in drawn:
            if d.trace_id in texts and texts[d.trace_id].hash == d.text:
                found[d.id] = _Valid(name, now[d.trace_id][0], d.rate)
    return found


def _strata(arm: _Arm, valid: dict[str, _Valid], marks: dict[str, Mark]) -> tuple[Stratum, Stratum]:
    """An arm's accepted traces and its others, with their marks."""
    accepted = int(arm.traces["accepted"].sum())
    mine = {id_: v for id_, v in valid.items() if v.arm == (arm.arm, arm.benchmark) and id_ in marks}
    of = {which: [Marked(marks[i], v.rate) for i, v in mine.items() if v.accepted == which] for which in (True, False)}
    return Stratum(True, accepted, of[True]), Stratum(False, len(arm.traces) - accepted, of[False])


def _gaps(study: Recipe | None, strata: dict[tuple[str, str], tuple[Stratum, Stratum]]) -> list[GapReport]:
    """Every contrast of the recipe, and every arm against the untuned student, of which both arms were drawn."""
    if study is None:
        return []
    pairs = [(name, pair) for name in study.contrasts for pair in study.pairs(name)]
    pairs += [(f"{arm}{OVER_BASE}", (arm, BASE)) for arm in study.arms]
    found = []
    for name, (a, b) in pairs:
        for student in study.students:
            for benchmark in study.problems.eval:
                one, other = ((f"student/{student}/{arm}", benchmark) for arm in (a, b))
                if one in strata and other in strata:
                    error = gap_error(strata[one], strata[other])
                    found.append(
                        GapReport(contrast=name, student=student, benchmark=benchmark, arms=(a, b), found=error)
                    )
    return found
