"""A pilot is the beginning of the run: it buys nothing twice, says what the rest will take, and asks."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import DATA_STAGES, Notes, Watching
from mixdistill import cli, pipeline, units
from mixdistill import projection as foresight
from mixdistill.commands import pilot, status
from mixdistill.errors import MissingExtra, Refused
from mixdistill.recipe import build
from mixdistill.store import Store
from mixdistill.types import Completion, Trace, Usage

TABLES = {"generate": "traces", "verify": "decisions", "analyze": "complexity"}
STOPPED = "mixdistill: stopped after the pilot, since nobody can be asked here; --yes goes on\n"


@pytest.fixture
def file(tmp_path: Path, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write the recipe into the folder that commands are run in; a run ends before the trainings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "STAGES", DATA_STAGES)
    raw["problems"]["train"]["limit"] = 30

    def write() -> str:
        Path("tiny.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        return "tiny.yaml"

    return write


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run a command in this process, with a terminal where there is an answer: (exit code, stdout, stderr)."""

    def run(*words: str, answer: str | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mixdistill", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer or ""))
        monkeypatch.setattr(pilot, "can_ask", lambda: answer is not None)
        with pytest.raises(SystemExit) as e:
            cli.main()
        return int(e.value.code or 0), *capfd.readouterr()

    return run


def tables(root: str) -> dict[str, bytes]:
    """The bytes of all tables of the teachers."""
    found = {f"{s}/{t}": Path(root, s, t, f"{name}.parquet") for s, name in TABLES.items() for t in ("long", "short")}
    return {name: path.read_bytes() for name, path in found.items()}


def asked(store: Store, teacher: str = "short") -> list[str]:
    return [t.problem_id for t in store.read(store.folder("generate", teacher), Trace, "traces")]


def piloted(raw: dict[str, Any], root: Path, size: int) -> Store:
    """A run folder with a pilot in it."""
    store = Store(root)
    assert pipeline.run(build(raw), store, watcher=Watching(), pilot=size) == []
    return store


# -- it is part of the run --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["1", "7", "30", "99"])
def test_a_run_that_went_on_from_a_pilot_has_the_tables_of_one_without(call, file, raw, inline, size):
    raw["teachers"]["long"]["samples"] = 2
    assert call("run", file(), "--out", "whole")[0] == 0
    assert call("run", file(), "--out", "two", "--pilot", size)[0] == 0
    assert tables("two") != tables("whole") or int(size) >= 30
    assert call("run", file(), "--out", "two")[0] == 0
    assert tables("two") == tables("whole")


def test_a_pilot_asks_random_problems_and_the_run_only_the_others(call, file, raw, notes: Notes, inline):
    assert call("run", file(), "--pilot", "7")[0] == 0
    store = Store(Path("runs/tiny"))
    train = store.problem_ids("train")
    assert notes.calls() == 7
    assert asked(store) == asked(store, "long") == list(units.drawn(train, 7))
    assert not (store.root / "mix").exists()
    assert call("run", file(), "--pilot", "7")[0] == 0
    assert notes.calls() == 0, "it is there"
    assert call("run", file(), "--pilot", "9")[0] == 0
    assert notes.calls() == 2, "a larger one holds the smaller"
    assert call("run", file())[0] == 0
    assert notes.calls() == 21
    assert asked(store) == list(train)


def test_a_pilot_keeps_to_the_limit_of_problems(call, file, notes: Notes, inline):
    assert call("run", file(), "--pilot", "4", "--limit", "9")[0] == 0
    assert notes.calls() == 4
    assert status.describe(Path("runs/tiny"))["command"] == "mixdistill run runs/tiny/recipe.yaml --limit 9"
    assert call("run", file(), "--limit", "9")[0] == 0
    assert notes.calls() == 5


def test_a_pilot_in_a_run_that_went_further_buys_and_loses_nothing(call, file, notes: Notes, inline):
    assert call("run", file())[0] == 0
    before = tables("runs/tiny")
    notes.calls()
    code, out, _ = call("run", file(), "--pilot", "5")
    assert code == 0
    assert notes.calls() == 0
    assert tables("runs/tiny") == before
    assert "tokens      0 sampled" in out or "\ntokens      0\n" in out


def test_a_failing_teacher_ends_the_pilot_and_the_same_command_goes_on(call, file, notes: Notes, inline):
    notes.do("raise")
    code, out, err = call("run", file(), "--pilot", "8")
    assert (code, out) == (1, "")
    assert "mixdistill: generate/short: ConnectionError: the server hung up" in err
    assert not Path("runs/tiny/pilot.json").exists()
    notes.stop("raise")
    assert notes.calls() == 4
    assert call("run", file(), "--pilot", "8")[0] == 0
    assert notes.calls() == 4


def test_a_killed_pilot_goes_on(file, notes: Notes):
    notes.do("kill_parent")
    command = [sys.executable, "-m", "mixdistill", "run", file(), "--pilot", "8", "--workers", "1"]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert notes.calls() == 4
    assert status.describe(Path("runs/tiny"))["pilot"] is None, "it is not through"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert notes.calls() == 4
    assert done.stderr.endswith(STOPPED)


def test_other_training_data_is_refused_before_a_pilot_buys_anything(raw, tmp_path, notes: Notes, inline):
    store = piloted(raw, tmp_path / "run", 5)
    notes.calls()
    for unit, _ in units.plan(build(raw), store, "train"):
        made = {"identity": unit.identity, "options": unit.options, "inputs": {}, "tables": {}}
        store.mark(store.folder("train", *unit.key), made)
    raw["problems"]["train"]["limit"] = 11
    with pytest.raises(Refused, match="the training problems changed, and trainings were made before"):
        piloted(raw, store.root, 8)
    assert notes.calls() == 0


@pytest.mark.parametrize("stage", ["mix", "train"])
def test_nothing_is_trained_on_a_pilot_alone(call, file, inline, stage):
    assert call("run", file(), "--pilot", "5")[0] == 0
    code, out, err = call(stage, file())
    assert (code, out) == (2, "")
    assert err.splitlines()[1:] == [
        "mixdistill: runs/tiny: generate/long holds a pilot, and 25 more traces are wanted; go on with mixdistill run, "
        "or carry out generate first"
    ]
    assert [call(s, file())[0] for s in DATA_STAGES] == [0, 0, 0, 0]


def test_status_says_that_a_pilot_is_there_and_the_rest_missing(call, file, inline):
    assert call("run", file(), "--pilot", "5")[0] == 0
    said = call("status", "runs/tiny")[1]
    assert "\npilot      5 of the training problems were asked; the others are still missing\n" in said
    assert re.search(r"\ngenerate +0/2 .* 2 resumable, 10 traces\n", said)
    assert said.endswith("go on      mixdistill run runs/tiny/recipe.yaml\n")
    assert call("run", file())[0] == 0
    assert "\npilot " not in call("status", "runs/tiny")[1]
    assert call("rm", "runs/tiny", "--yes")[0] == 0
    assert not Path("runs/tiny").exists(), "pilot.json is known as ours"


# -- the question -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "goes_on"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_a_person_is_asked_and_only_yes_goes_on(call, file, notes: Notes, inline, answer, goes_on):
    code, out, err = call("run", file(), "--pilot", "5", answer=answer)
    assert code == 0
    _, asked, after = out.partition("Go on? [y/N] ")
    assert asked and bool(after) is goes_on
    assert notes.calls() == (30 if goes_on else 5)
    stopped = "mixdistill: stopped after the pilot; its traces are kept, and mixdistill run goes on from there\n"
    assert err.endswith(stopped) is not goes_on


def test_without_a_terminal_it_stops_and_says_how_to_go_on(call, file, notes: Notes, inline):
    code, out, err = call("run", file(), "--pilot", "5")
    assert (code, notes.calls()) == (0, 5)
    assert out.startswith("pilot       5 of 30 problems, drawn at random; kept in runs/tiny\n")
    assert "Go on?" not in out
    assert err.endswith(STOPPED)


def test_yes_goes_on_at_once_after_saying_the_same(call, file, notes: Notes, inline):
    code, out, err = call("run", file(), "--pilot", "5", "--yes")
    assert (code, notes.calls()) == (0, 30)
    assert out.startswith("pilot       5 of 30 problems")
    assert "Go on?" not in out
    assert "stopped" not in err


def test_ctrl_c_at_the_question_is_no_traceback(call, file, monkeypatch, inline):
    def interrupted() -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(pilot, "agreed", interrupted)
    code, _, err = call("run", file(), "--pilot", "5", answer="")
    assert code == 130
    assert err.endswith("mixdistill: stopped; run the same command again to go on\n")


def test_a_program_gets_the_projection_as_an_event_and_no_question(call, file, notes: Notes, inline):
    code, out, _ = call("run", file(), "--pilot", "5", "--json", answer="y\n")
    assert (code, notes.calls()) == (0, 5)
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["event"] for e in events][-2:] == ["projection", "result"]
    found = events[-2]
    assert (found["goes_on"], found["pilot"], found["problems"]) == (False, 5, 30)
    assert {t["name"]: t["rest"] for t in found["teachers"]} == {"long": 25, "short": 25}
    assert events[-1] == {"event": "result", "failures": [], "report": None, "gaps": []}
    assert found == json.loads(Path("runs/tiny/pilot.json").read_text()) | {"event": "projection", "goes_on": False}
    _, out, _ = call("run", file(), "--pilot", "5", "--json", "--yes")
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["goes_on"] for e in events if e["event"] == "projection"] == [True]
    assert notes.calls() == 25


