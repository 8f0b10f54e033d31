"""Every row of the confound table is always there, and turns where it is planted: red, or a note."""

from typing import Any

import pytest

import tiny
from mixdistill.evidence.confound_table import confound_tables
from mixdistill.evidence.rows import ConfoundRow, ConfoundTable
from mixdistill.recipe import Recipe
from trained import FACTS, OPTIONS, marker, study

ROWS = [
    "updates", "examples", "loss tokens", "distinct problems", "epochs", "truncated rows", "positions",
    "share of short", "peak learning rate", "learning-rate integral", "warm-up updates", "seeds", "seed of the trainer",
    "method", "loss", "template", "length limit", "treatment of long rows", "packing", "attention",
    "gradient checkpointing", "precision", "processes", "device", "untuned weights", "problems", "other settings",
    "versions", "kept update", "tuned values", "settings of one arm",
]  # fmt: skip


def _table(recipe: Recipe | None = None, **facts: Any) -> ConfoundTable:
    """Of arms long and short, where the long one has these differences."""
    trained = {("t", "long", 0): marker(**facts), ("t", "short", 0): marker()}
    (table,) = confound_tables(recipe or study(), trained)
    return table


def _rows(table: ConfoundTable, state: str) -> list[str]:
    return [row.name for row in table.rows if row.state == state]


def _row(table: ConfoundTable, name: str) -> ConfoundRow:
    (found,) = [row for row in table.rows if row.name == name]
    return found


def test_every_row_is_there_where_nothing_differs():
    table = _table()
    assert (table.student, table.variant, table.arms) == ("t", "", ["long", "short"])
    assert [row.name for row in table.rows] == ROWS
    assert {(row.state, row.why) for row in table.rows} == {("same", "")}
    assert all(row.values.keys() == {"long", "short"} for row in table.rows)
    values = {row.name: row.values["long"] for row in table.rows}
    assert values["share of short"] == "100.0 % (sd 0.0)"
    assert values["versions"] == "torch 2.13"
    assert values["other settings"] == "weight_decay 0.0"
    assert (values["packing"], values["tuned values"], values["settings of one arm"]) == ("no", "none", "none")
    assert (values["loss tokens"], values["peak learning rate"]) == ("40,000", "0.001")


RED = {
    "updates": {"updates": 210},
    "examples": {"examples": 1700},
    "distinct problems": {"distinct_problems": 700},
    "truncated rows": {"truncated": 3},
    "peak learning rate": {"peak_learning_rate": 1.0001e-3},
    "learning-rate integral": {"learning_rate_integral": 0.10001},
    "seed of the trainer": {"seed": 7},
    "warm-up updates": {"warmup_updates": 0},
    "method": {"method": "lora"},
    "loss": {"loss_type": "dft"},
    "template": {"template": "xyz"},
    "length limit": {"max_length": 64},
    "treatment of long rows": {"overlong": "truncate"},
    "packing": {"packing": True},
    "attention": {"attn_implementation": "flash_attention_2"},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "precision": {"precision": "bfloat16"},
    "processes": {"num_processes": 2, "distributed": "ddp"},
    "device": {"device": "H200"},
    "problems": {"problems": "q"},
}


@pytest.mark.parametrize("name", RED)
def test_planted_fact_turns_its_row_red_and_no_other(name):
    table = _table(**RED[name])
    assert (_rows(table, "red"), _rows(table, "note")) == ([name], [])
    row = table.rows[0]
    assert row.name == name, "red rows come first"
    assert row.why and row.values["long"] != row.values["short"]
    assert sorted(r.name for r in table.rows) == sorted(ROWS)


def _options(**train: Any) -> dict[str, Any]:
    return {"options": {**OPTIONS, "train": {**OPTIONS["train"], **train}}}


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("untuned weights", {"options": {**OPTIONS, "model": "folder:2"}}),
        ("train.weight_decay", _options(weight_decay=0.1)),
        ("train.lr_scheduler_type", _options(lr_scheduler_type="constant")),
        ("version of torch", {"versions": {"torch": "2.12"}}),
        ("version of trl", {"versions": {"torch": "2.13", "trl": "1.0"}}),
        ("kept update", _options(keep="best")),
        ("tuned values", {"tuned": {"learning_rate": [[1e-3, 5, 9], [2e-3, 4, 9]]}}),
    ],
)
def test_planted_setting_turns_its_row_red_and_no_other(name, planted):
    table = _table(**planted)
    assert (_rows(table, "red"), _rows(table, "note")) == ([name], [])
    assert _row(table, name).why == f"The arms were not trained with the same {name}."


def test_rows_that_were_cut_are_red_even_where_as_many_were_in_every_arm():
    trained = {("t", arm, 0): marker(truncated=3) for arm in ("long", "short")}
    (table,) = confound_tables(study(), trained)
    assert _rows(table, "red") == ["truncated rows"]
    assert table.rows[0].values == {"long": "3", "short": "3"}


