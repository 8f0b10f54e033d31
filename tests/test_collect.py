"""Every wanted trace of an author: bought once, journaled as it arrives, drawn by nothing but problem and sample."""

import pytest

import tiny
from mixdistill import prompts
from mixdistill.collect import TABLE, Buying, collect, request_seed
from mixdistill.errors import StageError, Stopped
from mixdistill.sections import Price, Spend, Teacher
from mixdistill.spending import Amount, Purse
from mixdistill.store import Store
from mixdistill.types import Completion, Problem, Sampling, Trace, Usage, trace_id
from mixdistill.wanted import fixed, until_correct


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


def _buying(**options) -> Buying:
    known = {"author": "teacher/t", "model": "m", "sampling": Sampling(temperature=0.5), "label": "x"}
    known |= {"error_rate": 0.5, "problems": PROBLEMS, "rule": fixed(2)}
    return Buying(**{**known, **options})


def _collect(store: Store, backend, **options) -> list[Trace]:
    got = collect(store, store.root / "unit", backend, _buying(**options))
    traces = store.read(store.root / "unit", Trace, TABLE)
    assert got.table["rows"] == got.counts["traces"] == len(traces)
    return traces


def test_traces_lie_in_the_order_of_problems_and_samples_whenever_they_came(tmp_path):
    traces = _collect(Store(tmp_path), Echo())
    wanted = [(p, i) for p in PROBLEMS for i in range(2)]
    assert [t.content for t in traces] == [f"{p.prompt} {i}" for p, i in wanted]
    for t, (p, i) in zip(traces, wanted, strict=True):
        assert t.id == trace_id("teacher/t", p.id, i)
        assert (t.author, t.model) == ("teacher/t", "m")
        assert t.sampling == {"temperature": 0.5, "seed": request_seed(0, p.id, i)}


def test_what_is_there_is_not_asked_again(tmp_path):
    store, backend = Store(tmp_path), Echo()
    first = _collect(store, Echo())
    traces = _collect(store, backend, rule=fixed(3))
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

    traces = _collect(Store(tmp_path), Half(), problems=PROBLEMS[:1], model="m\udcff")
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
    got = collect(store, store.root / "unit", Some(), _buying(error_rate=0))
    assert [t.sample for t in store.read(store.root / "unit", Trace, TABLE)] == [0] * 4
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


def test_failures_that_nobody_wants_any_more_do_not_fail_the_unit(tmp_path):
    store = Store(tmp_path)
    _collect(store, Echo(fails=lambda r: r.sample == 1))
    assert len(_collect(store, Echo(), rule=fixed(1), error_rate=0)) == 8


# -- until enough are right -------------------------------------------------------------------------------------------


class Live(Echo):
    """Draws up to `room` requests, then answers the oldest; right (content "right") where `right` says so."""

    LIVE = True

    def __init__(self, *, room: int = 3, right=lambda request: True, tokens: int = 10, finish=lambda request: "stop"):
        super().__init__()
        self.room, self.right, self.tokens, self.finish, self.most = room, right, tokens, finish, 0

    def generate(self, requests):
        flying: list = []
        position, over = 0, False
        while flying or not over:
            while not over and len(flying) < self.room:
                try:
                    request = next(requests)
                except StopIteration:
                    over = True
                    break
                if request is None:
                    assert flying, "nothing in flight, and told to wait"
                    break
                self.asked.append(request)
                flying.append((position, request))
                position += 1
                self.most = max(self.most, len(flying))
            if flying:
                at, request = flying.pop(0)
                yield at, self.answer(request)

    def answer(self, request):
        return Completion(
            content="right" if self.right(request) else "wrong",
            finish_reason=self.finish(request),
            usage=Usage(prompt_tokens=5, completion_tokens=self.tokens),
        )


class Rounds(Live):
    """The same, for requests that come as a list."""

    LIVE = False

    def generate(self, requests):
        for position, request in enumerate(requests):
            self.asked.append(request)
            yield position, self.answer(request)


def judge(problem: Problem, trace: Trace) -> bool:
    return trace.content == "right" and trace.finish_reason == "stop"


def _third(request) -> bool:
    return request.sample >= 2


@pytest.mark.parametrize("kind", [Live, Rounds])
@pytest.mark.parametrize("room", [1, 3, 100])
def test_no_sample_is_bought_after_enough_are_right_however_many_are_in_flight(tmp_path, kind, room):
    backend = kind(room=room, right=_third)
    _collect(Store(tmp_path), backend, rule=until_correct(2, samples=1, max_samples=9), judge=judge)
    assert sorted((r.prompt, r.sample) for r in backend.asked) == [(p.prompt, i) for p in PROBLEMS for i in range(4)]


