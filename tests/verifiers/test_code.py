"""Programs against tests: which program is judged, by which tests, and that none passes but by being right."""

from __future__ import annotations

import json
import textwrap
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixdistill.types import Outcome, Problem, Trace, Verdict
from mixdistill.verifiers import grading, sandbox
from mixdistill.verifiers.code import caveats, find, gold, unfit, verify
from mixdistill.verifiers.code_tests import read
from mixdistill.verifiers.sandbox import Limits, protection

CODE = "mixdistill.verifiers.code:verify"
TRUSTED = {} if protection().network else {"unprotected": True}
"""What lets these programs be run where the kernel keeps no watch."""


def items(reference: Any, *contents: str, finish: str = "stop", prompt: str = "?") -> list[tuple[Problem, Trace]]:
    answer = reference if isinstance(reference, str) else json.dumps(reference)
    problem = Problem(id="p", prompt=prompt, answer=answer)
    return [
        (problem, Trace(id=f"t{i}", problem_id="p", author="a", content=c, finish_reason=finish))
        for i, c in enumerate(contents)
    ]


def judge(reference: Any, program: str, *, prompt: str = "?", **options: Any) -> Verdict:
    """The verdict on a program in a block."""
    ((problem, trace),) = items(reference, f"Here:\n```python\n{textwrap.dedent(program)}\n```\n", prompt=prompt)
    verdict = verify(problem, trace, **TRUSTED | options)
    return verdict.model_copy(update={"rule": verdict.rule.removesuffix("/unprotected")})


def passes(reference: Any, program: str, **options: Any) -> bool:
    return judge(reference, program, **options).outcome is Outcome.CORRECT


KEYS = ["inputs", "outputs", "fn_name", "test_list", "test", "entry_point", "test_imports", "solution"]
SUMS = {"inputs": ["1 2\n", "3 4\n", "-1 1\n"], "outputs": ["3\n", "7\n", "0\n"]}
ADDS = {"inputs": [[1, 2], [3, 4]], "outputs": [3, 7], "fn_name": "add"}
ASSERTS = ["assert double(2) == 4", "assert 6 == double(3)", "assert double(0) in (0, None)"]
CHECK = """
METADATA = {"author": "x"}

def check(candidate):
    assert candidate(2) == 4, "two"
    assert candidate([1]) == [1, 1]
    expected = {i: 2 * i for i in range(3)}
    for i in expected:
        assert candidate(i) == expected[i]
    assert True, "nothing"
"""

# -- tests, by form ----------------------------------------------------------------------------------------------------


def test_a_script_that_prints_what_is_expected_of_every_input_is_correct():
    verdict = judge(SUMS, "print(sum(map(int, input().split())))")
    assert (verdict.outcome, verdict.strict, verdict.score) == (Outcome.CORRECT, Outcome.CORRECT, 1.0)
    assert (verdict.rule, verdict.explanation) == ("python_block/stdin", "")
    assert verdict.answer == "print(sum(map(int, input().split())))\n"


def test_the_share_of_tests_passed_is_the_score_and_the_first_that_is_not_is_told():
    verdict = judge(SUMS, "a, b = map(int, input().split()); print(a + b if a > 0 else 'x' * 100)")
    assert (verdict.outcome, verdict.strict) == (Outcome.INCORRECT, Outcome.INCORRECT)
    assert verdict.score == pytest.approx(2 / 3)
    assert verdict.explanation == f"passed 2 of 3; test 3, input -1 1: expected 0, got {'x' * 77}..."


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("print(sum(map(int, input().split())))\n1/0", "test 1, input 1 2: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", "test 1, input 1 2: expected 3, got ''"),
        ("print('all tests passed'); import os; os._exit(0)", "test 1, input 1 2: expected 3, got ''"),
        ("print(3); input('more?'); print(7)", "test 1, input 1 2: expected 3, got 3\\nmore?7"),
        ("def f(:\n  pass", "test 1, input 1 2: SyntaxError: invalid syntax"),
        ("a = 1\n  b = 2", "test 1, input 1 2: IndentationError: unexpected indent"),
        ("input(); input()", "test 1, input 1 2: EOFError: EOF when reading a line"),
        ("import numpy", "test 1, input 1 2: ModuleNotFoundError: No module named 'numpy'"),
    ],
)
def test_what_went_wrong_with_a_script_is_told_in_a_line(program, told):
    verdict = judge(SUMS, program)
    assert (verdict.outcome, verdict.score) == (Outcome.INCORRECT, 0.0)
    assert verdict.explanation == f"passed 0 of 3; {told}"


