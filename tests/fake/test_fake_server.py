"""What goes over the wire, seen by a bare socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import tiny
from mixdistill.errors import StageError
from mixdistill.fake.answers import Known, Manner, identity
from mixdistill.fake.server import HOST, Pace, Provider, serving

PROMPTS = [f"What is {n} and {n + 7} together?" for n in range(20)]
KNOWN = Known([tiny.problem(p, str(2 * n + 7)) for n, p in enumerate(PROMPTS)], lambda p: p.answer)
RIGHT = Manner(pass_rate=1.0, endless=0.0, empty=0.0, filtered=0.0)
FAST = Pace(base=0.0, rate=1e9, drip=0.2)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Served:
    """A running provider and ways to speak to it."""

    def __init__(self, provider: Provider, url: str) -> None:
        self.provider = provider
        self.port = int(url.split(":")[2].split("/")[0])

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=10)

    def send(self, sent: bytes) -> socket.socket:
        connection = self.connect()
        connection.sendall(sent)
        return connection

    def post(self, body: Any = None, **more: Any) -> socket.socket:
        return self.send(request(request_body(**more) if body is None else body))

    def ask(self, body: Any = None, **more: Any) -> Reply:
        with self.post(body, **more) as connection:
            return parsed(read_all(connection))

    def get(self, path: str) -> Reply:
        with self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()) as connection:
            return parsed(read_all(connection))

    def until(self, seen: Callable[[], bool]) -> None:
        """Wait until it has noticed."""
        deadline = time.monotonic() + 10
        while not seen():
            assert time.monotonic() < deadline
            time.sleep(0.005)


def request_body(prompt: str = PROMPTS[0], **more: Any) -> dict[str, Any]:
    return {"model": "m-long", "messages": [{"role": "user", "content": prompt}], "seed": 1} | more


def request(body: Any) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def parsed(raw: bytes) -> Reply:
    head, _, data = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
    assert len(data) == int(headers["content-length"])
    return Reply(int(first.split()[1]), headers, data)


@pytest.fixture
def serve() -> Generator[Callable[..., Served]]:
    with ExitStack() as stack:

        def start(fault: str | None = None, **how: Any) -> Served:
            how = {"pace": FAST, "faults": {fault: 1.0} if fault else {}, **how}
            provider = Provider(KNOWN, {"m-long": how.pop("manner", RIGHT)}, **how)
            return Served(provider, stack.enter_context(serving(provider)))

        yield start


def assert_third_try_is_good(served: Served, fault: str) -> None:
    served.until(lambda: served.provider.ended.total() == 2)
    assert served.provider.ended[fault] == 2
    assert served.ask().json["choices"][0]["message"]["content"] == "7"


def test_a_good_answer_is_openais_in_every_part(serve):
    reply = serve().ask()
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    said = reply.json
    (choice,) = said["choices"]
    message = choice["message"]
    assert (message["role"], message["content"], choice["finish_reason"]) == (
        "assistant",
        "7",
        "stop",
    )
    thought = len(message["reasoning"].split())
    assert said["usage"] == {
        "prompt_tokens": 6, "completion_tokens": thought + 2, "total_tokens": thought + 8,
        "completion_tokens_details": {"reasoning_tokens": thought},
    }  # fmt: skip
    assert (said["id"], said["object"], said["model"]) == ("chatcmpl-1", "chat.completion", "m-long")


def test_with_a_seed_the_answer_is_repeated_and_without_one_it_is_drawn_anew(serve):
    served = serve()

    def choices(**more: Any) -> list[str]:
        return [json.dumps(served.ask(**more).json["choices"]) for _ in range(3)]

    assert len(set(choices())) == 1
    assert len(set(choices(seed=None))) == 3


def test_several_choices_differ_and_are_all_counted(serve):
    said = serve().ask(n=3).json
    assert [c["index"] for c in said["choices"]] == [0, 1, 2]
    thoughts = [c["message"]["reasoning"] for c in said["choices"]]
    assert len(set(thoughts)) == 3
    assert said["usage"]["completion_tokens"] == sum(len(t.split()) + 2 for t in thoughts)


def test_health_and_models(serve):
    served = serve()
    assert served.get("/health").json == {"status": "ok"}
    assert [m["id"] for m in served.get("/v1/models").json["data"]] == ["m-long"]
    assert served.get("/v1/else")[0] == 404


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 400, "the body is no JSON"),
        ({"model": "m-long"}, 400, "messages must be a list of at least one message"),
        (request_body(model="m"), 404, "the model 'm' does not exist; served are m-long"),
        (request_body(stream=True), 400, "the fake provider does not stream; leave stream out"),
        (request_body("Who?"), 400, "no problem of the recipe stands in the last message ('Who?')"),
    ],
)
def test_a_request_that_no_try_makes_better_is_refused(serve, body: Any, status: int, text: str):
    served = serve()
    reply = served.ask(body)
    error = {"message": text, "type": "fake_provider", "code": status}
    assert (reply.status, reply.json) == (status, {"error": error})
    assert served.provider.ended == {str(status): 1}


# -- every fault is really there --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "wait"), [("429", 429, None), ("429-wait", 429, "1"), ("500", 500, None), ("503", 503, None)]
)
def test_an_error_status_with_or_without_a_time_to_wait(serve, fault: str, status: int, wait: str | None):
    served = serve(fault)
    for _ in range(2):
        reply = served.ask()
        assert (reply.status, reply.headers.get("retry-after"), reply.json["error"]["code"]) == (status, wait, status)
    assert_third_try_is_good(served, fault)


def test_a_time_out_says_nothing_and_ends_when_the_client_goes(serve):
    served = serve("timeout")
    for n in (1, 2):
        with served.post() as connection:
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        served.until(lambda n=n: served.provider.ended["gone"] == n)
    assert_third_try_is_good(served, "gone")


def test_a_reset_comes_before_the_answer_or_in_the_middle_of_it(serve):
    served = serve("reset")
    seen = set()
    for prompt in PROMPTS:
        got = b""
        with served.post(prompt=prompt) as connection:
            try:
                while part := connection.recv(65536):
                    got += part
                raise AssertionError(f"the connection ended in an orderly way after {got!r}")
            except ConnectionResetError:
                seen.add(bool(got))
                assert b"usage" not in got, "it lacks its end"
    assert seen == {False, True}
    served.until(lambda: served.provider.ended["gone"] == len(PROMPTS))


def test_malformed_json_has_the_right_length_and_type(serve):
    served = serve("malformed")
    for _ in range(2):
        reply = served.ask()
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        with pytest.raises(ValueError):
            json.loads(reply.data)
    assert_third_try_is_good(served, "malformed")


def test_a_response_without_choices(serve):
    served = serve("no-choices")
    for _ in range(2):
        reply = served.ask()
        assert (reply.status, reply.json["choices"], reply.json["object"]) == (200, [], "chat.completion")
    assert_third_try_is_good(served, "no-choices")


def test_a_page_instead_of_json(serve):
    served = serve("html")
    for _ in range(2):
        reply = served.ask()
        assert (reply.status, reply.headers["content-type"], reply.data[:6]) == (200, "text/html", b"<html>")
    assert_third_try_is_good(served, "html")


def test_a_drip_is_a_good_answer_in_many_pieces(serve):
    served = serve("drip")
    began, pieces = time.monotonic(), []
    with served.post() as connection:
        while part := connection.recv(65536):
            pieces.append(part)
    assert len(pieces) > 10
    assert time.monotonic() - began > 0.15
    assert parsed(b"".join(pieces)).json["choices"][0]["message"]["content"] == "7"
    served.until(lambda: served.provider.ended == {"whole": 1})


def test_twins_are_good_answers_of_one_id(serve):
    served = serve("twin-id")
    replies = [served.ask(prompt=prompt).json for prompt in PROMPTS[:3]]
    assert len({r["id"] for r in replies}) == 1
    assert [r["choices"][0]["message"]["content"] for r in replies] == ["7", "9", "11"]


# -- pace and journal -------------------------------------------------------------------------------------------------


def test_an_answer_takes_its_time_and_longer_under_load():
    assert Pace(base=0.5, rate=100).seconds(50, in_flight=9) == 1.0
    assert Pace(base=0.5, rate=100, capacity=10).seconds(50, in_flight=5) == 1.5


def test_above_its_capacity_it_asks_to_wait(serve):
    served = serve(pace=Pace(base=30.0, capacity=1))
    with served.post():
        served.until(lambda: served.provider._in_flight == 1)
        reply = served.ask()
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
        assert reply.json["error"]["message"] == "too many requests at once"
    served.until(lambda: served.provider.ended == {"429": 1, "gone": 1})


def test_the_journal_has_every_request_as_it_came_and_as_it_ended(serve, tmp_path: Path):
    served = serve("500", journal=tmp_path / "journal")
    for _ in range(3):
        served.ask()
    served.until(lambda: served.provider.ended["whole"] == 1)
    rows = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    assert [(r["n"], r["event"]) for r in rows] == [
        (1, "asked"), (1, "500"), (2, "asked"), (2, "500"), (3, "asked"), (3, "whole"),
    ]  # fmt: skip
    assert {r["key"] for r in rows} == {identity(request_body())}


def test_a_port_that_is_taken_is_named(serve):
    taken = serve().port
    with pytest.raises(StageError) as e, serving(Provider(KNOWN, {}), taken):
        pass
    assert str(e.value) == f"port {taken}: cannot be listened on (Address already in use); choose another --port"