# -- whether there is one ---------------------------------------------------------------------------------------------

DEAR = {"price": {"prompt": 0, "completion": 10}, "sampling": {"max_tokens": 10_000}}
"""Ten cents a trace at the most."""
SERVER = {"backend": "openai", "model": "m", "base_url": "http://localhost:1"}


def sized(raw: dict[str, Any], tmp_path: Path, asked: int | None = None, problems: int = 120, **teacher: Any) -> int:
    """Problems of the pilot where teacher `long` is this one."""
    raw["problems"]["train"]["limit"] = problems
    raw["teachers"]["long"] = teacher
    return pilot.size(build(raw), Store(tmp_path / "run"), asked)


@pytest.mark.parametrize(
    ("teacher", "size"),
    [
        (SERVER | DEAR, 50),
        (SERVER | DEAR | {"spend": {"cost": 5}}, 0),
        (SERVER | DEAR | {"price": {"completion": 4}}, 0),
        (SERVER | DEAR | {"price": {"completion": 4.2}}, 50),
        (SERVER | DEAR | {"price": {"prompt": 3000, "completion": 0}}, 50),
        (SERVER | {"price": DEAR["price"]}, 50),
        (SERVER | {"price": DEAR["price"], "spend": {"cost": 3}}, 0),
        (SERVER | {"price": DEAR["price"], "spend": {"cost": 30}}, 50),
        (SERVER | {"price": {"completion": 0}}, 0),
        (SERVER, 0),
        (SERVER | {"samples": 16}, 0),
        (SERVER | {"samples": 17}, 50),
        (SERVER | {"until_correct": 1, "max_samples": 17}, 50),
        ({"backend": "transformers", "model": "own/er", "samples": 17}, 0),
        (DEAR | {"backend": "transformers", "model": "own/er"}, 50),
        (DEAR | {"backend": "transformers", "model": "lab:s"}, 0),
        (DEAR | {"backend": "scripted", "model": "long", "samples": 50}, 0),
    ],
)
def test_a_pilot_is_made_unasked_where_the_cost_is_not_small(raw, tmp_path, teacher, size):
    assert sized(raw, tmp_path, **teacher) == size


