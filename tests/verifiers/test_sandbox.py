"""Programs that do what they should not: none harms anything, outlives its time or hides how it ended.

What a machine cannot enforce (`protection()` says so) is not asked of it.
"""

from __future__ import annotations

import inspect
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mixdistill.errors import StageError
from mixdistill.verifiers import launcher, sandbox, seccomp
from mixdistill.verifiers.code_values import Opaque
from mixdistill.verifiers.sandbox import Ended, Limits, Raised, Sandbox, protection, run_script

QUICK = Limits(cpu_seconds=1, wall_seconds=10, all_cpu_seconds=3, memory_mib=512)
LONGEST = 15.0
"""Seconds within which everything here must be over, on a machine that does other things too."""


def run(program: str, stdin: str = "", limits: Limits = QUICK, **options) -> str:
    return run_script([textwrap.dedent(program)], stdin, limits, unprotected=not protection().network, **options)


def why(program: str, limits: Limits = QUICK) -> str:
    """Why a program ended, which must be in time."""
    start = time.monotonic()
    with pytest.raises(Ended) as e:
        run(program, limits=limits)
    assert time.monotonic() - start < LONGEST
    return str(e.value)


def needs(*names: str) -> None:
    missing = [name for name in names if not getattr(protection(), name)]
    if missing:
        pytest.skip(f"nothing here keeps programs from {', '.join(missing)}")


def test_a_script_reads_its_input_and_what_it_prints_comes_back():
    assert run("for line in open(0): print(line.strip()[::-1])", "abc\nüö\n") == "cba\nöü\n"


def test_a_script_is_the_main_module_and_has_the_library_but_no_environment():
    program = """
        import asyncio, collections, decimal, hashlib, heapq, json, math, os, random, sys, threading, zoneinfo
        from dataclasses import dataclass
        @dataclass
        class A:
            b: int = 1
        async def main():
            print(A(), __name__, sys.argv, [k for k in os.environ if k not in ("PYTHONHASHSEED", "LC_CTYPE")])
        if __name__ == "__main__":
            thread = threading.Thread(target=lambda: asyncio.run(main()))
            thread.start()
    """
    assert run(program) == "A(b=1) __main__ ['program.py'] []\n"


def test_sets_have_the_same_order_every_time():
    assert len({run("print({str(i) for i in range(50)})") for _ in range(3)}) == 1


def test_an_exit_with_status_0_is_an_end_and_any_other_says_how():
    assert run("print(1); import sys; sys.exit(0)") == "1\n"
    assert run("import os; os.write(1, b'2'); os._exit(0)") == "2"
    assert why("import os; os._exit(3)") == "status 3"
    assert why("import sys; sys.exit('sorry')") == "sorry"
    assert why("def f(:") == "SyntaxError: invalid syntax"
    assert why("import signal; signal.raise_signal(signal.SIGSEGV)") == "killed by SIGSEGV"
    assert why("raise ValueError('two\\nlines\\x1b[2J')") == "lines\\x1b[2J"


def test_input_that_nobody_reads_and_outputs_that_are_closed_stop_nothing():
    assert run("print(1)", "x" * 10**6) == "1\n"
    assert run("import os; print(1, flush=True); os.closerange(0, 100); os._exit(0)") == "1\n"
    assert why("import os; os.closerange(0, 100)\nwhile True: pass").startswith(("more than 1 s of CPU", "killed by"))


# -- time, memory, output ----------------------------------------------------------------------------------------------

SLEEPS = "import time; time.sleep(1000)"


def test_cpu_time_is_limited_and_so_is_time_asleep():
    assert why("while True: pass").startswith(("more than 1 s of CPU time", "not done after"))
    assert why(SLEEPS, QUICK._replace(wall_seconds=0.3)) == "not done after 0.3 s"
    assert why("import re; re.match(r'(a+)+$', 'a' * 60 + 'b')").startswith(("more than 1 s", "not done"))


def test_no_signal_is_a_way_to_stay():
    program = """
        import signal, time
        for n in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(n, signal.SIG_IGN)
        time.sleep(1000)
    """
    assert why(program, QUICK._replace(wall_seconds=0.5)) == "not done after 0.5 s"
    assert why("import signal; signal.raise_signal(signal.SIGSTOP)", QUICK._replace(wall_seconds=0.5)) == (
        "not done after 0.5 s"
    )


