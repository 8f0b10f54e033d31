"""`status`: where a run stands, read from its folder alone, also while the run goes on. It changes nothing.

A unit is

    done        sealed and marked
    running     begun by the process that holds the folder now
    failed      ended with an error, which is kept
    resumable   begun and killed, or done for fewer problems or samples than are wanted now
    changed     made with other settings or inputs than it would have now; the reasons say which
    missing     not begun
    blocked     not begun, and what it reads is not there yet
"""

from __future__ import annotations

import json
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

from mixdistill import lock, pipeline, units
from mixdistill.commands.complete import is_run, run_folders
from mixdistill.errors import MixdistillError, StoreError, said
from mixdistill.pipeline import STAGES
from mixdistill.recipe import Recipe, load
from mixdistill.refusals import PILOT, RECIPE, TRACEBACK
from mixdistill.store import MARKER, SET_ASIDE, UNUSED, Store
from mixdistill.units import STARTED, State

Facts = dict[str, Any]
STATES = ("done", "running", "failed", "resumable", "changed", "missing", "blocked")
SHOWN = 5
"""Units that are named in a line."""


def describe(root: Path) -> Facts:
    """Everything `status RUN` says, as plain objects. Raises StoreError for what is no run folder."""
    store = Store(root)
    if not (root / RECIPE).is_file():
        raise no_run(root)
    recipe = load(root / RECIPE, resolved=False)
    held_by = lock.holder(root)
    stages = [_stage(recipe, store, stage, bool(held_by)) for stage in _stages(recipe)]
    return {
        "run": str(root),
        "name": recipe.name,
        "description": recipe.description,
        "held_by": held_by,
        "progress": store.beats() if held_by else [],
        "problems": _problems(store),
        "pilot": _pilot(store, stages),
        "seconds": pipeline.sessions_seconds(store),
        "bytes": size(root),
        "stages": stages,
        "set_aside": _set_aside(root),
        "report": str(root / "report" / "index.html") if (root / "report" / "index.html").exists() else None,
        "command": _command(recipe, store, stages),
    }


def overview(parent: Path) -> list[Facts]:
    """Every run folder in `parent`: name, stage reached, units done and wanted, when, size."""
    found = []
    for root in run_folders(parent):
        try:
            study = load(root / RECIPE, resolved=False)
            keys = {stage: keys_of(study, Store(root), stage) for stage in STAGES}
        except MixdistillError as e:
            found.append({"run": str(root), "problem": str(e).splitlines()[0]})
            continue
        marked = [(s, k) for s, ks in keys.items() for k in ks if root.joinpath(s, *k, MARKER).exists()]
        done = Counter(stage for stage, _ in marked)
        times = [m for s, k in marked if (m := _modified(root.joinpath(s, *k, MARKER)))]
        found.append(
            {
                "run": str(root),
                "stage": max(done, key=STAGES.index, default=None),
                "done": sum(done.values()),
                "wanted": sum(map(len, keys.values())),
                "running": lock.holder(root) is not None,
                "when": time.strftime("%Y-%m-%d %H:%M", time.localtime(max(times))) if times else None,
                "bytes": size(root),
            }
        )
    return found


def no_run(root: Path) -> StoreError:
    """The error for a folder that is none of ours."""
    inside = _nearby(root)
    advice = f"did you mean {inside}?" if inside else "give the folder that --out named"
    return StoreError(f"{root}: not a run folder (no {RECIPE} or no problems in it); {advice}")


def _nearby(root: Path) -> Path | None:
    """The run below `runs/` that was called by its bare name."""
    guess = Path("runs") / root
    return guess if not root.is_absolute() and is_run(guess) else None


def size(path: Path) -> int:
    """Bytes of a file, or of all in a folder; what vanishes meanwhile does not count."""
    if path.is_symlink() or not path.is_dir():
        try:
            return path.lstat().st_size
        except OSError:
            return 0
    try:
        return sum(size(p) for p in path.iterdir())
    except OSError:
        return 0


def _stages(recipe: Recipe) -> list[str]:
    """Those that there is anything to do in."""
    return [stage for stage in STAGES if stage != "tune" or recipe.tune]


def keys_of(recipe: Recipe, store: Store, stage: str) -> list[tuple[str, ...]]:
    """Folders of a stage's units below the stage's own."""
    if stage == "tune":
        rates = recipe.tune.learning_rate if recipe.tune else []
        return [(s, a, repr(rate)) for s in recipe.students for a in recipe.trained for rate in rates]
    cells: list[tuple[str, ...]] = [(s, a, str(seed)) for s, a, seed in recipe.cells()]
    if stage in ("generate", "verify", "analyze"):
        return [(t,) for t in recipe.teachers]
    if stage == "evaluate":
        from mixdistill.evaluate import cells as asked

        return [(*c, b) for c in asked(recipe, store) for b in recipe.problems.eval]
    return [()] if stage == "report" else cells


