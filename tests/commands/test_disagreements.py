"""`disagreements` finds where readings and verifiers differ, counts it by arm, and shows what a person needs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import planted
from mixdistill import cli
from mixdistill.commands.disagreements import Which, case_text, cases, closing, counts_text, find, json_parts, spread
from mixdistill.errors import DataError, StoreError
from mixdistill.store import Store
from mixdistill.types import Outcome

RIGHT, WRONG, NONE = Outcome.CORRECT, Outcome.INCORRECT, Outcome.NO_ANSWER
AGREED = {"math": RIGHT, "strict": RIGHT}
UNMARKED = {"math": RIGHT, "strict": NONE}
UNMARKED_WRONG = {"math": WRONG, "strict": NONE}
MISSED = {"math": WRONG, "strict": WRONG, "judge": RIGHT}
DOUBTED = {"math": RIGHT, "strict": RIGHT, "judge": WRONG}


@pytest.fixture
def run(tmp_path: Path, raw: dict[str, Any]) -> Store:
    """Teacher long: 2 unmarked, 1 doubted, of 10. Student long, two seeds: 3 unmarked and 1 missed of 8. Base: none."""
    raw["verify"] = {"verifier": "math"}
    train, signs = planted.problems(10), planted.problems(4, 100)
    store = planted.run(tmp_path / "run", raw, {"train": train, "signs": signs})
    planted.fill(store, "teacher/long", train, lambda i: UNMARKED if i < 2 else DOUBTED if i == 2 else AGREED)
    planted.fill(store, "student/s/base", signs, lambda i: AGREED, caps=(8,))
    planted.fill(store, "student/s/long/0", signs, lambda i: UNMARKED if i < 2 else AGREED, caps=(8,))
    planted.fill(store, "student/s/long/1", signs, lambda i: UNMARKED if i < 1 else MISSED if i == 3 else AGREED)
    return store


def counts(store: Store, **which: Any) -> dict[tuple[str, str], tuple[int, int]]:
    return {(c.kind, c.arm): (c.traces, c.judged) for c in find(store, Which(**which)).counts}


def test_every_kind_is_counted_for_every_arm_over_its_seeds_those_without_any_too(run: Store):
    assert counts(run) == {
        ("strict no_answer, flexible correct", "teacher/long"): (2, 10),
        ("strict no_answer, flexible correct", "student/s/base"): (0, 4),
        ("strict no_answer, flexible correct", "student/s/long"): (3, 8),
        ("math correct, judge incorrect", "teacher/long"): (1, 10),
        ("math correct, judge incorrect", "student/s/base"): (0, 4),
        ("math correct, judge incorrect", "student/s/long"): (0, 8),
        ("math incorrect, judge correct", "teacher/long"): (0, 10),
        ("math incorrect, judge correct", "student/s/base"): (0, 4),
        ("math incorrect, judge correct", "student/s/long"): (1, 8),
    }


def test_kinds_by_which_no_accuracy_moves_come_last_however_many(run: Store, tmp_path: Path, raw: dict[str, Any]):
    some = planted.problems(9)
    store = planted.run(tmp_path / "other", raw, {"train": some, "signs": []})
    planted.fill(store, "teacher/long", some, lambda i: UNMARKED if i == 4 else UNMARKED_WRONG)
    assert list(dict.fromkeys(c.kind for c in find(store, Which()).counts)) == [
        "strict no_answer, flexible correct",
        "strict no_answer, flexible incorrect",
    ]


def test_two_that_are_named_are_held_against_each_other(run: Store):
    assert counts(run, between=("flexible", "judge")) == {
        ("flexible incorrect, judge correct", "teacher/long"): (0, 10),
        ("flexible incorrect, judge correct", "student/s/base"): (0, 4),
        ("flexible incorrect, judge correct", "student/s/long"): (1, 8),
    }
    assert counts(run, between=("judge", "math"), of="long") == {
        ("judge incorrect, math correct", "teacher/long"): (1, 10)
    }, "beside a verifier, judge is the verifier"


@pytest.mark.parametrize(
    ("of", "arms"),
    [
        ("teacher", {"teacher/long"}),
        ("long", {"teacher/long"}),
        ("student", {"student/s/base", "student/s/long"}),
        ("s/long", {"student/s/long"}),
        ("student/s/long/1", {"student/s/long"}),
    ],
)
def test_an_author_is_named_by_its_beginning(run: Store, of: str, arms: set[str]):
    found = find(run, Which(of=of))
    assert {c.arm for c in found.counts} == arms
    if of.endswith("/1"):
        assert {c.judged for c in found.counts} == {4}


def test_what_matches_nothing_is_one_line(run: Store, tmp_path: Path, raw: dict[str, Any]):
    def said(**which: Any) -> str:
        with pytest.raises(DataError) as e:
            find(run, Which(**which))
        return str(e.value)

    assert said(of="lon") == (
        "--of: no traces of that author (got 'lon'); known: student/s/base, student/s/long, teacher/long"
    )
    assert said(between=("strict", "jugde")) == (
        "--between: neither a reading nor a verifier (got 'jugde'); did you mean 'judge'?"
    )
    assert said(max_tokens=9) == "--max-tokens: nothing was judged at that cap (got 9); known: 8"
    assert said(max_tokens=8, of="long") == (
        "--max-tokens: nothing was judged at that cap (got 8); known: whole traces only"
    )
    with pytest.raises(StoreError, match=r"nowhere: not a run folder"):
        find(Store(tmp_path / "nowhere"), Which())
    empty = planted.run(tmp_path / "empty", raw, {"train": [], "signs": []})
    with pytest.raises(StoreError) as e:
        find(empty, Which())
    assert str(e.value) == f"{empty.root}: no verdicts in it yet; run: mixdistill run {empty.root}/recipe.yaml"


def test_a_cap_has_its_own_verdicts(run: Store):
    found = counts(run, max_tokens=8)
    assert found == {
        ("strict no_answer, flexible correct", "student/s/base"): (0, 4),
        ("strict no_answer, flexible correct", "student/s/long"): (2, 4),
    }
    assert "Two readings or verifiers differ on 2 of 8 traces, judged by the first 8 tokens.\n" in (
        counts_text(find(run, Which(max_tokens=8))).plain
    )


def test_a_short_list_holds_every_kind_and_then_every_arm(run: Store):
    found = find(run, Which())
    chosen = [(c.kinds[0], c.trace.author) for c in cases(run, spread(found, 3))]
    assert sorted(kind for kind, _ in chosen) == [
        "math correct, judge incorrect",
        "math incorrect, judge correct",
        "strict no_answer, flexible correct",
    ]
    assert len(list(cases(run, spread(found, 100)))) == 7
    assert spread(found, 0).counts == found.counts


def test_the_table_is_as_wide_as_its_names_and_says_of_how_many(run: Store):
    assert counts_text(find(run, Which(of="student"))).plain == (
        "Two readings or verifiers differ on 4 of 12 traces.\n"
        "\nstrict no_answer, flexible correct\n"
        "  student/s/base  signs        0 of         4    0.0%\n"
        "  student/s/long  signs        3 of         8   37.5%\n"
        "\nmath incorrect, judge correct\n"
        "  student/s/base  signs        0 of         4    0.0%\n"
        "  student/s/long  signs        1 of         8   12.5%\n"
    )
    assert (
        counts_text(find(run, Which(of="s/base"))).plain == "No two readings or verifiers differ on any of 4 traces.\n"
    )


def test_a_case_says_whose_it_is_what_each_says_and_how_the_answer_ends(tmp_path: Path, raw: dict[str, Any]):
    some = planted.problems(1, 7)
    store = planted.run(tmp_path / "run", raw, {"train": some, "signs": []})
    long = "\n".join(["Let us see."] * 20) + "\n\n\x1b[31mred\n" + "word " * 30
    says = {**MISSED, "strict": NONE}
    more = {"rule": "box", "answer": "us"}
    planted.fill(
        store, "teacher/long", some, lambda i: says, answer=lambda i: f"All of us.\n{long}", more=lambda i, v: more
    )
    found = find(store, Which())
    (case,) = cases(store, found)
    assert case_text(case, 60).plain == (
        f"\nteacher/long #0  train  problem {some[0].id}\n"
        "  strict no_answer, flexible incorrect; math incorrect, judge correct\n"
        "  problem    What is 7?\n"
        "  reference  7\n"
        "  math       incorrect (strict: no_answer)  answer 'us'  [box]\n"
        "  judge      correct  answer 'us'  [box]\n"
        "  counts as  incorrect; ended: stop\n"
        "  | ...\n"
        "  | Let us see.\n"
        "  | Let us see.\n"
        "  | Let us see.\n"
        "  | \n"
        "  | \\x1b[31mred\n"
        "  | word word word word word word word word word word word\n"
        "  | word word word word word word word word word word word\n"
        "  | word word word word word word word word\n"
    )
    assert closing(found, found, store.root).plain == f"\nA whole trace: mixdistill show {store.root} PROBLEM\n"
    assert closing(found, spread(found, 0), Path("r")).plain == (
        "\n1 more are not shown (--limit 1).  A whole trace: mixdistill show r PROBLEM\n"
    )


def test_the_json_is_one_document_with_all_of_it(run: Store):
    found = find(run, Which())
    document = json.loads("".join(json_parts(run, found)))
    assert document["max_tokens"] is None
    assert len(document["counts"]) == 9
    assert len(document["traces"]) == 7
    assert set(document["traces"][0]) == {"kinds", "benchmark", "problem", "trace", "decision", "verdicts"}
    none = json.loads("".join(json_parts(run, find(run, Which(of="s/base")))))
    assert none == {"max_tokens": None, "counts": [], "traces": []}


def test_the_verb_prints_counts_and_some_traces(run: Store, monkeypatch: pytest.MonkeyPatch, capsys):
    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["mixdistill", "disagreements", str(run.root), *words])
        with pytest.raises(SystemExit) as e:
            cli.main()
        assert e.value.code in (0, None)
        return capsys.readouterr().out

    shown = call("--limit", "2")
    assert shown.startswith("Two readings or verifiers differ on 7 of 22 traces.\n\nstrict no_answer, flexible corr")
    assert shown.count("counts as") == 2
    assert shown.endswith(f"5 more are not shown (--limit 7).  A whole trace: mixdistill show {run.root} PROBLEM\n")
    assert "\x1b" not in shown
    assert len(json.loads(call("--json"))["traces"]) == 7
    assert len(json.loads(call("--json", "--limit", "1", "--between", "math", "judge"))["traces"]) == 1
