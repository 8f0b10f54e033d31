"""Named checks of every row that a student is trained on, as it is rendered; see template_checks.py."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from mixdistill.errors import StageError
from mixdistill.template_checks import (
    THINK,
    UNTHINK,
    Failed,
    Finding,
    Noted,
    Said,
    Subject,
    brief,
    finding,
    of_template,
)
from mixdistill.tokens import NO_SYSTEM, Template
from mixdistill.types import Example, Message

Prompt = str | list[Message]
SEAM = 8
"""Characters on both sides of the border between prompt and completion that are looked at together."""
BAR = "\N{LOWER ONE EIGHTH BLOCK}"
"""How tokenizers of sentencepiece write white space."""
RAISED = ("<super>", "<sub>", "<fraction>")
"""How Unicode's compatible forms of characters begin that mean something else: x² is not x2, nor ½ 12."""
INVISIBLE = {"Zs", "Zl", "Zp", "Cc", "Cf"}
"""Kinds of characters that are white space, or are not seen."""
TOGETHER = 1000
"""Rows that are decoded at once."""
KEPT = 100_000
"""Prompts, and borders of prompt and completion, that are remembered."""


class Rendered(NamedTuple):
    """A row of a training set as text and as tokens."""

    example: Example
    prompt: list[int]
    completion: list[int]
    text: str
    """The completion's tokens, decoded again."""


@dataclass
class Reader:
    """A template, and what is remembered of the rows that were read with it."""

    template: Template
    _prompts: dict[str, tuple[str, int]] = field(default_factory=dict)
    _frames: dict[tuple[str, ...], int] = field(default_factory=dict)
    _borders: dict[tuple[str, str], bool] = field(default_factory=dict)

    def asked(self, prompt: Prompt) -> tuple[str, int]:
        """(end of the text, hash of the ids) of a prompt as it is rendered for evaluation; many rows share one."""
        key = prompt if isinstance(prompt, str) else str(prompt)
        if key not in self._prompts:
            if len(self._prompts) >= KEPT:
                self._prompts.clear()
            text = self.template.prompt_text(prompt)
            self._prompts[key] = text[-SEAM:], hash(tuple(self.template.encode(text)))
        return self._prompts[key]

    def frame(self, prompt: Prompt) -> int:
        """How many special tokens the template itself writes around a prompt of these turns."""
        turns = [Message(role="user", content="")] if isinstance(prompt, str) else prompt
        shape = tuple(m.role for m in turns)
        if shape not in self._frames:
            ids = self.template.prompt_ids([m.model_copy(update={"content": "?"}) for m in turns])
            self._frames[shape] = sum(i in self.template.special_ids for i in ids)
        return self._frames[shape]

    def parts(self, left: str, right: str) -> bool:
        """Whether two texts have the same tokens together as one after the other; most borders are alike."""
        if (left, right) not in self._borders:
            if len(self._borders) >= KEPT:
                self._borders.clear()
            encode = self.template.encode
            self._borders[left, right] = encode(left + right) == encode(left) + encode(right)
        return self._borders[left, right]

    @cached_property
    def end(self) -> int:
        """How many ids at the end of a completion are the template's own."""
        return len(self.template.encode(self.template.stop_text))

    def same(self, seen: str, text: str) -> bool:
        """Whether a text came back from its tokens, every letter, digit and sign of it once. A tokenizer may change
        white space, case and the form in which Unicode writes a character; what it does not know is another check's.
        """
        if seen == text or _letters(seen) == _letters(text) or _plain(seen) == _plain(text):
            return True
        ids, unknown = self.template.encode(text), self.template.tokenizer.unk_token_id
        return unknown in ids and _letters(seen) == _letters(self.template.decode(ids))


