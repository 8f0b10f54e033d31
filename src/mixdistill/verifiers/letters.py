"""Which options a piece of an answer names: `(B)`, `B) 5 km`, `**A and C**`, `5 km`; and what is no option's letter.

Never read as a letter: the article (`A train`), the pronoun (`I`), part of a word or of a formula (`B-cell`, `C = 90`),
one that is denied (`not A`, `A is wrong`) or asked (`is it A?`), and two between which nothing was decided (`A or B`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from mixdistill.verifiers.options import LONGEST, Options
from mixdistill.verifiers.plain import clean

MOST = 200
"""Places of one kind that are read in a text, the last ones: what is said more often is said in a loop."""


class Reading(NamedTuple):
    """What a piece of text names."""

    labels: frozenset[str]
    """Empty where it speaks of options and decides for none."""
    whole: bool = True
    """Whether the text is nothing but the options named, as letters, as text or as both."""
    contradicted: bool = False
    """Whether a letter is followed by the text of another option."""
    worded: bool = False
    """Whether an option's text only stands somewhere in it, with other words around."""


UNDECIDED = Reading(frozenset())

_STYLED = re.compile(r"\\(?:boxed|text|textbf|textrm|textit|mathrm|mathbf|mathsf|mbox|boldsymbol|bf|rm)\s?\{([^{}]*)\}")
_NOISE = re.compile(
    r"\\(?:left|right|displaystyle|q?quad)(?![a-zA-Z])|\\[ ,;:!{}]|</?[a-z]{2,12}>|[{}$*`\"\u201c\u201d\u00ab\u00bb]|~"
)
_LEAD = (
    r"(?:(?:both|only|just|simply|clearly|definitely|indeed|either|options?|choices?|letters?|answers?|statements?|"
    r"alternatives?|the|varianty?|варианты?|ответ|选项|選項|"
    r"答案|opción|letra|lettre|lettera|буква|opcão|opzione|l'option|la|el|die|option:)[\s:]\s*){0,4}"
)
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Scripts that set words beside a letter without a space: `故选B因为`, `정답은 B입니다`."""
_LETTER = rf"[^\W_{_UNSPACED}]"
_AND = r"(?:\s*(?:,\s*(?:and|und|et|y|e|и)?|;|&|\+|\u3001|和|と|و|\b(?:and|und|et|y|e|и)\b)\s*)"
_OR = re.compile(r"\s*,?\s*(?:\b(?:or|oder|ou|или|o)\b|/|或)\s*", re.IGNORECASE)
_BECAUSE = re.compile(
    r"\s+(?:because|since|as|is|are|was|for|which|where|while|with|due|given|being|by|from|that|here|then|but|and not|"
    r"not|rather|instead|weil|denn|car|porque|perché|потому|так)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"[)\]]?[.:,]?\s*(?:\([^()\n]{0,60}\)\s*)?(?:[-\u2013\u2014:]\s*)?"
    r"(?:(?:is|are|was|were|seems?|looks?|can|could|does|do|would|must|will)"
    r"(?:n't|n\u2019t|not|\s+(?:(?:also|clearly|definitely|therefore|obviously|both)\s+)?"
    r"(?:not|never|wrong|incorrect|false|impossible|invalid|eliminated|excluded|out\b|ruled out|too|unlikely))"
    r"|(?:wrong|incorrect|false)\b|\u2717|\u274c|не\s|неверн|是?(?:错|錯|不))",
    re.IGNORECASE,
)
_NOT = re.compile(r"\s*(?:not|neither|none|never|nicht|не|no es|n'est pas)\b", re.IGNORECASE)
_BUT = re.compile(r"\b(?:but|rather|sondern|а)\b\s*(?:rather\s*)?(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_REASONS = re.compile(r",\s|\s\(|\s(?:because|since|as|which|where|for)\s", re.IGNORECASE)
_GOES_ON = re.compile(r"[\w%]|[.,/-]\d")
_GOES_BEFORE = re.compile(r"[\w.,$/^\u2212-]")
_NEGATIVE = re.compile(
    r"\b(?:not|never|neither|nor|no|unlike|instead|rather|cannot|wrong|incorrect|false|too|if)\b|n['\u2019]t\b|\?\s*$"
)
_SENTENCE = re.compile(r"[.!?;](?=\s)|[\u3002\uff01\uff1f\n]")


@lru_cache(maxsize=256)
def _patterns(labels: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """(the first letter of a piece, each further one) for a set of labels."""
    letter = letter_class(labels)
    one = rf"[(\[<]?\s?(?P<x>{letter})(?!{_LETTER}|['\u2019](?!\s|$))(?P<close>(?:\s?[)\]>]{{1,2}})?[.:!]?)"
    return (
        re.compile(rf"\s*[(\[<]?{_LEAD}{one}", re.IGNORECASE),
        re.compile(rf"{_AND}{_LEAD}{one}(?=\s*(?:$|[.,;:)\]/&+\n\u3001]|{_AND}|(?:is|are)\b))", re.IGNORECASE),
    )


def letter_class(labels: str) -> str:
    """A pattern for one character that can stand for a label."""
    alike = {"A": "АΑ", "B": "ВΒ", "C": "С", "E": "ЕΕ", "H": "НΗ"}
    return (
        "["
        + re.escape(labels + labels.lower() + "".join(alike.get(c, "") for c in labels))
        + "A" * ("А" in labels)
        + "]"
    )


def bare(text: str) -> str:
    """A piece of text without markdown, LaTeX styling and quotes."""
    before = None
    while before != text:
        before, text = text, _STYLED.sub(r"\1", text)
    return clean(_NOISE.sub(" ", text)).strip("_' ")


def read(piece: str, options: Options) -> Reading | None:
    """What a piece of an answer names, from its first word on; None where it names no option.

    A lone letter counts before an option's text does: where options are letters themselves, B is the option B.
    """
    piece = piece[:LONGEST]
    text = bare(piece)
    if not text:
        return None
    if len(text.strip("()[].: ")) > 1 and (label := options.named(text) or options.named(clean(piece))):
        return Reading(frozenset(label))
    said = _letters(text, options) or _joined(text, options)
    if said:
        return said
    sentence = _SENTENCE.split(text, maxsplit=1)[0]
    if label := options.named(sentence) or _before_reasons(sentence, options):
        return Reading(frozenset(label), whole=sentence == text)
    if _NOT.match(text):
        but = _BUT.search(text)
        return (read(but["rest"], options) if but else None) or UNDECIDED
    label = worded(sentence, options)
    return Reading(frozenset(label), whole=False, worded=True) if label else None


def _before_reasons(sentence: str, options: Options) -> str | None:
    """The option whose text is followed by more words, `5 km, since ...`, none of which name another."""
    reasons = _REASONS.search(sentence)
    if not reasons or options.named(sentence[reasons.end() :]) or worded(sentence[reasons.end() :], options):
        return None
    return options.named(sentence[: reasons.start()])


def _letters(text: str, options: Options) -> Reading | None:
    """Letters at the beginning of a text that is `bare`."""
    first, more = _patterns(options.labels)
    match = first.match(text)
    if not match or not (label := options.label(match["x"])):
        return None
    labels, closed, end = [label], "(" in match.group() or "[" in match.group() or bool(match["close"]), match.end()
    while (following := more.match(text, end)) and (label := options.label(following["x"])):
        labels, end = [*labels, label], following.end()
    rest = text[end:]
    either = _OR.match(rest)
    if either and (other := first.match(rest, either.end())) and options.label(other["x"]) not in labels:
        return UNDECIDED
    reading = _with_text(frozenset(labels), rest, options)
    if not reading.whole and (rest.lstrip(" )]").startswith("?") or _DENIED.match(rest)):
        return UNDECIDED
    return reading if len(labels) > 1 or closed or reading.whole or _ends(rest) else None


def _ends(rest: str) -> bool:
    """Whether what follows a letter shows that it was an option's, and no article, name or variable."""
    return bool(
        re.match(rf"[)\].,;:!\u2014\n\u3002\uff0c\uff1a{_UNSPACED}]|\s+[-\u2013\u2014(\[{_UNSPACED}]|\u3001", rest)
        or _BECAUSE.match(rest)
    )


