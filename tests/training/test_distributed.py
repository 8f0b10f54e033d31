"""One training in two processes (CPU, gloo) is the training of one, whoever is killed meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
from mixdistill.errors import RecipeError, StageError
from mixdistill.sections import Train
from mixdistill.training import distributed
from mixdistill.training.batches import IGNORED, Collate, Tokenised
from mixdistill.training.checkpoints import newest_checkpoint
from mixdistill.training.distributed import SETTINGS, Share, spread
from mixdistill.training.finetune import fine_tune
from mixdistill.types import Example
from test_executor import alive

ONE = Train(
    learning_rate=1e-3, warmup_ratio=0.2, weight_decay=0.01, adam_beta2=0.98, save_steps=2, micro_batch_tokens=60
)
UPDATES = [[0, 3, 6, 9], [1, 4, 7, 10, 13], [2], [5, 8, 11, 14], [12, 15, 16, 17, 18]]
"""The third is a single row: one of two processes goes without."""
KINDS = ("ddp", "fsdp")
SLOW = 240
"""Seconds: every launch starts three interpreters that import torch, on a machine that may have other work."""


def two(kind: str) -> Train:
    return ONE.model_copy(update={"num_processes": 2, "distributed": kind})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"), num_hidden_layers=2)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(tiny.WORDS[2:], k=rng.randint(3, 50))) for _ in range(20)]
    return [tiny.example("Q 8 4 7 T 5 :", "" if i % 5 == 0 else t, f"A + {'-' * (i % 2)}") for i, t in enumerate(texts)]


class Killed(Exception):
    pass


def train(model: str, examples: list[Example], out: Path, settings: Train = ONE, **options: Any) -> dict[str, Any]:
    return fine_tune(model, examples, UPDATES, settings, **{"seed": 0, "out": out, **options})


def stopped_after(update: int) -> Any:
    def progress(done: int, tokens: int, rate: float) -> None:
        if done == update:
            raise Killed

    return progress


def log(out: Path) -> list[tuple[float, float]]:
    """(loss, norm of the gradient) of every update before the checkpoint that a killed training left."""
    checkpoint = newest_checkpoint(out) or newest_checkpoint(out, {"num_processes": 2, "distributed": out.name})
    assert checkpoint
    steps = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [(s["loss"], s["grad_norm"]) for s in steps]


@pytest.fixture(scope="module")
def alone(model, examples, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """One process: (folder, facts)."""
    out = tmp_path_factory.mktemp("alone") / "one"
    return out, train(model, examples, out, snapshots=[3])


@pytest.fixture(scope="module")
def shared(model, examples, tmp_path_factory) -> dict[str, tuple[Path, dict[str, Any], list[tuple[int, int]]]]:
    """Two processes: kind -> (folder, facts, the progress that was said), made when it is asked for."""

    class Made(dict):
        def __missing__(self, kind: str) -> Any:
            out, said = tmp_path_factory.mktemp("shared") / kind, []
            facts = train(
                model,
                examples,
                out,
                two(kind),
                snapshots=[3],
                progress=lambda done, tokens, rate: said.append((done, tokens)),
            )
            self[kind] = out, facts, said
            return self[kind]

    return Made()


def read(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def weights(model: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(model / "model.safetensors")


@pytest.mark.timeout(SLOW)
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_come_to_the_losses_weights_and_facts_of_one(kind, alone, shared):
    (one, facts), (out, own, said) = alone, shared[kind]
    for model in ("model", "snapshots/3"):
        theirs, ours = weights(one / model), weights(out / model)
        assert theirs.keys() == ours.keys()
        assert max(float((theirs[k] - ours[k]).abs().max()) for k in theirs) < 1e-6
    assert [loss for _, loss in own["losses"]] == pytest.approx([loss for _, loss in facts["losses"]], abs=1.1e-5)
    rounded = {"displacement", "losses", "first_loss", "final_loss"}
    differ = {"num_processes", "distributed", "positions", "seconds_training"}
    same = facts.keys() - rounded - differ
    assert {k: own[k] for k in same} == {k: facts[k] for k in same}
    assert own["displacement"] == pytest.approx(facts["displacement"], abs=1.1e-5)
    assert (facts["num_processes"], facts["distributed"]) == (1, None)
    assert (own["num_processes"], own["distributed"]) == (2, kind)
    assert [done for done, _ in said] == [1, 2, 3, 4, 5]
    assert said[-1][1] == facts["loss_tokens"]
    assert {p.name for p in out.iterdir()} == {"model", "snapshots"}
    assert {p.name for p in (out / "model").iterdir()} == {p.name for p in (one / "model").iterdir()}
    assert (out / "model" / "config.json").read_text() == (one / "model" / "config.json").read_text()


def dies_in_update(update: int, *args: Any, **kwargs: Any) -> Any:
    """A training whose second process is killed in an update, before its gradients are put together."""
    from mixdistill.training.shared_trainer import SharedTrainer

    mean, calls = SharedTrainer.mean_of_all, []

    def or_die(trainer: SharedTrainer, value: torch.Tensor) -> torch.Tensor:
        calls.append(value)
        if len(calls) == update and trainer.share.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return mean(trainer, value)

    SharedTrainer.mean_of_all = or_die
    return fine_tune(*args, **kwargs)


@pytest.mark.timeout(SLOW)
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_process_is_one_line_and_the_next_run_goes_on_to_the_same_bits(
    kind, model, examples, shared, tmp_path, reachable
):
    """Losses and gradients are compared as well: weights alone would not tell gradients of another size apart."""
    out, given = tmp_path / kind, {"processes": 2, "folder": tmp_path, "progress": lambda *said: None}
    with pytest.raises(StageError) as caught:
        spread(dies_in_update, 5, model, examples, UPDATES, two(kind), seed=0, out=out, **given)
    assert str(caught.value) == "train: process 2 of 2 was killed (signal 9; out of memory?); run again to go on"
    assert [p.name for p in out.iterdir()] == ["checkpoint-4"]
    with pytest.raises(Killed):
        train(model, examples, tmp_path / "one", progress=stopped_after(5))
    assert log(out) == [pytest.approx(pair, abs=1e-6) for pair in log(tmp_path / "one")]
    said: list[int] = []
    facts = train(model, examples, out, two(kind), progress=lambda done, tokens, rate: said.append(done))
    assert said == [5]
    assert read(out) == read(shared[kind][0])
    times = {"seconds_training": None}
    assert facts | times == shared[kind][1] | times


def test_checkpoints_of_another_number_of_processes_are_not_gone_on_from(model, examples, alone, tmp_path):
    for name, layout in (("checkpoint-2", {}), ("checkpoint-4", Share(0, 2).layout("ddp"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text("{}")
        if layout:
            (tmp_path / name / "processes.json").write_text(json.dumps(layout))
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert newest_checkpoint(tmp_path, Share(1, 2).layout("ddp")) == tmp_path / "checkpoint-4"
    assert newest_checkpoint(tmp_path, Share(0, 2).layout("fsdp")) is None
    assert newest_checkpoint(tmp_path, Share(0, 3).layout("ddp")) is None


# -- shares -----------------------------------------------------------------------------------------------------------


def test_every_row_is_dealt_to_one_process_and_all_have_about_as_many_tokens():
    rng = random.Random(1)
    lengths = {i: rng.randint(5, 500) for i in range(40)}
    for processes in (1, 2, 3, 8):
        hands = Share(0, processes).deal(list(lengths), lengths)
        assert sorted(i for hand in hands for i in hand) == list(lengths)
        tokens = [sum(lengths[i] for i in hand) for hand in hands]
        assert max(tokens) - min(tokens) <= max(lengths.values())
        assert hands == Share(processes - 1, processes).deal(list(lengths), lengths), "the same in every process"
    assert Share(0, 1).deal([3, 1, 2], lengths) == [[3, 1, 2]]
    assert Share(1, 2).deal([7], lengths) == [[7], []]


def test_processes_have_equally_many_micro_batches_and_stand_ins_carry_no_loss():
    rows = [Tokenised([1] * 5, [2] * n) for n in (90, 10, 10, 10)]
    first, second = (Collate(rows, 0, 20, Share(rank, 2))([{"examples": [0, 1, 2, 3]}]) for rank in (0, 1))
    assert [m.rows for m in first["whole"]] == [m.rows for m in second["whole"]] == [[0], [1], [2], [3]]
    assert [m.rows for m in second["micro_batches"]] == [[1], [2], [3]]
    assert [m.rows for m in first["micro_batches"]] == [[], [], [0]]
    assert [m.loss_tokens for m in first["micro_batches"]] == [[], [], [90]]
    idle = first["micro_batches"][0]
    assert idle.labels.eq(IGNORED).all()
    assert idle.labels.shape == idle.inputs["input_ids"].shape == (1, 15)


def test_a_process_that_nobody_started_has_all_of_it(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # as some clusters say of what they run
    assert Share.here() == Share(0, 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "3")
    assert Share.here() == Share(3, 4)
    assert [Share(n, 4).first for n in range(4)] == [True, False, False, False]


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands here can be called in another process."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def speaks(text: str, *, progress: Any) -> tuple[int, str]:
    print("not for anybody's eyes")
    for n in (1, 2):
        progress(n, text)
    return Share.here().rank, text


def fails(kind: str, held: str, *, progress: Any) -> None:
    """The second process fails; the first does because of it, and often is heard first."""
    first = Share.here().first
    if kind == "recipe" and not first:
        raise RecipeError(["one", "two"])
    if kind == "bug" and not first:
        raise KeyError("nothing of that name")
    if kind == "killed" and not first:
        with open(held, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write("held")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    if kind == "killed":
        while not os.path.exists(held) or not os.path.getsize(held):
            time.sleep(0.01)
        with open(held) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # which nobody else holds once the other is dead
        raise RuntimeError("Connection closed by peer")
    signal.pause()


def stays(folder: str, *, progress: Any) -> None:
    (Path(folder) / str(os.getpid())).touch()
    while len(list(Path(folder).iterdir())) < 2:  # whoever listens is killed at the first word
        time.sleep(0.05)
    progress(os.getpid(), os.getppid())
    signal.pause()


@pytest.mark.timeout(SLOW)
def test_the_first_process_speaks_and_answers_for_all(reachable, tmp_path, capfd):
    said: list[Any] = []
    answer = spread(speaks, "well", processes=2, folder=tmp_path / "new", progress=lambda *what: said.append(what))
    assert answer == (0, "well")
    assert said == [(1, "well"), (2, "well")]
    assert list((tmp_path / "new").iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.timeout(SLOW)
@pytest.mark.parametrize(
    ("kind", "type_", "text"),
    [
        ("recipe", RecipeError, "one\ntwo"),
        ("bug", KeyError, "'nothing of that name'"),
        ("killed", StageError, "train: process 2 of 2 was killed (signal 9; out of memory?); run again to go on"),
    ],
)
def test_what_is_said_is_why_the_process_failed_that_failed_first(kind, type_, text, reachable, tmp_path, capfd):
    with pytest.raises(type_) as caught:
        spread(fails, kind, str(tmp_path / "held"), processes=2, folder=tmp_path / "new", progress=lambda: None)
    assert str(caught.value) == text
    assert list((tmp_path / "new").iterdir()) == []
    assert capfd.readouterr() == ("", "")
    if kind == "bug":
        assert "in fails" in str(caught.value.__cause__), "its own traceback"


PARENT = """
import os, signal, sys
from mixdistill.training.distributed import spread
import test_distributed

