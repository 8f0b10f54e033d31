"""Benchmarks run, at a size that says nothing about speed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_benchmark_of_mixing_prints_every_side_with_time_memory_and_ratio():
    pytest.importorskip("datasets")
    command = [sys.executable, str(ROOT / "benchmarks" / "mixing.py"), "--rows", "400"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=240).stdout.splitlines()
    assert [re.split(r"\s{2,}", line)[0] for line in said[:-1]] == [
        "mixdistill", "datasets, shuffled", "datasets, not shuffled",
    ]  # fmt: skip
    assert all(re.search(r"[\d.]+ s, .*[\d.]+ s of CPU, [\d.]+ GB", line) for line in said[:-1])
    assert all(re.search(r"mixdistill is [\d.]+ times as fast$", line) for line in said[1:-1])
    assert said[-1].startswith("400 rows; mixdistill wrote ")
