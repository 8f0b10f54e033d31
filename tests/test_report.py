"""The report is written in every form, from whatever is there, with the verdict first."""

import base64
import gzip
import json
import re
import shutil
from pathlib import Path

import polars
import pytest

import tiny
from mixdistill.evidence import looks, verdicts
from mixdistill.evidence.rows import Evidence
from mixdistill.page.tables import FORMS
from mixdistill.report import summary
from mixdistill.store import Store
from mixdistill.types import Gap
from study import changed, example

FILES = {
    "index.html",
    "report.md",
    "report.json",
    "gap.svg",
    "summary.txt",
    "gaps.parquet",
    "gaps_by_rule.parquet",
    "gaps_by_variant.parquet",
    "traces.parquet",
    "done.json",
    "figures",
    "tables",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def study(model):
    return tiny.study(model)


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory) -> Path:
    return tiny.run(study, tmp_path_factory.mktemp("run"))[0].root


@pytest.fixture
def store(finished, tmp_path) -> Store:
    return Store(Path(shutil.copytree(finished, tmp_path / "run")))


def _evidence(store: Store) -> Evidence:
    return Evidence.model_validate_json((store.root / "report" / "report.json").read_text())


def test_every_form_is_written(store):
    assert {p.name for p in (store.root / "report").iterdir()} == FILES
    assert all(p.stat().st_size for p in (store.root / "report").iterdir())


def test_every_chart_and_table_is_a_file_beside_the_page(store):
    report = store.root / "report"
    pictures = {p.name for p in (report / "figures").iterdir()}
    assert {f"{name}.{form}" for name in ("gap", "accuracy-t", "outcomes-t") for form in ("svg", "png")} <= pictures
    tables = {p.name for p in (report / "tables").iterdir()}
    assert {f"{name}.{form}" for name in ("gaps", "outcomes", "teachers") for form in FORMS} <= tables
    gaps = json.loads((report / "tables" / "gaps.json").read_text())["rows"]
    assert [row["gap"] for row in gaps] == [g.delta for g in _evidence(store).gaps]


def test_a_file_beside_the_page_that_is_there_already_is_neither_drawn_nor_written_again(store, monkeypatch):
    import vl_convert

    from mixdistill.page import files

    evidence, report = _evidence(store), store.root / "report"
    declared = [g for g in evidence.gaps if g.name == "long_cot_gap" and g.group == "all"]
    files.write(report, evidence, declared)
    written: list[str] = []
    monkeypatch.setattr(files, "write_atomically", lambda path, content: written.append(path.name))
    monkeypatch.setattr(vl_convert, "svg_to_png", lambda svg, scale: b"")
    files.write(report, evidence, declared)
    assert written == []
    (report / "figures" / "gap.png").unlink()
    (report / "figures" / "accuracy-t.svg").write_text("older")
    (report / "tables" / "gaps.md").write_text("older")
    files.write(report, evidence, declared)
    assert sorted(written) == ["accuracy-t.png", "accuracy-t.svg", "gap.png", "gap.svg", "gaps.md"]


def test_files_of_an_earlier_report_go_where_they_are_no_longer_made(store, study):
    stale = store.root / "report" / "figures" / "size-old.svg"
    stale.write_text("old")
    (store.root / "report" / "done.json").unlink()
    tiny.run(study, store.root, "report")
    assert not stale.exists()
    assert (store.root / "report" / "figures" / "gap.svg").exists()


def test_summary_says_what_to_do_next(store):
    text = (store.root / "report" / "summary.txt").read_text()
    (step,) = [line for line in text.splitlines() if line.startswith("next: ")]
    first, *_ = _evidence(store).details.next_steps
    assert first.startswith(step.removeprefix("next: ")[:60])


def test_page_needs_nothing_but_itself(store):
    page = (store.root / "report" / "index.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html")
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']+""", page)


def test_page_holds_the_traces_of_every_evaluation_that_counts_and_the_table_beside_it_all_of_them(store, study):
    (store.folder("evaluate", "t", "short", "1", "signs") / "done.json").unlink()
    tiny.run(study, store.root, "report")
    page = (store.root / "report" / "index.html").read_text()
    shared, *problems = map(json.loads, gzip.decompress(base64.b64decode(_packed(page))).splitlines())
    names = {"students": ["t"], "arms": ["base", "long", "short"], "benchmarks": ["signs"]}
    assert shared == {**names, "pair": ["long", "short"], "words": {}}
    assert len(problems) == 10 and "All 10 problems are here" in page and "all 40 answers are in" in page
    cells = [("base", None), ("long", 0), ("long", 1), ("short", 0)]
    assert all([(t["arm"], t["seed"]) for t in problem["traces"]] == cells for problem in problems)
    rows = polars.read_parquet(store.root / "report" / "traces.parquet")
    assert sorted(rows["content"].to_list()) == sorted(t.get("content", "") for p in problems for t in p["traces"])
    assert store.marker(store.root / "report")["tables"]["traces"]["rows"] == 40


