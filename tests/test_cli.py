"""The command line: a user's mistake is a line and an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Notes
from mixdistill import __version__, cli, pipeline
from mixdistill.recipe import load, shipped


@pytest.fixture
def file(tmp_path: Path, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """The recipe, in the folder that the command is run in."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    return "tiny.yaml"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mixdistill", *words])
        with pytest.raises(SystemExit) as e:
            cli.main()
        return int(e.value.code or 0), *capfd.readouterr()

    return run


def test_no_arguments_say_what_it_is_and_what_to_try_first(call):
    code, out, err = call()
    assert (code, out, err) == (0, cli.START, "")
    lines = out.splitlines()
    assert lines[0].startswith("mixdistill measures which reasoning traces teach your small model")
    assert [line.split()[1] for line in lines if line.startswith("  ")] == ["demo", "init", "run"]
    assert max(map(len, lines)) <= 100


def test_the_help_groups_every_verb(call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, err = call("--help")
    assert (code, err) == (0, "")
    assert "First time here? Run: mixdistill demo" in out
    panels = [line.split("─ ")[1].rstrip(" ─╮") for line in out.splitlines() if line.startswith("╭─ ")]
    assert panels == ["Options", *cli.PANELS, "The lab"]
    verbs = [line.split()[1] for line in out.splitlines() if line.startswith("│ ") and line[2].isalpha()]
    assert verbs == [*(verb for names in cli.PANELS.values() for verb in names), "lab"]


def test_the_version_is_printed(call):
    assert call("--version") == (0, f"mixdistill {__version__}\n", "")


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["rn"],
        ["run", "x", "--workers", "0"],
        ["demo", "--full", "--quick"],
        ["init"],
        ["init", "--student", "s", "--problems", "p.csv"],
        ["init", "--from", "demo", "--student", "s"],
        ["recipes", "--to", "x.yaml"],
        ["rm"],
        ["audit"],
        ["audit", "x", "--per-arm", "1"],
        ["disagreements", "x", "--between", "strict"],
    ],
)
def test_wrong_usage_is_exit_2(call, words: list[str]):
    code, _, err = call(*words)
    assert code == 2
    assert "Error" in err
    assert "Traceback" not in err


def test_every_finding_is_a_line_of_its_own(call, file: str, raw: dict[str, Any]):
    raw["train"] = {"learning_rat": 1, "weight_decay": -1}
    Path(file).write_text(yaml.safe_dump(raw))
    for verb in ("run", "check", "generate"):
        assert call(verb, file) == (
            2,
            "",
            "mixdistill: tiny.yaml: train.weight_decay: input should be greater than or equal to 0 (got -1)\n"
            "mixdistill: tiny.yaml: train.learning_rat: unknown key; did you mean 'learning_rate'?\n",
        )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run", "demoo"], "demoo: no such recipe file; did you mean 'demo'?"),
        (["run", "tiny.yaml", "--set", "seeds"], "--set seeds: write it as key.subkey=value"),
        (["check", "tiny.yaml", "--set", "seeds=[1"], "--set seeds=[1:1: not YAML: expected ',' or ']'"),
        (["show", "nowhere"], "nowhere: not a run folder (no problems in it); give the folder that --out named"),
        (["lab", "build", "xxl"], "lab: no model of that name (got 'xxl')"),
        (["status", "nowhere"], "nowhere: not a run folder (no recipe.yaml or no problems in it); give the folder"),
        (["disagreements", "nowhere"], "nowhere: not a run folder (no recipe.yaml or no problems in it); give"),
        (["audit", "nowhere"], "nowhere: not a run folder (no recipe.yaml or no problems in it); give the folder"),
        (["rm", "nowhere"], "nowhere: not a run folder (no recipe.yaml or no problems in it); give the folder"),
        (["recipes", "dmo"], "dmo: no shipped recipe of that name; did you mean 'demo'?"),
        (["init", "--student", "s", "--problems", "p.csv", "--teacher", "t"], "--teacher t: which teacher is it"),
        (["run", "tiny.yaml", "--set", "problems.train.source=no.csv"], "problems.train: no.csv: no such file; give"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line_and_exit_2(call, file: str, words: list[str], line: str):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"mixdistill: {line}")
    assert err.count("\n") == 1


def test_a_mistake_of_ours_is_a_traceback(monkeypatch: pytest.MonkeyPatch, file: str):
    def broken(*args: Any, **more: Any) -> list[str]:
        raise AssertionError("this cannot be")

    monkeypatch.setattr(pipeline, "run", broken)
    monkeypatch.setattr(sys, "argv", ["mixdistill", "generate", file])
    with pytest.raises(AssertionError, match="this cannot be"):
        cli.main()


