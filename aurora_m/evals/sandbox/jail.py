"""Give up all power for good: limits, and a filter of system calls. Linux on x86-64 or arm64 only."""

import ctypes
import os
import platform
import resource
import struct

LIMITS = {resource.RLIMIT_FSIZE: 2**20, resource.RLIMIT_NOFILE: 64, resource.RLIMIT_CORE: 0}
EPERM, ENOSYS = 1, 38

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 38, 22

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
# Denied with these second arguments: a descriptor can be made to send signals, and a terminal to type.
FCNTL, FCNTL_DENIED = (72, 25), (8, 10, 15, 1024, 1026)  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY
IOCTL, IOCTL_DENIED = (16, 29), (0x5412, 0x5452, 0x8901, 0x8902)  # TIOCSTI, FIOASYNC, FIOSETOWN, SIOCSPGRP
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
    for numbers, values in ((FCNTL, FCNTL_DENIED), (IOCTL, IOCTL_DENIED)):
        checks = [part for value in values for part in (_ins(0x15, value, 0, 1), deny)]
        program += [_ins(0x15, numbers[column], 0, len(checks) + 2), _ins(0x20, 24), *checks, allow]
    program += [_ins(0x15, PRLIMIT[column], 0, 3), _ins(0x20, 16), _ins(0x15, 0, 1, 0), deny, allow]
    return b"".join(program)


def _ins(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def lock(memory_bytes: int, cpu_s: int) -> None:
    """Lock this process in. OSError if the kernel does not do it, KeyError on an unknown kind of machine."""
    for kind, value in LIMITS.items():
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    program = seccomp_filter(platform.machine())
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _checked(libc.prctl(_PR_SET_SECCOMP, 2, header, 0, 0))


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