def test_a_list_of_lines_is_a_text():
    assert passes({"inputs": [["1", "2"]], "outputs": [["2", "1"]]}, "a = input(); print(input()); print(a)")


@pytest.mark.parametrize(
    "program",
    [
        "def add(a, b): return a + b",
        "class Solution:\n  def add(self, a: List[int], b: Optional[int]) -> int: return a + b",
        "from __future__ import annotations\nadd = lambda a, b: a + b",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\nprint()\ndef add(a, b): return P(a).x + b",
        "def add(a, b): return a + b\nif __name__ == '__main__': input()",
    ],
)
def test_a_function_or_a_method_of_solution_is_called(program):
    verdict = judge(ADDS, program)
    assert (verdict.outcome, verdict.rule) == (Outcome.CORRECT, "python_block/call")


@pytest.mark.parametrize(
    ("program", "score", "told"),
    [
        ("def add(a, b): return 3", 0.5, "test 2, add(3, 4): expected 7, got 3"),
        ("def add(a, b): return [a + b]", 0, "test 1, add(1, 2): expected 3, got [3]"),
        ("def add(a, b): return '3'", 0, "test 1, add(1, 2): expected 3, got 3"),
        ("def add(a): return a", 0, "test 1, add(1, 2): TypeError: add() takes 1 positional argument but 2 were given"),
        ("def plus(a, b): return a + b", 0, "test 1, add(1, 2): KeyError: 'Solution'"),
        ("import os\ndef add(a, b): os._exit(0)", 0, "test 1, add(1, 2): the program ended before its test did"),
        ("import os\nadd = lambda a, b: a + b if a > 1 else os._exit(1)", 0.5, "test 1, add(1, 2): status 1"),
        ("import sys\ndef add(a, b): return a + b\nsys.exit(0)", 0, "test 1, the program: SystemExit: 0"),
        ("def add(a, b): return a + b\nx = 1/0", 0, "test 1, the program: ZeroDivisionError: division by zero"),
        ("class T:\n  __eq__ = lambda *a: True\nadd = lambda a, b: T()", 0, "test 1, add(1, 2): expected 3, got a T"),
        ("def add(a, b):\n  while True: print(10**999)", 0, "test 1, add(1, 2): more than 1,048,576 bytes of output"),
    ],
)  # fmt: skip
def test_what_went_wrong_with_a_call_is_told_in_a_line(program, score, told):
    verdict = judge(ADDS, program)
    assert (verdict.outcome, verdict.score) == (Outcome.INCORRECT, score)
    assert verdict.explanation == f"passed {int(2 * score)} of 2; {told}"


def test_what_is_told_is_one_short_line_whatever_a_program_calls_itself():
    named = "T = type('a\\nb' * 1000, (Exception,), {'__str__': lambda s: 'c\\nd' * 1000})\n"
    for program in (f"{named}def add(a, b): return T()", f"{named}def add(a, b): raise T", f"{named}raise T"):
        told = judge(ADDS, program).explanation
        assert len(told) < 500
        assert told.isprintable()


