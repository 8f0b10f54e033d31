"""Answers that are a Python program: right when they pass the tests that are the problem's reference answer.

The program is a block of the answer part (```` ```python ````), and runs in a sandbox (`sandbox.py` says what that
keeps it from, and what not). `code_tests.py` says which forms of tests there are. What a test is:

    stdin     the program is run as a script, once for each test, and must end with status 0. What it prints is compared
              line by line: white space at the ends of lines and blank lines at either end never count. Where lines
              differ, they are compared word by word, and numbers may be off by `tolerance`, if either has a decimal
              point; whole numbers never
    call      the program is loaded once, and the function called for each test. Lists and tuples are equal, numbers as
              above, and an expected list of one value stands for the value too, as in APPS
    assert    the program is loaded once, and the statements are run in order, as Python compares

Expected outputs, and the right side of `assert f(1) == 2`, stay in this process, where no program can find them.
Other asserts are run beside the program: one that was written to deceive could make them pass.
"""

from __future__ import annotations

import ast
import contextlib
import re
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mixdistill.errors import one_line
from mixdistill.types import Outcome, Problem, Trace, Verdict, prompt_text
from mixdistill.verifiers.code_tests import Script, Step, Tests, read
from mixdistill.verifiers.code_values import Opaque, same_output, same_value
from mixdistill.verifiers.sandbox import UNPROTECTED, Ended, Limits, Raised, Sandbox, protection, run_script
from mixdistill.verifiers.verdicts import Found, compared, is_cut, no_answer, no_reference

VERSION = "1"
PYTHON = ("python", "py", "python3")
LONGEST_BARE = 2**16
"""Characters of an answer without a fence that may be a program."""
WALL = 3.0
"""Seconds of wall time that a test may take for each of CPU time."""


def verify(
    problem: Problem,
    trace: Trace,
    *,
    cpu_seconds: float = 4.0,
    seconds: float = 15.0,
    memory_mib: int = 1024,
    tolerance: float = 1e-6,
    prelude: str = "",
    unprotected: bool = False,
) -> Verdict:
    """Whether the program in the answer part of `trace` passes the tests of `problem`; `score` is the share it passes.

    A test may take `cpu_seconds` (and three times that in wall time), all tests of a program together `seconds`, which
    must be less than `verify.deadline`, and a program `memory_mib` of address space. Tests that were not reached in
    time count as not passed where another failed; where none did, the outcome is `error`. `prelude` is Python that is
    run before every program, where a platform imports things by itself. Raises StageError where this machine cannot
    keep programs from the network and from writing files, unless `unprotected`.
    """
    try:
        tests = read(problem.answer, prompt_text(problem.prompt))
    except ValueError as e:
        return no_reference(trace, str(e))
    found = find(trace.content, tests.names, cut=is_cut(trace))
    if found is None:
        return no_answer(trace, f"{tests.total} test{'s' * (tests.total > 1)}").model_copy(update={"score": 0.0})
    limits = Limits(cpu_seconds, WALL * cpu_seconds, seconds, memory_mib)
    run = _Run([p for p in (prelude, found.answer) if p], limits, tolerance, unprotected, time.monotonic() + seconds)
    results = list(run.results(tests))
    form = tests.form if not unprotected or protection().network else f"{tests.form}/unprotected"
    return _verdict(trace, found, form, results, tests.total)


def gold(problem: Problem) -> str | None:
    """The "solution" of the reference answer; None where there are tests alone, of which no right answer can be made.

    Raises ValueError where the tests cannot be read.
    """
    solution = read(problem.answer, prompt_text(problem.prompt)).solution
    return None if solution is None else f"````python\n{solution}\n````"


def unfit(*, deadline: float, seconds: float = 15.0, unprotected: bool = False) -> list[str]:
    """What keeps the verifier from its work, on this machine and with these options: a line each."""
    lines = [] if protection().network or unprotected else [f"verifier: {UNPROTECTED}"]
    if seconds >= deadline:
        lines.append(
            f"seconds: must be less than verify.deadline (got {seconds:g} and {deadline:g}); raise the deadline"
        )
    return lines


