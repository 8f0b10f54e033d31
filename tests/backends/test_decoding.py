"""The decode loop, on a tiny random model: as `model.generate`, whatever is decoded beside a row."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from small_model import CONTEXT, END, SHAPE, WORDS, requests, sample, write_model  # noqa: E402
from transformers import GPT2Config, LlamaConfig, MistralConfig, Qwen3Config  # noqa: E402

from mixdistill.backends.decoding import Prepared, pick, without  # noqa: E402
from mixdistill.backends.transformers import Transformers  # noqa: E402
from mixdistill.errors import StageError  # noqa: E402
from mixdistill.types import Request  # noqa: E402

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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("llama"))


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


def row(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Prepared:
    return Prepared(0, [], 1, temperature, top_k, top_p, 0)


def frequencies(settings: Prepared, logits: list[float], draws: int = 20_000) -> list[float]:
    """How often each token is drawn."""
    generators = [random.Random(seed) for seed in range(draws)]
    tokens = pick(torch.tensor([logits]).expand(draws, -1), [settings] * draws, generators)
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
def test_tokens_are_drawn_with_the_probabilities_of_the_filtered_softmax(settings: Prepared, kept: list[int]) -> None:
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


def test_completions_are_given_as_rows_end(model: str) -> None:
    wanted = requests(24, temperature=0, max_tokens=30)
    stream = Transformers(model, batch_size=24).generate(wanted)
    lengths = [len(completion.token_ids or []) for _, completion in stream]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_the_caller_is_not_left_in_inference_mode(model: str) -> None:
    for _ in Transformers(model).generate(requests(3, max_tokens=2)):
        assert not torch.is_inference_mode_enabled()


def test_a_diverged_model_stops_the_stage(tmp_path: Path) -> None:
    backend = Transformers(write_model(tmp_path))
    torch.nn.init.constant_(backend._loaded.get_input_embeddings().weight, float("nan"))
    with pytest.raises(StageError, match="NaN"):
        list(backend.generate(requests(2, max_tokens=3)))


@pytest.mark.parametrize("ended", [[0], [4], [0, 1, 4], [2, 3], [0, 1, 2, 3, 4]])
def test_rows_that_go_on_are_all_kept_and_move_only_into_holes(
    ended: list[int],
) -> None:
    keep = without(5, ended)
    assert sorted(keep) == [i for i in range(5) if i not in ended]
    assert all(place == i for i, place in enumerate(keep) if i not in ended)