def test_what_one_test_does_to_its_arguments_is_unknown_to_the_next():
    reference = {"inputs": [[[1, 2]], [[1, 2]]], "outputs": [[[1, 2, 0]], [[1, 2, 0]]], "fn_name": "f"}
    assert not passes(reference, "def f(x, seen=[]):\n  seen.append(0)\n  return x + seen"), (
        "state of the program stays"
    )
    assert passes({**reference, "outputs": [[1, 2, 0], [1, 2, 0]]}, "def f(x):\n  x.append(0)\n  return tuple(x)")


def test_arguments_may_be_lines_of_json():
    reference = {"inputs": ['[1, 2]\n"a"'], "outputs": ['{"a": [1, 2]}'], "fn_name": "f"}
    assert passes(reference, "def f(x, y): return {y: x}")


def test_assert_statements_are_run_one_by_one():
    verdict = judge(ASSERTS, "def double(x): return 2 * x")
    assert (verdict.outcome, verdict.rule) == (Outcome.CORRECT, "python_block/assert")
    verdict = judge(ASSERTS, "def double(x): return 4")
    assert verdict.score == pytest.approx(1 / 3)
    assert verdict.explanation == "passed 1 of 3; test 2, double(3): expected 6, got 4"


def test_values_are_compared_as_python_does():
    assert passes(
        ["assert f() == (1, [2], {3: {4}}, None, 0.5)"], "def f(): return (True, [2.0], {3: {4}}, None, 1 / 2)"
    )
    assert not passes(["assert f() == (1, 2)"], "def f(): return [1, 2]")
    assert not passes(["assert f() == 0.3"], "def f(): return 0.1 + 0.2")
    assert passes(["assert f() == {'a': 2}"], "from collections import Counter\ndef f(): return Counter('aa')")


def test_what_tests_need_is_run_before_them():
    reference = {
        "test_imports": ["import math"],
        "test_setup_code": "class Node:\n  def __init__(self, x): self.x = x",
        "test_list": ["assert math.isclose(root(Node(4)), 2)"],
    }
    assert passes(reference, "def root(node): return node.x ** 0.5")
    assert judge(reference, "def root(node): return 3").explanation == (
        "passed 0 of 1; test 1, math.isclose(root(Node(4)), 2): AssertionError"
    )
    broken = judge({"test_imports": "import nosuch", "test_list": ["assert f() == 1"]}, "def f(): return 1")
    assert broken.explanation == "passed 1 of 1; test 1, import nosuch: ModuleNotFoundError: No module named 'nosuch'"
    assert broken.outcome is Outcome.INCORRECT


@pytest.mark.parametrize(
    ("reference", "prompt"),
    [
        ({"test": CHECK, "entry_point": "double"}, "?"),
        (CHECK, "def helper(x):\n    return x\n\n\ndef double(x):\n    '''Twice x.'''\n"),
        (CHECK + "\ncheck(double)", "?"),
    ],
)
def test_a_check_function_is_given_the_program_s_and_its_asserts_are_tests_each(reference, prompt):
    verdict = judge(reference, "def double(x): return x * 2", prompt=prompt)
    assert (verdict.outcome, verdict.score) == (Outcome.CORRECT, 1.0)
    verdict = judge(reference, "def double(x): return x * 2 if x != 1 else 1", prompt=prompt)
    assert verdict.explanation == (
        "passed 2 of 3; test 3, for i in expected:\\n    assert candidate(i) == expected[i]: AssertionError"
    )


