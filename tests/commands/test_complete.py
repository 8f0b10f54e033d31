"""What the shell offers after <TAB>."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mixdistill.commands import complete
from mixdistill.recipe import shipped


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for run in ("runs/demo", "runs/other", "runs/half"):
        (tmp_path / run / "problems").mkdir(parents=True)
        (tmp_path / run / "recipe.yaml").write_text("")
    for run in ("runs/demo", "runs/other"):
        (tmp_path / run / "problems" / "done.json").write_text("{}")
    (tmp_path / "my.yaml").write_text("")
    (tmp_path / "my.txt").write_text("")
    (tmp_path / ".hidden.yaml").write_text("")


def test_recipes_are_names_files_and_the_folders_they_may_be_in():
    assert complete.recipes("") == [*sorted(shipped()), "my.yaml", "runs/"]
    assert complete.recipes("demo-q") == ["demo-quick"]
    assert complete.recipes("m") == ["my.yaml"]
    assert complete.recipes("runs/demo/r") == ["runs/demo/recipe.yaml"]
    assert complete.recipes("nowhere/x") == []


def test_runs_are_the_folders_that_are_runs():
    assert complete.runs("") == ["runs/demo", "runs/other"]
    assert complete.runs("runs/o") == ["runs/other"]
    assert complete.runs("runs/h") == ["runs/half/"]


def test_the_shell_is_answered():
    code = "import sys; sys.argv = ['mixdistill']; from mixdistill.cli import main; main()"

    def offered(line: str) -> list[str]:
        env = {"_MIXDISTILL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        shown = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)} | env
        )
        return shown.stdout.split()

    assert offered("mixdistill run demo") == ["demo", "demo-full", "demo-quick"]
    assert offered("mixdistill check my") == ["my.yaml"]
    assert offered("mixdistill recipes long") == ["long-vs-short"]
    assert offered("mixdistill init --from demo-f") == ["demo-full"]
    for verb in ("status", "rm", "disagreements", "audit"):
        assert offered(f"mixdistill {verb} runs/d") == ["runs/demo"]