def both(*pids):
    if len(os.listdir(sys.argv[1])) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    spread(test_distributed.stays, sys.argv[1], processes=2, folder=Path(sys.argv[2]), progress=both)
"""


@pytest.mark.timeout(SLOW)
def test_the_processes_end_when_who_started_them_is_killed(reachable, tmp_path):
    (tmp_path / "pids").mkdir()
    (tmp_path / "parent.py").write_text(PARENT.replace("import os,", "from pathlib import Path\nimport os,"))
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "pids"), str(tmp_path)]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    processes = [int(p.name) for p in (tmp_path / "pids").iterdir()]
    assert len(processes) == 2
    deadline = time.monotonic() + 20
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, processes))


def test_more_processes_than_gpus_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(StageError) as caught:
        spread(speaks, "", processes=3, folder=tmp_path, progress=lambda: None)
    assert str(caught.value) == "train.num_processes: needs a GPU for each process (got 3, and 2 here); lower it"


# -- settings that are shipped ----------------------------------------------------------------------------------------


def test_shipped_settings_are_those_of_our_own_launch():
    fsdp = yaml.safe_load((SETTINGS / "fsdp.yaml").read_text())
    assert fsdp["distributed_type"] == "FSDP"
    assert distributed.fsdp(two("fsdp")) == {"fsdp": True, "fsdp_config": fsdp["fsdp_config"]}
    assert distributed.fsdp(two("ddp")) == distributed.fsdp(ONE.model_copy(update={"distributed": "fsdp"})) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_accelerate_reads_the_shipped_settings(kind):
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(SETTINGS / f"{kind}.yaml"))
    assert found.num_processes == 2
    assert found.distributed_type == {"ddp": "MULTI_GPU", "fsdp": "FSDP"}[kind]


def test_adapters_take_ddp():
    from mixdistill.training.methods import lacking

    shared = two("fsdp").model_copy(update={"method": "lora"})
    assert lacking(shared) == [
        "train.distributed: fsdp shares the weights of full trainings (got method: lora); set ddp"
    ]
    assert lacking(shared.model_copy(update={"distributed": "ddp"})) == lacking(two("fsdp")) == []
