"""`check --gold`: references that the verifier does not accept are listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mixdistill.commands import gold
from mixdistill.commands.gold import Rejected, grade, text
from mixdistill.errors import RecipeError
from mixdistill.recipe import build
from mixdistill.types import Outcome, problem_id
from mixdistill.verifiers import math
from mixdistill.verifiers.sandbox import protection

OWN = """
from mixdistill.types import Outcome, Verdict

VERSION = "1"


def verify(problem, trace, *, mark="", strict=True):
    right = trace.content == f"{mark}<{problem.answer}>"
    outcome = Outcome.CORRECT if right else Outcome.INCORRECT
    return Verdict(trace_id=trace.id, outcome=outcome, answer=trace.content, explanation="not in angles")
"""
PHRASED = (
    OWN
    + """

def gold(problem, *, mark=""):
    return f"{mark}<{problem.answer}>"
"""
)


@pytest.fixture
def study(raw: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Three problems of one's own, and a benchmark of the lab's."""
    rows = [("a?", "4"), ("b?", "x^2}"), ("c?", "\\frac12")]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"prompt": p, "answer": a}) + "\n" for p, a in rows))
    raw["problems"]["train"] = {"source": str(file)}
    return raw


def test_the_lab_s_references_are_accepted_as_they_stand(raw):
    graded = grade(build(raw))
    assert (graded.problems, graded.accepted, graded.rejected) == ({"train": 12, "signs": 4}, graded.problems, [])
    assert text(graded).plain == (
        "signs accepts 12 of 12 reference answers of train\nsigns accepts 4 of 4 reference answers of signs"
    )


def test_the_math_verifier_grades_references_in_a_box(study):
    study["verify"] = {"verifier": "math"}
    graded = grade(build(study))
    assert graded.accepted == {"train": 2, "signs": 4}
    assert graded.rejected == [
        Rejected(
            problem_id=problem_id("b?", "x^2}"),
            name="train",
            prompt="b?",
            reference="x^2}",
            content="\\boxed{x^2}}",
            outcome=Outcome.INCORRECT,
            answer="x^2",
            explanation="reference: x^2}",
        )
    ]
    assert text(graded).plain == (
        "math accepts 2 of 3 reference answers of train\n"
        "math accepts 4 of 4 reference answers of signs\n\n"
        f"{problem_id('b?', 'x^2}')}  train  'b?'\n"
        "  reference 'x^2}'\n"
        "  graded    '\\\\boxed{x^2}}'\n"
        "  incorrect, found 'x^2'\n"
        "  reference: x^2}"
    )


def test_a_reference_in_prose_is_not_called_accepted_because_it_equals_itself(study, tmp_path):
    prose = "First we add two and two which gives four so that is it"
    (tmp_path / "mine.jsonl").write_text(json.dumps({"prompt": "a?", "answer": prose}) + "\n")
    study["verify"] = {"verifier": "math"}
    (rejected,) = grade(build(study)).rejected
    assert (rejected.outcome, rejected.content, rejected.answer) == (Outcome.ERROR, "", None)
    assert rejected.explanation == (
        "gold: the reference is a solution, not an answer (13 words); set answer_after, or map a column"
    )
    assert math.equal(math.reference(prose), math.reference(prose)) == (True, "text"), "which would prove nothing"


def test_a_verifier_s_own_phrasing_is_graded_where_it_has_one(study, tmp_path):
    for name, source in {"bare": OWN, "phrased": PHRASED}.items():
        (tmp_path / f"{name}.py").write_text(source)
    study["verify"] = {"verifier": f"{tmp_path}/bare.py:verify"}
    graded = grade(build(study))
    assert graded.accepted == {"train": 0, "signs": 0}
    assert [r.content for r in graded.rejected[:3]] == ["4", "x^2}", "\\frac12"]
    study["verify"] = {"verifier": f"{tmp_path}/phrased.py:verify"}
    assert grade(build(study)).rejected == []
    study["verify"] |= {"mark": "A: ", "strict": False}
    assert grade(build(study)).rejected == [], "it is told the options that it names"