def test_the_first_samples_are_asked_for_in_any_case_and_the_last_is_max_samples(tmp_path):
    easy, hard = Live(), Live(right=lambda request: False)
    _collect(Store(tmp_path / "easy"), easy, rule=until_correct(1, samples=3, max_samples=5), judge=judge)
    _collect(Store(tmp_path / "hard"), hard, rule=until_correct(1, samples=1, max_samples=5), judge=judge)
    assert (len(easy.asked), len(hard.asked)) == (3 * 4, 5 * 4)


def test_every_problem_gets_its_first_sample_before_any_gets_a_second(tmp_path):
    backend = Live(room=1)
    _collect(Store(tmp_path), backend, rule=fixed(2))
    assert [r.sample for r in backend.asked] == [0] * 4 + [1] * 4


def test_buying_that_was_interrupted_ends_with_the_same_traces(tmp_path):
    class Breaks(Live):
        def answer(self, request):
            if len(self.asked) == 9:
                raise ConnectionError("gone")
            return super().answer(request)

    rule = until_correct(1, samples=1, max_samples=4)
    whole = _collect(Store(tmp_path / "whole"), Live(right=_third), rule=rule, judge=judge)
    store, rest = Store(tmp_path / "broken"), Live(right=_third)
    with pytest.raises(ConnectionError):
        _collect(store, Breaks(right=_third), rule=rule, judge=judge)
    there = len(store.journal(store.root / "unit", Trace, TABLE))
    assert _collect(store, rest, rule=rule, judge=judge) == whole
    assert len(rest.asked) == len(whole) - there


def test_a_trace_that_did_not_end_by_itself_is_not_right(tmp_path):
    backend = Live(finish=lambda request: "length" if request.sample == 0 else "stop")
    _collect(Store(tmp_path), backend, rule=until_correct(1, samples=1, max_samples=3), judge=judge)
    assert len(backend.asked) == 2 * 4


def test_a_sample_that_failed_is_not_asked_again_where_enough_are_right_without_it(tmp_path):
    class Fails(Live):
        def answer(self, request):
            return Completion(error="status 500") if request.sample == 1 else super().answer(request)

    store, again = Store(tmp_path), Live()
    rule = until_correct(1, samples=1, max_samples=4)
    _collect(store, Fails(right=_third), rule=rule, judge=judge)
    traces = _collect(store, again, rule=rule, judge=judge, error_rate=0)
    assert again.asked == []
    assert [t.sample for t in traces if t.error] == [1] * 4


# -- a higher limit ---------------------------------------------------------------------------------------------------


def test_a_higher_max_tokens_asks_again_for_what_was_cut_and_for_nothing_else(tmp_path):
    store = Store(tmp_path)
    cut = Live(finish=lambda request: "length" if request.prompt == PROBLEMS[1].prompt else "stop")
    before = _collect(store, cut, sampling=Sampling(max_tokens=10))
    again = Live(tokens=20)
    after = _collect(store, again, sampling=Sampling(max_tokens=20))
    assert {r.prompt for r in again.asked} == {PROBLEMS[1].prompt}
    assert [t for t in after if t.problem_id != PROBLEMS[1].id] == [t for t in before if t.problem_id != PROBLEMS[1].id]
    assert {t.sampling["max_tokens"] for t in after if t.problem_id == PROBLEMS[1].id} == {20}
    lower = Live()
    assert _collect(store, lower, sampling=Sampling(max_tokens=5)) == after
    assert lower.asked == []


def test_a_request_that_fails_never_takes_the_place_of_a_trace(tmp_path):
    class Fails(Live):
        def answer(self, request):
            return Completion(error="status 500")

    store = Store(tmp_path)
    before = _collect(store, Live(finish=lambda r: "length"), sampling=Sampling(max_tokens=10))
    with pytest.raises(StageError, match="8 of 8 requests failed"):
        _collect(store, Fails(), sampling=Sampling(max_tokens=20))
    assert _collect(store, Live(), sampling=Sampling(max_tokens=10)) == before


# -- prices and limits ------------------------------------------------------------------------------------------------

PRICE = Price(prompt=1e6 / 5, completion=1e5)
"""A request of 5 and 10 tokens costs 2 dollars."""


def _purse(store: Store, own: Spend | None = None, study: Spend | None = None) -> Purse:
    return Purse(own or Spend(), study or Spend(), store.root / "unit", Amount(2.0, 10))


def test_a_trace_costs_what_its_tokens_do_or_what_the_server_says(tmp_path):
    class Says(Live):
        def answer(self, request):
            return super().answer(request).model_copy(update={"cost": 0.5})

    assert {t.cost for t in _collect(Store(tmp_path / "price"), Live(), price=PRICE)} == {2.0}
    assert {t.cost for t in _collect(Store(tmp_path / "server"), Says(), price=PRICE)} == {0.5}
    assert {t.cost for t in _collect(Store(tmp_path / "none"), Live())} == {None}


