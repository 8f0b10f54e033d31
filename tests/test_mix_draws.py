"""Draws from runs written by hand: strategies, levels, the student's own traces, and what an arm is too small for."""

import json
from collections import Counter

import pytest

import made
import tiny
from mixdistill import mix, prompts
from mixdistill.errors import RecipeError, StageError
from mixdistill.types import Drop, Example, Origin

PURE = {"long": {"long": 1}, "short": {"short": 1}}
BOTH = {"gap": ["long", "short"]}


def both(count: int, *, long: int = 40, short: int = 5) -> dict[str, made.Solved]:
    """Both teachers solved everything, each trace a little longer than the one before."""
    return {t: {i: [n + i % 7] for i in range(count)} for t, n in (("long", long), ("short", short))}


def shown(drawn: mix.Drawn) -> list[tuple[int, str]]:
    return list(drawn.rows.select("place", "teacher").cast({"teacher": str}).iter_rows())


def gone(drawn: mix.Drawn) -> list[int]:
    """Problems that left."""
    number = {p.id: i for i, p in enumerate(made.problems(20))}
    return sorted({number[p] for p in drawn.dropped["problem_id"]})


def order(drawn: mix.Drawn) -> list[int]:
    """Problems as the updates take them."""
    return [drawn.rows["place"][row] for rows in drawn.schedule.updates for row in rows]


# -- strategies ----------------------------------------------------------------------------------------------------


def test_curriculum_takes_the_rows_and_updates_of_the_blend_in_another_order(tmp_path):
    half = {"long": 0.5, "short": 0.5}
    arms = {"mix": half, "staged": {"weights": half, "mixture": "curriculum", "stages": 2}}
    budget = {"unit": "loss_tokens", "per_update": 60}
    study = made.recipe(arms, contrasts={"c": ["mix", "staged"]}, budget=budget, train={"num_train_epochs": 3})
    store = made.run(tmp_path, 40, both(40))
    blend, staged = (mix.draw(study, store, "s", arm, 0) for arm in arms)
    assert staged.ids == blend.ids
    assert len(staged.schedule.updates) == len(blend.schedule.updates) > 10
    assert Counter(order(staged)) == Counter(order(blend))
    taken = staged.rows.select("stage", "loss_tokens")[staged.schedule.rows]
    assert taken["stage"].to_list() == sorted(taken["stage"]), "stage after stage, over all passes"
    low, high = (taken.filter(stage=n)["loss_tokens"] for n in (0, 1))
    assert max(low) < min(high)
    assert staged.facts == blend.facts


def test_curriculum_by_difficulty_goes_by_what_the_teachers_solved(tmp_path):
    teachers = {t: {i: [20, 20 if i % 2 else 0] for i in range(12)} for t in ("long", "short")}
    arms = {"a": {"weights": {"long": 0.5, "short": 0.5}, "mixture": "curriculum", "by": "difficulty", "stages": 2}}
    drawn = mix.draw(made.recipe(arms), made.run(tmp_path, 12, teachers), "s", "a", 0)
    assert [place % 2 for place in order(drawn)] == [1] * 6 + [0] * 6


def test_route_goes_by_the_students_own_traces_and_says_what_the_shares_came_to(tmp_path):
    arms = {"a": {"weights": {"long": 0.5, "short": 0.5}, "mixture": "route", "thresholds": [0.5]}}
    own = {"self@s": {0: [3, 0], 1: [0, 0], 2: [3, 3], 3: [0, 0]}}  # and never answered 4
    study = made.recipe(arms, further=["self"])
    drawn = mix.draw(study, made.run(tmp_path, 5, both(5) | own), "s", "a", 0)
    assert shown(drawn) == [(0, "short"), (1, "long"), (2, "short"), (3, "long"), (4, "long")]
    assert drawn.facts["weights"] == {"long": 0.5, "short": 0.5}
    assert drawn.facts["share_examples"] == {"long": 0.6, "short": 0.4}


