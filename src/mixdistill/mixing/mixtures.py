"""The built-in mixtures: which trace each row of an arm is made from.

A mixture is a function `(pools, weights, *, rng, option=...)` that yields trace ids, or `(trace id, stage)` where the
rows of a lower stage come first. `pools` is teacher -> problem id -> candidates (`pools.Pool`), the teacher with the
longest traces first, all with the same problems in the same order. Of the keywords in `SUPPLIED` it is given those that
it names; its further keyword-only parameters are options of the arm.

All draw the same two numbers for every problem, in order: one that ranks it and one that picks among a teacher's
traces. So blends of one seed are nested, and a teacher's trace of a problem is the same one in every arm.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mixdistill.errors import RecipeError
from mixdistill.mixing.pools import Candidate, Pool

if TYPE_CHECKING:
    import numpy as np

SUPPLIED = ("rng", "unit", "times", "difficulty", "pass_rate")
"""Keywords that a mixture may ask for: the draw of the cell's seed; the unit of the weights; [problems] how often each
stands in a pass, None for once; problem id -> 0..1, the share of all teachers' traces of it that are wrong; problem id
-> share of the student's own that are right."""
Pools = Mapping[str, Mapping[str, Sequence[Candidate]]]


def blend(
    pools: Pools,
    weights: Mapping[str, float],
    *,
    rng: random.Random,
    unit: str = "examples",
    times: np.ndarray | None = None,
) -> Iterator[str]:
    """One trace per problem, teachers by weight.

    The lowest ranks go to the first teacher, up to its share, and so on; so a 20 % and a 50 % blend of the same seed
    are nested. For weights in `loss_tokens` the shares of examples are those that give these shares of tokens at the
    teachers' mean lengths.
    """
    return repeat(pools, weights, rng=rng, unit=unit, times=times, traces=1)


def repeat(
    pools: Pools,
    weights: Mapping[str, float],
    *,
    rng: random.Random,
    unit: str = "examples",
    times: np.ndarray | None = None,
    traces: int = 2,
) -> Iterator[str]:
    """`traces` rows per problem, teachers by weight.

    The rows are ranked as those of a blend, first one of every problem, then a second of every problem, and so on.
    Where a teacher has several rows of a problem, they are different traces, in turn, as far as it has so many. They
    are yielded in a random order, which is that in which the rows of a problem are taken.
    """
    found = [Pool.of(pool) for pool in pools.values()]
    ranks, picks = _draws(len(found[0]), rng)
    ids = _rows(found, _assigned(ranks, _shares(pools, found, weights, unit, times), traces, times), picks).ids
    return iter(ids if traces == 1 else _turned(ids, traces, rng))


