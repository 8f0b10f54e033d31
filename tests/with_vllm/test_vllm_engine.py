"""The backend `vllm` with the real engine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lora import adapter, merged
from rows import answers, ids, requests, unequal

from mixdistill.backends import engines
from mixdistill.backends.swapped import Swapped
from mixdistill.backends.transformers import Transformers
from mixdistill.backends.vllm import VLLM
from mixdistill.errors import DataError, StageError
from mixdistill.types import Completion, Request, Sampling

FAST = {"dtype": "float32", "enforce_eager": True}


@pytest.fixture(scope="module")
def teacher(lab: Path) -> str:
    return str(lab / "teacher-small")


def test_greedy_rows_are_those_of_transformers_to_the_last_field(teacher: str):
    wanted = requests(100)
    ours, theirs = answers(VLLM(teacher, **FAST), wanted), answers(Transformers(teacher), wanted)
    assert unequal(teacher, wanted, ours, theirs) == []
    assert {c.finish_reason for c in ours} == {"stop"} and all(c.reasoning and c.content for c in ours)


def test_rows_that_are_cut_are_those_of_transformers_too(teacher: str):
    wanted = requests(20, max_tokens=7)
    ours = answers(VLLM(teacher, **FAST), wanted)
    assert unequal(teacher, wanted, ours, answers(Transformers(teacher), wanted)) == []
    assert {c.finish_reason for c in ours} == {"length"} and {c.content for c in ours} == {""}


def test_sampled_rows_depend_on_their_seeds_and_not_on_order_or_company(teacher: str):
    wanted = requests(40, temperature=1.0, top_p=0.95)
    once = answers(VLLM(teacher, **FAST), wanted)
    again = answers(VLLM(teacher, concurrency=3, **FAST), wanted[::-1])[::-1]
    assert again == once
    other = answers(VLLM(teacher, **FAST), [r.model_copy(update={"seed": r.seed + 1000}) for r in wanted])
    assert ids(other) != ids(once)


def test_requests_are_drawn_when_there_is_room_and_rows_given_when_they_end(teacher: str):
    """None comes where nothing is to be had before a completion; what is refused counts as answered."""
    wanted = [Request(prompt="9 " * 600), *requests(30)]
    drawn = answered = 0

    def draws() -> Iterator[Request | None]:
        nonlocal drawn
        for request in wanted:
            while drawn - answered >= 2:
                yield None
            drawn += 1
            yield request

    places = []
    for position, completion in VLLM(teacher, **FAST).generate(draws()):
        assert drawn - answered <= 2, "and not all at once"
        assert bool(completion.error) == (position == 0)
        answered += 1
        places.append(position)
    assert sorted(places) == list(range(31))


def test_no_more_rows_are_in_the_engine_than_is_said(teacher: str):
    drawn = answered = most = 0

    def draws() -> Iterator[Request]:
        nonlocal drawn, most
        for request in requests(20):
            drawn += 1
            most = max(most, drawn - answered)
            yield request

    for _ in VLLM(teacher, concurrency=4, **FAST).generate(draws()):
        answered += 1
    assert most == 4 and answered == 20


def test_what_is_closed_early_is_dropped_and_the_worker_goes_on(teacher: str):
    backend = VLLM(teacher, **FAST)
    rows = backend.generate(requests(50))
    next(rows)
    rows.close()
    assert len(answers(backend, requests(3))) == 3


def test_a_prompt_that_fills_the_context_is_an_error_and_the_others_are_sampled(teacher: str):
    long, short = answers(VLLM(teacher, max_model_len=64, **FAST), [Request(prompt="9 " * 70), *requests(1)])
    assert long.error and long.error.endswith("tokens, context is 64")
    assert short.error is None and short.token_ids


def test_open_settings_and_stop_tokens_come_from_the_generation_config(teacher: str, tmp_path: Path):
    own = Path(shutil.copytree(teacher, tmp_path / "own"))
    said = json.loads((own / "generation_config.json").read_text())
    ends = answers(VLLM(teacher, **FAST), requests(1))[0].token_ids
    assert ends
    said |= {"eos_token_id": [said["eos_token_id"], ends[3]], "max_new_tokens": 6}
    (own / "generation_config.json").write_text(json.dumps(said))
    wanted = [r.model_copy(update={"sampling": Sampling()}) for r in requests(30)]
    ours = answers(VLLM(str(own), **FAST), wanted)
    assert ours[0].token_ids == ends[: ends.index(ends[3]) + 1] and ours[0].finish_reason == "stop"
    assert unequal(str(own), wanted, ours, answers(Transformers(str(own)), wanted)) == []
    assert "length" in {c.finish_reason for c in ours}


def test_two_adapters_say_what_their_merged_weights_say(teacher: str, tmp_path: Path):
    wanted = requests(40)
    said = [ids(answers(VLLM(teacher, **FAST), wanted))]
    for seed in (1, 2):
        low = adapter(teacher, tmp_path / f"low{seed}", seed=seed)
        whole = merged(teacher, low, tmp_path / f"whole{seed}")
        ours = answers(VLLM(low, **FAST), wanted)
        assert unequal(whole, wanted, ours, answers(Transformers(whole), wanted)) == []
        said.append(ids(ours))
    assert all(a != b for i, a in enumerate(said) for b in said[:i])


def test_continuing_the_first_tokens_of_a_greedy_answer_gives_the_rest_of_it(teacher: str):
    wanted = requests(20)
    whole = answers(VLLM(teacher, **FAST), wanted)
    begun = [r.model_copy(update={"prefix_ids": c.token_ids[:9]}) for r, c in zip(wanted, whole, strict=True)]
    rest = answers(VLLM(teacher, **FAST), begun)
    assert unequal(teacher, begun, rest, answers(Transformers(teacher), begun)) == []
    assert sum([*r.prefix_ids, *c.token_ids] == w.token_ids for r, c, w in zip(begun, rest, whole, strict=True)) >= 19
    assert all(c.reasoning == "" and c.content for c in rest), "and it is not split"


def test_an_engine_that_is_kept_serves_one_list_after_another_and_ends_with_the_block(teacher: str):
    wanted = requests(3)
    with VLLM(teacher, **FAST) as backend:
        once, engine = answers(backend, wanted), backend._llm
        rows = backend.generate(wanted)
        next(rows)
        rows.close()
        assert ids(answers(backend, wanted)) == ids(once)
        assert backend._llm is engine
    assert "_llm" not in vars(backend)


def test_what_cannot_be_loaded_is_said_in_a_line(teacher: str, tmp_path: Path):
    with pytest.raises(DataError, match=r"give a model folder|give a folder or hub id"):
        list(VLLM(str(tmp_path / "missing"), **FAST).generate(requests(1)))
    with pytest.raises(
        StageError, match=r"vLLM cannot start with it \(.*dtype.*\); mend its options, or use transformers"
    ):
        list(VLLM(teacher, dtype="float3").generate(requests(1)))


def test_nothing_is_reported_to_anybody():
    assert os.environ["VLLM_NO_USAGE_STATS"] == os.environ["DO_NOT_TRACK"] == "1"
    from vllm.usage.usage_lib import is_usage_stats_enabled

    assert not is_usage_stats_enabled()


def test_one_loaded_base_says_with_each_adapter_what_peft_says_and_is_itself_between(
    teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One list after another, as units of a worker come: base, an adapter, another in the same folder, base again."""
    started, start = [], VLLM._start
    monkeypatch.setattr(VLLM, "_start", lambda backend: started.append(backend) or start(backend))
    wanted, place = requests(40), tmp_path / "model" / "adapter"
    place.parent.mkdir()

    def said(low: str | None) -> list[Completion]:
        with engines.shared("base"):
            return answers(Swapped(teacher, low, rank=4, engine_name="base", **FAST), wanted)

    base, by_adapter = said(None), []
    for seed in (1, 2):
        shutil.rmtree(place, ignore_errors=True)
        low = adapter(teacher, place, seed=seed)
        by_adapter.append(said(low))
        whole = with_peft(teacher, low, tmp_path / f"whole{seed}")
        assert unequal(whole, wanted, by_adapter[-1], answers(Transformers(whole), wanted)) == []
    again = said(None)
    assert len(started) == 1
    engines.end()
    assert again == base and unequal(teacher, wanted, base, answers(Transformers(teacher), wanted)) == []
    assert ids(base) != ids(by_adapter[0]) != ids(by_adapter[1]) != ids(base)


def with_peft(base: str, low: str, out: Path) -> str:
    """The whole model that PEFT makes of an adapter on its base."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    shutil.copytree(base, out)
    PeftModel.from_pretrained(model, low).merge_and_unload().save_pretrained(out)
    return str(out)
