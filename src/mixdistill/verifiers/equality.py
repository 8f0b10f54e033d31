"""Whether two mathematical answers are the same: exact steps first, math-verify where they cannot say.

Steps, named in a verdict's `rule`:

    text          the same after normalising spaces, LaTeX spacing and wrappers
    number        numbers with sign, separators, currency, per cent and unit: compared exactly (27.0 = 27, 025 = 25)
    words         words are compared as words; a word is no number
    parts         tuples, intervals, sets, lists and matrices: part by part, in order where order counts
    equation      two equations say the same when one is the other times a constant
    value         closed forms: the same value to a hundred digits
    length        far longer than any answer, and not the reference letter by letter
    math-verify   everything else

String equality comes first because symbolic graders reject some answers that are *identical* to the reference.
docs/verdicts.md lists where these rules are stricter or more lenient than math-verify, each with a case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import isfinite

from mixdistill.verifiers import expression, shapes, symbolic, values
from mixdistill.verifiers.plain import normal, spelling
from mixdistill.verifiers.quantities import Unit, is_no_unit, number, stands_for, unit_of
from mixdistill.verifiers.singles import (
    LETTER,
    ORDINARY,
    Decided,
    as_numbers,
    as_prose,
    as_ratio,
    as_words,
    folded,
    is_read,
    is_word,
    unwrapped,
)

LONGEST = 2000
"""Characters of an answer that is read, or four times the reference's."""


def equal(gold: str, answer: str, *, timeout: int = 5) -> Decided:
    """Whether `answer` is worth `gold`. Raises TimeoutError, MemoryError or RecursionError as `symbolic.same` does."""
    return decide(gold, answer) or _symbolically(gold, answer, timeout)


def decide(gold: str, answer: str) -> Decided | None:
    """Whether `answer` is worth `gold`, by exact steps alone; None where they cannot say."""
    if gold.isdecimal() and answer.isdecimal() and gold.isascii() and answer.isascii() and len(gold + answer) < 40:
        return Decided(int(gold) == int(answer), "text" if gold == answer else "number")
    if len(answer) > max(LONGEST, 4 * len(gold)):  # not into the cache
        return Decided(answer.strip() == gold.strip(), "length")
    return _decide(gold, answer)


@lru_cache(maxsize=16384)
def _decide(gold: str, answer: str) -> Decided | None:
    return _compare(gold, answer, lambda a, b: None)


@lru_cache(maxsize=16384)
def _symbolically(gold: str, answer: str, timeout: int) -> Decided:
    """The same with math-verify for the parts that exact steps leave open, or for the whole."""

    def ask(a: str, b: str) -> bool | None:
        return symbolic.same(a, b, timeout)

    decided = _compare(gold, answer, ask)
    if decided is None:
        right = ask(spelling(gold), spelling(answer))
        # What cannot be read as mathematics can only be compared as text, and that has been done.
        return Decided(bool(right), "text" if right is None else "math-verify")
    return decided


# -- comparing --------------------------------------------------------------------------------------------------------

Ask = Callable[[str, str], "bool | None"]
"""What is asked about two single expressions that exact steps leave open."""


_TEXT = re.compile(r"\\(?:text|textbf|mbox)\{ ?[A-Za-z][A-Za-z '.-]+\}")
_MODULO = re.compile(r" ?(?:\\pmod ?\{?[\w^]+\}?|\( ?\\?(?:text\{)?mod\}? ?[\w^{}]+ ?\))$")
_CHOSEN = re.compile(r"(?:\\(?:text|textbf|mathrm)\{ ?\([A-J]\)(?: ?\}| (?=[^{}]*\}$))|\([A-J]\)(?= ?[\w\\$])) ?")
"""The letter of an option in front of its text."""


def _compare(gold: str, answer: str, ask: Ask) -> Decided | None:
    if gold == answer or normal(gold) == normal(answer):
        return Decided(True, "text")
    a, b = spelling(gold), _same_parameter(spelling(gold), spelling(answer))
    if not a or not b:
        return Decided(False, "text")
    if "\\equiv" in a and "mod" not in b:
        return Decided(False, "equation")  # a residue class is no number
    if _TEXT.fullmatch(gold) and shapes.read(a).kind == "one" and ORDINARY.fullmatch(unwrapped(b)) and not number(gold):
        return Decided(folded(unwrapped(a)) == folded(unwrapped(b)), "words")
    if "\\equiv" not in a and ("mod" in a) != ("mod" in b):  # 17 \pmod{20} is 17
        bare = _MODULO.sub("", a), _MODULO.sub("", b)
        if bare != (a, b) and all(bare):
            return _compare(*bare, ask)
    option = _CHOSEN.match(b)
    if option and "(" in option.group() and not LETTER.fullmatch(unwrapped(a)):
        return _compare(gold, b[option.end() :], ask)
    return as_numbers(a, b) or as_ratio(a, b) or as_words(a, b) or _compare_shapes(a, b, ask)


