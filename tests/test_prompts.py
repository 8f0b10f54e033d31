"""What a teacher is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mixdistill import prompts
from mixdistill.errors import RecipeError
from mixdistill.prompts import Asked, Worked
from mixdistill.sections import Teacher
from mixdistill.types import Message, content_hash

BOXED_BY_THE_PAPER = (
    "Solve the following math problem. Present the final answer in the format: Final Answer: \\boxed{your_answer}.\n"
    "Problem: 1 + 1?\n"
    "Answer:"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def teacher(**keys: Any) -> Teacher:
    return Teacher(backend="openai", model="m", **keys)


def ask(problem: prompts.Prompt, **keys: Any) -> prompts.Prompt:
    return prompts.of(teacher(**keys))(problem)


def turns(*said: str) -> list[Message]:
    """`system: text`, `user: text`, ... as messages."""
    return [Message(role=role, content=text) for role, _, text in (s.partition(": ") for s in said)]  # ty: ignore


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def worked(*rows: tuple[str, str], name: str = "few.jsonl") -> str:
    return write(name, "".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in rows))


def refusal(**keys: Any) -> str:
    with pytest.raises(RecipeError) as e:
        ask("it", **keys)
    return str(e.value)


# -- templates --------------------------------------------------------------------------------------------------------


def test_plain_is_the_problem_alone():
    assert ask("1 + 1?") == "1 + 1?"


@pytest.mark.parametrize("name", sorted(prompts.shipped()))
def test_every_shipped_prompt_holds_the_problem_as_it_stands(name: str):
    asked = ask("Is {x} {problem}?", prompt=name)
    assert isinstance(asked, str)
    assert "Is {x} {problem}?" in asked
    assert len(asked) > 20


def test_the_papers_prompt_is_the_papers_to_the_letter():
    assert set(prompts.shipped()) == {"boxed", "choice", "paper"}
    assert ask("1 + 1?", prompt="paper") == BOXED_BY_THE_PAPER


def test_a_file_of_the_users_is_a_prompt():
    Path("mine.txt").write_bytes(b"\xef\xbb\xbfSolve {problem} by {hand}.\n")
    assert ask("it", prompt="mine.txt") == "Solve it by {hand}.\n"


def test_in_a_conversation_the_last_turn_is_wrapped():
    asked = ask(turns("system: {problem}", "user: it"), prompt=write("a.txt", "Solve {problem}."))
    assert asked == turns("system: {problem}", "user: Solve it.")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"Solve it.", "a.txt: a teacher prompt must contain {problem} (got 'Solve it.'); add it"),
        (
            b"{{ problem }}",
            "a.txt: a teacher prompt must contain {problem} (got '{{ problem }}'); add it; "
            "if it is Jinja, call it a.jinja",
        ),
        (b"\xe9 {problem}", "a.txt: not UTF-8 text (byte 0); save it as UTF-8"),
    ],
)
def test_a_file_that_is_no_prompt_is_refused(data: bytes, line: str):
    Path("a.txt").write_bytes(data)
    assert refusal(prompt="a.txt") == line


def test_an_unknown_prompt_is_suggested():
    assert refusal(prompt="plian") == "no prompt 'plian'; did you mean 'plain'?"


def test_a_prompt_may_lie_where_a_variable_of_the_environment_says(monkeypatch: pytest.MonkeyPatch, here: Path):
    monkeypatch.setenv("MY_PROMPTS", str(here))
    write("a.txt", "So: {problem}")
    few = worked(("1?", "1"))
    assert ask("it", prompt="${MY_PROMPTS}/a.txt") == "So: it"
    assert ask("it", examples="${MY_PROMPTS}/" + few) == turns("user: 1?", "assistant: 1", "user: it")


# -- jinja ------------------------------------------------------------------------------------------------------------

BRANCHES = "{% if 'order' in problem %}\nTake the order.\n{% endif %}\n{{ problem | trim }}\n"


def test_a_jinja_file_is_a_prompt_and_its_blocks_leave_no_blank_lines():
    name = write("a.jinja", BRANCHES)
    assert ask(" my order ", prompt=name) == "Take the order.\nmy order\n"
    assert ask("it", prompt=name) == "it\n"
    assert ask(turns("user: a", "assistant: b", "user: it"), prompt=name)[-1] == turns("user: it\n")[0]


def test_a_problem_is_text_in_jinja_and_never_a_template_nor_markup():
    name = write("a.jinja", "<b>{{ problem }}</b>{problem}")
    assert ask("{{ 1 + 1 }} <i> & {% x", prompt=name) == "<b>{{ 1 + 1 }} <i> & {% x</b>{problem}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "Solve:\n{{ problem }\n",
            "a.jinja:2: not a Jinja template (unexpected '}'); mend it",
        ),
        (
            "{% if problem %}\n{{ problem }}\n",
            "a.jinja:2: not a Jinja template (Unexpected end of template. Jinja was looking for the following tags: "
            "'elif' or 'else' or 'endif'. The innermost block that needs to be closed is 'if'); mend it",
        ),
        ("{{ problem | shout }}", "a.jinja:1: not a Jinja template (No filter named 'shout'); mend it"),
        ("{{ problem }}\n{{ [1] | random }}", "a.jinja:2: not a Jinja template (No filter named 'random'); mend it"),
        ("Solve\nthis: {{ problm }}", "a.jinja:2: 'problm' is undefined; did you mean 'problem'?"),
        ("{{ problem }}\n{% if level > 3 %}!{% endif %}", "a.jinja:2: 'level' is undefined; known: problem"),
        ("{{ problem }} {{ lipsum(1) }}", "a.jinja:1: 'lipsum' is undefined; known: problem"),
        ("Solve it.", "a.jinja: a teacher prompt must contain {{ problem }} (got 'Solve it.'); add it"),
        (
            "Solve\n\n{{ problem.text }}",
            "a.jinja:3: cannot be rendered for '1 + 1 = ?' (UndefinedError: 'str object' has no attribute 'text'); "
            "mend it",
        ),
        (
            "{{ problem.__class__.__mro__ }}",
            "a.jinja:1: cannot be rendered for '1 + 1 = ?' (SecurityError: access to attribute '__class__' of 'str' "
            "object is unsafe.); mend it",
        ),
        (
            "{% include '/etc/passwd' %}{{ problem }}",
            "a.jinja:1: cannot be rendered for '1 + 1 = ?' (TypeError: no loader for this environment specified); "
            "mend it",
        ),
        (
            "{% if not problem %}{{ problem }}{% endif %}",
            "a.jinja: is empty for '1 + 1 = ?'; write out {{ problem }}",
        ),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_used_is_refused_in_one_line_before_any_problem(text: str, line: str):
    write("a.jinja", text)
    with pytest.raises(RecipeError) as e:
        prompts.template("a.jinja")
    assert str(e.value) == line


def test_a_template_that_fails_for_one_problem_alone_names_it():
    name = write("a.jinja", "{{ problem }}\n{{ 10 // (problem | length - 2) }}")
    assert ask("abc", prompt=name) == "abc\n10"
    assert refusal(prompt=name) == (
        "a.jinja:2: cannot be rendered for 'it' (ZeroDivisionError: integer division or modulo by zero); mend it"
    )


# -- system prompt and worked examples --------------------------------------------------------------------------------


def test_the_system_prompt_comes_first_and_as_it_stands():
    assert ask("it", system="Be brief.\n", prompt="boxed")[0] == turns("system: Be brief.\n")[0]
    write("notes.txt", "a file of that name")
    assert ask("it", system="notes.txt") == turns("system: notes.txt", "user: it")
    assert ask("it", system="${HOME} {problem}") == turns("system: ${HOME} {problem}", "user: it")


def test_a_problems_own_system_prompt_follows_the_teachers_in_one_turn():
    problem = turns("system: Answer in JSON.", "user: a", "assistant: b", "user: it")
    assert ask(problem, system="Be brief.") == turns("system: Be brief.\n\nAnswer in JSON.", *SAID)
    assert ask(problem[1:], system="Be brief.") == turns("system: Be brief.", *SAID)
    assert ask(problem) == problem


SAID = ("user: a", "assistant: b", "user: it")


def test_examples_are_earlier_turns_in_the_same_template_and_the_order_of_the_file():
    few = worked(("1?", "<think>\none\n</think>\n\n1"), ("2?", "2"))
    asked = ask("it", examples=few, prompt=write("a.txt", "Q: {problem}"), system="Be brief.")
    assert asked == turns(
        "system: Be brief.", "user: Q: 1?", "assistant: <think>\none\n</think>\n\n1", "user: Q: 2?", "assistant: 2",
        "user: Q: it",
    )  # fmt: skip


def test_examples_stand_between_a_problems_system_prompt_and_its_conversation():
    few = worked(("1?", "1"))
    assert ask(turns("system: S", *SAID), examples=few) == turns("system: S", "user: 1?", "assistant: 1", *SAID)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "few.jsonl: holds no example; give it rows with prompt and completion, or leave examples out"),
        (
            '{"prompt": "1?", "answer": "1"}\n',
            "few.jsonl:1: completion must be text (got nothing); an example has a prompt and a completion",
        ),
        (
            '\n{"prompt": ["1?"], "completion": "1"}\n',
            "few.jsonl:2: prompt must be text (got ['1?']); an example has a prompt and a completion",
        ),
        (
            '{"prompt": "1?", "completion": " "}\n',
            "few.jsonl:1: completion must be text (got ' '); an example has a prompt and a completion",
        ),
        ("[1]\n", "few.jsonl:1: not a JSON object (got list); mend the row, or leave it out"),
    ],
)
def test_a_file_that_holds_no_examples_is_refused(text: str, line: str):
    write("few.jsonl", text)
    assert refusal(examples="few.jsonl") == line


def test_a_file_of_examples_that_is_not_there_is_refused():
    assert refusal(examples="gone.csv").startswith("gone.csv: no such file; ")


# -- what was sent ----------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_contents_and_not_of_places(here: Path):
    (here / "other").mkdir()
    sent = {}
    for folder in (".", "other"):
        few = worked(("1?", "1"), name=f"{folder}/few.jsonl")
        Path(folder, "a.csv").write_text("prompt,completion\n1?,1\n")
        for name, text in {"a.txt": "{problem}!", "b.jinja": "{{ problem }}!"}.items():
            write(f"{folder}/{name}", text)
            for examples in (None, few, f"{folder}/a.csv"):
                for system in (None, "Be brief."):
                    keys = {"prompt": f"{folder}/{name}", "examples": examples, "system": system}
                    what = (name, examples is not None, system)
                    sent.setdefault(what, set()).add(prompts.fingerprint(teacher(**keys)))
    assert all(len(found) == 1 for found in sent.values())
    assert len(set.union(*sent.values())) == len(sent) == 8


def test_every_part_of_what_is_sent_changes_the_fingerprint():
    few = worked(("1?", "1"))
    base = {"prompt": write("a.txt", "{problem}!"), "system": "S", "examples": few}
    first = prompts.fingerprint(teacher(**base))
    others = [
        {"prompt": "plain"}, {"system": "T"}, {"system": None}, {"examples": None},
        {"examples": worked(("1?", "2"), name="c.jsonl")}, {"examples": worked(("2?", "1"), name="d.jsonl")},
        {"examples": worked(("1?", "1"), ("1?", "1"), name="e.jsonl")},
    ]  # fmt: skip
    found = [prompts.fingerprint(teacher(**{**base, **other})) for other in others]
    assert len({first, *found}) == 1 + len(others)


def test_teachers_from_before_there_were_system_prompts_keep_their_fingerprint():
    assert prompts.fingerprint(teacher()) == content_hash("{problem}")
    boxed = prompts.shipped()["boxed"].read_text(encoding="utf-8")
    assert prompts.fingerprint(teacher(prompt="boxed")) == content_hash(boxed)


def test_what_is_kept_asks_the_same_when_the_files_are_gone(here: Path):
    few, name = worked(("1?", "1")), write("a.jinja", BRANCHES)
    asked = teacher(prompt=name, examples=few, system="Be brief.")
    problem = turns("system: S", "user: my order")
    before = prompts.of(asked)(problem)
    prompts.keep(asked, here / "unit")
    Path(few).unlink(), Path(name).unlink()
    there = prompts.kept(here / "unit")
    assert there == Asked(
        template=BRANCHES, jinja=True, system="Be brief.", examples=[Worked(prompt="1?", completion="1")]
    )
    assert there(problem) == before


def test_what_was_not_kept_or_is_damaged_is_none(here: Path):
    assert prompts.kept(here) is None
    write("prompt.json", "{")
    assert prompts.kept(here) is None


def test_problems_among_the_examples_are_counted_whatever_their_typography():
    asked = Asked(template="{problem}", examples=[Worked(prompt="What\u2019s  1?", completion="1")])
    assert prompts.shown_as_examples(asked, ["What's 1?", "2?", turns("system: S", "user: What's 1?")]) == 2
    assert prompts.shown_as_examples(Asked(template="{problem}"), ["What's 1?"]) == 0
