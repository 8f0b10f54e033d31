"""Examples are run, and say what the package says."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest

import tiny
from mixdistill import pipeline
from mixdistill.progress import Log
from mixdistill.recipe import load, parse_yaml
from mixdistill.store import Store
from mixdistill.types import Complexity, Example, Outcome, Problem, Score, Trace, Verdict

ROOT = Path(__file__).parent.parent
OWN = sorted((ROOT / "examples").glob("own_*.py"))


def example(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = [
    "problems.train.limit=640",
    "problems.eval.signs.limit=100",
    "problems.eval.signs.skip=500",
    "evaluate.sampling.max_tokens=320",
    "seeds=[0]",
    "students={s: {model: 'lab:s', train: {learning_rate: 1.5e-3}}}",
    "arms={short: {short: 1}, mix-long: {long: 0.2, short: 0.8}}",
    "contrasts={mix_or_short: [mix-long, short]}",
    "primary={contrast: mix_or_short, benchmark: signs}",
]


def test_the_flat_loop_gives_the_pipelines_number_for_the_same_cell(tmp_path):
    pytest.importorskip("trl")
    recipe, store = load("demo-quick", SMALL), Store(tmp_path / "run")
    assert not pipeline.run(recipe, store, watcher=Log(), workers=1)
    loop = example("flat_loop")
    for arm, long in (("short", 0.0), ("mix-long", 0.2)):
        scores = store.read(store.folder("evaluate", "s", arm, "0", "signs"), Score, "scores")
        whole = next(s for s in scores if s.max_tokens is None and s.group == "all")
        assert whole.correct > 0  # a student that learned nothing would agree with anything
        assert loop.run("s", long, 0, 640, 100, 500) == whole.accuracy


def docstring(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert text
    return text


def shown(name: str) -> dict[str, Any]:
    """The recipe's lines that an example's docstring shows."""
    lines = docstring(ROOT / "examples" / f"{name}.py").splitlines()
    block = [line for line in lines if line.startswith("    ")]
    return parse_yaml(textwrap.dedent("\n".join(block)), name)


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def problems(folder: Path, rows: list[dict[str, Any]], evaluation: int = 4) -> dict[str, Any]:
    """The `problems` section: the last rows are the benchmark."""
    return {
        "train": {"source": write(folder / "train.jsonl", rows[:-evaluation])},
        "eval": {"held": {"source": write(folder / "held.jsonl", rows[-evaluation:])}},
    }


def study(model: str, **sections: Any) -> Any:
    small = {"num_train_epochs": 1, "max_length": 1024}
    return tiny.study(model, train=small, budget={"per_update": 4}, seeds=1, **sections)


def whole(recipe: Any, root: Path) -> Store:
    """A study carried out to its end, the page included."""
    store, _ = tiny.run(recipe, root)
    assert (store.folder("report") / "index.html").exists()
    return store


@pytest.fixture
def bytes_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny student that reads any text, in the folder from which the examples' paths are given."""
    pytest.importorskip("trl")
    monkeypatch.chdir(ROOT)
    return tiny.byte_student(tmp_path / "student")


def test_there_is_an_example_of_every_seam():
    assert [f.stem for f in OWN] == ["own_backend", "own_metric", "own_mixture", "own_verifier"]


@pytest.mark.parametrize("file", OWN, ids=lambda f: f.stem)
def test_an_extension_is_at_most_twenty_lines_below_its_docstring(file: Path):
    text = file.read_text(encoding="utf-8")
    end = ast.parse(text).body[0].end_lineno
    code = [line for line in text.splitlines()[end:] if line.strip()]
    assert 1 <= len(code) <= 20


def test_own_verifier_accepts_what_is_within_the_tolerance_that_the_recipe_names(bytes_student, tmp_path):
    miles = [{"prompt": f"How many km are {n} miles?", "answer": f"{n * 1.609344:.5f} km"} for n in range(3, 23)]
    fine = [{"prompt": m["prompt"], "completion": f"About {float(m['answer'][:-3]):.2f} km."} for m in miles]
    rough = [{"prompt": m["prompt"], "completion": f"<think>by 1.61</think>{n * 1.61:.2f} km"}
             for n, m in zip(range(3, 23), miles, strict=True)]  # fmt: skip
    rough[0]["completion"] = "<think>by 8/5</think>4.8 km"  # 0.58 % less: fine by default, and too little here
    rough[1]["completion"] = "<think>by 2</think>8 km"  # 4 miles are 6.4 km
    rough[2]["completion"] = "<think>hm</think>I do not know."
    teachers = {
        name: {"backend": "recorded", "model": write(tmp_path / f"{name}.jsonl", rows), "complete": True}
        for name, rows in (("long", rough), ("short", fine))
    }
    parts = {"problems": problems(tmp_path, miles), "teachers": teachers, "evaluate": {"caps": []}}
    store = whole(study(bytes_student, **parts, **shown("own_verifier")), tmp_path / "run")
    verdicts = store.read(store.folder("verify", "long"), Verdict, "verdicts")
    wrong = [Outcome.INCORRECT, Outcome.INCORRECT, Outcome.NO_ANSWER]
    assert [v.outcome for v in verdicts] == wrong + [Outcome.CORRECT] * (len(miles) - 4 - len(wrong))
    assert store.marker(store.folder("verify", "short"))["counts"] == {"correct": len(miles) - 4}
    assert verdicts[1].explanation == "off by 24.27%"
    assert verdicts[1].version != "", "a file without VERSION is known by its content"


