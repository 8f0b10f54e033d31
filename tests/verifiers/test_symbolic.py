import logging
import re
from pathlib import Path

import pytest

from mixdistill.verifiers import symbolic
from mixdistill.verifiers.equality import equal


def test_a_time_out_of_math_verify_is_raised_and_never_called_wrong(monkeypatch):
    import math_verify
    from math_verify.errors import TimeoutException

    def late(*args, **kwargs):
        assert kwargs["raise_on_error"]
        raise TimeoutException

    monkeypatch.setattr(math_verify, "verify", late)
    with pytest.raises(TimeoutError, match="within 5 s"):
        symbolic.same(r"\sqrt{2}", r"\sqrt{3}", 5)


def test_a_failure_on_one_reading_does_not_hide_a_match_on_another(monkeypatch):
    import math_verify

    def fails_first(gold, answer, **kwargs):
        if answer == "bad":
            raise TypeError("no")
        return True

    monkeypatch.setattr(symbolic, "_parse_gold", lambda text, timeout: ["x"])
    monkeypatch.setattr(symbolic, "_parse", lambda text, timeout: ["bad", "good"])
    monkeypatch.setattr(math_verify, "verify", fails_first)
    assert symbolic.same("a+b", "b+a", 5) is True


def test_references_are_parsed_once(monkeypatch):
    seen = []
    real = symbolic._parse
    monkeypatch.setattr(symbolic, "_parse", lambda text, timeout: seen.append(text) or real(text, timeout))
    symbolic._parse_gold.cache_clear()
    for answer in (r"\sqrt{3}", r"\sqrt{5}", r"\sqrt{6}"):
        symbolic.same(r"\sqrt{7}", answer, 5)
    assert seen.count(r"\sqrt{7}") == 1


def test_math_verify_logs_no_answers(caplog):
    with caplog.at_level(logging.DEBUG):
        symbolic.same(r"\sqrt{2}", r"\frac{", 5)
    assert not [r for r in caplog.records if r.name.startswith("math_verify")]


PAGE = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text()
RULES = re.findall(r"^\| `(.+?)` \| `(.+?)` \| (same|other) \| (same|other) \|", PAGE, re.MULTILINE)


def test_the_page_lists_rules():
    assert len(RULES) > 15


@pytest.mark.parametrize(("reference", "answer", "ours", "theirs"), RULES)
def test_math_and_math_verify_differ_as_the_page_says(reference, answer, ours, theirs):
    assert equal(reference, answer).right is (ours == "same")
    assert bool(symbolic.same(reference, answer, 5)) is (theirs == "same")
