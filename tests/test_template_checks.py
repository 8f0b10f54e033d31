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


def test_a_tokenizer_that_is_another_models_fails():
    template = templates.of("qwen2.5")
    eos, pad = template.tokenizer.eos_token_id, template.tokenizer.pad_token_id
    letter = template.encode("a")[0]
    for other in (letter, 151_643):
        assert said(template, roles={"eos": frozenset({other})}) == {
            "vocabulary_fits": f"failed: eos_token_id of the model is [{other}], which is no special token of its "
            "tokenizer (eos_token '<|im_end|>'); give both from one model, or mend it in config.json and "
            "generation_config.json"
        }
    assert said(template, roles={"eos": frozenset({eos}), "bos": frozenset(), "pad": frozenset({letter})}) == {
        "vocabulary_fits": f"note: pad_token_id of the model is [{letter}], which is no special token of its tokenizer "
        "(pad_token '<|endoftext|>'); a model does not train the embedding of what it pads with; mend it in config.json"
    }
    assert said(template, roles={"bos": frozenset({letter})}) == {
        "vocabulary_fits": f"note: bos_token_id of the model is [{letter}], which is no special token of its tokenizer "
        "(bos_token None); mend it in config.json"
    }
    chat = {"eos": frozenset({pad, eos, letter}), "bos": frozenset({pad}), "pad": frozenset({pad})}
    assert said(template, roles=chat) == {}, "as of Qwen: bos is what elsewhere is pad, and there are several eos"


def test_a_tokenizer_far_smaller_than_the_embedding_is_named():
    template = templates.of("qwen2.5")
    tokens = len(template.tokenizer)
    assert said(template, embeddings=150_000) == {
        "vocabulary_fits": f"note: its tokenizer has {tokens} tokens, and the model's embedding 150,000 rows: "
        f"{150_000 - tokens:,} are never used; give both from one model, if they are not"
    }
    assert said(template, embeddings=tokens * 10 // 9) == {}, "models pad their embedding"
    assert list(said(template, embeddings=tokens * 10 // 9 + 1)) == ["vocabulary_fits"]


def test_special_token_that_no_row_can_hold_needs_no_row_of_the_embedding():
    """As Gemma 3's smallest, whose tokenizer knows the images of its larger ones."""
    tokenizer = tiny.byte_tokenizer(extra=["<image>"])
    image = tokenizer.convert_tokens_to_ids("<image>")
    assert image == max(tokenizer.get_vocab().values())
    assert said(Template(tokenizer, {}), embeddings=image) == {
        "vocabulary_fits": f"note: its tokenizer has token {image} ('<image>') and the model's embedding {image} rows; "
        "it is special, and no row may hold it"
    }
    shown = tiny.byte_tokenizer("<image>" + tiny.CHATML, extra=["<image>"])
    assert said(Template(shown, {}), embeddings=image)["vocabulary_fits"].startswith("failed: its tokenizer has token")


@pytest.mark.parametrize("model", ["lab:xs", "lab:m"])
def test_nothing_is_said_of_the_vocabulary_of_a_lab_model(model):
    from mixdistill.resolve import model_path

    template = Template.load(model_path(model))
    subject = Subject.of(template, model_path(model))
    assert subject.roles == {"eos": template.stop_ids, "bos": frozenset(), "pad": frozenset({template.pad_id})}
    assert {f.check: f.state for f in of_template(subject)}["vocabulary_fits"] == "ok"


SYSTEM = "{{ '<|im_start|>system\nToday is ' + date_string + '.<|im_end|>\n' }}" + tiny.CHATML
LLAMA32 = (
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
    "{%- endif %}" + SYSTEM
)
TOMORROW = "it writes the date of the day, so that rows of tomorrow have other tokens than those of today; "


@pytest.mark.parametrize(
    ("chat_template", "todo"),
    [
        (LLAMA32, 'set chat_template_kwargs: {date_string: "26 Jul 2024"}'),
        (
            '{%- set today = today or strftime_now("%Y-%m-%d") %}' + SYSTEM.replace("date_string", "today"),
            'set chat_template_kwargs: {today: "2024-07-26"}',
        ),
        (
            "{%- macro day() %}{{ strftime_now('%-d %B') }}{% endmacro %}" + SYSTEM.replace("date_string", "day()"),
            "write a date that stays into its chat template, in place of strftime_now",
        ),
        (
            "{%- if messages[0]['role'] != 'system' %}{%- set date = strftime_now('%Y-%m-%d').split('-')[2] | int %}"
            "{{- 'It is the ' ~ date }}{%- endif %}" + tiny.CHATML,
            "write a date that stays into its chat template, in place of strftime_now",
        ),
    ],
)
def test_a_template_that_writes_the_date_of_the_day_fails(chat_template, todo):
    assert said(Template(templates.qwen(chat_template)[0], {})) == {"same_every_day": f"failed: {TOMORROW}{todo}"}


def test_a_template_that_is_told_the_date_writes_the_same_every_day():
    for day in ("26 Jul 2024", ""):
        assert said(Template(templates.qwen(LLAMA32)[0], {"date_string": day})) == {}
    asks = "{% if tools %}{{ strftime_now('%Y') }}{% endif %}" + templates.QWEN25
    assert said(Template(templates.qwen(asks)[0], {})) == {}, "it looks at the clock, but not for our rows"


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
        f"turn in [{stop}] ('<|eot_id|>'); both end a completion here, and a trained student's own settings name both"
    }


def test_what_is_known_of_a_model_is_read_without_its_weights(tmp_path):
    model = tiny.byte_student(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    template = Template.load(model)
    subject = Subject.of(template, model)
    assert subject.embeddings == len(template.tokenizer)
    assert subject.stops == subject.roles["eos"] == template.stop_ids


def test_every_token_that_ends_a_completion_is_read_and_none_is_made_up(tmp_path):
    model = tiny.byte_student(tmp_path, pad_token_id=-1, eos_token_id=[7, 8])
    subject = Subject.of(Template.load(model), model)
    assert subject.stops == Template.load(model).stop_ids
    assert subject.roles["eos"] == {7, 8} | subject.stops
    assert subject.roles["bos"] == frozenset()
    assert Subject.of(Template.load(model), str(tmp_path / "nowhere")).stops is None


def test_another_template_than_in_training_fails():
    assert same_template("a", "a") is None
    assert same_template("a", "b") == (
        "its template writes other tokens than it was trained with (fingerprint a, now b); give its folder the chat "
        "template and tokenizer back, or train it again"
    )


def test_every_check_says_what_holds():
    assert all(holds(check).endswith(".") and len(holds(check)) <= 50 for check in CHECKS.values())
