"""A checkpoint is whole or none, and a disk that is full costs nothing that was saved."""

import errno
import random

import pytest

import tiny
from mixdistill.errors import Diverged, StageError
from mixdistill.sections import Train
from mixdistill.training import trainer
from mixdistill.training.checkpoints import newest_checkpoint, remove_checkpoint, room
from mixdistill.training.finetune import fine_tune
from mixdistill.training.trainer import UpdateTrainer

UPDATES = [[(3 * u + i) % 8 for i in range(3)] for u in range(6)]
SETTINGS = Train(learning_rate=3e-3, save_steps=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def examples() -> list:
    rng = random.Random(0)
    return [tiny.example("Q 8 4 :", " ".join(rng.choices(tiny.WORDS[2:], k=9)), "A + -") for _ in range(8)]


def _bytes(out) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def _checkpoint(out, step: int, state: str = "{}"):
    folder = out / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(state)
    return folder


def test_newest_whole_checkpoint_is_by_number(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    nine, ten = _checkpoint(tmp_path, 9), _checkpoint(tmp_path, 10)
    assert newest_checkpoint(tmp_path) == ten
    _checkpoint(tmp_path, 11, '{"half": ')
    assert newest_checkpoint(tmp_path) == ten
    remove_checkpoint(ten)
    assert newest_checkpoint(tmp_path) == nine


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError(
            "[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing: file write failed"
        ),
        Exception("I/O error: No space left on device (os error 28)"),  # as safetensors says it
    ],
)
def test_full_disk_is_one_line_and_takes_the_half_written_with_it(error, tmp_path):
    folder = _checkpoint(tmp_path, 2)
    with pytest.raises(StageError) as caught, room(folder, "the checkpoint of update 2"):
        raise error
    line = str(caught.value)
    assert line.startswith(f"train: no space for the checkpoint of update 2 in {tmp_path} (")
    assert line.endswith("GB free); free some and run again: the training goes on from its last checkpoint")
    assert not folder.exists()


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    folder = _checkpoint(tmp_path, 2)
    with pytest.raises(PermissionError), room(folder, "it"):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert folder.exists()


def test_disk_that_fills_up_at_a_checkpoint_leaves_the_one_before_and_the_next_run_goes_on(
    model, examples, tmp_path, monkeypatch
):
    fine_tune(model, examples, UPDATES, SETTINGS, seed=0, out=tmp_path / "whole")
    save = UpdateTrainer._save_rng_state

    def full(trainer, folder):
        if folder.endswith("checkpoint-4"):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(trainer, folder)

    out = tmp_path / "cut"
    with monkeypatch.context() as patched:
        patched.setattr(UpdateTrainer, "_save_rng_state", full)
        with pytest.raises(StageError, match="no space for the checkpoint of update 4"):
            fine_tune(model, examples, UPDATES, SETTINGS, seed=0, out=out)
    assert [p.name for p in out.iterdir()] == ["checkpoint-2"]
    done = []
    fine_tune(model, examples, UPDATES, SETTINGS, seed=0, out=out, progress=lambda n, *_: done.append(n))
    assert done == [3, 4, 5, 6]
    assert _bytes(out) == _bytes(tmp_path / "whole")


def test_disk_that_fills_up_at_the_model_leaves_the_last_checkpoint(model, examples, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("mixdistill.training.finetune._write", full)
        with pytest.raises(StageError, match="no space for the model in"):
            fine_tune(model, examples, UPDATES, SETTINGS, seed=0, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-6"]
    fine_tune(model, examples, UPDATES, SETTINGS, seed=0, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_training_that_diverged_leaves_no_checkpoint_to_go_on_from(model, examples, tmp_path, monkeypatch):
    clip = UpdateTrainer.__mro__[1]._clip_grad_norm

    def broken(trainer, wrapped):
        norm = clip(trainer, wrapped)
        return norm * float("nan") if trainer.state.global_step == 4 else norm

    monkeypatch.setattr(UpdateTrainer.__mro__[1], "_clip_grad_norm", broken)
    with pytest.raises(Diverged) as caught:
        fine_tune(model, examples, UPDATES, SETTINGS, seed=0, out=tmp_path)
    assert str(caught.value) == (
        "train: the norm of the gradients of update 5 is nan; the training diverged; lower train.learning_rate or "
        "train.max_grad_norm"
    )
    assert not list(tmp_path.iterdir())


def test_loss_that_rises_and_stays_ends_the_training(model, examples, tmp_path, monkeypatch):
    """From the tenth update on the loss is ten times what it was; the trainer looks at 20 updates together."""
    losses, calls = trainer.token_losses, []

    def risen(*args):
        calls.append(1)
        return losses(*args) * (10 if len(calls) >= 10 else 1)

    monkeypatch.setattr(trainer, "token_losses", risen)
    settings = Train(learning_rate=1e-5, save_steps=10)
    with pytest.raises(Diverged) as caught:
        fine_tune(model, examples, [list(range(8))] * 60, settings, seed=0, out=tmp_path)
    assert str(caught.value).startswith("train: the loss of update 25 is ")
    assert "it has been far above where it began for 20 updates; the training diverged; lower train." in str(
        caught.value
    )
    assert not list(tmp_path.iterdir())
