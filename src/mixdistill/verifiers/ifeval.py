"""Whether a text follows instructions that a program can check: the 25 kinds of IFEval (arXiv:2311.07911).

The reference is a JSON object of the data set's columns, `{"instruction_id_list": [...], "kwargs": [{...}, ...]}`: one
kind and its settings for each instruction; settings that are null are not set. The strict reading takes the answer as
it stands, the flexible one is IFEval's *loose*: an instruction is followed where it is in any of eight forms of the
answer, without its first line, its last line, both, and each of these without asterisks. `score` is the share of the
instructions that are followed strictly (the flexible reading of one answer is the prompt-level loose accuracy, the
strict one the prompt-level strict accuracy; the mean of `score` is close to, and not, the instruction-level one).

Written anew from the paper and the behaviour of the published checkers, so that nothing is downloaded. Differences:
sentences are counted by rules (below) and not by NLTK's punkt, capital words by their letters and not by NLTK's word
tokenizer, and the language is told by `languages.py`: what it cannot tell counts as followed, as there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers.languages import language
from mixdistill.verifiers.verdicts import is_cut, no_reference

VERSION = "1"
Settings = dict[str, Any]


def verify(problem: Problem, trace: Trace) -> Verdict:
    """Whether the answer part of `trace` follows every instruction of `problem`'s reference.

    Only `trace.content` is read. An answer that is empty gives none. One that was cut is judged as it stands by the
    flexible reading, since most instructions are about the whole; the strict one calls it truncated. A reference with
    no instructions, or one of an unknown kind, is `error`.
    """
    asked = _asked(problem.answer)
    if isinstance(asked, str):
        return no_reference(trace, asked)
    text = trace.content
    if not text.strip():
        outcome = Outcome.TRUNCATED if is_cut(trace) else Outcome.NO_ANSWER
        return Verdict(trace_id=trace.id, outcome=outcome, strict=outcome, score=0.0, explanation="the answer is empty")
    strict = [CHECKS[kind](text, settings) for kind, settings in asked]
    loose = [any(CHECKS[kind](form, settings) for form in _forms(text)) for kind, settings in asked]
    broken = [kind for (kind, _), followed in zip(asked, loose, strict=True) if not followed]
    if is_cut(trace):
        outcome, reading = (Outcome.CORRECT if all(loose) else Outcome.TRUNCATED), Outcome.TRUNCATED
    else:
        outcome, reading = _outcome(loose), _outcome(strict)
    said = f"{len(asked) - len(broken)} of {len(asked)} instructions are followed"
    return Verdict(
        trace_id=trace.id,
        outcome=outcome,
        strict=reading,
        score=sum(strict) / len(strict),
        answer=" ".join(text.split())[:200],
        rule="instructions",
        explanation=f"{said}; not: {', '.join(broken)}" if broken else said,
    )


quick = verify
"""Decided at once, in time in proportion to the text and the number of instructions."""


def gold(problem: Problem) -> None:
    """No right answer can be made of instructions. Raises ValueError for a reference that holds none."""
    asked = _asked(problem.answer)
    if isinstance(asked, str):
        raise ValueError(asked)


def _outcome(followed: list[bool]) -> Outcome:
    return Outcome.CORRECT if all(followed) else Outcome.INCORRECT


def _asked(answer: str) -> list[tuple[str, Settings]] | str:
    """(kind, settings) of every instruction, or what is wrong with the reference."""
    try:
        found = json.loads(answer)
        kinds, given = found["instruction_id_list"], found["kwargs"]
        asked = [(kind, _set(settings)) for kind, settings in zip(kinds, given, strict=True)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "the reference is no list of instructions (instruction_id_list and kwargs)"
    unknown = [kind for kind, _ in asked if kind not in CHECKS]
    if unknown:
        return f"no such kind of instruction: {str(unknown[0])[:60]!r}"
    lacking = [(kind, key) for kind, settings in asked for key in NEEDED.get(kind, ()) if key not in settings]
    if lacking:
        return "{} needs {}".format(*lacking[0])
    return asked or "the reference holds no instruction"


def _set(settings: Settings | str | None) -> Settings:
    """The settings that are set; a list of them may have come as JSON text."""
    found = json.loads(settings) if isinstance(settings, str) else settings or {}
    return {key: value for key, value in found.items() if value is not None}


def _forms(text: str) -> list[str]:
    """The eight forms of an answer that the loose reading looks at, those that are not empty."""
    lines = text.split("\n")
    cuts = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [form for form in dict.fromkeys([*cuts, *(cut.replace("*", "") for cut in cuts)]) if form.strip()]


# -- the kinds --------------------------------------------------------------------------------------------------------

AT_LEAST, LESS_THAN = "at least", "less than"


def _compared(n: int, relation: str, threshold: int) -> bool:
    return n < threshold if relation == LESS_THAN else n >= threshold


def _keywords(text: str, s: Settings) -> bool:
    return all(_occurrences(word, text) for word in s["keywords"])


def _occurrences(word: str, text: str) -> int:
    """How often a keyword stands in a text, in any case. It is a text here, whatever signs it holds."""
    return len(re.findall(re.escape(word.strip()), text, re.IGNORECASE))


def _frequency(text: str, s: Settings) -> bool:
    return _compared(_occurrences(s["keyword"], text), s.get("relation", AT_LEAST), s["frequency"])


def _forbidden(text: str, s: Settings) -> bool:
    return not any(
        re.search(rf"(?<!\w){re.escape(w.strip())}(?!\w)", text, re.IGNORECASE) for w in s["forbidden_words"]
    )


def _letters(text: str, s: Settings) -> bool:
    n = text.lower().count(s["letter"].strip().lower())
    return _compared(n, s.get("let_relation", AT_LEAST), s["let_frequency"])


def _in_language(text: str, s: Settings) -> bool:
    return language(text) in (s["language"], None)


def _sentences(text: str, s: Settings) -> bool:
    return _compared(len(sentences(text)), s.get("relation", AT_LEAST), s["num_sentences"])


def _paragraphs(text: str, s: Settings) -> bool:
    """Paragraphs are parted by `***`."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    if not all(parts[1:-1]):
        return False
    return sum(map(bool, parts)) == s["num_paragraphs"]


