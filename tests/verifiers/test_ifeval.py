"""The 25 kinds of instruction of IFEval: each with an answer that follows it and one that does not."""

import json
import re
import time

import pytest

from mixdistill.types import Outcome, Problem, Trace
from mixdistill.verifiers.ifeval import CHECKS, NEEDED, gold, sentences, verify

WORDS = "word " * 30
KINDS = [
    ("keywords:existence", {"keywords": ["kite", "C++"]}, "A KITE flew over C++ code.", "A kite flew."),
    ("keywords:frequency", {"keyword": "sun", "frequency": 2, "relation": "at least"}, "Sun and sun.", "One sun."),
    ("keywords:frequency", {"keyword": "sun", "frequency": 2, "relation": "less than"}, "One sun.", "Sun and sun."),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "A caterpillar.", "The Cat sat."),
    ("keywords:letter_frequency", {"letter": "q", "let_frequency": 2, "let_relation": "at least"}, "Q, q", "q"),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 1, "let_relation": "less than"}, "none", "# one"),
    ("language:response_language", {"language": "de"}, "Das ist nicht der Weg.", "This is not the way."),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "less than"},
        "Dr. Who came. He left at 3.15 p.m. sharp.",
        "One. Two! Three?",
    ),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}, "A b. C d! E f", "A b. C d."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n***\nTwo.", "One.\n\nTwo."),
    ("length_constraints:number_words", {"num_words": 30, "relation": "at least"}, WORDS, WORDS[:-5]),
    ("length_constraints:number_words", {"num_words": 30, "relation": "less than"}, WORDS[:-5], WORDS),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "president"},
        'Before.\n\n"President," he said.',
        "President.\n\nBefore.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] of [place]", "[name] alone"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\n\nP.S. Eat.", "Bye. PS Eat."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye. P. P. S more", "Bye. P.S. more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n - two", "* one\n* two\n* three"),
    ("detectable_format:constrained_response", {}, "Well. My answer is maybe.", "Maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one* and ** **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\na\nSECTION 2\nb",
        "SECTION 1\na\nSection 2\nb",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<Song of joy>>\nla", "<< >>\nla"),
    ("combination:two_responses", {}, "One.\n******\nTwo.", "One.\n******\nOne."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say why."}, "say why. Because.", "Because."),
    ("startend:end_checker", {"end_phrase": "Any questions?"}, 'Done. "Any Questions?"', "Any questions? No."),
    ("startend:quotation", {}, ' "All of it." ', '"Some" of it.'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "NO WAY out",
        "NO way out",
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        "NO way out",
        "NO WAY out",
    ),
    ("change_case:english_capital", {}, "THIS IS IT.", "THIS is IT."),
    ("change_case:english_lowercase", {}, "this is it.", "This is it."),
    ("change_case:english_lowercase", {}, "it is not the end.", "das ist nicht der weg."),
    ("punctuation:no_comma", {}, "One; two.", "One, two."),
]


def judged(content: str, *asked: tuple[str, dict], finish: str = "stop"):
    # As the hub's table has it: every setting in every row, null where it is not set.
    every = dict.fromkeys(sorted({key for _, settings in asked for key in settings} | {"nth_paragraph"}))
    answer = {"instruction_id_list": [k for k, _ in asked], "kwargs": [{**every, **s} for _, s in asked]}
    problem = Problem(id="p", prompt="Write.", answer=json.dumps(answer))
    return verify(problem, Trace(id="t", problem_id="p", author="a", content=content, finish_reason=finish))


@pytest.mark.parametrize(("kind", "settings", "follows", "breaks"), KINDS)
def test_a_kind_tells_what_follows_it_from_what_does_not(kind, settings, follows, breaks):
    assert CHECKS[kind](follows, settings) is True
    assert CHECKS[kind](breaks, settings) is False
    assert judged(follows, (kind, settings)).strict is Outcome.CORRECT
    assert judged(breaks, (kind, settings)).strict is Outcome.INCORRECT


def test_every_kind_was_tried_and_there_are_25():
    assert {kind for kind, *_ in KINDS} == set(CHECKS)
    assert len(CHECKS) == 25
    assert set(NEEDED) <= set(CHECKS)


def test_all_instructions_must_be_followed_and_the_score_is_the_share_that_is():
    both = (("punctuation:no_comma", {}), ("startend:quotation", {}))
    verdict = judged("No comma here.", *both)
    assert (verdict.outcome, verdict.strict, verdict.score) == (Outcome.INCORRECT, Outcome.INCORRECT, 0.5)
    assert verdict.explanation == "1 of 2 instructions are followed; not: startend:quotation"


def test_the_flexible_reading_is_the_loose_one():
    lead = judged("Sure, here it is:\nNo comma at all", ("punctuation:no_comma", {}))
    assert (lead.outcome, lead.strict) == (Outcome.CORRECT, Outcome.INCORRECT)
    bold = judged('**"Quoted."**', ("startend:quotation", {}))
    assert (bold.outcome, bold.strict) == (Outcome.CORRECT, Outcome.INCORRECT)
    # Each instruction may be followed in another form.
    either = judged('Yes, sir:\n"No comma."', ("punctuation:no_comma", {}), ("startend:quotation", {}))
    assert (either.outcome, either.strict) == (Outcome.CORRECT, Outcome.INCORRECT)


def test_an_answer_that_was_cut_is_never_strictly_right():
    verdict = judged("No comma", ("punctuation:no_comma", {}), finish="length")
    assert (verdict.outcome, verdict.strict) == (Outcome.CORRECT, Outcome.TRUNCATED)
    verdict = judged("Some, comma", ("startend:quotation", {}), finish="length")
    assert (verdict.outcome, verdict.strict) == (Outcome.TRUNCATED, Outcome.TRUNCATED)


@pytest.mark.parametrize(("finish", "outcome"), [("stop", Outcome.NO_ANSWER), ("length", Outcome.TRUNCATED)])
def test_an_empty_answer_gives_none(finish, outcome):
    verdict = judged(" \n", ("punctuation:no_comma", {}), finish=finish)
    assert (verdict.outcome, verdict.strict) == (outcome, outcome)


NO_LIST = "the reference is no list of instructions (instruction_id_list and kwargs)"


@pytest.mark.parametrize(
    ("kinds", "settings", "why"),
    [
        ("42", [], NO_LIST),
        (["a"], [], NO_LIST),
        ([], [], "the reference holds no instruction"),
        (["sing:loud"], [{}], "no such kind of instruction: 'sing:loud'"),
        (["keywords:existence"], [{"keywords": None}], "keywords:existence needs keywords"),
    ],
)
def test_a_reference_that_cannot_be_judged_by_is_an_error(kinds, settings, why):
    answer = json.dumps({"instruction_id_list": kinds, "kwargs": settings})
    problem = Problem(id="p", prompt="Write.", answer=answer)
    verdict = verify(problem, Trace(id="t", problem_id="p", author="a", content="x", finish_reason="stop"))
    assert (verdict.outcome, verdict.explanation) == (Outcome.ERROR, why)
    with pytest.raises(ValueError, match=re.escape(why)):
        gold(problem)


def test_settings_may_be_json_text():
    answer = {"instruction_id_list": ["keywords:existence"], "kwargs": ['{"keywords": ["kite"]}']}
    problem = Problem(id="p", prompt="Write.", answer=json.dumps(answer))
    trace = Trace(id="t", problem_id="p", author="a", content="a kite", finish_reason="stop")
    assert verify(problem, trace).outcome is Outcome.CORRECT
    assert gold(problem) is None, "no right answer can be made of instructions"


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two.", 2),
        ("Mr. Smith met J. Doe at 5 p.m. today.", 1),
        ("It costs 3.50 dollars. Why? Because!", 3),
        ('He said "Stop." Then he left.', 2),
        ("1. First\n2. Second", 1),
        ("Wait... what?", 1),
        ("これは文です。二つ目です。", 2),
    ],
)
def test_sentences_are_counted_by_their_ends(text, n):
    assert len(sentences(text)) == n


@pytest.mark.parametrize(
    "text", ["a. " * 50_000, "A. " * 50_000, "[" * 100_000, "*" * 99_999, "<<" * 50_000, "-\n" * 50_000, "." * 99_999]
)
def test_a_hostile_answer_takes_no_longer_than_its_length_warrants(text):
    asked = [(kind, settings) for kind, settings, *_ in KINDS if kind != "language:response_language"]
    begun = time.process_time()
    judged(text, *asked)
    assert time.process_time() - begun < 5
