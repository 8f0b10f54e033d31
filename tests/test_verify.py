"""Verdicts over teachers' traces, and which traces training may use."""

import json
from pathlib import Path

import pytest

import tiny
from mixdistill import verify
from mixdistill.lab import domain
from mixdistill.store import Store
from mixdistill.types import Outcome, Trace, Verdict
from mixdistill.verify import accepted, judged


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


def _rows() -> list[dict[str, str]]:
    """Six problems: two right, one wrong, one silent, one cut, one right but of unknown end; a seventh has no row."""
    rows = []
    for i, p in enumerate(domain.problems("train", count=6)):
        chain = domain.parse(p.prompt)
        assert chain is not None
        thought, right = domain.short_trace(chain, 0)
        wrong = domain.answer(next(r for r in domain.sign_rows(len(chain.numbers)) if r not in chain.solutions))
        content = {2: wrong, 3: "ok ok", 4: "8 + 4"}.get(i, right)
        finish = {4: "length", 5: "who knows"}.get(i, "stop")
        rows.append({"prompt": str(p.prompt), "completion": content, "reasoning": thought, "finish_reason": finish})
    return rows


def _study(model: str, folder: Path, **sections):
    file = folder / "traces.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in _rows()))
    teacher = {
        "backend": "recorded", "model": "old", "path": str(file), "reasoning_column": "reasoning",
        "finish_reason_column": "finish_reason",
    }  # fmt: skip
    known = {"teachers": {"old": teacher}, "arms": {"old": {"old": 1}}, "contrasts": {}}
    return tiny.study(model, **{**known, "problems": tiny.problem_sets(7, 5), **sections})


@pytest.fixture
def store(model, tmp_path) -> Store:
    return tiny.run(_study(model, tmp_path), tmp_path / "run", "generate", "verify")[0]


def _outcomes(store: Store) -> list[Outcome]:
    return [v.outcome for v in store.read(store.folder("verify", "old"), Verdict, "verdicts")]


def test_every_trace_gets_one_verdict_and_a_failed_request_none(store):
    wanted = ["correct", "correct", "incorrect", "no_answer", "truncated", "correct"]
    assert [o.value for o in _outcomes(store)] == wanted
    traces = store.read(store.folder("generate", "old"), Trace, "traces")
    assert [t.error for t in traces] == [None] * 6, "what the file does not hold is no row"
    assert (store.marker(store.folder("generate", "old")) or {})["counts"]["absent"] == 1
    marker = store.marker(store.folder("verify", "old"))
    assert marker is not None
    assert marker["counts"] == {"correct": 3, "incorrect": 1, "no_answer": 1, "truncated": 1}


def test_training_takes_only_what_is_right_and_ended_by_itself(store):
    traces = store.read(store.folder("generate", "old"), Trace, "traces")
    assert accepted(store, "old")["id"].to_list() == [t.id for t in traces[:2]]


def test_what_was_judged_comes_with_its_outcome(store):
    traces = store.read(store.folder("generate", "old"), Trace, "traces")
    assert list(judged(store, "old")) == list(zip(traces[:6], _outcomes(store), strict=True))


def test_verdicts_are_stamped_with_verifier_and_version(store):
    verdicts = store.read(store.folder("verify", "old"), Verdict, "verdicts")
    assert {(v.verifier, v.version, v.max_tokens) for v in verdicts} == {("signs", domain.VERSION, None)}


def test_other_verifier_judges_again(model, store, tmp_path):
    (tmp_path / "own.py").write_text(
        "from mixdistill.types import Outcome, Verdict\n"
        "def verify(problem, trace, *, outcome='correct'):\n"
        "    return Verdict(trace_id=trace.id, outcome=Outcome(outcome))\n"
    )
    for outcome in ("correct", "no_answer"):
        own = {"verifier": f"{tmp_path / 'own.py'}:verify", "outcome": outcome}
        _, ran = tiny.run(_study(model, tmp_path, verify=own), store.root, "verify")
        assert ran == ["verify/old"]
        assert {o.value for o in _outcomes(store)} == {outcome}


def test_nothing_changed_judges_nothing(model, store, tmp_path):
    assert "verify/old" not in tiny.run(_study(model, tmp_path), store.root, "generate", "verify")[1]


def test_fewer_problems_judge_only_those(model, store, tmp_path):
    _, ran = tiny.run(_study(model, tmp_path, problems=tiny.problem_sets(4, 5)), store.root, "generate", "verify")
    assert ran == ["verify/old"]
    assert len(_outcomes(store)) == 4
    assert len(store.read(store.folder("generate", "old"), Trace, "traces")) == 6, "what was bought is kept"


def test_fewer_samples_judge_and_train_on_only_those(model, tmp_path):
    """A run folder that once held more samples gives what a fresh one would."""

    def study(samples: int):
        teacher = {"backend": "scripted", "model": "long", "samples": samples}
        return tiny.study(model, teachers={"long": teacher}, arms={"long": {"long": 1}}, contrasts={})

    store, _ = tiny.run(study(3), tmp_path, "generate", "verify")
    assert len(accepted(store, "long")) == 3 * 24
    store, ran = tiny.run(study(1), tmp_path, "generate", "verify")
    assert ran == ["verify/long"]
    assert accepted(store, "long")["sample"].to_list() == [0] * 24


def test_grading_options_name_what_changes_a_verdict(model, tmp_path):
    options, given = verify.grading_options(_study(model, tmp_path))
    assert (options["verify.verifier"], options["verify.deadline"], given) == ("signs", 20.0, {})
    assert options["verifier_version"] == domain.VERSION
