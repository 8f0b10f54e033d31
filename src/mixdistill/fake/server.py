"""The fake provider's HTTP: OpenAI's chat completions on the loopback, with a real server's latencies and faults."""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill.errors import StageError
from mixdistill.fake import faults
from mixdistill.fake.answers import Known, Manner, answer, identity, message, prompt_words

if TYPE_CHECKING:
    from aiohttp import web

HOST = "127.0.0.1"
WHOLE, GONE = "whole", "gone"
"""How a request ended, besides the faults: answered to the last byte; the client went away before."""
LARGEST = 64 * 2**20
"""Bytes of a request."""


@dataclass(frozen=True)
class Pace:
    """How fast it answers."""

    base: float = 0.02
    """Seconds that any answer takes."""
    rate: float = 20_000.0
    """Tokens a second of one answer."""
    capacity: int | None = None
    """Requests it takes at once; above it there is 429 with Retry-After, and up to there every one slows the others."""
    drip: float = 20.0
    """Seconds over which an answer drips."""

    def seconds(self, tokens: int, in_flight: int) -> float:
        """How long an answer takes."""
        load = 1.0 + in_flight / self.capacity if self.capacity else 1.0
        return (self.base + tokens / self.rate) * load


@dataclass
class Provider:
    """A fake provider: what it knows, what goes wrong, and what it was asked. Not served by itself; see `serving`."""

    known: Known
    models: Mapping[str, Manner]
    """Models it serves, by name, and how each answers."""
    pace: Pace = Pace()
    faults: Mapping[str, float] = field(default_factory=dict)
    """Fault -> share of the tries that meet it."""
    seed: int = 0
    """Draws the faults. Answers depend on the request alone."""
    journal: Path | None = None
    """A file to which every request is appended twice: as it comes, and how it ended."""

    def __post_init__(self) -> None:
        self.ended: Counter[str] = Counter()
        """How requests ended: `whole`, `gone`, a fault, or the status of a refusal."""
        self._tries: Counter[str] = Counter()
        self._asked = self._in_flight = 0
        self._last_id = "chatcmpl-0"
        self._log = open(self.journal, "a", buffering=1) if self.journal else None  # noqa: SIM115 -- see `serving`

    def close(self) -> None:
        """Close the journal."""
        if self._log:
            self._log.close()

    def app(self) -> web.Application:
        """The application, for aiohttp."""
        from aiohttp import web

        app = web.Application(client_max_size=LARGEST)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._completions)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _models(self, request: web.Request) -> web.Response:
        return _json({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
        except ValueError:
            return self._refusal(400, "the body is no JSON")
        if refused := self._refused(body):
            return refused
        asked = self._last_message(body)
        prompt = asked if self.models[body["model"]].judges else self.known.find(asked)
        if prompt is None:
            return self._refusal(400, f"no problem of the recipe stands in the last message ({asked[:60]!r})")
        self._asked += 1
        number, key = self._asked, identity(body)
        nth, how = self._tries[key], GONE
        self._tries[key] += 1
        self._note(number, key, "asked")
        self._in_flight += 1
        try:
            how, response = await self._answer(request, body, prompt, faults.drawn(self.faults, key, nth, self.seed))
            return response
        finally:
            self._in_flight -= 1
            self._note(number, key, how)
            self.ended[how] += 1

    def _refused(self, body: Any) -> web.Response | None:
        """What is said of a request that no try will make better."""
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
            return self._refusal(400, "messages must be a list of at least one message")
        if body.get("model") not in self.models:
            served = ", ".join(self.models)
            return self._refusal(404, f"the model '{body.get('model')}' does not exist; served are {served}")
        if body.get("stream"):
            return self._refusal(400, "the fake provider does not stream; leave stream out")
        return None

    def _refusal(self, status: int, text: str) -> web.Response:
        self.ended[str(status)] += 1
        return _error(status, text)

    @staticmethod
    def _last_message(body: Mapping[str, Any]) -> str:
        last = body["messages"][-1]
        return str(last.get("content") or "") if isinstance(last, dict) else ""

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: str, fault: str | None
    ) -> tuple[str, web.StreamResponse]:
        """(how it ended, what was sent)."""
        if self.pace.capacity and self._in_flight > self.pace.capacity:
            return "429", _error(429, "too many requests at once", {"Retry-After": "1"})
        if fault == "timeout":
            await _until_gone()
        if fault in ("429", "429-wait"):
            return fault, _error(429, "slow down", {"Retry-After": "1"} if fault == "429-wait" else {})
        if fault in ("500", "503"):
            return fault, _error(int(fault), "the fake provider fails on purpose")
        response, tokens = self._response(body, prompt, twin=fault == "twin-id")
        await asyncio.sleep(self.pace.seconds(tokens, self._in_flight))
        data = json.dumps(response, ensure_ascii=False).encode()
        if fault == "reset":
            await _reset(request, data)
        if fault == "drip":
            return WHOLE, await _drip(request, data, self.pace.drip)
        if fault == "malformed":
            return fault, _raw(data[: len(data) // 2])
        if fault == "no-choices":
            return fault, _json({**response, "choices": []})
        if fault == "html":
            return fault, _raw(b"<html><body><h1>Bad gateway</h1></body></html>", "text/html")
        return WHOLE, await _sent(request, data)

    def _response(self, body: dict[str, Any], prompt: str, *, twin: bool) -> tuple[dict[str, Any], int]:
        """(the body of a good response, its tokens)."""
        if body.get("seed") is None:  # a server that draws afresh every time
            body = {**body, "seed": f"unseeded {self._asked}"}
        manner = self.models[body["model"]]
        given = [answer(self.known, manner, body, prompt, n) for n in range(int(body.get("n") or 1))]
        tokens, asked = sum(a.tokens for a in given), prompt_words(body)
        if not twin:
            self._last_id = f"chatcmpl-{self._asked}"
        thought = sum(len(a.reasoning.split()) for a in given)
        usage = {
            "prompt_tokens": asked, "completion_tokens": tokens, "total_tokens": asked + tokens,
            "completion_tokens_details": {"reasoning_tokens": thought},
        }  # fmt: skip
        choices = [
            {"index": n, "message": message(a, manner.style), "finish_reason": a.finish_reason}
            for n, a in enumerate(given)
        ]
        said = {"id": self._last_id, "object": "chat.completion", "created": int(time.time()), "model": body["model"]}
        return {**said, "choices": choices, "usage": usage}, max(a.tokens for a in given)

    def _note(self, number: int, key: str, event: str) -> None:
        if self._log:
            self._log.write(json.dumps({"n": number, "key": key, "at": time.time(), "event": event}) + "\n")


def _raw(data: bytes, kind: str = "application/json", status: int = 200) -> web.Response:
    from aiohttp import web

    return web.Response(body=data, content_type=kind, status=status)


def _json(value: Any) -> web.Response:
    return _raw(json.dumps(value).encode())


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error as OpenAI words it."""
    response = _raw(json.dumps({"error": {"message": text, "type": "fake_provider", "code": status}}).encode())
    response.set_status(status)
    response.headers.update(headers or {})
    return response


async def _until_gone() -> None:
    """Wait for the client to go away: the handler is cancelled then."""
    await asyncio.sleep(math.inf)


async def _reset(request: web.Request, data: bytes) -> None:
    """Reset the connection (RST, no orderly end): of every other answer half has been sent."""
    transport = request.transport
    if transport is None:
        return
    if len(data) % 2:
        await _begin(request, data, data[: len(data) // 2])
    # Without lingering, closing throws away what was not sent, and resets.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await _until_gone()


async def _begin(request: web.Request, data: bytes, first: bytes) -> web.StreamResponse:
    """A response of known length, of which so much was sent."""
    from aiohttp import web

    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(data)
    await response.prepare(request)
    await response.write(first)
    return response


async def _sent(request: web.Request, data: bytes) -> web.StreamResponse:
    """A good answer, on its way to its last byte."""
    response = await _begin(request, data, data)
    await response.write_eof()
    return response


async def _drip(request: web.Request, data: bytes, seconds: float, pieces: int = 50) -> web.StreamResponse:
    size = max(len(data) // pieces, 1)
    response = await _begin(request, data, data[:size])
    for at in range(size, len(data), size):
        await asyncio.sleep(seconds / pieces)
        await response.write(data[at : at + size])
    await response.write_eof()
    return response


@contextmanager
def serving(provider: Provider, port: int = 0) -> Generator[str]:
    """Serve on the loopback from a thread of its own; gives the base URL. `port` 0 takes a free one.

    Raises StageError where the port is taken.
    """
    up: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(provider, port, up)), name="fake", daemon=True)
    thread.start()
    try:
        loop, stop, port = up.result()
    except OSError as e:
        why = os.strerror(e.errno or 0)
        raise StageError(f"port {port}: cannot be listened on ({why}); choose another --port") from None
    try:
        yield f"http://{HOST}:{port}/v1"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        provider.close()


async def _serve(provider: Provider, port: int, up: Future[Any]) -> None:
    from aiohttp import web

    runner = web.AppRunner(provider.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    stop = asyncio.Event()
    try:
        await runner.setup()
        site = web.TCPSite(runner, HOST, port, backlog=1024)
        await site.start()
        up.set_result((asyncio.get_running_loop(), stop, runner.addresses[0][1]))
        await stop.wait()
    except OSError as e:
        up.set_exception(e)
    finally:
        await runner.cleanup()
