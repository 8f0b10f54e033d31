"""What `compare` prints and refuses."""

import json
import shutil
from pathlib import Path

import pytest

import tiny
from mixdistill.commands.compare import compare, text
from mixdistill.errors import DataError, StoreError
from mixdistill.evidence import verdicts
from mixdistill.recipe import render
from mixdistill.store import Store
from two_runs import edit, finished, recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    model = tiny.student(tmp_path_factory.mktemp("student"))
    store, _ = tiny.run(study := tiny.study(model, evaluate={"caps": []}), tmp_path_factory.mktemp("run"))
    (store.root / "recipe.yaml").write_text(render(study))
    return store.root


@pytest.fixture
def runs(made: Path, tmp_path: Path, monkeypatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    return [Path(shutil.copytree(made, name)) for name in ("one", "two", "three")]


def _shown(runs: list[Path], width: int = 120, **words) -> list[str]:
    return text(compare(runs, **words), width).plain.splitlines()


def test_differences_base_and_confounds_are_shown(runs, monkeypatch):
    monkeypatch.setattr(verdicts, "FEWEST", 10)
    for seed in (0, 1):
        tiny.plant(Store(runs[0]), f"long/{seed}", 9 - seed)
        tiny.plant(Store(runs[1]), f"long/{seed}", 1)
    for run in runs[:2]:
        tiny.plant(Store(run), "base", 4)
    for path in runs[1].glob("train/**/done.json"):
        marker = json.loads(path.read_text())
        marker["facts"]["device"] = "H200"
        path.write_text(json.dumps(marker))
    lines = _shown(runs[:2])
    assert lines[:4] == ["A  one  tiny", "B  two  tiny", "", "A minus B, read by the flexible rule"]
    assert " ".join(lines[4].split()) == "student A B A - B these checkpoints this data verdict"
    assert lines[5].split()[:5] == ["long", "t", "85.0", "10.0", "+75.0"] and lines[5].endswith("higher in A")
    assert lines[7].startswith("long_cot_gap (long - short)  t        +85.0  +10.0  +75.0")
    assert "base of t on signs: 40.0 % in A, 40.0 % in B, the same on all 10 problems, as it must be." in lines
    assert "Seeds of one number are a pair: the same problems, updates and settings in both runs." in lines
    (head,) = [
        n for n, line in enumerate(lines) if line.startswith("What else is not the same for t: 1 red, 0 notes, of")
    ]
    assert lines[head + 1] == "  red  device: A cpu, B H200. The arms were not trained with the same device."


def test_a_base_that_should_be_the_same_and_is_not_is_an_alarm(runs):
    tiny.plant(Store(runs[0]), "base", 4)
    said = " ".join(" ".join(_shown(runs[:2])).split())
    assert (
        "base of t on signs: 40.0 % in A, 0.0 % in B, and 4 of 10 problems differ, though weights, settings and "
        "problems are the same: device, versions or rounding move scores by themselves."
    ) in said


def test_a_narrow_terminal_gets_intervals_below_each_row(runs):
    lines = _shown(runs[:2], width=80)
    assert all(len(line) <= 80 for line in lines)
    row = next(n for n, line in enumerate(lines) if line.startswith("long  "))
    assert lines[row + 1].startswith("    these checkpoints [")
    below = " ".join(" ".join(lines[row + 1 : row + 3]).split())
    assert "]: can't tell (fewer than 100 problems)" in below


def test_the_first_is_held_against_each_of_the_others(runs):
    found = compare(runs)
    assert [run.letter for run in found.runs] == ["A", "B", "C"]
    assert [pair.runs for pair in found.pairs] == [("A", "B"), ("A", "C")]
    assert [line for line in _shown(runs) if " minus " in line] == [
        "A minus B, read by the flexible rule",
        "A minus C, read by the flexible rule",
    ]


def test_a_run_that_goes_on_says_how_far_it_is(runs):
    (runs[1] / "evaluate/t/long/1/signs/done.json").unlink()
    assert _shown(runs[:2])[:2] == ["A  one  tiny", "B  two  tiny  1 of 5 evaluations are not there yet"]


def test_arms_of_other_names_can_be_held_against_each_other(runs):
    lines = _shown(runs[:2], arm="long", against="short")
    assert lines[5].startswith("long, short  t ")
    assert [line for line in lines if line.startswith("long")] == [lines[5]]


def test_a_smoke_run_is_told_and_decides_nothing(runs, monkeypatch):
    monkeypatch.setattr(verdicts, "FEWEST", 10)
    for seed in (0, 1):
        tiny.plant(Store(runs[0]), f"long/{seed}", 9 - seed)
        tiny.plant(Store(runs[1]), f"long/{seed}", 1)
    recipe(Store(runs[1]), smoke=True)
    lines = _shown(runs[:2])
    said = "B is a smoke run: its models, data and traces are made up, so no number here is a result."
    assert lines[:4] == ["A  one  tiny", "B  two  tiny", said, ""]
    assert {d.verdict for d in compare(runs[:2]).pairs[0].differences} == {"can't tell (smoke run)"}
    assert [run.smoke for run in compare(runs).runs] == [False, True, False]


def test_arms_of_another_budget_are_told_in_words(tmp_path):
    arms = {"long": {"long": 1}, "short": {"weights": {"short": 1}, "train": {"learning_rate": 5e-3}}}
    also = {"also": ["loss_tokens"], "problems": "each"}
    one = finished(tmp_path, arms=arms, budget=also, seeds=1)
    two = Path(shutil.copytree(one, tmp_path / "two"))
    said = text(compare([one, two]), 120).plain
    assert "\nlong (by loss tokens)        " in said
    assert "\nWhat else is not the same for t: nothing\n" in said
    assert "\nWhat else is not the same for t, by loss tokens: nothing\n" in said
    assert "\nMore than the data in the gaps of either run by itself for t: 3 red, alike in A and B\n" in said
    assert "settings of one arm: A long none, A short learning_rate 0.005. The recipe gives" in said
    edit(Store(two), "train/t/long@loss_tokens", facts={"device": "H200"})
    said = " ".join(text(compare([one, two]), 120).plain.split())
    assert "device: A cpu, B long (by loss tokens) H200, B short (by loss tokens) cpu." in said
    assert "@" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one"], "compare: takes two runs or more (got 1); name the other one too"),
        (["one", "two", "./one"], "one: named twice, and a run is no evidence about itself; name another one"),
        (
            ["one", "gone"],
            "gone: not a run folder (no recipe.yaml or no problems in it); give the folder that --out named",
        ),
    ],
)
def test_what_is_no_pair_of_runs_is_refused(runs, words: list[str], said: str):
    with pytest.raises((DataError, StoreError)) as raised:
        compare([Path(word) for word in words])
    assert str(raised.value) == said


def test_an_arm_that_was_not_evaluated_is_refused_where_it_is_not(runs):
    with pytest.raises(DataError) as raised:
        compare(runs[:2], "lng")
    assert str(raised.value) == "one: no arm 'lng' was evaluated; did you mean 'long'?"
    with pytest.raises(DataError) as raised:
        compare(runs[:2], "long", "mix")
    assert str(raised.value) == "two: no arm 'mix' was evaluated; known: base, long, short"


def test_what_is_printed_as_json_is_one_comparison(runs):
    said = json.loads(compare(runs[:2]).model_dump_json())
    assert list(said) == ["runs", "pairs"]
    assert [d["name"] for d in said["pairs"][0]["differences"]] == ["long", "short", "long_cot_gap"]
    assert {row["state"] for row in said["pairs"][0]["tables"][0]["rows"]} == {"same"}
