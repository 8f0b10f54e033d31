import pytest

from mixdistill.verifiers.plain import ascii_signs, clean, normal, spelling


def test_normal_keeps_arrows_and_drops_spacing():
    assert normal(r"x \leftarrow \left(1,\! 2\right)") == r"x\leftarrow(1,2)"


def test_a_space_between_two_numbers_is_kept():
    assert normal("1 1/2") == "1 1/2" != normal("11/2")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\u22125", "-5"),
        ("\u06f1\u06f2", "12"),
        ("\u0e51\u0e58", "18"),
        ("x\u00b2", "x^{2}"),
        ("10\u00b9\u2070", "10^{10}"),
        ("\u00bd", r"\frac{1}{2}"),
        ("1\u202f234", "1 234"),
        ("5\u200b", "5"),
        ("\u4e94", "\u4e94"),
    ],
)
def test_other_scripts_signs_are_written_as_ascii(text, plain):
    assert ascii_signs(text) == plain


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        (r"\left( 1,\,2 \right)", "( 1,2 )"),
        (r"\text{18 eggs}", "18 eggs"),
        (r"\color{red}{18}", "18"),
        (r"$2 \sqrt{3}$ cm", r"2 \sqrt{3} cm"),
        (r"\text{Answer: }18", "18"),
        (r"a \\ b", r"a \\ b"),
        (r"\mathbb{R}", r"\mathbb{R}"),
    ],
)
def test_a_spelling_loses_wrappers_and_keeps_meaning(text, spelled):
    assert spelling(text) == spelled


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("$18$", "18"),
        (r"\$18", r"\$18"),
        (r"\(x\)", "x"),
        ("**5**.", "5"),
        ("$5 and $6", "$5 and $6"),
        ("5!", "5!"),
        ("$$x$$", "x"),
    ],
)
def test_clean_takes_off_wrappers_only(text, cleaned):
    assert clean(text) == cleaned
