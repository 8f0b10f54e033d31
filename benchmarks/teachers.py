"""Collecting traces over HTTP: the `openai` backend and `collect` against a bare loop over `AsyncOpenAI`, side by side.

    python benchmarks/teachers.py [--requests 3000] [--latency 0.05] [--repeats 3] [--transports]

The server is a process of its own that answers every request after `--latency` seconds. The peer keeps so many requests
in flight by a semaphore and throws the replies away; `collect` makes every reply a trace and writes it to the journal
as it arrives, then seals the table. Prints requests/s and the client's CPU per request, medians of `--repeats`, and the
ratios with their marks: at 256 in flight at least 3x with a fifth of the CPU a request, at 32 never below 0.95x.
`--transports` adds bare loops over other HTTP clients: what ours was chosen from.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mixdistill.backends.openai import OpenAI
from mixdistill.collect import Buying, collect
from mixdistill.store import Store
from mixdistill.types import Problem, Request, Sampling, problem_id
from mixdistill.wanted import fixed

MARKS = {256: (3.0, 0.2), 32: (0.95, 1.0)}
"""In flight -> what `collect` must reach: how many times the peer's requests/s, and with which part of its CPU."""
QUESTION = "A shop sells pens at 4 for a dollar. How many pens are {} dollars, if every tenth pen is free? Think first."
THOUGHT = "Four pens are a dollar, so I multiply by four, and then I have to think about the free ones. " * 6


# -- the server -------------------------------------------------------------------------------------------------------


def reply() -> bytes:
    """One whole HTTP response."""
    message = {"role": "assistant", "content": "The answer is \\boxed{44}.", "reasoning_content": THOUGHT}
    body = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 150, "total_tokens": 180},
    }  # fmt: skip
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


def serve(latency: float, port: Connection) -> None:
    """Answer whatever is posted after `latency` seconds, on a port of the system's choice that is sent back."""
    answer = reply()

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.buffer = transport, b""

        def data_received(self, data: bytes) -> None:
            self.buffer += data
            while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
                head = self.buffer[:end].lower()
                at = head.find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                if len(self.buffer) < end + 4 + length:
                    return
                self.buffer = self.buffer[end + 4 + length :]
                asyncio.get_running_loop().call_later(latency, self.answer)

        def answer(self) -> None:
            if not self.transport.is_closing():
                self.transport.write(answer)

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=1024)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


# -- the clients: each takes (url, requests, in flight) ---------------------------------------------------------------


def gathered(count: int, flying: int, ask: Callable[[int], Any]) -> Any:
    """All requests by `asyncio.gather`, so many at a time."""
    gate = asyncio.Semaphore(flying)

    async def one(i: int) -> None:
        async with gate:
            await ask(i)

    return asyncio.gather(*(one(i) for i in range(count)))


def peer(url: str, count: int, flying: int, http_client: Any = None) -> None:
    """The loop that the library's own documentation shows."""
    from openai import AsyncOpenAI

    async def main() -> None:
        async with AsyncOpenAI(api_key="x", base_url=url, http_client=http_client and http_client()) as client:

            async def ask(i: int) -> None:
                turns: Any = [{"role": "user", "content": QUESTION.format(i)}]
                done = await client.chat.completions.create(model="m", messages=turns, seed=i, max_tokens=512)
                assert done.choices[0].message.content

            await gathered(count, flying, ask)

    asyncio.run(main())


def peer_on_aiohttp(url: str, count: int, flying: int) -> None:
    """The same with the client's aiohttp extra."""
    from openai import DefaultAioHttpClient

    peer(url, count, flying, DefaultAioHttpClient)


def bare_httpx(url: str, count: int, flying: int) -> None:
    """Nothing but HTTP and JSON, by the library underneath the peer."""
    import httpx2

    async def main() -> None:
        limits = httpx2.Limits(max_connections=flying, max_keepalive_connections=flying)
        async with httpx2.AsyncClient(limits=limits, trust_env=False) as client:

            async def ask(i: int) -> None:
                done = await client.post(f"{url}/chat/completions", json=body(i))
                assert done.json()["choices"]

            await gathered(count, flying, ask)

    asyncio.run(main())


