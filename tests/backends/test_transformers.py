"""The backend for local models, on a tiny random Llama with a word-level tokenizer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from mixdistill.backends.transformers import Transformers, _pick, _Row, _without, in_force  # noqa: E402
from mixdistill.errors import DataError, StageError  # noqa: E402
from mixdistill.types import Completion, Request, Sampling  # noqa: E402

WORDS = [
    "<pad>",
    "<end>",
    "<unk>",
    ":",
    "<think>",
    "</think>",
    *[f"w{i}" for i in range(26)],
]
END, CONTEXT = 1, 96
TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %} <end>{% endif %} {% endfor %}"
    "{% if add_generation_prompt %}: {% endif %}"
)
SHAPE = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SHAPE |= {
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": CONTEXT,
}
# Large weights make a random model decided enough for its greedy path to wander and to end now and then.
SHAPE |= {
    "initializer_range": 0.4,
    "eos_token_id": END,
    "bos_token_id": None,
    "pad_token_id": 0,
}
GPT2 = {
    "vocab_size": len(WORDS),
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": CONTEXT,
}
GPT2 |= {
    "initializer_range": 0.4,
    "eos_token_id": END,
    "bos_token_id": None,
    "pad_token_id": 0,
}


def write_model(folder: Path, config: object = None, **generation: object) -> str:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<pad>", unk_token="<unk>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config or LlamaConfig(**SHAPE))
    model.generation_config.update(eos_token_id=END, pad_token_id=0, **generation)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("llama"))


def requests(count: int, **sampling: float | None) -> list[Request]:
    """Prompts of 1 to 12 words, each with its own seed."""
    rng = random.Random(0)
    prompts = [" ".join(rng.choices(WORDS[6:], k=1 + i % 12)) for i in range(count)]
    return [Request(prompt=text, seed=i, sampling=Sampling(**sampling)) for i, text in enumerate(prompts)]


def sample(model: str, wanted: list[Request], **options: int) -> list[Completion]:
    """Completions in the order of the requests."""
    found = list(Transformers(model, **options).generate(wanted))
    assert sorted(position for position, _ in found) == list(range(len(wanted)))
    return [completion for _, completion in sorted(found, key=lambda item: item[0])]


def reference(model: str, wanted: list[Request], tokens: int) -> list[list[int]]:
    """What `model.generate` gives, one prompt at a time."""
    backend = Transformers(model)
    lm, template = backend._loaded, backend._template
    found = []
    for request in wanted:
        ids = torch.tensor([template.prompt_ids(request.prompt)])
        full = lm.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
        )
        found.append(full[0, ids.shape[1] :].tolist())
    return found


def assert_same_but_for_ties(model: str, wanted: list[Request], ours: list[list[int]], theirs: list[list[int]]) -> None:
    """Equal up to the first place where the two likeliest tokens are within 1e-4 of each other."""
    backend = Transformers(model)
    for request, a, b in zip(wanted, ours, theirs, strict=True):
        if a == b:
            continue
        split = next(
            (i for i, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]),
            min(len(a), len(b)),
        )
        ids = torch.tensor([backend._template.prompt_ids(request.prompt) + b[:split]])
        top = backend._loaded(ids).logits[0, -1].topk(2).values
        assert top[0] - top[1] < 1e-4, (request.prompt, a, b)


ARCHITECTURES = {
    "llama": LlamaConfig(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE),
    "mistral-sliding-window": MistralConfig(**SHAPE, sliding_window=8),
    "gpt2": GPT2Config(**GPT2),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_in_a_batch_of_mixed_prompt_lengths_equals_generate_one_by_one(name: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path, ARCHITECTURES[name])
    wanted = requests(24, temperature=0, max_tokens=30)
    theirs = reference(folder, wanted, 30)
    for batch_size in (5, 24):
        ours = [c.token_ids or [] for c in sample(folder, wanted, batch_size=batch_size)]
        assert_same_but_for_ties(folder, wanted, ours, theirs)


def test_the_greedy_reference_has_rows_that_stop_early_and_rows_that_do_not(
    model: str,
) -> None:
    reasons = {c.finish_reason for c in sample(model, requests(24, temperature=0, max_tokens=30))}
    assert reasons == {"stop", "length"}


def test_sampled_completions_do_not_depend_on_batch_size_or_order(model: str) -> None:
    wanted = requests(40, temperature=0.9, top_p=0.95, top_k=20, max_tokens=25)
    first = [c.token_ids for c in sample(model, wanted, batch_size=40)]
    assert [c.token_ids for c in sample(model, wanted, batch_size=3)] == first
    assert [c.token_ids for c in sample(model, wanted[::-1], batch_size=7)] == first[::-1]
    assert [c.token_ids for c in sample(model, wanted[3:4])] == first[3:4]


def test_greedy_and_sampled_requests_may_share_a_batch(model: str) -> None:
    greedy, hot = (
        requests(12, temperature=0, max_tokens=12),
        requests(12, temperature=1.0, max_tokens=12),
    )
    mixed = [request for pair in zip(greedy, hot, strict=True) for request in pair]
    together = [c.token_ids for c in sample(model, mixed)]
    assert together[::2] == [c.token_ids for c in sample(model, greedy)]
    assert together[1::2] == [c.token_ids for c in sample(model, hot)]


def test_another_seed_gives_another_completion(model: str) -> None:
    request = requests(1, temperature=1.5, max_tokens=12)[0]
    completions = sample(model, [request.model_copy(update={"seed": seed}) for seed in range(20)])
    assert len({tuple(c.token_ids or []) for c in completions}) > 10


def row(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> _Row:
    return _Row(0, [], 1, temperature, top_k, top_p, 0)


def frequencies(settings: _Row, logits: list[float], draws: int = 20_000) -> list[float]:
    """How often each token is drawn."""
    generators = [random.Random(seed) for seed in range(draws)]
    tokens = _pick(torch.tensor([logits]).expand(draws, -1), [settings] * draws, generators)
    return (torch.bincount(tokens, minlength=len(logits)) / draws).tolist()


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (row(), [0, 1, 2, 3, 4]),
        (row(temperature=0.5), [0, 1, 2, 3, 4]),
        (row(temperature=2.0, top_k=3), [1, 3, 4]),
        (row(top_p=0.8), [1, 4]),  # 0.61 + 0.22 of the whole reach 0.8
        (row(top_k=3, top_p=0.95), [1, 3, 4]),  # top_p is of what top_k left
        (row(top_p=0.0), [1]),
    ],
)
def test_tokens_are_drawn_with_the_probabilities_of_the_filtered_softmax(settings: _Row, kept: list[int]) -> None:
    logits = [-0.5, 3.0, -1.0, 1.0, 2.0]
    weights = torch.full((5,), -torch.inf)
    weights[kept] = torch.tensor(logits)[kept] / settings.temperature
    expected = weights.softmax(0).tolist()
    draws = 20_000
    found = frequencies(settings, logits, draws)
    assert [i for i, share in enumerate(found) if share > 0] == kept
    chi_square = sum((f - e) ** 2 / e for f, e in zip(found, expected, strict=True) if e > 0) * draws
    assert chi_square < 18.5  # 4 degrees of freedom, p = 0.001


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    assert frequencies(row(), [-torch.inf, 0.0, -torch.inf], 2000) == [0.0, 1.0, 0.0]


def test_top_k_of_one_equals_greedy(model: str) -> None:
    greedy = sample(model, requests(16, temperature=0, max_tokens=20))
    sampled = sample(model, requests(16, temperature=1.3, top_k=1, max_tokens=20))
    assert [c.token_ids for c in sampled] == [c.token_ids for c in greedy]


def test_a_completion_ends_at_max_tokens_or_at_its_stop_token(model: str) -> None:
    for limit in (1, 7, 30):
        for completion in sample(model, requests(24, temperature=1.0, max_tokens=limit)):
            ids = completion.token_ids or []
            assert END not in ids[:-1]
            if completion.finish_reason == "stop":
                assert ids[-1] == END and len(ids) <= limit
            else:
                assert completion.finish_reason == "length" and len(ids) == limit and ids[-1] != END


def test_a_shorter_limit_gives_a_prefix_of_the_longer_completion(model: str) -> None:
    long = sample(model, requests(16, temperature=0.8, max_tokens=30))
    short = sample(model, requests(16, temperature=0.8, max_tokens=9))
    assert [c.token_ids for c in short] == [(c.token_ids or [])[:9] for c in long]


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
    found = in_force(own, Sampling())
    with pytest.warns(UserWarning, match="repetition_penalty"):
        row = Transformers(own)._row(0, Request(prompt="w1"))
    assert isinstance(row, _Row)
    said = found.settings
    assert (said["temperature"], said["top_k"], said["top_p"], said["max_tokens"]) == (
        row.temperature, row.top_k, row.top_p, row.limit,
    )  # fmt: skip
    assert (said["context"], said["stop_tokens"]) == (CONTEXT, [END])
    assert found.ignored == {"repetition_penalty": 1.2}
    asked = in_force(own, Sampling(temperature=0.5, top_k=3, max_tokens=7)).settings
    assert (asked["temperature"], asked["top_k"], asked["top_p"], asked["max_tokens"]) == (0.5, 3, 0.9, 7)


def test_in_force_leaves_out_what_greedy_decoding_never_looks_at(tmp_path: Path) -> None:
    own = write_model(tmp_path, do_sample=True, top_k=5, top_p=0.9)
    assert not {"top_k", "top_p"} & in_force(own, Sampling(temperature=0)).settings.keys()


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


def test_completions_are_given_as_rows_end(model: str) -> None:
    wanted = requests(24, temperature=0, max_tokens=30)
    stream = Transformers(model, batch_size=24).generate(wanted)
    lengths = [len(completion.token_ids or []) for _, completion in stream]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_the_caller_is_not_left_in_inference_mode(model: str) -> None:
    for _ in Transformers(model).generate(requests(3, max_tokens=2)):
        assert not torch.is_inference_mode_enabled()


def test_a_model_that_cannot_be_loaded_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give a folder or hub id"):
        list(Transformers(str(tmp_path / "missing")).generate(requests(1)))


def test_a_diverged_model_stops_the_stage(tmp_path: Path) -> None:
    backend = Transformers(write_model(tmp_path))
    torch.nn.init.constant_(backend._loaded.get_input_embeddings().weight, float("nan"))
    with pytest.raises(StageError, match="NaN"):
        list(backend.generate(requests(2, max_tokens=3)))


def test_no_requests_give_nothing() -> None:
    assert list(Transformers("not loaded").generate([])) == []


@pytest.mark.parametrize("ended", [[0], [4], [0, 1, 4], [2, 3], [0, 1, 2, 3, 4]])
def test_rows_that_go_on_are_all_kept_and_move_only_into_holes(
    ended: list[int],
) -> None:
    keep = _without(5, ended)
    assert sorted(keep) == [i for i in range(5) if i not in ended]
    assert all(place == i for i, place in enumerate(keep) if i not in ended)
