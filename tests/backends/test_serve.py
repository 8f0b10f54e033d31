"""Servers of models: how they start, are watched over, fail and end. The server here is a stand-in for vLLM's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny
from mixdistill import generate
from mixdistill.backends import adapters, guarded, serve
from mixdistill.backends.serve import Served
from mixdistill.errors import DataError, MissingExtra, RecipeError, StageError
from mixdistill.recipe import build
from mixdistill.sections import Serve
from mixdistill.types import Request

FAKE = '''
"""Answers like vLLM's server. The model's name says how it fails."""
import json, os, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
model, notes = os.path.basename(given["--model"]), os.environ["NOTES"]
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(notes, "w") as f:
    json.dump({"server": os.getpid(), "child": child.pid, "arguments": sys.argv[1:], "asked": []}, f)
print("(APIServer pid=7) INFO 11-24 17:39:10 [api_utils.py:286] starting", flush=True)
if model == "dies":
    print("(EngineCore pid=8) ERROR 11-24 17:39:20 [core.py:9] ValueError: no such quantization")
    print("RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
    os._exit(3)
tries, noting = 0, threading.Lock()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        global tries
        tries += 1
        up = self.path != "/health" or (model != "never" and (model != "late" or tries > 3))
        name = "other" if model == "foreign" else given["--served-model-name"]
        self.answer(200 if up else 503, {"data": [{"id": name}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if model == "breaks":
            with noting:  # one thread alone: two at once would write into each other's line
                print("MemoryError: no room for the cache", flush=True)
                os._exit(4)
        with noting:
            with open(notes) as f:
                noted = json.load(f)
            noted["asked"].append(body)
            with open(notes, "w") as f:
                json.dump(noted, f)
        right = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        message = {"role": "assistant", "content": "shown"}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "token_ids": json.loads(os.environ["IDS"])}
        whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice],
                 "usage": {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}}
        self.answer(200 if right else 401, whole if right else {"error": {"message": "wrong key"}})

    def answer(self, status, body):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        pass

ThreadingHTTPServer(("127.0.0.1", int(given["--port"])), Handler).serve_forever()
'''


class Notes:
    """What the stand-in wrote down."""

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    def nothing_runs(self) -> None:
        noted = self.read()
        within(10, lambda: not alive(noted["server"]) and not alive(noted["child"]))


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def within(seconds: float, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    place = tmp_path / "site" / "vllm" / "entrypoints" / "openai"
    place.mkdir(parents=True)
    for folder in (place, *place.parents[:2]):
        (folder / "__init__.py").write_text("")
    (place / "api_server.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    for known in [name for name in sys.modules if name == "vllm" or name.startswith("vllm.")]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    monkeypatch.setenv("NOTES", str(tmp_path / "notes.json"))
    monkeypatch.setenv("IDS", "[]")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    return Notes(tmp_path / "notes.json")


def test_a_server_runs_with_all_its_children_exactly_as_long_as_it_is_needed(notes: Notes, tmp_path: Path):
    with Served("m/late", folder=tmp_path) as server:
        noted = notes.read()
        assert alive(noted["server"]) and alive(noted["child"])
        assert os.environ[server.api_key_env]
        assert os.environ["no_proxy"] == "127.0.0.1"
    assert not alive(noted["server"]) and not alive(noted["child"])
    assert server.api_key_env not in os.environ
    assert (tmp_path / "serve.log").read_text().endswith("starting\n")


def test_nothing_runs_on_when_mixdistill_is_killed(notes: Notes, tmp_path: Path):
    script = (
        "import os, signal, sys; from pathlib import Path; from mixdistill.backends.serve import Served\n"
        f"with Served('m', folder=Path({str(tmp_path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=60)
    assert done.returncode == -signal.SIGKILL
    notes.nothing_runs()


def test_nothing_runs_on_when_the_guard_is_killed_too(notes: Notes, tmp_path: Path):
    with Served("m", folder=tmp_path) as server:
        noted = notes.read()
        assert server.process
        server.process.kill()
        within(10, lambda: not alive(noted["server"]))
    os.kill(noted["child"], signal.SIGKILL)  # the stand-in does not look after its own


def test_a_command_that_will_not_end_is_killed_after_its_time(tmp_path: Path):
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    command = [sys.executable, "-c", stubborn]
    code = f"from mixdistill.backends import guarded; guarded.GRACE = 0.1; guarded.main({command})"
    guard = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert guard.stdin and guard.stdout
    guard.stdout.readline()
    guard.stdin.close()
    assert guard.wait(30) == 128 + signal.SIGKILL
    guard.stdout.close()


def test_a_guard_asks_its_command_to_end_when_it_is_asked_itself():
    guard = subprocess.Popen(
        [
            sys.executable,
            "-m",
            guarded.__name__,
            sys.executable,
            "-c",
            "print(flush=True); import time; time.sleep(600)",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert guard.stdin and guard.stdout
    guard.stdout.readline()
    guard.send_signal(signal.SIGTERM)
    assert guard.wait(30) == 128 + signal.SIGTERM
    guard.stdin.close()
    guard.stdout.close()


def test_a_server_that_dies_at_the_start_is_shown_with_what_it_died_of(notes: Notes, tmp_path: Path):
    (tmp_path / "serve.log").write_text("ValueError: of yesterday\n")
    with pytest.raises(StageError) as e, Served("m/dies", folder=tmp_path):
        raise AssertionError("it never starts")
    assert str(e.value) == (
        "m/dies: the server ended before it was up (exit status 3); it said last: ValueError: no such quantization "
        f"(all of it: {tmp_path}/serve.log); mend its options and run again"
    )
    notes.nothing_runs()


def test_a_server_that_is_never_up_is_given_up_and_ended(notes: Notes, tmp_path: Path):
    with pytest.raises(StageError) as e, Served("m/never", Serve(start_seconds=2), folder=tmp_path):
        raise AssertionError("it never starts")
    assert str(e.value) == (
        f"m/never: the server was not up after 2 s; it said last: starting (all of it: {tmp_path}/serve.log); "
        "raise serve.start_seconds"
    )
    notes.nothing_runs()


def test_another_server_on_the_port_is_not_taken_for_ours(notes: Notes, tmp_path: Path):
    with pytest.raises(StageError, match=r"^m/foreign: port \d+ is answered by another server; run again$"):
        Served("m/foreign", folder=tmp_path).__enter__()
    notes.nothing_runs()


def test_without_vllm_the_pip_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"^vllm: not installed; run: pip install 'mixdistill\[vllm\]'$"):
        Served("m", folder=tmp_path).__enter__()


def test_settings_become_the_servers_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARSER", "qwen3")
    spec = Serve(dtype="float32", max_model_len=99, enforce_eager=True, args=["--reasoning-parser", "${PARSER}"])
    given = Served("some/model", spec, folder=tmp_path).arguments()
    assert " ".join(given) == (
        "--model some/model --served-model-name model --host 127.0.0.1 --port 0 --dtype float32 --max-model-len 99 "
        "--tensor-parallel-size 1 --generation-config vllm --uvicorn-log-level warning --enforce-eager "
        "--reasoning-parser qwen3"
    )


def adapter(folder: Path, **config: Any) -> str:
    folder.mkdir(exist_ok=True)
    said = {"r": 4, "base_model_name_or_path": "own/base", **config}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return str(folder)


def test_adapters_are_served_from_one_base_with_the_rank_of_the_largest(tmp_path: Path):
    small, large = adapter(tmp_path / "a"), adapter(tmp_path / "b", rank_pattern={"q_proj": 20})
    given = Served("own/base", folder=tmp_path, adapters={"a": small, "b": large}).arguments()
    assert given[-8:] == ["--enable-lora", "--max-lora-rank", "32", "--max-loras", "2", "--lora-modules", f"a={small}",
                          f"b={large}"]  # fmt: skip


def test_a_folder_is_an_adapter_when_it_holds_no_whole_model(tmp_path: Path):
    folder = adapter(tmp_path / "a", rank_pattern={"q_proj": 9})
    assert adapters.read(folder) == ("own/base", 9)
    assert adapters.tokenizer_of(folder, adapters.read(folder)) == "own/base"
    (tmp_path / "a" / "tokenizer_config.json").write_text("{}")
    assert adapters.tokenizer_of(folder, adapters.read(folder)) == folder
    (tmp_path / "a" / "config.json").write_text("{}")
    assert adapters.read(folder) is None
    assert adapters.read("own/base") is None


def test_a_damaged_adapter_is_named(tmp_path: Path):
    folder = adapter(tmp_path, r=None)
    with pytest.raises(DataError, match=r"adapter_config.json: no LoRA adapter's settings \(TypeError: "):
        adapters.read(folder)


# -- as a teacher's backend -------------------------------------------------------------------------------------------


def taught(model: str, **teacher: Any) -> Any:
    spec = {"backend": "openai", "model": model, "serve": "vllm", "sampling": {"max_tokens": 9}, **teacher}
    return tiny.study("lab:xs", teachers={"long": spec, "short": {"backend": "scripted", "model": "short"}})


def test_a_served_teacher_is_asked_with_its_models_settings_and_split_by_its_tokens(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("torch")
    student = tiny.student(tmp_path / "m")
    tokenizer = tiny.word_tokenizer()
    said = tokenizer("<think> 3 + 4 </think> A", add_special_tokens=False)["input_ids"]
    monkeypatch.setenv("IDS", json.dumps([*said, tokenizer.eos_token_id]))
    spec = taught(student, sampling={"max_tokens": 9, "top_p": 0.5}, extra_body={"min_p": 0.1}).teachers["long"]
    request = Request(prompt="3 4", seed=5, sampling=spec.sampling)
    with generate.backend_of(spec, tmp_path / "unit") as backend:
        ((position, completion),) = backend.generate([request])
    assert (position, completion.error) == (0, None)
    assert (completion.reasoning, completion.content) == ("3 + 4", "A"), "and not what the server made of them"
    (asked,) = notes.read()["asked"]
    for key, value in {
        "model": "m",
        "seed": 5,
        "max_tokens": 9,
        "top_p": 0.5,
        "temperature": 0.0,
        "min_p": 0.1,
    }.items():
        assert asked[key] == value, key
    assert asked["ignore_eos"] and asked["return_token_ids"] and asked["stop_token_ids"] == [tokenizer.eos_token_id]


def test_a_server_that_dies_at_work_is_the_units_failure_and_its_key_is_nowhere(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("torch")
    monkeypatch.setattr(serve.secrets, "token_urlsafe", lambda n: "a-very-secret-key")
    student = tiny.student(tmp_path / "breaks")
    (line,) = tiny.failures(taught(student, max_retries=0), tmp_path / "run", "generate")
    assert line == (
        f"generate/long: {student}: the server ended while it was used (exit status 4); it said last: MemoryError: no "
        f"room for the cache (all of it: {tmp_path}/run/generate/long/serve.log); mend its options and run again"
    )
    notes.nothing_runs()
    for file in (tmp_path / "run").rglob("*"):
        assert file.is_dir() or b"a-very-secret-key" not in file.read_bytes(), file


def test_where_nothing_was_sampled_the_servers_log_is_nothing_to_lose(notes: Notes, tmp_path: Path):
    pytest.importorskip("torch")
    student = tiny.student(tmp_path / "dies")
    assert tiny.failures(taught(student), tmp_path / "run", "generate")
    other = taught(student, sampling={"max_tokens": 8})
    (line,) = tiny.failures(other, tmp_path / "run", "generate")
    assert "ValueError: no such quantization" in line


def test_identity_is_what_changes_the_rows_and_not_how_fast_they_come(tmp_path: Path):
    def options(**settings: Any) -> dict[str, Any]:
        return generate._options(taught("own/er", serve={"engine": "vllm", **settings}).teachers["long"])[0]

    plain = options()
    assert plain["serve"] == {"engine": "vllm", "dtype": "auto", "args": []}
    assert options(enforce_eager=True, gpu_memory_utilization=0.5, tensor_parallel_size=2, start_seconds=9) == plain
    for changed in ({"dtype": "float32"}, {"quantization": "fp8"}, {"max_model_len": 512}, {"args": ["--x"]}):
        assert options(**changed) != plain
    unserved = taught("own/er", serve=None, base_url="http://x/v1").teachers["long"]
    assert "serve" not in generate._options(unserved)[0]


def test_a_served_student_is_sampled_as_it_was_trained_and_the_table_says_by_what(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("torch")
    student = tiny.student(tmp_path / "m")
    monkeypatch.setenv("IDS", json.dumps(tiny.word_tokenizer()("A <eos>", add_special_tokens=False)["input_ids"]))
    study = tiny.study(student, students={"t": {"model": student, "serve": "vllm"}})
    lines = tiny.failures(study, tmp_path / "run", "evaluate")
    assert [line for line in lines if "train/t/" not in line] == [], "only what is not trained is missing"
    unit = tmp_path / "run" / "evaluate" / "t" / "base" / "signs"
    (noted,) = json.loads((unit / "sampled.json").read_text())
    assert (noted["sampled by"], noted["dtype"]) == ("a vLLM server", "float32")
    assert (unit / "serve.log").exists()
    arguments = notes.read()["arguments"]
    assert arguments[arguments.index("--dtype") + 1] == "float32"
    notes.nothing_runs()


@pytest.mark.parametrize(
    ("teacher", "finding"),
    [
        (
            {"backend": "transformers"},
            "teachers.long.serve: only backend openai talks to a server (got 'transformers'); leave one out",
        ),
        (
            {"base_url": "http://x/v1"},
            "teachers.long.base_url: is that of the server that serve starts; leave one of the two out",
        ),
        ({"serve": "sglang"}, "teachers.long.serve.engine: input should be 'vllm' (got 'sglang')"),
    ],
)
def test_what_does_not_go_with_serve_is_said(teacher: dict[str, Any], finding: str, raw: dict[str, Any]):
    raw["teachers"]["long"] = {"backend": "openai", "model": "own/er", "serve": "vllm", **teacher}
    with pytest.raises(RecipeError) as e:
        build(raw)
    assert str(e.value) == f"recipe: {finding}"


@pytest.mark.parametrize(
    ("student", "finding"),
    [
        (
            {"serve": "vllm", "backend": "vllm"},
            "students.s.backend: serve samples this student; leave one of the two out",
        ),
        (
            {"backend": "vllm", "backend_options": {"dtype": "auto"}},
            "students.s.backend_options.dtype: follows from the student; leave it out",
        ),
        (
            {"backend": "vllm", "backend_options": {"enforce_eger": True}},
            "students.s.backend_options.enforce_eger: not an option of VLLM (got True); did you mean 'enforce_eager'?",
        ),
    ],
)
def test_what_does_not_go_with_a_students_sampler_is_said(student: dict[str, Any], finding: str, raw: dict[str, Any]):
    raw["students"]["s"] |= student
    with pytest.raises(RecipeError) as e:
        build(raw)
    assert str(e.value) == f"recipe: {finding}"
