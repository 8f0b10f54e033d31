"""A warm process whose forks are killed, and what two run folders have in common."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent
MEASURED = {"seconds", "cost"}
"""Columns that no two runs share."""
MEASURED_FACTS = {"created", "seconds", "seconds_interval", "command", "when"}


class Zygote:
    """Carries out studies in forks of a warm process; see zygote.py."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(TESTS / "faults" / "zygote.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip

    def run(self, recipe: Path, root: Path, kill: dict[str, Any] | None = None) -> tuple[int, list[str]]:
        """(exit status, negative for a signal; the durable operations it made, in order)."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"recipe": str(recipe), "root": str(root), "kill": kill}) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        return said["status"], said["events"]

    def close(self) -> None:
        """End it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=30)


def outcome(root: Path) -> dict[str, Any]:
    """Everything a finished run folder says, without what is measured: tables, models, the report's facts."""
    import polars as pl

    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.startswith((".", "set-aside/")) or not path.is_file():
            continue
        if path.suffix == ".parquet":
            table = pl.read_parquet(path)
            found[name] = table.drop(MEASURED & set(table.columns)).to_dicts()
        elif path.suffix == ".safetensors" or name == "recipe.yaml":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif name == "report/report.json":
            found[name] = _facts(json.loads(path.read_text().replace(str(root), "run")))  # commands name the folder
        else:
            found[name] = "there"
    return found


def _facts(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _facts(v) for k, v in value.items() if k not in MEASURED_FACTS}
    return [_facts(v) for v in value] if isinstance(value, list) else value


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Names of what is not the same in both."""
    return sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))
