"""Points of a training at which its student is saved, so that it can be asked how it was in the middle.

<cell>/snapshots/<update>/   a whole model folder, from that update until the cell is done
<cell>/trained.json          what the training did, once it is over: asking the snapshots may be cut off
<cell>/model/                the student: that of the last update, or of the point that is kept
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mixdistill.files import write_atomically

MODEL = "model"
"""Below a training's folder: the student that came out."""
SNAPSHOTS = "snapshots"
TRAINED = "trained.json"


def points(updates: int, wanted: int) -> list[int]:
    """Updates after which a training is looked at: `wanted` of them at equal distances, the last update among them;
    fewer where there are not as many updates."""
    return sorted({-(-updates * i // wanted) for i in range(1, wanted + 1)})


def snapshot(out: Path, update: int) -> Path:
    """Where the model of an update before the last is saved."""
    return out / SNAPSHOTS / str(update)


def taken(out: Path, end: int) -> dict[int, Path]:
    """Update -> folder of its model, of all that are whole; the last update's is the model itself."""
    folders = {int(p.name): p for p in (out / SNAPSHOTS).glob("*") if p.name.isdigit()}
    return dict(sorted({**folders, end: out / MODEL}.items()))


def keep(out: Path, update: int, end: int) -> None:
    """Make the model of this update the student, and remove the others. Killed in between, the next call goes on."""
    chosen, model = snapshot(out, update), out / MODEL
    if update != end and chosen.exists():
        if model.exists():
            model.rename(snapshot(out, end))
        chosen.rename(model)
    shutil.rmtree(out / SNAPSHOTS, ignore_errors=True)


def note(out: Path, facts: dict[str, Any]) -> None:
    """Remember what a training did."""
    write_atomically(out / TRAINED, json.dumps(facts).encode())


def noted(out: Path) -> dict[str, Any] | None:
    """What a training did, where it is over."""
    path = out / TRAINED
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def forget(out: Path) -> None:
    """A training whose models are gone is none."""
    if not (out / MODEL).is_dir() and not (out / SNAPSHOTS).is_dir():
        (out / TRAINED).unlink(missing_ok=True)
