"""`init`: the recipe it writes works, what it prints is true, and what it cannot know it asks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixdistill import cli, pipeline, problems
from mixdistill.commands import init
from mixdistill.commands.plans import Amount, Time, Variant
from mixdistill.errors import DataError, MixdistillError, RecipeError, StoreError
from mixdistill.executor import Local
from mixdistill.recipe import load
from mixdistill.sections import Source
from mixdistill.store import Store
from mixdistill.tables import TableRow
from mixdistill.types import Problem, Trace

LONG = "long=long.jsonl"
SHORT = "short=short.jsonl"


def save(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty sums with their solutions, long traces and short ones of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXDISTILL_CACHE", str(tmp_path / "cache"))
    sums = [(f"What is {n} + {n * 7}?", str(n * 8)) for n in range(1, 41)]
    save("sums.jsonl", [{"id": i, "question": q, "answer": f"We add.\n#### {a}"} for i, (q, a) in enumerate(sums)])
    save("long.jsonl", [{"prompt": q, "output": f"<think>Let me see.</think>#### {a}"} for q, a in sums])
    save("short.jsonl", [{"question": q, "response": f"#### {a}", "finish_reason": "stop"} for q, a in sums])


@pytest.fixture
def write() -> Callable[..., tuple[str, str]]:
    """Write a recipe: (what was printed, the file)."""

    def run(*teachers: str, **more: Any) -> tuple[str, str]:
        given: dict[str, Any] = {"student": "lab:bytes", "problems": "sums.jsonl", "evaluation": None, "width": 200}
        given |= {"out": Path("recipe.yaml"), "force": False} | more
        said = init.write_recipe(teachers=teachers, **given)
        return said, given["out"].read_text()

    return run


def test_what_is_printed_is_what_was_found(write):
    said, _ = write(LONG, SHORT)
    assert said.splitlines() == [
        "problems   sums.jsonl: 40 rows",
        "columns    prompt: question, answer: answer; others: id",
        "answers    what follows '####': integers, such as 8, 16, 24; verifier: math",
        "split      " + said.splitlines()[3][11:],
        "long       long.jsonl: 40 traces (prompt from 'prompt', completion from 'output') for 40 of 40 problems; "
        "40 end by stating an answer (complete: answered)",
        "short      short.jsonl: 40 traces (prompt from 'question', completion from 'response', finish reason from "
        "'finish_reason') for 40 of 40 problems; 40 ended by themselves",
        "arms       long, short, mix-long, mix-long-50 and the untuned student",
        "contrasts  long_cot_gap, mix_gain, mix_gain_mix-long-50",
        "",
        "Wrote recipe.yaml. Next:",
        "  mixdistill check recipe.yaml",
        "  mixdistill run recipe.yaml",
    ]
    assert said.splitlines()[3].startswith("split      no --eval: 90% for training, the rest to evaluate, ")


def test_the_recipe_is_short_and_says_what_was_chosen(write):
    _, text = write(LONG, SHORT)
    assert len(text.splitlines()) <= 14
    assert text.startswith("# Written by `mixdistill init`. The plan: mixdistill check recipe.yaml ")
    recipe = load("recipe.yaml")
    assert recipe.name == "sums"
    assert recipe.problems.train.answer_after == "####"
    assert recipe.teachers["long"].options == {"complete": "answered"}
    assert recipe.teachers["short"].options == {}
    assert list(recipe.students) == ["bytes"]


def seconds(training: float, second: float, own: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the estimates are to say."""
    variants = [Variant(name="loss_tokens", trainings=1, seconds=Amount(value=second, basis=""))]
    spent = Time.model_construct(training=Amount(value=training + second, basis=""), variants=variants)
    monkeypatch.setattr(init.estimates, "time", lambda *known: spent)
    monkeypatch.setattr(init.estimates, "SAMPLE_RATE", {"core": 1 / Local().workers, "GPU": 1 / Local().workers})
    monkeypatch.setattr(init.estimates, "_sampling", lambda *known: "not known" if own is None else own)


@pytest.mark.parametrize(
    ("second", "line", "variants"),
    [
        (300, "budget: {also: [loss_tokens]}  # every arm once more by loss tokens, which adds about 5 min of training "
         "to 10 min", ["", "loss_tokens"]),
        (301, "budget: {also: []}  # by examples alone: also: [loss_tokens] would add about 5 min of training to "
         "10 min", [""]),
    ],
)  # fmt: skip
def test_a_second_budget_is_proposed_where_it_adds_at_most_half(second, line, variants, write, monkeypatch):
    seconds(600, second, None, monkeypatch)
    _, text = write(LONG, SHORT)
    assert line in text.splitlines()
    assert load("recipe.yaml").variants == variants


