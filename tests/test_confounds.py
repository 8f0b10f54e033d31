"""What differs between arms besides the data: red where it is no consequence of the data, a note where it is."""

from typing import Any

import pytest

import tiny
from mixdistill.confounds import confounds
from mixdistill.evidence import CellFacts, Confound
from mixdistill.recipe import Recipe
from mixdistill.units import Unit

CELL = {
    "student": "t", "updates": 200, "examples": 1600, "distinct_problems": 800, "epochs": 2.0, "loss_tokens": 40_000,
    "share_examples": {}, "share_loss_tokens": {}, "dropped": {}, "learning_rate": 1e-3, "final_loss": 1.0,
    "seconds": 9.0, "device": "cpu",
}  # fmt: skip
FACTS = {
    "device": "cpu",
    "precision": "float32",
    "template": "abc",
    "displacement": 0.1,
    "problems": "p",
    "longest_row": 70,
}
SAMPLED = {"dtype": "float32", "device": "cpu", "batch size": 64, "version of torch": "2.13"}
OPTIONS = {"model": "folder:1", "train": {"learning_rate": 1e-3, "weight_decay": 0.0}}


def _study(unit: str = "examples", problems: str = "shared", **sections) -> Recipe:
    budget = {"unit": unit, "problems": problems, "per_update": 200 if unit == "loss_tokens" else 8}
    return tiny.study("some/model", budget=budget, **sections)


def _cell(arm: str, seed: int = 0, **fields: Any) -> CellFacts:
    return CellFacts(arm=arm, seed=seed, **{**CELL, **fields})


def _marker(*, versions: dict[str, str] | None = None, options: dict[str, Any] | None = None, **facts: Any) -> dict:
    return {
        "facts": {**FACTS, **facts},
        "options": {**OPTIONS, **(options or {})},
        "versions": versions or {"torch": "2.13"},
    }


def _evaluated(
    arm: str,
    *,
    seed: int = 0,
    versions: dict[str, str] | None = None,
    ignored: dict[str, Any] | None = None,
    **facts: Any,
) -> tuple[Unit, dict[str, Any]]:
    """An evaluation; `facts` are of the decoding and template, and else of how it was sampled."""
    key = ("t", arm, "signs") if arm == "base" else ("t", arm, str(seed), "signs")
    said = {k: facts.pop(k, default) for k, default in (("decoding", "greedy"), ("template", "abc"))}
    sampled = [{**SAMPLED, **{k.replace("_", " "): v for k, v in facts.items()}}]
    marker = {"facts": {**said, "ignored": ignored or {}, "sampled": sampled}, "versions": versions or {"scipy": "1"}}
    return Unit(stage="evaluate", key=key, options={}), marker


def _find(
    recipe: Recipe | None = None, long: dict[str, Any] | None = None, marker: dict | None = None, evaluated=None
) -> list[Confound]:
    """Confounds of arms long and short, where the long one has these differences."""
    cells = [_cell("long", **(long or {})), _cell("short")]
    trained = {("t", "long", 0): marker or _marker(), ("t", "short", 0): _marker()}
    return confounds(
        recipe or _study(), cells, trained, evaluated or [_evaluated(a) for a in ("base", "long", "short")], {}
    )


def _fields(found: list[Confound]) -> list[tuple[str, str]]:
    return [(c.field, c.severity) for c in found]


def test_arms_that_differ_in_nothing_have_no_confound():
    assert _find() == []
    assert _find(_study("loss_tokens")) == []


@pytest.mark.parametrize(("field", "value"), [("updates", 210), ("learning_rate", 2e-3), ("examples", 1700)])
def test_amount_that_the_budget_promises_is_red(field, value):
    (found,) = _find(long={field: value})
    assert (found.field, found.severity, found.student) == (field, "red", "t")
    assert set(found.values) == {"long", "short"}
    assert found.values["long"] != found.values["short"]