def test_a_pilot_that_is_asked_for_is_made_whatever_it_costs_and_none_where_it_is_0(raw, tmp_path):
    assert sized(raw, tmp_path, 7, backend="scripted", model="long") == 7
    assert sized(raw, tmp_path, 0, **SERVER, **DEAR) == 0


def test_no_pilot_is_made_unasked_that_would_be_most_of_the_run(raw, tmp_path):
    assert sized(raw, tmp_path, problems=100, **SERVER, **DEAR) == 50
    assert sized(raw, tmp_path, problems=99, **SERVER, **DEAR) == 0


def test_a_study_limit_of_spending_counts(raw, tmp_path):
    raw["spend"] = {"cost": 4.5}
    assert sized(raw, tmp_path, **SERVER, **DEAR) == 0


def test_a_run_that_went_past_its_pilot_was_agreed_to(raw, tmp_path):
    store = Store(tmp_path / "run")
    assert sized(raw, tmp_path, **SERVER, **DEAR) == 50

    def answer(n: int) -> None:
        with store.appending(store.folder("generate", "long"), "traces") as append:
            append(Trace(id=f"t{n}", problem_id=f"p{n}", author="teacher/long", error="x" if n > 90 else None))

    for n in range(50):
        answer(n)
    answer(91)
    assert sized(raw, tmp_path, **SERVER, **DEAR) == 50
    answer(50)
    assert sized(raw, tmp_path, **SERVER, **DEAR) == 0
    (store.root / "pilot.json").write_text('{"pilot": 51}')
    assert sized(raw, tmp_path, **SERVER, **DEAR) == 50, "the pilot was a larger one"


