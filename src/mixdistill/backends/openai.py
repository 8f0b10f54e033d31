"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, Ollama, llama.cpp, DeepSeek, OpenRouter, OpenAI.

chat.py says what is sent and what replies mean, limits.py how fast, and wire.py sends.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mixdistill.backends.chat import Chat
from mixdistill.backends.wire import Terms, Wire
from mixdistill.errors import RecipeError
from mixdistill.types import Completion, Request, prompt_text

VERSION = "2"
"""Rises when the same request would give another completion."""

_OPENAI = "https://api.openai.com/v1"
_NOT_OURS = {"n": "samples", "stream": "", "messages": "prompt", "seed": ""}
"""What extra_body may not set -> the teacher's key for it."""


class OpenAI:
    """Chat completions over HTTP, many at a time. A request that fails for good is a completion with an error."""

    LIVE = True
    """`generate` takes an iterator and draws a request when it can send one."""
    NOT_IDENTITY: frozenset[str] = frozenset(
        {
            "base_url", "api_key_env", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout", "deadline",
            "max_retries",
        }
    )  # fmt: skip
    """Options that change how completions are fetched and not what they are: changing them keeps the paid traces."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        timeout: float = 1200.0,
        deadline: float = 3600.0,
        max_retries: int = 6,
        extra_body: dict[str, Any] | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        reasoning_tags: list[str] | None = None,
        continue_final_message: bool = False,
    ) -> None:
        """- `base_url`: the server, as in http://localhost:8000/v1; when not given, the environment's
          `OPENAI_BASE_URL`, else OpenAI itself. The environment's proxies are used, but not for this machine itself.
        - `api_key_env` names the environment variable that holds the key; it is sent to whatever `base_url` says.
        - `concurrency`: most requests in flight. It begins with 16 and goes up as long as the server completes more a
          second, down where it is too busy.
        - `requests_per_minute`, `tokens_per_minute`: of prompts and completions together, by estimate until the server
          has counted them.
        - `timeout`: seconds for one try. `deadline`: seconds for a request with all its tries.
        - `max_retries`: further tries after 408, 409, 425, 429, 5xx, a time-out, a lost connection or a senseless
          reply, after waits that double, or as long as the server asks. Answers that are empty, cut or filtered are
          answers, and are not asked for again.
        - `extra_body` goes into every request as it is. `chat_template_kwargs`, such as `{enable_thinking: false}`,
          goes there too.
        - `reasoning_tags`: `[open, close]` around the reasoning in the text, where they are unusual ones.
        - `continue_final_message`: the server goes on with an answer that was begun, as vLLM and SGLang do when they
          are asked so. Others begin a new one, and may not say so.

        Each sample is a request of its own with a seed of its own: `n` is never sent. What meets every request (wrong
        key or URL, no such model, no credit, a dead server, 20 failures of one kind in a row) ends the stage with one
        line; what had arrived, or was being paid for, is kept.

        Raises RecipeError when an option cannot be used, and when there is neither a key nor a server of one's own.
        """
        self._key = os.environ.get(api_key_env, "").strip()
        given = base_url or os.environ.get("OPENAI_BASE_URL")
        if not self._key and not given:
            raise RecipeError(f"{model}: environment variable {api_key_env} is not set; export it, or give base_url")
        if not self._key.isascii() or not self._key.isprintable():
            raise RecipeError(f"{model}: environment variable {api_key_env} holds no key (line breaks, or no ASCII)")
        extra = dict(extra_body or {})
        for name in extra.keys() & _NOT_OURS.keys():
            what = f"; set {_NOT_OURS[name]}" if _NOT_OURS[name] else ""
            raise RecipeError(
                f"{model}: extra_body.{name} cannot be sent (got {extra[name]!r}){what or '; leave it out'}"
            )
        if chat_template_kwargs:
            extra["chat_template_kwargs"] = chat_template_kwargs
        self._chat = Chat(
            model, key=self._key, extra=extra, tags=_tags(model, reasoning_tags), continues=continue_final_message
        )
        limits = {
            "concurrency": concurrency, "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute, "timeout": timeout, "deadline": deadline,
        }  # fmt: skip
        for name, value in limits.items():
            if value is not None and not value > 0:
                raise RecipeError(f"{model}: {name} must be more than 0 (got {value!r})")
        self._terms = Terms(
            **_urls(model, given or _OPENAI),
            key_env=api_key_env,
            has_key=bool(self._key),
            headers=_headers(self._key),
            max_retries=max_retries,
            **limits,
        )
        self._noticed = _Noticed()

    def render_with(self, tokens: Callable[[Request], list[int]]) -> None:
        """Send requests that begin the assistant's turn as token ids, as `tokens` renders them, to complete as text."""
        self._chat.tokens = tokens

    def generate(self, requests: Iterable[Request | None]) -> Iterator[tuple[int, Completion]]:
        """Completions as they arrive. Closing the iterator abandons everything that is under way.

        Requests are drawn while there is room for them: what may be in flight and a few more, to follow at once. None
        says that there is nothing at the moment, and that a completion must be given first.
        """
        wire = Wire(self._terms, self._chat, self._noticed.add)
        try:
            yield from wire.answers(iter(requests))
        finally:
            wire.close()

    @property
    def notes(self) -> dict[str, int]:
        """What looks wrong about the server: a line for people -> how often."""
        return self._noticed.lines()


