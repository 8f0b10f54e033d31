"""Reference answers of the verifier `code`: tests, in the forms in which data sets have them.

    {"inputs": [...], "outputs": [...]}      scripts: what goes in on stdin, what comes out on stdout (APPS, TACO)
    the same with "fn_name"                  calls of that function, or of that method of a class Solution (LeetCode)
    {"test_list": [...]}, or the list alone  assert statements (MBPP); "test_imports", "test_setup_code" are run first
    {"test": "..."}, or the code alone       test code; a function `check(candidate)` is given the program's function
                                             (HumanEval), which "entry_point" names, else the last `def` of the prompt
                                             does; functions `test...` without arguments are called

Any of them may have a right program as "solution"; other keys are not looked at. Assert statements of test code, those
in `check` too, are tests of their own. Of `assert f(1) == 2`, the right side is kept back: a program is asked for the
left side alone.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
from typing import Any, NamedTuple

from mixdistill.errors import one_line

_DEF = re.compile(r"^def\s+(\w+)\s*\(", re.MULTILINE)
_OBJECT_KEYS = ("inputs", "outputs", "test_list", "test")


class Step(NamedTuple):
    """Something to do with a program that has been loaded; see `Sandbox.step`."""

    kind: str
    what: str
    arguments: Any = None
    expected: Any = True
    """The value it must have; kept in this process."""
    is_test: bool = True
    """Else it is there for what comes after it."""
    shown: str = ""
    """The test, for people."""


class Script(NamedTuple):
    """A run of a program as a script."""

    stdin: str
    expected: str


class Tests(NamedTuple):
    """All tests of a problem."""

    form: str
    """`stdin`, `call` or `assert`."""
    scripts: list[Script]
    steps: list[Step]
    names: frozenset[str]
    """What a program must define, as far as the tests say so."""
    solution: str | None

    @property
    def total(self) -> int:
        return len(self.scripts) + sum(s.is_test for s in self.steps)


def read(answer: str, prompt: str = "") -> Tests:
    """The tests in a reference answer. Raises ValueError with one line saying why there are none."""
    value = _value(answer)
    given = value if isinstance(value, dict) else {}
    solution = given.get("solution")
    if solution is not None and not isinstance(solution, str):
        raise ValueError(f"the reference's solution is no text but {_kind(solution)}")
    try:
        tests = _pairs(given) if "inputs" in given or "outputs" in given else _code(given or value, prompt)
    except RecursionError:
        raise ValueError("the tests are nested too deeply") from None
    if not tests.total:
        raise ValueError("the reference holds no test")
    return tests._replace(solution=solution)


def _value(answer: str) -> Any:
    """An object or a list of JSON; anything else is test code."""
    text = answer.strip()
    if not text:
        raise ValueError("the problem has no reference answer")
    if text[0] not in "{[":
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ValueError(f"the reference is no JSON ({' '.join(str(e).split())[:120]})") from None
    if isinstance(value, dict) and not any(key in value for key in _OBJECT_KEYS):
        raise ValueError(f"the reference needs inputs and outputs, or test_list, or test (got {_keys(value)})")
    return value


# -- inputs and outputs ------------------------------------------------------------------------------------------------


def _pairs(given: dict[str, Any]) -> Tests:
    inputs, outputs = given.get("inputs"), given.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise ValueError(f"inputs and outputs must be lists (got {_kind(inputs)} and {_kind(outputs)})")
    if len(inputs) != len(outputs):
        raise ValueError(f"there are {len(inputs)} inputs and {len(outputs)} outputs")
    name = given.get("fn_name")
    pairs = list(enumerate(zip(inputs, outputs, strict=True), 1))
    if not name:
        scripts = [Script(_text(i, f"input {n}"), _text(o, f"output {n}")) for n, (i, o) in pairs]
        return Tests("stdin", scripts, [], frozenset(), None)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"fn_name is no name of a function (got {str(name)[:80]!r})")
    steps = [_call(name, n, i, o) for n, (i, o) in pairs]
    return Tests("call", [], steps, frozenset({name, "Solution"}), None)


def _text(value: Any, where: str) -> str:
    """What stands on stdin or stdout: a text, or a list of its lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise ValueError(f"{where} is no text but {_kind(value)}; for calls, fn_name must be there")
    return value


def _call(name: str, n: int, arguments: Any, expected: Any) -> Step:
    """A call. Arguments are a list, or a text with one JSON value a line, as LiveCodeBench has it."""
    if isinstance(arguments, str):
        arguments = [_json(line, f"input {n}") for line in arguments.splitlines() if line.strip()]
        expected = _json(expected, f"output {n}") if isinstance(expected, str) else expected
    if not isinstance(arguments, list):
        raise ValueError(f"input {n} is no list of arguments but {_kind(arguments)}")
    return Step("call", name, arguments, expected, shown=f"{name}({', '.join(map(repr, arguments))})")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{where} is no JSON (got {text[:60]!r})") from None


# -- assert statements and test code -----------------------------------------------------------------------------------


