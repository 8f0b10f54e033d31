import pytest

from mixdistill.verifiers.shapes import Shape, read


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("(1, 2)", Shape("tuple", ("1", "2"), "()")),
        ("[0, 1)", Shape("tuple", ("0", "1"), "[)")),
        (r"\{1, 2, 2\}", Shape("set", ("1", "2"))),
        ("1, 2", Shape("list", ("1", "2"))),
        (r"1 \text{ or } 2", Shape("list", ("1", "2"))),
        ("1 < x \\le 2", Shape("tuple", ("1", "2"), "(]")),
        ("3 > x", Shape("tuple", ("-\\infty", "3"), "()")),
        (r"\pm 2", Shape("list", ("+ 2", "- 2"))),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", Shape("matrix", ("1", "2", "3", "4"), "2x2")),
        (r"x \in \emptyset", Shape("set", ())),
        ("((1, 2))", Shape("tuple", ("1", "2"), "()")),
        ("f(x, y) + 1", Shape("one", ("f(x, y) + 1",))),
    ],
)
def test_an_answer_is_taken_apart_at_its_outermost_separators(text, shape):
    assert read(text) == shape