class _Noticed:
    """Settings that a server seems to ignore."""

    LEAST = 40
    """Characters of an answer that is not the same twice by chance."""

    def __init__(self) -> None:
        self.over = 0
        self.first: dict[int, tuple[int, int, bool]] = {}
        """Hash of a prompt -> (hash of its first sample, number of samples, all of them the same)."""

    def add(self, request: Request, completion: Completion) -> None:
        """Look at one success."""
        most, sampled = request.sampling.max_tokens, completion.usage.completion_tokens
        self.over += bool(most and sampled and sampled > most)
        text = completion.reasoning + completion.content
        if request.sampling.temperature and len(text) >= self.LEAST:
            key, said = hash(prompt_text(request.prompt) + request.prefix), hash(text)
            first, count, same = self.first.get(key, (said, 0, True))
            self.first[key] = first, count + 1, same and first == said

    def lines(self) -> dict[str, int]:
        """What there is to say."""
        repeated = [same for _, count, same in self.first.values() if count > 1]
        found = {}
        if self.over:
            found["completions with more tokens than max_tokens: the server seems to ignore it"] = self.over
        if sum(repeated) > len(repeated) / 2:
            line = "prompts whose samples are all the same, though not greedy: the server seems to ignore the seed"
            found[line] = sum(repeated)
        return found


def _tags(model: str, tags: list[str] | None) -> tuple[str, str] | None:
    if tags is None:
        return None
    if len(tags) != 2 or not all(isinstance(tag, str) and tag for tag in tags):
        raise RecipeError(f"{model}: reasoning_tags must be [open, close] (got {tags!r})")
    return tags[0], tags[1]


def _headers(key: str) -> dict[str, str]:
    # Servers of one's own take any key, but some insist on one.
    return {
        "Authorization": f"Bearer {key or 'none'}",
        "Content-Type": "application/json",
        "Accept": "application/json",
    }


def _urls(model: str, given: str) -> dict[str, Any]:
    """Where to send, where models are listed, what to call the server without secrets, and through which proxy."""
    parts = urlsplit(given.strip())
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if parts.username or parts.password:
        raise RecipeError(f"{model}: base_url holds a name or a password; give a key by api_key_env instead")
    if not usable:
        raise RecipeError(f"{model}: base_url is no address (got '{given}'); write it as http://localhost:8000/v1")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")

    def url(end: str, query: str = parts.query) -> str:
        return urlunsplit((parts.scheme, parts.netloc, path + end, query, ""))

    return {
        "url": url("/chat/completions"),
        "completions_url": url("/completions"),
        "models_url": url("/models"),
        "other_models_url": "" if path.endswith("/v1") else url("/v1/models"),
        "where": url("", query=""),
        "proxy": _proxy(parts.scheme, parts.hostname or ""),
    }


def _proxy(scheme: str, host: str) -> str | None:
    """The environment's proxy for a server that is not on this machine."""
    from urllib.request import getproxies, proxy_bypass

    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = host == "localhost" or host.endswith(".localhost")
    proxy = None if own or proxy_bypass(host) else getproxies().get(scheme)
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy
