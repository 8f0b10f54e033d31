"""The trainer trains on what it is given and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixdistill.sections import Train
from mixdistill.training import trainer


def test_a_process_that_sees_several_gpus_trains_on_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The others are for models that are sampled on several."""

    class Seeing(trainer.SFTConfig):
        def __post_init__(self) -> None:
            super().__post_init__()
            self._n_gpu = seen

    def gpus() -> Any:
        return trainer.arguments(Train(), seed=0, out=tmp_path, updates=1).n_gpu

    monkeypatch.setattr(trainer, "SFTConfig", Seeing)
    seen = 4
    assert gpus() == 1
    seen = 0
    assert gpus() == 0
