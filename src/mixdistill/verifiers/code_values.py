"""What programs print and what their functions give back: how it arrives, and when it is what was expected."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any


class Opaque:
    """A value of none of Python's plain types, by the name of its type. It equals nothing, itself included."""

    def __init__(self, of_type: str) -> None:
        self.of_type = of_type

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{self.of_type}>"


def decoded(value: Any) -> Any:
    """A value as `launcher.encoded` wrote it."""
    if isinstance(value, list):
        return [decoded(v) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    return _DECODE[kind](inner)


_DECODE: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda inner: tuple(map(decoded, inner)),
    "set": lambda inner: frozenset(map(decoded, inner)),
    "dict": lambda inner: {decoded(k): decoded(v) for k, v in inner},
    "int": lambda inner: int(inner, 16),
    "ratio": lambda inner: Fraction(*map(decoded, inner)),
    "complex": lambda inner: complex(*inner),
    "bytes": bytes.fromhex,
    "other": Opaque,
}


_DECIMAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\Z")
_LONGEST_NUMBER = 400


def same_output(expected: str, got: str, tolerance: float) -> bool:
    """Whether two outputs are the same: by lines, and where they differ, by words and numbers."""
    a, b = _lines(expected), _lines(got)
    return len(a) == len(b) and all(x == y or _same_words(x, y, tolerance) for x, y in zip(a, b, strict=True))


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    start = next((n for n, line in enumerate(lines) if line), 0)
    return lines[start:]


def _same_words(a: str, b: str, tolerance: float) -> bool:
    x, y = a.split(), b.split()
    return len(x) == len(y) and all(v == w or _close(v, w, tolerance) for v, w in zip(x, y, strict=True))


def _close(a: str, b: str, tolerance: float) -> bool:
    """Whether two words are numbers, one of them with a decimal point or an exponent, that are nearly equal."""
    if max(len(a), len(b)) > _LONGEST_NUMBER or not (_DECIMAL.match(a) and _DECIMAL.match(b)):
        return False
    return bool(set(a + b) & set(".eE")) and math.isclose(float(a), float(b), rel_tol=tolerance, abs_tol=tolerance)


def same_value(expected: Any, got: Any, tolerance: float) -> bool:
    """Whether a function's value is the expected one, which comes from JSON."""
    if isinstance(expected, list) and len(expected) == 1 and not isinstance(got, list | tuple):
        expected = expected[0]
    return _same(expected, got, tolerance)


def _same(expected: Any, got: Any, tolerance: float) -> bool:
    if isinstance(expected, list) and isinstance(got, list | tuple):
        return len(expected) == len(got) and all(_same(a, b, tolerance) for a, b in zip(expected, got, strict=True))
    if isinstance(expected, dict) and isinstance(got, dict):
        named = {k if isinstance(k, str) else str(k): v for k, v in got.items()}  # JSON has no other keys
        return expected.keys() == named.keys() and all(_same(expected[k], named[k], tolerance) for k in expected)
    if _is_number(expected) and _is_number(got) and isinstance(expected, float) | isinstance(got, float):
        return expected == got or math.isclose(expected, got, rel_tol=tolerance, abs_tol=tolerance)
    return expected == got


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
