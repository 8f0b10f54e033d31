"""One spelling for what is written in many: other scripts' digits, Unicode's signs, LaTeX's spacing and wrappers.

Nothing here changes what a text means; everything is linear in its length.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_SIGNS = {
    "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\uff0d": "-", "\ufe63": "-",
    "\u00d7": r"\times ", "\u22c5": r"\cdot ", "\u00b7": r"\cdot ", "\u2217": "*", "\u00f7": "/", "\u2215": "/",
    "\u2044": "/", "\u221a": r"\sqrt ", "\u03c0": r"\pi ", "\u221e": r"\infty ", "\u00b0": r"^\circ ",
    "\u00b1": r"\pm ", "\u2264": r"\le ", "\u2a7d": r"\le ", "\u2265": r"\ge ", "\u2a7e": r"\ge ", "\u2260": r"\ne ",
    "\u2208": r"\in ", "\u222a": r"\cup ", "\u2229": r"\cap ", "\u2205": r"\emptyset ", "\u2248": r"\approx ",
    "\u03b8": r"\theta ", "\u03b1": r"\alpha ", "\u03b2": r"\beta ", "\u03bb": r"\lambda ", "\u211d": r"\mathbb{R}",
    "\u066b": ".", "\u066c": ",", "\u066a": "%", "\uff05": "%", "\uff0e": ".", "\uff0c": ", ", "\u3001": ", ",
    "\u060c": ", ", "\uff1a": ":", "\uff1d": "=", "\uff08": "(", "\uff09": ")", "\uff0b": "+", "\uff0f": "/",
    "\u3002": ". ", "\uff1b": ";", "\u2032": "'", "\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"',
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2007": " ", "\u2002": " ", "\u2003": " ", "\u3000": " ",
    "\u2061": "", "\u2062": "", "\u2063": "", "\ufe0f": "",
}  # fmt: skip
_INVISIBLE = [0xAD, 0x61C, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, 0xFEFF]
_INVISIBLE += range(0x2066, 0x206A)
_POWERS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"


class _Table(dict[int, str]):
    """Character -> its plain spelling, found when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _plain(chr(code))
        return found


def _plain(char: str) -> str:
    if char in _SIGNS:
        return _SIGNS[char]
    if ord(char) in _INVISIBLE:
        return ""
    if char in _POWERS:
        return f"^{{{_POWERS.index(char)}}}"
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    if unicodedata.numeric(char, None) is not None and unicodedata.decomposition(char).startswith("<fraction>"):
        top, _, bottom = unicodedata.normalize("NFKC", char).partition("\u2044")
        return f"\\frac{{{top}}}{{{bottom or 1}}}"
    if unicodedata.category(char) == "So":  # check marks and emoji
        return ""
    if "\uff21" <= char <= "\uff5a":  # full-width letters
        return unicodedata.normalize("NFKC", char)
    return char


_TABLE = _Table()
_ROOT = re.compile(r"\\sqrt (\d+(?:\.\d+)?)")
_TWO_POWERS = re.compile(r"\}\^\{(?=\d\})")


def ascii_signs(text: str) -> str:
    """The text with digits, signs and spaces of any script as ASCII or LaTeX has them; letters stay as they are."""
    if text.isascii():
        return text
    return _ROOT.sub(r"\\sqrt{\1}", _TWO_POWERS.sub("", text.translate(_TABLE)))


def clean(text: str) -> str:
    """An answer without wrappers that carry no meaning: markdown, math delimiters, closing punctuation."""
    if text.isalnum():
        return text
    for _ in range(LAYERS):
        before = text
        text = text.strip(" \t\r\n*`").rstrip(" \t\r\n*`.,;:\u3002\u0964\uff0c\u060c")
        for left, right in _DELIMITERS:
            inside = text[len(left) : -len(right)]
            if len(text) > len(left + right) and text.startswith(left) and text.endswith(right) and left not in inside:
                # `\$` closes nothing: it is a currency sign.
                text = inside if not inside.endswith("\\") or left[0] != "$" else text
        if text.endswith("\\") and not text.endswith("\\\\"):  # what is left of a closing `\ ` or `\.`
            text = text[:-1]
        if text == before:
            break
    return text


