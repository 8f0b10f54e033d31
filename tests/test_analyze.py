"""How long and involved traces are, in the tokenizer that the recipe names."""

import json

import pytest

import tiny
from mixdistill.analyze import steps
from mixdistill.lab import domain
from mixdistill.sections import Decontaminate
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.types import Complexity, Fit, Problem, Trace

OWN = """
def letters(trace):
    return float(len(trace.content)) if trace.content.endswith("-") else None
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


def _measured(store: Store, teacher: str) -> list[tuple[Trace, Complexity]]:
    traces = store.read(store.folder("generate", teacher), Trace, "traces")
    rows = store.read(store.folder("analyze", teacher), Complexity, "complexity")
    assert [r.trace_id for r in rows] == [t.id for t in traces if t.error is None]
    return list(zip(traces, rows, strict=True))


def test_tokens_are_those_that_the_student_would_write(model, tmp_path):
    store, _ = tiny.run(tiny.study(model), tmp_path, "generate", "analyze")
    template = Template.load(model)
    for teacher in ("long", "short"):
        for trace, row in _measured(store, teacher):
            assert row.metrics["tokens"] == template.count(trace.reasoning, trace.content)
            assert row.metrics["tokens"] == trace.usage.completion_tokens
            assert row.tokenizer == model
    marker = store.marker(store.folder("analyze", "long"))
    assert marker is not None
    tokens = sorted(row.metrics["tokens"] or 0 for _, row in _measured(store, "long"))
    assert marker["facts"]["median_tokens"] == tokens[12]


def test_own_metrics_stand_beside_the_built_in_ones(model, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    metrics = ["steps", "attempts", f"{tmp_path / 'own.py'}:letters"]
    study = tiny.study(model, analyze={"metrics": metrics})
    store, _ = tiny.run(study, tmp_path / "run", "generate", "analyze")
    for trace, row in _measured(store, "long"):
        assert set(row.metrics) == {"tokens", "steps", "attempts", "letters"}
        assert row.metrics["attempts"] == domain.attempts(trace) >= 1
        assert row.metrics["letters"] == (len(trace.content) if trace.content.endswith("-") else None)


def test_other_tokenizer_measures_again(model, tmp_path):
    tiny.run(tiny.study(model), tmp_path / "run", "generate", "analyze")
    other = tiny.byte_student(tmp_path / "bytes")
    study = tiny.study(model, analyze={"tokenizer": other})
    store, ran = tiny.run(study, tmp_path / "run", "generate", "analyze")
    assert ran == ["analyze/long", "analyze/short"]
    for trace, row in _measured(store, "short"):
        assert row.metrics["tokens"] == len(f"<think>\n{trace.reasoning}\n</think>\n\n{trace.content}") + 1


def test_a_students_own_template_settings_count_with_its_tokenizer(model, tmp_path):
    opens = tiny.PLAIN_TEMPLATE + "{% if add_generation_prompt and think %}{{ '<think>\n' }}{% endif %}"
    own = tiny.save_student(tmp_path / "opens", tiny.word_tokenizer(opens))
    counts = {}
    for think in (False, True):
        students = {"t": {"model": own, "chat_template_kwargs": {"think": think}}}
        store, ran = tiny.run(tiny.study(own, students=students), tmp_path / "run", "generate", "analyze")
        assert "analyze/long" in ran
        counts[think] = [row.metrics["tokens"] for _, row in _measured(store, "long")]
    assert counts[True] == [n - 1 for n in counts[False]], "the prompt opens the thinking part already"


def test_a_tokenizer_without_a_chat_template_is_not_blamed_on_the_student(model, tmp_path):
    bare = tiny.word_tokenizer()
    bare.chat_template = None
    bare.save_pretrained(tmp_path / "bare")
    study = tiny.study(model, analyze={"tokenizer": str(tmp_path / "bare")})
    failure, _ = tiny.failures(study, tmp_path / "run", "generate", "analyze")
    assert f"analyze.tokenizer: {tmp_path / 'bare'}: its tokenizer has no chat template; name a chat model" in failure
    assert "give the student" not in failure


def test_failed_requests_are_not_measured(model, tmp_path):
    teachers = {"short": {"backend": "scripted", "model": "short"}}
    study = tiny.study(model, teachers=teachers, arms={"short": {"short": 1}}, contrasts={})
    store, _ = tiny.run(study, tmp_path / "run", "generate")
    folder = store.folder("generate", "short")
    traces = store.read(folder, Trace, "traces")
    broken = traces[0].model_copy(update={"error": "broke", "reasoning": "", "content": ""})
    tiny.reseal(store, folder, [broken, *traces[1:]], "traces")
    store, _ = tiny.run(study, tmp_path / "run", "analyze")
    assert [r.trace_id for r in store.read(store.folder("analyze", "short"), Complexity, "complexity")] == [
        t.id for t in traces[1:]
    ]


@pytest.mark.parametrize(
    ("reasoning", "content", "wanted"), [("a\n\nb\n  \nc", "d", 3), ("", "a\nb", 2), ("", "", 0), ("one", "x\ny", 1)]
)
def test_steps_are_lines_that_are_not_blank(reasoning, content, wanted):
    assert steps(tiny.trace(tiny.problem("?"), reasoning=reasoning, content=content)) == wanted


# -- what the students see --------------------------------------------------------------------------------------------

KINDS = [
    {"reasoning": "T : 1", "content": "A + +"},
    {"reasoning": "T  : 1\n", "content": "A + +"},
    {"reasoning": "T : 1", "content": "A + +", "finish_reason": "length"},
    {"reasoning": "T : 1", "content": "A <eos> +"},
    {"reasoning": "T : </think> 1", "content": "A + +"},
    {"reasoning": "", "content": "A + +"},
    {"reasoning": "T : 2", "content": "A + +", "error": "broke"},
    {"reasoning": "T : 2", "content": "A + +"},
]
REASONS = [None, "duplicate", "unfinished", "special_token", "think_tag", None, None]
"""Of those without an error."""


def _planted(study, root) -> tuple[Store, list[Trace], list[Fit]]:
    """The study with traces of every kind for its first problem in the place of its teacher's; those of another teacher
    stay as they are. (store, the planted traces, their fits)"""
    store, _ = tiny.run(study, root, "generate")
    first = store.read(store.folder("problems"), Problem, "train")[0]
    traces = [tiny.trace(first, author="teacher/short", sample=n, **kind) for n, kind in enumerate(KINDS)]
    tiny.reseal(store, store.folder("generate", "short"), traces, "traces")
    store, _ = tiny.run(study, root, "analyze")
    return store, traces, store.read(store.folder("analyze", "short"), Fit, "fits")


def test_every_trace_of_a_training_problem_says_whether_an_arm_may_use_it_and_why_not(model, tmp_path):
    store, traces, fits = _planted(tiny.study(model), tmp_path)
    sound = [t for t in traces if t.error is None]
    assert [f.trace_id for f in fits] == [t.id for t in sound]
    assert [f.reason for f in fits] == REASONS
    assert [f.detail for f in fits] == ["", f"of trace {traces[0].id}", "length", "<eos>", "</think>", "", ""]
    template, problem = Template.load(model), store.read(store.folder("problems"), Problem, "train")[0]
    assert {f.template for f in fits} == {template.fingerprint}
    for trace, fit in zip(sound, fits, strict=True):
        prompt, completion = template.render(problem.prompt, trace.reasoning, trace.content)
        assert (fit.problem_id, fit.prompt_tokens, fit.loss_tokens) == (problem.id, len(prompt), len(completion))


def test_a_trace_of_two_problems_is_no_duplicate(model, tmp_path):
    study = tiny.study(model)
    store, _ = tiny.run(study, tmp_path, "generate")
    problems = store.read(store.folder("problems"), Problem, "train")[:2]
    traces = [tiny.trace(p, author="teacher/short", reasoning="T", content="A + +") for p in problems]
    tiny.reseal(store, store.folder("generate", "short"), traces, "traces")
    store, _ = tiny.run(study, tmp_path, "analyze")
    assert [f.reason for f in store.read(store.folder("analyze", "short"), Fit, "fits")] == [None, None]


def test_students_of_one_template_share_the_rows_and_another_template_has_its_own(model, tmp_path):
    same, other = tiny.student(tmp_path / "same", seed=1), tiny.byte_student(tmp_path / "bytes")
    students = {"a": {"model": model}, "b": {"model": same}, "c": {"model": other}}
    store, _, fits = _planted(tiny.study(model, students=students), tmp_path / "run")
    marker = store.marker(store.folder("analyze", "short")) or {}
    words, letters = Template.load(model).fingerprint, Template.load(other).fingerprint
    assert marker["facts"]["templates"] == {"a": words, "b": words, "c": letters}
    assert [f.template for f in fits] == [words, letters] * 7
    assert [f.reason for f in fits if f.template == letters] == [r if r != "special_token" else None for r in REASONS]


def test_another_student_or_other_problems_look_at_the_traces_again(model, tmp_path):
    study = tiny.study(model)
    tiny.run(study, tmp_path / "run", "generate", "analyze")
    assert tiny.run(study, tmp_path / "run", "analyze")[1] == []
    other = tiny.byte_student(tmp_path / "bytes")
    study = tiny.study(model, students={"t": {"model": model}, "u": {"model": other}})
    assert tiny.run(study, tmp_path / "run", "analyze")[1] == ["analyze/long", "analyze/short"]
    fewer = tiny.study(model, students={"t": {"model": model}}, problems=tiny.problem_sets(5))
    store, ran = tiny.run(fewer, tmp_path / "run", "generate", "analyze")
    assert ran == ["analyze/long", "analyze/short"]
    fits = store.read(store.folder("analyze", "long"), Fit, "fits")
    assert {f.problem_id for f in fits} == set(store.problem_ids("train")), "traces of the others stay unused"
    assert len(_measured(store, "long")) == 24


# -- decontamination --------------------------------------------------------------------------------------------------

CLOCK = "The clock in the hall loses six minutes a day and was right at noon on the first of May. What does it show?"
BREAD = "A baker sells seven kinds of bread on weekdays and eleven kinds on Saturdays. How many kinds is that in all?"


@pytest.mark.parametrize("held_out", ["test", "dev", "gate"])
def test_a_trace_that_holds_a_problem_of_dev_gate_or_a_benchmark_is_named_with_the_words(tmp_path, held_out):
    lists = {"train": [BREAD], "test": ["t"], "dev": ["d"], "gate": ["g"]}
    lists[held_out] = [*lists[held_out], CLOCK]
    for name, prompts in lists.items():
        rows = [json.dumps({"prompt": p, "answer": "6"}) for p in prompts]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    said = {
        "reasoning": [f"I know one like it. {CLOCK} Six minutes.", "It loses six minutes a day.", BREAD, "Hm."],
        "content": ["6", "6", "6", f"Compare: {CLOCK.upper()} 6"],
    }
    rows = [{"prompt": BREAD, "reasoning": r, "content": c} for r, c in zip(*said.values(), strict=True)]
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = {n: {"source": str(tmp_path / f"{n}.jsonl")} for n in lists}
    problems["eval"] = {"test": problems.pop("test")}
    path = str(tmp_path / "traces.jsonl")
    teacher = {"backend": "recorded", "model": "m", "path": path, "complete": True, "samples": 4}
    study = tiny.study(
        tiny.byte_student(tmp_path / "student"),
        problems=problems,
        teachers={"only": teacher},
        verify={"verifier": "exact"},
        arms={"only": {"only": 1}},
        contrasts={},
    )
    store, _ = tiny.run(study, tmp_path / "run", "generate", "analyze")
    fits = store.read(store.folder("analyze", "only"), Fit, "fits")
    assert [f.reason for f in fits] == ["in_evaluation", None, None, "in_evaluation"], "its own prompt is no matter"
    second = store.problem_ids(held_out)[1]
    words = CLOCK.lower().replace(".", "").replace("?", "")
    assert {f.detail for f in fits if f.reason} == {f"shares with {held_out}, problem {second}: {words}"}
    off = study.model_copy(
        update={"problems": study.problems.model_copy(update={"decontaminate": Decontaminate(ngram=None)})}
    )
    store, ran = tiny.run(off, tmp_path / "run", "generate", "analyze")
    assert ran == ["analyze/only"]
    assert [f.reason for f in store.read(store.folder("analyze", "only"), Fit, "fits")] == [None] * 4
