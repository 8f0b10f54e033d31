"""What says whether a trace is right: plain functions `(problem, trace, *, options) -> Verdict`."""
