"""What besides the data differs between two runs: every row is there, and turns where it is planted."""

from pathlib import Path
from typing import Any

import pytest

from mixdistill.evidence.compared import Compared
from mixdistill.evidence.rows import ConfoundRow
from mixdistill.store import Store
from two_runs import against, copies, edit, finished, recipe

GRADED = {"verify.verifier": "other", "verifier_version": "99"}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    return finished(tmp_path_factory.mktemp("work"))


@pytest.fixture
def runs(finished_run: Path, tmp_path: Path) -> tuple[Store, Store]:
    return copies(finished_run, tmp_path)


def _unlike(found: Compared) -> list[tuple[str, str]]:
    return [(row.name, row.state) for row in found.tables[0].rows if row.state != "same"]


def _row(found: Compared, name: str) -> ConfoundRow:
    (one,) = [row for row in found.tables[0].rows if row.name == name]
    return one


def test_two_copies_of_a_run_differ_in_nothing(runs):
    found = against(runs)
    assert _unlike(found) == []
    assert found.tables[0].arms == ["A long", "A short", "B long", "B short"]
    names = {row.name for row in found.tables[0].rows}
    assert {"updates", "untuned weights", "budget", "teachers", "evaluation: decoding", "evaluation: verifier"} <= names
    assert "seed of the trainer" not in names, "of seeds that are no pairs it says nothing"


PLANTED: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "updates": ({"facts": {"updates": 99}}, [("updates", "red")]),
    "learning rate": ({"facts": {"peak_learning_rate": 0.5}}, [("peak learning rate", "red")]),
    "untuned weights": ({"options": {"model": "folder:other"}}, [("untuned weights", "red")]),
    "device": ({"facts": {"device": "H200"}}, [("device", "red")]),
    "problems": ({"facts": {"problems": "others"}}, [("problems", "red")]),
    "positions": ({"facts": {"positions": 99_999}}, [("positions", "note")]),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_in_the_trainings_of_one_run_turns_its_row(runs, name: str):
    planted, rows = PLANTED[name]
    edit(runs[1], "train", **planted)
    assert _unlike(against(runs)) == rows


def test_what_the_arms_of_both_runs_differ_in_alike_is_no_difference_of_the_runs(runs):
    assert _row(against(runs), "share of long").state == "same"
    assert _row(against(runs, "long", "short"), "share of long").state == "note"


@pytest.mark.parametrize(
    ("part", "values", "rows"),
    [
        ("options", GRADED, [("evaluation: verifier version", "red"), ("evaluation: verifier", "red")]),
        ("options", {"stage": "99"}, [("evaluation: version of the stage", "note")]),
        ("options", {"verify.rule": "strict", "verify.deadline": 1.0}, []),
        ("options", {"k": 4}, [("evaluation: samples per problem", "note")]),
        ("facts", {"template": "other"}, [("evaluation: template", "red")]),
        ("facts", {"decoding": {"temperature": 0.6, "max_tokens": 24}}, [("evaluation: decoding", "red")]),
        ("versions", {"polars": "0"}, [("evaluation: version of polars", "red")]),
        ("versions", {"torch": "0"}, []),
    ],
)
def test_what_is_planted_in_the_evaluations_of_one_run_turns_its_row(runs, part, values, rows):
    edit(runs[1], "evaluate/t/long", **{part: values})
    edit(runs[1], "evaluate/t/short", **{part: values})
    assert _unlike(against(runs)) == rows


def test_how_students_were_sampled_is_compared(runs):
    sampled = [{"device": "H200", "dtype": "float32", "batch size": 64, "version of torch": "0"}]
    edit(runs[1], "evaluate/t/long", facts={"sampled": sampled})
    found = _unlike(against(runs))
    assert found == [("evaluation: device", "red"), ("evaluation: version of torch", "red")]
    assert _row(against(runs), "evaluation: device").values["B long"] == "H200"


def test_runs_of_unlike_budgets_or_teachers_say_so(runs):
    recipe(runs[1], budget={"unit": "loss_tokens", "per_update": 100})
    assert _row(against(runs), "budget").state == "red"
    assert _row(against(runs), "budget").values == {
        "A": "examples, shared problems", "B": "loss_tokens, shared problems",
    }  # fmt: skip
    recipe(runs[1], teachers={"long": {"backend": "scripted", "model": "medium"}})
    row = _row(against(runs), "teachers")
    assert (row.state, row.values["A long"], row.values["B long"]) == (
        "note", "1 long (scripted long)", "1 long (scripted medium)",
    )  # fmt: skip


def test_settings_of_one_arm_are_red_in_either_run(runs):
    recipe(runs[1], arms={"long": {"weights": {"long": 1}, "train": {"learning_rate": 0.5}}})
    assert ("settings of one arm", "red") in _unlike(against(runs))
