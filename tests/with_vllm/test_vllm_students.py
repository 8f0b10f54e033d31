"""The folder of a trained student, its card beside the weights, in the real engine."""

from __future__ import annotations

import shutil
from pathlib import Path

from rows import answers, requests

import tiny
from mixdistill.backends.vllm import VLLM
from mixdistill.export import Cell
from mixdistill.handover import cards
from mixdistill.store import Store


def test_a_folder_with_a_card_gives_the_same_rows(lab: Path, tmp_path: Path):
    plain, carded = str(lab / "teacher-small"), Path(shutil.copytree(lab / "teacher-small", tmp_path / "model"))
    facts = {"updates": 3, "final_loss": 1.5}
    cards.write_model_card(tiny.study(plain), Store(tmp_path), Cell("t", "long", 0), carded, facts)
    assert (carded / "README.md").read_text().startswith("---\n")
    wanted, fast = requests(20), {"dtype": "float32", "enforce_eager": True}
    assert answers(VLLM(str(carded), **fast), wanted) == answers(VLLM(plain, **fast), wanted)
