"""What `lm-eval` prints and refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tiny
from mixdistill import cli
from mixdistill.commands.lm_eval import checked, crosscheck, evaluated, export, written
from mixdistill.errors import DataError, StageError, StoreError
from mixdistill.recipe import render


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run in which the untuned student alone was asked."""
    root = tmp_path_factory.mktemp("work")
    study = tiny.study(tiny.student(root / "student"), evaluate={"caps": []})
    tiny.failures(study, root / "run", "evaluate")
    (root / "run" / "recipe.yaml").write_text(render(study))
    return root


@pytest.fixture
def run(made: Path, monkeypatch) -> Path:
    monkeypatch.chdir(made)
    return Path("run")


def test_what_is_written_is_listed_with_how_to_go_on(run: Path, tmp_path: Path):
    facts = export(run, "base", tmp_path / "out", student="t", seed=None, benchmark="signs")
    lines = written(facts, 100).plain.splitlines()
    out = tmp_path / "out"
    assert lines[0] == f"mixdistill_signs, 10 problems, is in {out}"
    assert [line.split()[0] for line in lines[1:7]] == facts["files"] == [line.split()[0] for line in lines[1:7]]
    assert {p.name for p in out.iterdir()} == {*facts["files"]}
    assert lines[-2:] == [
        f"  sh {out}/run.sh",
        f"  mixdistill lm-eval run base --student t --benchmark signs --check {out}/results/*/samples_*.jsonl",
    ]
    with pytest.raises(StoreError) as raised:
        export(run, "base", out)
    assert str(raised.value) == f"{out}: holds something already; name a folder that is new or empty with --out"


def test_counts_and_differences_are_shown(run: Path, tmp_path: Path):
    export(run, "base", tmp_path / "out")
    file = tmp_path / "out" / "samples_mixdistill_signs.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows[3:]:
        row["resps"] = [["A + +"]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:9]))
    found = crosscheck(run, "base", file)
    lines = checked(found, 100).plain.splitlines()
    assert lines[:6] == [
        "t/base on signs: 9 completions",
        "       3  the same text",
        "       6  other tokens, and no reason was found",
        "  strict verdicts: the same on 3 of 3 completions that are alike (0 correct here, 0 there)",
        "  flexible verdicts: the same on 3 of 3 completions that are alike (0 correct here, 0 there)",
        "  1 completions are here alone",
    ]
    assert lines[8].startswith(f"{rows[3]['doc']['id']}  unexplained: at token 0, ")
    assert lines[10] == "  there  'A + +'"
    assert lines[-3:] == [
        "Not a check of all: 1 of 10 completions are not there.", "", "Not everything is explained.",
    ]  # fmt: skip


def test_a_part_of_the_samples_is_no_check(run: Path, tmp_path: Path):
    export(run, "base", tmp_path / "out")
    rows = (tmp_path / "out" / "samples_mixdistill_signs.jsonl").read_text().splitlines(keepends=True)
    for name, kept in (("part", rows[:4]), ("whole", rows)):
        (tmp_path / f"samples_{name}_2026.jsonl").write_text("".join(kept))
    (tmp_path / "results_2026.json").write_text("{}")
    runner = CliRunner()
    result = runner.invoke(cli.app, ["lm-eval", "run", "base", "--check", f"{tmp_path}/samples_part_2026.jsonl"])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "Not a check of all: 6 of 10 completions are not there."
    result = runner.invoke(cli.app, ["lm-eval", "run", "base", "--check", f"{tmp_path}/samples_whole_2026.jsonl"])
    assert (result.exit_code, "Not " in result.stdout) == (0, False)


def test_our_own_export_is_refused_as_a_check(run: Path, tmp_path: Path):
    export(run, "base", tmp_path / "out")
    file = tmp_path / "out" / "samples_mixdistill_signs.jsonl"
    with pytest.raises(DataError) as raised:
        crosscheck(run, "base", file)
    assert str(raised.value) == (
        f"{file}: is our own export, row for row, with no results_*.json of lm_eval beside it; give the "
        "samples_*.jsonl that lm_eval wrote, in the folder where it did"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"arm": "lng"}, "run: no arm 'lng'; did you mean 'long'?"),
        ({"arm": "base", "seed": 0}, "run: base has no seed (got --seed 0); leave it out"),
        ({"arm": "long", "seed": 7}, "run: no seed 7 of t; known: 0, 1"),
        ({"arm": "base", "benchmark": "math"}, "run: no benchmark 'math'; known: signs"),
        ({"arm": "base", "student": "u"}, "run: no student 'u'; known: t"),
    ],
)
def test_what_is_not_there_is_refused(run: Path, words: dict, said: str):
    with pytest.raises(DataError) as raised:
        evaluated(run, **words)
    assert str(raised.value) == said


def test_an_arm_that_is_not_evaluated_yet_is_refused(run: Path):
    with pytest.raises(StageError, match=r"run/evaluate/t/short/1/signs: not evaluated yet; run the recipe first"):
        evaluated(run, "short", seed=1)
