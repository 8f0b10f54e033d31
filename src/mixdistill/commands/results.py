"""What comes out of runs: `ship`, `export`, `lm-eval`, `compare`. Flags alone; what they do is elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mixdistill.commands import complete
from mixdistill.flags import JsonOption, RunArg, SeedOption, StudentOption, WorkersOption
from mixdistill.printing import print_row, print_text, say


def ship(
    run: RunArg,
    student: StudentOption = None,
    arm: Annotated[
        str | None, typer.Option("--arm", metavar="ARM", help="An arm of its recipe; else its best on the benchmarks.")
    ] = None,
    seed: SeedOption = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", metavar="CAP", min=1, help="Tokens that an answer may take in use; else the study's."
        ),
    ] = None,
    may_forget: Annotated[
        float | None,
        typer.Option(
            "--may-forget",
            metavar="SHARE",
            min=0,
            max=1,
            help="Of what base solves, at most so much is lost; else a quarter.",
        ),
    ] = None,
    workers: WorkersOption = None,
    json_: JsonOption = False,
) -> None:
    """Retrain the best blend on everything verified, and ship it if it beats the base model at the gate.

    The arms of a study are handicapped on purpose: here one gets all that its
    teachers solved. It is asked the problems of problems.gate, which nothing was
    chosen on, and passes if it is surely better, stops, and forgets little. Then
    best/ in the run folder holds it, with its card, the evidence and a server's
    command; else the answer is: keep the base model. Both end with exit code 0.
    """
    from mixdistill.commands import ship as verb

    code = verb.main(
        run,
        as_json=json_,
        say=say,
        student=student,
        arm=arm,
        seed=seed,
        max_tokens=max_tokens,
        may_forget=may_forget,
        workers=workers,
    )
    if code:
        raise typer.Exit(code)


def export(
    run: RunArg,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="An arm of its recipe, such as mix-long.")],
    out: Annotated[Path, typer.Option("--out", help="A new or empty folder for it.")],
    student: StudentOption = None,
    seed: SeedOption = None,
    for_: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="TRAINER",
            help="Configuration for trl, llamafactory, ms-swift, axolotl or all. Repeatable.",
        ),
    ] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            "--push-to-hub", metavar="OWNER/NAME", help="Upload it too, as a private data set; HF_TOKEN is used."
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """An arm as a data set with its card, and how other trainers reproduce its training.

    Conversations, the very text, and the tokens, labels and order that the
    training saw, as Parquet. Of an arm that was trained, the model's card gets
    the scores that there are by now.
    """
    from mixdistill.commands import export as verb

    facts = verb.export(run, arm, student=student, seed=seed, out=out, repo=push_to_hub, trainers=for_ or [])
    print_text(facts, verb.text, json_)


def lm_eval(
    run: RunArg,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="An arm of its recipe, such as mix-long, or base.")],
    out: Annotated[Path | None, typer.Option("--out", help="A new or empty folder for the task.")] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="SAMPLES", help="The samples_*.jsonl that lm_eval wrote.")
    ] = None,
    student: StudentOption = None,
    seed: SeedOption = None,
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", metavar="NAME", help="Which of them; else the first.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """A greedy evaluation for lm-evaluation-harness with --out; its samples against ours with --check.

    Writes the problems as its task, graded by the study's verifier, our samples
    as it writes them, and the command. Then says completion by completion what
    is the same and why the others are not. Exit code 1 where something stays
    unexplained, or a completion has no counterpart.
    """
    from mixdistill.commands import lm_eval as verb

    if (out is None) == (check is None):
        raise typer.BadParameter("takes --out FOLDER, or --check SAMPLES")
    which: dict[str, Any] = {"student": student, "seed": seed, "benchmark": benchmark}
    if out is not None:
        print_text(verb.export(run, arm, out, **which), verb.written, json_)
        return
    assert check is not None
    found = verb.crosscheck(run, arm, check, **which)
    print_row(found, verb.checked, json_)
    if not found.passed:
        raise typer.Exit(1)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders: A, B, ...", autocompletion=complete.runs)
    ],
    arm: Annotated[
        str | None, typer.Option("--arm", metavar="ARM", help="This arm of the first run alone, or base.")
    ] = None,
    with_: Annotated[
        str | None, typer.Option("--with", metavar="ARM", help="Against this arm of the others; else of the same name.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """The first run against each of the others: their arms, their gaps, and what else was not the same.

    On the problems that both have, with the two intervals of a study: seeds of
    one number are a pair where they stand for the same draw in both runs. The
    confound table is that of a study, over the arms of both; base is checked
    where both have it. A run may still be going on, and may be a copy from
    another machine.
    """
    if with_ and not arm:
        raise typer.BadParameter("--with goes with --arm")
    from mixdistill.commands import compare as verb

    print_row(verb.compare(runs, arm, with_), verb.text, json_)
