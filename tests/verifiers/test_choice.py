"""Choices: the table of hand-checked cases, what holds of every letter in every form, and hostile text."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixdistill.types import Message, Outcome, Problem, Trace, Verdict
from mixdistill.verifiers import choice
from mixdistill.verifiers.choice import gold, verify

CASES = [json.loads(line) for line in (Path(__file__).parents[1] / "cases" / "choice.jsonl").read_text().splitlines()]
PROMPT = "How long is the road?\nA) 3 km\nB) 5 km\nC) 7 km\nD) 9 km\n"


def judge(reference: str, content: str, *, prompt=PROMPT, reasoning="", finish_reason="stop", **options) -> Verdict:
    trace = Trace(id="t", problem_id="p", author="a", reasoning=reasoning, content=content, finish_reason=finish_reason)
    return verify(Problem(id="p", prompt=prompt, answer=reference), trace, **options)


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_hand_checked_case(case):
    verdict = judge(
        case["reference"],
        case["content"],
        prompt=case["prompt"],
        finish_reason=case.get("finish_reason", "stop"),
        **case.get("options", {}),
    )
    expected = {"outcome": case["outcome"], "strict": case["strict"]}
    expected |= {key: case[key] for key in ("answer", "rule") if key in case}
    assert {key: getattr(verdict, key) for key in expected} == expected
    assert verdict.score == pytest.approx(case["score"]) if "score" in case else True


def test_the_table_is_large_and_goes_in_both_directions():
    outcomes = [case["outcome"] for case in CASES]
    assert len(CASES) >= 120
    assert min(outcomes.count(outcome) for outcome in ("correct", "incorrect", "no_answer")) >= 35


FORMS = [
    "{}",
    "({})",
    "[{}]",
    "{}.",
    "**{}**",
    "**({})**",
    "Answer: {}",
    "The answer is ({}).",
    "The correct answer is {}",
    r"\boxed{{{}}}",
    r"\boxed{{\text{{({})}}}}",
    "Final Answer: {}",
    "**Final Answer**\n\n**{}**",
    "<answer>{}</answer>",
    "x\n#### {}",
    "I choose {}.",
    "So {} is correct.",
    "Therefore, ({}).",
    "It rained.\n\n{}",
    "{} is the answer.",
    "The best option is {}, because of the map.",
    "答案是{}。",
    "Ответ: {}",
]


@settings(deadline=None)
@given(st.sampled_from(FORMS), st.sampled_from("ABCD"), st.sampled_from("ABCD"))
def test_a_letter_is_itself_in_any_form_and_never_another(form, right, chosen):
    verdict = judge(right, form.format(chosen))
    assert (verdict.outcome is Outcome.CORRECT, verdict.answer) == (right == chosen, chosen)
    assert verdict.strict in ((Outcome.CORRECT if right == chosen else Outcome.INCORRECT), Outcome.NO_ANSWER)


@settings(deadline=None)
@given(
    st.sampled_from(["A", "B", "C", "D"]), st.sampled_from([*FORMS[:13], "{}"]), st.sampled_from(["3", "5", "7", "9"])
)
def test_an_options_text_is_its_letter_in_any_form(right, form, number):
    verdict = judge(right, form.format(f"{number} km"))
    assert (verdict.outcome is Outcome.CORRECT) == (dict(zip("3579", "ABCD", strict=True))[number] == right)


STYLES = ["{}) {}", "({}) {}", "{}. {}", "{}: {}", "- **{})** {}", "[{}] {}", "**{}.** {}", "{} - {}"]
SCRIPTS = ["ABCDEFGHIJ", "abcd", "АБВГ", "1234", "ابجد", "אבגד", "ＡＢＣ"]


@settings(deadline=None)
@given(st.sampled_from(STYLES), st.sampled_from(SCRIPTS), st.data())
def test_options_are_read_in_any_style_and_script(style, letters, data):
    words = ["oak", "elm", "ash", "fir", "yew", "box", "bay", "fig", "gum", "nut"]
    prompt = "Which tree?\n" + "\n".join(map(style.format, letters, words))
    place = data.draw(st.integers(0, len(letters) - 1))
    assert judge(letters[place], f"The answer is {words[place]}.", prompt=prompt).outcome is Outcome.CORRECT
    assert judge(words[place], f"The answer is ({letters[place]}).", prompt=prompt).outcome is Outcome.CORRECT
    assert (
        judge(words[place], f"The answer is {words[(place + 1) % len(letters)]}.", prompt=prompt).outcome
        is Outcome.INCORRECT
    )


def test_options_of_a_conversation_are_those_of_its_last_list():
    prompt = [
        Message(role="user", content="Which tree?\nA) oak\nB) elm"),
        Message(role="assistant", content="B"),
        Message(role="user", content="And which of these?\nA) elm\nB) oak"),
    ]
    assert judge("A", "elm", prompt=prompt).outcome is Outcome.CORRECT


def test_only_the_answer_part_is_read():
    assert judge("B", "", reasoning=r"\boxed{B}").outcome is Outcome.NO_ANSWER
    assert judge("B", "Answer: B", reasoning=r"\boxed{C}").outcome is Outcome.CORRECT


def test_what_is_wrong_with_a_reference_is_said():
    assert judge("6 km", "B").explanation == "the reference names none of the options ABCD: '6 km'"
    assert judge("2", "B").explanation == "the reference names none of the options ABCD: '2'; set first_index"
    assert judge("5 km", "B", prompt="?").explanation == (
        "the prompt lists no options, and the reference is no letter: '5 km'"
    )
    assert judge("", "B").explanation == "the problem has no reference answer"


@pytest.mark.parametrize("reference", ["B", "5 km", "A, C", '["A", "D"]'])
def test_gold_is_accepted_under_both_readings(reference):
    verdict = judge(reference, gold(Problem(id="p", prompt=PROMPT, answer=reference)))
    assert (verdict.outcome, verdict.strict) == (Outcome.CORRECT, Outcome.CORRECT)


def test_gold_takes_the_index_and_says_where_there_is_no_option():
    assert gold(Problem(id="p", prompt=PROMPT, answer="3"), first_index=0) == r"\boxed{D}"
    with pytest.raises(ValueError, match="names none of the options"):
        gold(Problem(id="p", prompt=PROMPT, answer="6 km"))


def test_it_decides_at_once():
    assert choice.quick is verify


PIECES = [
    *"ABCDab(){}$*.,:?\\~_\n ",
    *("(B)", "answer is ", "Final Answer:", "#### ", "\\boxed{", "\\text{", "<answer>", "答案", "Ответ "),
    *(
        " and ",
        " or ",
        "not ",
        "so ",
        "If ",
        "option ",
        " is correct",
        " is the answer",
        "5 km",
        "5",
        "\ud800",
        "\u200b",
    ),
]


def test_random_text_raises_nothing_and_names_only_options():
    draw = random.Random(5)
    for _ in range(2000):
        content = "".join(draw.choices(PIECES, k=draw.randrange(25)))
        verdict = judge("B", content, finish_reason=draw.choice(["stop", "length"]))
        assert verdict.outcome is not Outcome.ERROR
        assert (verdict.outcome is Outcome.CORRECT) == (verdict.answer == "B")


@pytest.mark.parametrize("piece", [*PIECES, "B is ", "A and ", "A. ", "A) 3 km\n", "neither A ", "\\boxed{A}, ", "{{"])
def test_hostile_text_takes_time_in_proportion_to_its_length(piece):
    start = time.monotonic()
    judge("B", piece * (40_000 // len(piece)))
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("piece", ["A) ", "(A) ", "A. x\n", "\\textbf{(A)} ", "(A) x (B) y ", "(", "\\", " "])
def test_hostile_prompts_take_time_in_proportion_to_their_length(piece):
    start = time.monotonic()
    judge("B", "B", prompt=piece * (40_000 // len(piece)))
    assert time.monotonic() - start < 2
