"""Trainings are asked the dev problems on the way: what is kept, what is asked again, what a choice follows from."""

import pytest

import tiny
from mixdistill import dev
from mixdistill.errors import Refused
from mixdistill.store import Store, _append
from mixdistill.training import snapshots
from mixdistill.types import Decision, Outcome, Trace

pytest.importorskip("trl")
BEFORE = ("generate", "verify", "analyze", "mix")
DEV = {"source": "lab:signs", "split": "search", "limit": 6}
ONE = {"seeds": 1, "arms": {"short": {"short": 1}}, "contrasts": {}, "budget": {"per_update": 8, "also": []}}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


def study(model: str, *, dev: bool = True, **sections):
    problems = tiny.problem_sets(24) | ({"dev": DEV} if dev else {})
    return tiny.study(model, problems=problems, **{**ONE, **sections})


def prepared(recipe, root, count: int = 6) -> Store:
    """A run folder up to the mixes, with dev problems in it."""
    store, _ = tiny.run(recipe, root, *BEFORE)
    tiny.add_dev(store, count)
    return store


def facts(store: Store, *cell: str) -> dict:
    marker = store.marker(store.folder("train", *cell))
    assert marker
    return marker["facts"]


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory) -> Store:
    """One cell of six updates, asked at 2, 3, 5 and 6."""
    recipe = study(model)
    store = prepared(recipe, tmp_path_factory.mktemp("trained") / "run")
    tiny.run(recipe, store.root, "train")
    return store


def test_every_point_is_asked_every_dev_problem_and_the_end_is_the_student(trained):
    found = facts(trained, "t", "short", "0")
    assert [(p["update"], p["examples"]) for p in found["dev"]] == [(2, 6), (3, 6), (5, 6), (6, 6)]
    assert found["kept"] == found["updates"] == 6
    folder = trained.folder("train", "t", "short", "0")
    assert {p.name for p in folder.iterdir()} == {"model", "dev", "trained.json", "done.json"}
    for point in found["dev"]:
        here = folder / "dev" / str(point["update"])
        traces, decisions = trained.read(here, Trace, "traces"), trained.read(here, Decision, "decisions")
        assert {t.problem_id for t in traces} == set(trained.problem_ids("dev"))
        assert {t.author for t in traces} == {f"student/t/short/0/dev/{point['update']}"}
        assert point["correct"] == sum(d.outcome is Outcome.CORRECT for d in decisions)
        assert {d.max_tokens for d in decisions} == {None}, "at the generation's own limit alone"


def test_points_of_a_training_answer_differently_with_the_same_draws(trained):
    folder = trained.folder("train", "t", "short", "0") / "dev"
    answers = {}
    for point in folder.iterdir():
        traces = trained.read(point, Trace, "traces")
        answers[point.name] = [t.content for t in traces]
        assert [t.sampling["seed"] for t in traces] == [
            t.sampling["seed"] for t in trained.read(folder / "6", Trace, "traces")
        ]
    assert len({tuple(a) for a in answers.values()}) > 1


def test_asking_changes_no_bit_of_the_student_and_costs_nothing_unasked(model, trained, tmp_path):
    recipe = study(model, dev=False)
    store, _ = tiny.run(recipe, tmp_path, *BEFORE, "train")
    assert tiny.weights(store, "t", "short", "0") == tiny.weights(trained, "t", "short", "0")
    assert {p.name for p in store.folder("train", "t", "short", "0").iterdir()} == {"model", "done.json"}
    assert {"dev", "kept"}.isdisjoint(facts(store, "t", "short", "0"))


@pytest.mark.parametrize("settings", [{"dev_checkpoints": 2}, {"keep": "last", "dev_checkpoints": 9}])
def test_other_points_train_nothing_again_where_the_last_is_kept(settings, model, trained):
    _, ran = tiny.run(study(model, train=settings), trained.root, "train")
    assert ran == []


