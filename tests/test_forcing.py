"""Answers asked for early: what they go on from, what stands, and that nothing is sampled twice."""

import pytest

import tiny
from mixdistill import forcing, students
from mixdistill.forcing import Point, cut_at
from mixdistill.sections import Student
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.types import Completion, Forced, Outcome, Trace, Usage
from mixdistill.units import State, plan

ONE = {"seeds": 1, "arms": {"short": {"short": 1}}, "contrasts": {"over": ["short", "base"]}}
OPENS = tiny.PLAIN_TEMPLATE + "{% if add_generation_prompt %}{{ '<think>\n' }}{% endif %}"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def template(model) -> Template:
    return Template.load(model)


def _trace(template: Template, text: str, finish: str = "stop", **fields) -> Trace:
    ids = template.encode(text + (" <eos>" if finish == "stop" else ""))
    return tiny.trace(tiny.problem("Q"), token_ids=ids, finish_reason=finish, **fields)


THOUGHT = "<think> 1 + 2 3 T 3 ok </think> A + +"
"""<think> and eight tokens, </think>, and an answer of three."""


def _after(template: Template, trace: Trace, kind: str, at: float, text: str = " A", **options) -> str | None:
    prefix = cut_at(trace, Point(kind, at), template, text, **options).prefix
    return None if prefix is None else template.decode(prefix)


def test_reasoning_that_is_cut_is_ended_and_the_answer_asked_for(template):
    trace = _trace(template, THOUGHT)
    assert _after(template, trace, "forced", 4) == "<think> 1 + 2 </think> A"
    assert _after(template, trace, "forced", 8) == "<think> 1 + 2 3 T 3 ok </think> A"


def test_an_answer_part_that_is_cut_is_not_given_another_end_of_reasoning(template):
    trace = _trace(template, THOUGHT)
    assert _after(template, trace, "forced", 10) == "<think> 1 + 2 3 T 3 ok </think> A A"
    assert _after(template, _trace(template, "1 + 2 3"), "forced", 3) == "1 + 2 A"


def test_an_answer_that_had_ended_stands_and_one_that_was_cut_at_its_own_limit_does_not(template):
    ended, went_on = _trace(template, THOUGHT), _trace(template, THOUGHT, "length")
    assert _after(template, ended, "forced", 13) is None and _after(template, ended, "forced", 12) is not None
    assert _after(template, ended, "thinking", 1) is None
    assert _after(template, went_on, "forced", 13) == THOUGHT + " A"
    assert _after(template, went_on, "thinking", 1) == "<think> 1 + 2 3 T 3 ok </think> A"


def test_a_stop_token_at_the_cut_is_left_out(template):
    trace = _trace(template, THOUGHT).model_copy(update={"finish_reason": "unknown"})
    assert _after(template, trace, "forced", 13) == THOUGHT + " A"


@pytest.mark.parametrize(
    ("share", "left"),
    [(0, "<think>"), (0.25, "<think> 1 +"), (0.5, "<think> 1 + 2 3"), (0.99, "<think> 1 + 2 3 T 3 ok")],
)
def test_a_share_is_one_of_the_reasoning_between_its_tags(template, share, left):
    assert _after(template, _trace(template, THOUGHT), "thinking", share) == f"{left} </think> A"


def test_thinking_off_is_an_empty_reasoning_whoever_opens_it(template):
    opens = Template(tiny.word_tokenizer(OPENS), {})
    assert opens.opens_thinking
    trace = _trace(opens, THOUGHT.removeprefix("<think> "))
    assert _after(opens, trace, "thinking", 0) == "</think> A"
    assert _after(opens, trace, "thinking", 0.5) == "1 + 2 3 </think> A"
    assert _after(template, _trace(template, THOUGHT), "thinking", 0) == "<think> </think> A"


def test_a_text_without_reasoning_is_reasoning_itself_and_gets_no_tags(template):
    trace = _trace(template, "1 + 2 3 T 3 A + +")
    assert _after(template, trace, "thinking", 0) == "A"
    assert _after(template, trace, "thinking", 0.5) == "1 + 2 3 T A"


