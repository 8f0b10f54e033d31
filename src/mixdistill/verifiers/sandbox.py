"""Runs programs that nobody has read: each in a fresh process that can compute, read its input and print, and no more.

A process of its own runs `launcher.py`, which gives up its rights before a line of the program is run:

    by seccomp    no sockets, no file opened for writing or changed, no new process or program, no signal to others,
                  no way to raise the limits
    by Landlock   no file can be read but Python's own library, shared libraries, time zones and /dev/urandom
    by limits     memory (address space), CPU time, open files, size of the output; no core files
    from here     wall time and CPU time of each step; the process is killed at the end in any case, and dies with the
                  process that started it

It runs as whoever runs mixdistill, without capabilities, with an empty environment, in `/`. What this does not protect
against: faults of the kernel; side channels; load on the processors and the disk's cache, while it lasts; many threads,
which memory and time alone bound. Where the kernel has no Landlock, a program can read whatever its user can, the
environment of that user's processes among it, and say it on stdout, which stays on this machine. Where there is no
seccomp (not Linux, other processors, some containers), programs are not run unless `unprotected` is set: only Python's
audit hooks stand in its way then, which keep off mishaps and no determined program.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import marshal
import math
import os
import secrets
import selectors
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from functools import lru_cache
from typing import IO, Any, NamedTuple, Self

from mixdistill.errors import StageError, one_line
from mixdistill.verifiers import launcher, seccomp
from mixdistill.verifiers.code_values import decoded

OPEN_FILES = 64
MOST_STDERR = 64 * 2**10
"""Bytes that are kept of what a program writes to stderr; more is read and dropped."""
CHUNK = 2**16
TICK = 0.1
"""Seconds between two looks at the CPU time."""
START_SECONDS = 10.0
READABLE = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/dev/null",
            "/dev/zero", "/dev/random", "/dev/urandom")  # fmt: skip


class Limits(NamedTuple):
    """What a program may take."""

    cpu_seconds: float = 4.0
    """Of one step: a test, or the whole of a script."""
    wall_seconds: float = 12.0
    """Of one step."""
    all_cpu_seconds: float = 15.0
    """Of the whole process."""
    memory_mib: int = 1024
    """Address space, the interpreter's own (some 20 MiB) included."""
    output: int = 2**20
    """Bytes that it may print in one step, and of one value. A program that goes beyond is stopped."""


class Ended(Exception):
    """The program ended, or was stopped, before it had done what it was to. The text says why, in one line."""

    def __init__(self, why: str, *, out_of_time: bool = False) -> None:
        super().__init__(why)
        self.out_of_time = out_of_time
        """Whether it was stopped at the wall time it was given."""


class Raised(Exception):
    """A step raised an exception, which the text names; the program is still there."""


class Protection(NamedTuple):
    """What this machine enforces, and by what; empty where it does not."""

    network: str
    writing: str
    """Of files, anywhere."""
    processes: str
    """New ones, and signals to others."""
    reading: str
    """Of files that are not Python's."""
    memory: str


@lru_cache(maxsize=1)
def protection() -> Protection:
    """What a program on this machine is kept from: tried once, with a program that does nothing."""
    with Sandbox(Limits(), unprotected=True) as box:
        enforced = box.enforced
    kernel = "seccomp" if "seccomp" in enforced else ""
    return Protection(
        network=kernel,
        writing=kernel,
        processes=kernel,
        reading="Landlock" if "landlock" in enforced else "",
        memory="rlimit" if "memory" in enforced else "",
    )


def run_script(script: list[str], stdin: str, limits: Limits, *, unprotected: bool = False) -> str:
    """What a script, in parts, prints, given this input. Raises Ended where it does not end by itself, with status 0,
    in time."""
    with Sandbox(limits, script=script, stdin=stdin, unprotected=unprotected) as box:
        box.pump(lambda: not box.reading)
        box.wait()
        return box.stdout.decode("utf-8", "replace")


