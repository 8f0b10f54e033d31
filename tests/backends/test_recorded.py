import json

import pytest

from mixdistill.backends.recorded import Recorded
from mixdistill.errors import DataError
from mixdistill.types import Message, Request

ROWS = [
    {"prompt": "What is 1 + 1?", "output": "<think>easy</think>It is \\boxed{2}.", "end": "stop"},
    {"prompt": "What is 2 + 2?", "output": "<think>hm</think>It is \\boxed{4}.<|im_end|>", "end": None},
    {"prompt": "What is 1 + 1? ", "output": "<think>again, and then", "end": "length"},
]


def write(path, rows=ROWS):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        import polars

        frame = polars.DataFrame(rows)
        frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return str(path)


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "traces.jsonl")


def ask(backend, *requests):
    return [completion for _, completion in backend.generate([Request(**r) for r in requests])]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_traces(tmp_path, suffix):
    backend = Recorded(write(tmp_path / f"traces{suffix}"), completion_column="output", finish_reason_column="end")
    first, second = ask(backend, {"prompt": "What is 1 + 1?"}, {"prompt": "What is 2 + 2?"})
    assert (first.reasoning, first.content, first.finish_reason) == ("easy", "It is \\boxed{2}.", "stop")
    assert (second.reasoning, second.content, second.finish_reason) == ("hm", "It is \\boxed{4}.", "stop")


def test_samples_are_the_rows_of_one_prompt_in_file_order(file):
    backend = Recorded(file, completion_column="output", finish_reason_column="end")
    got = ask(backend, *({"prompt": "What is 1 + 1?", "sample": n} for n in (1, 0, 2)))
    assert [c and c.reasoning for c in got] == ["again, and then", "easy", None]


def test_a_prompt_without_a_row_has_no_completion_and_is_no_exception(file):
    assert ask(Recorded(file, completion_column="output"), {"prompt": "What is 3 + 3?"}) == [None]


def test_the_path_may_be_apart_from_the_name(file):
    (completion,) = ask(Recorded("s1-3B", path=file, completion_column="output"), {"prompt": "What is 2 + 2?"})
    assert completion.error is None


def joined(path, *prompts):
    """What each prompt gets, where all are asked."""
    return [completion and completion.content for completion in ask(Recorded(path), *({"prompt": p} for p in prompts))]


def rows(tmp_path, *prompts):
    return write(tmp_path / "a.jsonl", [{"prompt": p, "completion": f"row {n}"} for n, p in enumerate(prompts, 1)])


def test_another_spelling_is_joined_where_it_can_mean_one_prompt_only(tmp_path):
    path = rows(tmp_path, "Janet\u2019s  ducks", "x\u00b2")
    assert joined(path, "Janet's ducks", "x2") == ["row 1", None]


def test_an_exact_prompt_is_never_given_the_trace_of_another_spelling(tmp_path):
    codes = ["for x:\n  f()\n  g()", "for x:\n  f()\ng()"]
    assert joined(rows(tmp_path, *codes), *reversed(codes)) == ["row 2", "row 1"]


def test_a_spelling_that_two_prompts_of_the_file_share_joins_neither_and_is_listed(tmp_path):
    path = rows(tmp_path, "a:\n  b\n  c", "a:\n  b\nc", "d")
    assert joined(path, "a: b c", "d") == [None, "row 3"]
    report = Recorded(path).join_report(["a: b c", "d", "e"])
    counts = [report[k] for k in ("prompts", "matched", "ambiguous", "unmatched", "rows_unused")]
    assert counts == [3, 1, 1, 1, 2]
    assert (report["examples"]["ambiguous"], report["examples"]["unmatched"]) == (["a: b c"], ["e"])


def test_a_spelling_that_two_asked_prompts_share_is_for_the_exact_one_alone_whoever_is_left_to_ask(tmp_path):
    path = rows(tmp_path, "a:\n  b")
    assert joined(path, "a:\n  b", "a: b") == ["row 1", None]
    assert joined(path, "a:b", "a: b", "a:  b") == [None, None, None]
    backend = Recorded(path)
    backend.join_report(["a:\n  b", "a: b"])
    assert ask(backend, {"prompt": "a: b"}) == [None]
    assert joined(path, "a: b") == ["row 1"]


