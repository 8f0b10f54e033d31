"""What a sentence states: its formula, its number with a unit, or its words; of "the answer is ..." and of a last line.

Pure functions, linear in the text.
"""

from __future__ import annotations

import re

from mixdistill.verifiers.plain import ascii_signs, clean
from mixdistill.verifiers.quantities import unit_of

JOINT = re.compile(r"(?:[\s$,;*]|\\[()\[\],;]|\\q?quad|\\text\s*\{\s*|\}|\b(?:and|or)\b|[A-Za-z]\w?\s*=\s*){0,24}")
"""What may stand between two formulas that are one answer."""
WORD = re.compile(r"(?<![\\A-Za-z])[^\W\d_]{2,}")
_MATHS = re.compile(r"\$\$([^$\n]+)\$\$|\$((?:\\\$|[^$\n])+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_DISPLAY = re.compile(r"(?:\$\$|\\\[)\s*\n([^\n]{1,499})\n\s*(?:\$\$|\\\])")
_SENTENCE_END = re.compile(r"[.!?;](?=\s)")
_BECAUSE = re.compile(r"\s(?:because|since|as|which|where|so that)\s|\s\((?=[A-Za-z]{2,})", re.IGNORECASE)

_DIGITS = r"(?:\d{1,3}(?:(?:,|\{,\}|\\,)\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?![\d.,]*\d)|\d+)"
NUMBER = re.compile(
    r"(?<![\^\d])(?<!\^\{)(?:(?<![\w)}\]])[-\u2212])?"
    r"(?:(?:\d+\s?)?\\[dt]?frac(?:\{-?\d+\}\{\d+\}|\d\d)|\d+ \d+/\d+(?![\d/])"
    r"|(?:\\?\$(?!\d+\s?\\[dt]?frac)|[\u20ac\u00a3\u00a5])?"
    rf"(?:{_DIGITS}(?:\.\d+)?|(?<!\d)\.\d+)(?:[eE][-+]?\d{{1,3}}(?!\w)|/\d+)?"
    r"(?:\s?(?:\\times|\*|x)\s?10\^\{?-?\d+\}?)?(?:\s?\\?%)?)"
)
"""One number in running text: sign, currency, thousands separators, decimals, a/b, per cent."""


def answer_in(phrase: str, on: str) -> str | None:
    """The answer inside what follows "answer is": maths, else a number among words, else the phrase itself.

    `on` is the text from there on, over the end of the line.
    """
    display = _DISPLAY.match(on)
    if display:
        return clean(display[1]) or None
    phrase = _SENTENCE_END.split(phrase, maxsplit=1)[0]
    maths = list(_MATHS.finditer(phrase))
    if maths:
        return _joined(phrase, maths)
    phrase = _WHICH_IS.split(phrase)[-1]
    text = clean(_BECAUSE.split(phrase, maxsplit=1)[0]) or clean(phrase)
    text = text.rstrip("!") or text  # an exclamation; a factorial stands in a formula
    if not WORD.search(_AND.sub("", text)):
        return text if re.search(r"[\w\\]", text) else None
    plain = ascii_signs(text)
    said = _YES.match(plain)
    if said:
        return said[1]
    for whole in (_CLOCK, _DATE, _CHOICE_OF, _SEVERAL):
        match = whole.match(plain)
        if match:
            return clean(match.group())
    if _HEDGED.match(plain) or _is_formula_with_unit(plain):
        return plain
    numbers = list(NUMBER.finditer(plain))
    if numbers:
        return _with_unit(plain, numbers[0] if numbers[0].start() == 0 else numbers[-1])
    return text.strip("\"'") or None


def _joined(phrase: str, maths: list[re.Match[str]]) -> str | None:
    """The formula that a phrase begins with, or else its last one, and those that only a comma or an `and` parts."""
    at = 0 if len(WORD.findall(phrase[: maths[0].start()])) <= 3 else len(maths) - 1
    found = [maths[at]]
    for match in maths[at + 1 :]:
        if not JOINT.fullmatch(phrase[found[-1].end() : match.start()]):
            break
        found.append(match)
    parts = [clean(next(part for part in m.groups() if part)) for m in found]
    answer = ", ".join(dict.fromkeys(p for p in parts if p))
    return answer or None


_AND = re.compile(r"(?<=[\s,])(?:and|or)(?=\s)")
_CLOCK = re.compile(r"\d{1,2}:\d\d(?: ?[ap]\.?m\b)?", re.IGNORECASE)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(rf"(?:{_MONTHS}) \d{{1,2}}(?:, \d{{4}})?\b|\d{{1,2}} (?:{_MONTHS})(?: \d{{4}})?\b")
_WHICH_IS = re.compile(r",? (?:which|that) (?:is|equals|gives|comes to|makes) ")
_YES = re.compile(r"(yes|no|true|false)(?=[,.;]|$)", re.IGNORECASE)
_UNITS = r"(?: ?[A-Za-z]{1,12}(?:\^?[23])?)?"
_CHOICE_OF = re.compile(rf"{NUMBER.pattern}(?:(?:, ?| )or {NUMBER.pattern})+")
_SEVERAL = re.compile(rf"{NUMBER.pattern}{_UNITS}(?:(?:,? (?:and|or) |, ){NUMBER.pattern}{_UNITS})+(?=[.;]?$)")
_HEDGED = re.compile(r"(?:either|between|one of)\b", re.IGNORECASE)


def _is_formula_with_unit(text: str) -> bool:
    """`2\\sqrt 3 cm`: mathematics and one word behind it, which is a unit."""
    formula, _, word = text.rpartition(" ")
    return not WORD.search(formula) and bool(re.search(r"[\\^]", formula)) and unit_of(word) is not None


_UNIT_WORD = re.compile(r"\s?(?:%|percent|million|billion|thousand|(?!(?:and|or)\b)[A-Za-z]{1,12})(?:\^?[23])?(?![\w])")
_PARTED = re.compile(r"\d+(?: ?: ?\d+)+(?: ?[ap]\.?m\b\.?)?", re.IGNORECASE)


def _with_unit(text: str, number: re.Match[str]) -> str:
    """A number with the word behind it, which may be its unit or its size; a time or a ratio whole."""
    for parted in _PARTED.finditer(text):
        if parted.start() <= number.start() < parted.end():
            return clean(parted.group())
    behind = _UNIT_WORD.match(text, number.end())
    return clean(text[number.start() : behind.end() if behind else number.end()])


# -- the end of a text that marks no answer ---------------------------------------------------------------------------

_ASIDE = re.compile(
    r"(?:,? ?\(?(?:is )?\b(?:attained|achieved|reached|obtained|when|where|since|because|with equality|for example"
    r"|which (?:we|is (?:attained|achieved|reached)))\b|,? (?:or|which is) (?:about|approximately|roughly)\b"
    r"|,? ?\(?(?:\\approx|(?<=[\d}]) about)|\((?:since|because|and not|not)\b).*",
    re.IGNORECASE,
)
_STRESSED = re.compile(r"\*\*([^*\n]{1,80}?)\*\*")
_NAMED = re.compile(rf"[A-Za-z] ?= ?{NUMBER.pattern}(?:(?:,| and|, and|,? or) (?:[A-Za-z] ?= ?)?{NUMBER.pattern})+")
_COUNTED = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|twenty)\b",
    re.IGNORECASE,
)
_ALIGNED = re.compile(r"(?:\$\$|\\\[)([^$]{1,2000}?)(?:\$\$|\\\])[.\s]*$")


