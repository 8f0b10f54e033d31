"""`serve: vllm` with the real server: one for all of its rows, one for a whole study, one whose parent is killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lora import adapter, merged
from rows import answers, requests, unequal

from mixdistill.backends import serve
from mixdistill.backends.openai import OpenAI
from mixdistill.backends.transformers import Transformers
from mixdistill.errors import StageError
from mixdistill.sections import Serve
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.types import Message, Sampling, Trace

FAST = Serve(dtype="float32", enforce_eager=True)
GREEDY = Sampling(temperature=0, max_tokens=128)


@pytest.fixture(scope="module")
def teacher(lab: Path) -> str:
    return str(lab / "teacher-small")


@pytest.fixture(scope="module")
def low(teacher: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two adapters on the teacher."""
    folder = tmp_path_factory.mktemp("low")
    return {name: adapter(teacher, folder / name, seed=seed) for seed, name in enumerate(("one", "two"), 1)}


@pytest.fixture(scope="module")
def server(teacher: str, low: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[serve.Served]:
    with serve.Served(teacher, FAST, folder=tmp_path_factory.mktemp("unit"), adapters=low) as served:
        yield served


def ask(server: serve.Served, name: str, model: str) -> serve.ServedBackend:
    template = Template.load(model)
    body = serve._body(model, GREEDY, template)
    return serve.ServedBackend(
        OpenAI(name, base_url=server.base_url, api_key_env=server.api_key_env, extra_body=body), template
    )


def test_greedy_rows_are_those_of_transformers_to_the_last_field(server: serve.Served, teacher: str):
    wanted = requests(60)
    ours, theirs = answers(ask(server, server.name, teacher), wanted), answers(Transformers(teacher), wanted)
    assert unequal(teacher, wanted, ours, theirs) == []
    assert all(c.reasoning and c.content and c.token_ids for c in ours)


def test_one_loaded_base_serves_two_adapters_that_say_what_their_merged_weights_say(
    server: serve.Served, teacher: str, low: dict[str, str], tmp_path: Path
):
    wanted = requests(40)
    said = {"base": answers(ask(server, server.name, teacher), wanted)}
    for name, folder in low.items():
        whole = merged(teacher, folder, tmp_path / name)
        said[name] = answers(ask(server, name, teacher), wanted)
        assert unequal(whole, wanted, said[name], answers(Transformers(whole), wanted)) == []
    assert said["base"] != said["one"] != said["two"] != said["base"]


@pytest.mark.parametrize(
    "prompt", ["9 7 6 T 10", [Message(role="system", content="T"), Message(role="user", content="9 7 6")]]
)
def test_the_server_sees_the_prompt_that_a_student_is_trained_on(server: serve.Served, teacher: str, prompt: Any):
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [m.model_dump() for m in prompt]
    body = {"model": server.name, "messages": turns, "max_tokens": 1, "return_token_ids": True}
    connection = http.client.HTTPConnection(serve.HOST, server.port, timeout=60)
    headers = {"Authorization": f"Bearer {os.environ[server.api_key_env]}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    assert json.load(connection.getresponse())["prompt_token_ids"] == Template.load(teacher).prompt_ids(prompt)


def test_a_prompt_that_fills_the_context_is_an_error_and_the_others_are_sampled(server: serve.Served, teacher: str):
    long = requests(1)[0].model_copy(update={"prompt": "9 " * 600})
    refused, sampled = answers(ask(server, server.name, teacher), [long, *requests(1)])
    assert refused.error and "512" in refused.error
    assert sampled.error is None and sampled.token_ids


def test_its_key_is_asked_for_and_stands_nowhere(server: serve.Served, teacher: str):
    key = os.environ[server.api_key_env]
    stranger = OpenAI(server.name, base_url=server.base_url, api_key_env="NOT_SET", max_retries=0)
    try:
        refused = answers(stranger, requests(1))[0].error or ""
    except StageError as e:
        refused = str(e)
    assert "401" in refused
    assert key not in server.log.read_text()
    command = Path(f"/proc/{server.process.pid if server.process else 0}/cmdline").read_text()
    assert key not in command


def test_a_server_that_cannot_start_says_the_root_of_it(teacher: str, tmp_path: Path):
    with pytest.raises(StageError) as e, serve.Served(teacher, Serve(args=["--nonsense"]), folder=tmp_path):
        raise AssertionError("it never starts")
    assert re.search(r"before it was up \(exit status \d+\); it said last: .*--nonsense.* \(all of it: ", str(e.value))


def test_nothing_runs_on_when_a_run_is_killed(lab: Path, tmp_path: Path):
    """Killed while its server starts and has started others."""
    study(lab, tmp_path)
    run = subprocess.Popen([sys.executable, "-m", "mixdistill", "generate", "served.yaml"], cwd=tmp_path)
    log = tmp_path / "runs" / "served" / "generate" / "short" / "serve.log"
    within(120, lambda: log.exists() and "EngineCore" in log.read_text())
    within(30, lambda: any("EngineCore" in words for words in running(tmp_path)))
    run.send_signal(signal.SIGKILL)
    run.wait()
    within(30, lambda: not running(tmp_path))


def test_a_whole_study_runs_by_one_command(lab: Path, tmp_path: Path):
    study(lab, tmp_path)
    command = [sys.executable, "-m", "mixdistill", "run", "served.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    print(done.stdout, done.stderr)  # what it took, for `pytest -s` and for whom it fails
    assert done.returncode == 0
    store = Store(tmp_path / "runs" / "served")
    traces = store.read(store.folder("generate", "short"), Trace, "traces")
    assert len(traces) == 200 and all(t.error is None and t.token_ids for t in traces)
    verified = store.marker(store.folder("verify", "short"))
    assert verified and sum(verified["counts"].values()) == 200 and verified["counts"]["correct"] > 60
    for arm in ("base", "short/0", "long/0"):
        (noted,) = json.loads((store.folder("evaluate", "s") / arm / "signs" / "sampled.json").read_text())
        assert noted["sampled by"] == "vllm"
    assert not running(tmp_path)


def study(lab: Path, folder: Path) -> None:
    shutil.copy(Path(__file__).parent / "served.yaml", folder)
    (folder / "lab").symlink_to(lab)


def running(folder: Path) -> list[str]:
    """Everything that was started in `folder`: runs, their workers, servers, engines."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone, or ending
            if os.readlink(place / "cwd") == str(folder):
                found.append((place / "cmdline").read_text().replace("\0", " "))
    return found


def within(seconds: float, holds: Any) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_continuing_the_first_tokens_of_a_greedy_answer_gives_the_rest_of_it(server: serve.Served, teacher: str):
    wanted = requests(20)
    whole = answers(ask(server, server.name, teacher), wanted)
    begun = [r.model_copy(update={"prefix_ids": c.token_ids[:9]}) for r, c in zip(wanted, whole, strict=True)]
    rest = answers(ask(server, server.name, teacher), begun)
    assert sum([*r.prefix_ids, *c.token_ids] == w.token_ids for r, c, w in zip(begun, rest, whole, strict=True)) >= 19
    assert all(c.reasoning == "" and c.content for c in rest)


def test_a_server_goes_on_with_a_text_too(server: serve.Served, teacher: str):
    """As an endpoint whose tokenizer is elsewhere is asked."""
    (request,) = requests(1)
    (whole,) = answers(ask(server, server.name, teacher), [request])
    template = Template.load(teacher)
    told = {"continue_final_message": True, "extra_body": serve._body(teacher, GREEDY, template)}
    asked = OpenAI(server.name, base_url=server.base_url, api_key_env=server.api_key_env, **told)
    begun = request.model_copy(update={"prefix": template.decode(whole.token_ids[:9])})
    (rest,) = answers(asked, [begun])
    assert rest.token_ids == whole.token_ids[9:]
