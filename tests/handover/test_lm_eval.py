"""A greedy evaluation for lm-evaluation-harness: what is written is what it reads, asks, grades and writes itself."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from mixdistill import prompts
from mixdistill.errors import DataError, StageError
from mixdistill.handover import lm_eval, lm_eval_grading
from mixdistill.handover.lm_eval import Evaluated, Key
from mixdistill.handover.lm_eval_check import check
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.types import Message, Problem

PROBLEMS = 20
LIMIT = 20
"""Cuts some of the completions."""
BASE = Key("t", "base", None, "signs")


def study(**sections: Any) -> Recipe:
    evaluation = {"sampling": {"temperature": 0, "max_tokens": LIMIT}, "caps": [], **sections.pop("evaluate", {})}
    return tiny.study("lab:teacher-small", problems=tiny.problem_sets(8, PROBLEMS), evaluate=evaluation, **sections)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Store:
    """The untuned student's evaluation; the others wait for their trainings, which nobody makes."""
    root = tmp_path_factory.mktemp("run")
    assert not [line for line in tiny.failures(study(), root, "evaluate") if "/base/" in line]
    return Store(root)


@pytest.fixture
def evaluated(run: Store) -> Evaluated:
    return lm_eval.read(study(), run, BASE)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_harness_says_the_same_and_writes_the_same_file(evaluated: Evaluated, tmp_path: Path):
    """The real one, in a process of its own: about half a minute, most of it imports."""
    pytest.importorskip("lm_eval")
    lm_eval.write(evaluated, tmp_path / "out")
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "0"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", str(tmp_path / "out" / "run.sh")],
        capture_output=True, text=True, timeout=300, env={**os.environ, **offline, "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (theirs,) = (tmp_path / "out" / "results").rglob("samples_*.jsonl")
    cut = {p for p, t in evaluated.traces.items() if t.finish_reason == "length"}
    assert 0 < len(cut) < PROBLEMS, "some are cut and some end by themselves"
    ours = lines(tmp_path / "out" / "samples_mixdistill_signs.jsonl")
    for there, here in zip(lines(theirs), ours, strict=True):
        if here["doc"]["id"] in cut:  # its generation_config says max_new_tokens, which the harness lets it have
            assert there["resps"][0][0].startswith(here["resps"][0][0])
            here |= {"resps": there["resps"], "filtered_resps": there["filtered_resps"]}
        assert there == here
    found = check(evaluated, theirs)
    assert (found.compared, found.reasons) == (PROBLEMS, {"same": PROBLEMS - len(cut), "our limit": len(cut)})
    assert (found.notes, found.passed) == ([], True)
    assert [(v.reading, v.compared, v.agree) for v in found.verdicts] == [
        ("strict", PROBLEMS, PROBLEMS), ("flexible", PROBLEMS, PROBLEMS),
    ]  # fmt: skip
    assert 0 < found.verdicts[0].correct[0] < PROBLEMS, "verdicts that are all alike would show little"


def test_the_task_is_greedy_and_stops_where_we_do(evaluated: Evaluated, tmp_path: Path):
    said = lm_eval.write(evaluated, tmp_path)
    assert said == {
        "out": str(tmp_path), "task": "mixdistill_signs", "problems": PROBLEMS, "start": f"sh {tmp_path}/run.sh",
        "files": ["mixdistill_signs.yaml", "problems.jsonl", "grade.py", "grading.json",
                  "samples_mixdistill_signs.jsonl", "run.sh"],
    }  # fmt: skip
    text = (tmp_path / "mixdistill_signs.yaml").read_text()
    assert 'generation_kwargs: {"do_sample": false, "max_gen_toks": 20, "until": ["<eos>"]}\n' in text
    assert (tmp_path / "run.sh").read_text().splitlines()[3] == (
        f"lm_eval run --model hf --model_args pretrained={evaluated.model},dtype=float32,add_bos_token=False "
        "--tasks mixdistill_signs --include_path . --batch_size 16 --log_samples --output_path results "
        "--apply_chat_template"
    )
    assert lines(tmp_path / "problems.jsonl")[0] == {
        "id": evaluated.problems[0].id, "prompt": evaluated.problems[0].prompt, "answer": evaluated.problems[0].answer,
    }  # fmt: skip


def test_settings_of_the_model_that_we_do_not_apply_are_turned_off(evaluated: Evaluated):
    facts = {**evaluated.facts, "ignored": {"repetition_penalty": 1.05}}
    assert replace(evaluated, facts=facts).generation["repetition_penalty"] == 1.0


def test_a_prompt_that_is_no_single_turn_is_written_as_the_student_sees_it(evaluated: Evaluated):
    turns = [Message(role="system", content="Be brief."), Message(role="user", content="Q 1 T 1 :")]
    asked = replace(evaluated, problems=[Problem(id="a", prompt=turns, answer="A +")], asked={"a": turns})
    assert not asked.templated
    assert asked.document(asked.problems[0]) == {"id": "a", "prompt": "Be brief.\nQ 1 T 1 :\n", "answer": "A +"}
    assert lm_eval.command(asked).endswith("--output_path results")
    switched = replace(evaluated, template=replace(evaluated.template, chat_template_kwargs={"enable_thinking": False}))
    assert not switched.templated, "the harness would not know what the template was given"


def test_the_limit_leaves_room_for_the_longest_prompt(evaluated: Evaluated):
    longest = max(len(evaluated.template.prompt_ids(p.prompt)) for p in evaluated.problems)
    decoded = [{"max_tokens": 20, "context": 512}, {"max_tokens": 510, "context": 512}, {"max_length": 100}]
    limits = [replace(evaluated, facts={**evaluated.facts, "decoding": d}).max_tokens for d in decoded]
    assert limits == [20, 512 - longest, 100 - longest]


def test_a_sampled_evaluation_is_refused(run: Store, tmp_path: Path):
    store = Store(Path(shutil.copytree(run.root, tmp_path / "run")))
    folder = store.folder("evaluate", *BASE.folder)
    marker = store.marker(folder)
    assert marker
    store.mark(folder, {**marker, "options": {**marker["options"], "k": 4}})
    with pytest.raises(DataError) as raised:
        lm_eval.read(study(), store, BASE)
    assert str(raised.value) == (
        f"{store.root}: t/base was sampled (temperature 0.0, k 4), and no other program can draw the same; evaluate a "
        "run with evaluate: {k: 1, sampling: {temperature: 0}}"
    )


def test_what_is_not_evaluated_or_has_no_model_is_refused(run: Store):
    with pytest.raises(StageError, match="evaluate/t/long/0/signs: not evaluated yet; run the recipe first"):
        lm_eval.read(study(), run, Key("t", "long", 0, "signs"))


def test_a_verifier_that_asks_a_model_is_refused(run: Store):
    judged = study(verify={"verifier": "judge", "model": "m"})
    with pytest.raises(DataError, match="its first verifier asks a model, and the harness cannot"):
        lm_eval.read(judged, run, BASE)


# -- grading there ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(evaluated: Evaluated, tmp_path: Path) -> Path:
    lm_eval.write(evaluated, tmp_path)
    return tmp_path


def test_our_own_completions_get_our_own_verdicts(evaluated: Evaluated, folder: Path):
    for sample in lm_eval.samples(evaluated):
        graded = lm_eval_grading.grade(folder, sample["doc"], sample["resps"][0][0])
        assert graded == {"strict": sample["strict"], "flexible": sample["flexible"]}


def test_a_completion_that_was_cut_is_known_by_its_tokens(evaluated: Evaluated):
    template = evaluated.template
    text = " ".join(["3"] * 19)
    assert lm_eval_grading.as_limited(template, text, 19) == (text, "length")
    assert lm_eval_grading.as_limited(template, text, 20) == (text, "stop")
    longer = f"{text} 4 5"
    assert lm_eval_grading.as_limited(template, longer, 19) == (text, "length"), (
        "where a model's own limit took precedence"
    )


def test_documents_are_the_problems_in_order(evaluated: Evaluated, folder: Path):
    found = lm_eval_grading.problems(folder)["test"]
    assert found.column_names == ["id", "prompt", "answer"]
    assert found["id"][:] == [p.id for p in evaluated.problems]


def test_a_benchmark_of_its_own_is_asked_and_graded_as_it_says(tmp_path: Path):
    evaluation = {"source": "lab:signs", "split": "eval", "limit": 4, "ask": "boxed", "verify": {"verifier": "exact"}}
    own = {"train": {"source": "lab:signs", "split": "train", "limit": 4}, "eval": {"signs": evaluation}}
    recipe = tiny.study(tiny.byte_student(tmp_path / "student"), problems=own, evaluate={"caps": []})
    tiny.failures(recipe, tmp_path / "run", "evaluate")
    found = lm_eval.read(recipe, Store(tmp_path / "run"), BASE)
    asked = prompts.asking("boxed")
    assert [found.document(p)["prompt"] for p in found.problems] == [asked(p.prompt) for p in found.problems]
    assert found.verifier.name == "exact"
    lm_eval.write(found, tmp_path / "out")
    graded = json.loads((tmp_path / "out" / "grading.json").read_text())
    assert [p["prompt"] for p in graded["problems"].values()] == [p.prompt for p in found.problems], (
        "as it was graded here"
    )
    (tmp_path / "out" / "results_signs.json").write_text("{}")  # as if the harness had written both
    assert check(found, tmp_path / "out" / "samples_mixdistill_signs.jsonl").passed
