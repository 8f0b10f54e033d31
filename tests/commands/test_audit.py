"""`audit` draws a blinded, nested sample, loses no mark, and says what the verifier's error adds to every gap."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import pty
import shutil
import subprocess
import sys
import termios
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import planted
import tiny
from mixdistill import cli
from mixdistill.commands import audit, audit_text, sheets
from mixdistill.errors import DataError, StoreError
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Problem, Trace

RIGHT, WRONG = Outcome.CORRECT, Outcome.INCORRECT
SIGNS = 60


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Answers of student arm long are right for 3 in 4 problems, and the verifier misses every sixth of them; those of
    arm short and of the untuned student are judged rightly."""
    raw = {
        "name": "tiny",
        "problems": {"train": {"source": "lab:signs"}, "eval": {"signs": {"source": "lab:signs", "split": "eval"}}},
        "teachers": {n: {"backend": "scripted", "model": n} for n in ("long", "short")},
        "verify": {"verifier": "math"},
        "students": {"s": {"model": "lab:s"}},
        "arms": {"long": {"long": 1}, "short": {"short": 1}},
        "contrasts": {"long_cot_gap": ["long", "short"]},
        "seeds": 2,
    }
    train, signs = planted.problems(30), planted.problems(SIGNS, 1000)
    store = planted.run(tmp_path_factory.mktemp("runs") / "run", raw, {"train": train, "signs": signs})

    def judged(right: int, of: int, missed: int | None = None) -> dict[str, Any]:
        def answer(i: int) -> str:
            return f"so it is {1000 + i if i % of < right else -1}"

        def says(i: int) -> planted.Says:
            return {"math": RIGHT if i % of < right and (missed is None or i % missed) else WRONG}

        return {"says": says, "answer": answer}

    planted.fill(store, "teacher/long", train, lambda i: {"math": RIGHT if i % 3 else WRONG})
    planted.fill(store, "student/s/base", signs, **judged(1, 2))
    for seed in "01":
        planted.fill(store, f"student/s/long/{seed}", signs, **judged(3, 4, missed=6))
        planted.fill(store, f"student/s/short/{seed}", signs, **judged(2, 3))
    return store.root


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(finished, tmp_path / "run")))


def sheet(run: Store) -> Path:
    return run.root / "audit" / "sheet.csv"


def rows(run: Store) -> list[dict[str, str]]:
    with open(sheet(run), encoding="utf-8-sig", newline="") as f:
        return list(csv.DictReader(f))


def key(run: Store) -> dict[str, audit.Drawn]:
    return {d.id: d for d in run.read(run.folder("audit"), audit.Drawn, "key")}


def fill(run: Store, most: int | None = None) -> None:
    """Mark as one would who reads: an answer is right where it ends in the reference."""
    cells = rows(run)
    for row in cells[:most]:
        row["mark"] = "c" if row["answer"].endswith(f" {row['reference']}") else "i"
    sheets.write(sheet(run), cells)


def test_of_every_arm_half_of_the_sample_was_accepted_and_half_was_not(run: Store):
    assert audit.draw(run, per_arm=20) == 80
    drawn = Counter((d.arm, d.accepted) for d in key(run).values())
    assert drawn == {
        ("teacher/long", True): 10,
        ("teacher/long", False): 10,
        **{(f"student/s/{arm}", which): 10 for arm in ("base", "long", "short") for which in (True, False)},
    }
    assert {d.benchmark for d in key(run).values() if d.arm.startswith("student")} == {"signs"}


def test_the_sheet_says_nothing_of_whose_a_trace_is_and_how_it_was_judged(run: Store):
    audit.draw(run, per_arm=20)
    text = sheet(run).read_text(encoding="utf-8-sig")
    assert text.splitlines()[0] == "id,problem,reference,answer,mark,note"
    ids = {d.trace_id for d in key(run).values()}
    for word in (*ids, "teacher", "student", "short", "correct", "math", "accepted"):
        assert word not in text, word
    arms = [key(run)[row["id"]].arm for row in rows(run)]
    changes = sum(a != b for a, b in itertools.pairwise(arms))
    assert changes > len(arms) / 2, "arms come mixed"
    assert all(row["problem"] == f"What is {row['reference']}?" for row in rows(run))


