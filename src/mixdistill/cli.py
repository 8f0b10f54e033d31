"""Verbs and flags; no logic. Everything heavier than typer is imported inside the verb that needs it."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mixdistill.commands import complete, lab, results, verdicts
from mixdistill.errors import MixdistillError
from mixdistill.flags import (
    ForceOption,
    FreshOption,
    JsonOption,
    LimitOption,
    OutOption,
    RecipeArg,
    RehearseOption,
    RetryOption,
    RunArg,
    SetOption,
    SmokeOption,
    Style,
    WorkersOption,
)
from mixdistill.printing import as_json, print_row, say, tell, width

START = """\
mixdistill measures which reasoning traces teach your small model: it trains it on long, short and
blended ones under equal conditions, and reports every gap with an honest interval.

  mixdistill demo           a whole study on this machine, offline, in minutes (--quick: in seconds)
  mixdistill init           write a recipe for your own student, problems and teachers
  mixdistill run RECIPE     carry it out; mixdistill check RECIPE says first what it will do

All verbs: mixdistill --help      One of them: mixdistill VERB --help
"""
PANELS = {
    "Start here": ("demo", "init", "recipes", "check", "doctor", "run"),
    "Runs": ("status", "show", "compare", "ship", "export", "lm-eval", "rm"),
    "Can the verdicts be trusted?": ("disagreements", "audit"),
    "Teachers": ("fake",),
    "One stage at a time": ("generate", "verify", "analyze", "mix", "tune", "train", "evaluate", "report"),
}

app = typer.Typer(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which reasoning traces teach your small model? Fair comparisons, honest intervals, the trained model.",
    epilog="First time here? Run: mixdistill demo",
)
app.add_typer(lab.app, name="lab", rich_help_panel="The lab")
for _verb in (results.ship, results.export, results.lm_eval, results.compare, verdicts.disagreements, verdicts.audit):
    app.command()(_verb)


def main() -> None:
    """Entry point: a user's mistake is one line and exit 2; a mistake of ours is a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of few letters is no reason to fail
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except MixdistillError as e:
        for line in str(e).splitlines():
            sys.stderr.write(f"mixdistill: {line}\n")
        sys.exit(2)
    except BrokenPipeError:  # the reader has seen enough, as in `mixdistill show ... | head`
        _leave(1)
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = e.filename or "output"
        sys.stderr.write(f"mixdistill: {where}: cannot be written ({e.strerror}); free space or write elsewhere\n")
        _leave(2)


def _leave(code: int) -> None:
    """Exit without Python's own try to write what is left in the buffer."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        from mixdistill import __version__

        sys.stdout.write(f"mixdistill {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        sys.stdout.write(START)


@app.command()
def init(
    student: Annotated[
        str | None, typer.Option("--student", metavar="MODEL", help="Hub id, folder or lab:NAME of the small model.")
    ] = None,
    problems: Annotated[
        str | None,
        typer.Option(
            "--problems", metavar="FILE|HUB_ID", help="Problems with answers; a hub id may go on :SUBSET:SPLIT."
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher",
            metavar="NAME=WHAT",
            help="long=traces.jsonl, short=openai:MODEL@http://localhost:8000/v1 or transformers:MODEL. Repeatable.",
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="COLUMN", help="Column with the prompt.")] = None,
    answer: Annotated[str | None, typer.Option("--answer", metavar="COLUMN", help="Column with the answer.")] = None,
    eval_: Annotated[
        str | None,
        typer.Option("--eval", metavar="FILE|HUB_ID", help="Evaluation problems; else a tenth of --problems."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The recipe to write.")] = Path("recipe.yaml"),
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RECIPE",
            help="Copy this recipe to edit, instead of all of the above.",
            autocompletion=complete.recipes,
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write a recipe for your student, problems and teachers, and say what was found in the files."""
    if from_:
        if prompt or answer or student or problems or teacher or eval_:
            raise typer.BadParameter("--from copies a recipe; it goes with --out and --force only")
        from mixdistill.commands.recipes import copy

        sys.stdout.write(copy(from_, out, force) + "\n")
        return
    if not (student and problems and teacher):
        raise typer.BadParameter("needs --student, --problems and at least one --teacher (or --from RECIPE)")
    from mixdistill.commands.init import write_recipe

    said = write_recipe(
        student=student,
        problems=problems,
        prompt=prompt,
        answer=answer,
        teachers=teacher,
        evaluation=eval_,
        out=out,
        force=force,
        width=width(),
    )
    sys.stdout.write(said + "\n")


