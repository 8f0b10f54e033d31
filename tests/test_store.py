"""The run folder: nothing half-written is ever taken for whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mixdistill import files
from mixdistill import store as stores
from mixdistill import types as t
from mixdistill.errors import StoreError
from mixdistill.files import write_atomically
from mixdistill.parquet import ColumnHashes, columns_of
from mixdistill.store import MARKER, Store

ODD = "π ≠ \\frac{4}{3}\r\n\u2028\x0c\x85 \N{PILE OF POO} \"quoted\" 'x' \0"
SAMPLING = t.Sampling(temperature=0.6, max_tokens=9)
VERDICT = t.Verdict(trace_id="t", outcome=t.Outcome.TRUNCATED)
SCORE: dict[str, Any] = dict(  # noqa: C408
    student="s", arm="a", benchmark="b", group="all", verifier="v", k=1, correct=1, incorrect=2, no_answer=0,
             truncated=0, error=1, examples=4, finished=3, mean_completion_tokens=7.25)  # fmt: skip
GAP: dict[str, Any] = dict(  # noqa: C408
    name="g", student="s", benchmark="b", arms=("a", "b"), verifier="v", rule="strict", max_tokens=64, primary=True,
           accuracies=(0.1, 0.2), delta=-0.1, checkpoints=t.Interval(low=-0.2, high=0.0), data=None,
           seed_deltas=[0.1, -0.3], df=None, p=None, p_holm=None, verdict=ODD, problems=4, seeds=2,
           detectable=None, turned_by=["flexible", "judge"])  # fmt: skip
ROWS: list[t.Row] = [
    t.Message(role="user", content=ODD),
    t.Problem(id="p", prompt=ODD, answer="", level=None, metadata={"a": [1, {"ü": None}]}),
    t.Problem(id="q", prompt=[t.Message(role="system", content=ODD), t.Message(role="user", content="x")], answer="1"),
    t.Problem(id="r", prompt="[1, 2]", answer="null"),
    SAMPLING,
    t.Request(prompt="x", sampling=SAMPLING),
    t.Usage(prompt_tokens=None, completion_tokens=3),
    t.Completion(),
    t.Completion(reasoning=ODD, content=ODD, finish_reason="stop", token_ids=[1, 2, 3], cost=0.1, seconds=1e-9),
    t.Trace(id="t", problem_id="p", author="teacher/a", token_ids=[], error=ODD, sampling={"seed": 2**31 - 1}),
    t.Trace(id="u", problem_id="p", author="teacher/a", usage=t.Usage(completion_tokens=5), sampling={"a": None}),
    VERDICT,
    t.Verdict(trace_id="t", outcome=t.Outcome.CORRECT, score=0.5, answer=ODD, max_tokens=64),
    t.Complexity(trace_id="t", tokenizer="m", metrics={"tokens": 3.0, "steps": None}),
    t.Example(prompt=[t.Message(role="user", content=ODD)], reasoning="", content=ODD, problem_id="p", trace_id="t",
              teacher="a"),
    t.Score(**SCORE, seed=None, max_tokens=None),
    t.Score(**SCORE, seed=3, max_tokens=64),
    t.Interval(low=-1.5, high=2.0),
    t.Gap(**GAP),
    t.Decision(
        trace_id="t", outcome=t.Outcome.ERROR, strict=t.Outcome.TRUNCATED, flexible=t.Outcome.ERROR,
        judge=t.Outcome.CORRECT,
    ),
    t.Update(update=0, example=10**12),
    t.Unused(split="train", source="f.csv", row=3, reason="no_answer", detail="no value in 'answer'", prompt="?"),
    t.Drop(problem_id="p", trace_id=None, teacher="a", reason="no_correct"),
    t.Fit(trace_id="t", problem_id="p", template="f", prompt_tokens=3, loss_tokens=4, reason=None),
    t.Origin(example=0, problem_id="p", trace_id="t", teacher="a", sample=1, tag="", prompt_tokens=3, loss_tokens=4,
             stage=0, updates=2),
    t.Forced(trace_id="t", problem_id="p", sample=0, kind="thinking", at=0.25, answer_id=None, tokens=7,
             outcome=t.Outcome.NO_ANSWER),
    t.Looped(trace_id="t", problem_id="p", sample=0, unit=ODD, times=19.5),
    t.Ranked(trace_id="t", problem_id="p", follows="f", tokens=[ODD, ""], ranks=[1, 151_000]),
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run")


def problem(n: int, **more: Any) -> t.Problem:
    return t.Problem(id=f"p{n}", prompt=f"prompt {n}", answer=str(n), **more)


def test_the_round_trip_is_tried_with_every_row_type():
    known = {c for c in vars(t).values() if isinstance(c, type) and issubclass(c, t.Row) and c is not t.Row}
    assert {type(r) for r in ROWS} == known


@pytest.mark.parametrize("row", ROWS, ids=lambda r: type(r).__name__)
def test_a_row_comes_back_from_journal_and_table_as_it_was(store: Store, row: t.Row):
    folder = store.folder("x")
    with store.appending(folder, "rows") as append:
        append(row)
    assert store.journal(folder, type(row), "rows") == [row]
    described = store.seal(folder, type(row), [row], "rows")
    assert store.read(folder, type(row), "rows") == [row]
    assert described["rows"] == 1
    assert list(described["columns"]) == list(type(row).model_fields)


@pytest.mark.parametrize("row_type", sorted({type(r) for r in ROWS}, key=lambda c: c.__name__))
def test_an_empty_table_has_the_same_schema_as_a_full_one(store: Store, row_type: type[t.Row]):
    folder = store.folder("x")
    store.seal(folder, row_type, [], "empty")
    store.seal(folder, row_type, [r for r in ROWS if type(r) is row_type], "full")
    assert store.read(folder, row_type, "empty") == []
    assert pl.read_parquet_schema(folder / "empty.parquet") == pl.read_parquet_schema(folder / "full.parquet")
    assert list(columns_of(row_type)) == list(row_type.model_fields)


def test_a_table_that_is_gone_under_its_marker_is_an_error_and_not_empty(store: Store):
    folder = store.folder("verify", "a")
    assert store.read(folder, t.Verdict, "verdicts") == []
    store.mark(folder, {"tables": {"verdicts": store.seal(folder, t.Verdict, [VERDICT], "verdicts")}})
    assert store.read(folder, t.Verdict, "others") == []
    (folder / "verdicts.parquet").unlink()
    with pytest.raises(
        StoreError, match=r"verdicts\.parquet: gone, though the unit is marked done; delete .*done\.json"
    ):
        store.read(folder, t.Verdict, "verdicts")


def test_order_of_rows_is_kept(store: Store):
    rows = [problem(n) for n in (3, 1, 2)]
    store.seal(store.folder("x"), t.Problem, rows, "rows")
    assert store.read(store.folder("x"), t.Problem, "rows") == rows


def test_sealing_drops_the_journal(store: Store):
    folder = store.folder("x")
    with store.appending(folder, "rows") as append:
        append(problem(1))
    store.seal(folder, t.Problem, [problem(1)], "rows")
    assert sorted(p.name for p in folder.iterdir()) == ["rows.parquet"]
    assert store.journal(folder, t.Problem, "rows") == []


@pytest.mark.parametrize("keep", [1, 10, -1])
def test_a_torn_last_line_is_cut_off_and_only_that(store: Store, keep: int):
    folder = store.folder("x")
    with store.appending(folder, "rows") as append:
        append(problem(1))
        append(problem(2))
    path = folder / "rows.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:keep])
    assert store.journal(folder, t.Problem, "rows") == [problem(1)]
    assert path.read_bytes() == first
    with store.appending(folder, "rows") as append:
        append(problem(3))
    assert store.journal(folder, t.Problem, "rows") == [problem(1), problem(3)]


def test_a_broken_line_in_the_middle_is_an_error_and_not_a_loss(store: Store):
    folder = store.folder("x")
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text('{"id": "p1"\n' + problem(2).model_dump_json() + "\n")
    with pytest.raises(StoreError, match=r"rows\.jsonl: not readable .*; delete it to redo this unit"):
        store.journal(folder, t.Problem, "rows")


def test_a_row_is_on_disk_as_soon_as_it_is_appended(store: Store):
    folder = store.folder("x")
    with store.appending(folder, "rows") as append:
        append(problem(1))
        assert (folder / "rows.jsonl").read_bytes().endswith(b"}\n")


class FullDisk:
    """A file that takes only part of what is written, as one on a full disk does."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def seek(self, offset: int, whence: int) -> int:
        return self.file.seek(offset, whence)

    def truncate(self, size: int) -> None:
        self.file.truncate(size)

    def write(self, data: bytes) -> int:
        return self.file.write(data[:7])