def _with_text(labels: frozenset[str], rest: str, options: Options) -> Reading:
    """Letters with what stands behind them: nothing, their option's text, another's, or other words."""
    behind = clean(rest).strip(" -\u2013\u2014:=()[],.;")
    if not behind:
        return Reading(labels)
    named = options.named(behind) or options.named(_SENTENCE.split(behind, maxsplit=1)[0].strip(" ()"))
    return Reading(labels, whole=named in labels, contradicted=named is not None and named not in labels)


def _joined(text: str, options: Options) -> Reading | None:
    """`AC`: two labels or more, in their order and each once, and no option of that text."""
    word = text.strip("()[] ")
    if not 2 <= len(word) <= len(options.labels) or not word.isalpha() or options.named(word):
        return None
    places = [options.labels.find(letter) for letter in word]
    return Reading(frozenset(word)) if places[0] >= 0 and places == sorted(set(places)) else None


@lru_cache(maxsize=4096)
def _words(text: str) -> str:
    return " ".join(bare(text[:LONGEST]).casefold().split())


def worded(sentence: str, options: Options) -> str | None:
    """The label of the one option whose text stands in a sentence as words of their own and is not denied there."""
    low = _words(sentence)
    spans: dict[str, tuple[int, int]] = {}
    for label, text in options.texts.items():
        wanted = _words(text)
        place = low.rfind(wanted) if len(wanted) > 1 or wanted.isdigit() else -1
        end = place + len(wanted)
        if place >= 0 and not _GOES_ON.match(low, end) and not _GOES_BEFORE.match(low, max(place - 1, 0), place):
            spans[label] = (place, end)
    # An option inside a longer one (`5` in `5 km`) is not named by it.
    inside = {a for a, s in spans.items() for t in spans.values() if t[0] <= s[0] and s[1] <= t[1] and s != t}
    named = [label for label in spans if label not in inside]
    if len(named) != 1:
        return None
    start, end = spans[named[0]]
    return None if _NEGATIVE.search(low[:start]) or _NEGATIVE.search(low[end:]) else named[0]