def _stage(recipe: Recipe, store: Store, stage: str, held: bool) -> Facts:
    store = store.glance()
    planned, unplanned = _planned(recipe, store, stage)
    units = [_unit(store, stage, key, planned, held) for key in keys_of(recipe, store, stage)]
    states = Counter(u["state"] for u in units)
    markers = [m for u in units if (m := _marker(store, stage, u["key"]))]
    counts: Counter[str] = Counter()
    for m in markers:
        counts.update({k: v for k, v in m.get("counts", {}).items() if isinstance(v, int | float)})
    return {
        "stage": stage,
        "wanted": len(units),
        **{state: states[state] for state in STATES},
        "seconds": round(sum(m.get("seconds", 0.0) for m in markers), 1),
        "counts": dict(counts),
        "units": [{k: v for k, v in u.items() if k != "key"} for u in units if u["state"] not in ("done", "missing")],
        "unplanned": unplanned,
    }


def _planned(recipe: Recipe, store: Store, stage: str) -> tuple[dict[tuple[str, ...], tuple[Any, State]], str | None]:
    """The pipeline's own opinion of each unit; none, and why, where it needs what this machine lacks."""
    try:
        return {u.key: (u, s) for u, s in units.plan(recipe, store, stage)}, None
    except Exception as e:  # a user's module may raise anything when it is imported
        return {}, said(e)


def _unit(store: Store, stage: str, key: tuple[str, ...], planned: dict[Any, Any], held: bool) -> Facts:
    """One unit: its label, its state, and what there is to say of it."""
    folder = store.folder(stage, *key)
    told: Facts = {"unit": "/".join((stage, *key)), "key": key}
    begun = _read(folder / STARTED)
    if _marker(store, stage, key) is None and begun is not None:
        if "failed" in begun:
            kept = folder / TRACEBACK
            return told | {"state": "failed", "why": begun["failed"], "traceback": str(kept) if kept.exists() else None}
        session = max(_modified(store.root / name) for name in (lock.LOCK, lock.CLAIM))
        return told | {"state": "running" if held and _modified(folder / STARTED) >= session else "resumable"}
    unit, state = planned.get(key, (None, None))
    if state is State.CHANGED:
        return told | {"state": "changed", "why": "; ".join(units.changed_keys(unit, store))}
    if state is State.EXTEND:
        return told | {"state": "resumable", "why": f"{len(units.lacking(unit, store)):,} more are wanted"}
    if _marker(store, stage, key) is not None or state is State.RESUME:  # it ended while we looked
        return told | {"state": "done"}
    if state is State.BLOCKED:
        return told | {"state": "blocked", "why": "waits for " + ", ".join(k for k, v in unit.inputs.items() if not v)}
    return told | {"state": "missing"}


def _marker(store: Store, stage: str, key: tuple[str, ...]) -> Facts | None:
    try:
        return store.marker(store.folder(stage, *key))
    except (StoreError, OSError):
        return None  # the plan says so


def _read(path: Path) -> Facts | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _problems(store: Store) -> dict[str, int]:
    tables = (_read(store.folder("problems") / MARKER) or {}).get("tables", {})
    rows = {name: t["rows"] for name, t in tables.items() if name != UNUSED}
    return dict(sorted(rows.items(), key=lambda item: (item[0] != "train", item[0])))


def _pilot(store: Store, stages: list[Facts]) -> int | None:
    """Problems of a pilot beyond which nothing was bought; None where there is no such pilot."""
    made = _read(store.root / PILOT)
    bought = next(s for s in stages if s["stage"] == "generate")
    return made.get("pilot") if made and bought["resumable"] and not bought["running"] else None


def _set_aside(root: Path) -> Facts | None:
    folder = root / SET_ASIDE
    if not folder.is_dir():
        return None
    units = sorted({str(p.parent.relative_to(folder)) for name in (MARKER, STARTED) for p in folder.rglob(name)})
    return {"path": str(folder), "units": units, "bytes": size(folder)}


def _command(recipe: Recipe, store: Store, stages: list[Facts]) -> str | None:
    """What carries the run on, in the state that its folder describes; None when all is done."""
    from mixdistill.commands.fake import ENDING

    if all(s["done"] == s["wanted"] for s in stages):
        return None
    limit = (_read(store.folder("problems") / MARKER) or {}).get("options", {}).get("limit")
    words = ["mixdistill", "run", str(store.root / RECIPE)]
    words += ["--out", str(store.root)] if store.root != Path("runs") / recipe.name else []
    words += ["--rehearse"] if recipe.name.endswith(ENDING) else []
    return " ".join([*words, *(["--limit", str(limit)] if limit else [])])


