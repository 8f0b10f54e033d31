"""Memory is told part by part; what cannot fit is refused with what would, and what is unknown refuses nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import tiny
from mixdistill import pipeline
from mixdistill.commands import estimates, memory
from mixdistill.commands.memory import (
    LIBRARIES,
    SLACK,
    Rows,
    of_training,
    planned,
    refused,
    rows,
    rows_seen,
    stops,
    stops_one,
)
from mixdistill.commands.plan_text import _memory_line
from mixdistill.commands.shapes import Shape, shape
from mixdistill.commands.status import keys_of
from mixdistill.errors import RecipeError
from mixdistill.pipeline import STAGES
from mixdistill.recipe import Recipe, build, load, shipped
from mixdistill.sections import Train
from mixdistill.store import MARKER, Store

GB = 1e9
QWEN = {
    "hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
    "intermediate_size": 8960, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip
"""Qwen2.5-1.5B."""


@pytest.fixture
def qwen(tmp_path: Path) -> str:
    folder = tmp_path / "qwen"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN))
    return str(folder)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """So many GPUs of so many GB."""

    def there(count: int, room: float | None) -> None:
        monkeypatch.setattr(memory.executor, "gpus", lambda: [str(n) for n in range(count)])
        monkeypatch.setattr(memory, "room", lambda devices: room)

    return there


def study(raw: dict[str, Any], model: str, **train: Any) -> Recipe:
    raw["students"] = {"q": {"model": model}}
    raw["train"] = train
    return build(raw)


def of(recipe: Recipe, tmp_path: Path, known: Rows | None = None, workers: int | None = None) -> Any:
    (one,) = planned(recipe, Store(tmp_path / "run"), {} if known is None else {"q": known}, workers)
    return one


def test_weights_gradients_and_moments_are_those_of_what_is_trained(qwen):
    found = shape(qwen)
    assert found
    full = of_training(found, Train(), 1000, gpu=True)
    assert full["weights"] == pytest.approx(SLACK * 4 * found.weights)
    assert full["gradients"] == full["weights"]
    assert "copy" not in full
    assert of_training(found, Train(), 1000, gpu=False)["copy"] == full["weights"]
    assert full["optimizer"] == 2 * full["weights"]
    lora = of_training(found, Train(method="lora"), 1000, gpu=True)
    adapters = found.adapters(Train().lora)
    assert lora["gradients"] == pytest.approx(SLACK * 4 * adapters)
    assert lora["optimizer"] == pytest.approx(SLACK * 8 * adapters)
    assert lora["weights"] == pytest.approx(SLACK * 4 * (found.weights + adapters))
    qlora = of_training(found, Train(method="qlora"), 1000, gpu=True)
    assert qlora["weights"] < lora["weights"] / 2
    assert full["libraries"] == LIBRARIES["GPU"]


def test_logits_and_activations_grow_with_the_tokens_and_checkpointing_keeps_few_of_them(qwen):
    found = shape(qwen)
    assert found
    plain, kept = (of_training(found, Train(gradient_checkpointing=c), 1000, gpu=True) for c in (False, True))
    assert of_training(found, Train(), 2000, gpu=True)["logits"] == 2 * plain["logits"]
    assert plain["logits"] == pytest.approx(SLACK * 12 * 1000 * 151936)
    assert kept["activations"] < plain["activations"] / 5
    assert of_training(found, Train(), 1000, gpu=True)["activations"] == kept["activations"], "on a GPU by itself"
    assert of_training(found, Train(), 1000, gpu=False)["activations"] == plain["activations"]


def test_processes_that_share_the_weights_hold_a_part_each_and_the_others_all(qwen):
    found = shape(qwen)
    assert found
    alone = of_training(found, Train(), 1000, gpu=True)
    fsdp = of_training(found, Train(num_processes=4, distributed="fsdp"), 1000, gpu=True)
    assert fsdp["optimizer"] == alone["optimizer"] / 4
    assert alone["weights"] / 4 < fsdp["weights"] < alone["weights"]
    ddp = of_training(found, Train(num_processes=4), 1000, gpu=True)
    assert ddp["optimizer"] == alone["optimizer"]


def test_what_does_not_fit_is_one_line_with_what_would(qwen, raw, tmp_path, gpus):
    gpus(1, 48 * GB)
    made = of(study(raw, qwen), tmp_path)
    line = refused(made)
    assert line
    assert line.startswith("students.q: a training takes about ")
    assert "of memory (weights 6.33 GiB, gradients 6.33 GiB, optimizer 12.7 GiB, activations" in line
    assert (
        "; a forward pass of 16,384 tokens, not measured on a GPU), and there are 44.7 GiB; what would fit: train."
        in line
    )
    assert made.would[0].startswith("train.micro_batch_tokens: ")
    assert "\n" not in line
    key, value = made.would[0].split(": ")
    fitting = of(study(raw, qwen, **{key.removeprefix("train."): int(value)}), tmp_path)
    assert refused(fitting) is None, "what is proposed fits"
    larger = of(study(raw, qwen, **{key.removeprefix("train."): 2 * int(value)}), tmp_path)
    assert refused(larger), "and is the largest that does"


def test_other_settings_are_proposed_only_where_they_fit(qwen, raw, tmp_path, gpus):
    gpus(4, 24 * GB)
    made = of(study(raw, qwen, micro_batch_tokens=1024), tmp_path)
    assert "train.num_processes: 4, train.distributed: fsdp" in made.would
    assert "train.method: lora" in made.would
    assert not any("gradient_checkpointing" in w for w in made.would), "the moments alone are too much"
    for proposed in made.would:
        keys = dict(part.removeprefix("train.").split(": ") for part in proposed.split(", "))
        typed = {k: int(v) if v.isdigit() else v for k, v in keys.items()}
        assert refused(of(study(raw, qwen, **{"micro_batch_tokens": 1024, **typed}), tmp_path)) is None
    gpus(1, 2 * GB)
    line = refused(of(study(raw, qwen), tmp_path))
    assert line and line.endswith("what would fit: a smaller student: no setting of this training makes it fit")


def test_the_plan_says_that_no_prediction_for_a_gpu_was_measured(qwen, raw, tmp_path, gpus):
    gpus(1, 80 * GB)
    (_, said), _ = _memory_line(of(study(raw, qwen), tmp_path))
    assert said.endswith(" GiB a training (not measured on a GPU), of 74.5 GiB")
    gpus(0, 8 * GB)
    (_, said), _ = _memory_line(of(study(raw, qwen), tmp_path, workers=1))
    assert said.endswith(" GiB a training, of 7.45 GiB")


def test_an_arm_with_settings_of_its_own_is_priced_by_them(qwen, raw, tmp_path, gpus):
    """Adapters on 24 GB, but for one arm, which is trained in full."""
    gpus(1, 24 * GB)
    train = {"method": "lora", "micro_batch_tokens": 1024}
    recipe = study(raw, qwen, **train)
    assert refused(of(recipe, tmp_path)) is None
    raw["arms"]["long"] = {"weights": {"long": 1}, "train": {"method": "full"}}
    made = of(study(raw, qwen, **train), tmp_path)
    found = shape(qwen)
    assert found
    full = Train(method="full", micro_batch_tokens=1024)
    assert made.process.value == sum(of_training(found, full, 1024, gpu=True).values())
    line = refused(made)
    assert line and "; a forward pass of 1,024 tokens in the arm long, not measured on a GPU)" in line
    assert "arms.long.train.method: lora" in made.would


def test_an_arm_with_longer_rows_of_its_own_is_priced_by_them(qwen, raw, tmp_path, gpus):
    gpus(1, 80 * GB)
    train = {"max_length": 2000, "micro_batch_tokens": 1000}
    known = Rows(update=50_000, longest=5000)
    assert "2,000 tokens" in of(study(raw, qwen, **train), tmp_path, known).process.basis
    raw["arms"]["long"] = {"weights": {"long": 1}, "train": {"max_length": 4000}}
    assert "4,000 tokens in the arm long" in of(study(raw, qwen, **train), tmp_path, known).process.basis


def test_settings_are_proposed_where_they_stand(qwen, raw, tmp_path, gpus):
    gpus(1, 48 * GB)
    recipe = study(raw, qwen)
    recipe = recipe.model_copy(
        update={"students": {"q": recipe.students["q"].model_copy(update={"train": {"micro_batch_tokens": 16384}})}}
    )
    assert of(recipe, tmp_path).would[0].startswith("students.q.train.micro_batch_tokens: ")


def test_on_cpu_all_trainings_at_once_share_the_memory(qwen, raw, tmp_path, gpus, monkeypatch):
    monkeypatch.setattr(memory.executor, "cores", lambda: 4)
    gpus(0, 60 * GB)
    short = Rows(update=1000, longest=100)
    made = of(study(raw, qwen), tmp_path, short)
    assert made.at_once == 4
    assert refused(made)
    assert made.would[0] == "--workers 1"
    assert of(study(raw, qwen), tmp_path, short, workers=1).at_once == 1
    assert refused(of(study(raw, qwen), tmp_path, short, workers=1)) is None
    assert of(study(raw, qwen, num_processes=2), tmp_path, short).at_once == 4


def test_a_forward_pass_is_no_larger_than_the_update_and_no_smaller_than_its_longest_row():
    train = Train(micro_batch_tokens=1000, max_length=3000)
    assert Rows().largest_pass(train) == 1000
    assert Rows(update=400, longest=50).largest_pass(train) == 400
    assert Rows(update=9000, longest=50).largest_pass(train) == 1000
    assert Rows(update=9000, longest=2000).largest_pass(train) == 2000
    assert Rows(update=9000, longest=5000).largest_pass(train) == 3000


def test_rows_are_known_where_every_teacher_has_been_looked_at(raw, tmp_path):
    recipe = build(raw)
    found = memory.faults.find(recipe, Store(tmp_path / "run"))
    known = rows(recipe, found, "s")
    lengths = [n for t in ("long", "short") for n in estimates.row_tokens(recipe, found, "s", t)]
    assert known == Rows(update=recipe.budget.per_update * max(lengths), longest=max(lengths))
    raw["arms"]["long"] = {"weights": {"long": 1}, "budget": {"per_update": 9}}
    assert rows(build(raw), found, "s").update == 9 * max(lengths), "an arm with larger updates of its own"
    del found.few["long"]
    assert rows(recipe, found, "s").update is None


@pytest.mark.parametrize("config", [None, "{", "{}", json.dumps({**QWEN, "num_experts": 8})])
def test_what_is_not_known_is_said_and_refuses_nothing(config, raw, tmp_path, gpus):
    gpus(1, 1.0)
    folder = tmp_path / "m"
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(config)
    made = of(study(raw, str(folder)), tmp_path)
    assert made.process.value is None
    assert made.process.basis == f"not known before {folder} is on this machine, as a decoder of the usual kind"
    assert refused(made) is None


def test_a_device_that_says_nothing_refuses_nothing(qwen, raw, tmp_path, gpus):
    gpus(1, None)
    assert refused(of(study(raw, qwen), tmp_path)) is None


def test_what_is_trained_already_takes_nothing(raw, tmp_path):
    recipe, store = build(raw), Store(tmp_path / "run")
    assert [m.name for m in planned(recipe, store, {})] == ["s"]
    for student, arm, seed in recipe.cells():
        store.mark(store.folder("train", student, arm, str(seed)), {"tables": {}})
    assert planned(recipe, store, {}) == []


def test_memory_of_gpus_is_what_is_free_on_the_fullest(monkeypatch):
    asked = []

    def said(command: list[str], **how: Any) -> Any:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "81559\n24576\n", "")

    monkeypatch.setattr(memory.subprocess, "run", said)
    assert memory.room(["0", "3"]) == 24576 * 2**20
    assert (asked[0][1], asked[0][-1]) == ("--query-gpu=memory.total", "--id=0,3")
    monkeypatch.setattr(memory.subprocess, "run", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError()))
    assert memory.room(["0"]) is None


def test_memory_of_the_machine_is_what_can_be_had():
    there = memory.room([])
    assert there is not None
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert 0 < there <= 1024 * int(total.split()[1])


def test_a_run_is_stopped_before_it_spends_anything(raw, tmp_path, monkeypatch):
    """The problems are read only where the rows decide: without them a pass is as large as it may be."""
    recipe, store = build(raw), Store(tmp_path / "run")
    monkeypatch.setattr(memory.executor, "cores", lambda: 1)
    monkeypatch.setattr(memory, "room", lambda devices: 1.2e9)
    assert stops(recipe, store, STAGES) == [], "16,384 tokens would not fit, and an update has no 400"
    monkeypatch.setattr(memory, "room", lambda devices: 0.5e9)
    (line,) = stops(recipe, store, STAGES)
    assert line.startswith("students.s: a training takes about ")
    monkeypatch.setattr(memory, "room", lambda devices: 1e12)
    monkeypatch.setattr(memory.faults, "find", None)
    assert stops(recipe, store, STAGES) == []


def test_one_more_training_is_stopped_by_what_it_takes_itself(tmp_path, monkeypatch):
    """Of another arm, it is not asked; its rows are as long as those of the study's training."""
    recipe = tiny.study(tiny.student(tmp_path / "model"), seeds=1, budget={"also": []})
    store, _ = tiny.run(recipe, tmp_path / "run", "generate", "verify", "analyze", "mix", "train")
    cell = ("t", "long", 0)
    assert stops(recipe, store, STAGES) == [], "nothing is left to train"
    seen = rows_seen(store, cell)
    assert seen and seen.update == 8 * seen.longest
    assert rows_seen(store, ("t", "long", 1)) is None
    monkeypatch.setattr(memory, "room", lambda devices: 0.1e9)
    (line,) = stops_one(recipe, store, cell)
    assert line.startswith("students.t: a training takes about ")
    assert f"a forward pass of {seen.update:,} tokens)" in line and "run at once" not in line
    monkeypatch.setattr(memory, "room", lambda devices: 1e12)
    assert stops_one(recipe, store, cell) == []
    (models, checkpoints) = (a.value or 0 for a in estimates.kept(recipe, store, 1, [cell]))
    monkeypatch.setattr(memory, "free_space", lambda store: int(2 * models + checkpoints / 2))
    assert stops_one(recipe, store, cell) == []
    monkeypatch.setattr(memory, "free_space", lambda store: int(2 * models + checkpoints / 2) - 1)
    (line,) = stops_one(recipe, store, cell)
    assert line.startswith(f"{tmp_path}/run: about ") and line.endswith(" are free; free space")


