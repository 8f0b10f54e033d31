"""Every wanted trace of an author: bought once, journaled as it arrives, drawn by nothing but problem and sample."""

from functools import partial
from pathlib import Path

import pytest

import tiny
from mixdistill import prompts, resolve
from mixdistill.errors import Refused, StageError
from mixdistill.generate import TABLE, author, collect, request_seed, units
from mixdistill.lab import domain
from mixdistill.lab.teachers import Scripted
from mixdistill.recipe import Teacher
from mixdistill.store import Store
from mixdistill.types import Completion, Sampling, Trace, Usage, trace_id


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


class Echo:
    """A backend that answers in reverse order, fails where `fails` says so, and breaks down after `breaks` answers."""

    def __init__(self, *, fails=lambda request: False, breaks: int | None = None):
        self.fails, self.breaks, self.asked = fails, breaks, []

    def generate(self, requests):
        self.asked += requests
        for n, (position, request) in enumerate(reversed([*enumerate(requests)])):
            if n == self.breaks:
                raise ConnectionError("gone")
            if self.fails(request):
                yield position, Completion(error="status 500")
            else:
                yield (
                    position,
                    Completion(content=f"{request.prompt} {request.sample}", usage=Usage(completion_tokens=3)),
                )


PROBLEMS = [tiny.problem(f"What is {i}?", str(i)) for i in range(4)]
WANTED = [(p, i) for p in PROBLEMS for i in range(2)]


def _collect(store: Store, backend, wanted=WANTED, **options) -> list[Trace]:
    known = {"author": "teacher/t", "model": "m", "sampling": Sampling(temperature=0.5), "seed": 0, "label": "x"}
    known |= {"error_rate": 0.5}
    got = collect(store, store.root / "unit", backend=backend, wanted=wanted, **{**known, **options})
    assert store.read(store.root / "unit", Trace, TABLE) == got.traces
    assert got.table["rows"] == len(got.traces)
    return got.traces


def test_traces_lie_in_the_order_of_problems_and_samples_whenever_they_came(tmp_path):
    traces = _collect(Store(tmp_path), Echo())
    assert [(t.problem_id, t.sample) for t in traces] == [(p.id, i) for p, i in WANTED]
    assert [t.content for t in traces] == [f"{p.prompt} {i}" for p, i in WANTED]
    for t, (p, i) in zip(traces, WANTED, strict=True):
        assert t.id == trace_id("teacher/t", p.id, i)
        assert (t.author, t.model) == ("teacher/t", "m")
        assert t.sampling == {"temperature": 0.5, "seed": request_seed(0, p.id, i)}


def test_what_is_there_is_not_asked_again(tmp_path):
    store, backend = Store(tmp_path), Echo()
    first = _collect(store, Echo())
    more = [(p, i) for p in PROBLEMS for i in range(3)]
    traces = _collect(store, backend, more)
    assert [(r.prompt, r.sample) for r in backend.asked] == [(p.prompt, 2) for p in PROBLEMS]
    assert [t for t in traces if t.sample < 2] == first


def test_failed_request_is_a_trace_with_error_and_asked_again(tmp_path):
    store, backend = Store(tmp_path), Echo()
    traces = _collect(store, Echo(fails=lambda r: r.sample == 1))
    assert [t.error for t in traces] == [None, "status 500"] * 4
    traces = _collect(store, backend)
    assert {r.sample for r in backend.asked} == {1}
    assert [t.error for t in traces] == [None] * 8


def test_broken_down_backend_loses_nothing_that_had_arrived(tmp_path):
    store, backend = Store(tmp_path), Echo()
    with pytest.raises(ConnectionError):
        _collect(store, Echo(breaks=5))
    assert len(store.journal(store.root / "unit", Trace, TABLE)) == 5
    _collect(store, backend)
    assert len(backend.asked) == 3
    assert not (store.root / "unit" / f"{TABLE}.jsonl").exists()


def test_torn_last_line_is_asked_again(tmp_path):
    store, backend = Store(tmp_path), Echo()
    with pytest.raises(ConnectionError):
        _collect(store, Echo(breaks=5))
    journal = store.root / "unit" / f"{TABLE}.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert len(_collect(store, backend)) == 8
    assert len(backend.asked) == 4