def test_two_system_prompts_are_joined_each_with_its_own_traces(tmp_path):
    turns = [
        [{"role": "system", "content": s}, {"role": "user", "content": "q"}] for s in ("It\u2019s A", "It\u2019s B")
    ]
    asked = [[Message(role="system", content=s), Message(role="user", content="q")] for s in ("It's B", "It's A")]
    assert joined(rows(tmp_path, *turns), *asked, "q") == ["row 2", "row 1", None]


def test_a_file_of_which_nothing_can_be_told_apart_says_so(tmp_path):
    path = rows(tmp_path, "a  b", "a b")
    with pytest.raises(DataError) as caught:
        Recorded(path).join_report(["a   b"])
    assert str(caught.value) == (
        f"{path}: none of 1 prompts stands in it as it is asked, and in a looser form each may be one of several; the "
        "first is 'a   b'; write the prompts of both files alike"
    )


def test_a_conversation_with_one_user_turn_is_joined_by_that_turn(tmp_path):
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "2 + 2?"}]
    path = write(tmp_path / "a.jsonl", [{"prompt": turns, "completion": "4"}])
    (plain,) = ask(Recorded(path), {"prompt": "2 + 2?"})
    (chat,) = ask(Recorded(path), {"prompt": [Message(role="user", content="2 + 2?")]})
    assert plain.content == chat.content == "4"


def test_a_reasoning_column_is_taken_as_it_is(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"q": "2 + 2?", "thought": " hm ", "a": "4"}])
    (completion,) = ask(
        Recorded(path, prompt_column="q", completion_column="a", reasoning_column="thought"), {"prompt": "2 + 2?"}
    )
    assert (completion.reasoning, completion.content) == ("hm", "4")


def finish(tmp_path, text, said=None, **options):
    path = write(tmp_path / "a.jsonl", [{"prompt": "p", "completion": text, "said": said}])
    return ask(Recorded(path, **options), {"prompt": "p"})[0].finish_reason


def test_how_a_trace_ended_is_unknown_unless_something_shows_it(tmp_path):
    assert finish(tmp_path, "It is \\boxed{4}.") == "unknown"
    assert finish(tmp_path, "It is \\boxed{4}.<|im_end|>") == "stop"
    assert finish(tmp_path, "<think>so it is") == "length"


def test_complete_is_the_users_word_for_every_row(tmp_path):
    assert finish(tmp_path, "It is", complete=True) == "stop"


def test_answered_counts_only_answers_that_were_stated_and_ended(tmp_path):
    assert finish(tmp_path, "<think>a</think>It is \\boxed{4}.", complete="answered") == "stop"
    assert finish(tmp_path, "<think>a</think>It is \\boxed{4}. But", complete="answered") == "unknown"
    assert finish(tmp_path, "<think>so it is", complete="answered") == "length"


@pytest.mark.parametrize(
    ("said", "meant"), [("stop", "stop"), ("EOS", "stop"), ("max_tokens", "length"), ("abort", "unknown")]
)
def test_the_files_own_finish_reason_beats_all_else(tmp_path, said, meant):
    assert finish(tmp_path, "x<|im_end|>", said, finish_reason_column="said", complete=True) == meant


def test_an_empty_finish_reason_falls_back_to_the_text(tmp_path):
    assert finish(tmp_path, "x<|im_end|>", None, finish_reason_column="said") == "stop"


BAD = [
    {"prompt": "a", "completion": None},
    {"prompt": "a", "completion": " "},
    {"prompt": None, "completion": "4"},
    {"prompt": "a", "completion": {"text": "4"}},
    {"prompt": "a", "completion": 4},
]


