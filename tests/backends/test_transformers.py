"""The backend for local models: what becomes of a request, and of what was sampled."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from small_model import CONTEXT, END, requests, sample, write_model  # noqa: E402

from mixdistill.backends.decoding import Prepared  # noqa: E402
from mixdistill.backends.transformers import Transformers, in_force  # noqa: E402
from mixdistill.errors import DataError, MissingExtra  # noqa: E402
from mixdistill.tokens import Template  # noqa: E402
from mixdistill.types import Request, Sampling  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("llama"))


def test_the_stop_token_is_counted_and_not_in_the_text(model: str) -> None:
    stopped = [c for c in sample(model, requests(24, temperature=1.0, max_tokens=60)) if c.finish_reason == "stop"]
    assert stopped
    for completion in stopped:
        assert completion.usage.completion_tokens == len(completion.token_ids or [])
        assert "<end>" not in completion.reasoning + completion.content


def test_the_stop_token_of_the_generation_config_ends_a_completion_too(
    tmp_path: Path,
) -> None:
    folder = write_model(tmp_path)
    backend = Transformers(folder)
    backend._loaded.generation_config.eos_token_id = [7, 8]
    ends = {c.token_ids[-1] for _, c in backend.generate(requests(40, temperature=1.5)) if c.finish_reason == "stop"}
    assert ends == {END, 7, 8}


def test_usage_and_seconds_are_those_of_the_row(model: str) -> None:
    completions = sample(model, requests(4, temperature=0, max_tokens=5))
    assert [c.usage.prompt_tokens for c in completions] == [
        2,
        3,
        4,
        5,
    ]  # the words and the generation prompt
    assert all(c.seconds is not None and c.seconds > 0 for c in completions)


def test_without_a_limit_a_completion_ends_at_the_context(model: str) -> None:
    wanted = requests(30, temperature=0)
    for completion in sample(model, wanted):
        used = (completion.usage.prompt_tokens or 0) + (completion.usage.completion_tokens or 0)
        assert used == CONTEXT if completion.finish_reason == "length" else used <= CONTEXT
    assert "length" in {c.finish_reason for c in sample(model, wanted)}


def test_a_prompt_that_fills_the_context_is_an_error_and_the_others_are_sampled(
    model: str,
) -> None:
    long = Request(prompt=" ".join(["w1"] * CONTEXT))
    first, second = sample(model, [long, *requests(1, max_tokens=3)])
    assert first.error == f"prompt has {CONTEXT + 1} tokens, context is {CONTEXT}"
    assert second.error is None and second.token_ids


def test_open_settings_come_from_the_generation_config(tmp_path: Path) -> None:
    settings = {
        "do_sample": True,
        "temperature": 0.8,
        "top_k": 5,
        "top_p": 0.9,
        "max_new_tokens": 11,
    }
    folder = write_model(tmp_path, **settings)
    told = requests(12, temperature=0.8, top_k=5, top_p=0.9, max_tokens=11)
    assert [c.token_ids for c in sample(folder, requests(12))] == [c.token_ids for c in sample(folder, told)]


def test_without_do_sample_an_open_temperature_is_greedy(model: str) -> None:
    greedy = sample(model, requests(8, temperature=0, max_tokens=9))
    assert [c.token_ids for c in sample(model, requests(8, max_tokens=9))] == [c.token_ids for c in greedy]


def test_a_setting_of_the_model_that_is_not_applied_is_said(tmp_path: Path) -> None:
    folder = write_model(tmp_path, repetition_penalty=1.1)
    with pytest.warns(UserWarning, match=r"repetition_penalty=1\.1"):
        sample(folder, requests(1, max_tokens=1))


def test_in_force_is_what_a_row_is_decoded_with(tmp_path: Path) -> None:
    own = write_model(
        tmp_path, do_sample=True, temperature=0.7, top_k=5, top_p=0.9, max_new_tokens=11, repetition_penalty=1.2
    )
    found = in_force(own, Sampling(), Template.load(own))
    with pytest.warns(UserWarning, match="repetition_penalty"):
        row = Transformers(own)._row(0, Request(prompt="w1"))
    assert isinstance(row, Prepared)
    said = found.settings
    assert (said["temperature"], said["top_k"], said["top_p"], said["max_tokens"]) == (
        row.temperature, row.top_k, row.top_p, row.limit,
    )  # fmt: skip
    assert (said["context"], said["stop_tokens"]) == (CONTEXT, [END])
    assert found.ignored == {"repetition_penalty": 1.2}
    asked = in_force(own, Sampling(temperature=0.5, top_k=3, max_tokens=7), Template.load(own)).settings
    assert (asked["temperature"], asked["top_k"], asked["top_p"], asked["max_tokens"]) == (0.5, 3, 0.9, 7)


def test_in_force_leaves_out_what_greedy_decoding_never_looks_at(tmp_path: Path) -> None:
    own = write_model(tmp_path, do_sample=True, top_k=5, top_p=0.9)
    assert not {"top_k", "top_p"} & in_force(own, Sampling(temperature=0), Template.load(own)).settings.keys()


def test_out_of_memory_halves_the_batch_and_changes_nothing(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = requests(20, temperature=0.9, max_tokens=15)
    expected = [c.token_ids for c in sample(model, wanted)]
    backend = Transformers(model, batch_size=16)
    forward, sizes = backend._loaded.forward, []

    def small_card(*args: object, **kwargs: object) -> object:
        rows, columns = (
            kwargs["past_key_values"].get_seq_length(),
            kwargs["input_ids"].shape[0],
        )
        if rows > 12 and columns > 4:
            raise torch.OutOfMemoryError("out of memory")
        sizes.append(columns)
        return forward(**kwargs)

    monkeypatch.setattr(backend._loaded, "forward", small_card)
    found = dict(backend.generate(wanted))
    assert [found[i].token_ids for i in range(20)] == expected
    assert max(sizes) == 16 and sizes[-1] <= 4


def test_a_row_too_big_alone_is_an_error_and_the_rest_goes_on(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Transformers(model, batch_size=4)
    forward = backend._loaded.forward

    def tiny_card(*args: object, **kwargs: object) -> object:
        if kwargs["input_ids"].shape[1] > 10:
            raise torch.OutOfMemoryError("out of memory")
        return forward(**kwargs)

    monkeypatch.setattr(backend._loaded, "forward", tiny_card)
    found = dict(backend.generate(requests(12, max_tokens=3)))
    failed = {position for position, completion in found.items() if completion.error}
    assert failed == {9, 10, 11} and "out of memory" in (found[9].error or "")


def test_a_model_that_cannot_be_loaded_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give a folder or hub id"):
        list(Transformers(str(tmp_path / "missing")).generate(requests(1)))


def test_without_torch_the_pip_line_is_named(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"^torch: not installed; run: pip install 'mixdistill\[train\]'$"):
        list(Transformers(model).generate(requests(1)))


def test_no_requests_give_nothing() -> None:
    assert list(Transformers("not loaded").generate([])) == []


def test_an_adapter_is_decoded_as_its_base(model: str, tmp_path: Path) -> None:
    import json

    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8, "base_model_name_or_path": model}))
    asked, template = Sampling(max_tokens=5), Template.load(model)
    assert in_force(str(tmp_path), asked, template) == in_force(model, asked, template)


def test_a_completion_ends_where_the_template_ends_a_turn_whatever_eos_is(tmp_path: Path) -> None:
    import templates
    import tiny

    template = templates.of("eos is not what ends a turn")
    backend = Transformers(tiny.save_student(tmp_path, template.tokenizer))
    eos = template.tokenizer.eos_token_id
    assert backend._loaded.generation_config.eos_token_id == eos
    assert backend._stop_ids == template.stop_ids | {eos}
    assert eos not in template.stop_ids


# -- answers that are begun -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 17])
def test_continuing_the_first_tokens_of_a_greedy_answer_gives_the_rest_of_it(model: str, n: int) -> None:
    wanted = requests(12, temperature=0, max_tokens=30)
    whole = [c.token_ids or [] for c in sample(model, wanted)]
    assert any(len(ids) == 30 for ids in whole) and any(len(ids) > 17 for ids in whole)
    begun = [
        (ids, r.model_copy(update={"prefix_ids": ids[:n], "sampling": Sampling(temperature=0, max_tokens=30 - n)}))
        for ids, r in zip(whole, wanted, strict=True)
        if len(ids) > n
    ]
    rest = sample(model, [r for _, r in begun])
    assert [c.token_ids for c in rest] == [ids[n:] for ids, _ in begun]
    assert {c.usage.prompt_tokens - len(model_prompt(model, r)) for c, (_, r) in zip(rest, begun, strict=True)} == {n}


def model_prompt(model: str, request: Request) -> list[int]:
    return Template.load(model).prompt_ids(request.prompt)


def test_what_goes_on_from_a_beginning_is_not_split_and_a_text_begins_it_as_well(model: str) -> None:
    prompt = Request(prompt="w1 w2", sampling=Sampling(temperature=0, max_tokens=8))
    ids = Template.load(model).encode("<think> w3")
    by_text, by_ids = sample(
        model, [prompt.model_copy(update=begun) for begun in ({"prefix": "<think> w3"}, {"prefix_ids": ids})]
    )
    assert by_text.token_ids == by_ids.token_ids
    assert (by_ids.reasoning, by_ids.content) == ("", Template.load(model).decode(by_ids.token_ids or []))