def _code(given: Any, prompt: str) -> Tests:
    fields = given if isinstance(given, dict) else {"test_list" if isinstance(given, list) else "test": given}
    parts = [*_texts(fields, "test_imports"), *_texts(fields, "test_setup_code")]
    parts += _texts(fields, "test_list") if "test_list" in fields else _texts(fields, "test")
    body = [node for part in parts for node in _parse(part)]
    entry = fields.get("entry_point") or next(reversed(_DEF.findall(prompt)), None)
    if entry is not None and not (isinstance(entry, str) and entry.isidentifier()):
        raise ValueError(f"entry_point is no name of a function (got {str(entry)[:80]!r})")
    steps = _steps(body, entry)
    used = {n.id for node in body for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    names = {entry} if entry and "check" in _functions(body) else used - set(dir(builtins)) - _bound(body)
    return Tests("assert", [], steps, frozenset(names), None)


def _texts(fields: dict[str, Any], key: str) -> list[str]:
    """A field that is a text or a list of texts."""
    value = fields.get(key) or []
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{key} must be a text or a list of texts (got {_kind(value)})")
    return texts


def _parse(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise ValueError(f"the tests are no Python ({' '.join(str(e).split())[:120]}): {code[:60]!r}") from None


def _steps(body: list[ast.stmt], entry: str | None) -> list[Step]:
    functions = _functions(body)
    steps = [step for node in body for step in _of_statement(node, functions)]
    check = functions.get("check")
    if check is None or any(s.is_test for s in steps):
        return steps
    if entry is None:
        raise ValueError("check(candidate) stands in the tests, and no entry_point says what it is given")
    return steps + _of_call("check", [ast.Name(entry, ast.Load())], functions)


def _functions(body: list[ast.stmt]) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def _bound(body: list[ast.stmt]) -> set[str]:
    """Names that the tests define themselves."""
    nodes = [n for node in body for n in ast.walk(node)]
    found = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    found |= {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    found |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    return found | {(n.asname or n.name).partition(".")[0] for n in nodes if isinstance(n, ast.alias)}


def _of_statement(node: ast.stmt, functions: dict[str, ast.FunctionDef]) -> list[Step]:
    """The steps of one statement of the tests."""
    called = _called(node)
    if isinstance(node, ast.Assert):
        return [] if isinstance(node.test, ast.Constant) and node.test.value else [_assertion(node)]
    if isinstance(node, ast.FunctionDef):
        steps = [_statement(node, is_test=False)]
        return steps + (_of_call(node.name, [], functions) if _is_test(node) else [])
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and called in functions:
        return _of_call(called, node.value.args, functions) if not node.value.keywords else [_statement(node)]
    compound = isinstance(node, ast.For | ast.While | ast.If | ast.With | ast.Try)
    asserts = any(isinstance(n, ast.Assert) or _called(n) in functions for n in ast.walk(node))
    return [_statement(node, is_test=compound and asserts)]


def _called(node: ast.AST) -> str:
    """The name of the function that an expression statement calls."""
    call = node.value if isinstance(node, ast.Expr) else None
    return call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""


def _is_test(node: ast.FunctionDef) -> bool:
    """As pytest has it: a function `test...` that needs no argument."""
    return node.name.startswith("test") and len(node.args.args) == len(node.args.defaults) and not node.decorator_list


_NEEDS_FUNCTION = (ast.Return, ast.Yield, ast.YieldFrom, ast.Await, ast.Global, ast.Nonlocal)


def _of_call(name: str, arguments: list[ast.expr], functions: dict[str, ast.FunctionDef]) -> list[Step]:
    """A call of a function of the tests: its statements one by one where that is the same, else one test."""
    function = functions[name]
    spec = function.args
    plain = len(spec.args) == len(arguments) and not (spec.vararg or spec.kwarg or spec.kwonlyargs or spec.posonlyargs)
    if not plain or any(isinstance(n, _NEEDS_FUNCTION) for n in ast.walk(function)):
        source = f"{name}({', '.join(map(ast.unparse, arguments))})"
        return [Step("run", source, shown=source)]
    given = [
        Step("run", f"{a.arg} = {ast.unparse(v)}", is_test=False) for a, v in zip(spec.args, arguments, strict=True)
    ]
    others = {k: v for k, v in functions.items() if k != name}
    return given + [step for node in function.body for step in _of_statement(node, others)]


def _statement(node: ast.stmt, *, is_test: bool = True) -> Step:
    source = ast.unparse(node)
    return Step("run", source, is_test=is_test, shown=source)


def _assertion(node: ast.Assert) -> Step:
    """`assert f(1) == 2`, either way round: the value of the side that is no literal, and what it must be."""
    test, shown = node.test, ast.unparse(node.test)
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
        for asked, literal in ((test.left, test.comparators[0]), (test.comparators[0], test.left)):
            try:
                expected = _literal(literal)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue
            return Step("value", ast.unparse(asked), expected=expected, shown=ast.unparse(asked))
    return Step("run", ast.unparse(ast.Assert(node.test, None)), shown=shown)


_MADE_OF = {"set": set, "frozenset": frozenset, "tuple": tuple, "list": list, "sorted": sorted}


def _literal(node: ast.expr) -> Any:
    """The value of a literal, or of `set(...)` and the like around one. Raises ValueError and others for all else."""
    call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords and len(node.args) == 1
    if call and node.func.id in _MADE_OF:
        return _MADE_OF[node.func.id](ast.literal_eval(node.args[0]))
    return ast.literal_eval(node)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), "a number")


def _keys(value: dict[str, Any]) -> str:
    return one_line(", ".join(list(value)[:5])[:80]) or "no key"