def test_check_prints_the_plan_of_the_quick_demo(call):
    code, out, err = call("check", "demo-quick", "--set", "students={s: {model: 'lab:s'}}")
    assert (code, err) == (0, "")
    assert out.startswith("study       demo-quick: Does the pipeline run? ")
    assert "            signs   60  lab:signs\n" in out
    assert "3 arms x 2 seeds = 6 trainings\n" in out
    assert "primary, on signs\n" in out
    assert "\x1b" not in out


def test_json_is_nothing_but_json(call, file: str, inline):
    code, out, err = call("check", file, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["name"] == "tiny"
    assert call("check", file, "--json", "--gold")[1].startswith('{\n  "verifier": "signs",')
    assert call("generate", file, "--limit", "2")[0] == 0
    code, out, err = call("show", "runs/tiny", "--json")
    assert (code, err) == (0, "")
    assert [t["trace"]["author"] for t in json.loads(out)["traces"]] == ["teacher/long", "teacher/short"]
    line = "mixdistill: nowhere: not a run folder (no problems in it); give the folder that --out named\n"
    assert call("show", "nowhere", "--json") == (2, "", line)


def test_check_says_everything_at_once_and_exits_with_2(call, file: str):
    changed = ("--set", "problems.train.source=no.csv", "--set", "students.s.model=lab:ss")
    for more in ((), ("--json",)):
        assert call("check", file, *changed, *more) == (
            2,
            "",
            "mixdistill: tiny.yaml: problems.train: no.csv: no such file; give a path from where mixdistill is run, or "
            "a hub id without an ending\n"
            "mixdistill: tiny.yaml: students.s.model: lab: no model of that name (got 'ss'); did you mean 's'?\n",
        )


def test_check_gold_exits_with_1_where_a_reference_is_not_accepted(call, file: str):
    assert call("check", file, "--gold")[::2] == (0, "")
    Path("mine.csv").write_text("prompt,answer\na?,x^2}\n")
    own = ("--set", "problems.train={source: mine.csv}", "--set", "verify.verifier=math")
    code, out, err = call("check", file, "--gold", *own)
    assert (code, err) == (1, "")
    assert out.startswith("math accepts 0 of 1 reference answers of train\n")


@pytest.mark.parametrize("verb", [v for names in cli.PANELS.values() for v in names])
def test_no_word_of_a_help_is_lost_to_markup(call, verb: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = " ".join(call(verb, "--help")[1].split())
    import click
    import typer.main

    command: Any = typer.main.get_command(cli.app)
    command = command.get_command(click.Context(command), verb)
    for param in command.params:
        assert " ".join(param.help.split()) in shown


def test_recipes_are_listed_printed_and_copied(call, file: str):
    code, out, err = call("recipes")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "Read one: mixdistill recipes NAME    Copy it: mixdistill recipes NAME --to my.yaml"
    assert [r["name"] for r in json.loads(call("recipes", "--json")[1])] == list(shipped())
    assert call("recipes", "demo")[1] == shipped()["demo"].read_text()
    assert call("recipes", "demo", "--to", "mine.yaml")[0] == 0
    assert load("mine.yaml").name == "mine"
    refused = (2, "", "mixdistill: mine.yaml: is there already; choose another file, or --force to overwrite it\n")
    assert call("recipes", "demo", "--to", "mine.yaml") == refused
    assert call("init", "--from", "demo", "--out", "mine.yaml") == refused
    assert call("init", "--from", "demo-quick", "--out", "mine.yaml", "--force")[0] == 0
    assert load("mine.yaml").students.keys() == {"xs", "s"}


def test_init_writes_a_recipe_and_says_what_it_saw(call, file: str):
    rows = "".join(f'{{"prompt": "{n} + 1?", "answer": "{n + 1}", "output": "#### {n + 1}"}}\n' for n in range(50))
    Path("sums.jsonl").write_text(rows)
    words = ("init", "--student", "lab:bytes", "--problems", "sums.jsonl", "--teacher", "long=sums.jsonl")
    code, out, err = call(*words, "--teacher", "short=sums.jsonl")
    assert (code, err) == (0, "")
    assert out.startswith("problems   sums.jsonl: 50 rows\n")
    assert out.endswith("Wrote recipe.yaml. Next:\n  mixdistill check recipe.yaml\n  mixdistill run recipe.yaml\n")
    assert call("check", "recipe.yaml")[0] == 0


def test_status_and_rm_tell_of_a_run(call, file: str, inline):
    assert call("status") == (0, "No runs in runs/. The first: mixdistill demo\n", "")
    assert call("generate", file)[0] == 0
    code, out, err = call("status", "runs/tiny")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "go on      mixdistill run runs/tiny/recipe.yaml"
    assert json.loads(call("status", "runs/tiny", "--json")[1])["command"] == out.splitlines()[-1][11:]
    assert call("status")[1].splitlines()[1].split()[:3] == ["runs/tiny", "generate", "2/14"]
    assert [r["run"] for r in json.loads(call("status", "--json")[1])] == ["runs/tiny"]
    code, out, err = call("rm", "runs/tiny", "--yes")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("Deleted runs/tiny: ")
    assert not Path("runs/tiny").exists()


def test_what_a_users_module_prints_is_no_part_of_the_json(call, raw: dict[str, Any], file: str, tmp_path: Path):
    (tmp_path / "own.py").write_text(
        "from mixdistill.lab.domain import verify\n"
        "from mixdistill.lab.teachers import Scripted\n"
        "print('imported')\n"
        "class Loud(Scripted):\n"
        "    def generate(self, requests):\n"
        "        print('asked')\n"
        "        yield from super().generate(requests)\n"
    )
    raw["verify"] = {"verifier": "own.py:verify"}
    raw["teachers"]["long"]["backend"] = "own.py:Loud"
    Path(file).write_text(yaml.safe_dump(raw))
    code, out, err = call("check", file, "--json")
    assert (code, err) == (0, "imported\n")
    assert json.loads(out)["name"] == "tiny"
    code, out, err = call("generate", file, "--json", "--workers", "1")
    assert code == 0
    assert [json.loads(line)["event"] for line in out.splitlines()][-1] == "result"
    assert {"imported", "asked"} <= set(err.splitlines()), "by the worker"


def test_json_lines_are_all_that_stdout_gets(call, file: str, inline):
    code, out, err = call("generate", file, "--json")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["event"] for e in events] == ["problems", "stage", "unit", "unit", "result"]
    assert events.pop(0) == {"event": "problems", "problems": {"train": 12, "signs": 4}, "unused": {}}
    assert events[0] == {"event": "stage", "stage": "generate", "todo": 2, "done": 0, "blocked": 0}
    assert [(e["unit"], e["state"], e["error"], e["left"]) for e in events[1:3]] == [
        ("generate/long", "done", None, 1),
        ("generate/short", "done", None, 0),
    ]
    assert events[1]["counts"]["traces"] == 12
    assert events[-1] == {"event": "result", "failures": [], "report": None, "gaps": []}
    assert "problems: train 12, signs 4" in err
    assert "generate: 2 to do" in err


def test_what_is_left_out_is_said_at_the_start(call, file: str, inline, tmp_path: Path):
    (tmp_path / "mine.csv").write_text("prompt,answer\nQ 8 4 7 9 T 10 :,A + + -\nQ 8 4 7 9 T 10 :,A + + -\n")
    err = call("generate", file, "--set", "problems.train={source: mine.csv}")[2]
    assert "problems: train 1, signs 4\n" in err
    assert "rows left out: train: duplicate 1 (problems/unused.parquet)\n" in err


def test_json_tells_failures_and_refusals_in_the_result(call, file: str, inline):
    code, out, _ = call("generate", file, "--json", "--set", "teachers.long.model=lng")
    assert code == 1
    events = [json.loads(line) for line in out.splitlines()]
    why = "lab: no scripted teacher of that name (got 'lng'); did you mean 'long'?"
    assert next((e["unit"], e["state"], e["error"]) for e in events if e["event"] == "unit") == (
        "generate/long",
        "failed",
        why,
    )
    assert events[-1]["failures"] == [f"generate/long: {why}"]
    assert call("generate", file)[0] == 0
    code, out, err = call("generate", file, "--json", "--set", "teachers.long.sampling.temperature=1.0")
    assert code == 2
    (result,) = map(json.loads, out.splitlines())
    assert err.splitlines()[-1] == f"mixdistill: {result['failures'][0]}"
    assert "sampling.temperature was None, is now 1.0" in result["failures"][0]


def test_the_result_of_a_report_holds_page_and_gaps(call, file: str, inline):
    code, out, _ = call("report", file, "--json")
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert (result["report"], result["gaps"]) == ("runs/tiny/report/index.html", [])


def test_stages_run_one_by_one_then_show_tells(call, file: str, inline):
    for stage in ("generate", "verify", "analyze", "mix"):
        code, out, err = call(stage, file, "--limit", "5", "--workers", "1")
        said = "Both teachers solved all 5 problems.\n" if stage == "verify" else ""
        assert (code, out) == (0, said)
        assert f"{stage}: 2 to do" in err
    assert Path("runs/tiny/recipe.yaml").exists()
    assert "generate: 0 to do, 2 done before" in call("generate", file, "--limit", "5")[2]
    code, out, err = call("show", "runs/tiny")
    assert (code, err) == (0, "")
    assert "reference answer: A " in out
    assert out.count("  -> correct  answer 'A ") == 2


def test_a_refusal_is_exit_2_and_names_key_old_and_new(call, file: str, inline):
    assert call("generate", file, "--out", "r")[0] == 0
    changed = ("generate", file, "--out", "r", "--set", "teachers.long.sampling.temperature=1.0")
    assert call(*changed)[::2] == (
        2,
        "mixdistill: r: generate/long was made otherwise: sampling.temperature was None, is now 1.0; "
        "use --out for a new run or --fresh to set the old aside\n",
    )
    assert call(*changed, "--fresh")[0] == 0
    assert Path("r/set-aside/generate/long/traces.parquet").exists()


def test_a_failed_unit_is_exit_1_and_a_line_each(call, file: str, raw: dict[str, Any], inline):
    code, _, err = call("generate", file, "--set", "teachers.long.model=lng")
    assert code == 1
    last = err.splitlines()[-1]
    assert last == "mixdistill: generate/long: lab: no scripted teacher of that name (got 'lng'); did you mean 'long'?"
    code, _, err = call("verify", file, "--set", "teachers.long.model=lng")
    assert code == 1
    assert "mixdistill: verify/long: not run; generate/long is missing" in err


def test_ctrl_c_says_how_to_go_on(call, file: str, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*args: Any, **more: Any) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupted)
    assert call("run", file) == (130, "", "mixdistill: stopped; run the same command again to go on\n")


