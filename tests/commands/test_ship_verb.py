"""`ship` says its verdict first, then the figures, the rule part by part, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from mixdistill import cli, ship
from mixdistill.arms import BASE
from mixdistill.commands import ship as verb
from mixdistill.errors import DataError, StoreError
from mixdistill.handover.cards import Scored
from mixdistill.handover.gate import Level, Shipping
from mixdistill.recipe import load
from mixdistill.ship import Candidate
from mixdistill.store import Store
from mixdistill.types import Interval

SCORED = Scored(
    benchmark="gate", max_tokens=2048, problems=300, base=0.5, accuracy=0.6, delta=Interval(low=0.04, high=0.16),
    base_tokens=812.0, tokens=1540.0, base_finished=1.0, finished=0.97,
)  # fmt: skip
PROBLEM = tiny.problem("What is " + " + ".join(map(str, range(40))) + "?")
SHIPPED = Shipping(
    student="qwen", arm="mix-long", seed=0, base="base+no-thinking", weights="w", rows=7211, distinct_problems=7211,
    updates=901, scored=SCORED, looks=1, interval=Interval(low=0.04, high=0.16),
    levels=[
        Level(level="all", problems=300, base=0.5, accuracy=0.6, solved=150, forgotten=12, learnt=42),
        Level(level="hard", problems=100, base=0.2, accuracy=0.35, solved=20, forgotten=2, learnt=17),
    ],
    forgotten=[PROBLEM.id, *("ffff" + str(i) for i in range(11))], learnt=[], errors=0, may_forget=0.25, passed=True,
    holds=[True, True, True],
    why=["surely better: +4.0 to +16.0 points", "97% of its answers end by themselves within the cap (at least 50%)",
         "forgot 12 of 150 problems that base solves, 8% (at most 25%)"],
    best="runs/a/best",
)  # fmt: skip
NOTHING_SAID: dict[str, Any] = {
    "student": None, "arm": None, "seed": None, "max_tokens": None, "may_forget": None, "workers": None,
}  # fmt: skip
PASSED = f"""\
Ship it: mix-long for qwen

Trained on 7,211 verified traces of 7,211 problems, 901 updates.
The gate: 300 problems, at most 2,048 tokens an answer.

                    base+no-thinking  mix-long
  correct                      50.0%     60.0%  +10.0 points (+4.0 to +16.0)
  tokens an answer               812     1,540  1.9 times
  ended by itself               100%       97%

        problems  base  now  forgotten  learnt
  all        300   50%  60%         12      42
  hard       100   20%  35%          2      17

  yes  surely better: +4.0 to +16.0 points
  yes  97% of its answers end by themselves within the cap (at least 50%)
  yes  forgot 12 of 150 problems that base solves, 8% (at most 25%)

Forgotten, 5 of 12:
  {PROBLEM.id}  What is 0 + 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10 + 11...
  ffff0
  ffff1
  ffff2
  ffff3