def test_sources_that_cannot_be_loaded_are_said_all_at_once(study):
    study["problems"]["train"]["source"] = "no.csv"
    study["problems"]["eval"]["b"] = {"source": "lab:sings"}
    with pytest.raises(RecipeError) as e:
        grade(build(study), where="my.yaml")
    assert [line.rpartition(": no ")[0] for line in e.value.findings] == [
        "my.yaml: problems.train: no.csv",
        "my.yaml: problems.eval.b",
    ]


def test_the_text_lists_the_first_and_counts_the_rest(study, monkeypatch):
    study["verify"] = {"verifier": "math"}
    graded = grade(build(study))
    many = graded.model_copy(update={"rejected": graded.rejected * 3})
    monkeypatch.setattr(gold, "SHOWN", 1)
    shown = text(many).plain
    assert shown.count("  graded ") == 1
    assert shown.endswith("\n\nand 2 more; --json lists all")


def test_rows_that_are_no_problem_are_counted_beside(raw, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("prompt,answer\n" + "Q 8 4 7 9 T 10 :,A + + -\n" * 3)
    raw["problems"]["train"] = {"source": str(file)}
    graded = grade(build(raw))
    assert (graded.problems["train"], graded.unused) == (1, {"train: duplicate": 2})
    assert text(graded).plain.endswith("\nnot graded, since they are no problems: 2 rows, train: duplicate")


def test_a_model_is_not_asked_about_references(study):
    study["verify"] = {"verifier": "judge", "model": "m"}
    with pytest.raises(RecipeError) as e:
        grade(build(study))
    assert str(e.value) == (
        "recipe: verify.verifier: 'judge' asks a model, and a check asks nobody; put another verifier before it"
    )


def test_of_a_chain_the_first_verifier_is_looked_at(study):
    study["verify"] = {"verifier": ["exact", "judge"], "judge": {"model": "m"}}
    found = grade(build(study))
    assert found.verifier == "exact"
    assert found.accepted == found.problems


def test_references_of_which_no_answer_can_be_made_are_counted_and_not_called_rejected(study, tmp_path):
    rows = [
        {"prompt": "a?", "answer": {"test_list": ["assert f() == 1"], "solution": "def f(): return 1"}},
        {"prompt": "b?", "answer": {"test_list": ["assert f() == 2"]}},
        {"prompt": "c?", "answer": {"test_list": ["assert f() == 3"], "solution": "def f(): return 4"}},
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "other.jsonl").write_text(json.dumps(rows[1] | {"prompt": "d?"}) + "\n")
    study["problems"]["eval"] = {"other": {"source": str(tmp_path / "other.jsonl")}}
    study["verify"] = {"verifier": "code"}
    if not protection().network:
        study["verify"]["unprotected"] = True
    graded = grade(build(study))
    assert (graded.problems, graded.accepted) == ({"train": 3, "other": 1}, {"train": 1, "other": 0})
    assert graded.no_answer == {"train": 1, "other": 1}
    assert [r.explanation for r in graded.rejected] == ["passed 0 of 1; test 1, f(): expected 3, got 4"]
    assert text(graded).plain.startswith(
        "code accepts 1 of 2 reference answers of train\n"
        "not graded, since no answer is in the reference: 1 of train\n"
        "code: none of 1 references of other holds an answer that could be graded\n"
    )


def test_every_benchmark_is_held_against_its_own_verifier(study, tmp_path):
    (tmp_path / "phrased.py").write_text(PHRASED)
    study["verify"] = {"verifier": "math"}
    study["problems"]["train"]["limit"] = 1
    lab = study["problems"]["eval"]["signs"]
    own = {"verifier": f"{tmp_path}/phrased.py:verify", "mark": "!"}
    study["problems"]["eval"] = {"angles": {**lab, "verify": own}, "exactly": {**lab, "verify": {"verifier": "exact"}}}
    found = grade(build(study))
    assert found.accepted == {"train": 1, "angles": 4, "exactly": 4}
    assert found.own == {"angles": f"{tmp_path}/phrased.py:verify", "exactly": "exact"}
    assert "exact accepts 4 of 4 reference answers of exactly" in text(found).plain