def _compare_shapes(a: str, b: str, ask: Ask) -> Decided | None:
    """Formulas, equations, and answers of several parts; both in the spelling of `plain.spelling`."""
    one, two = _shape(a), _shape(b)
    if one.kind == two.kind == "one":
        sides, others = _sides(one.parts[0]), _sides(two.parts[0])
        if len(sides) > 1 or len(others) > 1:
            return _as_equations(sides, others, ask)
        if (one.parts[0], two.parts[0]) != (a, b):
            return _compare(one.parts[0], two.parts[0], ask)
        return _as_values(a, b, ask)
    for single, several in ((one, two), (two, one)):
        if single.kind == "one" and several.kind != "one" and len(_sides(single.parts[0])) > 1:
            return _behind_name(a, b, ask)
    if one.kind == two.kind == "list" and _are_linked_otherwise(a, b, (*one.parts, *two.parts)):
        return Decided(False, "words")
    right = _by_name(one, two, ask)
    if right is None:
        right = shapes.same(_ordered(one, two), _by_alphabet(one, two), lambda x, y: _opinion(_compare(x, y, ask)))
    if right is None and any(s.kind == "one" and _is_known(s.parts[0]) for s in (one, two)):
        right = False  # several are not one
    return as_prose(a, b) if right is None else Decided(right, "parts")


def _are_linked_otherwise(a: str, b: str, parts: Sequence[str]) -> bool:
    """Anna and Bob, Anna or Bob. Of numbers, both only list them."""
    links = [set(re.findall(r"\b(?:and|or)\b", text)) for text in (a, b)]
    return all(links) and links[0] != links[1] and all(ORDINARY.fullmatch(unwrapped(part)) for part in parts)


_PARAMETER = re.compile(
    r"(?<![A-Za-z\\])([a-z])(?: ?\\in ?\\(?:math(?:bb|bf)\{[ZNQR]\}|[ZNQR](?![a-z]))"
    r"|(?:\\text\{)? ?(?:is )?(?:any |an )?integer)"
)


def _same_parameter(gold: str, answer: str) -> str:
    """The answer with the reference's letter for what runs over all integers: k \\pi and n \\pi."""
    one, two = _PARAMETER.search(gold), _PARAMETER.search(answer)
    if one is None or two is None or one[1] == two[1]:
        return answer
    return _with_letter(answer, two[1], one[1])


def _with_letter(text: str, old: str, new: str) -> str:
    """The text with one variable for another; letters of words and commands are none."""
    return re.sub(rf"(?<![A-Za-z\\]){old}(?![A-Za-z])", new, text)


def _asked(gold: str, answer: str, ask: Ask) -> Decided | None:
    """What symbolic algebra says, of what is no prose."""
    prose = as_prose(gold, answer)
    if prose is not None:
        return prose
    right = ask(gold, answer)
    return None if right is None else Decided(right, "math-verify")


def _shape(text: str) -> shapes.Shape:
    """1,000 is no list, and (a, b) = (1, 2) is a = 1, b = 2."""
    if number(text):
        return shapes.Shape("one", (text,))
    sides = _sides(text)
    if len(sides) > 2 and all(re.fullmatch(r"[a-z]", side) for side in sides[:-1]):  # x = y = z = 1
        return shapes.Shape("list", tuple(f"{side} = {sides[-1]}" for side in sides[:-1]))
    if len(sides) == 2 and sides[0][0] == "(":
        names, parts = (shapes.read(side) for side in sides)
        if names.kind == parts.kind == "tuple" and len(names.parts) == len(parts.parts):
            return shapes.Shape("list", tuple(f"{n} = {p}" for n, p in zip(names.parts, parts.parts, strict=True)))
    return shapes.read(text)


def _by_name(gold: shapes.Shape, answer: shapes.Shape, ask: Ask) -> bool | None:
    """a = 1, b = 2 against b = 2, a = 1: each name has its value. None where the names are not the same ones."""
    one, two = ({p[0]: p[1] for p in map(_sides, s.parts) if len(p) == 2} for s in (gold, answer))
    if len(one) != len(gold.parts) or len(two) != len(answer.parts) or one.keys() != two.keys():
        return None
    return shapes.all_of([_opinion(_compare(value, two[name], ask)) for name, value in one.items()])


def _opinion(decided: Decided | None) -> bool | None:
    return None if decided is None else decided.right


