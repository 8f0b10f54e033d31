"""Benchmarks run, at a size that says nothing about speed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def said_by(script: str, *args: str) -> list[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *args]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=240).stdout.splitlines()


def test_the_benchmark_of_mixing_prints_every_side_with_time_memory_and_ratio():
    pytest.importorskip("datasets")
    said = said_by("mixing.py", "--rows", "400")
    assert [re.split(r"\s{2,}", line)[0] for line in said[:-1]] == [
        "mixdistill", "datasets, shuffled", "datasets, not shuffled",
    ]  # fmt: skip
    assert all(re.search(r"[\d.]+ s, .*[\d.]+ s of CPU, [\d.]+ GB", line) for line in said[:-1])
    assert all(re.search(r"mixdistill is [\d.]+ times as fast$", line) for line in said[1:-1])
    assert said[-1].startswith("400 rows; mixdistill wrote ")


def test_the_benchmark_of_null_studies_says_how_often_a_study_of_nothing_says_helps(tmp_path):
    small = ("--student", "lab:bytes", "--problems", "32", "--evaluate", "8", "--seeds", "2", "--workers", "1")
    said = said_by("null_studies.py", "--studies", "2", *small, "--rows", str(tmp_path / "rows.jsonl"))
    assert said[0] == "2 studies of 2 seeds, disjoint traces of one short source, 32 problems"
    assert re.match(r"'helps' in \d+\.0% \[[\d.]+% to [\d.]+%\]; promised: at most 5 %", said[2])
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2


def test_the_benchmark_of_replications_says_how_often_two_studies_agree(tmp_path):
    small = ("--student", "lab:bytes", "--problems", "16", "--epochs", "2", "--evaluate", "8", "--seeds", "2")
    said = said_by("replication.py", "--studies", "2", *small, "--rows", str(tmp_path / "rows.jsonl"))
    assert [line.split()[0] for line in said[:3]] == ["long_cot_gap", "mix_less_long", "mix_less_short"]
    assert said[-3:-1] == [
        "all pairs: 0 of 6 have two verdicts, 0 of them agree in sign: none",
        "pairs that share no study: 0 of 6 have two verdicts, 0 of them agree in sign: none [0.0% to 100.0%]",
    ]
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 12


def test_the_simulation_of_coverage_prints_a_row_for_every_design():
    said = said_by("coverage.py", "20", "intervals", "averages", "crossings")
    assert said[0].startswith("20 studies of each design; Monte-Carlo standard error")
    assert [sum(line.startswith(part) for line in said) for part in ("intervals", "averages", "crossings")] == [
        12,
        24,
        6,
    ]


@pytest.mark.parametrize(("script", "lines"), [("still_moving.py", 8), ("sign_rule.py", 7)])
def test_simulations_print_a_row_for_every_design(script, lines):
    assert len(said_by(script, "20")) == lines
