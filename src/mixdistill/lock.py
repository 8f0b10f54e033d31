"""One process per run folder, on every file system, with the holder named.

The kernel's own lock where there is one: it goes when its holder goes, however that dies. Some network file systems
know no locks; there a file that only one process can create stands for it, and outlives a killed holder. It is taken
over where that holder ran on this machine and is gone; on another machine nobody can know, and a person decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mixdistill.errors import StoreError

LOCK = ".lock"
CLAIM = ".lock.held"
TRIES, PAUSE = 5, 0.02
_HOLDER = re.compile(r"pid (\d+) on (\S+),")


@contextmanager
def hold(root: Path, advice: str = "wait for it or use --out") -> Generator[None]:
    """Hold a folder. Raises StoreError naming the holder, with advice, when another process has it."""
    try:
        file = open(root / LOCK, "a+")  # noqa: SIM115 -- held for the whole run
    except OSError as e:
        raise StoreError(f"{root}: cannot be written ({e.strerror}); choose another --out") from e
    with file:
        try:
            _lock(file)
        except BlockingIOError:
            raise StoreError(f"{root}: in use by {_said(root / LOCK)}; {advice}") from None
        except OSError:  # no locks here
            with _claimed(root, advice):
                yield
            return
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the name
            file.truncate(0)
            file.write(_me())
            file.flush()
        yield


def holder(root: Path) -> str | None:
    """Who holds a folder now, as `pid 12 on host, started ...`; None when nobody does. Takes no lock for longer than
    the look, and changes nothing."""
    claim = root / CLAIM
    if claim.exists() and not _gone(_said(claim)):
        return _said(claim)
    try:
        with open(root / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _said(root / LOCK)
    except OSError:
        return None
    return None


def _lock(file: IO[str]) -> None:
    """Take the kernel's lock, with a few tries: somebody may just be looking whether it is free."""
    for left in reversed(range(TRIES)):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
        time.sleep(PAUSE)


@contextmanager
def _claimed(root: Path, advice: str) -> Generator[None]:
    claim, me = root / CLAIM, _me()
    while True:
        try:
            with open(claim, "x") as file:
                file.write(me)
            break
        except FileExistsError:
            other = _said(claim)
            if not _gone(other) or not _taken_away(claim, other):
                raise StoreError(
                    f"{root}: in use by {other}; {advice}; if that process is gone, delete {claim} "
                    "(this file system knows no locks)"
                ) from None
        except OSError as e:
            raise StoreError(f"{root}: cannot be written ({e.strerror}); choose another --out") from e
    try:
        yield
    finally:
        if _said(claim) == me.strip():
            claim.unlink(missing_ok=True)


def _me() -> str:
    return f"pid {os.getpid()} on {socket.gethostname()}, started {time.strftime('%Y-%m-%d %H:%M:%S')}\n"


def _said(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except OSError:
        return "another process"


def _gone(holder: str) -> bool:
    """Whether a holder ran on this machine and is not there any more."""
    match = _HOLDER.match(holder)
    if match is None or match[2] != socket.gethostname():
        return False
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _taken_away(claim: Path, of: str) -> bool:
    """Remove the claim of a holder that is gone, unless somebody else has just made it theirs."""
    mine = claim.with_name(f"{claim.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        os.rename(claim, mine)
        ours = _said(mine) == of
        if not ours:
            _put_back(mine, claim)
        mine.unlink()
        return ours
    return False


def _put_back(taken: Path, claim: Path) -> None:
    """Give somebody their claim back, but never over that of a third who has claimed the folder meanwhile."""
    try:
        os.link(taken, claim)
    except FileExistsError:
        pass
    except OSError:  # no hard links here
        with contextlib.suppress(FileExistsError), open(claim, "x") as file:
            file.write(taken.read_text(encoding="utf-8"))