def test_other_dev_problems_train_nothing_again_where_the_last_is_kept(model, tmp_path):
    recipe = study(model)
    store = prepared(recipe, tmp_path)
    tiny.run(recipe, tmp_path, "train")
    tiny.add_dev(store, 3, skip=6)
    assert not [x for x in tiny.run(recipe, tmp_path, "analyze", "mix", "train")[1] if x.startswith("train")]


def rigged(monkeypatch, right: dict[int, int]) -> None:
    """Let the model of an update be right so often of 6."""
    score = dev.score

    def scored(recipe, store, cell, update, model, folder, label):
        return {**score(recipe, store, cell, update, model, folder, label), "correct": right[update]}

    monkeypatch.setattr(dev, "score", scored)


@pytest.mark.parametrize(("right", "kept"), [([1, 4, 4, 2], 3), ([0, 0, 0, 0], 2), ([1, 2, 3, 4], 6)])
def test_best_is_the_highest_accuracy_and_of_equal_ones_the_earliest(right, kept):
    found = [{"update": u, "correct": c, "examples": 6} for u, c in zip((2, 3, 5, 6), right, strict=True)]
    assert dev.best(found) == kept


def test_kept_point_is_the_student_and_the_facts_are_those_of_the_whole_training(model, trained, tmp_path, monkeypatch):
    recipe = study(model, train={"keep": "best"})
    store = prepared(recipe, tmp_path)
    rigged(monkeypatch, {2: 1, 3: 4, 5: 4, 6: 2})
    tiny.run(recipe, tmp_path, "train")
    found, last = facts(store, "t", "short", "0"), facts(trained, "t", "short", "0")
    assert found["kept"] == 3
    assert tiny.weights(store, "t", "short", "0") != tiny.weights(trained, "t", "short", "0")
    for fact in ("updates", "examples", "loss_tokens", "losses", "displacement", "peak_learning_rate"):
        assert found[fact] == last[fact]
    marker = store.marker(store.folder("train", "t", "short", "0"))
    assert marker
    there = store.folder("train", "t", "short", "0", "model")
    (there / "README.md").unlink()  # its card is written afterwards, and again when there are scores
    assert marker["tables"]["model"]["columns"]["weights"] == dev.file_hash(there)
    assert not store.folder("train", "t", "short", "0", "snapshots").exists()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"train": {"keep": "best", "dev_checkpoints": 2}}, r"keep\.points was 4, is now 2"),
        ({"train": {"keep": "best"}, "evaluate": {"sampling": {"temperature": 1.0}}}, r"keep\.sampling was"),
        ({"train": {"keep": "last"}}, "keep was .*, is now None"),
    ],
)
def test_choice_of_the_best_point_follows_from_the_points_and_how_they_are_asked(
    section, said, model, tmp_path, monkeypatch
):
    recipe = study(model, train={"keep": "best"})
    prepared(recipe, tmp_path)
    rigged(monkeypatch, {2: 1, 3: 4, 5: 4, 6: 2})
    tiny.run(recipe, tmp_path, "train")
    with pytest.raises(Refused, match=said):
        tiny.run(study(model, **section), tmp_path, "train")


def test_choice_of_the_best_point_follows_from_the_dev_problems(model, tmp_path, monkeypatch):
    recipe = study(model, train={"keep": "best"})
    store = prepared(recipe, tmp_path)
    rigged(monkeypatch, {2: 1, 3: 4, 5: 4, 6: 2})
    tiny.run(recipe, tmp_path, "train")
    tiny.add_dev(store, 3, skip=6)
    with pytest.raises(Refused, match="train/t/short/0 was made otherwise: dev problems changed; use --out"):
        tiny.run(recipe, tmp_path, "analyze", "mix", "train")


class Killed(BaseException):
    pass