def test_ctrl_c_in_the_middle_ends_the_workers_without_a_traceback(file: str, raw, notes: Notes, tmp_path):
    Path(file).write_text(yaml.safe_dump(raw, sort_keys=False))
    notes.do("wait")
    command = [sys.executable, "-m", "mixdistill", "generate", file, "--workers", "2"]  # one waits, one is idle
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 30
        while not (notes.folder / "worker").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr
        said = ""
        while "finishing" not in said:
            said = process.stderr.readline()
            assert said, "it ended at the first Ctrl-C"
        assert said.endswith("] finishing what is in flight; Ctrl-C again abandons it\n")
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "mixdistill: stopped; run the same command again to go on" in err
    assert "Traceback" not in err
    assert not Path(f"/proc/{(notes.folder / 'worker').read_text()}").exists()


@pytest.mark.parametrize("verb", [["recipes", "demo"], ["--help"], ["lab", "list"], []])
def test_a_reader_that_leaves_early_is_no_traceback(verb: list[str]):
    command = [sys.executable, "-m", "mixdistill", *verb]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("verb", [["recipes", "demo"], ["lab", "list"], []])
def test_a_full_disk_while_printing_is_one_line(verb: list[str]):
    with open("/dev/full", "w") as full:
        shown = subprocess.run(
            [sys.executable, "-m", "mixdistill", *verb], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert shown.returncode == 2
    assert shown.stderr == (
        "mixdistill: output: cannot be written (No space left on device); free space or write elsewhere\n"
    )


def test_a_terminal_of_few_letters_is_no_traceback(file: str):
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    shown = subprocess.run([sys.executable, "-m", "mixdistill", "--help"], capture_output=True, env=env)
    assert shown.returncode == 0
    assert shown.stderr == b""


def test_a_folder_in_use_is_named(call, file: str, inline):
    from mixdistill.store import Store

    with Store(Path("r")).lock():
        code, _, err = call("generate", file, "--out", "r")
    assert code == 2
    assert err == f"mixdistill: r: in use by {err.partition('in use by ')[2]}"
    assert "; wait for it or use --out" in err


def test_lab_models_are_listed_with_what_they_are(call):
    code, out, _ = call("lab", "list")
    assert code == 0
    line = next(x for x in out.splitlines() if x.startswith("s "))
    assert " parameters  shipped" in line


def test_the_module_runs_like_the_command():
    shown = subprocess.run([sys.executable, "-m", "mixdistill", "--version"], capture_output=True, text=True)
    assert shown.stdout == f"mixdistill {__version__}\n"
