"""`show` tells what was said of one problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Notes, Watching
from mixdistill import pipeline
from mixdistill.errors import DataError, StoreError
from mixdistill.recipe import build
from mixdistill.show import describe_problem
from mixdistill.store import Store
from mixdistill.types import Problem


@pytest.fixture
def shown(raw, tmp_path, notes: Notes, inline) -> Store:
    """A run after its first two stages, with two failed requests."""
    raw["problems"]["train"]["limit"] = 6
    raw["error_rate"] = 0.4
    notes.do("failing")
    store = Store(tmp_path / "run")
    pipeline.run(build(raw), store, stages=("generate", "verify"), watcher=Watching())
    return store


def test_a_problem_is_shown_with_its_traces_and_verdicts(shown: Store):
    problem = shown.read(shown.folder("problems"), Problem, "train")[0]
    text = describe_problem(shown, None)
    assert text == describe_problem(shown, problem.id) == describe_problem(shown, problem.id[:6])
    assert text.startswith(f"{problem.id}  train  lab:signs\n  {problem.prompt}\n  reference answer: {problem.answer}")
    assert "teacher/long #0  " in text
    assert "teacher/short #0  " in text
    assert text.count("  -> correct  answer 'A ") == 2


def test_a_problem_without_traces_says_so(shown: Store):
    problem = shown.read(shown.folder("problems"), Problem, "signs")[0]
    assert describe_problem(shown, problem.id).endswith("\n  (no traces of it yet)")


def test_a_failed_request_is_shown_with_its_error_and_no_verdict(shown: Store):
    problem = shown.read(shown.folder("problems"), Problem, "train")[2]
    text = describe_problem(shown, problem.id)
    assert "ERROR: status 500" in text
    assert text.count("  -> ") == 1


def test_text_in_the_prompt_finds_the_problem_and_counts_the_others(shown: Store):
    assert "(the first of 10 that match)" in describe_problem(shown, "Q ")


def test_what_cannot_be_shown_says_why(shown: Store, tmp_path: Path):
    with pytest.raises(DataError, match=r"no problem matches \(got 'xyz'\); give an id, its beginning, or prompt text"):
        describe_problem(shown, "xyz")
    with pytest.raises(
        StoreError, match=r"nothing: not a run folder \(no problems in it\); give the folder that --out"
    ):
        describe_problem(Store(tmp_path / "nothing"), None)
    assert not (tmp_path / "nothing").exists()