def test_memory_is_limited():
    needs("memory")
    assert why("x = bytearray(10**10)") == "MemoryError"
    assert why("x = []\nwhile True: x.append(bytes(10**6))") == "MemoryError"
    assert why("import mmap; mmap.mmap(-1, 2**32)").startswith("OSError: [Errno 12]")


def test_output_without_end_is_stopped_and_costs_no_memory_here():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = "more than 1,048,576 bytes of output"
    assert why("while True: print('x' * 10**5)") == told
    assert why("import os\nwhile True: os.write(1, b'x' * 10**6)") == told
    assert (
        why("import sys\nfor _ in range(100): sys.stderr.write('x' * 10**6)\nraise OSError('last')") == "OSError: last"
    )
    # Writing a value of 100 MB takes a second of its own on a busy machine.
    roomy = Limits(cpu_seconds=30, wall_seconds=90, all_cpu_seconds=60, memory_mib=512)
    with Sandbox(roomy, unprotected=True) as box, pytest.raises(Ended, match=told):
        box.step("value", "'x' * 10**8")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50 * 1024, f"{grown} KiB"


def test_recursion_without_end_is_an_error_and_deep_recursion_is_possible():
    assert why("def f(): f()\nf()") == "RecursionError: maximum recursion depth exceeded"
    deep = """
        import sys, threading
        sys.setrecursionlimit(10**6)
        threading.stack_size(2**27)
        def f(n): return n and 1 + f(n - 1)
        thread = threading.Thread(target=lambda: print(f(10**5)))
        thread.start()
    """
    assert run(deep) == "100000\n"
    crash = "import sys; sys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nprint(repr(x)[:1])"
    assert why(crash).startswith(("killed by SIGSEGV", "RecursionError", "MemoryError", "more than 1 s"))


def test_threads_are_as_many_as_memory_holds_and_end_with_the_program():
    program = """
        import threading, time
        threading.stack_size(65536)
        while True:
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    """
    assert why(program).startswith(("RuntimeError: can't start new thread", "more than 1 s", "not done", "MemoryError"))


# -- what the kernel refuses -------------------------------------------------------------------------------------------

