"""The backend `vllm` as far as it goes without vLLM; with it, see tests/with_vllm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from mixdistill import evaluate
from mixdistill.backends.vllm import VLLM, environment, lora_rank
from mixdistill.commands import faults
from mixdistill.errors import MissingExtra
from mixdistill.recipe import build
from mixdistill.types import Request


def test_without_vllm_the_pip_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"^vllm: not installed; run: pip install 'mixdistill\[vllm\]'$"):
        list(VLLM(tiny.student(tmp_path)).generate([Request(prompt="3 4")]))


def test_no_requests_load_nothing():
    assert list(VLLM("not loaded").generate(iter([]))) == []


def test_vllm_is_never_told_to_report_how_it_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "0")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    found = environment()
    assert (found["VLLM_NO_USAGE_STATS"], found["DO_NOT_TRACK"]) == ("1", "1")
    assert found["VLLM_CPU_KVCACHE_SPACE"] == "7", "what the user set stays"


def test_ranks_are_rounded_up_to_what_vllm_takes():
    assert [lora_rank(r) for r in (1, 2, 8, 9, 512)] == [1, 8, 8, 16, 512]


def test_a_study_that_needs_vllm_says_so_before_it_runs(raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    assert faults.without_vllm(build(raw)) == []
    raw["teachers"]["long"] = {"backend": "openai", "model": "lab:s", "serve": "vllm"}
    raw["students"]["s"]["backend"] = "vllm"
    monkeypatch.setattr(faults, "find_spec", lambda name: None)
    line = "vllm: not installed, and teachers.long, students.s need it; run: pip install 'mixdistill[vllm]'"
    assert faults.without_vllm(build(raw)) == [line]
    assert faults.of_models(build(raw)) == [line]
    monkeypatch.setattr(faults, "find_spec", lambda name: object())
    assert faults.without_vllm(build(raw)) == []


def test_a_served_model_that_is_nowhere_is_found_before_a_trace(raw: dict[str, Any]):
    raw["teachers"]["long"] = {"backend": "openai", "model": "./no/where", "serve": "vllm"}
    raw["teachers"]["short"] = {"backend": "vllm", "model": "./not/there"}
    found = [line.partition(",")[0] for line in faults.of_models(build(raw)) if not line.startswith("vllm")]
    assert found == ["teachers.long.model: no such folder", "teachers.short.model: no such folder"]


def test_rows_of_another_sampler_are_other_rows(raw: dict[str, Any]):
    def options(**student: Any) -> dict[str, Any]:
        raw["students"]["s"] = {"model": "lab:s", **student}
        return evaluate._sampling_options(build(raw), ["s", "base"])

    plain, engine = options(), options(backend="vllm")
    assert "backend" not in plain and engine["backend"] == "vllm"
    assert options(serve="vllm")["backend"] == "a vLLM server"
    assert options(backend="vllm", backend_options={"enforce_eager": True, "concurrency": 9}) == engine
    assert options(backend="vllm", backend_options={"max_model_len": 300}) != engine
    assert options(serve="vllm") == options(serve={"engine": "vllm", "enforce_eager": True})
    assert options(serve="vllm") != options(serve={"engine": "vllm", "max_model_len": 300})


def test_a_number_out_of_the_environment_is_one_and_nothing_leaves_it_to_vllm():
    made = VLLM("m", tensor_parallel_size="2", max_model_len="512")  # ty: ignore[invalid-argument-type]
    assert (made.engine_options["tensor_parallel_size"], made.engine_options["max_model_len"]) == (2, 512)
    assert VLLM("m", engine={"tensor_parallel_size": "4"}).engine_options["tensor_parallel_size"] == 4
    assert "tensor_parallel_size" not in VLLM("m", tensor_parallel_size=None).engine_options