def test_a_full_disk_leaves_whole_lines_and_says_so(store: Store):
    folder = store.folder("x")
    with store.appending(folder, "rows") as append:
        append(problem(1))
    with (
        open(folder / "rows.jsonl", "ab", buffering=0) as f,
        pytest.raises(StoreError, match=r"cannot be written \(No space left on device\); free space"),
    ):
        stores._append(FullDisk(f), folder, b"a whole line\n")
    assert store.journal(folder, t.Problem, "rows") == [problem(1)]


def test_an_error_of_the_one_who_appends_is_not_taken_for_a_full_disk(store: Store):
    with pytest.raises(ConnectionError, match="hung up"), store.appending(store.folder("x"), "rows"):
        raise ConnectionError("hung up")


def test_a_folder_without_its_marker_is_unfinished(store: Store):
    folder = store.folder("x")
    table = store.seal(folder, t.Problem, [problem(1)], "rows")
    assert store.marker(folder) is None
    assert store.content(folder, "rows", ["id"]) is None
    store.mark(folder, {"tables": {"rows": table}, "note": "naïve"})
    assert store.content(folder, "rows", ["id"])
    marker = store.marker(folder)
    assert marker and marker["note"] == "naïve"


def test_an_unreadable_marker_is_named(store: Store):
    store.folder("x").mkdir(parents=True)
    (store.folder("x") / MARKER).write_text('{"tables":')
    with pytest.raises(StoreError, match=r"done\.json: not readable as JSON; delete it to redo this unit"):
        store.marker(store.folder("x"))


