"""The domain "signs": put + or - between the numbers of a chain so that it equals a target.

    Q 8 4 7 9 T 10 :                       the problem; several answers may be right
    8 + 4 12 + 7 19 - 9 10 T 10 ok         an attempt: running sums, the comparison with the target, its verdict
    A + + -                                the answer

Words are separated by single spaces; a word is a token of the lab's students. Everything here is pure Python.

**Splits.** Every problem belongs to `corpus`, `train`, `search` or `eval`, by a hash of its numbers *as a set with
repetitions*: neither the target nor the order of the numbers counts. The target does not, because a search for one
target writes down attempts that reach others; the order does not, because the same signed numbers in another order
are the same solution. So whatever is written about one problem tells nothing about a chain of another split but the
sums and comparisons that all chains are made of.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from itertools import combinations_with_replacement, product
from math import factorial, prod
from typing import TYPE_CHECKING, NamedTuple

from mixdistill.errors import DataError, did_you_mean
from mixdistill.types import Outcome, Problem, Verdict, problem_id

if TYPE_CHECKING:
    from mixdistill.types import Message, Trace

VERSION = "1"
"""Version of the verifier `signs`."""

LENGTHS = (3, 4, 5)
DIGITS = range(1, 10)
SPLITS = {"corpus": 20, "train": 50, "search": 10, "eval": 20}
"""Share of the number sets in each split, in percent."""
LEVELS = (4, 3, 4, 5, 4)
"""The lengths of consecutive problems, over and over. One in five has k = 3: there are about 2,700 such problems in
all, and an equal share would use up their training split before 5,000 problems are drawn. One in five has k = 5, whose
long traces are so long that more of them would make every long training set a set of k = 5."""

_PROMPT = re.compile(r"Q((?: [1-9]){3,5}) T (0|-?[1-9][0-9]?) :")


class Chain(NamedTuple):
    """A problem taken apart."""

    numbers: tuple[int, ...]
    """k numbers of 1..9, k in 3..5. The first is always added."""
    target: int
    """What the chain shall equal; reachable by at least one sign row."""

    @property
    def prompt(self) -> str:
        """`Q 8 4 7 9 T 10 :`"""
        return f"Q {' '.join(map(str, self.numbers))} T {self.target} :"

    @property
    def solutions(self) -> list[str]:
        """All right sign rows such as `++-`, in binary order."""
        return [row for row in sign_rows(len(self.numbers)) if value(self.numbers, row) == self.target]


@cache
def sign_rows(k: int) -> tuple[str, ...]:
    """The 2^(k-1) sign rows between k numbers in binary order, + as 0: `++`, `+-`, `-+`, `--` for k = 3."""
    return tuple("".join(row) for row in product("+-", repeat=k - 1))


def value(numbers: Sequence[int], row: str) -> int:
    """What the numbers come to with these signs between them."""
    return numbers[0] + sum(n if sign == "+" else -n for n, sign in zip(numbers[1:], row, strict=True))


def parse(prompt: str | list[Message]) -> Chain | None:
    """The chain a prompt asks about (of a conversation: its last turn); None when it is no problem of this domain."""
    text = prompt if isinstance(prompt, str) else prompt[-1].content if prompt else ""
    match = _PROMPT.fullmatch(text.strip())
    if match is None:
        return None
    chain = Chain(tuple(int(n) for n in match[1].split()), int(match[2]))
    return chain if chain.solutions else None


def sums(numbers: Sequence[int], row: str) -> str:
    """The chain with its running sums: `8 + 4 12 + 7 19 - 9 10`."""
    words, total = [str(numbers[0])], numbers[0]
    for sign, n in zip(row, numbers[1:], strict=True):
        total += n if sign == "+" else -n
        words += [sign, str(n), str(total)]
    return " ".join(words)


def compare(got: int, target: int) -> str:
    """`T 10 ok` when got is the target, else `T 10 x`."""
    return f"T {target} {'ok' if got == target else 'x'}"


def attempt(chain: Chain, row: str) -> str:
    """One whole attempt with its verdict: `8 - 4 4 + 7 11 + 9 20 T 10 x`."""
    return f"{sums(chain.numbers, row)} {compare(value(chain.numbers, row), chain.target)}"


def answer(row: str) -> str:
    """`A + + -`"""
    return " ".join(("A", *row))


def search(chain: Chain, start: int) -> list[str]:
    """The sign rows that a blind search writes: from row number `start` on, in binary order, round to the first right
    one, which is the last of the list."""
    rows, solutions = sign_rows(len(chain.numbers)), chain.solutions
    tried = []
    for step in range(len(rows)):
        tried.append(rows[(start + step) % len(rows)])
        if tried[-1] in solutions:
            return tried
    raise ValueError(f"{chain} has no solution")


def long_trace(chain: Chain, start: int) -> tuple[str, str]:
    """Reasoning and content of the whole blind search from row number `start`: every attempt, then the answer."""
    tried = search(chain, start)
    return " ".join(attempt(chain, row) for row in tried), answer(tried[-1])


def short_trace(chain: Chain, start: int) -> tuple[str, str]:
    """Reasoning and content with the right path alone: the last attempt of `long_trace(chain, start)`."""
    right = search(chain, start)[-1]
    return attempt(chain, right), answer(right)


@cache
def _split_of_set(ordered: tuple[int, ...]) -> str:
    digest = sha256(f"signs {' '.join(map(str, ordered))}".encode()).digest()
    point = int.from_bytes(digest[:8], "little") % 100
    for split, share in SPLITS.items():
        if point < share:
            return split
        point -= share
    raise AssertionError("shares of the splits do not add up to 100")


def split_of_numbers(numbers: Sequence[int]) -> str:
    """The split of every problem with these numbers, whatever their order and target."""
    return _split_of_set(tuple(sorted(numbers)))


def split_of(prompt: str | list[Message]) -> str:
    """The split a problem belongs to: `corpus`, `train`, `search` or `eval`. DataError when it is no problem."""
    chain = parse(prompt)
    if chain is None:
        raise DataError(f"lab: not a solvable signs problem (got {str(prompt)[:80]!r}); write it as 'Q 8 4 7 9 T 10 :'")
    return split_of_numbers(chain.numbers)


def _targets(numbers: Sequence[int]) -> list[int]:
    return sorted({value(numbers, row) for row in sign_rows(len(numbers))})


@cache
def _sets(split: str, k: int) -> list[tuple[int, ...]]:
    return [s for s in combinations_with_replacement(DIGITS, k) if _split_of_set(s) == split]


@cache
def size(split: str, k: int) -> int:
    """How many different problems of length k a split holds."""
    total = 0
    for numbers in _sets(split, k):
        for first in set(numbers):
            rest = list(numbers)
            rest.remove(first)
            orders = factorial(k - 1) // prod(factorial(rest.count(n)) for n in set(rest))
            total += orders * len(_targets((first, *rest)))
    return total


def draw(rng: random.Random, split: str, k: int) -> Chain:
    """A random problem of the split: every row of numbers equally likely, then every reachable target."""
    while True:
        numbers = tuple(rng.choices(DIGITS, k=k))
        if split_of_numbers(numbers) == split:
            return Chain(numbers, rng.choice(_targets(numbers)))


def _chains(split: str, k: int, seed: int) -> Iterator[Chain]:
    """All problems of length k of the split, each once, in a random order."""
    rng = random.Random(f"signs {split} {k} {seed}")
    seen: set[Chain] = set()
    while len(seen) < size(split, k):
        chain = draw(rng, split, k)
        if chain not in seen:
            seen.add(chain)
            yield chain


def _mixed(split: str, seed: int) -> Iterator[Chain]:
    """Problems of all lengths in the order of LEVELS; a length that is used up is left out from there on."""
    by_length = {k: _chains(split, k, seed) for k in LENGTHS}
    while by_length:
        for k in LEVELS:
            if k in by_length:
                chain = next(by_length[k], None)
                if chain is None:
                    del by_length[k]
                else:
                    yield chain


def problems(split: str, *, count: int, seed: int = 0) -> list[Problem]:
    """The first `count` problems of a split: all different, one k = 3 to three k = 4 and one k = 5.

    The same split and seed always give the same order, so fewer problems are a prefix of more. The reference answer
    is the first right one in binary order, written as a student shall write it (`A + + -`). Past the last k = 3
    problem (about five times `size(split, 3)`) only longer ones follow. DataError when the split is unknown or holds
    fewer than `count` problems.
    """
    if split not in SPLITS:
        raise DataError(f"lab:signs: no split of that name (got {split!r}){did_you_mean(split, SPLITS)}")
    held = sum(size(split, k) for k in LENGTHS)
    if not 0 <= count <= held:
        raise DataError(
            f"lab:signs: split {split} holds {held:,} problems (got count={count:,}); ask for 0 to {held:,}"
        )
    return [_problem(chain, split) for _, chain in zip(range(count), _mixed(split, seed), strict=False)]


def _problem(chain: Chain, split: str) -> Problem:
    reference = answer(chain.solutions[0])
    return Problem(
        id=problem_id(chain.prompt, reference),
        prompt=chain.prompt,
        answer=reference,
        source="lab:signs",
        split=split,
        level=f"k={len(chain.numbers)}",
    )


def _answered(content: str) -> tuple[str | None, bool]:
    """The signs after the last `A` of an answer, and whether they end the text; None when there are none."""
    words = content.split()
    if "A" not in words:
        return None, False
    tail = words[len(words) - words[::-1].index("A") :]
    signs = 0
    while signs < len(tail) and tail[signs] in ("+", "-"):
        signs += 1
    return "".join(tail[:signs]) or None, signs == len(tail)


def verify(problem: Problem, trace: Trace) -> Verdict:
    """The verifier `signs`: does the sign row after the last `A` of the answer part reach the problem's target?

    Any right row counts, not the reference alone. A row cut by the token limit is `truncated`; one of the wrong
    length is `incorrect`. The reasoning is not read. `error` only when the problem itself is not of this domain.
    """
    chain = parse(problem.prompt)
    if chain is None:
        return Verdict(trace_id=trace.id, outcome=Outcome.ERROR, explanation="the problem is not a signs problem")
    row, ends = _answered(trace.content)
    wanted = len(chain.numbers) - 1
    cut = trace.finish_reason == "length"
    if row is None or (cut and ends and len(row) < wanted):
        outcome = Outcome.TRUNCATED if cut else Outcome.NO_ANSWER
        return Verdict(trace_id=trace.id, outcome=outcome, rule="last A", explanation="no sign row after an A")
    if len(row) != wanted:
        why = f"{len(row)} signs for {wanted} places"
        return Verdict(
            trace_id=trace.id, outcome=Outcome.INCORRECT, answer=answer(row[:16]), rule="last A", explanation=why
        )
    got = value(chain.numbers, row)
    outcome = Outcome.CORRECT if got == chain.target else Outcome.INCORRECT
    why = f"{sums(chain.numbers, row)}, target {chain.target}"
    return Verdict(trace_id=trace.id, outcome=outcome, answer=answer(row), rule="last A", explanation=why)


def attempts(trace: Trace) -> float:
    """Metric: attempts written in the reasoning, counted by their verdicts (the words `ok` and `x`)."""
    return float(sum(word in ("ok", "x") for word in trace.reasoning.split()))