# -- for a person -----------------------------------------------------------------------------------------------------


def text(facts: Facts, width: int) -> str:
    """`describe` in words, at most `width` characters wide where words can be wrapped."""
    lines = [("run", f"{facts['run']}: {facts['description'] or facts['name']}"), ("now", _now(facts))]
    lines += [("", _beat(b)) for b in facts["progress"]]
    lines.append(("problems", ", ".join(f"{name} {n:,}" for name, n in facts["problems"].items()) or "none yet"))
    if facts["pilot"]:
        lines.append(("pilot", f"{facts['pilot']:,} of the training problems were asked; the others are still missing"))
    lines.append(("spent", f"{clock(facts['seconds'])} in all, {human(facts['bytes'])} on disk"))
    head = ("stage", "done", "time", "")
    rows = [(s["stage"], f"{s['done']}/{s['wanted']}", clock(s["seconds"]), _words(s)) for s in facts["stages"]]
    shown = [f"{a:<10} {b:>9}  {c:>8}  {d}".rstrip() for a, b, c, d in (head, *rows)]
    after = [line for s in facts["stages"] for line in _notes(s)]
    if aside := facts["set_aside"]:
        units = aside["units"]
        named = ", ".join(units[:SHOWN]) + (f" and {len(units) - SHOWN} more" if len(units) > SHOWN else "")
        how = f"mixdistill rm {facts['run']} --set-aside deletes it"
        after.append(("set aside", f"{named} ({human(aside['bytes'])} in {aside['path']}); {how}"))
    if facts["command"] and not facts["held_by"]:
        after.append(("go on", facts["command"]))
    if facts["report"]:
        after.append(("page", facts["report"]))
    return "\n".join([*wrapped(lines, width), "", *shown, "", *wrapped(after, width)])


def overview_text(runs: list[Facts]) -> str:
    """`overview` as a table."""
    if not runs:
        return "No runs in runs/. The first: mixdistill demo"
    rows = [("run", "reached", "done", "last", "size")]
    for r in runs:
        if "problem" in r:
            rows.append((r["run"], r["problem"], "", "", ""))
            continue
        when = "running now" if r["running"] else r["when"] or "-"
        rows.append((r["run"], r["stage"] or "-", f"{r['done']}/{r['wanted']}", when, human(r["bytes"])))
    widths = [max(len(row[i]) for row in rows if row[2]) for i in range(5)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def human(count: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def clock(seconds: float) -> str:
    """`1:02:03`, `2:03` or `3.4 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _now(facts: Facts) -> str:
    if facts["held_by"]:
        return f"running: {facts['held_by']}"
    return "not running" if facts["command"] else "complete"


def _beat(beat: Facts) -> str:
    rate = f", {beat['rate']:,.0f} tok/s" if beat.get("rate") else ""
    return f"{beat.get('label', '?')}: {beat.get('done', 0):,} of {beat.get('total', 0):,}{rate}"


def _words(stage: Facts) -> str:
    """What is not done, then the counts of what is."""
    states = [f"{stage[s]} {s}" for s in STATES[1:] if stage[s]]
    counts = stage["counts"]
    if "correct" in counts and (judged := sum(v for k, v in counts.items() if k in _OUTCOMES)):
        states.append(f"{counts['correct']:,} of {judged:,} correct")
    else:
        states += [
            f"{counts[k]:,} {k.replace('_', ' ')}" for k in ("traces", "updates", "diverged", "gaps") if k in counts
        ]
    return ", ".join(states)


_OUTCOMES = ("correct", "incorrect", "no_answer", "truncated", "error")


def _notes(stage: Facts) -> list[tuple[str, str]]:
    """Failed and changed units by name."""
    lines = []
    for state in ("failed", "changed"):
        told = [u for u in stage["units"] if u["state"] == state]
        for u in told[:SHOWN]:
            kept = f"; traceback in {u['traceback']}" if u.get("traceback") else ""
            why = str(u["why"]).removeprefix(f"{u['unit']}: ")
            lines.append((state, f"{u['unit']}: {why}{kept}"))
        if len(told) > SHOWN:
            lines.append(("", f"and {len(told) - SHOWN} more of {stage['stage']}"))
    if stage["unplanned"]:
        lines.append(("unsure", f"{stage['stage']} is told from its files alone ({stage['unplanned']})"))
    return lines


def wrapped(lines: list[tuple[str, str]], width: int) -> list[str]:
    """(head, words) as lines with a column for the heads."""
    wrap = [
        (head, textwrap.wrap(line, max(width - 11, 40), break_long_words=False, break_on_hyphens=False))
        for head, line in lines
    ]
    return [f"{head if i == 0 else '':<10} {part}" for head, parts in wrap for i, part in enumerate(parts)]
