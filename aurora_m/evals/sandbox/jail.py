"""Run inside the sandbox, as a script of its own: give up all power, then run the Python code on standard input.

Standard input: the number of the code's bytes and a newline, the code, a token. The token goes to standard output
once the code has come to its end, so that a program that leaves early cannot pass for one that is done.
Arguments: address space in bytes, processor time in seconds, and, where there is no other wall, the paths that may be
read. Linux on x86-64 or arm64 only.
"""

import ctypes
import os
import platform
import resource
import struct
import sys

OUTPUT_BYTES = 2**20
NOBODY = 65534
EPERM, ENOSYS = 1, 38

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_SET_KEEPCAPS = 1, 38, 22, 8
_SIGKILL = 9
_CAP_DAC_READ_SEARCH, _CAP_VERSION_3 = 1 << 2, 0x20080522
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_ALL, _LANDLOCK_READ_FILE, _LANDLOCK_READ_DIR = (1 << 15) - 1, 1 << 2, 1 << 3
_LANDLOCK_TRUNCATE_ABI = 3  # before it a file could be emptied by path

# (x86-64, arm64) numbers from the kernel's headers; None where the architecture lacks the call
DENIED = {
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "socketpair": (53, 199),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "sigqueue": (129, 138), "tgsigqueue": (297, 240),
    "ptrace": (101, 117), "vm_readv": (310, 270), "vm_writev": (311, 271), "kcmp": (312, 272),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88), "futimesat": (261, None),
    "open_by_handle": (304, 265), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180), "memfd_create": (319, 279), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "sched_setaffinity": (203, 122), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "personality": (135, 92), "reboot": (169, 142), "kexec_load": (246, 104),
    "init_module": (175, 105), "finit_module": (313, 273), "fanotify_init": (300, 262), "quotactl": (179, 60),
}  # fmt: skip
PRLIMIT = (302, 261)  # allowed on the process itself
NEW_CALLS = 424  # from here on (pidfd, io_uring, clone3, new mounts) all machines number alike, and nothing is needed
ARCHES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def seccomp_filter(machine: str) -> bytes:
    """The kernel's filter program: no processes, threads, sockets, signals, or changed modes. KeyError if unknown."""
    column, arch = ARCHES[machine]
    kill, allow = _ins(0x06, 0x80000000), _ins(0x06, 0x7FFF0000)
    deny, unknown = _ins(0x06, 0x00050000 | EPERM), _ins(0x06, 0x00050000 | ENOSYS)
    program = [_ins(0x20, 4), _ins(0x15, arch, 1, 0), kill, _ins(0x20, 0), _ins(0x35, NEW_CALLS, 0, 1), unknown]
    for numbers in DENIED.values():
        number = numbers[column]
        if number is not None:
            program += [_ins(0x15, number, 0, 1), deny]
    program += [_ins(0x15, PRLIMIT[column], 0, 3), _ins(0x20, 16), _ins(0x15, 0, 1, 0), deny, allow]
    return b"".join(program)


def _ins(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _limit(memory_bytes: int, cpu_s: int) -> None:
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: OUTPUT_BYTES,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        resource.setrlimit(kind, (value, value))


def _wall(libc: ctypes.CDLL, readable: list[str]) -> None:
    """Landlock: read these paths and nothing else, write nowhere; leave root's account but keep its way to Python."""
    if libc.syscall(_LANDLOCK_CREATE, None, 0, 1) < _LANDLOCK_TRUNCATE_ABI:
        raise OSError("the kernel has no Landlock that covers truncation")
    handled = ctypes.c_uint64(_LANDLOCK_ALL)
    rules = _checked(libc.syscall(_LANDLOCK_CREATE, ctypes.byref(handled), 8, 0))
    for path in readable:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rights = _LANDLOCK_READ_FILE | (_LANDLOCK_READ_DIR if os.path.isdir(path) else 0)
        _checked(libc.syscall(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", rights, handle), 0))
        os.close(handle)
    if os.geteuid() == 0:
        _checked(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        kept = struct.pack("6I", _CAP_DAC_READ_SEARCH, _CAP_DAC_READ_SEARCH, 0, 0, 0, 0)
        _checked(libc.capset(struct.pack("Ii", _CAP_VERSION_3, 0), kept))
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(libc.syscall(_LANDLOCK_RESTRICT, rules, 0))
    os.close(rules)


def _filter(libc: ctypes.CDLL) -> None:
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    program = seccomp_filter(platform.machine())
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _checked(libc.prctl(_PR_SET_SECCOMP, 2, header, 0, 0))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _read(count: int) -> bytes:
    data = b""
    while len(data) < count and (part := os.read(0, count - len(data))):
        data += part
    return data


def main() -> None:
    """Lock the door, then run the code."""
    memory_bytes, cpu_s, *readable = sys.argv[1:]
    digits = b""
    while not digits.endswith(b"\n"):
        digits += _read(1) or os._exit(1)
    code = _read(int(digits))
    libc = ctypes.CDLL(None, use_errno=True)
    _limit(int(memory_bytes), int(cpu_s))
    if readable:
        _wall(libc, readable)
    _checked(libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0))  # here, as another account clears it
    _filter(libc)
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})  # noqa: S102
    sys.stdout.flush()
    os.write(1, b"\n" + _read(64))
    os._exit(0)


if __name__ == "__main__":
    main()
