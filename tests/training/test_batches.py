"""Rows are checked, cut where that was asked for, and put into micro-batches that lose and double nothing."""

import random

import pytest

import tiny
from mixdistill.errors import StageError
from mixdistill.tokens import Template
from mixdistill.training.batches import IGNORED, Collate, Tokenised, check_rows, micro_batches, pad


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


def test_loss_is_on_completions_with_their_stop_token_alone(model):
    template = Template.load(model)
    rows = [Tokenised(*template.render("Q 8 4 7 T 5 :", "+ " * n, "A + -")) for n in (0, 3, 40)]
    labels, inputs = pad(rows, template.pad_id)
    for i, (prompt, completion) in enumerate(rows):
        n = len(prompt) + len(completion)
        assert inputs["input_ids"][i, :n].tolist() == prompt + completion
        assert labels[i, : len(prompt)].eq(IGNORED).all()
        assert labels[i, len(prompt) : n].tolist() == completion
        assert int(labels[i, n - 1]) in template.stop_ids
        assert labels[i, n:].eq(IGNORED).all()
        assert inputs["input_ids"][i, n:].eq(template.pad_id).all()


def test_stop_token_carries_loss_even_where_it_is_the_pad_token(tmp_path):
    template = Template(tiny.byte_tokenizer(pad_token="<|im_end|>", eos_token="<|im_end|>"), {})
    rows = [Tokenised(*template.render("Hi?", "", text)) for text in ("yes", "a longer answer")]
    assert template.pad_id in template.stop_ids
    labels, _ = pad(rows, template.pad_id)
    assert [int((row == template.pad_id).sum()) for row in labels] == [1, 1]


def test_micro_batches_hold_every_row_once_within_the_limit():
    rng = random.Random(1)
    lengths = [rng.randint(2, 45) for _ in range(50)]
    update = [*range(50), 7]  # a row may come twice
    for limit in (1, 60, 10_000):
        batches = micro_batches(update, lengths, limit)
        assert sorted(i for b in batches for i in b) == sorted(update)
        for batch in batches:
            assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= limit


def test_rows_of_like_length_share_a_pass_and_rows_of_unlike_length_do_not():
    lengths = [10, 1000, 10, 1000]
    assert micro_batches(range(4), lengths, 10_000) == [[1, 3], [0, 2]]
    assert micro_batches(range(16), [10] * 16, 10_000) == [list(range(16))]
    assert micro_batches([1, 3], lengths, 1_500) == [[1], [3]]


def test_row_without_stop_token_prompt_or_completion_is_refused(model):
    template = Template.load(model)
    row = Tokenised(*template.render("Q 8 4 7 T 5 :", "", "A + -"))
    check_rows([row], template, 100)
    for bad in (row.cut(row.length - 1), row._replace(completion=[]), row._replace(prompt=[])):
        with pytest.raises(StageError, match="example 1 does not end in the stop token or is empty"):
            check_rows([row, bad], template, 100)


def test_row_is_cut_at_the_end_and_of_a_longer_prompt_nothing_carries_loss():
    row = Tokenised([1, 2, 3], [4, 5])
    assert (row.cut(5), row.cut(4), row.cut(3), row.cut(2)) == (row, ([1, 2, 3], [4]), ([1, 2, 3], []), ([1, 2], []))


def test_longer_rows_pass_the_check_only_where_they_are_to_be_cut(model):
    template = Template.load(model)
    row = Tokenised(*template.render("Q 8 4 7 T 5 :", "", "A + -"))
    check_rows([row], template, row.length - 1, "truncate")
    for overlong in ("refuse", "drop"):
        with pytest.raises(StageError, match=f"example 0 has {row.length} tokens, max_length={row.length - 1}"):
            check_rows([row], template, row.length - 1, overlong)


def test_update_becomes_micro_batches_that_know_their_rows_and_loss_tokens():
    rows = [Tokenised([1] * 2, [2] * n) for n in (3, 900, 4)]
    batches = Collate(rows, 0, 10_000)([{"examples": [0, 1, 2]}])["micro_batches"]
    assert [(b.rows, b.loss_tokens) for b in batches] == [([1], [900]), ([2, 0], [4, 3])]
    assert [tuple(b.inputs["input_ids"].shape) for b in batches] == [(1, 902), (2, 6)]
