"""Answers of several parts: tuples, intervals, sets, lists, unions, matrices, `x = 1 or x = 2`, `3 \\pm 1`.

An answer is split at its outermost separators, and its parts are compared one by one. Order counts in tuples and
matrices and nowhere else; brackets count where both sides have them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from mixdistill.verifiers.plain import WRAPPED

Kind = Literal["one", "list", "set", "tuple", "matrix"]
Compare = Callable[[str, str], "bool | None"]
"""Whether two parts are the same; None where that cannot be said cheaply."""

MOST = 64
"""Parts of one answer; beyond it, it is a text."""


class Shape(NamedTuple):
    """An answer taken apart once."""

    kind: Kind
    parts: tuple[str, ...]
    ends: str = ""
    """Of a tuple, its two brackets: `()` of a point, `[)` of an interval. Of a matrix, its rows and columns: `2x3`."""


_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}", re.DOTALL)
_ALL_OF = re.compile(
    r"^(?:\\text\{ ?)?(?:all|any|every)(?: positive| real| integers?| numbers?| values of)* ?\}? ?"
    r"(?=[a-z] ?(?:\\[gl]e|<|>|=))"
)
_SYSTEM = re.compile(r"\\begin\{(cases|aligned|align\*?|gathered)\}(.*)\\end\{\1\}", re.DOTALL)
_OPEN = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\langle": "\\rangle"}
_CLOSE = {")", "]", "}", "\\}", "\\rangle"}
_MARK = re.compile(r"\\[a-zA-Z]+|\\.|[()\[\]{},;\u6216\u548c]|\s(?:or|and|\u0438|\u0438\u043b\u0438)(?=\s)")
_WORD = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s*\{\s*(?:,\s*)?(or|and)\s*\}")
_MEMBER = re.compile(r"^\s*(?:[A-Za-z]|\\[a-z]+)\s*\\in\b\s*")
_NUMBERS = r"\\(?:math(?:bb|bf|rm)\{[ZNQR]\}|[ZNQR](?![a-z]))(?:\^ ?\+|\^ ?\{\+\})?"
_CONDITION = re.compile(rf"[,;]? ?\(?(?:where |for |with |\\text\{{[^{{}}]*\}} ?)?[A-Za-z] ?\\in ?{_NUMBERS}\)?$")
"""`k \\in \\mathbb{Z}` behind an answer says what its letters are, and is no part of it."""
_BUILDER = re.compile(r"\\\{ ?[A-Za-z](?: ?\\in ?\\(?:mathbb\{R\}|R))? ?(?:\||\\mid(?![a-z])|:)(.+)\\\}")
_LISTED = re.compile(r"[,;] | (?:and|or) |\\text\{ ?(?:and|or) ?\}")
_GROUPS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
"""Where something else parts a list, a comma before three digits belongs to a number."""
_SEPARATORS = {
    ",",
    ";",
    "\\lor",
    "\\land",
    "\\vee",
    "\\cup",
    "or",
    "and",
    "\u6216",
    "\u548c",
    "\u0438",
    "\u0438\u043b\u0438",
}
_SIGNS = re.compile(r"\\(?:pm|mp)(?![a-zA-Z])")
_NOTHING = re.compile(
    r"(?:the )?(?:empty set|none|no(?: real)? solutions?|no such .*)|\\emptyset|\\\{ ?\\\}|\{ ?\}", re.IGNORECASE
)
_ALL = ("\\mathbb{R}", "\\R", "all real numbers", "all reals", "(all real numbers)")
_NOT = re.compile(r"(?:[A-Za-z]|\\[a-z]+) ?(?:\\ne(?![a-z])|!=) ?([^,;<>=]+)")
_RELATION = re.compile(r"(<=|>=|<|>|\\le(?![a-z])|\\ge(?![a-z])|\\lt(?![a-z])|\\gt(?![a-z]))")
_TURNED = {"<": "<", "<=": "<=", "\\le": "<=", "\\lt": "<", ">": ">", ">=": ">=", "\\ge": ">=", "\\gt": ">"}
_ABSOLUTE = re.compile(r"\| ?(?:[A-Za-z]|\\[a-z]+) ?\|")
_NAME = re.compile(r"[A-Za-z](?:_\{?\w+\}?)?|\\[a-z]+")


@lru_cache(maxsize=8192)
def read(text: str) -> Shape:
    """The shape of an answer in the spelling of `plain.spelling`."""
    if _LISTED.search(text):
        text = _GROUPS.sub("", text)
    text = _MEMBER.sub("", _CONDITION.sub("", _WORD.sub(r" \1 ", text))).strip()
    if _NOTHING.fullmatch(WRAPPED.sub(r"\1", text).strip(" .")):
        return Shape("set", ())
    text = _ALL_OF.sub("", text)
    system = _SYSTEM.fullmatch(text)
    if system or ("\\\\" in text and "=" in text and "\\begin" not in text):
        return read(re.sub(r"\\\\", ", ", (system[2] if system else text).replace("&", "")).strip(" ,"))
    if text in _ALL:
        return Shape("tuple", ("-\\infty", "\\infty"), "()")
    matrix = _matrix(text)
    if matrix is not None:
        return matrix
    built = _BUILDER.fullmatch(text)
    if built:
        return read(built[1].strip())
    parts = _split(text)
    if len(parts) > 1:
        return _listed(parts, text)
    bracketed = _bracketed(text)
    if bracketed is not None:
        return bracketed
    apart = _NOT.fullmatch(text)
    if apart:
        return Shape("list", (f"(-\\infty, {apart[1]})", f"({apart[1]}, \\infty)"))
    interval = _interval(text)
    if interval is not None:
        return interval
    expanded = _expanded([text])
    return Shape("list", expanded) if len(expanded) > 1 else Shape("one", (text,))


def _matrix(text: str) -> Shape | None:
    matrix = _MATRIX.fullmatch(text)
    if matrix is None:
        return None
    rows = [row.split("&") for row in matrix[2].strip().removesuffix("\\\\").split("\\\\")]
    cells = tuple(cell.strip() for row in rows for cell in row)
    fits = len({len(row) for row in rows}) == 1 and len(cells) <= MOST
    return Shape("matrix", cells, f"{len(rows)}x{len(rows[0])}") if fits else None


def _bracketed(text: str) -> Shape | None:
    """What one pair of brackets holds: a point, an interval, a set, or an answer in brackets."""
    inside = _inside(text)
    if inside is None:
        return None
    opening, closing, body = inside
    parts = _split(body)
    if opening == "(" and _SIGNS.search(body):
        return Shape("list", _expanded([text]))
    if opening == "\\{" and not re.search(r"(?<!\\)[|:]|\\mid", body):
        return Shape("set", _expanded(parts))
    if len(parts) > 1:
        ends = ("(" if opening == "\\langle" else opening) + (")" if closing == "\\rangle" else closing)
        return Shape("tuple", tuple(parts), ends)
    return read(body.strip()) if opening == "(" and closing == ")" else None


def _listed(parts: list[str], text: str) -> Shape:
    expanded = _expanded(parts)
    return Shape("list", expanded) if len(expanded) <= MOST else Shape("one", (text,))


def _expanded(parts: Sequence[str]) -> tuple[str, ...]:
    """Each part once, `a \\pm b` as the two that it stands for."""
    found: list[str] = []
    for part in parts:
        signs = _SIGNS.findall(part)
        if not signs or "=" in part.partition("\\pm")[2]:
            found.append(part)
            continue
        for upper, lower in (("+", "-"), ("-", "+")):
            found.append(_SIGNS.sub(lambda m, u=upper, w=lower: u if m.group() == "\\pm" else w, part))
    return tuple(dict.fromkeys(p.strip() for p in found if p.strip()))


def _split(text: str) -> list[str]:
    """The parts between outermost separators."""
    parts, stack, start = [], [], 0
    for match in _MARK.finditer(text):
        token = match.group().strip()
        if token in _OPEN or token == "\\begin":
            stack.append(token)
        elif token in _CLOSE or token == "\\end":
            # [0, 1) closes what [ opened.
            if stack:
                stack.pop()
        elif not stack and token in _SEPARATORS:
            parts.append(text[start : match.start()])
            start = match.end()
    parts.append(text[start:])
    return [p.strip() for p in parts if p.strip()]


def _inside(text: str) -> tuple[str, str, str] | None:
    """(opening bracket, closing bracket, what is between) where one pair spans the whole text."""
    opening = next((o for o in ("\\langle", "\\{", "(", "[", "]") if text.startswith(o)), None)
    if opening is None:
        return None
    depth = 0
    for match in _MARK.finditer(text):
        token = match.group().strip()
        if token in _OPEN or (token == "]" and match.start() == 0):
            depth += 1
        elif token in _CLOSE:
            depth -= 1
            if depth == 0:
                return (opening, token, text[len(opening) : match.start()]) if match.end() == len(text) else None
    return None


def _interval(text: str) -> Shape | None:
    """`x > 3`, `3 < x`, `1 \\le x < 2` as intervals; None for anything else."""
    pieces = [p.strip() for p in _RELATION.split(text)]
    if len(pieces) == 3:
        left, sign, right = pieces[0], _TURNED[pieces[1]], pieces[2]
        if _ABSOLUTE.fullmatch(left):
            return _around_zero(sign, right)
        if _NAME.fullmatch(right) and not _NAME.fullmatch(left):
            left, right = right, left
            sign = sign.replace("<", "#").replace(">", "<").replace("#", ">")
        if not _NAME.fullmatch(left) or not right:
            return None
        closed = sign.endswith("=")
        if sign.startswith(">"):
            return Shape("tuple", (right, "\\infty"), ("[" if closed else "(") + ")")
        return Shape("tuple", ("-\\infty", right), "(" + ("]" if closed else ")"))
    if len(pieces) == 5 and _NAME.fullmatch(pieces[2]) and pieces[0] and pieces[4]:
        first, second = _TURNED[pieces[1]], _TURNED[pieces[3]]
        if first[0] != second[0]:
            return None
        low, high, left, right = pieces[0], pieces[4], first, second
        if first[0] == ">":
            low, high, left, right = high, low, second, first
        return Shape("tuple", (low, high), ("[" if "=" in left else "(") + ("]" if "=" in right else ")"))
    return None


def _around_zero(sign: str, size: str) -> Shape:
    """`|x| < 2` and `|x| > 2`."""
    closed = sign.endswith("=")
    if sign.startswith("<"):
        return Shape("tuple", (f"-({size})", size), "[]" if closed else "()")
    left, right = ("]", "[") if closed else (")", "(")
    return Shape("list", (f"(-\\infty, -({size}){left}", f"{right}{size}, \\infty)"))


def same(gold: Shape, answer: Shape, compare: Compare) -> bool | None:
    """Whether two answers that are not both single say the same."""
    if gold.kind == answer.kind == "matrix":
        return _in_order(gold, answer, compare) if gold.ends == answer.ends else False
    if gold.kind == "matrix" or answer.kind == "matrix":
        matrix, other = (gold, answer) if gold.kind == "matrix" else (answer, gold)
        vector = "1" in matrix.ends.split("x")
        # A vector may be written as a point.
        if other.kind == "one":
            return None
        return _in_order(gold, answer, compare) if vector and other.kind == "tuple" and other.ends == "()" else False
    if gold.kind == answer.kind == "tuple":
        return _in_order(gold, answer, compare) if _same_ends(gold, answer) else False
    if "one" in (gold.kind, answer.kind):
        return _against_one(gold, answer, compare)
    if gold.kind == "tuple":
        # (1, 2) may be answered as 1, 2 in that order, or as x = 1, y = 2; never as a set.
        return _in_order(gold, answer, compare) if answer.kind == "list" and gold.ends == "()" else False
    if answer.kind == "tuple":
        # 1, 2 answered as (1, 2) or [1, 2]; (2, 1) would be another point.
        is_set = gold.kind == "set" or answer.ends not in ("()", "[]")
        return False if is_set else _in_order(gold, answer, compare)
    return _unordered(gold, answer, compare)


def _same_ends(gold: Shape, answer: Shape) -> bool:
    if gold.ends == answer.ends:
        return True
    # Of three parts and more, brackets are only a habit: [1, 2, 3] is no interval.
    return len(gold.parts) > 2 and {gold.ends, answer.ends} <= {"()", "[]"}


def _against_one(gold: Shape, answer: Shape, compare: Compare) -> bool | None:
    """A single answer against several: {5} is 5, and so is `5, or 10/2`; the rest is for a better reader to say."""
    if len(gold.parts) == 1 and answer.kind != "tuple" and answer.parts:
        found = [compare(gold.parts[0], part) for part in answer.parts]
        if all(found) or len(found) == 1:
            return found[0]
    return None


def _in_order(gold: Shape, answer: Shape, compare: Compare) -> bool | None:
    if len(gold.parts) != len(answer.parts):
        return False
    return all_of([compare(a, b) for a, b in zip(gold.parts, answer.parts, strict=True)])


def all_of(found: Sequence[bool | None]) -> bool | None:
    """Whether all are true; None where none is false and some are not known."""
    return False if False in found else None if None in found else True


def _unordered(gold: Shape, answer: Shape, compare: Compare) -> bool | None:
    """Whether every part has its own counterpart."""
    if len(gold.parts) != len(answer.parts):
        return False
    left, unsure = list(answer.parts), False
    for part in gold.parts:
        found = [compare(part, other) for other in left]
        if True in found:
            del left[found.index(True)]
        elif None in found:
            unsure = True
        else:
            return False
    return None if unsure else True
