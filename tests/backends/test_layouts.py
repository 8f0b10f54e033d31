"""The layouts of published traces, in rows made up here: what is detected, what is refused, what comes out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from mixdistill.backends.recorded import Recorded
from mixdistill.errors import DataError
from mixdistill.types import Message, Request

Q = "What is 2 + 3?"
OTHER = "What is 4 + 4?"
UWNSL = [
    {"problem": Q, "solution": "Two and three.\n\n\\boxed{5}"},
    {"problem": OTHER, "solution": "Twice four.\n\n\\boxed{8}"},
]
OPENR1 = [
    {
        "problem": Q,
        "solution": "Count on from two: $\\boxed{5}$.",
        "answer": "5",
        "source": "made_up",
        "generations": ["<think>\nTwo, then three.\n</think>\n\nSo \\boxed{5}.", "<think>\nTwo, three, hm"],
        "is_reasoning_complete": [True, False],
        "correctness_math_verify": [True, False],
        "correctness_llama": None,
        "finish_reasons": ["stop", "length"],
        "messages": [{"role": "user", "content": Q}, {"role": "assistant", "content": "<think>\nTwo, then three."}],
    },
    {
        "problem": OTHER,
        "solution": "Double four: $\\boxed{8}$.",
        "answer": "8",
        "source": "made_up",
        "generations": ["<think>\nEight?\n</think>\n\nIt is \\boxed{8}."] * 2,
        "is_reasoning_complete": [True, True],
        "correctness_math_verify": [False, True],
        "correctness_llama": None,
        "finish_reasons": None,
        "messages": [{"role": "user", "content": OTHER}, {"role": "assistant", "content": "It is \\boxed{8}."}],
    },
]
OPENTHOUGHTS = [
    {
        "system": "Think first, then answer.",
        "conversations": [
            {"from": "user", "value": Q},
            {
                "from": "assistant",
                "value": "<|begin_of_thought|>\n\nTwo, then three.\n\n<|end_of_thought|>\n\n"
                "<|begin_of_solution|>\n\nIt is \\boxed{5}.\n\n<|end_of_solution|>",
            },
        ],
    },
    {
        "system": "Think first, then answer.",
        "conversations": [
            {"from": "user", "value": OTHER},
            {"from": "assistant", "value": "<|begin_of_thought|>\n\nFour and four, so"},
        ],
    },
]
S1K = [
    {
        "question": Q,
        "solution": "By hand: 5",
        "cot_type": "math",
        "cot": None,
        "thinking_trajectories": ["Two, then three."],
        "attempt": "It is \\boxed{5}.",
    }
]
S1K_11 = [
    {
        "question": Q,
        "solution": "By hand: 5",
        "gemini_thinking_trajectory": "Quick.",
        "gemini_attempt": "5",
        "deepseek_thinking_trajectory": "Two, then three.",
        "deepseek_attempt": "It is \\boxed{5}.",
        "deepseek_grade": "Yes",
    }
]
METADATA = [
    {
        "problem": Q,
        "deepseek_reasoning": "Two, then three.",
        "deepseek_solution": "It is \\boxed{5}.",
        "ground_truth_solution": "5",
        "domain": "math",
    }
]
SFT = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": Q},
            {"role": "assistant", "content": "It is \\boxed{5}.", "reasoning_content": "Two, then three."},
        ]
    }
]
SHAREGPT = [
    {
        "conversations": [
            {"from": "human", "value": "Hello"},
            {"from": "gpt", "value": "Hello!"},
            {"from": "human", "value": Q},
            {"from": "gpt", "value": "5"},
        ]
    }
]
PROMPT_COMPLETION = [
    {"prompt": [{"role": "user", "content": Q}], "completion": [{"role": "assistant", "content": "5"}]},
]
BESIDE = [{"input": Q, "reasoning_content": "Two, then three.", "content": "It is \\boxed{5}.", "score": 9}]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


@pytest.fixture
def file(tmp_path: Path):
    return lambda rows: write(tmp_path / "a.jsonl", rows)


def ask(backend: Recorded, prompt: Any = Q, samples: int = 3) -> list[tuple[str, str, str]]:
    """(reasoning, content, finish reason) of every sample that there is."""
    found = backend.generate([Request(prompt=prompt, sample=n) for n in range(samples)])
    return [(c.reasoning, c.content, c.finish_reason) for _, c in found if c]


def counts(backend: Recorded, *prompts: Any) -> dict[str, Any]:
    """What the join report says that is not its default."""
    told = backend.join_report(prompts)
    same = {"prompts", "matched", "rate", "samples", "examples"}
    return {k: v for k, v in told.items() if k not in same and v}


# -- layouts ----------------------------------------------------------------------------------------------------------


def test_uwnsl_a_problem_and_one_solution(file):
    backend = Recorded(file(UWNSL), complete="answered")
    assert ask(backend) == [("", "Two and three.\n\n\\boxed{5}", "stop")]
    assert ask(backend, OTHER) == [("", "Twice four.\n\n\\boxed{8}", "stop")]
    assert counts(backend, Q, OTHER) == {
        "columns": "prompt from 'problem', completion from 'solution'",
        "rows": 2,
        "traces": 2,
    }


def test_openr1_the_generations_and_their_finish_reasons(file):
    backend = Recorded(file(OPENR1), complete="answered")
    assert ask(backend) == [("Two, then three.", "So \\boxed{5}.", "stop"), ("Two, three, hm", "", "length")]
    assert ask(backend, OTHER) == [("Eight?", "It is \\boxed{8}.", "stop")] * 2
    assert counts(backend, Q, OTHER) == {
        "columns": "prompt from 'problem', completion from 'generations', finish reason from 'finish_reasons'; "
        "not 'messages' nor 'solution'",
        "rows": 2,
        "traces": 4,
        "repeated": 1,
    }


def test_openr1_without_a_finish_reason_the_text_says_how_it_ended_or_nobody(file):
    assert ask(Recorded(file(OPENR1)), OTHER) == [("Eight?", "It is \\boxed{8}.", "unknown")] * 2


def test_openr1_the_human_solution_of_the_same_row_takes_nothing_of_the_generations(file):
    backend = Recorded(file(OPENR1), completion_column="solution", complete=True)
    assert ask(backend) == [("", "Count on from two: $\\boxed{5}$.", "stop")]
    assert counts(backend, Q, OTHER) == {
        "columns": "prompt from 'problem', completion from 'solution'; not 'generations' nor 'messages'",
        "rows": 2,
        "traces": 2,
    }


def test_openr1_what_others_judged_counts_only_where_it_is_asked_for(file):
    backend = Recorded(file(OPENR1), correct_column="correctness_math_verify")
    assert ask(backend) == [("Two, then three.", "So \\boxed{5}.", "stop")]
    assert ask(backend, OTHER) == [("Eight?", "It is \\boxed{8}.", "unknown")]
    told = counts(backend, Q, OTHER)
    assert told["columns"].startswith(
        "prompt from 'problem', completion from 'generations', finish reason from 'finish_reasons', only what "
        "'correctness_math_verify' marks as correct;"
    )
    assert (told["rows"], told["traces"], told["dropped"]) == (2, 2, {"marked_incorrect": 2})


def test_openr1_the_messages_may_be_chosen_and_bring_their_own_prompt(file):
    backend = Recorded(file(OPENR1), completion_column="messages")
    assert ask(backend) == [("Two, then three.", "", "unknown")]
    assert counts(backend, Q)["columns"] == "prompt and completion from 'messages'; not 'generations' nor 'solution'"


def test_openthoughts_conversations_under_a_system_prompt(file):
    backend = Recorded(path := file(OPENTHOUGHTS))
    assert ask(backend) == [("Two, then three.", "It is \\boxed{5}.", "stop")]
    assert ask(backend, OTHER) == [("Four and four, so", "", "length")]
    turns = [Message(role="system", content="Think first, then answer."), Message(role="user", content=Q)]
    assert ask(Recorded(path), turns) == [("Two, then three.", "It is \\boxed{5}.", "stop")]
    assert counts(backend, Q, OTHER) == {
        "columns": "prompt and completion from 'conversations', system prompt from 'system'",
        "rows": 2,
        "traces": 2,
    }


def test_openthoughts_metadata_of_which_the_model_is_named_in_the_columns(file):
    backend = Recorded(file(METADATA), complete="answered")
    assert ask(backend) == [("Two, then three.", "It is \\boxed{5}.", "stop")]
    assert counts(backend, Q)["columns"] == (
        "prompt from 'problem', completion from 'deepseek_solution', reasoning from 'deepseek_reasoning'"
    )


def test_s1k_thinking_and_attempt_stand_apart(file):
    backend = Recorded(file(S1K), complete="answered")
    assert ask(backend) == [("Two, then three.", "It is \\boxed{5}.", "stop")]
    assert counts(backend, Q) == {
        "columns": "prompt from 'question', completion from 'attempt', reasoning from 'thinking_trajectories'; "
        "not 'solution'",
        "rows": 1,
        "traces": 1,
    }


def test_s1k_the_human_solution_is_not_given_the_models_thoughts(file):
    assert ask(Recorded(file(S1K), completion_column="solution", complete=True)) == [("", "By hand: 5", "stop")]


def test_s1k_11_two_models_in_a_row_are_not_chosen_between(file):
    with pytest.raises(DataError) as e:
        ask(Recorded(path := file(S1K_11)))
    assert str(e.value) == (
        f"{path}: the completion may stand in 'deepseek_attempt' or in 'gemini_attempt' (they differ in row 1); "
        "set completion_column to one of them"
    )


@pytest.mark.parametrize(
    ("model", "trace"),
    [
        ("deepseek", ("Two, then three.", "It is \\boxed{5}.", "unknown")),
        ("gemini", ("Quick.", "5", "unknown")),
    ],
)
def test_s1k_11_the_chosen_models_thoughts_come_with_its_attempt(file, model: str, trace: tuple[str, str, str]):
    assert ask(Recorded(file(S1K_11), completion_column=f"{model}_attempt")) == [trace]


def test_sft_messages_with_the_reasoning_in_the_turn(file):
    backend = Recorded(file(SFT), complete=True)
    assert ask(backend) == [("Two, then three.", "It is \\boxed{5}.", "stop")]
    assert counts(backend, Q) == {"columns": "prompt and completion from 'messages'", "rows": 1, "traces": 1}


def test_sharegpt_the_turns_before_the_last_answer_are_the_prompt(file):
    backend = Recorded(file(SHAREGPT))
    turns = [("user", "Hello"), ("assistant", "Hello!"), ("user", Q)]
    assert ask(backend, [Message(role=r, content=c) for r, c in turns]) == [("", "5", "unknown")]
    assert ask(backend, Q) == [], "another conversation"


def test_turns_as_prompt_and_as_completion(file):
    backend = Recorded(file(PROMPT_COMPLETION))
    assert ask(backend) == [("", "5", "unknown")]
    assert counts(backend, Q)["columns"] == "prompt from 'prompt', completion from 'completion'"


def test_content_with_its_reasoning_beside_it(file):
    backend = Recorded(file(BESIDE))
    assert ask(backend) == [("Two, then three.", "It is \\boxed{5}.", "unknown")]
    assert counts(backend, Q)["columns"] == (
        "prompt from 'input', completion from 'content', reasoning from 'reasoning_content'"
    )


def test_names_in_capitals_with_spaces_or_hyphens_are_the_same_names(file):
    backend = Recorded(file([{"Question": Q, "Thinking": "Hm.", "Model Output": "5", "Finish-Reason": "stop"}]))
    assert ask(backend) == [("Hm.", "5", "stop")]


def test_lists_in_a_csv_file_are_read_as_json_and_as_python_prints_them(tmp_path: Path):
    rows = [dict(row) for row in OPENR1]
    lists = ("generations", "finish_reasons", "messages", "correctness_math_verify")
    for row, said in zip(rows, (json.dumps, repr), strict=True):
        row |= {c: said(row[c]) if row[c] is not None else "" for c in lists}
    with open(tmp_path / "a.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for options in ({}, {"correct_column": "correctness_math_verify"}, {"completion_column": "messages"}):
        same = [
            (ask(Recorded(path, **options)), ask(Recorded(path, **options), OTHER))
            for path in (str(tmp_path / "a.csv"), write(tmp_path / "a.jsonl", OPENR1))
        ]
        assert same[0] == same[1]
        assert same[0][1]


# -- careful ----------------------------------------------------------------------------------------------------------


def test_an_answer_is_a_completion_where_it_shows_work(file):
    worked = "Two apples and three apples are five apples.\n#### 5"
    assert ask(Recorded(file([{"question": Q, "answer": worked}]))) == [("", worked, "unknown")]


def test_an_answer_is_a_completion_where_its_reasoning_stands_beside_it(file):
    assert ask(Recorded(file([{"question": Q, "reasoning": "Hm.", "answer": "5"}]))) == [("Hm.", "5", "unknown")]


def test_a_bare_answer_is_no_trace(file):
    with pytest.raises(DataError) as e:
        ask(Recorded(path := file([{"question": Q, "answer": "5"}])))
    assert str(e.value) == (
        f"{path}: no completion column (got question, answer); set completion_column to the one that holds the trace"
    )


def test_two_columns_that_say_the_same_are_one(file):
    row = {"problem": Q, "question": Q, "response": "5", "messages": [{"role": "assistant", "content": "5 "}]}
    assert ask(Recorded(file([row]))) == [("", "5", "unknown")]


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        (
            {"instruction": "Solve.", "input": Q, "output": "5"},
            {},
            "the prompt may stand in 'instruction' or in 'input' (they differ in row 2); set prompt_column to one of "
            "them",
        ),
        (
            {"prompt": Q, "output": "5", "response": "6"},
            {},
            "the completion may stand in 'response' or in 'output' (they differ in row 2); set completion_column to "
            "one of them",
        ),
        (
            {"prompt": Q, "output": "5", "thinking": "a", "reasoning": "b"},
            {},
            "the reasoning may stand in 'reasoning' or in 'thinking' (they differ in row 2); set reasoning_column to "
            "one of them",
        ),
        (
            {"prompt": Q, "output": "5", "finish_reason": "stop", "stop_reason": "length"},
            {},
            "the finish_reason may stand in 'finish_reason' or in 'stop_reason' (they differ in row 2); set "
            "finish_reason_column to one of them",
        ),
        (
            {"said": Q, "output": "5"},
            {},
            "no prompt column (got said, output); set prompt_column to the one that holds the problem as it stands",
        ),
        (
            {"prompt": Q, "output": "5"},
            {"correct_column": "right"},
            "no column 'right'; known: output, prompt",
        ),
    ],
)
def test_what_cannot_be_told_is_asked_for(file, row: dict[str, Any], options: dict[str, Any], message: str):
    path = file([dict.fromkeys(row), row])
    with pytest.raises(DataError) as e:
        ask(Recorded(path, **options))
    assert str(e.value) == f"{path}: {message}"


def test_what_was_asked_for_can_be_said(file):
    row = {"instruction": "Solve.", "input": Q, "output": "5", "response": "6", "thinking": "a", "reasoning": "b"}
    named = {"prompt_column": "input", "completion_column": "response", "reasoning_column": "thinking"}
    assert ask(Recorded(file([row]), **named)) == [("a", "6", "unknown")]


def test_an_empty_name_says_that_there_is_none(file):
    path = file([{"prompt": Q, "output": "5<|im_end|>", "thinking": "a", "finish_reason": "length"}])
    assert ask(Recorded(path)) == [("a", "5", "length")]
    assert ask(Recorded(path, reasoning_column="", finish_reason_column="")) == [("", "5", "stop")]


def test_a_column_with_a_name_of_its_own_takes_no_reasoning_that_may_be_anothers(file):
    row = {"prompt": Q, "mine": "5", "thinking": "a"}
    assert ask(Recorded(file([row]), completion_column="mine")) == [("a", "5", "unknown")]
    assert ask(Recorded(file([row | {"output": "6"}]), completion_column="mine")) == [("", "5", "unknown")]


def test_thinking_that_never_ended_is_a_trace_that_was_cut(file):
    rows = [{"prompt": Q, "reasoning": "Two and", "content": content} for content in ("", None)]
    assert ask(Recorded(file(rows))) == [("Two and", "", "length")] * 2


def test_several_rows_and_several_generations_are_counted_on(file):
    rows = [{"problem": Q, "generations": texts} for texts in (["a", "b"], "c", ["", None, "d"])]
    backend = Recorded(file(rows))
    assert [content for _, content, _ in ask(backend, samples=9)] == ["a", "b", "c", "d"]
    told = counts(backend, Q)
    assert (told["rows"], told["traces"], told["dropped"]) == (3, 4, {"empty": 2})


@pytest.mark.parametrize(
    ("mark", "kept"),
    [(True, 1), ("True", 1), (1, 1), ("yes", 1), (False, 0), ("no", 0), (0.0, 0), (None, 0), ("perhaps", 0)],
)
def test_only_what_is_marked_as_correct_is_kept(file, mark: Any, kept: int):
    path = file([{"prompt": Q, "output": "5", "right": mark}, {"prompt": Q, "output": "last", "right": True}])
    backend = Recorded(path, correct_column="right")
    assert [content for _, content, _ in ask(backend)] == ["5", "last"][1 - kept :]
    reason = "not_marked" if mark in (None, "perhaps") else "marked_incorrect"
    assert backend.join_report([Q])["dropped"] == ({} if kept else {reason: 1})


# -- rows and files that are none -------------------------------------------------------------------------------------


def turns(*said: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": Q, "generations": {"a": 1}}, "no completion in column 'generations': it is of type dict, neither "
         "text nor a list"),
        ({"problem": Q, "generations": [["a"]]}, "no completion in column 'generations': it is a list that holds list, "
         "neither texts nor turns"),
        ({"problem": Q, "generations": []}, "no completion in column 'generations': it is empty"),
        ({"problem": Q, "generations": [None, " "]}, "no completion in column 'generations': it is empty"),
        ({"problem": Q, "generations": "['a' 'b']"}, "no completion in column 'generations': it looks like a list, and "
         "is none as JSON or Python writes it"),
        ({"problem": Q, "generations": ["a", "b"], "finish_reasons": ["stop"]}, "2 in column 'generations' and 1 in "
         "'finish_reasons'"),
        ({"problem": Q, "generations": ["a"], "finish_reasons": "[stop]"}, "column 'finish_reasons' looks like a list, "
         "and is none as JSON or Python writes it"),
        ({"messages": turns(("user", Q))}, "no completion in column 'messages': it holds no assistant turn"),
        ({"messages": turns(("assistant", "5"))}, "no prompt in column 'messages': nothing stands before its last "
         "assistant turn"),
        ({"messages": turns(("tool", "x"), ("assistant", "5"))}, "no prompt in column 'messages': a turn's role is "
         "'tool', not system, user or assistant"),
        ({"messages": turns(("user", Q), ("assistant", ["5"]))}, "no completion in column 'messages': its last "
         "assistant turn is of type list, not text"),
    ],
)  # fmt: skip
def test_rows_that_are_no_trace_say_why(file, row: dict[str, Any], message: str):
    with pytest.raises(DataError) as e:
        ask(Recorded(path := file([row])))
    assert str(e.value) == f"{path}: holds no trace (row 1: {message}); it must hold one recorded trace a row"


def test_a_file_of_which_nothing_is_marked_as_correct_says_so(file):
    path = file([{"prompt": Q, "output": "5", "right": right} for right in (False, False, None)])
    with pytest.raises(DataError) as e:
        ask(Recorded(path, correct_column="right"))
    assert str(e.value) == (
        f"{path}: holds no trace that 'right' marks as correct (2 marked_incorrect, 1 not_marked); leave it out"
    )


# -- the hub and large files ------------------------------------------------------------------------------------------


def test_a_data_set_of_the_hub_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    asked: list[Any] = []

    def load_dataset(*words: Any, split: str) -> Any:
        asked.append((*words, split))
        return datasets.Dataset.from_list(OPENR1)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    backend = Recorded("open-r1/OpenR1-Math-220k", subset="default", split="part")
    assert ask(backend) == [("Two, then three.", "So \\boxed{5}.", "stop"), ("Two, three, hm", "", "length")]
    assert asked == [("open-r1/OpenR1-Math-220k", "default", "part")]
    assert ask(Recorded("r1", path="open-r1/OpenR1-Math-220k"), samples=1)
    assert asked[1:] == [("open-r1/OpenR1-Math-220k", None, "train")]


def test_a_data_set_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")

    def load_dataset(*words: Any, split: str) -> Any:
        raise ConnectionError("Couldn't reach 'some/set' on the Hub (LocalEntryNotFoundError)\nsee above")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as e:
        ask(Recorded("some/set"))
    assert str(e.value) == (
        "some/set: not a local file and not loadable from the hub (Couldn't reach 'some/set' on the Hub "
        "(LocalEntryNotFoundError)); check the name, subset and split"
    )


def test_a_file_without_an_ending_that_is_there_is_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("traces").write_text("x")
    with pytest.raises(DataError) as e:
        ask(Recorded("traces"))
    assert str(e.value) == "traces: unknown kind of file (got ''); use .jsonl, .json, .csv, .tsv or .parquet"


def test_only_traces_that_may_be_asked_for_are_held_and_the_others_are_counted(file):
    backend = Recorded(file([{"prompt": f"p{n}", "completion": f"c{n}"} for n in range(100)]))
    told = backend.join_report(["p7", "p 8"])
    assert (told["rows"], told["rows_unused"], told["traces"]) == (100, 99, 100)
    assert told["examples"]["rows_unused"] == ["p0", "p1", "p2", "p3", "p4"]
    assert backend._read and sum(map(len, backend._read.traces.values())) == 1


def test_prompts_that_are_asked_later_are_found_too(file):
    backend = Recorded(file([{"prompt": f"p{n}", "completion": f"c{n}"} for n in range(9)]))
    assert [ask(backend, f"p{n}")[0][1] for n in (3, 5, 3)] == ["c3", "c5", "c3"]