def test_content_depends_on_the_rows_of_the_columns_and_not_on_the_folder(store: Store, tmp_path: Path):
    def content(root: str, rows: list[t.Problem], columns: list[str]) -> str | None:
        other = Store(tmp_path / root)
        other.mark(other.folder("x"), {"tables": {"rows": other.seal(other.folder("x"), t.Problem, rows, "rows")}})
        return other.content(other.folder("x"), "rows", columns)

    rows = [problem(1), problem(2)]
    first = content("a", rows, ["id", "prompt"])
    assert content("elsewhere", rows, ["id", "prompt"]) == first
    assert content("b", [problem(1, level="5"), problem(2)], ["id", "prompt"]) == first
    assert content("c", [problem(1, level="5"), problem(2)], ["id", "level"]) != content("a", rows, ["id", "level"])
    assert content("d", rows[::-1], ["id", "prompt"]) != first
    assert content("e", rows[:1], ["id", "prompt"]) != first
    assert content("f", [problem(1).model_copy(update={"prompt": "prompt 1 "}), problem(2)], ["id", "prompt"]) != first


def test_borders_between_rows_count(store: Store):
    def of(*cells: object) -> dict[str, str]:
        found = ColumnHashes(t.Interval)
        found.add([[cell, None] for cell in cells])
        return found.digests()

    assert of("ab", "c") != of("a", "bc")
    assert of(None) != of("None")


def test_writing_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.json"
    write_atomically(path, b"old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"a\.json: cannot be written \(No space left on device\)"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_sealing_that_fails_leaves_table_and_journal(store: Store, monkeypatch: pytest.MonkeyPatch):
    folder = store.folder("x")
    store.seal(folder, t.Problem, [problem(1)], "rows")
    with store.appending(folder, "rows") as append:
        append(problem(2))

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="cannot be written"):
        store.seal(folder, t.Problem, [problem(1), problem(2)], "rows")
    assert store.read(folder, t.Problem, "rows") == [problem(1)]
    assert store.journal(folder, t.Problem, "rows") == [problem(2)]
    assert sorted(p.name for p in folder.iterdir()) == ["rows.jsonl", "rows.parquet"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "run")
    with (
        pytest.raises(StoreError, match=r"file/run: cannot be written \(Not a directory\); choose another --out"),
        store.lock(),
    ):
        pass
    with pytest.raises(StoreError, match="cannot be written"):
        store.mark(store.folder("x"), {})
    with pytest.raises(StoreError, match="cannot be written"), store.appending(store.folder("x"), "rows"):
        pass