@app.command()
def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print this one.", autocompletion=complete.shipped)
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Copy it there, to edit.")] = None,
    benchmarks: Annotated[bool, typer.Option("--benchmarks", help="List the shipped benchmarks instead.")] = False,
    force: ForceOption = False,
    json_: JsonOption = False,
) -> None:
    """List the shipped recipes or benchmarks, print one, or copy a recipe to edit."""
    from mixdistill.commands import recipes as shelf

    if name is None and to is not None:
        raise typer.BadParameter("--to needs the NAME of a recipe")
    if benchmarks and name is None:
        sys.stdout.write(shelf.benchmark_listing(width()) + "\n" if not json_ else as_json(shelf.benchmarks()))
    elif name is None:
        sys.stdout.write(shelf.listing(width()) + "\n" if not json_ else as_json(shelf.facts()))
    elif to is None:
        sys.stdout.write(shelf.text(name))
    else:
        sys.stdout.write(shelf.copy(name, to, force) + "\n")


@app.command()
def status(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder.", autocompletion=complete.runs)
    ] = None,
    json_: JsonOption = False,
) -> None:
    """What is done, running, missing or failed in a run, and how to go on; without RUN, a table of all runs."""
    from mixdistill.commands import status as look

    if run is None:
        found = look.overview(complete.RUNS)
        sys.stdout.write(as_json(found) if json_ else look.overview_text(found) + "\n")
    else:
        facts = look.describe(run)
        sys.stdout.write(as_json(facts) if json_ else look.text(facts, width()) + "\n")