def test_route_needs_the_students_own_traces():
    arms = {"a": {"weights": {"long": 0.5, "short": 0.5}, "mixture": "route"}}
    line = "arms.a.mixture: 'route' goes by what the student solves itself, and it is not asked; add teachers.self"
    with pytest.raises(RecipeError, match=line):
        made.recipe(arms)


def test_repeat_takes_several_traces_of_a_problem_and_as_many_updates_as_the_blend_beside_it(tmp_path):
    half = {"long": 0.5, "short": 0.5}
    arms = {"mix": half, "more": {"weights": half, "mixture": "repeat", "traces": 2}}
    study = made.recipe(arms, contrasts={"c": ["more", "mix"]}, budget={"per_update": 4})
    blend, more = (mix.draw(study, made.run(tmp_path, 20, both(20)), "s", arm, 0) for arm in arms)
    assert sorted(shown(more)) == sorted((i, t) for i in range(20) for t in ("long", "short"))
    assert (blend.facts["updates"], more.facts["updates"]) == (5, 5), "a pass of the arm with the fewest rows"
    assert (more.facts["epochs"], more.facts["examples"]) == (0.5, 20)


# -- problems ------------------------------------------------------------------------------------------------------


def test_repeat_has_the_problems_of_the_blend_in_the_same_updates_whatever_part_of_its_traces_is_seen(tmp_path):
    half = {"long": 0.5, "short": 0.5}
    arms = {"mix": half, "more": {"weights": half, "mixture": "repeat", "traces": 4}}
    study = made.recipe(arms, contrasts={"c": ["more", "mix"]}, budget={"per_update": 4}, train={"num_train_epochs": 3})
    traces = {t: {i: [tokens, tokens + 1] for i in range(40)} for t, tokens in (("long", 40), ("short", 5))}
    blend, more = (mix.draw(study, made.run(tmp_path, 40, traces), "s", arm, 0) for arm in arms)
    assert order(more) == order(blend)
    assert more.facts["distinct_problems"] == blend.facts["distinct_problems"] == 40
    teachers = [more.rows["teacher"][row] for rows in more.schedule.updates for row in rows]
    for start in (0, 40, 80):
        assert 10 < teachers[start : start + 40].count("long") < 30, "no teacher's rows come first"
    first = Counter(row for rows in more.schedule.updates for row in rows)
    assert set(first.values()) == {1}, "no trace twice before all were seen"


def test_reweighted_gives_levels_their_shares_in_the_same_order_in_every_arm(tmp_path):
    levels = ["easy"] * 8 + ["hard"] * 8
    teachers = {"long": {i: [30] for i in range(16)}, "short": {i: [5] for i in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}}
    study = made.recipe(PURE, contrasts=BOTH, budget={"problems": "reweighted"}, train={"num_train_epochs": 2})
    store = made.run(tmp_path, 16, teachers, levels)
    long, short = (mix.draw(study, store, "s", arm, 0) for arm in PURE)
    assert order(long) == order(short) != order(mix.draw(study, store, "s", "long", 1))
    assert Counter(order(long)) == {**dict.fromkeys(range(8), 2), 8: 8, 9: 8}, "easy once a pass, hard four times"
    assert long.facts["levels"] == {
        "easy": {"problems": 8, "left": 8, "rows": 8}, "hard": {"problems": 8, "left": 2, "rows": 8},
    }  # fmt: skip


def test_a_blend_of_reweighted_problems_has_its_share_of_every_pass(tmp_path):
    levels = ["easy"] * 40 + ["hard"] * 40
    teachers = {"long": {i: [30] for i in range(80)}, "short": {i: [5] for i in range(45)}}
    arms = {**PURE, "mix": {"weights": {"long": 0.25, "short": 0.75}}}
    study = made.recipe(arms, contrasts={**BOTH, "mix": ["mix", "short"]}, budget={"problems": "reweighted"})
    store = made.run(tmp_path, 80, teachers, levels)
    shares = [mix.draw(study, store, "s", "mix", seed).facts["share_examples"]["long"] for seed in range(20)]
    assert all(abs(share - 0.25) <= 4.5 / 80 for share in shares), "five problems stand there eight times each"


