"""What trees of expression.py are worth, and when two of them are the same.

Two expressions are the same when they have the same value, to a hundred digits, at every one of a few fixed points;
names get the same value on both sides. Floating point says at once where they clearly differ; there is no symbolic
algebra.
"""

from __future__ import annotations

import cmath
import math
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import Any

from mixdistill.verifiers.expression import Node, read

DIGITS = 120
"""Decimal digits of the deciding evaluation, besides those before the point."""
LONGEST_VALUE = 20_000
"""Bits of a fraction that is computed exactly."""
_SPREAD = (1.0, 11.9, -2.3, 0.31, -17.1, 4.4, -0.7)
POINTS = len(_SPREAD)
"""Sizes of the values that names are given in turn: small and large, and of either sign where it is negative."""
CLEAR = 1e-3
"""Relative difference at which floating point is believed, of values above `TINY`: it may be all that is left of 0."""
TINY = 1e-9

_FAILS = (ArithmeticError, ValueError, TypeError, RecursionError, KeyError)


def same(a: Node, b: Node) -> bool | None:
    """Whether two expressions have the same value wherever both have one; None where too few points say so."""
    names = sorted(names_in(a) | names_in(b))
    real = bool(names) and not _holds_i(a, b)
    if not names and (x := _rational(a)) is not None and (y := _rational(b)) is not None:
        return x == y
    points = range(POINTS) if names else range(1)
    agreed = 0
    for point in points:
        verdict = _equal(a, b, _values(names, point), real=real)
        if verdict is False:
            return False
        agreed += verdict is True
    if agreed >= min(2, len(points)):
        return True
    return None if names else _same_towers(a, b)


def _rational(node: Node) -> Fraction | None:
    """The exact value of a sum of products of whole powers of numbers; None for all else, and where it is too long."""
    kind, parts = node[0], node[1:]
    if kind == "num":
        return Fraction(parts[0])
    if kind not in ("neg", "+", "-", "*", "/", "^"):
        return None
    found = [_rational(part) for part in parts]
    x, y = found[0], found[-1]
    if x is None or y is None or max(map(_bits, (x, y))) > LONGEST_VALUE:
        return None
    if kind == "^":
        whole = y.denominator == 1 and abs(y.numerator) * _bits(x) <= LONGEST_VALUE
        return x ** int(y) if whole and (x or y >= 0) else None
    if kind == "neg":
        return -x
    if kind == "/":
        return x / y if y else None
    return x + y if kind == "+" else x - y if kind == "-" else x * y


def _bits(x: Fraction) -> int:
    return x.numerator.bit_length() + x.denominator.bit_length()


def _same_towers(a: Node, b: Node) -> bool | None:
    """Of values beyond floating point: no ordinary number is one, and powers of one base differ as their exponents."""
    huge, other = _is_huge(a), _is_huge(b)
    if huge != other:
        return False if value(b if huge else a) is not None else None
    if huge and a[0] == b[0] == "^" and same(a[1], b[1]):
        return same(a[2], b[2])
    return None


@lru_cache(maxsize=1024)
def _is_huge(node: Node) -> bool:
    """Whether a value is certainly above 2^1000."""
    kind, parts = node[0], node[1:]
    if kind == "^":
        base, exponent = _at_least(parts[0]), _at_least(parts[1])
        return base >= 2 and exponent >= 1000
    if kind == "!":
        return _at_least(parts[0]) > 170
    if kind == "binom":
        return 1000 <= _at_least(parts[1]) <= _at_least(parts[0]) / 2
    return kind in ("+", "*") and any(map(_is_huge, parts)) and all(_at_least(p) >= 1 for p in parts)


@lru_cache(maxsize=1024)
def _at_least(node: Node) -> float:
    """The value of a real expression, infinite where it is huge; 0 where it is not known."""
    if _is_huge(node):
        return math.inf
    found = value(node)
    return found.real if found is not None and found.imag == 0 else 0.0


def same_equation(a: tuple[Node, Node], b: tuple[Node, Node]) -> bool | None:
    """Whether two equations, each its two sides, say the same: one is the other times a constant."""
    left, right = ("-", *a), ("-", *b)
    names = sorted(names_in(left) | names_in(right))
    if not names or not names_in(left) or not names_in(right):
        return None
    ratios = []
    for point in range(POINTS):
        values = _values(names, point)
        try:
            x, y = _float(left, values), _float(right, values)
        except _FAILS:
            continue
        if abs(y) < 1e-9 or abs(x) < 1e-9:
            continue
        ratios.append(x / y)
    if len(ratios) < 3:
        return None
    return all(abs(r - ratios[0]) <= 1e-9 * abs(ratios[0]) for r in ratios)


def value(node: Node) -> complex | None:
    """The value of an expression without names, in floating point; None where it has none."""
    try:
        return None if names_in(node) else _float(node, {})
    except _FAILS:
        return None


def scaled(node: Node, by: str) -> Node:
    """The expression times another, as text: `scaled(x, r"\\pi/180")`."""
    factor = read(by)
    assert factor is not None
    return ("*", node, factor)


def _equal(a: Node, b: Node, values: dict[str, float], *, real: bool) -> bool | None:
    """At one point; None where a side has no value there, or no `real` one: x^{3/4} of a negative x."""
    if real and not (_is_real(a, values) and _is_real(b, values)):
        return None
    try:
        x, y = _float(a, values), _float(b, values)
    except _FAILS:
        return None
    size = max(abs(x), abs(y))
    if not math.isfinite(size):
        return None
    if size > TINY and abs(x - y) > CLEAR * size:
        return False
    return _equal_exactly(a, b, values, size)


