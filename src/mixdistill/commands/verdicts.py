"""`disagreements` and `audit`: can the verdicts be trusted? Flags alone; what they do is in modules of their names."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from mixdistill.errors import StoreError
from mixdistill.flags import JsonOption, RunArg
from mixdistill.printing import print_row

MOST_SHOWN = 20


def disagreements(
    run: RunArg,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option("--between", metavar="A B", help="Two readings (strict, flexible, judge) or two verifiers."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--of", metavar="AUTHOR", help="Only of this one: teacher, student, long, s/long, s/long/0."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, help="Show at most this many traces; else 20, as JSON all.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="CAP", min=1, help="At this token cap; else whole traces.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Traces on which two readings of the answer or two verifiers differ: how many in each arm, then some to read."""
    from mixdistill.commands import disagreements as verb
    from mixdistill.store import Store

    store = Store(run)
    found = verb.find(store, verb.Which(between, of, max_tokens))
    if json_:
        chosen = found if limit is None else verb.spread(found, limit)
        for part in verb.json_parts(store, chosen):
            sys.stdout.write(part)
        return
    from rich.console import Console

    console = Console(highlight=False)
    width = console.width if console.is_terminal else 100
    console.print(verb.counts_text(found), soft_wrap=True, end="")
    shown = verb.spread(found, MOST_SHOWN if limit is None else limit)
    for case in verb.cases(store, shown):
        console.print(verb.case_text(case, width), soft_wrap=True, end="")
    console.print(verb.closing(found, shown, store.root), soft_wrap=True, end="")


def audit(
    run: RunArg,
    per_arm: Annotated[
        int | None, typer.Option("--per-arm", metavar="N", min=2, help="Traces of each arm; else 40.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Which sample; else 0.")] = None,
    benchmark: Annotated[
        str | None,
        typer.Option("--benchmark", metavar="NAME", help="Of the students' traces; else the primary contrast's."),
    ] = None,
    mark: Annotated[bool, typer.Option("--mark", help="Mark them here, one after the other.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Only what the marks say; draw nothing.")] = False,
    json_: JsonOption = False,
) -> None:
    """How often is the verifier wrong, and does that differ between arms? By a person, on a blinded sample.

    Draws traces of every arm into RUN/audit/sheet.csv without saying whose they
    are or what was decided. Mark them there or with --mark, as many as you like;
    the report says what the verifier's error adds to every gap, with intervals.
    A larger --per-arm goes on with the same sample. No mark is ever lost.
    """
    from mixdistill.commands import audit as verb
    from mixdistill.commands import audit_text
    from mixdistill.store import Store

    store = Store(run)
    if mark and (report or json_):
        raise typer.BadParameter("--mark goes with neither --report nor --json")
    if report and (per_arm or seed is not None or benchmark):
        raise typer.BadParameter("--report draws nothing; --per-arm, --seed and --benchmark go without it")
    if not report:
        new = verb.draw(store, per_arm=per_arm, seed=seed, benchmark=benchmark)
        if not json_:
            sys.stdout.write(audit_text.drawn_text(run, new, verb.size(store)) + "\n")
    if mark:
        sys.stdout.write(_marked(store) + "\n")
        return
    found = verb.report(store)
    if report or json_ or found.marked:
        print_row(found, audit_text.report_text, json_)


def _marked(store: Any) -> str:
    """Let a person mark, key by key, and say how far that came. Raises StoreError where nobody can be asked."""
    import click
    from rich.console import Console

    from mixdistill.commands import audit as verb
    from mixdistill.commands import audit_text, sheets

    console = Console(highlight=False)
    if not (sys.stdin.isatty() and console.is_terminal):
        raise StoreError(f"{store.root}: nobody can be asked here; fill in {store.root / verb.FOLDER / verb.SHEET}")

    def ask() -> str:
        try:
            key = click.getchar()
        except (KeyboardInterrupt, EOFError):
            key = "q"
        sys.stdout.write({**sheets.MARKS, **verb.KEYS}.get(key.lower(), ""))
        return key

    def show(cells: dict[str, str], far: str) -> None:
        console.print(audit_text.trace_text(cells, far, min(console.width, 100)), soft_wrap=True, end="")

    done, rows = verb.mark(store, ask, show)
    return f"\n{done:,} of {rows:,} marked. What they say: mixdistill audit {store.root} --report"