def test_more_processes_than_gpus_are_refused(raw, tmp_path, gpus):
    gpus(2, 1e12)
    raw["train"] = {"num_processes": 3}
    assert stops(build(raw), Store(tmp_path / "run"), STAGES) == [
        "students.s: train.num_processes: needs a GPU for each process (got 3, and 2 here); lower it"
    ]


def test_a_student_that_cannot_be_spread_for_its_answers_is_refused_before_it_is_trained(raw, tmp_path, gpus):
    gpus(2, 1e12)
    raw["students"]["s"] |= {"backend": "vllm", "backend_options": {"tensor_parallel_size": 4}}
    assert stops(build(raw), Store(tmp_path / "run"), STAGES) == [
        "students.s.backend_options.tensor_parallel_size: needs a GPU for each process (got 4, and 2 here); lower it"
    ]


def test_of_the_stages_that_are_asked_for_only_what_is_not_there_yet_needs_its_gpus(raw, tmp_path, gpus, inline):
    """Traces are bought on a large machine, and trained on with a small one; a finished run is reported on any."""
    recipe, store = build(raw), Store(tmp_path / "run")
    pipeline.run(recipe, store, stages=("generate",), watcher=tiny.Silent())
    gpus(1, 1e12)
    raw["teachers"]["long"] |= {"backend": "vllm", "model": "m", "tensor_parallel_size": 2}
    raw["students"]["s"] |= {"backend": "vllm", "backend_options": {"tensor_parallel_size": 4}}
    raw["train"] = {"num_processes": 3}
    recipe, needs = build(raw), "needs a GPU for each process (got {}, and 1 here); lower it"
    training = f"students.s: train.num_processes: {needs.format(3)}"
    sampled = f"students.s.backend_options.tensor_parallel_size: {needs.format(4)}"
    assert stops(recipe, store, ("train",)) == [training]
    assert stops(recipe, store, STAGES) == [training, sampled]
    for cell in keys_of(recipe, store, "train"):
        store.mark(store.folder("train", *cell), {"tables": {}})
    assert stops(recipe, store, STAGES) == [sampled]
    for cell in keys_of(recipe, store, "evaluate"):
        store.mark(store.folder("evaluate", *cell), {"tables": {}})
    assert stops(recipe, store, STAGES) == []
    (store.folder("generate", "long") / MARKER).unlink()
    assert stops(recipe, store, STAGES) == [f"teachers.long.tensor_parallel_size: {needs.format(2)}"]


