"""`doctor` shows what a student will see, and whether it can be trained on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import templates
import tiny
from mixdistill import cli, row_checks, template_checks
from mixdistill.commands.doctor import LEGEND, Examined, Report, examine, text
from mixdistill.errors import RecipeError
from mixdistill.recipe import build
from mixdistill.yaml_text import write_yaml

HYBRID = "hybrid"
QUESTION = "What is 2 + 2?"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def seen(raw: dict[str, Any], **which: Any) -> Report:
    return examine(build(raw), out=Path("run"), **which)


def page(raw: dict[str, Any], width: int = 100, **which: Any) -> str:
    return text(seen(raw, **which), width).plain


@pytest.fixture
def apples(raw: dict[str, Any]) -> dict[str, Any]:
    """A hybrid student of any text, one problem, and a recorded long and short trace of it."""
    tiny.save_student(Path(HYBRID), templates.of("qwen3").tokenizer)
    Path("p.jsonl").write_text(json.dumps({"prompt": QUESTION, "answer": "4"}) + "\n")
    trace = {"prompt": QUESTION, "completion": "It is 4.", "finish_reason": "stop"}
    Path("long.jsonl").write_text(json.dumps({**trace, "reasoning": "2 and 2.\n\n" + "Wait. " * 60 + "\n\nIt is 4."}))
    Path("short.jsonl").write_text(json.dumps({**trace, "reasoning": ""}))
    raw["problems"]["train"] = {"source": "p.jsonl"}
    raw["teachers"] = {t: {"backend": "recorded", "model": f"{t}.jsonl"} for t in ("long", "short")}
    raw["students"] = {"h": {"model": HYBRID}}
    raw["arms"]["mix"] = {"long": 0.2, "short": 0.8}
    return raw


def test_the_whole_page_reads_like_this(apples):
    fingerprint = seen(apples).students[0].template
    assert page(apples, arm="short") == (
        "h  hybrid\n"
        f"stop token <|im_end|> · thinking · template {fingerprint}\n"
        "\n"
        "  short  33 tokens of prompt, 9 with loss\n"
        f"  short, problem {problem_of(apples)}, median of the first trace of short\n"
        "  prompt │ ⟨<|im_start|>⟩user↵\n"
        "         │ What is 2 + 2?⟨<|im_end|>⟩↵\n"
        "         │ ⟨<|im_start|>⟩assistant↵\n"
        "  loss   │ It is 4.⟨<|im_end|>⟩\N{NO-BREAK SPACE}←\N{NO-BREAK SPACE}stop\n"
        "\n"
        "  template\n"
        "  ok      vocabulary_fits     Tokenizer and model have one vocabulary.\n"
        "  ok      bos_once            A row has one beginning, and no token is added.\n"
        "  ok      turn_end            The template ends a turn in the stop token.\n"
        "  ok      generation_stops    The model's own settings stop at the stop token.\n"
        "  ok      pad_is_not_stop     Padding and the stop token are two tokens.\n"
        "  ok      generation_prompt   The template has a generation prompt.\n"
        "  note    empty_think         it writes an empty thinking part before an answer without reasoning;\n"
        "                              rows here have none\n"
        "  ok      takes_system_role   The template says a system prompt.\n"
        "  ok      same_every_day      The template writes the same on every day.\n"
        "\n"
        "  1 row\n"
        "  ok      reasoning_once      Reasoning, its tags and the answer stand once.\n"
        "  ok      prompt_is_prefix    It begins as the student is asked in evaluation.\n"
        "  ok      stop_carries_loss   Its last token is the stop token, and has loss.\n"
        "  ok      no_special_in_text  No special token arises from its text.\n"
        "  ok      no_unknown          The tokenizer knows all of its text.\n"
        "  ok      system_role         A problem's system prompt is said.\n"
        "  ok      seam                As one text it would have the same tokens.\n"
        "  ok      reads_back          Its tokens read back as the text put in.\n"
        "\n"
        "dim: no loss · green: loss · ⟨special token⟩ · ↵ line break\n"
        "16 ok, 1 note, 0 failed: these rows can be trained on"
    )


def problem_of(raw: dict[str, Any]) -> str:
    return seen(raw).students[0].rows[0].problem_id[:8]


def test_every_check_is_listed_once_and_nothing_is_written(apples, here):
    before = sorted(here.rglob("*"))
    (student,) = seen(apples).students
    assert [f.check for f in student.checks] == [*template_checks.CHECKS, *row_checks.CHECKS]
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(apples, width):
    assert max(map(len, page(apples, width).splitlines())) <= width


def test_what_carries_loss_is_green_and_the_stop_token_stands_out(apples):
    shown = text(seen(apples, arm="short"))
    styled = {shown.plain[s.start : s.end]: str(s.style) for s in shown.spans}
    assert styled["It is 4."] == "green"
    assert styled["What is 2 + 2?"] == "dim"
    assert styled["⟨<|im_end|>⟩"] == "bold reverse green"
    assert styled["⟨<|im_start|>⟩"] == "magenta"


def test_of_a_long_row_beginning_and_end_are_shown(apples):
    loss = page(apples, arm="long").partition("  loss")[2].partition("\n\n")[0].splitlines()
    assert loss[0] == "   │ <think>↵"
    assert len(loss) == 14 or not any("more" in line for line in loss)
    assert loss[-1].endswith("It is 4.⟨<|im_end|>⟩\N{NO-BREAK SPACE}←\N{NO-BREAK SPACE}stop")
    Path("long.jsonl").write_text(Path("long.jsonl").read_text().replace("Wait. ", "Wait.\\n"))
    loss = page(apples, arm="long").partition("  loss")[2].partition("\n\n")[0].splitlines()
    assert len(loss) == 13
    assert loss[8] == "         │ … 57 lines more …"


def test_the_row_of_a_blend_is_that_of_its_heaviest_teacher_and_not_shown_twice(apples):
    shown = page(apples)
    assert shown.count("  loss ") == 2
    assert "  mix  33 tokens of prompt, 9 with loss\n" in shown
    assert shown.partition("  mix  ")[2].splitlines()[2] == "  the row of short"


def test_students_of_one_template_are_shown_once(raw):
    raw["students"] = {"xs": {"model": "lab:xs"}, "s": {"model": "lab:s"}}
    first, second = seen(raw).students
    assert (first.like, second.like, len(first.rows), second.rows) == (None, "xs", 2, [])
    assert second.checked == first.checked == 24
    assert "rows and checks are those of xs\n" in page(raw)


def test_one_student_and_one_arm_can_be_named_and_an_unknown_one_is_refused(raw):
    raw["students"] = {"xs": {"model": "lab:xs"}, "s": {"model": "lab:s"}}
    report = seen(raw, student="s", arm="long")
    assert [(s.student, [r.arm for r in s.rows]) for s in report.students] == [("s", ["long"])]
    with pytest.raises(RecipeError, match="--student m: the recipe has no such student; known: s, xs"):
        seen(raw, student="m")
    with pytest.raises(RecipeError, match="--arm lon: the recipe has no such arm; did you mean 'long'"):
        seen(raw, arm="lon")


# -- where rows come from ---------------------------------------------------------------------------------------------


def source(raw: dict[str, Any]) -> str:
    return seen(raw, arm="long").students[0].rows[0].source


def test_rows_are_those_of_the_training_set_where_there_is_one(raw):
    assert source(raw) == "median of the first 12 traces of long"
    tiny.run(build(raw), Path("run"), "generate", "verify", "analyze")
    assert source(raw) == "median of the first 12 traces of long"
    tiny.run(build(raw), Path("run"), "mix")
    assert source(raw) == "median of the 12 of its training set, seed 0"
    assert seen(raw).students[0].checked == 24


def test_a_row_is_made_up_where_every_trace_costs_something(raw):
    bought = {"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    raw["teachers"] = {"long": bought, "short": bought}
    raw["students"] = {"s": {"model": "lab:bytes"}}
    row = seen(raw, arm="long").students[0].rows[0]
    assert row.source == "made up: no trace is there yet"
    assert "2 and 2 is 4." in "".join(p.text for p in row.completion)


def test_a_tag_stands_in_the_prompt_that_is_shown(raw):
    raw["arms"] = {"both": {"weights": {"long": 0.4, "short": 0.6}, "mixture": "tagged"}}
    raw["contrasts"] = {}
    raw["students"] = {"s": {"model": "lab:bytes"}}
    (row,) = seen(raw).students[0].rows
    assert "".join(p.text for p in row.prompt).endswith("\n/short\n")


# -- what is wrong ----------------------------------------------------------------------------------------------------


def failures(student: Examined) -> list[str]:
    return [f"{f.check}: {f.text}" for f in student.checks if f.state == "failed"]


def test_a_fault_of_a_row_is_named_with_the_row(apples):
    rows = Path("long.jsonl").read_text().replace("Wait. ", "<|im_start|> ")
    Path("long.jsonl").write_text(rows)
    report = seen(apples)
    assert report.failed
    assert failures(report.students[0]) == [
        f"no_special_in_text: problem {report.students[0].rows[0].problem_id}, teacher long: the reasoning holds the "
        "special token '<|im_start|>'; take it out of the text"
    ]
    assert "(in 1 of 2 rows)" in " ".join(page(apples).split())
    assert page(apples).endswith("15 ok, 1 note, 1 failed: mend what failed; nothing is trained before")


def test_a_student_whose_tokenizer_cannot_be_used_fails_and_the_others_are_shown(raw):
    tokenizer = tiny.byte_tokenizer()
    tokenizer.chat_template = None
    raw["students"] = {"bare": {"model": tiny.save_student(Path("bare"), tokenizer)}, "s": {"model": "lab:s"}}
    bare, s = seen(raw).students
    assert failures(bare) == ["loads: bare: its tokenizer has no chat template; give the student a model that has one"]
    assert len(s.rows) == 2


def test_a_student_that_is_not_here_yet_is_said_to_be(raw, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    raw["students"] = {"far": {"model": "own/er"}}
    (student,) = seen(raw).students
    assert [(f.check, f.state) for f in student.checks] == [("loads", "note")]
    assert not seen(raw).failed


# -- the verb ---------------------------------------------------------------------------------------------------------


def call(monkeypatch, capsys, *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["mixdistill", "doctor", *words])
    with pytest.raises(SystemExit) as e:
        cli.main()
    return int(e.value.code or 0), capsys.readouterr().out


def test_the_verb_works_from_nothing_and_gives_data(monkeypatch, capsys):
    code, out = call(monkeypatch, capsys, "demo", "--student", "xs", "--json")
    report = Report.model_validate_json(out)
    assert (code, report.name, [s.student for s in report.students]) == (0, "demo", ["xs"])
    assert [r.arm for r in report.students[0].rows] == ["long", "short", "mix-long"]
    for row in report.students[0].rows:
        assert sum(p.tokens for p in row.completion) == row.loss_tokens
        assert (row.completion[-1].kind, row.completion[-1].tokens) == ("stop", 1)


def test_the_verb_exits_with_2_where_a_check_fails(apples, monkeypatch, capsys):
    Path("short.jsonl").write_text(Path("short.jsonl").read_text().replace("It is", "<|im_end|>"))
    Path("tiny.yaml").write_text(write_yaml(apples))
    code, out = call(monkeypatch, capsys, "tiny.yaml")
    assert code == 2
    assert LEGEND in out
    assert "failed  no_special_in_text" in out
