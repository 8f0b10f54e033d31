"""Problems: what a file says is what is read, and what is left out is counted or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mixdistill import problems
from mixdistill.errors import DataError
from mixdistill.problems import counted, load, load_all, normalise
from mixdistill.recipe import Problems, Source
from mixdistill.types import Message, Problem, problem_id

ROWS = [
    {"question": "What is 1 + 1?", "answer": "2"},
    {"question": "Wie groß ist π,\ngerundet?", "answer": "3"},
    {"question": 'a "quoted", comma', "answer": "x\u2028y"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    match path.suffix.lower():
        case ".jsonl":
            path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        case ".csv":
            pl.DataFrame(rows).write_csv(path)
        case ".parquet":
            pl.DataFrame(rows).write_parquet(path)
    return path


def read(path: Path, **source: Any) -> list[Problem]:
    return load(Source(source=str(path), **source), split="train")


def asked(found: list[Problem]) -> list[Any]:
    return [p.prompt for p in found]


def refusal(path: Path, **source: Any) -> str:
    with pytest.raises(DataError) as e:
        read(path, **source)
    assert "\n" not in str(e.value)
    return str(e.value).replace(str(path), path.name)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.JSONL"])
def test_every_kind_of_file_gives_the_same_problems(tmp_path: Path, name: str):
    found = read(write(tmp_path / name, ROWS))
    assert [(p.prompt, p.answer) for p in found] == [(r["question"], r["answer"]) for r in ROWS]
    assert [p.id for p in found] == [problem_id(r["question"], r["answer"]) for r in ROWS]
    assert {(p.source, p.split) for p in found} == {(name, "train")}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_byte_order_mark_is_no_part_of_a_column_name(tmp_path: Path, name: str):
    path = write(tmp_path / name, ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert asked(read(path)) == [r["question"] for r in ROWS]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_windows_line_ends_and_blank_lines_are_no_obstacle(tmp_path: Path, name: str):
    path = write(tmp_path / name, ROWS[:1])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + (b"\r\n" if name == "a.jsonl" else b""))
    assert asked(read(path)) == [ROWS[0]["question"]]


def test_a_line_separator_inside_a_json_string_ends_no_row(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "one\u2028two\x0c\x85", "answer": "1"}\n'.replace("\x0c", "\\f"), encoding="utf-8")
    assert asked(read(path)) == ["one\u2028two\x0c\x85"]


def test_the_last_line_needs_no_line_end(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", ROWS)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert len(read(path)) == 3


def test_a_json_file_may_keep_its_rows_under_data(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps({"data": ROWS}))
    assert len(read(tmp_path / "a.json")) == 3


def test_the_answer_may_be_what_follows_a_mark(tmp_path: Path):
    rows = [{"question": "q", "answer": "1 #### no, wait #### 1,234 "}]
    assert read(write(tmp_path / "a.jsonl", rows), answer_after="####")[0].answer == "1,234"
    rows += [{"question": "r", "answer": "5"}]
    assert refusal(write(tmp_path / "a.jsonl", rows), answer_after="####") == (
        "a.jsonl: row 2: '####' is not in the answer; fix answer_after"
    )


@pytest.mark.parametrize(("value", "text"), [(27, "27"), (2.5, "2.5"), ("\\frac{4}{3}", "\\frac{4}{3}")])
def test_answers_are_texts(tmp_path: Path, value: Any, text: str):
    assert read(write(tmp_path / "a.jsonl", [{"prompt": "q", "answer": value}]))[0].answer == text


def test_conversations_are_read_from_json_and_parquet(tmp_path: Path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
    for name in ("a.jsonl", "a.parquet"):
        found = read(write(tmp_path / name, [{"prompt": turns, "answer": "2"}]))
        assert asked(found) == [[Message(**m) for m in turns]]


def test_columns_and_levels_can_be_named(tmp_path: Path):
    rows = [{"q": "1 + 1", "a": 2, "hard": 5}, {"q": "2 + 2", "a": 4, "hard": None}]
    found = read(write(tmp_path / "a.jsonl", rows), prompt="q", answer="a", level="hard")
    assert [(p.prompt, p.answer, p.level) for p in found] == [("1 + 1", "2", "5"), ("2 + 2", "4", None)]


def test_skip_and_limit_take_a_slice(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", [{"prompt": str(n), "answer": "1"} for n in range(10)])
    assert asked(read(path, skip=3, limit=2)) == ["3", "4"]
    assert asked(read(path, skip=8)) == ["8", "9"]
    assert refusal(path, skip=10) == (
        "a.jsonl: no problems left after skip=10; check the file and skip/limit"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "source", "line"),
    [
        (
            [{"frage": "q", "answer": "1"}],
            {},
            "a.jsonl: no prompt column (got frage, answer); set problems.*.prompt to one of these",
        ),
        (
            [{"question": "q", "antwort": "1"}],
            {},
            "a.jsonl: no answer column (got question, antwort); set problems.*.answer to one of these",
        ),
        (
            [{"question": "q", "answer": "1"}],
            {"prompt": "qestion"},
            "a.jsonl: no column 'qestion' (problems.*.prompt); did you mean 'question'?",
        ),
        (
            [{"question": "q", "answer": "1"}, {"question": None, "answer": "1"}],
            {},
            "a.jsonl: row 2: no value in column 'question'; remove the row or map another column",
        ),
        (
            [{"question": "q", "answer": " "}],
            {},
            "a.jsonl: row 1: no value in column 'answer'; remove the row or map another column",
        ),
        (
            [{"question": [], "answer": "1"}],
            {},
            "a.jsonl: row 1: no value in column 'question'; remove the row or map another column",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_the_row(tmp_path: Path, rows: Any, source: Any, line: str):
    assert refusal(write(tmp_path / "a.jsonl", rows), **source) == line


@pytest.mark.parametrize(
    "prompt", [17, {"a": 1}, ["a turn"], [{"role": "robot", "content": "x"}], [{"role": "user"}], "half \ud800"]
)
def test_a_prompt_that_is_none_is_refused_with_the_row(tmp_path: Path, prompt: Any):
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": prompt, "answer": "1"}))
    line = refusal(tmp_path / "a.jsonl")
    assert line.startswith("a.jsonl: row 1: no prompt in column 'prompt' (got ")
    assert line.endswith("; a prompt is text or a list of {role, content}")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_an_empty_file_says_that_nothing_is_left(tmp_path: Path, name: str):
    (tmp_path / name).touch()
    assert refusal(tmp_path / name) == f"{name}: no problems left after skip=0; check the file and skip/limit"


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("a.jsonl", b'{"prompt": "caf\xe9"}\n', "a.jsonl: not UTF-8 text (byte 15); save it as UTF-8"),
        ("a.jsonl", b'{"prompt": "q"}\n{"prompt"\n', "a.jsonl:2: not JSON ("),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: not a JSON object (got list); each line must be one"),
        ("a.json", b"", "a.json: not readable as .json ("),
        ("a.json", b"[1, 2]", "a.json: not readable as .json ("),
        ("a.csv", b"question,answer\ncaf\xe9,1\n", "a.csv: not readable as .csv ("),
        ("a.csv", b"question,answer\n1,2,3,4\n", "a.csv: not readable as .csv ("),
        ("a.parquet", b"no parquet", "a.parquet: not readable as .parquet ("),
        ("a.txt", b"q", "a.txt: unknown kind of file (got '.txt'); use .jsonl, .json, .csv or .parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(tmp_path: Path, name: str, data: bytes, line: str):
    (tmp_path / name).write_bytes(data)
    assert refusal(tmp_path / name).startswith(line)


def test_a_missing_file_is_named(tmp_path: Path):
    assert refusal(tmp_path / "no.jsonl").startswith("no.jsonl: no such file; give a path from where mixdistill is run")


def test_a_hub_id_with_a_dot_in_it_is_not_taken_for_a_file(monkeypatch: pytest.MonkeyPatch):
    asked_for = []
    monkeypatch.setattr(problems, "_hub_rows", lambda s: asked_for.append(s.source) or [{"prompt": "q", "answer": 1}])
    load(Source(source="org/data-v1.5"), split="train")
    assert asked_for == ["org/data-v1.5"]


def test_a_lab_domain_that_does_not_exist_is_refused():
    with pytest.raises(DataError, match=r"no lab domain 'lab:sings'; did you mean 'lab:signs'\?"):
        load(Source(source="lab:sings"), split="train")


def test_lab_problems_carry_the_name_of_their_list():
    found = load(Source(source="lab:signs", split="eval", skip=1, limit=3), split="signs")
    assert {p.split for p in found} == {"signs"}
    assert found == load(Source(source="lab:signs", split="eval", limit=4), split="signs")[1:]


# -- several lists ----------------------------------------------------------------------------------------------------


def both(tmp_path: Path, train: list[str], test: list[str], **more: Any) -> tuple[dict[str, list[Any]], dict[str, int]]:
    rows = {n: [{"prompt": p, "answer": "1"} for p in ps] for n, ps in (("train", train), ("test", test))}
    files = {n: Source(source=str(write(tmp_path / f"{n}.jsonl", r))) for n, r in rows.items()}
    found, unused = load_all(Problems(train=files["train"], eval={"test": files["test"]}), **more)
    return {n: asked(ps) for n, ps in found.items()}, counted(unused)


def test_duplicates_are_dropped_and_counted(tmp_path: Path):
    found, dropped = both(tmp_path, ["a  b", "a b", "c", " c\n"], ["x", "x"])
    assert found == {"train": ["a  b", "c"], "test": ["x"]}
    assert dropped == {"test: duplicate": 1, "train: duplicate": 2}


def test_a_training_problem_that_is_also_in_evaluation_is_dropped_and_counted(tmp_path: Path):
    found, dropped = both(tmp_path, ["It’s  a b", "b"], ["It's a b", "d"])
    assert found == {"train": ["b"], "test": ["It's a b", "d"]}
    assert dropped == {"train: in_evaluation": 1}


def test_no_training_problem_left_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"problems\.train: every one of 2 problems is also in an evaluation set"):
        both(tmp_path, ["a", "b"], ["b", "a"])


def test_a_limit_caps_every_list_after_dropping(tmp_path: Path):
    assert both(tmp_path, ["a", "a", "x", "b", "c"], ["x", "y", "z"], limit=2)[0] == {
        "train": ["a", "b"],
        "test": ["x", "y"],
    }


def test_two_answers_for_one_prompt_are_an_error(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "q", "answer": "1"}, {"prompt": " q", "answer": "2"}])
    source = Source(source=str(path))
    with pytest.raises(DataError, match=r"problems\.b: two answers for one prompt \(got '1' and '2' for ' q'\); keep"):
        load_all(Problems(train=Source(source="lab:signs", limit=1), eval={"b": source}))


@pytest.mark.parametrize(("a", "b"), [("a\u00a0b", "a b"), ("“x” – ‘y’", "\"x\" - 'y'"), ("ﬁx", "fix")])
def test_prompts_are_compared_in_a_form_that_typography_does_not_change(a: str, b: str):
    assert normalise(a) == normalise(b)


def test_powers_and_fractions_are_no_matter_of_typography():
    assert normalise("x²") != normalise("x2")
    assert normalise("2½") != normalise("21/2")