def test_a_larger_sample_holds_the_smaller_one_and_keeps_its_marks_notes_and_columns(run: Store):
    audit.draw(run, per_arm=8)
    fill(run)
    cells = rows(run)
    for row in cells:
        row["note"], row["mine"] = "seen", "x"
    sheets.write(sheet(run), cells)
    small = key(run)
    assert audit.draw(run, per_arm=20) == 80 - 32
    assert rows(run)[:32] == cells
    assert {r["mark"] for r in rows(run)[32:]} == {""}
    assert set(small) < set(key(run))
    assert all(d.rate < key(run)[i].rate for i, d in small.items() if d.rate < 1)
    assert audit.draw(run) == 0, "as it was drawn last"
    assert audit.draw(run, per_arm=8) == 0
    assert len(rows(run)) == 80


def test_the_same_seed_draws_the_same_and_another_one_other_traces(run: Store, finished: Path, tmp_path: Path):
    other, third = (Store(Path(shutil.copytree(finished, tmp_path / name))) for name in ("b", "c"))
    for store, seed in ((run, 0), (other, 0), (third, 1)):
        audit.draw(store, per_arm=8, seed=seed)
    assert key(run) == key(other)
    same = {d.trace_id for d in key(run).values()} & {d.trace_id for d in key(third).values()}
    assert len(same) < 20
    with pytest.raises(StoreError) as e:
        audit.draw(third, seed=0)
    assert str(e.value) == (
        f"{third.root}/audit: drawn with seed 1 (got 0); leave --seed out, or move that folder away to begin anew"
    )


def test_all_of_a_small_arm_is_drawn_and_its_error_known(run: Store):
    audit.draw(run, per_arm=2 * SIGNS)
    fill(run)
    report = audit.report(run)
    found = {a.arm: a.found for a in report.arms}
    long = found["student/s/long"]
    right, missed = 90, sum(i % 4 < 3 and i % 6 == 0 for i in range(SIGNS)) * 2
    assert long.verifier == pytest.approx((right - missed) / 120)
    assert long.person.value == pytest.approx(right / 120)
    assert long.person.interval.low == pytest.approx(long.person.interval.high)
    assert (long.false_rejects.wrong, long.false_rejects.marked) == (missed, 30 + missed)
    assert found["student/s/short"].error.value == 0
    (gap,) = [g.found for g in report.gaps if g.contrast == "long_cot_gap"]
    assert gap.error.value == pytest.approx(-missed / 120)
    assert gap.person.value == pytest.approx(90 / 120 - 80 / 120)
    assert (report.marked, report.drawn, report.void, report.undrawn) == (330, 330, 0, 0)


def test_every_contrast_and_every_arm_against_the_untuned_student_has_its_line(run: Store):
    audit.draw(run, per_arm=20)
    fill(run)
    assert [(g.contrast, g.arms) for g in audit.report(run).gaps] == [
        ("long_cot_gap", ("long", "short")),
        ("long_over_base", ("long", "base")),
        ("short_over_base", ("short", "base")),
    ]


def test_the_decision_that_counts_is_that_of_now(run: Store):
    audit.draw(run, per_arm=20)
    fill(run)
    before = {a.arm: a.found for a in audit.report(run).arms}["student/s/long"]
    assert before.false_rejects.wrong > 0
    for seed in "01":  # another version of the verifier, that misses none
        folder = run.folder("evaluate", "s", "long", seed, "signs")
        texts = {t.id: t for t in run.read(folder, Trace, "traces")}
        right = {i for i, t in texts.items() if not t.content.endswith("-1")}
        readings = ("outcome", "strict", "flexible", "judge")
        now = [Decision(trace_id=i, **dict.fromkeys(readings, RIGHT if i in right else WRONG)) for i in texts]
        run.seal(folder, Decision, now, "decisions")
    report = audit.report(run)
    after = {a.arm: a.found for a in report.arms}["student/s/long"]
    assert (after.verifier, after.false_rejects.wrong, after.false_accepts.wrong) == (0.75, 0, 0)
    assert report.redecided == before.false_rejects.wrong
    assert report.undrawn > 0, "there are fewer rejected ones, so that others belong into the sample"
    assert audit.draw(run) == report.undrawn
    assert audit.report(run).undrawn == 0


def test_a_mark_speaks_of_the_text_it_was_made_of(run: Store):
    audit.draw(run, per_arm=120)
    fill(run)
    folder = run.folder("evaluate", "s", "base", "signs")
    traces = run.read(folder, Trace, "traces")
    others = [t.model_copy(update={"content": "x"}) for t in traces[:5]]
    run.seal(folder, Trace, [*others, *traces[5:]], "traces")
    report = audit.report(run)
    assert (report.void, report.marked, report.drawn, report.undrawn) == (5, 325, 325, 5)
    note = "5 marks are void: their trace is gone, or has another text now.\n"
    assert note in audit_text.report_text(report, 100).plain
    assert audit.draw(run) == 5
    assert audit.report(run).void == 5
    assert len(rows(run)) == 335, "no mark is thrown away"
    (run.folder("generate", "long") / "traces.parquet").unlink()
    assert audit.report(run).void == 35


