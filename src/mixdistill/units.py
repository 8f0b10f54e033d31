"""Units of work: what there is to do in a stage, what it was begun with, and where it stands.

A unit's *identity* is the hash of the options that change its rows and of the content it reads. Its *extent* is the
set of ids it wants. Same identity and all ids there: done. Some there: resume or extend. Another identity: changed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixdistill import resolve
from mixdistill.recipe import Recipe
from mixdistill.store import MARKER, Store, read_described, shaped
from mixdistill.types import content_hash, trace_id

CONTENT = ("file:", "folder:")
"""How what counts by its content begins in an identity."""
STARTED = "started.json"
"""What a unit was begun with, until its marker says so."""
STILL_CUT = "still_cut"
"""Fact of a marker: rows that a failed request left as an earlier recipe cut them."""
DESCRIBED = ("identity", "options", "inputs")
"""What both say."""


@dataclass(frozen=True, eq=False)
class Extent(Set[str]):
    """Ids of the traces that a table should hold: all samples of some problems by one author. Each is made when it is
    asked for: a plan of thousands of units has millions of them, and is mostly content with the digest.
    """

    author: str
    problems: tuple[str, ...]
    """Their ids."""
    samples: int
    rule: str = ""
    """What decides whether more samples are wanted, where that follows from the samples themselves; no ids of it."""

    @property
    def digest(self) -> str:
        """Hash of what is wanted, in no time."""
        return content_hash(self.author, str(self.samples), self.rule, _digest(self.problems))

    def __iter__(self) -> Iterator[str]:
        return (trace_id(self.author, p, i) for p in self.problems for i in range(self.samples))

    def __len__(self) -> int:
        return len(self.problems) * self.samples

    def __contains__(self, item: object) -> bool:
        return any(item == known for known in self)

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> frozenset[Any]:
        return frozenset(it)


def drawn(problems: tuple[str, ...], size: int) -> tuple[str, ...]:
    """A pilot's problems, in their order: at random, but by their ids alone, so that the draw never changes and a
    smaller pilot lies in every larger one."""
    if size >= len(problems):
        return problems
    chosen = set(sorted(problems, key=lambda p: content_hash("pilot", p))[:size])
    return tuple(p for p in problems if p in chosen)


@lru_cache(maxsize=32)
def _digest(problems: tuple[str, ...]) -> str:
    """Every cell is asked the same problems."""
    return content_hash(*problems)


@dataclass(frozen=True)
class Unit:
    """One piece of work of one stage, with a folder of its own."""

    stage: str
    key: tuple[str, ...]
    """Folder below the stage's."""
    options: dict[str, Any]
    """What changes its rows. Never names of arms, paths or timings."""
    inputs: dict[str, str | None] = field(default_factory=dict)
    """What it reads -> content hash; None where that is not there yet."""
    wanted: Extent = field(default_factory=lambda: Extent("", (), 0))
    """Ids its table should hold."""
    table: str = ""
    """The table with these ids."""
    cost: float = 1.0
    """Rough relative cost; the largest units start first."""
    together: str = ""
    """Name of an engine that a worker keeps between units: those of one name are done one after another."""
    given: dict[str, str] = field(default_factory=dict)
    """Option or input -> the path or name it was given as, where its content counts. No part of the identity."""
    grows: frozenset[str] = frozenset()
    """Options of which a larger value, None the largest, keeps the rows and wants more of some."""

    @property
    def label(self) -> str:
        """`train/s/long/0`."""
        return "/".join((self.stage, *self.key))

    @property
    def identity(self) -> str:
        """Hash of options and inputs."""
        text = json.dumps([self.options, self.inputs], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Done:
    """What a unit leaves in its marker."""

    counts: dict[str, Any] = field(default_factory=dict)
    """Rows by outcome or reason."""
    tables: dict[str, Any] = field(default_factory=dict)
    """Sealed tables: name -> {rows, columns}."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What happened: updates, losses, devices."""
    absent: frozenset[str] = frozenset()
    """Wanted ids that there is no row for and never will be, so that they are not asked for again."""


class State(StrEnum):
    """Where a unit stands."""

    DONE = "done"
    NEW = "new"
    RESUME = "resume"
    EXTEND = "extend"
    CHANGED = "changed"
    BLOCKED = "blocked"


def module(stage: str) -> Any:
    """The module behind a stage's name."""
    return importlib.import_module(f"mixdistill.{stage}")


def units_of(stage: str, recipe: Recipe, store: Store) -> list[Unit]:
    """A stage's units. A file or model that is gone counts as it was: a moved run folder is still what it is."""
    return [_as_it_was(unit, made(unit, store)) for unit in module(stage).units(recipe, store)]


def made(unit: Unit, store: Store) -> dict[str, Any] | None:
    """What a unit's folder says it was made with; None where nothing was begun."""
    folder = store.folder(unit.stage, *unit.key)
    marker = store.marker(folder)
    if marker is not None:
        return shaped(folder / MARKER, marker, *DESCRIBED)
    return read_described(folder / STARTED, *DESCRIBED)


def _as_it_was(unit: Unit, begun: dict[str, Any] | None) -> Unit:
    if begun is None:
        return unit
    known, was = begun.get("given", {}), {**begun["options"], **begun["inputs"]}
    gone = {
        k
        for k, given in unit.given.items()
        if known.get(k) == given and str(was.get(k)).startswith(CONTENT) and not _there(given)
    }
    if not gone:
        return unit
    options, inputs = ({**now, **{k: begun[part][k] for k in gone & begun[part].keys()}}
                       for part, now in (("options", unit.options), ("inputs", unit.inputs)))  # fmt: skip
    return replace(unit, options=options, inputs=inputs)


def _there(given: str) -> bool:
    given = resolve.from_environment(given)
    if given.startswith("lab:"):
        return resolve.folder_of(given) is not None
    return Path(given).expanduser().exists()


def state(unit: Unit, store: Store) -> State:
    """Where a unit stands, given what lies in its folder."""
    if any(content is None for content in unit.inputs.values()):
        return State.BLOCKED
    begun = made(unit, store)
    if begun is None:
        return State.NEW
    if begun["identity"] != unit.identity and not grown(unit, begun):
        return State.CHANGED
    marker = store.marker(store.folder(unit.stage, *unit.key))
    if marker is None:
        return State.RESUME
    more = begun["identity"] != unit.identity or (unit.wanted.rule and marker.get("whole") != unit.wanted.digest)
    return State.EXTEND if more or lacking(unit, store) else State.DONE


def grown(unit: Unit, begun: dict[str, Any]) -> bool:
    """Whether a unit was begun with the same options and inputs but for those that grew."""
    then, now = begun["options"], json.loads(json.dumps(unit.options, default=str))
    if begun["inputs"] != unit.inputs or not unit.grows <= then.keys():
        return False
    larger = all(now[k] is None or (then[k] is not None and now[k] >= then[k]) for k in unit.grows)
    return larger and {**then, **{k: now[k] for k in unit.grows}} == now


def lacking(unit: Unit, store: Store) -> frozenset[str]:
    """Wanted ids that a unit's marker does not answer for: what was not wanted then.

    The marker tells whether all of what was wanted then was there; only where it was not, or something else is wanted
    now, is the table read.
    """
    folder = store.folder(unit.stage, *unit.key)
    marker = store.marker(folder) or {}
    if not unit.wanted or marker.get("whole") == unit.wanted.digest:
        return frozenset()
    return frozenset(unit.wanted - held(unit, store))


def held(unit: Unit, store: Store) -> frozenset[str]:
    """Ids that need not be asked for: those in the sealed table, failed ones too, and those that will never be."""
    folder = store.folder(unit.stage, *unit.key)
    return frozenset(store.ids(folder, unit.table)).union(store.absent(folder))


def changed_keys(unit: Unit, store: Store) -> list[str]:
    """Which options and inputs differ from what the folder was made with, as `key=old, now new`."""
    old = made(unit, store) or {}
    lines = []
    for part, now in (("options", unit.options), ("inputs", unit.inputs)):
        before = old.get(part, {})
        for key in sorted({*before, *now}):
            a, b = before.get(key), json.loads(json.dumps(now.get(key), default=str))
            if a == b or (part == "inputs" and key in now and b is None):  # what is not there yet has not changed
                continue
            if part == "inputs":
                lines.append(f"{key} changed")
            elif isinstance(a, dict) and isinstance(b, dict):
                keys = [k for k in sorted({*a, *b}) if a.get(k) != b.get(k)]
                lines += [f"{key}.{k} was {a.get(k)}, is now {b.get(k)}" for k in keys]
            else:
                lines.append(f"{key} was {a}, is now {b}")
    return lines


def plan(recipe: Recipe, store: Store, stage: str, *, pilot: int | None = None) -> list[tuple[Unit, State]]:
    """A stage's units and where they stand. With a `pilot` of so many problems, no more is wanted of what is not whole;
    what is done for some is extended later.
    """
    look = store.glance()
    planned = [(unit, state(unit, look)) for unit in units_of(stage, recipe, look)]
    if pilot is None:
        return planned
    cut = [(s, replace(u, wanted=replace(u.wanted, problems=drawn(u.wanted.problems, pilot)))) for u, s in planned]
    return [(u, s if s is State.DONE else state(u, look)) for s, u in cut]


def read_json(path: Path) -> dict[str, Any] | None:
    """What a file of ours holds; None where there is none, or half of one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
