"""What an installed distribution requires on this machine, one requirement a line, without those named.

python tests/with_vllm/requirements.py DISTRIBUTION [LEFT_OUT ...]
"""

import sys
from importlib.metadata import requires

from pip._vendor.packaging.requirements import Requirement

distribution, *left_out = sys.argv[1:]
for line in requires(distribution) or ():
    requirement = Requirement(line)
    wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if wanted and requirement.name not in left_out:
        requirement.marker = None
        print(requirement)
