"""Arguments and flags that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mixdistill.commands import complete

RecipeArg = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE", help="A recipe file, or the name of a shipped recipe.", autocompletion=complete.recipes
    ),
]
RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", autocompletion=complete.runs)]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override a key of the recipe. Repeatable.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Run folder; else runs/ and the recipe's name.")]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Set aside (never delete) what was made with other settings.")
]
RetryOption = Annotated[bool, typer.Option("--retry", help="Ask again for what failed for good.")]
RehearseOption = Annotated[
    bool, typer.Option("--rehearse", help="Bought teachers are played by a fake provider here; costs nothing.")
]
SmokeOption = Annotated[
    bool, typer.Option("--smoke", help="Tiny models and made-up data, offline, in seconds: does the recipe run?")
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="At most this many problems of every set.")]
StudentOption = Annotated[
    str | None, typer.Option("--student", metavar="NAME", help="A student of its recipe; need not be said of one.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Which of its seeds; else the first.")]
Style = Literal["reasoning", "reasoning_content", "think"]
"""As in fake.answers, which --help does not load."""
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Worker processes; else one per GPU, or one per core.")
]