def test_one_more_training_is_stopped_where_its_gate_could_not_be_asked(raw, tmp_path, gpus):
    gpus(1, 1e12)
    raw["students"]["s"] |= {"backend": "vllm", "backend_options": {"tensor_parallel_size": 4}}
    assert stops_one(build(raw), Store(tmp_path / "run"), ("s", "long", 0)) == [
        "students.s.backend_options.tensor_parallel_size: needs a GPU for each process (got 4, and 1 here); lower it"
    ]


def test_an_arm_of_its_own_that_lacks_gpus_is_refused(raw, tmp_path, gpus):
    gpus(1, 1e12)
    raw["arms"]["long"] = {"weights": {"long": 1}, "train": {"num_processes": 2}}
    assert stops(build(raw), Store(tmp_path / "run"), STAGES) == [
        "students.s: train.num_processes: needs a GPU for each process (got 2, and 1 here); lower it"
    ]


def test_fewer_processes_are_proposed_where_there_are_fewer_cores(qwen, raw, tmp_path, gpus, monkeypatch):
    gpus(0, 100 * GB)
    monkeypatch.setattr(memory.executor, "cores", lambda: 2)
    train = {"num_processes": 64, "micro_batch_tokens": 256}
    assert of(study(raw, qwen, **train), tmp_path).would[0] == "train.num_processes: 2"


