"""Finds the answer in the answer part of a trace. Pure functions, linear in the text, safe on hostile text.

Rules in order of trust, the last match of a rule winning (models correct themselves):

    box            the last complete `\\boxed{...}`, with those that stand beside it ("\\boxed{1} and \\boxed{2}"); an
                   unclosed or empty box is none
    final_answer   `Final Answer: x`, also with the answer on the next line
    hash           `#### x` on a line of its own
    answer_is      `the answer is x`, `Answer: x`, and their like in other languages
    a              `A: x` at the beginning of a line
    last_number    the last number in the text

An answer that is followed by a loop, or by the token limit, stays the answer; see `verdicts.compared` for the strict
reading of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from mixdistill.verifiers.phrases import JOINT, NUMBER, WORD, answer_in, at_the_end
from mixdistill.verifiers.plain import WRAPPED, ascii_signs, clean
from mixdistill.verifiers.verdicts import Found

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s*([^\s{}$\\.,;]+)")
_PLAIN_BOX = re.compile(r"\\boxed\{([^{}\\\n]*)\}")
_NEAR = 60
"""Most characters between two boxes that are one answer."""
LONGEST_BOX = 20_000
"""Characters of a box that are kept: no answer is longer."""
_MOST = 16
"""Boxes that can be one answer."""

_SPACE = r"[*_`}\s]{0,8}"
_X = r"(?=(?P<x>\S[^\n]{0,499}))"
"""What is behind a mark, up to the end of the line."""
_TO = r"(?:\s+(?:to|for)\b[^\n:.]{0,80}?(?=\s+(?:is|are)\b|:))?"
_FINAL = re.compile(rf"final answer\b{_TO}(?:{_SPACE}:|[*_`]{{1,8}}\s*\n|\s*\n){_SPACE}{_X}", re.IGNORECASE)
_FINAL_IS = re.compile(rf"final answer\b{_TO}{_SPACE}(?:is\b|=){_SPACE}:?{_SPACE}{_X}", re.IGNORECASE)
_HASH = re.compile(r"^[ \t]*####[ \t]*(?P<x>[^\n]+)$", re.MULTILINE)
_ANSWER_IS = re.compile(
    rf"(?<![A-Za-z])(?:answers?|ans|final results?|final values?)(?![A-Za-z])[\"']?{_TO}{_SPACE}"
    r"(?:(?:is|are)\b(?!\s+(?:not|correct|right|wrong|incorrect|clear|obvious|below|as follows)\b)"
    rf"|=|:|\uff1a|\.(?=\*\*)){_SPACE}"
    rf"(?:(?:therefore|thus|simply|then|just)\b)?{_SPACE}:?{_SPACE}{_X}",
    re.IGNORECASE,
)
_HEADING = re.compile(rf"^[#*_ \t]{{1,8}}answer[*_: \t]{{0,8}}\n\s{{0,8}}{_X}", re.IGNORECASE | re.MULTILINE)
_BEHIND = re.compile(r"(?P<x>[-\d$\\(][^\n.!?]{0,80}?)(?= (?:is|as) (?:the|my|our) (?:final )?answer\b)", re.IGNORECASE)
_ELSEWHERE = re.compile(
    r"(?:\u043e\u0442\u0432\u0435\u0442|\u0432\u0456\u0434\u043f\u043e\u0432\u0456\u0434\u044c|\u7b54\u6848|\u7b54\u3048|"
    r"\uc815\ub2f5|\ub2f5|\u0627\u0644\u0625\u062c\u0627\u0628\u0629|\u0627\u0644\u062c\u0648\u0627\u0628|"
    r"\u067e\u0627\u0633\u062e|\u062c\u0648\u0627\u0628|\u0909\u0924\u094d\u0924\u0930|\u0989\u09a4\u09cd\u09a4\u09b0|"
    r"\u0c38\u0c2e\u0c3e\u0c27\u0c3e\u0c28\u0c02|\u0c9c\u0cb5\u0cbe\u0cac\u0cc1|\u0baa\u0ba4\u0bbf\u0bb2\u0bcd|"
    r"\u0e04\u0e33\u0e15\u0e2d\u0e1a|"
    r"\b(?:r\xe9ponse|respuesta|antwort|jibu|risposta|resposta|odpowied\u017a|jawaban|cevap|yan\u0131t|"
    r"\u0111\xe1p \xe1n|svar|vastaus|antwoord|odpov\u011b\u010f|r\u0103spuns|v\xe1lasz|respondo))"
    rf"(?:\s+(?:final|finale|finala|akhir|la mwisho))*{_SPACE}"
    r"(?:(?:ni|est|es|ist|lautet|\xe8|\xe9|to|adalah|l\xe0|\u05d4\u05d9\u05d0)\s|:|\uff1a|=|\u662f|\u4e3a|\u70ba|\u306f|\uc740|\ub294|"
    r"\u0647\u0648|\u0647\u064a|\u0939\u0948|\u0e04\u0e37\u0e2d|-|\u2014|(?=\d))"
    rf"{_SPACE}[:\uff1a]?{_SPACE}{_X}",
    re.IGNORECASE,
)
_TAGGED = re.compile(r"<answer>\s{0,8}(?P<x>[^<]{1,499}?)\s{0,8}</answer>", re.IGNORECASE)
_A = re.compile(r"^[ \t>*_]{0,8}A[*_]{0,2}:[*_ \t]{0,8}(?P<x>\S[^\n]{0,499})$", re.MULTILINE)
_NUMBERED_HEADING = re.compile(r"\d+[.)]\s+[A-Za-z]")


def extract(text: str, *, guess: bool = True) -> Found | None:
    """The answer in `text` and the rule that found it; None where no rule finds one.

    `text` must be the answer part alone: a box left in the reasoning would beat a plain answer after it. Without
    `guess` the last number does not count: in a text that was cut it is a number on the way, not an answer.
    """
    if "<think>" in text or "</think>" in text:
        text = text.rpartition("</think>")[2] if "</think>" in text else ""
    head = _first_turn(text)
    box = last_box(head)
    if box:
        return Found(box, "box")
    text = head if guess or len(head) < len(text) else _whole_part(text)
    marked = _marked(text)
    if marked:
        return marked
    answer = at_the_end(text) if guess else None
    return Found(answer, "last_number", marked=False) if answer else None


def _marked(text: str) -> Found | None:
    for rule, find in _PHRASES:
        said = find(text)
        if said:
            return Found(said.answer, rule, said=said.line)
    return None


def _first_turn(text: str) -> str:
    """A text without the next question that a base model goes on to invent, once there is an answer to this one."""
    turn = _NEXT_TURN.search(text) if ":" in text or ">" in text or "**" in text else None
    if turn is None or not turn.start():
        return text
    head = text[: turn.start()]
    return head if last_box(head) or _marked(head) else text


_NEXT_TURN = re.compile(
    r"\n\s{0,4}(?:#+ ?)?(?:\*\*)?(?:Human|User|Question|Q|Problem|Example|Exercise|Instruction)(?: \d+)?(?:\*\*)?\s?:"
    r"|<\|?(?:im_start|im_end|endoftext|eot_id|end_of_turn)\|?>|</s>|\n\*\*(?:Problem|Example) \d+\*\*"
)


def _whole_part(text: str) -> str:
    """A text that was cut, as far as it is whole for certain: `the answer is 1` may go on as 18."""
    ends = [text.rfind("\n") + 1, text.rfind(". ") + 1, text.rfind("\u3002") + 1]
    ends += [match.start() for match in _GOES_ON.finditer(text, max(ends))]
    return text[: max(ends)]


_GOES_ON = re.compile(
    r"(?<=[\d})$*])(?:[,;:]\s+|\s+(?!(?:hundred|thousand|million|billion|percent|times|plus|minus|over|per|or|and|to)\b))"
    r"(?=[^\W\d_]{2,}[\s.,;:!?)])"
)
"""Where a number or a formula is over, and words follow."""


def last_box(text: str) -> str | None:
    """Content of the last complete, non-empty box, nested braces kept, and of the boxes that share its answer.

    A box never spans a blank line.
    """
    if "box" not in text:
        return None
    if "\\boxed" not in text:
        text = re.sub(r"(?<![\\A-Za-z])boxed\{", r"\\boxed{", text)
    simple = _simple_box(text)
    if simple:
        return simple
    boxes = _boxes(text)
    if boxes:
        start, _, content = boxes[-1]
        found = [content]
        for first, last, other in reversed(boxes[-_MOST:-1]):
            between = text[last:start]
            if len(between) > _NEAR or not JOINT.fullmatch(between.removesuffix("\\boxed{").removesuffix("\\fbox{")):
                break
            found, start = [other, *found], first
        return ", ".join(dict.fromkeys(found))
    bare = _BARE_BOX.findall(text)
    return clean(bare[-1]) if bare else None


def _simple_box(text: str) -> str | None:
    """What `last_box` finds, where the last box is the only one near and holds no brace: most are so."""
    at = text.rfind("\\boxed{")
    match = _PLAIN_BOX.match(text, at) if at >= 0 else None
    if match is None or text.find("\\f", at) >= 0 or text.rfind("box", max(0, at - 2 * _NEAR), at) >= 0:
        return None
    before = text[max(0, at - 2) : at]
    return None if before.endswith(("\\", "-", "-$")) else clean(match[1]) or None


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """(start of the content, end of the box, content) of every complete box that is in no other, in order."""
    stack: list[int | None] = []  # start of the content for a box, None for any other brace
    found: list[tuple[int, int, str]] = []
    first = min((place for place in (text.find("\\boxed"), text.find("\\f")) if place >= 0), default=0)
    for token in _BOX_TOKEN.finditer(text, first):
        mark = token.group()
        if mark == "}":
            start = stack.pop() if stack else None
            if start is not None:
                content = text[start : min(token.start(), start + LONGEST_BOX)]
                inner = found and found[-1][0] > start
                if not inner and "\n\n" not in content and _says(content):
                    found.append((start, token.end(), _sign(text, start) + clean(content)))
        elif mark[-1] == "{" and mark != "\\{":
            stack.append(None if mark == "{" else token.end())
    return found


_SIGNED = re.compile(r"(?<![\w)}])-\s?\$?\\(?:boxed|fbox|framebox)\s*\{$")


def _sign(text: str, start: int) -> str:
    """A minus in front of a box belongs to its content."""
    return "-" if _SIGNED.search(text, max(0, start - 20), start) else ""


def _says(content: str) -> bool:
    """Whether a box holds anything."""
    return bool(clean(WRAPPED.sub(r"\1", content)).strip("\\ "))


def _last_phrase(pattern: re.Pattern[str], text: str) -> Said | None:
    for match in reversed(list(pattern.finditer(text))):
        if _is_opening(match["x"], len(text) - match.end("x")):
            continue
        answer = answer_in(match["x"], text[match.start("x") : match.start("x") + 1000])
        if answer:
            return Said(answer, match["x"])
    return None


class Said(NamedTuple):
    """An answer, and the whole line that it was taken from."""

    answer: str
    line: str


def _is_opening(phrase: str, left: int) -> bool:
    """Whether "Answer:" only begins the answer part: it goes on with a sentence, and with much more after that."""
    first = phrase.split(maxsplit=3)[:3]
    return left > _MUCH and len(first) == 3 and all(word.isalpha() for word in first[:2])


_MUCH = 400
"""Characters behind a sentence, from which on it is not the last word."""


def _last_hash(text: str) -> Said | None:
    """`#### 18`. Headings of the fourth level look alike: a line that begins with words is one of them."""
    if "####" not in text:
        return None
    for match in reversed(list(_HASH.finditer(text))):
        line = clean(match["x"][:500])
        if not line or _NUMBERED_HEADING.match(line):
            continue
        word = WORD.search(line)
        if not word or line.lower() in ("yes", "no", "true", "false"):
            return Said(line, line)
        number = NUMBER.match(ascii_signs(line))
        if number and line[number.end() : number.end() + 1] == ":":  # 12:30 pm
            return Said(line, line)
        if number and (answer := answer_in(line)):
            return Said(answer, line)
    return None


_ABOUT_ANSWERS = re.compile(r"nswer|NSWER|[Aa]ns\b|inal (?:result|value)")


def _last_answer(text: str) -> Said | None:
    """The last "answer is" of any language."""
    tagged = _TAGGED.findall(text) if "</" in text else []
    if tagged and (answer := answer_in(tagged[-1])):
        return Said(answer, tagged[-1])
    found = None
    if _ABOUT_ANSWERS.search(text):
        found = _last_phrase(_ANSWER_IS, text)
        if not found and _IS_THE_ANSWER.search(text):
            found = _last_phrase(_BEHIND, text)
        found = found or _last_phrase(_HEADING, text)
    foreign = not text.isascii() or any(word in text.lower() for word in _ASCII_WORDS)
    return found or (_last_phrase(_ELSEWHERE, text) if foreign else None)


_IS_THE_ANSWER = re.compile(r" (?:is|as) (?:the|my|our) (?:final )?answer\b")
_ASCII_WORDS = (
    "respuesta", "antwort", "jibu", "risposta", "resposta", "jawaban", "cevap", "svar", "vastaus", "antwoord",
    "respondo",
)  # fmt: skip


_PHRASES: list[tuple[str, Callable[[str], Said | None]]] = [
    ("final_answer", lambda t: _last_phrase(_FINAL, t) if "inal " in t or "INAL " in t else None),
    ("hash", _last_hash),
    # In running text it is no heading: `#### x` on the last line says more.
    ("final_answer", lambda t: _last_phrase(_FINAL_IS, t) if "inal " in t or "INAL " in t else None),
    ("answer_is", _last_answer),
    ("a", lambda t: _last_phrase(_A, t) if "A" in t else None),
]
