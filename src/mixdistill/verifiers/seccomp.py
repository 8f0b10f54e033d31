"""What the Linux kernel refuses a sandboxed program: a seccomp filter over system calls, as bytes.

The filter names what is forbidden; calls that are newer than its list do not exist for the program. It binds every
thread of the process for good, whatever the program runs as, and needs no privilege but `no_new_privs`. Paths it
cannot see: which files may be *read* is left to Landlock (`launcher.py`).
"""

from __future__ import annotations

import struct

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""As `os.uname().machine` says them -> as the kernel numbers them."""
NEWEST = 462
"""From the number after it on both architectures count alike, and no call is known here."""

_FORBIDDEN = """
socket 41 198, connect 42 203, bind 49 200, listen 50 201, accept 43 202, accept4 288 242,
fork 57 -, vfork 58 -, execve 59 221, execveat 322 281, setsid 112 157, setpgid 109 154,
ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, process_madvise 440 440,
process_mrelease 448 448, kcmp 312 272, pidfd_open 434 434, pidfd_getfd 438 438, pidfd_send_signal 424 424,
tkill 200 130, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, migrate_pages 256 238, move_pages 279 239,
setrlimit 160 164, setpriority 141 140, ioprio_set 251 30, sched_setaffinity 203 122, sched_setscheduler 144 119,
sched_setparam 142 118, sched_setattr 314 274,
io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427, io_setup 206 0, userfaultfd 323 282,
bpf 321 280, perf_event_open 298 241, add_key 248 217, request_key 249 218, keyctl 250 219,
mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, unshare 272 97, setns 308 268, move_mount 429 429,
open_tree 428 428, fsopen 430 430, fsconfig 431 431, fsmount 432 432, fspick 433 433, mount_setattr 442 442,
name_to_handle_at 303 264, open_by_handle_at 304 265, fanotify_init 300 262, sync 162 81, syncfs 306 267,
personality 135 92, reboot 169 142, syslog 103 116, modify_ldt 154 -, iopl 172 -, ioperm 173 -,
shmget 29 194, shmat 30 196, shmctl 31 195, msgget 68 186, msgsnd 69 189, msgrcv 70 188, msgctl 71 187,
semget 64 190, semop 65 193, semctl 66 191, semtimedop 220 192, mq_open 240 180, mq_unlink 241 181,
memfd_create 319 279, memfd_secret 447 447,
creat 85 -, mkdir 83 -, mkdirat 258 34, mknod 133 -, mknodat 259 33, rmdir 84 -, unlink 87 -, unlinkat 263 35,
rename 82 -, renameat 264 38, renameat2 316 276, link 86 -, linkat 265 37, symlink 88 -, symlinkat 266 36,
chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, chown 92 -, fchown 93 55, lchown 94 -,
fchownat 260 54, truncate 76 45, ftruncate 77 46, fallocate 285 47, utime 132 -, utimes 235 -, futimesat 261 -,
utimensat 280 88, setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, removexattr 197 14, lremovexattr 198 15,
fremovexattr 199 16
"""
"""Name, number on x86_64, number on aarch64: network, new processes and programs, other processes, limits, ways around
a filter, mounts, memory that outlives the process, and changes of the file system. What needs a capability (modules,
clocks, host names) is refused without, since a program has none."""

_OPEN = {"open": (2, -1, 1), "openat": (257, 56, 2)}
"""Name -> numbers, and which argument holds the flags."""
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC: the same on both architectures."""
_CLONE, _CLONE3, _OPENAT2 = (56, 220), 435, 437
_CLONE_THREAD = 0x10000
_KILL, _TGKILL = (62, 129), (234, 131)
_SOCKETPAIR, _SOCK_STREAM = (53, 199), 1
_PRLIMIT, _PRCTL, _FCNTL, _IOCTL = (302, 261), (157, 167), (72, 25), (16, 29)
_PR_SET_PDEATHSIG = 1
_FCNTL_SIGNALS = (8, 10, 15)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX: with them, input on a pipe sends any signal to any process."""
_IOCTL_HARMLESS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what Python asks of a file. Others change its flags."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_REFUSE, _NO_SUCH_CALL = 0x50000 | 1, 0x50000 | 38
"""The call fails with EPERM (Python's PermissionError), or with ENOSYS, which makes a C library use the older call."""
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in `struct seccomp_data`; an argument has 8 bytes, the lower half first."""
_X32 = 0x40000000

Rule = list[tuple[int, int, int, int]]
"""Instructions: code, jump if true, jump if false, operand. Jumps count the instructions that are left out."""


def program(machine: str, pid: int) -> bytes | None:
    """The filter for process `pid` on `machine`, as an array of `struct sock_filter`; None for other architectures.

    The process may signal itself and no other.
    """
    if machine not in ARCHITECTURES:
        return None
    side = list(ARCHITECTURES).index(machine)
    rules: Rule = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL_PROCESS),
        *_when(_AT_LEAST, NEWEST + 1, _NO_SUCH_CALL),
        *(i for number in (_CLONE3, _OPENAT2) for i in _when(_EQUAL, number, _NO_SUCH_CALL)),
        *(i for number in _numbers(side) for i in _when(_EQUAL, number, _REFUSE)),
        *(i for number, rule in _by_argument(side, pid) for i in [(_EQUAL, 0, len(rule), number), *rule]),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *rule) for rule in rules)


def _when(test: int, value: int, result: int) -> Rule:
    """`result` where what was loaded passes the test, else go on."""
    return [(test, 0, 1, value), (_RETURN, 0, 0, result)]


def _numbers(side: int) -> list[int]:
    entries = (entry.split()[1:] for entry in _FORBIDDEN.split(","))
    return [int(numbers[side]) for numbers in entries if numbers[side] != "-"]


def _by_argument(side: int, pid: int) -> list[tuple[int, Rule]]:
    """Calls that are allowed or not by what they are given."""
    opening = [
        (numbers[side], [_argument(at), *_when(_ANY_BIT, _WRITING, _REFUSE), _end(_ALLOW)])
        for name, (*numbers, at) in _OPEN.items()
        if numbers[side] >= 0
    ]
    return [
        *opening,
        (_CLONE[side], [_argument(0), *_when(_ANY_BIT, _CLONE_THREAD, _ALLOW), _end(_REFUSE)]),
        *((call[side], [_argument(0), *_when(_EQUAL, pid, _ALLOW), _end(_REFUSE)]) for call in (_KILL, _TGKILL)),
        (
            _SOCKETPAIR[side],  # for event loops; a datagram socket could be pointed at others
            [_argument(1), (_AND, 0, 0, 0xF), *_when(_EQUAL, _SOCK_STREAM, _ALLOW), _end(_REFUSE)],
        ),
        (_PRLIMIT[side], [*_only_zero(2), *_only_zero(2, upper=True), _end(_ALLOW)]),  # limits may be read
        (_PRCTL[side], _unless(0, (_PR_SET_PDEATHSIG,))),
        (_FCNTL[side], _unless(1, _FCNTL_SIGNALS)),
        (
            _IOCTL[side],
            [_argument(1), *(i for v in _IOCTL_HARMLESS for i in _when(_EQUAL, v, _ALLOW)), _end(_REFUSE)],
        ),
    ]


def _only_zero(argument: int, *, upper: bool = False) -> Rule:
    return [_argument(argument, upper=upper), (_EQUAL, 1, 0, 0), _end(_REFUSE)]


def _unless(argument: int, values: tuple[int, ...]) -> Rule:
    return [_argument(argument), *(i for v in values for i in _when(_EQUAL, v, _REFUSE)), _end(_ALLOW)]


def _argument(index: int, *, upper: bool = False) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index + 4 * upper)


def _end(result: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, result)
