"""What differs between arms besides the data: red where it is no consequence of the data, a note where it is."""

from typing import Any

import pytest

from mixdistill.evidence.confound_table import Trained, confound_tables
from mixdistill.evidence.confounds import confounds
from mixdistill.evidence.rows import Confound
from mixdistill.recipe import Recipe
from mixdistill.units import Unit
from trained import marker, study

SAMPLED = {"dtype": "float32", "device": "cpu", "batch size": 64, "version of torch": "2.13"}


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


def _find(recipe: Recipe | None = None, evaluated=None, **facts: Any) -> list[Confound]:
    """Confounds of arms long and short, where the long one has these differences."""
    trained = {("t", "long", 0): marker(**facts), ("t", "short", 0): marker()}
    return _confounds(recipe or study(), trained, evaluated or [_evaluated(a) for a in ("base", "long", "short")])


def _confounds(recipe: Recipe, trained: Trained, evaluated=(), changed=None) -> list[Confound]:
    return confounds(recipe, confound_tables(recipe, trained), trained, list(evaluated), changed or {})


def _trained(*cells: tuple[str, int], student: str = "t", **facts: Any) -> Trained:
    return {(student, arm, seed): marker(**facts) for arm, seed in cells}


BOTH = [("long", 0), ("long", 1), ("short", 0), ("short", 1)]


def _fields(found: list[Confound]) -> list[tuple[str, str]]:
    return [(c.field, c.severity) for c in found]


def test_arms_that_differ_in_nothing_have_no_confound():
    assert _find() == []
    assert _find(study("loss_tokens")) == []


def test_a_style_shift_that_was_not_measured_is_a_note():
    unit, made = _evaluated("long")
    made["facts"]["style"] = "OSError: no weights"
    (found,) = _find(evaluated=[_evaluated("base"), (unit, made)])
    assert (found.severity, found.field, found.values) == ("note", "style", {"long": "OSError: no weights"})
    assert found.text == (
        "The style shift was not measured; the answers are sampled and graded all the same. Change evaluate.style to "
        "try again."
    )


def test_loss_tokens_are_a_note_by_examples_and_red_by_loss_tokens():
    assert _fields(_find(loss_tokens=90_000)) == [("loss tokens", "note")]
    assert _fields(_find(study("loss_tokens"), loss_tokens=90_000)) == [("loss tokens", "red")]


def test_examples_are_a_note_by_loss_tokens():
    assert _fields(_find(study("loss_tokens"), examples=400)) == [("examples", "note")]


def test_distinct_problems_are_red_only_where_they_are_shared_and_all_seen():
    assert _fields(_find(distinct_problems=700)) == [("distinct problems", "red")]
    assert _fields(_find(study(problems="each"), distinct_problems=700)) == [("distinct problems", "note")]
    assert _fields(_find(study("loss_tokens"), distinct_problems=700)) == [("distinct problems", "note")]


def test_loss_tokens_may_differ_by_the_longest_row_and_no_more():
    """A budget ends with the row that reaches it."""
    assert _find(study("loss_tokens"), loss_tokens=40_070) == []
    assert _fields(_find(study("loss_tokens"), loss_tokens=40_071)) == [("loss tokens", "red")]
    assert _find(study("loss_tokens"), loss_tokens=40_071, longest_row=90) == []


@pytest.mark.parametrize(("field", "value"), [("updates", 201), ("examples", 1601), ("distinct_problems", 799)])
def test_count_that_the_budget_promises_may_not_differ_by_one(field, value):
    assert _fields(_find(**{field: value})) == [(field.replace("_", " "), "red")]


def test_count_that_follows_from_the_data_may_differ_a_little():
    assert _find(study("loss_tokens"), examples=1601, distinct_problems=799) == []


def test_seeds_of_an_arm_that_differ_among_themselves_are_found():
    trained = _trained(*BOTH) | {("t", "long", 1): marker(updates=300)}
    (found,) = _confounds(study(), trained)
    assert found.values == {"long": "200 to 300", "short": "200"}


def test_other_problems_are_a_note_where_every_arm_has_its_own():
    (found,) = _find(study(problems="each"), problems="q")
    assert (found.field, found.severity, found.text) == ("problems", "note", "Every arm has problems of its own.")


@pytest.mark.parametrize("what", ["decoding", "template", "dtype", "device", "batch_size", "version_of_torch"])
@pytest.mark.parametrize("arm", ["base", "long"])
def test_arm_or_base_evaluated_otherwise_is_red(arm, what):
    evaluated = [_evaluated(a, **({what: "other"} if a == arm else {})) for a in ("base", "long", "short")]
    (found,) = _find(evaluated=evaluated)
    text = f"The arms were not evaluated with the same {what.replace('_', ' ')}."
    assert (found.severity, found.text) == ("red", text)
    assert set(found.values) == {"base", "long", "short"}


