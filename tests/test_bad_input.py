"""Bad input: one line that says where, what and what to do, exit 2, and nothing that lay in the run folder is lost."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from mixdistill import cli
from mixdistill.lab import domain
from mixdistill.store import Store
from mixdistill.types import Unused

ROWS = [{"prompt": p.prompt, "answer": p.answer} for p in domain.problems("train", count=40)]
RUN = Path("runs/tiny")
Call = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], inline: None) -> Call:
    """Run a command in this process, in a folder of its own: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mixdistill", *words])
        with pytest.raises(SystemExit) as e:
            cli.main()
        return int(e.value.code or 0), *capfd.readouterr()

    return run


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run folder that every test begins with is kept, once it is made."""
    return tmp_path_factory.mktemp("shelf") / "run"


@pytest.fixture
def refuse(call: Call, raw: dict[str, Any], shelf: Path) -> Refuse:
    """Run what stands in the recipe, or in a text or bytes for one, over a folder with traces of both teachers.

    Gives the only line that comes of it, and has looked that everything in the folder is as it was.
    """
    write(raw)
    if not shelf.exists():
        assert call("generate", "tiny.yaml")[0] == 0
        shutil.copytree(RUN, shelf)
    shutil.copytree(shelf, RUN, dirs_exist_ok=True)
    assert (RUN / "generate/long/traces.parquet").exists()

    def run(recipe: dict[str, Any] | str | bytes, *words: str) -> str:
        write(recipe)
        before = kept()
        code, out, err = call("run", "tiny.yaml", *words)
        assert (code, out) == (2, "")
        assert err.startswith("mixdistill: ") and err.count("\n") == 1 and err.endswith("\n"), err
        assert kept() == before
        return err.removeprefix("mixdistill: ").removesuffix("\n")

    return run


def write(recipe: dict[str, Any] | str | bytes) -> None:
    text = yaml.safe_dump(recipe, sort_keys=False) if isinstance(recipe, dict) else recipe
    Path("tiny.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())


def kept() -> dict[str, bytes]:
    """Everything below the folder that the command is run in, but the lock and the clock."""
    files = (p for p in Path().rglob("*") if p.is_file() and p.name not in (".lock", "sessions.json"))
    return {str(p): p.read_bytes() for p in files}


def jsonl(rows: list[dict[str, Any]], name: str = "a.jsonl") -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def train(raw: dict[str, Any], source: str, **more: Any) -> dict[str, Any]:
    """The recipe with these training problems."""
    raw["problems"]["train"] = {"source": source, **more}
    return raw


def plan(call: Call, raw: dict[str, Any]) -> list[str]:
    """What a plan says of the problems: how many, their columns, the rows that are none."""
    write(raw)
    code, out, err = call("check", "tiny.yaml", "--json")
    assert (code, err) == (0, "")
    made = json.loads(out)
    return [
        ", ".join(f"{p['name']} {p['problems']}" for p in made["problems"]),
        *(f"{p['name']}: {p['columns']}" for p in made["problems"] if p["columns"]),
        *(f"{u['rows']} dropped: {u['name']}: {u['reason']}" for u in made["unused"]),
    ]


FOUND = "train: prompt from 'prompt', answer from 'answer'"

# -- the recipe -------------------------------------------------------------------------------------------------------

NAME = "cannot be a name; use letters, digits, '.', '_' and '-', at most 64 of them"


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("train", {"learning_rat": 1}, "train.learning_rat: unknown key; did you mean 'learning_rate'?"),
        ("a\nb", 1, "a\\nb: unknown key; known: analyze, arms, budget, contrasts, description, error_rate, evaluate, "
         "looks, name, primary, problems, published, seeds, smallest_gap, smoke, spend, students, teachers, train, "
         "tune, verify"),
        ("seeds", "three", "seeds: must be a whole number or a list of them (got 'three')"),
        ("problems/train/answer", 5, "problems.train.answer: must be a text or a list of them (got 5)"),
        ("verify/verifier", 5, "verify.verifier: must be a text or a list of them (got 5)"),
        ("problems", "x" * 200, "problems: input should be a valid dictionary or instance of Problems "
         f"(got '{'x' * 76}...)"),
        ("problems/train/source", "",
         "problems.train.source: string should have at least 1 character (got '')"),
        ("problems/train/part", [0.5, 0.2],
         "problems.train.part: must be [a, b] with 0 <= a < b <= 1 (got [0.5, 0.2])"),
        ("arms/mix", {"shrt": 1}, "arms.mix: 'shrt' is not a teacher; did you mean 'short'?"),
        ("arms/mix", {"long": 0.2, "short": 0.7}, "arms.mix: weights must add up to 1 (got 0.9)"),
        ("arms/mix", {"long": -0.2, "short": 1.2},
         "arms.mix.weights.long: input should be greater than or equal to 0 (got -0.2)"),
    ],
    ids=[
        "unknown key", "line end in a key", "wrong type", "a text or several", "a verifier or several",
        "long value", "no source", "part", "unknown teacher", "sum",
        "negative",
    ],
)  # fmt: skip
def test_a_mistake_in_a_recipe_is_named_with_its_key(refuse: Refuse, raw: dict[str, Any], path: str, value, line: str):
    section, *keys = [raw, *path.split("/")]
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    assert refuse(raw) == f"tiny.yaml: {line}"


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 300, ".", "..", "two\nlines", "nul\0", "-x", "a\\b", "ü"])
@pytest.mark.parametrize("section", ["name", "teachers", "students", "arms", "problems.eval", "contrasts"])
def test_a_name_that_could_leave_the_folder_is_refused(refuse: Refuse, raw: dict[str, Any], section: str, name: str):
    if section == "name":
        raw["name"] = name
    else:
        names = raw["problems"]["eval"] if section == "problems.eval" else raw[section]
        names[name] = next(iter(names.values()))
    shown = name if len(name) <= 80 else name[:77] + "..."
    assert refuse(raw) == f"tiny.yaml: {section}: {shown!r} {NAME}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "tiny.yaml: a recipe is a mapping of sections (got NoneType)"),
        ("- a\n- b\n", "tiny.yaml: a recipe is a mapping of sections (got list)"),
        ("name: a\nseeds: 1\nname: b\n", "tiny.yaml:3: not YAML: the key 'name' stands twice"),
        ("name: [a\n", "tiny.yaml:2: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("name: a\0b\n", "tiny.yaml: not YAML: unacceptable character #x0000: special characters are not allowed"),
        (b"name: caf\xe9\n", "tiny.yaml: not UTF-8 text (byte 9); save it as UTF-8"),
        (
            'name: !!python/object/apply:os.system ["touch pwned"]\n',
            "tiny.yaml:1: not YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        (
            "name: !!python/name:os.system\n",
            "tiny.yaml:1: not YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("name: 2020-13-45\n", "tiny.yaml: not YAML: month must be in 1..12; put texts in quotes"),
        ("name: " + "[" * 100_000, "tiny.yaml: nested too deeply; write it plainly"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi"))
            + "description: *i\n",
            "tiny.yaml: its aliases stand for more than 100,000 values; write it plainly",
        ),
        (
            "a: &a {x: 1}\n"
            + "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in pairwise("abcdefgh")),
            "tiny.yaml: its aliases stand for more than 100,000 values; write it plainly",
        ),
        ("name: &a [*a]\n", "tiny.yaml: its aliases stand for more than 100,000 values; write it plainly"),
    ],
    ids=[
        "empty", "list", "key twice", "open", "nul", "latin-1", "python call", "python name", "no date", "deep",
        "billion laughs", "billion merges", "itself",
    ],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_named_with_the_place(refuse: Refuse, text: str | bytes, line: str):
    assert refuse(text) == line
    assert not Path("pwned").exists()


def test_a_recipe_with_a_byte_order_mark_and_windows_line_ends_works(call: Call, raw: dict[str, Any]):
    write(b"\xef\xbb\xbf" + yaml.safe_dump(raw, sort_keys=False).replace("\n", "\r\n").encode())
    assert call("generate", "tiny.yaml")[0] == 0


def test_a_variable_that_is_not_set_is_named(refuse: Refuse, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("UNSET", raising=False)
    assert refuse(train(raw, "${UNSET}/a.jsonl")) == (
        "${UNSET}: the recipe names this environment variable, and it is not set; export UNSET=..."
    )


def test_a_recipe_changed_under_an_existing_run_is_refused(refuse: Refuse, raw: dict[str, Any]):
    raw["teachers"]["long"]["sampling"] = {"max_tokens": 9}
    assert refuse(raw) == (
        "runs/tiny: generate/long was made otherwise: sampling.max_tokens was None, is now 9; use --out for a new run "
        "or --fresh to set the old aside"
    )


# -- files that cannot be used ----------------------------------------------------------------------------------------


def make(name: str, content: Any) -> None:
    """What lies at a path: text, bytes, or what a function leaves there."""
    if callable(content):
        content(name)
    elif content is not None:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", "", "a.jsonl: holds no rows; it must hold one problem a row"),
        ("a.csv", "prompt,answer\n", "a.csv: holds no rows; it must hold one problem a row"),
        (
            "a.jsonl",
            '{"prompt": "q", "reply": "1"}\n',
            "a.jsonl: no answer column (got prompt, reply); set problems.train.answer to one of these",
        ),
        (
            "a.jsonl",
            b'{"prompt": "caf\xe9", "answer": "1"}\n{"prompt": "q", "answer": "1"}\n',
            "a.jsonl: 1 of 2 rows are no problems (1 unreadable), more than error_rate=0.05; the first is row 1: "
            "not UTF-8 text (byte 15 of the line); save the file as UTF-8; mend the rows, set prompt, answer or "
            "answer_after in problems.train (read: prompt from 'prompt', answer from 'answer'), or raise error_rate",
        ),
        ("a.json", b'["caf\xe9"]', "a.json: not UTF-8 text (byte 5); save it as UTF-8"),
        (
            "a.csv",
            "prompt;answer\ncaf\u00e9;1\n".encode("latin-1"),
            "a.csv: 1 of 1 rows are no problems (1 unreadable), more than error_rate=0.05; the first is row 1: "
            "not UTF-8 text; save the file as UTF-8; mend the rows, set prompt, answer or answer_after in "
            "problems.train, or raise error_rate",
        ),
        (
            "a.json",
            "[" * 100_000 + "]" * 100_000,
            "a.json: not readable as .json (nested too deeply); mend the file",
        ),
        (
            "a.jsonl",
            "[" * 100_000 + "]" * 100_000,
            "a.jsonl: 1 of 1 rows are no problems (1 unreadable), more than error_rate=0.05; the first is row 1: not "
            "JSON (nested too deeply); mend the rows, set prompt, answer or answer_after in problems.train, or raise "
            "error_rate",
        ),
        ("a.jsonl", os.mkdir, "a.jsonl: a folder; name a file in it"),
        ("a", os.mkdir, "a: a folder; name a file in it"),
        (
            "a.jsonl",
            os.mkfifo,
            "a.jsonl: not a plain file, and it is read more than once; save what it gives in a file",
        ),
        (
            "/dev/null",
            None,
            "/dev/null: not a plain file, and it is read more than once; save what it gives in a file",
        ),
        (
            "a.jsonl",
            lambda name: os.symlink("nowhere", name),
            "a.jsonl: a link to nowhere, which is not there; mend the link",
        ),
        (
            "a.jsonl",
            None,
            "a.jsonl: no such file; give a path from where mixdistill is run, or a hub id without an ending",
        ),
        (
            "a/b/c",
            None,
            "a/b/c: no such file; give a path from where mixdistill is run, or a hub id without an ending",
        ),
        (
            "x" * 300 + ".csv",
            None,
            f"{'x' * 300}.csv: no such file; give a path from where mixdistill is run, or a hub id without an ending",
        ),
    ],
    ids=[
        "empty", "names alone", "no answer", "latin-1", "latin-1 json", "latin-1 csv", "deep", "deep line", "folder",
        "folder without ending", "pipe", "device", "link", "missing", "no hub id", "long name",
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_used_says_why(refuse: Refuse, raw: dict[str, Any], name: str, content, line: str):
    make(name, content)
    assert refuse(train(raw, name)) == (line if "problems.train" in line else f"problems.train: {line}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_source_that_may_not_be_read_is_named(refuse: Refuse, raw: dict[str, Any]):
    os.chmod(jsonl(ROWS), 0)
    assert refuse(train(raw, "a.jsonl")) == (
        "problems.train: a.jsonl: cannot be read (Permission denied); check its permissions and its disk"
    )


def test_a_truncated_parquet_file_is_named(refuse: Refuse, raw: dict[str, Any]):
    pl.DataFrame(ROWS).write_parquet("a.parquet")
    data = Path("a.parquet").read_bytes()
    Path("a.parquet").write_bytes(data[: len(data) // 2])
    line = refuse(train(raw, "a.parquet"))
    assert line.startswith("problems.train: a.parquet: not readable as .parquet (")
    assert line.endswith("); mend the file")


def test_too_many_conflicting_answers_are_refused_with_both(refuse: Refuse, raw: dict[str, Any]):
    source = jsonl([*ROWS[:3], ROWS[0] | {"answer": "A - - -"}])
    assert refuse(train(raw, source)) == (
        "a.jsonl: 2 of 4 rows are no problems (2 conflicting_answers), more than error_rate=0.05; the first is row 1: "
        f"the answer is {ROWS[0]['answer']!r}, and 'A - - -' in row 4; mend the rows, set prompt, answer or "
        "answer_after in problems.train (read: prompt from 'prompt', answer from 'answer'), or raise error_rate"
    )


# -- files that work, and what is said of them ------------------------------------------------------------------------


def test_other_column_names_work_and_the_plan_says_what_it_chose(call: Call, raw: dict[str, Any]):
    source = jsonl([{"Problem": r["prompt"], "Final Answer": f"so #### {r['answer']}"} for r in ROWS])
    assert plan(call, train(raw, source)) == [
        "train 40, signs 4",
        "train: prompt from 'Problem', answer from 'Final Answer' after '####'",
    ]
    assert call("generate", "tiny.yaml")[0] == 0
    marker = Store(RUN).marker(RUN / "problems")
    assert marker and marker["columns"] == {"train": "prompt from 'Problem', answer from 'Final Answer' after '####'"}


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_csv_with_another_separator_works(call: Call, raw: dict[str, Any], separator: str):
    lines = [separator.join(row.values()) for row in [{"a": "prompt", "b": "answer"}, *ROWS]]
    Path("a.csv").write_text("\n".join(lines))
    assert plan(call, train(raw, "a.csv")) == ["train 40, signs 4", FOUND]


def test_a_byte_order_mark_and_windows_line_ends_work(call: Call, raw: dict[str, Any]):
    for name, lines in (
        ("a.csv", ["prompt,answer", *(",".join(r.values()) for r in ROWS)]),
        ("a.jsonl", map(json.dumps, ROWS)),
    ):
        Path(name).write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
        assert plan(call, train(raw, name)) == ["train 40, signs 4", FOUND]


def test_mixed_types_in_a_column_leave_out_what_is_no_prompt_or_answer(call: Call, raw: dict[str, Any]):
    source = jsonl([*ROWS[:30], {"prompt": 7, "answer": "x"}, ROWS[30] | {"answer": None}, ROWS[31] | {"answer": 5}])
    assert plan(call, train(raw, source) | {"error_rate": 0.1}) == [
        "train 31, signs 4", FOUND, "1 dropped: train: no_prompt", "1 dropped: train: no_answer",
    ]  # fmt: skip


def test_a_50_mb_line_is_left_out_and_counted(call: Call, raw: dict[str, Any]):
    source = jsonl(ROWS)
    with open(source, "a") as f:
        f.write('{"prompt": "' + "x" * 50_000_000 + '", "answer": "1"}\n')
    assert plan(call, train(raw, source)) == ["train 40, signs 4", FOUND, "1 dropped: train: unreadable"]


def test_duplicates_conflicts_and_overlaps_are_listed_in_the_run_folder(call: Call, raw: dict[str, Any]):
    source = jsonl([*ROWS[:30], ROWS[0], ROWS[1] | {"answer": "A - - -"}])
    raw["problems"]["eval"]["signs"] = {"source": jsonl(ROWS[5:9], "b.jsonl")}
    write(train(raw, source) | {"error_rate": 0.1})
    assert call("generate", "tiny.yaml")[0] == 0
    unused = Store(RUN).read(RUN / "problems", Unused, "unused")
    assert [(u.split, u.row, u.reason, u.detail) for u in unused] == [
        ("train", 2, "conflicting_answers", f"the answer is {ROWS[1]['answer']!r}, and 'A - - -' in row 32"),
        ("train", 31, "duplicate", "of row 1"),
        ("train", 32, "conflicting_answers", f"the answer is 'A - - -', and {ROWS[1]['answer']!r} in row 2"),
        *(("train", n + 1, "in_evaluation", f"stands in signs, row {n - 4}: {ROWS[n]['prompt']}") for n in range(5, 9)),
    ]
    assert len(pl.read_parquet(RUN / "problems/train.parquet")) == 30 - 1 - 4


# -- recorded traces --------------------------------------------------------------------------------------------------


def recorded(raw: dict[str, Any], **teachers: list[dict[str, Any]]) -> dict[str, Any]:
    """The recipe with these files for teachers, each trace that of a row's answer."""
    raw["problems"]["train"] = {"source": jsonl(ROWS[:8], "problems.jsonl")}
    for name, rows in teachers.items():
        traces = [{"prompt": r["prompt"], "completion": r["answer"]} for r in rows]
        file = jsonl(traces, f"{name}.jsonl")
        raw["teachers"][name] = {"backend": "recorded", "model": file, "complete": True}
    return raw


