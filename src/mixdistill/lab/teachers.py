"""Scripted teachers: a backend that writes traces of the domain "signs" by rule, always right.

`long` searches blindly: it starts at a random sign row, writes the whole attempt, compares it with the target,
rejects it, takes the next row in binary order, until one fits. `short` writes that last attempt alone. For the same
request both draw the same start, so they reach the same answer by the same final path and only the search differs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from mixdistill.errors import DataError, did_you_mean
from mixdistill.lab import domain
from mixdistill.types import Completion, Request, Usage, prompt_text

VERSION = "1"
"""Rises when the same request would give another trace."""

_TRACES = {"long": domain.long_trace, "short": domain.short_trace}


class Scripted:
    """Backend `scripted`: the model is `long` or `short`. All depends on the request's prompt, seed and sample alone.

    `usage.completion_tokens` counts what a lab student would have to write: the words of both parts, `<think>` and
    `</think>`, and the stop token. Of the sampling settings only `max_tokens` has an effect: the trace is cut there.
    """

    def __init__(self, model: str):
        if model not in _TRACES:
            raise DataError(f"lab: no scripted teacher of that name (got {model!r}){did_you_mean(model, _TRACES)}")
        self.model = model

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """One completion per request, in order; a prompt that is no signs problem gives one with `error`."""
        for position, request in enumerate(requests):
            yield position, self._complete(request)

    def _complete(self, request: Request) -> Completion:
        chain = domain.parse(request.prompt)
        if chain is None:
            return Completion(error="the prompt is not a solvable signs problem such as 'Q 8 4 7 9 T 10 :'")
        rng = random.Random(f"{prompt_text(request.prompt)}|{request.seed}|{request.sample}")
        start = rng.randrange(len(domain.sign_rows(len(chain.numbers))))
        reasoning, content = _TRACES[self.model](chain, start)
        limit = request.sampling.max_tokens
        return _cut(reasoning.split(), content.split(), limit, prompt_tokens=len(chain.prompt.split()))


def _cut(reasoning: list[str], content: list[str], limit: int | None, *, prompt_tokens: int) -> Completion:
    """The completion as far as it goes within `limit` tokens: <think>, reasoning, </think>, content, stop token."""
    whole = len(reasoning) + len(content) + 3
    kept = whole if limit is None else min(limit, whole)
    return Completion(
        reasoning=" ".join(reasoning[: max(kept - 1, 0)]),
        content=" ".join(content[: max(kept - len(reasoning) - 2, 0)]),
        finish_reason="stop" if kept == whole else "length",
        usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=kept),
    )
