"""The benchmarks of training run, small; their figures are for those who run them whole."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize(("script", "lines"), [("training.py --quick", 8), ("mfu.py --tiny", 2)])
def test_benchmark_runs_and_says_how_fast_each_trainer_is(script, lines):
    name, flag = script.split()
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), flag],
        capture_output=True,
        text=True,
        timeout=280,
        env=env,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    said = [line for line in ran.stdout.splitlines() if not line.startswith("{")]
    assert len(said) == lines
    speeds = [float(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:real )?tokens/s", ran.stdout)]
    assert len(speeds) in (2, 6) and all(speed > 0 for speed in speeds)
    assert "FLOPs" not in ran.stdout
