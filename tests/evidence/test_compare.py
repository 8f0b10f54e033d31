"""Two runs against each other: what is paired, which problems count, what is checked, what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest

import tiny
from mixdistill.errors import DataError, StoreError
from mixdistill.evidence import stats, verdicts
from mixdistill.evidence.compare import Side, compare
from mixdistill.evidence.compared import Compared
from mixdistill.evidence.unpaired import difference
from mixdistill.store import Store
from mixdistill.types import Problem
from two_runs import PROBLEMS, against, copies, edit, finished, otherwise_trained, recipe, row, scores, sides


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    return finished(tmp_path_factory.mktemp("work"))


@pytest.fixture(autouse=True)
def _ten_problems_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested is which run is ahead, on a set small enough to count."""
    monkeypatch.setattr(verdicts, "FEWEST", PROBLEMS)


@pytest.fixture
def runs(finished_run: Path, tmp_path: Path) -> tuple[Store, Store]:
    return copies(finished_run, tmp_path)


def test_seeds_of_one_number_are_a_pair_where_they_stand_for_the_same_draw(runs):
    for seed, right in ((0, 9), (1, 8)):
        tiny.plant(runs[0], f"long/{seed}", right)
    for seed, right in ((0, {0, 1}), (1, {0})):
        tiny.plant(runs[1], f"long/{seed}", right)
    found = row(against(runs), "long")
    expected = stats.gap(scores(runs[0], "long") - scores(runs[1], "long"))
    assert (found.kind, found.of, found.student, found.benchmark) == ("arm", ("long", "long"), "t", "signs")
    assert (found.paired, found.seeds, found.problems) == (True, (2, 2), PROBLEMS)
    assert found.values == pytest.approx((0.85, 0.15))
    assert found.delta == pytest.approx(0.7)
    assert (found.checkpoints, found.data, found.p) == (expected.checkpoints, expected.data, expected.p)
    assert found.verdict == "higher in A"


def test_too_few_problems_decide_nothing(runs, monkeypatch):
    for store, right in zip(runs, (9, 1), strict=True):
        for seed in (0, 1):
            tiny.plant(store, f"long/{seed}", right)
    assert row(against(runs), "long").verdict == "higher in A"
    monkeypatch.setattr(verdicts, "FEWEST", 11)
    assert row(against(runs), "long").verdict == "can't tell (fewer than 100 problems)"


def test_seeds_are_each_runs_own_where_the_settings_are_not_the_same(runs):
    for seed, right in ((0, 9), (1, 8)):
        tiny.plant(runs[0], f"long/{seed}", right)
    tiny.plant(runs[1], "long/0", 2)
    otherwise_trained(runs[1])
    found = row(against(runs), "long")
    expected = difference(scores(runs[0], "long"), scores(runs[1], "long"))
    assert not found.paired
    assert (found.delta, found.data, found.p) == (pytest.approx(0.75), expected.data, expected.p)


@pytest.mark.parametrize(
    "made_otherwise",
    [{"facts": {"problems": "other"}}, {"facts": {"updates": 1}}, {"facts": {"seed": 7}}, {"options": {"model": "x"}}],
    ids=str,
)
def test_what_undoes_a_pair_of_seeds(runs, made_otherwise):
    edit(runs[1], "train", **made_otherwise)
    assert {d.paired for d in against(runs).differences} == {False}


def test_a_gap_is_held_against_the_gap_of_the_other_run(runs):
    for cell, right in (("long/0", 9), ("long/1", 8), ("short/0", 3), ("short/1", 3)):
        tiny.plant(runs[0], cell, right)
    for cell, right in (("long/0", 5), ("long/1", 4), ("short/0", 4), ("short/1", 3)):
        tiny.plant(runs[1], cell, right)
    found = row(against(runs), "long_cot_gap")
    ours, theirs = (scores(s, "long") - scores(s, "short") for s in runs)
    assert (found.kind, found.of) == ("gap", ("long - short", "long - short"))
    assert found.values == pytest.approx((0.55, 0.1))
    assert found.data == stats.gap(ours - theirs).data
    otherwise_trained(runs[1])
    assert row(against(runs), "long_cot_gap").data == difference(ours, theirs).data