def test_test_functions_are_called_and_a_function_that_returns_stays_whole():
    reference = (
        "def test_one():\n    assert f(1) == 2\n\ndef test_two():\n    if f(2) == 3:\n        return\n    assert False"
    )
    assert judge(reference, "def f(x): return x + 1").outcome is Outcome.CORRECT
    assert judge(reference, "def f(x): return 2").explanation == "passed 1 of 2; test 2, test_two(): AssertionError"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("", "the problem has no reference answer"),
        ("{", "the reference is no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        ({"a": 1, "b": 2}, "the reference needs inputs and outputs, or test_list, or test (got a, b)"),
        ({"inputs": ["1"]}, "inputs and outputs must be lists (got a list and nothing)"),
        ({"inputs": ["1"], "outputs": []}, "there are 1 inputs and 0 outputs"),
        ({"inputs": [], "outputs": []}, "the reference holds no test"),
        ({"inputs": [[1]], "outputs": ["1"]}, "input 1 is no text but a list; for calls, fn_name must be there"),
        ({"inputs": [1], "outputs": [1], "fn_name": "f"}, "input 1 is no list of arguments but a number"),
        ({"inputs": ["x"], "outputs": [1], "fn_name": "f"}, "input 1 is no JSON (got 'x')"),
        ({"inputs": [[1]], "outputs": [1], "fn_name": "f()"}, "fn_name is no name of a function (got 'f()')"),
        ([], "the reference holds no test"),
        ([1], "test_list must be a text or a list of texts (got a list)"),
        (["assert f("], "the tests are no Python ('(' was never closed (<unknown>, line 1)): 'assert f('"),
        ("x = 1", "the reference holds no test"),
        ("assert True", "the reference holds no test"),
        (
            "def check(candidate):\n  assert candidate(1)",
            "check(candidate) stands in the tests, and no entry_point says what it is given",
        ),
        ({"test_list": ["assert f()"], "solution": 1}, "the reference's solution is no text but a number"),
    ],
)
def test_a_reference_without_tests_is_an_error_with_its_reason(reference, why):
    verdict = judge(reference, "print(1)")
    assert (verdict.outcome, verdict.rule, verdict.explanation) == (Outcome.ERROR, "reference", why)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(KEYS), inner),
)
CODE_LIKE = st.lists(
    st.sampled_from([*"()[]{}:=,.'\"#\n\\", " ", "assert ", "def ", "check", "f(1)", "== 2", "if "])
).map("".join)


@settings(deadline=None, max_examples=300)
@given(st.text() | CODE_LIKE | JSON.map(json.dumps) | st.dictionaries(st.sampled_from(KEYS), JSON).map(json.dumps))
def test_any_reference_is_tests_or_a_reason_in_one_line(answer):
    try:
        tests = read(answer, answer)
    except ValueError as e:
        assert str(e)
        assert "\n" not in str(e)
    else:
        assert tests.total > 0


def test_tests_that_are_nested_too_deeply_are_an_error_too():
    with pytest.raises(ValueError, match=r"^the tests are nested too deeply$|^the tests are no Python"):
        read("assert f(1) == " + "-" * 3000 + "1")


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(["```", "````", "~~~", "python", "\n", " ", "x = 1", "def f(): 1", "\r\n", "`"])).map(
        "".join
    )
)
def test_any_answer_is_searched_and_what_is_found_stands_in_it(content):
    found = find(content, frozenset({"f"}), cut=False)
    if found:
        assert found.answer.strip()
        assert "".join(found.answer.split()) in "".join(content.split()), "but for indentation"


# -- passing without being right ---------------------------------------------------------------------------------------

FORGERIES = {
    "prints that it passed": "print('passed 3 of 3'); print('ok')",
    "exits": "import os; os._exit(0)",
    "exits at exit": "import atexit, os; atexit.register(os._exit, 0)",
    "redefines equality": "class T:\n  __eq__ = lambda *a: 1\n  __ne__ = lambda *a: 0\nadd = double = lambda *a: T()",
    "is an integer that equals all": "class T(int):\n  __eq__ = lambda *a: 1\nadd = double = lambda *a: T(99)",
    "answers itself": """
        import os
        for n in range(3, 64):
            try:
                os.write(n, b'["0000000000000000", true]\\n' * 9)
            except OSError:
                pass
        """,
    "swallows assertions": "import builtins\nbuiltins.AssertionError = Exception\nadd = double = lambda *a: True",
    "looks for what is expected": """
        import gc, sys
        def add(*a):
            found = [x for o in gc.get_objects() if isinstance(o, (list, tuple)) for x in o if x in (3, 7, 4, 6)]
            frame = sys._getframe()
            while frame:
                found += [v for v in frame.f_locals.values() if isinstance(v, int) and not isinstance(v, bool)]
                frame = frame.f_back
            return "expected" if "expected" in str(found) else None
        double = add
        """,
}