@app.command()
def rm(
    run: RunArg,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="Delete only what --fresh has set aside in it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a run folder, after saying what is in it and how large it is."""
    from mixdistill.commands import rm as removal

    sys.stdout.write(removal.remove(run, only_set_aside=set_aside, yes=yes) + "\n")


@app.command()
def run(
    recipe: RecipeArg,
    set_: SetOption = None,
    out: OutOption = None,
    fresh: FreshOption = False,
    retry: RetryOption = False,
    limit: LimitOption = None,
    workers: WorkersOption = None,
    pilot: Annotated[
        int | None,
        typer.Option(
            "--pilot",
            metavar="N",
            min=0,
            help="Ask the teachers N random problems first, then you; 0: never. Else: 50 where it may be dear.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Go on after a pilot without asking; without a terminal it stops there.")
    ] = False,
    json_: JsonOption = False,
    rehearse: RehearseOption = False,
    smoke: SmokeOption = False,
) -> None:
    """Carry out a whole study: generate, verify, analyze, mix, tune (if asked for), train, evaluate, report.

    Where teachers may cost more than 5 dollars, or would write more than 2,000
    traces at an unknown price, a pilot comes first: 50 random problems, then what
    the whole study will take, with intervals, and the question whether to go on.
    What a pilot buys is part of the run: nothing is bought twice.
    """
    from mixdistill.pipeline import STAGES

    if smoke and rehearse:
        raise typer.BadParameter("--smoke and --rehearse exclude each other")
    how: dict[str, Any] = {"fresh": fresh, "retry": retry, "limit": limit, "workers": workers, "as_json": json_}
    how |= {"pilot": 0 if (rehearse or smoke) and pilot is None else pilot, "yes": yes}
    _carry_out(recipe, set_, out, STAGES, by="smoke" if smoke else "fake" if rehearse else "run", **how)


def _stage_command(stage: str, summary: str) -> None:
    def command(
        recipe: RecipeArg,
        set_: SetOption = None,
        out: OutOption = None,
        fresh: FreshOption = False,
        retry: RetryOption = False,
        limit: LimitOption = None,
        workers: WorkersOption = None,
        json_: JsonOption = False,
        rehearse: RehearseOption = False,
    ) -> None:
        how = {"fresh": fresh, "retry": retry, "limit": limit, "workers": workers, "as_json": json_}
        _carry_out(recipe, set_, out, (stage,), by="fake" if rehearse else "run", **how)

    command.__doc__ = summary
    app.command(name=stage)(command)


for _stage, _summary in {
    "generate": "Only stage 1: traces of every teacher.",
    "verify": "Only stage 2: judge the traces.",
    "analyze": "Only stage 3: measure the traces.",
    "mix": "Only stage 4: matched training sets.",
    "tune": "Only stage 5: the same trials on every arm, where the recipe has a section `tune`.",
    "train": "Only stage 6: train every cell.",
    "evaluate": "Only stage 7: evaluate the students.",
    "report": "Only stage 8: the page, its Markdown and its JSON.",
}.items():
    _stage_command(_stage, _summary)


@app.command()
def fake(
    recipe: RecipeArg,
    set_: SetOption = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 0,
    pass_rate: Annotated[float, typer.Option("--pass-rate", min=0, max=1, help="Mean share of right answers.")] = 0.7,
    faults: Annotated[
        str, typer.Option("--faults", metavar="RATE|KIND=RATE,...", help="Share of tries that go wrong, e.g. 0.05.")
    ] = "0",
    latency: Annotated[float, typer.Option("--latency", min=0, help="Seconds that any answer takes.")] = 0.02,
    speed: Annotated[float, typer.Option("--speed", min=1, help="Tokens a second of one answer.")] = 20_000.0,
    capacity: Annotated[
        int | None, typer.Option("--capacity", min=1, help="Requests at once above which there is 429.")
    ] = None,
    style: Annotated[Style, typer.Option("--style", help="Where reasoning goes; think: into the text.")] = "reasoning",
    journal: Annotated[
        Path | None, typer.Option("--journal", metavar="FILE", help="Append every request, and how it ended.")
    ] = None,
) -> None:
    """Play the bought teachers of a recipe on this machine, over HTTP, until Ctrl-C: a server to practise on."""
    from mixdistill.commands import fake as verb
    from mixdistill.fake import answers, server
    from mixdistill.fake import faults as kinds

    ended = verb.serve(
        recipe,
        set_,
        port=port,
        say=tell,
        manner=answers.Manner(pass_rate=pass_rate, style=style),
        faults=kinds.parse(faults),
        pace=server.Pace(latency, speed, capacity),
        journal=journal,
    )
    sys.stdout.write("requests: " + (", ".join(f"{n:,} {how}" for how, n in sorted(ended.items())) or "none") + "\n")


@app.command()
def check(
    recipe: RecipeArg,
    set_: SetOption = None,
    out: OutOption = None,
    limit: LimitOption = None,
    gold: Annotated[
        bool, typer.Option("--gold", help="Instead: run the verifier over every problem's own reference answer.")
    ] = False,
    json_: JsonOption = False,
    smoke: SmokeOption = False,
) -> None:
    """Everything that is wrong with a recipe and what it names, at once; else the plan. Runs, buys, writes nothing."""
    from mixdistill.commands import check as verb
    from mixdistill.commands import gold as golden
    from mixdistill.commands import plan_text

    # A user's backend or verifier may print.
    with contextlib.redirect_stdout(sys.stderr), verb.loaded(recipe, set_, smoke=smoke) as (loaded, where):
        graded = golden.grade(loaded, limit=limit, where=where) if gold else None
        planned = None if gold else verb.plan(loaded, out=out, limit=limit, where=where)
        if planned and smoke:
            planned = planned.model_copy(update={"cost": verb.real_cost(recipe, set_)})
    if graded is None:
        print_row(planned, plan_text.text, json_)
        return
    print_row(graded, golden.text, json_)
    if graded.rejected:
        sys.exit(1)


@app.command()
def doctor(
    recipe: RecipeArg,
    set_: SetOption = None,
    out: OutOption = None,
    student: Annotated[str | None, typer.Option("--student", metavar="NAME", help="This student alone.")] = None,
    arm: Annotated[str | None, typer.Option("--arm", metavar="NAME", help="This arm alone.")] = None,
    json_: JsonOption = False,
) -> None:
    """What every student will see: a row of each arm as tokens, its loss in colour, and every check. Trains nothing."""
    from mixdistill.commands import doctor as verb
    from mixdistill.recipe import load

    with contextlib.redirect_stdout(sys.stderr):  # a user's backend may print
        report = verb.examine(load(recipe, set_), out=out, student=student, arm=arm)
    print_row(report, verb.text, json_)
    if report.failed:
        sys.exit(2)


@app.command()
def show(
    run: RunArg,
    problem: Annotated[
        str | None, typer.Argument(metavar="PROBLEM", help="A problem id, its beginning, or text in its prompt.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """One problem with all its traces and verdicts: teachers, then every student's arms in order."""
    from mixdistill.commands import show as verb
    from mixdistill.store import Store

    print_row(verb.find(Store(run), problem), verb.text, json_)


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
    json_: JsonOption = False,
) -> None:
    """The small-model learnability gap on this machine, offline, in minutes."""
    from mixdistill.pipeline import STAGES
    from mixdistill.recipe import shipped

    if full and quick:
        raise typer.BadParameter("--full and --quick exclude each other")
    name = "demo-full" if full else "demo-quick" if quick else "demo"
    _carry_out(shipped()[name], set_, out, STAGES, fresh=fresh, workers=workers, as_json=json_)


def _carry_out(
    recipe: Path, overrides: list[str] | None, out: Path | None, stages: Any, *, by: str = "run", **how: Any
) -> None:
    """`by`: the module of commands that carries out: run, fake or smoke."""
    carry_out = importlib.import_module(f"mixdistill.commands.{by}").carry_out
    code = carry_out(recipe, overrides, out, stages, say=say, **how)
    if code:
        raise typer.Exit(code)


_ORDER = [(name, panel) for panel, names in PANELS.items() for name in names]
for _command in app.registered_commands:
    _command.name = _command.name or getattr(_command.callback, "__name__", "").replace("_", "-")
    _command.rich_help_panel = dict(_ORDER)[_command.name]
app.registered_commands.sort(key=lambda command: [name for name, _ in _ORDER].index(str(command.name)))
