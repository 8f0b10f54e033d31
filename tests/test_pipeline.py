"""Skip, resume, extend, redo, refuse: nothing is bought twice, nothing is lost, nothing stale is used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import DATA_STAGES, Inline, Notes, Watching
from mixdistill import executor, pipeline, units
from mixdistill import store as stores
from mixdistill.commands import status
from mixdistill.errors import Refused, StageError, StoreError
from mixdistill.executor import enough_gpus
from mixdistill.lab.teachers import Scripted
from mixdistill.pipeline import STAGES
from mixdistill.recipe import build, load
from mixdistill.store import Store
from mixdistill.types import Completion, Problem, Trace, Verdict
from mixdistill.units import Done, State, Unit, plan

FIRST = ("generate",)
JUDGED = ("generate", "verify")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run")


def go(raw: dict[str, Any], store: Store, stages: Any = FIRST, watcher: Any = None, **more: Any) -> list[str]:
    return pipeline.run(build(raw), store, stages=stages, watcher=watcher or Watching(), **more)


def traces(store: Store, teacher: str = "short") -> list[dict[str, Any]]:
    """All columns but seconds."""
    rows = store.read(store.folder("generate", teacher), Trace, "traces")
    return [row.model_dump(exclude={"seconds"}) for row in rows]


def states(raw: dict[str, Any], store: Store, stage: str) -> set[State]:
    return {state for _, state in plan(build(raw), store, stage)}


# -- the data stages, for real ----------------------------------------------------------------------------------------


def test_the_data_stages_run_once_and_are_skipped_after_that(raw, store, notes: Notes, watching, inline):
    assert go(raw, store, DATA_STAGES, watching) == []
    assert list(watching.states) == list(DATA_STAGES)
    assert notes.calls() == 12
    again = Watching()
    assert go(raw, store, DATA_STAGES, again) == []
    assert {s for units in again.states.values() for s in units.values()} == {"done"}
    assert again.ended == []
    assert notes.calls() == 0


def test_the_problems_marker_says_what_benchmarks_share(raw, store, inline):
    raw["problems"]["eval"]["twin"] = dict(raw["problems"]["eval"]["signs"])
    raw["primary"] = {"contrast": "long_cot_gap", "benchmark": "signs"}
    go(raw, store)
    marker = store.marker(store.folder("problems"))
    assert marker
    twin = store.read(store.folder("problems"), Problem, "twin")
    assert marker["shared"] == {"twin: also in signs": {"problems": len(twin), "example": twin[0].prompt}}
    assert marker["counts"] == {}


def test_the_marker_says_what_was_done(raw, store, inline):
    go(raw, store, JUDGED)
    marker = store.marker(store.folder("verify", "long"))
    assert marker
    assert marker["counts"] == {"correct": 12}
    assert (marker["options"]["verify.verifier"], marker["options"]["verify.deadline"]) == ("signs", 20.0)
    assert set(marker["inputs"]) == {"problems/train", "generate/long"}
    assert marker["versions"]["mixdistill"]
    assert marker["seconds"] >= 0
    assert not (store.folder("verify", "long") / units.STARTED).exists()


def test_more_problems_buy_only_the_new_traces(raw, store, notes: Notes, watching, inline):
    go(raw, store, DATA_STAGES, limit=5)
    assert notes.calls() == 5
    first = traces(store)
    go(raw, store, DATA_STAGES, watching)
    assert set(watching.states["generate"].values()) == {"extend"}
    assert notes.calls() == 7
    assert traces(store)[:5] == first
    assert len(traces(store)) == 12
    assert len(store.read(store.folder("verify", "short"), Verdict, "verdicts")) == 12


def test_an_extended_table_equals_one_made_at_once(raw, store, tmp_path, inline):
    go(raw, store, limit=5)
    go(raw, store)
    other = Store(tmp_path / "other")
    go(raw, other)
    assert traces(store) == traces(other)


@pytest.mark.parametrize("pilot", [5, None])
def test_a_teacher_whose_extension_fails_holds_up_all_that_is_made_of_it(raw, store, notes: Notes, inline, pilot):
    """Else students would be trained on the problems of a pilot."""
    go(raw, store, DATA_STAGES, **({"pilot": pilot} if pilot else {"limit": 5}))
    notes.do("raise")
    assert [line.partition(" at ")[0].partition(";")[0] for line in go(raw, store, DATA_STAGES)] == [
        "generate/short: ConnectionError: the server hung up",
        "verify/short: not run",
        "analyze/short: not run",
        "mix/s/long/0: not run",
        "mix/s/short/0: not run",
    ]
    notes.stop("raise")
    assert go(raw, store, DATA_STAGES) == []
    marker = store.marker(store.folder("mix", "s", "long", "0"))
    assert marker
    assert (len(traces(store)), marker["facts"]["problems"]) == (12, 12)


def test_failed_requests_that_fail_once_more_hold_up_nothing(raw, store, notes: Notes, inline):
    raw["error_rate"] = 0.5
    notes.do("failing")
    assert go(raw, store, DATA_STAGES[:3]) == []
    marker = store.marker(store.folder("generate", "short"))
    raw["error_rate"] = 0.2
    notes.do("failing_all")
    assert go(raw, store, retry=True)[0].startswith("generate/short: 4 of 12 requests failed")
    assert store.marker(store.folder("generate", "short")) == marker


def test_a_limit_in_dollars_for_the_study_lets_teachers_that_cost_nothing_write(raw, store, inline):
    raw["spend"] = {"cost": 50}
    assert go(raw, store) == []


def test_retry_asks_again_for_a_cut_trace_of_which_the_longer_one_failed(raw, store, inline, monkeypatch):
    whole = Scripted.generate

    def cut(self, requests):
        for position, completion in whole(self, requests):
            short = requests[position].sampling.max_tokens == 5
            cut = completion.model_copy(update={"finish_reason": "length"})
            yield position, cut if short else Completion(error="status 500") if position == 0 else completion

    monkeypatch.setattr(Scripted, "generate", cut)
    raw |= {"error_rate": 0.5}
    raw["teachers"]["short"]["sampling"] = {"max_tokens": 5}
    go(raw, store)
    raw["teachers"]["short"]["sampling"] = {"max_tokens": 500}
    go(raw, store)
    assert [t["sampling"]["max_tokens"] for t in traces(store)] == [5] + [500] * 11
    monkeypatch.setattr(Scripted, "generate", whole)
    go(raw, store)
    assert traces(store)[0]["sampling"]["max_tokens"] == 5
    go(raw, store, retry=True)
    assert [t["sampling"]["max_tokens"] for t in traces(store)] == [500] * 12
    again = Watching()
    go(raw, store, watcher=again, retry=True)
    assert again.ended == []


def test_fewer_problems_buy_nothing_and_lose_nothing(raw, store, notes: Notes, watching, inline):
    go(raw, store, JUDGED)
    notes.calls()
    go(raw, store, JUDGED, watching, limit=5)
    assert notes.calls() == 0
    assert len(traces(store)) == 12
    assert len(store.read(store.folder("verify", "short"), Verdict, "verdicts")) == 5


def test_more_samples_buy_only_the_new_ones(raw, store, notes: Notes, inline):
    go(raw, store)
    first = traces(store)
    notes.calls()
    raw["teachers"]["short"]["samples"] = 3
    go(raw, store)
    assert notes.calls() == 24
    assert [t for t in traces(store) if t["sample"] == 0] == first
    assert [t["sample"] for t in traces(store)] == [0, 1, 2] * 12


def test_more_seeds_add_cells_and_touch_no_other(raw, store, inline):
    go(raw, store, DATA_STAGES)
    raw["seeds"] = 3
    watching = Watching()
    go(raw, store, DATA_STAGES, watching)
    assert set(watching.states["generate"].values()) == {"done"}
    assert watching.states["mix"] == {
        f"mix/s/{arm}/{seed}": "done" if seed == 0 else "new" for seed in range(3) for arm in ("long", "short")
    }


def test_another_verifier_option_judges_again_and_generates_nothing(raw, store, notes: Notes, watching, inline):
    go(raw, store, JUDGED)
    notes.calls()
    raw["verify"]["deadline"] = 7
    go(raw, store, JUDGED, watching)
    assert notes.calls() == 0
    assert set(watching.states["generate"].values()) == {"done"}
    assert set(watching.states["verify"].values()) == {"changed"}
    marker = store.marker(store.folder("verify", "short"))
    assert marker and marker["options"]["verify.deadline"] == 7


def test_names_paths_and_timings_are_no_part_of_an_identity(raw, store, tmp_path, notes: Notes, inline):
    go(raw, store, DATA_STAGES)
    notes.calls()
    moved = Store(tmp_path / "elsewhere" / "moved")
    moved.root.parent.mkdir()
    store.root.rename(moved.root)
    raw["name"], raw["description"] = "other", "another sentence"
    raw["train"] = {"save_steps": 7, "learning_rate": 1e-3}
    watching = Watching()
    assert go(raw, moved, DATA_STAGES, watching) == []
    assert watching.ended == []
    assert notes.calls() == 0


def test_an_edited_problem_file_is_read_again(raw, store, tmp_path, inline):
    file = tmp_path / "mine.csv"
    file.write_text("prompt,answer\nQ 8 4 7 9 T 10 :,A + + -\n")
    raw["problems"]["train"] = {"source": str(file)}
    go(raw, store)
    file.write_text("prompt,answer\nQ 8 4 7 9 T 10 :,A + + -\nQ 1 2 3 T 6 :,A + +\n")
    go(raw, store)
    assert len(traces(store)) == 2
    file.unlink()
    go(raw, store)
    assert len(store.read(store.folder("problems"), Problem, "train")) == 2, "what was read stays"


def test_dev_and_gate_are_tables_beside_the_others_and_an_edited_file_of_theirs_is_read_again(
    raw, store, tmp_path, inline
):
    file = tmp_path / "gate.csv"
    file.write_text("prompt,answer\nQ 8 4 7 9 T 10 :,A + + -\n")
    raw["problems"]["dev"] = {"source": "lab:signs", "split": "search", "limit": 3}
    raw["problems"]["gate"] = {"source": str(file)}
    go(raw, store)
    file.write_text("prompt,answer\nQ 8 4 7 9 T 10 :,A + + -\nQ 1 2 3 T 6 :,A + +\n")
    go(raw, store)
    assert {name: len(store.problem_ids(name)) for name in ("train", "signs", "dev", "gate")} == {
        "train": 12,
        "signs": 4,
        "dev": 3,
        "gate": 2,
    }
    assert status.text(status.describe(store.root), 100).splitlines()[2] == (
        "problems   train 12, dev 3, gate 2, signs 4"
    )


# -- refusing ---------------------------------------------------------------------------------------------------------


def test_another_sampling_refuses_and_names_key_old_and_new(raw, store, notes: Notes, inline):
    go(raw, store)
    before = traces(store)
    raw["teachers"]["short"]["sampling"] = {"max_tokens": 9}
    with pytest.raises(Refused) as e:
        go(raw, store)
    assert str(e.value) == (
        f"{store.root}: generate/short was made otherwise: sampling.max_tokens was None, is now 9; "
        "use --out for a new run or --fresh to set the old aside"
    )
    assert traces(store) == before
    assert load(store.root / "recipe.yaml").teachers["short"].sampling.max_tokens is None, "not the refused one"
    del raw["teachers"]["short"]["sampling"]
    notes.calls()
    assert go(raw, store) == []
    assert notes.calls() == 0


def test_a_killed_read_of_changed_problems_leaves_no_old_marker(raw, store, inline, monkeypatch):
    go(raw, store, limit=5)
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(Store, "mark", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        go(raw, store)
    assert len(store.read(store.folder("problems"), Problem, "train")) == 12
    assert store.marker(store.folder("problems")) is None, "it would describe the tables of before"
    assert go(raw, store, JUDGED) == []


@pytest.mark.parametrize("stages", [("evaluate",), ("report",)])
def test_a_stage_that_makes_no_data_leaves_the_folders_recipe(raw, store, inline, stages):
    go(raw, store)
    raw["description"] = "another"
    go(raw, store, stages)
    assert load(store.root / "recipe.yaml").description == ""
    go(raw, store)
    assert load(store.root / "recipe.yaml").description == "another"


def test_many_refusals_are_summed_up(raw, store, inline):
    raw["teachers"] |= {f"t{n}": {"backend": "scripted", "model": "long"} for n in range(5)}
    go(raw, store)
    for teacher in raw["teachers"].values():
        teacher["sampling"] = {"max_tokens": 9}
    with pytest.raises(Refused) as e:
        go(raw, store)
    lines = str(e.value).splitlines()
    assert len(lines) == 6
    assert lines[-1] == f"{store.root}: and 2 more units"


def test_fresh_sets_the_old_aside(raw, store, notes: Notes, inline):
    go(raw, store)
    before = (store.folder("generate", "short") / "traces.parquet").read_bytes()
    kept = (store.folder("generate", "long") / "traces.parquet").stat().st_mtime_ns
    notes.calls()
    raw["teachers"]["short"]["sampling"] = {"max_tokens": 9}
    assert go(raw, store, fresh=True) == []
    assert notes.calls() == 12
    assert (store.root / "set-aside" / "generate" / "short" / "traces.parquet").read_bytes() == before
    assert (store.folder("generate", "long") / "traces.parquet").stat().st_mtime_ns == kept
    assert all(t["usage"]["completion_tokens"] <= 9 for t in traces(store))


def test_another_folder_forks(raw, store, tmp_path, inline):
    go(raw, store)
    raw["teachers"]["short"]["sampling"] = {"max_tokens": 9}
    fork = Store(tmp_path / "fork")
    assert go(raw, fork) == []
    assert traces(fork) != traces(store)


def test_a_unit_that_failed_before_its_first_row_refuses_nothing(raw, store, tmp_path, inline):
    raw["teachers"]["short"] = {"backend": "scripted", "model": "shrt"}
    assert len(go(raw, store)) == 1
    raw["teachers"]["short"]["model"] = "short"
    assert go(raw, store) == []
    assert len(traces(store)) == 12


def test_a_unit_of_which_every_request_failed_refuses_nothing(raw, store, notes: Notes, inline):
    raw["problems"]["train"]["limit"] = 1
    notes.do("failing_all")
    assert "1 of 1 requests failed, more than error_rate=0.05" in go(raw, store)[0]
    notes.stop("failing_all")
    raw["teachers"]["short"]["sampling"] = {"max_tokens": 90}
    assert go(raw, store) == []
    assert [t["error"] for t in traces(store)] == [None]


def test_an_interrupted_unit_with_rows_refuses_other_settings_too(raw, store, notes: Notes, inline):
    notes.do("raise")
    go(raw, store)
    notes.stop("raise")
    raw["teachers"]["short"]["sampling"] = {"max_tokens": 9}
    with pytest.raises(Refused, match=r"sampling\.max_tokens was None, is now 9"):
        go(raw, store)


# -- failing ----------------------------------------------------------------------------------------------------------


def test_a_failed_unit_stops_no_other_and_blocks_what_needs_it(raw, store, notes: Notes, watching, inline):
    notes.do("raise")
    raw["arms"] = {"long": {"long": 1}, "short": {"short": 1}, "lone": {"long": 1}}
    kept = store.folder("generate", "short") / "traceback.txt"
    assert go(raw, store, DATA_STAGES, watching) == [
        f"generate/short: ConnectionError: the server hung up; traceback in {kept}",
        "verify/short: not run; generate/short is missing",
        "analyze/short: not run; generate/short is missing",
        "mix/s/long/0: not run; generate/short, analyze/short, verify/short is missing",
        "mix/s/short/0: not run; generate/short, analyze/short, verify/short is missing",
    ]
    assert "in act" in kept.read_text()
    assert {"verify/long", "analyze/long", "mix/s/lone/0"} <= set(watching.ended)
    notes.stop("raise")
    notes.calls()
    assert go(raw, store, DATA_STAGES) == []
    assert notes.calls() == 8, "the four rows before the failure are kept"
    assert not kept.exists()


def test_failed_requests_below_the_error_rate_are_rows_and_asked_again_only_when_told(
    raw, store, notes: Notes, watching, inline
):
    raw["error_rate"] = 0.4
    notes.do("failing")
    assert go(raw, store, JUDGED) == []
    assert [t["error"] for t in traces(store)] == [None, None, "status 500"] * 4
    assert len(store.read(store.folder("verify", "short"), Verdict, "verdicts")) == 8
    notes.stop("failing")
    notes.calls()
    go(raw, store, JUDGED)
    assert notes.calls() == 0, "else the same command twice would change what was trained on"
    go(raw, store, JUDGED, watching, retry=True)
    assert notes.calls() == 4
    assert not any(t["error"] for t in traces(store))
    assert len(store.read(store.folder("verify", "short"), Verdict, "verdicts")) == 12
    assert watching.states["verify"]["verify/long"] == "done"


def test_asking_again_is_refused_where_trainings_were_made_without_the_answers(raw, store, notes: Notes, inline):
    raw["error_rate"] = 0.4
    notes.do("failing")
    go(raw, store, JUDGED)
    store.mark(store.folder("train", "s", "long", "0"), {"tables": {}, "identity": "", "options": {}, "inputs": {}})
    with pytest.raises(Refused) as e:
        go(raw, store, JUDGED, retry=True)
    assert str(e.value) == (
        f"{store.root}: generate/short: 4 failed requests would be asked again, and trainings were made without them; "
        "use --fresh to set those trainings aside, or --out for a new run"
    )
    assert len([t for t in traces(store) if t["error"]]) == 4


def test_a_failed_extension_leaves_what_was_finished(raw, store, notes: Notes, inline):
    go(raw, store, JUDGED, limit=4)
    notes.do("raise")
    assert [line.partition(": ")[0] for line in go(raw, store, JUDGED)] == ["generate/short", "verify/short"]
    assert len(store.read(store.folder("verify", "short"), Verdict, "verdicts")) == 4
    assert len(traces(store)) == 4
    notes.stop("raise")
    assert go(raw, store, JUDGED) == []
    assert len(store.read(store.folder("verify", "short"), Verdict, "verdicts")) == 12


def test_a_stage_does_not_work_on_what_another_recipe_made(raw, store, inline):
    go(raw, store, DATA_STAGES)
    raw["budget"]["per_update"] = 2
    with pytest.raises(Refused) as e:
        go(raw, store, ("train",))
    assert str(e.value).startswith(
        f"{store.root}: mix/s/long/0 was made otherwise: budget.per_update was 4, is now 2; "
        "carry out mix first, or the whole recipe with mixdistill run"
    )
    assert not store.folder("train").exists()


def test_what_only_evaluates_draws_no_other_training_problems(raw, store, inline):
    go(raw, store, limit=5)
    for stages, limit in ((("evaluate",), None), (("evaluate",), 4)):
        with pytest.raises(Refused) as e:
            go(raw, store, stages, limit=limit)
        assert str(e.value) == (
            f"{store.root}: its training problems were drawn by another recipe or limit with --limit 5; give that one, "
            "or carry out the whole of this one with mixdistill run"
        )
    assert len(store.read(store.folder("problems"), Problem, "train")) == 5


def test_set_aside_and_wanted_again_is_brought_back_and_not_bought(raw, store, notes: Notes, inline):
    go(raw, store)
    before = traces(store)
    raw["teachers"]["short"]["sampling"] = {"temperature": 0.5}
    go(raw, store, fresh=True)
    notes.calls()
    del raw["teachers"]["short"]["sampling"]
    go(raw, store, fresh=True)
    assert notes.calls() == 0
    assert traces(store) == before


def test_an_edited_file_that_a_verifier_reads_judges_again(raw, store, tmp_path, watching, inline):
    (tmp_path / "own.py").write_text(
        "import json\nfrom mixdistill.types import Outcome, Verdict\n"
        "def check(problem, trace, *, table):\n"
        "    return Verdict(trace_id=trace.id, outcome=Outcome(json.load(open(table))))\n"
    )
    table = tmp_path / "table.json"
    table.write_text('"correct"')
    raw["verify"] = {"verifier": f"{tmp_path}/own.py:check", "table": str(table)}
    go(raw, store, JUDGED)
    table.write_text('"incorrect"')
    go(raw, store, JUDGED, watching)
    assert set(watching.states["verify"].values()) == {"changed"}
    assert {v.outcome.value for v in store.read(store.folder("verify", "long"), Verdict, "verdicts")} == {"incorrect"}


def test_a_model_out_of_the_environment_counts_by_what_it_is(raw, store, monkeypatch, inline):
    raw["teachers"]["short"] = {"backend": "scripted", "model": "${STYLE}"}
    monkeypatch.setenv("STYLE", "short")
    go(raw, store)
    monkeypatch.setenv("STYLE", "long")
    with pytest.raises(Refused, match=r"generate/short was made otherwise: model was env:\w+, is now env:\w+; "):
        go(raw, store)


def test_what_came_out_of_the_environment_reaches_no_file_and_no_line(raw, store, tmp_path, monkeypatch, inline):
    (tmp_path / "own.py").write_text(
        "from mixdistill.types import Completion\n"
        "class Own:\n"
        "    def __init__(self, model, *, api_key):\n        self.key, self.raises = api_key, model == 'raises'\n"
        "    def generate(self, requests):\n"
        "        if self.raises: raise ValueError(f'401 for key {self.key}')\n"
        "        for i, _ in enumerate(requests): yield i, Completion(error=f'401 for key {self.key}')\n"
    )
    monkeypatch.setenv("MY_KEY", "sk-SECRET-123")
    own = {"backend": f"{tmp_path}/own.py:Own", "api_key": "${MY_KEY}"}
    raw["teachers"] = {"long": own | {"model": "raises"}, "short": own | {"model": "fails"}}
    said = go(raw, store)
    assert len(said) == 2
    assert all("401 for key ${MY_KEY}" in line for line in said)
    written = {p: p.read_bytes() for p in store.root.rglob("*") if p.is_file()}
    assert any(b"401 for key ${MY_KEY}" in data for data in written.values())
    assert [p for p, data in written.items() if b"SECRET" in data] == []


def test_where_every_request_fails_the_unit_fails(raw, store, tmp_path, inline):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "no signs problem", "answer": "1"}\n')
    raw["problems"]["train"] = {"source": str(file)}
    raw["teachers"] = {"short": {"backend": "scripted", "model": "short"}}
    raw["arms"], raw["contrasts"] = {"short": {"short": 1}}, {}
    assert go(raw, store) == [
        "generate/short: 1 of 1 requests failed, more than error_rate=0.05; the first said: the prompt is not a "
        "solvable signs problem such as 'Q 8 4 7 9 T 10 :'; run again to ask for these again, or raise error_rate"
    ]  # fmt: skip


# -- killed -----------------------------------------------------------------------------------------------------------


def uninterrupted(raw: dict[str, Any], tmp_path: Path) -> list[dict[str, Any]]:
    other = Store(tmp_path / "uninterrupted")
    go(raw, other)
    return traces(other)


def test_a_torn_row_is_the_only_one_bought_again(raw, store, notes: Notes, tmp_path, inline):
    notes.do("raise")
    go(raw, store)
    notes.stop("raise")
    journal = store.folder("generate", "short") / "traces.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    notes.calls()
    watching = Watching()
    go(raw, store, watcher=watching)
    assert watching.states["generate"]["generate/short"] == "resume"
    assert notes.calls() == 9
    assert traces(store) == uninterrupted(raw, tmp_path)


@pytest.mark.parametrize("point", ["seal", "mark"])
def test_a_kill_before_rename_or_marker_buys_nothing_again(raw, store, notes, tmp_path, inline, monkeypatch, point):
    class Killed(BaseException):
        """Not an Exception: nothing may catch it."""

    def kill(*args: Any, **kwargs: Any) -> None:
        if "generate" in Path(args[1]).parts:
            raise Killed
        real(*args, **kwargs)

    real = getattr(Store, point)
    with monkeypatch.context() as m:
        if point == "seal":  # after the table is written beside, before it is renamed
            replace = os.replace
            m.setattr(os, "replace", lambda a, b: kill(a, b) if str(b).endswith("traces.parquet") else replace(a, b))
        else:
            m.setattr(Store, "mark", kill)
        with pytest.raises(Killed):
            raw["teachers"].pop("long")
            raw["arms"], raw["contrasts"] = {"short": {"short": 1}}, {}
            go(raw, store)
    assert store.marker(store.folder("generate", "short")) is None
    assert notes.calls() == 12
    assert states(raw, store, "generate") == {State.RESUME}
    assert states(raw, store, "verify") == {State.BLOCKED}
    go(raw, store)
    assert notes.calls() == 0
    assert traces(store) == uninterrupted(raw, tmp_path)


def test_a_kill_before_the_marker_of_an_extension_leaves_no_old_marker(raw, store, inline, monkeypatch):
    go(raw, store, JUDGED, limit=5)
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(pipeline, "versions", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        go(raw, store)
    assert len(traces(store, "long")) == 12
    assert store.marker(store.folder("generate", "long")) is None, "it would describe the table of before"
    assert plan(build(raw), store, "verify")[0][1] is State.BLOCKED


def test_a_worker_that_dies_is_retried_and_buys_nothing_twice(raw, store, notes: Notes, tmp_path):
    notes.do("die_once")
    assert go(raw, store, workers=1) == []
    assert notes.calls() == 12
    assert traces(store) == uninterrupted(raw, tmp_path)


def test_a_unit_that_kills_every_worker_is_reported_alone(raw, store, notes: Notes):
    notes.do("die")
    assert go(raw, store, workers=1) == [
        "generate/short: its worker process died (killed, or out of memory); run again to go on"
    ]
    assert len(traces(store, "long")) == 12
    assert len(store.journal(store.folder("generate", "short"), Trace, "traces")) == 4 + 4


def test_a_run_killed_in_the_middle_of_a_teacher_goes_on_where_it_was(raw, store, notes: Notes, tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(raw, sort_keys=False))
    command = [sys.executable, "-m", "mixdistill", "generate", str(recipe), "--out", str(store.root), "--workers", "1"]
    notes.do("kill_parent")
    killed = subprocess.run(command, capture_output=True, timeout=60, cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    worker = int((notes.folder / "worker").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists(), "an orphan would write to the folder of the next run"
    assert len(store.journal(store.folder("generate", "short"), Trace, "traces")) == 4
    assert notes.calls() == 4
    done = subprocess.run(command, capture_output=True, timeout=60, cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    assert notes.calls() == 8
    assert traces(store) == uninterrupted(raw, tmp_path)


# -- units and their states -------------------------------------------------------------------------------------------


def unit(**more: Any) -> Unit:
    return Unit(stage="train", key=("s", "long", "0"), **{"options": {"rate": 0.1, "seed": 0}, **more})


def test_labels_are_stage_and_key():
    assert unit().label == "train/s/long/0"


def test_an_identity_depends_on_options_and_inputs_and_on_nothing_else():
    one = unit(inputs={"data": "a"})
    assert one.identity == unit(inputs={"data": "a"}, options={"seed": 0, "rate": 0.1}).identity
    other = Unit("train", ("t", "x", "1"), one.options, one.inputs, frozenset("abc"), "traces", 7.0)
    assert one.identity == other.identity
    assert one.identity != unit(inputs={"data": "b"}).identity
    assert one.identity != unit(inputs={"data": "a"}, options={"rate": 0.2, "seed": 0}).identity


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, inline):
    """A stage of one unit that does what the test says."""

    class Stage:
        todo = unit()
        done = 0

        def units(self, recipe: Any, store: Any) -> list[Unit]:
            return [self.todo]

        def run(self, unit: Unit, recipe: Any, store: Store) -> Done:
            self.done += 1
            (store.folder(unit.stage, *unit.key) / "model").write_text("weights")
            return Done(counts={"updates": 1})

    stage = Stage()
    for place in (pipeline, units):
        monkeypatch.setattr(place, "module", lambda name: stage)
    return stage


def test_training_with_other_settings_or_data_is_refused_by_name(raw, store, stub):
    assert go(raw, store, ("train",)) == []
    stub.todo = unit(options={"rate": 0.2, "seed": 0, "new": [1]}, inputs={"training data": "a"})
    with pytest.raises(Refused) as e:
        go(raw, store, ("train",))
    assert "train/s/long/0 was made otherwise: new was None, is now [1]; rate was 0.1, is now 0.2; " in str(e.value)
    assert (
        "; training data changed; other problems or samples change the training data, and the traces are kept; "
        "use --fresh to set the old trainings aside and train on them, or --out for a new run"
    ) in str(e.value)
    assert go(raw, store, ("train",), fresh=True) == []
    assert stub.done == 2
    assert (store.root / "set-aside" / "train" / "s" / "long" / "0" / "model").exists()


def test_other_training_settings_are_refused_before_anything_is_bought_or_read(raw, store, notes: Notes, inline):
    go(raw, store, DATA_STAGES, limit=5)
    recipe = build(raw)
    for trained in units.module("train").units(recipe, store):
        folder = store.folder("train", *trained.key)
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "weights").write_text("w")
        made = {"identity": trained.identity, "options": trained.options, "inputs": trained.inputs}
        store.mark(folder, {**made, "tables": {}})
    notes.calls()
    raw["train"] = {"learning_rate": 0.5}
    with pytest.raises(Refused, match=r"train\.learning_rate was 1e-05, is now 0\.5; use --out"):
        go(raw, store, STAGES)
    assert notes.calls() == 0
    assert len(store.read(store.folder("problems"), Problem, "train")) == 5


def test_derived_tables_are_redone_without_asking(raw, store, stub):
    stub.todo = Unit("report", ("all",), {"x": 1})
    go(raw, store, ("report",))
    stub.todo = Unit("report", ("all",), {"x": 2})
    assert go(raw, store, ("report",)) == []
    assert go(raw, store, ("report",)) == []
    assert stub.done == 2


def test_a_unit_whose_input_is_missing_is_blocked_and_says_which(raw, store, stub):
    stub.todo = unit(inputs={"mix/s": None, "generate/long": "a"})
    assert go(raw, store, ("train",)) == ["train/s/long/0: not run; mix/s is missing"]
    assert stub.done == 0


DAMAGES = [
    ("generate/short/traces.parquet", None, r"traces\.parquet: not readable \(ComputeError: .*\); "
     r"delete it, and done\.json beside it, to redo this unit"),
    ("generate/short/done.json", "{}", r"done\.json: holds no 'tables'; delete it to redo this unit"),
    ("generate/short/done.json", "[]", r"done\.json: holds no 'tables'; delete it to redo this unit"),
    ("generate/short/done.json", '{"tables": {}}', r"done\.json: holds no 'identity'; delete it to redo this unit"),
    ("problems/done.json", '{"tables": {}, "options": {}}', r"done\.json: holds no hashes of train \(id, answer\); "
     "delete it to redo this unit"),
    ("train/s/long/0/started.json", "{}", r"started\.json: holds no 'identity'; delete it to redo this unit"),
    ("train/s/long/0/started.json", '{"identity"', r"started\.json: not readable as JSON; delete it to redo this unit"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "text", "line"), DAMAGES)
def test_what_is_damaged_in_a_run_folder_is_named_with_what_to_delete(raw, store, inline, file, text, line):
    go(raw, store, DATA_STAGES)
    path = store.root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if text else path.read_bytes()[:200])
    with pytest.raises(StoreError, match=line):
        store.ids(path.parent, "traces")  # what a run reads of it, be it this or a plan
        for stage in STAGES:
            plan(build(raw), store, stage)


def test_a_plan_reads_every_marker_once_and_makes_no_ids(raw, store, inline, monkeypatch):
    raw["seeds"] = 3
    assert go(raw, store, DATA_STAGES) == []
    read: Counter[Path] = Counter()
    real = stores.read_described
    monkeypatch.setattr(stores, "read_described", lambda path, *keys: read.update([path]) or real(path, *keys))
    monkeypatch.setattr(units, "trace_id", None)
    for stage in STAGES:
        read.clear()
        found = plan(build(raw), store, stage)
        assert set(read.values()) == ({1} if found else set()), stage
        assert {s for _, s in found} <= {State.DONE, State.BLOCKED, State.NEW}
    marker = (store.folder("generate", "short") / "done.json").read_text()
    assert not [t["id"] for t in traces(store) if t["id"] in marker]


def test_a_marker_that_was_read_is_not_remembered_beyond_one_plan(raw, store, inline):
    go(raw, store)
    assert states(raw, store, "generate") == {State.DONE}
    for teacher in raw["teachers"]:
        (store.folder("generate", teacher) / "done.json").unlink()
    assert states(raw, store, "generate") == {State.NEW}


def test_a_users_error_is_one_line_without_traceback(raw, store, stub, monkeypatch):
    def fail(*args: Any) -> Done:
        raise StageError("train: too long; shorten it\nor raise max_length")

    monkeypatch.setattr(stub, "run", fail)
    assert go(raw, store, ("train",)) == ["train/s/long/0: train: too long; shorten it; or raise max_length"]
    assert not (store.folder("train", "s", "long", "0") / "traceback.txt").exists()


class Clock:
    """Monotonic time that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_the_wall_time_of_all_sessions_is_kept(tmp_path, store, monkeypatch):
    store.root.mkdir()
    clock = Clock()
    monkeypatch.setattr(pipeline.time, "monotonic", clock.monotonic)
    for total in (30.0, 60.0):
        with pipeline._session(store):
            clock.now += 30
        assert pipeline.sessions_seconds(store) == total


