"""A training's own checkpoints: which is the newest whole one, and how one is removed so that half of it is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

STATE = "trainer_state.json"


def newest_checkpoint(out: Path) -> Path | None:
    """The newest whole checkpoint below a folder. One whose trainer_state.json, which is written last, cannot be read
    was cut off while it was written.
    """
    return max(filter(_whole, out.glob("checkpoint-*")), key=checkpoint_step, default=None)


def checkpoint_step(folder: Path) -> int:
    """The update after which a checkpoint was made."""
    return int(folder.name.rpartition("-")[2])


def _whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint; half of it, after a kill, is none."""
    (folder / STATE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
