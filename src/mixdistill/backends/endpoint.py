"""Students that somebody else serves: an endpoint that knows the untuned student and its trainings by name.

The endpoint has weights, tokenizer and chat template of its own. What can be seen from here is checked: that it lists
the name, and that its prompts have as many tokens as the template gives that the student was trained with.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mixdistill import resolve
from mixdistill.backends.chat import LONGEST, names
from mixdistill.backends.openai import OpenAI
from mixdistill.errors import RecipeError, StageError, did_you_mean, said
from mixdistill.sections import Student
from mixdistill.types import Sampling, Trace

if TYPE_CHECKING:
    from mixdistill.tokens import Template

BACKEND = "openai"
THEIRS = ("stop_tokens", "context")
"""Settings that the endpoint decides."""
_NO_LIST = (404, 405, 501)
"""How a server answers that has no list of models."""


def backend(name: str, base: str, *, sampling: Sampling, options: dict[str, Any]) -> OpenAI:
    """The backend `openai` for a student that is served as `name`. Settings that `sampling` leaves open are those of
    the generation_config of `base` (folder or hub id), as everywhere here. Raises RecipeError for wrong options."""
    from mixdistill.backends.transformers import decoding_of, generation_config

    own = generation_config(base)
    filled = dict(zip(("temperature", "top_k", "top_p"), decoding_of(sampling, own), strict=True))
    filled["max_tokens"] = own.max_new_tokens
    if not filled["top_k"] or filled["top_k"] < 1:
        del filled["top_k"]  # not every server knows it
    body = {k: v for k, v in filled.items() if v is not None and getattr(sampling, k) is None}
    told: dict[str, Any] = {**options, "extra_body": body | (options.get("extra_body") or {})}
    return OpenAI(name, **told)


def unusable(student: str, spec: Student) -> list[str]:
    """What keeps a student's endpoint from being asked, as far as is known without it: no key, no address."""
    if spec.backend != BACKEND or resolve.unset(spec.backend_options):
        return []  # said already
    try:
        OpenAI(student, **resolve.from_environment(spec.backend_options))
    except RecipeError as e:
        return [f"students.{e}"]
    return []


def where(made: OpenAI) -> str:
    """The address, without secrets."""
    return made._terms.where


def check_listed(made: OpenAI, name: str, folder: str, label: str, key: str) -> None:
    """Raise StageError where the endpoint lists its models, and none has this name. `folder`: what is to be served
    under it. `key`: of the recipe, where the name may be given."""
    terms = made._terms
    proxies = {urlsplit(terms.models_url).scheme: terms.proxy} if terms.proxy else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        with opener.open(urllib.request.Request(terms.models_url, headers=terms.headers), timeout=60) as reply:
            listed = names(reply.read())
    except urllib.error.HTTPError as e:
        if e.code in _NO_LIST:
            return  # then its answers say whether it knows the name
        raise StageError(f"{label}: {terms.where} does not list its models (status {e.code}); check its key") from None
    except (OSError, ValueError) as e:
        raise StageError(
            f"{label}: {terms.where} cannot be reached ({said(e, 120)}); start it, or mend base_url"
        ) from e
    if name not in listed:
        hint = did_you_mean(name, listed)
        raise StageError(
            f"{label}: {terms.where} serves no model '{name}'{hint if len(hint) <= LONGEST else ''}; serve {folder} "
            f"under that name and run again, or say its name in {key}"
        )


def seen(traces: Iterable[Trace], template: Template, prompts: dict[str, Any]) -> dict[str, int]:
    """What the endpoint's counts say of its chat template, and of its tokens: how many `prompts` it answered, of how
    many it did not say the length (`untold`), how many are of another length than by the student's own template
    (`unlike`), and how many answers came without token ids (`as text`), whose tokens are those of the text."""
    lengths = {p: len(template.prompt_ids(prompt)) for p, prompt in prompts.items()}
    told = [(t, t.usage.prompt_tokens) for t in traces if t.error is None]
    return {
        "prompts": len(told),
        "untold": sum(n is None for _, n in told),
        "unlike": sum(n is not None and n != lengths[t.problem_id] for t, n in told),
        "as text": sum(t.token_ids is None for t, _ in told),
    }