def _is_real(node: Node, values: dict[str, float]) -> bool:
    """Whether every part of a tree has a real value: sqrt(a) sqrt(b) has none where both are negative."""
    if node[0] in ("num", "name", "pi", "e"):
        return True
    if not all(_is_real(part, values) for part in node[1:]):
        return False
    try:
        found = _float(node, values)
    except _FAILS:
        return True  # no value at all is found out later
    return abs(found.imag) <= CLEAR * abs(found)


def _holds_i(*nodes: Node) -> bool:
    return any(n[0] == "i" or _holds_i(*(part for part in n[1:] if isinstance(part, tuple))) for n in nodes)


def _equal_exactly(a: Node, b: Node, values: dict[str, float], size: float) -> bool | None:
    import mpmath

    digits = DIGITS + int(math.log10(size) if size > 1 else 0)
    with mpmath.workdps(digits):
        try:
            x, y = _evaluate(a, values, mpmath.mpf, mpmath.mp), _evaluate(b, values, mpmath.mpf, mpmath.mp)
            near = mpmath.mpf(10) ** (20 - digits) * max(abs(x), abs(y), mpmath.mpf(10) ** -15)
            return bool(abs(x - y) <= near)
        except _FAILS:
            return None


def names_in(node: Node) -> set[str]:
    """The variables of an expression."""
    if node[0] == "name":
        return {node[1]}
    return set().union(*(names_in(part) for part in node[1:] if isinstance(part, tuple)), ())


@lru_cache(maxsize=256)
def _coordinates(count: int, point: int) -> tuple[float, ...]:
    """Values of so many names at one point, each by itself: on a ray, x = 2y would look like y = 2x."""
    rng = Random(1000 * point + count)
    sizes = [_SPREAD[point] * rng.uniform(0.4, 1.7) for _ in range(count)]
    return tuple(size * (rng.choice((1, -1)) if i and size < 0 else 1) for i, size in enumerate(sizes))


def _values(names: list[str], point: int) -> dict[str, float]:
    """What each name is worth; it depends on its place in the alphabet of both sides."""
    return dict(zip(names, _coordinates(len(names), point), strict=True))


def _float(node: Node, values: dict[str, float]) -> complex:
    return complex(_evaluate(node, values, float, cmath))


def _evaluate(node: Node, values: dict[str, float], real: Any, lib: Any) -> Any:
    """The value of a tree. `lib` is `cmath` or an mpmath context, `real` makes its numbers."""
    kind = node[0]
    if kind == "num":
        return real(node[1])
    if kind == "name":
        return real(values[node[1]])
    if kind == "pi":
        return lib.pi + 0
    if kind == "e":
        return lib.exp(1)
    if kind == "i":
        return 1j
    parts = [_evaluate(part, values, real, lib) for part in node[1:]]
    return _apply(kind, parts, real, lib)


def _apply(kind: str, parts: list[Any], real: Any, lib: Any) -> Any:
    x = parts[0]
    if len(parts) == 1:
        return _apply_one(kind, x, real, lib)
    y = parts[1]
    if kind == "+":
        return x + y
    if kind == "-":
        return x - y
    if kind == "*":
        return x * y
    if kind == "/":
        return x / y
    if kind == "^":
        return _power(x, y)
    if kind == "root":
        return _root(x, y, real, lib)
    assert kind == "binom"
    return real(math.comb(_whole(x), _whole(y)))


def _apply_one(kind: str, x: Any, real: Any, lib: Any) -> Any:
    if kind == "neg":
        return -x
    if kind == "!":
        return real(math.factorial(_whole(x)))
    if kind == "abs":
        return abs(x)
    if kind in ("lfloor", "lceil"):
        return real((math.floor if kind == "lfloor" else math.ceil)(_real(x)))
    if kind in ("cot", "sec", "csc"):
        return 1 / {"cot": lib.tan, "sec": lib.cos, "csc": lib.sin}[kind](x)
    return getattr(lib, "log" if kind == "ln" else kind)(x)


def _power(x: Any, y: Any) -> Any:
    real = _real_or_none(y)
    if real is not None and real == int(real):
        return x ** int(real)
    if x == 0:
        return x
    return complex(x) ** y if isinstance(x, float) and x < 0 else x**y


def _root(x: Any, degree: Any, real: Any, lib: Any) -> Any:
    n, low = _whole(degree), _real_or_none(x)
    if n == 2:
        return lib.sqrt(x)
    if low is not None and low < 0 and n % 2:
        return -((-real(_real(x))) ** (real(1) / n))
    return _power(x, real(1) / n)


def _real(x: Any) -> Any:
    """The real part of what has no other."""
    if abs(x.imag) > 1e-12 * max(1, abs(x)):
        raise ValueError
    return x.real


def _real_or_none(x: Any) -> Any:
    return x.real if abs(x.imag) <= 1e-12 * max(1, abs(x)) else None


def _whole(x: Any) -> int:
    """A small whole number: of a factorial, a binomial or a root."""
    low = _real(x)
    n = int(low)
    if n != low or not 0 <= n <= 170:
        raise ValueError
    return n
