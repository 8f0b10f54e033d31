"""A warm process that carries out studies in forks of itself and lets them be killed at a chosen moment.

One line of JSON in, one out: {"recipe": file, "root": folder, "kill": {...} or null} -> {"signal": n, "events": [...]}.
A fork dies by SIGKILL, with everything it has open, so nothing cleans up after it. The moments:

    {"at": n}                  before the n-th durable operation below the run folder (open to write, rename, remove,
                               truncate, remove a folder), counted over the whole study
    {"torn": "traces.jsonl", "at": n}    in the middle of the n-th write to this journal
    {"torn": "traces.parquet", "at": n}  in the middle of the n-th sealing of this table

Run by `test_kills.py`; heavy libraries are imported before the first fork, so that a study takes about a second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}
UNCOUNTED = (".progress", ".lock", "sessions.json")
"""Written by the clock, or of no consequence."""


class Killer:
    """Counts durable operations below a folder and dies before a chosen one."""

    def __init__(self, root: str, kill: dict[str, Any] | None, told: int) -> None:
        self.root, self.kill, self.told, self.count, self.torn = root, kill or {}, told, 0, 0

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """An audit hook: called by the interpreter before each operation."""
        if event == "open":
            path, _, flags = args
            if not isinstance(flags, int) or not flags & WRITES:
                return
        elif event in EVENTS:
            path = args[0]
        else:
            return
        if not isinstance(path, str | bytes | os.PathLike):
            return
        where = os.path.relpath(os.path.abspath(os.fsdecode(path)), self.root)
        if where.startswith("..") or where.startswith(UNCOUNTED):
            return
        self.count += 1
        os.write(self.told, f"{event} {where}\n".encode())
        if "torn" not in self.kill and self.kill.get("at") == self.count:
            os.kill(os.getpid(), signal.SIGKILL)

    def tear(self) -> None:
        """Let the chosen write of a journal, or the chosen table, be half there."""
        from mixdistill import store

        append = store._append

        def half_a_row(f: Any, folder: Path, line: bytes) -> int:
            if f.name.endswith(self.kill["torn"]) and self.now():
                f.write(line[: len(line) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return append(f, folder, line)

        import polars as pl

        write = pl.DataFrame.write_parquet

        def half_a_table(frame: Any, path: Any, **options: Any) -> None:
            write(frame, path, **options)
            if Path(path).name == f".{self.kill['torn'].replace('.', '_0.')}.tmp" and self.now():
                os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        store._append = half_a_row
        pl.DataFrame.write_parquet = half_a_table

    def now(self) -> bool:
        self.torn += 1
        return self.torn == self.kill["at"]


def carry_out(recipe: str, root: str, kill: dict[str, Any] | None, told: int) -> None:
    """In a fork: the whole study, units one after the other in this process."""
    import tiny
    from mixdistill import pipeline
    from mixdistill.recipe import load
    from mixdistill.store import Store
    from mixdistill.verifiers import grading

    killer = Killer(os.path.abspath(root), kill, told)
    if kill and "torn" in kill:
        killer.tear()
    sys.addaudithook(killer.hook)
    pipeline.Local = tiny.Inline
    failures = pipeline.run(load(recipe), Store(Path(root)), watcher=tiny.Silent())
    grading.stop()
    os.write(told, "".join(f"FAILED {line}\n" for line in failures).encode())


def main() -> None:
    """Serve until the input ends."""
    import datasets  # noqa: F401
    import polars  # noqa: F401
    import torch
    import transformers.models.llama.modeling_llama
    import trl  # noqa: F401

    import mixdistill.training.trainer
    import tiny  # noqa: F401
    from mixdistill.evidence import gather  # noqa: F401

    assert transformers.models.llama.modeling_llama and mixdistill.training.trainer
    torch.set_num_threads(1)
    for line in sys.stdin:
        job = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            sys.stdin.close()
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            carry_out(job["recipe"], job["root"], job.get("kill"), writer)
            os._exit(0)
        os.close(writer)
        with open(reader) as said:
            events = said.read().splitlines()
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "events": events}), flush=True)


if __name__ == "__main__":
    main()