def test_killed_while_a_snapshot_is_asked_nothing_is_trained_or_sampled_again(model, trained, tmp_path, monkeypatch):
    recipe = study(model)
    store = prepared(recipe, tmp_path)
    calls = tiny.Calls(monkeypatch)
    append, rows = _append, []

    def dying(f, folder, line):
        rows.append(line)
        if len(rows) == 15:  # after 6 traces, their 6 verdicts and 2 traces of the second snapshot
            f.write(line[: len(line) // 2])
            raise Killed
        return append(f, folder, line)

    with monkeypatch.context() as patch:
        patch.setattr("mixdistill.store._append", dying)
        with pytest.raises(Killed):
            tiny.run(recipe, tmp_path, "train")
    folder = store.folder("train", "t", "short", "0")
    assert {int(p.name) for p in (folder / "dev").iterdir()} == {2, 3}
    calls.take()
    monkeypatch.setattr("mixdistill.train.fine_tune", None)
    tiny.run(recipe, tmp_path, "train")
    assert calls.take() == 4 + 6 + 6, "the rest of the second, and the others"
    ours, theirs = facts(store, "t", "short", "0"), facts(trained, "t", "short", "0")
    assert (ours["dev"], ours["kept"], ours["losses"]) == (theirs["dev"], theirs["kept"], theirs["losses"])
    assert tiny.weights(store, "t", "short", "0") == tiny.weights(trained, "t", "short", "0")


def test_killed_before_the_marker_the_next_run_only_writes_it(model, tmp_path, monkeypatch):
    recipe = study(model, train={"keep": "best"})
    store = prepared(recipe, tmp_path)
    rigged(monkeypatch, {2: 1, 3: 4, 5: 4, 6: 2})

    def dying(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Store, "mark", dying)
        with pytest.raises(Killed):
            tiny.run(recipe, tmp_path, "train")
    weights = tiny.weights(store, "t", "short", "0")
    monkeypatch.setattr("mixdistill.train.fine_tune", None)
    monkeypatch.setattr(dev, "score", None)
    tiny.run(recipe, tmp_path, "train")
    assert facts(store, "t", "short", "0")["kept"] == 3
    assert tiny.weights(store, "t", "short", "0") == weights


def test_model_that_is_gone_is_trained_again(model, trained, tmp_path):
    """What evaluate says then: delete the marker to train it again."""
    recipe = study(model)
    store = prepared(recipe, tmp_path)
    tiny.run(recipe, tmp_path, "train")
    folder = store.folder("train", "t", "short", "0")
    (folder / "model").rename(tmp_path / "problems" / "elsewhere")
    (folder / "done.json").unlink()
    tiny.run(recipe, tmp_path, "train")
    assert tiny.weights(store, "t", "short", "0") == tiny.weights(trained, "t", "short", "0")


def test_snapshots_that_are_there_are_asked_where_the_recipe_changed_meanwhile(tmp_path):
    for update in (3, 7):
        snapshots.snapshot(tmp_path, update).mkdir(parents=True)
    assert list(snapshots.taken(tmp_path, 10)) == [3, 7, 10]


def test_how_often_a_dev_problem_is_asked_follows_from_points_cells_and_trials():
    assert dev.asked_on_dev(study("m", dev=False)) == 0
    assert dev.asked_on_dev(study("m", seeds=3)) == 3 * 4
    both = {"arms": {"short": {"short": 1}, "long": {"long": 1}}, "budget": {"per_update": 8, "unit": "examples"}}
    tuned = study("m", tune={"learning_rate": [1e-3, 1e-2, 1e-1]}, train={"dev_checkpoints": 2}, **both)
    assert dev.asked_on_dev(tuned) == 2 * 2 + 3 * 2


def test_tune_and_best_need_dev_problems():
    from mixdistill.errors import RecipeError

    with pytest.raises(RecipeError) as caught:
        study("m", dev=False, train={"keep": "best"}, tune={"learning_rate": [1e-3, 1e-2]})
    assert caught.value.findings == [
        "recipe: tune: needs problems.dev, which the choice is made on; add such problems, or leave tune out",
        "recipe: train.keep: best needs problems.dev, which the choice is made on; add such problems",
    ]
    with pytest.raises(RecipeError) as caught:
        study("m", train={"keep": "best", "dev_checkpoints": 0}, tune={"learning_rate": [1e-3, 1e-3]})
    assert caught.value.findings == [
        "recipe: tune.learning_rate: holds 0.001 twice; leave one out",
        "recipe: train.keep: best needs points to choose from (got dev_checkpoints 0); set 1 or more",
    ]