class Sandbox:
    """A process with one program. Use it in a `with` block: at its end the process is gone, whatever it does.

    With `script`, that is run; without, the program is fed by `step`. The thread that makes it must live as long as it
    does: Linux kills the process when that thread ends. Raises StageError where programs may not be run here.
    """

    def __init__(
        self, limits: Limits, *, script: list[str] | None = None, stdin: str = "", unprotected: bool = False
    ) -> None:
        self.limits = limits
        self.stdout, self.stderr, self.replies = bytearray(), bytearray(), bytearray()
        self.reading: set[int] = set()
        """Descriptors that the program has not closed."""
        self.selector = selectors.DefaultSelector()
        self.enforced: list[str] = []
        self.process, self.pipes = _start()
        try:
            self._register(stdin.encode("utf-8", "surrogatepass"))
            self._send(_launcher(), _plan(script, limits, unprotected, self.process.pid))
            self._ready()
            self.allow(limits.wall_seconds)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the process, and let go of everything."""
        if "seccomp" not in self.enforced:  # it may have started others
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.selector.close()
        for pipe in self.pipes:
            pipe.close()

    def step(self, kind: str, what: str, arguments: Any = None, *, seconds: float | None = None) -> Any:
        """The value of one step, within `seconds` or the limit of wall time. Raises Raised, and Ended.

        `kind`: `load` the program; `run` statements, whose value is True; the `value` of an expression; `call` a
        function of the program, or a method of its class Solution, with arguments.
        """
        token = secrets.token_hex(8)
        self.allow(seconds or self.limits.wall_seconds)
        self._send((token, kind, what, arguments))
        self.pump(lambda: b"\n" in self.replies or self.pipes.replies.fileno() not in self.reading)
        line, ended, rest = self.replies.partition(b"\n")
        if not ended:
            self.wait()
            raise Ended("the program ended before its test did")
        self.replies.clear()
        self.stdout.clear()
        return _said(token, line, rest)

    def allow(self, seconds: float) -> None:
        """From now on the process has this much wall time, and a step's CPU time."""
        self.given = seconds
        self.until = time.monotonic() + seconds
        used = _cpu_time(self.process.pid)
        self.cpu_until = None if used is None else used + self.limits.cpu_seconds

    def pump(self, done: Callable[[], bool]) -> None:
        """Move bytes until there is what was waited for, or the process is gone. Raises Ended at any limit."""
        looked = time.monotonic()
        while not done():
            left = self._left()
            gone = self.process.poll() is not None  # before the look at what it wrote, so that nothing is lost
            ready = self.selector.select(0 if gone else min(left, TICK))
            for key, _ in ready:
                key.data(key.fd)
            if max(len(self.stdout), len(self.replies)) > self.limits.output:
                raise Ended(f"more than {self.limits.output:,} bytes of output")
            if time.monotonic() - looked >= TICK:
                looked = time.monotonic()
                self._look()
            if gone and not ready:  # though others may hold its pipes
                return

    def wait(self) -> None:
        """Until the process is gone. Raises Ended where that is too late, or with a status that is not 0."""
        while True:
            try:
                status = self.process.wait(min(self._left(), TICK))
                break
            except subprocess.TimeoutExpired:
                self._look()
        if status:
            raise Ended(_how(status, bytes(self.stderr)))

    def _left(self) -> float:
        """Seconds of wall time. Raises Ended where there are none."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise Ended(f"not done after {self.given:.3g} s", out_of_time=True)
        return left

    def _look(self) -> None:
        """Raises Ended where a step's CPU time is used up."""
        used = _cpu_time(self.process.pid)
        if used is not None and self.cpu_until is not None and used > self.cpu_until:
            raise Ended(f"more than {self.limits.cpu_seconds:g} s of CPU time")

    def _register(self, stdin: bytes) -> None:
        self._write(self.pipes.stdin.fileno(), stdin, then=self.pipes.stdin.close)
        for pipe, into, most in (
            (self.pipes.stdout, self.stdout, None),
            (self.pipes.replies, self.replies, None),
            (self.pipes.stderr, self.stderr, MOST_STDERR),
        ):
            self.reading.add(pipe.fileno())
            self.selector.register(pipe, selectors.EVENT_READ, self._reader(into, most))

    def _reader(self, into: bytearray, most: int | None) -> Callable[[int], None]:
        def read(place: int) -> None:
            data = os.read(place, CHUNK)
            into.extend(data)
            if most is not None:
                del into[:-most]
            if not data:
                self.selector.unregister(place)
                self.reading.discard(place)

        return read

    def _write(self, place: int, data: bytes, *, then: Callable[[], None] | None = None) -> None:
        """Have `data` written as the other side takes it; what it does not want is dropped."""
        left = memoryview(data)

        def write(place: int) -> None:
            nonlocal left
            try:
                left = left[os.write(place, left[:CHUNK]) :] if left else left
            except BrokenPipeError:
                left = left[:0]
            if not left:
                self.selector.unregister(place)
                if then is not None:
                    then()

        self.selector.register(place, selectors.EVENT_WRITE, write)

    def _send(self, *values: Any) -> None:
        parts = map(marshal.dumps, values)
        data = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
        self._write(self.pipes.control.fileno(), data)

    def _ready(self) -> None:
        """Wait until the process has given up its rights, and note which."""
        self.allow(START_SECONDS)
        self.cpu_until = None
        self.pump(lambda: b"\n" in self.replies or self.pipes.replies.fileno() not in self.reading)
        first, _, rest = self.replies.partition(b"\n")
        word, *self.enforced = first.decode("ascii", "replace").split() or [""]
        if word == "refused":
            raise StageError(UNPROTECTED)
        if word != "ready":
            raise RuntimeError(f"the sandbox did not start: {_last_line(bytes(self.stderr))}")
        self.replies[:] = rest


