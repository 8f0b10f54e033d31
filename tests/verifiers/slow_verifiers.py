"""Verifiers that misbehave on the trace whose content says so; used by test_grading.py from worker processes."""

import os
import sys
import time

from mixdistill.types import Outcome, Verdict


def verify(problem, trace, *, seconds=60.0):
    match trace.content:
        case "hang":
            time.sleep(seconds)
        case "spin":
            while True:
                pass
        case "slow":
            time.sleep(seconds)
        case "crash":
            os._exit(3)
        case "raise":
            raise ValueError("two\nlines")
        case "exit":
            sys.exit(1)
        case "memory":
            return [bytearray(2**27) for _ in range(64)]
        case "print":
            print("printed", flush=True)
        case "bool":
            return True
        case "other":
            return Verdict(trace_id="other", outcome=Outcome.CORRECT)
    return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT, explanation=str(os.getpid()))
