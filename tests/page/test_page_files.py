"""The files beside the page: pictures for print, and every table in every form."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from mixdistill.page import contents, files, tables
from study import changed, example, full


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Path below the folder of the report -> content."""
    folder = tmp_path_factory.mktemp("report")
    files.write(folder, full(), full().gaps)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_chart_is_an_svg_and_a_png_of_twice_its_size(written: dict[str, bytes]) -> None:
    names = {name.removesuffix(".svg") for name in written if name.endswith(".svg")}
    assert names == {
        f"figures/{name}"
        for name in (
            "gap", "size-long_cot_gap", "size-mix_gain", "blend-s-long-short", "blend-m-long-short",
            "budget-s-signs-cut", "budget-s-signs-finished", "budget-s-signs-forced", "budget-s-signs-thinking",
            "outcomes-s", "outcomes-m", "accuracy-s", "accuracy-m", "parts-s-long_cot_gap", "parts-m-long_cot_gap",
        )
    }  # fmt: skip
    for name in names:
        png = written[f"{name}.png"]
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        width = ET.fromstring(written[f"{name}.svg"]).attrib["width"]
        assert int.from_bytes(png[16:20], "big") == files.SCALE * int(width)


def test_pictures_are_light_with_every_colour_written_out_and_ask_for_nothing(written: dict[str, bytes]) -> None:
    for name, content in written.items():
        if name.endswith(".svg"):
            text = content.decode()
            assert "var(" not in text and "prefers-color-scheme" not in text and "href" not in text
            assert "#0a62a9" in text or "outcomes" in name
            assert not re.findall(r"url\((?!#)", text)


def test_every_table_is_written_in_every_form(written: dict[str, bytes]) -> None:
    wanted = {f"tables/{name}.{form}" for name in contents.tables(full()) for form in tables.FORMS}
    assert {name for name in written if name.startswith("tables/")} == wanted
    assert {"csv", "json", "md", "tex"} == set(tables.FORMS)


def test_names_of_students_and_arms_cannot_leave_the_folder() -> None:
    students = [s.model_copy(update={"name": "../s x"}) for s in example().students[:1]]
    scores = [s.model_copy(update={"student": "../s x"}) for s in example().scores if s.student == "s"]
    found = files.svgs(changed(students=students, scores=scores, gaps=[], accuracies=[]), [])
    assert set(found) == {"outcomes-..-s-x"}


def test_a_study_without_gaps_has_no_picture_of_them() -> None:
    assert not any(name.startswith(("gap", "size")) for name in files.svgs(changed(gaps=[]), []))
