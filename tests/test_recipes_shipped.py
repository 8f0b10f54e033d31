"""Every recipe that comes with the package loads, and none is forgotten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mixdistill
import tiny
import trained
from mixdistill.evidence.confound_table import confound_tables
from mixdistill.evidence.undertraining import alarms
from mixdistill.recipe import SHELVES, Recipe, load, render, shipped
from mixdistill.types import Example, Score

FOLDER = Path(mixdistill.__file__).parent / "recipes"
FILES = sorted(p for shelf in SHELVES for p in (FOLDER / shelf).iterdir() if p.is_file())
COUNT = 23
"""Raise this when a recipe is added, after reading what the tests say of it."""


def test_the_number_of_shipped_recipes_is_what_the_tests_think_it_is():
    assert len(FILES) == COUNT, [p.name for p in FILES]
    assert all(p.suffix == ".yaml" for p in FILES)
    assert set(shipped().values()) == set(FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_it_loads_is_named_like_its_file_and_describes_itself(file: Path):
    (called,) = [name for name, shelved in shipped().items() if shelved == file]
    recipe = load(called)
    assert recipe.name == called.replace("/", "-"), "which names its run folder"
    assert recipe.description
    assert file.read_text().startswith("# "), "its header is its manual"
    assert recipe.primary is not None, "a shipped study declares what decides"


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_it_reads_back_from_its_whole_form(file: Path, tmp_path: Path):
    recipe = load(file)
    (tmp_path / file.name).write_text(render(recipe), encoding="utf-8")
    assert load(tmp_path / file.name) == recipe


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_every_arm_is_compared_with_something(file: Path):
    recipe = load(file)
    assert all(len(recipe.group_of(arm)) > 1 for arm in recipe.arms)


ROOT = Path(__file__).parent.parent
COUNTS = {
    "support-routing": {
        "long": {"correct": 161, "incorrect": 12, "no_answer": 12, "truncated": 4},
        "short": {"correct": 156, "incorrect": 18, "no_answer": 6, "truncated": 9},
    },
    "order-lines": {
        "long": {"correct": 162, "incorrect": 17, "no_answer": 3, "truncated": 12},
        "short": {"correct": 171, "incorrect": 11, "no_answer": 7, "truncated": 5},
    },
}
"""Verdicts on the made-up traces: the flaws that examples/make_task_data.py drew, of the problems that are apart from
the evaluation's: 189 and 194 of 200."""


def test_the_made_up_data_are_what_their_script_writes():
    script = ROOT / "examples" / "make_task_data.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", COUNTS)
def test_the_verifier_finds_the_flaws_that_were_put_into_the_traces(name: str, tmp_path: Path):
    store, _ = tiny.run(load(name), tmp_path / "run", "generate", "verify")
    assert {t: store.marker(store.folder("verify", t))["counts"] for t in ("long", "short")} == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_a_study_without_mathematics_runs_to_its_end_from_any_folder(name: str, tmp_path: Path, monkeypatch):
    pytest.importorskip("trl")
    monkeypatch.chdir(tmp_path)
    (benchmark,) = load(name).problems.eval
    small = ["seeds=[0]", "problems.train.limit=24", f"problems.eval.{benchmark}.limit=6"]
    store, _ = tiny.run(load(name, small), tmp_path / "run")
    assert (store.folder("report") / "index.html").exists()
    for arm in ("base", "long/0", "short/0", "mix-long/0"):
        scores = store.read(store.folder("evaluate", "bytes", *arm.split("/"), benchmark), Score, "scores")
        assert scores[0].examples == 6
    again = load(store.root / "recipe.yaml")  # its copy still leads to the data, and nothing is done anew
    assert tiny.run(again, tmp_path / "run")[1] == []


# -- OpenR1, in its layout and with rows made up here -----------------------------------------------------------------


def openr1_row(n: int) -> dict[str, object]:
    """Two generations, the second of some problems wrong or cut; every fifth human solution gives no answer."""
    problem, answer = f"What is ${n} + {n}$?", str(2 * n)
    end = ("It is", None) if n % 4 == 1 else (f"It is $\\boxed{{{2 * n + (n % 4 == 2)}}}$.", "stop")
    return {
        "problem": problem,
        "solution": "See the figure." if n % 5 == 0 else f"Twice ${n}$ is $\\boxed{{{answer}}}$.",
        "answer": answer,
        "problem_type": "Algebra",
        "source": "made_up",
        "uuid": f"row-{n}",
        "is_reasoning_complete": [True, n % 4 != 1],
        "generations": [
            f"<think>\nTwo of {n}. So {answer}.\n</think>\n\nTwice {n}.\n\nIt is $\\boxed{{{answer}}}$.",
            f"<think>\nHm, {n}.\n</think>\n\n{end[0]}" if end[1] else f"<think>\nHm, {n} and",
        ],
        "correctness_math_verify": [True, n % 4 not in (1, 2)],
        "correctness_llama": None,
        "finish_reasons": ["stop", "stop" if end[1] else "length"] if n % 2 else None,
        "correctness_count": 1,
        "messages": [{"role": "user", "content": problem}, {"role": "assistant", "content": "<think>\n"}],
    }


