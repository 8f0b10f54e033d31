"""Style shift: how far what students write is from what their untuned selves would have, and with which words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mixdistill.evidence.details import ShiftedToken, StyleShift
from mixdistill.evidence.kinds import Kind, kinds
from mixdistill.evidence.ratios import ratio, share
from mixdistill.evidence.readings import cell_of
from mixdistill.ranks import OPTION, TABLE
from mixdistill.store import Store
from mixdistill.types import Problem, Ranked, prompt_text
from mixdistill.units import Unit

FURTHEST = 100
"""A rank beyond this counts as this: how unlikely a token is among the unlikely ones says nothing more."""
SHOWN = 20
FEWEST = 3
"""A token that was written less often is not among the most shifted: one rare word would be."""


@dataclass
class _Token:
    """One token, over all that it was written."""

    count: int = 0
    ranks: int = 0
    off: list[Kind] = field(default_factory=list)
    """What it was, each time that it was not the first choice."""

    @property
    def places(self) -> int:
        """By how many places it is off the first choice, over all its occurrences."""
        return self.ranks - self.count


def style(store: Store, done: list[Unit]) -> list[StyleShift]:
    """Of every evaluation whose tokens were ranked."""
    asked = [unit for unit in done if unit.options.get(OPTION)]
    return [row for unit in asked if (row := _shift(store, unit))]


def _shift(store: Store, unit: Unit) -> StyleShift | None:
    student, arm, seed, benchmark = cell_of(unit.key)
    rows = store.read(store.folder("evaluate", *unit.key), Ranked, TABLE)
    if not rows:
        return None
    prompts = {p.id: prompt_text(p.prompt) for p in store.read(store.folder("problems"), Problem, benchmark)}
    tokens: dict[str, _Token] = defaultdict(_Token)
    counts = [_count(row, prompts[row.problem_id], tokens) for row in rows]
    written, first, places, off, of_style = zip(*counts, strict=True)
    top1, top1_interval = share(first, written)
    mean_rank, mean_rank_interval = ratio(places, written)
    style_share, style_interval = share(of_style, off)
    assert top1 is not None and mean_rank is not None
    return StyleShift(
        student=student,
        arm=arm,
        benchmark=benchmark,
        seed=seed,
        tokens=sum(written),
        traces=len(rows),
        top1=top1,
        top1_interval=top1_interval,
        mean_rank=mean_rank,
        mean_rank_interval=mean_rank_interval,
        style_share=style_share,
        style_interval=style_interval,
        shifted=_most_shifted(tokens),
    )


def _count(row: Ranked, prompt: str, tokens: dict[str, _Token]) -> tuple[int, int, int, int, int]:
    """(tokens, first choices, sum of ranks, others, those of them that are style) of one trace; its tokens are added to
    `tokens`."""
    ranks = [min(rank, FURTHEST) for rank in row.ranks]
    off = [i for i, rank in enumerate(ranks) if rank > 1]
    kind = dict(zip(off, kinds(row.tokens, off, prompt), strict=True))
    for i, (token, rank) in enumerate(zip(row.tokens, ranks, strict=True)):
        known = tokens[token.strip() or token]
        known.count += 1
        known.ranks += rank
        if i in kind:
            known.off.append(kind[i])
    return len(ranks), len(ranks) - len(off), sum(ranks), len(off), sum(k == "style" for k in kind.values())


def _most_shifted(tokens: dict[str, _Token]) -> list[ShiftedToken]:
    there = [(text, t) for text, t in tokens.items() if t.places and t.count >= FEWEST]
    first = sorted(there, key=lambda each: (-each[1].places, each[0]))[:SHOWN]
    return [ShiftedToken(token=text, count=t.count, rank=t.ranks / t.count, kind=_mostly(t.off)) for text, t in first]


def _mostly(found: Sequence[Kind]) -> Kind:
    return "style" if 2 * found.count("style") >= len(found) else "content"
