"""A training is looked at on the way, without being changed by it."""

import random
from pathlib import Path

import pytest

import tiny
from mixdistill.sections import Train
from mixdistill.training import snapshots
from mixdistill.training.finetune import fine_tune
from mixdistill.types import Example

pytest.importorskip("trl")
SETTINGS = Train(learning_rate=3e-3, warmup_ratio=0.2, save_steps=3)
UPDATES = [[(3 * u + i) % 20 for i in range(4 + u % 2)] for u in range(10)]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(tiny.WORDS[2:], k=rng.randint(3, 50))) for _ in range(20)]
    return [tiny.example("Q 8 4 7 T 5 :", text, f"A + {'-' * (i % 2)}") for i, text in enumerate(texts)]


def _train(model: str, examples: list[Example], out: Path, **options) -> dict:
    updates = options.pop("updates", UPDATES)
    return fine_tune(model, examples, updates, SETTINGS, **{"seed": 0, "out": out, **options})


def _weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def plain(model, examples, tmp_path_factory) -> Path:
    """A training that nobody looked at."""
    out = tmp_path_factory.mktemp("plain") / "unit"
    _train(model, examples, out)
    return out


@pytest.fixture(scope="module")
def looked_at(model, examples, tmp_path_factory) -> Path:
    """The same, with snapshots after the updates 3 and 7."""
    out = tmp_path_factory.mktemp("looked") / "unit"
    _train(model, examples, out, snapshots=(3, 7))
    return out


def test_points_are_at_equal_distances_and_the_end_is_among_them():
    assert snapshots.points(100, 4) == [25, 50, 75, 100]
    assert snapshots.points(10, 4) == [3, 5, 8, 10]
    assert snapshots.points(10, 1) == [10]
    assert snapshots.points(3, 5) == [1, 2, 3]
    assert snapshots.points(10, 0) == []


def test_looking_changes_no_bit_of_the_student(plain, looked_at):
    assert _weights(looked_at / "model") == _weights(plain / "model")


def test_a_snapshot_is_a_whole_model_of_its_own_update(model, examples, looked_at):
    from transformers import AutoModelForCausalLM

    from mixdistill.tokens import Template

    there = snapshots.taken(looked_at, 10)
    assert {update: folder.name for update, folder in there.items()} == {3: "3", 7: "7", 10: "model"}
    assert len({_weights(folder) for folder in there.values()}) == 3
    for folder in there.values():
        assert {p.name for p in folder.iterdir()} == {p.name for p in (looked_at / "model").iterdir()}
        AutoModelForCausalLM.from_pretrained(folder)
        assert Template.load(str(folder)).fingerprint == Template.load(model).fingerprint


@pytest.mark.parametrize("update", [3, 6, 8])
def test_killed_training_goes_on_to_the_same_snapshots(update, model, examples, looked_at, tmp_path):
    """Checkpoints lie at 3, 6 and 9: what is done again after one is the same again."""
    with pytest.raises(tiny.Killed):
        _train(model, examples, tmp_path, snapshots=(3, 7), progress=tiny.kill_at(update))
    _train(model, examples, tmp_path, snapshots=(3, 7))
    ours, theirs = snapshots.taken(tmp_path, 10), snapshots.taken(looked_at, 10)
    assert {u: _weights(f) for u, f in ours.items()} == {u: _weights(f) for u, f in theirs.items()}


def test_half_a_snapshot_is_none(model, examples, tmp_path, monkeypatch):
    """tiny.Killed while one is saved: only its hidden name is there."""

    def half(path, *args, **more):
        raise tiny.Killed

    monkeypatch.setattr("pathlib.Path.rename", half)
    with pytest.raises(tiny.Killed):
        _train(model, examples, tmp_path, snapshots=(2,))
    assert [p.name for p in (tmp_path / "snapshots").iterdir()] == [".2.tmp"]
    assert list(snapshots.taken(tmp_path, 10)) == [10]


def _folders(out: Path, *updates: int) -> None:
    for folder in [out / "model", *(snapshots.snapshot(out, u) for u in updates)]:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text(folder.name)


def test_the_last_point_is_kept_by_removing_the_others(tmp_path):
    _folders(tmp_path, 3, 7)
    snapshots.keep(tmp_path, 10, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert _weights(tmp_path / "model") == b"model"


def test_an_earlier_point_takes_the_place_of_the_model(tmp_path):
    _folders(tmp_path, 3, 7)
    snapshots.keep(tmp_path, 7, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert _weights(tmp_path / "model") == b"7"


@pytest.mark.parametrize("step", [1, 2, 3])
def test_killed_while_a_point_is_kept_the_next_call_goes_on(step, tmp_path, monkeypatch):
    _folders(tmp_path, 3, 7)
    done = []

    def dying(act):
        def wrapped(*args, **more):
            done.append(act)
            if len(done) == step:
                raise tiny.Killed
            return act(*args, **more)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", dying(Path.rename))
        patch.setattr("mixdistill.training.snapshots.shutil.rmtree", dying(snapshots.shutil.rmtree))
        with pytest.raises(tiny.Killed):
            snapshots.keep(tmp_path, 7, 10)
    snapshots.keep(tmp_path, 7, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert _weights(tmp_path / "model") == b"7"


def test_what_a_training_did_is_forgotten_where_its_models_are_gone(tmp_path):
    assert snapshots.noted(tmp_path) is None
    _folders(tmp_path, 3)
    snapshots.note(tmp_path, {"updates": 10})
    (tmp_path / "model").rename(tmp_path / "gone")
    snapshots.forget(tmp_path)
    assert snapshots.noted(tmp_path) == {"updates": 10}, "killed while a point is kept"
    (tmp_path / "snapshots").rename(tmp_path / "gone too")
    snapshots.forget(tmp_path)
    assert snapshots.noted(tmp_path) is None
