"""The soak of faulty servers sees what it looks for."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import tiny
from mixdistill.fake.answers import Known
from mixdistill.fake.server import Provider
from teachers import MARGIN_MB, Soak, journal_faults, memory_faults, memory_thirds


@pytest.fixture
def soak(tmp_path: Path) -> Soak:
    known = Known([tiny.problem("How far?", "1")], lambda p: p.answer)
    return Soak(tmp_path, 30, 1, Provider(known, {}), [], random.Random(0))


def journal(folder: Path, *events: tuple[str, str, float]) -> Path:
    path = folder / "journal"
    path.write_text("".join(json.dumps({"key": k, "event": e, "at": at}) + "\n" for k, e, at in events))
    return path


def test_a_fault_may_be_asked_again_and_a_whole_answer_may_not(soak: Soak):
    after_a_fault = journal(soak.folder, ("a", "asked", 1), ("a", "500", 2), ("a", "asked", 3), ("a", "whole", 4))
    assert journal_faults(soak, after_a_fault) == ([], [])
    twice = journal(soak.folder, ("a", "asked", 1), ("a", "whole", 2), ("a", "asked", 3), ("a", "whole", 4))
    assert journal_faults(soak, twice) == (["a: asked again after a whole answer, without a kill"], [])


def test_a_kill_may_lose_what_was_in_flight_and_no_more(soak: Soak):
    soak.killed = [2.5]
    a = [("a", "asked", 1.0), ("a", "whole", 2.0), ("a", "asked", 3.0), ("a", "whole", 4.0)]
    assert journal_faults(soak, journal(soak.folder, *a)) == ([], [1])
    both = [*a, *(("b", event, at) for _, event, at in a)]
    said = ["kill 1: 2 whole answers lost, more than were in flight"]
    assert journal_faults(soak, journal(soak.folder, *both)) == (said, [2])


def test_memory_may_not_grow_past_the_margin_from_third_to_third(soak: Soak):
    soak.memory = [(1, 90.0), (9, 100.0), (12, 100.0 + MARGIN_MB), (29, 101.0 + MARGIN_MB)]
    assert memory_thirds(soak) == [100.0, 132.0, 133.0]
    assert memory_faults(memory_thirds(soak)) == ["133 MB in third 3, 100 in the first"]
    assert memory_faults([0.0, 1.0, 1.0]) == ["memory was not seen in the first third"]
