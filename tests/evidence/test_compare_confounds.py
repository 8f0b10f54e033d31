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


@pytest.fixture(scope="module")
def unfair_run(tmp_path_factory) -> Path:
    """Trained under another budget too, and one arm at a learning rate of its own, as a published mix is."""
    arms = {"long": {"long": 1}, "short": {"weights": {"short": 1}, "train": {"learning_rate": 5e-3}}}
    budget = {"also": ["loss_tokens"], "problems": "each"}
    return finished(tmp_path_factory.mktemp("unfair"), arms=arms, budget=budget, seeds=1)


@pytest.fixture
def unfair(unfair_run: Path, tmp_path: Path) -> tuple[Store, Store]:
    return copies(unfair_run, tmp_path)


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
    assert found.within == []


def test_two_copies_of_a_run_that_is_unfair_by_itself_differ_in_nothing(unfair):
    found = against(unfair)
    assert [(table.variant, table.arms) for table in found.tables] == [
        ("", ["A long", "A short", "B long", "B short"]),
        ("loss_tokens", [f"{run} {arm}@loss_tokens" for run in "AB" for arm in ("long", "short")]),
    ]
    assert {row.state for table in found.tables for row in table.rows} == {"same"}
    budgets = [row.values["A"] for table in found.tables for row in table.rows if row.name == "budget"]
    assert budgets == ["examples, each problems", "loss_tokens, each problems"]


def test_what_the_gaps_of_both_runs_are_of_besides_the_data_is_told_apart(unfair):
    (table,) = against(unfair).within
    assert (table.variant, table.arms) == ("", ["A long", "A short"])
    assert [row.name for row in table.rows] == ["peak learning rate", "learning-rate integral", "settings of one arm"]
    assert {row.state for row in table.rows} == {"red"}
    assert table.rows[2].values == {"A long": "none", "A short": "learning_rate 0.005"}
    assert table.rows[2].why == "The recipe gives settings of their own to A short."
    assert against(unfair, "short", "short").within == [], "one arm of either run has no gap"


def test_a_difference_of_unfair_runs_comes_first_and_alone(unfair):
    edit(unfair[0], "evaluate", options={"verifier_version": "2"})
    edit(unfair[1], "evaluate", options={"verifier_version": "3"})
    edit(unfair[1], "train/t/short", facts={"peak_learning_rate": 0.5})
    found = against(unfair)
    assert _unlike(found) == [("peak learning rate", "red"), ("evaluation: verifier version", "red")]
    assert [row.name for row in found.tables[1].rows if row.state != "same"] == ["evaluation: verifier version"]
    (table,) = found.within
    assert [row.name for row in table.rows] == ["learning-rate integral", "settings of one arm"]


def test_arms_of_unlike_budgets_can_be_held_against_each_other(unfair):
    (table,) = against(unfair, "long", "long@loss_tokens").tables
    assert table.arms == ["A long", "B long@loss_tokens"]
    red = [row.name for row in table.rows if row.state == "red"]
    assert red[-1] == "budget" and "settings of one arm" not in red


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
    names = ["device", "version of torch", "version of transformers"]
    assert found == [(f"evaluation: {name}", "red") for name in names]
    assert _row(against(runs), "evaluation: device").values["B long"] == "H200"
    assert _row(against(runs), "evaluation: version of transformers").values["B long"] == "not recorded"


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
    assert against(runs).within == [], "alike in both it is not"


def test_other_traces_are_told_of_arms_of_unlike_names_too(runs):
    found = against(runs, "long", "short")
    assert (_row(found, "teachers").state, _row(found, "teachers").why) == (
        "note", "What is held against each other is made of other traces: this is the data itself.",
    )  # fmt: skip
