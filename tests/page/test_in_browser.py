"""The page in a real browser: quiet, quick, usable by keyboard and on a phone, and never run by what models wrote.

Takes a Chromium that is on the machine (CHROMIUM names another one). Without one these tests are skipped, unless
MIXDISTILL_BROWSER_REQUIRED=1 says that they must not be.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import made_answers
import pytest
from made_answers import HOSTILE, PROBLEMS
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from mixdistill.evidence import shown
from mixdistill.page import render
from mixdistill.types import Outcome
from study import full

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
NOTICE = 300
"""Milliseconds of waiting that a reader sees; on an idle machine it is a tenth of that."""
WATCH = """window.violations = [];
addEventListener("securitypolicyviolation", (e) => violations.push(`${e.violatedDirective} ${e.sourceFile}`));"""


def chromium() -> str | None:
    """A Chromium on this machine."""
    named = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    return next((path for name in named if name and (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        why = "no Chromium on this machine; install one or name it in CHROMIUM"
        (pytest.fail if os.environ.get("MIXDISTILL_BROWSER_REQUIRED") == "1" else pytest.skip)(why)
    # Its sandbox needs rights that a container or a root account often lacks; the pages are this module's own.
    options = {"executable_path": path, "args": ["--no-sandbox"]}
    with sync_playwright() as playwright, playwright.chromium.launch(**options) as started:
        yield started


@dataclass
class Opened:
    """A page, and everything it did that it should not."""

    page: Page
    file: Path
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def check(self) -> None:
        """It asked for nothing but itself, and neither the browser nor the policy complained."""
        assert self.requests == [self.file.as_uri()]
        assert self.complaints == []
        assert self.page.evaluate("[window.violations, window.hacked ?? null]") == [[], None]

    def text(self, where: str) -> list[str]:
        return self.page.locator(where).all_text_contents()

    def found(self) -> int:
        """Problems found, as the page says."""
        said = self.page.locator("#t-status").text_content() or ""
        return int(said.replace(",", "").split()[0]) if said != "No problem matches." else 0


Open = Callable[..., Opened]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a file in a context of its own; checks at the end that it kept quiet."""
    contexts, all_of_them = [], []

    def run(file: Path, *, ready: bool = True, before: str = "", **options: Any) -> Opened:
        context = browser.new_context(**{"viewport": DESK, **options})
        contexts.append(context)
        context.add_init_script(WATCH + before)
        page = context.new_page()
        found = Opened(page, file)
        all_of_them.append(found)
        page.on("request", lambda request: found.requests.append(request.url))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("console", lambda said: found.complaints.append(said.text) if said.type == "error" else None)
        page.goto(file.as_uri())
        if ready:
            expect(page.locator("#traces-browser")).to_be_visible()
            page.locator("#traces").scroll_into_view_if_needed()
        return found

    yield run
    for found in all_of_them:
        if found.page.evaluate("true"):
            found.check()
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return made_answers.page(tmp_path_factory.mktemp("study"), made_answers.study())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    return made_answers.page(tmp_path_factory.mktemp("hostile"), made_answers.hostile())


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return made_answers.page(tmp_path_factory.mktemp("many"), made_answers.many(), ("arm-0", "arm-1"))


def search(page: Page, text: str) -> None:
    page.locator("#t-search").fill(text)


def which(page: Page, side: str) -> Any:
    return page.locator(f"[data-which={side}]")


# -- nothing but text -------------------------------------------------------------------------------------------------


def test_page_asks_for_nothing_but_itself_and_nobody_complains(opened, study):
    found = opened(study)
    search(found.page, "zebra")
    found.page.locator("#t-student").select_option("m")
    which(found.page, "a").click()
    found.check()


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_shown_as_the_text_it_is(opened, hostile, kind):
    found, text = opened(hostile), HOSTILE[kind]
    page = found.page
    page.locator("#t-list button").nth(list(HOSTILE).index(kind)).click()
    assert found.text("#t-shown .asked") == found.text("#t-shown .wanted") == [text]
    assert found.text("#t-shown .reasoning") == found.text("#t-shown .content") == [text] * 3
    assert found.text("#t-shown .read-answer code") == [text] * 3 and found.text("#t-shown .failed") == [text]
    assert found.text("#t-shown .arm") == ["long", "short", HOSTILE["onerror"]]
    assert page.evaluate("document.querySelectorAll('img, iframe, object, embed, a[href^=java]').length") == 0
    assert page.evaluate("document.scripts.length") == 2
    assert page.evaluate("[...document.querySelectorAll('#traces *')].filter((e) => e.onerror || e.onload).length") == 0
    expect(page.locator("h1")).to_be_visible()