def test_a_killed_session_counts_until_it_was_last_seen(store, monkeypatch):
    store.root.mkdir()
    clock = Clock()
    monkeypatch.setattr(pipeline.time, "monotonic", clock.monotonic)
    killed = pipeline._session(store)
    seen = killed.__enter__()
    for _ in range(11):
        clock.now += 3
        seen()
    assert pipeline.sessions_seconds(store) == 30.0, "to within five seconds"
    with pipeline._session(store):
        clock.now += 10
    assert pipeline.sessions_seconds(store) == 40.0


def test_every_stage_is_a_module_with_units_and_run():
    for stage in STAGES:
        module = units.module(stage)
        assert callable(module.units)
        assert callable(module.run)


def test_the_largest_units_come_first_and_those_of_one_engine_after_one_another():
    told = [
        ("base/a", 2, "a"),
        ("base/b", 2, "b"),
        ("c", 3, ""),
        ("d", 1.5, ""),
        ("e", 2, ""),
        ("a", 1, "a"),
        ("b", 1, "b"),
    ]
    made = [Unit(stage="evaluate", key=(name,), options={}, cost=cost, together=shares) for name, cost, shares in told]
    order = [unit.key[0] for unit in pipeline.in_order(made)]
    assert order == ["c", "base/a", "a", "base/b", "b", "e", "d"]