# -- where nothing is marked ------------------------------------------------------------------------------------------

_CUE = re.compile(
    r"(?:\b(?:so|therefore|thus|hence|must be|should be|has to be|choose|chose|select|pick|go with|going with|opt for|"
    r"leaves|leaves us with|leaving|left with|it's|it\u2019s|it is|that's|that is|which is|means|is|also)\b"
    r"|\u2192|=>|\u21d2)"
    r"[\s:,]{1,3}(?:it(?:'s|\u2019s| is| must be)\s+)?(?=(?P<x>[^\n]{1,120}))",
    re.IGNORECASE,
)
_ASKED = re.compile(r"[)\]*\s]{0,3}\?")
_SMALL = re.compile(r"[\s*]*[a-z](?![a-z)\]])")
_WEAK = re.compile(r"(?:is|also)\b", re.IGNORECASE)
_STRONG_FORM = re.compile(
    r"[\s*]*(?:[(\[]|(?:the\s+)?(?:option|choice|answer)\b|\*\*|[^\WaAiI\d_][.!]?\s*\Z)", re.IGNORECASE
)
_DENIED_BEFORE = re.compile(
    r"(?:\bnot|n['\u2019]t|\bcannot|\bneither|\bnor|\bnever|\brather than|\binstead of|\bunlike|"
    r"\beliminat\w{0,4}|\brul(?:e|es|ed|ing) out|\bexclud\w{0,3}|\breject\w{0,3}|\bexcept|\bif|"
    r"\bwhether|\bsuppos\w{0,4}|\bassum\w{0,4})"
    r"\s+(?:(?:be|is|it|the|both|either|simply|just|options?|choices?|answers?)\s+){0,3}[(\[*]{0,3}$",
    re.IGNORECASE,
)


def decided(text: str, options: Options, *, hedged: bool = False) -> tuple[str, Reading] | None:
    """(rule, reading) of an answer that nothing marks; None where nothing was decided. `text` is stripped.

    Where the text `hedged` elsewhere, only a decision counts, and not what is merely spoken of.
    """
    found = [*_cued(text, options), *_judged(text, options), *_lines(text, options)]
    if found:
        _, rule, reading = max(found, key=lambda f: f[0])
        return rule, reading
    if hedged:
        return None
    last = text[text.rfind("\n") + 1 :]
    for part in (last, text):
        spoken = _mentioned(part, options)
        if len(spoken) == 1:
            return "mention", Reading(frozenset(spoken), whole=False)
        if spoken:
            return None
    if first_letter(last, options):
        return None  # a line of a list of all options
    label = next(filter(None, (worded(s, options) for s in reversed(_SENTENCE.split(last)) if s.strip())), None)
    return ("option_text", Reading(frozenset(label), whole=False, worded=True)) if label else None


Placed = tuple[int, str, Reading]


def _cued(text: str, options: Options) -> list[Placed]:
    """`so B`, `I choose (B)`, `which is (B)`; after a mere `is`, only a letter in the form of an option."""
    found: list[Placed] = []
    for match in list(_CUE.finditer(text))[-MOST:]:
        piece = match["x"]
        if _SMALL.match(piece) or (_WEAK.match(match.group()) and not _STRONG_FORM.match(piece)):
            continue
        if not _patterns(options.labels)[0].match(bare(piece)) or _DENIED_BEFORE.search(
            text, max(0, match.start() - 40), match.end()
        ):
            continue
        reading = read(piece, options)
        if reading and reading.labels and not reading.worded:
            found.append((match.start("x"), "decided", reading))
    return found