LAYERS = 8
"""Wrappers in wrappers that are taken off."""
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_NOTHING = re.compile(
    r"(?<!\\)\\(?:(?:left|right)(?![a-zA-Z])\.?|[bB]igg?[lr]?(?![a-zA-Z])|[!,]|(?:displaystyle|limits|bf|it|rm)(?![a-zA-Z])"
    r"|(?:text)?color\{\w+\})"
)
_BLANK = re.compile(r"(?<!\\)\\(?:[;:> ]|q?quad(?![a-zA-Z]))|~")
_SUBS = (
    ("\\text{:}", ":"),
    ("{:}", ":"),
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\cfrac", "\\frac"),
    ("\\dbinom", "\\binom"),
    ("\\%", "%"),
    ("\\$", "$"),
    ("\\&", "&"),
    ("\\#", "#"),
    ("\\lbrace", "\\{"),
    ("\\rbrace", "\\}"),
    ("\\leq", "\\le"),
    ("\\geq", "\\ge"),
    ("\\neq", "\\ne"),
    ("\\leslant", "\\le"),
    ("\\geslant", "\\ge"),
    ("\\degree", "^\\circ"),
    ("\\text{ factorial}", "!"),
    ("\\dots", "\\ldots"),
    ("\\cdots", "\\ldots"),
    ("\\varnothing", "\\emptyset"),
    ("\\lvert", "|"),
    ("\\rvert", "|"),
)
WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|mathrm|mathbf|mathit|mathsf|mathbb|mbox|hbox|operatorname|underline|boldsymbol|bm)\s*\{([^{}]*)\}"
)
"""Words and upright letters inside mathematics."""
_BRACES = re.compile(r"\{([^{}\\]*)\}")
_BOLD = re.compile(r"\\(?:mathbf|boldsymbol|bm|textbf|mathrm)\{(.*)\}", re.DOTALL)
_MODULUS = re.compile(r"\\pmod ?(\w)(?!\w)")
_THOUSANDS = re.compile(r"(?<=\d)\{,\}(?=\d{3}(?!\d))")
_LABEL = re.compile(
    r"^(?:\\text\{ ?)?(?:(?:the )?(?:final )?ans(?:wer)?(?: ?[:=]| is)|[A-Za-z][A-Za-z ]{1,29}:(?= ?\}? ?[-\d\\$]))"
    r" ?\}? ?",
    re.IGNORECASE,
)
_SPACE = re.compile(r"\s+")
_IDLE_SPACE = re.compile(r"(?<!\d) +| +(?![\d.])")
"""Not the one between two numbers: 1 1/2 is not 11/2."""
_BRACED_SIGN = re.compile(r"\^\{\s*(\\circ)\s*\}")


@lru_cache(maxsize=8192)
def spelling(text: str) -> str:
    """An answer in one spelling, with single spaces: Unicode's signs, LaTeX's sizes and spacing, and wrappers gone.

    Texts in `\\text{...}` stay as they are: where words end is still to be seen.
    """
    text = clean(ascii_signs(text))
    if (
        text.count("$") > 1 and "\\$" not in text and _is_maths_in_dollars(text)
    ):  # $2\sqrt{3}$ cm, all $n$ not divisible by 3
        text = text.replace("$", "")
    if "\\" in text or "{" in text or "~" in text:
        text = _MODULUS.sub(r"\\pmod{\1}", _THOUSANDS.sub("", text).replace("{,}", ","))
        for old, new in _SUBS:
            if old in text:
                text = text.replace(old, new)
        text = _BRACED_SIGN.sub(r"^\1", _BLANK.sub(" ", _NOTHING.sub("", text)))
        whole = WRAPPED.fullmatch(text) or _BRACES.fullmatch(text)
        text = whole[1] if whole and not text.startswith("\\mathbb") else _bare(text)
    return clean(_LABEL.sub("", _SPACE.sub(" ", text)))


def _is_maths_in_dollars(text: str) -> bool:
    """Whether dollar signs come in pairs around mathematics, and are no money."""
    parts = text.split("$")
    return len(parts) % 2 == 1 and all("\\" in p or not re.search("[A-Za-z]{2}", p) for p in parts[1::2])


def _bare(text: str) -> str:
    """`\\mathbf{\\frac{1}{2}}` without its type."""
    whole = _BOLD.fullmatch(text)
    if whole is None:
        return text
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", whole[1]):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return text
    return whole[1]


@lru_cache(maxsize=8192)
def normal(text: str) -> str:
    """Text with what never carries meaning taken out; equal results mean the same answer as written."""
    text = spelling(text)
    if "\\" in text:
        text = WRAPPED.sub(r"\1", WRAPPED.sub(r"\1", text))
    return clean(_IDLE_SPACE.sub("", text))
