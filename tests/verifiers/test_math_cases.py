"""The golden table: hand-checked answers, right ones and near misses, each with the verdict a careful person gives.

`tests/cases/math.jsonl` goes through mathematics kind by kind; `math_outputs.jsonl` has ends of outputs as models write
them, in many languages, and was written by somebody who had not read the verifier. A line has the `kind`, the
reference `answer`, the `text` of the answer part and its `finish_reason`, then the verdict: `outcome` (flexible
reading), `strict`, the extraction `rule` that fires, and `why`. `strict` and `rule` are null where more than one is
defensible. `prompt` is there where the problem's wording counts. With `may_time_out` running out of time is as good as
the outcome: the answer costs more than it is worth.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mixdistill.types import Problem, Trace, Verdict
from mixdistill.verifiers.math import verify

TABLES = [Path(__file__).parents[1] / "cases" / name for name in ("math.jsonl", "math_outputs.jsonl")]
CASES: list[dict[str, Any]] = [
    json.loads(line) for table in TABLES for line in table.read_text(encoding="utf-8").splitlines()
]


def name(number: int, case: dict[str, Any]) -> str:
    """`decimals-121: 1/3 ~ 0.333`: the line of the table, the reference, the end of the text; plain ASCII."""
    text = " ".join(case["text"].split())
    ident = f"{case['kind']}-{number}: {case['answer'][:30]} ~ {text[-40:]}"
    return ident.encode("ascii", "backslashreplace").decode()


def judged(case: dict[str, Any]) -> Verdict:
    problem = Problem(id="p", prompt=case.get("prompt", "?"), answer=case["answer"])
    trace = Trace(id="t", problem_id="p", author="a", content=case["text"], finish_reason=case["finish_reason"])
    return verify(problem, trace, timeout=1) if case.get("may_time_out") else verify(problem, trace)


@pytest.mark.parametrize("case", [pytest.param(case, id=name(n, case)) for n, case in enumerate(CASES, 1)])
def test_the_verdict_is_the_one_a_careful_person_gives(case: dict[str, Any]):
    try:
        verdict = judged(case)
    except TimeoutError:
        if case.get("may_time_out"):
            return  # grading.py makes an `error` of it; the one thing it must never be is `correct`
        raise
    seen = {"outcome": verdict.outcome.value, "strict": (verdict.strict or verdict.outcome).value}
    seen["rule"] = verdict.rule.partition("/")[0]
    # Null in the table: more than one reading is defensible.
    expected = {key: case[key] if case[key] is not None else seen[key] for key in seen}
    assert seen == expected, f"{case['why']}; extracted {verdict.answer!r}, rule {verdict.rule!r}"


def test_no_case_stands_in_the_table_twice():
    keys = Counter((c["answer"], c["text"], c["finish_reason"], c.get("prompt")) for c in CASES)
    assert [key for key, times in keys.items() if times > 1] == []


def test_every_kind_of_mathematics_is_tried_in_both_directions():
    outcomes: dict[str, set[str]] = {}
    for case in CASES:
        outcomes.setdefault(case["kind"], set()).add(case["outcome"])
    one_way = {kind for kind, seen in outcomes.items() if "correct" not in seen or seen == {"correct"}}
    assert one_way == set()
