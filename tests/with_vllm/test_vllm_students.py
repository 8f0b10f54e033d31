"""The folder of a trained student in the real engine, and what `serve.sh` makes of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rows import answers, ids, requests, unequal

import tiny
from mixdistill.backends.serve import SERVER
from mixdistill.backends.transformers import Transformers
from mixdistill.backends.vllm import VLLM
from mixdistill.handover import serving
from mixdistill.handover.serving import Use
from mixdistill.tokens import Template


@pytest.fixture(scope="module")
def trained(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the stage `train` leaves after two updates."""
    study = tiny.study(
        str(lab / "teacher-small"),
        problems=tiny.problem_sets(16),
        seeds=1,
        budget={"also": []},
        train={"learning_rate": 1e-3, "num_train_epochs": 1},
    )
    store, _ = tiny.run(
        study, tmp_path_factory.mktemp("trained") / "run", "generate", "verify", "analyze", "mix", "train"
    )
    folder = store.folder("train", "t", "short", "0")
    marker = store.marker(folder)
    assert marker and marker["facts"]["updates"] == 2
    return folder / "model"


def test_a_trained_student_with_its_card_says_in_vllm_what_it_says_in_transformers(trained: Path, lab: Path):
    assert (trained / "README.md").read_text().startswith("---\n")
    wanted, fast = requests(20), {"dtype": "float32", "enforce_eager": True}
    ours = answers(VLLM(str(trained), **fast), wanted)
    assert unequal(str(trained), wanted, ours, answers(Transformers(str(trained)), wanted)) == []
    untuned = answers(VLLM(str(lab / "teacher-small"), **fast), wanted)
    assert ids(ours) != ids(untuned), "and that is not what it said before its training"


@pytest.fixture(scope="module")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `serve.sh` serves it as it would have passed a gate with 7 tokens an answer."""
    use = Use("t", "short", "", {"enable_thinking": False}, 7, {"temperature": 0.0}, {"dtype": "float32"})
    (trained / serving.SCRIPT).write_text(serving.script(use))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = ["sh", str(trained / serving.SCRIPT), "--host", "127.0.0.1", "--port", port, "--enforce-eager"]
    # The command `vllm` asks for the version of a package of that name, which the rebuild for CPUs has not: its server.
    own = tmp_path_factory.mktemp("bin")
    (own / "vllm").write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -m {SERVER} --model "$@"\n')
    (own / "vllm").chmod(0o755)
    environment = {**os.environ, "PATH": f"{own}:{os.environ['PATH']}"}
    with (trained / "serve.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        while not answered(f"http://127.0.0.1:{port}/health"):
            with suppress(subprocess.TimeoutExpired):
                server.wait(0.5)
                pytest.fail((trained / "serve.log").read_text()[-3000:])
        yield f"http://127.0.0.1:{port}/v1/chat/completions"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def answered(url: str, body: dict[str, Any] | None = None) -> bytes | None:
    """What a server says; None where there is none yet."""
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read() or b"{}"
    except urllib.error.URLError:
        return None


@pytest.mark.parametrize("asked_for", [{}, {"max_tokens": 100}], ids=["nothing said", "more asked for"])
def test_serve_sh_serves_it_as_it_passed(asked_for, served: str, trained: Path):
    """Greedy, and no longer than the cap, though nobody says so or more is asked for."""
    (wanted,) = requests(1, max_tokens=7)
    (ours,) = ids(answers(Transformers(str(trained)), [wanted]))
    body = {"model": "t", "messages": [{"role": "user", "content": wanted.prompt}], **asked_for}
    said = json.loads(answered(served, body) or b"{}")
    assert (said["usage"]["completion_tokens"], said["choices"][0]["finish_reason"]) == (7, "length")
    tokenizer = Template.load(str(trained)).tokenizer
    assert said["choices"][0]["message"]["content"].split() == tokenizer.decode(ours, skip_special_tokens=True).split()