def test_a_level_without_any_shared_problem_is_said(tmp_path):
    teachers = {"long": {0: [30], 1: [30]}, "short": {0: [5]}}
    study = made.recipe(PURE, contrasts=BOTH, budget={"problems": "reweighted"})
    drawn = mix.draw(study, made.run(tmp_path, 2, teachers, ["easy", "hard"]), "s", "long", 0)
    assert drawn.facts["levels"]["hard"] == {"problems": 1, "left": 0, "rows": 0}


def test_arms_with_problems_of_their_own_meet_those_they_share_in_the_same_order(tmp_path):
    teachers = {"long": {i: [30] for i in range(0, 20)}, "short": {i: [5] for i in range(10, 40)}}
    study = made.recipe(PURE, contrasts=BOTH, budget={"problems": "each", "per_update": 5})
    store = made.run(tmp_path, 40, teachers)
    long, short = (order(mix.draw(study, store, "s", arm, 0)) for arm in PURE)
    assert (len(long), len(short)) == (20, 20), "as many updates in both"
    both = set(long) & set(short)
    assert len(both) > 3
    assert [p for p in long if p in both] == [p for p in short if p in both]


def test_an_arm_without_problems_of_its_own_fails_and_the_others_do_not(tmp_path):
    study = made.recipe(PURE, contrasts=BOTH, budget={"problems": "each"})
    store = made.run(tmp_path, 4, {"long": {0: [0], 1: [0]}, "short": {i: [5] for i in range(4)}})
    assert mix.draw(study, store, "s", "short", 0).facts["updates"] == 4
    with pytest.raises(StageError, match="mix/s/long/0: no accepted trace of 'long'"):
        mix.draw(study, store, "s", "long", 0)


def test_alone_an_arm_has_all_that_its_own_teachers_solved(tmp_path):
    teachers = {"long": {i: [30] for i in range(3)}, "short": {i: [5] for i in range(8)}}
    study = made.recipe(PURE, contrasts=BOTH)
    store = made.run(tmp_path, 8, teachers)
    compared, alone = (mix.draw(study, store, "s", "short", 0, alone=alone) for alone in (False, True))
    assert (compared.facts["problems"], alone.facts["problems"]) == (3, 8)
    assert (compared.facts["updates"], alone.facts["updates"]) == (3, 8)


def test_alone_an_arm_has_a_row_of_every_problem_that_any_of_its_teachers_solved(tmp_path):
    teachers = {"long": {i: [40 + i] for i in range(6)}, "short": {i: [5, 6] for i in range(3, 10)}}
    study = made.recipe({"mix": {"long": 0.5, "short": 0.5}}, budget={"per_update": 2}, train={"num_train_epochs": 2})
    store = made.run(tmp_path, 12, teachers)
    drawn, fair = (mix.draw(study, store, "s", "mix", 0, alone=alone) for alone in (True, False))
    rows = shown(drawn)
    assert [place for place, _ in rows] == list(range(10))
    assert [t for place, t in rows if place < 3] == ["long"] * 3
    assert [t for place, t in rows if place > 5] == ["short"] * 4
    assert rows[3:6] == shown(fair), "where both solved a problem the blend is the matched one"
    assert (drawn.facts["problems"], len(drawn.schedule.updates)) == (10, 10)
    assert (fair.facts["problems"], len(fair.schedule.updates)) == (3, 3)
    assert (gone(drawn), gone(fair)) == ([10, 11], [0, 1, 2, 6, 7, 8, 9, 10, 11])


