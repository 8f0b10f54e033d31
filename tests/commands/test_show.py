"""`show` tells what was said of one problem."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

import tiny
from conftest import Notes, Watching
from mixdistill import pipeline
from mixdistill.chain import decide
from mixdistill.commands.show import Shown, ShownTrace, find, text
from mixdistill.errors import DataError, StoreError
from mixdistill.prompts import KEPT, Asked
from mixdistill.recipe import build
from mixdistill.store import Store
from mixdistill.types import Decision, Outcome, Problem, Trace, Usage, Verdict


@pytest.fixture
def run(raw, tmp_path, notes: Notes, inline) -> Store:
    """A run after its first two stages, with two failed requests."""
    raw["problems"]["train"]["limit"] = 6
    raw["error_rate"] = 0.4
    notes.do("failing")
    store = Store(tmp_path / "run")
    pipeline.run(build(raw), store, stages=("generate", "verify"), watcher=Watching())
    return store


def problem_of(run: Store, table: str, n: int = 0) -> Problem:
    return run.read(run.folder("problems"), Problem, table)[n]


def test_a_problem_is_found_by_nothing_by_its_id_and_by_the_beginning_of_it(run: Store):
    problem = problem_of(run, "train")
    shown = find(run)
    assert shown.problem == problem
    assert shown == find(run, problem.id) == find(run, problem.id[:6])


def test_outcomes_come_first_then_every_trace_in_full(run: Store):
    shown = find(run)
    problem, (long, short) = shown.problem, [s.trace for s in shown.traces]
    answers = [s.verdicts[0].answer for s in shown.traces]
    lines = [
        f"correct     teacher/long #0   {long.usage.completion_tokens} tokens, stop, answer {answers[0]!r}",
        f"correct     teacher/short #0  {short.usage.completion_tokens} tokens, stop, answer {answers[1]!r}",
    ]
    page = text(shown).plain
    assert page.startswith(
        f"{problem.id}  train  lab:signs\n  {problem.prompt}\n  reference answer: {problem.answer}\n\n"
        + "\n".join(lines)
        + f"\n\n{lines[0].replace('#0   ', '#0  ')}\n  | {long.reasoning}\n  {long.content}\n"
        + f"  -> correct  answer {answers[0]!r}  [signs: last A] "
    )
    assert page.count("  -> correct") == 2


def test_what_a_teacher_was_sent_stands_before_the_traces_where_it_was_not_the_problem_alone(run: Store):
    problem = problem_of(run, "train")
    assert find(run).asked == {}
    asked = Asked(template="Solve:\n{problem}", system="Be brief.")
    (run.folder("generate", "long") / KEPT).write_text(asked.model_dump_json(), encoding="utf-8")
    shown = find(run)
    assert shown.asked == {"long": asked(problem.prompt)}
    lines = f"\nasked of long\n  system: Be brief.\n  user: Solve:\n  {problem.prompt}\n\ncorrect "
    assert f"  reference answer: {problem.answer}\n{lines}" in text(shown).plain
    assert find(run, problem_of(run, "signs").id).asked == {}


def test_a_problem_without_traces_says_so(run: Store):
    problem = problem_of(run, "signs")
    assert text(find(run, problem.id)).plain.endswith("\n  (no traces of it yet)")


def test_a_failed_request_is_shown_with_its_error_and_no_verdict(run: Store):
    page = text(find(run, problem_of(run, "train", 2).id)).plain
    assert "\nfailed      teacher/short #0\n\n" in page
    assert page.endswith("\nfailed      teacher/short #0\n  ERROR: status 500")
    assert page.count("  -> ") == 1


def test_text_in_the_prompt_finds_the_problem_and_counts_the_others(run: Store):
    assert "  (the first of 10 that match)\n" in text(find(run, "Q ")).plain


def test_arms_come_in_the_recipe_s_order_the_untuned_student_first(run: Store):
    problem = problem_of(run, "signs")
    for cell in ("s/short/0", "s/long/10", "s/long/2", "s/base", "gone/long/0"):
        folder = run.folder("evaluate", *cell.split("/"), "signs")
        trace = tiny.trace(problem, author=f"student/{cell}", content="A + -", usage=Usage(completion_tokens=4))
        run.seal(folder, type(trace), [trace], "traces")
        rows = [
            Verdict(trace_id=trace.id, verifier="signs", outcome=Outcome.INCORRECT, answer="A + -", rule="last A"),
            Verdict(trace_id=trace.id, verifier="signs", outcome=Outcome.TRUNCATED, max_tokens=2),
        ]
        run.seal(folder, Verdict, rows, "verdicts")
        run.seal(folder, Decision, [decide([v], "flexible") for v in rows], "decisions")
    shown = find(run, problem.id)
    assert [s.trace.author.removeprefix("student/") for s in shown.traces] == [
        "s/base",
        "s/long/2",
        "s/long/10",
        "s/short/0",
        "gone/long/0",
    ]
    assert "\nincorrect   student/s/base #0       4 tokens, stop, answer 'A + -'\n" in text(shown).plain
    assert (
        "  -> incorrect  answer 'A + -'  [signs: last A]\n  -> truncated at most 2 tokens  answer None  [signs: ]\n"
    ) in text(shown).plain


def test_the_same_is_there_as_data(run: Store):
    shown = find(run)
    assert Shown.model_validate_json(shown.model_dump_json()) == shown


def test_colour_is_for_terminals_without_no_color(run: Store, monkeypatch):
    page = text(find(run))

    def printed(**settings: bool) -> str:
        console = Console(highlight=False, width=100, **settings)
        with console.capture() as captured:
            console.print(page, soft_wrap=True)
        return captured.get()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32mcorrect" in printed(force_terminal=True)
    assert printed() == page.plain + "\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in printed(force_terminal=True)


def test_what_cannot_be_shown_says_why(run: Store, tmp_path: Path):
    with pytest.raises(DataError, match=r"no problem matches \(got 'xyz'\); give an id, its beginning, or prompt text"):
        find(run, "xyz")
    with pytest.raises(
        StoreError, match=r"nothing: not a run folder \(no problems in it\); give the folder that --out"
    ):
        find(Store(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()


def test_a_table_that_was_cut_off_is_named_with_what_to_delete(run: Store):
    path = run.folder("generate", "long") / "traces.parquet"
    path.write_bytes(path.read_bytes()[:200])
    told = r"long/traces\.parquet: not readable \(.*\); delete it, and done\.json beside it, to redo this unit$"
    with pytest.raises(StoreError, match=told):
        find(run)


def test_a_strict_reading_that_differs_is_shown_and_a_long_answer_is_cut():
    trace = Trace(id="t", problem_id="p", author="teacher/long", content="so 5", finish_reason="stop")
    verdict = Verdict(
        trace_id="t", verifier="code", outcome=Outcome.CORRECT, strict=Outcome.NO_ANSWER, answer="x = 1\n" * 100
    )
    shown = Shown(
        problem=Problem(id="p", prompt="?", answer="5"),
        matches=1,
        traces=[ShownTrace(trace=trace, verdicts=[verdict], decisions=[])],
    )
    page = text(shown).plain
    assert "correct (strict: no_answer)  answer 'x = 1 x = 1" in page
    assert max(map(len, page.splitlines())) < 160
    assert "tokens" not in page
