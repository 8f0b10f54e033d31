"""What a sentence states: its formula, its number with a unit, or its words; of "the answer is ..." and of a last line.

A sentence is taken for words and *runs*: stretches of mathematics, in dollars or not, with the `and` between two of
them. Pure functions, linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mixdistill.verifiers.plain import ascii_signs, clean
from mixdistill.verifiers.quantities import COMPOUND, unit_of

JOINT = re.compile(
    r"(?:[\s$,;*?]|\\[()\[\],;]|\\q?quad|\\text\s?\{|\}|\b(?:and|or|perhaps)\b|[A-Za-z]\w?\s?=){0,24}",
    re.IGNORECASE,
)
"""What may stand between two formulas that are one answer."""
WORD = re.compile(r"(?<![\\A-Za-z])[^\W\d_]{2,}")
_DIGITS = (
    r"(?:\d{1,3}(?:\.\d{3})+,\d+|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,3}(?:(?:,|\{,\}|\\,)\d{3})+(?!\d)"
    r"|\d{1,3}(?: \d{3})+(?![\d.]*\d)|\d+,\d{1,2}(?![\d,])|\d+)"
)
NUMBER = re.compile(
    r"(?<![\^\d])(?<!\^\{)(?:(?<![\w)}\]])[-\u2212])?"
    r"(?:(?:\d+\s?)?\\[dt]?frac(?:\{-?\d+\}\{\d+\}|\d\d)|\d+ \d+/\d+(?![\d/])"
    r"|(?:\\?\$(?!\d+\s?\\[dt]?frac)|[\u20ac\u00a3\u00a5\u20b9])?"
    rf"(?:{_DIGITS}(?:\.\d+)?|(?<!\d)\.\d+)(?:[eE][-+]?\d{{1,3}}(?!\w)|/\d+)?"
    r"(?:\s?(?:\\times|\*|x)\s?10\^\{?-?\d+\}?)?(?:\s?\\?%)?)"
)
"""One number in running text: sign, currency, thousands separators, decimals, a/b, per cent."""

_MATHS = re.compile(r"\$\$([^$\n]+)\$\$|\$((?:\\\$|[^$\n])+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_DISPLAY = re.compile(r"(?:\$\$|\\\[)\s*\n([^\n]{1,499})\n\s*(?:\$\$|\\\])")
_SENTENCE_END = re.compile(r"[.!?;\u3002](?=\s|$)")
_BECAUSE = re.compile(
    r",?\s(?:because|since|as|where|so that|by \w+ing)\s|\s\((?=[A-Za-z]{2,}|\d+ [a-z])", re.IGNORECASE
)
_WHICH_IS = re.compile(r",? (?:which|that) (?:is|equals|gives|comes to|makes) ")
_I_MEAN = re.compile(r",? (?:oh,? )?wait,? (?:no,? )?(?:I mean )?|,? I mean ")
_HEDGE = re.compile(r"\(or (?:maybe )?[-\d$\\]| if \w+ is \w+ and [-\d$\\]| times \d| (?:more|less) than\b")
_CORRECTED = re.compile(r"\W{0,3}(?:actually|wait|no|sorry|correction|hmm)\b[^.\n]{0,40}?(?=[-\d$\\])", re.IGNORECASE)
_SEVERAL = re.compile(
    rf"{NUMBER.pattern}(?: [a-z]{{1,12}})?(?:(?:,? (?:and|or) |, ){NUMBER.pattern}(?: [a-z]{{1,12}})?)+"
)
_YES = re.compile(r"(yes|no|true|false)(?=[,.;]|$)", re.IGNORECASE)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_WHOLES = (
    re.compile(r"\d{1,2}:\d\d(?: ?[ap]\.?m\b)?", re.IGNORECASE),
    re.compile(rf"(?:{_MONTHS}) \d{{1,2}}(?:, \d{{4}})?\b|\d{{1,2}} (?:{_MONTHS})(?: \d{{4}})?\b"),
    re.compile(r"\d+(?: ?: ?\d+)+|\d+ to \d+"),
)
"""Times of day, dates and ratios: more than one number each."""
_BEFORE = re.compile(
    r"\b(?:either|between|one of|less than|more than|fewer than|greater than|at (?:most|least)|up to|above|below|almost"
    r"|nearly|twice|half(?: of)?|double|triple|minus|negative|plus|not|without|except|no more than|times)\W*$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"K\b|-sided|:\d|,? \(?or (?:maybe |perhaps |possibly )?[-\d\\$]|; ?[-\d]| (?:more|less|fewer) than|\?"
    r"| (?:out of|in|remainder|and a half)\b(?! the| all| total)| (?:plus|minus|times|divided by) ",
    re.IGNORECASE,
)
"""What makes another claim of a number: less than 36, twice 36, 36 or maybe 38."""


def answer_in(phrase: str, on: str = "") -> str | None:
    """The answer inside what follows "answer is": maths, else a number among words, else the phrase itself.

    `on` is the text from there on, over the end of the line.
    """
    display = _DISPLAY.match(on)
    if display:
        return clean(display[1]) or None
    if phrase[:1] in ('"', "'") and phrase.find(phrase[0], 1) > 0:
        return clean(phrase[1 : phrase.index(phrase[0], 1)]) or None
    phrase, rest = _sentence(ascii_signs(phrase))
    corrected = _CORRECTED.match(rest)
    if corrected:
        return answer_in(rest[corrected.end() :])
    phrase = _I_MEAN.split(_WHICH_IS.split(phrase)[-1])[-1]
    if _HEDGE.search(phrase):
        return clean(phrase)
    phrase = _BECAUSE.split(phrase, maxsplit=1)[0].strip() or phrase
    alone = _MATHS.fullmatch(phrase.strip(" *.,"))
    if alone and _is_formula(alone):
        return clean(_inside(alone)) or None
    text = clean(phrase)
    text = text.rstrip("!") or text  # an exclamation; a factorial stands in a formula
    if not WORD.search(text):
        text = clean(text.replace("**", ""))
        return text if re.search(r"[\w\\]", text) else None
    said = _YES.match(text)
    if said:
        return said[1]
    for whole in _WHOLES:
        match = whole.match(text)
        if match:
            return clean(match.group())
    found = list(_runs(text))
    if _SEVERAL.fullmatch(text):
        return text
    return _chosen(text, found) or text.strip("\"'") or None


def _sentence(phrase: str) -> tuple[str, str]:
    """(first sentence, the rest); a full stop or a semicolon inside a formula ends none."""
    formulas = [m.span() for m in _MATHS.finditer(phrase)]
    for end in _SENTENCE_END.finditer(phrase):
        if not any(a < end.start() < b for a, b in formulas):
            return phrase[: end.start()], phrase[end.end() :].lstrip()
    return phrase, ""


class _Run(NamedTuple):
    """A stretch of mathematics in a sentence."""

    start: int
    end: int
    text: str
    """Without dollars."""


_TEXT = r"\\(?:text|mathrm|mbox)\s?\{[^{}]{0,60}\}"
_TOKEN = re.compile(rf"(?:{_TEXT}|[\x21-\x7e])+|[^\x00-\x7f\s]+")
_NO_LETTER = r"(?:[\d_]|[^\w\\])*"
_MATHY = re.compile(rf"{_NO_LETTER}(?:(?:\\[a-zA-Z]+|(?<![^\W\d_])[A-Za-z](?![^\W\d_])|\\[^\w]){_NO_LETTER})*")
_LINKS = {"and", "or", "\u0438", "y", "e", "und", "et", "oder", "ou", "o", "\u6216", "\u548c"}
_EDGES = ",;:.?!"


def _runs(text: str) -> Iterator[_Run]:
    """The stretches of mathematics, from left to right."""
    formulas = {m.start(): m for m in _MATHS.finditer(text) if _is_formula(m)}
    run: list[tuple[int, int, str]] = []
    link: tuple[int, int, str] | None = None
    place = 0
    while place < len(text):
        formula = formulas.get(place)
        token = formula or _TOKEN.match(text, place)
        if token is None:
            place += 1
            continue
        inside = _inside(formula) if formula else token.group()
        piece = (token.start(), token.end(), inside)
        place = token.end()
        if formula is None and (later := next((p for p in range(piece[0] + 1, piece[1]) if p in formulas), None)):
            piece, place = (piece[0], later, text[piece[0] : later]), later
        if formula or (_is_mathy(piece[2]) and not _touches_word(text, piece)):
            run += [link, piece] if link and run else [piece]
            link = None
            if formula is None and piece[2][-1] in ".;:?!":
                yield from _closed(run)
                run = []
        elif run and link is None and piece[2].lower() in _LINKS:
            link = piece
        else:
            yield from _closed(run)
            run, link = [], None
    yield from _closed(run)


def _closed(run: list[tuple[int, int, str]]) -> Iterator[_Run]:
    if run:
        text = " ".join(piece[2] for piece in run).lstrip(",;:?! ")
        text = text.rstrip(f"{_EDGES} " if "=" not in run[-1][2] else ",;:.? ").removeprefix("=").strip()
        if any(c.isalnum() for c in text):
            yield _Run(run[0][0], run[-1][1], text)


def _inside(match: re.Match[str]) -> str:
    """What stands between the delimiters of a formula."""
    return next(group for group in match.groups() if group)


def _is_formula(match: re.Match[str]) -> bool:
    """Whether two dollar signs hold mathematics, and not `$12 to $`."""
    inside = _inside(match)
    return "\\" in inside or not WORD.search(inside)


def _touches_word(text: str, piece: tuple[int, int, str]) -> bool:
    """Whether letters are part of a word of another script or with accents: the last one of a Vietnamese word."""
    around = text[max(0, piece[0] - 1) : piece[0]] + text[piece[1] : piece[1] + 1]
    return piece[2].isalpha() and any(c.isalpha() for c in around)


def _is_mathy(token: str) -> bool:
    bare = re.sub(_TEXT, "", token).strip(_EDGES + "*\"'")
    if not bare or bare in ("a", "A", "I", "-", "\u2014", "i.e", "e.g", "i.e.", "e.g."):
        return False
    return _MATHY.fullmatch(bare) is not None and any(c.isalnum() or c in "=+-*/<>" for c in bare)


_ASIDE = re.compile(
    r"(?:\b(?:to (?!be\b)[a-z]+|by [a-z]+ing|for(?: the)?|per|every|each|at|after|than|class|with|if|when|from)"
    r"|(?:[\d%]|\bout) of(?: the| these)?) ?\$?$",
    re.IGNORECASE,
)
"""What stands before a number that the sentence is not about: 3 bolts to make *1* robe, 75 % of the *40* students."""


_NEGATED = re.compile(r"\bnot ?\$?$", re.IGNORECASE)


def _last_in_question(text: str, runs: list[_Run]) -> _Run:
    """The last run that is no aside; the last one where all are."""
    return next((run for run in reversed(runs) if not _ASIDE.search(text[: run.start])), runs[-1])


def _chosen(text: str, runs: list[_Run]) -> str | None:
    """The run that a sentence is about: the one it begins with, else the last one that is no aside."""
    if not runs:
        return None
    equal = [run for run in runs if text[run.start] == "="]
    if equal:
        run = equal[-1]
    elif not WORD.search(text[: runs[0].start]) or runs[0].start == 0:
        run = runs[0]
    else:
        run = _last_in_question(text, runs)
    if _BEFORE.search(text[max(0, run.start - 25) : run.start].rstrip(" $*")) or _AFTER.match(text, run.end):
        return text
    before = text[: run.start].rstrip()
    sign = "-" if before.endswith(("-", "\u2014")) and not before[:-1].rstrip()[-1:].isalnum() else ""
    return clean(sign + _with_unit(text, run))


_UNIT_WORD = re.compile(
    r"\s?(?:%|percent|million|billion|thousand|hundred|dozen|[A-Za-z]{1,12}(?:/[a-z]+)?)(?:\^?[23])?(?![\w])"
)


_SIZES = {"%", "percent", "million", "billion", "thousand", "hundred", "dozen", "squared", "cubed", "halves", "pi"}
_NO_UNITS = _LINKS | {
    "is", "are", "was", "of", "out", "in", "to", "for", "not", "as", "at", "by", "on", "from", "left", "when", "if",
    "because", "since", "so", "but", "with", "than", "i", "which", "that", "more", "less", "fewer", "times", "after",
}  # fmt: skip


def _with_unit(text: str, run: _Run) -> str:
    """A run with the word behind it, which may be its unit or its size."""
    compound = COMPOUND.match(text, run.start)
    if compound and compound.end() > run.end:
        return compound.group()
    behind = _UNIT_WORD.match(text, run.end) if run.text[-1:].isalnum() or run.text[-1:] in ")}" else None
    word = behind.group().strip() if behind else ""
    if not word or word.lower() in _NO_UNITS:
        return run.text
    return f"{run.text} {word}" if word.lower() in _SIZES or unit_of(word) else run.text


# -- the end of a text that marks no answer ---------------------------------------------------------------------------

_ATTAINED = re.compile(
    r"(?:,? ?\(?(?:is )?\b(?:attained|achieved|reached|obtained|when|where|since|because|with equality|for example"
    r"|so that|which (?:we|is (?:attained|achieved|reached)))\b|,? (?:or|which is) (?:about|approximately|roughly)\b"
    r"|,? ?\(?\\approx|(?<=[\d}$)]) (?:about|approximately)\b|\((?:since|because|and not|not)\b|\(\d+ [a-z]).*",
    re.IGNORECASE,
)
_STRESSED = re.compile(r"\*\*([^*\n]{1,80}?)\*\*")
_COUNTED = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|twenty)\b",
    re.IGNORECASE,
)
_ALIGNED = re.compile(
    r"(?:(?:\$\$|\\\[)([^$]{1,2000}?)(?:\$\$|\\\])|\\begin\{((?:align|gather|equation)\*?)\}([^$]{1,2000}?)\\end\{\2\})[.\s]*$"
)
_TAIL = 2000
"""Characters at the end of a text, or of a line, that are looked at closely."""


def at_the_end(text: str) -> str | None:
    """What a text ends with: the last number, or the formula it stands in, looked for from the last line upwards."""
    plain = ascii_signs(text).rstrip().replace("\\boxed{", " ")
    shown = _ALIGNED.search(plain[-_TAIL:]) if plain.endswith(("$$", "\\]", "$$.", "\\].", "}")) else None
    if shown:
        last = re.sub(r"\\(?:begin|end)\{[a-z]+\*?\}", "", shown[1] or shown[3]).strip().rsplit("\\\\", 1)[-1]
        return clean(last.replace("&", " ")) or None
    lines = [line for line in plain.splitlines() if line.strip()]
    if lines and (whole := _STRESSED.fullmatch(lines[-1].strip(" .#>"))):
        return answer_in(whole[1])
    if _REFUSAL.search(plain[-300:]):
        return None
    if len(lines) == 1 and (said := _YES.fullmatch(lines[0].strip(" .!"))):
        return said[1]
    for line in reversed(lines):
        found = _of_line(line[-_TAIL:])
        if found:
            return found
    words = list(_COUNTED.finditer(text[-_TAIL:])) or list(_STRESSED.finditer(text[-_TAIL:]))
    return clean(words[-1].group()) if words else None


_LISTED = re.compile(r", | (?:and|or|y|und|et|\u0438) |\u6216|\u548c")
_REFUSAL = re.compile(
    r"\b(?:can't|cannot|could not|unable to|impossible to) (?:compute|determine|answer|solve|be determined)"
    r"|\b(?:more|not enough|insufficient) information",
    re.IGNORECASE,
)


def _of_line(line: str) -> str | None:
    """The last number of a line, with what belongs to it; what is only an aside to another number is left out."""
    head = _ATTAINED.sub("", line, count=1)
    line = head if NUMBER.search(head) else line
    stressed = [m for m in _STRESSED.finditer(line) if NUMBER.search(m[1]) and not m[1].rstrip().endswith(":")]
    if stressed:
        return answer_in(stressed[-1][1])
    numbers = list(NUMBER.finditer(line))
    if not numbers:
        formulas = [m for m in _MATHS.finditer(line) if _is_formula(m)]
        return clean(_inside(formulas[-1])) if formulas else None
    for whole in _WHOLES[:2]:
        matches = list(whole.finditer(line))
        if matches and matches[-1].end() >= numbers[-1].end():
            return clean(matches[-1].group())
    runs = [run for run in _runs(line) if NUMBER.search(run.text)]
    if not runs:
        return clean(numbers[-1].group())
    runs = [run for run in runs if not _NEGATED.search(line[: run.start])]
    if not runs:
        return None
    run = _last_in_question(line, runs)
    left, equals, right = run.text.rpartition("=")
    if equals and NUMBER.search(left) and right.strip() and not _LISTED.search(run.text):
        return clean(right)
    if re.fullmatch(r"[\d\s.,+*/-]+", run.text) or ("\\times" in run.text and "=" not in run.text):
        last = list(NUMBER.finditer(run.text))[-1]  # arithmetic on the way: 20 - 5
        run = _Run(run.start, run.end, clean(last.group()))
    return clean(_with_unit(line, run))