def test_every_token_cap_that_both_have_is_compared(runs):
    assert [(d.name, d.max_tokens) for d in against(runs).differences] == [
        ("long", None), ("short", None), ("long_cot_gap", None), ("long", 8), ("short", 8), ("long_cot_gap", 8),
    ]  # fmt: skip


def test_the_limit_of_one_run_is_a_cap_of_the_other(runs):
    edit(runs[1], "evaluate", facts={"decoding": {"temperature": 0.0, "stop_tokens": [1], "max_tokens": 8}})
    recipe(runs[1], evaluate={"caps": []})
    tiny.plant(runs[1], "long/0", 7)
    found = against(runs)
    assert {d.max_tokens for d in found.differences} == {8}
    assert row(found, "long", 8).values[1] == pytest.approx(0.35)
    assert limit(found).state == "same"


def limit(found: Compared) -> Any:
    (one,) = [r for r in found.tables[0].rows if r.name == "evaluation: token limit"]
    return one


def test_answers_of_unlike_limits_are_compared_in_red(runs):
    edit(runs[1], "evaluate", facts={"decoding": {"temperature": 0.0, "stop_tokens": [1], "max_tokens": 16}})
    for store in runs:
        recipe(store, evaluate={"caps": []})
    found = against(runs)
    assert {d.max_tokens for d in found.differences} == {None}
    assert (limit(found).state, limit(found).values) == ("red", {"A": "24", "B": "16"})
    assert limit(found).why == "Answers of unlike token limits (24 and 16) are compared: no token cap is common."


def drop_problems(store: Store, keep: slice) -> None:
    rows = store.read(store.folder("problems"), Problem, "signs")[keep]
    tiny.reseal(store, store.folder("problems"), rows, "signs")


def test_only_problems_that_both_have_count(runs):
    tiny.plant(runs[0], "long/0", {0, 1, 9})
    tiny.plant(runs[0], "long/1", {0, 9})
    drop_problems(runs[1], slice(0, 4))
    found = against(runs)
    assert [p.model_dump() for p in found.problems] == [{"benchmark": "signs", "common": 4, "of": (PROBLEMS, 4)}]
    assert (row(found, "long").problems, row(found, "long").values[0]) == (4, pytest.approx(3 / 8))


def test_runs_without_a_common_problem_are_refused(runs):
    drop_problems(runs[0], slice(0, 5))
    drop_problems(runs[1], slice(5, 10))
    one, two = (s.root for s in runs)
    said = f"compare: no problem in common ({one} and {two} were asked other problems of signs); evaluate both on the "
    with pytest.raises(DataError, match=re.escape(said)):
        against(runs)


def test_nothing_in_common_is_said_with_what_there_is(runs):
    first, second = sides(runs)
    other = second.recipe.model_copy(update={"name": "u"})
    evaluated = {("u", *key[1:]): m for key, m in second.evaluated.items()}
    renamed = Side("B", second.root, other, second.correct, second.problems, {}, evaluated, 5)
    with pytest.raises(DataError, match=r"compare: no student in common \(.*one: t; .*two: u\); compare runs that"):
        compare(first, renamed)
    elsewhere = Side("B", second.root, other, second.correct, {"math": frozenset("a")}, {}, second.evaluated, 5)
    with pytest.raises(DataError, match=r"compare: no benchmark in common \(.*one: signs; .*two: math\)"):
        compare(first, elsewhere)
    without = {key: m for key, m in second.evaluated.items() if key[1] == "base"}
    correct = {rule: {c: v for c, v in cells.items() if c[1] == "base"} for rule, cells in second.correct.items()}
    untrained = Side("B", second.root, second.recipe, correct, second.problems, {}, without, 5)
    with pytest.raises(DataError, match=r"compare: no arm in common \(.*one: base, long, short; .*two: base\)"):
        compare(first, untrained)