WIDE = """
from mixdistill.lab.teachers import Scripted

VERSION = "1"


class Wide(Scripted):
    NOT_IDENTITY = frozenset({"tensor_parallel_size"})

    def __init__(self, model, *, tensor_parallel_size=1):
        super().__init__(model)
"""
"""A teacher that says how many GPUs it takes."""


class Spreading(Inline):
    """Notes what is carried out, and on how many GPUs."""

    noted: list[Any] = []

    def spread(self, processes: int, key: str = "") -> None:
        enough_gpus(executor.gpus(), processes, key)
        self.noted.append(processes)

    def map(self, fn: Any, jobs: Any, **how: Any) -> Any:
        self.noted.append([job[1].label for job in jobs])
        yield from super().map(fn, jobs, **how)


@pytest.fixture
def spreading(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(pipeline, "Local", Spreading)
    monkeypatch.setattr(Spreading, "noted", [])
    return Spreading.noted


def test_a_stage_with_work_for_more_gpus_than_there_are_is_refused_by_the_key_that_says_so(
    raw, store, tmp_path, monkeypatch, spreading
):
    (tmp_path / "wide.py").write_text(WIDE)
    raw["teachers"]["long"] |= {"backend": f"{tmp_path}/wide.py:Wide", "tensor_parallel_size": 2}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    refused = r"^teachers\.long\.tensor_parallel_size: needs a GPU for each process \(got 2, and 1 here\); lower it$"
    with pytest.raises(StageError, match=refused):
        go(raw, store)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert go(raw, store) == []
    assert spreading == [2, ["generate/long", "generate/short"]]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert go(raw, store, DATA_STAGES) == [], "its traces were bought on a larger machine"
    raw["teachers"]["long"]["samples"] = 2
    with pytest.raises(StageError, match=refused):
        go(raw, store)


def test_units_that_take_as_many_gpus_are_carried_out_together_those_that_take_most_first(
    raw, store, monkeypatch, spreading
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    raw["arms"]["wide"] = {"weights": {"long": 1}, "train": {"num_processes": 2}}
    assert go(raw, store, DATA_STAGES) == []
    spreading.clear()
    monkeypatch.setattr(pipeline, "work", lambda stage, unit, recipe, store: (0.0, {}))
    assert go(raw, store, ("train",)) == []
    arms = [[label.split("/")[2] for label in labels] for labels in spreading[1::2]]
    assert spreading[::2] == [2, 1]
    assert [sorted(group) for group in arms] == [["wide"], ["long", "short"]]