UNPROTECTED = (
    "this machine cannot keep programs from the network and from writing files (it has no seccomp); grade on "
    "Linux (x86_64, aarch64), in a container that allows seccomp, or set verify.unprotected: true"
)


class _Pipes(NamedTuple):
    """This side of the pipes to a process."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    control: IO[bytes]
    replies: IO[bytes]

    def close(self) -> None:
        for pipe in self:
            pipe.close()


def _start() -> tuple[subprocess.Popen[bytes], _Pipes]:
    """A process that runs the launcher, and the pipes to it."""
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as theirs:
        control_of, control = _pipe()
        replies, replies_of = _pipe()
        theirs.enter_context(control_of)
        theirs.enter_context(replies_of)
        stack.enter_context(control)
        stack.enter_context(replies)
        process = subprocess.Popen(
            [*_command(), str(control_of.fileno()), str(replies_of.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            # The same order of sets for everyone, so that a program's verdict is the same again.
            env={"PYTHONHASHSEED": "0"},
            pass_fds=(control_of.fileno(), replies_of.fileno()),
            start_new_session=True,
        )
        stack.pop_all()
    assert process.stdin and process.stdout and process.stderr
    pipes = _Pipes(process.stdin, process.stdout, process.stderr, control, replies)
    for pipe in pipes:
        os.set_blocking(pipe.fileno(), False)
    return process, pipes


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    out, into = os.pipe()
    return open(out, "rb", buffering=0), open(into, "wb", buffering=0)


def _command() -> list[str]:
    """No site-packages, nothing written; the interpreter itself, not a virtual environment's link to it."""
    return [os.path.realpath(sys.executable), "-s", "-S", "-P", "-B", "-X", "utf8", "-c", _BOOT]


_BOOT = """
import marshal, sys
control = open(int(sys.argv[1]), "rb")
exec(marshal.loads(control.read(int.from_bytes(control.read(8), "little"))))
main(control, int(sys.argv[2]))
"""
"""The launcher comes compiled: compiling it takes as long as starting Python."""


@lru_cache(maxsize=1)
def _launcher() -> Any:
    return compile(inspect.getsource(launcher), "launcher.py", "exec")


def _plan(script: list[str] | None, limits: Limits, unprotected: bool, pid: int) -> dict[str, Any]:
    cpu = math.ceil(limits.all_cpu_seconds) + 1
    values = {"CPU": cpu, "AS": limits.memory_mib * 2**20, "FSIZE": 0, "CORE": 0, "NOFILE": OPEN_FILES}
    machine = os.uname().machine
    return {
        "script": script,
        "unprotected": unprotected,
        "parent": os.getpid(),
        "limits": {f"RLIMIT_{name}": value for name, value in values.items()},
        "linux": sys.platform == "linux",
        "longest": math.ceil(limits.all_cpu_seconds + limits.wall_seconds + START_SECONDS),
        "machine": machine,
        "filter": seccomp.program(machine, pid),
        "readable": _readable(),
    }


@lru_cache(maxsize=1)
def _readable() -> list[str]:
    """What a program must be able to read: Python's library, and what that is linked against."""
    own = [os.path.join(sys.base_prefix, "lib"), *map(sysconfig.get_path, ("stdlib", "platstdlib"))]
    return [path for path in dict.fromkeys(map(os.path.realpath, (*own, *READABLE))) if os.path.exists(path)]


def _cpu_time(pid: int) -> float | None:
    """Seconds of CPU time that a process has had; None where that cannot be told."""
    if sys.platform != "linux":
        return None
    try:
        return time.clock_gettime(~pid << 3 | 2)  # as clock_getcpuclockid has it
    except OSError:
        return None


def _how(status: int, stderr: bytes) -> str:
    """How a process ended: the signal, or what it said last."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return _last_line(stderr) or f"status {status}"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return one_line(lines[-1])[:300] if lines else ""


def _said(token: str, line: bytearray, rest: bytearray) -> Any:
    """The value in a reply. Raises Raised, and Ended where this is no reply to what was asked."""
    try:
        said = json.loads(line)
        if said[0] != token or rest:
            raise ValueError
        value = decoded(said[1])
    except (ValueError, TypeError, LookupError, RecursionError, ArithmeticError):
        raise Ended("wrote into the harness's pipe") from None
    if len(said) == 3:
        raise Raised(one_line(str(said[2]))[:300])
    return value
