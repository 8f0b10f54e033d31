"""The same trials on every arm, on dev: what they are, what an arm gets, what waits for them."""

import json
import shutil

import pytest

import tiny
from mixdistill import dev, pipeline, train, tune
from mixdistill.errors import Diverged, RecipeError, Refused
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Trace

pytest.importorskip("trl")
BEFORE = ("generate", "verify", "analyze", "mix")
DEV = {"source": "lab:signs", "split": "search", "limit": 6}
RATES = [1e-3, 1e-2, 3e-2]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


def study(model: str, *, rates=RATES, **sections) -> Recipe:
    known = {
        "problems": tiny.problem_sets(24) | {"dev": DEV},
        "tune": {"learning_rate": rates},
        "budget": {"per_update": 8, "also": []},
        "train": {"num_train_epochs": 1, "dev_checkpoints": 2},
        "seeds": [3, 5],
    }
    return tiny.study(model, **{**known, **sections})


@pytest.fixture(scope="module")
def mixed(model, tmp_path_factory) -> Store:
    """A run folder up to the mixes."""
    return tiny.run(study(model), tmp_path_factory.mktemp("mixed") / "run", *BEFORE)[0]


@pytest.fixture
def begun(mixed, tmp_path) -> Store:
    """A copy of it."""
    return Store(shutil.copytree(mixed.root, tmp_path / "run"))


@pytest.fixture(scope="module")
def tried(model, mixed, tmp_path_factory) -> Store:
    """Another one, with the trials; nobody adds to it."""
    root = shutil.copytree(mixed.root, tmp_path_factory.mktemp("tried") / "run")
    store, ran = tiny.run(study(model), root, "tune")
    assert sorted(ran) == [f"tune/t/{arm}/{rate}" for arm in ("long", "short") for rate in ("0.001", "0.01", "0.03")]
    return store


def right(monkeypatch, by_cell) -> None:
    """Let trials come to so many right of 6: (arm, value) -> count; trainings to none."""
    score = dev.score

    def scored(recipe, store, cell, update, model, folder, label):
        found = score(recipe, store, cell, update, model, folder, label)
        stage, _, arm, value = folder.parts[-6:-2] if folder.parts[-6] in ("tune", "train") else ("", "", "", "")
        return {**found, "correct": by_cell(arm, float(value)) if stage == "tune" else 0}

    monkeypatch.setattr(dev, "score", scored)


def facts(store: Store, stage: str, *key: str) -> dict:
    marker = store.marker(store.folder(stage, *key))
    assert marker
    return marker["facts"]


def test_every_arm_gets_the_same_trials_on_its_own_rows_of_the_first_seed(tried):
    for arm in ("long", "short"):
        for rate in RATES:
            found = facts(tried, "tune", "t", arm, repr(rate))
            assert found["peak_learning_rate"] == pytest.approx(rate)
            assert found["loss_tokens"] == facts(tried, "mix", "t", arm, "3")["loss_tokens"]
            assert (found["examples"], found["correct"]) == (6, found["dev"][0]["correct"])
    assert not list(tried.folder("tune").rglob("model")), "a trial leaves no model"


def test_trials_have_a_seed_of_their_own_that_is_the_same_in_every_arm(model, begun, monkeypatch):
    seeds = []
    fine_tune = train.fine_tune
    monkeypatch.setattr(train, "fine_tune", lambda *a, **more: seeds.append(more["seed"]) or fine_tune(*a, **more))
    tiny.run(study(model), begun.root, "tune")
    assert set(seeds) == {tune.seed_of(3)}
    assert tune.seed_of(3) not in (3, 5)
    drawn = {
        trace.sampling["seed"]
        for folder in begun.folder("tune").glob("t/*/*/dev/*")
        for trace in begun.read(folder, Trace, "traces")
    }
    assert len(drawn) == 6, "one per problem, whatever the arm and the value"


