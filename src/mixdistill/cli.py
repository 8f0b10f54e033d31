"""Verbs and flags; no logic. Everything heavier than typer is imported inside the verb that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mixdistill.errors import MixdistillError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which reasoning traces teach your small model? Fair comparisons, honest intervals, the trained model.",
    epilog="First time here? Run: mixdistill demo",
)
lab = typer.Typer(no_args_is_help=True, help="The offline world: tiny models that the demo and the tests use.")
app.add_typer(lab, name="lab")

RecipeArg = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override a key of the recipe. Repeatable.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Run folder [default: runs/<recipe name>].")]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Set aside (never delete) what was made with other settings.")
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="At most this many problems of every set.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Worker processes [default: one per GPU, else one per core].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Entry point: a user's mistake is one line and exit 2; a mistake of ours is a traceback."""
    try:
        app()
    except MixdistillError as e:
        for line in str(e).splitlines():
            sys.stderr.write(f"mixdistill: {line}\n")
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        from mixdistill import __version__

        sys.stdout.write(f"mixdistill {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    recipe: RecipeArg,
    set_: SetOption = None,
    out: OutOption = None,
    fresh: FreshOption = False,
    limit: LimitOption = None,
    workers: WorkersOption = None,
) -> None:
    """Carry out a whole study: generate, verify, analyze, mix, train, evaluate, report."""
    from mixdistill.pipeline import STAGES

    _carry_out(recipe, set_, out, fresh, limit, workers, STAGES)


def _stage_command(stage: str, summary: str) -> None:
    def command(
        recipe: RecipeArg,
        set_: SetOption = None,
        out: OutOption = None,
        fresh: FreshOption = False,
        limit: LimitOption = None,
        workers: WorkersOption = None,
    ) -> None:
        _carry_out(recipe, set_, out, fresh, limit, workers, (stage,))

    command.__doc__ = summary
    app.command(name=stage)(command)


for _stage, _summary in {
    "generate": "Only stage 1: traces of every teacher.",
    "verify": "Only stage 2: judge the traces.",
    "analyze": "Only stage 3: measure the traces.",
    "mix": "Only stage 4: matched training sets.",
    "train": "Only stage 5: train every cell.",
    "evaluate": "Only stage 6: evaluate the students.",
    "report": "Only stage 7: the page, its Markdown and its JSON.",
}.items():
    _stage_command(_stage, _summary)


@app.command()
def check(
    recipe: RecipeArg,
    set_: SetOption = None,
    out: OutOption = None,
    limit: LimitOption = None,
    gold: Annotated[
        bool, typer.Option("--gold", help="Instead: run the verifier over every problem's own reference answer.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Everything that is wrong with a recipe and what it names, at once; else the plan. Runs, buys, writes nothing."""
    from mixdistill import check as verb
    from mixdistill import gold as golden

    loaded, where = verb.load(recipe, set_)
    if not gold:
        _print(verb.plan(loaded, out=out, limit=limit, where=where), verb.text, as_json)
        return
    graded = golden.grade(loaded, limit=limit, where=where)
    _print(graded, golden.text, as_json)
    if graded.rejected:
        sys.exit(1)


@app.command()
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    problem: Annotated[
        str | None, typer.Argument(metavar="[PROBLEM]", help="A problem id, its beginning, or text in its prompt.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """One problem with all its traces and verdicts: teachers, then every student's arms in order."""
    from mixdistill import show as verb
    from mixdistill.store import Store

    _print(verb.find(Store(run), problem), verb.text, as_json)


def _print(row: Any, text: Any, as_json: bool) -> None:
    """A row as JSON, or as text that fits the terminal; in colour on a terminal alone."""
    if as_json:
        sys.stdout.write(row.model_dump_json(indent=2) + "\n")
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(text(row, console.width if console.is_terminal else 100), soft_wrap=True)


@app.command()
def demo(
    full: Annotated[
        bool, typer.Option("--full", help="More students, blends, teachers and seeds (about an hour).")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: under 90 seconds, shows nothing.")] = False,
    out: OutOption = None,
    set_: SetOption = None,
    fresh: FreshOption = False,
    workers: WorkersOption = None,
) -> None:
    """The small-model learnability gap on this machine, offline, in minutes."""
    from mixdistill.pipeline import STAGES
    from mixdistill.recipe import shipped

    if full and quick:
        raise typer.BadParameter("--full and --quick exclude each other")
    name = "demo-full" if full else "demo-quick" if quick else "demo"
    _carry_out(shipped()[name], set_, out, fresh, None, workers, STAGES)


@lab.command("list")
def lab_list() -> None:
    """Lab models: size, and whether they are shipped, built or still to be built."""
    from mixdistill.lab import models

    for model in map(models.describe, models.names()):
        where = "shipped" if model.shipped else "built" if model.built else "built on first use"
        sys.stdout.write(f"{model.name:<14} {model.parameters:>10,} parameters  {where:<18}  {model.path}\n")


@lab.command("build")
def lab_build(
    name: Annotated[str, typer.Argument(help="A lab model, e.g. s, l, s@1 (another draw), teacher-large.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write [default: the cache].")] = None,
) -> None:
    """Train a lab model from nothing (seconds to minutes); how the shipped ones were made, too."""
    from mixdistill.lab import models

    if out is None:
        models.ensure([name], say=_say)
    else:
        models.build(name, out)
    sys.stdout.write(f"{out or models.path(name)}\n")


def _ensure_lab_models(recipe: Any) -> None:
    """Build the lab models a recipe names before any stage waits for them in silence."""
    named = [m.model for m in (*recipe.students.values(), *recipe.teachers.values())]
    wanted = [m.removeprefix("lab:") for m in named if m.startswith("lab:")]
    if wanted:
        from mixdistill.lab import models

        models.ensure(wanted, say=_say)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _carry_out(
    recipe: Path,
    overrides: list[str] | None,
    out: Path | None,
    fresh: bool,
    limit: int | None,
    workers: int | None,
    stages: Any,
) -> None:
    from mixdistill import pipeline, progress
    from mixdistill.recipe import load
    from mixdistill.store import Store

    loaded = load(recipe, overrides)
    store = Store(out or Path("runs") / loaded.name)
    _ensure_lab_models(loaded)
    try:
        with progress.watcher() as watcher:
            failures = pipeline.run(
                loaded, store, stages=stages, watcher=watcher, fresh=fresh, limit=limit, workers=workers
            )
    except KeyboardInterrupt:  # here, since typer would make "Aborted" of it
        sys.stderr.write("mixdistill: stopped; run the same command again to go on\n")
        raise typer.Exit(130) from None
    for line in failures:
        sys.stderr.write(f"mixdistill: {line}\n")
    if "report" in stages:
        summary = store.folder("report") / "summary.txt"
        if summary.exists():
            sys.stdout.write(summary.read_text(encoding="utf-8"))
    if failures:
        sys.exit(1)