HOLD = """
import sys
from pathlib import Path
from mixdistill.store import Store
with Store(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_process_is_told_who_holds_the_folder(store: Store):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin and other.stdout
        assert other.stdout.readline() == "held\n"
        told = rf"run: in use by pid {other.pid} on .*; wait for it or use --out"
        with pytest.raises(StoreError, match=told), store.lock():
            pass
        other.kill()
    with store.lock():  # a killed holder holds nothing
        assert f"pid {os.getpid()} " in (store.root / ".lock").read_text()


def test_setting_aside_never_deletes(store: Store):
    folder = store.folder("generate", "long")
    assert store.set_aside(folder) is None
    went = []
    for n in range(3):
        folder.mkdir(parents=True)
        (folder / "traces.jsonl").write_text(str(n))
        went.append(store.set_aside(folder))
        assert not folder.exists()
    assert [str(p.relative_to(store.root)) for p in went if p] == [
        "set-aside/generate/long", "set-aside/generate/long.2", "set-aside/generate/long.3",
    ]  # fmt: skip
    assert [(p / "traces.jsonl").read_text() for p in went if p] == ["0", "1", "2"]


def test_ids_can_leave_out_failed_requests(store: Store):
    folder = store.folder("x")
    rows = [t.Trace(id=i, problem_id="p", author="a", error=e) for i, e in (("a", None), ("b", "status 500"))]
    assert store.ids(folder, "traces") == set()
    store.seal(folder, t.Trace, rows, "traces")
    assert store.ids(folder, "traces") == {"a", "b"}
    assert store.ids(folder, "traces", without_error=True) == {"a"}


def test_signs_of_life_are_the_last_ones_and_can_be_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stores, "BEAT_SECONDS", -1.0)
    assert store.beats() == []
    store.beat("generate/long", done=1, total=4)
    store.beat("generate/long", done=2, total=4)
    store.beat("generate/short", done=1, total=4)
    (store.root / ".progress" / "torn.json").write_text("{")
    assert [(b["label"], b["done"]) for b in store.beats()] == [("generate/long", 2), ("generate/short", 1)]
    store.clear_beat("generate/long")
    assert [b["label"] for b in store.beats()] == ["generate/short"]
    store.clear_beat()
    assert store.beats() == []


def test_a_folder_hashes_by_names_and_contents_below_it(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "w.bin").write_bytes(b"weights")
    assert files.file_hash(tmp_path / "a") == files.file_hash(tmp_path / "b")
    (tmp_path / "b" / "sub" / "w.bin").rename(tmp_path / "b" / "sub" / "v.bin")
    assert files.file_hash(tmp_path / "a") != files.file_hash(tmp_path / "b")


def test_versions_are_read_without_importing_anything():
    code = "import sys; from mixdistill.files import versions; v = versions(); print('torch' in sys.modules, *v)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown[0] == "False"
    assert {"python", "mixdistill", "polars"} <= set(shown[1:])


def test_a_marker_is_plain_json_that_people_can_read(store: Store):
    store.mark(store.folder("x"), {"b": 1, "a": "é"})
    text = (store.folder("x") / MARKER).read_text(encoding="utf-8")
    assert list(json.loads(text)) == ["a", "b"]
    assert "é" in text


def test_sweeping_takes_only_what_is_ours_and_nothing_behind_a_link(store: Store, tmp_path: Path):
    other = tmp_path / "other"
    (other / ".cache.tmp").mkdir(parents=True)
    (other / ".draft.77.tmp").touch()
    for name in ("train/x/.model.tmp/w", "mix/a/.rows.parquet.tmp", "mix/a/.done.json.77.tmp", "mix/a/.mine.tmp"):
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).touch()
    (store.root / ".recipe.yaml.77.tmp").touch()
    (store.root / "notes").mkdir()
    (store.root / "notes" / ".draft.77.tmp").touch()
    (store.root / "mix" / "link").symlink_to(other)
    store.sweep(["mix", "train"])
    left = sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())
    assert left == ["mix/a/.mine.tmp", "notes/.draft.77.tmp"]
    assert (other / ".cache.tmp").is_dir() and (other / ".draft.77.tmp").exists()


def test_a_folder_hash_knows_where_a_name_ends(tmp_path: Path):
    for folder, name, content in (("a", "ab", b"c"), ("b", "a", b"bc")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(content)
    assert files.file_hash(tmp_path / "a") != files.file_hash(tmp_path / "b")
    (tmp_path / "a" / "d").write_bytes(b"e")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "ab").write_bytes(b"cde")
    assert files.file_hash(tmp_path / "a") != files.file_hash(tmp_path / "c")


@pytest.fixture
def made(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the rows that are made of a table of ten in groups of three, as they are made."""
    monkeypatch.setattr(stores, "GROUP", 3)
    store.seal(store.folder("x"), t.Problem, [problem(n) for n in range(10)], "rows")
    ids: list[str] = []
    real = stores.unflatten
    monkeypatch.setattr(stores, "unflatten", lambda kind, row, parse: ids.append(row["id"]) or real(kind, row, parse))
    return ids