def bare_aiohttp(url: str, count: int, flying: int) -> None:
    """Nothing but HTTP and JSON, by the library underneath ours."""
    import aiohttp

    async def main() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

            async def ask(i: int) -> None:
                async with client.post(f"{url}/chat/completions", json=body(i)) as done:
                    assert (await done.json())["choices"]

            await gathered(count, flying, ask)

    asyncio.run(main())


def body(i: int) -> dict[str, Any]:
    """What every client sends."""
    return {"model": "m", "messages": [{"role": "user", "content": QUESTION.format(i)}], "seed": i, "max_tokens": 512}


def backend(url: str, count: int, flying: int) -> None:
    """Ours, completions thrown away."""
    requests = [
        Request(prompt=QUESTION.format(i), seed=i, sampling=Sampling(temperature=0.6, max_tokens=512))
        for i in range(count)
    ]
    got = sum(1 for _, c in OpenAI("m", base_url=url, concurrency=flying).generate(requests) if c and not c.error)
    assert got == count


def collected(url: str, count: int, flying: int) -> None:
    """Ours, every completion a row on disk as it arrives."""
    problems = [
        Problem(id=problem_id(text, "44"), prompt=text, answer="44") for text in map(QUESTION.format, range(count))
    ]
    with tempfile.TemporaryDirectory() as folder:
        store, place = Store(Path(folder)), Path(folder) / "generate" / "t"
        buying = Buying(
            author="teacher/t",
            model="m",
            problems=problems,
            rule=fixed(1),
            label="generate/t",
            error_rate=0.0,
            sampling=Sampling(temperature=0.6, max_tokens=512),
        )
        got = collect(store, place, OpenAI("m", base_url=url, concurrency=flying), buying)
        assert got.table["rows"] == count


# -- the comparison ---------------------------------------------------------------------------------------------------


def measured(client: Callable[..., None], url: str, count: int, flying: int) -> tuple[float, float]:
    """(requests/s, CPU ms a request) of one run of a client in this process."""
    start, cpu = time.perf_counter(), time.process_time()
    client(url, count, flying)
    return count / (time.perf_counter() - start), 1000 * (time.process_time() - cpu) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--transports", action="store_true")
    options = parser.parse_args()
    clients = {"AsyncOpenAI": peer, "openai backend": backend, "collect": collected}
    if options.transports:
        clients |= {"AsyncOpenAI on aiohttp": peer_on_aiohttp, "bare httpx2": bare_httpx, "bare aiohttp": bare_aiohttp}
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(options.latency, there), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}/v1"
    passed = True
    for flying, (fast, frugal) in MARKS.items():
        print(f"{options.requests} requests, {flying} in flight, {options.latency * 1000:g} ms")
        for client in clients.values():
            measured(client, url, min(100, options.requests), flying)  # imports, connections of the system
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
        for _ in range(options.repeats):  # in turn, so that a busy minute of the machine meets all of them
            for name, client in clients.items():
                runs[name].append(measured(client, url, options.requests, flying))
        rows = {name: tuple(map(statistics.median, zip(*of, strict=True))) for name, of in runs.items()}
        base = rows["AsyncOpenAI"]
        print(f"{'client':24}{'req/s':>8}{'CPU ms':>8}{'speed':>8}{'CPU':>7}")
        for name, (rate, cpu) in rows.items():
            print(f"{name:24}{rate:8.0f}{cpu:8.2f}{rate / base[0]:7.2f}x{cpu / base[1]:6.2f}x")
        speed, cpu = rows["collect"][0] / base[0], rows["collect"][1] / base[1]
        good = speed >= fast and cpu <= frugal
        passed, said = passed and good, "ok" if good else "MISSED"
        print(f"collect: {speed:.2f}x (mark {fast:g}x), {cpu:.2f} of the CPU (mark {frugal:g}): {said}\n")
    server.terminate()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