@pytest.mark.parametrize(("own", "there"), [(150, True), (151, False), (None, False)])
def test_the_students_own_answers_are_proposed_where_they_take_at_most_a_quarter(own, there, write, monkeypatch):
    seconds(600, 1, own, monkeypatch)
    said, text = write(LONG, SHORT)
    line = "  self: {samples: 4, sampling: {max_tokens: 256}}  # the student's own right answers: at most 2 min"
    assert any(found.startswith(line) for found in text.splitlines()) is there
    recipe = load("recipe.yaml")
    assert ("self" in recipe.arms) is there
    assert ("arms       long, short, self, mix-long" in said) is there
    if there:
        assert recipe.weights("self", "bytes") == {"self@bytes": 1.0}


def test_without_lengths_nothing_is_proposed(write):
    _, text = write("long=openai:big@http://127.0.0.1:1/v1", "short=openai:small@http://127.0.0.1:1/v1")
    assert "budget" not in text and "self" not in text


def test_the_recipe_is_checked_and_carried_out_to_the_page(write, watching, inline, monkeypatch):
    write(LONG, SHORT)
    recipe = load("recipe.yaml", ["seeds=1", "evaluate.sampling.max_tokens=8", "train.num_train_epochs=0.5"])
    monkeypatch.setattr("sys.argv", ["mixdistill", "check", "recipe.yaml"])
    with pytest.raises(SystemExit) as e:
        cli.main()
    assert e.value.code == 0
    store = Store(Path("run"))
    assert pipeline.run(recipe, store, watcher=watching) == []
    assert (store.folder("report") / "index.html").exists()
    marker = store.marker(store.folder("verify", "long"))
    assert marker and set(marker["counts"]) == {"correct"}


def test_training_and_evaluation_share_no_problem(write):
    from mixdistill.problems import load_all

    write(LONG, SHORT)
    loaded, unused = load_all(load("recipe.yaml").problems)
    assert unused == []
    assert sum(map(len, loaded.values())) == 40
    assert not {p.id for p in loaded["train"]} & {p.id for p in loaded["sums"]}
    assert loaded["sums"]


def test_an_evaluation_file_is_detected_for_itself(write):
    save("held.jsonl", [{"problem": f"{n} - 1?", "final_answer": n - 1} for n in range(500, 1000)])
    said, _ = write(LONG, SHORT, evaluation="held.jsonl")
    assert "split      train on sums.jsonl, evaluate on held.jsonl\n           held.jsonl: 500 rows\n" in said
    source = load("recipe.yaml").problems.eval["held"]
    assert (source.prompt, source.answer, source.answer_after) == ("problem", "final_answer", None)


def test_a_small_evaluation_says_what_it_cannot_tell(write):
    said, _ = write(LONG, SHORT, problems="sums.jsonl", evaluation="sums.jsonl")
    assert "evaluate on sums.jsonl; 40 problems cannot tell gaps below about 22 points from chance" in said


def test_duplicates_conflicts_and_empty_rows_are_counted(write):
    rows = [json.loads(line) for line in Path("sums.jsonl").read_text().splitlines()]
    rows += [rows[0], rows[1] | {"answer": "#### 99"}, {"question": "", "answer": "#### 1"}]
    save("sums.jsonl", rows)
    said, _ = write(LONG, SHORT)
    assert (
        "           rows without a prompt: 1, the first: row 43 (no prompt in column 'question': it is empty)\n"
        "           rows that repeat an earlier prompt: 1, the first: row 41 (of row 1)\n"
        "           rows of prompts with two answers: 2, the first: row 2 (the answer is '16', and '99' in row 42)\n"
    ) in said
    assert "for 39 of 39 problems; 39 end by stating an answer" in said


def test_several_rows_a_prompt_are_several_samples(write):
    rows = [json.loads(line) for line in Path("long.jsonl").read_text().splitlines()]
    save("long.jsonl", rows * 3)
    said, _ = write(LONG, SHORT)
    assert (
        "120 traces (prompt from 'prompt', completion from 'output') for 40 of 40 problems, 3 each; 120 end by" in said
    )
    assert load("recipe.yaml").teachers["long"].samples == 3


