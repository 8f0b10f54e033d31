"""The harness's samples against ours: every difference gets its reason, and what has none is unexplained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from mixdistill.errors import DataError
from mixdistill.handover import lm_eval
from mixdistill.handover.lm_eval import Evaluated, Key
from mixdistill.handover.lm_eval_check import CrossCheck, check
from mixdistill.store import Store

LIMIT = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Evaluated:
    """A student of random weights: it never stops."""
    model, root = tiny.student(tmp_path_factory.mktemp("student")), tmp_path_factory.mktemp("run")
    study = tiny.study(model, evaluate={"caps": []})
    tiny.failures(study, root, "evaluate")
    return lm_eval.read(study, Store(root), Key("t", "base", None, "signs"))


@pytest.fixture
def samples(made: Evaluated) -> list[dict[str, Any]]:
    return list(lm_eval.samples(made))


@pytest.fixture
def checked(made: Evaluated, tmp_path: Path):
    def of(samples: list[dict[str, Any]], evaluated: Evaluated = made, arguments: Any = None) -> CrossCheck:
        file = tmp_path / "samples_mixdistill_signs_2026.jsonl"
        file.write_text("".join(json.dumps(s) + "\n" for s in samples))
        said = {"pretrained": made.model, "dtype": "float32", "add_bos_token": False, **(arguments or {})}
        (tmp_path / "results_2026.json").write_text(json.dumps({"config": {"model_args": said}}))
        return check(evaluated, file)

    return of


def only(found: CrossCheck) -> tuple[str, str]:
    """Reason and detail of the only difference."""
    (one,) = found.differences
    assert found.reasons == {"same": found.compared - 1, one.reason: 1}
    return one.reason, one.detail


def test_our_own_samples_are_the_same(samples, checked):
    found = checked(samples)
    assert (found.reasons, found.ours_alone, found.theirs_alone, found.passed) == ({"same": 10}, 0, 0, True)
    assert [(v.compared, v.agree) for v in found.verdicts] == [(10, 10), (10, 10)]


def test_special_tokens_and_white_space_are_no_difference_of_tokens(made: Evaluated, samples, checked):
    trace = made.traces[samples[3]["doc"]["id"]]
    ids = list(made.ids(trace))
    ids[4] = made.template.tokenizer.pad_token_id
    special = replace(made, traces={**made.traces, trace.problem_id: trace.model_copy(update={"token_ids": ids})})
    samples[3]["resps"] = [[special.text(special.traces[trace.problem_id], special=False)]]
    assert only(checked(samples, special)) == ("special tokens", "")
    samples[3]["resps"] = [[special.text(special.traces[trace.problem_id], special=False).replace(" ", "  ", 1)]]
    found = checked(samples, special)
    assert only(found) == ("white space", "")
    assert found.passed


def test_another_prompt_is_shown_where_it_parts(samples, checked):
    prompt = samples[0]["arguments"]["gen_args_0"]["arg_0"]
    samples[0]["arguments"]["gen_args_0"]["arg_0"] = f"Be brief.\n{prompt}"
    samples[0]["resps"] = [["A + +"]]
    assert only(checked(samples)) == ("prompt", f"{prompt!r} here, {'Be brief.' + chr(10) + prompt!r} there")


def _adding(made: Evaluated) -> Evaluated:
    """With a tokenizer that puts a token before every prompt."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny.word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<pad> $A", special_tokens=[("<pad>", 0)])
    return replace(made, template=replace(made.template, tokenizer=tokenizer))


def test_tokens_that_the_tokenizer_adds_to_the_prompt_are_named(made: Evaluated, samples, checked):
    adding = _adding(made)
    samples[0]["resps"] = [["A + +"]]
    assert only(checked(samples, adding, {"add_bos_token": None})) == ("prompt tokens", "1 of them")
    assert only(checked(samples, adding))[0] == "unexplained"


def test_the_models_own_settings_are_named_where_they_were_not_turned_off(made: Evaluated, samples, checked):
    own = replace(made, facts={**made.facts, "ignored": {"repetition_penalty": 1.05}})
    samples[0]["resps"] = [["A + +"]]
    assert only(checked(samples, own)) == ("settings", "repetition_penalty 1.05")
    samples[0]["arguments"]["gen_args_0"]["arg_1"]["repetition_penalty"] = 1.0
    assert only(checked(samples, own))[0] == "unexplained"


def test_a_stop_string_that_we_do_not_have_is_named(samples, checked):
    words = samples[2]["resps"][0][0].split()
    samples[2]["resps"] = [[" ".join(words[:5])]]
    samples[2]["arguments"]["gen_args_0"]["arg_1"]["until"] = ["<eos>", words[5]]
    assert only(checked(samples)) == ("stop string", repr(words[5]))