def caveats() -> list[str]:
    """What programs are not kept from on this machine: a line, where there is something."""
    missing = [_KEPT_FROM[name] for name, by in protection()._asdict().items() if not by]
    return [f"verifier: on this machine nothing keeps a program from {', '.join(missing)}"] if missing else []


_KEPT_FROM = {
    "network": "the network",
    "writing": "writing files",
    "processes": "starting and ending processes",
    "reading": "reading what you can read",
    "memory": "taking all memory",
}


# -- finding the program -----------------------------------------------------------------------------------------------

_FENCE = re.compile(r"^([ \t]*)(`{3,}(?!`)|~{3,}(?!~))[ \t]*([^\s`]*)(?:[ \t\r][^\n`]*)?$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block."""

    language: str
    code: str
    closed: bool


def find(content: str, names: frozenset[str], *, cut: bool) -> Found | None:
    """The program in an answer part, None where there is none. In order of trust:

    python_block    the last complete block of Python that defines one of `names`, where they are known; else the last
    block           the last complete block that names no language
    open_block      Python at the end whose fence never closed, in a trace that was not cut
    content         the whole, where no fence is in it and it is Python
    """
    blocks = list(_blocks(content))
    whole = [b for b in blocks if b.closed and b.code.strip()]
    for rule, languages in (("python_block", PYTHON), ("block", ("",))):
        codes = [b.code for b in whole if b.language in languages]
        if codes:
            return Found(next((c for c in reversed(codes) if _defines(c, names)), codes[-1]), rule)
    if cut:
        return None
    if blocks and not blocks[-1].closed and blocks[-1].language in (*PYTHON, "") and blocks[-1].code.strip():
        return Found(blocks[-1].code, "open_block", marked=False)
    return Found(content, "content", marked=False) if not blocks and _is_python(content) else None


def _blocks(text: str) -> Iterator[Block]:
    """Fenced blocks in order; one pass. A fence is closed by one of its kind that is as long and names no language."""
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif fence[2].startswith(opening[2]) and not fence[3]:
            yield Block(opening[3].casefold(), _code(text[opening.end() : fence.start()]), True)
            opening = None
    if opening is not None:
        yield Block(opening[3].casefold(), _code(text[opening.end() :]), False)


def _code(text: str) -> str:
    """The inside of a block, which may be indented as a whole."""
    return textwrap.dedent(text.removeprefix("\n"))


def _defines(code: str, names: frozenset[str]) -> bool:
    defined = re.findall(r"^(?:async\s+def|def|class)\s+(\w+)|^(\w+)\s*=", code, re.MULTILINE)
    return any(name in names for pair in defined for name in pair)


def _is_python(text: str) -> bool:
    """Whether a text is a program: it parses, and does more than name things, which "Yes" would too."""
    if len(text) > LONGEST_BARE:
        return False
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(n, ast.Expr) or isinstance(n.value, ast.Call) for n in body)


# -- running the tests -------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """What came of one test, or of what had to be done before it."""

    why: str | None
    """Why it failed; None where it passed."""
    reached: bool = True
    """False: time was up. It is the last result then."""


class _OutOfTime(Exception):
    """The time for all tests is over, and the one that was under way had not yet had its own."""