def first_letter(piece: str, options: Options) -> str | None:
    """The label in the form of an option (`B)`, `(B)`, `B:`) with which a piece begins; None for none."""
    first, _ = _patterns(options.labels)
    match = first.match(bare(piece[:LONGEST]))
    return options.label(match["x"]) if match and (match["close"] or match.end() > 2) else None


_THING = re.compile(
    r"\b(?:at|angle|point|vertex|triangle|line|segment|side|from|to|of|city|town|train|box|bag|team|person|player|event|set)\s$",
    re.IGNORECASE,
)
_JUDGED = re.compile(
    r"(?:is|are|seems|looks|(?:would|must|should|will) be)\s(?:(?:therefore|thus|clearly|indeed|definitely|also|both|"
    r"all|the|our|my|only|most|likely|best|one)\s){0,4}"
    r"(?:(?P<marks>(?:correct |right |best |final ){0,2}(?:answer|option|choice)s?)|correct|right|true|best)\b(?!\?)"
)


def _judged(text: str, options: Options) -> list[Placed]:
    """`B is correct`, `A and C are right`, `B is the answer`; the last marks its answer as the others do not."""
    found: list[Placed] = []
    for judged in list(_JUDGED.finditer(text))[-MOST:]:
        start = max(0, judged.start() - 120)
        subject = _subject(text[start : judged.start()], options)
        if subject and not _DENIED_BEFORE.search(text, max(0, start + subject[0] - 40), start + subject[0]):
            found.append((start + subject[0], "answer_is" if judged["marks"] else "decided", subject[1]))
    return found


def _subject(before: str, options: Options) -> tuple[int, Reading] | None:
    """(where it begins, the letters) of what is judged by the words behind `before`: `B`, `(A) and (C)`, `B) 5 km`."""
    pattern, place = _letters_before(options.labels), 0
    while match := pattern.search(before, place):
        reading = read(match["set"], options)
        said = match["text"]
        called = not said or options.named(said.strip(" :")) in reading.labels if reading else False
        if reading and reading.labels and called and not _THING.search(before, 0, match.start()):
            return match.start(), reading
        place = match.start() + 1  # the letter of an earlier clause
    return None


@lru_cache(maxsize=256)
def _letters_before(labels: str) -> re.Pattern[str]:
    named = r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ss]tatement)s?\s+)?"
    letter = rf"{named}[(\[*]{{0,3}}[{re.escape(labels)}](?!\w)[)\]*.:]{{0,4}}"
    return re.compile(
        rf"(?<![\w'\u2019\\$^_-])(?P<set>{letter}(?:(?:\s?,\s?(?:and\s)?|\sand\s|\s?&\s?){letter}){{0,25}})"
        r"(?:\s(?P<text>[^\n]{1,80}?))?\s?$"
    )


def _lines(text: str, options: Options) -> list[Placed]:
    """The first and the last line, where one is `B` or `B) 5 km` and no other line begins with another letter."""
    lines = [line for line in text.split("\n") if line.strip()]
    begins = {label for line in lines if (label := first_letter(line, options))}
    found: list[Placed] = []
    for place, line in ((0, lines[0]), (len(text), lines[-1])) if lines else ():
        reading = read(line, options) if len(line) <= LONGEST else None
        if not reading or not (reading.whole or reading.contradicted) or not reading.labels or _SMALL.match(line):
            continue
        alone = len(bare(line).strip("()[].: ")) <= 2
        if alone or begins <= reading.labels:
            found.append((place, "line", reading))
    return found


def _mentioned(text: str, options: Options) -> set[str]:
    """The letters that are spoken of as an option, `(B)`, `option B`, `**B**`, without those that are denied."""
    found: set[str] = set()
    denied: set[str] = set()
    for match in list(_mention(options.labels).finditer(text))[-MOST:]:
        label = options.label(match["a"] or match["b"] or match["c"])
        if label and not _ASKED.match(text, match.end()):
            before = _DENIED_BEFORE.search(text, max(0, match.start() - 40), match.start())
            (denied if before or _DENIED.match(text, match.end()) else found).add(label)
    return found - denied


@lru_cache(maxsize=256)
def _mention(labels: str) -> re.Pattern[str]:
    letter = letter_class(labels)
    named = r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Вв]ариант)\s|(?:选项|選項|選択肢|선택지)\s?)"
    return re.compile(
        rf"(?<![\w\\])(?:[(\[](?P<a>{letter})[)\]]|\*\*(?P<b>{letter})[).:]?\*\*"
        rf"|{named}(?P<c>{letter})(?!{_LETTER}|['\u2019]))"
    )
