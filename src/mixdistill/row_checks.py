"""Named checks of every row that a student is trained on, as it is rendered; see template_checks.py."""

from __future__ import annotations

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
SEAM = 12
"""Characters on both sides of the border between prompt and completion that are looked at together."""
TOGETHER = 1000
"""Rows that are decoded at once."""


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
    _prompts: dict[str, tuple[str, list[int]]] = field(default_factory=dict)
    _frames: dict[tuple[str, ...], int] = field(default_factory=dict)
    _borders: dict[tuple[str, str], bool] = field(default_factory=dict)

    def prompt(self, prompt: Prompt) -> tuple[str, list[int]]:
        """(text, ids) of a prompt as it is rendered for evaluation; of the last distinct ones it is remembered."""
        key = prompt if isinstance(prompt, str) else str(prompt)
        if key not in self._prompts:
            if len(self._prompts) >= TOGETHER:
                self._prompts.clear()
            text = self.template.prompt_text(prompt)
            self._prompts[key] = text, self.template.encode(text)
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
            if len(self._borders) >= TOGETHER:
                self._borders.clear()
            encode = self.template.encode
            self._borders[left, right] = encode(left + right) == encode(left) + encode(right)
        return self._borders[left, right]

    @cached_property
    def end(self) -> int:
        """How many ids at the end of a completion are the template's own."""
        return len(self.template.encode(self.template.stop_text))

    def same(self, seen: str, text: str) -> bool:
        """Whether a text came back from its tokens as well as this tokenizer can; white space aside."""
        if seen == text or _letters(seen) == _letters(text):
            return True
        return _letters(seen) == _letters(self.template.decode(self.template.encode(text)))


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
    if not reader.same(thought, reasoning):
        times = row.text.count(reasoning) if reasoning else 0
        return Failed(f"the reasoning stands {times} times in it (got {brief(thought)}); mend its chat template")
    if not reader.same(answer, row.example.content.strip()):
        return Failed(f"the answer is another one in it (got {brief(answer)}); mend its chat template")
    return None


def prompt_is_prefix(row: Rendered, reader: Reader) -> Said:
    """It begins as the student is asked in evaluation."""
    _, asked = reader.prompt(row.example.prompt)
    if row.prompt == asked and asked:
        return None
    same = next((n for n, (a, b) in enumerate(zip(row.prompt, asked, strict=False)) if a != b), len(asked))
    return Failed(
        f"it begins with other tokens than evaluation from token {same} on (got {len(row.prompt)} tokens, asked with "
        f"{len(asked)}); mend its chat template, which must not depend on time or chance"
    )


def seam(row: Rendered, reader: Reader) -> Said:
    """As one text it would have the same tokens."""
    template, example = reader.template, row.example
    left = reader.prompt(example.prompt)[0][-SEAM:]
    right = template.completion_text(example.reasoning, example.content)[:SEAM]
    if reader.parts(left, right):
        return None
    return Noted(
        f"as one text, {brief(left[-8:] + right[:8])} has other tokens where the completion begins; here they are "
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
    what = reader.template.unknown_in(reader.prompt(example.prompt)[0])
    return Noted(f"{what!r} in the prompt is unknown to its tokenizer: the student cannot tell it from other such text")


def system_role(row: Rendered, reader: Reader) -> Said:
    """A problem's system prompt is said."""
    prompt = row.example.prompt
    if isinstance(prompt, str) or prompt[0].role != "system":
        return None
    text = reader.prompt(prompt)[0]
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
    at = next((n for n, (a, b) in enumerate(zip(text, row.text, strict=False)) if a != b), 0)
    was, now = text[max(0, at - 8) : at + 12], row.text[max(0, at - 8) : at + 12]
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