@pytest.mark.parametrize("kind", [Live, Rounds])
@pytest.mark.parametrize(
    ("spend", "said"),
    [
        (Spend(cost=7), "$6.00 spent, and the next request could go over spend.cost=7"),
        (Spend(tokens=35), "30 tokens sampled, and the next request could go over spend.tokens=35"),
    ],
)
def test_no_request_is_sent_that_could_go_over_what_may_be_spent_and_raising_it_goes_on(tmp_path, kind, spend, said):
    store = Store(tmp_path)
    with pytest.raises(StageError) as e:
        _collect(store, kind(), price=PRICE, purse=_purse(store, spend))
    assert str(e.value) == f"x: 3 of 8 traces are there; {said}; raise it to go on, or give a --limit"
    rest = kind()
    _collect(store, rest, price=PRICE, purse=_purse(store, Spend(cost=16)))
    assert len(rest.asked) == 5


def test_a_limit_holds_though_the_first_traces_were_short(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(StageError, match="30 tokens sampled, and the next request could go over"):
        _collect(store, Live(room=1), purse=Purse(Spend(tokens=100), Spend(), store.root / "unit", Amount(0, 80)))


def test_what_all_teachers_spend_counts_together(tmp_path):
    store, other = Store(tmp_path / "run" / "a"), Store(tmp_path / "run" / "b")
    study = Spend(cost=20)
    _collect(store, Live(), price=PRICE, purse=Purse(Spend(), study, store.root, Amount(2, 10)))
    with pytest.raises(StageError, match=r"\$20\.00 spent on all teachers, and the next request could go"):
        _collect(other, Live(), price=PRICE, purse=Purse(Spend(), study, other.root, Amount(2, 10)))


def test_what_was_spent_before_there_was_a_limit_counts_for_the_others_too(tmp_path):
    store, other = Store(tmp_path / "run" / "a"), Store(tmp_path / "run" / "b")
    _collect(store, Live(), price=PRICE, purse=Purse(folder=store.root))
    with pytest.raises(StageError, match=r"x: 2 of 8 traces are there; \$20\.00 spent on all teachers"):
        _collect(other, Live(), price=PRICE, purse=Purse(Spend(), Spend(cost=20), other.root, Amount(2, 10)))


def test_a_limit_in_dollars_for_the_study_does_not_ask_the_price_of_what_is_free(tmp_path):
    store = Store(tmp_path)
    purse = Purse(Spend(), Spend(cost=1), store.root / "unit", free=True)
    assert len(_collect(store, Live(), purse=purse)) == 8


def test_what_was_spent_on_traces_that_were_set_aside_is_spent(tmp_path):
    store, study = Store(tmp_path / "run" / "generate" / "a"), Spend(cost=20)
    _collect(store, Live(), price=PRICE, purse=Purse(Spend(), study, store.root, Amount(2, 10)))
    Store(tmp_path / "run").set_aside(store.root)
    with pytest.raises(StageError, match=r"\$16\.00 spent on all teachers") as e:
        _collect(store, Live(room=1), price=PRICE, purse=Purse(Spend(), Spend(cost=17), store.root, Amount(2, 10)))
    assert str(e.value).startswith("x: 0 of 8 traces are there")


def test_a_limit_in_dollars_where_nobody_knows_the_price_stops_at_once(tmp_path):
    store = Store(tmp_path)
    backend = Live(room=1)
    with pytest.raises(StageError) as e:
        _collect(store, backend, purse=_purse(store, Spend(cost=100)))
    assert str(e.value) == (
        "x: 1 of 8 traces are there; spend.cost is set, and neither a price nor the server says what a request costs; "
        "set the price"
    )


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_who_is_asked_to_stop_finishes_what_is_in_flight_and_goes_on_later(tmp_path, monkeypatch):
    monkeypatch.setattr("mixdistill.collect.LOOK_APART", -1)
    store = Store(tmp_path)

    class Told(Live):
        def answer(self, request):
            if len(self.asked) == 4:
                store.ask_to_stop()
            return super().answer(request)

    told, rest = Told(), Live()
    with pytest.raises(Stopped) as e:
        _collect(store, told)
    assert len(told.asked) == len(store.journal(store.root / "unit", Trace, TABLE)) == 4
    assert str(e.value) == "x: 4 of 8 traces are there; stopped; run again to go on"
    store.go_on()
    assert len(_collect(store, rest)) == 8
    assert len(rest.asked) == 4


def test_who_is_asked_to_stop_when_the_last_request_is_in_flight_is_through(tmp_path, monkeypatch):
    monkeypatch.setattr("mixdistill.collect.LOOK_APART", -1)
    store = Store(tmp_path)

    class Told(Live):
        def answer(self, request):
            store.ask_to_stop()
            return super().answer(request)

    assert len(_collect(store, Told(room=8))) == 8
