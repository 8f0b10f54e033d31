import json

import pytest

from mixdistill.backends.recorded import NO_TRACE, Recorded
from mixdistill.errors import DataError
from mixdistill.problems import normalise
from mixdistill.types import Message, Request

ROWS = [
    {"prompt": "What is 1 + 1?", "output": "<think>easy</think>It is \\boxed{2}.", "end": "stop"},
    {"prompt": "What is 2 + 2?", "output": "<think>hm</think>It is \\boxed{4}.<|im_end|>", "end": None},
    {"prompt": "What  is 1 + 1?", "output": "<think>again, and then", "end": "length"},
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
    assert [c.reasoning for c in got] == ["again, and then", "easy", ""]
    assert [c.error for c in got] == [None, None, NO_TRACE]


def test_a_prompt_without_a_row_is_an_error_and_no_exception(file):
    (completion,) = ask(Recorded(file, completion_column="output"), {"prompt": "What is 3 + 3?"})
    assert completion.error == NO_TRACE


def test_the_path_may_be_apart_from_the_name(file):
    (completion,) = ask(Recorded("s1-3B", path=file, completion_column="output"), {"prompt": "What is 2 + 2?"})
    assert completion.error is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Janet\u2019s \u201cducks\u201d", 'Janet\'s "ducks"'),
        ("  a\n\n b\t", "a b"),
        ("\uff12 + 2 \u2212 1", "2 + 2 - 1"),
        ("caf\u00e9", "cafe\u0301"),
        ("a\u200bb", "ab"),
        ("a\u00a0b", "a b"),
    ],
)
def test_two_spellings_of_a_prompt_are_joined(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(("one", "other"), [("x\u00b2", "x2"), ("2\u00bd", "21/2"), ("H\u2082", "H2"), ("a", "A")])
def test_prompts_of_another_meaning_are_kept_apart(one, other):
    assert normalise(one) != normalise(other)


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


def test_a_row_without_a_text_is_an_error_of_its_own(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "a", "completion": None}, {"prompt": "b", "completion": "4"}])
    empty, full = ask(Recorded(path), {"prompt": "a"}, {"prompt": "b"})
    assert empty.error == "recorded row has no 'completion'"
    assert full.error is None


def test_a_missing_column_names_the_close_one(file):
    with pytest.raises(DataError, match=r"traces.jsonl: no column 'outputs'; did you mean 'output'\?"):
        ask(Recorded(file, completion_column="outputs"), {"prompt": "a"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"prompt": "a"\n', ":1: not JSON"),
        ("a.jsonl", "\n", "holds no rows"),
        ("a.json", '{"prompt": "a"}', "holds no rows"),
        ("a.txt", "x", "unknown kind of file"),
        ("a.parquet", "x", "not readable as .parquet"),
        ("a.jsonl", '{"prompt": null, "completion": "x"}', "row 1 has no 'prompt'"),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        ask(Recorded(str(tmp_path / name)), {"prompt": "a"})
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        ask(Recorded(str(tmp_path / "none.jsonl")), {"prompt": "a"})


def test_complete_must_be_one_of_three(file):
    with pytest.raises(DataError, match="'answered'"):
        Recorded(file, complete="always")


def test_the_join_report_counts_both_sides(file):
    report = Recorded(file, completion_column="output").join_report(
        ["What is 1 + 1?", "What is 1  + 1?", "What is 9 + 9?"]
    )
    assert report == {"prompts": 2, "matched": 1, "unmatched": 1, "rows": 3, "rows_unused": 1}