def test_hostile_text_stays_text_where_a_search_marks_it(opened, hostile):
    found = opened(hostile)
    search(found.page, "<img src=x onerror")
    assert found.found() == 1 and set(found.text("#t-shown mark")) == {"<img src=x onerror"}
    assert found.text("#t-shown .content") == [HOSTILE["onerror"]] * 3
    search(found.page, ".*+?^${}()|[]\\/")
    assert found.found() == 0


def test_text_from_right_to_left_runs_so_and_no_override_leaves_its_box(opened, hostile):
    page = opened(hostile).page
    page.locator("#t-list button").nth(list(HOSTILE).index("hebrew")).click()
    style = "getComputedStyle(document.querySelector('#t-shown .content'))"
    assert page.evaluate(f"{style}.direction") == "rtl"
    page.locator("#t-list button").nth(list(HOSTILE).index("override")).click()
    assert page.evaluate(f"{style}.direction") == "ltr"
    for where in (".text", ".arm", ".how", ".facts-of span", ".read-answer code"):
        kind = page.evaluate(f"getComputedStyle(document.querySelector('#t-shown {where}')).unicodeBidi")
        assert kind in ("isolate", "plaintext"), where


def test_of_a_text_over_the_limit_both_ends_are_shown_and_how_much_is_missing(opened, tmp_path):
    whole = "a" * shown.LONGEST + "b" * 1_234
    file = made_answers.page(tmp_path, [made_answers.trace(0, "long", 0, Outcome.CORRECT, content=whole)])
    found = opened(file)
    (text,) = found.text("#t-shown .content")
    note = "cut here, 1,234 more characters; whole in traces.parquet"
    half = shown.LONGEST // 2
    assert text == "a" * half + note + "a" * (half - 1_234) + "b" * 1_234


# -- finding ----------------------------------------------------------------------------------------------------------


def test_every_filter_finds_the_problems_it_names(opened, study):
    found = opened(study)
    page, of = found.page, made_answers.outcomes
    assert found.found() == PROBLEMS
    page.locator("#t-benchmark").select_option("amc")
    assert found.found() == 30
    page.locator("#t-level").select_option("10")
    assert found.found() == 10
    page.get_by_role("button", name="clear filters").click()
    assert found.found() == PROBLEMS
    page.locator("#t-subject").select_option("Algebra")
    assert found.found() == 60 and "Algebra" in found.text("#t-shown .facts-of span")
    page.get_by_role("button", name="clear filters").click()
    for arm, outcome in (("", "truncated"), ("mix-20", "correct"), ("short", "truncated"), ("base", "incorrect")):
        page.locator("#t-arm").select_option(arm)
        page.locator("#t-outcome").select_option(outcome)
        rows = [[o for a, row in of(i).items() if arm in ("", a) for o in row] for i in range(PROBLEMS)]
        assert found.found() == sum(outcome in row for row in rows), (arm, outcome)
    assert [page.locator(f"#t-{n} option").all_text_contents() for n in ("benchmark", "level", "student")] == [
        ["any", "amc", "signs"], ["any", "1", "2", "10"], ["s", "m"]
    ]  # fmt: skip


def test_search_looks_into_problems_and_into_the_answers_of_the_student_that_is_shown(opened, study):
    found = opened(study)
    search(found.page, "What is 77?")
    assert found.found() == 1 and found.text("#t-shown .asked mark") == ["What is 77?"]
    search(found.page, "  zebra ")
    assert found.found() == 1 and found.text("#t-shown .asked") == ["What is 77?"]
    found.page.locator("#t-student").select_option("m")
    assert found.found() == 1 and found.text("#t-shown .asked") == ["What is 5?"]
    found.page.locator("#t-arm").select_option("short")
    assert found.found() == 0 and not found.page.locator("#t-problem").is_visible()
    expect(found.page.locator("#t-status")).to_have_text("No problem matches.")


