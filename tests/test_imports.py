"""What is imported, and what can be done without what."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixdistill.pipeline import STAGES

HELP = {"annotated_doc", "attr", "markdown_it", "mdurl", "pygments", "rich", "shellingham", "typer"}
"""Third-party modules that the command line may load before it knows what is wanted: typer and what it brings.
Rich looks whether attrs is there, which comes with aiohttp."""
VERB_HELP = HELP | {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}
"""Typer converts the arguments of a verb with pydantic where that is installed, even for its help."""
HEAVY = {"torch", "transformers", "datasets", "trl", "polars", "numpy", "scipy", "aiohttp", "math_verify", "jinja2"}

LOADED = """
import contextlib, io, sys
before = set(sys.modules)
import mixdistill
for words in {commands!r}:
    from mixdistill.cli import main
    sys.argv = ["mixdistill", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    assert "Usage: mixdistill" in out.getvalue(), words
top = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(n for n in top - sys.stdlib_module_names if n != "mixdistill" and not n.startswith("_")))
"""
VERBS = [
    "demo",
    "init",
    "recipes",
    "check",
    "doctor",
    "run",
    "fake",
    "status",
    "show",
    "compare",
    "ship",
    "export",
    "lm-eval",
    "rm",
    "disagreements",
    "audit",
    *STAGES,
    "lab",
]


def loaded(*commands: list[str]) -> set[str]:
    """Third-party modules that are there after these commands."""
    code = LOADED.format(commands=commands)
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_else():
    assert loaded() == set()


def test_help_loads_what_the_command_line_needs_and_nothing_else():
    assert loaded(["--help"]) <= HELP


def test_the_bare_command_loads_no_more_than_the_help_of_a_verb():
    code = LOADED.format(commands=[[]]).replace('"Usage: mixdistill" in', '"mixdistill --help" in')
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(found) <= VERB_HELP


def test_the_help_of_every_verb_loads_pydantic_and_nothing_more():
    found = loaded(["--help"], *([verb, "--help"] for verb in VERBS), ["lab", "list", "-h"], ["lab", "build", "-h"])
    assert found <= VERB_HELP
    assert not VERB_HELP & HEAVY


def test_the_verbs_above_are_all_there_are():
    from mixdistill.cli import app

    groups = [g.name for g in app.registered_groups]
    assert sorted([*(c.name or c.callback.__name__ for c in app.registered_commands if c.callback), *groups]) == sorted(
        VERBS
    )


def test_no_module_but_the_trainer_loads_torch_when_it_is_imported():
    code = """
import importlib, pkgutil, sys
import mixdistill
names = [m.name for m in pkgutil.walk_packages(mixdistill.__path__, "mixdistill.") if not m.name.endswith("__main__")]
names = [n for n in names if n not in ("mixdistill.training.trainer", "mixdistill.training.shared_trainer")]
assert len(names) > 30
for name in names:
    importlib.import_module(name)
print(*({"torch", "trl", "datasets", "scipy", "numpy", "polars", "aiohttp", "math_verify"} & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []


# -- without torch ----------------------------------------------------------------------------------------------------

WITHOUT_TORCH = """
import sys
for name in ("torch", "trl", "accelerate", "datasets", "scipy"):
    sys.modules[name] = None
"""
DATA = """
import sys
from pathlib import Path
from mixdistill import pipeline, progress
from mixdistill.recipe import load
from mixdistill.store import Store
if __name__ == "__main__":
    stages = ("generate", "verify", "analyze", "mix")
    failures = pipeline.run(load("tiny.yaml"), Store(Path("run")), stages=stages, watcher=progress.Log(), workers=1)
    assert failures == [], failures
    assert sys.modules["torch"] is None
"""


@pytest.fixture
def bare(tmp_path: Path, raw: dict[str, Any]) -> Any:
    """Run Python in a folder with the recipe, where torch cannot be imported, in worker processes neither."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITHOUT_TORCH)
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    paths = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, cwd=tmp_path, env=env, timeout=120
        )

    return run


def test_the_data_stages_run_without_torch_and_training_names_the_pip_line(bare):
    assert bare("-c", "import torch").returncode == 1
    data = bare("data.py")
    assert data.returncode == 0, data.stderr
    assert "mix: 2 to do" in data.stderr
    train = bare("-m", "mixdistill", "train", "tiny.yaml", "--out", "run", "--workers", "1")
    assert train.returncode == 1
    said = [line for line in train.stderr.splitlines() if line.startswith("mixdistill: ")]
    assert [line.partition(": ")[2].partition(": ")[0] for line in said] == ["train/s/long/0", "train/s/short/0"]
    assert all(re.search(r": \w+: not installed; run: pip install 'mixdistill\[train\]'$", line) for line in said)
    assert "Traceback" not in train.stderr