def _ordered(gold: shapes.Shape, answer: shapes.Shape) -> shapes.Shape:
    """x = 1, y = 2 answered as 1, 2: without names, order says which is which."""
    if _are_named(gold) and not any(len(_sides(p)) > 1 for p in answer.parts):
        return gold._replace(kind="tuple", ends="()")
    return gold


def _are_named(shape: shapes.Shape) -> bool:
    """Whether every part is a name with a value, each name once."""
    names = [_sides(part)[0] for part in shape.parts if len(_sides(part)) == 2]
    return shape.kind == "list" and len(set(names)) == len(shape.parts) and all(map(_is_name, names))


def _by_alphabet(gold: shapes.Shape, answer: shapes.Shape) -> shapes.Shape:
    """(2, 3) answered as y = 3, x = 2."""
    if gold.kind == "tuple" and _are_named(answer) and all(len(_sides(p)[0]) == 1 for p in answer.parts):
        return answer._replace(parts=tuple(sorted(answer.parts)))
    return answer


def _is_known(part: str) -> bool:
    return is_read(part) or is_word(part, unwrapped(part))


_EQUALS = re.compile(r"(?<![<>!\\:])=(?!=)|\\(?:approx|simeq|equiv|Rightarrow|implies)(?![a-z])|[{}()\[\]]")
_ONE_NAME = (
    r"(?:\\?[A-Za-z]+(?:_(?:\w+|\{[^{}]*\}))?'*|\\(?:text|mathrm|mathbf|operatorname)\{[^{}]*\}"
    r"|\\(?:angle|triangle|overline|vec|hat|bar)\b ?\{?[A-Za-z ]+\}?)(?: ?\([^()=]{0,24}\)| ?\^ ?\\circ)?"
)
_LHS = re.compile(rf"{_ONE_NAME}|\|[A-Z]{{1,3}}\||\([A-Za-z](?: ?, ?[A-Za-z]){{1,4}}\)|(?:[A-Za-z]+ ){{1,6}}[A-Za-z]+")


@lru_cache(maxsize=8192)
def _sides(text: str) -> tuple[str, ...]:
    """The sides of an equation or a chain of them; a single one where it is none. `\\sum_{k=1}` is none."""
    found, start, depth = [], 0, 0
    for match in _EQUALS.finditer(text):
        token = match.group()
        if token in "{}()[]":
            depth += 1 if token in "{([" else -1
        elif depth <= 0:
            found.append(text[start : match.start()].strip())
            start = match.end()
    return tuple(side for side in (*found, text[start:].strip()) if side) or (text,)


def _is_name(side: str) -> bool:
    return _LHS.fullmatch(side) is not None


def _worth(sides: Sequence[str]) -> str:
    """What a chain such as `x = 2 \\cdot 9 = 18` comes to; `3 = x` is turned round."""
    return sides[0] if len(sides) == 2 and _is_name(sides[1]) and not _is_name(sides[0]) else sides[-1]


def _as_equations(gold: Sequence[str], answer: Sequence[str], ask: Ask) -> Decided | None:
    if len(gold) == 1:
        return _any_side(gold[0], answer, ask)
    if len(answer) == 1:
        if _is_name(gold[0]):
            return _compare(_worth(gold), answer[0], ask)
        if not any(map(_has_names, gold)):  # \sqrt{3} - 1 \approx 0.732
            found = [_compare(side, answer[0], ask) for side in gold]
            return next((decided for decided in found if decided and decided.right), found[-1])
        return Decided(False, "equation") if is_read(answer[0]) else None
    if _is_name(gold[0]) and _is_name(answer[0]):
        renamed = _renamed(gold, answer)
        if renamed is not None:
            return _compare(_worth(gold), renamed, ask)
        found = _compare(_worth(gold), _worth(answer), ask)
        if normal(gold[0]) == normal(answer[0]) or (found and found.right and not _are_axes(gold[0], answer[0])):
            return found
    trees = [expression.read(side) for side in (*gold[:2], *answer[:2])]
    if None in trees:
        return _asked(" = ".join(gold), " = ".join(answer), ask)
    left, right_, other, more = (tree for tree in trees if tree is not None)
    said = values.same_equation((left, right_), (other, more))
    return None if said is None else Decided(said, "equation")


def _are_axes(*names: str) -> bool:
    return {normal(name) for name in names} <= {"x", "y", "z"}


_FUNCTION = re.compile(r"([A-Za-z]) ?\( ?([a-z]) ?\)")


def _renamed(gold: Sequence[str], answer: Sequence[str]) -> str | None:
    """f(n) = n against f(x) = x: what the answer comes to, with the reference's variable."""
    one, two = _FUNCTION.fullmatch(gold[0]), _FUNCTION.fullmatch(answer[0])
    if one is None or two is None or one[1] != two[1] or one[2] == two[2]:
        return None
    return _with_letter(_worth(answer), two[2], one[2])