def test_in_text_of_bytes_the_tags_are_found_where_they_stand():
    template = Template(tiny.byte_tokenizer(), {})
    text = "<think>\nabcdefgh\n</think>\n\nA B"
    trace = tiny.trace(tiny.problem("Q"), reasoning="abcdefgh", content="A B")
    cut = cut_at(trace, Point("thinking", 0.5), template, "\n\nFinal Answer:")
    assert template.decode(cut.prefix) == "<think>\nabcd\n</think>\n\nFinal Answer:"
    assert cut.kept == len("<think>\nabcd")
    assert forcing.written(trace, template) == template.encode(text + "<|im_end|>")


def test_a_beginning_leaves_room_for_the_answer(template):
    assert _after(template, _trace(template, THOUGHT, "length"), "thinking", 1, room=3) == "<think> 1 + </think> A"


def test_what_asks_follows_from_the_verifier_unless_it_is_given(model):
    assert forcing.text_of(tiny.study(model)) == " A"
    assert forcing.text_of(tiny.study(model, verify={"verifier": ["math", "judge"], "judge": {"model": "m"}})) == (
        "\n\nFinal Answer:"
    )
    assert forcing.text_of(tiny.study(model, verify={"verifier": "exact"})) == ""
    assert forcing.text_of(tiny.study(model, evaluate={"force_text": "So:"})) == "So:"


# -- as a part of an evaluation ---------------------------------------------------------------------------------------


def _study(model: str, **evaluate):
    return tiny.study(model, **ONE, evaluate=evaluate)


def _base(recipe, root) -> tuple[Store, State]:
    """Evaluate the untuned student alone; its trained cell is missing."""
    tiny.failures(recipe, root, "evaluate")
    store = Store(root)
    return store, next(s for u, s in plan(recipe, store, "evaluate") if u.key == ("t", "base", "signs"))


def _rows(store: Store) -> list[Forced]:
    return store.read(store.folder("evaluate", "t", "base", "signs"), Forced, "forced")


def test_turning_it_on_samples_the_forced_answers_alone_and_turning_it_off_nothing(model, tmp_path, monkeypatch):
    store, _ = _base(_study(model), tmp_path)
    before = store.read(store.folder("evaluate", "t", "base", "signs"), Trace, "traces")
    calls = tiny.Calls(monkeypatch)
    _, state = _base(_study(model, forced=True, thinking=[0, 0.5], force_tokens=5), tmp_path)
    assert state is State.DONE
    asked = [r for r in calls.requests if r.begun]
    assert calls.take() == len(asked) > 0
    assert {r.sampling.max_tokens for r in asked} == {5} and {r.sampling.temperature for r in asked} == {0}
    assert store.read(store.folder("evaluate", "t", "base", "signs"), Trace, "traces") == before
    rows = _rows(store)
    assert [(r.kind, r.at) for r in rows[:3]] == [("forced", 8), ("thinking", 0), ("thinking", 0.5)]
    assert {r.trace_id for r in rows} == {t.id for t in before} and len(rows) == 3 * len(before)
    _base(_study(model), tmp_path)
    _base(_study(model, forced=True, thinking=[0.5, 0], force_tokens=5, caps=[8, 4]), tmp_path)
    assert all(len(r.prefix_ids) == 5 for r in calls.requests), "the further cap alone: four tokens and the text"
    assert len(_rows(store)) == 4 * len(before)


def test_another_verifier_grades_forced_answers_again_and_samples_none(model, tmp_path, monkeypatch):
    store, _ = _base(_study(model, forced=True), tmp_path)
    own = tmp_path / "own.py"
    own.write_text(
        "from mixdistill.types import Outcome, Verdict\nVERSION = '1'\n"
        "def verify(problem, trace):\n    return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT)\n"
    )
    assert {r.outcome for r in _rows(store)} != {Outcome.CORRECT}
    calls = tiny.Calls(monkeypatch)
    recipe = tiny.study(
        model, **ONE, verify={"verifier": f"{own}:verify"}, evaluate={"forced": True, "force_text": " A"}
    )
    _, state = _base(recipe, tmp_path)
    assert (state, calls.take()) == (State.DONE, 0)
    assert {r.outcome for r in _rows(store)} == {Outcome.CORRECT}


class Solver:
    """A student that thinks on until it is cut, and knows the answer when it is asked."""

    def __init__(self, template: Template):
        self.template = template

    def generate(self, requests):
        for position, request in enumerate(requests):
            if request.begun:
                ids = self.template.encode("+ + + + <eos>")
                yield (
                    position,
                    Completion(
                        content="+ + + +", finish_reason="stop", token_ids=ids, usage=Usage(completion_tokens=len(ids))
                    ),
                )
                continue
            ids = self.template.encode("<think> " + "x " * 30 + "</think> A +")[:24]
            reasoning, content = self.template.split(ids)
            yield (
                position,
                Completion(
                    reasoning=reasoning,
                    content=content,
                    finish_reason="length",
                    token_ids=ids,
                    usage=Usage(completion_tokens=len(ids)),
                ),
            )