def _packed(page: str) -> str:
    """The traces as they lie in a page."""
    return page.partition('id="traces-data">')[2].partition("<")[0]


def test_forms_agree_on_the_gaps(store):
    evidence = _evidence(store)
    table = polars.read_parquet(store.root / "report" / "gaps.parquet")
    assert table["name"].to_list() == [g.name for g in evidence.gaps]
    assert table["delta"].to_list() == [g.delta for g in evidence.gaps]
    assert store.read(store.root / "report", Gap, "gaps") == evidence.gaps
    assert store.read(store.root / "report", Gap, "gaps_by_rule") == evidence.gaps_by_rule


def test_summary_has_the_verdict_first_and_every_contrast(store):
    text = (store.root / "report" / "summary.txt").read_text()
    first = text.strip().splitlines()[0]
    assert first.startswith("On signs: ")
    assert "can't tell long from short for t" in first
    rows = [line for line in text.splitlines() if line.startswith("long_cot_gap")]
    assert len(rows) == 2
    assert [("*" in row, "8 tokens" in row) for row in rows] == [(True, False), (False, True)]
    assert "accuracy of t on signs, %: base " in text
    assert "% of the answers were cut before one was given; raise evaluate.sampling.max_tokens" in text


def test_summary_says_once_how_many_seeds_and_problems_and_which_contrasts_were_not_declared():
    gaps = example().gaps
    alike = summary(changed(gaps=[gaps[1], gaps[3]]))
    assert alike.endswith(
        "\nPoints of accuracy, 3 seeds, 500 problems; 95 % intervals. * the declared contrast; no star: exploratory.\n"
    )
    assert "\n  means over 3\N{EN DASH}5 seeds, 500 problems; intervals on the page\n" in alike
    other = " ".join(summary(changed(gaps=gaps)).split())
    assert "gap seeds these checkpoints" in other
    assert "Points of accuracy, 500 problems; 95 % intervals. * the declared contrast, of 2 students: Holm's p" in other
    undeclared = [gap.model_copy(update={"primary": False}) for gap in gaps]
    assert "Nothing was declared: exploratory." in summary(changed(gaps=undeclared, primary=None))
    assert "The declared contrast was not measured: exploratory." in summary(changed(gaps=undeclared))
    assert "Points of accuracy" not in summary(changed(gaps=[]))


def test_summary_names_missing_cells_and_red_confounds(store):
    evidence = _evidence(store)
    red = {"severity": "red", "text": "The arms had different weather.", "student": "t"}
    changed = Evidence.model_validate({**evidence.model_dump(), "confounds": [red], "missing": ["t/long/1: gone"]})
    text = summary(changed)
    assert "confound: t: The arms had different weather." in text
    assert "missing: t/long/1: gone" in text
    assert "Not a fair comparison" in " ".join(text.split())


def test_summary_says_what_requiring_every_teacher_leaves_where_that_is_less_than_all(store):
    evidence = _evidence(store)
    assert [s.problems for s in evidence.solved] == [24, 24, 24], "scripted teachers are always right"
    assert "teachers" not in summary(evidence)
    fewer = [s.model_copy(update={"problems": n}) for s, n in zip(evidence.solved, (24, 20, 17), strict=True)]
    text = summary(evidence.model_copy(update={"solved": fewer}))
    all_right = "100.0\N{NO-BREAK SPACE}%"
    assert (
        "\nRequiring both teachers leaves 17 of 24 problems. It cannot be told whether they are easier: of a teacher's "
        f"samples\n  {all_right} are right on what the others solved, {all_right} over all "
        "(+0.0 points, 95 % interval −16.5 to +16.5).\n"
    ) in text


def test_nothing_changed_writes_nothing(store, study):
    assert tiny.run(study, store.root)[1] == []


def test_planted_gap_reaches_every_form(store, study, monkeypatch):
    monkeypatch.setattr(verdicts, "FEWEST", 10)
    for cell, right in (("long/0", 10), ("long/1", 10), ("short/0", 0), ("short/1", 0)):
        tiny.plant(store, cell, right)
    (store.root / "report" / "done.json").unlink()
    tiny.run(study, store.root, "report")
    (gap,) = [g for g in _evidence(store).gaps if g.primary]
    assert (gap.delta, gap.verdict) == (1, "long helps")
    for name in ("summary.txt", "report.md", "index.html"):
        assert "long beats short for t" in (store.root / "report" / name).read_text()
    assert "+100.0" in (store.root / "report" / "summary.txt").read_text()