def test_rows_that_are_no_trace_are_counted_with_a_reason_and_the_next_one_takes_their_place(tmp_path):
    path = write(tmp_path / "a.jsonl", BAD)
    with open(path, "a") as f:
        f.write("{torn\n")
    backend = Recorded(path)
    first, second = ask(backend, {"prompt": "a"}, {"prompt": "a", "sample": 1})
    assert (first.content, second) == ("4", None)
    report = backend.join_report(["a"])
    assert report["rows_bad"] == {"no_completion": 3, "no_prompt": 1, "unreadable": 1}
    assert report["examples"]["rows_bad"] == [
        {"row": 1, "reason": "no_completion", "detail": "no completion in column 'completion': it is empty"},
        {"row": 2, "reason": "no_completion", "detail": "no completion in column 'completion': it is empty"},
        {"row": 3, "reason": "no_prompt", "detail": "no prompt in column 'prompt': it is empty"},
        {
            "row": 4,
            "reason": "no_completion",
            "detail": "no completion in column 'completion': it is of type dict, neither text nor a list",
        },
        {
            "row": 6,
            "reason": "unreadable",
            "detail": "not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
        },
    ]


def test_a_missing_column_names_the_close_one(file):
    with pytest.raises(DataError, match=r"traces.jsonl: no column 'outputs'; did you mean 'output'\?"):
        ask(Recorded(file, completion_column="outputs"), {"prompt": "a"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.jsonl",
            '{"prompt": "a"\n',
            "holds no trace (row 1: not JSON (Expecting ',' delimiter: line 2 column 1 (char 15))); "
            "it must hold one recorded trace a row",
        ),
        ("a.jsonl", "\n", "holds no trace; it must hold one recorded trace a row"),
        (
            "a.json",
            '{"prompt": "a"}',
            "not readable as .json (it holds a dict, not a list of rows); mend the file",
        ),
        ("a.txt", "x", "unknown kind of file (got '.txt'); use .jsonl, .json, .csv, .tsv or .parquet"),
        (
            "a.jsonl",
            '{"prompt": null, "completion": "x"}',
            "holds no trace (row 1: no prompt in column 'prompt': it is empty); it must hold one recorded trace a row",
        ),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        ask(Recorded(str(tmp_path / name)), {"prompt": "a"})
    assert str(caught.value) == f"{tmp_path / name}: {message}"


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        ask(Recorded(str(tmp_path / "none.jsonl")), {"prompt": "a"})


def test_complete_must_be_one_of_three(file):
    with pytest.raises(DataError, match="'answered'"):
        Recorded(file, complete="always")


def test_the_join_report_counts_both_sides_and_names_some(file):
    report = Recorded(file, completion_column="output").join_report(
        ["What is 1 + 1?", "What is 1 + 1?\n", "What is\n9 + 9?", "x" * 100]
    )
    assert report == {
        "columns": "prompt from 'prompt', completion from 'output'",
        "prompts": 3,
        "matched": 1,
        "ambiguous": 0,
        "unmatched": 2,
        "rate": 1 / 3,
        "rows": 3,
        "rows_unused": 1,
        "rows_bad": {},
        "traces": 3,
        "repeated": 0,
        "dropped": {},
        "samples": 2,
        "examples": {
            "ambiguous": [],
            "unmatched": ["What is\\n9 + 9?", "x" * 77 + "..."],
            "rows_unused": ["What is 2 + 2?"],
            "rows_bad": [],
        },
    }


def test_the_join_report_names_five_of_each_kind(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": f"a{n}", "completion": "x"} for n in range(9)])
    report = Recorded(path).join_report(["a0", *(f"b{n}" for n in range(9))])
    assert report["examples"]["unmatched"] == [f"b{n}" for n in range(5)]
    assert report["examples"]["rows_unused"] == [f"a{n}" for n in range(1, 6)]


def test_a_file_of_which_nothing_joins_is_refused_with_both_sides_first_prompts(file):
    with pytest.raises(DataError) as caught:
        Recorded(file, completion_column="output").join_report(["What is 9 + 9?", "What is 8 + 8?"])
    assert str(caught.value) == (
        f"{file}: none of 2 prompts is in it; the first asked is 'What is 9 + 9?', its own first is 'What is 1 + 1?'; "
        "set prompt_column, and leave the teacher's prompt plain"
    )


def test_nothing_asked_is_no_mismatch(file):
    assert Recorded(file, completion_column="output").join_report([])["rate"] == 0
