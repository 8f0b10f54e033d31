"""A vLLM server for a model on this machine, which lives exactly as long as the unit of work that needs it.

It is started on a port of this machine alone, with a key of its own that is never written down, and watched over by
`guarded.py`, so that nothing is left running however mixdistill ends. What it says is kept in `serve.log` in the unit's
folder.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill import resolve
from mixdistill.backends import adapters, guarded
from mixdistill.backends.vllm import environment, lora_rank
from mixdistill.errors import MissingExtra, StageError, one_line
from mixdistill.sections import Serve
from mixdistill.types import Completion, Request, Sampling

if TYPE_CHECKING:
    from mixdistill.tokens import Template

HOST = "127.0.0.1"
LOG = "serve.log"
SERVER = "vllm.entrypoints.openai.api_server"
ADAPTER = "adapter"
"""The name under which the adapter of a unit is asked for."""
SAID = 3
"""Lines of the log that an error shows."""
_ERROR = re.compile(r"[\w.]*(?:Error|Exception)\b: (?!.*root cause)")
"""What went wrong, and not that something else did."""
_PREFIX = re.compile(r"^(?:\(\w+ pid=\d+\) )?(?:[A-Z]+ \d\d-\d\d [\d:]+ )?(?:\[[^\]]*\] ?)*")
"""What vLLM writes before every line: process, level, time, place."""


DYING_SECONDS = 5.0
"""How long a server that cannot be reached may take to be gone."""


class Served:
    """A model, and any number of LoRA adapters on it, behind an OpenAI-compatible server: a context manager.

    Entering starts it and waits until it answers; leaving ends it and everything it started. Raises MissingExtra
    without vLLM, StageError with the server's last lines when it dies, or is not up after `spec.start_seconds`.
    """

    def __init__(
        self, model: str, spec: Serve | None = None, *, folder: Path, adapters: Mapping[str, str] | None = None
    ):
        """`model`: folder or hub id. `adapters`: name -> folder in PEFT's layout. `folder`: where the log is kept."""
        self.model, self.spec, self.adapters = model, spec or Serve(), dict(adapters or {})
        self.log = folder / LOG
        self.name = Path(model).name
        """What the model itself is asked for as; an adapter, by its own name."""
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._key = secrets.token_urlsafe(24)
        self._said_before = 0

    @property
    def base_url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}/v1"

    @property
    def api_key_env(self) -> str:
        """The environment variable of this process that holds its key while it runs."""
        return f"MIXDISTILL_SERVED_{self.port}"

    def __enter__(self) -> Served:
        if importlib.util.find_spec("vllm") is None:
            raise MissingExtra("vllm", "vllm")
        self.port = _free_port()
        command = [sys.executable, "-m", guarded.__name__, sys.executable, "-m", SERVER, *self.arguments()]
        its_environment = {
            **environment(),
            "VLLM_API_KEY": self._key,
            "VLLM_LOGGING_LEVEL": "INFO",  # this process may have been told to say less
            "PYTHONUNBUFFERED": "1",
        }
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._said_before = log.tell()
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=its_environment, start_new_session=True
            )
        os.environ[self.api_key_env] = self._key
        _past_proxies()
        try:
            self._await()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        assert self.process
        died = self.process.poll()
        if died is None and isinstance(error, StageError):  # its connections go before its process does
            with contextlib.suppress(subprocess.TimeoutExpired):
                died = self.process.wait(DYING_SECONDS)
        self._end()
        if isinstance(error, Exception) and died is not None:
            raise StageError(self._ended(died, "while it was used")) from error

    def arguments(self) -> list[str]:
        """What the server is started with."""
        spec = self.spec
        options = {
            "model": self.model,
            "served-model-name": self.name,
            "host": HOST,
            "port": self.port,
            "dtype": spec.dtype,
            "quantization": spec.quantization,
            "max-model-len": spec.max_model_len,
            "tensor-parallel-size": spec.tensor_parallel_size,
            "gpu-memory-utilization": spec.gpu_memory_utilization,
            "generation-config": "vllm",  # its settings are sent with every request, as everywhere here
            "uvicorn-log-level": "warning",
        }
        given = [text for key, value in options.items() if value is not None for text in (f"--{key}", str(value))]
        given += ["--enforce-eager"] if spec.enforce_eager else []
        if self.adapters:
            ranks = [found.rank for folder in self.adapters.values() if (found := adapters.read(folder))]
            given += ["--enable-lora", "--max-lora-rank", str(lora_rank(max(ranks, default=1)))]
            given += ["--max-loras", str(len(self.adapters)), "--lora-modules"]
            given += [f"{name}={folder}" for name, folder in self.adapters.items()]
        return given + [str(resolve.from_environment(argument)) for argument in spec.args]

    def _await(self) -> None:
        """Return when the server is up. Its end is awaited meanwhile."""
        assert self.process
        give_up = time.monotonic() + self.spec.start_seconds
        while not self._get("/health"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise StageError(self._ended(self.process.wait(0.1), "before it was up"))
            if time.monotonic() > give_up:
                raise StageError(
                    f"{self.model}: the server was not up after {self.spec.start_seconds:g} s; it said last: "
                    f"{self._last_words()} (all of it: {self.log}); raise serve.start_seconds"
                )
        models = json.loads(self._get("/v1/models") or "{}").get("data", [])
        if self.name not in [m.get("id") for m in models]:
            raise StageError(f"{self.model}: port {self.port} is answered by another server; run again")

    def _get(self, path: str) -> bytes | None:
        """What the server answers; None where it does not, or not well."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self._key}"})
            response = connection.getresponse()
            return response.read() or b"{}" if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _end(self) -> None:
        """End the server and all it started, and forget its key."""
        os.environ.pop(self.api_key_env, None)
        process = self.process
        assert process and process.stdin
        with contextlib.suppress(OSError):
            process.stdin.close()  # the guard's sign
        try:
            process.wait(2 * guarded.GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ended(self, status: int, when: str) -> str:
        return (
            f"{self.model}: the server ended {when} (exit status {status}); it said last: {self._last_words()} "
            f"(all of it: {self.log}); mend its options and run again"
        )

    def _last_words(self) -> str:
        """The errors among the last lines of the log, or else those lines, in one."""
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            text = log.read().decode(errors="replace")
        lines = [_PREFIX.sub("", line).strip() for line in text.splitlines()]
        errors = [line for line in lines if _ERROR.match(line)]
        words = list(dict.fromkeys(errors or [line for line in lines if line]))[-SAID:]
        return one_line(" | ".join(word[:200] for word in words)).replace(self._key, "***") or "nothing"


@contextmanager
def backend(
    model: str, spec: Serve, *, sampling: Sampling, folder: Path, options: dict[str, Any]
) -> Generator[ServedBackend]:
    """The `openai` backend with a server of its own for `model`: a folder, a hub id, or the folder of an adapter.

    Settings that `sampling` leaves open come from the model's generation_config, and its completions end at the same
    tokens and are split in the same way, as those of the backends `transformers` and `vllm`. `options` are the
    recipe's for the `openai` backend.
    """
    from mixdistill.backends.openai import OpenAI
    from mixdistill.tokens import Template

    adapter = adapters.read(model)
    base = model if adapter is None else adapter.base
    template = Template.load(
        adapters.tokenizer_of(model, adapter), chat_template_kwargs=options.get("chat_template_kwargs")
    )
    body = _body(base, sampling, template) | options.get("extra_body", {})
    with Served(base, spec, folder=folder, adapters={} if adapter is None else {ADAPTER: model}) as server:
        own: dict[str, Any] = {"base_url": server.base_url, "api_key_env": server.api_key_env, "extra_body": body}
        name = server.name if adapter is None else ADAPTER
        yield ServedBackend(OpenAI(name, **{**options, **own}), template)


class ServedBackend:
    """The backend of a server which says what tokens it sampled: they are split as a student's are."""

    def __init__(self, backend: Any, template: Template, *, ours: bool = True):
        """`ours`: the server takes token ids as a prompt too, so that answers that were begun go on from these."""
        from mixdistill.backends.transformers import begun_ids

        self.backend, self.template = backend, template
        if ours:
            backend.render_with(lambda request: begun_ids(request, template))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)  # whether it draws live, and what it notes

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        """Completions as they arrive."""
        begun: list[bool] = []
        for position, completion in self.backend.generate(_noting(requests, begun)):
            ids = completion.token_ids
            if completion.error is None and ids:
                stopped = ids[-1] in self.template.stop_ids
                whole = self.template.decode(ids[:-1] if stopped else ids)
                reasoning, content = ("", whole) if begun[position] else self.template.split(ids)
                completion = completion.model_copy(update={"reasoning": reasoning, "content": content})
            yield position, completion


def _noting(requests: Iterable[Request | None], begun: list[bool]) -> Iterator[Request | None]:
    """The requests, noting of each whether its answer has a beginning."""
    for request in requests:
        if request is not None:
            begun.append(request.begun)
        yield request


def _body(model: str, sampling: Sampling, template: Template) -> dict[str, Any]:
    """What every request carries besides the recipe's sampling."""
    from mixdistill.backends.transformers import decoding_of, generation_config, own_stop_ids

    own = generation_config(model)
    filled = dict(zip(("temperature", "top_k", "top_p"), decoding_of(sampling, own), strict=True))
    filled["max_tokens"] = own.max_new_tokens
    return {
        **{k: v for k, v in filled.items() if v is not None and getattr(sampling, k) is None},
        "ignore_eos": True,
        "stop_token_ids": sorted(template.stop_ids.union(own_stop_ids(own))),
        "skip_special_tokens": False,
        "return_token_ids": True,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _past_proxies() -> None:
    """No proxy stands between two processes of one machine."""
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [h for h in os.environ.get(name, "").split(",") if h]
        if HOST not in hosts:
            os.environ[name] = ",".join([*hosts, HOST])
