"""A training that was too short to show what its data can do raises one alarm per arm, with every sign."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from mixdistill.evidence.rows import Confound, Moving
from mixdistill.evidence.undertraining import alarms, still_falling
from mixdistill.recipe import load
from trained import marker, study


def _alarms(long: dict[str, Any], short: dict[str, Any] | None = None) -> list[Confound]:
    trained = {("t", "long", 0): marker(**long), ("t", "short", 0): marker(**(short or {}))}
    return alarms(study(), trained)


def _line(first: float, last: float, noise: float = 0.0, points: int = 50) -> list[list[float]]:
    rng = random.Random(0)
    return [[4 * i, first + (last - first) * i / (points - 1) + rng.gauss(0, noise)] for i in range(points)]


def test_training_that_got_somewhere_raises_no_alarm():
    assert _alarms({}) == []


@pytest.mark.parametrize(
    ("facts", "sign"),
    [
        ({"updates": 99}, "99 updates"),
        ({"updates": 1}, "1 update"),
        ({"displacement": 2e-4}, "the weights moved by 0.02%"),
        ({"losses": _line(2.0, 1.0)}, "25% of the loss's fall came in the last quarter"),
    ],
)  # fmt: skip
def test_each_sign_raises_the_alarm_of_its_arm_alone(facts, sign):
    (found,) = _alarms(facts)
    assert (found.field, found.severity, found.student, found.values) == (
        "undertrained", "note", "t", {"long": sign},
    )  # fmt: skip


def test_no_warm_up_counts_beside_other_signs_alone():
    assert _alarms({"warmup_updates": 0}) == []
    (found,) = _alarms({"warmup_updates": 0, "updates": 20})
    assert found.values == {"long": "20 updates, no warm-up"}


def test_one_alarm_lists_every_sign():
    facts = {"updates": 20, "displacement": 2e-4, "losses": _line(2.0, 1.0, points=20), "warmup_updates": 0}
    (found,) = _alarms(facts, {"updates": 20})[:1]
    assert found.values == {
        "long": "20 updates, the weights moved by 0.02%, 24% of the loss's fall came in the last quarter, no warm-up"
    }


def test_alarm_is_red_where_another_arm_got_more_than_twice_as_much():
    facts = {"updates": 20, "learning_rate_integral": 0.049}
    (found,) = _alarms(facts)
    assert (found.severity, found.text) == (
        "red", "Undertrained: so much less than another arm that this alone can explain a gap.",
    )  # fmt: skip
    assert [c.severity for c in _alarms({**facts, "learning_rate_integral": 0.051})] == ["note"]
    assert [c.severity for c in _alarms(facts, facts)] == ["note", "note"], "both are as short"
    assert _alarms({**facts, "updates": 150}) == [], "many updates of a small learning rate are a row of the table"


def test_lower_rate_that_did_best_on_dev_is_not_less_training():
    def arm(rate: float, updates: float) -> dict[str, Any]:
        tuned = {"learning_rate": [[1e-3, 1, 4], [3e-3, 2, 4]]}
        return {"updates": 37, "learning_rate_integral": rate * updates, "peak_learning_rate": rate, "tuned": tuned}

    assert [c.severity for c in _alarms(arm(1e-3, 20), arm(3e-3, 20))] == ["note", "note"]
    assert [c.severity for c in _alarms(arm(1e-3, 9), arm(3e-3, 20))] == ["red", "note"], "in units of the peak"


def test_one_seed_that_hardly_moved_is_enough():
    trained = {("t", "long", 0): marker(displacement=2e-4), ("t", "long", 1): marker(), ("t", "short", 0): marker()}
    (found,) = alarms(study(), trained)
    assert found.values == {"long": "the weights moved by 0.02%"}


@pytest.mark.parametrize(
    ("losses", "falls"),
    [
        (_line(2.0, 1.0), True),
        (_line(2.0, 1.0, noise=0.02), True),
        (_line(1.0, 1.0, noise=0.02), False),
        ([*_line(2.0, 1.01, points=36), *([200 + i, 1.01 - i / 1400] for i in range(14))], False),
        ([[t, 4 - 0.01 * sum(math.cos(math.pi * u / 40) + 1 for u in range(t))] for t in range(1, 41)], True),
        (_line(1.0, 2.0), False),
        (_line(2.0, 1.0, points=15), False),
        ([], False),
    ],
    ids=["falls", "falls-beyond-noise", "noise", "too-little", "hardly-begun", "rises", "too-few-points", "none"],
)
def test_loss_falls_still_where_a_line_through_its_last_quarter_does(losses, falls):
    assert (still_falling(losses) is not None) is falls


def test_accuracy_on_dev_that_still_moves_is_a_sign_of_its_arm():
    trained = {("t", "long", 0): marker(), ("t", "short", 0): marker()}
    moving = [
        Moving(student="t", arm="long", since=0.75, delta=0.4, interval=None, moving=True),
        Moving(student="t", arm="short", since=0.75, delta=0.4, interval=None, moving=False),
    ]
    (found,) = alarms(study(), trained, moving)
    assert found.values == {"long": "dev accuracy still moved by +40.0 points"}


def test_trainings_of_the_demo_raise_no_alarm():
    """What six of them logged, students xs and s, seed 0."""
    logged = json.loads((Path(__file__).parent.parent / "cases" / "demo_trainings.json").read_text())
    assert len(logged) == 6
    assert {facts["updates"] for facts in logged.values()} == {625}
    demo = load("demo")
    trained = {(*cell.split("/"), 0): marker(**facts) for cell, facts in logged.items()}
    assert alarms(demo, trained) == []
    cut = {cell: {**m["facts"], "losses": m["facts"]["losses"][:26]} for cell, m in trained.items()}
    halfway = {cell: marker(**{**facts, "updates": 312}) for cell, facts in cut.items()}
    assert {c.values.popitem()[1].partition("%")[2] for c in alarms(demo, halfway)} == {
        " of the loss's fall came in the last quarter"
    }, "half of the same training does"
