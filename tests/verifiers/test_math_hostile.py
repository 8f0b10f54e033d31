"""Texts built to hang, crash or fool: all are judged within the deadline, and none is taken for the answer."""

from __future__ import annotations

import time

import pytest

from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers import grading
from mixdistill.verifiers.extract import extract
from mixdistill.verifiers.grading import grade

MEGABYTE = 1_000_000
DEADLINE = 8.0

WRONG = {
    "a megabyte of prose and a wrong box": "so we go on " * (MEGABYTE // 12) + r"\boxed{19}",
    "a megabyte of LaTeX in a box": r"\boxed{" + r"\frac{1}{2}+" * (MEGABYTE // 12) + "1}",
    "a megabyte of digits in a box": r"\boxed{" + "9" * MEGABYTE + "}",
    "ten to the power of 5,000, in digits": r"\boxed{1" + "0" * 5000 + "}",
    "a fraction of huge numbers": r"\boxed{\frac{" + "7" * 5000 + "}{" + "3" * 5000 + "}}",
    "brackets in one another": r"\boxed{" + "(" * 5000 + "19" + ")" * 5000 + "}",
    "roots in one another": r"\boxed{" + r"\sqrt{" * 2000 + "19" + "}" * 2000 + "}",
    "fractions in one another": r"\boxed{" + r"\frac{1}{1+" * 500 + "19" + "}" * 500 + "}",
    "a tower of powers": r"\boxed{" + "^{".join("9" * 200) + "}" * 199 + "}",
    "a tower of letters": r"\boxed{" + "^{".join("a" * 200) + "}" * 199 + "}",
    "a power of a power of a power": r"\boxed{10^{10^{10^{10}}}}",
    "factorials of factorials": r"\boxed{((9!)!)!}",
    "minus signs": r"\boxed{" + "-" * 20_000 + "19}",
    "a list of fifty thousand": r"\boxed{" + ",".join(map(str, range(50_000))) + "}",
    "a matrix of ten thousand": r"\boxed{\begin{pmatrix}" + r"1 & 2 \\" * 5000 + r"\end{pmatrix}}",
    "dollars": "$" * MEGABYTE + " 19",
    "answer is, again and again": "answer is " * 100_000 + "19",
    "A:, again and again": "A: " * 100_000 + "19",
    "headings": "#### Step\n" * 100_000 + "#### 19",
    "thousands without end": r"\boxed{1" + ",000" * 100_000 + "}",
    "units without end": r"\boxed{19" + r"\text{ cm}" * 20_000 + "}",
    "an equation without end": r"\boxed{" + "x = " * 20_000 + "19}",
    "spaces": r"\boxed{" + " " * MEGABYTE + "19}",
    "zero-width spaces": r"\boxed{" + "\u200b" * 300_000 + "19}",
    "marks of direction": r"\boxed{" + "\u202e" * 300_000 + "19}",
    "combining accents": r"\boxed{1" + "\u0301" * 300_000 + "}",
    "answer is, and nothing else": "answer is " * 100_000,
    "formulae that are opened": r"answer is \(" * 50_000,
    "boxes side by side": r"\boxed{19} " * 100_000 + r"\boxed{18}",
    "null bytes": r"\boxed{" + "\x00" * 300_000 + "19}",
}
NOTHING = {
    "boxes that are opened and never closed": r"\boxed{" * 10_000,
    "braces that are opened and never closed": "{" * MEGABYTE,
    "braces that are closed and were never opened": "}" * MEGABYTE,
    "a mark with nothing behind it": "Final Answer" + "\n" * MEGABYTE,
    "backslashes": "\\" * MEGABYTE,
    "stars": "*" * MEGABYTE,
}
RIGHT = {
    "a megabyte of prose and a right box": "so we go on " * (MEGABYTE // 12) + r"\boxed{18}",
    "a right box and a megabyte of prose": r"\boxed{18}" + " so we go on" * (MEGABYTE // 12),
    "a right box behind a hundred thousand wrong ones": r"\boxed{19} is wrong. " * 100_000 + r"\boxed{18}",
    "eighteen wherever one looks": "answer is 18. " * 70_000,
    "an unclosed box behind": r"\boxed{18} " + r"\boxed{" * 10_000,
}


@pytest.fixture(scope="module")
def verdicts():
    """Every hostile text, judged once against the reference 18, as the product does it."""
    problem = Problem(id="p", prompt="?", answer="18")
    texts = WRONG | NOTHING | RIGHT
    traces = [Trace(id=k, problem_id="p", author="a", content=t, finish_reason="stop") for k, t in texts.items()]
    began = time.monotonic()
    judged = grade(
        [(problem, t) for t in traces],
        "mixdistill.verifiers.math:verify",
        {"timeout": 1},
        name="math",
        deadline=DEADLINE,
    )
    grading.stop()
    late = sum(v.outcome is Outcome.ERROR for v in judged)
    assert time.monotonic() - began < 60 + late * 2.5 * DEADLINE
    return {v.trace_id: v for v in judged}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_18_is_wrong_or_past_a_limit_and_never_right(name: str, verdicts: dict[str, Verdict]):
    verdict = verdicts[name]
    assert verdict.outcome in (Outcome.INCORRECT, Outcome.NO_ANSWER, Outcome.ERROR)
    if verdict.outcome is Outcome.ERROR:
        assert verdict.explanation.startswith(("TimeoutError", "deadline of", "MemoryError"))


@pytest.mark.parametrize("name", NOTHING)
def test_what_holds_no_answer_has_none(name: str, verdicts: dict[str, Verdict]):
    assert verdicts[name].outcome is Outcome.NO_ANSWER


@pytest.mark.parametrize("name", RIGHT)
def test_an_answer_is_found_however_much_stands_around_it(name: str, verdicts: dict[str, Verdict]):
    assert verdicts[name].outcome is Outcome.CORRECT


@pytest.mark.parametrize("name", WRONG | NOTHING | RIGHT)
def test_extraction_is_linear_in_the_text(name: str):
    text = (WRONG | NOTHING | RIGHT)[name]
    began = time.process_time()
    extract(text)
    assert time.process_time() - began < 3
