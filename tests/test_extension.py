"""More of anything extends a whole run: what is there is used as it is, and nothing is bought or trained again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import tiny
from mixdistill import pipeline, units
from mixdistill.errors import Refused
from mixdistill.evidence.gather import gather
from mixdistill.store import Store
from mixdistill.types import Trace

pytest.importorskip("trl")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory) -> Path:
    return tiny.run(tiny.study(model, seeds=1), tmp_path_factory.mktemp("finished") / "run")[0].root


@pytest.fixture
def root(finished, tmp_path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def kept(root: Path) -> dict[str, tuple[int, int]]:
    """Every sealed table and model file with its time of writing and its place on the disk."""
    files = [p for p in root.rglob("*") if p.suffix in (".parquet", ".safetensors")]
    return {str(p.relative_to(root)): (p.stat().st_mtime_ns, p.stat().st_ino) for p in files}


def extend(root: Path, study: Any) -> set[str]:
    """Labels of the units that ran; the report, which reads everything, left out."""
    return {label for label in tiny.run(study, root)[1] if label != "report/"} - {"report"}


def test_the_same_study_again_does_nothing_at_all(model, root):
    before = kept(root)
    assert tiny.run(tiny.study(model, seeds=1), root)[1] == []
    assert kept(root) == before


def test_one_more_seed_is_one_more_cell_an_arm(model, root):
    before = kept(root)
    new = {f"{stage}/t/{arm}/1" for stage in ("mix", "train") for arm in ("long", "short")}
    assert extend(root, tiny.study(model, seeds=2)) == new | {f"evaluate/t/{arm}/1/signs" for arm in ("long", "short")}
    after = kept(root)
    assert {k: v for k, v in after.items() if k in before and not k.startswith(("report", "problems"))} == {
        k: v for k, v in before.items() if not k.startswith(("report", "problems"))
    }


def test_one_more_arm_is_one_more_cell(model, root):
    arms = {"long": {"long": 1}, "short": {"short": 1}, "mix-long": {"long": 0.2, "short": 0.8}}
    contrasts = {"long_cot_gap": ["long", "short"], "mix_gain": ["mix-long", "each_pure"]}
    cell = "t/mix-long/0"
    drawn = {f"mix/t/{arm}/0" for arm in arms}  # how many updates there are follows from all that are compared
    assert extend(root, tiny.study(model, seeds=1, arms=arms, contrasts=contrasts)) == {
        *drawn, f"train/{cell}", f"evaluate/{cell}/signs",
    }  # fmt: skip


def test_one_more_benchmark_is_evaluated_alone(model, root):
    problems = tiny.problem_sets(24)
    problems["eval"]["fresh"] = {"source": "lab:signs", "split": "eval", "skip": 50, "limit": 6}
    assert extend(root, tiny.study(model, seeds=1, problems=problems)) == {
        "evaluate/t/base/fresh", "evaluate/t/long/0/fresh", "evaluate/t/short/0/fresh",
        "analyze/long", "analyze/short",  # whether a trace holds a problem of it
    }  # fmt: skip


def test_one_more_student_leaves_the_first_alone(model, root, tmp_path):
    other = tiny.student(tmp_path / "other", seed=1)
    ran = extend(root, tiny.study(model, seeds=1, students={"t": {"model": model}, "u": {"model": other}}))
    assert {x for x in ran if x.startswith(("train", "evaluate"))} == {
        "train/u/long/0", "train/u/short/0",
        *(f"evaluate/u/{cell}/signs" for cell in ("base", "long/0", "short/0")),
    }  # fmt: skip
    assert not {x for x in ran if x.startswith(("generate", "verify"))}


def test_more_evaluation_samples_are_drawn_beside_the_old_ones(model, root):
    folder = root / "evaluate" / "t" / "long" / "0" / "signs"
    first = Store(root).read(folder, Trace, "traces")
    assert {x.split("/")[0] for x in extend(root, tiny.study(model, seeds=1, evaluate={"k": 2}))} == {"evaluate"}
    both = Store(root).read(folder, Trace, "traces")
    assert [t for t in both if t.sample == 0] == first
    assert len(both) == 2 * len(first)


@pytest.mark.parametrize("more", ["problems", "samples"])
def test_other_training_data_is_refused_before_anything_is_bought_or_redone(model, root, more):
    """Data cannot be added to a training that is over."""
    teachers = {name: {"backend": "scripted", "model": name, "samples": 3} for name in ("long", "short")}
    sections = {"problems": tiny.problem_sets(32)} if more == "problems" else {"teachers": teachers}
    study, before = tiny.study(model, seeds=1, **sections), kept(root)
    with pytest.raises(Refused) as e:
        tiny.run(study, root)
    what = "the training problems" if more == "problems" else "teachers.long.samples, teachers.short.samples"
    assert str(e.value) == (
        f"{root}: {what} changed, and trainings were made before; other problems or samples change the training data, "
        "and the traces are kept; use --fresh to set the old trainings aside and train on them, or --out for a new run"
    )
    assert kept(root) == before
    _, ran = tiny.run(study, root, fresh=True)
    assert {x.split("/")[0] for x in ran} == {*pipeline.STAGES} - {"tune"}
    asked = 32 if more == "problems" else 3 * 24
    assert len(Store(root).read(root / "generate" / "long", Trace, "traces")) == asked
    aside = {k.removeprefix("set-aside/"): v for k, v in kept(root).items() if k.startswith("set-aside/train")}
    assert aside == {k: v for k, v in before.items() if k.startswith("train")}


def test_another_limit_is_refused_the_same_way(model, root):
    before, study = kept(root), tiny.study(model, seeds=1)
    with mock.patch.object(pipeline, "Local", tiny.Inline), pytest.raises(Refused) as e:
        pipeline.run(study, Store(root), watcher=tiny.Silent(), limit=5)
    assert str(e.value).startswith(f"{root}: --limit (none, now 5) changed, and trainings were made before; ")
    assert kept(root) == before


def test_a_failed_cell_stops_no_other_and_the_report_says_what_is_missing(model, root, tmp_path, monkeypatch):
    real = units.module("train").run

    def run(unit, recipe, store):
        if unit.key == ("t", "short", "1"):
            raise MemoryError("no room")
        return real(unit, recipe, store)

    monkeypatch.setattr("mixdistill.train.run", run)
    study = tiny.study(model, seeds=2)
    said = tiny.failures(study, root)
    assert [line.partition(";")[0] for line in said] == [
        "train/t/short/1: MemoryError: no room",
        "evaluate/t/short/1/signs: not run",
    ]
    evidence = gather(study, Store(root))
    assert evidence.missing == ["t/short/1: not trained; run the recipe again"]
    assert "t/short/1: not trained" in (root / "report" / "index.html").read_text()
    assert "missing: t/short/1: not trained" in (root / "report" / "summary.txt").read_text()
    assert (evidence.cells_wanted, len(evidence.cells)) == (4, 3)