def test_untuned_student_that_is_asked_otherwise_has_another_template_and_else_the_same():
    alike = [_evaluated(arm) for arm in ("base", "long", "short")]
    _, marked = _evaluated("base", template="xyz")
    otherwise = Unit(stage="evaluate", key=("t", "base+no-thinking", "signs"), options={})
    assert _find(evaluated=[*alike, (otherwise, marked)]) == []
    marked = {**marked, "facts": {**marked["facts"], "decoding": "sampled"}}
    (found,) = _find(evaluated=[*alike, (otherwise, marked)])
    assert found.text == "The arms were not evaluated with the same decoding."


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
    line = "train.learning_rate was 0.01, is now 0.05"
    changed = {("t", "long", 0): [line], ("t", "long", 1): [line]}
    (found,) = _confounds(study(), _trained(*BOTH), changed=changed)
    assert (found.severity, found.text) == ("red", f"Not trained as the recipe now says: {line}.")
    assert found.values == {"long": "seed 0, 1"}


def test_trainings_that_diverged_are_told_with_their_seeds_student_by_student():
    lost = [("t", "long", 1), ("u", "long", 0), ("t", "long", 2)]
    found = confounds(study(), [], {}, [], {}, diverged=lost)
    assert [(c.field, c.severity, c.student, c.values) for c in found] == [
        ("diverged", "red", "t", {"long": "seed 1, 2"})
    ]


def test_arms_that_are_not_compared_may_differ():
    recipe = study(contrasts={"one": ["long", "base"], "two": ["short", "base"]})
    assert _find(recipe, updates=900) == []
    assert _fields(_find(study(contrasts={"gap": ["long", "short"]}), updates=900)) == [("updates", "red")]


def test_arms_of_another_budget_are_compared_among_themselves():
    recipe = study(contrasts={"gap": ["long", "short"]}).model_copy(
        update={"budget": study().budget.model_copy(update={"also": ["loss_tokens"]})}
    )
    arms = ("long@loss_tokens", "short@loss_tokens")
    trained = _trained(("long", 0), ("short", 0)) | _trained(*((a, 0) for a in arms), examples=900, loss_tokens=5000)
    assert _confounds(recipe, trained) == []
    trained["t", arms[0], 0] = marker(examples=300, loss_tokens=90_000)
    found = {c.field: (c.severity, c.values) for c in _confounds(recipe, trained)}
    assert found == {
        "examples": ("note", {arms[0]: "300", arms[1]: "900"}),
        "loss tokens": ("red", {arms[0]: "90,000", arms[1]: "5,000"}),
    }


def test_missing_seeds_are_noted():
    (found,) = _confounds(study(), _trained(("long", 0), ("short", 0), ("short", 1)))
    assert (found.severity, found.values) == ("note", {"long": "0", "short": "0, 1"})


def test_students_are_looked_at_one_by_one():
    students = {"t": {"model": "some/model"}, "u": {"model": "other/model"}}
    trained = _trained(*BOTH) | _trained(*BOTH, student="u", updates=400, learning_rate_integral=0.2)
    assert _confounds(study(students=students), trained) == []


def test_notes_on_the_template_are_told_with_the_arms_that_have_them():
    notes = {"seam": "problem 1a2b, teacher long: a row without reasoning joins two tokens"}
    (found,) = _find(template_notes=notes)
    assert (found.severity, found.field, found.values) == ("note", "template: seam", {"long": ""})
    assert found.text == "The student's template, seam: a row without reasoning joins two tokens"
    (found,) = _confounds(study(), _trained(*BOTH, template_notes=notes))
    assert found.values == {}, "every arm has it"


def test_learning_rate_at_an_end_of_those_tried_is_a_note_with_the_arms_that_chose_it():
    tuned = {"learning_rate": [[1e-3, 5, 9], [2e-3, 6, 9], [4e-3, 7, 9]]}
    at = {"low": 1e-3, "middle": 2e-3, "high": 4e-3}
    recipe = study(arms={arm: {"short": 1} for arm in at}, contrasts={"a": ["low", "high"], "b": ["middle", "high"]})
    trained = {("t", arm, 0): marker(tuned=tuned, peak_learning_rate=rate) for arm, rate in at.items()}
    (found,) = [c for c in _confounds(recipe, trained) if c.field == "tune"]
    assert found.severity == "note"
    assert found.values == {"low": "0.001, the lowest of 3", "high": "0.004, the highest of 3"}
