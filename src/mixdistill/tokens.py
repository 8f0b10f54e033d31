"""How a student's rows become tokens, and its tokens text again. One template for training and evaluation.

A completion is rendered as

    <think>\\n{reasoning}\\n</think>\\n\\n{content}{stop}

with the tags left out when there is no reasoning (but closed where the prompt already opens them), and `{stop}` read
off the student's own chat template: whatever it writes after an assistant turn, up to and including its first special
token. The prompt is the chat template's rendering with the generation prompt, and is tokenised apart from the
completion, so that it is the same ids in training and in evaluation. Chat templates that drop or double reasoning never
see any: the tags are ours. What may be wrong with a template all the same has a name each in template_checks.py and
row_checks.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mixdistill.errors import DataError, MissingExtra, said
from mixdistill.types import Message, content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "<think>\n", "\n</think>\n\n"
PROBE = "mixdistill-probe"
"""A text that a template is tried out with."""
SWITCH = "enable_thinking"
"""The argument of a hybrid student's chat template that turns thinking on and off."""
THINKING, NO_THINKING = "thinking", "no-thinking"
WAYS = (THINKING, NO_THINKING)
"""The two ways in which a hybrid student is asked."""
REFUSES, LOSES = "the chat template refuses a system prompt", "the chat template loses a system prompt"
NO_SYSTEM = "give the student a model or template that takes one, or put it into the problems' own text"
"""What to do about a system prompt that cannot be said."""
ASKED, SAID = ("user", "What is 2 + 2?"), ("assistant", "<think>\n2 and 2.\n</think>\n\n4")
CONVERSATIONS = ([ASKED], [ASKED, SAID, ASKED], [("system", "Be brief."), ASKED, SAID, ASKED])
"""Turns, as (role, content), that tell two templates apart."""


