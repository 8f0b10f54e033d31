"""Answers that choose among the options of a prompt: by letter, by an option's text, or several at once.

Where an answer is looked for, in order of trust, the last decided one of a rule winning:

    box           `\\boxed{B}`, `\\boxed{\\text{(B)}\\ 5}`; boxes side by side are one answer
    final_answer  `Final Answer: B`, also on the next line
    hash          `#### B`
    answer_is     `the answer is (B)`, `Answer: B`, `the correct option is B`, `B is the answer`; in many languages
    content       the answer part is nothing but letters or an option's text
    decided       `so B`, `I choose B`, `B is correct`                    not marked: the flexible reading alone
    line          the first or the last line is `B) 5 km`, `**B**`        not marked
    mention       one letter alone is spoken of, `... which is (B) ...`   not marked
    option_text   the last line holds the text of one option alone        not marked

What these rules rest on is stated case by case in `tests/cases/choice.jsonl`. Three decisions:

- A letter with another option's text (`B) 5 km`, where 5 km is A) contradicts itself: the flexible reading takes the
  letter, the strict one calls it incorrect.
- `A or B` decides nothing, nor does a letter that is denied, asked or supposed; an earlier answer counts then.
- Several right options are right as a set alone; `score` is F1 over options.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from mixdistill.types import Outcome, Problem, Trace, Verdict, prompt_text
from mixdistill.verifiers.extract import last_box
from mixdistill.verifiers.letters import MOST, Reading, decided, read
from mixdistill.verifiers.math import reference as stated
from mixdistill.verifiers.numeric import quantity
from mixdistill.verifiers.options import ALPHABETS, Options, listed, narrow, unlisted
from mixdistill.verifiers.plain import clean
from mixdistill.verifiers.verdicts import Found, compared, is_cut, no_answer, no_reference

VERSION = "1"


class Answer(NamedTuple):
    """What was found, and which options it names."""

    found: Found
    reading: Reading


def verify(problem: Problem, trace: Trace, *, first_index: int | None = None) -> Verdict:
    """Whether the answer part of `trace` chooses the option, or all the options, of the reference.

    Only `trace.content` is read. Options are read from the prompt (`A) ...`, `(A) ...`, `A. ...`, LaTeX lists, letters
    of many scripts); where it lists none, letters alone are compared. The reference is a letter, an option's text, or
    several (`A, C`, `AC`, a JSON list). With `first_index`, a reference that is a whole number is the number of an
    option, and the first option has this one: 0 or 1. A reference that names no option is `error`. Where several are
    right, `score` is F1 over options.
    """
    problems = _reference(problem, first_index)
    if isinstance(problems, str):
        return no_reference(trace, problems)
    options, gold = problems
    shown = ", ".join(sorted(gold))
    answer = find(narrow(trace.content), options, cut=is_cut(trace))
    if answer is None:
        return no_answer(trace, shown, score=0.0 if len(gold) > 1 else None)
    found, (labels, _, contradicted, _) = answer
    score = 2 * len(labels & gold) / (len(labels) + len(gold)) if len(gold) > 1 else None
    step = "contradicted" if contradicted else "options" if labels else "no_option"
    verdict = compared(trace, found, shown, labels == gold, step, score=score)
    if contradicted and not is_cut(trace):
        why = f"the letter is that of one option, the text that of another; reference: {shown}"
        return verdict.model_copy(update={"strict": Outcome.INCORRECT, "explanation": why})
    return verdict


quick = verify
"""Decided at once: no text takes more than time in proportion to its length."""


def gold(problem: Problem, *, first_index: int | None = None) -> str:
    """A right answer as a trace would state it: the letters in a box. Raises ValueError where there are none."""
    found = _reference(problem, first_index)
    if isinstance(found, str):
        raise ValueError(found)
    return f"\\boxed{{{', '.join(sorted(found[1]))}}}"


# -- references -------------------------------------------------------------------------------------------------------


def reference(problem: Problem, *, first_index: int | None = None) -> frozenset[str] | None:
    """The labels of the right options; None where the reference names none."""
    found = _reference(problem, first_index)
    return None if isinstance(found, str) else found[1]


def _reference(problem: Problem, first_index: int | None) -> tuple[Options, frozenset[str]] | str:
    """(the options, the right ones), or why there is no reference."""
    raw = narrow(stated(problem.answer))
    if not raw:
        return "the problem has no reference answer"
    parts = _parts(raw)
    options = listed(prompt_text(problem.prompt)) or unlisted("".join(_letters(part) for part in parts))
    if options is None:
        return f"the prompt lists no options, and the reference is no letter: {raw[:80]!r}"
    labels: set[str] = set()
    for part in parts:
        named = _named(part, options, first_index)
        if not named:
            hint = "; set first_index" if part.isdecimal() and first_index is None else ""
            return f"the reference names none of the options {options.labels}: {raw[:80]!r}{hint}"
        labels |= named
    return options, frozenset(labels)


def _parts(raw: str) -> list[str]:
    if raw.startswith("["):
        try:
            values = json.loads(raw)
        except (ValueError, RecursionError):
            return [raw]
        if isinstance(values, list) and values and all(isinstance(v, str | int) for v in values):
            return [str(v) for v in values]
    return [raw]


def _named(part: str, options: Options, first_index: int | None) -> frozenset[str]:
    if first_index is not None and part.isdecimal():
        place = int(part[:9]) - first_index
        return frozenset(options.labels[place] if 0 <= place < len(options.labels) else "")
    reading = read(part, options)
    return reading.labels if reading and not reading.worded and not reading.contradicted else frozenset()


def _letters(part: str) -> str:
    """The letters of a reference that is nothing but letters: `B`, `(b)`, `A, C`, `AC`."""
    words = re.findall(r"[^\W\d_]+", part.replace(" and ", ",").upper())
    known = any(set(word) <= set(a) for a in ALPHABETS for word in words)
    return "".join(words) if known and not re.search(r"\d", part) and sum(map(len, words)) <= 10 else ""


# -- answers ----------------------------------------------------------------------------------------------------------

_GAP = r"[*_`\"\s]{0,8}"
_FINAL = re.compile(rf"final answer\b{_GAP}(?:is\b)?{_GAP}:?{_GAP}(?=(?P<x>[^\n]{{1,400}}))", re.IGNORECASE)
_HASH = re.compile(r"^[ \t]*####[ \t]*(?P<x>[^\n]{1,400})", re.MULTILINE)
_ANSWER_IS = re.compile(
    rf"(?:(?<!/)\bans(?:wers?|\b\.?)|\b(?:correct|right|best|chosen|my|only)\s+(?:option|choice|letter|response|alternative|statement)s?)"
    rf"(?:\s+(?:choice|option|letter|key)s?)?(?:\s+(?:to|for)\s+(?:this|the)\s+(?:question|problem))?{_GAP}"
    rf"(?:(?:is|are|must\s+be|should\s+be|would\s+be|will\s+be|to\s+be)(?!\w)(?!['\u2019])|=|:|>|\s[-\u2013\u2014](?=\s))"
    rf"{_GAP}:?{_GAP}(?=(?P<x>[^\n]{{1,400}}))",
    re.IGNORECASE,
)
_ELSEWHERE = (
    *("antwort", "antwoord", "réponse", "option correcte", "respuesta", "opción correcta", "resposta", "risposta"),
    *("odpowiedź", "odpověď", "răspuns", "válasz", "vastaus", "svar", "cevap", "jawaban", "jibu", "đáp án"),
    *("ответ", "вариант", "відповідь", "답", "الإجابة", "الاجابة", "الجواب", "پاسخ", "جواب", "उत्तर", "উত্তর", "సమాధానం"),
    *("பதில்", "คำตอบ", "答案", "答え", "正解", "解答", "选", "選"),
)
_ANSWER_ELSEWHERE = re.compile(
    rf"(?<![A-Za-z])(?:{'|'.join(_ELSEWHERE)})(?:择|擇|nya|et|en)?(?!项|項)】?"
    r"(?:\s+(?:correcte|correcta|correta|corretta|richtige|الصحيحة|الصحيح|đúng|sahihi))?"
    rf"{_GAP}(?:ist|lautet|est|es|é|è|är|to|ni|应该是|應該是|是|为|為|は|은|는|هي|هو|है|là|adalah|[:\u2014\u2013=-])?"
    rf"{_GAP}[:\uff1a]?{_GAP}(?:donc\s|это\s|also\s|a\s(?=letra))?(?=(?P<x>[^\n]{{1,400}}))",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|suppose|supposing|assum\w{0,6}|unless)\b[^.,;:!?\n]{0,60}$"
    r"|\b(?:wrong|incorrect|not (?:the|a|my)|n't the)\s*$",
    re.IGNORECASE,
)
_ENDED = re.compile(r"\n|[.!?;](?=[\s*])|[\u3002\uff01\uff1f]")


def find(content: str, options: Options, *, cut: bool) -> Answer | None:
    """The answer in an answer part that is `narrow`; None where none was given.

    Of one that was cut, only what is marked counts, and only what is known to be whole: a box that was closed, a
    sentence that ended.
    """
    offered: list[Found] = []
    hedged = False
    for rule, piece in _marked(content, _whole_part(content) if cut else content):
        reading = read(piece, options)
        if reading and reading.labels:
            return Answer(_found(reading, rule), reading)
        hedged = hedged or reading is not None
        if reading is None and (rule == "box" or quantity(clean(piece)) is not None):
            offered.append(Found(clean(piece)[:200], rule))
    if not cut and (answer := _unmarked(content, options, hedged=hedged)):
        return answer
    return Answer(offered[0], Reading(frozenset())) if offered else None


def _marked(content: str, ended: str) -> Iterator[tuple[str, str]]:
    """(rule, what is marked as the answer), the most trusted first and the last of each rule first."""
    box = last_box(content)
    if box is not None:
        yield "box", box
    yield from (("final_answer", m["x"]) for m in _stated_in(ended, _FINAL))
    yield from (("hash", m["x"]) for m in _stated_in(ended, _HASH))
    said = _stated_in(ended, _ANSWER_IS)
    low = ended.lower()
    if any(word in low for word in _ELSEWHERE):  # the search for all of them takes longer than all the rest
        said += _stated_in(ended, _ANSWER_ELSEWHERE)
    yield from (("answer_is", m["x"]) for m in sorted(said, key=lambda m: m.start("x"), reverse=True))


def _whole_part(content: str) -> str:
    """An answer part that was cut, up to the last sentence or line that ended: A may be the beginning of a word."""
    return content[: max((match.end() for match in _ENDED.finditer(content)), default=0)]


def _stated_in(text: str, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """Matches of a mark, the last first, without those that only suppose or deny."""
    matches = [
        m for m in list(pattern.finditer(text))[-MOST:] if not _SUPPOSED.search(text, max(0, m.start() - 80), m.start())
    ]
    return matches[::-1]


def _unmarked(content: str, options: Options, *, hedged: bool) -> Answer | None:
    """An answer that is the whole answer part, or that only the flexible reading takes.

    Where it was `hedged`, what is merely spoken of does not count.
    """
    text = content.strip()
    if "\n" not in text and (whole := read(text, options)) and whole.labels and (whole.whole or whole.contradicted):
        return Answer(_found(whole, "content"), whole)
    said = decided(text, options, hedged=hedged)
    if said is None:
        return None
    rule, reading = said
    return Answer(_found(reading, rule, marked=rule == "answer_is"), reading)


def _found(reading: Reading, rule: str, *, marked: bool = True) -> Found:
    return Found(", ".join(sorted(reading.labels)), rule, marked and not reading.worded)