def _words(text: str, s: Settings) -> bool:
    return _compared(len(re.findall(r"\w+", text)), s.get("relation", AT_LEAST), s["num_words"])


def _nth_paragraph(text: str, s: Settings) -> bool:
    """Paragraphs are parted by an empty line."""
    parts = text.split("\n\n")
    there, nth = sum(bool(part.strip()) for part in parts), int(s["nth_paragraph"])
    if nth > there or not (part := parts[nth - 1].strip()):
        return False
    first = re.split(r"[.,?!'\"]", part.split()[0].lstrip("'\"").lower(), maxsplit=1)[0]
    return there == s["num_paragraphs"] and first == s["first_word"].lower()


def _placeholders(text: str, s: Settings) -> bool:
    """What stands in square brackets on one line. By hand: a pattern takes quadratic time for `[[[`."""
    n = 0
    for line in text.split("\n"):
        at = 0
        while (opening := line.find("[", at)) >= 0 and (closing := line.find("]", opening)) >= 0:
            n, at = n + 1, closing + 1
    return n >= s["num_placeholders"]


def _postscript(text: str, s: Settings) -> bool:
    marker = s.get("postscript_marker", "P.S.").strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(known.get(marker, re.escape(marker.lower())), text.lower()) is not None


def _bullets(text: str, s: Settings) -> bool:
    found = re.findall(r"^[^\S\n]*(?:\*[^*\n]|-).*$", text, re.MULTILINE)
    return len(found) == s["num_bullets"]


OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _constrained(text: str, s: Settings) -> bool:
    return any(option in text for option in OPTIONS)


def _highlights(text: str, s: Settings) -> bool:
    single = [part for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part[2:-2].strip()]
    return len(single) + len(double) >= s["num_highlights"]


def _sections(text: str, s: Settings) -> bool:
    found = re.findall(rf"{re.escape(s['section_spliter'].strip())}\s?\d+", text)
    return len(found) >= s["num_sections"]


def _json(text: str, s: Settings) -> bool:
    try:
        json.loads(re.sub(r"^```(?:json)?|```$", "", text.strip(), flags=re.IGNORECASE).strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, s: Settings) -> bool:
    """A title stands between `<<` and `>>` on one line."""
    lines = ((line, line.find("<<"), line.rfind(">>")) for line in text.split("\n"))
    return any(0 <= a < b and line[a:b].strip("<>").strip() for line, a, b in lines)