def test_what_was_searched_for_is_unfolded_marked_and_of_the_seed_that_has_it(opened, study):
    found = opened(study)
    search(found.page, "zebra")
    card = found.page.locator(".card").filter(has_text="ZEBRA")
    assert card.locator(".arm").text_content() == "short"
    assert card.locator("[aria-pressed=true]").get_attribute("aria-label") == "seed 1: no answer found"
    expect(card.locator("mark")).to_be_visible()
    assert found.text("mark") == ["ZEBRA"]


def test_where_two_arms_disagree_is_counted_and_found_in_both_directions(opened, study):
    found = opened(study)
    page = found.page
    assert [which(page, side).text_content() for side in ("all", "a", "b", "same")] == [
        "all 120", "long more often right 40", "short more often right 20", "equally often 60"
    ]  # fmt: skip
    which(page, "a").click()
    assert found.found() == 40
    cards = page.locator(".card")
    assert [cards.nth(i).locator(".outcome-word b").text_content() for i in (0, 1)] == ["correct", "no answer found"]
    which(page, "b").click()
    assert found.found() == 20
    assert [cards.nth(i).locator(".outcome-word b").text_content() for i in (0, 1)][1] == "correct"
    page.locator("#t-swap").click()
    assert which(page, "a").text_content() == "short more often right 20"
    assert found.found() == 40, "B is long now"
    page.locator("#t-a").select_option("mix-20")
    which(page, "a").click()
    ahead = [i for i in range(PROBLEMS) if i % 5 == 0 and i % 2]
    assert found.found() == len(ahead)


def test_filters_and_disagreement_count_together(opened, study):
    found = opened(study)
    found.page.locator("#t-benchmark").select_option("signs")
    wanted = [i for i in range(PROBLEMS) if i % 4 and i % 2 == 0 and i % 3]
    assert which(found.page, "a").text_content() == f"long more often right {len(wanted)}"
    which(found.page, "a").click()
    assert found.found() == len(wanted)
    assert f"What is {wanted[0]}?" in found.text("#t-list button")[0]


def test_problems_on_which_the_two_arms_are_furthest_apart_are_listed_first(opened, study):
    found = opened(study)
    found.page.locator("#t-a").select_option("mix-20")
    found.page.locator("#t-b").select_option("base")
    shares = [re.findall(r"mix-20 (\d)/2", text)[0] for text in found.text("#t-list button")]
    assert shares == ["1"] * 24 + ["0"] * 26


def test_arm_of_the_other_side_changes_sides_with_the_one_it_is_put_in_the_place_of(opened, study):
    page = opened(study).page
    page.locator("#t-a").select_option("short")
    assert (page.locator("#t-a").input_value(), page.locator("#t-b").input_value()) == ("short", "long")
    page.locator("#t-b").select_option("short")
    assert (page.locator("#t-a").input_value(), page.locator("#t-b").input_value()) == ("long", "short")


def test_another_seed_is_shown_of_every_arm(opened, study):
    found = opened(study)
    search(found.page, "What is 0?")
    chips = found.page.get_by_role("group", name="Answers of mix-20").get_by_role("button")
    assert [chips.nth(i).get_attribute("aria-label") for i in (0, 1)] == ["seed 0: correct", "seed 1: incorrect"]
    chips.nth(1).click()
    pressed = found.page.locator(".chips [aria-pressed=true]")
    assert [name[:6] for name in pressed.evaluate_all("all => all.map((e) => e.getAttribute('aria-label'))")] == [
        "seed 1"
    ] * 3
    assert found.page.evaluate("document.activeElement.getAttribute('aria-label')") == "seed 1: incorrect"
    assert found.text(".card .arm") == ["long", "short", "base", "mix-20"]


