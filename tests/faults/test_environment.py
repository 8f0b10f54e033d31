"""What a machine does to a run: a full disk, a folder that cannot be written, a clock that is set, no locks, a move.

A clear line, and nothing lost: the next run goes on to what an uninterrupted one would have been.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from kills import differences, outcome

import tiny
from mixdistill import lock, pipeline, units
from mixdistill.errors import Refused, StoreError
from mixdistill.recipe import Recipe, render
from mixdistill.store import Store
from mixdistill.types import Outcome, Problem, Trace
from mixdistill.verifiers import grading

pytest.importorskip("trl")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def study(model) -> Recipe:
    return tiny.study(model, seeds=1, train={"save_steps": 2})


@pytest.fixture(scope="module")
def reference(study, tmp_path_factory) -> Path:
    return tiny.run(study, tmp_path_factory.mktemp("reference") / "run")[0].root


# -- a full disk ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def files_end_at(size: int):
    """No file of this process may grow beyond `size` bytes: what a full disk is to a write, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("stage", ["generate", "verify", "analyze", "mix", "train", "evaluate", "report"])
def test_a_full_disk_is_a_line_in_every_stage_and_the_next_run_goes_on(study, reference, tmp_path, stage):
    before = pipeline.STAGES[: pipeline.STAGES.index(stage)]
    if before:
        tiny.run(study, tmp_path / "run", *before)
    else:  # the problems are there, the disk fills while they are solved
        pipeline.prepare(study, Store(tmp_path / "run"))
    shutil.rmtree(tmp_path / "run" / stage, ignore_errors=True)
    with files_end_at(700):
        try:
            said = tiny.failures(study, tmp_path / "run", stage)
        except StoreError as e:
            said = [str(e)]
    assert said
    for line in said:
        assert re.search(
            r": cannot be written \((File too large|No space left on device)\); free space and run again", line
        )
        assert "\n" not in line
    assert not list((tmp_path / "run").rglob("traceback.txt"))
    tiny.run(study, tmp_path / "run")
    assert differences(outcome(tmp_path / "run"), outcome(reference)) == []


def test_a_disk_that_really_fills_up(study, reference, tmp_path):
    """On a file system of 200 KB, where one can be made here."""
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", small]).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        said = tiny.failures(study, small / "run")
        assert said
        assert any("No space left on device" in line for line in said)
        assert all(any(w in line for w in ("cannot be written", "no space for", "not run; ")) for line in said), said
        shutil.copytree(small / "run", tmp_path / "run")
    finally:
        subprocess.run(["umount", "-l", small], check=True)
    tiny.run(study, tmp_path / "run")
    assert differences(outcome(tmp_path / "run"), outcome(reference)) == []


