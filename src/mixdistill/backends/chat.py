"""What is sent to a server that speaks OpenAI's chat completions, and what its replies mean. Nothing here sends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from mixdistill.backends.limits import retry_after
from mixdistill.backends.reasoning import split
from mixdistill.errors import StageError, one_line
from mixdistill.types import Completion, FinishReason, Request, Sampling, Usage

Kind = Literal[
    "busy", "late", "lost", "unreachable", "server", "senseless", "key", "credit", "missing", "model", "field", "long",
    "request",
]  # fmt: skip


class Fault(NamedTuple):
    """Why there is no completion."""

    kind: Kind
    """`busy` and `late`: too much for the server; `lost`, `unreachable`, `server`, `senseless`: another try may help;
    `key`, `credit`, `missing`, `model`: every request will meet it; `field`: it wants max_completion_tokens;
    `long` and `request`: of this request alone."""
    text: str
    """One line for people, without secrets."""
    wait: float | None = None
    """Seconds the server asks to wait."""


RETRIED = frozenset({"busy", "late", "lost", "unreachable", "server", "senseless"})
TOO_MUCH = frozenset({"busy", "late"})
LONGEST = 300
"""Characters of a fault's text."""

_FINISH: dict[str, FinishReason] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length", "content_filter": "content_filter",
}  # fmt: skip
_REASONING_FIELDS = ("reasoning", "reasoning_content")
"""Where servers put thinking: vLLM and OpenRouter use the first; DeepSeek, SGLang and older vLLM the second."""
_SHAPES = ("<think>", "<|im_start|>think", "<|begin_of_thought|>")

_FIELD = re.compile(r"(?i)parameter\W+max_tokens|max_tokens\W+is not supported|use\W+max_completion_tokens")
_LONG = re.compile(r"(?i)context.?(length|window|size)|(prompt|input)\b.{0,60}too long|max_model_len|too many tokens")
_TEMPLATE = re.compile(r"(?i)jinja|template|roles must alternate|UndefinedError")
_NO_MODEL = re.compile(r"(?is)model_not_found|model.{0,120}not (exist|found)|not a valid model|no endpoints found")
_FLAGGED = re.compile(r"(?i)moderation|flagged")
_NO_CREDIT = re.compile(r"(?i)insufficient_quota|insufficient.{0,20}(balance|credit|fund)")