def test_new_traces_are_missed_in_the_sample_until_they_are_drawn(run: Store):
    audit.draw(run, per_arm=20)
    more = run.read(run.folder("problems"), Problem, "signs")
    planted.fill(run, "student/s/base/1", more, lambda i: {"math": RIGHT if i % 2 else WRONG})
    report = audit.report(run)
    assert 0 < report.undrawn < 20
    note = f"A sample drawn now would hold {report.undrawn} further traces: the run has grown or was graded anew."
    assert note in audit_text.report_text(report, 200).plain
    assert audit.draw(run) == report.undrawn


def test_another_benchmark_comes_beside_the_first(run: Store):
    audit.draw(run, per_arm=8)
    before = rows(run)
    other = planted.problems(20, 5000)
    folder = run.folder("problems")
    tiny.reseal(run, folder, other, "other")
    for arm in ("long/0", "short/0"):
        author = f"student/s/{arm}"
        planted.fill(run, author, other, lambda i: {"math": RIGHT if i % 2 else WRONG}, benchmark="other")
    assert audit.draw(run, benchmark="other", per_arm=4) == 8
    assert rows(run)[:32] == before
    assert Counter(d.benchmark for d in key(run).values()) == {"train": 8, "signs": 24, "other": 8}
    fill(run)
    page = audit_text.report_text(audit.report(run), 100).plain
    assert "\n  s/long signs " in page
    assert "\n  s/long other " in page


def test_without_the_recipe_there_are_arms_and_no_contrasts(run: Store):
    audit.draw(run, per_arm=8)
    fill(run)
    (run.root / "recipe.yaml").write_text("name: [")
    report = audit.report(run)
    assert (len(report.arms), report.gaps) == (4, [])


def test_rows_that_were_deleted_come_back_without_their_mark(run: Store):
    audit.draw(run, per_arm=20)
    fill(run)
    cells = rows(run)
    sheets.write(sheet(run), cells[10:])
    assert audit.draw(run) == 10
    assert (len(rows(run)), audit.report(run).marked) == (80, 70)


# -- the sheet is a person's --------------------------------------------------------------------------------------


def said(run: Store) -> str:
    with pytest.raises(DataError) as e:
        audit.report(run)
    return str(e.value)


def test_a_mark_that_is_none_is_named_with_its_row_and_nothing_is_lost(run: Store):
    audit.draw(run, per_arm=8)
    cells = rows(run)
    for i, mark in enumerate(["c", "I", " unclear ", "Correct", "x", "yes"]):
        cells[i]["mark"] = mark
    cells[7]["id"], cells[7]["mark"] = "m12", "c"
    cells[9] = {**cells[0], "mark": "i"}
    sheets.write(sheet(run), cells)
    before = sheet(run).read_bytes()
    at = sheet(run)
    assert said(run).splitlines() == [
        f"{at}: row 6: no such mark (got 'x'); write c (correct), i (incorrect) or u (unclear), or nothing",
        f"{at}: row 7: no such mark (got 'yes'); write c (correct), i (incorrect) or u (unclear), or nothing",
        f"{at}: row 9: no such id in this audit (got 'm12'); leave the ids as they were",
        f"{at}: row 11: {cells[0]['id']} is marked correct in another row (got 'incorrect'); keep one",
    ]
    with pytest.raises(DataError):
        audit.draw(run, per_arm=20)
    assert sheet(run).read_bytes() == before
    for i in (4, 5, 7, 9):
        cells[i]["mark"] = ""
    sheets.write(sheet(run), cells)
    assert (audit.report(run).marked, audit.report(run).unclear) == (4, 1)


@pytest.mark.parametrize(("separator", "encoding"), [(";", "cp1252"), ("\t", "utf-16"), (",", "utf-8")])
def test_what_spreadsheets_save_is_read(run: Store, separator: str, encoding: str):
    audit.draw(run, per_arm=8)
    fill(run)
    cells = rows(run)
    cells[0]["note"] = "très clair"
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator)
    names = ["mark", "id", "note"]  # a person may drop columns, and move them
    writer.writerows([names, *([row[n] for n in names] for row in cells)])
    sheet(run).write_bytes(text.getvalue().encode(encoding))
    assert audit.report(run).marked == 32
    assert audit.draw(run, per_arm=20) == 48
    assert rows(run)[0]["note"] == "très clair"


