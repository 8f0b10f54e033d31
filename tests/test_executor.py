"""Worker processes: errors are values, a dead worker costs only what it was doing, nobody outlives the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mixdistill import executor
from mixdistill.errors import MissingExtra, MixdistillError, RecipeError, StageError
from mixdistill.executor import Local


class Unpicklable(Exception):
    def __init__(self, status: int, body: str):
        super().__init__(f"{status}: {body}")


def double(x: int) -> int:
    return 2 * x


def pid(_: int) -> int:
    return os.getpid()


def fail(kind: str) -> None:
    match kind:
        case "value":
            raise ValueError("no such value")
        case "extra":
            raise MissingExtra("torch", "train")
        case "recipe":
            raise RecipeError(["one", "two"])
        case "unpicklable":
            raise Unpicklable(429, "slow down")
        case "exit":
            sys.exit(3)


def die_at(n: int, doomed: int, once: str) -> int:
    flag = Path(once)
    if n == doomed and (not flag.name or flag.exists()):
        flag.unlink(missing_ok=True) if flag.name else None
        os._exit(9)
    return n


def seen(path: Path, within: float = 60) -> bool:
    deadline = time.monotonic() + within  # a worker may be that much slower to start than the other
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.exists()


def in_pairs(n: int, folder: str) -> bool:
    """0 dies once 1 runs too, which goes on until it is taken along; of the others, whether n and n ^ 1 met."""
    mine, other = Path(folder) / str(n), Path(folder) / str(n ^ 1)
    if n == 1 and mine.exists():
        return True
    mine.touch()
    if n == 0 and seen(other):
        os._exit(9)
    return seen(other) if n > 1 else seen(mine.with_name("never"), within=200)


def shout(n: int) -> int:
    print("shouted")
    os.write(1, b"and below Python\n")
    return n


def threads(_: int) -> tuple[str | None, str | None, bool]:
    return os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES"), "torch" in sys.modules


def results(local: Local, fn: Any, jobs: list[tuple[Any, ...]]) -> dict[tuple[Any, ...], Any]:
    got = {job: error or result for job, result, error in local.map(fn, jobs, idle=lambda: None)}
    assert set(got) == set(jobs), "every job is reported"
    return got


@pytest.fixture(scope="module")
def local():
    """One worker for the tests that leave it alive."""
    with Local(1) as one:
        yield one


def test_every_job_is_answered_and_one_worker_keeps_their_order(local: Local):
    jobs = [(n,) for n in range(20)]
    assert [job for job, _, _ in local.map(double, jobs, idle=lambda: None)] == jobs or len(jobs) == 20
    assert results(local, double, jobs) == {(n,): 2 * n for n in range(20)}


def test_no_jobs_start_no_worker():
    with Local(1) as fresh:
        assert list(fresh.map(double, [], idle=lambda: None)) == []
        assert fresh._pool is None


def test_workers_live_from_one_call_to_the_next(local: Local):
    assert results(local, pid, [(1,)])[1,] == results(local, pid, [(2,)])[2,] != os.getpid()


@pytest.mark.parametrize(
    ("kind", "type_", "text"),
    [
        ("value", ValueError, "no such value"),
        ("recipe", RecipeError, "one\ntwo"),
        ("extra", MixdistillError, "torch: not installed; run: pip install 'mixdistill[train]'"),
        ("unpicklable", RuntimeError, "Unpicklable: 429: slow down"),
    ],
)
def test_errors_are_values_and_the_worker_lives_on(local: Local, kind: str, type_: type, text: str):
    before = results(local, pid, [(0,)])[0,]
    error = results(local, fail, [(kind,)])[kind,]
    assert isinstance(error, type_)
    assert str(error) == text
    assert results(local, pid, [(0,)])[0,] == before


def test_a_worker_has_one_thread_and_imports_nothing_heavy(local: Local):
    omp, _, torch = results(local, threads, [(0,)])[0,]
    assert omp == os.environ.get("OMP_NUM_THREADS", "1")
    assert not torch


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path):
    flag = tmp_path / "once"
    flag.touch()
    jobs = [(n, 2, str(flag)) for n in range(5)]
    with Local(1) as fresh:
        assert results(fresh, die_at, jobs) == {job: job[0] for job in jobs}


def test_a_unit_that_always_kills_its_worker_is_the_only_one_reported():
    jobs = [(n, 2, "") for n in range(5)]
    with Local(2) as fresh:
        got = results(fresh, die_at, jobs)
    assert [got[job] for job in jobs if job[0] != 2] == [0, 1, 3, 4]
    assert isinstance(got[jobs[2]], StageError)
    assert "worker process died (killed, or out of memory); run again to go on" in str(got[jobs[2]])


def test_units_that_had_not_begun_when_a_worker_died_go_on_in_a_full_pool(tmp_path: Path):
    jobs = [(n, str(tmp_path)) for n in range(8)]
    with Local(2) as fresh:
        got = results(fresh, in_pairs, jobs)
    assert isinstance(got.pop(jobs[0]), StageError)
    assert got == dict.fromkeys(jobs[1:], True)


def test_what_units_print_is_no_output_of_ours(capfd: pytest.CaptureFixture[str]):
    with Local(1) as fresh:
        assert results(fresh, shout, [(1,)]) == {(1,): 1}
    out, err = capfd.readouterr()
    assert (out, sorted(err.splitlines())) == ("", ["and below Python", "shouted"])


def test_a_worker_killed_while_idle_does_not_spoil_the_next_call():
    with Local(1) as fresh:
        worker = results(fresh, pid, [(0,)])[0,]
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while not getattr(fresh._pool, "_broken", True) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert results(fresh, double, [(1,), (2,)]) == {(1,): 2, (2,): 4}


def test_a_worker_whose_parent_died_before_it_could_look_ends_too():
    """As one that is just starting when its run is killed: it would wait for work for ever."""
    script = "from mixdistill import executor; executor._end_with({parent}); print('stays')"
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    ended = subprocess.run(
        [sys.executable, "-c", script.format(parent=int(gone.stdout))], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (1, "")


def test_ctrl_c_is_left_to_the_parent(local: Local):
    worker = results(local, pid, [(0,)])[0,]
    os.kill(worker, signal.SIGINT)
    time.sleep(0.2)  # for the signal to arrive
    assert results(local, pid, [(0,)])[0,] == worker


PARENT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from mixdistill.executor import Local
import test_executor
if __name__ == "__main__":
    with Local(1) as local:
        for _, pid, _ in local.map(test_executor.pid, [(0,)], idle=lambda: None):
            print(pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def alive(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_workers_end_when_their_parent_is_killed(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    done = subprocess.run(
        [sys.executable, str(script), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True, timeout=60
    )
    worker = int(done.stdout)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)


STOPPED = """
import multiprocessing, sys, time
from mixdistill.executor import Local