def reasoning_once(row: Rendered, reader: Reader) -> Said:
    """Reasoning, its tags and the answer stand once."""
    reasoning, opened = row.example.reasoning.strip(), reader.template.opens_thinking
    closes = int(bool(reasoning) or opened)
    tags = row.text.count(THINK), row.text.count(UNTHINK)
    if tags != (closes - opened, closes):
        return Failed(
            f"{tags[0]} {THINK} and {tags[1]} {UNTHINK} (must be {closes - opened} and {closes}); "
            "take think tags out of the trace, or give the student another tokenizer"
        )
    head, _, rest = row.text.rpartition(UNTHINK) if closes else ("", "", row.text)
    thought, stop = head.partition(THINK)[2] if tags[0] else head, reader.template.stop_text.strip()
    thought, answer = thought.strip(), rest.strip().removesuffix(stop).strip()
    for what, seen, text in (("reasoning", thought, reasoning), ("answer", answer, row.example.content.strip())):
        if not reader.same(seen, text):
            was, now = _change(_plain(text), _plain(seen))
            times = _plain(seen).count(_plain(text)) if _plain(text) else 0
            how = f"stands {times} times in it" if times > 1 else "does not come back from its tokens"
            return Failed(
                f"the {what} {how} ({was!r} became {now!r}); give the student a tokenizer that keeps the text"
            )
    return None


def prompt_is_prefix(row: Rendered, reader: Reader) -> Said:
    """It begins as the student is asked in evaluation."""
    if row.prompt and hash(tuple(row.prompt)) == reader.asked(row.example.prompt)[1]:
        return None
    asked = reader.template.prompt_ids(row.example.prompt)
    same = next((n for n, (a, b) in enumerate(zip(row.prompt, asked, strict=False)) if a != b), len(asked))
    return Failed(
        f"it begins with other tokens than evaluation from token {same} on (got {len(row.prompt)} tokens, asked with "
        f"{len(asked)}); mend its chat template, which must not depend on time or chance"
    )


def seam(row: Rendered, reader: Reader) -> Said:
    """As one text it would have the same tokens."""
    template, example = reader.template, row.example
    left, _ = reader.asked(example.prompt)
    right = template.completion_text(example.reasoning, example.content)[:SEAM]
    if reader.parts(left, right):
        return None
    return Noted(
        f"as one text, {brief(left + right)} has other tokens where the completion begins; here they are "
        "tokenised apart, in training and evaluation alike; a trainer that does not sees another row"
    )


def stop_carries_loss(row: Rendered, reader: Reader) -> Said:
    """Its last token is the stop token, and has loss."""
    if row.completion and row.completion[-1] in reader.template.stop_ids:
        return None
    got = repr(reader.template.decode(row.completion[-1:])) if row.completion else "nothing"
    return Failed(
        f"it does not end in the stop token {reader.template.stop_text.strip()!r} (ends in {got}), and the student "
        "would never learn to stop; mend eos_token or the chat template"
    )


def no_special_in_text(row: Rendered, reader: Reader) -> Said:
    """No special token arises from its text."""
    special, example = reader.template.special_ids, row.example
    body = row.completion[: -reader.end] if reader.end else row.completion
    found = next((i for i in body if i in special), None) if not special.isdisjoint(body) else None
    if found is None:
        count = sum(i in special for i in row.prompt)
        if count == reader.frame(example.prompt):
            return None
    turns = [example.prompt] if isinstance(example.prompt, str) else [m.content for m in example.prompt]
    texts = {"the prompt": "\n".join(turns), "the reasoning": example.reasoning, "the answer": example.content}
    for where, text in texts.items():
        if token := reader.template.special_in(text):
            return Failed(f"{where} holds the special token {token!r}; take it out of the text")
    token = reader.template.decode([found]) if found is not None else "a special token"
    return Failed(f"{token!r} arises from its text; take out what the tokenizer reads as such")


def no_unknown(row: Rendered, reader: Reader) -> Said:
    """The tokenizer knows all of its text."""
    unknown, example = reader.template.unknown, row.example
    if unknown is None or (unknown not in row.completion and unknown not in row.prompt):
        return None
    if unknown in row.completion:
        what = reader.template.unknown_in(reader.template.completion_text(example.reasoning, example.content))
        return Failed(f"{what!r} is unknown to its tokenizer; take it out, or give the student another tokenizer")
    what = reader.template.unknown_in(reader.template.prompt_text(example.prompt))
    return Noted(f"{what!r} in the prompt is unknown to its tokenizer: the student cannot tell it from other such text")