def _two_responses(text: str, s: Settings) -> bool:
    parts = [part.strip() for part in text.split("******")]
    said = [part for part in parts if part]
    return all(parts[1:-1]) and len(said) == 2 and said[0] != said[1]


def _repeats(text: str, s: Settings) -> bool:
    return text.strip().lower().startswith(s["prompt_to_repeat"].strip().lower())


def _ends(text: str, s: Settings) -> bool:
    return text.strip().strip('"').lower().endswith(s["end_phrase"].strip().lower())


def _capital_words(text: str, s: Settings) -> bool:
    words = re.findall(r"\w[\w'\u2019-]*", text)
    n = sum(word.isupper() for word in words)
    return _compared(n, s.get("capital_relation", AT_LEAST), s["capital_frequency"])


def _capitals(text: str, s: Settings) -> bool:
    return text.isupper() and language(text) in ("en", None)


def _lowercase(text: str, s: Settings) -> bool:
    return text.islower() and language(text) in ("en", None)


def _no_comma(text: str, s: Settings) -> bool:
    return "," not in text


def _quoted(text: str, s: Settings) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


CHECKS: dict[str, Callable[[str, Settings], bool]] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": _in_language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats,
    "startend:end_checker": _ends,
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _capitals,
    "change_case:english_lowercase": _lowercase,
    "punctuation:no_comma": _no_comma,
}
"""Kind of instruction -> its check: (answer, settings) -> whether it is followed."""
NEEDED = {
    "keywords:existence": ("keywords",),
    "keywords:frequency": ("keyword", "frequency"),
    "keywords:forbidden_words": ("forbidden_words",),
    "keywords:letter_frequency": ("letter", "let_frequency"),
    "language:response_language": ("language",),
    "length_constraints:number_sentences": ("num_sentences",),
    "length_constraints:number_paragraphs": ("num_paragraphs",),
    "length_constraints:number_words": ("num_words",),
    "length_constraints:nth_paragraph_first_word": ("num_paragraphs", "nth_paragraph", "first_word"),
    "detectable_content:number_placeholders": ("num_placeholders",),
    "detectable_format:number_bullet_lists": ("num_bullets",),
    "detectable_format:number_highlighted_sections": ("num_highlights",),
    "detectable_format:multiple_sections": ("section_spliter", "num_sections"),
    "combination:repeat_prompt": ("prompt_to_repeat",),
    "startend:end_checker": ("end_phrase",),
    "change_case:capital_word_frequency": ("capital_frequency",),
}
"""Kind -> settings that it cannot do without."""


# -- sentences --------------------------------------------------------------------------------------------------------

_ABBREVIATED = re.compile(
    r"\b(?:Mrs?|Ms|Dr|Prof|St|Jr|Sr|vs|etc|Inc|Ltd|Co|No|Fig|e\.g|i\.e|cf|approx|U\.S|a\.m|p\.m|Ph\.D|[A-Z])\.$"
)
_END = re.compile(r"(?<![.!?])[.!?]+[\"'\u201d\u2019)\]*_]*(?=\s)|[\u3002\uff01\uff1f।۔؟]+")
_ITEM = re.compile(r"(?:^|\n)[ \t]*\d{1,4}\.\Z")
_FOLLOWING = re.compile(r"\s*(\S?)")
_LONGEST_ABBREVIATION = 12
"""Characters before an end that are looked at."""


def sentences(text: str) -> list[str]:
    """The sentences of a text: what ends in a full stop, question or exclamation mark before a blank, abbreviations and
    numbered items aside. A line break alone ends none, as in punkt; what follows the last end is one more."""
    found, start = [], 0
    for end in _END.finditer(text):
        following = _FOLLOWING.match(text, end.end())
        before = text[max(start, end.end() - _LONGEST_ABBREVIATION) : end.end()]
        goes_on = following is not None and following[1].islower()
        if goes_on or _ABBREVIATED.search(before) or _ITEM.search(before):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    rest = text[start:].strip()
    return [*found, rest] if rest else found
