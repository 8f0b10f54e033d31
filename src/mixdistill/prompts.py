"""What a teacher is asked. A teacher prompt is a text file with `{problem}` where the problem goes."""

from __future__ import annotations

import os
from pathlib import Path

from mixdistill.errors import RecipeError, did_you_mean
from mixdistill.types import Message

PLAIN = "plain"
_SHIPPED = Path(__file__).parent / "teacher_prompts"


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


def apply(template: str, prompt: str | list[Message]) -> str | list[Message]:
    """The prompt as the teacher sees it; in a conversation the last turn is wrapped."""
    if isinstance(prompt, str):
        return template.replace("{problem}", prompt)
    *earlier, last = prompt
    return [*earlier, last.model_copy(update={"content": template.replace("{problem}", last.content)})]
