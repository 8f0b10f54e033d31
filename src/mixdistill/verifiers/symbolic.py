"""math-verify, for what cannot be decided without symbolic algebra: slow, sometimes endless, so only in a worker."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any


def same(gold: str, answer: str, timeout: int) -> bool | None:
    """math-verify's opinion; None where it cannot read one of the two as mathematics, or compare the two.

    Pairs of readings are compared one by one: a failure on one must not hide a match on another. `timeout` is whole
    seconds for each parse and each comparison. Runs in the main thread of its process (math-verify keeps time with
    SIGALRM). Raises TimeoutError when it does not finish in time, MemoryError or RecursionError where it needs more.
    """
    from math_verify import verify
    from math_verify.errors import TimeoutException

    found: bool | None = None
    try:
        for pair in product(_parse_gold(gold, timeout), _parse(answer, timeout)):
            try:
                found = verify(*pair, timeout_seconds=timeout, raise_on_error=True) or bool(found)
            except _LIMITS:
                raise
            except Exception:  # a matrix against a number, a quotient by zero: these two cannot be compared
                continue
            if found:
                return True
    except TimeoutException as e:
        # It is a BaseException: neither callers nor pools would survive it as it is.
        raise TimeoutError(f"math-verify: no result within {timeout} s (answer {answer[:80]!r})") from e
    return found


_LIMITS = (MemoryError, RecursionError)


@lru_cache(maxsize=4096)
def _parse_gold(gold: str, timeout: int) -> list[Any]:
    """Parsed references are kept: parsing them is 43 % of the work on wrong answers, and each is met many times."""
    return _parse(gold, timeout)


def _parse(text: str, timeout: int) -> list[Any]:
    import logging

    from math_verify import parse

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it logs whole answers
    try:
        return parse(f"${text}$", parsing_timeout=timeout, raise_on_error=True)
    except _LIMITS:
        raise
    except Exception:  # what is no mathematics may fail in any of sympy's ways
        return []
