"""Ctrl-C where requests are in flight: once finishes them, twice abandons them. Both go on with the next run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def gently(ask: Callable[[], None]) -> Generator[Callable[[], bool]]:
    """Inside, the first Ctrl-C calls `ask`, the second raises KeyboardInterrupt. Gives a function that says whether
    there was a first. Outside the main thread, where no signal arrives, nothing changes."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def first(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        ask()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