def system_role(row: Rendered, reader: Reader) -> Said:
    """A problem's system prompt is said."""
    prompt = row.example.prompt
    if isinstance(prompt, str) or prompt[0].role != "system":
        return None
    text = reader.template.prompt_text(prompt)
    lost = [m.content for m in prompt if m.role == "system" and m.content.strip() not in text]
    return Failed(f"the chat template loses the system prompt {brief(lost[0])}; {NO_SYSTEM}") if lost else None


def reads_back(row: Rendered, reader: Reader) -> Said:
    """Its tokens read back as the text put in."""
    template, example = reader.template, row.example
    text = template.completion_text(example.reasoning, example.content)
    if row.text == text:
        return None
    if _letters(row.text) == _letters(text):
        return Noted("white space does not come back from its tokens; the rest of the text does")
    was, now = _change(text, row.text)
    return Noted(f"its tokenizer changes the text: {was!r} comes back as {now!r}, and so the student will write it")


CHECKS: dict[str, Callable[[Rendered, Reader], Said]] = {
    "reasoning_once": reasoning_once,
    "prompt_is_prefix": prompt_is_prefix,
    "stop_carries_loss": stop_carries_loss,
    "no_special_in_text": no_special_in_text,
    "no_unknown": no_unknown,
    "system_role": system_role,
    "seam": seam,
    "reads_back": reads_back,
}


def of_rows(rows: Iterable[Rendered], reader: Reader) -> list[Finding]:
    """What every check of rows says of these: the first thing it failed for, else the first that it noted."""
    first: dict[tuple[str, type], Failed | Noted] = {}
    counts: Counter[tuple[str, type]] = Counter()
    total = 0
    for row in rows:
        total += 1
        for name, check in CHECKS.items():
            if said := check(row, reader):
                key = name, type(said)
                counts[key] += 1
                if key not in first:
                    where = f"problem {row.example.problem_id}, teacher {row.example.teacher}: "
                    first[key] = type(said)(where + said)
    found = []
    for name, check in CHECKS.items():
        key = next((k for k in ((name, Failed), (name, Noted)) if k in first), (name, object))
        found.append(finding(name, check, first.get(key), counts[key] or total))
    return found


def rendered(
    examples: Iterable[Example], rows: Iterable[Sequence[list[int]]], template: Template
) -> Iterator[Rendered]:
    """Rows with their tokens decoded again; `rows` are (prompt ids, completion ids)."""
    pairs = zip(examples, rows, strict=True)
    while some := list(islice(pairs, TOGETHER)):
        texts = template.decode_all([row[1] for _, row in some])
        for (example, row), text in zip(some, texts, strict=True):
            yield Rendered(example, row[0], row[1], text)


def check_rows(
    examples: Sequence[Example], rows: Sequence[Sequence[list[int]]], template: Template, model: str
) -> dict[str, str]:
    """Check a whole training set, before it is trained on. Returns what was noted, by check.

    Raises StageError naming the first check that failed, the row, and what to do.
    """
    found = of_template(Subject.of(template, model)) + of_rows(rendered(examples, rows, template), Reader(template))
    failed = [f for f in found if f.state == "failed"]
    if failed:
        more = f" (in {failed[0].rows:,} of {len(rows):,} rows)" if failed[0].rows else ""
        raise StageError(f"train: {failed[0].check}: {failed[0].text}{more}")
    return {f.check: f.text for f in found if f.state == "note"}


def _letters(text: str) -> str:
    """A text without its white space."""
    return "".join(text.split())


def _plain(text: str) -> str:
    """A text without its case, white space and invisible characters, in one of Unicode's normal forms. What is
    raised or lowered stays so."""
    folded = unicodedata.normalize("NFD", "".join(map(_folded, text)))
    return "".join(c for c in folded if c != BAR and unicodedata.category(c) not in INVISIBLE)


def _folded(character: str) -> str:
    if unicodedata.decomposition(character).startswith(RAISED):
        return character
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())


def _change(text: str, seen: str) -> tuple[str, str]:
    """Where two texts begin to differ: a few characters of each."""
    shared = next((n for n, (a, b) in enumerate(zip(text, seen, strict=False)) if a != b), min(len(text), len(seen)))
    part = slice(max(0, shared - 8), shared + 12)
    return text[part], seen[part]
