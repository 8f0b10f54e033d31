"""What the fake provider says depends on the request alone, and is of the kind it should be."""

from __future__ import annotations

import random
from typing import Any

import pytest

import tiny
from mixdistill.backends.reasoning import split
from mixdistill.fake.answers import ENDLESS, STYLES, Answer, Known, Manner, answer, identity, message
from mixdistill.types import Message, Problem, problem_id

PLAIN = Manner(endless=0.0, empty=0.0, filtered=0.0)
PROMPTS = [f"What is {n} and {n + 7} together?" for n in range(400)]
PROBLEMS = [tiny.problem(prompt, str(2 * n + 7)) for n, prompt in enumerate(PROMPTS)]
KNOWN = Known(PROBLEMS, lambda p: f"\\boxed{{{p.answer}}}")


def body(prompt: str = PROMPTS[0], model: str = "m", seed: int = 0, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], "seed": seed, **more}


def given(prompt: str = PROMPTS[0], manner: Manner = PLAIN, **how: Any) -> Answer:
    return answer(KNOWN, manner, body(prompt, **how), prompt)


def rights(manner: Manner, prompt: str, samples: int = 20) -> float:
    """Share of right answers to a problem."""
    return sum(given(prompt, manner, seed=n).content == KNOWN.right(prompt) for n in range(samples)) / samples


def test_the_same_request_gets_the_same_answer_and_another_seed_or_model_another():
    assert given(model="long", seed=3) == given(model="long", seed=3)
    assert len({given(model="long", seed=n) for n in range(20)}) == 20
    assert given(model="long") != given(model="longer")


def test_what_does_not_change_the_answer_is_not_in_its_identity():
    assert identity(body(temperature=0.5, stream=False)) == identity(body())
    assert len({identity(body(**{k: 7})) for k in ("seed", "max_tokens", "reasoning_effort")} | {identity(body())}) == 4


def test_a_problem_is_found_inside_a_template_and_the_longest_wins():
    known = Known([tiny.problem("How far?", "1"), tiny.problem("How far? In miles, please.", "2")], lambda p: p.answer)
    assert known.find("Solve this.\n\nHow far? In miles, please.\n\nBox the answer.") == "How far? In miles, please."
    assert known.find("Solve this.\n\nHow far? In feet, please.") == "How far?"
    assert known.find("How near? In miles, please.") is None
    assert all(KNOWN.find(f"Q: {prompt}\nA:") == prompt for prompt in PROMPTS)


def test_of_a_conversation_the_last_turn_counts():
    turns = [Message(role="system", content="Be kind."), Message(role="user", content="How far is it?")]
    known = Known([Problem(id=problem_id(turns, "1"), prompt=turns, answer="1")], lambda p: p.answer)
    assert known.find("How far is it? Say shortly.") == "How far is it?"


def test_the_pass_rate_is_met_over_problems_that_differ():
    shares = [rights(PLAIN, prompt) for prompt in PROMPTS]
    assert abs(sum(shares) / len(shares) - PLAIN.pass_rate) < 0.06
    assert sum(s <= 0.2 for s in shares) > 20, "some are hard"
    assert sum(s >= 0.95 for s in shares) > 100, "some are easy"


def test_hard_problems_are_hard_for_every_teacher():
    def share(prompt: str, model: str) -> float:
        return sum(given(prompt, seed=n, model=model).content == KNOWN.right(prompt) for n in range(20)) / 20

    hard = [prompt for prompt in PROMPTS if share(prompt, "long") <= 0.1]
    assert len(hard) > 10
    assert sum(share(prompt, "other") for prompt in hard) / len(hard) < 0.3


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_teacher_may_be_always_right_or_always_wrong(rate: float):
    assert {rights(Manner(pass_rate=rate, endless=0, empty=0, filtered=0), p) for p in PROMPTS[:50]} == {rate}


def test_a_wrong_answer_looks_like_one_and_never_is_the_right_one():
    draw = random.Random(0)
    for prompt in PROMPTS[:50]:
        wrong = {KNOWN.wrong(prompt, draw) for _ in range(50)}
        assert KNOWN.right(prompt) not in wrong
        assert wrong <= {KNOWN.right(p) for p in PROMPTS}
    assert Known(PROBLEMS[:1], lambda p: p.answer).wrong(PROMPTS[0], draw) == "I cannot say."


@pytest.mark.parametrize(
    ("more", "aloud"),
    [
        ({}, False),
        ({"model": "qwen-long"}, True),
        ({"model": "qwen-long", "chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"chat_template_kwargs": {"thinking": True}}, True),
        ({"reasoning_effort": "high"}, True),
        ({"reasoning_effort": "none"}, False),
    ],
)
def test_who_thinks_aloud_reasons_long_and_the_others_answer(more: dict[str, Any], aloud: bool):
    lengths = [len(given(seed=n, **more).reasoning.split()) for n in range(50)]
    assert (sorted(lengths)[25] > 200) if aloud else not any(lengths)


def test_working_stands_before_the_answer_only_where_that_is_allowed():
    open_ = Known(PROBLEMS, KNOWN_RIGHT := (lambda p: f"\\boxed{{{p.answer}}}"), working=True)
    said = answer(open_, PLAIN, body(), PROMPTS[0])
    assert len(said.content.split()) > 10
    assert said.content.splitlines()[-1] in {KNOWN_RIGHT(p) for p in PROBLEMS}
    assert given().content in {KNOWN_RIGHT(p) for p in PROBLEMS}


def test_tokens_are_words_and_the_stop():
    said = given(model="long")
    assert said.finish_reason == "stop"
    assert said.tokens == len(said.reasoning.split()) + len(said.content.split()) + 1


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_the_token_limit_cuts_and_says_so(key: str):
    for seed in range(20):
        cut = given(model="long", seed=seed, **{key: 20})
        assert (cut.finish_reason, cut.tokens, len(cut.reasoning.split()), cut.content) == ("length", 20, 20, "")


def test_some_answers_are_endless_empty_or_filtered_at_the_rates_that_are_set():
    manner = Manner(endless=0.2, empty=0.2, filtered=0.2)
    said = [given(model="long", seed=n, manner=manner) for n in range(1000)]
    assert 150 < sum(a == Answer("", "", "stop", 1) for a in said) < 250
    assert 150 < sum(a.finish_reason == "content_filter" for a in said) < 250
    endless = [a for a in said if a.finish_reason == "length"]
    assert 150 < len(endless) < 250
    assert {a.tokens for a in endless} == {ENDLESS}


@pytest.mark.parametrize("style", STYLES)
def test_reasoning_goes_where_the_style_says(style: str):
    said = given(model="long")
    shown = message(said, style)
    if style == "think":
        reasoning, content, *_ = split(shown["content"])
        assert (reasoning, content) == (said.reasoning, said.content)
    else:
        assert shown == {"role": "assistant", "content": said.content, style: said.reasoning}
    short = given()
    assert message(short, style) == {"role": "assistant", "content": short.content}


def test_thinking_that_was_cut_has_no_closing_tag():
    assert "</think>" not in message(given(model="long", max_tokens=20), "think")["content"]