def test_loss_tokens_are_a_note_by_examples_and_red_by_loss_tokens():
    assert _fields(_find(long={"loss_tokens": 90_000})) == [("loss_tokens", "note")]
    assert _fields(_find(_study("loss_tokens"), long={"loss_tokens": 90_000})) == [("loss_tokens", "red")]


def test_examples_are_a_note_by_loss_tokens():
    assert _fields(_find(_study("loss_tokens"), long={"examples": 400})) == [("examples", "note")]


def test_distinct_problems_are_red_only_where_they_are_shared_and_all_seen():
    assert _fields(_find(long={"distinct_problems": 700})) == [("distinct_problems", "red")]
    assert _fields(_find(_study(problems="each"), long={"distinct_problems": 700})) == [("distinct_problems", "note")]
    tokens = _find(_study("loss_tokens"), long={"distinct_problems": 700})
    assert _fields(tokens) == [("distinct_problems", "note")]


def test_loss_tokens_may_differ_by_the_longest_row_and_no_more():
    """A budget ends with the row that reaches it."""
    assert _find(_study("loss_tokens"), long={"loss_tokens": 40_070}) == []
    assert _fields(_find(_study("loss_tokens"), long={"loss_tokens": 40_071})) == [("loss_tokens", "red")]
    longer = _marker(longest_row=90)
    assert _find(_study("loss_tokens"), long={"loss_tokens": 40_071}, marker=longer) == []


@pytest.mark.parametrize(("field", "value"), [("updates", 201), ("examples", 1601), ("distinct_problems", 799)])
def test_count_that_the_budget_promises_may_not_differ_by_one(field, value):
    assert _fields(_find(long={field: value})) == [(field, "red")]


def test_count_that_follows_from_the_data_may_differ_a_little():
    assert _find(_study("loss_tokens"), long={"examples": 1601, "distinct_problems": 799}) == []


def _find_cells(cells: list[CellFacts], recipe: Recipe) -> list[Confound]:
    trained = {(c.student, c.arm, c.seed): _marker() for c in cells}
    return confounds(recipe, cells, trained, [], {})


def test_seeds_of_an_arm_that_differ_among_themselves_are_found():
    cells = [_cell("long", 0), _cell("long", 1, updates=300), _cell("short", 0), _cell("short", 1)]
    (found,) = _find_cells(cells, _study())
    assert found.values == {"long": "200 to 300", "short": "200"}


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        (_marker(device="H200"), "device"),
        (_marker(precision="bfloat16"), "precision"),
        (_marker(template="xyz"), "template"),
        (_marker(problems="q"), "problems"),
        (_marker(options={"model": "folder:2"}), "untuned weights"),
        (_marker(options={"train": {"learning_rate": 1e-3, "weight_decay": 0.1}}), "train.weight_decay"),
        (_marker(versions={"torch": "2.12"}), "version of torch"),
    ],
)
def test_setting_that_differs_is_red_and_named_with_its_values(marker, text):
    (found,) = _find(marker=marker)
    assert (found.severity, found.text) == ("red", f"The arms were not trained with the same {text}.")
    assert set(found.values) == {"long", "short"}


def test_other_problems_are_no_confound_where_every_arm_has_its_own():
    assert _find(_study(problems="each"), marker=_marker(problems="q")) == []


@pytest.mark.parametrize("what", ["decoding", "template", "dtype", "device", "batch_size", "version_of_torch"])
@pytest.mark.parametrize("arm", ["base", "long"])
def test_arm_or_base_evaluated_otherwise_is_red(arm, what):
    evaluated = [_evaluated(a, **({what: "other"} if a == arm else {})) for a in ("base", "long", "short")]
    (found,) = _find(evaluated=evaluated)
    text = f"The arms were not evaluated with the same {what.replace('_', ' ')}."
    assert (found.severity, found.text) == ("red", text)
    assert set(found.values) == {"base", "long", "short"}


