"""An answer equals itself in any formatting and in any sentence; with one digit changed it never does.

The draws are the same in every run: exploring is the work of `tests/faults/fuzz.py`.
"""

from __future__ import annotations

import cmath
import json
import math
import operator
import re
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mixdistill.types import Outcome, Problem, Trace
from mixdistill.verifiers.math import equal, verify

FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
DEVANAGARI = str.maketrans("0123456789", "०१२३४५६७८९")

INTEGERS = {
    "plain": "{n}",
    "plus": "+{n}",
    "point": "{n}.0",
    "cents": "{n}.00",
    "comma": "{n:,}",
    "braced comma": "{c}",
    "thin space": "{thin}",
    "braces": "{{{n}}}",
    "brackets": "({n})",
    "text": r"\text{{{n}}}",
    "bold": r"\mathbf{{{n}}}",
    "padded": "{sign}00{m}",
    "dollars": r"{sign}\${m}",
    "unit": r"{n}\text{{ cm}}",
    "roman unit": r"{n}\,\mathrm{{km}}",
    "word": "{n} apples",
    "degrees": r"{n}^\circ",
    "fraction": r"\frac{{{double}}}{{2}}",
    "over one": "{n}/1",
    "named": "x = {n}",
    "unicode minus": "{u}",
    "full width": "{wide}",
    "Arabic": "{arabic}",
    "Devanagari": "{devanagari}",
    "spaced": r"\,{n}\ ",
}

FRACTIONS = {
    "frac": r"\frac{{{a}}}{{{b}}}",
    "dfrac": r"\dfrac{{{a}}}{{{b}}}",
    "tfrac": r"\tfrac{{{a}}}{{{b}}}",
    "slash": "{a}/{b}",
    "sign in front": r"{sign}\frac{{{m}}}{{{b}}}",
    "sign below": r"{flip}\frac{{{m}}}{{{minus_b}}}",
    "not reduced": r"\frac{{{a3}}}{{{b3}}}",
    "brackets": r"\left(\frac{{{a}}}{{{b}}}\right)",
    "named": r"x = \frac{{{a}}}{{{b}}}",
    "displayed": r"\displaystyle\frac{{{a}}}{{{b}}}",
    "product": r"{a} \cdot \frac{{1}}{{{b}}}",
    "unit": r"\frac{{{a}}}{{{b}}}\text{{ cm}}",
}

PAIRS = {
    "plain": "({a},{b})",
    "space": "({a}, {b})",
    "sized": r"\left({a}, {b}\right)",
    "thin space": r"({a},\,{b})",
    "points": "({a}.0, {b}.0)",
    "named": "(x, y) = ({a}, {b})",
    "fractions": r"\left(\frac{{{a2}}}{{2}}, {b}\right)",
}

BOXES = [
    r"\boxed{{{x}}}",
    r"So the result is $\boxed{{{x}}}$.",
    "Hence\n\\[\n\\boxed{{ {x} }}\n\\]\nand nothing else.",
    r"First \boxed{{7777}}, but no: \(\boxed{{{x}}}\).",
    "$\\boxed{{{x}}}$\n\nLet me know if you have 3 more questions!",
    r"**Final Answer:** \boxed{{{x}}}",
    r"\boxed{{{x}}} \boxed{{}}",
    r"答案是 $\boxed{{{x}}}$ 。",
]
SENTENCES = [
    "The answer is ${x}$.",
    "So the answer is \\({x}\\).",
    "We find 7777, no: the answer is ${x}$, since 20 - 2 = 18.",
    "Final Answer: ${x}$",
    "**Final Answer**\n\n${x}$",
    "### Final Answer\n\\[ {x} \\]",
    "20 - 2 = 18\n#### ${x}$",
    "Answer: ${x}$\n",
]
WRAPPERS = BOXES + SENTENCES


def outcome(reference: str, text: str) -> Outcome:
    problem = Problem(id="p", prompt="?", answer=reference)
    return verify(problem, Trace(id="t", problem_id="p", author="a", content=text, finish_reason="stop")).outcome


def integer(n: int, form: str) -> str:
    grouped = f"{n:,}"
    return INTEGERS[form].format(
        n=n,
        m=abs(n),
        sign="-" if n < 0 else "",
        c=grouped.replace(",", "{,}"),
        thin=grouped.replace(",", r"\,"),
        double=2 * n,
        u=str(n).replace("-", "\u2212"),
        wide=str(n).translate(FULL_WIDTH),
        arabic=str(n).translate(ARABIC),
        devanagari=str(n).translate(DEVANAGARI),
    )


def fraction(a: int, b: int, form: str) -> str:
    sign, flip = ("-", "") if a < 0 else ("", "-")
    return FRACTIONS[form].format(a=a, b=b, m=abs(a), sign=sign, flip=flip, minus_b=-b, a3=3 * a, b3=3 * b)


