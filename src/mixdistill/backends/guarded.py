"""Runs a command that ends when whoever started it does, however that ends.

    python -m mixdistill.backends.guarded COMMAND ARGUMENT ...

The command and all it starts are a process group of their own. Standard input is a line to the starter: when it is
closed, by a starter that is through or by the system for one that was killed, the group is asked to end, and killed
`GRACE` seconds later. Where the command ends by itself, what it left behind is killed, and its exit status is ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 10.0
"""Seconds between asking and killing."""
GONE_SECONDS = 1.0
"""How long those that were killed may take to be gone."""
PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> None:
    """Run the command until it ends or standard input does."""
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, lambda *_: os.close(0))  # as if the starter had closed it
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_ended_with_parent,
    )
    watching = threading.Thread(target=_watch, args=(server,), daemon=True)
    watching.start()
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    _tell(server, signal.SIGTERM)
    watching.join(GRACE)
    _tell(server, signal.SIGKILL)
    watching.join()


def _watch(server: subprocess.Popen[bytes]) -> None:
    """When the command has ended, end what it left behind, and this."""
    status = server.wait()
    _tell(server, signal.SIGKILL)
    _await_end(server)
    os._exit(status if status >= 0 else 128 - status)


def _tell(server: subprocess.Popen[bytes], what: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.killpg(server.pid, what)


def _await_end(server: subprocess.Popen[bytes]) -> None:
    """Return when none of the group is left: a process that was killed still takes a moment to be gone."""
    give_up = time.monotonic() + GONE_SECONDS  # where nobody reaps orphans, they stay
    with contextlib.suppress(OSError):
        while time.monotonic() < give_up:
            os.killpg(server.pid, 0)
            time.sleep(0.01)


def _ended_with_parent() -> None:
    """Linux asks the command to end even where this process is killed before it can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
