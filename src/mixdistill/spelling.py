"""When two texts are one problem: strictly, where rows are called duplicates; loosely, where files are held together.

The strict form lets nothing go that may carry meaning: indentation, a backtick, a bold letter, the system prompt. The
loose form lets typography go, which files of the same problems differ in, and no mathematics.
"""

from __future__ import annotations

import re
import unicodedata

from mixdistill.types import Message, content_hash, prompt_text

_WIDE = re.compile(r"[\u3000\uff00-\uffef]+|[\ufb00-\ufb06]")
"""Full-width and half-width forms, and ligatures: the characters that NFKC may replace. Of others it would change the
meaning: \u211d is no R, \u2460 no 1, x\u00b2 no x2, 2\u00bd no 21/2."""
_TYPOGRAPHY = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u2032\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", None)
    | {"\u2026": "..."}
)
_DASH = re.compile(r"(?<!\d)(?<!\d )[\u2014\u2015](?! ?\d)")
"""A dash of text. Beside a number a long dash would become a minus."""


def strict(prompt: str | list[Message]) -> str:
    """What two writings of one prompt have in common, as 16 hex digits: the whole conversation, role by role.

    Canonically equal Unicode (NFC), line ends, white space at the ends of lines, blank lines at both ends and the
    indentation of a single line do not count. A text is a conversation of one user's turn.
    """
    turns = [("user", prompt)] if isinstance(prompt, str) else [(m.role, m.content) for m in prompt]
    return content_hash(*(part for role, text in turns for part in (role, _strict(text))))


def _strict(text: str) -> str:
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
    return text if "\n" in text else text.strip()


def loose(prompt: str | list[Message]) -> str:
    """The text of a prompt without its typography: one kind of quote, dash and space, full-width forms and ligatures
    as plain letters, white space collapsed. A text and a conversation of one user's turn are the same."""
    if not isinstance(prompt, str) and len(prompt) == 1 and prompt[0].role == "user":
        prompt = prompt[0].content
    text = prompt_text(prompt)
    if text.isascii():
        return " ".join(text.split())
    text = _WIDE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = " ".join(unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY).split())
    return _DASH.sub("-", text)


def turn(prompt: str | list[Message]) -> str:
    """The loose form of the user's turn alone where that is all that was said but a system prompt, else of the whole
    conversation: the same problem stands in one file with a system prompt and in another without."""
    if not isinstance(prompt, str):
        users = [m.content for m in prompt if m.role == "user"]
        if len(users) == 1 and not any(m.role == "assistant" for m in prompt):
            return loose(users[0])
    return loose(prompt)


def keys(prompt: str | list[Message]) -> list[tuple[str, str]]:
    """By what a prompt is looked for elsewhere, the surest first: (kind, form)."""
    plain = loose(prompt)
    return [("strict", strict(prompt)), ("loose", plain), ("turn", plain if isinstance(prompt, str) else turn(prompt))]


def same_answer(answer: str) -> str:
    """What two writings of one answer have in common. Lines may be code, whose indentation counts; within one line
    typography does not."""
    return strict(answer) if "\n" in answer.strip() else loose(answer)