def pair(a: int, b: int, form: str) -> str:
    return PAIRS[form].format(a=a, b=b, a2=2 * a)


class Changed(NamedTuple):
    """A whole number, and what it becomes when one of its digits is another."""

    n: int
    other: int


@st.composite
def changed(draw: st.DrawFn, low: int = -(10**9), high: int = 10**9) -> Changed:
    n = draw(st.integers(low, high) | st.integers(max(low, -99), min(high, 99)))
    digits = list(str(abs(n)))
    place = draw(st.integers(0, len(digits) - 1))
    digits[place] = draw(st.sampled_from([d for d in "0123456789" if d != digits[place]]))
    other = int("".join(digits)) * (-1 if n < 0 else 1)
    assume(low <= other <= high)
    return Changed(n, other)


wrappers = st.sampled_from(WRAPPERS)
many = settings(max_examples=400, deadline=None, derandomize=True)


@pytest.mark.parametrize("form", INTEGERS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(number=changed(), wrapper=wrappers)
def test_a_whole_number_equals_itself_in_any_formatting_and_no_other(form: str, number: Changed, wrapper: str):
    assume(form != "plus" or min(number) >= 0)
    assert outcome(str(number.n), wrapper.format(x=integer(number.n, form))) is Outcome.CORRECT
    assert outcome(str(number.n), wrapper.format(x=integer(number.other, form))) is Outcome.INCORRECT


@pytest.mark.parametrize("form", INTEGERS)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(number=changed(low=-99_999, high=99_999))
def test_the_reference_may_be_in_any_formatting(form: str, number: Changed):
    assume(form != "plus" or min(number) >= 0)
    assert outcome(integer(number.n, form), rf"\boxed{{{number.n}}}") is Outcome.CORRECT
    assert outcome(integer(number.n, form), rf"\boxed{{{number.other}}}") is Outcome.INCORRECT


@many
@given(number=changed(), places=st.integers(1, 5), zeros=st.integers(0, 3), bare=st.booleans(), wrapper=wrappers)
def test_a_decimal_equals_itself_with_more_zeros_and_no_other(
    number: Changed, places: int, zeros: int, bare: bool, wrapper: str
):
    right, wrong = (decimal(n, places) for n in number)
    shown = [(x.replace("0.", ".", 1) if bare and re.match(r"-?0\.", x) else x) + "0" * zeros for x in (right, wrong)]
    assert outcome(right, wrapper.format(x=shown[0])) is Outcome.CORRECT
    assert outcome(right, wrapper.format(x=shown[1])) is Outcome.INCORRECT


def decimal(n: int, places: int) -> str:
    """`n` / 10^`places`, written out."""
    digits = str(abs(n)).rjust(places + 1, "0")
    return ("-" if n < 0 else "") + digits[:-places] + "." + digits[-places:]


@many
@given(number=changed(), places=st.integers(1, 4))
def test_a_decimal_equals_its_fraction_and_no_other(number: Changed, places: int):
    right, wrong = (Fraction(n, 10**places) for n in number)
    boxes = [rf"\boxed{{\frac{{{x.numerator}}}{{{x.denominator}}}}}" for x in (right, wrong)]
    assert [outcome(decimal(number.n, places), box) for box in boxes] == [Outcome.CORRECT, Outcome.INCORRECT]


@pytest.mark.parametrize("form", FRACTIONS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(top=changed(-9999, 9999), bottom=st.integers(2, 999), wrapper=wrappers)
def test_a_fraction_equals_itself_in_any_formatting_and_no_other(form: str, top: Changed, bottom: int, wrapper: str):
    reference = fraction(top.n, bottom, "frac")
    assert outcome(reference, wrapper.format(x=fraction(top.n, bottom, form))) is Outcome.CORRECT
    assert outcome(reference, wrapper.format(x=fraction(top.other, bottom, form))) is Outcome.INCORRECT


@many
@given(whole=st.integers(1, 999), bottom=st.integers(2, 99), form=st.booleans(), data=st.data())
def test_a_mixed_number_is_a_sum_and_no_product(whole: int, bottom: int, form: bool, data: st.DataObject):
    top = data.draw(st.integers(1, bottom - 1))
    mixed = rf"{whole}\frac{{{top}}}{{{bottom}}}" if form else f"{whole} {top}/{bottom}"
    value = Fraction(top, bottom) + whole
    assert outcome(f"{value.numerator}/{value.denominator}", rf"\boxed{{{mixed}}}") is Outcome.CORRECT
    product = Fraction(top, bottom) * whole
    assume(product != value)
    assert outcome(f"{product.numerator}/{product.denominator}", rf"\boxed{{{mixed}}}") is Outcome.INCORRECT


@pytest.mark.parametrize("form", PAIRS)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(a=changed(-999, 999), b=st.integers(-999, 999), wrapper=wrappers)
def test_a_pair_equals_itself_in_any_formatting_and_no_other(form: str, a: Changed, b: int, wrapper: str):
    reference = pair(a.n, b, "plain")
    assert outcome(reference, wrapper.format(x=pair(a.n, b, form))) is Outcome.CORRECT
    assert outcome(reference, wrapper.format(x=pair(a.other, b, form))) is Outcome.INCORRECT
    assume(a.n != b)
    assert outcome(reference, wrapper.format(x=pair(b, a.n, form))) is Outcome.INCORRECT


@many
@given(values=st.lists(st.integers(-99, 99), min_size=2, max_size=5, unique=True), data=st.data())
def test_a_set_has_no_order_and_misses_no_element(values: list[int], data: st.DataObject):
    shuffled = data.draw(st.permutations(values))
    listed = ", ".join(map(str, shuffled))
    reference = ", ".join(map(str, values))
    assert outcome(reference, rf"\boxed{{{listed}}}") is Outcome.CORRECT
    assert outcome(rf"\{{{reference}\}}", rf"\boxed{{\{{{listed}\}}}}") is Outcome.CORRECT
    assert outcome(reference, rf"\boxed{{{', '.join(map(str, shuffled[1:]))}}}") is Outcome.INCORRECT
    assert outcome(reference, rf"\boxed{{{listed}, 100}}") is Outcome.INCORRECT


@many
@given(a=st.integers(2, 30), b=st.integers(2, 99), wrapper=wrappers)
def test_a_root_equals_its_square_under_the_root(a: int, b: int, wrapper: str):
    reference = rf"{a}\sqrt{{{b}}}"
    assert outcome(reference, wrapper.format(x=rf"\sqrt{{{a * a * b}}}")) is Outcome.CORRECT
    assert outcome(reference, wrapper.format(x=rf"\sqrt{{{a * a * b + 1}}}")) is Outcome.INCORRECT


# -- formulae ----------------------------------------------------------------------------------------------------------

Tree = tuple[Any, ...]
"""("num", n) · ("name", letter) · (operation, tree, ...)."""

leaves = st.builds(lambda n: ("num", n), st.integers(1, 20)) | st.sampled_from([("name", "x"), ("name", "y"), ("pi",)])
trees = st.recursive(
    leaves,
    lambda t: st.one_of(
        st.tuples(st.sampled_from(["+", "*", "-", "/"]), t, t),
        st.tuples(st.sampled_from(["sqrt", "neg", "sin", "cos"]), t),
        st.tuples(st.just("^"), t, st.integers(2, 3).map(lambda n: ("num", n))),
    ),
    max_leaves=6,
)


def written(tree: Tree, draw: Random) -> str:
    """A tree in LaTeX, in one of many ways: operands of sums and products in any order, fractions in any command."""
    kind, parts = tree[0], [written(part, draw) if isinstance(part, tuple) else part for part in tree[1:]]
    left, right = draw.choice([("(", ")"), (r"\left(", r"\right)"), (r"\left( ", r" \right)")])
    if kind in ("num", "name"):
        return str(parts[0])
    if kind == "pi":
        return r"\pi"
    if kind in ("+", "*"):
        first, second = draw.sample([f"{left}{part}{right}" for part in parts], 2)
        return first + draw.choice(["+", " + "] if kind == "+" else [r" \cdot ", "", r" \times "]) + second
    if kind == "-":
        first, second = (f"{left}{part}{right}" for part in parts)
        return draw.choice([f"{first} - {second}", f"-{second}+{first}"])
    if kind == "/":
        return draw.choice([r"\frac", r"\dfrac", r"\tfrac"]) + f"{{{parts[0]}}}{{{parts[1]}}}"
    if kind == "^":
        return draw.choice([rf"{left}{parts[0]}{right}^{{{parts[1]}}}", f"{left}{parts[0]}{right}^{parts[1]}"])
    if kind == "sqrt":
        return draw.choice([rf"\sqrt{{{parts[0]}}}", rf"{left}{parts[0]}{right}^{{1/2}}"])
    return f"-{left}{parts[0]}{right}" if kind == "neg" else rf"\{kind}{left}{parts[0]}{right}"


def worth(tree: Tree, x: float, y: float) -> complex:
    kind, parts = tree[0], [worth(part, x, y) for part in tree[1:] if isinstance(part, tuple)]
    if kind == "num":
        return complex(tree[1])
    if kind in ("name", "pi"):
        return complex(math.pi if kind == "pi" else x if tree[1] == "x" else y)
    if kind in ("+", "*", "-", "/", "^"):
        by = {"+": operator.add, "*": operator.mul, "-": operator.sub, "/": operator.truediv, "^": operator.pow}
        return by[kind](*parts)
    return -parts[0] if kind == "neg" else getattr(cmath, kind)(parts[0])


def other(tree: Tree, draw: Random) -> Tree:
    """The tree with one of its numbers or names changed."""
    if tree[0] == "num":
        return ("num", tree[1] + draw.choice([1, 2]))
    if tree[0] in ("name", "pi"):
        return ("name", "y" if tree == ("name", "x") else "x")
    place = draw.randrange(1, len(tree))
    return (*tree[:place], other(tree[place], draw), *tree[place + 1 :])


def clearly_differ(a: Tree, b: Tree) -> bool:
    """Whether two formulae have clearly different values at one of two places, and values of ordinary size."""
    try:
        values = [(worth(a, *at), worth(b, *at)) for at in ((0.7, 1.9), (2.3, 0.4))]
    except (ArithmeticError, ValueError):
        return False
    ordinary = all(1e-3 < abs(v) < 1e6 for pair in values for v in pair)
    return ordinary and any(abs(x - y) > 0.01 * abs(x) for x, y in values)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(tree=trees, seed=st.integers(0, 10**6))
def test_a_formula_equals_itself_however_it_is_written_and_no_other(tree: Tree, seed: int):
    draw = Random(seed)
    changed = other(tree, draw)
    assume(clearly_differ(tree, changed))
    reference = written(tree, draw)
    assert outcome(reference, rf"\boxed{{{written(tree, draw)}}}") is Outcome.CORRECT
    assert outcome(reference, rf"\boxed{{{written(changed, draw)}}}") is Outcome.INCORRECT


SYMMETRIC = {"integers", "decimals", "roots", "pi", "powers", "expressions", "tuples", "sets", "matrices", "complex"}
TABLE = Path(__file__).parents[1] / "cases" / "math.jsonl"


def golden_pairs() -> list[tuple[str, str]]:
    """(reference, content of the box) of the table's cases in which neither is privileged."""
    rows = [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]
    boxed = [(r["answer"], re.search(r"\\boxed\{(.*)\}", r["text"], re.DOTALL)) for r in rows if r["kind"] in SYMMETRIC]
    # `1/3 \approx 0.333` gives a remark with the value; a reference has none.
    return [(reference, box[1]) for reference, box in boxed if box and r"\approx" not in box[1]]


def test_which_of_two_answers_is_the_reference_does_not_matter():
    differ = [(a, b) for a, b in golden_pairs() if equal(a, b)[0] != equal(b, a)[0]]
    assert differ == []


@many
@given(st.integers(-999, 999), st.integers(-999, 999), st.integers(1, 99), st.integers(1, 99))
def test_which_of_two_fractions_is_the_reference_does_not_matter(a: int, b: int, c: int, d: int):
    x, y = fraction(a, c, "frac"), fraction(b, d, "slash")
    assert equal(x, y)[0] == equal(y, x)[0] == (Fraction(a, c) == Fraction(b, d))


PIECES = [
    *"0123456789xyi+-*/^_=<>()[]{}|!,;:.%$&~ \n\\'\"",
    *[r"\frac", r"\sqrt", r"\boxed{", r"\text{", r"\left", r"\right", r"\pi", r"\infty", r"\cup", r"\pm", r"\le"],
    *[r"\begin{pmatrix}", r"\end{pmatrix}", r"\cdot", r"\log", r"\sin", r"^\circ", r"\overline{", r"\{", r"\}", r"\\"],
    *["{,}", "1,000", "0.5", "1/2", "50%", "the answer is ", "Final Answer:", "####", "A: ", " and ", " or "],
    *["½", "٣", "−", "√", "\u200b", "\u200f", "\x00", "\ud800", "²", "∞", "𝟏", "一", "٫"],
]
texts = st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


def verify_or_time_out(reference: str, text: str, **options: int) -> None:
    problem = Problem.model_construct(id="p", prompt="?", answer=reference)
    trace = Trace.model_construct(id="t", problem_id="p", author="a", content=text, finish_reason="stop")
    try:
        verdict = verify(problem, trace, **options)
    except TimeoutError:
        return
    assert verdict.outcome in Outcome


@settings(max_examples=500, deadline=None, derandomize=True)
@given(reference=texts, answer=texts)
def test_no_text_makes_it_raise_anything_but_a_time_out(reference: str, answer: str):
    verify_or_time_out(reference, answer, timeout=1)
    verify_or_time_out(reference, rf"\boxed{{{answer}}}", timeout=1)
    verify_or_time_out("18", rf"\boxed{{{answer}}}", timeout=1)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=texts.filter(lambda t: any(c.isalnum() and c.isascii() for c in t)))
def test_every_answer_equals_itself_as_it_stands(text: str):
    assert equal(text, text)[0]