@pytest.mark.parametrize(
    ("arms", "own"),
    [
        ({"long": {"weights": {"long": 1}, "train": {"warmup_ratio": 0.0}}}, "warmup_ratio 0.0"),
        ({"long": {"weights": {"long": 1}, "budget": {"per_update": 80}}}, "per_update 80"),
    ],
)
def test_settings_of_one_arm_are_red_whatever_came_of_them(arms, own):
    table = _table(study(arms={**arms, "short": {"short": 1}}))
    assert _rows(table, "red") == ["settings of one arm"]
    row = table.rows[0]
    assert (row.why, row.values) == (
        "The recipe gives settings of their own to long.", {"long": own, "short": "none"},
    )  # fmt: skip


NOTES = {
    "loss tokens": {"loss_tokens": 90_000},
    "epochs": {"epochs": 1.5},
    "positions": {"positions": 90_000},
    "share of short": {"teacher_share_mean": {"short": 0.5}, "teacher_share_sd": {"short": 0.1}},
}


@pytest.mark.parametrize("name", NOTES)
def test_what_follows_from_the_data_is_a_note(name):
    table = _table(**NOTES[name])
    assert (_rows(table, "red"), _rows(table, "note")) == ([], [name])
    assert table.rows[0].why


def test_share_is_shown_of_every_teacher_with_its_deviation_over_updates():
    table = _table(teacher_share_mean={"long": 0.49, "short": 0.51}, teacher_share_sd={"long": 0.125, "short": 0.125})
    assert _row(table, "share of long").values == {"long": "49.0 % (sd 12.5)", "short": "0.0 % (sd 0.0)"}
    assert _row(table, "share of short").values == {"long": "51.0 % (sd 12.5)", "short": "100.0 % (sd 0.0)"}


def test_learning_rates_that_were_tuned_are_a_note():
    """The best of the same values in every arm."""
    tuned = {"learning_rate": [[1e-3, 5, 9], [2e-3, 4, 9]]}
    options = {"options": {"model": "folder:1", "train": {"weight_decay": 0.0}}}
    own = marker(tuned=tuned, peak_learning_rate=2e-3, learning_rate_integral=0.2, **options)
    trained = {("t", "long", 0): own, ("t", "short", 0): marker(tuned=tuned, **options)}
    (table,) = confound_tables(study(), trained)
    assert (_rows(table, "red"), _rows(table, "note")) == ([], ["peak learning rate", "learning-rate integral"])
    assert table.rows[0].why == "Each arm has the best of the same 2 learning rates, chosen on dev."
    assert _row(table, "tuned values").values["long"] == "learning_rate: 0.001, 0.002"


def test_best_point_of_each_arm_is_a_note():
    trained = {
        ("t", arm, 0): marker(kept=kept, **_options(keep="best")) for arm, kept in (("long", 100), ("short", 200))
    }
    (table,) = confound_tables(study(), trained)
    assert (_rows(table, "red"), _rows(table, "note")) == ([], ["kept update"])
    assert table.rows[0].values == {"long": "100", "short": "200"}


def test_arms_with_other_seeds_are_a_note():
    trained = {("t", "long", 0): marker(), ("t", "short", 0): marker(), ("t", "short", 1): marker()}
    (table,) = confound_tables(study(), trained)
    assert _rows(table, "note") == ["seeds"]


def test_setting_may_differ_between_seeds_but_not_between_arms_at_a_seed():
    at = {0: marker(device="a"), 1: marker(device="b")}
    (table,) = confound_tables(study(), {("t", arm, s): m for arm in ("long", "short") for s, m in at.items()})
    assert _rows(table, "red") == []
    assert _row(table, "device").values == {"long": "a and b", "short": "a and b"}


def test_training_that_did_not_record_a_fact_is_shown_so():
    old = {
        k: v for k, v in FACTS.items() if k in ("updates", "device", "peak_learning_rate", "displacement", "problems")
    }
    trained = {("t", arm, 0): {**marker(), "facts": old} for arm in ("long", "short")}
    (table,) = confound_tables(study(), trained)
    assert _rows(table, "red") == []
    assert {_row(table, name).values["long"] for name in ("packing", "loss tokens", "method")} == {"not recorded"}


def test_there_is_a_table_for_every_student_group_and_budget():
    recipe = tiny.study("some/model", students={s: {"model": "some/model"} for s in ("t", "u")}, contrasts={
        "one": ["long", "base"], "two": ["short", "base"]}, budget={"also": ["loss_tokens"]})  # fmt: skip
    trained = {(s, arm, 0): marker() for s in ("t", "u") for arm in recipe.trained}
    found = [(table.student, table.variant, table.arms) for table in confound_tables(recipe, trained)]
    assert found == [
        (s, by, [f"{arm}@{by}" if by else arm])
        for s in ("t", "u") for by in ("", "loss_tokens") for arm in ("long", "short")
    ]  # fmt: skip
