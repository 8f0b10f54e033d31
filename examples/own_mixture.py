"""A mixture of your own: long traces for easy problems, the other teachers' for hard ones.

    arms:
      long: {long: 1}
      short: {short: 1}
      easy-long: {weights: {long: 0.5, short: 0.5}, mixture: "examples/own_mixture.py:easy_first", teacher: long}

A problem is the harder, the longer the shortest trace that `teacher` wrote of it.
"""

from mixdistill.mixing.mixtures import example_shares


def easy_first(pools, weights, *, rng, unit, teacher):
    tokens = {t: {p: min(c.loss_tokens for c in cs) for p, cs in pool.items()} for t, pool in pools.items()}
    share = example_shares({t: sum(of.values()) for t, of in tokens.items()}, weights, unit)
    others = [t for t in share if t != teacher]
    by_difficulty = sorted(tokens[teacher], key=tokens[teacher].__getitem__)
    for rank, problem in enumerate(by_difficulty):
        easy = rank < round(share[teacher] * len(by_difficulty))
        author = teacher if easy else rng.choices(others, [share[t] for t in others])[0]
        yield rng.choice(pools[author][problem]).trace_id
