"""What the lab's base students are pretrained on, as text: the parts of the domain, never the whole.

    8 + 4 12 - 7 5                                             running sums
    8 + 4 12 - 7 5 A + -                                       the signs of running sums, read off
    12 T 10 x                                                  comparisons, half of them equal
    Q 8 4 7 9 T 10 : <think> 8 - 4 4 + 7 11 + 9 20 T 10 x      single attempts with a verdict, half of them right

There is no second attempt after a rejected one, no `</think>` and no answer to a problem: those are left to be learned
from a teacher. Reading signs off is here because a student that has never done it loses a right search in its last
words, where little of a long trace's loss is; without it the larger students do not learn from long traces either
(docs/LOG.md). Numbers and problems come from the split `corpus` alone, running sums included.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from mixdistill.lab import domain

VERSION = "2"
"""Rises whenever the same seed would give other lines."""

SHARES = {"sums": 1, "signs": 2, "comparison": 1, "attempt": 6}
"""Lines of each kind, in tenths."""


def _sums(rng: random.Random) -> str:
    chain = domain.draw(rng, "corpus", rng.choice(domain.LENGTHS))
    return domain.sums(chain.numbers, rng.choice(domain.sign_rows(len(chain.numbers))))


def _signs(rng: random.Random) -> str:
    chain = domain.draw(rng, "corpus", rng.choice(domain.LENGTHS))
    row = rng.choice(domain.sign_rows(len(chain.numbers)))
    return f"{domain.sums(chain.numbers, row)} {domain.answer(row)}"


def _comparison(rng: random.Random) -> str:
    """A number against a target. Wrong ones are mostly near misses, since far ones teach little."""
    target = rng.randint(-20, 40)
    got = target if rng.random() < 0.5 else target + rng.choice((-1, 1)) * rng.randint(1, 12)
    return f"{got} {domain.compare(got, target)}"


def _attempt(rng: random.Random) -> str:
    chain = domain.draw(rng, "corpus", rng.choice(domain.LENGTHS))
    right = chain.solutions
    wrong = [row for row in domain.sign_rows(len(chain.numbers)) if row not in right]
    row = rng.choice(right if rng.random() < 0.5 or not wrong else wrong)
    return f"{chain.prompt} <think> {domain.attempt(chain, row)}"


_KINDS = {"sums": _sums, "signs": _signs, "comparison": _comparison, "attempt": _attempt}


def lines(seed: int = 0) -> Iterator[str]:
    """Endless lines of the corpus, one document each (the stop token is added when they are tokenised)."""
    rng = random.Random(f"corpus {VERSION} {seed}")
    kinds = list(SHARES)
    while True:
        kind = rng.choices(kinds, weights=list(SHARES.values()))[0]
        yield _KINDS[kind](rng)