def test_a_card_says_verdict_answer_length_and_end(opened, study):
    found = opened(study)
    search(found.page, "What is 7?")
    card = found.page.locator(".card").first
    assert card.locator(".judged p").all_text_contents() == [
        "…cut before an answer", "answer read: 7", "1,234 tokens, ended by itself", "rule: boxed"
    ]  # fmt: skip
    assert card.locator("summary").text_content() == "Reasoning, 18 characters"
    expect(card.locator(".reasoning")).to_be_hidden()


# -- ten thousand traces ----------------------------------------------------------------------------------------------

TIMED = """async ([kind, values]) => {
  const settled = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const times = [];
  for (const value of values) {
    const control = document.getElementById(`t-${kind}`), start = performance.now();
    control.value = value;
    control.dispatchEvent(new Event(kind === "search" ? "input" : "change"));
    document.body.getBoundingClientRect();
    times.push(performance.now() - start);
    await settled();
  }
  return times;
}"""


def test_ten_thousand_traces_are_searched_and_filtered_without_a_wait_that_is_seen(opened, many):
    assert many.stat().st_size < 4_000_000
    found = opened(many)
    assert found.found() == 1_250
    assert found.page.evaluate("document.querySelectorAll('#t-list li').length") == 50, "a page of the list"
    typed = ["s", "so", "so:", "so: 1", "so: 12", "so: 124", "so: 1249", "not there at all", "e", ""]
    for kind, values in (
        ("search", typed),
        ("outcome", ["correct", "incorrect", "correct", ""]),
        ("arm", ["arm-3", "arm-7", "arm-1", ""]),
        ("a", ["arm-5", "arm-6", "arm-7"]),
    ):
        times = found.page.evaluate(TIMED, [kind, values])
        assert statistics.median(times) < NOTICE, (kind, times)
    assert found.found() == 1_250


# -- keyboard, phone, themes, print -----------------------------------------------------------------------------------


def test_keys_move_through_problems_search_and_clear(opened, study):
    found = opened(study)
    page = found.page
    title = page.locator("#t-title")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(title).to_have_text("Problem 3 of 120")
    page.keyboard.press("k")
    expect(title).to_have_text("Problem 2 of 120")
    page.keyboard.press("/")
    page.keyboard.type("jk7")
    assert page.locator("#t-search").input_value() == "jk7", "a letter that is typed is no command"
    page.keyboard.press("Escape")
    assert page.locator("#t-search").input_value() == "" and found.found() == 120


def test_list_is_one_stop_of_the_tab_key_and_arrows_move_in_it(opened, study):
    page = opened(study).page
    assert page.evaluate("document.querySelectorAll('#t-list [tabindex=\"0\"]').length") == 1
    page.locator("#t-list [aria-current]").focus()
    for _ in range(50):
        page.keyboard.press("ArrowDown")
    expect(page.locator("#t-title")).to_have_text("Problem 51 of 120")
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    expect(page.locator("#t-range")).to_have_text("51–100 of 120")
    page.keyboard.press("PageUp")
    expect(page.locator("#t-range")).to_have_text("1–50 of 120")


def test_focus_can_be_seen_on_every_control(opened, study):
    page = opened(study).page
    page.locator("#t-search").focus()
    for _ in range(25):
        page.keyboard.press("Tab")
        style = page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth] })()"
        )
        assert style == ["solid", "2px"], page.evaluate("document.activeElement.outerHTML.slice(0, 200)")


def test_keys_do_nothing_while_the_browser_is_not_on_the_screen(opened, study):
    page = opened(study).page
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator("#traces-browser")).not_to_be_in_viewport()
    page.keyboard.press("j")
    expect(page.locator("#t-title")).to_have_text("Problem 1 of 120")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK, {"width": 1900, "height": 1000}], ids=["phone", "desk", "wide"])
def test_nothing_on_the_page_makes_it_scroll_sideways(opened, hostile, scheme, viewport):
    page = opened(hostile, viewport=viewport, color_scheme=scheme).page
    for kind in ("handler", "long", "latex"):
        page.locator("#t-list button").nth(list(HOSTILE).index(kind)).click()
        page.locator("#t-shown details").evaluate_all("all => all.forEach((e) => (e.open = true))")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_told_from_what_is_behind_it(opened, study, scheme, viewport):
    found = opened(study, color_scheme=scheme, viewport=viewport)
    for query in ("zebra", "7"):
        search(found.page, query)
        faint = found.page.evaluate(CONTRAST)
        assert faint == []
    dark = found.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