def test_a_trace_for_a_problem_that_does_not_exist_is_counted(call: Call, raw: dict[str, Any]):
    write(recorded(raw, long=[*ROWS[:6], ROWS[20], {"prompt": "", "answer": "x"}]))
    assert call("generate", "tiny.yaml")[0] == 0
    marker = Store(RUN).marker(RUN / "generate/long")
    assert marker and marker["facts"]["join"] == {
        "columns": "prompt from 'prompt', completion from 'completion'",
        "prompts": 8,
        "matched": 6,
        "ambiguous": 0,
        "unmatched": 2,
        "rate": 0.75,
        "rows": 7,
        "rows_unused": 1,
        "rows_bad": {"no_prompt": 1},
        "traces": 7,
        "repeated": 0,
        "dropped": {},
        "samples": 1,
        "examples": {
            "ambiguous": [],
            "unmatched": [ROWS[6]["prompt"], ROWS[7]["prompt"]],
            "rows_unused": [ROWS[20]["prompt"]],
            "rows_bad": [{"row": 8, "reason": "no_prompt", "detail": "no prompt in column 'prompt': it is empty"}],
        },
    }
    assert marker["counts"]["absent"] == 2


def failed(call: Call, raw: dict[str, Any], unit: str) -> str:
    """The line of a unit that fails; the others go on, and the exit code is 1."""
    write(raw)
    for stage in ("generate", "verify", "analyze", "mix"):
        code, _, err = call(stage, "tiny.yaml")
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.startswith(f"mixdistill: {unit}: ")]
    return line.removeprefix("mixdistill: ")


