"""Problems: what a file says is what is read, and what is left out is counted or refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from mixdistill import problems
from mixdistill.columns import LONGEST_PROMPT, Columns
from mixdistill.errors import DataError
from mixdistill.problems import BAD, SEEN, Shared, counted, load, load_all, shared, shared_line
from mixdistill.sections import Benchmark, Problems, Source
from mixdistill.spelling import loose
from mixdistill.store import Store
from mixdistill.tables import TableRow
from mixdistill.types import Message, Problem, Unused, problem_id

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
    loaded = load(Source(source=str(path), **source), split="train")
    assert loaded.bad == []
    return [p for _, p in loaded.problems]


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
    rows = [{"question": "q", "answer": "1 :: no, wait :: 1,234 "}, {"question": "r", "answer": "5"}]
    path = write(tmp_path / "a.jsonl", rows)
    assert read(path)[0].answer == "1 :: no, wait :: 1,234 "
    loaded = load(Source(source=str(path), answer_after="::"), split="train")
    assert [(row, p.answer) for row, p in loaded.problems] == [(1, "1,234")]
    assert bad(path, answer_after="::") == [(2, "no_answer", "no answer in column 'answer': '::' is not in it")]


def bad(path: Path, **source: Any) -> list[tuple[int, str, str]]:
    """The rows of a file that are no problem."""
    loaded = load(Source(source=str(path), **source), split="train")
    return [(u.row, u.reason, u.detail) for u in loaded.bad]


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
    assert refusal(path, skip=10) == "a.jsonl: no problems left after skip=10; change it in problems.train"


def test_two_slices_of_a_file_with_bad_rows_meet_but_do_not_overlap(tmp_path: Path):
    rows = [{"prompt": str(n), "answer": None if n in (1, 4) else "1"} for n in range(8)]
    path = write(tmp_path / "a.jsonl", rows)
    first, second = (load(Source(source=str(path), skip=n, limit=3), split="train") for n in (0, 3))
    assert [row for row, _ in first.problems] == [1, 3, 4]
    assert [row for row, _ in second.problems] == [6, 7, 8]
    assert [[u.row for u in part.bad] for part in (first, second)] == [[2], [5]]


@pytest.mark.parametrize(
    ("rows", "source", "line"),
    [
        (
            [{"frage": "q", "answer": "1"}],
            {},
            "a.jsonl: no prompt column (got frage, answer); set problems.train.prompt to one of these",
        ),
        (
            [{"question": "q", "antwort": "1"}],
            {},
            "a.jsonl: no answer column (got question, antwort); set problems.train.answer to one of these",
        ),
        (
            [{"question": "q", "answer": "1"}],
            {"prompt": "qestion"},
            "a.jsonl: no column 'qestion' (problems.train.prompt); did you mean 'question'?",
        ),
        (
            [{"question": "q", "answer": "1"}],
            {"level": "hard"},
            "a.jsonl: no column 'hard' (problems.train.level); known: answer, question",
        ),
        (
            [{f"c{n:02}": n for n in range(50)}],
            {},
            "a.jsonl: no prompt column (got c00, c01, c02, c03, c04, c05, c06, c07, c08, c09, c10, c11, 38 more); "
            "set problems.train.prompt to one of these",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, rows: Any, source: Any, line: str):
    assert refusal(write(tmp_path / "a.jsonl", rows), **source) == line


GOOD = {"prompt": "q", "answer": "1"}


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        (17, "it is of type int, neither text nor a list of {role, content}"),
        ({"a": 1}, "it is of type dict, neither text nor a list of {role, content}"),
        (None, "it is empty"),
        (" ", "it is empty"),
        ([], "it is empty"),
        (["a turn"], "a turn is of type str, not {role, content}"),
        ([{"role": "robot", "content": "x"}], "a turn's role is 'robot', not system, user or assistant"),
        ([{"role": "user"}], "a turn's content is of type NoneType, not text"),
        ([{"role": "assistant", "content": "x"}], "its last turn is the assistant's"),
        ("half \ud800", "it holds half a character"),
    ],
)
def test_a_prompt_that_is_none_is_a_row_with_the_reason(tmp_path: Path, prompt: Any, why: str):
    lines = [json.dumps(r) for r in (GOOD, {"prompt": prompt, "answer": "1"})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert bad(tmp_path / "a.jsonl") == [(2, "no_prompt", f"no prompt in column 'prompt': {why}")]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "it is empty"),
        (None, "it is empty"),
        ([], "it is empty"),
        (float("nan"), "it is empty"),
        ("\udc00", "it holds half a character"),
    ],
)
def test_an_answer_that_is_none_is_a_row_with_the_reason(tmp_path: Path, answer: Any, why: str):
    lines = [json.dumps(r) for r in (GOOD, {"prompt": "r", "answer": answer})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert bad(tmp_path / "a.jsonl") == [(2, "no_answer", f"no answer in column 'answer': {why}")]


def test_a_bad_row_keeps_what_could_be_read_of_it(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD) + '\n\n{"prompt": "Why?\n' + json.dumps({"prompt": "x" * 300, "answer": None}))
    loaded = load(Source(source=str(path)), split="train")
    assert [(u.row, u.reason, u.prompt) for u in loaded.bad] == [
        (3, "unreadable", '{"prompt": "Why?'),
        (4, "no_answer", "x" * 200),
    ]
    assert {(u.split, u.source) for u in loaded.bad} == {("train", "a.jsonl")}


def test_a_prompt_longer_than_any_model_reads_is_a_bad_row(tmp_path: Path):
    rows = [{"prompt": "x" * n, "answer": "1"} for n in (LONGEST_PROMPT, LONGEST_PROMPT + 1)]
    assert bad(write(tmp_path / "a.jsonl", rows)) == [(2, "unreadable", "a prompt of more than 1,000,000 characters")]


def test_a_column_that_starts_late_is_found_and_its_gaps_are_bad_rows(tmp_path: Path):
    rows = [{"id": 1}, {"question": 5, "answer": "1"}, {"question": "q", "answer": "1"}]
    assert [(row, reason) for row, reason, _ in bad(write(tmp_path / "a.jsonl", rows))] == [
        (1, "no_prompt"),
        (2, "no_prompt"),
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
def test_an_empty_file_says_so(tmp_path: Path, name: str):
    (tmp_path / name).touch()
    assert refusal(tmp_path / name) == f"{name}: holds no rows; it must hold one problem a row"


def test_a_missing_file_is_named(tmp_path: Path):
    assert refusal(tmp_path / "no.jsonl") == (
        "no.jsonl: no such file; give a path from where mixdistill is run, or a hub id without an ending"
    )


def test_a_hub_id_with_a_dot_in_it_is_not_taken_for_a_file(monkeypatch: pytest.MonkeyPatch):
    asked_for = []
    row = TableRow(1, {"prompt": "q", "answer": 1})
    monkeypatch.setattr(problems, "hub_rows", lambda s: asked_for.append(s.source) or [row])
    load(Source(source="org/data-v1.5"), split="train")
    assert asked_for == ["org/data-v1.5"]


def hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[Any]:
    """The hub gives this, or raises it; returns what it is asked for."""
    import datasets

    asked_for: list[Any] = []

    def load_dataset(*words: Any, **more: Any) -> Any:
        asked_for.append((*words, *more.values()))
        if isinstance(answer, Exception):
            raise answer
        return datasets.Dataset.from_list(answer)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked_for


def test_rows_of_the_hub_are_problems_like_those_of_a_file(monkeypatch: pytest.MonkeyPatch):
    asked_for = hub(monkeypatch, [*ROWS, {"question": "r", "answer": None}])
    loaded = load(Source(source="some/set", subset="main", split="test", skip=1), split="b")
    assert asked_for == [("some/set", "main", "test")]
    assert [(row, p.prompt, p.source) for row, p in loaded.problems] == [
        (2, ROWS[1]["question"], "set"),
        (3, ROWS[2]["question"], "set"),
    ]
    assert [(u.row, u.reason) for u in loaded.bad] == [(4, "no_answer")]


def test_what_the_hub_says_is_one_line(monkeypatch: pytest.MonkeyPatch):
    hub(monkeypatch, RuntimeError("Dataset scripts are no longer supported\nbut found x.py"))
    with pytest.raises(DataError) as e:
        load(Source(source="some/set"), split="train")
    assert str(e.value) == (
        "some/set: not a local file and not loadable from the hub (Dataset scripts are no longer supported); check the "
        "name, subset and split"
    )


def test_a_lab_domain_that_does_not_exist_is_refused():
    with pytest.raises(DataError, match=r"no lab domain 'lab:sings'; did you mean 'lab:signs'\?"):
        load(Source(source="lab:sings"), split="train")


def test_lab_problems_carry_the_name_of_their_list():
    found = load(Source(source="lab:signs", split="eval", skip=1, limit=3), split="signs").problems
    assert {p.split for _, p in found} == {"signs"}
    assert found == load(Source(source="lab:signs", split="eval", limit=4), split="signs").problems[1:]


def test_the_lab_has_no_parts():
    with pytest.raises(DataError, match=r"problems\.train\.part: the lab's splits are apart already; leave it out and"):
        load(Source(source="lab:signs", part=(0, 0.5)), split="train")


# -- parts ------------------------------------------------------------------------------------------------------------


def numbered(tmp_path: Path, rows: Iterable[int]) -> Path:
    return write(tmp_path / "a.jsonl", [{"prompt": f"What is {n} + {n}?", "answer": str(2 * n)} for n in rows])


PARTS = [(0.0, 0.1), (0.1, 0.7), (0.7, 1.0)]


def test_parts_are_disjoint_cover_everything_and_are_near_their_size(tmp_path: Path):
    path = numbered(tmp_path, range(2000))
    found = [asked(read(path, part=part)) for part in PARTS]
    assert sorted(prompt for part in found for prompt in part) == sorted(asked(read(path)))
    for (a, b), prompts in zip(PARTS, found, strict=True):
        assert abs(len(prompts) / 2000 - (b - a)) < 0.04  # over 3 standard deviations


def test_problems_do_not_move_between_parts_when_rows_are_added(tmp_path: Path):
    before = [set(asked(read(numbered(tmp_path, range(100, 200)), part=part))) for part in PARTS]
    after = [set(asked(read(numbered(tmp_path, range(300)), part=part))) for part in PARTS]
    assert all(old < new for old, new in zip(before, after, strict=True))


def test_two_spellings_of_a_prompt_fall_into_one_part(tmp_path: Path):
    rows = [{"prompt": p, "answer": "1"} for n in range(30) for p in (f"It's {n} - 1", f" It’s  {n} \u2212 1")]
    path = write(tmp_path / "a.jsonl", rows)
    for part in PARTS:
        prompts = asked(read(path, part=part))
        assert [loose(p) for p in prompts[::2]] == [loose(p) for p in prompts[1::2]]


def test_skip_and_limit_count_within_the_part(tmp_path: Path):
    path = numbered(tmp_path, range(100))
    part = asked(read(path, part=(0.2, 0.8)))
    assert asked(read(path, part=(0.2, 0.8), skip=5, limit=7)) == part[5:12]


def test_a_part_without_problems_is_refused(tmp_path: Path):
    path = numbered(tmp_path, [1])
    part = (0.0, 1e-9)
    assert refusal(path, part=part) == "a.jsonl: no problems left after part=[0.0, 1e-09]; change it in problems.train"


@pytest.mark.parametrize("part", [(0, 0), (0.5, 0.2), (-0.1, 1), (0, 1.1), (float("nan"), 1)])
def test_a_part_must_be_two_rising_shares(part: Any):
    with pytest.raises(ValidationError, match=r"must be \[a, b\] with 0 <= a < b <= 1|finite number"):
        Source(source="x", part=part)


@pytest.mark.parametrize("cells", [{"prompt": "", "answer": "1"}, {"prompt": "", "answer": None}, None])
def test_every_bad_row_is_in_exactly_one_part_and_counts_there_alone(tmp_path: Path, cells: Any):
    rows = [{"prompt": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(990)]
    path = write(tmp_path / "a.jsonl", rows)
    with open(path, "a") as f:
        f.write(f"{json.dumps(cells)}\n" * 10)
    parts = [load(Source(source=str(path), part=part), split="train").bad for part in PARTS]
    assert sorted(u.row for part in parts for u in part) == [*range(991, 1001)]
    assert min(map(len, parts)) < max(map(len, parts)) < 10, "rows that are all alike do not fall into one part"
    train, test = (Source(source=str(path), part=part) for part in [(0, 0.9), (0.9, 1)])
    assert sum(u.reason in BAD for u in load_all(Problems(train=train, eval={"test": test}))[1]) == 10


def test_a_row_without_an_answer_is_in_the_part_of_its_prompt(tmp_path: Path):
    answers = {n: None if n % 3 == 0 else "1" for n in range(60)}
    whole = write(tmp_path / "a.jsonl", [{"prompt": f"p{n}", "answer": "1"} for n in answers])
    holes = write(tmp_path / "b.jsonl", [{"prompt": f"p{n}", "answer": a} for n, a in answers.items()])
    for part in PARTS:
        loaded = load(Source(source=str(holes), part=part), split="train")
        found = [p.prompt for _, p in loaded.problems] + [u.prompt for u in loaded.bad]
        assert sorted(map(str, found)) == sorted(asked(read(whole, part=part)))


# -- several lists ----------------------------------------------------------------------------------------------------


def both(tmp_path: Path, train: list[str], test: list[str], **more: Any) -> tuple[dict[str, list[Any]], dict[str, int]]:
    rows = {n: [{"prompt": p, "answer": "1"} for p in ps] for n, ps in (("train", train), ("test", test))}
    files = {n: Source(source=str(write(tmp_path / f"{n}.jsonl", r))) for n, r in rows.items()}
    found, unused = load_all(Problems(train=files["train"], eval={"test": files["test"]}), **more)
    return {n: asked(ps) for n, ps in found.items()}, counted(unused)


def test_duplicates_are_dropped_and_counted(tmp_path: Path):
    found, dropped = both(tmp_path, ["a\r\nb", "a\nb ", "c", " c\n"], ["x", "x"])
    assert found == {"train": ["a\r\nb", "c"], "test": ["x"]}
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


def sets(tmp_path: Path, train: list[dict[str, Any]], test: list[dict[str, Any]], **more: Any) -> Any:
    files = {n: Source(source=str(write(tmp_path / f"{n}.jsonl", r))) for n, r in (("train", train), ("test", test))}
    return load_all(Problems(train=files["train"], eval={"test": files["test"]}), **more)


def qa(*pairs: str) -> list[dict[str, Any]]:
    """Rows from `prompt=answer`."""
    return [dict(zip(("prompt", "answer"), pair.split("="), strict=True)) for pair in pairs]


def test_all_rows_of_a_prompt_with_two_answers_leave_and_name_the_other_answer(tmp_path: Path):
    found, unused = sets(tmp_path, qa("a=1", "b=1", " a=2", "a=1"), qa("x=1"), error_rate=0.8)
    assert asked(found["train"]) == ["b"]
    assert [(u.row, u.reason, u.detail) for u in unused] == [
        (1, "conflicting_answers", "the answer is '1', and '2' in row 3"),
        (3, "conflicting_answers", "the answer is '2', and '1' in row 1"),
        (4, "conflicting_answers", "the answer is '1', and '2' in row 3"),
    ]


def test_answers_that_typography_alone_tells_apart_are_no_conflict(tmp_path: Path):
    _, unused = sets(tmp_path, qa("a=-1", "a=\u22121 "), qa("x=1"))
    assert [(u.row, u.reason, u.detail) for u in unused] == [(2, "duplicate", "of row 1")]


def test_a_training_problem_in_evaluation_is_listed_with_the_benchmark_and_the_text(tmp_path: Path):
    _, unused = sets(tmp_path, qa("b=1", "It’s  a=1"), qa("y=1", "It's a=2"))
    (one,) = unused
    assert (one.split, one.row, one.reason, one.detail, one.prompt) == (
        "train", 2, "in_evaluation", "stands in test, row 2, written otherwise: It's a", "It’s  a",
    )  # fmt: skip
    _, (one,) = sets(tmp_path, qa("b=1", "a=1"), qa("y=1", "A=1", "a=2"))
    assert one.detail == "stands in test, row 3: a"


def test_more_bad_rows_than_the_error_rate_are_refused_with_counts_the_first_and_the_keys(tmp_path: Path):
    rows = [*qa("a=1", "b=", "c=1", "d=1", "d=2", "=5"), *qa(*(f"{n}=1" for n in range(4)))]
    assert counted(sets(tmp_path, rows, qa("x=1"), error_rate=0.4)[1]) == {
        "train: no_answer": 1, "train: conflicting_answers": 2, "train: no_prompt": 1,
    }  # fmt: skip
    with pytest.raises(DataError) as e:
        sets(tmp_path, rows, qa("x=1"), error_rate=0.39)
    assert str(e.value).replace(f"{tmp_path}/", "") == (
        "train.jsonl: 4 of 10 rows are no problems (2 conflicting_answers, 1 no_answer, 1 no_prompt), more than "
        "error_rate=0.39; the first is row 2: no answer in column 'answer': it is empty; mend the rows, set prompt, "
        "answer or answer_after in problems.train (read: prompt from 'prompt', answer from 'answer'), or raise "
        "error_rate"
    )


def test_duplicates_and_overlaps_are_no_faults(tmp_path: Path):
    _, unused = sets(tmp_path, qa("a=1", "a=1", "x=1", "b=1"), qa("x=1", "x=1"), error_rate=0)
    assert counted(unused) == {"test: duplicate": 1, "train: duplicate": 1, "train: in_evaluation": 1}
    assert not {u.reason for u in unused} & set(BAD)


def test_the_caller_is_told_which_columns_were_chosen(tmp_path: Path):
    chosen: dict[str, Columns] = {}
    train = [{"Question": "a", "Answer": "so #### 1", "solution": "x"}]
    sets(tmp_path, train, qa("x=1"), chosen=chosen.__setitem__)
    assert {name: str(columns) for name, columns in chosen.items()} == {
        "test": "prompt from 'prompt', answer from 'answer'",
        "train": "prompt from 'Question', answer from 'Answer' after '####'",
    }


def test_columns_are_told_by_the_first_rows_wherever_a_slice_begins(tmp_path: Path):
    rows = [{"prompt": f"p{n}", "question": f"q{n}", "answer": "1"} for n in range(SEEN)]
    path = write(tmp_path / "a.jsonl", [*rows, *({"question": f"q{n}", "answer": "1"} for n in range(SEEN, SEEN + 5))])
    assert {row for row, _, _ in bad(path, skip=SEEN)} == set(range(SEEN + 1, SEEN + 6))


# -- conversations ----------------------------------------------------------------------------------------------------


def chat(answer: str, *turns: str) -> dict[str, Any]:
    """A row whose conversation has these turns, `role: content`."""
    said = [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in turns]
    return {"prompt": said, "answer": answer}


def test_problems_that_an_earlier_turn_alone_tells_apart_are_two(tmp_path: Path):
    train = [chat("4", "system: In digits.", "user: 2 + 2?"), chat("four", "system: In words.", "user: 2 + 2?")]
    train += [chat("1", *turns) for turns in (["user: a", "assistant: b", "user: c"], ["user: a", "user: c"])]
    found, unused = sets(tmp_path, [*train, train[0]], qa("x=1"))
    assert [p.answer for p in found["train"]] == ["4", "four", "1", "1"]
    assert [(u.row, u.reason, u.detail) for u in unused] == [(5, "duplicate", "of row 1")]


def test_a_text_is_a_conversation_of_one_turn(tmp_path: Path):
    _, unused = sets(tmp_path, [*qa("2 + 2?=4"), chat("4", "user: 2 + 2?")], qa("x=1"))
    assert [(u.row, u.reason) for u in unused] == [(2, "duplicate")]


def test_another_system_prompt_hides_no_training_problem_of_the_evaluation(tmp_path: Path):
    _, unused = sets(tmp_path, [*qa("b=1"), chat("4", "system: Be kind.", "user: 2 + 2?")], qa("2 + 2?=4"))
    assert [(u.row, u.reason, u.detail) for u in unused] == [
        (2, "in_evaluation", "stands in test, row 1, written otherwise: 2 + 2?")
    ]


def test_where_the_system_prompt_makes_the_answer_the_users_turn_alone_is_no_problem(tmp_path: Path):
    def rows(numbers: Iterable[int]) -> list[dict[str, Any]]:
        return [chat(str(n), f"system: The bill is {n} euros.", "user: How much?") for n in numbers]

    found, unused = sets(tmp_path, rows(range(10)), rows(range(9, 12)))
    assert [p.answer for p in found["train"]] == [str(n) for n in range(9)]
    assert [(u.row, u.reason) for u in unused] == [(10, "in_evaluation")]


def test_code_that_indentation_tells_apart_is_two_problems_with_two_answers(tmp_path: Path):
    codes = ["What is printed?\nfor i in x:\n    f()\n    g()", "What is printed?\nfor i in x:\n    f()\ng()"]
    found, unused = sets(tmp_path, [{"prompt": code, "answer": str(n)} for n, code in enumerate(codes)], qa("x=1"))
    assert asked(found["train"]) == codes
    assert unused == []


# -- dev and gate -----------------------------------------------------------------------------------------------------


def four(tmp_path: Path, **lists: list[dict[str, Any]]) -> Any:
    """Loaded from one file a list; `test` is the benchmark."""
    files = {n: Source(source=str(write(tmp_path / f"{n}.jsonl", rows))) for n, rows in lists.items()}
    return load_all(Problems(eval={"test": files.pop("test")}, **files))


def test_dev_and_gate_are_read_like_the_benchmarks(tmp_path: Path):
    lists = {"train": qa("a=1"), "test": qa("b=2"), "dev": qa("c=3", "c=3", "d=4"), "gate": qa("e=5")}
    found, unused = four(tmp_path, **lists)
    assert {name: asked(ps) for name, ps in found.items()} == {
        "train": ["a"],
        "test": ["b"],
        "dev": ["c", "d"],
        "gate": ["e"],
    }
    assert {p.split for p in found["dev"]} == {"dev"}
    assert [(u.split, u.row, u.reason) for u in unused] == [("dev", 2, "duplicate")]


def test_a_problem_in_several_lists_stays_in_the_benchmark_else_in_gate_else_in_dev(tmp_path: Path):
    found, unused = four(
        tmp_path,
        train=qa("all=1", "gate and dev=1", "dev=1", "train=1"),
        dev=qa("all=1", "gate and dev=1", "It\u2019s dev=1", "dev=1"),
        gate=qa("all=1", "gate  and dev=1"),
        test=qa("all=1"),
    )
    assert {name: asked(ps) for name, ps in found.items()} == {
        "train": ["train"],
        "test": ["all"],
        "dev": ["It\u2019s dev", "dev"],
        "gate": ["gate  and dev"],
    }
    assert [(u.split, u.row, u.reason, u.detail) for u in unused] == [
        ("gate", 1, "in_evaluation", "stands in test, row 1: all"),
        ("dev", 1, "in_evaluation", "stands in test, row 1: all"),
        ("dev", 2, "in_evaluation", "stands in gate, row 2, written otherwise: gate  and dev"),
        ("train", 1, "in_evaluation", "stands in test, row 1: all"),
        ("train", 2, "in_evaluation", "stands in gate, row 2, written otherwise: gate  and dev"),
        ("train", 3, "in_evaluation", "stands in dev, row 4: dev"),
    ]


def test_a_gate_without_a_problem_of_its_own_is_an_error(tmp_path: Path):
    with pytest.raises(DataError) as e:
        four(tmp_path, train=qa("a=1"), test=qa("b=2"), gate=qa("b=2"))
    assert str(e.value) == (
        "problems.gate: every one of 1 problems is also in an evaluation set; use others, or cut a file in two with "
        "part"
    )


def test_what_is_wrong_with_dev_names_its_key(tmp_path: Path):
    with pytest.raises(DataError) as e:
        four(tmp_path, train=qa("a=1"), test=qa("b=2"), dev=[{"prompt": "c", "reply": "3"}])
    assert str(e.value).replace(str(tmp_path / "dev.jsonl"), "dev.jsonl") == (
        "dev.jsonl: no answer column (got prompt, reply); set problems.dev.answer to one of these"
    )


# -- among other words, with other numbers ----------------------------------------------------------------------------

BREAD = "A baker sells 7 kinds of bread on weekdays and 11 kinds on Saturdays. How many kinds does she sell in a week?"
CLOCK = "The clock in the hall loses six minutes a day and was right at noon on the first of May. What does it show?"


def test_a_training_problem_that_holds_a_benchmarks_or_differs_in_numbers_alone_is_listed_with_what_it_matched(
    tmp_path: Path,
):
    rows = [BREAD.replace("7", "9"), f"Think first. {CLOCK} Answer in one word.", "A baker sells 7 kinds of bread."]
    found, unused = sets(tmp_path, [{"prompt": p, "answer": "1"} for p in rows], qa(f"{BREAD}=1", f"{CLOCK}=1"))
    assert asked(found["train"]) == rows[2:]
    assert [(u.row, u.reason, u.detail) for u in unused] == [
        (1, "numbers_changed", f"stands in test, row 1, with other numbers: {BREAD}"),
        (
            2,
            "words_in_evaluation",
            f"shares with test, row 2: {CLOCK.lower().replace('.', '').replace('?', '')}",
        ),
    ]
    assert counted(unused) == {"train: numbers_changed": 1, "train: words_in_evaluation": 1}


def test_what_is_looked_for_can_be_turned_off(tmp_path: Path):
    files = {
        "train": [{"prompt": p, "answer": "1"} for p in (BREAD.replace("7", "9"), f"{CLOCK} Say.", CLOCK, "t")],
        "test": qa(f"{BREAD}=1", f"{CLOCK}=1"),
    }
    sources = {n: Source(source=str(write(tmp_path / f"{n}.jsonl", rows))) for n, rows in files.items()}
    left = {}
    for options in ({"numbers": False}, {"ngram": None}, {"numbers": False, "ngram": None}):
        spec = Problems(train=sources["train"], eval={"test": sources["test"]}, decontaminate=options)
        left[tuple(options)] = [u.row for u in load_all(spec)[1]]
    assert left == {("numbers",): [1, 2, 3], ("ngram",): [1, 3], ("numbers", "ngram"): [3]}


def test_dev_yields_to_gate_and_to_a_benchmark_in_the_same_ways(tmp_path: Path):
    found, unused = four(
        tmp_path,
        train=qa("t=1"),
        dev=qa(f"{BREAD.replace('7', '9')}=1", "d=1"),
        gate=qa(f"{BREAD}=1", f"Now: {CLOCK}=1"),
        test=qa(f"{CLOCK}=1"),
    )
    assert {name: asked(ps) for name, ps in found.items()} == {
        "train": ["t"],
        "test": [CLOCK],
        "dev": ["d"],
        "gate": [BREAD],
    }
    assert [(u.split, u.reason) for u in unused] == [("gate", "words_in_evaluation"), ("dev", "numbers_changed")]


def test_problems_that_are_all_made_from_one_sentence_are_refused_with_the_key_that_keeps_them(tmp_path: Path):
    with pytest.raises(DataError) as e:
        sets(tmp_path, qa(f"{BREAD.replace('7', '9')}=1", f"{BREAD.replace('7', '5')}=1"), qa(f"{BREAD}=1"))
    assert str(e.value) == (
        "problems.train: every one of 2 problems is also in an evaluation set (2 numbers_changed); use others, or set "
        "problems.decontaminate.numbers: false, or .ngram: null, where all problems are made from the same sentences"
    )


# -- between benchmarks -----------------------------------------------------------------------------------------------


def test_what_two_benchmarks_share_is_counted_with_an_example_and_kept(tmp_path: Path):
    lists = {"a": qa("p=1", "It’s q=1", "r=1"), "b": qa("x=1", "It's  q=1", "p=1"), "c": qa("y=1")}
    files = {n: Source(source=str(write(tmp_path / f"{n}.jsonl", rows))) for n, rows in lists.items()}
    train = Source(source=str(write(tmp_path / "train.jsonl", qa("t=1"))))
    found, unused = load_all(Problems(train=train, eval=files))
    assert [len(found[name]) for name in "abc"] == [3, 3, 1]
    assert unused == []
    assert shared(found) == {"b: also in a": Shared(2, "It's  q")}
    assert shared_line(*next(iter(shared(found).items()))) == (
        'b: also in a: 2 problems, such as "It\'s q"; kept in both, so the two are not independent'
    )


# -- levels -----------------------------------------------------------------------------------------------------------


def levelled(tmp_path: Path, late: int) -> Path:
    """Ten levels in the rows that are looked at first, and so many others after them."""
    levels = [n % 10 for n in range(SEEN)] + [100 + n for n in range(late)]
    return write(tmp_path / "a.jsonl", [{"prompt": f"p{n}", "answer": "1", "level": x} for n, x in enumerate(levels)])


def test_levels_are_counted_over_all_rows_and_too_many_are_none(tmp_path: Path):
    loaded = load(Source(source=str(levelled(tmp_path, 2000))), split="train")
    assert {p.level for _, p in loaded.problems} == {None}
    assert str(loaded.columns) == (
        "prompt from 'prompt', answer from 'answer', no level: 'level' has 2,010 different values"
    )
    loaded = load(Source(source=str(levelled(tmp_path, 10))), split="train")
    assert len({p.level for _, p in loaded.problems}) == 20
    assert str(loaded.columns) == "prompt from 'prompt', answer from 'answer', level from 'level'"


def test_a_level_that_the_user_named_stays_however_many_there_are(tmp_path: Path):
    loaded = load(Source(source=str(levelled(tmp_path, 2000)), level="level"), split="train")
    assert len({p.level for _, p in loaded.problems}) == 2010


def test_half_a_character_in_a_level_or_in_the_files_name_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "half-\udcff.jsonl"
    monkeypatch.setenv("HALF", str(path))
    path.write_text(json.dumps({"prompt": "p", "answer": "1", "level": "\ud800"}) + "\n" + json.dumps({"prompt": 1}))
    loaded = load(Source(source="${HALF}", level="level"), split="train")
    assert [(p.level, p.source) for _, p in loaded.problems] == [(None, "half-?.jsonl")]
    assert Store(tmp_path).seal(tmp_path, Problem, [p for _, p in loaded.problems], "train")["rows"] == 1
    assert Store(tmp_path).seal(tmp_path, Unused, loaded.bad, "unused")["rows"] == 1


# -- options, several columns, subjects -------------------------------------------------------------------------------

TEXTS = ["red", "green", "blue"]


def options_of(tmp_path: Path, rows: list[dict[str, Any]], **named: Any) -> list[Problem]:
    loaded = load(Source(source=str(write(tmp_path / "o.jsonl", rows)), **named), split="train")
    return [p for _, p in loaded.problems]


@pytest.mark.parametrize(("answer", "letter"), [("B", "B"), ("green", "B"), (" blue ", "C"), ("2", "2"), ("D", "D")])
def test_a_list_of_options_keeps_its_order_and_the_answer_is_a_letter(tmp_path, answer, letter):
    (p,) = options_of(
        tmp_path, [{"q": "Grass?\n", "choices": TEXTS, "a": answer}], prompt="q", answer="a", options="choices"
    )
    assert (p.prompt, p.answer) == ("Grass?\n\nA) red\nB) green\nC) blue", letter)


def test_a_letter_is_a_letter_where_the_options_are_letters_too(tmp_path):
    (p,) = options_of(
        tmp_path, [{"q": "?", "choices": ["B", "A"], "a": "A"}], prompt="q", answer="a", options="choices"
    )
    assert p.answer == "A", "the first option, whatever it says"


def test_options_of_several_columns_are_put_in_an_order_that_no_column_decides(tmp_path):
    rows = [{"prompt": f"Which {n}?", "right": f"r{n}", "w1": f"u{n}", "w2": f"v{n}"} for n in range(30)]
    found = options_of(tmp_path, rows, answer="right", options=["right", "w1", "w2"])
    turned = options_of(tmp_path, rows, answer="right", options=["w2", "right", "w1"])
    assert found == turned
    assert {p.answer for p in found} == set("ABC")
    for n, p in enumerate(found):
        assert f"\n{p.answer}) r{n}" in str(p.prompt)
    again = options_of(tmp_path, rows[7:8], answer="right", options=["right", "w1", "w2"])
    assert again == found[7:8], "a problem's order is its own"


def test_options_go_below_the_last_turn_of_a_conversation(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grass?"}]
    (p,) = options_of(tmp_path, [{"prompt": turns, "o": TEXTS, "answer": "green"}], options="o")
    assert [m.content for m in p.prompt] == ["Be brief.", "Grass?\n\nA) red\nB) green\nC) blue"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({"o": ["one"], "answer": "one"}, "no_prompt", "no options in column 'o': 1 texts in it"),
        ({"o": "red", "answer": "red"}, "no_prompt", "no options in column 'o': 0 texts in it"),
        ({"o": TEXTS, "answer": ""}, "no_answer", "no answer in column 'answer': it is empty"),
    ],
)
def test_a_row_without_options_or_answer_is_a_bad_row(tmp_path, row, reason, detail):
    rows = [{"prompt": "Grass?", **row}, {"prompt": "Sky?", "o": TEXTS, "answer": "blue"}]
    loaded = load(Source(source=str(write(tmp_path / "o.jsonl", rows)), options="o"), split="train")
    assert [(u.row, u.reason, u.detail) for u in loaded.bad] == [(1, reason, detail)]


def test_an_answer_that_is_none_of_its_options_is_a_bad_row(tmp_path):
    rows = [{"prompt": "Sky?", "answer": "pink", "a": "red", "b": "blue"}]
    loaded = load(Source(source=str(write(tmp_path / "o.jsonl", rows)), options=["a", "b"]), split="train")
    assert [(u.reason, u.detail) for u in loaded.bad] == [("no_answer", "the answer is none of its options: 'pink'")]


def test_an_answer_of_several_columns_is_a_json_object(tmp_path):
    rows = [
        {"prompt": "Sing.", "ids": ["a", "b"], "kwargs": [{"n": 1}, {}]},
        {"prompt": "Hum.", "ids": None, "kwargs": []},
    ]
    loaded = load(Source(source=str(write(tmp_path / "o.jsonl", rows)), answer=["ids", "kwargs"]), split="train")
    assert [p.answer for _, p in loaded.problems] == ['{"ids":["a","b"],"kwargs":[{"n":1},{}]}']
    assert [u.detail for u in loaded.bad] == ["no answer in column 'ids', 'kwargs': it is empty"]
    with pytest.raises(DataError, match=r"no column 'kwags' \(problems\.train\.answer\); did you mean 'kwargs'\?"):
        load(Source(source=str(tmp_path / "o.jsonl"), answer=["ids", "kwags"]), split="train")


@pytest.mark.parametrize(("column", "values", "found"), [
    ("subject", 60, True), ("Type", 3, True), ("category", 60, True), ("subject", 61, False), ("topic", 3, False),
])  # fmt: skip
def test_a_subject_is_found_by_its_name_where_there_are_few(tmp_path, column, values, found):
    rows = [{"prompt": f"q{n}", "answer": "1", column: f"s{n % values}"} for n in range(130)]
    loaded = load(Source(source=str(write(tmp_path / "s.jsonl", rows))), split="train")
    assert {p.subject for _, p in loaded.problems} == ({f"s{n}" for n in range(values)} if found else {None})
    assert loaded.columns is not None and loaded.columns.subject == (column if found else None)


def test_a_subject_that_only_looks_like_one_at_the_beginning_is_none(tmp_path):
    rows = [{"prompt": f"q{n}", "answer": "1", "type": f"s{n if n > 1000 else 0}"} for n in range(1200)]
    path = write(tmp_path / "s.jsonl", rows)
    assert {p.subject for _, p in load(Source(source=str(path)), split="train").problems} == {None}
    named = load(Source(source=str(path), subject="type"), split="train").problems
    assert len({p.subject for _, p in named}) == 200


def test_keys_that_came_later_do_not_make_other_problems_of_the_same_recipe():
    spec = Problems(train=Source(source="a"), eval={"b": Benchmark(source="b", k=3, ask="boxed", guard=True, weight=2)})
    keys = {"source", "subset", "split", "prompt", "answer", "answer_after", "level", "part", "skip", "limit"}
    assert set(spec.drawn) == {"train", "eval", "dev", "gate", "decontaminate"}
    assert set(spec.train.drawn) == keys == set(spec.drawn["eval"]["b"])
    assert set(Source(source="a", subject="s", options="o").drawn) == keys | {"subject", "options"}