def test_openr1_gives_a_long_and_a_short_teacher_without_a_server(tmp_path: Path):
    (tmp_path / "openr1.jsonl").write_text("".join(json.dumps(openr1_row(n)) + "\n" for n in range(1, 21)))
    held = [{"problem": f"What is {n} - 1?", "answer": str(n - 1), "level": 1 + n % 5} for n in range(90, 96)]
    (tmp_path / "math500.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    places = ("problems.train.source", "teachers.long.path", "teachers.short.path")
    local = [f"{place}={tmp_path / 'openr1.jsonl'}" for place in places]
    local += [f"problems.eval.math500.source={tmp_path / 'math500.jsonl'}", "students.qwen-1.5b.model=lab:bytes"]
    local += ["budget.per_update=256", "seeds=1"]
    store, _ = tiny.run(load("openr1-long-vs-short", local), tmp_path / "run", "generate", "verify", "analyze", "mix")
    both = ("long", "short")
    marker = {(s, t): store.marker(store.folder(s, t)) or {} for s in ("generate", "verify") for t in both}
    joins = {t: marker["generate", t]["facts"]["join"] for t in both}
    assert [(j["matched"], j["rows"], j["traces"], j["rows_bad"]) for j in joins.values()] == [
        (20, 20, 40, {}),
        (20, 20, 20, {}),
    ]
    assert {t: marker["generate", t]["counts"] for t in both} == {
        "long": {"traces": 40, "stop": 35, "length": 5},
        "short": {"traces": 20, "stop": 20},
    }
    assert {t: marker["verify", t]["counts"] for t in both} == {
        "long": {"correct": 30, "incorrect": 5, "truncated": 5},
        "short": {"correct": 16, "no_answer": 4},
    }
    for arm in ("long", "short", "mix-long", "mix-long-50"):
        examples = store.read(store.folder("mix", "qwen-1.5b", arm, "0"), Example, "examples")
        assert {e.teacher for e in examples} == {"long": {"long"}, "short": {"short"}}.get(arm, {"long", "short"})
        assert len({e.problem_id for e in examples}) == 16, "those that both solve"


PUBLISHED = "paper/table-3-as-published"
ROWS = {"mix-long": 5329, "mix-large": 4494}
"""What the published sets come to without the hundredth that was held out."""


@pytest.mark.parametrize(("mix", "pure", "updates"), [("mix-long", 666, 20), ("mix-large", 561, 11)])
def test_published_mix_turns_red_what_its_header_says(mix: str, pure: int, updates: int):
    recipe = load(PUBLISHED)
    arms = recipe.group_of(mix)
    cells = {("qwen-3b", arm, 42): _published(recipe, arm, rows=ROWS[mix]) for arm in arms}
    assert [cells["qwen-3b", arm, 42]["facts"]["updates"] for arm in arms] == [pure, pure, updates]
    (table,) = [t for t in confound_tables(recipe, cells) if t.student == "qwen-3b" and mix in t.rows[0].values]
    red = [row.name for row in table.rows if row.state == "red"]
    assert f"# mixdistill marks red: {', '.join(red)};\n" in shipped()[PUBLISHED].read_text(encoding="utf-8")
    (alarm,) = alarms(recipe, cells)
    assert (alarm.severity, alarm.values) == ("red", {mix: f"{updates} updates, no warm-up"})


def test_a_recipe_as_published_is_the_controlled_one_but_for_its_training_and_decoding():
    for name in shipped():
        if not name.endswith("-as-published"):
            continue
        theirs, ours = load(name), load(name.replace("as-published", "controlled"))
        assert theirs.teachers == ours.teachers and theirs.published == ours.published
        assert list(theirs.students) == list(ours.students)
        assert {a: arm.weights for a, arm in theirs.arms.items()} == {a: arm.weights for a, arm in ours.arms.items()}
        assert (theirs.contrasts, theirs.primary) == (ours.contrasts, ours.primary)
        assert (theirs.seeds, ours.seeds) == ([42], 5)
        assert (theirs.problems.train.ask, ours.problems.train.ask) == (None, "paper"), "theirs saw the bare problem"
        assert theirs.problems.eval["math500"].ask == "paper"
        header = shipped()[name].read_text(encoding="utf-8")
        assert "# Trained on the bare problem and asked with the paper's long prompt" in header
        assert ("arms.large.budget.per_update=8" in header) == ("large" in theirs.arms and "mix-large" in theirs.arms)
        assert theirs.problems.dev is None and ours.problems.dev is not None
        assert not any(arm.train or arm.budget for arm in ours.arms.values()), (
            "controlled: no arm has settings of its own"
        )
        assert (theirs.train.overlong, ours.train.overlong) == ("truncate", "drop")


def _published(recipe: Recipe, arm: str, rows: int) -> dict[str, Any]:
    """What the trainer would record of an arm: a cosine without warm-up adds up to half of its peak an update."""
    train, budget = recipe.train_of("qwen-3b", arm), recipe.budget_of(arm)
    updates = int(rows * train.num_train_epochs / budget.per_update)
    examples = updates * budget.per_update
    return trained.marker(
        options={"train": {"learning_rate": train.learning_rate, "lr_scheduler_type": train.lr_scheduler_type}},
        **train.model_dump(include={"max_length", "overlong", "packing"}),
        updates=updates,
        examples=examples,
        epochs=examples / rows,
        distinct_problems=rows,
        peak_learning_rate=train.learning_rate,
        learning_rate_integral=updates * train.learning_rate / 2,
        warmup_updates=0,
        truncated=50 if arm in ("long", "mix-long", "mix-large") else 0,
        teacher_share_mean=recipe.weights(arm, "qwen-3b"),
    )
