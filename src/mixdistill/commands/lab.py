"""`lab list` and `lab build`: the tiny models of the offline world."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The offline world: tiny models that the demo and the tests use.")


@app.command("list")
def lab_list() -> None:
    """Lab models: size, and whether they are shipped, built or still to be built."""
    from mixdistill.lab import models

    for model in map(models.describe, models.names()):
        where = "shipped" if model.shipped else "built" if model.built else "built on first use"
        sys.stdout.write(f"{model.name:<14} {model.parameters:>10,} parameters  {where:<18}  {model.path}\n")


@app.command("build")
def lab_build(
    name: Annotated[str, typer.Argument(help="A lab model, e.g. s, l, s@1 (another draw), teacher-large.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write; else the cache.")] = None,
) -> None:
    """Train a lab model from nothing (seconds to minutes); how the shipped ones were made, too."""
    from mixdistill.lab import models

    if out is None:
        models.ensure([name], say=_say)
    else:
        models.build(name, out)
    sys.stdout.write(f"{out or models.path(name)}\n")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
