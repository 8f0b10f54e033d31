"""What a teacher is asked: a template around the problem; where wanted, a system prompt and worked examples before it.

A template is text with `{problem}` where the problem goes, or a Jinja file (`.jinja`) with `{{ problem }}`. In a
conversation the last turn is the problem. The whole of what is sent:

    system      the teacher's `system`, and after a blank line the problem's own system prompt: one turn
    user        the first example's prompt, in the template       } for every row of `examples`
    assistant   its completion, as it stands                      }
    ...         earlier turns of the problem's conversation
    user        the problem, in the template
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mixdistill import resolve, tables
from mixdistill.errors import DataError, RecipeError, did_you_mean, one_line, said
from mixdistill.files import write_atomically
from mixdistill.sections import Teacher
from mixdistill.types import Message, Row, content_hash

if TYPE_CHECKING:
    from jinja2 import Environment, Template

Prompt = str | list[Message]

PLAIN = "plain"
JINJA = ".jinja"
KEPT = "prompt.json"
"""In a teacher's folder of traces: what they were asked with."""


class Kind(NamedTuple):
    """A kind of prompt."""

    called: str
    names: tuple[str, ...]
    """What may stand in it."""
    needed: str
    """Which of these must."""
    folder: str
    """Where the shipped ones are."""


TEACHER = Kind("a teacher prompt", ("problem",), "problem", "teacher_prompts")
STUDENT = TEACHER._replace(called="what a student is asked")
JUDGE = Kind("a judge's prompt", ("answer", "problem", "reference", "content"), "answer", "judge_prompts")
_PROBE = "1 + 1 = ?"
"""Stands for a problem where a template is tried out."""


class Worked(Row):
    """A worked example."""

    prompt: str
    """What was asked, before the template."""
    completion: str
    """What the assistant is shown to have answered."""


class Asked(Row):
    """All that a teacher is sent besides the problem itself."""

    template: str
    """The text around a problem."""
    jinja: bool = False
    """Whether it is Jinja; else `{problem}` is put in."""
    system: str | None = None
    examples: list[Worked] = []

    def __call__(self, prompt: Prompt, where: str = KEPT) -> Prompt:
        """The prompt as the teacher is sent it. `where` names the template in errors. Raises RecipeError."""
        turns = [Message(role="user", content=prompt)] if isinstance(prompt, str) else prompt
        if isinstance(prompt, str) and self.system is None and not self.examples:
            return self._fill(prompt, where)
        *earlier, last = turns
        shown = [
            Message(role=role, content=text)
            for e in self.examples
            for role, text in (("user", self._fill(e.prompt, where)), ("assistant", e.completion))
        ]
        own = [m for m in earlier[:1] if m.role == "system"]
        system = [text for text in (self.system, *(m.content for m in own)) if text is not None]
        return [
            *([Message(role="system", content="\n\n".join(system))] if system else []),
            *shown,
            *earlier[len(own) :],
            last.model_copy(update={"content": self._fill(last.content, where)}),
        ]

    def _fill(self, problem: str, where: str) -> str:
        if not self.jinja:
            return self.template.replace("{problem}", problem)
        return _render(self.template, {"problem": problem}, where)


def of(teacher: Teacher) -> Callable[[Prompt], Prompt]:
    """What makes a teacher's prompt of a problem's: the one way in for all who ask, or look up, its traces."""
    asked = read(teacher)
    return lambda prompt: asked(prompt, teacher.prompt)


def read(teacher: Teacher) -> Asked:
    """All that a teacher is sent, its files read. Raises RecipeError."""
    text, jinja = template(teacher.prompt)
    shown = examples(teacher.examples) if teacher.examples is not None else []
    return Asked(template=text, jinja=jinja, system=teacher.system, examples=shown)


def asking(ask: str | None) -> Callable[[Prompt], Prompt]:
    """What makes a student's prompt of a problem's: a template by name or file, None for the problem alone."""
    if ask is None or ask == PLAIN:
        return lambda prompt: prompt
    text, jinja = template(ask)
    asked = Asked(template=text, jinja=jinja)
    return lambda prompt: asked(prompt, ask)


def identity(ask: str | None) -> dict[str, str]:
    """What a template adds to the identity of rows that were asked with it: its content; nothing without one."""
    return {} if ask is None or ask == PLAIN else {"ask": content_hash(*map(str, template(ask)))}


def fingerprint(teacher: Teacher) -> str:
    """Hash of all that decides what a teacher is sent besides the problem itself: of contents, never of paths."""
    asked = read(teacher)
    if asked == Asked(template=asked.template):
        return content_hash(asked.template)
    return content_hash(asked.template, asked.model_dump_json(exclude={"template"}, exclude_defaults=True))


def keep(teacher: Teacher, folder: Path) -> None:
    """Write what a teacher is sent beside its traces: a path in a recipe leads nowhere once its file was edited."""
    write_atomically(folder / KEPT, read(teacher).model_dump_json(indent=2).encode())