def test_arm_is_trained_with_its_own_best_value_and_of_equal_ones_the_first(model, begun, monkeypatch):
    right(monkeypatch, lambda arm, value: {1e-3: 2, 1e-2: 4, 3e-2: 4}[value] if arm == "long" else int(value == 3e-2))
    tiny.run(study(model), begun.root, "tune", "train")
    for seed in ("3", "5"):
        long, short = facts(begun, "train", "t", "long", seed), facts(begun, "train", "t", "short", seed)
        assert (long["peak_learning_rate"], short["peak_learning_rate"]) == (0.01, 0.03)
        assert long["tuned"] == {"learning_rate": [[1e-3, 2, 6], [1e-2, 4, 6], [3e-2, 4, 6]]}
        assert short["tuned"] == {"learning_rate": [[1e-3, 0, 6], [1e-2, 0, 6], [3e-2, 1, 6]]}


def test_diverged_trial_counts_as_nothing_right_and_the_study_goes_on(model, begun, monkeypatch):
    fine_tune = train.fine_tune

    def diverging(*args, **more):
        if args[3].learning_rate == 1e-2:
            raise Diverged("train: the loss of update 2 is nan")
        return fine_tune(*args, **more)

    monkeypatch.setattr(train, "fine_tune", diverging)
    right(monkeypatch, lambda arm, value: int(value == 3e-2))
    tiny.run(study(model), begun.root, "tune", "train")
    found = facts(begun, "tune", "t", "long", "0.01")
    assert found == {"diverged": "train: the loss of update 2 is nan", "correct": 0, "examples": 6}
    assert facts(begun, "train", "t", "long", "3")["tuned"]["learning_rate"][1] == [0.01, 0, 6]
    assert facts(begun, "train", "t", "long", "3")["peak_learning_rate"] == 0.03


def test_a_value_that_diverged_comes_after_one_that_taught_nothing(model, begun, monkeypatch):
    fine_tune = train.fine_tune

    def diverging(*args, **more):
        if args[3].learning_rate == RATES[0]:
            raise Diverged("train: the loss of update 2 is nan")
        return fine_tune(*args, **more)

    monkeypatch.setattr(train, "fine_tune", diverging)
    right(monkeypatch, lambda arm, value: 0)
    tiny.run(study(model), begun.root, "tune", "train")
    assert facts(begun, "train", "t", "long", "3")["peak_learning_rate"] == RATES[1]


def test_training_that_really_diverges_leaves_nothing_behind(model, begun):
    tiny.run(
        study(model, rates=[1e-3, 1e38], train={"save_steps": 1, "warmup_ratio": 0.0, "num_train_epochs": 1}),
        begun.root,
        "tune",
    )
    folder = begun.folder("tune", "t", "long", "1e+38")
    assert "diverged" in facts(begun, "tune", "t", "long", "1e+38")
    assert [p.name for p in folder.iterdir()] == ["done.json"]


def test_training_waits_for_all_trials_of_its_arm_alone(model, begun, monkeypatch):
    def failing(unit, recipe, store):
        if unit.key == ("t", "long", "0.01"):
            raise OSError("no")
        return run(unit, recipe, store)

    run = tune.run
    monkeypatch.setattr(tune, "run", failing)
    said = tiny.failures(study(model), begun.root, "tune", "train")
    assert [line.partition(";")[0] for line in said[:1]] == ["tune/t/long/0.01: OSError: no"]
    assert said[1:] == [f"train/t/long/{seed}: not run; tune/t/long/0.01 is missing" for seed in (3, 5)]
    assert begun.marker(begun.folder("train", "t", "short", "5"))


def test_done_study_does_nothing_again_and_more_seeds_take_the_same_choice(model, begun):
    tiny.run(study(model), begun.root, "tune", "train")
    assert tiny.run(study(model), begun.root, "tune", "train")[1] == []
    _, ran = tiny.run(study(model, seeds=[3, 5, 6]), begun.root, *BEFORE, "tune", "train")
    assert [label for label in ran if label.startswith(("tune", "train"))] == ["train/t/long/6", "train/t/short/6"]


def test_one_more_value_trains_again_only_where_it_is_chosen_and_asks_first(model, begun, monkeypatch):
    right(monkeypatch, lambda arm, value: {3e-2: 1, 5e-2: 2}.get(value, 0) if arm == "short" else int(value == 1e-3))
    tiny.run(study(model), begun.root, "tune", "train")
    more = study(model, rates=[*RATES, 5e-2])
    with pytest.raises(Refused) as caught:
        tiny.run(more, begun.root, "tune", "train")
    assert [line.partition(": ")[2] for line in str(caught.value).splitlines()] == [
        f"train/t/short/{seed} was made otherwise: tuned learning_rate changed; use --out for a new run or --fresh to "
        "set the old aside"
        for seed in (3, 5)
    ]
    _, ran = tiny.run(more, begun.root, "tune", "train", fresh=True)
    assert sorted(ran) == ["train/t/short/3", "train/t/short/5"]
    assert facts(begun, "train", "t", "short", "3")["peak_learning_rate"] == 0.05


