"""Only runs are deleted, only when asked for, never while they are in use."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mixdistill.commands import rm
from mixdistill.errors import StoreError
from mixdistill.store import Store


@pytest.fixture
def run(tmp_path: Path) -> Path:
    root = tmp_path / "runs" / "a"
    for name in ("problems/done.json", "recipe.yaml", "train/s/long/0/done.json", "set-aside/train/s/long/0/model"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x" * 500)
    return root


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_goes_is_said_and_then_gone(run: Path, capsys: pytest.CaptureFixture[str]):
    assert rm.remove(run, only_set_aside=False, yes=True) == f"Deleted {run}: 2.0 kB."
    assert not run.exists()
    assert run.parent.exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{run}: 2.0 kB"
    assert "  train/         500 bytes" in lines


def test_what_is_not_ours_stays(run: Path, capsys: pytest.CaptureFixture[str]):
    (run / "notes.txt").write_text("mine")
    said = rm.remove(run, only_set_aside=False, yes=True)
    assert said == f"Deleted {run}: 2.0 kB, but for what is not mixdistill's: notes.txt."
    assert "  notes.txt        4 bytes  (not made by mixdistill; stays)" in capsys.readouterr().out.splitlines()
    assert [p.name for p in run.iterdir()] == ["notes.txt"]


def test_an_audit_goes_with_its_run_and_is_named(run: Path, capsys: pytest.CaptureFixture[str]):
    (run / "audit").mkdir()
    (run / "audit" / "sheet.csv").write_text("x" * 100)
    rm.remove(run, only_set_aside=False, yes=True)
    assert "  audit/         100 bytes" in capsys.readouterr().out.splitlines()
    assert not run.exists()


def test_what_was_set_aside_goes_alone(run: Path):
    assert rm.remove(run, only_set_aside=True, yes=True) == f"Deleted {run}/set-aside: 500 bytes."
    assert (run / "train" / "s" / "long" / "0" / "done.json").exists()
    assert not (run / "set-aside").exists()
    assert rm.remove(run, only_set_aside=True, yes=True) == f"{run}: nothing was set aside in it"


def test_without_a_terminal_nothing_goes_unasked(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(StoreError) as e:
        rm.remove(run, only_set_aside=False, yes=False)
    assert str(e.value) == f"{run}: not deleted, since nobody can be asked here; say --yes"
    assert (run / "recipe.yaml").exists()


@pytest.mark.parametrize(
    ("answer", "gone"), [("y\n", True), ("yes\n", True), ("\n", False), ("n\n", False), ("", False)]
)
def test_a_person_is_asked(run: Path, monkeypatch: pytest.MonkeyPatch, capsys, answer: str, gone: bool):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    said = rm.remove(run, only_set_aside=False, yes=False)
    assert said == (f"Deleted {run}: 2.0 kB." if gone else "Nothing was deleted.")
    assert run.exists() is not gone
    assert capsys.readouterr().out.endswith("Delete all of it? [y/N] ")


@pytest.mark.parametrize("lacking", ["problems/done.json", "recipe.yaml"])
def test_a_folder_that_is_no_run_is_left_alone(run: Path, lacking: str):
    (run / lacking).unlink()
    with pytest.raises(StoreError) as e:
        rm.remove(run, only_set_aside=False, yes=True)
    assert str(e.value) == (
        f"{run}: not a run folder (no recipe.yaml or no problems in it); give the folder that --out named"
    )
    assert (run / "train").exists()


def test_a_run_called_by_its_bare_name_is_pointed_out(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run.parent.parent)
    with pytest.raises(StoreError) as e:
        rm.remove(Path("a"), only_set_aside=False, yes=True)
    assert str(e.value) == "a: not a run folder (no recipe.yaml or no problems in it); did you mean runs/a?"


def test_a_run_in_use_is_left_alone(run: Path):
    with Store(run).lock(), pytest.raises(StoreError, match=r": in use by pid \d+ on "):
        rm.remove(run, only_set_aside=False, yes=True)
    assert (run / "train").exists()


def test_a_link_is_not_followed(run: Path):
    link = run.parent / "link"
    link.symlink_to(run)
    with pytest.raises(StoreError) as e:
        rm.remove(link, only_set_aside=False, yes=True)
    assert str(e.value) == f"{link}: a link; name the folder that it leads to ({run})"
    assert run.exists()


def test_links_inside_go_and_what_they_lead_to_stays(run: Path, tmp_path: Path):
    kept = tmp_path / "model"
    kept.mkdir()
    (kept / "weights").write_text("w")
    (run / "linked").symlink_to(kept)
    rm.remove(run, only_set_aside=False, yes=True)
    assert (kept / "weights").read_text() == "w"


def test_a_deletion_that_stopped_can_be_called_again(run: Path, monkeypatch: pytest.MonkeyPatch):
    def stuck(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as m, pytest.raises(StoreError) as e:
        m.setattr(rm.shutil, "rmtree", stuck)
        rm.remove(run, only_set_aside=False, yes=True)
    assert str(e.value) == f"{run}/set-aside: cannot be deleted (Permission denied); mend that and say the same again"
    assert rm.remove(run, only_set_aside=False, yes=True).startswith("Deleted")
    assert not run.exists()
