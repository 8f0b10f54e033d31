"""A training's own checkpoints: which is the newest whole one, and how one is removed so that half of it is none."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixdistill.errors import StageError

STATE = "trainer_state.json"
LAYOUT = "processes.json"
"""In a checkpoint of several processes: how many they were, and how they shared the training."""
ALONE: dict[str, Any] = {"num_processes": 1, "distributed": None}


def newest_checkpoint(out: Path, layout: dict[str, Any] = ALONE) -> Path | None:
    """The newest whole checkpoint below a folder that as many processes made in the same way: others round otherwise,
    or cannot read it. One whose trainer_state.json, which is written last, cannot be read was cut off while it was
    written.
    """
    fit = [c for c in out.glob("checkpoint-*") if _whole(c) and _layout(c) == layout]
    return max(fit, key=checkpoint_step, default=None)


def _layout(checkpoint: Path) -> dict[str, Any]:
    try:
        return json.loads((checkpoint / LAYOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ALONE


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


@contextmanager
def room(folder: Path, what: str) -> Generator[None]:
    """Meanwhile `folder` is written. Where the disk is full the half of it is removed, and StageError says so; what was
    saved before it stays."""
    try:
        yield
    except Exception as e:  # torch and safetensors raise errors of their own for what the disk refuses
        if not _full(e):
            raise
        remove_checkpoint(folder)
        free = shutil.disk_usage(folder.parent).free
        raise StageError(
            f"train: no space for {what} in {folder.parent} ({free / 1e9:.1f} GB free); free some and run again: the "
            "training goes on from its last checkpoint"
        ) from e


def _full(e: BaseException) -> bool:
    if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    failed = any(text in str(e).lower() for text in ("no space left", "disk quota", "file write failed"))
    return failed or (isinstance(e.__cause__, OSError) and _full(e.__cause__))