def test_what_is_no_sheet_any_more_is_one_line(run: Store):
    audit.draw(run, per_arm=8)
    sheet(run).write_text("id,problem\nm1,x\n")
    assert said(run) == f"{sheet(run)}: needs one column 'mark' (got id, problem); put it back"
    sheet(run).write_text("")
    assert said(run) == f"{sheet(run)}: needs one column 'id' (got nothing); put it back"


def test_a_sheet_that_is_open_in_a_spreadsheet_is_not_written(run: Store):
    audit.draw(run, per_arm=8)
    (run.root / "audit" / ".~lock.sheet.csv#").touch()
    with pytest.raises(StoreError) as e:
        audit.draw(run, per_arm=20)
    assert str(e.value) == f"{sheet(run)}: open in a spreadsheet; save and close it there first"
    assert len(rows(run)) == len(key(run)) == 32


def test_what_cannot_be_audited_is_one_line(run: Store, tmp_path: Path, raw: dict[str, Any]):
    with pytest.raises(StoreError, match="nowhere: not a run folder"):
        audit.draw(Store(tmp_path / "nowhere"))
    empty = planted.run(tmp_path / "empty", raw, {"train": [], "signs": []})
    with pytest.raises(StoreError) as e:
        audit.draw(empty)
    assert str(e.value) == f"{empty.root}: no verdicts in it yet; run: mixdistill run {empty.root}/recipe.yaml"
    with pytest.raises(StoreError) as e:
        audit.report(run)
    assert str(e.value) == f"{run.root}/audit: nothing is drawn yet; run: mixdistill audit {run.root}"
    with pytest.raises(DataError) as e:
        audit.draw(run, benchmark="sings")
    assert str(e.value) == "--benchmark: nothing is graded on it (got 'sings'); did you mean 'signs'?"


# -- marking at a terminal ----------------------------------------------------------------------------------------


class Keys:
    """A person at the keyboard."""

    def __init__(self, keys: str) -> None:
        self.keys, self.seen = list(keys), list[str]()

    def ask(self) -> str:
        if not self.keys:
            raise ConnectionError("the terminal is gone")
        return self.keys.pop(0)

    def show(self, cells: sheets.Cells, far: str) -> None:
        self.seen.append(cells["id"])


def test_every_key_does_what_it_says_and_the_next_time_goes_on(run: Store):
    audit.draw(run, per_arm=8)
    ids = [row["id"] for row in rows(run)]
    first = Keys("cixsubCq")  # a wrong key asks again; back shows the last one once more
    assert audit.mark(run, first.ask, first.show) == (3, 32)
    assert first.seen == [ids[0], ids[1], ids[2], ids[3], ids[4], ids[3], ids[4]]
    assert [row["mark"] for row in rows(run)][:5] == ["c", "i", "", "c", ""]
    second = Keys("uq")
    assert audit.mark(run, second.ask, second.show) == (4, 32)
    assert second.seen == [ids[2], ids[4]]


def test_every_mark_is_on_disk_before_the_next_is_asked_for(run: Store):
    audit.draw(run, per_arm=8)
    keys = Keys("ccc")
    with pytest.raises(ConnectionError):
        audit.mark(run, keys.ask, keys.show)
    assert audit.report(run).marked == 3


def test_two_people_do_not_mark_at_once(run: Store):
    audit.draw(run, per_arm=8)
    found = []

    def ask() -> str:
        with pytest.raises(StoreError) as e:
            audit.draw(run)
        found.append(str(e.value))
        return "q"

    audit.mark(run, ask, lambda cells, far: None)
    assert found[0].startswith(f"{run.root}/audit: in use by pid ")
    assert found[0].endswith("; finish the audit there first")


def test_a_trace_is_shown_with_what_is_needed_to_judge_it_and_no_more(run: Store):
    cells = sheets.row("m1", "What is\n1/2 + 1/2?", "1", "Half and half.\nSo \\boxed{1}.")
    assert audit_text.trace_text(cells, "3 of 9 marked", 40).plain == (
        "\n──────────── 3 of 9 marked ─────────────\n"
        "PROBLEM\n  What is\n  1/2 + 1/2?\n"
        "\nANSWER\n  Half and half.\n  So \\boxed{1}.\n"
        "\nREFERENCE 1\n"
        "\nc correct  i incorrect  u unclear  s skip  b back  q quit  > "
    )
    again = audit_text.trace_text({**cells, "mark": "i"}, "3 of 9 marked", 60).plain
    assert " 3 of 9 marked; this one: incorrect " in again


