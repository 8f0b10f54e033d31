import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mixdistill.errors import RecipeError
from mixdistill.types import Outcome, Problem, Trace
from mixdistill.verifiers import grading
from mixdistill.verifiers.grading import grade

BAD = f"{Path(__file__).parent / 'slow_verifiers.py'}:verify"
QUICK = f"{Path(__file__).parent / 'quick_verifiers.py'}:verify"
MATH = "mixdistill.verifiers.math:verify"


def items(*contents, answer="1"):
    problem = Problem(id="p", prompt="?", answer=answer)
    return [
        (problem, Trace(id=f"t{i}", problem_id="p", author="a", content=c, finish_reason="stop"))
        for i, c in enumerate(contents)
    ]


def outcomes(verdicts):
    return [v.outcome.value for v in verdicts]


@pytest.fixture(autouse=True, scope="module")
def _no_workers_left():
    yield
    grading.stop()


def test_verdicts_come_in_the_order_of_the_items_with_name_and_version():
    verdicts = grade(items(*[rf"\boxed{{{i % 3}}}" for i in range(150)]), MATH, {}, name="strict")
    assert [v.trace_id for v in verdicts] == [f"t{i}" for i in range(150)]
    assert {(v.verifier, v.version) for v in verdicts} == {("strict", "2")}
    assert [v.outcome is Outcome.CORRECT for v in verdicts] == [i % 3 == 1 for i in range(150)]


def test_no_items_give_no_verdicts():
    assert grade([], MATH, {}, name="math") == []


def test_a_hanging_verifier_is_killed_and_the_others_are_graded():
    verdicts = grade(items("a", "hang", "b", "spin", "c"), BAD, {}, name="bad", deadline=0.5)
    assert outcomes(verdicts) == ["correct", "error", "correct", "error", "correct"]
    assert verdicts[1].explanation == "deadline of 0.5 s"


def test_a_crash_an_exception_and_an_exit_are_errors_of_their_own_items_alone():
    verdicts = grade(items("a", "crash", "raise", "exit", "bool", "other", "b"), BAD, {}, name="bad")
    assert outcomes(verdicts) == ["correct", *["error"] * 5, "correct"]
    assert "exit code 3" in verdicts[1].explanation
    assert [v.explanation for v in verdicts[2:4]] == ["ValueError: two; lines", "SystemExit: 1"]
    assert "returned bool" in verdicts[4].explanation
    assert "another trace" in verdicts[5].explanation


def test_what_a_verifier_prints_is_no_output_of_ours(capfd):
    grading.stop()  # workers of an earlier test would write where that test did
    assert outcomes(grade(items("print"), BAD, {}, name="bad")) == ["correct"]
    out, err = capfd.readouterr()
    assert (out, err.splitlines()) == ("", ["printed"])


def test_memory_is_bounded():
    assert outcomes(grade(items("memory", "a"), BAD, {}, name="bad", memory_gib=0.75)) == ["error", "correct"]


def test_a_slow_but_healthy_verifier_is_not_taken_for_a_hang():
    verdicts = grade(items(*["slow"] * 6), BAD, {"seconds": 0.4}, name="bad", deadline=0.8)
    assert outcomes(verdicts) == ["correct"] * 6


def test_workers_are_kept_between_calls():
    pids = {v.explanation for _ in range(3) for v in grade(items("a", "b"), BAD, {}, name="bad")}
    assert len(pids) == 1


def test_what_is_decided_quickly_needs_no_worker():
    grading.stop()
    verdicts = grade(items("quick", "quick"), QUICK, {"note": "n"}, name="q")
    assert [(v.explanation, v.verifier, v.version) for v in verdicts] == [(f"n {os.getpid()}", "q", "7")] * 2
    assert multiprocessing.active_children() == []


def test_what_is_not_decided_quickly_goes_to_a_worker_and_comes_back_in_its_place():
    verdicts = grade(items("quick", "slow", "quick", "slow", "quick"), QUICK, {}, name="q")
    assert [v.trace_id for v in verdicts] == ["t0", "t1", "t2", "t3", "t4"]
    assert {(v.verifier, v.version) for v in verdicts} == {("q", "7")}
    mine = [v.explanation == str(os.getpid()) for v in verdicts]
    assert mine == [True, False, True, False, True]


@pytest.mark.parametrize("fault", ["raises", "bool", "other"])
def test_where_the_quick_way_fails_the_verifier_is_asked(fault):
    (verdict,) = grade(items(fault), QUICK, {}, name="q")
    assert verdict.outcome is Outcome.CORRECT
    assert verdict.trace_id == "t0"
    assert verdict.explanation != str(os.getpid())