@pytest.mark.parametrize("program", FORGERIES.values(), ids=FORGERIES)
def test_no_program_passes_by_deceit(program):
    for reference in (SUMS, ADDS, ASSERTS[:2], {"test": CHECK, "entry_point": "double"}):
        verdict = judge(reference, program)
        assert verdict.outcome is Outcome.INCORRECT, reference


def test_a_built_in_around_a_literal_is_one_too_and_cannot_be_replaced():
    tests = ["assert set(f()) == set([1, 2])", "assert tuple(sorted(f())) == (1, 2)", "assert sorted([2, 1]) == f()"]
    assert passes(tests, "def f(): return [1, 2]")
    assert not passes(["assert f() == int('3')"], "def f(): return '3'")
    forged = judge(tests, "set = tuple = sorted = lambda x: 'same'\ndef f(): return 'same'")
    assert (forged.outcome, forged.score) == (Outcome.INCORRECT, 0.0)


def test_of_asserts_that_compare_with_a_literal_the_program_sees_one_side_alone():
    program = """
        import sys
        def f():
            frame = sys._getframe(1)
            while frame:
                for value in frame.f_locals.values():
                    if "19771" in str(value):
                        return 19771
                frame = frame.f_back
        """
    assert judge(["assert f() == 19771"], program).explanation == "passed 0 of 1; test 1, f(): expected 19771, got None"


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_test_that_takes_too_long_is_failed_and_the_others_are_run():
    verdict = judge(ADDS, "def add(a, b):\n  while a == 1: pass\n  return a + b", cpu_seconds=0.5)
    assert verdict.score == 0.5
    assert verdict.explanation.startswith("passed 1 of 2; test 1, add(1, 2): ")
    assert verdict.explanation.endswith(("more than 0.5 s of CPU time", "not done after 1.5 s"))


def test_where_all_time_is_up_and_no_test_failed_nobody_knows():
    program = "import time\nprint(sum(map(int, input().split())), flush=True)\ntime.sleep(0.5)"
    verdict = judge(SUMS, program, seconds=1)
    assert (verdict.outcome, verdict.score, verdict.rule) == (Outcome.ERROR, None, "python_block/stdin")
    assert verdict.explanation.endswith("of 3 tests were not reached in 1 s; raise verify.seconds and verify.deadline")


def test_where_all_time_is_up_and_a_test_failed_the_program_is_wrong():
    program = "import time\ndef add(a, b):\n  if a > 1: time.sleep(100)\n  return 0"
    verdict = judge(ADDS, program, seconds=1)
    assert (verdict.outcome, verdict.score) == (Outcome.INCORRECT, 0.0)
    assert verdict.explanation == (
        "passed 0 of 2; test 1, add(1, 2): expected 3, got 0; the last were not reached in 1 s"
    )


def test_memory_is_an_option():
    if not protection().memory:
        pytest.skip("nothing here limits memory")
    program = "x = bytearray(100 * 2**20)\nprint(sum(map(int, input().split())))"
    assert passes(SUMS, program)
    assert judge(SUMS, program, memory_mib=100).explanation == "passed 0 of 3; test 1, input 1 2: MemoryError"


def test_a_prelude_is_run_before_the_program():
    program = "from __future__ import annotations\ndef add(a, b): return reduce(int.__add__, (a, b))"
    assert not passes(ADDS, program)
    assert passes(ADDS, program, prelude="from functools import *")
    assert passes(SUMS, "print(fsum(map(int, input().split())))", prelude="from math import *")


def test_the_total_must_be_below_the_deadline():
    assert unfit(deadline=20, unprotected=True) == []
    assert unfit(deadline=10, seconds=10, unprotected=True) == [
        "seconds: must be less than verify.deadline (got 10 and 10); raise the deadline"
    ]