def test_a_file_with_generations_or_conversations_needs_no_flag(write):
    sums = [(f"What is {n} + {n * 7}?", f"<think>Let me see.</think>It is \\boxed{{{n * 8}}}.") for n in range(1, 41)]
    save("long.jsonl", [{"problem": q, "generations": [a, a], "finish_reasons": ["stop", "length"]} for q, a in sums])
    turns = [[{"from": "human", "value": q}, {"from": "gpt", "value": a}] for q, a in sums]
    save("short.jsonl", [{"conversations": t} for t in turns])
    said = " ".join(write(LONG, SHORT)[0].split())
    assert (
        "long long.jsonl: 80 traces (prompt from 'problem', completion from 'generations', finish reason from "
        "'finish_reasons') for 40 of 40 problems, 2 each; 40 ended by themselves "
        "short short.jsonl: 40 traces (prompt and completion from 'conversations') for 40 of 40 problems; 40 end by"
    ) in said
    teachers = load("recipe.yaml").teachers
    assert (teachers["long"].samples, teachers["long"].options) == (2, {})
    assert (teachers["short"].samples, teachers["short"].options) == (1, {"complete": "answered"})


def test_of_two_prompts_the_one_that_is_called_like_the_problems_is_taken(write):
    rows = [json.loads(line) for line in Path("short.jsonl").read_text().splitlines()]
    save("short.jsonl", [row | {"prompt": f"Solve this: {row['question']}"} for row in rows])
    said, _ = write(LONG, SHORT)
    assert "(prompt from 'question', completion from 'response'" in said
    assert load("recipe.yaml").teachers["short"].options == {"prompt_column": "question"}


def test_traces_whose_end_does_not_show_are_never_said_to_have_ended(write):
    save("short.jsonl", [{"question": f"What is {n} + {n * 7}?", "response": "Well, so"} for n in range(1, 41)])
    said, _ = write(LONG, SHORT)
    assert "; NONE shows that it ended by itself; add `complete: true` if all of them did" in said
    assert "complete" not in load("recipe.yaml").teachers["short"].options


def test_servers_and_models_are_teachers_with_a_box_for_the_answer(write):
    said, _ = write("big=openai:Qwen/Qwen3-32B@http://localhost:8000/v1", "own=transformers:org/model")
    teachers = load("recipe.yaml").teachers
    assert teachers["big"].backend == "openai" and teachers["big"].model == "Qwen/Qwen3-32B"
    assert teachers["big"].options == {"base_url": "http://localhost:8000/v1"}
    assert (teachers["own"].backend, teachers["own"].model) == ("transformers", "org/model")
    assert {(t.samples, t.prompt) for t in teachers.values()} == {(4, "boxed")}
    assert "big        Qwen/Qwen3-32B by openai at http://localhost:8000/v1: 4 traces a problem, answer asked" in said


def test_names_that_imply_nothing_get_a_contrast(write):
    write("big=transformers:org/a", "own=transformers:org/b")
    assert load("recipe.yaml").contrasts == {"big_over_own": ("big", "own")}


def test_one_teacher_is_said_to_give_no_gap(write):
    said, _ = write(LONG)
    assert "contrasts  none: give a second --teacher for a gap" in said


def test_one_model_as_long_and_short_thinks_and_does_not(write):
    said, _ = write("long=openai:m@http://h/v1", "short=openai:m@http://h/v1")
    teachers = load("recipe.yaml").teachers
    assert [t.options["chat_template_kwargs"] for t in teachers.values()] == [
        {"enable_thinking": True},
        {"enable_thinking": False},
    ]
    assert "thinking on" in said and "thinking off" in said


