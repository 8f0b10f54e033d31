"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, OpenRouter, OpenAI itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from mixdistill.backends.reasoning import split
from mixdistill.errors import RecipeError
from mixdistill.types import Completion, FinishReason, Request, Usage

VERSION = "1"
"""Rises when the same request would give another completion."""

_KNOWN: tuple[FinishReason, ...] = ("stop", "length", "content_filter")
_REASONING_FIELDS = ("reasoning", "reasoning_content")
"""Where servers put thinking: vLLM and OpenRouter use the first; DeepSeek, SGLang and older vLLM the second."""


class OpenAI:
    """Chat completions over HTTP, many at a time. A request that fails for good is a completion with an error."""

    NOT_IDENTITY: frozenset[str] = frozenset({"base_url", "api_key_env", "concurrency", "timeout", "max_retries"})
    """Options that change how completions are fetched and not what they are: changing them keeps the paid traces."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 16,
        timeout: float = 600.0,
        max_retries: int = 4,
        extra_body: dict[str, Any] | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """`api_key_env` names the environment variable that holds the key; it is sent to whatever `base_url` says.

        `concurrency` is requests in flight, `timeout` seconds per try. 429, 408, 409, 5xx and lost connections are
        tried `max_retries` times more, waiting as long as the server asks. `extra_body` goes into every request as it
        is. Raises RecipeError when there is neither a key nor a server of one's own.
        """
        self.model, self.concurrency, self.timeout, self.max_retries = model, concurrency, timeout, max_retries
        self.base_url = base_url
        self.extra_body = dict(extra_body or {})
        if chat_template_kwargs:
            self.extra_body["chat_template_kwargs"] = chat_template_kwargs
        self._key = os.environ.get(api_key_env, "")
        if not self._key and not (base_url or os.environ.get("OPENAI_BASE_URL")):
            raise RecipeError(f"{model}: environment variable {api_key_env} is not set; export it, or give base_url")

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Completions as they arrive. Closing the iterator drops what was not begun."""
        import openai

        # Servers of one's own take any key; the client insists on one.
        client = openai.OpenAI(
            api_key=self._key or "none", base_url=self.base_url, timeout=self.timeout, max_retries=self.max_retries
        )
        threads = ThreadPoolExecutor(self.concurrency, thread_name_prefix="openai")
        try:
            futures = {threads.submit(self._ask, client, request): i for i, request in enumerate(requests)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
            client.close()

    def _ask(self, client: Any, request: Request) -> Completion:
        start = time.monotonic()
        try:
            response = client.chat.completions.create(**self._body(request))
        except Exception as e:
            return Completion(error=self._explain(e), seconds=time.monotonic() - start)
        choices = getattr(response, "choices", None)
        if not choices or choices[0].message is None:
            return Completion(error="the server sent no choices", seconds=time.monotonic() - start)
        return _completion(choices[0], response.usage, time.monotonic() - start)

    def _body(self, request: Request) -> dict[str, Any]:
        """Keyword arguments of one call; sampling settings that are None are left to the server."""
        prompt = request.prompt
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [m.model_dump() for m in prompt]
        sampling = {k: v for k, v in request.sampling.model_dump().items() if v is not None}
        extra = dict(self.extra_body)
        if "top_k" in sampling:  # not OpenAI's own, but every open server takes it
            extra["top_k"] = sampling.pop("top_k")
        return {"model": self.model, "messages": turns, "seed": request.seed, **sampling, "extra_body": extra or None}

    def _explain(self, e: Exception) -> str:
        """One line about a failure. Servers like to quote the key they refuse."""
        status = getattr(e, "status_code", None)
        text = f"{type(e).__name__}{f' {status}' if status else ''}: {' '.join(str(e).split())}"
        return (text.replace(self._key, "***") if self._key else text)[:300]


def _completion(choice: Any, usage: Any, seconds: float) -> Completion:
    message, extra = choice.message, choice.message.model_extra or {}
    content = message.content or ""
    reasoning = next((extra[f] for f in _REASONING_FIELDS if isinstance(extra.get(f), str) and extra[f]), None)
    if reasoning is None:
        reasoning, content, *_ = split(content)
    return Completion(
        reasoning=reasoning.strip(),
        content=content.strip(),
        finish_reason=choice.finish_reason if choice.finish_reason in _KNOWN else "unknown",
        usage=Usage(
            prompt_tokens=getattr(usage, "prompt_tokens", None),
            completion_tokens=getattr(usage, "completion_tokens", None),
        ),
        token_ids=getattr(choice, "token_ids", None),  # vLLM says, where it is asked
        seconds=seconds,
    )
