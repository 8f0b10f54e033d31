"""Ship retrains the blend on all that was verified, looks at the gate once, and writes the better student or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from mixdistill import evaluate, ship
from mixdistill.arms import BASE, called
from mixdistill.commands import memory
from mixdistill.commands import ship as verb
from mixdistill.errors import RecipeError, StageError, StoreError
from mixdistill.handover.gate import Shipping
from mixdistill.recipe import Recipe, load
from mixdistill.ship import Candidate
from mixdistill.store import Store
from mixdistill.types import Example, Origin, Trace
from mixdistill.units import State, Unit, state

GATE = {"source": "lab:signs", "split": "search", "limit": 12}


def study(model: str, **sections: Any) -> Recipe:
    problems = {**tiny.problem_sets(24), "gate": GATE}
    return tiny.study(model, **{"problems": problems, "seeds": 1, "budget": {"also": [], "per_update": 4}, **sections})


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A study that was carried out, with a gate that nobody looked at."""
    root = tmp_path_factory.mktemp("ships")
    tiny.run(study(tiny.student(root / "model")), root / "run")
    return root / "run"


@pytest.fixture
def root(finished: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of it, and an executor without processes."""
    monkeypatch.setattr(verb, "Local", tiny.Inline)
    return Path(shutil.copytree(finished, tmp_path / "run"))


def call(root: Path, **options: Any) -> Shipping:
    known = {"student": None, "arm": None, "seed": None, "max_tokens": None, "may_forget": None, "workers": None}
    return verb.carry_out(root, say=lambda line: None, **{**known, **options})


def plant(root: Path, *key: str, right: int, **answers: Any) -> None:
    """The first so many problems of the gate are correct in what a model answered."""
    store = Store(root)
    folder = store.folder("ship", *key, "gate")
    marker = store.marker(folder)
    assert marker
    shares = {p: float(i < right) for i, p in enumerate(store.problem_ids("gate"))}
    marker["facts"]["answers"] |= {"right": shares, "finished": 1.0, **answers}
    store.mark(folder, marker)


def asked(root: Path) -> Path:
    """Ship once, then plant 0 right answers of base and 11 of `long`."""
    call(root)
    plant(root, "t", "base", right=0)
    plant(root, "t", "long", "0", right=11)
    return root


def test_a_student_that_passes_becomes_best_with_card_evidence_and_command(root):
    found = call(asked(root))
    assert (found.passed, found.best, found.looks, found.holds) == (True, str(root / "best"), 1, [True] * 3)
    assert found.may_forget == 0.25
    best = root / "best"
    source = root / "ship" / "t" / "long" / "0" / "train" / "model"
    for file in source.iterdir():
        assert file.name == "README.md" or (best / file.name).read_bytes() == file.read_bytes()
    assert Shipping.model_validate_json((best / "evidence.json").read_text()) == found
    card = (best / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "transformers"
    assert "| gate | 24 | 12 | 0.0% | 91.7% |" in card
    assert "asked as `long`, took the place of the untuned student (`base`) at a gate of 12 problems" in card
    assert (best / "serve.sh").read_text() == (
        "#!/bin/sh\n"
        "# A server that speaks OpenAI's protocol, on port 8000, set up as the student was asked at the gate\n"
        "# (long). Further options of vLLM may follow: sh serve.sh --port 9000\n"
        'exec vllm serve "$(dirname "$0")" \\\n'
        "  --served-model-name t \\\n"
        "  --dtype float32 \\\n"
        """  --generation-config vllm --override-generation-config '{"temperature": 0.0, "max_new_tokens": 24}' \\\n"""
        '  "$@"\n'
    )
    assert (
        "It passed its gate as `long`, asked like this, and was not looked at in any other way: an answer has at most "
        "24 tokens, temperature 0."
    ) in card
    assert "model.generate(**inputs, max_new_tokens=24, do_sample=False)" in card
    assert (
        """sh serve.sh\ncurl localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\\n"""
        """  -d '{"model": "t", "messages": [{"role": "user", "content": "What is 2 + 3?"}]}'\n"""
    ) in card


def test_it_is_served_with_the_cap_that_it_passed_at(root):
    asked(root)
    call(root, max_tokens=5)
    plant(root, "t", "base", right=0)
    plant(root, "t", "long", "0", right=11)
    assert call(root, max_tokens=5).passed
    assert '"max_new_tokens": 5}' in (root / "best" / "serve.sh").read_text()
    card = (root / "best" / "README.md").read_text()
    assert "an answer has at most 5 tokens" in card and "max_new_tokens=5," in card


def test_the_student_that_passed_loads(root):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    call(asked(root))
    assert AutoModelForCausalLM.from_pretrained(root / "best").config.vocab_size == len(
        AutoTokenizer.from_pretrained(root / "best")
    )


def test_a_student_that_does_not_pass_is_kept_out_and_the_reason_is_said(root):
    found = call(root)
    assert (found.passed, found.best, found.holds) == (False, None, [False, False, True])
    assert found.why[0].startswith("not surely better: ")
    assert not (root / "best").exists()


def test_what_is_forgotten_keeps_it_out(root):
    asked(root)
    plant(root, "t", "base", right=3)
    store = Store(root)
    marker = store.marker(store.folder("ship", "t", "long", "0", "gate"))
    assert marker
    right = {p: float(i > 0) for i, p in enumerate(store.problem_ids("gate"))}
    marker["facts"]["answers"]["right"] = right
    store.mark(store.folder("ship", "t", "long", "0", "gate"), marker)
    found = call(root)
    assert found.forgotten == [store.problem_ids("gate")[0]]
    assert (found.levels[0].solved, found.levels[0].forgotten, found.holds[2]) == (3, 1, False)
    assert call(root, may_forget=0.5).holds[2]


def test_it_is_trained_on_all_that_its_own_teachers_solved(tmp_path, monkeypatch):
    """Problems that another arm's teacher lacks are there again."""
    rows = [json.loads(line) for line in tiny.recorded_rows(24).splitlines()]
    (tmp_path / "short.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[:8]))
    teachers = {
        "long": {"backend": "scripted", "model": "long"},
        "short": {"backend": "recorded", "model": str(tmp_path / "short.jsonl"), "complete": True},
    }
    recipe = study(tiny.student(tmp_path / "model"), teachers=teachers)
    store, _ = tiny.run(recipe, tmp_path / "run")
    monkeypatch.setattr(verb, "Local", tiny.Inline)
    found = call(tmp_path / "run", arm="long")
    matched = store.read(store.folder("mix", "t", "long", "0"), Example, "examples")
    data = store.folder("ship", "t", "long", "0", "data")
    assert len(matched) == 8
    assert (found.rows, found.distinct_problems, found.updates) == (24, 24, 12)
    assert len(store.read(data, Example, "examples")) == len(store.read(data, Origin, "manifest")) == 24


def test_nothing_is_done_twice_and_the_same_look_is_one(root, monkeypatch):
    first = call(root)
    calls = tiny.Calls(monkeypatch)
    monkeypatch.setattr(ship, "_train", lambda *a: pytest.fail("trained again"))
    assert call(root) == first
    assert calls.take() == 0
    assert len(json.loads((root / "ship" / "looks.json").read_text())["looks"]) == 1


def test_a_second_candidate_is_a_second_look_with_a_wider_interval(root):
    asked(root)
    first = call(root)
    second = call(root, arm="short")
    assert (first.looks, second.looks) == (1, 2)
    plant(root, "t", "short", "0", right=11)
    wider = call(root, arm="short")
    assert wider.scored.delta == first.scored.delta
    assert wider.interval.low < first.interval.low
    assert "after 2 looks, for which the interval is widened" in (root / "best" / "README.md").read_text()
    old = root / "set-aside" / "best"
    assert json.loads((old / "evidence.json").read_text())["arm"] == "long"


def test_another_cap_reads_the_same_answers_anew(root, monkeypatch):
    call(root)
    calls = tiny.Calls(monkeypatch)
    found = call(root, max_tokens=5)
    assert (calls.take(), found.scored.max_tokens, found.scored.tokens) == (0, 5, 5.0)
    assert call(root).scored.max_tokens == 24


def test_a_cap_above_the_studys_lets_them_write_longer(root):
    assert call(root, max_tokens=40).scored.base_tokens == 40.0


@pytest.mark.parametrize("stage", ["_draw", "_train", "_ask"])
def test_what_fails_goes_on_from_there(root, monkeypatch, stage):
    whole, fails = getattr(ship, stage), [True]

    def once(*args: Any) -> Any:
        if fails and fails.pop():
            raise StageError("the disk is full")
        return whole(*args)

    monkeypatch.setattr(ship, stage, once)
    with pytest.raises(StageError) as e:
        call(root)
    assert str(e.value).startswith("ship/t/") and str(e.value).endswith(": the disk is full")
    assert not (root / "ship" / "looks.json").exists()
    assert call(root).looks == 1


def test_a_training_that_was_cut_off_goes_on_from_its_checkpoint(root, monkeypatch):
    """Killed between two updates; the student that comes out is the one of an uninterrupted training."""
    from mixdistill.training import trainer

    recipe = yaml.safe_load((root / "recipe.yaml").read_text())
    recipe["train"]["save_steps"] = 2
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    other = Path(shutil.copytree(root, root.parent / "other"))
    call(other)
    step = trainer.UpdateTrainer.training_step
    seen = []

    def dies(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.state.global_step)
        if len(seen) == 6:
            raise StageError("killed")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(trainer.UpdateTrainer, "training_step", dies)
    with pytest.raises(StageError):
        call(root)
    seen.clear()
    monkeypatch.setattr(trainer.UpdateTrainer, "training_step", step)
    call(root)
    weights = [r / "ship" / "t" / "long" / "0" / "train" / "model" / "model.safetensors" for r in (root, other)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_other_settings_set_the_old_training_aside(root):
    call(root)
    recipe = yaml.safe_load((root / "recipe.yaml").read_text())
    recipe["train"]["weight_decay"] = 0.1
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert call(root).looks == 2
    assert (root / "set-aside" / "ship" / "t" / "long" / "0" / "train" / "model").is_dir()


def test_the_units_of_a_candidate_are_done_after_it_was_shipped(root):
    call(root)
    recipe, store = load(root / "recipe.yaml"), Store(root)
    candidate = Candidate("t", "long", 0, BASE, None)
    units = [ship.data_unit(recipe, store, candidate), ship.train_unit(recipe, store, candidate)]
    assert [state(u, store) for u in (*units, *ship.gate_units(recipe, store, candidate))] == [State.DONE] * 4


def test_best_of_other_points_or_other_dev_problems_is_another_training(finished):
    store, candidate = Store(finished), Candidate("t", "long", 0, BASE, None)
    dev = {"source": "lab:signs", "split": "search", "skip": 100, "limit": 8}

    def unit(points: int, keep: str = "best") -> Unit:
        problems = {**tiny.problem_sets(24), "gate": GATE, "dev": dev}
        train = {"keep": keep, "dev_checkpoints": points}
        recipe = study(str(finished.parent / "model"), problems=problems, train=train)
        return ship.train_unit(recipe, store, candidate)

    assert "dev problems" in unit(2).inputs
    assert unit(2).identity != unit(4).identity
    assert unit(2, "last").identity == unit(4, "last").identity


# -- which blend ------------------------------------------------------------------------------------------------------


def test_the_best_arm_on_the_benchmark_is_shipped_and_of_equal_ones_the_first(root):
    store, recipe = Store(root), load(root / "recipe.yaml")
    assert [s.name for s in ship.supported(recipe, store, "t", None)[1]] == ["base", "long", "short"]
    _score(root, "short/0", 5)
    benchmark, ranked = ship.supported(recipe, store, "t", None)
    assert (benchmark, ranked[0]) == ("signs", ("short", 0.5, 1))
    assert call(root).arm == "short"


def test_arms_are_ranked_by_the_average_where_that_is_primary_and_never_in_other_words(root, monkeypatch):
    from mixdistill.evidence import averages

    store, recipe = Store(root), load(root / "recipe.yaml")
    for arm, (one, other) in {"base": (1, 1), "long/0": (9, 1), "short/0": (4, 8), "short~nice/0": (10, 10)}.items():
        for benchmark, correct in (("signs", one), ("other", other)):
            if not (root / f"evaluate/t/{arm}/{benchmark}").exists():
                shutil.copytree(root / "evaluate/t/base/signs", root / f"evaluate/t/{arm}/{benchmark}")
            _score(root, arm, correct, benchmark)
    cells = [("t", "base"), ("t", "long", "0"), ("t", "short", "0"), ("t", "short~nice", "0")]
    done = [(Unit("evaluate", (*cell, b), {}), State.DONE) for cell in cells for b in ("signs", "other")]
    monkeypatch.setattr(ship, "plan", lambda *_: done)
    monkeypatch.setattr(averages.verdicts, "FEWEST", 2)
    monkeypatch.setattr(Store, "problem_ids", lambda self, name: ("a", "b"))
    both = {**recipe.problems.eval, "other": recipe.problems.eval["signs"].model_copy(update={"weight": 3.0})}
    study = recipe.model_copy(update={"problems": recipe.problems.model_copy(update={"eval": both})})
    where, ranked = ship.supported(study, store, "t", None)
    assert where == "average"
    assert [(s.name, round(s.accuracy, 3)) for s in ranked] == [("short", 0.7), ("long", 0.3), ("base", 0.1)]


def _score(root: Path, cell: str, correct: int, benchmark: str = "signs") -> None:
    """So many answers of an evaluation are correct, at every cap."""
    from mixdistill.types import Score

    store = Store(root)
    folder = store.folder("evaluate", "t", *cell.split("/"), benchmark)
    rows = store.read(folder, Score, "scores")
    new = [
        s.model_copy(update={"correct": correct, "incorrect": 10 - correct, "no_answer": 0, "truncated": 0, "error": 0})
        if s.group == "all"
        else s
        for s in rows
    ]
    tiny.reseal(store, folder, new, "scores")


def test_a_tagged_blend_is_asked_in_its_better_mode(tmp_path, monkeypatch):
    arms = {
        "long": {"long": 1},
        "short": {"short": 1},
        "mix": {"weights": {"long": 0.5, "short": 0.5}, "mixture": "tagged"},
    }
    tiny.run(study(tiny.byte_student(tmp_path / "model"), arms=arms, train={"max_length": 1024}), tmp_path / "run")
    monkeypatch.setattr(verb, "Local", tiny.Inline)
    found = call(tmp_path / "run", arm="mix+short")
    assert found.arm == "mix+short"
    asked = yaml.safe_load((tmp_path / "run" / "ship" / "t" / "mix+short" / "0" / "gate" / "done.json").read_text())
    assert asked["options"]["sampling"]["tag"] == "/short"
    assert (tmp_path / "run" / "ship" / "t" / "mix" / "0" / "train" / "model").is_dir()
    plant(tmp_path / "run", "t", "base", right=0)
    plant(tmp_path / "run", "t", "mix+short", "0", right=11)
    assert call(tmp_path / "run", arm="mix+short").passed
    best = tmp_path / "run" / "best"
    assert "# The last line of every prompt is /short: a server cannot add it.\n" in (best / "serve.sh").read_text()
    card = (best / "README.md").read_text()
    assert "asked as `mix+short`, took the place" in card
    assert "It passed its gate as `mix+short`, asked like this, and was not looked at in any other way: " in card
    assert "every prompt ends in the line `/short`, an answer has at most 24 tokens" in card
    assert card.count('"content": "What is 2 + 3?\\n/short"') == 2, "in Python, and for a server"


def test_base_is_asked_in_the_way_that_was_best_on_the_benchmark(tmp_path, monkeypatch):
    """A hybrid: its template has a switch for thinking, and base did better with it the other way."""
    model = tiny.save_student(tmp_path / "model", tiny.byte_tokenizer(HYBRID))
    tiny.run(study(model, train={"max_length": 1024}), tmp_path / "run")
    monkeypatch.setattr(verb, "Local", tiny.Inline)
    recipe = load(tmp_path / "run" / "recipe.yaml")
    first, other = evaluate.bases(recipe, Store(tmp_path / "run"), "t")
    _score(tmp_path / "run", other, 4)
    found = call(tmp_path / "run", arm="long")
    assert (first, found.base) == ("base", other)
    marker = Store(tmp_path / "run").marker(tmp_path / "run" / "ship" / "t" / other / "gate")
    assert marker
    way = called(other).mode == "thinking"
    assert marker["options"]["sampling"]["chat_template_kwargs"] == {"enable_thinking": way}


def test_it_is_served_with_the_switches_of_its_chat_template(tmp_path, monkeypatch):
    model = tiny.save_student(tmp_path / "model", tiny.byte_tokenizer(HYBRID))
    students = {"t": {"model": model, "chat_template_kwargs": {"enable_thinking": False}}}
    tiny.run(study(model, students=students, train={"max_length": 1024}), tmp_path / "run")
    monkeypatch.setattr(verb, "Local", tiny.Inline)
    base = call(tmp_path / "run", arm="long").base
    plant(tmp_path / "run", "t", base, right=0)
    plant(tmp_path / "run", "t", "long", "0", right=11)
    assert call(tmp_path / "run", arm="long").passed
    served = (tmp_path / "run" / "best" / "serve.sh").read_text()
    assert """  --default-chat-template-kwargs '{"enable_thinking": false}' \\\n""" in served
    card = (tmp_path / "run" / "best" / "README.md").read_text()
    assert """, "chat_template_kwargs": {"enable_thinking": false}}'""" in card
    assert 'the chat template is given `{"enable_thinking": false}`.' in card


HYBRID = tiny.CHATML.replace(
    "assistant\n' }}{% endif %}",
    "assistant\n' }}{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}"
    "{% endif %}{% endif %}",
)


# -- what is refused ------------------------------------------------------------------------------------------------


def test_what_cannot_fit_is_refused_before_anything_is_made(root, monkeypatch):
    monkeypatch.setattr(memory, "room", lambda devices: 0.1e9)
    with pytest.raises(RecipeError) as e:
        call(root)
    (line,) = e.value.findings
    assert line.startswith("students.t: a training takes about ")
    assert not (root / "ship").exists()
    monkeypatch.undo()
    monkeypatch.setattr(verb, "Local", tiny.Inline)
    first = call(root)
    monkeypatch.setattr(memory, "room", lambda devices: 0.1e9)
    assert call(root) == first, "nothing is left to train"


def test_without_a_gate_it_says_how_to_add_one(tmp_path):
    recipe = study(tiny.student(tmp_path / "model"), problems=tiny.problem_sets(24))
    tiny.run(recipe, tmp_path / "run", "generate")
    with pytest.raises(StoreError) as e:
        call(tmp_path / "run")
    assert str(e.value) == (
        f"{tmp_path}/run: no problems.gate, so nothing is left to judge a student on; add `gate: {{source: ...}}` "
        "under problems in your recipe, with problems that are nowhere else in it, and carry out mixdistill run with "
        f"--out {tmp_path}/run again: nothing is bought or trained anew"
    )


def test_a_gate_that_is_added_later_costs_no_training(root, tmp_path):
    recipe = load(root / "recipe.yaml")
    without = recipe.problems.model_copy(update={"gate": None})
    tiny.run(recipe.model_copy(update={"problems": without}), root)
    _, ran = tiny.run(recipe, root)
    assert {label.partition("/")[0] for label in ran} <= {"analyze", "report"}
    assert call(root).looks == 1


def test_a_gate_of_which_a_problem_was_used_is_refused(root):
    store = Store(root)
    folder = store.folder("evaluate", "t", "long", "0", "signs")
    traces = store.read(folder, Trace, "traces")
    used = traces[0].model_copy(update={"problem_id": store.problem_ids("gate")[3]})
    tiny.reseal(store, folder, [used, *traces[1:]], "traces")
    with pytest.raises(StoreError) as e:
        call(root)
    assert str(e.value) == (
        f"{root}: problems.gate was used before (1 in evaluate/t/long/0/signs), so it judges nothing; give it problems "
        "that this run has never seen"
    )


def test_a_run_without_an_evaluated_arm_is_refused(tmp_path):
    tiny.run(study(tiny.student(tmp_path / "model")), tmp_path / "run", "generate", "verify", "analyze", "mix")
    with pytest.raises(StoreError) as e:
        call(tmp_path / "run")
    assert str(e.value) == (
        f"{tmp_path}/run: no arm of t was evaluated, so none can be chosen; carry out mixdistill run "
        f"{tmp_path}/run/recipe.yaml --out {tmp_path}/run, or name one with --arm"
    )