def test_a_read_only_folder_is_a_line_and_can_still_be_read(study, reference, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(reference, root)
    if os.geteuid():
        root.chmod(0o500)
    else:
        bind = ["mount", "--bind", root, root], ["mount", "-o", "remount,ro,bind", root]
        if any(subprocess.run(words, capture_output=True).returncode for words in bind):
            pytest.skip("nothing can be made read-only here")
    try:
        with pytest.raises(StoreError) as e:
            tiny.run(study, root)
        assert str(e.value).startswith(f"{root}: cannot be written (")
        assert str(e.value).endswith("; choose another --out")
        assert Store(root).read(root / "problems", Problem, "train")
        assert {s for _, s in units.plan(study, Store(root), "evaluate")} == {units.State.DONE}
    finally:
        if os.geteuid():
            root.chmod(0o700)
        else:
            subprocess.run(["umount", "-l", root], check=True)


# -- two processes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that knows no locks, as some network ones."""

    def flock(file: Any, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_without_locks_a_second_run_is_refused_with_the_holder_and_what_to_do(tmp_path, no_locks):
    with lock.hold(tmp_path):
        assert (lock.holder(tmp_path) or "").startswith(f"pid {os.getpid()} on ")
        with pytest.raises(StoreError) as e, lock.hold(tmp_path):
            pass
    told = str(e.value)
    assert told.startswith(f"{tmp_path}: in use by pid {os.getpid()} on ")
    assert told.endswith(
        f"; wait for it or use --out; if that process is gone, delete {tmp_path}/.lock.held "
        "(this file system knows no locks)"
    )
    with lock.hold(tmp_path):
        pass
    assert lock.holder(tmp_path) is None


def test_without_locks_a_killed_holder_of_this_machine_is_replaced(tmp_path, no_locks):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    claim = tmp_path / lock.CLAIM
    claim.write_text(f"pid {gone.pid} on {lock.socket.gethostname()}, started 2026-01-01 00:00:00\n")
    assert lock.holder(tmp_path) is None
    with lock.hold(tmp_path):
        assert claim.read_text().startswith(f"pid {os.getpid()} on ")
    assert not claim.exists()


def test_without_locks_a_holder_on_another_machine_is_left_to_a_person(tmp_path, no_locks):
    claim = tmp_path / lock.CLAIM
    claim.write_text("pid 1 on elsewhere, started 2026-01-01 00:00:00\n")
    with pytest.raises(StoreError, match="in use by pid 1 on elsewhere, started 2026-01-01"), lock.hold(tmp_path):
        pass
    assert claim.exists()


def test_a_claim_that_was_not_the_dead_holders_is_given_back(tmp_path):
    claim = tmp_path / lock.CLAIM
    claim.write_text("second")
    assert not lock._taken_away(claim, "first")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(lock.CLAIM, "second")]


@pytest.mark.parametrize("links", [True, False])
def test_a_claim_is_never_given_back_over_that_of_a_third(tmp_path, monkeypatch, links):
    def no_links(old: Any, new: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def rename(old: Path, new: Path) -> None:
        replace(old, new)
        if old == claim:
            claim.write_text("third")

    claim, replace = tmp_path / lock.CLAIM, os.replace
    claim.write_text("second")
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with monkeypatch.context() as m:
        m.setattr(os, "rename", rename)
        assert not lock._taken_away(claim, "first")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(lock.CLAIM, "third")]
    assert not lock._taken_away(claim, "first")
    assert claim.read_text() == "third", "given back, with and without links"


def test_without_locks_only_one_of_many_gets_a_dead_holders_folder(tmp_path):
    """Twelve processes at once find the claim of a process that is gone."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    (tmp_path / lock.CLAIM).write_text(f"pid {gone.pid} on {lock.socket.gethostname()}, started then\n")
    script = f"""
import errno, fcntl, sys, time
from pathlib import Path
def flock(file, how): raise OSError(errno.ENOLCK, "")
fcntl.flock = flock
from mixdistill import lock
from mixdistill.errors import StoreError
sys.stdin.readline()
try:
    with lock.hold(Path({str(tmp_path)!r})):
        print("held", flush=True)
        sys.stdin.readline()
except StoreError:
    print("refused", flush=True)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", script], **pipes) for _ in range(12)]
    for p in processes:
        p.stdin.write("\n")
        p.stdin.flush()
    said = [p.stdout.readline().strip() for p in processes]
    for p in processes:
        p.communicate("\n", timeout=30)
    assert sorted(said) == ["held"] + ["refused"] * 11


# -- the clock --------------------------------------------------------------------------------------------------------


def test_a_clock_set_forward_makes_no_verdict_an_error(monkeypatch, tmp_path):
    problem = tiny.problem("Q 8 4 7 9 T 10 :")
    trace = tiny.trace(problem, content="A + + -")
    (tmp_path / "own.py").write_text(
        "import time\nfrom mixdistill.lab import domain\n"
        "def verify(problem, trace):\n    time.sleep(1)\n    return domain.verify(problem, trace)\n"
    )
    real, since = time.time, time.monotonic()

    def jumped() -> float:
        return real() + (3600 if 0.7 < time.monotonic() - since < 60 else 0)

    grading.stop()
    verifier = f"{tmp_path}/own.py:verify"
    grading.grade([(problem, trace)], verifier, {}, name="own")  # the pool is up
    since = time.monotonic()
    monkeypatch.setattr(time, "time", jumped)
    (verdict,) = grading.grade([(problem, trace)], verifier, {}, name="own")
    grading.stop()
    assert verdict.outcome is Outcome.CORRECT


def test_a_clock_set_back_between_two_sessions_changes_nothing(study, reference, tmp_path, monkeypatch):
    tiny.run(study, tmp_path / "run", "generate", "verify")
    for path in (tmp_path / "run").rglob("*"):  # written in what is now the future
        os.utime(path, (4e9, 4e9))
    tiny.run(study, tmp_path / "run")
    assert differences(outcome(tmp_path / "run"), outcome(reference)) == []


# -- another place ----------------------------------------------------------------------------------------------------


def test_a_run_folder_copied_elsewhere_goes_on_without_the_models_and_files_it_was_made_of(tmp_path):
    """As on another machine: the teacher's file and the student's folder are not there."""
    rows = tiny.recorded_rows(24)
    (tmp_path / "traces.jsonl").write_text(rows)
    model = tiny.student(tmp_path / "model")
    old = {"backend": "recorded", "model": str(tmp_path / "traces.jsonl"), "complete": True}
    teachers = {"short": {"backend": "scripted", "model": "short"}, "old": old}
    arms = {"short": {"short": 1}, "old": {"old": 1}}
    study = tiny.study(model, seeds=1, teachers=teachers, arms=arms, contrasts={"gap": ["old", "short"]})
    tiny.run(study, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    shutil.rmtree(tmp_path / "run")
    shutil.rmtree(model)
    (tmp_path / "traces.jsonl").unlink()
    for stage in pipeline.STAGES[:-1]:
        assert {s for _, s in units.plan(study, Store(tmp_path / "copy"), stage)} <= {units.State.DONE}
    assert tiny.run(study, tmp_path / "copy")[1] == []


def test_what_is_gone_is_no_pretext_for_another_file(tmp_path):
    (tmp_path / "traces.jsonl").write_text(tiny.recorded_rows(24))
    model = tiny.student(tmp_path / "model")

    def study(file: str) -> Recipe:
        old = {"backend": "recorded", "model": str(tmp_path / file), "complete": True}
        return tiny.study(model, teachers={"old": old}, arms={"old": {"old": 1}}, contrasts={})

    tiny.run(study("traces.jsonl"), tmp_path / "run", "generate")
    (tmp_path / "traces.jsonl").unlink()
    (tmp_path / "other.jsonl").write_text(tiny.recorded_rows(23))
    for file in ("other.jsonl", "gone.jsonl"):
        with pytest.raises(Refused, match=r"generate/old was made otherwise: model was file:\w+, is now "):
            tiny.run(study(file), tmp_path / "run", "generate")


def test_the_recipe_in_the_folder_carries_it_on(study, reference, tmp_path):
    from mixdistill.recipe import load

    shutil.copytree(reference, tmp_path / "copy")
    assert (tmp_path / "copy" / "recipe.yaml").read_text() == render(study)
    assert tiny.run(load(tmp_path / "copy" / "recipe.yaml"), tmp_path / "copy")[1] == []


def test_traces_of_a_copy_are_those_of_the_original(study, reference, tmp_path):
    shutil.copytree(reference, tmp_path / "copy")
    more = tiny.study(study.students["t"].model, seeds=2, train={"save_steps": 2})
    _, ran = tiny.run(more, tmp_path / "copy")
    assert {label.split("/")[0] for label in ran} == {"mix", "train", "evaluate", "report"}
    assert all("/1" in label for label in ran if label != "report")
    store = Store(tmp_path / "copy")
    old = Store(reference)
    for teacher in ("long", "short"):
        key = ("generate", teacher)
        assert store.read(store.folder(*key), Trace, "traces") == old.read(old.folder(*key), Trace, "traces")
