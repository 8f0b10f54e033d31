"""Reads closed-form mathematics, in the LaTeX that answers are written in, as a tree; values.py evaluates it.

What cannot be read (sums, integrals, words, ambiguous `1/2x`) is None, and left to math-verify.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

Node = tuple[Any, ...]
"""("num", text) · ("name", text) · (operator or function, operand, ...)."""

LONGEST = 400
"""Characters; longer texts are not read."""
DEEPEST = 40
"""Nested brackets, fractions and powers."""
_TOKEN = re.compile(
    r"\s*(?:(?P<num>\d+(?:\.\d+)?|\.\d+)|(?P<cmd>\\[a-zA-Z]+)|(?P<brace>\\[{}|])|(?P<word>[A-Za-z]+)"
    r"|(?P<sign>\*\*|[-+*/^_!|(){}\[\]]))"
)
_TRIG = {"sin", "cos", "tan", "cot", "sec", "csc"}
_INVERSE = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}
_FUNCTIONS = _TRIG | set(_INVERSE) | {"sinh", "cosh", "tanh", "log", "ln", "lg", "exp", "sqrt"}
_CONSTANTS = {"\\pi": "pi", "pi": "pi", "e": "e", "i": "i"}
_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota",
    "kappa", "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi",
    "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega", "ell",
}  # fmt: skip
_ENGLISH = {"yes", "no", "odd", "all", "any", "and", "or", "the", "per", "for", "if", "is", "to", "of"}
"""Short words that are no products of letters."""
_OPENING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "|": "|", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_STARTS = {"(", "[", "{", "\\{", "\\lfloor", "\\lceil", "\\frac", "\\sqrt", "\\binom"}


class Unreadable(Exception):
    """The text is not of the kind that is read here."""


@lru_cache(maxsize=8192)
def read(text: str) -> Node | None:
    """The tree of an expression in the spelling of `plain.spelling`; None where it is not read here."""
    if len(text) > LONGEST:
        return None
    try:
        return _Reader(_tokens(text)).whole()
    except (Unreadable, IndexError):
        return None


def _tokens(text: str) -> list[str]:
    found, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            if text[place:].isspace():
                break
            raise Unreadable
        place = match.end()
        if match["word"]:
            found += _split(match["word"])
        else:
            found.append("^" if match.group().strip() == "**" else match.group().strip())
    return found


def _split(word: str) -> list[str]:
    """A run of letters: a function's name, `pi`, or letters side by side; a word is no mathematics."""
    if word in _FUNCTIONS:
        return ["\\" + word]
    if word == "pi":
        return ["\\pi"]
    for name in ("sqrt", "pi"):
        head, found, tail = word.partition(name)
        if found and len(head) < 3 and len(tail) < 3:
            return [*head, "\\" + name, *tail]
    if len(word) > 3 or word.lower() in _ENGLISH:
        raise Unreadable
    return list(word)


