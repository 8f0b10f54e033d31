"""`rm`: delete a run folder, or what was set aside in it, after saying what goes. It holds the lock meanwhile."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from mixdistill.commands.audit import FOLDER as AUDIT
from mixdistill.commands.complete import is_run
from mixdistill.commands.status import human, no_run, size
from mixdistill.errors import StoreError
from mixdistill.lock import CLAIM, LOCK
from mixdistill.pipeline import STAGES
from mixdistill.refusals import BEST, FIXTURES, PILOT, RECIPE, SESSIONS, SHIP
from mixdistill.store import SET_ASIDE, Store

OURS = {"problems", *STAGES, AUDIT, SHIP, BEST, FIXTURES, SET_ASIDE, RECIPE, SESSIONS, PILOT, LOCK, CLAIM, ".progress"}
LAST = ("problems", RECIPE, LOCK, CLAIM)
"""By the first two a folder is known as a run's: a deletion that was stopped before them can be called again."""


def remove(root: Path, *, only_set_aside: bool, yes: bool) -> str:
    """Delete and return what was done. Raises StoreError for what is no run, is in use, or without a person's word."""
    if root.is_symlink():
        raise StoreError(f"{root}: a link; name the folder that it leads to ({root.resolve()})")
    if not is_run(root):
        raise no_run(root)
    with Store(root).lock():
        target = root / SET_ASIDE if only_set_aside else root
        if not target.is_dir():
            return f"{root}: nothing was set aside in it"
        entries = sorted(target.iterdir(), key=lambda p: (p.name in LAST and LAST.index(p.name) + 1, p.name))
        what = f"{target}: {human(sum(map(size, entries)))}"
        sys.stdout.write("\n".join([what, *(_line(p, known=only_set_aside) for p in entries)]) + "\n")
        sys.stdout.flush()
        if not yes and not _agreed(target):
            return "Nothing was deleted."
        kept = [p for p in entries if not only_set_aside and p.name not in OURS]
        for path in entries:
            if path not in kept:
                _delete(path)
        if kept:
            return f"Deleted {what}, but for what is not mixdistill's: {', '.join(p.name for p in kept)}."
        target.rmdir()
    return f"Deleted {what}."


def _line(path: Path, *, known: bool) -> str:
    note = "" if known or path.name in OURS else "  (not made by mixdistill; stays)"
    return f"  {path.name + '/' * path.is_dir():<14} {human(size(path)):>9}{note}"


def _agreed(target: Path) -> bool:
    if not sys.stdin.isatty():
        raise StoreError(f"{target}: not deleted, since nobody can be asked here; say --yes")
    sys.stdout.write("Delete all of it? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _delete(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as e:
        raise StoreError(f"{path}: cannot be deleted ({e.strerror}); mend that and say the same again") from None