def test_alone_every_problem_stands_there_once_also_where_the_compared_arms_repeat_some(tmp_path):
    levels = ["hard"] * 3 + ["easy"] * 4 + ["hard"] * 3
    teachers = {"long": {i: [30] for i in range(10)}, "short": {i: [5] for i in range(2, 8)}}
    study = made.recipe(
        {**PURE, "mix": {"long": 0.5, "short": 0.5}},
        contrasts={"m": ["mix", "short"], **BOTH},
        budget={"problems": "reweighted"},
        train={"num_train_epochs": 1},
    )
    drawn = mix.draw(study, made.run(tmp_path, 10, teachers, levels), "s", "mix", 0, alone=True)
    assert sorted(order(drawn)) == list(range(10))
    assert "levels" not in drawn.facts


def test_alone_the_rest_goes_to_the_teacher_that_is_furthest_below_its_share(tmp_path):
    teachers = {"a": {i: [9] for i in range(13)}, "b": {i: [9] for i in range(13)}, "c": {i: [9] for i in range(5)}}
    study = made.recipe({"mix": {"a": 0.2, "b": 0.6, "c": 0.2}})
    drawn = mix.draw(study, made.run(tmp_path, 13, teachers), "s", "mix", 0, alone=True)
    taken = [teacher for _, teacher in shown(drawn)]
    assert Counter(taken[:5]) == {"a": 1, "b": 3, "c": 1}, "where all three solved a problem, the blend's shares"
    assert Counter(taken[5:]) == {"a": 2, "b": 6}, "the rest, which c has no trace of, as 0.2 to 0.6"


def test_dropped_rows_carry_what_was_found(tmp_path):
    teachers = {"long": {0: [30, (30, "in_evaluation")], 1: [30]}, "short": {0: [5], 1: [(5, "think_tag")]}}
    drawn = mix.draw(made.recipe(PURE, contrasts=BOTH), made.run(tmp_path, 2, teachers), "s", "long", 0)
    assert drawn.dropped.drop("problem_id", "trace_id").rows() == [
        ("short", "think_tag", ""), ("long", "in_evaluation", "found"), ("short", "think_tag", "found"),
    ]  # fmt: skip
    assert drawn.counts == {"problems_left": 1, "problems_think_tag": 1, "in_evaluation": 1, "think_tag": 1}


# -- the student's own traces ------------------------------------------------------------------------------------------


def test_self_is_the_students_own_traces(tmp_path):
    arms = {"self": {"self": 1}, "mix": {"self": 0.5, "long": 0.5}}
    own = {"self@s": {i: [3, 0] for i in range(8)}}
    drawn = mix.draw(made.recipe(arms), made.run(tmp_path, 8, both(8) | own), "s", "mix", 0)
    assert Counter(t for _, t in shown(drawn)) == {"self@s": 4, "long": 4}


def test_a_student_that_solves_nothing_has_no_arm_of_its_own_and_the_others_go_on(tmp_path):
    arms = {**PURE, "self": {"self": 1}}
    study = made.recipe(arms, contrasts={**BOTH, "own": ["self", "short"]}, budget={"per_update": 2})
    store = made.run(tmp_path, 8, both(8) | {"self@s": {i: [0, 0] for i in range(8)}})
    assert [mix.draw(study, store, "s", arm, 0).facts["updates"] for arm in PURE] == [4, 4]
    with pytest.raises(StageError) as caught:
        mix.draw(study, store, "s", "self", 0)
    assert str(caught.value) == (
        "mix/s/self/0: no problem that 's' solved itself, so there is no arm 'self' of it; "
        "raise teachers.self.samples, or leave the arm out"
    )


# -- rows ------------------------------------------------------------------------------------------------------------


def test_tags_stand_on_the_last_line_of_the_prompts_of_their_teacher(tmp_path):
    arms = {"mix": {"weights": {"long": 0.5, "self": 0.5}, "mixture": "tagged"}}
    store = made.run(tmp_path, 4, both(4) | {"self@s": {i: [3] for i in range(4)}})
    drawn = mix.draw(made.recipe(arms), store, "s", "mix", 0)
    drawn.write(store, tmp_path / "out")
    examples, origins = (
        store.read(tmp_path / "out", row, name) for row, name in ((Example, "examples"), (Origin, "manifest"))
    )
    tags = {"long": "/long", "self@s": "/self"}
    for i, (example, origin) in enumerate(zip(examples, origins, strict=True)):
        assert example.prompt == f"What is {i}?\n{tags[example.teacher]}"
        assert origin.tag == tags[origin.teacher]
    assert {e.teacher for e in examples} == set(tags)


