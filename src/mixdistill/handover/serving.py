"""How a student is asked in use: what vLLM is started with, and what a request says.

A student that passed a gate is to be asked as it was there. A server can be told all of it but the tag, which is part
of the prompt: the card says that one, and shows a request.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from mixdistill.prompts import asking, tagged
from mixdistill.recipe import Recipe

SCRIPT = "serve.sh"
DECODING = ("temperature", "top_k", "top_p")
"""Settings in force that are passed on, by their names here, in transformers and in vLLM; one that is not there is
off."""
QUESTION = "What is 2 + 3?"


class Use(NamedTuple):
    """One way of asking one student."""

    student: str
    """What a server calls it."""
    name: str
    """Its arm, with its mode."""
    tag: str
    """The last line of every prompt; "" for none."""
    chat_template_kwargs: Mapping[str, Any]
    max_tokens: int | None
    """Most tokens of an answer."""
    decoding: Mapping[str, Any] | None = None
    """How it was decoded at the gate; None where it saw none, and its own settings hold."""
    engine: Mapping[str, str] = {}
    """Options of vLLM that say in what precision it was."""
    ask: str | None = None
    """The template around every problem, by name or file."""


def of_recipe(recipe: Recipe, student: str, arm: str) -> Use:
    """The way that the study asks a trained student."""
    kwargs, limit = recipe.students[student].chat_template_kwargs, recipe.evaluate.sampling.max_tokens
    return Use(student, arm, recipe.tag_of(arm), kwargs, limit, ask=recipe.problems.train.ask)


def options(use: Use) -> list[str]:
    """Of `vllm serve`. Its own generation settings are left out: the gate applied those that are named here alone."""
    found = [f"--served-model-name {shlex.quote(use.student)}"]
    found += [f"--{name} {shlex.quote(value)}" for name, value in use.engine.items()]
    if use.chat_template_kwargs:
        found.append(f"--default-chat-template-kwargs {_json(use.chat_template_kwargs)}")
    if use.decoding is not None:
        limit = {} if use.max_tokens is None else {"max_new_tokens": use.max_tokens}
        found.append(f"--generation-config vllm --override-generation-config {_json({**use.decoding, **limit})}")
    return found


def script(use: Use) -> str:
    """The script that starts vLLM."""
    said = use.tag.replace("\n", "\\n")  # one line, whatever it is: nothing of it is to be carried out
    tag = [f"# The last line of every prompt is {said}: a server cannot add it."] if use.tag else []
    tag += (
        ["# Every prompt is a problem in a template, which is the client's to add; README.md shows it."]
        if use.ask
        else []
    )
    head = [
        "#!/bin/sh",
        "# A server that speaks OpenAI's protocol, on port 8000, set up as the student was asked at the gate",
        f"# ({use.name}). Further options of vLLM may follow: sh {SCRIPT} --port 9000",
        *tag,
    ]
    command = ['exec vllm serve "$(dirname "$0")"', *options(use), '"$@"']
    return "\n".join([*head, " \\\n  ".join(command), ""])


def request(use: Use) -> str:
    """A request to that server, for a shell."""
    body: dict[str, Any] = {"model": use.student, "messages": [{"role": "user", "content": prompt(use)}]}
    if use.chat_template_kwargs:
        body["chat_template_kwargs"] = dict(use.chat_template_kwargs)
    head = "curl localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\\n"
    return f"{head}  -d {_json(body)}\n"


def prompt(use: Use) -> str:
    """An example of a prompt, in its template and with the tag."""
    return str(tagged(asking(use.ask)(QUESTION), use.tag))


def generation(use: Use) -> dict[str, Any]:
    """Arguments of transformers' `generate`."""
    found: dict[str, Any] = {"max_new_tokens": use.max_tokens or 4096}
    if use.decoding is None:
        return found
    if not use.decoding["temperature"]:
        return {**found, "do_sample": False}
    return {**found, "do_sample": True, "top_k": 0, "top_p": 1.0, **use.decoding}


def words(use: Use) -> str:
    """The same for a person: `every prompt ends in the line `/short`, an answer has at most 160 tokens, ...`."""
    found = [f"every problem stands in the template `{use.ask}`"] if use.ask else []
    found += [f"every prompt ends in the line `{use.tag}`"] if use.tag else []
    found += [f"an answer has at most {use.max_tokens:,} tokens"] if use.max_tokens else []
    found += [f"{name} {value:g}" for name, value in (use.decoding or {}).items()]
    if use.chat_template_kwargs:
        found.append(f"the chat template is given `{json.dumps(use.chat_template_kwargs)}`")
    return ", ".join(found)


def _json(value: Mapping[str, Any]) -> str:
    return shlex.quote(json.dumps(dict(value)))