def kept(folder: Path) -> Asked | None:
    """What the traces in a folder were asked with; None where that was not kept, or cannot be read."""
    try:
        return Asked.model_validate_json((folder / KEPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


# -- templates --------------------------------------------------------------------------------------------------------


def shipped(kind: Kind = TEACHER) -> dict[str, Path]:
    """Prompts that come with the package: name -> file."""
    return {p.stem: p for p in sorted((Path(__file__).parent / kind.folder).glob("*.txt"))}


def template(name: str, kind: Kind = TEACHER) -> tuple[str, bool]:
    """(text, whether it is Jinja) of a prompt: a shipped one by name, or a file of the user's.

    A Jinja file is tried out. Raises RecipeError where it is no prompt.
    """
    plain = [PLAIN] if kind.folder == TEACHER.folder else []
    if name in plain:
        return "{problem}", False
    path = shipped(kind).get(name) or Path(resolve.from_environment(name)).expanduser()
    if not os.path.isfile(path):
        raise RecipeError(f"no prompt '{name}'{did_you_mean(name, [*plain, *shipped(kind)])}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise RecipeError(f"{name}: not UTF-8 text (byte {e.start}); save it as UTF-8") from None
    jinja = path.suffix == JINJA
    if jinja:
        _check_jinja(name, text, kind)
    elif f"{{{kind.needed}}}" not in text:
        hint = f"; if it is Jinja, call it {path.stem}{JINJA}" if "{{" in text else ""
        raise RecipeError(f"{name}: {kind.called} must contain {{{kind.needed}}} (got {text[:40]!r}); add it{hint}")
    return text, jinja


def filled(text: str, values: dict[str, str], *, jinja: bool, where: str) -> str:
    """A template with its values put in, once: what looks like a place in one of them stays. Raises RecipeError."""
    if jinja:
        return _render(text, values, where)
    return re.sub(rf"\{{({'|'.join(values)})\}}", lambda place: values[place[1]], text)


@cache
def _environment() -> Environment:
    """Sandboxed, since a prompt may be somebody else's; and without chance, so that a prompt follows from its problem.

    Blocks leave no blank lines, as in chat templates; the text's own last line end stays.
    """
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    found = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    del found.filters["random"], found.globals["lipsum"]
    return found


@cache
def _compiled(text: str) -> Template:
    return _environment().from_string(text)


def _check_jinja(where: str, text: str, kind: Kind) -> None:
    from jinja2 import TemplateSyntaxError, meta, nodes

    try:
        tree = _environment().parse(text)
        unknown = meta.find_undeclared_variables(tree)  # this is where a filter that is none is found
    except TemplateSyntaxError as e:
        why = one_line(str(e.message)).rstrip(".")
        raise RecipeError(f"{where}:{e.lineno}: not a Jinja template ({why}); mend it") from None
    used = [n for n in tree.find_all(nodes.Name) if n.ctx == "load"]
    for name in used:
        if name.name in unknown - set(kind.names):
            raise RecipeError(f"{where}:{name.lineno}: '{name.name}' is undefined{did_you_mean(name.name, kind.names)}")
    if not any(name.name == kind.needed for name in used):
        raise RecipeError(f"{where}: {kind.called} must contain {{{{ {kind.needed} }}}} (got {text[:40]!r}); add it")
    _render(text, dict.fromkeys(kind.names, _PROBE), where)


def _render(text: str, values: dict[str, str], where: str) -> str:
    problem = values["problem"]
    try:
        found = _compiled(text).render(values)
    except Exception as e:  # a template may do anything that its language can
        raise RecipeError(
            f"{where}{_line(e)}: cannot be rendered for {_brief(problem)!r} ({said(e, 160)}); mend it"
        ) from None
    if not found.strip():
        raise RecipeError(f"{where}: is empty for {_brief(problem)!r}; write out {{{{ problem }}}}")
    return found


def _line(e: Exception) -> str:
    """`:3` where an error arose in the third line of a template."""
    found, frame = "", e.__traceback__
    while frame:
        found = f":{frame.tb_lineno}" if frame.tb_frame.f_code.co_filename == "<template>" else found
        frame = frame.tb_next
    return found


def _brief(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


# -- worked examples --------------------------------------------------------------------------------------------------


def examples(path: str) -> list[Worked]:
    """The worked examples of a file, in its order. Every row must be one. Raises RecipeError."""
    found: list[Worked] = []
    try:
        for row in tables.read(resolve.from_environment(path)):
            if row.cells is None:
                raise RecipeError(f"{path}:{row.number}: {row.why}; mend the row, or leave it out")
            found.append(Worked(**{key: _cell(path, row.number, row.cells, key) for key in Worked.model_fields}))
    except DataError as e:
        raise RecipeError(str(e)) from None
    if not found:
        raise RecipeError(f"{path}: holds no example; give it rows with prompt and completion, or leave examples out")
    return found


def _cell(path: str, number: int, cells: dict[str, Any], key: str) -> str:
    value = cells.get(key)
    if isinstance(value, str) and value.strip():
        return value
    got = "nothing" if value is None else repr(value)[:40]
    raise RecipeError(f"{path}:{number}: {key} must be text (got {got}); an example has a prompt and a completion")


def shown_as_examples(asked: Asked, prompts: list[Prompt]) -> int:
    """How many of these prompts stand among the worked examples, typography aside: of those the answer is shown."""
    from mixdistill import spelling

    worked = {spelling.loose(e.prompt) for e in asked.examples}
    return sum(spelling.turn(p) in worked for p in prompts) if worked else 0


def tagged(prompt: Prompt, tag: str) -> Prompt:
    """The prompt with a tag on a last line of its last turn; as it is without one."""
    if not tag:
        return prompt
    if isinstance(prompt, str):
        return f"{prompt}\n{tag}"
    *earlier, last = prompt
    return [*earlier, last.model_copy(update={"content": f"{last.content}\n{tag}"})]