def test_more_failures_than_the_error_rate_stop_the_unit_and_lose_no_row(tmp_path):
    store, backend = Store(tmp_path), Echo()
    with pytest.raises(StageError) as e:
        _collect(store, Echo(fails=lambda r: r.sample == 1), error_rate=0.4)
    assert str(e.value) == (
        "x: 4 of 8 requests failed, more than error_rate=0.4; the first said: status 500; "
        "run again to ask for these again, or raise error_rate"
    )
    assert len(store.journal(store.root / "unit", Trace, TABLE)) == 8
    assert [t.error for t in _collect(store, backend, error_rate=0)] == [None] * 8
    assert len(backend.asked) == 4


def test_half_a_character_anywhere_in_a_completion_is_written_as_a_question_mark(tmp_path):
    class Half:
        def generate(self, requests):
            yield 0, Completion(reasoning="r\ud800", content="c\udc00")
            yield 1, Completion(error="status 500: \ud83d")

    traces = _collect(Store(tmp_path), Half(), WANTED[:2], model="m\udcff")
    assert [(t.reasoning, t.content, t.error, t.model) for t in traces] == [
        ("r?", "c?", None, "m?"),
        ("", "", "status 500: ?", "m?"),
    ]


def test_what_a_backend_will_never_have_is_no_row_and_no_failure(tmp_path):
    class Some(Echo):
        def generate(self, requests):
            for position, completion in super().generate(requests):
                yield position, completion if requests[position].sample == 0 else None

    store = Store(tmp_path)
    got = collect(
        store, store.root / "unit", backend=Some(), wanted=WANTED, author="teacher/t", model="m",
        sampling=Sampling(), seed=0, label="x", error_rate=0,
    )  # fmt: skip
    assert [t.sample for t in got.traces] == [0] * 4
    assert got.absent == {trace_id("teacher/t", p.id, 1) for p in PROBLEMS}


def test_a_backend_that_forgets_a_request_is_told_so(tmp_path):
    class Forgetful(Echo):
        def generate(self, requests):
            yield from list(super().generate(requests))[:5]

    with pytest.raises(StageError, match=r"x: the backend gave no answer to 3 of 8 requests; it must yield one for"):
        _collect(Store(tmp_path), Forgetful())


def test_seed_of_a_request_depends_on_seed_problem_and_sample_alone(tmp_path):
    one, other = Echo(), Echo()
    _collect(Store(tmp_path / "one"), one)
    _collect(Store(tmp_path / "other"), other, author="teacher/renamed", model="other")
    assert [r.seed for r in one.asked] == [r.seed for r in other.asked]
    assert len({r.seed for r in one.asked}) == 8
    assert request_seed(1, PROBLEMS[0].id, 0) != request_seed(0, PROBLEMS[0].id, 0)


def test_teacher_prompt_wraps_what_is_asked_and_the_trace_stays_with_the_problem(tmp_path):
    (tmp_path / "hint.txt").write_text("Think.\n{problem}\nAnswer:")
    teacher = Teacher(backend="scripted", model="long", prompt=str(tmp_path / "hint.txt"))
    backend = Echo()
    traces = _collect(Store(tmp_path), backend, ask=prompts.of(teacher))
    assert backend.asked[0].prompt == "Think.\nWhat is 0?\nAnswer:"
    assert traces[0].problem_id == PROBLEMS[0].id


