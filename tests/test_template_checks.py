"""Every fault of a tokenizer or chat template is found by the name of its check."""

from __future__ import annotations

import pytest

import templates
import tiny
from mixdistill.template_checks import CHECKS, Subject, holds, of_template, same_template
from mixdistill.tokens import Template

QUIET = {"generation_prompt": "ok", "takes_system_role": "ok"}


def said(template: Template, **model) -> dict[str, str]:
    """Check -> what it says, of those that say anything; the model's embedding fits unless it is given."""
    model = {"embeddings": len(template.tokenizer), **model}
    found = of_template(Subject(template, **model))
    assert [f.check for f in found] == list(CHECKS)
    return {f.check: f"{f.state}: {f.text}" for f in found if f.state != "ok"}


def test_nothing_is_said_of_an_ordinary_chat_model():
    assert said(templates.of("qwen2.5")) == {}
    assert said(templates.of("llama 3")) == {}


@pytest.mark.parametrize(
    ("kind", "check", "text"),
    [
        (
            "pad is eos",
            "pad_is_not_stop",
            "note: '<|im_end|>' is both; padding is masked by its place here, so the stop token still carries loss; "
            "other trainers may mask it",
        ),
        (
            "no pad",
            "pad_is_not_stop",
            "note: there is no pad token, and the stop token fills up rows; padding is masked by its place here, so "
            "the stop token still carries loss; other trainers may mask it",
        ),
        (
            "qwen3",
            "empty_think",
            "note: it writes an empty thinking part before an answer without reasoning; rows here have none",
        ),
        (
            "qwen3, thinking off",
            "empty_think",
            "note: its prompt ends in an empty thinking part, also where reasoning follows it",
        ),
        (
            "prompt opens thinking",
            "empty_think",
            "note: its prompt opens <think>: a row without reasoning closes it at once",
        ),
        (
            "no generation prompt",
            "generation_prompt",
            "note: it has none: a completion follows the user's turn at once",
        ),
        (
            "a turn ends in plain text",
            "turn_end",
            "note: it ends an assistant's turn in '\\n###\\n', which is no special token; rows end in its eos_token "
            "'<|im_end|>' instead",
        ),
        (
            "bos twice",
            "bos_once",
            "note: its tokenizer would add '<|begin_of_text|>' once more; rows have the template's alone",
        ),
        (
            "loses the system prompt",
            "takes_system_role",
            "note: the chat template loses a system prompt: problems that have one cannot be asked",
        ),
        (
            "refuses the system prompt",
            "takes_system_role",
            "note: the chat template refuses a system prompt: problems that have one cannot be asked",
        ),
    ],
)
def test_what_is_handled_is_named(kind, check, text):
    assert said(templates.of(kind)) == {check: text}


def test_a_tokenizer_larger_than_the_embedding_fails():
    template = templates.of("qwen2.5")
    last = len(template.tokenizer) - 1
    token = template.decode([last])
    assert said(template, embeddings=last) == {
        "vocabulary_fits": f"failed: its tokenizer has token {last} ({token!r}) and the model's embedding {last} rows; "
        "give both from one model, or resize the embedding"
    }
    assert said(template, embeddings=None) == {
        "vocabulary_fits": "note: the model's configuration does not say how many rows its embedding has"
    }


def test_a_template_that_writes_its_beginning_twice_fails():
    template = Template(*templates.llama(templates.BOS_TWICE))
    assert said(template) == {"bos_once": "failed: its chat template writes '<|begin_of_text|>' twice; take one out"}


def test_a_tokenizer_that_adds_to_every_text_fails():
    tokenizer = templates.qwen(tiny.CHATML)[0]

    class Adding(type(tokenizer)):
        def __call__(self, text, **kwargs):
            found = super().__call__(text, **kwargs)
            found["input_ids"] = [*found["input_ids"], self.eos_token_id]
            return found

    tokenizer.__class__ = Adding
    assert said(Template(tokenizer, {}))["bos_once"] == (
        "failed: its tokenizer adds '<|im_end|>' to every text by itself; turn that off in it"
    )


def test_generation_settings_that_stop_elsewhere_are_named():
    template = templates.of("eos is not what ends a turn")
    eos, stop = template.tokenizer.eos_token_id, next(iter(template.stop_ids))
    assert said(template, stops=frozenset({eos, stop})) == {}
    assert said(template, stops=frozenset({eos})) == {
        "generation_stops": f"note: eos_token_id of its generation_config is [{eos}], and the chat template ends a "
        f"turn in [{stop}] ('<|eot_id|>'); both end a completion here; elsewhere add it"
    }


def test_what_is_known_of_a_model_is_read_without_its_weights(tmp_path):
    model = tiny.byte_student(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    template = Template.load(model)
    subject = Subject.of(template, model)
    assert subject.embeddings == len(template.tokenizer)
    assert subject.stops == template.stop_ids


def test_another_template_than_in_training_fails():
    assert same_template("a", "a") is None
    assert same_template("a", "b") == (
        "its template writes other tokens than it was trained with (fingerprint a, now b); give its folder the chat "
        "template and tokenizer back, or train it again"
    )


def test_every_check_says_what_holds():
    assert all(holds(check).endswith(".") and len(holds(check)) <= 50 for check in CHECKS.values())
