"""Accuracy in other words, the untuned student in its best prompt, and a primary gap that turns."""

import pytest

import tiny
from mixdistill.evidence.gather import gather
from mixdistill.store import Store

ARMS = {"long": {"long": 1}, "short": {"short": 1}}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple:
    """(study, run folder) with two arms, two seeds and one further wording, to plant decisions in."""
    folder = tmp_path_factory.mktemp("worded")
    (folder / "way.txt").write_text("T {problem}")
    evaluate = {"paraphrases": [str(folder / "way.txt")], "caps": []}
    study = tiny.study(
        tiny.student(folder / "student"),
        arms=ARMS,
        budget={"also": []},
        train={"num_train_epochs": 1},
        evaluate=evaluate,
    )
    store, _ = tiny.run(study, folder / "run", "generate", "verify", "analyze", "mix", "train", "evaluate")
    return study, store


def _plant(store: Store, **right: int) -> None:
    for cell, n in right.items():
        tiny.plant(store, cell.replace("__", "~way").replace("_", "/"), n)


def test_every_arm_has_a_row_for_every_wording_and_a_gap_that_turns_is_said(made, monkeypatch):
    study, store = made
    _plant(store, base=2, base__=9, long_0=6, long_1=6, short_0=4, short_1=4)
    _plant(store, long___0=1, long___1=1, short___0=9, short___1=9)
    evidence = gather(study, store)
    rows = {(r.arm, r.wording): r for r in evidence.details.paraphrased}
    assert {key: round(r.mean, 6) for key, r in rows.items()} == {
        ("base", ""): 0.2, ("base", "way"): 0.9, ("long", ""): 0.6, ("long", "way"): 0.1, ("short", ""): 0.4,
        ("short", "way"): 0.9,
    }  # fmt: skip
    assert {(r.seeds, r.problems) for r in rows.values() if r.arm != "base"} == {(2, 10)}
    assert all(r.checkpoints.low <= r.mean <= r.checkpoints.high for r in rows.values())
    (note,) = evidence.details.turned_wordings
    assert note.startswith("long_cot_gap of t turns with the wording: +20.0 points (")
    assert "in the study's own words, -80.0 points (" in note and note.endswith(
        "asked as 'way'. Fewer than 100 problems decide nothing."
    )
    monkeypatch.setattr("mixdistill.evidence.verdicts.FEWEST", 10)
    (note,) = gather(study, store).details.turned_wordings
    assert note.endswith("asked as 'way'. What it says then hangs on how signs is asked.")


def test_a_gap_that_turns_by_less_than_its_noise_is_said_to(made):
    study, store = made
    _plant(store, long_0=6, long_1=6, short_0=4, short_1=4, long___0=4, long___1=4, short___0=5, short___1=4)
    (note,) = gather(study, store).details.turned_wordings
    assert note.startswith("long_cot_gap of t turns with the wording: +20.0 points (") and "-5.0 points (" in note
    assert note.endswith("asked as 'way', within its noise.")


def test_an_arm_is_held_against_the_untuned_student_in_its_best_prompt(made):
    study, store = made
    _plant(store, base=2, base__=9, long_0=6, long_1=6, short_0=4, short_1=4)
    evidence = gather(study, store)
    over = next(g for g in evidence.gaps if g.name == "long_over_base" and g.group == "all")
    assert over.arms == ("long", "base~way") and over.delta == pytest.approx(-0.3)
    assert {a.arm for a in evidence.accuracies} == {"base", "base~way", "long", "short"}, "arms in their own words"
    assert {p.arm for p in evidence.details.budget_points} == {"base", "long", "short"}


def test_without_other_words_there_is_nothing(made):
    study, store = made
    plain = study.model_copy(update={"evaluate": study.evaluate.model_copy(update={"paraphrases": 0})})
    evidence = gather(plain, store)
    assert (evidence.details.paraphrased, evidence.details.turned_wordings) == ([], [])