class _Run(NamedTuple):
    """One program, and what its tests may take. Results come in order, up to where there is no use in going on."""

    program: list[str]
    """Its parts: what is run before it, and itself."""
    limits: Limits
    tolerance: float
    unprotected: bool
    until: float
    """Of `time.monotonic`."""

    def results(self, tests: Tests) -> Iterator[Result]:
        try:
            yield from self._scripts(tests.scripts) if tests.scripts else self._steps(tests.steps)
        except _OutOfTime:
            yield Result(f"not reached in {self.limits.all_cpu_seconds:g} s", reached=False)

    def _scripts(self, scripts: list[Script]) -> Iterator[Result]:
        for script in scripts:
            why = self._script(script)
            yield Result(None if why is None else f"input {_short(script.stdin)}: {why}")
            if why is not None and why.startswith(_NO_PROGRAM):
                return

    def _script(self, script: Script) -> str | None:
        """Why a run of the program is not as it must be."""
        most = self.limits.output + 2 * len(script.expected)
        try:
            got = self._in_time(
                lambda seconds: run_script(
                    self.program,
                    script.stdin,
                    self.limits._replace(wall_seconds=seconds, output=most),
                    unprotected=self.unprotected,
                )
            )
        except Ended as e:
            return str(e)
        if same_output(script.expected, got, self.tolerance):
            return None
        return f"expected {_short(script.expected)}, got {_short(got)}"

    def _steps(self, steps: list[Step]) -> Iterator[Result]:
        """A program that one test ends is loaded again for the next."""
        box: Sandbox | None = None
        try:
            for at, step in enumerate(steps):
                if box is None:
                    box = Sandbox(self.limits, unprotected=self.unprotected)
                    if why := self._load(box, steps[:at]):
                        yield Result(f"the program: {why}")
                        return
                try:
                    why = self._step(box, step)
                except Ended as e:
                    why = f"{_short(step.shown)}: {e}"
                    box.close()
                    box = None
                if step.is_test or why:
                    yield Result(why)
        finally:
            if box is not None:
                box.close()

    def _load(self, box: Sandbox, before: list[Step]) -> str | None:
        """Load the program and what the tests set up before; why that cannot be done."""
        names = ["from typing import *"] if _TYPING.search(self.program[-1]) else []
        try:
            for part in names + self.program:
                self._in_time(lambda seconds, part=part: box.step("load", part, seconds=seconds))
            for step in before:
                if not step.is_test:
                    with contextlib.suppress(Raised):  # which has been told
                        self._in_time(lambda seconds, step=step: box.step(step.kind, step.what, seconds=seconds))
        except (Ended, Raised) as e:
            return str(e)
        return None

    def _step(self, box: Sandbox, step: Step) -> str | None:
        """Why a step is not as it must be. Raises Ended."""
        try:
            got = self._in_time(lambda seconds: box.step(step.kind, step.what, step.arguments, seconds=seconds))
        except Raised as e:
            return f"{_short(step.shown)}: {e}"
        if same_value(step.expected, got, self.tolerance) if step.kind == "call" else step.expected == got:
            return None
        return f"{_short(step.shown)}: expected {_short(step.expected)}, got {_short(got)}"

    def _in_time(self, act: Callable[[float], Any]) -> Any:
        """What `act` gives, within the seconds it is told. Raises _OutOfTime where those were not all of its own."""
        seconds = min(self.limits.wall_seconds, self.until - time.monotonic())
        if seconds <= 0:
            raise _OutOfTime
        try:
            return act(seconds)
        except Ended as e:
            if e.out_of_time and seconds < self.limits.wall_seconds:
                raise _OutOfTime from None
            raise


_NO_PROGRAM = ("SyntaxError: ", "IndentationError: ", "TabError: ")
"""It would fail every other test in the same way."""
_TYPING = re.compile(r"\b(?:List|Dict|Set|Tuple|Optional|Union|Any|Callable|Iterable)\b")
"""Platforms on which functions are written import these by themselves, and many programs rely on it."""


def _verdict(trace: Trace, found: Found, form: str, results: list[Result], count: int) -> Verdict:
    failed = next(((n, r) for n, r in enumerate(results, 1) if r.why and r.reached), None)
    late = results[-1].why if not results[-1].reached else None
    passed = sum(r.why is None for r in results)
    if failed is None and late:
        told = f"{count - passed} of {count} tests were {late}; raise verify.seconds and verify.deadline"
        return Verdict(
            trace_id=trace.id,
            outcome=Outcome.ERROR,
            answer=found.answer,
            rule=f"{found.rule}/{form}",
            explanation=told,
        )
    verdict = compared(trace, found, "", failed is None, form, score=passed / count)
    if failed is None:
        return verdict
    told = f"passed {passed} of {count}; test {failed[0]}, {failed[1].why}"
    if late:
        told += f"; the last were {late}"
    return verdict.model_copy(update={"explanation": told})


def _short(value: Any) -> str:
    """A value or a text on one line."""
    plain = isinstance(value, str) and value.strip()
    try:
        text = one_line(value.strip() if plain else f"a {value.of_type}" if isinstance(value, Opaque) else repr(value))
    except ValueError:  # Python writes no integer of more than 4,300 digits
        text = f"a {type(value).__name__} too long to write"
    return text if len(text) <= 80 else f"{text[:77]}..."
