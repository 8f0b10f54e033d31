import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mixdistill.backends import wire
from mixdistill.backends.openai import OpenAI
from mixdistill.errors import RecipeError, StageError
from mixdistill.types import Message, Request, Sampling

KEY = "sk-very-secret"


def reply(message, finish_reason="stop", **fields):
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **message}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10},
        **fields,
    }


class Server:
    """A loopback server; `answer(body, number of this prompt's try)` gives (status, body), with headers if need be.

    A status of 0 resets the connection. `models` is what GET /v1/models lists; other pages are 404.
    """

    def __init__(self, answer, models=()):
        self.bodies, self.headers, self.tries, self.paths = [], [], {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"] if "messages" in body else str(body["prompt"])
                outer.paths.append(self.path)
                outer.bodies.append(body)
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                outer.tries[prompt] = outer.tries.get(prompt, 0) + 1
                status, data, *headers = answer(body, outer.tries[prompt])
                if status == 0:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True
                else:
                    self.say(status, data, *headers)

            def do_GET(self):
                known = self.path == "/v1/models"
                self.say(200 if known else 404, {"data": [{"id": name} for name in models]} if known else {})

            def say(self, status, data, headers=()):
                raw = data.encode() if isinstance(data, str) else json.dumps(data).encode()
                self.send_response(status)
                given = {"Content-Type": "application/json", "Content-Length": str(len(raw))} | dict(headers)
                for name, value in given.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)
                self.wfile.flush()

            def log_message(self, *args):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # clients that leave are what is tested

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self.http.server_port}"
        self.url = f"{self.root}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    """Back-off is timed elsewhere."""
    monkeypatch.setattr(wire, "back_off", lambda tries, rng: 0.001)


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    servers = []

    def start(answer, **more):
        servers.append(Server(answer, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def ask(server, *requests, **options):
    options = {"max_retries": 1, **options}
    got = dict(OpenAI("m", base_url=server.url, **options).generate(list(requests)))
    return [got[i] for i in range(len(requests))]


def prompts(count):
    return [Request(prompt=str(i)) for i in range(count)]


def fails(server, *requests, **options):
    """(line of the error, completions that came before it)."""
    backend = OpenAI("m", **({"base_url": server.url, "max_retries": 1} | options))
    got = []
    with pytest.raises(StageError) as e:
        for answer in backend.generate(list(requests) or [Request(prompt="a")]):
            got.append(answer)
    return str(e.value), got


FINE = (200, reply({"content": "4"}))


@pytest.mark.parametrize(
    "message",
    [
        {"content": "4", "reasoning": "hm"},
        {"content": "4", "reasoning_content": "hm"},
        {"content": "<think>hm</think>4"},
        {"content": "4", "reasoning": None, "reasoning_content": "hm"},
    ],
)
def test_reasoning_is_read_from_wherever_the_server_puts_it(serve, message):
    (completion,) = ask(serve(lambda body, n: (200, reply(message))), Request(prompt="2 + 2?"))
    assert (completion.reasoning, completion.content, completion.finish_reason) == ("hm", "4", "stop")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 7)
    assert completion.error is None
    assert completion.seconds > 0


def test_an_empty_content_with_reasoning_stays_empty(serve):
    server = serve(lambda body, n: (200, reply({"content": None, "reasoning": "hm, so"}, "length")))
    (completion,) = ask(server, Request(prompt="a"))
    assert (completion.reasoning, completion.content, completion.finish_reason) == ("hm, so", "", "length")


def test_a_truncated_completion_is_kept_with_its_reason(serve):
    server = serve(lambda body, n: (200, reply({"content": "<think>so 2 +"}, "length")))
    (completion,) = ask(server, Request(prompt="a"))
    assert (completion.reasoning, completion.content, completion.finish_reason) == ("so 2 +", "", "length")


def test_an_unheard_of_finish_reason_is_unknown(serve):
    (completion,) = ask(serve(lambda body, n: (200, reply({"content": "4"}, "abort"))), Request(prompt="a"))
    assert completion.finish_reason == "unknown"


def test_settings_that_are_none_are_not_sent_and_the_rest_is(serve):
    server = serve(lambda body, n: (200, reply({"content": "4"})))
    sampling = Sampling(temperature=0.6, top_k=20, max_tokens=64)
    turns = [Message(role="system", content="Be kind."), Message(role="user", content="a")]
    ask(
        server,
        Request(prompt=turns, seed=7, sampling=sampling),
        extra_body={"min_p": 0.1},
        chat_template_kwargs={"enable_thinking": False},
    )
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "a"}],
            "seed": 7,
            "temperature": 0.6,
            "max_tokens": 64,
            "top_k": 20,
            "min_p": 0.1,
            "chat_template_kwargs": {"enable_thinking": False},
        }
    ]


# -- what a reply holds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "reasoning", "content"),
    [
        ({"reasoning": "hm", "reasoning_content": "hm", "content": "4"}, "hm", "4"),
        ({"reasoning": "hm", "content": "<think>hm</think>4"}, "hm", "4"),
        ({"reasoning_content": "first", "content": "<think>then</think>4"}, "first\n\nthen", "4"),
        ({"reasoning": "hm", "content": "The tag </think> closes."}, "hm", "The tag </think> closes."),
        ({"reasoning": "hm", "content": None}, "hm", ""),
        (
            {"reasoning": "a b", "reasoning_details": [
                {"type": "reasoning.text", "text": "a "}, {"type": "reasoning.text", "text": "b"},
                {"type": "reasoning.encrypted", "data": "x"}], "content": "4"},
            "a b", "4",
        ),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}], "content": "4"}, "hm", "4"),
        ({"content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "4"}]}, "", "It is 4"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"text": "4"}]}, "hm", "4"),
        ({"content": [{"type": "text", "text": "<think>hm</think>4"}]}, "hm", "4"),
        ({"content": "<|im_start|>think\nhm.\n<|im_start|>answer\n4"}, "hm.", "4"),
        ({"content": "<|begin_of_thought|>hm<|end_of_thought|><|begin_of_solution|>4<|end_of_solution|>"}, "hm", "4"),
        ({"content": None, "refusal": "I will not."}, "", "I will not."),
        ({"content": ""}, "", ""),
    ],
)  # fmt: skip
def test_reasoning_and_answer_are_both_kept_and_neither_twice(serve, message, reasoning, content):
    (completion,) = ask(serve(lambda body, n: (200, reply(message))), Request(prompt="a"))
    assert (completion.reasoning, completion.content, completion.error) == (reasoning, content, None)


def test_unusual_reasoning_tags_are_the_users_to_name(serve):
    server = serve(lambda body, n: (200, reply({"content": "[THINK]hm[/THINK]4"})))
    (plain,) = ask(server, Request(prompt="a"))
    (named,) = ask(server, Request(prompt="a"), reasoning_tags=["[THINK]", "[/THINK]"])
    assert (plain.reasoning, named.reasoning, named.content) == ("", "hm", "4")
    with pytest.raises(RecipeError) as e:
        OpenAI("m", base_url=server.url, reasoning_tags=["[THINK]"])
    assert str(e.value) == "m: reasoning_tags must be [open, close] (got ['[THINK]'])"


def test_usage_cost_and_token_ids_are_kept_where_the_server_gives_them(serve):
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 7,
        "completion_tokens_details": {"reasoning_tokens": 5},
        "cost": 0.25,
    }
    data = reply({"content": "4"}, usage=usage)
    data["choices"][0]["token_ids"] = [5, 6]
    (completion,) = ask(serve(lambda body, n: (200, data)), Request(prompt="a"))
    assert completion.usage.model_dump() == {"prompt_tokens": 3, "completion_tokens": 7, "reasoning_tokens": 5}
    assert (completion.cost, completion.token_ids) == (0.25, [5, 6])


@pytest.mark.parametrize("usage", [None, {}, {"completion_tokens": None, "cost": None}, {"completion_tokens": "7"}, []])
def test_a_server_that_does_not_count_is_no_failure(serve, usage):
    (completion,) = ask(serve(lambda body, n: (200, reply({"content": "4"}, usage=usage))), Request(prompt="a"))
    assert (completion.content, completion.usage.completion_tokens, completion.cost) == ("4", None, None)


@pytest.mark.parametrize(("said", "finish"), [("eos", "stop"), ("max_tokens", "length"), (None, "unknown")])
def test_finish_reasons_in_other_words_are_understood(serve, said, finish):
    (completion,) = ask(serve(lambda body, n: (200, reply({"content": "4"}, said))), Request(prompt="a"))
    assert completion.finish_reason == finish


@pytest.mark.parametrize("finish", ["length", "content_filter", "stop"])
def test_cut_filtered_and_empty_answers_are_rows_and_not_asked_for_again(serve, finish):
    server = serve(lambda body, n: (200, reply({"content": ""}, finish)))
    (completion,) = ask(server, Request(prompt="a"), max_retries=3)
    assert (completion.content, completion.finish_reason, completion.error) == ("", finish, None)
    assert server.tries["a"] == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"code": "content_filter", "message": "The response was filtered"}),
        (403, {"code": 403, "message": "requires moderation and your input was flagged"}),
    ],
)
def test_a_prompt_that_is_filtered_is_a_filtered_row(serve, status, error):
    (completion,) = ask(serve(lambda body, n: (status, {"error": error})), Request(prompt="a"))
    assert (completion.content, completion.finish_reason, completion.error) == ("", "content_filter", None)


def test_replies_with_one_id_are_told_apart(serve):
    server = serve(lambda body, n: (200, reply({"content": body["messages"][0]["content"]})))
    assert [c.content for c in ask(server, *prompts(50))] == [str(i) for i in range(50)]


def test_half_a_character_in_a_prompt_and_in_a_reply_does_no_harm(serve):
    server = serve(lambda body, n: (200, json.dumps(reply({"content": "4\ud83d"}))))
    (completion,) = ask(server, Request(prompt="a\ud800"))
    assert (completion.content, completion.error) == ("4\ud83d", None)


# -- what is tried again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_asked_again(serve, status):
    server = serve(lambda body, n: (status, {"error": {"message": "busy"}}) if n == 1 else FINE)
    (completion,) = ask(server, Request(prompt="a"))
    assert (completion.content, completion.error, server.tries["a"]) == ("4", None, 2)


@pytest.mark.parametrize(
    "first",
    [
        (0, ""),
        (200, "not json"),
        (200, "{}"),
        (200, '{"choices": []}'),
        (200, '{"choices": [{"message": null}]}'),
        (200, '{"choices": [{"message": {"content": "4"}, "error": {"code": 502, "message": "gone"}}]}'),
        (200, {"error": {"code": 429, "message": "the provider is busy"}}),
        (200, "<html>Bad gateway</html>", {"Content-Type": "text/html"}),
        (200, json.dumps(reply({"content": "4"}))[:40]),
        (200, '{"choi', {"Content-Length": "500", "Connection": "close"}),
        (200, '{"choi', {"Content-Length": "500"}),
    ],
)
def test_a_reset_connection_a_stalled_and_a_senseless_reply_are_tried_again(serve, first):
    server = serve(lambda body, n: first if n == 1 else FINE)
    (completion,) = ask(server, Request(prompt="a"), timeout=0.5)
    assert (completion.content, completion.error, server.tries["a"]) == ("4", None, 2)


def test_a_reply_that_does_not_come_is_given_up_at_the_time_out_and_tried_again(serve):
    done = threading.Event()

    def answer(body, n):
        if n == 1:
            done.wait(10)
        return FINE

    server = serve(answer)
    (completion,) = ask(server, Request(prompt="a"), timeout=0.2)
    done.set()
    assert (completion.error, server.tries["a"]) == (None, 2)
    assert completion.seconds < 0.2


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ((500, {"error": {"message": "out of\nmemory"}}), "status 500: out of memory (2 tries)"),
        ((503, ""), "status 503: nothing more (2 tries)"),
        ((500, {"detail": "boom"}), "status 500: boom (2 tries)"),
        ((502, "<html><h1>Bad gateway</h1></html>"), "status 502: Bad gateway (2 tries)"),
        ((200, '{"choices": []}'), "status 200: no choices ({\"choices\": []}) (2 tries)"),
        ((200, "what"), "status 200: no JSON but application/json (what) (2 tries)"),
    ],
)  # fmt: skip
def test_what_fails_for_good_says_why_and_how_often(serve, first, said):
    server = serve(lambda body, n: first if body["messages"][0]["content"] == "bad" else FINE)
    backend = OpenAI("m", base_url=server.url, max_retries=1)
    list(backend.generate(prompts(1)))
    good, bad = ask(server, Request(prompt="good"), Request(prompt="bad"), concurrency=1)
    assert good.error is None
    assert (bad.error, bad.reasoning, bad.content) == (said, "", "")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model's maximum context length is 4096 tokens. However, you requested 5000"),
        (400, "Unsupported parameter: 'top_k'"),
        (413, "too large"),
        (422, "seed: not an integer"),
        (500, "jinja2.exceptions.TemplateError: Conversation roles must alternate"),
    ],
)
def test_a_fault_of_one_request_is_its_own_and_is_not_tried_again(serve, status, message):
    def answer(body, n):
        return (status, {"error": {"message": message}}) if body["messages"][0]["content"] == "bad" else FINE

    server = serve(answer)
    good, bad = ask(server, Request(prompt="good"), Request(prompt="bad"), max_retries=5)
    assert (good.error, bad.error) == (None, f"status {status}: {message}")
    assert server.tries["bad"] == 1


def test_a_server_that_wants_the_other_name_of_the_limit_gets_it(serve):
    text = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."

    def answer(body, n):
        return (400, {"error": {"message": text, "code": "unsupported_parameter"}}) if "max_tokens" in body else FINE

    server = serve(answer)
    wanted = [Request(prompt=str(i), sampling=Sampling(max_tokens=9)) for i in range(40)]
    assert [c.error for c in ask(server, *wanted, concurrency=4, max_retries=0)] == [None] * 40
    assert all(body.get("max_completion_tokens", 9) == 9 for body in server.bodies)
    assert sum("max_tokens" in body for body in server.bodies) <= 5


def test_all_wait_when_the_server_says_how_long(serve):
    times = []

    def answer(body, n):
        times.append(time.monotonic())
        return (429, {}, {"Retry-After-Ms": "300"}) if len(times) == 1 else FINE

    server = serve(answer)
    assert {c.error for c in ask(server, *prompts(5), concurrency=1)} == {None}
    assert times[1] - times[0] >= 0.29
    assert times[-1] - times[1] < 0.29


def test_a_request_that_waits_for_its_next_try_holds_nobody_up(serve, monkeypatch):
    monkeypatch.setattr(wire, "back_off", lambda tries, rng: 0.5)
    order = []

    def answer(body, n):
        order.append(body["messages"][0]["content"])
        return (500, {}) if order == ["0"] else FINE

    ask(serve(answer), *prompts(8), concurrency=1)
    assert order == ["0", *map(str, range(1, 8)), "0"]


def test_the_deadline_ends_a_request_with_all_its_tries(serve, monkeypatch):
    monkeypatch.setattr(wire, "back_off", lambda tries, rng: 0.05)
    server = serve(lambda body, n: (500, {}) if body["messages"][0]["content"] == "bad" else FINE)
    start = time.monotonic()
    (bad,) = ask(server, Request(prompt="bad"), max_retries=1000, deadline=0.3)
    assert time.monotonic() - start < 5
    assert re.fullmatch(r"(status 500: {}|no answer in 0.3 s, the deadline) \(\d tries\)", bad.error)
    assert 2 <= server.tries["bad"] <= 7


def test_requests_a_minute_are_kept(serve):
    times = []

    def answer(body, n):
        times.append(time.monotonic())
        return FINE

    ask(serve(answer), *prompts(16), requests_per_minute=600)
    assert times[-1] - times[0] >= 0.45  # a second's worth, ten of them, may go at once


def test_tokens_a_minute_are_kept_by_what_the_server_counted(serve):
    times = []

    def answer(body, n):
        times.append(time.monotonic())
        return 200, reply({"content": "4"}, usage={"prompt_tokens": 50, "completion_tokens": 50})

    wanted = [Request(prompt=str(i), sampling=Sampling(max_tokens=100)) for i in range(20)]
    ask(serve(answer), *wanted, tokens_per_minute=60 * 200, concurrency=1)
    assert times[-1] - times[0] >= (20 * 100 - 6 * 200 - 200) / 200 - 0.1


# -- what every request would meet ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_its_variable_and_never_the_key(serve, status):
    server = serve(lambda body, n: (status, {"error": {"message": f"wrong key {KEY}"}}))
    line, got = fails(server, *prompts(100))
    assert line == (
        f"{server.url}: the key in OPENAI_API_KEY was refused (status {status}: wrong key ***); export the right one"
    )
    assert got == []
    assert len(server.bodies) <= 16
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_server_that_wants_a_key_where_there_is_none_says_which_variable_to_set(serve, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server = serve(lambda body, n: (401, {"error": {"message": "no key"}}))
    line, _ = fails(server, api_key_env="MY_KEY")
    assert line == (f"{server.url}: the server wants a key (status 401: no key); export MY_KEY=..., or set api_key_env")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, {"message": "The model `m` does not exist.", "type": "NotFoundError"}),
        (404, {"message": 'model "m" not found, try pulling it first'}),
        (400, {"message": "m is not a valid model ID"}),
    ],
)
def test_a_model_that_is_not_there_comes_with_those_that_are(serve, status, error):
    server = serve(lambda body, n: (status, {"error": error}), models=["mm", "other"])
    line, _ = fails(server)
    said = f"{server.url}: no model 'm' there (status {status}: {error['message']})"
    assert line == f"{said}; did you mean 'mm'?"
    server = serve(lambda body, n: (status, {"error": error}), models=["one", "other"])
    assert fails(server)[0].endswith("; known: one, other")
    server = serve(lambda body, n: (status, {"error": error}), models=[f"another/{i}" for i in range(400)])
    assert fails(server)[0] == said.replace(said.partition(": no model")[0], server.url)


def test_an_address_without_its_v1_is_set_right(serve):
    server = serve(lambda body, n: (404, {"detail": "Not Found"}), models=["m"])
    line, _ = fails(server, base_url=server.root)
    assert line == (
        f"{server.root}: no chat completions there (status 404: Not Found); did you mean base_url: {server.url}?"
    )
    line, _ = fails(server, base_url=f"{server.root}/elsewhere/v1")
    assert line == f"{server.root}/elsewhere/v1: no chat completions there (status 404: Not Found); check base_url"


def test_a_server_that_has_moved_says_where_to(serve):
    server = serve(lambda body, n: (308, "", {"Location": "https://h/v1/chat/completions"}))
    assert fails(server)[0] == (
        f"{server.url}: no chat completions there (status 308: elsewhere, at https://h/v1/chat/completions); "
        "check base_url"
    )
    assert len(server.bodies) == 1


@pytest.mark.parametrize("end", ["", "/", "/chat/completions", "/chat/completions/"])
def test_an_address_may_end_in_a_slash_or_in_the_whole_path(serve, end):
    server = serve(lambda body, n: FINE)
    list(OpenAI("m", base_url=server.url + end).generate(prompts(1)))
    assert server.paths == ["/v1/chat/completions"]


def test_a_query_in_the_address_is_sent_and_not_said(serve):
    server = serve(lambda body, n: FINE if n == 1 else (401, {}))
    backend = OpenAI("m", base_url=f"{server.url}?api-version=7")
    list(backend.generate(prompts(1)))
    assert server.paths == ["/v1/chat/completions?api-version=7"]
    with pytest.raises(StageError, match=f"^{re.escape(server.url)}: the key"):
        list(backend.generate(prompts(1)))


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://x/v1", "http://", "http://h:port/v1", "v1"])
def test_what_is_no_address_is_said_before_anything_runs(url):
    with pytest.raises(RecipeError) as e:
        OpenAI("m", base_url=url)
    assert str(e.value) == f"m: base_url is no address (got '{url}'); write it as http://localhost:8000/v1"


def test_a_password_in_the_address_is_refused_and_not_said():
    with pytest.raises(RecipeError) as e:
        OpenAI("m", base_url="http://me:hunter2@h/v1")
    assert str(e.value) == "m: base_url holds a name or a password; give a key by api_key_env instead"


def test_a_server_that_is_not_there_is_one_line(serve):
    server = serve(lambda body, n: FINE)
    server.stop()
    line, got = fails(server, *prompts(100))
    assert line == f"{server.url}: cannot be reached (Connection refused); start the server, or mend base_url"
    assert got == []


def test_a_name_that_nobody_knows_is_one_line(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StageError, match=r"^http://no-such-host.invalid/v1: cannot be reached \(.+\); start the serv"):
        list(OpenAI("m", base_url="http://no-such-host.invalid/v1").generate(prompts(1)))


def test_a_page_that_is_no_server_of_models_is_one_line(serve):
    server = serve(lambda body, n: (200, "<html>Welcome</html>", {"Content-Type": "text/html"}))
    line, _ = fails(server)
    assert line == (
        f"{server.url}: does not answer as chat completions do (status 200: no JSON but text/html (Welcome)); "
        "check base_url"
    )


def test_no_credit_ends_the_stage_after_what_is_in_flight(serve):
    """The 402 is out before the slow answer, which was paid for."""
    slow = threading.Event()

    def answer(body, n):
        prompt = body["messages"][0]["content"]
        if prompt == "1":
            slow.wait(10)
        if prompt == "2":
            threading.Timer(0.2, slow.set).start()
            return 402, {"error": {"message": "Insufficient Balance"}}
        return FINE

    server = serve(answer)
    backend, got = OpenAI("m", base_url=server.url, concurrency=2), []
    with pytest.raises(StageError) as e:
        for position, completion in backend.generate(prompts(100)):
            got.append((position, completion.error))
    assert str(e.value) == (
        f"{server.url}: there is no credit left (status 402: Insufficient Balance); pay in, and run again to go on"
    )
    assert got == [(0, None), (1, None)]
    assert len(server.bodies) == 3


def test_a_wait_beyond_the_deadline_is_not_waited_for(serve):
    server = serve(lambda body, n: (429, {"error": {"message": "daily limit"}}, {"Retry-After": "86400"}))
    line, _ = fails(server)
    assert line == (
        f"{server.url}: the server asks to come back in 86,400 s, more than deadline=3600 (status 429: daily limit); "
        "run again then, or raise deadline"
    )


def test_a_server_that_dies_in_the_middle_costs_twenty_rows_and_no_more(serve):
    server = serve(lambda body, n: FINE if len(server.bodies) <= 30 else (500, {"error": {"message": "dead"}}))
    line, got = fails(server, *prompts(500))
    assert line == (
        f"{server.url}: 20 requests in a row failed alike (status 500: dead); mend that, and run again to go on"
    )
    assert [completion.error for _, completion in got] == [None] * 30 + ["status 500: dead (2 tries)"] * 20


def test_what_ended_the_stream_is_said_even_where_a_request_was_just_being_drawn(serve):
    answered = threading.Event()

    def answer(body, n):
        if body["messages"][0]["content"] == "0":
            return FINE
        answered.wait(20)
        return 401, {"error": {"message": "expired"}}

    def drawn():
        yield from (*prompts(2), None)
        (loop,) = (thread for thread in threading.enumerate() if thread.name == "openai")
        answered.set()
        loop.join(20)
        yield Request(prompt="2")

    server, got = serve(answer), []
    with pytest.raises(StageError, match="the key in OPENAI_API_KEY was refused"):
        got.extend(OpenAI("m", base_url=server.url).generate(drawn()))
    assert len(server.bodies) == 2


def test_what_is_being_paid_for_is_kept_when_twenty_others_failed_alike(serve, monkeypatch):
    ended, end = threading.Event(), wire.Wire._end

    def told(self, error, *, at_once):
        end(self, error, at_once=at_once)
        ended.set()

    def answer(body, n):
        prompt = body["messages"][0]["content"]
        if prompt == "1":
            ended.wait(20)
        return FINE if prompt in ("0", "1") else (400, {"error": {"message": "not like that"}})

    monkeypatch.setattr(wire.Wire, "_end", told)
    line, got = fails(serve(answer), *prompts(60), concurrency=2)
    assert line.endswith(
        ": 20 requests in a row failed alike (status 400: not like that); mend that, and run again to go on"
    )
    assert [at for at, completion in got if completion.error is None] == [0, 1]


def test_prompts_that_are_too_long_do_not_end_a_stage_that_works(serve):
    long = {"error": {"message": "maximum context length is 9 tokens"}}
    server = serve(lambda body, n: FINE if body["messages"][0]["content"] == "0" else (400, long))
    got = ask(server, *prompts(60), concurrency=1)
    assert [c.error is None for c in got] == [True] + [False] * 59
    assert "20 requests in a row failed alike" in fails(serve(lambda body, n: (400, long)), *prompts(60))[0]


# -- the recipe's side ------------------------------------------------------------------------------------------------


def test_without_key_and_server_the_variable_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(RecipeError, match="OPENAI_API_KEY is not set"):
        OpenAI("m")
    OpenAI("m", base_url="http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"extra_body": {"n": 4}}, "m: extra_body.n cannot be sent (got 4); set samples"),
        ({"extra_body": {"stream": True}}, "m: extra_body.stream cannot be sent (got True); leave it out"),
        ({"concurrency": 0}, "m: concurrency must be more than 0 (got 0)"),
        ({"requests_per_minute": -1}, "m: requests_per_minute must be more than 0 (got -1)"),
    ],
)
def test_options_that_cannot_be_are_said_before_anything_runs(options, said):
    with pytest.raises(RecipeError) as e:
        OpenAI("m", base_url="http://h/v1", **options)
    assert str(e.value) == said


def test_a_key_with_a_line_break_at_its_end_is_taken_and_one_in_it_is_refused(serve, monkeypatch):
    server = serve(lambda body, n: FINE)
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    ask(server, Request(prompt="a"))
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(RecipeError) as e:
        OpenAI("m")
    assert str(e.value) == "m: environment variable OPENAI_API_KEY holds no key (line breaks, or no ASCII)"


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(serve, monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    proxy, server = serve(lambda body, n: (200, reply({"content": "by proxy"}))), serve(lambda body, n: FINE)
    monkeypatch.setenv("http_proxy", proxy.root.removeprefix("http://"))
    (near,) = ask(server, Request(prompt="a"))
    far = dict(OpenAI("m", base_url="http://far.invalid/v1").generate(prompts(1)))
    assert (near.content, far[0].content) == ("4", "by proxy")
    assert proxy.paths == ["http://far.invalid/v1/chat/completions"]


def test_a_server_that_ignores_max_tokens_is_noted(serve):
    server = serve(lambda body, n: FINE)
    backend = OpenAI("m", base_url=server.url)
    list(backend.generate([Request(prompt=str(i), sampling=Sampling(max_tokens=6 + i)) for i in range(3)]))
    assert backend.notes == {"completions with more tokens than max_tokens: the server seems to ignore it": 1}


@pytest.mark.parametrize(("temperature", "alike", "noted"), [(0.7, True, 5), (0.0, True, 0), (0.7, False, 0)])
def test_samples_that_are_all_the_same_are_noted(serve, temperature, alike, noted):
    def answer(body, n):
        return 200, reply({"content": f"{body['messages'][0]['content']} and so on " * 9 + ("" if alike else str(n))})

    backend = OpenAI("m", base_url=serve(answer).url)
    sampling = Sampling(temperature=temperature)
    list(backend.generate([Request(prompt=str(i % 5), seed=i, sampling=sampling) for i in range(15)]))
    line = "prompts whose samples are all the same, though not greedy: the server seems to ignore the seed"
    assert backend.notes == ({line: noted} if noted else {})


# -- the stream -------------------------------------------------------------------------------------------------------


def test_requests_run_at_once_and_come_as_they_finish(serve):
    both = threading.Barrier(2, timeout=10)
    slow = threading.Event()

    def answer(body, n):
        both.wait()
        if body["messages"][-1]["content"] == "slow":
            slow.wait(10)
        return FINE

    backend = OpenAI("m", base_url=serve(answer).url, concurrency=2)
    stream = backend.generate([Request(prompt="slow"), Request(prompt="fast")])
    assert next(stream)[0] == 1
    slow.set()
    assert next(stream)[0] == 0


def test_requests_are_drawn_in_the_thread_that_consumes_and_only_while_there_is_room(serve):
    threads, drawn, given = set(), 0, 0

    def requests():
        nonlocal drawn
        for request in prompts(200):
            threads.add(threading.get_ident())
            drawn += 1
            assert drawn - given <= 8 + 8 // 4
            yield request

    backend = OpenAI("m", base_url=serve(lambda body, n: FINE).url, concurrency=8)
    for _ in backend.generate(requests()):
        given += 1
    assert (drawn, given, threads) == (200, 200, {threading.get_ident()})


def test_none_says_that_a_completion_must_come_first(serve):
    """Three samples of a problem, each decided on after the one before."""

    class Deciding:
        def __init__(self):
            self.open, self.left = False, 3

        def __iter__(self):
            return self

        def __next__(self):
            if self.open:
                return None
            if not self.left:
                raise StopIteration
            self.open, self.left = True, self.left - 1
            return Request(prompt="a", sample=2 - self.left)

    requests, got = Deciding(), []
    for position, completion in OpenAI("m", base_url=serve(lambda body, n: FINE).url).generate(requests):
        got.append((position, completion.content))
        requests.open = False
    assert got == [(0, "4"), (1, "4"), (2, "4")]


def test_a_stream_that_stops_giving_ends_with_what_was_drawn(serve):
    stopped = False

    def requests():
        for request in prompts(1000):
            if stopped:
                return
            yield request

    server = serve(lambda body, n: FINE)
    got = []
    for position, _ in OpenAI("m", base_url=server.url, concurrency=8).generate(requests()):
        got.append(position)
        stopped = len(got) >= 50
    assert 50 <= len(got) <= 60
    assert sorted(got) == list(range(len(got)))


def test_no_requests_are_no_completions(serve):
    assert list(OpenAI("m", base_url=serve(lambda body, n: FINE).url).generate([])) == []


def test_closing_the_stream_abandons_everything_at_once_and_leaves_nothing_behind(serve):
    done = threading.Event()
    entered = threading.Semaphore(0)

    def answer(body, n):
        if body["messages"][0]["content"] != "0":
            entered.release()
            done.wait(20)
        return FINE

    server = serve(answer)

    def client_threads():
        return [t for t in threading.enumerate() if t.name == "openai"]

    for _ in range(3):
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        stream = OpenAI("m", base_url=server.url, concurrency=8).generate(prompts(200))
        next(stream)
        assert all(entered.acquire(timeout=10) for _ in range(8))
        start = time.monotonic()
        stream.close()
        assert time.monotonic() - start < 2
        assert client_threads() == []
        # The server's own ends of the eight connections are in this process too, and stay until it looks at them.
        assert before == 0 or len(os.listdir("/proc/self/fd")) - before <= 8
    done.set()
    assert len(server.bodies) < 200


def test_an_error_of_the_one_who_gives_requests_is_raised_and_leaves_nothing_behind(serve):
    def requests():
        yield Request(prompt="a")
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        list(OpenAI("m", base_url=serve(lambda body, n: FINE).url).generate(requests()))
    assert [t for t in threading.enumerate() if t.name == "openai"] == []


def test_an_error_of_our_own_on_the_other_thread_is_raised_here(serve, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("ours")

    server = serve(lambda body, n: FINE)
    for place, name in ((wire.Pace, "quiet"), (wire.Pace, "done"), (wire.Chat, "body"), (wire.Chat, "read")):
        with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError, match="ours"):
            patched.setattr(place, name, broken)
            list(OpenAI("m", base_url=server.url).generate(prompts(3)))


def test_every_request_of_a_bad_day_is_answered_once(serve):
    """One in five of everything that a server can do wrong, 400 requests, 3 tries more."""
    faults = [(500, {}), (503, {}), (0, ""), (200, "what"), (429, {}, {"Retry-After-Ms": "5"}), (200, {"choices": []})]

    def answer(body, n):
        number = int(body["messages"][0]["content"])
        return faults[number % len(faults)] if (number * 7 + n * 3) % 5 == 0 else FINE

    got = list(OpenAI("m", base_url=serve(answer).url, max_retries=3).generate(prompts(400)))
    assert sorted(position for position, _ in got) == list(range(400))
    assert [c.error for _, c in got] == [None] * 400


# -- secrets ----------------------------------------------------------------------------------------------------------

TINY = """
name: secret
problems:
  train: {{source: "lab:signs", split: train, limit: 3}}
  eval: {{signs: {{source: "lab:signs", split: eval, limit: 2}}}}