CONTRAST = """() => {
  const parsed = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const curve = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * curve(r / 255) + 0.7152 * curve(g / 255) + 0.0722 * curve(b / 255);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = parsed(getComputedStyle(e).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    return [255, 255, 255, 1];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
    if (!own || e.closest("svg, script, option, :disabled") || !e.checkVisibility()) continue;
    const [a, b] = [light(parsed(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)} ${e.textContent.slice(0, 40)}`);
  }
  return [...new Set(found)];
}"""


def test_on_a_phone_the_list_stands_above_the_problem_and_the_cards_below_each_other(opened, study):
    page = opened(study, viewport=PHONE).page
    boxes = page.evaluate(
        "[...document.querySelectorAll('#t-list, #t-problem, .card')].map((e) => e.getBoundingClientRect().toJSON())"
    )
    listed, problem, *cards = boxes
    assert listed["bottom"] <= problem["top"]
    assert all(a["bottom"] <= b["top"] for a, b in pairwise(cards))
    assert all(box["left"] >= 0 and box["right"] <= PHONE["width"] for box in boxes)


def test_print_has_the_problem_that_is_shown_and_no_controls(opened, study):
    page = opened(study).page
    page.emulate_media(media="print")
    for where in ("#traces form", "#traces nav", ".found", ".step"):
        expect(page.locator(where)).to_be_hidden()
    expect(page.locator("#t-title")).to_be_visible()
    expect(page.locator(".card").first).to_be_visible()


# -- tables and charts that can be read at every width ----------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A page with long names, large numbers, many columns, and one seed under charts side by side."""
    evidence = full()
    published = [
        row.model_copy(update={"label": "long_cot_gap of qwen2.5-math-1.5b-instruct, mean over benchmarks"})
        for row in evidence.details.published
    ]
    tables = [
        table.model_copy(
            update={
                "rows": [
                    row.model_copy(update={"values": dict.fromkeys(row.values, text), "state": "note"})
                    for row, text in zip(table.rows, (RANGE, "1.5e-05"), strict=True)
                ]
            }
        )
        for table in evidence.confound_tables
    ]
    gaps = [gap.model_copy(update={"data": None, "seeds": 1, "seed_deltas": [gap.delta]}) for gap in evidence.gaps]
    details = evidence.details.model_copy(update={"published": published})
    update = {"details": details, "confound_tables": tables, "gaps": gaps, "primary": None}
    file = tmp_path_factory.mktemp("wide") / "index.html"
    file.write_text(render.html(evidence.model_copy(update=update)), "utf-8")
    return file


RANGE = "1,925,188 to 1,926,428 (sd 18.5 to 19.3)"
WIDTHS = [390, 776, 1024, 1280]
UNFOLDED = "document.querySelectorAll('details').forEach((e) => (e.open = true))"
BROKEN = """() => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = walker.nextNode()); ) {
    if (!text.parentElement.closest("td")?.checkVisibility()) continue;
    for (const number of text.data.matchAll(/[+\u2212]?\\d[\\d.,]*(e-\\d+)?/g)) {
      const range = document.createRange();
      range.setStart(text, number.index);
      range.setEnd(text, number.index + number[0].length);
      if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) found.push(number[0]);
    }
  }
  return found;
}"""
"""Numbers in cells that run over more than one line."""
HELD = """[...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth).map(
  (e) => [e.ariaLabel, e.querySelector("tbody th").offsetWidth / e.clientWidth]
)"""
"""Of every table that scrolls: the share of what is seen that the column takes which stays in place."""
SPILLED = """[...document.querySelectorAll(".row .value, .row .label")].filter(
  (e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1
).map((e) => e.innerText)"""


@pytest.mark.parametrize("width", WIDTHS[:3])
def test_column_that_stays_in_place_leaves_half_of_the_view_to_the_others(opened, wide, width):
    page = opened(wide, ready=False, viewport={"width": width, "height": 900}).page
    page.evaluate(UNFOLDED)
    held = dict(page.evaluate(HELD))
    assert [(name, share) for name, share in held.items() if share > 0.5] == []
    assert len(held) > 3


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_in_a_table_is_broken_over_lines(opened, wide, width):
    page = opened(wide, ready=False, viewport={"width": width, "height": 900}).page
    page.evaluate(UNFOLDED)
    assert page.evaluate(BROKEN) == []


