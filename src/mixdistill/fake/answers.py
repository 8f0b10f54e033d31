"""What the fake provider says: a pure function of model, messages, sampling limit and seed.

It knows the problems and a right answer to each. How easy a problem is depends on the problem alone, so that every
teacher fails at the same hard ones; whether a sample is right, how long its reasoning is and how it ends are drawn
from a generator seeded by the request. A token is a word: text between spaces.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from mixdistill.types import FinishReason, Problem, content_hash

Style = Literal["reasoning", "reasoning_content", "think"]
"""Where the reasoning goes: a field of the message, or between <think> tags in its content."""
STYLES: tuple[Style, ...] = get_args(Style)
ANCHOR = 16
"""Characters at a prompt's beginning by which it is looked for in a message."""
LONG = 6.0
"""How many times as long a teacher reasons that thinks aloud."""
ENDLESS = 4096
"""Words of an answer that goes round in circles, where the request sets no limit."""

_STEPS = (
    "First I write down what is given.",
    "So I have to find what is asked for at the end.",
    "Let me do this step by step.",
    "That gives the next number, and I keep it.",
    "Wait, let me check that again.",
    "Hmm, another way would be to begin with what is asked.",
    "The two ways agree, which is a good sign.",
    "I put this into the line before, and it gets simpler.",
    "No, that cannot be right, since it would be more than there was.",
    "Now only the last step is left.",
)


@dataclass(frozen=True)
class Manner:
    """How a fake teacher answers."""

    pass_rate: float = 0.7
    """Mean share of right answers, over problems that differ; between 0 and 1."""
    words: float = 60.0
    """Median words of working; `LONG` times that where it thinks aloud."""
    spread: float = 0.6
    """Standard deviation of the logarithm of the length."""
    endless: float = 0.01
    """Share of answers that go round in circles until the token limit."""
    empty: float = 0.005
    """Share without any text."""
    filtered: float = 0.005
    """Share that a content filter cut off."""
    style: Style = "reasoning"
    judges: bool = False
    """Says True, at the pass rate, or False to whatever it is asked: a judge."""


class Answer(NamedTuple):
    """One choice of a response."""

    reasoning: str
    content: str
    finish_reason: FinishReason
    tokens: int
    """Words sampled, and the stop where there was one."""


class Known:
    """The problems, by what a message says."""

    def __init__(self, problems: Iterable[Problem], right: Callable[[Problem], str], *, working: bool = False) -> None:
        """`right` gives the text of a right answer; `working`: text may stand before it without making it wrong."""
        self.working = working
        self._right: dict[str, str] = {}
        for problem in problems:
            self._right.setdefault(_asked(problem), right(problem))
        self._answers = sorted(set(self._right.values()))
        self._starts: dict[str, list[str]] = {}
        for prompt in sorted(self._right, key=len, reverse=True):
            self._starts.setdefault(prompt[:ANCHOR], []).append(prompt)
        self._lengths = sorted({len(start) for start in self._starts})

    def __len__(self) -> int:
        return len(self._right)

    def find(self, text: str) -> str | None:
        """The longest prompt of a problem that stands in a text; templates may have wrapped it."""
        found = ""
        for at in range(len(text)):
            for length in self._lengths:
                for prompt in self._starts.get(text[at : at + length], ()):
                    if len(prompt) > len(found) and text.startswith(prompt, at):
                        found = prompt
        return found or None

    def right(self, prompt: str) -> str:
        """The right answer to a problem."""
        return self._right[prompt]

    def wrong(self, prompt: str, draw: random.Random) -> str:
        """Another problem's answer: it looks like one, and is none."""
        others = len(self._answers) - 1
        if others < 1:
            return "I cannot say."
        n = draw.randrange(others)
        return self._answers[n] if self._answers[n] < self._right[prompt] else self._answers[n + 1]