def test_an_arm_is_held_against_another_one(runs):
    tiny.plant(runs[0], "long/0", 6)
    tiny.plant(runs[1], "short/1", 4)
    found = against(runs, "long", "short")
    assert {(d.kind, d.of) for d in found.differences} == {("arm", ("long", "short"))}
    assert found.differences[0].values == pytest.approx((0.3, 0.2))
    assert found.tables[0].arms == ["A long", "B short"]


def test_an_untuned_student_is_held_against_every_seed(runs):
    tiny.plant(runs[0], "base", 5)
    tiny.plant(runs[1], "long/0", 2)
    found = against(runs, "base", "long").differences[0]
    ours, theirs = scores(runs[0], "base"), scores(runs[1], "long")
    assert (found.seeds, found.trained, found.data) == ((1, 2), False, stats.gap(ours - theirs).data)
    untuned = against(runs, "base", "base")
    assert (untuned.differences[0].verdict, untuned.differences[0].data) == ("can't tell (one seed)", None)
    assert untuned.tables[0].arms == ["A base", "B base"]


def test_base_is_the_same_in_both_runs_or_it_is_said(runs):
    tiny.plant(runs[0], "base", 5)
    tiny.plant(runs[1], "base", 5)
    (check,) = against(runs).base
    assert (check.arm, check.values, check.problems, check.differing, check.unlike) == (
        "base",
        (0.5, 0.5),
        PROBLEMS,
        0,
        [],
    )
    tiny.plant(runs[1], "base", {1, 2, 3, 4, 5})
    assert against(runs).base[0].differing == 2


@pytest.mark.parametrize(
    ("part", "values", "unlike"),
    [
        ("inputs", {"train/t/base": "folder:other"}, ["untuned weights"]),
        ("options", {"k": 4}, ["samples per problem"]),
        ("options", {"verifier_version": "99"}, ["verifier_version"]),
        ("options", {"verify.rule": "strict"}, []),
    ],
)
def test_base_that_was_asked_otherwise_need_not_be_the_same(runs, part: str, values: dict[str, Any], unlike: list[str]):
    edit(runs[1], "evaluate/t/base", **{part: values})
    assert against(runs).base[0].unlike == unlike


def test_both_are_read_by_the_rule_of_the_first(runs):
    tiny.plant(runs[1], "long/0", 8, rule="flexible")
    recipe(runs[1], verify={"rule": "strict"})
    found = against(runs)
    assert found.rule == "flexible"
    assert row(found, "long").values[1] == pytest.approx(0.4)
    assert found.notes[0] == (
        "A counts the flexible reading of the answers, B the strict one: both are read by the flexible one here."
    )


def test_trainings_of_the_same_weights_are_named(runs):
    assert against(runs).notes == [
        "4 trainings have the very same weights in both runs: between these, only the evaluation can differ."
    ]
    edit(runs[1], "train/t/long", tables={"model": {"rows": 1, "columns": {"weights": "other"}}})
    assert against(runs).notes[0].startswith("2 trainings have")
    edit(runs[1], "train", tables={"model": {"rows": 1, "columns": {"weights": "other"}}})
    assert against(runs).notes == []


def test_a_run_that_goes_on_is_compared_as_far_as_it_is(runs):
    for seed in (0, 1):
        (runs[1].folder("evaluate", "t", "long", str(seed), "signs") / "done.json").unlink()
    (runs[1].folder("evaluate", "t", "short", "1", "signs") / "done.json").unlink()
    first, second = sides(runs)
    assert (second.facts.evaluated, second.facts.wanted) == (2, 5)
    found = compare(first, second)
    assert {d.name for d in found.differences} == {"short"}
    assert (found.differences[0].seeds, found.differences[0].verdict) == ((1, 1), "can't tell (one seed)")
    for path in runs[1].folder("evaluate").rglob("done.json"):
        path.unlink()
    said = f"{runs[1].root}: nothing is evaluated yet; carry it out first: mixdistill run {runs[1].root}/recipe.yaml"
    with pytest.raises(StoreError, match=re.escape(said)):
        sides(runs)


def test_a_copy_from_a_machine_whose_models_are_not_here_is_compared(runs):
    recipe(runs[1], students={"t": {"model": "/of/another/machine"}})
    assert row(against(runs), "long").paired