def at_the_end(text: str) -> str | None:
    """What a text ends with: the last number, or the formula it stands in, looked for from the last line upwards."""
    plain = ascii_signs(text).rstrip()
    shown = _ALIGNED.search(plain, max(0, len(plain) - 2100)) if plain.endswith(("$$", "\\]", "$$.", "\\].")) else None
    if shown:
        last = shown[1].replace("\\end{aligned}", "").replace("\\end{align*}", "").strip().rsplit("\\\\", 1)[-1]
        return clean(last.replace("&", " ")) or None
    for line in reversed(plain.splitlines()):
        found = _of_line(line)
        if found:
            return found
    words = list(_COUNTED.finditer(text)) or list(_STRESSED.finditer(text))
    return clean(words[-1].group()) if words else None


def _of_line(line: str) -> str | None:
    """The last number of a line, with what belongs to it; what is only an aside to another number is left out."""
    head = _ASIDE.sub("", line, count=1)
    line = head if NUMBER.search(head) else line
    stressed = [m for m in _STRESSED.finditer(line) if NUMBER.search(m[1]) and not m[1].rstrip().endswith(":")]
    if stressed and len(line) < 400:
        return answer_in(stressed[-1][1], "")
    numbers = list(NUMBER.finditer(line))
    if not numbers:
        return None
    at = numbers[-1].start()
    formulas = [(m, next(part for part in m.groups() if part)) for m in _MATHS.finditer(line)]
    wholes = [(m, inside) for m, inside in formulas if "\\" in inside or not WORD.search(inside)]  # no $12 to $18
    wholes += [(m, m.group()) for pattern in (_NAMED, _PARTED) for m in pattern.finditer(line)]
    for match, inside in wholes:
        if match.start() <= at < match.end():
            return clean(inside)
    scale = _SCALE.match(line, numbers[-1].end())
    return clean(line[at : (scale or numbers[-1]).end()])


_SCALE = re.compile(r" (?:hundred|thousand|million|billion|trillion|dozen|percent)\b")