def test_trials_follow_from_the_dev_problems_and_the_settings(model, tried, tmp_path):
    begun = Store(shutil.copytree(tried.root, tmp_path / "run"))
    with pytest.raises(
        Refused, match=r"tune/t/long/0\.001 was made otherwise: train\.weight_decay was 0\.0, is now 0\.1"
    ):
        tiny.run(study(model, train={"weight_decay": 0.1}), begun.root, "tune")
    tiny.add_dev(begun, 3, skip=6)
    with pytest.raises(Refused, match="dev problems changed"):
        tiny.run(study(model), begun.root, "analyze", "mix", "tune")


def test_other_traces_are_refused_once_there_are_trials(model, tried):
    teachers = {
        "long": {"backend": "scripted", "model": "long", "samples": 2},
        "short": {"backend": "scripted", "model": "short"},
    }
    with pytest.raises(Refused, match=r"teachers\.long\.samples changed, and trainings were made before"):
        tiny.run(study(model, teachers=teachers), tried.root)


class Killed(BaseException):
    pass


def test_killed_trial_goes_on_without_training_or_sampling_again(model, begun, monkeypatch):
    def dying(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Store, "mark", dying)
        with pytest.raises(Killed):
            tiny.run(study(model), begun.root, "tune")
    calls = tiny.Calls(monkeypatch)
    fine_tune, rates = train.fine_tune, []
    monkeypatch.setattr(
        train, "fine_tune", lambda *a, **more: rates.append(a[3].learning_rate) or fine_tune(*a, **more)
    )
    tiny.run(study(model), begun.root, "tune")
    assert len(rates) == 5, "of six"
    assert calls.take() == 5 * 6


def test_without_the_section_there_is_no_stage(model, begun):
    plain = tiny.study(model, problems=tiny.problem_sets(24) | {"dev": DEV})
    assert tune.units(plain, begun) == []
    states: list[str] = []

    class Watching(tiny.Silent):
        def stage(self, name, units):
            states.append(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Local", tiny.Inline)
        pipeline.run(plain, begun, stages=("mix", "tune"), watcher=Watching())
    assert states == ["mix"]


def test_verb_without_the_section_says_so(model, tmp_path):
    from mixdistill.commands.run import carry_out

    plain = tiny.study(model)
    with pytest.raises(RecipeError, match="tune: the recipe has no such section, so there is nothing to try; add one"):
        carry_out(plain, None, tmp_path / "run", ("tune",), say=print)


def test_status_tells_of_trials(tried):
    from mixdistill.commands import status

    (stage,) = [s for s in status.describe(tried.root)["stages"] if s["stage"] == "tune"]
    assert (stage["done"], stage["wanted"], stage["counts"]) == (6, 6, {"updates": 18})
    json.dumps(stage)


def test_whole_study_with_dev_and_tune_reports_the_gap_over_training(model, tmp_path):
    problems = tiny.problem_sets(24) | {"dev": {**DEV, "limit": 8}}
    recipe = study(model, problems=problems, train={"keep": "best", "dev_checkpoints": 2})
    store, _ = tiny.run(recipe, tmp_path / "run")
    evidence = json.loads((store.folder("report") / "report.json").read_text())
    gaps = [(g["name"], g["progress"], g["problems"], g["seeds"]) for g in evidence["dev_gaps"]]
    assert gaps == [("long_cot_gap", 0.5, 8, 2), ("long_cot_gap", 1.0, 8, 2)]
    assert {(p["arm"], p["problems"]) for p in evidence["dev_points"]} == {("long", 8), ("short", 8)}
    assert {s["benchmark"] for s in evidence["scores"]} == {"signs"}, "dev is no result"
    assert "The gap over the training" in (store.folder("report") / "index.html").read_text()
    assert tiny.run(recipe, store.root)[1] == []