def test_only_the_rows_that_are_wanted_are_made(store: Store, made: list[str]):
    wanted = ["p8", "p1", "p2", "none"]
    assert store.read(store.folder("x"), t.Problem, "rows", where=("id", wanted)) == [problem(n) for n in (1, 2, 8)]
    assert made == ["p1", "p2", "p8"]


def test_of_a_large_table_a_part_is_in_memory(store: Store, made: list[str]):
    rows = store.rows(store.folder("x"), t.Problem, "rows")
    assert next(rows) == problem(0)
    assert made == ["p0", "p1", "p2"]
    assert list(rows) == [problem(n) for n in range(1, 10)]


# -- tables in columns ---------------------------------------------------------------------------------------------


def _updates(*sizes: int) -> Iterator[pl.DataFrame]:
    """Rows 0, 1, ... in tables of these sizes."""
    start = 0
    for size in sizes:
        yield pl.DataFrame({"example": range(start, start + size), "update": [7] * size})
        start += size


def test_a_table_in_columns_is_the_table_that_its_rows_make(store: Store):
    described = store.seal_frames(store.folder("x"), t.Update, _updates(3, 5000, 0, 2), "rows")
    assert store.read(store.folder("x"), t.Update, "rows") == [t.Update(update=7, example=i) for i in range(5005)]
    store.seal(store.folder("y"), t.Update, store.rows(store.folder("x"), t.Update, "rows"), "rows")
    assert store.frame(store.folder("x"), "rows").schema == store.frame(store.folder("y"), "rows").schema
    assert described["rows"] == 5005
    assert [path.name for path in store.folder("x").iterdir()] == ["rows.parquet"]


def test_hash_of_columns_depends_on_the_rows_and_not_on_how_they_are_cut(store: Store):
    def hashes(*tables: pl.DataFrame) -> dict[str, str]:
        return store.seal_frames(store.folder("x"), t.Drop, tables, "rows")["columns"]

    def drops(*ids: str | None) -> pl.DataFrame:
        fixed = {k: ["x"] * len(ids) for k in ("problem_id", "teacher", "reason", "detail")}
        return pl.DataFrame({**fixed, "trace_id": pl.Series(ids, dtype=pl.String)})

    whole = hashes(drops("a", "bc", None))
    assert hashes(drops("a"), drops("bc", None)) == whole
    for other in (drops("ab", "c", None), drops("a", "bc", ""), drops("bc", "a", None), drops("a", "bc")):
        assert hashes(other)["trace_id"] != whole["trace_id"]
    assert list(whole) == list(t.Drop.model_fields)


def test_no_columns_are_a_table_with_its_schema(store: Store):
    assert store.seal_frames(store.folder("x"), t.Update, [], "rows")["rows"] == 0
    assert store.read(store.folder("x"), t.Update, "rows") == []


def test_what_fails_while_columns_are_made_is_said_as_it_is_and_leaves_nothing(store: Store):
    def failing() -> Iterator[pl.DataFrame]:
        yield from _updates(3)
        raise StoreError("the source is gone")

    with pytest.raises(StoreError, match=r"\Athe source is gone\Z"):
        store.seal_frames(store.folder("x"), t.Update, failing(), "rows")
    assert list(store.folder("x").iterdir()) == []
