"""What the hand-written pages show is what the code does: every fenced block is run, loaded or compared."""

from __future__ import annotations

import inspect
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import made
import planted
import study
import tiny
from mixdistill import cli, export, fragments, mix, problems, prompts, resolve
from mixdistill.backends.recorded import Recorded
from mixdistill.commands import compare as comparing
from mixdistill.commands import costs, plan_text, sheets
from mixdistill.commands import lm_eval as crosschecking
from mixdistill.commands import ship as ship_verb
from mixdistill.errors import DataError, RecipeError
from mixdistill.evidence import kinds, readings, style
from mixdistill.evidence.gaps import gaps
from mixdistill.evidence.parts import parts
from mixdistill.fake import faults
from mixdistill.handover import configurations, gate
from mixdistill.mixing import mixtures
from mixdistill.page import anatomy, contents, files
from mixdistill.pipeline import STAGES
from mixdistill.recipe import Recipe, build, load, parse_yaml, render, shipped
from mixdistill.sections import Problems, Published, Source, Train
from mixdistill.store import Store
from mixdistill.types import Outcome, Problem, Request, Trace, prompt_text
from mixdistill.units import Extent, Unit
from mixdistill.verifiers.code import verify as verify_code
from mixdistill.verifiers.grading import grade
from mixdistill.verifiers.sandbox import protection

ROOT = Path(__file__).parent.parent
NAMES = (
    "quickstart",
    "extending",
    "import",
    "prompts",
    "coming-from",
    "rehearse",
    "vllm",
    "verdicts",
    "code",
    "doctor",
    "distributed",
    "mixing",
    "training",
    "tuning",
    "shipping",
    "export",
    "decontamination",
    "anatomy",
    "compare",
    "lm-eval",
    "benchmarks",
    "paper",
    "published-confound",
    "report",
    "evaluation",
)
COMPLETE = (
    "extending",
    "import",
    "coming-from",
    "rehearse",
    "vllm",
    "code",
    "tuning",
    "distributed",
    "decontamination",
    "mixing",
    "anatomy",
    "benchmarks",
)
"""Pages whose recipes need no files."""
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}
NOT_RUN = {
    "make demo ARGS=--quick": "sets up an environment of its own",
    ". .venv/bin/activate": "the tests have one",
    "mixdistill run orders.yaml": "the trial before it takes the same way in less time",
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)


def test_every_block_is_of_a_kind_that_is_tested_here():
    found = {page: set(re.findall(r"^```(\w*)$", text, re.MULTILINE)[::2]) for page, text in PAGES.items()}
    assert found == {
        "quickstart": {"console", "json"},
        "extending": {"python", "yaml", "text"},
        "prompts": {"yaml", "jinja", "json", "text"},
        "import": {"json", "yaml", "text"},
        "rehearse": {"console", "yaml"},
        "coming-from": {"yaml", "text"},
        "vllm": {"yaml"},
        "code": {"yaml", "json"},
        "decontamination": {"yaml"},
        "benchmarks": {"yaml"},
        "evaluation": {"yaml"},
        "mixing": {"yaml", "json"},
        "verdicts": {"console", "text"},
        "training": set(),
        "tuning": {"yaml"},
        "distributed": {"yaml", "text"},
        "shipping": {"console", "text", "yaml"},
        "export": {"console", "text"},
        "doctor": {"console", "text"},
        "anatomy": {"yaml", "text"},
        "compare": {"console", "text"},
        "lm-eval": {"console", "text"},
        "paper": {"yaml", "console"},
        "published-confound": set(),
        "report": {"python"},
    }


def test_links_lead_somewhere():
    for page, text in PAGES.items():
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (ROOT / "docs" / target).exists(), (page, target)


def test_the_code_that_is_shown_is_the_code_of_the_examples():
    files = [(ROOT / "examples" / f"own_{seam}.py") for seam in ("verifier", "backend", "mixture", "metric")]
    assert blocks("extending", "python") == [f.read_text(encoding="utf-8") for f in files]


@pytest.mark.parametrize(("page", "block"), [(page, block) for page in COMPLETE for block in blocks(page, "yaml")])
def test_recipes_and_parts_of_recipes_are_valid(page: str, block: str, raw: dict[str, Any], monkeypatch):
    monkeypatch.chdir(ROOT)
    shown = parse_yaml(block, page)
    assert build(shown if "name" in shown else raw | shown)