def test_arms_that_were_sampled_alike_seed_by_seed_have_no_confound():
    """Each seed on a machine of its own: what is compared is compared on one machine."""
    device = {0: "cpu", 1: "gpu"}
    alike = [_evaluated(a, seed=s, device=device[s]) for a in ("long", "short") for s in device]
    assert _find(evaluated=alike) == []
    crossed = [_evaluated(a, seed=s, device=device[s ^ (a == "long")]) for a in ("long", "short") for s in device]
    (found,) = _find(evaluated=crossed)
    assert found.text == "The arms were not evaluated with the same device."
    assert found.values == {"long": "cpu and gpu", "short": "cpu and gpu"}


def test_version_that_grades_is_the_graders_and_version_that_samples_the_samplers():
    graded_later = [_evaluated("base", versions={"scipy": "1", "torch": "3"}), _evaluated("long")]
    assert _find(evaluated=graded_later) == [], "nothing was sampled with the newer torch"
    (found,) = _find(evaluated=[_evaluated("base", versions={"scipy": "2"}), _evaluated("long")])
    assert found.text == "The arms were not evaluated with the same version of scipy."


def test_settings_of_the_model_that_are_not_applied_are_noted():
    ignored = {"repetition_penalty": 1.3}
    (found,) = _find(evaluated=[_evaluated(a, ignored=ignored) for a in ("base", "long", "short")])
    assert (found.severity, "not applied" in found.text) == ("note", True)
    assert found.values == dict.fromkeys(("base", "long", "short"), "repetition_penalty 1.3")


def test_training_that_the_recipe_no_longer_describes_is_red_with_what_changed():
    cells = [_cell(arm, seed) for arm in ("long", "short") for seed in (0, 1)]
    trained = {("t", c.arm, c.seed): _marker() for c in cells}
    line = "train.learning_rate was 0.01, is now 0.05"
    (found,) = confounds(_study(), cells, trained, [], {("t", "long", 0): [line], ("t", "long", 1): [line]})
    assert (found.severity, found.text) == ("red", f"Not trained as the recipe now says: {line}.")
    assert found.values == {"long": "seed 0, 1"}


def test_arms_that_are_not_compared_may_differ():
    recipe = _study(contrasts={"one": ["long", "base"], "two": ["short", "base"]})
    assert _find(recipe, long={"updates": 900}) == []
    assert _fields(_find(_study(contrasts={"gap": ["long", "short"]}), long={"updates": 900})) == [("updates", "red")]


def test_missing_seeds_are_noted():
    cells = [_cell("long", 0), _cell("short", 0), _cell("short", 1)]
    (found,) = _find_cells(cells, _study())
    assert (found.severity, found.values) == ("note", {"long": "0", "short": "0, 1"})


def test_few_updates_are_noted():
    cells = [_cell("long", updates=40), _cell("short", updates=40)]
    (found,) = _find_cells(cells, _study())
    assert (found.severity, found.field) == ("note", "updates")
    assert found.text.startswith("Fewer than 100 updates")


def test_one_seed_that_hardly_moved_is_noted_whatever_the_last_one_did():
    cells = [_cell("long", 0), _cell("long", 1), _cell("short", 0), _cell("short", 1)]
    trained = {("t", c.arm, c.seed): _marker() for c in cells}
    trained["t", "long", 0] = _marker(displacement=2e-4)
    (found,) = confounds(_study(), cells, trained, [], {})
    assert found.values == {"long": "0.02%"}
    cells = [_cell("long", 0, updates=40), _cell("long", 1), _cell("short", 0, updates=40), _cell("short", 1)]
    assert [c.values for c in _find_cells(cells, _study()) if c.severity == "note"] == [{"long": "40", "short": "40"}]


def test_weights_that_hardly_moved_are_noted():
    (found,) = _find(marker=_marker(displacement=2e-4))
    assert (found.severity, found.values) == ("note", {"long": "0.02%"})


def test_students_are_looked_at_one_by_one():
    students = {"t": {"model": "some/model"}, "u": {"model": "other/model"}}
    cells = [_cell(a, student=s, updates=200 if s == "t" else 400) for s in students for a in ("long", "short")]
    assert _find_cells(cells, _study(students=students)) == []