def answer(known: Known, manner: Manner, body: Mapping[str, Any], prompt: str, choice: int = 0) -> Answer:
    """The answer to a request about a known problem. `choice` numbers the answers to one request with `n`."""
    draw = random.Random(f"{identity(body)}|{choice}")
    if manner.judges:
        return _ended("", str(draw.random() < manner.pass_rate), False, "stop")
    fate = draw.random()
    right = draw.random() < _easiness(prompt, manner.pass_rate)
    said = known.right(prompt) if right else known.wrong(prompt, draw)
    aloud = thinks_aloud(body)
    length = manner.words * (LONG if aloud else 1.0) * math.exp(draw.gauss(0.0, manner.spread))
    if fate < manner.empty:
        return Answer("", "", "stop", 1)
    if fate < manner.empty + manner.filtered:
        return _ended(_working(draw, 8), "", aloud, "content_filter")
    limit = _limit(body)
    if fate < manner.empty + manner.filtered + manner.endless:
        return _cut(_working(draw, limit or ENDLESS), "", aloud, limit or ENDLESS)
    working = _working(draw, round(length)) if aloud or known.working else ""
    if limit is not None and len(working.split()) + len(said.split()) + 1 > limit:
        return _cut(working, said, aloud, limit)
    return _ended(working, said, aloud, "stop")


def thinks_aloud(body: Mapping[str, Any]) -> bool:
    """Whether a request is answered with long reasoning: thinking is switched on, or the model is called so."""
    kwargs = body.get("chat_template_kwargs") or {}
    for switch in ("enable_thinking", "thinking"):
        if switch in kwargs:
            return bool(kwargs[switch])
    if body.get("reasoning_effort"):
        return body["reasoning_effort"] not in ("none", "minimal")
    return "long" in str(body.get("model", "")).lower()


def identity(body: Mapping[str, Any]) -> str:
    """Names a request by all that its answer depends on: one that is sent again has the same."""
    asked = ("model", "messages", "seed", "max_tokens", "max_completion_tokens", "chat_template_kwargs")
    told = {key: body[key] for key in (*asked, "reasoning_effort") if body.get(key) is not None}
    return content_hash(json.dumps(told, sort_keys=True, ensure_ascii=False))


def message(given: Answer, style: Style) -> dict[str, Any]:
    """An answer as the message of a choice."""
    if style == "think":
        tail = f"</think>\n\n{given.content}" if given.content or given.finish_reason == "stop" else ""
        content = f"<think>\n{given.reasoning}\n{tail}" if given.reasoning else given.content
        return {"role": "assistant", "content": content}
    thought = {style: given.reasoning} if given.reasoning else {}
    return {"role": "assistant", "content": given.content, **thought}


def prompt_words(body: Mapping[str, Any]) -> int:
    """Words of all messages of a request."""
    return sum(len(str(m.get("content") or "").split()) for m in body["messages"])


def _asked(problem: Problem) -> str:
    """A problem's own words as they stand in the last message."""
    return problem.prompt if isinstance(problem.prompt, str) else problem.prompt[-1].content


def _easiness(prompt: str, mean: float) -> float:
    """How probably this problem is solved: most are nearly always or nearly never, as those of real models are."""
    if not 0.0 < mean < 1.0:
        return mean
    return random.Random(f"easiness|{prompt}").betavariate(1.5 * mean, 1.5 * (1.0 - mean))


def _limit(body: Mapping[str, Any]) -> int | None:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return int(limit) if limit else None


def _working(draw: random.Random, words: int) -> str:
    """About so many words, a step a line; never fewer."""
    steps: list[str] = []
    while words > 0:
        steps.append(draw.choice(_STEPS))
        words -= len(steps[-1].split())
    return "\n".join(steps)


def _ended(working: str, said: str, aloud: bool, reason: FinishReason) -> Answer:
    tokens = len(working.split()) + len(said.split()) + (reason == "stop")
    return Answer(working, said, reason, tokens) if aloud else Answer("", _joined(working, said), reason, tokens)


def _cut(working: str, said: str, aloud: bool, limit: int) -> Answer:
    """The answer as far as it goes within the limit. Only what is cut loses its line ends."""
    thought, spoken = working.split(), said.split()
    kept, rest = thought[:limit], spoken[: max(limit - len(thought), 0)]
    begun, left = " ".join(kept), " ".join(rest)
    tokens = len(kept) + len(rest)
    return Answer(begun, left, "length", tokens) if aloud else Answer("", _joined(begun, left), "length", tokens)


def _joined(working: str, said: str) -> str:
    return f"{working}\n\n{said}".strip()