teachers:
  good: {{backend: openai, model: m, base_url: "{good}"}}
  bad: {{backend: openai, model: m, base_url: "{bad}", max_retries: 0}}
  refused: {{backend: openai, model: m, base_url: "{refused}"}}
verify: {{verifier: signs}}
students: {{s: {{model: "lab:s"}}}}
arms: {{good: {{good: 1}}, bad: {{bad: 1}}, refused: {{refused: 1}}}}
contrasts: {{gap: [good, bad]}}
"""


def test_the_key_is_nowhere_in_the_run_folder_and_nowhere_on_the_screen(serve, tmp_path):
    quoting = {"error": {"message": f"you sent {KEY}"}}
    servers = {
        "good": serve(lambda body, n: (200, reply({"content": "4"}))),
        "bad": serve(lambda body, n: (500, quoting)),
        "refused": serve(lambda body, n: (401, quoting)),
    }
    (tmp_path / "tiny.yaml").write_text(TINY.format(**{name: s.url for name, s in servers.items()}))
    words = ["generate", "tiny.yaml", "--out", "run", "--workers", "1"]
    ran = subprocess.run(
        [sys.executable, "-m", "mixdistill", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert all(s.headers[0]["authorization"] == f"Bearer {KEY}" for s in servers.values())
    assert "the key in OPENAI_API_KEY was refused (status 401: you sent ***)" in ran.stderr
    assert "status 500: you sent ***" in ran.stderr
    assert KEY not in ran.stdout + ran.stderr
    files = [p for p in (tmp_path / "run").rglob("*") if p.is_file()]
    assert any(b"you sent ***" in p.read_bytes() for p in files)
    assert not any(KEY.encode() in p.read_bytes() for p in files)


# -- answers that are begun -------------------------------------------------------------------------------------------

BEGUN = Request(prompt="2 + 2?", prefix="<think>\n2 and 2", prefix_ids=[5, 6])


def test_a_server_that_continues_is_sent_the_beginning_as_its_own_turn_and_its_reply_stands_as_it_is(serve):
    server = serve(lambda body, n: (200, reply({"content": " make 4\n</think>\n\n4 "})))
    (completion,) = ask(server, BEGUN, continue_final_message=True)
    assert server.bodies[0] == {
        "model": "m",
        "messages": [
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": "<think>\n2 and 2"},
        ],
        "add_generation_prompt": False,
        "continue_final_message": True,
        "seed": 0,
    }
    assert (completion.reasoning, completion.content) == ("", " make 4\n</think>\n\n4 ")


def test_what_a_server_took_for_reasoning_is_no_less_of_a_continuation(serve):
    server = serve(lambda body, n: (200, reply({"content": " 4", "reasoning": "x", "reasoning_content": "x"})))
    assert ask(server, BEGUN, continue_final_message=True)[0].content == "x 4"


def test_a_server_that_is_not_known_to_continue_is_not_asked_to(serve):
    server = serve(lambda body, n: FINE)
    assert fails(server, BEGUN) == (
        "m: an answer that was begun cannot be continued there; set continue_final_message: true where the server is "
        "vLLM or SGLang",
        [],
    )
    assert server.bodies == []


def test_where_its_tokens_are_known_a_beginning_is_a_text_completion_of_token_ids(serve):
    server = serve(lambda body, n: (200, {"choices": [{"text": " 4", "finish_reason": "stop", "token_ids": [9]}]}))
    backend = OpenAI("m", base_url=server.url, chat_template_kwargs={"enable_thinking": True})
    backend.render_with(lambda request: [1, 2, *request.prefix_ids])
    ((_, completion),) = backend.generate([BEGUN])
    assert (server.paths, server.bodies) == (["/v1/completions"], [{"model": "m", "prompt": [1, 2, 5, 6], "seed": 0}])
    assert (completion.content, completion.token_ids, completion.finish_reason) == (" 4", [9], "stop")


def test_a_text_is_no_answer_to_a_chat(serve):
    line, _ = fails(serve(lambda body, n: (200, {"choices": [{"text": " 4"}]})), max_retries=0)
    assert "does not answer as chat completions do" in line
