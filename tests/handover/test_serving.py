"""A server is told what the gate did, what is not set is not said, and text of any kind survives the shell."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mixdistill.handover import serving
from mixdistill.handover.serving import Use

PLAIN = Use("t", "long", "", {}, None, {"temperature": 0}, {"dtype": "float32"})


def given(use: Use, folder: Path) -> list[str]:
    """What vLLM is started with when the script is run."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "vllm").write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done\n')
    (folder / "bin" / "vllm").chmod(0o755)
    (folder / serving.SCRIPT).write_text(serving.script(use))
    path = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
    said = subprocess.run(
        ["sh", serving.SCRIPT, "--port", "9000"], cwd=folder, env=path, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    return said.stdout.split("\0")[:-1]


def options(use: Use, folder: Path) -> dict[str, Any]:
    words = given(use, folder)
    assert words[:2] == ["serve", "."]
    return {k: json.loads(v) if v.startswith("{") else v for k, v in zip(words[2::2], words[3::2], strict=True)}


def test_what_is_not_set_is_not_said(tmp_path):
    assert options(PLAIN, tmp_path) == {
        "--served-model-name": "t",
        "--dtype": "float32",
        "--generation-config": "vllm",
        "--override-generation-config": {"temperature": 0},
        "--port": "9000",
    }


def test_all_that_the_gate_did_is_said(tmp_path):
    use = PLAIN._replace(
        tag="/it's\nexit 1",
        chat_template_kwargs={"enable_thinking": True, "style": 'it\'s "so" $HOME'},
        max_tokens=2048,
        decoding={"temperature": 0.6, "top_k": 20, "top_p": 0.95},
        engine={"dtype": "bfloat16", "quantization": "fp8"},
    )
    assert options(use, tmp_path) == {
        "--served-model-name": "t",
        "--dtype": "bfloat16",
        "--quantization": "fp8",
        "--default-chat-template-kwargs": {"enable_thinking": True, "style": 'it\'s "so" $HOME'},
        "--generation-config": "vllm",
        "--override-generation-config": {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "max_new_tokens": 2048},
        "--port": "9000",
    }
    assert "# The last line of every prompt is /it's\\nexit 1: a server cannot add it." in serving.script(use)
    body = json.loads(shlex.split(serving.request(use))[-1])
    assert body["messages"] == [{"role": "user", "content": "What is 2 + 3?\n/it's\nexit 1"}]
    assert body["chat_template_kwargs"]["enable_thinking"] is True


@pytest.mark.parametrize(
    ("decoding", "wanted"),
    [
        (None, {}),
        ({"temperature": 0}, {"do_sample": False}),
        ({"temperature": 0.6, "top_p": 0.9}, {"do_sample": True, "temperature": 0.6, "top_k": 0, "top_p": 0.9}),
    ],
)
def test_transformers_is_told_the_same(decoding, wanted):
    use = PLAIN._replace(max_tokens=7, decoding=decoding)
    assert serving.generation(use) == {"max_new_tokens": 7, **wanted}


def test_the_template_around_a_problem_is_said_and_shown():
    use = PLAIN._replace(ask="boxed", tag="/short")
    assert serving.prompt(use) == (
        "What is 2 + 3?\n\nReason step by step, and put your final answer within \\boxed{}.\n\n/short"
    )
    assert serving.words(use).startswith("every problem stands in the template `boxed`, every prompt ends in the line")
    assert "# Every prompt is a problem in a template, which is the client's to add; README.md shows it.\n" in (
        serving.script(use)
    )
    assert "template" not in serving.script(PLAIN)
