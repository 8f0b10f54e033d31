"""The facts of a training are counts of what passed through it, and what its log says."""

import math

import pytest
import torch

import tiny
from mixdistill.training.batches import Collate, Tokenised
from mixdistill.training.seen import Seen, from_log, risen

LENGTHS = (3, 1, 4, 2)
ROWS = [Tokenised([1, 1], [2] * n) for n in LENGTHS]
EXAMPLES = [
    tiny.example("p", "", "c").model_copy(update={"problem_id": problem, "teacher": teacher})
    for problem, teacher in (("p0", "long"), ("p0", "short"), ("p1", "long"), ("p2", "short"))
]


def _seen(*updates: list[int], cut: frozenset[int] = frozenset()) -> Seen:
    seen = Seen(EXAMPLES, cut)
    for update in updates:
        seen.update(Collate(ROWS, 0, 100)([{"examples": update}])["micro_batches"])
    return seen


def test_rows_tokens_problems_and_passes_are_counted():
    facts = _seen([0, 1], [2], [0, 1]).facts()
    counts = {"examples": 5, "distinct_problems": 2, "epochs": 1.25, "loss_tokens": 12, "longest_row": 4}
    assert facts.items() >= counts.items()
    assert facts["positions"] == 2 * 10 + 6  # the shorter of two rows is padded


def test_rows_that_were_cut_are_counted_each_time_they_are_seen():
    assert _seen([0, 1], [1, 2], [1], cut=frozenset({1, 3})).facts()["truncated"] == 3
    assert _seen([0, 1]).facts()["truncated"] == 0


def test_share_of_a_teacher_is_that_of_loss_tokens_update_by_update():
    facts = _seen([0, 1], [2], [3]).facts()  # 3 + 1, 4, 2 loss tokens
    assert facts["teacher_tokens"] == {"long": 7, "short": 3}
    assert facts["teacher_share_mean"] == {"long": round(1.75 / 3, 6), "short": round(1.25 / 3, 6)}
    sd = math.sqrt((0.75**2 + 1 + 0) / 3 - (1.75 / 3) ** 2)
    assert facts["teacher_share_sd"] == {"long": round(sd, 6), "short": round(sd, 6)}


def test_teacher_of_every_row_has_the_whole_share_without_spread():
    facts = _seen([0], [2], [0, 2]).facts()
    assert (facts["teacher_share_mean"], facts["teacher_share_sd"]) == ({"long": 1.0}, {"long": 0.0})


def test_log_gives_losses_and_what_the_learning_rates_came_to():
    rates = [0.0, 1e-3, 2e-3, 2e-3, 1e-3]
    history = [{"step": i + 1, "loss": 5.0 - i, "learning_rate": r} for i, r in enumerate(rates)]
    facts = from_log([*history, {"train_runtime": 1.0}])
    assert facts == {
        "first_loss": 5.0,
        "final_loss": 1.0,
        "losses": [[1, 5.0], [2, 4.0], [3, 3.0], [4, 2.0], [5, 1.0]],
        "peak_learning_rate": 2e-3,
        "learning_rate_integral": pytest.approx(6e-3),
        "warmup_updates": 2,
    }


def test_log_of_many_updates_is_thinned_and_its_ends_are_tenths():
    history = [{"step": i + 1, "loss": float(i), "learning_rate": 1.0} for i in range(200)]
    facts = from_log(history)
    assert (facts["first_loss"], facts["final_loss"]) == (9.5, 189.5)
    assert facts["losses"][:2] == [[4, 1.5], [8, 5.5]]
    assert (len(facts["losses"]), facts["warmup_updates"], facts["learning_rate_integral"]) == (50, 0, 200.0)


def test_counts_are_of_the_labels_that_the_model_is_given():
    batches = Collate(ROWS, 0, 100)([{"examples": [0, 3]}])["micro_batches"]
    assert sum(int((b.labels != -100).sum()) for b in batches) == sum(sum(b.loss_tokens) for b in batches) == 5
    assert all(b.labels.dtype == torch.long for b in batches)


def _history(losses: list[float]) -> list[dict]:
    return [{"step": i + 1, "loss": loss, "learning_rate": 1.0} for i, loss in enumerate(losses)]


def test_loss_has_risen_when_twenty_updates_are_above_twice_the_first_five_and_one():
    assert risen(_history([1.0] * 5 + [3.1] * 20), warmup=0)
    assert not risen(_history([1.0] * 5 + [3.0] * 20), warmup=0)
    assert not risen(_history([1.0] * 5 + [9.0] * 5 + [1.0] * 15), warmup=0)  # a spike
    assert not risen(_history([1.0] * 5 + [9.0] * 19), warmup=0)  # not yet


def test_loss_may_rise_during_the_warm_up():
    history = _history([1.0] * 5 + [9.0] * 55)
    assert not risen(history[:59], warmup=40)
    assert risen(history, warmup=40)
