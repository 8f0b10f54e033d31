"""Every fault of a rendered row is found by the name of its check, with the row it was found in."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, normalizers

import templates
import tiny
from mixdistill import evaluate
from mixdistill.commands.doctor import examine
from mixdistill.errors import DataError, StageError
from mixdistill.lab import domain
from mixdistill.row_checks import CHECKS, RAISED, Reader, check_rows, of_rows, rendered
from mixdistill.store import Store
from mixdistill.template_checks import holds
from mixdistill.tokens import Template
from mixdistill.training.batches import IGNORED, Tokenised, pad
from mixdistill.types import Example, Message, Problem
from templates import CONTENT, KINDS, PROMPT, REASONING


def example(prompt=PROMPT, reasoning=REASONING, content=CONTENT) -> Example:
    return Example(prompt=prompt, reasoning=reasoning, content=content, problem_id="p1", trace_id="t1", teacher="long")


def rows_of(template: Template, *examples: Example):
    return [template.render(e.prompt, e.reasoning, e.content) for e in examples]


def said(template: Template, examples: list[Example], rows=None) -> dict[str, str]:
    """Check -> what it says, of those that say anything."""
    rows = rows_of(template, *examples) if rows is None else rows
    found = of_rows(rendered(examples, rows, template), Reader(template))
    assert [f.check for f in found] == list(CHECKS)
    assert all(f.text.startswith("problem p1, teacher long: ") for f in found if f.state != "ok")
    return {f.check: f"{f.state}: {f.text.partition('long: ')[2]}" for f in found if f.state != "ok"}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_of_template_are_right(kind):
    examples = [example(), example(reasoning=""), example(reasoning="4", content="4")]
    assert said(templates.of(kind), examples) == {}


def test_padding_never_hides_the_stop_token():
    for kind in ("pad is eos", "no pad"):
        template = templates.of(kind)
        rows = rows_of(template, example(), example(reasoning=""))
        labels, _ = pad([Tokenised(*row) for row in rows], template.pad_id)
        for row, (prompt, completion) in zip(labels.tolist(), rows, strict=True):
            assert row[: len(prompt)] == [IGNORED] * len(prompt)
            assert [i for i in row if i != IGNORED] == completion
            assert completion[-1] == template.pad_id


def test_a_beginning_that_the_tokenizer_would_add_stands_in_a_row_once():
    template = templates.of("bos twice")
    (prompt, completion), bos = rows_of(template, example())[0], template.tokenizer.bos_token_id
    assert template.tokenizer(PROMPT)["input_ids"][0] == bos
    assert [*prompt, *completion].count(bos) == 1


def _broken(change):
    """A row whose completion reads otherwise than its example."""
    template = templates.of("qwen2.5")
    text = change(template.completion_text(REASONING, CONTENT))
    return said(template, [example()], [(template.prompt_ids(PROMPT), template.encode(text))])


def test_reasoning_that_is_lost_is_found():
    assert _broken(lambda text: text.replace(REASONING, ""))["reasoning_once"] == (
        "failed: the reasoning does not come back from its tokens ('twoandtwo.th' became ''); give the student a "
        "tokenizer that keeps the text"
    )
    assert _broken(lambda text: text.partition("</think>\n\n")[2])["reasoning_once"].startswith(
        "failed: 0 <think> and 0 </think> (must be 1 and 1); "
    )


def test_reasoning_that_stands_twice_is_found():
    twice = _broken(lambda text: text.replace(REASONING, REASONING + REASONING))["reasoning_once"]
    assert twice == (
        "failed: the reasoning stands 2 times in it ('—surely.' became '—surely.twoandtwo.th'); give the student a "
        "tokenizer that keeps the text"
    ), "a dash is one character"


def test_tags_that_stand_twice_are_found():
    assert _broken(lambda text: "<think>\n" + text)["reasoning_once"].startswith(
        "failed: 2 <think> and 1 </think> (must be 1 and 1); take think tags out of the trace"
    )
    assert _broken(lambda text: text.replace("</think>", "</think></think>"))["reasoning_once"].startswith(
        "failed: 1 <think> and 2 </think> (must be 1 and 1)"
    )
    opens = templates.of("prompt opens thinking")
    doubled = opens.encode("<think>\n" + opens.completion_text(REASONING, CONTENT))
    assert said(opens, [example()], [(opens.prompt_ids(PROMPT), doubled)])["reasoning_once"].startswith(
        "failed: 1 <think> and 1 </think> (must be 0 and 1)"
    )


def test_another_answer_is_found():
    assert _broken(lambda text: text.replace("{4}", "{5}"))["reasoning_once"] == (
        "failed: the answer does not come back from its tokens ('s\\\\boxed{4}.' became 's\\\\boxed{5}.'); give the "
        "student a tokenizer that keeps the text"
    )


def test_a_tag_in_the_trace_is_found():
    text = said(templates.of("qwen2.5"), [example(content="so </think> 4")])["reasoning_once"]
    assert text.startswith("failed: 1 <think> and 2 </think> (must be 1 and 1)")


def test_a_prompt_that_evaluation_renders_otherwise_is_found():
    dated = "{{ '<|im_start|>system\n' + strftime_now('%f') + '<|im_end|>\n' }}" + tiny.CHATML
    template = Template(templates.qwen(dated)[0], {})
    assert said(template, [example()])["prompt_is_prefix"].startswith(
        "failed: it begins with other tokens than evaluation from token "
    )
    plain = templates.of("qwen2.5")
    prompt, completion = rows_of(plain, example())[0]
    assert said(plain, [example()], [(prompt[:-1], completion)])["prompt_is_prefix"] == (
        f"failed: it begins with other tokens than evaluation from token {len(prompt)} on (got {len(prompt) - 1} "
        f"tokens, asked with {len(prompt)}); mend its chat template, which must not depend on time or chance"
    )


def test_a_seam_that_one_text_would_not_have_is_named():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate([*alphabet, "ĊĊ"])}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=[("Ċ", "Ċ")]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tok.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tok, chat_template=templates.THINKING, eos_token="<|im_end|>", pad_token="<|pad|>"
    )
    template = Template(tokenizer, {})
    assert said(template, [example()]) == {}
    assert said(template, [example(reasoning="")]) == {
        "seam": "note: as one text, '<think>\\n\\n</think' has other tokens where the completion begins; here they are "
        "tokenised apart, in training and evaluation alike; a trainer that does not sees another row"
    }


def test_a_row_without_its_stop_token_is_found():
    template = templates.of("qwen2.5")
    prompt, completion = rows_of(template, example())[0]
    assert said(template, [example()], [(prompt, completion[:-1])])["stop_carries_loss"] == (
        "failed: it does not end in the stop token '<|im_end|>' (ends in '.'), and the student would never learn to "
        "stop; mend eos_token or the chat template"
    )
    assert "(ends in nothing)" in said(template, [example()], [(prompt, [])])["stop_carries_loss"]


def test_special_tokens_in_any_text_of_a_row_are_found():
    template = templates.of("qwen2.5")
    for where, row in {
        "the prompt": example(prompt="What is <|im_start|>?"),
        "the reasoning": example(reasoning="so <|im_start|> it is"),
        "the answer": example(content="<|im_start|>"),
    }.items():
        assert said(template, [row]) == {
            "no_special_in_text": f"failed: {where} holds the special token '<|im_start|>'; take it out of the text"
        }


def test_a_special_token_that_another_text_becomes_is_found():
    from tokenizers import AddedToken

    tokenizer = templates.normalising()
    tokenizer.add_tokens([AddedToken("<|tool|>", special=True, normalized=True)])
    assert said(Template(tokenizer, {}), [example(reasoning="", content="a <|TOOL|> b")])["no_special_in_text"] == (
        "failed: '<|tool|>' arises from its text; take out what the tokenizer reads as such"
    )


def test_what_the_tokenizer_does_not_know_is_found():
    template = Template(tiny.word_tokenizer(), {})
    known = {"prompt": "Q 8 4 7 T 5 :", "reasoning": "8 + 4 ok", "content": "A + -"}
    space = {"reads_back": "note: white space does not come back from its tokens; the rest of the text does"}
    assert said(template, [example(**known)]) == space
    assert said(template, [example(**known | {"content": "A snowman"})])["no_unknown"] == (
        "failed: 'snowman' is unknown to its tokenizer; take it out, or give the student another tokenizer"
    )
    assert said(template, [example(**known | {"prompt": "Q snowman"})])["no_unknown"] == (
        "note: 'snowman' in the prompt is unknown to its tokenizer: the student cannot tell it from other such text"
    )


def test_a_system_prompt_that_is_lost_is_found():
    turns = [Message(role="system", content="Be brief."), Message(role="user", content=PROMPT)]
    assert said(templates.of("qwen2.5"), [example(prompt=turns)]) == {}
    assert said(templates.of("loses the system prompt"), [example(prompt=turns)]) == {
        "system_role": "failed: the chat template loses the system prompt 'Be brief.'; give the student a model or "
        "template that takes one, or put it into the problems' own text"
    }


def test_a_tokenizer_that_changes_the_text_is_named():
    assert said(Template(templates.normalising(), {}), [example(reasoning="", content="It is FOUR.")]) == {
        "reads_back": "note: its tokenizer changes the text: 'It is FOUR.<' comes back as 'it is "
        "four.<', and so the student will write it"
    }


def with_normalizer(normalizer, extra=templates.QWEN_EXTRA) -> Any:
    tokenizer = tiny.byte_tokenizer(extra=extra, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer._tokenizer.normalizer = normalizer
    return tokenizer


@pytest.mark.parametrize(
    "change",
    [
        normalizers.NFC(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase(), normalizers.Nmt(),
        normalizers.Replace(" ", "\N{LOWER ONE EIGHTH BLOCK}"), normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Replace("\N{ZERO WIDTH JOINER}", ""),
    ],
)  # fmt: skip
def test_what_real_tokenizers_do_to_a_text_is_no_loss(change):
    text = "Cafe\u0301, \ufb01ve,  ® of \u216b —\tthe WOMAN: \U0001f469\u200d\U0001f52c, 那是 ４"
    found = said(Template(with_normalizer(change), {}), [example(reasoning=text, content=text)])
    assert {name: text.partition(": ")[0] for name, text in found.items()} == {"reads_back": "note"}


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_a_tokenizer_of_sentencepiece_keeps_what_it_does_not_know_as_bytes_or_loses_it(byte_fallback):
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    bar = "\N{LOWER ONE EIGHTH BLOCK}"
    letters = [bar, *string.ascii_letters, *string.digits, *string.punctuation, "\n", "—"]
    ids = {word: i for i, word in enumerate([*letters, *(f"<0x{n:02X}>" for n in range(256))])}
    words = Tokenizer(models.BPE(ids, [], byte_fallback=byte_fallback))
    words.normalizer = normalizers.Sequence([normalizers.Prepend(bar), normalizers.Replace(" ", bar)])
    steps = [decoders.Replace(bar, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", left=1)]
    words.decoder = decoders.Sequence(steps)
    fast = PreTrainedTokenizerFast(tokenizer_object=words, chat_template=tiny.CHATML, eos_token="<|im_end|>")
    found = said(Template(fast, {}), [example(reasoning="那是 4, I think — so 因此", content="It is 4.")])
    if byte_fallback:
        assert [*found] == ["seam"], "a space before every text"
    else:
        assert found["reasoning_once"] == (
            "failed: the reasoning does not come back from its tokens ('那是4,ithink—s' became '4,ithink—so'); give "
            "the student a tokenizer that keeps the text"
        )


def test_no_character_is_lost_by_another_normal_form_or_by_case():
    reader, everything = Reader(templates.of("qwen2.5")), map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x20000)])
    text = ".".join(c for c in everything if not unicodedata.decomposition(c).startswith(RAISED))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert reader.same(unicodedata.normalize(form, text), text), form
    assert reader.same(text.lower(), text) and reader.same(text.casefold(), text)
    assert not reader.same(text.replace("那", ""), text)
    assert not reader.same(text.replace("那", "那那"), text)


def test_a_power_that_becomes_a_digit_is_lost():
    reader = Reader(templates.of("qwen2.5"))
    for text in ("2² = 4", "x₁ > 0", "½ of it"):
        assert not reader.same(unicodedata.normalize("NFKC", text), text)
        assert reader.same(text.upper(), text)


def test_a_text_that_stands_with_what_is_unknown_is_left_to_that_check():
    template = Template(tiny.word_tokenizer(), {})
    row = example(prompt="Q 8 4 7 T 5 :", reasoning="8 + snowman ok", content="A + -")
    assert [*said(template, [row])] == ["no_unknown", "reads_back"]
    tokens = [(template.prompt_ids(row.prompt), template.encode("<think> 8 + snowman </think> A + - <eos>"))]
    assert "reasoning_once" in said(template, [row], tokens), "'ok' is lost, and known"


# -- every fault, planted in a tokenizer or template -------------------------------------------------------------------

ENDLESS = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '\n' }}{% endfor %}"
DATED = "{{ '<|im_start|>system\nToday is ' + strftime_now('%d %b %Y') + '.<|im_end|>\n' }}" + tiny.CHATML
CHANCE = "{{ range(99999) | random }}{{ range(99999) | random }}" + tiny.CHATML
FAULTS: dict[str, tuple[str, str, Callable[[], tuple[Any, dict[str, Any]]]]] = {
    "the tokenizer loses the reasoning": (
        "reasoning_once", "failed",
        lambda: (with_normalizer(normalizers.Replace(Regex(r"(?<=<think>\n)[\s\S]*(?=\n</think>)"), "")), {}),
    ),
    "the tokenizer loses the reasoning with its tags": (
        "reasoning_once", "failed",
        lambda: (with_normalizer(normalizers.Replace(Regex(r"<think>[\s\S]*</think>\s*"), "")), {}),
    ),
    "the tokenizer loses all but ASCII": (
        "reasoning_once", "failed", lambda: (with_normalizer(normalizers.Replace(Regex(r"[^\x00-\x7F]"), "")), {}),
    ),
    "the tokenizer says the reasoning twice": (
        "reasoning_once", "failed", lambda: (with_normalizer(normalizers.Replace(REASONING, REASONING * 2)), {}),
    ),
    "the tokenizer loses the answer": (
        "reasoning_once", "failed",
        lambda: (with_normalizer(normalizers.Replace(Regex(r"(?<=</think>\n\n)[\s\S]+"), "")), {}),
    ),
    "the prompt is another one every time": ("prompt_is_prefix", "failed", lambda: templates.qwen(CHANCE)),
    "a turn has no end": ("turn_end", "note", lambda: templates.qwen(ENDLESS)),
    "a turn has no end, and the tokenizer none": (
        "loads", "failed", lambda: (tiny.byte_tokenizer(ENDLESS, pad_token="<|endoftext|>"), {}),
    ),
    "the end of a turn is not what the model's settings stop at": (
        "generation_stops", "note",
        lambda: (tiny.byte_tokenizer(extra=templates.QWEN_EXTRA, eos_token="<|endoftext|>"), {}),
    ),
    "pad is the stop token": ("pad_is_not_stop", "note", templates.KINDS["pad is eos"]),
    "a text becomes a special token": (
        "no_special_in_text", "failed", lambda: (with_normalizer(None, [*templates.QWEN_EXTRA, "\\boxed"]), {}),
    ),
    "an empty thinking part before an answer": ("empty_think", "note", templates.KINDS["qwen3"]),
    "an empty thinking part in the prompt": ("empty_think", "note", templates.KINDS["qwen3, thinking off"]),
    "the prompt holds the date": ("same_every_day", "failed", lambda: templates.qwen(DATED)),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_tokenizer_or_template_is_caught_by_name(fault, tmp_path):
    check, state, plant = FAULTS[fault]
    tokenizer, kwargs = plant()
    model = tiny.save_student(tmp_path / "student", tokenizer)
    assert trained(model, kwargs)[check] == state
    assert doctored(tmp_path, model, kwargs)[check] == state


def trained(model: str, kwargs: dict[str, Any]) -> dict[str, str]:
    """What a training says of its rows before it begins: the check that refuses it, else what is noted."""
    try:
        template = Template.load(model, chat_template_kwargs=kwargs)
        noted = check_rows([example()], rows_of(template, example()), template, model)
    except DataError:
        return {"loads": "failed"}
    except StageError as e:
        return {str(e).split(": ")[1]: "failed"}
    return dict.fromkeys(noted, "note")


def doctored(root: Path, model: str, kwargs: dict[str, Any]) -> dict[str, str]:
    """Check -> state, as `doctor` has it of a recorded trace."""
    (root / "p.jsonl").write_text(json.dumps({"prompt": PROMPT, "answer": "4"}))
    row = {"prompt": PROMPT, "reasoning": REASONING, "completion": CONTENT, "finish_reason": "stop"}
    (root / "long.jsonl").write_text(json.dumps(row))
    study = tiny.study(
        model,
        problems={**tiny.problem_sets(1), "train": {"source": str(root / "p.jsonl")}},
        teachers={t: {"backend": "recorded", "model": str(root / "long.jsonl")} for t in ("long", "short")},
        students={"t": {"model": model, "chat_template_kwargs": kwargs}},
    )
    (student,) = examine(study, out=root / "run").students
    return {f.check: f.state for f in student.checks}


def test_another_template_in_evaluation_than_in_training_is_caught_by_name(tmp_path):
    study, store = tiny.study("lab:xs"), Store(tmp_path)
    folder = store.folder("train", "t", "long", "0")
    model = tiny.save_student(folder / "model", templates.of("qwen2.5").tokenizer)
    facts = {"template": Template.load(model).fingerprint}
    store.mark(folder, {"facts": facts, "tables": {"model": {"columns": {"weights": "w"}}}})
    problems = domain.problems("eval", count=1)
    store.seal(store.folder("problems"), Problem, problems, "signs")
    store.mark(store.folder("problems"), {"tables": {}, "counts": {}})
    jinja = folder / "model" / "chat_template.jinja"
    jinja.write_text(jinja.read_text().replace("You are helpful.", "You are brief."))
    unit = next(u for u in evaluate.units(study, store) if u.key == ("t", "long", "0", "signs"))
    with pytest.raises(StageError, match=r"^evaluate/t/long/0/signs: same_template: its template writes other tokens"):
        evaluate.run(unit, study, store)


def test_a_finding_counts_its_rows_and_names_the_first_that_failed():
    template = templates.of("qwen2.5")
    bad = [example(content="<|im_end|>").model_copy(update={"problem_id": name}) for name in ("p7", "p8")]
    examples = [example(), *bad]
    found = {f.check: f for f in of_rows(rendered(examples, rows_of(template, *examples), template), Reader(template))}
    assert found["no_special_in_text"].rows == 2
    assert found["no_special_in_text"].text.startswith("problem p7, teacher long: the answer holds")
    assert (found["seam"].state, found["seam"].rows, found["seam"].text) == ("ok", 3, holds(CHECKS["seam"]))


def test_a_training_set_is_refused_with_check_row_and_advice(tmp_path):
    model = tiny.byte_student(tmp_path)
    template = Template.load(model)
    good, bad = example(), example(content="<|im_end|>")
    assert check_rows([good], rows_of(template, good), template, model) == {}
    with pytest.raises(StageError) as e:
        check_rows([good, bad], rows_of(template, good, bad), template, model)
    assert str(e.value) == (
        "train: no_special_in_text: problem p1, teacher long: the answer holds the special token '<|im_end|>'; take it "
        "out of the text (in 1 of 2 rows)"
    )


def test_what_was_noted_stays_with_a_training(tmp_path):
    tokenizer = tiny.byte_tokenizer(pad_token="<|im_end|>", eos_token="<|im_end|>")
    model = tiny.save_student(tmp_path, tokenizer)
    template = Template.load(model)
    noted = check_rows([example()], rows_of(template, example()), template, model)
    assert list(noted) == ["pad_is_not_stop"]


def test_every_check_says_what_holds():
    assert all(re.fullmatch(r".{20,49}\.", holds(check)) for check in CHECKS.values())