def test_a_trace_whose_request_failed_is_an_error_at_every_point_and_asked_for_nothing(
    model, template, tmp_path, monkeypatch
):
    asked = []

    class Fails(Solver):
        def generate(self, requests):
            asked.extend(requests)
            for position, completion in super().generate(requests):
                failed = position == 0 and not requests[0].begun
                yield position, Completion(error="boom") if failed else completion

    monkeypatch.setattr("mixdistill.students.make_backend", lambda *a: Fails(template))
    recipe = tiny.study(model, **ONE, error_rate=0.3, evaluate={"forced": True, "thinking": [0.5], "force_tokens": 5})
    store, state = _base(recipe, tmp_path)
    traces = store.read(store.folder("evaluate", "t", "base", "signs"), Trace, "traces")
    (lost,) = [t.id for t in traces if t.error]
    rows = _rows(store)
    assert state is State.DONE
    assert [(r.kind, r.answer_id, r.tokens, r.outcome) for r in rows if r.trace_id == lost] == [
        ("forced", None, 0, Outcome.ERROR), ("thinking", None, 0, Outcome.ERROR),
    ]  # fmt: skip
    assert len(rows) == 2 * len(traces)
    assert sum(bool(r.begun) for r in asked) == 2 * (len(traces) - 1)


@pytest.mark.parametrize("most", [{"backend": "vllm", "backend_options": {"max_model_len": 28}}, {}])
def test_a_beginning_leaves_room_in_the_context_that_the_engine_is_started_with(
    model, template, tmp_path, monkeypatch, most
):
    asked = []

    class Asked(Solver):
        def generate(self, requests):
            asked.extend(requests)
            yield from super().generate(asked[-len(requests) :])

    monkeypatch.setattr("mixdistill.students.make_backend", lambda *a: Asked(template))
    recipe = tiny.study(
        model, **ONE, students={"t": {"model": model, **most}}, evaluate={"thinking": [1], "force_tokens": 5}
    )
    _base(recipe, tmp_path)
    longest = max(len(template.prompt_ids(r.prompt)) + len(r.prefix_ids) + 5 for r in asked if r.begun)
    assert (longest <= 28) is bool(most)


def test_the_engine_s_context_counts_however_it_is_started():
    def context(of_model, **student):
        return students._context(Student(model="m", **student), of_model)

    served = {"serve": {"engine": "vllm", "max_model_len": 4096}}
    assert [context(n, **served) for n in (32768, 2048, None)] == [4096, 2048, 4096]
    assert context(32768, serve={"engine": "vllm"}) == 32768
    assert context(32768, backend="vllm", backend_options={"max_model_len": 4096}) == 4096
    assert context(32768, backend="vllm", backend_options={"max_model_len": "4096"}) == 4096, "out of the environment"
    assert context(32768, backend="vllm", backend_options={"engine": {"max_model_len": 2048}}) == 2048
    assert context(None) is None


def test_a_forced_answer_is_graded_with_what_it_goes_on_from(model, template, tmp_path, monkeypatch):
    monkeypatch.setattr("mixdistill.students.make_backend", lambda *a: Solver(template))
    own = tmp_path / "own.py"
    own.write_text(
        "from mixdistill.types import Outcome, Verdict\nVERSION = '1'\n"
        "def verify(problem, trace):\n"
        "    right = (trace.reasoning, trace.content) == ('x x x x x x x', 'A + + + +')\n"
        "    return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT if right else Outcome.INCORRECT)\n"
    )
    recipe = tiny.study(
        model, **ONE, verify={"verifier": f"{own}:verify"}, evaluate={"forced": True, "force_text": " A"}
    )
    store, _ = _base(recipe, tmp_path / "run")
    assert {(r.outcome, r.tokens, r.answer_id is None) for r in _rows(store)} == {(Outcome.CORRECT, 8 + 5, False)}


def test_forced_answers_need_a_cap_to_be_forced_at(model):
    with pytest.raises(Exception, match=r"evaluate\.forced: needs evaluate\.caps, at which answers are asked for"):
        _study(model, forced=True, caps=[])