def test_what_this_machine_does_not_enforce_is_said_before_anything_runs(monkeypatch):
    plan = sandbox._plan
    monkeypatch.setattr(sandbox, "_plan", lambda *a: plan(*a) | {"filter": None, "linux": False})
    protection.cache_clear()
    try:
        assert unfit(deadline=20) == [f"verifier: {sandbox.UNPROTECTED}"]
        assert unfit(deadline=20, unprotected=True) == []
        assert caveats()[0].startswith(
            "verifier: on this machine nothing keeps a program from the network, writing files, "
            "starting and ending processes, reading what you can read"
        )
        ((problem, trace),) = items(ADDS, "```python\ndef add(a, b): return a + b\n```")
        assert verify(problem, trace, unprotected=True).rule == "python_block/call/unprotected"
    finally:
        protection.cache_clear()


def test_on_this_machine_what_is_not_enforced_is_named():
    missing = [name for name, by in protection()._asdict().items() if not by]
    assert [line.count(",") + 1 for line in caveats()] == ([len(missing)] if missing else [])


# -- in workers --------------------------------------------------------------------------------------------------------


def test_in_killable_workers_a_sandbox_holds_and_a_late_verdict_is_an_error():
    contents = [f"```python\n{p}\n```" for p in ("def add(a, b): return a + b", "add = 1", "while True: pass")]
    try:
        verdicts = grading.grade(
            items(ADDS, *contents), CODE, {"cpu_seconds": 1, **TRUSTED}, name="code", deadline=15.0
        )
        assert [v.outcome.value for v in verdicts] == ["correct", "incorrect", "incorrect"]
        assert {(v.verifier, v.version) for v in verdicts} == {("code", "1")}
        start = time.monotonic()
        sleeps = "```python\nimport time; time.sleep(1000)\n```"
        options = {"seconds": 100.0, "cpu_seconds": 100.0, **TRUSTED}
        (late,) = grading.grade(items(ADDS, sleeps), CODE, options, name="code", deadline=1.0)
        assert (late.outcome, late.explanation) == (Outcome.ERROR, "deadline of 1 s")
        assert time.monotonic() - start < 15
    finally:
        grading.stop()


# -- finding the program -----------------------------------------------------------------------------------------------


def fenced(code: str, language: str = "python", fence: str = "```") -> str:
    return f"{fence}{language}\n{code}\n{fence}\n"


@pytest.mark.parametrize(
    ("content", "code", "rule", "marked"),
    [
        (fenced("x = 1"), "x = 1\n", "python_block", True),
        (fenced("x = 1") + "no, rather\n" + fenced("x = 2"), "x = 2\n", "python_block", True),
        (fenced("x = 1") + "which prints\n" + fenced("1", "text"), "x = 1\n", "python_block", True),
        (fenced("x = 1") + "which prints\n" + fenced("1", ""), "x = 1\n", "python_block", True),
        (fenced("x = 1", "Python3"), "x = 1\n", "python_block", True),
        (fenced("x = 1", "py title='a'"), "x = 1\n", "python_block", True),
        (fenced("x = 1", "python", "~~~"), "x = 1\n", "python_block", True),
        (fenced("x = '''\n```\n'''", "python", "````"), "x = '''\n```\n'''\n", "python_block", True),
        ("1. So:\n   ```python\n   if x:\n       y\n   ```\n", "if x:\n    y\n", "python_block", True),
        (fenced("x = 1", ""), "x = 1\n", "block", True),
        (fenced("int x;", "cpp") + fenced("x = 1", ""), "x = 1\n", "block", True),
        ("So\n```python\nx = 1\n", "x = 1\n", "open_block", False),
        ("x = 1\nprint(x)", "x = 1\nprint(x)", "content", False),
        ("print(1)", "print(1)", "content", False),
        (fenced("x = 1").replace("\n", "\r\n"), "x = 1\r\n", "python_block", True),
    ],
)
def test_the_last_complete_block_of_python_is_the_program(content, code, rule, marked):
    found = find(content, frozenset(), cut=False)
    assert found is not None
    assert (found.answer, found.rule, found.marked) == (code, rule, marked)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "Yes",
        "42",
        "It is a set of numbers.",
        fenced("int x;", "cpp"),
        "```python\n```",
        "```text\nx = 1",
        "x = (",
        "(" * 9999,
    ],
)
def test_where_there_is_no_program_none_is_found(content):
    assert find(content, frozenset(), cut=False) is None