def test_a_file_of_which_nothing_joins_names_both_sides(call: Call, raw: dict[str, Any]):
    write(recorded(raw, long=ROWS[20:22]))
    code, _, err = call("generate", "tiny.yaml")
    assert code == 1
    assert err.splitlines()[-1] == (
        f"mixdistill: generate/long: long.jsonl: none of 8 prompts is in it; the first asked is {ROWS[0]['prompt']!r}, "
        f"its own first is {ROWS[20]['prompt']!r}; set prompt_column, and leave the teacher's prompt plain"
    )


def test_the_plan_refuses_a_file_that_joins_nothing_and_allows_one_that_begins_late(call: Call, raw: dict[str, Any]):
    late = recorded(raw, long=ROWS[20:22])
    write(late)
    code, out, err = call("check", "tiny.yaml")
    assert (code, out) == (2, "")
    assert err.startswith(
        "mixdistill: tiny.yaml: teachers.long: long.jsonl: none of 8 prompts is in it; the first asked is "
    )
    assert err.count("\n") == 1
    filler = [{"prompt": f"Q {n}", "answer": "A"} for n in range(50)]
    raw["problems"]["train"]["source"] = jsonl([*filler, ROWS[20]], "problems.jsonl")
    write(raw)
    code, out, err = call("check", "tiny.yaml")
    assert (code, err) == (0, "")
    assert "tokens each (mean of 1)" in out


