"""What a teacher is asked. A teacher prompt is a text file with `{problem}` where the problem goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mixdistill.errors import RecipeError, did_you_mean
from mixdistill.recipe import Teacher
from mixdistill.types import Message, content_hash

Prompt = str | list[Message]

PLAIN = "plain"
_SHIPPED = Path(__file__).parent / "teacher_prompts"


def of(teacher: Teacher) -> Callable[[Prompt], Prompt]:
    """What makes a teacher's prompt of a problem's: the one way in for all who ask, or look up, its traces."""
    template = load(teacher.prompt)
    return lambda prompt: apply(template, prompt)


def fingerprint(teacher: Teacher) -> str:
    """Hash of all that decides what a teacher is sent besides the problem itself."""
    return content_hash(load(teacher.prompt))


def shipped() -> dict[str, Path]:
    """Teacher prompts that come with the package: name -> file."""
    return {p.stem: p for p in sorted(_SHIPPED.glob("*.txt"))}


def load(name: str) -> str:
    """The text of a teacher prompt: a shipped one by name, or a file of the user's."""
    if name == PLAIN:
        return "{problem}"
    path = shipped().get(name, Path(name))
    if not os.path.isfile(path):
        raise RecipeError(f"no prompt '{name}'{did_you_mean(name, [PLAIN, *shipped()])}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise RecipeError(f"{path}: not UTF-8 text (byte {e.start}); save it as UTF-8") from None
    if "{problem}" not in text:
        raise RecipeError(f"{path}: a teacher prompt must contain {{problem}} (got {text[:40]!r}); add it")
    return text


def apply(template: str, prompt: Prompt) -> Prompt:
    """The prompt as the teacher sees it; in a conversation the last turn is wrapped."""
    if isinstance(prompt, str):
        return template.replace("{problem}", prompt)
    *earlier, last = prompt
    return [*earlier, last.model_copy(update={"content": template.replace("{problem}", last.content)})]