def test_every_part_of_the_page_is_explained_in_its_order():
    evidence = study.full().model_copy(update={"dev_points": [1]})
    shown = contents.sections(evidence, contents.tables(study.full()), contents.plots(study.full()), traces=True)
    table = re.findall(r"^\| ([A-Z][^|]*) \|", PAGES["report"].partition("## The files")[0], re.MULTILINE)
    assert sorted(table) == sorted(section.title for section in shown)


def test_tables_are_read_as_the_page_about_them_says(tmp_path: Path):
    files.write(tmp_path / "runs" / "demo" / "report", study.full(), [])
    (block,) = blocks("report", "python")
    ran = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("[('s', -0.184, {'low': -0.4, 'high': 0.032}, \"can't tell\"),")


def test_the_rows_of_the_quickstart_are_a_problem_and_a_trace_of_it(tmp_path: Path):
    for name, block in zip(("problems", "traces"), blocks("quickstart", "json"), strict=True):
        assert json.loads(block)
        (tmp_path / f"{name}.jsonl").write_text(block, encoding="utf-8")
    ((_, problem),) = problems.load(Source(source=str(tmp_path / "problems.jsonl")), split="train").problems
    backend = Recorded(str(tmp_path / "traces.jsonl"), finish_reason_column="finish_reason")
    ((_, completion),) = backend.generate([Request(prompt=problem.prompt)])
    assert completion and (completion.reasoning, completion.finish_reason) == ("It goes to Bergen.", "stop")
    trace = tiny.trace(problem, **dict(completion))
    (verdict,) = grade([(problem, trace)], resolve.reference("verifier", "json"), {}, name="json")
    assert verdict.outcome is Outcome.CORRECT


IMPORTED = list(zip(blocks("import", "json"), blocks("import", "text"), strict=True))