def test_a_teacher_whose_every_trace_is_judged_wrong_is_named_with_what_to_do(call: Call, raw: dict[str, Any]):
    recorded(raw, long=[r | {"answer": "no idea"} for r in ROWS[:8]], short=ROWS[:8])
    assert failed(call, raw, "mix/s/short/0") == (
        "mix/s/short/0: no accepted trace of 'long' (problems without one: long no_correct 8); look at its traces with "
        "mixdistill show, and check verify and the reference answers (problems.*.answer, answer_after)"
    )


def test_arms_without_a_problem_in_common_say_what_to_do(call: Call, raw: dict[str, Any]):
    recorded(raw, long=ROWS[:4], short=ROWS[4:8])
    assert failed(call, raw, "mix/s/long/0") == (
        "mix/s/long/0: no problem is left with an accepted trace of every teacher (problems with one: long 4, short 4; "
        "without: long no_trace 4, short no_trace 4); raise teachers.*.samples, or give the teachers the same "
        "problems, or set budget.problems: each"
    )


UNFINISHED = (
    "its correct traces did not end by themselves; raise its sampling.max_tokens, or set complete for a file of "
    "finished ones"
)
LENGTHY = "<think>A" + " -" * 20_000 + "</think>{answer}"


@pytest.mark.parametrize(
    ("trace", "complete", "reason", "advice"),
    [("{answer}", False, "unfinished", UNFINISHED), (LENGTHY, True, "overlong", "raise train.max_length")],
    ids=["unfinished", "overlong"],
)
def test_what_a_teachers_traces_died_of_decides_the_advice(
    call: Call, raw: dict[str, Any], trace: str, complete: bool, reason: str, advice: str
):
    recorded(raw, long=[r | {"answer": trace.format(**r)} for r in ROWS[:8]], short=ROWS[:8])
    raw["teachers"]["long"]["complete"] = complete
    raw["train"] = {"overlong": "drop"}
    assert failed(call, raw, "mix/s/short/0") == (
        f"mix/s/short/0: no accepted trace of 'long' (problems without one: long {reason} 8); {advice}"
    )
