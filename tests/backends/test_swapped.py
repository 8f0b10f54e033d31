"""Students trained with adapters under vLLM: the base is loaded once. With the real engine: tests/with_vllm."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import tiny
from mixdistill import evaluate
from mixdistill.backends import engines
from mixdistill.commands import trainings
from mixdistill.recipe import Recipe, RecipeError, build

ARMS = {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.5, "short": 0.5}}
LORA = {"method": "lora", "lora": {"r": 3}, "learning_rate": 1e-2, "num_train_epochs": 1}


class FakeLLM:
    """Says `ok` and stops, and notes what it was told."""

    started: list[FakeLLM] = []

    def __init__(self, base: str, **options: Any):
        self.base, self.options, self.ended = base, options, False
        self.asked: list[Any] = []
        """The adapter of each request."""
        self.waiting: list[Any] = []
        self.model_config = SimpleNamespace(max_model_len=1024)
        self.llm_engine = self
        self.engine_core = self
        assert all(other.ended for other in self.started), "never two at once"
        self.started.append(self)

    def add_request(self, name: str, prompt: Any, params: Any, lora_request: Any) -> None:
        self.asked.append(lora_request)
        self.waiting.append((name, prompt["prompt_token_ids"], sorted(params.stop_token_ids)[:1]))

    def step(self) -> list[Any]:
        ended = [
            SimpleNamespace(
                request_id=name, finished=True, prompt_token_ids=prompt, outputs=[SimpleNamespace(token_ids=said)]
            )
            for name, prompt, said in self.waiting
        ]
        self.waiting.clear()
        return ended

    def shutdown(self) -> None:
        self.ended = True


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeLLM]]:
    """vLLM as far as it is used, without a model."""
    made = {
        "vllm": {"LLM": FakeLLM, "SamplingParams": SimpleNamespace},
        "vllm.lora": {},
        "vllm.lora.request": {
            "LoRARequest": lambda name, number, path: SimpleNamespace(name=name, number=number, path=path)
        },
        "vllm.sampling_params": {"RequestOutputKind": SimpleNamespace(FINAL_ONLY=2)},
        "vllm.distributed": {},
        "vllm.distributed.parallel_state": {"cleanup_dist_env_and_memory": lambda: None},
    }
    for name, things in made.items():
        module = ModuleType(name)
        vars(module).update(things)
        monkeypatch.setitem(sys.modules, name, module)
    FakeLLM.started = []
    yield FakeLLM
    engines.end()


def study(folder: Path, **student: Any) -> Recipe:
    students = {name: {"model": str(folder / name), "backend": "vllm", **student} for name in ("a", "b")}
    sections = {"problems": tiny.problem_sets(8, 4), "arms": ARMS, "train": LORA, "budget": {"also": []}}
    return tiny.study("", students=students, **sections)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two students, and a run in which each is trained in three arms of two seeds."""
    folder = tmp_path_factory.mktemp("trained")
    for seed, name in enumerate(("a", "b")):
        tiny.student(folder / name, seed=seed)
    tiny.run(study(folder), folder / "run", "generate", "verify", "analyze", "mix", "train")
    return folder


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def paths(llm: FakeLLM) -> set[str | None]:
    return {lora and "/".join(Path(lora.path).parts[-5:]) for lora in llm.asked}


def cells(student: str) -> set[str | None]:
    return {None, *(f"{student}/{arm}/{seed}/model/adapter" for arm in ARMS for seed in (0, 1))}


def test_a_students_base_is_loaded_once_for_itself_and_all_its_trainings(
    trained: Path, root: Path, vllm: type[FakeLLM]
):
    recipe = study(trained)
    store, ran = tiny.run(recipe, root, "evaluate")
    assert sum(label.startswith("evaluate/") for label in ran) == 14
    first, second = vllm.started
    assert (first.base, second.base) == (str(trained / "a"), str(trained / "b"))
    assert (first.ended, second.ended) == (True, False)
    assert (paths(first), paths(second)) == (cells("a"), cells("b"))
    for llm in (first, second):
        assert (llm.options["enable_lora"], llm.options["max_lora_rank"]) == (True, 8)
        named = {(lora.name, lora.number) for lora in llm.asked if lora}
        assert len(named) == 6 == len({number for _, number in named}), "or vLLM would take one for another"
    for cell in ("base", "mix/1"):
        (noted,) = json.loads((store.folder("evaluate", "a") / cell / "signs" / "sampled.json").read_text())
        assert (noted["sampled by"], noted["adapters"]) == ("vllm", "swapped on the base")
    tiny.run(recipe, root, "report")
    assert second.ended, "whoever comes next has the device to himself"


def test_an_adapter_that_is_gone_is_said_with_what_to_do(trained: Path, root: Path, vllm: type[FakeLLM]):
    gone = root / "train" / "a" / "mix" / "0" / "model" / "adapter"
    shutil.rmtree(gone)
    assert tiny.failures(study(trained), root, "evaluate") == [
        f"evaluate/a/mix/0/signs: its adapter is gone ({gone}); set students.a.adapters: false to sample its merged "
        "weights"
    ]
    assert [llm.base for llm in vllm.started] == [str(trained / name) for name in "aab"], "and once more after it"


def test_merged_weights_are_loaded_where_the_recipe_says_so(trained: Path, root: Path, vllm: type[FakeLLM]):
    tiny.run(study(trained, adapters=False), root, "evaluate")
    assert len(vllm.started) == 14 and all(llm.ended and paths(llm) == {None} for llm in vllm.started)
    assert not any("enable_lora" in llm.options for llm in vllm.started)


@pytest.mark.parametrize(
    ("sections", "swapped"),
    [
        ({}, True),
        ({"train": {"method": "full"}}, False),
        ({"arms": {**ARMS, "mix": {"weights": ARMS["mix"], "train": {"method": "full"}}}}, False),
        ({"students": {"t": {"model": "lab:s", "serve": "vllm"}}}, False),
        ({"students": {"t": {"model": "lab:s"}}}, False),
    ],
    ids=["adapters", "full", "one arm in full", "served", "transformers"],
)
def test_adapters_are_swapped_where_all_arms_have_one_and_the_engine_samples(sections, swapped):
    given = {"students": {"t": {"model": "lab:s", "backend": "vllm"}}, "arms": ARMS, "train": LORA, **sections}
    recipe = tiny.study("lab:s", **given)
    options = evaluate._sampling_options(recipe, ["t", "base"])
    assert options.get("adapters") == ("swapped on the base" if swapped else None)
    assert evaluate._sampling_options(recipe, ["t", "mix", "0"]).get("adapters") == options.get("adapters")


def test_a_rank_that_vllm_does_not_take_is_found_before_a_training():
    student = {"t": {"model": "lab:s", "backend": "vllm"}}
    recipe = tiny.study("lab:s", students=student, train=LORA | {"lora": {"r": 600}})
    assert trainings.lacking(recipe) == [
        "students.t: vLLM swaps adapters up to rank 512 (got 600); set students.t.adapters: false, or lower "
        "train.lora.r"
    ]


@pytest.mark.parametrize("sampler", [{}, {"serve": "vllm"}], ids=["transformers", "a server"])
def test_merged_weights_are_not_asked_for_where_nothing_else_is_sampled(sampler: Any, raw: dict[str, Any]):
    raw["students"]["s"] |= {"adapters": False, **sampler}
    line = "students.s.adapters: false changes nothing where no `backend: vllm` samples them; leave it out"
    with pytest.raises(RecipeError) as e:
        build(raw)
    assert str(e.value).endswith(line)
    build(raw | {"students": {"s": {"model": "lab:s", "adapters": True}}})
