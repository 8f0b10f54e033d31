"""As many whole problems as fit are packed into the page; what models wrote is no markup there, one script may run."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import re
import string
from dataclasses import replace

from mixdistill.evidence.shown import Shown
from mixdistill.page import browser, render
from study import example


def offered(*texts: str, problems: int | None = None) -> Shown:
    """What a page may hold: one problem a text."""
    lines = [json.dumps({"id": str(i), "text": text}, ensure_ascii=False) for i, text in enumerate(texts)]
    return Shown(
        students=["s"], arms=["long", "short"], benchmarks=["signs"], pair=("long", "short"),
        problems=problems or len(lines), traces=5_000, lines=lines,
    )  # fmt: skip


def unpacked(text: str) -> list[dict]:
    return [json.loads(line) for line in gzip.decompress(base64.b64decode(text)).decode().split("\n") if line]


def noise(count: int) -> str:
    """Characters that cannot be packed well."""
    return "".join(random.Random(count).choices(string.ascii_letters + string.digits, k=count))


def test_packed_problems_come_back_as_they_were_behind_what_they_share():
    shown = offered("a < b & c", "\u2028 \u202e עברית 🦊 \x00")
    packed = browser.pack(shown, 10_000)
    head, *problems = unpacked(packed.text)
    assert head == {
        "students": ["s"], "arms": ["long", "short"], "benchmarks": ["signs"], "pair": ["long", "short"], "words": {}
    }  # fmt: skip
    assert [p["text"] for p in problems] == ["a < b & c", "\u2028 \u202e עברית 🦊 \x00"] and packed.problems == 2


def test_arm_under_another_budget_is_named_in_words():
    shown = replace(offered("a"), arms=["long", "long@loss_tokens"], pair=("long@loss_tokens", "long"))
    assert unpacked(browser.pack(shown, 10_000).text)[0]["words"] == {"long@loss_tokens": "long (by loss tokens)"}
    assert "on which long (by loss tokens) and long disagree" in render.html(example(), shown)


def test_half_a_character_does_not_stop_the_page():
    assert unpacked(browser.pack(offered("a \udc80 b"), 10_000).text)[1]["text"] == "a ? b"


def test_no_more_is_packed_than_there_is_room_for():
    shown = offered(*[noise(1_000 + i) for i in range(50)])
    for room in (3_000, 10_000, 20_000):
        packed = browser.pack(shown, room)
        assert room - 2_000 < len(packed.text) <= room
        assert [p["id"] for p in unpacked(packed.text)[1:]] == [str(i) for i in range(packed.problems)]


def test_problem_that_is_too_large_makes_way_for_later_ones():
    packed = browser.pack(offered(noise(500), noise(9_000), noise(600)), 3_000)
    assert [p["id"] for p in unpacked(packed.text)[1:]] == ["0", "2"] and packed.problems == 2


def test_after_twenty_problems_in_a_row_that_do_not_fit_the_page_is_full():
    large = [noise(9_000)] * (browser.FAILURES - 1)
    assert browser.pack(offered(*large, "small"), 3_000).problems == 1
    assert browser.pack(offered(*large, noise(9_000), "small"), 3_000).problems == 0


def test_page_stays_under_its_limit_and_says_what_is_not_in_it():
    page = render.html(example(), offered(*[noise(50_000 + i) for i in range(200)], problems=1_234))
    here = len(unpacked(page.partition('id="traces-data">')[2].partition("<")[0])) - 1
    assert 3_900_000 < len(page.encode()) < 4_000_000 and 60 < here < 200
    assert f"{here} of 1,234 problems are here, those first on which long and short disagree" in page
    assert "all 5,000 answers are in <code>traces.parquet</code> beside this page" in page
    assert "All 2 problems are here" in render.html(example(), offered("a", "b"))


def test_hostile_traces_are_no_markup_in_the_file():
    page = render.html(example(), offered("</script><script>alert(1)</script><img src=x onerror=alert(1)>"))
    assert "alert(1)" not in page and "onerror" not in page
    assert len(re.findall("<script", page)) == len(re.findall("</script>", page)) == 2


def test_policy_lets_the_page_s_own_script_run_and_nothing_else():
    page = render.html(example(), offered("a"))
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'none'", "style-src": "'unsafe-inline'", "script-src": f"'sha256-{digest}'",
        "require-trusted-types-for": "'script'", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip


def test_script_makes_no_markup_of_text_and_asks_for_nothing():
    forbidden = (
        "innerHTML", "outerHTML", "insertAdjacent", "document.write", "DOMParser", "eval(", "Function(", "import(",
        "fetch(", "XMLHttp", "http:", "https:", 'setAttribute("on', ".src", ".href", "localStorage",
    )  # fmt: skip
    assert [word for word in forbidden if word in browser.script()] == []


def test_page_without_traces_has_no_browser_and_no_script():
    for page in (render.html(example()), render.html(example(), offered())):
        assert "<script" not in page and "script-src" not in page and "traces.parquet" not in page
