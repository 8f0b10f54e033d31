"""Five outcomes add up everywhere: in every score, cap and group, of every teacher, and in the parts of every gap."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

import tiny
from mixdistill.evidence.gather import gather
from mixdistill.evidence.rows import Evidence
from mixdistill.types import Outcome, Score

VERIFIER = '''
"""Says anything of anything, always the same of the same."""

import hashlib

from mixdistill.types import Outcome, Verdict

SAID = [*Outcome, *[Outcome.CORRECT] * 7]


def any_outcome(problem, trace) -> Verdict:
    seen = repr((problem.id, trace.reasoning, trace.content, trace.finish_reason)).encode()
    flexible, strict = (SAID[byte % len(SAID)] for byte in hashlib.sha256(seen).digest()[:2])
    return Verdict(trace_id=trace.id, outcome=flexible, strict=strict)
'''


@pytest.fixture(scope="module", params=["strict", "flexible"])
def evidence(request, tmp_path_factory) -> Evidence:
    folder: Path = tmp_path_factory.mktemp("outcomes")
    (folder / "any.py").write_text(VERIFIER)
    study = tiny.study(
        tiny.student(folder / "student"),
        problems=tiny.problem_sets(24, 16),
        verify={"verifier": f"{folder / 'any.py'}:any_outcome", "rule": request.param},
        budget={"per_update": 2},
        train={"num_train_epochs": 1},
        evaluate={"k": 2, "caps": [8, 16], "sampling": {"temperature": 1.0, "max_tokens": 24}},
        error_rate=0.5,
        seeds=2,
    )
    stages = ("generate", "verify", "analyze", "mix", "train", "evaluate")
    store, _ = tiny.run(study, folder / "run", *stages)
    return gather(study, store)


def test_of_every_score_at_every_cap_and_in_every_group(evidence):
    assert {s.max_tokens for s in evidence.scores} == {None, 8, 16}
    assert {s.arm for s in evidence.scores} == {"base", "long", "short"}
    for score in evidence.scores:
        assert sum(getattr(score, outcome) for outcome in Outcome) == score.examples
    assert all(sum(getattr(s, outcome) for s in evidence.scores) for outcome in Outcome), "each of them was there"


def test_of_the_groups_to_those_of_all_problems(evidence):
    by_group: dict[tuple[object, ...], dict[str, Score]] = defaultdict(dict)
    for s in evidence.scores:
        by_group[s.arm, s.seed, s.max_tokens][s.group] = s
    for groups in by_group.values():
        whole = groups.pop("all")
        assert len(groups) > 1, "the problems have levels"
        for count in ("examples", *Outcome):
            assert sum(getattr(s, count) for s in groups.values()) == getattr(whole, count)


def test_of_every_teacher_to_its_verified_traces(evidence):
    assert [t.name for t in evidence.teachers] == ["long", "short"]
    for t in evidence.teachers:
        counts = (t.correct, t.incorrect, t.no_answer, t.truncated, t.error_verdicts)
        assert sum(counts) == t.traces == 24


def test_of_the_parts_to_every_gap(evidence):
    whole = [g for g in evidence.gaps if g.group == "all"]
    assert {g.name for g in whole} == {"long_cot_gap", "long_over_base", "short_over_base"}
    for gap in whole:
        mine = [p for p in evidence.details.parts if (p.name, p.max_tokens) == (gap.name, gap.max_tokens)]
        assert len(mine) == 4
        assert sum(p.delta for p in mine) == pytest.approx(gap.delta, abs=1e-12)
    assert all(any(any(p.rates) for p in evidence.details.parts if p.part == part.part) for part in mine)


def test_of_the_parts_to_the_scores(evidence):
    """Where an answer of another reading cannot move it, a part is a count of outcomes."""
    for part in evidence.details.parts:
        for arm, rate in zip(part.arms, part.rates, strict=True):
            key = (arm, part.max_tokens, "all")
            mine = [s for s in evidence.scores if (s.arm, s.max_tokens, s.group) == key]
            answers = sum(s.examples for s in mine)
            if part.part in ("does not stop", "error"):
                count = {"does not stop": "truncated", "error": "error"}[part.part]
                assert rate == pytest.approx(sum(getattr(s, count) for s in mine) / answers)
            elif part.part == "not extracted":
                assert rate >= sum(s.no_answer for s in mine) / answers - 1e-12