def test_rows_that_are_cut_are_counted(tmp_path):
    store = made.run(tmp_path, 3, {"long": {0: [500], 1: [20], 2: [95]}})
    study = made.recipe({"a": {"long": 1}}, train={"max_length": 100, "overlong": "truncate"})
    drawn = mix.draw(study, store, "s", "a", 0)
    assert drawn.facts["truncated_rows"] == 2
    assert drawn.facts["loss_tokens"] == 90 + 20 + 90


def test_texts_are_joined_whatever_the_order_of_the_tables(tmp_path, monkeypatch):
    """Also where neither the rows nor the tables are in the order of the problems, and blocks are small."""
    monkeypatch.setattr("mixdistill.mixing.joining.GROUP", 4)
    count = 40
    store = made.run(tmp_path, count, both(count))
    drawn = mix.draw(made.recipe({"mix": {"long": 0.5, "short": 0.5}}), store, "s", "mix", 0)
    for rows in (drawn.rows, drawn.rows.sample(fraction=1, shuffle=True, seed=1)):
        found = [row for part in mix.joining.examples(rows, store) for row in part.iter_rows(named=True)]
        assert [r["trace_id"] for r in found] == rows["trace_id"].to_list()
        for row, place in zip(found, rows["place"], strict=True):
            assert (row["prompt"], row["content"]) == (f'"What is {place}?"', f"{row['teacher']} {place} 0")


def test_every_prompt_stands_in_the_template_that_the_training_problems_ask_with(tmp_path):
    store = made.run(tmp_path, 6, both(6))
    plain = made.recipe({"a": {"weights": {"long": 0.5, "short": 0.5}, "mixture": "tagged"}})
    asked = made.recipe(
        {"a": {"weights": {"long": 0.5, "short": 0.5}, "mixture": "tagged"}},
        problems={**plain.problems.model_dump(exclude_unset=True), "train": {"source": "lab:signs", "ask": "boxed"}},
    )
    drawn = mix.draw(asked, store, "s", "a", 0)
    rows = [row for part in drawn.examples(store) for row in part.iter_rows(named=True)]
    for row, place, tag in zip(rows, drawn.rows["place"], drawn.rows["tag"], strict=True):
        template = prompts.template("boxed")[0]
        assert json.loads(row["prompt"]) == template.replace("{problem}", f"What is {place}?") + f"\n{tag}"
    keys = [{u.key: u.options for u in mix.units(of, store)} for of in (plain, asked)]
    assert keys[0].keys() == keys[1].keys()
    assert all({**keys[0][k], **prompts.identity("boxed")} == keys[1][k] for k in keys[0])
    assert prompts.identity("boxed").keys() == {"ask"} and prompts.identity(None) == {}


# -- amounts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "updates"),
    [({"budget": {"per_update": 8}}, 2), ({"train": {"num_train_epochs": 3}}, 12), ({"train": {"max_length": 45}}, 2)],
)
def test_an_arm_that_overrides_something_has_its_own_number_of_updates(tmp_path, override, updates):
    arms = {"long": {"weights": {"long": 1}, **override}, "short": {"short": 1}}
    study = made.recipe(arms, contrasts=BOTH, budget={"per_update": 4}, train={"overlong": "drop"})
    store = made.run(
        tmp_path, 16, {"long": {i: [30 + i % 2 * 10] for i in range(16)}, "short": {i: [5] for i in range(16)}}
    )
    assert mix.draw(study, store, "s", "long", 0).facts["updates"] == updates
    assert mix.draw(study, store, "s", "short", 0).facts["updates"] == 4


