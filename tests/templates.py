"""Chat templates of every kind there is, and tokenizers that have them, faults included."""

from __future__ import annotations

from typing import Any

import tiny
from mixdistill.tokens import Template

QWEN25 = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    + tiny.CHATML
)
QWEN3 = (
    "{% for m in messages %}{% set content = m['content'] %}{% if m['role'] == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
"""Drops the reasoning of earlier turns; an empty thinking part before the last answer, and in the prompt when thinking
is off."""
THINKING = tiny.CHATML.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n' }}{% endif %}")
"""A thinking-only model: its prompt ends in an opened tag."""
R1_DISTILL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}{% else %}{% set content = m['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<|Assistant|>' + content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
"""Drops everything up to `</think>`."""
DOUBLED = tiny.CHATML.replace(
    "m['content'] + '<|im_end|>", "('<think>\n' if m['role'] == 'assistant' else '') + m['content'] + '<|im_end|>"
)
"""Writes `<think>` before every assistant's turn, also where there is one."""
LLAMA3 = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LINE_BEFORE_STOP = tiny.CHATML.replace("+ '<|im_end|>\n'", "+ '\n<|im_end|>\n'")
NO_GENERATION_PROMPT = tiny.CHATML.partition("{% if add_generation_prompt")[0]
NO_SYSTEM = "{% for m in messages if m['role'] != 'system' %}" + tiny.CHATML.removeprefix("{% for m in messages %}")
"""Loses the system prompt."""
REFUSING = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
"""As Gemma 2: refuses the system prompt."""
PLAIN_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n###\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
"""No special token after an assistant's turn."""
BOS_TWICE = "{{ bos_token }}" + LLAMA3

HYBRID_WORDS = tiny.PLAIN_TEMPLATE + (
    "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "{{ '<think> </think> ' }}{% endif %}"
)
"""For the lab's vocabulary: thinking may be turned off."""

QWEN_EXTRA = ["<|im_start|>", "<|im_end|>"]
LLAMA_EXTRA = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
PROMPT, REASONING, CONTENT = "What is 2 + 2?", "Two and two.\n\nThat is 4 — surely.", "The answer is \\boxed{4}."


def qwen(chat_template: str, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return tiny.byte_tokenizer(chat_template, extra=QWEN_EXTRA, **special), kwargs


def llama(chat_template: str = LLAMA3, eos: str = "<|eot_id|>") -> tuple[Any, dict[str, Any]]:
    special = {"bos_token": "<|begin_of_text|>", "eos_token": eos, "pad_token": "<|finetune_right_pad_id|>"}
    return tiny.byte_tokenizer(chat_template, extra=LLAMA_EXTRA, **special), {}


def adds_bos(tokenizer: Any) -> Any:
    """The same tokenizer, one that writes its token for beginnings before a text unless it is told not to."""
    from tokenizers.processors import TemplateProcessing

    bos = tokenizer.bos_token
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    return tokenizer


def normalising(chat_template: str = tiny.CHATML) -> Any:
    """One that reads capitals as small letters."""
    from tokenizers import normalizers

    tokenizer = qwen(chat_template)[0]
    tokenizer._tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def r1() -> Any:
    special = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    return tiny.byte_tokenizer(R1_DISTILL, extra=["<|User|>", "<|Assistant|>"], **special)


KINDS = {
    "qwen2.5": lambda: qwen(QWEN25),
    "qwen3": lambda: qwen(QWEN3),
    "qwen3, thinking on": lambda: qwen(QWEN3, enable_thinking=True),
    "qwen3, thinking off": lambda: qwen(QWEN3, enable_thinking=False),
    "prompt opens thinking": lambda: qwen(THINKING),
    "drops what is before </think>": lambda: (r1(), {}),
    "doubles <think>": lambda: qwen(DOUBLED),
    "llama 3": llama,
    "bos twice": lambda: (adds_bos(llama()[0]), {}),
    "eos is not what ends a turn": lambda: llama(eos="<|end_of_text|>"),
    "pad is eos": lambda: (tiny.byte_tokenizer(pad_token="<|im_end|>", eos_token="<|im_end|>"), {}),
    "no pad": lambda: (tiny.byte_tokenizer(eos_token="<|im_end|>"), {}),
    "line break before the stop token": lambda: qwen(LINE_BEFORE_STOP),
    "no generation prompt": lambda: qwen(NO_GENERATION_PROMPT),
    "a turn ends in plain text": lambda: qwen(PLAIN_END),
    "loses the system prompt": lambda: qwen(NO_SYSTEM),
    "refuses the system prompt": lambda: qwen(REFUSING + tiny.CHATML),
}


def of(kind: str) -> Template:
    tokenizer, kwargs = KINDS[kind]()
    return Template(tokenizer, kwargs)
