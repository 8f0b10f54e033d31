"""A metric of your own: how often a trace turns back, for every 100 words of reasoning.

    analyze: {metrics: [steps, "examples/own_metric.py:second_thoughts"]}

None says that there was nothing to measure, which is not zero.
"""

import re

TURN = re.compile(r"\b(wait|hold on|actually|no,|let me (re)?check|on second thought)", re.IGNORECASE)


def second_thoughts(trace):
    words = len(trace.reasoning.split())
    return 100 * len(TURN.findall(trace.reasoning)) / words if words else None