def test_adapters_that_would_share_weights_are_refused_before_the_run(raw, tmp_path, gpus):
    gpus(0, 1e12)
    raw["train"] = {"num_processes": 2, "distributed": "fsdp", "method": "lora"}
    assert stops(build(raw), Store(tmp_path / "run"), STAGES) == [
        "students.s: train.distributed: fsdp shares the weights of full trainings (got method: lora); set ddp"
    ]


def test_the_verbs_that_train_refuse_and_the_others_do_not(raw, tmp_path, monkeypatch):
    from mixdistill.commands.run import carry_out

    monkeypatch.setattr(memory, "room", lambda devices: 0.1e9)
    recipe, said = build(raw), []
    with pytest.raises(RecipeError, match=r"students\.s: a training takes about"):
        carry_out(recipe, None, tmp_path / "a", ("generate", "verify", "analyze", "mix", "train"), say=said.append)
    assert not (tmp_path / "a").exists()
    with tiny.mock.patch.object(tiny.pipeline, "Local", tiny.Inline):
        assert carry_out(recipe, None, tmp_path / "b", ("generate",), say=said.append) == 0


Q, L = 151936, 128256
SHAPES = {
    "Qwen/Qwen2.5-0.5B": Shape(896, 24, 14, 2, 64, 4864, Q, True),
    "Qwen/Qwen2.5-1.5B": Shape(1536, 28, 12, 2, 128, 8960, Q, True),
    "Qwen/Qwen2.5-Math-1.5B": Shape(1536, 28, 12, 2, 128, 8960, Q, True),
    "Qwen/Qwen2.5-3B": Shape(2048, 36, 16, 2, 128, 11008, Q, True),
    "Qwen/Qwen2.5-7B": Shape(3584, 28, 28, 4, 128, 18944, 152064, False),
    "Qwen/Qwen2.5-Math-7B": Shape(3584, 28, 28, 4, 128, 18944, 152064, False),
    "Qwen/Qwen2.5-14B": Shape(5120, 48, 40, 8, 128, 13824, 152064, False),
    "Qwen/Qwen2.5-32B": Shape(5120, 64, 40, 8, 128, 27648, 152064, False),
    "meta-llama/Llama-3.2-1B": Shape(2048, 16, 32, 8, 64, 8192, L, True),
    "meta-llama/Llama-3.2-3B": Shape(3072, 28, 24, 8, 128, 8192, L, True),
    "meta-llama/Llama-3.1-8B": Shape(4096, 32, 32, 8, 128, 14336, L, False),
    "meta-llama/Llama-3.3-70B": Shape(8192, 80, 64, 8, 128, 28672, L, False),
}
"""Of the paper's students, by the start of their names."""
ROOMS = {80: 79.6, 141: 139.8}
"""GiB of GPUs that are sold as so many GB: H100 and H200."""


