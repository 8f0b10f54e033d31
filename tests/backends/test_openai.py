import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mixdistill.backends.openai import OpenAI
from mixdistill.errors import RecipeError
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
    """A loopback server; `answer(body, number of this prompt's try)` gives (status, body)."""

    def __init__(self, answer):
        self.bodies, self.headers, self.tries = [], [], {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"]
                outer.bodies.append(body)
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                outer.tries[prompt] = outer.tries.get(prompt, 0) + 1
                status, data = answer(body, outer.tries[prompt])
                raw = data.encode() if isinstance(data, str) else json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                if status == 429:
                    self.send_header("Retry-After-Ms", "10")
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(answer):
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def ask(server, *requests, **options):
    options = {"max_retries": 1, **options}
    got = dict(OpenAI("m", base_url=server.url, **options).generate(list(requests)))
    return [got[i] for i in range(len(requests))]


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


def test_a_busy_server_is_asked_again(serve):
    server = serve(lambda body, n: (429, {"error": {"message": "busy"}}) if n == 1 else (200, reply({"content": "4"})))
    (completion,) = ask(server, Request(prompt="a"))
    assert (completion.content, completion.error, server.tries["a"]) == ("4", None, 2)


def test_one_hard_failure_is_an_error_of_its_own_request(serve):
    def answer(body, n):
        bad = body["messages"][-1]["content"] == "bad"
        return (400, {"error": {"message": "context too long"}}) if bad else (200, reply({"content": "4"}))

    good, bad = ask(serve(answer), Request(prompt="good"), Request(prompt="bad"))
    assert good.error is None
    assert "BadRequestError 400" in bad.error
    assert "context too long" in bad.error
    assert (bad.reasoning, bad.content) == ("", "")


@pytest.mark.parametrize("body", ["not json", "{}", '{"choices": []}', '{"choices": [{"message": null}]}'])
def test_a_senseless_reply_is_an_error(serve, body):
    (completion,) = ask(serve(lambda b, n: (200, body)), Request(prompt="a"), max_retries=0)
    assert completion.error


def test_a_server_that_is_not_there_is_an_error(serve):
    server = serve(lambda body, n: (200, {}))
    server.http.shutdown()
    server.http.server_close()
    (completion,) = ask(server, Request(prompt="a"), max_retries=0)
    assert "APIConnectionError" in completion.error


def test_the_key_is_sent_and_never_appears_in_an_error(serve):
    server = serve(lambda body, n: (401, {"error": {"message": f"wrong key {KEY}"}}))
    (completion,) = ask(server, Request(prompt="a"))
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in completion.model_dump_json()
    assert "***" in completion.error


def test_without_key_and_server_the_variable_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(RecipeError, match="OPENAI_API_KEY is not set"):
        OpenAI("m")
    OpenAI("m", base_url="http://127.0.0.1:1/v1")


def test_requests_run_at_once_and_come_as_they_finish(serve):
    both = threading.Barrier(2, timeout=10)
    slow = threading.Event()

    def answer(body, n):
        both.wait()
        if body["messages"][-1]["content"] == "slow":
            slow.wait(10)
        return 200, reply({"content": "4"})

    backend = OpenAI("m", base_url=serve(answer).url, concurrency=2)
    stream = backend.generate([Request(prompt="slow"), Request(prompt="fast")])
    assert next(stream)[0] == 1
    slow.set()
    assert next(stream)[0] == 0


def test_closing_the_stream_drops_what_was_not_begun(serve):
    server = serve(lambda body, n: (200, reply({"content": "4"})))
    stream = OpenAI("m", base_url=server.url, concurrency=1).generate([Request(prompt=str(i)) for i in range(200)])
    next(stream)
    stream.close()
    assert len(server.bodies) < 200