class Chat:
    """Bodies for one model, and replies read for it."""

    def __init__(
        self, model: str, *, key: str, extra: dict[str, Any], tags: tuple[str, str] | None, continues: bool = False
    ) -> None:
        self.model, self.extra, self.tags, self.continues = model, extra, tags, continues
        self.tokens: Callable[[Request], list[int]] | None = None
        """Token ids of a request that begins the assistant's turn, where its tokenizer is on this machine."""
        self.limit_field = "max_tokens"
        """What the server calls the limit; newer models of OpenAI's want `max_completion_tokens`."""
        self._key = key
        self._shapes = (*tags[:1], *_SHAPES) if tags else _SHAPES
        self._sampling: tuple[Sampling | None, dict[str, Any]] = None, {}

    def body(self, request: Request) -> bytes:
        """JSON of one call; sampling settings that are None are left to the server."""
        if self._sampling[0] is not request.sampling:
            self._sampling = request.sampling, request.sampling.model_dump(exclude_none=True)
        sampling = self._sampling[1]
        if self.limit_field != "max_tokens" and "max_tokens" in sampling:
            sampling = {self.limit_field if k == "max_tokens" else k: v for k, v in sampling.items()}
        # How long an answer that was asked for may be is the request's own to say.
        extra = {k: v for k, v in self.extra.items() if not (request.begun and k in sampling)}
        body = {"model": self.model, **self._asked(request), "seed": request.seed, **sampling, **extra}
        if "prompt" in body:  # it is rendered already
            body.pop("chat_template_kwargs", None)
        return json.dumps(body, separators=(",", ":")).encode()

    def by_tokens(self, request: Request) -> bool:
        """Whether a request is one for text completions, of token ids."""
        return self.tokens is not None and request.begun

    def _asked(self, request: Request) -> dict[str, Any]:
        if self.tokens is not None and request.begun:
            return {"prompt": self.tokens(request)}
        prompt = request.prompt
        turns = (
            [{"role": "user", "content": prompt}]
            if isinstance(prompt, str)
            else [{"role": m.role, "content": m.content} for m in prompt]
        )
        if not request.begun:
            return {"messages": turns}
        if not self.continues:
            raise StageError(
                f"{self.model}: an answer that was begun cannot be continued there; set continue_final_message: true "
                "where the server is vLLM or SGLang"
            )
        begun = {"role": "assistant", "content": request.prefix}
        return {"messages": [*turns, begun], "add_generation_prompt": False, "continue_final_message": True}

    def read(
        self, status: int, headers: Mapping[str, str], raw: bytes, seconds: float, *, begun: bool = False
    ) -> Completion | Fault:
        """A reply: its completion, or why it has none. `begun`: to a request that began the assistant's turn."""
        try:
            data = json.loads(raw)
        except ValueError:
            data = None
        if status == 200 and isinstance(data, dict) and (choice := _choice(data, begun)) is not None:
            return self._completion(choice, data, seconds, begun)
        error = _error(data)
        if status == 200 and error is None:
            what = "no choices" if isinstance(data, dict) else f"no JSON but {headers.get('content-type', 'nothing')}"
            return Fault("senseless", self.say(f"status 200: {what} ({_text(raw)})"))
        if status == 200:  # OpenRouter says so when the model's own provider failed
            code = error.get("code") if isinstance(error, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 502
        whole = json.dumps(error) if error is not None else _text(raw)
        if status in (400, 403) and (_code(error) == "content_filter" or (status == 403 and _FLAGGED.search(whole))):
            return Completion(finish_reason="content_filter", seconds=seconds)
        elsewhere = f"elsewhere, at {headers['location']}" if status < 400 and "location" in headers else ""
        said = self.say(f"status {status}: {elsewhere or _message(error) or _text(raw) or 'nothing more'}")
        return Fault(_kind(status, whole), said, retry_after(headers))

    def say(self, text: str) -> str:
        """One short line. Servers like to quote the key they refuse."""
        text = text.replace(self._key, "***") if self._key else text
        return one_line(" ".join(text.split()))[:LONGEST]

    def _completion(self, choice: dict[str, Any], data: dict[str, Any], seconds: float, begun: bool) -> Completion:
        usage = data.get("usage")
        reasoning, content = ("", _continued(choice)) if begun else self._said(choice["message"])
        ids = choice.get("token_ids")
        return Completion(
            reasoning=reasoning,
            content=content,
            finish_reason=_FINISH.get(_string(choice.get("finish_reason")), "unknown"),
            usage=_usage(usage if isinstance(usage, dict) else {}),
            token_ids=ids if isinstance(ids, list) and all(type(i) is int for i in ids) else None,
            cost=_number(usage.get("cost")) if isinstance(usage, dict) else None,
            seconds=seconds,
        )

    def _said(self, message: dict[str, Any]) -> tuple[str, str]:
        """(reasoning, content) of a message."""
        thought, content = _parts(message.get("content"))
        pieces = [*(message[f] for f in _REASONING_FIELDS if isinstance(message.get(f), str)), _details(message)]
        thought = [*pieces, *thought]
        if not any(thought) or content.lstrip().startswith(self._shapes):
            inside, content, *_ = split(content, self.tags)
            thought.append(inside)
        return _joined(thought), content.strip() or _string(message.get("refusal"))


def names(raw: bytes) -> list[str]:
    """Names of the models in a reply to GET /models; empty where it is none."""
    try:
        rows = json.loads(raw)["data"]
        return [str(row["id"]) for row in rows]
    except (ValueError, TypeError, KeyError):
        return []


# -- what a server said -----------------------------------------------------------------------------------------------


def _choice(data: dict[str, Any], begun: bool) -> dict[str, Any] | None:
    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict) or first.get("error"):
        return None
    said = isinstance(first.get("message"), dict) or (begun and isinstance(first.get("text"), str))
    return first if said else None


