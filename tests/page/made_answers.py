"""Made-up answers of made-up students, as rows of the table and as a page that holds them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mixdistill.evidence import shown
from mixdistill.evidence.shown import ReportedTrace, Shown
from mixdistill.page import render
from mixdistill.store import Store
from mixdistill.types import Outcome
from study import full

ARMS = ["base", "long", "short", "mix-20"]
PROBLEMS = 120
HOSTILE = {
    "script": "<script>window.hacked = 1</script>",
    "end of script": "</script><script>window.hacked = 2</script>",
    "onerror": "<img src=x onerror='window.hacked = 3'>",
    "svg": "<svg onload='window.hacked = 4'><a href='javascript:window.hacked=5'>x</a></svg>",
    "handler": "\" onmouseover='window.hacked = 6' autofocus onfocus='window.hacked = 7",
    "comment": "<!-- <![CDATA[ --> ]]> &lt;script&gt; &#60;b&#62; &amp;",
    "style": "</style><style>* { display: none !important }</style>",
    "template": "${window.hacked = 8} {{ 7 * 7 }} {% raw %} `",
    "latex": "\\[ \\frac{a}{b} < \\sqrt{2} \\] $x^2$ \\boxed{42} \\begin{align} a &= b \\\\ \\end{align}",
    "hebrew": "שלום עולם 3 + 4 = 7",
    "override": "abc \u202e txet desrever \u202c \u2066 isolated \u2069 \u200f",
    "emoji": "🦊👩‍👩‍👧 𝕏 é\u0301 \ufeff",
    "lines": "a\u2028b\u2029c\rd\x00e\x1bf\n\n  g\t h",
    "long": "0123456789" * 10_000,
}
"""Kind -> a text that is shown as text, or else."""


def trace(i: int, arm: str, seed: int | None, outcome: Outcome, **fields: Any) -> ReportedTrace:
    """An answer to problem `i`."""
    known: dict[str, Any] = {
        "place": i + 1, "benchmark": "signs", "problem_id": f"{i:016x}", "level": None, "subject": None,
        "prompt": f"What is {i}?", "reference": str(i), "student": "s", "sample": 0, "strict": outcome,
        "answer": str(i), "rule": "boxed", "explanation": None, "finish_reason": "stop", "tokens": 1_234,
        "reasoning": f"Let me think of {i}.", "content": f"It is {i}.", "error": None,
    }  # fmt: skip
    return ReportedTrace(arm=arm, seed=seed, outcome=outcome, **(known | fields))


def outcomes(i: int) -> dict[str, list[Outcome]]:
    """Arm -> outcomes of student s on problem i, by seed. Student m is right where s is not, and wrong elsewhere."""
    right, wrong, none, cut = Outcome.CORRECT, Outcome.INCORRECT, Outcome.NO_ANSWER, Outcome.TRUNCATED
    long = right if i % 2 == 0 else cut if i % 6 == 1 else wrong
    return {
        "base": [wrong],
        "long": [long, long],
        "short": [right if i % 3 == 0 else none] * 2,
        "mix-20": [right if i % 5 == 0 else wrong, wrong],
    }


def study() -> Iterator[ReportedTrace]:
    """Two students, benchmarks and subjects, levels 1, 2 and 10; Zebra stands in one trace of s and in one of m."""
    for i in range(PROBLEMS):
        of = {
            "benchmark": "amc" if i % 4 == 0 else "signs",
            "level": ("1", "2", "10")[i % 3],
            "subject": ("Algebra", "Geometry")[i % 2],
        }
        for student in ("s", "m"):
            for arm, row in outcomes(i).items():
                for seed, outcome in enumerate(row):
                    if student == "m":
                        outcome = Outcome.INCORRECT if outcome == Outcome.CORRECT else Outcome.CORRECT
                    found = (student, i, arm, seed) in {("s", 77, "short", 1), ("m", 5, "long", 0)}
                    more = {"reasoning": f"A ZEBRA? No: {i}."} if found else {}
                    yield trace(i, arm, None if arm == "base" else seed, outcome, student=student, **of, **more)


def hostile() -> Iterator[ReportedTrace]:
    """A problem for every kind; every text of it, and the name of an arm, is hostile."""
    for i, text in enumerate(HOSTILE.values()):
        texts = dict.fromkeys(("prompt", "reference", "answer", "rule", "explanation", "reasoning", "content"), text)
        for arm in ("long", HOSTILE["onerror"]):
            yield trace(
                i, arm, 0, Outcome.INCORRECT, **texts, level=text[:200], subject=text[:200], student=HOSTILE["script"]
            )
        yield trace(
            i,
            "short",
            0,
            Outcome.ERROR,
            **texts,
            level=text[:200],
            subject=text[:200],
            student=HOSTILE["script"],
            error=text,
        )


def many(problems: int = 1_250, arms: int = 8, characters: int = 2_000) -> Iterator[ReportedTrace]:
    """Ten thousand traces of 2,000 characters, the arms of a problem in much the same words."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnoprstuvw", k=draw.randint(2, 9))) for _ in range(3_000)]
    for i in range(problems):
        sentences = [f"{' '.join(draw.choices(words, k=12))} is {draw.randint(0, 999)}. " for _ in range(20)]
        for arm in range(arms):
            text = "".join(draw.choices(sentences, k=characters // 20))[:characters]
            right = Outcome.CORRECT if draw.random() < 0.5 else Outcome.INCORRECT
            yield trace(i, f"arm-{arm}", 0, right, prompt=f"{sentences[0]}?", reasoning=text, content=f"So: {i}")


def offered(folder: Path, rows: Iterable[ReportedTrace], pair: tuple[str, str]) -> Shown:
    """What a page may hold of these rows, by way of the table."""
    known = list(rows)
    Store(folder).seal(folder, ReportedTrace, known, shown.TABLE)
    arms = list(dict.fromkeys(row.arm for row in known))
    return Shown(
        students=list(dict.fromkeys(row.student for row in known)),
        arms=arms,
        benchmarks=list(dict.fromkeys(row.benchmark for row in known)),
        pair=pair,
        problems=len({row.place for row in known}),
        traces=len(known),
        lines=shown.lines(folder / f"{shown.TABLE}.parquet", arms),
    )


def page(folder: Path, rows: Iterable[ReportedTrace], pair: tuple[str, str] = ("long", "short")) -> Path:
    """The made-up study's page with these answers."""
    file = folder / "index.html"
    file.write_text(render.html(full(), offered(folder, rows, pair)), "utf-8")
    return file
