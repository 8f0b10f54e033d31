"""The fuzzing of verifiers sees what it looks for."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest
from fuzz import DEADLINE, Fuzz, alarm, allowed_seconds, differences, item, memory_faults, verdict_faults
from hostile import Input, inputs, suited

from mixdistill import resolve
from mixdistill.types import Outcome, Verdict
from mixdistill.verifiers import grading

ITEM = item(0, Input("18", r"\boxed{18}", "stop"))


def verdict(
    outcome: Outcome = Outcome.CORRECT, *, trace: str = "t0", rule: str = "box/text", says: str = ""
) -> Verdict:
    return Verdict(trace_id=trace, outcome=outcome, strict=outcome, rule=rule, explanation=says)


def test_the_same_numbers_draw_the_same_inputs_and_others_draw_others():
    assert inputs(0, 3, 50) == inputs(0, 3, 50)
    assert inputs(0, 3, 50)[:20] == inputs(0, 3, 20)
    assert inputs(0, 3, 50) != inputs(0, 4, 50) != inputs(1, 4, 50)


def test_every_input_can_be_written_to_a_file():
    drawn = inputs(0, 0, 500)
    assert {x.finish_reason for x in drawn} == {"stop", "length", "unknown"}
    assert [x for x in drawn if (x.reference + x.text).encode("utf-8").decode("utf-8") != x.reference + x.text] == []


@pytest.mark.parametrize("verifier", ["choice", "numeric", "exact", "json"])
def test_most_inputs_can_be_judged_by_the_verifier_they_are_made_for(verifier: str):
    judge = resolve.load(resolve.reference("verifier", verifier))
    drawn = [suited(verifier, x) for x in inputs(0, 0, 60) if len(x.text) < 1000 and len(x.reference) < 20]
    outcomes = Counter(judge(*item(i, x)).outcome for i, x in enumerate(drawn))
    assert outcomes[Outcome.ERROR] <= 0.3 * outcomes.total()


def test_a_batch_goes_through_extraction_and_grading():
    fuzz = Fuzz("math", seed=0, workers=1)
    fuzz.batch(1, 16)
    grading.stop()
    assert (fuzz.inputs, fuzz.outcomes.total(), len(fuzz.slow), len(fuzz.memory)) == (16, 16, 1, 1)
    assert len(fuzz.extractions) == 5
    assert set(fuzz.outcomes) <= {outcome.value for outcome in Outcome}


def test_an_extraction_that_raises_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fuzz.extract", lambda text: {}[text])
    fuzz = Fuzz("math", seed=0, workers=1)
    fuzz.extract(7, [Input("18", "x", "stop")])
    assert fuzz.faults == ["batch 7, input 0: extract raised KeyError('x') on 'x'"]


def test_verdicts_on_other_traces_are_a_fault():
    assert verdict_faults([ITEM], [verdict()]) == []
    assert verdict_faults([ITEM], [verdict(trace="t1")]) == ["verdicts of other traces, or in another order"]
    assert verdict_faults([ITEM], []) == ["verdicts of other traces, or in another order"]


@pytest.mark.parametrize(
    ("says", "fault"),
    [
        ("deadline of 8 s", False),
        ("TimeoutError: math-verify: no result within 1 s", False),
        ("MemoryError", False),
        ("the verifier's process died (exit code -9)", False),
        ("IndexError: tuple index out of range", True),
        ("the verifier returned bool, not a Verdict", True),
    ],
)
def test_what_a_verifier_raises_is_a_fault_unless_it_is_a_limit(says: str, fault: bool):
    faults = verdict_faults([ITEM], [verdict(Outcome.ERROR, rule="grading", says=says)])
    assert faults == ([rf"input 0 ('18' ~ '\\boxed{{18}}'): {says}"] if fault else [])


def test_a_problem_without_a_reference_is_no_fault():
    assert verdict_faults([ITEM], [verdict(Outcome.ERROR, rule="reference", says="no reference")]) == []


def test_a_verdict_that_comes_out_otherwise_the_second_time_is_a_fault():
    right, wrong, late = verdict(), verdict(Outcome.INCORRECT), verdict(Outcome.ERROR)
    assert differences([right, right], [right, wrong]) == [
        "input 1: correct (box/text), and incorrect (box/text) the second time"
    ]
    assert differences([right, late], [late, right]) == []


def test_memory_may_not_grow_past_the_margin():
    assert memory_faults([10.0] + [100.0] * 9 + [132.0]) == []
    assert memory_faults([10.0] + [100.0] * 9 + [133.0]) == ["memory: 133 MB in the last third, 100 in the first"]
    assert memory_faults([100.0]) == []


def test_late_inputs_are_given_their_deadlines_and_the_others_a_share():
    assert allowed_seconds(512, 0) == 158
    assert allowed_seconds(512, 2) == 158 + 5 * DEADLINE


def test_a_regular_expression_that_explodes_is_interrupted():
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"not through after 0\.2 s"), alarm(0.2):
        re.fullmatch(r"(a|a)*b", "a" * 40)
    assert time.monotonic() - began < 5