The student, its card and this evidence: runs/a/best/
Serve it: sh runs/a/best/serve.sh"""


def lines(shipped: Shipping, width: int = 80) -> list[str]:
    page = verb.text(shipped, Path("runs/a"), {PROBLEM.id: PROBLEM}, width).plain
    return [line.rstrip() for line in page.splitlines()]


def test_what_passed_is_said_in_full():
    assert lines(SHIPPED) == PASSED.splitlines()


def test_it_fits_a_terminal_of_80_columns():
    assert max(map(len, lines(SHIPPED))) <= 80


def test_a_wide_terminal_shows_more_of_a_problem():
    (narrow,), (wide,) = ([x for x in lines(SHIPPED, w) if x.startswith(f"  {PROBLEM.id}")] for w in (80, 200))
    assert (len(narrow), len(wide)) == (80 - 2, 120 - 2)


def test_what_did_not_pass_says_why_and_where_it_is():
    why = ["not surely better: -1.0 to +5.0 points", *SHIPPED.why[1:]]
    said = lines(SHIPPED.model_copy(update={"passed": False, "best": None, "holds": [False, True, True], "why": why}))
    assert said[0] == "Keep the base model: mix-long for qwen did not pass"
    assert "  no   not surely better: -1.0 to +5.0 points" in said
    assert said[-1] == "Nothing was written to best/. Its data, model and answers are in runs/a/ship/"


def test_further_looks_and_answers_without_a_verdict_are_said():
    said = lines(SHIPPED.model_copy(update={"looks": 2, "errors": 3, "forgotten": []}))
    assert "       look 2 at this gate, so the interval is one of 97.5%" in said
    assert "       3 answers could not be had or judged; they count as wrong" in said
    assert not [line for line in said if line.startswith("Forgotten")]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verb, "Local", tiny.Inline)
    problems = {**tiny.problem_sets(8, 4), "gate": {"source": "lab:signs", "split": "search", "limit": 4}}
    recipe = tiny.study(
        tiny.student(tmp_path / "model"), problems=problems, seeds=1, budget={"also": [], "per_update": 4}
    )
    tiny.run(recipe, tmp_path / "run", "generate", "verify", "analyze", "mix")
    return tmp_path / "run"


def test_the_verb_prints_text_and_json_and_ends_well_without_a_better_student(run: Path, monkeypatch, capfd):
    for words in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["mixdistill", "ship", str(run), "--arm", "long", *words])
        with pytest.raises(SystemExit) as e:
            cli.main()
        assert not e.value.code
        out, err = capfd.readouterr()
        assert "long: as you said" in err
        if words:
            assert json.loads(out)["passed"] is False
        else:
            assert out.startswith("Keep the base model: long for t did not pass\n")


def test_units_have_the_gpus_that_their_models_take_and_what_is_done_wants_none(run: Path):
    noted: list[Any] = []

    class Spreading(tiny.Inline):
        def spread(self, processes: int, key: str = "") -> None:
            noted.append((processes, key))

        def map(self, fn: Any, jobs: Any, **how: Any) -> Any:
            yield from ()

    store, executor = Store(run), Spreading()
    spec = {"model": load(run / "recipe.yaml").students["t"].model, "serve": {"tensor_parallel_size": 2}}
    recipe = tiny.study(spec["model"], students={"t": spec}, seeds=1)
    candidate = Candidate("t", "long", 0, BASE, None)
    gate = ship.gate_units(recipe, store, candidate)[0]
    for unit in (ship.data_unit(recipe, store, candidate), gate):
        verb._do([unit], recipe, store, executor, tiny.Silent())
    assert noted == [(1, "tensor_parallel_size"), (2, "students.t.serve.tensor_parallel_size")]
    told = {"options": gate.options, "inputs": gate.inputs, "given": gate.given}
    store.mark(store.folder("ship", *gate.key), {"identity": gate.identity, "tables": {}, **told})
    verb._do([gate], recipe, store, executor, tiny.Silent())
    assert len(noted) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"arm": "lang"}, "no arm 'lang'; did you mean 'long'?"),
        ({"arm": "base"}, "base is not trained, so it has no data; name an arm (long, short)"),
        ({"arm": "long", "seed": 3}, "no seed 3 of t; known: 0"),
        ({"arm": "long", "student": "x"}, "no student 'x'; known: t"),
    ],
)
def test_a_mistake_is_one_line(options: dict[str, Any], said: str, run: Path):
    with pytest.raises(DataError) as e:
        verb.carry_out(run, say=print, **{**NOTHING_SAID, **options})
    assert str(e.value) == f"{run}: {said}"
    assert not (run / "ship").exists()


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path):
    with pytest.raises(StoreError, match="not a run folder"):
        verb.main(tmp_path, as_json=False, say=print, **NOTHING_SAID)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch, capsys):
    def stopped(*args: Any, **how: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "carry_out", stopped)
    said: list[str] = []
    assert verb.main(tmp_path, as_json=False, say=said.append) == 130
    assert said == ["mixdistill: stopped; run the same command again to go on"]
