"""Answers as no test writes them: grown from a grammar, golden cases with something broken, and random characters.

`inputs(seed, batch, size)` gives the same inputs for the same numbers, whatever was drawn before.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).parents[1] / "cases" / "math.jsonl"
MEGABYTE = 1_000_000


class Input(NamedTuple):
    """What a verifier is given: a reference, the answer part of a trace, how the trace ended, what was asked."""

    reference: str
    text: str
    finish_reason: str
    prompt: str = "?"


def inputs(seed: int, batch: int, size: int) -> list[Input]:
    """The inputs of one batch."""
    draw = random.Random(f"{seed}/{batch}")
    return [one(draw) for _ in range(size)]


def suited(verifier: str, x: Input) -> Input:
    """An input with a reference that the verifier can use, and for `choice` with options: they decide nothing else."""
    n = len(x.text)
    if verifier == "choice":
        options = f"A) {x.reference}\nB) {x.text[:20]}\nC) {x.text[-20:]}\n(D) 18"
        return x._replace(reference=["A", "(B)", "C", "A, D", x.reference][n % 5], prompt=f"Which?\n{options}")
    if verifier == "numeric":
        return x._replace(reference=str(n % 100 / 4))
    if verifier == "json":
        text = x.text if n % 2 else json.dumps({"total": n % 10, "name": x.text})[: 30 + n]
        return x._replace(reference=json.dumps({"total": n % 7, "name": x.reference}), text=text)
    return x


def one(draw: random.Random) -> Input:
    """A golden case with something broken, mathematics out of the grammar, noise, or something built to hurt."""
    kind = draw.choices(["golden", "grammar", "noise", "built"], [45, 35, 19.9, 0.1])[0]
    if kind == "golden":
        case = draw.choice(GOLDEN)
        reference = case["answer"] if draw.random() < 0.8 else broken(draw, case["answer"])
        text = broken(draw, case["text"])
    elif kind == "grammar":
        reference, text = expression(draw, 2), said(draw, expression(draw, draw.randint(0, 3)))
        if draw.random() < 0.2:
            text = said(draw, reference)
    elif kind == "noise":
        reference, text = noise(draw, 20), said(draw, noise(draw, 120))
    else:
        reference, text = draw.choice(["18", r"\frac{1}{2}", "x+1", "(1,2)"]), built(draw)
    return Input(reference, text, draw.choices(["stop", "length", "unknown"], [8, 1, 1])[0])


GOLDEN = [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]

PIECES = [
    *[r"\boxed{", "}", "{", "$", "$$", r"\(", r"\)", r"\[", r"\]", "\\", "####", "#### ", "Final Answer:"],
    *["answer is ", "A: ", "\n", "\n\n", " ", ",", ".", "-", "+", "=", "^", "_", "/", "%", "!", "(", ")", "[", "]"],
    *["|", "&", "~", "e", r"\frac", r"\sqrt", r"\text{", r"\left", r"\right", r"\pm", r"\pi", r"\cup", r"\infty"],
    *[r"\circ", r"\pmod", "1e9", "0", "7", "1,000", "1 234", "{,}", "½", "√", "²", "−", "٣", "१", "∞", "\u200b"],
    *["\u200f", "\ufeff", "\x00", "。", " or ", " and ", "x", "x = ", "i", "dollars", "cm", "%", "Wait, no, "],
    *["<answer>", "**", "`", "\\\\", "\t", "\r"],
]


def broken(draw: random.Random, text: str) -> str:
    """A text after one to four changes of its characters."""
    for _ in range(draw.randint(1, 4)):
        at, to = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
        change = draw.randrange(6)
        if change == 0:
            text = text[:at] + draw.choice(PIECES) + text[at:]
        elif change == 1:
            text = text[:at] + text[at + draw.randint(1, 3) :]
        elif change == 2:
            text = text[:to]  # cut
        elif change == 3:
            text = text[:to] + text[at:]  # a part of it twice
        elif change == 4:
            text = text[:at] + draw.choice("0123456789") + text[at + 1 :]
        else:
            text = text[at:] + text[:at]
    return text


SAYINGS = [
    *[r"\boxed{%s}", r"so $\boxed{%s}$.", r"\[ \boxed{%s} \]", "The answer is $%s$.", "the answer is %s", "#### %s"],
    *["Final Answer: %s", "**Final Answer**\n\n$%s$", "A: %s", "%s", r"\boxed{%s", r"\boxed{5} \boxed{%s}", "x = %s"],
]


def said(draw: random.Random, x: str) -> str:
    """An answer in one of the ways in which models state theirs."""
    return draw.choice(SAYINGS).replace("%s", x)


ATOMS = ["x", "y", "n", "a", r"\pi", "e", "i", r"\theta", r"\infty", r"\alpha", r"\emptyset", r"\mathbb{R}", "\u03c0"]
FUNCTIONS = [r"\sin", r"\cos", r"\tan", r"\ln", r"\log", r"\exp", r"\arctan", r"\log_2", r"\sin^2", r"\sinh", r"\det"]
FRAMES = [
    *[r"\frac{%s}{%s}", r"\dfrac{%s}{%s}", "%s+%s", "%s-%s", r"%s \cdot %s", "%s%s", "%s^{%s}", "%s/%s", "(%s)(%s)"],
    *["(%s, %s)", "[%s, %s)", r"\{%s, %s\}", "%s, %s", "%s:%s", "%s = %s", r"%s \le %s", r"%s \text{ or } %s"],
    *[r"\begin{pmatrix} %s \\ %s \end{pmatrix}", r"(-\infty, %s) \cup (%s, \infty)", r"%s \pm %s"],
    *[r"%s \equiv %s \pmod{7}", r"\sqrt[%s]{%s}", "%s < x < %s"],
]
HEAVY = [
    *[r"\sum_{k=1}^{%s} %s", r"\int_0^1 %s \, d%s", r"\lim_{x \to %s} %s", r"\prod_{k=1}^{%s} %s", "%s!"],
    r"\binom{%s}{%s}",
]
"""What costs algebra seconds: rare, or the run would see nothing else."""
SINGLE = [
    *[r"\sqrt{%s}", "-%s", "(%s)", r"\left(%s\right)", "|%s|", r"%s\%%", r"\$%s", r"%s^\circ", r"%s \text{ cm}"],
    *[r"\text{%s}", r"\overline{%s}", r"%s_2", r"\lfloor %s \rfloor", "f(%s)", "x = %s", r"\mathrm{%s}", "{%s}"],
]


def expression(draw: random.Random, depth: int) -> str:
    """Mathematics in LaTeX, mostly meaningful, at most `depth` levels deep; what is heavy is rare."""
    if depth == 0 or draw.random() < 0.15:
        return draw.choice(ATOMS) if draw.random() < 0.35 else number(draw)
    shape = draw.random()
    if shape < 0.005:
        frame = draw.choice(HEAVY)
    elif shape < 0.55:
        frame = draw.choice(FRAMES)
    elif shape < 0.85:
        frame = draw.choice(SINGLE)
    else:
        frame = draw.choice(FUNCTIONS) + draw.choice(["(%s)", "{%s}", " %s"])
    while "%s" in frame:
        frame = frame.replace("%s", expression(draw, depth - 1), 1)
    return frame.replace("%%", "%")


def number(draw: random.Random) -> str:
    most = draw.choices([12, 999, 10**9], [60, 38, 2])[0]
    n = draw.randint(-most // 4, most)
    return draw.choice([str(n), str(n), f"{n:,}", f"{n / 8}", f"{n}.0", f"{n}/7", rf"{n}\frac{{1}}{{3}}", f"{n}e3"])


ALPHABETS = [
    range(32, 127),
    range(0, 0x250),
    range(0x590, 0xE7F),
    range(0x2000, 0x2BFF),
    range(0x4E00, 0x4F00),
    range(0xFF00, 0xFFF0),
    range(0x1D400, 0x1D7FF),
    range(0x10FFFF),
]


def noise(draw: random.Random, most: int) -> str:
    """Characters of one alphabet, or pieces of LaTeX and prose in no order; lone surrogates are left out."""
    if draw.random() < 0.5:
        return "".join(draw.choice(PIECES) for _ in range(draw.randint(0, most // 3)))
    letters = draw.choice(ALPHABETS)
    text = "".join(chr(draw.choice(letters)) for _ in range(draw.randint(0, most)))
    return text.encode("utf-8", "replace").decode()


NESTS = [("(", ")"), ("{", "}"), (r"\frac{", "}{2}"), (r"\sqrt{", "}"), (r"\left[", r"\right]"), ("x^{", "}")]
HUGE = ["10^{9}", "99999", "10^{10^{10}}", "9^{9^{9}}"]
GROWING = ["(%s)!", "2^{%s}", "(x+1)^{%s}", r"\sum_{k=1}^{%s} \frac{k!}{x^k}", r"\prod_{k=1}^{%s} (x+k)"]


def built(draw: random.Random) -> str:
    """What hangs parsers: towers, nesting, repetition. One in twenty is a megabyte long."""
    size = draw.choice([30, 300, 3000])
    kind = draw.randrange(5)
    if kind == 0:
        tower, height = draw.choice(["9", "10", "x", "a"]), min(size, 60)
        inside = "^{".join([tower] * height) + "}" * (height - 1)
    elif kind == 1:
        left, right = draw.choice(NESTS)
        inside = left * size + "1" + right * size
    elif kind == 2:
        inside = draw.choice(GROWING).replace("%s", draw.choice(HUGE))
    elif kind == 3:
        inside = draw.choice("123456789") + draw.choice("0123456789") * size
    else:
        piece = draw.choice(PIECES) + draw.choice(PIECES)
        return piece * ((MEGABYTE if draw.random() < 0.25 else 20_000) // len(piece))
    return r"\boxed{" + inside + "}"