def test_either_limit_on_tokens_is_named(made: Evaluated, samples, checked):
    whole = samples[2]["resps"][0][0]
    samples[2]["resps"] = [[" ".join(whole.split()[:8])]]
    samples[2]["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"] = 8
    assert only(checked(samples)) == ("their limit", "8 tokens")
    samples[2]["resps"] = [[f"{whole} 3 4"]]
    assert only(checked(samples)) == ("our limit", f"{LIMIT} tokens")


def test_tokens_that_only_rounding_tells_apart_are_a_near_tie(made: Evaluated, samples, checked):
    import torch
    from transformers import AutoModelForCausalLM

    problem, trace = made.problems[5], made.traces[made.problems[5].id]
    model = AutoModelForCausalLM.from_pretrained(made.model, dtype="float32")
    ids = made.template.prompt_ids(problem.prompt)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    first, second = logits.topk(2).indices.tolist()
    assert first == made.ids(trace)[0], "greedy"
    margin = float(logits[first] - logits[second])
    samples[5]["resps"] = [[made.template.decode([second, *made.ids(trace)[1:]])]]
    reason, detail = only(found := checked(samples))
    assert (reason, detail) == ("unexplained", f"at token 0, {margin:.2g} nats apart")
    assert not found.passed
    # The same two tokens, were they as likely: the output layer is tied to the embeddings, so these are made equal.
    rows = model.get_input_embeddings().weight.data
    assert margin > 1e-3 and second not in ids
    rows[second] = rows[first] * (1 - 1e-6)
    model.save_pretrained(Path(made.model).parent / "tied")
    tied = replace(made, model=str(Path(made.model).parent / "tied"))
    reason, detail = only(found := checked(samples, tied, {"pretrained": tied.model}))
    assert reason == "near tie" and detail.startswith("at token 0, ")
    assert found.passed


def test_verdicts_are_compared_where_completions_are_alike(made: Evaluated, samples, checked):
    samples[1]["strict"], samples[2]["resps"] = 1, [["A + +"]]
    found = checked(samples)
    assert [(v.reading, v.compared, v.agree, v.correct) for v in found.verdicts] == [
        ("strict", 9, 8, (0, 1)), ("flexible", 9, 9, (0, 0)),
    ]  # fmt: skip
    assert found.verdicts[0].differing == [samples[1]["doc"]["id"]]
    assert not found.passed


def test_what_one_of_the_two_lacks_is_counted(samples, checked):
    other = {**samples[0], "doc": {**samples[0]["doc"], "id": "elsewhere"}}
    found = checked([*samples[:8], other])
    assert (found.compared, found.ours_alone, found.theirs_alone) == (8, 2, 1)
    assert (found.explained, found.passed) == (True, False)
    assert not checked(samples[:8]).passed
    assert not checked([*samples, other]).passed


def test_another_model_or_precision_is_noted(made: Evaluated, samples, checked):
    found = checked(samples, arguments={"pretrained": "/else/where/other", "dtype": "bfloat16"})
    assert found.notes == [
        f"It was given another model: /else/where/other, ours is {made.model}.",
        "It was given another precision: bfloat16, ours is float32.",
    ]


def test_samples_without_their_results_are_compared_all_the_same(made: Evaluated, samples, tmp_path: Path):
    file = tmp_path / "mine.jsonl"
    samples[0]["doc"] = {**samples[0]["doc"], "of": "theirs"}
    file.write_text("".join(json.dumps(s) + "\n" for s in samples))
    found = check(made, file)
    assert found.notes == [
        "No results_*.json lies beside the samples, so how the model was loaded is not known and explains nothing."
    ]
    assert found.passed


def test_how_a_model_was_loaded_explains_nothing_where_it_is_not_known(made: Evaluated, samples, tmp_path: Path):
    adding, file = _adding(made), tmp_path / "mine.jsonl"
    samples[0]["resps"] = [["A + +"]]
    file.write_text("".join(json.dumps(s) + "\n" for s in samples))
    found = check(adding, file)
    assert found.reasons.get("prompt tokens") is None
    assert (only(found)[0], found.passed) == ("unexplained", False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read (No such file or directory); give the samples_*.jsonl that lm_eval wrote"),
        ("{", "no samples of a task that mixdistill wrote; give its samples_*.jsonl"),
        ('{"doc": {"question": "?"}}\n', "no samples of a task that mixdistill wrote; give its samples_*.jsonl"),
        ("", "holds no problem of signs; give the samples of that task"),
    ],
)
def test_what_are_no_samples_is_refused(made: Evaluated, tmp_path: Path, text: str | None, said: str):
    file = tmp_path / "samples.jsonl"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError) as raised:
        check(made, file)
    assert str(raised.value) == f"{file}: {said}"