REFUSED = "PermissionError: [Errno 1] Operation not permitted"


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.socket()",
        "import socket; socket.create_connection(('127.0.0.1', {port}))",
        "import socket; socket.create_server(('', 0))",
        "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "import socket; socket.socketpair(type=socket.SOCK_DGRAM)",
        "import socket; a, b = socket.socketpair(); a.connect('/dev/log')",
    ],
)
def test_there_is_no_network(program):
    needs("network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert why(program.replace("{port}", str(server.getsockname()[1]))) == REFUSED


def test_no_name_is_looked_up():
    needs("network")
    assert why("import socket; socket.gethostbyname('example.org')").startswith("socket.gaierror")
    assert "rror" in why("import urllib.request; urllib.request.urlopen('http://127.0.0.1:1/')")


@pytest.mark.parametrize(
    "program",
    [
        "open({there!r}, 'w')",
        "open({there!r}, 'a')",
        "open({there!r}, 'r+')",
        "import os; os.open({new!r}, os.O_RDONLY | os.O_CREAT)",
        "import os; os.remove({there!r})",
        "import os; os.rename({there!r}, {new!r})",
        "import os; os.link({there!r}, {new!r})",
        "import os; os.symlink({there!r}, {new!r})",
        "import os; os.mkdir({new!r})",
        "import os; os.mkfifo({new!r})",
        "import os; os.chmod({there!r}, 0o777)",
        "import os; os.truncate({there!r}, 0)",
        "import os; os.utime({there!r}, (0, 0))",
        "import os; os.setxattr({there!r}, 'user.x', b'1')",
        "import os; os.open({folder!r}, os.O_TMPFILE | os.O_RDWR)",
        "import os; os.memfd_create('x')",
        "import tempfile; tempfile.mkdtemp(dir={folder!r})",
        "import shutil; shutil.rmtree({folder!r})",
        "from multiprocessing.shared_memory import SharedMemory; SharedMemory(create=True, size=10)",
    ],
)
def test_no_file_is_written_or_changed(program, tmp_path):
    needs("writing")
    there, new = tmp_path / "there", tmp_path / "new"
    there.write_text("as it was")
    os.utime(there, (1, 1))
    told = why(program.format(there=str(there), new=str(new), folder=str(tmp_path)))
    assert "PermissionError" in told, told
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert (there.read_text(), there.stat().st_mtime) == ("as it was", 1)


def test_a_file_that_fills_the_disk_is_not_begun():
    needs("writing")
    home = Path.home()
    before = {p.name for folder in (home, Path("/tmp"), Path("/dev/shm")) if folder.is_dir() for p in folder.iterdir()}
    program = """
        import os
        for folder in ({home!r}, "/tmp", "/dev/shm", ".", "/var/tmp"):
            try:
                with open(folder + "/of-a-sandboxed-program", "wb") as f:
                    f.write(b"x" * 10**9)
            except OSError:
                pass
            else:
                print(folder)
    """
    assert run(program.replace("{home!r}", repr(str(home)))) == ""
    after = {p.name for folder in (home, Path("/tmp"), Path("/dev/shm")) if folder.is_dir() for p in folder.iterdir()}
    assert "of-a-sandboxed-program" not in after - before


@pytest.mark.parametrize(
    "program",
    [
        "import os\nwhile True: os.fork()",
        "import os; os.forkpty()",
        "import subprocess; subprocess.run(['/bin/sh', '-c', 'id'])",
        "import os; os.execv('/bin/sh', ['sh', '-c', 'id'])",
        "import os; os.posix_spawn('/bin/sh', ['sh'], {})",
        "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(os.getppid(), 0)",
        "import os; os.killpg(os.getpgid(os.getppid()), 9)",
        "import os; os.killpg(0, 9)",
        "import os; os.kill(-1, 9)",
        "import os; os.setpgid(0, os.getpgid(os.getppid()))",
        "import os; os.setsid()",
        "import os; os.pidfd_open(os.getppid())",
        "import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "import os; os.sched_setaffinity(os.getppid(), {0})",
        "import fcntl, os; fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
    ],
)
def test_other_processes_are_out_of_reach_and_new_ones_cannot_be_made(program):
    needs("processes")
    assert "PermissionError" in why(program)


def test_a_shell_is_not_started_by_system_either():
    needs("processes")
    assert run("import os; print(os.system('id') != 0)") == "True\n"


CALLS = """
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
def call(*numbers, x86, arm):
    number = x86 if platform.machine() == "x86_64" else arm
    done = libc.syscall(number, *numbers)
    return "done" if done >= 0 else os.strerror(ctypes.get_errno())
"""


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("17, 0, 0, 0, 0, x86=56, arm=220", "Operation not permitted"),  # clone
        ("0, 0, x86=435, arm=435", "Function not implemented"),  # clone3
        ("1, 0, x86=425, arm=425", "Operation not permitted"),  # io_uring_setup
        ("16, os.getppid(), 0, 0, x86=101, arm=117", "Operation not permitted"),  # ptrace: attach
        ("0x10000000, x86=272, arm=97", "Operation not permitted"),  # unshare: a user namespace
        ("os.getppid(), os.getppid(), 9, x86=234, arm=131", "Operation not permitted"),  # tgkill
        ("1, 0, x86=157, arm=167", "Operation not permitted"),  # prctl: outlive the parent
        ("0, 0, 0, 0, x86=463, arm=463", "Function not implemented"),  # what came after the list
        ("1, 1024, 0o1666, x86=29, arm=194", "Operation not permitted"),  # shmget
    ],
)
def test_system_calls_by_number_are_refused_alike(call, told):
    needs("processes")
    assert run(f"{CALLS}\nprint(call({call}))") == f"{told}\n"


def test_limits_cannot_be_raised():
    needs("processes")
    program = """
        import resource
        for limit in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):
            try:
                resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            except (ValueError, OSError):
                continue
            print(limit)
    """
    assert run(program) == ""


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/proc/{parent}/environ", __file__, "/"])
def test_files_that_are_not_python_s_cannot_be_read(path):
    needs("reading")
    path = path.replace("{parent}", str(os.getpid()))
    read = "os.listdir" if path == "/" else "open"
    assert why(f"import os; {read}({path!r})") == f"PermissionError: [Errno 13] Permission denied: '{path}'"


def test_the_other_side_s_secrets_are_not_in_its_environment(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "secret")
    assert "secret" not in run("import os; print(dict(os.environ))")


