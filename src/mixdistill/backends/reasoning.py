"""Splits one text into reasoning and answer, for models and files that keep both in one string.

Known shapes:

    <think> ... </think> ...                                       most open reasoning models; the opening tag may be
                                                                   missing where the prompt already ended in it
    <|im_start|>think ... <|im_start|>answer ...                   s1
    <|begin_of_thought|> ... <|end_of_thought|> <|begin_of_solution|> ... <|end_of_solution|>     Sky-T1
    [open] ... [close] ...                                         any other pair of tags that is given
    anything else                                                  no reasoning: the whole text is the answer

A text that holds a whole chat is read from its last assistant header on.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mixdistill.types import FinishReason


class Parts(NamedTuple):
    """A text taken apart."""

    reasoning: str
    """The thinking; empty when the text has none."""
    content: str
    """The answer part; empty when the text never got out of thinking."""
    found_answer_part: bool
    """Whether there is an answer part."""
    finish: FinishReason
    """How the text ended, as far as it shows by itself; mostly `unknown`."""


END_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)
_ASSISTANT = (
    "<|im_start|>assistant",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<|assistant|>",
    "<start_of_turn>model",
    "<\uff5cAssistant\uff5c>",
)
_S1_THINK, _S1_ANSWER = "<|im_start|>think", "<|im_start|>answer"
_SKY_THINK, _SKY_END = "<|begin_of_thought|>", "<|end_of_thought|>"
_SKY_ANSWER, _SKY_CLOSE = "<|begin_of_solution|>", "<|end_of_solution|>"
_FORCED = "Final Answer:"
_FINISHED = re.compile(r"""[.!?\])}$*"'`%]\s*$""")
_SPECIAL = re.compile(r"<\|(?:im_start|im_end|begin_of_\w+|end_of_\w+)\|>")
_SETTLED = re.compile(r"\\boxed\s*\{[^\n]*\}|^\s*####\s*\S|final answer\W*\S", re.MULTILINE | re.IGNORECASE)


def split(text: str, tags: tuple[str, str] | None = None) -> Parts:
    """Reasoning and answer of one completion or of a whole chat.

    `tags` are an opening and a closing tag that go before the known shapes. Without an answer part all text is
    reasoning and content is empty. `finish` is `stop` where an end token or the
    closing tag of the answer ends the text, `length` where thinking shows that it was cut, `unknown` else.
    """
    text, ended = _strip_end(_last_turn(text))
    if tags and any(tag in text for tag in tags):
        parts = _tags(text, *tags)
    elif _S1_THINK in text:
        parts = _s1(text)
    elif _SKY_THINK in text:
        parts = _sky(text)
    elif "<think>" in text or "</think>" in text:
        parts = _tags(text)
    else:
        parts = Parts("", text.strip(), bool(text.strip()), "unknown")
    if ended and parts.finish == "unknown":
        return parts._replace(finish="stop")
    return parts


def looks_finished(parts: Parts) -> bool:
    """Whether an answer part without any end token reads like one that ended by itself.

    It does when its last paragraph states an answer (a closed box, `#### x`, "final answer ...") and ends like a
    sentence or a formula, and nothing says that the thinking was cut or the turn was begun again.
    """
    if parts.finish != "unknown" or not parts.found_answer_part or _SPECIAL.search(parts.content):
        return parts.finish == "stop"
    tail = parts.content.rstrip().rsplit("\n\n", 1)[-1]
    if re.search(r"^\s*####\s*\S[^\n]*$", tail.rsplit("\n", 1)[-1]):
        return True
    return bool(_SETTLED.search(tail) and _FINISHED.search(tail))


def _last_turn(text: str) -> str:
    starts = [(text.rfind(header), header) for header in _ASSISTANT]
    start, header = max(starts)
    return text[start + len(header) :] if start >= 0 else text


def _strip_end(text: str) -> tuple[str, bool]:
    """Text without the end tokens at its end, and whether there was one."""
    ended, before = False, None
    while before != text:
        before = text = text.rstrip()
        for token in END_TOKENS:
            if text.endswith(token):
                text, ended = text.removesuffix(token), True
    return text, ended


def _tags(text: str, opening: str = "<think>", closing: str = "</think>") -> Parts:
    head, closed, tail = text.partition(closing)
    reasoning = head.replace(opening, "", 1).strip()
    if closed:
        return Parts(reasoning, tail.strip(), bool(tail.strip()), "unknown")
    return _never_closed(reasoning)


def _sky(text: str) -> Parts:
    head, closed, tail = text.partition(_SKY_THINK)[2].partition(_SKY_END)
    if not closed and _SKY_ANSWER not in head:
        return _never_closed(head.strip())
    if not closed:
        head, _, tail = head.partition(_SKY_ANSWER)
    content, complete, _ = (
        tail.partition(_SKY_ANSWER)[2].partition(_SKY_CLOSE) if _SKY_ANSWER in tail else (tail, "", "")
    )
    content = content.strip()
    return Parts(head.strip(), content, bool(content), "stop" if complete and content else "unknown")


def _s1(text: str) -> Parts:
    """s1 outputs, as its budget-forcing harness writes them.

    That harness writes "Final Answer:" where thinking stops: at the start of a line when the model stopped by itself,
    in mid-sentence when the thinking budget ran out. The second is a trace that was cut, whatever follows.
    Models that answer right there, without the answer tag, have their answer after "Final Answer:"; those that go on
    thinking have none.
    """
    thinking, tagged, answer = text.partition(_S1_THINK)[2].partition(_S1_ANSWER)
    forced = thinking.rfind(_FORCED)
    cut = forced > 0 and thinking[:forced].rstrip(" \t*#")[-1:] not in ("\n", "")
    if tagged:
        content = answer.strip()
        return Parts(thinking.strip(), content, bool(content), "length" if cut else "unknown")
    if forced >= 0 and not cut:
        own = Parts(thinking[:forced].strip(), thinking[forced:].strip(), True, "unknown")
        if looks_finished(own):
            return own
    return Parts(thinking.strip(), "", False, "length") if cut else _never_closed(thinking.strip())


def _never_closed(reasoning: str) -> Parts:
    """Thinking that was opened and never left: cut when it stops in mid-sentence, else nobody knows."""
    return Parts(reasoning, "", False, "unknown" if _FINISHED.search(reasoning) else "length")
