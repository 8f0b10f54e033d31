"""Scripted teachers."""

from __future__ import annotations

import pytest

from mixdistill.errors import DataError
from mixdistill.lab import domain
from mixdistill.lab.teachers import Scripted
from mixdistill.types import Message, Outcome, Request, Sampling, Trace

PROBLEMS = domain.problems("train", count=200)


def traces(model: str, **request) -> list[Trace]:
    requests = [Request(prompt=p.prompt, **request) for p in PROBLEMS]
    done = Scripted(model).generate(requests)
    return [
        Trace(id=str(i), problem_id=PROBLEMS[i].id, author=f"teacher/{model}", **completion.model_dump())
        for i, completion in done
    ]


@pytest.mark.parametrize("model", ["long", "short"])
def test_every_trace_is_right_and_ends_by_itself(model: str):
    for problem, trace in zip(PROBLEMS, traces(model), strict=True):
        assert domain.verify(problem, trace).outcome is Outcome.CORRECT
        assert trace.finish_reason == "stop"
        assert trace.reasoning.endswith(" ok")


def test_short_is_the_last_attempt_of_long_and_the_answer_is_the_same():
    pairs = list(zip(traces("long"), traces("short"), strict=True))
    assert all(long.reasoning.endswith(short.reasoning) and long.content == short.content for long, short in pairs)
    assert sum(long.reasoning != short.reasoning for long, short in pairs) > 100


def test_long_tries_no_row_twice_and_rejects_all_but_the_last():
    for problem, trace in zip(PROBLEMS, traces("long"), strict=True):
        words = trace.reasoning.split()
        assert words.count("ok") == 1
        assert domain.attempts(trace) <= 2 ** (len(problem.answer.split()) - 1)


def test_traces_depend_on_prompt_seed_and_sample_alone():
    one = traces("long", seed=3, sample=1)
    assert one == traces("long", seed=3, sample=1)
    assert [t.reasoning for t in one] != [t.reasoning for t in traces("long", seed=3, sample=0)]
    assert [t.reasoning for t in one] != [t.reasoning for t in traces("long", seed=4, sample=1)]
    requests = [Request(prompt=p.prompt, seed=3, sample=1) for p in reversed(PROBLEMS)]
    turned = [completion.reasoning for _, completion in Scripted("long").generate(requests)]
    assert turned[::-1] == [t.reasoning for t in one]


def test_completion_tokens_are_words_tags_and_stop_token():
    for trace in traces("short"):
        rendered = f"<think>\n{trace.reasoning}\n</think>\n\n{trace.content} <eos>"
        assert trace.usage.completion_tokens == len(rendered.split())


def test_a_trace_is_cut_at_the_token_limit():
    whole = next(iter(Scripted("short").generate([Request(prompt="Q 8 4 7 9 T 10 :")])))[1]
    rendered = ["<think>", *whole.reasoning.split(), "</think>", *whole.content.split(), "<eos>"]
    for limit in range(1, len(rendered) + 2):
        request = Request(prompt="Q 8 4 7 9 T 10 :", sampling=Sampling(max_tokens=limit))
        cut = next(iter(Scripted("short").generate([request])))[1]
        kept = [word for word in rendered[:limit] if word not in ("<think>", "</think>", "<eos>")]
        assert [*cut.reasoning.split(), *cut.content.split()] == kept
        assert cut.finish_reason == ("length" if limit < len(rendered) else "stop")
        assert cut.usage.completion_tokens == min(limit, len(rendered))


def test_a_foreign_prompt_gives_an_error_and_the_others_go_on():
    requests = [Request(prompt="What is 2 + 2?"), Request(prompt=[Message(role="user", content="Q 1 2 3 T 6 :")])]
    done = dict(Scripted("long").generate(requests))
    assert done[0].error
    assert done[1].error is None and done[1].content == "A + +"


def test_an_unknown_teacher_gets_a_suggestion():
    with pytest.raises(DataError, match="did you mean 'short'"):
        Scripted("shrot")
