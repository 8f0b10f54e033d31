"""What may go wrong with a request, on purpose and by rate.

    429, 429-wait       too many requests; the second says in Retry-After how long to wait
    500, 503            the server failed, the server is overloaded
    timeout             no answer, ever
    reset               the connection is reset, before the answer or in the middle of it
    malformed           half of the JSON
    no-choices          a response without any choice
    html                a page, as proxies send it, with status 200
    drip                the answer, a few bytes at a time
    twin-id             a good answer under the id of another response

A fault meets the first or second try of a request and never a later one, so that whoever tries three times gets every
answer. Which request is met depends on the request and the seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from mixdistill.errors import RecipeError, did_you_mean

KINDS = ("429", "429-wait", "500", "503", "timeout", "reset", "malformed", "no-choices", "html", "drip", "twin-id")
TRIES = 2
"""Tries of a request that a fault may meet."""


def parse(text: str) -> dict[str, float]:
    """Rates by kind from `0.05` (in all, every kind alike) or `500=0.1,reset=0.02`. Raises RecipeError."""
    if "=" not in text:
        return dict.fromkeys(KINDS, _rate(text, text) / len(KINDS))
    rates = {}
    for part in text.split(","):
        kind, _, rate = part.strip().partition("=")
        if kind not in KINDS:
            raise RecipeError(f"--faults {text}: no fault '{kind}'{did_you_mean(kind, KINDS)}")
        rates[kind] = _rate(rate, text)
    if sum(rates.values()) > 1.0:
        raise RecipeError(f"--faults {text}: the rates add up to more than 1 (got {sum(rates.values()):g}); lower them")
    return rates


def _rate(said: str, text: str) -> float:
    try:
        rate = float(said)
    except ValueError:
        rate = -1.0
    if not 0.0 <= rate <= 1.0:
        raise RecipeError(f"--faults {text}: a rate is between 0 and 1 (got '{said}'); write 0.05 or 500=0.1,503=0.1")
    return rate


def drawn(rates: Mapping[str, float], request: str, nth: int, seed: int) -> str | None:
    """The fault that meets the `nth` try (from 0) of a request, if one does."""
    if nth >= TRIES:
        return None
    place = random.Random(f"fault|{seed}|{request}|{nth}").random()
    for kind, rate in rates.items():
        if place < rate:
            return kind
        place -= rate
    return None
