"""What can go wrong, as a tree.

    MixdistillError            one line for the user, exit 2, no traceback
    ├── RecipeError            the recipe is wrong; carries every finding at once
    ├── DataError              a file or a row that cannot be used
    ├── StoreError             the run folder: locked, unreadable, made by something else
    │   └── Refused            going on would lose bought traces or training; names the keys that changed
    ├── MissingExtra           a library is not installed; names the pip line
    └── StageError             a stage cannot do its work (missing input, error rate exceeded)
        ├── Diverged           a training's loss or weights are no longer finite numbers
        └── Stopped            somebody asked to stop; what there is is kept

Every message reads *where: what (got value); what to do*. Anything else that is raised is our bug and shows
a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MixdistillError(Exception):
    """Base of every error that is the user's to mend."""


class RecipeError(MixdistillError):
    """The recipe is wrong. `findings` holds one line per mistake."""

    def __init__(self, findings: str | list[str]):
        self.findings = [findings] if isinstance(findings, str) else findings
        super().__init__("\n".join(self.findings))


class DataError(MixdistillError):
    """A file or a row that cannot be used."""


class StoreError(MixdistillError):
    """The run folder is locked, unreadable or not ours."""


class Refused(StoreError):
    """Going on would lose what money or training bought."""


class MissingExtra(MixdistillError):
    """A library is missing."""

    def __init__(self, library: str, extra: str):
        super().__init__(f"{library}: not installed; run: pip install 'mixdistill[{extra}]'")
        self.library, self.extra = library, extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return MissingExtra, (self.library, self.extra)  # it crosses process borders


class StageError(MixdistillError):
    """A stage cannot do its work."""


class Diverged(StageError):
    """A training went wrong beyond repair: its loss, gradients or weights are no finite numbers, or its loss went up
    and stayed there."""


class Stopped(StageError):
    """Somebody asked to stop."""


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something known is close, else `; known: ...`."""
    names = sorted(known)
    close = difflib.get_close_matches(got, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


def one_line(text: str) -> str:
    """The text with line ends and other control characters escaped, so that a message stays a line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def said(e: BaseException, most: int | None = None) -> str:
    """An exception in one line of at most `most` characters: its kind, unless it is one of ours, and all the lines of
    its message, joined by `; `.
    """
    lines = (" ".join(line.split()) for line in str(e).splitlines())
    text = one_line("; ".join(line for line in lines if line))
    if not isinstance(e, MixdistillError) or not text:
        text = f"{type(e).__name__}: {text}" if text else type(e).__name__
    return text if most is None or len(text) <= most else f"{text[: most - 3]}..."
