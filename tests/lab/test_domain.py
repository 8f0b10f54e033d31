"""The domain "signs": problems, splits, traces, verifier, metric."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import combinations_with_replacement, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixdistill.errors import DataError
from mixdistill.lab import domain
from mixdistill.types import Message, Outcome, Problem, Trace, content_hash, problem_id


def a_problem(prompt: str = "Q 8 4 7 9 T 10 :", answer: str = "A + + -") -> Problem:
    return Problem(id=problem_id(prompt, answer), prompt=prompt, answer=answer)


def a_trace(content: str, *, reasoning: str = "", finish: str = "stop") -> Trace:
    return Trace.model_validate(
        {
            "id": "t",
            "problem_id": "p",
            "author": "teacher/x",
            "content": content,
            "reasoning": reasoning,
            "finish_reason": finish,
        }
    )


def outcome(content: str, *, finish: str = "stop", problem: Problem | None = None) -> Outcome:
    return domain.verify(problem or a_problem(), a_trace(content, finish=finish)).outcome


chains = st.builds(
    lambda numbers, row: domain.Chain(numbers, domain.value(numbers, row[: len(numbers) - 1])),
    st.lists(st.integers(1, 9), min_size=3, max_size=5).map(tuple),
    st.text("+-", min_size=4, max_size=4),
)


def test_importing_the_domain_loads_nothing_heavy():
    heavy = "{'torch', 'transformers', 'numpy', 'datasets', 'trl'}"
    modules = "mixdistill.lab.domain, mixdistill.lab.teachers, mixdistill.lab.models"
    code = f"import sys, {modules}; print({heavy} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"


def test_the_examples_of_the_domain_read_as_documented():
    chain = domain.parse("Q 8 4 7 9 T 10 :")
    assert chain == domain.Chain((8, 4, 7, 9), 10)
    assert chain.solutions == ["++-"]
    assert domain.short_trace(chain, 0) == ("8 + 4 12 + 7 19 - 9 10 T 10 ok", "A + + -")
    reasoning, content = domain.long_trace(chain, 4)
    assert reasoning.startswith("8 - 4 4 + 7 11 + 9 20 T 10 x 8 - 4 4 + 7 11 - 9 2 T 10 x 8 - 4 4 - 7 -3 + 9 6 T 10 x")
    assert reasoning.endswith("8 + 4 12 + 7 19 - 9 10 T 10 ok")
    assert content == "A + + -"


@given(chains)
def test_prompts_parse_back(chain: domain.Chain):
    assert domain.parse(chain.prompt) == chain


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "Q",
        "Q 8 4 T 4 :",
        "Q 8 4 7 9 T 10",
        "Q 8 4 7 9 T 11 :",
        "Q 8 4 7 19 T 10 :",
        "Q 8 4 7 9 T 010 :",
        "Q ８ 4 7 9 T 10 :",
        "Q 8 4 7 9 T -0 :",
        "x" * 100_000,
        "Q" + " 1" * 50_000 + " T 3 :",
    ],
)
def test_what_is_no_problem_is_not_parsed(prompt: str):
    assert domain.parse(prompt) is None
    with pytest.raises(DataError, match="signs problem"):
        domain.split_of(prompt)


def test_a_conversation_is_read_at_its_last_turn():
    turns = [Message(role="system", content="be brief"), Message(role="user", content="Q 8 4 7 9 T 10 :")]
    assert domain.parse(turns) == domain.Chain((8, 4, 7, 9), 10)
    assert domain.parse([]) is None


def test_the_split_depends_on_neither_target_nor_order():
    for numbers in [(8, 4, 7, 9), (1, 2, 3), (5, 5, 1, 9, 2)]:
        texts = {
            domain.Chain(order, domain.value(order, row)).prompt
            for order in permutations(numbers)
            for row in domain.sign_rows(len(numbers))
        }
        assert len(texts) > 20
        assert len({domain.split_of(text) for text in texts}) == 1


def test_splits_have_about_their_shares():
    for k in (4, 5):
        sizes = {split: domain.size(split, k) for split in domain.SPLITS}
        for split, share in domain.SPLITS.items():
            assert abs(100 * sizes[split] / sum(sizes.values()) - share) < 6, (k, split)


def test_size_counts_what_enumeration_finds():
    found: Counter[str] = Counter()
    for numbers in product(domain.DIGITS, repeat=3):
        found[domain.split_of_numbers(numbers)] += len({domain.value(numbers, row) for row in domain.sign_rows(3)})
    assert found == {split: domain.size(split, 3) for split in domain.SPLITS}


def test_no_split_ever_moves():
    """Shipped students were pretrained under these splits: a moved one would leak."""
    sets = [numbers for k in domain.LENGTHS for numbers in combinations_with_replacement(domain.DIGITS, k)]
    assert content_hash(*(domain.split_of_numbers(numbers) for numbers in sets)) == "e022473c11c52d48"


def test_problems_are_distinct_reproducible_and_of_their_split():
    got = domain.problems("eval", count=1000)
    assert len({p.prompt for p in got}) == len({p.id for p in got}) == 1000
    assert got == domain.problems("eval", count=1000)
    assert {domain.split_of(p.prompt) for p in got} == {"eval"}
    assert Counter(p.level for p in got) == {"k=3": 200, "k=4": 600, "k=5": 200}
    assert {(p.source, p.split) for p in got} == {("lab:signs", "eval")}


def test_fewer_problems_are_a_prefix_of_more():
    assert domain.problems("train", count=20)[:7] == domain.problems("train", count=7)
    assert domain.problems("train", count=0) == []


def test_another_seed_gives_other_problems():
    assert domain.problems("train", count=20, seed=1) != domain.problems("train", count=20)


def test_all_short_problems_can_be_drawn_and_then_only_longer_ones_follow():
    held = domain.size("search", 3)
    got = domain.problems("search", count=5 * held + 100)
    assert sum(p.level == "k=3" for p in got) == held
    assert not any(p.level == "k=3" for p in got[5 * held :])


def test_asking_for_too_many_or_of_nowhere_is_the_users_mistake():
    held = sum(domain.size("search", k) for k in domain.LENGTHS)
    with pytest.raises(DataError, match="holds"):
        domain.problems("search", count=held + 1)
    with pytest.raises(DataError, match="did you mean 'train'"):
        domain.problems("trian", count=1)


def test_the_verifier_accepts_every_reference_answer():
    for problem in domain.problems("eval", count=300):
        assert outcome(problem.answer, problem=problem) is Outcome.CORRECT


@given(chains, st.integers(0, 15))
def test_the_verifier_agrees_with_arithmetic_on_every_row(chain: domain.Chain, number: int):
    rows = domain.sign_rows(len(chain.numbers))
    row = rows[number % len(rows)]
    right = chain.numbers[0]
    for sign, n in zip(row, chain.numbers[1:], strict=True):
        right = right + n if sign == "+" else right - n
    expected = Outcome.CORRECT if right == chain.target else Outcome.INCORRECT
    assert outcome(domain.answer(row), problem=a_problem(chain.prompt)) is expected


def test_several_answers_may_be_right():
    problem = a_problem("Q 5 3 3 T 5 :", "A + -")
    assert outcome("A + -", problem=problem) is outcome("A - +", problem=problem) is Outcome.CORRECT


@pytest.mark.parametrize(
    ("content", "finish", "expected"),
    [
        ("A + + -", "stop", Outcome.CORRECT),
        ("A + + -", "length", Outcome.CORRECT),
        ("A + + - A + + -", "length", Outcome.CORRECT),
        ("A - - - A + + -", "stop", Outcome.CORRECT),
        ("A + + +", "stop", Outcome.INCORRECT),
        ("A + + - -", "stop", Outcome.INCORRECT),
        ("A + +", "stop", Outcome.INCORRECT),
        ("A + +", "length", Outcome.TRUNCATED),
        ("A + + T", "length", Outcome.INCORRECT),
        ("A", "stop", Outcome.NO_ANSWER),
        ("A", "length", Outcome.TRUNCATED),
        ("", "stop", Outcome.NO_ANSWER),
        ("", "length", Outcome.TRUNCATED),
        ("", "unknown", Outcome.NO_ANSWER),
        ("+ + -", "stop", Outcome.NO_ANSWER),
        ("A++-", "stop", Outcome.NO_ANSWER),
        ("8 + 4 12 A", "stop", Outcome.NO_ANSWER),
    ],
)
def test_outcomes(content: str, finish: str, expected: Outcome):
    assert outcome(content, finish=finish) is expected


def test_the_reasoning_is_not_read():
    trace = a_trace("", reasoning="A + + -")
    assert domain.verify(a_problem(), trace).outcome is Outcome.NO_ANSWER


@given(st.text(st.sampled_from(list("A+- xTok0\n\t\u2212\x00\ud800Q:")), max_size=60))
def test_no_answer_text_makes_the_verifier_raise(content: str):
    assert outcome(content) in Outcome


@pytest.mark.parametrize("content", ["A " * 200_000, "A" + " +" * 200_000, "+ " * 200_000, "A" * 1_000_000])
def test_huge_answers_are_judged_at_once(content: str):
    verdict = domain.verify(a_problem(), a_trace(content))
    assert verdict.outcome in (Outcome.NO_ANSWER, Outcome.INCORRECT)
    assert len(verdict.answer or "") < 50


def test_a_foreign_problem_is_an_error_and_not_a_wrong_answer():
    assert outcome("A + + -", problem=a_problem("What is 2 + 2?")) is Outcome.ERROR


def test_attempts_counts_verdicts():
    chain = domain.Chain((8, 4, 7, 9), 10)
    assert domain.attempts(a_trace("", reasoning=domain.long_trace(chain, 4)[0])) == 6
    assert domain.attempts(a_trace("", reasoning=domain.short_trace(chain, 4)[0])) == 1
    assert domain.attempts(a_trace("A + + -")) == 0