@dataclass
class Template:
    """A tokenizer with its chat template, as one object that renders rows and splits completions."""

    tokenizer: PreTrainedTokenizerBase
    chat_template_kwargs: dict[str, Any]

    @classmethod
    def load(cls, model: str, *, chat_template_kwargs: dict[str, Any] | None = None) -> Template:
        """The template of a model folder or hub id. Raises DataError when it has no chat template or no stop token."""
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise MissingExtra("transformers", "train") from None
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as e:
            why = str(e).strip().splitlines()[0]
            raise DataError(
                f"{model}: no tokenizer to load ({why}); give a model folder, or a hub id that this machine can reach"
            ) from e
        if tokenizer.chat_template is None:
            raise DataError(f"{model}: its tokenizer has no chat template; give the student a model that has one")
        template = cls(tokenizer, chat_template_kwargs or {})
        if not template.stop_ids:
            raise DataError(
                f"{model}: no stop token after an assistant turn; set eos_token in its tokenizer_config.json"
            )
        return template

    def prompt_text(self, prompt: str | list[Message]) -> str:
        """The prompt as the student sees it, generation prompt included."""
        return self.chat(_turns(prompt), add_generation_prompt=True)

    def prompt_ids(self, prompt: str | list[Message]) -> list[int]:
        """Token ids of `prompt_text`."""
        return self.encode(self.prompt_text(prompt))

    def completion_text(self, reasoning: str, content: str) -> str:
        """A completion as the student should write it, stop token last."""
        if not reasoning.strip():
            return (CLOSE if self.opens_thinking else "") + content + self.stop_text
        opening = "" if self.opens_thinking else OPEN
        return f"{opening}{reasoning.strip()}{CLOSE}{content}{self.stop_text}"

    def render(self, prompt: str | list[Message], reasoning: str, content: str) -> tuple[list[int], list[int]]:
        """(prompt ids, completion ids). The loss is on the completion, whose last id is the stop token."""
        return self.prompt_ids(prompt), self.encode(self.completion_text(reasoning, content))

    def count(self, reasoning: str, content: str) -> int:
        """Tokens of a completion as the student would write it, stop token included."""
        return len(self.encode(self.completion_text(reasoning, content)))

    def counts(self, completions: Sequence[tuple[str, str]]) -> list[int]:
        """`count` of many, each a (reasoning, content), in one call of the tokenizer."""
        texts = [self.completion_text(*each) for each in completions]
        found = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False) if texts else None
        return [len(ids) for ids in found["input_ids"]] if found else []

    def split(self, token_ids: list[int]) -> tuple[str, str]:
        """(reasoning, content) of a sampled completion; an unclosed thinking part is all reasoning."""
        if token_ids and token_ids[-1] in self.stop_ids:
            token_ids = token_ids[:-1]
        return self.split_text(self.decode(token_ids))

    def split_text(self, text: str) -> tuple[str, str]:
        """`split` of a completion that is text already, its stop token left out."""
        text = text.strip()
        opened = self.opens_thinking or text.startswith(OPEN.strip())
        text = text.removeprefix(OPEN.strip())
        head, closed, tail = text.partition(CLOSE.strip())
        if closed:
            return head.strip(), tail.strip()
        return (text.strip(), "") if opened else ("", text.strip())

    def special_in(self, text: str) -> str | None:
        """The first special token that the text would smuggle in, if any."""
        found = self._specials.search(text)
        return found[0] if found else None

    @cached_property
    def unknown(self) -> int | None:
        """The token for what the tokenizer does not know; None where that is another special token as well."""
        unk = self.tokenizer.unk_token_id
        return None if unk is None or unk in self.special_ids else int(unk)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Every special token: those with a role (`eos_token`, ...) and those that were merely added as such. The one
        for what is unknown is none, unless it has another role too."""
        tokenizer = self.tokenizer
        found = {*tokenizer.all_special_ids, *(i for i, t in tokenizer.added_tokens_decoder.items() if t.special)}
        roles = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        return frozenset(found if tokenizer.unk_token_id in roles else found - {tokenizer.unk_token_id})

    @cached_property
    def _specials(self) -> re.Pattern[str]:
        """Any special token as a text, the longest first."""
        texts = {*self.tokenizer.all_special_tokens} | {
            t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special
        }
        return re.compile("|".join(map(re.escape, sorted(filter(None, texts), key=len, reverse=True))) or r"(?!)")

    @cached_property
    def turn_end(self) -> str:
        """Everything that the chat template writes after an assistant's turn; empty where it drops the turn."""
        turns = [*_turns("?"), {"role": "assistant", "content": PROBE}]
        text = self.chat(turns, add_generation_prompt=False)
        return text.rpartition(PROBE)[2] if PROBE in text else ""

    @cached_property
    def stop_text(self) -> str:
        """What ends a completion: what the chat template writes after an assistant's turn, up to its first special
        token; `eos_token` where it writes none."""
        found = self._specials.search(self.turn_end)
        return self.turn_end[: found.end()] if found else str(self.tokenizer.eos_token or "")

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a completion."""
        return frozenset(self.encode(self.stop_text)[-1:])

    @cached_property
    def opens_thinking(self) -> bool:
        """The template's generation prompt already ends in an opening tag (newer thinking models)."""
        return self.prompt_text("?").rstrip().endswith(OPEN.strip())

    @property
    def pad_id(self) -> int:
        """Padding for attention-masked positions; never carries loss, so it may be any id."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else next(iter(self.stop_ids))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what this template writes for a fixed row and `CONVERSATIONS`: training and evaluation must agree on
        it."""
        prompt, completion = self.render("What is 2 + 2?", "2 + 2 = 4", "4")
        return content_hash(str(prompt), str(completion), *self.written)

    @cached_property
    def written(self) -> list[str]:
        """Each of `CONVERSATIONS` as a prompt; empty where the template refuses it."""
        found = []
        for turns in CONVERSATIONS:
            try:
                text = self.chat([{"role": r, "content": c} for r, c in turns], add_generation_prompt=True)
            except DataError:
                text = ""
            found.append(text)
        return found

    @cached_property
    def thinking(self) -> str | None:
        """How a hybrid student is asked, `thinking` or `no-thinking`; None where its template knows no such switch."""
        on, off = (self.asked(way).prompt_text("?") for way in WAYS)
        return None if on == off else NO_THINKING if self.prompt_text("?") == off else THINKING

    def asked(self, way: str) -> Template:
        """The same template with thinking turned on or off."""
        return Template(self.tokenizer, switched(self.chat_template_kwargs, way))

    def chat(self, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        """Turns as the chat template writes them. Raises DataError where it refuses them."""
        from jinja2 import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=add_generation_prompt, **self.chat_template_kwargs
            )
        except TemplateError as e:
            name = self.tokenizer.name_or_path
            where, roles = f"{name}: " if name else "", " and ".join(dict.fromkeys(t["role"] for t in turns))
            if turns[0]["role"] == "system":
                raise DataError(f"{where}system_role: {REFUSES} ({said(e, 160)}); {NO_SYSTEM}") from e
            raise DataError(f"{where}its chat template cannot render {roles} turns ({said(e, 160)}); mend it") from e
        assert isinstance(text, str)
        return text

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids, nothing left out and nothing tidied."""
        return self.decode_all([token_ids])[0]

    def decode_all(self, rows: list[list[int]]) -> list[str]:
        """The texts of many rows of token ids."""
        return self.tokenizer.batch_decode(rows, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """The text that each token adds to those before it; together they are the text, but for characters that are
        spread over several tokens."""
        pairs, known = [*dict.fromkeys(pairwise(token_ids))], [*dict.fromkeys(token_ids)]
        both = dict(zip(pairs, self.decode_all([[*pair] for pair in pairs]), strict=True)) if pairs else {}
        alone = dict(zip(known, self.decode_all([[i] for i in known]), strict=True)) if known else {}
        return [alone[i] for i in token_ids[:1]] + [
            text.removeprefix(alone[a]) if (text := both[a, b]).startswith(alone[a]) else alone[b]
            for a, b in pairwise(token_ids)
        ]

    def unknown_in(self, text: str) -> str | None:
        """The first part of the text that becomes the token for what is unknown, if any."""
        if self.unknown is None:
            return None
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=self.tokenizer.is_fast)
        if self.unknown not in found["input_ids"]:
            return None
        if not self.tokenizer.is_fast:
            return str(self.tokenizer.unk_token)
        start, end = found["offset_mapping"][found["input_ids"].index(self.unknown)]
        return text[start:end]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, as it stands."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def switched(chat_template_kwargs: dict[str, Any], way: str) -> dict[str, Any]:
    """What a chat template is given, with thinking turned on or off."""
    return {**chat_template_kwargs, SWITCH: way == THINKING}


def _turns(prompt: str | list[Message]) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": m.role, "content": m.content} for m in prompt]