def test_every_report_on_other_scores_is_a_look_that_is_kept_and_paid_for(store, study, monkeypatch):
    monkeypatch.setattr(verdicts, "FEWEST", 10)
    told = []
    for right in (10, 10, 9):
        for cell, n in (("long/0", right), ("long/1", 10), ("short/0", 0), ("short/1", 0)):
            tiny.plant(store, cell, n)
        (store.root / "report" / "done.json").unlink()
        tiny.run(study, store.root, "report")
        (gap,) = [g for g in _evidence(store).gaps if g.primary]
        told.append((gap.look, gap.paid, gap.p_holm == pytest.approx(gap.paid * gap.p)))
    assert told == [(1, 1.25, True), (1, 1.25, True), (2, 5.0, True)]
    kept = looks.read(store)
    assert [(row.look, row.paid, row.student, row.seeds) for row in kept] == [(1, 1.25, "t", 2), (2, 5.0, "t", 2)]
    assert _evidence(store).details.looks == kept


def test_gap_that_the_strict_reading_turns_has_no_verdict_in_any_form(store, study, monkeypatch):
    monkeypatch.setattr(verdicts, "FEWEST", 10)
    for cell, right in (("long/0", 10), ("long/1", 10), ("short/0", 0), ("short/1", 0)):
        tiny.plant(store, cell, right)
        tiny.plant(store, cell, 10 - right, rule="strict")
    (store.root / "report" / "done.json").unlink()
    tiny.run(study, store.root, "report")
    (gap,) = [g for g in _evidence(store).gaps if g.primary]
    assert (gap.delta, gap.verdict) == (1, "can't tell (turns under strict)")
    for name in ("summary.txt", "report.md", "index.html"):
        text = (store.root / "report" / name).read_text()
        assert "can't tell long from short for t (+100.0 points, but \N{MINUS SIGN}100.0 under strict)" in text.replace(
            "&#39;", "'"
        )
        assert "Under strict the gap of t turns from +100.0 to \N{MINUS SIGN}100.0, so there is no verdict" in text
    lines = (store.root / "report" / "summary.txt").read_text().splitlines()
    rows = [" ".join(line.split()) for line in lines if line.startswith(("reading ", "strict ", "flexible "))]
    assert rows[0] == "reading student gap these checkpoints this data verdict"
    assert [(row.split()[:2], row.endswith(("short helps", "(turns under strict)"))) for row in rows[1:]] == [
        (["strict", "t"], True), (["flexible", "and"], True)
    ]  # fmt: skip
    assert "flexible and judge (counts) t +100.0" in rows[2]


def test_terminal_says_nothing_of_readings_where_all_are_alike(store):
    assert "\nreading" not in (store.root / "report" / "summary.txt").read_text()


def test_report_is_made_again_when_a_cell_goes_missing(store, study):
    (store.folder("evaluate", "t", "short", "1", "signs") / "done.json").unlink()
    _, ran = tiny.run(study, store.root, "report")
    assert ran == ["report"]
    assert _evidence(store).missing == ["t/short/1: not evaluated on signs; run the recipe again"]
    assert "missing: t/short/1: " in (store.root / "report" / "summary.txt").read_text()
    marker = json.loads((store.root / "report" / "done.json").read_text())
    assert marker["counts"]["missing"] == 1


@pytest.mark.parametrize("stage", ["problems", "generate/long", "mix/t/long/0", "train/t/long/0"])
def test_report_is_made_again_when_anything_below_the_run_folder_was(stage, store, study):
    folder = store.folder(*stage.split("/"))
    marker = store.marker(folder)
    assert marker is not None
    store.mark(folder, {**marker, "made": "again"})
    assert tiny.run(study, store.root, "report")[1] == ["report"]
    assert tiny.run(study, store.root, "report")[1] == []


def test_report_of_a_run_without_any_evaluation_says_so(study, tmp_path):
    store, _ = tiny.run(study, tmp_path, "generate", "verify", "report")
    text = (store.root / "report" / "summary.txt").read_text()
    first = text.strip().splitlines()[0]
    assert first.startswith(
        "No verdict: long_cot_gap on signs was not measured (4 of 4 trainings and evaluations of 1 cell"
    )


def test_failed_cell_does_not_block_the_report(model, tmp_path):
    """Every mix of one student is refused; the other student is reported."""
    students = {"t": {"model": model}, "u": {"model": model, "train": {"max_length": 20}}}
    study = tiny.study(model, students=students, seeds=1)
    failures = tiny.failures(study, tmp_path)
    assert any(f.startswith("mix/u/long/0: ") for f in failures)
    assert any(f.startswith("train/u/long/0: not run") for f in failures)
    evidence = _evidence(Store(tmp_path))
    assert sorted(evidence.missing) == [f"u/{arm}/0: not trained; run the recipe again" for arm in ("long", "short")]
    assert {g.student for g in evidence.gaps if g.name == "long_cot_gap"} == {"t"}