def test_on_paper_no_number_is_broken_and_no_table_is_wider_than_the_sheet(opened, wide):
    sheet = 718  # A4 without its margins
    page = opened(wide, ready=False, viewport={"width": sheet, "height": 1000}).page
    page.evaluate(UNFOLDED)
    page.emulate_media(media="print")
    assert page.evaluate(BROKEN) == []
    assert page.evaluate("Math.max(...[...document.querySelectorAll('table')].map((e) => e.scrollWidth))") <= sheet
    assert page.evaluate("document.documentElement.scrollWidth") == sheet


@pytest.mark.parametrize("width", WIDTHS)
def test_words_beside_a_chart_stay_beside_it_where_there_is_one_seed(opened, wide, width):
    page = opened(wide, ready=False, viewport={"width": width, "height": 900}).page
    assert page.locator(".row .value", has_text="one seed: not available").count() == 8
    assert page.evaluate(SPILLED) == []


# -- for those who cannot see it, or cannot run it --------------------------------------------------------------------


def test_everything_that_can_be_used_has_a_name_and_headings_are_in_order(opened, study):
    page = opened(study).page
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "searchbox", "textbox", "combobox", "link", "region", "form", "search", "navigation", "article",
             "image", "table", "DisclosureTriangle"}  # fmt: skip
    used = [n for n in tree if not n["ignored"] and n["role"]["value"] in roles]
    nameless = [(n["role"]["value"], n.get("properties")) for n in used if not n.get("name", {}).get("value")]
    assert nameless == [] and len(used) > 80
    assert page.locator("[role=group]:not([aria-label]), fieldset:not(:has(legend)), summary:empty").count() == 0
    levels = page.locator("h1, h2, h3, h4, h5, h6").evaluate_all(
        "all => all.filter((e) => e.checkVisibility()).map((e) => +e.tagName[1])"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_what_is_found_and_shown_is_announced(opened, study):
    page = opened(study).page
    status = page.get_by_role("status")
    assert status.text_content() == "120 of 120 problems found, problem 1 is shown"
    page.keyboard.press("j")
    assert status.text_content() == "120 of 120 problems found, problem 2 is shown"


def test_without_scripts_the_page_says_where_the_answers_are(browser, study):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(study.as_uri())
    expect(page.locator("#traces .lede")).to_contain_text("all 1,680 answers are in traces.parquet beside this page")
    expect(page.get_by_text("To read them here, allow this page its script")).to_be_visible()
    expect(page.locator("#traces-browser")).to_be_hidden()
    context.close()


def test_browser_that_cannot_unpack_says_so(opened, study):
    page = opened(study, ready=False, before="delete window.DecompressionStream;").page
    why = "The answers in this page cannot be unpacked (this browser is too old for it). "
    expect(page.get_by_role("status")).to_have_text(f"{why}They are in traces.parquet beside it.")


def test_page_that_was_damaged_says_so(opened, study, tmp_path):
    damaged = tmp_path / "index.html"
    text = study.read_text("utf-8")
    start = text.index('id="traces-data">') + 4_000
    damaged.write_text(text[:start] + "AAAA" + text[start + 4 :], "utf-8")
    page = opened(damaged, ready=False).page
    expect(page.get_by_role("status")).to_contain_text("cannot be unpacked")
    expect(page.locator("#traces-browser")).to_be_hidden()


def test_policy_stops_whatever_script_gets_into_the_page_after_all(browser, study, tmp_path):
    broken = tmp_path / "index.html"
    text = study.read_text("utf-8").replace(
        "</main>", "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'></main>"
    )
    broken.write_text(text, "utf-8")
    page = browser.new_page()
    page.goto(broken.as_uri())
    expect(page.locator("#traces-browser")).to_be_visible()
    assert page.evaluate("window.hacked ?? null") is None
    with pytest.raises(Error, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>x</b>'")
    page.close()
