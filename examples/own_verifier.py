"""A verifier of your own: measured quantities, right within a tolerance.

    verify: {verifier: "examples/own_verifier.py:verify", tolerance: 0.005}

`math` wants 8.04672 where 8.05 km would do. The answer is found by the rules that `math` uses (a box, "final answer",
`####`, the last number), and units are dropped.
"""

from mixdistill.types import Outcome, Verdict
from mixdistill.verifiers.extract import extract
from mixdistill.verifiers.quantities import number


def verify(problem, trace, *, tolerance=0.01):
    """Correct where the answer is off by no more than `tolerance`, as a share of the reference."""
    cut = trace.finish_reason == "length"
    found = extract(trace.content, guess=not cut)
    got = number(found.answer) if found else None
    if got is None:
        return Verdict(trace_id=trace.id, outcome=Outcome.TRUNCATED if cut else Outcome.NO_ANSWER)
    gold = number(problem.answer).value
    off = float(abs(got.value - gold) / abs(gold))
    outcome = Outcome.CORRECT if off <= tolerance else Outcome.INCORRECT
    return Verdict(trace_id=trace.id, outcome=outcome, answer=found.answer, explanation=f"off by {off:.2%}")