# -- the process -------------------------------------------------------------------------------------------------------


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")
def test_nothing_of_a_program_is_left():
    run("print(1)")
    before = open_files()
    run("print(1)")
    why("1/0")
    why("while True: print('x' * 10**6)")
    with Sandbox(QUICK, unprotected=True) as box:
        pid = box.process.pid
    assert open_files() == before
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


ABANDONED = """
import os, sys
from mixdistill.verifiers.code_values import Opaque
from mixdistill.verifiers.sandbox import Limits, Sandbox
box = Sandbox(Limits(), unprotected=True)
print(box.process.pid, flush=True)
box.step("load", "import time; time.sleep(1000)")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_program_dies_with_the_process_that_started_it():
    parent = subprocess.Popen([sys.executable, "-c", ABANDONED], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 5
    while is_alive(pid):
        assert time.monotonic() < until
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_sandbox_that_cannot_start_is_our_error_and_no_verdict_on_the_program(monkeypatch):
    monkeypatch.setattr(sandbox, "_BOOT", "import sys; sys.exit('no room')")
    with pytest.raises(RuntimeError, match="the sandbox did not start: no room"):
        run_script(["print(1)"], "", QUICK)


# -- steps -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def box():
    with Sandbox(QUICK, unprotected=not protection().network) as box:
        yield box


VALUES = [
    None, True, 0, -5, 10**30, -(2**63), 0.1, 1e300, float("inf"), "", "ä\n\"\ud800\\", [1, [2]], (1, (2,)), {1},
    {(1, 2): {"b": [None]}, 3: 4}, 1 + 2j, b"\x00\xff",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_of_python_s_plain_types_arrive_as_they_are(box, value):
    got = box.step("value", repr(value) if value != float("inf") else "float('inf')")
    assert (got, type(got)) == (value, frozenset if isinstance(value, set) else type(value))


def test_a_value_of_another_type_equals_nothing(box):
    box.step(
        "load", "class Always:\n  def __eq__(self, other): return True\n  __hash__ = None\ndef f(): return Always()"
    )
    got = box.step("call", "f", [])
    assert got.of_type == "Always"
    assert not any(got == other for other in (1, None, got, Opaque("Always")))


def test_subclasses_count_as_what_they_are(box):
    box.step("load", "from collections import *\nfrom fractions import *\nclass Int(int):\n  __eq__ = lambda *_: True")
    values = [
        box.step("value", v) for v in ("Counter('aab')", "namedtuple('P', 'x y')(1, 2)", "Fraction(1, 2)", "Int(3)")
    ]
    assert values == [{"a": 2, "b": 1}, (1, 2), 0.5, 3]


def test_tests_see_the_program_s_names_and_change_none(box):
    box.step("load", "def f(): return x\nx = 1")
    assert box.step("run", "x = 2") is True
    assert [box.step("value", "x"), box.step("value", "f()"), box.step("call", "f", [])] == [2, 1, 1]


def test_an_exception_is_told_and_the_program_goes_on(box):
    box.step("load", "def f(x):\n  if x: raise KeyError(x)\n  import sys; sys.exit(0)")
    for argument, told in ((1, "KeyError: 1"), (0, "SystemExit: 0")):
        with pytest.raises(Raised) as e:
            box.step("call", "f", [argument])
        assert str(e.value) == told
    assert box.step("value", "1 + 1") == 2


def test_steps_have_time_of_their_own_each():
    with Sandbox(Limits(cpu_seconds=0.4, wall_seconds=10), unprotected=not protection().network) as box:
        box.step("load", "import time\ndef f(s):\n  t = time.process_time()\n  while time.process_time() < t + s: pass")
        for _ in range(3):
            box.step("call", "f", [0.25])
        with pytest.raises(Ended, match=r"more than 0\.4 s of CPU time|not done after"):
            box.step("call", "f", [5])


@pytest.mark.parametrize(
    ("load", "told"),
    [
        ("import os; os._exit(0)", "the program ended before its test did"),
        ("import os\nfor n in range(3, 64):\n  try: os.write(n, b'[\"x\", true]\\n')\n  except OSError: pass", None),
        ("import os; os.closerange(3, 256)", None),
        ("import os\nfor n in range(3, 64):\n  try: os.write(n, b'\\n' * 9 + b'{}')\n  except OSError: pass", None),
    ],
)
def test_a_program_cannot_answer_in_the_harness_s_place(box, load, told):
    with pytest.raises(Ended) as e:
        box.step("load", load)
        box.step("value", "1")
    assert told in (None, str(e.value))


# -- where there is less -----------------------------------------------------------------------------------------------


@pytest.fixture
def without_kernel(monkeypatch):
    """As on a machine whose kernel keeps no watch."""
    plan = sandbox._plan
    monkeypatch.setattr(sandbox, "_plan", lambda *a: plan(*a) | {"filter": None, "linux": False})
    protection.cache_clear()
    yield
    protection.cache_clear()


def test_without_seccomp_programs_are_refused_unless_they_are_trusted(without_kernel):
    assert protection()[:4] == ("", "", "", "")
    with pytest.raises(StageError, match="this machine cannot keep programs from the network and from writing files"):
        run_script(["print(1)"], "", QUICK)
    assert run_script(["print(1)"], "", QUICK, unprotected=True) == "1\n"


@pytest.mark.parametrize(
    "program",
    [
        "open({new!r}, 'w')",
        "import os; os.open({new!r}, os.O_CREAT)",
        "import os; os.mkdir({new!r})",
        "import socket; socket.socket()",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['id'])",
        "import os; os.system('id')",
        "import os; os.kill(os.getppid(), 9)",
        "import ctypes; ctypes.CDLL(None)",
    ],
)
def test_without_seccomp_mishaps_are_kept_off(without_kernel, program, tmp_path):
    new = tmp_path / "new"
    assert why_unprotected(program.format(new=str(new))).startswith("PermissionError: ")
    assert not new.exists()


def why_unprotected(program: str) -> str:
    with pytest.raises(Ended) as e:
        run_script([program], "", QUICK, unprotected=True)
    return str(e.value)


def test_without_seccomp_an_event_loop_works_all_the_same(without_kernel):
    program = "import asyncio\nasync def main(): print(await asyncio.sleep(0, 'done'))\nasyncio.run(main())"
    assert run_script([program], "", QUICK, unprotected=True) == "done\n"


def test_without_seccomp_memory_and_time_are_limited_all_the_same(without_kernel):
    assert why_unprotected("while True: pass").startswith(("more than 1 s of CPU time", "not done", "killed by"))
    assert why_unprotected("import os; os.write(2, b'last'); os._exit(1)") == "last"
    assert int(run_script(["import signal; print(signal.alarm(0))"], "", QUICK, unprotected=True)) in (22, 23)


def test_without_landlock_all_but_reading_is_refused_the_same(monkeypatch, tmp_path):
    needs("network")
    source = inspect.getsource(launcher)
    assert "\n_LANDLOCK = 444\n" in source
    older = compile(source.replace("\n_LANDLOCK = 444\n", "\n_LANDLOCK = 9999\n"), "launcher.py", "exec")
    monkeypatch.setattr(sandbox, "_launcher", lambda: older)
    protection.cache_clear()
    try:
        assert (protection().reading, protection().writing) == ("", "seccomp")
        (tmp_path / "there").write_text("seen")
        assert run(f"print(open({str(tmp_path / 'there')!r}).read())") == "seen\n"
        assert why(f"open({str(tmp_path / 'new')!r}, 'w')").startswith("PermissionError")
        assert why("import socket; socket.socket()") == REFUSED
    finally:
        protection.cache_clear()


def test_where_cpu_time_cannot_be_read_the_clock_and_the_kernel_end_a_program(monkeypatch):
    monkeypatch.setattr(sandbox, "_cpu_time", lambda pid: None)
    assert why("while True: pass", QUICK._replace(wall_seconds=0.5)) == "not done after 0.5 s"
    ended = why("while True: pass", QUICK._replace(all_cpu_seconds=0.1, wall_seconds=LONGEST))
    assert ended in ("killed by SIGKILL", "killed by SIGXCPU")


# -- the filter --------------------------------------------------------------------------------------------------------


def decide(machine: str, number: int, *arguments: int, architecture: int | None = None) -> str:
    """What the filter for process 77 says of a system call, read as the kernel reads it."""
    filters = seccomp.program(machine, 77)
    assert filters
    architecture = seccomp.ARCHITECTURES[machine] if architecture is None else architecture
    data = struct.pack("=IIQ6Q", number, architecture, 0, *[a % 2**64 for a in arguments], *[0] * (6 - len(arguments)))
    code, at, value = list(struct.iter_unpack("=HBBI", filters)), 0, 0
    while True:
        operation, true, false, operand = code[at]
        at += 1
        if operation == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif operation == 0x54:
            value &= operand
        elif operation == 0x06:
            return {0x7FFF0000: "allow", 0x80000000: "kill", 0x50001: "refuse", 0x50026: "missing"}[operand]
        else:
            met = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[operation]
            at += true if met else false


READ, WRITE, CREATE = 0, os.O_WRONLY, os.O_CREAT


@pytest.mark.parametrize(
    ("x86", "arm", "arguments", "said"),
    [
        (0, 63, (), "allow"),  # read
        (1, 64, (), "allow"),  # write
        (41, 198, (2, 1), "refuse"),  # socket
        (53, 199, (1, 1 | 0o2000000), "allow"),  # socketpair: a stream, close-on-exec
        (53, 199, (1, 2), "refuse"),  # of datagrams
        (257, 56, (-100, 0, READ), "allow"),  # openat
        (257, 56, (-100, 0, WRITE), "refuse"),
        (257, 56, (-100, 0, 0o2), "refuse"),
        (257, 56, (-100, 0, 0o100), "refuse"),
        (257, 56, (-100, 0, 0o1000), "refuse"),
        (437, 437, (), "missing"),  # openat2
        (56, 220, (0x3D0F00,), "allow"),  # clone: a thread
        (56, 220, (17,), "refuse"),  # a process
        (435, 435, (), "missing"),  # clone3
        (59, 221, (), "refuse"),  # execve
        (62, 129, (77, 9), "allow"),  # kill: itself
        (62, 129, (78, 9), "refuse"),
        (62, 129, (-77, 9), "refuse"),
        (62, 129, (0, 9), "refuse"),
        (234, 131, (77, 78, 9), "allow"),  # tgkill
        (234, 131, (1, 1, 9), "refuse"),
        (302, 261, (0, 7, 0, 1), "allow"),  # prlimit64: read
        (302, 261, (0, 7, 1, 0), "refuse"),
        (302, 261, (0, 7, 2**32, 0), "refuse"),
        (157, 167, (15,), "allow"),  # prctl: a name
        (157, 167, (1, 0), "refuse"),
        (72, 25, (0, 1), "allow"),  # fcntl: F_GETFD
        (72, 25, (0, 8, 1), "refuse"),
        (16, 29, (0, 0x5401), "allow"),  # ioctl: is it a terminal?
        (16, 29, (0, 0x40086602), "refuse"),  # flags of a file
        (463, 463, (), "missing"),
        (2**30, 2**30, (), "kill"),  # x32
    ],
)
def test_the_filter_says_the_same_on_both_architectures(x86, arm, arguments, said):
    assert (decide("x86_64", x86, *arguments), decide("aarch64", arm, *arguments)) == (said, said)


def test_the_older_calls_of_x86_are_refused_as_the_newer_ones_are():
    assert [decide("x86_64", 2, 0, flags) for flags in (READ, WRITE, CREATE)] == ["allow", "refuse", "refuse"]
    assert {decide("x86_64", n) for n in (57, 58, 82, 83, 84, 85, 86, 87, 88, 90, 92, 132)} == {"refuse"}


def test_another_architecture_s_calls_kill_and_an_unknown_one_has_no_filter():
    assert decide("x86_64", 0, architecture=0x40000003) == "kill"
    assert seccomp.program("riscv64", 77) is None


@pytest.mark.skipif(not Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").exists(), reason="no kernel headers here")
def test_the_numbers_are_those_of_the_kernel_s_headers():
    lines = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text().splitlines()
    known = {w[1].removeprefix("__NR_"): int(w[2]) for line in lines if len(w := line.split()) == 3}
    entries = [entry.split() for entry in seccomp._FORBIDDEN.split(",")]
    assert len(entries) > 100
    assert {n: int(x) for n, x, _ in entries if n in known} == {n: known[n] for n, *_ in entries if n in known}


def test_the_launcher_starts_without_what_takes_long_to_import():
    needs("network")  # without, it imports a little more
    program = "import sys; print(*sorted({'json', 're', 'typing', 'inspect', 'subprocess', 'enum'} & set(sys.modules)))"
    assert run(program) == "\n"
    assert launcher.TYPE_CHECKING is False
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