def test_what_raises_in_the_worker_too_is_an_error():
    (verdict,) = grade(items("raises always"), QUICK, {}, name="q")
    assert (verdict.outcome, verdict.explanation) == (Outcome.ERROR, "ValueError: in the worker")


def pid(verifier, **plan):
    (verdict,) = grade(items("a"), verifier, {}, name="any", **plan)
    return int(verdict.explanation)


def test_two_verifiers_that_take_turns_keep_their_workers():
    assert [pid(BAD), pid(QUICK)] == [pid(BAD), pid(QUICK)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_of_idle_pools_the_one_used_longest_ago_is_ended_first(monkeypatch):
    grading.stop()
    monkeypatch.setattr(grading, "POOLS", 2)
    oldest, newer = pid(BAD, memory_gib=2.0), pid(BAD, memory_gib=2.5)
    assert pid(BAD, memory_gib=2.0) == oldest
    last = pid(BAD, memory_gib=3.0)
    assert gone(newer, 5)
    assert not gone(oldest, 0)
    assert not gone(last, 0)
    grading.stop()
    assert gone(oldest, 5)
    assert gone(last, 5)


def test_workers_that_another_thread_uses_are_left_alone(monkeypatch):
    monkeypatch.setattr(grading, "POOLS", 0)
    with ThreadPoolExecutor(1) as other:
        slow = other.submit(grade, items("slow"), BAD, {"seconds": 2.0}, name="slow", memory_gib=2.0)
        pid(BAD, memory_gib=3.0)
        assert outcomes(slow.result()) == ["correct"]
    assert multiprocessing.active_children() == []


def test_several_workers_share_the_items():
    verdicts = grade(items(*["slow"] * 8), BAD, {"seconds": 0.2}, name="bad", workers=2)
    assert len({v.explanation for v in verdicts}) == 2


def test_a_hostile_pair_for_math_verify_is_an_error_within_the_deadline():
    hostile = r"\boxed{9^{9^{9^{9}}} + \sum_{i=1}^{10000000} \frac{i!}{x^i}}"
    start = time.monotonic()
    verdicts = grade(items(hostile, r"\boxed{x+1}", answer="1 + x"), MATH, {"timeout": 1}, name="math", deadline=8)
    assert outcomes(verdicts) == ["error", "correct"]
    assert "math-verify: no result within 1 s" in verdicts[0].explanation
    assert time.monotonic() - start < 20


def test_a_verifier_that_is_not_there_is_the_users_mistake():
    with pytest.raises(RecipeError, match="no such file"):
        grade(items("a"), "nowhere.py:verify", {}, name="x")


def test_failed_requests_never_reach_a_verifier():
    problem, trace = items("a")[0]
    with pytest.raises(ValueError, match="failed requests"):
        grade([(problem, trace.model_copy(update={"error": "429"}))], MATH, {}, name="math")


def test_a_users_verifier_without_version_is_stamped_with_its_source_hash():
    version = grade(items("a"), BAD, {}, name="bad")[0].version
    assert len(version) == 12


SCRIPT = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from mixdistill.types import Problem, Trace
from mixdistill.verifiers.grading import grade

def work(content):
    item = (Problem(id="p", prompt="?", answer="1"), Trace(id="t", problem_id="p", author="a", content=content))
    verdict = grade([item], BAD, {"seconds": 600.0}, name="bad", deadline=600.0 if content == "hang" else 20.0)[0]
    return f"{verdict.outcome.value} {verdict.explanation}"

if __name__ == "__main__":
    if sys.argv[1] == "pool":
        method = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=method) as pool:
            print(pool.submit(work, "a").result(), flush=True)
    else:
        print(work("a"), flush=True)
    if sys.argv[1] == "hang":
        work("hang")
"""


def script(tmp_path, mode):
    path = tmp_path / "study.py"
    path.write_text(f"BAD = {BAD!r}\n" + textwrap.dedent(SCRIPT))
    return subprocess.Popen(
        [sys.executable, str(path), mode], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def gone(pid, seconds):
    until = time.monotonic() + seconds
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.1)


@pytest.mark.parametrize("mode", ["main", "pool"])
def test_it_works_in_a_script_and_in_a_process_pool_and_leaves_nothing_running(tmp_path, mode):
    process = script(tmp_path, mode)
    out, err = process.communicate(timeout=30)
    outcome, pid = out.split()
    assert (outcome, err, process.returncode) == ("correct", "", 0)
    assert gone(int(pid), 5)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    process = script(tmp_path, "hang")
    pid = int(process.stdout.readline().split()[1])
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    # The worker sleeps inside the verifier; nobody is left to kill it.
    assert gone(pid, 10)