def _turned(ids: list[str], traces: int, rng: random.Random) -> list[str]:
    """The rows of each problem, which stand together, in a random order."""
    import numpy as np

    keys = np.random.default_rng(rng.getrandbits(128)).random((len(ids) // traces, traces))
    within = keys.argsort(axis=1) + np.arange(len(keys))[:, None] * traces
    return np.array(ids, dtype=object)[within.ravel()].tolist()


def curriculum(
    pools: Pools,
    weights: Mapping[str, float],
    *,
    rng: random.Random,
    difficulty: Mapping[str, float],
    unit: str = "examples",
    times: np.ndarray | None = None,
    by: str = "length",
    stages: int = 4,
) -> Iterator[tuple[str, int]]:
    """The rows of the blend in `stages` parts, each as large a part of a pass: short before long, or easy before hard.

    Rows that are equally long, or hard, are in the same stage.
    """
    import numpy as np

    found = [Pool.of(pool) for pool in pools.values()]
    ranks, picks = _draws(len(found[0]), rng)
    rows = _rows(found, _assigned(ranks, _shares(pools, found, weights, unit, times), 1, times), picks)
    key = rows.tokens if by == "length" else np.array([difficulty[p] for p in found[0]])
    order = np.argsort(key, kind="stable")
    passed = np.concatenate([[0], np.cumsum(np.ones(len(key), dtype=np.int64) if times is None else times[order])])
    before = passed[np.searchsorted(key[order], key)]
    return iter(list(zip(rows.ids, (before * stages // passed[-1]).tolist(), strict=True)))


def route(
    pools: Pools,
    weights: Mapping[str, float],
    *,
    rng: random.Random,
    pass_rate: Mapping[str, float],
    thresholds: Sequence[float] = (0.5,),
    hardest: str = "longest",
) -> Iterator[str]:
    """One trace per problem, teachers by the student's own pass rate.

    Problems below the first threshold go to the teacher with the `longest` (or `shortest`) traces, those from there up
    to the second to the next, and so on. A problem that the student gave no answer to counts as never solved. The
    weights say which teachers, and nothing more.
    """
    import numpy as np

    found = [Pool.of(pool) for pool in pools.values()]
    _, picks = _draws(len(found[0]), rng)
    part = np.searchsorted(np.asarray(thresholds), [pass_rate.get(p, 0.0) for p in found[0]], side="right")
    teacher = part if hardest == "longest" else len(found) - 1 - part
    return iter(_rows(found, teacher[None, :], picks).ids)


def example_shares(mean_tokens: Mapping[str, float], weights: Mapping[str, float], unit: str) -> dict[str, float]:
    """Teacher -> share of examples, for weights in `unit`; teachers in the order of `mean_tokens`."""
    raw = {t: weights.get(t, 0.0) / (mean if unit == "loss_tokens" else 1.0) for t, mean in mean_tokens.items()}
    total = sum(raw.values())
    return {t: share / total for t, share in raw.items() if share > 0}


def findings(name: str, options: Mapping[str, Any], teachers: int) -> Iterator[str]:
    """What is wrong with the options of a built-in mixture of so many teachers: `option: what (got value)`."""
    if name == "curriculum":
        by, stages = options.get("by", "length"), options.get("stages", 4)
        if by not in ("length", "difficulty"):
            yield f"by: must be length or difficulty (got {by!r})"
        if not isinstance(stages, int) or stages < 2:
            yield f"stages: must be a whole number from 2 on (got {stages!r})"
    if name == "repeat" and (not isinstance(n := options.get("traces", 2), int) or n < 1):
        yield f"traces: must be a whole number from 1 on (got {n!r})"
    if name == "route":
        at, hardest = options.get("thresholds", [0.5]), options.get("hardest", "longest")
        numbers = isinstance(at, list) and all(isinstance(x, int | float) and 0 <= x <= 1 for x in at)
        if not numbers or sorted(set(at)) != at or len(at) != teachers - 1:
            yield f"thresholds: must rise within 0 to 1, one fewer than the teachers (got {at!r})"
        if hardest not in ("longest", "shortest"):
            yield f"hardest: must be longest or shortest (got {hardest!r})"


class _Rows(NamedTuple):
    """Rows of an arm, those of a problem one after the other."""

    ids: list[str]
    tokens: np.ndarray


def _draws(problems: int, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Of each problem: what ranks it, and what picks among a teacher's traces."""
    import numpy as np

    if not problems:
        raise RecipeError("a mixture needs at least one problem (got none)")
    draws = np.fromiter((rng.random() for _ in range(2 * problems)), dtype=np.float64, count=2 * problems)
    return draws[0::2], draws[1::2]


def _shares(
    names: Iterable[str], pools: Sequence[Pool], weights: Mapping[str, float], unit: str, times: np.ndarray | None
) -> list[float]:
    """Of every teacher its share of examples."""
    means = {name: pool.mean_tokens(times) for name, pool in zip(names, pools, strict=True)}
    shares = example_shares(means, weights, unit)
    return [shares.get(name, 0.0) for name in means]


def _assigned(ranks: np.ndarray, shares: Sequence[float], rounds: int, times: np.ndarray | None) -> np.ndarray:
    """[rounds, problems] Number of the teacher of every row: the lowest ranks of the first round to the first.

    A row counts as often as its problem stands in a pass, and goes where the middle of it lies.
    """
    import numpy as np

    order = np.argsort(ranks, kind="stable")
    size = np.tile(np.ones(len(ranks), dtype=np.int64) if times is None else times[order], rounds)
    reached = np.cumsum(size)
    ends = [round(share * int(reached[-1])) for share in np.cumsum(shares).tolist()]
    by_rank = np.searchsorted(ends, reached - size / 2, side="right").clip(max=len(shares) - 1)
    teacher = np.empty((rounds, len(ranks)), dtype=np.int64)
    teacher[:, order] = by_rank.reshape(rounds, -1)
    return teacher


def _rows(pools: Sequence[Pool], teacher: np.ndarray, picks: np.ndarray) -> _Rows:
    """The rows of teachers that are assigned. Of several of one problem, each takes the next trace of its teacher."""
    import numpy as np

    rounds, problems = teacher.shape
    ids, tokens = np.empty((problems, rounds), dtype=object), np.empty((problems, rounds), dtype=np.int64)
    for n, pool in enumerate(pools):
        first = pool.starts[:-1]
        place = (picks * pool.counts).astype(np.int64)
        for r in range(rounds):
            mine = np.flatnonzero(teacher[r] == n)
            rows = first[mine] + place[mine] % pool.counts[mine]
            ids[mine, r], tokens[mine, r] = pool.ids.gather(rows).to_numpy(), pool.tokens[rows]
            place[mine] += 1
    return _Rows(ids.ravel().tolist(), tokens.ravel())