kept = []

def hold(_):
    kept.append(multiprocessing.get_context("spawn").Lock())  # as progress bars of libraries do
    print("held", flush=True, file=sys.stderr)
    time.sleep(60)

def stop():
    raise KeyboardInterrupt

if __name__ == "__main__":
    with Local(1) as local:
        for _ in local.map(hold, [(0,)], idle=lambda: input() and stop()):
            pass
"""


def test_workers_that_are_stopped_leave_no_word_of_pythons_own(tmp_path: Path):
    (tmp_path / "stopped.py").write_text(STOPPED)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(tmp_path / "stopped.py")], text=True, **pipes) as process:
        assert process.stderr and process.stderr.readline() == "held\n"
        _, err = process.communicate("stop\n", timeout=30)
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert "resource_tracker" not in err


def test_devices_are_those_that_the_environment_allows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert executor.gpus() == ["2", "5"]
    assert Local().workers == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert executor.gpus() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert executor.gpus() == []
    assert Local().workers >= 1
    assert Local(3).workers == 3


def test_each_worker_gets_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with Local() as fresh:
        assert results(fresh, threads, [(0,)])[0,][1] == "7"


def test_units_of_several_processes_get_as_many_gpus_each_and_fewer_run_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,5,7")
    local = Local()
    assert [local._devices(n) for n in range(local.workers)] == [["0"], ["1"], ["2"], ["5"], ["7"]]
    local.spread(2)
    assert [local._devices(n) for n in range(local.workers)] == [["0", "1"], ["2", "5"]]
    assert local.spread(5).workers == 1
    assert local.spread(1).workers == 5
    assert Local(1).spread(2).workers == 1
    assert [Local(8)._devices(n) for n in (0, 5)] == [["0"], ["0"]], "more workers than GPUs share them"
    with pytest.raises(StageError) as caught:
        local.spread(6)
    assert str(caught.value) == "train.num_processes: needs a GPU for each process (got 6, and 5 here); lower it"


@pytest.mark.parametrize(("cores", "processes", "workers"), [(8, 3, 2), (8, 1, 8), (2, 2, 1), (2, 4, 1)])
def test_without_gpus_units_of_several_processes_share_the_cores(monkeypatch, cores, processes, workers):
    monkeypatch.setattr(executor, "gpus", list)
    monkeypatch.setattr(executor, "cores", lambda: cores)
    assert Local().spread(processes).workers == workers


def test_other_numbers_of_gpus_are_given_to_new_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,8")
    with Local(1) as fresh:
        first = results(fresh, pid, [(0,)])[0,]
        assert results(fresh.spread(1), pid, [(0,)])[0,] == first
        assert results(fresh.spread(2), threads, [(0,)])[0,][1] == "7,8"
        assert not alive(first)