class _Reader:
    """Recursive descent over tokens; sums of products of powers."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = [*tokens, ""]
        self.place = 0
        self.depth = 0
        self.angle = False
        """Whether degrees are to be made radians: inside a trigonometric function."""
        self.bars = 0

    def whole(self) -> Node:
        node = self.sum()
        if self.peek() != "":
            raise Unreadable
        return node

    def peek(self) -> str:
        return self.tokens[self.place]

    def take(self, wanted: str = "") -> str:
        token = self.tokens[self.place]
        if wanted and token != wanted:
            raise Unreadable
        self.place += 1
        return token

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable
        node = self.signed()
        while self.peek() in ("+", "-"):
            node = (self.take(), node, self.product())
        self.depth -= 1
        return node

    def signed(self) -> Node:
        sign = 1
        while self.peek() in ("+", "-"):
            sign = -sign if self.take() == "-" else sign
        node = self.product()
        return node if sign == 1 else ("neg", node)

    def product(self) -> Node:
        node = self.power()
        divided = False
        while True:
            token = self.peek()
            if token in ("*", "\\cdot", "\\times"):
                self.take()
                node = ("*", node, self.factor())
            elif token in ("/", "\\div"):
                self.take()
                node, divided = ("/", node, self.factor()), True
            elif self.begins(token):
                # 1/2x may be a half of x, or one over 2x.
                if divided or (token[0].isdigit() and node[0] == "num"):
                    raise Unreadable
                node = ("*", node, self.power())
            else:
                return node

    def factor(self) -> Node:
        """A power, with a sign of its own: 2 * -3."""
        if self.peek() == "-":
            self.take()
            return ("neg", self.power())
        return self.power()

    def begins(self, token: str) -> bool:
        """Whether a token begins another factor of a product."""
        if not token or token in ("+", "-"):
            return False
        if token == "|":
            return self.bars == 0
        name = token[1:]
        known = name in _FUNCTIONS or name in _GREEK or token in _CONSTANTS
        return token in _STARTS or token[0].isalnum() or token[0] == "." or (token[0] == "\\" and known)

    def power(self) -> Node:
        node = self.postfix(self.atom())
        while self.peek() == "^":
            self.take()
            if self.peek() == "\\circ":
                self.take()
                node = ("*", node, ("/", ("pi",), ("num", "180"))) if self.angle else node
            else:
                node = self.postfix(("^", node, self.exponent()))
        return node

    def postfix(self, node: Node) -> Node:
        while self.peek() == "!":
            self.take()
            node = ("!", node)
        return node

    def exponent(self) -> Node:
        sign = self.take() if self.peek() == "-" else ""
        if self.peek() == "{":
            node = self.group()
        else:
            node = self.atom()
            if self.peek() == "^":
                self.take()
                node = ("^", node, self.exponent())
        return ("neg", node) if sign else node

    def group(self) -> Node:
        closing = _OPENING[self.take()]
        outside, self.bars = self.bars, 0
        node = self.sum()
        self.take(closing)
        self.bars = outside
        return node

    def argument(self) -> Node:
        """What stands behind `\\frac` or `\\sqrt`: a group, or the next digit or letter alone."""
        token = self.peek()
        if token == "{":
            return self.group()
        if token.isdigit() and len(token) > 1:  # \frac12, \sqrt23: the first digit alone
            self.tokens[self.place] = token[1:]
            return ("num", token[0])
        return self.atom()

    def atom(self) -> Node:
        token = self.peek()
        if token == "|":
            return self.bar()
        if token in _OPENING:
            node = self.group()
            return (token[1:], node) if token in ("\\lfloor", "\\lceil") else node
        self.take()
        if not token:
            raise Unreadable
        if token[0].isdigit() or token[0] == ".":
            return ("num", token)
        if token in _CONSTANTS:
            return (_CONSTANTS[token],)
        if token == "\\frac":
            return ("/", self.argument(), self.argument())
        if token == "\\binom":
            return ("binom", self.argument(), self.argument())
        if token == "\\sqrt":
            return self.root()
        if token[0] == "\\" and token[1:] in _FUNCTIONS:
            return self.function(token[1:])
        if token.isalpha() or (token[0] == "\\" and token[1:] in _GREEK):
            return self.name(token)
        raise Unreadable

    def bar(self) -> Node:
        self.take("|")
        self.bars += 1
        node = self.sum()
        self.take("|")
        self.bars -= 1
        return ("abs", node)

    def root(self) -> Node:
        degree: Node = ("num", "2")
        if self.peek() == "[":
            self.take()
            degree = self.sum()
            self.take("]")
        return ("root", self.group() if self.peek() == "(" else self.argument(), degree)

    def name(self, token: str) -> Node:
        if self.peek() != "_":
            return ("name", token)
        self.take()
        if self.peek() != "{":
            return ("name", f"{token}_{self.take()}")
        self.take()
        index = []
        while self.peek() != "}":
            index.append(self.take())
        self.take()
        return ("name", f"{token}_{''.join(index)}")

    def function(self, name: str) -> Node:
        base: Node | None = None
        if name == "log" and self.peek() == "_":
            self.take()
            base = self.argument()
        power: Node | None = None
        if self.peek() == "^":
            self.take()
            power = self.exponent()
        outside, self.angle = self.angle, name in _TRIG
        node = self.group() if self.peek() in ("(", "[", "{") else self.operand()
        self.angle = outside
        if name in _TRIG and power == ("neg", ("num", "1")):
            return (f"a{name}", node) if name in ("sin", "cos", "tan") else self.fail()
        if base is not None:
            node = ("/", ("log", node), ("log", base))
        else:
            node = ("/", ("log", node), ("log", ("num", "10"))) if name == "lg" else (_INVERSE.get(name, name), node)
        return node if power is None else ("^", node, power)

    def operand(self) -> Node:
        """The argument of a function without brackets: one product, up to a sign or another function."""
        node = self.factor()
        while self.begins(self.peek()) and self.peek()[1:] not in _FUNCTIONS and self.peek() not in ("(", "[", "{"):
            node = ("*", node, self.power())
        return node

    def fail(self) -> Node:
        raise Unreadable
