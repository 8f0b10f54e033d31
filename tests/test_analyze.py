"""How long and involved traces are, in the tokenizer that the recipe names."""

import pytest

import tiny
from mixdistill.analyze import steps
from mixdistill.lab import domain
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.types import Complexity, Trace

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