@pytest.mark.parametrize(("rows", "said"), IMPORTED, ids=[said.partition(";")[0].strip() for _, said in IMPORTED])
def test_the_layouts_that_are_shown_are_read_as_is_said(rows: str, said: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("traces.jsonl").write_text(rows, encoding="utf-8")
    backend = Recorded("traces.jsonl")
    try:
        assert backend.join_report(["What is 2 + 3?"])["columns"] == said.strip()
    except DataError as e:
        assert str(e) == said.strip()
        return
    ((_, first),) = backend.generate([Request(prompt="What is 2 + 3?")])
    assert first and "5" in first.content
    assert first.reasoning == ("" if "from 'solution'" in said else "Two, then three.")


def test_the_thinking_of_the_model_that_is_chosen_comes_with_it(tmp_path: Path):
    (tmp_path / "traces.jsonl").write_text(blocks("import", "json")[-1], encoding="utf-8")
    (option,) = re.findall(r"`completion_column:\s(deepseek_\w+)`", PAGES["import"])
    ((_, first),) = Recorded(str(tmp_path / "traces.jsonl"), completion_column=option).generate(
        [Request(prompt="What is 2 + 3?")]
    )
    assert first and first.reasoning == "Two, then three."


def test_the_options_that_are_named_for_imports_are_options():
    named = set(re.findall(r"`(\w+_column)", PAGES["import"])) | {"path", "subset", "split", "complete"}
    assert named == {k for k, p in inspect.signature(Recorded).parameters.items() if p.kind is p.KEYWORD_ONLY}


def test_the_facts_of_a_mix_that_are_shown_are_those_of_a_draw(tmp_path: Path):
    (block,) = blocks("mixing", "json")
    teachers = {t: {i: [tokens] for i in range(960)} for t, tokens in (("long", 384), ("short", 100))}
    arms, sections = {"mix": {"long": 0.2, "short": 0.8}}, {"budget": {"per_update": 16}}
    drawn = mix.draw(
        made.recipe(arms, train={"num_train_epochs": 2}, **sections), made.run(tmp_path, 960, teachers), "s", "mix", 0
    )
    shown = json.loads(block)
    shares = {t: round(n, 2) for t, n in drawn.facts["share_loss_tokens"].items()}
    assert shown == {k: v for k, v in (drawn.facts | {"share_loss_tokens": shares}).items() if k in shown}


def test_the_prompts_that_have_other_words_are_those_that_are_named():
    (named,) = re.findall(r"Three are shipped for each\sof the prompts ([^;]*);", PAGES["evaluation"])
    assert set(re.findall(r"`(\w+)`", named)) == {"plain", *prompts.shipped()}


def test_the_options_of_the_mixtures_are_those_that_are_listed():
    for name, cell in re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|$", PAGES["mixing"], re.MULTILINE):
        if name not in resolve.BUILTIN["mixture"]:
            continue
        given = inspect.signature(resolve.load(resolve.reference("mixture", name))).parameters
        options = {k for k, p in given.items() if p.kind is p.KEYWORD_ONLY} - set(mixtures.SUPPLIED)
        listed = set(re.findall(r"`(\w+)`:", cell))
        assert listed == options, name


RIGHT = {
    "inputs": "print(sum(map(int, input().split())))",
    "add": "def add(a, b): return a + b",
    "double": "def double(x): return 2 * x",
    "half": "def half(x): return x / 2",
}


@pytest.mark.parametrize("block", blocks("code", "json"))
def test_the_forms_of_tests_that_are_shown_are_read_and_passed(block: str):
    program = next(right for word, right in list(RIGHT.items())[::-1] if word in block)
    trusted = {} if protection().network else {"unprotected": True}
    verdicts = []
    for content in (f"```python\n{program}\n```", "```python\nprint(1)\n```"):
        problem = Problem(id="p", prompt="?", answer=block)
        verdicts.append(verify_code(problem, tiny.trace(problem, content=content), **trusted))
    assert [v.outcome for v in verdicts] == [Outcome.CORRECT, Outcome.INCORRECT]


def test_the_options_of_code_are_those_that_are_listed():
    given = inspect.signature(verify_code).parameters
    listed = dict(re.findall(r"^\| `(\w+)` \((.*?)\) \|", PAGES["code"], re.MULTILINE))
    assert listed == {
        k: json.dumps(p.default).replace("1e-06", "1e-6").removesuffix(".0")
        for k, p in given.items()
        if p.kind is p.KEYWORD_ONLY
    }


def commands() -> list[str]:
    return [line[2:] for block in blocks("quickstart", "console") for line in block.splitlines()]


def test_what_is_not_run_of_the_quickstart_stands_there():
    assert set(NOT_RUN) <= set(commands())
    assert all(c.startswith("mixdistill ") for c in set(commands()) - set(NOT_RUN))


def test_the_quickstart_can_be_followed(tmp_path: Path):
    pytest.importorskip("trl")
    verbs = set(vars(typer.main.get_command(cli.app))["commands"])
    wanted = {c.split()[1] for c in commands() if c.startswith("mixdistill ")}
    if lacking := wanted - verbs:
        pytest.skip(f"no verb {', '.join(sorted(lacking))} yet")
    (tmp_path / "src").symlink_to(ROOT / "src")
    said = {}
    for command in commands():
        if command not in NOT_RUN:
            words = [sys.executable, "-m", *shlex.split(command)]
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            said[words[3]] = done.stdout
    assert set(load(tmp_path / "orders.yaml").arms) == {"long", "short", "mix-long", "mix-long-50"}
    assert (tmp_path / "runs" / "trial" / "report" / "index.html").exists()
    assert "[json: last_object/fields]" in said["show"]


SERVES = "mixdistill fake orders.yaml --faults 0.05 --pass-rate 0.4"
"""Runs until Ctrl-C, which tests/commands/test_fake.py tries."""


def test_a_rehearsal_goes_as_the_page_says(tmp_path: Path):
    pytest.importorskip("torch")
    (recipe,) = blocks("rehearse", "yaml")
    (tmp_path / "orders.yaml").write_text(recipe, encoding="utf-8")
    shown = [line[2:] for block in blocks("rehearse", "console") for line in block.splitlines()]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    said = {}
    for command in shown:
        if command != SERVES:
            words = [sys.executable, "-m", *shlex.split(command)]
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            said[words[3]] = done
    assert SERVES in shown
    assert "nothing is bought" in said["generate"].stderr
    assert load(tmp_path / "runs" / "orders-rehearsal" / "recipe.yaml").teachers["long"].model == "fake/big-model"
    assert "correct     teacher/long #1   337 tokens, stop" in said["show"].stdout
    assert "[json: last_object/fields]" in said["show"].stdout


def test_the_faults_that_the_page_lists_are_all_there_are():
    text = " ".join(PAGES["rehearse"].split())
    named = (
        "429 with and without a time to wait, 500, 503, no answer at all, a reset connection, half of the JSON, no "
        "choices, a page instead of JSON, an answer that drips, and two answers under one id"
    )
    assert named in text
    assert len(faults.KINDS) == len(named.split(", ")) + 1, "429 counts twice"


def findings(raw: dict[str, Any], **sections: Any) -> list[str]:
    with pytest.raises(RecipeError) as e:
        build({**raw, **sections}, where="study.yaml")
    return e.value.findings


def test_the_errors_of_own_code_look_as_they_are_shown(raw: dict[str, Any], tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = findings(raw, verify={"verifier": "own.py:verify"})
    example = (ROOT / "examples" / "own_verifier.py").read_text(encoding="utf-8")
    Path("own.py").write_text(example, encoding="utf-8")
    found += findings(raw, verify={"verifier": "own.py:verfy"})
    found += findings(raw, verify={"verifier": "own.py:verify", "tolerence": 0.1})
    Path("loose.py").write_text("def verify(problem, trace, tolerance=0.01): ...\n", encoding="utf-8")
    found += findings(raw, verify={"verifier": "loose.py:verify", "tolerance": 0.1})
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    Path("own.py").write_text("\ndef verify(:\n", encoding="utf-8")
    found += findings(raw, verify={"verifier": "own.py:verify"})
    before, verdict, after = blocks("extending", "text")
    assert before.splitlines() == found
    problem = tiny.problem("How far?", "far away")
    trace = Trace(id="t", problem_id=problem.id, author="a", content="8 km")
    (judged,) = grade([(problem, trace)], f"{ROOT}/examples/own_verifier.py:verify", {}, name="own")
    assert (judged.outcome, judged.explanation) == (Outcome.ERROR, verdict.strip())
    Path("solver.py").write_text(
        "class Solver:\n"
        "    def __init__(self, model): pass\n"
        "    def generate(self, requests): raise RuntimeError('the solver gave up')\n"
    )
    teachers = {**raw["teachers"], "long": {"backend": "solver.py:Solver", "model": "x"}}
    failed = tiny.failures(build({**raw, "teachers": teachers}), tmp_path / "run", "generate")
    assert failed == [after.strip().format(run=tmp_path / "run")]


@pytest.fixture
def prompt_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The template and the worked examples of the page on prompts, where it says that they are."""
    monkeypatch.chdir(tmp_path)
    Path("prompts").mkdir()
    for name, language in {"short.jinja": "jinja", "worked.jsonl": "json"}.items():
        (block,) = blocks("prompts", language)
        Path("prompts", name).write_text(block, encoding="utf-8")


def test_the_prompts_that_are_shown_are_sent_as_they_are_shown(raw: dict[str, Any], prompt_files: None):
    (shown,) = blocks("prompts", "yaml")
    teachers = build(raw | parse_yaml(shown, "prompts")).teachers
    turns = prompts.of(teachers["short"])("What is 7 times 8?")
    assert prompt_text(turns) == blocks("prompts", "text")[0]
    long = prompts.of(teachers["short"])("1" * 401)
    assert long[-1].content.startswith("This one is long. Decide what matters first.\nSolve the problem in")  # ty: ignore
    table = {
        line.split("`")[1] for line in PAGES["prompts"].splitlines() if line.startswith("| `") and "sent" not in line
    }
    assert table == {prompts.PLAIN, *prompts.shipped()}


def test_the_errors_of_prompts_look_as_they_are_shown(raw: dict[str, Any], prompt_files: None):
    files = {
        "broken.jinja": "Solve:\n{{ problem }\n",
        "typo.jinja": "Solve\nthis:\n{{ problm }}",
        "without.jinja": "Solve it.",
        "rows.jsonl": '{"prompt": "1?", "completion": "1"}\n{"prompt": "2?"}\n',
    }
    found = []
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
        key = "examples" if name.endswith(".jsonl") else "prompt"
        short = {"backend": "openai", "model": "m", key: name}
        found += findings(raw, teachers={**raw["teachers"], "short": short})
    assert blocks("prompts", "text")[1].splitlines() == found


def test_what_is_shown_as_refused_is_refused(raw: dict[str, Any]):
    (shown,) = blocks("coming-from", "text")
    assert shown.splitlines() == findings(raw, train={"cutoff_len": 2048, "max_seq_length": 8192})


def test_every_key_that_is_named_as_ours_is_one():
    text = PAGES["coming-from"]
    same = next(line for line in text.splitlines() if "| the same, under `train` |" in line)
    named = set(re.findall(r"`(\w+)`", same)) - {"train"}
    named |= set(re.findall(r"`train\.(\w+)`", text))
    assert len(named) > 8
    assert named <= set(Train.model_fields)
    assert {"problems", "students", "arms", "budget", "seeds"} <= set(Recipe.model_fields)


def test_what_is_said_of_trl_holds_for_the_version_that_is_installed():
    trl = pytest.importorskip("trl")
    fields = trl.SFTConfig.__dataclass_fields__
    assert {k: fields[k].default for k in ("max_length", "truncation_mode")} == {
        "max_length": 1024,
        "truncation_mode": "keep_start",
    }
    assert {"packing_strategy", "chat_template_path", "completion_only_loss", "assistant_only_loss"} <= set(fields)


def test_the_options_of_the_built_in_verifiers_are_those_that_are_named():
    text = " ".join(PAGES["extending"].split())
    for name in ("exact", "numeric", "choice", "json"):
        verify = resolve.load(resolve.reference("verifier", name))
        (options,) = re.findall(rf"`{name}` \(([^)]*)\)", text)
        given = dict.fromkeys(re.findall(r"`(\w+)`", options))
        assert resolve.check_options("verify", verify, given) == []
        assert list(verify.__kwdefaults__) == list(given)


def test_what_is_said_of_the_verdicts_of_a_run_is_what_the_verbs_say(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = Path("runs/long-vs-short")
    planted.example(root)
    shown = [line[2:] for block in blocks("verdicts", "console") for line in block.splitlines()]
    said: dict[str, str] = {}
    for command in shown:
        if command.endswith("--mark"):  # by a person who reads; tests/commands/test_audit.py tries the keys
            path = root / "audit" / "sheet.csv"
            rows = sheets.read(path)
            for row in rows:
                row["mark"] = "c" if re.search(rf"\b{row['reference']}\b", row["answer"]) else "i"
            sheets.write(path, rows)
            continue
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as e:
            cli.main()
        assert not e.value.code, command
        said[command.split()[1]] = capsys.readouterr().out
    differing, report = blocks("verdicts", "text")
    assert said["disagreements"].startswith(differing)
    assert said["audit"].startswith(report)
    assert "--mark" in " ".join(shown)


def test_the_gap_that_is_taken_apart_is_what_its_parts_come_to(tmp_path: Path):
    """Two arms that fail in different ways, on the same problems: 300, with three seeds."""
    asked, rng = planted.problems(300), random.Random(0)
    recipe = build(planted.EXAMPLE)
    store = planted.run(tmp_path / "run", planted.EXAMPLE, {"gsm8k": asked})
    ways = (Outcome.CORRECT, Outcome.INCORRECT, Outcome.TRUNCATED, Outcome.NO_ANSWER)
    done = []
    for arm, often in (("long", (42, 24, 30, 4)), ("short", (60, 36, 1, 3))):
        for seed in range(3):
            outcomes = rng.choices(ways, often, k=300)
            author = f"student/qwen-1.5b/{arm}/{seed}"
            planted.fill(store, author, asked, lambda i, o=outcomes: {"math": o[i]}, benchmark="gsm8k")
            wanted = Extent(author, tuple(p.id for p in asked), 1)
            done.append(Unit("evaluate", ("qwen-1.5b", arm, str(seed), "gsm8k"), {}, wanted=wanted))
    levels = {"gsm8k": {"all": {p.id for p in asked}}}
    (gap, *_), *_ = gaps(recipe, readings.read(recipe, store, done).correct, levels).values()
    (shown,) = blocks("anatomy", "text")
    assert anatomy.parts_words(gap, parts(store, done, [gap])) == " ".join(shown.split())


def test_the_figures_of_the_anatomy_page_are_those_of_the_code():
    for figure in (f"{len(kinds.FUNCTION)} function words", f"{len(kinds.STEERING)} words that steer"):
        assert figure in PAGES["anatomy"]
    assert f"beyond {style.FURTHEST} counts as {style.FURTHEST}" in PAGES["anatomy"]
    assert f"fewer than {style.FEWEST} times" in PAGES["anatomy"]


def test_the_gate_that_is_shown_is_a_part_of_a_recipe():
    (block,) = blocks("shipping", "yaml")
    assert list(Problems.model_validate(parse_yaml(block, "shipping")["problems"]).lists) == [
        "train",
        "held-out",
        "gate",
    ]


def test_what_ship_is_shown_to_say_is_what_it_says():
    """The figures are one run's; the words are the verb's."""
    (shown,) = blocks("shipping", "text")
    words = ("Trained on", "verified traces of", "correct", "tokens an answer", "ended by itself", "better:", "forgot")
    assert all(word in shown for word in words)
    assert "Ship it: " in shown or "Keep the base model: " in shown
    assert inspect.signature(ship_verb.text).parameters.keys() == {"shipped", "root", "problems", "width"}


def test_the_rule_that_is_described_is_the_one_in_force():
    text = " ".join(PAGES["shipping"].split())
    assert (gate.STOPS, gate.MAY_FORGET) == (0.5, 0.25)
    assert "at least half of its answers end by themselves" in text
    assert "at most a quarter (`--may-forget`) are no longer solved" in text
    told = "- `--may-forget`: Of what base solves, at most so much is lost; else a quarter."
    assert told in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert "Tokens an answer are shown beside it, and are no part of the rule" in text


def test_the_layouts_and_trainers_that_are_listed_are_all_there_are():
    rows = [
        line.split("`")[1] for line in PAGES["export"].splitlines() if line.startswith("| `") and "--for" not in line
    ]
    assert set(rows) == {*export.LAYOUTS, *configurations.TRAINERS}


def test_the_doctors_page_is_what_it_says_of_the_demo(tmp_path: Path, monkeypatch):
    from mixdistill.commands import doctor
    from mixdistill.recipe import load

    monkeypatch.chdir(tmp_path)
    (command,) = blocks("doctor", "console")
    assert command == "$ mixdistill doctor demo --student xs\n"
    assert doctor.text(doctor.examine(load("demo"), student="xs")).plain + "\n" == blocks("doctor", "text")[0]


def test_the_checks_that_are_listed_are_the_checks():
    from mixdistill import row_checks, template_checks

    listed = re.findall(r"^\| `(\w+)` \|", PAGES["doctor"], re.MULTILINE)
    assert listed == [*template_checks.CHECKS, *row_checks.CHECKS]


def test_the_completion_that_is_shown_is_the_one_that_is_rendered():
    import templates
    from mixdistill.tokens import Template

    template = Template(templates.of("qwen2.5").tokenizer, {})
    shown = blocks("doctor", "text")[1].removesuffix("\n").replace("{stop}", template.stop_text)
    assert template.completion_text("{reasoning}", "{content}") == shown


def test_two_runs_are_compared_as_is_shown(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mixdistill.evidence.verdicts.FEWEST", 20)  # what is shown is a run of enough problems
    study = tiny.study(tiny.student(Path("student")), problems=tiny.problem_sets(24, 20), evaluate={"caps": []})
    store, _ = tiny.run(study, Path("runs/one"), *STAGES[:-1])
    (store.root / "recipe.yaml").write_text(render(study))
    shutil.copytree("runs/one", "runs/two")
    for path in Path("runs/two/train").rglob("done.json"):
        marker = json.loads(path.read_text())
        marker["facts"] |= {"peak_learning_rate": 5e-3, "learning_rate_integral": 0.0175}
        marker["options"]["train"]["learning_rate"] = 5e-3
        marker["tables"]["model"]["columns"]["weights"] = path.parent.name
        path.write_text(json.dumps(marker))
    for run, cells in (("one", {"base": 4, "long/0": 17, "long/1": 15, "short/0": 6, "short/1": 6}),
                       ("two", {"base": 4, "long/0": 7, "long/1": 5, "short/0": 6, "short/1": 6})):  # fmt: skip
        for cell, right in cells.items():
            tiny.plant(Store(Path("runs", run)), cell, right)
    (command,), (shown, *_) = blocks("compare", "console"), blocks("compare", "text")
    words = command.split()[3:]
    assert command == f"$ mixdistill compare {' '.join(words)}\n"
    said = comparing.text(comparing.compare([Path(word) for word in words]), 120).plain
    said = re.sub(r"of \d+ things", "of 52 things", said)  # each library's version is one, and not all are installed
    assert said.startswith(shown), said


def test_the_cross_check_is_as_is_shown(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = tiny.study(tiny.student(Path("student")), evaluate={"caps": []})
    tiny.failures(study, Path("runs/signs"), "evaluate")
    Path("runs/signs/recipe.yaml").write_text(render(study))
    (write, check), (written, checked) = blocks("lm-eval", "console"), blocks("lm-eval", "text")
    assert (write, written) == (
        "$ mixdistill lm-eval runs/signs base --out check\n",
        crosschecking.written(crosschecking.export(Path("runs/signs"), "base", Path("check")), 100).plain + "\n",
    )
    rows = [json.loads(line) for line in Path("check/samples_mixdistill_signs.jsonl").read_text().splitlines()]
    words = rows[0]["resps"][0][0].split()
    rows[0] |= {"resps": [[" ".join(words[:3])]]}
    rows[0]["arguments"]["gen_args_0"]["arg_1"]["until"] = [words[3]]
    rows[1]["resps"] = [["A + +"]]
    file = Path(check.split()[-1])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert check == f"$ mixdistill lm-eval runs/signs base --check {file}\n"
    said = crosschecking.checked(crosschecking.crosscheck(Path("runs/signs"), "base", file), 100).plain
    assert said.startswith(checked), said


def test_the_table_of_benchmarks_is_what_is_shipped():
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in re.findall(r"^\| `.*$", PAGES["benchmarks"], re.M)
    ]
    found = {}
    for name, _, _, ask, judged, how in rows:
        samples, tokens = re.findall(r"[\d,]+(?=[,;]|$)", how.partition(";")[0])
        found[name.strip("`")] = (
            ask.strip("`"),
            judged.strip("`"),
            int(samples.strip(",")),
            int(tokens.replace(",", "")),
        )
    shipped = {name: fragments.fragment(name) for name in fragments.shipped()}
    assert found == {
        name: (f.get("ask", "as it stands"), f["verify"]["verifier"], f.get("k", 1), f["sampling"]["max_tokens"])
        for name, f in shipped.items()
    }
    assert all(f"`{f['source']}`" in PAGES["benchmarks"] for f in shipped.values())


def test_the_paper_page_lists_every_recipe_of_the_paper_with_its_size_and_cost():
    found = []
    for name in shipped():
        if name.startswith("paper/"):
            study = load(name)
            cost = costs.cost(study, costs.known_rows(study), {}, Store(ROOT / "no-such-run"))
            hours = [plan_text.hours(a.value).removeprefix("about ") for a in (cost.training, cost.evaluation)]
            size = f"{len(study.students)}, {len(study.arms)}, {len(study.cells())}"
            found.append((name, size, " + ".join(hours)))
    rows = re.findall(r"^\| `(paper/[^`]+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", PAGES["paper"], re.MULTILINE)
    assert sorted(rows) == sorted(found)


def test_the_recipes_of_the_paper_page_are_recipes(tmp_path: Path):
    own, numbers = blocks("paper", "yaml")
    (tmp_path / "my.yaml").write_text(own, encoding="utf-8")
    made = load(tmp_path / "my.yaml")
    assert (list(made.students), made.published) == (["mine"], [])
    assert len(made.arms) == len(load("paper/table-3-controlled").arms)
    shown = [Published(**row) for row in parse_yaml(numbers, "paper")["published"]]
    known = [*load("paper/table-1-controlled").published, *load("paper/table-3-controlled").published]
    assert all(row in known for row in shown)


def test_the_page_of_the_published_confound_speaks_of_the_shipped_recipe():
    study, page = load("published-confound"), " ".join(PAGES["published-confound"].split())
    assert all(f"`{name}`" in page for name in (*study.arms, *list(study.contrasts)[:3]))
    assert study.arms["mix-published"].budget == {"per_update": 530}
    assert f"student `s`, {study.problems.train.limit:,} problems, two epochs, cosine without warm-up" in page
    assert (study.seeds, study.train.num_train_epochs, study.train.warmup_ratio) == (5, 2, 0)
