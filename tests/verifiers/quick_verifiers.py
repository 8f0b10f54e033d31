"""A verifier with the companion `quick`, which does what the trace's content says; used by test_grading.py."""

import os

from mixdistill.types import Outcome, Verdict

VERSION = "7"


def verify(problem, trace, *, note=""):
    if trace.content == "raises always":
        raise ValueError("in the worker")
    return said(trace, note)


def quick(problem, trace, *, note=""):
    match trace.content:
        case "quick":
            return said(trace, note)
        case "raises" | "raises always":
            raise ValueError("in this process")
        case "bool":
            return True
        case "other":
            return Verdict(trace_id="other", outcome=Outcome.INCORRECT)


def said(trace, note):
    return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT, explanation=f"{note} {os.getpid()}".strip())
