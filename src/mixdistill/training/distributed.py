"""One training spread over several processes of this machine by torchrun.

    python -m mixdistill.training.distributed launch JOB N     starts N processes, and says how they ended
    python -m mixdistill.training.distributed process JOB      one of them

Every process sees every update and takes its share of it, so that the updates stay what they are. `JOB` is a folder
with what is to be done, in which the processes leave what came of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixdistill.errors import MixdistillError, StageError
from mixdistill.executor import end_with_parent, enough_gpus, gpus, sendable
from mixdistill.sections import Train

MODULE = "mixdistill.training.distributed"
POLL_SECONDS = 0.1
CALL, RESULT, SAID, ENDED, LOG = "call.pkl", "result.pkl", "progress.jsonl", "ended.json", "log.txt"
"""Files of a job: what is called, what it returned, its progress, how its processes ended, all else that they said."""
SIGTERM = -15
"""How processes end that are ended because another failed."""
SETTINGS = Path(__file__).parent / "launch"
"""`ddp.yaml` and `fsdp.yaml`, for accelerate and for ourselves."""


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of every update."""

    rank: int = 0
    processes: int = 1

    @classmethod
    def here(cls) -> Share:
        """That of this process, as torchrun and accelerate tell it; all of it where there is one process."""
        if "LOCAL_RANK" not in os.environ:
            return cls()
        return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def deal(self, update: Sequence[int], lengths: Mapping[int, int]) -> list[list[int]]:
        """An update's rows, dealt out to all processes such that they have about as many tokens each: the longest
        first, each to whoever has the least. `lengths[i]` are the tokens of row i. The same in every process; one may
        go without."""
        if self.processes == 1:
            return [list(update)]
        hands: list[list[int]] = [[] for _ in range(self.processes)]
        held = [0] * self.processes
        for row in sorted(update, key=lambda i: -lengths[i]):
            least = held.index(min(held))
            hands[least].append(row)
            held[least] += lengths[row]
        return hands

    def layout(self, distributed: str) -> dict[str, Any]:
        """How a training is shared, as a fact."""
        return {"num_processes": self.processes, "distributed": distributed if self.processes > 1 else None}


ALL = Share()
"""There is one process."""


def fsdp(settings: Train) -> dict[str, Any]:
    """The trainer's arguments for weights that several processes share, as `launch/fsdp.yaml` has them; none else."""
    if settings.num_processes == 1 or settings.distributed != "fsdp":
        return {}
    from mixdistill.yaml_text import parse_yaml

    text = (SETTINGS / "fsdp.yaml").read_text(encoding="utf-8")
    return {"fsdp": True, "fsdp_config": parse_yaml(text, "fsdp.yaml")["fsdp_config"]}


# -- whoever starts the processes -------------------------------------------------------------------------------------


def spread(
    function: Callable[..., Any],
    *args: Any,
    processes: int,
    folder: Path,
    progress: Callable[..., None],
    **kwargs: Any,
) -> Any:
    """Call `function(*args, progress=..., **kwargs)` in every one of `processes` processes; what the first returned.

    Its calls of `progress` arrive here. `folder` holds the job's files meanwhile. The processes end when this one does.
    Raises what the process raised that failed first, StageError where one was killed.
    """
    enough_gpus(gpus(), processes)
    job = folder / f".processes.{os.getpid()}.tmp"
    shutil.rmtree(job, ignore_errors=True)
    job.mkdir(parents=True)
    try:
        (job / CALL).write_bytes(pickle.dumps((function, args, kwargs)))
        status = _watch(job, processes, progress)
        if status:
            raise _failure(job, processes, status)
        return pickle.loads((job / RESULT).read_bytes())  # noqa: S301 -- our own bytes
    finally:
        shutil.rmtree(job, ignore_errors=True)


def _watch(job: Path, processes: int, progress: Callable[..., None]) -> int:
    """Start them, pass on their progress, and return how they ended."""
    command = [sys.executable, "-m", MODULE, "launch", str(job), str(processes)]
    said = _lines(job / SAID)
    with (
        (job / LOG).open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True) as launcher,
    ):
        try:
            status = None
            while status is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = launcher.wait(POLL_SECONDS)
                for line in iter(said.__next__, None):
                    progress(*json.loads(line))
            return status
        finally:
            launcher.kill()


def _lines(path: Path) -> Iterator[str | None]:
    """The whole lines of a file as it grows; None where there is none yet."""
    offset = 0
    while True:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                offset += len(line)
                yield line.decode()
        yield None


class Elsewhere(Exception):
    """The traceback of another process, as the cause of what is raised here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _failure(job: Path, processes: int, status: int) -> BaseException:
    """What to raise: what a process raised that knew why; else which was killed; else what was raised first. Where
    one is killed, the others fail because it is gone."""
    raised = sorted((pickle.loads(path.read_bytes()) for path in job.glob("raised-*.pkl")), key=lambda r: r[0])  # noqa: S301
    for _, error, _ in raised:
        if isinstance(error, MixdistillError):
            return error
    ended = json.loads((job / ENDED).read_text()) if (job / ENDED).exists() else {}
    for rank, code in ended.items():
        if code < 0 and code != SIGTERM:
            return StageError(
                f"train: process {int(rank) + 1} of {processes} was killed (signal {-code}; out of memory?); run again "
                "to go on"
            )
    for _, error, text in raised:
        error.__cause__ = Elsewhere(text)
        return error
    last = (job / LOG).read_text(errors="replace").strip().splitlines()[-1:]
    return StageError(f"train: its processes ended (exit status {status}): {''.join(last)}; run again to go on")


# -- the processes ----------------------------------------------------------------------------------------------------


def _launch(job: Path, processes: int) -> int:
    """torchrun, which ends all processes when one fails."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    one_machine = ["--standalone", "--local-addr", "localhost", "--nproc-per-node", str(processes)]
    try:
        run.run(run.parse_args([*one_machine, "-m", MODULE, "process", str(job)]))
    except ChildFailedError as e:
        (job / ENDED).write_text(json.dumps({rank: failure.exitcode for rank, failure in e.failures.items()}))
        return 1
    return 0


def _process(job: Path) -> int:
    """Do the job as one of several, and leave what came of it."""
    share = Share.here()
    function, args, kwargs = pickle.loads((job / CALL).read_bytes())  # noqa: S301 -- our own bytes
    try:
        with (job / SAID).open("a") as said:

            def progress(*values: Any) -> None:
                if share.first:
                    said.write(json.dumps(values) + "\n")
                    said.flush()

            result = function(*args, progress=progress, **kwargs)
    except Exception as e:
        _leave(job / f"raised-{share.rank}.pkl", (time.time_ns(), sendable(e), traceback.format_exc()))
        return 1
    if share.first:
        _leave(job / RESULT, result)
    return 0


def _leave(path: Path, found: Any) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_bytes(pickle.dumps(found))
    beside.rename(path)


def main(what: str, job: str, processes: str = "1") -> int:
    """The exit status."""
    end_with_parent(os.getppid())
    return _launch(Path(job), int(processes)) if what == "launch" else _process(Path(job))


if __name__ == "__main__":
    # Where torch is at work in other threads, the interpreter's own way out may hang or crash.
    status = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
