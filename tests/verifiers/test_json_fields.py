"""JSON answers: which object counts, which values are equal, and what partial credit is."""

from __future__ import annotations

import json
import random
import time

import pytest

from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers import json_fields
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
        '{"a": "' + "\\" * 50_000,
    ],
    ids=["nested", "braces", "quotes", "open list", "backslashes"],
)
def test_hostile_text_is_read_in_seconds_and_holds_no_object(text):
    start = time.monotonic()
    assert last_object(text) is None
    assert time.monotonic() - start < 2


def test_an_object_nested_too_deeply_is_none_and_hides_none_behind_it():
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    found = last_object(f"{deep}\n{GOLD}")
    assert found is not None
    assert found.text == GOLD
    assert last_object(f"{GOLD}\n{deep}").text == GOLD
    assert last_object('{"a":' * 5000 + GOLD) is None


@pytest.mark.parametrize(
    ("gold", "got", "same"),
    [
        ("0.1", "0.10", True),
        ("100", "1e2", True),
        ("0.1", "0.1000000000000000055511151231257827", False),
        ("9007199254740993", "9007199254740992.0", False),
        ("1e400", "1e401", False),
        ("1e400", "10e399", True),
        ("0", "-0.0", True),
        ("9" * 6000, "9" * 6000, True),
        ("9" * 6000, "9" * 5999 + "8", False),
    ],
)
def test_numbers_are_compared_exactly(gold, got, same):
    verdict = judge(f'{{"x": {gold}}}', f'{{"x": {got}}}')
    assert verdict.outcome is (Outcome.CORRECT if same else Outcome.INCORRECT)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e99999999999999999999", "01", "1.", ".5", "0x1"])
def test_what_is_no_json_number_makes_no_object(number):
    assert judge('{"x": 1}', f'{{"x": {number}}}').outcome is Outcome.NO_ANSWER
    assert judge(f'{{"x": {number}}}', '{"x": 1}').outcome is Outcome.ERROR
    assert judge('{"a": 1}', f'{{"in": {{"a": 1}}, "x": {number}}}').outcome is Outcome.NO_ANSWER


@pytest.mark.parametrize(
    "content",
    [
        '{"item": "tea",}',
        "{'item': 'tea'}",
        "{\u201citem\u201d: \u201ctea\u201d}",
        '{item: "tea"}',
        '{"item": "tea" /* no */}',
    ],
)
def test_what_is_nearly_json_is_no_object(content):
    assert judge('{"item": "tea"}', content).outcome is Outcome.NO_ANSWER


@pytest.mark.parametrize(
    ("content", "strict"),
    [
        (GOLD, Outcome.CORRECT),
        (f"The order is {GOLD}.", Outcome.CORRECT),
        (f"So:\n```json\n{GOLD}\n```", Outcome.CORRECT),
        (f"```json\n{GOLD}\n```\nThat is the order.", Outcome.CORRECT),
        (f"It is \\boxed{{{GOLD}}} and so on.", Outcome.CORRECT),
        (f"**{GOLD}**", Outcome.CORRECT),
        (f"One might think of {GOLD}, but I am not sure.", Outcome.NO_ANSWER),
        (f"```\n{GOLD}\n// or not\n```", Outcome.NO_ANSWER),
        (f"[{GOLD}]", Outcome.NO_ANSWER),
        (f'[{{"a": 1}}, {GOLD}]', Outcome.NO_ANSWER),
        ('{"item": "x", ' + GOLD[1:], Outcome.NO_ANSWER),
    ],
)
def test_the_strict_reading_takes_an_object_that_is_put_as_the_answer(content, strict):
    verdict = judge(GOLD, content)
    assert (verdict.outcome, verdict.strict) == (Outcome.CORRECT, strict)


def test_a_field_named_twice_has_its_last_value_and_is_no_strict_answer():
    twice = judge('{"x": 1}', '{"x": 1, "x": 2}')
    assert (twice.outcome, twice.strict, twice.score) == (Outcome.INCORRECT, Outcome.NO_ANSWER, 0.0)
    assert judge('{"x": 1, "x": 1}', '{"x": 1}').outcome is Outcome.ERROR


def test_names_of_fields_are_compared_letter_by_letter():
    assert judge('{"City": "Lyon"}', '{"city": "Lyon"}').score == 0.0


def test_of_a_cut_trace_the_strict_reading_is_truncated():
    verdict = judge(GOLD, f"{GOLD}\nand", **CUT)
    assert (verdict.outcome, verdict.strict) == (Outcome.CORRECT, Outcome.TRUNCATED)


PIECES = [
    *'{}[]":,. \n\\',
    '{"item": ',
    '"x"',
    "1",
    "1e5",
    "NaN",
    "null",
    "```json\n",
    "```",
    GOLD,
    "\ud800",
    "\\boxed{",
]


def test_random_text_raises_nothing():
    draw = random.Random(11)
    for _ in range(3000):
        content = "".join(draw.choices(PIECES, k=draw.randrange(20)))
        verdict = judge(GOLD, content, finish=draw.choice(["stop", "length"]))
        assert verdict.outcome is not Outcome.ERROR
        assert 0 <= verdict.score <= 1


@pytest.mark.parametrize("piece", [p for p in PIECES if p != "\ud800"])
def test_repeated_text_takes_time_in_proportion_to_its_length(piece):
    start = time.monotonic()
    judge(GOLD, piece * (100_000 // len(piece)))
    assert time.monotonic() - start < 2


def test_it_decides_at_once():
    assert json_fields.quick is verify


def test_what_a_verdict_says_can_always_be_written_down():
    verdict = judge(GOLD, '{"\\ud800": "\\ud800", "item": "\\ud800"}')
    assert verdict.outcome is Outcome.INCORRECT
    assert json.loads(verdict.model_dump_json())["trace_id"] == "t"
