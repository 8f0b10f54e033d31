"""What a teacher is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixdistill import prompts
from mixdistill.errors import RecipeError
from mixdistill.types import Message


def test_plain_is_the_problem_alone():
    assert prompts.apply(prompts.load("plain"), "1 + 1?") == "1 + 1?"


@pytest.mark.parametrize("name", sorted(prompts.shipped()))
def test_every_shipped_prompt_holds_the_problem_as_it_stands(name: str):
    asked = prompts.apply(prompts.load(name), "Is {x} {problem}?")
    assert isinstance(asked, str)
    assert "Is {x} {problem}?" in asked
    assert len(asked) > 20


def test_a_file_of_the_users_is_a_prompt(tmp_path: Path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xef\xbb\xbfSolve {problem} by {hand}.\n")
    assert prompts.apply(prompts.load(str(path)), "it") == "Solve it by {hand}.\n"


def test_in_a_conversation_the_last_turn_is_wrapped():
    turns = [Message(role="system", content="{problem}"), Message(role="user", content="it")]
    asked = prompts.apply("Solve {problem}.", turns)
    assert asked == [turns[0], Message(role="user", content="Solve it.")]


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"Solve it.", r"must contain \{problem\} \(got 'Solve it\.'\); add it"), (b"\xe9 {problem}", "not UTF-8 text")],
)
def test_a_file_that_is_no_prompt_is_refused(tmp_path: Path, data: bytes, why: str):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(RecipeError, match=why):
        prompts.load(str(tmp_path / "a.txt"))


def test_an_unknown_prompt_is_suggested():
    with pytest.raises(RecipeError, match=r"no prompt 'plian'; did you mean 'plain'\?"):
        prompts.load("plian")
