"""JSON answers: which object counts, which values are equal, and what partial credit is."""

from __future__ import annotations

import json
import time

import pytest

from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers.json_fields import last_object, verify

GOLD = '{"item": "green tea", "quantity": 12, "city": "Lyon"}'
CUT = {"finish": "length"}


def judge(gold: str, content: str, *, reasoning: str = "", finish: str = "stop", **options) -> Verdict:
    trace = Trace(id="t", problem_id="p", author="a", reasoning=reasoning, content=content, finish_reason=finish)
    return verify(Problem(id="p", prompt="?", answer=gold), trace, **options)


@pytest.mark.parametrize(
    "content",
    [
        GOLD,
        f"```json\n{GOLD}\n```",
        f"```\n{GOLD}\n```\nThat is the order.",
        f"The order is {GOLD}.",
        '{"city": "lyon", "quantity": 12.0,\n "item": "Green  tea"}',
        '{"item": "black tea"} is wrong; rather ' + GOLD,
        'In the form {"item": ..., "quantity": ...}: ' + GOLD,
        'A set {1, 2}, a box \\boxed{x}, a dict {"item": then ' + GOLD,
        f"\\boxed{{{GOLD}}}",
        f"[{GOLD}]",
        '{"item": "green tea", "quantity": 12, "city": "Ly\\u006fn"}',
    ],
)
def test_the_last_object_with_all_fields_is_correct(content):
    verdict = judge(GOLD, content)
    assert (verdict.outcome, verdict.score, verdict.rule) == (Outcome.CORRECT, 1.0, "last_object/fields")


@pytest.mark.parametrize(
    ("content", "score", "explanation"),
    [
        ('{"item": "green tea", "quantity": 2, "city": "Lyon"}', 2 / 3, 'wrong: "quantity"'),
        ('{"item": "green tea", "quantity": "12", "city": "Lyon"}', 2 / 3, 'wrong: "quantity"'),
        ('{"item": "green tea", "quantity": 12}', 4 / 5, 'missing: "city"'),
        ('{"item": "green tea", "quantity": 12, "city": null}', 2 / 3, 'wrong: "city"'),
        (GOLD[:-1] + ', "note": 1}', 6 / 7, 'not asked for: "note"'),
        ('{"a": 1}', 0.0, 'missing: "item", "quantity", "city"; not asked for: "a"'),
        ("{}", 0.0, 'missing: "item", "quantity", "city"'),
        (GOLD + ' or {"item": "x"}', 0.0, 'wrong: "item"; missing: "quantity", "city"'),
    ],
)
def test_partial_credit_is_f1_over_fields_and_never_correct(content, score, explanation):
    verdict = judge(GOLD, content)
    assert verdict.outcome is Outcome.INCORRECT
    assert verdict.score == pytest.approx(score)
    assert verdict.explanation == f"{explanation}; reference: {GOLD}"


@pytest.mark.parametrize(
    ("gold", "got", "same"),
    [
        ("1", "1.0", True),
        ("1", "true", False),
        ("false", "0", False),
        ("null", "null", True),
        ("null", "0", False),
        ('""', "null", False),
        ('["a", {"b": 1}]', '["A", {"b": 1.0}]', True),
        ('["a", "b"]', '["b", "a"]', False),
        ("[1]", "[1, 2]", False),
        ('{"b": 1}', '{"b": 1, "c": 2}', False),
        ("[true]", "[1]", False),
        ('"1"', "1", False),
        ("1", "[" * 300 + "]" * 300, False),
    ],
)
def test_values_are_equal_as_json_is(gold, got, same):
    verdict = judge(f'{{"x": {gold}}}', f'{{"x": {got}}}')
    assert verdict.outcome is (Outcome.CORRECT if same else Outcome.INCORRECT)


def test_case_and_space_count_where_the_options_say_so():
    loose = '{"item": "Green  tea", "quantity": 12, "city": "Lyon"}'
    assert judge(GOLD, loose, ignore_case=False).outcome is Outcome.INCORRECT
    assert judge(GOLD, loose, ignore_space=False).outcome is Outcome.INCORRECT


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no object here",
        "{'item': 'green tea', 'quantity': 12, 'city': 'Lyon'}",
        '{"order": ' + GOLD,
        '{"order": ' + GOLD + ', "paid": tru',
        '{"order": ' + GOLD + ",}",
        '{"order": ' + GOLD + ', "note": "unfinis',
        "[1, 2]",
        '"a text"',
    ],
)
def test_without_a_whole_object_it_is_no_answer_or_truncated(content):
    verdict = judge(GOLD, content, reasoning=GOLD)
    assert (verdict.outcome, verdict.score, verdict.answer) == (Outcome.NO_ANSWER, 0.0, None)
    assert judge(GOLD, content, reasoning=GOLD, **CUT).outcome is Outcome.TRUNCATED


def test_an_answer_followed_by_a_loop_is_graded():
    assert judge(GOLD, f"{GOLD}\n{GOLD}\n{GOLD[:20]}", **CUT).outcome is Outcome.CORRECT


@pytest.mark.parametrize("gold", ["", "Lyon", "[1]", "{}", "{'item': 1}", '{"a": 1} trailing', "[" * 100_000])
def test_a_reference_that_is_no_object_is_an_error_and_never_a_wrong_answer(gold):
    assert judge(gold, "{}").outcome is Outcome.ERROR


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 30_000,
        "{" * 100_000,
        '{"' * 50_000,
        '{"a": [' + '{"b": 1},' * 20_000,
        '{"a": ' + "9" * 6000 + "}",
        '{"a": "' + "\\" * 50_000,
    ],
    ids=["nested", "braces", "quotes", "open list", "long number", "backslashes"],
)
def test_hostile_text_is_read_in_seconds_and_holds_no_object(text):
    start = time.monotonic()
    assert last_object(text) is None
    assert time.monotonic() - start < 10


def test_what_a_verdict_says_can_always_be_written_down():
    verdict = judge(GOLD, '{"\\ud800": "\\ud800", "item": "\\ud800"}')
    assert verdict.outcome is Outcome.INCORRECT
    assert json.loads(verdict.model_dump_json())["trace_id"] == "t"
