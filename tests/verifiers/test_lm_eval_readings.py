"""Our strict and flexible readings beside lm-evaluation-harness's strict-match and flexible-extract of gsm8k.

The same table is in docs/lm-eval.md: where they agree as they are meant to, and where they differ, and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

import tiny
from mixdistill import resolve
from mixdistill.types import FinishReason, Outcome
from mixdistill.verifiers.grading import grade

pytest.importorskip("lm_eval")

GOLD = "She has 16 - 3 - 4 = 9 eggs left and makes 9 * 2 = 18 dollars.\n#### 18"
STRICT, FLEXIBLE = r"#### (\-?[0-9\.\,]+)", r"(-?[$0-9.,]{2,})|(-?[0-9]+)"
IGNORED = [",", "\\$", "(?s).*#### ", "\\.$"]


class Read(NamedTuple):
    """A completion, and whether each reading finds it right."""

    text: str
    strict: tuple[bool, bool]
    """Ours, theirs."""
    flexible: tuple[bool, bool]
    ended: FinishReason = "stop"


AGREE = {
    "marked": Read("9 * 2 = 18.\n#### 18", (True, True), (True, True)),
    "with a unit": Read("#### 18 dollars", (True, True), (True, True)),
    "marked and wrong": Read("#### 17", (False, False), (False, False)),
    "of the other sign": Read("#### -18", (False, False), (False, False)),
    "not marked": Read("So she makes 18 dollars a day.", (False, False), (True, True)),
    "not marked and wrong": Read("So she makes 17 dollars a day.", (False, False), (False, False)),
    "no number": Read("I cannot say.", (False, False), (False, False)),
}
DIFFER = {
    "marked otherwise": Read("The answer is 18.", (True, False), (True, True)),
    "a box": Read("Thus \\boxed{18}.", (True, False), (True, True)),
    "a box, and numbers after it": Read("Thus \\boxed{18} dollars in 7 days.", (True, False), (True, False)),
    "another number last": Read("She makes 18 dollars, at 2 each.", (False, False), (True, False)),
    "a dollar sign": Read("#### $18", (True, False), (True, True)),
    "another spelling": Read("#### 18.00", (True, False), (True, False)),
    "a fraction": Read("#### 36/2", (True, False), (True, False)),
    "corrected": Read("#### 17\nWait, that is wrong.\n#### 18", (True, False), (True, True)),
    "cut on the way": Read("16 - 3 = 13, and 13 + 5 = 18", (False, False), (False, True), "length"),
    "cut after the answer": Read("#### 18\nLet me check again: 16 - 3", (False, True), (True, False), "length"),
}


def theirs(pattern: str, group: int, text: str) -> bool:
    """As task gsm8k 3.0 has it: the filter, then exact match with its regexes ignored."""
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    ((found,),) = RegexFilter(pattern, group_select=group).apply([[text]], [{}])
    said = exact_match_hf_evaluate(
        predictions=[found], references=[GOLD], ignore_case=True, ignore_punctuation=False, regexes_to_ignore=IGNORED
    )
    return bool(said["exact_match"])


@pytest.mark.parametrize("name", [*AGREE, *DIFFER])
@pytest.mark.parametrize("verifier", ["math", "numeric"])
def test_every_completion_is_read_as_the_page_says(name: str, verifier: str):
    read = {**AGREE, **DIFFER}[name]
    problem = tiny.problem("How much does she make?", GOLD)
    trace = tiny.trace(problem, content=read.text, finish_reason=read.ended)
    (verdict,) = grade([(problem, trace)], resolve.reference("verifier", verifier), {}, name=verifier)
    ours = [outcome is Outcome.CORRECT for outcome in (verdict.strict or verdict.outcome, verdict.outcome)]
    assert (ours[0], theirs(STRICT, 0, read.text)) == read.strict
    assert (ours[1], theirs(FLEXIBLE, -1, read.text)) == read.flexible


def test_they_agree_where_they_are_meant_to_and_nowhere_else():
    assert all(r.strict[0] == r.strict[1] and r.flexible[0] == r.flexible[1] for r in AGREE.values())
    assert all(r.strict[0] != r.strict[1] or r.flexible[0] != r.flexible[1] for r in DIFFER.values())


def test_the_page_shows_this_table():
    page = (Path(__file__).parent.parent.parent / "docs" / "lm-eval.md").read_text(encoding="utf-8")
    signs = {True: "right", False: "-"}
    for name, read in {**AGREE, **DIFFER}.items():
        shown = read.text.replace("\n", " \N{RETURN SYMBOL} ") + (" [cut]" if read.ended == "length" else "")
        cells = [name, f"`{shown}`", *(signs[one] for one in (*read.strict, *read.flexible))]
        assert f"| {' | '.join(cells)} |" in page, name
