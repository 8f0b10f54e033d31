"""What went wrong is said in one line, whole."""

from __future__ import annotations

import pytest

from mixdistill.errors import RecipeError, StageError, said


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such value"), "ValueError: no such value"),
        (StageError("train: too long; shorten it"), "train: too long; shorten it"),
        (StageError("64 of 64 requests failed; the first said: 500\n\n  try\tlater "),
         "64 of 64 requests failed; the first said: 500; try later"),
        (RecipeError(["one", "two"]), "one; two"),
        (RuntimeError("bell \a"), "RuntimeError: bell \\x07"),
        (RuntimeError(), "RuntimeError"),
        (StageError(), "StageError"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_that_lacks_none_of_its_lines(error: Exception, line: str):
    assert said(error) == line


def test_a_long_one_is_cut_and_shows_it():
    assert said(ValueError("x" * 50), 20) == "ValueError: xxxxx..."
    assert said(ValueError("x" * 8), 20) == "ValueError: " + "x" * 8
