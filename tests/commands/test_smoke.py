"""Every shipped recipe runs to its end under --smoke, offline, in seconds; and nothing that comes out is a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixdistill import pipeline, recipe, verify
from mixdistill.commands import check, fake, gold, smoke
from mixdistill.errors import StoreError
from mixdistill.evidence.rows import Evidence
from mixdistill.page.wording import SMOKE
from mixdistill.recipe import Recipe, build, load, shipped
from mixdistill.store import Store
from mixdistill.types import Example, Outcome, Problem

Raw = dict[str, Any]


def run(recipe: str | Path, out: Path) -> Evidence:
    """The page's numbers after a whole smoke run."""
    said: list[str] = []
    code = smoke.carry_out(Path(recipe), None, out, pipeline.STAGES, say=said.append)
    assert code == 0, said
    return Evidence.model_validate_json((out / "report" / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_runs_to_its_end(name: str, tmp_path: Path, inline: None, monkeypatch):
    monkeypatch.delenv("MIXDISTILL_DATA", raising=False)
    evidence, real = run(name, tmp_path / "run"), load(name)
    made = load(tmp_path / "run" / "recipe.yaml")
    assert evidence.missing == []
    assert made.name == f"{real.name}-smoke"
    assert list(made.students) == list(real.students)[:2]
    assert (list(made.arms), made.contrasts, made.variants) == (list(real.arms), real.contrasts, real.variants)
    assert {c.updates for c in evidence.cells} <= {1, 2}
    assert len({c.seed for c in evidence.cells}) == 1
    assert max(a.problems for a in evidence.accuracies if a.benchmark in real.problems.eval) == 16
    assert {g.verdict for g in evidence.gaps} == {"can't tell (smoke run)"}
    assert len(evidence.details.published) == len(made.published)
    if (
        "as-published" in name
    ):  # all that its header says but the alarm, which two updates and one are too alike to raise
        rows = [row for table in evidence.confound_tables for row in table.rows]
        red = dict.fromkeys(row.name for row in rows if row.state == "red")
        header = shipped()[name].read_text(encoding="utf-8")
        assert f"# mixdistill marks red: {', '.join(red) or 'nothing'};\n" in header


def test_the_page_says_first_that_it_is_no_result(tmp_path: Path, inline: None, capsys):
    evidence = run("order-lines", tmp_path / "run")
    assert evidence.smoke
    assert (
        evidence.confounds[0].text == "Smoke run: models, data and traces are made up, so no number here is a result."
    )
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    markdown = (tmp_path / "run" / "report" / "report.md").read_text(encoding="utf-8")
    assert page.index(SMOKE) < page.index("<h2")
    assert markdown.startswith(f"# order-lines-smoke: No verdict.\n\n> **{SMOKE}**\n")
    assert " ".join(capsys.readouterr().out.split()).startswith(f"No verdict. {SMOKE}")


def test_a_second_run_does_nothing_again(tmp_path: Path, inline: None, capsys):
    run("order-lines", tmp_path / "run")
    capsys.readouterr()
    run("order-lines", tmp_path / "run")
    assert "train: 0 to do, 3 done before" in capsys.readouterr().err


@pytest.fixture
def large(raw: Raw) -> Recipe:
    """A recipe with everything that this machine lacks."""
    raw["problems"] = {
        "train": {"source": "some/set", "prompt": "task", "answer": "right", "answer_after": "####", "level": "hard"},
        "eval": {"other": {"source": "${NOT_SET}/other.jsonl", "part": [0, 0.5]}},
        "dev": {"source": "some/dev", "subset": "main"},
    }
    ask = {"backend": "vllm", "model": "big/model", "prompt": "boxed", "until_correct": 4, "max_samples": 8}
    recorded = {"backend": "recorded", "model": "m", "path": "some/traces", "prompt_column": "q"}
    raw["teachers"] = {
        "long": {**ask, "price": {"completion": 1}, "sampling": {"max_tokens": 16384}},
        "short": {**recorded, "completion_column": "a", "reasoning_column": "r", "finish_reason_column": "f"},
        "self": {"samples": 3},
    }
    raw["verify"] = {"verifier": "math"}
    raw["students"] = {
        "a": {"model": "x/7B", "serve": "vllm", "train": {"method": "qlora", "bf16": True, "max_length": 4096}},
        "b": {"model": "x/1B", "backend": "vllm", "backend_options": {"max_model_len": 9}, "seeds": 9},
        "c": {"model": "x/2B"},
    }
    raw["arms"] = {
        "long": {"long": 1},
        "short": {"short": 1},
        "mix-long": {"weights": {"long": 0.2, "short": 0.8}, "train": {"packing": True, "num_train_epochs": 1.5}},
        "self": {"self": 1},
    }
    raw["contrasts"] = {"long_cot_gap": ["long", "short"], "mix_gain": ["mix-long", "each_pure"]}
    raw["primary"] = {"contrast": "mix_gain", "benchmark": "other", "max_tokens": 512}
    raw["budget"] = {"unit": "loss_tokens", "per_update": 32768}
    raw["train"] = {"num_train_epochs": 3, "max_length": 8192, "num_processes": 8, "distributed": "fsdp", "bf16": True}
    raw["train"] |= {"attn_implementation": "flash_attention_2", "dev_checkpoints": 5, "report_to": ["wandb"]}
    raw["tune"] = {"learning_rate": [1e-5, 2e-5, 4e-5]}
    raw["evaluate"] = {"sampling": {"temperature": 0.6, "max_tokens": 16384}, "caps": [512, 2048], "k": 16}
    raw["published"] = [{"source": "Table 1", "student": s, "arm": "long", "points": 50} for s in ("a", "c")]
    return build(raw)


def test_what_this_machine_lacks_is_left_out_and_what_is_compared_stays(large: Recipe, tmp_path: Path):
    study = smoke.smoked(large, tmp_path)
    assert [s.model for s in study.students.values()] == ["lab:bytes"] * 2
    assert study.students["a"].serve is None and study.students["b"].backend == "transformers"
    assert [study.seeds_of(s) for s in study.students] == [[0], [0]]
    trained = study.train_of("a", "mix-long")
    assert (trained.method, trained.packing, trained.bf16, trained.num_processes) == ("lora", True, False, 1)
    assert (trained.attn_implementation, trained.report_to, trained.dev_checkpoints) == (None, [], 2)
    # Half the length in a student that has half of it, and half the epochs in an arm that has half of them.
    assert study.train.max_length // 2 == trained.max_length > 320
    assert (study.train.num_train_epochs, trained.num_train_epochs) == (2, 1)
    assert study.tune is not None and study.tune.learning_rate == [1e-5, 2e-5]
    assert study.evaluate.model_dump(include={"k", "caps"}) == {"k": 2, "caps": [8]}
    assert (study.evaluate.sampling.temperature, study.evaluate.sampling.max_tokens) == (0.6, 16)
    assert study.primary is not None and study.primary.max_tokens == 8
    assert list(study.teachers) == ["long", "short", "self@a", "self@b"]
    assert {t.backend for t in study.teachers.values()} == {"recorded"}
    assert [row.student for row in study.published] == ["a"]


def test_such_a_recipe_runs_to_its_end(large: Recipe, tmp_path: Path, inline: None):
    from mixdistill.commands.run import carry_out

    study = smoke.smoked(large, tmp_path / "run" / "fixtures")
    assert carry_out(study, None, tmp_path / "run", pipeline.STAGES, say=print) == 0
    store = Store(tmp_path / "run")
    markers = [store.marker(store.folder("train", *cell.split("/"))) or {} for cell in ("a/long/0", "b/self/0")]
    assert [m["facts"]["updates"] for m in markers] == [2, 2]
    rows = store.read(store.folder("mix", "b", "long", "0"), Example, "examples")
    assert len({row.problem_id for row in rows}) == 16


@pytest.mark.parametrize("verifier", ["math", "numeric", "exact", "choice", "json", "code"])
def test_the_verifier_accepts_what_is_made_up_for_it(verifier: str, large: Recipe, tmp_path: Path):
    raw = large.model_dump(mode="json", exclude_unset=True) | {"verify": {"verifier": verifier}}
    study = smoke.smoked(build(raw), tmp_path)
    found = gold.grade(study)
    assert found.problems == {"train": 16, "dev": 16, "other": 16}
    assert found.accepted == found.problems
    assert found.unused == {}


def test_a_judge_that_is_bought_is_played(raw: Raw, tmp_path: Path, monkeypatch):
    raw["problems"]["train"]["source"] = raw["problems"]["eval"]["signs"]["source"] = "some/set"
    judge = {"backend": "openai", "model": "big/judge", "base_url": "http://localhost:1/v1"}
    raw["verify"] = {"verifier": ["math", "judge"], "judge": judge, "audit": 1}
    study = smoke.smoked(build(raw), tmp_path)
    with fake.judges_played(study) as played:
        (problem, *_) = smoke.load_all(played.problems)[0]["train"]
        content = gold.phrasing(played)(problem) or ""
        trace = {"id": "t", "problem_id": problem.id, "author": "a", "content": content, "finish_reason": "stop"}
        (verdict,) = verify.grade(played, [(problem, verify.Trace(**trace))])
    assert verdict.outcome is Outcome.CORRECT


def test_nothing_is_written_into_a_folder_with_other_files(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match="holds something else than a run"):
        smoke.carry_out(Path("demo"), None, tmp_path, pipeline.STAGES, say=print)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_smoke_run_and_a_real_one_never_share_a_folder(raw: Raw, tmp_path: Path, inline: None, watching):
    """Whatever else they have in common; and neither writes anything there first."""
    folder, path = tmp_path / "run", tmp_path / "r.yaml"
    path.write_text(recipe.write_yaml(raw))
    for smoked, said in ((False, "holds a run that is no smoke run"), (True, "holds a smoke run")):
        (folder / "problems").mkdir(parents=True, exist_ok=True)
        kept = recipe.render(build({**raw, "smoke": smoked}))
        (folder / "recipe.yaml").write_text(kept)
        with pytest.raises(StoreError, match=f"{said}; choose another --out"):
            if smoked:
                pipeline.run(build(raw), Store(folder), watcher=watching)
            else:
                smoke.carry_out(path, None, folder, pipeline.STAGES, say=print)
        assert sorted(p.name for p in folder.iterdir()) == ["problems", "recipe.yaml"]
        assert (folder / "recipe.yaml").read_text() == kept


def test_check_plans_a_smoke_run_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with check.loaded("long-vs-short", smoke=True) as (study, where):
        plan = check.plan(study, where=where)
        made = Path(study.problems.train.source)
        assert made.exists()
    assert plan.name == "long-vs-short-smoke"
    assert plan.students[0].updates == {"long": 2, "short": 2, "mix-long": 2, "mix-long-50": 2}
    assert not made.exists() and list(tmp_path.iterdir()) == []


def test_shipped_benchmarks_run_to_their_end_each_with_its_own_verifier(raw: Raw, tmp_path: Path, inline: None):
    names = ["gsm8k", "gpqa-diamond", "mmlu-pro", "ifeval"]
    raw |= {"name": "benchmarks", "verify": {"verifier": "math"}, "students": {"s": {"model": "Qwen/Qwen2.5-0.5B"}}}
    raw["problems"] = {"train": {"source": "openai/gsm8k", "subset": "main", "ask": "boxed"}, "eval": names}
    (tmp_path / "r.yaml").write_text(recipe.write_yaml(raw))
    evidence = run(tmp_path / "r.yaml", tmp_path / "run")
    assert evidence.missing == []
    verifiers = {s.benchmark: (s.verifier, s.k, s.examples) for s in evidence.scores if s.group == "all"}
    assert verifiers == {
        "gsm8k": ("math", 1, 16),
        "gpqa-diamond": ("choice", 1, 16),
        "mmlu-pro": ("choice", 1, 16),
        "ifeval": ("ifeval", 1, 16),
    }
    assert {gap.benchmark for gap in evidence.gaps} == {"gsm8k", "gpqa-diamond", "mmlu-pro", "average"}
    assert [(row.arm, row.benchmark, row.problems) for row in evidence.details.forgotten] == [
        ("long", "ifeval", 16), ("short", "ifeval", 16),
    ]  # fmt: skip
    store = Store(tmp_path / "run")
    trained = store.read(store.folder("mix", "s", "long", "0"), Example, "examples")
    assert all(str(row.prompt).endswith("put your final answer within \\boxed{}.\n") for row in trained)
    (problem, *_) = store.read(store.folder("problems"), Problem, "gpqa-diamond")
    assert "\nD) " in str(problem.prompt) and problem.answer in "ABCD"