def test_what_a_teacher_is_sent_is_kept_beside_its_traces_before_the_first_of_them(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("hint.jinja").write_text("{{ problem }}", encoding="utf-8")
    teachers = {"long": {"backend": "scripted", "model": "long", "prompt": "hint.jinja"}}
    study = tiny.study(model, teachers=teachers, arms={"long": {"long": 1}}, contrasts={})
    there = []
    generate = Scripted.generate

    def watched(self, requests):
        there.append(prompts.kept(tmp_path / "run" / "generate" / "long"))
        return generate(self, requests)

    monkeypatch.setattr(Scripted, "generate", watched)
    tiny.run(study, tmp_path / "run", "generate")
    assert there == [prompts.Asked(template="{{ problem }}", jinja=True)]


def test_a_system_prompt_and_examples_count_by_what_they_say(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    identity = partial(_identity, model, tmp_path, backend="openai", model="m")
    for name, answer in {"a.jsonl": "1", "b.jsonl": "1", "c.jsonl": "2"}.items():
        Path(name).write_text(f'{{"prompt": "1?", "completion": "{answer}"}}\n', encoding="utf-8")
    assert identity(examples="a.jsonl") == identity(examples="b.jsonl")
    four = {identity(), identity(system="a.jsonl"), identity(examples="a.jsonl"), identity(examples="c.jsonl")}
    assert len(four) == 4
    Path("c.jsonl").write_text(Path("a.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    assert identity(examples="c.jsonl") == identity(examples="a.jsonl")
    before = identity(system="a.jsonl")
    Path("a.jsonl").write_text("other", encoding="utf-8")
    assert identity(system="a.jsonl") == before, "a system prompt is text, whatever lies in a file of that name"


def test_teachers_answer_every_training_problem_and_no_other(model, tmp_path):
    store, _ = tiny.run(tiny.study(model), tmp_path, "generate")
    for teacher in ("long", "short"):
        traces = store.read(store.folder("generate", teacher), Trace, TABLE)
        assert {t.author for t in traces} == {author(teacher)}
        assert [t.problem_id for t in traces] == [p.id for p in domain.problems("train", count=24)]
        marker = store.marker(store.folder("generate", teacher))
        assert marker is not None
        assert (marker["counts"]["traces"], marker["counts"]["stop"]) == (24, 24)
        assert marker["counts"]["completion_tokens"] == sum(t.usage.completion_tokens or 0 for t in traces)


def test_more_problems_buy_only_the_new_ones(model, tmp_path, monkeypatch):
    asked = []
    generate = Scripted.generate
    monkeypatch.setattr(Scripted, "generate", lambda self, requests: generate(self, asked.append(requests) or requests))
    tiny.run(tiny.study(model), tmp_path, "generate")
    assert [len(r) for r in asked] == [24, 24]
    asked.clear()
    tiny.run(tiny.study(model, problems=tiny.problem_sets(30)), tmp_path, "generate")
    assert [len(r) for r in asked] == [6, 6]


def _identity(student: str, tmp_path, **teacher) -> str:
    study = tiny.study(student, teachers={"t": teacher}, arms={"t": {"t": 1}}, contrasts={})
    (unit,) = units(study, Store(tmp_path / "run"))
    return unit.identity


def test_model_folder_counts_by_its_content_not_by_its_place(model, tmp_path):
    identity = partial(_identity, model, tmp_path, backend="transformers")
    one, other = tiny.student(tmp_path / "one", seed=1), tiny.student(tmp_path / "other", seed=1)
    first = identity(model=one)
    assert identity(model=other) == first
    tiny.student(tmp_path / "other", seed=2)
    assert identity(model=other) != first
    assert identity(model="lab:s") == identity(model=resolve.model_path("lab:s")) != first


def test_folder_that_is_no_model_does_not_stand_for_a_name(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = _identity(model, tmp_path, backend="scripted", model="long")
    (tmp_path / "long").mkdir()
    (tmp_path / "long" / "notes.txt").write_text("mine")
    assert _identity(model, tmp_path, backend="scripted", model="long") == before


def test_how_completions_are_fetched_is_no_part_of_what_they_are(model, tmp_path):
    identity = partial(_identity, model, tmp_path, backend="openai", model="m")
    first = identity()
    fetching = {"base_url": "http://x/v1", "api_key_env": "OTHER", "concurrency": 2, "timeout": 9.0, "max_retries": 0}
    assert identity(**fetching) == first
    assert identity(chat_template_kwargs={"enable_thinking": False}) != first
    assert identity(extra_body={"x": 1}) != first


def test_recorded_file_counts_by_its_content_not_by_its_place(model, tmp_path):
    problem = domain.problems("train", count=1)[0]
    text = f'{{"prompt": "{problem.prompt}", "completion": "{problem.answer}"}}\n'

    def study(name: str, text: str):
        (tmp_path / name).write_text(text)
        teachers = {"old": {"backend": "recorded", "model": "old", "path": str(tmp_path / name), "complete": True}}
        arms = {"old": {"old": 1}}
        return tiny.study(model, teachers=teachers, arms=arms, contrasts={}, problems=tiny.problem_sets(1, 2))

    tiny.run(study("a.jsonl", text), tmp_path / "run", "generate")
    assert tiny.run(study("moved.jsonl", text), tmp_path / "run", "generate")[1] == []
    with pytest.raises(Refused, match="generate/old was made otherwise"):
        tiny.run(study("b.jsonl", text + text), tmp_path / "run", "generate")