def test_own_backend_teaches_what_it_can_and_has_no_trace_of_the_rest(bytes_student, tmp_path):
    asked = [{"prompt": f"What is {n} % of 240?", "answer": f"{n * 2.4:g}"} for n in range(5, 80, 5)]
    strange = {"prompt": "What is the capital of France?", "answer": "0"}
    parts = {"problems": problems(tmp_path, [strange, *asked]), "verify": {"verifier": "math"}}
    recipe = study(bytes_student, **parts, **shown("own_backend"), evaluate={"caps": []})
    store = whole(recipe, tmp_path / "run")
    traces = store.read(store.folder("generate", "long"), Trace, "traces")
    assert len(traces) == len(asked) - 4
    assert traces[0].reasoning == "1 % of 240 is 2.4.\n5 times 2.4 is 12.00."
    assert store.marker(store.folder("generate", "long"))["counts"]["absent"] == 1
    counts = store.marker(store.folder("verify", "short"))["counts"]
    assert counts == {"correct": len(traces)}


def test_a_file_with_an_own_backend_may_be_moved_and_nothing_is_bought_again(bytes_student, tmp_path):
    asked = [{"prompt": f"What is {n} % of 240?", "answer": f"{n * 2.4:g}"} for n in range(5, 50, 5)]
    parts = {"problems": problems(tmp_path, asked), "verify": {"verifier": "math"}}
    recipe = study(bytes_student, **parts, **shown("own_backend"))
    tiny.run(recipe, tmp_path / "run", "generate")
    moved = tmp_path / "own_backend.py"
    shutil.copy(ROOT / "examples" / moved.name, moved)
    teachers = shown("own_backend")["teachers"]
    for teacher in teachers.values():
        teacher["backend"] = f"{moved}:Percent"
    _, ran = tiny.run(study(bytes_student, **parts, teachers=teachers), tmp_path / "run", "generate")
    assert ran == []
    moved.write_text(moved.read_text() + "\nCHANGED = True\n")  # another program, so another teacher
    with pytest.raises(pipeline.Refused, match="generate/long was made otherwise: backend_version was"):
        tiny.run(study(bytes_student, **parts, teachers=teachers), tmp_path / "run", "generate")


def test_own_mixture_gives_the_easy_problems_to_the_long_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    pytest.importorskip("trl")
    model = tiny.student(tmp_path / "student")
    lines = shown("own_mixture")
    parts = {"arms": lines["arms"], "contrasts": {"gain": ["easy-long", "each_pure"]}}
    store = whole(study(model, **parts), tmp_path / "run")
    rows = store.read(store.folder("mix", "t", "easy-long", "0"), Example, "examples")
    order = [p.id for p in store.read(store.folder("problems"), Problem, "train")]
    assert [r.problem_id for r in rows] == order, "the order of the problems, not that of the mixture"
    lengths = {
        r.problem_id: len(r.reasoning.split())
        for r in store.read(store.folder("mix", "t", "long", "0"), Example, "examples")
    }
    easy = [lengths[r.problem_id] for r in rows if r.teacher == "long"]
    hard = [lengths[r.problem_id] for r in rows if r.teacher == "short"]
    assert len(easy) == len(hard) == len(rows) / 2
    assert max(easy) <= min(hard)


def test_own_metric_stands_in_the_table_of_every_teacher(bytes_student, tmp_path):
    asked = [{"prompt": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(16)]
    thought = "<think>It is {0}. Wait, let me check: it is {1}.</think>{1}"
    teachers = {
        name: {
            "backend": "recorded",
            "complete": True,
            "model": write(
                tmp_path / f"{name}.jsonl",
                [{"prompt": a["prompt"], "completion": text.format(n, n + 1)} for n, a in enumerate(asked)],
            ),
        }
        for name, text in (("long", thought), ("short", "{1}"))
    }
    parts = {"problems": problems(tmp_path, asked), "teachers": teachers, "verify": {"verifier": "math"}}
    store = whole(study(bytes_student, **parts, **shown("own_metric")), tmp_path / "run")
    for teacher, value in (("long", 100 * 2 / 10), ("short", None)):
        rows = store.read(store.folder("analyze", teacher), Complexity, "complexity")
        assert {r.metrics["second_thoughts"] for r in rows} == {value}
