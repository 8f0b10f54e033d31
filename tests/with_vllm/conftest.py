"""Real vLLM, where it is installed: `make test-vllm`. On a CPU, with lab models that it has kernels for."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = [] if find_spec("vllm") else ["test_*.py"]

if find_spec("vllm"):
    # Before anything imports vLLM: no engine process of its own, which takes 20 s to start.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.update(VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1", HF_HUB_OFFLINE="1")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the lab models `s` and `teacher-small`."""
    from widened import widened

    from mixdistill.lab import models

    folder = tmp_path_factory.mktemp("lab")
    for name in ("s", "teacher-small"):
        widened(models.path(name), folder / name)
    return folder
