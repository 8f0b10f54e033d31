"""The inside of the sandbox: a fresh interpreter runs this, gives up its rights, and then runs one program.

`sandbox.py` sends it down the pipe `control`, and then a plan and steps: each a length of 8 bytes and a marshalled
value. Answers go up the descriptor `replies`, a line each. It imports as little as it can, since starting is most of
what a program costs; and no expected output is ever sent here, so that no program can find it.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False  # typing takes as long to import as Python to start
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_PDEATHSIG, _SECCOMP, _NO_NEW_PRIVS, _KILL = 1, 22, 38, 9
"""Of prctl, and the signal."""
_CAPSET = {"x86_64": 126, "aarch64": 91}
_LANDLOCK = 444
"""The first of its three calls: create a ruleset, add a rule, restrict oneself."""
_READ_FILE, _READ_DIR = 4, 8

_exec, _eval = exec, eval
"""Programs are what is run here; and a program that replaces the built-in ones does not replace these."""

REFUSED = """
socket. subprocess. shutil. ctypes. resource. pty. os.fork os.forkpty os.exec os.posix_spawn os.system os.spawn os.kill
os.killpg os.startfile os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.chmod os.chown os.chflags
os.truncate os.utime os.setxattr os.removexattr signal.pthread_kill
"""
"""Audit events, or their beginnings, that a program may not cause where the kernel keeps no watch."""


def receive(control: BinaryIO) -> Any:
    """The next value from the other side. EOFError where there will be none."""
    return marshal.loads(control.read(int.from_bytes(control.read(8), "little")))


def reply(replies: int, line: str) -> None:
    """One line to the other side."""
    data = line.encode("ascii") + b"\n"
    while data:
        data = data[os.write(replies, data) :]


# -- giving up rights --------------------------------------------------------------------------------------------------


def confine(plan: dict) -> list[str]:
    """Give up what the plan does not grant; what could be given up: of `memory`, `seccomp`, `landlock`."""
    done = ["memory"] if _limit(plan["limits"]) else []
    if plan["linux"]:
        return done + _confine_linux(plan)
    import signal

    signal.alarm(plan["longest"])  # nothing else ends a program that sleeps when the other side was killed
    return done


def _limit(limits: dict) -> bool:
    """Set resource limits, name -> value. Whether memory is limited; some systems do not know every limit."""
    import resource

    for name, value in limits.items():
        try:
            most = resource.getrlimit(getattr(resource, name))[1]
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):
            if name == "RLIMIT_AS":
                return False
    return sys.platform == "linux"


def _confine_linux(plan: dict) -> list[str]:
    import ctypes

    libc = ctypes.CDLL(None)
    libc.syscall.restype = ctypes.c_long
    libc.prctl(_PDEATHSIG, _KILL, 0, 0, 0)
    if os.getppid() != plan["parent"]:  # it ended before that was said
        os._exit(1)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        return []
    done = ["landlock"] if _restrict_reading(libc, plan["readable"]) else []
    if plan["machine"] in _CAPSET:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        libc.syscall(_CAPSET[plan["machine"]], header, (ctypes.c_uint32 * 6)())
    if plan["filter"]:
        rules = ctypes.create_string_buffer(plan["filter"], len(plan["filter"]))

        class Program(ctypes.Structure):
            _fields_ = [("length", ctypes.c_ushort), ("rules", ctypes.c_void_p)]

        program = Program(len(plan["filter"]) // 8, ctypes.addressof(rules))
        if libc.prctl(_SECCOMP, 2, ctypes.byref(program), 0, 0) == 0:
            done.append("seccomp")
    return done


def _restrict_reading(libc, paths: list[str]) -> bool:
    """Nothing of the file system but reading below `paths`. False where the kernel has no Landlock."""
    import ctypes

    def call(number: int, *arguments) -> int:
        return libc.syscall(_LANDLOCK + number, *arguments)

    version = call(0, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    size = 8 if version < 4 else 16 if version < 6 else 24
    handled = (ctypes.c_uint64 * 3)(files, 3, 3)  # files; TCP; signals and abstract sockets
    ruleset = call(0, handled, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    for path in paths:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        access = _READ_FILE | _READ_DIR if os.path.isdir(path) else _READ_FILE
        rule = access.to_bytes(8, "little") + place.to_bytes(4, "little")
        call(1, ruleset, 1, rule, 0)
        os.close(place)
    restricted = call(2, ruleset, 0) == 0
    os.close(ruleset)
    return restricted


def watch() -> None:
    """Refuse, within this interpreter, what the kernel would have. It keeps off mishaps, and no determined program."""
    refused = frozenset(REFUSED.split())
    beginnings = tuple(name for name in refused if name[-1] == ".")
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            if arguments[2] and arguments[2] & writing:
                raise PermissionError("writing files is not permitted")
        elif event == "socket.__new__" and arguments[1] == 1:
            pass  # AF_UNIX: one half of a pair, for an event loop; it can be connected to nothing
        elif event in refused or event.startswith(beginnings):
            raise PermissionError(f"{event} is not permitted")

    sys.addaudithook(hook)


# -- running -----------------------------------------------------------------------------------------------------------


def script(sources: list[str]) -> None:
    """Run a program, and what comes before it, as a script: it reads stdin, writes stdout, and ends as it will."""
    names = _module("__main__")
    for source in sources:
        _exec(compile(source, "program.py", "exec"), names)


def _module(name: str) -> dict:
    module = type(sys)(name)
    sys.modules[name] = module
    sys.argv = ["program.py"]
    return module.__dict__


def serve(control: BinaryIO, replies: int) -> None:
    """Run the program as a module and then steps on it, one reply each, until there are no more.

    A reply is JSON: `[token, value]`, or `[token, null, "what was raised"]`. The token of a step comes with it: what a
    program may have written here before counts for nothing.
    """
    names, copy = _module("program"), {}
    while True:
        token, kind, what, arguments = receive(control)
        try:
            said = f'["{token}", {encoded(_step(kind, what, arguments, names, copy))}]'
        except BaseException as e:
            said = f'["{token}", null, {_text(_raised(e))}]'
        reply(replies, said)


def _step(kind: str, what: str, arguments: list, names: dict, copy: dict) -> object:
    """Tests have a copy of the program's names: what they set is none of the program's."""
    if kind == "load":
        _exec(compile(what, "program.py", "exec"), names)
        copy.update(names)
        return True
    if kind == "run":
        _exec(compile(what, "test", "exec"), copy)
        return True
    if kind == "value":
        return _eval(compile(what, "test", "eval"), copy)
    function = names[what] if what in names else getattr(names["Solution"](), what)
    return function(*arguments)


def _raised(e: BaseException) -> str:
    """An exception in one line."""
    try:
        text = " ".join(str(e).split())
    except BaseException:
        text = ""
    return f"{type(e).__name__}: {text}"[:300] if text else type(e).__name__


def encoded(value: Any) -> str:
    """A value as JSON that keeps Python's types apart: tuples, sets and dicts are objects with one key.

    What is none of Python's plain types becomes `{"other": its type}`, which equals nothing.
    """
    if value is None or value is True or value is False:
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return str(int(value)) if -(2**63) < value < 2**63 else f'{{"int": "{int(value):x}"}}'
    if isinstance(value, float):
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(float.__repr__(value), float.__repr__(value))
    if isinstance(value, list):
        return f"[{', '.join(map(encoded, value))}]"
    if isinstance(value, tuple):
        return f'{{"tuple": [{", ".join(map(encoded, value))}]}}'
    if isinstance(value, set | frozenset):
        return f'{{"set": [{", ".join(map(encoded, value))}]}}'
    if isinstance(value, dict):
        pairs = (f"[{encoded(k)}, {encoded(v)}]" for k, v in value.items())
        return f'{{"dict": [{", ".join(pairs)}]}}'
    if isinstance(value, complex):
        return f'{{"complex": [{encoded(value.real)}, {encoded(value.imag)}]}}'
    if isinstance(value, bytes | bytearray):
        return f'{{"bytes": "{bytes(value).hex()}"}}'
    if (type(value).__module__, type(value).__name__) in (("fractions", "Fraction"), ("decimal", "Decimal")):
        return f'{{"ratio": {encoded(list(value.as_integer_ratio()))}}}'
    return f'{{"other": {_text(type(value).__name__)}}}'


def _text(text: str) -> str:
    try:
        from _json import encode_basestring_ascii  # json itself takes as long to import as Python to start
    except ImportError:
        from json.encoder import encode_basestring_ascii
    return encode_basestring_ascii(str(text))


def main(control: BinaryIO, replies: int) -> None:
    plan = receive(control)
    assert isinstance(plan, dict)
    _text("")  # what it imports is imported before it could be another's
    done = confine(plan)
    if "seccomp" not in done:
        if not plan["unprotected"]:
            reply(replies, "refused")
            return
        watch()
    reply(replies, " ".join(["ready", *done]))
    if plan["script"] is None:
        serve(control, replies)
        return
    control.close()
    os.close(replies)
    script(plan["script"])