def test_at_a_real_terminal_a_key_is_enough(run: Store):
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "mixdistill", "audit", str(run.root), "--per-arm", "4", "--mark"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}) as p:
        os.close(theirs)
        for key in "ci\x03":
            _until(terminal, "q quit")
            while termios.tcgetattr(terminal)[3] & termios.ICANON:  # a key that comes before it listens is lost
                time.sleep(0.01)
            os.write(terminal, key.encode())
        said = _until(terminal, "--report")
    os.close(terminal)
    assert p.returncode == 0
    assert "2 of 16 marked. What they say: mixdistill audit" in said
    assert [row["mark"] for row in rows(run)][:3] == ["c", "i", ""]


def _until(terminal: int, wanted: str) -> str:
    """What comes next, to the end of what is wanted."""
    said = ""
    while wanted not in said:
        said += os.read(terminal, 65536).decode(errors="replace")
    return said


# -- what it says -------------------------------------------------------------------------------------------------


def test_the_report_fits_a_terminal_and_says_everything(run: Store):
    audit.draw(run, per_arm=120)
    fill(run)
    page = audit_text.report_text(audit.report(run), 80).plain
    assert max(map(len, page.splitlines())) <= 80
    assert page.startswith(
        "330 of 330 traces are marked.\n"
        "\n"
        "How often the verifier is wrong, %, of the traces that are marked\n"
        "                accepted, but wrong     not accepted, but right\n"
        "  teacher long  0 of 20: 0.0 [0.0\N{EN DASH}0.0]  10 of 10: 100.0 [100.0\N{EN DASH}100.0]\n"
    )
    assert (
        "\nlong_cot_gap (long - short), s on signs, points\n"
        "  verifier −8.3   a person +8.3 [+8.3 to +8.3]\n"
        "  added by the verifier −16.7 [−16.7 to −16.7]\n"
        "  The verifier's error differs between the arms: it adds −16.7 points.\n"
    ) in page


def test_verdicts_are_sentences(run: Store):
    audit.draw(run, per_arm=8)
    none = audit_text.report_text(audit.report(run), 100).plain
    assert none == f"0 of 32 traces are marked.\n\nGo on marking: mixdistill audit {run.root} --mark"
    fill(run)
    few = {g.contrast: audit_text.verdict(g.found) for g in audit.report(run).gaps}
    assert few["short_over_base"].startswith("Can't tell: the verifier's error adds anything from −")
    assert "(now 8; --per-arm " in few["short_over_base"]
    audit.draw(run, per_arm=120)
    fill(run)
    all_ = {g.contrast: audit_text.verdict(g.found) for g in audit.report(run).gaps}
    assert all_["short_over_base"] == "The verifier's error does not differ between the arms beyond ±0.0 points."
    assert all_["long_cot_gap"] == ("The verifier's error differs between the arms: it adds −16.7 points.")


def test_the_verb_draws_then_reports_and_marks_at_a_terminal_alone(run: Store, monkeypatch, capsys):
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mixdistill", "audit", str(run.root), *words])
        with pytest.raises(SystemExit) as e:
            cli.main()
        out, err = capsys.readouterr()
        return int(e.value.code or 0), out, err

    code, out, err = call("--per-arm", "8")
    assert (code, err) == (0, "")
    assert out.startswith(f"{sheet(run)}: 32 traces, 32 of them new, in an order that has to do with nothing.\n")
    assert out.endswith("what the marks say, from the first one on\n")
    assert call("--mark") == (
        2,
        f"{sheet(run)}: 32 traces, none new.\n",
        f"mixdistill: {run.root}: nobody can be asked here; fill in {sheet(run)}\n",
    )
    fill(run, most=5)
    assert call()[1].startswith(f"{sheet(run)}: 32 traces, none new.\n5 of 32 traces are marked.\n\nHow often")
    assert call("--report")[1].startswith("5 of 32 traces are marked.\n")
    assert json.loads(call("--json")[1])["marked"] == 5
    assert len(pl.read_parquet(run.root / "audit" / "key.parquet")) == 32
    for words in (("--mark", "--report"), ("--report", "--per-arm", "9")):
        assert call(*words)[0] == 2
    cells = rows(run)
    cells[3]["mark"] = "?"
    sheets.write(sheet(run), cells)
    code, out, err = call("--report")
    assert (code, out, err.count("\n")) == (2, "", 1)
