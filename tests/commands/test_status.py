"""Where a run stands: while it goes on, after it was killed, after it failed, on another machine."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import DATA_STAGES, Notes, Watching
from mixdistill import pipeline
from mixdistill.commands import status
from mixdistill.errors import StoreError
from mixdistill.recipe import build
from mixdistill.store import Store

ELSEWHERE = "pid 7 on elsewhere, started 2026-01-02 03:04:05\n"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(Path("runs/tiny"))


def go(raw: dict[str, Any], store: Store, stages: Any = DATA_STAGES, **more: Any) -> list[str]:
    return pipeline.run(build(raw), store, stages=stages, watcher=Watching(), **more)


def stage(store: Store, name: str) -> dict[str, Any]:
    return next(s for s in status.describe(store.root)["stages"] if s["stage"] == name)


def states(store: Store, name: str) -> dict[str, int]:
    found = stage(store, name)
    return {s: found[s] for s in status.STATES if found[s]}


def test_done_missing_and_blocked_are_told_apart(raw, store: Store, inline):
    go(raw, store)
    facts = status.describe(store.root)
    assert facts["problems"] == {"train": 12, "signs": 4}
    assert [(s["stage"], s["done"], s["wanted"]) for s in facts["stages"]] == [
        ("generate", 2, 2),
        ("verify", 2, 2),
        ("analyze", 2, 2),
        ("mix", 2, 2),
        ("train", 0, 2),
        ("evaluate", 0, 3),
        ("report", 0, 1),
    ]
    assert states(store, "train") == {"missing": 2}
    assert states(store, "evaluate") == {"missing": 1, "blocked": 2}
    assert stage(store, "verify")["counts"] == {"correct": 24}
    assert stage(store, "generate")["seconds"] >= 0
    assert facts["command"] == "mixdistill run runs/tiny/recipe.yaml"
    assert facts["report"] is None


def test_what_is_printed(raw, store: Store, inline, monkeypatch: pytest.MonkeyPatch):
    go(raw, store)
    lines = status.text(status.describe(store.root), 100).splitlines()
    assert lines[0] == "run        runs/tiny: tiny"
    assert lines[2] == "problems   train 12, signs 4"
    assert [line.split()[:2] for line in lines[5:13]] == [
        ["stage", "done"],
        ["generate", "2/2"],
        ["verify", "2/2"],
        ["analyze", "2/2"],
        ["mix", "2/2"],
        ["train", "0/2"],
        ["evaluate", "0/3"],
        ["report", "0/1"],
    ]
    assert lines[7].endswith("  24 of 24 correct")
    assert lines[11].endswith("  1 missing, 2 blocked")
    assert lines[-1] == "go on      mixdistill run runs/tiny/recipe.yaml"
    assert max(map(len, lines)) <= 100


def test_the_command_that_goes_on_repeats_folder_and_limit(raw, store: Store, inline, tmp_path: Path):
    go(raw, Store(Path("r")), limit=5)
    command = status.describe(Path("r"))["command"]
    assert command == "mixdistill run r/recipe.yaml --out r --limit 5"
    assert states(Store(Path("r")), "generate") == {"done": 2}


def test_a_user_error_is_kept_as_failed_with_its_words(raw, store: Store, inline):
    raw["teachers"]["long"]["model"] = "lng"
    go(raw, store)
    assert states(store, "generate") == {"done": 1, "failed": 1}
    (unit,) = stage(store, "generate")["units"]
    why = "lab: no scripted teacher of that name (got 'lng'); did you mean 'long'?"
    assert unit == {"unit": "generate/long", "state": "failed", "why": why, "traceback": None}
    lines = status.text(status.describe(store.root), 100).splitlines()
    assert lines[-2:] == [f"failed     generate/long: {why}", "go on      mixdistill run runs/tiny/recipe.yaml"]
    (blocked,) = stage(store, "verify")["units"]
    assert blocked == {"unit": "verify/long", "state": "blocked", "why": "waits for generate/long"}


def test_a_mistake_of_ours_is_failed_with_the_place_of_its_traceback(raw, store: Store, notes: Notes, inline):
    notes.do("raise")
    go(raw, store)
    (unit,) = stage(store, "generate")["units"]
    assert unit == {
        "unit": "generate/short",
        "state": "failed",
        "why": "ConnectionError: the server hung up",
        "traceback": "runs/tiny/generate/short/traceback.txt",
    }
    assert "; traceback in runs/tiny/generate/short/traceback.txt" in status.text(status.describe(store.root), 200)
    notes.stop("raise")
    go(raw, store)
    assert states(store, "generate") == {"done": 2}


def test_a_run_that_goes_on_is_seen_and_after_a_kill_it_is_resumable(raw, store: Store, notes: Notes):
    Path("tiny.yaml").write_text(yaml.safe_dump(raw))
    notes.do("wait")
    command = [sys.executable, "-m", "mixdistill", "generate", "tiny.yaml", "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not (notes.folder / "worker").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            facts = status.describe(store.root)
            assert states(store, "generate")["running"] == 1
        finally:
            process.kill()
    assert facts["held_by"].startswith(f"pid {process.pid} on {socket.gethostname()}, started ")
    assert [b["label"] for b in facts["progress"]][-1] == "generate/short"
    text = status.text(facts, 100)
    assert f"now        running: pid {process.pid} on {socket.gethostname()}, started " in text
    assert "generate/short: " in text
    assert "go on" not in text
    facts = status.describe(store.root)
    assert facts["held_by"] is None
    assert facts["progress"] == []
    assert "resumable" in states(store, "generate")
    assert "\nnow        not running\n" in status.text(facts, 100)


def test_looking_changes_nothing(raw, store: Store, inline):
    go(raw, store)
    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*")}
    with store.lock():
        assert status.describe(store.root)["held_by"]
    status.text(status.describe(store.root), 100)
    status.overview(Path("runs"))
    after = {p: p.stat().st_mtime_ns for p in store.root.rglob("*")}
    changed = [p.name for p in after if after[p] != before.get(p)]
    assert changed == [".lock"]


def test_more_samples_than_there_are_is_resumable(raw, store: Store, inline):
    go(raw, store)
    raw["teachers"]["long"]["samples"] = 2
    (store.root / "recipe.yaml").write_text(yaml.safe_dump(raw))
    (unit,) = stage(store, "generate")["units"]
    assert unit == {"unit": "generate/long", "state": "resumable", "why": "12 more are wanted"}


def test_what_another_recipe_made_is_changed_and_the_key_is_named(raw, store: Store, inline):
    go(raw, store)
    raw["teachers"]["long"]["sampling"] = {"temperature": 0.5}
    (store.root / "recipe.yaml").write_text(yaml.safe_dump(raw))
    assert states(store, "generate") == {"done": 1, "changed": 1}
    lines = status.text(status.describe(store.root), 100).splitlines()
    assert lines[-2] == "changed    generate/long: sampling.temperature was None, is now 0.5"


def test_a_copy_on_another_machine_is_read(raw, store: Store, notes: Notes, inline, tmp_path: Path):
    go(raw, store)
    (store.root / ".lock").write_text(ELSEWHERE)
    shutil.copytree(store.root, tmp_path / "copy")
    (tmp_path / "own.py").unlink()  # the backend that the recipe names
    copy = Store(tmp_path / "copy")
    told = status.describe(copy.root)
    assert [s["done"] for s in told["stages"][:4]] == [2, 2, 2, 2]
    assert told["held_by"] is None
    text = status.text(told, 200)
    assert "\nnow        not running\n" in text
    assert f"unsure     generate is told from its files alone ({tmp_path}/own.py: no such file" in text


def test_what_was_set_aside_is_told_with_the_command_that_deletes_it(raw, store: Store, inline):
    go(raw, store, ("generate",))
    raw["teachers"]["long"]["sampling"] = {"temperature": 0.5}
    go(raw, store, ("generate",), fresh=True)
    aside = status.describe(store.root)["set_aside"]
    assert (aside["path"], aside["units"]) == ("runs/tiny/set-aside", ["generate/long"])
    (line,) = [x for x in status.text(status.describe(store.root), 200).splitlines() if x.startswith("set aside")]
    size = status.human(aside["bytes"])
    assert line == (
        f"set aside  generate/long ({size} in runs/tiny/set-aside); mixdistill rm runs/tiny --set-aside deletes it"
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("import no_such", "ModuleNotFoundError: No module named")],
)
def test_a_module_that_cannot_be_imported_is_said_in_a_line(raw, store: Store, inline, tmp_path: Path, body, why):
    own = tmp_path / "own_verifier.py"
    own.write_text("from mixdistill.lab.domain import verify\n")
    raw["verify"] = {"verifier": f"{own}:verify"}
    go(raw, store)
    own.write_text(body + "\n")
    for name in [n for n in sys.modules if n.startswith("mixdistill_user_")]:
        del sys.modules[name]
    verify = stage(store, "verify")
    assert verify["unplanned"].startswith(why)
    assert verify["done"] == 2
    assert f"verify is told from its files alone ({why}" in status.text(status.describe(store.root), 1000)


def test_what_is_damaged_is_said_in_a_line(raw, store: Store, inline):
    go(raw, store)
    folder = store.folder("verify", "long")
    (folder / "done.json").write_text("{}")
    verify = stage(store, "verify")
    assert verify["unplanned"] == f"{folder}/done.json: holds no 'tables'; delete it to redo this unit"
    assert (verify["done"], verify["missing"]) == (1, 1)


def test_files_that_vanish_meanwhile_are_tolerated(raw, store: Store, inline, monkeypatch: pytest.MonkeyPatch):
    go(raw, store)
    shutil.rmtree(store.folder("verify"))
    (store.folder("problems") / "train.parquet").unlink()
    found = status.describe(store.root)
    assert found["stages"][0]["done"] == 2
    assert "generate is told from its files alone" in status.text(found, 200)
    assert states(store, "verify") == {"missing": 2}
    assert status.size(store.root / "gone") == 0


def test_a_folder_that_is_no_run_is_refused(store: Store):
    with pytest.raises(StoreError) as e:
        status.describe(Path("nowhere"))
    assert str(e.value) == (
        "nowhere: not a run folder (no recipe.yaml or no problems in it); give the folder that --out named"
    )


def test_the_table_of_runs(raw, store: Store, inline):
    assert status.overview_text(status.overview(Path("runs"))) == "No runs in runs/. The first: mixdistill demo"
    go(raw, store)
    go(raw, Store(Path("runs/first")), ("generate",))
    Path("runs/notes").mkdir()
    shutil.copytree("runs/first", "runs/old")
    Path("runs/old/recipe.yaml").write_text("name: old\nold_key: 1\n")
    found = {Path(r["run"]).name: r for r in status.overview(Path("runs"))}
    assert list(found) == ["first", "old", "tiny"]
    assert (found["tiny"]["stage"], found["tiny"]["done"], found["tiny"]["wanted"]) == ("mix", 8, 14)
    assert (found["first"]["stage"], found["first"]["done"], found["first"]["running"]) == ("generate", 2, False)
    lines = status.overview_text(list(found.values())).splitlines()
    assert lines[0].split() == ["run", "reached", "done", "last", "size"]
    assert lines[1].split()[:3] == ["runs/first", "generate", "2/14"]
    assert lines[2].startswith("runs/old    recipe.yaml: ")
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(("count", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB")])
def test_sizes_in_words(count: float, words: str):
    assert status.human(count) == words


@pytest.mark.parametrize(("seconds", "words"), [(3.42, "3.4 s"), (123, "2:03"), (3723.4, "1:02:03")])
def test_times_in_words(seconds: float, words: str):
    assert status.clock(seconds) == words