@pytest.mark.parametrize(
    ("budget", "got"),
    [
        ({"per_update": 6}, "got 5 examples in all passes, budget.per_update=6"),
        ({"unit": "loss_tokens", "per_update": 50}, "got 35 loss tokens in all passes, budget.per_update=50"),
    ],
)
def test_an_arm_too_small_for_one_update_is_one_clear_line(tmp_path, budget, got):
    store = made.run(tmp_path, 5, both(5))
    study = made.recipe({"short": {"short": 1}}, budget=budget)
    with pytest.raises(StageError) as caught:
        mix.draw(study, store, "s", "short", 0)
    assert str(caught.value) == (
        f"mix/s/short/0: too small for one update ({got}); lower budget.per_update, or raise teachers.*.samples or "
        "train.num_train_epochs"
    )


def test_a_variant_that_cannot_hold_the_longest_row_says_so_and_not_what_nobody_set(tmp_path):
    arms, budget = {"long": {"long": 1}, "short": {"short": 1}}, {"per_update": 5, "also": ["loss_tokens"]}
    study = made.recipe(arms, contrasts=BOTH, budget=budget)
    with pytest.raises(StageError) as caught:
        mix.draw(study, made.run(tmp_path, 5, both(5)), "s", "short@loss_tokens", 0)
    assert str(caught.value) == (
        "mix/s/short@loss_tokens/0: too small for one update (got 35 loss tokens in all passes, and the longest row "
        "has 44); raise teachers.*.samples or train.num_train_epochs, or leave loss_tokens out of budget.also"
    )


def test_every_seed_takes_as_many_updates_though_its_traces_are_others(tmp_path):
    teachers = {"long": {i: [10, 90] for i in range(20)}, "short": {i: [8, 9] for i in range(20)}}
    study = made.recipe(PURE, contrasts=BOTH, budget={"unit": "loss_tokens", "per_update": 90}, seeds=8)
    store = made.run(tmp_path, 20, teachers)
    drawn = [mix.draw(study, store, "s", arm, seed) for arm in PURE for seed in range(8)]
    assert {d.facts["updates"] for d in drawn} == {1}
    assert len({tuple(d.ids) for d in drawn}) == 16
    assert all(0 <= d.facts["loss_tokens"] - 90 < 90 for d in drawn)


def test_facts_say_both_units(tmp_path):
    teachers = {"long": {i: [40] for i in range(10)}, "short": {i: [10] for i in range(10)}}
    study = made.recipe({"mix": {"long": 0.2, "short": 0.8}}, train={"num_train_epochs": 2})
    drawn = mix.draw(study, made.run(tmp_path, 10, teachers), "s", "mix", 0)
    assert drawn.facts == {
        "problems": 10, "unit": "examples", "variant": "", "per_update": 1, "weights": {"long": 0.2, "short": 0.8},
        "updates": 20, "examples": 20, "epochs": 2.0, "loss_tokens": 320, "distinct_problems": 10,
        "distinct_traces": 10, "truncated_rows": 0, "share_examples": {"long": 0.2, "short": 0.8},
        "share_loss_tokens": {"long": 0.5, "short": 0.5},
    }  # fmt: skip
    assert drawn.dropped.is_empty() and drawn.dropped.columns == list(Drop.model_fields)


def test_identity_follows_from_what_is_compared_and_not_from_names(tmp_path):
    store = made.run(tmp_path, 8, both(8))

    def identities(**arms):
        study = made.recipe(arms, contrasts={"c": list(arms)}, seeds=1)
        return [unit.identity for unit in mix.units(study, store)]

    one = identities(a={"long": 1}, b={"short": 1})
    assert identities(y={"long": 1}, x={"short": 1}) == one
    assert identities(b={"short": 1}, a={"long": 1}) == one[::-1]
    assert not set(identities(a={"long": 1}, b={"weights": {"short": 1}, "choose": "longest"})) & set(one)
    other = tiny.problem("What is 0?", "0", "hard")
    made.seal(store, store.folder("problems"), train=[other, *made.problems(8)[1:]])
    assert not set(identities(a={"long": 1}, b={"short": 1})) & set(one), "the levels are read"
