"""One template for training and evaluation, for every kind of chat template there is."""

import pytest

import templates
import tiny
from mixdistill.errors import DataError
from mixdistill.tokens import Template
from mixdistill.types import Message
from templates import CONTENT, KINDS, LINE_BEFORE_STOP, PROMPT, QWEN3, QWEN25, REASONING
from templates import qwen as _qwen


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
        assert len(template.stop_ids) == 1
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


def test_conversation_is_rendered_turn_by_turn(template, request):
    if "system prompt" in request.node.callspec.params["template"]:
        return  # see below
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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (QWEN25, QWEN25.replace("You are helpful.", "You are brief.")),
        (tiny.CHATML, templates.NO_SYSTEM),
        (tiny.CHATML, templates.REFUSING + tiny.CHATML),
        (tiny.CHATML, tiny.CHATML.replace("m['content'] +", "m['content'].split('</think>')[-1] +")),
    ],
)
def test_templates_that_differ_in_any_turn_have_different_fingerprints(one, other):
    first, second = (Template(_qwen(source)[0], {}) for source in (one, other))
    assert first.fingerprint != second.fingerprint
    if one == tiny.CHATML:
        assert first.render(PROMPT, REASONING, CONTENT) == second.render(PROMPT, REASONING, CONTENT)


def test_what_a_template_refuses_it_writes_nothing_for():
    assert [bool(text) for text in templates.of("qwen2.5").written] == [True, True, True]
    assert [bool(text) for text in templates.of("refuses the system prompt").written] == [True, True, False]


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


def test_stop_token_is_the_one_that_the_template_writes_where_eos_token_is_another():
    template = templates.of("eos is not what ends a turn")
    assert template.tokenizer.eos_token == "<|end_of_text|>"
    assert template.stop_text == "<|eot_id|>"
    assert template.encode(template.completion_text("", "4"))[-1] in template.stop_ids


def test_stop_token_is_eos_where_a_turn_ends_in_plain_text():
    template = templates.of("a turn ends in plain text")
    assert (template.turn_end, template.stop_text) == ("\n###\n", "<|im_end|>")


def test_special_tokens_without_a_role_are_special():
    template = templates.of("qwen2.5")
    start = template.encode("<|im_start|>")[0]
    tokenizer = template.tokenizer
    tokenizer.add_tokens([tokenizers_token("<|tool|>"), "plain"])
    template = Template(tokenizer, {})
    tool, plain = (template.encode(t)[0] for t in ("<|tool|>", "plain"))
    assert tool not in tokenizer.all_special_ids
    assert {start, tool} <= template.special_ids
    assert plain not in template.special_ids
    assert template.special_in("use <|tool|> or plain") == "<|tool|>"


def tokenizers_token(text: str):
    from tokenizers import AddedToken

    return AddedToken(text, special=True)


def test_a_system_prompt_that_is_refused_is_one_line():
    template = templates.of("refuses the system prompt")
    turns = [Message(role="system", content="Be brief."), Message(role="user", content=PROMPT)]
    with pytest.raises(DataError) as e:
        template.prompt_text(turns)
    assert str(e.value) == (
        "system_role: the chat template refuses a system prompt (TemplateError: System role not supported); give the "
        "student a model or template that takes one, or put it into the problems' own text"
    )


def test_a_template_that_cannot_be_rendered_is_one_line():
    template = Template(_qwen("{{ raise_exception('not today') }}")[0], {})
    with pytest.raises(DataError, match=r"cannot render user turns \(TemplateError: not today\); mend"):
        template.prompt_text(PROMPT)


def test_the_switch_of_a_hybrid_student_is_read_off_its_template():
    ways = {kind: templates.of(kind).thinking for kind in KINDS}
    assert {k: w for k, w in ways.items() if w} == {
        "qwen3": "thinking",
        "qwen3, thinking on": "thinking",
        "qwen3, thinking off": "no-thinking",
    }
    off = templates.of("qwen3").asked("no-thinking")
    assert off.prompt_text(PROMPT) == templates.of("qwen3, thinking off").prompt_text(PROMPT)


def test_decoding_leaves_the_text_as_it_is():
    tokenizer = tiny.byte_tokenizer()
    tokenizer.clean_up_tokenization_spaces = True
    template = Template(tokenizer, {})
    text = "x , y . z do n't"
    assert template.decode(template.encode(text)) == text
    assert template.split(template.encode(text)) == ("", text)


def test_what_is_unknown_to_a_tokenizer_is_found():
    template = Template(tiny.word_tokenizer(), {})
    assert template.unknown_in("8 + 4 snowman ok") == "snowman"
    assert template.unknown_in("8 + 4 ok") is None
    assert Template(tiny.byte_tokenizer(), {}).unknown_in("snowman") is None


@pytest.mark.parametrize("text", ["Wait, 3 + 4 = 7.\n\nSo \\boxed{7}<|im_end|>", "", "x"])
def test_pieces_are_the_text_that_each_token_adds(text, tmp_path):
    template = Template(tiny.byte_tokenizer(), {})
    ids = template.encode(text)
    pieces = template.pieces(ids)
    assert "".join(pieces) == text
    assert len(pieces) == len(ids)


def test_pieces_of_words_carry_the_space_before_them():
    template = Template(tiny.word_tokenizer(), {})
    assert template.pieces(template.encode("8 + 4 12 ok")) == ["8", " +", " 4", " 12", " ok"]


def test_pieces_of_a_character_that_is_spread_over_tokens_are_as_many_as_the_tokens():
    template = Template(tiny.byte_tokenizer(), {})
    pieces = template.pieces(template.encode("a\N{GREEK SMALL LETTER PI}b"))
    assert (len(pieces), pieces[0], pieces[-1]) == (4, "a", "b")
