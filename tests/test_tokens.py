"""One template for training and evaluation, for every kind of chat template there is."""

import pytest

import tiny
from mixdistill.errors import DataError
from mixdistill.tokens import Template
from mixdistill.types import Message

QWEN25 = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    + tiny.CHATML
)
QWEN3 = (
    "{% for m in messages %}{% set content = m['content'] %}{% if m['role'] == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
"""Drops the reasoning of earlier turns; an empty thinking part in the prompt when thinking is off."""
THINKING = QWEN3.partition("{% if enable_thinking")[0] + "{{ '<think>\n' }}{% endif %}"
"""A thinking-only model: its prompt ends in an opened tag."""
LLAMA3 = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LINE_BEFORE_STOP = tiny.CHATML.replace("+ '<|im_end|>\n'", "+ '\n<|im_end|>\n'")
QWEN_EXTRA = ["<|im_start|>", "<|im_end|>"]
PROMPT, REASONING, CONTENT = "What is 2 + 2?", "Two and two.\n\nThat is 4 — surely.", "The answer is \\boxed{4}."


def _qwen(chat_template: str, **kwargs):
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return tiny.byte_tokenizer(chat_template, extra=QWEN_EXTRA, **special), kwargs


def _llama():
    extra = ["<|start_header_id|>", "<|end_header_id|>"]
    special = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>"}
    return tiny.byte_tokenizer(LLAMA3, extra=extra, **special), {}


KINDS = {
    "qwen2.5": lambda: _qwen(QWEN25),
    "qwen3": lambda: _qwen(QWEN3),
    "qwen3, thinking on": lambda: _qwen(QWEN3, enable_thinking=True),
    "qwen3, thinking off": lambda: _qwen(QWEN3, enable_thinking=False),
    "prompt opens thinking": lambda: _qwen(THINKING),
    "llama 3": _llama,
    "pad is eos": lambda: (tiny.byte_tokenizer(pad_token="<|im_end|>", eos_token="<|im_end|>"), {}),
    "no pad": lambda: (tiny.byte_tokenizer(eos_token="<|im_end|>"), {}),
    "line break before the stop token": lambda: _qwen(LINE_BEFORE_STOP),
}


@pytest.fixture(params=KINDS)
def template(request, tmp_path) -> Template:
    tokenizer, kwargs = KINDS[request.param]()
    tokenizer.save_pretrained(tmp_path)
    return Template.load(str(tmp_path), chat_template_kwargs=kwargs)


def _text(template: Template, ids: list[int]) -> str:
    return template.tokenizer.decode(ids, skip_special_tokens=False)


def test_reasoning_is_rendered_exactly_once(template):
    prompt, completion = template.render(PROMPT, REASONING, CONTENT)
    whole = _text(template, prompt + completion)
    assert whole.count(REASONING) == 1
    assert f"<think>\n{REASONING}\n</think>\n\n{CONTENT}" in whole


def test_many_completions_are_counted_like_one(template):
    completions = [(REASONING, CONTENT), ("", CONTENT), (" ", ""), (REASONING, "")]
    assert template.counts(completions) == [template.count(*each) for each in completions]
    assert template.counts([]) == []


def test_prompt_in_training_is_the_prompt_in_evaluation(template):
    prompt, completion = template.render(PROMPT, REASONING, CONTENT)
    assert prompt == template.prompt_ids(PROMPT) == template.encode(template.prompt_text(PROMPT))
    assert _text(template, prompt).count(PROMPT) == 1
    assert PROMPT not in _text(template, completion)


def test_stop_token_is_the_last_completion_id_and_the_only_one(template):
    for reasoning in (REASONING, ""):
        _, completion = template.render(PROMPT, reasoning, CONTENT)
        assert template.stop_ids == {template.tokenizer.eos_token_id}
        assert [i for i in completion if i in template.stop_ids] == completion[-1:]


def test_what_was_rendered_splits_into_the_same_parts(template):
    for reasoning in (REASONING, ""):
        _, completion = template.render(PROMPT, reasoning, CONTENT)
        assert template.split(completion) == (reasoning, CONTENT)
        assert template.split(completion[:-1]) == (reasoning, CONTENT)


def test_empty_reasoning_renders_no_tags_unless_the_prompt_opened_one(template):
    prompt, completion = template.render(PROMPT, " \n", CONTENT)
    text = _text(template, completion)
    assert "<think>" not in text
    assert text.removeprefix("\n</think>\n\n") == CONTENT + template.stop_text
    assert text.startswith("\n</think>") is template.opens_thinking
    whole = _text(template, prompt + completion)
    assert whole.count("<think>") == whole.count("</think>")


def test_thinking_that_was_cut_is_all_reasoning(template):
    _, completion = template.render(PROMPT, REASONING, CONTENT)
    head = template.encode(template.completion_text(REASONING, "").partition("</think>")[0])
    assert completion[: len(head)] == head
    assert template.split(head[:-4]) == (_text(template, head[:-4]).removeprefix("<think>\n").strip(), "")


def test_special_tokens_in_a_text_are_found(template):
    for token in template.tokenizer.all_special_tokens:
        assert template.special_in(f"well {token} then") is not None
    assert template.special_in(REASONING + CONTENT + "<think> < | im_end | >") is None


def test_count_is_the_number_of_completion_ids(template):
    for reasoning in (REASONING, ""):
        assert template.count(reasoning, CONTENT) == len(template.render(PROMPT, reasoning, CONTENT)[1])


def test_conversation_is_rendered_turn_by_turn(template):
    turns = [Message(role="system", content="Be brief."), Message(role="user", content=PROMPT)]
    text = _text(template, template.prompt_ids(turns))
    assert text.index("Be brief.") < text.index(PROMPT)


def test_line_break_before_the_stop_token_is_kept_and_the_one_after_it_is_not():
    before = Template(_qwen(LINE_BEFORE_STOP)[0], {})
    after = Template(_qwen(QWEN25)[0], {})
    assert before.stop_text == "\n<|im_end|>"
    assert after.stop_text == "<|im_end|>"


def test_pad_is_some_id_even_where_the_tokenizer_has_none():
    template = Template(KINDS["no pad"]()[0], {})
    assert template.tokenizer.pad_token_id is None
    assert template.pad_id in template.stop_ids


def test_fingerprint_changes_with_the_template_and_its_settings_alone():
    plain = Template(_qwen(QWEN3)[0], {})
    assert plain.fingerprint == Template(_qwen(QWEN3)[0], {}).fingerprint
    assert plain.fingerprint != Template(_qwen(QWEN3)[0], {"enable_thinking": False}).fingerprint
    assert plain.fingerprint != Template(_qwen(QWEN25)[0], {}).fingerprint


def test_tokenizer_without_a_chat_template_is_refused(tmp_path):
    tokenizer = tiny.byte_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(DataError, match="no chat template"):
        Template.load(str(tmp_path))


def test_tokenizer_without_a_stop_token_is_refused(tmp_path):
    tiny.byte_tokenizer(pad_token="<|endoftext|>").save_pretrained(tmp_path)
    with pytest.raises(DataError, match="no stop token"):
        Template.load(str(tmp_path))


def test_words_of_the_lab_survive_the_round_trip():
    template = Template(tiny.word_tokenizer(), {})
    reasoning, content = "8 + 4 12 - 7 5 T 5 ok", "A + -"
    _, completion = template.render("Q 8 4 7 T 5 :", reasoning, content)
    assert len(completion) == len(f"<think> {reasoning} </think> {content} <eos>".split())
    assert template.split(completion) == (reasoning, content)
