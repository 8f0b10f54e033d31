"""What differed between arms: the count, the red rows first, everything that was compared, and the alarms."""

from __future__ import annotations

import re

import pytest

from mixdistill.evidence.rows import Confound, ConfoundRow, ConfoundTable
from mixdistill.page import differences, render
from study import changed, example


def _confound(severity: str, field: str = "", student: str = "s", **values: str) -> Confound:
    return Confound.model_validate(
        {"severity": severity, "field": field, "text": f"About {field}.", "student": student, "values": values}
    )


@pytest.mark.parametrize(
    ("confounds", "said"),
    [
        ([], "none: the arms differ in nothing that was recorded"),
        ([_confound("note", "updates")], "none red, 1 follows from the data (updates)"),
        (
            [_confound("note", "updates"), _confound("note", "updates", "m"), _confound("note", "loss tokens")],
            "none red, 2 follow from the data (updates, loss tokens)",
        ),
        ([_confound("red", "packing"), _confound("red", "packing", "m")], "1 red"),
        ([_confound("red", "packing"), _confound("note", "updates")], "1 red, 1 follows from the data (updates)"),
        ([_confound("note", "template: seam"), _confound("note")], "none red, 2 other notes"),
        ([_confound("note", "undertrained", long="6 updates")], "none: the arms differ in nothing that was recorded"),
    ],
)
def test_count_names_what_follows_from_the_data_once_for_all_students(confounds, said) -> None:
    assert differences.confounds_count(changed(confounds=confounds)) == said
    assert f"Confounds: {said}." in render.html(changed(confounds=confounds))
    assert f"Confounds: {said}." in render.markdown(changed(confounds=confounds))


def test_every_row_of_every_table_is_on_the_page_and_in_the_markdown() -> None:
    page, text = render.html(example()), render.markdown(example())
    rows = re.findall(r'<tr class="(red|note|same)', page)
    assert rows == ["red", "note", "note", "same"], "the table with a red row comes first"
    assert '<th scope="row">▲ updates</th><td>560</td><td>625</td><td>625</td>' in page
    assert '<th scope="row">updates</th><td class="words all" colspan="3">625</td>' in page
    assert "| ▲ updates | 560 | 625 | 625 | The arms took different numbers of updates. |" in text
    assert "| updates | 625 | 625 | 625 | same |" in text


def test_table_is_open_where_something_is_red_and_the_first_in_any_case() -> None:
    tables = [ConfoundTable(student=s, variant="", arms=["long", "short"], rows=[]) for s in "abc"]
    red = ConfoundRow(name="packing", state="red", why="Because.", values={"long": "yes", "short": "no"})
    tables[2] = tables[2].model_copy(update={"rows": [red]})
    page = render.html(changed(confound_tables=tables))
    part = page[page.index('id="differed"') :]
    opened = re.findall(r"<details( open)?><summary><b>([abc])</b>", part)
    assert opened == [(" open", "c"), ("", "a"), ("", "b")]


def test_notes_of_a_table_are_not_told_twice_and_others_are() -> None:
    notes = [_confound("note", "loss tokens"), _confound("note"), _confound("red", "updates")]
    assert differences.findings(changed(confounds=notes)) == [notes[2], notes[1]]


def test_alarms_of_the_same_kind_stand_together_red_ones_first() -> None:
    text = "Undertrained: arms may differ."
    note = [_confound("note", "undertrained", "m", **{arm: "6 updates"}) for arm in ("long", "short", "mix-20")]
    note += [_confound("note", "undertrained", "s", **{"long@loss_tokens": "9 updates, no warm-up"})]
    note += [_confound("note", "undertrained", "s", short="8 updates")]
    note = [c.model_copy(update={"text": text}) for c in note]
    red = _confound("red", "undertrained", "s", short="5 updates")
    evidence = changed(confounds=[*note, red])
    assert [(a.severity, a.text, a.who) for a in differences.alarms(evidence)] == [
        ("red", "About undertrained.", "s: short, 5 updates"),
        ("note", "Arms may differ.",
         "m: every arm, 6 updates. s: long (by loss tokens), 9 updates, no warm-up; short, 8 updates"),
    ]  # fmt: skip
    assert "▲ Undertrained" in render.html(evidence) and "▲ Undertrained" in render.markdown(evidence)


def test_red_alarm_makes_the_comparison_unfair_and_a_note_does_not() -> None:
    alarm = {"field": "undertrained", "student": "m", "text": "x", "values": {"long": "6 updates"}}
    for severity, unfair in (("red", True), ("note", False)):
        evidence = changed(confounds=[Confound.model_validate({"severity": severity, **alarm})])
        assert render.headline(evidence).endswith("more than their data.") is unfair