def test_a_library_that_is_not_installed_is_named_before_anything_is_bought(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(pilot, "find_spec", lambda name: None if name == "scipy" else name)
    with pytest.raises(MissingExtra, match=r"scipy: not installed; run: pip install 'mixdistill\[report\]'"):
        sized(raw, tmp_path, 7, backend="scripted", model="long")
    assert sized(raw, tmp_path, backend="scripted", model="long") == 0


# -- what it says -----------------------------------------------------------------------------------------------------

OWN = '''
from mixdistill.lab.teachers import Scripted
from mixdistill.types import Completion, Usage

VERSION = "1"


class Priced(Scripted):
    """Every third problem is answered wrongly at sample 0, those that begin with 5 or 7 are cut."""

    def generate(self, requests):
        for i, c in super().generate(requests):
            first = int(requests[i].prompt.split()[1])
            if first % 3 == 0 and requests[i].sample == 0:
                c = c.model_copy(update={"content": "A +"})
            if first in (5, 7):
                c = c.model_copy(update={"finish_reason": "length"})
            yield i, c.model_copy(update={"usage": Usage(prompt_tokens=1000, completion_tokens=100 * first)})
'''


@pytest.fixture
def priced(raw: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Teacher `long` is one that errs and is paid for."""
    (tmp_path / "own.py").write_text(OWN)
    price = {"prompt": 1, "completion": 10}
    raw["teachers"]["long"] = {
        "backend": f"{tmp_path}/own.py:Priced", "model": "long", "samples": 2, "price": price,
        "sampling": {"max_tokens": 5000},
    }  # fmt: skip
    raw["problems"]["train"]["limit"] = 60
    raw["seeds"] = 3
    return raw


def test_a_projection_is_made_of_the_pilots_traces(priced, tmp_path, inline):
    store = piloted(priced, tmp_path / "run", 20)
    found = pilot.project(build(priced), store, 20)
    traces = store.read(store.folder("generate", "long"), Trace, "traces")
    cost = sum(1000 * 1 + (t.usage.completion_tokens or 0) * 10 for t in traces) / 1e6
    long, short = found.teachers
    assert (long.problems, long.traces, long.failed, long.rest) == (20, 40, 0, 40)
    assert long.spent == pytest.approx(cost)
    assert long.cost_to_come.value == pytest.approx(2 * cost), "40 more after 20"
    assert long.cost_to_come.interval and long.cost_to_come.interval.low < 2 * cost < long.cost_to_come.interval.high
    assert long.traces_to_come.value == 80
    assert (short.spent, short.cost_to_come.value) == (0.0, 0.0), "it costs nothing"
    assert found.cost.value == pytest.approx(2 * cost)
    tokens = {t.name: t.tokens_to_come.value for t in found.teachers}
    assert found.tokens.value == pytest.approx(sum(n or 0 for n in tokens.values()))
    assert found.cost_at_most and 80 * 5000 * 10 / 1e6 < found.cost_at_most < 80 * 5100 * 10 / 1e6
    cut = [t for t in traces if t.finish_reason == "length"]
    assert cut and long.truncated == pytest.approx(len(cut) / 40)


def test_a_pilot_that_buys_until_one_is_right_is_extended_to_the_same_tables(priced, tmp_path, inline):
    priced["teachers"]["long"] |= {"samples": 1, "until_correct": 1, "max_samples": 3}
    store = piloted(priced, tmp_path / "run", 20)
    found = pilot.project(build(priced), store, 20).teachers[0]
    assert found.traces_to_come.value == pytest.approx(found.traces * 40 / 20)
    assert found.traces > 20 and found.rest == 40
    whole = Store(tmp_path / "whole")
    for place in (store, whole):
        assert pipeline.run(build(priced), place, stages=DATA_STAGES, watcher=Watching()) == []
    assert tables(str(store.root)) == tables(str(whole.root))
    marker = store.marker(store.folder("generate", "long"))
    piloted(priced, store.root, 20)
    assert store.marker(store.folder("generate", "long")) == marker, "it is whole, and a pilot makes it no smaller"


def test_solved_means_correct_and_ended_and_the_rate_goes_by_all(priced, tmp_path, inline):
    store = piloted(priced, tmp_path / "run", 20)
    found = pilot.project(build(priced), store, 20)
    rows = store.read(store.folder("generate", "long"), Trace, "traces")
    wrong = {t.problem_id for t in rows if t.content == "A +"}
    cut = {t.problem_id for t in rows if t.finish_reason == "length"}
    long = found.teachers[0]
    assert wrong and cut - wrong
    assert long.pass_rate == pytest.approx(1 - len(wrong) / 40)
    assert long.pass_interval and 0 < long.pass_interval.low < (long.pass_rate or 0) < long.pass_interval.high < 1
    assert long.solved == 20 - len(cut)
    assert found.shared_teachers == ["long", "short"]
    assert found.shared.value == 3 * (20 - len(cut))
    assert found.shared.basis == f"{20 - len(cut)} of the 20"


def test_what_is_bought_until_one_is_right_says_nothing_of_the_rate(priced, tmp_path, inline):
    store = piloted(priced, tmp_path / "run", 20)
    priced["teachers"]["long"] |= {"samples": 1, "until_correct": 1, "max_samples": 2}
    long = pilot.project(build(priced), store, 20).teachers[0]
    rows = store.read(store.folder("generate", "long"), Trace, "traces")
    assert long.pass_rate == pytest.approx(1 - len({t.problem_id for t in rows if t.content == "A +"}) / 20)


def test_traces_beyond_the_pilot_are_not_foreseen_again(priced, tmp_path, inline):
    store = piloted(priced, tmp_path / "run", 20)
    piloted(priced, store.root, 35)
    assert [t.rest for t in pilot.project(build(priced), store, 20).teachers] == [25, 25]


def test_failed_requests_are_counted_and_leave_the_rest_alone(raw, tmp_path, notes: Notes, inline):
    raw["error_rate"] = 0.5
    raw["problems"]["train"]["limit"] = 30
    notes.do("failing")
    store = piloted(raw, tmp_path / "run", 9)
    found = pilot.project(build(raw), store, 9)
    short = found.teachers[1]
    assert (short.problems, short.traces, short.failed, short.solved) == (6, 6, 3, 6)
    assert short.pass_rate == 1
    assert found.shared.basis == "6 of the 9", "a problem without a trace is not shared"


def test_training_takes_as_long_as_the_shared_problems_are_many_and_long(priced, tmp_path, inline):
    store = piloted(priced, tmp_path / "run", 20)
    found = pilot.project(build(priced), store, 20, workers=1)
    assert found.training.value and found.training.interval
    assert found.training.interval.low < found.training.value < found.training.interval.high
    assert found.training.basis == "6 operations a weight and token, 2e+10 a second and core"
    priced["train"] = {"num_train_epochs": 4}
    twice = pilot.project(build(priced), store, 20, workers=1)
    assert twice.training.value == pytest.approx(2 * found.training.value)


def test_training_has_no_interval_where_one_trace_alone_may_be_trained_on(raw, tmp_path, inline):
    found = pilot.project(build(raw), piloted(raw, tmp_path / "run", 1), 1)
    assert found.training.value
    assert found.training.interval is None
    lines = pilot.text(found).plain.splitlines()
    assert "training    about 1 s" in lines
    assert next(line for line in lines if line.startswith("gap")).endswith("set seeds to 2 or more")


def test_a_teacher_that_solves_nothing_is_warned_of(priced, tmp_path, inline):
    priced["teachers"]["short"]["sampling"] = {"max_tokens": 4}
    found = pilot.project(build(priced), piloted(priced, tmp_path / "run", 5), 5)
    assert found.shared.value == 0
    assert found.training == foresight.unknown("not known before the teachers' lengths are")
    assert found.warnings == [
        "short: 5 of 5 traces were cut at the limit; raise teachers.short.sampling.max_tokens",
        "none of the pilot's problems was solved by all of long, short: nothing could be trained",
    ]


def test_what_cannot_be_foreseen_says_why(raw, tmp_path, inline):
    raw["contrasts"] = {}
    found = pilot.project(build(raw), piloted(raw, tmp_path / "run", 5), 5)
    assert found.shared.basis == found.detectable.basis == "the recipe has no contrast"
    raw["contrasts"] = {"long_cot_gap": ["long", "short"]}
    found = pilot.project(build(raw), Store(tmp_path / "run"), 5)
    assert found.detectable.basis == "one seed gives no verdict; set seeds to 2 or more"
    assert found.cost.value == 0, "scripted teachers cost nothing"
    seen = pilot._Seen(traces=[_answer(None)])
    assert (
        pilot._paid(seen.traces, build(raw | {"teachers": raw["teachers"] | {"long": SERVER}}).teachers["long"]) == {}
    )


def _answer(cost: float | None) -> Trace:
    said = Completion(usage=Usage(prompt_tokens=10, completion_tokens=20), cost=cost)
    return Trace(id="t", problem_id="p", author="a", **dict(said))


def test_what_a_server_says_a_request_cost_goes_before_the_price(raw):
    raw["teachers"]["long"] = SERVER | {"price": {"prompt": 1, "completion": 2}}
    teacher = build(raw).teachers["long"]
    assert pilot._paid([_answer(0.5)], teacher) == {"p": 0.5}
    assert pilot._paid([_answer(None)], teacher) == {"p": pytest.approx(50e-6)}


def test_the_page_is_short_and_fits(priced, tmp_path, inline):
    store = piloted(priced, tmp_path / "run", 20)
    priced["train"] = {"max_length": 30}
    found = pilot.project(build(priced), store, 20, workers=1).model_copy(update={"folder": "runs/tiny"})
    lines = pilot.text(found, 100).plain.splitlines()
    assert max(map(len, lines)) <= 100
    heads = [line[:12].strip() for line in lines if line[:12].strip()]
    assert heads == ["pilot", "teachers", "to come", "cost", "tokens", "shared set", "training", "gap", "warning"]
    assert lines[0] == "pilot       20 of 60 problems, drawn at random; kept in runs/tiny"
    assert re.fullmatch(r"teachers +correct +solved +length: 10 % +50 % +90 % +99 % +cut +tokens +spent", lines[1])
    assert re.fullmatch(r" +long +\d+ % \(\d+ to \d+\) +\d+ of 20( +[\d,]+){4} +\d+ % +[\d,]+ +\$\d\.\d\d", lines[2])
    cost = next(i for i, line in enumerate(lines) if line.startswith("cost"))
    assert re.fullmatch(
        r"cost +\$\d\.\d\d \(\$\d\.\d\d to \$\d\.\d\d\); \$4\.\d\d if no trace ends by itself", lines[cost]
    )
    assert re.fullmatch(r" +\(long \$\d\.\d\d at \$1 / \$10 a million tokens, short \$0\.00\)", lines[cost + 1])
    assert re.search(r"\nwarning +long: \d+ of \d+ traces were cut at the limit; raise", "\n".join(lines))
    assert "are longer than max_length=30 of s (longest" in "\n".join(lines)
