"""How a student's rows become tokens, and its tokens text again. One template for training and evaluation.

A completion is rendered as

    <think>\\n{reasoning}\\n</think>\\n\\n{content}{stop}

with the tags left out when there is no reasoning (but closed where the prompt already opens them), and `{stop}` read
off the student's own chat template: whatever it writes after an assistant turn, up to and including its stop token. The
prompt is the chat template's rendering
with the generation prompt, and is tokenised apart from the completion, so that it is the same ids in training and in
evaluation. Chat templates that drop or double reasoning never see any: the tags are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mixdistill.errors import DataError, MissingExtra
from mixdistill.types import Message, content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "<think>\n", "\n</think>\n\n"
_PROBE = "mixdistill-probe"


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
        return self._chat(_turns(prompt), add_generation_prompt=True)

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
        text = str(self.tokenizer.decode(token_ids, skip_special_tokens=False)).strip()
        opened = self.opens_thinking or text.startswith(OPEN.strip())
        text = text.removeprefix(OPEN.strip())
        head, closed, tail = text.partition(CLOSE.strip())
        if closed:
            return head.strip(), tail.strip()
        return (text.strip(), "") if opened else ("", text.strip())

    def special_in(self, text: str) -> str | None:
        """The first special token that the text would smuggle in, if any."""
        return next((t for t in self.tokenizer.all_special_tokens if t and t in text), None)

    @cached_property
    def stop_text(self) -> str:
        """What ends an assistant turn: everything the chat template writes after it, up to the stop token."""
        chat = self._chat([*_turns("?"), {"role": "assistant", "content": _PROBE}], add_generation_prompt=False)
        eos = str(self.tokenizer.eos_token or "")
        tail = chat.rpartition(_PROBE)[2]
        head, found, _ = tail.partition(eos) if eos else ("", "", "")
        return head + eos if found else eos

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
        """Hash of what this template writes for a fixed row: training and evaluation must agree on it."""
        prompt, completion = self.render("What is 2 + 2?", "2 + 2 = 4", "4")
        return content_hash(str(prompt), str(completion), self.prompt_text("?"))

    def _chat(self, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        text = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=add_generation_prompt, **self.chat_template_kwargs
        )
        assert isinstance(text, str)
        return text

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, as it stands."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _turns(prompt: str | list[Message]) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": m.role, "content": m.content} for m in prompt]