def test_a_hub_id_may_name_subset_and_split(write, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def rows(source: Source) -> list[TableRow]:
        asked.append((source.source, source.subset, source.split))
        return [TableRow(n, {"question": f"{n}?", "answer": str(n)}) for n in range(500)]

    monkeypatch.setattr(problems, "hub_rows", rows)
    monkeypatch.setattr(init, "hub_rows", lambda source: [])
    write("long=transformers:org/a", problems="openai/gsm8k:main", evaluation="openai/gsm8k:main:test")
    assert asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    source = load("recipe.yaml").problems.eval["gsm8k"]
    assert (source.source, source.subset, source.split) == ("openai/gsm8k", "main", "test")


def test_a_file_that_is_there_is_overwritten_only_by_force(write):
    Path("recipe.yaml").write_text("mine")
    with pytest.raises(StoreError) as e:
        write(LONG, SHORT)
    assert str(e.value) == "recipe.yaml: is there already; choose another file, or --force to overwrite it"
    assert Path("recipe.yaml").read_text() == "mine"
    assert write(LONG, SHORT, force=True)[1].startswith("# Written by")


def test_a_recipe_is_named_like_its_file(write):
    write(LONG, SHORT, out=Path("first try.yaml"))
    assert load("first try.yaml").name == "first-try"


@pytest.mark.parametrize(
    ("teachers", "error", "message"),
    [
        (
            ["long.jsonl"],
            RecipeError,
            "--teacher long.jsonl: which teacher is it (got no name)? Write long=long.jsonl for long traces, "
            "short=long.jsonl for short ones; large= and small= for teachers of two sizes, or any other name",
        ),
        (
            ["long=opnai:m"],
            RecipeError,
            "--teacher long=opnai:m: neither a file of traces (.jsonl .json .csv .tsv .parquet) nor backend:model; "
            "did you mean 'openai'?; write long=traces.jsonl, long=openai:MODEL@http://localhost:8000/v1 "
            "or long=transformers:MODEL",
        ),
        ([LONG, LONG], RecipeError, "--teacher long=: given twice; give each teacher a name of its own"),
        (
            ["long=no.jsonl"],
            DataError,
            "no.jsonl: no such file; give a path from where mixdistill is run, or a hub id without an ending",
        ),
        (
            ["long=other.jsonl"],
            DataError,
            "other.jsonl: none of 40 prompts is in it; the first asked is 'What is 1 + 7?', its own first is 'Who?'; "
            "set prompt_column, and leave the teacher's prompt plain",
        ),
        (
            ["long=odd.jsonl"],
            DataError,
            "odd.jsonl: no completion column (got prompt, said); set completion_column to the one that holds the "
            "trace; init has no flag for it: rename the column, or write the recipe by hand",
        ),
    ],
    ids=["no name", "no backend", "twice", "no file", "other problems", "no column"],
)
def test_what_cannot_be_known_is_asked_for_and_nothing_is_written(
    write, teachers: list[str], error: type[MixdistillError], message: str
):
    save("other.jsonl", [{"prompt": "Who?", "output": "Me."}])
    save("odd.jsonl", [{"prompt": "What is 1 + 7?", "said": "8"}])
    with pytest.raises(error) as e:
        write(*teachers)
    assert str(e.value) == message
    assert not Path("recipe.yaml").exists()


def test_problems_that_cannot_be_used_are_named(write):
    with pytest.raises(DataError) as e:
        write(LONG, problems="lab:signs")
    assert str(e.value) == (
        "lab:signs: the lab's problems come in a recipe of their own; use: mixdistill init --from demo"
    )
    save("one.jsonl", [{"question": "What is 1 + 7?", "answer": "8"}])
    with pytest.raises(DataError) as e:
        write(LONG, problems="one.jsonl")
    assert str(e.value) == "one.jsonl: holds one problem; give more, or an evaluation file with --eval"
    Path("none.jsonl").write_text("")
    with pytest.raises(DataError) as e:
        write(LONG, problems="none.jsonl")
    assert str(e.value) == "none.jsonl: holds no rows; it must hold one problem a row"


def test_numbers_of_the_prompts_options_get_choice_and_teachers_are_asked_for_a_box(write):
    trees = "Which tree is no. {}?\nA) oak\nB) elm\nC) ash"
    save("tasks.jsonl", [{"question": trees.format(n), "answer": n % 3} for n in range(40)])
    said, text = write("own=openai:gpt@http://localhost:1/v1", problems="tasks.jsonl")
    assert "answers    numbers of options, such as 0, 1, 2; verifier: choice\n" in said
    assert "verify: {verifier: choice, first_index: 0}\n" in text
    assert "prompt: boxed" in text


@pytest.mark.parametrize(
    ("answers", "verifier"),
    [
        (["billing", "account", "shipping"], "exact"),
        (['{"city": "Oslo", "crates": 3}', '{"city": "Rome", "crates": 1}'], "json"),
    ],
)
def test_labels_and_objects_get_the_verifier_that_reads_them(write, answers: list[str], verifier: str):
    from mixdistill.verify import grade

    rows = [(f"Case {n}?", answers[n % len(answers)]) for n in range(40)]
    save("tasks.jsonl", [{"input": q, "target": json.loads(a) if a[0] == "{" else a} for q, a in rows])
    save("long.jsonl", [{"prompt": q, "completion": a, "finish_reason": "stop"} for q, a in rows])
    said, _ = write(LONG, LONG.replace("long=", "own="), problems="tasks.jsonl")
    assert f"; verifier: {verifier}\n" in said
    recipe = load("recipe.yaml")
    assert recipe.verify.verifier == verifier
    problem = Problem(id="p", prompt="Case 0?", answer=answers[0], source="tasks.jsonl", split="train")
    told = {"right": answers[0], "wrong": answers[1]}
    traces = [
        Trace(id=name, problem_id="p", author="a", model="m", sample=0, content=content, finish_reason="stop")
        for name, content in told.items()
    ]
    verdicts = grade(recipe, [(problem, trace) for trace in traces])
    assert [v.outcome.value for v in verdicts] == ["correct", "incorrect"]
