"""Students that an endpoint serves: asked by name, and their rows those of the same models here."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import tiny
from mixdistill import dev, evaluate, ship
from mixdistill.backends import endpoint
from mixdistill.backends.transformers import Transformers
from mixdistill.evidence import confounds
from mixdistill.recipe import Recipe, RecipeError, build, render
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.types import Request, Sampling, Trace
from mixdistill.yaml_text import parse_yaml

CELLS = ("base", "long/0", "short/0")


class Endpoint:
    """Models by name, as their folders say; lists them, and counts the tokens of prompts and answers."""

    def __init__(self) -> None:
        self.models: dict[str, str] = {}
        self.bodies: list[dict[str, Any]] = []
        self.longer = 0
        """Tokens that its prompts have more than the model's own template gives."""
        self.lists = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.say(outer.lists, {"data": [{"id": name} for name in outer.models]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                self.say(200, outer.answer(body))

            def say(self, status: int, data: Any) -> None:
                raw = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        folder, prompt = self.models[body["model"]], body["messages"][-1]["content"]
        sampling = Sampling(temperature=body["temperature"], max_tokens=body["max_tokens"])
        ((_, said),) = Transformers(folder, dtype="float32").generate([Request(prompt=prompt, sampling=sampling)])
        tokens = len(Template.load(folder).prompt_ids(prompt)) + self.longer
        message = {"role": "assistant", "content": said.content, "reasoning": said.reasoning}
        choice = {"index": 0, "message": message, "finish_reason": said.finish_reason, "token_ids": said.token_ids}
        usage = {"prompt_tokens": tokens, "completion_tokens": said.usage.completion_tokens}
        return {"choices": [choice], "usage": usage}


@pytest.fixture
def served() -> Iterator[Endpoint]:
    there = Endpoint()
    thread = threading.Thread(target=there.server.serve_forever, daemon=True)
    thread.start()
    yield there
    there.server.shutdown()
    there.server.server_close()
    thread.join()


def study(model: str, **student: Any) -> Recipe:
    return tiny.study(
        model,
        students={"t": {"model": model, **student}},
        problems=tiny.problem_sets(8, 4),
        train={"num_train_epochs": 1},
        budget={"also": []},
        evaluate={"sampling": {"temperature": 0}},
        seeds=1,
    )


def at(served: Endpoint, **more: Any) -> dict[str, Any]:
    return {"backend": "openai", "backend_options": {"base_url": served.url}, **more}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A tiny model, and a run of it that transformers evaluated."""
    folder = tmp_path_factory.mktemp("here")
    model = tiny.student(folder / "model")
    tiny.run(study(model), folder / "run", "generate", "verify", "analyze", "mix", "train", "evaluate")
    return model, folder / "run"


@pytest.fixture
def root(here: tuple[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(here[1], tmp_path / "run"))


def rows(store: Store, cell: str) -> list[tuple[str, str, str, Any]]:
    found = store.read(store.folder("evaluate", "t", *cell.split("/"), "signs"), Trace, "traces")
    return [(t.reasoning, t.content, t.finish_reason, t.token_ids) for t in found]


def marker(store: Store, cell: str) -> dict[str, Any]:
    found = store.marker(store.folder("evaluate", "t", *cell.split("/"), "signs"))
    assert found
    return found


def test_students_at_an_endpoint_are_asked_by_name_and_answer_as_they_do_here(here, root: Path, served: Endpoint):
    """What the recipe leaves open is sent as the student's own settings say."""
    model, before = here
    served.models = {
        model: model,
        "t-long-0": str(root / "train/t/long/0/model"),
        "s": str(root / "train/t/short/0/model"),
    }
    recipe = study(model, **at(served, served_as={"short/0": "s"}))
    store, ran = tiny.run(recipe, root, "evaluate")
    assert len(ran) == 3
    assert {b["model"] for b in served.bodies} == set(served.models)
    assert {(b["temperature"], b["max_tokens"], "top_k" in b) for b in served.bodies} == {(0, 24, False)}
    for cell in CELLS:
        assert rows(store, cell) == rows(Store(before), cell)
        facts = marker(store, cell)["facts"]
        assert facts["endpoint"] == {"prompts": 4, "untold": 0, "unlike": 0, "as text": 0}
        assert facts["sampled"] == [{"sampled by": "openai", "endpoint": served.url}]
        assert "stop_tokens" not in facts["decoding"]


def test_a_model_that_is_not_served_is_named_with_its_folder_before_it_is_asked(here, root: Path, served: Endpoint):
    model, _ = here
    served.models = {model: model, "t-long-1": "elsewhere"}
    lines = tiny.failures(study(model, **at(served)), root, "evaluate")
    assert lines == [
        f"evaluate/t/{arm}/0/signs: {served.url} serves no model 't-{arm}-0'{hint}; serve "
        f"{root / 'train' / 't' / arm / '0' / 'model'} under that name and run again, or say its name in "
        "students.t.served_as"
        for arm, hint in (("long", "; did you mean 't-long-1'?"), ("short", f"; known: {model}, t-long-1"))
    ]
    assert {b["model"] for b in served.bodies} == {model}


def test_an_endpoint_without_a_list_is_asked_and_one_that_refuses_is_not(here, root: Path, served: Endpoint):
    model, _ = here
    served.models, served.lists = dict.fromkeys((model, "t-long-0", "t-short-0"), model), 404
    tiny.run(study(model, **at(served)), root, "evaluate")
    served.lists = 401
    asked = endpoint.backend("m", model, sampling=Sampling(), options={"base_url": served.url})
    with pytest.raises(endpoint.StageError, match=rf"^u: {served.url} does not list its models \(status 401\); check"):
        endpoint.check_listed(asked, "m", "folder", "u", "key")


def test_prompts_of_another_length_than_by_the_template_of_the_training_are_red(here, root: Path, served: Endpoint):
    model, _ = here
    served.models, served.longer = dict.fromkeys((model, "t-long-0", "t-short-0"), model), 2
    recipe = study(model, **at(served))
    store, _ = tiny.run(recipe, root, "evaluate")
    evaluated = [(unit, marker(store, "/".join(unit.key[1:-1]))) for unit in evaluate.units(recipe, store)]
    (found,) = confounds._at_endpoint("t", evaluated)
    assert (found.severity, found.field) == ("red", "endpoint: unlike")
    assert found.values == dict.fromkeys(("base", "long", "short"), "4 of 4")
    for _, m in evaluated:
        m["facts"]["endpoint"] = {"prompts": 4, "untold": 4, "unlike": 0, "as text": 1}
    assert [c.severity for c in confounds._at_endpoint("t", evaluated)] == ["note", "note"]
    assert confounds._at_endpoint("t", [(unit, {"facts": {}}) for unit, _ in evaluated]) == []


def test_where_and_under_what_name_is_no_part_of_an_evaluation_and_what_is_asked_for_is():
    def options(**given: Any) -> dict[str, Any]:
        return evaluate._sampling_options(study("lab:s", backend="openai", **given), ["t", "base"])

    plain = options(backend_options={"base_url": "http://a/v1"})
    assert plain["backend"] == "openai"
    assert options(backend_options={"base_url": "http://b/v1", "concurrency": 3}, served_as={"base": "x"}) == plain
    assert options(backend_options={"extra_body": {"min_p": 0.1}}) != plain


def test_dev_problems_and_the_gate_are_asked_here():
    there, local = study("lab:s", backend="openai"), study("lab:s")
    assert dev._sampling(there, "t", "long") == dev._sampling(local, "t", "long")
    assert ship._sampling(there, "t", "long", 0) == ship._sampling(local, "t", "long", 0)


def test_names_are_those_of_models_that_there_will_be(raw: dict[str, Any]):
    def refused(**student: Any) -> str:
        raw["students"]["s"] = {"model": "lab:s", **student}
        with pytest.raises(RecipeError) as e:
            build(raw)
        return str(e.value).removeprefix("recipe: ")

    assert refused(served_as={"base": "b"}) == (
        "students.s.served_as: only backend openai asks for models by name (got 'transformers'); leave it out"
    )
    assert refused(backend="openai", served_as={"lnog/0": "x"}) == (
        "students.s.served_as: 'lnog/0' is no training; did you mean 'long/0'?"
    )


def test_an_endpoint_that_cannot_be_asked_is_found_before_a_trace(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    (spec,) = study("lab:s", backend="openai").students.values()
    assert endpoint.unusable("t", spec) == [
        "students.t: environment variable OPENAI_API_KEY is not set; export it, or give base_url"
    ]
    (spec,) = study("lab:s", backend="openai", backend_options={"base_url": "http://a/v1"}).students.values()
    assert endpoint.unusable("t", spec) == []


def test_a_recipe_with_a_served_student_can_be_read_again_from_its_run():
    recipe = study("lab:s", serve="vllm")
    assert build(parse_yaml(render(recipe), "recipe.yaml")).students == recipe.students