def _error(data: Any) -> Any:
    """The error of a reply, wherever it stands; None where there is none."""
    if not isinstance(data, dict):
        return None
    choices = data.get("choices")
    inner = choices[0].get("error") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    return data.get("error") or inner or data.get("message") or data.get("detail")


def _code(error: Any) -> Any:
    return error.get("code") if isinstance(error, dict) else None


def _message(error: Any) -> str:
    """In the words of the server, those of the model's provider behind it last."""
    if not isinstance(error, dict):
        return "" if error is None else error if isinstance(error, str) else json.dumps(error)
    behind = error.get("metadata")
    raw = behind.get("raw") if isinstance(behind, dict) else None
    return " ".join(part for part in (error.get("message"), raw) if isinstance(part, str)) or json.dumps(error)


def _text(raw: bytes) -> str:
    """The beginning of a reply that is no JSON, tags of a web page left out."""
    return " ".join(re.sub(r"<[^>]*>", " ", raw[:4000].decode(errors="replace")).split())[:120]


def _kind(status: int, said: str) -> Kind:
    if status in (401, 403):
        return "key"
    if status == 402 or (status == 429 and _NO_CREDIT.search(said)):
        return "credit"
    if status in (404, 405) or 300 <= status < 400:
        return "model" if _NO_MODEL.search(said) else "missing"
    if status in (429, 503, 529):
        return "busy"
    if status in (408, 409, 425):
        return "server"
    if _FIELD.search(said) and status < 500:
        return "field"
    if _LONG.search(said):
        return "long"
    if status >= 500:
        return "request" if _TEMPLATE.search(said) else "server"
    return "model" if _NO_MODEL.search(said) else "request"


# -- what a model said ------------------------------------------------------------------------------------------------


def _continued(choice: dict[str, Any]) -> str:
    """What goes on from a beginning, as it stands. A server that looks for reasoning may have put it there."""
    if isinstance(choice.get("text"), str):
        return choice["text"]
    message = choice["message"]
    thought, content = _parts(message.get("content"))
    thoughts = [*(message[f] for f in _REASONING_FIELDS if isinstance(message.get(f), str)), *thought]
    return "".join([*dict.fromkeys(thoughts), content])


def _parts(content: Any) -> tuple[list[str], str]:
    """(thoughts, text) of a content that is text or a list of parts."""
    if not isinstance(content, list):
        return [], _string(content)
    thoughts, texts = [], []
    for part in content:
        if isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):  # Mistral
            inner = part.get("thinking") or part.get("text")
            thoughts.append("".join(_parts(inner)[1]))
        elif isinstance(part, dict):
            texts.append(_string(part.get("text")))
        else:
            texts.append(_string(part))
    return thoughts, "".join(texts)


def _details(message: dict[str, Any]) -> str:
    """OpenRouter's `reasoning_details`: texts and summaries; what is encrypted is nobody's to read."""
    details = message.get("reasoning_details")
    if not isinstance(details, list):
        return ""
    return "".join(_string(d.get("text")) or _string(d.get("summary")) for d in details if isinstance(d, dict))


def _joined(thoughts: Iterable[str]) -> str:
    """All thoughts, each once: servers give the same text in several fields."""
    kept: list[str] = []
    for thought in (t.strip() for t in thoughts):
        if not thought or any(thought in other for other in kept):
            continue
        kept = [other for other in kept if other not in thought]
        kept.append(thought)
    return "\n\n".join(kept)


def _usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("completion_tokens_details")
    inside = details.get("reasoning_tokens") if isinstance(details, dict) else None
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        reasoning_tokens=_count(usage.get("reasoning_tokens") if inside is None else inside),
    )


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _number(value: Any) -> float | None:
    """A number that can be one; JSON in Python also knows NaN and Infinity."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
    return float(value) if usable else None