@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith("paper/")])
def test_the_papers_longest_rows_fit_the_gpus_that_the_headers_name(name, gpus, monkeypatch, tmp_path):
    study = load(name)
    monkeypatch.setattr(memory, "shape", lambda model: SHAPES[model.removesuffix("-Instruct")])
    known = {s: Rows(longest=max(study.train_of(s, arm).max_length for arm in study.arms)) for s in study.students}
    for sold, room in ROOMS.items():
        gpus(4, room * 2**30)
        lines = [line for m in planned(study, Store(tmp_path / "run"), known) if (line := refused(m))]
        large = ["llama-70b"] if sold == 80 and "llama-70b" in study.students else []
        assert [line.split(":")[0] for line in lines] == [f"students.{s}" for s in large]


def test_the_tables_of_sizes_fit_smaller_gpus_without_their_largest_student(gpus, monkeypatch, tmp_path):
    (tmp_path / "own.yaml").write_text(
        "extends: paper/table-1-controlled\nname: own\ndescription: Smaller.\n"
        "students: {llama-70b: null}\npublished: null\n"
    )
    study = load(tmp_path / "own.yaml")
    monkeypatch.setattr(memory, "shape", lambda model: SHAPES[model.removesuffix("-Instruct")])
    gpus(4, ROOMS[80] * 2**30)
    known = {s: Rows(longest=8192) for s in study.students}
    assert not any(map(refused, planned(study, Store(tmp_path / "run"), known)))
    assert len(study.students) == 9