def _any_side(gold: str, answer: Sequence[str], ask: Ask) -> Decided | None:
    """A chain of equals stands for its last side, or, where it ends in an approximation, the one before."""
    if answer[-1] == "0" and not _is_name(answer[0]) and _has_names(answer[0]):
        return Decided(False, "equation")  # 2x + 3y = 0 is no value
    last = _compare(gold, _worth(answer), ask)
    if (last is None or not last.right) and len(answer) > 1 and not _is_name(answer[-2]):
        before = _compare(gold, answer[-2], ask)
        if before and before.right and _rounds(answer[-2], answer[-1]):
            return before
    return last


def _has_names(side: str) -> bool:
    tree = expression.read(side)
    return tree is not None and bool(values.names_in(tree))


def _rounds(exact: str, rounded: str) -> bool:
    """Whether a decimal is near what it stands for: 0.333 for 1/3; and nothing is left of another claim."""
    a, b = value_of(exact), value_of(rounded)
    return a is not None and b is not None and abs(a - b) <= 0.01 * max(abs(a), 1e-9)


def _behind_name(gold: str, answer: str, ask: Ask) -> Decided | None:
    """x = (1, 2) against (1, 2): the name says nothing."""
    a, b = _sides(gold), _sides(answer)
    if _is_name(a[0]) and len(a) == 2 and len(b) == 1:
        return _compare(a[1], b[0], ask)
    if _is_name(b[0]) and len(b) == 2 and len(a) == 1:
        return _compare(a[0], b[1], ask)
    return None


_UNIT_BEHIND = re.compile(
    r"(?: |\\(?:text|mathrm|mbox)\s*\{ ?)(?P<unit>[A-Za-z][A-Za-z /.]*?)\s*\}?(?P<power> ?\^ ?\{?\d\}?)?$"
)


def _tree(text: str, *, glued: bool = True) -> expression.Node | None:
    """A number or an expression, its unit left out; `glued` as in `number`."""
    found = number(text, glued=glued)
    if found:
        value = found.value
        node: expression.Node = ("num", str(abs(value.numerator)))
        if value.denominator != 1:
            node = ("/", node, ("num", str(value.denominator)))
        return ("neg", node) if value < 0 else node
    behind = _UNIT_BEHIND.search(text)
    return expression.read(text[: behind.start()].strip() if behind and _is_unit(behind) else text)


def _is_unit(behind: re.Match[str]) -> bool:
    """Whether what stands behind a formula is a unit: a word in a text, or a known one of two letters and more."""
    words = behind["unit"].split()
    if is_no_unit(behind["unit"]) and not behind["unit"].startswith(("of the ", "of a ")):
        return False
    return "\\" in behind.group() or (min(map(len, words)) > 1 and unit_of(behind["unit"]) is not None)


def _unit(text: str) -> Unit | None:
    found = number(text, glued=True)
    if found:
        return found.unit
    behind = _UNIT_BEHIND.search(text)
    if behind is None or not _is_unit(behind):
        return None
    return unit_of(behind["unit"] + (behind["power"] or "").replace(" ", ""))


_INSIDE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")


def _as_values(gold: str, answer: str, ask: Ask) -> Decided | None:
    a, b = _tree(gold, glued=False), _tree(answer)
    right: bool | None = None
    if a is not None and b is not None:
        one, two = _unit(gold), _unit(answer)
        if one and two and one != two:
            if one[1] != two[1]:
                return Decided(False, "value")
            a, b = (values.scaled(t, str(u[0])) for t, u in ((a, one), (b, two)))
        # Degrees against radians; those inside a sine are its own.
        if ("\\circ" in gold) != ("\\circ" in answer) and "\\pi" in gold + answer and not _INSIDE.search(gold + answer):
            a, b = (values.scaled(t, r"\pi/180") if "\\circ" in s else t for t, s in ((a, gold), (b, answer)))
        right = values.same(a, b)
    if right is None:
        return _asked(gold, answer, ask)
    return Decided(right or _is_fine_decimal(gold, answer), "value")


def _is_fine_decimal(gold: str, answer: str) -> bool:
    """1.414214 stands for the square root of 2: see `quantities.FINE`."""
    for decimal, exact in ((number(gold), value_of(answer)), (number(answer), value_of(gold))):
        if decimal and exact is not None and stands_for(decimal.value, Fraction(exact), decimal.decimals):
            return True
    return False


def value_of(text: str) -> float | None:
    """The value of a real number or a closed form without names; None for all else."""
    text = spelling(text)
    tree = _tree(text)
    found = values.value(tree) if tree else None
    real = found is not None and abs(found.imag) < 1e-12 * max(1, abs(found)) and isfinite(found.real)
    return found.real if real else None
