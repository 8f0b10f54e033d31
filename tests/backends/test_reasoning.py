import pytest

from mixdistill.backends.reasoning import looks_finished, split

CHAT = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
S1 = CHAT + "<|im_start|>think\n"
BOX = "Answer: so it is \\(\\boxed{4}\\)."


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("It is 4.", "", "It is 4."),
        ("<think>\nhm\n</think>\n\nIt is 4.", "hm", "It is 4."),
        ("hm\n</think>\nIt is 4.", "hm", "It is 4."),  # the prompt ended in <think>
        ("<think></think>It is 4.", "", "It is 4."),
        ("<think>a</think>The tag </think> closes.", "a", "The tag </think> closes."),
        (S1 + "hm\n<|im_start|>answer\n" + BOX, "hm", BOX),
        (
            "<|begin_of_thought|>\nhm\n<|end_of_thought|>\n<|begin_of_solution|>\n4\n<|end_of_solution|>",
            "hm",
            "4",
        ),
        ("<|begin_of_thought|>hm<|end_of_thought|>4", "hm", "4"),
        ("<|begin_of_thought|>hm<|begin_of_solution|>4", "hm", "4"),
        (CHAT + "It is 4.<|im_end|>", "", "It is 4."),
        ("<|start_header_id|>assistant<|end_header_id|>\n\nIt is 4.<|eot_id|>", "", "It is 4."),
    ],
)
def test_every_known_shape_is_taken_apart(text, reasoning, content):
    parts = split(text)
    assert (parts.reasoning, parts.content, parts.found_answer_part) == (reasoning, content, True)


@pytest.mark.parametrize("text", ["<think>\nhm, so 2 +", "<|begin_of_thought|>\nhm, so 2 +", S1 + "hm, so 2 +"])
def test_thinking_left_open_in_mid_sentence_was_cut(text):
    parts = split(text)
    assert parts == ("hm, so 2 +", "", False, "length")


@pytest.mark.parametrize("text", ["<think>\nhm.", S1 + "hm."])
def test_thinking_left_open_after_a_sentence_says_nothing_about_its_end(text):
    assert split(text) == ("hm.", "", False, "unknown")


def test_thinking_that_ended_with_a_stop_token_ended_by_itself_without_an_answer():
    assert split("<think>hm.<|im_end|>") == ("hm.", "", False, "stop")


@pytest.mark.parametrize("end", ["<|im_end|>", "<|endoftext|>\n", "<|im_end|>\n<|endoftext|>", "</s>", "<|eot_id|>"])
def test_an_end_token_shows_that_a_text_ended_by_itself_and_is_no_content(end):
    assert split("<think>a</think>b" + end) == ("a", "b", True, "stop")


def test_a_text_without_an_end_token_does_not_say_how_it_ended():
    assert split("<think>a</think>b.").finish == "unknown"


def test_the_closing_tag_of_a_solution_ends_it():
    text = "<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>b<|end_of_solution|>"
    assert split(text).finish == "stop"
    assert split(text.removesuffix("<|end_of_solution|>")).finish == "unknown"


def test_the_last_assistant_turn_of_a_chat_counts():
    chat = (
        "<|im_start|>assistant\nold<|im_end|>\n<|im_start|>user\nagain<|im_end|>\n<|im_start|>assistant\nnew<|im_end|>"
    )
    assert split(chat) == ("", "new", True, "stop")


def test_an_s1_answer_after_a_final_answer_line_needs_no_tag():
    parts = split(S1 + "hm, 4 it is.\nFinal Answer: They have \\boxed{4} pens.")
    assert parts == ("hm, 4 it is.", "Final Answer: They have \\boxed{4} pens.", True, "unknown")


def test_s1_thinking_that_goes_on_after_a_forced_final_answer_has_no_answer_part():
    parts = split(S1 + "so the price isFinal Answer: \\boxed{4} pens. But wait, maybe")
    assert (parts.content, parts.found_answer_part, parts.finish) == ("", False, "length")
    assert parts.reasoning.endswith("But wait, maybe")


def test_s1_thinking_cut_by_its_budget_is_cut_even_with_a_complete_answer_and_an_end_token():
    parts = split(S1 + "so the price isFinal Answer: \\boxed{4}\n<|im_start|>answer\n" + BOX + "<|im_end|>")
    assert (parts.content, parts.finish) == (BOX, "length")
    assert not looks_finished(parts)


def test_s1_thinking_that_ended_by_itself_is_not_called_cut():
    parts = split(
        S1 + "hm.\n\n**Final Answer**\n\\boxed{4}\nFinal Answer: \\boxed{4} it is.\n<|im_start|>answer\n" + BOX
    )
    assert parts.finish == "unknown"
    assert looks_finished(parts)


@pytest.mark.parametrize(
    "answer",
    [
        BOX,
        "Thus:\n\n\\[\n\\boxed{4}\n\\]",
        "So \\boxed{\\frac{1}{2}}",
        "a\nb\n#### 4",
        "Well.\n\n**Final Answer:** 4 pens.",
        "so \\(\\boxed{4}\\) is more likely than the other.",
    ],
)
def test_an_answer_that_ends_after_stating_its_result_looks_finished(answer):
    assert looks_finished(split("<think>a</think>" + answer))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "It is 4.",
        "So \\boxed{4",
        "\\boxed{4}\n\nBut wait, maybe it is",
        "\\boxed{4}\n\nBut wait, that is another matter.",
        "Difference: \\(3000 - 2920 = 8",
        BOX + "\n<|im_start|>answer\n" + BOX,
    ],
)
def test_an_answer_that_was_cut_goes_on_or_begins_again_does_not_look_finished(answer):
    assert not looks_finished(split(S1 + "hm.\n<|im_start|>answer\n" + answer))


def test_a_repeated_answer_tag_loses_no_text():
    parts = split(S1 + "hm.\n<|im_start|>answer\n" + BOX + "\n<|im_start|>answer\n" + BOX)
    assert parts.content.count("boxed") == 2


def test_empty_text_is_an_empty_answer():
    assert split("").content == ""
    assert not split("").found_answer_part