def test_of_a_trace_that_was_cut_only_what_is_complete_counts():
    assert find("```python\nx = 1\n", frozenset(), cut=True) is None
    assert find("x = 1\nprint(x)", frozenset(), cut=True) is None
    found = find(fenced("x = 1") + "Or\n```python\nx = ", frozenset(), cut=True)
    assert found and found.answer == "x = 1\n"
    ((problem, trace),) = items(ADDS, fenced("def add(a, b): return a + b") + "Let me", finish="length")
    verdict = verify(problem, trace, **TRUSTED)
    assert (verdict.outcome, verdict.strict) == (Outcome.CORRECT, Outcome.TRUNCATED)


def test_an_example_of_use_after_the_program_is_not_the_program():
    content = fenced("def add(a, b):\n    return a + b") + "Use it so:\n" + fenced("print(add(1, 2))")
    ((problem, trace),) = items(ADDS, content)
    assert verify(problem, trace, **TRUSTED).outcome is Outcome.CORRECT
    found = find(content, frozenset(), cut=False)
    assert found and found.answer == "print(add(1, 2))\n", "where no test says what is wanted"


def test_no_program_is_no_answer_or_truncated_and_scores_nothing():
    for finish, outcome in (("stop", Outcome.NO_ANSWER), ("length", Outcome.TRUNCATED)):
        ((problem, trace),) = items(SUMS, "I think it adds.", finish=finish)
        verdict = verify(problem, trace)
        assert (verdict.outcome, verdict.score) == (outcome, 0.0)
        assert verdict.explanation == "no answer found; reference: 3 tests"


def test_a_program_in_the_reasoning_is_none():
    ((problem, trace),) = items(SUMS, "So it is.")
    trace = trace.model_copy(update={"reasoning": fenced("print(sum(map(int, input().split())))")})
    assert verify(problem, trace).outcome is Outcome.NO_ANSWER


@pytest.mark.parametrize(
    "text", ["`" * 10**6, "```\n" * 10**5, "```python\n" * 10**5, " " * 10**6, "(" * 60000, "-" * 60000]
)
def test_hostile_answers_are_read_in_time(text):
    start = time.monotonic()
    find(text, frozenset({"f"}), cut=False)
    assert time.monotonic() - start < 5


# -- right answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reference",
    [
        {**ADDS, "solution": "def add(a, b):\n    return a + b"},
        {**SUMS, "solution": "print(sum(map(int, input().split())))"},
        {
            "test": CHECK,
            "entry_point": "double",
            "solution": "def double(x):\n    '''\n    ```\n    '''\n    return x * 2",
        },
    ],
)
def test_the_solution_beside_the_tests_is_a_right_answer(reference):
    (problem, _), = items(reference, "")  # fmt: skip
    content = gold(problem)
    assert content
    ((problem, trace),) = items(reference, content)
    assert verify(problem, trace, **TRUSTED).outcome is Outcome.CORRECT


def test_of_tests_alone_no_right_answer_can_be_made_and_broken_ones_are_said():
    assert gold(items(ADDS, "")[0][0]) is None
    with pytest.raises(ValueError, match="the reference holds no test"):
        gold(items([], "")[0][0])


def test_the_default_limits_fit_into_the_default_deadline():
    assert Limits().all_cpu_seconds == 15.0
    assert unfit(deadline=20.0, unprotected=True) == []
